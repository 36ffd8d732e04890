"""What people said of months that are over, beside what came."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest

from sopforecast.core.evidence_tables import Observations
from sopforecast.core.hierarchy import build_hierarchy
from sopforecast.judgement.observations import observe

CLOSED = date(2026, 4, 1)
ROW = {
    "override_id": "o1", "ds_from": date(2026, 2, 1), "ds_to": date(2026, 2, 1),
    "cycle": date(2026, 1, 1), "entered_cycle": date(2026, 1, 1), "node": "family=A",
    "mode": "evidence", "source": "sales", "owner": "ann", "reason": "promotion", "event_id": None,
    "probability": 1.0, "stated_sd": None, "baseline": 100.0, "unit_sd": 20.0, "adjustment": 40.0,
}  # fmt: skip
TYPES = {"event_id": pl.String, "stated_sd": pl.Float64}


@pytest.fixture(scope="module")
def hierarchy():
    items = pl.DataFrame({"unique_id": ["a", "b", "c"], "family": ["A", "A", "C"]})
    return build_hierarchy(items, levels=["family"])


def _actuals():
    """Demand 10, 20, 30, .. of a from 2025-11, 1, 2, 3, .. of b, and 100 of c every month."""
    rows = []
    for k in range(6):
        month = date(2025, 11 + k, 1) if k < 2 else date(2026, k - 1, 1)
        rows += [("a", month, 10.0 * (k + 1)), ("b", month, k + 1.0), ("c", month, 100.0)]
    return pl.DataFrame(rows, schema=["unique_id", "ds", "y"], orient="row")


def _observed(hierarchy, *rows, actuals=None, closed=CLOSED):
    said = pl.DataFrame([ROW | row for row in rows], schema_overrides=TYPES)
    return observe(said, _actuals() if actuals is None else actuals, hierarchy, closed=closed)


def test_by_hand(hierarchy):
    """February is the fourth month: a sold 40 and b 4."""
    found, notes = _observed(hierarchy, {"stated_sd": 5.0, "probability": 0.5, "event_id": "e"})
    row = found.row(0, named=True)
    assert row["y"] == pytest.approx((44.0 - 100.0) / 20.0)
    assert row["d"] == pytest.approx(0.5 * 40.0 / 20.0)
    assert row["stated_sd"] == pytest.approx(0.25)
    assert row["age"] == 2.0
    assert (row["source"], row["owner"], row["reason"], row["event_id"]) == (
        "sales", "ann", "promotion", "e"
    )  # fmt: skip
    assert notes == ()
    assert Observations.is_valid(found)


def test_a_span_is_one_sum_aged_from_its_last_month(hierarchy):
    found, _ = _observed(hierarchy, {"ds_to": date(2026, 3, 1), "baseline": 90.0, "node": "a"})
    assert found["y"].to_list() == [pytest.approx((40.0 + 50.0 - 90.0) / 20.0)]
    assert found["age"].to_list() == [1.0]


def test_only_opinions_that_are_over_are_scored(hierarchy):
    found, notes = _observed(
        hierarchy,
        {"override_id": "fixed", "mode": "fixed"},
        {"override_id": "carried", "entered_cycle": date(2025, 12, 1)},
        {"override_id": "open", "ds_from": date(2026, 5, 1), "ds_to": date(2026, 5, 1)},
        {"override_id": "half", "ds_to": date(2026, 5, 1)},
        {"override_id": "over"},
    )
    assert found["override_id"].to_list() == ["over"]
    assert notes == ()


def test_unknown_demand_waits(hierarchy):
    later = _actuals().filter((pl.col("unique_id") != "b") | (pl.col("ds") != date(2026, 2, 1)))
    blank = _actuals().with_columns(
        y=pl.when((pl.col("unique_id") == "b") & (pl.col("ds") == date(2026, 2, 1)))
        .then(None)
        .otherwise("y")
    )
    for actuals in (later, blank):
        found, notes = _observed(hierarchy, {}, {"override_id": "o2", "node": "a"}, actuals=actuals)
        assert found["override_id"].to_list() == ["o2"]
        assert len(notes) == 1
        assert notes[0].startswith("1 override waits")


def test_before_its_first_month_an_item_had_no_demand(hierarchy):
    launched = _actuals().filter((pl.col("unique_id") != "b") | (pl.col("ds") >= date(2026, 3, 1)))
    found, notes = _observed(hierarchy, {"ds_to": date(2026, 3, 1)}, actuals=launched)
    assert found["y"].to_list() == [pytest.approx((40.0 + 50.0 + 5.0 - 100.0) / 20.0)]
    assert notes == ()


def test_a_node_that_is_gone_is_named_and_left_out(hierarchy):
    found, notes = _observed(
        hierarchy, {"node": "family=Z"}, {"override_id": "o2", "node": "retired"}, {"node": "c"}
    )
    assert found["cell"].to_list() == ["c 2026-02-01 2026-02-01"]
    assert len(notes) == 1
    assert notes[0].endswith("family=Z, retired")


def test_one_cell_has_one_name(hierarchy):
    found, _ = _observed(
        hierarchy, {}, {"override_id": "o2", "owner": "bob"},
        {"override_id": "o3", "ds_to": date(2026, 3, 1)},
    )  # fmt: skip
    assert found["cell"][0] == found["cell"][1] != found["cell"][2]


def test_nobody_spoke(hierarchy):
    said = pl.DataFrame([ROW], schema_overrides=TYPES).clear()
    found, notes = observe(said, _actuals(), hierarchy, closed=CLOSED)
    assert found.height == 0
    assert found.columns == Observations.column_names()
    assert notes == ()


def test_an_awaited_item_without_an_actual_is_unknown_and_not_zero(hierarchy):
    """c has no record at all: nothing is asked of it before March, and its March is unknown."""
    actuals = _actuals().filter(pl.col("unique_id") != "c")
    rows = ({"node": "total"}, {"override_id": "o2", "node": "total"} | _in(date(2026, 3, 1)))
    said = pl.DataFrame([ROW | row for row in rows], schema_overrides=TYPES)
    found, notes = observe(said, actuals, hierarchy, closed=CLOSED, awaited={"c": date(2026, 3, 1)})
    assert found["override_id"].to_list() == ["o1"]
    assert found["y"][0] == pytest.approx((44.0 - 100.0) / 20.0)
    assert "1 override waits" in notes[0]


def _in(month):
    return {"ds_from": month, "ds_to": month}
