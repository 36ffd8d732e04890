"""Good files of every kind come in as the same frame; workbooks sheet by sheet."""

from __future__ import annotations

import time
from datetime import date, datetime
from pathlib import Path

import openpyxl
import polars as pl
import pytest
import xlsxwriter
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from sopforecast.core.months import add_months
from sopforecast.core.tables import History, Items
from sopforecast.errors import DataError, RequestError
from sopforecast.intake.exports import write_table
from sopforecast.intake.files import ParsedTable, ReadOptions, read_table, read_workbook

TODAY = date(2026, 11, 22)
FIRST = date(2024, 1, 1)
FAMILY = ReadOptions(levels=("family",))


def read(path: Path, text: str | bytes | None = None, **options: object) -> ParsedTable:
    """Write a history file when a text is given, and read it."""
    if isinstance(text, str):
        path.write_text(text, encoding="utf-8")
    elif text is not None:
        path.write_bytes(text)
    reading = {"table": "history", "options": ReadOptions(), "today": TODAY} | options
    return read_table(path, **reading)


def triples(parsed: ParsedTable) -> list[tuple[str, str, float | None]]:
    """The rows of a history as (id, month, quantity)."""
    frame = parsed.frame.select("unique_id", pl.col("ds").dt.to_string("%Y-%m"), "y")
    return [tuple(row) for row in frame.rows()]


# ids a planner may really have, among them formulas, paths, script and numbers with zeros
ids = st.one_of(
    st.from_regex(r"[A-Z0-9]{1,6}", fullmatch=True),
    st.sampled_from(
        [
            "00417",
            "=1+1",
            "-5",
            "@x",
            "'=1",
            "NA",
            "None",
            "a,b",
            "a;b",
            'say "x"',
            "../x",
            "é",
            "名",
            "<script>",
            "x'); DROP TABLE x;--",
            "emoji 🙂",
            "1-2",
            "1.0",
            "TRUE",
            "שלום",
        ]
    ),
)
quantities = st.one_of(
    st.integers(0, 100_000).map(float),
    st.floats(0.001, 400, allow_nan=False).map(lambda value: round(value, 3)),
)
histories = st.lists(
    st.tuples(ids, st.integers(0, 23), quantities),
    min_size=1,
    max_size=30,
    unique_by=lambda row: (row[0], row[1]),
)


def frame_of(rows: list[tuple[str, int, float]]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "unique_id": [row[0] for row in rows],
            "ds": [add_months(FIRST, row[1]) for row in rows],
            "y": [row[2] for row in rows],
        },
        schema={"unique_id": pl.String, "ds": pl.Date, "y": pl.Float64},
    )


def across(history: pl.DataFrame) -> pl.DataFrame:
    wide = history.sort("ds").with_columns(pl.col("ds").dt.to_string("%b-%y"))
    return wide.pivot("ds", index="unique_id", values="y")


@settings(max_examples=60, deadline=None)
@given(
    rows=histories, suffix=st.sampled_from([".csv", ".parquet", ".xlsx"]), is_across=st.booleans()
)
def test_any_history_comes_back_from_any_format_and_shape(
    tmp_path_factory, rows, suffix, is_across
) -> None:
    history = frame_of(rows)
    path = tmp_path_factory.mktemp("round") / f"history{suffix}"
    write_table(path, across(history) if is_across else history)
    # 1.234 in a csv alone says nothing of its mark, so the mark is named
    options = ReadOptions(unit_slip="allow", decimal=".")
    parsed = read_table(path, table="history", options=options, today=TODAY)
    assert_frame_equal(parsed.frame.select("unique_id", "ds", "y"), history.sort("unique_id", "ds"))
    History.validate(parsed.frame, cast=False)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".xlsx"])
