"""Launches and ends worked by hand; the cycle is 2026-10, four months ahead."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

from sopforecast.baseline.lifecycle import months_without_demand

CYCLE = date(2026, 10, 1)
SCHEMA = {
    "unique_id": pl.String,
    "status": pl.String,
    "launch_ds": pl.Date,
    "end_ds": pl.Date,
}


def _closed(status, launch, end, *, name="a"):
    items = pl.DataFrame([(name, status, launch, end)], schema=SCHEMA, orient="row")
    closed, reasons = months_without_demand(items, ["a"], cycle=CYCLE, horizon=4)
    return closed[0].astype(int).tolist(), reasons[0]


@pytest.mark.parametrize(
    ("status", "launch", "end", "closed", "reason"),
    [
        ("active", None, None, [0, 0, 0, 0], ""),
        (None, None, None, [0, 0, 0, 0], ""),
        ("phase_out", None, date(2026, 11, 1), [0, 0, 1, 1], "no demand after its end_ds 2026-11"),
        ("active", None, date(2026, 9, 1), [1, 1, 1, 1], "no demand after its end_ds 2026-09"),
        ("active", None, date(2027, 1, 1), [0, 0, 0, 0], ""),
        ("active", None, date(2020, 1, 1), [1, 1, 1, 1], "no demand after its end_ds 2020-01"),
        ("discontinued", None, None, [1, 1, 1, 1], "status discontinued: forecast as zero"),
        (
            "discontinued",
            None,
            date(2026, 10, 1),
            [0, 1, 1, 1],
            "no demand after its end_ds 2026-10",
        ),
        ("discontinued", None, date(2030, 1, 1), [0, 0, 0, 0], ""),
        ("launch", date(2026, 12, 1), None, [1, 1, 0, 0], "no demand before its launch_ds 2026-12"),
        ("launch", date(2026, 10, 1), None, [0, 0, 0, 0], ""),
        ("launch", date(2024, 1, 1), None, [0, 0, 0, 0], ""),
        ("launch", date(2028, 1, 1), None, [1, 1, 1, 1], "no demand before its launch_ds 2028-01"),
        (
            "launch",
            date(2026, 11, 1),
            date(2026, 12, 1),
            [1, 0, 0, 1],
            "no demand after its end_ds 2026-12; no demand before its launch_ds 2026-11",
        ),
    ],
)
def test_one_item(status, launch, end, closed, reason):
    assert _closed(status, launch, end) == (closed, reason)


def test_items_that_are_not_forecast_do_not_matter():
    assert _closed("discontinued", None, None, name="other") == ([0, 0, 0, 0], "")


def test_each_item_has_its_own_months():
    rows = [("b", "discontinued", None, None), ("c", "launch", date(2026, 11, 1), None)]
    items = pl.DataFrame(rows, schema=SCHEMA, orient="row")
    closed, reasons = months_without_demand(items, ["a", "b", "c"], cycle=CYCLE, horizon=2)
    assert closed.tolist() == [[False, False], [True, True], [True, False]]
    assert [bool(reason) for reason in reasons] == [False, True, True]


@pytest.mark.parametrize("items", [None, pl.DataFrame(schema=SCHEMA)])
def test_without_items_nothing_is_closed(items):
    closed, reasons = months_without_demand(items, ["a", "b"], cycle=CYCLE, horizon=3)
    assert closed.shape == (2, 3)
    assert not np.any(closed)
    assert reasons == ("", "")


def test_columns_that_are_not_there_close_nothing():
    items = pl.DataFrame({"unique_id": ["a"], "family": ["x"]})
    closed, _ = months_without_demand(items, ["a"], cycle=CYCLE, horizon=3)
    assert not np.any(closed)
