"""Loading: what is counted, what is refused whole, the same file twice, and loaders at once."""

from __future__ import annotations

import subprocess
import sys
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
import sqlalchemy as sa

from sopforecast.errors import RequestError
from sopforecast.planning_store import schema
from sopforecast.planning_store.inputs import admitted, admitted_inputs, loads, undo_load
from sopforecast.planning_store.loading import LoadReport, TableLoad, append_load, append_loads
from sopforecast.planning_store.store import Store

DEC = datetime(2026, 12, 8, 9)
LATER = datetime(2099, 1, 1)
OCT, NOV, DECEMBER = (date(2026, m, 1) for m in (10, 11, 12))


def history(*rows: tuple[str, date, float | None]) -> pl.DataFrame:
    types = {"unique_id": pl.String, "ds": pl.Date, "y": pl.Float64}
    return pl.DataFrame(rows, schema=types, orient="row")


def load(store: Store, frame: pl.DataFrame, file: str, **options: Any) -> LoadReport:
    given = {"table": "history", "file_hash": file, "loaded_by": "ann", "loaded_at": DEC}
    return append_load(store, frame=frame, file=file, **(given | options))


def counts(report: LoadReport) -> tuple[int, int, int, int]:
    return report.rows_new, report.rows_changed, report.rows_same, report.rows_retracted


def y_of(store: Store, known_by: datetime = LATER) -> dict[tuple[str, int], float | None]:
    rows = admitted(store, "history", known_by=known_by)
    return {(i, ds.month): y for i, ds, y in rows.select("unique_id", "ds", "y").iter_rows()}


FIRST = history(("A", OCT, 1), ("A", NOV, 2), ("B", OCT, 3))


def test_rows_are_counted_as_new_changed_and_same(store: Store) -> None:
    assert counts(load(store, FIRST, "one")) == (3, 0, 0, 0)
    second = history(("A", OCT, 1), ("A", NOV, 2.5), ("B", NOV, 4), ("B", OCT, 3))
    report = load(store, second, "two")
    assert (report.load_id, counts(report)) == ("L0002", (1, 1, 2, 0))
    assert y_of(store) == {("A", 10): 1, ("A", 11): 2.5, ("B", 10): 3, ("B", 11): 4}
    with store.reading() as connection:
        stored = connection.scalar(sa.select(sa.func.count()).select_from(schema.history))
    assert stored == 5  # the two same rows are not stored again


def test_every_column_counts_as_a_change(store: Store) -> None:
    load(store, FIRST, "one")
    noted = FIRST.with_columns(note=pl.when(pl.col("y") == 2).then(pl.lit("promotion")))
    assert counts(load(store, noted, "two")) == (0, 1, 2, 0)
    assert counts(load(store, FIRST, "three")) == (0, 1, 2, 0)


def test_the_same_file_twice_is_a_no_op(store: Store) -> None:
    load(store, FIRST, "one")
    log = loads(store)
    again = load(store, FIRST, "copy of one", file_hash="one", loaded_at=DEC + timedelta(days=9))
    assert (again.load_id, again.already_loaded, counts(again)) == ("L0001", True, (0, 0, 3, 0))
    assert loads(store).equals(log)


def test_the_same_file_read_another_way_is_loaded(store: Store) -> None:
    load(store, FIRST, "one", through=OCT)
    assert admitted(store, "history", known_by=LATER)["partial"].to_list() == [False, True, False]
    report = load(store, FIRST, "one", through=NOV)
    assert (report.already_loaded, counts(report)) == (False, (0, 1, 2, 0))
    assert not admitted(store, "history", known_by=LATER)["partial"].any()


def test_the_same_file_loads_again_once_its_load_was_undone(store: Store) -> None:
    load(store, FIRST, "one")
    undo_load(store, "L0001", at=DEC)
    assert y_of(store) == {}
    again = load(store, FIRST, "one")
    assert (again.load_id, again.already_loaded, counts(again)) == ("L0002", False, (3, 0, 0, 0))


def test_full_retracts_what_the_months_of_the_file_lack(store: Store) -> None:
    load(store, FIRST, "one")
    report = load(store, history(("A", OCT, 1), ("C", OCT, 9)), "two", full=True)
    assert counts(report) == (1, 0, 1, 1)
    assert y_of(store) == {("A", 10): 1, ("A", 11): 2, ("C", 10): 9}  # November is not its month
    before = DEC - timedelta(seconds=1)
    assert y_of(store, before) == {("A", 10): 1, ("A", 11): 2, ("B", 10): 3, ("C", 10): 9}
    back = load(store, history(("B", OCT, 3)), "three", loaded_at=DEC + timedelta(days=1))
    assert counts(back) == (1, 0, 0, 0)
    assert ("B", 10) in y_of(store)


def test_full_items_retract_every_item_not_there(store: Store) -> None:
    items = pl.DataFrame({"unique_id": ["A", "B"], "family": ["X", "Y"]})
    load(store, items, "one", table="items")
    report = load(store, items.head(1), "two", table="items", full=True)
    assert counts(report) == (0, 0, 1, 1)
    assert admitted(store, "items", known_by=LATER)["unique_id"].to_list() == ["A"]


def test_the_rows_of_a_load_say_where_they_come_from(store: Store) -> None:
    load(store, FIRST, "one")
    load(store, history(("B", OCT, 4)), "two", loaded_by="bob")
    rows = admitted(store, "history", known_by=LATER)
    assert rows["load_id"].to_list() == ["L0001", "L0001", "L0002"]
    assert rows["loaded_by"].to_list() == ["ann", "ann", "bob"]
    log = loads(store)
    assert log["rows_new"].to_list() == [3, 0]
    assert log["loaded_at"].to_list() == [DEC, DEC]


