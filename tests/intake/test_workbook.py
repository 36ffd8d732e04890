"""The empty workbook: what it holds, what it checks, and that a filled one loads."""

from __future__ import annotations

from datetime import date, datetime

import openpyxl
import pytest

from sopforecast.core.tables import ITEM_STATUSES, History, Items
from sopforecast.errors import DataError, RequestError
from sopforecast.intake.files import ReadOptions, read_workbook
from sopforecast.intake.workbook import write_workbook

TODAY = date(2026, 11, 22)
LEVELS = ("family", "region")
OPTIONS = ReadOptions(levels=LEVELS)


@pytest.fixture
def path(tmp_path):
    return write_workbook(tmp_path / "planner.xlsx", levels=LEVELS)


def test_an_untouched_workbook_has_nothing_to_load(path) -> None:
    with pytest.raises(DataError, match=r"planner.xlsx: found nothing to load") as caught:
        read_workbook(path, options=OPTIONS, today=TODAY)
    assert "no rows below the header of items and history" in str(caught.value)


def test_sheets_have_the_columns_of_the_tables(path) -> None:
    book = openpyxl.load_workbook(path)
    assert book.sheetnames == ["Guide", "items", "history"]
    items = [cell.value for cell in book["items"][1]]
    assert sorted(items) == sorted([*Items.columns(), *LEVELS])
    assert items[2:4] == list(LEVELS)
    assert [cell.value for cell in book["history"][1]] == list(History.columns())[:-1]


def test_every_header_explains_itself(path) -> None:
    book = openpyxl.load_workbook(path)
    for sheet in (book["items"], book["history"]):
        assert all(len(cell.comment.text) > 20 for cell in sheet[1])
        assert sheet.freeze_panes == "B2"
    needed = [cell.value for cell in book["items"][1] if "Needed." in cell.comment.text]
    assert needed == ["unique_id", *LEVELS]


def test_ids_are_text_and_months_are_checked(path) -> None:
    book = openpyxl.load_workbook(path)
    history = book["history"]
    assert history.column_dimensions["A"].number_format == "@"
    rules = {str(rule.sqref): rule for rule in history.data_validations.dataValidation}
    assert rules["B2:B1048576"].formula1 == "AND(ISNUMBER(B2),DAY(B2)=1,YEAR(B2)>=1950)"
    assert rules["C2:C1048576"].errorStyle == "warning"
    days = rules["F2:F1048576"]
    assert (float(days.formula1), float(days.formula2)) == (0, 31)
    statuses = [rule.formula1 for rule in book["items"].data_validations.dataValidation]
    assert f'"{",".join(ITEM_STATUSES)}"' in statuses


def test_a_filled_workbook_loads(path) -> None:
    book = openpyxl.load_workbook(path)
    book["items"].append(
        ["00417", "Vial", "Oncology", "EU", "vial", "active", datetime(2025, 1, 1)]
    )
    book["history"].append(["00417", datetime(2025, 1, 1), 120])
    book["history"].append(["00417", "2025-02", 135.5, None, None, 6])
    book.save(path)
    items, history = read_workbook(path, options=OPTIONS, today=TODAY)
    assert items.frame.row(0, named=True)["launch_ds"] == date(2025, 1, 1)
    assert history.frame["unique_id"].to_list() == ["00417", "00417"]
    assert history.frame["y"].to_list() == [120.0, 135.5]
    assert history.frame["stockout_days"].to_list() == [None, 6.0]


def test_shipments_may_fill_the_place_of_y(path) -> None:
    book = openpyxl.load_workbook(path)
    book["history"].append(["A", "2025-01", None, 10, 4])
    book["history"].append(["A", "2025-02", None, 10, 1])
    book.save(path)
    (history,) = read_workbook(path, options=ReadOptions(), today=TODAY)
    assert history.frame["y"].to_list() == [10.0, 7.0]


@pytest.mark.parametrize(
    ("name", "variant", "words"),
    [("a.xlsx", "plan", "allowed: planner"), ("a.csv", "planner", "allowed: .xlsx")],
)
def test_unknown_variants_and_names_are_refused(tmp_path, name, variant, words) -> None:
    with pytest.raises(RequestError, match=words):
        write_workbook(tmp_path / name, variant=variant)


def test_the_same_workbook_has_the_same_bytes(tmp_path, path) -> None:
    (tmp_path / "again").mkdir()
    again = write_workbook(tmp_path / "again" / "planner.xlsx", levels=LEVELS)
    assert again.read_bytes() == path.read_bytes()
