"""Draws kept as whole counts of their steps."""

from __future__ import annotations

import numpy as np

from sopforecast.core.packing import pack


def test_packing_is_exact_and_small() -> None:
    rng = np.random.default_rng(1)
    steps = np.array([1.0, 0.5, 2.0**-10, 4.0])
    for largest, width in ((200, 1), (60_000, 2), (3_000_000, 4)):
        draws = rng.integers(0, largest, (7, 4, 3)) * steps[:, None]
        draws[0, 0, 0] = largest
        packed = pack(draws, np.arange(4), steps)
        assert packed.counts.dtype.itemsize == width
        assert packed.whole().tobytes() == draws.tobytes()
        assert np.array_equal(packed.month(2), draws[:, :, 2])
    odd = draws + 0.3  # no multiple of a step is kept as it is
    assert np.array_equal(pack(odd, np.arange(4), np.ones(4)).whole(), odd)
    huge = np.full((2, 4, 3), 2.0**40)
    assert np.array_equal(pack(huge, np.arange(4), np.ones(4)).whole(), huge)
