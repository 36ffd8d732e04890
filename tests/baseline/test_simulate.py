"""Draws: the same bytes however the work is cut, exact sums, non-negative steps, the right mean."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sopforecast.baseline.simulate import ItemModel, Pools, draw_items, draw_nodes, view_chunk
from sopforecast.core.draws import QUANTILES

HORIZON, DRAWS, SEED = 6, 240, 17
SIZE = 9
STEPS = (1.0, 0.25, 8.0)


def _model(hierarchy, i, **changes):
    kind = ("paths", "counts", "paths")[i % 3]
    values = {
        "unique_id": hierarchy.items[i],
        "kind": kind,
        "segment": "smooth",
        "groups": tuple(hierarchy.aggregates[a] for a in hierarchy.codes[:, i]),
        "centre": np.linspace(20.0, 40.0, HORIZON) * (i + 1) / (5 if kind == "counts" else 1),
        "spread": np.full(HORIZON, 2.0 * (i + 1)),
        "loadings": np.array([0.4, 0.6, 0.9]),
        "step": STEPS[i % 3],
        "dispersion": 0.5,
        "drift": 0.1,
    }
    return ItemModel(**(values | changes))


@pytest.fixture(scope="module")
def hierarchy(make_hierarchy):
    return make_hierarchy({"family": "AABBBCCAC"}, levels=["family"])


@pytest.fixture(scope="module")
def pools():
    rng = np.random.default_rng(0)
    unit = [rng.standard_normal((size, HORIZON)) for size in (14, 31, 70)]
    unit = [paths / np.sqrt(np.square(paths).mean()) for paths in unit]
    return Pools((unit[0], unit[1]), {"smooth": unit[2] - unit[2].mean(axis=0)})


@pytest.fixture(scope="module")
def models(hierarchy):
    zero = {"kind": "zero", "centre": np.zeros(HORIZON), "spread": np.zeros(HORIZON)}
    made = [_model(hierarchy, i) for i in range(SIZE - 1)]
    return (*made, _model(hierarchy, SIZE - 1, **zero))


@pytest.fixture(scope="module")
def nodes(models, pools, hierarchy):
    return draw_nodes(models, pools, hierarchy, seed=SEED, draws=DRAWS)


@settings(max_examples=30, deadline=None)
@given(order=st.permutations(range(SIZE)), size=st.integers(1, SIZE))
def test_an_item_has_the_same_bytes_whatever_is_drawn_with_it(order, size, models, pools, nodes):
    some = order[:size]
    drawn = draw_items([models[i] for i in some], pools, seed=SEED, draws=DRAWS)
    bottom = nodes[:, -SIZE:]
    for place, i in enumerate(some):
        assert drawn[:, place].tobytes() == bottom[:, i].tobytes()


@settings(max_examples=30, deadline=None)
@given(cuts=st.sets(st.integers(1, SIZE - 1)))
def test_chunks_add_up_to_the_same_bytes_however_cut(cuts, models, pools, hierarchy, nodes):
    bounds = [0, *sorted(cuts), SIZE]
    sums = np.zeros((DRAWS, len(hierarchy.aggregates), HORIZON))
    means, quantiles = [], []
    for start, stop in pairwise(bounds):
        view = view_chunk(models[start:stop], pools, hierarchy, SEED, DRAWS)
        sums[:, view.touched] += view.sums
        means.append(view.mean)
        quantiles.append(view.quantiles)
    assert sums.tobytes() == np.ascontiguousarray(nodes[:, :-SIZE]).tobytes()
    whole = view_chunk(models, pools, hierarchy, SEED, DRAWS)
    assert np.concatenate(means).tobytes() == whole.mean.tobytes()
    assert np.concatenate(quantiles, axis=1).tobytes() == whole.quantiles.tobytes()


def test_every_draw_adds_up_exactly(nodes, hierarchy):
    from fractions import Fraction

    bottom = nodes[:, -SIZE:]
    for a in range(len(hierarchy.aggregates)):
        members = hierarchy.descendants(hierarchy.aggregates[a])
        for draw, month in ((0, 0), (7, 3), (DRAWS - 1, HORIZON - 1)):
            exact = sum(Fraction(float(bottom[draw, i, month])) for i in members)
            assert Fraction(float(nodes[draw, a, month])) == exact


def test_draws_are_non_negative_multiples_of_the_step(nodes, models):
    bottom = nodes[:, -SIZE:]
    assert (nodes >= 0).all()
    for i, model in enumerate(models):
        counted = bottom[:, i] / model.step
        assert (counted == np.rint(counted)).all()


def test_quantiles_are_those_of_numpy_and_never_cross(models, pools, hierarchy, nodes):
    view = view_chunk(models, pools, hierarchy, SEED, DRAWS)
    for k, (_, level) in enumerate(QUANTILES):
        expected = np.quantile(nodes[:, -SIZE:], level, axis=0)
        np.testing.assert_allclose(view.quantiles[k], expected, rtol=1e-12, atol=1e-12)
    assert (np.diff(view.quantiles, axis=0) >= 0).all()


def test_the_mean_of_the_draws_is_the_centre(models, pools):
    drawn = draw_items(models, pools, seed=SEED, draws=4_000)
    for i, model in enumerate(models):
        sd = drawn[:, i].std(axis=0) / np.sqrt(4_000)
        rounding = model.step / np.sqrt(4_000)
        error = np.abs(drawn[:, i].mean(axis=0) - model.centre)
        assert (error <= 4 * np.maximum(sd, rounding) + 1e-12).all()
        if model.kind == "paths":  # counts aside, only rounding is left to chance
            assert (error <= 2.5 * rounding).all()


def test_cutting_at_zero_does_not_raise_the_mean(hierarchy, pools):
    wide = _model(hierarchy, 0, centre=np.full(HORIZON, 10.0), spread=np.full(HORIZON, 12.0))
    drawn = draw_items([wide], pools, seed=SEED, draws=2_000)[:, 0]
    assert (drawn == 0).mean() > 0.1
    np.testing.assert_allclose(drawn.mean(axis=0), 10.0, atol=0.06)


def test_an_item_without_demand_to_come_is_zero_in_every_draw(nodes, models):
    assert models[-1].kind == "zero"
    assert (nodes[:, -1] == 0).all()


def test_closed_months_are_zero_in_every_draw(hierarchy, pools):
    open_months = np.array([1.0, 1.0, 0.0, 0.0, 1.0, 0.0])
    for i in (0, 1):
        model = _model(hierarchy, i)
        closed = _model(
            hierarchy, i, centre=model.centre * open_months, spread=model.spread * open_months
        )
        drawn = draw_items([closed], pools, seed=SEED, draws=DRAWS)[:, 0]
        assert (drawn[:, open_months == 0] == 0).all()
        assert (drawn[:, open_months == 1] > 0).any(axis=0).all()


def test_paths_have_the_variance_that_loadings_and_spread_say(hierarchy, pools):
    model = _model(hierarchy, 0, centre=np.full(HORIZON, 1e6), spread=np.full(HORIZON, 1e3))
    drawn = draw_items([model], pools, seed=SEED, draws=8_000)[:, 0]
    size = [np.square(p).mean(axis=0) for p in (*pools.common, pools.own["smooth"])]
    expected = 1e6 * (0.4**2 * size[0] + 0.6**2 * size[1] + 0.9**2 * size[2])
    np.testing.assert_allclose(drawn.var(axis=0), expected, rtol=0.08)


def test_items_of_an_aggregate_share_its_error(hierarchy, pools):
    """Only the family's path differs from nought: AA move as one, A and B apart."""
    shared = {"loadings": np.array([0.0, 1.0, 0.0]), "centre": np.full(HORIZON, 1e6)}
    spread = {"spread": np.full(HORIZON, 1e3)}
    a0, a1, b = (_model(hierarchy, i, kind="paths", **shared, **spread) for i in (0, 1, 2))
    drawn = draw_items([a0, a1, b], pools, seed=SEED, draws=2_000)
    same = np.corrcoef(drawn[:, 0].ravel(), drawn[:, 1].ravel())[0, 1]
    apart = np.corrcoef(drawn[:, 0].ravel(), drawn[:, 2].ravel())[0, 1]
    assert same > 0.999
    assert abs(apart) < 0.1


