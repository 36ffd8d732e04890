"""Frames at the door of the store: levels packed and unpacked, rows checked, rows hashed."""

from __future__ import annotations

import hashlib
import struct
from datetime import UTC, date, datetime, timedelta, timezone

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from sopforecast.errors import RequestError
from sopforecast.planning_store.frames import hash_rows, pack_levels, to_rows, unpack_levels
from sopforecast.planning_store.schema import INPUTS, LEVELS

ITEMS, HISTORY = INPUTS["items"], INPUTS["history"]
JAN, FEB = date(2026, 1, 1), date(2026, 2, 1)


def _history(**columns: list[object]) -> pl.DataFrame:
    base = {"unique_id": ["A", "B"], "ds": [JAN, JAN], "y": [1.0, 2.0], "partial": [False, False]}
    return pl.DataFrame(base | columns)


def _rows(frame: pl.DataFrame) -> pl.DataFrame:
    return to_rows(pack_levels(frame, HISTORY, file="h.csv"), HISTORY, file="h.csv")


def test_levels_are_packed_as_sorted_json_without_blanks() -> None:
    frame = pl.DataFrame(
        {"unique_id": ["a", "b", "c"], "region": ["EU", None, None], "family": ["X", "Y|ü", None]}
    )
    packed = pack_levels(frame, ITEMS, file="i.csv")
    assert packed.columns == ["unique_id", LEVELS]
    assert packed[LEVELS][0] == '{"family": "X", "region": "EU"}'
    assert packed[LEVELS][2] == "{}"
    assert_frame_equal(unpack_levels(packed), frame.select("unique_id", "family", "region"))


_level = st.none() | st.text(max_size=4)


@given(st.lists(st.tuples(_level, _level), max_size=8))
def test_unpacking_gives_back_what_was_packed(values: list[tuple[str | None, str | None]]) -> None:
    frame = pl.DataFrame({"unique_id": [str(k) for k in range(len(values))]}).with_columns(
        pl.Series("b", [b for b, _ in values], dtype=pl.String),
        pl.Series("a", [a for _, a in values], dtype=pl.String),
    )
    back = unpack_levels(pack_levels(frame, ITEMS, file="f"))
    kept = [name for name in ("a", "b") if frame[name].is_not_null().any()]
    assert_frame_equal(back, frame.select("unique_id", *kept))


def test_a_level_named_like_a_column_of_the_store_is_refused() -> None:
    frame = pl.DataFrame({"unique_id": ["a"], "load_id": ["x"]})
    with pytest.raises(RequestError, match="a level column named 'load_id'"):
        pack_levels(frame, ITEMS, file="i.csv")


def test_an_unknown_column_of_history_is_refused() -> None:
    with pytest.raises(
        RequestError, match=r"h\.csv: found the column 'demand'; columns of history"
    ):
        _rows(_history(demand=[1, 2]))


def test_a_missing_key_column_is_named() -> None:
    with pytest.raises(RequestError, match="found no column 'ds'"):
        _rows(_history().drop("ds"))


def test_missing_columns_are_null_and_types_are_those_of_the_schema() -> None:
    rows = _rows(_history(y=[1, 2]))
    assert rows["y"].dtype == pl.Float64
    assert rows["note"].to_list() == [None, None]
    assert rows["given_at"].dtype == pl.Datetime("us")


def test_a_value_of_another_type_is_refused() -> None:
    with pytest.raises(RequestError, match="a column is not of its type"):
        _rows(_history(y=["ten", "2"]))


@pytest.mark.parametrize(
    ("columns", "rule"),
    [
        ({"ds": [JAN, date(2026, 1, 2)]}, "ds"),
        ({"y": [float("nan"), 1.0]}, "y"),
        ({"y": [float("inf"), 1.0]}, "y"),
        ({"unique_id": ["A", None]}, "unique_id"),
        ({"stockout_days": [32.0, 0.0]}, "stockout_days"),
    ],
)
def test_a_row_that_breaks_a_rule_is_refused(columns: dict[str, list[object]], rule: str) -> None:
    with pytest.raises(RequestError, match=rf"break the rules of history: {rule}\|"):
        _rows(_history(**columns))


