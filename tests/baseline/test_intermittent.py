"""Counts: simulated negative binomials of known dispersion and drift, and scipy's probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import nbinom, poisson

from sopforecast.baseline.intermittent import (
    DEFAULT_DISPERSION,
    DEFAULT_DRIFT,
    learn_dispersion,
    learn_drift,
    sample_counts,
)


def _negative_binomial(mean, dispersion, rng):
    """numpy's own, by successes and probability: variance m + dispersion m^2."""
    size = 1.0 / dispersion
    return rng.negative_binomial(size, size / (size + mean)).astype(float)


@pytest.mark.parametrize("dispersion", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("step", [1.0, 12.0])
def test_known_dispersion_is_recovered(dispersion, step):
    rng = np.random.default_rng(6)
    mean = np.broadcast_to(rng.uniform(0.8, 4.0, (300, 1)), (300, 48))
    y = step * _negative_binomial(mean, dispersion, rng)
    found = learn_dispersion(y, np.full(300, step))
    assert found.mean() == pytest.approx(dispersion, rel=0.15)


def test_an_item_is_drawn_to_the_others_the_more_the_shorter_it_is():
    rng = np.random.default_rng(2)
    y = _negative_binomial(np.full((100, 48), 3.0), 0.5, rng)
    y[0] = np.tile([0.0, 0.0, 0.0, 12.0], 12)  # relative variance: 27.6 less 3, over 9
    own = (np.var(y[0], ddof=1) - 3.0) / 9.0
    short = y.copy()
    short[0, :36] = np.nan
    pooled = np.median((y.var(axis=1, ddof=1) - y.mean(axis=1)) / np.square(y.mean(axis=1)))
    assert learn_dispersion(y, np.ones(100))[0] == pytest.approx((48 * own + 12 * pooled) / 60)
    assert learn_dispersion(short, np.ones(100))[0] < learn_dispersion(y, np.ones(100))[0]


def test_only_the_last_four_years_count():
    rng = np.random.default_rng(2)
    y = _negative_binomial(np.full((20, 60), 3.0), 0.5, rng)
    earlier = y.copy()
    earlier[:, :12] = 500.0
    np.testing.assert_array_equal(
        learn_dispersion(earlier, np.ones(20)), learn_dispersion(y, np.ones(20))
    )


def test_dispersion_of_what_says_nothing():
    nothing = np.full((2, 30), np.nan)
    assert learn_dispersion(nothing, np.ones(2)).tolist() == [DEFAULT_DISPERSION] * 2
    one = nothing.copy()
    one[0, -1] = 4.0
    assert learn_dispersion(one, np.ones(2)).tolist() == [DEFAULT_DISPERSION] * 2
    steady = np.full((2, 30), 5.0)  # less than Poisson
    assert learn_dispersion(steady, np.ones(2)).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("drift", [0.0, 0.2, 0.8])
@pytest.mark.parametrize("step", [1.0, 5.0])
def test_known_drift_is_recovered(drift, step):
    rng = np.random.default_rng(3)
    items, origins, horizon, dispersion = 400, 3, 12, 0.5
    mean = np.broadcast_to(rng.uniform(0.5, 5.0, (items, 1, 1)), (items, origins, horizon))
    level = rng.gamma(1 / drift, drift, (items, origins, 1)) if drift else 1.0
    actual = _negative_binomial(mean * level, dispersion, rng)
    found = learn_drift(
        step * mean, step * actual, np.full(items, dispersion), np.full(items, step)
    )
    assert found == pytest.approx(drift, abs=0.04 + 0.15 * drift)


def test_drift_needs_whole_paths():
    forecast, actual = np.ones((2, 1, 3)), np.ones((2, 1, 3))
    actual[:, :, 2] = np.nan
    assert learn_drift(forecast, actual, np.ones(2), np.ones(2)) == DEFAULT_DRIFT
    empty = np.empty((0, 0, 3))
    assert learn_drift(empty, empty, np.empty(0), np.empty(0)) == DEFAULT_DRIFT
    nothing = np.zeros((2, 1, 3))
    assert learn_drift(nothing, nothing, np.ones(2), np.ones(2)) == DEFAULT_DRIFT


@pytest.mark.parametrize(("mean", "dispersion"), [(0.3, 0.7), (2.0, 0.7), (2.0, 4.0), (1.0, 0.0)])
def test_counts_have_scipys_probabilities(mean, dispersion):
    draws = 40_000
    found = sample_counts(
        np.full((draws, 2), mean), dispersion=dispersion, drift=0.0, rng=np.random.default_rng(1)
    )
    size = 1 / dispersion if dispersion else None
    known = nbinom(size, size / (size + mean)) if size else poisson(mean)
    for count in range(4):
        expected = known.pmf(count)
        tolerance = 4 * np.sqrt(expected * (1 - expected) / draws)
        np.testing.assert_allclose((found == count).mean(axis=0), expected, atol=tolerance)
    variance = mean + dispersion * mean**2
    np.testing.assert_allclose(found.mean(axis=0), mean, atol=5 * np.sqrt(variance / draws))
    np.testing.assert_allclose(found.var(axis=0), variance, rtol=0.1)
    assert np.corrcoef(found.T)[0, 1] == pytest.approx(0.0, abs=0.02)


def test_drift_is_shared_by_the_months_of_a_path_and_keeps_the_mean():
    mean, dispersion, drift, months = 3.0, 0.5, 0.4, 12
    found = sample_counts(
        np.full((20_000, months), mean),
        dispersion=dispersion,
        drift=drift,
        rng=np.random.default_rng(1),
    )
    np.testing.assert_allclose(found.mean(axis=0), mean, rtol=0.04)
    month = mean + dispersion * (1 + drift) * mean**2 + drift * mean**2
    np.testing.assert_allclose(found.var(axis=0), month, rtol=0.1)
    total = months * (mean + dispersion * (1 + drift) * mean**2) + drift * (months * mean) ** 2
    assert found.sum(axis=1).var() == pytest.approx(total, rel=0.08)


def test_whole_non_negative_and_zero_where_nothing_is_expected():
    mean = np.tile([0.0, 0.2, 50.0], (500, 1))
    found = sample_counts(mean, dispersion=2.0, drift=0.5, rng=np.random.default_rng(1))
    assert (found == np.rint(found)).all()
    assert (found >= 0).all()
    assert (found[:, 0] == 0).all()


def test_same_generator_same_counts():
    mean = np.full((50, 6), 1.5)
    one, two = (
        sample_counts(mean, dispersion=1.0, drift=0.2, rng=np.random.default_rng(9))
        for _ in range(2)
    )
    assert one.tobytes() == two.tobytes()
