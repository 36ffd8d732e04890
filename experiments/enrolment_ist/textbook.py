"""The two peers: the Poisson-gamma model of the textbooks, and the run rate of the last six months.

Both read the counts of one country's sites that were open by an origin, (G, T) with NaN before the
first patient, and nothing later.
"""

from __future__ import annotations

import numpy as np

START_SPREAD = 0.3  # of log error, until three errors of the run rate are known
LEAST_ERRORS = 3
RECENT_MONTHS = 6
HALF_OF_NORMAL = 0.6745  # half of a normal's errors are within so many standard deviations


def poisson_gamma(
    counts: np.ndarray, *, ahead: int, paths: int, rng: np.random.Generator
) -> np.ndarray:
    """Patients of each site in the next ``ahead`` months (S, G): negative binomial draws.

    Rates are gamma across the sites of the country, shape and mean by maximum likelihood from
    each site's count and months since its first patient; each site's own rate is then gamma with
    its count and months added (Anisimov and Fedorov 2007, section 2).
    """
    from scipy.optimize import minimize
    from scipy.special import gammaln

    months = (~np.isnan(counts)).sum(axis=1).astype(float)
    patients = np.nansum(counts, axis=1)

    def loss(logs: np.ndarray) -> float:
        shape, rate = np.exp(logs[0]), np.exp(logs[0] - logs[1])
        log = gammaln(shape + patients) - gammaln(shape) + shape * np.log(rate)
        return float(-np.sum(log - (shape + patients) * np.log(rate + months)))

    start = np.array([0.0, np.log(patients.sum() / months.sum())])
    bounds = [(-4.0, 7.0), (-6.0, 5.0)]
    shape, mean = np.exp(minimize(loss, start, method="L-BFGS-B", bounds=bounds).x)
    rates = rng.gamma(shape + patients, 1 / (shape / mean + months), size=(paths, len(months)))
    return rng.poisson(rates * ahead)


def run_rate(counts: np.ndarray, *, ahead: int) -> float:
    """The country's total of the last six months, as if it went on."""
    return float(np.nansum(counts[:, -RECENT_MONTHS:]) * ahead / RECENT_MONTHS)


def spread_of(errors: list[float]) -> float:
    """Spread of the log of actual over run rate, from what earlier forecasts missed by.

    By the median, not the mean square: a country's first months miss by several times, and would
    make the peer far too wide and weak.
    """
    if len(errors) < LEAST_ERRORS:
        return START_SPREAD
    return float(np.median(np.abs(errors)) / HALF_OF_NORMAL)
