"""Sites that open late and tire, and the patients they screen and enrol, drawn from the law."""

from __future__ import annotations

from calendar import monthrange
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise

import numpy as np
import polars as pl

from sopforecast.core.clinical_tables import Enrolment, Sites
from sopforecast.core.draws import series_rng
from sopforecast.core.months import add_months, months_between
from sopforecast.demo.trial_law import (
    CLOSED,
    COHORTS,
    LAW,
    OPEN,
    PLANNED,
    SILENT,
    SITES,
    SLIP_FLOOR_DAYS,
    STUDY,
    TrialSite,
    month_shocks,
    true_sites,
)

COHORT_TARGETS = {"A": 110, "B": 90}
_STATUS = {OPEN: "active", SILENT: "active", CLOSED: "closed", PLANNED: "planned"}
BRANCH_SITES = ("S7", "S9")
UNREPORTED = 5  # the last month but four
# Of sites not open yet: months after the last one and day of the planned opening, 80% range of the
# slip in days, probability of opening at all.
_TO_COME = {
    "S7": (2, 1, 5.0, 55.0, 0.9),
    "S9": (3, 1, 5.0, 55.0, 0.85),
    "S13": (8, 1, None, None, 0.7),
}


@dataclass(frozen=True)
class Patient:
    """One screened patient; months count from the first one of the trial.

    ``decided`` is the month in which screening ends, in enrolment or, when ``failed``, not.
    ``left`` is the month of dropping out, None for who stays.
    """

    site: str
    cohort: str
    screened: int
    decided: int
    failed: bool
    left: int | None


def site_rows(*, first_month: date, last_month: date, seed: int) -> pl.DataFrame:
    """The ``Sites`` rows of the trial: opened ones with their slip, planned ones with a range."""
    count = months_between(first_month, last_month) + 1
    rows = []
    for one in SITES:
        row = {"study": STUDY, "site": one.site, "country": one.country,
               "status": _STATUS[one.state],
               "planned_rate": one.size * LAW.rate_mean,
               "owner": f"Site team {one.country}"}  # fmt: skip
        if one.state == PLANNED:
            ahead, day, low, high, probability = _TO_COME[one.site]
            rows.append(row | {
                "planned_activation_date": add_months(last_month, ahead).replace(day=day),
                "slip_days_low": low, "slip_days_high": high,
                "activation_probability": probability, "capacity": 5.0,
            })  # fmt: skip
            continue
        rng = series_rng(seed, "demo", "trial", "slip", one.site)
        planned = _day_at(first_month, one.place * count)
        slip = max(SLIP_FLOOR_DAYS, round(rng.normal(LAW.slip_mean_days, LAW.slip_sd_days)))
        opened = min(max(planned + timedelta(days=slip), first_month), last_month)
        closed = _day_at(first_month, LAW.closed_from * count) if one.state == CLOSED else None
        rows.append(row | {"planned_activation_date": planned, "activated_date": opened,
                           "closed_date": closed})  # fmt: skip
    dtypes = {name: column.dtype for name, column in Sites.columns().items()}
    return pl.DataFrame(rows, schema=dtypes)


def draw_patients(
    sites: pl.DataFrame, *, first_month: date, count: int, seed: int
) -> list[Patient]:
    """Every patient screened in ``count`` months, in the order of enrolment, up to the targets."""
    truth = {row["site"]: row for row in true_sites(seed=seed).to_dicts()}
    dates = {row["site"]: row for row in sites.to_dicts()}
    shocks = month_shocks(count, seed=seed)
    drawn: list[Patient] = []
    for one in SITES:
        if one.state != PLANNED:
            share = _open_share(dates[one.site], first_month=first_month, count=count)
            drawn += _of_site(one, truth[one.site], share, shocks, seed=seed)
    return _stopped(sorted(drawn, key=lambda patient: patient.decided))


