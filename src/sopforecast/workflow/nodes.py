"""The nodes of a stored run: their levels and units, as its components name them."""

from __future__ import annotations

import json
from collections.abc import Sequence

import polars as pl

from sopforecast.core.hierarchy import ITEM, TOTAL

MIXED_UNITS = "mixed units"


def members(components: pl.DataFrame, *, levels: Sequence[str]) -> pl.DataFrame:
    """Which nodes each item is part of, itself included: node, level, unique_id.

    Parameters
    ----------
    components
        ``Components`` of one run; ``groups`` names an item's aggregates, total first.
    levels
        Labels of the run, in settings order.

    Returns
    -------
    pl.DataFrame
        By level (total first, items last), then by node name.
    """
    labels = (TOTAL, *levels, ITEM)
    rows = [
        (place, node, labels[place], item)
        for item, groups in components.select("unique_id", "groups").iter_rows()
        for place, node in enumerate([*json.loads(groups), item])
    ]
    schema = {"place": pl.Int64, "node": pl.String, "level": pl.String, "unique_id": pl.String}
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    return frame.sort("place", "node", "unique_id").drop("place")


def node_levels(belongs: pl.DataFrame) -> dict[str, str]:
    """Node to level label, in the order of ``members``."""
    nodes = belongs.select("node", "level").unique(maintain_order=True)
    return dict(nodes.iter_rows())


def node_units(items: pl.DataFrame, belongs: pl.DataFrame) -> dict[str, str]:
    """The unit of every node whose items say one; several make ``mixed units``."""
    units = (
        items.select("unique_id", "unit")
        .drop_nulls()
        .join(belongs, on="unique_id")
        .group_by("node")
        .agg(pl.col("unit").unique())
    )
    return {node: found[0] if len(found) == 1 else MIXED_UNITS for node, found in units.iter_rows()}
