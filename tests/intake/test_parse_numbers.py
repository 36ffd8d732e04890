"""Numbers: what is read, what is refused, and who settles the decimal mark."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sopforecast.intake.cells import Cells, Parsed
from sopforecast.intake.parse_numbers import parse_numbers, parse_whole_numbers


def cells(*texts: str | None, **typed: pl.Series) -> Cells:
    rows = pl.Series(range(2, len(texts) + 2), dtype=pl.Int64)
    return Cells("h.csv", "y", rows, pl.Series(texts, dtype=pl.String), **typed)


def refused(parsed: Parsed) -> list[int | None]:
    return [problem.row for problem in parsed.problems]


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        (["1", "2.5", None, "+3", "1e5", ".5", "7."], [1, 2.5, None, 3, 1e5, 0.5, 7]),
        (["1,5", "2"], [1.5, 2]),
        (["1.234,5", "1.234", "7"], [1234.5, 1234, 7]),
        (["1,234.5", "1,234", "7"], [1234.5, 1234, 7]),
        (["1.234.567", "1.234"], [1234567, 1234]),
        (["1,234,567", "1,234"], [1234567, 1234]),
        (["0,125", "3"], [0.125, 3]),
        (["1234,125"], [1234.125]),
        (["1 200", "1\u00a0200,5", "12\u202f000"], [1200, 1200.5, 12000]),
        (["1'200.5", "1’200"], [1200.5, 1200]),
        (["\u22125"], [-5]),
        (["1.125", "2.25"], [1.125, 2.25]),
        (["1.500", "2.250"], [1.5, 2.25]),
    ],
)
def test_numbers_with_one_reading_are_read(texts, values) -> None:
    parsed = parse_numbers(cells(*texts))
    assert parsed.values.to_list() == values
    assert parsed.problems == ()


@pytest.mark.parametrize(
    ("texts", "rows"),
    [
        (["1,234", "5"], [2]),
        (["1.500", "2", "3"], [2]),
        (["1,5", "1.234"], [3]),
        (["1.5", "1,234"], [3]),
        (["12.5", "3,5", "4,5"], [2]),
        (["1,5", "2.5", "3.5"], [2]),
        (["1 20", "12 0000"], [2, 3]),
        (["1.23.456", "12,34,567"], [2, 3]),
        (["--5", "1e", "e5", "0x10", "1_000", "½"], [2, 3, 4, 5, 6, 7]),
    ],
)
def test_numbers_with_two_readings_or_none_are_refused(texts, rows) -> None:
    parsed = parse_numbers(cells(*texts))
    assert refused(parsed) == rows
    assert all(parsed.values[row - 2] is None for row in rows)


def test_a_lone_point_is_doubtful_in_a_file_cut_by_semicolons() -> None:
    assert refused(parse_numbers(cells("1.234"), has_european_separators=True)) == [2]
    settled = parse_numbers(cells("1.234", "1.5"), has_european_separators=True)
    assert settled.values.to_list() == [1.234, 1.5]


@pytest.mark.parametrize(("decimal", "value"), [(".", 1234.0), (",", 1.234)])
def test_settings_settle_the_mark(decimal, value) -> None:
    assert parse_numbers(cells("1,234"), decimal=decimal).values.to_list() == [value]


def test_the_message_offers_both_readings() -> None:
    (problem,) = parse_numbers(cells("1,250")).problems
    assert "write 1250 or 1.25" in str(problem)


def test_a_number_typed_in_excel_is_never_doubted() -> None:
    texts, number = ("1.234", "1,5", "7"), pl.Series([1.234, None, 7.0])
    parsed = parse_numbers(cells(*texts, number=number))
    assert parsed.values.to_list() == [1.234, 1.5, 7]
    assert parsed.problems == ()


def test_a_date_among_numbers_is_refused() -> None:
    dated = pl.Series([True, False])
    number = pl.Series([None, 3.0], dtype=pl.Float64)
    parsed = parse_numbers(cells("2025-05-01", "3", number=number, dated=dated))
    assert refused(parsed) == [2]
    assert "the cell is a date" in str(parsed.problems[0])


def test_nan_and_infinity_in_typed_cells_are_refused() -> None:
    number = pl.Series([float("nan"), float("inf"), float("-inf"), 1.0])
    parsed = parse_numbers(cells("NaN", "inf", "-inf", "1", number=number))
    assert refused(parsed) == [2, 3, 4]
    assert parsed.values.to_list() == [None, None, None, 1.0]


def test_minus_zero_is_zero() -> None:
    assert str(parse_numbers(cells("-0", "-0.0")).values.to_list()) == "[0.0, 0.0]"


numbers = st.floats(-1e12, 1e12).filter(lambda value: value == 0 or abs(value) > 1e-4)


@given(st.lists(numbers, min_size=1))
def test_what_python_writes_is_read_back(values) -> None:
    parsed = parse_numbers(cells(*[repr(value) for value in values]), decimal=".")
    assert parsed.values.to_list() == [value + 0.0 for value in values]


@given(st.lists(st.floats(0.01, 1e9).map(lambda v: round(v, 2)), min_size=1))
def test_german_numbers_are_read_back(values) -> None:
    german = [f"{value:,.2f}".translate(str.maketrans(",.", ".,")) for value in values]
    assert parse_numbers(cells(*german)).values.to_list() == values


@given(st.lists(st.text("0123456789.,'- eE+", max_size=8).map(str.strip), min_size=1))
def test_no_text_is_read_as_another_number_than_python_would(texts) -> None:
    parsed = parse_numbers(cells(*[text or None for text in texts]), decimal=".")
    for text, value in zip(texts, parsed.values, strict=True):
        if value is not None:
            assert value == float(text.replace(",", "").replace(" ", "").replace("'", ""))


def test_whole_numbers_are_whole() -> None:
    parsed = parse_whole_numbers(cells("3", "2.5", None, "-1", "4.0", "x"))
    assert parsed.values.to_list() == [3, None, None, -1, 4, None]
    assert parsed.values.dtype == pl.Int64
    assert sorted(row or 0 for row in refused(parsed)) == [3, 7]
