"""Data into a workspace: make one, load files all or nothing, take a load back."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

from sopforecast.core.months import (
    add_months,
    cutoff,
    last_complete_month,
    month_name,
    parse_month,
)
from sopforecast.errors import RequestError
from sopforecast.intake.parse import KNOWN_AT
from sopforecast.planning_store.inputs import (
    LoadReport,
    TableLoad,
    append_loads,
    undo_load,
)
from sopforecast.settings import SETTINGS_FILE, Settings
from sopforecast.workflow.clock import utc_now, who
from sopforecast.workflow.reading import Reader
from sopforecast.workspace import CLINICAL_FILE, WORKBOOK_FILE, Workspace, init_workspace


def init(
    folder: Path,
    *,
    name: str | None = None,
    levels: Sequence[str] = (),
    variant: str = "planner",
    now: datetime | None = None,
) -> dict[str, Any]:
    """Make a workspace; returns workspace, settings and workbook paths.

    ``workbook`` is the one to fill first: with the variant ``clinical`` that is ``clinical.xlsx``,
    and ``planner.xlsx`` lies beside it.

    Raises
    ------
    RequestError
        There is a workspace already, or no such variant.
    """
    today = (now or utc_now()).date()
    init_workspace(folder, name=name, levels=tuple(levels), today=today, variant=variant)
    workbook = CLINICAL_FILE if variant == "clinical" else WORKBOOK_FILE
    return {
        "workspace": str(folder),
        "settings": str(folder / SETTINGS_FILE),
        "workbook": str(folder / workbook),
    }


def load(
    workspace: Workspace,
    sources: Sequence[str],
    *,
    through: str | None = None,
    sum_days: bool = False,
    full: bool = False,
    loaded_by: str | None = None,
    now: datetime | None = None,
) -> dict[str, Any]:
    """Load a table from files, or a workbook of tables; all of it in one transaction or nothing.

    Parameters
    ----------
    workspace
        Where to.
    sources
        ``["history", "a.csv", ...]`` or ``["book.xlsx"]``.
    through
        Last complete month, YYYY-MM; the last calendar month that has ended when not given.
    sum_days
        Add dated lines up to months.
    full
        Keys missing in the file (for history: in its months) are retracted.
    loaded_by
        The user of this machine when not given.
    now
        UTC without a time zone.

    Returns
    -------
    dict
        ``loads``: one entry a table and file, with its load id, counts of rows and notes.

    Raises
    ------
    RequestError
        Unknown table, file that is not there, or a request that cannot be meant.
    DataError
        Every rejected cell with its reason; nothing was loaded.
    """
    moment = now or utc_now()
    last = last_complete_month(moment.date())
    complete = parse_month(through) if through is not None else last
    if complete > last:
        raise RequestError(
            f"--through: found {month_name(complete)}, which has not ended yet; allowed: up to "
            f"{month_name(last)}"
        )
    store, settings = workspace.store(), workspace.settings
    reader = Reader(settings, store, moment, complete, sum_days)
    parsed = [(file, table) for file, tables in reader.read(sources) for table in tables]
    reports = append_loads(
        store,
        [TableLoad(table.table, table.frame, table.file, _hash(file)) for file, table in parsed],
        loaded_by=loaded_by or who(),
        loaded_at=moment,
        history_lag_days=workspace.settings.history_lag_days,
        full=full,
        through=complete,
    )
    return {
        "loads": [
            {
                "load_id": report.load_id,
                "table": report.table,
                "file": report.file,
                "rows_new": report.rows_new,
                "rows_changed": report.rows_changed,
                "rows_same": report.rows_same,
                "rows_retracted": report.rows_retracted,
                "already_loaded": report.already_loaded,
                "partial_rows": table.partial.height,
                "through": month_name(complete),
                "notes": [
                    *table.notes,
                    *_waits(settings, report, table.frame.columns, complete, moment),
                ],
            }
            for report, (_, table) in zip(reports, parsed, strict=True)
        ]
    }


def _waits(
    settings: Settings,
    report: LoadReport,
    columns: Sequence[str],
    complete: date,
    moment: datetime,
) -> list[str]:
    """The note on changes that the open cycle reads no more, as a list of one sentence or none."""
    if KNOWN_AT in columns:  # the file says from when
        return []
    cycle = add_months(complete, 1)
    closes = cutoff(cycle, cutoff_day=settings.cutoff_day)
    changed = report.rows_changed + report.rows_retracted
    if report.table == "tier_lines":  # known from their load, the first time too
        changed += report.rows_new
    if not changed or moment <= closes or report.table == "history":
        return []
    word = "new or changed" if report.table == "tier_lines" else "changed"
    return [
        f"{changed} {word} {'row is' if changed == 1 else 'rows are'} known from now, after the "
        f"cut-off of cycle {month_name(cycle)} ({closes:%Y-%m-%d}): the next cycle reads "
        f"{'it' if changed == 1 else 'them'}, or run --as-of {moment:%Y-%m-%d}"
    ]


def undo(
    workspace: Workspace, load_id: str, *, force: str | None = None, now: datetime | None = None
) -> dict[str, Any]:
    """Take one load back; refused under a published run unless `force` gives a reason.

    Raises
    ------
    RequestError
    """
    report = undo_load(workspace.store(), load_id, at=now or utc_now(), force=force, by=who())
    return {
        "load_id": report.load_id,
        "table": report.table,
        "file": report.file,
        "rows": report.rows,
        "published_runs": list(report.runs),
        "already_undone": report.already_undone,
    }


def _hash(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
