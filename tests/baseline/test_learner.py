"""The global learner: no look-ahead, nothing from too little, and it learns what there is."""

from __future__ import annotations

import numpy as np
import pytest

from sopforecast.baseline.learner import LEARNERS, learner_paths

HORIZON = 12
OFFSETS = (0, 6, 12, 18, 24)
BOOSTING, BOOSTED_THETA = (LEARNERS.index(name) for name in ("Boosting", "BoostedTheta"))


@pytest.fixture(scope="module")
def demand():
    """80 series of 66 months that all flatten out after each rise: what no single one shows."""
    rng = np.random.default_rng(8)
    wave = 0.2 * np.sin(2 * np.pi * np.arange(66) / 12)
    noise = 0.05 * rng.standard_normal((80, 66))
    trend = 0.01 * np.arange(66)
    return np.exp(rng.uniform(2, 8, (80, 1)) + trend + wave + noise)


@pytest.fixture(scope="module")
def corrected(demand):
    """A model that says 70% of what comes, from every origin (of the months to come too)."""
    width = demand.shape[1]
    future = np.exp(0.01 * np.arange(width, width + HORIZON))
    longer = np.concatenate([demand, demand[:, -12:-11] * future / future[0]], axis=1)
    paths = [longer[:, width - o : width - o + HORIZON] for o in OFFSETS]
    return 0.7 * np.stack(paths, axis=1)


def _learn(y, corrected, *, offsets=OFFSETS, eligible=None, seed=1, on_done=None):
    keep = np.ones(len(y), dtype=bool) if eligible is None else eligible
    return learner_paths(
        y,
        corrected,
        offsets=offsets,
        horizon=HORIZON,
        seed=seed,
        eligible=keep,
        on_done=on_done,
    )


@pytest.fixture(scope="module")
def learned(demand, corrected):
    told = []
    paths = _learn(demand, corrected, on_done=told.append)
    assert told == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    return paths


def test_shape_and_positive_paths(learned, demand):
    assert learned.shape == (80, len(OFFSETS), 2, HORIZON)
    assert np.isfinite(learned[:, 0]).all()
    assert (learned[np.isfinite(learned)] > 0).all()
    assert np.isfinite(learned[:, :2, BOOSTING]).all()


def test_no_month_after_an_origin_reaches_its_forecast(learned, demand, corrected):
    """Corrupting everything after the origin 12 months back leaves its bytes, and older ones."""
    later, later_corrected = demand.copy(), corrected.copy()
    later[:, -12:] = np.random.default_rng(0).uniform(0, 1e6, (80, 12))
    later_corrected[:, :2] = 1e5
    paths = _learn(later, later_corrected)
    assert paths[:, 2:].tobytes() == learned[:, 2:].tobytes()
    assert not np.array_equal(paths[:, 1], learned[:, 1])
    assert not np.array_equal(paths[:, 0], learned[:, 0])


def test_series_that_are_not_eligible_neither_teach_nor_are_forecast(learned, demand, corrected):
    eligible = np.arange(80) < 70
    paths = _learn(demand, corrected, eligible=eligible, offsets=(0,))
    assert np.isnan(paths[70:]).all()
    other, other_corrected = demand.copy(), corrected.copy()
    other[70:] = 1.0
    other_corrected[70:] = 9.0
    again = _learn(other, other_corrected, eligible=eligible, offsets=(0,))
    assert again.tobytes() == paths.tobytes()
    assert not np.array_equal(paths[:70, 0, BOOSTING], learned[:70, 0, BOOSTING])


def test_an_origin_is_forecast_alike_whichever_origins_stand_beside_it(learned, demand, corrected):
    again = _learn(demand, corrected, offsets=(0,))
    assert again[:, 0, BOOSTING].tobytes() == learned[:, 0, BOOSTING].tobytes()


def test_too_little_to_learn_from_gives_nothing(demand, corrected):
    assert np.isnan(_learn(demand[:4], corrected[:4])).all()
    short = demand[:, -17:]
    assert np.isnan(_learn(short, corrected, offsets=(0, 1, 2, 3, 4))).all()
    unknown = np.full_like(demand, np.nan)
    assert np.isnan(_learn(unknown, np.full_like(corrected, np.nan))).all()


def test_the_oldest_origin_has_nothing_earlier_to_correct_from(learned):
    assert np.isnan(learned[:, -1, BOOSTED_THETA]).all()


def test_it_learns_where_the_corrected_models_go_wrong(learned, demand, corrected):
    """All are 30% low everywhere: the corrected path is close, the path itself is not."""
    truth = corrected[:, 0] / 0.7
    before = np.abs(np.log(corrected[:, 0] / truth)).mean()
    after = np.abs(np.log(learned[:, 0, BOOSTED_THETA] / truth)).mean()
    assert before == pytest.approx(0.357, abs=0.01)
    assert after < 0.12


def test_boosting_learns_the_growth_that_all_share(learned, demand):
    """Months ahead of origin 12, beside the smoothed level x season that ignores the growth."""
    actual = demand[:, -12:]
    level = np.exp(np.log(demand[:, -24:-12]).mean(axis=1, keepdims=True))
    flat = level * demand[:, -24:-12] / demand[:, -24:-12].mean(axis=1, keepdims=True)
    error = np.abs(np.log(learned[:, 2, BOOSTING] / actual)).mean()
    assert error < 0.75 * np.abs(np.log(flat / actual)).mean()


def test_demand_a_thousand_times_larger_is_forecast_a_thousand_times_larger(learned, demand):
    half = np.arange(80) % 2 == 0
    scaled = np.where(half[:, None], 1024.0, 1.0) * demand
    paths = _learn(scaled, np.full((80, 1, HORIZON), np.nan), offsets=(0,))
    ratio = paths[half, 0, BOOSTING] / learned[half, 0, BOOSTING]
    np.testing.assert_allclose(ratio, 1024.0, rtol=1e-3)
