"""The empty workbook: what it holds, what it checks, and that a filled one loads."""

from __future__ import annotations

from datetime import date, datetime

import openpyxl
import pytest

from sopforecast.core.clinical_tables import Enrolment, Sites, TierLines
from sopforecast.core.evidence_tables import Overrides, Prices
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
    assert "no rows below the header of items, history, overrides, prices" in str(caught.value)


def test_sheets_have_the_columns_of_the_tables(path) -> None:
    book = openpyxl.load_workbook(path)
    assert book.sheetnames == ["Guide", "items", "history", "overrides", "prices"]
    items = [cell.value for cell in book["items"][1]]
    assert sorted(items) == sorted([*Items.columns(), *LEVELS])
    assert items[2:4] == list(LEVELS)
    assert [cell.value for cell in book["history"][1]] == list(History.columns())[:-1]
    assert [cell.value for cell in book["overrides"][1]] == list(Overrides.columns())
    assert [cell.value for cell in book["prices"][1]] == list(Prices.columns())


def test_every_header_explains_itself(path) -> None:
    book = openpyxl.load_workbook(path)
    for sheet in (book["items"], book["history"], book["overrides"], book["prices"]):
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


def test_overrides_and_prices_are_judged_by_the_other_sheets_of_the_book(path) -> None:
    book = openpyxl.load_workbook(path)
    book["items"].append(["00417", None, "Oncology", "EU"])
    book["history"].append(["00417", datetime(2026, 10, 1), 120])
    book["prices"].append(["00417", datetime(2026, 1, 1), "EUR", 2.5])
    said = {
        "override_id": "S1", "node": "family=Oncology", "ds_from": datetime(2026, 12, 1),
        "kind": "absolute", "measure": "revenue", "value": 900, "source": "sales",
        "owner": "Ann", "reason": "tender",
    }  # fmt: skip
    book["overrides"].append([said.get(name) for name in Overrides.columns()])
    book.save(path)
    options = ReadOptions(levels=LEVELS, level_labels=("family", "region"))
    tables = {
        table.table: table.frame for table in read_workbook(path, options=options, today=TODAY)
    }
    assert list(tables) == ["items", "history", "prices", "overrides"]
    (row,) = tables["overrides"].to_dicts()
    assert (row["node"], row["entered_cycle"]) == ("family=Oncology", date(2026, 11, 1))
    book["items"]["D2"] = None  # no region: what is wrong with overrides then is not known yet
    book.save(path)
    with pytest.raises(DataError) as caught:
        read_workbook(path, options=options, today=TODAY)
    assert {problem.file for problem in caught.value.problems} == {"planner.xlsx[items]"}
    book["items"]["D2"] = "EU"
    book["prices"].delete_rows(2)
    book.save(path)
    with pytest.raises(DataError, match=r"overrides\], row 2, column measure.* of 00417;"):
        read_workbook(path, options=options, today=TODAY)


def test_what_a_cell_of_an_override_may_hold_is_checked_while_typing(path) -> None:
    sheet = openpyxl.load_workbook(path)["overrides"]
    letters = {cell.value: cell.column_letter for cell in sheet[1]}
    rules = {str(rule.sqref)[0]: rule for rule in sheet.data_validations.dataValidation}
    value, share = rules[letters["value"]], rules[letters["probability"]]
    assert float(value.formula1) < -1e6  # a delta may be negative
    assert (float(share.formula1), float(share.formula2)) == (0, 1)
    assert float(rules[letters["confidence"]].formula2) == 1
    assert rules[letters["kind"]].formula1 == '"absolute,delta,percent"'


def test_shipments_may_fill_the_place_of_y(path) -> None:
    book = openpyxl.load_workbook(path)
    book["history"].append(["A", "2025-01", None, 10, 4])
    book["history"].append(["A", "2025-02", None, 10, 1])
    book.save(path)
    (history,) = read_workbook(path, options=ReadOptions(), today=TODAY)
    assert history.frame["y"].to_list() == [10.0, 7.0]


@pytest.mark.parametrize(
    ("name", "variant", "words"),
    [("a.xlsx", "plan", "allowed: planner, clinical"), ("a.csv", "planner", "allowed: .xlsx")],
)
def test_unknown_variants_and_names_are_refused(tmp_path, name, variant, words) -> None:
    with pytest.raises(RequestError, match=words):
        write_workbook(tmp_path / name, variant=variant)


def test_the_same_workbook_has_the_same_bytes(tmp_path, path) -> None:
    (tmp_path / "again").mkdir()
    again = write_workbook(tmp_path / "again" / "planner.xlsx", levels=LEVELS)
    assert again.read_bytes() == path.read_bytes()


@pytest.fixture
def clinical(tmp_path):
    return write_workbook(tmp_path / "clinical.xlsx", variant="clinical")


def test_the_clinical_workbook_begins_with_what_is_filled_first(clinical) -> None:
    book = openpyxl.load_workbook(clinical)
    assert book.sheetnames == [
        "Guide", "studies", "sites", "enrolment", "cohorts", "study_events", "tier_lines",
        "enrolment_plan", "schedule", "items",
    ]  # fmt: skip
    assert [cell.value for cell in book["enrolment"][1]] == list(Enrolment.columns())
    grey = [sheet.title for sheet in book if sheet.sheet_properties.tabColor is not None]
    assert grey == ["schedule", "items"]


