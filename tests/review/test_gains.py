"""Sentences on value added: what they say, and what they never say."""

from __future__ import annotations

import re
from itertools import product

import pytest

from sopforecast.review.gains import gain_sentence, row_name, shown_table, table_sentences

BLAME = re.compile(
    r"\b(wrong|bad|worse|fault|fail\w*|poor\w*|blame\w*|mistake\w*)\b|!", re.IGNORECASE
)


def row(stage: str = "consensus", **changed: object) -> dict[str, object]:
    base = {
        "stage": stage, "alone": stage.startswith("source:"), "position": 0, "window": 12,
        "measure": "quantity", "within": "total", "lead": 0, "months": 12, "cells": 4032,
        "gained": 1.0, "over_statistical": 2.1, "over_statistical_low": 0.4,
        "over_statistical_high": 3.9, "over_naive": 9.0, "over_naive_low": 8.0,
        "over_naive_high": 9.96,
    }  # fmt: skip
    return base | changed


def of(gain: float | None, low: float | None, high: float | None, **changed: object) -> str:
    given = {"over_statistical": gain, "over_statistical_low": low, "over_statistical_high": high}
    return gain_sentence(row(**given | changed), "over_statistical")


def test_sentences_word_for_word():
    assert gain_sentence(row("source:marketing", over_statistical=-0.3, over_statistical_low=-1.0,
                             over_statistical_high=0.4), "over_statistical") == (
        "Marketing alone was 0.3 points less close than statistical over 12 months "
        "(between −1.0 and +0.4): not told apart from zero; 4,032 cells."
    )  # fmt: skip
    assert gain_sentence(row("statistical"), "over_naive") == (
        "Statistical was 9.0 points closer than naive (same month last year) over 12 months "
        "(between 8.0 and 10.0); 4,032 cells."
    )
    assert of(1.0, None, None, months=1, cells=1) == (
        "Consensus was 1.0 point closer than statistical over 1 month; range from 6 months on; "
        "1 cell."
    )
    assert of(0.04, -0.1, 0.2).startswith("Consensus was as close as statistical over 12 months")
    assert of(None, None, None) == (
        "There was no demand to compare consensus by over 12 months; 4,032 cells."
    )


@pytest.mark.parametrize(
    ("low", "high", "said"), [(-1, 1, True), (0, 2, True), (0.1, 2, False), (-2, -0.1, False)]
)
def test_what_holds_zero_is_not_told_apart(low, high, said):
    assert ("not told apart from zero" in of(low / 2 + high / 2, low, high)) is said


def test_what_equals_is_said_to_be_as_close_without_a_doubt_that_is_not_there():
    assert "told apart" not in of(0.0, 0.0, 0.0)


def test_no_sentence_blames():
    ends = (None, -3.0, 0.0, 2.0)
    stages = ("statistical", "source:sales", "through:sales", "consensus", "approved")
    for stage, gain, low, high, months in product(stages, ends, ends, ends, (1, 12)):
        said = gain_sentence(
            row(stage, months=months, over_statistical=gain, over_statistical_low=low,
                over_statistical_high=high), "over_statistical",
        )  # fmt: skip
        assert not BLAME.search(said), said


def test_a_table_says_people_first_then_the_models():
    stages = ("naive", "statistical", "source:sales", "through:sales", "consensus", "approved")
    rows = [row(stage) for stage in stages]
    starts = [said.split(" was ")[0] for said in table_sentences(rows)]
    assert starts == ["Consensus", "Approved", "Sales alone", "Statistical"]
    quiet = [row("naive"), row("statistical"), row("consensus"), row("approved", gained=0.0)]
    assert [said.split(" was ")[0] for said in table_sentences(quiet)] == ["Statistical"]
    assert table_sentences([]) == []


def test_the_full_window_is_shown_or_the_longest_there_is():
    rows = [row(window=window, position=position) for window, position in
            ((1, 0), (3, 1), (3, 0), (12, 1), (24, 0), (12, 0))]  # fmt: skip
    assert [(r["window"], r["position"]) for r in shown_table(rows)] == [(12, 0), (12, 1)]
    assert [(r["window"], r["position"]) for r in shown_table(rows[:3])] == [(3, 0), (3, 1)]
    assert shown_table(rows, measure="value") == []
    assert shown_table(rows, lead=2) == []


def test_a_source_of_another_tool_keeps_its_name():
    assert row_name("source:system:erp") == "system:erp alone"
    assert row_name("through:system:erp") == "with system:erp"
