"""Who is in treatment at the cut-off: by hand, and by taking patients out one by one."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import polars as pl
import pytest

from sopforecast.clinical.active import (
    PatientMonths,
    expected_active,
    last_offsets,
    patient_months,
    sample_active,
)
from sopforecast.clinical.inputs import clinical_inputs
from sopforecast.core.draws import series_rng
from sopforecast.core.months import add_months

CYCLE = date(2026, 12, 1)


def _months(*rows: tuple[Any, ...]) -> PatientMonths:
    """Site, months before the cycle, enrolled, dropped out, completed."""
    data = [("X", site, "all", add_months(CYCLE, -ago), *counts) for site, ago, *counts in rows]
    counts = ("enrolled", "dropped_out", "completed")
    enrolment = pl.DataFrame(
        data,
        schema=("study", "site", "cohort", "ds", *counts),
        orient="row",
        schema_overrides=dict.fromkeys(counts, pl.Float64),
    )
    return patient_months(clinical_inputs(CYCLE, enrolment=enrolment))


def _sample(months: PatientMonths, *, paths: int, hazard: float = 0.0, stay: float = np.inf) -> Any:
    rows, rates = np.arange(len(months.keys)), np.full(paths, hazard)
    return sample_active(months, rows, stay=stay, hazard=rates, rng=series_rng(1, "test"))


def test_a_month_without_a_row_is_none_only_before_the_last_report_of_a_site() -> None:
    months = _months(("S1", 4, 5, 0, None), ("S1", 2, 3, 1, None), ("S2", 4, 2, None, None),
                     ("S2", 3, 2, 0, None))  # fmt: skip
    assert len(months.months) == 4
    np.testing.assert_array_equal(months.enrolled, [[5, 0, 3, np.nan], [2, 2, np.nan, np.nan]])
    np.testing.assert_array_equal(months.dropped_out[0], [0, 0, 1, np.nan])
    np.testing.assert_array_equal(months.dropped_out[1], [np.nan, 0, np.nan, np.nan])
    assert months.has_dropouts.tolist() == [True, False]
    assert months.has_completions.tolist() == [False, False]


def test_expected_patients_by_hand() -> None:
    months = _months(("S1", 3, 10, 0, 0), ("S1", 2, 10, 5, 0), ("S1", 1, 0, 0, 9))
    active, at_risk = expected_active(months, stay=np.array([np.inf]), hazard=0.1)
    # 10 and 10, a quarter drops out: 7.5 and 7.5, the nine who complete are the oldest.
    np.testing.assert_allclose(active, [[0.0, 6.0, 0.0]])
    np.testing.assert_allclose(at_risk, [[5.0, 12.5, 10.5]])


def test_where_completions_are_never_reported_patients_leave_after_their_last_dose() -> None:
    rows = [("S1", ago, 4, 0, None) for ago in (5, 4, 3, 2, 1)]
    months = _months(*rows)
    active, _ = expected_active(months, stay=np.array([2.0]), hazard=0.0)
    assert active.tolist() == [[0, 0, 4, 4, 4]]  # at most two months after enrolment
    assert _sample(months, paths=3, stay=2.0).tolist() == [[0, 0, 4, 4, 4]] * 3


@pytest.mark.parametrize("dropped", [(1, 2, 3), (0, 7, 9)])
def test_drawn_patients_are_those_left_when_taken_out_one_by_one(dropped: tuple[int, ...]) -> None:
    enrolled, completed = (12, 9, 6), (0, 0, 4)
    rows = zip((3, 2, 1), enrolled, dropped, completed, strict=True)
    months = _months(*[("S1", *row) for row in rows])
    found = _sample(months, paths=6000)
    assert (found.sum(axis=1) == sum(enrolled) - sum(dropped) - sum(completed)).all()
    rng = np.random.default_rng(0)
    brute = np.zeros((6000, 3))
    for path in range(6000):
        active: list[int] = []
        for month in range(3):
            active += [month] * enrolled[month]
            rng.shuffle(active)
            active = sorted(active[dropped[month] :])[completed[month] :]
        brute[path] = np.bincount(active, minlength=3)
    np.testing.assert_allclose(found.mean(axis=0), brute.mean(axis=0), atol=0.08)
    np.testing.assert_allclose(np.cov(found.T), np.cov(brute.T), atol=0.15)


def test_unreported_dropouts_leave_by_the_hazard() -> None:
    months = _months(("S1", 3, 50, None, None), ("S1", 2, 0, 10, None), ("S1", 1, 50, None, None))
    found = _sample(months, paths=8000, hazard=0.2)
    first = (50 * np.exp(-0.1) - 10) * np.exp(-0.2)  # half a month, ten that are told, a month
    assert found[:, 0].mean() == pytest.approx(first, rel=0.01)
    assert found[:, 2].mean() == pytest.approx(50 * np.exp(-0.1), rel=0.01)
    assert found.min() >= 0


def test_more_dropouts_than_patients_leave_nobody() -> None:
    assert not _sample(_months(("S1", 1, 2, 3, 0)), paths=5).any()
    assert not _sample(_months(("S1", 1, 2, 1, 9)), paths=5).any()


def test_the_last_dose_of_a_study() -> None:
    schedule = pl.DataFrame(
        {"study": ["X", "X", "Y"], "per": ["enrolled", "enrolled", "screened"],
         "month_offset": [0, 6, 9], "unique_id": ["A", "A", "A"], "quantity": [1.0, 1.0, 1.0]}
    )  # fmt: skip
    assert last_offsets(clinical_inputs(CYCLE, schedule=schedule)) == {"X": 6}
    assert patient_months(clinical_inputs(CYCLE)).keys == ()
