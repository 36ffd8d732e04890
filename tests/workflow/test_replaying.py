"""A replay sees what would have been seen: nothing later, and nothing twice."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import polars as pl
import pytest
import sqlalchemy as sa

from sopforecast import terminal_evidence, workflow
from sopforecast.core.months import cutoff, month_range
from sopforecast.errors import NotNow, RequestError
from sopforecast.planning_store import schema

JAN, APR, MAY = date(2026, 1, 1), date(2026, 4, 1), date(2026, 5, 1)
CYCLES = month_range(JAN, 7)


@pytest.fixture
def company(engine: Any, make_workspace: Any, bench: Any) -> Any:
    said = pl.concat([bench.overrides(CYCLES), bench.overrides(CYCLES[2:], owner="Bob", months=1)])
    return lambda name="ws", **rows: make_workspace(
        name, **{"history": bench.history(), "overrides": said} | rows
    )


def rows_of(workspace: Any, name: str, *, until: date) -> list[Any]:
    """Rows of a table that belong to cycles up to one, or were known by its cut-off."""
    table = schema.metadata.tables[name]
    runs = sa.select(schema.runs.c.run_id).where(schema.runs.c.cycle <= until)
    query = sa.select(table)
    if name == "credibility":
        query = query.where(table.c.known_at <= cutoff(until, cutoff_day=15))
    else:
        query = query.where(table.c.run_id.in_(runs))
    with workspace.store().reading() as connection:
        return sorted(map(tuple, connection.execute(query).all()), key=repr)


TABLES = ("statements", "bridge", "forecasts", "credibility")


@pytest.mark.usefixtures("ungated")
def test_each_cycle_is_run_and_closed_before_the_next(
    company: Any, engine: Any, bench: Any
) -> None:
    workspace = company()
    told = workflow.replay(workspace, "2026-01", "2026-07", now=bench.now)
    assert [row["cycle"] for row in told["cycles"]] == [f"2026-0{month}" for month in range(1, 8)]
    assert [row["is_closed"] for row in told["cycles"]] == [True] * 6 + [False]
    assert [row["overrides"] for row in told["cycles"]] == [1, 2, 3, 3, 3, 3, 3]
    assert [row["fresh"] for row in told["cycles"]][:6] == [1, 2, 3, 3, 3, 3]
    assert {given["method"] for given in engine.closes} == {"closed_form"}
    newest = [given["credibility"] for given in engine.runs]
    assert newest[0] is None
    closed = [frame["closed"].unique().to_list() for frame in newest[1:]]
    assert closed == [[month] for month in CYCLES[:6]], "each reads what the one before taught"
    last = max(given["history"]["ds"].max() for given in engine.runs)
    assert last == date(2026, 6, 1)
    assert told["closed"]["cycle"] == "2026-06"
    said = terminal_evidence.replayed(told)
    assert "2026-07  run" in said
    assert "not over yet" in said
    assert "Learned up to 2026-06" in said
    assert not list((workspace.path / "out").rglob("review.html"))


def test_the_runs_are_those_that_would_have_been_made(company: Any, bench: Any) -> None:
    """By hand, month by month, on the days of the cut-offs: the same ids."""
    workspace = company("replayed")
    told = workflow.replay(workspace, "2026-01", "2026-04", now=bench.now)
    by_hand = company("by hand")
    for row, cycle in zip(told["cycles"], CYCLES, strict=False):
        ran = workflow.run(by_hand, cycle=row["cycle"], now=bench.now)
        assert ran["run_id"] == row["run_id"], cycle
        workflow.close(by_hand, cycle=row["cycle"], method="closed_form", now=bench.now)
    for name in TABLES:
        assert rows_of(workspace, name, until=APR) == rows_of(by_hand, name, until=APR) != []


def test_nothing_known_later_changes_a_byte(company: Any, bench: Any) -> None:
    """April's cut-off is 15 April: demand of April on, and what is said from May on, is later."""
    later = pl.concat(
        [
            bench.overrides(CYCLES[:4]),
            bench.overrides(CYCLES[2:4], owner="Bob", months=1),
            bench.overrides(CYCLES[4:]).with_columns(value=pl.lit(9999.0)),
            bench.overrides([MAY]).with_columns(
                override_id=pl.lit("X"), owner=pl.lit("Cyd"), ds_from=pl.lit(APR)
            ),
        ]
    )
    plain, spoiled = (
        company("plain"),
        company("spoiled", history=bench.history(spoiled_from=APR), overrides=later),
    )
    bench.put(
        spoiled,
        "overrides",
        bench.overrides([JAN]).with_columns(value=pl.lit(-1.0)),
        at=datetime(2026, 8, 3, 1),
    )  # a second version of what January said, known in August
    restated = bench.history(spoiled_from=JAN).filter(pl.col("ds") >= JAN)
    bench.put(spoiled, "history", restated, at=datetime(2026, 8, 3, 2))  # and of its demand
    for workspace in (plain, spoiled):
        workflow.replay(workspace, "2026-01", "2026-06", now=datetime(2026, 8, 4))
    for name in TABLES:
        assert rows_of(plain, name, until=APR) == rows_of(spoiled, name, until=APR) != []
        assert rows_of(plain, name, until=MAY) != rows_of(spoiled, name, until=MAY)


