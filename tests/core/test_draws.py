"""Quantiles, means, steps, plans and seeds: by hand, against numpy, and as stated bounds."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sopforecast.core.draws import (
    QUANTILES,
    additive_plan,
    demand_step,
    mean_view,
    quantile_view,
    series_rng,
)
from sopforecast.core.tables import QUANTILE_COLUMNS

ARITHMETIC = 2.0**-20  # of a step an item: what additive_plan allows itself


def test_labels_say_their_level() -> None:
    assert [float(f"0.{label[1:]}") for label, _ in QUANTILES] == [level for _, level in QUANTILES]
    assert tuple(label for label, _ in QUANTILES) == QUANTILE_COLUMNS


def test_quantiles_by_hand() -> None:
    draws = np.array([5.0, 1.0, 3.0, 2.0, 4.0]).reshape(5, 1, 1)
    view = {label: value.item() for label, value in quantile_view(draws).items()}
    expected = {"p05": 1.2, "p10": 1.4, "p25": 2, "p50": 3, "p75": 4, "p90": 4.6, "p95": 4.8}
    assert view == pytest.approx(expected, rel=1e-12)


@given(st.integers(1, 40), st.integers(0, 2**32), st.booleans())
def test_quantiles_are_numpys_and_never_cross(count: int, seed: int, whole: bool) -> None:
    rng = np.random.default_rng(seed)
    draws = rng.gamma(0.3, 1e6, size=(count, 3, 2))
    draws = np.rint(draws / 1e6) if whole else draws
    before = draws.copy()
    view = quantile_view(draws)
    np.testing.assert_array_equal(draws, before)
    for label, level in QUANTILES:
        np.testing.assert_allclose(view[label], np.quantile(draws, level, axis=0), rtol=1e-12)
    stacked = np.stack(list(view.values()))
    assert (np.diff(stacked, axis=0) >= 0).all()
    assert (stacked >= draws.min(axis=0)).all()
    assert (stacked <= draws.max(axis=0)).all()


def test_a_cell_with_a_missing_draw_has_no_quantiles() -> None:
    draws = np.ones((4, 2, 1))
    draws[2, 0, 0] = np.nan
    for value in quantile_view(draws).values():
        np.testing.assert_array_equal(value, [[np.nan], [1.0]])


def test_quantiles_of_a_block_take_no_time() -> None:
    draws = np.random.default_rng(1).gamma(2.0, 10.0, size=(500, 250, 18))
    started = time.process_time()
    quantile_view(draws)
    assert time.process_time() - started < 1.0


def test_means_have_the_same_bytes_whatever_stands_beside() -> None:
    draws = np.random.default_rng(2).gamma(2.0, 10.0, size=(500, 7, 18))
    together = mean_view(draws)
    np.testing.assert_allclose(together, draws.mean(axis=0), rtol=1e-12)
    for node in range(7):
        alone = mean_view(np.asfortranarray(draws[:, node : node + 1]))
        np.testing.assert_array_equal(alone, together[node : node + 1])


@pytest.mark.parametrize(
    ("values", "step"),
    [
        ([3.0, 0.0, 7.0, np.nan], 1.0),  # whole
        ([120.5, 99.5, 100.0], 1.0),  # median 100
        ([64.5, 64.0, 63.5, 0.0, -900.5], 0.25),  # median of the positive 64: 64/256
        ([63.9, 63.9], 0.125),  # 63.9/256 is just below a quarter
        ([0.5], 2.0**-9),
        ([-1.5, 0.0], 1.0),  # nothing positive
        ([], 1.0),
        ([np.nan], 1.0),
        ([1e-300], 2.0**-60),
    ],
)
def test_steps_by_hand(values: list[float], step: float) -> None:
    assert demand_step(np.array(values)) == step


@given(st.floats(1e-12, 99.9).filter(lambda value: value != round(value)))
def test_a_step_is_the_power_of_two_below(median: float) -> None:
    step = demand_step(np.array([median]))
    assert step <= median / 256 < 2 * step
    assert np.frexp(step)[0] == 0.5


def test_a_month_goes_to_the_largest_remainders() -> None:
    plan = additive_plan(np.array([[2.2], [0.5], [0.3], [4.0]]), np.ones(4))
    assert plan.tolist() == [[2.0], [1.0], [0.0], [4.0]]


def test_the_remainder_is_carried_to_the_next_month() -> None:
    # Month 1: one unit due, a is ahead in the queue (0.6); month 2: b (0.8) before a (1.2, has 1).
    plan = additive_plan(np.array([[0.6, 0.6], [0.4, 0.4]]), np.ones(2))
    assert plan.tolist() == [[1.0, 0.0], [0.0, 1.0]]
    small = additive_plan(np.full((1, 8), 0.25), np.ones(1))
    assert small.tolist() == [[0, 1, 0, 0, 0, 1, 0, 0]]


def test_equal_items_are_served_in_their_order() -> None:
    plan = additive_plan(np.full((4, 2), 0.25), np.ones(4))
    assert plan.tolist() == [[1, 0], [0, 1], [0, 0], [0, 0]]


def test_an_item_that_has_ended_is_not_planned_afterwards() -> None:
    # Month 2 has one unit for a remainder of 0.6 without demand and one of 0.5 with.
    plan = additive_plan(np.array([[0.6, 0.0], [0.7, 0.1], [0.0, 0.5]]), np.ones(3))
    assert plan.tolist() == [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]


def test_a_deadline_goes_before_a_remainder() -> None:
    # a and b reach a whole unit in month 2, when only one is due: one of them goes in month 1.
    plan = additive_plan(np.array([[0.375, 0.625], [0.375, 0.625], [0.45, 0.0]]), np.ones(3))
    assert plan.tolist() == [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]


def test_whole_means_stay_as_they_are() -> None:
    mean = np.array([[3.0, 0.0, 7.0], [0.5, 1.25, 0.0]])
    np.testing.assert_array_equal(additive_plan(mean, np.array([1.0, 0.25])), mean)


fractions = st.one_of(
    st.integers(0, 12).map(lambda part: part / 4),
    st.floats(0, 3),
    st.floats(0, 1e6),
    st.just(0.0),
)


@st.composite
def portfolios(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Means (B, H) around the step, where rounding is hard, and their steps."""
    items, months = draw(st.integers(1, 14)), draw(st.integers(1, 8))
    row = st.lists(fractions, min_size=months, max_size=months)
    mean = np.array(draw(st.lists(row, min_size=items, max_size=items)))
    steps = draw(st.lists(st.sampled_from([1.0, 1.0, 0.25, 2.0**-9]), min_size=items))
    return mean, np.array(steps[:items])


