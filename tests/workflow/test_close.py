"""Closing a month: what counts, what is refused, what is written once."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import polars as pl
import pytest

from sopforecast import terminal_evidence, workflow
from sopforecast.errors import NotNow, RequestError
from sopforecast.planning_store.learned import closes, newest_close, read_credibility
from sopforecast.planning_store.runs import read_statements

MAY, JUN, JUL = date(2026, 5, 1), date(2026, 6, 1), date(2026, 7, 1)


@pytest.fixture
def closed_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOPFORECAST_ADVANCED__SAMPLER", "closed_form")
    monkeypatch.setenv("SOPFORECAST_ADVANCED__MIN_CLOSED", "2")


@pytest.fixture
def lived(engine: Any, make_workspace: Any, bench: Any, closed_form: None) -> Any:
    """May and June were run with an override of Ann's each."""
    workspace = make_workspace(history=bench.history(), overrides=bench.overrides([MAY, JUN]))
    for cycle in ("2026-05", "2026-06"):
        workflow.run(workspace, cycle=cycle, now=bench.now)
    return workspace


def test_what_was_said_is_weighed_against_what_came(lived: Any, bench: Any) -> None:
    told = workflow.close(lived, cycle="2026-06", now=bench.now)
    # baseline: mean of the last three months; the sum rises by 3 a month, so it is 6 behind at
    # lead 1 and 9 at lead 2; d = 4 each. May's override covers May and June, June's one June.
    weight = (0.6 * 4 + 0.9 * 4 + 0.6 * 4) / (3 * 16)
    assert (told["scored"], told["fresh"], told["opinions"], told["waiting"]) == (3, 2, 2, 0)
    [row] = told["learned"]
    assert row["weight"] == pytest.approx(weight)
    assert (row["low"], row["high"]) == pytest.approx((weight - 0.1, weight + 0.1))
    assert (row["source"], row["owner"], row["direction"], row["n"]) == ("sales", "Ann", "up", 2)
    assert row["prior_only"] is False
    assert told["stands"] is False
    said = terminal_evidence.closed(told)
    assert "2026-06 is closed: 0 items scored\n2 statements of this month, 3 in all" in said
    assert f"{weight:.2f}  {weight - 0.1:.2f} to {weight + 0.1:.2f}" in said
    assert "prior only" not in said
    assert "Note: looked at closely" in said


