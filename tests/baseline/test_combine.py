"""Weights worked by hand, on a backtest small enough to see."""

from __future__ import annotations

import numpy as np
import pytest

from sopforecast.baseline.backtest import Backtest
from sopforecast.baseline.combine import Pool, combine_paths, learn_weights

SMOOTH = Pool(("A", "B"), squared=False)
SPARSE = Pool(("B", "C"), squared=True)


def _backtest(errors, scale=1.0):
    """Backtest whose models miss an actual of 100 by ``errors`` (N, O, M, H)."""
    errors = np.asarray(errors, dtype=float)
    n, origins, m, horizon = errors.shape
    names = ("A", "B", "C")[:m]
    actual = np.full((n, origins, horizon), 100.0)
    return Backtest(
        names,
        tuple(range(1, origins + 1)),
        actual[:, :, None, :] + errors,
        actual,
        np.full((n, origins), scale),
    )


def _errors(*by_model, series=1, origins=1, horizon=2):
    return np.broadcast_to(
        np.array(by_model, dtype=float)[None, None, :, None],
        (series, origins, len(by_model), horizon),
    ).copy()


def test_weight_falls_with_the_sixth_power_of_the_error_and_is_shrunk():
    found = learn_weights(_backtest(_errors(1, 2, series=4)), ["smooth"] * 4, {"smooth": SMOOTH})
    from_errors = np.array([64.0, 1.0]) / 65.0
    portfolio = (4 * from_errors + 5 * 0.5) / (4 + 5)
    segment = (4 * from_errors + 20 * portfolio) / (4 + 20)
    np.testing.assert_allclose(found["smooth"].weights, segment, rtol=1e-12)
    assert found["smooth"].series == 4
    assert found["smooth"].cells == 8
    assert found["smooth"].weights.sum() == pytest.approx(1.0)


def test_errors_are_told_beside_the_best_model_and_only_of_those_that_spoke():
    errors = _errors(3, 2, 9, series=4, origins=5)
    errors[:, 3:, :, :] = np.nan
    found = learn_weights(_backtest(errors), ["smooth"] * 4, {"smooth": SMOOTH})["smooth"]
    np.testing.assert_allclose(found.relative_error, [1.5, 1.0, np.nan])
    assert (found.origins, found.series, found.cells) == (3, 4, 24)
    errors[:, :, 1] = np.nan
    found = learn_weights(_backtest(errors), ["smooth"] * 4, {"smooth": SMOOTH})["smooth"]
    np.testing.assert_allclose(found.relative_error, [1.0, np.nan, np.nan])
    nothing = learn_weights(_backtest(errors * np.nan), ["smooth"] * 4, {"smooth": SMOOTH})[
        "smooth"
    ]
    assert np.isnan(nothing.relative_error).all()
    assert (nothing.origins, nothing.series, nothing.cells) == (0, 0, 0)


def test_a_segment_is_drawn_to_the_portfolio_of_its_pool():
    errors = np.concatenate([_errors(1, 2, series=300), _errors(2, 1, series=3)])
    segments = ["smooth"] * 300 + ["short"] * 3
    found = learn_weights(_backtest(errors), segments, {"smooth": SMOOTH, "short": SMOOTH})
    # Portfolio errors: A (300 + 6) / 303, B (600 + 3) / 303.
    size = np.array([306.0, 603.0])
    portfolio = (size.min() / size) ** 6
    portfolio = (303 * portfolio / portfolio.sum() + 5 * 0.5) / 308
    own = np.array([1.0, 64.0]) / 65.0
    expected = (3 * own + 20 * portfolio) / 23
    np.testing.assert_allclose(found["short"].weights, expected, rtol=1e-12)
    assert found["smooth"].weights[0] > 0.95


def test_pools_do_not_learn_from_each_other_and_have_no_weight_outside():
    errors = np.concatenate([_errors(1, 2, 9, series=30), _errors(9, 1, 2, series=30)])
    segments = ["smooth"] * 30 + ["sparse"] * 30
    found = learn_weights(_backtest(errors), segments, {"smooth": SMOOTH, "sparse": SPARSE})
    assert found["smooth"].weights[2] == 0.0
    assert found["sparse"].weights[0] == 0.0
    alone = learn_weights(_backtest(errors[:30]), segments[:30], {"smooth": SMOOTH})
    np.testing.assert_array_equal(found["smooth"].weights, alone["smooth"].weights)


def test_sparse_errors_are_squared_and_smooth_ones_are_not():
    # A: 1 and 7 (mean 4, root mean square 5); B: 4.5 and 4.5.
    errors = np.array([[[[1.0, 7.0], [4.5, 4.5]]]])
    by_mean = learn_weights(_backtest(errors), ["s"], {"s": Pool(("A", "B"), squared=False)})
    by_square = learn_weights(_backtest(errors), ["s"], {"s": Pool(("A", "B"), squared=True)})
    assert by_mean["s"].weights[0] > 0.5
    assert by_square["s"].weights[0] < 0.5


