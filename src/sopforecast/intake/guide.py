"""The guide sheet of a workbook: how to fill it, what each column holds, examples to copy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dataframely as dy

from sopforecast.intake import guide_clinical, guide_texts
from sopforecast.intake.guide_texts import Guide

REQUIRED: Mapping[str, tuple[str, ...]] = {**guide_texts.REQUIRED, **guide_clinical.REQUIRED}
COLUMN_TEXTS: Mapping[str, Mapping[str, str]] = {
    **guide_texts.COLUMN_TEXTS,
    **guide_clinical.COLUMN_TEXTS,
}
GUIDES: Mapping[str, Guide] = {
    "planner": guide_texts.PLANNER,
    "clinical": guide_clinical.CLINIC,
}
LEVEL_TEXT = "Level column: the {level} of the item. Every item needs one."
LAST_COLUMN = 9


def write_guide(
    book: Any,
    *,
    tables: Mapping[str, Mapping[str, dy.Column]],
    levels: Sequence[str],
    name: str,
    variant: str = "planner",
) -> None:
    """Write the guide as the first sheet of an xlsxwriter book.

    Parameters
    ----------
    book : xlsxwriter.Workbook
        Open book; the sheet is added to it.
    tables : Mapping
        Columns of each table sheet.
    levels : sequence of str
        Level columns.
    name : str
        File name, for the command to type.
    variant : {"planner", "clinical"}
        For whom.
    """
    guide = GUIDES[variant]
    sheet = book.add_worksheet("Guide")
    sheet.hide_gridlines(2)
    sheet.set_column(0, 0, 3)
    sheet.set_column(1, 1, 22)
    sheet.set_column(2, 2, 13)
    for column in range(3, LAST_COLUMN):
        sheet.set_column(column, column, max(11, _longest(guide, column)))
    sheet.set_column(LAST_COLUMN, LAST_COLUMN, 40)
    sheet.set_landscape()
    sheet.set_paper(9)
    sheet.fit_to_pages(1, 0)
    style = _styles(book)
    sheet.set_row(0, 30)
    sheet.write_string(0, 1, guide.title, style["title"])
    row = _write_lines(
        sheet, 2, [step.format(name=name) for step in guide.steps], style, numbered=True
    )
    row = _write_heading(sheet, row + 1, "Good to know", style)
    row = _write_lines(sheet, row, guide.rules, style, numbered=False)
    for table, columns in tables.items():
        row = _write_heading(sheet, row + 1, f"Sheet {table}", style)
        sheet.write_string(row, 1, guide.purpose[table], style["text"])
        row = _write_columns(sheet, row + 1, table, columns, style)
    row = _write_heading(sheet, row + 1, "Examples (to look at: nothing here is loaded)", style)
    for number, (text, example) in enumerate(guide.examples):
        row = _write_example(sheet, row + (number > 0), text, example, style)
    if guide.without_levels and not levels:
        sheet.write_string(row + 1, 1, guide.without_levels, style["text"])


def _longest(guide: Guide, column: int) -> int:
    """Characters of the longest cell that examples have in a column of the sheet, and two more."""
    rows = [row for _, example in guide.examples for row in example]
    return max((len(row[column - 1]) + 2 for row in rows if len(row) >= column), default=0)


def _styles(book: Any) -> dict[str, Any]:
    return {
        "title": book.add_format({"bold": True, "font_size": 18, "font_color": "#1F3A5F"}),
        "heading": book.add_format(
            {"bold": True, "font_size": 12, "font_color": "#1F3A5F", "bottom": 1}
        ),
        "text": book.add_format({"valign": "top"}),
        "wrapped": book.add_format({"valign": "top", "text_wrap": True}),
        "name": book.add_format({"bold": True, "valign": "top"}),
        "head": book.add_format({"bold": True, "font_color": "#FFFFFF", "bg_color": "#5B7FA6"}),
        "cell": book.add_format({"border": 1, "border_color": "#C5CFDB", "num_format": "@"}),
    }


def _write_lines(
    sheet: Any, row: int, lines: Sequence[str], style: Mapping[str, Any], *, numbered: bool
) -> int:
    for index, line in enumerate(lines, start=1):
        sheet.write_string(row, 0, f"{index}." if numbered else "-", style["text"])
        sheet.write_string(row, 1, line, style["text"])
        row += 1
    return row


def _write_heading(sheet: Any, row: int, text: str, style: Mapping[str, Any]) -> int:
    for column in range(1, LAST_COLUMN + 1):
        sheet.write_blank(row, column, None, style["heading"])
    sheet.write_string(row, 1, text, style["heading"])
    return row + 1


def _write_columns(
    sheet: Any,
    row: int,
    table: str,
    columns: Mapping[str, dy.Column],
    style: Mapping[str, Any],
) -> int:
    for name in columns:
        is_level = name not in COLUMN_TEXTS[table]
        needed = is_level or name in REQUIRED[table]
        text = LEVEL_TEXT.format(level=name) if is_level else COLUMN_TEXTS[table][name]
        sheet.write_string(row, 1, name, style["name"])
        sheet.write_string(row, 2, "needed" if needed else "optional", style["text"])
        sheet.write_string(row, 3, text, style["text"])
        row += 1
    return row


def _write_example(
    sheet: Any, row: int, text: str, example: Sequence[Sequence[str]], style: Mapping[str, Any]
) -> int:
    sheet.write_string(row, 1, text, style["text"])
    for index, values in enumerate(example):
        for column, value in enumerate(values, start=1):
            kind = style["head"] if index == 0 else style["cell"]
            sheet.write_string(row + 1 + index, column, value, kind)
    return row + 1 + len(example)
