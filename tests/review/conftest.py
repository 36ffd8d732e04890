"""A company small enough to work by hand: two families, four items, 24 months behind, 12 ahead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl
import pytest

from sopforecast.review.judgement import Judgement

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


# Node, month, step and change, 0 where a step is not named. North moves by 60 in December, South by
# 40 in January and then by -25 to the approved plan.
CHANGES = {
    ("family=North", 0): {"source:sales": 90.625, "source:marketing": -30.25,
                          "whole_numbers": -0.375},
    ("family=South %26 East", 1): {"source:finance": 40.625, "whole_numbers": -0.625,
                                   "fixed": -25.0},
}  # fmt: skip
STEPS = ("source:finance", "source:marketing", "source:sales", "whole_numbers", "fixed")


def bridge_rows(
    company: Company, changes: Mapping[tuple[str, int], Mapping[str, float]] = CHANGES
) -> pl.DataFrame:
    """``Bridge`` rows of families and of the total, the plan of each node to start from."""
    plans = dict(company.forecasts.filter(pl.col("lead") == 1).select("unique_id", "plan").rows())
    cells = {
        (node, month): moved
        for (family, month), moved in changes.items()
        for node in ("total", family)
    }
    return pl.DataFrame(
        [
            {"run_id": "r1", "unique_id": node, "month": month, "position": place, "step": step,
             "change": plans[node] if place == 0 else moved.get(step, 0.0)}
            for (node, month), moved in cells.items()
            for place, step in enumerate(("statistical", *STEPS))
        ]
    ).with_columns(
        ds=pl.lit(FIRST).dt.offset_by(pl.format("{}mo", "month")),
        plan=pl.col("change").cum_sum().over("unique_id", "month", order_by="position"),
    ).drop("month")  # fmt: skip


def statement_rows() -> pl.DataFrame:
    """What was said, in the columns the page reads: one source with a record, two without."""
    rows = [
        ("o1", "sales", "A. Rivera", "evidence", False, 0.65, 14),
        ("o1", "sales", "A. Rivera", "evidence", False, 0.65, 14),
        ("o2", "sales", "C. Okafor", "evidence", False, 0.5, 20),
        ("o3", "marketing", "B. Chen", "evidence", True, 0.5, 0),
        ("o4", "finance", "Controlling", "evidence", True, 0.5, 0),
        ("o5", "supply", "Plant 2", "fixed", True, 0.5, 0),
    ]
    names = ("override_id", "source", "owner", "mode", "prior_only", "weight", "observations")
    return pl.DataFrame(rows, schema=names, orient="row")


@pytest.fixture
def judgement(company: Company) -> Judgement:
    return Judgement(
        statements=statement_rows(),
        bridge=bridge_rows(company),
        statistical=company.forecasts,
        told={"new": ("n1", "n2", "n3"), "carried": ("c1",), "expired": ("it is over",),
              "in_history": ("it may be in the history",)},
        sentences=("sales (A. Rivera): +140 moved the plan by +90.6; weight 0.65: because",),
    )  # fmt: skip


@pytest.fixture
def consensus(company: Company) -> pl.DataFrame:
    """The company's forecasts as stage consensus: 60 more of North in December, 40 of South."""
    added = {("family=North", 1): 60.0, ("family=South %26 East", 2): 40.0}
    added |= {("b", 1): 60.0, ("c", 2): 40.0, ("total", 1): 60.0, ("total", 2): 40.0}
    more = pl.DataFrame(
        [(node, lead, change) for (node, lead), change in added.items()],
        schema=["unique_id", "lead", "more"], orient="row",
    )  # fmt: skip
    quantities = pl.col("plan", "mean", *SPREADS)
    joined = company.forecasts.join(more, on=["unique_id", "lead"], how="left")
    return joined.with_columns(
        quantities + pl.col("more").fill_null(0.0), stage=pl.lit("consensus")
    ).select(company.forecasts.columns)
