"""Tables out to files: whole or not at all, and never a formula.

A file is written beside its target and takes its name only when every byte is on disk, so a reader
sees the old file or the new one. Text that a spreadsheet would run (``=1+1``) gets a ``'`` in front
in csv, which reading takes off again; in xlsx it is stored as text. Parquet keeps text as it is.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import polars as pl

from sopforecast.errors import RequestError
from sopforecast.intake.cells import listed

RUN_BY_SPREADSHEETS = r"^'*[=+\-@\t\r]"
EXCEL_ROWS = 1_048_576
EXCEL_TEXT = 32_767
FIXED_DATE = datetime(2000, 1, 1)  # files of the same content have the same bytes
PLAIN_BOOK = {
    "strings_to_formulas": False,
    "strings_to_urls": False,
    "strings_to_numbers": False,
    "nan_inf_to_errors": True,
}
_TEXT = (pl.String, pl.Categorical, pl.Enum)
_NESTED = (pl.List, pl.Array, pl.Struct, pl.Binary, pl.Object)
_CellWriter = Callable[[int, int, Any], object]


def write_table(path: Path | str, frame: pl.DataFrame) -> Path:
    """Write a table as csv, parquet or xlsx, by the ending of ``path``.

    Parameters
    ----------
    path : path
        Target; an existing file is replaced when the new one is complete.
    frame : DataFrame
        Columns of text, numbers, dates and booleans; for parquet of any type.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    RequestError
        When the ending is unknown, the folder is missing or cannot be written, or the table does
        not fit the format.
    """
    path = Path(path)
    write = _WRITERS.get(path.suffix.lower())
    if write is None:
        raise RequestError(
            f"{path.name}: found the ending {path.suffix!r}; allowed: {', '.join(_WRITERS)}; "
            "name the file with one of them"
        )
    nested = [name for name, dtype in frame.schema.items() if dtype in _NESTED]
    if nested and write is not _write_parquet:
        raise RequestError(
            f"{path.name}: found columns that are no plain values ({listed(nested)}); allowed: "
            "text, numbers and dates; export to .parquet"
        )
    with written_whole(path) as part:
        write(part, frame)
    return path


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a path to write to; it becomes ``path`` when the block ends well, and vanishes else.

    Raises
    ------
    RequestError
        When the folder is missing or the disk refuses.
    """
    if not path.parent.is_dir():
        raise RequestError(f"{path}: found no folder {str(path.parent)!r}; create it first")
    try:
        handle, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix
        )
        os.close(handle)
    except OSError as err:
        raise _refused(path, err) from err
    part = Path(name)
    try:
        yield part
        _to_disk(part)
        part.chmod(_usual_mode(path))
        part.replace(path)
        _to_disk(path.parent)
    except OSError as err:
        raise _refused(path, err) from err
    finally:
        part.unlink(missing_ok=True)


def _refused(path: Path, err: OSError) -> RequestError:
    return RequestError(
        f"{path}: cannot be written ({err.strerror or err}); close it where it is open, or free "
        "space, and try again"
    )


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _usual_mode(path: Path) -> int:
    """Return the mode the target has, or the one a new file would get."""
    if path.exists():
        return path.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _write_csv(path: Path, frame: pl.DataFrame) -> None:
    names = [name for name, dtype in frame.schema.items() if dtype in _TEXT]
    text = [pl.col(name).cast(pl.String) for name in names]
    guarded = [
        pl.when(column.str.contains(RUN_BY_SPREADSHEETS)).then("'" + column).otherwise(column)
        for column in text
    ]
    frame.with_columns(
        expression.alias(name) for expression, name in zip(guarded, names, strict=True)
    ).write_csv(path)


def _write_parquet(path: Path, frame: pl.DataFrame) -> None:
    frame.write_parquet(path)


def _write_xlsx(path: Path, frame: pl.DataFrame) -> None:
    """Write one sheet; texts are texts, whatever they begin with."""
    import xlsxwriter

    _check_fits(path, frame)
    options = PLAIN_BOOK | {"constant_memory": True}
    with xlsxwriter.Workbook(path, options) as book:
        book.set_properties({"created": FIXED_DATE})
        sheet = book.add_worksheet("data")
        header = book.add_format({"bold": True, "bottom": 1})
        day = book.add_format({"num_format": "yyyy-mm-dd"})
        moment = book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})
        writers = [_cell_writer(sheet, dtype, day, moment) for dtype in frame.dtypes]
        sheet.freeze_panes(1, 0)
        for column, name in enumerate(frame.columns):
            sheet.set_column(column, column, min(max(len(name) + 2, 12), 40))
            sheet.write_string(0, column, name, header)
        for row, values in enumerate(frame.iter_rows(), start=1):
            for column, value in enumerate(values):
                if value is not None:
                    writers[column](row, column, value)


def _check_fits(path: Path, frame: pl.DataFrame) -> None:
    if frame.height >= EXCEL_ROWS:
        raise RequestError(
            f"{path.suffix}: found {frame.height:,} rows; allowed: {EXCEL_ROWS - 1:,} in a sheet; "
            "export to .csv or .parquet"
        )
    for name, dtype in frame.schema.items():
        if dtype in _TEXT:
            longest = frame[name].cast(pl.String).str.len_chars().max()
            if isinstance(longest, int) and longest > EXCEL_TEXT:
                raise RequestError(
                    f"{path.suffix}: found a text of {longest:,} characters in column {name}; "
                    f"allowed: {EXCEL_TEXT:,} in a cell; export to .csv or .parquet"
                )


def _cell_writer(sheet: Any, dtype: pl.DataType, day: Any, moment: Any) -> _CellWriter:
    if dtype == pl.Date:
        return lambda row, column, value: sheet.write_datetime(row, column, value, day)
    if dtype == pl.Datetime:
        return lambda row, column, value: sheet.write_datetime(
            row, column, value.replace(tzinfo=None), moment
        )
    if dtype == pl.Boolean:
        return cast("_CellWriter", sheet.write_boolean)
    if dtype.is_numeric():
        return cast("_CellWriter", sheet.write_number)
    return lambda row, column, value: sheet.write_string(row, column, str(value))


_WRITERS: dict[str, Callable[[Path, pl.DataFrame], None]] = {
    ".csv": _write_csv,
    ".parquet": _write_parquet,
    ".xlsx": _write_xlsx,
}
