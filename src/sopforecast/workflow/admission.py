"""What one cycle may read: which cycle is open, and the rows known by its cut-off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

import polars as pl

from sopforecast.clinical.inputs import ClinicalInputs, clinical_inputs
from sopforecast.core.clinical_tables import CLINICAL_TABLES
from sopforecast.core.months import add_months, cutoff, last_complete_month, month_name
from sopforecast.errors import NotNow, RequestError
from sopforecast.planning_store.inputs import admitted_inputs, input_hash, known_versions
from sopforecast.planning_store.schema import INPUTS
from sopforecast.planning_store.store import Store


@dataclass(frozen=True)
class Admitted:
    """The rows of one cycle, and what identifies them.

    Attributes
    ----------
    cycle : date
        First forecast month.
    known_by : datetime
        Everything here was known by then.
    history, items : pl.DataFrame
        ``History`` (complete months before the cycle only) and ``Items`` with level columns.
    overrides : pl.DataFrame
        ``Overrides`` of the base plan (no scenario), entered for this cycle or an earlier one;
        withdrawn and past ones are there.
    prices : pl.DataFrame
        ``Prices``.
    clinical : ClinicalInputs
        Studies, sites, patients, tiers and protocol; every known version of the tier lines.
    loads_of_clinic : tuple of str
        The loads they came with.
    loaded : pl.DataFrame
        All of history known by then, partial rows included, for the checks.
    waiting : int
        Rows that became known after the cut-off and before now: left to the next cycle.
    """

    cycle: date
    known_by: datetime
    history: pl.DataFrame
    items: pl.DataFrame
    overrides: pl.DataFrame
    prices: pl.DataFrame
    clinical: ClinicalInputs
    loads_of_clinic: tuple[str, ...]
    loaded: pl.DataFrame
    waiting: int = 0

    @property
    def input_hash(self) -> str:
        """SHA-256 of what the rows say; when and by whom they came does not count.

        Overrides, prices and the clinic count when there are any, so a plan without them keeps its
        run id.
        """
        said = {"overrides": self.overrides, "prices": self.prices}
        said |= {name: getattr(self.clinical, name) for name in CLINICAL_TABLES}
        # When a line was said to be in its tier is what conversion is learned from.
        said["tier_lines"] = self.clinical.tier_lines.rename({"known_at": "since"})
        given = {name: rows for name, rows in said.items() if rows.height}
        return input_hash({"history": self.history, "items": self.items} | given)

    @property
    def loads_used(self) -> list[str]:
        """Ids of the loads these rows came with."""
        tables = (self.history, self.items, self.overrides, self.prices)
        return sorted({*self.loads_of_clinic, *(id for table in tables for id in table["load_id"])})

    def left_out(self, now: datetime) -> list[str]:
        """The note on rows that wait, as a list of one sentence or none."""
        if not self.waiting:
            return []
        one = self.waiting == 1
        return [
            f"{self.waiting:,} {'row' if one else 'rows'} became known after the cut-off "
            f"{self.known_by:%Y-%m-%d} and {'waits' if one else 'wait'} for the next cycle; "
            f"--as-of {now:%Y-%m-%d} reads {'it' if one else 'them'} now"
        ]


def admit(
    store: Store, *, cycle: date | None, moment: datetime, cutoff_day: int | None
) -> Admitted:
    """Rows for a cycle, known by `moment` and by the cycle's cut-off; never of its own months.

    Parameters
    ----------
    store
        Where from.
    cycle
        First forecast month; the month after the last complete history month when None.
    moment
        UTC without a time zone.
    cutoff_day
        Day of the first forecast month; None: `moment` itself is the cut-off.

    Raises
    ------
    RequestError
        There is no complete history month before the cycle.
    NotNow
        History ends before the month that precedes the cycle.
    """
    tables = admitted_inputs(store, known_by=moment)
    open_cycle = _open_cycle(tables, moment)
    cycle = cycle or open_cycle
    known_by = moment
    if cutoff_day is not None:
        known_by = min(cutoff(cycle, cutoff_day=cutoff_day), moment)
    waiting = 0
    if known_by < moment:
        later, tables = tables, admitted_inputs(store, known_by=known_by)
        waiting = _changed(tables, later, cycle)
    loaded = tables["history"]
    history = loaded.filter(~pl.col("partial") & (pl.col("ds") < cycle))
    clinical, loads_of_clinic = read_clinic(store, tables, cycle=cycle, known_by=known_by)
    if loaded.height or clinical.is_empty:
        _refuse_gap(history, cycle, known_by)
    return Admitted(
        cycle=cycle,
        known_by=known_by,
        history=history,
        items=tables["items"],
        overrides=_of_the_base(tables["overrides"], cycle),
        prices=tables["prices"],
        clinical=clinical,
        loads_of_clinic=loads_of_clinic,
        loaded=loaded,
        waiting=waiting,
    )


def read_clinic(
    store: Store, tables: Mapping[str, pl.DataFrame], *, cycle: date, known_by: datetime
) -> tuple[ClinicalInputs, tuple[str, ...]]:
    """The clinic of a cycle as known by a moment, and the loads it came with.

    ``tables`` are as ``admitted_inputs`` gives them for that moment.
    """
    clinic = {name: tables[name] for name in CLINICAL_TABLES}
    clinic["tier_lines"] = known_versions(store, "tier_lines", known_by=known_by)
    loads = {load_id for rows in clinic.values() for load_id in rows["load_id"]}
    return clinical_inputs(cycle, cut_off=known_by.date(), **clinic), tuple(sorted(loads))


def _refuse_gap(history: pl.DataFrame, cycle: date, known_by: datetime) -> None:
    """History must reach the month before the cycle."""
    last = history["ds"].max()
    if not isinstance(last, date):
        raise RequestError(
            f"no complete month of history before {month_name(cycle)} was known by "
            f"{known_by:%Y-%m-%d}; load older history, or name a later --cycle"
        )
    if add_months(last, 1) < cycle:
        raise NotNow(
            f"cycle {month_name(cycle)} needs history through {month_name(add_months(cycle, -1))}; "
            f"by {known_by:%Y-%m-%d} it ends in {month_name(last)}. Load what is missing, or run "
            f"--cycle {month_name(add_months(last, 1))}"
        )


def _of_the_base(overrides: pl.DataFrame, cycle: date) -> pl.DataFrame:
    """What was entered for the base plan, in this cycle or before."""
    return overrides.filter(pl.col("scenario").is_null() & (pl.col("entered_cycle") <= cycle))


def _changed(
    tables: Mapping[str, pl.DataFrame], later: Mapping[str, pl.DataFrame], cycle: date
) -> int:
    """Rows that the cycle would read differently had it known what is known later."""
    count = 0
    for name, rows in tables.items():
        keys = INPUTS[name].key
        before, after = rows, later[name]
        if name == "history":
            fitted = ~pl.col("partial") & (pl.col("ds") < cycle)
            before, after = before.filter(fitted), after.filter(fitted)
        if name == "enrolment":
            before, after = before.filter(pl.col("ds") < cycle), after.filter(pl.col("ds") < cycle)
        if name == "overrides":
            before, after = _of_the_base(before, cycle), _of_the_base(after, cycle)
        told = [*keys, "known_at", "load_id"]
        fresh = after.join(before.select(told), on=told, how="anti")
        count += fresh.height + before.join(after, on=keys, how="anti").height
    return count


def _open_cycle(tables: Mapping[str, pl.DataFrame], moment: datetime) -> date:
    """The month after the last complete one of history; without history, of enrolment.

    A study in which nobody has enrolled yet opens the month after the last that has ended.
    """
    last = tables["history"].filter(~pl.col("partial"))["ds"].max()
    if not isinstance(last, date) and tables["history"].is_empty():
        last = tables["enrolment"]["ds"].max()
        if last is None and (tables["studies"].height or tables["tier_lines"].height):
            last = last_complete_month(moment.date())
    if not isinstance(last, date):
        raise RequestError(
            f"no complete month of history was known by {moment:%Y-%m-%d}; load some first: "
            "sopforecast load history FILE"
        )
    return add_months(last, 1)
