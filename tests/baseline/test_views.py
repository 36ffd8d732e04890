"""Rows of forecasts: layout by hand, sums, and what the naive stage is."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

from sopforecast.baseline.forecast import forecast_baseline
from sopforecast.baseline.panel import Panel
from sopforecast.baseline.simulate import Pools, draw_nodes
from sopforecast.baseline.views import (
    HISTORY_COLUMNS,
    draw_views,
    history_frame,
    history_of,
    naive_frame,
    statistical_frame,
)
from sopforecast.core.draws import QUANTILES
from sopforecast.core.executor import Executor
from sopforecast.core.tables import QUANTILE_COLUMNS, Forecasts

CYCLE = date(2026, 10, 1)
HORIZON, DRAWS, SEED = 5, 80, 3


@pytest.fixture(scope="module")
def hierarchy(make_hierarchy):
    return make_hierarchy({"family": "AABB"}, levels=["family"])


@pytest.fixture(scope="module")
def demand(seasonal_demand):
    y = np.round(seasonal_demand(4, 40))
    y[3] = y[3] / 7.0  # a step below one
    return y


@pytest.fixture(scope="module")
def baseline(demand, make_panel, hierarchy):
    return forecast_baseline(
        make_panel(demand, hierarchy),
        hierarchy,
        ("smooth",) * 4,
        horizon=HORIZON,
        seed=SEED,
        executor=Executor(1, 10),
    )


def _steps(baseline):
    return np.array([model.step for model in baseline.models])


def _naive(baseline, hierarchy):
    paths = np.maximum(baseline.fitted.naive[len(hierarchy.aggregates) :], 0.0)
    return naive_frame(paths, _steps(baseline), hierarchy, cycle=CYCLE)


def _statistical(baseline, hierarchy, chunk_size=10, told=None):
    drawn = draw_views(
        baseline,
        hierarchy,
        seed=SEED,
        draws=DRAWS,
        executor=Executor(1, chunk_size),
        on_share=(told if told is not None else []).append,
    )
    return statistical_frame(drawn, _steps(baseline), hierarchy, cycle=CYCLE)


@pytest.fixture(scope="module")
def statistical(baseline, hierarchy):
    return _statistical(baseline, hierarchy)


def _wide(frame, column):
    return frame[column].to_numpy().reshape(-1, HORIZON)


def test_one_row_a_node_and_month_in_order(statistical, hierarchy):
    assert statistical["unique_id"].to_list()[::HORIZON] == list(hierarchy.nodes)
    assert statistical["ds"].to_list()[:HORIZON] == [
        date(2026, 10, 1),
        date(2026, 11, 1),
        date(2026, 12, 1),
        date(2027, 1, 1),
        date(2027, 2, 1),
    ]
    assert statistical["lead"].to_list()[: HORIZON + 1] == [1, 2, 3, 4, 5, 1]
    assert set(statistical["cycle"]) == {CYCLE}
    assert set(statistical["stage"]) == {"statistical"}
    Forecasts.validate(statistical.with_columns(pl.lit("r").alias("run_id")), cast=True)


def test_views_are_those_of_the_draws(statistical, baseline, hierarchy):
    ranges = baseline.ranges
    pools = Pools(
        tuple(pool.paths for pool in ranges.common),
        {name: pool.paths for name, pool in ranges.own.items()},
    )
    draws = draw_nodes(baseline.models, pools, hierarchy, seed=SEED, draws=DRAWS)
    np.testing.assert_allclose(_wide(statistical, "mean"), draws.mean(axis=0), rtol=1e-12)
    for label, level in QUANTILES:
        expected = np.quantile(draws, level, axis=0)
        np.testing.assert_allclose(_wide(statistical, label), expected, rtol=1e-12)


def test_chunks_change_no_byte_and_progress_ends_at_one(statistical, baseline, hierarchy):
    told = []
    assert _statistical(baseline, hierarchy, chunk_size=3, told=told).equals(statistical)
    assert told == [0.75, 1.0]


@pytest.mark.parametrize("stage", ["statistical", "naive"])
def test_plan_adds_exactly_and_stays_near_the_mean(stage, statistical, baseline, hierarchy):
    frame = statistical if stage == "statistical" else _naive(baseline, hierarchy)
    plan, mean = _wide(frame, "plan"), _wide(frame, "mean")
    items = len(hierarchy.aggregates)
    for a, node in enumerate(hierarchy.aggregates):
        np.testing.assert_array_equal(
            plan[a], plan[items + hierarchy.descendants(node)].sum(axis=0)
        )
    steps = np.array([model.step for model in baseline.models])
    assert steps.tolist()[:3] == [1.0] * 3
    assert (plan[items:] % steps[:, None] == 0).all()
    assert (np.abs(plan[items:] - mean[items:]) < 2 * steps[:, None]).all()
    assert (plan >= 0).all()


def test_naive_is_last_year_and_has_no_quantiles(baseline, hierarchy, demand):
    naive = _naive(baseline, hierarchy)
    items = _wide(naive, "mean")[len(hierarchy.aggregates) :]
    np.testing.assert_allclose(items, demand[:, -12:][:, :HORIZON])
    np.testing.assert_allclose(_wide(naive, "mean")[0], items.sum(axis=0))
    assert all(naive[label].null_count() == naive.height for label in QUANTILE_COLUMNS)
    Forecasts.validate(naive.with_columns(pl.lit("r").alias("run_id")), cast=True)


def test_history_is_what_was_scored_and_unknown_months_are_left_out():
    scored = np.array([[3.0, np.nan], [np.nan, 4.0]])
    panel = Panel(("total", "a"), np.ones((2, 2)), scored, date(2026, 1, 1))
    assert history_frame(panel).rows() == [
        ("total", date(2025, 12, 1), 3.0),
        ("a", date(2026, 1, 1), 4.0),
    ]


def _history_nodes(rows):
    return pl.DataFrame(rows, schema=HISTORY_COLUMNS, orient="row")


def test_items_that_are_only_scored_count_in_the_history_of_nodes(hierarchy):
    """i0 and i3 fitted, i1 and i2 scored: sums by hand, nodes in the order of the hierarchy."""
    jan, feb = date(2026, 1, 1), date(2026, 2, 1)
    one, two, three, four = hierarchy.items
    above, below = hierarchy.aggregates[1:]
    fitted = _history_nodes(
        [("total", jan, 5.0), (above, jan, 1.0), (below, jan, 4.0), (one, jan, 1.0),
         (four, jan, 4.0)]
    )  # fmt: skip
    scored = pl.DataFrame(
        {"unique_id": [three, two, two, three], "ds": [jan, jan, feb, feb],
         "y": [0.0, 2.0, 3.0, None]}
    )  # fmt: skip
    assert history_of(fitted, scored, hierarchy).rows() == [
        ("total", jan, 7.0), ("total", feb, 3.0),
        (above, jan, 3.0), (above, feb, 3.0),
        (below, jan, 4.0),
        (one, jan, 1.0), (two, jan, 2.0), (two, feb, 3.0), (three, jan, 0.0), (four, jan, 4.0),
    ]  # fmt: skip


def test_history_stays_as_it_is_where_nothing_is_only_scored(hierarchy):
    fitted = _history_nodes([("total", date(2026, 1, 1), 5.0)])
    unknown = pl.DataFrame({"unique_id": [hierarchy.items[0]], "ds": [date(2026, 1, 1)],
                            "y": [None]}, schema_overrides={"y": pl.Float64})  # fmt: skip
    for scored in (unknown, unknown.clear()):
        assert history_of(fitted, scored, hierarchy) is fitted


def test_what_is_scored_is_history_where_nothing_is_fitted(hierarchy):
    ds = date(2026, 1, 1)
    scored = pl.DataFrame({"unique_id": [hierarchy.items[0]], "ds": [ds], "y": [2.0]})
    told = history_of(_history_nodes([]), scored, hierarchy)
    assert dict(told.schema) == HISTORY_COLUMNS
    assert told.rows() == [
        (node, ds, 2.0) for node in ("total", hierarchy.aggregates[1], hierarchy.items[0])
    ]
