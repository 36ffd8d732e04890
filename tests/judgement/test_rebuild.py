"""Stages of a stored run from its statements alone: the same bytes as when it was judged."""

from __future__ import annotations

from datetime import date, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sopforecast.core.draws import QUANTILES, additive_plan, mean_view, quantile_view
from sopforecast.core.evidence_tables import Credibility
from sopforecast.core.months import add_months, month_range
from sopforecast.judgement import consensus as judging
from sopforecast.judgement.rebuild import (
    RunDraws,
    rebuild_rows,
    rebuild_stage,
    sources_that_spoke,
    statistical_of,
    with_credibility,
)

CYCLE, SEED = date(2026, 10, 1), 7
LABELS = [label for label, _ in QUANTILES]
PRICES = pl.DataFrame(
    {
        "unique_id": [f"i{k}" for k in range(6)] * 2,
        "ds_from": [date(2026, 1, 1)] * 6 + [date(2026, 12, 1)] * 6,
        "currency": ["EUR"] * 12,
        "price": [3.0, 5.0, 70.0, 2.5, 11.0, 40.0, 4.0, 6.0, 60.0, 2.0, 12.0, 44.0],
        "unit_cost": [None] * 12,
    },
    schema_overrides={"unit_cost": pl.Float64},
)
# Every kind of statement: money, percent, deals (alone and of one event), a new level, ranges,
# nested and crossed nodes, spans and months, begun spans, and sums that are fixed.
EVERY = (
    {"node": "family=A", "value": 60.0, "low": 30.0, "high": 90.0, "event_id": "launch"},
    {"node": "region=EU", "value": -25.0, "source": "finance", "owner": "fin", "ds_to": 2},
    {"node": "total", "kind": "percent", "value": 4.0, "source": "finance", "owner": "fin"},
    {"node": "i0", "kind": "absolute", "value": 95.0, "source": "sales", "owner": "bob",
     "ds_from": 0, "ds_to": 0},
    {"node": "i1", "value": 50.0, "probability": 0.3, "source": "marketing", "ds_from": 2,
     "ds_to": 2, "event_id": "tender"},
    {"node": "i5", "value": 30.0, "probability": 0.4, "source": "marketing", "ds_from": 2,
     "ds_to": 2, "event_id": "tender"},
    {"node": "i3", "value": -40.0, "reason": "level", "ds_from": 0, "ds_to": 1},
    {"node": "i4", "per": "span", "value": 9.0, "ds_from": 1, "ds_to": 3, "owner": "cid"},
    {"node": "family=B", "kind": "delta", "measure": "revenue", "value": 800.0, "ds_from": 3,
     "ds_to": 3, "source": "finance", "owner": "fin"},
    {"node": "family=A", "kind": "absolute", "measure": "revenue", "value": 1500.0, "per": "span",
     "ds_from": 2, "ds_to": 3, "source": "executive", "owner": "ceo"},
    {"node": "i2", "kind": "percent", "measure": "revenue", "value": 15.0, "ds_from": 0,
     "ds_to": 0},
    {"node": "i0", "per": "span", "kind": "absolute", "value": 500.0, "ds_from": -2, "ds_to": 2,
     "entered_cycle": date(2026, 8, 1), "owner": "dee"},
    {"node": "family=B", "kind": "absolute", "value": 162.0, "mode": "fixed", "ds_from": 2,
     "ds_to": 2, "source": "executive"},
    {"node": "i1", "kind": "percent", "value": 10.0, "mode": "fixed", "ds_from": 3, "ds_to": 3},
    {"node": "region=US", "kind": "absolute", "per": "span", "value": 900.0, "mode": "fixed",
     "ds_from": -1, "ds_to": 1, "entered_cycle": date(2026, 9, 1)},
)  # fmt: skip


def _history(company):
    rng = np.random.default_rng(3)
    months = month_range(add_months(CYCLE, -12), 12)
    rows = [(item, ds, float(rng.poisson(60))) for item in company.hierarchy.items for ds in months]
    return pl.DataFrame(rows, schema=["unique_id", "ds", "y"], orient="row")


