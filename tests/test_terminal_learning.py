"""What a close says of learning, word for word."""

from __future__ import annotations

import re
from itertools import product

import pytest

from sopforecast.core.learning_tables import DECISIONS
from sopforecast.terminal_learning import (
    calibration,
    decisions,
    of_close,
    value_added,
    waiting,
)

BLAME = re.compile(r"\b(wrong|bad|worse|fault|fail\w*|poor\w*|blame\w*)\b|!", re.IGNORECASE)


def stage(name: str, position: int, wmape: float | None, **changed: object) -> dict[str, object]:
    row = {
        "window": 12, "measure": "quantity", "within": "total", "lead": 0, "position": position,
        "stage": name, "alone": name.startswith("source:"), "months": 12, "cells": 4032,
        "wmape": wmape, "accuracy": None if wmape is None else 100 - wmape, "bias_percent": 1.04,
    }  # fmt: skip
    for gain in ("gained", "over_naive", "over_statistical"):
        row |= {gain: None, f"{gain}_low": None, f"{gain}_high": None}
    return row | changed


def ladder(*, months: int = 12) -> list[dict[str, object]]:
    ranged = months >= 6

    def gain(name: str, value: float) -> dict[str, object]:
        ends = (value - 0.5, value + 0.5) if ranged else (None, None)
        return {name: value, f"{name}_low": ends[0], f"{name}_high": ends[1]}

    rows = [
        stage("naive", 0, 30.0),
        stage("statistical", 1, 20.0, **gain("gained", 10.0), **gain("over_naive", 10.0)),
        stage("source:sales", 2, 18.0, **gain("gained", 2.0), **gain("over_naive", 12.0),
              **gain("over_statistical", 2.0)),
        stage("consensus", 4, 20.2, **gain("gained", -0.2), **gain("over_naive", 9.8),
              **gain("over_statistical", -0.2)),
    ]  # fmt: skip
    return [row | {"months": months} for row in rows]


def test_the_table_word_for_word():
    assert value_added(ladder()[::-1]) == [
        "Value added over 12 months, quantity, all leads, 4,032 cells",
        "stage                         accuracy  WMAPE   bias  gained      90% range  over naive"
        "       90% range",
        "naive (same month last year)     70.0%  30.0%  +1.0%",
        "statistical                      80.0%  20.0%  +1.0%   +10.0  +9.5 to +10.5       +10.0"
        "   +9.5 to +10.5",
        "  sales alone                    82.0%  18.0%  +1.0%    +2.0   +1.5 to +2.5       +12.0"
        "  +11.5 to +12.5",
        "consensus                        79.8%  20.2%  +1.0%    −0.2   −0.7 to +0.3        +9.8"
        "   +9.3 to +10.3",
        "Accuracy is 100% less WMAPE; bias is forecast minus actual. Gains are points of WMAPE,\n"
        "positive is closer, with their 90% range. A source alone gains over statistical; each "
        "other\nrow stands on the one above.",
        "Consensus was 0.2 points less close than statistical over 12 months (between −0.7 and "
        "+0.3): not told apart from zero; 4,032 cells.",
        "Sales alone was 2.0 points closer than statistical over 12 months (between 1.5 and 2.5); "
        "4,032 cells.",
        "Statistical was 10.0 points closer than naive (same month last year) over 12 months "
        "(between 9.5 and 10.5); 4,032 cells.",
    ]


def test_few_months_have_no_range_and_say_how_many_were_scored():
    lines = value_added(ladder(months=4))
    assert lines[0].startswith("Value added over 12 months (4 scored), quantity")
    assert lines[3].count("not enough yet") == 2
    assert "range from 6 months on" in lines[-1]


def test_nothing_scored_is_a_line():
    assert value_added([]) == ["Value added: nothing scored yet."]
    assert value_added(ladder(), measure="value") == ["Value added: nothing scored yet."]


