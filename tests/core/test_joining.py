"""Parts of a portfolio put together: every sum against plain sums over all items."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sopforecast.core.draws import QUANTILES
from sopforecast.core.hierarchy import build_hierarchy
from sopforecast.core.joining import Part, joined, lifted, part_of_draws

DRAWS, HORIZON = 40, 3
STEPS = {"a": 1.0, "b": 0.25, "c": 1.0, "d": 2.0**-20, "e": 1.0}
ITEMS = pl.DataFrame(
    {"unique_id": list(STEPS), "family": ["X", "Y", "X", "Z", "Y"], "region": list("EEUUU")}
)
LEVELS = ["family", "region", "family/region"]


@pytest.fixture(scope="module")
def hierarchy():
    return build_hierarchy(ITEMS, levels=LEVELS)


@pytest.fixture(scope="module")
def draws():
    """(S, B, H): multiples of the items' steps, of very different sizes."""
    rng = np.random.default_rng(3)
    size = np.array([5.0, 0.5, 900.0, 1e-4, 7.0])[:, None]
    steps = np.array(list(STEPS.values()))[:, None]
    return np.round(rng.gamma(2.0, 1.0, (DRAWS, 5, HORIZON)) * size / steps) * steps


def _part(names, draws, hierarchy):
    at = [hierarchy.items.index(name) for name in names]
    naive = np.arange(len(names) * HORIZON, dtype=float).reshape(-1, HORIZON) + 10 * at[0]
    steps = np.array([STEPS[name] for name in names])
    return part_of_draws(draws[:, at], names, hierarchy, naive=naive, steps=steps)


def _same(one: Part, other: Part) -> None:
    assert one.items == other.items
    for name in ("mean", "naive", "quantiles", "steps", "sums"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes(), name


def test_sums_are_those_of_all_items_to_the_byte(hierarchy, draws):
    whole = joined([_part(names, draws, hierarchy) for names in ("bd", "a", "ce")], hierarchy)
    assert whole.items == hierarchy.items
    for k, node in enumerate(hierarchy.aggregates):
        members = hierarchy.descendants(node)
        plain = np.zeros((DRAWS, HORIZON))
        for i in members:
            plain += draws[:, i]
        assert whole.sums[:, k].tobytes() == plain.tobytes(), node
    np.testing.assert_array_equal(whole.steps, list(STEPS.values()))
    np.testing.assert_allclose(whole.mean, draws.mean(axis=0))
    for k, (_, level) in enumerate(QUANTILES):
        np.testing.assert_allclose(whole.quantiles[k], np.quantile(draws, level, axis=0))


def test_parts_may_come_in_any_order(hierarchy, draws):
    parts = [_part(names, draws, hierarchy) for names in ("bd", "a", "ce")]
    first, *others = [joined(order, hierarchy) for order in permutations(parts)]
    for other in others:
        _same(first, other)
    assert first.naive[hierarchy.items.index("e")].tolist() == [23.0, 24.0, 25.0]


@settings(max_examples=40)
@given(st.lists(st.integers(0, 3), min_size=5, max_size=5))
def test_however_the_items_are_parted_the_whole_is_the_same(where):
    hierarchy = build_hierarchy(ITEMS, levels=LEVELS)
    rng = np.random.default_rng(1)
    steps = np.array(list(STEPS.values()))
    draws = rng.integers(0, 2**20, (DRAWS, 5, HORIZON)) * steps[:, None]

    def part(names):
        at = [hierarchy.items.index(name) for name in names]
        return part_of_draws(draws[:, at], names, hierarchy, naive=draws[0, at], steps=steps[at])

    groups = [[i for i, g in zip(hierarchy.items, where, strict=True) if g == k] for k in range(4)]
    _same(
        joined([part(names) for names in groups if names], hierarchy),
        joined([part(hierarchy.items)], hierarchy),
    )


def test_parts_are_left_as_they_were(hierarchy, draws):
    parts = [_part(names, draws, hierarchy) for names in ("ab", "cde")]
    before = [part.sums.tobytes() for part in parts]
    joined(parts, hierarchy)
    assert [part.sums.tobytes() for part in parts] == before


def test_a_part_of_nothing_adds_nothing(hierarchy, draws):
    every = _part("abcde", draws, hierarchy)
    nothing = part_of_draws(
        np.empty((DRAWS, 0, HORIZON)), (), hierarchy, naive=np.empty((0, HORIZON)),
        steps=np.empty(0),
    )  # fmt: skip
    for parts in ([every, nothing], [nothing, every]):
        _same(joined(parts, hierarchy), every)


@pytest.mark.parametrize("groups", [("ab", "cd"), ("abc", "cde"), ("abcde", "a"), ()])
def test_items_missing_or_twice_are_refused(hierarchy, draws, groups):
    with pytest.raises(ValueError, match="parts: expected the items of the hierarchy, each in one"):
        joined([_part(names, draws, hierarchy) for names in groups], hierarchy)


def test_items_that_are_not_of_the_hierarchy_are_refused(hierarchy, draws):
    part = _part("abcde", draws, hierarchy)
    other = Part(("a", "b", "c", "d", "z"), part.mean, part.naive, part.quantiles, part.steps,
                 part.sums)  # fmt: skip
    with pytest.raises(ValueError, match="each in one part"):
        joined([other], hierarchy)


def test_sums_of_some_aggregates_are_put_among_all(hierarchy, draws):
    some = ITEMS.filter(pl.col("family") != "Z")
    own = build_hierarchy(some, levels=LEVELS)
    at = [hierarchy.items.index(item) for item in own.items]
    sums = own.aggregate(draws[:, at])
    put = lifted(sums, own.aggregates, hierarchy)
    assert put.shape == (DRAWS, len(hierarchy.aggregates), HORIZON)
    for k, node in enumerate(hierarchy.aggregates):
        if node in own.aggregates:
            np.testing.assert_array_equal(put[:, k], sums[:, own.aggregates.index(node)])
        else:
            assert not put[:, k].any()
            assert "Z" in node
    assert lifted(put, hierarchy.aggregates, hierarchy) is put
    nothing = lifted(np.empty((DRAWS, 0, HORIZON)), (), hierarchy)
    assert nothing.shape == put.shape
    assert not nothing.any()
