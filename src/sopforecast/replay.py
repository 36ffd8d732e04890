"""Past cycles one after another, each run and then closed, as they would have been.

The order is the whole point: the run of a cycle reads what the closes before it taught, and
nothing of what came after. What a run and a close are is for the caller to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Generic, TypeVar

from sopforecast.core.months import month_name, month_range, months_between
from sopforecast.errors import RequestError

Ran = TypeVar("Ran")
Closed = TypeVar("Closed")


@dataclass(frozen=True)
class Replayed(Generic[Ran, Closed]):
    """One cycle: what its run gave, and what closing its month gave (None: not over yet)."""

    cycle: date
    ran: Ran
    closed: Closed | None


def cycles_between(first: date, last: date) -> list[date]:
    """Cycles from the first to the last one, both included.

    Raises
    ------
    RequestError
        The last comes before the first.
    """
    if last < first:
        raise RequestError(
            f"replay: found --from {month_name(first)} after --to {month_name(last)}; allowed: "
            "the earlier month first"
        )
    return month_range(first, months_between(first, last) + 1)


def replay_cycles(
    cycles: list[date],
    *,
    run: Callable[[date], Ran],
    close: Callable[[date], Closed | None],
    on_progress: Callable[[str, float], None] | None = None,
) -> Iterator[Replayed[Ran, Closed]]:
    """Run and close each cycle before the next one starts.

    Parameters
    ----------
    cycles : list of date
        First forecast months, in order.
    run : callable
        Forecasts one cycle from what was known by its cut-off.
    close : callable
        Closes the month of that cycle from what was known by the next cut-off; None when its
        demand was not known by then.
    on_progress : callable, optional
        Told ``replay`` and the share of cycles that are done.

    Yields
    ------
    Replayed
        In the order of ``cycles``.
    """
    for done, cycle in enumerate(cycles):
        if on_progress:
            on_progress("replay", done / len(cycles))
        yield Replayed(cycle, run(cycle), close(cycle))
    if on_progress and cycles:
        on_progress("replay", 1.0)
