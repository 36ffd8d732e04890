"""Tables of the clinic: rows that hold, and one row a rule that does not."""

from __future__ import annotations

from datetime import date

import dataframely as dy
import polars as pl
import pytest

from sopforecast.core import clinical_tables as tables
from sopforecast.demo.trial import STUDY

NOV = date(2026, 11, 1)
STUDIES = {"study": "NOVA", "first_patient_date": date(2026, 1, 9),
           "last_patient_date": date(2027, 1, 9), "target_enrolment": 10.0}  # fmt: skip
COHORT = {"study": "NOVA", "cohort": "A", "share_low": 0.2, "share_high": 0.4}
SITE = {"study": "NOVA", "site": "S1", "activated_date": date(2026, 1, 9),
        "closed_date": date(2026, 9, 9), "slip_days_low": -5.0, "slip_days_high": 60.0,
        "activation_probability": 0.9}  # fmt: skip
COUNT = {"study": "NOVA", "site": "S1", "cohort": "all", "ds": NOV, "screened": 3.0}
PLAN = {"study": "NOVA", "site": "*", "cohort": "*", "ds": NOV, "version": "1", "enrolled": 4.0}
USE = {"study": "NOVA", "cohort": "*", "country": "*", "protocol_version": "*", "per": "enrolled",
       "month_offset": 0, "unique_id": "KIT", "quantity": 1.0}  # fmt: skip
EVENT = {"event_id": "E", "study": "NOVA", "date": date(2026, 12, 9), "acts_on": "enrolment",
         "low": 0.8, "high": 1.2, "probability": 0.5}  # fmt: skip
LINE = {"line_id": "P", "study": "NOVA", "tier": "pipeline", "quantity": 1.0, "outcome": "open"}
MEASURED = ("mean", "p05", "p10", "p25", "p50", "p75", "p90", "p95")
SAYS = {"run_id": "r", "cycle": NOV, "study": "NOVA", "level": "study", "node": "NOVA", "ds": NOV,
        "measure": "monthly"} | dict.fromkeys(MEASURED, 1.0)  # fmt: skip


def _frame(schema: type[dy.Schema], *rows: dict[str, object]) -> pl.DataFrame:
    blank = dict.fromkeys(schema.column_names())
    types = {name: column.dtype for name, column in schema.columns().items()}
    return pl.DataFrame([blank | row for row in rows], schema=types)


VALID = [
    (tables.Studies, STUDIES), (tables.Cohorts, COHORT), (tables.Sites, SITE),
    (tables.Enrolment, COUNT), (tables.EnrolmentPlan, PLAN), (tables.Schedule, USE),
    (tables.StudyEvents, EVENT), (tables.TierLines, LINE), (tables.EnrolmentForecasts, SAYS),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "row"), VALID)
def test_a_row_that_holds(schema, row):
    schema.validate(_frame(schema, row))


@pytest.mark.parametrize(
    ("schema", "row"),
    [
        (tables.Studies, {"study": "NOVA"}), (tables.Cohorts, {"study": "NOVA", "cohort": "A"}),
        (tables.Sites, {"study": "NOVA", "site": "S1"}),
        (tables.Sites, SITE | {"slip_days_high": None}),
        (tables.Cohorts, COHORT | {"share_low": None}),
        (tables.StudyEvents, EVENT | {"low": None, "high": None}),
        (tables.TierLines, LINE | {"probability_low": 0.4}),
        (tables.TierLines, LINE | {"outcome": "lost"}),
        (tables.TierLines, LINE | {"study": None, "account": "ACME", "unique_id": "PUMP"}),
        (tables.Enrolment, COUNT | {"screened": None}),
    ],
)  # fmt: skip
def test_a_blank_is_no_fault(schema, row):
    schema.validate(_frame(schema, row))


