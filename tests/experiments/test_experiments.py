"""Every experiment runs small and still gives sane rows; committed results are whole."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

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


def test_m3_monthly_small(data_folder, tmp_path):
    frame = _load("m3_monthly").run(
        data_folder, series=40, cache=tmp_path, peers=("Naive2", "SeasonalNaive", "DOT")
    )
    by_method = {row["method"]: row for row in frame.iter_rows(named=True)}
    assert by_method["Naive2"]["owa"] == pytest.approx(1.0)
    ours = next(row for name, row in by_method.items() if name.startswith("sopforecast"))
    assert ours["owa"] < by_method["SeasonalNaive"]["owa"]
    assert 0.6 < ours["coverage80"] < 0.97
    assert ours["cpu_seconds"] > 0


def test_m3_naive2_is_close_to_the_competitions(data_folder, tmp_path):
    """Published: sMAPE 16.89, MASE 1.037; decomposition differed a little in 2000."""
    experiment = _load("m3_monthly")
    data = experiment.load(data_folder, None)
    named = list(zip(data.ids, data.train, strict=True))
    frame, _ = experiment.peer_forecasts("Naive2", named, horizon=18, cache=tmp_path)
    point = frame["p50"].to_numpy().reshape(len(named), 18)
    scores = experiment.score(data, point, None, point)
    assert scores["smape"] == pytest.approx(16.89, abs=0.15)
    assert scores["mase"] == pytest.approx(1.037, abs=0.005)


def test_pbs_small(data_folder):
    experiment = _load("pbs")
    summary, rows = experiment.run(data_folder, origins=1, items=24, workers=1)
    assert summary["level"].n_unique() == len(experiment.LEVELS) + 2
    ours = summary.filter(pl.col("method") == "reconciled")
    assert ours["coverage80"].is_between(0.3, 1.0).all()
    total = rows.filter(pl.col("level") == "total").sort("method")
    assert total["demand"].n_unique() == 1
    items = rows.filter((pl.col("level") == "item") & (pl.col("method") == "reconciled"))
    assert items["error"].item() == pytest.approx(
        rows.filter((pl.col("level") == "total") & (pl.col("method") == "reconciled"))[
            "error"
        ].item(),
        rel=1e-6,
    )


def test_portfolio_small(data_folder):
    frame = _load("portfolio_5000").run(data_folder, series=30, peer=False)
    assert frame["stage"].to_list()[-1] == "export"
    assert (frame["peak_memory_mib"] > 20).all()


@pytest.mark.parametrize("name", ["m3_monthly", "pbs", "portfolio_5000"])
def test_committed_results_are_whole(name):
    results = pl.read_csv(EXPERIMENTS / name / "results.csv")
    assert results.height > 2
    assert not results.is_duplicated().any()
    assert (EXPERIMENTS / name / "README.md").read_text().startswith("# ")
