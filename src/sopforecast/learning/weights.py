"""How much each model counts from the next run on: its live errors beside those of backtests.

Errors of both are relative to the segment's best and pooled in logs, each by how many independent
stretches it saw. A past origin of the backtest is one; so are five live months: with four or five
years of history origins stand four to six months apart. Live months fade with a half-life of a
year (`live_errors`), so however long the record they weigh about as much as four origins, and a
backtest has five to seven. What is seen twice is seen once more closely: the backtest of the newest
run reaches into live months too, and so live errors never rule alone.

The law is that of the backtest: ``error ** -6``, a segment drawn to its portfolio and that to equal
weights, the more so the fewer series there are (`core.weighting`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from sopforecast.core.learning_tables import LearnedWeights
from sopforecast.core.weighting import (
    PORTFOLIO_PRIOR_SERIES,
    SEGMENT_PRIOR_SERIES,
    SQUARED_SEGMENTS,
    weights_from,
)

MONTHS_AN_ORIGIN = 5.0

Logs = Mapping[str, float]
"""Log of a relative error by model; only differences mean anything."""


@dataclass(frozen=True)
class _Record:
    """Of one segment: log relative error, stretches and cells by model; months; series."""

    logs: Mapping[str, float]
    stretches: Mapping[str, float]
    cells: Mapping[str, int]
    months: Mapping[str, int]
    series: int


_NOTHING = _Record({}, {}, {}, {}, 0)


def learn_weights(live: pl.DataFrame, backtest: pl.DataFrame) -> pl.DataFrame:
    """Weights of every segment, from live and backtest errors.

    Parameters
    ----------
    live : pl.DataFrame
        segment, model, relative_error, cells, series, months, recent_months, as `live_errors`
        returns them; other columns are not read. No rows: the backtest alone.
    backtest : pl.DataFrame
        segment, model, relative_error (1 or above), origins, series, cells: ``ModelErrors`` of one
        run. Rows without a finite positive error are left out.

    Returns
    -------
    pl.DataFrame
        ``LearnedWeights`` without ``fit_id``, sorted by segment and model; weights of a segment add
        to 1. ``relative_error`` is 1 for the best. A model without errors in the segment has the
        portfolio's error and the weight that comes from it. A segment without live errors keeps the
        weights that the backtests alone would give, whatever other segments saw.

    Raises
    ------
    ValueError
        A segment has a model twice.

    Notes
    -----
    Segments of ``SQUARED_SEGMENTS`` share a portfolio, all others another one. A model seen by one
    of the two only is put beside the others by the models that both saw.
    """
    seen = _records(live, stretches=pl.col("recent_months") / MONTHS_AN_ORIGIN, months="months")
    tried = _records(backtest, stretches=pl.col("origins").cast(pl.Float64), months=None)
    segments = sorted({*seen, *tried})
    rows: list[tuple[object, ...]] = []
    for squared in (False, True):
        pool = [s for s in segments if (s in SQUARED_SEGMENTS) is squared]
        records = {s: (seen.get(s, _NOTHING), tried.get(s, _NOTHING)) for s in pool}
        both = {s: _pooled(lived, past) for s, (lived, past) in records.items()}
        series = {s: max(lived.series, past.series) for s, (lived, past) in records.items()}
        past_only = {s: _pooled(_NOTHING, tried[s]) for s in pool if s in tried}
        past_series = {s: tried[s].series for s in past_only}
        for segment, (lived, past) in records.items():
            if segment in seen:
                found = _weigh(segment, both, series)
            else:
                found = _weigh(segment, past_only, past_series)
            for model, weight, error in found:
                rows.append(
                    (
                        segment,
                        model,
                        weight,
                        error,
                        lived.months.get(model, 0),
                        lived.cells.get(model, 0),
                        past.cells.get(model, 0),
                    )
                )
    declared = {n: c.dtype for n, c in LearnedWeights.columns().items() if n != "fit_id"}
    return pl.DataFrame(rows, schema=declared, orient="row").sort("segment", "model")


def _records(errors: pl.DataFrame, *, stretches: pl.Expr, months: str | None) -> dict[str, _Record]:
    """By segment, models in order of their names."""
    usable = (pl.col("relative_error") > 0) & pl.col("relative_error").is_finite()
    table = errors.filter(usable).select(
        pl.col("segment").cast(pl.String),
        "model",
        "relative_error",
        "cells",
        "series",
        stretches=stretches,
        months=pl.lit(0) if months is None else pl.col(months),
    )
    twice = table.filter(pl.struct("segment", "model").is_duplicated())
    if twice.height:
        raise ValueError(
            f"errors: found {twice['model'][0]!r} twice in segment {twice['segment'][0]!r}; "
            "allowed: one row a segment and model; give the errors of one run"
        )
    answer = {}
    for (segment,), part in table.sort("segment", "model").group_by("segment", maintain_order=True):
        models = part["model"].to_list()
        answer[str(segment)] = _Record(
            dict(zip(models, np.log(part["relative_error"].to_numpy()).tolist(), strict=True)),
            dict(zip(models, part["stretches"].to_list(), strict=True)),
            dict(zip(models, part["cells"].to_list(), strict=True)),
            dict(zip(models, part["months"].to_list(), strict=True)),
            int(part["series"].max()),  # type: ignore[arg-type]
        )
    return answer


def _pooled(live: _Record, past: _Record) -> Logs:
    """Log errors of all models of a segment: means by stretches; the best has 0."""
    shared = [m for m in sorted(live.logs) if m in past.logs]
    pooled = {}
    for model in shared:
        seen, tried = live.stretches[model], past.stretches[model]
        trust = seen / (seen + tried) if seen + tried > 0 else 0.5
        pooled[model] = trust * live.logs[model] + (1 - trust) * past.logs[model]
    for record in (past, live):
        moved = sum(pooled[m] - record.logs[m] for m in shared) / max(1, len(shared))
        for model in sorted(record.logs):
            pooled.setdefault(model, record.logs[model] + moved)
    best = min(pooled.values(), default=0.0)
    return {model: pooled[model] - best for model in sorted(pooled)}


def _weigh(
    segment: str, logs: Mapping[str, Logs], series: Mapping[str, int]
) -> list[tuple[str, float, float]]:
    """Model, weight and relative error, from the segment's errors and its portfolio's."""
    everyone = _portfolio(logs, series)
    models = sorted({*everyone, *logs[segment]})
    own = _weights(logs[segment], models)
    portfolio = _weights(everyone, models)
    total = sum(series[s] for s in logs)
    equal = (portfolio > 0) / np.count_nonzero(portfolio)
    portfolio = _drawn(portfolio, equal, total, PORTFOLIO_PRIOR_SERIES)
    weights = _drawn(own, portfolio, series[segment], SEGMENT_PRIOR_SERIES)
    error = [float(np.exp(logs[segment].get(m, everyone.get(m, 0.0)))) for m in models]
    return list(zip(models, np.minimum(weights, 1.0).tolist(), error, strict=True))


def _portfolio(logs: Mapping[str, Logs], series: Mapping[str, int]) -> Logs:
    """Mean over segments by series, of each model against the most common one; the best has 0."""
    count: dict[str, int] = {}
    for segment in sorted(logs):
        for model in logs[segment]:
            count[model] = count.get(model, 0) + max(1, series[segment])
    reference = max(sorted(count), key=lambda model: count[model])
    mean = {}
    for model in sorted(count):
        found = [s for s in sorted(logs) if model in logs[s] and reference in logs[s]]
        if found:
            size = np.array([max(1, series[s]) for s in found])
            apart = np.array([logs[s][model] - logs[s][reference] for s in found])
            mean[model] = float((size * apart).sum() / size.sum())
    best = min(mean.values())
    return {model: value - best for model, value in mean.items()}


def _weights(logs: Logs, models: list[str]) -> np.ndarray:
    return weights_from(np.exp([logs.get(model, np.inf) for model in models]))


def _drawn(own: np.ndarray, towards: np.ndarray, series: int, prior: float) -> np.ndarray:
    share = series / (series + prior)
    mixed: np.ndarray = share * own + (1 - share) * towards
    return mixed / mixed.sum()