def test_own_errors_of_two_items_are_independent(hierarchy, pools):
    own = {"loadings": np.array([0.0, 0.0, 1.0]), "centre": np.full(HORIZON, 1e6)}
    spread = {"spread": np.full(HORIZON, 1e3)}
    models = [_model(hierarchy, i, kind="paths", **own, **spread) for i in (0, 1)]
    drawn = draw_items(models, pools, seed=SEED, draws=4_000)
    assert abs(np.corrcoef(drawn[:, 0].ravel(), drawn[:, 1].ravel())[0, 1]) < 0.03


def test_each_path_of_a_pool_is_used_about_as_often_as_any_other(hierarchy):
    paths = np.arange(7.0)[:, None] * np.ones((7, HORIZON))
    pools = Pools((np.empty((0, HORIZON)),) * 2, {"smooth": paths - paths.mean(axis=0)})
    model = _model(
        hierarchy,
        0,
        centre=np.full(HORIZON, 1e6),
        spread=np.full(HORIZON, 1e3),
        loadings=np.array([0.5, 0.5, 1.0]),
    )
    drawn = draw_items([model], pools, seed=SEED, draws=100)[:, 0, 0]
    _, times = np.unique(np.rint(drawn / 1e3), return_counts=True)
    assert sorted(times.tolist()) == [14] * 5 + [15] * 2


def test_another_seed_gives_other_draws_and_the_same_seed_the_same(models, pools):
    one = draw_items(models, pools, seed=SEED, draws=DRAWS)
    assert draw_items(models, pools, seed=SEED, draws=DRAWS).tobytes() == one.tobytes()
    assert draw_items(models, pools, seed=SEED + 1, draws=DRAWS).tobytes() != one.tobytes()
