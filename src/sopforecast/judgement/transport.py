"""Move the draws of one number to a mean and a spread, keeping their order and their shape.

The scalar half of an update: which draw was low stays low, so that everything that depends on the
number moves with it.
"""

from __future__ import annotations

import numpy as np

_STRETCH = 1.5  # beyond it, draws a few steps apart would leave gaps between them
_COARSE = 2.0  # sd in steps below which draws are a few steps apart
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
