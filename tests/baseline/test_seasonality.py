"""Seasonal indices: series made by hand, and a plain-loop classical decomposition."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sopforecast.baseline.seasonality import closed_months, index_of_months, seasonal_indices

MADE = np.array([0.5, 0.6, 0.9, 1.0, 1.1, 1.2, 1.5, 1.4, 1.2, 1.0, 0.9, 0.7])
assert math.isclose(MADE.mean(), 1.0)


def _classical(y):
    """Indices and trust of one series, month by month, as a textbook would."""
    months = len(y)
    ratios = {}
    for t in range(6, months - 6):
        trend = (0.5 * y[t - 6] + sum(y[t - 5 : t + 6]) + 0.5 * y[t + 6]) / 12
        if trend > 0 and y[t] > 0:
            ratios[t] = min(max(math.log(y[t] / trend), -3.0), 3.0)
    by_month = [[] for _ in range(12)]
    for t, ratio in ratios.items():
        years_back = (months - 1 - t) // 12
        by_month[(t - months) % 12].append((0.85**years_back, ratio))
    means = [sum(w * r for w, r in cell) / sum(w for w, _ in cell) for cell in by_month]
    years = np.mean([sum(w for w, _ in c) ** 2 / sum(w * w for w, _ in c) for c in by_month])
    squares = sum(
        (r - mean) ** 2 for mean, cell in zip(means, by_month, strict=True) for _, r in cell
    )
    noise = squares / max(len(ratios) - 12, 1)
    centred = [mean - np.mean(means) for mean in means]
    between = sum(c * c for c in centred) / 11
    trust = min(max(1 - (9 / 11) * (noise / years) / between, 0), 1)
    raw = np.exp([c * trust for c in centred])
    return raw / raw.mean(), trust


@pytest.mark.parametrize("months", [25, 31, 36, 48, 61])
def test_same_as_the_textbook_loop(months, seasonal_demand):
    y = seasonal_demand(5, months, noise=0.25)
    indices, trust = seasonal_indices(y)
    for i, row in enumerate(y):
        expected, expected_trust = _classical(row)
        np.testing.assert_allclose(indices[i], expected, rtol=1e-10)
        assert trust[i] == pytest.approx(expected_trust, rel=1e-10)


@pytest.mark.parametrize("months", [36, 41, 48])
def test_indices_made_by_hand_come_back_in_the_order_of_the_months_ahead(months):
    y = 80.0 * MADE[np.arange(months) % 12]
    indices, trust = seasonal_indices(y[None, :])
    ahead = MADE[(months + np.arange(12)) % 12]
    np.testing.assert_allclose(indices[0], ahead, rtol=1e-9)
    assert trust[0] == pytest.approx(1.0)


def test_a_season_on_a_steep_trend_is_found():
    months = np.arange(60)
    y = 100.0 * 1.02**months * MADE[months % 12]
    indices, _ = seasonal_indices(y[None, :])
    np.testing.assert_allclose(indices[0], MADE, rtol=0.02)


def test_noise_is_not_taken_for_a_season():
    rng = np.random.default_rng(5)
    y = 100.0 * np.exp(0.2 * rng.standard_normal((400, 60)))
    indices, trust = seasonal_indices(y)
    assert trust.mean() < 0.35
    assert np.abs(np.log(indices)).mean() < 0.04  # unshrunk: 0.2 / sqrt(4 years) x .8 = 0.08
    assert (trust == 0).mean() > 0.2


def test_positive_and_one_on_average(seasonal_demand):
    y = seasonal_demand(6, 50, noise=1.5)
    y[:, ::7] = 0.0
    indices, trust = seasonal_indices(y)
    assert (indices > 0).all()
    np.testing.assert_allclose(indices.mean(axis=1), 1.0, rtol=1e-12)
    assert ((trust >= 0) & (trust <= 1)).all()


def test_the_unit_of_a_series_does_not_matter(seasonal_demand):
    y = seasonal_demand(4, 48)
    np.testing.assert_allclose(seasonal_indices(1000 * y)[0], seasonal_indices(y)[0], rtol=1e-12)


def test_a_series_has_the_same_bytes_alone_and_among_others(seasonal_demand):
    y = seasonal_demand(7, 47)
    y[2, :20] = np.nan
    together, trust = seasonal_indices(y)
    for i in range(len(y)):
        alone, own_trust = seasonal_indices(y[i : i + 1])
        assert alone.tobytes() == together[i : i + 1].tobytes()
        assert own_trust.tobytes() == trust[i : i + 1].tobytes()


def test_two_years_of_ratios_are_needed(seasonal_demand):
    for y in (seasonal_demand(2, 24), np.full((2, 40), np.nan), np.full((1, 40), 9.0)):
        indices, trust = seasonal_indices(y)
        assert (indices == 1).all()
        assert (trust == 0).all()
    late = seasonal_demand(1, 60)
    late[0, :36] = np.nan  # 24 months known: 12 ratios, one a month, no way to tell noise
    assert seasonal_indices(late)[1][0] == 0.0


def test_index_of_months_counts_from_the_first_month_ahead():
    indices = np.arange(12.0)[None, :]
    assert index_of_months(indices, 0, 14)[0].tolist() == [*range(12), 0, 1]
    assert index_of_months(indices, -3, 5)[0].tolist() == [9, 10, 11, 0, 1]
    assert index_of_months(indices, -25, 1)[0].tolist() == [11]


def test_a_month_never_sold_for_three_years_is_closed():
    season = np.array([0, 0, 0, 0, 0, 0, 0, 0, 5.0, 9, 8, 4])
    y = np.stack([np.tile(season, 4), np.tile(season, 4)])
    y[1, 27] = 1.0  # one sale in a closed month within three years opens it
    closed = closed_months(y, 14)
    assert closed[0].tolist() == [True] * 8 + [False] * 4 + [True] * 2
    assert closed[1].tolist() == [True] * 3 + [False] + [True] * 4 + [False] * 4 + [True] * 2
    assert not closed_months(y[:, :35], 14).any()