def test_an_export_of_history_loads_again(tmp_path, suffix) -> None:
    text = "unique_id,ds,y,one_off,note\n007,2025-01,10.5,2,tender\n007,2025-02,,,\n"
    first = read(tmp_path / "in.csv", text)
    write_table(tmp_path / f"history{suffix}", first.frame)
    again = read(tmp_path / f"history{suffix}")
    assert_frame_equal(again.frame, first.frame)
    assert "not read here, they belong elsewhere: partial" in again.notes


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".xlsx"])
def test_what_an_export_says_of_earlier_loads_is_left_out(tmp_path, suffix) -> None:
    texts = {
        "history": "unique_id,ds,y\n007,2025-01,10.5\n007,2025-02,\n",
        "items": "unique_id,family\n007,Onc\n",
    }
    for table, text in texts.items():
        (tmp_path / "in.csv").write_text(text)
        path = tmp_path / f"{table}{suffix}"
        options = ReadOptions(levels=("family",) if table == "items" else ())
        first = read_table(tmp_path / "in.csv", table=table, options=options, today=TODAY)
        exported = first.frame.with_columns(
            known_at=datetime(2025, 3, 1),
            assumed=True,
            load_id=pl.lit("l1"),
            loaded_by=pl.lit("me"),
        )
        write_table(path, exported)
        again = read_table(path, table=table, options=options, today=TODAY)
        assert_frame_equal(again.frame, first.frame)
        assert any(note.endswith(": known_at, assumed, load_id, loaded_by") for note in again.notes)


def test_250_000_rows_are_read_and_parsed_in_three_seconds(tmp_path) -> None:
    months = [f"{2022 + k // 12}-{k % 12 + 1:02d}" for k in range(50)]
    lines = (
        f"SKU-{i:05d},{month},{i % 97 + k * 0.125 + 1}\n"
        for i in range(5_000)
        for k, month in enumerate(months)
    )
    (tmp_path / "history.csv").write_text("unique_id,ds,y\n" + "".join(lines))
    seconds = []
    while not seconds or (min(seconds) >= 3 and len(seconds) < 3):  # the machine may be busy
        started = time.perf_counter()
        parsed = read(tmp_path / "history.csv")
        seconds.append(time.perf_counter() - started)
    assert parsed.frame.height == 250_000
    assert min(seconds) < 3, seconds


# the shapes of a csv


@pytest.mark.parametrize(
    "raw",
    [
        b"unique_id;ds;y\n007;2025-01;12,5\n007;2025-02;1.200,25\n",
        b"unique_id\tds\ty\r\n007\t2025-01\t12.5\r\n007\t2025-02\t1200.25\r\n",
        b"\xef\xbb\xbfunique_id,ds,y\n007,2025-01,12.5\n007,2025-02,1200.25\n",
        "unique_id,ds,y\n007,2025-01,12.5\n007,2025-02,1200.25\n".encode("utf-16"),
        "unique_id,ds,y\r007,2025-01,12.5\r007,2025-02,1200.25\r".encode("utf-16-le"),
        b"sep=;\nunique_id;ds;y\n007;2025-01;12,5\n007;2025-02;1 200,25\n",
        b'"unique_id","ds","y"\n"007","2025-01","12.5"\n\n,,\n"007","2025-02","1,200.25"\n',
        b"Unique ID,DS,Y,\n 007 ,2025-01,12.5,\n007,2025-02,+1200.25,\n",
        "unique_id;ds;y\n007;2025-01;12,5\n007;2025-02;1\u202f200,25\n".encode(),
    ],
    ids=["semicolon", "tab", "bom", "utf-16", "cr", "sep=", "quotes", "loose header", "narrow"],
)
def test_the_usual_shapes_of_csv_mean_the_same(tmp_path, raw) -> None:
    parsed = read(tmp_path / "history.csv", raw)
    assert triples(parsed) == [("007", "2025-01", 12.5), ("007", "2025-02", 1200.25)]


@pytest.mark.parametrize(
    "month",
    [
        "2025-03",
        "2025-03-01",
        "2025/3",
        "202503",
        "20250301",
        "Mar-25",
        "March 2025",
        "03/2025",
        "45717",
        "01.03.2025",
        "1 Mar 2025",
        "2025-03-01 00:00:00",
        "2025-Mar",
        "2025M03",
        "2025-03-01T00:00:00Z",
        "31.03.2025",
        "3.2025",
        "mar 2025",
    ],
)
def test_the_usual_ways_to_write_a_month_mean_the_same(tmp_path, month) -> None:
    parsed = read(tmp_path / "history.csv", f"unique_id,ds,y\nA,{month},1\n")
    assert triples(parsed) == [("A", "2025-03", 1.0)]


