"""Prices: what a quantity is worth, so that judgements given in money become quantities.

Reads ``Prices``. The price in force in a month is the one of the latest ``ds_from`` up to it;
months before the first price take the first one.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from sopforecast.core.months import month_range
from sopforecast.errors import RequestError

if TYPE_CHECKING:
    from sopforecast.judgement.overrides import Scalars


def is_money() -> pl.Expr:
    """Rows whose value is money: revenue, but for percentages, which need no price."""
    return (pl.col("measure") == "revenue") & (pl.col("kind") != "percent")


def prices_in_force(
    prices: pl.DataFrame | None, items: Sequence[str], months: Sequence[date]
) -> np.ndarray:
    """Return the price (n, m) of each item in each month, money a unit; NaN where it has none.

    Parameters
    ----------
    prices : pl.DataFrame or None
        ``Prices`` rows; None is no price at all.
    items : sequence of str, length n
    months : sequence of date, length m
    """
    table = np.full((len(items), len(months)), np.nan)
    if prices is None or prices.is_empty():
        return table
    wanted = np.array(months, dtype="datetime64[D]")
    rows = prices.filter(pl.col("unique_id").is_in(list(items))).sort("unique_id", "ds_from")
    for (item,), own in rows.partition_by("unique_id", as_dict=True).items():
        since = own["ds_from"].to_numpy().astype("datetime64[D]")
        latest = np.maximum(np.searchsorted(since, wanted, side="right") - 1, 0)
        table[np.array([one == item for one in items])] = own["price"].to_numpy()[latest]
    return table


def prices_of(
    scalars: Scalars,
    prices: pl.DataFrame | None,
    *,
    items: Sequence[str],
    weights: Sequence[np.ndarray | None],
) -> np.ndarray:
    """Return the mix price (K,) of each scalar's node over its months; NaN where none is needed.

    Parameters
    ----------
    scalars : Scalars
    prices : pl.DataFrame or None
        ``Prices`` rows.
    items : sequence of str, length B
        ``hierarchy.items``.
    weights : sequence of ndarray or None, length K
        Statistical mean of the scalar's items and months, shape (items, months); read only for
        statements in money.

    Returns
    -------
    ndarray, shape (K,)
        ``sum(mean price) / sum(mean)``, money a unit; the plain mean where all means are zero.

    Raises
    ------
    RequestError
        When an item of a statement in money has no price.
    """
    mix = np.full(scalars.frame.height, np.nan)
    needed = scalars.frame.select(is_money()).to_series().to_numpy()
    ids, starts = scalars.frame["override_id"].to_list(), scalars.frame["ds_from"].to_list()
    for k in np.flatnonzero(needed).tolist():
        names = [items[i] for i in scalars.members[k]]
        months = month_range(starts[k], len(scalars.months[k]))
        price = prices_in_force(prices, names, months)
        refuse_missing_price(price, names, override_id=ids[k])
        mean = weights[k]
        if mean is None or mean.shape != price.shape:
            raise ValueError(f"weights of {ids[k]!r}: expected a mean of shape {price.shape}")
        total = mean.sum()
        mix[k] = (mean * price).sum() / total if total > 0 else price.mean()
    return mix


def refuse_missing_price(price: np.ndarray, items: Sequence[str], *, override_id: str) -> None:
    """Raise RequestError naming the override and the first of ``items`` whose price is NaN."""
    missing = np.flatnonzero(np.isnan(price).any(axis=1))
    if missing.size:
        more = f" and {missing.size - 1} more" if missing.size > 1 else ""
        raise RequestError(
            f"override {override_id!r}: found no price of item {items[missing[0]]!r}{more}; "
            "allowed: revenue only where every item below the node has a price; "
            "load prices, or state a quantity"
        )
