"""How much each model counts: weights learned from rolling origins, shrunk towards the portfolio.

A model's weight in a segment falls with its out-of-sample error there, as ``error ** -6``: soft
enough that a good second model still counts, hard enough that a bad one hardly does. (Weights
that minimise the error of the combination chase the few origins there are: they were no better on
one of five collections of series tried, and worse on three.) The error is the mean absolute one in
units of each series' yardstick; a sparse segment takes the root mean square, because the median of
a sparse month is zero and would teach nothing. A segment's weights are drawn to the portfolio's and
the portfolio's to equal ones, the more so the fewer series there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sopforecast.baseline.backtest import Backtest
from sopforecast.core.weighting import (
    ERROR_LIMIT,
    PORTFOLIO_PRIOR_SERIES,
    SEGMENT_PRIOR_SERIES,
    weights_from,
)


@dataclass(frozen=True)
class Pool:
    """The models a segment may use, and whether their errors are squared."""

    models: tuple[str, ...]
    squared: bool


@dataclass(frozen=True)
class SegmentWeights:
    """How much each model counts in a segment, and what that rests on.

    Attributes
    ----------
    weights : ndarray (M,)
        Over ``Backtest.models``; they add to 1.
    relative_error : ndarray (M,)
        Error of each model over that of the best one of the segment; NaN where a model has none.
    origins, series, cells : int
        Behind the errors.
    """

    weights: np.ndarray
    relative_error: np.ndarray
    origins: int
    series: int
    cells: int


def learn_weights(
    backtest: Backtest, segments: Sequence[str], pools: Mapping[str, Pool]
) -> dict[str, SegmentWeights]:
    """Weights of every segment.

    Parameters
    ----------
    backtest : Backtest
        Paths (N, O, M, H).
    segments : sequence of str
        Segment of each of the N series.
    pools : mapping of str to Pool
        The models each segment may use; segments with the same pool share a portfolio.

    Returns
    -------
    dict of str to SegmentWeights
    """
    names = np.asarray(segments)
    answer: dict[str, SegmentWeights] = {}
    for pool in dict.fromkeys(pools.values()):
        members = [segment for segment, p in pools.items() if p == pool]
        columns = np.array([backtest.models.index(m) for m in pool.models])
        everyone = _from_errors(backtest, np.isin(names, members), columns, pool.squared)
        equal = (everyone.weights > 0) / max(1, int(np.count_nonzero(everyone.weights)))
        portfolio = _shrink(everyone, equal, PORTFOLIO_PRIOR_SERIES)
        for segment in members:
            own = _from_errors(backtest, names == segment, columns, pool.squared)
            weights = np.zeros(len(backtest.models))
            relative = np.full(len(backtest.models), np.nan)
            weights[columns] = _shrink(own, portfolio, SEGMENT_PRIOR_SERIES)
            relative[columns] = own.relative_error
            answer[segment] = replace(own, weights=weights, relative_error=relative)
    return answer


def combine_paths(paths: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted mean over models; (..., M, H) with weights (..., M) -> (..., H).

    The weights of models that are missing (NaN) go to those that are there; NaN where none is.
    """
    known = np.isfinite(paths)
    total = np.zeros(paths.shape[:-2] + paths.shape[-1:])
    norm = np.zeros_like(total)
    for m in range(paths.shape[-2]):  # a fixed order of adding, whatever the memory layout
        weight = np.where(known[..., m, :], weights[..., m, None], 0.0)
        total += weight * np.where(known[..., m, :], paths[..., m, :], 0.0)
        norm += weight
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(norm > 0, total / norm, np.nan)


def _shrink(own: SegmentWeights, towards: np.ndarray, prior: float) -> np.ndarray:
    share = own.series / (own.series + prior)
    mixed: np.ndarray = share * own.weights + (1 - share) * towards
    return mixed / mixed.sum()


def _from_errors(
    backtest: Backtest, rows: np.ndarray, columns: np.ndarray, squared: bool
) -> SegmentWeights:
    """Weights (K,) from each model's errors relative to the most talkative one's on the same cells.

    Models do not all speak everywhere (a learner needs something to learn from). Comparing all of
    them only where all spoke would leave the few cells of the most silent one to decide.
    """
    index = np.flatnonzero(rows)
    paths = backtest.paths[index][:, :, columns]
    error = np.abs(paths - backtest.actual[index][:, :, None, :])
    error = np.minimum(error / backtest.scale[index][:, :, None, None], ERROR_LIMIT)
    known = np.isfinite(error)
    weights = np.zeros(columns.size)
    spoke = np.isfinite(paths).any(axis=(0, 1, 3))
    if not known.any():
        weights[:] = 1.0 / columns.size
        if spoke.any():
            weights = spoke / spoke.sum()
        return SegmentWeights(weights, np.full(columns.size, np.nan), 0, 0, 0)
    reference = int(np.argmax(known.sum(axis=(0, 1, 3))))
    size = np.full(columns.size, np.inf)
    for k in range(columns.size):
        both = known[:, :, k] & known[:, :, reference]
        if both.any():
            own, other = (_size(error[:, :, m][both], squared) for m in (k, reference))
            size[k] = own / other
    usable = known[:, :, reference]
    return SegmentWeights(
        weights=weights_from(size),
        relative_error=np.where(np.isfinite(size), size / size.min(), np.nan),
        origins=int(usable.any(axis=(0, 2)).sum()),
        series=int(usable.any(axis=(1, 2)).sum()),
        cells=int(usable.sum()),
    )


def _size(error: np.ndarray, squared: bool) -> float:
    """Mean or root mean square; models without any error share the weight."""
    size = np.sqrt(np.square(error).mean()) if squared else error.mean()
    return max(float(size), 1e-9)