def test_months_across_take_the_same_spellings(tmp_path) -> None:
    text = "unique_id,Jan-25,2025-02,03/2025,2025-04-01,45778,June 2025\nA,1,2,3,4,5,\n"
    parsed = read(tmp_path / "history.csv", text)
    assert triples(parsed) == [("A", f"2025-0{m}", float(m)) for m in range(1, 6)]


def test_month_ends_throughout_are_months_and_noted(tmp_path) -> None:
    text = "unique_id,ds,y\nA,2025-01-31,1\nA,2025-02-28,2\n"
    parsed = read(tmp_path / "history.csv", text)
    assert triples(parsed) == [("A", "2025-01", 1.0), ("A", "2025-02", 2.0)]
    assert parsed.notes == ("column ds: month-end dates are read as their month",)


def test_empty_is_unknown_in_the_long_form_and_absent_across(tmp_path) -> None:
    long = read(tmp_path / "long.csv", "unique_id,ds,y\nA,2025-01,\nA,2025-02,0\n")
    assert triples(long) == [("A", "2025-01", None), ("A", "2025-02", 0.0)]
    assert long.notes == ("1 month without a quantity read as unknown",)
    wide = read(tmp_path / "wide.csv", "unique_id,Jan-25,Feb-25\nA,,0\n")
    assert triples(wide) == [("A", "2025-02", 0.0)]


def test_western_windows_text_is_read_with_a_note_and_other_code_pages_refused(tmp_path) -> None:
    text = "unique_id,ds,y\nA,2025-01,1\nCrème,2025-01,5\n"
    parsed = read(tmp_path / "history.csv", text.encode("cp1252"))
    assert parsed.frame["unique_id"].to_list() == ["A", "Crème"]
    assert "row 3 reads 'Crème'" in parsed.notes[0]
    with pytest.raises(DataError, match=r"history.csv, row 2: found a byte .0xB3.*CSV UTF-8"):
        read(tmp_path / "history.csv", "unique_id,ds,y\nłódź,2025-01,5\n".encode("cp1250"))


def test_partial_months_are_kept_and_marked(tmp_path) -> None:
    text = "unique_id,ds,y\nA,2026-10,1\nA,2026-11,2\nA,2026-12,3\n"
    parsed = read(tmp_path / "history.csv", text)
    assert parsed.frame["partial"].to_list() == [False, True, True]
    assert parsed.partial["ds"].to_list() == [date(2026, 11, 1), date(2026, 12, 1)]
    assert parsed.notes == (
        "2 rows after 2026-10 kept as partial, never fitted or scored (2026-11, 2026-12)",
        "1 row in months that have not begun: are they plans?",
    )
    earlier = read(tmp_path / "history.csv", through=date(2026, 9, 1))
    assert earlier.frame["partial"].to_list() == [True, True, True]


def test_foreign_columns_and_ids_of_several_columns(tmp_path) -> None:
    mapping = {"unique_id": ["sku", "site"], "ds": "Month", "y": "Qty"}
    options = ReadOptions(columns={"history": mapping}, id_separator="/")
    text = "sku,plant name,site,Month,Qty\n007,Basel,B,2025-01,12\n"
    parsed = read(tmp_path / "history.csv", text, options=options)
    assert triples(parsed) == [("007/B", "2025-01", 12.0)]
    assert parsed.notes == ("not read, [columns.history] does not name them: plant name",)
    own = read(tmp_path / "own.csv", "unique_id,ds,y\n007/B,2025-01,12\n", options=options)
    assert_frame_equal(own.frame, parsed.frame)


def test_foreign_ids_beside_months_across(tmp_path) -> None:
    options = ReadOptions(columns={"history": {"unique_id": ["sku", "site"]}})
    parsed = read(tmp_path / "h.csv", "sku,site,Jan-25,Feb-25\n007,B,1,2\n", options=options)
    assert triples(parsed) == [("007|B", "2025-01", 1.0), ("007|B", "2025-02", 2.0)]


