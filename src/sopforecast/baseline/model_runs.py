"""Ask every model of every node from every origin, as far as the answer is not known.

What is asked goes through the executor in chunks small enough to keep every worker busy; a learner
from an origin is a chunk of its own. Known answers are put in place without being asked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np

from sopforecast.baseline.known_paths import KEY_BYTES, KnownPaths, series_key
from sopforecast.baseline.learner import LEARNERS, LearnerTask, learn_chunk, learner_tasks
from sopforecast.baseline.models import INSTANT, Failure, SeriesTask, forecast_chunk
from sopforecast.core.executor import Executor, map_chunks

CHUNKS_A_WORKER = 8

Share = Callable[[float], None]


@dataclass(frozen=True, eq=False)
class Question:
    """What is to be forecast from where.

    Attributes
    ----------
    nodes : tuple of str, length N
    seen : tuple of ndarray (N, T - offset), length O
        Fit values up to each origin, NaN before a node's first month.
    offsets : tuple of int
        O origins in months before the end: 0 first, nearest next.
    origins : tuple of date
        Their months.
    horizon : int
        H months.
    """

    nodes: tuple[str, ...]
    seen: tuple[np.ndarray, ...]
    offsets: tuple[int, ...]
    origins: tuple[date, ...]
    horizon: int

    def nothing(self, models: Sequence[str]) -> ModelRuns:
        """An answer without any path."""
        shape = (len(self.nodes), len(self.offsets), len(models))
        return ModelRuns(
            tuple(models),
            np.full((*shape, self.horizon), np.nan),
            np.zeros((*shape, KEY_BYTES), dtype=np.uint8),
            np.zeros(shape, dtype=bool),
            (),
        )


@dataclass(frozen=True, eq=False)
class ModelRuns:
    """What models said.

    Attributes
    ----------
    models : tuple of str, length M
    paths : ndarray (N, O, M, H)
        NaN where a model said nothing.
    keys : ndarray (N, O, M, 16) of uint8
        Of ``known_paths``; zeros where a model was not asked.
    fresh : ndarray (N, O, M) of bool
        What was fitted now and is worth keeping.
    failures : tuple of Failure
    """

    models: tuple[str, ...]
    paths: np.ndarray
    keys: np.ndarray
    fresh: np.ndarray
    failures: tuple[Failure, ...]

    def beside(self, other: ModelRuns) -> ModelRuns:
        """Both, this one's models first."""
        return ModelRuns(
            (*self.models, *other.models),
            np.concatenate([self.paths, other.paths], axis=2),
            np.concatenate([self.keys, other.keys], axis=2),
            np.concatenate([self.fresh, other.fresh], axis=2),
            (*self.failures, *other.failures),
        )


def run_local_models(
    question: Question,
    models: Sequence[str],
    pools: Sequence[tuple[str, ...]],
    *,
    executor: Executor,
    known: KnownPaths | None,
    on_share: Share,
) -> ModelRuns:
    """Every model of each node's pool (N tuples of names in ``models``) from every origin."""
    runs = question.nothing(models)
    tasks = [_task(question, i, pool) for i, pool in enumerate(pools)]
    asking = []
    for i, task in enumerate(tasks):
        found = _look_up(runs, i, task, question, known)
        wanted = _asked(task, question.offsets) - found
        if wanted:
            asking.append((i, replace(task, known=found)))
            for o, name in wanted:
                runs.fresh[i, question.offsets.index(o), models.index(name)] = name not in INSTANT
    results = map_chunks(
        forecast_chunk,
        [task for _, task in asking],
        question.offsets,
        question.horizon,
        tuple(models),
        executor=_evenly(executor, len(asking)),
        on_done=_counted(len(asking), on_share),
    )
    rows = iter(i for i, _ in asking)
    for paths, _ in results:
        for path in paths:
            i = next(rows)
            runs.paths[i] = np.where(np.isfinite(path), path, runs.paths[i])
    return replace(runs, failures=tuple(f for _, failures in results for f in failures))


