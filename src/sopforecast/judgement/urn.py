"""Whole units put into cells or taken out of them, so that the number asked for is met exactly.

The cells of one draw are urns. `add_units` draws each cell's level from what the urn holds, then
units by level: multinomial for Poisson cells, Dirichlet-multinomial (a Polya urn) for negative
binomial ones. `remove_units` takes units out one after the other, each as likely as its weight
among those left: multivariate hypergeometric for equal weights, and within about a hundredth of
Wallenius' distribution otherwise. Neither goes unit by unit: independent counts of about the right
sum come first (Poisson; binomial, every unit with an exponential clock), then the few units that
are missing are picked, or those too many picked out again. For fixed or equal weights that leaves
the conditional distribution given the sum exactly.

Arrays: ``R`` draws, ``C`` cells; counts are whole numbers held as float64.
"""

from __future__ import annotations

import numpy as np

CALM, WILD = 0.5, 50.0  # variance over mean outside of which count noise is left out
NOTICEABLE = 0.15  # extra variance of an urn over fixed weights from which it is worth drawing
_NEWTON_STEPS = 12
_MOST_UNITS = 2.0**62


def add_units(
    held: np.ndarray,
    units: np.ndarray,
    *,
    mean: np.ndarray,
    slope: np.ndarray,
    excess: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Units to put into each cell.

    Parameters
    ----------
    held : ndarray, shape (R, C)
    units : ndarray, shape (R,)
        How many to add, whole, from 0 up.
    mean, excess : ndarray, shape (C,)
        Mean count, and variance over mean less one.
    slope : ndarray, shape (R, C) or (1, C)
        Weight of a unit of level, positive.
    rng : Generator

    Returns
    -------
    ndarray, shape (R, C)
        Whole, non-negative, each row summing to ``units`` (to 0 where no cell has a mean).
    """
    urn = np.maximum(excess, 0.0)
    weight = (mean + urn * held) * (slope / (1.0 + urn))
    if not mean.all():
        weight[:, mean <= 0] = 0.0
    fine = _has_count_noise(excess)
    rate = units / np.maximum(weight.sum(axis=1), 1e-300)
    lumpy = rate.max() * slope.max(axis=0) * urn / (1.0 + urn) > NOTICEABLE
    drawn = np.flatnonzero(lumpy & (fine | (mean < urn)) & (mean > 0))
    if drawn.size:
        shape = (mean[drawn] / urn[drawn]) + held[:, drawn]
        part = slope[:, drawn] * (urn[drawn] / (1.0 + urn[drawn]))
        weight[:, drawn] = rng.standard_gamma(shape) * part
    total = weight.sum(axis=1)
    if not total.all():
        weight = np.where(total[:, None] > 0, weight, mean * slope)
        total = weight.sum(axis=1)
    per_weight = np.divide(units, total, out=np.zeros(len(units)), where=total > 0)
    expected = weight * per_weight[:, None]
    added = np.empty(held.shape)
    for columns, has_noise in _kinds(fine):
        part = expected[:, columns]
        added[:, columns] = rng.poisson(part) if has_noise else _shares(part, rng)
    gap = np.where(total > 0, units - added.sum(axis=1), 0.0)
    _take(added, np.maximum(-gap, 0.0), np.ones((1, held.shape[1])), rng)
    _put(added, np.maximum(gap, 0.0), weight, rng)
    return added


def remove_units(
    held: np.ndarray,
    units: np.ndarray,
    *,
    slope: np.ndarray,
    excess: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Units to take out of each cell.

    Parameters
    ----------
    held : ndarray, shape (R, C)
    units : ndarray, shape (R,)
        How many to take, whole, from 0 to what the row holds.
    slope : ndarray, shape (R, C) or (1, C)
        Weight of a unit, positive.
    excess : ndarray, shape (C,)
        Variance over mean less one.
    rng : Generator

    Returns
    -------
    ndarray, shape (R, C)
        Whole, between 0 and ``held``, each row summing to ``units``.
    """
    total = held.sum(axis=1)
    time = _clock(held, np.minimum(units / np.maximum(total, 1.0), 1.0), slope)
    with np.errstate(over="ignore"):
        gone = -np.expm1(-time[:, None] * slope)
    removed = np.empty(held.shape)
    for columns, has_noise in _kinds(_has_count_noise(excess)):
        there, part = held[:, columns], gone[:, columns]
        if has_noise:
            removed[:, columns] = rng.binomial(there.astype(np.int64), part)
        else:
            removed[:, columns] = np.minimum(_shares(there * part, rng), there)
    gap = units - removed.sum(axis=1)
    late = np.flatnonzero(gap < 0)  # too many: those whose clock rang last go back
    if late.size:
        back, chance = removed[late], gone[late]
        hazard = _rows(slope, late) * np.maximum(1.0 - chance, 1e-12) / np.maximum(chance, 1e-12)
        _take(back, -gap[late], hazard, rng)
        removed[late] = back
    left = held - removed
    _take(left, np.maximum(gap, 0.0), slope, rng)
    return held - left


def _has_count_noise(excess: np.ndarray) -> np.ndarray:
    return (excess >= CALM - 1.0) & (excess < WILD - 1.0)


def _kinds(fine: np.ndarray) -> list[tuple[slice | np.ndarray, bool]]:
    """Columns with and without count noise, as a slice where there is one kind only."""
    if fine.all() or not fine.any():
        return [(slice(None), bool(fine.all()))]
    return [(np.flatnonzero(fine), True), (np.flatnonzero(~fine), False)]


def _rows(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The rows of (R, C); of (1, C) the one there is."""
    return values if len(values) == 1 else values[rows]


def _shares(expected: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Round (R, C) to whole numbers next to them, rows summing to their sums rounded; unbiased.

    Systematic sampling: one random start a row.
    """
    reached = np.cumsum(expected, axis=1)
    reached += rng.random(len(expected))[:, None]
    np.floor(reached, out=reached)
    return np.diff(reached, axis=1, prepend=0.0)


def _clock(held: np.ndarray, part: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """Time (R,) at which a part of the units is gone when each leaves at its slope.

    Newton's method on the logarithm of what is left, concave in time and nearly straight: from
    below it converges without overshooting. Infinite where all are to go.
    """
    total = np.maximum(held.sum(axis=1), 1.0)
    with np.errstate(divide="ignore"):
        goal = -np.log1p(-part)
    time = goal * total / np.maximum((held * slope).sum(axis=1), 1e-300)
    time = np.where(part < 1, time, np.inf)
    open_rows = np.flatnonzero((part > 0) & (part < 1))
    for _ in range(_NEWTON_STEPS):
        if not open_rows.size or np.ptp(slope) == 0:
            break
        rate = _rows(slope, open_rows)
        left = held[open_rows] * np.exp(-time[open_rows, None] * rate)
        remains = left.sum(axis=1)
        short = goal[open_rows] + np.log(np.maximum(remains / total[open_rows], 1e-300))
        falls = np.maximum((left * rate).sum(axis=1), 1e-300)
        time[open_rows] += np.maximum(short, 0.0) * remains / falls
        open_rows = open_rows[remains * short > 0.25]
    return time


def _put(held: np.ndarray, units: np.ndarray, weight: np.ndarray, rng: np.random.Generator) -> None:
    """Put units (R,) into ``held`` (R, C) in place, each in proportion to the weights (R, C)."""
    cells = held.shape[1]
    while (rows := np.flatnonzero(units > 0)).size:
        safe = _surely_fewer(units[rows], cells)
        if safe.any():
            share = weight[rows] / weight[rows].sum(axis=1, keepdims=True)
            put = rng.poisson(share * safe[:, None]).astype(np.float64)
        else:
            place, _ = _pick(weight[rows], units[rows], rng)
            put = np.bincount(place, minlength=rows.size * cells).reshape(rows.size, cells)
        held[rows] += put
        units[rows] -= put.sum(axis=1)


def _take(
    held: np.ndarray, units: np.ndarray, weight: np.ndarray, rng: np.random.Generator
) -> None:
    """Take units (R,) out of ``held`` (R, C) in place, in proportion to weights (R or 1, C)."""
    units = np.minimum(units, held.sum(axis=1))
    cells = held.shape[1]
    while (rows := np.flatnonzero(units > 0)).size:
        urns = held[rows]
        unit_weight = _rows(weight, rows)
        safe = _surely_fewer(units[rows], cells)
        if safe.any():
            # A time by which fewer are gone (Jensen); the rest stay as likely as they were.
            total = urns.sum(axis=1)
            time = -np.log1p(-safe / total) * total / (urns * unit_weight).sum(axis=1)
            gone = -np.expm1(-time[:, None] * unit_weight)
            taken = rng.binomial(urns.astype(np.int64), gone).astype(np.float64)
        else:
            taken = _pick_units(urns, units[rows], unit_weight, rng)
        held[rows] -= taken
        units[rows] -= taken.sum(axis=1)


def _surely_fewer(units: np.ndarray, cells: int) -> np.ndarray:
    """Expected number (R,) to move at once; 0 where the rest is better picked one by one."""
    fewer = np.floor(units - 7.0 * np.sqrt(units))
    return np.where(units > 4 * cells + 256, np.maximum(fewer, 0.0), 0.0)


def _pick_units(
    held: np.ndarray, units: np.ndarray, weight: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Pick units (R,) out of ``held`` (R, C): counts; one picked twice is counted once."""
    most = np.int64(_MOST_UNITS / held.size)
    urns = np.minimum(held, float(most))
    place, inside = _pick(urns * weight, units, rng)
    capacity = urns.ravel()[place]
    unit = np.minimum(np.floor(inside * capacity), capacity - 1.0)
    named = np.sort(place * most + unit.astype(np.int64))
    first = np.ones(named.size, dtype=bool)
    first[1:] = named[1:] != named[:-1]
    return np.bincount(named[first] // most, minlength=held.size).reshape(held.shape)


def _pick(
    weight: np.ndarray, count: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Pick cells with replacement: flat indices into (R, C), and where inside the cell [0, 1).

    ``count`` (R,) picks a row, except that a pick rounding throws on a cell without weight is left
    out. Every row has some weight.
    """
    rows, cells = weight.shape
    reached = np.cumsum(weight, axis=1)
    total = reached[:, -1]
    row = np.repeat(np.arange(rows), count.astype(np.int64))
    key = np.sort(row + rng.random(row.size))
    place = np.searchsorted(
        (reached / total[:, None] + np.arange(rows)[:, None]).ravel(), key, "right"
    )
    place = np.minimum(place, (row + 1) * cells - 1)
    own = weight.ravel()[place]
    sound = own > 0
    place, own, row, key = place[sound], own[sound], row[sound], key[sound]
    inside = 1.0 - (reached.ravel()[place] - (key - row) * total[row]) / own
    return place, np.clip(inside, 0.0, 1.0)
