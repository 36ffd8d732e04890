"""What models said before, so that nothing unchanged is fitted again.

A path is known by what the model saw: the bytes of the series up to the origin (a learner: all that
it learned from), the model, the origin, the months ahead and the code that fitted it. A month that
is restated, or told differently by later ones, changes the bytes, and the model is fitted again.
What could not be forecast is not remembered: the reason must be told anew by every run.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path

import numpy as np
import polars as pl

from sopforecast.core.learning_tables import ModelPaths, empty

KEY_BYTES = 16
_SOURCES = ("models.py", "learner.py", "features.py", "seasonality.py")
_LIBRARIES = ("statsforecast", "scikit-learn", "numpy")


@functools.cache
def paths_code() -> str:
    """Digest of the code that makes paths and of the versions of the libraries it calls."""
    digest = hashlib.blake2b(digest_size=KEY_BYTES)
    for name in _SOURCES:
        digest.update((Path(__file__).parent / name).read_bytes())
    for name in _LIBRARIES:
        digest.update(f"{name}=={version(name)}\n".encode())
    return digest.hexdigest()


def series_key(y: np.ndarray) -> bytes:
    """Key of a series (T,) as a local model sees it: 16 bytes of BLAKE2b over its float64 bytes."""
    return hashlib.blake2b(
        np.ascontiguousarray(y, dtype="<f8").tobytes(), digest_size=KEY_BYTES
    ).digest()


class KnownPaths:
    """Paths that need not be fitted again, in memory; a replay keeps one over all its cycles.

    Parameters
    ----------
    stored : pl.DataFrame, optional
        ``ModelPaths`` rows, with or without ``run_id``; those of other code are left out.
    """

    def __init__(self, stored: pl.DataFrame | None = None) -> None:
        self._paths: dict[tuple[date, str, int], dict[bytes, np.ndarray]] = defaultdict(dict)
        self._found: list[pl.DataFrame] = []
        if stored is not None:
            self._keep(stored)

    def path(self, origin: date, model: str, horizon: int, key: bytes) -> np.ndarray | None:
        """Mean path (H,) of what has this key; None when it must be fitted."""
        return self._paths[origin, model, horizon].get(key)

    def add(self, fitted: pl.DataFrame) -> None:
        """Remember what a run fitted: ``ModelPaths`` rows without ``run_id``."""
        self._keep(fitted)
        self._found.append(fitted)

    @property
    def found(self) -> pl.DataFrame:
        """All that was added since the book was opened: ``ModelPaths`` without ``run_id``."""
        return pl.concat([empty(ModelPaths, without="run_id"), *self._found])

    def _keep(self, rows: pl.DataFrame) -> None:
        for row in rows.filter(pl.col("code") == paths_code()).iter_rows(named=True):
            horizon = row["horizon"]
            book = self._paths[row["origin"], row["model"], horizon]
            paths = np.frombuffer(row["paths"], dtype="<f8").reshape(-1, horizon)
            for k in np.flatnonzero(np.isfinite(paths).all(axis=1)).tolist():
                book[row["keys"][KEY_BYTES * k : KEY_BYTES * (k + 1)]] = paths[k]


def model_paths_frame(
    nodes: Sequence[str],
    origins: Sequence[date],
    models: Sequence[str],
    paths: np.ndarray,
    *,
    keys: np.ndarray,
    fresh: np.ndarray,
) -> pl.DataFrame:
    """What a run has to store: all of the end of history, and what it fitted at past origins.

    Parameters
    ----------
    nodes : sequence of str, length N
    origins : sequence of date, length O + 1
        The end of history first.
    models : sequence of str, length M
    paths : ndarray (N, O + 1, M, H)
        NaN where a model said nothing.
    keys : ndarray (N, O + 1, M, 16) of uint8
        Zeros where a model was not asked.
    fresh : ndarray (N, O + 1, M) of bool
        What was fitted by this run.

    Returns
    -------
    pl.DataFrame
        ``ModelPaths`` without ``run_id``.
    """
    spoke = np.isfinite(paths).all(axis=3)
    rows = []
    for o, origin in enumerate(origins):
        for m, model in enumerate(models):
            kept = np.arange(len(nodes)) if o == 0 else np.flatnonzero((fresh & spoke)[:, o, m])
            if kept.size == 0:
                continue
            rows.append(
                {
                    "origin": origin,
                    "model": model,
                    "horizon": paths.shape[3],
                    "code": paths_code(),
                    "is_end": o == 0,
                    "names": json.dumps([nodes[k] for k in kept.tolist()], ensure_ascii=False),
                    "keys": keys[kept, o, m].tobytes(),
                    "paths": np.ascontiguousarray(paths[kept, o, m], dtype="<f8").tobytes(),
                }
            )
    return pl.DataFrame(rows, schema=empty(ModelPaths, without="run_id").schema)
