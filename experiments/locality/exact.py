"""What one measurement makes of a number whose distribution is not normal.

The engine moves means by the learned line instead (see README.md); this is what it is held against.
"""

from __future__ import annotations

import numpy as np

_GRID = 2001
_ENOUGH = 50.0  # effective draws near a measurement at which they weigh a quarter


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
    errs most where the measurement is weak.
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
