"""Functions over chunks that worker processes can import by name."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path


def squares(chunk: list[int], offset: int) -> list[int]:
    return [number * number + offset for number in chunk]


def process_ids(chunk: list[int]) -> int:
    return os.getpid()


def threads(chunk: list[int]) -> list[object]:
    """Thread variables of the worker and the thread counts of its numeric libraries."""
    import numpy as np
    import threadpoolctl

    np.ones((2, 2)) @ np.ones((2, 2))
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    pools = [pool["num_threads"] for pool in threadpoolctl.threadpool_info()]
    return [[os.environ.get(name) for name in names], pools]


def fail_from_three(chunk: list[int]) -> list[int]:
    for number in chunk:
        if number >= 3:
            raise ValueError(f"no {number}")
    return chunk


def die_at_three(chunk: list[int]) -> list[int]:
    if 3 in chunk:
        os._exit(9)
    return chunk


def interrupt_itself(chunk: list[int]) -> list[int]:
    os.kill(os.getpid(), signal.SIGINT)
    return chunk


def leave_id(chunk: list[int], folder: str) -> int:
    """Leave the worker's process id in the folder; slow enough for both workers to have a turn."""
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(0.1)
    return len(chunk)


def sleep_long(chunk: list[int], folder: str) -> int:
    """Leave the worker's process id in the folder, then take far longer than the test."""
    leave_id(chunk, folder)
    time.sleep(120)
    return len(chunk)
