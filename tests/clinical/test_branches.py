"""Branches: the paths in which something holds, by plain loops; the questions asked unasked."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from sopforecast.clinical.branches import FEWEST_PATHS, branch, branch_ahead, default_branches
from sopforecast.clinical.conditions import Clause, Condition, holds, parse_condition
from sopforecast.clinical.forecasts import patients_by
from sopforecast.clinical.inputs import ClinicalInputs, clinical_inputs
from sopforecast.clinical.paths import NEVER, TrialPaths
from sopforecast.core.months import add_months

CYCLE, JUNE = date(2026, 12, 1), date(2027, 6, 1)
SITES = ("S1", "S2", "S3", "S4", "S5", "S6")
PLANNED = {
    "S2": date(2027, 1, 10),
    "S3": date(2027, 2, 3),
    "S4": date(2026, 10, 1),  # late already
    "S5": date(2027, 1, 1),
    "S6": date(2028, 5, 1),  # after the month of the question
}
OPENS = {"S1": (-1, -1), "S2": (0, 4), "S3": (1, 5), "S4": (0, 2), "S5": (0, 3), "S6": (7, 7)}
RATES = {"S1": 2.0, "S2": 3.0, "S3": 2.0, "S4": 0.2, "S5": 1.0, "S6": 5.0}


def _trial(paths: int = 900, seed: int = 3, **opens_in: tuple[int, int]) -> TrialPaths:
    """A site enrols from the month it opens in; event E2 halves everybody from month 2 on."""
    rng = np.random.default_rng(seed)
    bounds = {**OPENS, **opens_in}
    opens = np.stack([rng.integers(*_closed(bounds[site]), paths) for site in SITES], axis=1)
    events = {"E1": rng.random(paths) < 0.5, "E2": rng.random(paths) < 0.4, "E3": opens[:, 0] < 0}
    enrolled = np.zeros((paths, len(SITES), 1, 8), dtype=np.int16)
    for g, site in enumerate(SITES):
        for h in range(8):
            rate = RATES[site] * np.where(events["E2"] & (h >= 2), 0.5, 1.0)
            enrolled[:, g, 0, h] = rng.poisson(rate) * (opens[:, g] <= h)
    return TrialPaths(
        study="ALPHA",
        cycle=CYCLE,
        sites=SITES,
        countries=("*",) * len(SITES),
        cohorts=("all",),
        screened=enrolled[:, :, 0],
        enrolled=enrolled,
        activated=opens.astype(np.int16),
        enrolled_before=np.full((len(SITES), 1), 3),
        events=events,
    )


def _closed(bounds: tuple[int, int]) -> tuple[int, int]:
    return bounds[0], bounds[1] + 1


def _inputs(events: dict[str, date] | None = None) -> ClinicalInputs:
    dated = events or dict.fromkeys(("E1", "E2", "E3"), date(2027, 2, 1))
    return clinical_inputs(
        CYCLE,
        sites=pl.DataFrame(
            {
                "study": "ALPHA",
                "site": SITES,
                "planned_activation_date": [PLANNED.get(site) for site in SITES],
                "activated_date": [date(2026, 1, 5) if s == "S1" else None for s in SITES],
            }
        ),
        study_events=pl.DataFrame(
            {
                "event_id": list(dated),
                "study": "ALPHA",
                "date": list(dated.values()),
                "acts_on": "enrolment",
                "probability": 0.5,
            }
        ),
    )


TRIAL = _trial()
clauses = st.one_of(
    st.builds(
        lambda kind, sites, ahead: Clause(kind, tuple(sites), add_months(CYCLE, ahead)),
        st.sampled_from(["activates", "waits"]),
        st.lists(st.sampled_from(SITES), min_size=1, max_size=3, unique=True),
        st.integers(0, 7),
    ),
    st.builds(
        lambda kind, event: Clause(kind, (event,)),
        st.sampled_from(["happens", "fails"]),
        st.sampled_from(["E1", "E2", "E3"]),
    ),
)
conditions = st.lists(clauses, min_size=1, max_size=3).map(lambda found: Condition(tuple(found)))


@given(conditions, st.integers(0, 7))
def test_a_branch_and_the_rest_are_the_whole(condition: Condition, ahead: int) -> None:
    inside = holds(condition, TRIAL)
    patients = patients_by(TRIAL, add_months(CYCLE, ahead))
    parts = sum(
        float(side.mean()) * float(patients[side].mean())
        for side in (inside, ~inside)
        if side.any()
    )
    assert np.isclose(parts, patients.mean())
    found = branch(TRIAL, condition, by=add_months(CYCLE, ahead))
    assert found.probability == inside.mean()
    assert (found.patients is None) == (inside.sum() < FEWEST_PATHS)
    assert (found.otherwise is None) == ((~inside).sum() < FEWEST_PATHS)


@settings(max_examples=40)
@given(conditions)
def test_its_range_by_sorting_the_paths_that_hold(condition: Condition) -> None:
    found = branch(TRIAL, condition, by=JUNE, new=True)
    for spread, wanted in ((found.patients, True), (found.otherwise, False)):
        counts = sorted(
            sum(int(x) for x in path[:, :, :7].ravel())
            for path, inside in zip(TRIAL.enrolled, holds(condition, TRIAL), strict=True)
            if inside == wanted
        )
        if spread is None:
            assert len(counts) < FEWEST_PATHS
            continue
        for value, level in ((spread.low, 10), (spread.middle, 50), (spread.high, 90)):
            rank = -(-level * len(counts) // 100)  # rounded up
            assert value == counts[rank - 1]


def test_a_branch_month_by_month_ends_where_its_range_does() -> None:
    condition = parse_condition("sites S2 and S3 activate by 2027-02", TRIAL)
    frame = branch_ahead(TRIAL, condition)
    assert frame["ds"].to_list() == [add_months(CYCLE, ahead) for ahead in range(8)]
    for row in frame.iter_rows(named=True):
        spread = branch(TRIAL, condition, by=row["ds"]).patients
        assert spread is not None
        assert (row["p10"], row["p50"], row["p90"]) == (spread.low, spread.middle, spread.high)
    rare = parse_condition("site S6 activates by 2026-12", TRIAL)
    assert branch_ahead(TRIAL, rare).is_empty()


def test_the_sites_that_matter_most_and_one_event() -> None:
    sites, event = default_branches(TRIAL, _inputs(), by=JUNE)
    # S6 is planned after June; S4 is late and small, so S2, S3 and S5 have more at stake.
    assert sites.text == "sites S2, S3 and S5 activate by February 2027"
    assert event.text == "event E2 happens"


def test_the_least_site_goes_first_while_paths_are_too_few() -> None:
    few = _trial(paths=240)
    joint = parse_condition("sites S2, S3 and S5 activate by 2027-02", few)
    pair = parse_condition("sites S2 and S3 activate by 2027-02", few)
    assert holds(joint, few).sum() < FEWEST_PATHS <= holds(pair, few).sum()
    assert default_branches(few, _inputs(), by=JUNE)[0] == pair


def test_sites_that_hardly_open_together_are_not_asked_together() -> None:
    rare = _trial(1000, S2=(0, 9))  # 30% x 40% x 75% by February
    joint = parse_condition("sites S2, S3 and S5 activate by 2027-02", rare)
    assert FEWEST_PATHS <= holds(joint, rare).sum() < 100
    pair = parse_condition("sites S2 and S3 activate by 2027-02", rare)
    assert default_branches(rare, _inputs(), by=JUNE)[0] == pair


def test_a_late_site_is_asked_by_the_middle_of_its_paths() -> None:
    alone = _inputs()
    alone = replace(alone, sites=alone.sites.filter(pl.col("site").is_in(["S1", "S4"])))
    (condition, _) = default_branches(TRIAL, alone, by=JUNE)
    months = sorted(int(month) for month in TRIAL.activated[:, 3])
    expected = add_months(CYCLE, months[len(months) // 2 - 1])
    assert condition == Condition((Clause("activates", ("S4",), expected),))


def test_an_event_after_the_question_is_not_asked() -> None:
    later = _inputs(dict.fromkeys(("E1", "E2", "E3"), date(2027, 7, 1)))
    assert [c.text for c in default_branches(TRIAL, later, by=JUNE)] == [
        "sites S2, S3 and S5 activate by February 2027"
    ]


def test_nothing_to_ask_of_a_study_that_is_open() -> None:
    opened = replace(TRIAL, activated=np.full_like(TRIAL.activated, -1), events={})
    assert default_branches(opened, _inputs(), by=JUNE) == ()
    never = replace(TRIAL, activated=np.full_like(TRIAL.activated, NEVER), events={})
    assert default_branches(never, _inputs(), by=JUNE) == ()