@pytest.mark.parametrize(
    ("schema", "row", "rule"),
    [
        (tables.Studies, STUDIES | {"last_patient_date": date(2025, 1, 9)},
         "first_before_last_patient"),
        (tables.Studies, STUDIES | {"target_enrolment": -1.0}, "target_enrolment|min"),
        (tables.Studies, STUDIES | {"study": ""}, "study|min_length"),
        (tables.Cohorts, COHORT | {"share_low": 0.5}, "share_low_below_high"),
        (tables.Cohorts, COHORT | {"share_high": 1.2}, "share_high|max"),
        (tables.Sites, SITE | {"closed_date": date(2025, 9, 9)}, "activated_before_closed"),
        (tables.Sites, SITE | {"slip_days_low": 61.0}, "slip_low_below_high"),
        (tables.Sites, SITE | {"activation_probability": 1.1}, "activation_probability|max"),
        (tables.Sites, SITE | {"capacity": -1.0}, "capacity|min"),
        (tables.Enrolment, COUNT | {"ds": date(2026, 11, 2)}, "ds|resolution"),
        (tables.Enrolment, COUNT | {"screened": -1.0}, "screened|min"),
        (tables.Enrolment, COUNT | {"enrolled": float("nan")}, "enrolled|nan"),
        (tables.EnrolmentPlan, PLAN | {"enrolled": None}, "enrolled|nullability"),
        (tables.Schedule, USE | {"month_offset": -1}, "month_offset|min"),
        (tables.Schedule, USE | {"quantity": float("inf")}, "quantity|inf"),
        (tables.StudyEvents, EVENT | {"low": 1.3}, "low_below_high"),
        (tables.StudyEvents, EVENT | {"probability": 1.5}, "probability|max"),
        (tables.StudyEvents, EVENT | {"probability": None}, "probability|nullability"),
        (tables.TierLines, LINE | {"account": "A", "unique_id": "PUMP"}, "study_or_account"),
        (tables.TierLines, LINE | {"study": None}, "study_or_account"),
        (tables.TierLines, LINE | {"study": None, "account": "ACME"}, "account_has_item"),
        (tables.TierLines, LINE | {"probability_low": 0.6, "probability_high": 0.5},
         "probability_low_below_high"),
        (tables.TierLines, LINE | {"outcome": "converted"}, "converted_has_month"),
        (tables.TierLines, LINE | {"probability_high": 2.0}, "probability_high|max"),
        (tables.EnrolmentForecasts, SAYS | {"p05": -0.5}, "p05|min"),
    ],
)  # fmt: skip
def test_a_row_that_breaks_a_rule_is_named_by_it(schema, row, rule):
    _, failed = schema.filter(_frame(schema, row))
    assert failed.counts() == {rule: 1}


@pytest.mark.parametrize(("schema", "row"), VALID)
def test_a_key_stands_once(schema, row):
    _, failed = schema.filter(_frame(schema, row, row))
    assert failed.counts() == {"primary_key": 2}


def test_words_are_said_once():
    """Enums, and the marks for any and for all cohorts, are constants that schemas refer to."""
    assert tables.TierLines.columns()["tier"].dtype == pl.Enum(tables.TIERS)
    assert tables.Schedule.columns()["per"].dtype == pl.Enum(tables.PER_TRIGGER)
    assert tables.StudyEvents.columns()["acts_on"].dtype == pl.Enum(tables.ACTS_ON)
    assert tables.EnrolmentForecasts.columns()["level"].dtype == pl.Enum(tables.CLINICAL_LEVELS)
    assert (tables.ANY, tables.ALL) == ("*", "all")


def test_the_simulated_trial_is_of_these_tables(trial_tables):
    by_name = {
        "studies": tables.Studies, "cohorts": tables.Cohorts, "sites": tables.Sites,
        "enrolment": tables.Enrolment, "enrolment_plan": tables.EnrolmentPlan,
        "schedule": tables.Schedule, "study_events": tables.StudyEvents,
    }  # fmt: skip
    for name, schema in by_name.items():
        schema.validate(trial_tables[name])
        assert set(trial_tables[name]["study"]) == {STUDY}
    lines = trial_tables["tier_lines"]
    last = lines.sort("known_at").unique("line_id", keep="last").drop("known_at")
    tables.TierLines.validate(last)
    assert lines.select("line_id", "known_at").is_duplicated().any() is False
