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


STUDY = {"study": "NOVA", "target_enrolment": 40.0}
COUNT = {"study": "NOVA", "site": "S1", "cohort": "all", "enrolled": 2.0}
LINE = {
    "line_id": "P-1", "study": "NOVA", "tier": "pipeline", "quantity": 1.0, "outcome": "open",
}  # fmt: skip


def _count(month: int, enrolled: float = 2.0) -> dict[str, object]:
    return COUNT | {"ds": date(2026, month, 1), "enrolled": enrolled}


def test_without_history_the_open_cycle_follows_enrolment(store: Store) -> None:
    at = datetime(2026, 11, 10)
    _say(store, STUDY, at=at, table="studies")
    _say(store, _count(8), _count(9), at=at, table="enrolment")
    found = _admit(store, at)
    assert found.cycle == date(2026, 10, 1)
    assert found.history.is_empty()
    assert found.clinical.enrolment["ds"].to_list() == [date(2026, 8, 1), date(2026, 9, 1)]


@pytest.mark.parametrize(("table", "row"), [("studies", STUDY), ("tier_lines", LINE)])
def test_before_the_first_patient_the_open_cycle_is_this_month(
    store: Store, table: str, row: dict[str, object]
) -> None:
    now = datetime(2026, 11, 10, 8)
    _say(store, row, at=now, table=table)
    found = _admit(store, now)
    assert found.cycle == date(2026, 11, 1)
    assert not found.clinical.is_empty
    assert found.loads_used == ["L0001"]


def test_history_decides_the_open_cycle_where_there_is_any(store: Store) -> None:
    at = datetime(2026, 11, 10)
    _load(store, {"2026-08": 1.0, "2026-09": 2.0}, at=at, through=date(2026, 9, 1))
    _say(store, STUDY, at=at, table="studies")
    _say(store, _count(8), _count(9), _count(10), at=at, table="enrolment")
    found = _admit(store, at)
    assert found.cycle == date(2026, 10, 1)
    assert found.clinical.enrolment["ds"].max() == date(2026, 9, 1)


def test_a_gap_in_history_is_refused_beside_a_clinic_too(store: Store) -> None:
    at = datetime(2026, 11, 10)
    _load(store, THREE, at=at, through=OCTOBER)
    _say(store, STUDY, at=at, table="studies")
    with pytest.raises(NotNow, match="run --cycle 2026-11"):
        _admit(store, at, cycle=date(2027, 1, 1))


def test_the_clinic_alone_may_be_asked_for_any_cycle(store: Store) -> None:
    at = datetime(2027, 2, 10)
    _say(store, STUDY, at=at, table="studies")
    _say(store, *(_count(m) for m in (7, 8, 9)), at=at, table="enrolment")
    found = _admit(store, at, cycle=date(2026, 9, 1))
    assert found.known_by == datetime(2026, 9, 15, 23, 59, 59, 999999)
    assert found.clinical.cycle == date(2026, 9, 1)
    assert found.clinical.enrolment["ds"].to_list() == [date(2026, 7, 1), date(2026, 8, 1)]


def test_every_version_of_a_line_known_by_the_cut_off_is_read(store: Store) -> None:
    _load(store, THREE, at=datetime(2026, 11, 10), through=OCTOBER)
    days = [datetime(2026, 11, 10), datetime(2026, 11, 12), datetime(2026, 11, 18)]
    for day, tier in zip(days, ("pipeline", "highly_probable", "committed"), strict=True):
        _say(store, LINE | {"tier": tier}, at=day, table="tier_lines")
    now = datetime(2026, 11, 20)
    found = _admit(store, now)
    assert found.clinical.tier_lines.select("tier", "known_at").rows() == [
        ("pipeline", days[0]), ("highly_probable", days[1])
    ]  # fmt: skip
    assert found.waiting == 1
    late = _admit(store, now, as_of="2026-11-20")
    assert late.clinical.tier_lines["tier"].to_list()[-1] == "committed"
    assert late.input_hash != found.input_hash