@given(portfolios())
@settings(max_examples=400, deadline=None)
def test_a_plan_keeps_its_bounds(portfolio: tuple[np.ndarray, np.ndarray]) -> None:
    mean, steps = portfolio
    plan = additive_plan(mean, steps)
    assert (plan >= 0).all()
    counts = plan / steps[:, None]
    np.testing.assert_array_equal(counts, np.rint(counts))
    off = np.cumsum((plan - mean) / steps[:, None], axis=1)
    assert (np.abs(off) < 1 + ARITHMETIC).all()
    for step in np.unique(steps):
        group = off[steps == step]
        slack = len(group) * ARITHMETIC
        assert (np.abs(group.sum(axis=0)) <= 0.5 + slack).all()
        by_month = np.diff(group.sum(axis=0), prepend=0)
        assert (np.abs(by_month) <= 1 + 2 * slack).all()


@given(st.integers(0, 2**32), st.integers(2, 40), st.integers(2, 18))
@settings(max_examples=200, deadline=None)
def test_deadlines_that_come_together_are_kept(seed: int, items: int, months: int) -> None:
    # Mostly idle items of few quarters: many steps fall due in the same month.
    rng = np.random.default_rng(seed)
    mean = rng.integers(1, 4, (items, months)) / 4 * (rng.random((items, months)) < 0.3)
    plan = additive_plan(mean, np.ones(items))
    off = np.cumsum(plan - mean, axis=1)
    assert (np.abs(off) < 1).all()
    assert (np.abs(off.sum(axis=0)) <= 0.5).all()


@given(portfolios(), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_a_plan_adds_up_as_float_equality(
    portfolio: tuple[np.ndarray, np.ndarray], random: object
) -> None:
    plan = additive_plan(*portfolio)
    order = np.random.default_rng(random.getrandbits(32)).permutation(len(plan))  # type: ignore[attr-defined]
    forwards, mixed = np.zeros(plan.shape[1]), np.zeros(plan.shape[1])
    for row, other in zip(plan, plan[order], strict=True):
        forwards += row
        mixed += other
    np.testing.assert_array_equal(forwards, mixed)
    np.testing.assert_array_equal(forwards.sum(), plan.sum())


@given(portfolios())
@settings(deadline=None)
def test_a_plan_is_the_same_whatever_other_steps_stand_beside(
    portfolio: tuple[np.ndarray, np.ndarray],
) -> None:
    mean, steps = portfolio
    plan = additive_plan(mean, steps)
    for step in np.unique(steps):
        mine = steps == step
        np.testing.assert_array_equal(additive_plan(mean[mine], steps[mine]), plan[mine])


def test_a_large_portfolio_is_planned_at_once() -> None:
    rng = np.random.default_rng(3)
    mean = rng.gamma(0.5, 5.0, (5000, 18))
    steps = np.where(rng.random(5000) < 0.7, 1.0, 2.0 ** -rng.integers(2, 9, 5000))
    started = time.process_time()
    plan = additive_plan(mean, steps)
    assert time.process_time() - started < 1.0
    off = np.cumsum((plan - mean) / steps[:, None], axis=1)
    assert np.abs(off).max() < 1
    assert np.abs(off[steps == 1].sum(axis=0)).max() < 0.51


@pytest.mark.parametrize(
    ("mean", "steps", "message"),
    [
        ([[-1.0]], [1.0], "negative"),
        ([[np.nan]], [1.0], "missing"),
        ([[np.inf]], [1.0], "missing"),
        ([[1.0]], [0.1], "power of two"),
        ([[1.0]], [0.0], "power of two"),
        ([[1.0]], [-0.5], "power of two"),
        ([[1.0]], [1.0, 1.0], "expected"),
        ([[1e16]], [1.0], "2\\*\\*52"),
    ],
)
def test_what_cannot_be_planned(mean: list[list[float]], steps: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        additive_plan(np.array(mean), np.array(steps))


def test_a_series_has_its_own_numbers() -> None:
    first = series_rng(2026, "a", "paths").random(4)
    np.testing.assert_array_equal(first, series_rng(2026, "a", "paths").random(4))
    others = [(2027, "a", "paths"), (2026, "b", "paths"), (2026, "a|paths"), (2026, "a%7Cpaths")]
    for seed, *names in others:
        assert not np.array_equal(first, series_rng(seed, *names).random(4))


def test_the_key_is_the_hash_of_seed_and_names() -> None:
    digest = hashlib.blake2b("2026|é1|paths".encode(), digest_size=16).digest()
    state = series_rng(2026, "é1", "paths").bit_generator.state["state"]
    assert state["key"].tobytes() == digest


def test_another_process_draws_the_same() -> None:
    code = (
        "from sopforecast.core.draws import series_rng; print(series_rng(7, 'x').integers(1 << 62))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout
    assert int(printed) == series_rng(7, "x").integers(1 << 62)
