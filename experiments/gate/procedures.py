"""What both procedures of a table would have done in every cycle, and what they lost.

A cycle's learned table rests on the months before the cycle only. Each function returns the losses
(C, L) of the cold start and of the other procedure; where the gate decides by another loss, as of
widths, these two follow.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
from forty_items import (
    BEFORE,
    CYCLES,
    ITEMS,
    LEADS,
    MODELS,
    SEGMENTS,
    Company,
    Widths,
    level_loss,
    of_widths,
)

from sopforecast.baseline.widths import lead_factors
from sopforecast.core.draws import QUANTILES
from sopforecast.core.hierarchy import ITEM
from sopforecast.core.months import add_months, month_range
from sopforecast.learning.live_errors import live_errors
from sopforecast.learning.weights import learn_weights
from sopforecast.learning.widths import learn_widths

Losses = tuple[np.ndarray, ...]
FIRST = date(2020, 1, 1)
ORIGINS, RUNS = 6, 12  # of the backtest; runs whose paths are read
EQUAL = np.full((len(MODELS), ITEMS), 1.0 / len(MODELS))
AS_THEY_ARE: Widths = (1.0, np.ones(ITEMS), np.ones(LEADS))


def by_widths(company: Company, *, stops: int = CYCLES, turned: bool = False) -> Losses:
    """Ranges of the backtest, against ranges multiplied by what live months showed.

    From live month ``stops`` on nothing more is learned; ``turned`` divides instead.
    """
    cells, shares = _cells(company), _shares(company)
    cold, other, far_cold, far_other = (np.empty((CYCLES, LEADS)) for _ in range(4))
    for cycle in range(CYCLES):
        closed = add_months(FIRST, min(cycle, stops) - 1)
        widths = _factors(learn_widths(cells, shares, closed=closed), company)
        if turned:
            widths = (1 / widths[0], 1 / widths[1], 1 / widths[2])
        actual = company.levels(company.actual(cycle))
        views = [company.views(cycle, EQUAL, these) for these in (AS_THEY_ARE, widths)]
        cold[cycle], other[cycle] = (level_loss(actual, view) for view in views)
        far_cold[cycle], far_other[cycle] = of_widths(actual, views[0], views[1])
    return cold, other, far_cold, far_other


def _factors(learned: pl.DataFrame, company: Company) -> Widths:
    factor = dict(learned.select("part", "factor").iter_rows())
    own = np.array([factor.get(f"own:{name}", 1.0) for name in SEGMENTS])
    return factor.get("common", 1.0), own[company.segment], lead_factors(factor, LEADS)


def by_weights(company: Company, *, stops: int = CYCLES, turned: bool = False) -> Losses:
    """Models weighed by the backtest, against the backtest and live months together.

    As ``by_widths``; ``turned`` takes the worst live model for the best.
    """
    worst = pl.col("relative_error").max().over("segment")
    record = _record(company)
    first = _by_item(learn_weights(record.live(-1), record.backtest), company)
    cold, other = np.empty((CYCLES, LEADS)), np.empty((CYCLES, LEADS))
    for cycle in range(CYCLES):
        live = record.live(min(cycle, stops) - 1)
        if turned:
            live = live.with_columns(relative_error=worst / pl.col("relative_error"))
        learned = _by_item(learn_weights(live, record.backtest), company)
        cold[cycle] = company.loss(cycle, first, AS_THEY_ARE)
        other[cycle] = company.loss(cycle, learned, AS_THEY_ARE)
    return cold, other


def by_mixes(company: Company) -> Losses:
    """Three parts of the first model and one of the second, against the other way round."""
    cold, other = np.empty((CYCLES, LEADS)), np.empty((CYCLES, LEADS))
    mix = np.repeat(np.array([[0.75], [0.25]]), ITEMS, axis=1)
    for cycle in range(CYCLES):
        cold[cycle] = company.loss(cycle, mix, AS_THEY_ARE)
        other[cycle] = company.loss(cycle, mix[::-1], AS_THEY_ARE)
    return cold, other


def _cells(company: Company) -> pl.DataFrame:
    """Every cycle's forecast as issued by the cold start, beside demand: items and sums."""
    names = [f"item {i:02d}" for i in range(ITEMS)] + [*SEGMENTS, "all"]
    levels = [ITEM] * ITEMS + ["segment"] * len(SEGMENTS) + ["total"]
    segments = [SEGMENTS[k] for k in company.segment] + ["*"] * (len(SEGMENTS) + 1)
    parts = []
    for cycle in range(CYCLES):
        view = np.concatenate(company.views(cycle, EQUAL, AS_THEY_ARE), axis=1)  # (Q, N, L)
        actual = np.concatenate(company.levels(company.actual(cycle)))
        for lead in range(LEADS):
            quantiles = {label: view[q, :, lead] for q, (label, _) in enumerate(QUANTILES)}
            parts.append(
                pl.DataFrame(
                    {"unique_id": names, "level": levels, "segment": segments,
                     "y": actual[:, lead], **quantiles}
                ).with_columns(
                    ds=pl.lit(add_months(FIRST, cycle + lead)),
                    cycle=pl.lit(add_months(FIRST, cycle)),
                    lead=pl.lit(lead + 1),
                    factor=pl.lit(1.0),
                    kind=pl.lit("paths"),
                )
            )  # fmt: skip
    return pl.concat(parts)


