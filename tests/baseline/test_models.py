"""The registry: loops by hand for the simple models, and what happens when a model misbehaves."""

from __future__ import annotations

import numpy as np
import pytest

from sopforecast.baseline import models
from sopforecast.baseline.models import LOCAL_MODELS, Failure, SeriesTask, forecast_chunk
from sopforecast.baseline.models import recent_mean as six_month_mean

HORIZON = 15


def _one(y, *names, offsets=(0,), horizon=HORIZON):
    paths, failures = forecast_chunk(
        [SeriesTask("a", np.asarray(y, dtype=float), names)], offsets, horizon, names
    )
    return paths[0], failures


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def test_seasonal_naive_repeats_the_last_year(rng):
    y = rng.gamma(2.0, 50.0, 40)
    path, failures = _one(y, "SeasonalNaive")
    assert path[0, 0].tolist() == [*y[-12:], *y[-12:-9]]
    assert failures == []


def test_average12_is_the_mean_of_the_last_year_or_of_what_there_is(rng):
    y = rng.gamma(2.0, 50.0, 40)
    np.testing.assert_allclose(_one(y, "Average12")[0][0, 0], np.full(HORIZON, y[-12:].mean()))
    np.testing.assert_allclose(_one(y[:5], "Average12")[0][0, 0], np.full(HORIZON, y[:5].mean()))


def _croston_sba(y, alpha=0.1):
    """Syntetos and Boylan: smoothed size over smoothed interval, less alpha / 2 of it."""
    demand, interval, since, size = None, None, 1, None
    for value in y:
        if value > 0:
            size = value if demand is None else demand + alpha * (value - demand)
            interval = since if interval is None else interval + alpha * (since - interval)
            demand, since = size, 1
        else:
            since += 1
    return (1 - alpha / 2) * demand / interval


def test_croston_sba_against_a_loop(rng):
    y = rng.poisson(1.2, 36) * (rng.random(36) < 0.4) * 3.0
    y[0] = 3.0
    path, _ = _one(y, "CrostonSBA")
    np.testing.assert_allclose(path[0, 0], _croston_sba(y), rtol=1e-9)


def test_tsb_against_a_loop(rng):
    y = rng.poisson(2.0, 36) * (rng.random(36) < 0.5) * 1.0
    y[0] = 2.0
    chance, size = 1.0, 2.0
    for value in y[1:]:
        chance += 0.1 * ((value > 0) - chance)
        size += 0.1 * (value - size) if value > 0 else 0.0
    path, _ = _one(y, "TSB")
    np.testing.assert_allclose(path[0, 0], chance * size, rtol=1e-9)


def test_damped_ets_keeps_a_clean_season_and_level():
    wave = np.array([0.5, 0.6, 0.9, 1.0, 1.1, 1.2, 1.5, 1.4, 1.2, 1.0, 0.9, 0.7])
    y = 200.0 * wave[np.arange(48) % 12]
    y[-1] += 1e-6  # not exactly seasonal, so that the model is really fitted
    path, _ = _one(y, "DampedETS")
    np.testing.assert_allclose(path[0, 0], 200.0 * wave[np.arange(48, 63) % 12], rtol=1e-3)


@pytest.mark.parametrize("name", LOCAL_MODELS)
def test_every_model_is_sane_on_ordinary_demand_and_blind_to_its_unit(name, seasonal_demand):
    y = seasonal_demand(1, 40, noise=0.08)[0]
    path, failures = _one(y, name)
    assert failures == []
    assert path.shape == (1, 1, HORIZON)
    assert (path > 40.0).all()
    assert (path < 200.0).all()
    scaled, _ = _one(1024.0 * y, name)
    np.testing.assert_allclose(scaled / 1024.0, path, rtol=0.02)


def test_each_origin_sees_only_what_came_before_it(rng):
    y = rng.gamma(9.0, 10.0, 40)
    names = ("DOT", "SeasonalNaive", "DampedETS")
    paths, _ = _one(y, *names, offsets=(0, 7, 13))
    for o, offset in enumerate((0, 7, 13)):
        cut, _ = _one(y[: 40 - offset], *names)
        assert cut[0].tobytes() == paths[o].tobytes()


