"""A company small enough to work by hand: two families, four items, 24 months behind, 12 ahead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl
import pytest

FIRST = date(2026, 12, 1)
SPREADS = {"p05": -0.4, "p10": -0.3, "p25": -0.1, "p50": 0.0, "p75": 0.1, "p90": 0.3, "p95": 0.4}


def forecast_rows(
    node: str, plan: Sequence[float], *, width: float = 10.0, first: date = FIRST
) -> pl.DataFrame:
    """``Forecasts`` rows of one node: P10 and P90 lie 0.3 widths below and above the plan."""
    months = len(plan)
    return pl.DataFrame({"plan": [float(value) for value in plan]}).select(
        run_id=pl.lit("r1"),
        cycle=pl.lit(first),
        stage=pl.lit("statistical"),
        unique_id=pl.lit(node),
        ds=pl.date_range(first, pl.lit(first).dt.offset_by(f"{months - 1}mo"), "1mo"),
        lead=pl.int_range(1, months + 1),
        plan="plan",
        mean="plan",
        **{name: pl.max_horizontal(0.0, pl.col("plan") + s * width) for name, s in SPREADS.items()},
    )


def history_rows(node: str, values: Sequence[float | None], *, first: date = FIRST) -> pl.DataFrame:
    """Demand of the months up to the one before ``first``."""
    start = pl.lit(first).dt.offset_by(f"-{len(values)}mo")
    end = pl.lit(first).dt.offset_by("-1mo")
    y = pl.DataFrame({"y": values}, schema={"y": pl.Float64})
    return y.select(unique_id=pl.lit(node), ds=pl.date_range(start, end, "1mo"), y="y")


@dataclass(frozen=True)
class Company:
    forecasts: pl.DataFrame
    history: pl.DataFrame
    node_levels: dict[str, str]


@pytest.fixture
def company() -> Company:
    plans = {"a": 10.0, "b": 20.0, "c": 300.0, "d": 0.0}
    widths = {"a": 10.0, "b": 40.0, "c": 20.0, "d": 0.0}
    families = {"family=North": ("a", "b"), "family=South %26 East": ("c", "d")}
    node_levels = {"total": "total"} | dict.fromkeys(families, "family")
    node_levels |= dict.fromkeys(plans, "item")
    members = {"total": tuple(plans)} | families | {item: (item,) for item in plans}
    rows, past = [], []
    for node, items in members.items():
        plan = sum(plans[item] for item in items)
        rows.append(forecast_rows(node, [plan] * 12, width=sum(widths[item] for item in items)))
        past.append(history_rows(node, [plan * 0.8] * 12 + [plan * 0.5] * 12))
    return Company(pl.concat(rows), pl.concat(past), node_levels)
