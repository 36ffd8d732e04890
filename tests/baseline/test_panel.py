"""Months laid out as arrays: hand-worked layouts, and sums that gaps do not hide."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

from sopforecast.baseline.panel import item_panel, node_panel, since_launch
from sopforecast.core.months import add_months

LAST = date(2026, 3, 1)


def _cleansed(rows):
    """Rows of (item, months before LAST, recorded, fitted, flag)."""
    return pl.DataFrame(
        [(item, add_months(LAST, -back), seen, y, flag) for item, back, seen, y, flag in rows],
        schema={
            "unique_id": pl.String,
            "ds": pl.Date,
            "y_original": pl.Float64,
            "y": pl.Float64,
            "flag": pl.String,
        },
        orient="row",
    )


@pytest.fixture
def cleansed():
    return _cleansed(
        [
            ("i00", 3, 10.0, 10.0, ""),
            ("i00", 2, None, 11.0, "gap"),
            ("i00", 1, 90.0, 12.0, "outlier"),
            ("i00", 0, 13.0, 13.0, ""),
            ("i01", 1, 2.0, 5.0, "stockout"),
            ("i01", 0, 7.0, 4.0, "one_off"),
        ]
    )


def test_months_end_together_and_only_recorded_demand_is_scored(cleansed):
    panel = item_panel(cleansed, ("i00", "i01", "i02"), last_month=LAST)
    nan = np.nan
    np.testing.assert_array_equal(
        panel.y, [[10, 11, 12, 13], [nan, nan, 5, 4], [nan, nan, nan, nan]]
    )
    np.testing.assert_array_equal(
        panel.scored, [[10, nan, 90, 13], [nan, nan, nan, 7], [nan, nan, nan, nan]]
    )
    assert panel.n_months.tolist() == [4, 2, 0]
    assert panel.last_month == LAST
    assert panel.nodes == ("i00", "i01", "i02")


def test_rows_may_come_in_any_order_and_rows_of_others_are_left_out(cleansed):
    expected = item_panel(cleansed, ("i00", "i01"), last_month=LAST)
    shuffled = pl.concat([cleansed, _cleansed([("other", 30, 1.0, 1.0, "")])]).sample(
        fraction=1.0, shuffle=True, seed=3
    )
    found = item_panel(shuffled, ("i00", "i01"), last_month=LAST)
    np.testing.assert_array_equal(found.y, expected.y)
    np.testing.assert_array_equal(found.scored, expected.scored)


def test_history_that_stopped_before_the_last_month_is_not_moved_up():
    panel = item_panel(_cleansed([("i00", 14, 3.0, 3.0, "")]), ("i00",), last_month=LAST)
    assert panel.y.shape == (1, 15)
    assert panel.y[0, 0] == 3.0


def test_without_any_months_there_is_one_unknown_month():
    panel = item_panel(_cleansed([]), ("i00",), last_month=LAST)
    assert panel.y.shape == (1, 1)
    assert np.isnan(panel.y).all()


def test_an_aggregate_is_the_sum_of_what_had_started(cleansed, make_hierarchy):
    hierarchy = make_hierarchy({"family": "AAB"})
    nodes = node_panel(item_panel(cleansed, hierarchy.items, last_month=LAST), hierarchy)
    assert nodes.nodes == ("total", "family=A", "family=B", "i00", "i01", "i02")
    nan = np.nan
    np.testing.assert_array_equal(nodes.y[0], [10, 11, 17, 17])
    np.testing.assert_array_equal(nodes.y[1], [10, 11, 17, 17])
    np.testing.assert_array_equal(nodes.y[2], [nan] * 4)
    # Recorded demand where it is known (the outlier is 90, the month with the one-off 7), the fit
    # value where it is not.
    np.testing.assert_array_equal(nodes.scored[0], [10, 11, 95, 20])
    np.testing.assert_array_equal(nodes.y[3], [10, 11, 12, 13])
    np.testing.assert_array_equal(nodes.scored[4], [nan, nan, nan, 7])


def test_zeros_before_the_first_demand_are_no_months_of_the_item(cleansed):
    segments = pl.DataFrame(
        {"unique_id": ["i00", "i01"], "first_ds": [add_months(LAST, -1), None]},
        schema={"unique_id": pl.String, "first_ds": pl.Date},
    )
    kept = since_launch(cleansed, segments)
    assert kept.columns == cleansed.columns
    assert kept["unique_id"].to_list() == ["i00", "i00", "i01", "i01"]
    assert kept["ds"].min() == add_months(LAST, -1)
