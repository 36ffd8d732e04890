"""What a planner is told, word for word, and when the history may hold it already."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import polars as pl
import pytest

from sopforecast.judgement.overrides import Live
from sopforecast.judgement.telling import TOLD, in_history, told

DEC, JAN = date(2026, 12, 1), date(2027, 1, 1)
ROW: dict[str, Any] = {
    "override_id": "o1",
    "entered_cycle": DEC,
    "node": "family=Oncology",
    "ds_from": DEC,
    "ds_to": date(2027, 2, 1),
    "per": "month",
    "kind": "delta",
    "measure": "quantity",
    "value": 400.0,
    "low": None,
    "high": None,
    "confidence": None,
    "probability": 1.0,
    "source": "sales",
    "owner": "A. Rivera",
    "reason": "launch of X",
    "assumption": None,
    "mode": "evidence",
    "expires_cycle": None,
    "state": "new",
    "waits_from": None,
}


def live(*rows: dict[str, Any], expired: tuple[dict[str, Any], ...] = ()) -> Live:
    frames = [
        pl.DataFrame([ROW | row for row in some]) if some else pl.DataFrame()
        for some in (rows, expired)
    ]
    return Live(*frames)


def scalars(**columns: Any) -> pl.DataFrame:
    """Two months of an override entered earlier."""
    return pl.DataFrame(
        {
            "override_id": ["o1", "o1"],
            "ds_from": [DEC, JAN],
            "ds_to": [DEC, JAN],
            "kind": ["delta", "delta"],
            "state": ["carried", "carried"],
            "baseline": [1320.0, 1320.0],
            "adjustment": [400.0, 400.0],
        }
        | columns
    )


def sentence(**change: Any) -> str:
    (only,) = told(live(change), _flagged())["new"]
    return only


def _flagged() -> pl.DataFrame:
    empty = scalars().clear().with_columns(in_history=pl.lit(False))
    return empty.with_columns(baseline_at_entry=pl.lit(0.0))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            {},
            "sales (A. Rivera): +400 a month on family=Oncology, 2026-12 to 2027-02: launch of X",
        ),
        (
            {"kind": "absolute", "value": 1234567.5, "per": "span", "mode": "fixed"},
            "sales (A. Rivera): 1,234,567.5 in all (fixed) on family=Oncology, 2026-12 to 2027-02: "
            "launch of X",
        ),
        (
            {"kind": "percent", "value": -12.5, "assumption": "tender lost"},
            "sales (A. Rivera): -12.5% on family=Oncology, 2026-12 to 2027-02: launch of "
            "X, tender lost",
        ),
        (
            {"ds_to": DEC},
            "sales (A. Rivera): +400 on family=Oncology, 2026-12: launch of X",
        ),
        (
            {"measure": "revenue", "low": 100.0, "high": 900.0, "probability": 0.3},
            "sales (A. Rivera): +400 of revenue a month (80% range +100 to +900, "
            "probability 30%) on family=Oncology, 2026-12 to 2027-02: launch of X",
        ),
    ],
)
def test_an_override_is_one_plain_sentence(change: dict[str, Any], expected: str) -> None:
    assert sentence(**change) == expected


def test_every_override_stands_under_its_state_and_ended_ones_say_why() -> None:
    gone = [
        {"override_id": "x", "why": "past"},
        {"override_id": "y", "why": "expires", "expires_cycle": JAN},
        {"override_id": "z", "why": "withdrawn"},
    ]
    rows = ({"state": "carried"}, {"state": "changed", "value": 500.0}, {"state": "new"})
    found = told(live(*rows, expired=tuple(gone)), _flagged())
    assert tuple(found) == TOLD
    assert [len(found[name]) for name in TOLD] == [1, 1, 1, 3, 0, 0]
    assert "+500" in found["changed"][0]
    ends = [one.rpartition("; ")[2] for one in found["expired"]]
    assert ends == ["its last month is past", "it expired in 2027-01", "withdrawn"]


def test_waiting_says_from_when() -> None:
    rows = ({"waits_from": date(2027, 2, 1)}, {"waits_from": DEC, "per": "span"})
    month, span = told(live(*rows), _flagged())["waiting"]
    assert month.endswith("; its months from 2027-02 on lie beyond the horizon and wait")
    assert span.endswith("; it ends beyond the horizon and waits")


def test_the_history_may_hold_it_already_is_asked_once_an_override() -> None:
    frame = scalars().with_columns(
        in_history=pl.Series([True, True]), baseline_at_entry=pl.Series([1000.0, 1100.5])
    )
    (only,) = told(live({"state": "carried"}), frame)["in_history"]
    assert only == (
        "sales (A. Rivera): +400 a month on family=Oncology, 2026-12 to 2027-02: launch of X; "
        "already in the history? the baseline of 2026-12 to 2027-01 has moved by +540 since it "
        "was entered; the override says +800"
    )


ENTERED = pl.DataFrame(
    {
        "override_id": ["o1", "o1", "o1"],
        "ds_from": [DEC, JAN, DEC],
        "ds_to": [DEC, JAN, DEC],
        "cycle": [date(2026, 10, 1), date(2026, 10, 1), date(2026, 11, 1)],
        "entered_cycle": [date(2026, 10, 1)] * 3,
        "baseline": [1000.0, 1120.0, 5.0],
        "adjustment": [400.0, 400.0, 400.0],
    }
)


def test_flagged_when_the_baseline_moved_its_way_by_more_than_half() -> None:
    flagged, before = in_history(scalars(), ENTERED)
    # 320 of 400 since entry, and exactly half: 200 of 400. The later run is not the entry.
    assert flagged.tolist() == [True, False]
    assert before.tolist() == [1000.0, 1120.0]


@pytest.mark.parametrize(
    "columns",
    [
        {"state": ["changed", "new"]},
        {"kind": ["absolute", "absolute"]},
        {"baseline": [680.0, 680.0]},
        {"override_id": ["o2", "o2"]},
        {"ds_to": [JAN, date(2027, 2, 1)]},
    ],
)
def test_not_flagged_otherwise(columns: dict[str, Any]) -> None:
    assert not in_history(scalars(**columns), ENTERED)[0].any()


def test_a_lower_statement_is_flagged_when_the_baseline_fell() -> None:
    entered = ENTERED.with_columns(adjustment=-pl.col("adjustment"))
    flagged, _ = in_history(scalars(baseline=[700.0, 1000.0]), entered)
    assert flagged.tolist() == [True, False]


def test_without_earlier_runs_only_new_ones_have_a_baseline_at_entry() -> None:
    flagged, before = in_history(scalars(state=["new", "carried"]), None)
    assert not flagged.any()
    assert before[0] == 1320.0
    assert np.isnan(before[1])