def test_a_workbook_is_loaded_whole_or_not_at_all(store: Store) -> None:
    items = pl.DataFrame({"unique_id": ["A"], "family": ["X"]})
    bad = FIRST.with_columns(pl.col("ds").dt.offset_by("1d"))
    book = [TableLoad("items", items, "b.xlsx", "h"), TableLoad("history", bad, "b.xlsx", "h")]
    with pytest.raises(RequestError, match="break the rules of history"):
        append_loads(store, book, loaded_by="ann", loaded_at=DEC)
    assert loads(store).is_empty()
    book[1] = TableLoad("history", FIRST, "b.xlsx", "h")
    reports = append_loads(store, book, loaded_by="ann", loaded_at=DEC)
    assert [(r.load_id, r.table) for r in reports] == [("L0001", "items"), ("L0002", "history")]
    rows = {name: frame.height for name, frame in admitted_inputs(store, known_by=LATER).items()}
    assert rows == dict.fromkeys(schema.INPUTS, 0) | {"items": 1, "history": 3}


def test_a_failure_half_way_leaves_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise OSError("power cut")

    monkeypatch.setattr("sopforecast.planning_store.loading._write_restated", broken)
    with pytest.raises(OSError, match="power cut"):
        load(store, FIRST, "one")
    monkeypatch.undo()
    assert loads(store).is_empty()
    assert load(store, FIRST, "one").load_id == "L0001"


def test_an_empty_frame_is_a_load_of_nothing(store: Store) -> None:
    assert counts(load(store, FIRST.clear(), "none")) == (0, 0, 0, 0)
    assert y_of(store) == {}


def test_a_known_at_in_the_future_is_refused(store: Store) -> None:
    frame = FIRST.with_columns(known_at=pl.lit(DEC + timedelta(days=2)))
    with pytest.raises(RequestError, match=r"found known_at 2026-12-10 09:00:00; allowed: up to"):
        load(store, frame, "one")


def test_an_unknown_table_is_refused(store: Store) -> None:
    with pytest.raises(RequestError, match="no input table 'demand'"):
        load(store, FIRST, "one", table="demand")


def test_a_clock_behind_the_last_load_is_moved_up_to_it(store: Store) -> None:
    load(store, FIRST, "one")
    load(store, history(("A", OCT, 7)), "two", loaded_at=DEC - timedelta(days=2))
    assert loads(store)["loaded_at"].to_list() == [DEC, DEC]
    assert y_of(store, DEC - timedelta(hours=1))["A", 10] == 1


def test_the_clock_of_an_undone_load_does_not_count(store: Store) -> None:
    load(store, FIRST, "one", loaded_at=LATER)
    undo_load(store, "L0001", at=LATER)
    load(store, FIRST, "one")
    assert loads(store)["loaded_at"].to_list() == [LATER, DEC]


def test_ids_and_texts_are_only_ever_values(store: Store) -> None:
    names = ["'); DROP TABLE history;--", "=cmd|'/c calc'!A1", "ü\u202e日本", "A' OR '1'='1"]
    frame = history(*((name, OCT, 1.0) for name in names))
    load(store, frame.with_columns(note=pl.lit(names[0])), names[0], loaded_by=names[1])
    rows = admitted(store, "history", known_by=LATER)
    assert rows["unique_id"].to_list() == sorted(names)
    assert set(rows["note"]) == {names[0]}
    assert loads(store)["file"].to_list() == [names[0]]


_LOADER = """
import sys
from datetime import date, datetime
import polars as pl
from sopforecast.planning_store.loading import append_load
from sopforecast.planning_store.store import open_store
url, name = sys.argv[1:]
frame = pl.DataFrame({"unique_id": [name], "ds": [date(2026, 10, 1)], "y": [1.0]})
store = open_store(url)
for k in range(3):
    report = append_load(store, "history", frame.with_columns(y=pl.lit(float(k))), file=name,
                         file_hash=f"{name}{k}", loaded_by=name, loaded_at=datetime(2026, 12, 8))
    print(report.load_id)
"""


def test_loaders_at_once_get_ids_of_their_own(store: Store, store_url: str) -> None:
    children = [
        subprocess.Popen(
            [sys.executable, "-c", _LOADER, store_url, name], stdout=subprocess.PIPE, text=True
        )
        for name in ("ann", "bob", "cid")
    ]
    ids = [line for child in children for line in child.communicate(timeout=120)[0].split()]
    assert sorted(ids) == [f"L{number:04d}" for number in range(1, 10)]
    assert y_of(store) == {("ann", 10): 2.0, ("bob", 10): 2.0, ("cid", 10): 2.0}


def test_an_earlier_file_loaded_again_brings_its_values_back(store: Store) -> None:
    """It is the same file, but no longer what holds: that is a correction, not a repetition."""
    load(store, FIRST, "one")
    load(store, history(("A", OCT, 9)), "two", loaded_at=DEC + timedelta(hours=1))
    assert y_of(store)["A", 10] == 9
    again = load(store, FIRST, "one", loaded_at=DEC + timedelta(hours=2))
    assert (again.load_id, again.already_loaded, counts(again)) == ("L0003", False, (0, 1, 2, 0))
    assert y_of(store)["A", 10] == 1
    once_more = load(store, FIRST, "one", loaded_at=DEC + timedelta(hours=3))
    assert (once_more.already_loaded, counts(once_more)) == (True, (0, 0, 3, 0))
