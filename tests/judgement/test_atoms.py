"""Atoms, proofs of contradiction and smallest sets, against enumeration."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from sopforecast.judgement.atoms import certificate, part, smallest_conflict

TABLE = np.array([[1, 1, 0, 0], [0, 0, 1, 1], [1, 0, 1, 0], [0, 1, 0, 1]], dtype=np.float64)
"""Two rows and two columns of a 2 x 2 table."""


def holds(cover: np.ndarray, totals: np.ndarray) -> bool:
    """Whether some demand from 0 up adds up to all totals: another algorithm than ours."""
    return len(totals) == 0 or nnls(cover, totals)[1] < 1e-6


@given(
    st.lists(
        st.tuples(
            st.sets(st.integers(0, 5), min_size=1, max_size=4),
            st.sets(st.integers(0, 3), min_size=1, max_size=3),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_atoms_part_the_cells_by_the_sums_that_cover_them(
    sums: list[tuple[set[int], set[int]]],
) -> None:
    members = [np.array(sorted(items)) for items, _ in sums]
    months = [np.array(sorted(when)) for _, when in sums]
    atoms = part(members, months)
    seen = {}
    for items, when, covers in zip(atoms.items, atoms.months, atoms.covers, strict=True):
        for cell in zip(items.tolist(), when.tolist(), strict=True):
            assert cell not in seen
            seen[cell] = tuple(covers.tolist())
    expected = {}
    for k, (items, when) in enumerate(sums):
        for cell in ((i, h) for i in items for h in when):
            expected[cell] = (*expected.get(cell, ()), k)
    assert seen == expected
    assert len({tuple(covers.tolist()) for covers in atoms.covers}) == len(atoms.covers)


def test_groups_hang_together_by_shared_cells() -> None:
    # 0 and 2 share item 1 in month 0; 3 overlaps 2; 1 is in another month.
    members = [np.array(one) for one in ([0, 1], [0, 1], [1, 2], [2, 3])]
    months = [np.array([one]) for one in (0, 1, 0, 0)]
    atoms = part(members, months)
    groups = atoms.groups(4)
    assert [own.tolist() for own, _ in groups] == [[0, 2, 3], [1]]
    covers = [[tuple(atoms.covers[j].tolist()) for j in parts] for _, parts in groups]
    assert sorted(covers[0]) == [(0,), (0, 2), (2, 3), (3,)]
    assert covers[1] == [(1,)]
    own, parts = groups[0]
    assert atoms.cover(own, parts).sum(axis=1).tolist() == [2.0, 2.0, 2.0]


def test_a_proof_is_a_proof() -> None:
    totals = np.array([5.0, 5.0, 3.0, 8.0])
    proof = certificate(TABLE, totals)
    assert proof is not None
    assert (proof @ TABLE <= 1e-9).all()
    assert proof @ totals > 0
    assert certificate(TABLE, np.array([5.0, 5.0, 3.0, 7.0])) is None
    assert certificate(TABLE, np.zeros(4)) is None


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e9])
def test_one_part_in_a_million_is_a_contradiction_at_any_size(size: float) -> None:
    assert certificate(TABLE, size * np.array([0.5, 0.5, 0.4, 0.6])) is None
    assert certificate(TABLE, size * np.array([0.5, 0.5, 0.4, 0.600001])) is not None


@given(st.data())
@hypothesis_settings(max_examples=60)
def test_smallest_sets_contradict_and_hold_without_any_one(data: st.DataObject) -> None:
    sums, atoms = data.draw(st.integers(2, 6)), data.draw(st.integers(1, 5))
    bits = st.lists(st.booleans(), min_size=atoms, max_size=atoms).filter(any)
    cover = np.array([data.draw(bits) for _ in range(sums)], dtype=np.float64)
    totals = np.array([float(data.draw(st.integers(0, 6))) for _ in range(sums)])
    owner = np.array([data.draw(st.integers(0, 3)) for _ in range(sums)])
    found = smallest_conflict(cover, totals, owner)
    assert (found is None) == holds(cover, totals)
    if found is None:
        return
    rows, proof = found
    assert not holds(cover[rows], totals[rows])
    assert (proof @ cover[rows] <= 1e-6).all()
    assert proof @ totals[rows] > 0
    for fewer in combinations(rows.tolist(), len(rows) - 1):
        assert holds(cover[list(fewer)], totals[list(fewer)])
    names = np.unique(owner[rows])
    for fewer_names in combinations(names.tolist(), len(names) - 1):
        kept = np.isin(owner, fewer_names)
        assert holds(cover[kept], totals[kept])
