"""The clinic of a closed month scored: stored enrolment forecasts of it, and site openings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

import polars as pl

from sopforecast.clinical.inputs import ClinicalInputs
from sopforecast.clinical.reported import planned_in, reported_in
from sopforecast.core.learning_tables import empty
from sopforecast.core.months import month_end
from sopforecast.core.score_tables import EnrolmentScores, SiteActivation
from sopforecast.learning.enrolment import score_enrolment, site_activation
from sopforecast.planning_store.clinic_outputs import read_enrolment_of
from sopforecast.planning_store.store import Store


@dataclass(frozen=True, eq=False)
class ClinicScored:
    """What a close says of the clinic.

    Attributes
    ----------
    scores : pl.DataFrame
        ``EnrolmentScores`` without ``fit_id``; no rows when nothing is newly known.
    activation : pl.DataFrame
        ``SiteActivation`` without ``fit_id``.
    waiting : tuple of str
        ``study / site`` of open sites that have not reported; totals above them wait.
    notes : tuple of str
    """

    scores: pl.DataFrame
    activation: pl.DataFrame
    waiting: tuple[str, ...]
    notes: tuple[str, ...]


def score_clinic(
    store: Store,
    month: date,
    *,
    known_by: datetime,
    clinical: ClinicalInputs,
    run_ids: Mapping[date, str],
    earlier: pl.DataFrame,
) -> ClinicScored:
    """Score what the runs that count said of a month's enrolment.

    Parameters
    ----------
    store : Store
    month : date
        The month closed.
    known_by : datetime
        By when the inputs were known; a month that was not over by then is not scored.
    clinical : ClinicalInputs
        As known by then, of the cycle after the month.
    run_ids : mapping of date to str
        Cycle to the run that counts; cycles after the month are left aside.
    earlier : pl.DataFrame
        ``EnrolmentScores`` of earlier closes of this month, the newest close last.
    """
    if clinical.is_empty or known_by.date() <= month_end(month):
        nothing = (
            empty(EnrolmentScores, without="fit_id"),
            empty(SiteActivation, without="fit_id"),
        )
        return ClinicScored(*nothing, waiting=(), notes=())
    made = [run_id for cycle, run_id in sorted(run_ids.items()) if cycle <= month]
    forecasts = read_enrolment_of(store, made, month)
    asked = set(forecasts["study"])
    reported = reported_in(clinical, month)
    keys = {"study": pl.String, "site": pl.String}
    undated = pl.DataFrame(list(reported.undated), schema=keys, orient="row")
    dated = clinical.sites.join(undated, on=list(keys), how="anti")
    return ClinicScored(
        scores=score_enrolment(
            forecasts, reported.actuals, planned_in(clinical, month), earlier=earlier
        ),
        activation=site_activation(dated, closed=month),
        waiting=tuple(f"{study} / {site}" for study, site in reported.waiting if study in asked),
        notes=(*reported.notes, *_undated(reported.undated)),
    )


def _undated(sites: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    """What must be loaded before the openings of these sites can be told."""
    return tuple(
        f"Site {site} of {study} counted patients but has no activated_date: how late it opened is "
        "not known; load the day."
        for study, site in sites
    )
