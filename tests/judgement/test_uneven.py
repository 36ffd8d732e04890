"""Fixed sums that demand in steps cannot make."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest

from sopforecast.core.hierarchy import build_hierarchy
from sopforecast.judgement.uneven import uneven_sums

ITEMS = pl.DataFrame({"unique_id": ["a", "b"], "family": ["F", "F"]})
HIERARCHY = build_hierarchy(ITEMS, levels=["family"])
MONTHS = [date(2026, 1, 1), date(2026, 2, 1)]
HISTORY = pl.DataFrame(
    {"unique_id": ["a", "a", "b", "b"], "ds": MONTHS * 2, "y": [10.0, 12.0, 1.5, 2.5]}
)  # a comes whole; the median of b is 2, so it comes in steps of 2 / 256


def _fixed(node: str, value: float, **other: str) -> pl.DataFrame:
    row = {"override_id": "o", "node": node, "value": value, "kind": "absolute"}
    return pl.DataFrame([row | {"measure": "quantity"} | other])


@pytest.mark.parametrize(
    ("node", "value", "near"),
    [("a", 100.5, "100 or 101"), ("family=F", 20.25, "20 or 21"), ("total", 0.5, "0 or 1")],
)
def test_what_no_demand_can_make_is_named(node, value, near):
    [(ids, sentence)] = uneven_sums(_fixed(node, value), HIERARCHY, HISTORY)
    assert ids == ("o",)
    assert f"fixed on {node}, where demand comes in steps of 1: take {near}" in sentence


def test_what_can_be_made_passes_and_so_does_what_hangs_on_the_baseline():
    assert uneven_sums(_fixed("a", 100.0), HIERARCHY, HISTORY) == []
    assert uneven_sums(_fixed("b", 1.5), HIERARCHY, HISTORY) == []
    assert uneven_sums(_fixed("a", 0.5, kind="delta"), HIERARCHY, HISTORY) == []
    assert uneven_sums(_fixed("a", 0.5, measure="revenue"), HIERARCHY, HISTORY) == []
    assert uneven_sums(_fixed("a", 0.5), HIERARCHY, None) == []
