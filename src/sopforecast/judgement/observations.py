"""Statements whose months are over, beside what came: what credibility is learned from.

However often an override was carried, it is one opinion: it is scored at the lead at which it was
entered, against the baseline of the run of that cycle.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import numpy as np
import polars as pl

from sopforecast.core.evidence_tables import Observations
from sopforecast.core.hierarchy import Hierarchy
from sopforecast.core.months import months_between


def observe(
    statements: pl.DataFrame,
    actuals: pl.DataFrame,
    hierarchy: Hierarchy,
    *,
    closed: date,
    awaited: Mapping[str, date] | None = None,
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Join statements to what came.

    Parameters
    ----------
    statements : pl.DataFrame
        ``Statements`` of the runs that count, one run a cycle. Evidence entered in the cycle of its
        run is read; the rest was read before, or is no evidence.
    actuals : pl.DataFrame
        unique_id, ds, y of the items; y null where unknown.
    hierarchy : Hierarchy
        Which items make up a node today.
    closed : date
        Newest month that is over.
    awaited : mapping of str to date, optional
        Items that have demand from a month on, whether or not any is recorded: their unknown
        months are unknown, and not zero.

    Returns
    -------
    observations : pl.DataFrame
        ``Observations``, sorted by override_id and ds_from.
    notes : tuple of str
        What could not be scored, and why.
    """
    rows = statements.filter(
        pl.col("mode") == "evidence",
        pl.col("entered_cycle") == pl.col("cycle"),
        pl.col("ds_to") <= closed,
    ).sort("override_id", "ds_from")
    known = set(hierarchy.nodes)
    gone = sorted(set(rows["node"].to_list()) - known)
    rows = rows.filter(pl.col("node").is_in(list(known)))
    y = _sums(rows, actuals, hierarchy, awaited or {})
    seen = np.isfinite(y)
    notes = [f"no longer in the hierarchy, not scored: {', '.join(gone)}"] if gone else []
    if not seen.all():
        waiting = rows.filter(pl.Series(~seen))["override_id"].n_unique()
        some = "1 override waits" if waiting == 1 else f"{waiting} overrides wait"
        notes.append(f"{some}: some months have no known demand yet")
    found = rows.with_columns(
        cell=pl.format("{} {} {}", "node", "ds_from", "ds_to"),
        age=pl.Series(
            [float(months_between(to, closed)) for to in rows["ds_to"]], dtype=pl.Float64
        ),
        y=(pl.Series(y) - pl.col("baseline")) / pl.col("unit_sd"),
        d=pl.col("probability") * pl.col("adjustment") / pl.col("unit_sd"),
        stated_sd=pl.col("stated_sd") / pl.col("unit_sd"),
    )
    return found.filter(pl.Series(seen)).select(Observations.column_names()), tuple(notes)


def _sums(
    rows: pl.DataFrame,
    actuals: pl.DataFrame,
    hierarchy: Hierarchy,
    awaited: Mapping[str, date],
) -> np.ndarray:
    """What came (K,) over the node and months of each row; NaN while any of it is unknown."""
    if rows.height == 0:
        return np.empty(0)
    first, last = min(rows["ds_from"].to_list()), max(rows["ds_to"].to_list())
    table = np.full((len(hierarchy.items), months_between(first, last) + 1), np.nan)
    place = {item: i for i, item in enumerate(hierarchy.items)}
    wanted = actuals.filter(pl.col("ds").is_between(first, last), pl.col("y").is_not_null())
    for item, ds, y in wanted.select("unique_id", "ds", "y").iter_rows():
        if item in place:
            table[place[item], months_between(first, ds)] = y
    begun = actuals.group_by("unique_id").agg(pl.col("ds").min())
    starts = dict(begun.iter_rows())
    for item, i in place.items():
        # Before its first month an item has no demand, not an unknown one.
        begins = [month for month in (starts.get(item), awaited.get(item)) if month is not None]
        start = min(begins, default=None)
        if start is None or start > first:
            table[i, : months_between(first, start) if start else None] = 0.0
    members = {node: hierarchy.descendants(node) for node in rows["node"].unique()}
    return np.array([
        table[members[node], months_between(first, a) : months_between(first, b) + 1].sum()
        for node, a, b in rows.select("node", "ds_from", "ds_to").iter_rows()
    ])  # fmt: skip
