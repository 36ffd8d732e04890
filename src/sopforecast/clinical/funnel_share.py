"""The share of the screened who never enrol, by study, as it is now: it drifts, and is pooled.

The logit of a study's share walks at random from month to month, by a step that is learned over
all studies; where it stands now is, before its own data, as in the population of studies. Both are
integrated on a grid, exactly. Patients still in screening count neither way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sopforecast.clinical.funnel_delay import resample
from sopforecast.clinical.funnel_history import ScreeningHistory

MEAN_PRIOR = (3.0, 7.0)
"""Choice: the mean share of failures of a study's population is a Beta(3, 7), 0.3 and wide."""
STRENGTH_PRIOR = (np.log(8.0), 0.8)
"""Choice: studies differ as a Beta of strength about 8 does (log-normal)."""
STEPS = (0.0, 0.03, 0.06, 0.1, 0.17, 0.3)
"""Choice: monthly sd of the logit share, equally likely before data; the first never changes."""
MONTHS_AHEAD = 3
"""The share is wanted about this many months after the last count."""
PARTICLES = 600
STRATA = 8
"""Sets of delay draws, from quick to slow, for each of which the share is learned."""
LOGITS = np.linspace(-6.0, 6.0, 241)


@dataclass(frozen=True, eq=False)
class _Months:
    """Sums by study and month (n_studies, T), and by delay (n_studies, T, D) of those screened.

    ``told``: at sites that report failures; ``blank``: at the others.
    """

    enrolled: np.ndarray
    failed: np.ndarray
    screened: np.ndarray
    screened_fail: np.ndarray
    enrolled_blank: np.ndarray
    screened_blank: np.ndarray


def fit_fail_share(
    history: ScreeningHistory,
    delay: np.ndarray,
    fail_delay: np.ndarray,
    *,
    rng: np.random.Generator,
) -> np.ndarray:
    """Draw the share of failures of every study.

    Parameters
    ----------
    history : ScreeningHistory
    delay, fail_delay : ndarray (R, D)
        Draws of the delays; a draw of the share goes with a delay like that of its number.
    rng : Generator

    Returns
    -------
    ndarray (R, n_studies)

    Notes
    -----
    Of A and B patients expected to have enrolled or failed in a month were all to do so, given
    those screened and the delays, the enrolled are Poisson with mean ``(1 - share) A`` and the
    failed with mean ``share B``: without bias, however many are in screening still and however
    much sooner patients fail than enrol. Where failures are blank the enrolled alone tell, with the
    smaller variance of a share.
    """
    months = _months(history)
    log_population = _population(rng)  # (P, n)
    kernels = [_kernel(step) for step in STEPS]
    fail = np.empty((len(delay), history.studies))
    slow = delay @ np.arange(delay.shape[1])
    for stratum in np.array_split(np.argsort(slow, kind="stable"), min(STRATA, len(delay))):
        each = _log_months(months, delay[stratum].mean(axis=0), fail_delay[stratum].mean(axis=0))
        log_now = np.array([_log_now(each, kernel) for kernel in kernels])  # (steps, n_studies, n)
        fail[stratum] = _draw(log_population, log_now, len(stratum), rng)
    return np.clip(fail, 1e-4, 1.0 - 1e-4)


def _months(history: ScreeningHistory) -> _Months:
    knows = history.knows_failures[:, None]
    told = np.where(knows, history.enrolled, np.nan)
    blank = np.where(knows, np.nan, history.enrolled)
    failed = np.where(knows, history.failed, np.nan)

    def counted(counts: np.ndarray) -> np.ndarray:
        return _by_study(history, np.nan_to_num(counts))

    def screened(counts: np.ndarray) -> np.ndarray:
        known = ~np.isnan(counts)[:, :, None]
        return _by_study(history, np.where(known, np.nan_to_num(history.lagged), 0.0))

    return _Months(
        enrolled=counted(told),
        failed=counted(failed),
        screened=screened(told),
        screened_fail=screened(failed),
        enrolled_blank=counted(blank),
        screened_blank=screened(blank),
    )


def _by_study(history: ScreeningHistory, values: np.ndarray) -> np.ndarray:
    sums = [values[history.study_of == study].sum(axis=0) for study in range(history.studies)]
    return np.array(sums).reshape(history.studies, *values.shape[1:])


