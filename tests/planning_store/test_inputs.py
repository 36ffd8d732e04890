"""What a cycle may read: known times worked by hand, undo, corruption of what is not yet known."""

from __future__ import annotations

import random
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
import sqlalchemy as sa
from polars.testing import assert_frame_equal

from sopforecast.errors import RequestError
from sopforecast.planning_store import schema
from sopforecast.planning_store.inputs import (
    LoadReport,
    admitted,
    admitted_inputs,
    append_load,
    input_hash,
    loads,
    undo_load,
)
from sopforecast.planning_store.publish import publish
from sopforecast.planning_store.runs import save_run
from sopforecast.planning_store.store import Store

OCT, NOV, DECEMBER = (date(2026, m, 1) for m in (10, 11, 12))
LATER = datetime(2099, 1, 1)
NOV_RULE = datetime(2026, 12, 5, 23, 59, 59, 999_999)  # five days after November ended


def load(store: Store, rows: list[dict[str, Any]], at: datetime, **options: Any) -> LoadReport:
    file = options.pop("file", f"{at}")
    types = {"ds": pl.Date, "y": pl.Float64, "known_at": pl.Datetime("us")}
    frame = pl.DataFrame(rows, schema_overrides={k: v for k, v in types.items() if k in rows[0]})
    given = {"table": "history", "file_hash": file, "loaded_by": "ann", "loaded_at": at}
    return append_load(store, frame=frame, file=file, **(given | options))


def cell(y: float | None, ds: date = NOV, **more: Any) -> dict[str, Any]:
    return {"unique_id": "A", "ds": ds, "y": y} | more


def known(store: Store, table: str = "history") -> list[tuple[Any, ...]]:
    """The versions of the store as a reader meets them: value, known time, assumed."""
    out = []
    value = "y" if table == "history" else "description"
    with store.reading() as connection:
        times = connection.scalars(
            sa.select(schema.INPUTS[table].table.c.known_at).distinct()
        ).all()
    for moment in sorted(times):
        rows = admitted(store, table, known_by=moment)
        out.append((moment, rows[value].to_list(), rows["assumed"].to_list()))
    return out


def test_a_first_history_row_is_known_days_after_its_month(store: Store) -> None:
    load(store, [cell(1)], datetime(2027, 3, 1))
    assert known(store) == [(NOV_RULE, [1.0], [True])]
    assert admitted(store, "history", known_by=NOV_RULE - timedelta(microseconds=1)).is_empty()


def test_the_lag_is_that_of_the_load(store: Store) -> None:
    load(store, [cell(1, OCT)], datetime(2027, 3, 1), history_lag_days=0)
    assert known(store) == [(datetime(2026, 10, 31, 23, 59, 59, 999_999), [1.0], [True])]


def test_a_changed_row_is_known_from_its_load(store: Store) -> None:
    load(store, [cell(1)], datetime(2026, 12, 8))
    load(store, [cell(2)], datetime(2027, 1, 8))
    assert known(store) == [
        (NOV_RULE, [1.0], [True]),
        (datetime(2027, 1, 8), [2.0], [False]),
    ]


def test_a_correction_is_never_known_before_what_it_corrects(store: Store) -> None:
    load(store, [cell(1)], datetime(2026, 12, 2))
    load(store, [cell(2)], datetime(2026, 12, 3))
    assert known(store) == [(NOV_RULE, [2.0], [False])]


def test_known_at_in_the_file_wins(store: Store) -> None:
    early, late = datetime(2026, 12, 20), datetime(2027, 2, 1)
    rows = [cell(1, known_at=early), cell(2, known_at=late)]
    load(store, rows, datetime(2027, 3, 1))
    assert known(store) == [(early, [1.0], [False]), (late, [2.0], [False])]
    load(store, [cell(1.5, known_at=datetime(2027, 1, 1))], datetime(2027, 3, 2))
    assert [y for _, [y], _ in known(store)] == [1.0, 1.5, 2.0]


