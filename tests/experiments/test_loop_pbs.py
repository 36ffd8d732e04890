"""The loop over the prescription hierarchy still gives sane rows."""

from __future__ import annotations

import importlib.util
import sys
from datetime import date
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest

HERE = Path(__file__).resolve().parents[2] / "experiments" / "loop_pbs"


@pytest.fixture(scope="module")
def experiment() -> ModuleType:
    spec = importlib.util.spec_from_file_location("loop_pbs_run", HERE / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_a_small_loop_scores_every_part(
    experiment: ModuleType, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiment, "LEVELS", ("concession", "type"))
    found = experiment.run(data_folder, cycles=6, warm=0, items=4, first=date(2003, 8, 1))
    by = {(row["what"], row["who"]): row for row in found.iter_rows(named=True)}
    whole = by["coverage80, as run", "all items"]
    assert whole["cells"] == by["coverage80, as run", "level item"]["cells"]
    assert 0.5 <= whole["value"] <= 1.0
    thirds = [by["coverage80, as run", f"third {k}"] for k in (1, 2, 3)]
    assert sum(row["cells"] for row in thirds) == whole["cells"]
    inside = sum(row["value"] * row["cells"] for row in thirds)
    assert inside == pytest.approx(whole["value"] * whole["cells"])
    assert by["gained over equal weights", "equal, item"]["value"] == 0.0
    totals = found.filter(pl.col("what") == "bias percent")["value"]
    assert totals.to_list() == pytest.approx([totals[0]] * totals.len(), rel=1e-6)
    value = found.filter(pl.col("what") == "value added, 12 months", pl.col("lead") == 1)
    assert value.height == 6
    last = value.row(-1, named=True)
    assert last["low"] <= last["value"] <= last["high"]
