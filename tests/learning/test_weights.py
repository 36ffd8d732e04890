"""Weights from live and backtest errors: worked by hand, and what must hold whatever the errors."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sopforecast.baseline.backtest import Backtest
from sopforecast.baseline.combine import Pool
from sopforecast.baseline.combine import learn_weights as backtest_weights
from sopforecast.core.learning_tables import LearnedWeights
from sopforecast.core.weighting import POWER
from sopforecast.learning.weights import MONTHS_AN_ORIGIN, learn_weights

NO_LIVE = {
    "segment": pl.String,
    "model": pl.String,
    "relative_error": pl.Float64,
    "cells": pl.Int64,
    "series": pl.Int64,
    "months": pl.Int64,
    "recent_months": pl.Float64,
}


def live(*rows, months=12, series=50):
    """Rows of segment, model, relative error."""
    recent = float((0.5 ** (np.arange(months) / 12)).sum())
    return pl.DataFrame(
        [(s, m, e, months * 9, series, months, recent) for s, m, e in rows],
        schema=NO_LIVE,
        orient="row",
    )


def backtest(*rows, origins=5, series=50):
    return pl.DataFrame(
        [(s, m, e, origins, series, 700) for s, m, e in rows],
        schema=["segment", "model", "relative_error", "origins", "series", "cells"],
        orient="row",
    )


def weights(*tables):
    found = learn_weights(*tables)
    checked = LearnedWeights.validate(found.with_columns(fit_id=pl.lit("f")))
    return {(s, m): w for s, m, w in checked.select("segment", "model", "weight").iter_rows()}


EVEN = backtest(("smooth", "A", 1.0), ("smooth", "B", 1.0))


def test_worked_by_hand():
    """Five origins at 1 : 1.3 and live months at 1.2 : 1, pooled in logs; then drawn twice."""
    table = learn_weights(
        live(("smooth", "A", 1.2), ("smooth", "B", 1.0)),
        backtest(("smooth", "A", 1.0), ("smooth", "B", 1.3)),
    )
    stretches = (0.5 ** (np.arange(12) / 12)).sum() / 5
    trust = stretches / (stretches + 5)
    log = np.array([trust * np.log(1.2), (1 - trust) * np.log(1.3)])
    law = np.exp(-6 * log) / np.exp(-6 * log).sum()
    portfolio = (50 * law + 5 * 0.5) / 55
    expected = (50 * law + 20 * portfolio) / 70
    assert table["weight"].to_list() == pytest.approx(expected.tolist(), rel=1e-12)
    assert table["relative_error"].to_list() == pytest.approx(np.exp(log - log.min()).tolist())
    assert (
        table.select("live_months", "live_cells", "backtest_cells").rows() == [(12, 108, 700)] * 2
    )
    assert (MONTHS_AN_ORIGIN, POWER) == (5.0, 6.0)


def test_without_live_errors_the_weights_are_those_of_the_run():
    """The backtest's own law: the same numbers from its errors as `baseline.combine` has."""
    rng = np.random.default_rng(0)
    errors = rng.gamma(2.0, 1.0, (60, 5, 3, 12)) * np.array([1.0, 1.2, 1.5])[:, None]
    actual = np.full((60, 5, 12), 100.0)
    paths = actual[:, :, None] + errors
    tried = Backtest(("A", "B", "C"), (12, 24, 36, 48, 60), paths, actual, np.ones((60, 5)))
    pool = Pool(("A", "B", "C"), squared=False)
    run = backtest_weights(tried, ["smooth"] * 60, {"smooth": pool})["smooth"]
    mean = np.minimum(errors, 10.0).mean(axis=(0, 1, 3))
    rows = [("smooth", m, e) for m, e in zip("ABC", mean / mean.min(), strict=True)]
    found = weights(pl.DataFrame(schema=NO_LIVE), backtest(*rows, series=60))
    assert [found["smooth", m] for m in "ABC"] == pytest.approx(run.weights.tolist(), rel=1e-9)


def test_squared_segments_are_those_that_the_run_squares():
    from sopforecast.baseline.fit import SPARSE_SEGMENTS
    from sopforecast.core.weighting import SQUARED_SEGMENTS

    assert SQUARED_SEGMENTS == SPARSE_SEGMENTS


def test_equal_models_have_equal_weights_and_near_equal_ones_nearly():
    same = weights(live(("smooth", "A", 1.0), ("smooth", "B", 1.0)), EVEN)
    assert set(same.values()) == {0.5}
    near = weights(live(("smooth", "A", 1.0), ("smooth", "B", 1.05)), EVEN)
    assert 0.45 < near["smooth", "B"] < 0.5


