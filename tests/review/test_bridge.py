"""Steps of a walk, worked by hand on the four-item company, and what must hold of any walk."""

from __future__ import annotations

import doctest

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sopforecast.review import bridge
from sopforecast.review.bridge import MOST_SOURCES, Walk, sources_of, walk


def test_the_examples_in_the_docstrings_hold():
    failed, tried = doctest.testmod(bridge)
    assert tried >= 1
    assert failed == 0


def told(way: Walk) -> list[tuple[str, str]]:
    return [(step.name, step.text) for step in way.steps]


def test_the_total_is_walked_over_the_whole_horizon(judgement):
    way = walk(judgement.bridge, judgement.statistical, node="total")
    # 12 months of 330; 60 + 40 more; 91 + 41 - 30 is 2 more than that, which is rounding
    assert told(way) == [
        ("Statistical", "3,960"), ("sales", "+91"), ("finance", "+41"), ("marketing", "−30"),
        ("Whole numbers", "−2"), ("Consensus", "4,060"), ("Fixed", "−25"), ("Approved", "4,035"),
    ]  # fmt: skip


def test_a_family_shows_what_moved_it_in_the_order_of_the_total(judgement):
    total = walk(judgement.bridge, judgement.statistical, node="total")
    north = walk(judgement.bridge, judgement.statistical, node="family=North",
                 order=("marketing", "sales"))  # fmt: skip
    assert sources_of(total) == ("sales", "finance", "marketing")
    assert told(north) == [
        ("Statistical", "360"), ("marketing", "−30"), ("sales", "+91"), ("Whole numbers", "−1"),
        ("Consensus", "420"),
    ]  # fmt: skip


def test_what_nothing_moved_has_no_walk(judgement):
    assert walk(judgement.bridge, judgement.statistical, node="a") is None
    still = judgement.bridge.with_columns(
        change=pl.when(pl.col("position") == 0).then("change").otherwise(0.0)
    )
    assert walk(still, judgement.statistical, node="total") is None


def test_fixed_figures_alone_lead_straight_to_the_approved_plan(judgement):
    alone = judgement.bridge.filter(pl.col("step").is_in(["statistical", "fixed"]))
    way = walk(alone, judgement.statistical, node="total")
    assert told(way) == [("Statistical", "3,960"), ("Fixed", "−25"), ("Approved", "3,935")]
    assert way.last == "approved plan"


@pytest.mark.parametrize(
    ("change", "text"), [(1240.3, "+1,240"), (12.34, "+12.3"), (-0.126, "−0.13"), (20.4, "+20")]
)
def test_changes_are_rounded_as_the_largest_deserves(judgement, change, text):
    one = judgement.bridge.head(0)
    row = {"unique_id": "total", "position": 1, "step": "source:sales", "change": change}
    one = pl.concat([one, pl.DataFrame([row])], how="diagonal_relaxed")
    assert told(walk(one, judgement.statistical, node="total"))[1] == ("sales", text)


def random_walk(start: float, moved: list[float], fixed: float | None) -> Walk | None:
    steps = {f"source:s{index:02d}": change for index, change in enumerate(moved)}
    steps["whole_numbers"] = round(sum(moved)) - sum(moved)
    if fixed is not None:
        steps["fixed"] = fixed
    rows = [
        {"unique_id": "total", "position": place, "step": step, "change": change}
        for place, (step, change) in enumerate(steps.items(), start=1)
    ]
    statistical = pl.DataFrame({"unique_id": ["total"], "plan": [start]})
    return walk(pl.DataFrame(rows), statistical, node="total")


changes = st.floats(-1e6, 1e6).map(lambda value: round(value, 3))


@given(st.integers(0, 10**7), st.lists(changes, min_size=1, max_size=14), st.none() | changes)
def test_what_is_shown_adds_up_and_every_step_starts_where_the_last_one_ended(start, moved, fixed):
    way = random_walk(float(start), moved, fixed)
    if way is None:
        assert not any(moved)
        assert not fixed
        return
    shown, at = way.steps[0].shown, way.steps[0].end
    for step in way.steps[1:]:
        assert step.start == pytest.approx(step.end if step.is_plan else at, abs=1e-6)
        shown = step.shown if step.is_plan else round(shown + step.shown, 6)
        at = step.end
        if step.is_plan:
            before = way.steps[way.steps.index(step) - 1]
            assert before.end == pytest.approx(step.end, abs=0.5 * len(moved) + 0.51)
    plans = [step.shown for step in way.steps if step.is_plan]
    total = sum(step.shown for step in way.steps if not step.is_plan)
    assert plans[-1] - plans[0] == pytest.approx(total, abs=1e-6)
    assert len(sources_of(way)) <= MOST_SOURCES
    parts = [step.end - step.start for step in way.changes("source")]
    assert sum(parts) == pytest.approx(sum(moved), abs=1e-6)
