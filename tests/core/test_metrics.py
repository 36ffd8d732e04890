"""Scores: by hand, against utilsforecast and scoringrules and by a plain loop."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date
from statistics import fmean
from typing import Any

import numpy as np
import polars as pl
import pytest
import scoringrules
from utilsforecast import losses

from sopforecast.core.draws import QUANTILES
from sopforecast.core.metrics import (
    METRICS,
    bias,
    bias_percent,
    coverage,
    crps_sample,
    mase,
    naive_root_scale,
    naive_scale,
    owa,
    pinball,
    rmsse,
    smape,
    tracking_signal,
    wis,
    wmape,
)
from sopforecast.core.months import month_range

ACTUAL, FORECAST = np.array([10.0, 30.0]), np.array([12.0, 26.0])  # errors +2, -4


@pytest.fixture(scope="session")
def frames(cells: dict[str, Any]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The same cells as long frames: forecasts with actuals, and history."""
    return (
        _long(
            date(2026, 1, 1),
            y=cells["actual"],
            f=cells["forecast"],
            **{"f-lo-80": cells["low"], "f-hi-80": cells["high"]},
            **{label: cells["quantiles"][label] for label, _ in QUANTILES},
        ),
        _long(date(2023, 1, 1), y=cells["history"]),
    )


def _long(first: date, **columns: np.ndarray) -> pl.DataFrame:
    nodes, months = next(iter(columns.values())).shape
    keys = {
        "unique_id": [f"s{node}" for node in range(nodes) for _ in range(months)],
        "ds": month_range(first, months) * nodes,
    }
    return pl.DataFrame(keys | {name: values.ravel() for name, values in columns.items()})


def _by_series(frame: pl.DataFrame, column: str = "f") -> np.ndarray:
    return frame.sort("unique_id")[column].to_numpy()


@pytest.mark.parametrize(
    ("metric", "by_hand"),
    [
        (bias, -1.0),  # (2 - 4) / 2
        (bias_percent, -5.0),  # -2 / 40
        (wmape, 15.0),  # 6 / 40
        (smape, (200 * 2 / 22 + 200 * 4 / 56) / 2),
        (tracking_signal, -2 / 3),  # -2 / 3
    ],
)
def test_two_cells_by_hand(metric: Callable[..., float], by_hand: float) -> None:
    assert metric(ACTUAL, FORECAST) == pytest.approx(by_hand, rel=1e-12)


def test_scaled_errors_by_hand() -> None:
    history = np.array([1.0, 2.0, 4.0, 8.0])  # differences at season 2: 3, 6
    assert naive_scale(history, season=2) == 4.5
    assert naive_root_scale(history, season=2) == math.sqrt(22.5)
    scale = np.array(4.5)
    assert mase(ACTUAL, FORECAST, scale) == pytest.approx(3 / 4.5)
    assert rmsse(ACTUAL, FORECAST, np.array(math.sqrt(22.5))) == pytest.approx(math.sqrt(10 / 22.5))
    benchmark = np.array([14.0, 30.0])  # errors +4, 0
    percent = smape(ACTUAL, FORECAST) / (200 * 4 / 24 / 2)
    assert owa(ACTUAL, FORECAST, benchmark, scale) == pytest.approx((percent + 3 / 2) / 2)


def test_quantile_scores_by_hand() -> None:
    # 0.9 x (10 - 8) for demand above; 0.1 x (34 - 30) for demand below.
    assert pinball(ACTUAL, np.array([8.0, 34.0]), 0.9) == pytest.approx((1.8 + 0.4) / 2)
    view = {"p10": np.array([8.0, 20.0]), "p90": np.array([13.0, 29.0])}
    # Pinballs 0.2, 0.3 and 1.0, 0.9: means of levels 0.6 and 0.6, doubled.
    assert wis(ACTUAL, view) == pytest.approx(1.2)
    assert coverage(ACTUAL, view["p10"], view["p90"]) == 0.5
    assert coverage(ACTUAL, ACTUAL, ACTUAL) == 1.0


def test_crps_by_hand() -> None:
    # Draws 8 and 14 of 10: E|X-y| 3, E|X-X'| 3 -> 1.5; draws 30 and 30 of 30 -> 0.
    draws = np.array([[8.0, 30.0], [14.0, 30.0]])
    np.testing.assert_allclose(crps_sample(ACTUAL, draws, axis=()), [1.5, 0.0])
    assert crps_sample(ACTUAL, draws) == pytest.approx(0.75)


def test_positive_bias_is_a_forecast_above_demand() -> None:
    for metric in (bias, bias_percent, tracking_signal):
        assert metric(ACTUAL, ACTUAL + 1) > 0 > metric(ACTUAL, ACTUAL - 1)
        assert metric(-ACTUAL, -ACTUAL + 1) > 0  # net returns do not turn the sign


@pytest.mark.parametrize("name", list(METRICS))
def test_a_perfect_forecast(name: str, cells: dict[str, Any]) -> None:
    actual = cells["actual"]
    perfect = cells | {
        "forecast": actual,
        "draws": np.stack([actual] * 3),
        "quantiles": dict.fromkeys(cells["quantiles"], actual),
        "low": actual,
        "high": actual,
    }
    metric = METRICS[name]
    score = metric.function(*(perfect[need] for need in metric.needs))
    assert score == pytest.approx(1.0 if name == "coverage" else 0.0, abs=1e-12)


