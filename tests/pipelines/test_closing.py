"""The month closed by a batch job, and the past replayed by another."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from sopforecast.workflow import init, status
from sopforecast.workspace import open_workspace

PIPELINES = Path(__file__).resolve().parents[2] / "pipelines"
Main = Callable[[Sequence[str]], int]


def _main(name: str) -> Main:
    spec = importlib.util.spec_from_file_location(name, PIPELINES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Main = module.main
    return found


@pytest.fixture
def folder(tmp_path: Path, mini_history_csv: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SOPFORECAST_ADVANCED__MLFLOW", "false")
    monkeypatch.setenv("SOPFORECAST_HORIZON", "2")
    init(tmp_path / "ws")
    (tmp_path / "history_2026-09.csv").write_text(mini_history_csv, encoding="utf-8")
    return tmp_path


def test_the_last_month_is_loaded_and_closed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main = _main("close_month")
    assert main([str(folder / "ws"), str(folder / "history_2026-09.csv")]) == 0
    assert capsys.readouterr().out.strip() == "2026-09"
    loads = status(open_workspace(folder / "ws"))["loads"]
    assert [row["table"] for row in loads] == ["history"]
    assert main([str(folder / "ws"), str(folder / "history_2026-09.csv")]) == 0
    assert status(open_workspace(folder / "ws"))["loads"] == loads


def test_nothing_to_close_is_not_now(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _main("close_month")([str(folder / "ws")]) == 5
    assert "no complete month" in capsys.readouterr().err


def test_the_past_is_replayed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _main("close_month")([str(folder / "ws"), str(folder / "history_2026-09.csv")]) == 0
    main = _main("replay_history")
    assert main([str(folder / "ws"), "2026-08", "2026-09"]) == 0
    said, progress = capsys.readouterr()
    assert "2026-08  run" in said
    assert progress.startswith("replay: 50%\nreplay: done in")
    assert "Learned up to 2026-09" in said
    runs = status(open_workspace(folder / "ws"))["runs"]
    assert [row["cycle"] for row in runs] == ["2026-08", "2026-09"]
    assert main([str(folder / "ws"), "2026-09", "2026-08"]) == 1


def test_the_kpis_of_what_was_forecast_are_written(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(folder / "ws"), str(folder / "history_2026-09.csv")]
    page = folder / "ws" / "out" / "kpi-2026-09.html"
    assert _main("close_month")(files) == 0
    assert not page.exists()  # no run of the month to score
    assert _main("replay_history")([files[0], "2026-08", "2026-09"]) == 0
    capsys.readouterr()
    assert _main("close_month")(files) == 0
    assert capsys.readouterr().out.strip() == "2026-09"
    assert "September 2026 closed" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["close_month", "replay_history"])
def test_usage_and_workspace_mistakes(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main = _main(name)
    assert main([]) == 2
    more = ["2026-08", "2026-09"] if name == "replay_history" else []
    assert main([str(tmp_path), *more]) == 1
    assert "sopforecast init" in capsys.readouterr().err
