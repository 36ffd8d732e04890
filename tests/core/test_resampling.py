"""Blocks of months: which are drawn, how often, and how much few of them leave unsaid."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sopforecast.core.resampling import (
    block_picks,
    few_blocks_factor,
    longest_block,
    pick_counts,
)

NAMES = ("test",)


@given(months=st.integers(1, 40), block=st.integers(1, 50), seed=st.integers(0, 99))
def test_months_follow_each_other_inside_a_block_around_the_end(months, block, seed):
    picks = block_picks(months, block=block, resamples=5, seed_names=NAMES, seed=seed)
    assert picks.shape == (5, months)
    assert picks.min() >= 0
    assert picks.max() < months
    length = min(block, months)
    for row in picks.tolist():
        for at in range(1, months):
            if at % length:
                assert row[at] == (row[at - 1] + 1) % months


def test_every_month_is_drawn_equally_often():
    """10 months in blocks of 4, the last one cut: the edges are not drawn less than the middle."""
    picks = block_picks(10, block=4, resamples=20_000, seed_names=NAMES, seed=1)
    shares = np.bincount(picks.ravel()) / picks.size
    assert shares == pytest.approx(np.full(10, 0.1), abs=0.004)


def test_starts_are_uniform_and_independent():
    picks = block_picks(8, block=4, resamples=8_000, seed_names=NAMES, seed=5)
    pairs = Counter(zip(picks[:, 0].tolist(), picks[:, 4].tolist(), strict=True))
    assert len(pairs) == 64
    assert stats.chisquare(list(pairs.values())).pvalue > 0.01


def test_the_same_names_and_seed_give_the_same_bytes_and_others_do_not():
    def picks(*names: str, seed: int = 3) -> bytes:
        return block_picks(12, block=3, resamples=50, seed_names=names, seed=seed).tobytes()

    assert picks("a", "b") == picks("a", "b")
    assert len({picks("a", "b"), picks("a|b"), picks("b", "a"), picks("a", "b", seed=4)}) == 4


def test_counts_say_how_often_each_month_was_drawn():
    picks = block_picks(7, block=2, resamples=30, seed_names=NAMES, seed=2)
    counts = pick_counts(picks)
    for row, told in zip(picks.tolist(), counts.tolist(), strict=True):
        assert [float(row.count(month)) for month in range(7)] == told


@pytest.mark.parametrize(
    "changed", [{"months": 0}, {"block": 0}, {"resamples": -1}], ids=lambda c: next(iter(c))
)
def test_numbers_that_cannot_be_are_refused(changed):
    given = {"months": 5, "block": 2, "resamples": 3} | changed
    with pytest.raises(ValueError, match="allowed are months and block from 1 up"):
        block_picks(given.pop("months"), **given, seed_names=NAMES, seed=1)


def test_no_resamples_are_no_rows():
    assert block_picks(5, block=2, resamples=0, seed_names=NAMES, seed=1).shape == (0, 5)


def test_a_block_is_at_most_half_of_the_months():
    assert [longest_block(months) for months in (1, 2, 3, 6, 12)] == [1, 1, 1, 3, 6]
    with pytest.raises(ValueError, match="allowed: 1 to 6"):
        few_blocks_factor(12, block=7, level=0.95)


@pytest.mark.parametrize(("months", "block"), [(6, 1), (6, 3), (12, 6), (24, 6)])
def test_blocks_of_independent_months_show_too_little_by_the_share_the_factor_repairs(
    months, block
):
    """The variance over resamples, averaged over many histories, is short by 1 - block / months."""
    values = np.random.default_rng(3).normal(size=(4_000, months))
    picks = block_picks(months, block=block, resamples=1_000, seed_names=NAMES, seed=8)
    shown = (values @ pick_counts(picks).T / months).var(axis=1).mean() * months
    assert shown == pytest.approx(1 - block / months, abs=0.03)
    student = stats.t.ppf(0.95, 1.5 * months / block - 1) / stats.norm.ppf(0.95)
    factor = few_blocks_factor(months, block=block, level=0.95)
    assert factor == pytest.approx(student / np.sqrt(1 - block / months))


@pytest.mark.parametrize(
    ("months", "block", "least"), [(12, 1, 0.85), (12, 3, 0.85), (12, 6, 0.88), (24, 12, 0.88)]
)
def test_ranges_of_independent_months_hold_the_truth_nine_times_in_ten(months, block, least):
    values = np.random.default_rng(5).normal(size=(1_500, months))
    picks = block_picks(months, block=block, resamples=800, seed_names=NAMES, seed=9)
    means = values.mean(axis=1)
    low, high = np.quantile(values @ pick_counts(picks).T / months, (0.05, 0.95), axis=1) - means
    factor = few_blocks_factor(months, block=block, level=0.95)
    held = np.mean((means + factor * low <= 0) & (means + factor * high >= 0))
    assert least <= held <= 0.97
