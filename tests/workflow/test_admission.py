"""Which cycle is open, and what it may read, worked by hand on a few rows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path

import polars as pl
import pytest

from sopforecast.errors import NotNow, RequestError
from sopforecast.planning_store.inputs import input_hash
from sopforecast.planning_store.loading import append_load
from sopforecast.planning_store.store import Store, open_store
from sopforecast.workflow.admission import Admitted, admit
from sopforecast.workflow.clock import reading_moment

LAG_DAYS = 5
CUTOFF_DAY = 15


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(tmp_path / "planning.db")
    yield opened
    opened.close()


def _load(store: Store, months: dict[str, float], *, at: datetime, through: date) -> None:
    frame = pl.DataFrame(
        {"ds": [date.fromisoformat(f"{name}-01") for name in months], "y": list(months.values())}
    ).with_columns(unique_id=pl.lit("A"))
    append_load(
        store, "history", frame, file="history.csv", file_hash=f"{at}", loaded_by="Ann",
        loaded_at=at, history_lag_days=LAG_DAYS, through=through,
    )  # fmt: skip


def _admit(
    store: Store, now: datetime, *, cycle: date | None = None, as_of: str | None = None
) -> Admitted:
    moment = reading_moment(now, as_of=as_of, history_lag_days=LAG_DAYS)
    cutoff_day = CUTOFF_DAY if as_of is None else None
    return admit(store, cycle=cycle, moment=moment, cutoff_day=cutoff_day)


THREE = {"2026-08": 1.0, "2026-09": 2.0, "2026-10": 3.0}
OCTOBER = date(2026, 10, 1)


def test_the_open_cycle_follows_the_last_complete_month(store: Store) -> None:
    _load(store, {**THREE, "2026-11": 9.0}, at=datetime(2026, 11, 20), through=OCTOBER)
    found = _admit(store, datetime(2026, 11, 20))
    assert found.cycle == date(2026, 11, 1)
    assert found.known_by == datetime(2026, 11, 15, 23, 59, 59, 999999)
    assert found.history["y"].to_list() == [1.0, 2.0, 3.0]


def test_last_month_loaded_in_the_first_days_of_a_month_is_not_hidden(store: Store) -> None:
    """Loaded on the 2nd, known by the rule on the 5th: the planner who loaded it sees it."""
    now = datetime(2026, 11, 2, 9)
    _load(store, THREE, at=now, through=OCTOBER)
    assert _admit(store, now).cycle == date(2026, 11, 1)


def test_as_of_keeps_the_lag(store: Store) -> None:
    _load(store, THREE, at=datetime(2026, 11, 20), through=OCTOBER)
    found = _admit(store, datetime(2026, 11, 20), as_of="2026-11-04")
    assert found.cycle == date(2026, 10, 1)
    assert _admit(store, datetime(2026, 11, 20), as_of="2026-11-05").cycle == date(2026, 11, 1)


def test_a_past_cycle_never_reads_its_own_months(store: Store) -> None:
    _load(store, THREE, at=datetime(2026, 11, 20), through=OCTOBER)
    found = _admit(store, datetime(2026, 11, 20), cycle=date(2026, 9, 1))
    assert found.history["ds"].max() == date(2026, 8, 1)
    assert found.known_by == datetime(2026, 9, 15, 23, 59, 59, 999999)


def test_a_correction_after_the_cut_off_leaves_the_hash(store: Store) -> None:
    _load(store, THREE, at=datetime(2026, 11, 10), through=OCTOBER)
    before = _admit(store, datetime(2026, 11, 12))
    _load(store, {"2026-09": 99.0}, at=datetime(2026, 11, 16), through=OCTOBER)
    after = _admit(store, datetime(2026, 11, 20))
    assert after.input_hash == before.input_hash
    _load(store, {"2026-08": 77.0}, at=datetime(2026, 11, 16, 1), through=OCTOBER)
    explicit = _admit(store, datetime(2026, 11, 20), cycle=date(2026, 11, 1))
    assert explicit.input_hash == before.input_hash


def test_a_correction_before_the_cut_off_changes_the_hash(store: Store) -> None:
    _load(store, THREE, at=datetime(2026, 11, 10), through=OCTOBER)
    before = _admit(store, datetime(2026, 11, 12))
    _load(store, {"2026-09": 99.0}, at=datetime(2026, 11, 13), through=OCTOBER)
    after = _admit(store, datetime(2026, 11, 20))
    assert after.input_hash != before.input_hash
    assert len(after.loads_used) == 2


def test_a_cycle_beyond_history_is_not_now(store: Store) -> None:
    _load(store, THREE, at=datetime(2026, 11, 20), through=OCTOBER)
    with pytest.raises(NotNow, match="run --cycle 2026-11"):
        _admit(store, datetime(2026, 11, 20), cycle=date(2027, 1, 1))


def test_a_cycle_before_history_is_refused(store: Store) -> None:
    _load(store, THREE, at=datetime(2026, 11, 20), through=OCTOBER)
    with pytest.raises(RequestError, match="no complete month of history before 2026-08"):
        _admit(store, datetime(2026, 11, 20), cycle=date(2026, 8, 1))


def test_an_empty_store_says_what_to_load(store: Store) -> None:
    with pytest.raises(RequestError, match="sopforecast load history FILE"):
        _admit(store, datetime(2026, 11, 20))


def test_what_waits_for_the_next_cycle_is_counted_and_said(store: Store) -> None:
    _load(store, THREE, at=datetime(2026, 11, 10), through=OCTOBER)
    assert _admit(store, datetime(2026, 11, 20)).left_out(datetime(2026, 11, 20)) == []
    _load(store, {"2026-08": 77.0, "2026-09": 99.0}, at=datetime(2026, 11, 16), through=OCTOBER)
    now = datetime(2026, 11, 22)
    (note,) = _admit(store, now).left_out(now)
    assert note == (
        "2 rows became known after the cut-off 2026-11-15 and wait for the next cycle; "
        "--as-of 2026-11-22 reads them now"
    )


def test_as_of_replaces_the_cut_off_day_but_not_the_present(store: Store) -> None:
    _load(store, THREE, at=datetime(2026, 11, 10), through=OCTOBER)
    _load(store, {"2026-09": 99.0}, at=datetime(2026, 11, 16), through=OCTOBER)
    now = datetime(2026, 11, 22, 12)
    found = _admit(store, now, as_of="2026-11-22")
    assert (found.known_by, found.waiting) == (now, 0)
    assert found.history["y"].to_list() == [1.0, 99.0, 3.0]
    assert _admit(store, now, as_of="2026-11-15").history["y"].to_list() == [1.0, 2.0, 3.0]


def test_as_of_never_reads_the_months_of_the_cycle(store: Store) -> None:
    _load(store, THREE, at=datetime(2026, 11, 20), through=OCTOBER)
    now = datetime(2026, 11, 22)
    found = _admit(store, now, cycle=date(2026, 9, 1), as_of="2026-11-22")
    assert found.history["ds"].max() == date(2026, 8, 1)


SAID = {
    "override_id": "X", "entered_cycle": date(2026, 11, 1), "node": "A",
    "ds_from": date(2026, 12, 1), "ds_to": date(2026, 12, 1), "per": "month", "kind": "delta",
    "measure": "quantity", "value": 4.0, "probability": 1.0, "source": "sales", "owner": "Ann",
    "reason": "tender", "mode": "evidence", "status": "active", "scenario": None,
}  # fmt: skip
PRICE = {"unique_id": "A", "ds_from": date(2026, 1, 1), "price": 2.0}


def _say(store: Store, *rows: dict[str, object], at: datetime, table: str = "overrides") -> str:
    frame = pl.DataFrame(list(rows), infer_schema_length=None)
    return append_load(
        store, table, frame, file=f"{table}.csv", file_hash=f"{at} {rows}", loaded_by="Ann",
        loaded_at=at,
    ).load_id  # fmt: skip


def test_overrides_are_read_by_the_cycle_they_were_entered_in_and_later_ones(store: Store) -> None:
    _load(store, THREE, at=datetime(2026, 11, 10), through=OCTOBER)
    before = _admit(store, datetime(2026, 11, 12))
    load_id = _say(
        store,
        SAID,
        SAID | {"override_id": "next", "entered_cycle": date(2026, 12, 1)},
        SAID | {"override_id": "what if", "scenario": "high"},
        at=datetime(2026, 11, 20),
    )
    found = _admit(store, datetime(2026, 11, 20))
    assert found.overrides["override_id"].to_list() == ["X"]  # known since the cycle began
    assert found.input_hash != before.input_hash
    assert load_id in found.loads_used
    earlier = _admit(store, datetime(2026, 11, 20), cycle=OCTOBER)
    assert earlier.overrides.is_empty()


def test_without_overrides_and_prices_the_hash_is_that_of_history_and_items(store: Store) -> None:
    _load(store, THREE, at=datetime(2026, 11, 10), through=OCTOBER)
    found = _admit(store, datetime(2026, 11, 20))
    assert found.input_hash == input_hash({"history": found.history, "items": found.items})
    _say(store, PRICE, at=datetime(2026, 11, 11), table="prices")
    priced = _admit(store, datetime(2026, 11, 20))
    assert priced.prices["price"].to_list() == [2.0]
    assert priced.input_hash != found.input_hash


def test_an_override_changed_after_the_cut_off_waits(store: Store) -> None:
    _load(store, THREE, at=datetime(2026, 11, 10), through=OCTOBER)
    _say(store, SAID, at=datetime(2026, 11, 11))
    before = _admit(store, datetime(2026, 11, 20))
    _say(store, SAID | {"value": 9.0}, at=datetime(2026, 11, 17))
    after = _admit(store, datetime(2026, 11, 20))
    assert (before.waiting, after.waiting) == (0, 1)
    assert after.input_hash == before.input_hash
    late = _admit(store, datetime(2026, 11, 20), as_of="2026-11-20")
    assert late.overrides["value"].to_list() == [9.0]