def test_known_at_makes_versions_of_one_key(tmp_path) -> None:
    text = (
        "unique_id,ds,y,known_at\nA,2025-01,10,2025-02-05\n"
        "A,2025-01,12,2025-03-05T10:00:00+02:00\nA,2025-02,7,\n"
    )
    parsed = read(tmp_path / "history.csv", text)
    assert parsed.frame.select("ds", "y", "known_at").rows() == [
        (date(2025, 1, 1), 10.0, datetime(2025, 2, 5)),
        (date(2025, 1, 1), 12.0, datetime(2025, 3, 5, 8)),
        (date(2025, 2, 1), 7.0, None),
    ]
    assert parsed.given == ("unique_id", "ds", "y", "known_at")


def test_items_keep_level_columns_and_the_schema(tmp_path) -> None:
    text = "Unique ID,Family,status,launch_ds,plan_factor\n007,Oncology,Phase out,Jan-25,0.5\n"
    (tmp_path / "items.csv").write_text(text)
    parsed = read_table(tmp_path / "items.csv", table="items", options=FAMILY, today=TODAY)
    assert parsed.frame.columns == [*Items.columns(), "family"]
    Items.validate(parsed.frame.drop("family"), cast=False)
    row = parsed.frame.row(0, named=True)
    assert (row["status"], row["launch_ds"], row["family"]) == (
        "phase_out",
        date(2025, 1, 1),
        "Oncology",
    )
    assert parsed.given == ("unique_id", "status", "launch_ds", "plan_factor", "family")


# what the file system holds


@pytest.mark.parametrize(
    ("name", "words"),
    [("none.csv", "no such file"), (".", "a folder"), ("history.ods", "found a .ods file")],
)
def test_files_that_cannot_be_read_are_named(tmp_path, name, words) -> None:
    (tmp_path / "history.ods").write_text("x")
    with pytest.raises(RequestError, match=words) as caught:
        read(tmp_path / name)
    assert caught.value.exit_code == 1


def test_an_unknown_table_lists_the_known_ones(tmp_path) -> None:
    (tmp_path / "h.csv").write_text("x")
    with pytest.raises(
        RequestError, match=r"items, history, prices, overrides, studies.*; did you mean 'history'"
    ):
        read(tmp_path / "h.csv", table="histroy")


@pytest.mark.parametrize("suffix", [".xlsx", ".parquet"])
def test_a_csv_under_another_name_is_refused(tmp_path, suffix) -> None:
    with pytest.raises(DataError, match=f"history{suffix}: found"):
        read(tmp_path / f"history{suffix}", "unique_id,ds,y\nA,2025-01,1\n")


# workbooks


def book_of(path: Path, **sheets: list[list[object]]) -> Path:
    """Write a workbook with openpyxl, which keeps the types of values."""
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


HISTORY_ROWS = [["unique_id", "ds", "y"], ["007", datetime(2025, 1, 1), 12.5]]
ITEM_ROWS = [["unique_id", "family"], ["007", "Oncology"]]


def test_a_book_gives_each_table_and_leaves_out_guide_and_private_sheets(tmp_path) -> None:
    path = book_of(
        tmp_path / "book.xlsx",
        Guide=[["anything"]],
        _scratch=[["x"], [1]],
        Sheet3=[],
        History=HISTORY_ROWS,
        items=ITEM_ROWS,
    )
    items, history = read_workbook(path, options=FAMILY, today=TODAY)
    assert (items.table, items.file) == ("items", "book.xlsx[items]")
    assert triples(history) == [("007", "2025-01", 12.5)]


def test_history_of_a_book_is_checked_against_its_items(tmp_path) -> None:
    rows = [*HISTORY_ROWS, ["008", datetime(2025, 1, 1), 1]]
    path = book_of(tmp_path / "book.xlsx", history=rows, items=ITEM_ROWS)
    place = r"book.xlsx\[history\], row 3, column unique_id: found unknown item '008'"
    with pytest.raises(DataError, match=place):
        read_workbook(path, options=FAMILY, today=TODAY)
    tables = read_workbook(path, options=FAMILY, today=TODAY, items_known={"008"})
    assert [parsed.frame.height for parsed in tables] == [1, 2]


