"""Targets and plans against counts by hand."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sopforecast.clinical.inputs import ClinicalInputs, clinical_inputs
from sopforecast.clinical.paths import TrialPaths
from sopforecast.clinical.targets import (
    plan_status,
    probability_by,
    target_date,
    target_text,
    when,
)
from sopforecast.core.months import add_months
from sopforecast.errors import RequestError

CYCLE = date(2026, 12, 1)


def _trial(monthly: list[list[int]], *, before: int = 0) -> TrialPaths:
    """One site; a row of patients by month for every path."""
    enrolled = np.array(monthly, dtype=np.int16)[:, None, None, :]
    return TrialPaths(
        study="ALPHA",
        cycle=CYCLE,
        sites=("S1",),
        countries=("*",),
        cohorts=("all",),
        screened=enrolled[:, :, 0],
        enrolled=enrolled,
        activated=np.full((len(monthly), 1), -1, dtype=np.int16),
        enrolled_before=np.array([[before]]),
        events={},
    )


def _inputs(**tables: Any) -> ClinicalInputs:
    return clinical_inputs(CYCLE, **{name: pl.DataFrame(rows) for name, rows in tables.items()})


def _plan(*rows: tuple[str, str, date, str, float]) -> list[dict[str, Any]]:
    names = ("site", "cohort", "ds", "version", "enrolled")
    return [{"study": "ALPHA", **dict(zip(names, row, strict=True))} for row in rows]


# Ten paths: with k patients a month, k = 1..10, over 4 months.
TEN = _trial([[k] * 4 for k in range(1, 11)], before=5)


def test_probability_by_hand() -> None:
    # By January (2 months) there are 5 + 2k: at least 15 for k = 5..10.
    assert probability_by(TEN, 15, date(2027, 1, 1)) == 0.6
    assert probability_by(TEN, 15.5, date(2027, 1, 1)) == 0.5
    assert probability_by(TEN, 5, CYCLE) == 1.0


def test_when_by_hand() -> None:
    # 15 need 10 more: k=10 in month 0; 5..9 in month 1; 4 in month 2; 3 in month 3; 1, 2 never.
    reached = when(TEN, 15)
    assert (reached.p10, reached.p50, reached.p90) == (CYCLE, date(2027, 1, 1), None)
    assert reached.probability == 0.8
    assert not reached.already
    assert reached.text == (
        "even odds of 15 patients by January 2027 "
        "(80%: December 2026 to after March 2027, the last month forecast)"
    )


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (5, "5 patients are enrolled already"),
        (1000, "1,000 patients: not inside the horizon, under 1% likely by March 2027, the last "
               "month forecast"),
        (36, "36 patients: 30% likely by March 2027, the last month forecast"),
        (32, "32 patients: 10% likely by February 2027, 40% likely by March 2027, the last month "
             "forecast"),
        (6, "even odds of 6 patients by December 2026"),
        (8, "even odds of 8 patients by December 2026 (80%: December 2026 to January 2027)"),
    ],
)  # fmt: skip
def test_when_in_words(target: float, text: str) -> None:
    # 36 need 31 more in 4 months: k = 8, 9, 10. 32 need 27: k = 7..10, of them 9 and 10 in 3.
    # 8 need 3: k = 1 in month 2, k = 2 in month 1, the others at once.
    assert when(TEN, target).text == text


@given(
    st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=3), min_size=1, max_size=25),
    st.integers(0, 14),
)
def test_when_by_a_loop(monthly: list[list[int]], target: int) -> None:
    months = []
    for path in monthly:
        total, found = 2, 3
        for h, patients in enumerate(path):
            total += patients
            if total >= target:
                found = h
                break
        months.append(found)
    months.sort()
    reached = when(_trial(monthly, before=2), target)
    for at, tenths in ((reached.p10, 1), (reached.p50, 5), (reached.p90, 9)):
        month = months[-(-tenths * len(months) // 10) - 1]
        assert at == (add_months(CYCLE, month) if month < 3 else None)
    assert reached.probability == pytest.approx(sum(m < 3 for m in months) / len(months))


def test_the_target_of_the_study() -> None:
    due = date(2027, 2, 20)
    rows = [{"study": "ALPHA", "target_enrolment": 21.0, "last_patient_date": due}]
    assert target_date(TEN, _inputs(studies=rows)) == (21.0, date(2027, 2, 1))
    assert target_date(TEN, _inputs()) is None
    assert target_date(TEN, _inputs(studies=[{"study": "ALPHA"}])) is None


@pytest.mark.parametrize(
    ("month", "text"),
    [
        # 16 more in 3 months: k = 6..10. Even odds in February, 10% (k = 10) in January.
        (date(2027, 2, 1), "50% likely to reach 21 patients by February 2027; even odds of 21 "
                           "patients by February 2027 (80%: January 2027 to after March 2027, the "
                           "last month forecast)"),
        (date(2026, 10, 1), "; the month it is due, October 2026, is past"),
        (date(2029, 10, 1), "; the month it is due, October 2029, is after the last month "),
        (None, "Even odds of 21 patients by February 2027 (80%: "),
    ],
)  # fmt: skip
def test_the_target_in_words(month: date | None, text: str) -> None:
    assert text in target_text(TEN, 21, month)


def test_green_yellow_and_red() -> None:
    # By January: 5 + 2k. Plan so far 4 (before the cycle), 3 in December, 8 in January: 15.
    rows = _plan(
        ("*", "*", date(2026, 11, 1), "v1", 4.0),
        ("*", "*", CYCLE, "v1", 3.0),
        ("*", "*", date(2027, 1, 1), "v1", 8.0),
        ("*", "*", date(2027, 2, 1), "v1", 50.0),
    )
    inputs = _inputs(enrolment_plan=rows)
    by = date(2027, 1, 1)
    found = plan_status(TEN, inputs, by=by)
    assert found is not None
    assert (found.status, found.probability) == ("green", 0.6)
    assert (found.planned_so_far, found.enrolled_so_far, found.planned) == (4.0, 5.0, 15.0)
    assert found.expected == 5 + 2 * 5.5
    assert found.text == (
        "Green: 5 enrolled through November 2026, 4 planned (plan v1); "
        "60% likely to be on or above the plan of 15 by January 2027"
    )
    for green, yellow, status in ((0.61, 0.6, "yellow"), (0.7, 0.61, "red"), (0.6, 0.2, "green")):
        again = plan_status(TEN, inputs, by=by, green=green, yellow=yellow)
        assert again is not None
        assert again.status == status


def test_the_newest_version_unless_one_is_named() -> None:
    rows = _plan(
        ("*", "*", CYCLE, "2026-06", 30.0),
        ("*", "*", CYCLE, "2026-09", 8.0),
        ("S1", "all", CYCLE, "2026-09", 99.0),  # a finer row of the same plan
    )
    inputs = _inputs(enrolment_plan=rows)
    newest, named = (
        plan_status(TEN, inputs, by=CYCLE, version=version) for version in (None, "2026-06")
    )
    assert newest is not None
    assert named is not None
    assert (newest.version, newest.planned) == ("2026-09", 8.0)
    assert (named.version, named.planned) == ("2026-06", 30.0)
    with pytest.raises(RequestError, match=r"found 'v9'.*'2026-06', '2026-09'"):
        plan_status(TEN, inputs, by=CYCLE, version="v9")


def test_a_plan_by_site_is_added_up() -> None:
    rows = _plan(("S1", "*", CYCLE, "v", 3.0), ("S2", "*", CYCLE, "v", 4.5))
    found = plan_status(TEN, _inputs(enrolment_plan=rows), by=CYCLE)
    assert found is not None
    assert found.planned == 7.5


def test_months_before_a_plan_begins_count_as_they_were() -> None:
    rows = _plan(("*", "*", date(2026, 11, 1), "v2", 2.0), ("*", "*", CYCLE, "v2", 3.0))
    seen = [
        {"study": "ALPHA", "site": "S1", "cohort": "all", "ds": ds, "enrolled": patients}
        for ds, patients in ((date(2026, 10, 1), 4.0), (date(2026, 11, 1), 1.0))
    ]
    found = plan_status(TEN, _inputs(enrolment_plan=rows, enrolment=seen), by=CYCLE)
    assert found is not None
    assert (found.planned_so_far, found.planned) == (6.0, 9.0)


def test_no_plan_no_status() -> None:
    assert plan_status(TEN, _inputs(), by=CYCLE) is None
