"""Groups of statements and their atoms, against sets."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sopforecast.judgement.groups import Group, group_scalars

ITEMS, HORIZON = 6, 5
Cells = list[tuple[list[int], list[int]]]
STATEMENTS = st.lists(
    st.tuples(
        st.lists(st.integers(0, ITEMS - 1), min_size=1, max_size=4, unique=True),
        st.lists(st.integers(0, HORIZON - 1), min_size=1, max_size=3, unique=True),
    ),
    min_size=1,
    max_size=7,
)


def grouped(said: Cells) -> list[Group]:
    members = [np.array(items) for items, _ in said]
    months = [np.array(when) for _, when in said]
    return group_scalars(members, months, items=ITEMS, horizon=HORIZON)


def cells_of(said: Cells) -> list[frozenset[tuple[int, int]]]:
    return [frozenset((i, h) for i in items for h in when) for items, when in said]


def hang_together(sets: list[frozenset[tuple[int, int]]]) -> list[list[int]]:
    """Merge until nothing overlaps: slow, and without a forest."""
    parts = [({k}, set(cells)) for k, cells in enumerate(sets)]
    merged = True
    while merged:
        merged = False
        for i, (names, cells) in enumerate(parts):
            for other in parts[i + 1 :]:
                if cells & other[1]:
                    names |= other[0]
                    cells |= other[1]
                    parts.remove(other)
                    merged = True
                    break
    return sorted(sorted(names) for names, _ in parts)


@given(STATEMENTS)
def test_groups_and_atoms_are_those_of_sets(said: Cells) -> None:
    sets = cells_of(said)
    groups = grouped(said)
    assert [group.scalars.tolist() for group in groups] == hang_together(sets)
    for group in groups:
        cells = list(zip(group.items.tolist(), group.months.tolist(), strict=True))
        assert len(set(cells)) == len(cells)
        assert set(cells) == set().union(*(sets[k] for k in group.scalars))
        assert group.starts[0] == 0
        assert group.starts[-1] == len(cells)
        found = [
            (frozenset(group.scalars[covered].tolist()), frozenset(cells[start:end]))
            for covered, start, end in zip(
                group.covers.T, group.starts[:-1], group.starts[1:], strict=True
            )
        ]
        expected: dict[frozenset[int], set[tuple[int, int]]] = {}
        for cell in cells:
            signature = frozenset(k for k in group.scalars.tolist() if cell in sets[k])
            expected.setdefault(signature, set()).add(cell)
        assert len(found) == len(expected)
        assert set(found) == {(names, frozenset(part)) for names, part in expected.items()}


@given(STATEMENTS)
def test_every_statement_is_its_atoms(said: Cells) -> None:
    for group in grouped(said):
        sizes = np.diff(group.starts)
        assert (sizes > 0).all()
        sums = [len(said[k][0]) * len(said[k][1]) for k in group.scalars]
        assert (group.covers @ sizes).tolist() == sums


@given(STATEMENTS.flatmap(lambda said: st.tuples(st.just(said), st.permutations(said))))
def test_atoms_do_not_depend_on_who_spoke_first(case: tuple[Cells, Cells]) -> None:
    said, shuffled = case
    elsewhere: Cells = [([ITEMS], [0, 1]), *shuffled]
    members = [np.array(items) for items, _ in elsewhere]
    months = [np.array(when) for _, when in elsewhere]
    more = group_scalars(members, months, items=ITEMS + 1, horizon=HORIZON)[1:]
    layouts = [
        sorted((g.items.tolist(), g.months.tolist(), g.starts.tolist()) for g in groups)
        for groups in (grouped(said), more)
    ]
    assert layouts[0] == layouts[1]


def test_groups_come_in_the_order_of_their_first_statement() -> None:
    said: Cells = [([5], [0]), ([0, 1], [2]), ([4, 5], [0]), ([1], [2, 3]), ([3], [3])]
    assert [group.scalars.tolist() for group in grouped(said)] == [[0, 2], [1, 3], [4]]


def test_nobody_speaks() -> None:
    assert grouped([]) == []
