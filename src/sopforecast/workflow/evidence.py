"""What a cycle may use of judgement, as of its cut-off: overrides, their record, what they stated.

Everything here is read as it was known by a moment, so that a past cycle run again sees what it
would have seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

import polars as pl

from sopforecast.core.months import add_months, month_name, month_range
from sopforecast.planning_store.counting import counting_runs
from sopforecast.planning_store.frames import hash_rows
from sopforecast.planning_store.learned import standing_closes
from sopforecast.planning_store.run_outputs import read_horizons
from sopforecast.planning_store.runs import read_statements
from sopforecast.planning_store.store import Store
from sopforecast.workflow.admission import Admitted
from sopforecast.workflow.champions import Champions


@dataclass(frozen=True, eq=False)
class Evidence:
    """What is known of those who speak in a cycle; empty when nobody does.

    Attributes
    ----------
    fit_id : str or None
        The fit of the day, of the newest month closed before the cycle and known by its cut-off;
        None while the prior rules.
    credibility : pl.DataFrame or None
        Its rows.
    entered : pl.DataFrame or None
        ``Statements`` of the runs that count: of overrides that still live, in the cycle they were
        entered, and all of the cycle before.
    """

    fit_id: str | None = None
    credibility: pl.DataFrame | None = None
    entered: pl.DataFrame | None = None

    @property
    def hashed(self) -> tuple[str, ...]:
        """What of it can change a number of a run; nothing when nobody speaks."""
        if self.entered is None:
            return ()
        return (self.fit_id or "prior only", hash_rows(self.entered))


NO_EVIDENCE = Evidence()


def gather_evidence(store: Store, inputs: Admitted, champions: Champions) -> Evidence:
    """The fit that rules and what was stated before, for a cycle in which somebody speaks."""
    if inputs.overrides.is_empty():
        return NO_EVIDENCE
    counting = counting_runs(store, known_by=inputs.known_by)
    return Evidence(
        fit_id=champions.fits["credibility"],
        credibility=champions.credibility,
        entered=_entered(store, inputs.overrides, inputs.cycle, counting),
    )


def living(overrides: pl.DataFrame, cycle: date) -> pl.DataFrame:
    """Overrides that count in a cycle: active, entered by then, not past and not expired."""
    return overrides.filter(
        pl.col("status") == "active",
        pl.col("entered_cycle") <= cycle,
        pl.col("ds_to") >= cycle,
        (pl.col("expires_cycle") > cycle).fill_null(True),
    )


def not_closed(store: Store, *, before: date, known_by: datetime) -> list[date]:
    """Months that are over, of which a forecast is stored, and which nobody has closed."""
    counting = counting_runs(store, known_by=known_by)
    runs = {cycle: run_id for cycle, run_id in counting.items() if cycle < before}
    horizons = read_horizons(store, runs.values())
    forecast = {m for cycle, run_id in runs.items() for m in month_range(cycle, horizons[run_id])}
    closed = set(standing_closes(store, before=before, known_by=known_by)["closed"])
    return sorted(month for month in forecast - closed if month < before)


def not_closed_sentence(months: list[date]) -> str:
    """What to do about months that are not closed."""
    names = [month_name(month) for month in months]
    is_one = len(names) == 1
    are = f"{names[0]} is" if is_one else f"{len(names)} months, {names[0]} to {names[-1]}, are"
    what = "it" if is_one else "them"
    order = "" if is_one else "; oldest first"
    return (
        f"{are} over and not closed, so what was forecast of {what} has taught nothing yet"
        f"{order}: sopforecast close --cycle {names[0]}"
    )


def _entered(
    store: Store, overrides: pl.DataFrame, cycle: date, counting: dict[date, str]
) -> pl.DataFrame:
    previous = add_months(cycle, -1)
    alive = living(overrides, cycle)
    cycles = {month for month in alive["entered_cycle"] if month < cycle} | {previous}
    runs = [run_id for month, run_id in counting.items() if month in cycles]
    at_entry = pl.col("entered_cycle") == pl.col("cycle")
    still_lives = pl.col("override_id").is_in(alive["override_id"].to_list())
    return read_statements(store, runs).filter(
        (pl.col("cycle") == previous) | (at_entry & still_lives)
    )