def _credibility():
    """A record: sales is worth more than nothing, its promotions are turned around."""
    number = {
        "closed": date(2026, 9, 1), "known_at": datetime(2026, 10, 15), "observations": 20,
        "opinions": 12, "weight_p10": 0.2, "weight_p90": 0.9, "shift": 0.1, "spread": 0.8,
        "weight_sd": 0.1, "shift_sd": 0.1, "covariance": -0.002, "spread_p05": 0.5,
        "spread_p95": 1.2, "inflation": 1.4, "common_error": 0.5, "event_error": 0.7,
        "months_error": 0.4, "overconfidence": 1.3, "tail": 6.0, "method": "closed_form",
        "half_life": None, "r_hat": None, "ess": None, "divergences": None, "fit_id": "c1",
    }  # fmt: skip
    keys = [
        ("sales", "*", "*", "up", 0.8), ("sales", "*", "*", "down", 0.6),
        ("sales", "ann", "*", "up", 0.9), ("sales", "ann", "promotion", "up", -0.2),
        ("finance", "*", "*", "down", 0.3),
    ]  # fmt: skip
    rows = [
        number | {"source": s, "owner": o, "reason": r, "direction": d, "weight": w}
        for s, o, r, d, w in keys
    ]
    types = {name: c.dtype for name, c in Credibility.columns().items()}
    return pl.DataFrame(rows, schema_overrides=types).select(list(types))


@pytest.fixture(scope="module")
def judged(company):
    return company.judged(
        *EVERY, prices=PRICES, history=_history(company), credibility=_credibility()
    )


@pytest.fixture(scope="module")
def run(company):
    return RunDraws(company.draws, company.hierarchy, company.steps, SEED, CYCLE)


def _rebuilt(run, statements, **options):
    return rebuild_stage(
        run.draws, statements, run.hierarchy,
        steps=run.steps, seed=run.seed, cycle=run.cycle, **options,
    )  # fmt: skip


def _same_views(run, draws, rows, labels):
    """Quantiles and means of the draws of every node of ``rows``, compared to the last bit."""
    both = np.concatenate([run.hierarchy.aggregate(draws), draws], axis=1)
    quantiles, mean = quantile_view(both), mean_view(both)
    place = {node: k for k, node in enumerate(run.hierarchy.nodes)}
    assert rows.height > 0
    for row in rows.iter_rows(named=True):
        cell = place[row["unique_id"]], row["lead"] - 1
        for label in labels:
            assert quantiles[label][cell] == row[label]
        assert mean[cell] == row["mean"]


def test_the_rows_hold_every_kind_of_statement(judged):
    said = judged.statements
    assert set(said["kind"]) == {"absolute", "delta", "percent"}
    assert set(said["mode"]) == {"evidence", "fixed"}
    assert set(said["per"]) == {"month", "span"}
    assert {0.3, 0.4, 1.0} == set(said["probability"])
    assert set(said["prior_only"]) == {True, False}
    assert said["stated_sd"].drop_nulls().len() > 0
    assert "level" in set(said["reason"])
    assert set(judged.forecasts["stage"]) == {
        "source:executive", "source:finance", "source:marketing", "source:sales", "consensus",
        "approved",
    }  # fmt: skip


@pytest.mark.parametrize("source", ["executive", "finance", "marketing", "sales"])
def test_the_draws_of_a_source_alone_come_back(judged, run, source):
    rows = judged.forecasts.filter(pl.col("stage") == f"source:{source}")
    draws = _rebuilt(run, judged.statements, sources=[source])
    _same_views(run, draws, rows, ("p10", "p50", "p90"))
    untouched = [
        k for k, item in enumerate(run.hierarchy.items) if item not in set(rows["unique_id"])
    ]
    assert np.array_equal(draws[:, untouched], run.draws[:, untouched])


