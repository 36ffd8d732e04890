"""Atom sums that hold exactly and stay near, and draws settled to their last step."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sopforecast.judgement.nearest import nearest_sums, settle

TABLE = np.array([[1, 1, 0, 0], [0, 0, 1, 1], [1, 0, 1, 0], [0, 1, 0, 1]], dtype=np.float64)
ONES = np.ones(4)


def test_nested_sums_leave_no_choice() -> None:
    # Inner atom 0, outer atoms 0 and 1, outermost all three.
    cover = np.array([[1, 1, 1], [1, 0, 0], [1, 1, 0]], dtype=np.float64)
    now = np.array([[9.0, 1.0, 5.0], [0.0, 0.0, 0.0]])
    new = nearest_sums(now, cover, np.array([10.0, 4.0, 7.0]), np.ones(3))
    assert new is not None
    assert new.tolist() == [[4.0, 3.0, 3.0]] * 2


def test_what_already_holds_does_not_move() -> None:
    now = np.array([[1.0, 2.0, 3.0, 4.0], [0.0, 3.0, 4.0, 3.0]])
    new = nearest_sums(now, TABLE, np.array([3.0, 7.0, 4.0, 6.0]), ONES)
    assert new is not None
    assert new.tolist() == now.tolist()


def test_the_change_is_shared_by_size() -> None:
    # Doubling both rows and both columns doubles every cell.
    now = np.array([[10.0, 20.0, 30.0, 40.0]])
    new = nearest_sums(now, TABLE, 2 * (TABLE @ now[0]), ONES)
    assert new is not None
    assert new.tolist() == (2 * now).tolist()


def test_draws_of_zeros_share_equally() -> None:
    new = nearest_sums(np.zeros((2, 4)), TABLE, np.full(4, 10.0), ONES)
    assert new is not None
    assert new.tolist() == [[5.0] * 4] * 2


@pytest.mark.parametrize(
    ("totals", "units"),
    [
        ([3.0, 3.0, 2.0, 3.0], ONES),  # rows and columns differ in total
        ([1.0, 1.0, 1.0, 1.0], 2 * ONES),  # no even numbers add up to 1
        ([1.0, -1.0, 0.0, 0.0], ONES),
    ],
)
def test_none_where_nothing_will_do(totals: list[float], units: np.ndarray) -> None:
    assert nearest_sums(np.ones((3, 4)), TABLE, np.array(totals), units) is None


def test_three_sums_that_only_halves_would_fill() -> None:
    pairs = np.array([[1, 1, 0], [0, 1, 1], [1, 0, 1]], dtype=np.float64)
    assert nearest_sums(np.ones((2, 3)), pairs, np.ones(3), np.ones(3)) is None
    halves = nearest_sums(np.ones((2, 3)), pairs, np.ones(3), np.full(3, 0.5))
    assert halves is not None
    assert halves.tolist() == [[0.5] * 3] * 2


@given(st.data())
@hypothesis_settings(max_examples=60)
def test_any_sums_that_can_hold_do(data: st.DataObject) -> None:
    sums, atoms = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 6))
    bits = st.lists(st.booleans(), min_size=atoms, max_size=atoms).filter(any)
    cover = np.array([data.draw(bits) for _ in range(sums)], dtype=np.float64)
    cover = cover[:, cover.any(axis=0)]
    counts = st.lists(st.integers(0, 40), min_size=cover.shape[1], max_size=cover.shape[1]).map(
        lambda one: np.array(one, dtype=np.float64)
    )
    units = np.array([data.draw(st.sampled_from([1.0, 0.25])) for _ in range(cover.shape[1])])
    truth = data.draw(counts) * units
    now = np.stack([data.draw(counts) for _ in range(4)]) * units
    new = nearest_sums(now, cover, cover @ truth, units)
    assert new is not None
    assert (new @ cover.T == cover @ truth).all()
    assert (new >= 0).all()
    assert (new == np.rint(new / units) * units).all()


@given(st.lists(st.integers(0, 6), min_size=8, max_size=8))
@hypothesis_settings(max_examples=40)
def test_rounding_is_near_the_best_of_all_tables(numbers: list[int]) -> None:
    """No whole table that holds is nearer, in weighted squares, than ours by more than rounding."""
    truth, now = np.array(numbers[:4], dtype=float), np.array(numbers[4:], dtype=float)
    totals = TABLE @ truth
    new = nearest_sums(now[None], TABLE, totals, ONES)
    assert new is not None
    size = np.maximum(now, max(1.0, 1e-3 * now.max()))
    tables = [
        np.array(one, dtype=float)
        for one in product(range(int(totals.max()) + 1), repeat=4)
        if (TABLE @ np.array(one) == totals).all()
    ]
    best = min(np.sqrt((np.square(one - now) / size).sum()) for one in tables)
    ours = np.sqrt((np.square(new[0] - now) / size).sum())
    # A 2 x 2 table has one degree of freedom: ours is at most one step along it from the best.
    assert ours <= best + np.sqrt((1 / size).sum())


def test_settling_gives_back_what_a_broken_step_leaves() -> None:
    steps = np.array([1.0, 0.25, 0.25, 4.0])
    cells = np.array(
        [
            [3.0, 0.5, 0.25, 8.0],  # 11.75, 11.5 wanted: the larger fine cell loses a step
            [3.0, 0.0, 0.0, 8.0],  # 11, 10.25 wanted: one of the coarse item, .25 back
            [0.0, 0.0, 0.0, 8.0],  # 8, 7 wanted: a whole step of 4, and 3 back
            [1.0, 0.5, 0.25, 0.0],  # 1.75, 2.5 wanted
            [1.0, 0.5, 0.25, 0.0],  # as it should be
        ]
    )
    target = np.array([11.5, 10.25, 7.0, 2.5, 1.75])
    settle(cells, target, steps=steps)
    assert cells.tolist() == [
        [3.0, 0.25, 0.25, 8.0],
        [2.0, 0.25, 0.0, 8.0],
        [0.0, 3.0, 0.0, 4.0],
        [1.0, 1.25, 0.25, 0.0],
        [1.0, 0.5, 0.25, 0.0],
    ]
