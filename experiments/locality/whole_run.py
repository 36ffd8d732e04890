"""Part B: a whole run of a small company, and what its judgement must leave alone.

Twenty-four items in three families and two regions, seasonal, sparse and in fractions, with
statements of every kind. Every check counts what it looked at and what was wrong; nothing may be.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any
from unittest import mock

import numpy as np
import polars as pl

from sopforecast.core.draws import series_rng
from sopforecast.core.evidence_tables import Overrides
from sopforecast.core.months import add_months
from sopforecast.core.tables import QUANTILE_COLUMNS
from sopforecast.cycle import CycleResult, run_cycle
from sopforecast.judgement import consensus
from sopforecast.settings import make_settings

CYCLE, HORIZON, MONTHS, ITEMS = date(2026, 1, 1), 12, 48, 24
FAMILIES, REGIONS = ("A", "B", "C"), ("EU", "US")
VALUES = ("plan", "mean", *QUANTILE_COLUMNS)
MEAN_ROUNDING = 1e-12  # of a mean: sums of draws are exact, dividing them by their number is not
ROW = {
    "override_id": "o", "entered_cycle": CYCLE, "node": "total", "ds_from": 1, "ds_to": 1,
    "per": "month", "kind": "delta", "measure": "quantity", "value": 40.0, "low": None,
    "high": None, "confidence": None, "probability": 1.0, "source": "sales", "owner": "ann",
    "reason": "promotion", "event_id": None, "assumption": None, "mode": "evidence",
    "expires_cycle": None, "status": "active", "scenario": None, "known_at": datetime(2026, 1, 1),
}  # fmt: skip


@dataclass
class Watched:
    """A run, and every array of draws (S, b, H) that judgement returned, with the steps (b,)."""

    result: CycleResult | None = None
    draws: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)

    def stage(self, name: str) -> pl.DataFrame:
        """Rows of a stage."""
        assert self.result is not None
        return self.result.forecasts.filter(pl.col("stage") == name)


def company() -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """History, items and prices."""
    rows, items = [], []
    for i in range(ITEMS):
        rng = series_rng(11, "company", str(i))
        name = f"i{i:02d}"
        items.append((name, FAMILIES[i % 3], REGIONS[i // 3 % 2]))
        level = float(np.exp(rng.normal(3.5, 0.8)))
        for m in range(MONTHS):
            wave = 1 + 0.4 * np.sin(2 * np.pi * (m + i) / 12)
            if i >= 18:  # sparse
                y = float(rng.poisson(4.0) * (rng.random() < 0.3))
            elif i >= 15:  # in fractions
                y = round(float(level / 20 * wave * np.exp(0.15 * rng.normal())), 2)
            else:
                y = float(rng.poisson(level * wave))
            rows.append((name, add_months(CYCLE, m - MONTHS), y))
    history = pl.DataFrame(rows, schema=["unique_id", "ds", "y"], orient="row")
    prices = pl.DataFrame(
        {
            "unique_id": [name for name, _, _ in items],
            "ds_from": add_months(CYCLE, -MONTHS),
            "currency": "EUR",
            "price": [2.0 + i % 5 for i in range(ITEMS)],
            "unit_cost": None,
        },
        schema_overrides={"ds_from": pl.Date, "unit_cost": pl.Float64},
    )
    table = pl.DataFrame(items, schema=["unique_id", "family", "region"], orient="row")
    return history.with_columns(partial=pl.lit(False)), table, prices


def overrides_of(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """``Overrides``; months count from the cycle."""
    full = [ROW | row for row in rows]
    for row in full:
        row["ds_from"] = add_months(CYCLE, int(row["ds_from"]))
        row["ds_to"] = add_months(CYCLE, int(row["ds_to"]))
    types = {name: c.dtype for name, c in Overrides.columns().items()}
    return pl.DataFrame(full, schema_overrides=types)


def inside_a() -> list[dict[str, Any]]:
    """Statements on family A and its items: every kind, months 1 to 8, none of reason ``level``."""
    return [
        {"override_id": "a1", "node": "family=A", "ds_to": 3, "value": 60.0},
        {"override_id": "a2", "node": "family=A", "ds_from": 2, "ds_to": 2, "kind": "percent",
         "value": -15.0, "source": "finance", "owner": "fin"},
        {"override_id": "a3", "node": "i00", "ds_from": 2, "ds_to": 4, "kind": "absolute",
         "value": 90.0, "low": 70.0, "high": 120.0, "confidence": 0.9, "source": "marketing",
         "owner": "bob"},
        {"override_id": "a4", "node": "i03", "ds_from": 4, "ds_to": 6, "per": "span",
         "kind": "delta", "value": -50.0, "source": "finance", "owner": "fin"},
        {"override_id": "a5", "node": "i18", "ds_from": 5, "ds_to": 5, "value": 120.0,
         "probability": 0.35, "event_id": "tender", "reason": "tender"},
        {"override_id": "a6", "node": "i15", "ds_from": 5, "ds_to": 5, "value": 0.8,
         "source": "system:erp", "owner": "erp"},
        {"override_id": "a7", "node": "family=A", "ds_from": 7, "ds_to": 7, "kind": "absolute",
         "value": 2_000.0, "measure": "revenue", "source": "finance", "owner": "fin"},
        {"override_id": "a8", "node": "i21", "ds_from": 8, "ds_to": 8, "value": -30.0},
    ]  # fmt: skip


def inside_b() -> list[dict[str, Any]]:
    """Statements on family B and its items."""
    return [
        {"override_id": "b1", "node": "family=B", "ds_from": 3, "ds_to": 5, "kind": "percent",
         "value": 20.0, "source": "marketing", "owner": "bob"},
        {"override_id": "b2", "node": "i01", "ds_from": 4, "ds_to": 4, "value": 25.0},
        {"override_id": "b3", "node": "i19", "ds_from": 4, "ds_to": 4, "value": 40.0,
         "probability": 0.6, "source": "marketing", "owner": "eve"},
    ]  # fmt: skip


def everything() -> list[dict[str, Any]]:
    """Both, nodes that cross families, statements of reason ``level`` and fixed ones."""
    return [
        *inside_a(), *inside_b(),
        {"override_id": "t1", "node": "total", "ds_from": 1, "ds_to": 2, "kind": "percent",
         "value": 6.0, "source": "finance", "owner": "fin"},
        {"override_id": "t2", "node": "region=EU", "ds_from": 2, "ds_to": 3, "value": -45.0,
         "source": "marketing", "owner": "bob"},
        {"override_id": "t3", "node": "total", "ds_from": 9, "ds_to": 11, "per": "span",
         "kind": "absolute", "value": 3_000.0, "source": "finance", "owner": "fin"},
        {"override_id": "c1", "node": "family=C", "ds_from": 1, "ds_to": 1, "value": 35.0,
         "reason": "level", "source": "sales", "owner": "kim"},
        {"override_id": "f1", "node": "family=B", "ds_from": 6, "ds_to": 6, "kind": "absolute",
         "value": 333.0, "mode": "fixed"},
        {"override_id": "f2", "node": "i04", "ds_from": 6, "ds_to": 6, "kind": "absolute",
         "value": 21.0, "mode": "fixed"},
    ]  # fmt: skip


def watched(rows: list[dict[str, Any]] | pl.DataFrame, **advanced: Any) -> Watched:
    """Run the month and keep what `condition` and `hold_fixed` made."""
    history, items, prices = company()
    seen = Watched()
    settings = make_settings(
        {"levels": ["family", "region"], "horizon": HORIZON, "advanced": {"workers": 1} | advanced}
    )
    held = consensus.hold_fixed
    folded = consensus.condition

    def condition(draws: np.ndarray, said: Any, *, steps: np.ndarray, seed: int) -> Any:
        found = folded(draws, said, steps=steps, seed=seed)
        seen.draws.append((draws.copy(), steps))
        return found

    def hold_fixed(draws: np.ndarray, sets: Any, steps: np.ndarray, **options: Any) -> None:
        held(draws, sets, steps, **options)
        seen.draws.append((draws.copy(), steps))

    with (
        mock.patch.object(consensus, "condition", condition),
        mock.patch.object(consensus, "hold_fixed", hold_fixed),
    ):
        seen.result = run_cycle(
            history,
            items,
            cycle=CYCLE,
            settings=settings,
            overrides=rows if isinstance(rows, pl.DataFrame) else overrides_of(rows),
            prices=prices,
        )
    return seen


def checks() -> pl.DataFrame:
    """One row a check: what was looked at, and what was wrong."""
    found = [*_leaves_alone(), *_adds_up(), *_any_order()]
    return pl.DataFrame(
        [("B", *row) for row in found], schema=["part", "check", "cells", "violations"],
        orient="row",
    )  # fmt: skip


def _changed(left: pl.DataFrame, right: pl.DataFrame) -> tuple[int, int]:
    """Rows of two stages by node and month, and in how many any number differs at all."""
    both = left.join(right, on=["unique_id", "ds"], suffix="_then")
    same = pl.all_horizontal(pl.col(c).eq_missing(pl.col(f"{c}_then")) for c in VALUES)
    return both.height, int(both.select((~same).sum()).item())


def _leaves_alone() -> Iterator[tuple[str, int, int]]:
    _, items, _ = company()
    family = dict(items.select("unique_id", "family").iter_rows())
    spoken = watched(inside_a())
    before, after = spoken.stage("statistical"), spoken.stage("consensus")
    others = [i for i in family if family[i] != "A"] + ["family=B", "family=C"]
    elsewhere = pl.col("unique_id").is_in(others)
    yield (
        "family A spoken of: B and C as they were",
        *_changed(before.filter(elsewhere), after.filter(elsewhere)),
    )
    both, alone = watched(inside_a() + inside_b()), watched(inside_b())
    of_b = pl.col("unique_id").is_in([i for i in family if family[i] == "B"] + ["family=B"])
    for name in ("consensus", "source:marketing"):
        yield (
            f"A spoken of beside B: {name} of B the same bytes",
            *_changed(alone.stage(name).filter(of_b), both.stage(name).filter(of_b)),
        )
    told = pl.DataFrame(
        [(node, add_months(CYCLE, m)) for node, months in _stated(spoken, items) for m in months],
        schema=["unique_id", "ds"], orient="row",
    )  # fmt: skip
    quiet = before.join(told, on=["unique_id", "ds"], how="anti")
    yield "no unstated month moves", *_changed(quiet, after)
    level = watched([{"node": "family=C", "ds_from": 3, "ds_to": 3, "reason": "level"}])
    in_c = pl.col("unique_id").is_in([i for i in family if family[i] == "C"] + ["family=C"])
    earlier = pl.col("ds") < add_months(CYCLE, 3)
    outside = ~in_c & ~pl.col("unique_id").is_in(["total", "region=EU", "region=US"])
    yield (
        "reason level: no earlier month, no other family",
        *_changed(level.stage("statistical").filter(earlier | outside), level.stage("consensus")),
    )


def _stated(run: Watched, items: pl.DataFrame) -> Iterator[tuple[str, list[int]]]:
    """Nodes that share an item with a statement, and its months from the cycle."""
    assert run.result is not None
    hierarchy = run.result.hierarchy
    for node, first, last in run.result.statements.select("node", "ds_from", "ds_to").iter_rows():
        members = hierarchy.descendants(node)
        months = list(range(first.month - CYCLE.month, last.month - CYCLE.month + 1))
        for other in hierarchy.nodes:
            if np.isin(hierarchy.descendants(other), members).any():
                yield other, months


def _adds_up() -> Iterator[tuple[str, int, int]]:
    run = watched(everything())
    assert run.result is not None
    hierarchy = run.result.hierarchy
    statistical = _table(run.stage("statistical"), hierarchy.nodes)
    stages = run.result.forecasts["stage"].unique(maintain_order=True).to_list()
    judged = [name for name in stages if name not in ("naive", "statistical")]
    count, wrong, mean_wrong = 0, 0, 0
    for name in judged:
        table = _table(run.stage(name), hierarchy.nodes)
        full = np.where(np.isnan(table), statistical, table)
        above = len(hierarchy.aggregates)
        sums = np.stack([hierarchy.aggregate(column) for column in full[:, above:]])
        count += sums[0].size
        wrong += int((sums[0] != full[0, :above]).sum())
        gap = np.abs(sums[1] - full[1, :above])
        mean_wrong += int((gap > MEAN_ROUNDING * np.maximum(sums[1], 1.0)).sum())
    yield "plans of parents are the sums of their items, every stage", count, wrong
    yield "means of parents are the sums of their items, every stage", count, mean_wrong
    plans = _table(run.stage("consensus"), hierarchy.nodes)[0]
    yield from _bridge(run, statistical[0], plans)
    numbers = run.result.forecasts.filter(pl.col("stage").is_in(judged)).select(VALUES).to_numpy()
    known = numbers[np.isfinite(numbers)]
    yield "no stored number below zero", known.size, int((known < 0).sum())
    paths = np.concatenate([draws.ravel() for draws, _ in run.draws])
    yield "no draw below zero", paths.size, int((paths < 0).sum())
    off = sum(int((draws % steps[:, None] != 0).sum()) for draws, steps in run.draws)
    yield "every draw a multiple of its item's step", paths.size, off
    # Somebody spoke of the total, so these are all items; the plan is held after the draws.
    held = next(draws for draws, _ in reversed(run.draws) if len(draws) > 1)
    fixed = [("family=B", 333.0), ("i04", 21.0)]
    misses = sum(
        int((held[:, hierarchy.descendants(node), 6].sum(axis=1) != value).sum())
        for node, value in fixed
    )
    yield "fixed sums hold in every draw", len(fixed) * len(held), misses


def _table(stage: pl.DataFrame, nodes: tuple[str, ...]) -> np.ndarray:
    """Plan and mean (2, nodes, H) of a stage; NaN where it has no row."""
    grid = pl.DataFrame({"unique_id": nodes}, schema_overrides={"unique_id": pl.String}).join(
        stage.select("ds").unique(), how="cross"
    )
    rows = grid.join(stage, on=["unique_id", "ds"], how="left", maintain_order="left")
    place = {node: i for i, node in enumerate(nodes)}
    rows = rows.sort(pl.col("unique_id").replace_strict(place), "ds")
    values = rows.select("plan", "mean").fill_null(np.nan).to_numpy()
    return values.T.reshape(2, len(nodes), -1)


def _bridge(
    run: Watched, statistical: np.ndarray, consensus_plan: np.ndarray
) -> Iterator[tuple[str, int, int]]:
    assert run.result is not None
    hierarchy, bridge = run.result.hierarchy, run.result.bridge
    approved = _table(run.stage("approved"), hierarchy.nodes)[0]
    steps = bridge.sort("position")["step"].unique(maintain_order=True).to_list()
    change = np.zeros((len(steps), *statistical.shape))
    change[0] = statistical
    place = {node: i for i, node in enumerate(hierarchy.nodes)}
    for node, ds, position, value in bridge.select(
        "unique_id", "ds", "position", "change"
    ).iter_rows():
        change[position, place[node], ds.month - CYCLE.month] = value
    until = steps.index("whole_numbers") + 1
    reached = [change[:until].sum(axis=0), change.sum(axis=0)]
    wrong = sum(
        int((a != b).sum()) for a, b in zip(reached, (consensus_plan, approved), strict=True)
    )
    yield "bridge reaches the consensus and the approved plan", 2 * approved.size, wrong
    above = len(hierarchy.aggregates)
    sums = hierarchy.aggregate(change[:, above:])
    yield (
        "every step of a parent is the sum of its items'",
        sums.size,
        int((sums != change[:, :above]).sum()),
    )
    rng, misses = series_rng(3, "sums"), 0
    for _ in range(500):
        some = rng.random(approved.shape) < rng.random()
        misses += int(change[:, some].sum() != approved[some].sum())
    yield "any sum over cells: steps add up to the plan", 500, misses


def _any_order() -> Iterator[tuple[str, int, int]]:
    rows = overrides_of(everything())
    first = watched(rows)
    mixed = watched(rows.sample(fraction=1.0, shuffle=True, seed=4))
    yield "rows of overrides in another order: same bytes", *_same(first, mixed)
    names = {"sales": "zz-sales", "finance": "mm-finance", "marketing": "aa-marketing"}
    renamed = watched(rows.with_columns(pl.col("source").replace(names)))
    for stage in ("consensus", "approved"):
        yield (
            f"sources in another order: {stage} the same bytes",
            *_changed(first.stage(stage), renamed.stage(stage)),
        )
    assert first.result is not None
    assert renamed.result is not None
    back = {f"source:{new}": f"source:{old}" for old, new in names.items()}
    other = renamed.result.bridge.with_columns(pl.col("step").replace(back))
    both = first.result.bridge.join(other, on=["unique_id", "ds", "step"])
    wrong = int((both["change"] != both["change_right"]).sum())
    wrong += abs(first.result.bridge.height - both.height)
    yield "sources in another order: the same steps", first.result.bridge.height, wrong
    for advanced in ({"workers": 2}, {"chunk_size": 1}, {"workers": 2, "chunk_size": 5}):
        name = ", ".join(f"{key} {value}" for key, value in advanced.items())
        yield f"{name}: same bytes", *_same(first, watched(rows, **advanced))


def _same(one: Watched, other: Watched) -> tuple[int, int]:
    """Numbers in all frames and draws of two runs; how many frames or arrays differ."""
    assert one.result is not None
    assert other.result is not None
    count, wrong = 0, int(len(one.draws) != len(other.draws))
    for name in ("forecasts", "statements", "bridge"):
        left, right = getattr(one.result, name), getattr(other.result, name)
        count += left.height * left.width
        wrong += int(_bytes(left) != _bytes(right))
    for (draws, _), (others, _) in zip(one.draws, other.draws, strict=False):
        count += draws.size
        wrong += int(draws.tobytes() != others.tobytes())
    return count, wrong


def _bytes(frame: pl.DataFrame) -> bytes:
    return frame.write_ipc(None, compat_level=pl.CompatLevel.oldest()).getvalue()
