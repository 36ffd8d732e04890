"""One text, all its readings."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sopforecast.intake.stamps import moment_of, read_stamp

days = st.dates(date(1950, 1, 1), date(2099, 12, 31))


@given(days)
def test_year_first_and_named_months_have_one_reading(day) -> None:
    for text in (day.isoformat(), f"{day:%Y/%m/%d}", f"{day:%d.%m.%Y}", f"{day:%d %b %Y}"):
        stamp = read_stamp(text)
        assert (stamp.day_first, stamp.month_first, stamp.is_doubtful) == (day, day, False)


@given(days)
def test_slashes_have_two_readings_up_to_the_twelfth(day) -> None:
    stamp = read_stamp(f"{day:%d/%m/%Y}")
    assert stamp.day_first == day
    if day.day > 12:
        assert stamp.month_first is None
    else:
        assert stamp.month_first == date(day.year, day.day, day.month)
    assert stamp.is_doubtful == (day.day <= 12 and day.day != day.month)


@given(days)
def test_excel_counts_days_from_the_end_of_1899(day) -> None:
    serial = (day - date(1899, 12, 30)).days
    stamp = read_stamp(str(serial))
    assert (stamp.day_first, stamp.is_serial) == (day, True)


@pytest.mark.parametrize(
    "text",
    ["", "2025", "soon", "2025-Q1", "01/02/25", "12345678", "99999", "Foo-25", "25-Jan", "1.5"],
)
def test_what_is_no_date_has_no_reading(text) -> None:
    stamp = read_stamp(text)
    assert stamp is None or stamp.day_first is None


@pytest.mark.parametrize(("text", "year"), [("Jan-25", 2025), ("Jan-69", 2069), ("Jan-70", 1970)])
def test_two_digit_years_turn_at_seventy(text, year) -> None:
    assert read_stamp(text).day_first == date(year, 1, 1)


@pytest.mark.parametrize(
    ("text", "has_clock"),
    [
        ("2025-01-31T23:00:00Z", True),
        ("2025-01-31 00:00:00", False),
        ("45658.5", True),
        ("45658.0", False),
    ],
)
def test_a_time_of_day_is_seen(text, has_clock) -> None:
    assert read_stamp(text).has_clock is has_clock


@given(st.datetimes(datetime(1950, 1, 1), datetime(2099, 1, 1)), st.integers(-12, 14))
def test_moments_are_brought_to_utc(moment, hours) -> None:
    moment = moment.replace(microsecond=0)
    local = f"{moment:%Y-%m-%dT%H:%M:%S}{'-' if hours < 0 else '+'}{abs(hours):02d}:00"
    assert moment_of(local, moment.date()) == moment - timedelta(hours=hours)


def test_a_clock_that_does_not_exist_is_no_moment() -> None:
    assert moment_of("2025-01-01 25:61", date(2025, 1, 1)) is None


@pytest.mark.parametrize(
    ("text", "month"),
    [
        ("Januar 2025", 1), ("März 25", 3), ("Maerz 2025", 3), ("Mrz-25", 3), ("Mrz. 25", 3),
        ("Mai 25", 5), ("Juni 2025", 6), ("Juli 2025", 7), ("Okt 25", 10), ("Dez 25", 12),
        ("DEZEMBER 2025", 12),
    ],
)  # fmt: skip
def test_german_months_are_months(text, month) -> None:
    assert read_stamp(text).day_first == date(2025, month, 1)
