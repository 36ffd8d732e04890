"""Widths on simulated errors whose true size is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sopforecast.baseline.calibrate import calibrate_widths
from sopforecast.baseline.simulate import ItemModel, Pools, error_parts

ITEMS, ORIGINS, HORIZON = 40, 12, 9
EVERY = slice(None)


@pytest.fixture
def hierarchy(make_hierarchy):
    return make_hierarchy({"family": "AB" * (ITEMS // 2)})


def _models(hierarchy, loadings):
    return [
        ItemModel(
            unique_id=item,
            kind="paths",
            segment="smooth",
            groups=tuple(hierarchy.aggregates[a] for a in hierarchy.codes[:, i]),
            centre=np.full(HORIZON, 100.0),
            spread=np.ones(HORIZON),
            loadings=np.array(loadings),
            step=1.0,
            dispersion=0.0,
            drift=0.0,
        )
        for i, item in enumerate(hierarchy.items)
    ]


def _world(hierarchy, *, total, own, seed=5):
    """Errors with a shared part of sd ``total`` and an own one of sd ``own``, and unit pools."""
    rng = np.random.default_rng(seed)
    shared = total * rng.standard_normal((1, ORIGINS, HORIZON))
    alone = own * rng.standard_normal((ITEMS, ORIGINS, HORIZON))
    pool = rng.standard_normal((400, HORIZON))
    pools = Pools((pool, pool), {"smooth": rng.standard_normal((400, HORIZON))})
    return shared + alone, np.ones((ITEMS, ORIGINS)), pools


def _fitted(models, pools, residual, scale, hierarchy, **options):
    options = {"widening": np.ones(2), "independent": 50.0, "seed": 1} | options
    return calibrate_widths(models, pools, residual, scale, hierarchy, **options)


def _coverage(models, pools, residual):
    common, own = error_parts(models, pools, seed=1, draws=400, leads=EVERY)
    low, high = np.quantile(common + own, [0.1, 0.9], axis=0)
    return ((residual >= low[:, None]) & (residual <= high[:, None])).mean()


@pytest.mark.parametrize("guess", [0.7, 1.0, 1.4])
def test_a_wrong_width_is_brought_back_for_items_and_sums(hierarchy, guess):
    residual, scale, pools = _world(hierarchy, total=0.6, own=0.8)
    models = _models(hierarchy, [0.6 * guess, 0.0, 0.8 * guess])
    found = _fitted(models, pools, residual, scale, hierarchy)
    assert _coverage(found, pools, residual) == pytest.approx(0.8, abs=0.03)
    assert found[0].loadings[0] == pytest.approx(0.6, rel=0.2)
    assert found[0].loadings[2] == pytest.approx(0.8, rel=0.12)


def test_a_few_freak_errors_do_not_widen_everything(hierarchy):
    residual, scale, pools = _world(hierarchy, total=0.0, own=0.8)
    residual[:2] *= 15.0
    by_squares = float(np.sqrt(np.square(residual).mean()))
    models = _models(hierarchy, [0.0, 0.0, by_squares])
    assert _coverage(models, pools, residual) > 0.93
    found = _fitted(models, pools, residual, scale, hierarchy)
    assert _coverage(found, pools, residual) < 0.88


def test_what_was_widened_for_few_origins_stays(hierarchy):
    residual, scale, pools = _world(hierarchy, total=0.6, own=0.8)
    plain = _fitted(_models(hierarchy, [0.6, 0.0, 0.8]), pools, residual, scale, hierarchy)
    wide = _fitted(
        _models(hierarchy, [0.6 * 1.5, 0.0, 0.8]),
        pools,
        residual,
        scale,
        hierarchy,
        widening=np.array([1.5, 1.0]),
    )
    assert wide[0].loadings[0] == pytest.approx(1.5 * plain[0].loadings[0], rel=1e-9)


def test_without_errors_nothing_moves(hierarchy):
    residual, scale, pools = _world(hierarchy, total=0.6, own=0.8)
    models = _models(hierarchy, [0.6, 0.0, 0.8])
    found = _fitted(models, pools, np.full_like(residual, np.nan), scale, hierarchy)
    assert all(a is b for a, b in zip(found, models, strict=True))
    counts = [replace(model, kind="counts") for model in models]
    assert all(
        a is b
        for a, b in zip(_fitted(counts, pools, residual, scale, hierarchy), counts, strict=True)
    )
