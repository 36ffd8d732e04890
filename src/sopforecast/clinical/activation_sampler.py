"""Adaptive importance sampling of a few parameters: exact up to its effective sample size.

References
----------
Cappe, Guillin, Marin, Robert (2004), Population Monte Carlo; with a tempered start.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

PROPOSALS = 400
FINAL = 1200
ROUNDS = 12
ENOUGH = 0.15
"""Share of the proposals that must count before the target is sharpened."""
TAIL = 7.0
WIDER = 1.25


def adaptive_importance(
    log_target: Callable[[np.ndarray], np.ndarray],
    start: np.ndarray,
    scale: np.ndarray,
    *,
    draws: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, float]:
    """Draw from a density known up to a constant.

    Parameters
    ----------
    log_target : callable
        Log density of points (n, k) -> (n,).
    start, scale : ndarray (k,)
        Where to look first, and how widely.
    draws : int
    rng : Generator

    Returns
    -------
    draws : ndarray (draws, k)
    log_evidence : float
        Log of the density's integral.
    """
    centre, root = start, np.diag(scale)
    for _ in range(ROUNDS):
        points, log_weight = _propose(log_target, centre, root, PROPOSALS, rng)
        power = _power(log_weight)
        centre, root = _moments(points, power * log_weight)
        if power == 1.0:
            break
    points, log_weight = _propose(log_target, centre, root, FINAL, rng)
    weight = np.exp(log_weight - log_weight.max())
    edges = np.cumsum(weight / weight.sum())
    at = (np.arange(draws) + rng.random()) / draws
    picked = np.minimum(np.searchsorted(edges, at), len(points) - 1)
    return points[rng.permutation(picked)], float(log_weight.max() + np.log(weight.mean()))


def _propose(
    log_target: Callable[[np.ndarray], np.ndarray],
    centre: np.ndarray,
    root: np.ndarray,
    size: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Student-t points around a centre, and the log of target over proposal."""
    from scipy.special import gammaln

    count = len(centre)
    scale = np.sqrt(TAIL / rng.chisquare(TAIL, size))
    standard = rng.standard_normal((size, count)) * scale[:, None]
    log_proposal = (
        gammaln((TAIL + count) / 2)
        - gammaln(TAIL / 2)
        - 0.5 * count * np.log(TAIL * np.pi)
        - np.log(np.abs(np.diag(root))).sum()
        - 0.5 * (TAIL + count) * np.log1p((standard**2).sum(axis=1) / TAIL)
    )
    points = centre + standard @ root.T
    return points, log_target(points) - log_proposal


def _power(log_weight: np.ndarray) -> float:
    """Largest power of the weights, up to 1, at which enough of the points count."""
    low, high = 0.0, 1.0
    if _effective(log_weight) >= ENOUGH * len(log_weight):
        return 1.0
    for _ in range(30):
        middle = 0.5 * (low + high)
        is_enough = _effective(middle * log_weight) >= ENOUGH * len(log_weight)
        low, high = (middle, high) if is_enough else (low, middle)
    return low


def _effective(log_weight: np.ndarray) -> float:
    weight = np.exp(log_weight - log_weight.max())
    return float(weight.sum() ** 2 / (weight**2).sum())


def _moments(points: np.ndarray, log_weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean, and the Cholesky root of the widened covariance."""
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    centre = weight @ points
    apart = points - centre
    covariance = (apart * weight[:, None]).T @ apart
    floor = 1e-6 * np.eye(len(centre)) * max(float(np.trace(covariance)), 1e-6)
    return centre, WIDER * np.linalg.cholesky(covariance + floor)
