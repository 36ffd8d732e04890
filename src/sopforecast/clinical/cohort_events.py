"""Events on the screening or enrolment of one cohort: what they do to a site and to the split.

The flow of patients is split by cohort, thinned or swelled there, and put together again: the whole
is multiplied by the mean of the factors over the cohorts of a patient, and the split leans towards
the cohorts with the larger factor. Exact for a Poisson flow.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sopforecast.clinical.cohorts import month_weights, sample_shares, study_cohorts
from sopforecast.clinical.inputs import ClinicalInputs
from sopforecast.clinical.panel import SitePanel

FLOWS = ("screening", "enrolment")


@dataclass(frozen=True, eq=False)
class CohortFactor:
    """Multiplier float32 (S, H) of the screening or enrolment of a cohort; site None: at all."""

    study: str
    cohort: str
    site: str | None
    acts_on: str
    factor: np.ndarray


def cohort_tilt(
    factors: tuple[CohortFactor, ...], names: tuple[str, ...], study: str, site: str, acts_on: str
) -> np.ndarray | None:
    """Multiplier of each cohort (S, C, H) at a site, float32; None: no such event."""
    tilt: np.ndarray | None = None
    for event in factors:
        if (event.study, event.acts_on) != (study, acts_on) or event.site not in (None, site):
            continue
        if event.cohort not in names:
            continue
        if tilt is None:
            paths, horizon = event.factor.shape
            tilt = np.ones((paths, len(names), horizon), dtype=np.float32)
        tilt[:, names.index(event.cohort)] *= event.factor
    return tilt


def cohort_ratios(
    factors: tuple[CohortFactor, ...],
    inputs: ClinicalInputs,
    panel: SitePanel,
    *,
    paths: int,
    horizon: int,
    seed: int,
) -> Iterator[tuple[int, str, np.ndarray]]:
    """Give what events on cohorts do to all patients of a site: (site row, flow, float32 (S, H)).

    Notes
    -----
    With chances w of the cohorts of a patient, those who come are multiplied by sum(w screening),
    those who enrol by sum(w screening enrolment) over that. A cohort that was full before the cycle
    has no patients to change; one that fills up later is counted until the end.
    """
    for study in sorted({factor.study for factor in factors}):
        cohorts = study_cohorts(inputs, panel, study, horizon=horizon)
        shares = sample_shares(cohorts, study, inputs.cycle, paths=paths, seed=seed)
        weights = month_weights(shares, cohorts.open_share)
        for g, (owner, site) in enumerate(panel.sites):
            here = weights
            for acts_on in FLOWS if owner == study else ():
                tilt = cohort_tilt(factors, cohorts.names, study, site, acts_on)
                if tilt is None:
                    continue
                tilted = here * tilt
                base, total = here.sum(axis=1), tilted.sum(axis=1)
                yield g, acts_on, np.divide(total, base, out=np.ones_like(total), where=base > 0)
                here = tilted
