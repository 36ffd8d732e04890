"""Words against hand-written ones; the doctests beside them show the rest."""

from __future__ import annotations

import calendar
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sopforecast.clinical import words


@given(st.dates(date(1990, 1, 1), date(2099, 12, 31)))
def test_months_and_days_are_english(day: date) -> None:
    name = calendar.month_name[day.month]  # the locale of the tests is C
    assert words.month_text(day) == f"{name} {day.year}"
    assert words.day_text(day) == f"{day.day} {name} {day.year}"


@given(st.floats(0, 1))
def test_no_number_of_paths_makes_something_certain(probability: float) -> None:
    assert words.chance(probability) not in {"0%", "100%"}


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_a_range_names_both_ends_or_one(low: int, more: int) -> None:
    text = words.span(low, low + more).replace(",", "")
    numbers = [int(word) for word in text.split() if word.isdigit()]
    assert numbers == ([low] if more == 0 else [low, low + more])
    assert text.endswith("patient" if low + more == 1 else "patients")


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 patients"),
        (1, "1 patient"),
        (1.5, "1.5 patients"),
        (12345, "12,345 patients"),
    ],
)
def test_counts(count: float, text: str) -> None:
    assert words.counted(count, "patient") == text


def test_hints_ignore_capitals() -> None:
    assert words.near("NORTH", ["North", "South"]) == "; did you mean 'North' or 'South'?"
    assert words.near("x", []) == ""
