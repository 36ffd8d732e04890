"""The part of the page a trial fills, as a reader and a browser get it."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sopforecast.review.clinical import SHOWN_SITES, StudyPart, study_views
from sopforecast.review.enrolment import Branch
from sopforecast.review.page import write_page

CYCLE = date(2026, 12, 1)
EVIL = '<script>alert("x")</script><img src=x onerror=alert(1)>'
VOID = {"meta", "img", "br", "link", "input", "hr", "path", "use", "rect"}


class Reader(HTMLParser):
    """Tags, attributes, words and table rows of a page."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.rows: list[list[str]] = []
        self._hidden = self._cell = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        self._hidden = tag == "style"
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self._cell = True
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._hidden = False
        self._cell = self._cell and tag not in {"td", "th"}

    def handle_data(self, data: str) -> None:
        if self._hidden:
            return
        self.words.append(data.strip())
        if self._cell:
            self.rows[-1][-1] += data.strip()

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def read(path: Path) -> Reader:
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    return reader


def fan(first: float, months: int = 6) -> pl.DataFrame:
    ds = pl.date_range(CYCLE, pl.lit(CYCLE).dt.offset_by(f"{months - 1}mo"), "1mo")
    steps = {"p10": -4.0, "p25": -2.0, "p50": 0.0, "p75": 2.0, "p90": 4.0}
    middle = pl.int_range(1, months + 1) * 5.0 + first
    return pl.select(ds=ds, **{name: middle + step for name, step in steps.items()})


@pytest.fixture
def part() -> StudyPart:
    return StudyPart(
        study="NOVA-1",
        cycle=CYCLE,
        actual=pl.DataFrame(
            {"ds": [date(2026, 10, 1), date(2026, 11, 1)], "cumulative": [90.0, 101.0]}
        ),
        plan=pl.DataFrame({"ds": [date(2026, 11, 1), CYCLE], "cumulative": [103.0, 110.0]}),
        fan=fan(101.0),
        branch=Branch("if S7 and S9 activate by Feb 2027 (35%)", fan(103.0).select("ds", "p50")),
        target=140.0,
        sentences=("15 to 25 patients by June 2027 (80%).", "The target is likely by August."),
        assumptions=pl.DataFrame(
            {"assumption": ["Screen failure"], "value": ["34% (27% to 42%)"],
             "evidence": ["144 screened at 9 sites"]}
        ),
        status="yellow",
        status_reason="101 patients of 103 planned by now.",
        sites=pl.DataFrame(
            {"site": ["S10", "S2", "S14"], "country": ["Spain", None, "Germany"],
             "state": ["open", "silent", "closed"], "enrolled": [15.0, 1234.0, 5.0],
             "p10": [0.0, 1.0, None], "p90": [3.0, 2.5, None]}
        ),
        changes=("S9 moved from January to February 2027.",),
        confirm=("Enrolment must be confirmed by 15 January 2027.",),
        notes=("NOVA-1 is simulated.",),
    )  # fmt: skip


@pytest.fixture
def arguments(company) -> dict[str, Any]:
    return {
        "run": {
            "run_id": "3f9a1c7b20de", "cycle": CYCLE, "horizon": 12, "items": 4, "seed": 2026,
            "known_by": datetime(2026, 12, 15, 23, 59), "notes": None, "published": None,
        },
        "forecasts": company.forecasts, "node_levels": company.node_levels,
        "history_nodes": company.history, "descriptions": {}, "checks": [], "seconds": {},
        "weights": pl.DataFrame(schema={"segment": pl.String, "model": pl.String,
                                        "weight": pl.Float64, "cells": pl.Int64}),
        "backtest": pl.DataFrame(schema={"lead": pl.Int64, "wmape": pl.Float64,
                                         "bias_percent": pl.Float64, "coverage80": pl.Float64}),
    }  # fmt: skip


def test_without_studies_the_page_is_the_same_to_the_byte(tmp_path, arguments, part):
    plain = write_page(tmp_path / "plain.html", **arguments).read_bytes()
    assert write_page(tmp_path / "none.html", **arguments, studies=()).read_bytes() == plain
    assert b"nrolment" not in plain
    assert b".light" not in plain
    told = write_page(tmp_path / "told.html", **arguments, studies=(part,)).read_text("utf-8")
    # What is added is the style, the link and the section: taken away again the page is as before.
    for piece in (r"\.study \.top.*?(?=</style>)", r'<a href="#enrolment">Enrolment</a>\n',
                  r'<section id="enrolment".*?</section>\n\n'):  # fmt: skip
        told, count = re.subn(piece, "", told, flags=re.DOTALL)
        assert count == 1
    assert told.encode("utf-8") == plain


