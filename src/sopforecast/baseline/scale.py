"""How far off a series is likely to be, from its history before the origin.

The mean absolute error of the combined forecast is regressed, in logs and over all series and
origins, on what a series showed before the origin: month-to-month noise after season, difference
to the year before, and level. The prediction is the scale in whose units residual paths of
different series are pooled. A series' own record then moves its scale, the more so the more
origins it was seen at.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sopforecast.baseline.seasonality import SEASON, index_of_months, seasonal_indices

MIN_ROWS = 30
RIDGE = 3.0
OWN_PRIOR_ORIGINS = 4.0
RECENT = 36
UNKNOWN_NOISE = 0.3  # of the level, at least, until a year can be compared with the year before
RELATIVE_FLOOR = 1e-3  # of the recent level


def noise_features(y: np.ndarray, offsets: Sequence[int]) -> np.ndarray:
    """Logs of monthly noise, yearly difference and level before each origin: (N, O, 3).

    NaN where a series has no month before the origin.
    """
    answer = np.full((y.shape[0], len(offsets), 3), np.nan)
    for o, offset in enumerate(offsets):
        before = y[:, : y.shape[1] - offset]
        indices, _ = seasonal_indices(before)
        adjusted = before / index_of_months(indices, -before.shape[1], before.shape[1])
        level = _mean(np.abs(before[:, -SEASON:]))
        level = np.where(level > 0, level, _mean(np.abs(before)))
        floor = RELATIVE_FLOOR * level + 1e-9
        noise = _mean(np.abs(np.diff(adjusted[:, -RECENT:], axis=1)))
        window = before[:, -RECENT - SEASON :]
        yearly = _mean(np.abs(window[:, SEASON:] - window[:, :-SEASON]))
        noise = np.where(np.isfinite(yearly), noise, np.fmax(noise, UNKNOWN_NOISE * level))
        yearly = np.where(np.isfinite(yearly), yearly, noise)
        stacked = np.stack([noise, yearly, level], axis=1)
        answer[:, o] = np.log(np.maximum(stacked, floor[:, None]))
    return answer


def error_scale(residual: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Scale of each series at each origin, positive, in the series' unit.

    Parameters
    ----------
    residual : ndarray (N, O, H)
        Errors at the past origins; NaN where unknown.
    features : ndarray (N, O + 1, 3)
        Of the past origins, and of the end of history in the last column.

    Returns
    -------
    ndarray (N, O + 1)
        The last column is the scale to forecast with. NaN where a series had no history.
    """
    known = np.isfinite(residual)
    count = known.sum(axis=2)
    size = np.where(known, np.abs(np.where(known, residual, 0.0)), 0.0).sum(axis=2)
    size = size / np.maximum(count, 1)
    past = features[:, :-1]
    usable = (count > 0) & np.isfinite(past).all(axis=2) & (size > 0)
    target = np.log(np.where(usable, size, 1.0))
    coefficients = _regress(past[usable], target[usable])
    predicted = coefficients[0] + _dot(features, coefficients[1:])
    own = np.where(usable, np.clip(target - predicted[:, :-1], -2.0, 2.0), 0.0)
    seen = usable.sum(axis=1)
    shift = own.sum(axis=1) / (seen + OWN_PRIOR_ORIGINS)
    return np.exp(predicted + shift[:, None])


def _regress(rows: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Intercept and slopes (4,), drawn to the geometric mean of noise and yearly difference."""
    start = np.array([0.0, 0.5, 0.5, 0.0])
    if target.size < MIN_ROWS:
        return start
    design = np.concatenate([np.ones((target.size, 1)), rows], axis=1)
    gap = target - _dot(design, start)
    gram = design.T @ design + np.diag([1e-6, RIDGE, RIDGE, RIDGE])
    return start + np.linalg.solve(gram, design.T @ gap)


def _dot(values: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """Sum over the last axis, term by term: the same bytes whatever the number of rows."""
    total = np.zeros(values.shape[:-1])
    for k, coefficient in enumerate(coefficients):
        total += values[..., k] * coefficient
    return total


def _mean(values: np.ndarray) -> np.ndarray:
    known = np.isfinite(values)
    count = known.sum(axis=1)
    total = np.where(known, values, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