def test_what_stands_is_not_computed_again(company: Any, engine: Any, bench: Any) -> None:
    workspace = company()
    workflow.replay(workspace, "2026-01", "2026-03", now=bench.now)
    counts = len(engine.runs), len(engine.closes)
    assert counts == (3, 3)
    told = workflow.replay(workspace, "2026-01", "2026-04", now=bench.now)
    assert (len(engine.runs), len(engine.closes)) == (4, 4)
    assert [row["stands"] for row in told["cycles"]] == [True, True, True, False]
    again = workflow.replay(workspace, "2026-01", "2026-04", now=bench.now)
    assert (len(engine.runs), len(engine.closes)) == (4, 4)
    assert [row["fit_id"] for row in again["cycles"]] == [row["fit_id"] for row in told["cycles"]]


def test_an_interrupted_replay_goes_on_where_it_stopped(
    company: Any, engine: Any, bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, close_cycle = company(), engine.close_cycle

    def interrupted(*rows: Any, closed: date, **given: Any) -> Any:
        if closed == date(2026, 3, 1):
            raise KeyboardInterrupt
        return close_cycle(*rows, closed=closed, **given)

    with monkeypatch.context() as patch:
        patch.setattr("sopforecast.cycle.close_cycle", interrupted, raising=False)
        with pytest.raises(KeyboardInterrupt):
            workflow.replay(workspace, "2026-01", "2026-04", now=bench.now)
    assert len(engine.runs) == 3
    workflow.replay(workspace, "2026-01", "2026-04", now=bench.now)
    whole = company("whole")
    workflow.replay(whole, "2026-01", "2026-04", now=bench.now)
    for name in TABLES:
        assert rows_of(workspace, name, until=APR) == rows_of(whole, name, until=APR)


def test_months_that_cannot_be_replayed_are_named_before_anything_is_run(
    company: Any, engine: Any, bench: Any, make_workspace: Any
) -> None:
    workspace = company()
    with pytest.raises(RequestError, match="found --from 2026-05 after --to 2026-04"):
        workflow.replay(workspace, "2026-05", "2026-04", now=bench.now)
    with pytest.raises(RequestError, match="the first cycle it can replay is 2024-02"):
        workflow.replay(workspace, "2024-01", "2026-04", now=bench.now)
    with pytest.raises(NotNow, match="the last cycle it can replay is 2026-07"):
        workflow.replay(workspace, "2026-05", "2026-08", now=bench.now)
    with pytest.raises(RequestError, match="load some first"):
        workflow.replay(make_workspace("empty"), "2026-05", "2026-06", now=bench.now)
    assert not engine.runs
