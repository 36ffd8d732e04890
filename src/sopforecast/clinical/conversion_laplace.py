"""Posterior draws by Laplace's method, weighted: deterministic, quick, without PyMC.

The mode is found, a multivariate t put around it, and its draws are weighted by how far they are
off and resampled; where too few of them count, the t is fitted again to the weighted draws, and at
last all draws are moved by Hamiltonian steps.

References
----------
Tierney and Kadane (1986), Accurate approximations for posterior moments. Cappe, Guillin, Marin and
Robert (2004), Population Monte Carlo. Gilks and Berzuini (2001), Following a moving target
(resample and move).
"""

from __future__ import annotations

import numpy as np

from sopforecast.clinical.conversion_lines import Lines
from sopforecast.clinical.conversion_model import (
    TIER_ORDER_SD,
    log_density,
    log_density_and_slope,
)

DRAWS = 400
PROPOSALS, ROUNDS, MIN_SHARE = 4000, 3, 0.10
MOST_WEIGHTED = 80  # parameters beyond which weights are hopeless
WIDER, TAIL = 1.15, 8.0
MOVES, FEW_MOVES, LEAPS, STEP = 24, 6, 5, 0.4
SMALLEST_CURVATURE = 0.25


def prior_draws(lines: Lines, rng: np.random.Generator, *, draws: int = DRAWS) -> np.ndarray:
    """Draws (draws, D) of what is believed before any line: normal, tiers softly in order."""
    from scipy.special import log_ndtr

    many = rng.standard_normal((40 * draws, len(lines.prior_mean)))
    tiers = lines.prior_mean[:3] + lines.prior_sd[:3] * many[:, :3]
    apart = (tiers[:, :2] - tiers[:, 1:]) / TIER_ORDER_SD
    weight = np.exp(log_ndtr(apart).sum(axis=1))
    return many[_resample(weight / weight.sum(), draws, rng)]


@np.errstate(over="ignore", invalid="ignore", divide="ignore")  # far-off proposals: weight 0
def laplace_draws(
    lines: Lines, rng: np.random.Generator, *, draws: int = DRAWS
) -> tuple[np.ndarray, dict[str, float]]:
    """Whitened posterior draws (draws, D) around the mode, and their quality.

    Returns
    -------
    x : ndarray (draws, D)
    quality : dict
        ``ess``: effective number of the 4,000 proposals (1 / sum of squared weights) of the best
        round; ``moved``: Hamiltonian moves made because it was below a tenth.
    """
    mode, covariance = _laplace(lines)
    best, best_ess = np.empty((draws, len(mode))), 0.0
    centre, spread = mode, WIDER**2 * covariance
    for _ in range(ROUNDS if len(mode) <= MOST_WEIGHTED else 0):
        x, log_proposal = _t_draws(centre, spread, rng)
        log_weight = log_density(lines, x) - log_proposal
        log_weight = np.where(np.isnan(log_weight), -np.inf, log_weight)
        weight = np.exp(log_weight - log_weight.max())
        weight /= weight.sum()
        ess = float(1.0 / (weight**2).sum())
        if ess > best_ess:
            best, best_ess = x[_resample(weight, draws, rng)], ess
        if ess >= MIN_SHARE * PROPOSALS:
            break
        centre, spread = _refit(x, weight, covariance)
    if best_ess >= MIN_SHARE * PROPOSALS:
        return best, {"ess": best_ess, "moved": 0.0}
    moves = FEW_MOVES
    if best_ess < draws / 4:
        moves = MOVES
        best = mode + rng.standard_normal(best.shape) @ np.linalg.cholesky(covariance).T
    moved = _moved(lines, best, covariance, rng, moves=moves)
    return moved, {"ess": best_ess, "moved": float(moves)}


def _laplace(lines: Lines) -> tuple[np.ndarray, np.ndarray]:
    """Mode (D,) and the inverse of the curvature there (D, D)."""
    from scipy.optimize import minimize

    def cost(x: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = log_density_and_slope(lines, x[None])
        return -float(value[0]), -slope[0]

    width = len(lines.prior_mean)
    mode = minimize(cost, np.zeros(width), jac=True, method="L-BFGS-B").x
    step = 1e-4 * np.eye(width)
    rise = log_density_and_slope(lines, np.concatenate([mode + step, mode - step]))[1]
    curvature = -(rise[:width] - rise[width:]) / 2e-4
    values, vectors = np.linalg.eigh((curvature + curvature.T) / 2)
    return mode, (vectors / np.maximum(values, SMALLEST_CURVATURE)) @ vectors.T


def _t_draws(
    centre: np.ndarray, spread: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Multivariate t draws, half of each sign, and their log density up to a constant."""
    width = len(centre)
    half = rng.standard_normal((PROPOSALS // 2, width))
    z = np.concatenate([half, -half])
    size = np.sqrt(rng.chisquare(TAIL, PROPOSALS) / TAIL)[:, None]
    z = z / size
    square = (z**2).sum(axis=1)
    log_proposal = -0.5 * (TAIL + width) * np.log1p(square / TAIL)
    return centre + z @ np.linalg.cholesky(spread).T, log_proposal


def _refit(
    x: np.ndarray, weight: np.ndarray, covariance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Centre and spread of weighted draws; few that count leave most to the curvature."""
    tempered = np.minimum(weight, 1.0 / 100.0)
    tempered /= tempered.sum()
    centre = tempered @ x
    off = x - centre
    found = (off * tempered[:, None]).T @ off
    trust = min(0.9, 1.0 / float((tempered**2).sum()) / (10.0 * x.shape[1]))
    return centre, trust * found + (1.0 - trust) * WIDER**2 * covariance


def _moved(
    lines: Lines, x: np.ndarray, covariance: np.ndarray, rng: np.random.Generator, *, moves: int
) -> np.ndarray:
    """Every draw after some Hamiltonian moves of its own (Neal 2011, section 5.3)."""
    root = np.linalg.cholesky(covariance)
    value, slope = log_density_and_slope(lines, x)
    for _ in range(moves):
        step = STEP * rng.uniform(0.6, 1.3, (len(x), 1))
        speed = rng.standard_normal(x.shape)
        energy = value - 0.5 * (speed**2).sum(axis=1)
        at, at_value, at_slope, at_speed = x, value, slope, speed
        for _ in range(LEAPS):
            at_speed = at_speed + 0.5 * step * (at_slope @ root)
            at = at + step * (at_speed @ root.T)
            at_value, at_slope = log_density_and_slope(lines, at)
            at_speed = at_speed + 0.5 * step * (at_slope @ root)
        rise = at_value - 0.5 * (at_speed**2).sum(axis=1) - energy
        taken = np.log(rng.random(len(x))) < np.nan_to_num(rise, nan=-np.inf)
        x = np.where(taken[:, None], at, x)
        slope = np.where(taken[:, None], at_slope, slope)
        value = np.where(taken, at_value, value)
    return x


def _resample(weight: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Places of ``count`` systematic draws, in random order (Carpenter et al. 1999)."""
    at = (np.arange(count) + rng.random()) / count
    places = np.searchsorted(np.cumsum(weight), at)
    return rng.permutation(np.minimum(places, len(weight) - 1))
