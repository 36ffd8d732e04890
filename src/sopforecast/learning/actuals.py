"""What the demand of a month was, which nodes are whole, and how large errors usually are.

Reads complete rows of ``History`` as known by a moment. A node has an actual when every item below
it has one; the rest wait. What is not known is never taken for zero, but for items from which no
demand was to come, and where the settings say that no row means no demand.

Axes: ``B`` items and ``N`` nodes of a hierarchy, ``T`` months.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from sopforecast.core.hierarchy import Hierarchy
from sopforecast.core.metrics import naive_root_scale, naive_scale
from sopforecast.core.months import MONTHS_A_YEAR, months_between

ZERO, CLINIC = "zero", "clinic"  # kinds of ``Components``


@dataclass(frozen=True, eq=False)
class Demand:
    """Known demand of items by month.

    Attributes
    ----------
    first : date
        Month of the first column.
    place : dict of str to int
        Row of each item.
    y : ndarray (I, T)
        NaN where unknown or where the item had not begun.
    filled : ndarray (I, T)
        For sums: 0 where an item had not begun, and after the last month of one that has ended.
    begun : ndarray of bool (I, T)
        From an item's first known month on.
    """

    first: date
    place: dict[str, int]
    y: np.ndarray
    filled: np.ndarray
    begun: np.ndarray

    def column(self, month: date) -> int:
        """Where a month stands; it may lie outside."""
        return months_between(self.first, month)

    def rows(self, hierarchy: Hierarchy) -> np.ndarray:
        """Row (B,) of every item of a hierarchy."""
        return np.array([self.place[item] for item in hierarchy.items], dtype=np.int64)


def demand_of(
    history: pl.DataFrame, kinds: Mapping[str, str], *, last: date, missing: str
) -> Demand:
    """Lay demand out, items by months.

    Parameters
    ----------
    history : pl.DataFrame
        unique_id, ds, y: complete rows, at most one an item and month.
    kinds : mapping of str to str
        Items, and what the newest run that has them says of each: a ``kind`` of ``Components``.
    last : date
        Last month; later rows are not read.
    missing : {"unknown", "zero"}
        What a month without a row means once an item has begun. An empty ``y`` is unknown.
    """
    items = sorted(kinds)
    place = {item: k for k, item in enumerate(items)}
    rows = history.filter(pl.col("ds") <= last, pl.col("unique_id").is_in(items))
    first = rows["ds"].min()
    if not isinstance(first, date):
        first = last
    y = np.full((len(items), months_between(first, last) + 1), np.nan)
    told = np.zeros(y.shape, dtype=bool)
    row = np.array([place[item] for item in rows["unique_id"]], dtype=np.int64)
    years, months = (rows["ds"].dt.year() - first.year), (rows["ds"].dt.month() - first.month)
    at = (row, years.cast(pl.Int64).to_numpy() * MONTHS_A_YEAR + months.cast(pl.Int64).to_numpy())
    y[at] = rows["y"].fill_null(np.nan).to_numpy()
    told[at] = True
    known = np.isfinite(y)
    begun = np.logical_or.accumulate(known, axis=1)
    if missing == "zero":
        y[begun & ~told] = 0.0
    filled = np.where(begun, y, 0.0)
    ended = ~np.logical_or.accumulate(told[:, ::-1], axis=1)[:, ::-1]
    of_no_demand = np.array([kinds[item] == ZERO for item in items], dtype=bool)
    filled[ended & begun & of_no_demand[:, None]] = 0.0
    return Demand(first, place, y, filled, begun)


def actuals_of(
    demand: Demand,
    history: pl.DataFrame,
    kinds: Mapping[str, str],
    *,
    month: date,
    clinic_since: Mapping[str, date],
) -> dict[str, float]:
    """Demand of a month, of every item of which it is known.

    Parameters
    ----------
    demand : Demand
        Up to that month.
    history : pl.DataFrame
        As `demand_of` read it: an item with a row of the month has what the row says, if anything.
    kinds : mapping of str to str
    month : date
    clinic_since : mapping of str to date
        From when the clinic asks for an item; before that it had none, when none was recorded.
    """
    told = set(history.filter(pl.col("ds") == month)["unique_id"].to_list())
    known = {}
    for item, kind in kinds.items():
        row = demand.place[item]
        value = float(demand.y[row, demand.column(month)])
        if np.isfinite(value):
            known[item] = value
        elif item in told:
            continue
        elif kind == ZERO or (
            kind == CLINIC
            and not demand.begun[row].any()
            and clinic_since.get(item, date.max) > month
        ):
            known[item] = 0.0
    return known


def of_nodes(values: Mapping[str, float], hierarchy: Hierarchy) -> np.ndarray:
    """Values (N,) of all nodes; NaN unless every item below has one."""
    bottom = np.array([values.get(item, np.nan) for item in hierarchy.items])
    above = hierarchy.aggregate(bottom[:, None])[:, 0]
    return np.concatenate([above, bottom])


def scales_of(
    demand: Demand, hierarchy: Hierarchy, *, before: date
) -> tuple[np.ndarray, np.ndarray]:
    """Scales of MASE and of RMSSE, each (N,), from months before a cycle; NaN where there is none.

    A sum has the scale of its own series: months in which every item that had begun is known.
    """
    rows, width = demand.rows(hierarchy), max(demand.column(before), 0)
    sums = hierarchy.aggregate(demand.filled[rows, :width])
    any_begun = hierarchy.aggregate(demand.begun[rows, :width].astype(np.float64)) > 0
    both = np.concatenate([np.where(any_begun, sums, np.nan), demand.y[rows, :width]])
    return np.atleast_1d(naive_scale(both)), np.atleast_1d(naive_root_scale(both))
