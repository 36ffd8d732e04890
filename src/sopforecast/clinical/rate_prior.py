"""What is believed of the rates of sites before any count is read: the hyperparameters.

Every one has a name, a normal prior on the scale it is learned on (log, logit or as it is), and is
learned from all sites of the workspace together. The priors are choices, made from what is commonly
said of trials (sites tire, some fall silent, the sites of a country have good and bad months
together); with little data they rule. ``revert`` and ``persist`` were chosen among near values by
the marginal likelihood of a real trial's months before any that the model is tested on
(experiments/enrolment_ist).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SETTLING_MONTHS = 12.0
"""Choice: the drift of a young site turns into that of an old one at this pace (e-fold)."""
GROUP_SPREAD = 0.4
"""Choice: sd of log rate between studies, and between the countries of a study."""
USUAL_RATE = 0.5
"""Choice: patients a month and site, where no rate is planned anywhere."""
KEPT_OF_PLAN = 0.7
"""Choice: what sites deliver of the rates they plan, before data say otherwise."""


@dataclass(frozen=True)
class Prior:
    """Normal prior of one hyperparameter: ``scale`` is ``as_is``, ``log`` or ``logit``."""

    name: str
    scale: str
    centre: float
    sd: float


def _log(name: str, centre: float, sd: float) -> Prior:
    return Prior(name, "log", float(np.log(centre)), sd)


def _logit(name: str, centre: float, sd: float) -> Prior:
    return Prior(name, "logit", float(np.log(centre / (1 - centre))), sd)


PRIORS: tuple[Prior, ...] = (
    Prior("level", "as_is", 0.0, 1.0),  # log rate of a usual new site, against the panel's centre
    _log("spread", 0.9, 0.3),  # sd of log rate between sites of a group when they open
    _log("walk", 0.10, 0.4),  # sd of the monthly change of a site's log rate
    _log("revert", 0.01, 0.7),  # share of the way back to its group's level, a month
    Prior("drift_young", "as_is", -0.03, 0.02),  # monthly change of the expected rate at opening
    Prior("drift_old", "as_is", -0.01, 0.01),  # and once settled
    _logit("silence", 0.015, 0.6),  # monthly risk of falling silent, at the usual rate
    Prior("silence_slope", "as_is", -0.4, 0.4),  # its log odds by log rate: small sites fall sooner
    _logit("comeback", 0.05, 0.7),  # monthly chance that a silent site counts again
    _log("uneven", 0.10, 0.6),  # variance of counts beyond Poisson: mean + uneven x mean squared
    _log("shock", 0.20, 0.4),  # sd of the log factor shared by the sites of a group
    _logit("persist", 0.93, 0.5),  # its autocorrelation from month to month
    _logit("plan_weight", 0.8, 0.8),  # how far planned rates tell sites apart
)
NAMES = tuple(prior.name for prior in PRIORS)


@dataclass(frozen=True, eq=False)
class Hyper:
    """Natural values of the hyperparameters, each (B,); named as in ``PRIORS``."""

    level: np.ndarray
    spread: np.ndarray
    walk: np.ndarray
    revert: np.ndarray
    drift_young: np.ndarray
    drift_old: np.ndarray
    silence: np.ndarray
    silence_slope: np.ndarray
    comeback: np.ndarray
    uneven: np.ndarray
    shock: np.ndarray
    persist: np.ndarray
    plan_weight: np.ndarray


def natural(standard: np.ndarray) -> Hyper:
    """Hyperparameters from prior-standardised ones (B, P): (value - centre) / sd."""
    columns = {}
    for at, prior in enumerate(PRIORS):
        value = prior.centre + prior.sd * standard[:, at]
        if prior.scale == "log":
            value = np.exp(value)
        elif prior.scale == "logit":
            value = 1 / (1 + np.exp(-value))
        columns[prior.name] = value
    return Hyper(**columns)
