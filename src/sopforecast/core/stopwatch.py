"""How long the steps of a job take, told to whoever watches as they start and end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Stopwatch:
    """Seconds of named stages; ``on_progress`` is called with (stage, share done)."""

    def __init__(self, on_progress: Callable[[str, float], None] | None = None) -> None:
        self.seconds: dict[str, float] = {}
        self.tell = on_progress or (lambda _stage, _done: None)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what happens inside."""
        self.tell(name, 0.0)
        started = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - started, 3)
        self.tell(name, 1.0)
