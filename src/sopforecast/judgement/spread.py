"""Spread the change of a sum over its cells: every draw adds up, nothing is negative, all whole.

A statement moves one number, the sum of some cells (items x months), to new draws. `move_sum`
decides draw by draw which cells carry the change. A cell is read as demand whose level is itself
uncertain: Poisson around a gamma level, with the mean and the variance the cell has. Given a
larger sum every level is likely to have been higher, in proportion to how it moves with the sum:

- an increase is shared by weights slope_i * level_i, where level_i is drawn from what the path
  shows of the cell's level (a Polya urn: what a path has, it is likely to have more of);
- a decrease thins what is there without replacement, units of cell i weighing slope_i;
- slope_i = cov(cell i, sum) / mean_i under one correlation between any two cells, taken from how
  far the sum varies more than independent cells would.

Both are exact for independent Poisson cells and for negative binomial cells of one dispersion
(where the cells given their sum are Dirichlet-multinomial), and right to first order otherwise.
Cells that vary far more than a Poisson count would, or far less, take their shares without that
noise: it would be lost in their own spread, or be larger than it.

References
----------
Johnson, Kotz and Balakrishnan (1997), Discrete Multivariate Distributions, chapters 35, 39 and 40.
Fog (2008), Sampling methods for Wallenius' and Fisher's noncentral hypergeometric distributions.
"""

from __future__ import annotations

import numpy as np

from sopforecast.judgement.habits import Habits, bent_slopes, learn_habits
from sopforecast.judgement.urn import add_units, remove_units

_BLOCK = 1 << 16  # numbers worked on at a time: memory does not grow with the draws


def move_sum(
    cells: np.ndarray,
    change: np.ndarray,
    *,
    steps: np.ndarray,
    rng: np.random.Generator,
    mean: np.ndarray | None = None,
    variance: np.ndarray | None = None,
    correlation: float | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Add a change to the sum of the cells in every draw.

    Parameters
    ----------
    cells : ndarray, shape (S, C)
        Draws, non-negative multiples of the cell's step, in the items' units.
    change : ndarray, shape (S,)
        What the sum gains, or loses where negative. A draw never loses more than it has.
    steps : ndarray, shape (C,)
        Step of each cell, a power of two.
    rng : Generator
        The same state and the same input give the same bytes.
    mean, variance : ndarray, shape (C,), optional
        Of each cell; taken from the draws when left out.
    correlation : float, optional
        Between any two cells, from 0 to 1; taken from the variance of the sum when left out.
    out : ndarray, shape (S, C), optional
        Where the answer goes; may be ``cells`` itself.

    Returns
    -------
    ndarray, shape (S, C)
        Non-negative multiples of the steps. Each draw's sum has gained its change, exactly when
        that is a multiple of every step. Where it is not, or where the steps differ and the cells
        of the finest step are used up, less than the coarsest step is lost or gained by rounding.
        Draws without change are as they were.

    Notes
    -----
    Cells that are zero in all draws get a share only when every cell is, and then the same each.
    """
    result = np.empty_like(cells) if out is None else out
    if result is not cells:
        result[...] = cells
    moved = np.flatnonzero(change)
    if moved.size == 0 or cells.shape[1] == 0:
        return result
    if cells.shape[1] == 1:
        units = np.maximum(_rounded(change / steps[0], rng) * steps[0], -cells[:, 0])
        result[:, 0] = cells[:, 0] + units
        return result
    habits = learn_habits(
        cells,
        steps=steps,
        largest=float((cells.sum(axis=1) + np.maximum(change, 0.0)).max()),
        mean=mean,
        variance=variance,
        correlation=correlation,
    )
    rows = max(1, _BLOCK // cells.shape[1])
    for some in (np.flatnonzero(change > 0), np.flatnonzero(change < 0)):
        for first in range(0, some.size, rows):
            block = some[first : first + rows]
            result[block] = _moved(
                result[block], change[block], steps=steps, habits=habits, rng=rng
            )
    return result


def _moved(
    cells: np.ndarray,
    change: np.ndarray,
    *,
    steps: np.ndarray,
    habits: Habits,
    rng: np.random.Generator,
) -> np.ndarray:
    """Move a block of draws (S, C): the cells of one step together, the coarsest step first."""
    kinds = np.unique(steps)[::-1]
    groups: list[slice | np.ndarray] = [slice(None)]
    if len(kinds) > 1:
        groups = [np.flatnonzero(steps == step) for step in kinds]
    held = np.stack([cells[:, group].sum(axis=1) for group in groups])
    before = held.sum(axis=0)
    left = np.maximum(change, -before)
    slope = bent_slopes(habits, before=before, after=before + left)
    weights = np.ones(held.shape)
    if len(kinds) > 1:
        weight = slope * np.where(change[:, None] > 0, habits.mean, cells)
        weights = np.stack([weight[:, group].sum(axis=1) for group in groups])
    result = np.empty_like(cells)
    for k, (step, group) in enumerate(zip(kinds.tolist(), groups, strict=True)):
        ahead = weights[k:].sum(axis=0)
        share = np.divide(weights[k], ahead, out=np.zeros(len(change)), where=ahead > 0)
        units = _rounded(left * share / step, rng)
        if k + 1 < len(groups):  # what is left to lose must still be there in the finer cells
            units = np.minimum(units, np.floor((left + held[k + 1 :].sum(axis=0)) / step))
        units = np.maximum(units, -held[k] / step)
        result[:, group] = step * _move_units(
            cells[:, group] / step,
            units,
            mean=habits.mean[group] / step,
            slope=slope[:, group],
            excess=habits.excess[group],
            rng=rng,
        )
        left = left - step * units
    return result


def _move_units(
    counts: np.ndarray,
    units: np.ndarray,
    *,
    mean: np.ndarray,
    slope: np.ndarray,
    excess: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Put whole units (S,) into counts (S, C) where positive, take them out where negative."""
    up, down = np.maximum(units, 0.0), np.maximum(-units, 0.0)
    moved = counts
    if up.any():
        moved = moved + add_units(counts, up, mean=mean, slope=slope, excess=excess, rng=rng)
    if down.any():
        moved = moved - remove_units(counts, down, slope=slope, excess=excess, rng=rng)
    return moved


def _rounded(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Round to whole numbers, up as often as the part beyond the lower one says."""
    floor = np.floor(values)
    return floor + (rng.random(len(values)) < values - floor)
