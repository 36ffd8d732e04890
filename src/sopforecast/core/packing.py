"""Draws kept small: whole counts of each item's step, exact to the last bit.

Draws are non-negative multiples of steps that are powers of two, so dividing by the step and
multiplying again gives the same bytes.

Axes: ``S`` draws, ``b`` items, ``H`` months.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_SMALL = (np.uint8, np.uint16, np.uint32)


@dataclass(frozen=True, eq=False)
class Packed:
    """Draws as counts (H, S, b) of steps (b,), of some items."""

    items: np.ndarray
    counts: np.ndarray
    steps: np.ndarray

    def month(self, index: int) -> np.ndarray:
        """Draws (S, b) of a month."""
        draws: np.ndarray = self.counts[index] * self.steps
        return draws

    def whole(self) -> np.ndarray:
        """Draws (S, b, H)."""
        draws = np.empty((*self.counts.shape[1:], self.counts.shape[0]))
        np.multiply(np.moveaxis(self.counts, 0, -1), self.steps[:, None], out=draws)
        return draws


def pack(draws: np.ndarray, items: np.ndarray, steps: np.ndarray) -> Packed:
    """Keep draws (S, b, H) in the smallest whole numbers that hold them to the last bit.

    Steps are powers of two, so dividing and multiplying again is exact.
    """
    counts = np.moveaxis(draws / steps[:, None], -1, 0)
    largest = float(counts.max(initial=0.0))
    for kind in _SMALL:
        if largest <= np.iinfo(kind).max:
            whole = counts.astype(kind)
            if np.array_equal(whole, counts):
                return Packed(items, np.ascontiguousarray(whole), steps)
            break
    return Packed(items, np.ascontiguousarray(counts), steps)