def enrolment_rows(
    patients: Sequence[Patient], sites: pl.DataFrame, *, first_month: date, count: int
) -> pl.DataFrame:
    """The ``Enrolment`` rows: one a site, cohort and month in which both are open.

    S5 did not report one month of its silence: nothing is known of it, which is not zero.
    """
    tallies = _tallies(patients)
    reports = {one.site: one.reports_screening for one in SITES}
    silent = {one.site for one in SITES if one.state == SILENT}
    b_opens = cohort_b_month(count)
    rows = []
    for site in sites.filter(pl.col("activated_date").is_not_null()).to_dicts():
        share = _open_share(site, first_month=first_month, count=count)
        for month in np.flatnonzero(share).tolist():
            for cohort in COHORTS[: 1 if month < b_opens else 2]:
                unknown = site["site"] in silent and month == count - UNREPORTED
                row = {name: None if unknown else tallies[name][site["site"], cohort, month]
                       for name in tallies}  # fmt: skip
                if not reports[site["site"]]:
                    row |= {"screened": None, "screen_failed": None}
                rows.append({"study": STUDY, "site": site["site"], "cohort": cohort,
                             "ds": add_months(first_month, month)} | row)  # fmt: skip
    dtypes = {name: column.dtype for name, column in Enrolment.columns().items()}
    return pl.DataFrame(rows, schema=dtypes).sort("study", "site", "cohort", "ds")


def cohort_b_month(count: int) -> int:
    """Month in which cohort B opens, counted from the first one."""
    return round(LAW.cohort_b_from * count)


def _of_site(
    one: TrialSite, truth: dict[str, float], share: np.ndarray, shocks: np.ndarray, *, seed: int
) -> list[Patient]:
    """Patients of one site; ``share`` (T,) is the share of each month in which it is open."""
    rng = series_rng(seed, "demo", "trial", "patients", one.site)
    months = np.flatnonzero(share)
    age = np.arange(len(share)) - months[0]
    expected = truth["rate"] / (1 - truth["fail_share"]) * share * shocks
    expected *= np.exp(-np.maximum(age, 0) / LAW.decay_months)
    if one.state == SILENT:
        expected[round(LAW.silent_from * len(share)) :] = 0.0
    last = int(months[-1]) if one.state == CLOSED else len(share) + len(LAW.delay)
    patients = []
    for month, screened in enumerate(rng.poisson(expected).tolist()):
        for _ in range(screened):
            is_b = month >= cohort_b_month(len(share)) and rng.random() < LAW.cohort_b_share
            failed = bool(rng.random() < truth["fail_share"])
            delay = int(rng.choice(len(LAW.delay), p=LAW.delay))
            decided = min(month + delay, last)
            stays = int(rng.geometric(LAW.dropout))
            left = decided + stays if stays < LAW.treatment_months else None
            patients.append(Patient(one.site, COHORTS[is_b], month, decided, failed, left))
    return patients


def _stopped(patients: list[Patient]) -> list[Patient]:
    """Leave out who would be enrolled beyond a target, and who is screened after the study's."""
    kept, enrolled = [], Counter[str]()
    full: int | None = None
    for patient in patients:
        if full is not None and patient.screened > full:
            continue
        if not patient.failed:
            if full is not None or enrolled[patient.cohort] >= COHORT_TARGETS[patient.cohort]:
                continue
            enrolled[patient.cohort] += 1
            full = patient.decided if enrolled.total() >= LAW.target else None
        kept.append(patient)
    return kept


def _tallies(patients: Sequence[Patient]) -> dict[str, Counter[tuple[str, str, int]]]:
    """Patients by (site, cohort, month) for every count of ``Enrolment``."""
    names = ("screened", "screen_failed", "enrolled", "dropped_out", "completed")
    tallies = {name: Counter[tuple[str, str, int]]() for name in names}
    for one in patients:
        tallies["screened"][one.site, one.cohort, one.screened] += 1
        if one.failed:
            tallies["screen_failed"][one.site, one.cohort, one.decided] += 1
            continue
        tallies["enrolled"][one.site, one.cohort, one.decided] += 1
        if one.left is not None:
            tallies["dropped_out"][one.site, one.cohort, one.left] += 1
        else:
            tallies["completed"][one.site, one.cohort, one.decided + LAW.treatment_months] += 1
    return tallies


def _open_share(site: dict[str, date | None], *, first_month: date, count: int) -> np.ndarray:
    """Share of each month (count,) in which a site is open."""
    starts = [add_months(first_month, month) for month in range(count + 1)]
    opened, closed = site["activated_date"], site["closed_date"]
    if opened is None:
        return np.zeros(count)
    shares = []
    for start, end in pairwise(starts):
        until = end if closed is None else min(end, closed)
        shares.append(max(0, (until - max(start, opened)).days) / (end - start).days)
    return np.array(shares)


def _day_at(first_month: date, months: float) -> date:
    """The day that many months after the first one's first day, parts of a month as its days."""
    month = add_months(first_month, int(months))
    days = monthrange(month.year, month.month)[1]
    return month.replace(day=1 + int((months % 1) * days))
