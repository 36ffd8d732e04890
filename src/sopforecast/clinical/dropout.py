"""How fast enrolled patients leave a study, learned over all studies together.

Reads ``enrolment``. A patient drops out at a hazard of so much a month, whatever the time in the
study. Hierarchical: a study's hazard is gamma distributed over studies, so the dropouts reported
are negative binomial (Poisson-gamma; as Anisimov and Fedorov, 2007, Statistics in Medicine 26,
4958, have it for recruitment), and few data are pulled towards what the other studies show.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sopforecast.clinical.active import expected_active, last_offsets, patient_months
from sopforecast.clinical.inputs import ClinicalInputs
from sopforecast.clinical.words import counted, decimal
from sopforecast.core.draws import series_rng

POSTERIOR_DRAWS = 200
PRIOR_MEAN = 0.015
"""Dropout a month before any data (a choice): 1.5%, 80% between about 0.4% and 3%."""
_PRIOR_LOG_SD = 0.8
_PRIOR_SHAPE = 2.0  # of the gamma over studies: they differ by about 70%; log sd 1
_MEANS, _SHAPES = 121, 41
_REACH = 4.0  # sds of the prior the grid covers


@dataclass(frozen=True, eq=False)
class Dropout:
    """Dropout hazard of every study, as R posterior draws, and what it was learned from.

    Attributes
    ----------
    studies : tuple of str, length n
        Those of ``studies`` and of ``enrolment``, sorted.
    hazard : ndarray (R, n)
        A patient-month; a patient stays a month with probability exp(-hazard).
    months_at_risk, dropped_out : ndarray (n,)
        Patient-months at risk and dropouts, of site-months that report dropouts.
    not_reported : ndarray of int (n,)
        Site-months (by cohort) with a row but no count of dropouts.
    notes : tuple of str
        For a reader, one sentence a study.
    """

    studies: tuple[str, ...]
    hazard: np.ndarray
    months_at_risk: np.ndarray
    dropped_out: np.ndarray
    not_reported: np.ndarray
    notes: tuple[str, ...]

    def parameters(self) -> dict[str, np.ndarray]:
        """Give the posterior draws that `rebuild_dropout` needs beside the inputs."""
        return {"hazard": self.hazard}

    def of(self, study: str, paths: int) -> np.ndarray:
        """Give the hazard of a study in each path (S,): path s takes draw s mod R."""
        draws = self.hazard[:, self.studies.index(study)]
        return draws[np.arange(paths) % len(draws)]


def fit_dropout(inputs: ClinicalInputs, *, seed: int) -> Dropout:
    """Learn the dropout hazard of every study.

    Parameters
    ----------
    inputs : ClinicalInputs
        A blank ``dropped_out`` is not reported: that site-month is no evidence.
    seed : int
        The run's seed.

    Returns
    -------
    Dropout
        With ``POSTERIOR_DRAWS`` draws; a study without data has the draws of a new study.

    Notes
    -----
    d_j ~ Poisson(h_j E_j), h_j ~ Gamma(k, k / m); priors (choices) log m ~ Normal with mean of m
    ``PRIOR_MEAN``, log k ~ Normal(log 2, 1). The posterior of (m, k) is summed over a grid, h_j
    given them is Gamma(k + d_j, k / m + E_j). E_j: patients enrolled and neither dropped out nor
    completed, half a month for those that come or go in the month. Where completions are never
    reported, patients leave a month after the last dose of the schedule. In months without a count
    of dropouts patients are taken to leave at ``PRIOR_MEAN`` when E_j of later months is counted.
    """
    studies, at_risk, dropped, silent = _evidence(inputs)
    rng = series_rng(seed, "dropout")
    mean, shape = _population(at_risk, dropped, rng)
    hazard = np.empty((POSTERIOR_DRAWS, len(studies)))
    for j, study in enumerate(studies):
        own = series_rng(seed, "dropout", study)
        draws = own.standard_gamma(shape + dropped[j])
        hazard[:, j] = draws / (shape / mean + at_risk[j])
    return _put_together(studies, hazard, at_risk, dropped, silent)


def rebuild_dropout(parameters: Mapping[str, np.ndarray], inputs: ClinicalInputs) -> Dropout:
    """Put a stored fit together again, with what `Dropout.parameters` gave and the same inputs.

    Raises
    ------
    ValueError
        When the draws are of another number of studies.
    """
    studies, at_risk, dropped, silent = _evidence(inputs)
    hazard = np.asarray(parameters["hazard"], dtype=np.float64)
    hazard = hazard.reshape(len(hazard), -1)
    if hazard.shape[1] != len(studies):
        raise ValueError(f"hazard: draws of {hazard.shape[1]} studies; expected {len(studies)}")
    return _put_together(studies, hazard, at_risk, dropped, silent)


def _evidence(
    inputs: ClinicalInputs,
) -> tuple[tuple[str, ...], np.ndarray, np.ndarray, np.ndarray]:
    """Studies, and by study: patient-months at risk, dropouts, site-months not reported."""
    names = {*inputs.studies["study"].to_list(), *inputs.enrolment["study"].to_list()}
    studies = tuple(sorted(names))
    months = patient_months(inputs)
    offsets = last_offsets(inputs)
    # One dose says nothing of how long patients are followed.
    stay = np.array([offsets.get(study) or np.inf for study, _, _ in months.keys])
    _, at_risk = expected_active(months, stay=stay, hazard=PRIOR_MEAN)
    known = np.isfinite(months.dropped_out)
    study_of = np.array([studies.index(study) for study, _, _ in months.keys], dtype=np.int64)
    risk_by_row = np.where(known, at_risk, 0.0).sum(axis=1)
    dropped_by_row = np.nan_to_num(months.dropped_out).sum(axis=1)
    blank = inputs.enrolment.filter(inputs.enrolment["dropped_out"].is_null())
    silent = np.array([(blank["study"] == study).sum() for study in studies], dtype=np.int64)
    count = len(studies)
    return (
        studies,
        np.bincount(study_of, risk_by_row, minlength=count),
        np.bincount(study_of, dropped_by_row, minlength=count),
        silent,
    )


def _population(
    at_risk: np.ndarray, dropped: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw mean and shape of the gamma over studies from their posterior on a grid (R,), (R,)."""
    reach_mean = np.linspace(-_REACH, _REACH, _MEANS)
    reach_shape = np.linspace(-_REACH, _REACH, _SHAPES)
    means = PRIOR_MEAN * np.exp(_PRIOR_LOG_SD * (reach_mean - _PRIOR_LOG_SD / 2))
    shapes = _PRIOR_SHAPE * np.exp(reach_shape)
    log = -0.5 * (reach_mean[:, None] ** 2 + reach_shape[None, :] ** 2)
    scale = shapes[None, :] / means[:, None]
    for risk, count in zip(at_risk, dropped, strict=True):
        if risk <= 0:
            continue
        risen = np.array([math.lgamma(k + count) - math.lgamma(k) for k in shapes])
        log += risen + shapes * np.log(scale / (scale + risk)) - count * np.log(scale + risk)
    weight = np.exp(log - log.max()).ravel()
    upto = np.cumsum(weight) / weight.sum()
    chosen = np.searchsorted(upto, rng.random(POSTERIOR_DRAWS)).clip(max=weight.size - 1)
    rows, columns = np.unravel_index(chosen, log.shape)
    return means[rows], shapes[columns]


def _put_together(
    studies: tuple[str, ...],
    hazard: np.ndarray,
    at_risk: np.ndarray,
    dropped: np.ndarray,
    silent: np.ndarray,
) -> Dropout:
    notes = tuple(
        _note(study, hazard[:, j], at_risk[j], dropped[j], int(silent[j]))
        for j, study in enumerate(studies)
    )
    return Dropout(studies, hazard, at_risk, dropped, silent, notes)


def _note(study: str, hazard: np.ndarray, at_risk: float, dropped: float, silent: int) -> str:
    low, middle, high = (f"{100 * value:.1f}%" for value in np.quantile(hazard, (0.1, 0.5, 0.9)))
    if at_risk > 0:
        basis = f"{counted(dropped, 'dropout')} in {decimal(at_risk)} patient-months"
    else:
        basis = "no dropouts reported: what studies usually lose, nothing of its own"
    blank = f"; {counted(silent, 'row')} without a count of dropouts left out" if silent else ""
    return f"Study {study}: dropout {middle} a month (80%: {low} to {high}), {basis}{blank}."
