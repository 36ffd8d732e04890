"""Ranges learned from simulated errors whose shared and own parts are known."""

from __future__ import annotations

import numpy as np
import pytest

from sopforecast.baseline.ranges import learn_ranges
from sopforecast.baseline.simulate import ItemModel, Pools, draw_items

HORIZON = 4
ORIGINS = 40
OFFSETS = tuple(range(HORIZON, (ORIGINS + 1) * HORIZON, HORIZON))  # they do not overlap


def _paths(rng, *shape):
    """Dependent months: half of a path is one shock. Mean square 1."""
    shock = rng.standard_normal((*shape, 1))
    return np.sqrt(0.5) * (shock + rng.standard_normal((*shape, HORIZON)))


def _simulate(hierarchy, sds, *, origins=ORIGINS, seed=0):
    """Errors (B, O, H) with sd ``sds`` by level and, last, an own part; scales (B, O)."""
    rng = np.random.default_rng(seed)
    size = len(hierarchy.items)
    z = sds[-1] * _paths(rng, size, origins)
    for codes, sd in zip(hierarchy.codes, sds[:-1], strict=True):
        shared = sd * _paths(rng, len(hierarchy.aggregates), origins)
        z = z + shared[codes]
    scale = np.broadcast_to(np.geomspace(5.0, 50.0, size)[:, None], (size, origins))
    return z * scale[:, :, None], scale


def _learn(residual, scale, hierarchy, offsets=OFFSETS, segments=None):
    return learn_ranges(
        residual,
        scale,
        hierarchy=hierarchy,
        segments=segments or ["smooth"] * len(hierarchy.items),
        offsets=offsets[: residual.shape[1]],
        rng=np.random.default_rng(1),
    )


def _draw(found, scale, hierarchy, draws=4_000):
    """Errors of draws around a far-away centre (S, B, H)."""
    pools = Pools(tuple(p.paths for p in found.common), {s: p.paths for s, p in found.own.items()})
    models = [
        ItemModel(
            unique_id=item,
            kind="paths",
            segment="smooth",
            groups=tuple(hierarchy.aggregates[a] for a in hierarchy.codes[:, i]),
            centre=np.full(HORIZON, 1e6),
            spread=np.full(HORIZON, scale[i, -1]),
            loadings=found.loadings[i],
            step=2.0**-10,
            dispersion=0.0,
            drift=0.0,
        )
        for i, item in enumerate(hierarchy.items)
    ]
    return draw_items(models, pools, seed=3, draws=draws) - 1e6


def _sizes(found):
    """Mean square of the paths of each level and, last, of the own paths."""
    return [np.square(pool.paths).mean() for pool in (*found.common, found.own["smooth"])]


@pytest.fixture(scope="module")
def portfolio(make_hierarchy):
    """12 families of 10 items."""
    return make_hierarchy({"family": [f"f{k:02d}" for k in range(12) for _ in range(10)]})


def _sd(parts, scale, hierarchy, node):
    """Sd of a month of a node when its items carry ``parts`` (B, L + 1) times their scale."""
    members = hierarchy.descendants(node)
    size = scale[members, -1]
    variance = np.square(size * parts[members, -1]).sum()
    for level, codes in enumerate(hierarchy.codes):
        for group in np.unique(codes[members]):
            same = codes[members] == group
            variance += (size[same] * parts[members, level][same]).sum() ** 2
    return np.sqrt(variance)


ROOM = {
    "each level its own": ((0.6, 0.5, 0.8), (0.9, 1.15)),
    "nothing shared": ((0.0, 0.0, 1.0), (0.95, 1.15)),
    "total only": ((0.5, 0.0, 0.9), (0.9, 1.15)),
    # What families share looks like something of the total's: its range is on the wide side.
    "families only": ((0.0, 0.7, 0.7), (0.95, 1.4)),
}


@pytest.mark.parametrize("case", ROOM)
def test_known_spreads_are_recovered_at_every_level(case, portfolio):
    sds, (low, high) = ROOM[case]
    truth = np.broadcast_to(np.array(sds), (len(portfolio.items), 3))
    ratios = {"total": [], "family=f03": [], "i07": []}
    for seed in range(8):
        residual, scale = _simulate(portfolio, sds, seed=seed)
        found = _learn(residual, scale, portfolio)
        parts = found.loadings * np.sqrt(_sizes(found))
        for node, ratio in ratios.items():
            ratio.append(_sd(parts, scale, portfolio, node) / _sd(truth, scale, portfolio, node))
    assert low < np.mean(ratios["total"]) < high
    assert 0.9 < np.mean(ratios["family=f03"]) < 1.12
    assert 0.95 < np.mean(ratios["i07"]) < 1.06


def test_an_items_variance_is_that_of_its_errors(portfolio):
    residual, scale = _simulate(portfolio, (0.6, 0.5, 0.8))
    found = _learn(residual, scale, portfolio)
    part = np.square(found.loadings).mean(axis=0) * _sizes(found)
    assert part.sum() == pytest.approx(np.square(residual / scale[:, :, None]).mean(), rel=0.02)


