"""Items whose demand is forecast in different ways, put under one hierarchy.

Axes: ``S`` draws, ``A`` aggregates, ``B`` items, ``Q`` quantiles, ``H`` months. Sums of multiples
of powers of two are exact, so parts may be added in any order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sopforecast.core.draws import QUANTILES, mean_view, quantile_view
from sopforecast.core.hierarchy import Hierarchy


@dataclass(frozen=True, eq=False)
class Part:
    """Views of some items, and their part of every aggregate's draws.

    Attributes
    ----------
    items : tuple of str, length b
    mean, naive : ndarray (b, H)
    quantiles : ndarray (Q, b, H)
    steps : ndarray (b,)
    sums : ndarray (S, A, H)
        In the order of the whole hierarchy's aggregates.
    """

    items: tuple[str, ...]
    mean: np.ndarray
    naive: np.ndarray
    quantiles: np.ndarray
    steps: np.ndarray
    sums: np.ndarray


def part_of_draws(
    draws: np.ndarray,
    items: Sequence[str],
    hierarchy: Hierarchy,
    *,
    naive: np.ndarray,
    steps: np.ndarray,
) -> Part:
    """The part of items whose draws (S, b, H) are at hand."""
    view = quantile_view(draws)
    members = np.searchsorted(np.array(hierarchy.items, dtype=object), list(items))
    return Part(
        tuple(items),
        mean_view(draws),
        naive,
        np.stack([view[label] for label, _ in QUANTILES]),
        steps,
        hierarchy.aggregate_block(draws, members),
    )


def lifted(sums: np.ndarray, aggregates: Sequence[str], hierarchy: Hierarchy) -> np.ndarray:
    """Put sums (S, a, H) of some aggregates among those of the whole hierarchy; 0 elsewhere."""
    if tuple(aggregates) == hierarchy.aggregates:
        return sums
    place = {name: k for k, name in enumerate(hierarchy.aggregates)}
    whole = np.zeros((sums.shape[0], len(hierarchy.aggregates), sums.shape[2]))
    whole[:, [place[name] for name in aggregates]] = sums
    return whole


def joined(parts: Sequence[Part], hierarchy: Hierarchy) -> Part:
    """One part of all items, in the order of the hierarchy.

    Raises
    ------
    ValueError
        When the parts are not the items of the hierarchy, each once.
    """
    if len(parts) == 1 and parts[0].items == hierarchy.items:
        return parts[0]
    names = [item for part in parts for item in part.items]
    if sorted(names) != list(hierarchy.items):
        raise ValueError("parts: expected the items of the hierarchy, each in one part")
    order = np.argsort(np.array(names, dtype=object), kind="stable")
    sums = parts[0].sums.copy()
    for part in parts[1:]:
        sums += part.sums
    return Part(
        hierarchy.items,
        np.concatenate([part.mean for part in parts])[order],
        np.concatenate([part.naive for part in parts])[order],
        np.concatenate([part.quantiles for part in parts], axis=1)[:, order],
        np.concatenate([part.steps for part in parts])[order],
        sums,
    )