def test_nobody_in_the_clinic_needs_an_item_code(clinical) -> None:
    book = openpyxl.load_workbook(clinical)
    for sheet in book.worksheets[1:-2]:
        headers = [cell.value for cell in sheet[1]]
        assert "unique_id" not in headers
        assert all(len(cell.comment.text) > 20 for cell in sheet[1])
    headers = [cell.value for cell in book["tier_lines"][1]]
    assert headers == [n for n in TierLines.columns() if n not in ("account", "unique_id")]


def test_an_untouched_clinical_workbook_has_nothing_to_load(clinical) -> None:
    with pytest.raises(DataError, match=r"clinical.xlsx: found nothing to load") as caught:
        read_workbook(clinical, options=OPTIONS, today=TODAY)
    assert "header of studies, sites, enrolment, cohorts" in str(caught.value)


def test_days_shares_and_names_are_checked_while_typing(clinical) -> None:
    book = openpyxl.load_workbook(clinical)

    def checks(name: str) -> dict[str, object]:
        sheet = book[name]
        letters = {cell.column_letter: cell.value for cell in sheet[1]}
        rules = sheet.data_validations.dataValidation
        found = {letters[str(rule.sqref).split("2:")[0]]: rule for rule in rules}
        assert len(found) == len(rules)  # two checks of one cell would damage the book
        return found

    sites = checks("sites")
    assert sites["planned_activation_date"].type == "date"
    assert float(sites["slip_days_low"].formula1) < 0
    share = sites["activation_probability"]
    assert (float(share.formula1), float(share.formula2)) == (0, 1)
    assert sites["study"].formula1 == "studies!$A$2:$A$5000"
    assert sites["study"].errorStyle == "warning"
    assert checks("enrolment")["site"].formula1 == "sites!$B$2:$B$5000"
    assert checks("enrolment")["ds"].type == "custom"
    assert float(checks("study_events")["low"].formula1) == 0
    assert checks("schedule")["month_offset"].type == "whole"
    assert checks("schedule")["unique_id"].formula1 == "items!$A$2:$A$5000"
    assert checks("tier_lines")["tier"].formula1 == '"committed,highly_probable,pipeline"'


def fill(path) -> openpyxl.Workbook:
    """What a clinical person types, and the supply planner after her."""
    book = openpyxl.load_workbook(path)
    book["studies"].append(["ABC-1", 120])
    site = dict.fromkeys(Sites.columns()) | {"study": "ABC-1", "country": "DE"}
    opened = {"site": "S1", "activated_date": datetime(2026, 2, 3)}
    planned = {"site": "S7", "planned_activation_date": datetime(2027, 1, 10), "slip_days_low": 0}
    planned |= {"slip_days_high": 60, "activation_probability": 0.9}
    for row in (opened, planned):
        book["sites"].append(list((site | row).values()))
    book["enrolment"].append([None, "S1", None, datetime(2026, 9, 1), 6, 2, 3])
    book["enrolment"].append([None, "S1", None, "2026-10", 4, 1, 4])
    book["tier_lines"].append(["P-1", None, "S1", None, "highly probable"])
    book["schedule"].append(["ABC-1", None, None, None, None, None, "KIT-1", 1])
    book["items"].append(["KIT-1", "Starter kit"])
    book.save(path)
    return book


def test_a_filled_clinical_workbook_loads(clinical) -> None:
    fill(clinical)
    tables = {t.table: t for t in read_workbook(clinical, options=ReadOptions(), today=TODAY)}
    assert list(tables) == ["items", "studies", "sites", "enrolment", "schedule", "tier_lines"]
    assert tables["enrolment"].frame["study"].to_list() == ["ABC-1"] * 2
    assert tables["sites"].frame["activated_date"].to_list() == [date(2026, 2, 3), None]
    assert tables["tier_lines"].frame["tier"].to_list() == ["highly_probable"]


def test_sheets_are_judged_by_those_before_and_wait_for_them(clinical) -> None:
    book = fill(clinical)
    book["sites"]["G3"] = 90  # a low above its high: what is wrong with patients waits for it
    book["enrolment"]["B2"] = "S9"
    book["items"]["A2"] = "KIT-2"
    book.save(clinical)
    with pytest.raises(DataError) as caught:
        read_workbook(clinical, options=ReadOptions(), today=TODAY)
    assert [(p.file, p.row, p.column) for p in caught.value.problems] == [
        ("clinical.xlsx[sites]", 3, "slip_days_low"),
        ("clinical.xlsx[schedule]", 2, "unique_id"),
    ]
    book["sites"]["G3"] = 0
    book["items"]["A2"] = "KIT-1"
    book.save(clinical)
    with pytest.raises(DataError) as caught:
        read_workbook(clinical, options=ReadOptions(), today=TODAY)
    (problem,) = caught.value.problems
    assert (problem.file, problem.row, problem.column) == ("clinical.xlsx[enrolment]", 2, "site")


def test_the_same_clinical_workbook_has_the_same_bytes(tmp_path, clinical) -> None:
    (tmp_path / "again").mkdir()
    again = write_workbook(tmp_path / "again" / "clinical.xlsx", variant="clinical")
    assert again.read_bytes() == clinical.read_bytes()
