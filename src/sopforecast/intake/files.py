"""The door planners' files come in by: csv, parquet or xlsx in, one checked frame a table out.

Reads the input tables of ``core.tables`` and ``core.evidence_tables``. Either every row of a file
is good and the frame comes back with notes on what was assumed, or `DataError` names every problem
by file, row and column. Nothing here knows the planning store: what it already holds is passed in.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import polars as pl

from sopforecast.core.months import last_complete_month
from sopforecast.errors import DataError, Problem, RequestError
from sopforecast.intake.against import Intake, ReadOptions, Standing
from sopforecast.intake.book_files import Book, BookSheet
from sopforecast.intake.cells import Sheet, near_match
from sopforecast.intake.clinical_columns import JUDGED_BY
from sopforecast.intake.frame_files import read_parquet_sheet
from sopforecast.intake.take_in import TABLES, ParsedTable, take_in
from sopforecast.intake.text_files import read_text_sheet

__all__ = ["TABLES", "ParsedTable", "ReadOptions", "Standing", "read_table", "read_workbook"]

TEXT_SUFFIXES = (".csv", ".tsv", ".txt")
PARQUET_SUFFIXES = (".parquet", ".pq")
BOOK_SUFFIXES = (".xlsx", ".xlsm")
NOT_TABLES = ("readme", "guide")
# A sheet is read once the sheets it is judged by are right.
JUDGED: Mapping[str, tuple[str, ...]] = {
    "prices": ("items", "history"),
    "overrides": ("items", "history", "prices"),
    **JUDGED_BY,
}


def read_table(
    path: Path | str,
    *,
    table: str,
    options: ReadOptions,
    today: date,
    through: date | None = None,
    sheet: str | None = None,
    sum_days: bool = False,
    known: pl.DataFrame | None = None,
    items_known: Collection[str] | None = None,
    levels_known: Mapping[str, Collection[str]] | None = None,
    standing: Standing | None = None,
) -> ParsedTable:
    """Read one table from one file.

    Parameters
    ----------
    path : path
        A .csv, .parquet or .xlsx file.
    table : str
        What the file holds: one of ``TABLES``.
    options : ReadOptions
        What settings say about reading.
    today : date
        Today, for the last month that has ended and for what lies in the future.
    through : date, optional
        Last complete month (its first day); default: the last calendar month that has ended.
    sheet : str, optional
        Sheet of a workbook; default: the one named like the table, or the only visible one.
    sum_days : bool
        Add dated lines up to months (history only).
    known : DataFrame, optional
        Earlier history (unique_id, ds, y, and backlog where kept), for the unit of new months.
    items_known : collection of str, optional
        Ids of the items table; while empty or None, any id may have history.
    levels_known : mapping, optional
        Values of each level column among the items.
    standing : Standing, optional
        What stands of items, prices, overrides and the clinical tables, for all but the first.

    Returns
    -------
    ParsedTable
        The frame, sorted by key, and notes.

    Raises
    ------
    DataError
        When anything in the file is not as it must be; all problems are in it.
    RequestError
        When the file, the table or the sheet does not exist.
    """
    path = _existing(path)
    if table not in TABLES:
        raise RequestError(_unknown_table(table))
    intake = Intake(
        options=options,
        today=today,
        through=through or last_complete_month(today),
        sum_days=sum_days and table == "history",
        known=known,
        items_known=frozenset(items_known or ()),
        levels_known=dict(levels_known or {}),
        standing=standing or Standing(),
    )
    with _readable(path):
        raw = _read_sheet(path, table=table, sheet=sheet)
    return take_in(raw, table=table, intake=intake)


def read_workbook(
    path: Path | str,
    *,
    options: ReadOptions,
    today: date,
    through: date | None = None,
    sum_days: bool = False,
    known: pl.DataFrame | None = None,
    items_known: Collection[str] | None = None,
    levels_known: Mapping[str, Collection[str]] | None = None,
    standing: Standing | None = None,
) -> list[ParsedTable]:
    """Read every table of a workbook whose sheets are named like tables.

    Sheets named Guide or README, or beginning with ``_``, are passed over, hidden ones too unless
    named like a table, and so are sheets without rows. Sheets are read in the order of ``TABLES``,
    each checked against those before it and what is known. Parameters are those of `read_table`.

    Raises
    ------
    DataError
        With the problems of all sheets; also when a sheet is no table, or no sheet has a row.
    """
    path = _existing(path)
    if path.suffix.lower() not in BOOK_SUFFIXES:
        raise RequestError(
            f"{path.name}: found a {path.suffix or 'nameless'} file without a table name; allowed: "
            f"a workbook (.xlsx), or a table name first: {', '.join(TABLES)}"
        )
    intake = Intake(
        options=options,
        today=today,
        through=through or last_complete_month(today),
        sum_days=sum_days,
        known=known,
        items_known=frozenset(items_known or ()),
        levels_known=dict(levels_known or {}),
        standing=standing or Standing(),
    )
    with _readable(path), Book(path) as book:
        sheets, problems = _table_sheets(book, path.name)
    parsed: list[ParsedTable] = []
    is_whole, wrong = not problems, set[str]()
    for table in TABLES:
        if table not in sheets:
            continue
        if table in JUDGED and (not is_whole or wrong & {*JUDGED[table]}):
            wrong.add(table)
            continue
        try:
            parsed.append(take_in(sheets[table], table=table, intake=intake))
        except DataError as err:
            problems += err.problems
            wrong.add(table)
            continue
        intake = intake.with_table(table, parsed[-1].frame)
    if problems:
        raise DataError(problems)
    return parsed


def _existing(path: Path | str) -> Path:
    path = Path(path)
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no such file"
        raise RequestError(f"{path}: {found}; allowed: a csv, parquet or xlsx file; check the path")
    return path


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Say what the operating system refused: a locked file, one that vanished, a broken disk."""
    try:
        yield
    except OSError as err:
        raise RequestError(
            f"{path}: cannot be read ({err.strerror or err}); close it where it is open, or copy "
            "it, and try again"
        ) from err


