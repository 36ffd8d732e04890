"""What a library may change of the process while it works, and must find as it was afterwards."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def as_before(variables: Sequence[str], loggers: Sequence[str]) -> Iterator[None]:
    """Put environment variables and loggers back as they were when the block ends."""
    before = {name: os.environ.get(name) for name in variables}
    talkers = [logging.getLogger(name) for name in loggers]
    kept = [(talker, talker.handlers[:], talker.level, talker.propagate) for talker in talkers]
    try:
        yield
    finally:
        for talker, handlers, level, propagate in kept:
            talker.handlers, talker.propagate = handlers, propagate
            talker.setLevel(level)
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
