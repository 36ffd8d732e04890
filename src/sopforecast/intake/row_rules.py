"""A rule of single rows: where it is broken, and in what words the person is told."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

import polars as pl

from sopforecast.errors import Problem
from sopforecast.intake.rules import Place
from sopforecast.intake.shapes import ROW


class Rule(NamedTuple):
    """Where rows break it, which column is named, what is said was found, allowed and to do."""

    broken: pl.Expr
    column: str
    found: Callable[[Mapping[str, Any]], str]
    allowed: str
    todo: str


def number_in(column: str) -> Callable[[Mapping[str, Any]], str]:
    """Return what is said of a row whose number in ``column`` is wrong: the number."""
    return lambda row: f"{row[column]:g}"


def broken_rows(frame: pl.DataFrame, rules: Iterable[Rule], *, place: Place) -> list[Problem]:
    """Return what single rows break; a null in a condition breaks nothing."""
    return [
        place.problem(row, rule.column, found=rule.found(row), allowed=rule.allowed, todo=rule.todo)
        for rule in rules
        for row in frame.filter(rule.broken).iter_rows(named=True)
    ]


def empty_cells(
    frame: pl.DataFrame,
    needed: Mapping[str, str],
    refused: Collection[tuple[int, str]],
    *,
    place: Place,
) -> list[Problem]:
    """Refuse empty cells of the columns in ``needed``, which says of each what is allowed.

    ``refused`` are (row, header) of cells that hold something and were refused already.
    """
    return [
        place.problem(row, column, found="an empty cell", allowed=allowed, todo="fill it in")
        for column, allowed in needed.items()
        for row in frame.filter(pl.col(column).is_null()).iter_rows(named=True)
        if (row[ROW], place.headers.get(column, column)) not in refused
    ]


def one_ended(low: str, high: str) -> tuple[Rule, Rule, Rule]:
    """Return the rules of a range: both ends or neither, and low not above high."""
    return (
        Rule(
            pl.col(low).is_not_null() & pl.col(high).is_null(),
            high,
            lambda row: f"{low} {row[low]:g} and no {high}",
            "both ends of a range, or neither",
            "fill in the other end: nobody knows one number",
        ),
        Rule(
            pl.col(low).is_null() & pl.col(high).is_not_null(),
            low,
            lambda row: f"{high} {row[high]:g} and no {low}",
            "both ends of a range, or neither",
            "fill in the other end: nobody knows one number",
        ),
        Rule(
            pl.col(low) > pl.col(high),
            low,
            lambda row: f"{low} {row[low]:g} above {high} {row[high]:g}",
            f"a {low} that is not above {high}",
            "swap the two",
        ),
    )
