"""The section on value added, read back from the HTML and the SVG."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from datetime import date

import numpy as np
import polars as pl
import pytest

from sopforecast.core.score_tables import ValueAdded
from sopforecast.review.ladder import ALONE_COLOUR, NAIVE_COLOUR, SEQUENTIAL_COLOUR, ladder_chart
from sopforecast.review.svg import PLAN_COLOUR, STATISTICAL_COLOUR
from sopforecast.review.value_added import value_added_css, value_added_section

SVG = "{http://www.w3.org/2000/svg}"
STAGES = ("naive", "statistical", "source:sales", "through:sales", "consensus", "approved")
WMAPE = (40.0, 20.0, 16.0, 16.0, 15.0, 10.0)
HOSTILE = "<script>alert(1)</script>"


def table(
    *, within: str = "total", measure: str = "quantity", lead: int = 0, months: int = 12,
    known: bool = True, stages: tuple[str, ...] = STAGES,
) -> pl.DataFrame:  # fmt: skip
    """One table of a close, worked from ``WMAPE``; ranges a point to each side."""
    rows = []
    for position, (stage, wmape) in enumerate(zip(stages, WMAPE, strict=False)):
        above = None if position == 0 else WMAPE[1 if position == 3 else position - 1]
        gains = {
            "gained": above,
            "over_naive": WMAPE[0] if position else None,
            "over_statistical": WMAPE[1] if position > 1 else None,
        }
        row = {
            "fit_id": "f", "closed": date(2026, 12, 1), "window": 12, "measure": measure,
            "within": within, "lead": lead, "position": position, "stage": stage,
            "alone": stage.startswith("source:"), "months": months, "cells": 1234,
            "accuracy": 100 - wmape if known else None, "wmape": wmape if known else None,
            "bias_percent": -1.25 if known else None,
        }  # fmt: skip
        for name, base in gains.items():
            gain = base - wmape if base is not None and known else None
            ranged = gain is not None and months >= 6
            row |= {
                name: gain,
                f"{name}_low": gain - 1 if ranged else None,
                f"{name}_high": gain + 1 if ranged else None,
            }
        rows.append(row)
    schema = {name: column.dtype for name, column in ValueAdded.columns().items()}
    return pl.DataFrame(rows, schema=schema)


def cells(html: str) -> list[list[str]]:
    """Text of every row of every table body."""
    rows = re.findall(r"<tr[^>]*>(<th scope.*?)</tr>", html, re.DOTALL)
    return [
        [re.sub(r"<[^>]+>", "", re.sub(r"<span.*?</span>", "", cell)) for cell in
         re.findall(r"<t[hd][^>]*>.*?</t[hd]>", row, re.DOTALL)]
        for row in rows
    ]  # fmt: skip


def bars(svg: str) -> list[tuple[str, float]]:
    """Fill and length of every bar, from top to bottom."""
    found = []
    for path in ET.fromstring(svg).iter(f"{SVG}path"):
        fill = re.search(r"fill: (#\w+)", path.get("style", ""))
        if "clip-path" in path.attrib and fill:
            corners = np.reshape(re.findall(r"-?\d+\.?\d*", path.get("d", "")), (-1, 2))
            x, y = corners.astype(float).T
            found.append((y.min(), fill.group(1), x.max() - x.min()))
    return [(fill, length) for _, fill, length in sorted(found)]


def test_the_table_holds_every_stage_with_its_gains():
    assert cells(value_added_section(table())) == [
        ["naive (same month last year)", "60.0%", "40.0%", "−1.2%", "–", "", "–", ""],
        ["statistical", "80.0%", "20.0%", "−1.2%", "+20.0", "+19.0 to +21.0", "+20.0",
         "+19.0 to +21.0"],
        ["sales alone", "84.0%", "16.0%", "−1.2%", "+4.0", "+3.0 to +5.0", "+24.0",
         "+23.0 to +25.0"],
        ["with sales", "84.0%", "16.0%", "−1.2%", "+4.0", "+3.0 to +5.0", "+24.0",
         "+23.0 to +25.0"],
        ["consensus", "85.0%", "15.0%", "−1.2%", "+1.0", "0.0 to +2.0", "+25.0", "+24.0 to +26.0"],
        ["approved", "90.0%", "10.0%", "−1.2%", "+5.0", "+4.0 to +6.0", "+30.0", "+29.0 to +31.0"],
    ]  # fmt: skip


def test_the_first_sentence_is_what_people_added():
    html = value_added_section(table())
    said = re.findall(r'class="statement">(.*?)</p>', html)
    assert said == [
        "Consensus was 5.0 points closer than statistical over 12 months (between 4.0 and 6.0); "
        "1,234 cells."
    ]
    assert html.count("<li>") == 3
    assert html.count("<ul") == html.count("</ul>") == 1


def test_families_and_leads_stand_below_and_money_beside():
    frame = pl.concat([
        table(), table(measure="value"), table(within="family=R%26D"), table(lead=3),
        table(lead=1), table(lead=1, measure="value"),
    ])  # fmt: skip
    html = value_added_section(frame)
    assert [row[0] for row in cells(html)[12:]] == ["R&amp;D", "Lead 1", "Lead 3"]
    assert cells(html)[12][1:] == ["12", "1,234", "+5.0", "+4.0 to +6.0", "+10.0", "+9.0 to +11.0"]
    assert "All items, in money" in html
    assert html.count("<svg") == 2


def test_too_few_months_and_no_demand_are_said():
    few = value_added_section(table(months=4))
    assert "12 months (4 scored) to December 2026" in few
    assert "not enough yet" in few
    assert "range from 6 months on" in few
    nothing = value_added_section(table(known=False))
    assert "There was no demand to compare consensus by" in nothing
    assert "no demand" in "".join(ET.fromstring(svg_of(nothing)).itertext())


def svg_of(html: str) -> str:
    return html[html.index("<svg") : html.index("</svg>") + 6]


def test_nothing_scored_is_a_sentence():
    html = value_added_section(table().clear())
    assert "Nothing has been scored yet" in html
    assert "<table" not in html


def test_names_from_the_data_are_escaped():
    hostile = (*STAGES[:2], f"source:{HOSTILE}", f"through:{HOSTILE}", *STAGES[4:])
    html = value_added_section(
        pl.concat([table(stages=hostile), table(within=f"family={HOSTILE}", stages=hostile)])
    )
    assert "<script" not in html
    ET.fromstring(svg_of(html))


@pytest.mark.parametrize("frame", [table(), table(months=3)], ids=["ranged", "few"])
def test_the_same_rows_in_any_order_give_the_same_bytes(frame):
    assert value_added_section(frame.sample(fraction=1, shuffle=True, seed=3)) == (
        value_added_section(frame)
    )


def test_the_section_needs_no_address_and_its_style_is_its_own():
    html = value_added_section(table())
    assert not re.search(r'(src|href)="(?!#)', html.replace("xlink:href", ""))
    for selector in re.findall(r"([^{}]+)\{", value_added_css().replace("@media print {", "")):
        assert selector.strip().startswith(".value-added")


def test_bars_are_as_long_as_the_errors():
    drawn = bars(ladder_chart(table().to_dicts(), title="All items"))
    assert [fill for fill, _ in drawn] == [
        NAIVE_COLOUR, STATISTICAL_COLOUR, ALONE_COLOUR, SEQUENTIAL_COLOUR, PLAN_COLOUR, PLAN_COLOUR,
    ]  # fmt: skip
    scale = drawn[0][1] / WMAPE[0]
    assert [length / scale for _, length in drawn] == pytest.approx(WMAPE, abs=0.01)


def test_the_chart_writes_error_gain_and_range():
    svg = ladder_chart(table().to_dicts(), title="All items")
    texts = ["".join(text.itertext()) for text in ET.fromstring(svg).iter(f"{SVG}text")]
    assert {"40.0%", "+20.0 (+19.0 to +21.0)", "sales alone", "WMAPE; shorter is closer"} <= {
        *texts
    }
    few = ladder_chart(table(months=2).to_dicts(), title="All items")
    assert ">+20.0<" in few
