"""What one cycle may read: which cycle is open, and the rows known by its cut-off."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

import polars as pl

from sopforecast.core.months import add_months, cutoff, month_name
from sopforecast.errors import NotNow, RequestError
from sopforecast.planning_store.inputs import admitted_inputs, input_hash
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
    loaded : pl.DataFrame
        All of history known by then, partial rows included, for the checks.
    """

    cycle: date
    known_by: datetime
    history: pl.DataFrame
    items: pl.DataFrame
    loaded: pl.DataFrame

    @property
    def input_hash(self) -> str:
        """SHA-256 of what the rows say; when and by whom they came does not count."""
        return input_hash({"history": self.history, "items": self.items})

    @property
    def loads_used(self) -> list[str]:
        """Ids of the loads these rows came with."""
        return sorted({*self.history["load_id"], *self.items["load_id"]})


def admit(store: Store, *, cycle: date | None, moment: datetime, cutoff_day: int) -> Admitted:
    """Rows for a cycle, known by `moment` and by the cycle's cut-off.

    Parameters
    ----------
    store
        Where from.
    cycle
        First forecast month; the month after the last complete history month when None.
    moment
        UTC without a time zone.
    cutoff_day
        Day of the first forecast month.

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
    known_by = min(cutoff(cycle, cutoff_day=cutoff_day), moment)
    if known_by < moment:
        tables = admitted_inputs(store, known_by=known_by)
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
    return Admitted(cycle, known_by, history, tables["items"], loaded)


def _open_cycle(history: pl.DataFrame, moment: datetime) -> date:
    """The month after the last complete history month."""
    last = history.filter(~pl.col("partial"))["ds"].max()
    if not isinstance(last, date):
        raise RequestError(
            f"no complete month of history was known by {moment:%Y-%m-%d}; load some first: "
            "sopforecast load history FILE"
        )
    return add_months(last, 1)
