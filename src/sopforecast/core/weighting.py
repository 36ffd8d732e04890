"""The law by which models are weighed, and how far the weights of few series are trusted.

Shared by the backtest of a run and by what closed months teach, so that both weigh alike. Why these
numbers: see `baseline.combine`.
"""

from __future__ import annotations

import numpy as np

POWER = 6.0
SEGMENT_PRIOR_SERIES = 20.0
PORTFOLIO_PRIOR_SERIES = 5.0
ERROR_LIMIT = 10.0  # an error above this many yardsticks counts as this
SQUARED_SEGMENTS = ("sparse", "aggregate_sparse")
"""Segments whose errors are squared; they have a pool of models, and a portfolio, of their own."""


def weights_from(size: np.ndarray) -> np.ndarray:
    """Weights (M,) that add to 1, from errors of models (M,), positive or infinite: ``size ** -6``.

    Examples
    --------
    >>> weights_from(np.array([1.0, 2.0, np.inf])).round(4).tolist()
    [0.9846, 0.0154, 0.0]
    """
    inverse = (size.min() / size) ** POWER
    weights: np.ndarray = inverse / inverse.sum()
    return weights
