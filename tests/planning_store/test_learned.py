"""Fits: written once, verified when they come again; the log says which one a cycle may read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from sopforecast.core.evidence_tables import Credibility
from sopforecast.errors import RequestError, SopforecastError
from sopforecast.planning_store.learned import (
    close_again,
    closes,
    newest_close,
    read_credibility,
    save_close,
)
from sopforecast.planning_store.store import Store

Parts = Callable[..., dict[str, Any]]
NOV, DEC, JAN = date(2026, 11, 1), date(2026, 12, 1), date(2027, 1, 1)


def fit_of(store: Store, **limits: Any) -> str | None:
    found = newest_close(store, **limits)
    return None if found is None else found["fit_id"]


def test_a_fit_comes_back_as_it_was_given(store: Store, close_parts: Parts) -> None:
    parts = close_parts("c1")
    assert save_close(store, **parts)
    back = read_credibility(store, "c1")
    assert_frame_equal(back, parts["credibility"], check_exact=True)
    Credibility.validate(back)
    found = newest_close(store)
    assert {name: found[name] for name in parts["close"]} == parts["close"]
    assert read_credibility(store, "c2").is_empty()


def test_the_same_close_again_writes_nothing(store: Store, close_parts: Parts) -> None:
    parts = close_parts("c1")
    save_close(store, **parts)
    later = {"known_at": datetime(2027, 2, 1), "made_at": datetime(2027, 2, 1)}
    assert not save_close(store, **(parts | {"close": parts["close"] | later}))
    assert closes(store).height == 1
    again = close_again(store, "in", closed=DEC, **later)
    assert again["fit_id"] == "c1"
    assert closes(store).height == 1
    assert close_again(store, "other", closed=DEC, **later) is None
    assert close_again(store, "in", closed=JAN, **later) is None


def test_other_numbers_under_the_same_id_are_refused(store: Store, close_parts: Parts) -> None:
    save_close(store, **close_parts("c1"))
    with pytest.raises(SopforecastError, match="fit c1 is stored already and differs"):
        save_close(store, **close_parts("c1", weight=0.7))
    parts = close_parts("c1", known_at=datetime(2027, 3, 1))
    assert not save_close(store, **parts), "when it became known is no part of a fit"


def test_a_fit_that_breaks_its_rules_is_refused_whole(store: Store, close_parts: Parts) -> None:
    parts = close_parts("c1")
    wrong = parts["credibility"].with_columns(tail=pl.lit(1.0))
    with pytest.raises(RequestError, match="credibility of fit c1 breaks its rules"):
        save_close(store, close=parts["close"], credibility=wrong)
    with pytest.raises(RequestError, match="rows of another fit than c1"):
        save_close(store, close=parts["close"], credibility=close_parts("c2")["credibility"])
    close = {name: value for name, value in parts["close"].items() if name != "notes"}
    with pytest.raises(RequestError, match="wrong: notes"):
        save_close(store, close=close, credibility=parts["credibility"])
    assert closes(store).is_empty()
    assert fit_of(store) is None


def test_a_cycle_reads_the_newest_month_that_was_closed_by_its_cut_off(
    store: Store, close_parts: Parts
) -> None:
    def save(fit_id: str, closed: date, day: datetime) -> None:
        parts = close_parts(fit_id, closed=closed, known_at=day, inputs_hash=fit_id)
        save_close(store, **parts)

    save("dec", DEC, datetime(2027, 1, 10))
    save("nov late", NOV, datetime(2027, 1, 20))
    save("dec restated", DEC, datetime(2027, 1, 20))
    assert fit_of(store, before=JAN, known_by=datetime(2027, 1, 15)) == "dec"
    assert fit_of(store, before=JAN, known_by=datetime(2027, 1, 10)) == "dec"
    assert fit_of(store, before=JAN, known_by=datetime(2027, 1, 9)) is None
    assert fit_of(store, before=JAN, known_by=datetime(2027, 1, 31)) == "dec restated"
    assert fit_of(store, before=DEC, known_by=datetime(2027, 1, 31)) == "nov late"
    assert fit_of(store, before=DEC, known_by=datetime(2027, 1, 15)) is None
    assert fit_of(store) == "dec restated"


def test_of_two_closes_known_at_once_the_one_made_last_counts(
    store: Store, close_parts: Parts
) -> None:
    """As after loading overrides of the past and replaying again."""
    for name in ("c1", "c2"):
        save_close(store, **close_parts(name, inputs_hash=name))
    assert fit_of(store) == "c2"
    when = {"known_at": datetime(2027, 1, 10), "made_at": datetime(2027, 3, 1)}
    assert close_again(store, "c1", closed=DEC, **when)["fit_id"] == "c1"
    assert fit_of(store) == "c1"


def test_what_was_closed_late_may_be_read_early_when_a_replay_shows_it_could_be_known(
    store: Store, close_parts: Parts
) -> None:
    save_close(store, **close_parts("c1", known_at=datetime(2028, 1, 1)))
    early = datetime(2027, 1, 15)
    assert fit_of(store, known_by=early) is None
    close_again(store, "in", closed=DEC, known_at=early, made_at=datetime(2028, 1, 2))
    assert fit_of(store, known_by=early) == "c1"
    assert closes(store).height == 2
