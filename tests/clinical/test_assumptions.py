"""Assumptions word for word, and their numbers in the table."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import polars as pl
import pytest

from sopforecast.clinical.assumptions import assumption_frame, assumptions, little_known
from sopforecast.clinical.evidence import Evidence, Learned
from sopforecast.clinical.inputs import clinical_inputs

CYCLE = date(2026, 12, 1)
FULL = Evidence(
    sites_seen=14,
    months_seen=20,
    site_months=120,
    sites_open=12,
    sites_silent=2,
    sites_waiting=3,
    activations_seen=14,
    enrolled=108,
    screened=160,
    screen_failed=52,
    screening_months=110,
    dropped_out=6,
    patient_months=240,
    lines=12,
    lines_converted=4,
    lines_lost=2,
    slip_days=Learned(-5.2, 31.6, 80.0),
    patients_a_month=Learned(0.3, 0.84, 1.6),
    screen_failure=Learned(0.28, 0.33, 0.38),
    dropout_a_month=Learned(0.012, 0.025, 0.04),
    conversion={"committed": Learned(0.75, 0.9, 0.97)},
)


def test_every_assumption_word_for_word() -> None:
    events = pl.DataFrame(
        {
            "event_id": ["E1", "E2", "E0"],
            "study": ["ALPHA", "ALPHA", "BETA"],
            "date": [date(2027, 3, 15), date(2027, 1, 1), date(2027, 1, 1)],
            "kind": ["amendment", None, None],
            "acts_on": ["enrolment", "schedule", "screening"],
            "site": [None, "S1", None],
            "low": [0.6, None, 0.5],
            "high": [0.9, None, 0.5],
            "probability": [0.3, 1.0, 1.0],
            "protocol_version": [None, "2", None],
        }
    )
    rows = assumptions("ALPHA", clinical_inputs(CYCLE, study_events=events), FULL)
    assert [row.text for row in rows] == [
        "Activation: a site typically opens 32 days after plan (80%: 5 days before plan to 80 "
        "days after plan); 14 openings seen with a planned date, 3 sites not open yet",
        "Screening rates: an open site enrols 0.8 patients a month (80%: 0.3 to 1.6); 120 "
        "site-months seen at 14 sites; 12 open now, 2 of them without a patient for 3 months",
        "Screen failure: 33% (80%: 28% to 38%); 52 of 160 screened failed so far",
        "Dropout: 2.5% a month (80%: 1.2% to 4%); 6 in 240 patient-months so far",
        "Event E2 (1 January 2027): schedule, protocol 2, site S1 only; stated as certain",
        "Event E1 (amendment, 15 March 2027): enrolment times 0.6 to 0.9 (80%); stated as 30% "
        "likely",
        "Lines in tiers: 12 lines: 4 converted, 2 lost, 6 open",
        "Lines committed: 90% convert (80%: 75% to 97%)",
    ]
    frame = assumption_frame(rows)
    assert frame["assumption"].to_list() == [row.about for row in rows]
    failure = frame.row(by_predicate=pl.col("assumption") == "Screen failure", named=True)
    assert (failure["seen"], failure["of"]) == (52, 160)
    event = frame.row(by_predicate=pl.col("assumption").str.starts_with("Event E1"), named=True)
    assert (event["low"], event["high"], event["probability"]) == (0.6, 0.9, 0.3)
    assert (failure["low"], failure["middle"], failure["high"]) == (0.28, 0.33, 0.38)


def test_only_what_plays_a_part() -> None:
    rows = assumptions("ALPHA", clinical_inputs(CYCLE), Evidence(sites_waiting=1))
    assert [row.text for row in rows] == [
        "Activation: 0 openings seen with a planned date, 1 site not open yet",
        "Enrolment rates: 0 site-months seen at 0 sites; 0 open now, 0 of them without a patient "
        "for 3 months",
    ]
    assert assumption_frame(()).is_empty()


@pytest.mark.parametrize(
    ("evidence", "told"),
    [
        (FULL, ()),
        (
            Evidence(sites_seen=3, months_seen=2, site_months=5),
            (
                "3 sites and 2 months of data: the range leans on what was assumed before any "
                "patient",
            ),
        ),
        (
            Evidence(sites_waiting=2),
            (
                "No site has reported yet: the range is what was assumed before any patient",
                "No opening seen with a planned date: when 2 sites open leans on what was assumed",
            ),
        ),
        (
            replace(FULL, sites_waiting=1, activations_seen=1),
            ("1 opening seen with a planned date: when 1 site opens leans on what was assumed",),
        ),
    ],
)  # fmt: skip
def test_what_is_little_known(evidence: Evidence, told: tuple[str, ...]) -> None:
    assert little_known(evidence) == told
