"""Where y comes from, and the unit it is in."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sopforecast.core.months import add_months
from sopforecast.intake.demand import (
    assumptions,
    demand_from_shipments,
    mark_partial,
    negative_demand,
    unit_slips,
)
from sopforecast.intake.rules import Place

PLACE = Place("h.csv", {"y": "Qty"})
START = date(2024, 1, 1)


def months(*quantities: float | None, item: str = "A", first: int = 0) -> pl.DataFrame:
    """One row a month from the start on; row numbers from 2."""
    count = len(quantities)
    return pl.DataFrame(
        {
            "_row": range(2, count + 2),
            "_column": ["Qty"] * count,
            "unique_id": [item] * count,
            "ds": [add_months(START, first + i) for i in range(count)],
            "y": quantities,
            "partial": [False] * count,
        },
        schema_overrides={"y": pl.Float64, "_row": pl.Int64},
    )


def shipments(shipped: list[float | None], backlog: list[float | None]) -> pl.DataFrame:
    return months(*[None] * len(shipped)).with_columns(
        pl.Series("shipped", shipped, dtype=pl.Float64),
        pl.Series("backlog", backlog, dtype=pl.Float64),
    )


def test_demand_is_shipped_plus_the_change_in_backlog() -> None:
    history, notes = demand_from_shipments(shipments([10, 10, 1], [5, 2, 9]))
    assert history["y"].to_list() == [10, 7, 8]
    assert notes == ["y is what was shipped in 1 row whose change in backlog is not known (row 2)"]


def test_the_backlog_of_the_month_before_may_be_known_already() -> None:
    known = pl.DataFrame(
        {"unique_id": ["A"], "ds": [date(2023, 12, 1)], "y": [1.0], "backlog": [3.0]}
    )
    history, notes = demand_from_shipments(shipments([10], [5]), known=known)
    assert (history["y"].to_list(), notes) == ([12.0], [])


def test_unknown_backlog_and_unknown_shipments() -> None:
    history, notes = demand_from_shipments(shipments([10, 10, None], [5, None, 4]))
    assert history["y"].to_list() == [10, 10, None]
    assert "2 rows" in notes[0]


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), min_size=1, max_size=12))
def test_over_any_span_demand_is_shipped_plus_what_backlog_grew(rows) -> None:
    shipped, backlog = [float(s) for s, _ in rows], [float(b) for _, b in rows]
    history, _ = demand_from_shipments(shipments(shipped, backlog))
    assert history["y"].sum() == sum(shipped) + backlog[-1] - backlog[0]


def test_months_after_the_last_complete_one_are_partial() -> None:
    history = mark_partial(months(1, 2, 3), through=date(2024, 2, 1))
    assert history["partial"].to_list() == [False, False, True]


@pytest.mark.parametrize(("negative", "rows"), [("refuse", [3]), ("net", [])])
def test_returns_above_sales_are_for_settings_to_allow(negative, rows) -> None:
    history = months(1, -2, 0).with_columns(shipped=None, backlog=None)
    history = history.cast({"shipped": pl.Float64, "backlog": pl.Float64})
    problems = negative_demand(history, negative=negative, is_derived=False, place=PLACE)
    assert [problem.row for problem in problems] == rows


def slips(history: pl.DataFrame, known: pl.DataFrame | None = None) -> list[int | None]:
    return [problem.row for problem in unit_slips(history, known=known, place=PLACE)]


@pytest.mark.parametrize(
    ("quantities", "rows"),
    [
        ((100, 90, 110, 100_000), [5]),
        ((100, 90, 110, 100_000, 101_000, 99), [5, 6]),
        ((100, 90, 110, 49_900), []),
        ((100, 90, 110, 50_000), [5]),
        ((100, 90, 110, 200_000), [5]),
        ((100, 90, 110, 210_000), []),
        ((100, 90, 100_000), []),
        ((100, 90, 110, 0.1), [5]),
        ((5000, 4900, 5100, 5), []),
        ((100.5, 90.5, 110.5, 0.1), []),
        ((1, 2, 900, 1, 2, 1000), []),
        ((100, 0, 0, 90, 110, 100_000), [7]),
        ((100, None, 90, 110, 100_000), [6]),
        ((100_000, 99_000, 101_000, 98_000), []),
        ((100, 90, 110, 100_000_000), [5]),
        ((100, 90, 110, 10_000_000), []),
        ((100_000, 90, 110, 100, 95), [2]),
        ((100_000_000, 90, 110, 100), [2]),
        ((100, 90_000, 110_000, 100_000), [2]),
        ((100, 9_000, 110_000, 100_000, 95_000), []),
        ((100_000, 90, 110), []),
    ],
)
def test_a_thousandfold_month_is_a_change_of_unit(quantities, rows) -> None:
    assert slips(months(*quantities)) == rows


def test_known_history_counts_as_earlier_and_the_file_replaces_its_own_keys() -> None:
    known = months(100, 90, 110, 100_000).select("unique_id", "ds", "y")
    assert slips(months(105_000, first=3), known) == [2]
    assert slips(months(105, first=3), known) == []
    assert slips(months(105_000, item="B", first=3), known) == []


def test_partial_months_are_not_judged() -> None:
    history = months(100_000, 90_000, 110_000, 0.5).with_columns(partial=pl.col("y") < 1)
    assert slips(history) == []


@pytest.mark.parametrize(
    "name", ["m3_monthly", "m1_monthly", "carparts", "aus_retail", "tourism_au_monthly"]
)
def test_no_real_history_is_mistaken_for_a_slip(data_folder, name) -> None:
    real = pl.read_parquet(data_folder / f"{name}.parquet").select(
        pl.int_range(2, pl.len() + 2).alias("_row"),
        pl.lit("y").alias("_column"),
        pl.col("unique_id").cast(pl.String),
        pl.col("ds").cast(pl.Date),
        pl.col("y").cast(pl.Float64),
        pl.lit(value=False).alias("partial"),
    )
    assert slips(real) == []


def test_what_is_assumed_is_said() -> None:
    history = months(1, None, 3, 4).with_columns(partial=pl.col("ds") > date(2024, 2, 1))
    notes = assumptions(
        history, through=date(2024, 2, 1), today=date(2024, 3, 9), missing="unknown"
    )
    assert notes == [
        "2 rows after 2024-02 kept as partial, never fitted or scored (2024-03, 2024-04)",
        "1 row in months that have not begun: are they plans?",
        "1 month without a quantity read as unknown",
    ]
