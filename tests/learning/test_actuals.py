"""Which demand is known, which nodes are whole, and how large errors usually are."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import polars as pl
import pytest
from utilsforecast import losses

from sopforecast.core.hierarchy import build_hierarchy
from sopforecast.core.months import add_months, month_range
from sopforecast.learning.actuals import actuals_of, demand_of, of_nodes, scales_of

FIRST, LAST = date(2024, 1, 1), date(2026, 3, 1)
MONTHS = month_range(FIRST, 27)
KINDS = {"a": "paths", "b": "counts", "c": "zero", "kit": "clinic"}
HIERARCHY = build_hierarchy(
    pl.DataFrame({"unique_id": ["a", "b", "c", "kit"], "family": ["X", "X", "Y", "Z"]}),
    levels=["family"],
)


def _history(**values):
    """Values by item from the first month on; None is an empty cell, ``...`` no row."""
    rows = [
        (item, month, value)
        for item, own in values.items()
        for month, value in zip(MONTHS, own, strict=False)
        if value is not ...
    ]
    schema = {"unique_id": pl.String, "ds": pl.Date, "y": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _known(history, *, missing="unknown", since=None, kinds=KINDS):
    demand = demand_of(history, kinds, last=LAST, missing=missing)
    return actuals_of(demand, history, kinds, month=LAST, clinic_since=since or {})


def test_a_row_says_what_it_says_and_an_empty_cell_is_unknown():
    full = [5.0] * 26
    for missing in ("unknown", "zero"):
        got = _known(
            _history(a=[*full, 7.0], b=[*full, None], c=[*full, 2.0], kit=[*full, 0.0]),
            missing=missing,
        )
        assert got == {"a": 7.0, "c": 2.0, "kit": 0.0}


def test_no_row_is_zero_only_where_nothing_was_to_come_or_the_settings_say_so():
    history = _history(a=[5.0] * 26, c=[4.0, 4.0], b=[..., 3.0])
    assert _known(history) == {"c": 0.0, "kit": 0.0}
    assert _known(history, missing="zero") == {"a": 0.0, "b": 0.0, "c": 0.0, "kit": 0.0}
    alive = KINDS | {"c": "paths"}
    assert "c" not in _known(history, kinds=alive)
    # never begun: nothing is known of it, whatever the settings say
    never = _known(_history(a=[5.0]), missing="zero")
    assert "b" not in never


def test_the_clinic_is_awaited_from_when_it_asks():
    history = _history(a=[5.0] * 27)
    assert "kit" not in _known(history, since={"kit": LAST})
    assert "kit" not in _known(history, since={"kit": FIRST})
    assert _known(history, since={"kit": add_months(LAST, 1)})["kit"] == 0.0
    begun = _history(kit=[1.0] * 20)
    assert "kit" not in _known(begun, since={"kit": add_months(LAST, 1)})


def test_a_sum_is_whole_when_all_below_it_are():
    got = dict(
        zip(HIERARCHY.nodes, of_nodes({"a": 3.0, "c": 2.0, "kit": 1.0}, HIERARCHY), strict=True)
    )
    assert np.isnan([got["total"], got["family=X"], got["b"]]).all()
    assert (got["family=Y"], got["family=Z"], got["a"]) == (2.0, 1.0, 3.0)
    whole = of_nodes(dict.fromkeys("abc", 2.0) | {"kit": 1.0}, HIERARCHY)
    assert whole[0] == 7.0


@pytest.mark.parametrize("cycle", [LAST, add_months(LAST, -5)])
def test_scales_are_those_of_utilsforecast_on_months_before_the_cycle(cycle):
    rng = np.random.default_rng(4)
    values = {item: rng.poisson(30, 27).astype(float).tolist() for item in KINDS}
    demand = demand_of(_history(**values), KINDS, last=LAST, missing="unknown")
    scale, root = scales_of(demand, HIERARCHY, before=cycle)
    sums = {
        node: sum(np.array(values[HIERARCHY.items[i]]) for i in HIERARCHY.descendants(node))
        for node in HIERARCHY.nodes
    }
    past = pd.DataFrame(
        [
            {"unique_id": node, "ds": k, "y": y}
            for node, own in sums.items()
            for k, (month, y) in enumerate(zip(MONTHS, own, strict=True))
            if month < cycle
        ]
    )
    one = pd.DataFrame({"unique_id": HIERARCHY.nodes, "ds": 99, "y": 10.0, "m": 11.0})
    mase = losses.mase(one, ["m"], seasonality=12, train_df=past).set_index("unique_id")["m"]
    rmsse = losses.rmsse(one, ["m"], seasonality=12, train_df=past).set_index("unique_id")["m"]
    for k, node in enumerate(HIERARCHY.nodes):
        assert 1 / scale[k] == pytest.approx(mase[node], rel=1e-12)
        assert 1 / root[k] == pytest.approx(rmsse[node], rel=1e-12)


def test_scales_of_sums_count_what_had_begun_and_skip_what_is_unknown():
    """b begins late, a has a hole, c has ended, kit never began; by hand over the pairs left."""
    a = [10.0 + m for m in range(26)]
    a[3] = None
    b = [..., ..., ..., ..., *[1.0] * 22]
    c = [2.0] * 14
    demand = demand_of(_history(a=a, b=b, c=c), KINDS, last=LAST, missing="unknown")
    scale, root = scales_of(demand, HIERARCHY, before=add_months(LAST, -1))
    got = dict(zip(HIERARCHY.nodes, scale, strict=True))
    assert got["a"] == 12.0
    assert np.isnan(got["b"])  # it never differs
    assert np.isnan(got["kit"])
    assert np.isnan(got["family=Z"])
    assert np.isnan(got["c"])
    x = [10.0 + m + (m >= 4) for m in range(25)]
    pairs = [abs(x[m] - x[m - 12]) for m in range(12, 25) if m - 12 != 3]
    assert got["family=X"] == pytest.approx(np.mean(pairs))
    y = [2.0 * (m < 14) for m in range(25)]  # after its end it has none
    of_c = [abs(y[m] - y[m - 12]) for m in range(12, 25)]
    assert got["family=Y"] == pytest.approx(np.mean(of_c))
    total = [x[m] + y[m] for m in range(25)]
    both = [abs(total[m] - total[m - 12]) for m in range(12, 25) if m - 12 != 3]
    assert got["total"] == pytest.approx(np.mean(both))
    squares = np.mean(np.square(both))
    assert root[0] == pytest.approx(np.sqrt(squares))
    before_all = scales_of(demand, HIERARCHY, before=add_months(FIRST, 6))
    assert np.isnan(before_all).all()


def test_nothing_at_all():
    demand = demand_of(_history(), KINDS, last=LAST, missing="zero")
    assert demand.y.shape == (4, 1)
    assert _known(_history()) == {"c": 0.0, "kit": 0.0}
    assert demand_of(_history(a=[1.0]), {}, last=LAST, missing="zero").place == {}
