"""A month in which people spoke, end to end, and its close."""

from __future__ import annotations

from datetime import date, datetime

import numpy as np
import polars as pl
import pytest

from sopforecast.baseline.components import rebuild_draws
from sopforecast.core.evidence_tables import Credibility, Observations, Overrides
from sopforecast.core.months import add_months
from sopforecast.core.tables import Forecasts
from sopforecast.cycle import close_cycle, run_cycle
from sopforecast.settings import make_settings

CYCLE, HORIZON, DRAWS = date(2026, 1, 1), 6, 120
SETTINGS = {
    "levels": ["family", "region"], "horizon": HORIZON, "advanced": {"draws": DRAWS, "workers": 1}
}  # fmt: skip
ITEMS = pl.DataFrame(
    {
        "unique_id": [f"i{k}" for k in range(6)],
        "family": list("AAABBB"),
        "region": ["EU", "US"] * 3,
    }
)
ROW = {
    "override_id": "o", "entered_cycle": CYCLE, "node": "family=A", "ds_from": 1, "ds_to": 1,
    "per": "month", "kind": "delta", "measure": "quantity", "value": 50.0, "low": None,
    "high": None, "confidence": None, "probability": 1.0, "source": "sales", "owner": "ann",
    "reason": "promotion", "event_id": None, "assumption": None, "mode": "evidence",
    "expires_cycle": None, "status": "active", "scenario": None, "known_at": datetime(2026, 1, 1),
}  # fmt: skip
SAID = (
    {"override_id": "o1", "ds_to": 2},
    {"override_id": "o2", "node": "total", "kind": "percent", "value": 5.0, "source": "finance"},
    {"override_id": "o3", "node": "i1", "ds_from": 3, "ds_to": 3, "value": 80.0,
     "probability": 0.3, "source": "marketing"},
    {"override_id": "o4", "node": "i0", "ds_from": 2, "ds_to": 4, "per": "span", "value": 30.0},
    {"override_id": "o5", "node": "family=B", "kind": "absolute", "ds_from": 5, "ds_to": 5,
     "value": 150.0, "mode": "fixed"},
)  # fmt: skip


def _history(until=CYCLE):
    """48 months of six items before the cycle, and what came later when asked for."""
    rows = []
    for k in range(6):
        rng = np.random.default_rng(k)
        level = (60.0, 30.0, 90.0, 45.0, 3.0, 20.0)[k]
        for m in range(60):
            month = add_months(CYCLE, m - 48)
            wave = 1 + 0.3 * np.sin(2 * np.pi * m / 12)
            y = float(rng.poisson(level * wave))
            if month < until:
                rows.append((f"i{k}", month, y))
    frame = pl.DataFrame(rows, schema=["unique_id", "ds", "y"], orient="row")
    return frame.with_columns(partial=pl.lit(False))


def _overrides(*rows):
    full = [ROW | row for row in rows]
    for row in full:
        row["ds_from"] = add_months(CYCLE, row["ds_from"])
        row["ds_to"] = add_months(CYCLE, row["ds_to"])
    return pl.DataFrame(
        full, schema_overrides={name: c.dtype for name, c in Overrides.columns().items()}
    )


def _run(rows=None, *, cycle=CYCLE, **options):
    overrides = None if rows is None else _overrides(*rows)
    settings = make_settings(SETTINGS)
    return run_cycle(
        _history(cycle), ITEMS, cycle=cycle, settings=settings, overrides=overrides, **options
    )


@pytest.fixture(scope="module")
def silent():
    return _run()


@pytest.fixture(scope="module")
def spoken():
    return _run(SAID)


def _values(result, stage, column):
    rows = result.forecasts.filter(pl.col("stage") == stage)
    return {(r[0], r[1]): r[2] for r in rows.select("unique_id", "ds", column).iter_rows()}


def test_nobody_spoke_and_nothing_changes(silent):
    none = _run(())
    for name in ("forecasts", "components", "residual_paths", "weights", "history_nodes"):
        assert getattr(none, name).equals(getattr(silent, name))
    assert set(silent.forecasts["stage"]) == {"naive", "statistical"}
    for result in (silent, none):
        assert result.statements.height == 0
        assert result.bridge.height == 0
        assert result.told == {}


