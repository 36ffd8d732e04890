"""Set the width of the ranges by what past origins say: 8 of 10 inside, for items and for sums.

Loadings are learned from squares, which a few freak errors govern; ranges are judged by how many
months land inside. After reconciliation two factors, one on the own parts and one on the common
parts, are chosen so that the P10-P90 of the simulated errors held 80% of the errors seen at past
origins: of the items, and on average over the levels of aggregates. What was added to the common
parts for having few origins is put back afterwards: past origins cannot show what they have not
seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from sopforecast.baseline.simulate import ItemModel, Pools, error_parts
from sopforecast.core.hierarchy import Hierarchy

DRAWS = 200
LEAD_STEP = 3  # every third month ahead is enough to judge a width
LOW, HIGH, TARGET = 0.10, 0.90, 0.80
FACTORS = (0.2, 1.6)
BISECTIONS, ROUNDS = 8, 2
PRIOR_PATHS = 20.0
PRIOR_ORIGINS = 1.0


def calibrate_widths(
    models: Sequence[ItemModel],
    pools: Pools,
    residual: np.ndarray,
    scale: np.ndarray,
    hierarchy: Hierarchy,
    *,
    widening: np.ndarray,
    independent: float,
    seed: int,
) -> tuple[ItemModel, ...]:
    """The items with loadings that held 80% of past errors.

    Parameters
    ----------
    models : sequence of ItemModel, length B
        In order of the items.
    pools : Pools
    residual : ndarray (B, O, H)
        Errors at past origins; NaN where unknown.
    scale : ndarray (B, O)
        Scale of each item at each origin.
    hierarchy : Hierarchy
    widening : ndarray (L,)
        What the common loadings of each level were multiplied by for having few origins.
    independent : float
        Stretches of H months that the origins cover.
    seed : int
    """
    paths = np.array([model.kind == "paths" for model in models])
    z = np.where(paths[:, None, None], residual / scale[:, :, None], np.nan)
    seen = int(np.isfinite(z).any(axis=2).sum())
    if seen == 0:
        return tuple(models)
    plain = np.append(widening, 1.0)
    leads = slice(0, None, LEAD_STEP)
    bare = [replace(model, loadings=model.loadings / plain) for model in models]
    common, own = error_parts(bare, pools, seed=seed, draws=DRAWS, leads=leads)
    of_items = _item_coverage(common[:, paths], own[:, paths], z[paths][:, :, leads])
    of_sums = _sum_coverage(common, own, residual[:, :, leads], scale, hierarchy)
    own_factor, common_factor = 1.0, 1.0
    for _ in range(ROUNDS):
        if of_sums is not None:
            common_factor = _bisect(lambda k, a=own_factor: of_sums(k, a))  # type: ignore[misc]
        own_factor = _bisect(lambda a, k=common_factor: of_items(k, a))  # type: ignore[misc]
    own_factor **= seen / (seen + PRIOR_PATHS)
    common_factor **= independent / (independent + PRIOR_ORIGINS)
    factors = np.append(np.full(widening.size, common_factor), own_factor)
    return tuple(replace(model, loadings=model.loadings * factors) for model in models)


Coverage = Callable[[float, float], float]


def _bisect(coverage: Callable[[float], float]) -> float:
    """The factor at which coverage, which grows with it, is on target; within ``FACTORS``."""
    low, high = FACTORS
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if coverage(middle) < TARGET else (low, middle)
    return (low + high) / 2


def _item_coverage(common: np.ndarray, own: np.ndarray, z: np.ndarray) -> Coverage:
    """Share of scaled errors (b, O, h) inside P10-P90 of the simulated ones (S, b, h)."""
    known = np.isfinite(z)

    def coverage(common_factor: float, own_factor: float) -> float:
        low, high = np.quantile(common_factor * common + own_factor * own, [LOW, HIGH], axis=0)
        inside = (z >= low[:, None]) & (z <= high[:, None])
        return float(inside[known].mean())

    return coverage


def _sum_coverage(
    common: np.ndarray,
    own: np.ndarray,
    residual: np.ndarray,
    scale: np.ndarray,
    hierarchy: Hierarchy,
) -> Coverage | None:
    """Mean over levels of the share of sums inside; None when no sum has two items."""
    levels = np.array(hierarchy.levels)
    sizes = hierarchy.aggregate(np.ones((len(hierarchy.items), 1)))[:, 0]
    simulated, errors, counted = [], [], []
    for o in range(residual.shape[1]):
        known = np.isfinite(residual[:, o]).all(axis=1) & np.isfinite(scale[:, o])
        weight = np.where(known, scale[:, o], 0.0)[:, None]
        members = hierarchy.aggregate(known[:, None].astype(float))[:, 0]
        whole = (members > 1) & (members >= 0.5 * sizes)
        if not whole.any():
            continue
        simulated.append((hierarchy.aggregate(common * weight), hierarchy.aggregate(own * weight)))
        errors.append(hierarchy.aggregate(np.where(known[:, None], residual[:, o], 0.0)))
        counted.append(whole)
    if not errors:
        return None

    def coverage(common_factor: float, own_factor: float) -> float:
        inside: dict[str, list[np.ndarray]] = {}
        for (shared, alone), error, whole in zip(simulated, errors, counted, strict=True):
            sums = common_factor * shared + own_factor * alone
            low, high = np.quantile(sums, [LOW, HIGH], axis=0)
            held = (error >= low) & (error <= high)
            for level in dict.fromkeys(hierarchy.levels):
                inside.setdefault(level, []).append(held[whole & (levels == level)].ravel())
        shares = [np.concatenate(held) for held in inside.values()]
        return float(np.mean([held.mean() for held in shares if held.size]))

    return coverage
