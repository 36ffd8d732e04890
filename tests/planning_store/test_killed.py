"""kill -9 at every statement of a write, and publishers who race: the store stays whole.

The children run in ``child.py``: real processes, killed by SIGKILL, on a store on disk.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import sqlalchemy as sa

from sopforecast.errors import LostRace
from sopforecast.planning_store import schema
from sopforecast.planning_store.learned import newest_close
from sopforecast.planning_store.loading import append_load
from sopforecast.planning_store.publish import publications, publish, standing
from sopforecast.planning_store.runs import save_run
from sopforecast.planning_store.store import Store

DEC = date(2026, 12, 1)
KILLED = -signal.SIGKILL
Ask = Callable[[str], list[int]]


@pytest.fixture
def ready(store: Store, run_parts: Callable[..., dict[str, Any]]) -> Store:
    """Five runs, the first of them published."""
    for number in range(1, 6):
        save_run(store, **run_parts(f"r{number}", shift=float(number)))
    publish(store, cycle=DEC, run_id="r1", by="ann", at=run_parts("r1")["run"]["created_at"])
    return store


@pytest.fixture
def ask(
    ready: Store, store_url: str, tmp_path: Path, run_parts: Any, close_parts: Any
) -> Iterator[Ask]:
    """Send one command to the child process; returns exit statuses."""
    parts = run_parts("r9", shift=9.0)
    for name in schema.OUTPUTS:
        parts[name].write_ipc(tmp_path / f"{name}.arrow")
    (tmp_path / "run.json").write_text(
        json.dumps(parts["run"], default=lambda day: day.isoformat())
    )
    fit = close_parts("c9")
    fit["credibility"].write_ipc(tmp_path / "credibility.fit")
    (tmp_path / "close.json").write_text(
        json.dumps(fit["close"], default=lambda day: day.isoformat())
    )
    child = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("child.py")), store_url, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def send(command: str) -> list[int]:
        child.stdin.write(command + "\n")
        child.stdin.flush()
        return [int(status) for status in child.stdout.readline().split()]

    yield send
    child.communicate(timeout=60)


def everything(store: Store) -> dict[str, list[Any]]:
    """Every row of every table, each table in one snapshot."""
    with store.reading() as connection:
        return {
            name: sorted(connection.execute(sa.select(table)).all(), key=repr)
            for name, table in schema.metadata.tables.items()
        }


def killed_at_every_statement(ask: Ask, step: str, store: Store) -> Iterator[dict[str, list[Any]]]:
    """What is in the store after a kill at the first, second, ... statement, until none is left."""
    for last in range(1, 400):
        [status] = ask(f"{step} {last}")
        yield everything(store)
        if status != KILLED:
            assert status == 0
            return
    raise AssertionError(f"{step} never came to its end")


def test_a_killed_publish_leaves_the_old_plan_or_the_new_one(ready: Store, ask: Ask) -> None:
    before = everything(ready)
    states = list(killed_at_every_statement(ask, "publish", ready))
    assert len(states) > 10  # the statements of one publish
    moved = [state != before for state in states]
    assert moved[-3:] == [False, True, True]  # killed before COMMIT; after it; repeated: a no-op
    assert not any(moved[:-2])
    assert states[-1] == states[-2]
    pointer = standing(ready, DEC)
    assert (pointer["version"], pointer["run_id"], pointer["replaced_run"]) == (2, "r2", "r1")


def test_a_killed_run_leaves_nothing_and_a_rerun_writes_it_whole(ready: Store, ask: Ask) -> None:
    before = everything(ready)
    states = list(killed_at_every_statement(ask, "save", ready))
    rows = sum(len(states[-1][name]) - len(before[name]) for name in before)
    assert rows == 1 + 1 + 8 + 2 + 2 + 1 + 3 + 3 + 4 + 1 + 2 + 2 + 1
    # runs, run_log, forecasts, components, paths, weights, statements, bridge, and of the clinic
    # enrolment, conversion, parameters
    assert len(states) > rows  # every row was a place to die at
    moved = [state != before for state in states]
    assert moved[-3:] == [False, True, True]
    assert not any(moved[:-2])
    assert states[-1] == states[-2]


def test_a_killed_load_leaves_nothing_of_it(ready: Store, ask: Ask) -> None:
    frame = pl.DataFrame({"unique_id": ["A", "B"], "ds": [DEC, DEC], "y": [1.0, 2.0]})
    at = datetime(2027, 1, 7)
    append_load(ready, "history", frame, file="e", file_hash="e", loaded_by="ann", loaded_at=at)
    before = everything(ready)
    states = list(killed_at_every_statement(ask, "load", ready))
    moved = [state != before for state in states]
    assert moved[-3:] == [False, True, True]
    assert not any(moved[:-2])
    assert states[-1] == states[-2]
    with ready.reading() as connection:
        rows = connection.execute(sa.select(schema.history.c["unique_id", "retracted"])).all()
    assert sorted(rows) == [("A", False), ("B", False), ("B", True), ("C", False)]


def test_a_killed_close_leaves_nothing_and_a_rerun_writes_it_whole(ready: Store, ask: Ask) -> None:
    before = everything(ready)
    states = list(killed_at_every_statement(ask, "close", ready))
    rows = sum(len(states[-1][name]) - len(before[name]) for name in before)
    assert rows == 2 + 1  # credibility, closes
    assert len(states) > rows
    moved = [state != before for state in states]
    assert moved[-3:] == [False, True, True]
    assert not any(moved[:-2])
    assert states[-1] == states[-2]
    assert newest_close(ready)["fit_id"] == "c9"


def test_of_four_who_race_one_wins(ready: Store, ask: Ask) -> None:
    statuses = ask("race 4")
    assert sorted(statuses) == [0, LostRace.exit_code, LostRace.exit_code, LostRace.exit_code]
    rows = publications(ready)
    assert rows["version"].to_list() == [1, 2]
    assert rows["run_id"][1] == f"r{2 + statuses.index(0)}"
    assert rows.filter(pl.col("version") == 2)["replaced_run"].to_list() == ["r1"]
