"""Fitting a small portfolio: weights, fallbacks, failures, and nothing that depends on chunks."""

from __future__ import annotations

import numpy as np
import pytest

from sopforecast.baseline.fit import fit_nodes
from sopforecast.baseline.models import FALLBACK, LOCAL_MODELS, SMOOTH_POOL, SPARSE_POOL
from sopforecast.core.executor import Executor

HORIZON, OFFSETS = 6, (5, 10, 15)
SEGMENTS = ("aggregate", "seasonal", "seasonal", "smooth", "sparse", "short", "short", "dead")
TOTAL, SEASONAL, SPARSE, FIVE_MONTHS, DEAD = 0, 1, 4, 6, 7


@pytest.fixture(scope="module")
def demand(seasonal_demand):
    y = seasonal_demand(7, 45)
    y[3] = np.where(np.arange(45) % 3 == 0, 4.0, 0.0)  # sparse
    y[4, :25] = np.nan  # 20 months
    y[5, :40] = np.nan  # 5 months
    y[6, 15:] = 0.0  # dead for 30 months
    return y


@pytest.fixture(scope="module")
def panel(demand, make_panel, make_hierarchy):
    return make_panel(demand, make_hierarchy(7))


def _fit(panel, **changes):
    options = {
        "offsets": OFFSETS,
        "horizon": HORIZON,
        "seed": 1,
        "executor": Executor(1, 100),
        "tell": lambda stage, share: None,
    }
    return fit_nodes(panel, SEGMENTS, **(options | changes))


@pytest.fixture(scope="module")
def fitted(panel):
    return _fit(panel)


def test_shapes_and_the_names_of_what_was_tried(fitted):
    names = fitted.backtest.models
    assert fitted.combined.shape == (8, 4, HORIZON)
    assert fitted.backtest.paths.shape == (8, 3, len(names), HORIZON)
    assert fitted.naive.shape == (8, HORIZON)
    assert set(SMOOTH_POOL + SPARSE_POOL) <= set(names)
    assert fitted.backtest.offsets == OFFSETS
    assert set(fitted.weights) == set(SEGMENTS) - {"dead"}


def test_combined_is_the_weighted_mean_of_who_spoke_model_by_model(fitted):
    for i, segment in enumerate(SEGMENTS):
        if segment == "dead":
            continue
        weights = fitted.weights[segment].weights
        for o in range(3):
            paths = fitted.backtest.paths[i, o]
            spoke = np.isfinite(paths[:, 0]) & (weights > 0)
            if spoke.any():
                expected = weights[spoke] @ paths[spoke] / weights[spoke].sum()
                np.testing.assert_allclose(fitted.combined[i, o + 1], expected, rtol=1e-12)


def test_each_segment_uses_its_pool(fitted):
    names = np.array(fitted.backtest.models)
    for segment, learned in fitted.weights.items():
        used = set(names[learned.weights > 0])
        assert used <= set(SPARSE_POOL if segment == "sparse" else SMOOTH_POOL)
        assert learned.weights.sum() == pytest.approx(1.0)
    spoke = np.isfinite(fitted.backtest.paths[SPARSE]).any(axis=(0, 2))
    assert set(names[spoke]) <= set(SPARSE_POOL)


def test_too_short_for_any_model_is_the_mean_of_what_there_is(fitted, demand):
    assert fitted.fitted[FIVE_MONTHS] == FALLBACK
    known = demand[5, 40:]
    np.testing.assert_allclose(fitted.combined[FIVE_MONTHS, 0], known.mean())
    # At an origin before its first month it is not forecast at all.
    assert np.isnan(fitted.combined[FIVE_MONTHS, 1:]).all()


def test_what_is_dead_is_zero_from_now_on_but_was_not_then(fitted, demand):
    assert fitted.fitted[DEAD] == "none"
    assert (fitted.combined[DEAD, 0] == 0).all()
    assert (fitted.naive[DEAD] == 0).all()
    assert np.isfinite(fitted.combined[DEAD]).all()


