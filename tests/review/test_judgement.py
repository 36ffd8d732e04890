"""What the page says of judgement, worked by hand on the four-item company."""

from __future__ import annotations

import doctest
from dataclasses import replace

import polars as pl
import pytest

from sopforecast.review import judgement as judging


def test_the_examples_in_the_docstrings_hold():
    failed, tried = doctest.testmod(judging)
    assert tried >= 2
    assert failed == 0


def test_the_sentence_adds_up(judgement):
    total = judging.total_walk(judgement)
    said = judging.sentence(total, months=12)
    # 100 of 3,960 is 2.5%; -25 of 4,060 is -0.6%
    assert said == (
        "Judgement moves the plan by +100 (+2.5%) over 12 months: sales +91, finance +41, "
        "marketing −30, whole numbers −2. Fixed figures move it by −25 (−0.6%) to the approved "
        "plan."
    )


def test_what_moves_nothing_says_so():
    assert judging.sentence(None, months=1) == (
        "Judgement leaves the plan of all items as it is over 1 month."
    )


def test_fixed_figures_alone_are_measured_from_the_statistical_plan(judgement):
    alone = judgement.bridge.filter(pl.col("step").is_in(["statistical", "fixed"]))
    total = judging.total_walk(replace(judgement, bridge=alone))
    said = judging.sentence(total, months=12)
    assert said == (
        "Fixed figures move the plan over 12 months by −25 (−0.6%) to the approved plan."
    )


def test_who_has_a_record_and_who_is_prior_only(judgement):
    assert judging.record_sentence(judgement.statements) == (
        "With a record of their own: sales. Prior only, their records do not count yet "
        "(too few statements closed, or not proved): finance, marketing."
    )


def test_a_row_a_source_with_what_it_moved_and_its_record(judgement):
    rows = judging.source_rows(judgement, judging.total_walk(judgement))
    assert [row["name"] for row in rows] == ["sales", "finance", "marketing", "Fixed figures"]
    sales, finance, _, fixed = rows
    assert (sales["moved"], sales["overrides"]) == (90.625, 2)
    assert sales["owners"] == ["A. Rivera", "C. Okafor"]
    assert sales["share"] == pytest.approx(100 * 90.625 / 3960)
    assert (sales["weights"], sales["earlier"]) == ("0.50 to 0.65", "14 to 20")
    assert (finance["prior_only"], finance["weights"]) == (True, None)
    assert (fixed["moved"], fixed["is_fixed"], fixed["owners"]) == (-25.0, True, ["Plant 2"])


def test_nodes_pulled_to_and_fro_come_before_those_moved_further_in_one_direction(judgement):
    total = judging.total_walk(judgement)
    nodes = ["family=South %26 East", "family=North", "a"]
    moved = judging.most_moved(judgement, nodes, total)
    assert [walk.node for walk in moved] == ["family=North", "family=South %26 East"]


def test_a_run_of_silence_is_silent(judgement):
    nothing = replace(
        judgement, statements=judgement.statements.clear(), bridge=judgement.bridge.clear(), told={}
    )
    assert nothing.is_silent
    assert replace(nothing, told={"new": ()}).is_silent
    assert not replace(nothing, told={"expired": ("it is over",)}).is_silent
    assert not judgement.is_silent
    assert judging.total_walk(nothing) is None
    assert judging.most_moved(nothing, ["family=North"], None) == []
    assert judging.source_rows(nothing, None) == []
    assert judging.record_sentence(nothing.statements) == ""


def test_a_sentence_is_parted_at_its_last_semicolon():
    parts = judging.split_sentences(["sales (a; b): +4 moved it by +2; weight 0.5: why", "no why"])
    assert parts == [("sales (a; b): +4 moved it by +2", "weight 0.5: why"), ("no why", "")]


def test_lists_name_the_first_ones_and_count_the_rest():
    many = {"waiting": [f"w{index}" for index in range(30)], "expired": [], "new": ["n"]}
    (waiting,) = judging.told_lists(many)
    assert waiting["rows"][0] == "w0"
    assert len(waiting["rows"]) + waiting["hidden"] == 30
