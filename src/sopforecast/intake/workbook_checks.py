"""What Excel checks while a cell of the workbook is typed; the load checks all of it again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import dataframely as dy

from sopforecast.core.clinical_tables import CLINICAL_TABLES
from sopforecast.intake.parse import LONGEST_ID
from sopforecast.intake.parse_dates import FIRST_DAY, LAST_DAY

BELOW_ZERO = ("one_off", "value", "low", "high", "slip_days_low", "slip_days_high")
# Where the names stand that other sheets repeat: offered while typing, not demanded.
NAMED_IN = {"study": "studies", "site": "sites", "cohort": "cohorts", "unique_id": "items"}


def cell_check(
    table: str, name: str, tables: Mapping[str, Mapping[str, dy.Column]]
) -> dict[str, Any] | None:
    """Return the check of a column as xlsxwriter takes it, None when anything may be typed.

    Parameters
    ----------
    table, name : str
        Sheet and column.
    tables : Mapping
        Columns of every sheet of the book: names are offered from where they stand.
    """
    home = NAMED_IN.get(name, table)
    if table in CLINICAL_TABLES and home in tables and home != table:
        return _offer(name, home, column_letter(list(tables[home]).index(name)))
    column = tables[table][name]
    if isinstance(column, dy.Enum):
        return {
            "validate": "list",
            "source": list(column.categories),
            "error_title": name,
            "error_message": "Choose one of the list, or leave the cell empty.",
        }
    if isinstance(column, dy.Date):
        return _date_check(name, column, list(tables[table]).index(name))
    if isinstance(column, dy.Float64):
        return _number_check(name, column)
    words = f"An id has 1 to {LONGEST_ID} characters."
    check = _between("length", 1, LONGEST_ID, name, words) if name == "unique_id" else None
    if isinstance(column, dy.Int64):
        words = f"A whole number from {column.min} to {column.max}."
        check = _between("integer", column.min, column.max, name, words)
    return check


def column_letter(index: int) -> str:
    """The letters of a column of a sheet: 0 is A, 26 is AA."""
    tens, ones = divmod(index, 26)
    return (chr(ord("A") + tens - 1) if tens else "") + chr(ord("A") + ones)


def _between(
    kind: str, least: float | date | None, most: float | date | None, name: str, words: str
) -> dict[str, Any]:
    return {
        "validate": kind,
        "criteria": "between",
        "minimum": least,
        "maximum": most,
        "error_title": name,
        "error_message": words,
    }


def _offer(name: str, home: str, letter: str) -> dict[str, Any]:
    """Offer the names of another sheet; one that is loaded already may be typed all the same."""
    return {
        "validate": "list",
        "source": f"={home}!${letter}$2:${letter}$5000",
        "error_type": "warning",
        "error_title": name,
        "error_message": f"It is not in the sheet {home}. Go on if it is loaded already.",
    }


def _date_check(name: str, column: dy.Date, index: int) -> dict[str, Any]:
    if column.resolution is None:
        return _between("date", FIRST_DAY, LAST_DAY, name, "A day: type it as 2026-05-31.")
    cell = f"{column_letter(index)}2"
    return {
        "validate": "custom",
        "value": f"=AND(ISNUMBER({cell}),DAY({cell})=1,YEAR({cell})>=1950)",
        "error_title": name,
        "error_message": "A month: type it as 2025-01, or as its first day 2025-01-01.",
    }


def _number_check(name: str, column: dy.Float64) -> dict[str, Any]:
    lowest = -1e13 if name in BELOW_ZERO and column.min is None else 0.0
    limit = column.max if column.max is not None else column.max_exclusive
    highest = float(limit) if limit is not None else 1e13
    words = f"A number from {lowest:g} to {highest:g}" if highest < 1e13 else "A number"
    if lowest == 0.0 and highest == 1e13:
        words = "A number of 0 or more"
    if highest == 1.0 and column.max is not None:
        words += ", such as 0.35 or 35%"
    message = f"{words}; leave the cell empty when it is unknown."
    if name in ("y", "shipped"):
        message += " Below zero only when your settings net returns (negative = 'net')."
    return _between("decimal", lowest, highest, name, message) | {
        "error_type": "warning" if name in ("y", "shipped") else "stop"
    }
