"""The baseline of a small portfolio: what items become, why, and what learned from what."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

from sopforecast.baseline.cleanse import cleanse, cleansed_then
from sopforecast.baseline.components import components_frame, model_errors_frame, weights_frame
from sopforecast.baseline.forecast import forecast_baseline
from sopforecast.baseline.models import LOCAL_MODELS, SPARSE_POOL
from sopforecast.baseline.panel import item_panel, node_panel, panels_then
from sopforecast.baseline.reconcile import error_variance, reconcile
from sopforecast.baseline.widths import with_widths
from sopforecast.core.executor import Executor
from sopforecast.core.learning_tables import Learned, ModelErrors
from sopforecast.core.months import add_months

HORIZON = 6
SEGMENTS = ("seasonal", "seasonal", "smooth", "sparse", "short", "short", "dead", "sparse")
FIVE_MONTHS, DEAD = 5, 6


@pytest.fixture(scope="module")
def demand(seasonal_demand):
    y = np.round(seasonal_demand(8, 48))
    y[3] = np.where(np.arange(48) % 3 == 0, 4.0, 0.0)
    y[4, :28] = np.nan
    y[5, :43] = np.nan
    y[6, 14:] = 0.0
    y[7] = np.random.default_rng(1).poisson(0.4, 48) * 2.5
    return y


@pytest.fixture(scope="module")
def hierarchy(make_hierarchy):
    return make_hierarchy({"family": "AABBABAB"}, levels=["family"])


def _forecast(panel, hierarchy, **changes):
    options = {"horizon": HORIZON, "seed": 1, "executor": Executor(1, 100)}
    return forecast_baseline(panel, hierarchy, SEGMENTS, **(options | changes))


@pytest.fixture(scope="module")
def baseline(demand, make_panel, hierarchy):
    return _forecast(make_panel(demand, hierarchy), hierarchy)


def test_items_become_paths_counts_or_zero_by_their_segment(baseline):
    kinds = {"sparse": "counts", "dead": "zero"}
    assert [m.kind for m in baseline.models] == [kinds.get(s, "paths") for s in SEGMENTS]
    assert [m.segment for m in baseline.models] == list(SEGMENTS)
    for model in baseline.models:
        counts = model.kind == "counts"
        assert (model.dispersion > 0) == counts
        assert model.drift >= 0
        assert counts or model.drift == 0


def test_models_hold_what_a_draw_needs(baseline, hierarchy):
    for i, model in enumerate(baseline.models):
        assert model.unique_id == hierarchy.items[i]
        assert model.groups == ("total", f"family={'AABBABAB'[i]}")
        assert model.centre.shape == model.spread.shape == (HORIZON,)
        assert model.loadings.shape == (3,)
        assert (model.centre >= 0).all()
        np.testing.assert_array_equal(model.centre, baseline.reconciled[i, 0])
        assert model.kind == "zero" or (model.spread > 0).all()
    assert [m.step for m in baseline.models[:7]] == [1.0] * 7
    assert baseline.models[7].step == 2.0**-7  # the median sale is 2.5: 2.5 / 256 is 0.0098


def test_reasons_are_recorded(baseline):
    assert baseline.reasons[DEAD] == "no demand in the last 24 months: forecast as zero"
    expected = "mean of the last six months (too few months for any model)"
    assert baseline.reasons[FIVE_MONTHS] == expected
    assert baseline.reasons[:4] == (None,) * 4


def test_the_dead_teach_nothing_about_the_ranges_of_the_living(baseline, hierarchy):
    assert (baseline.models[DEAD].centre == 0).all()
    pools = (*baseline.ranges.common, *baseline.ranges.own.values())
    assert all(hierarchy.items[DEAD] not in pool.donors for pool in pools)


def test_items_move_to_meet_the_aggregates_as_the_method_says(baseline, hierarchy):
    """Now and at every past origin; what had not begun then is no part of it."""
    combined = baseline.fitted.combined
    residual = baseline.fitted.backtest.actual - combined[:, 1:]
    level = combined[:, 0].mean(axis=1)
    variance = error_variance(residual, fallback=np.square(0.2 * level))
    variance[3 + DEAD] = 0.0
    for o in range(combined.shape[1]):
        started = np.isfinite(combined[3:, o, 0])
        expected = reconcile(
            np.nan_to_num(combined[3:, o]),
            combined[:3, o],
            hierarchy,
            item_variance=np.where(started, variance[3:], 0.0),
            aggregate_variance=variance[:3],
        )
        np.testing.assert_allclose(baseline.reconciled[started, o], expected[started], rtol=1e-12)
        assert np.isnan(baseline.reconciled[~started, o]).all()
    assert not np.isfinite(baseline.reconciled[FIVE_MONTHS, 1:]).all()
    before = np.abs(combined[0, 0] - combined[3:, 0].sum(axis=0))
    after = np.abs(combined[0, 0] - baseline.reconciled[:, 0].sum(axis=0))
    assert after.sum() < before.sum()


def test_failures_of_the_last_origin_are_told_and_those_of_the_past_are_not(
    demand, make_panel, hierarchy, monkeypatch
):
    def late(y, horizon):
        if y.size >= 48:
            raise ValueError("too long")
        return np.full(horizon, y.mean())

    def early(y, horizon):
        return np.full(horizon, y.mean() if y.size >= 48 else np.nan)

    monkeypatch.setitem(LOCAL_MODELS, "DOT", late)
    monkeypatch.setitem(LOCAL_MODELS, "DampedETS", early)
    found = _forecast(make_panel(demand, hierarchy), hierarchy)
    assert found.reasons[0] == "DOT: ValueError: too long"
    assert np.isfinite(found.models[0].centre).all()


def test_sparse_sums_are_weighed_as_sparse(make_panel, make_hierarchy):
    hierarchy = make_hierarchy({"family": "AB"}, levels=["family"])
    y = np.zeros((2, 48))
    y[0, ::2] = 3.0
    y[1] = 50.0 + np.arange(48) % 5
    found = forecast_baseline(
        make_panel(y, hierarchy),
        hierarchy,
        ("sparse", "smooth"),
        horizon=HORIZON,
        seed=1,
        executor=Executor(1, 10),
    )
    assert set(found.fitted.weights) == {"aggregate", "aggregate_sparse", "sparse", "smooth"}


def test_too_short_for_a_backtest_is_said(make_panel, make_hierarchy, seasonal_demand):
    hierarchy = make_hierarchy(3)
    found = forecast_baseline(
        make_panel(seasonal_demand(3, 12), hierarchy),
        hierarchy,
        ("short",) * 3,
        horizon=HORIZON,
        seed=1,
        executor=Executor(1, 10),
    )
    assert any("too short for a backtest" in note for note in found.notes)
    assert found.reconciled.shape == (3, 1, HORIZON)
    assert all((model.spread > 0).all() for model in found.models)


def _learned_weights(rows):
    columns = {"segment": pl.String, "model": pl.String, "weight": pl.Float64}
    return pl.DataFrame(rows, schema=columns, orient="row")


def test_learned_weights_replace_those_of_the_backtest_where_a_segment_has_some(
    baseline, demand, make_panel, hierarchy
):
    rows = [
        ("seasonal", "DOT", 0.3), ("seasonal", "SeasonalNaive", 0.3), ("seasonal", "Gone", 0.4),
        ("sparse", "DOT", 1.0), ("unheard", "DOT", 1.0),
    ]  # fmt: skip
    learned = Learned(weights=_learned_weights(rows))
    found = _forecast(make_panel(demand, hierarchy), hierarchy, learned=learned)
    frame = weights_frame(found)
    seasonal = dict(frame.filter(pl.col("segment") == "seasonal").select("model", "weight").rows())
    assert seasonal == {"DOT": 0.5, "SeasonalNaive": 0.5}
    # DOT is not in the pool of sparse items, and the others were not named: as the backtest has it.
    for segment in ("sparse", "smooth", "aggregate"):
        own = pl.col("segment") == segment
        assert frame.filter(own).equals(weights_frame(baseline).filter(own))
    names = found.fitted.backtest.models
    first = found.fitted.backtest.paths[3]  # the first item, after total and two families
    expected = 0.5 * (first[:, names.index("DOT")] + first[:, names.index("SeasonalNaive")])
    np.testing.assert_allclose(found.fitted.combined[3, 1:], expected, rtol=1e-12)
    assert model_errors_frame(found).equals(model_errors_frame(baseline))


def test_learned_widths_stretch_the_loadings_of_items_drawn_from_paths(
    baseline, demand, make_panel, hierarchy
):
    widths = pl.DataFrame({"part": ["common", "own:seasonal"], "factor": [1.5, 0.5]})
    panel = make_panel(demand, hierarchy)
    found = _forecast(panel, hierarchy, learned=Learned(widths=widths))
    for plain, wide in zip(baseline.models, found.models, strict=True):
        own = {"seasonal": 0.5}.get(plain.segment, 1.0)
        factors = np.array([1.5, 1.5, own]) if plain.kind == "paths" else np.ones(3)
        np.testing.assert_array_equal(wide.loadings, plain.loadings * factors)
        np.testing.assert_array_equal(wide.centre, plain.centre)


def test_learned_widths_of_months_ahead_stretch_the_spread_of_items_drawn_from_paths(
    baseline, demand, make_panel, hierarchy
):
    """In the models, in draws, and the same as stored components are changed to."""
    parts = {"common": 1.5, "lead:1-1": 0.5, "lead:2-3": 1.2, "lead:4-6": 2.0, "lead:7-12": 9.0}
    widths = pl.DataFrame({"part": list(parts), "factor": list(parts.values())})
    panel = make_panel(demand, hierarchy)
    found = _forecast(panel, hierarchy, learned=Learned(widths=widths))
    by_lead = np.array([0.5, 1.2, 1.2, 2.0, 2.0, 2.0])
    for plain, wide in zip(baseline.models, found.models, strict=True):
        factors = by_lead if plain.kind == "paths" else np.ones(HORIZON)
        np.testing.assert_array_equal(wide.spread, plain.spread * factors)
        assert wide.spread.flags.c_contiguous
    stored, cold = components_frame(found), components_frame(baseline)
    assert with_widths(cold, used=None, wanted=widths).equals(stored)
    undone = with_widths(stored, used=widths, wanted=None)
    for column in ("spread", "loadings"):
        for ours, first in zip(undone[column], cold[column], strict=True):
            np.testing.assert_allclose(np.frombuffer(ours), np.frombuffer(first), rtol=1e-15)


def test_errors_of_models_are_told_by_segment(baseline):
    frame = model_errors_frame(baseline)
    ModelErrors.validate(frame.with_columns(run_id=pl.lit("r")), cast=True)
    best = frame.group_by("segment").agg(pl.col("relative_error").min())
    assert (best["relative_error"] == 1.0).all()
    sparse = frame.filter(pl.col("segment") == "sparse")
    assert set(sparse["model"]) == set(SPARSE_POOL)
    assert (sparse["origins"] <= len(baseline.fitted.backtest.offsets)).all()


def test_a_past_origin_sees_history_as_it_was_cleansed_then(make_hierarchy):
    """A freak month after which two ordinary ones are not known yet is no freak yet."""
    rng = np.random.default_rng(2)
    months = [add_months(date(2022, 1, 1), k) for k in range(60)]
    y = np.round(100 + rng.normal(0, 3, 60))
    y[44] = 900.0
    history = pl.DataFrame({"unique_id": ["i00"] * 60, "ds": months, "y": y})
    last = months[-1]
    launched = cleanse(history, missing="unknown", last_month=last)
    panel = item_panel(launched, ("i00",), last_month=last)
    assert panel.y[0, 44] < 120
    hierarchy = make_hierarchy(1)
    then = panels_then(launched, hierarchy, (5, 15, 30), last_month=last)
    assert [seen.shape for seen in then] == [(2, 55), (2, 45), (2, 30)]
    assert then[0][1, 44] < 120
    assert then[1][1, 44] == then[1][0, 44] == 900.0
    for offset, seen in zip((5, 15, 30), then, strict=True):
        cut = add_months(last, -offset)
        alone = cleanse(history, missing="unknown", last_month=cut)
        assert cleansed_then(launched, cut).equals(alone)
        np.testing.assert_array_equal(seen[1], alone["y"].to_numpy())
    found = forecast_baseline(
        node_panel(panel, hierarchy), hierarchy, ("smooth",), horizon=HORIZON, seed=1,
        executor=Executor(1, 10), launched=launched,
    )  # fmt: skip
    plain = forecast_baseline(
        node_panel(panel, hierarchy), hierarchy, ("smooth",), horizon=HORIZON, seed=1,
        executor=Executor(1, 10),
    )  # fmt: skip
    assert found.fitted.combined[:, 0].shape == plain.fitted.combined[:, 0].shape
    assert found.fitted.backtest.offsets == plain.fitted.backtest.offsets
