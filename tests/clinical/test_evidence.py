"""What was seen of a study, counted by hand."""

from __future__ import annotations

from datetime import date
from typing import Any

import polars as pl

from sopforecast.clinical.evidence import Evidence, count_evidence
from sopforecast.clinical.inputs import ClinicalInputs, clinical_inputs

CYCLE = date(2026, 12, 1)
AUGUST, SEPTEMBER, OCTOBER, NOVEMBER = (date(2026, month, 1) for month in (8, 9, 10, 11))


def _row(site: str, ds: date, **counts: float | None) -> dict[str, Any]:
    names = ("screened", "screen_failed", "enrolled", "dropped_out", "completed")
    blank = dict.fromkeys(names)
    return {"study": "ALPHA", "site": site, "cohort": "all", "ds": ds, **blank, **counts}


def _inputs() -> ClinicalInputs:
    planned = date(2026, 7, 1)
    sites = [
        ("ALPHA", "S1", planned, date(2026, 8, 3), None),
        ("ALPHA", "S2", planned, date(2026, 8, 9), None),
        ("ALPHA", "S3", None, None, None),  # seen by its patients only
        ("ALPHA", "S4", date(2027, 1, 1), None, None),
        ("ALPHA", "S5", planned, date(2026, 7, 2), date(2026, 9, 1)),
        ("BETA", "S1", planned, date(2026, 8, 3), None),
    ]
    names = ("study", "site", "planned_activation_date", "activated_date", "closed_date")
    enrolment = [
        _row("S1", AUGUST, screened=5, screen_failed=2, enrolled=3, dropped_out=0),
        _row("S1", SEPTEMBER, screened=4, screen_failed=1, enrolled=2, dropped_out=1),
        _row("S1", OCTOBER, enrolled=1, dropped_out=None),
        _row("S1", NOVEMBER, enrolled=None, screened=None),
        _row("S2", SEPTEMBER, enrolled=0),
        _row("S2", OCTOBER, enrolled=0),
        _row("S2", NOVEMBER, enrolled=0),
        _row("S3", NOVEMBER, enrolled=2, dropped_out=0, completed=1),
        {**_row("S1", NOVEMBER, enrolled=50), "study": "BETA"},
    ]
    lines = [("L1", "converted"), ("L2", "lost"), ("L3", "open")]
    return clinical_inputs(
        CYCLE,
        sites=pl.DataFrame([dict(zip(names, row, strict=True)) for row in sites]),
        enrolment=pl.DataFrame(enrolment, infer_schema_length=None),
        tier_lines=pl.DataFrame(
            [
                {
                    "line_id": line,
                    "study": "ALPHA",
                    "tier": "pipeline",
                    "quantity": 1.0,
                    "outcome": outcome,
                    "converted_ds": NOVEMBER if outcome == "converted" else None,
                }
                for line, outcome in lines
            ]
        ),
    )


def test_counts_by_hand() -> None:
    assert count_evidence(_inputs(), "ALPHA") == Evidence(
        sites_seen=3,
        months_seen=4,
        site_months=7,  # S1: 3 (November is blank), S2: 3, S3: 1
        sites_open=3,  # S1, S2, and S3 that has patients
        sites_silent=1,  # S2: three zeros; a blank is not silence
        sites_waiting=1,
        activations_seen=3,
        enrolled=8,
        screened=9,
        screen_failed=3,
        screening_months=2,
        dropped_out=1,
        patient_months=3 + 4 + 1,  # S1: 3, then 3 + 2 - 1; S3: 2 - 1
        lines=3,
        lines_converted=1,
        lines_lost=1,
    )


def test_a_study_of_which_nothing_is_known() -> None:
    nothing = count_evidence(_inputs(), "GAMMA")
    assert nothing == Evidence()
    assert nothing.is_thin


def test_thin_and_not() -> None:
    assert Evidence(sites_seen=3, months_seen=24).is_thin
    assert Evidence(sites_seen=30, months_seen=2).is_thin
    assert not Evidence(sites_seen=5, months_seen=6).is_thin
