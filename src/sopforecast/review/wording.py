"""How the review writes numbers, months and names for people: one way on every page."""

from __future__ import annotations

import math
from datetime import date, datetime
from urllib.parse import unquote

from sopforecast.core.months import parse_month
from sopforecast.review.headline import ITEM, TOTAL

UNKNOWN = "–"
MINUS = "−"


def number(value: float | None) -> str:
    """A quantity with thousands separators, whole from 100 up; a dash when unknown.

    Examples
    --------
    >>> [number(value) for value in (1234567.8, 99.94, 12.0, 2.5, 0.126, -3.0, None)]
    ['1,234,568', '99.9', '12', '2.5', '0.13', '−3', '–']
    """
    if value is None or math.isnan(value):
        return UNKNOWN
    digits = 0 if abs(value) >= 100 or value == round(value) else (1 if abs(value) >= 10 else 2)
    text = f"{abs(value):,.{digits}f}"
    if digits:
        text = text.rstrip("0").rstrip(".")
    return f"{MINUS}{text}" if value < 0 and text.strip("0.,") else text


def moved(value: float | None) -> str:
    """A difference of quantities, with its sign.

    Examples
    --------
    >>> [moved(value) for value in (1240.4, -12.5, 0.001, None)]
    ['+1,240', '−12.5', '0', '–']
    """
    text = number(value)
    is_up = value is not None and value > 0 and text.strip("0.,")
    return f"+{text}" if is_up else text


def percent(value: float | None) -> str:
    """A percentage with one decimal below 100, none above.

    Examples
    --------
    >>> [percent(value) for value in (12.345, -0.04, 1234.5, None)]
    ['12.3%', '0.0%', '1,234%', '–']
    """
    if value is None or math.isnan(value):
        return UNKNOWN
    text = f"{abs(value):,.{0 if abs(value) >= 100 else 1}f}"
    return f"{MINUS if value < 0 and text.strip('0.,') else ''}{text}%"


def change(value: float | None) -> str:
    """A percentage with its sign, for differences.

    Examples
    --------
    >>> [change(value) for value in (4.25, -3.0, 0.0)]
    ['+4.2%', '−3.0%', '0.0%']
    """
    text = percent(value)
    is_up = value is not None and value > 0 and text.strip("0.,%")
    return f"+{text}" if is_up else text


def long_month(month: date | str) -> str:
    """``2026-12`` or a date as ``December 2026``."""
    return _as_month(month).strftime("%B %Y")


def short_month(month: date | str) -> str:
    """``2026-12`` or a date as ``Dec 2026``."""
    return _as_month(month).strftime("%b %Y")


def moment(at: object) -> str:
    """A point in time (UTC) to the minute; other values as their text."""
    return at.strftime("%d %B %Y, %H:%M UTC").lstrip("0") if isinstance(at, datetime) else str(at)


def node_label(node: str, *, level: str) -> str:
    """The name a planner uses: ``family=Oncology/region=EU`` is ``Oncology / EU``.

    Examples
    --------
    >>> node_label("family=R%26D%2FLab/region=EU", level="family/region")
    'R&D/Lab / EU'
    """
    if level == TOTAL:
        return "Total"
    if level == ITEM:
        return node
    return " / ".join(unquote(part.partition("=")[2]) for part in node.split("/"))


def _as_month(month: date | str) -> date:
    return month if isinstance(month, date) else parse_month(month)
