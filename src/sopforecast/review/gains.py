"""How value added is said: the names of the rows, and one neutral sentence a comparison.

Gains are points of WMAPE, positive is closer; one whose range holds zero is "not told apart".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sopforecast.review import wording

Row = Mapping[str, Any]

FEWEST_MONTHS = 6
FULL_WINDOW = 12
MEANING = (
    "Accuracy is 100% less WMAPE; bias is forecast minus actual. Gains are points of WMAPE,\n"
    "positive is closer, with their 90% range. A source alone gains over statistical; each other\n"
    "row stands on the one above."
)
_NAMES = {"naive": "naive (same month last year)"}
_BASES = {
    "over_naive": "naive (same month last year)",
    "over_statistical": "statistical",
}


def row_name(stage: str) -> str:
    """Call a stage what planners call it.

    Examples
    --------
    >>> [row_name(stage) for stage in ("naive", "source:sales", "through:sales", "consensus")]
    ['naive (same month last year)', 'sales alone', 'with sales', 'consensus']
    """
    kind, _, name = stage.partition(":")
    if name:
        return f"{name} alone" if kind == "source" else f"with {name}"
    return _NAMES.get(stage, stage)


def shown_table(
    rows: Iterable[Row], *, measure: str = "quantity", within: str = "total", lead: int = 0
) -> list[Row]:
    """Rows of the 12-month window, or of the longest there is, from top to bottom.

    Parameters
    ----------
    rows : iterable of mapping
        ``ValueAdded`` rows.
    measure, within, lead
        Which table of theirs.
    """
    asked = [
        row
        for row in rows
        if (row["measure"], row["within"], row["lead"]) == (measure, within, lead)
    ]
    windows = {row["window"] for row in asked}
    window = FULL_WINDOW if FULL_WINDOW in windows else max(windows, default=0)
    return sorted((row for row in asked if row["window"] == window), key=_position)


def gain_sentence(row: Row, gain: str, *, items: int | None = None) -> str:
    """How a row compares with another.

    Parameters
    ----------
    row : mapping
        A ``ValueAdded`` row.
    gain : str
        ``over_naive`` or ``over_statistical``.
    items : int, optional
        How many items are compared, where known.

    Examples
    --------
    >>> row = {"stage": "consensus", "months": 12, "cells": 4032, "over_statistical": 2.1,
    ...        "over_statistical_low": 0.4, "over_statistical_high": 3.9}
    >>> gain_sentence(row, "over_statistical", items=336)
    'Consensus was 2.1 points closer than statistical over 12 months (between 0.4 and 3.9); 336 items, 4,032 cells.'
    """  # noqa: E501 - one sentence
    name = row_name(row["stage"])
    over = f"over {count(row['months'], 'month')}"
    cells = count(row["cells"], "cell")
    cells = cells if items is None else f"{count(items, 'item')}, {cells}"
    points, low, high = (row[f"{gain}{end}"] for end in ("", "_low", "_high"))
    if points is None:
        said = f"there was no demand to compare {name} by {over}"
    else:
        said = f"{name} was {_closer(points, _BASES[gain])} {over}{_range(low, high)}"
        if low is None or high is None:
            if row["months"] < FEWEST_MONTHS:
                said += f"; range from {FEWEST_MONTHS} months on"
        elif low <= 0 <= high and (low, high) != (0, 0):
            said += ": not told apart from zero"
    return f"{said[0].upper()}{said[1:]}; {cells}."


def table_sentences(rows: Sequence[Row], *, items: int | None = None) -> list[str]:
    """What one table says in words: people over statistical, statistical over naive, each source.

    Parameters
    ----------
    rows : sequence of mapping
        See `shown_table`.
    items : int, optional
        How many items are compared, where known.
    """
    of = {row["stage"]: row for row in rows}
    last, asked = of.get("approved"), []
    if any(row["alone"] for row in rows):
        asked.append(("consensus", "over_statistical"))
    if last is not None and last["gained"]:
        asked.append(("approved", "over_statistical"))
    asked += [(row["stage"], "over_statistical") for row in rows if row["alone"]]
    asked.append(("statistical", "over_naive"))
    return [gain_sentence(of[stage], gain, items=items) for stage, gain in asked if stage in of]


def points(value: float | None) -> str:
    """A gain with its sign, to a tenth.

    Examples
    --------
    >>> [points(value) for value in (2.13, -0.3, 0.01, None)]
    ['+2.1', '−0.3', '0.0', '–']
    """
    return wording.change(value).removesuffix("%")


def span(low: float | None, high: float | None) -> str:
    """The range of a gain.

    Examples
    --------
    >>> [span(-1.0, 0.4), span(None, None)]
    ['−1.0 to +0.4', 'not enough yet']
    """
    return "not enough yet" if low is None or high is None else f"{points(low)} to {points(high)}"


def count(number: int, noun: str) -> str:
    """``1 month``, ``4,032 cells``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _position(row: Row) -> int:
    position: int = row["position"]
    return position


def _closer(gain: float, base: str) -> str:
    size = wording.percent(abs(gain)).removesuffix("%")
    if not size.strip("0."):
        return f"as close as {base}"
    word = "point" if size == "1.0" else "points"
    return f"{size} {word} {'closer' if gain > 0 else 'less close'} than {base}"


def _range(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return ""
    if low < 0:
        return f" (between {points(low)} and {points(high)})"
    ends = (points(end).removeprefix("+") for end in (low, high))
    return f" (between {' and '.join(ends)})"
