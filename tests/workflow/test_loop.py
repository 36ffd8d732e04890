"""The loop closed by the real engine: runs, closes, and what is known when, on a small company."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import sqlalchemy as sa

from sopforecast import workflow
from sopforecast.baseline.known_paths import KnownPaths
from sopforecast.cli import main
from sopforecast.core.draws import QUANTILES
from sopforecast.core.learning_tables import CLOSE_TABLES
from sopforecast.core.months import add_months, cutoff, month_name, month_range, months_between
from sopforecast.errors import NotNow
from sopforecast.planning_store import schema
from sopforecast.planning_store.learned import (
    closes,
    newest_close,
    read_credibility,
    read_learned,
    save_close,
)
from sopforecast.planning_store.loading import append_load
from sopforecast.planning_store.paths import save_paths
from sopforecast.planning_store.runs import read_run_tables
from sopforecast.settings import SETTINGS_FILE
from sopforecast.workflow.book import Book
from sopforecast.workspace import Workspace, open_workspace

FIRST, MONTHS = date(2023, 1, 1), 40
ITEMS = tuple(f"i{k}" for k in range(6))
FAMILY = dict(zip(ITEMS, "AAABBB", strict=True))
HORIZON = 4
NOW = datetime(2026, 6, 1, 12)
CYCLES = month_range(date(2025, 9, 1), 9)
BEGIN, OPEN = CYCLES[0], CYCLES[-1]
JAN, FEB, MAR, APR, MAY = month_range(date(2026, 1, 1), 5)

# Beside what closes store: what runs store, and the log of closes.
OF_RUNS = (
    *("runs", "run_tables", "forecasts", "components", "residual_paths", "weights"),
    *("model_errors", "statements", "bridge"),
)
OF_CLOSES = ("credibility", *CLOSE_TABLES)


def demand(*, months: int = MONTHS) -> pl.DataFrame:
    """Five items with a yearly wave and noise, and one that is bought now and then."""
    rows: list[tuple[str, date, float]] = []
    for k, item in enumerate(ITEMS):
        rng, level = np.random.default_rng(k), (120, 60, 200, 35, 90, 4)[k]
        for index, month in enumerate(month_range(FIRST, months)):
            wave = 1 + 0.15 * np.sin(2 * np.pi * index / 12 + k)
            y = level * (wave * rng.lognormal(0, 0.12) if k < 5 else rng.poisson(0.8))
            rows.append((item, month, float(round(y))))
    return pl.DataFrame(rows, schema=["unique_id", "ds", "y"], orient="row")


def said(cycles: list[date]) -> pl.DataFrame:
    """One delta of Ann's a cycle, over its first two months."""
    return pl.DataFrame(
        [
            {
                "override_id": f"ann-{month_name(cycle)}", "entered_cycle": cycle,
                "node": "family=A", "ds_from": cycle, "ds_to": add_months(cycle, 1),
                "per": "month", "kind": "delta", "measure": "quantity", "value": 25.0,
                "probability": 1.0, "source": "sales", "owner": "Ann", "reason": "promotion",
                "mode": "evidence", "status": "active",
            }
            for cycle in cycles
        ]
    )  # fmt: skip


def put(
    workspace: Workspace,
    table: str,
    frame: pl.DataFrame,
    *,
    at: datetime = NOW,
    through: date | None = date(2030, 1, 1),
) -> None:
    append_load(
        workspace.store(), table, frame, file=table,
        file_hash=f"{table}{at}{frame.hash_rows().sum()}", loaded_by="Ann", loaded_at=at,
        through=through,
    )  # fmt: skip


def make(
    path: Path, *, history: pl.DataFrame | None = None, overrides: pl.DataFrame | None = None
) -> Workspace:
    workflow.init(path, name="Loop", levels=("family",))
    settings = path / SETTINGS_FILE
    text = settings.read_text(encoding="utf-8")
    for before, after in (
        ("horizon = 18", f"horizon = {HORIZON}"),
        ("# mlflow = true", "mlflow = false"),
        ("# draws = 500", "draws = 100"),
        ('# sampler = "nuts"', 'sampler = "closed_form"'),
    ):
        assert before in text
        text = text.replace(before, after)
    settings.write_text(text, encoding="utf-8")
    workspace = open_workspace(path)
    items = pl.DataFrame({"unique_id": list(ITEMS), "family": list(FAMILY.values())})
    put(workspace, "items", items)
    put(workspace, "history", demand() if history is None else history)
    put(workspace, "overrides", said(CYCLES) if overrides is None else overrides)
    return workspace


