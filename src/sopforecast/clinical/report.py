"""Everything a review is told of one study: sentences, assumptions, status, dates, its sites.

Puts together what the other modules answer, all of it asked of the same sampled paths.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import polars as pl

from sopforecast.clinical.assumptions import Assumption, assumptions
from sopforecast.clinical.branches import Branch, branch, default_branches, parse_condition
from sopforecast.clinical.clinic import Clinic
from sopforecast.clinical.confirm import confirm_dates, confirm_sentences
from sopforecast.clinical.evidence import Evidence, Learned, count_evidence, silent_sites
from sopforecast.clinical.forecasts import spread
from sopforecast.clinical.inputs import ClinicalInputs
from sopforecast.clinical.panel import SitePanel
from sopforecast.clinical.sentences import StudySentences, default_by, study_sentences
from sopforecast.clinical.targets import PlanStatus, plan_status
from sopforecast.core.clinical_tables import ANY
from sopforecast.errors import RequestError

MONTHS_SHOWN = 3
SITE_COLUMNS = {
    "site": pl.String,
    "country": pl.String,
    "state": pl.String,
    "enrolled": pl.Float64,
    "p10": pl.Float64,
    "p90": pl.Float64,
}


@dataclass(frozen=True, eq=False)
class StudyReport:
    """What is told of a study.

    Attributes
    ----------
    study : str
    by : date
        Month of the headline.
    sentences : StudySentences
    branches : tuple of Branch
        As asked, or the default ones.
    status : PlanStatus or None
        None where nothing is planned.
    assumptions : tuple of Assumption
    confirm : tuple of str
        By when enrolment must be confirmed.
    sites : pl.DataFrame
        ``SITE_COLUMNS``: enrolled so far, and the 80% range of the next three months.
    """

    study: str
    by: date
    sentences: StudySentences
    branches: tuple[Branch, ...]
    status: PlanStatus | None
    assumptions: tuple[Assumption, ...]
    confirm: tuple[str, ...]
    sites: pl.DataFrame


def study_report(
    clinic: Clinic,
    inputs: ClinicalInputs,
    study: str,
    *,
    items: pl.DataFrame,
    today: date,
    by: date | None = None,
    condition: str | None = None,
    green: float,
    yellow: float,
    service_level: float,
) -> StudyReport:
    """Answer what a review asks of one study.

    Parameters
    ----------
    clinic : Clinic
    inputs : ClinicalInputs
    study : str
    items : pl.DataFrame
        ``Items``: lead times, for confirm-by dates.
    today : date
    by : date, optional
        Month of the headline; six months after the cycle.
    condition : str, optional
        A branch to ask for, see `branches.parse_condition`; the default ones when left out.
    green, yellow, service_level : float

    Raises
    ------
    RequestError
        No such study, a month outside the horizon, a condition that cannot be read.
    """
    trials = clinic.future.trials
    if study not in trials:
        if study in inputs.studies["study"].to_list():
            raise RequestError(
                f"study {study} has no sites: load its sites, open or planned; then ask again"
            )
        known = ", ".join(trials) or "none is loaded"
        raise RequestError(f"study: found {study!r}; allowed: {known}")
    trial = trials[study]
    asked_by = default_by(trial) if by is None else by.replace(day=1)
    if condition is None:
        conditions = default_branches(trial, inputs, by=asked_by)
    else:
        conditions = (parse_condition(condition, trial),)
    evidence = evidence_of(clinic, inputs, study)
    sentences = study_sentences(
        trial, inputs=inputs, evidence=evidence, by=asked_by, branches=conditions,
        green=green, yellow=yellow,
    )  # fmt: skip
    dates = confirm_dates(
        inputs, items, clinic.scheduled, cycle=inputs.cycle,
        service_level=service_level, today=today,
    )  # fmt: skip
    return StudyReport(
        study=study,
        by=asked_by,
        sentences=sentences,
        branches=tuple(branch(trial, one, by=asked_by, new=True) for one in conditions),
        status=plan_status(trial, inputs, by=asked_by, green=green, yellow=yellow),
        assumptions=assumptions(study, inputs, evidence),
        confirm=confirm_sentences(dates.filter(pl.col("study") == study)),
        sites=_sites(clinic, inputs, study),
    )


def evidence_of(clinic: Clinic, inputs: ClinicalInputs, study: str) -> Evidence:
    """Counts of a study, and beside them what the paths are made with."""
    counts = count_evidence(inputs, study)
    learned = clinic.learned
    at = learned.funnel.studies.index(study) if study in learned.funnel.studies else None
    by_tier = clinic.tier_conversion.filter(
        pl.col("scope") == "study", pl.col("name") == study, pl.col("owner") == ANY
    )
    dropout = learned.dropout
    risk = dropout.studies.index(study) if study in dropout.studies else None
    if risk is not None:
        counts = replace(
            counts,
            patient_months=float(dropout.months_at_risk[risk]),
            dropped_out=float(dropout.dropped_out[risk]),
        )
    return replace(
        counts,
        slip_days=_slip(clinic, study) if counts.sites_waiting else None,
        patients_a_month=_patients_a_month(clinic, study),
        screen_failure=None if at is None else _learned(learned.funnel.fail[:, at]),
        dropout_a_month=None if risk is None else _learned(dropout.hazard[:, risk]),
        conversion={
            row["tier"]: Learned(row["p10"], row["p50"], row["p90"])
            for row in by_tier.iter_rows(named=True)
            if row["lines"]
        },
    )


def _slip(clinic: Clinic, study: str) -> Learned | None:
    fit = clinic.learned.activation
    if study not in fit.studies:
        return None
    low, middle, high = fit.slip[fit.studies.index(study)].tolist()
    return Learned(low, middle, high)


def _patients_a_month(clinic: Clinic, study: str) -> Learned | None:
    """Of a site open at the cycle, over the months just ahead."""
    trial = clinic.future.trials[study]
    panel = clinic.learned.panel
    month = {name: k for k, name in enumerate(panel.sites)}
    alive = np.array(
        [
            panel.opened[month[study, site]] >= 0
            and panel.closed[month[study, site]] == len(panel.months)
            for site in trial.sites
        ],
        dtype=bool,
    )
    if not alive.any():
        return None
    ahead = trial.enrolled[:, alive, :, :MONTHS_SHOWN].sum(axis=(1, 2, 3), dtype=np.int64)
    return _learned(ahead / alive.sum() / min(MONTHS_SHOWN, trial.enrolled.shape[3]))


def _learned(values: np.ndarray) -> Learned:
    low, middle, high = np.quantile(values, [0.1, 0.5, 0.9]).tolist()
    return Learned(low, middle, high)


def _sites(clinic: Clinic, inputs: ClinicalInputs, study: str) -> pl.DataFrame:
    """The sites of a study, as they stand and for the next three months."""
    trial, panel = clinic.future.trials[study], clinic.learned.panel
    row_of = {name: k for k, name in enumerate(panel.sites)}
    ahead = trial.enrolled[..., :MONTHS_SHOWN].sum(axis=(2, 3), dtype=np.int64)
    silent = silent_sites(inputs, study)
    own = inputs.sites.filter(pl.col("study") == study, pl.col("activated_date").is_not_null())
    dated = set(own["site"].to_list())
    rows = []
    for k, site in enumerate(trial.sites):
        g = row_of[study, site]
        state = _state(panel, g, is_silent=site in silent)
        if state == "planned" and site in dated:
            state = "open"
        shown = None if state == "closed" else spread(ahead[:, k])
        rows.append(
            {
                "site": site,
                "country": trial.countries[k],
                "state": state,
                "enrolled": float(trial.enrolled_before[k].sum()),
                "p10": None if shown is None else float(shown.low),
                "p90": None if shown is None else float(shown.high),
            }
        )
    return pl.DataFrame(rows, schema=SITE_COLUMNS)


def _state(panel: SitePanel, g: int, *, is_silent: bool) -> str:
    if panel.closed[g] < len(panel.months):
        return "closed"
    if panel.opened[g] < 0:
        return "planned"
    return "silent" if is_silent else "open"
