"""Make the centre add up: forecasts of items and of aggregates meet where each is surest.

Every node has a forecast of its own. The items move so that they agree with the aggregates, each
in proportion to its own out-of-sample error variance, and the aggregates yield in proportion to
theirs. That is weighted least squares reconciliation with the variances of all nodes on the
diagonal (MinT with a diagonal covariance; Wickramasuriya, Athanasopoulos and Hyndman 2019, JASA
114), written as an update of the items by aggregates that are noisy measurements of their sums:

    items' = items + W A' (A W A' + V)^-1 (aggregates - A items)

with A (A, B) the summing matrix, W and V the variances of items and aggregates. It is the same
projection and needs a system the size of the aggregates only. Levels may be nested or crossed.
"""

from __future__ import annotations

import numpy as np

from sopforecast.core.hierarchy import Hierarchy

RELATIVE_FLOOR = 1e-6  # of its items' variances: an aggregate that never erred is nearly exact


def reconcile(
    items: np.ndarray,
    aggregates: np.ndarray,
    hierarchy: Hierarchy,
    *,
    item_variance: np.ndarray,
    aggregate_variance: np.ndarray,
) -> np.ndarray:
    """Item paths after meeting the forecasts of the aggregates; non-negative.

    Parameters
    ----------
    items : ndarray (..., B, H)
        Forecasts of the items, in their unit.
    aggregates : ndarray (..., A, H)
        Forecasts of the aggregates in ``hierarchy`` order. NaN: taken to agree with its items.
    hierarchy : Hierarchy
    item_variance : ndarray (B,)
        Mean squared out-of-sample error; an item with 0 does not move.
    aggregate_variance : ndarray (A,)

    Returns
    -------
    ndarray (..., B, H)
        An item that would fall below zero is set to zero: sums are always taken from the items.
    """
    from scipy.sparse import csr_array, diags_array
    from scipy.sparse.linalg import splu

    summing = csr_array(hierarchy.summing())
    weighted = summing @ diags_array(item_variance)
    variance = aggregate_variance + RELATIVE_FLOOR * (summing @ item_variance)
    variance = np.where(variance > 0, variance, 1.0)  # nothing can move there: any number will do
    system = splu((weighted @ summing.T + diags_array(variance)).tocsc())
    gap = aggregates - hierarchy.aggregate(items)
    gap = np.where(np.isfinite(gap), gap, 0.0)
    by_node = np.moveaxis(gap, -2, 0)  # (A, ..., H)
    solved = system.solve(by_node.reshape(by_node.shape[0], -1))
    move = (weighted.T @ solved).reshape(items.shape[-2], *by_node.shape[1:])
    return np.maximum(items + np.moveaxis(move, 0, -2), 0.0)


def error_variance(residual: np.ndarray, *, fallback: np.ndarray) -> np.ndarray:
    """Mean squared error of each node over origins and months ahead (N, O, H) -> (N,).

    Drawn to ``fallback`` (N,) as if that had been seen at two origins more: few and overlapping
    origins say little about a single node.
    """
    known = np.isfinite(residual)
    count = known.any(axis=2).sum(axis=1)
    total = np.where(known, np.square(np.where(known, residual, 0.0)), 0.0).sum(axis=(1, 2))
    mean = total / np.maximum(known.sum(axis=(1, 2)), 1)
    return (count * mean + 2.0 * fallback) / (count + 2.0)
