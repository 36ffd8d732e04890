"""Names, members and sums of nodes: by hand, against scipy, and in any order and blocks."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sopforecast.core.hierarchy import Hierarchy, build_hierarchy, node_name
from sopforecast.errors import DataError, RequestError

ITEMS = pl.DataFrame(
    {
        "unique_id": ["b", "a", "d", "c"],
        "family": ["Oncology", "Oncology", "Cardio", "Cardio"],
        "region": ["US", "EU", "US", "EU"],
    }
)
LEVELS = ("family", "region", "family/region")


@pytest.fixture(scope="module")
def crossed() -> Hierarchy:
    return build_hierarchy(ITEMS, levels=LEVELS)


def test_nodes_stand_in_the_stated_order(crossed: Hierarchy) -> None:
    assert crossed.items == ("a", "b", "c", "d")
    assert crossed.aggregates == (
        "total",
        "family=Cardio",
        "family=Oncology",
        "region=EU",
        "region=US",
        "family=Cardio/region=EU",
        "family=Cardio/region=US",
        "family=Oncology/region=EU",
        "family=Oncology/region=US",
    )
    assert crossed.levels == ("total", *["family"] * 2, *["region"] * 2, *["family/region"] * 4)
    assert crossed.nodes == crossed.aggregates + crossed.items
    assert crossed.node_levels == (*crossed.levels, "item", "item", "item", "item")
    assert crossed.level_labels == ("total", "family", "region", "family/region", "item")
    assert crossed.codes.tolist() == [[0, 0, 0, 0], [2, 2, 1, 1], [3, 4, 3, 4], [7, 8, 5, 6]]


def test_without_levels_there_is_a_total() -> None:
    hierarchy = build_hierarchy(ITEMS, levels=[])
    assert hierarchy.aggregates == ("total",)
    assert hierarchy.aggregate(np.ones((4, 2))).tolist() == [[4.0, 4.0]]


def test_the_order_of_rows_does_not_matter(crossed: Hierarchy) -> None:
    turned = build_hierarchy(ITEMS.reverse(), levels=LEVELS)
    assert turned.nodes == crossed.nodes
    np.testing.assert_array_equal(turned.codes, crossed.codes)


def test_sums_by_hand(crossed: Hierarchy) -> None:
    bottom = np.array([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0], [8.0, 80.0]])
    first = [15, 12, 3, 5, 10, 4, 8, 1, 2]
    np.testing.assert_array_equal(
        crossed.aggregate(bottom), np.array([[one, 10 * one] for one in first])
    )


def test_the_summing_matrix_is_zero_one(crossed: Hierarchy) -> None:
    matrix = crossed.summing()
    assert matrix.format == "csr"
    assert matrix.toarray().tolist() == [
        [1, 1, 1, 1],
        [0, 0, 1, 1],
        [1, 1, 0, 0],
        [1, 0, 1, 0],
        [0, 1, 0, 1],
        [0, 0, 1, 0],
        [0, 0, 0, 1],
        [1, 0, 0, 0],
        [0, 1, 0, 0],
    ]


def test_descendants_and_levels(crossed: Hierarchy) -> None:
    assert crossed.descendants("total").tolist() == [0, 1, 2, 3]
    assert crossed.descendants("family=Oncology").tolist() == [0, 1]
    assert crossed.descendants("region=EU").tolist() == [0, 2]
    assert crossed.descendants("family=Cardio/region=US").tolist() == [3]
    assert crossed.descendants("b").tolist() == [1]
    assert crossed.level_of("total") == "total"
    assert crossed.level_of("family=Cardio/region=US") == "family/region"
    assert crossed.level_of("b") == "item"


def test_an_unknown_node_names_close_ones(crossed: Hierarchy) -> None:
    with pytest.raises(RequestError, match="did you mean 'family=Oncology'"):
        crossed.descendants("family=Onclogy")
    with pytest.raises(RequestError, match="look it up"):
        crossed.level_of("zzzz")


def test_descendants_are_the_rows_of_the_summing_matrix(crossed: Hierarchy) -> None:
    for row, node in zip(crossed.summing().toarray(), crossed.aggregates, strict=True):
        assert crossed.descendants(node).tolist() == np.flatnonzero(row).tolist()


def test_names_escape_what_separates() -> None:
    assert node_name(["a/b", "c"], ["x=1", "50%/2"]) == "a%2Fb=x%3D1/c=50%25%2F2"


@given(st.lists(st.tuples(st.text(min_size=1), st.text(min_size=1)), min_size=1, max_size=3))
def test_names_never_collide(path: list[tuple[str, str]]) -> None:
    columns, values = zip(*path, strict=True)
    name = node_name(columns, values)
    parts = [part.split("=") for part in name.split("/")]
    decoded = [
        tuple(cell.replace("%2F", "/").replace("%3D", "=").replace("%25", "%") for cell in part)
        for part in parts
    ]
    assert decoded == path


def test_a_column_with_a_slash_is_named_escaped() -> None:
    items = pl.DataFrame({"unique_id": ["a"], "line/site": ["x"]})
    hierarchy = build_hierarchy(items, levels=["line%2Fsite"])
    assert hierarchy.aggregates == ("total", "line%2Fsite=x")


def test_numbers_and_blanks_around_values_make_one_aggregate() -> None:
    items = pl.DataFrame(
        {"unique_id": ["a", "b", "c"], "line": ["x", " x ", "x"], "plant": [7] * 3}
    )
    hierarchy = build_hierarchy(items, levels=["line", "plant"])
    assert hierarchy.aggregates == ("total", "line=x", "plant=7")


@pytest.mark.parametrize("blank", [None, "", "  "])
def test_a_missing_level_value_names_the_item(blank: str | None) -> None:
    items = pl.DataFrame({"unique_id": ["a", "b"], "family": ["x", blank]})
    with pytest.raises(DataError, match="column family: found an empty cell for item 'b'"):
        build_hierarchy(items, levels=["family"])


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        (["brand"], "no column 'brand'; allowed: 'family', 'region'"),
        (["family/brand"], "no column 'brand'"),
        (["unique_id"], "no column 'unique_id'"),
        (["family", "family"], "'family' twice"),
        (["family/family"], "a column once in a level"),
        (["total"], "always there"),
        (["item"], "always there"),
        ([""], "no column ''"),
    ],
)
def test_a_wrong_level_is_refused(levels: list[str], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        build_hierarchy(ITEMS, levels=levels)


@pytest.mark.parametrize("name", ["total", "family=x"])
def test_an_item_named_like_an_aggregate_is_refused(name: str) -> None:
    items = pl.DataFrame({"unique_id": [name, "b"], "family": ["x", "x"]})
    with pytest.raises(DataError, match="also the name of an aggregate") as refusal:
        build_hierarchy(items, levels=["family"])
    assert repr(name) in str(refusal.value)


def test_no_items_and_double_items_are_refused() -> None:
    with pytest.raises(DataError, match="load items first"):
        build_hierarchy(ITEMS.clear(), levels=["family"])
    with pytest.raises(DataError, match="'a' twice"):
        build_hierarchy(pl.concat([ITEMS, ITEMS[1]]), levels=["family"])


def test_a_block_of_the_wrong_size_is_refused(crossed: Hierarchy) -> None:
    with pytest.raises(ValueError, match=r"\(3, 2\) for 4 items"):
        crossed.aggregate(np.ones((3, 2)))
    with pytest.raises(ValueError, match="for 1 items"):
        crossed.aggregate_block(np.ones((3, 2)), np.array([0]))


def test_a_missing_item_is_missing_above_it(crossed: Hierarchy) -> None:
    bottom = np.ones((4, 1))
    bottom[0] = np.nan
    sums = crossed.aggregate(bottom)[:, 0]
    above = [crossed.aggregates[row] for row in np.flatnonzero(np.isnan(sums))]
    assert above == ["total", "family=Oncology", "region=EU", "family=Oncology/region=EU"]


@st.composite
def portfolios(draw: st.DrawFn) -> tuple[Hierarchy, np.ndarray, list[np.ndarray]]:
    """A hierarchy, draws (S, B, H) on grids of mixed steps, and a partition of the items."""
    count = draw(st.integers(1, 12))
    letters = st.lists(st.sampled_from("xyz"), min_size=count, max_size=count)
    items = pl.DataFrame(
        {
            "unique_id": [f"i{number:02d}" for number in range(count)],
            "family": draw(letters),
            "region": draw(letters),
        }
    )
    hierarchy = build_hierarchy(items, levels=LEVELS)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    steps = 2.0 ** rng.integers(-12, 3, size=(count, 1))
    draws = rng.integers(0, 2**30, size=(3, count, 2)) * steps
    order = np.array(draw(st.permutations(range(count))))
    cuts = sorted(draw(st.sets(st.integers(0, count), max_size=4)))
    return hierarchy, draws, np.split(order, cuts)


@given(portfolios())
@settings(deadline=None)
def test_sums_are_exact_in_any_order_and_any_blocks(
    portfolio: tuple[Hierarchy, np.ndarray, list[np.ndarray]],
) -> None:
    hierarchy, draws, blocks = portfolio
    whole = hierarchy.aggregate(draws)
    in_blocks = sum(hierarchy.aggregate_block(draws[:, block], block) for block in blocks)
    np.testing.assert_array_equal(in_blocks, whole)
    # Integers of the finest step: Python's own, without rounding.
    finest = [[[int(cell * 4096) for cell in row] for row in path] for path in draws.tolist()]
    for node, name in enumerate(hierarchy.aggregates):
        members = hierarchy.descendants(name).tolist()
        for path in range(len(draws)):
            for month in range(draws.shape[2]):
                exact = sum(finest[path][item][month] for item in members)
                assert whole[path, node, month] * 4096 == exact


@given(portfolios())
@settings(deadline=None)
def test_sums_agree_with_the_sparse_product(
    portfolio: tuple[Hierarchy, np.ndarray, list[np.ndarray]],
) -> None:
    hierarchy, draws, _ = portfolio
    for path in draws:
        np.testing.assert_array_equal(hierarchy.aggregate(path), hierarchy.summing() @ path)
