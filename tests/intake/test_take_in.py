"""The catalogue of bad input: every case names file, row and column, and exits with 1."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Any

import polars as pl
import pytest

from sopforecast.errors import DataError, RequestError
from sopforecast.intake.files import ReadOptions, read_table

TODAY = date(2026, 11, 22)


@dataclass(frozen=True)
class Bad:
    """One bad file: its text, how it is read, and the cell and words the message must hold."""

    text: str
    row: int | None
    column: str | None
    words: str
    table: str = "history"
    options: ReadOptions = field(default_factory=ReadOptions)
    reading: dict[str, Any] = field(default_factory=dict)
    problems: int = 1


MAPPED = ReadOptions(columns={"history": {"unique_id": ["sku", "site"], "ds": "Month", "y": "Qty"}})
FAMILY = ReadOptions(levels=("family",))
ONE = "unique_id,ds,y\nA,2025-01,1\n"


def months(*quantities: object, item: str = "A", start: int = 1) -> str:
    """Rows of one item from the given month of 2025 on."""
    return "".join(f"{item},2025-{start + i:02d},{q}\n" for i, q in enumerate(quantities))


def long(*rows: str) -> str:
    return "unique_id,ds,y\n" + "".join(f"{row}\n" for row in rows)


def items(*rows: str, header: str = "unique_id,family") -> str:
    return header + "\n" + "".join(f"{row}\n" for row in rows)


CATALOGUE = {
    # the header
    "wrong column": Bad(
        "unique_id,ds,y,stockout_day\nA,2025-01,1,2\n",
        1,
        "stockout_day",
        "did you mean 'stockout_days'?",
    ),
    "missing column": Bad("unique_id,ds\nA,2025-01\n", 1, "y", "a column 'y'"),
    "renamed column": Bad("unique_id,ds,qty\nA,2025-01,1\n", 1, "y", "rename 'qty' to 'y'"),
    "duplicate column": Bad("unique_id,ds,y,Y\nA,2025-01,1,1\n", 1, "Y", "this column twice"),
    "values without a name": Bad("unique_id,ds,y,\nA,2025-01,1,7\n", 1, "number 4", "empty header"),
    "mapped column missing": Bad(
        "sku,site,Month,Menge\nA,B,2025-01,1\n", 1, "y", "a column 'Qty'", options=MAPPED
    ),
    "mapped table, near miss": Bad(
        "sku,site,Month,Qty,stockout_dys\nA,B,2025-01,1,1\n",
        1,
        "stockout_dys",
        "did you mean 'stockout_days'?",
        options=MAPPED,
    ),
    "the same month twice across": Bad(
        "unique_id,Jan-25,2025-01\nA,1,1\n", 1, "2025-01", "the month 2025-01 twice"
    ),
    "total column across": Bad("unique_id,Jan-25,Sum\nA,1,1\n", 1, "Sum", "not a month either"),
    "other measure across": Bad(
        "unique_id,Jan-25,stockout_days\nA,1,1\n", 1, "stockout_days", "beside months across"
    ),
    "ds beside months across": Bad(
        "unique_id,ds,y,Jan-25\nA,2025-01,1,1\n", 1, "Jan-25", "either 'ds' and 'y', or months"
    ),
    "shipped without backlog": Bad(
        "unique_id,ds,shipped\nA,2025-01,1\n", 1, "y", "'shipped' and 'backlog'"
    ),
    # the file
    "empty file": Bad("", 1, None, "an empty file"),
    "blank file": Bad("\n  \n,,\n", 1, None, "an empty file"),
    "header only": Bad("unique_id,ds,y\n", 1, None, "no rows below"),
    "open quote": Bad('unique_id,ds,y\nA,2025-01,1\nB,2025-01,"2\n', 3, None, "quote left open"),
    "row too long": Bad(long("A,2025-01,12,5"), 2, None, "a number with a decimal comma"),
    "row too short": Bad(long("A,2025-01,1", "B,2025-02"), 3, None, "2 cells"),
    # numbers
    "unparsable number": Bad(long("A,2025-01,1", "A,2025-02,12x"), 3, "y", "found '12x'"),
    "N/A": Bad(long("A,2025-01,N/A"), 2, "y", "leave the cell empty"),
    "dash": Bad(long("A,2025-01,-"), 2, "y", "leave the cell empty"),
    "excel error": Bad(long("A,2025-01,#REF!"), 2, "y", "an Excel error"),
    "NaN": Bad(long("A,2025-01,NaN"), 2, "y", "found 'NaN'"),
    "infinite": Bad(long("A,2025-01,inf"), 2, "y", "found 'inf'"),
    "minus infinite": Bad(long("A,2025-01,-inf"), 2, "y", "found '-inf'"),
    "overflowing": Bad(long("A,2025-01,1e999"), 2, "y", "a finite number"),
    "1e300": Bad(long("A,2025-01,1e300"), 2, "y", "at most 1e13"),
    "1e-300": Bad(long("A,2025-01,1e-300"), 2, "y", "at least 0.000001"),
    "boolean": Bad(long("A,2025-01,TRUE"), 2, "y", "found 'TRUE'"),
    "currency": Bad(long("A,2025-01,€12"), 2, "y", "unit or currency"),
    "unit": Bad(long("A,2025-01,12 kg"), 2, "y", "unit or currency"),
    "percent": Bad(long("A,2025-01,12%"), 2, "y", "percent"),
    "accounting negative": Bad(long("A,2025-01,(12)"), 2, "y", "minus sign in front"),
    "trailing minus": Bad(long("A,2025-01,12-"), 2, "y", "minus sign in front"),
    "two decimal marks": Bad(
        "unique_id;ds;y\nA;2025-01;1,5\nA;2025-02;2,5\nA;2025-03;3.5\n", 4, "y", "decimal comma"
    ),
    "thousands or decimals, comma": Bad(
        'unique_id,ds,y\nA,2025-01,"1,234"\n', 2, "y", "write 1234 or 1.234"
    ),
    "thousands or decimals, point": Bad(
        "unique_id;ds;y\nA;2025-01;1.234\nA;2025-02;7\n", 2, "y", "write 1234 or 1.234"
    ),
    "negative": Bad(long("A,2025-01,-4"), 2, "y", "negative = 'net'"),
    "too many stock-out days": Bad(
        "unique_id,ds,y,stockout_days\nA,2025-01,1,32\n", 2, "stockout_days", "at most 31"
    ),
    "negative backlog": Bad(
        "unique_id,ds,y,backlog\nA,2025-01,1,-1\n",
        2,
        "backlog",
        "0 or more",
        options=ReadOptions(negative="net"),
    ),
    "shipments that make demand negative": Bad(
        "unique_id,ds,shipped,backlog\nA,2025-01,5,20\nA,2025-02,5,3\n",
        3,
        "shipped",
        "demand of -12 (shipped 5",
    ),
    # dates
    "unparsable date": Bad(long("A,soon,1"), 2, "ds", "found 'soon'"),
    "no such month": Bad(long("A,2025-13,1"), 2, "ds", "found '2025-13'"),
    "no such day": Bad(long("A,2025-02-29,1"), 2, "ds", "found '2025-02-29'"),
    "quarter": Bad(long("A,2025-Q1,1"), 2, "ds", "found '2025-Q1'"),
    "week": Bad(long("A,2025-W07,1"), 2, "ds", "found '2025-W07'"),
    "mid-month": Bad(long("A,2025-01-01,1", "A,2025-02-14,1"), 3, "ds", "--sum"),
    "month end among month starts": Bad(
        long("A,2025-01-01,1", "A,2025-02-28,1"), 3, "ds", "write '2025-02'"
    ),
    "time of day": Bad(long("A,2025-01-01 08:30,1"), 2, "ds", "time of day"),
    "month end in another zone": Bad(long("A,2025-01-31T23:00:00Z,1"), 2, "ds", "time of day"),
    "day or month first": Bad(long("A,02/03/2025,1"), 2, "ds", "2025-03-02 or 2025-02-03"),
    "day and month first": Bad(
        long("A,31/01/2025,1", "A,28/02/2025,1", "A,03/31/2025,1"), 4, "ds", "same order"
    ),
    "year 1": Bad(long("A,0001-01,1"), 2, "ds", "from 1950-01 to 2036-10"),
    "year 9999": Bad(long("A,9999-12,1"), 2, "ds", "from 1950-01 to 2036-10"),
    "two-digit year": Bad(long("A,01/02/25,1"), 2, "ds", "found '01/02/25'"),
    "ambiguous lines to sum": Bad(
        long("A,02/03/2025,1"), 2, "ds", "read in one way", reading={"sum_days": True}
    ),
    "empty month": Bad(
        long("A,2025-01,1", ",,", "A,,2"),
        4,
        "ds",
        "an empty cell; allowed: a month such as 2025-01; fill it in or delete the row",
    ),
    "empty date of a line to sum": Bad(
        long("A,2025-01-09,1", "A,,2"), 3, "ds", "such as 2025-01-31", reading={"sum_days": True}
    ),
    "title above the header": Bad(
        "Demand of Europe,,\n\nunique_id,ds,y\nA,2025-01,1\n",
        1,
        None,
        "the header seems to be in row 3: delete the rows above it",
    ),
    "short title above semicolons": Bad(
        "Demand\nunique_id;ds;y\nA;2025-01;1\n", 1, None, "the header seems to be in row 2"
    ),
    # keys
    "duplicate key, same value": Bad(
        long("A,2025-01,1", "B,2025-01,1", "A,2025-01,1"), 4, "ds", "(first in row 2)"
    ),
    "duplicate key, other value": Bad(
        long("A,2025-01,1", "A,Jan-25,2"), 3, "ds", "'A', 2025-01 a second time (first in row 2)"
    ),
    "duplicate after trimming": Bad(
        long("A,2025-01,1", " A ,2025-01,2"), 3, "ds", "(first in row 2)"
    ),
    "duplicate after normalising": Bad(
        long("caf\u00e9,2025-01,1", "cafe\u0301,2025-01,2"), 3, "ds", "(first in row 2)"
    ),
    "duplicate across": Bad(
        "unique_id,Jan-25,Feb-25\nA,1,2\nA,,3\n", 3, "Feb-25", "'A', 2025-02 a second time"
    ),
    "empty id": Bad(long("A,2025-01,1", ",2025-02,1"), 3, "unique_id", "an empty cell"),
    "NUL in id": Bad(long("A\0B,2025-01,1"), 2, "unique_id", "U+0000"),
    "zero-width blank in id": Bad(long("A\u200bB,2025-01,1"), 2, "unique_id", "U+200B"),
    "long id": Bad(long(f"{'x' * 201},2025-01,1"), 2, "unique_id", "at most 200 characters"),
    "huge id": Bad(long(f"{'x' * 10_000},2025-01,1"), 2, "unique_id", "(10000 now)"),
    "id shortened by Excel": Bad(long("1.23E+12,2025-01,1"), 2, "unique_id", "Excel shortened it"),
    "total row": Bad(
        long("A,2025-01,1", "Total,2025-01,1"), 3, "unique_id", "delete the total row"
    ),
    "id that names an aggregate": Bad(
        long("family=Oncology,2025-01,1"), 2, "unique_id", "look like a sum", options=FAMILY
    ),
    "id part holds the separator": Bad(
        "sku,site,Month,Qty\nA|B,C,2025-01,1\n", 2, "sku", "without '|'", options=MAPPED
    ),
    "empty id part": Bad(
        "sku,site,Month,Qty\nA,,2025-01,1\n", 2, "site", "an id in every row", options=MAPPED
    ),
    # what is known
    "known later than today": Bad(
        "unique_id,ds,y,known_at\nA,2025-01,1,2026-11-23\n", 2, "known_at", "up to today"
    ),
    "known before it happened": Bad(
        "unique_id,ds,y,known_at\nA,2025-01,1,2024-12-31\n", 2, "known_at", "within or after"
    ),
    "ambiguous known_at": Bad(
        "unique_id,ds,y,known_at\nA,2025-01,1,02/03/2025\n", 2, "known_at", "year-month-day"
    ),
    "unit slip in the file": Bad(
        "unique_id,ds,y\n" + months(110, 95, 104, 99, 101, 98000),
        7,
        "y",
        "970 times its usual month (101)",
    ),
    "unit slip against the store": Bad(
        long("A,2025-04,101000"),
        2,
        "y",
        "unit_slip = 'allow'",
        reading={
            "known": pl.DataFrame(
                {
                    "unique_id": ["A"] * 3,
                    "ds": [date(2025, m, 1) for m in (1, 2, 3)],
                    "y": [99.0, 100.0, 101.0],
                }
            )
        },
    ),
    "unit slip across": Bad(
        "unique_id,Jan-25,Feb-25,Mar-25,Apr-25\nA,100,99,101,100000\n", 2, "Apr-25", "1,000 times"
    ),
    "unit slip by a million in the first month": Bad(
        "unique_id,ds,y\n" + months(98e6, 95, 104, 99), 2, "y", "times its usual month (99)"
    ),
    "unknown item": Bad(
        long("SKU-1,2025-01,1", "SKU-7,2025-01,1"),
        3,
        "unique_id",
        "unknown item 'SKU-7': it has no place in the hierarchy",
        options=FAMILY,
        reading={"items_known": {"SKU-1", "SKU-2"}},
    ),
    "unknown parent": Bad(
        "unique_id,family,ds,y\nA,Onco,2025-01,1\n",
        2,
        "family",
        "unknown parent 'Onco'",
        options=FAMILY,
        reading={"items_known": {"A"}, "levels_known": {"family": {"Oncology"}}},
    ),
    # items
    "item without its level": Bad(
        items("A,Onc", "B,"), 3, "family", "for item 'B'", table="items", options=FAMILY
    ),
    "items without a level column": Bad(
        items("A,x", header="unique_id,description"),
        1,
        "family",
        "a column 'family'",
        table="items",
        options=FAMILY,
    ),
    "misspelt level column": Bad(
        items("A,x", header="unique_id,famly"),
        1,
        "family",
        "rename 'famly' to 'family'",
        table="items",
        options=FAMILY,
    ),
    "undeclared column of items": Bad(
        items("A,EU", header="unique_id,region"), 1, "region", "an unknown column", table="items"
    ),
    "unknown status": Bad(
        items("A,actve", header="unique_id,status"), 2, "status", "did you mean 'active'?", "items"
    ),
    "end before launch": Bad(
        items("A,2025-03,2025-02", header="unique_id,launch_ds,end_ds"),
        2,
        "end_ds",
        "not before launch_ds",
        table="items",
    ),
    "negative lead time": Bad(
        items("A,-3", header="unique_id,lead_time_days"), 2, "lead_time_days", "at least 0", "items"
    ),
    "plan factor of zero": Bad(
        items("A,0", header="unique_id,plan_factor"), 2, "plan_factor", "more than 0", "items"
    ),
    "duplicate item": Bad(
        items("A,x", "B,x", "A,y"), 4, "unique_id", "(first in row 2)", "items", FAMILY
    ),
    "excel error in a text": Bad(
        items("A,#N/A", header="unique_id,description"), 2, "description", "Excel error", "items"
    ),
}


@pytest.mark.parametrize("bad", CATALOGUE.values(), ids=CATALOGUE.keys())
def test_bad_input_is_refused_with_its_place(bad: Bad, tmp_path) -> None:
    path = tmp_path / f"{bad.table}.csv"
    path.write_text(bad.text, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_table(path, table=bad.table, options=bad.options, today=TODAY, **bad.reading)
    assert caught.value.exit_code == 1
    assert len(caught.value.problems) == bad.problems, str(caught.value)
    (problem,) = caught.value.problems
    assert (problem.file, problem.row, problem.column) == (path.name, bad.row, bad.column)
    assert bad.words in str(problem)
    place = ", ".join(
        str(part)
        for part in (
            path.name,
            bad.row is not None and f"row {bad.row}",
            bad.column is not None and f"column {bad.column}",
        )
        if part
    )
    assert f"{place}: found " in str(caught.value)


def test_every_problem_is_counted_and_the_first_twenty_shown(tmp_path) -> None:
    path = tmp_path / "history.csv"
    path.write_text("unique_id,ds,y\n" + "".join(f"A{i},2025-01,x\n" for i in range(30)))
    with pytest.raises(DataError) as caught:
        read_table(path, table="history", options=ReadOptions(), today=TODAY)
    assert len(caught.value.problems) == 30
    assert "30 problems" in str(caught.value)
    assert "row 21, column y" in str(caught.value)
    assert "row 22" not in str(caught.value)
    assert "... and 10 more" in str(caught.value)


def test_problems_of_cells_and_of_rows_come_together_in_row_order(tmp_path) -> None:
    path = tmp_path / "history.csv"
    path.write_text("unique_id,ds,y\nA,2025-01,1\nA,2025-01,2\nB,oops,1\nB,2025-02,-1\nB,,1\n")
    with pytest.raises(DataError) as caught:
        read_table(path, table="history", options=ReadOptions(), today=TODAY)
    found = [(problem.row, problem.column) for problem in caught.value.problems]
    assert found == [(3, "ds"), (4, "ds"), (5, "y"), (6, "ds")]


def test_row_numbers_count_blank_rows_and_rows_inside_quotes(tmp_path) -> None:
    path = tmp_path / "history.csv"
    path.write_text('unique_id,ds,y,note\nA,2025-01,1,"two\nlines"\n\nB,2025-01,x,\n')
    with pytest.raises(DataError) as caught:
        read_table(path, table="history", options=ReadOptions(), today=TODAY)
    # a spreadsheet shows: header 1, A 2 (with its line break), blank 3, B 4
    assert caught.value.problems[0].row == 4


def test_settings_that_map_an_unknown_column_are_refused(tmp_path) -> None:
    path = tmp_path / "history.csv"
    path.write_text(ONE)
    options = ReadOptions(columns={"history": {"unique_idd": "sku"}})
    with pytest.raises(RequestError, match="did you mean 'unique_id'"):
        read_table(path, table="history", options=options, today=TODAY)


def test_only_an_id_may_be_built_from_several_columns(tmp_path) -> None:
    path = tmp_path / "history.csv"
    path.write_text(ONE)
    options = ReadOptions(columns={"history": {"y": ["a", "b"]}})
    with pytest.raises(RequestError, match="only unique_id may be built from several"):
        read_table(path, table="history", options=options, today=TODAY)


def test_a_level_named_like_a_column_of_items_is_refused(tmp_path) -> None:
    path = tmp_path / "items.csv"
    path.write_text("unique_id,unit\nA,kg\n")
    with pytest.raises(RequestError, match="found 'unit', a column items already has"):
        read_table(path, table="items", options=ReadOptions(levels=("unit",)), today=TODAY)


def test_unknown_items_are_a_note_without_levels_and_nothing_without_items(tmp_path) -> None:
    path = tmp_path / "history.csv"
    path.write_text(ONE)
    options = ReadOptions()
    noted = read_table(path, table="history", options=options, today=TODAY, items_known={"B"})
    assert noted.notes == ("1 item with history and no row in items: A",)
    silent = read_table(path, table="history", options=FAMILY, today=TODAY, items_known=set())
    assert silent.notes == ()


def test_families_that_differ_in_case_or_blanks_are_a_note(tmp_path) -> None:
    path = tmp_path / "items.csv"
    path.write_text(items("A,Onc", "B,onc", "C,O nc", "D,Card"))
    read = read_table(path, table="items", options=FAMILY, today=TODAY)
    (note,) = read.notes
    assert "family: 'Onc', 'onc', 'O nc' differ only in case or blanks" in note
    assert read.frame["family"].to_list() == ["Onc", "onc", "O nc", "Card"]
