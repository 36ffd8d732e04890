"""The loop on simulated companies, very small; and what was committed of it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import polars as pl
import pytest

from sopforecast.planning_store.learned import read_learned, standing_closes

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "loop_company"
SEED, CYCLES, ITEMS = 1000, 5, 5


@pytest.fixture(scope="module")
def experiment() -> ModuleType:
    spec = importlib.util.spec_from_file_location("experiment_loop_company", FOLDER / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def lived(experiment, tmp_path_factory) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What is measured of a company, and the scores its closes stored."""
    company = experiment.make_company(SEED, cycles=CYCLES, items=ITEMS)
    folder = tmp_path_factory.mktemp("loop") / "company"
    workspace = experiment._workspace(folder, company, gate=True)
    experiment._live(workspace, CYCLES)
    names = ["cycle", "measure", "owner", "value"]
    told = experiment._measures(workspace, company, CYCLES)
    frame = pl.DataFrame(list(told), schema=names, orient="row")
    fits = standing_closes(workspace.store())["fit_id"].to_list()
    return frame, read_learned(workspace.store(), "scores", fits)


def test_errors_are_those_the_closes_scored(lived):
    """Cells are read from forecasts; all of the first cycle's months were closed and scored."""
    told, scores = lived
    first = scores.filter(
        pl.col("cycle") == pl.col("cycle").min(), pl.col("level") == "item",
        pl.col("within") == "total", pl.col("owner") == "*",
        pl.col("measure").cast(pl.String) == "quantity",
    )  # fmt: skip
    stored = dict(first.group_by("stage").agg(pl.col("absolute_error").sum()).iter_rows())
    ours = dict(told.filter(pl.col("cycle") == 1).select("measure", "value").iter_rows())
    for stage in ("statistical", "consensus"):
        assert ours[f"{stage} all"] == pytest.approx(stored[stage])
    assert ours["cells all"] == ITEMS * 4
    assert 0 < ours["cells moved"] < ours["cells all"]
    assert ours["consensus moved"] != ours["statistical moved"]


def test_a_plan_made_again_is_the_one_that_was_stored(lived):
    """The gate adopts nothing in five cycles, so that all count with the prior."""
    told, _ = lived
    wide = told.filter(pl.col("measure").str.contains(" (all|moved)$")).pivot(
        on="measure", index="cycle", values="value"
    )
    assert told.filter(pl.col("measure") == "rules credibility")["value"].sum() == 0
    for cells in ("all", "moved"):
        assert wide[f"prior {cells}"].to_list() == wide[f"consensus {cells}"].to_list()


def test_weights_are_read_for_all_who_spoke(lived):
    told, _ = lived
    last = told.filter(pl.col("measure") == "weight", pl.col("cycle") == CYCLES)
    assert set(last["owner"]) == {"turncoat", "steady", "optimist", "noise"}
    assert last["value"].is_between(-0.5, 1.5).all()


@pytest.mark.parametrize(("seed", "right"), [(1000, (0.0, 0.6)), (1001, (0.0, 0.2))])
def test_the_turncoat_turns(experiment, seed, right):
    """Sign of what is said beside that of what the event brings, before and after the turn."""
    company = experiment.make_company(seed, cycles=40)
    said = company.overrides.filter(
        pl.col("owner") == "turncoat", pl.col("kind") != "absolute", pl.col("value").abs() > 8
    )
    came = company.history.select("unique_id", "ds", "one_off")
    both = said.join(came, left_on=["node", "ds_from"], right_on=["unique_id", "ds"])
    agrees = (both["value"] * both["one_off"] > 0).to_numpy()
    at_turn = experiment.add_months(
        experiment.FIRST, experiment.HISTORY + sys.modules["loop_companies"].TURN
    )
    before = (both["entered_cycle"] < at_turn).to_numpy()
    assert np.mean(agrees[before]) > 0.8
    assert right[0] <= np.mean(agrees[~before]) <= right[1]
    assert (company.overrides["entered_cycle"] <= company.overrides["ds_from"]).all()


def test_windows_add_up(experiment):
    """Sums over companies are divided once: by hand on two companies of one cycle."""
    rows = [
        (seed, 1, f"{name} {cells}", value)
        for seed, values in ((0, (100.0, 30.0, 20.0)), (1, (300.0, 30.0, 36.0)))
        for cells in ("moved", "all")
        for name, value in zip(("demand", "statistical", "consensus"), values, strict=True)
    ]
    told = pl.DataFrame(rows, schema=["seed", "cycle", "measure", "value"], orient="row")
    more = [
        told.filter(pl.col("measure").str.starts_with(of)).with_columns(
            pl.col("measure").str.replace(of, name)
        )
        for of, name in (("statistical", "prior"), ("consensus", "learned"), ("demand", "cells"))
    ]
    told = pl.concat([told, *more]).with_columns(arm=pl.lit("gate"))
    told = pl.concat([told.with_columns(cycle=pl.lit(k)) for k in range(1, 19)])
    row = sys.modules["loop_tables"].windows_of(told).row(0, named=True)
    assert row["plan"] == "consensus"
    assert row["value_added"] == pytest.approx(100 * (60 - 56) / 400)
    assert (row["low"], row["high"]) == pytest.approx((-2.0, 10.0))


def test_committed_results():
    """What the README says of the committed run."""
    table = pl.read_csv(FOLDER / "results.csv").filter(pl.col("arm") == "gate")
    assert table["companies"].unique().to_list() == [28]
    cycles = pl.read_csv(FOLDER / "cycles.csv").filter(pl.col("arm") == "gate")
    assert cycles["cycle"].to_list() == list(range(1, 19))
    last, turn = cycles.row(17, named=True), cycles.row(11, named=True)
    assert 0.5 < last["weight_turncoat"] / turn["weight_turncoat"] < 0.67  # not halved
    assert turn["over_statistical_low"] < 0 < turn["over_statistical"]
    moved = table.filter(pl.col("cells") == "moved", pl.col("last") - pl.col("first") == 2)
    gained = moved.filter(pl.col("plan") == "learned-prior").sort("first")["value_added"].to_list()
    assert gained[:4] == sorted(gained[:4])
