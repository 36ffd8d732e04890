"""Ranges from what went wrong: residual paths, split into what series share and what is their own.

A path of series i in a draw is

    centre + scale_i x (sum over levels of loading x common path + own loading x own path)

Paths are whole residual paths over all months ahead, so that a quarter's range is right; common
parts are shared by the items of an aggregate, so that a family's range is right.

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

from sopforecast.baseline.path_pools import PathPool, common_pools, own_pools, whole_paths
from sopforecast.baseline.simulate import Pools
from sopforecast.core.hierarchy import Hierarchy

LEVEL_PRIOR_ORIGINS = 3.0
TAIL = 0.90
MIN_OWN_SHARE = 0.2
PRIOR_PATHS = 4.0
PRIOR_SQUARE = 2.0  # of a scaled error: a scale is a mean absolute error; Laplace's has this
PATH_LIMIT = 12.0  # in scales; a residual beyond is cut there


@dataclass(frozen=True)
class Ranges:
    """What draws need beside the centre.

    Attributes
    ----------
    loadings : ndarray (B, L + 1)
        Of each item on the common path of each level and, last, on its own path, in units of its
        scale. The own loading makes up the item's whole variance, so that what is added to the
        shared part for having few origins is taken from the own part.
    common : tuple of PathPool, length L
        Total first.
    widening : ndarray (L,)
        What the common loadings of each level were multiplied by for having few origins.
    independent : float
        Stretches of H months that the origins cover.
    own : dict of str to PathPool
        By segment.
    notes : tuple of str
        What the run must say about how the ranges were made.
    """

    loadings: np.ndarray
    widening: np.ndarray
    independent: float
    common: tuple[PathPool, ...]
    own: dict[str, PathPool]
    notes: tuple[str, ...]

    @property
    def pools(self) -> Pools:
        """The paths alone, as draws need them."""
        own = {name: pool.paths for name, pool in self.own.items()}
        return Pools(tuple(pool.paths for pool in self.common), own)


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
        Which paths are kept when there are more than ``path_pools.MAX_OWN_PATHS`` in a segment.
    """
    horizon = residual.shape[2]
    z = np.clip(residual / scale[:, :, None], -PATH_LIMIT, PATH_LIMIT)
    z, notes = whole_paths(z)
    weight = np.where(np.isfinite(z), np.broadcast_to(scale[:, :, None], z.shape), 0.0)
    filled = np.nan_to_num(z)
    independent = _independent_origins(np.isfinite(z).any(axis=(0, 2)), offsets, horizon)
    loadings, common, widening = [], [], []
    for codes in hierarchy.codes:
        shared, variance, reliability = _shared_part(filled, weight, codes, independent)
        common.append((codes, shared, reliability))
        groups = np.unique(codes)
        widen = _widening(independent * np.sqrt(groups.size))
        widening.append(widen)
        sd = np.zeros(codes.max() + 1)
        sd[groups] = np.sqrt(variance) * widen
        loadings.append(sd[codes])
        position = np.searchsorted(groups, codes)
        filled = np.where(weight > 0, filled - (reliability * shared)[position], 0.0)
    pools = common_pools(common, hierarchy, offsets)
    own = own_pools(np.where(np.isfinite(z), filled, np.nan), hierarchy, segments, offsets, rng)
    loadings.append(_own_loadings(z, np.stack(loadings, axis=1), own, segments))
    if offsets and independent < 3:
        notes += (
            f"ranges rest on about {independent:.1f} independent stretches of {horizon} months: "
            "the shared part of the error was widened for it",
        )
    return Ranges(np.stack(loadings, axis=1), np.array(widening), independent, pools, own, notes)


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
    cut = (trust * variance).sum() / max(trust.sum(), 1e-9)  # cutting at zero has raised the mean
    variance *= level / cut if cut > 0 else 0.0
    reliability = np.sqrt(variance / np.maximum(observed, 1e-12))
    return shared, variance, np.minimum(reliability, 1.0)[:, None, None]


def _sum_by(values: np.ndarray, position: np.ndarray, groups: int) -> np.ndarray:
    total = np.zeros((groups, *values.shape[1:]))
    np.add.at(total, position, values)
    return total


def _own_loadings(
    z: np.ndarray, common: np.ndarray, own: dict[str, PathPool], segments: Sequence[str]
) -> np.ndarray:
    """What an item's own path must carry (B,) so that its whole variance is its segment's."""
    names = np.asarray(segments)
    shared = np.square(common).sum(axis=1)
    answer = np.ones(len(names))
    for segment, pool in own.items():
        members = names == segment
        known = z[members][np.isfinite(z[members])]
        of_path = float(np.square(pool.paths).mean())
        if known.size == 0 or of_path == 0:
            continue
        seen = int(np.isfinite(z[members]).any(axis=2).sum())
        whole = seen * float(np.square(known).mean()) + PRIOR_PATHS * PRIOR_SQUARE
        whole /= seen + PRIOR_PATHS
        left = np.maximum(whole - shared[members], MIN_OWN_SHARE * whole)
        answer[members] = np.sqrt(left / of_path)
    return answer
