"""Exports: whole or not at all, and no live formulas."""

from __future__ import annotations

import stat
from datetime import UTC, date, datetime

import openpyxl
import polars as pl
import pytest
from openpyxl.utils.escape import unescape
from polars.testing import assert_frame_equal

from sopforecast.errors import RequestError
from sopforecast.intake import exports
from sopforecast.intake.exports import write_table, written_whole

DANGEROUS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "'=1", "http://x.y", "007", "plain"]


def test_csv_text_is_guarded_and_numbers_are_not(tmp_path) -> None:
    frame = pl.DataFrame({"text": DANGEROUS, "number": [-1.5] * len(DANGEROUS)})
    path = write_table(tmp_path / "t.csv", frame)
    back = pl.read_csv(path, infer_schema=False)
    guarded = [f"'{text}" if text[0] in "=+-@\t\r'" else text for text in DANGEROUS]
    assert back["text"].to_list() == guarded
    assert set(back["number"]) == {"-1.5"}


def test_choices_are_guarded_too(tmp_path) -> None:
    frame = pl.DataFrame({"c": pl.Series(["=1"], dtype=pl.Enum(["=1"]))})
    assert write_table(tmp_path / "t.csv", frame).read_text() == "c\n'=1\n"


def test_xlsx_keeps_text_as_text(tmp_path) -> None:
    path = write_table(tmp_path / "t.xlsx", pl.DataFrame({"text": DANGEROUS}))
    cells = [row[0] for row in openpyxl.load_workbook(path)["data"].iter_rows(min_row=2)]
    assert [unescape(cell.value) for cell in cells] == DANGEROUS
    assert {cell.data_type for cell in cells} == {"s"}
    assert all(cell.hyperlink is None for cell in cells)


def test_xlsx_keeps_types(tmp_path) -> None:
    frame = pl.DataFrame(
        {
            "day": [date(2025, 1, 1), None],
            "at": [datetime(2025, 1, 1, 8, 30, tzinfo=UTC), None],
            "n": [1.25, None],
            "flag": [True, None],
        }
    )
    path = write_table(tmp_path / "t.xlsx", frame)
    rows = list(openpyxl.load_workbook(path)["data"].iter_rows(values_only=True))
    assert rows[0] == ("day", "at", "n", "flag")
    assert rows[1] == (datetime(2025, 1, 1), datetime(2025, 1, 1, 8, 30), 1.25, True)
    assert len(rows) == 2  # a row of nulls has no cell


def test_parquet_keeps_everything(tmp_path) -> None:
    frame = pl.DataFrame({"text": DANGEROUS[:1], "paths": [[1, 2]], "raw": [b"\0"]})
    assert_frame_equal(pl.read_parquet(write_table(tmp_path / "t.parquet", frame)), frame)


@pytest.mark.parametrize("suffix", [".csv", ".xlsx", ".parquet"])
def test_the_same_table_gives_the_same_bytes(tmp_path, suffix) -> None:
    frame = pl.DataFrame({"id": ["A"], "y": [1.5], "ds": [date(2025, 1, 1)]})
    first = write_table(tmp_path / f"a{suffix}", frame).read_bytes()
    assert write_table(tmp_path / f"b{suffix}", frame).read_bytes() == first


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("old")

    def fail_half_way() -> None:
        with written_whole(path) as part:
            part.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_half_way()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_a_request_error(tmp_path, monkeypatch) -> None:
    def refuse(path, frame) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(exports._WRITERS, ".csv", refuse)
    with pytest.raises(RequestError, match="No space left on device"):
        write_table(tmp_path / "t.csv", pl.DataFrame({"x": [1]}))
    assert list(tmp_path.iterdir()) == []


def test_the_mode_of_a_replaced_file_is_kept(tmp_path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("old")
    path.chmod(0o640)
    write_table(path, pl.DataFrame({"x": [1]}))
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize(
    ("name", "frame", "words"),
    [
        ("t.ods", pl.DataFrame({"x": [1]}), "allowed: .csv, .parquet, .xlsx"),
        ("none/t.csv", pl.DataFrame({"x": [1]}), "found no folder"),
        ("t.csv", pl.DataFrame({"x": [[1]]}), "export to .parquet"),
        ("t.xlsx", pl.DataFrame({"x": ["a" * 32_768]}), "32,768 characters in column x"),
        ("t.xlsx", pl.DataFrame({"x": pl.repeat(1, 1_048_576, eager=True)}), "1,048,576 rows"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, name, frame, words) -> None:
    with pytest.raises(RequestError, match=words):
        write_table(tmp_path / name, frame)
    assert list(tmp_path.iterdir()) == []
