"""Many series side by side: one row a series, one column a month, all ending in the last column.

Every function works row by row, with sums taken first to last and medians, so that a series gives
the same bits whatever series stand beside it. NaN means not known, or outside the series.
"""

from __future__ import annotations

import numpy as np


def right_aligned(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of each month when series of these lengths end in one last column."""
    row = np.repeat(np.arange(len(lengths)), lengths)
    within = np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return row, int(lengths.max(initial=0)) - np.repeat(lengths, lengths) + within


def shifted(values: np.ndarray, months: int) -> np.ndarray:
    """The value ``months`` later (earlier when negative), NaN beyond the ends; (n, T)."""
    out = np.full(values.shape, np.nan)
    if 0 < months < values.shape[1]:
        out[:, :-months] = values[:, months:]
    elif 0 < -months < values.shape[1]:
        out[:, -months:] = values[:, :months]
    return out


def known_median(values: np.ndarray, *, least: int) -> np.ndarray:
    """Median over the last axis without NaN; NaN where fewer than ``least`` are known."""
    ordered = np.sort(values, axis=-1)  # NaN last
    known = np.isfinite(values).sum(axis=-1, keepdims=True)
    low = np.take_along_axis(ordered, np.maximum(known - 1, 0) // 2, axis=-1)
    high = np.take_along_axis(ordered, np.minimum(known // 2, values.shape[-1] - 1), axis=-1)
    middle = low + (high - low) / 2
    return np.where(known >= least, middle, np.nan)[..., 0]


def sum_in_order(values: np.ndarray) -> np.ndarray:
    """Sum over the last axis, NaN as 0, first to last whatever the shape."""
    return np.cumsum(np.nan_to_num(values, nan=0.0), axis=-1)[..., -1]
