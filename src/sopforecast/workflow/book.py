"""What models said in earlier runs, read from the store once and kept while it is of use.

Only a memory: a run gives the same bytes with it and without.
"""

from __future__ import annotations

from datetime import date

import polars as pl

from sopforecast.baseline.backtest import MAX_SPAN
from sopforecast.baseline.known_paths import KnownPaths, paths_code
from sopforecast.core.months import add_months, month_range
from sopforecast.planning_store.paths import read_paths, save_paths
from sopforecast.planning_store.store import Store

SPAN = MAX_SPAN + 2  # origins stand at ends of quarters


class Book:
    """Model paths of a store, by month of origin; a replay keeps one over all its cycles."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known = KnownPaths()
        self._read: set[tuple[date, int]] = set()

    def known(self, last_month: date, horizon: int) -> KnownPaths:
        """Paths from the origins that a run on history up to this month may ask for."""
        first = add_months(last_month, -SPAN)
        origins = [
            month for month in month_range(first, SPAN + 1) if (month, horizon) not in self._read
        ]
        if origins:
            self._known.add(read_paths(self._store, origins, horizon=horizon, code=paths_code()))
            self._read.update((month, horizon) for month in origins)
        return self._known

    def keep(self, paths: pl.DataFrame, run_id: str) -> None:
        """Store what a run's models said (``ModelPaths`` without ``run_id``)."""
        if paths.height:
            save_paths(self._store, paths.with_columns(run_id=pl.lit(run_id)))
