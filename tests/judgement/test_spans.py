"""Spans that have begun: what is left of them, worked by hand."""

from __future__ import annotations

from datetime import date
from typing import Any

import polars as pl
import pytest

from sopforecast.core.hierarchy import Hierarchy, build_hierarchy
from sopforecast.errors import RequestError
from sopforecast.judgement.spans import what_is_left

CYCLE = date(2026, 12, 1)
OCT, NOV = date(2026, 10, 1), date(2026, 11, 1)


@pytest.fixture(scope="module")
def hierarchy() -> Hierarchy:
    items = pl.DataFrame({"unique_id": ["a", "b", "c"], "family": ["F", "F", "G"]})
    return build_hierarchy(items, levels=["family"])


def history(*rows: tuple[str, date, float | None]) -> pl.DataFrame:
    return pl.DataFrame(
        rows, schema={"unique_id": pl.String, "ds": pl.Date, "y": pl.Float64}, orient="row"
    )


FULL = history(("a", OCT, 30.0), ("b", OCT, 10.0), ("a", NOV, 25.0), ("b", NOV, 15.0))


def left(
    hierarchy: Hierarchy,
    known: pl.DataFrame | None,
    prices: pl.DataFrame | None = None,
    **change: Any,
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """A span of six months, October to March, of which two are past."""
    row = {
        "override_id": "o1",
        "node": "family=F",
        "ds_from": OCT,
        "ds_to": date(2027, 3, 1),
        "kind": "absolute",
        "measure": "quantity",
        "value": 300.0,
        "low": 60.0,
        "high": 400.0,
    } | change
    schema = {"ds_from": pl.Date, "ds_to": pl.Date, "low": pl.Float64, "high": pl.Float64}
    rows, notes = what_is_left(
        pl.DataFrame([row], schema_overrides=schema),
        hierarchy,
        cycle=CYCLE,
        history=known,
        prices=prices,
    )
    return rows.to_dicts()[0], notes


def values(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["value"], row["low"], row["high"], row["remainder"]


def test_known_actuals_come_off_and_never_below_zero(hierarchy: Hierarchy) -> None:
    row, notes = left(hierarchy, FULL)
    assert values(row) == (220.0, 0.0, 320.0, True)
    assert notes == ()


def test_a_past_month_without_an_actual_takes_its_part_by_months(hierarchy: Hierarchy) -> None:
    row, notes = left(hierarchy, FULL.filter(pl.col("ds") == OCT))
    # 300 - 40 over November and the four months to come: four fifths of 260.
    assert values(row) == (208.0, 16.0, 288.0, True)
    assert len(notes) == 1
    assert "'o1'" in notes[0]
    assert "2026-11" in notes[0]
    assert "2026-10" not in notes[0]


def test_one_gap_makes_the_month_of_the_node_unknown(hierarchy: Hierarchy) -> None:
    gap = FULL.filter((pl.col("unique_id") != "b") | (pl.col("ds") != NOV))
    assert values(left(hierarchy, gap)[0]) == (208.0, 16.0, 288.0, True)
    blank = pl.concat([gap, history(("b", NOV, None))])
    assert values(left(hierarchy, blank)[0]) == (208.0, 16.0, 288.0, True)


def test_an_item_that_begins_later_is_no_gap(hierarchy: Hierarchy) -> None:
    launched = history(("a", OCT, 30.0), ("a", NOV, 25.0), ("b", NOV, 15.0))
    assert left(hierarchy, launched)[0]["value"] == 230.0


def test_without_history_the_months_share_equally(hierarchy: Hierarchy) -> None:
    row, notes = left(hierarchy, None)
    assert row["value"] == 200.0
    assert len(notes) == 1


def test_partial_months_and_those_of_the_cycle_are_not_read(hierarchy: Hierarchy) -> None:
    own = history(("a", CYCLE, 99.0), ("b", CYCLE, 99.0))
    flags = pl.concat([FULL, own]).with_columns(partial=pl.col("ds") >= NOV)
    assert left(hierarchy, flags)[0]["value"] == 208.0


def test_a_delta_goes_by_months_and_a_percentage_stays(hierarchy: Hierarchy) -> None:
    delta, _ = left(hierarchy, FULL, kind="delta", value=-60.0, low=None, high=-30.0)
    assert values(delta) == (-40.0, None, -20.0, True)
    percent, _ = left(hierarchy, FULL, kind="percent", value=10.0, low=5.0, high=15.0)
    assert values(percent) == (10.0, 5.0, 15.0, False)


def test_a_span_that_has_not_begun_is_left_alone(hierarchy: Hierarchy) -> None:
    row, notes = left(hierarchy, FULL, ds_from=CYCLE)
    assert values(row) == (300.0, 60.0, 400.0, False)
    assert notes == ()


def test_a_used_up_span_is_told(hierarchy: Hierarchy) -> None:
    row, notes = left(hierarchy, FULL, value=50.0, low=None, high=None)
    assert row["value"] == 0.0
    assert "80 came" in notes[0]
    assert "50" in notes[0]


def test_money_is_spent_at_the_prices_of_its_months(hierarchy: Hierarchy) -> None:
    prices = pl.DataFrame(
        {"unique_id": ["a", "b", "b"], "ds_from": [OCT, OCT, NOV], "price": [2.0, 4.0, 5.0]}
    )
    row, _ = left(hierarchy, FULL, prices, measure="revenue", value=1000.0, high=None, low=None)
    # 30 x 2 + 10 x 4 + 25 x 2 + 15 x 5
    assert row["value"] == 1000.0 - 225.0
    with pytest.raises(RequestError, match=r"'o1'.*'b'"):
        left(hierarchy, FULL, prices.head(1), measure="revenue")
