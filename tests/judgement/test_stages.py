"""Views and plan of a stage: what moved is drawn again, everything else is as it was."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

from sopforecast.core.draws import QUANTILES
from sopforecast.judgement.stages import stage_of

CYCLE = date(2026, 10, 1)
ITEMS = np.array([1, 3, 4])


def _stage(company, change, *, whole=True, **options):
    """A stage in which items 1, 3 and 4 gained ``change`` (S, 3, H)."""
    before = company.draws[:, ITEMS]
    draws = before + change
    made = stage_of(
        "consensus", draws, before, (draws != before).any(axis=0), items=ITEMS,
        hierarchy=company.hierarchy, statistical=company.statistical, cycle=CYCLE, whole=whole,
        **options,
    )  # fmt: skip
    return made, draws


def _change(company, *, rare=False):
    """Item 1 gains in month 0, item 4 loses all it has in months 2 and 3; item 3 stays."""
    change = np.zeros((len(company.draws), 3, 4))
    change[:: 2 if rare else 1, 0, 0] = 7.0
    change[:, 2, 2:] = -company.draws[:, 4, 2:]
    return change


@pytest.mark.parametrize("whole", [True, False])
def test_numbers_are_those_of_the_draws(company, whole):
    stage, draws = _stage(company, _change(company, rare=True), whole=whole)
    full = company.draws.copy()
    full[:, ITEMS] = draws
    nodes = np.concatenate([company.hierarchy.aggregate(full), full], axis=1)
    place = {node: i for i, node in enumerate(company.hierarchy.nodes)}
    moved = {"total", "family=A", "family=B", "region=EU", "region=US", "i1", "i4"}
    names = set(stage.frame["unique_id"])
    assert names == (set(place) if whole else moved)
    for row in stage.frame.iter_rows(named=True):
        z = nodes[:, place[row["unique_id"]], row["lead"] - 1]
        assert row["mean"] == pytest.approx(z.mean(), rel=1e-12)
        for label, level in QUANTILES:
            if not whole and label not in ("p10", "p50", "p90"):
                assert row[label] is None
            else:
                assert row[label] == pytest.approx(np.quantile(z, level), rel=1e-12)


def test_plans_follow_the_means_in_steps_and_add_up(company):
    stage, draws = _stage(company, _change(company))
    plan = stage.plan
    before = company.statistical.plan[ITEMS]
    assert (plan >= 0).all()
    assert (plan % company.steps[ITEMS][:, None] == 0).all()
    gained = draws.mean(axis=0) - company.draws[:, ITEMS].mean(axis=0)
    assert np.abs(plan - before - gained).max() < 2 * company.steps[ITEMS].max()
    np.testing.assert_array_equal(plan[1], before[1])
    np.testing.assert_array_equal(plan[0, 1:], before[0, 1:])
    full = company.statistical.plan.copy()
    full[ITEMS] = plan
    sums = company.hierarchy.aggregate(full)
    for a, node in enumerate(company.hierarchy.aggregates):
        rows = stage.frame.filter(pl.col("unique_id") == node).sort("lead")
        assert rows["plan"].to_list() == sums[a].tolist()


def test_nothing_moved_is_nothing_stored(company):
    stage, _ = _stage(company, np.zeros((len(company.draws), 3, 4)))
    assert stage.frame.height == 0
    np.testing.assert_array_equal(stage.plan, company.statistical.plan[ITEMS])
    np.testing.assert_allclose(stage.mean, company.draws[:, ITEMS].mean(axis=0))


def test_a_stage_on_another_keeps_its_plan_where_the_mean_stayed(company):
    first, draws = _stage(company, _change(company))
    further = draws - company.draws[:, ITEMS]
    further[:, 1, 1] += 10.0
    second, _ = _stage(company, further, base=first)
    same = np.ones((3, 4), dtype=bool)
    same[1, 1] = False
    np.testing.assert_array_equal(second.plan[same], first.plan[same])
    assert second.plan[1, 1] == first.plan[1, 1] + 10.0


def test_what_holds_the_plan_has_the_last_word(company):
    seen = {}

    def hold(plan, mean):
        seen["mean"] = mean.copy()
        plan[0, 0] = 99.0

    stage, draws = _stage(company, _change(company), hold=hold)
    np.testing.assert_allclose(seen["mean"], draws.mean(axis=0))
    assert stage.plan[0, 0] == 99.0
    row = stage.frame.filter(pl.col("unique_id") == "i1", pl.col("lead") == 1)
    assert row["plan"].item() == 99.0
    above = stage.frame.filter(pl.col("unique_id") == "family=A", pl.col("lead") == 1)
    others = company.statistical.plan[[0, 2], 0].sum()
    assert above["plan"].item() == 99.0 + others
