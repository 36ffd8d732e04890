"""How good forecasts were: sums over cells, and the measures made by adding them and dividing once.

A cell is one node and month with a known actual. Rows of ``Scores`` are sums over cells, so that
any selection (months, leads, cycles) is scored by adding rows; a percentage is never averaged.
Errors are forecast minus actual, in the node's unit or, of measure ``value``, in money.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from sopforecast.core.learning_tables import ANY
from sopforecast.core.metrics import crps_sample, tracking_signal, wis
from sopforecast.core.score_tables import Scores

CELLS: tuple[int, ...] = ()  # the axes that a metric reduces: none, so that it is given by cell
COUNTS = ("cells", "scaled_cells", "ranged", "inside80", "drawn")
AMOUNTS = (
    *("actual", "forecast", "demand", "absolute_error", "squared_error"),
    *("scaled_error", "scaled_squared", "wis", "crps"),
)
NEVER_ADDED = ("stage", "level", "within", "measure")
KEY = tuple(name for name in Scores.primary_key() if name != "fit_id")

CellScores = dict[str, np.ndarray]
"""By name of ``COUNTS`` and ``AMOUNTS`` one number a cell, each of shape (n,)."""


def cell_scores(
    actual: np.ndarray,
    forecast: np.ndarray,
    *,
    quantiles: Mapping[str, np.ndarray] | None = None,
    crps: np.ndarray | None = None,
    scale: np.ndarray | None = None,
    root_scale: np.ndarray | None = None,
) -> CellScores:
    """Score cells one by one.

    Parameters
    ----------
    actual, forecast : ndarray (n,)
        In the node's unit; every actual is known.
    quantiles : mapping of label to ndarray (n,), optional
        Labels of ``core.draws.QUANTILES``. A cell is ``ranged`` when it has all of them; its
        weighted interval score is over these levels.
    crps : ndarray (n,), optional
        NaN where there were no draws.
    scale, root_scale : ndarray (n,), optional
        `core.metrics.naive_scale` and `naive_root_scale`; NaN where there is none.

    Raises
    ------
    ValueError
        When an actual is NaN.
    """
    if np.isnan(actual).any():
        raise ValueError("actual: found NaN; score only cells whose actual is known")
    error = forecast - actual
    nothing = np.zeros(len(actual))
    scores = {
        "cells": np.ones(len(actual)),
        "actual": actual,
        "forecast": forecast,
        "demand": np.abs(actual),
        "absolute_error": np.abs(error),
        "squared_error": error**2,
        **dict.fromkeys(("scaled_cells", "scaled_error", "scaled_squared"), nothing),
        **dict.fromkeys(("ranged", "inside80", "wis"), nothing),
        **dict.fromkeys(("drawn", "crps"), nothing),
    }
    if scale is not None and root_scale is not None:
        has_scale = (scale > 0) & (root_scale > 0)
        scores["scaled_cells"] = has_scale.astype(np.float64)
        scores["scaled_error"] = np.abs(error) / np.where(has_scale, scale, np.inf)
        scores["scaled_squared"] = (error / np.where(has_scale, root_scale, np.inf)) ** 2
    if quantiles:
        ranged = ~np.any([np.isnan(values) for values in quantiles.values()], axis=0)
        scores["ranged"] = ranged.astype(np.float64)
        scores["wis"] = np.where(ranged, wis(actual, quantiles, axis=CELLS), 0.0)
        inside = (quantiles["p10"] <= actual) & (actual <= quantiles["p90"])
        scores["inside80"] = (ranged & inside).astype(np.float64)
    if crps is not None:
        drawn = ~np.isnan(crps)
        scores["drawn"], scores["crps"] = drawn.astype(np.float64), np.where(drawn, crps, 0.0)
    return scores


def added(
    scores: CellScores, rows: np.ndarray, *, price: np.ndarray | None = None
) -> dict[str, float]:
    """Add some of the cells (k,) to one row of ``Scores``; with ``price`` (k,) in money.

    Errors in money have no scale: the scaled sums are 0.
    """
    row = {name: int(scores[name][rows].sum()) for name in COUNTS}
    worth = np.ones(len(rows)) if price is None else price
    amounts = {name: scores[name][rows] * worth for name in AMOUNTS}
    if price is not None:
        amounts["squared_error"] = amounts["squared_error"] * worth
        row["scaled_cells"] = 0
        amounts["scaled_error"] = amounts["scaled_squared"] = np.zeros(len(rows))
    return row | {name: float(values.sum()) for name, values in amounts.items()}


def sums_of(
    actual: np.ndarray,
    forecast: np.ndarray,
    *,
    quantiles: Mapping[str, np.ndarray] | None = None,
    draws: np.ndarray | None = None,
    scale: np.ndarray | None = None,
    root_scale: np.ndarray | None = None,
    price: np.ndarray | None = None,
) -> dict[str, float]:
    """Return one row of sums of ``Scores`` over n cells.

    Parameters
    ----------
    actual, forecast : ndarray (n,)
    quantiles : mapping of label to ndarray (n,), optional
    draws : ndarray (S, n), optional
        Sample paths, for the CRPS.
    scale, root_scale : ndarray (n,), optional
    price : ndarray (n,), optional
        Money a unit: all errors are in money then, and nothing is scaled.

    Raises
    ------
    ValueError
        When an actual is NaN.
    """
    crps = None if draws is None else crps_of_cells(actual, draws)
    scores = cell_scores(
        actual, forecast, quantiles=quantiles, crps=crps, scale=scale, root_scale=root_scale
    )
    return added(scores, np.arange(len(actual)), price=price)


def crps_of_cells(actual: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """CRPS (n,) of draws (S, n), each cell by itself, in the node's unit."""
    scores: np.ndarray = crps_sample(actual, draws, axis=CELLS)
    return scores