def test_everything_of_a_study_is_on_the_page(tmp_path, arguments, part):
    page = read(write_page(tmp_path / "review.html", **arguments, studies=(part,)))
    for words in ("Enrolment of NOVA-1 Yellow", "101 patients of 103 planned by now.",
                  "Patients enrolled to November 2026 101 of 140", *part.sentences,
                  "To confirm Enrolment must be confirmed by 15 January 2027.",
                  "What changed since the last cycle S9 moved", "NOVA-1 is simulated.",
                  "The dashed line is the median if S7 and S9 activate by Feb 2027 (35%).",
                  "the next three months as a range, P10 to P90"):  # fmt: skip
        assert words in page.text
    assert ["Screen failure", "34% (27% to 42%)", "144 screened at 9 sites"] in page.rows
    sites = [row for row in page.rows if row and row[0] in {"S2", "S10", "S14"}]
    assert sites == [
        ["S2", "–", "silent", "1,234", "1 to 2.5"],
        ["S10", "Spain", "open", "15", "0 to 3"],
        ["S14", "Germany", "closed", "5", "–"],
    ]
    labels = [value for name, value in page.attributes if name == "aria-label"]
    assert "NOVA-1: patients enrolled so far, planned, and the range to come" in labels


def test_it_needs_nothing_from_elsewhere(tmp_path, arguments, part):
    path = write_page(tmp_path / "review.html", **arguments, studies=(part,))
    page, source = read(path), path.read_text("utf-8")
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    loaded = {"src", "href", "xlink:href", "action", "srcset", "data"}
    assert all((value or "").startswith("#") for name, value in page.attributes if name in loaded)
    assert "url(" not in source.replace("url(#", "")


def test_hostile_words_are_words_and_never_tags(tmp_path, arguments, part):
    texts = pl.col(pl.String)
    evil = replace(
        part, study=EVIL, status_reason=EVIL, sentences=(EVIL,) * 2, changes=(EVIL,),
        confirm=(EVIL,), notes=(EVIL,), branch=Branch(EVIL, part.fan.select("ds", "p50")),
        assumptions=part.assumptions.with_columns(texts.replace_strict({}, default=EVIL)),
        sites=part.sites.with_columns(texts.replace_strict({}, default=EVIL)), status=EVIL,
    )  # fmt: skip
    page = read(write_page(tmp_path / "evil.html", **arguments, studies=(evil,)))
    tame = read(write_page(tmp_path / "tame.html", **arguments, studies=(part,)))
    assert set(page.tags) <= set(tame.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert page.text.count('<script>alert("x")</script>') >= 15


def test_a_study_with_nothing_but_a_forecast(tmp_path, arguments, part):
    bare = replace(
        part, actual=part.actual.clear(), plan=part.plan.clear(), branch=None, target=None,
        sentences=(), assumptions=part.assumptions.clear(), status=None, status_reason="",
        sites=part.sites.clear(), changes=(), confirm=(), notes=(),
    )  # fmt: skip
    page = read(write_page(tmp_path / "review.html", **arguments, studies=(bare,)))
    assert "Enrolment of NOVA-1 " in page.text
    assert "Patients enrolled 0" in page.text
    for words in ("dashed", "dotted curve", "To confirm", "rest on", "What changed", "Target"):
        assert words not in page.text
    assert "Yellow" not in page.text


@pytest.mark.parametrize("status", ["red", "yellow", "green"])
def test_a_status_is_a_word_beside_its_colour(tmp_path, arguments, part, status):
    path = write_page(tmp_path / "r.html", **arguments, studies=(replace(part, status=status),))
    assert f'<span class="light {status}"><i></i>{status.capitalize()}</span>' in path.read_text()


def test_several_studies_stand_in_the_order_given(tmp_path, arguments, part):
    studies = tuple(replace(part, study=name) for name in ("Z", "A"))
    page = read(write_page(tmp_path / "review.html", **arguments, studies=studies))
    anchors = [value for name, value in page.attributes if name == "id" and value]
    assert [name for name in anchors if name.startswith("enrolment")] == [
        "enrolment", "enrolment-2",
    ]  # fmt: skip
    assert page.text.index("Enrolment of Z") < page.text.index("Enrolment of A")
    ids = [name for name in anchors if not name.startswith("enrolment")]
    assert len(ids) == len(set(ids))


def test_of_many_sites_those_that_may_bring_most_are_shown(part):
    many = SHOWN_SITES + 12
    sites = pl.DataFrame(
        {"site": [f"S{n}" for n in range(many)], "country": "DE", "state": "open",
         "enrolled": 1.0, "p10": 0.0, "p90": [float(n % 7) for n in range(many)]}
    )  # fmt: skip
    (view,) = study_views([replace(part, sites=sites)])
    assert view["sites_hidden"] == 12
    shown = [row["site"] for row in view["sites"]]
    best = sorted(range(many), key=lambda n: (-(n % 7), n))[:SHOWN_SITES]
    assert shown == [f"S{n}" for n in sorted(best)]


def test_enrolled_so_far_is_the_last_month_that_is_known(part):
    later = part.actual.with_columns(
        cumulative=pl.when(pl.col("ds") < date(2026, 11, 1)).then("cumulative")
    )
    (view,) = study_views([replace(part, actual=later)])
    assert view["enrolled"] == {"ds": date(2026, 10, 1), "cumulative": 90.0}
