"""Rules on whole rows: keys once, the schema's own rules, items that have their place.

Each function returns problems and raises nothing; rows already refused (null where a value is
needed) are passed over, so that one mistake is named once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import dataframely as dy
import polars as pl

from sopforecast.core.months import month_name
from sopforecast.errors import Problem
from sopforecast.intake.cells import counted, listed, near_matches, quoted
from sopforecast.intake.parse import KNOWN_AT
from sopforecast.intake.shapes import COLUMN, ROW

ROW_RULES = {
    "launch_before_end": ("end_ds", "an end_ds not before launch_ds"),
    "from_before_to": ("ds_to", "a ds_to not before ds_from"),
    "low_below_high": ("low", "a low that is not above high"),
    "value_inside_range": ("value", "a value inside low to high"),
    "percent_from_minus_100": ("value", "a fall of at most 100 percent"),
    "absolute_not_negative": ("value", "0 or more"),
    "first_before_last_patient": ("last_patient_date", "a last patient not before the first"),
    "share_low_below_high": ("share_low", "a share_low that is not above share_high"),
    "slip_low_below_high": ("slip_days_low", "a slip_days_low that is not above slip_days_high"),
    "activated_before_closed": ("activated_date", "an activation not after the closure"),
    "study_or_account": ("account", "a study or an account, never both"),
    "probability_low_below_high": ("probability_low", "a low that is not above high"),
    "converted_has_month": ("converted_ds", "the month in which it converted"),
    "account_has_item": ("unique_id", "the item the account would buy"),
}
LIMITS = {
    "min": "at least",
    "max": "at most",
    "min_exclusive": "more than",
    "max_exclusive": "less than",
    "max_length": "a text of at most this many characters:",
}


@dataclass(frozen=True)
class Place:
    """The file of some rows and the header of each of their columns."""

    file: str
    headers: Mapping[str, str]

    def problem(
        self, row: Mapping[str, Any], column: str, *, found: str, allowed: str, todo: str
    ) -> Problem:
        """Return the problem of one cell of a row (a dictionary with ``_row`` and ``_column``)."""
        across = row[COLUMN] if column in ("ds", "y") else column
        header = self.headers.get(column, across)
        return Problem(
            file=self.file, row=row[ROW], column=header, found=found, allowed=allowed, todo=todo
        )


def duplicate_keys(frame: pl.DataFrame, key: Sequence[str], *, place: Place) -> list[Problem]:
    """Name both rows of every key that occurs twice; ``known_at`` is part of the key."""
    columns = [*key, KNOWN_AT]
    rows = frame.drop_nulls(list(key))
    first = pl.col(ROW).first().over(columns)
    twice = rows.filter(pl.struct(columns).is_duplicated()).with_columns(first.alias("_first"))
    again = twice.filter(pl.int_range(pl.len()).over(columns) > 0).unique(
        ROW, keep="first", maintain_order=True
    )
    problems = []
    for row in again.iter_rows(named=True):
        name = ", ".join(_shown(row[column]) for column in key)
        where = f"row {row['_first']}" if row["_first"] != row[ROW] else "this row"
        problems.append(
            place.problem(
                row,
                key[-1],
                found=f"{name} a second time (first in {where})",
                allowed=f"one row for each {' and '.join(key)}",
                todo="delete one of the two rows"
                + (", or add them up with --sum" if "y" in frame.columns else ""),
            )
        )
    return problems


def schema_rules(frame: pl.DataFrame, schema: type[dy.Schema], *, place: Place) -> list[Problem]:
    """Turn the schema's limits and row rules into problems; ``frame`` has its columns and types."""
    needed = [name for name, column in schema.columns().items() if not column.nullable]
    rows = frame.drop_nulls(needed).with_row_index("_index")
    key = schema.primary_key()[0]
    by_index = pl.col("_index").cast(pl.String).alias(key)  # rows may be versions of a key
    _, failure = schema.filter(
        rows.with_columns(by_index).select(list(schema.columns())), cast=False
    )
    broken = failure.counts()
    if not broken:
        return []
    details = failure.details()
    return [
        _broken_rule(rule, rows.row(int(index), named=True), schema, place)
        for rule in broken
        for index in details.filter(pl.col(rule) == "invalid")[key]
    ]


def blank_levels(frame: pl.DataFrame, levels: Sequence[str], *, place: Place) -> list[Problem]:
    """Refuse items without a value in a level column: they have no place in the hierarchy."""
    return [
        place.problem(
            row,
            level,
            found=f"an empty cell for item {row['unique_id']!r}",
            allowed=f"a {level} for every item (settings: levels)",
            todo="fill it in",
        )
        for level in levels
        for row in frame.filter(pl.col(level).is_null()).iter_rows(named=True)
    ]


