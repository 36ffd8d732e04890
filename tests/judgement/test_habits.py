"""What is learned of cells before their sum is moved, by hand and by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from sopforecast.judgement.habits import bent_slopes, cell_moments, learn_habits, slopes


def test_moments_by_hand():
    mean, variance = cell_moments(np.array([[1.0, 0.0], [3.0, 4.0]]))
    assert mean.tolist() == [2.0, 2.0]
    assert variance.tolist() == [2.0, 8.0]


def test_moments_over_many_blocks():
    cells = np.random.default_rng(0).gamma(2.0, 3.0, (50, 7_000))
    mean, variance = cell_moments(cells)
    assert mean == pytest.approx(cells.mean(axis=0))
    assert variance == pytest.approx(cells.var(axis=0, ddof=1))


def test_slopes_by_hand():
    """Sds 1 and 3, correlation .5: cov(cell, sum) = 1 + 1.5 and 9 + 1.5, and var(sum) = 13."""
    assert slopes(np.array([1.0, 9.0]), sum_variance=13.0, correlation=None) == pytest.approx(
        [2.5, 10.5]
    )
    assert slopes(np.array([1.0, 9.0]), sum_variance=5.0, correlation=None) == pytest.approx(
        [1.0, 9.0]
    )


def test_scattered_cells_grow_faster_as_the_sum_grows():
    """Tilted means of negative binomials, mean * l / (1 - (l - 1) * excess), at a tilt l = 1.1."""
    mean, excess = np.array([5.0, 5.0]), np.array([0.0, 4.0])
    habits = learn_habits(
        np.zeros((2, 2)),
        steps=np.ones(2),
        largest=40.0,
        mean=mean,
        variance=mean * (1.0 + excess),
        correlation=0.0,
    )
    goal = 5.0 * 1.1 + 5.0 * 1.1 / (1.0 - 0.1 * 4.0)
    bent = bent_slopes(habits, before=np.array([10.0]), after=np.array([goal]))[0]
    flat = habits.slope
    assert bent[1] / bent[0] == pytest.approx(flat[1] / flat[0] / 0.6, rel=0.01)
    back = bent_slopes(habits, before=np.array([goal]), after=np.array([10.0]))[0]
    gone = np.log(1.1) - np.log([1.0, 0.6])  # -log of what is kept of a unit
    assert back[1] / back[0] == pytest.approx(gone[1] / gone[0], rel=0.01)