def test_draws_spread_as_the_loadings_say_at_every_level_and_over_months(portfolio):
    residual, scale = _simulate(portfolio, (0.6, 0.5, 0.8))
    found = _learn(residual, scale, portfolio)
    drawn = _draw(found, scale, portfolio)
    parts = found.loadings * np.sqrt(_sizes(found))
    for node in ("total", "family=f03", "i07", "i99"):
        path = drawn[:, portfolio.descendants(node)].sum(axis=1)
        expected = _sd(parts, scale, portfolio, node)
        assert np.sqrt(np.square(path).mean()) == pytest.approx(expected, rel=0.08)
        # Months of a path have a correlation of one half: 4 of them 10 / 16 of the perfect case.
        together = path.sum(axis=1).std() / (HORIZON * expected)
        assert together == pytest.approx(np.sqrt(10 / 16), rel=0.15)


def test_independent_items_share_next_to_nothing(portfolio):
    residual, scale = _simulate(portfolio, (0.0, 0.0, 1.0), seed=2)
    found = _learn(residual, scale, portfolio)
    assert found.loadings[:, 0].max() < 0.12
    assert np.square(found.loadings[:, 1]).mean() < 0.15**2
    own = np.square(found.loadings[:, 2]).mean() * _sizes(found)[2]
    assert own == pytest.approx(1.0, rel=0.03)


def test_an_aggregate_of_one_item_shares_nothing(make_hierarchy):
    hierarchy = make_hierarchy({"family": [f"f{k:02d}" for k in range(20)]})
    residual, scale = _simulate(hierarchy, (0.6, 0.0, 0.8))
    found = _learn(residual, scale, hierarchy)
    assert (found.loadings[:, 1] == 0).all()
    assert found.loadings[0, 0] == pytest.approx(0.6, abs=0.15)
    alone = make_hierarchy(1)
    residual, scale = _simulate(alone, (0.0, 1.0))
    assert _learn(residual, scale, alone).loadings[0, 0] == 0.0


def test_few_origins_widen_the_shared_part_and_say_so(portfolio):
    residual, scale = _simulate(portfolio, (0.6, 0.5, 0.8))
    many, few = (_learn(residual[:, :n], scale[:, :n], portfolio) for n in (40, 2))
    assert any("independent stretches" in note for note in few.notes)
    assert many.notes == ()
    shared = np.square((residual / scale[:, :, None])[:, :2].mean(axis=0)).mean()
    assert few.loadings[0, 0] > 1.1 * np.sqrt(shared)


def test_the_unit_of_an_item_does_not_matter(portfolio):
    residual, scale = _simulate(portfolio, (0.6, 0.5, 0.8))
    found = _learn(residual, scale, portfolio)
    scaled = _learn(1024.0 * residual, 1024.0 * scale, portfolio)
    np.testing.assert_array_equal(scaled.loadings, found.loadings)
    np.testing.assert_array_equal(scaled.own["smooth"].paths, found.own["smooth"].paths)


def test_levels_and_segments_each_have_a_pool_in_the_order_of_its_key(make_hierarchy):
    hierarchy = make_hierarchy({"family": "AABBAABB", "region": "EUEUEUEU"})
    residual, scale = _simulate(hierarchy, (0.5, 0.4, 0.3, 0.6))
    found = _learn(residual, scale, hierarchy, segments=["smooth", "seasonal"] * 4)
    assert [pool.part for pool in found.common] == [
        "common:total",
        "common:family",
        "common:region",
    ]
    assert sorted(found.own) == ["seasonal", "smooth"]
    assert found.loadings.shape == (8, 4)
    for pool in (*found.common, *found.own.values()):
        keys = list(zip(pool.origins.tolist(), pool.donors, strict=True))
        assert keys == sorted(set(keys))
        assert pool.paths.shape == (len(keys), HORIZON)
        assert np.isfinite(pool.paths).all()
    assert set(found.own["smooth"].donors) == set(hierarchy.items[0::2])


def test_nothing_seen_gives_made_up_paths_and_no_shared_part(portfolio):
    size = len(portfolio.items)
    for origins in (0, 3):
        residual = np.full((size, origins, HORIZON), np.nan)
        found = _learn(residual, np.ones((size, origins)), portfolio)
        assert (found.loadings[:, :2] == 0).all()
        assert (found.loadings[:, 2] > 0).all()
        assert np.square(found.own["smooth"].paths).mean() > 0.5
        assert np.isfinite(found.own["smooth"].paths).all()


def test_unknown_months_of_some_items_leave_the_others_their_ranges(portfolio):
    residual, scale = _simulate(portfolio, (0.6, 0.5, 0.8))
    holes = residual.copy()
    holes[5] = np.nan
    holes[::7, ::3] = np.nan
    found = _learn(holes, scale, portfolio)
    assert np.isfinite(found.loadings).all()
    assert "i05" not in found.own["smooth"].donors
    np.testing.assert_allclose(
        found.loadings, _learn(residual, scale, portfolio).loadings, atol=0.1
    )


def test_freak_errors_are_cut(portfolio):
    residual, scale = _simulate(portfolio, (0.3, 0.3, 0.9))
    residual[3, 2] = 1e9
    found = _learn(residual, scale, portfolio)
    assert np.abs(found.own["smooth"].paths).max() < 13
    assert found.loadings.max() < 2.0
