"""Draws of one number, moved: order and steps kept, moments met."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from sopforecast.judgement.transport import transport


def _rng(seed: int = 5) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=seed))


@settings(max_examples=200, deadline=None)
@given(
    counts=hnp.arrays(np.int64, st.integers(2, 60), elements=st.integers(0, 300)),
    mean=st.floats(0.01, 1e5),
    spread=st.floats(0.0, 2.0),
    step=st.sampled_from([0.125, 1.0, 4.0]),
)
def test_order_steps_sign_and_mean(counts, mean, spread, step):
    z = counts * step
    moved = transport(z, mean=mean, sd=spread * mean, step=step, rng=_rng())
    assert moved.min() >= 0
    assert np.array_equal(moved / step, np.rint(moved / step))
    assert abs(moved.mean() - mean) <= step / len(z) + 1e-9 * mean
    order = np.lexsort((moved, z))
    assert (np.diff(moved[order])[np.diff(z[order]) > 0] >= 0).all()


def test_the_shape_is_kept_where_it_fits():
    z = np.rint(np.random.default_rng(0).gamma(20.0, 50.0, 500))
    moved = transport(z, mean=1_500.0, sd=120.0, step=1.0, rng=_rng())
    straight = 1_500.0 + 120.0 / z.std(ddof=1) * (z - z.mean())
    assert np.abs(moved - straight).max() < 1.0
    assert moved.std(ddof=1) == pytest.approx(120.0, rel=1e-3)


def test_same_moments_change_nothing():
    z = np.random.default_rng(0).poisson(9.0, 500).astype(float)
    moved = transport(z, mean=float(z.mean()), sd=float(z.std(ddof=1)), step=1.0, rng=_rng())
    assert np.array_equal(moved, z)


def test_a_gamma_distribution_where_straight_lines_would_go_below_zero():
    z = np.random.default_rng(0).poisson(50.0, 2_000).astype(float)
    moved = transport(z, mean=40.0, sd=30.0, step=0.0625, rng=_rng())
    law = stats.gamma((40.0 / 30.0) ** 2, scale=30.0**2 / 40.0)
    assert moved.std(ddof=1) == pytest.approx(30.0, rel=0.01)
    assert np.quantile(moved, [0.1, 0.5, 0.9]) == pytest.approx(law.ppf([0.1, 0.5, 0.9]), rel=0.01)


@pytest.mark.parametrize("z", [np.zeros(1_000), np.full(1_000, 70.0), np.arange(1_000) % 2.0])
def test_draws_without_a_shape_of_their_own_get_one(z):
    moved = transport(z, mean=100.0, sd=20.0, step=1.0, rng=_rng())
    assert moved.mean() == pytest.approx(100.0, abs=0.01)
    assert moved.std(ddof=1) == pytest.approx(20.0, rel=0.01)
    assert len(np.unique(moved)) > 50


def test_exact_statements_and_nothing():
    z = np.random.default_rng(0).poisson(9.0, 300).astype(float)
    assert np.array_equal(transport(z, mean=17.0, sd=0.0, step=1.0, rng=_rng()), np.full(300, 17.0))
    assert np.array_equal(
        transport(np.full(300, 4.0), mean=17.0, sd=0.0, step=1.0, rng=_rng()), np.full(300, 17.0)
    )
    assert not transport(z, mean=-3.0, sd=2.0, step=1.0, rng=_rng()).any()