@pytest.mark.parametrize(("stage", "fixed"), [("consensus", False), ("approved", True)])
def test_the_draws_of_consensus_and_approved_come_back(judged, run, stage, fixed):
    rows = judged.forecasts.filter(pl.col("stage") == stage)
    assert rows.height == len(run.hierarchy.nodes) * run.draws.shape[2]
    _same_views(run, _rebuilt(run, judged.statements, fixed=fixed), rows, LABELS)


def test_the_draws_are_those_that_judge_had_in_its_hands(company, judged, run, monkeypatch):
    """Not only their views: the very arrays that became the stages."""
    seen = {}

    def stage_of(name, draws, *args, items, **options):
        seen[name] = (items, draws.copy())
        return original(name, draws, *args, items=items, **options)

    original = judging.stage_of
    monkeypatch.setattr(judging, "stage_of", stage_of)
    company.judged(*EVERY, prices=PRICES, history=_history(company), credibility=_credibility())
    asked = {
        **{f"source:{s}": {"sources": [s]} for s in sources_that_spoke(judged.statements)},
        "consensus": {}, "approved": {"fixed": True},
    }  # fmt: skip
    assert set(asked) == set(seen)
    for name, options in asked.items():
        items, draws = seen[name]
        assert _rebuilt(run, judged.statements, **options)[:, items].tobytes() == draws.tobytes()


def test_neither_the_order_of_rows_nor_other_columns_count(judged, run):
    shuffled = judged.statements.sample(fraction=1.0, shuffle=True, seed=5)
    told = shuffled.with_columns(moved=pl.lit(1e9), counted=pl.lit(-3.0), run_id=pl.lit("r"))
    for options in ({}, {"fixed": True}, {"sources": ["sales", "finance"]}):
        once = _rebuilt(run, judged.statements, **options)
        assert once.tobytes() == _rebuilt(run, told, **options).tobytes()
    assert run.draws.tobytes() == rebuild_stage(
        run.draws, judged.statements.clear(), run.hierarchy,
        steps=run.steps, seed=SEED, cycle=CYCLE,
    ).tobytes()  # fmt: skip


def test_another_seed_gives_other_draws(judged, run):
    other = RunDraws(run.draws, run.hierarchy, run.steps, SEED + 1, CYCLE)
    assert not np.array_equal(_rebuilt(run, judged.statements), _rebuilt(other, judged.statements))


def test_sources_one_after_the_other_end_at_the_consensus(judged, run):
    names = sources_that_spoke(judged.statements)
    assert names == ("executive", "finance", "marketing", "sales")
    whole = _rebuilt(run, judged.statements, sources=names)
    assert whole.tobytes() == _rebuilt(run, judged.statements).tobytes()
    part = _rebuilt(run, judged.statements, sources=names[:2])
    assert not np.array_equal(part, whole)
    one = _rebuilt(run, judged.statements, sources=names[:1])
    assert not np.array_equal(part, one)


@pytest.mark.parametrize("stage", ["consensus", "approved"])
def test_stored_rows_of_a_stage_come_back_whole(judged, run, stage):
    """Plan, mean and all quantiles; the nodes it did not move stay with the statistical stage."""
    stored = judged.forecasts.filter(pl.col("stage") == stage)
    rebuilt = rebuild_rows(stage, run, judged.statements)
    columns = ["unique_id", "ds", "lead", "plan", "mean", *LABELS]
    moved = stored.join(rebuilt.select("unique_id").unique(), on="unique_id", how="semi")
    assert moved.height == rebuilt.height > 0
    order = ("unique_id", "ds")
    assert moved.select(columns).sort(order).equals(rebuilt.select(columns).sort(order))


