"""Value added, stage by stage: how much closer each made the forecast, on the same cells.

From sums of absolute errors of items: sums are added and divided once, percentages never averaged.
Gains are points of WMAPE, positive where the later stage is closer; `same_cells` tells the ladder.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
import polars as pl

from sopforecast.core.learning_tables import empty
from sopforecast.core.months import MONTHS_A_YEAR
from sopforecast.core.resampling import (
    RESAMPLES,
    block_picks,
    few_blocks_factor,
    longest_block,
    pick_counts,
)
from sopforecast.core.score_tables import ValueAdded
from sopforecast.learning.same_cells import (
    NAIVE,
    STATISTICAL,
    Cells,
    Rung,
    counted,
    filled,
    inside,
    rungs_of,
    unfilled,
)

ALL_LEADS = 0
FEWEST_MONTHS = 6
WINDOWS = (1, 3, 12)

_RANGE = (0.05, 0.95)
_GAINS = ("gained", "over_naive", "over_statistical")


def value_added(
    scores: pl.DataFrame,
    *,
    closed: date,
    sources: Sequence[str],
    seed: int,
    windows: Sequence[int] = WINDOWS,
) -> pl.DataFrame:
    """Compare all stages of the ladder over the last months up to ``closed``.

    Parameters
    ----------
    scores : pl.DataFrame
        ``Scores`` rows of all closes that stand; ``fit_id`` may be missing or null in new ones.
        Read are first versions of items, of all sources and owners together.
    closed : date
        Last month of every window.
    sources : sequence of str
        Order in which sources are heard one after the other; others follow by name.
    seed : int
        Seed of the resampling.
    windows : sequence of int
        Months of each window.

    Returns
    -------
    pl.DataFrame
        ``ValueAdded`` without ``fit_id``: for each window, measure, ``within`` and lead (0: all
        together; else 1 to 12) that has cells, the rows of `rungs_of`. Percentages are null where
        there was no demand, ranges below six months.

    Raises
    ------
    ValueError
        When a stage is there twice, or two stages of one cycle and month count other cells.

    Notes
    -----
    Ranges: target months, with all that belongs to them, are resampled in circular blocks as long
    as the largest lead of the selection (at most half of the months), each resample's ratio of sums
    is taken, and the 5% and 95% quantiles are stretched by `few_blocks_factor`. A month and cycle
    without naive or statistical is in no row; see `left_out`.
    """
    rows = counted(scores)
    frames = [
        _window(inside(rows, closed, window), closed, window, sources, seed)
        for window in sorted(set(windows))
    ]
    return pl.concat([empty(ValueAdded, without="fit_id"), *frames])


def left_out(scores: pl.DataFrame, *, closed: date, window: int = MONTHS_A_YEAR) -> int:
    """Count pairs of month and cycle that are in no row: they have no naive or statistical."""
    rows = unfilled(inside(counted(scores), closed, window))
    return rows.select("ds", "cycle").n_unique() if rows.height else 0


def _window(
    rows: pl.DataFrame, closed: date, window: int, sources: Sequence[str], seed: int
) -> pl.DataFrame:
    """All tables of one window."""
    rungs = rungs_of(rows["stage"].unique().to_list(), sources)
    compared = filled(rows, rungs)
    if compared.units.is_empty():
        return empty(ValueAdded, without="fit_id")
    groups = compared.units.select("measure", "within").unique().sort("measure", "within")
    sums = _summed(compared, groups, len(rungs))
    leads = [lead for lead in range(sums.shape[1]) if lead <= MONTHS_A_YEAR and sums[:, lead].any()]
    parts = []
    for lead in leads:
        blocks = lead or sums.shape[1] - 1
        months = sums[:, lead, :, 0] > 0
        for mask in np.unique(months, axis=1).T:
            chosen = np.flatnonzero((months == mask[:, np.newaxis]).all(axis=0))
            if not mask.any():
                continue
            table = _table(sums[mask, lead][:, chosen], rungs, block=blocks, seed=seed)
            parts.append(_rows(table, groups[chosen], rungs, lead=lead, months=int(mask.sum())))
    keys = [pl.lit(closed).alias("closed"), pl.lit(window, dtype=pl.Int64).alias("window")]
    whole = pl.concat(parts).with_columns(keys)
    typed = empty(ValueAdded, without="fit_id").schema
    whole = whole.select(pl.col(name).cast(dtype) for name, dtype in typed.items())
    return whole.sort("measure", "within", "lead", "position")


def _summed(compared: Cells, groups: pl.DataFrame, stages: int) -> np.ndarray:
    """Sums (months, leads + 1, groups, 2 + 2K): cells, demand, absolute and signed errors."""
    units = compared.units
    at = (
        units["ds"].rank("dense").cast(pl.Int64).to_numpy() - 1,
        units["lead"].to_numpy(),
        units.join(groups.with_row_index("group"), on=["measure", "within"], how="left",
                   maintain_order="left")["group"].to_numpy(),
    )  # fmt: skip
    values = np.vstack([compared.cells, compared.demand, compared.size, compared.error]).T
    shape = (units["ds"].n_unique(), int(at[1].max()) + 1, groups.height, 2 + 2 * stages)
    sums = np.zeros(shape)
    np.add.at(sums, at, values)
    sums[:, ALL_LEADS] = sums[:, 1:].sum(axis=1)
    return sums


def _table(
    sums: np.ndarray, rungs: Sequence[Rung], *, block: int, seed: int
) -> dict[str, np.ndarray]:
    """Percentages, gains and their ranges (groups, K) of sums (months, groups, 2 + 2K)."""
    months, stages = len(sums), len(rungs)
    totals = sums.sum(axis=0)
    demand = np.where(totals[:, 1:2] > 0, totals[:, 1:2], np.nan)
    size, error = totals[:, 2 : 2 + stages], totals[:, 2 + stages :]
    table = {
        "cells": np.broadcast_to(totals[:, :1], size.shape),
        "wmape": 100.0 * size / demand,
        "accuracy": 100.0 - 100.0 * size / demand,
        "bias_percent": 100.0 * error / demand,
    }
    bases = _bases(rungs)
    part = sums[:, :, 2 : 2 + stages]
    fewer = np.stack([part[:, :, base] - part for base in bases])  # (3, months, groups, K)
    fewer[:, :, :, NAIVE] = np.nan
    fewer[2, :, :, STATISTICAL] = np.nan
    gains = 100.0 * fewer.sum(axis=1) / demand
    low, high = np.full(gains.shape, np.nan), np.full(gains.shape, np.nan)
    if months >= FEWEST_MONTHS:
        block = min(block, longest_block(months))
        counts = pick_counts(
            block_picks(
                months, block=block, resamples=RESAMPLES, seed_names=("value_added",), seed=seed
            )
        )
        stretch = few_blocks_factor(months, block=block, level=_RANGE[1])
        ends = _quantiles(counts, fewer, sums[:, :, 1])
        low, high = (gains + (end - gains) * stretch for end in ends)
    for k, name in enumerate(_GAINS):
        table |= {name: gains[k], f"{name}_low": low[k], f"{name}_high": high[k]}
    return table


def _bases(rungs: Sequence[Rung]) -> tuple[list[int], list[int], list[int]]:
    """Of each kind of gain the row that each row is compared with."""
    above = [rung.above or 0 for rung in rungs]
    return above, [NAIVE] * len(rungs), [STATISTICAL] * len(rungs)


def _quantiles(
    counts: np.ndarray, fewer: np.ndarray, demand: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the range of 100 x sum(fewer) / sum(demand) over resamples.

    counts (R, months), fewer (3, months, groups, K), demand (months, groups) -> 2 x (3, groups, K).
    """
    kinds, months, groups, stages = fewer.shape
    columns = np.moveaxis(fewer, 1, -1).reshape(-1, months)
    asked = ~np.isnan(columns).any(axis=1)
    resampled = columns[asked] @ counts.T
    divisor = demand.T @ counts.T
    divisor = np.where(divisor > 0, divisor, np.nan)
    owner = np.tile(np.repeat(np.arange(groups), stages), kinds)[asked]
    shares = 100.0 * resampled / divisor[owner]
    whole = ~np.isnan(shares).any(axis=1)
    found = np.full((2, len(columns)), np.nan)
    found[:, np.flatnonzero(asked)[whole]] = np.quantile(shares[whole], _RANGE, axis=1)
    for row in np.flatnonzero(~whole):  # some resamples hold no demand at all
        drawn = shares[row][~np.isnan(shares[row])]
        if drawn.size:
            found[:, np.flatnonzero(asked)[row]] = np.quantile(drawn, _RANGE)
    low, high = found.reshape(2, kinds, groups, stages)
    return low, high


def _rows(
    table: dict[str, np.ndarray],
    groups: pl.DataFrame,
    rungs: Sequence[Rung],
    *,
    lead: int,
    months: int,
) -> pl.DataFrame:
    """One row a group and stage."""
    stages = len(rungs)
    named = groups.select(pl.all().repeat_by(stages).explode()).with_columns(
        lead=pl.lit(lead, dtype=pl.Int64),
        months=pl.lit(months, dtype=pl.Int64),
        position=pl.Series(list(range(stages)) * groups.height, dtype=pl.Int64),
        stage=pl.Series([rung.stage for rung in rungs] * groups.height, dtype=pl.String),
        alone=pl.Series([rung.alone for rung in rungs] * groups.height, dtype=pl.Boolean),
    )
    numbers = {name: values.ravel() for name, values in table.items()}
    return named.with_columns(**{n: pl.Series(v).fill_nan(None) for n, v in numbers.items()})
