"""Workbooks: the type of every cell survives, and nothing vanishes in silence."""

from __future__ import annotations

import zipfile
from datetime import datetime
from pathlib import Path

import openpyxl
import pytest
import xlsxwriter

from sopforecast.errors import DataError
from sopforecast.intake import book_files
from sopforecast.intake.book_files import Book
from sopforecast.intake.cells import Sheet


def written(path: Path, rows: list[list[object]], *, first_row: int = 1, **formats: str) -> Path:
    """Write rows into one sheet; ``formats`` gives number formats of columns, A="00000"."""
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "history"
    for index, row in enumerate(rows, start=first_row):
        for column, value in enumerate(row, start=1):
            cell = sheet.cell(index, column, value)
            if cell.column_letter in formats and index > first_row:
                cell.number_format = formats[cell.column_letter]
    book.save(path)
    return path


def as_excel_saves_it(path: Path, ours: bytes, theirs: bytes) -> None:
    """Replace bytes in the sheet of a workbook."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    sheet = parts["xl/worksheets/sheet1.xml"]
    assert ours in sheet
    parts["xl/worksheets/sheet1.xml"] = sheet.replace(ours, theirs)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def read(path: Path) -> Sheet:
    with Book(path) as book:
        sheet = book.read("history")
    assert sheet is not None
    return sheet


def column(sheet: Sheet, name: str) -> list[tuple[str | None, float | None, bool]]:
    (cells,) = [cells for cells in sheet.columns if cells.name == name]
    return list(zip(cells.text, cells.number, cells.dated, strict=True))


def test_numbers_texts_dates_and_booleans_are_told_apart(tmp_path) -> None:
    values = ["00123", 123, 12.5, "12.5", datetime(2025, 1, 1), datetime(2025, 1, 1, 12, 30), True]
    sheet = read(written(tmp_path / "b.xlsx", [["x"], *[[value] for value in values]]))
    assert column(sheet, "x") == [
        ("00123", None, False),
        ("123", 123.0, False),
        ("12.5", 12.5, False),
        ("12.5", None, False),
        ("2025-01-01", None, True),
        ("2025-01-01 12:30:00", None, True),
        ("TRUE", None, False),
    ]


def test_row_numbers_are_those_of_the_sheet(tmp_path) -> None:
    rows = [["x"], [1], [None], ["  "], [2]]
    sheet = read(written(tmp_path / "b.xlsx", rows, first_row=3))
    assert (sheet.header_row, sheet.rows.to_list()) == (3, [4, 7])


def test_a_format_of_zeros_shows_its_zeros(tmp_path) -> None:
    path = written(tmp_path / "b.xlsx", [["x", "y"], [123, 7], [4567890, 8]], A="00000")
    sheet = read(path)
    assert column(sheet, "x") == [("00123", 123.0, False), ("4567890", 4567890.0, False)]
    assert column(sheet, "y") == [("7", 7.0, False), ("8", 8.0, False)]


def test_numbers_beyond_the_digits_of_excel_look_as_excel_shows_them(tmp_path) -> None:
    sheet = read(written(tmp_path / "b.xlsx", [["x"], [12345678901234567], [999999999999999]]))
    texts = [text for text, _, _ in column(sheet, "x")]
    assert texts == ["1.23456789012346E+16", "999999999999999"]


def test_a_formula_nobody_calculated_is_refused_by_its_cell(tmp_path) -> None:
    path = written(tmp_path / "b.xlsx", [["x", "y"], ["A", 1], ["B", "=1+1"]])
    place = r"b.xlsx\[history\], row 3, column B: found a formula without a calculated value"
    with pytest.raises(DataError, match=place):
        read(path)


def test_calculated_formulas_are_values_and_an_empty_text_is_empty(tmp_path) -> None:
    path = tmp_path / "b.xlsx"
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet("history")
        sheet.write_row(0, 0, ["x", "y"])
        sheet.write_formula(1, 0, "=1+1", None, 2)
        sheet.write_formula(1, 1, '=IF(A2=2,"","x")', None, "")
        sheet.write_formula(2, 0, "=1/0", None, "#DIV/0!")
    as_excel_saves_it(path, b'<c r="B2"><f>', b'<c r="B2" t="str"><f>')
    sheet = read(path)
    assert column(sheet, "x") == [("2", 2.0, False), ("#DIV/0!", None, False)]
    assert [text for text, _, _ in column(sheet, "y")] == [None, None]


def test_values_under_an_empty_header_are_refused(tmp_path) -> None:
    with pytest.raises(DataError, match="row 1, column number 2: found values under an empty"):
        read(written(tmp_path / "b.xlsx", [["x"], [1, 2]]))


def test_a_sheet_without_values_is_none(tmp_path) -> None:
    with Book(written(tmp_path / "b.xlsx", [["  "]])) as book:
        assert book.read("history") is None


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\xd0\xcf\x11\xe0 old or encrypted"])
def test_what_is_no_workbook_is_refused(tmp_path, content) -> None:
    path = tmp_path / "b.xlsx"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"b.xlsx: found a file that is no workbook"):
        Book(path)


def test_other_archives_and_damaged_books_are_refused(tmp_path) -> None:
    path = tmp_path / "b.xlsx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "x")
    with pytest.raises(DataError, match="an archive with no workbook"):
        Book(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook")
    with pytest.raises(DataError, match="a damaged workbook"):
        Book(path)


def test_a_book_that_unpacks_to_an_absurd_size_is_refused(tmp_path, monkeypatch) -> None:
    path = written(tmp_path / "b.xlsx", [["x"], ["y" * 30_000]])
    monkeypatch.setattr(book_files, "LARGEST_UNPACKED", 20_000)
    with pytest.raises(DataError, match="MB once unpacked"):
        Book(path)


def test_characters_xml_cannot_hold_are_read_back(tmp_path) -> None:
    path = tmp_path / "b.xlsx"
    with xlsxwriter.Workbook(path) as book:
        book.add_worksheet("history").write_column(0, 0, ["x", "two\r\nlines"])
    texts = [text for text, _, _ in column(read(path), "x")]
    assert texts == ["two\r\nlines"]


def test_a_title_above_the_header_is_named_with_the_row_of_the_header(tmp_path) -> None:
    rows = [["Demand", None, None], [None] * 3, ["unique_id", "ds", "y"], ["A", "2025-01", 1]]
    path = written(tmp_path / "b.xlsx", rows)
    with pytest.raises(DataError, match="the header seems to be in row 3: delete the rows above"):
        read(path)
