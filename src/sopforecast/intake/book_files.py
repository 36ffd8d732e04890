"""Workbooks (xlsx) into `Sheet` objects, with the type of each cell kept.

Read with openpyxl, which is slower than others (about 10 microseconds a cell) but tells a number
from text that looks like one, a date from a number, and a formula nobody calculated from an empty
cell: that last one is refused, because it would otherwise vanish in silence. Macros are never run.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from sopforecast.errors import DataError, Problem
from sopforecast.intake.cells import Cells, Sheet, nameless
from sopforecast.intake.frame_files import EXCEL_DIGITS
from sopforecast.intake.title_rows import LOOKED_AT, refuse_title

LARGEST_UNPACKED = 2 * 1024**3
LARGEST_RATIO = 500
RATIO_MATTERS_FROM = 256 * 1024**2
_FORMULA = re.compile(rb"<(?:\w+:)?f[ />]")
_PADDED = re.compile(r"0{2,}")
_PADDED_FORMAT = re.compile(rb"""formatCode=["']0{2,}["']""")
_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")  # how xlsx writes what XML cannot hold
_BLOCK = 1 << 22


@dataclass(frozen=True)
class BookSheet:
    """Name of one sheet of a workbook and whether people can see it."""

    name: str
    is_visible: bool


@dataclass(frozen=True)
class PaddedNumber:
    """A whole number whose cell shows leading zeros: the number and what it shows."""

    value: float
    text: str


class Book:
    """An open workbook: its sheets in tab order, and the cells of each on request.

    A context manager; nothing may be read after it is left.

    Raises
    ------
    DataError
        When the file is no workbook, is damaged or encrypted, or unpacks to an absurd size.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        _check_archive(path)
        has_formulas = _contains(path, "xl/worksheets/", _FORMULA)
        self._has_padded_numbers = _contains(path, "xl/styles.xml", _PADDED_FORMAT)
        self._book = _open(path, with_values=True)
        self._formulas = _open(path, with_values=False) if has_formulas else None
        self.sheets = tuple(
            BookSheet(sheet.title, sheet.sheet_state == "visible")
            for sheet in self._book.worksheets
        )

    def __enter__(self) -> Book:
        return self

    def __exit__(self, *_: object) -> None:
        self._book.close()
        if self._formulas is not None:
            self._formulas.close()

    def read(self, name: str) -> Sheet | None:
        """Read one sheet; None when it has no cell with a value.

        Raises
        ------
        DataError
            When a formula was never calculated, a title stands above the header, or values stand
            under an empty header.
        """
        file = f"{self._path.name}[{name}]"
        uncalculated = self._uncalculated(name, file)
        if uncalculated:
            raise DataError(uncalculated)
        filled = self._filled_rows(name)
        if not filled:
            return None
        top = [(row, [_shown(v) for v in values]) for row, values in filled[:LOOKED_AT]]
        refuse_title(file, top)
        (header_row, header), body = filled[0], filled[1:]
        width = max(len(values) for _, values in filled)
        rows = pl.Series([row for row, _ in body], dtype=pl.Int64)
        columns = []
        for index in range(width):
            values = [row[index] if index < len(row) else None for _, row in body]
            title = _shown(header[index]) if index < len(header) else None
            if title is not None:
                columns.append(_typed_cells(file, title, rows, values))
            elif any(_shown(value) is not None for value in values):
                raise DataError([nameless(file, header_row, f"number {index + 1}")])
        return Sheet(file=file, header_row=header_row, rows=rows, columns=tuple(columns))

    def _filled_rows(self, name: str) -> list[tuple[int, tuple[Any, ...]]]:
        """Return (row number, values) of each row that is not blank, numbered as in the sheet."""
        sheet = self._book[name]
        sheet.reset_dimensions()
        rows: Iterable[tuple[Any, ...]]
        if self._has_padded_numbers:
            rows = (tuple(map(_padded, cells)) for cells in sheet.iter_rows())
        else:
            rows = sheet.iter_rows(values_only=True)
        return [
            (row, values)
            for row, values in enumerate(rows, start=1)
            if any(value is not None and _shown(value) is not None for value in values)
        ]

    def _uncalculated(self, name: str, file: str) -> list[Problem]:
        """Formulas whose cell holds no value; one that gave an empty text has the type of text."""
        if self._formulas is None:
            return []
        pairs = zip(self._formulas[name].iter_rows(), self._book[name].iter_rows(), strict=False)
        return [
            Problem(
                file=file,
                row=formula.row,
                column=formula.column_letter,
                found="a formula without a calculated value",
                allowed="values, or formulas Excel has calculated",
                todo="open the workbook in Excel and save it, or paste values",
            )
            for formulas, values in pairs
            for formula, value in zip(formulas, values, strict=False)
            if formula.data_type == "f" and value.value is None and value.data_type == "n"
        ]


def _check_archive(path: Path) -> None:
    """Refuse what is no workbook, is encrypted, or would unpack to an absurd size."""
    allowed, todo = "a workbook saved as .xlsx", "save it from Excel as .xlsx, without a password"
    path.open("rb").close()  # a file that may not be read is no damaged workbook
    if not zipfile.is_zipfile(path):
        raise DataError([Problem(path.name, "a file that is no workbook", allowed, todo)])
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if not any(entry.filename == "xl/workbook.xml" for entry in entries):
            raise DataError([Problem(path.name, "an archive with no workbook", allowed, todo)])
        unpacked = sum(entry.file_size for entry in entries)
        packed = max(sum(entry.compress_size for entry in entries), 1)
    is_bomb = unpacked > RATIO_MATTERS_FROM and unpacked > LARGEST_RATIO * packed
    if unpacked > LARGEST_UNPACKED or is_bomb:
        found = f"{unpacked / 1024**2:,.0f} MB once unpacked"
        limit = f"{LARGEST_UNPACKED // 1024**2:,} MB, and {LARGEST_RATIO} times the file itself"
        raise DataError([Problem(path.name, found, limit, "save the data alone, as csv")])


def _contains(path: Path, start: str, pattern: re.Pattern[bytes]) -> bool:
    """Whether a part of the archive whose name begins with ``start`` matches ``pattern``."""
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if not name.startswith(start):
                continue
            with archive.open(name) as part:
                tail = b""
                while block := part.read(_BLOCK):
                    if pattern.search(tail + block):
                        return True
                    tail = block[-64:]
    return False


def _open(path: Path, *, with_values: bool) -> Any:
    from openpyxl import load_workbook
    from openpyxl.utils.exceptions import InvalidFileException

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # features of Excel it does not keep
            return load_workbook(path, read_only=True, data_only=with_values, keep_links=False)
    except (
        InvalidFileException, KeyError, ValueError, TypeError, SyntaxError, OSError,
        zipfile.BadZipFile,
    ) as err:  # fmt: skip
        problem = Problem(
            path.name, f"a damaged workbook ({err})", "a workbook saved as .xlsx", "save it again"
        )
        raise DataError([problem]) from err


def _padded(cell: Any) -> Any:
    """Return a cell's value; a whole number in a format of zeros only (00000) as its text."""
    value = cell.value
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and _PADDED.fullmatch(cell.number_format) and float(value).is_integer():
        return PaddedNumber(value, f"{int(value):0{len(cell.number_format)}d}")
    return value


def _shown(value: Any) -> str | None:
    """Return what a value shows as text, None when it is blank; 12.0 shows as 12."""
    if value is None:
        return None
    if isinstance(value, str):
        return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), value).strip() or None
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, int | float):
        return _number_text(value)
    return value.text if isinstance(value, PaddedNumber) else _moment_text(value)


def _number_text(value: int | float) -> str:
    """Return a number as text; past the digits Excel keeps it reads as Excel shows it, 1.2E+16."""
    if abs(value) >= 10.0**EXCEL_DIGITS:
        return f"{value:.{EXCEL_DIGITS - 1}E}"
    return str(int(value)) if float(value).is_integer() else repr(value)


def _moment_text(value: datetime | date | time | timedelta) -> str:
    if isinstance(value, datetime) and value.time() == time.min:
        return value.date().isoformat()
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    return str(value)


def _typed_cells(file: str, title: str, rows: pl.Series, values: Sequence[Any]) -> Cells:
    return Cells(
        file=file,
        column=title,
        rows=rows,
        text=pl.Series(map(_shown, values), dtype=pl.String),
        number=pl.Series(map(_as_number, values), dtype=pl.Float64),
        dated=pl.Series([isinstance(v, date | time | timedelta) for v in values], dtype=pl.Boolean),
    )


def _as_number(value: Any) -> float | None:
    if isinstance(value, PaddedNumber):
        return float(value.value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else None
