"""Fixed sums that no demand can make, because demand comes in steps: told when they are loaded."""

from __future__ import annotations

import math

import numpy as np
import polars as pl

from sopforecast.core.draws import demand_step
from sopforecast.core.hierarchy import Hierarchy
from sopforecast.judgement.telling import number


def uneven_sums(
    overrides: pl.DataFrame, hierarchy: Hierarchy, history: pl.DataFrame | None
) -> list[tuple[tuple[str, ...], str]]:
    """Find fixed quantities that are no multiple of the coarsest step of their items.

    Parameters
    ----------
    overrides : pl.DataFrame
        ``Overrides`` of mode fixed.
    hierarchy : Hierarchy
    history : pl.DataFrame, optional
        unique_id, y: what steps are read from (`core.draws.demand_step`).

    Returns
    -------
    list of (override ids, sentence)
    """
    rows = overrides.filter(pl.col("kind") == "absolute", pl.col("measure") == "quantity")
    if rows.is_empty() or history is None:
        return []
    known = dict(history.group_by("unique_id").agg(pl.col("y").drop_nulls()).iter_rows())
    found: list[tuple[tuple[str, ...], str]] = []
    for override_id, node, value in rows.select("override_id", "node", "value").iter_rows():
        items = [hierarchy.items[i] for i in hierarchy.descendants(node)]
        step = max(demand_step(np.array(known.get(item, ()), dtype=np.float64)) for item in items)
        below = math.floor(value / step) * step
        if below != value:
            near = f"{number(below)} or {number(below + step)}"
            said = f"{number(value)} fixed on {node}, where demand comes in steps of {number(step)}"
            found.append(((override_id,), f"{said}: take {near}"))
    return found
