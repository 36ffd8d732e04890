"""Bridges by hand, and that they add up whatever the numbers."""

from __future__ import annotations

import re
from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sopforecast.clinical.changes import (
    Bridge,
    TrialSummary,
    counted_in,
    summary,
    summary_of,
    what_changed,
)
from sopforecast.clinical.forecasts import enrolment_frame
from sopforecast.clinical.paths import TrialPaths
from sopforecast.errors import RequestError

OCTOBER, NOVEMBER, JUNE = date(2026, 10, 1), date(2026, 11, 1), date(2027, 6, 1)
MONTHS = 9  # from October to June


def _summary(cycle: date, june: float) -> TrialSummary:
    horizon = MONTHS if cycle == OCTOBER else MONTHS - 1
    return TrialSummary("ALPHA", cycle, np.linspace(0.0, june, horizon))


def _paths(seed: int) -> TrialPaths:
    rng = np.random.default_rng(seed)
    enrolled = rng.poisson(1.1, (30, 2, 1, MONTHS)).astype(np.int16)
    return TrialPaths(
        study="ALPHA",
        cycle=OCTOBER,
        sites=("S1", "S2"),
        countries=("*", "*"),
        cohorts=("all",),
        screened=enrolled[:, :, 0],
        enrolled=enrolled,
        activated=np.full((30, 2), -1, dtype=np.int16),
        enrolled_before=np.array([[4], [7]]),
        events={},
    )


def test_a_bridge_word_for_word() -> None:
    steps = [
        ("enrolment", _summary(NOVEMBER, 21.1)),
        ("sites", _summary(NOVEMBER, 20.2)),
        ("events", _summary(NOVEMBER, 20.2)),
        ("tiers", _summary(NOVEMBER, 20.4)),
        ("rest", _summary(NOVEMBER, 20.4)),
    ]
    facts = {
        "enrolment": ["enrolment in October 2026 was 2 instead of 4.0 expected"],
        "sites": ["S9's opening moved from January 2027 to March 2027"],
        "rest": ["plan v2 is new"],
    }
    bridge = what_changed(_summary(OCTOBER, 23.5), steps, by=JUNE, facts=facts)
    assert bridge.text == (
        "From the October 2026 cycle the expected number by June 2027 fell by 3.1 to 20.4: "
        "enrolment in October 2026 was 2 instead of 4.0 expected (-2.4); "
        "S9's opening moved from January 2027 to March 2027 (-0.9); "
        "patients listed in tiers (+0.2); plan v2 is new (no change)"
    )
    assert [step.name for step in bridge.steps] == [name for name, _ in steps]
    assert bridge.prior_cycle == OCTOBER
    assert bridge.cycle == NOVEMBER


@pytest.mark.parametrize(
    ("june", "told"), [(25.0, "rose by 1.5 to 25.0"), (23.5, "stayed at 23.5")]
)
def test_up_and_level(june: float, told: str) -> None:
    bridge = what_changed(_summary(OCTOBER, 23.5), [("sites", _summary(NOVEMBER, june))], by=JUNE)
    assert told in bridge.text
    assert bridge.text.endswith(": openings and closures of sites (+1.5)") == (june != 23.5)


def test_many_facts_are_counted() -> None:
    facts = {"sites": [f"S{k} is new" for k in range(6)]}
    bridge = what_changed(
        _summary(OCTOBER, 1.0), [("sites", _summary(NOVEMBER, 2.0))], by=JUNE, facts=facts
    )
    assert "S0 is new, S1 is new, S2 is new, and 3 more (+1.0)" in bridge.text


expected = st.floats(0, 1e6, allow_subnormal=False)


@given(expected, st.lists(expected, min_size=1, max_size=6))
def test_it_adds_up_exactly(start: float, levels: list[float]) -> None:
    steps = [(f"step {k}", _summary(NOVEMBER, level)) for k, level in enumerate(levels)]
    bridge = what_changed(_summary(OCTOBER, start), steps, by=JUNE)
    assert bridge.start + sum(step.change for step in bridge.steps) == bridge.end
    assert sum(step.change for step in reversed(bridge.steps)) + bridge.start == bridge.end
    assert abs(bridge.end - levels[-1]) < 1e-6
    _check_printed(bridge)


def _check_printed(bridge: Bridge) -> None:
    """The printed tenths add up to the printed change."""
    text = bridge.text.replace(",", "")
    printed = [round(10 * float(change)) for change in re.findall(r"\(([+-][\d.]+)\)", text)]
    moved = re.search(r"(rose|fell) by ([\d.]+) to", text)
    total = 0 if moved is None else round(10 * float(moved[2])) * (1 if moved[1] == "rose" else -1)
    assert sum(printed) == total


def test_paths_and_what_was_stored_of_them_agree() -> None:
    before, after = _paths(1), _paths(2)
    frame = enrolment_frame({"ALPHA": before})
    stored = summary_of(frame, "ALPHA")
    np.testing.assert_allclose(stored.cumulative, summary(before).cumulative)
    plain = [11 + int(path.sum()) for path in before.enrolled]
    bridge = what_changed(stored, [("sites", after)], by=JUNE)
    assert bridge == what_changed(before, [("sites", after)], by=JUNE)
    assert bridge.start == pytest.approx(np.mean(plain), abs=1e-6)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(RequestError, match="study BETA: the prior run stored no"):
        summary_of(enrolment_frame({"ALPHA": _paths(1)}), "BETA")
    with pytest.raises(RequestError, match="found July 2027; allowed: October 2026 to June 2027"):
        what_changed(_paths(1), [("sites", _paths(2))], by=date(2027, 7, 1))
    assert isinstance(enrolment_frame({}), pl.DataFrame)


def test_patients_who_came_count_in_place_of_those_expected() -> None:
    """Two came in October where 4 were expected: 2 fewer from then on; November is not over."""
    from types import SimpleNamespace

    before = TrialSummary("A", date(2026, 10, 1), np.array([14.0, 18.0, 22.0]))
    now = SimpleNamespace(cycle=date(2026, 11, 1), enrolled_before=np.array([[7.0, 5.0]]))
    counted = counted_in(before, now)
    assert counted.cumulative.tolist() == [12.0, 16.0, 20.0]
    assert counted.cycle == before.cycle
