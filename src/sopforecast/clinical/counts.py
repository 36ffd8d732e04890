"""Exact arithmetic of small counts: how many of a few lines convert, never a normal shortcut.

References
----------
Hong (2013), On computing the distribution function for the Poisson binomial distribution.
"""

from __future__ import annotations

import numpy as np


def poisson_binomial(chances: np.ndarray) -> np.ndarray:
    """Probability of 0, 1, ..., n conversions of n independent lines.

    Parameters
    ----------
    chances : ndarray (n,)
        Probability of each line, 0 to 1.

    Returns
    -------
    ndarray (n + 1,)

    Examples
    --------
    >>> poisson_binomial(np.array([0.5, 0.5])).tolist()
    [0.25, 0.5, 0.25]
    """
    return mixture(chances[None, :])


def mixture(chances: np.ndarray, *, sizes: np.ndarray | None = None) -> np.ndarray:
    """The same, where the chances themselves are uncertain: the mean over parameter draws.

    Parameters
    ----------
    chances : ndarray (R, n)
        Probability of each line in each of R equally likely draws.
    sizes : ndarray of int (n,), optional
        Patients a line brings when it converts, 0 or more; one where not given.

    Returns
    -------
    ndarray (sum of sizes + 1,)
        Sums to 1; by convolution, one line after the other.
    """
    if not bool(np.all((chances >= 0) & (chances <= 1))):
        raise ValueError("chances: found one outside 0 to 1; allowed: probabilities")
    number = np.ones(chances.shape[1], dtype=np.int64) if sizes is None else sizes
    pmf = np.zeros((len(chances), int(number.sum()) + 1))
    pmf[:, 0] = 1.0
    reached = 0
    for chance, size in zip(chances.T, number.tolist(), strict=True):
        before = pmf[:, : reached + 1].copy()
        pmf[:, : reached + 1] *= 1.0 - chance[:, None]
        pmf[:, size : reached + size + 1] += before * chance[:, None]
        reached += size
    return pmf.mean(axis=0)


def range_of(pmf: np.ndarray, level: float = 0.8) -> tuple[int, int]:
    """Smallest counts whose cumulative probability reaches (1 - level) / 2 and (1 + level) / 2.

    Examples
    --------
    >>> range_of(np.array([0.25, 0.5, 0.25]), 0.8)
    (0, 2)
    """
    reached = np.cumsum(pmf) + 1e-12
    low, high = (int(np.argmax(reached >= at)) for at in ((1 - level) / 2, (1 + level) / 2))
    return low, high