def _unknown_table(name: str) -> str:
    match = near_match(name, list(TABLES))
    todo = f"did you mean {match!r}?" if match else "name one of them"
    return f"table: found {name!r}; allowed: {', '.join(TABLES)}; {todo}"


def _read_sheet(path: Path, *, table: str, sheet: str | None) -> Sheet:
    suffix = path.suffix.lower()
    if suffix in BOOK_SUFFIXES:
        with Book(path) as book:
            name = _choose_sheet(book.sheets, table=table, sheet=sheet, file=path.name)
            found = book.read(name)
        if found is None:
            raise DataError([_no_cell(f"{path.name}[{name}]")])
        return found
    if sheet is not None:
        raise RequestError(f"{path.name}: found a sheet name; only workbooks (.xlsx) have sheets")
    if suffix in PARQUET_SUFFIXES:
        return read_parquet_sheet(path)
    if suffix in TEXT_SUFFIXES:
        return read_text_sheet(path)
    raise RequestError(
        f"{path.name}: found a {suffix or 'nameless'} file; allowed: "
        f"{', '.join((*TEXT_SUFFIXES, *PARQUET_SUFFIXES, *BOOK_SUFFIXES))}; save it as one of these"
    )


def _no_cell(file: str) -> Problem:
    return Problem(file, "no cell with a value", "a header and rows", "fill it in", row=1)


def _choose_sheet(sheets: Sequence[BookSheet], *, table: str, sheet: str | None, file: str) -> str:
    names = [entry.name for entry in sheets]
    wanted = sheet if sheet is not None else table
    for name in names:
        if name.strip().casefold() == wanted.casefold():
            return name
    visible = [entry.name for entry in sheets if entry.is_visible]
    if sheet is None and len(visible) == 1:
        return visible[0]
    match = near_match(wanted, names)
    raise RequestError(
        f"{file}: found no sheet {wanted!r}; allowed: {', '.join(names)}; "
        + (f"did you mean {match!r}?" if match else f"name the sheet {table!r}")
    )


def _table_sheets(book: Book, file: str) -> tuple[dict[str, Sheet], list[Problem]]:
    """Read the sheets that are tables and have rows; name those that are no table."""
    sheets: dict[str, Sheet] = {}
    problems: list[Problem] = []
    empty: list[str] = []
    for entry in book.sheets:
        table = entry.name.strip().casefold()
        if table.startswith("_") or table in NOT_TABLES:
            continue
        if table not in TABLES and not entry.is_visible:
            continue
        try:
            read = book.read(entry.name)
        except DataError as err:
            problems += err.problems
            continue
        if read is None:
            continue
        if table not in TABLES:
            problems.append(_unknown_sheet(file, entry.name))
        elif read.rows.is_empty():
            empty.append(entry.name)
        else:
            sheets[table] = read
    if not sheets and not problems:
        raise DataError([_nothing_to_load(file, empty)])
    return sheets, problems


def _unknown_sheet(file: str, name: str) -> Problem:
    match = near_match(name, list(TABLES))
    todo = f"did you mean {match!r}?" if match else "rename it, or put _ in front to leave it out"
    return Problem(
        f"{file}[{name}]", "a sheet that is no table", f"sheets named {', '.join(TABLES)}", todo
    )


def _nothing_to_load(file: str, empty: Sequence[str]) -> Problem:
    found = "nothing to load"
    if empty:
        found += f": no rows below the header of {', '.join(empty)}"
    return Problem(
        file, found, f"rows in at least one of the sheets {', '.join(TABLES)}", "fill one in"
    )
