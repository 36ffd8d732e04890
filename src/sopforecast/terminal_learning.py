"""What a close says of learning: value added, what the gate decided, ranges, what still waits.

Neutral throughout: how far off each stage was, what was decided and on what; never whose doing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sopforecast.review import gains, wording

Row = Mapping[str, Any]

ALL = "*"
NAMED_ITEMS = 5
_LEVELS = {"item": "items", "total": "the total"}


def value_added(rows: Iterable[Row], *, measure: str = "quantity") -> list[str]:
    """A table of all items over 12 months (or the longest window there is), then sentences.

    Parameters
    ----------
    rows : iterable of mapping
        ``ValueAdded`` rows of one close, in any order.
    measure : str
        ``quantity`` or ``value``.
    """
    shown = gains.shown_table(rows, measure=measure)
    if not shown:
        return ["Value added: nothing scored yet."]
    top = shown[0]
    scored = "" if top["months"] == top["window"] else f" ({top['months']} scored)"
    title = (
        f"Value added over {gains.count(top['window'], 'month')}{scored}, {measure}, all leads, "
        f"{gains.count(top['cells'], 'cell')}"
    )
    heads = ("stage", "accuracy", "WMAPE", "bias", "gained", "90% range", "over naive", "90% range")
    table = _aligned([heads, *(_stage(row) for row in shown)])
    return [title, *table, gains.MEANING, *gains.table_sentences(shown)]


def decisions(rows: Iterable[Row]) -> list[str]:
    """One sentence a table: which procedure rules the cycles to come, and why.

    Parameters
    ----------
    rows : iterable of mapping
        ``LearningLog`` rows of one close.
    """
    return [_decision(row) for row in rows]


def calibration(rows: Iterable[Row]) -> list[str]:
    """Where actuals fell in the 80% range, all leads together: of items, of the total, of others.

    Parameters
    ----------
    rows : iterable of mapping
        ``Calibration`` rows of one close; segment ``*`` is read, of it the widest band of leads.
    """
    widest: dict[str, Row] = {}
    for row in rows:
        asked = row["segment"] == ALL and row["lead_from"] == 1 and row["cells"]
        if asked and row["lead_to"] > widest.get(row["level"], {"lead_to": 0})["lead_to"]:
            widest[row["level"]] = row
    order = sorted(widest, key=lambda level: (level not in _LEVELS, level))
    return [f"{_level(level)}: {inside_sentence(widest[level])}" for level in order]


def inside_sentence(row: Row) -> str:
    """Say coverage in words.

    Examples
    --------
    >>> inside_sentence({"inside80": 412, "cells": 540})
    '8 of 10 should land inside; 7.6 did (412 of 540)'
    """
    inside, cells = row["inside80"], row["cells"]
    if not cells:
        return "8 of 10 should land inside; none was scored yet"
    return f"8 of 10 should land inside; {10 * inside / cells:.1f} did ({inside:,} of {cells:,})"


def waiting(
    items: Sequence[str] = (), *, restated: Sequence[str] = (), left_out: int = 0
) -> list[str]:
    """What is not scored yet, what was scored anew, and what no table of value added can hold.

    Parameters
    ----------
    items : sequence of str
        Items whose actual of the month is not known; sums above them wait too.
    restated : sequence of str
        Items whose actual had been another when it was first scored.
    left_out : int
        Pairs of month and cycle without a naive or statistical forecast.
    """
    lines = []
    if items:
        wait = "waits" if len(items) == 1 else "wait"
        lines.append(
            f"{gains.count(len(items), 'item')} {wait} for an actual, with the sums above: "
            f"{_named(items)}. The next close of the month scores what has come."
        )
    if restated:
        were = "was" if len(restated) == 1 else "were"
        lines.append(
            f"{gains.count(len(restated), 'item')} {were} restated since first scored: "
            f"{_named(restated)}. Both versions are kept; value added counts the first."
        )
    if left_out:
        lines.append(
            f"Value added leaves out {gains.count(left_out, 'forecast month')} without a naive or "
            "statistical forecast."
        )
    return lines


def of_close(
    *,
    value_added_rows: Iterable[Row],
    decision_rows: Iterable[Row],
    calibration_rows: Iterable[Row],
    waiting_items: Sequence[str] = (),
    restated: Sequence[str] = (),
    left_out: int = 0,
) -> list[str]:
    """Lines of ``close``: the four parts, a blank line between those that have something to say."""
    parts = [
        value_added(value_added_rows),
        calibration(calibration_rows),
        decisions(decision_rows),
        waiting(waiting_items, restated=restated, left_out=left_out),
    ]
    lines: list[str] = []
    for part in filter(None, parts):
        lines += ["", *part] if lines else part
    return lines


def _stage(row: Row) -> tuple[str, ...]:
    name = gains.row_name(row["stage"])
    first = row["gained"] is None
    return (
        f"  {name}" if row["alone"] else name,
        wording.percent(row["accuracy"]),
        wording.percent(row["wmape"]),
        wording.change(row["bias_percent"]),
        "" if first else gains.points(row["gained"]),
        "" if first else gains.span(row["gained_low"], row["gained_high"]),
        "" if first else gains.points(row["over_naive"]),
        "" if first else gains.span(row["over_naive_low"], row["over_naive_high"]),
    )


def _decision(row: Row) -> str:
    """What rules, and the reason of the gate: cycles compared, the difference and its limits."""
    rules, ruled = row["rules"], row["ruled"]
    said = {
        "adopt": f"{rules} rules from now on, after {ruled}",
        "revert": f"{rules} rules again, after {ruled}",
        "keep": f"{rules} goes on",
        "refuse": f"{rules} goes on",
        "not_enough": f"{rules} goes on, not enough yet to compare",
    }[row["decision"]]
    return f"{row['table']}: {said}; {str(row['reason']).rstrip('. ')}."


def _level(level: str) -> str:
    return f"Statistical ranges of {_LEVELS.get(level, level)}"


def _named(items: Sequence[str]) -> str:
    more = len(items) - NAMED_ITEMS
    return ", ".join(items[:NAMED_ITEMS]) + (f" and {more:,} more" if more > 0 else "")


def _aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """Columns of one width: the name left, numbers right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(
            text.rjust(width) if k else text.ljust(width)
            for k, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]
