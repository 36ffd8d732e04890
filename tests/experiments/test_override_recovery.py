"""The simulated companies and the cost of conditioning, small; and what was committed of them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
ONCE_LEARNED = pl.col("cycles") == "after 6 closed"


def _load(folder: str, name: str) -> ModuleType:
    path = EXPERIMENTS / folder / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"{folder}_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_a_few_companies_walked_a_few_cycles():
    experiment = _load("override_recovery", "run")
    recovered, scored = experiment.run(
        companies=2, cycles=8, scenes=("one person", "five people"), workers=1
    )
    assert recovered["closed"].unique().to_list() == [6]
    assert recovered["people"].unique().to_list() == [12]
    learned = scored.filter(ONCE_LEARNED)
    assert learned["cells"].min() > 20
    assert (learned["crps_consensus"] < learned["crps_statistical"]).all()
    assert learned["coverage80"].is_between(0.5, 1.0).all()


def test_a_score_is_that_of_another_library():
    scoring = pytest.importorskip("scoringrules")
    experiment = _load("override_recovery", "run")
    draws = pl.Series(range(40)).to_numpy() ** 1.5
    assert experiment._crps(draws, 30.0) == pytest.approx(scoring.crps_ensemble(30.0, draws))


def test_committed_scores_are_whole_and_what_was_promised():
    table = pl.read_csv(EXPERIMENTS / "override_recovery" / "results.csv").filter(ONCE_LEARNED)
    assert table["companies"].unique().to_list() == [40]
    assert table.height == 6
    assert table["coverage80"].is_between(0.75, 0.85).all()
    for other in ("raw", "half"):
        assert (table["crps_consensus"] < table[f"crps_{other}"]).all()
    adversary = table.filter(pl.col("scene") == "an adversary").row(0, named=True)
    assert adversary["relative"] <= 1.01
    assert adversary["worst_company"] <= 1.05


def test_conditioning_is_measured_on_draws_that_stay_whole():
    found = _load("judgement_cost", "conditioning_cost").measured(60, 20)
    assert found["statements"] == 20
    assert 0 < found["cells_moved"] <= 60 * 18
    assert found["seconds"] > 0
