"""The noise half of the closed-form credibility fit: scales by owner, tail, months' correlation.

Residuals of one statement are multivariate Student-t over its months with equal correlations.
Scales are integrated on a grid, pooled between owners of a source and between sources on the log
scale; tail and months' correlation are posterior means on grids at the current residuals.

References
----------
Lange, Little and Taylor (1989), Robust statistical modeling using the t distribution.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sopforecast.judgement.effects import Rows

SPREAD_SD, SOURCE_SPREAD_SD, OWNER_SPREAD_SD = 0.3, 0.2, 0.3
MONTHS_ERROR = np.concatenate([[0.01], np.arange(0.05, 0.96, 0.05)])
TAIL = np.array([3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 14.0, 20.0, 30.0, 50.0])
LOG_SPREAD = np.linspace(-2.5, 2.5, 101)


@dataclass(frozen=True)
class Noise:
    log_spread: np.ndarray  # (O,) posterior mean of log scale
    grid: np.ndarray  # (O, G) posterior on LOG_SPREAD
    of_source: np.ndarray  # (Q,) mean of log scale of a new owner
    of_all: float
    months_error: float
    tail: float


def start_noise(rows: Rows) -> Noise:
    """Scales of one, to begin with."""
    owners, sources = len(rows.owners), len(rows.sources)
    flat = np.full((owners, len(LOG_SPREAD)), 1.0 / len(LOG_SPREAD))
    return Noise(np.zeros(owners), flat, np.zeros(sources), 0.0, 0.5, 8.0)


def fit_noise(rows: Rows, within: np.ndarray, between: np.ndarray, before: Noise) -> Noise:
    """Scales by owner, tail and months' correlation at the current residuals."""
    scale = before.log_spread[rows.owner]
    rho, tail = before.months_error, before.tail
    if bool(np.any(rows.count > 1)):
        many = rows.count > 1
        parts = (rows.count[many], within[many], between[many], scale[many])
        fits = [rows.age_power[many] @ _log_t(*parts, r, tail) for r in MONTHS_ERROR]
        rho = _mean_of(MONTHS_ERROR, np.array(fits) + np.log(MONTHS_ERROR * (1 - MONTHS_ERROR)))
    parts = (rows.count, within, between, scale)
    fits = [rows.age_power @ _log_t(*parts, rho, nu) for nu in TAIL]
    log_prior = np.log(TAIL - 2.0) - 0.25 * (TAIL - 2.0) + np.log(np.gradient(TAIL))
    tail = _mean_of(TAIL, np.array(fits) + log_prior)
    shape = (rows.count[:, None], within[:, None], between[:, None], LOG_SPREAD[None, :])
    by_row = rows.age_power[:, None] * _log_t(*shape, rho, tail)
    likelihood = np.zeros((len(rows.owners), len(LOG_SPREAD)))
    np.add.at(likelihood, rows.owner, by_row)
    return _pool_spread(rows, likelihood, rho, tail)


def _pool_spread(rows: Rows, likelihood: np.ndarray, rho: float, tail: float) -> Noise:
    """Log scales of owners: each one's likelihood times what the others and the prior say."""
    flat = np.exp(likelihood - likelihood.max(axis=1, keepdims=True))
    flat /= flat.sum(axis=1, keepdims=True)
    seen = flat @ LOG_SPREAD
    doubt = np.maximum(flat @ LOG_SPREAD**2 - seen**2, 1e-6)
    source = rows.source_of_owner
    alike = (source[:, None] == source[None, :]) * SOURCE_SPREAD_SD**2 + SPREAD_SD**2
    joint = alike + np.diag(OWNER_SPREAD_SD**2 + doubt)
    inverse = np.linalg.inv(joint)
    residual, own = inverse @ seen, np.diag(inverse)
    others, others_var = seen - residual / own, np.maximum(1.0 / own - doubt, 1e-6)
    log_prior = -0.5 * (LOG_SPREAD[None, :] - others[:, None]) ** 2 / others_var[:, None]
    grid = likelihood + log_prior
    grid = np.exp(grid - grid.max(axis=1, keepdims=True))
    grid /= grid.sum(axis=1, keepdims=True)
    of_source = (
        np.array(
            [
                np.where(source == q, SOURCE_SPREAD_SD**2, 0.0) + SPREAD_SD**2
                for q in range(len(rows.sources))
            ]
        )
        @ residual
    )
    of_all = float(SPREAD_SD**2 * residual.sum())
    return Noise(grid @ LOG_SPREAD, grid, of_source, of_all, rho, tail)


def robust_weights(rows: Rows, within: np.ndarray, between: np.ndarray, noise: Noise) -> np.ndarray:
    """Weight (T,) of each statement in the next linear step: small for outliers."""
    square = _square(rows.count, within, between, noise.log_spread[rows.owner], noise.months_error)
    return (noise.tail + rows.count) / (noise.tail + square)


def _square(
    count: np.ndarray, within: np.ndarray, between: np.ndarray, log_scale: np.ndarray, rho: float
) -> np.ndarray:
    square = within / (1.0 - rho) + between / (1.0 - rho + count * rho)
    return square * np.exp(-2.0 * log_scale)


def _log_t(
    count: np.ndarray,
    within: np.ndarray,
    between: np.ndarray,
    log_scale: np.ndarray,
    rho: float,
    tail: float,
) -> np.ndarray:
    """Log density of multivariate t residuals with equal correlations."""
    from scipy.special import gammaln

    square = _square(count, within, between, log_scale, rho)
    log_det = 2 * count * log_scale + (count - 1) * np.log(1 - rho) + np.log(1 - rho + count * rho)
    constant = gammaln((tail + count) / 2) - gammaln(tail / 2) - count / 2 * np.log(tail * np.pi)
    return constant - log_det / 2 - (tail + count) / 2 * np.log1p(square / tail)


def _mean_of(grid: np.ndarray, log_density: np.ndarray) -> float:
    share = np.exp(log_density - log_density.max())
    return float(share @ grid / share.sum())
