"""Pools of residual paths that draws pick from, and how too short or too few paths are helped out.

Paths are scaled out-of-sample residuals over all months ahead. A pool keeps the order of its key
(origin, donor), which is the order the planning store gives back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sopforecast.core.hierarchy import Hierarchy

MIN_COMMON_PATHS = 12
MAX_OWN_PATHS = 400
MIN_OWN_PATHS = 60
USABLE_SHARES = (2 / 3, 1 / 3, 0.0)
FEWEST_OWN_PATHS = 12  # fewer have no shape of their own: centred, a single one would be nothing


@dataclass(frozen=True)
class PathPool:
    """Residual paths of one part.

    Attributes
    ----------
    part : str
        ``common:<level>`` or ``own:<segment>``.
    origins : ndarray (M,) of int
        Months before the end.
    donors : tuple of str, length M
        Node each path comes from.
    paths : ndarray (M, H)
    """

    part: str
    origins: np.ndarray
    donors: tuple[str, ...]
    paths: np.ndarray


def whole_paths(z: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Paths over all months ahead (B, O, H), NaN where there is none, and what to say of them.

    A path known for two thirds of the months is continued from its last one, growing with the
    square root of the lead. With less than about horizon + 24 months of history there are few of
    those: then shorter ones are continued too.
    """
    horizon = z.shape[2]
    known = np.isfinite(z)
    length = np.where(known.all(axis=2), horizon, np.argmin(known, axis=2))
    for share in USABLE_SHARES:
        needed = max(1, math.ceil(share * horizon))
        usable = length >= needed
        if usable.sum() >= MIN_OWN_PATHS:
            break
    lead = np.arange(1, horizon + 1)
    last = np.take_along_axis(z, np.maximum(length - 1, 0)[:, :, None], axis=2)
    grown = last * np.sqrt(lead / np.maximum(length, 1)[:, :, None])
    paths = np.where(lead > length[:, :, None], grown, z)
    paths = np.where(usable[:, :, None], paths, np.nan)
    if share == USABLE_SHARES[0] or not usable.any():
        return paths, ()
    note = (
        f"few errors are known for all {horizon} months ahead (little history, or few items): "
        f"those known for {needed} or more were continued, growing with the square root of the lead"
    )
    return paths, (note,)


def common_pools(
    common: list[tuple[np.ndarray, np.ndarray, np.ndarray]],
    hierarchy: Hierarchy,
    offsets: Sequence[int],
) -> tuple[PathPool, ...]:
    """One pool a level, its paths scaled to mean square 1; a level with few borrows from others."""
    candidates = []
    for codes, shared, reliability in common:
        groups = np.unique(codes)
        known = np.abs(shared).sum(axis=2) > 0
        trusted = known & (reliability[:, :, 0] > 0)
        g, o = np.nonzero(trusted if trusted.any() else known)
        paths = shared[g, o]
        names = tuple(hierarchy.aggregates[groups[k]] for k in g)
        candidates.append((names, np.asarray(offsets, dtype=np.int64)[o], paths))
    pools = []
    labels = hierarchy.level_labels
    for level in range(len(common)):
        order = sorted(range(len(common)), key=lambda k: (abs(k - level), k))
        donors: tuple[str, ...] = ()
        origins: list[np.ndarray] = []
        parts: list[np.ndarray] = []
        for k in order:
            if len(donors) >= MIN_COMMON_PATHS:
                break
            donors += candidates[k][0]
            origins.append(candidates[k][1])
            parts.append(_unit_size(candidates[k][2]))
        part = f"common:{labels[level]}"
        pools.append(_in_order(part, np.concatenate(origins), donors, np.concatenate(parts)))
    return tuple(pools)


def own_pools(
    own: np.ndarray,
    hierarchy: Hierarchy,
    segments: Sequence[str],
    offsets: Sequence[int],
    rng: np.random.Generator,
) -> dict[str, PathPool]:
    """Own paths by segment, each month ahead centred; a segment with few takes the portfolio's.

    A portfolio with hardly any gets made-up ones: of them only the shape is used.
    """
    names = np.asarray(segments)
    known = np.isfinite(own).all(axis=2)
    pools = {}
    for segment in sorted(set(segments)):
        i, o = np.nonzero(known & (names == segment)[:, None])
        if i.size < MIN_OWN_PATHS:
            i, o = np.nonzero(known)
        if i.size > MAX_OWN_PATHS:
            keep = np.sort(rng.choice(i.size, MAX_OWN_PATHS, replace=False))
            i, o = i[keep], o[keep]
        paths = own[i, o]
        if i.size < FEWEST_OWN_PATHS:
            paths = _made_up_paths(own.shape[2], rng)
            i, o = np.zeros(len(paths), dtype=np.int64), np.arange(len(paths))
            origins = o
        else:
            paths = paths - paths.mean(axis=0)
            origins = np.asarray(offsets, dtype=np.int64)[o]
        donors = tuple(hierarchy.items[k] for k in i)
        pools[segment] = _in_order(f"own:{segment}", origins, donors, paths)
    return pools


def _made_up_paths(horizon: int, rng: np.random.Generator) -> np.ndarray:
    """Normal errors with a drift that grows: for portfolios with nothing to backtest on."""
    lead = np.sqrt(np.arange(1, horizon + 1) / horizon)
    level = rng.standard_normal((MIN_OWN_PATHS, 1)) * lead
    paths = level + rng.standard_normal((MIN_OWN_PATHS, horizon))
    return paths - paths.mean(axis=0)


def _in_order(
    part: str, origins: np.ndarray, donors: tuple[str, ...], paths: np.ndarray
) -> PathPool:
    """A pool in the order of its key (origin, donor), which the planning store keeps."""
    order = sorted(range(len(donors)), key=lambda k: (int(origins[k]), donors[k]))
    return PathPool(part, origins[order], tuple(donors[k] for k in order), paths[order])


def _unit_size(paths: np.ndarray) -> np.ndarray:
    """Scale a set of paths together to mean square 1."""
    size = np.sqrt(np.square(paths).mean()) if paths.size else 0.0
    return paths / size if size > 0 else paths
