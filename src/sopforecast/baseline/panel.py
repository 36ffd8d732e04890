"""Cleansed history as one array: a row a node (items and aggregates), a column a month.

Every series ends in the same month, the one before the cycle, and is NaN before its first month.
``y`` is what models fit; ``scored`` is what a forecast of the month is compared with: the recorded
demand, NaN where the month is not known (see ``baseline.cleanse``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from sopforecast.baseline.cleanse import SCORED_FLAGS, cleansed_then
from sopforecast.core.hierarchy import Hierarchy
from sopforecast.core.months import add_months, months_between


@dataclass(frozen=True)
class Panel:
    """Demand of N nodes over T months, in the node's unit.

    Attributes
    ----------
    nodes : tuple of str
        N names.
    y : ndarray (N, T)
        Fit values; NaN before a node's first month, never after it.
    scored : ndarray (N, T)
        Recorded demand; NaN where the month is unknown.
    last_month : date
        Month of the last column.
    """

    nodes: tuple[str, ...]
    y: np.ndarray
    scored: np.ndarray
    last_month: date

    @property
    def n_months(self) -> np.ndarray:
        """Months since each node's first one, shape (N,)."""
        return np.isfinite(self.y).sum(axis=1)


def since_launch(cleansed: pl.DataFrame, segments: pl.DataFrame) -> pl.DataFrame:
    """Leave out the months of zero before an item's first demand (``Segments.first_ds``)."""
    launched = cleansed.join(
        segments.select("unique_id", "first_ds"), on="unique_id", maintain_order="left"
    )
    kept = pl.col("first_ds").is_null() | (pl.col("ds") >= pl.col("first_ds"))
    return launched.filter(kept).drop("first_ds")


def item_panel(cleansed: pl.DataFrame, items: tuple[str, ...], *, last_month: date) -> Panel:
    """Lay the cleansed months of ``items`` out as arrays; an item without months is all NaN."""
    position = {item: i for i, item in enumerate(items)}
    frame = cleansed.filter(pl.col("unique_id").is_in(list(items)))
    first: date = frame.select(pl.col("ds").min()).item() or last_month
    width = months_between(first, last_month) + 1
    row = np.array([position[u] for u in frame["unique_id"]], dtype=np.int64)
    column = frame.select(
        (pl.col("ds").dt.year().cast(pl.Int64) - first.year) * 12
        + (pl.col("ds").dt.month().cast(pl.Int64) - first.month)
    ).to_series()
    y = np.full((len(items), width), np.nan)
    scored = np.full((len(items), width), np.nan)
    y[row, column.to_numpy()] = frame["y"].to_numpy()
    is_scored = frame["flag"].is_in(list(SCORED_FLAGS)).to_numpy()
    scored[row[is_scored], column.to_numpy()[is_scored]] = (
        frame["y_original"].cast(pl.Float64).to_numpy()[is_scored]
    )
    return Panel(items, y, scored, last_month)


def panels_then(
    launched: pl.DataFrame, hierarchy: Hierarchy, offsets: Sequence[int], *, last_month: date
) -> tuple[np.ndarray, ...]:
    """Fit values of every node up to each past origin, cleansed as they would have been then.

    Parameters
    ----------
    launched : pl.DataFrame
        Cleansed months since launch (`since_launch`).
    hierarchy : Hierarchy
        N nodes.
    offsets : sequence of int
        O origins, months before the end.
    last_month : date
        The end.

    Returns
    -------
    tuple of ndarray (N, T - offset), length O
        Columns as those of the panel of ``launched``.
    """
    answer = []
    for offset in offsets:
        origin = add_months(last_month, -offset)
        then = item_panel(cleansed_then(launched, origin), hierarchy.items, last_month=origin)
        answer.append(node_panel(then, hierarchy).y)
    return tuple(answer)


def node_panel(items: Panel, hierarchy: Hierarchy) -> Panel:
    """Put the aggregates before the items; rows follow ``hierarchy.nodes``.

    An aggregate's month is the sum of its items that had started by then. Its ``scored`` value
    takes the fit value of an item whose month is unknown, so that one gap does not hide a family.
    """
    known = np.where(np.isfinite(items.scored), items.scored, items.y)
    sums = hierarchy.aggregate(np.nan_to_num(items.y)[..., :])
    sums_scored = hierarchy.aggregate(np.nan_to_num(known))
    started = hierarchy.aggregate(np.isfinite(items.y).astype(float)) > 0
    return Panel(
        hierarchy.nodes,
        np.concatenate([np.where(started, sums, np.nan), items.y]),
        np.concatenate([np.where(started, sums_scored, np.nan), items.scored]),
        items.last_month,
    )
