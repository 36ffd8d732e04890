"""Experiments on real people run small and still give sane rows; committed results are whole."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import polars as pl
import pytest

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"


def _load(name: str) -> ModuleType:
    path = EXPERIMENTS / name / "run.py"
    spec = importlib.util.spec_from_file_location(f"experiment_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def survey() -> ModuleType:
    return _load("spf_credibility")


@pytest.fixture(scope="module")
def events() -> ModuleType:
    return _load("override_experiment")


def test_spf_small(data_folder, survey):
    table = survey.run(data_folder, variables=["RGDP"], horizons=[0], refit=8, last=16)
    cell = table.filter(pl.col("horizon") == "0")
    by_method = {row["method"]: row for row in cell.iter_rows(named=True)}
    assert by_method[survey.EQUAL]["relative"] == 1.0
    assert len({row["surveys"] for row in by_method.values()}) == 1
    assert by_method[survey.OURS]["crps"] < by_method["statistical"]["crps"]
    assert 0.7 < by_method[survey.OURS]["relative"] < 1.3
    pooled = table.filter((pl.col("variable") == "all") & (pl.col("method") == survey.OURS))
    assert pooled["relative"].item() == pytest.approx(by_method[survey.OURS]["relative"])
    assert pooled["relative_p05"].item() <= pooled["relative"].item() * 1.05


def test_spf_looks_at_nothing_released_later(data_folder, survey):
    """Changing what was released from a survey on changes nothing forecast at or before it."""
    cell = survey.level_cells(data_folder, "UNEMP")[2]
    at = 40
    truth, known = cell.truth.copy(), cell.known.copy()
    known[at:] += 7.0
    truth[at - cell.horizon :] += 7.0
    moved = survey.Cell(
        cell.variable, cell.horizon, cell.start, known, truth, cell.forecasts, cell.cumulative
    )
    for one, other in zip(survey.statistical(cell), survey.statistical(moved), strict=True):
        np.testing.assert_array_equal(one[: at + 1], other[: at + 1])
    assert cell.closed(at).max() + cell.horizon < at
    np.testing.assert_array_equal(cell.closed(at), moved.closed(at))
    closed = cell.closed(at)
    assert survey.best_three(cell, at, closed) == survey.best_three(moved, at, closed)


def test_spf_targets_are_the_quarters_asked_for(data_folder, survey):
    """Asked in 2001Q2, two quarters ahead: 2001Q4, as the file itself says."""
    cell = survey.level_cells(data_folder, "UNEMP")[2]
    raw = pl.read_parquet(data_folder / "spf_individual.parquet").filter(
        (pl.col("variable") == "UNEMP")
        & (pl.col("survey_q") == "2001Q2")
        & (pl.col("horizon_q") == 2)
    )
    survey_index = 4 * 2001 + 2 - cell.start
    assert raw["target_q"].unique().to_list() == ["2001Q4"]
    assert cell.truth[survey_index] == raw["realised_first_release"][0]
    assert cell.known[survey_index + 2] == cell.truth[survey_index]
    assert np.nansum(cell.forecasts[survey_index]) == pytest.approx(raw["forecast"].sum())


def test_spf_crps_is_that_of_draws(survey):
    rng = np.random.default_rng(1)
    rows = pl.DataFrame({"truth": [1.0, 1.0], "centre": [0.2, 0.2], "scale": [0.5, 0.5],
                         "tail": [5.0, np.inf]})  # fmt: skip
    found = survey.scored(rows)["crps"].to_list()
    for value, draws in zip(
        found, (rng.standard_t(5, 40_000), rng.standard_normal(40_000)), strict=True
    ):
        x = 0.2 + 0.5 * draws
        expected = np.abs(x - 1.0).mean() - np.abs(x[::2] - x[1::2]).mean() / 2
        assert value == pytest.approx(expected, rel=0.02)


def test_override_experiment_small(data_folder, events):
    frame, small = events.run(data_folder, draws=3, events=8)
    table = events.summary(frame, small)
    by_method = {row["method"]: row for row in table.iter_rows(named=True)}
    assert by_method["crowd mean"]["relative"] == 1.0
    assert by_method[events.OURS]["mape"] < by_method["statistical"]["mape"]
    assert small.shape == (3, 2)
    assert frame["mean of three"].mean() == pytest.approx(small[:, 1].mean())


def test_override_experiment_never_learns_from_the_event_left_out(data_folder, events):
    data = events.load(data_folder).only(6)
    actual = data.actual.copy()
    actual[2] *= 3.0
    moved = events.Events(data.statistical, actual, data.experts, data.people)
    for scale in events.SCALES:
        (one, unit), (other, other_unit) = (events.learn(d, 2, scale=scale) for d in (data, moved))
        assert unit == other_unit
        assert one.equals(other)
        assert not events.learn(moved, 3, scale=scale)[0].equals(
            events.learn(data, 3, scale=scale)[0]
        )


def test_override_experiment_holds_people_only(data_folder, events):
    data = events.load(data_folder)
    assert data.people.shape == (24, 123)
    assert np.count_nonzero(~np.isnan(data.people)) == 2866


@pytest.mark.parametrize("name", ["spf_credibility", "override_experiment"])
def test_committed_results_are_whole(name):
    results = pl.read_csv(EXPERIMENTS / name / "results.csv")
    assert results.height > 2
    assert not results.is_duplicated().any()
    assert (EXPERIMENTS / name / "README.md").read_text().startswith("# ")
