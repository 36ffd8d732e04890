"""Long, across and dated lines give the same rows."""

from __future__ import annotations

from datetime import date

import dataframely as dy
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sopforecast.core.tables import History
from sopforecast.intake.cells import Cells
from sopforecast.intake.headers import Matched
from sopforecast.intake.parse import ParseOptions
from sopforecast.intake.shapes import Shaped, shape_across, shape_long, sum_lines

SPRING = st.dates(date(2024, 1, 1), date(2024, 4, 30))
OPTIONS = ParseOptions(latest=date(2036, 1, 1), decimal=".")
COLUMNS = {name: column for name, column in History.columns().items() if name != "partial"} | {
    "known_at": dy.Datetime(nullable=True)
}


def shaped(rows: list[dict[str, str]], *, sum_days: bool = False) -> Shaped:
    """Shape rows given as dictionaries of texts."""
    numbers = pl.Series(range(2, len(rows) + 2), dtype=pl.Int64)
    names = dict.fromkeys(name for row in rows for name in row)
    found = {
        name: (
            Cells(
                "h.csv", name, numbers, pl.Series([row.get(name) for row in rows], dtype=pl.String)
            ),
        )
        for name in names
    }
    return shape_long(Matched(found), COLUMNS, rows=numbers, options=OPTIONS, sum_days=sum_days)


def line(day: str, **values: str) -> dict[str, str]:
    return {"unique_id": "A", "ds": day} | values


def test_columns_the_file_does_not_have_are_null_of_their_type() -> None:
    frame = shaped([line("2025-01", y="1")]).frame
    assert frame.select(list(COLUMNS)).dtypes == [column.dtype for column in COLUMNS.values()]
    assert frame["note"].to_list() == [None]


def test_lines_are_added_up_as_their_kind_asks() -> None:
    lines = [
        line("2025-01-20", y="2", backlog="7", stockout_days="1", one_off="2", note="b"),
        line("2025-01-03", y="10", backlog="4", stockout_days="2", note="a"),
        line("2025-01-09", y="-3", backlog="5", stockout_days="0", one_off="0", note="a"),
        line("2025-02-28", y="1"),
    ]
    result = sum_lines(shaped(lines, sum_days=True))
    january, february = result.frame.rows(named=True)
    assert (january["ds"], january["y"], january["_row"]) == (date(2025, 1, 1), 9.0, 2)
    assert (january["backlog"], january["stockout_days"]) == (7.0, 3.0)
    assert january["note"] == "a; b"
    assert january["one_off"] is None  # one line did not say
    assert (february["ds"], february["y"], february["note"]) == (date(2025, 2, 1), 1.0, None)
    assert "4 lines added up to 2 months" in result.notes


def test_a_line_without_quantity_makes_its_month_unknown() -> None:
    result = sum_lines(shaped([line("2025-01-03", y="1"), line("2025-01-04")], sum_days=True))
    assert result.frame["y"].to_list() == [None]
    assert "lines without a quantity make their month unknown (row 3)" in result.notes


@given(
    st.lists(
        st.tuples(
            st.sampled_from("AB"), st.dates(date(2024, 1, 1), date(2024, 4, 30)), st.integers(0, 99)
        ),
        min_size=1,
    )
)
def test_sums_agree_with_a_dictionary(lines) -> None:
    rows = [{"unique_id": i, "ds": day.isoformat(), "y": str(y)} for i, day, y in lines]
    frame = sum_lines(shaped(rows, sum_days=True)).frame
    expected: dict[tuple[str, date], float] = {}
    for item, day, quantity in lines:
        key = (item, day.replace(day=1))
        expected[key] = expected.get(key, 0.0) + quantity
    assert dict(zip(frame.select("unique_id", "ds").rows(), frame["y"], strict=True)) == expected


@pytest.fixture
def across() -> Matched:
    numbers = pl.Series([2, 4], dtype=pl.Int64)

    def cells(name: str, *texts: str | None) -> Cells:
        return Cells("h.csv", name, numbers, pl.Series(texts, dtype=pl.String))

    return Matched(
        found={
            "unique_id": (cells("sku", "A", "B"),),
            "known_at": (cells("known_at", "2025-03-05", None),),
        },
        months=(
            (date(2025, 1, 1), cells("Jan-25", "1", "x")),
            (date(2025, 2, 1), cells("Feb-25", None, "4")),
        ),
    )


def test_months_across_keep_row_and_header_of_each_cell(across) -> None:
    rows = pl.Series([2, 4], dtype=pl.Int64)
    result = shape_across(across, COLUMNS, rows=rows, options=OPTIONS)
    assert result.frame.select("_row", "_column", "unique_id", "y").rows() == [
        (2, "Jan-25", "A", 1.0),
        (4, "Jan-25", "B", None),
        (4, "Feb-25", "B", 4.0),
    ]
    assert [(problem.row, problem.column) for problem in result.problems] == [(4, "Jan-25")]
    assert result.frame["known_at"].is_null().to_list() == [False, True, True]


def test_the_decimal_mark_is_settled_by_the_whole_block(across) -> None:
    jan, feb = across.months
    doubtful = Cells("h.csv", "Jan-25", jan[1].rows, pl.Series(["1,250", "7"]))
    settling = Cells("h.csv", "Feb-25", feb[1].rows, pl.Series(["1,5", "2"]))
    months = ((jan[0], doubtful), (feb[0], settling))
    options = ParseOptions(latest=date(2036, 1, 1))
    matched = Matched(across.found, months)
    result = shape_across(matched, COLUMNS, rows=jan[1].rows, options=options)
    assert result.frame["y"].to_list() == [1.25, 1.5, 7.0, 2.0]
