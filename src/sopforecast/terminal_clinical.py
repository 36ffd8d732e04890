"""What is said of a trial on the terminal: the sentences first, then what stands behind them."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

Result = Mapping[str, Any]

WIDTH = 100
MOST_STUDIES = 5
MONTHS = 3


def of_study(result: Result) -> str:
    """``clinical``."""
    lines = [f"Study {result['study']}, cycle {result['cycle']}, known by {result['known_by']}", ""]
    lines += _sentences(result["lines"])
    for title, key in (("What changed", "changes"), ("Supply", "confirm")):
        if result[key]:
            lines += ["", title, *_sentences(result[key])]
    if result["items"]:
        lines += ["", "Items of the clinic, all studies together", *_items(result["items"])]
    if result["assumptions"]:
        lines += ["", "What the numbers assume"]
        lines += _sentences([one["text"] for one in result["assumptions"]])
    if result["notes"]:
        lines += ["", "Notes", *_sentences(result["notes"])]
    return "\n".join(lines)


def studies_of_run(result: Result) -> list[str]:
    """Lines of ``run``: one headline a study, and how to ask for more."""
    told = result.get("studies", [])
    if not told:
        return []
    lines = ["Studies"]
    for one in told[:MOST_STUDIES]:
        status = f" [{one['status']}]" if one["status"] else ""
        lines += _sentences([f"{one['study']}{status}: {one['headline']}"])
        lines += _sentences(one["confirm"][:1])
    if len(told) > MOST_STUDIES:
        lines.append(f"  ... and {len(told) - MOST_STUDIES} more")
    asked = '--if "site S1 activates by YYYY-MM"'
    lines.append(f"  More: sopforecast clinical --study {told[0]['study']} [{asked}]")
    return lines


def of_demo(result: Result) -> list[str]:
    """Lines of ``demo``: its simulated trial, what is said of it, and the law it was made from."""
    trial = result["trial"]
    lines = ["A trial", *_sentences(trial["said_openly"][:1])]
    for one in result["studies"]:
        if one["study"] != trial["study"]:
            continue
        lines += ["", f"What is said of {one['study']}", *_sentences(one["lines"])]
        for title, key in (("What changed", "changes"), ("Supply", "confirm")):
            if one[key]:
                lines += ["", title, *_sentences(one[key])]
    lines += ["", "The law it was made from", *_sentences(trial["said_openly"][1:])]
    lines += ["", "What that law brings", *_sentences([trial["onward"]])]
    asked = f'sopforecast clinical --study {trial["study"]} --if "{trial["if"]}"'
    return [*lines, "", f"Try: {asked} -w {result['workspace']}"]


def _items(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The next months of each item, and what is shipped on top of them."""
    lines = []
    for item in dict.fromkeys(row["unique_id"] for row in rows):
        ahead = [row for row in rows if row["unique_id"] == item][:MONTHS]
        told = ", ".join(
            f"{row['ds']} {row['mean']:,.0f} ({row['p10']:,.0f} to {row['p90']:,.0f})"
            for row in ahead
        )
        on_top = sum(row["overage"] for row in ahead)
        extra = f"; overage on top {on_top:,.0f}" if on_top >= 0.5 else ""
        lines += _sentences([f"{item}: {told}{extra}"])
    return lines


def _sentences(said: Sequence[str]) -> list[str]:
    lines: list[str] = []
    for sentence in said:
        lines += textwrap.wrap(
            sentence, WIDTH, initial_indent="  ", subsequent_indent="    ", break_long_words=False
        )
    return lines
