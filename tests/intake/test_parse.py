"""Ids, texts and choices."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sopforecast.core.tables import Items
from sopforecast.intake.cells import Cells
from sopforecast.intake.parse import (
    ParseOptions,
    parse_choices,
    parse_column,
    parse_ids,
    parse_names,
    parse_texts,
)

OPTIONS = ParseOptions(latest=date(2036, 1, 1), levels=("family",))


def cells(*texts: str | None, column: str = "unique_id", **typed: pl.Series) -> Cells:
    rows = pl.Series(range(2, len(texts) + 2), dtype=pl.Int64)
    return Cells("h.csv", column, rows, pl.Series(texts, dtype=pl.String), **typed)


@pytest.mark.parametrize(
    "text",
    [
        "00123",
        "NA",
        "None",
        "nan",
        "=1+1",
        "-5",
        "../x",
        "<script>alert(1)</script>",
        "a,b;c|d",
        "'); DROP TABLE items;--",
        "total war",
        "a=b",
        "famil=x",
        "x/y",
        "🙂",
        "👩\u200d🔬",
        "שלום",
        "1E5",
    ],
)
def test_ids_are_kept_as_they_are(text) -> None:
    parsed = parse_ids([cells(text)], options=OPTIONS)
    assert parsed.values.to_list() == [text]
    assert parsed.problems == ()


@pytest.mark.parametrize(
    "text",
    [
        "total",
        "TOTAL",
        "family=x",
        "x/family=y",
        "a\tb",
        "a\nb",
        "\u202eabc",
        "a\ufeff",
        "#REF!",
        "x" * 201,
        "4.5E+11",
    ],
)
def test_ids_that_would_mislead_are_refused(text) -> None:
    parsed = parse_ids([cells("A", text)], options=OPTIONS)
    assert [problem.row for problem in parsed.problems] == [3]
    assert parsed.values.to_list() == ["A", None]


def test_ids_that_look_missing_are_noted() -> None:
    assert parse_ids([cells("nan", "A")], options=OPTIONS).notes == (
        "id 'nan' is kept as an id, not read as missing",
    )


def test_ids_that_were_numbers_are_noted() -> None:
    (note,) = parse_ids([cells("123.0", "124.0")], options=OPTIONS).notes
    assert "every id ends in '.0'" in note
    assert parse_ids([cells("123.0", "A")], options=OPTIONS).notes == ()


def test_an_id_excel_made_a_date_is_refused() -> None:
    dated = pl.Series([True, False])
    parsed = parse_ids([cells("2025-03-01", "MAR2", dated=dated)], options=OPTIONS)
    assert [problem.row for problem in parsed.problems] == [2]
    assert "Excel made this id a date" in str(parsed.problems[0])


def test_a_bad_part_of_an_id_is_named_once_by_its_own_column() -> None:
    parts = [cells("A", "B|C", column="sku"), cells(None, "X", column="site")]
    parsed = parse_ids(parts, options=OPTIONS)
    assert [(problem.row, problem.column) for problem in parsed.problems] == [
        (3, "sku"),
        (2, "site"),
    ]


@given(st.lists(st.text(max_size=300), min_size=1, max_size=5))
def test_an_id_is_null_exactly_when_it_has_a_problem(texts) -> None:
    shown = [text.strip() or None for text in texts]
    parsed = parse_ids([cells(*shown)], options=OPTIONS)
    rows = {problem.row for problem in parsed.problems}
    assert rows == {i + 2 for i, value in enumerate(parsed.values) if value is None}


def test_texts_are_normalised_and_may_have_line_breaks() -> None:
    parsed = parse_texts(cells("cafe\u0301", "two\nlines", None))
    assert parsed.values.to_list() == ["café", "two\nlines", None]
    assert parse_texts(cells("a\0b", "x" * 10_001)).values.to_list() == [None, None]


def test_choices_forgive_case_blanks_and_hyphens() -> None:
    choices = ["active", "phase_out"]
    parsed = parse_choices(cells("Active", "phase out", "PHASE-OUT", None), choices=choices)
    assert parsed.values.to_list() == ["active", "phase_out", "phase_out", None]
    assert parsed.values.dtype == pl.Enum(choices)


def test_every_column_of_items_gets_its_declared_type() -> None:
    texts = {"status": "active", "launch_ds": "2025-01", "end_ds": "2025-02", "plan_factor": "2"}
    for name, column in Items.columns().items():
        parsed = parse_column(cells(texts.get(name, "7"), column=name), column, options=OPTIONS)
        assert parsed.values.dtype == column.dtype, name
        assert parsed.problems == (), name


def test_names_are_what_can_be_seen() -> None:
    parsed = parse_names(cells("007", "cafe\u0301", "S1\u200b", "#N/A", "x" * 201, None))
    assert parsed.values.to_list() == ["007", "caf\u00e9", None, None, None, None]
    assert [problem.row for problem in parsed.problems] == [4, 5, 6]


def test_a_name_that_excel_made_a_date_is_refused() -> None:
    dated = pl.Series([True, False])
    parsed = parse_names(cells("2026-03-01", "3-2", dated=dated))
    assert parsed.values.to_list() == [None, "3-2"]
    (problem,) = parsed.problems
    assert problem.todo.startswith("Excel made this name a date")
