"""The tables of clinical demand, each declared once: studies, sites, patients, tiers, protocol.

Inputs are what a clinical operations person loads; ``EnrolmentForecasts``, ``TierConversion`` and
``ClinicalParameters`` are written by a run. A blank cohort, country or site of a key is stored as
``*`` (any). Fields called ``_date`` are days, ``ds`` is a month as its first day. A rule's name is
the name that appears in reports. A null inside a rule counts as valid.
"""

from __future__ import annotations

import dataframely as dy
import polars as pl

STUDY_STATUSES = ("planned", "active", "closed")
SITE_STATUSES = ("planned", "active", "closed")
PER_TRIGGER = ("enrolled", "screened", "site_activated")
ACTS_ON = ("screening", "enrolment", "dropout", "activation", "schedule")
APPLIES_TO = ("new", "all")
TIERS = ("committed", "highly_probable", "pipeline")
OUTCOMES = ("open", "converted", "lost")
CLINICAL_LEVELS = ("study", "country", "site", "cohort")
CLINICAL_MEASURES = ("monthly", "cumulative")
ALL = "all"
ANY = "*"


def _month(*, nullable: bool = False, primary_key: bool = False) -> dy.Date:
    return dy.Date(resolution="1mo", nullable=nullable, primary_key=primary_key)


def _name(*, nullable: bool = False, primary_key: bool = False) -> dy.String:
    return dy.String(nullable=nullable, primary_key=primary_key, min_length=1, max_length=200)


def _count(*, nullable: bool = True) -> dy.Float64:
    return dy.Float64(nullable=nullable, min=0, allow_inf=False, allow_nan=False)


def _share(*, nullable: bool = True) -> dy.Float64:
    return dy.Float64(nullable=nullable, min=0, max=1)


class Studies(dy.Schema):
    """One trial. ``target_enrolment`` is where competitive enrolment stops, in patients."""

    study = _name(primary_key=True)
    target_enrolment = _count()
    first_patient_date = dy.Date(nullable=True)
    last_patient_date = dy.Date(nullable=True)
    status = dy.Enum(STUDY_STATUSES, nullable=True)
    owner = _name(nullable=True)

    @dy.rule()
    def first_before_last_patient(cls) -> pl.Expr:
        return pl.col("first_patient_date") <= pl.col("last_patient_date")


class Cohorts(dy.Schema):
    """A part of a study's patients; its share of enrolment lies between low and high (80%)."""

    study = _name(primary_key=True)
    cohort = _name(primary_key=True)
    target_enrolment = _count()
    opens_date = dy.Date(nullable=True)
    share_low = _share()
    share_high = _share()

    @dy.rule()
    def share_low_below_high(cls) -> pl.Expr:
        return pl.col("share_low") <= pl.col("share_high")


class Sites(dy.Schema):
    """One site of a study.

    It opens ``slip_days_low`` to ``slip_days_high`` (80%) after ``planned_activation_date``, with
    ``activation_probability`` at all; ``planned_rate`` and ``capacity`` are patients a month.
    """

    study = _name(primary_key=True)
    site = _name(primary_key=True)
    country = _name(nullable=True)
    planned_activation_date = dy.Date(nullable=True)
    activated_date = dy.Date(nullable=True)
    closed_date = dy.Date(nullable=True)
    slip_days_low = dy.Float64(nullable=True, allow_inf=False, allow_nan=False)
    slip_days_high = dy.Float64(nullable=True, allow_inf=False, allow_nan=False)
    activation_probability = _share()
    planned_rate = _count()
    capacity = _count()
    status = dy.Enum(SITE_STATUSES, nullable=True)
    owner = _name(nullable=True)

    @dy.rule()
    def slip_low_below_high(cls) -> pl.Expr:
        return pl.col("slip_days_low") <= pl.col("slip_days_high")

    @dy.rule()
    def activated_before_closed(cls) -> pl.Expr:
        return pl.col("activated_date") <= pl.col("closed_date")


class Enrolment(dy.Schema):
    """Patients of a site, cohort (``all``: not told apart) and month; null: not reported."""

    study = _name(primary_key=True)
    site = _name(primary_key=True)
    cohort = _name(primary_key=True)
    ds = _month(primary_key=True)
    screened = _count()
    screen_failed = _count()
    enrolled = _count()
    dropped_out = _count()
    completed = _count()


class EnrolmentPlan(dy.Schema):
    """Patients planned to enrol in a month; site or cohort ``*`` is the whole study."""

    study = _name(primary_key=True)
    site = _name(primary_key=True)
    cohort = _name(primary_key=True)
    ds = _month(primary_key=True)
    version = _name(primary_key=True)
    enrolled = _count(nullable=False)


class Schedule(dy.Schema):
    """What the protocol uses: ``quantity`` of an item ``month_offset`` months after each patient
    enrolled, patient screened or site activated. ``overage_percent`` is shipped on top and never
    scored as demand.
    """

    study = _name(primary_key=True)
    cohort = _name(primary_key=True)
    country = _name(primary_key=True)
    protocol_version = _name(primary_key=True)
    per = dy.Enum(PER_TRIGGER, primary_key=True)
    month_offset = dy.Int64(primary_key=True, min=0, max=240)
    unique_id = _name(primary_key=True)
    quantity = _count(nullable=False)
    overage_percent = _count()


