"""Sparse demand as counts: how much a month, and how much a whole path, varies around its mean.

A month's demand is negative binomial around a mean that is itself uncertain for the whole path:

    level ~ Gamma(mean 1, variance drift)          once a path: the rate may be higher or lower
    y_h   ~ NegBin(mean m_h level, variance m + dispersion m**2)      each month, in steps

``dispersion`` is estimated per item from its recent months and drawn to that of all sparse items;
``drift`` is one number for the portfolio, from the errors of sums over the whole horizon at past
origins: what single months do not explain. Lumpy sizes show as large dispersion. Reference for the
negative binomial on spare parts: Snyder, Ord and Beaumont (2012), IJF 28.
"""

from __future__ import annotations

import numpy as np

RECENT_MONTHS = 48
PRIOR_MONTHS = 12.0
MAX_DISPERSION = 60.0
MAX_DRIFT = 1.5
DEFAULT_DISPERSION = 1.0
DEFAULT_DRIFT = 0.15


def learn_dispersion(y: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Extra variance of a month relative to its mean squared, (K,).

    Parameters
    ----------
    y : ndarray (K, T)
        Demand of the sparse items; NaN before the first month.
    step : ndarray (K,)
        What one count is, in the item's unit.
    """
    counts = y[:, -RECENT_MONTHS:] / step[:, None]
    known = np.isfinite(counts)
    months = known.sum(axis=1)
    mean = np.where(known, counts, 0.0).sum(axis=1) / np.maximum(months, 1)
    square = np.where(known, np.square(counts - mean[:, None]), 0.0).sum(axis=1)
    excess = square / np.maximum(months - 1, 1) - mean
    usable = (months > 1) & (mean > 0)
    relative = np.where(usable, excess / np.where(usable, mean, 1.0) ** 2, 0.0)
    pooled = float(np.median(relative[usable])) if usable.any() else DEFAULT_DISPERSION
    mixed = (months * relative + PRIOR_MONTHS * pooled) / (months + PRIOR_MONTHS)
    return np.clip(np.where(usable, mixed, pooled), 0.0, MAX_DISPERSION)


def learn_drift(
    forecast: np.ndarray, actual: np.ndarray, dispersion: np.ndarray, step: np.ndarray
) -> float:
    """Variance of the level of a whole path, relative to the mean squared.

    Parameters
    ----------
    forecast, actual : ndarray (K, O, H)
        Of the sparse items at past origins; NaN where unknown.
    dispersion, step : ndarray (K,)
    """
    whole = np.isfinite(forecast).all(axis=2) & np.isfinite(actual).all(axis=2)
    if not whole.any():
        return DEFAULT_DRIFT
    unit = step[:, None, None]
    mean, seen = np.nan_to_num(forecast / unit), np.nan_to_num(actual / unit)
    month_variance = (mean + dispersion[:, None, None] * np.square(mean)).sum(axis=2)
    total = mean.sum(axis=2)
    scale = np.maximum(month_variance, 1e-9)
    error = np.square(seen.sum(axis=2) - total)
    # Weighted by the precision of each total, so that one large item does not decide.
    top = ((error - month_variance) * np.square(total) / np.square(scale))[whole].sum()
    bottom = (np.square(np.square(total)) / np.square(scale))[whole].sum()
    return float(np.clip(top / bottom, 0.0, MAX_DRIFT)) if bottom > 0 else DEFAULT_DRIFT


def sample_counts(
    mean: np.ndarray, *, dispersion: float, drift: float, rng: np.random.Generator
) -> np.ndarray:
    """Whole counts around mean paths (S, H) -> (S, H); the mean of the paths is kept."""
    if drift > 0:
        shape = 1.0 / drift
        level = rng.gamma(shape, 1.0 / shape, size=(mean.shape[0], 1))
        mean = mean * (level / level.mean())
    if dispersion > 0:
        shape = 1.0 / dispersion
        mean = mean * rng.gamma(shape, 1.0 / shape, size=mean.shape)
    return rng.poisson(mean).astype(float)
