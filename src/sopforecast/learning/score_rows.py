"""From scored cells to rows of ``Scores``: by version, level and part of the portfolio.

Axes: ``N`` nodes of a hierarchy, ``K`` statements.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from sopforecast.core.hierarchy import ITEM, TOTAL, Hierarchy
from sopforecast.core.learning_tables import ANY
from sopforecast.core.months import months_between
from sopforecast.learning.accuracy import CellScores, added, cell_scores
from sopforecast.learning.actuals import Demand


@dataclass(frozen=True, eq=False)
class Asked:
    """What of a run is scored.

    Attributes
    ----------
    run_id : str
    cycle, month : date
    hierarchy : Hierarchy
    actual : ndarray (N,)
        NaN where it is not whole.
    versions : mapping of str to ndarray of bool (N,)
        By version of ``Scores`` which nodes.
    scale, root_scale : ndarray (N,)
    price : ndarray (N,)
        Money a unit; NaN of sums, and of items without a price.
    """

    run_id: str
    cycle: date
    month: date
    hierarchy: Hierarchy
    actual: np.ndarray
    versions: Mapping[str, np.ndarray]
    scale: np.ndarray
    root_scale: np.ndarray
    price: np.ndarray

    @property
    def nodes(self) -> np.ndarray:
        """Which nodes (N,) any version scores."""
        return np.any(list(self.versions.values()), axis=0)

    @property
    def key(self) -> dict[str, Any]:
        """What all rows of the run share."""
        lead = months_between(self.cycle, self.month) + 1
        return {"run_id": self.run_id, "cycle": self.cycle, "ds": self.month, "lead": lead}


def parts_of(hierarchy: Hierarchy) -> list[tuple[str, str, np.ndarray]]:
    """Level, part and nodes of every row: whole levels, and items by node of the first level."""
    levels = np.array(hierarchy.node_levels, dtype=object)
    parts = [(level, TOTAL, np.flatnonzero(levels == level)) for level in hierarchy.level_labels]
    if len(hierarchy.codes) > 1:
        count = len(hierarchy.aggregates)
        parts += [
            (ITEM, hierarchy.aggregates[code], count + np.flatnonzero(hierarchy.codes[1] == code))
            for code in np.unique(hierarchy.codes[1]).tolist()
        ]
    return parts


def rows_of_stage(stage: str, scores: CellScores, asked: Asked) -> list[dict[str, Any]]:
    """Rows of one stage of one run; cells (N,), read only where a version scores them."""
    rows = []
    parts = parts_of(asked.hierarchy)
    for version, mask in asked.versions.items():
        for level, within, nodes in parts:
            own = nodes[mask[nodes]]
            key = {
                "version": version, "stage": stage, "level": level, "within": within,
                "source": ANY, "owner": ANY,
            } | asked.key  # fmt: skip
            if own.size:
                rows.append(key | {"measure": "quantity"} | added(scores, own))
            priced = own[~np.isnan(asked.price[own])]
            if priced.size:
                price = asked.price[priced]
                rows.append(key | {"measure": "value"} | added(scores, priced, price=price))
    return rows


def rows_of_owners(
    statements: pl.DataFrame, demand: Demand, asked: Asked
) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """What people stated beside the statistical forecast of the same sums, by owner and level.

    Parameters
    ----------
    statements : pl.DataFrame
        ``Statements`` of the run. Evidence entered in its cycle is scored, in the last of its
        months: an opinion counts once, at the lead at which it was entered.
    demand : Demand
        For the months before of what was said of several months together.
    asked : Asked

    Returns
    -------
    rows : list of dict
        Stages ``stated`` and ``statistical``. What happens with a probability is stated as
        baseline plus its share of the adjustment.
    notes : tuple of str
        What cannot be scored.
    """
    said = statements.filter(
        pl.col("mode") == "evidence",
        pl.col("entered_cycle") == asked.cycle,
        pl.col("ds_to") == asked.month,
    ).sort("override_id", "ds_from")
    if said.is_empty():
        return [], ()
    place = {node: k for k, node in enumerate(asked.hierarchy.nodes)}
    at = np.array([place[node] for node in said["node"]])
    actual = asked.actual[at] + _before(said, demand, asked)
    is_sure = said["probability"].to_numpy() == 1.0
    likely = (said["baseline"] + said["probability"] * said["adjustment"]).to_numpy()
    forecasts = {
        "stated": np.where(is_sure, said["stated"].to_numpy(), likely),
        "statistical": said["baseline"].to_numpy(),
    }
    is_month = (said["ds_from"] == said["ds_to"]).to_numpy()
    is_known = ~np.isnan(actual)
    scored = {
        stage: cell_scores(
            np.where(is_known, actual, 0.0), forecast,
            scale=np.where(is_month, asked.scale[at], np.nan),
            root_scale=np.where(is_month, asked.root_scale[at], np.nan),
        )
        for stage, forecast in forecasts.items()
    }  # fmt: skip
    levels = [asked.hierarchy.node_levels[k] for k in at]
    keys = list(zip(said["source"], said["owner"], levels, strict=True))
    rows = []
    for version, mask in asked.versions.items():
        of_version = mask[at] & is_known
        for source, owner, level in sorted(set(keys)):
            is_own = np.array([key == (source, owner, level) for key in keys])
            own = np.flatnonzero(is_own & of_version)
            key = {
                "version": version, "level": level, "within": TOTAL, "measure": "quantity",
                "source": source, "owner": owner,
            } | asked.key  # fmt: skip
            if own.size:
                rows += [key | {"stage": s} | added(cells, own) for s, cells in scored.items()]
    lost = said.filter(pl.Series(asked.nodes[at] & ~is_known))["override_id"].unique().sort()
    notes = tuple(f"override {name!r}: a month before is not known, not scored" for name in lost)
    return rows, notes


def _before(said: pl.DataFrame, demand: Demand, asked: Asked) -> np.ndarray:
    """Demand (K,) of the months of each statement before the one that is closed."""
    rows = demand.rows(asked.hierarchy)
    end = max(demand.column(asked.month), 0)
    sums = np.zeros(said.height)
    for k, (node, first) in enumerate(said.select("node", "ds_from").iter_rows()):
        if first < asked.month:
            members = rows[asked.hierarchy.descendants(node)]
            sums[k] = demand.filled[members, max(demand.column(first), 0) : end].sum()
    return sums
