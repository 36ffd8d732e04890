"""The clinic's tables in the store: from when each version is known, undone, and upgraded."""

from __future__ import annotations

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
    known_versions,
    undo_load,
)
from sopforecast.planning_store.store import Store, open_store, read_number

NOV = date(2026, 11, 1)
LOADED = datetime(2026, 11, 12, 9)
MOMENT = timedelta(microseconds=1)
LATER = datetime(2099, 1, 1)
NOV_RULE = datetime(2026, 12, 5, 23, 59, 59, 999_999)  # five days after November ended
LINE = {
    "line_id": "P-1", "study": "NOVA", "site": "S1", "tier": "pipeline", "quantity": 1.0,
    "expected_ds": date(2027, 2, 1), "outcome": "open",
}  # fmt: skip
COUNT = {"study": "NOVA", "site": "S1", "cohort": "all", "ds": NOV, "enrolled": 2.0}
ALWAYS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "studies": ({"study": "NOVA", "target_enrolment": 40.0}, {"target_enrolment": 50.0}),
    "cohorts": ({"study": "NOVA", "cohort": "A", "share_low": 0.2}, {"share_low": 0.3}),
    "sites": ({"study": "NOVA", "site": "S1", "country": "Spain"}, {"country": "Italy"}),
    "enrolment_plan": (
        {"study": "NOVA", "site": "*", "cohort": "*", "ds": NOV, "version": "1", "enrolled": 4.0},
        {"enrolled": 5.0},
    ),
    "schedule": (
        {"study": "NOVA", "cohort": "*", "country": "*", "protocol_version": "*",
         "per": "enrolled", "month_offset": 0, "unique_id": "KIT", "quantity": 1.0},
        {"quantity": 2.0},
    ),
    "study_events": (
        {"event_id": "E1", "study": "NOVA", "date": NOV, "acts_on": "enrolment", "low": 1.0,
         "high": 1.5, "probability": 0.5},
        {"probability": 0.75},
    ),
}  # fmt: skip


def _load(
    store: Store, table: str, *rows: dict[str, Any], at: datetime = LOADED, **options: Any
) -> LoadReport:
    frame = pl.DataFrame(list(rows), infer_schema_length=None)
    given = {"file": f"{table}.csv", "file_hash": f"{at} {rows}", "loaded_by": "Ann"}
    return append_load(store, table, frame, loaded_at=at, **(given | options))


def _lines(store: Store, known_by: datetime) -> list[tuple[Any, ...]]:
    frame = known_versions(store, "tier_lines", known_by=known_by)
    return frame.select("line_id", "tier", "known_at").rows()


def test_a_line_is_first_known_from_its_load(store: Store) -> None:
    _load(store, "tier_lines", LINE)
    assert admitted(store, "tier_lines", known_by=LOADED - MOMENT).is_empty()
    (row,) = admitted(store, "tier_lines", known_by=LOADED).to_dicts()
    assert (row["known_at"], row["assumed"], row["load_id"]) == (LOADED, False, "L0001")


def test_a_late_month_of_lines_does_not_invent_their_past(store: Store) -> None:
    """What was in the pipeline in January and is loaded in November was not known in January."""
    _load(store, "tier_lines", LINE | {"expected_ds": date(2026, 1, 1)})
    assert known_versions(store, "tier_lines", known_by=datetime(2026, 3, 1)).is_empty()


def test_every_version_of_a_line_is_read_oldest_first(store: Store) -> None:
    days = [LOADED, datetime(2026, 11, 20), datetime(2026, 12, 3)]
    tiers = ["pipeline", "highly_probable", "committed"]
    for day, tier in zip(days, tiers, strict=True):
        _load(store, "tier_lines", LINE | {"tier": tier}, at=day)
    versions = [("P-1", tier, day) for tier, day in zip(tiers, days, strict=True)]
    for k, day in enumerate(days):
        assert _lines(store, day) == versions[: k + 1]
        assert _lines(store, day - MOMENT) == versions[:k]
        assert admitted(store, "tier_lines", known_by=day)["tier"].to_list() == [tiers[k]]
    frame = known_versions(store, "tier_lines", known_by=LATER)
    assert frame["load_id"].to_list() == ["L0001", "L0002", "L0003"]
    assert frame.columns == [
        *schema.INPUTS["tier_lines"].schema.column_names(), *schema.BITEMPORAL
    ]  # fmt: skip


