"""From one plan to the next: steps that add up exactly, and the sentence a planner reads."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sopforecast.judgement.bridge import (
    GRAIN,
    bridge_frame,
    moved_by_statement,
    sentences,
    source_parts,
)
from sopforecast.judgement.said import Moves, Said

CYCLE, SOURCES = date(2026, 10, 1), ("finance", "sales")


def _moves():
    """Statement 0 (sales) and 1 (finance) in one group of two cells; 2 (sales) in another."""
    first = Moves(
        np.array([0, 1]), np.array([0, 1]), np.array([2, 2]),
        np.array([[3.0, -1.0], [4.5, 0.25]]), np.array([7.5, -0.75]),
    )  # fmt: skip
    later = Moves(np.array([2]), np.array([1]), np.array([3]), np.array([[0.1]]), np.array([0.1]))
    said = Said(pl.DataFrame({"source": ["sales", "finance", "sales"]}), (), ())
    return [first, later], said


def test_parts_by_source_and_by_statement():
    moves, said = _moves()
    parts = source_parts(moves, said, sources=SOURCES, shape=(2, 4))
    assert parts.shape == (2, 2, 4)
    np.testing.assert_array_equal(parts[0], [[0, 0, -1.0, 0], [0, 0, 0.25, 0]])
    np.testing.assert_allclose(parts[1], [[0, 0, 3.0, 0], [0, 0, 4.5, 0.1]], atol=GRAIN / 2)
    assert (parts % GRAIN == 0).all()
    np.testing.assert_allclose(moved_by_statement(moves, 3), [7.5, -0.75, 0.1])
    swapped = source_parts(moves[::-1], said, sources=SOURCES[::-1], shape=(2, 4))
    np.testing.assert_array_equal(swapped[::-1], parts)


@given(st.integers(0, 10_000), st.booleans())
@hypothesis_settings(max_examples=40)
def test_steps_add_up_for_every_cell_and_any_sum(company, seed, has_fixed):
    rng = np.random.default_rng(seed)
    items = np.array([0, 2, 3, 5])
    statistical = company.statistical.plan
    parts = np.rint(rng.normal(0, 20, (2, 4, 4)) / GRAIN) * GRAIN
    parts *= rng.random((1, 4, 4)) < 0.5
    steps = company.steps[items][:, None]
    consensus = np.maximum(np.rint((statistical[items] + parts.sum(axis=0)) / steps), 0) * steps
    approved = np.maximum(consensus + 4.0 * (rng.random((4, 4)) < 0.2), 0) if has_fixed else None
    frame = bridge_frame(
        parts, sources=SOURCES, items=items, hierarchy=company.hierarchy, statistical=statistical,
        consensus=consensus, approved=approved, cycle=CYCLE,
    )  # fmt: skip
    goal = statistical.copy()
    goal[items] = consensus if approved is None else approved
    nodes = np.concatenate([company.hierarchy.aggregate(goal), goal])
    start = np.concatenate([company.hierarchy.aggregate(statistical), statistical])
    place = {node: i for i, node in enumerate(company.hierarchy.nodes)}
    told = np.zeros(nodes.shape, dtype=bool)
    for (node, ds), rows in frame.group_by("unique_id", "ds"):
        cell = place[node], (ds.year - 2026) * 12 + ds.month - 10
        told[cell] = True
        rows = rows.sort("position")
        assert rows["position"].to_list() == list(range(rows.height))
        assert rows["change"].sum() == nodes[cell]
        assert rows["plan"][-1] == nodes[cell]
        assert rows["plan"][0] == start[cell]
        assert rows["plan"].diff().drop_nulls().to_list() == rows["change"][1:].to_list()
    np.testing.assert_array_equal(nodes[~told], start[~told])  # nothing moved without a bridge
    moved = np.zeros((6, 4), dtype=bool)
    moved[items] = (parts != 0).any(axis=0) | (goal[items] != statistical[items])
    above = len(company.hierarchy.aggregates)
    np.testing.assert_array_equal(told[above:], moved)
    by_step = frame.filter(pl.col("unique_id") == "total").group_by("step").agg(pl.sum("change"))
    of_items = frame.filter(pl.col("unique_id").is_in(company.hierarchy.items))
    for step, change in by_step.iter_rows():
        if step != "statistical":
            assert of_items.filter(pl.col("step") == step)["change"].sum() == change


def test_steps_in_the_order_they_are_read(company):
    frame = bridge_frame(
        np.ones((2, 1, 4)), sources=SOURCES, items=np.array([3]), hierarchy=company.hierarchy,
        statistical=company.statistical.plan, consensus=company.statistical.plan[[3]] + 2.0,
        approved=company.statistical.plan[[3]] + 5.0, cycle=CYCLE,
    )  # fmt: skip
    cell = frame.filter(pl.col("unique_id") == "i3", pl.col("ds") == CYCLE)
    assert cell["step"].to_list() == [
        "statistical", "source:finance", "source:sales", "whole_numbers", "fixed"
    ]  # fmt: skip
    assert cell["change"].to_list()[1:] == [1.0, 1.0, 0.0, 3.0]
    assert set(frame["unique_id"]) == {"total", "family=B", "region=US", "i3"}


ROW = {
    "override_id": "o1", "ds_from": date(2026, 12, 1), "ds_to": date(2026, 12, 1),
    "mode": "evidence", "source": "sales", "owner": "A. Rivera", "node": "family=Oncology",
    "direction": "up", "probability": 1.0, "weight": 0.65, "weight_sd": 0.0936, "counted": 0.65,
    "shift": 0.0, "unit_sd": 100.0,
    "observations": 14, "prior_only": False, "adjustment": 400.0, "moved": 260.0,
}  # fmt: skip


def _told(*rows, **options):
    return sentences(pl.DataFrame([ROW | row for row in rows]), **options)


def test_the_sentence_a_planner_reads():
    assert _told({}) == [
        "sales (A. Rivera): +400 on family=Oncology, 2026-12, moved the plan by +260; weight 0.65: "
        "14 earlier uplifts came true at 65% (80% range 53% to 77%, the record of others included)"
    ]


@pytest.mark.parametrize(
    ("row", "part"),
    [
        ({"prior_only": True}, "prior only, weight 0.65: its record does not count yet"),
        ({"counted": 0.8}, "weight 0.65, with its stated range 0.80: 14"),
        ({"probability": 0.35}, "+400 at 35% on"),
        ({"direction": "down", "adjustment": -40.0, "observations": 1}, "1 earlier reduction came"),
        ({"weight": 0.05}, "(80% range 0% to 17%"),
    ],
)
def test_what_else_it_says(row, part):
    assert part in _told(row)[0]


def test_months_of_one_override_are_one_sentence_and_the_largest_come_first():
    months = [{"ds_from": date(2026, m, 1), "ds_to": date(2026, m, 1)} for m in (10, 11, 12)]
    small = {"override_id": "o2", "moved": -300.0, "adjustment": -500.0, "direction": "down"}
    fixed = {"override_id": "o3", "mode": "fixed", "moved": 5_000.0}
    told = _told(*months, small, fixed)
    assert len(told) == 2
    assert "+1,200 on family=Oncology, 2026-10 to 2026-12, moved the plan by +780" in told[0]
    assert "-500 on family=Oncology, 2026-12, moved the plan by -300" in told[1]
    assert len(_told(*months, small, most=1)) == 1
    assert sentences(pl.DataFrame([ROW]).clear()) == []


def test_a_habit_is_said_where_it_is_a_good_part_of_the_move():
    assert "+260 (its usual shift of -30 included);" in _told({"shift": -0.3})[0]
    assert "usual shift" not in _told({"shift": -0.3, "probability": 0.3})[0]
    assert "usual shift" not in _told({"shift": -0.1})[0]
