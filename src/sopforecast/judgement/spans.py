"""What is left of a judgement about several months together, once some of them are past.

Of an ``absolute`` span the known demand of the past months is taken off; a ``delta`` is shared
equally by its months; a percentage stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from sopforecast.core.hierarchy import Hierarchy
from sopforecast.core.months import month_name, month_range, months_between
from sopforecast.judgement.money import prices_in_force, refuse_missing_price
from sopforecast.judgement.telling import number

VALUES = ("value", "low", "high")


def what_is_left(
    spans: pl.DataFrame,
    hierarchy: Hierarchy,
    *,
    cycle: date,
    history: pl.DataFrame | None,
    prices: pl.DataFrame | None,
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Give each span the value, low and high of its months from the cycle on.

    Parameters
    ----------
    spans : pl.DataFrame
        ``Overrides`` rows with ``per`` span; those that begin in the cycle or later stay as is.
    hierarchy : Hierarchy
    cycle : date
        First forecast month.
    history : pl.DataFrame or None
        unique_id, ds, y; partial rows are not read. A past month of a node is known when ``y`` of
        every item that had begun by then is known. What a month without a row means is for the
        caller to settle; here it is unknown.
    prices : pl.DataFrame or None
        ``Prices`` rows, read for revenue only.

    Returns
    -------
    rows : pl.DataFrame
        The spans with their values replaced, and a Boolean column ``remainder``: months are past
        and the value is no longer the one that was entered.
    notes : tuple of str
        Which spans were shared by months for want of an actual, and which are used up.

    Raises
    ------
    RequestError
        When past months of a statement in money have no price.

    Notes
    -----
    With ``spent`` the known demand of past months, ``m`` months to come and ``u`` past months
    without a known actual, an absolute value becomes ``max(0, value - spent) m / (m + u)``.
    """
    is_begun = (pl.col("ds_from") < cycle) & (pl.col("kind") != "percent")
    spans = spans.with_columns(remainder=is_begun)
    begun = spans.filter("remainder")
    if begun.is_empty():
        return spans, ()
    past = _past(history, hierarchy, first=begun["ds_from"].min(), cycle=cycle)  # type: ignore[arg-type]
    values: dict[str, list[float | None]] = {name: [] for name in VALUES}
    notes: list[str] = []
    for row in begun.iter_rows(named=True):
        spent, share, told = _spent(row, past, hierarchy, cycle=cycle, prices=prices)
        notes += told
        for name in VALUES:
            values[name].append(_left(row[name], spent, share, kind=row["kind"]))
    changed = begun.with_columns(pl.Series(name, values[name], pl.Float64) for name in VALUES)
    return pl.concat([spans.filter(~pl.col("remainder")), changed]), tuple(notes)


@dataclass(frozen=True)
class _Past:
    """Months before the cycle: known demand (B, P), NaN unknown; whether the item had begun."""

    months: list[date]
    y: np.ndarray
    has_begun: np.ndarray


def _past(history: pl.DataFrame | None, hierarchy: Hierarchy, *, first: date, cycle: date) -> _Past:
    months = month_range(first, months_between(first, cycle))
    y = np.full((len(hierarchy.items), len(months)), np.nan)
    has_begun = np.zeros(y.shape, dtype=bool)
    if history is None or history.is_empty():
        return _Past(months, y, has_begun)
    known = history.filter(pl.col("y").is_not_null(), pl.col("ds") < cycle)
    if "partial" in history.columns:
        known = known.filter(~pl.col("partial").fill_null(False))
    order = pl.DataFrame({"unique_id": hierarchy.items}).with_row_index("item")
    known = known.select("unique_id", "ds", "y").join(order, on="unique_id")
    begins = known.group_by("item").agg(pl.col("ds").min())
    for item, begin in begins.iter_rows():
        has_begun[item, max(0, months_between(first, begin)) :] = True
    known = known.filter(pl.col("ds") >= first)
    column = [months_between(first, ds) for ds in known["ds"]]
    y[known["item"].to_numpy(), column] = known["y"].to_numpy()
    return _Past(months, y, has_begun)


def _spent(
    row: dict[str, Any],
    past: _Past,
    hierarchy: Hierarchy,
    *,
    cycle: date,
    prices: pl.DataFrame | None,
) -> tuple[float, float, list[str]]:
    """Return what past months used, the share of the rest that is to come, and notes."""
    ahead = months_between(cycle, row["ds_to"]) + 1
    begin = months_between(past.months[0], row["ds_from"])
    months = past.months[begin:]
    if row["kind"] == "delta":
        return 0.0, ahead / (ahead + len(months)), []
    members = hierarchy.descendants(row["node"])
    y, has_begun = past.y[members, begin:], past.has_begun[members, begin:]
    is_known = has_begun.any(axis=0) & (np.isfinite(y) | ~has_begun).all(axis=0)
    used = np.nan_to_num(y)
    if row["measure"] == "revenue":
        names = [hierarchy.items[i] for i in members]
        price = prices_in_force(prices, names, months)
        refuse_missing_price(price, names, override_id=row["override_id"])
        used = used * price
    spent = float(used[:, is_known].sum())
    unknown = [month for month, known in zip(months, is_known, strict=True) if not known]
    notes = []
    if unknown:
        names = [month_name(month) for month in unknown]
        notes.append(
            f"override {row['override_id']!r}: past months without a known actual take their part "
            f"by number of months: {', '.join(names)}"
        )
    if spent > row["value"]:
        notes.append(
            f"override {row['override_id']!r}: {number(spent)} came in its past months, more than "
            f"the {number(row['value'])} it states for all of them; nothing is left to come"
        )
    return spent, ahead / (ahead + len(unknown)), notes


def _left(value: float | None, spent: float, share: float, *, kind: str) -> float | None:
    if value is None:
        return None
    left = (value - spent) * share
    return left if kind == "delta" else max(0.0, left)
