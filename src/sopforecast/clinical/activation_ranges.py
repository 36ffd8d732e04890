"""How good people's ranges of slips have been, and the law such a range stands for.

A range's centre may be off and its width wrong, in units of its own sd, and it may be worth no
more than the learned slip: all three are learned from opened sites that had a range.
"""

from __future__ import annotations

import numpy as np

from sopforecast.clinical.activation_law import SlipLaw, log_density, log_survival
from sopforecast.clinical.activation_record import OPENED, WAITING, ActivationRecord
from sopforecast.clinical.activation_sampler import adaptive_importance

SD_OF_80 = 2.5631
"""Width of a normal's 80% range in its sd."""
SMALLEST_SD = 3.0
"""Days: nobody knows an opening better."""
SKEW = 0.6
"""Choice: share of a stated law's sd that is exponential wait."""
PRIOR_BIAS = (0.3, 0.6)
PRIOR_LOG_SCALE = (np.log(1.3), 0.4)
PRIOR_LOGIT_WEIGHT = (1.4, 1.0)
"""Choices: ranges are a little early and too narrow (people's 80% hold about two in three), and
rule over the learned slip with a weight of about 0.8."""


def stated_law(
    low: np.ndarray | float, high: np.ndarray | float, *, bias: np.ndarray, scale: np.ndarray
) -> SlipLaw:
    """Law of a slip whose 80% range was said to be low to high, in days.

    Its mean is the middle plus ``bias`` sd, its sd ``scale`` times the range's.
    """
    sd = np.maximum((np.asarray(high) - np.asarray(low)) / SD_OF_80, SMALLEST_SD)
    wide = sd * scale
    mean = 0.5 * (np.asarray(low) + np.asarray(high)) + bias * sd
    return SlipLaw(mean - SKEW * wide, np.sqrt(1.0 - SKEW**2) * wide, SKEW * wide)


def fit_ranges(
    record: ActivationRecord,
    learned: dict[str, np.ndarray],
    *,
    draws: int,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Draw how ranges are to be read.

    Parameters
    ----------
    record : ActivationRecord
    learned : dict
        Draws of the learned law, of which the mean is taken here.
    draws : int
        R.
    rng : Generator

    Returns
    -------
    dict of str to ndarray (R,)
        ``range_bias``, ``range_scale``, ``range_weight``.
    """
    with_range = record.has_range
    known = with_range & record.is_state(OPENED) & ~np.isnan(record.slip)
    overdue = with_range & record.is_state(WAITING) & (record.elapsed > 0)
    usual = SlipLaw(*(np.array(learned[name].mean()) for name in ("centre", "spread", "wait")))
    slip, elapsed = record.slip[known] - 0.5, record.elapsed[overdue]
    base, base_left = log_density(usual, slip), log_survival(usual, elapsed)
    priors = (PRIOR_BIAS, PRIOR_LOG_SCALE, PRIOR_LOGIT_WEIGHT)

    def log_posterior(points: np.ndarray) -> np.ndarray:
        bias, scale = points[:, :1], np.exp(points[:, 1:2])
        log_weight = -np.logaddexp(0.0, -points[:, 2:3])
        log_rest = -np.logaddexp(0.0, points[:, 2:3])
        log = np.zeros(len(points))
        for column, (mean, sd) in enumerate(priors):
            log -= 0.5 * ((points[:, column] - mean) / sd) ** 2
        law = stated_law(record.low[known], record.high[known], bias=bias, scale=scale)
        log += np.logaddexp(log_weight + log_density(law, slip), log_rest + base).sum(axis=1)
        law = stated_law(record.low[overdue], record.high[overdue], bias=bias, scale=scale)
        left = np.logaddexp(log_weight + log_survival(law, elapsed), log_rest + base_left)
        return log + left.sum(axis=1)

    mean, sd = np.array(priors).T
    points, _ = adaptive_importance(log_posterior, mean, sd, draws=draws, rng=rng)
    return {
        "range_bias": points[:, 0],
        "range_scale": np.exp(points[:, 1]),
        "range_weight": 1.0 / (1.0 + np.exp(-points[:, 2])),
    }
