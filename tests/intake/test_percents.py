"""Percent signs: a quantity of percent, a share, or a mistake."""

from __future__ import annotations

import polars as pl
import pytest

from sopforecast.intake.cells import Cells
from sopforecast.intake.headers import Matched
from sopforecast.intake.percents import read_shares, read_signs, without_signs

ROWS = pl.Series([2, 3, 4], dtype=pl.Int64)


def _matched(column: str, *texts: str | None) -> Matched:
    text = pl.Series(texts, dtype=pl.String)
    return Matched({column: (Cells("o.csv", column, ROWS, text),)})


def test_signs_are_taken_off_and_remembered() -> None:
    bare, signs = without_signs(_matched("value", "15 %", "4", None))
    assert bare.found["value"][0].text.to_list() == ["15", "4", None]
    assert signs.signed("value", 3).to_list() == [True, False, False]
    assert signs.signed("low", 3).to_list() == [False] * 3


def test_other_columns_keep_what_they_hold() -> None:
    matched = _matched("reason", "15%", "a", None)
    bare, _ = without_signs(matched)
    assert bare.found["reason"] is matched.found["reason"]


def test_signed_shares_become_numbers_below_one() -> None:
    _, signs = without_signs(_matched("probability", "30%", "0.3", None))
    frame = pl.DataFrame({"kind": ["delta"] * 3, "probability": [30.0, 0.3, None]})
    read, problems = read_signs(frame, signs)
    assert read["probability"].to_list() == [pytest.approx(0.3), 0.3, None]
    assert problems == []


def test_a_sign_is_refused_where_the_kind_is_another() -> None:
    _, signs = without_signs(_matched("value", "15%", "15%", "15%"))
    frame = pl.DataFrame({"kind": ["percent", "delta", None], "value": [15.0] * 3})
    _, (problem,) = read_signs(frame, signs)
    assert (problem.row, problem.column, problem.found) == (3, "value", "'15%'")


def test_columns_with_signs_may_be_named() -> None:
    bare, signs = without_signs(_matched("share_low", "30%", "0.3", None), ["share_low"])
    assert bare.found["share_low"][0].text.to_list() == ["30", "0.3", None]
    frame = pl.DataFrame({"share_low": [30.0, 0.3, None]})
    read = read_shares(frame, signs, ["share_low", "share_high"])
    assert read["share_low"].to_list() == [pytest.approx(0.3), 0.3, None]
    untouched, _ = without_signs(_matched("share_low", "30%", None, None))
    assert untouched.found["share_low"][0].text.to_list() == ["30%", None, None]
