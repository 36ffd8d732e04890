"""Learn the law of slips over the workspace: posterior draws by importance sampling.

Opened sites give their slip, waiting ones that it is longer than what has elapsed or that they
never open, given-up ones that planned sites do not all open. Studies, or countries, shift the
centre; that shift is integrated out by quadrature, so few parameters are left to sample.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sopforecast.clinical.activation_law import SlipLaw, log_density, log_survival
from sopforecast.clinical.activation_record import (
    GIVEN_UP,
    OPENED,
    WAITING,
    ActivationRecord,
)
from sopforecast.clinical.activation_sampler import adaptive_importance

GROUPS = ("study", "country")
PRIOR_CENTRE = (10.0, 30.0)
PRIOR_LOG_SPREAD = (np.log(20.0), 0.6)
PRIOR_LOG_WAIT = (np.log(35.0), 0.7)
PRIOR_LOG_APART = (np.log(12.0), 0.7)
PRIOR_OPENS = (8.0, 1.0)
"""Choices, in days (mean and sd): sites open about six weeks late, 80% between two weeks early
and four months late; studies or countries differ by about 12 days; nine planned sites in ten
open."""
NODES = 7
FINE = 41
HALF_DAY = 0.5
SMALLEST_SPREAD = 2.0
"""Days added to the spread: dates that all agree do not make the next one certain."""


def fit_law(
    record: ActivationRecord, *, draws: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Draw the law's parameters.

    Parameters
    ----------
    record : ActivationRecord
    draws : int
        R.
    rng : Generator

    Returns
    -------
    dict of str to ndarray
        ``centre``, ``spread``, ``wait``, ``opens``, ``group`` (R,), ``shift`` (R, n_groups).
    """
    fits = []
    for name in GROUPS:
        evidence = _evidence(record, name)
        start = np.array(
            [PRIOR_CENTRE[0], PRIOR_LOG_SPREAD[0], PRIOR_LOG_WAIT[0], PRIOR_LOG_APART[0], 2.0]
        )
        scale = np.array(
            [PRIOR_CENTRE[1], PRIOR_LOG_SPREAD[1], PRIOR_LOG_WAIT[1], PRIOR_LOG_APART[1], 1.2]
        )
        fits.append(
            (
                evidence,
                *adaptive_importance(evidence.log_posterior, start, scale, draws=draws, rng=rng),
            )
        )
    best = int(fits[1][2] > fits[0][2])
    evidence, points, _ = fits[best]
    return {
        "centre": points[:, 0],
        "spread": _spread(points),
        "wait": np.exp(points[:, 2]),
        "opens": _share(points[:, 4]),
        "group": np.full(draws, float(best)),
        "shift": evidence.sample_shift(points, rng),
    }


