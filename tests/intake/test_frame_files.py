"""Typed columns of parquet files."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

import polars as pl
import pytest

from sopforecast.errors import DataError
from sopforecast.intake.frame_files import read_parquet_sheet, series_cells


@pytest.mark.parametrize(
    ("series", "texts"),
    [
        (pl.Series([1, None, -3], dtype=pl.Int32), ["1", None, "-3"]),
        (pl.Series([1.0, 2.5, float("nan")]), ["1", "2.5", "NaN"]),
        (pl.Series([2**60, 7]), [str(2**60), "7"]),
        (pl.Series([Decimal("1.50"), Decimal("2.00")]), ["1.5", "2"]),
        (pl.Series(["  A ", "", None]), ["A", None, None]),
        (pl.Series(["A", "B"], dtype=pl.Categorical), ["A", "B"]),
        (pl.Series([True, None]), ["true", None]),
        (pl.Series([None, None]), [None, None]),
        (pl.Series([date(2025, 1, 1)]), ["2025-01-01"]),
        (
            pl.Series([datetime(2025, 1, 1), datetime(2025, 1, 1, 7, 5)]),
            ["2025-01-01", "2025-01-01 07:05:00"],
        ),
    ],
)
def test_typed_values_show_as_text(series, texts) -> None:
    cells = series_cells("h.parquet", "x", series, pl.Series([2] * len(series)))
    assert cells.text.to_list() == texts
    assert (cells.number is not None) == series.dtype.is_numeric()
    assert (cells.dated is not None) == series.dtype.is_temporal()


def test_a_timestamp_shows_the_clock_of_its_own_zone() -> None:
    local = pl.Series([datetime(2024, 12, 31, 23)]).dt.replace_time_zone("UTC")
    zurich = local.dt.convert_time_zone("Europe/Zurich")
    rows = pl.Series([2])
    assert series_cells("h", "ds", local, rows).text.to_list() == ["2024-12-31 23:00:00"]
    assert series_cells("h", "ds", zurich, rows).text.to_list() == ["2025-01-01"]


def test_lists_are_refused_by_column(tmp_path) -> None:
    pl.DataFrame({"x": [[1]]}).write_parquet(tmp_path / "h.parquet")
    with pytest.raises(DataError, match=r"h.parquet, column x: found values of type List"):
        read_parquet_sheet(tmp_path / "h.parquet")


def test_rows_are_counted_as_if_there_were_a_header(tmp_path) -> None:
    pl.DataFrame({"x": [1, 2]}).write_parquet(tmp_path / "h.parquet")
    assert read_parquet_sheet(tmp_path / "h.parquet").rows.to_list() == [2, 3]
