"""What several tests of the baseline lean on: hierarchies from a few words, and seasonal demand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date

import numpy as np
import polars as pl
import pytest

from sopforecast.baseline.panel import Panel, node_panel
from sopforecast.core.hierarchy import Hierarchy, build_hierarchy

HierarchyMaker = Callable[..., Hierarchy]


@pytest.fixture(scope="session")
def make_hierarchy() -> HierarchyMaker:
    """``make_hierarchy({"family": "AABB"}, levels=["family"])``: items i00, i01, ... in order."""

    def make(
        columns: Mapping[str, Sequence[str]] | int, levels: Sequence[str] | None = None
    ) -> Hierarchy:
        values = {} if isinstance(columns, int) else dict(columns)
        size = columns if isinstance(columns, int) else len(next(iter(values.values())))
        frame = {"unique_id": [f"i{i:02d}" for i in range(size)]}
        frame |= {name: list(cells) for name, cells in values.items()}
        return build_hierarchy(
            pl.DataFrame(frame), levels=list(values) if levels is None else levels
        )

    return make


@pytest.fixture(scope="session")
def seasonal_demand() -> Callable[..., np.ndarray]:
    """(n, T) positive demand: own level, common yearly wave, independent noise in logs."""

    def make(n: int, months: int, *, noise: float = 0.1, seed: int = 7) -> np.ndarray:
        rng = np.random.default_rng(seed)
        wave = 1.0 + 0.3 * np.sin(2 * np.pi * np.arange(months) / 12)
        level = np.geomspace(20.0, 2_000.0, n)[:, None] if n > 1 else np.array([[100.0]])
        return level * wave * np.exp(noise * rng.standard_normal((n, months)))

    return make


@pytest.fixture(scope="session")
def make_panel() -> Callable[[np.ndarray, Hierarchy], Panel]:
    """A panel of all nodes whose recorded demand is the fit value; history ends in 2026-09."""

    def make(y: np.ndarray, hierarchy: Hierarchy) -> Panel:
        items = Panel(hierarchy.items, y, y.copy(), date(2026, 9, 1))
        return node_panel(items, hierarchy)

    return make
