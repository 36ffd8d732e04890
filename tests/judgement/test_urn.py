"""Whole units in and out of cells: counts are met at any size, limits are kept."""

from __future__ import annotations

import numpy as np
import pytest

from sopforecast.judgement.urn import add_units, remove_units


def _rng() -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=3))


@pytest.mark.parametrize("units", [1.0, 40.0, 3e6, 4e11])
@pytest.mark.parametrize("excess", [-0.9, 0.0, 3.0, 1e5])
def test_units_added_are_the_units_asked_for(units, excess):
    mean = np.array([1.0, 10.0, 500.0])
    held = np.random.default_rng(0).poisson(mean, (50, 3)).astype(float)
    asked = np.where(np.arange(50) % 5, units, 0.0)
    added = add_units(
        held, asked, mean=mean, slope=np.ones((1, 3)), excess=np.full(3, excess), rng=_rng()
    )
    assert np.array_equal(added.sum(axis=1), asked)
    assert added.min() >= 0
    assert np.array_equal(added, np.rint(added))


@pytest.mark.parametrize("part", [1e-9, 0.3, 0.999999, 1.0])
@pytest.mark.parametrize("size", [2.0, 1e4, 1e11])
@pytest.mark.parametrize("excess", [-0.9, 0.0, 1e5])
def test_units_removed_were_there(part, size, excess):
    held = np.rint(np.random.default_rng(0).gamma(1.0, size, (50, 4)))
    asked = np.ceil(part * held.sum(axis=1))
    slope = np.array([[1.0, 4.0, 1e-3, 0.5]])
    removed = remove_units(held, asked, slope=slope, excess=np.full(4, excess), rng=_rng())
    assert np.array_equal(removed.sum(axis=1), asked)
    assert (removed >= 0).all()
    assert (removed <= held).all()


def test_heavier_units_go_first_as_in_successive_draws():
    """Two units, weights 3 and 1, one taken: the heavy one in three of four draws."""
    held = np.ones((40_000, 2))
    removed = remove_units(
        held, np.ones(40_000), slope=np.array([[3.0, 1.0]]), excess=np.zeros(2), rng=_rng()
    )
    assert removed[:, 0].mean() == pytest.approx(0.75, abs=0.01)


def test_successive_draws_of_two_from_three():
    """Weights 2, 1, 1: the heavy unit stays only when both others go, 1/4 * 1/3 twice.

    Units put back are picked as if their clocks had just rung: right to about a hundredth.
    """
    removed = remove_units(
        np.ones((60_000, 3)),
        np.full(60_000, 2.0),
        slope=np.array([[2.0, 1.0, 1.0]]),
        excess=np.zeros(3),
        rng=_rng(),
    )
    assert removed[:, 0].mean() == pytest.approx(1.0 - 1.0 / 6.0, abs=0.016)


def test_no_cell_with_a_mean_takes_nothing():
    added = add_units(
        np.zeros((3, 2)),
        np.full(3, 5.0),
        mean=np.zeros(2),
        slope=np.ones((1, 2)),
        excess=np.zeros(2),
        rng=_rng(),
    )
    assert not added.any()