def run_learners(
    question: Question,
    corrected: np.ndarray,
    *,
    seed: int,
    eligible: np.ndarray,
    executor: Executor,
    known: KnownPaths | None,
    on_share: Share,
) -> ModelRuns:
    """Both learners from every origin; see `learner.learner_tasks`."""
    runs = question.nothing(LEARNERS)
    tasks = learner_tasks(
        question.seen,
        corrected,
        offsets=question.offsets,
        origins=question.origins,
        horizon=question.horizon,
        seed=seed,
        eligible=eligible,
    )
    places = [(o, m) for o in range(len(question.offsets)) for m in range(len(LEARNERS))]
    asking = []
    for place, task in zip(places, tasks, strict=True):
        o, m = place
        keys = task.keys()
        as_bytes = np.frombuffer(b"".join(keys), np.uint8)
        runs.keys[task.series, o, m] = as_bytes.reshape(-1, KEY_BYTES)
        found = None if known is None else _known_answer(task, keys, known)
        if found is None:
            asking.append((place, task))
        else:
            runs.paths[task.series, o, m] = found
    results = map_chunks(
        learn_chunk,
        [task for _, task in asking],
        executor=replace(executor, chunk_size=1),
        on_done=_counted(len(asking), on_share),
    )
    for ((o, m), task), (paths,) in zip(asking, results, strict=True):
        runs.paths[task.series, o, m] = paths
        runs.fresh[task.series, o, m] = True
    return runs


def _task(question: Question, i: int, pool: tuple[str, ...]) -> SeriesTask:
    y, then = question.seen[0][i], {}
    for offset, seen in zip(question.offsets[1:], question.seen[1:], strict=True):
        if not np.array_equal(seen[i], y[: y.size - offset], equal_nan=True):
            then[offset] = seen[i][np.isfinite(seen[i])]
    return SeriesTask(question.nodes[i], y[np.isfinite(y)], pool, then)


def _asked(task: SeriesTask, offsets: Sequence[int]) -> frozenset[tuple[int, str]]:
    return frozenset((o, name) for o in offsets for name in task.models if task.asks(o, name))


def _look_up(
    runs: ModelRuns, i: int, task: SeriesTask, question: Question, known: KnownPaths | None
) -> frozenset[tuple[int, str]]:
    """Note the keys of a node, put its known paths in place and tell which they are."""
    found = set()
    for o, (offset, origin) in enumerate(zip(question.offsets, question.origins, strict=True)):
        before = task.before(offset)
        if before.size == 0 or not task.models:
            continue
        key = series_key(before)
        asked = [runs.models.index(name) for name in task.models]
        runs.keys[i, o, asked] = np.frombuffer(key, np.uint8)
        if known is None:
            continue
        for m, name in zip(asked, task.models, strict=True):
            path = known.path(origin, name, question.horizon, key)
            if path is not None and name not in INSTANT:
                runs.paths[i, o, m] = path
                found.add((offset, name))
    return frozenset(found)


def _known_answer(task: LearnerTask, keys: list[bytes], known: KnownPaths) -> np.ndarray | None:
    """Paths (n, H) of the task; None when one that it would forecast is not known."""
    answer = np.full((len(keys), task.horizon), np.nan)
    for k, key in enumerate(keys):
        path = known.path(task.origin, task.learner, task.horizon, key)
        if path is not None:
            answer[k] = path
        elif task.now is None or np.isfinite(task.now[task.series[k]]).all():
            return None
    return answer


def _evenly(executor: Executor, items: int) -> Executor:
    """Chunks small enough that no worker waits long for another."""
    if executor.workers <= 1:
        return executor
    fair = math.ceil(items / (CHUNKS_A_WORKER * executor.workers))
    return replace(executor, chunk_size=max(1, min(executor.chunk_size, fair)))


def _counted(total: int, on_share: Share) -> Callable[[int], None]:
    """Tell the share of the items that are done; all of them when nothing is to be done."""
    done = 0
    if total == 0:
        on_share(1.0)

    def on_done(count: int) -> None:
        nonlocal done
        done += count
        on_share(done / total)

    return on_done
