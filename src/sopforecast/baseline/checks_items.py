"""Checks of master data against history; each returns the offending rows and a sentence.

Every function takes `Loaded` and returns `Finding`; `checks.CHECKS` lists them and drives the run.
"""

from __future__ import annotations

import polars as pl

from sopforecast.baseline.findings import Finding, Loaded, count, items_do, months_apart, some_names
from sopforecast.core.hierarchy import TOTAL, node_name

RECENT_MONTHS = 3


def items_missing(loaded: Loaded) -> Finding:
    """Ids in history that have no row in items."""
    rows = loaded.spans.join(loaded.status, on="unique_id", how="anti", maintain_order="left")
    rows = rows.select("unique_id", "first_ds", "last_ds", "months", "total")
    verb = items_do(rows, "has", "have")
    return Finding(
        rows,
        f"{verb} demand but no row in items ({some_names(rows['unique_id'].to_list())}): "
        "add them to items, or correct the id",
    )


def items_without_history(loaded: Loaded) -> Finding:
    """Items that are not discontinued and have no known demand."""
    rows = loaded.status.join(loaded.spans, on="unique_id", how="anti").sort("unique_id")
    rows = rows.filter(pl.col("status") != "discontinued").select(
        "unique_id", "status", "launch_ds"
    )
    verb = items_do(rows, "has", "have")
    launches = int((rows["status"] == "launch").sum())
    return Finding(
        rows,
        f"{verb} no demand on record and cannot be forecast from history, {launches:,} of "
        "them launches: load their history, or correct the id",
    )


def items_discontinued_with_demand(loaded: Loaded) -> Finding:
    """Demand after an item's end, or in the last 3 months of an item marked discontinued."""
    recent = months_apart(pl.col("ds"), pl.lit(loaded.last_month)) < RECENT_MONTHS
    ended = (
        pl.when(pl.col("end_ds").is_not_null())
        .then(pl.col("ds") > pl.col("end_ds"))
        .otherwise((pl.col("status") == "discontinued") & recent)
    )
    rows = (
        loaded.known.filter(pl.col("y") > 0)
        .join(loaded.status, on="unique_id", how="inner", maintain_order="left")
        .filter(ended)
        .select("unique_id", "ds", "y", "status", "end_ds")
    )
    verb = items_do(rows, "has", "have")
    return Finding(
        rows,
        f"{verb} demand after the end set in items ({count(rows.height, 'month')} in all): "
        "correct status and end_ds, or the id the demand was booked on",
    )


def items_launch_after_first_sale(loaded: Loaded) -> Finding:
    """Items with demand before their launch month."""
    sold = loaded.known.filter(pl.col("y") > 0)
    first = sold.group_by("unique_id", maintain_order=True).agg(first_sale=pl.col("ds").min())
    rows = (
        first.join(loaded.status, on="unique_id", how="inner", maintain_order="left")
        .filter(pl.col("launch_ds") > pl.col("first_sale"))
        .select("unique_id", "first_sale", "launch_ds")
    )
    verb = items_do(rows, "has", "have")
    return Finding(
        rows,
        f"{verb} demand before the launch_ds set in items: correct launch_ds, or the id the "
        "earlier demand was booked on",
    )


def hierarchy_orphan(loaded: Loaded) -> Finding:
    """Items that belong to no aggregate of some level: the cell is empty, or there is no row."""
    columns = list(dict.fromkeys(name for path in loaded.level_paths.values() for name in path))
    ids = pl.concat([loaded.status["unique_id"], loaded.spans["unique_id"]]).unique().sort()
    held = [name for name in columns if name in loaded.items.columns]
    values = loaded.items.select(
        pl.col("unique_id").cast(pl.String), pl.col(held).cast(pl.String), has_row=pl.lit(True)
    )
    table = ids.to_frame().join(values, on="unique_id", how="left", maintain_order="left")
    absent = (pl.lit(None, pl.String).alias(name) for name in columns if name not in held)
    rows = (
        table.with_columns(pl.col("has_row").fill_null(False), *absent)
        .unpivot(columns, index=["unique_id", "has_row"], variable_name="level_column")
        .filter(pl.col("value").fill_null("").str.strip_chars() == "")
        .with_columns(
            found=pl.when("has_row").then(pl.lit("empty cell")).otherwise(pl.lit("no row in items"))
        )
        .sort("unique_id", "level_column")
        .select("unique_id", "level_column", "found")
    )
    verb = items_do(rows, "has", "have")
    names = some_names(rows["level_column"].unique().sort().to_list())
    return Finding(
        rows,
        f"{verb} no {names}, which the settings name as a level: fill in the column in items, "
        "or take it out of levels",
    )


def unit_mixed(loaded: Loaded) -> Finding:
    """Nodes that add up items of different units without a common plan unit."""
    items = _with_counting_unit(loaded.items)
    paths = {TOTAL: [], **loaded.level_paths}
    known = {level: path for level, path in paths.items() if set(path) <= set(items.columns)}
    rows = pl.concat(_mixed_nodes(items, level, path) for level, path in known.items())
    verb = "adds" if rows.height == 1 else "add"
    return Finding(
        rows,
        f"{count(rows.height, 'node')} {verb} up items of different units "
        f"({some_names(rows['node'].to_list())}): give those items a plan_unit and a plan_factor, "
        "or read such totals in value only",
    )


def _with_counting_unit(items: pl.DataFrame) -> pl.DataFrame:
    """Adds ``counts_in``: plan_unit where it comes with a factor, else the item's own unit."""
    if {"plan_unit", "plan_factor"} <= set(items.columns):
        convertible = pl.col("plan_unit").is_not_null() & pl.col("plan_factor").is_not_null()
        unit = pl.when(convertible).then(pl.col("plan_unit")).otherwise(pl.col("unit"))
    else:
        unit = pl.col("unit")
    return items.with_columns(counts_in=unit.cast(pl.String).str.strip_chars())


def _mixed_nodes(items: pl.DataFrame, level: str, path: list[str]) -> pl.DataFrame:
    """node, level, units, items of every node of one level that holds two units or more."""
    values = [items[name].cast(pl.String).str.strip_chars().fill_null("") for name in path]
    if path:
        names = [node_name(path, row) if all(row) else None for row in zip(*values, strict=True)]
    else:
        names = [TOTAL] * items.height
    unit = pl.col("counts_in").filter(pl.col("counts_in") != "")
    return (
        items.select("counts_in", node=pl.Series(names, dtype=pl.String))
        .filter(pl.col("node").is_not_null())
        .group_by("node")
        .agg(
            level=pl.lit(level),
            units=unit.unique().sort().str.join(", "),
            kinds=unit.n_unique(),
            items=pl.len().cast(pl.Int64),
        )
        .filter(pl.col("kinds") > 1)
        .select("node", "level", "units", "items")
        .sort("node")
    )