def test_a_model_twice_as_bad_live_loses_weight_month_by_month():
    shares = [
        weights(live(("smooth", "A", 1.0), ("smooth", "B", 2.0), months=m), EVEN)["smooth", "B"]
        for m in range(1, 37)
    ]
    assert shares[0] > 0.35  # one month is hardly heard
    assert (np.diff(shares) < 0).all()
    assert shares[23] < 0.25


def test_a_segment_without_live_errors_keeps_the_backtests_weights():
    rows = [("smooth", "A", 1.0), ("smooth", "B", 1.2), ("short", "A", 1.1), ("short", "B", 1.0)]
    tried = backtest(*rows, series=8)
    alone = weights(pl.DataFrame(schema=NO_LIVE), tried)
    found = weights(live(("smooth", "A", 3.0), ("smooth", "B", 1.0)), tried)
    for model in "AB":
        assert found["short", model] == alone["short", model]
        assert found["smooth", model] != alone["smooth", model]


def test_sparse_segments_have_a_portfolio_of_their_own():
    smooth = backtest(("smooth", "A", 1.0), ("smooth", "B", 3.0), series=500)
    sparse = backtest(("sparse", "B", 1.0), ("sparse", "C", 1.0), series=1)
    found = weights(pl.DataFrame(schema=NO_LIVE), pl.concat([smooth, sparse]))
    assert ("sparse", "A") not in found
    assert found["sparse", "B"] == pytest.approx(0.5)


def test_a_small_segment_is_drawn_to_its_portfolio():
    many = backtest(("smooth", "A", 1.0), ("smooth", "B", 2.0), series=500)
    few = backtest(("short", "A", 1.0), ("short", "B", 1.0), series=2)
    found = weights(pl.DataFrame(schema=NO_LIVE), pl.concat([many, few]))
    assert found["short", "A"] > 0.9


def test_a_model_not_yet_seen_live_stands_beside_the_others_by_the_models_that_were():
    """C is new, as good as A in the backtest; live A lost a fifth to B, and C is not punished."""
    tried = backtest(("smooth", "A", 1.0), ("smooth", "B", 1.0), ("smooth", "C", 1.0))
    table = learn_weights(live(("smooth", "A", 1.2), ("smooth", "B", 1.0)), tried)
    error = dict(table.select("model", "relative_error").iter_rows())
    assert error["C"] == pytest.approx(np.sqrt(error["A"] * error["B"]))
    assert table.filter(model="C").select("live_months", "live_cells").row(0) == (0, 0)


def test_a_model_without_errors_in_a_segment_has_its_portfolios():
    rows = [("smooth", "A", 1.0), ("smooth", "B", 1.5), ("short", "A", 1.0)]
    table = learn_weights(pl.DataFrame(schema=NO_LIVE), backtest(*rows, series=10))
    lacking = table.filter(segment="short", model="B")
    assert lacking["relative_error"].to_list() == pytest.approx([1.5])
    assert 0 < lacking["weight"][0] < 0.15


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_weights_add_to_one_and_follow_the_errors(data):
    segments = ("smooth", "seasonal", "sparse")
    pairs = [(s, m) for s in segments for m in "ABC"]
    sizes = st.one_of(st.floats(1.0, 30.0), st.just(float("inf")), st.just(float("nan")))

    def draw(maker, **more):
        chosen = data.draw(st.lists(st.sampled_from(pairs), unique=True))
        return maker(*((s, m, data.draw(sizes)) for s, m in chosen), **more) if chosen else None

    lived = draw(live, months=data.draw(st.integers(1, 40)), series=data.draw(st.integers(1, 200)))
    tried = draw(backtest, series=data.draw(st.integers(1, 200)))
    lived = pl.DataFrame(schema=NO_LIVE) if lived is None else lived
    tried = backtest(("smooth", "A", 1.0)) if tried is None else tried
    table = learn_weights(lived, tried)
    LearnedWeights.validate(table.with_columns(fit_id=pl.lit("f")))
    sums = table.group_by("segment").agg(pl.col("weight").sum())["weight"].to_list()
    assert sums == pytest.approx([1.0] * len(sums))
    mixed = (t.sample(fraction=1.0, shuffle=True, seed=1) for t in (lived, tried))
    assert learn_weights(*mixed).equals(table)


def test_two_rows_of_one_model_are_refused():
    with pytest.raises(ValueError, match="found 'A' twice in segment 'smooth'"):
        learn_weights(pl.DataFrame(schema=NO_LIVE), pl.concat([EVEN, EVEN]))