def _log_months(months: _Months, delay: np.ndarray, fail_delay: np.ndarray) -> np.ndarray:
    """Log likelihood of every month's counts by share (n_studies, T, n)."""
    log_fails = -np.logaddexp(0.0, -LOGITS)
    log_enrols = -np.logaddexp(0.0, LOGITS)
    told = months.enrolled[:, :, None] * log_enrols + months.failed[:, :, None] * log_fails
    told -= (months.screened @ delay)[:, :, None] * np.exp(log_enrols)
    told -= (months.screened_fail @ fail_delay)[:, :, None] * np.exp(log_fails)
    expected, enrolled = months.screened_blank @ delay, months.enrolled_blank
    blank = enrolled[:, :, None] * log_enrols - expected[:, :, None] * np.exp(log_enrols)
    each: np.ndarray = told + blank / _dispersion(expected, enrolled, delay)[:, :, None]
    return each


def _dispersion(expected: np.ndarray, enrolled: np.ndarray, delay: np.ndarray) -> np.ndarray:
    """Variance of a month's enrolled over that of a Poisson (n_studies, 1).

    Each of those screened enrols in a month with a chance of at most ``(1 - share) delay``.
    """
    total = np.maximum(expected.sum(axis=1, keepdims=True), 1.0)
    enrols = np.minimum(enrolled.sum(axis=1, keepdims=True) / total, 1.0)
    smaller: np.ndarray = np.maximum(1.0 - enrols * float(delay @ delay), 0.25)
    return smaller


def _kernel(step: float) -> np.ndarray | None:
    """Chance to move between shares in a month (n, n); None: they never do."""
    if step == 0.0:
        return None
    kernel = np.exp(-0.5 * ((LOGITS[:, None] - LOGITS) / step) ** 2)
    moves: np.ndarray = kernel / kernel.sum(axis=1, keepdims=True)
    return moves


def _log_now(each: np.ndarray, kernel: np.ndarray | None) -> np.ndarray:
    """Log likelihood of all months by the share at the end (n_studies, n).

    The walk is the same both ways in time, so it is a filter that starts from nothing.
    """
    if kernel is None:
        total: np.ndarray = each.sum(axis=1)
        return total
    log = np.zeros((each.shape[0], len(LOGITS)))
    for month in range(each.shape[1]):
        log = _log_apply(log, kernel) + each[:, month]
    return log


def _log_apply(log: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    if log.size == 0:
        return log
    most = log.max(axis=1, keepdims=True)
    moved: np.ndarray = np.log(np.maximum(np.exp(log - most) @ kernel, 1e-300)) + most
    return moved


def _population(rng: np.random.Generator) -> np.ndarray:
    """What shares of studies are like: log weights over the grid of particles (P, n)."""
    mean = rng.beta(*MEAN_PRIOR, size=(PARTICLES, 1))
    strength = np.exp(rng.normal(*STRENGTH_PRIOR, size=(PARTICLES, 1)))
    log_fails, log_enrols = -np.logaddexp(0.0, -LOGITS), -np.logaddexp(0.0, LOGITS)
    log = mean * strength * log_fails + (1.0 - mean) * strength * log_enrols
    most = log.max(axis=1, keepdims=True)
    weights: np.ndarray = log - most - np.log(np.exp(log - most).sum(axis=1, keepdims=True))
    return weights


def _draw(
    log_population: np.ndarray, log_now: np.ndarray, draws: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw step and population given all studies, then every study's share (draws, n_studies)."""
    most = log_now.max(axis=2, keepdims=True) if log_now.size else log_now[:, :, :1]
    likely = np.exp(log_now - most)
    steps, studies, points = likely.shape
    chance = likely.reshape(steps * studies, points) @ np.exp(log_population).T
    each = np.log(np.maximum(chance, 1e-300)).reshape(steps, studies, len(log_population))
    log_weight = (each + most).sum(axis=1)  # (steps, P)
    picked = resample(log_weight.ravel(), draws, rng)
    step, particle = np.divmod(picked, len(log_population))
    log = log_population[particle][:, None] + log_now[step]  # (draws, n_studies, n)
    if log.size == 0:
        return np.empty(log.shape[:2])
    edges = np.cumsum(np.exp(log - log.max(axis=2, keepdims=True)), axis=2)
    at = rng.random((*log.shape[:2], 1)) * edges[:, :, -1:]
    cell = np.minimum((at > edges).sum(axis=2), len(LOGITS) - 1)
    logit = LOGITS[cell] + (rng.random(cell.shape) - 0.5) * (LOGITS[1] - LOGITS[0])
    ahead = np.array(STEPS)[step][:, None] * np.sqrt(MONTHS_AHEAD)
    logit = logit + ahead * rng.standard_normal(cell.shape)
    share: np.ndarray = 1.0 / (1.0 + np.exp(-logit))
    return share
