"""One date or month as a person wrote it: all its readings, none chosen.

``03/04/2025`` has two readings, ``2025-04-03`` one, ``Jan-25`` is the month January 2025, ``45658``
an Excel serial number. Which reading holds is for the column to settle (`parse_dates`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

_EXCEL_ZERO = date(1899, 12, 30)
_SERIALS = range(18264, 73051)  # 1950-01-01 to 2100-01-01
_CLOCK = (
    r"(?:[T ]\s*(?P<clock>\d{1,2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?)"
    r"\s*(?P<zone>Z|[+-]\d{2}:?\d{2})?)?"
)
_NAME = r"(?P<name>[A-Za-zÄä]{3,9})\.?"
_YEAR = r"(?P<year>\d{4})"
_MONTH_NAMES = (
    ("jan", "january"), ("feb", "february"), ("mar", "march"), ("apr", "april"), ("may", "may"),
    ("jun", "june"), ("jul", "july"), ("aug", "august"), ("sep", "september"), ("oct", "october"),
    ("nov", "november"), ("dec", "december"),
)  # fmt: skip
_MONTHS = {name: i + 1 for i, names in enumerate(_MONTH_NAMES) for name in names} | {"sept": 9}
_GERMAN = {
    "januar": 1, "jänner": 1, "februar": 2, "märz": 3, "maerz": 3, "mär": 3, "mrz": 3, "mai": 5,
    "juni": 6, "juli": 7, "okt": 10, "oktober": 10, "dez": 12, "dezember": 12,
}  # fmt: skip


@dataclass(frozen=True)
class Stamp:
    """The readings of one text: day before month, and month before day.

    Both are equal when there is only one reading; a reading that is no date is None.
    """

    day_first: date | None
    month_first: date | None
    has_clock: bool = False
    is_serial: bool = False

    @property
    def is_doubtful(self) -> bool:
        """Whether both readings are dates and they differ."""
        both = self.day_first is not None and self.month_first is not None
        return both and self.day_first != self.month_first


def read_stamp(text: str) -> Stamp | None:
    """Return the readings of a text, or None when it is not a date at all.

    Examples
    --------
    >>> read_stamp("Jan-25").day_first
    datetime.date(2025, 1, 1)
    >>> read_stamp("03/04/2025").is_doubtful
    True
    """
    for pattern, read in _FORMS:
        match = pattern.fullmatch(text)
        if match is not None:
            return read(match)
    return None


def is_month_alone(text: str) -> bool:
    """Whether a text that can be read names a month and no day.

    Examples
    --------
    >>> [is_month_alone(text) for text in ("Jan-25", "2025-01", "2025-01-31")]
    [True, True, False]
    """
    for pattern, _ in _FORMS:
        match = pattern.fullmatch(text)
        if match is not None:
            parts = match.groupdict()
            return "serial" not in parts and "a" not in parts and parts.get("day") is None
    return False


def moment_of(text: str, day: date) -> datetime | None:
    """Return the moment a text names, UTC without a zone; None when no clock shows that time."""
    match = _FORMS[0][0].fullmatch(text)
    if match is None or match["clock"] is None:
        return datetime.combine(day, time.min)
    hour, *rest = match["clock"].split(":")
    zone = (match["zone"] or "").replace("Z", "+00:00")
    clock = ":".join([f"{day.isoformat()}T{int(hour):02d}", *rest]) + zone
    try:
        moment = datetime.fromisoformat(clock)
    except ValueError:
        return None
    return moment.astimezone(UTC).replace(tzinfo=None) if zone else moment


def _date(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:
        return None


def _one_reading(day: date | None, match: re.Match[str]) -> Stamp:
    clock = match.groupdict().get("clock")
    return Stamp(day, day, has_clock=clock is not None and bool(clock.strip("0:.")))


def _read_year_first(match: re.Match[str]) -> Stamp:
    day = _date(int(match["year"]), int(match["month"]), int(match["day"] or 1))
    return _one_reading(day, match)


def _read_month_year(match: re.Match[str]) -> Stamp:
    return _one_reading(_date(int(match["year"]), int(match["month"]), 1), match)


def _read_day_dotted(match: re.Match[str]) -> Stamp:
    return _one_reading(_date(int(match["year"]), int(match["b"]), int(match["a"])), match)


def _read_two_ways(match: re.Match[str]) -> Stamp:
    year, first, second = int(match["year"]), int(match["a"]), int(match["b"])
    clock = _one_reading(None, match).has_clock
    return Stamp(_date(year, second, first), _date(year, first, second), has_clock=clock)


def _read_named(match: re.Match[str]) -> Stamp | None:
    name = match["name"].lower()
    month = _MONTHS.get(name) or _GERMAN.get(name)
    if month is None:
        return None
    year = int(match["year"])
    if year < 100:
        year += 1900 if year >= 70 else 2000
    day = int(match.groupdict().get("day") or 1)
    return _one_reading(_date(year, month, day), match)


def _read_serial(match: re.Match[str]) -> Stamp | None:
    if int(match["serial"]) not in _SERIALS:
        return None
    day = _EXCEL_ZERO + timedelta(days=int(match["serial"]))
    fraction = match["fraction"]
    return Stamp(day, day, has_clock=bool(fraction and fraction.strip(".0")), is_serial=True)


def _form(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.ASCII)


_FORMS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], Stamp | None]], ...] = (
    (
        _form(_YEAR + r"(?P<s>[-/.])(?P<month>\d{1,2})(?:(?P=s)(?P<day>\d{1,2}))?" + _CLOCK),
        _read_year_first,
    ),
    (_form(_YEAR + r"(?P<month>\d{2})(?P<day>\d{2})?"), _read_year_first),
    (_form(_YEAR + r"\s?[Mm](?P<month>\d{1,2})"), _read_month_year),
    (_form(r"(?P<month>\d{1,2})[-/. ]" + _YEAR), _read_month_year),
    (_form(r"(?P<a>\d{1,2})\.(?P<b>\d{1,2})\." + _YEAR + _CLOCK), _read_day_dotted),
    (_form(r"(?P<a>\d{1,2})(?P<s>[-/])(?P<b>\d{1,2})(?P=s)" + _YEAR + _CLOCK), _read_two_ways),
    (_form(_NAME + r"[-/ ,']*(?P<year>\d{4}|\d{2})"), _read_named),
    (_form(r"(?P<day>\d{1,2})[-/ .]+" + _NAME + r"[-/ ,]+(?P<year>\d{4})" + _CLOCK), _read_named),
    (_form(_YEAR + r"[-/ ]" + _NAME), _read_named),
    (_form(r"(?P<serial>\d{5})(?P<fraction>\.\d+)?"), _read_serial),
)