def test_point_scores_agree_with_utilsforecast(
    cells: dict[str, Any], frames: tuple[pl.DataFrame, pl.DataFrame]
) -> None:
    forecasts, history = frames
    actual, forecast = cells["actual"], cells["forecast"]
    compared = {
        "bias": (losses.bias(forecasts, ["f"]), bias(actual, forecast, axis=-1)),
        "wape": (losses.wape(forecasts, ["f"]), wmape(actual, forecast, axis=-1) / 100),
        "smape": (losses.smape(forecasts, ["f"]), smape(actual, forecast, axis=-1) / 200),
        "mase": (
            losses.mase(forecasts, ["f"], seasonality=12, train_df=history),
            mase(actual, forecast, cells["scale"], axis=-1),
        ),
        "rmsse": (
            losses.rmsse(forecasts, ["f"], seasonality=12, train_df=history),
            rmsse(actual, forecast, cells["root_scale"], axis=-1),
        ),
    }
    for name, (theirs, ours) in compared.items():
        np.testing.assert_allclose(ours, _by_series(theirs), rtol=1e-9, err_msg=name)


def test_quantile_scores_agree_with_utilsforecast(
    cells: dict[str, Any], frames: tuple[pl.DataFrame, pl.DataFrame]
) -> None:
    forecasts, _ = frames
    actual, view = cells["actual"], cells["quantiles"]
    for label, level in QUANTILES:
        theirs = _by_series(losses.quantile_loss(forecasts, {"f": label}, q=level))
        np.testing.assert_allclose(pinball(actual, view[label], level, axis=-1), theirs)
    levels = np.array([level for _, level in QUANTILES])
    theirs = losses.mqloss(forecasts, {"f": [label for label, _ in QUANTILES]}, levels)
    np.testing.assert_allclose(wis(actual, view, axis=-1), 2 * _by_series(theirs))
    inside = _by_series(losses.coverage(forecasts, ["f"], level=80))
    np.testing.assert_allclose(coverage(actual, cells["low"], cells["high"], axis=-1), inside)


def test_distribution_scores_agree_with_scoringrules(cells: dict[str, Any]) -> None:
    actual, draws, view = cells["actual"], cells["draws"], cells["quantiles"]
    theirs = scoringrules.crps_ensemble(actual, draws, m_axis=0, estimator="nrg")
    np.testing.assert_allclose(crps_sample(actual, draws, axis=()), theirs, rtol=1e-9)
    alpha = np.array([0.1, 0.2, 0.5])
    theirs = scoringrules.weighted_interval_score(
        actual,
        view["p50"],
        np.stack([view[label] for label in ("p05", "p10", "p25")], axis=-1),
        np.stack([view[label] for label in ("p95", "p90", "p75")], axis=-1),
        alpha,
        w_median=0.5,
        w_alpha=alpha / 2,
    )
    np.testing.assert_allclose(wis(actual, view, axis=()), theirs, rtol=1e-9)


def test_owa_is_the_ratio_of_averages(cells: dict[str, Any]) -> None:
    actual, forecast, benchmark = cells["actual"], cells["forecast"], cells["benchmark"]
    ratios = [_loop_smape(actual, forecast) / _loop_smape(actual, benchmark)]
    ratios.append(
        _loop_mase(actual, forecast, cells["history"])
        / _loop_mase(actual, benchmark, cells["history"])
    )
    assert owa(actual, forecast, benchmark, cells["scale"]) == pytest.approx(fmean(ratios))
    assert owa(actual, forecast, forecast, cells["scale"]) == pytest.approx(1.0)


def test_tracking_signal_by_a_loop(cells: dict[str, Any]) -> None:
    errors = (cells["forecast"] - cells["actual"]).tolist()
    looped = [sum(row) / fmean(abs(error) for error in row) for row in errors]
    np.testing.assert_allclose(tracking_signal(cells["actual"], cells["forecast"], axis=-1), looped)
    assert tracking_signal(ACTUAL, ACTUAL + 3) == 2.0


def _loop_smape(actual: np.ndarray, forecast: np.ndarray) -> float:
    pairs = zip(actual.ravel().tolist(), forecast.ravel().tolist(), strict=True)
    return fmean(200 * abs(f - a) / (abs(a) + abs(f)) if a or f else 0.0 for a, f in pairs)


def _loop_mase(actual: np.ndarray, forecast: np.ndarray, history: np.ndarray) -> float:
    scaled = []
    for row, guess, past in zip(actual.tolist(), forecast.tolist(), history.tolist(), strict=True):
        scale = fmean(abs(now - before) for now, before in zip(past[12:], past, strict=False))
        scaled += [abs(f - a) / scale for a, f in zip(row, guess, strict=True)]
    return fmean(scaled)


def test_unknown_quantile_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="p42"):
        wis(ACTUAL, {"p42": FORECAST})
    with pytest.raises(ValueError, match="none"):
        wis(ACTUAL, {})


def test_the_registry_names_functions_and_units() -> None:
    for name, metric in METRICS.items():
        assert metric.function.__name__ == name
        assert metric.unit in {"demand", "percent", "share", "none"}
        assert metric.needs[0] == "actual"
        assert ("positive" in metric.sign) == (name in {"bias", "bias_percent", "tracking_signal"})
