"""How far a long step is: bars on a terminal, plain lines elsewhere; always on standard error.

A stage reports ``(name, done)`` with ``done`` from 0 to 1; a stage that has reached 1 is over.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

OnProgress = Callable[[str, float], None]

PLAIN_STEP = 0.25


@contextmanager
def progress(*, stream: TextIO | None = None) -> Iterator[OnProgress]:
    """A function to call with (stage, share done).

    Parameters
    ----------
    stream
        Where to write; standard error when not given. Bars when it is a terminal, otherwise a line
        when a stage starts to count in quarters and one with its seconds when it ends.

    Yields
    ------
    OnProgress
    """
    out = stream if stream is not None else sys.stderr
    if out.isatty():
        with _bars(out) as on_progress:
            yield on_progress
    else:
        yield _PlainLines(out)


@contextmanager
def _bars(out: TextIO) -> Iterator[OnProgress]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:<28}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(file=out)) as bars:
        tasks: dict[str, TaskID] = {}

        def on_progress(stage: str, done: float) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=1.0)
            bars.update(tasks[stage], completed=min(max(done, 0.0), 1.0))

        yield on_progress


class _PlainLines:
    """Lines for a log file: quarters of long stages, and the seconds of each finished one."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._started: dict[str, float] = {}
        self._told: dict[str, float] = {}

    def __call__(self, stage: str, done: float) -> None:
        now = time.monotonic()
        seen = stage in self._started
        start = self._started.setdefault(stage, now)
        told = self._told.setdefault(stage, 0.0)
        if told >= 1.0 or done < min(told + PLAIN_STEP, 1.0):
            return
        self._told[stage] = done
        took = f" in {now - start:.1f} s" if seen else ""
        state = f"done{took}" if done >= 1.0 else f"{done:.0%}"
        print(f"{stage}: {state}", file=self._out, flush=True)
