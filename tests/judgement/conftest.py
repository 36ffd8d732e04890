"""A small company at its statistical stage: two families crossed with two regions, six items."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest

from sopforecast.core.draws import QUANTILES, additive_plan, quantile_view
from sopforecast.core.evidence_tables import Overrides
from sopforecast.core.hierarchy import Hierarchy, build_hierarchy
from sopforecast.core.months import add_months, month_range
from sopforecast.judgement.consensus import Judged, Known, judge
from sopforecast.judgement.stages import Statistical, statistical_stage

CYCLE, HORIZON, DRAWS = date(2026, 10, 1), 4, 300
ROW = {
    "override_id": "o1", "entered_cycle": CYCLE, "node": "family=A", "ds_from": 1, "ds_to": 1,
    "per": "month", "kind": "delta", "measure": "quantity", "value": 60.0, "low": None,
    "high": None, "confidence": None, "probability": 1.0, "source": "sales", "owner": "ann",
    "reason": "promotion", "event_id": None, "assumption": None, "mode": "evidence",
    "expires_cycle": None, "status": "active", "scenario": None,
    "known_at": datetime(2026, 10, 1),
}  # fmt: skip


@dataclass(frozen=True)
class Company:
    """Draws (S, B, H) of the items and what stands above them."""

    hierarchy: Hierarchy
    draws: np.ndarray
    steps: np.ndarray
    statistical: Statistical

    def overrides(self, *rows: dict[str, Any]) -> pl.DataFrame:
        """``Overrides`` with everything else as in ``ROW``; months count from the cycle."""
        full = [ROW | {"override_id": f"o{k}"} | row for k, row in enumerate(rows)]
        for row in full:
            row["ds_from"] = add_months(CYCLE, row["ds_from"])
            row["ds_to"] = add_months(CYCLE, row["ds_to"])
        types = {name: c.dtype for name, c in Overrides.columns().items()}
        return pl.DataFrame(full, schema_overrides=types)

    def judged(self, *rows: dict[str, Any], **known: Any) -> Judged:
        """What judgement makes of these overrides."""
        return judge(
            self.overrides(*rows),
            self.hierarchy,
            self.statistical,
            lambda items: self.draws[:, items].copy(),
            cycle=CYCLE,
            seed=7,
            min_closed=6,
            known=Known(**known),
        )

    def table(self, frame: pl.DataFrame, stage: str, column: str) -> dict[tuple[str, int], float]:
        """One column of a stage by node and month, months from the cycle."""
        rows = frame.filter(pl.col("stage") == stage).select("unique_id", "lead", column)
        return {(node, lead - 1): value for node, lead, value in rows.iter_rows()}


@pytest.fixture(scope="session")
def company() -> Company:
    items = pl.DataFrame(
        {
            "unique_id": [f"i{k}" for k in range(6)],
            "family": list("AAABBB"),
            "region": ["EU", "US"] * 3,
        }
    )
    hierarchy = build_hierarchy(items, levels=["family", "region"])
    steps = np.array([1.0, 1.0, 0.5, 1.0, 2.0, 1.0])
    rng = np.random.default_rng(5)
    level = np.array([80.0, 40.0, 3.0, 120.0, 20.0, 1.5])[:, None]
    shared = rng.gamma(20.0, 1 / 20.0, (DRAWS, 6, 1))
    draws = rng.poisson(level * shared * rng.gamma(9.0, 1 / 9.0, (DRAWS, 6, HORIZON)))
    draws = draws * steps[:, None]
    sums = hierarchy.aggregate(draws)
    both = np.concatenate([sums, draws], axis=1)
    plan = additive_plan(draws.mean(axis=0), steps)
    nodes = len(hierarchy.nodes)
    frame = pl.DataFrame(
        {
            "cycle": [CYCLE] * nodes * HORIZON,
            "stage": ["statistical"] * nodes * HORIZON,
            "unique_id": np.repeat(hierarchy.nodes, HORIZON).tolist(),
            "ds": month_range(CYCLE, HORIZON) * nodes,
            "lead": list(range(1, HORIZON + 1)) * nodes,
            "plan": np.concatenate([hierarchy.aggregate(plan), plan]).ravel(),
            "mean": both.mean(axis=0).ravel(),
            **{label: quantile_view(both)[label].ravel() for label, _ in QUANTILES},
        }
    )
    return Company(hierarchy, draws, steps, statistical_stage(frame, sums, hierarchy, steps=steps))
