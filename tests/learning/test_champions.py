"""Which procedure rules: the last decision of each table, else its cold start."""

from __future__ import annotations

import polars as pl
import pytest

from sopforecast.core.learning_tables import PROCEDURES, LearningLog, empty
from sopforecast.learning.champions import rulers

COLD = {
    "weights": "backtest",
    "widths": "backtest",
    "credibility": "prior",
    "conversion": "learned",
}


def log_of(*decisions: tuple[str, str]) -> pl.DataFrame:
    schema = {name: c.dtype for name, c in LearningLog.columns().items()}
    rows = [{"table": table, "rules": rules} for table, rules in decisions]
    return pl.DataFrame(rows, schema=schema)


def test_nothing_was_decided_yet() -> None:
    assert rulers(empty(LearningLog)) == COLD
    assert list(COLD) == list(PROCEDURES)


def test_the_last_decision_of_each_table_stands() -> None:
    log = log_of(
        ("widths", "live"), ("credibility", "learned"), ("widths", "backtest"), ("widths", "live"),
        ("conversion", "elicited"), ("credibility", "prior"),
    )  # fmt: skip
    assert rulers(log) == COLD | {"widths": "live", "conversion": "elicited"}
    assert rulers(log.head(3)) == COLD | {"credibility": "learned"}


def test_a_procedure_that_the_table_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="weights is ruled by 'learned'; allowed: backtest, live"):
        rulers(log_of(("weights", "learned")))
