"""The gate on simulated companies, small; and what was committed of it."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import polars as pl
import pytest

from sopforecast.core.draws import QUANTILES
from sopforecast.learning.losses import range_loss

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "gate"


@pytest.fixture(scope="module")
def experiment() -> ModuleType:
    spec = importlib.util.spec_from_file_location("experiment_gate", FOLDER / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_a_few_companies_of_some_scenes(experiment):
    scenes = ("two mixes, equally good", "widths the wrong way round", "people who differ")
    table = experiment.run(companies=2, scenes=scenes)
    assert table["scene"].to_list() == list(scenes)
    harm = table.filter(pl.col("kind") == "harm").row(0, named=True)
    assert harm["ever_adopted"] == harm["gated_gain"] == 0
    assert harm["gain"] < 0
    assert table["looks_that_adopt"].is_between(0, 100).all()


def test_losses_are_those_of_a_contest(experiment):
    """Against the library's `range_loss`, cell by cell."""
    company = experiment.make_company(3, experiment.Truth())
    weights = np.full((2, 40), 0.5)
    views = company.views(4, weights, (1.2, np.full(40, 0.9)))
    ours = company.loss(4, weights, (1.2, np.full(40, 0.9)))
    levels = ["item"] * 40 + ["segment"] * 2 + ["total"]
    actual = np.concatenate(company.levels(company.actual(4)))
    whole = np.concatenate(views, axis=1)
    for lead in range(3):
        quantiles = {label: whole[q, :, lead] for q, (label, _) in enumerate(QUANTILES)}
        assert range_loss(actual[:, lead], quantiles, levels).loss == pytest.approx(ours[lead])


def test_nothing_of_the_future_reaches_a_procedure(experiment):
    """Demand from a month on is another: what was lost before it stays as it was."""
    by_widths, by_weights = experiment.by_widths, experiment.by_weights
    company = experiment.make_company(5, experiment.Truth())
    demand = company.demand.copy()
    start = 12 + 9
    demand[:, start:] = 3 * demand[:, start:] + 7
    changed = replace(company, demand=demand)
    for losses in (by_widths, by_weights):
        before, after = losses(company), losses(changed)
        for old, new in zip(before, after, strict=True):
            np.testing.assert_array_equal(old[:7], new[:7])  # their months end before it
            assert (old[9:] != new[9:]).any()
        # the learned forecast of the first cycle that sees the change is still the same one
        np.testing.assert_array_equal(before[1][7, :2], after[1][7, :2])


def test_a_walk_is_ruled_by_what_was_decided_before(experiment):
    """A challenger that loses a tenth less in every month, and one that loses a tenth more."""
    rng = np.random.default_rng(0)
    cold = 0.2 + 0.02 * rng.random((30, 3))
    better = experiment.walk((cold, 0.9 * cold), "weights", seed=1)
    assert better.adopted == 6
    assert better.after == pytest.approx((-0.1,))
    ruled = cold.mean(axis=1)[1:25]
    ruled[5:] *= 0.9  # from the seventh cycle on
    assert better.gated == pytest.approx(ruled.mean())
    assert better.open == pytest.approx(0.9 * better.cold)
    worse = experiment.walk((cold, 1.1 * cold), "weights", seed=1)
    assert (worse.adopted, worse.would_adopt) == (0, 0)
    assert worse.gated == pytest.approx(worse.cold)
    turned = cold.copy()
    turned[:12] *= 0.9
    turned[12:] *= 1.1
    walked = experiment.walk((cold, turned), "weights", seed=1)
    assert (walked.adopted, len(walked.after)) == (6, 1)
    assert 12 < walked.reverted <= 22


def test_committed_results_are_whole_and_what_was_promised():
    table = pl.read_csv(FOLDER / "results.csv")
    assert table.height == 11
    assert table["companies"].unique().to_list() == [100]
    by_kind = dict(table.group_by("kind").agg(pl.col("ever_adopted").max()).iter_rows())
    quiet = table.filter(pl.col("kind") == "no gain")
    assert quiet["looks_that_adopt"].max() <= 10
    assert by_kind["no gain"] <= 25  # aim 20: README says so
    assert (quiet["ever_adopted"] <= 20).sum() == 3
    assert by_kind["harm"] == 0
    assert table.filter(pl.col("kind") == "gain")["median_adopted"].max() <= 18
    adopted = table.filter((pl.col("kind") != "turns") & (pl.col("adoptions") > 0))
    after = (adopted["six_after"] * adopted["adoptions"]).sum() / adopted["adoptions"].sum()
    assert after <= 1
    turns = table.filter(pl.col("kind") == "turns")
    assert turns["median_reverted"].max() <= 10
    assert (FOLDER / "README.md").read_text().startswith("# ")