def test_a_file_of_past_versions_carries_when_each_was_known(store: Store) -> None:
    past = [datetime(2026, month, 5) for month in (3, 6, 9)]
    tiers = ["pipeline", "pipeline", "committed"]
    rows = [LINE | {"tier": t, "known_at": at} for t, at in zip(tiers, past, strict=True)]
    told = _load(store, "tier_lines", *rows[::-1])
    assert told.rows_new + told.rows_changed == 3
    assert _lines(store, LATER) == [("P-1", t, at) for t, at in zip(tiers, past, strict=True)]
    assert [len(_lines(store, at)) for at in past] == [1, 2, 3]
    assert not known_versions(store, "tier_lines", known_by=LATER)["assumed"].any()
    told = _load(store, "tier_lines", *rows, at=datetime(2026, 12, 1))
    assert (told.rows_new, told.rows_changed, told.rows_same) == (0, 0, 3)


def test_a_version_told_later_of_earlier_stands_in_its_place(store: Store) -> None:
    _load(store, "tier_lines", LINE)
    early = datetime(2026, 5, 1)
    _load(store, "tier_lines", LINE | {"tier": "committed", "known_at": early},
          at=datetime(2026, 12, 1))  # fmt: skip
    assert _lines(store, LATER) == [("P-1", "committed", early), ("P-1", "pipeline", LOADED)]


def test_a_retracted_line_is_gone_with_its_past_and_stays_in_the_past(store: Store) -> None:
    _load(store, "tier_lines", LINE, LINE | {"line_id": "P-2"})
    gone = datetime(2026, 12, 1)
    told = _load(store, "tier_lines", LINE | {"line_id": "P-2"}, at=gone, full=True)
    assert told.rows_retracted == 1
    assert [line for line, *_ in _lines(store, gone - MOMENT)] == ["P-1", "P-2"]
    assert [line for line, *_ in _lines(store, gone)] == ["P-2"]
    back = datetime(2026, 12, 9)
    _load(store, "tier_lines", LINE | {"tier": "committed"}, at=back)
    assert _lines(store, back)[:2] == [("P-1", "pipeline", LOADED), ("P-1", "committed", back)]


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (2, 0, 1)])
def test_lines_undone_in_any_order_read_as_never_loaded(
    store: Store, new_store: Any, order: tuple[int, ...]
) -> None:
    days = [LOADED, datetime(2026, 11, 20), datetime(2026, 12, 3)]
    loads = [
        [LINE, LINE | {"line_id": "P-2"}],
        [LINE | {"tier": "committed"}, LINE | {"line_id": "P-2"}],
        [LINE | {"tier": "committed", "quantity": 2.0}],
    ]

    def fill(into: Store, which: set[int]) -> None:
        for k in sorted(which):
            _load(into, "tier_lines", *loads[k], at=days[k], full=k == 2)

    fill(store, {0, 1, 2})
    left = {0, 1, 2}
    for k in order:
        undo_load(store, f"L000{k + 1}", at=LATER)
        left -= {k}
        other = new_store()
        fill(other, left)
        for moment in (*days, LATER):
            assert_frame_equal(
                known_versions(store, "tier_lines", known_by=moment).drop("load_id"),
                known_versions(other, "tier_lines", known_by=moment).drop("load_id"),
                check_exact=True,
            )
    assert known_versions(store, "tier_lines", known_by=LATER).is_empty()


def test_versions_of_other_tables_are_read_too(store: Store) -> None:
    _load(store, "enrolment", COUNT, at=datetime(2026, 12, 8))
    _load(store, "enrolment", COUNT | {"enrolled": 3.0}, at=datetime(2027, 1, 8))
    frame = known_versions(store, "enrolment", known_by=LATER)
    assert frame.select("enrolled", "known_at", "assumed").rows() == [
        (2.0, NOV_RULE, True), (3.0, datetime(2027, 1, 8), False)
    ]  # fmt: skip
    with pytest.raises(RequestError, match=r"no input table 'tiers'; allowed: .*tier_lines"):
        known_versions(store, "tiers", known_by=LATER)


@pytest.mark.parametrize("day", [datetime(2026, 11, 20), datetime(2027, 3, 1)])
def test_enrolment_is_first_known_days_after_its_month(store: Store, day: datetime) -> None:
    _load(store, "enrolment", COUNT, at=day)
    assert admitted(store, "enrolment", known_by=NOV_RULE - MOMENT).is_empty()
    (row,) = admitted(store, "enrolment", known_by=NOV_RULE).to_dicts()
    assert (row["known_at"], row["assumed"]) == (NOV_RULE, True)


