"""Rules of single rows: where they are broken, and that what is not known breaks nothing."""

from __future__ import annotations

import polars as pl

from sopforecast.intake.row_rules import Rule, broken_rows, empty_cells, number_in, one_ended
from sopforecast.intake.rules import Place

PLACE = Place("f.csv", {"low": "Low", "high": "High", "name": "Name"})


def frame(*rows: tuple[float | None, float | None]) -> pl.DataFrame:
    schema = {"low": pl.Float64, "high": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row").with_columns(
        (pl.int_range(pl.len()) + 2).alias("_row"), pl.lit("y").alias("_column")
    )


def test_a_rule_names_its_column_by_the_header_of_the_file() -> None:
    rule = Rule(pl.col("low") < 0, "low", number_in("low"), "0 or more", "correct it")
    (problem,) = broken_rows(frame((1, 2), (-1.5, 2), (None, 2)), [rule], place=PLACE)
    assert (problem.row, problem.column, problem.found) == (3, "Low", "-1.5")


def test_a_range_has_two_ends_in_order() -> None:
    rows = frame((1, 2), (2, 2), (3, 2), (None, 2), (1, None), (None, None))
    problems = broken_rows(rows, one_ended("low", "high"), place=PLACE)
    found = sorted((p.row or 0, p.column or "") for p in problems)
    assert found == [(4, "Low"), (5, "Low"), (6, "High")]


def test_an_empty_cell_that_was_refused_is_not_refused_again() -> None:
    rows = frame((1, 2), (None, 2), (None, 3))
    problems = empty_cells(rows, {"low": "a number"}, {(3, "Low")}, place=PLACE)
    assert [(p.row, p.column, p.allowed) for p in problems] == [(4, "Low", "a number")]
