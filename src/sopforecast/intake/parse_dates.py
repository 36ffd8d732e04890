"""Dates and months as people write them, read without guessing.

Each distinct text is read once. ``03/04/2025`` has two readings; the column settles which one holds
(a first or second number above 12 anywhere, or a whole column of month starts over several years),
and what nothing settles is refused with its row. Excel's serial numbers are dates too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime

import polars as pl

from sopforecast.core.months import month_end, month_name
from sopforecast.intake.cells import Cells, Parsed, Verdict
from sopforecast.intake.stamps import Stamp, is_month_alone, moment_of, read_stamp

FIRST_YEAR = 1950
FIRST_DAY, LAST_DAY = date(1990, 1, 1), date(2100, 12, 31)
ALLOWED_MONTH = "a month such as 2025-01, Jan-25 or 01/2025, or its first day"
ALLOWED_DATE = "a date such as 2025-01-31"
FILL_IN = "fill it in or delete the row"
_SETTLING_MONTHS = 6


def parse_months(cells: Cells, *, latest: date, is_required: bool = False) -> Parsed:
    """Read a column of months, up to ``latest``; returns Date values on day 1.

    A column of month ends throughout is accepted, with a note; any other day inside a month and
    any time of day is refused, and where ``is_required`` an empty cell too.
    """
    stamps, verdicts, notes = _read_column(cells, allowed=ALLOWED_MONTH, settle_by_month_start=True)
    days = {text: day for text, (day, _) in stamps.items()}
    if days and all(day == month_end(day) for day in days.values()):
        days = {text: day.replace(day=1) for text, day in days.items()}
        notes.append("month-end dates are read as their month")
    for text, day in days.items():
        if stamps[text][1]:
            verdicts[text] = Verdict(ALLOWED_MONTH, "write the month without a time of day")
        elif day.day != 1:
            verdicts[text] = _mid_month(day)
        elif day.year < FIRST_YEAR or day > latest:
            verdicts[text] = _out_of_range(latest)
    parsed = _values(cells, {text: (day, False) for text, day in days.items()}, verdicts, notes)
    return _without_blanks(cells, parsed, "a month such as 2025-01") if is_required else parsed


def parse_days(cells: Cells, *, latest: date) -> Parsed:
    """Read dated lines that will be added up; returns Date values, the days themselves.

    Every line needs its date.
    """
    stamps, verdicts, notes = _read_column(cells, allowed=ALLOWED_DATE, settle_by_month_start=False)
    for text, (day, _) in stamps.items():
        if day.year < FIRST_YEAR or day > month_end(latest):
            verdicts[text] = _out_of_range(latest)
    return _without_blanks(cells, _values(cells, stamps, verdicts, notes), ALLOWED_DATE)


def parse_dates(cells: Cells, *, is_required: bool = False) -> Parsed:
    """Read a column of days, from 1990 to 2100; returns Date values.

    A month alone is read as its first day, with a note; a time of day is dropped. An empty cell is
    refused only where ``is_required``.
    """
    stamps, verdicts, notes = _read_column(cells, allowed=ALLOWED_DATE, settle_by_month_start=False)
    for text, verdict in verdicts.items():
        if verdict.allowed == ALLOWED_DATE:
            verdicts[text] = Verdict(ALLOWED_DATE, "write it as year-month-day")
    for text, (day, _) in stamps.items():
        if not FIRST_DAY <= day <= LAST_DAY:
            verdicts[text] = Verdict(
                f"dates from {FIRST_DAY.year} to {LAST_DAY.year}", "check the year"
            )
    whole = [text for text in stamps if is_month_alone(text)]
    if whole:
        notes.append(f"a month alone, such as {whole[0]}, is read as its first day")
    parsed = _values(cells, stamps, verdicts, notes)
    return _without_blanks(cells, parsed, ALLOWED_DATE) if is_required else parsed


def parse_moments(cells: Cells) -> Parsed:
    """Read a column of dates or timestamps; returns Datetime values, UTC without a zone."""
    allowed = "a date or time such as 2025-01-31 or 2025-01-31 14:30"
    moments: dict[str, datetime] = {}
    verdicts: dict[str, Verdict] = {}
    for text in _distinct(cells):
        stamp = read_stamp(text)
        if stamp is None or stamp.day_first is None or stamp.is_doubtful:
            verdicts[text] = Verdict(allowed, "write it as year-month-day")
            continue
        moment = moment_of(text, stamp.day_first)
        if moment is None:
            verdicts[text] = Verdict(allowed, "correct the time of day")
        else:
            moments[text] = moment
    values = _mapped(cells.text, moments, pl.Datetime("us"))
    return Parsed(values, tuple(cells.refuse(verdicts)))


def header_months(headers: Iterable[str]) -> dict[str, date]:
    """Return the month of each header that is one; other headers are left out.

    ``01/02/2025`` is a month only when all such headers are month starts in the same reading.
    """
    stamps = {text: stamp for text in headers if (stamp := read_stamp(text)) is not None}
    day_first = _settled(list(stamps.values()), settle_by_month_start=True)
    days = {
        text: stamp.month_first if day_first is False else stamp.day_first
        for text, stamp in stamps.items()
        if day_first is not None or not stamp.is_doubtful
    }
    found = {text: day for text, day in days.items() if day is not None}
    if found and all(day == month_end(day) for day in found.values()):
        return {text: day.replace(day=1) for text, day in found.items()}
    return {text: day for text, day in found.items() if day.day == 1}


def _read_column(
    cells: Cells, *, allowed: str, settle_by_month_start: bool
) -> tuple[dict[str, tuple[date, bool]], dict[str, Verdict], list[str]]:
    """Return (day, has clock) of each distinct text, verdicts on the others, and notes."""
    verdicts: dict[str, Verdict] = {}
    stamps: dict[str, Stamp] = {}
    for text in _distinct(cells):
        stamp = read_stamp(text)
        if stamp is None or (stamp.day_first is None and stamp.month_first is None):
            verdicts[text] = Verdict(allowed, "write it as year-month, such as 2025-01")
        else:
            stamps[text] = stamp
    day_first = _settled(list(stamps.values()), settle_by_month_start=settle_by_month_start)
    days: dict[str, tuple[date, bool]] = {}
    for text, stamp in stamps.items():
        if stamp.is_doubtful and day_first is None:
            verdicts[text] = _two_readings(stamp)
            continue
        day = stamp.month_first if day_first is False else stamp.day_first
        if day is None:
            verdicts[text] = Verdict(
                "day and month in the same order in the whole column",
                "write dates as year-month-day",
            )
        else:
            days[text] = (day, stamp.has_clock)
    return days, verdicts, _column_notes(stamps, day_first)


def _column_notes(stamps: Mapping[str, Stamp], day_first: bool | None) -> list[str]:
    notes = []
    if day_first is not None and any(stamp.is_doubtful for stamp in stamps.values()):
        notes.append(f"dates are read as {'day/month' if day_first else 'month/day'}/year")
    if any(stamp.is_serial for stamp in stamps.values()):
        notes.append("five-digit numbers are read as Excel dates")
    return notes


def _settled(stamps: list[Stamp], *, settle_by_month_start: bool) -> bool | None:
    """Return True for day/month, False for month/day, None when nothing settles it."""
    only_day = any(stamp.month_first is None for stamp in stamps)
    only_month = any(stamp.day_first is None for stamp in stamps)
    if only_day or only_month:
        return sum(s.month_first is None for s in stamps) >= sum(
            s.day_first is None for s in stamps
        )
    if not settle_by_month_start:
        return None
    doubtful = [stamp for stamp in stamps if stamp.is_doubtful]
    for is_day_first in (True, False):
        days = [s.day_first if is_day_first else s.month_first for s in doubtful]
        starts = {day for day in days if day is not None and day.day == 1}
        years = {day.year for day in starts}
        if len(starts) == len(days) >= _SETTLING_MONTHS and len(years) > 1:
            return is_day_first
    return None


def _values(
    cells: Cells,
    days: Mapping[str, tuple[date, bool]],
    verdicts: Mapping[str, Verdict],
    notes: list[str],
) -> Parsed:
    good = {text: day for text, (day, _) in days.items() if text not in verdicts}
    return Parsed(_mapped(cells.text, good, pl.Date), tuple(cells.refuse(verdicts)), tuple(notes))


def _without_blanks(cells: Cells, parsed: Parsed, allowed: str) -> Parsed:
    """Return what was parsed with a problem for each empty cell."""
    blanks = cells.problems(cells.text.is_null(), Verdict(allowed, FILL_IN))
    return Parsed(parsed.values, (*parsed.problems, *blanks), parsed.notes)


def _mapped(
    text: pl.Series, values: Mapping[str, object], dtype: type[pl.DataType] | pl.DataType
) -> pl.Series:
    if not values:
        return pl.Series([None] * len(text), dtype=dtype)
    return text.replace_strict(
        pl.Series(list(values), dtype=pl.String),
        pl.Series(list(values.values()), dtype=dtype),
        default=None,
        return_dtype=dtype,
    )


def _distinct(cells: Cells) -> list[str]:
    return cells.text.drop_nulls().unique(maintain_order=True).to_list()


def _mid_month(day: date) -> Verdict:
    return Verdict(
        ALLOWED_MONTH,
        f"write {month_name(day)!r}, or add dated lines up to months with --sum",
    )


def _out_of_range(latest: date) -> Verdict:
    return Verdict(f"months from {FIRST_YEAR}-01 to {month_name(latest)}", "check the year")


def _two_readings(stamp: Stamp) -> Verdict:
    readings = " or ".join(
        day.isoformat() for day in (stamp.day_first, stamp.month_first) if day is not None
    )
    return Verdict(
        f"a date that can be read in one way (this is {readings})",
        "write dates as year-month-day, months as 2025-01",
    )
