"""What a close reads, as it was known by a moment, and whether that is enough to close a month."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property

import polars as pl

from sopforecast.clinical.inputs import ClinicalInputs
from sopforecast.core.clinical_tables import CLINICAL_TABLES
from sopforecast.core.months import add_months, cutoff, month_end, month_name
from sopforecast.errors import NotNow
from sopforecast.planning_store.counting import counting_runs
from sopforecast.planning_store.inputs import admitted_inputs, input_hash
from sopforecast.planning_store.learned import standing_closes
from sopforecast.planning_store.runs import read_components, read_statements
from sopforecast.planning_store.store import Store
from sopforecast.settings import Settings
from sopforecast.workflow.admission import read_clinic
from sopforecast.workflow.recording import digest

NAMED_ITEMS = 5


@dataclass(frozen=True, eq=False)
class Closing:
    """What a close reads, as it was known by a moment.

    ``history`` are complete months up to the one closed; ``runs`` those that count, of that cycle
    and earlier ones, oldest first, ``run_id`` the newest of them; ``statements`` are theirs.
    ``earlier`` are the closes of earlier months, ``same`` those of this one, newest last.
    """

    month: date
    known_by: datetime
    history: pl.DataFrame
    items: pl.DataFrame
    prices: pl.DataFrame
    clinical: ClinicalInputs
    runs: dict[date, str]
    statements: pl.DataFrame
    earlier: pl.DataFrame
    same: pl.DataFrame

    @property
    def run_id(self) -> str | None:
        return list(self.runs.values())[-1] if self.runs else None

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what the rows say, the runs that count and what earlier months had taught."""
        said = {"history": self.history, "items": self.items, "prices": self.prices}
        said |= {name: getattr(self.clinical, name) for name in CLINICAL_TABLES}
        said["tier_lines"] = self.clinical.tier_lines.rename({"known_at": "since"})
        given = {name: rows for name, rows in said.items() if rows.height}
        runs, closes = self.runs.values(), self.earlier["fit_id"]
        return digest(month_name(self.month), input_hash(given), *runs, "closes", *closes)

    @property
    def over(self) -> pl.DataFrame:
        """Opinions whose last month is over: stated once, in the cycle they were entered."""
        is_opinion = pl.col("entered_cycle") == pl.col("cycle")
        return self.statements.filter(is_opinion, pl.col("ds_to") <= self.month)


def read_closing(store: Store, month: date, known_by: datetime) -> Closing:
    """What a close of this month may read, as it was known by a moment."""
    tables = admitted_inputs(store, known_by=known_by)
    clinical, _ = read_clinic(store, tables, cycle=add_months(month, 1), known_by=known_by)
    counting = counting_runs(store, known_by=known_by)
    runs = {cycle: run_id for cycle, run_id in counting.items() if cycle <= month}
    closes = standing_closes(store, before=add_months(month, 1), known_by=known_by)
    return Closing(
        month=month,
        known_by=known_by,
        history=tables["history"].filter(~pl.col("partial") & (pl.col("ds") <= month)),
        items=tables["items"],
        prices=tables["prices"],
        clinical=clinical,
        runs=runs,
        statements=read_statements(store, runs.values()),
        earlier=closes.filter(pl.col("closed") < month),
        same=closes.filter(pl.col("closed") == month),
    )


def read_in_time(
    store: Store, month: date, moment: datetime, now: datetime, *, cutoff_day: int
) -> tuple[Closing, datetime]:
    """What is read, and from when what follows from it may be read.

    That is the cut-off of the next cycle when all of it was known by then: a month closed late is
    as good as one closed in time. Otherwise it is now.
    """
    read = read_closing(store, month, moment)
    due = cutoff(add_months(month, 1), cutoff_day=cutoff_day)
    if due < moment and read_closing(store, month, due).digest == read.digest:
        return read, due
    return read, min(moment, now)


def refuse_incomplete(store: Store, read: Closing, settings: Settings, *, require: float) -> None:
    """NotNow when history does not reach the month, or too few of its items are known."""
    last, name = read.history["ds"].max(), month_name(read.month)
    if read.known_by.date() <= month_end(read.month):
        raise NotNow(f"{name} cannot be closed: by {read.known_by:%Y-%m-%d} it is not over")
    if not isinstance(last, date) or last < read.month:
        ends = f"ends in {month_name(last)}" if isinstance(last, date) else "is empty"
        raise NotNow(
            f"{name} cannot be closed: by {read.known_by:%Y-%m-%d} complete history {ends}. Load "
            f"history through {name} and close again"
        )
    if require == 0.0 or read.run_id is None or settings.history.missing == "zero":
        return
    has_history = ~pl.col("kind").is_in(["zero", "clinic"])
    expected = read_components(store, read.run_id).filter(has_history)["unique_id"]
    known = read.history.filter(pl.col("ds") == read.month, pl.col("y").is_not_null())
    missing = expected.filter(~expected.is_in(known["unique_id"].to_list()))
    share = 1.0 - len(missing) / max(len(expected), 1)
    if share < require:
        more = ", ..." if len(missing) > NAMED_ITEMS else ""
        raise NotNow(
            f"{name} is not closed: the demand of {share:.1%} of its {len(expected):,} items is "
            f"known and --require asks for {require:.1%}; missing: "
            f"{', '.join(missing.head(NAMED_ITEMS))}{more}. Load them, or close with less"
        )
