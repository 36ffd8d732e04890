"""The fan chart as a picture of its numbers: read back from the SVG, not from the code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings
import xml.etree.ElementTree as ET
from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sopforecast.review.charts import BANDS, STATISTICAL_NAME, fan_chart
from sopforecast.review.svg import ACTUAL_COLOUR, PLAN_COLOUR, STATISTICAL_COLOUR

FIRST = date(2026, 12, 1)
SVG = "{http://www.w3.org/2000/svg}"
LINK = "{http://www.w3.org/1999/xlink}"


def history(values: list[float | None]) -> pl.DataFrame:
    start = pl.lit(FIRST).dt.offset_by(f"-{len(values)}mo")
    frame = pl.DataFrame({"y": values}, schema={"y": pl.Float64})
    return frame.select(ds=pl.date_range(start, pl.lit(FIRST).dt.offset_by("-1mo"), "1mo"), y="y")


def forecast(plan: list[float], *, spread: float = 0.2) -> pl.DataFrame:
    steps = {"p10": -2, "p25": -1, "p50": 0, "p75": 1, "p90": 2}
    end = pl.lit(FIRST).dt.offset_by(f"{len(plan) - 1}mo")
    return pl.DataFrame({"plan": [float(value) for value in plan]}).select(
        ds=pl.date_range(FIRST, end, "1mo"),
        plan="plan",
        **{name: pl.col("plan") * (1 + step * spread / 2) for name, step in steps.items()},
    )


PAST = history([100.0 + 10 * (month % 12) for month in range(48)])
AHEAD = forecast([100.0 + 10 * month for month in range(18)])


def chart(past: pl.DataFrame = PAST, ahead: pl.DataFrame = AHEAD, **names: str) -> str:
    return fan_chart(past, ahead, **({"title": "Total", "unit": "packs"} | names))


def numbers(path: ET.Element) -> list[np.ndarray]:
    """Corners (x, y) of a path, the pieces of a broken line apart."""
    pieces = re.split("M", path.get("d", ""))[1:]
    return [
        np.reshape(re.findall(r"-?\d+\.?\d*", piece), (-1, 2)).astype(float) for piece in pieces
    ]


def lines(svg: str, colour: str) -> list[np.ndarray]:
    """Every line of that colour inside the plot."""
    drawn = (path for path in ET.fromstring(svg).iter(f"{SVG}path") if "clip-path" in path.attrib)
    return [
        piece
        for path in drawn
        if f"stroke: {colour}" in path.get("style", "")
        for piece in numbers(path)
    ]


def areas(svg: str, colour: str) -> list[np.ndarray]:
    """Every area of that colour, moved to where it is drawn; the legend's patch is not one."""
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


def test_line_and_bands_are_on_the_scale_of_the_past():
    svg = chart()
    (past,) = lines(svg, ACTUAL_COLOUR)
    slope, offset = np.polyfit(PAST["y"].to_numpy()[-len(past) :], past[:, 1], 1)
    assert slope < 0
    (plan,) = lines(svg, PLAN_COLOUR)
    assert plan[:, 1] == pytest.approx(offset + slope * AHEAD["plan"].to_numpy(), abs=0.01)
    assert np.diff(plan[:, 0]) == pytest.approx(np.full(17, np.diff(past[:, 0])[0]), abs=0.01)
    for band in BANDS:
        (corners,) = areas(svg, band.colour)
        wanted = offset + slope * np.array([AHEAD[band.high].max(), AHEAD[band.low].min()])
        assert [corners[:, 1].min(), corners[:, 1].max()] == pytest.approx(wanted, abs=0.01)


def test_36_months_of_history_are_drawn():
    (past,) = lines(chart(), ACTUAL_COLOUR)
    assert len(past) == 36


def test_an_unknown_month_is_a_gap():
    values: list[float | None] = [100.0 + 10 * (month % 2) for month in range(24)]
    values[10] = None
    assert [len(piece) for piece in lines(chart(history(values)), ACTUAL_COLOUR)] == [10, 13]
    missing = history(values).filter(pl.col("y").is_not_null())
    assert chart(missing) == chart(history(values))


def test_a_stage_without_quantiles_has_no_bands():
    bare = AHEAD.with_columns(p25=pl.lit(None, pl.Float64), p75=pl.lit(None, pl.Float64))
    svg = chart(ahead=bare)
    outer, inner = BANDS
    assert len(areas(svg, outer.colour)) == 1
    assert not areas(svg, inner.colour)
    assert inner.name not in texts(svg)


