"""Move the draws of one number to a mean and a spread, keeping their order and their shape.

`transport` is the scalar half of an update: which draw was low stays low, so that everything that
depends on the number moves with it. `posterior_moments` is what one measurement makes of the draws
of a number whose distribution is not normal.
"""

from __future__ import annotations

import numpy as np

_STRETCH = 1.5  # beyond it, draws a few steps apart would leave gaps between them
_COARSE = 2.0  # sd in steps below which draws are a few steps apart
_GRID = 2001
_ENOUGH = 50.0  # effective draws near a measurement at which they weigh a quarter
_FLATTEST = 1e-6  # sd over mean below which a gamma distribution is one number


def transport(
    z: np.ndarray, *, mean: float, sd: float, step: float, rng: np.random.Generator
) -> np.ndarray:
    """New draws with a mean and an sd, in the order of the old ones.

    Parameters
    ----------
    z : ndarray, shape (S,)
        Draws of the number, in its unit.
    mean, sd : float
        Wanted, in the unit of ``z``. A mean of zero or less makes every draw zero.
    step : float
        A power of two, in the unit of ``z``.
    rng : Generator
        Orders draws that are equal; used for nothing else.

    Returns
    -------
    ndarray, shape (S,)
        Non-negative multiples of ``step``: of two draws the larger never becomes the smaller. The
        mean is met to within step / S; the sd as nearly as whole steps allow.

    Notes
    -----
    z' = mean + sd / sd(z) * (z - mean(z)) where that leaves no draw negative. Otherwise, or when
    the draws lie too few steps apart to be stretched, the k-th smallest draw becomes the mean of
    the k-th of S equal slices of the gamma distribution with that mean and sd. Rounding keeps the
    running sum over the ordered draws to within a step.
    """
    order = np.lexsort((rng.random(len(z)), z))
    if mean <= 0:
        return np.zeros(len(z))
    ordered = z[order]
    own = float(ordered.std(ddof=1)) if len(z) > 1 else 0.0
    ratio = sd / own if own > 0 else np.inf
    moved = mean + ratio * (ordered - ordered.mean()) if own > 0 else np.full(len(z), -1.0)
    lumpy = ratio > _STRETCH and own < _COARSE * step
    if lumpy or float(moved[0]) < 0:
        moved = _gamma_slices(len(z), mean=mean, sd=sd)
    result = np.empty(len(z))
    result[order] = step * _whole(moved / step)
    return result


def posterior_moments(z: np.ndarray, *, value: float, error_sd: float) -> tuple[float, float]:
    """Mean and sd of a number after one measurement with normal error, in one dimension.

    Parameters
    ----------
    z : ndarray, shape (S,)
        Draws before the measurement, non-negative.
    value, error_sd : float
        What was measured, and the sd of its error (0: it is exact), in the unit of ``z``.

    Returns
    -------
    tuple of float
        Posterior mean and sd. Draws without spread do not move.

    Notes
    -----
    Draws weighed by the likelihood need no shape but run out in the tails; a gamma prior with the
    draws' mean and sd, integrated on a grid, reaches everywhere but is only nearly right. Means
    and variances of the two are mixed: with n = (sum w)**2 / sum(w**2) effective draws the former
    has the share (n / (n + 50))**2. A normal prior would give the linear rule mean + V / (V + r**2)
    * (value - mean) with variance V r**2 / (V + r**2), whatever was measured; for skewed sums that
    errs most where the measurement is weak (`experiments/locality`).
    """
    mean, own = float(z.mean()), float(z.std(ddof=1)) if len(z) > 1 else 0.0
    if own <= 0 or mean <= 0:
        return mean, own
    if error_sd <= 0:
        return max(value, 0.0), 0.0
    log_weight = -0.5 * np.square((z - value) / error_sd)
    weight = np.exp(log_weight - log_weight.max())
    effective = float(weight.sum() ** 2 / np.square(weight).sum())
    seen, seen_sd = _weighted_moments(z, weight)
    smooth, smooth_sd = _gamma_posterior(mean, own, value=value, error_sd=error_sd)
    trust = (effective / (effective + _ENOUGH)) ** 2
    variance = trust * seen_sd**2 + (1.0 - trust) * smooth_sd**2
    return trust * seen + (1.0 - trust) * smooth, float(np.sqrt(variance))


def _weighted_moments(values: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    share = weight / weight.sum()
    mean = float(share @ values)
    return mean, float(np.sqrt(share @ np.square(values - mean)))


def _gamma_posterior(
    mean: float, sd: float, *, value: float, error_sd: float
) -> tuple[float, float]:
    """Posterior mean and sd of a gamma variable measured with normal error."""
    shape = (mean / sd) ** 2
    # The mode of log density + log likelihood over log x: one positive root of a quadratic.
    pull = value - error_sd**2 * shape / mean
    mode = 0.5 * (pull + np.hypot(pull, 2.0 * np.sqrt(shape) * error_sd))
    reach = 9.0 / np.sqrt(shape + (mode / error_sd) ** 2)
    tail = np.linspace(40.0 / shape, 0.0, _GRID)[:-1]  # towards zero it falls like x**shape
    log_x = np.log(mode) + np.concatenate([-reach - tail, np.linspace(-reach, reach, _GRID)])
    x = np.exp(log_x)
    log_weight = shape * log_x - shape * x / mean - 0.5 * ((x - value) / error_sd) ** 2
    weight = np.exp(log_weight - log_weight.max()) * np.gradient(log_x)
    return _weighted_moments(x, weight)


def _gamma_slices(draws: int, *, mean: float, sd: float) -> np.ndarray:
    """Means of equally likely slices of a gamma distribution, ascending (S,)."""
    from scipy.special import gammainc, gammaincinv

    if sd <= _FLATTEST * mean:
        return np.full(draws, mean)
    shape = (mean / sd) ** 2
    edges = gammaincinv(shape, np.arange(1, draws) / draws)
    below = np.concatenate([[0.0], gammainc(shape + 1.0, edges), [1.0]])
    return mean * draws * np.maximum.accumulate(np.maximum(np.diff(below), 0.0))


def _whole(ordered: np.ndarray) -> np.ndarray:
    """Round ascending numbers to whole ones next to them, ascending, with nearly the same sum."""
    reached = np.floor(np.cumsum(ordered) + 0.5)
    return np.sort(np.diff(reached, prepend=0.0))
