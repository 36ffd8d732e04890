"""Rolling origins: properties of where they lie, loops for what came and for the yardstick."""

from __future__ import annotations

from datetime import date
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sopforecast.baseline.backtest import actuals_after, choose_offsets, naive_scale
from sopforecast.core.months import add_months

lengths = st.lists(st.integers(0, 400), min_size=0, max_size=60).map(
    lambda months: np.array(months, dtype=np.int64)
)
ends = st.integers(0, 60).map(lambda months: add_months(date(2020, 1, 1), months))


@given(lengths, ends)
def test_origins_are_evenly_spaced_nearest_first_and_leave_a_year_to_learn_from(n_months, end):
    offsets = choose_offsets(n_months, end)
    known = n_months[n_months > 0]
    typical = int(np.median(known)) if known.size else 0
    assert (len(offsets) == 0) == (typical < 13)
    if offsets:
        assert offsets[0] >= 1
        on_quarters = all(add_months(end, -o).month % 3 == 0 for o in offsets)
        steps = [b - a for a, b in pairwise((0, *offsets))]
        assert max(steps[1:], default=0) - min(steps[1:], default=0) <= (3 if on_quarters else 1)
        assert abs(steps[0] - np.mean(steps)) <= (4 if on_quarters else 1)
        assert list(offsets) == sorted(set(offsets))
        assert typical - offsets[-1] >= (24 if typical >= 30 else 12)
        assert len(offsets) <= 10


@given(st.integers(13, 300), st.integers(1, 3000), ends)
def test_a_portfolio_of_one_length_has_several_origins_as_soon_as_it_can(months, size, end):
    offsets = choose_offsets(np.full(size, months), end)
    room = months - (24 if months >= 30 else 12)
    assert len(offsets) >= min(room, 4)


@given(lengths, st.integers(0, 30), ends)
def test_items_without_months_do_not_count(n_months, empty, end):
    padded = np.concatenate([n_months, np.zeros(empty, dtype=np.int64)])
    assert choose_offsets(padded, end) == choose_offsets(n_months, end)


@given(st.integers(93, 400), st.integers(1, 3000), ends)
def test_the_cycles_of_a_quarter_look_back_to_the_same_months(months, size, end):
    """History grows by a month a cycle; origins stay for three cycles, then all move by three."""
    quarter_end = add_months(end, -(end.month % 3))
    found = []
    for later in range(6):
        last = add_months(quarter_end, later)
        offsets = choose_offsets(np.full(size, months + later), last)
        found.append([add_months(last, -offset) for offset in offsets])
        assert max(offsets) <= 66 + 2
        assert len(offsets) >= 5
    assert found[0] == found[1] == found[2]
    assert found[3] == found[4] == found[5]
    assert not set(found[0]) - {add_months(quarter_end, -3 * k) for k in range(1, 23)}
    if months >= 135:  # the span no longer grows with history
        assert found[3] == [add_months(month, 3) for month in found[0]]


def test_origins_of_a_long_history_by_hand():
    """336 series: 5,000 / 336 is over 7 origins; 66 months are 22 quarters, by sevenths of it."""
    long = np.full(336, 150)
    expected = (9, 18, 27, 39, 48, 57, 66)
    assert choose_offsets(long, date(2004, 6, 1)) == expected
    assert choose_offsets(long, date(2004, 8, 1)) == tuple(o + 2 for o in expected)
    # 40 months leave 16 before the end: too near each other for quarters, counted from the end.
    short = np.full(1000, 40)
    assert choose_offsets(short, date(2004, 6, 1)) == (3, 6, 10, 13, 16)
    assert choose_offsets(short, date(2004, 7, 1)) == (3, 6, 10, 13, 16)


def test_what_came_after_each_origin():
    scored = np.array([[1.0, 2, np.nan, 4, 5, 6], [np.nan, 8, 9, 10, 11, 12]])
    found = actuals_after(scored, (2, 5), 3)
    nan = np.nan
    np.testing.assert_array_equal(found, [[[5, 6, nan], [2, nan, 4]], [[11, 12, nan], [8, 9, 10]]])
    assert actuals_after(scored, (), 3).shape == (2, 0, 3)


def _loop_scale(row, lag):
    pairs = [
        abs(later - earlier)
        for earlier, later in zip(row, row[lag:], strict=False)
        if earlier == earlier and later == later
    ]
    return sum(pairs) / len(pairs) if pairs else None


def test_yardstick_against_a_loop(seasonal_demand):
    y = seasonal_demand(5, 40, noise=0.3)
    y[1, :15] = np.nan
    y[2, :30] = np.nan
    y[3, :] = np.nan
    offsets = (0, 3, 25)
    found = naive_scale(y, offsets)
    for i, row in enumerate(y):
        for o, offset in enumerate(offsets):
            before = row[: 40 - offset].tolist()
            yearly, monthly = _loop_scale(before, 12), _loop_scale(before, 1)
            expected = yearly if yearly is not None else monthly
            if expected is None:
                assert np.isnan(found[i, o])
            else:
                assert found[i, o] == pytest.approx(expected, rel=1e-12)


def test_yardstick_is_the_denominator_of_mase(seasonal_demand):
    from utilsforecast.losses import mase

    y = seasonal_demand(3, 36)
    ids = [f"s{i}" for i in range(3)]
    train = pd.DataFrame(
        {"unique_id": np.repeat(ids, 30), "ds": np.tile(range(30), 3), "y": y[:, :30].ravel()}
    )
    test = pd.DataFrame(
        {"unique_id": np.repeat(ids, 6), "ds": np.tile(range(30, 36), 3), "y": y[:, 30:].ravel()}
    )
    test["m"] = test["y"] + 10.0
    expected = mase(test, models=["m"], seasonality=12, train_df=train)["m"].to_numpy()
    np.testing.assert_allclose(10.0 / naive_scale(y, (6,))[:, 0], expected, rtol=1e-9)


def test_flat_demand_has_a_yardstick_and_no_demand_has_none():
    y = np.stack([np.full(30, 500.0), np.zeros(30), np.r_[[np.nan] * 29, 40.0]])
    found = naive_scale(y, (0,))[:, 0]
    assert found[0] == pytest.approx(0.5)
    assert np.isnan(found[1])
    assert found[2] == pytest.approx(0.04)


def test_months_after_the_origin_do_not_move_the_yardstick(seasonal_demand):
    y = seasonal_demand(3, 40)
    later = y.copy()
    later[:, -9:] = 1e6
    assert naive_scale(later, (9, 20)).tobytes() == naive_scale(y, (9, 20)).tobytes()
