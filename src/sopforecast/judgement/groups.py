"""Which statements overlap, and into which atoms their cells fall.

A cell is an item and a month. Statements that share a cell, directly or through others, form a
group and are solved together; groups do not touch one another. Inside a group the cells covered by
exactly the same statements form an atom: the atoms part the group's cells, and every statement is
a sum of whole atoms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Group:
    """Statements solved together.

    Attributes
    ----------
    scalars : ndarray of int (K,)
        Which statements, ascending.
    items, months : ndarray of int (C,)
        The group's cells, atom by atom, atoms in the order of their first cell.
    starts : ndarray of int (A + 1,)
        Cells ``starts[a]:starts[a + 1]`` make up atom ``a``.
    covers : ndarray of bool (K, A)
        Which atoms make up each statement.
    """

    scalars: np.ndarray
    items: np.ndarray
    months: np.ndarray
    starts: np.ndarray
    covers: np.ndarray


def group_scalars(
    members: Sequence[np.ndarray], months: Sequence[np.ndarray], *, items: int, horizon: int
) -> list[Group]:
    """Part statements into groups and their cells into atoms.

    Parameters
    ----------
    members, months : sequence of int arrays
        Item and month indexes of each statement; it covers all their pairs.
    items, horizon : int
        Number of items and months.

    Returns
    -------
    list of Group
        In the order of their first statement.
    """
    if not members:
        return []
    parent = list(range(len(members)))
    latest = np.full((items, horizon), -1, dtype=np.int64)
    signature = np.zeros((items, horizon), dtype=np.uint64)
    keys = np.random.Generator(np.random.Philox(1)).integers(1, 2**63, len(members), np.uint64)
    for k, (rows, columns) in enumerate(zip(members, months, strict=True)):
        cells = np.ix_(rows, columns)
        for other in np.unique(latest[cells]):
            if other >= 0:
                parent[_root(parent, int(other))] = _root(parent, k)
        latest[cells] = k
        signature[cells] += keys[k]
    by_root: dict[int, list[int]] = {}
    for k in range(len(members)):
        by_root.setdefault(_root(parent, k), []).append(k)
    rows, columns = np.nonzero(latest >= 0)
    roots = np.array([_root(parent, int(k)) for k in latest[rows, columns]])
    marks = signature[rows, columns]
    order = np.lexsort((columns, rows, marks, roots))
    rows, columns, roots, marks = rows[order], columns[order], roots[order], marks[order]
    found, first = np.unique(roots, return_index=True)
    ends = np.append(first[1:], len(roots))
    groups = {}
    for root, start, end in zip(found.tolist(), first, ends, strict=True):
        groups[root] = _group(
            np.array(by_root[root]), members, months, rows[start:end], columns[start:end],
            marks[start:end],
        )  # fmt: skip
    return [groups[root] for root in by_root]


def _group(
    scalars: np.ndarray,
    members: Sequence[np.ndarray],
    months: Sequence[np.ndarray],
    items: np.ndarray,
    columns: np.ndarray,
    marks: np.ndarray,
) -> Group:
    starts = np.append(np.flatnonzero(np.append(True, marks[1:] != marks[:-1])), len(marks))
    one = starts[:-1]  # a cell of each atom, its first, tells which statements cover it
    atoms = np.lexsort((columns[one], items[one]))
    cells = np.concatenate([np.arange(starts[a], starts[a + 1]) for a in atoms])
    items, columns = items[cells], columns[cells]
    starts = np.append(0, np.cumsum(np.diff(starts)[atoms]))
    one = starts[:-1]
    covers = np.stack(
        [np.isin(items[one], members[k]) & np.isin(columns[one], months[k]) for k in scalars]
    )
    return Group(scalars, items, columns, starts, covers)


def _root(parent: list[int], k: int) -> int:
    while parent[k] != k:
        parent[k] = parent[parent[k]]
        k = parent[k]
    return k