def current(scores: pl.DataFrame, *, version: str = "first") -> pl.DataFrame:
    """Rows that count, of all closes.

    Parameters
    ----------
    scores : pl.DataFrame
        ``Scores``; for ``now`` with ``seq``, which tells closes apart: the highest came last.
    version
        ``first``: what was scored when demand first became known. ``now``: of months that were
        restated the newest restated rows, which hold the whole month; else the first ones.

    Raises
    ------
    ValueError
        Another version.
    """
    first = scores.filter(pl.col("version") == "first")
    if version == "first":
        return first
    if version != "now":
        raise ValueError(f"version: found {version!r}; allowed: first, now")
    restated = scores.filter(pl.col("version") == "restated")
    newest = restated.filter(pl.col("seq") == pl.col("seq").max().over("ds"))
    return pl.concat([first.join(newest.select("ds").unique(), on="ds", how="anti"), newest])


def summed(scores: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """Add rows of ``Scores`` by key; sums have the same bytes in whatever order rows come.

    Returns
    -------
    pl.DataFrame
        ``by``, then every sum of ``Scores``, sorted by ``by``.

    Raises
    ------
    ValueError
        When rows would be added that tell of the same demand twice or not of one thing: several
        stages, levels, parts (``within``) or measures, unless of what owners stated.
    """
    whole = scores.filter(pl.col("owner") == ANY)
    for name in NEVER_ADDED:
        if name not in by and whole[name].n_unique() > 1:
            raise ValueError(
                f"{name}: found {whole[name].n_unique()} in one sum; take one of them, or sum by it"
            )
    order = [*by, *(name for name in (*KEY, "fit_id", "lead") if name in scores.columns)]
    rows = scores.sort(list(dict.fromkeys(order)))
    keys = rows.select(by)
    if rows.is_empty():
        return rows.select(*by, *COUNTS, *AMOUNTS)
    if by:
        changed = keys.select(pl.struct(by).rle_id()).to_series().to_numpy()
        starts = np.flatnonzero(np.diff(changed, prepend=-1))
    else:
        starts = np.array([0])
    sums = {
        name: pl.Series(name, np.add.reduceat(rows[name].to_numpy(), starts))
        for name in (*COUNTS, *AMOUNTS)
    }
    return keys[starts.tolist()].with_columns(**sums) if by else pl.DataFrame(sums)


def measures(scores: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """Add rows of ``Scores`` by key and divide once.

    Parameters
    ----------
    scores : pl.DataFrame
        ``Scores`` rows that count (`current`).
    by : sequence of str
        Columns to sum by; none: one row.

    Returns
    -------
    pl.DataFrame
        ``by``; ``cells``; ``wmape``, ``accuracy`` (100 - wmape) and ``bias_percent`` in percent of
        demand; ``bias`` a cell; ``mase`` and ``rmsse`` over the scaled cells; ``wis`` a ranged cell
        and ``crps`` a drawn one, in the unit; ``coverage80``, the share of ranged cells inside P10
        to P90. Null where there is nothing to divide by.

    Raises
    ------
    ValueError
        As `summed`.
    """

    def share(above: pl.Expr, below: str) -> pl.Expr:
        return pl.when(pl.col(below) > 0).then(above / pl.col(below))

    error = pl.col("forecast") - pl.col("actual")
    wmape = 100.0 * share(pl.col("absolute_error"), "demand")
    return summed(scores, by).select(
        *by,
        "cells",
        wmape=wmape,
        accuracy=100.0 - wmape,
        bias=share(error, "cells"),
        bias_percent=100.0 * share(error, "demand"),
        mase=share(pl.col("scaled_error"), "scaled_cells"),
        rmsse=share(pl.col("scaled_squared"), "scaled_cells").sqrt(),
        wis=share(pl.col("wis"), "ranged"),
        crps=share(pl.col("crps"), "drawn"),
        coverage80=share(pl.col("inside80"), "ranged"),
    )


def tracking_signal_of(scores: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """Tracking signal over months: their net errors added, over the mean size of a month's.

    Parameters
    ----------
    scores : pl.DataFrame
        ``Scores`` rows that count, of one lead or by lead, so that a month counts once.
    by : sequence of str
        Columns to sum by, without ``ds``.

    Returns
    -------
    pl.DataFrame
        ``by``, ``months`` and ``tracking_signal``: minus to plus the number of months, positive is
        forecast too high for long (`core.metrics.tracking_signal`).

    Raises
    ------
    ValueError
        As `summed`.
    """
    monthly = summed(scores, [*by, "ds"])
    groups = monthly.group_by(by, maintain_order=True) if by else [((), monthly)]
    rows = []
    for key, own in groups:
        signal = tracking_signal(own["actual"].to_numpy(), own["forecast"].to_numpy())
        rows.append((*key, own.height, float(signal)))
    schema = {name: scores.schema[name] for name in by}
    return pl.DataFrame(
        rows, schema={**schema, "months": pl.Int64, "tracking_signal": pl.Float64}, orient="row"
    )
