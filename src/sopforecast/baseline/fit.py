"""Fit every model to every node at every origin, and weigh them into one forecast.

Runs the local models and then the global learner through the executor, as far as what they would
say is not known, learns the weights from the past origins, and fills what no model could forecast
with a recorded fallback.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from sopforecast.baseline.backtest import Backtest, actuals_after, naive_scale
from sopforecast.baseline.combine import Pool, SegmentWeights, combine_paths, learn_weights
from sopforecast.baseline.known_paths import KnownPaths, model_paths_frame
from sopforecast.baseline.learner import CORRECTED, LEARNERS
from sopforecast.baseline.model_runs import ModelRuns, Question, run_learners, run_local_models
from sopforecast.baseline.models import (
    FALLBACK,
    SMOOTH_POOL,
    SPARSE_POOL,
    Failure,
    recent_mean,
)
from sopforecast.baseline.panel import Panel
from sopforecast.baseline.seasonality import closed_months
from sopforecast.core.executor import Executor
from sopforecast.core.months import add_months

SPARSE_SEGMENTS = ("sparse", "aggregate_sparse")
NOTHING_TO_COME = ("dead",)

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Fitted:
    """Forecasts of every node, now and at past origins.

    Attributes
    ----------
    combined : ndarray (N, O + 1, H)
        Weighted forecast, the end of history first; NaN where a node had no month yet.
    naive : ndarray (N, H)
        Seasonal naive path from the end; the recent mean where there is no full year.
    backtest : Backtest
        Every model at the O past origins.
    weights : dict of str to SegmentWeights
        Those used; their errors are of the backtest.
    fitted : tuple of str, length N
        ``pool``, the name of the fallback, or ``none`` (dead: zero).
    failures : tuple of Failure
    model_paths : pl.DataFrame
        ``ModelPaths`` without ``run_id``: what was fitted, and all of the end of history.
    """

    combined: np.ndarray
    naive: np.ndarray
    backtest: Backtest
    weights: dict[str, SegmentWeights]
    fitted: tuple[str, ...]
    failures: tuple[Failure, ...]
    model_paths: pl.DataFrame


def fit_nodes(
    panel: Panel,
    segments: Sequence[str],
    *,
    offsets: Sequence[int],
    horizon: int,
    seed: int,
    executor: Executor,
    extra_models: Sequence[str] = (),
    past: Sequence[np.ndarray] | None = None,
    learned_weights: pl.DataFrame | None = None,
    known: KnownPaths | None = None,
    tell: Progress,
) -> Fitted:
    """Forecast every node of the panel from the end and from each past origin.

    Parameters
    ----------
    panel : Panel
        N nodes.
    segments : sequence of str, length N
        A segment in ``SPARSE_SEGMENTS`` gets the sparse pool, one in ``NOTHING_TO_COME`` none.
    offsets : sequence of int
        O past origins, months before the end.
    horizon : int
        H months.
    seed : int
    executor : Executor
    extra_models : sequence of str
        Names in ``models.LOCAL_MODELS`` beside the default pool.
    past : sequence of ndarray (N, T - offset), optional
        What was fitted at each past origin as it was known then (``panel.panels_then``); without it
        the months of ``panel`` up to there.
    learned_weights : pl.DataFrame, optional
        ``LearnedWeights``; segments in it use them instead of those of the backtest.
    known : KnownPaths, optional
        What need not be fitted; what is fitted is added to it. Results have the same bytes.
    tell : callable
        Told the stage and the share done.
    """
    origins = (0, *offsets)
    months = tuple(add_months(panel.last_month, -offset) for offset in origins)
    if past is None:
        past = [panel.y[:, : panel.y.shape[1] - offset] for offset in offsets]
    question = Question(panel.nodes, (panel.y, *past), origins, months, horizon)
    smooth = (*SMOOTH_POOL, *(m for m in extra_models if m not in SMOOTH_POOL))
    runs = _run_models(question, segments, smooth, seed, executor, known, tell)
    paths, names = runs.paths, runs.models
    model_paths = model_paths_frame(
        panel.nodes, months, names, paths, keys=runs.keys, fresh=runs.fresh
    )
    if known is not None:
        known.add(model_paths)
    backtest = Backtest(
        names,
        tuple(offsets),
        paths[:, 1:],
        actuals_after(panel.scored, offsets, horizon),
        naive_scale(panel.y, offsets),
    )
    tell("combine", 0.0)
    pools = _pools(segments, smooth)
    weights = learn_weights(backtest, segments, pools)
    if learned_weights is not None:
        weights = _with_learned(weights, learned_weights, names, pools)
    nothing = np.zeros(len(names))
    by_node = np.stack([weights[s].weights if s in weights else nothing for s in segments])
    combined = combine_paths(paths, by_node[:, None, :])
    filled, fitted = _fill_fallback(combined, panel, segments, origins)
    _close_months(filled, panel, segments, origins)
    naive = paths[:, 0, names.index("SeasonalNaive")]
    naive = np.where(np.isfinite(naive), naive, np.nan_to_num(_recent_means(panel.y, horizon)))
    return Fitted(filled, naive, backtest, weights, fitted, runs.failures, model_paths)


def _pools(segments: Sequence[str], smooth: Sequence[str]) -> dict[str, Pool]:
    return {
        segment: _pool_of(segment, smooth)
        for segment in sorted(set(segments) - set(NOTHING_TO_COME))
    }


def _run_models(
    question: Question,
    segments: Sequence[str],
    smooth: Sequence[str],
    seed: int,
    executor: Executor,
    known: KnownPaths | None,
    tell: Progress,
) -> ModelRuns:
    """Every local model of every node from every origin, then both learners."""
    names = tuple(dict.fromkeys((*smooth, *SPARSE_POOL)))
    pools = [() if s in NOTHING_TO_COME else _pool_of(s, smooth).models for s in segments]
    local = run_local_models(
        question,
        names,
        [tuple(m for m in pool if m in names) for pool in pools],
        executor=executor,
        known=known,
        on_share=lambda share: tell("fit", share),
    )
    corrected = local.paths[:, :, [names.index(m) for m in CORRECTED]]
    learned = run_learners(
        question,
        combine_paths(corrected, np.ones(corrected.shape[:3])),
        seed=seed,
        eligible=~np.isin(np.asarray(segments), (*SPARSE_SEGMENTS, *NOTHING_TO_COME)),
        executor=executor,
        known=known,
        on_share=lambda share: tell("learn", share),
    )
    return local.beside(learned)


def _pool_of(segment: str, smooth: Sequence[str]) -> Pool:
    if segment in SPARSE_SEGMENTS:
        return Pool(SPARSE_POOL, squared=True)
    return Pool((*smooth, *LEARNERS), squared=False)


def _with_learned(
    weights: dict[str, SegmentWeights],
    learned: pl.DataFrame,
    models: Sequence[str],
    pools: dict[str, Pool],
) -> dict[str, SegmentWeights]:
    """Learned weights where a segment has some, over the models of its pool; they add to 1."""
    answer = dict(weights)
    for (segment,), rows in learned.group_by("segment"):
        name = str(segment)
        if name not in weights:
            continue
        share = dict(rows.select("model", "weight").iter_rows())
        given = np.array([share.get(m, 0.0) if m in pools[name].models else 0.0 for m in models])
        if given.sum() > 0:
            answer[name] = replace(weights[name], weights=given / given.sum())
    return answer


def _recent_means(y: np.ndarray, horizon: int) -> np.ndarray:
    """The fallback path of each row (N, H); NaN for a row without months."""
    rows = [
        recent_mean(row[np.isfinite(row)], horizon)
        if np.isfinite(row).any()
        else np.full(horizon, np.nan)
        for row in y
    ]
    return np.stack(rows)


def _close_months(
    combined: np.ndarray, panel: Panel, segments: Sequence[str], origins: Sequence[int]
) -> None:
    """Zero, in place, where a calendar month had no demand for years (counts know it anyway)."""
    continuous = ~np.isin(np.asarray(segments), SPARSE_SEGMENTS)
    for o, offset in enumerate(origins):
        before = panel.y[:, : panel.y.shape[1] - offset]
        closed = closed_months(before, combined.shape[2]) & continuous[:, None]
        combined[:, o][closed] = 0.0


def _fill_fallback(
    combined: np.ndarray, panel: Panel, segments: Sequence[str], offsets: Sequence[int]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Put the fallback where no model spoke; what is dead by now is zero from the end on."""
    filled = combined.copy()
    dead = np.isin(np.asarray(segments), NOTHING_TO_COME)
    for o, offset in enumerate(offsets):
        missing = ~np.isfinite(combined[:, o]).all(axis=1)
        before = panel.y[missing, : panel.y.shape[1] - offset]
        if missing.any() and before.shape[1]:
            filled[missing, o] = _recent_means(before, combined.shape[2])
    filled[dead, 0] = 0.0
    fitted = np.where(np.isfinite(combined[:, 0]).all(axis=1), "pool", FALLBACK)
    fitted[dead] = "none"
    return filled, tuple(fitted.tolist())
