"""Spreading a change over cells: exact sums, and the laws the urns must follow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from sopforecast.judgement.spread import move_sum

DRAWS = 60_000
POISSON_MEANS = np.array([0.4, 1.5, 3.0, 7.0])


def _rng(seed: int = 5) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=seed))


def _negative_binomial(mean, excess, draws, seed=11):
    rng = np.random.default_rng(seed)
    return rng.negative_binomial(mean / excess, 1.0 / (1.0 + excess), (draws, len(mean))).astype(
        float
    )


@st.composite
def _atoms(draw):
    shape = (draw(st.integers(1, 9)), draw(st.integers(1, 7)))
    counts = draw(
        hnp.arrays(np.int64, shape, elements=st.one_of(st.integers(0, 4), st.integers(0, 10**7)))
    )
    steps = 2.0 ** draw(hnp.arrays(np.int64, shape[1], elements=st.integers(-3, 1)))
    if draw(st.booleans()):
        steps = np.full(shape[1], steps[0])
    change = draw(hnp.arrays(np.int64, shape[0], elements=st.integers(-(10**6), 10**6)))
    return counts * steps, change * steps.max(), steps


@settings(max_examples=250, deadline=None)
@given(atom=_atoms(), seed=st.integers(0, 5))
def test_sums_are_met_nothing_is_negative_and_steps_are_kept(atom, seed):
    cells, change, steps = atom
    moved = move_sum(cells, change, steps=steps, rng=_rng(seed))
    assert moved.min() >= 0
    assert np.array_equal(moved / steps, np.rint(moved / steps))
    wanted = np.maximum(change, -cells.sum(axis=1))
    gap = moved.sum(axis=1) - cells.sum(axis=1) - wanted
    if np.ptp(steps) == 0:
        assert np.array_equal(gap, np.zeros(len(gap)))
    else:
        assert np.abs(gap).max() < steps.max()
    assert np.array_equal(moved[change == 0], cells[change == 0])


@settings(max_examples=100, deadline=None)
@given(atom=_atoms(), seed=st.integers(0, 5))
def test_an_increase_takes_nothing_away_and_a_decrease_adds_nothing(atom, seed):
    cells, change, _ = atom
    steps = np.ones(cells.shape[1])
    cells, change = np.rint(cells), np.rint(change)
    moved = move_sum(cells, change, steps=steps, rng=_rng(seed)) - cells
    assert (moved[change > 0] >= 0).all()
    assert (moved[change < 0] <= 0).all()


def test_same_state_and_input_give_the_same_bytes_also_in_place():
    cells = np.random.default_rng(1).poisson(3.0, (200, 40)).astype(float)
    change = np.where(np.arange(200) % 2, 15.0, -20.0)
    first = move_sum(cells, change, steps=np.ones(40), rng=_rng())
    assert first.tobytes() == move_sum(cells, change, steps=np.ones(40), rng=_rng()).tobytes()
    other = cells.copy()
    assert move_sum(other, change, steps=np.ones(40), rng=_rng(), out=other) is other
    assert other.tobytes() == first.tobytes()


def test_many_blocks_of_draws_still_add_up():
    cells = np.random.default_rng(1).poisson(2.0, (40, 9_000)).astype(float)
    change = np.rint(np.linspace(-15_000, 15_000, 40))
    moved = move_sum(cells, change, steps=np.ones(9_000), rng=_rng())
    assert np.array_equal(moved.sum(axis=1), cells.sum(axis=1) + change)


def test_a_change_between_steps_is_rounded_without_bias():
    cells = np.full((40_000, 2), 8.0)
    moved = move_sum(cells, np.full(40_000, 1.3), steps=np.full(2, 2.0), rng=_rng())
    gained = moved.sum(axis=1) - 16.0
    assert set(np.unique(gained)) == {0.0, 2.0}
    assert gained.mean() == pytest.approx(1.3, abs=0.03)


def test_fine_cells_carry_what_coarse_cells_cannot():
    cells = np.tile([40.0, 40.0], (2_000, 1))
    moved = move_sum(cells, np.full(2_000, -3.25), steps=np.array([1.0, 0.25]), rng=_rng())
    assert np.array_equal(moved.sum(axis=1), np.full(2_000, 76.75))
    assert (40.0 - moved[:, 0]).mean() == pytest.approx(1.625, abs=0.05)


def test_cells_at_zero_in_all_draws_stay_there_unless_all_are():
    cells = np.zeros((300, 4))
    cells[:, :2] = np.random.default_rng(0).poisson(4.0, (300, 2))
    moved = move_sum(cells, np.full(300, 50.0), steps=np.ones(4), rng=_rng())
    assert np.array_equal(moved[:, 2:], np.zeros((300, 2)))
    nothing = move_sum(np.zeros((4_000, 4)), np.full(4_000, 8.0), steps=np.ones(4), rng=_rng())
    assert nothing.mean(axis=0) == pytest.approx([2.0] * 4, abs=0.1)


def test_additions_to_poisson_cells_are_multinomial():
    """Given a sum, independent Poisson cells are multinomial, so what is added must be as well."""
    cells = np.random.default_rng(0).poisson(POISSON_MEANS, (DRAWS, 4)).astype(float)
    moved = move_sum(
        cells,
        np.full(DRAWS, 12.0),
        steps=np.ones(4),
        rng=_rng(),
        mean=POISSON_MEANS,
        variance=POISSON_MEANS,
        correlation=0.0,
    )
    added = moved - cells
    share = POISSON_MEANS / POISSON_MEANS.sum()
    for cell in range(4):
        assert _differs(added[:, cell], stats.binom(12, share[cell]).pmf(np.arange(13))) > 1e-3
    together = np.cov(added.T)
    assert together[2, 3] == pytest.approx(-12 * share[2] * share[3], rel=0.1)


def test_poisson_cells_moved_to_a_sum_are_multinomial_of_it():
    cells = np.random.default_rng(3).poisson(POISSON_MEANS, (DRAWS, 4)).astype(float)
    moved = move_sum(
        cells,
        20.0 - cells.sum(axis=1),
        steps=np.ones(4),
        rng=_rng(),
        mean=POISSON_MEANS,
        variance=POISSON_MEANS,
        correlation=0.0,
    )
    share = POISSON_MEANS / POISSON_MEANS.sum()
    for cell in range(4):
        assert _differs(moved[:, cell], stats.binom(20, share[cell]).pmf(np.arange(21))) > 1e-3


@pytest.mark.parametrize("taken", [3, 30, 6_000])
def test_removals_at_equal_weights_are_hypergeometric(taken):
    there = np.array([5, 2, 9, 20]) * (1 if taken < 36 else 250)
    cells = np.tile(there.astype(float), (DRAWS, 1))
    moved = move_sum(
        cells,
        np.full(DRAWS, -float(taken)),
        steps=np.ones(4),
        rng=_rng(),
        mean=there.astype(float),
        variance=there.astype(float),
        correlation=0.0,
    )
    gone = cells - moved
    law = stats.multivariate_hypergeom(there, taken)
    assert gone.mean(axis=0) == pytest.approx(law.mean(), rel=0.02)
    assert np.cov(gone.T) == pytest.approx(law.cov(), rel=0.06, abs=0.03 * law.cov()[0, 0])
    one = stats.hypergeom(there.sum(), there[2], taken)
    assert _differs(gone[:, 2], one.pmf(np.arange(there[2] + 1))) > 1e-3


@pytest.mark.parametrize("total", [10.0, 45.0])
def test_negative_binomial_cells_of_one_dispersion_are_dirichlet_multinomial(total):
    mean, excess = np.array([1.0, 3.0, 6.0, 10.0]), 2.0
    cells = _negative_binomial(mean, excess, DRAWS)
    moved = move_sum(
        cells,
        total - cells.sum(axis=1),
        steps=np.ones(4),
        rng=_rng(),
        mean=mean,
        variance=mean * (1.0 + excess),
        correlation=0.0,
    )
    size = mean / excess
    for cell in range(4):
        law = stats.betabinom(int(total), size[cell], size.sum() - size[cell])
        # The urn is drawn only where its extra spread shows: close, not identical.
        assert moved[:, cell].mean() == pytest.approx(law.mean(), rel=0.02)
        assert moved[:, cell].std() == pytest.approx(law.std(), rel=0.04)
        assert (moved[:, cell] == 0).mean() == pytest.approx(law.pmf(0), abs=0.01)


@pytest.mark.parametrize("total", [12, 24, 45, 60])
def test_unequal_dispersions_are_close_to_the_exact_conditional_law(total):
    """The law of cells given their sum, by convolution of the cells' own probabilities."""
    mean = np.array([2.0, 4.0, 6.0, 8.0, 10.0])
    excess = np.array([1e-9, 0.5, 1.0, 3.0, 6.0])
    cells = _negative_binomial(mean, excess, 20_000)
    moved = move_sum(cells, total - cells.sum(axis=1), steps=np.ones(5), rng=_rng())
    pmfs = [
        stats.nbinom(m / e, 1.0 / (1.0 + e)).pmf(np.arange(total + 1))
        for m, e in zip(mean, excess, strict=True)
    ]
    for cell in range(5):
        rest = np.ones(1)
        for other in range(5):
            if other != cell:
                rest = np.convolve(rest, pmfs[other])[: total + 1]
        exact = pmfs[cell] * rest[::-1]
        exact /= exact.sum()
        values = np.arange(total + 1)
        exact_mean = exact @ values
        exact_sd = np.sqrt(exact @ (values - exact_mean) ** 2)
        assert moved[:, cell].mean() == pytest.approx(exact_mean, abs=0.12 * exact_sd)
        assert moved[:, cell].std() == pytest.approx(exact_sd, rel=0.12)
        assert (moved[:, cell] == 0).mean() == pytest.approx(exact[0], abs=0.03)


