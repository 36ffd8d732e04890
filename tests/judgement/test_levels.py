"""Later months of a level: who moves which cells, and the same bytes with any number of threads."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

from sopforecast.core.months import add_months
from sopforecast.judgement.conditioning import condition
from sopforecast.judgement.groups import group_scalars
from sopforecast.judgement.levels import Told, claim_levels
from sopforecast.judgement.said import Said

ITEMS, HORIZON = 5, 6
NUMBERS = {
    "adjustment": 30.0, "unit_sd": 20.0, "weight": 0.6, "shift": 0.0, "spread": 1.0,
    "weight_sd": 0.0, "shift_sd": 0.0, "covariance": 0.0, "inflation": 1.5, "common_error": 0.6,
    "event_error": 0.8, "overconfidence": 1.0, "tail": 8.0, "probability": 1.0,
}  # fmt: skip


def _said(*rows):
    """Statements (items, months, reason), a row each."""
    frame = pl.DataFrame(
        [
            NUMBERS | {"override_id": f"o{k}", "ds_from": add_months(date(2026, 1, 1), min(months)),
                       "source": "sales", "owner": "ann", "reason": reason}
            for k, (_, months, reason) in enumerate(rows)
        ]
    )  # fmt: skip
    frame = frame.with_columns(event_id=pl.lit(None, pl.String), stated_sd=pl.lit(None, pl.Float64))
    return Said(
        frame,
        tuple(np.array(items) for items, _, _ in rows),
        tuple(np.array(months) for _, months, _ in rows),
    )


def _claims(said):
    """Items and month that every statement claims, by its row in the whole."""
    groups = group_scalars(said.members, said.months, items=ITEMS, horizon=HORIZON)
    free = np.ones((ITEMS, HORIZON), dtype=bool)
    for group in groups:
        free[group.items, group.months] = False
    nothing = np.empty((0, 0))
    told = [
        Told(said.take(g.scalars), g, nothing, nothing, nothing, np.random.default_rng(0))
        for g in groups
        if "level" in said.take(g.scalars).frame["reason"]
    ]
    found = {}
    for one, claims in zip(told, claim_levels(told, free=free), strict=True):
        for claim in claims:
            key = int(one.group.scalars[claim.k])
            found.setdefault(key, []).append((claim.items.tolist(), claim.month))
    return found, free


def test_only_later_months_that_nobody_spoke_of_are_claimed():
    said = _said(([0, 1], [2], "level"), ([1], [4], "promotion"))
    found, free = _claims(said)
    assert found == {0: [([0, 1], 3), ([0], 4), ([0, 1], 5)]}
    assert free.sum() == ITEMS * HORIZON - 2 - 1 - 5


def test_of_two_levels_the_last_of_a_node_is_carried_on():
    said = _said(([0], [1], "level"), ([0], [3], "level"))
    assert _claims(said)[0] == {1: [([0], 4), ([0], 5)], 0: [([0], 2)]}


def test_a_cell_is_claimed_once():
    said = _said(([0, 1], [1], "level"), ([1, 2], [3], "level"))
    found, _ = _claims(said)
    cells = [(i, month) for claims in found.values() for items, month in claims for i in items]
    assert len(cells) == len(set(cells))
    assert (1, 4) in cells
    assert {month for _, month in found[1]} == {4, 5}


@pytest.mark.parametrize("threads", [2, 3])
def test_same_bytes_with_any_number_of_threads(threads):
    rng = np.random.default_rng(0)
    draws = rng.poisson(rng.gamma(2.0, 20.0, (200, ITEMS, HORIZON))).astype(float)
    said = _said(
        ([0, 1], [0], "level"), ([1], [0], "promotion"), ([2, 3], [1], "level"),
        ([4], [2], "tender"), (list(range(5)), [3], "level"), ([3], [3], "promotion"),
    )  # fmt: skip
    one, many = draws.copy(), draws.copy()
    steps = np.ones(ITEMS)
    moves, weights = condition(one, said, steps=steps, seed=1, threads=1)
    others, again = condition(many, said, steps=steps, seed=1, threads=threads)
    assert one.tobytes() == many.tobytes() != draws.tobytes()
    assert weights.tobytes() == again.tobytes()
    assert [m.parts.tobytes() for m in moves] == [m.parts.tobytes() for m in others]


@pytest.mark.parametrize("balance", [0.0, 1e-12, 1e-6, 0.01, -0.01, 0.5])
def test_parts_of_opposite_statements_keep_their_size_in_later_months(balance):
    """However nearly two cancel, each later part is at most what its own month would carry."""
    rng = np.random.default_rng(0)
    draws = rng.poisson(400.0 * rng.gamma(50.0, 1 / 50.0, (300, ITEMS, 1)), (300, ITEMS, HORIZON))
    before = draws.astype(float)
    said = _said(([0, 1], [1], "level"), ([0, 1], [1], "promotion"))
    opposite = pl.Series([30.0, -30.0 * (1 - balance)])
    said = Said(said.frame.with_columns(adjustment=opposite), said.members, said.months)
    after = before.copy()
    moves, _ = condition(after, said, steps=np.ones(ITEMS), seed=1)
    change = after.mean(axis=0) - before.mean(axis=0)
    later = [one for one in moves if one.months.min() > 1]
    assert len(later) == HORIZON - 2
    for one in later:
        np.testing.assert_allclose(one.parts.sum(axis=1), change[one.items, one.months], atol=1e-9)
        up, down = one.parts.sum(axis=0)
        assert 0 < up < 30.0
        assert -30.0 < down < 0