def test_since_when_a_line_stands_in_its_tier_is_part_of_the_hash(
    store: Store, tmp_path: Path
) -> None:
    """Conversion is learned from it; of any other row only what it says counts."""
    _load(store, THREE, at=datetime(2026, 11, 10), through=OCTOBER)
    other = open_store(tmp_path / "other.db")
    _load(other, THREE, at=datetime(2026, 11, 11), through=OCTOBER)
    hashes = []
    for into, day in ((store, 10), (other, 11)):
        _say(into, STUDY, at=datetime(2026, 11, day), table="studies")
        hashes.append(_admit(into, datetime(2026, 11, 14)).input_hash)
    assert hashes[0] == hashes[1]
    for into, day in ((store, 10), (other, 11)):
        _say(into, LINE, at=datetime(2026, 11, day), table="tier_lines")
        hashes.append(_admit(into, datetime(2026, 11, 14)).input_hash)
    assert len(set(hashes)) == 3
    other.close()


def test_what_happens_in_the_cycle_leaves_the_hash(store: Store) -> None:
    """Enrolment of its own months, and days of a site after the cut-off, are not read."""
    at = datetime(2026, 11, 10)
    _load(store, THREE, at=at, through=OCTOBER)
    _say(store, STUDY, at=at, table="studies")
    _say(store, _count(10), at=at, table="enrolment")
    site = {"study": "NOVA", "site": "S1"}
    _say(store, site, at=at, table="sites")
    now = datetime(2026, 11, 14)
    before = _admit(store, now)
    _say(store, _count(11), at=datetime(2026, 11, 12), table="enrolment")
    _say(store, site | {"activated_date": date(2026, 11, 15), "closed_date": date(2027, 1, 1)},
         at=datetime(2026, 11, 12), table="sites")  # fmt: skip
    after = _admit(store, now)
    assert after.input_hash == before.input_hash
    assert after.clinical.sites["activated_date"].to_list() == [None]
    _say(store, _count(10, 3.0), at=datetime(2026, 11, 13), table="enrolment")
    assert _admit(store, now).input_hash != before.input_hash


def test_a_site_that_opened_by_the_cut_off_has_opened(store: Store) -> None:
    """The cut-off is the 15th; loaded on the 20th, the first version of a site is always known."""
    _load(store, THREE, at=datetime(2026, 11, 10), through=OCTOBER)
    _say(store, STUDY, at=datetime(2026, 11, 10), table="studies")
    sites = [
        {"study": "NOVA", "site": f"S{day}", "activated_date": date(2026, 11, day)}
        for day in (14, 15, 16)
    ]
    _say(store, *sites, at=datetime(2026, 11, 20), table="sites")
    found = _admit(store, datetime(2026, 11, 20)).clinical.sites
    assert found["activated_date"].to_list() == [date(2026, 11, 14), date(2026, 11, 15), None]
    late = _admit(store, datetime(2026, 11, 20), as_of="2026-11-20").clinical.sites
    assert late["activated_date"].null_count() == 0


def test_enrolment_of_the_cycle_does_not_wait(store: Store) -> None:
    """It is not read by this cycle, however late it is asked; a corrected month before it is."""
    at = datetime(2026, 11, 10)
    _load(store, THREE, at=at, through=OCTOBER)
    _say(store, _count(10), at=at, table="enrolment")
    now = datetime(2026, 12, 20)
    _say(store, _count(11), at=datetime(2026, 12, 10), table="enrolment")
    assert _admit(store, now, cycle=date(2026, 11, 1)).waiting == 0
    _say(store, _count(10, 5.0), at=datetime(2026, 12, 10, 1), table="enrolment")
    assert _admit(store, now, cycle=date(2026, 11, 1)).waiting == 1


def test_the_loads_of_the_clinic_are_used(store: Store) -> None:
    at = datetime(2026, 11, 10)
    _load(store, THREE, at=at, through=OCTOBER)
    ids = [
        _say(store, row, at=at, table=table)
        for table, row in (("studies", STUDY), ("enrolment", _count(9)), ("tier_lines", LINE))
    ]
    moved = _say(store, LINE | {"tier": "committed"}, at=datetime(2026, 11, 12), table="tier_lines")
    found = _admit(store, datetime(2026, 11, 14))
    assert set(found.loads_used) == {"L0001", *ids, moved}
