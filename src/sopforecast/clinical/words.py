"""How the clinic writes months, days, names, counts and chances: one way in every sentence.

English whatever the locale, ASCII only, so that the same numbers give the same bytes anywhere.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from datetime import date

MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
_SHOWN = 12


def month_text(month: date) -> str:
    """A month as ``June 2027``.

    Examples
    --------
    >>> month_text(date(2027, 6, 1))
    'June 2027'
    """
    return f"{MONTHS[month.month - 1]} {month.year}"


def day_text(day: date) -> str:
    """A day as ``15 January 2027``.

    Examples
    --------
    >>> day_text(date(2027, 1, 15))
    '15 January 2027'
    """
    return f"{day.day} {month_text(day)}"


def listed(names: Iterable[str]) -> str:
    """Names as people list them.

    Examples
    --------
    >>> [listed(names) for names in ((), ("S7",), ("S7", "S9"), ("S7", "S8", "S9"))]
    ['', 'S7', 'S7 and S9', 'S7, S8 and S9']
    """
    *most, last = [*names] or [""]
    return f"{', '.join(most)} and {last}" if most else last


def plural(word: str, count: float) -> str:
    """The word for as many as ``count``.

    Examples
    --------
    >>> plural("site", 1), plural("site", 2), plural("site", 0), plural("country", 2)
    ('site', 'sites', 'sites', 'countries')
    """
    if count == 1:
        return word
    return f"{word[:-1]}ies" if word.endswith("y") and word[-2] not in "aeo" else f"{word}s"


def counted(count: float, word: str) -> str:
    """A count and its word.

    Examples
    --------
    >>> counted(1, "patient"), counted(1200, "patient"), counted(2.5, "patient")
    ('1 patient', '1,200 patients', '2.5 patients')
    """
    return f"{amount(count)} {plural(word, count)}"


def span(low: int, high: int, word: str = "patient") -> str:
    """A range of whole numbers; one number where both ends are the same.

    Examples
    --------
    >>> span(15, 25), span(12, 12), span(0, 1), span(1, 1)
    ('15 to 25 patients', '12 patients', '0 to 1 patient', '1 patient')
    """
    return f"{ends(low, high)} {plural(word, high)}"


def ends(low: int, high: int) -> str:
    """A range of whole numbers without a word: ``15 to 25``, or ``12``."""
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def amount(value: float) -> str:
    """A quantity: whole where it is whole, else with one decimal.

    Examples
    --------
    >>> amount(24.0), amount(24.04), amount(1234.56), amount(-0.001)
    ('24', '24.0', '1,234.6', '0.0')
    """
    return f"{int(value):,}" if value == int(value) else decimal(value)


def decimal(value: float) -> str:
    """An expected number, always with one decimal.

    Examples
    --------
    >>> decimal(4), decimal(20.44), decimal(-0.01)
    ('4.0', '20.4', '0.0')
    """
    text = f"{value:,.1f}"
    return "0.0" if text == "-0.0" else text


def signed(value: float) -> str:
    """A change, always with its sign and one decimal.

    Examples
    --------
    >>> signed(-2.4), signed(0.31), signed(0.0)
    ('-2.4', '+0.3', '+0.0')
    """
    text = decimal(value)
    return text if text.startswith("-") else f"+{text}"


def chance(probability: float) -> str:
    """A probability in whole percent; never 0% or 100%, which no number of paths can show.

    Examples
    --------
    >>> [chance(value) for value in (0.35, 0.0, 0.0099, 0.01, 0.99, 0.991, 1.0)]
    ['35%', 'under 1%', 'under 1%', '1%', '99%', 'over 99%', 'over 99%']
    """
    if probability < 0.01:
        return "under 1%"
    return "over 99%" if probability > 0.99 else f"{100 * probability:.0f}%"


def share(value: float) -> str:
    """A share that was learned or stated, as a percentage; one decimal below 10%.

    Examples
    --------
    >>> share(0.334), share(0.0254), share(0.02), share(0.0), share(1.0)
    ('33%', '2.5%', '2%', '0%', '100%')
    """
    percent = 100 * value
    text = f"{percent:.1f}".removesuffix(".0") if percent < 10 else f"{percent:.0f}"
    return f"{text}%"


def first(names: Sequence[str], count: int = _SHOWN) -> str:
    """The first of many names, and how many more.

    Examples
    --------
    >>> first(["S1", "S2", "S3"], 2), first(["S1", "S2"], 2), first([])
    ('S1, S2 and 1 more', 'S1 and S2', 'none')
    """
    if len(names) <= count:
        return listed(names) or "none"
    return f"{', '.join(names[:count])} and {len(names) - count} more"


def near(name: str, known: Sequence[str]) -> str:
    """A hint at names like the one found; empty when there are none.

    Examples
    --------
    >>> near("s77", ["S7", "S9", "North"])
    "; did you mean 'S7'?"
    >>> near("East", ["S7"])
    ''
    """
    folded = {other.casefold(): other for other in reversed(known)}
    close = difflib.get_close_matches(name.casefold(), list(folded), n=3, cutoff=0.5)
    names = [repr(folded[match]) for match in close]
    if not names:
        return ""
    return f"; did you mean {' or '.join(names)}?"
