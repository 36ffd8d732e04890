"""The page as a reader and a browser get it."""

from __future__ import annotations

from datetime import date, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sopforecast.core.learning_tables import empty
from sopforecast.core.score_tables import ValueAdded
from sopforecast.errors import RequestError
from sopforecast.review.judgement import Judgement
from sopforecast.review.page import write_page

EVIL = '<script>alert("x")</script><img src=x onerror=alert(1)>'
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Reader(HTMLParser):
    """Tags, attributes and the words a person sees; notices a tag that is not closed."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.cells: list[list[str]] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self._open.append(tag)
        if tag == "tr":
            self.cells.append([])
        if tag in {"td", "th"}:
            self.cells[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            return
        self.words.append(data.strip())
        if self._open and {"td", "th"} & set(self._open):
            self.cells[-1][-1] += data.strip()

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def read(path: Path) -> Reader:
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    reader.close()
    assert reader._open == []
    return reader


@pytest.fixture
def arguments(company) -> dict[str, Any]:
    return {
        "run": {
            "run_id": "3f9a1c7b20de", "cycle": date(2026, 12, 1), "horizon": 12, "items": 4,
            "known_by": datetime(2026, 12, 15, 23, 59), "seed": 2026, "notes": "one note",
            "published": None, "name": "Miniature",
        },
        "forecasts": company.forecasts,
        "node_levels": company.node_levels,
        "history_nodes": company.history,
        "descriptions": {"b": "second item"},
        "checks": [("history_short", "warning", "one item is short", 1)],
        "weights": pl.DataFrame(
            {"segment": "smooth", "model": ["ets", "boost"], "weight": [0.4, 0.6], "cells": 96}
        ),
        "seconds": {"check": 0.5, "models": 12.0},
        "backtest": pl.DataFrame(
            {"lead": [1, 2], "wmape": [12.34, 15.0], "bias_percent": [-2.0, 1.0],
             "coverage80": [0.75, 0.71]}
        ),
        "notes": ["another note"],
        "units": dict.fromkeys(company.node_levels, "packs"),
    }  # fmt: skip


def test_the_headline_is_on_the_page(tmp_path, arguments):
    page = read(write_page(tmp_path / "out" / "review.html", **arguments))
    assert ["Total", "330", "309", "330", "351", "990", "+100%", "3,960", "+100%"] in page.cells
    assert ["South & East", "300", "294", "300", "306", "900", "+100%", "3,600", "+100%"] in (
        page.cells
    )
    assert ["bsecond item", "20", "8", "20", "32", "60", "72", "120%"] in page.cells
    assert "Demand review, December 2026" in page.text
    assert "15 December 2026, 23:59 UTC" in page.text
    assert "not published" in page.text
    assert "one note" in page.text and "another note" in page.text  # noqa: PT018


def test_the_total_is_told_month_by_month_beside_the_year_before(tmp_path, arguments):
    page = read(write_page(tmp_path / "review.html", **arguments))
    assert ["Dec 2026", "330", "309", "330", "351", "165", "+100%"] in page.cells
    assert ["Nov 2027", "330", "309", "330", "351", "165", "+100%"] in page.cells


def test_it_says_what_adds_up_and_how_often_months_landed_inside(tmp_path, arguments):
    page = read(write_page(tmp_path / "review.html", **arguments))
    assert "The plan adds up at every level and month; quantiles do not." in page.text
    assert "8 of 10 months should land inside the P10–P90 range; 7.3 did." in page.text
    assert ["1", "12.3%", "−2.0%", "75.0%"] in page.cells
    assert ["smooth", "–", "96", "60.0%", "40.0%"] in page.cells
    assert ["warning", "one item is short", "1", "history_short"] in page.cells


def test_every_node_worth_a_look_has_a_chart(tmp_path, arguments):
    page = read(write_page(tmp_path / "review.html", **arguments))
    assert page.tags.count("svg") == 1 + 2 + 3  # total, two families, items with any width


def test_it_needs_nothing_from_elsewhere_and_runs_nothing(tmp_path, arguments):
    page = read(write_page(tmp_path / "review.html", **arguments))
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    loaded = {"src", "href", "xlink:href", "action", "srcset", "data"}
    assert all((value or "").startswith("#") for name, value in page.attributes if name in loaded)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    source = (tmp_path / "review.html").read_text(encoding="utf-8")
    assert "@import" not in source
    assert "url(" not in source.replace("url(#", "")
    assert "default-src 'none'" in source


def rename(arguments: dict[str, Any]) -> dict[str, Any]:
    """Every name and sentence of the page replaced by a hostile one."""
    swap = {"b": EVIL, "family=North": f"family={EVIL.replace('/', '%2F').replace('=', '%3D')}"}
    renamed = pl.col("unique_id").replace(swap)
    evil_names = {swap.get(node, node): level for node, level in arguments["node_levels"].items()}
    return arguments | {
        "run": {key: EVIL if isinstance(value, str) else value
                for key, value in arguments["run"].items()} | {"published": EVIL},
        "forecasts": arguments["forecasts"].with_columns(renamed, stage=pl.lit(EVIL)),
        "history_nodes": arguments["history_nodes"].with_columns(renamed),
        "node_levels": evil_names,
        "descriptions": dict.fromkeys(evil_names, EVIL),
        "units": dict.fromkeys(evil_names, EVIL),
        "checks": [(EVIL, EVIL, EVIL, 1)],
        "weights": arguments["weights"].with_columns(segment=pl.lit(EVIL), model=pl.lit(EVIL)),
        "seconds": {EVIL: 1.0},
        "notes": [EVIL],
        "backtest": arguments["backtest"].with_columns(level=pl.lit(EVIL)),
        "components": pl.DataFrame({"unique_id": [EVIL], "segment": [EVIL], "model": [EVIL],
                                    "reason": [EVIL]}),
    }  # fmt: skip


def test_hostile_names_are_words_and_never_tags(tmp_path, arguments):
    tame = read(write_page(tmp_path / "tame.html", **arguments))
    page = read(write_page(tmp_path / "evil.html", **rename(arguments)))
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert set(page.tags) <= set(tame.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert page.text.count('<script>alert("x")</script>') > 20


def test_history_alone_is_enough(tmp_path, arguments, company):
    kept = {node: level for node, level in company.node_levels.items() if level != "family"}
    only = pl.col("unique_id").is_in(list(kept))
    page = read(
        write_page(
            tmp_path / "review.html",
            **arguments
            | {
                "node_levels": kept,
                "forecasts": company.forecasts.filter(only & (pl.col("lead") == 1)),
                "history_nodes": company.history.clear(),
                "descriptions": {},
                "checks": [],
                "weights": arguments["weights"].clear(),
                "seconds": {},
                "backtest": arguments["backtest"].clear(),
                "notes": [],
                "units": None,
                "run": {key: value for key, value in arguments["run"].items() if key != "name"},
            },
        )
    )
    assert "quantiles do not" in page.text
    assert "Not measured" in page.text
    assert "units per month" in page.text
    assert "Next 3 months" not in page.text


def test_many_families_are_all_listed_and_the_largest_drawn(tmp_path, arguments, company):
    names = [f"family=F{index:02d}" for index in range(30)]
    base = company.forecasts.filter(pl.col("unique_id") == "family=North")
    more = [base.with_columns(unique_id=pl.lit(name)) for name in names]
    page = read(
        write_page(
            tmp_path / "review.html",
            **arguments
            | {
                "forecasts": pl.concat([company.forecasts, *more]),
                "node_levels": company.node_levels | dict.fromkeys(names, "family"),
            },
        )
    )
    assert sum(row[0].startswith("F") and row[0][1:].isdigit() for row in page.cells) == 30
    assert page.tags.count("svg") == 1 + 24 + 3
    assert "8 smaller ones" in page.text


def test_mixed_units_are_told_row_by_row(tmp_path, arguments):
    arguments["units"] = arguments["units"] | {"family=North": "doses"}
    page = read(write_page(tmp_path / "review.html", **arguments))
    assert any(row[:2] == ["North", "doses"] for row in page.cells)
    assert any(row[:2] == ["Total", "packs"] for row in page.cells)


def test_a_published_run_says_so(tmp_path, arguments):
    arguments["run"] = arguments["run"] | {"published": "version 2, by Ann"}
    page = read(write_page(tmp_path / "review.html", **arguments))
    assert "published version 2, by Ann" in page.text
    assert "not published" not in page.text


@pytest.fixture
def judged(arguments, judgement, consensus) -> dict[str, Any]:
    return arguments | {"forecasts": consensus, "judgement": judgement}


def test_judgement_is_told_in_one_sentence_and_a_section(tmp_path, judged):
    page = read(write_page(tmp_path / "review.html", **judged))
    assert (
        "Judgement moves the plan by +100 (+2.5%) over 12 months: sales +91, finance +41, "
        "marketing −30, whole numbers −2." in page.text
    )
    assert "With a record of their own: sales. Prior only" in page.text
    assert "What people said and what it moved" in page.text
    assert ["sales", "+90.6", "+2.3%", "2", "A. Rivera, C. Okafor",
            "weight 0.50 to 0.65, on 14 to 20 closed overrides"] in page.cells  # fmt: skip
    assert ["sales (A. Rivera): +140 moved the plan by +90.6", "weight 0.65: because"] in page.cells
    assert "New 3 Carried 1 Changed 0 Expired 1 Already in the history? 1" in page.text
    assert "it may be in the history" in page.text
    assert "it is over" in page.text
    assert "The plan adds up at every level and month; quantiles do not." in page.text


def test_judgement_has_a_waterfall_for_all_and_for_each_family_it_moved(tmp_path, judged):
    page = read(write_page(tmp_path / "review.html", **judged))
    silent = read(write_page(tmp_path / "silent.html", **judged | {"judgement": None}))
    assert page.tags.count("svg") == silent.tags.count("svg") + 1 + 2
    labels = [value for name, value in page.attributes if name == "aria-label"]
    assert "Total: from the statistical plan to the approved plan, packs" in labels
    assert "North: from the statistical plan to the consensus, packs" in labels


def test_the_plan_before_judgement_stands_beside_each_month(tmp_path, judged):
    page = read(write_page(tmp_path / "review.html", **judged))
    assert ["Dec 2026", "330", "390", "369", "390", "411", "165", "+136%"] in page.cells
    assert ["Nov 2027", "330", "330", "309", "330", "351", "165", "+100%"] in page.cells


def test_where_nobody_spoke_the_page_is_the_same_to_the_byte(tmp_path, arguments, judgement):
    plain = write_page(tmp_path / "plain.html", **arguments).read_bytes()
    silence = Judgement(judgement.statements.clear(), judgement.bridge.clear(),
                        judgement.statistical, {"new": ()})  # fmt: skip
    assert write_page(tmp_path / "s.html", **arguments, judgement=silence).read_bytes() == plain
    assert b"udgement" not in plain


def test_what_has_only_expired_is_told_without_charts(tmp_path, arguments, judgement):
    silence = Judgement(judgement.statements.clear(), judgement.bridge.clear(),
                        judgement.statistical, {"expired": ("it is over",)})  # fmt: skip
    page = read(write_page(tmp_path / "review.html", **arguments, judgement=silence))
    plain = read(write_page(tmp_path / "plain.html", **arguments))
    assert "it is over" in page.text
    assert "leaves the plan of all items as it is" in page.text
    assert page.tags.count("svg") == plain.tags.count("svg")


def test_hostile_words_of_judgement_are_words(tmp_path, judged):
    said = judged["judgement"]
    swap = {"source:sales": f"source:{EVIL}"}
    evil = Judgement(
        said.statements.with_columns(source=pl.lit(EVIL), owner=pl.lit("=cmd|' /C calc'!A0")),
        said.bridge.with_columns(pl.col("step").replace(swap)),
        said.statistical,
        dict.fromkeys(said.told, (EVIL, "=1+1")),
        (f"{EVIL}; {EVIL}",),
    )
    tame = read(write_page(tmp_path / "tame.html", **judged))
    page = read(write_page(tmp_path / "evil.html", **judged | {"judgement": evil}))
    assert set(page.tags) <= set(tame.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert page.text.count('<script>alert("x")</script>') >= 6
    assert "=cmd|' /C calc'!A0" in page.text


def test_a_failed_write_leaves_the_old_page_and_no_rest(tmp_path, arguments, monkeypatch):
    path = tmp_path / "review.html"
    path.write_text("the old page", encoding="utf-8")

    def full(*_arguments: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("sopforecast.review.rendering.os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_page(path, **arguments)
    assert path.read_text(encoding="utf-8") == "the old page"
    assert [entry.name for entry in tmp_path.iterdir()] == ["review.html"]


def test_without_a_total_it_is_refused_and_nothing_is_written(tmp_path, arguments, company):
    arguments["forecasts"] = company.forecasts.filter(pl.col("unique_id") != "total")
    with pytest.raises(RequestError, match="no node 'total'"):
        write_page(tmp_path / "review.html", **arguments)
    arguments["forecasts"] = company.forecasts.clear()
    with pytest.raises(RequestError, match="no forecasts"):
        write_page(tmp_path / "review.html", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_the_same_arguments_give_the_same_bytes(tmp_path, arguments):
    first = write_page(tmp_path / "a.html", **arguments).read_bytes()
    assert write_page(tmp_path / "b.html", **arguments).read_bytes() == first


def test_what_each_stage_added_stands_before_the_backtest(tmp_path, arguments):
    plain = write_page(tmp_path / "a.html", **arguments).read_bytes()
    nothing = empty(ValueAdded)
    assert write_page(tmp_path / "b.html", **arguments, value_added=nothing).read_bytes() == plain
    assert b"value-added" not in plain
    frame = rows_of_one_close()
    path = write_page(tmp_path / "c.html", **arguments, value_added=frame)
    page = read(path)
    assert ["statistical", "88.0%", "12.0%", "+1.0%", "+3.0", "+1.0 to +5.0", "+3.0",
            "+1.0 to +5.0"] in page.cells  # fmt: skip
    text = path.read_text(encoding="utf-8")
    assert text.index('<a href="#value-added">') < text.index('<a href="#accuracy">')
    assert text.index('<section id="value-added"') < text.index('<section id="accuracy"')
    assert ".value-added .ladder" in text
    same = write_page(tmp_path / "d.html", **arguments, value_added=frame).read_bytes()
    assert path.read_bytes() == same


def rows_of_one_close() -> pl.DataFrame:
    """Naive and statistical of the twelve months to November 2026."""
    both = {
        "fit_id": "c-1", "closed": date(2026, 11, 1), "window": 12, "measure": "quantity",
        "within": "total", "lead": 0, "alone": False, "months": 12, "cells": 48,
    }  # fmt: skip
    gains = {f"{name}{end}": value for name in ("gained", "over_naive")
             for end, value in (("", 3.0), ("_low", 1.0), ("_high", 5.0))}  # fmt: skip
    still = {f"over_statistical{end}": 0.0 for end in ("", "_low", "_high")}
    rows = [
        {**both, "position": 0, "stage": "naive", "accuracy": 85.0, "wmape": 15.0,
         "bias_percent": -2.0},
        {**both, **gains, **still, "position": 1, "stage": "statistical", "accuracy": 88.0,
         "wmape": 12.0, "bias_percent": 1.0},
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=empty(ValueAdded).schema)


def test_every_note_of_a_run_stands_for_itself(tmp_path, arguments):
    arguments["run"]["notes"] = "First.\nSecond."
    text = write_page(tmp_path / "r.html", **arguments).read_text(encoding="utf-8")
    assert "<li>First.</li><li>Second.</li><li>another note</li>" in text
