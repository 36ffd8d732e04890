"""Reconciliation against the dense textbook projection, on nested and crossed hierarchies."""

from __future__ import annotations

import numpy as np
import pytest

from sopforecast.baseline.reconcile import error_variance, reconcile

LAYOUTS = {
    "total only": {"columns": 5, "levels": None},
    "nested": {
        "columns": {"family": "AAAABBB", "brand": "ppqqrrs"},
        "levels": ["family", "family/brand"],
    },
    "crossed": {
        "columns": {"family": "AABBCCA", "region": "EUEUEUU"},
        "levels": ["family", "region"],
    },
    "crossed and their product": {
        "columns": {"family": "AABBABAB", "region": "EUEUEEUU"},
        "levels": ["family", "region", "family/region"],
    },
    "aggregates of one item": {"columns": {"family": "ABCDE"}, "levels": ["family"]},
}


def _mint(items, aggregates, summing, item_variance, aggregate_variance):
    """S (S' W^-1 S)^-1 S' W^-1 y, all dense; the rows of the items."""
    s = np.concatenate([summing, np.eye(items.shape[0])])
    w_inverse = np.diag(1.0 / np.concatenate([aggregate_variance, item_variance]))
    y = np.concatenate([aggregates, items])
    bottom = np.linalg.inv(s.T @ w_inverse @ s) @ s.T @ w_inverse @ y
    return (s @ bottom)[summing.shape[0] :]


@pytest.fixture(params=LAYOUTS)
def hierarchy(request, make_hierarchy):
    return make_hierarchy(LAYOUTS[request.param]["columns"], LAYOUTS[request.param]["levels"])


@pytest.fixture
def forecasts(hierarchy):
    rng = np.random.default_rng(len(hierarchy.nodes))
    items = rng.uniform(500.0, 1_000.0, (len(hierarchy.items), 4))
    aggregates = hierarchy.aggregate(items) * rng.normal(1.0, 0.03, (len(hierarchy.aggregates), 4))
    return items, aggregates


@pytest.fixture
def variances(hierarchy):
    rng = np.random.default_rng(99)
    return {
        "item_variance": rng.uniform(100.0, 900.0, len(hierarchy.items)),
        "aggregate_variance": rng.uniform(100.0, 900.0, len(hierarchy.aggregates)),
    }


def test_same_as_the_textbook(hierarchy, forecasts, variances):
    items, aggregates = forecasts
    found = reconcile(items, aggregates, hierarchy, **variances)
    expected = _mint(items, aggregates, hierarchy.summing().toarray(), *variances.values())
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert np.abs(found - items).max() > 1.0


def test_what_already_agrees_stays(hierarchy, forecasts, variances):
    items, _ = forecasts
    found = reconcile(items, hierarchy.aggregate(items), hierarchy, **variances)
    np.testing.assert_allclose(found, items, rtol=1e-12)


def test_origins_before_the_items_axis_are_done_each_alone(hierarchy, forecasts, variances):
    items, aggregates = forecasts
    both = reconcile(
        np.stack([items, 2 * items]), np.stack([aggregates, 3 * aggregates]), hierarchy, **variances
    )
    for k, (factor, other) in enumerate([(1, 1), (2, 3)]):
        alone = reconcile(factor * items, other * aggregates, hierarchy, **variances)
        np.testing.assert_allclose(both[k], alone, rtol=1e-12)


def test_a_sure_aggregate_is_met_exactly_and_a_sure_item_does_not_move(make_hierarchy):
    hierarchy = make_hierarchy({"family": "AAB"}, levels=["family"])
    items = np.array([[10.0], [20.0], [30.0]])
    aggregates = np.array([[90.0], [36.0], [30.0]])
    found = reconcile(
        items,
        aggregates,
        hierarchy,
        item_variance=np.array([1.0, 0.0, 1.0]),
        aggregate_variance=np.array([1e9, 1e-6, 1e9]),
    )
    assert found[1, 0] == 20.0
    assert found[0, 0] == pytest.approx(16.0, rel=1e-3)


def test_one_item_under_a_total_worked_by_hand(make_hierarchy):
    """10 with variance 3 and 14 with variance 1 meet at 10 + 4 x 3 / 4 = 13."""
    found = reconcile(
        np.array([[10.0]]),
        np.array([[14.0]]),
        make_hierarchy(1),
        item_variance=np.array([3.0]),
        aggregate_variance=np.array([1.0]),
    )
    assert found[0, 0] == pytest.approx(13.0, rel=1e-5)


def test_nothing_falls_below_zero(make_hierarchy):
    found = reconcile(
        np.array([[1.0], [100.0]]),
        np.array([[20.0]]),
        make_hierarchy(2),
        item_variance=np.array([1.0, 1.0]),
        aggregate_variance=np.array([0.01]),
    )
    assert found[0, 0] == 0.0
    assert 0 < found[1, 0] < 100.0


def test_an_unknown_aggregate_is_taken_to_agree_with_its_items(hierarchy, forecasts, variances):
    items, aggregates = forecasts
    sums = hierarchy.aggregate(items)
    unknown, agreeing = aggregates.copy(), aggregates.copy()
    unknown[-1], agreeing[-1] = np.nan, sums[-1]
    found = reconcile(items, unknown, hierarchy, **variances)
    np.testing.assert_array_equal(found, reconcile(items, agreeing, hierarchy, **variances))


def test_no_variance_anywhere_moves_nothing(hierarchy, forecasts):
    items, aggregates = forecasts
    nothing = [np.zeros(len(hierarchy.items)), np.zeros(len(hierarchy.aggregates))]
    found = reconcile(
        items, aggregates, hierarchy, item_variance=nothing[0], aggregate_variance=nothing[1]
    )
    np.testing.assert_array_equal(found, items)


def test_error_variance_worked_by_hand():
    residual = np.array([[[3.0, np.nan], [1.0, 5.0]], [[np.nan, np.nan], [np.nan, np.nan]]])
    found = error_variance(residual, fallback=np.array([7.0, 4.0]))
    # Two origins with a mean square of (9 + 1 + 25) / 3, and two more of 7.
    assert found.tolist() == pytest.approx([(2 * 35 / 3 + 2 * 7.0) / 4, 4.0])
