"""The demo's trial: one simulated study as the tables a clinical operations person loads.

Everything in it is made up and said to be: ``SAID_OPENLY`` in the demo's words, the law itself in
``trial_law``. The tables hold what is known at the start of the month after ``last_month``.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import polars as pl

from sopforecast.core.clinical_tables import (
    ANY,
    Cohorts,
    EnrolmentPlan,
    Schedule,
    Studies,
    StudyEvents,
)
from sopforecast.core.months import add_months, month_name, months_between
from sopforecast.core.tables import Items
from sopforecast.demo.trial_law import (
    AMENDED,
    AMENDED_AFTER,
    AMENDED_CHANCE,
    COHORTS,
    LAW,
    STUDY,
    law_in_words,
)
from sopforecast.demo.trial_patients import (
    COHORT_TARGETS,
    cohort_b_month,
    draw_patients,
    enrolment_rows,
    site_rows,
)
from sopforecast.demo.trial_tiers import tier_rows
from sopforecast.errors import RequestError

KIT, SCREENING, SEEDING = "NOVA-KIT", "NOVA-SCREEN", "NOVA-SEED"
LEVELS_OF_ITEMS: Mapping[str, str] = {"family": "Clinical supply", "region": "Europe"}
KITS_A_MONTH: Mapping[str, int] = {"A": 1, "B": 2}
SEEDS_A_SITE = 6
SHORTEST_MONTHS, LONGEST_MONTHS = 12, 60
PLANNED_FOR = (4, 16)
PLAN_SHAPE = 1.3

SAID_OPENLY = (
    f"The trial {STUDY} is simulated: no patient, site or date of it is real.",
    *law_in_words()[1:],
)


def simulated_trial(*, first_month: date, last_month: date, seed: int) -> dict[str, pl.DataFrame]:
    """One simulated trial as its eight tables, the same for the same arguments.

    Parameters
    ----------
    first_month, last_month : date
        First and last month with counts, as their first days; 12 to 60 months.
    seed : int

    Returns
    -------
    dict of str to pl.DataFrame
        By table: studies, cohorts, sites, enrolment, enrolment_plan, schedule, study_events with
        the columns of their schemas, and tier_lines with every version and its ``known_at`` (UTC).

    Raises
    ------
    RequestError
        The months are too few or too many, or not first days.
    """
    count = months_between(first_month, last_month) + 1
    if first_month.day != 1 or last_month.day != 1:
        raise RequestError("the trial's months: allowed: first days of months, as 2026-11-01")
    if not SHORTEST_MONTHS <= count <= LONGEST_MONTHS:
        raise RequestError(
            f"the trial's months: found {count}; allowed: {SHORTEST_MONTHS} to {LONGEST_MONTHS}"
        )
    sites = site_rows(first_month=first_month, last_month=last_month, seed=seed)
    patients = draw_patients(sites, first_month=first_month, count=count, seed=seed)
    return {
        "studies": _studies(first_month, count),
        "cohorts": _cohorts(first_month, count),
        "sites": sites,
        "enrolment": enrolment_rows(patients, sites, first_month=first_month, count=count),
        "enrolment_plan": _plan(first_month, count),
        "schedule": _schedule(),
        "study_events": _events(last_month),
        "tier_lines": tier_rows(patients, first_month=first_month, count=count, seed=seed),
    }


def trial_items(levels: Mapping[str, str] = LEVELS_OF_ITEMS) -> pl.DataFrame:
    """The three items the trial uses: ``Items`` rows and one column a level, as given."""
    rows = (
        (KIT, f"Drug kit, {STUDY} (simulated trial)", "kits", 75.0, 12.0),
        (SCREENING, f"Screening kit, {STUDY} (simulated trial)", "kits", 30.0, 7.0),
        (SEEDING, f"Seeding kit of a new site, {STUDY} (simulated trial)", "kits", 60.0, 10.0),
    )
    names = ("unique_id", "description", "unit", "lead_time_days", "lead_time_sd_days")
    more = {"status": "active", "plan_unit": "units", "plan_factor": 1.0}
    frame = pl.DataFrame(
        [dict(zip(names, row, strict=True)) | more for row in rows],
        schema={name: column.dtype for name, column in Items.columns().items()},
    )
    return frame.with_columns(pl.lit(value).alias(name) for name, value in levels.items())


def _studies(first_month: date, count: int) -> pl.DataFrame:
    end = add_months(first_month, count + PLANNED_FOR[1] - 1)
    row = {
        "study": STUDY, "target_enrolment": float(LAW.target),
        "first_patient_date": first_month.replace(day=20),
        "last_patient_date": end.replace(day=28), "status": "active",
        "owner": "Clinical operations",
    }  # fmt: skip
    return pl.DataFrame(
        [row], schema={name: column.dtype for name, column in Studies.columns().items()}
    )


def _cohorts(first_month: date, count: int) -> pl.DataFrame:
    opens = (first_month, add_months(first_month, cohort_b_month(count)))
    shares = ((0.45, 0.65), (0.35, 0.55))
    rows = [
        {"study": STUDY, "cohort": cohort, "target_enrolment": float(COHORT_TARGETS[cohort]),
         "opens_date": day, "share_low": low, "share_high": high}
        for cohort, day, (low, high) in zip(COHORTS, opens, shares, strict=True)
    ]  # fmt: skip
    return pl.DataFrame(
        rows, schema={name: column.dtype for name, column in Cohorts.columns().items()}
    )


def _plan(first_month: date, count: int) -> pl.DataFrame:
    """The first plan and a later one that ends a year later; versions sort by their month."""
    rows = []
    for written, beyond in zip((0, int(0.6 * count)), PLANNED_FOR, strict=True):
        length = count + beyond
        reached = [round(LAW.target * (m / length) ** PLAN_SHAPE) for m in range(length + 1)]
        rows += [
            {"study": STUDY, "site": ANY, "cohort": ANY, "ds": add_months(first_month, month),
             "version": month_name(add_months(first_month, written)),
             "enrolled": float(reached[month + 1] - reached[month])}
            for month in range(length)
        ]  # fmt: skip
    return pl.DataFrame(
        rows, schema={name: column.dtype for name, column in EnrolmentPlan.columns().items()}
    )


def _schedule() -> pl.DataFrame:
    """Two protocol versions; version 2 hands out the first two months' drug kits at once."""
    uses: list[tuple[object, ...]] = [
        ("v1", cohort, "enrolled", month, KIT, float(kits), 10.0)
        for cohort, kits in KITS_A_MONTH.items()
        for month in range(LAW.treatment_months)
    ]
    uses += [
        ("v2", cohort, "enrolled", month, KIT, kits * (2.0 if month == 0 else 1.0), 10.0)
        for cohort, kits in KITS_A_MONTH.items()
        for month in range(LAW.treatment_months)
        if month != 1
    ]
    for version in ("v1", "v2"):
        uses.append((version, ANY, "screened", 0, SCREENING, 1.0, 5.0))
        uses.append((version, ANY, "site_activated", 0, SEEDING, float(SEEDS_A_SITE), None))
    names = ("protocol_version", "cohort", "per", "month_offset", "unique_id", "quantity",
             "overage_percent")  # fmt: skip
    rows = [{"study": STUDY, "country": ANY} | dict(zip(names, use, strict=True)) for use in uses]
    dtypes = {name: column.dtype for name, column in Schedule.columns().items()}
    return pl.DataFrame(rows, schema=dtypes).sort(Schedule.primary_key())


def _events(last_month: date) -> pl.DataFrame:
    rows = [
        {"event_id": "AMD-2", "study": STUDY, "date": add_months(last_month, AMENDED_AFTER),
         "kind": "amendment", "acts_on": "screening", "low": AMENDED[0], "high": AMENDED[1],
         "probability": AMENDED_CHANCE,
         "note": "Simulated: entry criteria widened, approval pending"},
        {"event_id": "AMD-3", "study": STUDY, "date": add_months(last_month, 5),
         "kind": "amendment", "acts_on": "schedule", "probability": 1.0,
         "protocol_version": "v2", "applies_to": "new",
         "note": "Simulated: kits of the first two months handed out at once"},
    ]  # fmt: skip
    dtypes = {name: column.dtype for name, column in StudyEvents.columns().items()}
    return pl.DataFrame(rows, schema=dtypes)