def test_a_partial_month_is_replaced_by_the_whole_one(store: Store) -> None:
    at = datetime(2026, 11, 20, 8)
    load(store, [cell(1)], at, through=OCT)
    rows = admitted(store, "history", known_by=at)
    assert (rows["partial"][0], rows["known_at"][0], rows["assumed"][0]) == (True, at, False)
    load(store, [cell(3)], datetime(2026, 12, 20), through=NOV)
    assert known(store) == [(at, [1.0], [False]), (NOV_RULE, [3.0], [True])]


def test_a_partial_month_loaded_late_is_replaced_too(store: Store) -> None:
    load(store, [cell(1)], datetime(2026, 12, 10), through=OCT)
    load(store, [cell(2)], datetime(2026, 12, 12), through=NOV)
    assert known(store) == [(NOV_RULE, [2.0], [True])]


def test_first_items_are_always_known_and_changes_from_their_load(store: Store) -> None:
    for number, day in enumerate((1, 9)):
        frame = pl.DataFrame({"unique_id": ["A"], "description": [f"name {number}"]})
        at = datetime(2026, 12, day)
        append_load(
            store, "items", frame, file="i", file_hash=f"{number}", loaded_by="a", loaded_at=at
        )
    assert known(store, "items") == [
        (datetime(1900, 1, 1), ["name 0"], [True]),
        (datetime(2026, 12, 9), ["name 1"], [False]),
    ]


def test_items_have_their_level_columns_again(store: Store) -> None:
    one = pl.DataFrame(
        {"unique_id": ["B", "A"], "region": ["EU", None], "status": ["active", None]}
    )
    two = pl.DataFrame({"unique_id": ["C"], "family": ["X"], "plan_factor": [2.0]})
    for name, frame in (("1", one), ("2", two)):
        append_load(
            store, "items", frame, file=name, file_hash=name, loaded_by="a", loaded_at=LATER
        )
    rows = admitted(store, "items", known_by=LATER)
    assert rows.select("unique_id", "family", "region", "status", "plan_factor").rows() == [
        ("A", None, None, None, None),
        ("B", None, "EU", "active", None),
        ("C", "X", None, None, 2.0),
    ]
    assert rows.schema["status"] == schema.INPUTS["items"].dtypes["status"]
    assert rows.columns[-6:] == ["family", "region", "known_at", "assumed", "load_id", "loaded_by"]


def test_an_empty_store_gives_empty_frames_of_the_right_shape(store: Store) -> None:
    frames = admitted_inputs(store, known_by=LATER)
    for name, spec in schema.INPUTS.items():
        assert frames[name].is_empty()
        assert set(frames[name].columns) == {*spec.schema.column_names(), *schema.BITEMPORAL}
        spec.schema.validate(frames[name].drop(schema.BITEMPORAL))


def test_rows_come_sorted_by_key_on_either_engine(store: Store) -> None:
    names = ["b", "A", "a", "Z", "_", "é", "10", "9"]
    load(store, [cell(1) | {"unique_id": n} for n in names], datetime(2026, 12, 8))
    assert admitted(store, "history", known_by=LATER)["unique_id"].to_list() == sorted(names)


def _fill(store: Store) -> None:
    """Three loads: a first one, one with changes, an unchanged row and a new one, one full."""
    load(store, [cell(1, OCT), cell(2)], datetime(2026, 12, 8))
    load(store, [cell(1.5, OCT), cell(2), cell(9, DECEMBER)], datetime(2027, 1, 8))
    load(store, [cell(4, OCT), cell(2) | {"unique_id": "B"}], datetime(2027, 2, 8), full=True)


