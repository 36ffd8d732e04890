"""Chunks in this process and in real spawned workers: order, errors, death and interrupt."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sopforecast.core.executor import (
    Executor,
    executor_for,
    kept_workers,
    map_chunks,
    open_executor,
)
from sopforecast.errors import RequestError, SopforecastError

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tests and their workers import the module of chunk functions."""
    monkeypatch.syspath_prepend(str(HERE))


@pytest.mark.parametrize("chunk_size", [1, 2, 3, 7, 100])
def test_chunks_keep_order_and_size(chunk_size: int) -> None:
    chunks = map_chunks(list, range(7), executor=Executor(1, chunk_size))
    assert [number for chunk in chunks for number in chunk] == list(range(7))
    assert all(len(chunk) == chunk_size for chunk in chunks[:-1])
    assert 1 <= len(chunks[-1]) <= chunk_size


def test_results_do_not_depend_on_workers_or_chunks() -> None:
    from chunk_functions import squares

    expected = [number * number + 5 for number in range(23)]
    for workers, chunk_size in [(0, 4), (1, 23), (2, 4), (2, 1)]:
        with open_executor(workers, chunk_size) as executor:
            chunks = map_chunks(squares, range(23), 5, executor=executor)
        assert [value for chunk in chunks for value in chunk] == expected


def test_nothing_in_nothing_out() -> None:
    done: list[int] = []
    assert map_chunks(list, [], executor=Executor(1, 3), on_done=done.append) == []
    assert done == []


def test_progress_counts_items_in_order() -> None:
    for workers in (1, 2):
        done: list[int] = []
        map_chunks(len, [*"abcde"], executor=Executor(workers, 2), on_done=done.append)
        assert done == [2, 2, 1]


def test_one_worker_is_this_process() -> None:
    from chunk_functions import process_ids

    assert map_chunks(process_ids, [1, 2], executor=Executor(1, 1)) == [os.getpid()] * 2


def test_workers_stay_alive_in_the_block_and_end_with_it() -> None:
    from chunk_functions import process_ids

    with open_executor(2, 1) as executor:
        ids = set()
        for _ in range(3):
            ids.update(map_chunks(process_ids, range(4), executor=executor))
    assert os.getpid() not in ids
    assert 1 <= len(ids) <= 2
    assert not any(_is_alive(process) for process in ids)


def test_a_worker_leaves_the_interrupt_to_the_parent() -> None:
    from chunk_functions import interrupt_itself

    assert map_chunks(interrupt_itself, [1, 2], executor=Executor(2, 1)) == [[1], [2]]


THREADS_SCRIPT = """
import json
import numpy
from chunk_functions import threads
from sopforecast.core.executor import Executor, map_chunks

if __name__ == "__main__":
    print(json.dumps([map_chunks(threads, [0], executor=Executor(n, 1))[0] for n in (1, 2)]))
"""


def test_workers_and_this_process_use_one_thread(tmp_path: Path) -> None:
    # The script has numpy loaded, with all cores, before anything is held to one.
    variables = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    environment = {name: value for name, value in _environment().items() if name not in variables}
    script = tmp_path / "script.py"
    script.write_text(THREADS_SCRIPT)
    ran = subprocess.run(
        [sys.executable, str(script)], env=environment, check=True, capture_output=True, text=True
    )
    (here, pools_here), (there, pools_there) = json.loads(ran.stdout)
    assert (here, there) == (["1", "1", "1", None], ["1"] * 4)
    assert set(pools_here) == set(pools_there) == {1}


def test_the_environment_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    before = dict(os.environ)
    assert map_chunks(_variables, [1], executor=Executor(1, 1)) == [["1", "1"]]
    assert dict(os.environ) == before