def decision(name: str, rules: str) -> dict[str, object]:
    return {
        "table": "weights", "ruled": "backtest", "challenger": "live", "decision": name,
        "rules": rules, "cycles": 8, "difference": -0.03, "low": -0.05, "high": -0.01,
        "reason": "live would have been 3.0% closer over 8 cycles (between 1.0% and 5.0%): so.",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "rules", "said"),
    [
        ("adopt", "live", "live rules from now on, after backtest"),
        ("revert", "live", "live rules again, after backtest"),
        ("keep", "backtest", "backtest goes on"),
        ("refuse", "backtest", "backtest goes on"),
        ("not_enough", "backtest", "backtest goes on, not enough yet to compare"),
    ],
)
def test_each_decision_is_one_sentence(name, rules, said):
    assert decisions([decision(name, rules)]) == [
        f"weights: {said}; live would have been 3.0% closer over 8 cycles (between 1.0% and "
        "5.0%): so."
    ]
    assert name in DECISIONS


def test_every_decision_of_the_gate_has_words():
    assert len(decisions([decision(name, "live") for name in DECISIONS])) == len(DECISIONS)


def counted(level: str, segment: str, lead_to: int, inside: int, cells: int) -> dict[str, object]:
    return {"level": level, "segment": segment, "lead_from": 1, "lead_to": lead_to,
            "inside80": inside, "cells": cells}  # fmt: skip


def test_calibration_reads_all_leads_of_all_segments():
    rows = [
        counted("total", "*", 12, 9, 12),
        counted("item", "*", 1, 30, 90),
        counted("item", "*", 12, 412, 540),
        counted("item", "smooth", 18, 1, 2),
        counted("item", "*", 12, 5, 9) | {"lead_from": 7},
        counted("family", "*", 12, 0, 0),
        counted("area", "*", 12, 1_000, 1_250),
    ]
    assert calibration(rows) == [
        "Statistical ranges of items: 8 of 10 should land inside; 7.6 did (412 of 540)",
        "Statistical ranges of the total: 8 of 10 should land inside; 7.5 did (9 of 12)",
        "Statistical ranges of area: 8 of 10 should land inside; 8.0 did (1,000 of 1,250)",
    ]
    assert calibration([]) == []


def test_what_waits_is_named_and_counted():
    assert waiting() == []
    assert waiting(["a"]) == [
        "1 item waits for an actual, with the sums above: a. The next close of the month scores "
        "what has come."
    ]
    many = waiting(list("abcdefg"), restated=["x", "y"], left_out=3)
    assert "7 items wait for an actual, with the sums above: a, b, c, d, e and 2 more." in many[0]
    assert many[1].startswith("2 items were restated since first scored: x, y.")
    assert many[2] == (
        "Value added leaves out 3 forecast months without a naive or statistical forecast."
    )


def test_a_close_says_its_parts_in_order_with_a_line_between():
    lines = of_close(
        value_added_rows=ladder(),
        decision_rows=[decision("keep", "backtest")],
        calibration_rows=[counted("item", "*", 12, 8, 10)],
        waiting_items=["a"],
    )
    starts = ("Value added over", "Statistical ranges of items", "weights:", "1 item waits")
    places = [next(k for k, line in enumerate(lines) if line.startswith(s)) for s in starts]
    assert places == sorted(places)
    assert lines.count("") == 3
    assert lines[0] != ""
    assert of_close(value_added_rows=[], decision_rows=[], calibration_rows=[]) == [
        "Value added: nothing scored yet."
    ]


def test_nothing_blames():
    for months, name in product((1, 12), DECISIONS):
        text = "\n".join(
            of_close(
                value_added_rows=ladder(months=months),
                decision_rows=[decision(name, "live")],
                calibration_rows=[counted("item", "*", 12, 0, 10)],
                waiting_items=["a"],
                restated=["b"],
                left_out=1,
            )
        )
        assert not BLAME.search(text)
