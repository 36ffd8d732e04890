"""How cells move with their sum: what `spread` needs to know of each before it moves any draw.

A cell is a gamma-Poisson count with the mean and variance it has. Tilting the joint distribution of
such cells by exp(h * sum) is what a statement about the sum does to it; with lambda = exp(h) every
cell stays gamma-Poisson, at mean_i * lambda / (1 - (lambda - 1) * excess_i): scattered cells grow
faster than steady ones. `bent_slopes` gives each draw the slopes of the sum it goes to.

References
----------
Jorgensen (1997), The Theory of Dispersion Models (exponential tilting).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_BLOCK = 1 << 16
_STIFFEST = 1e-3  # of the mean slope: a cell that never varies moves last, but it can be emptied
_STEEPEST = 0.75  # of the tilt at which a cell's mean has no bound: slopes grow at most fourfold
_STRAIGHT = 0.02  # bend of a slope below which it is left as it is
_POINTS = 48


@dataclass(frozen=True)
class Habits:
    """What is known of the cells of a sum; arrays (C,) but for the curve.

    Attributes
    ----------
    mean : ndarray
        In the cell's unit.
    slope : ndarray
        Covariance with the sum per unit of mean, relative to the average cell; positive.
    excess : ndarray
        Variance over mean in steps, less one: 0 for Poisson, above -1.
    bend : ndarray
        Excess as the tilt sees it, in the coarsest step; from 0 up.
    tilt, total : ndarray (G,)
        Curve of the sum (ascending) that goes with a tilt lambda - 1.
    """

    mean: np.ndarray
    slope: np.ndarray
    excess: np.ndarray
    bend: np.ndarray
    tilt: np.ndarray
    total: np.ndarray


def learn_habits(
    cells: np.ndarray,
    *,
    steps: np.ndarray,
    largest: float,
    mean: np.ndarray | None = None,
    variance: np.ndarray | None = None,
    correlation: float | None = None,
) -> Habits:
    """Habits of cells (S, C); ``largest`` is the largest sum any draw has or goes to."""
    if mean is None or variance is None:
        seen_mean, seen_variance = cell_moments(cells)
        mean = seen_mean if mean is None else mean
        variance = seen_variance if variance is None else variance
    mean = np.maximum(mean, 0.0)
    if not mean.any():  # nothing is known: every cell alike
        mean, variance, correlation = steps.astype(np.float64), np.square(steps), 0.0
    total = cells.sum(axis=1)
    spread = float(total.var(ddof=1)) if len(total) > 1 else 0.0
    reach = slopes(variance, sum_variance=spread, correlation=correlation)
    if not reach.any():
        reach = mean
    known = mean > 0
    safe = np.where(known, mean, 1.0)
    usual = float(reach.sum() / mean.sum())
    slope = np.where(known, np.maximum(reach / safe, _STIFFEST * usual), usual) / usual
    excess = np.where(known, variance / safe / steps - 1.0, 0.0)
    bend = np.maximum(excess, 0.0) * steps / steps.max()
    # What moves the cells together moves the sum without tilting any cell of its own.
    own = min(1.0, float(np.maximum(variance, mean * steps).sum() / reach.sum()))
    tilt, total = _curve(mean, bend, largest=largest, own=own)
    return Habits(mean, slope, excess, bend, tilt, total)


def bent_slopes(habits: Habits, *, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Slopes for the draws whose sum goes from ``before`` to ``after`` (R,): (R, C), or (1, C).

    An increase has the slopes of where it goes to; a decrease those averaged along the way, by
    Simpson's rule.
    """
    there = np.interp(after, habits.total, habits.tilt)
    here = np.interp(before, habits.total, habits.tilt)
    strongest = max(float(np.abs(there).max()), float(np.abs(here).max()))
    if strongest * float(habits.bend.max()) < _STRAIGHT:
        return habits.slope[None, :]
    if (after >= before).all():
        return habits.slope * _steepness(there, habits.bend)
    way = sum(
        share * _steepness(tilt, habits.bend) / (1.0 + tilt)[:, None]
        for share, tilt in ((1 / 6, here), (4 / 6, 0.5 * (here + there)), (1 / 6, there))
    )
    return habits.slope * way


def cell_moments(cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance over draws (S, C) -> two of (C,), without a copy of all draws."""
    draws, count = cells.shape
    rows = max(1, _BLOCK // max(count, 1))
    blocks = [slice(first, first + rows) for first in range(0, draws, rows)]
    mean, variance = np.zeros(count), np.zeros(count)
    for block in blocks:
        mean += cells[block].sum(axis=0)
    mean /= draws
    for block in blocks:
        variance += np.square(cells[block] - mean).sum(axis=0)
    return mean, variance / max(draws - 1, 1)


def slopes(variance: np.ndarray, *, sum_variance: float, correlation: float | None) -> np.ndarray:
    """Covariance of each cell with the sum (C,), were any two cells equally correlated.

    The correlation is what the variance of the sum has beyond that of independent cells; it is
    never taken to be negative. Estimating each covariance by itself would be mostly noise: with
    500 draws it errs by a twentieth of sd(cell) * sd(sum), many times a small cell's variance.
    """
    sd = np.sqrt(variance)
    alone, together = float(variance.sum()), float(sd.sum()) ** 2
    if correlation is None:
        room = together - alone
        correlation = (sum_variance - alone) / room if room > 1e-9 * together else 0.0
    common = min(max(correlation, 0.0), 1.0)
    return (1.0 - common) * variance + common * sd * sd.sum()


def _steepness(tilt: np.ndarray, bend: np.ndarray) -> np.ndarray:
    """Slope at a tilt (R,) over slope without: (R, C)."""
    return 1.0 / (1.0 - np.minimum(tilt[:, None] * bend, _STEEPEST))


def _curve(
    mean: np.ndarray, bend: np.ndarray, *, largest: float, own: float
) -> tuple[np.ndarray, np.ndarray]:
    """Tilts from nearly -1 up to where the sum is ``largest``, and those sums, ascending (G,)."""
    base = float(mean.sum())
    most = max(own * (largest / base - 1.0), 0.0) + 1e-6
    up = np.geomspace(1e-3, 1.0, _POINTS) * most
    tilt = np.concatenate([np.linspace(-0.99, 0.0, _POINTS), up])
    total = np.concatenate(
        [(1.0 + some) * (_steepness(some, bend) @ mean) for some in np.array_split(tilt, 8)]
    )
    return tilt, base + (total - base) / own
