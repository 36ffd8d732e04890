"""Months against hand-worked dates, the calendar module and each other."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sopforecast.core.months import (
    add_months,
    cutoff,
    last_complete_month,
    month_end,
    month_name,
    month_range,
    months_between,
    parse_month,
)
from sopforecast.errors import RequestError

firsts = st.dates(date(1900, 1, 1), date(2199, 12, 31)).map(lambda day: day.replace(day=1))


@given(firsts)
def test_a_name_reads_back(month: date) -> None:
    assert parse_month(month_name(month)) == month


def test_names_keep_four_digits() -> None:
    assert month_name(date(987, 3, 14)) == "0987-03"


@pytest.mark.parametrize(
    "text",
    [
        "2026-13",
        "2026-00",
        "2026-1",
        "26-12",
        "2026-12-01",
        "2026/12",
        " 2026-12",
        "2026-12\n",
        "0000-01",
        "",
        "next",
        "٢٠٢٦-12",
    ],
)
def test_any_other_spelling_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="YYYY-MM") as refusal:
        parse_month(text)
    assert repr(text) in str(refusal.value)


def test_adding_months_by_hand() -> None:
    assert add_months(date(2026, 12, 1), 1) == date(2027, 1, 1)
    assert add_months(date(2026, 1, 1), -1) == date(2025, 12, 1)
    assert add_months(date(2026, 3, 31), 11) == date(2027, 2, 1)


@given(firsts, st.integers(-600, 600))
def test_adding_and_counting_are_inverse(month: date, count: int) -> None:
    assert months_between(month, add_months(month, count)) == count


@pytest.mark.parametrize(("month", "count"), [(date(9999, 12, 1), 1), (date(1, 1, 1), -1)])
def test_adding_stops_at_the_end_of_the_calendar(month: date, count: int) -> None:
    with pytest.raises(RequestError, match="years 1 to 9999"):
        add_months(month, count)


def test_a_range_starts_at_its_first_month() -> None:
    expected = [date(2026, 11, 1), date(2026, 12, 1), date(2027, 1, 1)]
    assert month_range(date(2026, 11, 1), 3) == expected
    assert month_range(date(2026, 11, 1), 0) == []


@given(firsts)
def test_a_month_ends_the_day_before_the_next(month: date) -> None:
    assert month_end(month) + timedelta(days=1) == add_months(month, 1)


def test_a_cutoff_holds_its_whole_day() -> None:
    moment = cutoff(date(2026, 12, 1), cutoff_day=15)
    assert datetime(2026, 12, 15, 23, 59) <= moment < datetime(2026, 12, 16)
    assert moment.tzinfo is None


def test_a_cutoff_in_a_short_month_is_its_last_day() -> None:
    assert cutoff(date(2027, 2, 1), cutoff_day=31).date() == date(2027, 2, 28)


@pytest.mark.parametrize("day", [0, 32, -1])
def test_a_cutoff_day_is_a_day(day: int) -> None:
    with pytest.raises(RequestError, match="1 to 31"):
        cutoff(date(2026, 12, 1), cutoff_day=day)


@pytest.mark.parametrize("day", [date(2026, 12, 1), date(2026, 12, 31)])
def test_the_running_month_is_not_complete(day: date) -> None:
    assert last_complete_month(day) == date(2026, 11, 1)
