"""How the numbers came about, counted by hand."""

from __future__ import annotations

import polars as pl
import pytest

from sopforecast.review import account

WEIGHTS = pl.DataFrame(
    [("smooth", "AutoETS", 0.25, 40), ("smooth", "boosting", 0.75, 40), ("sparse", "TSB", 1.0, 0)],
    schema=["segment", "model", "weight", "cells"],
    orient="row",
)
COMPONENTS = pl.DataFrame(
    {
        "unique_id": ["e", "d", "c", "b", "a", "f"],
        "segment": ["smooth", "smooth", "sparse", "smooth", "smooth", "smooth"],
        "model": ["naive", "combination", "zero", "naive", "naive", "combination"],
        "reason": ["too short", None, "dead", "too short", "too short", ""],
    }
)


def test_shares_are_percentages_in_one_order_of_models():
    table = account.models_by_segment(WEIGHTS, COMPONENTS)
    assert table["models"] == ["TSB", "boosting", "AutoETS"]
    assert table["rows"] == [
        {"segment": "smooth", "items": 5, "cells": 40, "shares": [0.0, 75.0, 25.0]},
        {"segment": "sparse", "items": 1, "cells": 0, "shares": [100.0, 0.0, 0.0]},
    ]
    assert account.models_by_segment(WEIGHTS, None)["rows"][0]["items"] is None


def test_fallbacks_are_counted_by_reason_and_name_some():
    table = account.fallbacks(COMPONENTS)
    assert table["items"] == 4
    assert table["rows"] == [
        {"reason": "too short", "model": "naive", "items": 3, "named": ["a", "b", "e"]},
        {"reason": "dead", "model": "zero", "items": 1, "named": ["c"]},
    ]
    assert account.fallbacks(None) is None
    assert account.fallbacks(COMPONENTS.clear()) == {"items": 0, "rows": [], "hidden": 0}


def test_a_reason_for_every_item_is_cut_and_counted():
    many = pl.DataFrame(
        {"unique_id": [f"{i:03d}" for i in range(30)], "reason": [f"r{i:03d}" for i in range(30)]}
    ).with_columns(model=pl.lit("naive"))
    table = account.fallbacks(many)
    assert (len(table["rows"]), table["hidden"], table["items"]) == (20, 10, 30)


def backtest(coverage: list[float], **columns: object) -> pl.DataFrame:
    leads = list(range(1, len(coverage) + 1))
    return pl.DataFrame(
        {"lead": leads, "wmape": [10.0] * len(leads), "bias_percent": [-1.0] * len(leads),
         "coverage80": coverage, **columns}
    )  # fmt: skip


@pytest.mark.parametrize(
    ("coverage", "inside", "verdict"),
    [
        ([0.7, 0.9], 8.0, "at their word"),
        ([0.5, 0.7], 6.0, "narrower"),
        ([0.9, 1.0], 9.5, "wider"),
        ([0.8, float("nan")], 8.0, "at their word"),
    ],
)
def test_coverage_is_told_in_months_of_ten(coverage, inside, verdict):
    summary = account.backtest_summary(backtest(coverage))
    assert summary["inside"] == inside
    assert verdict in summary["verdict"]
    assert summary["rows"][0]["coverage80"] == pytest.approx(100 * coverage[0])


def test_cells_weigh_the_average():
    summary = account.backtest_summary(backtest([0.9, 0.5], cells=[3, 1]))
    assert summary["inside"] == 8.0


def test_items_are_shown_lead_by_lead_and_every_level_is_counted():
    levels = pl.concat(
        [
            backtest([0.6, 0.6], level=["total", "total"]),
            backtest([0.9, 0.7], level=["item", "item"]),
        ]
    )
    summary = account.backtest_summary(levels)
    assert (summary["level"], summary["inside"], len(summary["rows"])) == ("item", 8.0, 2)
    assert summary["levels"] == [
        {"level": "total", "inside": 6.0},
        {"level": "item", "inside": 8.0},
    ]


def test_nothing_measured_is_not_a_number():
    assert account.backtest_summary(backtest([]).clear()) is None
    assert account.backtest_summary(backtest([float("nan")]))["inside"] is None


def test_checks_to_act_on_come_first():
    checks = [("b", "ok", "fine", 0), ("c", "warning", "look", 2), ("a", "error", "broken", 1)]
    table = account.checks_by_severity(checks)
    assert [row["name"] for row in table["rows"]] == ["a", "c", "b"]
    assert table["counts"] == {"error": 1, "warning": 1, "skipped": 0, "ok": 1}


def test_time_is_shared_out():
    table = account.time_spent({"check": 1.0, "models": 3.0})
    assert [row["share"] for row in table["rows"]] == [25.0, 75.0]
    assert account.time_spent({})["total"] == 0.0
    assert account.time_spent({"check": 0.0})["rows"][0]["share"] == 0.0


def test_an_end_or_a_launch_is_no_fallback() -> None:
    components = pl.DataFrame(
        {
            "unique_id": ["a", "b", "c"],
            "model": ["zero", "naive", "mean"],
            "reason": [
                "status discontinued: forecast as zero",
                "no demand after its end_ds 2026-12; short history",
                None,
            ],
        }
    )
    told = account.fallbacks(components)
    assert told is not None
    assert [(row["reason"], row["items"]) for row in told["rows"]] == [("short history", 1)]
