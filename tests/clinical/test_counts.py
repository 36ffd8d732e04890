"""Small counts against enumeration, scipy and simulation."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sopforecast.clinical.counts import mixture, poisson_binomial, range_of


@given(st.lists(st.floats(0, 1), min_size=0, max_size=7))
def test_against_enumeration(chances):
    expected = np.zeros(len(chances) + 1)
    for outcome in product((0, 1), repeat=len(chances)):
        one = [p if hit else 1 - p for p, hit in zip(chances, outcome, strict=True)]
        expected[sum(outcome)] += np.prod(one)
    assert poisson_binomial(np.array(chances)) == pytest.approx(expected, abs=1e-12)


def test_equal_chances_are_binomial():
    assert poisson_binomial(np.full(40, 0.3)) == pytest.approx(stats.binom.pmf(range(41), 40, 0.3))


def test_beta_draws_are_beta_binomial():
    p = stats.beta.ppf((np.arange(20_000) + 0.5) / 20_000, 2, 3)
    found = mixture(np.repeat(p[:, None], 8, axis=1))
    assert found == pytest.approx(stats.betabinom.pmf(range(9), 8, 2, 3), abs=1e-6)


def test_lines_of_several_patients():
    rng = np.random.default_rng(1)
    chances, sizes = rng.random((3, 5)), np.array([1, 3, 0, 2, 4])
    expected = np.zeros(11)
    for draw in chances:
        for outcome in product((0, 1), repeat=5):
            weight = np.prod(np.where(outcome, draw, 1 - draw))
            expected[int(sizes @ outcome)] += weight / 3
    assert mixture(chances, sizes=sizes) == pytest.approx(expected, abs=1e-12)


def test_range_is_of_whole_counts():
    pmf = stats.binom.pmf(range(11), 10, 0.5)
    assert range_of(pmf, 0.8) == (int(stats.binom.ppf(0.1, 10, 0.5)), 7)
    assert range_of(np.array([1.0]), 0.8) == (0, 0)
    assert range_of(np.array([0.95, 0.05]), 0.8) == (0, 0)


def test_no_chance_outside_0_to_1():
    with pytest.raises(ValueError, match="outside 0 to 1"):
        poisson_binomial(np.array([1.2]))
