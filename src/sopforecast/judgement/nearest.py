"""Sums that must hold, from sums that nearly do: the least change to their atoms, draw by draw.

Nested sums leave no choice; crossed ones do, and there the change is the smallest relative to the
size of an atom. Axes: ``S`` draws, ``K`` sums, ``J`` atoms (`judgement.atoms`), ``C`` cells.
"""

from __future__ import annotations

import numpy as np

_PROJECTIONS = 500
_TOGETHER = 4096  # numbers in one linear program


def nearest_sums(
    now: np.ndarray, cover: np.ndarray, totals: np.ndarray, units: np.ndarray
) -> np.ndarray | None:
    """Change atom sums as little as it takes for every stated sum to hold exactly.

    Parameters
    ----------
    now : ndarray, shape (S, J)
        Present sums of the atoms, at least 0.
    cover : ndarray, shape (K, J)
    totals : ndarray, shape (K,)
        What the sums must be; a set that can hold.
    units : ndarray, shape (J,)
        Powers of two that the new sums are multiples of.

    Returns
    -------
    ndarray, shape (S, J), or None
        ``new >= 0`` with ``new @ cover.T == totals`` exactly; None where no multiples do.

    Notes
    -----
    Atoms that a sum leaves no choice, one after the other, take what is left of it: of nested sums
    that is every atom. For the others the real-valued change is least in squares relative to the
    mean size of an atom, by projecting on the equalities and on ``>= 0`` in turn; then each is
    rounded up or down so that the roundings move least in total (an integral linear program where
    two groupings cross).
    """
    forced = _forced(cover, totals)
    is_open = np.isnan(forced)
    new = np.tile(forced, (len(now), 1))
    left = totals - cover[:, ~is_open] @ forced[~is_open]
    if bool(is_open.any()) and bool((left >= 0).all()):
        rows = cover[:, is_open].any(axis=1)
        free = _free(now[:, is_open], cover[np.ix_(rows, is_open)], left[rows], units[is_open])
        if free is None:
            return None
        new[:, is_open] = free
    on_units = bool((new >= 0).all()) and bool((new == np.rint(new / units) * units).all())
    return new if on_units and bool((new @ cover.T == totals).all()) else None


def settle(cells: np.ndarray, target: np.ndarray, *, steps: np.ndarray) -> None:
    """Give draws (S, C) whose cells differ in step exactly the sum they should have, in place.

    Parameters
    ----------
    cells : ndarray, shape (S, C)
        Multiples of the steps, at least 0, whose sum is off by less than a few coarsest steps.
    target : ndarray, shape (S,)
        Multiples of the finest step, at least 0.
    steps : ndarray, shape (C,)
        Powers of two.

    Notes
    -----
    What is missing goes to the cell of the finest step with the most demand. What is too much
    comes off the finest cells that have it; a coarser one that has to break a step gives the rest
    back to that cell.
    """
    off = np.flatnonzero(cells.sum(axis=1) != target)
    if off.size == 0:
        return
    order = np.lexsort((-cells.sum(axis=0), steps))  # finest first, and of those the largest
    for draw in off.tolist():
        excess = float(cells[draw].sum() - target[draw])
        for cell in order.tolist():
            if excess <= 0:
                break
            step = float(steps[cell])
            taken = min(float(cells[draw, cell]), float(np.ceil(excess / step)) * step)
            cells[draw, cell] -= taken
            excess -= taken
        cells[draw, order[0]] -= excess


def _forced(cover: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """Atoms (J,) whose sum follows from the totals alone, one at a time; NaN for the others."""
    forced = np.full(cover.shape[1], np.nan)
    left, open_atoms = totals.copy(), cover.sum(axis=1)
    while (single := np.flatnonzero(open_atoms == 1)).size:
        k = single[0]
        j = int(np.flatnonzero(cover[k] * np.isnan(forced))[0])
        forced[j] = left[k]
        left -= cover[:, j] * forced[j]
        open_atoms -= cover[:, j]
    return forced


def _free(
    now: np.ndarray, cover: np.ndarray, totals: np.ndarray, units: np.ndarray
) -> np.ndarray | None:
    """Nearest sums (S, J) where there is a choice."""
    size = now.mean(axis=0)
    size = np.maximum(size, max(1e-3 * float(size.max()), float(units.max())))
    real = _least_squares(now, cover, totals, size)
    new = np.empty_like(real)
    together = max(1, _TOGETHER // cover.shape[1])
    for start in range(0, len(real), together):
        block = slice(start, start + together)
        whole = _rounded(real[block] / units, cover * units, totals)
        if whole is None:
            return None
        new[block] = whole * units
    return new


def _least_squares(
    now: np.ndarray, cover: np.ndarray, totals: np.ndarray, size: np.ndarray
) -> np.ndarray:
    weighted = cover * size
    back = np.linalg.pinv(weighted @ cover.T) @ weighted  # (K, J)
    real = now + (totals - now @ cover.T) @ back
    for _ in range(_PROJECTIONS):
        below = real.min(axis=1) < -1e-12 * totals.max()
        if not bool(below.any()):
            break
        positive = np.maximum(real[below], 0.0)
        real[below] = positive + (totals - positive @ cover.T) @ back
    clipped: np.ndarray = np.maximum(real, 0.0)
    return clipped


def _rounded(counts: np.ndarray, rows: np.ndarray, totals: np.ndarray) -> np.ndarray | None:
    """Round counts (s, J) up or down so that ``rows @ n = totals``; None where nothing will do.

    Draws for which up or down is not enough take the nearest whole numbers, one by one.
    """
    from scipy.optimize import linprog
    from scipy.sparse import block_diag, csr_array

    smallest = rows[rows > 0].min()
    rows, totals = rows / smallest, totals / smallest
    counts = np.where(np.abs(counts - np.rint(counts)) < 1e-6, np.rint(counts), counts)
    new = np.floor(counts)
    up = counts - new
    near = np.flatnonzero((np.abs(counts @ rows.T - totals) < 1e-4).all(axis=1))
    if near.size:
        found = linprog(
            (1 - 2 * up[near]).ravel(),
            A_eq=block_diag([csr_array(rows)] * near.size, format="csr"),
            b_eq=(totals - new[near] @ rows.T).ravel(),
            bounds=np.stack([np.zeros(up[near].size), (up[near] > 0).ravel()], axis=1),
            method="highs-ds",
        )
        if found.x is not None:
            new[near] += np.rint(found.x).reshape(-1, up.shape[1])
    for draw in np.flatnonzero((new @ rows.T != totals).any(axis=1)):
        whole = _nearest_whole(counts[draw], rows, totals)
        if whole is None:
            return None
        new[draw] = whole
    return new


def _nearest_whole(counts: np.ndarray, rows: np.ndarray, totals: np.ndarray) -> np.ndarray | None:
    """Whole numbers from 0 up with ``rows @ n = totals``, least in absolute change."""
    from scipy.optimize import Bounds, LinearConstraint, milp

    n = counts.size
    one, none = np.eye(n), np.zeros((len(rows), 2 * n))
    equal = np.block([[rows, none], [one, -one, one]])
    right = np.concatenate([totals, counts])
    found = milp(
        np.concatenate([np.zeros(n), np.ones(2 * n)]),
        constraints=LinearConstraint(equal, right, right),
        integrality=np.concatenate([np.ones(n), np.zeros(2 * n)]),
        bounds=Bounds(0, np.inf),
    )
    return None if found.x is None else np.rint(found.x[:n])
