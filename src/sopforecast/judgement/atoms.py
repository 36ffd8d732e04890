"""Overlapping sums, parted into atoms: which of them contradict.

Cells that the same sums cover form an atom. ``cover @ u = totals`` with ``u >= 0`` says that all
sums hold. Axes: ``K`` sums, ``J`` atoms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_CONTRADICTION = 1e-9


@dataclass(frozen=True, eq=False)
class Atoms:
    """Cells grouped by the sums that cover them.

    Attributes
    ----------
    items, months : tuple of ndarray of int, length J
        Item and month of each cell of the atom.
    covers : tuple of ndarray of int, length J
        The sums that cover the atom, ascending.
    """

    items: tuple[np.ndarray, ...]
    months: tuple[np.ndarray, ...]
    covers: tuple[np.ndarray, ...]

    def groups(self, sums: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Part the sums into those that hang together: (indexes of sums, indexes of atoms)."""
        group = np.arange(sums)
        for covers in self.covers:
            touched = np.unique(group[covers])
            if touched.size > 1:
                group[np.isin(group, touched)] = touched[0]
        atom = np.array([group[covers[0]] for covers in self.covers])
        return list(zip(_by_label(group), _by_label(atom), strict=True))

    def cover(self, sums: np.ndarray, parts: np.ndarray) -> np.ndarray:
        """Return the 0/1 matrix (k, j) of some ascending sums over some atoms."""
        cover = np.zeros((len(sums), len(parts)))
        for column, j in enumerate(parts.tolist()):
            cover[np.isin(sums, self.covers[j]), column] = 1.0
        return cover


def part(members: Sequence[np.ndarray], months: Sequence[np.ndarray]) -> Atoms:
    """Part the cells of K sums, each over all pairs of its items and its months."""
    rows, columns = np.unique(np.concatenate(members)), np.unique(np.concatenate(months))
    label = np.zeros((rows.size, columns.size), dtype=np.int64)
    covers: list[tuple[int, ...]] = [()]
    for k, (items, when) in enumerate(zip(members, months, strict=True)):
        inside = np.ix_(np.searchsorted(rows, items), np.searchsorted(columns, when))
        old, code = np.unique(label[inside], return_inverse=True)
        label[inside] = len(covers) + code.reshape(len(items), len(when))
        covers += [(*covers[one], k) for one in old.tolist()]
    flat = label.ravel()
    order = np.argsort(flat, kind="stable")[np.count_nonzero(flat == 0) :]
    names, starts = np.unique(flat[order], return_index=True)
    cells = np.split(order, starts[1:])
    return Atoms(
        tuple(rows[one // columns.size] for one in cells),
        tuple(columns[one % columns.size] for one in cells),
        tuple(np.array(covers[name]) for name in names.tolist()),
    )


def _by_label(labels: np.ndarray) -> list[np.ndarray]:
    """Ascending positions of each label, labels ascending."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


def certificate(cover: np.ndarray, totals: np.ndarray) -> np.ndarray | None:
    """Prove that no ``u >= 0`` has ``cover @ u = totals``, or return None where one has.

    Returns
    -------
    ndarray, shape (K,), or None
        Farkas multipliers ``f``: ``f @ cover <= 0`` and ``f @ totals > 0``.
    """
    from scipy.optimize import linprog
    from scipy.sparse import csr_array, eye_array, hstack

    largest = float(np.max(np.abs(totals), initial=0.0))
    if largest == 0:
        return None
    sums, atoms = cover.shape
    slack = eye_array(sums)
    cost = np.concatenate([np.zeros(atoms), np.ones(2 * sums)])
    rows = hstack([csr_array(cover), slack, -slack], format="csr")
    # Scaled so that the solver's own tolerance stays far below what counts as a contradiction.
    found = linprog(cost, A_eq=rows, b_eq=totals * (1e6 / largest), method="highs-ds")
    if found.fun <= 1e6 * _CONTRADICTION:
        return None
    multipliers: np.ndarray = np.where(
        np.abs(found.eqlin.marginals) > 1e-7, found.eqlin.marginals, 0
    )
    return multipliers


def smallest_conflict(
    cover: np.ndarray, totals: np.ndarray, owner: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """Find a smallest set of owners, and of their sums, that cannot all hold.

    Parameters
    ----------
    cover : ndarray, shape (K, J)
    totals : ndarray, shape (K,)
    owner : ndarray, shape (K,)
        Who stated the sum; all sums of one owner stand or fall together.

    Returns
    -------
    sums : ndarray of int
        Sums that contradict; without any one of them, or any one owner's, the others hold.
    multipliers : ndarray
        Their Farkas multipliers, the smallest of size 1.

    Notes
    -----
    Deletion filter (Chinneck and Dravnieks, 1991), first over owners, then over sums, each begun
    from the support of a Farkas certificate.
    """
    if len(totals) < 2:  # one sum of at least one cell always holds
        return None
    kept = np.arange(len(totals))
    for names in (owner, np.arange(len(totals))):
        proof = certificate(cover[kept], totals[kept])
        if proof is None:
            return None
        proven = kept[np.isin(names[kept], names[kept[proof != 0]])]
        if certificate(cover[proven], totals[proven]) is not None:
            kept = proven
        for name in np.unique(names[kept]):
            others = kept[names[kept] != name]
            if others.size and certificate(cover[others], totals[others]) is not None:
                kept = others
    proof = certificate(cover[kept], totals[kept])
    if proof is None:
        return None
    return kept, proof / np.abs(proof[proof != 0]).min()