def test_rows_between_the_sources_add_up_and_stand_on_their_draws(judged, run):
    names = ("sales", "finance", "executive")
    rows = rebuild_rows("through:executive", run, judged.statements, sources=names)
    assert set(rows["stage"]) == {"through:executive"}
    draws = _rebuilt(run, judged.statements, sources=names)
    _same_views(run, draws, rows, LABELS)
    statistical = statistical_of(run)
    plan = np.concatenate([run.hierarchy.aggregate(statistical.plan), statistical.plan])
    place = {node: k for k, node in enumerate(run.hierarchy.nodes)}
    for node, lead, value in rows.select("unique_id", "lead", "plan").iter_rows():
        plan[place[node], lead - 1] = value
    bottom = plan[len(run.hierarchy.aggregates) :]
    assert np.array_equal(run.hierarchy.aggregate(bottom), plan[: len(run.hierarchy.aggregates)])
    assert np.array_equal(bottom % run.steps[:, None], np.zeros_like(bottom))


def test_rows_through_every_source_are_those_of_the_consensus(judged, run):
    names = sources_that_spoke(judged.statements)
    through = rebuild_rows("through:sales", run, judged.statements, sources=names)
    whole = rebuild_rows("consensus", run, judged.statements)
    assert through.drop("stage").equals(whole.drop("stage"))


def test_the_statistical_plan_needs_no_stored_row(company, run):
    found = statistical_of(run)
    assert np.array_equal(found.plan, company.statistical.plan)
    assert np.array_equal(found.sums, company.statistical.sums)
    assert found.frame.height == 0
    assert np.array_equal(found.plan, additive_plan(company.draws.mean(axis=0), company.steps))


def test_only_fixed_sums_leave_the_consensus_where_it_was(company, run):
    only = {"node": "family=B", "kind": "absolute", "value": 162.0, "mode": "fixed"}
    judged = company.judged(only)
    assert sources_that_spoke(judged.statements) == ()
    assert rebuild_rows("consensus", run, judged.statements).is_empty()
    assert _rebuilt(run, judged.statements).tobytes() == run.draws.tobytes()
    members = run.hierarchy.descendants("family=B")
    held = _rebuilt(run, judged.statements, fixed=True)
    assert set(held[:, members, 1].sum(axis=1)) == {162.0}


def test_another_fit_is_what_judge_would_have_counted_with(company, judged, run):
    """Believed with another record: the same as judging with that record from the start."""
    prior = company.judged(*EVERY, prices=PRICES, history=_history(company))
    found = with_credibility(judged.statements, None, min_closed=6)
    weighed = ["weight", "shift", "spread", "inflation", "tail", "observations", "prior_only"]
    assert found.select(weighed).equals(prior.statements.select(weighed))
    assert not found.select(weighed).equals(judged.statements.select(weighed))
    draws = _rebuilt(run, found)
    _same_views(run, draws, prior.forecasts.filter(pl.col("stage") == "consensus"), LABELS)
    back = with_credibility(found, _credibility(), min_closed=6)
    assert back.equals(judged.statements)
    assert (
        with_credibility(judged.statements, _credibility(), min_closed=99)
        .select(weighed)
        .equals(found.select(weighed))
    )


NODES = ("total", "family=A", "region=US", "i0", "i2", "i5")
STATED = st.fixed_dictionaries(
    {
        "node": st.sampled_from(NODES),
        "ds_from": st.integers(0, 1),
        "ds_to": st.integers(2, 3),
        "per": st.sampled_from(["month", "span"]),
        "kind": st.sampled_from(["delta", "percent"]),
        "value": st.floats(-40, 60),
        "probability": st.sampled_from([1.0, 1.0, 0.5]),
        "source": st.sampled_from(["sales", "finance"]),
        "owner": st.sampled_from(["ann", "bob"]),
        "reason": st.sampled_from(["promotion", "level"]),
        "event_id": st.sampled_from([None, "e"]),
    }
)


@settings(max_examples=15)
@given(st.lists(STATED, min_size=1, max_size=6))
def test_whatever_is_said_comes_back(company, run, rows):
    judged = company.judged(*rows)
    for stage in set(judged.forecasts["stage"]):
        name = stage.removeprefix("source:")
        sources = None if stage == "consensus" else [name]
        stored = judged.forecasts.filter(pl.col("stage") == stage)
        labels = LABELS if stage == "consensus" else ("p10", "p50", "p90")
        _same_views(run, _rebuilt(run, judged.statements, sources=sources), stored, labels)