def test_a_parent_beside_history_must_exist_in_the_book(tmp_path) -> None:
    history = [["unique_id", "family", "Jan-25"], ["007", "Onclogy", 1]]
    path = book_of(tmp_path / "book.xlsx", history=history, items=ITEM_ROWS)
    with pytest.raises(DataError, match=r"row 2, column family: .*did you mean 'Oncology'"):
        read_workbook(path, options=FAMILY, today=TODAY)


def test_problems_of_all_sheets_come_together(tmp_path) -> None:
    path = book_of(
        tmp_path / "book.xlsx",
        items=[["unique_id", "family"], ["007", None]],
        history=[["unique_id", "ds", "y"], ["007", "soon", 1]],
        histori=[["x"], [1]],
    )
    with pytest.raises(DataError) as caught:
        read_workbook(path, options=FAMILY, today=TODAY)
    files = {problem.file for problem in caught.value.problems}
    assert files == {"book.xlsx[items]", "book.xlsx[history]", "book.xlsx[histori]"}
    assert "did you mean 'history'?" in str(caught.value)


def test_a_book_with_headers_alone_has_nothing_to_load(tmp_path) -> None:
    path = book_of(tmp_path / "book.xlsx", history=HISTORY_ROWS[:1], items=ITEM_ROWS[:1])
    with pytest.raises(DataError, match="nothing to load: no rows below the header of"):
        read_workbook(path, options=FAMILY, today=TODAY)


def test_hidden_sheets_are_left_out_unless_they_are_tables(tmp_path) -> None:
    path = tmp_path / "book.xlsx"
    with xlsxwriter.Workbook(path) as book:
        for name in ("history", "addin"):
            sheet = book.add_worksheet(name)
            sheet.write_row(0, 0, ["unique_id", "ds", "y"])
            sheet.write_row(1, 0, ["A", "2025-01", 3])
        sheet.hide()
    (history,) = read_workbook(path, options=ReadOptions(), today=TODAY)
    assert triples(history) == [("A", "2025-01", 3.0)]


def test_one_sheet_is_chosen_by_name_or_because_it_is_alone(tmp_path) -> None:
    alone = book_of(tmp_path / "alone.xlsx", Tabelle1=HISTORY_ROWS)
    assert read(alone).file == "alone.xlsx[Tabelle1]"
    two = book_of(tmp_path / "two.xlsx", a=HISTORY_ROWS, b=HISTORY_ROWS)
    assert read(two, sheet="B").file == "two.xlsx[b]"
    with pytest.raises(RequestError, match="no sheet 'history'; allowed: a, b"):
        read(two)
    with pytest.raises(RequestError, match="no sheet 'c'"):
        read(two, sheet="c")


def test_a_csv_has_no_sheets_and_a_book_needs_no_table(tmp_path) -> None:
    (tmp_path / "h.csv").write_text("unique_id,ds,y\nA,2025-01,1\n")
    with pytest.raises(RequestError, match="only workbooks"):
        read(tmp_path / "h.csv", sheet="x")
    with pytest.raises(RequestError, match="without a table name"):
        read_workbook(tmp_path / "h.csv", options=ReadOptions(), today=TODAY)


@pytest.mark.parametrize("name", ["history.csv", "history.xlsx", "history.parquet"])
def test_a_file_the_system_refuses_is_named(tmp_path, monkeypatch, name) -> None:
    path = tmp_path / name
    path.write_text("unique_id,ds,y\nA,2025-01,1\n")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(RequestError, match=f"{name}: cannot be read .Permission denied"):
        read(path)


def test_a_sheet_without_a_cell_is_refused(tmp_path) -> None:
    path = book_of(tmp_path / "book.xlsx", history=[])
    with pytest.raises(DataError, match=r"book.xlsx\[history\], row 1: found no cell"):
        read(path)
