"""The global learner: no look-ahead, nothing from too little, and it learns what there is."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from sopforecast.baseline.learner import LEARNERS, learn_chunk, learner_tasks
from sopforecast.core.months import add_months

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


def _tasks(y, corrected, *, offsets=OFFSETS, eligible=None, seed=1, end=date(2026, 9, 1)):
    return learner_tasks(
        [y[:, : y.shape[1] - offset] for offset in offsets],
        corrected,
        offsets=offsets,
        origins=[add_months(end, -offset) for offset in offsets],
        horizon=HORIZON,
        seed=seed,
        eligible=np.ones(len(y), dtype=bool) if eligible is None else eligible,
    )


def _learn(y, corrected, *, offsets=OFFSETS, **options):
    """Paths (N, O, 2, H), NaN for series that took no part."""
    tasks = _tasks(y, corrected, offsets=offsets, **options)
    answer = np.full((len(y), len(offsets), 2, HORIZON), np.nan)
    for k, (task, paths) in enumerate(zip(tasks, learn_chunk(tasks), strict=True)):
        answer[task.series, k // 2, k % 2] = paths
    return answer


@pytest.fixture(scope="module")
def learned(demand, corrected):
    return _learn(demand, corrected)


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


def test_an_origin_is_forecast_alike_in_a_later_cycle(learned, demand, corrected):
    """Six months later the end of then is six months back; nothing of it has changed."""
    rng = np.random.default_rng(3)
    later = np.concatenate([demand, rng.uniform(1, 100, (80, 6))], axis=1)
    offsets = (6, 12, 18, 24, 30)
    paths = _learn(later, corrected, offsets=offsets, end=date(2027, 3, 1))
    assert paths.tobytes() == learned.tobytes()
    then, now = (
        _tasks(demand, corrected),
        _tasks(later, corrected, offsets=offsets, end=date(2027, 3, 1)),
    )
    assert [task.keys() for task in then] == [task.keys() for task in now]


def test_series_that_take_no_part_change_neither_key_nor_bytes(learned, demand, corrected):
    """A new item, a sparse one, and one too short: anywhere among the others."""
    more = np.concatenate([np.full((3, 66), np.nan), demand])
    more[0], more[1, -10:], more[2, -19:] = 5.0, 7.0, 3.0
    paths = np.concatenate([np.full((3, 5, HORIZON), 2.0), corrected])
    eligible = np.arange(83) != 0
    tasks = _tasks(more, paths, eligible=eligible)
    before = _tasks(demand, corrected)
    assert tasks[0].series.size == 81  # 19 months are enough at the end
    for task, alone in list(zip(tasks, before, strict=True))[2:]:
        np.testing.assert_array_equal(task.series, alone.series + 3)
        assert task.keys() == alone.keys()
    (again,) = learn_chunk([tasks[4]])
    assert again.tobytes() == np.ascontiguousarray(learned[:, 2, BOOSTING]).tobytes()


@pytest.mark.parametrize("what", ["a month", "its own path", "an earlier path", "seed", "origin"])
def test_whatever_a_task_reads_changes_every_key(demand, corrected, what):
    options = {}
    y, paths = demand.copy(), corrected.copy()
    if what == "a month":
        y[7, 40] = np.nextafter(y[7, 40], np.inf)
    elif what == "its own path":
        paths[7, 1, 3] = np.nan
    elif what == "an earlier path":
        paths[7, 4, 0] *= 2
    elif what == "seed":
        options = {"seed": 2}
    else:
        options = {"end": date(2026, 10, 1)}
    before, after = _tasks(demand, corrected), _tasks(y, paths, **options)
    boosting, theta = ((set(before[k].keys()), set(after[k].keys())) for k in (2, 3))
    assert len(boosting[0]) == len(theta[0]) == 80
    assert not theta[0] & theta[1]
    assert bool(boosting[0] & boosting[1]) == (what in {"its own path", "an earlier path"})
    assert not boosting[0] & theta[0]
