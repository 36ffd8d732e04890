"""Ranges from what went wrong: residual paths, split into what series share and what is their own.

A path of series i in a draw is ``centre + scale_i x (sum over levels of loading x common path +
own path)``. Paths are whole residual paths over all months ahead, so that a quarter's range is
right; common parts are shared by the items of an aggregate, so that a family's range is right.

The shared part of an aggregate at an origin is the sum of its items' residuals over the sum of
their scales. Part of that is no shared error at all but the average of a few items' own; the
excess over what independent items would give is the shared variance, estimated per aggregate and
drawn to its level's. What the shared part does not explain stays with the item.

Origins are few and overlap. Common paths are therefore pooled over the aggregates of a level (and
over levels when a level has few), used with both signs, and widened as Student's t with as many
degrees of freedom as there are months of origins over months ahead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sopforecast.core.hierarchy import Hierarchy

MIN_COMMON_PATHS = 12
MAX_OWN_PATHS = 400
MIN_OWN_PATHS = 60
LEVEL_PRIOR_ORIGINS = 3.0
TAIL = 0.90
PATH_LIMIT = 12.0  # in scales; a residual beyond is cut there


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


@dataclass(frozen=True)
class Ranges:
    """What draws need beside the centre.

    Attributes
    ----------
    loadings : ndarray (B, L)
        Of each item on the common path of each level, in units of its scale.
    common : tuple of PathPool, length L
        Total first.
    own : dict of str to PathPool
        By segment.
    notes : tuple of str
        What the run must say about how the ranges were made.
    """

    loadings: np.ndarray
    common: tuple[PathPool, ...]
    own: dict[str, PathPool]
    notes: tuple[str, ...]


def learn_ranges(
    residual: np.ndarray,
    scale: np.ndarray,
    *,
    hierarchy: Hierarchy,
    segments: Sequence[str],
    offsets: Sequence[int],
    rng: np.random.Generator,
) -> Ranges:
    """Split residuals of the items into common and own paths.

    Parameters
    ----------
    residual : ndarray (B, O, H)
        Actual minus reconciled forecast; NaN where unknown.
    scale : ndarray (B, O)
        Scale of each item at each origin (``scale.error_scale`` without its last column).
    hierarchy : Hierarchy
        Of the B items; L levels, total first.
    segments : sequence of str, length B
    offsets : sequence of int, length O
        Months before the end.
    rng : numpy.random.Generator
        Which paths are kept when there are more than ``MAX_OWN_PATHS`` in a segment.
    """
    horizon = residual.shape[2]
    z = np.clip(residual / scale[:, :, None], -PATH_LIMIT, PATH_LIMIT)
    z, notes = _whole_paths(z, offsets)
    weight = np.where(np.isfinite(z), np.broadcast_to(scale[:, :, None], z.shape), 0.0)
    filled = np.nan_to_num(z)
    independent = _independent_origins(np.isfinite(z).any(axis=(0, 2)), offsets, horizon)
    loadings, common = [], []
    for codes in hierarchy.codes:
        shared, variance, reliability = _shared_part(filled, weight, codes, independent)
        common.append((codes, shared, reliability))
        groups = np.unique(codes)
        widen = _widening(independent * np.sqrt(groups.size))
        sd = np.zeros(codes.max() + 1)
        sd[groups] = np.sqrt(variance) * widen
        loadings.append(sd[codes])
        position = np.searchsorted(groups, codes)
        filled = np.where(weight > 0, filled - (reliability * shared)[position], 0.0)
    pools = _common_pools(common, hierarchy, offsets)
    own = _own_pools(np.where(np.isfinite(z), filled, np.nan), hierarchy, segments, offsets, rng)
    if independent < 3:
        notes += (
            f"ranges rest on about {independent:.1f} independent stretches of {horizon} months: "
            "the shared part of the error was widened for it",
        )
    return Ranges(np.stack(loadings, axis=1), pools, own, notes)


def _independent_origins(used: np.ndarray, offsets: Sequence[int], horizon: int) -> float:
    """Overlapping origins count by the months they cover: (first to last + H) / H."""
    months = np.asarray(offsets)[used]
    if months.size == 0:
        return 1.0
    return float((months.max() - months.min() + horizon) / horizon)


def _widening(freedom: float) -> float:
    """How much wider Student's t is than the normal at the 80% range."""
    from scipy.stats import norm, t

    return float(t.ppf(TAIL, max(freedom, 1.5)) / norm.ppf(TAIL))