def test_a_key_twice_is_refused_and_named() -> None:
    with pytest.raises(RequestError, match="the key unique_id A, ds 2026-01-01 is there twice"):
        _rows(_history(unique_id=["A", "A"]))


def test_versions_of_a_key_differ_in_known_at() -> None:
    known = [datetime(2026, 2, 5), datetime(2026, 3, 5)]
    rows = _rows(_history(unique_id=["A", "A"], known_at=known))
    assert rows["given_at"].to_list() == known
    with pytest.raises(RequestError, match="twice"):
        _rows(_history(unique_id=["A", "A"], known_at=known[:1] * 2))


def test_known_at_of_another_zone_is_moved_to_utc() -> None:
    known = [datetime(2026, 2, 5, 12, tzinfo=timezone(timedelta(hours=2)))] * 2
    frame = _history().with_columns(pl.Series("known_at", known).dt.convert_time_zone("Asia/Tokyo"))
    assert _rows(frame)["given_at"][0] == known[0].astimezone(UTC).replace(tzinfo=None)


def test_the_hash_ignores_the_order_of_rows_and_columns() -> None:
    frame = _history(note=[None, "x"])
    assert hash_rows(frame) == hash_rows(frame.reverse().select(sorted(frame.columns)))


@pytest.mark.parametrize(
    "other",
    [
        _history(y=[1.0, 2.0 + 2**-51]),
        _history(y=[None, 2.0]),
        _history(y=[2.0, 1.0]),
        _history(unique_id=["A", "B "]),
        _history(ds=[JAN, FEB]),
        _history(partial=[False, True]),
        _history().rename({"y": "shipped"}),
        _history().head(1),
        _history().drop("partial"),
    ],
)
def test_the_hash_sees_every_difference(other: pl.DataFrame) -> None:
    assert hash_rows(_history()) != hash_rows(other)


def test_the_hash_does_not_run_neighbouring_texts_together() -> None:
    left, right = (pl.DataFrame({"a": [x], "b": [y]}) for x, y in (("xy", "z"), ("x", "yz")))
    assert hash_rows(left) != hash_rows(right)
    assert hash_rows(pl.DataFrame({"a": ["xy", "z"]})) != hash_rows(
        pl.DataFrame({"a": ["x", "yz"]})
    )
    assert hash_rows(pl.DataFrame({"a": [""]})) != hash_rows(
        pl.DataFrame({"a": [None]}, schema={"a": pl.String})
    )


def test_the_hash_takes_the_two_zeros_for_one() -> None:
    assert hash_rows(_history(y=[0.0, 1.0])) == hash_rows(_history(y=[-0.0, 1.0]))


def test_the_hash_is_that_of_bytes_written_by_hand() -> None:
    """A change of these bytes would change every run id."""
    schema = {"x": pl.Float64, "a": pl.String, "d": pl.Date, "b": pl.Binary}
    rows = [(0.5, "é", date(1970, 1, 3), b"\xff"), (None, None, date(1969, 12, 31), b"")]
    expected = (
        b"2\n"  # rows; the one with nulls sorts first
        b"1:a:text\n" + b"\x80" + struct.pack("<I", 2) + "é".encode()
        + b"1:b:bytes\n" + b"\x00" + struct.pack("<2I", 0, 1) + b"\xff"
        + b"1:d:<i8\n" + b"\x00" + struct.pack("<2q", -1, 2)
        + b"1:x:<f8\n" + b"\x80" + struct.pack("<d", 0.5)
    )  # fmt: skip
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    assert hash_rows(frame) == hashlib.sha256(expected).hexdigest()
