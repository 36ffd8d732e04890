"""The month through the command line on a miniature company: outputs and exit codes."""

from __future__ import annotations

import csv
import json
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sopforecast import workflow
from sopforecast.cli import main
from sopforecast.settings import SETTINGS_FILE

CYCLE = "2026-10"
LEVELS = 'levels = ["family", "region", "family/region"]'
HORIZON = 6


@dataclass(frozen=True)
class Shell:
    """Runs commands in one workspace; ``json`` returns the printed object."""

    folder: Path
    capture: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str, code: int = 0) -> str:
        self.capture.readouterr()
        found = main([*arguments, "--workspace", str(self.folder)])
        said = self.capture.readouterr()
        assert found == code, said.out + said.err
        return said.out + said.err

    def json(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        self.capture.readouterr()
        found = main([*arguments, "--json", "--workspace", str(self.folder)])
        said = self.capture.readouterr().out
        assert found == code, said
        result = json.loads(said)
        assert isinstance(result, dict)
        return result

    def file(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return str(path)


def _make(folder: Path, *, levels: str = LEVELS) -> Path:
    assert main(["init", str(folder), "--name", "Mini & Co"]) == 0
    settings = folder / SETTINGS_FILE
    text = settings.read_text(encoding="utf-8").replace("levels = []", levels)
    text = text.replace("horizon = 18", f"horizon = {HORIZON}")
    text = text.replace("# mlflow = true", "mlflow = false").replace("# draws = 500", "draws = 100")
    settings.write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def month(
    tmp_path_factory: pytest.TempPathFactory, mini_items_csv: str, mini_history_csv: str
) -> Path:
    """A workspace whose month has been loaded, run and published, once for all tests here."""
    folder = _make(tmp_path_factory.mktemp("month") / "ws")
    for table, text in (("items", mini_items_csv), ("history", mini_history_csv)):
        (folder / f"{table}.csv").write_text(text, encoding="utf-8")
        assert main(["load", table, str(folder / f"{table}.csv"), "-w", str(folder)]) == 0
    assert main(["run", "-w", str(folder)]) == 0
    assert main(["publish", "--cycle", CYCLE, "--by", "Ann", "-w", str(folder)]) == 0
    return folder


@pytest.fixture
def done(month: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    """A copy of the finished month, to change at will."""
    shutil.copytree(month, tmp_path / "ws")
    return Shell(tmp_path / "ws", capsys)


@pytest.fixture
def empty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    """A new workspace."""
    return Shell(_make(tmp_path / "ws"), capsys)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def test_init_refuses_a_second_time(empty: Shell) -> None:
    assert main(["init", str(empty.folder)]) == 1
    assert (empty.folder / "planner.xlsx").exists()


def test_status_tells_what_was_done(done: Shell) -> None:
    told = done.json("status")
    assert told["history"] == {
        "items": 8,
        "rows": 8 * 48,
        "first": "2022-10",
        "last": "2026-09",
        "last_complete": "2026-09",
        "partial_rows": 0,
    }
    assert [load["table"] for load in told["loads"]] == ["items", "history"]
    assert [run["cycle"] for run in told["runs"]] == [CYCLE]
    assert told["published"][0]["by"] == "Ann"
    assert "Ann" in done("status")


def test_the_same_inputs_are_never_run_twice(done: Shell) -> None:
    first = done.json("status")["runs"][0]["run_id"]
    again = done.json("run")
    assert (again["run_id"], again["stands"]) == (first, True)
    assert again["seconds"], "what the first run told is told again"
    assert len(done.json("status")["runs"]) == 1
    assert f"Same inputs: run {first}" in done("run")


def test_the_same_file_twice_is_no_load(done: Shell) -> None:
    told = done.json("load", "history", str(done.folder / "history.csv"))["loads"][0]
    assert told["already_loaded"] is True
    assert len(done.json("status")["loads"]) == 2


def test_headline_shows_total_families_and_the_widest_items(done: Shell) -> None:
    said = done("run")
    for words in ("Total", "Oncology", "Vaccines", "P10", "P90", "Widest ranges", "adds up"):
        assert words in said
    headline = done.json("run")["headline"]
    total, *families = headline["totals"]
    assert total["plan"] == pytest.approx(sum(row["plan"] for row in families))
    assert total["p10"] <= total["p50"] <= total["p90"]
    assert {row["level"] for row in headline["widest"]} == {"item"}


def test_the_page_follows_the_publication(done: Shell) -> None:
    page = (done.folder / "out" / CYCLE / "review.html").read_text(encoding="utf-8")
    assert "Mini &amp; Co" in page
    assert "Ann" in page
    assert "https:" not in page
    assert "<script" not in page


def test_exported_plan_adds_up_over_items(done: Shell) -> None:
    done("export", "forecasts", str(done.folder / "plan.csv"))
    rows = _rows(done.folder / "plan.csv")
    assert {row["stage"] for row in rows} == {"consensus"}
    assert {row["level"] for row in rows} == {"total", "family", "region", "family/region", "item"}
    for level in ("family", "region", "family/region", "item"):
        for lead in range(1, HORIZON + 1):
            cells = [row for row in rows if int(row["lead"]) == lead]
            total = next(float(row["plan"]) for row in cells if row["unique_id"] == "total")
            assert sum(float(row["plan"]) for row in cells if row["level"] == level) == total


def test_exported_ids_keep_their_zeros(done: Shell) -> None:
    done("export", "items", str(done.folder / "items_out.csv"))
    assert _rows(done.folder / "items_out.csv")[0]["unique_id"].strip("'") == "0000"


def test_wide_export_has_a_column_a_month(done: Shell) -> None:
    told = done.json(
        "export", "forecasts", str(done.folder / "wide.csv"), "--wide", "--measure", "p90"
    )
    rows = _rows(done.folder / "wide.csv")
    assert told["rows"] == len(rows) == 8 + 1 + 2 + 2 + 4
    months = [name for name in rows[0] if name.startswith("202")]
    assert months == [f"2026-{m:02d}" for m in (10, 11, 12)] + [f"2027-0{m}" for m in (1, 2, 3)]
    assert {row["measure"] for row in rows} == {"p90"}


@pytest.mark.parametrize("table", ["bridge", "statements"])
def test_a_run_nobody_spoke_in_has_empty_tables_of_judgement(done: Shell, table: str) -> None:
    assert done.json("export", table, str(done.folder / "empty.csv"))["rows"] == 0


@pytest.mark.parametrize("table", ["weights", "components", "runs", "published", "history"])
def test_every_table_can_be_exported(done: Shell, table: str) -> None:
    file = done.folder / f"{table}.parquet"
    assert done.json("export", table, str(file))["rows"] > 0
    assert file.stat().st_size > 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("export", "forecast", "x.csv"), "known tables: forecasts"),
        (("export", "forecasts", "x.csv", "--measure", "p33"), "known: plan, mean, p05"),
        (("export", "forecasts", "x.csv", "--stage", "final"), "known: naive"),
        (("export", "history", "x.csv", "--wide"), "not for history"),
        (("export", "forecasts", "x.csv", "--cycle", "2025-01"), "nothing is published for"),
        (("export", "forecasts", "x.csv", "--run", "r-nothing"), "there is no run"),
        (("publish", "--cycle", "2027-01"), "there is no run of cycle 2027-01"),
        (("publish", "--cycle", "Oct-26"), "write it like 2026-12"),
        (("run", "--horizon", "0"), "allowed: 1 to 60 months"),
        (("run", "--as-of", "tomorrow"), "2026-12-10"),
        (("run", "--as-of", "2020-01-31"), "was known by 2020-01-31"),
        (("undo", "L9999"), "L9999"),
        (("load", "sales", "history.csv"), "history"),
        (("load", "history"), "TABLE FILE"),
    ],
)
def test_wrong_requests_exit_1_and_say_what_to_do(
    done: Shell, arguments: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(done.folder)
    before = done.json("status")
    assert said in done(*arguments, code=1)
    assert not (done.folder / "x.csv").exists()
    assert done.json("status") == before


def test_nothing_published_exits_1_but_a_run_can_be_exported(
    empty: Shell, month: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(month / "history.csv", empty.folder)
    shutil.copy(month / "items.csv", empty.folder)
    assert "publish a run first" in empty("export", "forecasts", "x.csv", code=1)
    empty("load", "items", str(empty.folder / "items.csv"))
    empty("load", "history", str(empty.folder / "history.csv"))
    ran = empty.json("run")
    assert "publish a run first" in empty("export", "forecasts", "x.csv", code=1)
    told = empty.json("export", "forecasts", str(empty.folder / "x.csv"), "--run", "latest")
    assert told["run_id"] == ran["run_id"]
    same = Shell(month, capsys).json("status")["runs"][0]["run_id"]
    assert ran["run_id"] == same, "the same data in another workspace is the same run"


@pytest.mark.parametrize("arguments", [("lod",), ("run", "--cycel", "2026-10"), ("publish",)])
def test_usage_mistakes_exit_2(done: Shell, arguments: tuple[str, ...]) -> None:
    assert done(*arguments, code=2)
    assert done.json(*arguments, code=2)["error"]


def test_a_lost_race_exits_3(done: Shell) -> None:
    before = done.json("status")["published"]
    assert "Ann" in done("publish", "--cycle", CYCLE, "--run", _other_run(done), "--expect", "none",
                         code=3)  # fmt: skip
    assert done.json("status")["published"] == before


def test_publishing_an_older_run_is_the_roll_back(done: Shell) -> None:
    first = done.json("status")["published"][0]["run_id"]
    other = _other_run(done)
    moved = done.json("publish", "--cycle", CYCLE, "--expect", first)
    assert (moved["run_id"], moved["replaced_run"], moved["version"]) == (other, first, 2)
    back = done.json("publish", "--cycle", CYCLE, "--run", first, "--expect", other)
    assert (back["run_id"], back["version"]) == (first, 3)


def test_publishing_the_same_again_changes_nothing(done: Shell) -> None:
    assert done.json("publish", "--cycle", CYCLE)["already_published"] is True
    assert done.json("status")["published"][0]["version"] == 1


def _other_run(shell: Shell) -> str:
    return str(shell.json("run", "--horizon", str(HORIZON - 1))["run_id"])


def test_an_unreachable_store_exits_4(done: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{done.folder}/missing/planning.db"
    monkeypatch.setenv("SOPFORECAST_ADVANCED__STORE_URL", url)
    assert "does not exist" in done("status", code=4)


def test_a_store_that_is_no_database_exits_4(done: Shell) -> None:
    for left_over in done.folder.glob("planning.db-*"):
        left_over.unlink()
    (done.folder / "planning.db").write_bytes(b"not a database, but a note to myself " * 400)
    assert done.json("status", code=4)["error"]


def test_history_that_stops_short_of_the_cycle_exits_5(done: Shell) -> None:
    assert "needs history through 2026-11" in done("run", "--cycle", "2026-12", code=5)


def test_a_month_without_a_run_is_closed_in_one_line(done: Shell) -> None:
    assert "nothing to learn from: no run of 2026-09" in done("close", "--cycle", "2026-09")
    told = done.json("close", "--cycle", "2026-09", "--require", "0.95")
    assert (told["fit_id"], told["scored"], told["learned"]) == (None, 0, [])
    assert done.json("status")["closed"] is None


def test_a_month_that_is_not_over_exits_5(done: Shell) -> None:
    said = done("close", "--cycle", CYCLE, code=5)
    assert "complete history ends in 2026-09. Load history through 2026-10" in said
    assert "2026-09" in done("replay", "--from", CYCLE, "--to", "2026-11", code=5)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("close", "--cycle", "2026-09", "--require", "95"), "a share from 0 to 1"),
        (("close", "--cycle", "Sep-26"), "write it like 2026-12"),
        (("replay", "--from", "2026-09", "--to", "2026-08"), "after --to 2026-08"),
        (("replay", "--from", "2020-01", "--to", "2026-08"), "can replay is 2022-11"),
        (("export", "credibility", "x.csv"), "nothing had been closed"),
        (("export", "closed", "x.csv"), "nothing had been closed"),
        (("export", "credibility", "x.csv", "--cycle", "2026-01"), "no run of cycle 2026-01"),
        (("export", "forecasts", "x.csv", "--stage", "source:sales"), "has no stage"),
        (("export", "bridge", "x.csv", "--stage", "consensus"), "not for bridge"),
    ],
)
def test_wrong_requests_about_what_was_learned_exit_1(
    done: Shell, arguments: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(done.folder)
    assert said in done(*arguments, code=1)
    assert not (done.folder / "x.csv").exists()


def test_a_replay_runs_what_would_have_been_run(done: Shell) -> None:
    told = done.json("replay", "--from", "2026-09", "--to", CYCLE)
    first, open_cycle = told["cycles"]
    assert (first["cycle"], first["is_closed"], first["scored"]) == ("2026-09", True, 0)
    assert first["fit_id"].startswith("c-"), "a month nobody spoke of is scored and closed too"
    assert open_cycle["stands"] is True, "the open cycle was run before, from the same rows"
    assert open_cycle["is_closed"] is False
    assert (told["closed"]["cycle"], told["closed"]["items"]) == ("2026-09", 8)
    said = done("replay", "--from", "2026-09", "--to", CYCLE)
    assert "2026-09  run" in said
    assert "0 overrides; closed: 0 statements, 0 in all" in said
    assert not (done.folder / "out" / "2026-09" / "review.html").exists()


def test_interrupted_exits_130(done: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(workflow, "run", interrupted)
    assert "half-written" in done("run", code=130)


def test_a_bad_row_is_named_and_nothing_is_loaded(empty: Shell) -> None:
    good = empty.file("history_a.csv", "unique_id,ds,y\nA,2026-08,10\nA,2026-09,12\n")
    bad = empty.file("history_b.csv", "unique_id,ds,y\nB,2026-08,10\nB,2026-09,N/A\n")
    said = empty("load", "history", good, bad, code=1)
    assert "history_b.csv, row 3, column y" in said
    problems = empty.json("load", "history", good, bad, code=1)["problems"]
    assert len(problems) == 1
    assert "N/A" in problems[0]
    assert empty.json("status")["loads"] == []


def test_rows_after_through_are_kept_and_never_fitted(done: Shell) -> None:
    first = done.json("status")["runs"][0]["run_id"]
    partial = done.file("history_now.csv", "unique_id,ds,y\n0000,2026-10,1\n")
    told = done.json("load", "history", partial, "--through", "2026-09")["loads"][0]
    assert told["partial_rows"] == 1
    more = done.file("history_then.csv", "unique_id,ds,y\n0001,2026-10,1\n")
    assert done("load", "history", more, "--through", "2026-09").count("partial") == 1
    again = done.json("run")
    assert (again["cycle"], again["run_id"]) == (CYCLE, first)


def test_through_cannot_name_a_month_that_is_not_over(done: Shell) -> None:
    said = done("load", "history", str(done.folder / "history.csv"), "--through", "2099-01", code=1)
    assert "has not ended yet" in said


def test_what_was_not_known_by_the_cut_off_changes_nothing(done: Shell) -> None:
    first = done.json("status")["runs"][0]["run_id"]
    text = (done.folder / "history.csv").read_text(encoding="utf-8").splitlines()
    worse = [text[0], *(line.rsplit(",", 1)[0] + ",777" for line in text[1:])]
    assert done.json("load", "history", done.file("late.csv", "\n".join(worse)))["loads"][0][
        "rows_changed"
    ]
    assert done.json("run", "--cycle", CYCLE)["run_id"] == first


def test_undo_brings_the_earlier_run_back(done: Shell) -> None:
    first = done.json("status")["runs"][0]["run_id"]
    known = "unique_id,ds,y,known_at\n0000,2026-09,9,2026-10-10\n"
    load_id = done.json("load", "history", done.file("fix.csv", known))["loads"][0]["load_id"]
    changed = done.json("run")
    assert changed["run_id"] != first
    assert changed["stands"] is False
    done("undo", load_id)
    back = done.json("run")
    assert (back["run_id"], back["stands"]) == (first, True)


def test_undo_under_a_published_run_needs_a_reason(done: Shell) -> None:
    assert "--force" in done("undo", "L0002", code=1)
    assert "384 rows closed" in done("undo", "L0002", "--force", "wrong company")
    assert done.json("status")["history"]["items"] == 0


def test_check_names_what_is_wrong(done: Shell) -> None:
    report = done.json("check")
    assert report["passed"] is True
    assert {"check", "status", "sentence", "rows", "first"} <= set(report["checks"][0])
    short = "unique_id,ds,y,known_at\nNEW,2026-08,5,2026-09-05\nNEW,2026-09,6,2026-10-05\n"
    item = "unique_id,family,region\nNEW,Oncology,EU\n"
    done("load", "items", done.file("item.csv", item))
    done("load", "history", done.file("new.csv", short))
    assert "NEW" in done("check")
    assert done.json("check", "--strict", code=1)["passed"] is False


def test_a_workbook_is_loaded_by_itself(
    empty: Shell, mini_items_csv: str, mini_history_csv: str
) -> None:
    xlsxwriter = pytest.importorskip("xlsxwriter")
    path = empty.folder / "book.xlsx"
    with xlsxwriter.Workbook(str(path)) as book:
        for name, text in (("items", mini_items_csv), ("history", mini_history_csv)):
            sheet = book.add_worksheet(name)
            for row, line in enumerate(text.splitlines()):
                for column, cell in enumerate(line.split(",")):
                    is_y = name == "history" and column == 2 and row > 0
                    (sheet.write_number if is_y else sheet.write_string)(
                        row, column, float(cell) if is_y else cell
                    )
    told = empty.json("load", str(path))["loads"]
    assert [(load["table"], load["rows_new"]) for load in told] == [("items", 8), ("history", 384)]


def test_the_store_keeps_no_secret_and_prints_none(
    done: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "postgresql://planner:canary-7f3a@127.0.0.1:1/none"
    monkeypatch.setenv("SOPFORECAST_ADVANCED__STORE_URL", url)
    code = main(["status", "-w", str(done.folder)])
    said = done.capture.readouterr()
    assert code in (1, 4)
    assert "canary-7f3a" not in said.out + said.err


def test_settings_kept_with_a_run_name_no_store(done: Shell) -> None:
    with sqlite3.connect(done.folder / "planning.db") as connection:
        [(kept,)] = connection.execute("select settings from runs").fetchall()
    assert "store_url" not in kept
    assert json.loads(kept)["horizon"] == HORIZON


@pytest.mark.parametrize("table", ["history", "items"])
def test_an_id_that_looks_like_a_formula_stays_text(
    empty: Shell, table: str, tmp_path: Path
) -> None:
    rows = {
        "history": "unique_id,ds,y\n=1+1,2026-09,5\n",
        "items": "unique_id,family,region\n=1+1,F,R\n",
    }
    empty("load", table, empty.file("odd.csv", rows[table]))
    empty("export", table, str(tmp_path / "out.csv"))
    assert (
        not (tmp_path / "out.csv").read_text(encoding="utf-8-sig").splitlines()[1].startswith("=")
    )


def test_progress_lines_for_a_log_file(capsys: pytest.CaptureFixture[str]) -> None:
    from sopforecast.progress import progress

    with progress() as on_progress:
        for done in (0.0, 0.1, 0.3, 0.31, 0.6, 1.0, 1.0):
            on_progress("fit", done)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" in ")[0] for line in lines] == ["fit: 30%", "fit: 60%", "fit: done"]


def test_every_command_answers_help(capsys: pytest.CaptureFixture[str]) -> None:
    commands: list[Callable[[], int]] = []
    names = ["init", "demo", "load", "undo", "check", "run", "publish", "close", "replay"]
    names += ["kpi", "export", "status"]
    for name in names:
        commands.append(lambda name=name: main([name, "--help"]))
    assert [command() for command in commands] == [0] * len(names)
    assert "--workspace" in capsys.readouterr().out


def test_out_that_cannot_be_written_is_a_warning(
    done: Shell, caplog: pytest.LogCaptureFixture
) -> None:
    other = _other_run(done)
    shutil.rmtree(done.folder / "out")
    done.file("out", "a file where the folder should be")
    moved = done.json("publish", "--cycle", CYCLE)
    assert (moved["run_id"], moved["page"]) == (other, None)
    ran = done.json("run", "--horizon", "2")
    assert (ran["stands"], ran["page"]) == (False, None)
    assert "its page could not be written" in caplog.text


def test_a_bug_is_one_object_with_json_and_its_traceback_beside(
    done: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("nothing to divide")

    monkeypatch.setattr(workflow, "status", broken)
    assert main(["status", "--json", "-w", str(done.folder)]) == 1
    said = done.capture.readouterr()
    assert json.loads(said.out)["error"] == "ZeroDivisionError: nothing to divide"
    assert "Traceback" in said.err
    with pytest.raises(ZeroDivisionError):
        main(["status", "-w", str(done.folder)])


def test_an_interrupted_run_gets_its_checks_again(done: Shell) -> None:
    told = done.json("run")["check_counts"]
    for account in (done.folder / "out" / CYCLE).glob("r-*.json"):
        account.unlink()
    done("publish", "--cycle", CYCLE)
    assert done.json("run")["check_counts"] == told
    assert list((done.folder / "out" / CYCLE).glob("r-*.json"))


def test_unknown_checks_are_never_called_none(done: Shell) -> None:
    from sopforecast import terminal

    told = done.json("run") | {"check_counts": {}}
    assert "Checks: not known: the run was interrupted" in terminal.ran(told)


def test_a_late_correction_is_said_and_as_of_reads_it(done: Shell) -> None:
    first = done.json("run")
    assert not [note for note in first["notes"] if "cut-off" in note]
    now = "unique_id,ds,y\n0000,2026-09,9\n"
    done("load", "history", done.file("late.csv", now))
    again = done.json("run")
    assert again["run_id"] == first["run_id"]
    assert "1 row became known after the cut-off 2026-10-15 and waits" in again["notes"][-1]
    today = again["notes"][-1].split("--as-of ")[1].split(" ")[0]
    assert done.json("run", "--as-of", today)["run_id"] != first["run_id"]


def test_check_fails_where_run_would(empty: Shell, mini_items_csv: str, month: Path) -> None:
    empty("load", "history", str(month / "history.csv"))
    assert "load items first: levels family, region" in empty("check", code=1)
    assert empty("run", code=1)
    empty("load", "items", empty.file("items.csv", "".join(mini_items_csv.splitlines(True)[:-1])))
    assert "1 item has no place in a level" in empty("check", code=1)
    assert empty("run", code=1)
    empty("load", "items", empty.file("items.csv", mini_items_csv))
    assert empty.json("check")["passed"] is True


def test_run_names_the_items_of_an_error(done: Shell) -> None:
    rows = [f"0003,2025-{month:02d},{900000 + month},2026-10-01" for month in range(1, 13)]
    text = "\n".join(["unique_id,ds,y,known_at", *rows])
    settings = done.folder / SETTINGS_FILE
    refused = settings.read_text(encoding="utf-8")
    allowed = refused.replace('unit_slip = "refuse"', 'unit_slip = "allow"')
    settings.write_text(allowed, encoding="utf-8")
    done("load", "history", done.file("slip.csv", text))
    said = done("run")
    assert "Error: " in said
    assert "(0003)" in said


def test_a_store_that_went_missing_exits_4(done: Shell) -> None:
    (done.folder / "planning.db").unlink()
    assert "planning.db is missing: restore it" in done("status", code=4)
    assert not (done.folder / "planning.db").exists()


def test_a_store_url_without_a_scheme_is_refused(
    done: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(done.folder)
    monkeypatch.setenv("SOPFORECAST_ADVANCED__STORE_URL", "nonsense")
    assert "the store URL cannot be read" in done("status", code=1)
    assert not (done.folder / "nonsense").exists()


@pytest.mark.parametrize("level", ["", " ", "family/", "/family", "description", "unique_id/a"])
def test_init_refuses_what_cannot_be_a_level(
    level: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", str(tmp_path / "new"), f"--level={level}"]) == 1
    assert f"found {level!r}" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_missing_mirror_is_made_up_for(done: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOPFORECAST_ADVANCED__MLFLOW", "true")
    mirrored = done.json("run")
    assert mirrored["stands"] is True
    assert mirrored["mlflow_run"]
    assert done.json("run")["mlflow_run"] == mirrored["mlflow_run"]


def test_one_is_singular_and_nothing_is_called_none(done: Shell) -> None:
    assert "8 items, 1 month, known by" in done("run", "--horizon", "1")
    assert "None" not in done("export", "weights", str(done.folder / "weights.csv"))
