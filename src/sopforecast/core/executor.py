"""Pure functions over chunks of series, in this process or in a pool of workers.

A chunk is a list of whole series. What a function finds for a series must not depend on the other
series of its chunk; then results depend neither on the number of workers nor on the chunk size.
Workers are fresh processes (spawn) of one thread each. Work in this process is held to one thread
as well: threads change the order of sums, hence their last digits.

A worker takes seconds to import what it needs. `kept_workers` keeps one pool over many pieces of
work, each of which asks for workers by `executor_for`.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TypeVar, TypeVarTuple

from sopforecast.errors import RequestError, SopforecastError

Item = TypeVar("Item")
Result = TypeVar("Result")
Shared = TypeVarTuple("Shared")

ITEMS_WORTH_A_POOL = 400  # below, starting worker processes takes longer than it saves
ITEMS_WORTH_KEPT_WORKERS = 50  # of workers that live on, over many cycles
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_NUMBA_VARIABLE = "NUMBA_NUM_THREADS"


@dataclass(frozen=True)
class Executor:
    """How chunks are worked on; `open_executor` makes one whose workers stay alive.

    Attributes
    ----------
    workers : int
        Processes; 1 or less works in this process.
    chunk_size : int
        Series a chunk, at least 1.
    pool : ProcessPoolExecutor or None
        The living workers; without them each `map_chunks` starts and ends its own.

    Raises
    ------
    RequestError
        When ``chunk_size`` is below 1.
    """

    workers: int
    chunk_size: int
    pool: ProcessPoolExecutor | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.chunk_size < 1:
            raise RequestError(
                f"chunk_size: found {self.chunk_size}; allowed: 1 or more series; "
                "correct it under [advanced] in sopforecast.toml"
            )


@contextmanager
def open_executor(workers: int, chunk_size: int) -> Iterator[Executor]:
    """Keep a pool of workers alive for the block; on an error or an interrupt end them at once.

    With ``workers`` 1 or less no process is started.

    Examples
    --------
    >>> with open_executor(workers=1, chunk_size=2) as executor:
    ...     map_chunks(sum, [1, 2, 3], executor=executor)
    [3, 3]
    """
    if workers <= 1:
        yield Executor(workers, chunk_size)
        return
    pool = _start_pool(workers)
    try:
        yield Executor(workers, chunk_size, pool)
    except BaseException:
        _end_pool(pool)
        raise
    pool.shutdown()


def map_chunks(
    function: Callable[[list[Item], *Shared], Result],
    items: Sequence[Item],
    *shared: *Shared,
    executor: Executor,
    on_done: Callable[[int], None] | None = None,
) -> list[Result]:
    """Call ``function(chunk, *shared)`` for every chunk of the items.

    Parameters
    ----------
    function : callable
        Pure, and importable by name when there are workers (no lambda, no inner function).
    items : sequence
        Whole series, or whatever stands for one; cut in order into chunks of ``chunk_size``.
    *shared
        The same for every chunk; sent along with each when there are workers.
    executor : Executor
    on_done : callable, optional
        Told the number of items of each chunk once it is done, in input order.

    Returns
    -------
    list
        One result a chunk, in input order; empty without items.

    Raises
    ------
    SopforecastError
        When a worker process died. What the function raises comes through unchanged: the error of
        the first chunk in input order that failed, whatever the number of workers.
    """
    if executor.workers > 1 and executor.pool is None:
        with open_executor(executor.workers, executor.chunk_size) as opened:
            return map_chunks(function, items, *shared, executor=opened, on_done=on_done)
    size = executor.chunk_size
    chunks = [list(items[start : start + size]) for start in range(0, len(items), size)]
    if executor.pool is None:
        results = _results_here(function, chunks, *shared)
    else:
        results = _results_in_pool(executor.pool, function, chunks, *shared)
    gathered = []
    with closing(results):
        for chunk, result in zip(chunks, results, strict=True):
            gathered.append(result)
            if on_done is not None:
                on_done(len(chunk))
    return gathered


def _results_here(
    function: Callable[[list[Item], *Shared], Result], chunks: list[list[Item]], *shared: *Shared
) -> Generator[Result]:
    for chunk in chunks:
        with _one_thread():
            result = function(chunk, *shared)
        yield result


def _results_in_pool(
    pool: ProcessPoolExecutor,
    function: Callable[[list[Item], *Shared], Result],
    chunks: list[list[Item]],
    *shared: *Shared,
) -> Generator[Result]:
    futures = []
    try:
        for chunk in chunks:
            futures.append(pool.submit(function, chunk, *shared))
        for future in futures:
            yield future.result()
    except BrokenProcessPool as err:
        done = sum(future.done() and future.exception() is None for future in futures)
        raise SopforecastError(
            f"workers: a worker process died with {done} of {len(chunks)} chunks done; it was "
            "killed or ran out of memory; lower workers or chunk_size under [advanced] in "
            "sopforecast.toml (workers = 1 stays in one process); a script of your own must call "
            'under: if __name__ == "__main__"'
        ) from err
    finally:
        for future in futures:
            future.cancel()


def _start_pool(workers: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_prepare_worker)


def _end_pool(pool: ProcessPoolExecutor) -> None:
    """Drop what waits and end the workers in the middle of their chunk."""
    processes = list((getattr(pool, "_processes", None) or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.terminate()
    for process in processes:
        process.join()


def _prepare_worker() -> None:
    """Hold a new worker to one thread, leave Ctrl-C to the parent and end when the parent does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.update(dict.fromkeys((*_THREAD_VARIABLES, _NUMBA_VARIABLE), "1"))
    from threadpoolctl import threadpool_limits

    threadpool_limits(limits=1)  # for what the parent's main module has already imported


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Hold libraries loaded before and inside the block to one thread.

    Numba's variable stays as it is: numba refuses a change once its threads run.
    """
    from threadpoolctl import threadpool_limits

    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def executor_for(items: int, *, workers: int, chunk_size: int) -> Iterator[Executor]:
    """Open as many workers as asked for; 0 asks for as many as so many items are worth.

    Inside `kept_workers` the kept ones are taken, however many they are, unless one process is
    enough. On an error or an interrupt in the block they are ended all the same.
    """
    kept = _kept.get()
    if workers == 0:
        worth = ITEMS_WORTH_A_POOL if kept is None else ITEMS_WORTH_KEPT_WORKERS
        workers = 1 if items < worth else (os.cpu_count() or 1)
    if kept is None or workers <= 1 or kept.workers <= 1:
        with open_executor(workers, chunk_size) as executor:
            yield executor
        return
    try:
        yield Executor(kept.workers, chunk_size, kept.living())
    except BaseException:
        kept.end()
        raise


@contextmanager
def kept_workers(workers: int) -> Iterator[None]:
    """Keep one pool of workers for every `executor_for` in the block; 0: one a core.

    They start when first asked for. Inside another such block its workers are used. On an error or
    an interrupt they are ended at once, in the middle of their chunk.

    Examples
    --------
    >>> with kept_workers(2):
    ...     with executor_for(2, workers=1, chunk_size=1) as executor:
    ...         map_chunks(sum, [1, 2], executor=executor)
    [1, 2]
    """
    if _kept.get() is not None:
        yield
        return
    kept = _Kept(workers or os.cpu_count() or 1)
    token = _kept.set(kept)
    try:
        yield
    except BaseException:
        kept.end()
        raise
    finally:
        _kept.reset(token)
    if kept.pool is not None:
        kept.pool.shutdown()


@dataclass
class _Kept:
    """The pool of a `kept_workers` block, once it has been asked for."""

    workers: int
    pool: ProcessPoolExecutor | None = None

    def living(self) -> ProcessPoolExecutor:
        if self.pool is None:
            self.pool = _start_pool(self.workers)
        return self.pool

    def end(self) -> None:
        if self.pool is not None:
            _end_pool(self.pool)
            self.pool = None


_kept: ContextVar[_Kept | None] = ContextVar("kept workers", default=None)
