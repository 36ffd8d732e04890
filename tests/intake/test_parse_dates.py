"""A column of dates settles its order of day and month, or is refused."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest

from sopforecast.intake.cells import Cells
from sopforecast.intake.parse_dates import header_months, parse_dates, parse_days, parse_months

LATEST = date(2036, 10, 1)


def cells(*texts: str | None) -> Cells:
    rows = pl.Series(range(2, len(texts) + 2), dtype=pl.Int64)
    return Cells("h.csv", "ds", rows, pl.Series(texts, dtype=pl.String))


def month_starts(pattern: str, years: range) -> list[str]:
    return [pattern.format(month=month, year=year) for year in years for month in range(1, 13)]


@pytest.mark.parametrize(
    ("pattern", "note"),
    [("01/{month:02d}/{year}", "day/month"), ("{month:02d}/01/{year}", "month/day")],
)
def test_month_starts_over_two_years_settle_the_order(pattern, note) -> None:
    parsed = parse_months(cells(*month_starts(pattern, range(2024, 2026))), latest=LATEST)
    expected = [date(year, month, 1) for year in (2024, 2025) for month in range(1, 13)]
    assert parsed.values.to_list() == expected
    assert parsed.notes == (f"dates are read as {note}/year",)


def test_month_starts_of_one_year_might_be_january_days() -> None:
    parsed = parse_months(
        cells(*month_starts("01/{month:02d}/{year}", range(2025, 2026))), latest=LATEST
    )
    # 01/01/2025 alone reads the same both ways
    assert [problem.row for problem in parsed.problems] == list(range(3, 14))


def test_one_day_above_twelve_settles_the_whole_column() -> None:
    parsed = parse_days(cells("03/04/2025", "13/04/2025", None), latest=LATEST)
    assert parsed.values.to_list() == [date(2025, 4, 3), date(2025, 4, 13), None]
    american = parse_days(cells("03/04/2025", "04/13/2025"), latest=LATEST)
    assert american.values.to_list() == [date(2025, 3, 4), date(2025, 4, 13)]


def test_month_ends_in_american_order_are_months() -> None:
    parsed = parse_months(cells("01/31/2025", "02/28/2025"), latest=LATEST)
    assert parsed.values.to_list() == [date(2025, 1, 1), date(2025, 2, 1)]


def test_a_leap_february_ends_on_the_29th() -> None:
    assert parse_months(cells("2024-02-29"), latest=LATEST).values.to_list() == [date(2024, 2, 1)]
    assert parse_months(cells("2024-02-28"), latest=LATEST).problems[0].row == 2


def test_days_are_kept_when_lines_are_added_up() -> None:
    parsed = parse_days(cells("2025-01-17", "2025-02"), latest=LATEST)
    assert parsed.values.to_list() == [date(2025, 1, 17), date(2025, 2, 1)]


def test_headers_that_are_no_months_are_left_out() -> None:
    headers = ["unique_id", "Jan-25", "01/31/2025", "Total", "2025-02-14"]
    assert header_months(headers) == {"Jan-25": date(2025, 1, 1)}


def test_headers_of_month_ends_are_months() -> None:
    assert header_months(["2025-01-31", "2025-02-28"]) == {
        "2025-01-31": date(2025, 1, 1),
        "2025-02-28": date(2025, 2, 1),
    }


def test_doubtful_headers_are_no_months() -> None:
    assert header_months(["01/02/2025", "01/03/2025"]) == {}


def test_days_are_read_as_people_write_them() -> None:
    parsed = parse_dates(cells("2026-05-04", "04.05.2026", "46146", None, "2026-05-04 14:30"))
    assert parsed.values.to_list() == [date(2026, 5, 4)] * 3 + [None, date(2026, 5, 4)]
    assert parsed.notes == ("five-digit numbers are read as Excel dates",)
    assert parsed.problems == ()


def test_a_month_alone_is_its_first_day_and_said() -> None:
    parsed = parse_dates(cells("2026-05", "May-26", "2026-05-09"))
    assert parsed.values.to_list() == [date(2026, 5, 1)] * 2 + [date(2026, 5, 9)]
    assert parsed.notes == ("a month alone, such as 2026-05, is read as its first day",)


def test_days_nobody_means_are_refused() -> None:
    parsed = parse_dates(cells("1989-12-31", "2101-01-01", "soon", None), is_required=True)
    assert parsed.values.to_list() == [None] * 4
    assert [p.row for p in sorted(parsed.problems, key=lambda p: p.row or 0)] == [2, 3, 4, 5]


def test_a_day_with_two_readings_is_settled_by_its_column() -> None:
    assert parse_dates(cells("03/04/2026")).values.to_list() == [None]
    settled = parse_dates(cells("03/04/2026", "25/04/2026"))
    assert settled.values.to_list() == [date(2026, 4, 3), date(2026, 4, 25)]
