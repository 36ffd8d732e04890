"""Headline numbers, each worked by hand on the four-item company."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sopforecast.errors import RequestError
from sopforecast.review.headline import first_declared_level, headline


def row(frame: pl.DataFrame, node: str) -> dict[str, object]:
    return frame.row(by_predicate=pl.col("unique_id") == node, named=True)


def test_total_comes_first_then_the_families_by_size(company):
    result = headline(company.forecasts, node_levels=company.node_levels)
    assert result.first_level == "family"
    assert result.totals["unique_id"].to_list() == [
        "total", "family=South %26 East", "family=North",
    ]  # fmt: skip


def test_plans_are_summed_and_ranges_are_of_the_first_month(company):
    total = row(headline(company.forecasts, node_levels=company.node_levels).totals, "total")
    assert (total["plan"], total["plan_3"], total["plan_12"]) == (330.0, 990.0, 3960.0)
    assert (total["ds"], total["p10"], total["p50"], total["p90"]) == (
        date(2026, 12, 1), 330.0 - 0.3 * 70.0, 330.0, 330.0 + 0.3 * 70.0,
    )  # fmt: skip


def test_changes_are_on_the_same_months_a_year_ago_and_on_the_last_twelve(company):
    totals = headline(
        company.forecasts, node_levels=company.node_levels, history_nodes=company.history
    ).totals
    # 330 a month against half of it in each of the last 12 months, which hold the same 3 months
    assert row(totals, "total")["change_3_percent"] == pytest.approx(100.0)
    assert row(totals, "total")["change_12_percent"] == pytest.approx(100.0)


def test_the_three_months_compared_lie_exactly_a_year_before(company):
    history = company.history.with_columns(
        y=pl.when(pl.col("ds").is_between(date(2025, 12, 1), date(2026, 2, 1))).then(
            pl.when(pl.col("unique_id") == "total").then(300.0).otherwise(pl.col("y"))
        ).otherwise(pl.col("y"))
    )  # fmt: skip
    total = row(
        headline(company.forecasts, node_levels=company.node_levels, history_nodes=history).totals,
        "total",
    )
    assert total["change_3_percent"] == pytest.approx(100.0 * (990.0 / 900.0 - 1.0))
    assert total["change_12_percent"] == pytest.approx(100.0 * (3960.0 / (900.0 + 9 * 165.0) - 1.0))


@pytest.mark.parametrize("month", [date(2026, 1, 1), date(2026, 11, 1)])
def test_an_unknown_month_leaves_the_change_open(company, month):
    history = company.history.with_columns(y=pl.when(pl.col("ds") != month).then("y"))
    total = row(
        headline(company.forecasts, node_levels=company.node_levels, history_nodes=history).totals,
        "total",
    )
    assert total["change_12_percent"] is None
    assert (total["change_3_percent"] is None) == (month == date(2026, 1, 1))


def test_no_change_is_told_on_a_past_without_demand(company):
    zero = company.history.with_columns(y=pl.lit(0.0))
    totals = headline(company.forecasts, node_levels=company.node_levels, history_nodes=zero).totals
    assert totals["change_3_percent"].null_count() == totals.height


def test_the_widest_items_are_ranked_by_units_at_stake_not_by_percent(company):
    widest = headline(company.forecasts, node_levels=company.node_levels).widest
    # P90 - P10 is 0.6 widths, but no quantile is below zero: b spans 20 - 12 to 20 + 12
    assert widest["unique_id"].to_list() == ["b", "c", "a"]
    assert widest["width_3"].to_list() == pytest.approx([72.0, 36.0, 18.0])
    assert widest["plan_3"].to_list() == [60.0, 900.0, 30.0]
    assert widest["width_percent"].to_list() == pytest.approx([120.0, 4.0, 60.0])


def test_only_as_many_as_asked_and_ties_in_name_order(company):
    same = company.forecasts.with_columns(p10=pl.col("plan"), p90=pl.col("plan") + 1.0)
    widest = headline(same, node_levels=company.node_levels, widest=2).widest
    assert widest["unique_id"].to_list() == ["a", "b"]


def test_an_item_planned_at_zero_has_no_percentage(company):
    wide = company.forecasts.with_columns(
        p90=pl.when(pl.col("unique_id") == "d").then(5.0).otherwise(pl.col("p90"))
    )
    widest = headline(wide, node_levels=company.node_levels).widest
    assert row(widest, "d")["width_percent"] is None
    assert row(widest, "d")["width_3"] == 15.0


def test_a_short_horizon_has_no_sums_it_cannot_fill(company):
    short = company.forecasts.filter(pl.col("lead") <= 2)
    result = headline(short, node_levels=company.node_levels, history_nodes=company.history)
    assert row(result.totals, "total")["plan_3"] is None
    assert row(result.totals, "total")["change_3_percent"] is None
    assert row(result.widest, "b")["plan_3"] == 40.0


def test_without_levels_there_is_only_the_total(company):
    kept = {node: level for node, level in company.node_levels.items() if level != "family"}
    forecasts = company.forecasts.filter(pl.col("unique_id").is_in(list(kept)))
    result = headline(forecasts, node_levels=kept)
    assert result.first_level is None
    assert result.totals["unique_id"].to_list() == ["total"]


def test_another_level_can_be_asked_for(company):
    levels = company.node_levels | {"family=North": "region"}
    assert first_declared_level(levels) == "region"
    result = headline(company.forecasts, node_levels=levels, first_level="family")
    assert result.totals["unique_id"].to_list() == ["total", "family=South %26 East"]


def test_forecasts_of_two_runs_or_stages_are_refused(company):
    for column in ("run_id", "stage"):
        mixed = pl.concat(
            [company.forecasts, company.forecasts.with_columns(pl.lit("x").alias(column))]
        )
        with pytest.raises(RequestError, match=f"one {column}: found .*, x"):
            headline(mixed, node_levels=company.node_levels)


def test_a_node_without_a_level_is_named(company):
    levels = {node: level for node, level in company.node_levels.items() if node != "c"}
    with pytest.raises(RequestError, match="the first is 'c'"):
        headline(company.forecasts, node_levels=levels)


def test_nothing_to_show_says_so(company):
    with pytest.raises(RequestError, match="no forecasts"):
        headline(company.forecasts.clear(), node_levels=company.node_levels)


@given(order=st.permutations(range(84)))
def test_the_order_of_the_rows_does_not_matter(order):
    rows = _seven_nodes()
    levels = {f"n{node}": "item" for node in range(7)}
    straight = headline(rows, node_levels=levels)
    shuffled = headline(rows[list(order)], node_levels=levels)
    assert straight.widest.equals(shuffled.widest)


def _seven_nodes() -> pl.DataFrame:
    cells = [(node, lead) for node in range(7) for lead in range(1, 13)]
    return pl.DataFrame(
        {
            "run_id": ["r"] * 84,
            "stage": ["statistical"] * 84,
            "unique_id": [f"n{node}" for node, _ in cells],
            "lead": [lead for _, lead in cells],
            "ds": [date(2026, lead, 1) for _, lead in cells],
            "plan": [float(10 * node + lead) for node, lead in cells],
            "p10": [0.0] * 84,
            "p50": [float(node) for node, _ in cells],
            "p90": [float(node % 3 * lead) for node, lead in cells],
        }
    )