def _shares(company: Company) -> pl.DataFrame:
    common = company.common_sd**2
    share = common / (common + company.own_sd**2)
    means = [float(share[company.segment == k].mean()) for k in range(len(SEGMENTS))]
    return pl.DataFrame({"segment": SEGMENTS, "common_share": means})


@dataclass(frozen=True)
class _Record:
    """What is kept of a company's models: paths of each cycle, and the backtest's errors."""

    paths: pl.DataFrame
    nodes: pl.DataFrame
    actuals: pl.DataFrame
    backtest: pl.DataFrame

    def live(self, month: int) -> pl.DataFrame:
        """Live errors as known when a live month is closed; -1: none is."""
        closed = add_months(FIRST, month)
        runs = pl.col("origin").is_between(add_months(closed, -RUNS), closed, closed="left")
        return live_errors(self.paths.filter(runs), self.nodes, self.actuals, closed=closed)


def _record(company: Company) -> _Record:
    names = [f"item {i:02d}" for i in range(ITEMS)]
    segments = [SEGMENTS[k] for k in company.segment]
    scale = np.abs(np.diff(company.demand[:, :BEFORE], axis=1)).mean(axis=1)
    paths = pl.DataFrame(
        [
            (f"run {cycle}", add_months(FIRST, cycle - 1), model, LEADS, True, json.dumps(names),
             company.paths[m, :, cycle].astype("<f8").tobytes())
            for cycle in range(CYCLES)
            for m, model in enumerate(MODELS)
        ],
        schema=["run_id", "origin", "model", "horizon", "is_end", "names", "paths"],
        orient="row",
    )  # fmt: skip
    node = pl.DataFrame({"unique_id": names, "segment": segments, "scale": scale})
    runs = pl.DataFrame({"run_id": [f"run {cycle}" for cycle in range(CYCLES)]})
    live = company.demand[:, BEFORE:]
    actuals = pl.DataFrame(
        {
            "unique_id": np.repeat(names, live.shape[1]),
            "ds": month_range(FIRST, live.shape[1]) * ITEMS,
            "y": live.ravel(),
        }
    )
    missed = np.abs(company.demand[:, :BEFORE] - company.backtest) / scale[:, None]
    rows = []
    for k, segment in enumerate(SEGMENTS):
        size = missed[:, company.segment == k].mean(axis=(1, 2))
        series = int((company.segment == k).sum())
        rows += [
            (segment, model, float(size[m] / size.min()), ORIGINS, series, series * BEFORE)
            for m, model in enumerate(MODELS)
        ]
    columns = ["segment", "model", "relative_error", "origins", "series", "cells"]
    backtest = pl.DataFrame(rows, schema=columns, orient="row")
    return _Record(paths, node.join(runs, how="cross"), actuals, backtest)


def _by_item(learned: pl.DataFrame, company: Company) -> np.ndarray:
    """Weights (M, B) of ``LearnedWeights``."""
    weight = {(s, m): w for s, m, w in learned.select("segment", "model", "weight").iter_rows()}
    of_segment = np.array([[weight[s, m] for s in SEGMENTS] for m in MODELS])
    return of_segment[:, company.segment]