def _whole_paths(z: np.ndarray, offsets: Sequence[int]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Keep paths known in every month ahead; lengthen the longest ones where there are too few.

    With less than about horizon + 24 months no origin has a whole path. Then the part that is
    known is continued from its last month, growing with the square root of the lead.
    """
    whole = np.isfinite(z).all(axis=2)
    if whole.sum() >= MIN_OWN_PATHS or not np.isfinite(z).any():
        return np.where(whole[:, :, None], z, np.nan), ()
    horizon = z.shape[2]
    known = np.isfinite(z)
    length = np.where(known.all(axis=2), horizon, np.argmin(known, axis=2))
    longest = int(length.max())
    needed = min(horizon, max(1, min(longest, 6)))
    last = np.take_along_axis(z, np.maximum(length - 1, 0)[:, :, None], axis=2)
    lead = np.arange(1, horizon + 1)
    grown = last * np.sqrt(lead / np.maximum(length, 1)[:, :, None])
    lengthened = np.where(lead > length[:, :, None], grown, z)
    lengthened = np.where((length >= needed)[:, :, None], lengthened, np.nan)
    note = (
        f"history is too short for whole {horizon}-month error paths: paths known for "
        f"{needed} to {longest} months were continued with growth by the square root of the lead"
    )
    return lengthened, (note,)


def _shared_part(
    z: np.ndarray, weight: np.ndarray, codes: np.ndarray, independent: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shared path (G, O, H), shared variance (G,) and reliability (G, 1, 1) of each group.

    Groups are the sorted codes. ``weight`` is the scale, 0 where ``z`` is unknown.
    """
    groups, position = np.unique(codes, return_inverse=True)
    top = _sum_by(z * weight, position, groups.size)
    bottom = _sum_by(weight, position, groups.size)
    squares = _sum_by(np.square(weight), position, groups.size)
    seen = bottom > 0
    shared = np.where(seen, top / np.where(seen, bottom, 1.0), 0.0)
    share = np.where(seen, squares / np.where(seen, np.square(bottom), 1.0), 0.0)
    own_variance = float(np.square(z)[weight > 0].mean()) if (weight > 0).any() else 1.0
    cells = np.maximum(seen.sum(axis=(1, 2)), 1)
    chance = own_variance * share.sum(axis=(1, 2)) / cells
    observed = np.square(shared).sum(axis=(1, 2)) / cells
    size = _sum_by(np.ones((codes.size, 1, 1)), position, groups.size)[:, 0, 0]
    trust = np.maximum(1.0 - share.sum(axis=(1, 2)) / cells, 1e-6) * (size > 1)
    excess = observed - chance
    level = max(float((trust * excess).sum() / max(trust.sum(), 1e-9)), 0.0)
    mixed = (independent * excess + LEVEL_PRIOR_ORIGINS * level) / (
        independent + LEVEL_PRIOR_ORIGINS
    )
    variance = np.where(size > 1, np.maximum(mixed, 0.0), 0.0)
    reliability = np.sqrt(variance / np.maximum(observed, 1e-12))
    return shared, variance, np.minimum(reliability, 1.0)[:, None, None]


def _sum_by(values: np.ndarray, position: np.ndarray, groups: int) -> np.ndarray:
    total = np.zeros((groups, *values.shape[1:]))
    np.add.at(total, position, values)
    return total


def _common_pools(
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
        names: tuple[str, ...] = ()
        origins, paths = [], []
        for k in order:
            if len(names) >= MIN_COMMON_PATHS:
                break
            names += candidates[k][0]
            origins.append(candidates[k][1])
            paths.append(_unit_size(candidates[k][2]))
        part = f"common:{labels[level]}"
        pools.append(_in_order(part, np.concatenate(origins), names, np.concatenate(paths)))
    return tuple(pools)


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


def _own_pools(
    own: np.ndarray,
    hierarchy: Hierarchy,
    segments: Sequence[str],
    offsets: Sequence[int],
    rng: np.random.Generator,
) -> dict[str, PathPool]:
    """Own paths by segment, each month ahead centred; a segment with few takes the portfolio's."""
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
        if i.size == 0:
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