def spelling_twins(frame: pl.DataFrame, levels: Sequence[str]) -> list[str]:
    """Return a note for each value of a level written in ways that differ in case or blanks."""
    notes = []
    for level in levels:
        written: dict[str, list[str]] = {}
        for value in frame[level].drop_nulls().unique(maintain_order=True).to_list():
            written.setdefault("".join(value.casefold().split()), []).append(value)
        notes += [
            f"{level}: {listed(map(quoted, values))} differ only in case or blanks and are kept "
            "apart; write them alike if they are one"
            for values in written.values()
            if len(values) > 1
        ]
    return notes


def unknown_items(
    frame: pl.DataFrame, items: Collection[str] | None, *, has_levels: bool, place: Place
) -> tuple[list[Problem], list[str]]:
    """Compare history with the items: a problem when levels are declared, else a note.

    Nothing is said while no item is known at all: items are optional.
    """
    if not items:
        return [], []
    strangers = frame.drop_nulls(["unique_id"]).filter(~pl.col("unique_id").is_in(list(items)))
    first = strangers.unique("unique_id", keep="first", maintain_order=True)
    names = first["unique_id"].to_list()
    if not names:
        return [], []
    if not has_levels:
        count = counted(len(names), "item")
        return [], [f"{count} with history and no row in items: {listed(names, most=5)}"]
    near = near_matches(names, items)
    problems = [
        place.problem(
            row,
            "unique_id",
            found=f"unknown item {quoted(row['unique_id'])}: it has no place in the hierarchy",
            allowed="ids of the items table",
            todo=f"did you mean {near[row['unique_id']]!r}?"
            if row["unique_id"] in near
            else "add it to items first",
        )
        for row in first.iter_rows(named=True)
    ]
    return problems, []


def unknown_parents(
    given: Mapping[str, pl.Series],
    rows: pl.Series,
    known: Mapping[str, Collection[str]] | None,
    *,
    file: str,
) -> list[Problem]:
    """Refuse level values beside history that no item has.

    Parameters
    ----------
    given : Mapping
        Texts of each level column of the file; empty cells are passed over.
    rows : Series of Int64
        Row numbers.
    known : Mapping, optional
        The values items have in each level column; a level that is missing here is not compared.
    file : str
        Name in messages.
    """
    problems = []
    for level, texts in given.items():
        values = (known or {}).get(level)
        if not values:
            continue
        wrong = (texts.is_not_null() & ~texts.is_in(list(values))).fill_null(False).arg_true()
        near = near_matches([texts[index] for index in wrong], values)
        for index in wrong:
            todo = f"add an item of this {level}, or correct it"
            if texts[index] in near:
                todo = f"did you mean {near[texts[index]]!r}?"
            problems.append(
                Problem(
                    file=file,
                    row=int(rows[index]),
                    column=level,
                    found=f"unknown parent {quoted(texts[index])}",
                    allowed=f"a {level} that an item has",
                    todo=todo,
                )
            )
    return problems


def impossible_knowledge(frame: pl.DataFrame, *, today: date, place: Place) -> list[Problem]:
    """Refuse ``known_at`` after today, or before the month it knows had begun."""
    later = frame.filter(pl.col(KNOWN_AT).dt.date() > today)
    problems = [
        place.problem(
            row,
            KNOWN_AT,
            found=f"{row[KNOWN_AT]:%Y-%m-%d}",
            allowed=f"a time up to today ({today.isoformat()})",
            todo="correct it, or leave it empty",
        )
        for row in later.iter_rows(named=True)
    ]
    if "ds" not in frame.columns:
        return problems
    sooner = frame.filter(pl.col(KNOWN_AT).dt.date() < pl.col("ds"))
    return problems + [
        place.problem(
            row,
            KNOWN_AT,
            found=f"{row[KNOWN_AT]:%Y-%m-%d} for {month_name(row['ds'])}",
            allowed="a time within or after the month itself",
            todo="correct it, or leave it empty",
        )
        for row in sooner.iter_rows(named=True)
    ]


def _broken_rule(
    rule: str, row: Mapping[str, Any], schema: type[dy.Schema], place: Place
) -> Problem:
    column, is_limit, limit = rule.partition("|")
    if not is_limit:
        column, allowed = ROW_RULES.get(rule, (schema.primary_key()[0], rule.replace("_", " ")))
        return place.problem(
            row, column, found=_shown(row[column]), allowed=allowed, todo="correct the row"
        )
    bound = getattr(schema.columns()[column], limit, None)
    allowed = f"{LIMITS[limit]} {bound}" if limit in LIMITS else f"what the rule {rule!r} allows"
    return place.problem(
        row, column, found=_shown(row[column]), allowed=allowed, todo="correct the value"
    )


def _shown(value: object) -> str:
    if isinstance(value, date):
        return month_name(value)
    if isinstance(value, float):
        return f"{value:g}"
    return quoted(value)
