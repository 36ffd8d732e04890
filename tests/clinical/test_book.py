"""The landmark table worked by hand: spells, followed outcomes, weights, who teaches nothing."""

from __future__ import annotations

from datetime import date, datetime

import polars as pl

from sopforecast.clinical.book import landmarks, left_out, open_lines, ratios
from sopforecast.clinical.inputs import clinical_inputs

CYCLE = date(2026, 12, 1)


def version(line_id, known, tier="pipeline", outcome="open", **more):
    return {
        "line_id": line_id, "study": "ABC", "account": None, "site": None, "unique_id": None,
        "tier": tier, "quantity": 1.0, "expected_ds": None, "probability_low": None,
        "probability_high": None, "owner": "ann", "outcome": outcome, "converted_quantity": None,
        "converted_ds": None, "known_at": known and datetime(*known), **more,
    }  # fmt: skip


def book_of(*rows, cycle=CYCLE):
    lines = pl.DataFrame(
        list(rows),
        schema_overrides={
            "account": pl.String, "site": pl.String, "unique_id": pl.String, "study": pl.String,
            "expected_ds": pl.Date, "converted_ds": pl.Date, "probability_low": pl.Float64,
            "probability_high": pl.Float64, "converted_quantity": pl.Float64, "owner": pl.String,
            "known_at": pl.Datetime("us"),
        },
    )  # fmt: skip
    return clinical_inputs(cycle, tier_lines=lines)


def brief(frame, *columns):
    return frame.select("line_id", *columns).rows()


def test_a_line_through_three_tiers_is_three_landmarks_followed_to_the_end():
    inputs = book_of(
        version("A", (2026, 2, 10)),
        version("A", (2026, 5, 3), tier="highly_probable", expected_ds=date(2026, 9, 1)),
        version("A", (2026, 6, 3), tier="highly_probable", expected_ds=date(2026, 9, 1)),
        version("A", (2026, 8, 3), tier="highly_probable", expected_ds=date(2026, 10, 1)),
        version("A", (2026, 9, 20), tier="committed", expected_ds=date(2026, 10, 1)),
        version("A", (2026, 11, 2), "committed", "converted", converted_ds=date(2026, 10, 1)),
    )
    found = landmarks(inputs)
    assert brief(found, "tier", "outcome", "delay", "age", "expected_lead", "weight") == [
        ("A", "pipeline", "converted", 8, 9, None, 1.0),
        ("A", "highly_probable", "converted", 5, 6, 4, 0.5),
        ("A", "highly_probable", "converted", 2, 3, 2, 0.5),
        ("A", "committed", "converted", 1, 2, 1, 1.0),
    ]
    # half a month of the month in which it changed; a moved month is no change of tier
    assert brief(found, "stay", "moved") == [
        ("A", 3.5, 1), ("A", 3.5, 0), ("A", 1.5, 1), ("A", 1.5, 0),
    ]  # fmt: skip
    assert not found["is_current"].any()


def test_open_lines_are_censored_at_the_end_of_the_month_before_the_cycle():
    inputs = book_of(
        version("A", (2026, 8, 1)),
        version("A", (2026, 10, 5), tier="committed"),
        version("B", (2026, 12, 9)),  # known in the cycle's own month
        version("C", None),  # nobody knows since when
    )
    assert brief(landmarks(inputs), "tier", "outcome", "age", "delay", "is_current") == [
        ("A", "pipeline", "open", 3, None, False),
        ("A", "committed", "open", 1, None, True),
        ("B", "pipeline", "open", -1, None, True),
        ("C", "pipeline", "open", -1, None, True),
    ]
    assert open_lines(inputs).select("line_id", "begun", "tier").rows() == [
        ("A", -2, "committed"), ("B", 0, "pipeline"), ("C", 0, "pipeline"),
    ]  # fmt: skip


def test_a_line_that_is_still_there_stayed_until_the_month_before_the_cycle():
    inputs = book_of(
        version("A", (2026, 8, 1), tier="committed"),
        version("A", (2026, 10, 5), tier="pipeline"),
        version("B", (2026, 12, 9)),
        version("C", (2026, 10, 9)),
        version("C", (2026, 12, 2), tier="committed"),  # in the cycle's month
        version("D", (2026, 6, 9)),
        version("D", (2026, 7, 9), outcome="lost"),
    )
    assert brief(landmarks(inputs), "stay", "moved") == [
        ("A", 2.5, -1), ("A", 2.0, 0), ("B", 0.0, 0), ("C", 2.0, 1), ("C", 0.0, 0), ("D", 1.5, 0),
    ]  # fmt: skip


