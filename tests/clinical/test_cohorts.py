"""Cohorts: shares, weights by month, and who is counted where."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sopforecast.clinical.cohorts import (
    StudyCohorts,
    month_weights,
    sample_shares,
    share_from,
    share_prior,
    study_cohorts,
)
from sopforecast.clinical.inputs import clinical_inputs
from sopforecast.clinical.panel import site_panel

CYCLE = date(2027, 1, 1)


def read(
    cohorts: list[dict[str, Any]], enrolled: list[tuple[str, str, date, float | None]]
) -> StudyCohorts:
    columns = {
        "study": pl.String, "cohort": pl.String, "target_enrolment": pl.Float64,
        "opens_date": pl.Date, "share_low": pl.Float64, "share_high": pl.Float64,
    }  # fmt: skip
    inputs = clinical_inputs(
        CYCLE,
        studies=pl.DataFrame({"study": ["T"]}),
        cohorts=pl.DataFrame([{"study": "T", **row} for row in cohorts], schema=columns),
        sites=pl.DataFrame({"study": ["T", "T"], "site": ["S1", "S2"]}),
        enrolment=pl.DataFrame(
            [("T", *row) for row in enrolled],
            schema={
                "study": pl.String, "site": pl.String, "cohort": pl.String, "ds": pl.Date,
                "enrolled": pl.Float64,
            },
            orient="row",
        ),
    )  # fmt: skip
    return study_cohorts(inputs, site_panel(inputs), "T", horizon=6)


def draw(cohorts: StudyCohorts, paths: int = 40_000) -> np.ndarray:
    return sample_shares(cohorts, "T", CYCLE, paths=paths, seed=1)


OCT, NOV, DEC = date(2026, 10, 1), date(2026, 11, 1), date(2026, 12, 1)


def test_a_study_without_cohorts_has_one() -> None:
    found = read([], [("S1", "all", DEC, 3.0), ("S2", "all", DEC, None)])
    assert found.names == ("all",)
    assert found.before.tolist() == [[3], [0]]
    assert found.spread == 0
    assert draw(found, 5).tolist() == [[1.0]] * 5


def test_share_of_a_month_from_a_day_on() -> None:
    assert share_from(None, CYCLE, 2).tolist() == [1, 1]
    assert share_from(date(2026, 5, 9), CYCLE, 2).tolist() == [1, 1]
    assert share_from(date(2027, 1, 31), CYCLE, 2) == pytest.approx([1 / 31, 1])
    assert share_from(date(2030, 1, 1), CYCLE, 2).tolist() == [0, 0]


def test_shares_without_ranges_are_flat_and_learn_from_counts() -> None:
    counts = [("S1", "A", DEC, 30.0), ("S2", "B", DEC, 10.0)]
    drawn = draw(read([{"cohort": "A"}, {"cohort": "B"}], counts))
    oracle = stats.beta(31, 11)
    assert drawn.sum(axis=1) == pytest.approx(1)
    assert stats.kstest(drawn[:, 0], oracle.cdf).pvalue > 1e-3


def test_a_range_is_the_80_percent_range_of_a_share_before_any_count() -> None:
    rows = [
        {"cohort": "A", "share_low": 0.5, "share_high": 0.7},
        {"cohort": "B", "share_low": 0.3, "share_high": 0.5},
    ]
    low, high = np.quantile(draw(read(rows, []))[:, 0], [0.1, 0.9])
    assert (low, high) == (pytest.approx(0.5, abs=0.01), pytest.approx(0.7, abs=0.01))


def test_one_number_for_a_share_stays_whatever_was_counted() -> None:
    rows = [
        {"cohort": "A", "share_low": 0.25, "share_high": 0.25},
        {"cohort": "B", "share_low": 0.75, "share_high": 0.75},
    ]
    drawn = draw(read(rows, [("S1", "A", DEC, 50.0)]))
    assert drawn[:, 0] == pytest.approx(0.25, abs=0.01)


def test_cohorts_without_a_range_part_what_is_left() -> None:
    nan = np.nan
    prior = share_prior(np.array([0.3, nan, nan]), np.array([0.5, nan, nan]))
    assert prior / prior.sum() == pytest.approx([0.4, 0.3, 0.3])
    assert share_prior(np.array([nan, nan]), np.array([nan, nan])).tolist() == [1, 1]
    assert share_prior(np.array([nan]), np.array([0.9])).tolist() == [1]


def test_counts_say_nothing_of_a_cohort_that_opens_later() -> None:
    rows = [{"cohort": "A"}, {"cohort": "B"}, {"cohort": "C", "opens_date": date(2027, 3, 1)}]
    drawn = draw(read(rows, [("S1", "A", DEC, 300.0), ("S1", "B", DEC, 100.0)]))
    assert stats.kstest(drawn[:, 2], stats.beta(1, 2).cdf).pvalue > 1e-3
    assert drawn[:, 0].sum() / drawn[:, :2].sum() == pytest.approx(0.75, abs=0.01)


def test_counts_from_before_a_cohort_opened_are_no_data() -> None:
    rows = [{"cohort": "A"}, {"cohort": "B", "opens_date": date(2026, 11, 1)}]
    enrolled = [("S1", "A", OCT, 99.0), ("S1", "A", NOV, 3.0), ("S1", "B", DEC, 5.0)]
    found = read(rows, enrolled)
    assert found.counted.tolist() == [3, 5]
    assert found.before.tolist() == [[102, 5], [0, 0]]


def test_patients_not_told_apart_are_spread_and_sites_stay_exact() -> None:
    rows = [
        {"cohort": "A", "share_low": 0.75, "share_high": 0.75},
        {"cohort": "B", "share_low": 0.25, "share_high": 0.25},
        {"cohort": "C", "opens_date": date(2027, 2, 1)},
    ]
    found = read(rows, [("S1", "all", DEC, 5.0), ("S2", "all", DEC, 3.0), ("S2", "B", DEC, 1.0)])
    assert found.before.sum(axis=1).tolist() == [5, 4]
    assert found.before.sum(axis=0).tolist() == [6, 3, 0]
    assert found.spread == 8


@given(
    patients=st.lists(st.integers(0, 40), min_size=2, max_size=2),
    low=st.floats(0.05, 0.9),
)
@settings(max_examples=30, deadline=None)
def test_spread_patients_are_within_one_of_their_share(patients: list[int], low: float) -> None:
    rows = [
        {"cohort": "A", "share_low": low, "share_high": low},
        {"cohort": "B", "share_low": 1 - low, "share_high": 1 - low},
    ]
    found = read(rows, [(f"S{i + 1}", "all", DEC, float(n)) for i, n in enumerate(patients)])
    assert found.before.sum(axis=1).tolist() == patients
    assert abs(found.before[:, 0].sum() - low * sum(patients)) <= 1


def test_a_cohort_full_before_the_cycle_takes_nobody() -> None:
    rows = [{"cohort": "A", "target_enrolment": 5.0}, {"cohort": "B", "target_enrolment": 5.0}]
    found = read(rows, [("S1", "A", DEC, 5.0), ("S1", "B", DEC, 4.0)])
    assert found.open_share[0].tolist() == [0] * 6
    assert found.open_share[1].tolist() == [1] * 6


def test_weights_of_a_month_are_those_of_patients_who_come_evenly_over_it() -> None:
    shares = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
    open_share = np.array([[0.9], [0.5], [0.0]])
    rng = np.random.default_rng(3)
    found = month_weights(shares, open_share)
    for path, share in enumerate(shares):
        day = rng.random(400_000)
        is_open = day[:, None] >= 1 - open_share[:, 0]
        weight = share * is_open
        came = weight.sum(axis=1) > 0
        oracle = (weight[came] / weight[came].sum(axis=1, keepdims=True)).mean(axis=0)
        assert found[path, :, 0] == pytest.approx(oracle, abs=2e-3)
    assert month_weights(shares, np.zeros((3, 1))).tolist() == [[[0.0]] * 3] * 2
    assert month_weights(shares, np.ones((3, 2)))[:, :, 1] == pytest.approx(shares)


def test_another_study_or_seed_draws_other_shares() -> None:
    found = read([{"cohort": "A"}, {"cohort": "B"}], [])
    again = sample_shares(found, "T", CYCLE, paths=9, seed=1)
    assert again.tobytes() == sample_shares(found, "T", CYCLE, paths=9, seed=1).tobytes()
    assert again.tobytes() != sample_shares(found, "U", CYCLE, paths=9, seed=1).tobytes()
    assert again.tobytes() != sample_shares(found, "T", CYCLE, paths=9, seed=2).tobytes()


def test_cohorts_that_fill_before_the_study_are_named():
    from sopforecast.clinical.cohorts import capped_by_cohorts

    studies = pl.DataFrame({"study": ["A", "B"], "target_enrolment": [400.0, 100.0]})
    cohorts = pl.DataFrame(
        {
            "study": ["A", "A", "B"],
            "cohort": ["x", "y", "x"],
            "target_enrolment": [80.0, 60.0, None],
        }
    )
    said = capped_by_cohorts(clinical_inputs(date(2026, 1, 1), studies=studies, cohorts=cohorts))
    assert said == (
        "Study A stops at 140 patients, the targets of its cohorts together, and not at its own "
        "400.",
    )
