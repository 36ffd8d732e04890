"""Pools of residual paths: lengthening by hand, and what a pool holds when there is little."""

from __future__ import annotations

import numpy as np
import pytest

from sopforecast.baseline.path_pools import (
    MAX_OWN_PATHS,
    MIN_OWN_PATHS,
    common_pools,
    own_pools,
    whole_paths,
)


def _own(own, hierarchy, segments, offsets):
    return own_pools(own, hierarchy, segments, offsets, np.random.default_rng(1))


def test_a_path_known_for_two_thirds_is_continued_with_the_square_root_of_the_lead():
    nan = np.nan
    z = np.ones((MIN_OWN_PATHS, 2, 6))
    z[0, 0] = [2.0, 1.0, 3.0, -4.0, nan, nan]
    z[1, 0] = [2.0, 1.0, 3.0, nan, nan, nan]
    found, notes = whole_paths(z)
    np.testing.assert_allclose(found[0, 0, 4:], [-4.0 * (5 / 4) ** 0.5, -4.0 * (6 / 4) ** 0.5])
    np.testing.assert_array_equal(found[0, 0, :4], z[0, 0, :4])
    assert np.isnan(found[1, 0]).all()  # known for half of the months
    assert (found[2:] == 1).all()
    assert notes == ()


def test_where_there_are_few_the_shorter_ones_are_continued_too_and_it_is_said():
    nan = np.nan
    z = np.array([[[2.0, -4.0, nan, nan], [1.0, nan, nan, nan], [nan, nan, nan, nan]]])
    found, notes = whole_paths(z)
    np.testing.assert_allclose(found[0, 0], [2.0, -4.0, -4.0 * 1.5**0.5, -4.0 * 2**0.5])
    np.testing.assert_allclose(found[0, 1], [1.0, 2**0.5, 3**0.5, 2.0])
    assert np.isnan(found[0, 2]).all()
    assert "known for all 4 months ahead" in notes[0]
    half = np.full((MIN_OWN_PATHS, 1, 4), nan)
    half[:, :, :2] = 1.0
    found, notes = whole_paths(half)
    assert np.isfinite(found).all()
    assert "known for 2 or more" in notes[0]


def test_a_path_with_a_hole_is_known_up_to_it():
    z = np.array([[[1.0, 2.0, np.nan, 9.0], [3.0, 5.0, np.nan, np.nan]]])
    found, _ = whole_paths(z)
    np.testing.assert_allclose(found[0, 0, 2:], [2.0 * 1.5**0.5, 2.0 * 2**0.5])


@pytest.mark.parametrize("origins", [0, 3])
def test_nothing_known_stays_unknown(origins):
    found, notes = whole_paths(np.full((2, origins, 4), np.nan))
    assert found.shape == (2, origins, 4)
    assert np.isnan(found).all()
    assert notes == ()


def test_own_paths_are_centred_by_month_ahead_and_capped(make_hierarchy):
    hierarchy = make_hierarchy(60)
    own = np.random.default_rng(0).normal(3.0, 1.0, (60, 10, 5))
    offsets = tuple(range(3, 33, 3))
    pool = _own(own, hierarchy, ["smooth"] * 60, offsets)["smooth"]
    assert len(pool.donors) == MAX_OWN_PATHS
    np.testing.assert_allclose(pool.paths.mean(axis=0), 0.0, atol=1e-12)
    picked = [
        own[hierarchy.items.index(donor), offsets.index(origin)]
        for donor, origin in zip(pool.donors, pool.origins.tolist(), strict=True)
    ]
    np.testing.assert_allclose(pool.paths, picked - np.mean(picked, axis=0), atol=1e-12)


def test_a_segment_with_few_paths_takes_the_portfolios(make_hierarchy):
    hierarchy = make_hierarchy(40)
    own = np.random.default_rng(0).standard_normal((40, 3, 5))
    pools = _own(own, hierarchy, ["smooth"] * 36 + ["sparse"] * 4, (9, 6, 3))
    assert pools["sparse"].part == "own:sparse"
    assert len(pools["sparse"].donors) == 120
    assert len(pools["smooth"].donors) == 108
    assert pools["sparse"].paths.tobytes() != pools["smooth"].paths.tobytes()


def test_made_up_paths_have_keys_of_their_own(make_hierarchy):
    pools = _own(np.full((2, 1, 6), np.nan), make_hierarchy(2), ["short", "dead"], (1,))
    for pool in pools.values():
        assert len(set(zip(pool.origins.tolist(), pool.donors, strict=True))) == MIN_OWN_PATHS
        assert pool.paths.shape == (MIN_OWN_PATHS, 6)
        np.testing.assert_allclose(pool.paths.mean(axis=0), 0.0, atol=1e-12)


@pytest.fixture
def shared(make_hierarchy):
    """Total and two families; the total is seen at 3 origins, the families at 3 each."""
    hierarchy = make_hierarchy({"family": "AABB"})
    rng = np.random.default_rng(0)
    groups = [(codes, np.unique(codes).size) for codes in hierarchy.codes]
    parts = [(c, 5.0 * rng.standard_normal((n, 3, 4)), np.ones((n, 1, 1))) for c, n in groups]
    return hierarchy, parts


def test_common_paths_have_mean_square_one_and_borrow_from_the_next_level(shared):
    hierarchy, parts = shared
    total, family = common_pools(parts, hierarchy, (9, 6, 3))
    assert set(total.donors) == {"total", "family=A", "family=B"}
    assert len(total.donors) == 9
    for name in ({"total"}, {"family=A", "family=B"}):
        rows = [k for k, donor in enumerate(total.donors) if donor in name]
        assert np.square(total.paths[rows]).mean() == pytest.approx(1.0)
    assert sorted(family.donors) == sorted(total.donors)
    assert total.origins.tolist() == [3] * 3 + [6] * 3 + [9] * 3


def test_aggregates_without_a_trusted_shared_part_do_not_lend_theirs(shared):
    hierarchy, parts = shared
    codes, paths, _ = parts[1]
    parts[1] = (codes, paths, np.array([1.0, 0.0])[:, None, None])
    total, _ = common_pools(parts, hierarchy, (9, 6, 3))
    assert set(total.donors) == {"total", "family=A"}


def test_no_common_paths_at_all(make_hierarchy):
    hierarchy = make_hierarchy(2)
    empty = [(hierarchy.codes[0], np.zeros((1, 0, 4)), np.zeros((1, 1, 1)))]
    (total,) = common_pools(empty, hierarchy, ())
    assert total.paths.shape == (0, 4)


def test_hardly_any_paths_still_give_a_range(make_hierarchy):
    """One path, centred, would be a range of nothing."""
    own = np.array([[[3.0, -1.0, 2.0]]])
    pool = _own(own, make_hierarchy(1), ["short"], (1,))["short"]
    assert len(pool.donors) == MIN_OWN_PATHS
    assert (pool.paths.std(axis=0) > 0.5).all()
