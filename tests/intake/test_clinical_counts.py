"""Cumulative counts of a site beside a loop over its months, for any numbers and any gaps."""

from __future__ import annotations

from datetime import date

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from sopforecast.core.clinical_tables import Enrolment
from sopforecast.intake.clinical_counts import counted_twice, more_enrolled_than_screened
from sopforecast.intake.rules import Place

COUNT = st.none() | st.integers(0, 4)
MONTHS = st.lists(st.tuples(COUNT, COUNT, COUNT), min_size=1, max_size=8)
PLACE = Place("e.csv", {name: name for name in Enrolment.columns()})


def rows(months: list[tuple[int | None, ...]]) -> pl.DataFrame:
    """Rows of one site, month after month, as they are read from a file."""
    types = {name: column.dtype for name, column in Enrolment.columns().items()}
    records = [
        {"study": "X", "site": "S", "cohort": "all", "ds": date(2026, 1 + i, 1)}
        | dict(zip(("screened", "screen_failed", "enrolled"), map(_number, counts), strict=True))
        for i, counts in enumerate(months)
    ]
    frame = pl.DataFrame(records, schema=types)
    return frame.with_columns(
        pl.lit(None, dtype=pl.Datetime("us")).alias("known_at"),
        (pl.int_range(pl.len(), dtype=pl.Int64) + 2).alias("_row"),
        pl.lit("y").alias("_column"),
    )


def _number(count: int | None) -> float | None:
    return None if count is None else float(count)


def first_wrong_month(months: list[tuple[int | None, ...]]) -> int | None:
    """The month, from 0, in which more are enrolled than passed; None where nobody can know."""
    passed = enrolled = 0
    for index, (screened, failed, more) in enumerate(months):
        if screened is None:
            return None
        passed += screened - (failed or 0)
        enrolled += more or 0
        if enrolled > passed:
            return index
    return None


@settings(max_examples=150)
@given(MONTHS)
def test_a_loop_over_months_finds_the_same_row(months) -> None:
    problems = more_enrolled_than_screened(rows(months), None, place=PLACE)
    wrong = first_wrong_month(months)
    assert [p.row for p in problems] == ([] if wrong is None else [wrong + 2])


@settings(max_examples=100)
@given(MONTHS, st.integers(0, 7))
def test_it_does_not_matter_what_the_store_holds_already(months, split) -> None:
    """Months that are loaded, and a file of the rest: refused when all of them in one file are."""
    frame = rows(months)
    before, after = frame.head(split), frame.slice(split)
    if after.is_empty():
        return
    wrong = first_wrong_month(months)
    problems = more_enrolled_than_screened(after, before, place=PLACE)
    refused = [] if wrong is None or wrong < split else [wrong + 2]
    assert [p.row for p in problems] == refused


def test_a_whole_month_on_top_of_its_cohorts_is_noted_though_one_was_loaded_before():
    keys = {"study": ["N"], "site": ["S1"], "ds": [date(2026, 10, 1)]}
    before = pl.DataFrame(keys | {"cohort": ["A"], "enrolled": [2.0]})
    other = before.with_columns(ds=pl.lit(date(2026, 9, 1)))
    frame = pl.DataFrame(keys | {"cohort": ["all"], "enrolled": [5.0]})
    assert "the rows are added up" in counted_twice(frame, before)[0]
    assert counted_twice(frame, other) == counted_twice(frame, None) == []
