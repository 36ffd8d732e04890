"""The enrolment chart as a picture of its numbers: read back from the SVG by hand-made scales."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from datetime import date
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sopforecast.core.months import add_months
from sopforecast.review.charts import BANDS
from sopforecast.review.enrolment import (
    BRANCH_COLOUR,
    LONGEST_LABEL,
    TARGET_COLOUR,
    Branch,
    enrolment_chart,
)
from sopforecast.review.svg import ACTUAL_COLOUR, PLAN_COLOUR, STATISTICAL_COLOUR

CYCLE = date(2026, 12, 1)
SVG = "{http://www.w3.org/2000/svg}"
LINK = "{http://www.w3.org/1999/xlink}"
WIDTH, HEIGHT = 72 * 6.4, 72 * 3.7  # the picture in points
LEFT, BOTTOM, WIDE, HIGH = 0.075, 0.085, 0.91, 0.76


def months(first: int, values: list[float | None], column: str = "cumulative") -> pl.DataFrame:
    """Values of months from ``first`` on, counted from the cycle."""
    ds = [add_months(CYCLE, first + number) for number in range(len(values))]
    return pl.DataFrame({"ds": ds, column: values}, schema={"ds": pl.Date, column: pl.Float64})


def fan_of(medians: list[float], *, spread: float = 0.1) -> pl.DataFrame:
    steps = {"p10": -2, "p25": -1, "p50": 0, "p75": 1, "p90": 2}
    return months(0, [float(v) for v in medians], "p50").with_columns(
        **{name: pl.col("p50") * (1 + step * spread) for name, step in steps.items()},
    )


ACTUAL = months(-6, [2.0, 5.0, 9.0, 10.0, 14.0, 20.0])
PLAN = months(-12, [3.0 * number for number in range(1, 25)])
FAN = fan_of([24.0, 27.0, 30.0, 32.0])
BRANCH = Branch("if S7 and S9 activate by Feb 2027 (35%)", months(0, [24, 29, 34, 38], "p50"))


def chart(**changed: Any) -> str:
    given_ = {"cycle": CYCLE, "actual": ACTUAL, "plan": PLAN, "fan": FAN, "title": "NOVA-1",
              "branch": BRANCH, "target": 45.0}  # fmt: skip
    return enrolment_chart(**given_ | changed)


def x_of(month: float, *, first: float, last: float) -> float:
    """Where a month is drawn when the axis runs from ``first`` - 0.4 to ``last`` + 0.4."""
    share = (month - (first - 0.4)) / (last - first + 0.8)
    return WIDTH * (LEFT + WIDE * share)


def y_of(patients: float, *, highest: float) -> float:
    """Where patients are drawn when the axis runs from 0 to 9% above the highest."""
    return HEIGHT * (1 - (BOTTOM + HIGH * patients / (1.09 * highest)))


def numbers(path: ET.Element) -> list[np.ndarray]:
    pieces = re.split("M", path.get("d", ""))[1:]
    found = [re.findall(r"-?\d+\.?\d*", piece) for piece in pieces]
    return [np.reshape(piece, (-1, 2)).astype(float) for piece in found]


def lines(svg: str, colour: str) -> list[np.ndarray]:
    """Every line of that colour inside the plot."""
    return [
        piece
        for path in ET.fromstring(svg).iter(f"{SVG}path")
        if "clip-path" in path.attrib and f"stroke: {colour}" in path.get("style", "")
        for piece in numbers(path)
    ]


def areas(svg: str, colour: str) -> list[np.ndarray]:
    root = ET.fromstring(svg)
    shapes = {path.get("id"): path for path in root.iter(f"{SVG}path")}
    return [
        piece + np.array([float(use.get("x", 0)), float(use.get("y", 0))])
        for use in root.iter(f"{SVG}use")
        if f"fill: {colour}" in use.get("style", "")
        for piece in numbers(shapes[use.get(f"{LINK}href", "")[1:]])
    ]


def texts(svg: str) -> list[str]:
    return ["".join(text.itertext()) for text in ET.fromstring(svg).iter(f"{SVG}text")]


def test_actual_plan_median_and_branch_are_where_they_belong():
    svg, span = chart(), {"first": -6, "last": 3}
    tall = {"highest": 48.0}  # the plan of month 3 lies above target and fan
    (actual,) = lines(svg, ACTUAL_COLOUR)
    assert actual[0] == pytest.approx([x_of(-6, **span), y_of(2, **tall)], abs=0.01)
    assert actual[-1] == pytest.approx([x_of(-1, **span), y_of(20, **tall)], abs=0.01)
    (plan,) = lines(svg, STATISTICAL_COLOUR)
    assert len(plan) == 10  # from the first count to the last forecast
    assert plan[0] == pytest.approx([x_of(-6, **span), y_of(21, **tall)], abs=0.01)
    assert plan[-1] == pytest.approx([x_of(3, **span), y_of(48, **tall)], abs=0.01)
    for colour, last in ((PLAN_COLOUR, 32), (BRANCH_COLOUR, 38)):
        (line,) = lines(svg, colour)
        assert len(line) == 5
        assert line[0] == pytest.approx(actual[-1], abs=0.01)  # it starts at the last count
        assert line[-1] == pytest.approx([x_of(3, **span), y_of(last, **tall)], abs=0.01)


def test_the_bands_open_at_the_last_count():
    svg = chart(plan=PLAN.clear())
    outer, inner = BANDS
    for band, share in ((outer, 0.2), (inner, 0.1)):
        (corners,) = areas(svg, band.colour)
        at_end = corners[np.isclose(corners[:, 0], x_of(3, first=-6, last=3), atol=0.01)]
        wanted = [y_of(32 * (1 + share), highest=45.0), y_of(32 * (1 - share), highest=45.0)]
        assert sorted(set(at_end[:, 1].round(3))) == pytest.approx(wanted, abs=0.01)
        at_start = corners[np.isclose(corners[:, 0], x_of(-1, first=-6, last=3), atol=0.01)]
        assert at_start[:, 1] == pytest.approx(y_of(20, highest=45.0), abs=0.01)


def test_the_target_is_a_named_line_across():
    svg = chart(plan=PLAN.clear())
    level = [line for line in lines(svg, TARGET_COLOUR) if np.ptp(line[:, 1]) == 0]
    (target,) = level
    assert target[0, 1] == pytest.approx(y_of(45, highest=45.0), abs=0.01)
    assert np.ptp(target[:, 0]) == pytest.approx(WIDE * WIDTH, abs=0.01)
    assert "Target 45" in texts(svg)
    bare = chart(plan=PLAN.clear(), target=None)
    assert not [line for line in lines(bare, TARGET_COLOUR) if np.ptp(line[:, 1]) == 0]
    assert not [word for word in texts(bare) if word.startswith("Target")]


def test_a_target_far_above_is_named_and_does_not_flatten_the_rest():
    svg = chart(plan=PLAN.clear(), target=1000.0)
    assert "Target 1,000, above this chart" in texts(svg)
    assert not [line for line in lines(svg, TARGET_COLOUR) if np.ptp(line[:, 1]) == 0]
    (actual,) = lines(svg, ACTUAL_COLOUR)
    assert actual[-1, 1] == pytest.approx(y_of(20, highest=32 * 1.2), abs=0.01)


def test_everything_has_a_name_and_the_axis_a_unit():
    words = texts(chart())
    names = {"Actual", "Planned", "Median", "P10–P90", "P25–P75"}
    assert names | {"Patients enrolled so far", BRANCH.label, "Target 45"} <= set(words)
    assert "Jan 2027" in words
    bare = set(texts(chart(plan=PLAN.clear(), branch=None, actual=ACTUAL.clear())))
    assert not {"Actual", "Planned", BRANCH.label} & bare
    assert names - {"Actual", "Planned"} <= bare


def test_an_unknown_month_is_a_gap():
    (first, second) = lines(chart(actual=months(-6, [2, 5, None, 10, 14, 20])), ACTUAL_COLOUR)
    assert [len(first), len(second)] == [2, 3]


def test_where_the_last_month_is_unknown_nothing_is_joined():
    svg = chart(actual=months(-6, [2, 5, 9, 10, 14]))
    (median,) = lines(svg, PLAN_COLOUR)
    assert len(median) == 4


def test_a_study_with_nothing_behind_it():
    svg = chart(actual=ACTUAL.clear(), plan=PLAN.clear(), branch=None, target=None)
    assert not lines(svg, ACTUAL_COLOUR)
    (median,) = lines(svg, PLAN_COLOUR)
    assert median[0] == pytest.approx(
        [x_of(0, first=-2, last=3), y_of(24, highest=32 * 1.2)], abs=0.01
    )


def test_one_month_ahead_and_nobody_expected():
    nobody = fan_of([0.0])
    svg = chart(actual=ACTUAL.clear(), plan=PLAN.clear(), fan=nobody, branch=None, target=None)
    assert areas(svg, BANDS[0].colour)
    svg = chart(actual=ACTUAL.clear(), plan=PLAN.clear(), fan=nobody, branch=None, target=30.0)
    assert "Target 30" in texts(svg)


def test_patients_are_whole_on_the_axis():
    svg = chart(actual=months(-2, [0, 1]), plan=PLAN.clear(), fan=fan_of([1, 1]), branch=None,
                target=None)  # fmt: skip
    assert {word for word in texts(svg) if re.fullmatch(r"[0-9.,]+", word)} == {"0", "1"}


def test_a_long_label_is_cut_and_hostile_words_stay_words():
    evil = '<script>alert("x")</script> & $\\alpha$ ' + "S7 and " * 30
    svg = chart(branch=Branch(evil, BRANCH.ahead), title=evil)
    (label,) = [word for word in texts(svg) if word.startswith("<script>")]
    assert len(label) == LONGEST_LABEL
    assert label.endswith("…")
    assert "$\\alpha$" in label
    assert "<script" not in svg


def test_the_same_numbers_give_the_same_bytes():
    assert chart() == chart()
    assert chart() == chart(actual=ACTUAL.reverse(), fan=FAN.reverse(), plan=PLAN.reverse())


@settings(max_examples=20, deadline=None)
@given(
    behind=st.lists(st.integers(0, 40), max_size=70),
    ahead=st.lists(st.integers(0, 40), min_size=1, max_size=36),
    target=st.one_of(st.none(), st.integers(1, 3000)),
)
def test_all_that_is_drawn_lies_inside_the_plot(behind, ahead, target):
    start = sum(behind)
    svg = chart(
        actual=months(-len(behind), [float(v) for v in np.cumsum(behind)]),
        fan=fan_of([float(v) for v in start + np.cumsum(ahead)]),
        branch=None,
        target=None if target is None else float(target),
    )
    top, bottom = HEIGHT * (1 - BOTTOM - HIGH), HEIGHT * (1 - BOTTOM)
    for colour in (ACTUAL_COLOUR, PLAN_COLOUR, STATISTICAL_COLOUR):
        for line in lines(svg, colour):
            assert top - 0.01 <= line[:, 1].min() <= line[:, 1].max() <= bottom + 0.01
    assert texts(svg).count("Median") == 1
