"""What differs between two cycles' tables, word for word."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import polars as pl

from sopforecast.clinical.facts import input_facts
from sopforecast.clinical.inputs import ClinicalInputs, clinical_inputs

OCTOBER, NOVEMBER, DECEMBER = (date(2026, month, 1) for month in (10, 11, 12))


def _inputs(cycle: date, **tables: Sequence[dict[str, Any]]) -> ClinicalInputs:
    frames = {
        name: pl.DataFrame([{"study": "ALPHA", **row} for row in rows], infer_schema_length=None)
        for name, rows in tables.items()
    }
    return clinical_inputs(cycle, **frames)


def _facts(
    before: dict[str, Any], after: dict[str, Any], **options: Any
) -> dict[str, tuple[str, ...]]:
    return input_facts(
        _inputs(OCTOBER, **before), _inputs(DECEMBER, **after), study="ALPHA", **options
    )


def _count(site: str, ds: date, enrolled: float | None) -> dict[str, Any]:
    return {"site": site, "cohort": "all", "ds": ds, "enrolled": enrolled}


def test_nothing_differs() -> None:
    tables = {
        "sites": [{"site": "S1", "planned_activation_date": OCTOBER}],
        "study_events": [
            {"event_id": "E", "date": OCTOBER, "acts_on": "dropout", "probability": 1.0}
        ],
    }
    found = _facts(tables, tables)
    assert set(found) == {"enrolment", "sites", "events", "tiers", "rest"}
    assert found.pop("enrolment") == (
        "enrolment in October 2026 is not reported yet",
        "enrolment in November 2026 is not reported yet",
    )
    assert set(found.values()) == {()}


def test_what_was_reported_beside_what_was_expected() -> None:
    september = date(2026, 9, 1)
    before = [_count("S1", september, 3.0)]
    after = [
        _count("S1", september, 2.0),
        _count("S1", OCTOBER, 2.0),
        _count("S2", OCTOBER, 0.0),
        _count("S1", NOVEMBER, 5.0),
        _count("S2", NOVEMBER, None),
    ]
    expected = pl.DataFrame(
        {
            "study": ["ALPHA", "ALPHA", "BETA"],
            "level": ["study", "site", "study"],
            "node": ["ALPHA", "S1", "BETA"],
            "ds": [OCTOBER] * 3,
            "measure": ["monthly"] * 3,
            "mean": [4.02, 1.0, 9.0],
        }
    )
    found = _facts({"enrolment": before}, {"enrolment": after}, expected=expected)
    assert found["enrolment"] == (
        "enrolment in October 2026 was 2 instead of 4.0 expected",
        "enrolment in November 2026 was 5 (1 site not reported)",
        "enrolment before October 2026 was corrected by -1.0",
    )


def test_sites() -> None:
    january, march, day = date(2027, 1, 5), date(2027, 3, 1), date(2026, 11, 12)

    def site(name: str, planned: date | None = january, **more: Any) -> dict[str, Any]:
        return {"site": name, "planned_activation_date": planned, "country": "FR", **more}

    before = [site(f"S{k}") for k in range(1, 8)]
    before[2] |= {"planned_rate": 1.0, "activation_probability": 0.9}
    after = [
        site("S1", activated_date=day),
        site("S2", planned=march),
        site("S3", planned_rate=1.5, activation_probability=0.75),
        site("S4", planned=date(2027, 1, 20)),
        site("S5", closed_date=day),
        site("S6", planned=None),
        site("S8", planned=march),
        site("S9", activated_date=day),
    ]
    assert _facts({"sites": before}, {"sites": after})["sites"] == (
        "S1 opened on 12 November 2026 (planned 5 January 2027)",
        "S2's opening moved from January 2027 to March 2027",
        "S3's probability of activation changed from 90% to 75%",
        "S3's planned rate changed from 1 to 1.5",
        "S4's opening moved from 5 January 2027 to 20 January 2027",
        "S5 closed on 12 November 2026",
        "S6's opening is now none given instead of 5 January 2027",
        "S8 is new, planned for March 2027",
        "S9 is new, open since 12 November 2026",
        "S7 is no longer listed",
    )


def test_events() -> None:
    def event(name: str, **more: Any) -> dict[str, Any]:
        row = {"event_id": name, "date": date(2027, 3, 1), "kind": None, "acts_on": "enrolment"}
        return {**row, "low": 0.5, "high": 0.8, "probability": 0.5, **more}

    before = [event("E1"), event("E2"), event("E3")]
    after = [event("E2", probability=0.8, low=0.6), event("E3"), event("E4", kind="amendment"),
             event("E5", probability=1.0)]  # fmt: skip
    assert _facts({"study_events": before}, {"study_events": after})["events"] == (
        "event E2's probability changed from 50% to 80%",
        "event E2's low changed from 0.5 to 0.6",
        "event E4 is new (amendment, 1 March 2027, 50% likely)",
        "event E5 is new (1 March 2027)",
        "event E1 was withdrawn",
    )


def test_lines() -> None:
    def line(name: str, tier: str = "pipeline", **more: Any) -> dict[str, Any]:
        row = {"line_id": name, "tier": tier, "quantity": 1.0, "outcome": "open"}
        return {**row, "converted_ds": None, "probability_low": 0.1, **more}

    before = [line(f"L{k}") for k in range(1, 9)]
    after = [
        line("L1", "committed"),
        line("L2", "highly_probable"),
        line("L3", outcome="converted", converted_ds=NOVEMBER),
        *(line(f"L{k}", outcome="lost") for k in range(4, 8)),
        line("L8", probability_low=0.2),
        line("M1", quantity=2.0),
        line("M2", quantity=3.0),
    ]
    assert _facts({"tier_lines": before}, {"tier_lines": after})["tiers"] == (
        "2 new lines (5 patients)",
        "line L1 moved from pipeline to committed",
        "line L2 moved from pipeline to highly probable",
        "line L3 converted",
        "lines L4, L5, L6 and 1 more were lost",
        "the range stated of line L8 changed",
    )
    assert _facts({"tier_lines": before}, {"tier_lines": before[:6]})["tiers"] == (
        "lines L7 and L8 are no longer listed",
    )


def test_the_rest() -> None:
    before = {
        "studies": [{"target_enrolment": 100.0, "last_patient_date": None}],
        "cohorts": [{"cohort": "a", "share_low": 0.2}, {"cohort": "b"}],
        "enrolment_plan": [{"ds": OCTOBER, "version": "v1", "enrolled": 1.0}],
    }
    after = {
        "studies": [{"target_enrolment": 120.0, "last_patient_date": date(2027, 6, 30)}],
        "cohorts": [{"cohort": "a", "share_low": 0.3}, {"cohort": "c"}],
        "enrolment_plan": [{"ds": OCTOBER, "version": v, "enrolled": 1.0} for v in ("v1", "v2")],
        "schedule": [{"cohort": "*", "country": "*", "protocol_version": "*", "per": "enrolled",
                      "month_offset": 0, "unique_id": "X", "quantity": 1.0}],
    }  # fmt: skip
    assert _facts(before, after)["rest"] == (
        "the study's target changed from 100 to 120",
        "the study's last patient date changed from none given to 30 June 2027",
        "cohort a's lowest share changed from 20% to 30%",
        "cohort c is new",
        "cohort b is no longer listed",
        "plan v2 is new",
        "the schedule of supplies changed",
    )


def test_other_studies_are_left_out() -> None:
    row = {"study": "BETA", "site": "S1"}
    after = clinical_inputs(OCTOBER, sites=pl.DataFrame([row]))
    assert input_facts(_inputs(OCTOBER), after, study="ALPHA")["sites"] == ()