def test_the_statistical_plan_stands_beside_where_it_differs():
    raised = pl.when(pl.int_range(pl.len()).is_between(4, 5)).then(1.3).otherwise(1.0)
    judged = AHEAD.with_columns(pl.col("plan", "p10", "p25", "p50", "p75", "p90") * raised)
    svg = fan_chart(PAST, judged, title="Total", unit="packs", statistical=AHEAD)
    (plan,) = lines(svg, PLAN_COLOUR)
    drawn = lines(svg, STATISTICAL_COLOUR)
    (before,) = [line for line in drawn if line[0, 1] == pytest.approx(plan[3, 1], abs=0.01)]
    # months 4 and 5 differ; the months around them make the lines meet
    assert before[:, 0] == pytest.approx(plan[3:7, 0], abs=0.01)
    assert before[[0, 3], 1] == pytest.approx(plan[[3, 6], 1], abs=0.01)
    slope, offset = np.polyfit(judged["plan"].to_numpy(), plan[:, 1], 1)
    assert before[:, 1] == pytest.approx(offset + slope * AHEAD["plan"].to_numpy()[3:7], abs=0.02)
    wanted = [offset + slope * AHEAD[name].to_numpy()[3:7] for name in ("plan", "p10", "p90")]
    for line in wanted:
        assert any(one[:, 1] == pytest.approx(line, abs=0.02) for one in drawn)
    assert len(drawn) == 3
    assert STATISTICAL_NAME in texts(svg)


def test_where_nobody_moved_anything_the_chart_is_as_before():
    assert fan_chart(PAST, AHEAD, title="Total", unit="packs", statistical=AHEAD) == chart()
    assert STATISTICAL_NAME not in texts(chart())


def test_a_range_that_moved_alone_is_shown_too():
    judged = AHEAD.with_columns(p90=pl.col("p90") * 1.2)
    svg = fan_chart(PAST, judged, title="Total", unit="packs", statistical=AHEAD)
    assert len(lines(svg, STATISTICAL_COLOUR)) == 3


def test_axes_name_unit_and_months():
    words = texts(chart())
    assert "packs per month" in words
    assert {"Jan 2025", "Jul", "Jan 2028", "Actual", "Plan", "P10–P90", "P25–P75"} <= set(words)


@pytest.mark.parametrize(
    ("scale", "labels"),
    [(1.0, {"0", "100"}), (1e3, {"0", "100k"}), (2e4, {"0", "2.0M"}), (2e7, {"0", "0.5bn"})],
)
def test_values_have_one_short_scale(scale, labels):
    svg = chart(history([100.0 * scale, 10.0 * scale] * 6), forecast([60.0 * scale] * 6))
    assert labels <= set(texts(svg))


def test_small_changes_of_a_large_number_stay_apart():
    svg = chart(history([5_000_000.0, 5_100_000.0] * 12), forecast([5_050_000.0] * 6, spread=0.01))
    ticks = [word for word in texts(svg) if word.endswith("M")]
    assert len(ticks) == len(set(ticks)) >= 3


def test_the_same_numbers_give_the_same_bytes_whatever_the_machine_prefers(tmp_path):
    (tmp_path / "matplotlibrc").write_text(
        "lines.linewidth: 9\nsvg.fonttype: path\nfont.size: 20\n"
    )
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import test_charts as t;"
        "sys.stdout.buffer.write(t.chart().encode());"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    for rc in (str(tmp_path / "matplotlibrc"), ""):
        done = subprocess.run(
            [sys.executable, "-c", program, os.path.dirname(__file__)],
            env=os.environ | {"MATPLOTLIBRC": rc, "SOURCE_DATE_EPOCH": "86400", "TZ": "Asia/Tokyo"},
            capture_output=True,
            check=True,
        )
        assert done.stdout.decode() == chart()


def test_settings_of_the_process_are_left_alone():
    import matplotlib

    with matplotlib.rc_context({"lines.linewidth": 7.5}):
        before = dict(matplotlib.rcParams)
        chart()
        assert dict(matplotlib.rcParams) == before


def test_a_chart_is_small_and_names_no_address():
    svg = chart(history([1234567.891 + 1e5 * (m % 7) for m in range(60)]), forecast([1.5e6] * 60))
    assert len(svg.encode()) < 40_000
    bare = re.sub(r'xmlns(:\w+)?="[^"]*"', "", svg)
    assert "http" not in bare
    assert "<style" not in svg
    assert "<metadata" not in svg


HOSTILE = '<script>alert(1)</script> "$x$ & \x07 中文'


def test_names_are_escaped_and_never_read_as_mathematics():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        svg = chart(title=HOSTILE, unit='$<b>&"$ 中')
    root = ET.fromstring(svg)
    assert root.get("aria-label") == HOSTILE.replace("\x07", " ")
    assert '$<b>&"$ 中 per month' in texts(svg)
    assert not list(root.iter(f"{SVG}script"))


@settings(deadline=None, max_examples=25)
@given(
    past=st.lists(st.none() | st.floats(-1e9, 1e9), max_size=40),
    plan=st.lists(st.floats(0, 1e9), min_size=1, max_size=24),
)
def test_any_numbers_make_a_picture_without_nan(past, plan):
    svg = chart(history(past) if past else PAST.clear(), forecast(plan))
    ET.fromstring(svg)
    assert "nan" not in svg.lower().replace("dominant", "")
    assert len(svg.encode()) < 40_000


def test_one_month_ahead_is_an_area_that_can_be_seen():
    svg = chart(ahead=forecast([120.0]))
    (corners,) = areas(svg, BANDS[0].colour)
    assert np.ptp(corners[:, 0]) > 3
    assert np.ptp(corners[:, 1]) > 3
