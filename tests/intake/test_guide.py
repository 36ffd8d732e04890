"""The guide says something of every column, and its examples load."""

from __future__ import annotations

from datetime import date

import openpyxl
import polars as pl
import pytest

from sopforecast.intake.files import ReadOptions, read_table
from sopforecast.intake.guide import (
    ACROSS_EXAMPLE,
    COLUMN_TEXTS,
    LONG_EXAMPLE,
    OVERRIDES_EXAMPLE,
    REQUIRED,
)
from sopforecast.intake.take_in import SET_BY_LOAD, TABLES
from sopforecast.intake.workbook import write_workbook


@pytest.mark.parametrize("table", TABLES)
def test_every_column_of_a_table_is_explained(table) -> None:
    assert set(COLUMN_TEXTS[table]) == set(TABLES[table].columns()) - set(SET_BY_LOAD)
    assert set(REQUIRED[table]) <= set(COLUMN_TEXTS[table])


@pytest.mark.parametrize(("example", "rows"), [(LONG_EXAMPLE, 3), (ACROSS_EXAMPLE, 5)])
def test_the_examples_load_as_they_stand(tmp_path, example, rows) -> None:
    path = tmp_path / "history.csv"
    path.write_text("\n".join(",".join(row) for row in example) + "\n")
    options, today = ReadOptions(), date(2026, 11, 22)
    assert read_table(path, table="history", options=options, today=today).frame.height == rows


def test_the_example_of_overrides_loads_as_it_stands(tmp_path) -> None:
    path = tmp_path / "overrides.csv"
    path.write_text("\n".join(",".join(row) for row in OVERRIDES_EXAMPLE) + "\n")
    known = pl.DataFrame(
        {"unique_id": ["00417", "00982"], "ds": [date(2026, 10, 1)] * 2, "y": [1.0, 2.0]}
    )
    today = date(2026, 11, 22)
    read = read_table(path, table="overrides", options=ReadOptions(), today=today, known=known)
    assert read.frame.sort("override_id")["value"].to_list() == [15.0, 400.0]


def test_the_guide_names_the_file_and_the_columns(tmp_path) -> None:
    path = write_workbook(tmp_path / "acme.xlsx", levels=("family",))
    guide = openpyxl.load_workbook(path)["Guide"]
    texts = {str(cell.value) for row in guide.iter_rows() for cell in row if cell.value}
    assert any("sopforecast load acme.xlsx" in text for text in texts)
    assert {"unique_id", "ds", "y", "family", "stockout_days"} <= texts
