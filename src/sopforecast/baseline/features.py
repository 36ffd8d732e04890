"""What the global learner sees of a series at an origin: its recent shape, free of unit and season.

Demand is divided by its seasonal indices, taken in logs, and measured from its own smoothed level,
so that a family worth millions and an item worth ten look alike. Nothing after the origin is read.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from sopforecast.baseline.seasonality import SEASON, index_of_months, seasonal_indices

SMOOTHING = (0.1, 0.3, 0.6)
SLOPE_WINDOWS = (6, 12, 24, 48)
LAGS = 12
FLOOR_SHARE = 0.01  # demand below 1% of the last two years' mean is read as that


@dataclass(frozen=True)
class OriginFeatures:
    """Features of N series at one origin.

    Attributes
    ----------
    fixed : ndarray (N, F)
        The same for every month ahead.
    by_lead : ndarray (N, H, G)
        Those that differ by month ahead.
    base : ndarray (N, H)
        Log of (smoothed level x seasonal index) of each month ahead.
    """

    fixed: np.ndarray
    by_lead: np.ndarray
    base: np.ndarray

    def rows(self, series: np.ndarray, lead: np.ndarray) -> np.ndarray:
        """Feature rows (R, F + G) of R pairs of series and month ahead (0-based)."""
        return np.concatenate([self.fixed[series], self.by_lead[series, lead]], axis=1)


def origin_features(y: np.ndarray, horizon: int) -> OriginFeatures:
    """Features of each series for each month ahead.

    Parameters
    ----------
    y : ndarray (N, T)
        Demand up to the origin; NaN before the first month; at least 13 months wide.
    horizon : int
        H months ahead.

    Returns
    -------
    OriginFeatures
    """
    n, width = y.shape
    indices, trust = seasonal_indices(y)
    recent = np.abs(y[:, -2 * SEASON :])
    typical = _row_mean(recent)
    floor = np.where(typical > 0, FLOOR_SHARE * typical, 1.0)
    adjusted = np.log(np.maximum(y / index_of_months(indices, -width, width), floor[:, None]))
    levels = [_smoothed_level(adjusted, alpha) for alpha in SMOOTHING]
    level = levels[1]
    slopes = {window: _slope(adjusted, window) for window in SLOPE_WINDOWS}
    years = [_row_mean(_year(adjusted, k)) for k in range(3)]
    columns = [
        *(_lag(adjusted, k) - level for k in range(1, LAGS + 1)),
        levels[0] - level,
        levels[2] - level,
        *slopes.values(),
        _row_sd(np.diff(adjusted[:, -2 * SEASON - 1 :], axis=1)),
        _row_sd(adjusted[:, -SEASON:]),
        trust,
        np.minimum(np.isfinite(y).sum(axis=1), 120.0),
        years[0] - years[1],
        years[1] - years[2],
    ]
    lead = np.arange(1, horizon + 1)
    log_index = np.log(index_of_months(indices, 0, horizon))
    same_month = np.stack([_lag(adjusted, SEASON - h % SEASON) for h in range(horizon)], axis=1)
    by_lead = [
        np.broadcast_to(lead.astype(float), (n, horizon)),
        log_index,
        slopes[12][:, None] * lead,
        slopes[24][:, None] * lead,
        same_month - level[:, None],
    ]
    return OriginFeatures(
        np.stack(columns, axis=1), np.stack(by_lead, axis=2), level[:, None] + log_index
    )


def _lag(values: np.ndarray, k: int) -> np.ndarray:
    return values[:, -k] if k <= values.shape[1] else np.full(values.shape[0], np.nan)


def _year(values: np.ndarray, k: int) -> np.ndarray:
    """The k-th last year of months (N, 12), NaN where there is none."""
    stop = values.shape[1] - k * SEASON
    part = values[:, max(stop - SEASON, 0) : max(stop, 0)]
    missing = SEASON - part.shape[1]
    return np.pad(part, ((0, 0), (missing, 0)), constant_values=np.nan)


def _row_mean(values: np.ndarray) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a row without months has no mean: NaN
        return np.nanmean(values, axis=1)


def _row_sd(values: np.ndarray) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nanstd(values, axis=1)


def _smoothed_level(values: np.ndarray, alpha: float) -> np.ndarray:
    """Simple exponential smoothing of each row from its first value; the level at the end."""
    level = np.full(values.shape[0], np.nan)
    for column in values.T:
        step = np.where(np.isnan(column), level, level + alpha * (column - level))
        level = np.where(np.isnan(level), column, step)
    return level


def _slope(values: np.ndarray, window: int) -> np.ndarray:
    """Least-squares slope a month over the last ``window`` months; 0 with fewer than two."""
    z = values[:, -window:]
    time = np.arange(z.shape[1], dtype=float)
    known = np.isfinite(z)
    count = np.maximum(known.sum(axis=1), 1)
    mean_time = (known * time).sum(axis=1) / count
    mean = np.where(known, z, 0.0).sum(axis=1) / count
    centred = known * (time - mean_time[:, None])
    covariance = (np.where(known, z - mean[:, None], 0.0) * centred).sum(axis=1)
    variance = np.square(centred).sum(axis=1)
    return np.where(variance > 0, covariance / np.maximum(variance, 1e-9), 0.0)
