"""Numbers, months and names as people read them."""

from __future__ import annotations

import doctest
import math
from datetime import date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sopforecast.review import wording


def test_the_examples_in_the_docstrings_hold():
    failed, tried = doctest.testmod(wording)
    assert tried >= 4
    assert failed == 0


@given(st.floats(min_value=-1e12, max_value=1e12))
def test_a_number_reads_back_to_what_it_shows(value):
    text = wording.number(value).replace(",", "").replace(wording.MINUS, "-")
    step = 1.0 if abs(value) >= 100 else (0.1 if abs(value) >= 10 else 0.01)
    assert float(text) == pytest.approx(value, abs=0.5 * step + 1e-9 * abs(value))
    assert text != "-0"


@pytest.mark.parametrize("write", [wording.number, wording.percent, wording.change])
def test_what_is_not_known_is_a_dash(write):
    assert write(None) == write(math.nan) == "–"


def test_a_change_that_rounds_to_nothing_has_no_sign():
    assert wording.change(0.04) == wording.change(-0.04) == "0.0%"


def test_months_are_written_out_from_text_or_date():
    assert wording.long_month("2026-12") == wording.long_month(date(2026, 12, 1)) == "December 2026"
    assert wording.short_month(date(2026, 5, 1)) == "May 2026"


def test_a_moment_is_told_to_the_minute_and_text_stays():
    assert wording.moment(datetime(2026, 12, 5, 23, 59, 59)) == "5 December 2026, 23:59 UTC"
    assert wording.moment("now") == "now"


def test_names_of_nodes():
    assert wording.node_label("total", level="total") == "Total"
    assert wording.node_label("a/b=c", level="item") == "a/b=c"
    assert wording.node_label("family=R%26D%3D%25/region=EU", level="family/region") == "R&D=% / EU"
