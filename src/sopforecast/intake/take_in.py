"""From a raw sheet to one checked table: headers, shape, rules, notes, in that order.

This is the order of `take_in`: match the headers, parse every cell, bring the rows into shape, look
at the rules that need whole rows, and only then either return the frame or raise every problem.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import dataframely as dy
import polars as pl

from sopforecast.core.clinical_tables import CLINICAL_TABLES
from sopforecast.core.evidence_tables import Overrides, Prices
from sopforecast.core.months import add_months
from sopforecast.core.tables import History, Items
from sopforecast.errors import DataError, Problem, RequestError
from sopforecast.intake import demand, rules
from sopforecast.intake.against import Intake, ReadOptions
from sopforecast.intake.cells import Sheet
from sopforecast.intake.clinical import check_clinical, clinical_layout
from sopforecast.intake.clinical_columns import NAMES, signed_columns
from sopforecast.intake.headers import Layout, Matched, match_headers, plain_name
from sopforecast.intake.loaded_back import without_bookkeeping
from sopforecast.intake.overrides import check_overrides, override_columns, override_layout
from sopforecast.intake.parse import KNOWN_AT, ParseOptions
from sopforecast.intake.percents import Signs, without_signs
from sopforecast.intake.prices import check_prices, price_layout
from sopforecast.intake.shapes import Shaped, shape_across, shape_long, sum_lines

# In the order in which the sheets of a workbook are read: each is checked against those before.
TABLES: Mapping[str, type[dy.Schema]] = {
    "items": Items,
    "history": History,
    "prices": Prices,
    "overrides": Overrides,
    **CLINICAL_TABLES,
}
SET_BY_LOAD = ("partial",)
MONTHS_AHEAD = 120


@dataclass(frozen=True)
class ParsedTable:
    """One table of a file, checked.

    Attributes
    ----------
    table : str
        One of ``TABLES``.
    frame : DataFrame
        The schema's columns, for items the level columns after them, and last ``known_at``
        (Datetime, UTC) when the file has it; sorted by key.
    notes : tuple of str
        What was assumed, for the person who loads.
    given : tuple of str
        Columns of the frame that the file had; the others are null throughout (or computed).
    file : str
        ``history.csv`` or ``book.xlsx[history]``.
    """

    table: str
    frame: pl.DataFrame
    notes: tuple[str, ...] = ()
    given: tuple[str, ...] = ()
    file: str = ""

    @property
    def partial(self) -> pl.DataFrame:
        """Rows of history after the last complete month."""
        return self.frame.filter("partial") if "partial" in self.frame.columns else self.frame[:0]


def take_in(sheet: Sheet, *, table: str, intake: Intake) -> ParsedTable:
    """Turn a sheet into a table.

    Raises
    ------
    DataError
        With every problem of the header, or else of the rows.
    RequestError
        When settings contradict the tables.
    """
    columns = _columns(table, intake.options)
    sheet = without_bookkeeping(
        sheet, mapping=intake.options.columns.get(table, {}), levels=intake.options.levels
    )
    matched = match_headers(sheet, _layout(sheet, table, columns, intake))
    if matched.problems:
        raise DataError(matched.problems)
    if sheet.rows.is_empty():
        raise DataError([_no_rows(sheet)])
    bare, signs = _without_signs(matched, table)
    shaped = _shape(sheet, bare, columns, intake, table)
    place = rules.Place(sheet.file, shaped.headers)
    if table == "history":
        frame, problems, notes = _check_history(sheet, shaped, intake, place)
    elif table == "items":
        frame, problems, notes = _check_items(shaped, intake, place)
    elif table == "prices":
        frame, problems, notes = check_prices(shaped, intake, place)
    elif table in CLINICAL_TABLES:
        frame, problems, notes = check_clinical(shaped, signs, table, intake, place)
    else:
        frame, problems, notes = check_overrides(shaped, signs, intake, place)
    problems = [*shaped.problems, *problems]
    if (
        table != "overrides" and table not in CLINICAL_TABLES
    ):  # these have their own words for every rule, and look there last
        problems += rules.schema_rules(frame, TABLES[table], place=place)
    if problems:
        raise DataError(sorted(problems, key=lambda p: p.row or 0))
    return _finish(
        sheet, table, shaped, frame, [*sheet.notes, *matched.notes, *shaped.notes, *notes]
    )


def _columns(table: str, options: ReadOptions) -> dict[str, dy.Column]:
    """Return the columns a file of this table may hold, in the order of the frame."""
    schema = TABLES[table].columns()
    clash = [level for level in options.levels if level in schema and table == "items"]
    if clash:
        raise RequestError(
            f"settings, levels: found {clash[0]!r}, a column items already has; allowed: names of "
            "your own level columns; choose another name"
        )
    columns = {name: column for name, column in schema.items() if name not in SET_BY_LOAD}
    if table == "overrides":
        columns = override_columns(options)
    if table == "items":
        columns |= {level: dy.String(nullable=False) for level in options.levels}
    return columns | {KNOWN_AT: dy.Datetime(nullable=True)}


def _layout(sheet: Sheet, table: str, columns: Mapping[str, dy.Column], intake: Intake) -> Layout:
    options = intake.options
    if table in CLINICAL_TABLES:
        return clinical_layout(sheet, table, columns, intake)
    mapping = options.columns.get(table, {})
    if table == "overrides":
        return override_layout(sheet, columns, options)
    if table == "prices":
        return price_layout(columns, options)
    if table == "items":
        required = ("unique_id", *options.levels)
        return Layout(table, tuple(columns), required, mapping)
    elsewhere = [name for name in Items.columns() if name not in columns]
    return Layout(
        table=table,
        columns=tuple(columns),
        required=("unique_id", "ds", "y"),
        mapping=mapping,
        replaced_by={"y": ("shipped", "backlog")},
        ignored=(*elsewhere, *options.levels, *SET_BY_LOAD),
        has_months_across=True,
        keeps_foreign=True,
    )


def _without_signs(matched: Matched, table: str) -> tuple[Matched, Signs]:
    if table == "overrides":
        return without_signs(matched)
    if table in CLINICAL_TABLES:
        return without_signs(matched, signed_columns(table))
    return matched, Signs()


def _shape(
    sheet: Sheet, matched: Matched, columns: Mapping[str, dy.Column], intake: Intake, table: str
) -> Shaped:
    is_summed = intake.sum_days and table == "history"
    options = ParseOptions(
        latest=add_months(intake.through, MONTHS_AHEAD),
        levels=intake.options.levels,
        names=NAMES if table in CLINICAL_TABLES else (),
        id_separator=intake.options.id_separator,
        decimal=intake.options.decimal,
        has_european_separators=sheet.has_european_separators,
    )
    if matched.months:
        shaped = shape_across(matched, columns, rows=sheet.rows, options=options)
    else:
        shaped = shape_long(matched, columns, rows=sheet.rows, options=options, sum_days=is_summed)
    return sum_lines(shaped) if is_summed else shaped


def _check_history(
    sheet: Sheet, shaped: Shaped, intake: Intake, place: rules.Place
) -> tuple[pl.DataFrame, list[Problem], list[str]]:
    options = intake.options
    history = shaped.frame
    notes: list[str] = []
    is_derived = bool(history["y"].is_null().all() and history["shipped"].is_not_null().any())
    if is_derived:
        history, notes = demand.demand_from_shipments(history, known=intake.known)
    history = demand.mark_partial(history, through=intake.through)
    problems = rules.duplicate_keys(history, ("unique_id", "ds"), place=place)
    problems += demand.negative_demand(
        history, negative=options.negative, is_derived=is_derived, place=place
    )
    problems += rules.impossible_knowledge(history, today=intake.today, place=place)
    strangers, notes_on_items = rules.unknown_items(
        history, intake.items_known, has_levels=bool(options.levels), place=place
    )
    problems += strangers
    problems += rules.unknown_parents(
        _level_texts(sheet, options.levels), sheet.rows, intake.levels_known, file=sheet.file
    )
    if options.unit_slip == "refuse":
        problems += demand.unit_slips(history, known=intake.known, place=place)
    notes += notes_on_items
    notes += demand.assumptions(
        history, through=intake.through, today=intake.today, missing=options.missing
    )
    return history, problems, notes


def _check_items(
    shaped: Shaped, intake: Intake, place: rules.Place
) -> tuple[pl.DataFrame, list[Problem], list[str]]:
    items = shaped.frame
    problems = rules.duplicate_keys(items, ("unique_id",), place=place)
    problems += rules.blank_levels(items, intake.options.levels, place=place)
    problems += rules.impossible_knowledge(items, today=intake.today, place=place)
    return items, problems, rules.spelling_twins(items, intake.options.levels)


def _level_texts(sheet: Sheet, levels: Collection[str]) -> dict[str, pl.Series]:
    by_name = {plain_name(cells.name): cells.text for cells in sheet.columns}
    return {
        level: by_name[plain_name(level)].str.normalize("NFC")
        for level in levels
        if plain_name(level) in by_name
    }


def _no_rows(sheet: Sheet) -> Problem:
    return Problem(
        file=sheet.file,
        row=sheet.header_row,
        found="a header and no rows below it",
        allowed="at least one row",
        todo="fill it in; there is nothing to load yet",
    )


def _finish(
    sheet: Sheet, table: str, shaped: Shaped, frame: pl.DataFrame, notes: list[str]
) -> ParsedTable:
    if frame.is_empty():
        raise DataError([_no_rows(sheet)])
    names = [*TABLES[table].columns()]
    names += [n for n in frame.columns if n in shaped.frame.columns and n not in names]
    names = [name for name in names if name[0] != "_"]
    if KNOWN_AT not in shaped.headers:
        names.remove(KNOWN_AT)
    key = [*TABLES[table].primary_key(), *([KNOWN_AT] if KNOWN_AT in names else [])]
    given = [name for name in names if name in shaped.headers]
    if table == "history":
        given = [name for name in names if name in (*shaped.headers, "ds", "y")]
    frame = frame.cast({name: column.dtype for name, column in TABLES[table].columns().items()})
    return ParsedTable(
        table=table,
        frame=frame.select(names).sort(key),
        notes=tuple(dict.fromkeys(notes)),
        given=tuple(given),
        file=sheet.file,
    )
