"""Overrides and prices in the store: from when each version is known, undone, and upgraded."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import polars as pl
import pytest
import sqlalchemy as sa

from sopforecast.planning_store import schema
from sopforecast.planning_store.inputs import (
    LoadReport,
    admitted,
    admitted_inputs,
    append_load,
    undo_load,
)
from sopforecast.planning_store.store import Store, open_store, read_number

OPEN = date(2026, 11, 1)
LOADED = datetime(2026, 11, 12, 9)
FIRST = {
    "override_id": "X", "entered_cycle": OPEN, "node": "A", "ds_from": date(2026, 12, 1),
    "ds_to": date(2026, 12, 1), "per": "month", "kind": "delta", "measure": "quantity",
    "value": 40.0, "probability": 1.0, "source": "sales", "owner": "Ann", "reason": "tender",
    "mode": "evidence", "status": "active",
}  # fmt: skip


def _load(
    store: Store,
    *rows: dict[str, Any],
    at: datetime = LOADED,
    table: str = "overrides",
    **options: Any,
) -> LoadReport:
    frame = pl.DataFrame([FIRST | row if table == "overrides" else row for row in rows])
    return append_load(
        store, table, frame, file=f"{table}.csv", file_hash=f"{at} {rows}", loaded_by="Ann",
        loaded_at=at, **options,
    )  # fmt: skip


def _value(store: Store, known_by: datetime) -> list[float]:
    return admitted(store, "overrides", known_by=known_by)["value"].to_list()


def test_an_override_is_known_from_the_start_of_its_cycle(store: Store) -> None:
    _load(store, {})
    start = datetime(2026, 11, 1)
    assert _value(store, datetime(2026, 10, 31, 23, 59)) == []
    assert _value(store, start) == [40.0]
    (row,) = admitted(store, "overrides", known_by=LOADED).to_dicts()
    assert (row["known_at"], row["assumed"]) == (start, True)


def test_an_override_of_a_cycle_to_come_is_known_from_its_load(store: Store) -> None:
    _load(store, {"entered_cycle": date(2027, 1, 1), "ds_to": date(2027, 2, 1)})
    (row,) = admitted(store, "overrides", known_by=datetime.max).to_dicts()
    assert (row["known_at"], row["assumed"]) == (LOADED, True)


def test_every_later_version_is_known_from_its_load_and_the_file_wins(store: Store) -> None:
    _load(store, {})
    later = datetime(2026, 11, 18)
    _load(store, {"value": 60.0}, at=later)
    assert _value(store, datetime(2026, 11, 17)) == [40.0]
    assert _value(store, later) == [60.0]
    _load(store, {"value": 50.0, "known_at": datetime(2026, 11, 15)}, at=datetime(2026, 11, 20))
    assert _value(store, datetime(2026, 11, 16)) == [50.0]
    assert _value(store, datetime.max) == [60.0]


def test_a_withdrawal_is_a_version_like_any_other(store: Store) -> None:
    _load(store, {})
    _load(store, {"status": "withdrawn"}, at=datetime(2026, 12, 3))
    before = admitted(store, "overrides", known_by=datetime(2026, 12, 1))
    after = admitted(store, "overrides", known_by=datetime(2026, 12, 31))
    assert [*before["status"], *after["status"]] == ["active", "withdrawn"]


def test_the_same_rows_again_are_no_new_version(store: Store) -> None:
    _load(store, {})
    told = _load(store, {}, at=datetime(2026, 12, 3))
    assert (told.rows_new, told.rows_changed, told.rows_same) == (0, 0, 1)


def test_first_prices_are_always_known_and_changes_from_their_load(store: Store) -> None:
    price = {"unique_id": "A", "ds_from": date(2026, 1, 1), "price": 4.0}
    _load(store, price, table="prices")
    assert admitted(store, "prices", known_by=datetime(2001, 1, 1))["price"].to_list() == [4.0]
    _load(store, price | {"price": 5.0}, table="prices", at=datetime(2026, 11, 20))
    assert admitted(store, "prices", known_by=datetime(2026, 11, 19))["price"].to_list() == [4.0]
    assert admitted(store, "prices", known_by=datetime.max)["price"].to_list() == [5.0]


@pytest.mark.parametrize("undone_first", [0, 1])
def test_undone_loads_leave_nothing_in_any_order(store: Store, undone_first: int) -> None:
    before = admitted_inputs(store, known_by=datetime.max)
    ids = [
        _load(store, {}, {"override_id": "Y"}).load_id,
        _load(store, {"value": 60.0}, at=datetime(2026, 11, 18), full=True).load_id,
    ]
    assert admitted(store, "overrides", known_by=datetime.max)["override_id"].to_list() == ["X"]
    undo_load(store, ids[undone_first], at=datetime(2026, 12, 1))
    left = admitted(store, "overrides", known_by=datetime.max)
    assert left["value"].to_list() == ([60.0] if undone_first == 0 else [40.0, 40.0])
    undo_load(store, ids[1 - undone_first], at=datetime(2026, 12, 1))
    after = admitted_inputs(store, known_by=datetime.max)
    assert all(after[name].equals(before[name]) for name in schema.INPUTS)


def test_a_price_left_out_of_a_full_file_is_gone(store: Store) -> None:
    price = {"unique_id": "A", "ds_from": date(2026, 1, 1), "price": 4.0}
    _load(store, price, price | {"unique_id": "B"}, table="prices")
    told = _load(store, price, table="prices", at=datetime(2026, 11, 20), full=True)
    assert told.rows_retracted == 1
    assert admitted(store, "prices", known_by=datetime.max)["unique_id"].to_list() == ["A"]


def test_a_store_from_before_overrides_gets_their_tables(store_url: str) -> None:
    old = open_store(store_url)
    items = pl.DataFrame({"unique_id": ["A"]})
    append_load(old, "items", items, file="i.csv", file_hash="1", loaded_by="Ann", loaded_at=LOADED)
    lacking = [schema.overrides, schema.prices]
    with old.transaction() as connection:
        schema.metadata.drop_all(connection, tables=lacking)
        connection.execute(
            sa.update(schema.meta).where(schema.meta.c.name == "schema_version").values(number=1)
        )
    old.close()
    again = open_store(store_url)
    with again.reading() as connection:
        assert read_number(connection, "schema_version") == schema.SCHEMA_VERSION
        assert read_number(connection, "loads") == 1
        assert {t.name for t in lacking} <= set(sa.inspect(connection).get_table_names())
    _load(again, {})
    found = admitted_inputs(again, known_by=datetime.max)
    assert (found["items"].height, found["overrides"].height) == (1, 1)
    again.close()
