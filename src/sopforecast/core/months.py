"""Months: how they are written, counted and cut off.

A month is a ``datetime.date`` on its first day; people read and write it as ``2026-12``. A cycle is
named by its first forecast month. Every function here is pure: today's date is always an argument.
"""

from __future__ import annotations

import calendar
import re
from datetime import date, datetime, time

from sopforecast.errors import RequestError

MONTHS_A_YEAR = 12
_MONTH_TEXT = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])")


def parse_month(text: str) -> date:
    """Read a month written as ``YYYY-MM``; nothing else is accepted.

    Raises
    ------
    RequestError
        When the text is not a month of the years 0001 to 9999 in that form.

    Examples
    --------
    >>> parse_month("2026-12")
    datetime.date(2026, 12, 1)
    """
    match = _MONTH_TEXT.fullmatch(text)
    if match is None or match[1] == "0000":
        raise RequestError(
            f"month: found {text!r}; allowed: year and month as YYYY-MM; write it like 2026-12"
        )
    return date(int(match[1]), int(match[2]), 1)


def month_name(month: date) -> str:
    """Return the month as ``YYYY-MM``; any day of the month will do.

    Examples
    --------
    >>> month_name(date(2026, 12, 1))
    '2026-12'
    """
    return f"{month.year:04d}-{month.month:02d}"


def add_months(month: date, count: int) -> date:
    """Return the first day of the month ``count`` months later (earlier when negative).

    Raises
    ------
    RequestError
        When the month would lie outside the years 1 to 9999.

    Examples
    --------
    >>> add_months(date(2026, 12, 1), 2)
    datetime.date(2027, 2, 1)
    """
    year, index = divmod(_ordinal(month) + count, MONTHS_A_YEAR)
    if not date.min.year <= year <= date.max.year:
        raise RequestError(
            f"month: {month_name(month)} plus {count} months is in the year {year}; "
            "allowed: years 1 to 9999; check the month and the horizon"
        )
    return date(year, index + 1, 1)


def months_between(start: date, end: date) -> int:
    """Count the months from ``start`` to ``end``: ``end`` minus ``start``, negative when earlier.

    Examples
    --------
    >>> months_between(date(2026, 12, 1), date(2027, 2, 1))
    2
    """
    return _ordinal(end) - _ordinal(start)


def month_range(first: date, periods: int) -> list[date]:
    """List ``periods`` months from ``first`` on, each on its first day.

    Examples
    --------
    >>> [month_name(month) for month in month_range(date(2026, 12, 1), 3)]
    ['2026-12', '2027-01', '2027-02']
    """
    return [add_months(first, ahead) for ahead in range(periods)]


def month_end(month: date) -> date:
    """Return the last day of the month.

    Examples
    --------
    >>> month_end(date(2028, 2, 1))
    datetime.date(2028, 2, 29)
    """
    return month.replace(day=calendar.monthrange(month.year, month.month)[1])


def cutoff(cycle: date, *, cutoff_day: int) -> datetime:
    """Return the last moment whose knowledge belongs to a cycle.

    Parameters
    ----------
    cycle : date
        First forecast month.
    cutoff_day : int
        Day of that month, 1 to 31; in a shorter month its last day.

    Returns
    -------
    datetime
        The last microsecond of that day, UTC without a time zone, so ``known_at <= cutoff``.

    Raises
    ------
    RequestError
        When ``cutoff_day`` is not 1 to 31.

    Examples
    --------
    >>> cutoff(date(2026, 12, 1), cutoff_day=15)
    datetime.datetime(2026, 12, 15, 23, 59, 59, 999999)
    """
    if not 1 <= cutoff_day <= 31:
        raise RequestError(
            f"cutoff_day: found {cutoff_day}; allowed: a day of the month, 1 to 31; "
            "change it in sopforecast.toml"
        )
    day = cycle.replace(day=min(cutoff_day, month_end(cycle).day))
    return datetime.combine(day, time.max)


def last_complete_month(today: date) -> date:
    """Return the last month that has ended by ``today``: the month before today's.

    On the last day of a month that month is still running.

    Examples
    --------
    >>> last_complete_month(date(2026, 12, 31))
    datetime.date(2026, 11, 1)
    """
    return add_months(today, -1)


def _ordinal(month: date) -> int:
    return month.year * MONTHS_A_YEAR + month.month - 1
