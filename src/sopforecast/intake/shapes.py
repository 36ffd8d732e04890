"""From a sheet with matched headers to one typed row a key: long, months across, dated lines.

The frames made here carry two columns of their own beside the table's: ``_row``, the row number a
person sees, and ``_column``, the header over the quantity of that row (a month, when they stand
across). Rules use them to name the cell; the doors drop them at the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import dataframely as dy
import polars as pl

from sopforecast.errors import Problem
from sopforecast.intake.cells import Cells, Parsed, Verdict, counted, row_list
from sopforecast.intake.headers import Matched
from sopforecast.intake.parse import (
    ParseOptions,
    joined,
    parse_column,
    parse_ids,
    parse_names,
    parse_texts,
)
from sopforecast.intake.parse_dates import parse_days
from sopforecast.intake.parse_numbers import parse_numbers

ROW = "_row"
COLUMN = "_column"
ACROSS_ALONE = ("shipped", "backlog", "stockout_days", "one_off", "note")


@dataclass(frozen=True)
class Shaped:
    """Typed rows (null where a cell was empty or refused) with what was wrong and what was assumed.

    ``headers`` gives the header in the file of each column of the table that the file has; where
    months stand across, ``ds`` and ``y`` have none of their own.
    """

    frame: pl.DataFrame
    headers: Mapping[str, str]
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()


def shape_long(
    matched: Matched,
    columns: Mapping[str, dy.Column],
    *,
    rows: pl.Series,
    options: ParseOptions,
    sum_days: bool = False,
) -> Shaped:
    """Parse every column of the table; columns the file does not have are null.

    Parameters
    ----------
    matched : Matched
        Cells of each column.
    columns : Mapping
        Columns of the table in order, with the types to parse.
    rows : Series of Int64
        Row numbers.
    options : ParseOptions
        Passed to the parsers.
    sum_days : bool
        Whether ``ds`` holds days; they are kept as days for `sum_lines`.
    """
    series: dict[str, pl.Series] = {ROW: rows}
    headers: dict[str, str] = {}
    problems: list[Problem] = []
    notes: list[str] = []
    for name, column in columns.items():
        parts = matched.found.get(name)
        if parts is None:
            series[name] = pl.Series([None] * len(rows), dtype=column.dtype)
            continue
        headers[name] = ", ".join(part.name for part in parts)
        parsed = _parse(name, parts, column, options=options, sum_days=sum_days)
        series[name] = parsed.values
        problems += parsed.problems
        notes += [f"column {headers[name]}: {note}" for note in parsed.notes]
    frame = pl.DataFrame(series).with_columns(pl.lit(headers.get("y", "y")).alias(COLUMN))
    return Shaped(frame, headers, tuple(problems), tuple(notes))


def shape_across(
    matched: Matched,
    columns: Mapping[str, dy.Column],
    *,
    rows: pl.Series,
    options: ParseOptions,
) -> Shaped:
    """Turn months across into one row an item and month; an empty cell is an absent row.

    Only ``unique_id`` and ``known_at`` may stand beside the months: any other quantity has one
    value a month and needs the long form.
    """
    problems = _not_beside_months(matched)
    beside = Matched({k: v for k, v in matched.found.items() if k in ("unique_id", "known_at")})
    named = {name: columns[name] for name in ("unique_id", "known_at") if name in columns}
    left = shape_long(beside, named, rows=rows, options=options)
    block = _laid_end_to_end(matched)
    parsed = parse_numbers(
        block,
        decimal=options.decimal,
        has_european_separators=options.has_european_separators,
    )
    months = pl.Series([month for month, _ in matched.months], dtype=pl.Date)
    count = len(matched.months)
    frame = pl.concat([left.frame.drop(COLUMN)] * count).with_columns(
        pl.Series("ds", months.gather(_repeated(count, len(rows)))),
        parsed.values.alias("y"),
        pl.Series(COLUMN, block.column),
    )
    frame = frame.filter(block.text.is_not_null()).sort(ROW, "ds")
    empty = [
        pl.lit(None, dtype=column.dtype).alias(name)
        for name, column in columns.items()
        if name not in frame.columns
    ]
    return Shaped(
        frame.with_columns(empty).select(ROW, *columns, COLUMN),
        left.headers,
        (*problems, *left.problems, *parsed.problems),
        (*left.notes, *parsed.notes),
    )


def sum_lines(shaped: Shaped) -> Shaped:
    """Add dated lines up to one row an item and month.

    Quantities are added; a month with a line whose quantity is empty is unknown. ``backlog`` is a
    level, not a flow: the last line of the month gives it. ``known_at`` is the latest of the lines.
    The row number of a month is that of its first line.
    """
    lines = shaped.frame.drop_nulls(["unique_id", "ds"])
    in_order = lines.sort("unique_id", "ds", ROW).with_columns(
        pl.col("ds").dt.month_start(), (pl.col("ds").dt.day()).alias("_day")
    )
    total = [
        pl.when(pl.col(name).is_null().any()).then(None).otherwise(pl.col(name).sum()).alias(name)
        for name in ("y", "shipped", "stockout_days", "one_off")
    ]
    months = in_order.group_by("unique_id", "ds", maintain_order=True).agg(
        pl.col(ROW).min(),
        *total,
        pl.col("backlog").last(),
        pl.col("note").drop_nulls().unique(maintain_order=True).str.join("; "),
        pl.col("known_at").max(),
        pl.col(COLUMN).first(),
    )
    months = months.with_columns(
        pl.when(pl.col("note") == "").then(None).otherwise(pl.col("note")).alias("note")
    )
    notes = [f"{counted(lines.height, 'line')} added up to {counted(months.height, 'month')}"]
    unknown = lines.filter(pl.col("y").is_null())[ROW].to_list()
    if "y" in shaped.headers and unknown and not shaped.problems:
        notes.append(f"lines without a quantity make their month unknown ({row_list(unknown)})")
    frame = months.select(shaped.frame.columns).sort(ROW, "ds")
    return Shaped(frame, shaped.headers, shaped.problems, (*shaped.notes, *notes))


def _parse(
    name: str, parts: tuple[Cells, ...], column: dy.Column, *, options: ParseOptions, sum_days: bool
) -> Parsed:
    if name == "unique_id" and column.nullable:
        return parse_texts(joined(parts, options=options))
    if name == "unique_id":
        return parse_ids(parts, options=options)
    if name in options.names:
        return parse_names(parts[0])
    if name == "ds" and sum_days:
        return parse_days(parts[0], latest=options.latest)
    return parse_column(parts[0], column, options=options)


def _not_beside_months(matched: Matched) -> list[Problem]:
    verdict = Verdict(
        "unique_id alone beside months across", "load this column in the long form, with 'ds'"
    )
    return [
        Problem(
            file=part.file,
            row=1,
            column=part.name,
            found="a column beside months across",
            allowed=verdict.allowed,
            todo=verdict.todo,
        )
        for name in ACROSS_ALONE
        for part in matched.found.get(name, ())
    ]


def _laid_end_to_end(matched: Matched) -> Cells:
    """Return all month columns as one block: the first month's cells, then the second's, ..."""
    parts = [cells for _, cells in matched.months]
    numbers = [part.number for part in parts if part.number is not None]
    dated = [part.dated for part in parts if part.dated is not None]
    names = pl.Series([part.name for part in parts], dtype=pl.String)
    return Cells(
        file=parts[0].file,
        column=names.gather(_repeated(len(parts), len(parts[0].rows))),
        rows=pl.concat([part.rows for part in parts]),
        text=pl.concat([part.text for part in parts]),
        number=pl.concat(numbers) if len(numbers) == len(parts) else None,
        dated=pl.concat(dated) if len(dated) == len(parts) else None,
    )


def _repeated(count: int, times: int) -> pl.Series:
    """Return 0 ... count - 1, each ``times`` times: 0 0 0 1 1 1 ..."""
    return pl.select(pl.int_range(count).repeat_by(times).explode()).to_series()
