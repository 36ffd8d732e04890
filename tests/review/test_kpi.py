"""The KPI page: what stands on it, in words as well as in colour, and its small charts."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sopforecast.core.learning_tables import empty
from sopforecast.core.months import month_range
from sopforecast.core.score_tables import Kpis
from sopforecast.review.kpi import KpiSheet, figure, node_label, worst_first, write_kpi_page
from sopforecast.review.kpi_chart import GREEN_ZONE, YELLOW_ZONE, Zones, trend_chart, zones
from sopforecast.review.svg import ACTUAL_COLOUR
from sopforecast.settings import make_settings

OCTOBER = date(2026, 10, 1)
SVG = "{http://www.w3.org/2000/svg}"
HEIGHT, BOTTOM, HIGH = 72 * 0.88, 0.2, 0.76


def _row(within: str = "total", value: float | None = 78.0, **other: Any) -> dict[str, Any]:
    return {
        "closed": OCTOBER, "kpi": "accuracy", "within": within, "value": value, "unit": "percent",
        "target": "green from 80%, yellow from 70%", "colour": "yellow", "owner": "finance",
        "sentence": f"What is said of {within}.",
    } | other  # fmt: skip


def _trend(*values: float | None, kpi: str = "accuracy") -> pl.DataFrame:
    months = month_range(date(2026, 1, 1), len(values))
    return pl.DataFrame(
        {"kpi": [kpi] * len(values), "closed": months, "value": list(values)},
        schema={"kpi": pl.String, "closed": pl.Date, "value": pl.Float64},
    )


def _page(path: Path, *rows: dict[str, Any], trend: pl.DataFrame | None = None, **more: Any) -> str:
    frame = pl.DataFrame(list(rows), schema=empty(Kpis, without="fit_id").schema)
    trend = _trend(70.0, 75.0, 78.0) if trend is None else trend
    sheet = KpiSheet(closed=OCTOBER, known_at="2026-11-05 09:00", kpis=frame, trend=trend, **more)
    write_kpi_page(path / "kpi.html", sheet, name="Mini & Co", settings=make_settings({}).kpi)
    return (path / "kpi.html").read_text(encoding="utf-8")


def _text(html: str) -> str:
    """What a person reads of the page, in one line."""
    bare = re.sub(r"<style>.*?</style>|<[^>]*>", " ", html, flags=re.DOTALL)
    return " ".join(bare.split())


def test_a_kpi_says_value_colour_target_owner_and_sentence(tmp_path: Path) -> None:
    said = _text(_page(tmp_path, _row()))
    assert "KPIs, October 2026 closed" in said
    assert "Accuracy 78.0% yellow Green from 80%, yellow from 70% Owner: finance" in said
    assert "What is said of total." in said
    assert "the plan made 1 cycle before" in said
    assert "12 closed months" in said
    assert "2026-11-05 09:00 UTC" in said
    assert "No close has restated a month of the window;" in said
    assert "every stage as a table" not in said


def test_kpis_stand_in_the_order_given_with_their_families(tmp_path: Path) -> None:
    said = _text(
        _page(
            tmp_path,
            _row(kpi="bias", value=-3.21),
            _row("family=A", kpi="bias", value=11.0, colour="red"),
            _row("family=B", kpi="bias", value=None, colour="grey"),
            _row(),
        )
    )
    assert said.index("Bias") < said.index("Accuracy")
    assert "Bias −3.2% yellow" in said
    assert "A +11.0% red B – grey" in said


def test_of_many_families_the_worst_are_shown_and_the_rest_counted(tmp_path: Path) -> None:
    parts = [_row(f"family=F{place}", colour="green") for place in range(4)]
    parts += [_row(f"family=R{place}", colour="red") for place in range(6)]
    said = _text(_page(tmp_path, _row(), *parts))
    assert [name for name in ("R0", "R4") if name in said] == ["R0", "R4"]
    assert not [name for name in ("R5", "F0", "F3") if name in said]
    assert "The worst 5 of 10; 1 more red." in said


def test_worst_first_goes_by_colour_and_keeps_the_order_of_equals() -> None:
    rows = [_row(str(place), colour=colour) for place, colour in enumerate(
        ("green", "red", "grey", "yellow", "red")
    )]  # fmt: skip
    assert [row["within"] for row in worst_first("accuracy", rows)] == ["1", "4", "3", "2", "0"]


@pytest.mark.parametrize(
    ("kpi", "values", "order"),
    [
        ("accuracy", (92.0, 81.0, 85.0), "120"),
        ("value_added", (0.4, -0.2, 0.1), "120"),
        ("enrolment", (120.0, 96.0, 99.0), "120"),
        ("bias", (-3.0, 4.0, 1.0), "102"),
        ("coverage", (81.0, 84.0, 77.0), "120"),
        ("site_activation", (-5.0, 12.0, 3.0), "120"),
    ],
)
def test_of_one_colour_the_worst_value_comes_first(
    kpi: str, values: tuple[float, ...], order: str
) -> None:
    rows = [_row(str(k), colour="green", value=value) for k, value in enumerate(values)]
    assert "".join(row["within"] for row in worst_first(kpi, rows)) == order


def test_the_footnote_tells_of_restated_months(tmp_path: Path) -> None:
    said = _text(_page(tmp_path, _row(), restated=[date(2026, 3, 1)], accuracy_now=79.25))
    assert "1 of the window's months was restated since (2026-03)" in said
    assert "with the actuals as they are known now accuracy is 79.2%." in said
    both = [date(2026, 3, 1), date(2026, 5, 1)]
    said = _text(_page(tmp_path, _row(), restated=both))
    assert "2 of the window's months were restated since (2026-03, 2026-05)." in said


def test_the_ladder_and_notes_stand_where_there_are_any(tmp_path: Path) -> None:
    ladder = '<section class="value-added"><h2>What each stage added</h2></section>'
    html = _page(tmp_path, _row(), ladder=ladder, notes=["Look <here>."])
    assert ladder in html
    assert "Look &lt;here&gt;." in html
    assert "every stage as a table" in _text(html)


def test_names_from_the_data_are_escaped(tmp_path: Path) -> None:
    bad = "<script>alert(1)</script>"
    html = _page(
        tmp_path,
        _row(owner=bad, sentence=bad, target=bad),
        _row("family=%3Cscript>&x", colour="red"),
    )
    assert "<script" not in html
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 2
    assert "Mini &amp; Co" in html
    assert "default-src 'none'" in html


def test_the_same_sheet_gives_the_same_bytes(tmp_path: Path) -> None:
    first = _page(tmp_path, _row(), _row("family=A"))
    assert _page(tmp_path, _row(), _row("family=A")) == first


def test_without_a_value_there_is_no_trend(tmp_path: Path) -> None:
    html = _page(tmp_path, _row(value=None, colour="grey"), trend=_trend(None, None))
    assert "Accuracy – grey" in _text(html)
    assert "No trend yet." in _text(html)
    assert "<svg" not in html


@pytest.mark.parametrize(
    ("kpi", "value", "shown"),
    [
        ("accuracy", 79.96, "80.0%"),
        ("accuracy", -12.34, "−12.3%"),
        ("bias", 3.21, "+3.2%"),
        ("bias", -0.04, "0.0%"),
        ("value_added", 1.3, "+1.3 points"),
        ("value_added", -1.26, "−1.3 points"),
        ("coverage", 73.76, "73.8%"),
        ("enrolment", 1234.5, "1,234.5%"),
        ("site_activation", 43.7, "43.7 days late"),
        ("site_activation", -62.0, "62.0 days early"),
        ("bias", None, "–"),
    ],
)
def test_values_are_shown_with_their_sign(kpi: str, value: float | None, shown: str) -> None:
    assert figure(kpi, value) == shown


def test_nodes_are_called_by_their_names() -> None:
    names = [node_label(node) for node in ("total", "family=R%26D%2FLab", "study=N-1/site=S1")]
    assert names == ["Total", "R&D/Lab", "N-1 / S1"]


@pytest.mark.parametrize(
    ("kpi", "green", "yellow", "expected"),
    [
        ("accuracy", 80, 70, Zones((80, math.inf), (70, math.inf))),
        ("value_added", 0, -1, Zones((0, math.inf), (-1, math.inf))),
        ("enrolment", 95, 85, Zones((95, math.inf), (85, math.inf))),
        ("bias", 5, 10, Zones((-5, 5), (-10, 10))),
        ("coverage", 4, 8, Zones((76, 84), (72, 88))),
        ("site_activation", 14, 30, Zones((-math.inf, 14), (-math.inf, 30))),
    ],
)
def test_zones_are_where_a_kpi_is_green_and_yellow(
    kpi: str, green: float, yellow: float, expected: Zones
) -> None:
    assert zones(kpi, green=green, yellow=yellow) == expected


def _heights(svg: str, colour: str, tag: str = "path") -> list[list[float]]:
    """The y of every point of the shapes in that colour, in points from the top."""
    found = []
    for shape in ET.fromstring(svg).iter(f"{SVG}{tag}"):
        if colour in shape.get("style", "") and "clip-path" in shape.attrib:
            points = re.findall(r"[ML] ?(-?[\d.]+) (-?[\d.]+)", shape.get("d", ""))
            found.append([float(y) for _, y in points])
    return found


def _starts(svg: str) -> int:
    """How many pieces the line is drawn in."""
    shapes = [
        shape for shape in ET.fromstring(svg).iter(f"{SVG}path") if "clip-path" in shape.attrib
    ]
    line = max(
        (one.get("d", "") for one in shapes if f"stroke: {ACTUAL_COLOUR}" in one.get("style", "")),
        key=len,
    )
    return line.count("M")


def test_the_line_lies_between_its_thresholds_where_the_values_do() -> None:
    values: list[float | None] = [60.0, 75.0, 90.0]
    months = month_range(date(2026, 1, 1), 3)
    svg = trend_chart(months, values, Zones((80, math.inf), (70, math.inf)), title="t")
    # The axis reaches from the lowest to the highest of values and edges, and 12% of that beyond.
    low, high = 60 - 0.12 * 30, 90 + 0.12 * 30

    def place(value: float) -> float:
        share = BOTTOM + HIGH * (value - low) / (high - low)
        return HEIGHT * (1 - share)

    [line] = [ys for ys in _heights(svg, f"stroke: {ACTUAL_COLOUR}") if len(ys) == 3]
    assert line == pytest.approx([place(value) for value in (60, 75, 90)], abs=0.02)
    [green] = _heights(svg, f"fill: {GREEN_ZONE}")
    [yellow] = _heights(svg, f"fill: {YELLOW_ZONE}")
    assert (max(green), min(green)) == pytest.approx((place(80), place(high)), abs=0.02)
    assert max(yellow) == pytest.approx(place(70), abs=0.02)
    words = [text.text for text in ET.fromstring(svg).iter(f"{SVG}text")]
    assert {"green", "yellow", "Jan 2026", "Mar 2026"} <= set(words)


def test_a_month_without_a_value_breaks_the_line() -> None:
    months = month_range(date(2026, 1, 1), 4)
    limits = zones("bias", green=5, yellow=10)
    svg = trend_chart(months, [1.0, 2.0, None, 3.0], limits, title="t")
    assert svg.startswith('<svg role="img" aria-label="t"')
    whole = trend_chart(months, [1.0, 2.0, 2.5, 3.0], limits, title="t")
    assert (_starts(svg), _starts(whole)) == (2, 1)


def test_one_month_and_equal_thresholds_can_be_drawn() -> None:
    svg = trend_chart([OCTOBER], [80.0], Zones((80, math.inf), (80, math.inf)), title="one")
    assert "Oct 2026" in svg
