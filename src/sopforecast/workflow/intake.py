"""Data into a workspace: make one, load files all or nothing, take a load back."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from sopforecast.core.hierarchy import Hierarchy
from sopforecast.core.months import (
    add_months,
    cutoff,
    last_complete_month,
    month_name,
    parse_month,
)
from sopforecast.errors import RequestError
from sopforecast.intake.against import with_overrides
from sopforecast.intake.files import (
    BOOK_SUFFIXES,
    PARQUET_SUFFIXES,
    TABLES,
    TEXT_SUFFIXES,
    ParsedTable,
    ReadOptions,
    Standing,
    read_table,
    read_workbook,
)
from sopforecast.planning_store.inputs import (
    LoadReport,
    TableLoad,
    admitted_inputs,
    append_loads,
    undo_load,
)
from sopforecast.planning_store.store import Store
from sopforecast.settings import SETTINGS_FILE, Settings, level_columns
from sopforecast.workflow.clock import utc_now, who
from sopforecast.workspace import WORKBOOK_FILE, Workspace, init_workspace

FILE_SUFFIXES = (*TEXT_SUFFIXES, *PARQUET_SUFFIXES, *BOOK_SUFFIXES)


def init(
    folder: Path,
    *,
    name: str | None = None,
    levels: Sequence[str] = (),
    now: datetime | None = None,
) -> dict[str, Any]:
    """Make a workspace; returns workspace, settings and workbook paths.

    Raises
    ------
    RequestError
        There is a workspace already.
    """
    init_workspace(folder, name=name, levels=tuple(levels), today=(now or utc_now()).date())
    return {
        "workspace": str(folder),
        "settings": str(folder / SETTINGS_FILE),
        "workbook": str(folder / WORKBOOK_FILE),
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
    store = workspace.store()
    reader = _Reader(workspace.settings, store, moment, complete, sum_days)
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
                "notes": [*table.notes, *_waits(workspace.settings, report, complete, moment)],
            }
            for report, (_, table) in zip(reports, parsed, strict=True)
        ]
    }


def _waits(settings: Settings, report: LoadReport, complete: date, moment: datetime) -> list[str]:
    """The note on changes that the open cycle reads no more, as a list of one sentence or none."""
    cycle = add_months(complete, 1)
    closes = cutoff(cycle, cutoff_day=settings.cutoff_day)
    changed = report.rows_changed + report.rows_retracted
    if not changed or moment <= closes or report.table == "history":
        return []
    return [
        f"{changed} changed {'row is' if changed == 1 else 'rows are'} known from now, after the "
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


def read_options(settings: Settings) -> ReadOptions:
    """What the settings say about reading files."""
    return ReadOptions(
        columns={
            table: {ours: list(theirs) if isinstance(theirs, tuple) else theirs
                    for ours, theirs in names.items()}
            for table, names in settings.columns.items()
        },
        levels=level_columns(settings.levels),
        level_labels=settings.levels,
        id_separator=settings.advanced.id_separator,
        missing=settings.history.missing,
        negative=settings.history.negative,
        unit_slip=settings.history.unit_slip,
        decimal=settings.advanced.decimal,
        sources=settings.sources,
        cutoff_day=settings.cutoff_day,
    )  # fmt: skip


def contradictions(
    overrides: pl.DataFrame, hierarchy: Hierarchy, *, history: pl.DataFrame | None = None
) -> list[tuple[tuple[str, ...], str]]:
    """Sets of ``fixed`` overrides that cannot all hold: their ids, and a sentence each.

    Parameters
    ----------
    overrides
        ``Overrides`` of mode fixed, one row an id; those that live in a common cycle are compared.
    hierarchy
        The nodes they may name.
    history
        Demand so far: in what steps it comes.
    """
    from sopforecast.judgement import fixed, uneven

    uneven_ones = uneven.uneven_sums(overrides, hierarchy, history)
    return fixed.contradictions(overrides, hierarchy) + uneven_ones


@dataclass(frozen=True)
class _Reader:
    """Files to parsed tables, with what the store already knows to compare against."""

    settings: Settings
    store: Store
    now: datetime
    through: Any
    sum_days: bool

    def read(self, sources: Sequence[str]) -> list[tuple[Path, list[ParsedTable]]]:
        table, files = _table_and_files(sources)
        options = self._known() | {
            "options": read_options(self.settings),
            "today": self.now.date(),
            "through": self.through,
            "sum_days": self.sum_days,
        }
        if table is None:
            return [(file, read_workbook(file, **options)) for file in files]
        parsed = []
        for file in files:
            found = read_table(file, table=table, **options)
            parsed.append((file, [found]))
            if table == "overrides":  # the next file is judged beside this one
                options["standing"] = with_overrides(options["standing"], found.frame)
        return parsed

    def _known(self) -> dict[str, Any]:
        known = admitted_inputs(self.store, known_by=datetime.max)
        items = known["items"]
        return {
            "known": known["history"] if known["history"].height else None,
            "items_known": items["unique_id"].to_list() if items.height else None,
            "levels_known": {
                name: items[name].drop_nulls().unique().to_list()
                for name in level_columns(self.settings.levels)
                if name in items.columns
            },
            "standing": Standing(
                items=items if items.height else None,
                overrides=known["overrides"],
                prices=known["prices"],
                contradictions=partial(contradictions, history=known["history"]),
            ),
        }


def _table_and_files(sources: Sequence[str]) -> tuple[str | None, list[Path]]:
    """``history a.csv b.csv`` names a table and files, ``book.xlsx`` a workbook."""
    first, rest = sources[0], [Path(source) for source in sources[1:]]
    is_file = Path(first).suffix.lower() in FILE_SUFFIXES
    if is_file and rest:
        raise RequestError(
            f"which table is {first}? Allowed: TABLE FILE ..., with TABLE one of "
            f"{', '.join(TABLES)}; or one workbook by itself"
        )
    if not is_file and not rest:
        known = "no file for it" if first in TABLES else "neither a table nor a file"
        raise RequestError(
            f"load: found {first!r}, {known}; allowed: TABLE FILE ..., with TABLE one of "
            f"{', '.join(TABLES)}; or one workbook by itself"
        )
    return (None, [Path(first)]) if is_file else (first, rest)


def _hash(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