@pytest.mark.parametrize("months", [5, 8, 13])
def test_a_series_that_began_after_the_origin_is_not_forecast_from_it(months, rng):
    y = rng.gamma(9.0, 10.0, months)
    names = ("DOT", "Average12", "SeasonalNaive")
    paths, failures = _one(y, *names, offsets=(months, months + 2, 2 * months - 1))
    assert np.isnan(paths).all()
    assert failures == []


def test_a_model_without_enough_months_or_not_of_the_pool_says_nothing(rng):
    y = rng.gamma(9.0, 10.0, 7)
    tasks = [SeriesTask("a", y, ("Average12", "SeasonalNaive")), SeriesTask("b", y, ())]
    names = ("Average12", "DOT", "SeasonalNaive")
    paths, failures = forecast_chunk(tasks, (0,), 4, names)
    assert np.isfinite(paths[0, 0]).all(axis=1).tolist() == [True, False, False]
    assert np.isnan(paths[1]).all()
    assert failures == []


def _raise(y, horizon):
    raise ValueError("singular " + "x" * 500)


BAD_MODELS = {
    "raises": (_raise, "ValueError: singular"),
    "nan": (lambda y, h: np.where(np.arange(h) == 3, np.nan, y[-1]), "not finite"),
    "infinite": (lambda y, h: np.full(h, np.inf), "not finite"),
    "short": (lambda y, h: np.full(h - 1, y[-1]), "not finite"),
    "explodes": (lambda y, h: y.max() * 1.6 ** np.arange(h), "exceeds 5 times the largest month"),
}


@pytest.mark.parametrize("kind", BAD_MODELS)
def test_a_misbehaving_model_is_recorded_and_the_others_go_on(kind, rng, monkeypatch):
    model, reason = BAD_MODELS[kind]
    monkeypatch.setitem(LOCAL_MODELS, "Bad", model)
    y = rng.gamma(9.0, 10.0, 30)
    paths, failures = _one(y, "Bad", "SeasonalNaive", offsets=(0, 3))
    assert np.isnan(paths[:, 0]).all()
    assert np.isfinite(paths[:, 1]).all()
    assert [(f.unique_id, f.model, f.offset) for f in failures] == [
        ("a", "Bad", 0),
        ("a", "Bad", 3),
    ]
    assert all(isinstance(f, Failure) and reason in f.reason for f in failures)
    assert all(len(f.reason) < 200 for f in failures)


def test_a_path_below_zero_is_cut_there(monkeypatch):
    monkeypatch.setitem(LOCAL_MODELS, "Falling", lambda y, h: y[-1] - 10.0 * np.arange(h))
    path, _ = _one([20.0, 30.0, 25.0] * 4, "Falling", horizon=5)
    assert path[0, 0].tolist() == [25.0, 15.0, 5.0, 0.0, 0.0]


@pytest.mark.parametrize(("level", "expected"), [(7.0, 7.0), (0.0, 0.0), (-3.0, 0.0)])
def test_constant_demand_needs_no_model(level, expected, monkeypatch):
    monkeypatch.setitem(LOCAL_MODELS, "DOT", _raise)
    path, failures = _one([level] * 20, "DOT")
    assert path[0, 0].tolist() == [expected] * HORIZON
    assert failures == []


def test_fallback_is_the_mean_of_six_months():
    assert six_month_mean(np.array([100.0, 1, 2, 3, 4, 5, 9]), 2).tolist() == [4.0, 4.0]
    assert six_month_mean(np.array([2.0, 4.0]), 3).tolist() == [3.0] * 3


def test_pools_name_models_of_the_registry():
    assert set(models.SMOOTH_POOL + models.SPARSE_POOL) <= set(LOCAL_MODELS)
    assert set(models.MIN_MONTHS) <= set(LOCAL_MODELS)
