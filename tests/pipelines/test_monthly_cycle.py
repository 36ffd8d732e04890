"""The unattended month: published at the end; a bad file moves nothing."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from sopforecast.workflow import init, status
from sopforecast.workspace import open_workspace

SCRIPT = Path(__file__).resolve().parents[2] / "pipelines" / "monthly_cycle.py"


@pytest.fixture(scope="module")
def main() -> Callable[[Sequence[str]], int]:
    spec = importlib.util.spec_from_file_location("monthly_cycle", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Callable[[Sequence[str]], int] = module.main
    return found


@pytest.fixture
def folder(tmp_path: Path, mini_items_csv: str, mini_history_csv: str) -> Path:
    init(tmp_path / "ws", levels=("family",))
    items = "\n".join(line.rsplit(",", 1)[0] for line in mini_items_csv.splitlines())
    (tmp_path / "items.csv").write_text(items, encoding="utf-8")
    (tmp_path / "history_2026-09.csv").write_text(mini_history_csv, encoding="utf-8")
    return tmp_path


def test_a_month_from_files_to_the_published_plan(
    main: Callable[[Sequence[str]], int],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SOPFORECAST_ADVANCED__MLFLOW", "false")
    monkeypatch.setenv("SOPFORECAST_HORIZON", "3")
    files = [str(folder / name) for name in ("items.csv", "history_2026-09.csv")]
    assert main([str(folder / "ws"), *files]) == 0
    run_id = capsys.readouterr().out.strip()
    told = status(open_workspace(folder / "ws"))
    assert [(row["run_id"], row["version"]) for row in told["published"]] == [(run_id, 1)]

    assert main([str(folder / "ws"), *files]) == 0
    assert status(open_workspace(folder / "ws"))["published"] == told["published"]

    bad = folder / "history_bad.csv"
    bad.write_text("unique_id,ds,y\n0000,2026-09,N/A\n", encoding="utf-8")
    assert main([str(folder / "ws"), str(bad)]) == 1
    assert "row 2" in capsys.readouterr().err
    assert status(open_workspace(folder / "ws")) == told


def test_usage_and_workspace_mistakes(
    main: Callable[[Sequence[str]], int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([]) == 2
    assert main([str(tmp_path)]) == 1
    assert "sopforecast init" in capsys.readouterr().err
