"""Multiplicative seasonal indices of many short series at once, shrunk by their own noise.

Classical decomposition (ratio to a centred 2x12 moving average, in logs), recent years weighing
more, then a James-Stein factor per series: months that differ no more than chance would make them
are drawn to 1. Source of the shrinkage: Miller and Williams (2003), "Shrinkage estimators of time
series seasonal factors", International Journal of Forecasting 19.
"""

from __future__ import annotations

import numpy as np

SEASON = 12
YEAR_DECAY = 0.85  # weight of a year relative to the next
CLOSED_YEARS = 3
LOG_LIMIT = 3.0  # a month outside e**-3 .. e**3 of its trend is cut there


def seasonal_indices(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices for the twelve months after each series, and how far they were trusted.

    Parameters
    ----------
    y : ndarray (N, T)
        Demand; NaN before the first month.

    Returns
    -------
    indices : ndarray (N, 12)
        Column k belongs to month T + k; mean 1 over the year, always positive.
    trust : ndarray (N,)
        0 (no season: indices are 1) to 1 (indices as estimated).
    """
    n, width = y.shape
    if width < 2 * SEASON + 1:
        return np.ones((n, SEASON)), np.zeros(n)
    log_ratio = _log_ratio_to_trend(y)
    estimate, noise, years, count = _monthly_means(log_ratio)
    estimate = estimate - estimate.mean(axis=1, keepdims=True)
    between = np.square(estimate).sum(axis=1) / (SEASON - 1)
    chance = noise / np.maximum(years, 1e-9)
    shrink = (SEASON - 3) / (SEASON - 1) * chance / np.maximum(between, 1e-12)
    trust = np.where((between > 0) & (count > SEASON), np.clip(1 - shrink, 0, 1), 0.0)
    indices = np.exp(estimate * trust[:, None])
    return indices / indices.mean(axis=1, keepdims=True), trust


def _log_ratio_to_trend(y: np.ndarray) -> np.ndarray:
    """Log of demand over its centred moving average (N, T); NaN where either is missing or zero."""
    half = SEASON // 2
    kernel = np.r_[0.5, np.ones(SEASON - 1), 0.5] / SEASON
    trend = np.full(y.shape, np.nan)
    inner = trend[:, half:-half]
    inner[:] = 0.0
    for offset, weight in enumerate(kernel):
        inner += weight * y[:, offset : offset + inner.shape[1]]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log(y / trend)
    ratio[~np.isfinite(ratio)] = np.nan
    return np.clip(ratio, -LOG_LIMIT, LOG_LIMIT)


def _monthly_means(
    ratio: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Weighted mean per month (N, 12), noise variance, effective years, count (each (N,))."""
    n, width = ratio.shape
    padded = np.pad(ratio, ((0, 0), (-width % SEASON, 0)), constant_values=np.nan)
    by_year = padded.reshape(n, -1, SEASON)
    known = np.isfinite(by_year)
    values = np.where(known, by_year, 0.0)
    years = by_year.shape[1]
    total, weights, weights2 = (np.zeros((n, SEASON)) for _ in range(3))
    for year in range(years):  # years one after the other: the same bytes for one row or many
        weight = known[:, year] * YEAR_DECAY ** (years - 1 - year)
        total += weight * values[:, year]
        weights += weight
        weights2 += weight * weight
    mean = total / np.maximum(weights, 1e-9)
    effective = weights * weights / np.maximum(weights2, 1e-9)
    squares = np.zeros((n, SEASON))
    for year in range(years):
        squares += np.where(known[:, year], np.square(values[:, year] - mean), 0.0)
    count = known.sum(axis=(1, 2))
    noise = squares.sum(axis=1) / np.maximum(count - SEASON, 1)
    return mean, noise, effective.mean(axis=1), count


def closed_months(y: np.ndarray, horizon: int) -> np.ndarray:
    """Months ahead (N, H) of calendar months without any demand in each of the last three years.

    A vaccine sold from September to December is not sold in May; indices, taken in logs, cannot say
    so. False where fewer than three years are known.
    """
    closed = np.zeros((y.shape[0], horizon), dtype=bool)
    if y.shape[1] < CLOSED_YEARS * SEASON:
        return closed
    recent = y[:, -CLOSED_YEARS * SEASON :].reshape(y.shape[0], CLOSED_YEARS, SEASON)
    never: np.ndarray = (recent == 0).all(axis=1)
    return never[:, np.arange(horizon) % SEASON]


def index_of_months(indices: np.ndarray, first: int, count: int) -> np.ndarray:
    """Indices of ``count`` months from ``first``, counted from the first month ahead (0)."""
    return indices[:, (first + np.arange(count)) % SEASON]
