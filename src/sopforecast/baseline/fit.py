"""Fit every model to every node at every origin, and weigh them into one forecast.

Runs the local models in chunks through the executor, then the global learner, learns the weights
from the past origins, and fills what no model could forecast with a recorded fallback.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sopforecast.baseline.backtest import Backtest, actuals_after, naive_scale
from sopforecast.baseline.combine import Pool, SegmentWeights, combine_paths, learn_weights
from sopforecast.baseline.learner import CORRECTED, LEARNERS, learner_paths
from sopforecast.baseline.models import (
    FALLBACK,
    SMOOTH_POOL,
    SPARSE_POOL,
    Failure,
    SeriesTask,
    forecast_chunk,
    recent_mean,
)
from sopforecast.baseline.panel import Panel
from sopforecast.baseline.seasonality import closed_months
from sopforecast.core.executor import Executor, map_chunks

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
    fitted : tuple of str, length N
        ``pool``, the name of the fallback, or ``none`` (dead: zero).
    failures : tuple of Failure
    """

    combined: np.ndarray
    naive: np.ndarray
    backtest: Backtest
    weights: dict[str, SegmentWeights]
    fitted: tuple[str, ...]
    failures: tuple[Failure, ...]


def fit_nodes(
    panel: Panel,
    segments: Sequence[str],
    *,
    offsets: Sequence[int],
    horizon: int,
    seed: int,
    executor: Executor,
    extra_models: Sequence[str] = (),
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
    tell : callable
        Told the stage and the share done.
    """
    origins = (0, *offsets)
    smooth = (*SMOOTH_POOL, *(m for m in extra_models if m not in SMOOTH_POOL))
    paths, names, failures = _fit_local(panel, segments, origins, horizon, smooth, executor, tell)
    learned = _fit_learners(paths, names, panel, segments, origins, horizon, seed, tell)
    paths, names = np.concatenate([paths, learned], axis=2), (*names, *LEARNERS)
    backtest = Backtest(
        names,
        tuple(offsets),
        paths[:, 1:],
        actuals_after(panel.scored, offsets, horizon),
        naive_scale(panel.y, offsets),
    )
    tell("combine", 0.0)
    weights = learn_weights(backtest, segments, _pools(segments, smooth))
    nothing = np.zeros(len(names))
    by_node = np.stack([weights[s].weights if s in weights else nothing for s in segments])
    combined = combine_paths(paths, by_node[:, None, :])
    filled, fitted = _fill_fallback(combined, panel, segments, origins)
    _close_months(filled, panel, segments, origins)
    naive = paths[:, 0, names.index("SeasonalNaive")]
    naive = np.where(np.isfinite(naive), naive, np.nan_to_num(_recent_means(panel.y, horizon)))
    return Fitted(filled, naive, backtest, weights, fitted, tuple(failures))


def _pools(segments: Sequence[str], smooth: Sequence[str]) -> dict[str, Pool]:
    continuous = Pool((*smooth, *LEARNERS), squared=False)
    sparse = Pool(SPARSE_POOL, squared=True)
    return {
        segment: sparse if segment in SPARSE_SEGMENTS else continuous
        for segment in sorted(set(segments) - set(NOTHING_TO_COME))
    }


def _fit_local(
    panel: Panel,
    segments: Sequence[str],
    offsets: Sequence[int],
    horizon: int,
    smooth: Sequence[str],
    executor: Executor,
    tell: Progress,
) -> tuple[np.ndarray, tuple[str, ...], list[Failure]]:
    """Every local model of every node from every origin: (N, O + 1, M, H), names, failures."""
    names = tuple(dict.fromkeys((*smooth, *SPARSE_POOL)))
    tasks = []
    for node, segment, y in zip(panel.nodes, segments, panel.y, strict=True):
        pool = SPARSE_POOL if segment in SPARSE_SEGMENTS else tuple(smooth)
        pool = () if segment in NOTHING_TO_COME else pool
        tasks.append(SeriesTask(node, y[np.isfinite(y)], pool))
    done = 0

    def on_done(count: int) -> None:
        nonlocal done
        done += count
        tell("fit", done / len(tasks))

    results = map_chunks(
        forecast_chunk, tasks, tuple(offsets), horizon, names, executor=executor, on_done=on_done
    )
    paths = np.concatenate([result[0] for result in results])
    return paths, names, [failure for result in results for failure in result[1]]


def _fit_learners(
    paths: np.ndarray,
    names: tuple[str, ...],
    panel: Panel,
    segments: Sequence[str],
    offsets: Sequence[int],
    horizon: int,
    seed: int,
    tell: Progress,
) -> np.ndarray:
    """Both learners of every continuous node from every origin: (N, O + 1, 2, H)."""
    eligible = ~np.isin(np.asarray(segments), (*SPARSE_SEGMENTS, *NOTHING_TO_COME))
    corrected = paths[:, :, [names.index(m) for m in CORRECTED]]
    return learner_paths(
        panel.y,
        combine_paths(corrected, np.ones(corrected.shape[:3])),
        offsets=offsets,
        horizon=horizon,
        seed=seed,
        eligible=eligible,
        on_done=lambda share: tell("learn", share),
    )


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
