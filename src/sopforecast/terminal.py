"""What each command says to a person: the results of ``workflow`` as a few readable lines."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from sopforecast import terminal_clinical, terminal_evidence
from sopforecast.review import wording

Result = Mapping[str, Any]

ADDS = "The plan adds up over items and months; P10, P50 and P90 do not."
UNKNOWN_CHECKS = "not known: the run was interrupted before its account was written"
NUMBERS_WIDTH = 64
_SHOWN_ROWS = 5


def made(result: Result) -> str:
    """``init``."""
    folder = result["workspace"]
    return "\n".join(
        [
            f"Workspace {folder}",
            f"  settings   {result['settings']}",
            f"  workbook   {result['workbook']}: one sheet a table, ready to be filled in",
            f"Next: fill the workbook in, then sopforecast load {result['workbook']} -w {folder}",
            f"   or load a file of your own: sopforecast load history FILE -w {folder}",
        ]
    )


def loaded(result: Result) -> str:
    """``load``."""
    lines = []
    for load in result["loads"]:
        if load["already_loaded"]:
            lines.append(f"{load['file']}: loaded before as {load['load_id']}; nothing changed")
            continue
        counts = [
            f"{load[key]:,} {word}"
            for key, word in (
                ("rows_new", "new"),
                ("rows_changed", "changed"),
                ("rows_same", "unchanged"),
                ("rows_retracted", "retracted"),
            )
            if load[key]
        ]
        lines.append(f"{load['file']} -> {load['table']}: {', '.join(counts) or 'no rows'}")
        lines += [f"  note: {note}" for note in load["notes"]]
        load_id = load["load_id"]
        lines.append(f"  load id {load_id}; sopforecast undo {load_id} takes it back")
    return "\n".join(lines)


def undone(result: Result) -> str:
    """``undo``."""
    return f"{result['load_id']} is undone: {_count(result['rows'], 'row')} closed, nothing deleted"


def checked(result: Result) -> str:
    """``check``: what needs action first, each with its first rows."""
    lines = []
    for entry in result["checks"]:
        if entry["status"] in ("ok", "skipped"):
            continue
        lines.append(f"{entry['status']:<8}{entry['check']}: {entry['sentence']}")
        for row in entry["first"][:_SHOWN_ROWS]:
            lines.append("          " + ", ".join(f"{key} {row[key]}" for key in row))
        if entry["rows"] > _SHOWN_ROWS:
            lines.append(f"          ... and {entry['rows'] - _SHOWN_ROWS} more")
    lines.append(_check_counts(result["check_counts"]))
    return "\n".join(lines)


def ran(result: Result) -> str:
    """``run``: the headline, then what a planner must know about how it came about."""
    size = f"{_count(result['items'], 'item')}, {_count(result['horizon'], 'month')}"
    head = f"{size}, known by {result['known_by']} UTC"
    if result["stands"]:
        opening = f"Same inputs: run {result['run_id']} of cycle {result['cycle']} stands ({head})"
    else:
        opening = f"Run {result['run_id']} of cycle {result['cycle']}: {head}"
    lines = [opening, "", *_headline(result), "", ADDS]
    lines += terminal_clinical.studies_of_run(result)
    lines += terminal_evidence.overrides_of_run(result)
    lines += _past(result["backtest"])
    lines.append(_learned(result["rules"]))
    lines += [f"Note: {note}" for note in result["notes"]]
    lines += [_check(row) for row in result["checks"]]
    lines.append(_check_counts(result["check_counts"]))
    lines += _fallbacks(result["fallbacks"])
    if result["seconds"]:
        spent = ", ".join(f"{stage} {value:.1f}" for stage, value in result["seconds"].items())
        lines.append(f"Seconds: {spent}; together {sum(result['seconds'].values()):.1f}")
    if result["page"]:
        lines.append(f"Review page: {result['page']}")
    if result["published_run"] is None:
        where = "" if result["workspace"] == "." else f" -w {result['workspace']}"
        lines.append(f"Not published yet: sopforecast publish --cycle {result['cycle']}{where}")
    elif result["published_run"] != result["run_id"]:
        lines.append(f"Published for {result['cycle']} is another run: {result['published_run']}")
    return "\n".join(lines)


def _learned(rules: Sequence[Result]) -> str:
    """Which learned tables a run used, and of which close."""
    used = [f"{row['table']} (fit {row['fit_id']})" for row in rules if row["fit_id"]]
    if used:
        return f"Learned from closed months and in use: {', '.join(used)}"
    return "Learned from closed months and in use: nothing yet; it counts once it has proved itself"


def demonstrated(result: Result) -> str:
    """``demo``."""
    lines = [*result["said_openly"], "", *terminal_evidence.contributors(result), ""]
    lines += [*terminal_evidence.loop(result), ""]
    lines += [ran({**result, "studies": []}), published(result["published"]), ""]
    lines += [*terminal_clinical.of_demo(result), ""]
    lines.append(f"Next: sopforecast export forecasts plan.xlsx -w {result['workspace']}")
    return "\n".join(lines)


def published(result: Result) -> str:
    """``publish``."""
    text = (
        f"Published for cycle {result['cycle']}: {result['stage']} of run {result['run_id']}, "
        f"version {result['version']}, by {result['by']}"
    )
    replaced = result["replaced_run"]
    return f"{text}; it replaces {replaced}" if replaced else text


def exported(result: Result) -> str:
    """``export``."""
    of = f" of run {result['run_id']}" if result["run_id"] else ""
    of += f" ({result['stage']})" if result["stage"] else ""
    of += f" of fit {result['fit_id']} (closed {result['cycle']})" if result["fit_id"] else ""
    lines = [f"{_count(result['rows'], 'row')} of {result['table']}{of} -> {result['file']}"]
    return "\n".join([*lines, ADDS] if result["table"] == "forecasts" else lines)


def told(result: Result) -> str:
    """``status``."""
    lines = [f"{result['name']} in {result['workspace']}, store {result['store']}"]
    history = result["history"]
    if history["items"]:
        lines.append(
            f"History: {_count(history['items'], 'item')}, {history['first']} to "
            f"{history['last']}, {_count(history['rows'], 'row')}"
        )
    else:
        lines.append("History: nothing loaded yet")
    lines += terminal_evidence.judged(result)
    lines += ["", "Loads" if result["loads"] else "Loads: none yet"]
    for load in result["loads"]:
        state = f"  undone {load['undone_at']}" if load["undone_at"] else ""
        what = f"{load['table']:<8} {load['file']}{state}"
        lines.append(f"  {load['load_id']}  {load['loaded_at']}  {what}")
    lines += ["", "Runs" if result["runs"] else "Runs: none yet"]
    lines += [
        f"  {run['cycle']}  {run['run_id']}  {run['created_at']}  {_count(run['items'], 'item')}"
        for run in result["runs"]
    ]
    lines += ["", "Published" if result["published"] else "Published: nothing yet"]
    lines += [
        f"  {row['cycle']}  {row['run_id']}  {row['stage']}  version {row['version']}, "
        f"by {row['by']}, {row['at']}"
        for row in result["published"]
    ]
    return "\n".join(lines)


def _headline(result: Result) -> list[str]:
    """Total and families, then the least certain items, in columns of one width."""
    totals, widest = result["headline"]["totals"], result["headline"]["widest"]
    month = wording.short_month(totals[0]["ds"])
    heads = ("plan", "P10", "P50", "P90")
    rows: list[tuple[str, ...]] = [(month, *heads, "next 12", "on last 12")]
    rows += [
        _row(row, wording.number(row["plan_12"]), wording.change(row["change_12_percent"]))
        for row in totals
    ]
    rows.append((f"Widest ranges, {month}", *heads, "width 3 mo.", "of plan"))
    rows += [
        _row(row, wording.number(row["width_3"]), wording.percent(row["width_percent"]))
        for row in widest
    ]
    lines = _table(rows)
    cut = 1 + len(totals)
    return [*lines[:cut], "", *lines[cut:]] if widest else lines[:cut]


def _row(row: Result, *more: str) -> tuple[str, ...]:
    width = _name_width()
    name = row["label"] if len(row["label"]) <= width else row["label"][: width - 1] + "…"
    return (name, *(wording.number(row[key]) for key in ("plan", "p10", "p50", "p90")), *more)


def _name_width() -> int:
    """Room for names beside the numbers; in a log file there is plenty."""
    columns = shutil.get_terminal_size(fallback=(120, 24)).columns
    return min(max(columns - NUMBERS_WIDTH, 20), 44)


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """First column left, the others right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def _past(backtest: Sequence[Result]) -> list[str]:
    """How it did on past months, in one line."""
    if not backtest:
        return []
    near, far = (wording.percent(row["wmape"]) for row in (backtest[0], backtest[-1]))
    errors = (
        f"{near} {_count(backtest[0]['lead'], 'month')} ahead, {far} {backtest[-1]['lead']} ahead"
    )
    seen = [row["coverage80"] for row in backtest if row["coverage80"] is not None]
    inside = f"; {10 * sum(seen) / len(seen):.1f} of 10 landed in P10-P90" if seen else ""
    return [f"Past months: items were off by {errors} (WMAPE){inside}."]


def _count(number: int, noun: str) -> str:
    """``1 item``, ``1,200 items``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _check(row: Result) -> str:
    """A check that found something; an error names the items."""
    text = f"{row['status'].capitalize()}: {row['sentence']}"
    if row["status"] != "error" or not row["named"]:
        return text
    more = ", ..." if row["rows"] > len(row["named"]) else ""
    return f"{text} ({', '.join(row['named'])}{more})"


def _check_counts(counts: Mapping[str, int]) -> str:
    said = [f"{counts[status]} {status}" for status in ("error", "warning", "skipped", "ok")
            if counts.get(status)]  # fmt: skip
    return f"Checks: {', '.join(said) or UNKNOWN_CHECKS}"


def _fallbacks(fallbacks: Sequence[Result]) -> list[str]:
    if not fallbacks:
        return ["Fallbacks: none"]
    return [
        f"Fallback: {_count(row['items'], 'item')} on {row['model']}: {row['reason']} "
        f"({', '.join(row['named'])}{', ...' if row['items'] > len(row['named']) else ''})"
        for row in fallbacks
    ]
