"""How many months pass from screening to enrolment, and to failure, over the whole workspace.

A site's enrolled of a month are Poisson with a mean proportional to its screened of the last D
months, weighted by the delay; given the site's total they are multinomial, so neither the share
that fails nor differences between sites matter. A Dirichlet prior, and importance resampling.
"""

from __future__ import annotations

import numpy as np

from sopforecast.clinical.funnel_history import ScreeningHistory

PRIOR_MEAN = (0.50, 0.28, 0.13, 0.06, 0.03)
PRIOR_STRENGTH = 10.0
"""Choice: half enrol in the month of screening, nine in ten within two months; as good as ten
patients of whom it were known."""
EM_STEPS = 25
PROPOSALS = 250
TEMPERS = (0.1, 0.3, 1.0)


def fit_delays(
    history: ScreeningHistory, *, draws: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Learn both delays.

    Parameters
    ----------
    history : ScreeningHistory
    draws : int
        R.
    rng : Generator

    Returns
    -------
    delay, fail_delay : ndarray (R, D)
        Probabilities of 0 .. D-1 months to enrolment, and to failure where it is reported.
    """
    failed = np.where(history.knows_failures[:, None], history.failed, np.nan)
    delay = sample_delay(history.lagged, history.enrolled, draws=draws, rng=rng)
    return delay, sample_delay(history.lagged, failed, draws=draws, rng=rng)


def sample_delay(
    lagged: np.ndarray, counts: np.ndarray, *, draws: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw the delay (R, D) given counts (G, T) and those screened before (G, T, D).

    Proposals are Dirichlets around the posterior mode, of several widths; they are weighted by
    the posterior over their mixture density.
    """
    prior = PRIOR_STRENGTH * np.array(PRIOR_MEAN)
    rows, weights = _rows(lagged, counts)
    mode_counts = _expected_counts(rows, weights, prior)
    shapes = np.array([prior + temper * mode_counts for temper in TEMPERS])
    proposals = np.concatenate([rng.dirichlet(shape, PROPOSALS) for shape in shapes])
    proposals = np.maximum(proposals, 1e-12)
    log_target = _log_dirichlet(proposals, prior) + weights @ _log_mean(rows, proposals)
    log_each = np.array([_log_dirichlet(proposals, shape) for shape in shapes])
    log_weight = log_target - np.logaddexp.reduce(log_each, axis=0)
    return proposals[resample(log_weight, draws, rng)]


def resample(log_weight: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Pick ``draws`` indexes in proportion to weights, systematically and in random order."""
    weight = np.exp(log_weight - log_weight.max())
    edges = np.cumsum(weight / weight.sum())
    points = (np.arange(draws) + rng.random()) / draws
    picked = np.minimum(np.searchsorted(edges, points), len(edges) - 1)
    return rng.permutation(picked)


def _rows(lagged: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Write the log likelihood as ``sum(weight * log(row @ delay))``: months, less site totals."""
    known = ~np.isnan(counts) & ~np.isnan(lagged).any(axis=2)
    means = np.where(known[:, :, None], lagged, 0.0)
    seen = np.where(known & (means.sum(axis=2) > 0.0), counts, 0.0)
    rows = np.concatenate([means[seen > 0], means.sum(axis=1)])
    weights = np.concatenate([seen[seen > 0], -seen.sum(axis=1)])
    distinct, where = np.unique(rows[weights != 0], axis=0, return_inverse=True)
    events, sites = (np.maximum(sign * weights[weights != 0], 0.0) for sign in (1.0, -1.0))
    size = len(distinct)
    both = [np.bincount(where.ravel(), weight, size) for weight in (events, sites)]
    return np.concatenate([distinct, distinct]), np.concatenate([both[0], -both[1]])


def _expected_counts(rows: np.ndarray, weights: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Events of each delay as expected at the posterior mode (D,), by EM with exposures.

    The exposure of a delay is relative: the sum over sites of those that could be seen with it.
    """
    is_event = weights > 0
    delay = prior / prior.sum()
    expected = np.zeros(len(prior))
    for _ in range(EM_STEPS):
        shares = rows * delay
        shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1e-300)
        expected = weights[is_event] @ shares[is_event]
        exposed = -(weights[~is_event] @ shares[~is_event]) / np.maximum(delay, 1e-12)
        delay = (prior + expected) / np.maximum(prior.sum() + exposed, 1e-12)
        delay /= delay.sum()
    size = prior.sum() + expected.sum()
    return np.maximum(delay * size - prior, 0.0)


def _log_mean(rows: np.ndarray, delays: np.ndarray) -> np.ndarray:
    log: np.ndarray = np.log(np.maximum(rows @ delays.T, 1e-300))
    return log


def _log_dirichlet(values: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Log density of a Dirichlet at values (n, D)."""
    from scipy.special import gammaln

    log: np.ndarray = np.log(values) @ (shape - 1.0) + gammaln(shape.sum()) - gammaln(shape).sum()
    return log
