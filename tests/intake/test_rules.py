"""Rules on whole rows."""

from __future__ import annotations

from datetime import date, datetime

import polars as pl

from sopforecast.core.tables import Items
from sopforecast.intake.rules import (
    ROW_RULES,
    Place,
    blank_levels,
    duplicate_keys,
    impossible_knowledge,
    schema_rules,
    unknown_items,
    unknown_parents,
)
from sopforecast.intake.take_in import TABLES

PLACE = Place("h.csv", {"unique_id": "sku", "ds": "Month", "y": "Qty"})
TODAY = date(2026, 11, 22)


def history(*rows: tuple[object, ...]) -> pl.DataFrame:
    """Rows of (row, id, month, known_at)."""
    return pl.DataFrame(
        [(row, item, month, known, "Qty") for row, item, month, known in rows],
        schema={
            "_row": pl.Int64,
            "unique_id": pl.String,
            "ds": pl.Date,
            "known_at": pl.Datetime("us"),
            "_column": pl.String,
        },
        orient="row",
    )


def items(**columns: list[object]) -> pl.DataFrame:
    count = len(columns["unique_id"])
    frame = pl.DataFrame(
        {
            name: pl.Series(columns.get(name, [None] * count), dtype=column.dtype)
            for name, column in Items.columns().items()
        }
    )
    return frame.with_columns(
        pl.int_range(2, count + 2).alias("_row"), pl.lit("y").alias("_column")
    )


JAN = date(2025, 1, 1)


def test_each_repetition_is_named_with_the_first_row() -> None:
    frame = history((2, "A", JAN, None), (5, "A", JAN, None), (9, "A", JAN, None))
    problems = duplicate_keys(frame, ("unique_id", "ds"), place=PLACE)
    assert [(p.row, p.column, "row 2" in p.found) for p in problems] == [
        (5, "Month", True),
        (9, "Month", True),
    ]


def test_versions_by_known_at_and_refused_keys_are_no_duplicates() -> None:
    frame = history(
        (2, "A", JAN, datetime(2025, 2, 1)),
        (3, "A", JAN, datetime(2025, 3, 1)),
        (4, None, JAN, None),
        (5, None, JAN, None),
    )
    assert duplicate_keys(frame, ("unique_id", "ds"), place=PLACE) == []


def test_limits_of_the_schema_are_told_with_the_value() -> None:
    frame = items(
        unique_id=["A", "B", None], lead_time_days=[-1.0, 0.0, -5.0], plan_factor=[1, 0, 1]
    )
    problems = schema_rules(frame, Items, place=PLACE)
    found = sorted((p.row, p.column, p.found, p.allowed) for p in problems)
    assert found == [
        (2, "lead_time_days", "-1", "at least 0"),
        (3, "plan_factor", "0", "more than 0"),
    ]


def test_a_rule_over_columns_names_one_of_them() -> None:
    frame = items(unique_id=["A"], launch_ds=[date(2025, 3, 1)], end_ds=[JAN])
    (problem,) = schema_rules(frame, Items, place=PLACE)
    assert (problem.row, problem.column, problem.found) == (2, "end_ds", "2025-01")


def test_every_rule_of_the_tables_has_its_own_words() -> None:
    rules = {
        name
        for schema in TABLES.values()
        for name in schema._schema_validation_rules()
        if "|" not in name
    }
    assert rules - {"primary_key"} == set(ROW_RULES)


def test_versions_of_one_key_are_each_checked() -> None:
    frame = items(unique_id=["A", "A"], lead_time_days=[1.0, -1.0])
    (problem,) = schema_rules(frame, Items, place=PLACE)
    assert problem.row == 3


def test_an_item_without_level_is_named() -> None:
    frame = items(unique_id=["A", "B"]).with_columns(family=pl.Series(["x", None]))
    (problem,) = blank_levels(frame, ["family"], place=PLACE)
    assert (problem.row, problem.column) == (3, "family")
    assert "item 'B'" in problem.found


def test_each_unknown_item_is_named_once() -> None:
    frame = history((2, "A", JAN, None), (3, "AB1", JAN, None), (4, "AB1", date(2025, 2, 1), None))
    problems, notes = unknown_items(frame, {"A", "AB2"}, has_levels=True, place=PLACE)
    assert notes == []
    assert [(p.row, p.column, p.todo) for p in problems] == [(3, "sku", "did you mean 'AB2'?")]


def test_levels_that_are_not_known_are_not_compared() -> None:
    given = {"family": pl.Series(["x", None]), "region": pl.Series(["y", "EU"])}
    rows = pl.Series([2, 3])
    assert unknown_parents(given, rows, None, file="h.csv") == []
    (problem,) = unknown_parents(given, rows, {"region": {"EU"}}, file="h.csv")
    assert (problem.row, problem.column) == (2, "region")


def test_knowledge_may_be_from_today_and_from_within_the_month() -> None:
    frame = history(
        (2, "A", date(2026, 11, 1), datetime(2026, 11, 22, 23, 59)),
        (3, "A", date(2026, 11, 1), datetime(2026, 11, 1)),
        (4, "A", date(2026, 11, 1), datetime(2026, 10, 31, 23)),
        (5, "A", JAN, datetime(2026, 11, 23)),
    )
    problems = impossible_knowledge(frame, today=TODAY, place=PLACE)
    assert sorted(problem.row for problem in problems) == [4, 5]