def test_people_change_no_byte_of_the_statistics(silent, spoken):
    own = spoken.forecasts.filter(pl.col("stage").is_in(["naive", "statistical"]))
    assert own.equals(silent.forecasts)
    for name in ("components", "residual_paths", "weights"):
        assert getattr(spoken, name).equals(getattr(silent, name))


def test_every_stage_is_there(spoken):
    assert set(spoken.forecasts["stage"]) == {
        "naive", "statistical", "source:finance", "source:marketing", "source:sales", "consensus",
        "approved",
    }  # fmt: skip
    run = pl.lit("run").alias("run_id")
    assert Forecasts.is_valid(spoken.forecasts.with_columns(run), cast=True)
    assert {key: len(value) for key, value in spoken.told.items()} == {
        "new": 5, "carried": 0, "changed": 0, "expired": 0, "in_history": 0, "waiting": 0
    }  # fmt: skip


def test_the_bridge_goes_from_plan_to_plan(spoken):
    plans = {s: _values(spoken, s, "plan") for s in ("statistical", "consensus", "approved")}
    until = {"statistical": "statistical", "consensus": "whole_numbers", "approved": "fixed"}
    told = set()
    for cell, rows in spoken.bridge.sort("position").group_by("unique_id", "ds"):
        told.add(cell)
        steps = rows["step"].to_list()
        changes = rows["change"].to_list()
        for stage, last in until.items():
            assert sum(changes[: steps.index(last) + 1]) == plans[stage][cell]
    for cell, plan in plans["approved"].items():
        assert cell in told or plan == plans["statistical"][cell]
    change = spoken.bridge["change"]
    assert change.sum() == sum(plans["approved"][cell] for cell in told)


def test_statements_speak_of_the_rebuilt_draws(spoken):
    """Baseline and sd are of the draws that the stored components give again."""
    seed = make_settings(SETTINGS).seed
    hierarchy, nodes = rebuild_draws(
        spoken.components, spoken.residual_paths, seed=seed, draws=DRAWS
    )
    draws = nodes[:, len(hierarchy.aggregates) :]
    rows = {r["override_id"]: r for r in spoken.statements.iter_rows(named=True)}
    for name, z in (
        ("o4", draws[:, 0, 2:5].sum(axis=1)),
        ("o3", draws[:, 1, 3]),
        ("o1", draws[:, :3, 2].sum(axis=1)),
    ):
        assert rows[name]["baseline"] == pytest.approx(z.mean())
        assert rows[name]["sd"] == pytest.approx(z.std(ddof=1))


def test_what_is_fixed_is_exact_and_add_up_around_it(spoken):
    at = ("family=B", add_months(CYCLE, 5))
    for column in ("plan", "mean", "p05", "p25", "p50", "p75", "p95"):
        assert _values(spoken, "approved", column)[at] == 150.0
    plan = _values(spoken, "approved", "plan")
    for m in range(HORIZON):
        ds = add_months(CYCLE, m)
        items = [plan[f"i{k}", ds] for k in range(6)]
        assert plan["total", ds] == sum(items)
        assert plan["family=A", ds] == sum(items[:3])
        assert plan["region=EU", ds] == sum(items[::2])
    assert min(plan.values()) >= 0


def test_same_bytes_with_any_workers(spoken):
    settings = make_settings(SETTINGS | {"advanced": {"draws": DRAWS, "workers": 2,
                                                      "chunk_size": 2}})  # fmt: skip
    again = run_cycle(
        _history(), ITEMS, cycle=CYCLE, settings=settings, overrides=_overrides(*SAID[::-1])
    )
    for name in ("forecasts", "statements", "bridge"):
        assert getattr(again, name).equals(getattr(spoken, name))


@pytest.fixture(scope="module")
def carried():
    """The next cycle, with what the first one stored."""
    return _run(SAID, cycle=add_months(CYCLE, 1))


def _close(*runs, closed, history=None, items=ITEMS):
    said = [r.statements.with_columns(run_id=pl.lit(f"r{k}")) for k, r in enumerate(runs)]
    return close_cycle(
        pl.concat(said),
        _history(add_months(closed, 1)) if history is None else history,
        items,
        closed=closed,
        known_at=datetime(closed.year, closed.month, 28),
        settings=make_settings(SETTINGS),
    )