@dataclass(frozen=True, eq=False)
class _Evidence:
    """Slips of the opened, days elapsed of the waiting, and the group of each (one-hot)."""

    slip: np.ndarray
    elapsed: np.ndarray
    given: np.ndarray
    did_open: int
    gave_up: int
    groups: int
    of_known: np.ndarray
    of_waiting: np.ndarray

    def log_posterior(self, points: np.ndarray) -> np.ndarray:
        """Log posterior (n,) of (centre, log spread, log wait, log apart, logit opens).

        Shifts are integrated out, by Gauss-Hermite quadrature around where they are likely.
        """
        log = self._log_prior(points)
        if self.groups == 1:
            return log + self._log_likelihood(points, np.zeros((len(points), 1, 1)))[:, 0, 0]
        centre, width = self._outlook(points)
        nodes, weights = np.polynomial.hermite.hermgauss(NODES)
        step = np.sqrt(2.0) * nodes[None, :, None] * width[:, None, :]
        shift = centre[:, None, :] + step
        each = self._log_likelihood(points, shift) + self._log_shift(points, shift)
        each += (np.log(weights) + nodes**2)[None, :, None]
        each += np.log(np.sqrt(2.0) * width)[:, None, :]
        whole: np.ndarray = log + np.logaddexp.reduce(each, axis=1).sum(axis=1)
        return whole

    def sample_shift(self, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw every group's shift given the others (n, n_groups), on a fine grid, jittered."""
        if self.groups == 1:
            return np.zeros((len(points), 1))
        centre, width = self._outlook(points)
        grid = np.linspace(-4.0, 4.0, FINE)
        shift = centre[:, None, :] + grid[None, :, None] * width[:, None, :]
        log = self._log_likelihood(points, shift) + self._log_shift(points, shift)
        edges = np.cumsum(np.exp(log - log.max(axis=1, keepdims=True)), axis=1)
        edges /= edges[:, -1:, :]
        at = rng.random((len(points), 1, self.groups))
        picked = np.minimum((at > edges).sum(axis=1), FINE - 1)
        jitter = (rng.random(picked.shape) - 0.5) * (grid[1] - grid[0])
        drawn: np.ndarray = centre + (grid[picked] + jitter) * width
        return drawn

    def _outlook(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rough posterior mean and sd of the shifts (n, n_groups), where to put the nodes."""
        noise = _spread(points)[:, None] ** 2 + np.exp(2.0 * points[:, 2:3])
        apart = np.exp(2.0 * points[:, 3:4])
        seen, total = self.of_known.sum(axis=0), self.slip @ self.of_known
        precision = seen / noise + 1.0 / apart
        mean = total - seen * (points[:, :1] + np.exp(points[:, 2:3]))
        return mean / noise / precision, 1.2 / np.sqrt(precision)

    def _log_likelihood(self, points: np.ndarray, shift: np.ndarray) -> np.ndarray:
        """By point, node and group (n, k, n_groups)."""
        centre = points[:, 0, None, None] + shift
        spread, wait = (each[:, None, None] for each in (_spread(points), np.exp(points[:, 2])))
        law = SlipLaw(centre @ self.of_known.T, spread, wait)
        log = log_density(law, self.slip) @ self.of_known
        law = SlipLaw(centre @ self.of_waiting.T, spread, wait)
        opens = np.where(
            np.isnan(self.given), _share(points[:, 4])[:, None, None], self.given[None, None, :]
        )
        lasting = np.exp(log_survival(law, self.elapsed))
        still = np.log(np.maximum(1.0 - opens + opens * lasting, 1e-300))
        total: np.ndarray = log + still @ self.of_waiting
        return total

    def _log_shift(self, points: np.ndarray, shift: np.ndarray) -> np.ndarray:
        apart = np.exp(points[:, 3])[:, None, None]
        log: np.ndarray = -0.5 * (shift / apart) ** 2 - np.log(apart * np.sqrt(2.0 * np.pi))
        return log

    def _log_prior(self, points: np.ndarray) -> np.ndarray:
        """With the opened and the given-up, which tell of the chance to open only."""
        log = np.zeros(len(points))
        priors = (PRIOR_CENTRE, PRIOR_LOG_SPREAD, PRIOR_LOG_WAIT, PRIOR_LOG_APART)
        for column, (mean, sd) in enumerate(priors):
            log -= 0.5 * ((points[:, column] - mean) / sd) ** 2
        yes, no = PRIOR_OPENS[0] + self.did_open, PRIOR_OPENS[1] + self.gave_up
        logit = points[:, 4]
        log -= yes * np.logaddexp(0.0, -logit) + no * np.logaddexp(0.0, logit)
        return log


def _evidence(record: ActivationRecord, group: str) -> _Evidence:
    names, index = record.groups[group]
    opened, waiting = record.is_state(OPENED), record.is_state(WAITING)
    known = opened & ~np.isnan(record.slip)
    untold = np.isnan(record.probability) & ~np.isnan(record.planned)
    one_hot = np.eye(max(len(names), 1))
    return _Evidence(
        slip=record.slip[known] - HALF_DAY,
        elapsed=record.elapsed[waiting],
        given=record.probability[waiting],
        did_open=int((opened & untold).sum()),
        gave_up=int((record.is_state(GIVEN_UP) & untold).sum()),
        groups=max(len(names), 1),
        of_known=one_hot[index[known]],
        of_waiting=one_hot[index[waiting]],
    )


def _spread(points: np.ndarray) -> np.ndarray:
    spread: np.ndarray = SMALLEST_SPREAD + np.exp(points[:, 1])
    return spread


def _share(logit: np.ndarray) -> np.ndarray:
    share: np.ndarray = 1.0 / (1.0 + np.exp(-logit))
    return share
