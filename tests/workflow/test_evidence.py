"""What a run is given of judgement, and what changes its id."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import polars as pl
import pytest

from sopforecast import terminal, terminal_evidence, workflow
from sopforecast.planning_store.runs import read_bridge, read_forecasts, read_statements
from sopforecast.workflow.account import Account, load_account, save_account
from sopforecast.workflow.evidence import NO_EVIDENCE, living
from sopforecast.workflow.recording import run_id_of
from sopforecast.workflow.showing import moved

APR, MAY, JUN, JUL = (date(2026, month, 1) for month in (4, 5, 6, 7))


@pytest.fixture(autouse=True)
def _closed_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOPFORECAST_ADVANCED__SAMPLER", "closed_form")


def run(workspace: Any, cycle: str, bench: Any, **given: Any) -> dict[str, Any]:
    return workflow.run(workspace, cycle=cycle, now=bench.now, **given)


def test_a_run_without_overrides_is_not_touched_by_what_was_learned(
    engine: Any, make_workspace: Any, bench: Any
) -> None:
    plain = make_workspace("plain", history=bench.history())
    ran = run(plain, "2026-07", bench)
    assert engine.runs[-1]["credibility"] is None
    assert engine.runs[-1]["entered"] is None
    spoken = make_workspace("spoken", history=bench.history(), overrides=bench.overrides([MAY]))
    first = run(spoken, "2026-05", bench)
    workflow.close(spoken, cycle="2026-05", now=bench.now)
    load = workflow.status(spoken)["loads"][-1]["load_id"]
    workflow.undo(spoken, load, force="for the test")
    again = run(spoken, "2026-07", bench)
    assert again["run_id"] == ran["run_id"], "the same rows are the same run, whatever was learned"
    assert first["run_id"] != ran["run_id"]
    assert again["overrides"] == {key: [] for key in again["overrides"]}
    assert set(again["override_counts"].values()) == {0}
    assert (again["stage"], again["moved"], again["sentences"]) == ("statistical", [], [])
    assert "Overrides" not in terminal.ran(again)


@pytest.mark.usefixtures("ungated")
def test_the_run_is_given_the_fit_of_its_day_and_what_was_entered(
    engine: Any, make_workspace: Any, bench: Any
) -> None:
    workspace = make_workspace(
        history=bench.history(), overrides=bench.overrides([APR, MAY, JUN], months=3)
    )
    for cycle in ("2026-04", "2026-05"):
        run(workspace, cycle, bench)
    fits = [
        workflow.close(workspace, cycle=c, now=bench.now)["fit_id"] for c in ("2026-04", "2026-05")
    ]
    run(workspace, "2026-06", bench)
    given = engine.runs[-1]
    assert given["credibility"]["fit_id"].unique().to_list() == [fits[1]]
    assert given["entered"].select("override_id", "cycle").unique().sort(
        "cycle", "override_id"
    ).rows() == [
        ("Ann-2026-04", APR),  # still lives: what April stated of it
        ("Ann-2026-04", MAY),  # all of the cycle before
        ("Ann-2026-05", MAY),
    ]
    run(workspace, "2026-05", bench, horizon=2)
    assert engine.runs[-1]["credibility"]["fit_id"].unique().to_list() == [fits[0]]
    kept = read_statements(workspace.store(), [workflow.status(workspace)["runs"][2]["run_id"]])
    entered = dict(
        kept.unique("override_id").select("override_id", "baseline_at_entry").iter_rows()
    )
    assert entered["Ann-2026-04"] is not None
    assert entered["Ann-2026-06"] is None


def test_with_the_gate_on_a_fit_counts_only_once_it_has_proved_itself(
    engine: Any, make_workspace: Any, bench: Any
) -> None:
    workspace = make_workspace(history=bench.history(), overrides=bench.overrides([MAY, JUN, JUL]))
    run(workspace, "2026-06", bench)
    without_fit = run(workspace, "2026-07", bench)
    assert workflow.close(workspace, cycle="2026-06", now=bench.now)["learned"]
    with_fit = run(workspace, "2026-07", bench)
    assert (with_fit["run_id"], with_fit["stands"]) == (without_fit["run_id"], True)
    assert [given["credibility"] for given in engine.runs] == [None, None]


@pytest.mark.usefixtures("ungated")
def test_what_can_change_a_number_changes_the_run_id(
    engine: Any, make_workspace: Any, bench: Any
) -> None:
    workspace = make_workspace(history=bench.history(), overrides=bench.overrides([MAY, JUN, JUL]))
    run(workspace, "2026-06", bench)
    without_fit = run(workspace, "2026-07", bench)
    workflow.close(workspace, cycle="2026-06", now=bench.now)
    with_fit = run(workspace, "2026-07", bench)
    assert with_fit["run_id"] != without_fit["run_id"]
    assert run(workspace, "2026-07", bench)["stands"] is True
    run(workspace, "2026-06", bench, horizon=2)  # another run of June counts now
    other_entry = run(workspace, "2026-07", bench)
    assert other_entry["run_id"] not in (with_fit["run_id"], without_fit["run_id"])


def test_the_id_of_nobody_speaking_is_the_id_without_evidence(
    engine: Any, make_workspace: Any, bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {}

    def remembered(inputs: Any, settings: Any, evidence: Any, champions: Any) -> str:
        seen["ids"] = (
            run_id_of(inputs, settings, evidence, champions),
            run_id_of(inputs, settings),
        )
        seen["evidence"] = evidence
        return seen["ids"][0]

    monkeypatch.setattr("sopforecast.workflow.month.run_id_of", remembered)
    run(make_workspace(history=bench.history()), "2026-07", bench)
    assert seen["evidence"] is NO_EVIDENCE
    assert seen["ids"][0] == seen["ids"][1]


def test_what_is_stored_and_told(engine: Any, make_workspace: Any, bench: Any) -> None:
    both = pl.concat([bench.overrides([JUL]), bench.overrides([JUL], owner="Bob", months=1)])
    workspace = make_workspace(history=bench.history(), overrides=both)
    ran = run(workspace, "2026-07", bench)
    store, run_id = workspace.store(), ran["run_id"]
    assert read_statements(store, [run_id]).height == 3
    steps = read_bridge(store, run_id).group_by("ds", maintain_order=True).agg("step", "change")
    assert steps["step"][0].to_list() == ["statistical", "source:sales", "source:supply"]
    assert [row[1:] for row in steps["change"].to_list()] == [[20, -15], [20, 0], [0, 0]]
    assert ran["stage"] == "consensus"
    total = read_forecasts(store, run_id, "consensus").filter(pl.col("unique_id") == "total")
    assert ran["headline"]["totals"][0]["plan"] == total["plan"][0]
    assert ran["moved"] == [
        {"step": "source:sales", "change": 40.0, "months": 2},
        {"step": "source:supply", "change": -15.0, "months": 1},
    ]
    assert ran["override_counts"]["new"] == 2
    said = terminal.ran(ran)
    assert "New: 2 overrides\n  Ann said Ann-2026-07\n  Bob said Bob-2026-07" in said
    assert "Moved the plan: sales +40 over 2 months; supply −15 over 1 month" in said
    assert "  a sentence" in said
    assert run(workspace, "2026-07", bench)["overrides"] == ran["overrides"], "told again"


def test_many_overrides_are_told_in_a_handful_of_lines() -> None:
    told: dict[str, list[str]] = {key: [] for key, _ in terminal_evidence.GROUPS}
    result = {
        "overrides": told | {"carried": [f"line {n}" for n in range(12)], "in_history": ["once"]},
        "moved": [],
        "sentences": [],
    }
    assert terminal_evidence.overrides_of_run(result) == [
        "", "Overrides", "Carried over: 12 overrides", *(f"  line {n}" for n in range(5)),
        "  and 7 more", "Already in the history?: 1 override", "  once", "",
    ]  # fmt: skip


def test_a_bridge_of_nobody_moves_nothing(engine: Any, make_workspace: Any, bench: Any) -> None:
    workspace = make_workspace(history=bench.history())
    assert moved(read_bridge(workspace.store(), "r-none")) == []


def test_who_lives_in_a_cycle(bench: Any) -> None:
    rows = bench.overrides([APR, MAY, JUN, JUL], months=2).with_columns(
        expires_cycle=pl.lit(None, dtype=pl.Date)
    )
    assert living(rows, JUN)["override_id"].to_list() == ["Ann-2026-05", "Ann-2026-06"]
    expiring = rows.with_columns(expires_cycle=pl.lit(JUN))
    assert living(expiring, JUN).is_empty()
    assert living(rows.with_columns(status=pl.lit("withdrawn")), JUN).is_empty()


def test_an_account_keeps_what_was_told_and_an_older_one_told_nothing(tmp_path: Any) -> None:
    account = Account(told={"new": ("a", "b"), "carried": ()})
    save_account(tmp_path / "a.json", account)
    assert load_account(tmp_path / "a.json").told == account.told
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    (tmp_path / "a.json").write_text(text.replace('"told"', '"told_otherwise"'), encoding="utf-8")
    assert load_account(tmp_path / "a.json").told == {}


def test_a_replayed_run_writes_no_page(engine: Any, make_workspace: Any, bench: Any) -> None:
    workspace = make_workspace(history=bench.history())
    ran = workflow.run(workspace, cycle="2026-07", now=datetime(2026, 8, 3), shown=False)
    folder = workspace.out(JUL)
    assert [path.name for path in folder.iterdir()] == [f"{ran['run_id']}.json"]
    assert (ran["page"], ran["mlflow_run"]) == (None, None)
