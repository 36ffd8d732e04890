"""The statistical part of a month: what it gives the cycle, and what it is where there is none."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

from sopforecast.baseline.cleanse import cleanse
from sopforecast.baseline.components import (
    COMPONENT_COLUMNS,
    MODEL_ERROR_COLUMNS,
    RESIDUAL_PATH_COLUMNS,
    WEIGHT_COLUMNS,
)
from sopforecast.baseline.month import baseline_month, no_baseline
from sopforecast.baseline.record import BACKTEST_COLUMNS
from sopforecast.baseline.views import HISTORY_COLUMNS
from sopforecast.core.draws import QUANTILES, mean_view, quantile_view
from sopforecast.core.hierarchy import build_hierarchy
from sopforecast.core.learning_tables import ModelErrors, ModelPaths, empty
from sopforecast.core.months import add_months
from sopforecast.core.stopwatch import Stopwatch
from sopforecast.core.tables import Components, ResidualPaths, Weights
from sopforecast.settings import Settings

CYCLE, HORIZON, DRAWS = date(2026, 10, 1), 6, 60
ITEMS = pl.DataFrame(
    {"unique_id": ["a", "b", "c", "gone"], "family": ["X", "X", "Y", "Y"],
     "status": ["active", "active", "active", "discontinued"],
     "end_ds": [None, None, None, date(2026, 11, 1)],
     "launch_ds": pl.Series([None] * 4, dtype=pl.Date)}
)  # fmt: skip


@pytest.fixture(scope="module")
def settings():
    return Settings(levels=("family",), horizon=HORIZON, seed=5,
                    advanced={"draws": DRAWS, "workers": 1})  # fmt: skip


@pytest.fixture(scope="module")
def hierarchy():
    return build_hierarchy(ITEMS, levels=["family"])


@pytest.fixture(scope="module")
def told():
    return []


@pytest.fixture(scope="module")
def month(settings, hierarchy, told):
    rng = np.random.default_rng(0)
    rows = [
        (item, add_months(CYCLE, m - 30), float(rng.poisson(20 * (k + 1))), False)
        for k, item in enumerate(hierarchy.items)
        for m in range(30)
    ]
    history = pl.DataFrame(rows, schema=["unique_id", "ds", "y", "partial"], orient="row")
    cleansed = cleanse(history, missing="unknown", last_month=add_months(CYCLE, -1))
    clock = Stopwatch(lambda stage, share: told.append((stage, share)))
    found = baseline_month(cleansed, ITEMS, hierarchy, cycle=CYCLE, settings=settings, clock=clock)
    assert {"forecast", "draw"} <= set(clock.seconds)
    return found


def test_views_are_those_of_the_draws_in_any_chunk(month, settings, hierarchy):
    every = month.draw(np.arange(4), settings=settings)
    assert every.shape == (DRAWS, 4, HORIZON)
    some = month.draw(np.array([2, 0]), settings=settings)
    assert some.tobytes() == np.ascontiguousarray(every[:, [2, 0]]).tobytes()
    assert month.drawn.mean.tobytes() == mean_view(every).tobytes()
    view = quantile_view(every)
    for k, (label, _) in enumerate(QUANTILES):
        assert month.drawn.quantiles[k].tobytes() == view[label].tobytes()
    assert month.drawn.sums.tobytes() == hierarchy.aggregate(every).tobytes()
    assert np.array_equal(every / month.steps[:, None], np.rint(every / month.steps[:, None]))


def test_naive_is_last_year_and_not_below_zero(month):
    assert month.naive.shape == (4, HORIZON)
    assert (month.naive >= 0).all()
    known = month.history_nodes.filter(pl.col("unique_id") == "b").sort("ds")
    last_year = known.filter(pl.col("ds") >= add_months(CYCLE, -12))["y"].head(HORIZON)
    np.testing.assert_allclose(month.naive[1], last_year)


def test_an_item_that_ends_has_no_demand_then_and_that_is_said(month, settings):
    gone = month.draw(np.array([3]), settings=settings)[:, 0]
    assert not gone[:, 2:].any()
    assert "1 item has months before a launch or after an end: zero there" in month.notes


def test_what_is_kept_is_declared(month):
    run = pl.lit("r").alias("run_id")
    for frame, declared in (
        (month.components, Components), (month.residual_paths, ResidualPaths),
        (month.weights, Weights), (month.model_errors, ModelErrors),
        (month.model_paths, ModelPaths),
    ):  # fmt: skip
        declared.validate(frame.with_columns(run), cast=True)


def test_progress_is_told(month, told):
    assert month.baseline is not None
    assert {"forecast", "draw"} <= {stage for stage, _ in told}


def test_no_baseline_is_nothing_of_the_right_shape(month):
    none = no_baseline(horizon=HORIZON, draws=DRAWS)
    assert none.baseline is None
    assert none.hierarchy.items == none.hierarchy.aggregates == ()
    assert none.drawn.sums.shape == (DRAWS, 0, HORIZON)
    assert none.drawn.mean.shape == none.naive.shape == (0, HORIZON)
    assert none.drawn.quantiles.shape == (len(QUANTILES), 0, HORIZON)
    assert none.steps.shape == (0,)
    assert none.notes == ()
    declared = {
        "components": COMPONENT_COLUMNS, "residual_paths": RESIDUAL_PATH_COLUMNS,
        "weights": WEIGHT_COLUMNS, "model_errors": MODEL_ERROR_COLUMNS,
        "model_paths": dict(empty(ModelPaths, without="run_id").schema),
        "backtest": BACKTEST_COLUMNS, "history_nodes": HISTORY_COLUMNS,
    }  # fmt: skip
    for name, columns in declared.items():
        frame, whole = getattr(none, name), getattr(month, name)
        assert frame.is_empty()
        assert dict(frame.schema) == columns == dict(whole.schema), name


def test_no_item_can_be_drawn_where_none_has_a_history(settings):
    with pytest.raises(ValueError, match="no item has a history"):
        no_baseline(horizon=HORIZON, draws=DRAWS).draw(np.array([0]), settings=settings)
