"""Items with a history and items of the clinic, drawn and summed as one portfolio."""

from __future__ import annotations

from datetime import date
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from sopforecast.baseline.cleanse import cleanse
from sopforecast.baseline.month import baseline_month, no_baseline
from sopforecast.core.draws import QUANTILES
from sopforecast.core.hierarchy import build_hierarchy
from sopforecast.core.months import add_months
from sopforecast.core.stopwatch import Stopwatch
from sopforecast.portfolio import draws_of, joined_demand
from sopforecast.settings import Settings

CYCLE, HORIZON, DRAWS = date(2026, 10, 1), 4, 50
SETTINGS = Settings(levels=("family",), horizon=HORIZON, seed=5,
                    advanced={"draws": DRAWS, "workers": 1})  # fmt: skip
FAMILY = {"B": "X", "KIT": "X", "LAMP": "Y", "SEED": "Z", "a": "X", "z": "Y"}
OWN, OF_CLINIC = ("B", "LAMP", "z"), ("KIT", "SEED", "a")
ITEMS = pl.DataFrame({"unique_id": list(FAMILY), "family": list(FAMILY.values())})


@pytest.fixture(scope="module")
def month():
    """Three items with a history: families X and Y."""
    rng = np.random.default_rng(0)
    rows = [
        (item, add_months(CYCLE, m - 30), float(rng.poisson(15 * (k + 1))), False)
        for k, item in enumerate(OWN)
        for m in range(30)
    ]
    history = pl.DataFrame(rows, schema=["unique_id", "ds", "y", "partial"], orient="row")
    own = build_hierarchy(ITEMS.filter(pl.col("unique_id").is_in(OWN)), levels=["family"])
    cleansed = cleanse(history, missing="unknown", last_month=add_months(CYCLE, -1))
    return baseline_month(
        cleansed, None, own, cycle=CYCLE, settings=SETTINGS, clock=Stopwatch(None)
    )


@pytest.fixture(scope="module")
def clinic():
    """Three items of the clinic, as far as a portfolio looks at one: family Z is theirs alone."""
    rng = np.random.default_rng(1)
    steps = np.array([1.0, 0.125, 1.0])
    draws = rng.poisson(6.0, (DRAWS, 3, HORIZON)) * steps[:, None]
    return SimpleNamespace(items=OF_CLINIC, draws=draws, naive=draws[0] + 0.3, steps=steps)


@pytest.fixture(scope="module")
def hierarchy():
    return build_hierarchy(ITEMS, levels=["family"])


@pytest.fixture(scope="module")
def every(month, clinic, hierarchy):
    """Draws of all items by hand, in the order of the hierarchy."""
    own = month.draw(np.arange(3), settings=SETTINGS)
    by_name = {name: own[:, k] for k, name in enumerate(OWN)}
    by_name |= {name: clinic.draws[:, k] for k, name in enumerate(OF_CLINIC)}
    return np.stack([by_name[name] for name in hierarchy.items], axis=1)


def test_every_aggregate_is_the_sum_of_its_items(month, clinic, hierarchy, every):
    whole = joined_demand(month, clinic, hierarchy)
    assert whole.items == hierarchy.items == tuple(sorted(FAMILY))
    for k, node in enumerate(hierarchy.aggregates):
        members = [i for i, name in enumerate(hierarchy.items)
                   if node in ("total", f"family={FAMILY[name]}")]  # fmt: skip
        np.testing.assert_array_equal(whole.sums[:, k], every[:, members].sum(axis=1))
    np.testing.assert_allclose(whole.mean, every.mean(axis=0))
    for k, (_, level) in enumerate(QUANTILES):
        np.testing.assert_allclose(whole.quantiles[k], np.quantile(every, level, axis=0))
    for k, name in enumerate(hierarchy.items):
        part, at = (month, OWN.index(name)) if name in OWN else (clinic, OF_CLINIC.index(name))
        assert whole.steps[k] == part.steps[at]
        np.testing.assert_array_equal(whole.naive[k], part.naive[at])


@pytest.mark.parametrize("asked", [(0,), (5,), (1, 3), (0, 2), (3, 0, 1, 5), (5, 4, 3, 2, 1, 0)])
def test_items_are_drawn_in_the_order_asked(month, clinic, hierarchy, every, asked):
    draw = draws_of(month, clinic, hierarchy, settings=SETTINGS)
    items = np.array(asked, dtype=np.int64)
    found = draw(items)
    assert found.shape == (DRAWS, len(asked), HORIZON)
    np.testing.assert_array_equal(found, every[:, items])


def test_draws_given_out_are_not_those_kept(month, clinic, hierarchy):
    """What conditioning does to the draws it was given must not reach the clinic's."""
    before = clinic.draws.copy()
    draw = draws_of(month, clinic, hierarchy, settings=SETTINGS)
    draw(np.arange(6))[:] = -1.0
    draw(np.array([1, 3, 4]))[:] = -1.0
    np.testing.assert_array_equal(clinic.draws, before)


def test_without_a_clinic_it_is_the_history_alone(month):
    whole = joined_demand(month, None, month.hierarchy)
    assert whole.sums is month.drawn.sums
    assert whole.mean is month.drawn.mean
    draw = draws_of(month, None, month.hierarchy, settings=SETTINGS)
    items = np.array([2, 0])
    assert draw(items).tobytes() == month.draw(items, settings=SETTINGS).tobytes()


def test_a_clinic_that_asks_for_nothing_is_no_clinic(month):
    nothing = SimpleNamespace(items=(), draws=np.empty((DRAWS, 0, HORIZON)))
    whole = joined_demand(month, nothing, month.hierarchy)
    assert whole.sums is month.drawn.sums


def test_without_any_history_it_is_the_clinic_alone(clinic):
    none = no_baseline(horizon=HORIZON, draws=DRAWS)
    own = build_hierarchy(ITEMS.filter(pl.col("unique_id").is_in(OF_CLINIC)), levels=["family"])
    whole = joined_demand(none, clinic, own)
    assert whole.items == OF_CLINIC
    np.testing.assert_array_equal(whole.sums, own.aggregate(clinic.draws))
    draw = draws_of(none, clinic, own, settings=SETTINGS)
    np.testing.assert_array_equal(draw(np.array([2, 0])), clinic.draws[:, [2, 0]])


def test_an_item_of_neither_is_refused(month, clinic, hierarchy):
    more = build_hierarchy(
        pl.concat([ITEMS, pl.DataFrame({"unique_id": ["new"], "family": ["X"]})]),
        levels=["family"],
    )
    with pytest.raises(ValueError, match="each in one part"):
        joined_demand(month, clinic, more)
