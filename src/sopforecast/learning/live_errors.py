"""How far off each model was in the months that came: errors of what runs really forecast.

Reads the paths that runs kept from the end of their history, gives one row a segment and model,
relative to the segment's best, as the backtest has them. `weights` makes weights of the two.
"""

from __future__ import annotations

import json
from datetime import date

import numpy as np
import polars as pl

from sopforecast.core.months import MONTHS_A_YEAR, add_months
from sopforecast.core.weighting import ERROR_LIMIT, SQUARED_SEGMENTS

HALF_LIFE_MONTHS = 12.0

_CELL = ("segment", "run_id", "unique_id", "ds")
_SMALLEST = 1e-9  # models without any error share the weight
_SCHEMA = {
    "segment": pl.String,
    "model": pl.String,
    "error": pl.Float64,
    "relative_error": pl.Float64,
    "cells": pl.Int64,
    "series": pl.Int64,
    "months": pl.Int64,
    "recent_months": pl.Float64,
}


def live_errors(
    paths: pl.DataFrame, nodes: pl.DataFrame, actuals: pl.DataFrame, *, closed: date | None = None
) -> pl.DataFrame:
    """Errors of every model by segment, on cells whose month has come.

    Parameters
    ----------
    paths : pl.DataFrame
        ``ModelPaths`` of the runs that count; only rows with ``is_end`` are read. The path's first
        month is the one after ``origin``; NaN where the model did not speak.
    nodes : pl.DataFrame
        run_id, unique_id, segment, scale: the nodes of each run, items and aggregates, with the
        segment they had in it and their yardstick then, in the node's unit (the in-sample seasonal
        naive error of `core.metrics.naive_scale`). Nodes not listed, or without a positive scale,
        are left out.
    actuals : pl.DataFrame
        unique_id, ds, y: demand of items and aggregates; what is not listed, or null, is unknown.
    closed : date, optional
        The last month that may teach, from which ages count; None: the newest month of ``actuals``.

    Returns
    -------
    pl.DataFrame
        segment, model, error (in yardsticks: mean of \\|forecast - actual\\|, root mean square in
        ``SQUARED_SEGMENTS``), relative_error (over that of the segment's best, 1 or above), cells,
        series, months, recent_months (months counting by their age); sorted. A month of age a
        counts ``0.5 ** (a / 12)``; an error above ``ERROR_LIMIT`` yardsticks counts as that.

    Raises
    ------
    ValueError
        A path has not as many numbers as its names and horizon say.

    Notes
    -----
    Models do not all speak everywhere. Each is compared with the segment's most talkative one on
    the cells where both spoke (`baseline.combine`); ``cells`` and the rest count those.
    """
    cells = _losses(paths, nodes, actuals, closed)
    if cells.is_empty():
        return pl.DataFrame(schema=_SCHEMA)
    talk = cells.group_by("segment", "model").len().sort("len", "model", descending=[True, False])
    reference = talk.unique("segment", keep="first", maintain_order=True)
    base = cells.join(reference.select("segment", "model"), on=["segment", "model"], how="semi")
    base = base.select(*_CELL, other="loss")
    pairs = cells.join(base, on=list(_CELL), how="inner").sort("segment", "model", *_CELL[1:])
    counted = pairs.group_by("segment", "model", maintain_order=True).agg(
        cells=pl.len().cast(pl.Int64),
        series=pl.col("unique_id").n_unique().cast(pl.Int64),
        months=pl.col("ds").n_unique().cast(pl.Int64),
        recent_months=pl.col("weight")
        .filter(pl.col("ds").is_first_distinct())
        .sort()
        .cum_sum()
        .last(),
    )
    lengths = counted["cells"].to_numpy()
    own, other = (_mean(pairs, name, lengths) for name in ("loss", "other"))
    squared = counted["segment"].is_in(SQUARED_SEGMENTS).to_numpy()
    own, other = (np.where(squared, np.sqrt(size), size) for size in (own, other))
    relative = np.maximum(own, _SMALLEST) / np.maximum(other, _SMALLEST)
    found = counted.with_columns(error=pl.Series(own), relative_error=pl.Series(relative))
    best = pl.col("relative_error").min().over("segment")
    return found.with_columns(relative_error=pl.col("relative_error") / best).select(list(_SCHEMA))


def _mean(pairs: pl.DataFrame, name: str, lengths: np.ndarray) -> np.ndarray:
    """Weighted mean of each run of rows; `numpy.bincount` adds them one after the other."""
    group = np.repeat(np.arange(lengths.size), lengths)
    weight = pairs["weight"].to_numpy()
    whole = np.bincount(group, weights=weight)
    mean: np.ndarray = np.bincount(group, weights=weight * pairs[name].to_numpy()) / whole
    return mean


def _losses(
    paths: pl.DataFrame, nodes: pl.DataFrame, actuals: pl.DataFrame, closed: date | None
) -> pl.DataFrame:
    """One row a segment, model, run, node and month that is known: loss and weight."""
    nodes = nodes.filter((pl.col("scale") > 0) & pl.col("scale").is_finite())
    nodes = nodes.select("run_id", "unique_id", pl.col("segment").cast(pl.String), "scale")
    known = actuals.select("unique_id", "ds", "y").filter(pl.col("y").is_finite())
    if closed is not None:
        known = known.filter(pl.col("ds") <= closed)
    parts = [_unpacked(row) for row in paths.filter("is_end").iter_rows(named=True)]
    if not parts or known.is_empty():
        return pl.DataFrame()
    month = pl.col("ds").dt.year().cast(pl.Int64) * MONTHS_A_YEAR + pl.col("ds").dt.month()
    newest = known["ds"].max() if closed is None else closed
    age = newest.year * MONTHS_A_YEAR + newest.month - month  # type: ignore[union-attr]
    missed = ((pl.col("forecast") - pl.col("y")).abs() / pl.col("scale")).clip(
        upper_bound=ERROR_LIMIT
    )
    squared = pl.col("segment").is_in(SQUARED_SEGMENTS)
    rows = pl.concat(parts).filter(pl.col("forecast").is_finite())
    rows = rows.join(nodes, on=["run_id", "unique_id"], how="inner")
    rows = rows.join(known, on=["unique_id", "ds"], how="inner")
    return rows.select(
        *_CELL,
        "model",
        loss=pl.when(squared).then(missed**2).otherwise(missed),
        weight=0.5 ** (age / HALF_LIFE_MONTHS),
    )


def _unpacked(row: dict[str, object]) -> pl.DataFrame:
    """run_id, model, unique_id, ds, forecast of one row of ``ModelPaths``."""
    names, horizon = json.loads(str(row["names"])), int(str(row["horizon"]))
    values = np.frombuffer(row["paths"], dtype="<f8")  # type: ignore[call-overload]
    if values.size != len(names) * horizon:
        raise ValueError(
            f"paths of {row['model']} in run {row['run_id']}: found {values.size} numbers; "
            f"allowed: {len(names)} names x {horizon} months; the row is damaged, run again"
        )
    months = [add_months(row["origin"], lead) for lead in range(1, horizon + 1)]  # type: ignore[arg-type]
    return pl.DataFrame(
        {
            "unique_id": pl.Series(names, dtype=pl.String).gather(
                np.repeat(np.arange(len(names)), horizon)
            ),
            "ds": pl.Series(months, dtype=pl.Date).gather(np.tile(np.arange(horizon), len(names))),
            "forecast": pl.Series(values, dtype=pl.Float64),
        }
    ).with_columns(run_id=pl.lit(row["run_id"]), model=pl.lit(row["model"]))