class StudyEvents(dy.Schema):
    """Something dated: from then on what it ``acts_on`` is multiplied by ``low`` to ``high`` (80%).

    With ``probability`` below 1 it happens in that share of the paths. ``schedule`` events switch
    to ``protocol_version`` for ``new`` patients or ``all``.
    """

    event_id = _name(primary_key=True)
    study = _name()
    cohort = _name(nullable=True)
    site = _name(nullable=True)
    date = dy.Date()
    kind = _name(nullable=True)
    acts_on = dy.Enum(ACTS_ON)
    low = _count()
    high = _count()
    probability = _share(nullable=False)
    protocol_version = _name(nullable=True)
    applies_to = dy.Enum(APPLIES_TO, nullable=True)
    note = dy.String(nullable=True)

    @dy.rule()
    def low_below_high(cls) -> pl.Expr:
        return pl.col("low") <= pl.col("high")


class TierLines(dy.Schema):
    """A patient or deal that may come; versions of a line are kept, with the tier it had then.

    ``quantity`` is patients (study lines) or units of ``unique_id`` (account lines).
    ``probability_low`` to ``probability_high`` is somebody's 80% range: a prior, no more.
    """

    line_id = _name(primary_key=True)
    study = _name(nullable=True)
    account = _name(nullable=True)
    site = _name(nullable=True)
    cohort = _name(nullable=True)
    unique_id = _name(nullable=True)
    tier = dy.Enum(TIERS)
    quantity = _count(nullable=False)
    expected_ds = _month(nullable=True)
    probability_low = _share()
    probability_high = _share()
    owner = _name(nullable=True)
    outcome = dy.Enum(OUTCOMES)
    converted_quantity = _count()
    converted_ds = _month(nullable=True)
    lost_reason = _name(nullable=True)

    @dy.rule()
    def study_or_account(cls) -> pl.Expr:
        return pl.col("study").is_null() != pl.col("account").is_null()

    @dy.rule()
    def probability_low_below_high(cls) -> pl.Expr:
        return pl.col("probability_low") <= pl.col("probability_high")

    @dy.rule()
    def converted_has_month(cls) -> pl.Expr:
        return (pl.col("outcome") != "converted") | pl.col("converted_ds").is_not_null()

    @dy.rule()
    def account_has_item(cls) -> pl.Expr:
        return pl.col("account").is_null() | pl.col("unique_id").is_not_null()


# In the order in which the sheets of a workbook are read: each is checked against those before.
CLINICAL_TABLES: dict[str, type[dy.Schema]] = {
    "studies": Studies,
    "cohorts": Cohorts,
    "sites": Sites,
    "enrolment": Enrolment,
    "enrolment_plan": EnrolmentPlan,
    "schedule": Schedule,
    "study_events": StudyEvents,
    "tier_lines": TierLines,
}


class EnrolmentForecasts(dy.Schema):
    """Patients of a study, country, site or cohort: in a month, or from the first patient on.

    ``node`` is the study, or the country, site or cohort inside it. ``cumulative`` counts those
    enrolled before the cycle too.
    """

    run_id = dy.String(primary_key=True)
    cycle = _month()
    study = dy.String(primary_key=True)
    level = dy.Enum(CLINICAL_LEVELS, primary_key=True)
    node = dy.String(primary_key=True)
    ds = _month(primary_key=True)
    measure = dy.Enum(CLINICAL_MEASURES, primary_key=True)
    mean = dy.Float64(min=0)
    p05 = dy.Float64(min=0)
    p10 = dy.Float64(min=0)
    p25 = dy.Float64(min=0)
    p50 = dy.Float64(min=0)
    p75 = dy.Float64(min=0)
    p90 = dy.Float64(min=0)
    p95 = dy.Float64(min=0)


class TierConversion(dy.Schema):
    """What a tier of a study or account and of an owner converts at; ``*`` is any.

    ``p05`` to ``p95`` are of the probability that a line ever converts; ``delay_months`` is the
    median delay of those that do. ``lines`` counts lines ever in the tier, ``open_lines`` those
    still open, ``converted`` and ``lost`` the others.
    """

    run_id = dy.String(primary_key=True)
    scope = dy.Enum(("study", "account"), primary_key=True)
    name = dy.String(primary_key=True)
    owner = dy.String(primary_key=True)
    tier = dy.Enum(TIERS, primary_key=True)
    mean = dy.Float64(min=0, max=1)
    p05 = dy.Float64(min=0, max=1)
    p10 = dy.Float64(min=0, max=1)
    p50 = dy.Float64(min=0, max=1)
    p90 = dy.Float64(min=0, max=1)
    p95 = dy.Float64(min=0, max=1)
    delay_months = dy.Float64(min=0)
    lines = dy.Int64(min=0)
    open_lines = dy.Int64(min=0)
    converted = dy.Int64(min=0)
    lost = dy.Int64(min=0)
    method = dy.Enum(("prior", "laplace", "nuts"))


class ClinicalParameters(dy.Schema):
    """Posterior draws a run's paths are made of: beside inputs and seed all that rebuilding needs.

    ``values`` are little-endian float64 in C order; ``shape`` is a JSON list, draws the first axis.
    """

    run_id = dy.String(primary_key=True)
    part = dy.String(primary_key=True)
    parameter = dy.String(primary_key=True)
    shape = dy.String()
    values = dy.Binary()
