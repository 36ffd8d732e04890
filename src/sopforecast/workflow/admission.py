"""What one cycle may read: which cycle is open, and the rows known by its cut-off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

import polars as pl

from sopforecast.core.months import add_months, cutoff, month_name
from sopforecast.errors import NotNow, RequestError
from sopforecast.planning_store.inputs import admitted_inputs, input_hash
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
    loaded: pl.DataFrame
    waiting: int = 0

    @property
    def input_hash(self) -> str:
        """SHA-256 of what the rows say; when and by whom they came does not count.

        Overrides and prices count when there are any, so a plan without them keeps its run id.
        """
        said = {"overrides": self.overrides, "prices": self.prices}
        given = {name: rows for name, rows in said.items() if rows.height}
        return input_hash({"history": self.history, "items": self.items} | given)

    @property
    def loads_used(self) -> list[str]:
        """Ids of the loads these rows came with."""
        tables = (self.history, self.items, self.overrides, self.prices)
        return sorted({load for table in tables for load in table["load_id"]})

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
    open_cycle = _open_cycle(tables["history"], moment)
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
    return Admitted(
        cycle=cycle,
        known_by=known_by,
        history=history,
        items=tables["items"],
        overrides=_of_the_base(tables["overrides"], cycle),
        prices=tables["prices"],
        loaded=loaded,
        waiting=waiting,
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
        if name == "overrides":
            before, after = _of_the_base(before, cycle), _of_the_base(after, cycle)
        told = [*keys, "known_at", "load_id"]
        fresh = after.join(before.select(told), on=told, how="anti")
        count += fresh.height + before.join(after, on=keys, how="anti").height
    return count


def _open_cycle(history: pl.DataFrame, moment: datetime) -> date:
    """The month after the last complete history month."""
    last = history.filter(~pl.col("partial"))["ds"].max()
    if not isinstance(last, date):
        raise RequestError(
            f"no complete month of history was known by {moment:%Y-%m-%d}; load some first: "
            "sopforecast load history FILE"
        )
    return add_months(last, 1)
