"""Sums of scores against scoringrules, utilsforecast and plain loops; adding, never averaging."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scoringrules
from hypothesis import given
from hypothesis import strategies as st
from utilsforecast import losses

from sopforecast.core.draws import QUANTILES, quantile_view
from sopforecast.core.learning_tables import empty
from sopforecast.core.metrics import naive_root_scale, naive_scale
from sopforecast.core.months import add_months
from sopforecast.core.score_tables import Scores
from sopforecast.learning.accuracy import (
    AMOUNTS,
    COUNTS,
    crps_of_cells,
    current,
    measures,
    summed,
    sums_of,
    tracking_signal_of,
)

LABELS = [label for label, _ in QUANTILES]
LEVELS = np.array([level for _, level in QUANTILES])
MONTH = date(2026, 1, 1)


def _cells(n=40, seed=1, draws=200):
    """Actuals, forecasts, draws (S, n) and their quantiles."""
    rng = np.random.default_rng(seed)
    paths = rng.gamma(4.0, 20.0, (draws, n)) * rng.uniform(0.2, 4, n)
    actual = np.round(rng.gamma(4.0, 20.0, n))
    views = {label: view[:, 0] for label, view in quantile_view(paths[:, :, None]).items()}
    return actual, np.round(paths.mean(axis=0)), paths, views


def _row(sums, **key):
    base = {
        "fit_id": "f", "version": "first", "ds": MONTH, "cycle": MONTH, "stage": "statistical",
        "level": "item", "within": "total", "measure": "quantity", "source": "*", "owner": "*",
        "lead": 1, "run_id": "r",
    }  # fmt: skip
    return base | sums | key


def _frame(rows):
    schema = {name: c.dtype for name, c in Scores.columns().items()}
    return pl.DataFrame(rows, schema=schema)


def test_sums_worked_by_hand():
    got = sums_of(
        np.array([10.0, 0.0, -2.0]),
        np.array([12.0, 3.0, 0.0]),
        quantiles={"p10": np.array([8.0, 1.0, -3.0]), "p90": np.array([14.0, 5.0, np.nan])},
        draws=np.array([[10.0, 0.0, 0.0], [14.0, 4.0, 0.0]]),
        scale=np.array([2.0, np.nan, 4.0]),
        root_scale=np.array([4.0, np.nan, 8.0]),
    )
    assert got["cells"] == 3
    assert got["actual"] == 8
    assert got["forecast"] == 15
    assert got["demand"] == 12
    assert got["absolute_error"] == 7
    assert got["squared_error"] == 4 + 9 + 4
    assert (got["scaled_cells"], got["scaled_error"]) == (2, 2 / 2 + 2 / 4)
    assert got["scaled_squared"] == (2 / 4) ** 2 + (2 / 8) ** 2
    assert (got["ranged"], got["inside80"]) == (2, 1)  # 0 is below 1; the third has no P90
    # 2 x the mean pinball of both levels: (0.2 + 0.4) and (0.9 + 0.5).
    assert got["wis"] == pytest.approx(0.6 + 1.4)
    # E|X - y| - E|X - X'| / 2: 2 - 1, 2 - 1, 2 - 0.
    assert (got["drawn"], got["crps"]) == (3, 1 + 1 + 2)


def test_every_sum_against_independent_libraries():
    actual, forecast, paths, views = _cells()
    n = len(actual)
    rng = np.random.default_rng(2)
    history = rng.gamma(4.0, 20.0, (n, 30))
    got = sums_of(
        actual, forecast, quantiles=views, draws=paths,
        scale=naive_scale(history), root_scale=naive_root_scale(history),
    )  # fmt: skip
    crps = scoringrules.crps_ensemble(actual, paths.T, estimator="nrg")
    assert got["crps"] == pytest.approx(crps.sum(), abs=1e-9)
    stacked = np.stack([views[label] for label in LABELS], axis=-1)
    pinball = scoringrules.quantile_score(actual[:, None], stacked, LEVELS)
    assert got["wis"] == pytest.approx(2 * pinball.mean(axis=-1).sum(), rel=1e-12)
    names = [f"s{k:02d}" for k in range(n)]
    one = pd.DataFrame({"unique_id": names, "ds": 1, "y": actual, "m": forecast})
    past = pd.DataFrame(
        {"unique_id": np.repeat(names, 30), "ds": np.tile(np.arange(30), n), "y": history.ravel()}
    )
    mase = losses.mase(one, ["m"], seasonality=12, train_df=past)["m"].sum()
    assert got["scaled_error"] == pytest.approx(mase, abs=1e-9)
    squared = (losses.rmsse(one, ["m"], seasonality=12, train_df=past)["m"] ** 2).sum()
    assert got["scaled_squared"] == pytest.approx(squared, abs=1e-9)
    assert got["absolute_error"] == pytest.approx(losses.mae(one, ["m"])["m"].sum(), abs=1e-9)
    assert got["squared_error"] == pytest.approx(losses.mse(one, ["m"])["m"].sum(), abs=1e-6)
    frame = one.assign(lo=views["p10"], hi=views["p90"])
    inside = losses.coverage(
        frame.rename(columns={"lo": "m-lo-80", "hi": "m-hi-80"}), ["m"], level=80
    )["m"].sum()
    assert got["inside80"] == inside


def test_wis_of_median_and_pairs_is_that_of_bracher():
    actual, forecast, _, views = _cells()
    got = sums_of(actual, forecast, quantiles=views)
    alpha = np.array([0.1, 0.2, 0.5])
    low = np.stack([views["p05"], views["p10"], views["p25"]], axis=-1)
    high = np.stack([views["p95"], views["p90"], views["p75"]], axis=-1)
    want = scoringrules.weighted_interval_score(actual, views["p50"], low, high, alpha)
    assert got["wis"] == pytest.approx(want.sum(), abs=1e-9)


def test_crps_of_cells_by_definition():
    actual, _, paths, _ = _cells(n=5, draws=60)
    for k, value in enumerate(crps_of_cells(actual, paths)):
        x = paths[:, k]
        pairs = np.abs(x[:, None] - x[None, :]).mean()
        assert value == pytest.approx(np.abs(x - actual[k]).mean() - pairs / 2, abs=1e-9)


def test_money_weighs_by_price_and_scales_nothing():
    actual, forecast, paths, views = _cells(n=6)
    price = np.array([1.0, 2.0, 0.5, 10.0, 3.0, 7.0])
    got = sums_of(
        actual, forecast, quantiles=views, draws=paths, price=price,
        scale=np.ones(6), root_scale=np.ones(6),
    )  # fmt: skip
    money = sums_of(
        actual * price,
        forecast * price,
        quantiles={label: view * price for label, view in views.items()},
        draws=paths * price,
    )
    for name in (*COUNTS, *AMOUNTS):
        assert got[name] == pytest.approx(money[name], rel=1e-12), name
    assert got["scaled_cells"] == got["scaled_error"] == got["scaled_squared"] == 0
    by_loop = sum(
        p**2 * (f - a) ** 2 for p, f, a in zip(price, forecast, actual, strict=True)
    )  # fmt: skip
    assert got["squared_error"] == pytest.approx(by_loop, rel=1e-12)


def test_without_ranges_and_draws_nothing_is_ranged_or_drawn():
    got = sums_of(np.array([1.0, 2.0]), np.array([1.0, 3.0]))
    assert [got[name] for name in ("ranged", "inside80", "wis", "drawn", "crps")] == [0] * 5
    assert [got[name] for name in ("scaled_cells", "scaled_error", "scaled_squared")] == [0] * 3
    with pytest.raises(ValueError, match="actual: found NaN"):
        sums_of(np.array([np.nan]), np.array([1.0]))


@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(0, 3)),
        min_size=1,
        max_size=20,
    )
)
def test_parts_add_up_to_the_whole_and_percentages_are_not_averaged(rows):
    actual = np.array([float(a) for a, _, _ in rows])
    forecast = np.array([float(f) for _, f, _ in rows])
    part = np.array([p for _, _, p in rows])
    frame = _frame(
        [
            _row(sums_of(actual[part == p], forecast[part == p]), ds=add_months(MONTH, int(p)))
            for p in np.unique(part)
        ]
    )
    (got,) = measures(frame, []).to_dicts()
    error, demand = np.abs(forecast - actual).sum(), actual.sum()
    if demand > 0:
        assert got["wmape"] == pytest.approx(100 * error / demand)
        assert got["accuracy"] == pytest.approx(100 - 100 * error / demand)
        assert got["bias_percent"] == pytest.approx(100 * (forecast - actual).sum() / demand)
    else:
        assert got["wmape"] is got["accuracy"] is got["bias_percent"] is None
    assert got["bias"] == pytest.approx((forecast - actual).mean())
    assert got["cells"] == len(rows)


def test_measures_against_plain_loops_over_all_cells():
    cells = [_cells(n=7, seed=k) for k in range(4)]
    scale, root = np.full(7, 3.0), np.full(7, 5.0)
    scale[2] = np.nan
    frame = _frame(
        [
            _row(
                sums_of(a, f, quantiles=v, draws=d, scale=scale, root_scale=root),
                ds=add_months(MONTH, k), lead=1 + k % 2,
            )
            for k, (a, f, d, v) in enumerate(cells)
        ]
    )  # fmt: skip
    got = measures(frame, ["lead"])
    assert got["lead"].to_list() == [1, 2]
    for row in got.iter_rows(named=True):
        size = absolute = net = scaled = squared = inside = crps = wis = 0.0
        n = n_scaled = 0
        for a, f, d, v in cells[row["lead"] - 1 :: 2]:
            for i in range(7):
                n += 1
                size, absolute, net = size + a[i], absolute + abs(f[i] - a[i]), net + f[i] - a[i]
                if i != 2:
                    n_scaled += 1
                    scaled += abs(f[i] - a[i]) / 3.0
                    squared += ((f[i] - a[i]) / 5.0) ** 2
                inside += v["p10"][i] <= a[i] <= v["p90"][i]
                crps += float(scoringrules.crps_ensemble(a[i], d[:, i], estimator="nrg"))
                for label, tau in QUANTILES:
                    miss = a[i] - v[label][i]
                    wis += 2 / len(QUANTILES) * max(tau * miss, (tau - 1) * miss)
        want = {
            "cells": n, "wmape": 100 * absolute / size, "accuracy": 100 - 100 * absolute / size,
            "bias": net / n, "bias_percent": 100 * net / size, "mase": scaled / n_scaled,
            "rmsse": (squared / n_scaled) ** 0.5, "wis": wis / n, "crps": crps / n,
            "coverage80": inside / n,
        }  # fmt: skip
        for name, value in want.items():
            assert row[name] == pytest.approx(value, abs=1e-9), name


def test_what_is_not_of_one_kind_is_not_added():
    sums = sums_of(np.array([1.0]), np.array([2.0]))
    for name, other in (
        ("stage", "naive"), ("level", "total"), ("within", "family=A"), ("measure", "value"),
    ):  # fmt: skip
        frame = _frame([_row(sums), _row(sums, **{name: other})])
        with pytest.raises(ValueError, match=f"{name}: found 2 in one sum"):
            measures(frame, ["cycle"])
        assert measures(frame, [name]).height == 2
    said = [_row(sums, source="sales", owner="ann", level=level) for level in ("item", "total")]
    assert measures(_frame(said), ["source"])["cells"].to_list() == [2]


def test_sums_do_not_depend_on_the_order_of_rows():
    rows = [
        _row(sums_of(*_cells(n=3, seed=k)[:2]), ds=add_months(MONTH, k), stage=f"s{k % 3}")
        for k in range(12)
    ]
    frame = _frame(rows)
    once = summed(frame, ["stage"])
    for seed in range(4):
        assert once.equals(summed(frame.sample(fraction=1.0, shuffle=True, seed=seed), ["stage"]))
    assert once["stage"].to_list() == ["s0", "s1", "s2"]
    assert summed(empty(Scores), ["stage"]).is_empty()


def test_rows_that_count_first_and_now():
    sums = sums_of(np.array([1.0]), np.array([2.0]))
    other = add_months(MONTH, 1)
    frame = _frame(
        [
            _row(sums, fit_id="a"),
            _row(sums, fit_id="b"),  # a late item
            _row(sums, fit_id="b", version="restated", cells=5),
            _row(sums, fit_id="c", version="restated", cells=6),
            _row(sums, fit_id="d", ds=other),
        ]
    ).with_columns(seq=pl.col("fit_id").replace_strict({"a": 1, "b": 2, "c": 3, "d": 4}))
    first = current(frame)
    assert first["fit_id"].to_list() == ["a", "b", "d"]
    now = current(frame, version="now").sort("ds")
    assert now.select("fit_id", "cells").rows() == [("c", 6), ("d", 1)]
    with pytest.raises(ValueError, match="allowed: first, now"):
        current(frame, version="newest")


def test_tracking_signal_over_months_by_hand():
    """Net errors of the months 3, 1 and -1: sum 3 over mean size 5/3."""
    pairs = [((10.0, 5.0), (12.0, 6.0)), ((4.0,), (5.0,)), ((3.0,), (2.0,))]
    frame = _frame(
        [
            _row(sums_of(np.array(a), np.array(f)), ds=add_months(MONTH, k))
            for k, (a, f) in enumerate(pairs)
        ]
    )
    got = tracking_signal_of(frame, ["stage"])
    assert got.rows() == [("statistical", 3, pytest.approx(9 / 5))]
    assert tracking_signal_of(frame, [])["tracking_signal"].to_list() == [pytest.approx(9 / 5)]
