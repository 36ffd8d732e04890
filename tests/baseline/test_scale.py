"""The scale of errors: features by a loop, and simulated errors of known size."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from sopforecast.baseline.scale import error_scale, noise_features
from sopforecast.baseline.seasonality import index_of_months, seasonal_indices


def test_features_against_a_loop(seasonal_demand):
    y = seasonal_demand(3, 70, noise=0.2)
    y[1, :40] = np.nan
    offsets = (12, 0)
    found = noise_features(y, offsets)
    for i in range(3):
        for o, offset in enumerate(offsets):
            row = y[i, : 70 - offset]
            indices, _ = seasonal_indices(row[None, :])
            adjusted = (row / index_of_months(indices, -row.size, row.size)[0])[-36:]
            row = row[np.isfinite(row)]
            steps = [abs(b - a) for a, b in pairwise(adjusted) if a == a]
            years = [abs(b - a) for a, b in zip(row[-48:], row[-48:][12:], strict=False)]
            level = np.mean(row[-12:])
            np.testing.assert_allclose(
                found[i, o], np.log([np.mean(steps), np.mean(years), level]), rtol=1e-9
            )


def test_features_of_short_flat_and_missing_series():
    y = np.full((4, 30), np.nan)
    y[0, -1] = 50.0
    y[1] = 200.0
    y[2] = 0.0
    found = np.exp(noise_features(y, (0,))[:, 0])
    np.testing.assert_allclose(found[0], [15.0, 15.0, 50.0], rtol=1e-6)
    np.testing.assert_allclose(found[1], [0.2, 0.2, 200.0], rtol=1e-6)
    assert np.isfinite(np.log(found[2])).all()
    assert np.isnan(found[3]).all()


def test_features_do_not_see_beyond_the_origin(seasonal_demand):
    y = seasonal_demand(4, 60)
    later = y.copy()
    later[:, -10:] = 1e7
    assert noise_features(later, (10, 20)).tobytes() == noise_features(y, (10, 20)).tobytes()


@pytest.fixture
def simulated():
    """300 series, 6 origins: errors are 2 x noise^.8 x level^.2, whatever the yearly difference."""
    rng = np.random.default_rng(4)
    level = rng.uniform(3, 9, (300, 1))
    features = np.stack(
        [
            level - 2 + rng.normal(0, 0.5, (300, 7)),
            level - 1.5 + rng.normal(0, 0.5, (300, 7)),
            np.broadcast_to(level, (300, 7)),
        ],
        axis=2,
    )
    size = 2.0 * np.exp(0.8 * features[:, :, 0] + 0.2 * features[:, :, 2])
    residual = size[:, :-1, None] * rng.laplace(0.0, 1.0, (300, 6, 12))
    return residual, features, size


def test_known_sizes_are_recovered(simulated):
    residual, features, size = simulated
    found = error_scale(residual, features)
    assert found.shape == (300, 7)
    assert np.exp(np.log(found / size).mean()) == pytest.approx(1.0, abs=0.07)
    assert np.log(found / size).std() < 0.2


def test_a_series_own_record_moves_its_scale(simulated):
    residual, features, _ = simulated
    before = error_scale(residual, features)
    worse = residual.copy()
    worse[7] *= 4.0
    after = error_scale(worse, features)
    assert 1.5 < after[7, -1] / before[7, -1] < 4.0
    others = np.arange(300) != 7
    np.testing.assert_allclose(after[others], before[others], rtol=0.05)


def test_the_unit_is_that_of_the_series(simulated):
    residual, features, _ = simulated
    scaled = error_scale(1000.0 * residual, features + np.log(1000.0))
    np.testing.assert_allclose(scaled, 1000.0 * error_scale(residual, features), rtol=0.02)


def test_with_little_to_learn_from_errors_lie_between_noise_and_yearly_difference():
    features = np.log(np.full((2, 3, 3), 1.0) * np.array([4.0, 9.0, 100.0]))
    found = error_scale(np.full((2, 2, 5), np.nan), features)
    np.testing.assert_allclose(found, 6.0, rtol=1e-9)


def test_no_backtest_no_history():
    features = np.full((2, 1, 3), np.nan)
    features[0] = np.log([4.0, 9.0, 100.0])
    found = error_scale(np.empty((2, 0, 5)), features)
    assert found[0, 0] == pytest.approx(6.0)
    assert np.isnan(found[1, 0])
