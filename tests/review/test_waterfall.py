"""The waterfall as a picture of its numbers: read back from the SVG, not from the code."""

from __future__ import annotations

import re
import warnings
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sopforecast.review.bridge import Step, Walk
from sopforecast.review.svg import PLAN_COLOUR, STATISTICAL_COLOUR
from sopforecast.review.waterfall import DOWN_COLOUR, UP_COLOUR, waterfall

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = '<script>alert(1)</script> "$x$ & \x07 中文'


def steps(start: float, *moved: float, names: tuple[str, ...] = ()) -> Walk:
    """From a plan over some changes to the consensus."""
    way, at = [Step("statistical", "Statistical", start, start, start)], start
    for index, change in enumerate(moved):
        name = names[index] if index < len(names) else f"s{index}"
        way.append(Step("source", name, at, at + change, change))
        at += change
    return Walk("total", (*way, Step("consensus", "Consensus", at, at, at)))


def chart(way: Walk, **changed: object) -> str:
    given = {"title": "Total", "unit": "packs", "months": 18} | changed
    return waterfall(way, **given)


def bars(svg: str) -> list[tuple[str, float, float]]:
    """Fill, left and right end of every bar, from top to bottom."""
    found = []
    for path in ET.fromstring(svg).iter(f"{SVG}path"):
        style = path.get("style", "")
        fill = re.search(r"fill: (#\w+)", style)
        if "clip-path" in path.attrib and fill:
            corners = np.reshape(re.findall(r"-?\d+\.?\d*", path.get("d", "")), (-1, 2))
            x, y = corners.astype(float).T
            found.append((y.min(), fill.group(1), x.min(), x.max()))
    return [(fill, left, right) for _, fill, left, right in sorted(found)]


def texts(svg: str) -> list[str]:
    return ["".join(text.itertext()) for text in ET.fromstring(svg).iter(f"{SVG}text")]


def test_bars_are_as_long_as_the_changes_and_hang_together():
    drawn = bars(chart(steps(60_000.0, 900.0, -400.0, 340.0)))
    fills = [STATISTICAL_COLOUR, UP_COLOUR, DOWN_COLOUR, UP_COLOUR, PLAN_COLOUR]
    assert [fill for fill, _, _ in drawn] == fills
    scale = (drawn[1][2] - drawn[1][1]) / 900.0
    assert drawn[2][2] - drawn[2][1] == pytest.approx(400.0 * scale, abs=0.01)
    assert drawn[3][2] - drawn[3][1] == pytest.approx(340.0 * scale, abs=0.01)
    assert drawn[0][2] == pytest.approx(drawn[1][1], abs=0.01)
    assert drawn[1][2] == pytest.approx(drawn[2][2], abs=0.01)
    assert drawn[4][2] == pytest.approx(drawn[3][2], abs=0.01)


def test_every_number_is_written_with_separators_and_signs():
    words = texts(chart(steps(60_000.0, 1_240.0, -400.0, names=("sales", "finance"))))
    assert {"Statistical", "sales", "finance", "Consensus", "packs, 18 months"} <= set(words)
    assert {"60,000", "+1,240", "−400", "60,840"} <= set(words)


def test_a_small_move_beside_a_large_plan_is_seen_and_the_cut_is_said():
    svg = chart(steps(1_000_000.0, 120.0))
    _, up, consensus = bars(svg)
    assert up[2] - up[1] > 0.3 * (consensus[2] - consensus[1])
    assert "The axis starts at 999,900, not at 0" in texts(svg)


def test_a_large_move_keeps_zero_and_says_nothing():
    svg = chart(steps(100.0, 150.0))
    assert not [word for word in texts(svg) if "axis starts" in word]
    first, up, last = bars(svg)
    assert first[2] - first[1] == pytest.approx((last[2] - last[1]) * 100.0 / 250.0, abs=0.01)
    assert up[2] - up[1] == pytest.approx((last[2] - last[1]) * 150.0 / 250.0, abs=0.01)


def test_names_are_escaped_shortened_and_never_read_as_mathematics():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        svg = chart(steps(100.0, 10.0, names=("$<b>&中",)), title=HOSTILE, unit='$<b>&"$')
    root = ET.fromstring(svg)
    assert root.get("aria-label") == HOSTILE.replace("\x07", " ")
    assert "$<b>&中" in texts(svg)
    assert '$<b>&"$, 18 months' in texts(svg)
    assert not list(root.iter(f"{SVG}script"))
    long = texts(chart(steps(100.0, 10.0, names=("system:" + "x" * 40,))))
    assert "system:xxxxxxxxxx…" in long


def test_a_name_that_looks_like_another_place_stays_itself():
    words = texts(chart(steps(100.0, 10.0, 5.0, names=("name of row 2", "finance"))))
    assert words.count("finance") == 1
    assert "name of row 2" in words


def test_the_same_numbers_give_the_same_bytes_and_a_small_file():
    way = steps(60_000.0, *[100.0 + i for i in range(8)])
    assert chart(way) == chart(way)
    assert len(chart(way).encode()) < 40_000
    assert "http" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", chart(way))


@settings(deadline=None, max_examples=25)
@given(st.floats(0, 1e9), st.lists(st.floats(-1e9, 1e9), max_size=8))
def test_any_numbers_make_a_picture_without_nan(start, moved):
    svg = chart(steps(start, *moved))
    ET.fromstring(svg)
    assert "nan" not in svg.lower().replace("dominant", "")
