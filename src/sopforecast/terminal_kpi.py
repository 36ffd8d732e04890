"""What is said of KPIs on the terminal: value, colour and owner first, then one sentence each."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from sopforecast.review.kpi import SHOWN_NODES, worst_first

Result = Mapping[str, Any]

WIDTH = 100


def of_month(result: Result) -> str:
    """``kpi``."""
    lag = result["lag"]
    plan = "the month's own cycle" if lag == 0 else f"{_count(lag, 'cycle')} before"
    lines = [
        f"KPIs, {result['cycle']} closed: {_count(result['window'], 'month')}, the plan of {plan}, "
        f"known by {result['known_at']} UTC"
    ]
    widths = [max(len(one[key]) for one in result["kpis"]) for key in ("title", "shown", "colour")]
    for one in result["kpis"]:
        title, shown, colour = (
            one[key].ljust(width)
            for key, width in zip(("title", "shown", "colour"), widths, strict=True)
        )
        lines += ["", f"{title}  {shown}  {colour}  {one['target']}; owner {one['owner']}"]
        lines += _wrapped(one["sentence"])
        lines += _parts(one["kpi"], one["parts"])
    lines += ["", *_footnote(result)]
    lines += [f"Note: {note}" for note in result["notes"]]
    lines.append(f"Page: {result['page']}")
    return "\n".join(lines)


def in_short(result: Result) -> list[str]:
    """Lines of ``demo``: value, colour and target of each, and where the page is."""
    rows = [(one["title"], one["shown"], one["colour"], one["target"]) for one in result["kpis"]]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [f"KPIs, {result['cycle']} closed, {_count(result['window'], 'month')}"]
    for row in rows:
        told = "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))
        lines.append(f"  {told.rstrip()}")
    return [*lines, f"KPI page: {result['page']}"]


def _parts(kpi: str, parts: list[Result]) -> list[str]:
    """The worst of families, studies, cohorts or sites, in one line."""
    if not parts:
        return []
    told = [f"{one['label']} {one['shown']} ({one['colour']})" for one in worst_first(kpi, parts)]
    more = len(told) - SHOWN_NODES
    return _wrapped("; ".join(told[:SHOWN_NODES]) + (f"; and {more} more" if more > 0 else ""))


def _footnote(result: Result) -> list[str]:
    months, accuracy = result["restated"]["months"], result["restated"]["accuracy"]
    said = "First scores: a month is scored when its actuals are first known, and that stays."
    if months:
        now = "" if accuracy is None else f"; as known now accuracy is {accuracy:.1f}%"
        said += f" Restated since: {', '.join(months)}{now}."
    return textwrap.wrap(said, WIDTH)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="  ")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