def test_undo_gives_back_the_rows_of_before_byte_for_byte(store: Store) -> None:
    moments = [datetime(2026, 12, 15), datetime(2027, 1, 15), LATER]
    load(store, [cell(1, OCT), cell(2)], datetime(2026, 12, 8))
    before = [admitted(store, "history", known_by=moment) for moment in moments]
    report = load(
        store, [cell(7, OCT), cell(2), cell(3, DECEMBER)], datetime(2027, 1, 8), full=True
    )
    assert not admitted(store, "history", known_by=LATER).equals(before[-1])
    undone = undo_load(store, report.load_id, at=datetime(2027, 1, 9), by="ann")
    assert (undone.rows, undone.runs, undone.already_undone) == (2, (), False)
    for moment, frame in zip(moments, before, strict=True):
        assert_frame_equal(admitted(store, "history", known_by=moment), frame, check_exact=True)


def test_undo_closes_rows_and_deletes_nothing(store: Store) -> None:
    _fill(store)
    content = [c for c in schema.history.c if c.name != "closed_by"]

    def rows(*columns: Any) -> list[Any]:
        with store.reading() as connection:
            return connection.execute(sa.select(*columns).order_by("version_id")).all()

    before = rows(*content)
    undo_load(store, "L0002", at=datetime(2027, 3, 1), by="ann")
    assert rows(*content)[: len(before)] == before
    closed = rows(schema.history.c.version_id, schema.history.c.load_id, schema.history.c.closed_by)
    assert {(load_id, closed_by) for _, load_id, closed_by in closed} == {
        ("L0001", None),
        ("L0002", "L0002"),
        ("L0003", None),
    }
    log = loads(store)
    assert log["undone_at"].to_list() == [None, datetime(2027, 3, 1), None]
    assert log["undone_by"].to_list() == [None, "ann", None]


def test_what_another_undo_left_counts_again_under_its_own_load(store: Store) -> None:
    """L2 and L3 say again what L1 said; L1 goes, then L2."""
    for day in (1, 2, 3):
        load(store, [cell(1)], datetime(2027, 3, day))
    for load_id, left in (("L0001", "L0002"), ("L0002", "L0003")):
        undo_load(store, load_id, at=LATER)
        rows = admitted(store, "history", known_by=LATER)
        assert rows.select("y", "known_at", "load_id").rows() == [(1.0, NOV_RULE, left)]
    undo_load(store, "L0003", at=LATER)
    assert admitted(store, "history", known_by=LATER).is_empty()


def test_undoing_the_first_load_keeps_what_later_ones_said_again(store: Store) -> None:
    _fill(store)
    undo_load(store, "L0001", at=datetime(2027, 3, 1))
    rows = admitted(store, "history", known_by=datetime(2027, 1, 31))
    assert rows.select("ds", "y", "load_id", "known_at").rows() == [
        (OCT, 1.5, "L0002", datetime(2026, 11, 5, 23, 59, 59, 999_999)),
        (NOV, 2.0, "L0002", NOV_RULE),
        (DECEMBER, 9.0, "L0002", datetime(2027, 1, 5, 23, 59, 59, 999_999)),
        (NOV, 2.0, "L0003", NOV_RULE),  # item B
    ]


def test_undoing_twice_changes_nothing(store: Store) -> None:
    _fill(store)
    undo_load(store, "L0003", at=datetime(2027, 3, 1))
    log = loads(store)
    again = undo_load(store, "L0003", at=datetime(2027, 3, 2))
    assert again.already_undone
    assert loads(store).equals(log)


def test_an_unknown_load_is_refused_with_the_newest(store: Store) -> None:
    with pytest.raises(RequestError, match=r"no load 'L9'; the newest loads are: none yet"):
        undo_load(store, "L9", at=LATER)
    _fill(store)
    with pytest.raises(RequestError, match=r"no load 'L9'; the newest loads are: L0003, L0002"):
        undo_load(store, "L9", at=LATER)