def _variables(chunk: list[int]) -> list[str | None]:
    return [os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")]


@pytest.mark.parametrize("workers", [1, 2])
def test_the_first_error_in_input_order_comes_through(workers: int) -> None:
    from chunk_functions import fail_from_three

    with open_executor(workers, 2) as executor:
        with pytest.raises(ValueError, match="no 3"):
            map_chunks(fail_from_three, range(9), executor=executor)
        # The executor lives on.
        assert map_chunks(fail_from_three, [0, 1], executor=executor) == [[0, 1]]


def test_a_dead_worker_says_what_to_do() -> None:
    from chunk_functions import die_at_three

    with pytest.raises(SopforecastError, match="a worker process died") as death:
        map_chunks(die_at_three, range(6), executor=Executor(2, 1))
    message = str(death.value)
    assert "of 6 chunks done" in message
    assert "chunk_size under [advanced]" in message
    assert death.value.exit_code == 1


def test_an_error_in_the_block_ends_busy_workers_at_once(tmp_path: Path) -> None:
    from chunk_functions import sleep_long

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        _stop_while(sleep_long, tmp_path)
    ids = _ids(tmp_path)
    assert ids
    assert time.monotonic() - started < 60
    assert not any(_is_alive(process) for process in ids)


def _stop_while(function: Callable[[list[int], str], int], folder: Path) -> None:
    with open_executor(2, 1) as executor:
        assert executor.pool is not None
        executor.pool.submit(function, [1], str(folder))
        _wait_for(lambda: _ids(folder))
        raise KeyboardInterrupt


SCRIPT = """
import sys
from chunk_functions import leave_id, sleep_long
from sopforecast.core.executor import map_chunks, open_executor

if __name__ == "__main__":
    with open_executor(2, 1) as executor:
        map_chunks(leave_id, range(8), sys.argv[1], executor=executor)
        map_chunks(sleep_long, [1], sys.argv[2], executor=executor)
"""


@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_an_interrupted_or_killed_parent(
    blow: signal.Signals, tmp_path: Path
) -> None:
    # Two workers: one in the middle of a chunk, one (if both have started) waiting for work.
    script, started, busy = (tmp_path / name for name in ("script.py", "started", "busy"))
    script.write_text(SCRIPT)
    started.mkdir()
    busy.mkdir()
    parent = subprocess.Popen(
        [sys.executable, str(script), str(started), str(busy)],
        env=_environment(),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        _wait_for(lambda: _ids(busy))
        if blow == signal.SIGINT:
            os.killpg(parent.pid, blow)  # Ctrl-C reaches the whole group
        else:
            parent.send_signal(blow)
        _, said = parent.communicate(timeout=60)
    finally:
        parent.kill()
    assert parent.returncode == -blow
    assert said.count("Traceback") == (blow == signal.SIGINT)  # the parent's own, if any
    ids = _ids(started)
    _wait_for(lambda: [1] if not any(_is_alive(process) for process in ids) else [])


@pytest.mark.parametrize("chunk_size", [0, -1])
def test_a_chunk_holds_something(chunk_size: int) -> None:
    with pytest.raises(RequestError, match="1 or more"):
        Executor(1, chunk_size)


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}


def _ids(folder: Path) -> list[int]:
    return [int(path.name) for path in folder.iterdir()]


def _wait_for(find: Callable[[], list[int]]) -> list[int]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = find()
        if found:
            return found
        time.sleep(0.02)
    raise TimeoutError("what the test waits for did not happen")


def _is_alive(process: int) -> bool:
    """Whether the process runs; one that has ended but was not yet collected does not."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def _ids_of(workers: int, items: int = 4) -> set[int]:
    from chunk_functions import process_ids

    with executor_for(items, workers=workers, chunk_size=1) as executor:
        return set(map_chunks(process_ids, range(items), executor=executor))


def test_kept_workers_serve_many_pieces_of_work_and_end_with_the_block() -> None:
    with kept_workers(2):
        ids = _ids_of(2) | _ids_of(3) | _ids_of(2)
        with kept_workers(2):
            ids |= _ids_of(2)
        assert any(_is_alive(process) for process in ids)  # the inner block ends nothing
        assert _ids_of(1) == {os.getpid()}
        assert _ids_of(0, items=5) == {os.getpid()}  # few items are not worth a pool
    assert 1 <= len(ids) <= 2
    assert os.getpid() not in ids
    assert not any(_is_alive(process) for process in ids)
    assert not _ids_of(2) & ids


def test_kept_workers_start_when_they_are_asked_for() -> None:
    with kept_workers(2):
        with executor_for(3, workers=1, chunk_size=1) as executor:
            assert executor.pool is None
        with executor_for(3, workers=2, chunk_size=1) as executor:
            assert executor.pool is not None
            assert executor.workers == 2
    with kept_workers(1), executor_for(3, workers=1, chunk_size=1) as executor:
        assert executor.pool is None


def test_an_error_in_a_piece_of_work_ends_kept_workers_and_the_next_one_has_new_ones(
    tmp_path: Path,
) -> None:
    from chunk_functions import process_ids, sleep_long

    with kept_workers(2):
        with pytest.raises(KeyboardInterrupt):
            _stop_in_piece_of_work(sleep_long, tmp_path)
        assert not any(_is_alive(process) for process in _ids(tmp_path))
        assert not _ids_of(2) & set(_ids(tmp_path))
        with executor_for(9, workers=2, chunk_size=1) as executor:
            assert len(map_chunks(process_ids, range(3), executor=executor)) == 3


def _stop_in_piece_of_work(function: Callable[[list[int], str], int], folder: Path) -> None:
    with executor_for(9, workers=2, chunk_size=1) as executor:
        assert executor.pool is not None
        executor.pool.submit(function, [1], str(folder))
        _wait_for(lambda: _ids(folder))
        raise KeyboardInterrupt


def test_kept_workers_come_back_after_one_died() -> None:
    from chunk_functions import die_at_three

    with kept_workers(2):
        with (
            pytest.raises(SopforecastError, match="a worker process died"),
            executor_for(6, workers=2, chunk_size=1) as executor,
        ):
            map_chunks(die_at_three, range(6), executor=executor)
        assert len(_ids_of(2)) >= 1


def test_an_error_between_pieces_of_work_ends_busy_kept_workers(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        _stop_kept_while_busy(tmp_path)
    ids = _ids(tmp_path)
    assert ids
    assert not any(_is_alive(process) for process in ids)


def _stop_kept_while_busy(folder: Path) -> None:
    from chunk_functions import sleep_long

    with kept_workers(2):
        with executor_for(9, workers=2, chunk_size=1) as executor:
            assert executor.pool is not None
            executor.pool.submit(sleep_long, [1], str(folder))
            _wait_for(lambda: _ids(folder))
        raise KeyboardInterrupt
