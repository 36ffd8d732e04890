"""The numbers a planner reads first: what is planned, how sure it is, and where it is least sure.

Reads the ``Forecasts`` rows of one run and stage, and the history of the same nodes. The plan adds
over months and nodes, so it is summed; quantiles do not add, so a range is always one month's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from sopforecast.core.months import MONTHS_A_YEAR
from sopforecast.errors import RequestError

TOTAL = "total"
ITEM = "item"
WIDEST_ITEMS = 10
QUARTER_MONTHS = 3
_RANGE = ("plan", "p10", "p50", "p90")


@dataclass(frozen=True)
class Headline:
    """What stands at the top of the review page; every quantity is in the node's own unit.

    Attributes
    ----------
    totals : pl.DataFrame
        ``total`` first, then the nodes of the first level, largest plan first: unique_id, level,
        ds (the first month), plan, p10, p50, p90 of that month, plan_3 and plan_12 (the plan summed
        over the first 3 and 12 months), change_3_percent (against the same 3 months a year ago)
        and change_12_percent (against the last 12 months). A sum over more months than there are
        is null; so is a change when a month of the past is unknown or the past is not positive.
    widest : pl.DataFrame
        Items with the largest P10-P90 width summed over the first 3 months, widest first:
        unique_id, level, ds, plan, p10, p50, p90 (first month), plan_3 (over the months there are,
        3 at most), width_3 (that summed width) and width_percent (of plan_3, null when it is 0).
    first_level : str or None
        The level of the nodes below ``total``; None when no level is declared.
    """

    totals: pl.DataFrame
    widest: pl.DataFrame
    first_level: str | None


def headline(
    forecasts: pl.DataFrame,
    *,
    node_levels: Mapping[str, str],
    history_nodes: pl.DataFrame | None = None,
    first_level: str | None = None,
    widest: int = WIDEST_ITEMS,
) -> Headline:
    """Pick the headline numbers out of one run and stage.

    Parameters
    ----------
    forecasts : pl.DataFrame
        ``Forecasts`` columns; one run, one stage.
    node_levels : mapping
        Node to the label of its level, ``total`` first and levels in settings order, as
        ``Hierarchy`` gives them; items are labelled ``item``.
    history_nodes : pl.DataFrame, optional
        unique_id, ds, y of the same nodes, for the changes on the year before.
    first_level : str, optional
        The level shown below ``total``; by default the first one in ``node_levels``.
    widest : int
        How many of the least certain items to name.

    Returns
    -------
    Headline

    Raises
    ------
    RequestError
        When there are no rows, more than one run or stage, or a node without a level.

    Notes
    -----
    The summed width only ranks items by the units at stake; it is not the width of a quarter.
    """
    _check_one_run(forecasts)
    level = first_level if first_level is not None else first_declared_level(node_levels)
    summary = _summarise(_with_levels(forecasts, node_levels))
    totals = summary.filter(pl.col("level").is_in([TOTAL] if level is None else [TOTAL, level]))
    totals = _with_changes(totals, history_nodes).sort(
        pl.col("level") != TOTAL, -pl.col("size"), "unique_id"
    )
    return Headline(
        totals=totals.select(
            "unique_id", "level", "ds", *_RANGE, "plan_3", "plan_12",
            "change_3_percent", "change_12_percent",
        ),
        widest=_widest(summary, count=widest),
        first_level=level,
    )  # fmt: skip


def first_declared_level(node_levels: Mapping[str, str]) -> str | None:
    """The first level below ``total`` in the order of ``node_levels``; None without levels."""
    return next((label for label in node_levels.values() if label not in (TOTAL, ITEM)), None)


def _check_one_run(forecasts: pl.DataFrame) -> None:
    if forecasts.is_empty():
        raise RequestError("the review has no forecasts to show; run the cycle first")
    for column in ("run_id", "stage"):
        found = forecasts[column].unique().sort().to_list()
        if len(found) > 1:
            raise RequestError(
                f"the review shows one {column}: found {', '.join(map(str, found[:5]))}; "
                f"keep the rows of one"
            )


def _with_levels(forecasts: pl.DataFrame, node_levels: Mapping[str, str]) -> pl.DataFrame:
    unknown = sorted(set(forecasts["unique_id"].unique()) - set(node_levels))
    if unknown:
        raise RequestError(
            f"{len(unknown)} forecast nodes have no level, the first is {unknown[0]!r}; "
            "name the level of every node"
        )
    levels = pl.DataFrame(
        {"unique_id": list(node_levels.keys()), "level": list(node_levels.values())},
        schema={"unique_id": pl.String, "level": pl.String},
    )
    return forecasts.join(levels, on="unique_id", how="left", validate="m:1")


def _summarise(rows: pl.DataFrame) -> pl.DataFrame:
    """One row a node: the first month, sums of the plan, and the summed width."""
    quarter, year = pl.col("lead") <= QUARTER_MONTHS, pl.col("lead") <= MONTHS_A_YEAR
    return (
        rows.sort("unique_id", "lead")
        .group_by("unique_id", "level", maintain_order=True)
        .agg(
            pl.col("ds", *_RANGE).first(),
            months=pl.len(),
            size=pl.col("plan").filter(quarter).sum(),
            year=pl.col("plan").filter(year).sum(),
            width_3=(pl.col("p90") - pl.col("p10")).filter(quarter).sum(),
        )
        .with_columns(
            plan_3=pl.when(pl.col("months") >= QUARTER_MONTHS).then("size"),
            plan_12=pl.when(pl.col("months") >= MONTHS_A_YEAR).then("year"),
        )
    )


def _widest(summary: pl.DataFrame, *, count: int) -> pl.DataFrame:
    share = pl.when(pl.col("size") > 0).then(100.0 * pl.col("width_3") / pl.col("size"))
    items = summary.filter((pl.col("level") == ITEM) & (pl.col("width_3") > 0))
    return (
        items.sort(-pl.col("width_3"), "unique_id")
        .head(count)
        .with_columns(plan_3=pl.col("size"), width_percent=share)
        .select("unique_id", "level", "ds", *_RANGE, "plan_3", "width_3", "width_percent")
    )


def _with_changes(totals: pl.DataFrame, history_nodes: pl.DataFrame | None) -> pl.DataFrame:
    if history_nodes is None:
        empty = pl.lit(None, dtype=pl.Float64)
        return totals.with_columns(change_3_percent=empty, change_12_percent=empty)
    first = totals["ds"].min()
    past = history_nodes.select("unique_id", pl.col("ds").cast(pl.Date), "y").filter(
        pl.col("unique_id").is_in(totals["unique_id"].to_list())
    )
    for months in (QUARTER_MONTHS, MONTHS_A_YEAR):
        before = _known_sum(past, first=first, months=months).rename({"sum": "before"})
        change = 100.0 * (pl.col(f"plan_{months}") / pl.col("before") - 1.0)
        totals = (
            totals.join(before, on="unique_id", how="left")
            .with_columns(
                pl.when(pl.col("before") > 0).then(change).alias(f"change_{months}_percent")
            )
            .drop("before")
        )
    return totals


def _known_sum(past: pl.DataFrame, *, first: object, months: int) -> pl.DataFrame:
    """Demand of the ``months`` months that start a year before ``first``; all must be known."""
    start = pl.lit(first, dtype=pl.Date).dt.offset_by(f"-{MONTHS_A_YEAR}mo")
    window = past.filter(
        (pl.col("ds") >= start) & (pl.col("ds") < start.dt.offset_by(f"{months}mo"))
    )
    return (
        window.drop_nulls("y")
        .group_by("unique_id")
        .agg(pl.col("y").sum().alias("sum"), known=pl.col("ds").n_unique())
        .filter(pl.col("known") == months)
        .drop("known")
    )
