"""Typed columns (parquet files, the uniform columns of a workbook) as `Cells`."""

from __future__ import annotations

from datetime import time
from pathlib import Path

import polars as pl

from sopforecast.errors import DataError, Problem
from sopforecast.intake.cells import Cells, Sheet

EXCEL_DIGITS = 15


def read_parquet_sheet(path: Path) -> Sheet:
    """Read a parquet file; its rows are counted from 2, as if it had a header row."""
    path.open("rb").close()  # a file that may not be read is no damaged parquet file
    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as err:
        problem = Problem(
            path.name, f"no parquet file ({err})", "a parquet file", "export the file again"
        )
        raise DataError([problem]) from err
    rows = pl.Series(range(2, frame.height + 2), dtype=pl.Int64)
    columns = tuple(series_cells(path.name, series.name, series, rows) for series in frame)
    return Sheet(file=path.name, header_row=1, rows=rows, columns=columns)


def series_cells(file: str, name: str, series: pl.Series, rows: pl.Series) -> Cells:
    """Return a typed column as cells: text beside numbers and dates; whole numbers show no point.

    Raises
    ------
    DataError
        When the type is none of text, number, date and boolean.
    """
    dtype = series.dtype
    number = dated = None
    if dtype.is_numeric():
        number = series.cast(pl.Float64)
        text = _number_text(series, number)
    elif dtype in (pl.Date, pl.Datetime):
        dated = series.is_not_null()
        text = _wall_clock(series)
    elif dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null, pl.Boolean):
        text = series.cast(pl.String).str.strip_chars()
    else:
        problem = Problem(
            file,
            f"values of type {dtype}",
            "text, numbers or dates",
            "convert the column before writing the file",
            column=name,
        )
        raise DataError([problem])
    return Cells(file, name.strip(), rows, text.set(text == "", None), number, dated)


def _number_text(series: pl.Series, number: pl.Series) -> pl.Series:
    whole = number.is_finite() & (number == number.floor()) & (number.abs() < 10.0**EXCEL_DIGITS)
    exact = series.cast(pl.Int64, strict=False).cast(pl.String)
    shown = series.cast(pl.String) if series.dtype.is_integer() else number.cast(pl.String)
    return pl.select(pl.when(whole).then(exact).otherwise(shown)).to_series()


def _wall_clock(series: pl.Series) -> pl.Series:
    """Return dates as text; a timestamp shows the clock of its own time zone."""
    if series.dtype == pl.Date:
        return series.cast(pl.String)
    local = series.dt.replace_time_zone(None).dt.cast_time_unit("us")
    day = local.dt.to_string("%Y-%m-%d")
    moment = local.dt.to_string("%Y-%m-%d %H:%M:%S")
    return pl.select(pl.when(local.dt.time() == time.min).then(day).otherwise(moment)).to_series()