def test_undo_is_refused_under_what_stands_published(store: Store, run_parts) -> None:
    _fill(store)
    at = datetime(2027, 3, 1)
    for run, used in (("r1", ["L0001"]), ("r2", ["L0001", "L0003"])):
        save_run(store, **(run_parts(run) | {"loads_used": used}))
    who = {"cycle": date(2026, 12, 1), "by": "ann", "at": at}
    publish(store, run_id="r1", **who)
    undo_load(store, "L0002", at=at)  # no run read it
    with pytest.raises(RequestError, match=r"L0001 .* is under the published run r1; .*--force"):
        undo_load(store, "L0001", at=at)
    with pytest.raises(RequestError, match="--force REASON"):
        undo_load(store, "L0001", at=at, force="  ")
    publish(store, run_id="r2", **who)
    with pytest.raises(RequestError, match="published run r2"):
        undo_load(store, "L0003", at=at)
    assert undo_load(store, "L0003", at=at, force="wrong site").runs == ("r2",)
    assert loads(store)["undone_reason"].to_list() == [None, None, "wrong site"]


def _corrupt(store: Store, table: sa.Table, after: datetime, rng: random.Random) -> int:
    """Scribble over every business value and flag of versions not known yet."""
    with store.transaction() as connection:
        late = connection.scalars(
            sa.select(table.c.version_id).where(table.c.known_at > after)
        ).all()
        for version in late:
            values: dict[str, Any] = {"retracted": rng.random() < 0.5, "loaded_by": "\0x"[1:]}
            if table is schema.history:
                values |= {"y": rng.gauss(0, 1e9), "partial": rng.random() < 0.5, "note": "{"}
            else:
                values |= {"levels": "not json", "plan_factor": -1.0, "status": "nonsense"}
            change = sa.update(table).where(table.c.version_id == version).values(values)
            connection.execute(change)
    return len(late)


@pytest.mark.parametrize("undo", [None, "L0001", "L0002"])
def test_what_is_not_known_yet_changes_nothing(store: Store, undo: str | None) -> None:
    _fill(store)
    for day, name in ((1, "one"), (28, "two")):
        frame = pl.DataFrame({"unique_id": ["A"], "family": [name]})
        append_load(
            store, "items", frame, file=name, file_hash=name, loaded_by="a",
            loaded_at=datetime(2027, 2, 8 if day == 1 else day),
        )  # fmt: skip
    if undo is not None:
        undo_load(store, undo, at=LATER)
    cut = datetime(2026, 12, 15, 23, 59, 59, 999_999)
    before = admitted_inputs(store, known_by=cut)
    assert before["history"].height == 3
    assert before["items"]["family"].to_list() == ["one"]
    rng = random.Random(1)
    assert _corrupt(store, schema.history, cut, rng) >= 3
    assert _corrupt(store, schema.items, cut, rng) == 1
    after = admitted_inputs(store, known_by=cut)
    for name, frame in before.items():
        assert_frame_equal(after[name], frame, check_exact=True)
    assert input_hash(after) == input_hash(before)


def test_the_input_hash_is_that_of_what_the_rows_say(store: Store, new_store) -> None:
    rows = [cell(k, OCT) | {"unique_id": f"I{k}"} for k in range(6)]
    load(store, rows, datetime(2026, 12, 8))
    hashes = {input_hash(admitted_inputs(store, known_by=LATER))}
    other = new_store()
    for k in (4, 0, 2):  # other loads, other order, somebody else, later, one value corrected
        part = rows[k : k + 2] if k else [rows[0] | {"y": 99.0}, rows[1]]
        load(other, part[::-1], datetime(2027, 5, k + 1), loaded_by="bob")
    hashes_before = input_hash(admitted_inputs(other, known_by=LATER))
    load(other, rows[:1], datetime(2027, 6, 1))
    hashes.add(input_hash(admitted_inputs(other, known_by=LATER)))
    assert len(hashes) == 1
    assert hashes_before not in hashes


def test_the_input_hash_tells_tables_apart() -> None:
    frame = pl.DataFrame({"unique_id": ["A"]})
    assert input_hash({"items": frame}) != input_hash({"history": frame})
    assert input_hash({"items": frame}) != input_hash({"items": frame, "history": frame})
