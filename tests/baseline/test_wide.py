"""Series side by side: hand-worked layouts, and medians and sums against the standard library."""

import itertools
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sopforecast.baseline.wide import known_median, right_aligned, shifted, sum_in_order

values = st.one_of(st.just(float("nan")), st.floats(-1e6, 1e6))


def test_series_end_in_the_last_column():
    row, column = right_aligned(np.array([2, 3, 1]))
    assert row.tolist() == [0, 0, 1, 1, 1, 2]
    assert column.tolist() == [1, 2, 0, 1, 2, 2]


def test_shifted_looks_later_and_earlier_and_knows_nothing_beyond_the_ends():
    one = np.array([[1.0, 2.0, 3.0]])
    np.testing.assert_array_equal(shifted(one, 1), [[2.0, 3.0, np.nan]])
    np.testing.assert_array_equal(shifted(one, -2), [[np.nan, np.nan, 1.0]])
    assert np.isnan(shifted(one, 3)).all()
    assert np.isnan(shifted(one, -12)).all()


@given(st.lists(values, min_size=1, max_size=9), st.integers(1, 4))
def test_median_is_that_of_the_known_values(row, least):
    known = [value for value in row if value == value]
    found = known_median(np.array([row]), least=least)[0]
    if len(known) < least:
        assert np.isnan(found)
    else:
        assert found == pytest.approx(statistics.median(known), rel=1e-12, abs=1e-9)


@given(st.lists(values, min_size=1, max_size=40), st.integers(0, 5))
def test_sum_is_taken_first_to_last_whatever_stands_before_or_beside(row, padding):
    expected = list(itertools.accumulate(0.0 if value != value else value for value in row))[-1]
    padded = np.array([[np.nan] * padding + row, [1.0] * (padding + len(row))])
    assert sum_in_order(np.array([row]))[0] == expected
    assert sum_in_order(padded)[0] == expected
