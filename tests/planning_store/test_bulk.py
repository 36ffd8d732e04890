"""Rows in and out whole: every type, awkward values, inside the caller's transaction."""

from __future__ import annotations

from datetime import date, datetime

import polars as pl
import pytest
import sqlalchemy as sa
from polars.testing import assert_frame_equal

from sopforecast.planning_store import schema
from sopforecast.planning_store.bulk import insert_rows, read_frame
from sopforecast.planning_store.store import Store

HOSTILE = [
    "x'); DROP TABLE forecasts;--",
    "",
    "\\N",
    "a\tb\nc\\",
    '"quoted"',
    "ü|é|日本",
    "=1+1",
    "NULL",
]


def _load_row(load_id: str) -> dict[str, object]:
    counts = {f"rows_{what}": 0 for what in ("new", "changed", "same", "retracted")}
    return counts | {
        "load_id": load_id,
        "seq": 1,
        "table": "history",
        "file": "f",
        "file_hash": "h",
        "rows_hash": "r",
        "loaded_by": "me",
        "loaded_at": datetime(2026, 12, 1),
        "history_lag_days": 5,
        "full": False,
    }


def _history(texts: list[str]) -> pl.DataFrame:
    n = len(texts)
    floats = [0.1, -0.0, 1e-300, 1.7976931348623157e308, 1 / 3, -5e-324, 1e16, None]
    return pl.DataFrame(
        {
            "version_id": range(1, n + 1),
            "unique_id": texts,
            "ds": [date(1999 + k, 2, 1) for k in range(n)],
            "y": (floats * n)[:n],
            "note": [None, *texts[1:]],
            "partial": [k % 2 == 0 for k in range(n)],
            "known_at": [datetime(2026, 1, 1, 23, 59, 59, 999_999 - k) for k in range(n)],
            "known_rule": ["load"] * n,
            "retracted": [False] * n,
            "load_id": ["L0001"] * n,
            "loaded_by": ["me"] * n,
            "said": [True] * n,
        }
    )


def test_every_value_comes_back_as_it_went_in(store: Store) -> None:
    frame = _history(HOSTILE)
    with store.transaction() as connection:
        connection.execute(sa.insert(schema.loads), [_load_row("L0001")])
        assert insert_rows(connection, schema.history, frame) == len(HOSTILE)
    columns = [schema.history.c[name] for name in frame.columns]
    with store.reading() as connection:
        query = sa.select(*columns).order_by(schema.history.c.version_id)
        back = read_frame(connection, query)
        plain = connection.execute(query).all()
    assert_frame_equal(back, frame, check_exact=True)
    assert str(back["y"][1]) == "0.0"  # -0.0 went in; neither engine keeps a signed zero
    assert [tuple(row) for row in plain] == frame.rows()  # what SQLAlchemy itself reads


def test_binary_and_enum_columns_come_back(store: Store, run_parts) -> None:
    frame = run_parts("r")["components"].with_columns(run_id=pl.lit("r"))
    frame = frame.with_columns(pl.col("kind").cast(pl.Enum(["paths", "counts"])))
    with store.transaction() as connection:
        insert_rows(connection, schema.components, frame)
    query = sa.select(*(schema.components.c[name] for name in frame.columns))
    with store.reading() as connection:
        back = read_frame(
            connection, query.order_by(schema.components.c.unique_id), dict(frame.schema)
        )
    assert_frame_equal(back, frame)


def test_an_empty_result_keeps_its_types(store: Store) -> None:
    with store.reading() as connection:
        empty = read_frame(connection, sa.select(schema.history))
        assert insert_rows(connection, schema.history, empty) == 0
    assert empty.height == 0
    assert empty.schema["ds"] == pl.Date
    assert empty.schema["known_at"] == pl.Datetime("us")
    assert empty.schema["partial"] == pl.Boolean


def test_rows_go_when_the_transaction_does(store: Store) -> None:
    frame = pl.DataFrame({"run_id": ["r"], "segment": ["s"], "model": ["m"], "weight": [1.0]})

    def interrupted() -> None:
        with store.transaction() as connection:
            insert_rows(connection, schema.weights, frame.with_columns(cells=pl.lit(1)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with store.reading() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(schema.weights)) == 0


def test_a_column_that_is_not_there_is_refused(store: Store) -> None:
    with store.transaction() as connection, pytest.raises(ValueError, match="no column 'y; --'"):
        insert_rows(connection, schema.weights, pl.DataFrame({"y; --": [1]}))