def test_losses_count_from_when_they_became_known_and_not_in_the_cycles_month():
    inputs = book_of(
        version("A", (2026, 3, 1)),
        version("A", (2026, 7, 1), outcome="lost"),
        version("A", (2026, 8, 1), outcome="lost"),
        version("B", (2026, 3, 1)),
        version("B", (2026, 12, 3), outcome="lost"),
    )
    assert brief(landmarks(inputs), "outcome", "delay", "age", "is_current") == [
        ("A", "lost", 4, 8, False),
        ("B", "open", None, 8, False),
    ]


def test_a_line_that_came_back_begins_again_and_its_first_spell_is_still_open():
    inputs = book_of(
        version("A", (2026, 3, 1)),
        version("A", (2026, 5, 1), outcome="lost"),
        version("A", (2026, 9, 1)),
    )
    assert brief(landmarks(inputs), "outcome", "age", "weight", "is_current") == [
        ("A", "open", 8, 0.5, False),
        ("A", "open", 2, 0.5, True),
    ]


def test_a_line_first_listed_after_its_conversion_teaches_nothing():
    inputs = book_of(
        version("A", (2026, 8, 9), "committed", "converted", converted_ds=date(2026, 6, 1)),
        version("B", (2026, 8, 9), "committed", "converted", converted_ds=date(2026, 8, 1)),
        version("C", (2026, 8, 9)),  # listed as open, but it had converted before
        version("C", (2026, 9, 9), outcome="converted", converted_ds=date(2026, 7, 1)),
        version("D", (2026, 8, 9)),
        version("D", (2026, 8, 20), outcome="converted", converted_ds=date(2026, 8, 1)),
        version("E", (2026, 8, 9), outcome="lost"),
    )
    assert brief(landmarks(inputs), "outcome", "delay") == [("D", "converted", 0)]
    assert left_out(inputs) == 4


def test_a_conversion_of_the_cycles_month_has_not_happened_yet():
    inputs = book_of(
        version("A", (2026, 8, 9)),
        version("A", (2026, 12, 9), outcome="converted", converted_ds=CYCLE),
    )
    assert brief(landmarks(inputs), "outcome", "age", "is_current") == [("A", "open", 3, True)]


def test_ranges_are_the_first_of_a_spell_but_the_last_of_a_current_one():
    first = {"probability_low": 0.2, "probability_high": 0.4}
    last = {"probability_low": 0.6, "probability_high": 0.8}
    inputs = book_of(
        version("A", (2026, 8, 9), **first),
        version("A", (2026, 9, 9), **last),
        version("B", (2026, 8, 9), **first),
        version("B", (2026, 9, 9), **last),
        version("B", (2026, 10, 9), outcome="converted", converted_ds=date(2026, 10, 1), **last),
    )
    assert brief(landmarks(inputs), "e_low", "e_high") == [("A", 0.6, 0.8), ("B", 0.2, 0.4)]


def test_account_lines_have_their_own_scope_and_no_owner_is_any():
    sale = {"study": None, "account": "North", "unique_id": "P1", "owner": None}
    inputs = book_of(version("A", (2026, 8, 9)), version("B", (2026, 8, 9), **sale))
    assert brief(landmarks(inputs), "scope", "name", "owner") == [
        ("A", "study", "ABC", "ann"), ("B", "account", "North", "*"),
    ]  # fmt: skip


def test_ratios_are_of_account_lines_that_converted_and_say_both():
    sale = {"study": None, "account": "North", "unique_id": "P1"}
    done = {"outcome": "converted", "converted_ds": date(2026, 9, 1)}
    inputs = book_of(
        version("A", (2026, 7, 9), quantity=80.0, **sale),
        version("A", (2026, 8, 9), quantity=100.0, **sale),
        version("A", (2026, 10, 9), quantity=100.0, converted_quantity=90.0, **sale, **done),
        version("B", (2026, 8, 9), quantity=100.0, **sale),
        version("B", (2026, 10, 9), quantity=100.0, **sale, **done),
        version("C", (2026, 8, 9), quantity=2.0),
        version("C", (2026, 10, 9), quantity=2.0, converted_quantity=1.0, **done),
    )
    assert ratios(inputs).to_list() == [0.9]


def test_no_rows_are_no_landmarks():
    inputs = clinical_inputs(CYCLE)
    assert landmarks(inputs).is_empty()
    assert left_out(inputs) == 0
    assert open_lines(inputs).is_empty()
