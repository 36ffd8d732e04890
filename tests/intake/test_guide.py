"""The guide says something of every column, and its examples load."""

from __future__ import annotations

from datetime import date

import openpyxl
import polars as pl
import pytest

from sopforecast.intake.files import ReadOptions, read_table
from sopforecast.intake.guide import COLUMN_TEXTS, GUIDES, REQUIRED
from sopforecast.intake.guide_clinical import EXAMPLES
from sopforecast.intake.guide_texts import ACROSS_EXAMPLE, LONG_EXAMPLE, OVERRIDES_EXAMPLE
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


def test_the_clinical_examples_load_as_they_stand(new_clinic) -> None:
    for table, example in EXAMPLES.items():
        rows = [",".join(row) for row in example]
        read = new_clinic.read(table, "\n".join(rows) + "\n")
        assert read.frame.height == len(example) - 1
    shown = [example for _, example in GUIDES["clinical"].examples]
    assert shown == list(EXAMPLES.values())


def test_the_clinical_guide_speaks_to_the_clinic(tmp_path) -> None:
    path = write_workbook(tmp_path / "trial.xlsx", variant="clinical")
    guide = openpyxl.load_workbook(path)["Guide"]
    texts = [str(cell.value) for row in guide.iter_rows() for cell in row if cell.value]
    assert texts[0] == "Your study in sopforecast"
    assert any("sopforecast load trial.xlsx" in text for text in texts)
    for table in ("schedule", "items"):
        assert texts[texts.index(f"Sheet {table}") + 1].startswith("For the supply planner")
    assert all(text.isascii() for text in texts)
