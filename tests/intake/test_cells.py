"""Wording and near matches."""

from __future__ import annotations

import polars as pl
import pytest

from sopforecast.intake.cells import (
    Cells,
    Verdict,
    counted,
    listed,
    near_match,
    near_matches,
    quoted,
)

VERDICT = Verdict("a number", "correct it")


def block() -> Cells:
    """Two month columns of two rows, end to end."""
    return Cells(
        file="h.csv",
        column=pl.Series(["Jan-25", "Jan-25", "Feb-25", "Feb-25"]),
        rows=pl.Series([2, 3, 2, 3]),
        text=pl.Series(["1", "x", None, "y"]),
    )


def test_a_block_names_the_header_of_each_cell() -> None:
    problems = block().refuse({"x": VERDICT, "y": VERDICT})
    assert [(p.row, p.column, p.found) for p in problems] == [
        (3, "Jan-25", "'x'"),
        (3, "Feb-25", "'y'"),
    ]


def test_a_null_in_a_mask_is_no_problem() -> None:
    (problem,) = block().problems(pl.Series([None, True, False, None]), VERDICT)
    assert str(problem) == ("h.csv, row 3, column Jan-25: found 'x'; allowed: a number; correct it")


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("stockout_day", "stockout_days"),
        ("NOTE", "note"),
        ("xyz", None),
        ("unique id", "unique_id"),
    ],
)
def test_near_matches_forgive_case_and_a_letter(name, match) -> None:
    assert near_match(name, ["unique_id", "note", "stockout_days"]) == match


def test_near_matches_are_looked_up_for_what_is_shown_only() -> None:
    names = [f"SKU-{i:03d}x" for i in range(50)]
    assert len(near_matches(names, [f"SKU-{i:03d}" for i in range(50)])) == 20


def test_words() -> None:
    assert quoted("a" * 60) == repr("a" * 37 + "...")
    assert quoted("a\nb") == r"'a\nb'"
    assert listed("abc", most=2) == "a, b and 1 more"
    assert (counted(1, "row"), counted(2, "row"), counted(0, "row")) == (
        "1 row",
        "2 rows",
        "0 rows",
    )
