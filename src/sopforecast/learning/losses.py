"""The loss by which two procedures are compared: how good the ranges were, at every level.

Reads arrays of cells, gives sums. A contest compares the same cells under two procedures, so a loss
is only ever read beside another one of the same cells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from sopforecast.core.metrics import wis


class Loss(NamedTuple):
    """A loss, what to divide it by, and the cells it was made of; no cells: nothing to compare."""

    loss: float
    size: float
    cells: int


NOTHING = Loss(0.0, 0.0, 0)


def range_loss(
    actual: np.ndarray, quantiles: Mapping[str, np.ndarray], levels: Sequence[str]
) -> Loss:
    """Weighted interval score as a share of demand, the mean over levels of the hierarchy.

    Parameters
    ----------
    actual : ndarray, shape (n,)
        Demand of each cell in its unit; NaN is unknown and left out.
    quantiles : mapping of label to ndarray, shape (n,)
        Labels of ``core.draws.QUANTILES``, in the unit of ``actual``.
    levels : sequence of str, length n
        Level of each cell: ``total``, ``family``, ``item``.

    Returns
    -------
    Loss
        ``loss`` is the mean over levels of sum WIS / sum |actual| of the level, 0 or above, lower
        is better; ``size`` is 1, so the loss is a share of demand already; ``cells`` counts the
        cells of these levels. A level without any demand is left out; without a level nothing is
        compared and all three are 0.

    Raises
    ------
    ValueError
        Lengths differ, or a quantile is not known (`core.metrics.wis`).

    Notes
    -----
    Each level counts the same. Summed over all cells, items would weigh as much as there are of
    them and the one total next to nothing, and widths of sums, which a planner buys capacity by,
    could be wrong for free. Divided by the demand of its own level, no level wins by its unit
    being counted again in every sum above it. WIS after Bracher et al. (2021).

    Examples
    --------
    Medians of 15 for 10 (an item) and of 30 for 40 (its total): shares 0.5 and 0.25.

    >>> range_loss(np.array([10.0, 40.0]), {"p50": np.array([15.0, 30.0])}, ["item", "total"])
    Loss(loss=0.375, size=1.0, cells=2)
    """
    labels = np.asarray(levels, dtype=object)
    shapes = {actual.shape, labels.shape, *(values.shape for values in quantiles.values())}
    if len(shapes) > 1 or actual.ndim != 1:
        raise ValueError(f"cells: found shapes {sorted(shapes)}; allowed: one length for all")
    shares, cells = [], 0
    for level in dict.fromkeys(levels):
        rows = np.flatnonzero((labels == level) & ~np.isnan(actual))
        demand = float(np.abs(actual[rows]).sum())
        if demand > 0:
            score = wis(actual[rows], {name: values[rows] for name, values in quantiles.items()})
            shares.append(float(score) * rows.size / demand)
            cells += rows.size
    if not shares:
        return NOTHING
    return Loss(sum(shares) / len(shares), 1.0, cells)