@pytest.fixture(scope="session")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Nine cycles run and eight closed; tests read it and leave it as it is."""
    workspace = make(tmp_path_factory.mktemp("replayed") / "ws")
    replay(workspace, OPEN)
    return workspace


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """January to April were run, and nothing is closed; tests work on copies."""
    workspace = make(tmp_path_factory.mktemp("ran") / "ws")
    book = Book(workspace.store())
    for cycle in (JAN, FEB, MAR, APR):
        workflow.run(workspace, cycle=month_name(cycle), now=NOW, shown=False, book=book)
    return workspace


@pytest.fixture
def copy(tmp_path: Path) -> Callable[..., Workspace]:
    """A workspace to work on."""

    def copied(workspace: Workspace, name: str = "copy") -> Workspace:
        workspace.store().engine.dispose()
        shutil.copytree(workspace.path, tmp_path / name)
        return open_workspace(tmp_path / name)

    return copied


def replay(workspace: Workspace, last: date, **given: Any) -> dict[str, Any]:
    return workflow.replay(workspace, month_name(BEGIN), month_name(last), now=NOW, **given)


def close(workspace: Workspace, month: date, *, now: datetime = NOW, **given: Any) -> Any:
    return workflow.close(workspace, cycle=month_name(month), now=now, shown=False, **given)


def stored(workspace: Workspace, name: str, *, until: date | None = None) -> list[tuple[Any, ...]]:
    """Rows of a table, in order; those of runs of cycles up to one and of closes they may read."""
    table = schema.metadata.tables[name]
    query = sa.select(table)
    if until is not None:
        runs = sa.select(schema.runs.c.run_id).where(schema.runs.c.cycle <= until)
        known = schema.closes.c.known_at <= cutoff(until, cutoff_day=15)
        fits = sa.select(schema.closes.c.fit_id).where(known)
        if name in (*OF_RUNS, "model_paths", "run_log"):
            query = query.where(table.c.run_id.in_(runs))
        else:
            query = query.where(table.c.fit_id.in_(fits))
    with workspace.store().reading() as connection:
        return sorted(map(tuple, connection.execute(query).all()), key=repr)


def whole_store(
    workspace: Workspace, *, until: date | None = None, but: tuple[str, ...] = ()
) -> dict[str, list[tuple[Any, ...]]]:
    """Every table of runs and closes."""
    names = [*OF_RUNS, *OF_CLOSES, "closes", "model_paths", "run_log"]
    return {name: stored(workspace, name, until=until) for name in names if name not in but}


def learned(workspace: Workspace, name: str, fit_ids: list[str] | str) -> pl.DataFrame:
    """Rows of closes, without whose they are."""
    ids = [fit_ids] if isinstance(fit_ids, str) else fit_ids
    rows = read_learned(workspace.store(), name, ids).drop("fit_id")
    return rows.sort(pl.all())


KEY = ("ds", "cycle", "run_id", "stage", "lead", "level", "within", "measure", "source", "owner")


def added_up(scores: pl.DataFrame) -> dict[tuple[Any, ...], np.ndarray]:
    """First scores of all closes by what they are of, added."""
    rows = scores.filter(pl.col("version") == "first")
    sums = [name for name in rows.columns if name not in (*KEY, "version")]
    found: dict[tuple[Any, ...], np.ndarray] = {}
    for row in rows.iter_rows(named=True):
        key = tuple(row[name] for name in KEY)
        found[key] = found.get(key, 0.0) + np.array([float(row[name]) for name in sums])
    return found


def same_sums(left: dict[Any, np.ndarray], right: dict[Any, np.ndarray]) -> None:
    assert left.keys() == right.keys() != set()
    for key, values in left.items():
        np.testing.assert_allclose(values, right[key], rtol=1e-9, atol=1e-9, err_msg=str(key))


# Once, twice, late, and in another order


def test_closing_twice_writes_nothing(ran: Workspace, copy: Any) -> None:
    workspace = copy(ran)
    first = close(workspace, JAN)
    then = whole_store(workspace)
    again = close(workspace, JAN, now=datetime(2026, 7, 1))
    assert (first["stands"], again["stands"]) == (False, True)
    assert whole_store(workspace) == then
    same = ("fit_id", "known_at", "items", "value_added", "learning_log", "calibration", "notes")
    assert {name: again[name] for name in same} == {name: first[name] for name in same}
    assert first["items"] == len(ITEMS)
    assert first["known_at"] == "2026-02-15 23:59"


def test_another_order_of_sources_is_another_close(ran: Workspace, copy: Any) -> None:
    """The ladder of value added follows it; runs do not, and stand."""
    workspace = copy(ran)
    first = close(workspace, JAN)
    settings = workspace.path / SETTINGS_FILE
    text = settings.read_text(encoding="utf-8")
    default = '# sources = ["sales", "marketing", "finance"]'
    assert default in text
    changed = text.replace(default, 'sources = ["finance", "marketing", "sales"]')
    settings.write_text(changed, encoding="utf-8")
    workspace = open_workspace(workspace.path)
    again = close(workspace, JAN)
    assert (again["stands"], again["items"]) == (False, 0)
    assert again["fit_id"] != first["fit_id"]
    assert workflow.run(workspace, cycle="2026-01", now=NOW, shown=False)["stands"] is True


def test_a_month_may_be_closed_before_the_one_before(ran: Workspace, copy: Any) -> None:
    gap, ordered = copy(ran, "gap"), copy(ran, "ordered")
    for month in (JAN, FEB, MAR):
        close(ordered, month)
    january, march = close(gap, JAN), close(gap, MAR)
    assert march["items"] == len(ITEMS)
    of_all_leads = [row for row in march["value_added"] if (row["window"], row["lead"]) == (3, 0)]
    assert {row["months"] for row in of_all_leads} == {2}, "two of three months are scored"
    notes = workflow.run(gap, cycle="2026-04", now=NOW, shown=False)["notes"]
    named = [note for note in notes if "over and not closed" in note]
    assert [note.split(" ")[0] for note in named] == ["2026-02"], "a gap is named"
    assert named[0].endswith("nothing yet: sopforecast close --cycle 2026-02")
    late = close(gap, FEB)
    assert late["known_at"] == "2026-03-15 23:59", "it rests on what was known by then"
    again = close(gap, MAR)
    assert again["stands"] is False, "February teaches March something"
    fits = closes(gap.store())["fit_id"].to_list()
    assert fits == [january["fit_id"], march["fit_id"], late["fit_id"], again["fit_id"]]
    in_order = closes(ordered.store())["fit_id"].to_list()
    same_sums(
        added_up(learned(gap, "scores", fits)), added_up(learned(ordered, "scores", in_order))
    )
    for name in ("value_added", "calibration", "learned_widths", "learned_weights", "kpis"):
        rows = learned(gap, name, again["fit_id"])
        assert rows.equals(learned(ordered, name, in_order[-1])), name
    assert learned(gap, "scores", again["fit_id"]).is_empty(), "March is scored once"


def test_after_a_restatement_the_first_scores_stay(ran: Workspace, copy: Any) -> None:
    workspace = copy(ran)
    first = close(workspace, FEB)
    before = learned(workspace, "scores", first["fit_id"])
    [(was,)] = demand().filter(pl.col("unique_id") == "i0", pl.col("ds") == FEB).select("y").rows()
    fix = pl.DataFrame({"unique_id": ["i0"], "ds": [FEB], "y": [3 * was]})
    put(workspace, "history", fix, at=datetime(2026, 6, 2))
    second = close(workspace, FEB, now=datetime(2026, 6, 3))
    assert second["fit_id"] != first["fit_id"]
    assert (second["items"], second["restated"]) == (0, 1)
    assert second["known_at"].startswith("2026-06-03")
    assert learned(workspace, "scores", first["fit_id"]).equals(before)
    beside = learned(workspace, "scores", second["fit_id"])
    assert beside["version"].unique().to_list() == ["restated"]
    assert (
        beside.drop(*before.columns[before.columns.index("run_id") :])
        .drop("version")
        .equals(before.drop(*before.columns[before.columns.index("run_id") :]).drop("version"))
    ), "the whole month stands beside, row by row"
    of_total = (pl.col("level") == "total") & (pl.col("stage") == "naive") & (pl.col("lead") == 1)
    assert beside.filter(of_total)["actual"][0] == before.filter(of_total)["actual"][0] + 2 * was
    assert second["value_added"] == first["value_added"], "value added counts the first"
    assert learned(workspace, "calibration", second["fit_id"]).height
    assert second["calibration"] != first["calibration"], "ranges are checked against what is known"
    shown = workflow.kpi(workspace, cycle="2026-02", now=datetime(2026, 6, 4))
    assert shown["restated"]["months"] == ["2026-02"]
    load = workflow.status(workspace)["loads"][-1]["load_id"]
    workflow.undo(workspace, load, force="a wrong file")
    third = close(workspace, FEB, now=datetime(2026, 6, 5))
    assert len({first["fit_id"], second["fit_id"], third["fit_id"]}) == 3
    back = learned(workspace, "scores", third["fit_id"])
    assert back.drop("version").equals(before.drop("version"))
    assert third["learned"] == first["learned"]
    assert third["calibration"] == first["calibration"]


def test_a_cycle_that_was_never_run_leaves_a_gap_and_no_more(tmp_path: Path) -> None:
    workspace = make(tmp_path / "ws")
    for cycle in ("2026-01", "2026-03"):
        workflow.run(workspace, cycle=cycle, now=NOW, shown=False)
    fits = [close(workspace, month)["fit_id"] for month in (JAN, FEB, MAR)]
    scores = learned(workspace, "scores", fits).filter(pl.col("stage") == "statistical")
    pairs = scores.select("ds", "cycle", "lead").unique().sort("ds", "cycle").rows()
    assert pairs == [(JAN, JAN, 1), (FEB, JAN, 2), (MAR, JAN, 3), (MAR, MAR, 1)]
    [row] = [
        row for row in close(workspace, MAR)["value_added"]
        if (row["window"], row["stage"], row["lead"], row["within"]) == (12, "naive", 0, "total")
    ]  # fmt: skip
    assert (row["months"], row["cells"]) == (3, 4 * len(ITEMS))


@pytest.mark.parametrize("through", [APR, date(2026, 5, 1)], ids=["partial", "later"])
def test_an_actual_of_a_month_to_come_is_not_read(ran: Workspace, copy: Any, through: date) -> None:
    plain, early = copy(ran, "plain"), copy(ran, "early")
    rows = pl.DataFrame({"unique_id": list(ITEMS), "ds": [MAY] * 6, "y": [9999.0] * 6})
    put(early, "history", rows, at=datetime(2026, 6, 2), through=through)
    now = datetime(2026, 6, 10)
    for month in (MAR, APR):
        assert close(early, month, now=now)["fit_id"] == close(plain, month, now=now)["fit_id"]
    for name in OF_CLOSES:
        assert stored(early, name) == stored(plain, name), name
    if through == APR:
        with pytest.raises(NotNow, match="history ends in 2026-04"):
            close(early, MAY, now=now)


def test_half_the_nodes_late_is_scored_in_two_closes(tmp_path: Path) -> None:
    late = (pl.col("ds") == MAR) & pl.col("unique_id").is_in(["i3", "i4", "i5"])
    history = demand().filter(pl.col("ds") <= MAR)
    parts, whole = (
        make(tmp_path / name, history=rows)
        for name, rows in (("parts", history.filter(~late)), ("whole", history))
    )
    for workspace in (parts, whole):
        book = Book(workspace.store())
        for cycle in ("2026-02", "2026-03"):
            workflow.run(workspace, cycle=cycle, now=NOW, shown=False, book=book)
    first = close(parts, MAR)
    assert (first["items"], first["restated"]) == (3, 0)
    assert "3 items have no known figure of 2026-03 yet; sums above wait too" in first["notes"][0]
    scored = learned(parts, "scores", first["fit_id"])
    assert set(scored["level"]) == {"item", "family"}, "the total waits"
    assert set(scored.filter(pl.col("level") == "item")["within"]) == {"total", "family=A"}
    came = history.filter(late).with_columns(known_at=pl.lit(datetime(2026, 6, 2)))
    put(parts, "history", came, at=datetime(2026, 6, 2, 1))
    second = close(parts, MAR, now=datetime(2026, 6, 3))
    assert (second["items"], second["restated"], second["notes"][:-1]) == (3, 0, [])
    assert set(learned(parts, "scores", second["fit_id"])["version"]) == {"first"}
    at_once = close(whole, MAR)
    fits = [first["fit_id"], second["fit_id"]]
    of_whole = learned(whole, "scores", at_once["fit_id"])
    same_sums(added_up(learned(parts, "scores", fits)), added_up(of_whole))
    items = learned(parts, "scored_actuals", fits)
    assert items.equals(learned(whole, "scored_actuals", at_once["fit_id"]))
    together = learned(parts, "value_added", second["fit_id"])
    at_last = learned(whole, "value_added", at_once["fit_id"])
    keys = ["window", "measure", "within", "lead", "position", "stage", "months", "cells"]
    assert together.select(keys).equals(at_last.select(keys))
    np.testing.assert_allclose(
        together.select("wmape", "bias_percent").to_numpy(),
        at_last.select("wmape", "bias_percent").to_numpy(),
    )


def test_too_few_actuals_hold_the_month_with_exit_5(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    late = (pl.col("ds") == MAR) & (pl.col("unique_id") == "i3")
    history = demand().filter(pl.col("ds") <= MAR).filter(~late)
    workspace = make(tmp_path / "ws", history=history)
    workflow.run(workspace, cycle="2026-03", now=NOW, shown=False)
    before = whole_store(workspace)
    asked = ["close", "--cycle", "2026-03", "--workspace", str(workspace.path), "--require"]
    assert main([*asked, "0.95"]) == 5
    assert "83.3% of its 6 items is known" in capsys.readouterr().err
    assert whole_store(workspace) == before
    assert main([*asked, "0.8"]) == 0


def test_a_run_stored_after_its_month_was_closed_is_scored_at_the_next_close(
    tmp_path: Path,
) -> None:
    workspace = make(tmp_path / "ws", overrides=said([BEGIN]))
    for cycle in ("2026-01", "2026-03"):
        workflow.run(workspace, cycle=cycle, now=NOW, shown=False)
    first = close(workspace, MAR)
    late = workflow.run(workspace, cycle="2026-02", now=NOW, shown=False)
    again = close(workspace, MAR)
    assert again["stands"] is False
    scores = learned(workspace, "scores", again["fit_id"])
    assert scores.select("version", "run_id", "cycle", "lead").unique().rows() == [
        ("first", late["run_id"], FEB, 2)
    ]
    assert learned(workspace, "scored_actuals", again["fit_id"]).is_empty()
    in_time = make(tmp_path / "in time", overrides=said([BEGIN]))
    for cycle in ("2026-01", "2026-02", "2026-03"):
        workflow.run(in_time, cycle=cycle, now=NOW, shown=False)
    at_once = close(in_time, MAR)
    same_sums(
        added_up(learned(workspace, "scores", [first["fit_id"], again["fit_id"]])),
        added_up(learned(in_time, "scores", at_once["fit_id"])),
    )
    assert again["value_added"] == at_once["value_added"]


def test_a_close_is_mirrored_with_its_tables_and_what_the_gate_decided(
    ran: Workspace, copy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}
    monkeypatch.setattr(
        importlib.import_module("sopforecast.workflow.close"),
        "log_close",
        lambda _, **given: seen.update(given) or "a number",
    )
    monkeypatch.setenv("SOPFORECAST_ADVANCED__MLFLOW", "true")
    workspace = copy(ran)
    told = workflow.close(workspace, cycle="2026-04", now=NOW)
    assert told["mlflow_run"] == "a number"
    assert seen["cycle_run"] == dict(workflow_runs(workspace))["2026-04"]
    assert seen["close"]["rules"] == (
        "weights: backtest, widths: backtest, credibility: prior, conversion: learned"
    )
    assert {"scores", "value_added", "calibration", "contests", "learning_log"} < set(
        seen["tables"]
    )
    assert not {"enrolment_scores", "site_activation"} & set(seen["tables"]), "nothing of sites"
    numbers = seen["totals"]
    assert {"statistical/wmape", "consensus/bias_percent", "gate/widths/cycles"} < set(numbers)
    items = learned(workspace, "scores", told["fit_id"]).filter(
        pl.col("level") == "item", pl.col("within") == "total", pl.col("stage") == "statistical",
        pl.col("source") == "*",
    )  # fmt: skip
    wmape = 100 * items["absolute_error"].sum() / items["demand"].sum()
    assert numbers["statistical/wmape"] == pytest.approx(wmape)


# What a replay sees


def spoiled(cycle: date) -> dict[str, pl.DataFrame]:
    """Demand from a cycle on is another, and so is all that is said after it."""
    wrong = pl.when(pl.col("ds") >= cycle).then(7777.0).otherwise(pl.col("y"))
    words = pl.when(pl.col("entered_cycle") > cycle).then(-999.0).otherwise(pl.col("value"))
    return {
        "history": demand().with_columns(y=wrong),
        "overrides": said(CYCLES).with_columns(value=words),
    }


@pytest.mark.parametrize("cycle", [CYCLES[2], CYCLES[5], CYCLES[-1]], ids=month_name)
def test_what_became_known_later_changes_no_byte_of_a_replay(
    replayed: Workspace, tmp_path: Path, cycle: date
) -> None:
    workspace = make(tmp_path / "ws", **spoiled(cycle))
    later = datetime(2026, 5, 16)  # after every cut-off
    history = demand().filter(pl.col("ds") < cycle)
    put(workspace, "history", history.with_columns(y=pl.col("y") * 3, known_at=later))
    words = said([c for c in CYCLES if c <= cycle])
    put(workspace, "overrides", words.with_columns(value=pl.lit(500.0), known_at=later))
    replay(workspace, cycle)
    for name, rows in whole_store(replayed, until=cycle, but=("run_log", "closes")).items():
        assert rows == stored(workspace, name, until=cycle), name
        assert rows or name in ("enrolment_scores", "site_activation"), name
    log = closes(replayed.store()).filter(pl.col("known_at") <= cutoff(cycle, cutoff_day=15))
    assert log.equals(closes(workspace.store()).head(log.height))
    assert log.height == months_between(BEGIN, cycle)


def test_what_a_close_reads_shows_in_its_tables(replayed: Workspace, tmp_path: Path) -> None:
    """The comparison above can fail: of a month that is read, every table of scores is another."""
    workspace = make(tmp_path / "ws", **spoiled(CYCLES[1]))
    replay(workspace, CYCLES[2])
    for name in ("scored_actuals", "scores", "value_added", "calibration", "kpis", "credibility"):
        assert stored(workspace, name, until=CYCLES[2]) != stored(
            replayed, name, until=CYCLES[2]
        ), name


class Stopped(Exception):
    """Somebody pulled the plug."""


def test_an_interrupted_replay_gives_the_same_bytes(
    replayed: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, last = make(tmp_path / "ws"), CYCLES[4]

    def stop(_: str, share: float) -> None:
        if share > 0.3:
            raise Stopped

    with pytest.raises(Stopped):
        replay(workspace, last, on_progress=stop)
    assert closes(workspace.store()).height == 2

    def refuse(*_: Any, **__: Any) -> Any:
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(importlib.import_module("sopforecast.workflow.close"), "save_close", refuse)
        with pytest.raises(Stopped):
            replay(workspace, last)
    assert len(stored(workspace, "runs")) == 3, "a run was stored, and its month was not closed"
    replay(workspace, last)
    for name, rows in whole_store(workspace, until=last).items():
        if name == "run_log":
            continue
        assert rows == stored(replayed, name, until=last), name


def test_a_past_cycle_run_again_as_of_its_cut_off_is_the_same_run(
    replayed: Workspace, copy: Any
) -> None:
    workspace = copy(replayed)
    ids = dict(workflow_runs(workspace))
    for cycle in (CYCLES[3], CYCLES[6]):
        as_of = cutoff(cycle, cutoff_day=15).isoformat()
        again = workflow.run(workspace, cycle=month_name(cycle), as_of=as_of, now=NOW, shown=False)
        assert (again["run_id"], again["stands"]) == (ids[month_name(cycle)], True)


def workflow_runs(workspace: Workspace) -> list[tuple[str, str]]:
    return [(row["cycle"], row["run_id"]) for row in workflow.status(workspace)["runs"]]


@pytest.mark.parametrize("kept", ["all from the start", "none from cycle to cycle"])
def test_model_paths_are_a_help_and_change_no_byte(
    replayed: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: str
) -> None:
    workspace, last = make(tmp_path / "ws"), CYCLES[3]
    if kept == "all from the start":
        with replayed.store().reading() as connection:
            rows = connection.execute(sa.select(schema.model_paths)).mappings().all()
        save_paths(workspace.store(), pl.DataFrame([dict(row) for row in rows]))
    else:
        monkeypatch.setattr(Book, "known", lambda *_: KnownPaths())
    replay(workspace, last)
    assert len(stored(workspace, "model_paths")) != len(
        stored(replayed, "model_paths", until=last)
    ), "the paths of the two stores are not made alike"
    for name, rows in whole_store(workspace, until=last, but=("model_paths", "run_log")).items():
        assert rows == stored(replayed, name, until=last), name


# The numbers, again by hand


def test_scores_are_those_of_the_exported_tables_by_a_plain_loop(
    replayed: Workspace, copy: Any, tmp_path: Path
) -> None:
    workspace = copy(replayed)

    def exported(table: str, **given: Any) -> pl.DataFrame:
        file = tmp_path / "table.parquet"
        workflow.export(workspace, table, file, **given)
        return pl.read_parquet(file)

    actual = {(i, m): y for i, m, y in exported("history").select("unique_id", "ds", "y").rows()}
    scores = exported("scores").filter(
        ~pl.col("stage").is_in(["source:sales", "through:sales"]), pl.col("owner") == "*"
    )
    last = max(scores["ds"])
    found: dict[tuple[Any, ...], dict[str, float]] = {}
    for cycle_name, run_id in workflow_runs(workspace):
        cycle = date.fromisoformat(f"{cycle_name}-01")
        consensus = exported("forecasts", run_id=run_id, stage="consensus").rows(named=True)
        for stage in ("naive", "statistical", "consensus", "approved"):
            rows = consensus
            if stage in ("naive", "statistical"):
                rows = exported("forecasts", run_id=run_id, stage=stage).rows(named=True)
            for row in rows:
                if row["ds"] > last:
                    continue
                parts = ["total"]
                if row["level"] == "item":
                    parts.append(f"family={FAMILY[row['unique_id']]}")
                for within in parts:
                    key = (row["ds"], cycle, stage, row["level"], within)
                    add_cell(found.setdefault(key, {}), row, actual, cycle)
    assert scores.height == len(found)
    names = ["ds", "cycle", "stage", "level", "within"]
    for score in scores.iter_rows(named=True):
        sums = found[tuple(score[name] for name in names)]
        for name, value in sums.items():
            assert score[name] == pytest.approx(value, rel=1e-9, abs=1e-9), (score, name)


def add_cell(
    sums: dict[str, float], row: dict[str, Any], actual: dict[tuple[str, date], float], cycle: date
) -> None:
    """Add one forecast to its sums."""
    node = row["unique_id"]
    below = (
        [node] if node in ITEMS else [i for i in ITEMS if node in ("total", f"family={FAMILY[i]}")]
    )
    came = sum(actual[item, row["ds"]] for item in below)
    past = [
        sum(actual[item, month] for item in below)
        for month in month_range(FIRST, months_between(FIRST, cycle))
    ]
    apart = [abs(past[k] - past[k - 12]) for k in range(12, len(past))]
    scale = sum(apart) / len(apart)
    root = (sum(gap**2 for gap in apart) / len(apart)) ** 0.5
    off = row["plan"] - came
    cell = {
        "cells": 1, "actual": came, "forecast": row["plan"], "demand": abs(came),
        "absolute_error": abs(off), "squared_error": off**2, "scaled_error": abs(off) / scale,
        "scaled_squared": (off / root) ** 2, "ranged": 0, "inside80": 0, "wis": 0.0,
    }  # fmt: skip
    if row["p10"] is not None:
        losses = [
            max(share * (came - row[label]), (share - 1) * (came - row[label]))
            for label, share in QUANTILES
        ]
        cell |= {"ranged": 1, "inside80": int(row["p10"] <= came <= row["p90"])}
        cell["wis"] = 2 * sum(losses) / len(losses)
    for name, value in cell.items():
        sums[name] = sums.get(name, 0.0) + value


# What a run used


def test_a_run_says_what_it_had_learned_from(replayed: Workspace) -> None:
    for _, run_id in workflow_runs(replayed):
        rows = read_run_tables(replayed.store(), run_id).select("table", "procedure", "fit_id")
        assert dict(zip(rows["table"], rows["procedure"], strict=True)) == {
            "weights": "backtest", "widths": "backtest", "credibility": "prior",
            "conversion": "learned",
        }  # fmt: skip
        assert rows["fit_id"].null_count() == rows.height, "nothing has proved itself yet"


def test_what_is_adopted_is_used_from_the_next_cycle_on(replayed: Workspace, copy: Any) -> None:
    workspace = copy(replayed)
    store, ids = workspace.store(), dict(workflow_runs(workspace))
    close_row = newest_close(store)
    assert close_row is not None
    assert close_row["closed"] == APR
    fit = close_row["fit_id"]
    factor = 1.7
    widths = read_learned(store, "learned_widths", [fit]).drop("fit_id")
    assert widths.height
    of_widths = pl.col("table") == "widths"
    log = read_learned(store, "learning_log", [fit]).drop("fit_id")
    log = log.with_columns(
        decision=pl.when(of_widths).then(pl.lit("adopt")).otherwise(pl.col("decision")),
        rules=pl.when(of_widths).then(pl.lit("live")).otherwise(pl.col("rules")),
    )
    tables = {"learning_log": log}
    # Only the factors of parts: those of leads come on top.
    tables["learned_widths"] = widths.filter(~pl.col("part").str.starts_with("lead:")).with_columns(
        factor=pl.lit(factor)
    )
    forced = {name: close_row[name] for name in close_row if name != "seq"} | {
        "fit_id": "c-forced", "inputs_hash": "forced", "after": fit,
    }  # fmt: skip
    credibility = read_credibility(store, fit).drop("fit_id")
    save_close(store, close=forced, credibility=credibility, tables=tables)
    ran = workflow.run(workspace, cycle=month_name(MAY), now=NOW, shown=False)
    assert ran["stands"] is False
    assert ran["run_id"] != ids[month_name(MAY)]
    noted = {row["table"]: row for row in read_run_tables(store, ran["run_id"]).to_dicts()}
    assert (noted["widths"]["procedure"], noted["widths"]["fit_id"]) == ("live", "c-forced")
    assert (noted["weights"]["procedure"], noted["weights"]["fit_id"]) == ("backtest", None)
    loadings = {
        name: total_range(workspace, run_id)
        for name, run_id in (("before", ids[month_name(MAY)]), ("after", ran["run_id"]))
    }
    assert loadings["after"] == pytest.approx(factor * loadings["before"], rel=0.25)
    for cycle in (APR, JAN):
        then = workflow.run(workspace, cycle=month_name(cycle), now=NOW, shown=False)
        assert (then["run_id"], then["stands"]) == (ids[month_name(cycle)], True)
    came = demand(months=MONTHS + 1).filter(pl.col("ds") == MAY)
    put(workspace, "history", came, at=datetime(2026, 6, 8))
    told = close(workspace, MAY, now=datetime(2026, 6, 20))
    ruled = {row["table"]: row["ruled"] for row in told["learning_log"]}
    assert (ruled["widths"], ruled["weights"]) == ("live", "backtest")


def total_range(workspace: Workspace, run_id: str) -> float:
    """Mean width of the 80% range of the total."""
    table = schema.forecasts.c
    query = sa.select(table.p90 - table.p10).where(
        table.run_id == run_id, table.stage == "statistical", table.unique_id == "total"
    )
    with workspace.store().reading() as connection:
        widths = connection.execute(query).scalars().all()
    return float(np.mean(widths))
