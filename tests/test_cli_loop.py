"""Closing, replaying and the KPIs through the command line: exit codes, text, JSON, exports."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import openpyxl
import polars as pl
import pytest

from sopforecast.cli import main
from sopforecast.core.learning_tables import CLOSE_TABLES
from sopforecast.settings import SETTINGS_FILE

FIRST, LAST, OPEN = "2026-06", "2026-09", "2026-10"
EXPORTED = (
    *("scores", "value_added", "calibration", "contests", "learning_log", "learned_weights"),
    *("learned_widths", "kpis"),
)


@pytest.fixture(scope="module")
def replayed(
    tmp_path_factory: pytest.TempPathFactory, mini_items_csv: str, mini_history_csv: str
) -> Path:
    """Five cycles of the miniature company, four of them closed, Ann speaking in each."""
    folder = tmp_path_factory.mktemp("loop") / "ws"
    assert main(["init", str(folder), "--name", "Mini", "--level", "family"]) == 0
    settings = folder / SETTINGS_FILE
    text = settings.read_text(encoding="utf-8").replace("horizon = 18", "horizon = 3")
    text = text.replace("# mlflow = true", "mlflow = false").replace("# draws = 500", "draws = 100")
    text = text.replace('# sampler = "nuts"', 'sampler = "closed_form"')
    settings.write_text(text, encoding="utf-8")
    months = [f"2026-{month:02d}" for month in range(6, 11)]
    said = ["override_id,entered_cycle,node,ds_from,ds_to,per,kind,measure,value,source,owner,"
            "reason,mode,status"]  # fmt: skip
    said += [
        f"ann-{m},{m},family=Oncology,{m},{m},month,delta,quantity,40,sales,Ann,promotion,"
        "evidence,active"
        for m in months
    ]
    items = "\n".join(line.rsplit(",", 1)[0] for line in mini_items_csv.splitlines())
    for table, rows in (
        ("items", items), ("history", mini_history_csv), ("overrides", "\n".join(said)),
    ):  # fmt: skip
        (folder / f"{table}.csv").write_text(rows, encoding="utf-8")
        assert main(["load", table, str(folder / f"{table}.csv"), "-w", str(folder)]) == 0
    assert main(["replay", "--from", FIRST, "--to", OPEN, "-w", str(folder)]) == 0
    return folder


def told(capsys: pytest.CaptureFixture[str], folder: Path, *arguments: str, code: int = 0) -> str:
    capsys.readouterr()
    found = main([*arguments, "--workspace", str(folder)])
    said = capsys.readouterr()
    assert found == code, said.out + said.err
    return said.out + said.err


def told_json(
    capsys: pytest.CaptureFixture[str], folder: Path, *arguments: str, code: int = 0
) -> dict[str, Any]:
    capsys.readouterr()
    found = main([*arguments, "--json", "--workspace", str(folder)])
    said = capsys.readouterr().out
    assert found == code, said
    result = json.loads(said)
    assert isinstance(result, dict)
    return result


def test_a_replay_says_what_was_learned_and_what_it_assumed(
    replayed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = told(capsys, replayed, "replay", "--from", FIRST, "--to", OPEN)
    lines = said.splitlines()
    assert lines[0].startswith(f"{FIRST}  run r-")
    assert "stands, 1 override; closed: 1 statement, 1 in all" in lines[0]
    assert lines[4].endswith("not over yet")
    assert f"Learned up to {LAST}" in lines
    for words in (
        "Value added over 12 months (4 scored), quantity, all leads",
        "stage", "naive (same month last year)", "statistical", "sales alone", "consensus",
        "anges of items: 8 of 10 should land inside;", "anges of the total: 8 of 10",
        "weights: backtest goes on", "widths: backtest goes on", "credibility: prior goes on",
        "conversion: learned goes on", "cycles compared",
    ):  # fmt: skip
        assert words in said, words
    assert "When rows were known is assumed for 8 of 8 items" in said
    assert "384 of 384 history, 5 of 5 overrides rows: give a known_at column" in said


def test_a_replay_as_json_is_one_object(replayed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = told_json(capsys, replayed, "replay", "--from", FIRST, "--to", OPEN)
    assert (result["first"], result["last"]) == (FIRST, OPEN)
    assert [row["is_closed"] for row in result["cycles"]] == [True] * 4 + [False]
    assert [row["stands"] for row in result["cycles"]] == [True] * 5
    assert result["closed"]["cycle"] == LAST
    assert {row["table"]: row["assumed"] for row in result["assumed"]} == {
        "items": 8, "history": 384, "overrides": 5,
    }  # fmt: skip


def test_closing_again_stands_and_says_the_same(
    replayed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("close", "--cycle", LAST, "--as-of", "2026-10-15")
    said = told(capsys, replayed, *asked)
    assert said.startswith(f"{LAST} was closed from the same inputs before: 8 items scored\n")
    assert "1 statement of this month, 4 in all, of 4 overrides" in said
    for words in ("Value added over 12 months", "8 of 10 should land inside", "widths: backtest"):
        assert words in said, words
    result = told_json(capsys, replayed, *asked)
    assert (result["stands"], result["items"], result["restated"]) == (True, 8, 0)
    assert {row["table"] for row in result["learning_log"]} == {
        "weights", "widths", "credibility", "conversion",
    }  # fmt: skip
    assert {row["window"] for row in result["value_added"]} == {1, 3, 12}
    assert result["calibration"]
    assert {row["kpi"] for row in result["kpis"]} >= {"accuracy", "bias"}


def test_months_that_cannot_be_closed_exit_5(
    replayed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "history ends in 2026-09" in told(capsys, replayed, "close", "--cycle", OPEN, code=5)
    error = told_json(capsys, replayed, "close", "--cycle", OPEN, code=5)
    assert "history ends in 2026-09" in error["error"]
    assert "closed are 2026-06 to 2026-09" in told(
        capsys, replayed, "kpi", "--cycle", "2026-01", code=5
    )


def test_the_kpis_of_the_newest_closed_month(
    replayed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(replayed, tmp_path / "ws"))
    said = told(capsys, folder, "kpi")
    assert said.startswith(f"KPIs, {LAST} closed: ")
    assert "known by 2026-10-15 23:59 UTC" in said
    assert "First scores: a month is scored when its actuals are first known" in said
    page = folder / "out" / f"kpi-{LAST}.html"
    assert str(page) in said
    assert page.exists()
    result = told_json(capsys, folder, "kpi", "--cycle", "2026-08")
    assert result["cycle"] == "2026-08"
    assert 0 < len(result["kpis"]) <= 5
    assert result["restated"]["months"] == []


def test_nothing_closed_yet_is_not_now(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", str(tmp_path / "new")]) == 0
    assert "no month is closed yet" in told(capsys, tmp_path / "new", "kpi", code=5)


@pytest.mark.parametrize("ending", ["csv", "xlsx"])
@pytest.mark.parametrize("table", EXPORTED)
def test_what_was_learned_can_be_exported(
    replayed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], table: str, ending: str
) -> None:
    file = tmp_path / f"{table}.{ending}"
    result = told_json(capsys, replayed, "export", table, str(file))
    assert result["cycle"] == LAST
    if ending == "csv":
        with file.open(newline="", encoding="utf-8-sig") as text:
            rows = list(csv.DictReader(text))
        columns, count = set(rows[0]), len(rows)
    else:
        [sheet] = openpyxl.load_workbook(file).worksheets
        columns = {cell.value for cell in sheet[1]}
        count = sheet.max_row - 1
    assert columns == set(CLOSE_TABLES[table].columns())
    assert count == result["rows"] > 0


def test_tables_that_grow_are_exported_over_all_closes(
    replayed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    months = {}
    for table, column in (("scores", "ds"), ("learning_log", "closed"), ("value_added", "closed")):
        file = tmp_path / f"{table}.parquet"
        told(capsys, replayed, "export", table, str(file))
        months[table] = sorted({f"{day:%Y-%m}" for day in pl.read_parquet(file)[column]})
    every = ["2026-06", "2026-07", "2026-08", "2026-09"]
    assert months == {"scores": every, "learning_log": every, "value_added": [LAST]}
    told(capsys, replayed, "export", "scores", str(tmp_path / "then.parquet"), "--cycle", "2026-08")
    then = pl.read_parquet(tmp_path / "then.parquet")
    assert sorted({f"{day:%Y-%m}" for day in then["ds"]}) == every[:2], "as August had read it"
