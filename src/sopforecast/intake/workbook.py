"""The empty workbook a planner fills: one sheet a table, and a guide in front.

The sheets have the columns of the tables; each header explains itself in a comment, the cells
check what is typed, ids are text so that Excel keeps their zeros, and examples stand on the guide
only, so that an untouched workbook loads nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dataframely as dy

from sopforecast.errors import RequestError
from sopforecast.intake.exports import FIXED_DATE, PLAIN_BOOK, written_whole
from sopforecast.intake.guide import COLUMN_TEXTS, LEVEL_TEXT, REQUIRED, write_guide
from sopforecast.intake.guide_clinical import FOR_THE_PLANNER, LEFT_OUT
from sopforecast.intake.take_in import SET_BY_LOAD, TABLES
from sopforecast.intake.workbook_checks import cell_check, column_letter

VARIANTS: Mapping[str, tuple[str, ...]] = {
    "planner": ("items", "history", "overrides", "prices"),
    "clinical": (
        "studies",
        "sites",
        "enrolment",
        "cohorts",
        "study_events",
        "tier_lines",
        "enrolment_plan",
        "schedule",
        "items",
    ),
}
LAST_ROW = 1_048_575
WIDTHS = {"unique_id": 24, "description": 34, "note": 40, "ds": 12, "y": 12, "node": 28}
_NAVY, _BLUE, _WHITE, _GREY = "#1F3A5F", "#5B7FA6", "#FFFFFF", "#A6A6A6"


@dataclass(frozen=True)
class _Formats:
    """Cell formats of one book."""

    required: Any
    optional: Any
    text: Any
    month: Any
    day: Any
    number: Any


def write_workbook(
    path: Path | str, *, variant: str = "planner", levels: Sequence[str] = ()
) -> Path:
    """Write the empty workbook.

    Parameters
    ----------
    path : path
        Target, ending in .xlsx; an existing file is replaced.
    variant : {"planner", "clinical"}
        Which tables get a sheet.
    levels : sequence of str
        Level columns, added to the items sheet.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    RequestError
        When the variant is unknown or the file cannot be written.
    """
    import xlsxwriter

    path = Path(path)
    if variant not in VARIANTS:
        raise RequestError(f"workbook: found variant {variant!r}; allowed: {', '.join(VARIANTS)}")
    if path.suffix.lower() != ".xlsx":
        raise RequestError(f"{path.name}: found {path.suffix!r}; allowed: .xlsx; name it so")
    with written_whole(path) as part, xlsxwriter.Workbook(part, PLAIN_BOOK) as book:
        book.set_properties({"title": "sopforecast workbook", "created": FIXED_DATE})
        formats = _formats(book)
        left_out = LEFT_OUT if variant == "clinical" else {}
        tables = {
            table: _columns(table, levels, left_out.get(table, ())) for table in VARIANTS[variant]
        }
        write_guide(book, tables=tables, levels=levels, name=path.name, variant=variant)
        for table in tables:
            sheet = book.add_worksheet(table)
            if variant == "clinical" and table in FOR_THE_PLANNER:
                sheet.set_tab_color(_GREY)
            _write_sheet(sheet, table, tables, formats)
    return path


def _columns(
    table: str, levels: Sequence[str], left_out: Sequence[str] = ()
) -> dict[str, dy.Column]:
    """Return the columns of a sheet; level columns come right after the description."""
    columns: dict[str, dy.Column] = {}
    for name, column in TABLES[table].columns().items():
        if name in SET_BY_LOAD or name in left_out:
            continue
        columns[name] = column
        if table == "items" and name == "description":
            columns |= {level: dy.String() for level in levels}
    return columns


def _formats(book: Any) -> _Formats:
    header = {"bold": True, "font_color": _WHITE, "valign": "vcenter", "indent": 1, "border": 1}
    return _Formats(
        required=book.add_format(header | {"bg_color": _NAVY, "border_color": _WHITE}),
        optional=book.add_format(header | {"bg_color": _BLUE, "border_color": _WHITE}),
        text=book.add_format({"num_format": "@"}),
        month=book.add_format({"num_format": "yyyy-mm", "align": "left"}),
        day=book.add_format({"num_format": "yyyy-mm-dd", "align": "left"}),
        number=book.add_format({"num_format": "#,##0.###"}),
    )


def _write_sheet(
    sheet: Any, table: str, tables: Mapping[str, Mapping[str, dy.Column]], formats: _Formats
) -> None:
    sheet.set_row(0, 22)
    sheet.freeze_panes(1, 1)
    sheet.set_landscape()
    sheet.fit_to_pages(1, 0)
    sheet.repeat_rows(0)
    for index, (name, column) in enumerate(tables[table].items()):
        is_level = name not in COLUMN_TEXTS[table]
        is_required = is_level or name in REQUIRED[table]
        text = LEVEL_TEXT.format(level=name) if is_level else COLUMN_TEXTS[table][name]
        header_format = formats.required if is_required else formats.optional
        sheet.set_column(
            index, index, WIDTHS.get(name, max(len(name) + 4, 14)), _cell_format(column, formats)
        )
        sheet.write_string(0, index, name, header_format)
        need = "Needed." if is_required else "May stay empty."
        sheet.write_comment(
            0, index, f"{text}\n{need}", {"x_scale": 2, "y_scale": 1.2, "author": "sopforecast"}
        )
        check = cell_check(table, name, tables)
        if check is not None:
            sheet.data_validation(1, index, LAST_ROW, index, check)
    last = column_letter(len(tables[table]) - 1)
    sheet.ignore_errors({"number_stored_as_text": f"A2:{last}{LAST_ROW + 1}"})


def _cell_format(column: dy.Column, formats: _Formats) -> Any:
    if isinstance(column, dy.Date):
        return formats.month if column.resolution is not None else formats.day
    if isinstance(column, dy.Float64 | dy.Int64):
        return formats.number
    return formats.text
