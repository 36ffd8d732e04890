"""What the learner sees: each feature against numpy on one series; no unit, no future."""

from __future__ import annotations

import numpy as np
import pytest

from sopforecast.baseline.features import SLOPE_WINDOWS, SMOOTHING, origin_features
from sopforecast.baseline.seasonality import index_of_months, seasonal_indices

HORIZON = 18


@pytest.fixture
def demand(seasonal_demand):
    y = seasonal_demand(6, 62, noise=0.2)
    y[1, :30] = np.nan
    y[2, :50] = np.nan
    y[3, ::9] = 0.0
    return y


def _adjusted(row):
    """Log of deseasonalised demand of a positive series, worked out for itself."""
    indices, _ = seasonal_indices(row[None, :])
    return np.log(row / index_of_months(indices, -row.size, row.size)[0])


def test_the_unit_does_not_matter(demand):
    found = origin_features(demand, HORIZON)
    scaled = origin_features(1000.0 * demand, HORIZON)
    np.testing.assert_allclose(scaled.fixed, found.fixed, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(scaled.by_lead, found.by_lead, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(scaled.base, found.base + np.log(1000.0), rtol=1e-9)


def test_months_before_a_series_began_do_not_matter(demand):
    found = origin_features(demand, HORIZON)
    padded = origin_features(np.pad(demand, ((0, 0), (7, 0)), constant_values=np.nan), HORIZON)
    np.testing.assert_allclose(padded.fixed, found.fixed, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(padded.by_lead, found.by_lead, rtol=1e-9, atol=1e-9)


def test_a_series_has_the_same_bytes_alone_and_among_others(demand):
    together = origin_features(demand, HORIZON)
    for i in range(len(demand)):
        alone = origin_features(demand[i : i + 1], HORIZON)
        assert alone.fixed.tobytes() == together.fixed[i : i + 1].tobytes()
        assert alone.by_lead.tobytes() == together.by_lead[i : i + 1].tobytes()
        assert alone.base.tobytes() == together.base[i : i + 1].tobytes()


def test_lags_levels_and_slopes_against_numpy(demand):
    found = origin_features(demand, HORIZON)
    for i in (0, 4, 5):
        adjusted = _adjusted(demand[i])
        levels = []
        for alpha in SMOOTHING:
            level = adjusted[0]
            for value in adjusted[1:]:
                level += alpha * (value - level)
            levels.append(level)
        slopes = [np.polyfit(np.arange(w), adjusted[-w:], 1)[0] for w in SLOPE_WINDOWS]
        expected = [
            *(adjusted[-k] - levels[1] for k in range(1, 13)),
            levels[0] - levels[1],
            levels[2] - levels[1],
            *slopes,
            np.std(np.diff(adjusted[-25:])),
            np.std(adjusted[-12:]),
            seasonal_indices(demand[i : i + 1])[1][0],
            62,
            adjusted[-12:].mean() - adjusted[-24:-12].mean(),
            adjusted[-24:-12].mean() - adjusted[-36:-24].mean(),
        ]
        np.testing.assert_allclose(found.fixed[i], expected, rtol=1e-8, atol=1e-10)


def test_what_differs_by_month_ahead(demand):
    found = origin_features(demand, HORIZON)
    indices, _ = seasonal_indices(demand[:1])
    adjusted = _adjusted(demand[0])
    level = adjusted[0]
    for value in adjusted[1:]:
        level += 0.3 * (value - level)
    lead = np.arange(1, HORIZON + 1)
    log_index = np.log(np.tile(indices[0], 2)[:HORIZON])
    same_month_last_year = np.tile(adjusted[-12:], 2)[:HORIZON] - level
    expected = np.stack(
        [
            lead,
            log_index,
            lead * np.polyfit(np.arange(12), adjusted[-12:], 1)[0],
            lead * np.polyfit(np.arange(24), adjusted[-24:], 1)[0],
            same_month_last_year,
        ],
        axis=1,
    )
    np.testing.assert_allclose(found.by_lead[0], expected, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(found.base[0], level + log_index, rtol=1e-10)


def test_months_without_demand_are_read_as_one_percent_of_the_last_two_years(demand):
    y = np.full((1, 30), 50.0)
    y[0, -3] = 0.0
    found = origin_features(y, 2)
    typical = 50.0 * 23 / 24
    level, levels = np.log(50.0), []
    for value in np.log(np.where(y[0] > 0, y[0], 0.01 * typical)):
        level += 0.3 * (value - level)
        levels.append(level)
    assert found.fixed[0, 2] == pytest.approx(np.log(0.01 * typical) - level)


def test_a_row_is_the_series_and_its_month_ahead(demand):
    found = origin_features(demand, HORIZON)
    rows = found.rows(np.array([4, 0]), np.array([0, 17]))
    expected = [[*found.fixed[4], *found.by_lead[4, 0]], [*found.fixed[0], *found.by_lead[0, 17]]]
    np.testing.assert_array_equal(rows, expected)
    assert rows[:, found.fixed.shape[1]].tolist() == [1.0, 18.0]


def test_short_empty_and_dead_series_are_finite_or_unknown_never_infinite():
    y = np.full((3, 40), np.nan)
    y[0, -1] = 5.0
    y[1] = 0.0
    found = origin_features(y, HORIZON)
    assert not np.isinf(found.fixed).any()
    assert not np.isinf(found.by_lead).any()
    assert np.isnan(found.base[2]).all()
    assert np.isfinite(found.base[:2]).all()
