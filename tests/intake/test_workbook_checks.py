"""What Excel checks while a cell is typed: one check a column, in words it has room for."""

from __future__ import annotations

import pytest

from sopforecast.intake.take_in import TABLES
from sopforecast.intake.workbook_checks import cell_check, column_letter


@pytest.mark.parametrize(("index", "letters"), [(0, "A"), (25, "Z"), (26, "AA"), (53, "BB")])
def test_columns_have_the_letters_of_excel(index, letters) -> None:
    assert column_letter(index) == letters


@pytest.mark.parametrize("table", TABLES)
def test_excel_takes_every_check(table) -> None:
    tables = {name: schema.columns() for name, schema in TABLES.items()}
    for name in tables[table]:
        check = cell_check(table, name, tables) or {"error_title": "", "error_message": ""}
        assert len(check["error_title"]) <= 32
        assert len(check["error_message"]) <= 255


def test_names_are_offered_only_from_sheets_of_the_book() -> None:
    tables = {name: TABLES[name].columns() for name in ("studies", "sites", "cohorts")}
    offered = cell_check("sites", "study", tables)
    assert offered is not None
    assert offered["source"] == "=studies!$A$2:$A$5000"
    assert cell_check("cohorts", "cohort", tables) is None
    assert cell_check("sites", "study", {"sites": tables["sites"]}) is None
