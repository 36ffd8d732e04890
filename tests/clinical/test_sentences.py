"""The sentences of a review word for word, and every number in them from plain loops."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sopforecast.clinical.branches import default_branches, parse_condition
from sopforecast.clinical.evidence import Evidence
from sopforecast.clinical.inputs import ClinicalInputs, clinical_inputs
from sopforecast.clinical.paths import NEVER, TrialPaths
from sopforecast.clinical.sentences import default_by, study_sentences
from sopforecast.errors import RequestError

CYCLE, JUNE = date(2026, 12, 1), date(2027, 6, 1)
SCREENED = Evidence(sites_seen=9, months_seen=20, site_months=90, screening_months=90)
IF = "sites S7 and S9 activate by 2027-02"


def _trial(totals: list[int], branch: list[bool], *, before: int = 0) -> TrialPaths:
    """Totals by June, spread over seven months; S7 and S9 open in January in the branch."""
    paths = len(totals)
    enrolled = np.zeros((paths, 3, 1, 9), dtype=np.int16)
    for path, total in enumerate(totals):
        for patient in range(total):
            enrolled[path, 0, 0, patient % 7] += 1
    opens = np.where(np.array(branch)[:, None], [1, 1], [4, NEVER])
    return TrialPaths(
        study="ALPHA",
        cycle=CYCLE,
        sites=("S1", "S7", "S9"),
        countries=("*",) * 3,
        cohorts=("all",),
        screened=enrolled[:, :, 0],
        enrolled=enrolled,
        activated=np.column_stack([np.full(paths, -1), opens]).astype(np.int16),
        enrolled_before=np.array([[before], [0], [0]]),
        events={},
    )


def _inputs(**tables: Any) -> ClinicalInputs:
    return clinical_inputs(CYCLE, **{name: pl.DataFrame(rows) for name, rows in tables.items()})


def _ranks(values: list[int]) -> tuple[int, int, int]:
    ordered = sorted(values)
    return tuple(ordered[-(-level * len(ordered) // 100) - 1] for level in (10, 50, 90))  # type: ignore[return-value]


def test_the_sentence_of_the_demand_review() -> None:
    # 1,000 paths: 100 with the two sites (26 to 35, middle 30), 900 without (15 to 25 or so).
    with_sites = [26] * 10 + [28] * 30 + [30] * 20 + [33] * 30 + [35] * 10
    without = [14] * 90 + [15] * 60 + [20] * 600 + [25] * 150
    trial = _trial([*with_sites, *without], [True] * 100 + [False] * 900)
    said = study_sentences(
        trial, inputs=_inputs(), evidence=SCREENED, by=JUNE, branches=[parse_condition(IF, trial)]
    )
    assert said.headline == (
        "15 to 25 patients by June 2027 (80%), based on current screening rates; "
        "30 (26 to 33) if sites S7 and S9 activate by February 2027 (10% likely)"
    )


def test_a_likely_branch_widens_the_range_it_is_part_of() -> None:
    # With 30 as the middle of 35% of the paths, at least 17.5% of all have 30 or more.
    with_sites = [26] * 40 + [28] * 100 + [30] * 100 + [34] * 110
    without = [15] * 100 + [20] * 350 + [25] * 200
    trial = _trial([*with_sites, *without], [True] * 350 + [False] * 650, before=42)
    said = study_sentences(
        trial, inputs=_inputs(), evidence=SCREENED, branches=[parse_condition(IF, trial)]
    )
    assert said.headline == (
        "15 to 34 new patients by June 2027 (80%), based on current screening rates; "
        "30 (26 to 34) if sites S7 and S9 activate by February 2027 (35% likely)"
    )
    assert said.branches == (
        "By June 2027, if sites S7 and S9 activate by February 2027 (35% likely): 30 (26 to 34); "
        "if not: 20 (15 to 25)",
    )
    assert said.so_far == "42 enrolled so far; 57 to 76 in total by June 2027 (80%)"


def test_one_number_where_both_ends_are_the_same() -> None:
    trial = _trial([12] * 60, [True] * 60)
    said = study_sentences(
        trial,
        inputs=_inputs(),
        evidence=Evidence(site_months=4, sites_seen=3, months_seen=2),
        branches=[
            parse_condition(IF, trial),
            parse_condition("site S7 activates by 2026-12", trial),
        ],
    )
    assert said.headline == (
        "12 patients by June 2027 (80%), based on current enrolment rates; "
        "12 if sites S7 and S9 activate by February 2027 (over 99% likely); "
        "if site S7 activates by December 2026: too rare to say, fewer than 50 of 60 paths"
    )
    assert said.branches[1] == (
        "By June 2027, if site S7 activates by December 2026 (under 1% likely): "
        "too rare to say, fewer than 50 of 60 paths; if not: 12"
    )
    assert said.monthly == (
        "Next months, patients (80% each): 2 in December 2026, 2 in January 2027 and 2 in "
        "February 2027"
    )
    assert said.lines[-1] == (
        "3 sites and 2 months of data: the range leans on what was assumed before any patient"
    )
    assert said.so_far == said.target == said.plan == ""


def test_everything_that_is_said_in_order() -> None:
    trial = _trial([10] * 40 + [20] * 60, [False] * 40 + [True] * 60, before=5)
    inputs = _inputs(
        studies=[{"study": "ALPHA", "target_enrolment": 25.0, "last_patient_date": JUNE}],
        enrolment_plan=[
            {"study": "ALPHA", "ds": ds, "version": "v1", "enrolled": patients}
            for ds, patients in ((date(2026, 11, 1), 8.0), (CYCLE, 4.0), (JUNE, 15.0))
        ],
        sites=[
            {"study": "ALPHA", "site": site, "planned_activation_date": date(2027, 1, 20)}
            for site in ("S7", "S9")
        ],
    )
    said = study_sentences(
        trial,
        inputs=inputs,
        evidence=Evidence(sites_waiting=2, activations_seen=9),
        branches=default_branches(trial, inputs, by=JUNE),
    )
    assert said.lines == (
        "10 to 20 new patients by June 2027 (80%), based on planned rates",
        "5 enrolled so far; 15 to 25 in total by June 2027 (80%); the study stops at 25",
        "Next months, patients (80% each): 2 to 3 in December 2026, 2 to 3 in January 2027 and "
        "2 to 3 in February 2027",
        "60% likely to reach 25 patients by June 2027; even odds of 25 patients by June 2027 "
        "(80%: June 2027 to after August 2027, the last month forecast)",
        "Red: 5 enrolled through November 2026, 8 planned (plan v1); under 1% likely to be on or "
        "above the plan of 27 by June 2027",
        "No site has reported yet: the range is what was assumed before any patient",
    )


def test_the_numbers_are_plain_values() -> None:
    trial = _trial([10] * 40 + [20] * 60, [False] * 40 + [True] * 60, before=5)
    inputs = _inputs(studies=[{"study": "ALPHA", "target_enrolment": 25.0}])
    numbers = study_sentences(
        trial, inputs=inputs, evidence=SCREENED, branches=[parse_condition(IF, trial)]
    ).numbers
    assert json.loads(json.dumps(numbers)) == numbers
    assert numbers["by"] == "2027-06"
    assert numbers["mean_new"] == 16.0
    assert numbers["branches"] == [
        {
            "if": IF,
            "text": "sites S7 and S9 activate by February 2027",
            "paths": 60,
            "of": 100,
            "probability": 0.6,
            "new": {"p10": 20, "p50": 20, "p90": 20},
            "new_otherwise": None,
        }
    ]
    assert numbers["target"]["probability"] is None
    assert numbers["target"]["reached"] == {"p10": "2027-06", "p50": "2027-06", "p90": None}


counts = st.lists(st.integers(0, 40), min_size=120, max_size=200)


@settings(max_examples=40)
@given(counts, st.integers(50, 70), st.integers(0, 30))
def test_every_number_of_the_headline_by_sorting(
    totals: list[int], inside: int, before: int
) -> None:
    branch = [path < inside for path in range(len(totals))]
    trial = _trial(totals, branch, before=before)
    said = study_sentences(
        trial, inputs=_inputs(), evidence=SCREENED, by=JUNE, branches=[parse_condition(IF, trial)]
    )
    low, _, high = _ranks(totals)
    first, second = said.headline.split("; ")
    assert _numbers(first.partition(" by ")[0]) == ([low] if low == high else [low, high])
    low, middle, high = _ranks(totals[:inside])
    share = 100 * inside / len(totals)
    assert _numbers(second.replace("S7", "").replace("S9", "")) == [
        middle, *([] if low == high else [low, high]), 2027, round(share)
    ]  # fmt: skip


def _numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


def test_the_month_of_the_headline() -> None:
    trial = _trial([3] * 60, [True] * 60)
    assert default_by(trial) == JUNE
    short = replace(trial, enrolled=trial.enrolled[..., :4])
    assert default_by(short) == date(2027, 3, 1)
    with pytest.raises(RequestError, match="June 2029"):
        study_sentences(trial, inputs=_inputs(), evidence=SCREENED, by=date(2029, 6, 1))