def test_naive_is_the_same_month_of_last_year_or_the_recent_mean(fitted, demand):
    np.testing.assert_array_equal(fitted.naive[SEASONAL], demand[0, -12:][:HORIZON])
    np.testing.assert_allclose(fitted.naive[FIVE_MONTHS], demand[5, 40:].mean())


def test_actuals_and_yardsticks_are_those_of_the_panel(fitted, panel):
    np.testing.assert_array_equal(fitted.backtest.actual[TOTAL, 1], panel.scored[TOTAL, 35:41])
    assert np.isnan(fitted.backtest.actual[TOTAL, 0, 5])
    assert np.isnan(fitted.backtest.scale[FIVE_MONTHS]).all()


@pytest.mark.parametrize("chunk_size", [1, 3])
def test_same_bytes_for_any_chunk_size(chunk_size, fitted, panel):
    again = _fit(panel, executor=Executor(1, chunk_size))
    assert again.combined.tobytes() == fitted.combined.tobytes()
    assert again.naive.tobytes() == fitted.naive.tobytes()
    assert again.backtest.paths.tobytes() == fitted.backtest.paths.tobytes()


def test_no_month_after_an_origin_reaches_its_models(fitted, panel):
    """What a model says from 10 months back stays when the last 10 months are corrupted."""
    later = panel.y.copy()
    later[:, -10:] *= 7.0
    again = _fit(type(panel)(panel.nodes, later, later, panel.last_month))
    assert again.backtest.paths[:, 1:].tobytes() == fitted.backtest.paths[:, 1:].tobytes()
    assert again.backtest.paths[:, :1].tobytes() != fitted.backtest.paths[:, :1].tobytes()


def test_a_failing_model_is_recorded_and_the_others_carry_the_series(panel, monkeypatch):
    def singular(y, horizon):
        raise FloatingPointError("singular")

    monkeypatch.setitem(LOCAL_MODELS, "DOT", singular)
    found = _fit(panel)
    assert {f.model for f in found.failures} == {"DOT"}
    assert {f.offset for f in found.failures} == {0, *OFFSETS}
    assert all("FloatingPointError: singular" in f.reason for f in found.failures)
    assert found.fitted[SEASONAL] == "pool"
    assert np.isfinite(found.combined[:, 0]).all()
    names = found.backtest.models
    assert found.weights["seasonal"].weights[names.index("DOT")] == 0.0


def test_when_every_model_fails_the_fallback_stands_in(panel, demand, monkeypatch):
    for name in LOCAL_MODELS:
        monkeypatch.setitem(LOCAL_MODELS, name, lambda y, h: np.full(h, np.nan))
    found = _fit(panel)
    assert set(found.fitted) == {FALLBACK, "none"}
    np.testing.assert_allclose(found.combined[SEASONAL, 0], demand[0, -6:].mean())
    np.testing.assert_allclose(found.combined[SEASONAL, 2], demand[0, 29:35].mean())
    assert np.isfinite(found.combined[:, 0]).all()


def test_a_model_asked_for_beside_the_pool_takes_part(panel, monkeypatch):
    monkeypatch.setitem(LOCAL_MODELS, "Mine", lambda y, h: np.full(h, y[-12:].mean()))
    found = _fit(panel, extra_models=("Mine", "DOT"))
    names = found.backtest.models
    assert names.count("DOT") == 1
    assert found.weights["seasonal"].weights[names.index("Mine")] > 0
    assert np.isnan(found.backtest.paths[SPARSE, :, names.index("Mine")]).all()


def test_without_past_origins_models_weigh_the_same(panel):
    found = _fit(panel, offsets=())
    assert found.combined.shape == (8, 1, HORIZON)
    weights = found.weights["smooth"].weights
    np.testing.assert_allclose(weights[weights > 0], weights.max())
    assert np.isfinite(found.combined).all()


def test_progress_is_told_and_ends_at_one(panel):
    told = []
    _fit(panel, executor=Executor(1, 3), tell=lambda stage, share: told.append((stage, share)))
    fit = [share for stage, share in told if stage == "fit"]
    assert fit == sorted(fit)
    assert fit[-1] == 1.0
    assert {stage for stage, _ in told} == {"fit", "learn", "combine"}