def test_errors_count_in_yardsticks_and_only_up_to_a_limit():
    errors = np.concatenate([_errors(500.0, 100.0), _errors(1.0, 2.0)])
    backtest = _backtest(errors)
    scale = np.array([[100.0], [1.0]])
    backtest = Backtest(backtest.models, backtest.offsets, backtest.paths, backtest.actual, scale)
    # In yardsticks A: 5, 1 and B: 1, 2 -> means 3 and 1.5.
    own = np.array([(1.5 / 3.0) ** 6, 1.0])
    own /= own.sum()
    portfolio = (2 * own + 5 * 0.5) / 7
    expected = (2 * own + 20 * portfolio) / 22
    found = learn_weights(backtest, ["s", "s"], {"s": SMOOTH})["s"].weights
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    freak = _errors(1e9, 2.0)
    at_limit = _errors(10.0, 2.0)
    np.testing.assert_array_equal(
        learn_weights(_backtest(freak), ["s"], {"s": SMOOTH})["s"].weights,
        learn_weights(_backtest(at_limit), ["s"], {"s": SMOOTH})["s"].weights,
    )


def test_a_model_is_compared_with_the_most_talkative_one_where_both_spoke():
    errors = _errors(1, 2, series=2, horizon=2)
    errors[0, 0, 1, 1] = np.nan  # B is silent in one cell, where A is far off
    errors[0, 0, 0, 1] = 50.0
    found = learn_weights(_backtest(errors), ["s", "s"], {"s": SMOOTH})
    same = learn_weights(_backtest(_errors(1, 2, series=2)), ["s", "s"], {"s": SMOOTH})
    np.testing.assert_array_equal(found["s"].weights, same["s"].weights)
    assert found["s"].cells == 4  # all of A's


def test_a_model_that_never_speaks_has_no_weight():
    errors = _errors(1, 2, series=3)
    errors[:, :, 1] = np.nan
    found = learn_weights(_backtest(errors), ["s"] * 3, {"s": SMOOTH})
    assert found["s"].weights.tolist() == [1.0, 0.0, 0.0][:2]


def test_nothing_to_compare_gives_equal_weights():
    errors = np.full((2, 0, 2, 3), 0.0)
    found = learn_weights(_backtest(errors), ["s", "s"], {"s": SMOOTH})
    assert found["s"].weights.tolist() == [0.5, 0.5]
    assert (found["s"].series, found["s"].cells) == (0, 0)
    unknown = _backtest(_errors(1, 2))
    unknown.actual[:] = np.nan
    assert learn_weights(unknown, ["s"], {"s": SMOOTH})["s"].weights.tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    ("errors", "first"), [((0, 0), 0.5), ((0, 1), 0.55), ((1e-12, 1e-12), 0.5)]
)
def test_models_without_any_error_have_finite_weights(errors, first):
    found = learn_weights(_backtest(_errors(*errors, series=8)), ["s"] * 8, {"s": SMOOTH})
    weights = found["s"].weights
    assert weights.sum() == pytest.approx(1.0)
    assert weights[0] >= first


def test_combined_path_is_the_weighted_mean_of_who_spoke():
    paths = np.array([[10.0, 10.0, np.nan], [20.0, np.nan, np.nan], [40.0, 40.0, np.nan]])
    found = combine_paths(paths, np.array([0.5, 0.25, 0.25]))
    np.testing.assert_allclose(found[:2], [0.5 * 10 + 0.25 * 20 + 0.25 * 40, 15.0 / 0.75])
    assert np.isnan(found[2])


def test_combining_many_series_is_combining_each():
    rng = np.random.default_rng(0)
    paths = rng.gamma(2.0, 10.0, (4, 3, 5, 6))
    paths[rng.random(paths.shape) < 0.2] = np.nan
    weights = rng.dirichlet(np.ones(5), 4)
    together = combine_paths(paths, weights[:, None, :])
    for i in range(4):
        for o in range(3):
            alone = combine_paths(paths[i, o], weights[i])
            assert alone.tobytes() == together[i, o].tobytes()
            masked = np.ma.masked_invalid(paths[i, o])
            expected = np.ma.average(masked, axis=0, weights=weights[i])
            np.testing.assert_allclose(alone, expected.filled(np.nan), rtol=1e-12)


def test_only_models_of_no_weight_speaking_says_nothing():
    assert np.isnan(combine_paths(np.array([[5.0], [np.nan]]), np.array([0.0, 1.0]))).all()
