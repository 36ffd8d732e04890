"""A process that writes to a store and dies, or races others; driven by test_killed.

Reads one command a line on standard input and forks for each, so that libraries are imported once:
``publish N``, ``save N``, ``close N`` or ``load N`` carries the step out and kills itself (SIGKILL)
at the N-th statement that reaches the database; ``race 4`` lets four children publish at once.
Answers with one line: the exit statuses.

sopforecast itself is imported after the fork: what it declares starts threads of Polars, and
threads do not live through a fork. A child that hangs ends by SIGALRM.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any

import dataframely  # noqa: F401 (imported before the fork to be quick)
import polars as pl
import sqlalchemy as sa

PATIENCE_SECONDS = 60
CYCLE = date(2026, 12, 1)


class Fuse:
    """Counts what reaches the database and kills the process at the chosen count."""

    def __init__(self, last: int) -> None:
        self.left = last

    def tick(self, *_: Any, **__: Any) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self, engine: sa.Engine) -> None:
        """SQLite tells of every statement, each row and COMMIT included; psycopg is wrapped."""
        if engine.dialect.name == "sqlite":
            sa.event.listen(
                engine, "connect", lambda raw, _: raw.set_trace_callback(self.tick), insert=True
            )
            return
        import psycopg

        sa.event.listen(engine, "before_cursor_execute", self.tick)
        sa.event.listen(engine, "commit", self.tick)
        write_row = psycopg.Copy.write_row

        def counted(copy: Any, row: Any) -> None:
            self.tick()
            write_row(copy, row)

        psycopg.Copy.write_row = counted


def forked(work: Callable[[], None]) -> int:
    """Start the work in a process of its own; returns its id."""
    child = os.fork()
    if child:
        return child
    signal.alarm(PATIENCE_SECONDS)
    status = 1
    try:
        work()
        status = 0
    except BaseException as err:
        status = getattr(err, "exit_code", 1)
        if status == 1:
            traceback.print_exc()
        raise
    finally:
        os._exit(status)


def read_parts(folder: Path) -> dict[str, Any]:
    """Arguments of save_run, as test_killed wrote them."""
    run = json.loads((folder / "run.json").read_text())
    for name in ("known_by", "created_at"):
        run[name] = datetime.fromisoformat(run[name])
    run["cycle"] = date.fromisoformat(run["cycle"])
    frames = {path.stem: pl.read_ipc(path) for path in folder.glob("*.arrow")}
    return frames | {"run": run, "loads_used": []}


def write(url: str, step: str, folder: Path, last: int) -> None:
    from sopforecast.planning_store.learned import save_close
    from sopforecast.planning_store.loading import append_load
    from sopforecast.planning_store.publish import publish
    from sopforecast.planning_store.runs import save_run
    from sopforecast.planning_store.store import open_store

    fuse = Fuse(last)
    store = open_store(url)
    store.close()
    fuse.watch(store.engine)
    if step == "publish":
        publish(store, cycle=CYCLE, run_id="r2", by="ann", at=datetime(2026, 12, 16), expect="r1")
    elif step == "load":
        frame = pl.DataFrame({"unique_id": ["A", "C"], "ds": [CYCLE, CYCLE], "y": [1.0, 3.0]})
        at = datetime(2027, 1, 8)
        append_load(
            store,
            "history",
            frame,
            file="f",
            file_hash="h",
            loaded_by="ann",
            loaded_at=at,
            full=True,
        )
    elif step == "close":
        close = json.loads((folder / "close.json").read_text())
        for name in ("known_at", "made_at"):
            close[name] = datetime.fromisoformat(close[name])
        close["closed"] = date.fromisoformat(close["closed"])
        save_close(store, close=close, credibility=pl.read_ipc(folder / "credibility.fit"))
    else:
        save_run(store, **read_parts(folder))
    fuse.tick()  # after the commit, before the caller hears of it


def race(url: str, number: int, gate: int) -> None:
    from sopforecast.planning_store.publish import publish
    from sopforecast.planning_store.store import open_store

    store = open_store(url)
    os.read(gate, 1)  # until the parent closes the other end
    publish(
        store,
        cycle=CYCLE,
        run_id=f"r{number}",
        by=f"p{number}",
        at=datetime(2026, 12, 16),
        expect="r1",
    )


def start_race(url: str, racers: int) -> list[int]:
    gate, key = os.pipe()

    def racer(number: int) -> Callable[[], None]:
        def run() -> None:
            os.close(key)
            race(url, number, gate)

        return run

    children = [forked(racer(number)) for number in range(2, 2 + racers)]
    os.close(key)
    os.close(gate)
    return children


def main() -> None:
    url, folder = sys.argv[1], Path(sys.argv[2])
    for line in sys.stdin:
        step, last = line.split()
        if step == "race":
            children = start_race(url, int(last))
        else:
            children = [forked(lambda step=step, last=int(last): write(url, step, folder, last))]
        print(*(os.waitstatus_to_exitcode(os.waitpid(c, 0)[1]) for c in children), flush=True)


if __name__ == "__main__":
    main()
