"""Overrides through their lives, and what they state, worked by hand."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest

from sopforecast.core.evidence_tables import Overrides
from sopforecast.core.hierarchy import Hierarchy, build_hierarchy
from sopforecast.errors import RequestError
from sopforecast.judgement.overrides import (
    SCALAR_COLUMNS,
    Scalars,
    live_overrides,
    scalars_of,
    state_quantities,
)

CYCLE = date(2026, 12, 1)
ROW: dict[str, Any] = {
    "override_id": "o1",
    "entered_cycle": CYCLE,
    "node": "family=Oncology",
    "ds_from": CYCLE,
    "ds_to": date(2027, 2, 1),
    "per": "month",
    "kind": "delta",
    "measure": "quantity",
    "value": 400.0,
    "low": None,
    "high": None,
    "confidence": None,
    "probability": 1.0,
    "source": "sales",
    "owner": "A. Rivera",
    "reason": "launch",
    "event_id": None,
    "assumption": None,
    "mode": "evidence",
    "expires_cycle": None,
    "status": "active",
    "scenario": None,
    "known_at": datetime(2026, 11, 20),
}


def overrides(*changes: dict[str, Any]) -> pl.DataFrame:
    """Rows that differ from ``ROW`` as told, as the planning store admits them."""
    dtypes = {name: column.dtype for name, column in Overrides.columns().items()}
    return pl.DataFrame(
        [ROW | change for change in changes], schema=dtypes | {"known_at": pl.Datetime()}
    )


@pytest.fixture(scope="module")
def hierarchy() -> Hierarchy:
    """Items a, b (Oncology) and c (Vaccines)."""
    items = pl.DataFrame(
        {"unique_id": ["a", "b", "c"], "family": ["Oncology", "Oncology", "Vaccines"]}
    )
    return build_hierarchy(items, levels=["family"])


def states(rows: pl.DataFrame) -> dict[str, str]:
    return dict(rows.select("override_id", "state").iter_rows())


def scalars(hierarchy: Hierarchy, *changes: dict[str, Any], **more: Any) -> Scalars:
    horizon = more.pop("horizon", 6)
    live = live_overrides(overrides(*changes), cycle=CYCLE, horizon=horizon)
    return scalars_of(live.rows, hierarchy, cycle=CYCLE, horizon=horizon, **more)


def test_new_carried_and_changed() -> None:
    before = date(2026, 10, 1)
    live = live_overrides(
        overrides(
            {"override_id": "new"},
            {"override_id": "carried", "entered_cycle": before, "known_at": datetime(2026, 10, 1)},
            {"override_id": "changed", "entered_cycle": before, "known_at": datetime(2026, 11, 16)},
            {"override_id": "later", "entered_cycle": date(2027, 1, 1)},
        ),
        cycle=CYCLE,
        horizon=6,
        previous_known_by=datetime(2026, 11, 15, 23, 59),
    )
    assert states(live.rows) == {"new": "new", "carried": "carried", "changed": "changed"}
    assert live.expired.is_empty()


def test_changed_since_the_start_of_the_cycle_when_no_run_came_before() -> None:
    changes = [
        {"override_id": name, "entered_cycle": date(2026, 10, 1), "known_at": known_at}
        for name, known_at in (("at", datetime(2026, 12, 1)), ("after", datetime(2026, 12, 1, 1)))
    ]
    live = live_overrides(overrides(*changes), cycle=CYCLE, horizon=6)
    assert states(live.rows) == {"at": "carried", "after": "changed"}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"ds_from": date(2026, 10, 1), "ds_to": date(2026, 11, 1)}, "past"),
        ({"expires_cycle": CYCLE}, "expires"),
        ({"status": "withdrawn", "known_at": datetime(2026, 12, 3)}, "withdrawn"),
        ({"status": "withdrawn", "known_at": datetime(2026, 11, 3)}, None),
        ({"expires_cycle": date(2026, 11, 1)}, None),
        ({"ds_from": date(2026, 9, 1), "ds_to": date(2026, 10, 1)}, None),
        ({"expires_cycle": CYCLE, "scenario": "bold"}, None),
    ],
)
def test_what_ended_since_the_cycle_before_is_told_once(
    change: dict[str, Any], why: str | None
) -> None:
    entered = {"entered_cycle": date(2026, 9, 1), "known_at": datetime(2026, 9, 1)}
    live = live_overrides(overrides(entered | change), cycle=CYCLE, horizon=6)
    assert live.rows.is_empty()
    assert live.expired["why"].to_list() == ([] if why is None else [why])


def test_an_override_withdrawn_in_the_cycle_it_was_entered_in_never_lived() -> None:
    rows = overrides({"status": "withdrawn", "known_at": datetime(2026, 12, 3)})
    live = live_overrides(rows, cycle=CYCLE, horizon=6)
    assert live.rows.is_empty()
    assert live.expired.is_empty()


def test_lives_in_its_last_month_and_in_the_cycle_before_it_expires() -> None:
    rows = overrides({"ds_to": CYCLE, "expires_cycle": date(2027, 1, 1), "scenario": " "})
    assert live_overrides(rows, cycle=CYCLE, horizon=6).rows.height == 1


def test_a_scalar_a_month_inside_cycle_and_horizon(hierarchy: Hierarchy) -> None:
    long = {"ds_from": date(2026, 10, 1), "ds_to": date(2027, 6, 1)}
    found = scalars(hierarchy, long | {"entered_cycle": date(2026, 10, 1)}, horizon=3)
    assert found.frame.columns == list(SCALAR_COLUMNS)
    expected = [date(2026, 12, 1), date(2027, 1, 1), date(2027, 2, 1)]
    assert found.frame["ds_from"].to_list() == expected
    assert found.frame["ds_to"].to_list() == expected
    assert found.frame["entered_lead"].to_list() == [3, 4, 5]
    assert [one.tolist() for one in found.months] == [[0], [1], [2]]
    assert [one.tolist() for one in found.members] == [[0, 1]] * 3
    assert found.frame["value"].to_list() == [400.0] * 3


def test_one_scalar_a_span_and_rows_are_sorted(hierarchy: Hierarchy) -> None:
    found = scalars(
        hierarchy,
        {"override_id": "z", "ds_to": CYCLE, "node": "c"},
        {"override_id": "b", "per": "span", "node": "total"},
        {"override_id": "a", "ds_to": date(2027, 1, 1)},
    )
    assert found.frame["override_id"].to_list() == ["a", "a", "b", "z"]
    assert [one.tolist() for one in found.months] == [[0], [1], [0, 1, 2], [0]]
    assert [one.tolist() for one in found.members] == [[0, 1], [0, 1], [0, 1, 2], [2]]
    assert found.frame["entered_lead"].to_list() == [1, 2, 3, 1]


def test_months_beyond_the_horizon_wait_and_so_does_a_whole_span(hierarchy: Hierarchy) -> None:
    live = live_overrides(
        overrides(
            {"override_id": "month"},
            {"override_id": "far", "ds_from": date(2027, 2, 1)},
            {"override_id": "span", "per": "span"},
            {"override_id": "inside", "per": "span", "ds_to": date(2027, 1, 1)},
        ),
        cycle=CYCLE,
        horizon=2,
    )
    assert dict(live.rows.select("override_id", "waits_from").iter_rows()) == {
        "far": date(2027, 2, 1),
        "inside": None,
        "month": date(2027, 2, 1),
        "span": CYCLE,
    }
    found = scalars_of(live.rows, hierarchy, cycle=CYCLE, horizon=2)
    assert found.frame["override_id"].to_list() == ["inside", "month", "month"]


def test_no_override_gives_no_scalar(hierarchy: Hierarchy) -> None:
    live = live_overrides(overrides({"status": "withdrawn"}), cycle=CYCLE, horizon=2)
    found = scalars_of(live.rows, hierarchy, cycle=CYCLE, horizon=2)
    assert found.frame.columns == list(SCALAR_COLUMNS)
    assert (found.frame.height, found.members, found.months) == (0, (), ())
    empty = np.zeros(0)
    assert state_quantities(found.frame, mean=empty, sd=empty, step=empty).height == 0


def test_an_unknown_node_is_named_with_its_override(hierarchy: Hierarchy) -> None:
    with pytest.raises(RequestError, match=r"override 'o1': node: found 'family=Onco'"):
        scalars(hierarchy, {"node": "family=Onco"})


def stated(hierarchy: Hierarchy, change: dict[str, Any], **more: Any) -> dict[str, Any]:
    one = scalars(hierarchy, {"ds_to": CYCLE} | change)
    arrays = {"mean": [1000.0], "sd": [80.0], "step": [1.0]} | more
    return state_quantities(one.frame, **{k: np.array(v) for k, v in arrays.items()}).to_dicts()[0]


@pytest.mark.parametrize(
    ("change", "expected", "direction"),
    [
        ({"kind": "absolute", "value": 1300.0}, 1300.0, "up"),
        ({"kind": "delta", "value": -150.0}, 850.0, "down"),
        ({"kind": "percent", "value": 20.0}, 1200.0, "up"),
        ({"kind": "percent", "value": -100.0}, 0.0, "down"),
        ({"kind": "absolute", "value": 1000.0}, 1000.0, "up"),
    ],
)
def test_kinds_are_stated_against_the_baseline(
    hierarchy: Hierarchy, change: dict[str, Any], expected: float, direction: str
) -> None:
    row = stated(hierarchy, change)
    assert (row["stated"], row["direction"]) == (expected, direction)
    assert (row["baseline"], row["sd"]) == (1000.0, 80.0)
    assert row["adjustment"] == expected - 1000.0
    assert row["stated_sd"] is None


def test_money_becomes_quantity_and_a_percentage_needs_no_price(hierarchy: Hierarchy) -> None:
    money = {"measure": "revenue", "low": 5000.0, "high": 15000.0, "confidence": 0.5}
    delta = stated(hierarchy, money | {"value": 10000.0}, price=[25.0])
    assert delta["stated"] == 1400.0
    # Half of a normal lies within 0.6744898 sd: (600 - 200) / (2 x 0.6744898).
    assert delta["stated_sd"] == pytest.approx(296.5204437)
    absolute = stated(hierarchy, money | {"kind": "absolute", "value": 10000.0}, price=[25.0])
    assert absolute["stated"] == 400.0
    percent = {"measure": "revenue", "kind": "percent", "value": 10.0}
    assert stated(hierarchy, percent)["stated"] == 1100.0
    with pytest.raises(ValueError, match="price"):
        stated(hierarchy, money | {"value": 10000.0}, price=[float("nan")])


def test_a_range_without_confidence_is_an_80_percent_range(hierarchy: Hierarchy) -> None:
    row = stated(hierarchy, {"kind": "percent", "value": 10.0, "low": 5.0, "high": 15.0})
    # 100 units wide, 2 x 1.2815516 sd.
    assert row["stated_sd"] == pytest.approx(39.0152098)


@pytest.mark.parametrize(
    ("change", "sd", "step", "unit_sd"),
    [
        ({"value": 10.0}, 80.0, 1.0, 80.0),
        ({"value": 10.0}, 3.0, 1.0, 50.0),
        ({"value": -500.0}, 3.0, 1.0, 100.0),
        ({"value": 10.0}, 3.0, 64.0, 64.0),
    ],
)
def test_the_unit_has_a_floor(
    hierarchy: Hierarchy, change: dict[str, Any], sd: float, step: float, unit_sd: float
) -> None:
    assert stated(hierarchy, change, sd=[sd], step=[step])["unit_sd"] == unit_sd