def test_below_min_closed_everybody_counts_the_same(
    lived: Any, bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = workflow.close(lived, cycle="2026-05", now=bench.now)
    assert [row["prior_only"] for row in told["learned"]] == [True]
    said = terminal_evidence.closed(told)
    assert "prior only" in said
    assert "fewer than 2 closed overrides" in said


def test_closing_twice_changes_nothing(lived: Any, bench: Any, engine: Any) -> None:
    first = workflow.close(lived, cycle="2026-06", now=bench.now)
    again = workflow.close(lived, cycle="2026-06", now=datetime(2026, 9, 1))
    assert len(engine.closes) == 1, "what stands is not learned again"
    assert again["stands"] is True
    same = ("fit_id", "learned", "scored", "fresh", "opinions", "waiting", "known_at", "notes")
    assert {name: again[name] for name in same} == {name: first[name] for name in same}
    assert closes(lived.store()).height == 1
    assert "was closed from the same inputs before" in terminal_evidence.closed(again)


@pytest.mark.usefixtures("ungated")
def test_a_restatement_is_a_new_fit_and_so_is_its_undo(lived: Any, bench: Any, engine: Any) -> None:
    first = workflow.close(lived, cycle="2026-06", now=bench.now)
    fix = pl.DataFrame({"unique_id": ["A"], "ds": [JUN], "y": [500.0]})
    bench.put(lived, "history", fix, at=datetime(2026, 8, 4))
    second = workflow.close(lived, cycle="2026-06", now=datetime(2026, 8, 5))
    assert second["fit_id"] != first["fit_id"]
    assert second["learned"] != first["learned"]
    assert second["known_at"].startswith("2026-08-05"), "nobody knew it in July"
    assert "cut-off 2026-07-15 of cycle 2026-07" in second["notes"][-1]
    assert (
        newest_close(lived.store(), before=JUL, known_by=datetime(2026, 7, 16))["fit_id"]
        == first["fit_id"]
    )
    load = workflow.status(lived)["loads"][-1]["load_id"]
    bench.put(lived, "overrides", bench.overrides([JUL]), at=datetime(2026, 8, 5, 1))
    workflow.run(lived, cycle="2026-07", now=datetime(2026, 8, 5, 2))
    assert engine.runs[-1]["credibility"]["fit_id"].unique().to_list() == [first["fit_id"]]
    workflow.undo(lived, load)
    third = workflow.close(lived, cycle="2026-06", now=datetime(2026, 8, 6))
    assert (third["stands"], len(engine.closes)) == (False, 3)
    assert len({told["fit_id"] for told in (first, second, third)}) == 3, "each came after another"
    same = ("learned", "scored", "fresh", "opinions", "waiting")
    assert {name: third[name] for name in same} == {name: first[name] for name in same}


def test_a_restatement_that_changes_no_observation_is_a_new_fit_of_the_same_numbers(
    lived: Any, bench: Any, engine: Any
) -> None:
    first = workflow.close(lived, cycle="2026-06", now=bench.now)
    old = pl.DataFrame({"unique_id": ["A"], "ds": [date(2024, 3, 1)], "y": [500.0]})
    bench.put(lived, "history", old, at=datetime(2026, 8, 4))
    again = workflow.close(lived, cycle="2026-06", now=datetime(2026, 8, 5))
    assert len(engine.closes) == 2
    assert again["fit_id"] != first["fit_id"]
    assert again["learned"] == first["learned"]
    assert closes(lived.store()).height == 2


@pytest.mark.usefixtures("ungated")
def test_a_month_closed_late_may_be_read_from_the_cut_off_by_which_all_was_known(
    lived: Any, bench: Any, engine: Any
) -> None:
    told = workflow.close(lived, cycle="2026-06", now=bench.now)
    assert told["known_at"] == "2026-07-15 23:59"
    assert len(told["notes"]) == 1, "no note that it came too late"
    bench.put(lived, "overrides", bench.overrides([JUL]))
    ran = workflow.run(lived, cycle="2026-07", now=bench.now)
    assert engine.runs[-1]["credibility"]["fit_id"].unique().to_list() == [told["fit_id"]]
    named = [note.split(" ")[0] for note in ran["notes"] if "not closed" in note]
    assert named == ["2026-05"], "June is closed, and May was never"


def test_the_method_is_part_of_a_fit(lived: Any, bench: Any, engine: Any) -> None:
    first = workflow.close(lived, cycle="2026-05", now=bench.now)
    nuts = workflow.close(lived, cycle="2026-05", method="nuts", now=bench.now)
    assert nuts["fit_id"] != first["fit_id"]
    workflow.close(lived, cycle="2026-06", method="nuts", now=bench.now)
    given = engine.closes[-1]["last_good"]
    assert given["fit_id"].unique().to_list() == [nuts["fit_id"]]
    assert engine.closes[0]["last_good"] is None


def test_the_published_run_counts(lived: Any, bench: Any, engine: Any) -> None:
    june = workflow.status(lived)["runs"][-1]["run_id"]
    other = workflow.run(lived, cycle="2026-06", horizon=2, now=bench.now)["run_id"]
    workflow.publish(lived, cycle="2026-06", run_id=june, now=datetime(2026, 6, 20))
    workflow.close(lived, cycle="2026-06", now=bench.now)
    counted = read_statements(lived.store(), [june]).height
    assert counted == 2 + 1
    workflow.publish(lived, cycle="2026-06", run_id=other, now=datetime(2026, 8, 4))
    again = workflow.close(lived, cycle="2026-06", now=datetime(2026, 8, 5))
    assert again["stands"] is False, "another run counts now"


def test_a_month_without_runs_says_so_and_stores_nothing(
    engine: Any, make_workspace: Any, bench: Any, closed_form: None
) -> None:
    workspace = make_workspace(history=bench.history())
    workflow.run(workspace, cycle="2026-05", now=bench.now)
    told = workflow.close(workspace, cycle="2026-04", now=bench.now)
    assert told["fit_id"] is None
    assert "no run of 2026-04 or before is stored" in terminal_evidence.closed(told)
    assert closes(workspace.store()).is_empty()
    assert not engine.closes


def test_a_month_with_runs_of_which_nobody_spoke_is_closed_too(
    engine: Any, make_workspace: Any, bench: Any, closed_form: None
) -> None:
    workspace = make_workspace(history=bench.history())
    workflow.run(workspace, cycle="2026-05", now=bench.now)
    told = workflow.close(workspace, cycle="2026-05", now=bench.now)
    assert (told["scored"], told["fresh"], told["opinions"], told["learned"]) == (0, 0, 0, [])
    said = terminal_evidence.closed(told)
    assert "2026-05 is closed" in said
    assert "0 statements of this month, 0 in all, of 0 overrides" in said
    assert f"Fit {told['fit_id']} (closed_form), known by 2026-06-15" in said
    assert closes(workspace.store())["fit_id"].to_list() == [told["fit_id"]]
    assert workflow.run(workspace, cycle="2026-06", now=bench.now)["notes"] == []


def test_a_month_that_is_not_over_is_not_now(lived: Any, bench: Any) -> None:
    with pytest.raises(NotNow, match=r"history ends in 2026-06. Load history through 2026-07"):
        workflow.close(lived, cycle="2026-07", now=bench.now)
    with pytest.raises(NotNow, match="by 2026-07-04 complete history ends in 2026-05"):
        workflow.close(lived, cycle="2026-06", as_of="2026-07-04", now=bench.now)
    with pytest.raises(RequestError, match="allowed: closed_form, nuts"):
        workflow.close(lived, cycle="2026-06", method="guess", now=bench.now)
    with pytest.raises(RequestError, match="a share from 0 to 1"):
        workflow.close(lived, cycle="2026-06", require=95.0, now=bench.now)
    assert closes(lived.store()).is_empty()


def test_what_is_not_known_waits_or_holds_the_close(lived: Any, bench: Any) -> None:
    gone = pl.DataFrame(
        {"unique_id": ["B"], "ds": [JUN], "y": [None]}, schema_overrides={"y": pl.Float64}
    )
    bench.put(lived, "history", gone, at=datetime(2026, 8, 4))
    now = datetime(2026, 8, 5)
    with pytest.raises(
        NotNow, match=r"50.0% of its 2 items is known .* asks for 95.0%; missing: B"
    ):
        workflow.close(lived, cycle="2026-06", require=0.95, now=now)
    assert closes(lived.store()).is_empty()
    told = workflow.close(lived, cycle="2026-06", require=0.5, now=now)
    assert (told["scored"], told["fresh"], told["waiting"]) == (1, 0, 2)
    assert "2 statements wait" in terminal_evidence.closed(told)


def test_earlier_months_that_are_not_closed_are_named(lived: Any, bench: Any) -> None:
    notes = workflow.run(lived, cycle="2026-07", now=bench.now)["notes"]
    assert "2 months, 2026-05 to 2026-06, are over and not closed" in notes[-1]
    assert notes[-1].endswith("oldest first: sopforecast close --cycle 2026-05")
    [row] = [
        r for r in workflow.check(lived, now=bench.now)["checks"] if r["check"] == "months_closed"
    ]
    assert (row["status"], row["rows"]) == ("warning", 2)
    workflow.close(lived, cycle="2026-05", now=bench.now)
    notes = workflow.run(lived, cycle="2026-07", now=bench.now)["notes"]
    assert notes[-1].startswith("2026-06 is over and not closed")
    workflow.close(lived, cycle="2026-06", now=bench.now)
    assert workflow.run(lived, cycle="2026-07", now=bench.now)["notes"] == []
    assert "months_closed" not in {
        r["check"] for r in workflow.check(lived, now=bench.now)["checks"]
    }


def test_status_tells_who_lives_and_what_is_closed(lived: Any, bench: Any) -> None:
    told = workflow.status(lived)
    assert told["overrides"] == {"total": 2, "living": 1, "cycle": "2026-07"}
    assert told["closed"] is None
    fit = workflow.close(lived, cycle="2026-06", now=bench.now)["fit_id"]
    told = workflow.status(lived)
    assert (told["closed"]["cycle"], told["closed"]["fit_id"]) == ("2026-06", fit)
    said = "\n".join(terminal_evidence.judged(told))
    assert "Overrides: 1 living in cycle 2026-07, 2 in all" in said
    assert f"Closed up to 2026-06: fit {fit} (closed_form), 3 statements of 2 overrides" in said


def test_what_was_learned_can_be_taken_away(lived: Any, bench: Any, tmp_path: Any) -> None:
    with pytest.raises(RequestError, match="nothing had been closed"):
        workflow.export(lived, "credibility", tmp_path / "c.parquet")
    may = workflow.close(lived, cycle="2026-05", now=bench.now)["fit_id"]
    june = workflow.close(lived, cycle="2026-06", now=bench.now)["fit_id"]
    told = workflow.export(lived, "credibility", tmp_path / "c.parquet")
    assert (told["fit_id"], told["cycle"], told["run_id"]) == (june, "2026-06", None)
    rows = pl.read_parquet(tmp_path / "c.parquet")
    assert rows.height == read_credibility(lived.store(), june).height == 2
    told = workflow.export(lived, "credibility", tmp_path / "c.parquet", cycle="2026-06")
    assert told["fit_id"] == may, "what June had learned is May"
    with pytest.raises(RequestError, match="by the cut-off of cycle 2026-05"):
        workflow.export(lived, "credibility", tmp_path / "c.parquet", cycle="2026-05")
    workflow.export(lived, "closed", tmp_path / "o.parquet")
    rows = pl.read_parquet(tmp_path / "o.parquet")
    assert rows["override_id"].to_list() == ["Ann-2026-05", "Ann-2026-05", "Ann-2026-06"]
    sums = dict(bench.history().group_by("ds").agg(pl.col("y").sum()).iter_rows())
    assert rows["actual"].to_list() == pytest.approx([sums[m] for m in rows["ds_to"]])


def test_a_run_s_statements_and_bridge_can_be_taken_away(
    lived: Any, bench: Any, tmp_path: Any
) -> None:
    for table, rows in (("statements", 3), ("bridge", 6)):
        told = workflow.export(lived, table, tmp_path / "t.csv", run_id="latest")
        assert (told["rows"], told["cycle"]) == (rows, "2026-06")
    told = workflow.export(
        lived, "forecasts", tmp_path / "f.parquet", run_id="latest", stage="source:sales"
    )
    assert told["stage"] == "source:sales"
    assert set(pl.read_parquet(tmp_path / "f.parquet")["unique_id"]) == {"A", "B", "total"}
    with pytest.raises(
        RequestError, match="known: naive, statistical, consensus, approved, source:NAME"
    ):
        workflow.export(lived, "forecasts", tmp_path / "f.csv", run_id="latest", stage="sales")