def test_cells_that_move_together_share_by_sd_and_independent_ones_by_variance():
    rng = np.random.default_rng(2)
    mean = np.array([1_000.0, 9_000.0])
    sd = 0.1 * mean
    for common, shares in ((1.0, sd / sd.sum()), (0.0, sd**2 / np.square(sd).sum())):
        shock = np.sqrt(common) * rng.standard_normal((4_000, 1))
        own = np.sqrt(1.0 - common) * rng.standard_normal((4_000, 2))
        cells = np.rint(mean + sd * (shock + own))
        moved = move_sum(cells, np.full(4_000, 100.0), steps=np.ones(2), rng=_rng())
        assert (moved - cells).mean(axis=0) == pytest.approx(100.0 * shares, abs=2.5)


def test_steady_cells_move_last_but_can_be_emptied():
    cells = np.tile([50.0, 0.0], (500, 1))
    cells[:, 1] = np.random.default_rng(0).poisson(50.0, 500)
    less = move_sum(cells, np.full(500, -20.0), steps=np.ones(2), rng=_rng())
    assert (cells - less)[:, 0].mean() < 0.2
    gone = move_sum(cells, -cells.sum(axis=1), steps=np.ones(2), rng=_rng())
    assert not gone.any()


def test_large_scattered_cells_keep_their_spread():
    """Count noise would be lost beside it: shares are exact to a unit."""
    cells = np.rint(np.random.default_rng(0).lognormal(14.0, 0.4, (400, 3)))
    moved = move_sum(cells, np.full(400, 9.0e5), steps=np.ones(3), rng=_rng())
    assert np.array_equal(moved.sum(axis=1), cells.sum(axis=1) + 9.0e5)
    assert np.corrcoef(moved[:, 0], cells[:, 0])[0, 1] > 0.97


def _differs(values: np.ndarray, pmf: np.ndarray) -> float:
    """P-value of a chi-squared test against a law on 0, 1, 2, ...; rare values together."""
    seen = np.bincount(values.astype(int), minlength=len(pmf)).astype(float)
    expected = pmf * len(values)
    common = expected >= 20
    seen = np.append(seen[common], seen[~common].sum())
    expected = np.append(expected[common], expected[~common].sum())
    if expected[-1] < 5:
        seen[-2:-1] += seen[-1]
        expected[-2:-1] += expected[-1]
        seen, expected = seen[:-1], expected[:-1]
    return float(stats.chisquare(seen, expected * seen.sum() / expected.sum()).pvalue)