def test_the_lag_of_enrolment_is_that_of_the_load(store: Store) -> None:
    _load(store, "enrolment", COUNT, history_lag_days=0)
    (row,) = admitted(store, "enrolment", known_by=LATER).to_dicts()
    assert row["known_at"] == datetime(2026, 11, 30, 23, 59, 59, 999_999)


def test_corrected_enrolment_is_known_from_its_load_and_undone(store: Store) -> None:
    before = datetime(2026, 12, 8)
    _load(store, "enrolment", COUNT, at=before)
    later = datetime(2027, 1, 8)
    told = _load(store, "enrolment", COUNT | {"enrolled": None, "screened": 3.0}, at=later)
    assert told.rows_changed == 1
    read = [admitted(store, "enrolment", known_by=m) for m in (later - MOMENT, later)]
    assert [r["enrolled"].to_list() for r in read] == [[2.0], [None]]  # a null is not a zero
    assert read[1]["screened"].to_list() == [3.0]
    undo_load(store, told.load_id, at=LATER)
    assert admitted(store, "enrolment", known_by=LATER)["enrolled"].to_list() == [2.0]


@pytest.mark.parametrize("table", ALWAYS)
def test_what_is_planned_is_always_known_and_changes_from_their_load(
    store: Store, table: str
) -> None:
    first, change = ALWAYS[table]
    (column,) = change
    _load(store, table, first)
    (row,) = admitted(store, table, known_by=datetime(2001, 1, 1)).to_dicts()
    assert (row[column], row["assumed"]) == (first[column], True)
    later = datetime(2026, 12, 3)
    told = _load(store, table, first | change, at=later)
    assert (told.rows_new, told.rows_changed) == (0, 1)
    assert admitted(store, table, known_by=later - MOMENT)[column].to_list() == [first[column]]
    assert admitted(store, table, known_by=later)[column].to_list() == [change[column]]
    undo_load(store, told.load_id, at=LATER)
    assert admitted(store, table, known_by=LATER)[column].to_list() == [first[column]]


def test_a_whole_trial_comes_back_as_it_was_given(
    store: Store, trial_tables: dict[str, pl.DataFrame]
) -> None:
    at = datetime(2026, 12, 8)
    for name, frame in trial_tables.items():
        _load(store, name, *frame.to_dicts(), at=at)
    read = admitted_inputs(store, known_by=at) | {
        "tier_lines": known_versions(store, "tier_lines", known_by=at)
    }
    for name, frame in trial_tables.items():
        declared = schema.INPUTS[name].schema
        key = [*declared.primary_key(), *(["known_at"] if "known_at" in frame.columns else [])]
        given, back = (f.select(frame.columns).sort(key) for f in (frame, read[name]))
        assert_frame_equal(back, given, check_exact=True)
        declared.validate(read[name].select(declared.column_names()).unique(declared.primary_key()))
    again = [_load(store, name, *frame.to_dicts(), at=datetime(2026, 12, 9))
             for name, frame in trial_tables.items()]  # fmt: skip
    assert {(told.rows_new, told.rows_changed) for told in again} == {(0, 0)}


@pytest.mark.parametrize("version", [1, 2])
def test_an_older_store_gets_the_tables_of_the_clinic(store_url: str, version: int) -> None:
    old = open_store(store_url)
    items = pl.DataFrame({"unique_id": ["A"]})
    append_load(old, "items", items, file="i.csv", file_hash="1", loaded_by="Ann", loaded_at=LOADED)
    names = [*schema.CLINICAL_TABLES, "enrolment_forecasts", "tier_conversion",
             "clinical_parameters"]  # fmt: skip
    if version == 1:
        names += ["overrides", "prices", "statements", "bridge"]
    lacking = [schema.metadata.tables[name] for name in names]
    with old.transaction() as connection:
        schema.metadata.drop_all(connection, tables=lacking)
        older = sa.update(schema.meta).where(schema.meta.c.name == "schema_version")
        connection.execute(older.values(number=version))
    old.close()
    again = open_store(store_url)
    with again.reading() as connection:
        assert read_number(connection, "schema_version") == schema.SCHEMA_VERSION
        assert read_number(connection, "loads") == 1
        assert set(names) <= set(sa.inspect(connection).get_table_names())
    _load(again, "tier_lines", LINE)
    found = admitted_inputs(again, known_by=LATER)
    assert (found["items"].height, found["tier_lines"].height) == (1, 1)
    again.close()
