"""Expected demand against a plain loop written from its equation; freak months worked by hand."""

import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sopforecast.baseline.impute import expected_demand, freak_months, is_intermittent

NAN = float("nan")


def known_of(row, months):
    return [row[t] for t in months if 0 <= t < len(row) and row[t] == row[t]]


def level_by_loop(row, t):
    for width in (6, 12, 36):
        around = known_of(row, [*range(t - width, t), *range(t + 1, t + width + 1)])
        if len(around) >= 3:
            return statistics.median(around)
    return statistics.median(known_of(row, range(len(row))))


def expected_by_loop(row):
    level = [level_by_loop(row, t) for t in range(len(row))]
    seasonal = []
    for t in range(len(row)):
        years = [t + k for k in (-36, -24, -12, 12, 24, 36) if 0 <= t + k < len(row)]
        ratios = [row[u] / level[u] for u in years if row[u] == row[u] and level[u] > 0]
        season = statistics.median([1.0, *ratios])
        seasonal.append(level[t] * season if level[t] > 0 else level[t])
    known = [t for t in range(len(row)) if row[t] == row[t]]
    with_season = sum(abs(row[t] - seasonal[t]) for t in known)
    without = sum(abs(row[t] - level[t]) for t in known)
    return seasonal if with_season < without else level


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(st.just(NAN), st.integers(1, 400).map(float)), min_size=1, max_size=60
    ).filter(lambda row: any(value == value for value in row))
)
def test_expected_demand_is_its_equation(row):
    found = expected_demand(np.array([row]), intermittent=np.array([False]))
    np.testing.assert_allclose(found[0], expected_by_loop(row), rtol=1e-12)


def test_a_hidden_december_comes_back_with_its_season():
    row = np.full(36, 100.0)
    row[[11, 23, 35]] = 200.0
    row[23] = NAN
    # level 100; the other Decembers are 2 and 2 times theirs: median(1, 2, 2) = 2
    assert expected_demand(row[None], intermittent=np.array([False]))[0, 23] == 200.0


def test_one_other_year_alone_moves_the_estimate_half_way():
    row = np.full(24, 100.0)
    row[11] = 200.0
    row[23] = NAN
    found = expected_demand(row[None], intermittent=np.array([False]))[0, 23]
    # median(1, 2) = 1.5 would be used only if season explained the row: here it does not
    assert found == 100.0
    row[5] = row[17] = 300.0  # a second month that returns: now it does
    found = expected_demand(row[None], intermittent=np.array([False]))[0]
    assert found[23] == pytest.approx(150.0)


def test_intermittent_demand_is_expected_at_its_mean_not_its_median():
    row = np.array([0.0, 0.0, 6.0, 0.0, NAN, 0.0, 0.0, 9.0, 0.0])
    assert is_intermittent(row[None]).tolist() == [True]
    found = expected_demand(row[None], intermittent=np.array([True]))[0]
    assert found[4] == 15 / 8
    assert found[2] == 9 / 7  # the month itself is left out


def test_thirty_percent_of_zeros_is_not_yet_intermittent():
    three_of_ten = np.array([0.0] * 3 + [5.0] * 7)
    assert is_intermittent(np.stack([three_of_ten, np.array([0.0] * 4 + [5.0] * 6)])).tolist() == [
        False,
        True,
    ]


def steady(months=36):
    """100 and a wobble of up to 3, never the same twice running."""
    return 100.0 + np.array([(t * 7) % 4 for t in range(months)], dtype=float)


@pytest.mark.parametrize("value", [1000.0, 0.0])
def test_one_month_far_off_between_ordinary_ones_is_a_freak(value):
    row = steady()
    row[20] = value
    assert np.flatnonzero(freak_months(row[None])[0]).tolist() == [20]


def with_changes(changes, months=36):
    row = steady(months)
    for where, value in changes.items():
        row[where] = value
    return row


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (dict.fromkeys(range(20, 36), 1000.0), "a step stays"),
        (dict.fromkeys(range(20), 1000.0), "a step down stays"),
        ({20: 1000.0, 21: 1000.0}, "two months running are an event"),
        ({20: 300.0, 21: 0.0}, "bought early, missed later"),
        ({34: 1000.0}, "the last but one month may be news"),
        ({35: 1000.0}, "the last month may be news"),
        ({0: 1000.0}, "nothing before to compare with"),
        ({1: 1000.0}, "one month before says too little"),
        ({8: 1000.0, 20: 1000.0}, "the same month of another year is alike"),
        ({20: 120.0}, "within a fifth of the level"),
        ({20: 1000.0, 19: NAN}, "the month before is unknown"),
    ],
)
def test_what_is_no_freak(changes, why):
    assert not freak_months(with_changes(changes)[None]).any(), why


def test_nothing_is_a_freak_before_a_second_year():
    row = with_changes({5: 1000.0}, months=12)
    assert not freak_months(row[None]).any()


def test_a_freak_inside_the_high_season_is_seen_against_that_season():
    season = np.array([1.0] * 5 + [4.0] * 5 + [1.0] * 2)
    row = np.tile(season, 4) * steady(48)
    row[31] = 1000.0  # 400 is usual
    assert np.flatnonzero(freak_months(row[None])[0]).tolist() == [31]


@pytest.mark.parametrize(("value", "freak"), [(130.0, False), (131.0, True)])
def test_wobbles_under_six_times_five_percent_are_no_freaks_however_flat_the_rest(value, freak):
    row = np.full(36, 100.5)
    row[20] = value  # 29.4% and 30.3% above
    assert freak_months(row[None]).any() == freak


def test_small_counts_may_vary_as_counts_do():
    row = np.full(36, 4.0)
    row[20] = 16.0  # 6 Poisson standard deviations of 2 above 4
    assert not freak_months(row[None]).any()
    row[20] = 17.0
    assert np.flatnonzero(freak_months(row[None])[0]).tolist() == [20]