def test_a_close_by_hand(spoken):
    closed = add_months(CYCLE, 4)
    result = _close(spoken, closed=closed)
    actual = {(i, ds): y for i, ds, y, _ in _history(add_months(closed, 1)).iter_rows()}
    sums = {
        ("o1", 1): ([0, 1, 2], [1]), ("o1", 2): ([0, 1, 2], [2]), ("o2", 1): (range(6), [1]),
        ("o3", 3): ([1], [3]), ("o4", 2): ([0], [2, 3, 4]),
    }  # fmt: skip
    said = {(r["override_id"], r["ds_from"]): r for r in spoken.statements.iter_rows(named=True)}
    rows = {(r["override_id"], r["ds_from"]): r for r in result.observations.iter_rows(named=True)}
    assert len(rows) == len(sums)
    for (override, first), (items, months) in sums.items():
        key = override, add_months(CYCLE, first)
        statement, row = said[key], rows[key]
        came = sum(actual[f"i{k}", add_months(CYCLE, m)] for k in items for m in months)
        unit = statement["unit_sd"]
        assert row["y"] == pytest.approx((came - statement["baseline"]) / unit)
        chance = 0.3 if override == "o3" else 1.0
        assert row["d"] == pytest.approx(chance * statement["adjustment"] / unit)
        assert row["age"] == 4 - max(months)
    assert Observations.is_valid(result.observations, cast=True)
    fit = pl.lit("fit").alias("fit_id")
    assert Credibility.is_valid(result.credibility.with_columns(fit), cast=True)
    assert set(result.credibility["source"]) == {"*", "sales", "finance", "marketing"}
    assert result.credibility["opinions"].max() == 4
    assert result.notes == ()


def test_however_often_carried_an_opinion_counts_once(spoken, carried):
    assert set(carried.statements["state"]) == {"carried"}
    closed = add_months(CYCLE, 4)
    one, both = _close(spoken, closed=closed), _close(spoken, carried, closed=closed)
    assert both.observations.equals(one.observations)
    assert both.credibility.equals(one.credibility)
    assert _close(carried, closed=closed).observations.height == 0


def test_months_that_are_not_known_wait(spoken):
    closed = add_months(CYCLE, 2)
    late = _history(CYCLE).filter(pl.col("unique_id") == "i1")
    rest = _history(add_months(closed, 1)).filter(pl.col("unique_id") != "i1")
    result = _close(spoken, closed=closed, history=pl.concat([late, rest]))
    assert result.observations.height == 0
    assert any(note.startswith("2 overrides wait") for note in result.notes)
    nothing = _close(spoken, closed=CYCLE)
    assert nothing.observations.height == 0
    assert nothing.notes == ()


def test_a_node_that_is_no_more_is_noted(spoken):
    renamed = ITEMS.with_columns(pl.col("family").replace("A", "Z"))
    result = _close(spoken, closed=add_months(CYCLE, 4), items=renamed)
    assert set(result.observations["override_id"]) == {"o2", "o3", "o4"}
    assert any("family=A" in note for note in result.notes)


def test_what_a_close_learned_counts_in_the_next_run(spoken):
    closed = add_months(CYCLE, 4)
    learned = _close(spoken, closed=closed).credibility.with_columns(weight=pl.lit(0.0))
    learned = learned.with_columns(shift=pl.lit(0.0), opinions=pl.lit(9), observations=pl.lit(9))
    rows = [{"override_id": "n1", "value": 50.0}]
    known = _run(rows, credibility=learned.with_columns(fit_id=pl.lit("fit")))
    prior = _run(rows)
    assert prior.statements["prior_only"].all()
    assert not known.statements["prior_only"].any()
    assert abs(known.statements["moved"].item()) < 1e-9 < prior.statements["moved"].item()


def test_what_changed_after_the_last_cut_off_is_told():
    """The cycle before read what was known by 15 December; the change of the 20th is news."""
    before = {"entered_cycle": add_months(CYCLE, -1)}
    result = _run(
        [
            before | {"override_id": "old", "known_at": datetime(2025, 12, 1)},
            before | {"override_id": "moved", "known_at": datetime(2025, 12, 20)},
            before | {"override_id": "gone", "known_at": datetime(2025, 12, 20),
                      "status": "withdrawn"},
        ]
    )  # fmt: skip
    assert {key: len(said) for key, said in result.told.items()} == {
        "new": 0, "carried": 1, "changed": 1, "expired": 1, "in_history": 0, "waiting": 0
    }  # fmt: skip
