"""From components to draws: the one place where sample paths are made, live or out of the store.

Everything a draw needs is an ``ItemModel`` (one row of ``components``), the path pools
(``residual_paths``) and the run's seed. Randomness belongs to an item or to an aggregate by name,
never to an order of work; draws are rounded to a step that is a power of two, so that every sum is
exact. Hence the same bytes for any number of workers, any chunk size and any subset of items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sopforecast.baseline.intermittent import sample_counts
from sopforecast.core.draws import QUANTILES, mean_view, quantile_view, series_rng
from sopforecast.core.hierarchy import Hierarchy

MAX_MEAN_CORRECTION = 4.0


@dataclass(frozen=True)
class ItemModel:
    """What one item's draws are made of; see ``core.tables.Components``.

    ``groups`` are the aggregates the item belongs to, one a level, total first.
    """

    unique_id: str
    kind: str
    segment: str
    groups: tuple[str, ...]
    centre: np.ndarray
    spread: np.ndarray
    loadings: np.ndarray
    step: float
    dispersion: float
    drift: float


@dataclass(frozen=True)
class Pools:
    """Residual paths: ``common`` by level, total first, each (M, H); ``own`` by segment (M, H)."""

    common: tuple[np.ndarray, ...]
    own: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class ChunkViews:
    """Views of a chunk's draws, and its part of the draws of the aggregates it touches."""

    mean: np.ndarray  # (b, H)
    quantiles: np.ndarray  # (Q, b, H)
    touched: np.ndarray  # (a,) index into aggregates
    sums: np.ndarray  # (S, a, H)


def draw_items(models: Sequence[ItemModel], pools: Pools, *, seed: int, draws: int) -> np.ndarray:
    """Sample paths (S, b, H) of some items, in their units: non-negative multiples of steps."""
    horizon = models[0].centre.size
    answer = np.empty((draws, len(models), horizon))
    shared: dict[tuple[int, str], np.ndarray] = {}
    for i, model in enumerate(models):
        answer[:, i] = _draw_item(model, pools, shared, seed, draws)
    return answer


def error_parts(
    models: Sequence[ItemModel], pools: Pools, *, seed: int, draws: int, leads: slice
) -> tuple[np.ndarray, np.ndarray]:
    """Common and own errors (S, b, h) of some items at some months ahead, in units of the scale."""
    shape = (draws, len(models), models[0].centre[leads].size)
    common, own = np.zeros(shape), np.zeros(shape)
    shared: dict[tuple[int, str], np.ndarray] = {}
    for i, model in enumerate(models):
        if model.kind != "zero":
            rng = series_rng(seed, "own", model.unique_id)
            parts = _error_of_item(model, pools, shared, seed, draws, rng)
            common[:, i], own[:, i] = parts[0][:, leads], parts[1][:, leads]
    return common, own


def view_chunk(
    chunk: Sequence[ItemModel],
    pools: Pools,
    hierarchy: Hierarchy,
    seed: int,
    draws: int,
) -> ChunkViews:
    """Draw a chunk of items and keep only what is stored, and its sums for the aggregates."""
    paths = draw_items(chunk, pools, seed=seed, draws=draws)
    position = {item: i for i, item in enumerate(hierarchy.items)}
    members = np.array([position[m.unique_id] for m in chunk])
    touched = np.unique(hierarchy.codes[:, members])
    sums = hierarchy.aggregate_block(paths, members)[:, touched]
    views = quantile_view(paths)
    return ChunkViews(
        mean_view(paths), np.stack([views[label] for label, _ in QUANTILES]), touched, sums
    )


def draw_nodes(
    models: Sequence[ItemModel], pools: Pools, hierarchy: Hierarchy, *, seed: int, draws: int
) -> np.ndarray:
    """Sample paths (S, N, H) of every node, aggregates first; models in order of the items."""
    bottom = draw_items(models, pools, seed=seed, draws=draws)
    return np.concatenate([hierarchy.aggregate(bottom), bottom], axis=1)


def _draw_item(
    model: ItemModel,
    pools: Pools,
    shared: dict[tuple[int, str], np.ndarray],
    seed: int,
    draws: int,
) -> np.ndarray:
    if model.kind == "zero":
        return np.zeros((draws, model.centre.size))
    rng = series_rng(seed, "own", model.unique_id)
    common, own = _error_of_item(model, pools, shared, seed, draws, rng)
    centred = model.centre + model.spread * (common + own)
    mean = _keep_mean(np.maximum(centred, 0.0), model.centre)
    if model.kind == "counts":
        counts = sample_counts(
            mean / model.step, dispersion=model.dispersion, drift=model.drift, rng=rng
        )
        return counts * model.step
    steps: np.ndarray = np.floor(mean / model.step + rng.random(mean.shape))
    return steps * model.step


def _error_of_item(
    model: ItemModel,
    pools: Pools,
    shared: dict[tuple[int, str], np.ndarray],
    seed: int,
    draws: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Common and own error of one item in every draw (S, H), in units of its scale."""
    common = np.zeros((draws, model.centre.size))
    for level, (group, loading) in enumerate(zip(model.groups, model.loadings[:-1], strict=True)):
        if loading > 0:
            key = (level, group)
            if key not in shared:
                shared[key] = _common_path(pools.common[level], group, seed, draws)
            common += loading * shared[key]
    own = np.zeros_like(common)
    if model.kind == "paths":
        pool = pools.own[model.segment]
        own = model.loadings[-1] * pool[_balanced(len(pool), draws, rng)]
    return common, own


def _keep_mean(paths: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Scale each month's paths so that cutting at zero has not raised their mean."""
    mean = mean_view(paths[:, None, :])[0]
    factor = np.where(mean > 0, centre / np.where(mean > 0, mean, 1.0), 1.0)
    return paths * np.clip(factor, 1.0 / MAX_MEAN_CORRECTION, MAX_MEAN_CORRECTION)


def _common_path(pool: np.ndarray, group: str, seed: int, draws: int) -> np.ndarray:
    """The shared error of one aggregate in every draw (S, H): each path of the pool, both signs."""
    if len(pool) == 0:
        return np.zeros((draws, pool.shape[1]))
    rng = series_rng(seed, "common", group)
    chosen = _balanced(2 * len(pool), draws, rng)
    sign = np.where(chosen % 2 == 0, 1.0, -1.0)
    path: np.ndarray = sign[:, None] * pool[chosen // 2]
    return path


def _balanced(size: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """``draws`` indexes below ``size``, each as often as any other (to within one), shuffled."""
    rounds = -(-draws // size)
    order = np.concatenate([rng.permutation(size) for _ in range(rounds)])
    return rng.permutation(order[:draws])
