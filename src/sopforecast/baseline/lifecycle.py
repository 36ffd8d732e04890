"""Months in which an item has no demand by decision: before its launch, after its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date

import numpy as np
import polars as pl

from sopforecast.baseline.forecast import Baseline
from sopforecast.core.months import months_between


def months_without_demand(
    items: pl.DataFrame | None, names: Sequence[str], *, cycle: date, horizon: int
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Which months ahead are closed for which item, and why.

    Parameters
    ----------
    items : pl.DataFrame or None
        ``Items``: status, launch_ds and end_ds are read where they are there.
    names : sequence of str, length B
    cycle : date
        First month ahead.
    horizon : int
        H months.

    Returns
    -------
    closed : ndarray (B, H) of bool
        ``end_ds`` is the last month with demand, ``launch_ds`` the first. A discontinued item
        without ``end_ds`` has no demand at all.
    reasons : tuple of str, length B
        Empty where nothing is closed.
    """
    closed = np.zeros((len(names), horizon), dtype=bool)
    reasons: list[list[str]] = [[] for _ in names]
    if items is None or items.height == 0:
        return closed, tuple("" for _ in names)
    lead = np.arange(horizon)
    position = {name: i for i, name in enumerate(names)}
    for row in items.iter_rows(named=True):
        i = position.get(row["unique_id"])
        if i is None:
            continue
        end, launch = row.get("end_ds"), row.get("launch_ds")
        if end is not None and (after := lead > months_between(cycle, end)).any():
            closed[i] |= after
            reasons[i].append(f"no demand after its end_ds {end:%Y-%m}")
        elif end is None and row.get("status") == "discontinued":
            closed[i] = True
            reasons[i].append("status discontinued: forecast as zero")
        if launch is not None and (before := lead < months_between(cycle, launch)).any():
            closed[i] |= before
            reasons[i].append(f"no demand before its launch_ds {launch:%Y-%m}")
    return closed, tuple("; ".join(reason) for reason in reasons)


def no_demand_when_closed(
    baseline: Baseline, items: pl.DataFrame | None, *, cycle: date, horizon: int
) -> tuple[Baseline, tuple[str, ...]]:
    """No demand after an item's end or before its launch; the baseline and a note if any had such.

    Parameters
    ----------
    baseline : Baseline
    items : pl.DataFrame, optional
        ``Items``.
    cycle : date
        First forecast month.
    horizon : int
    """
    names = [model.unique_id for model in baseline.models]
    closed, reasons = months_without_demand(items, names, cycle=cycle, horizon=horizon)
    if not closed.any():
        return baseline, ()
    models, why = list(baseline.models), list(baseline.reasons)
    for i in np.flatnonzero(closed.any(axis=1)):
        centre = np.where(closed[i], 0.0, models[i].centre)
        spread = np.where(closed[i], 0.0, models[i].spread)
        kind = "zero" if closed[i].all() else models[i].kind
        models[i] = replace(models[i], centre=centre, spread=spread, kind=kind)
        why[i] = "; ".join(filter(None, [reasons[i], why[i]]))
    count = int(closed.any(axis=1).sum())
    items_have = "1 item has" if count == 1 else f"{count:,} items have"
    note = f"{items_have} months before a launch or after an end: zero there"
    return replace(baseline, models=tuple(models), reasons=tuple(why)), (note,)
