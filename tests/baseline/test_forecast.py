"""The baseline of a small portfolio: what items become, why, and what learned from what."""

from __future__ import annotations

import numpy as np
import pytest

from sopforecast.baseline.forecast import forecast_baseline
from sopforecast.baseline.models import LOCAL_MODELS
from sopforecast.baseline.reconcile import error_variance, reconcile
from sopforecast.core.executor import Executor

HORIZON = 6
SEGMENTS = ("seasonal", "seasonal", "smooth", "sparse", "short", "short", "dead", "sparse")
FIVE_MONTHS, DEAD = 5, 6


@pytest.fixture(scope="module")
def demand(seasonal_demand):
    y = np.round(seasonal_demand(8, 48))
    y[3] = np.where(np.arange(48) % 3 == 0, 4.0, 0.0)
    y[4, :28] = np.nan
    y[5, :43] = np.nan
    y[6, 14:] = 0.0
    y[7] = np.random.default_rng(1).poisson(0.4, 48) * 2.5
    return y


@pytest.fixture(scope="module")
def hierarchy(make_hierarchy):
    return make_hierarchy({"family": "AABBABAB"}, levels=["family"])


def _forecast(panel, hierarchy, **changes):
    options = {"horizon": HORIZON, "seed": 1, "executor": Executor(1, 100)}
    return forecast_baseline(panel, hierarchy, SEGMENTS, **(options | changes))


@pytest.fixture(scope="module")
def baseline(demand, make_panel, hierarchy):
    return _forecast(make_panel(demand, hierarchy), hierarchy)


def test_items_become_paths_counts_or_zero_by_their_segment(baseline):
    kinds = {"sparse": "counts", "dead": "zero"}
    assert [m.kind for m in baseline.models] == [kinds.get(s, "paths") for s in SEGMENTS]
    assert [m.segment for m in baseline.models] == list(SEGMENTS)
    for model in baseline.models:
        counts = model.kind == "counts"
        assert (model.dispersion > 0) == counts
        assert model.drift >= 0
        assert counts or model.drift == 0


def test_models_hold_what_a_draw_needs(baseline, hierarchy):
    for i, model in enumerate(baseline.models):
        assert model.unique_id == hierarchy.items[i]
        assert model.groups == ("total", f"family={'AABBABAB'[i]}")
        assert model.centre.shape == model.spread.shape == (HORIZON,)
        assert model.loadings.shape == (3,)
        assert (model.centre >= 0).all()
        np.testing.assert_array_equal(model.centre, baseline.reconciled[i, 0])
        assert model.kind == "zero" or (model.spread > 0).all()
    assert [m.step for m in baseline.models[:7]] == [1.0] * 7
    assert baseline.models[7].step == 2.0**-7  # the median sale is 2.5: 2.5 / 256 is 0.0098


def test_reasons_are_recorded(baseline):
    assert baseline.reasons[DEAD] == "no demand in the last 24 months: forecast as zero"
    expected = "mean of the last six months (too few months for any model)"
    assert baseline.reasons[FIVE_MONTHS] == expected
    assert baseline.reasons[:4] == (None,) * 4


def test_the_dead_teach_nothing_about_the_ranges_of_the_living(baseline, hierarchy):
    assert (baseline.models[DEAD].centre == 0).all()
    pools = (*baseline.ranges.common, *baseline.ranges.own.values())
    assert all(hierarchy.items[DEAD] not in pool.donors for pool in pools)


def test_items_move_to_meet_the_aggregates_as_the_method_says(baseline, hierarchy):
    """Now and at every past origin; what had not begun then is no part of it."""
    combined = baseline.fitted.combined
    residual = baseline.fitted.backtest.actual - combined[:, 1:]
    level = combined[:, 0].mean(axis=1)
    variance = error_variance(residual, fallback=np.square(0.2 * level))
    variance[3 + DEAD] = 0.0
    for o in range(combined.shape[1]):
        started = np.isfinite(combined[3:, o, 0])
        expected = reconcile(
            np.nan_to_num(combined[3:, o]),
            combined[:3, o],
            hierarchy,
            item_variance=np.where(started, variance[3:], 0.0),
            aggregate_variance=variance[:3],
        )
        np.testing.assert_allclose(baseline.reconciled[started, o], expected[started], rtol=1e-12)
        assert np.isnan(baseline.reconciled[~started, o]).all()
    assert not np.isfinite(baseline.reconciled[FIVE_MONTHS, 1:]).all()
    before = np.abs(combined[0, 0] - combined[3:, 0].sum(axis=0))
    after = np.abs(combined[0, 0] - baseline.reconciled[:, 0].sum(axis=0))
    assert after.sum() < before.sum()


def test_failures_of_the_last_origin_are_told_and_those_of_the_past_are_not(
    demand, make_panel, hierarchy, monkeypatch
):
    def late(y, horizon):
        if y.size >= 48:
            raise ValueError("too long")
        return np.full(horizon, y.mean())

    def early(y, horizon):
        return np.full(horizon, y.mean() if y.size >= 48 else np.nan)

    monkeypatch.setitem(LOCAL_MODELS, "DOT", late)
    monkeypatch.setitem(LOCAL_MODELS, "DampedETS", early)
    found = _forecast(make_panel(demand, hierarchy), hierarchy)
    assert found.reasons[0] == "DOT: ValueError: too long"
    assert np.isfinite(found.models[0].centre).all()


def test_sparse_sums_are_weighed_as_sparse(make_panel, make_hierarchy):
    hierarchy = make_hierarchy({"family": "AB"}, levels=["family"])
    y = np.zeros((2, 48))
    y[0, ::2] = 3.0
    y[1] = 50.0 + np.arange(48) % 5
    found = forecast_baseline(
        make_panel(y, hierarchy),
        hierarchy,
        ("sparse", "smooth"),
        horizon=HORIZON,
        seed=1,
        executor=Executor(1, 10),
    )
    assert set(found.fitted.weights) == {"aggregate", "aggregate_sparse", "sparse", "smooth"}


def test_too_short_for_a_backtest_is_said(make_panel, make_hierarchy, seasonal_demand):
    hierarchy = make_hierarchy(3)
    found = forecast_baseline(
        make_panel(seasonal_demand(3, 12), hierarchy),
        hierarchy,
        ("short",) * 3,
        horizon=HORIZON,
        seed=1,
        executor=Executor(1, 10),
    )
    assert any("too short for a backtest" in note for note in found.notes)
    assert found.reconciled.shape == (3, 1, HORIZON)
    assert all((model.spread > 0).all() for model in found.models)
