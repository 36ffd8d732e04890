"""Events: in which paths they happen, by how much they multiply, whom, and from when."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sopforecast.clinical.cohorts import sample_shares, study_cohorts
from sopforecast.clinical.events import Events, sample_events, sample_multiplier
from sopforecast.clinical.inputs import ClinicalInputs, clinical_inputs
from sopforecast.clinical.panel import site_panel

CYCLE, PATHS, HORIZON = date(2027, 1, 1), 4_000, 6
COLUMNS = {
    "event_id": pl.String, "study": pl.String, "cohort": pl.String, "site": pl.String,
    "date": pl.Date, "acts_on": pl.String, "low": pl.Float64, "high": pl.Float64,
    "probability": pl.Float64, "protocol_version": pl.String, "applies_to": pl.String,
}  # fmt: skip


def inputs_of(*events: dict[str, Any], studies: dict[str, Any] | None = None) -> ClinicalInputs:
    base = {
        "event_id": "E1", "study": "T", "date": date(2027, 3, 16), "acts_on": "enrolment",
        "low": 0.5, "high": 0.5, "probability": 1.0,
    }  # fmt: skip
    return clinical_inputs(
        CYCLE,
        studies=pl.DataFrame({"study": ["T", "U"], **(studies or {})}),
        cohorts=pl.DataFrame(
            {
                "study": ["T", "T"], "cohort": ["A", "B"],
                "share_low": [0.3, 0.5], "share_high": [0.5, 0.7],
            }
        ),
        sites=pl.DataFrame(
            {
                "study": ["T", "T", "U"], "site": ["S1", "S2", "S1"],
                "activated_date": [date(2026, 6, 1)] * 3,
            }
        ),
        enrolment=pl.DataFrame(
            {
                "study": ["T", "T"], "site": ["S1", "S2"], "cohort": ["A", "B"],
                "ds": [date(2026, 11, 1)] * 2, "enrolled": [3.0, 5.0],
            }
        ),
        study_events=pl.DataFrame([{**base, **event} for event in events], schema=COLUMNS),
    )  # fmt: skip


def drawn(*events: dict[str, Any], paths: int = PATHS, **options: Any) -> Events:
    inputs = inputs_of(*events, **options)
    return sample_events(inputs, site_panel(inputs), paths=paths, horizon=HORIZON, seed=11)


def flow(events: Events, name: str) -> np.ndarray:
    found = getattr(events, name)
    assert isinstance(found, np.ndarray)
    assert found.dtype == np.float32
    return found


def test_no_event_is_nothing_at_all() -> None:
    found = drawn()
    assert (found.screening, found.enrolment, found.stretch) == (None, None, None)
    assert (found.happens, found.dropout, found.switches, found.notes) == ({}, {}, (), ())
    assert found.enrolling.tolist() == [[1.0] * HORIZON] * 3


@given(probability=st.floats(0, 1), paths=st.integers(1, 300))
@settings(max_examples=25, deadline=None)
def test_an_event_happens_in_its_share_of_the_paths(probability: float, paths: int) -> None:
    found = drawn({"probability": probability}, paths=paths)
    assert abs(found.happens["E1"].sum() - probability * paths) <= 0.5


def test_events_are_independent_of_each_other_and_of_which_others_there_are() -> None:
    first = {"event_id": "E1", "probability": 0.35, "low": 0.5, "high": 2.0}
    second = {"event_id": "E2", "probability": 0.5, "site": "S2"}
    both, alone = drawn(first, second), drawn(first)
    assert both.happens["E1"].tobytes() == alone.happens["E1"].tobytes()
    joint = (both.happens["E1"] & both.happens["E2"]).mean()
    assert joint == pytest.approx(0.175, abs=0.02)
    assert flow(both, "enrolment")[:, 0].tobytes() == flow(alone, "enrolment")[:, 0].tobytes()


@pytest.mark.parametrize(("low", "high"), [(0.6, 0.9), (1.0, 3.0), (0.2, 5.0)])
def test_a_multiplier_is_lognormal_with_the_stated_points(low: float, high: float) -> None:
    found = sample_multiplier(low, high, paths=50_000, rng=np.random.default_rng(1))
    sigma = np.log(high / low) / (stats.norm.ppf(0.9) - stats.norm.ppf(0.1))
    oracle = stats.lognorm(sigma, scale=np.sqrt(low * high))
    assert oracle.ppf([0.1, 0.9]) == pytest.approx([low, high])
    assert stats.kstest(found, oracle.cdf).pvalue > 1e-3


def test_multipliers_that_are_no_lognormal() -> None:
    rng = np.random.default_rng(1)
    assert np.unique(sample_multiplier(0.7, 0.7, paths=9, rng=rng)).tolist() == [0.7]
    assert np.unique(sample_multiplier(0.0, 0.0, paths=9, rng=rng)).tolist() == [0.0]
    assert np.unique(sample_multiplier(None, None, paths=9, rng=rng)).tolist() == [1.0]
    assert np.unique(sample_multiplier(0.7, None, paths=9, rng=rng)).tolist() == [0.7]
    assert np.unique(sample_multiplier(None, 0.7, paths=9, rng=rng)).tolist() == [0.7]
    held = sample_multiplier(0.0, 0.8, paths=50_000, rng=rng)
    assert (held == 0).mean() == pytest.approx(0.1, abs=0.005)
    assert np.quantile(held, 0.9) == pytest.approx(0.8, abs=0.01)


def test_a_multiplier_holds_from_its_date_on_and_in_the_paths_where_it_happens() -> None:
    found = drawn({"probability": 0.25})
    halved = flow(found, "enrolment")[:, 0]
    happens = found.happens["E1"]
    assert np.all(halved[~happens] == 1)
    part = 1 - 0.5 * 16 / 31  # from 16 March on: 16 of 31 days
    assert halved[happens] == pytest.approx(np.tile([1, 1, part, 0.5, 0.5, 0.5], (1000, 1)))
    assert np.all(flow(found, "enrolment")[:, 2] == 1)  # the other study


def test_events_multiply_and_may_name_a_site() -> None:
    found = drawn(
        {"acts_on": "screening", "date": CYCLE},
        {
            "event_id": "E2",
            "acts_on": "screening",
            "date": CYCLE,
            "site": "S2",
            "low": 3,
            "high": 3,
        },
    )
    assert found.enrolment is None
    assert flow(found, "screening")[0, :, 0].tolist() == [0.5, 1.5, 1.0]


def test_an_event_that_is_past_changes_no_rate_and_is_told() -> None:
    past = {"date": date(2026, 12, 31)}
    found = drawn(past, {**past, "event_id": "E2", "acts_on": "dropout"})
    assert found.enrolment is None
    assert found.dropout == {}
    assert set(found.happens) == {"E1", "E2"}
    assert found.notes[0] == (
        "E1 (enrolment of T, 31 December 2026) is past: its effect is in the counts already and is "
        "not applied again"
    )


def test_stretch_of_sites_not_yet_open() -> None:
    found = drawn({"acts_on": "activation", "low": 1.5, "high": 1.5, "probability": 0.5})
    stretched = flow(found, "stretch")
    assert stretched.shape == (PATHS, 3)
    assert np.all(stretched[:, 0] == np.where(found.happens["E1"], 1.5, 1.0))
    assert np.all(stretched[:, 2] == 1)


def test_dropout_of_a_study_and_of_a_part_of_it() -> None:
    whole = drawn({"acts_on": "dropout", "date": CYCLE, "low": 2, "high": 2})
    assert whole.dropout["T"].shape == (PATHS, HORIZON)
    assert np.all(whole.dropout["T"] == 2)
    assert whole.dropout["T"].dtype == np.float32
    site = drawn({"acts_on": "dropout", "date": CYCLE, "low": 2, "high": 2, "site": "S1"})
    assert site.dropout["T"][0, 0] == pytest.approx(1 + 4 / 10)  # (3 + 1) of (8 + 2) patients
    assert "E1 changes dropout of a part of T" in site.notes[0]
    cohort = drawn({"acts_on": "dropout", "date": CYCLE, "low": 2, "high": 2, "cohort": "A"})
    assert cohort.dropout["T"][:, 0] == pytest.approx(1 + a_shares()[:, 0], abs=1e-6)


def a_shares() -> np.ndarray:
    inputs = inputs_of()
    cohorts = study_cohorts(inputs, site_panel(inputs), "T", horizon=HORIZON)
    return sample_shares(cohorts, "T", CYCLE, paths=PATHS, seed=11)


def test_an_event_on_a_cohort_moves_a_site_by_the_share_of_that_cohort() -> None:
    found = drawn(
        {"cohort": "A", "date": CYCLE},
        {"event_id": "E2", "cohort": "B", "date": CYCLE, "acts_on": "screening", "low": 3,
         "high": 3, "site": "S2"},
    )  # fmt: skip
    a, b = a_shares().T
    assert flow(found, "screening")[:, 0] == pytest.approx(np.ones((PATHS, HORIZON)))
    assert flow(found, "enrolment")[:, 0, 3] == pytest.approx(0.5 * a + b, abs=1e-5)
    assert flow(found, "screening")[:, 1, 3] == pytest.approx(a + 3 * b, abs=1e-5)
    both = (0.5 * a + 3 * b) / (a + 3 * b)
    assert flow(found, "enrolment")[:, 1, 3] == pytest.approx(both, abs=1e-5)
    assert np.all(flow(found, "enrolment")[:, 2] == 1)
    assert [(event.cohort, event.site) for event in found.cohort_factors] == [
        ("A", None),
        ("B", "S2"),
    ]


def test_switches_of_the_protocol_past_and_to_come() -> None:
    switch = {"acts_on": "schedule", "low": None, "high": None, "protocol_version": "2"}
    found = drawn(
        {**switch, "probability": 0.7},
        {**switch, "event_id": "E0", "date": date(2026, 10, 1), "applies_to": "all", "cohort": "A"},
        {**switch, "event_id": "E9", "protocol_version": None},
    )
    past, coming = found.switches
    assert (past.event_id, past.month, past.share, past.cohort) == ("E0", -3, 1.0, "A")
    assert (past.applies_to, past.version, bool(past.happens.all())) == ("all", "2", True)
    assert (coming.month, coming.applies_to, coming.site) == (2, "new", None)
    assert coming.share == pytest.approx(16 / 31)
    assert coming.happens.sum() == 2_800
    assert found.notes == (
        "E9 acts on the schedule but names no protocol version: it changes nothing",
    )


def test_a_closed_study_and_one_that_starts_later_take_no_patients() -> None:
    dates = {
        "status": ["active", "closed"],
        "first_patient_date": [date(2027, 2, 15), date(2020, 1, 1)],
    }
    found = drawn(studies=dates)
    assert found.enrolling[0].tolist() == [0, 0.5, 1, 1, 1, 1]
    assert found.enrolling[2].tolist() == [0] * HORIZON
