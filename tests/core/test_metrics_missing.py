"""Scores where actuals, forecasts, histories or anything to divide by are missing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from sopforecast.core.metrics import METRICS, bias_percent, mase, naive_scale, smape, wmape

NAN = math.nan


@pytest.mark.parametrize("name", list(METRICS))
@pytest.mark.parametrize("axis", [None, 0, -1])
def test_cells_without_an_actual_are_left_out(
    name: str, axis: int | None, cells: dict[str, Any]
) -> None:
    # The last month unknown everywhere scores as if that month did not exist.
    metric = METRICS[name]
    gapped = cells["actual"].copy()
    gapped[:, -1] = NAN
    with np.errstate(all="raise"):
        with_gap = metric.function(
            *((cells | {"actual": gapped})[need] for need in metric.needs), axis=axis
        )
    without = metric.function(*(_first_months(cells[need]) for need in metric.needs), axis=axis)
    if axis == 0:
        assert np.isnan(with_gap[-1])
        with_gap = with_gap[:-1]
    np.testing.assert_allclose(with_gap, without, rtol=1e-12)


def _first_months(value: Any) -> Any:
    if isinstance(value, dict):
        return {label: _first_months(part) for label, part in value.items()}
    return value[..., :-1] if np.ndim(value) > 1 else value


@pytest.mark.parametrize("name", list(METRICS))
def test_a_missing_forecast_is_never_left_out(name: str, cells: dict[str, Any]) -> None:
    metric = METRICS[name]
    missing = {
        need: _with_hole(cells[need])
        for need in ("forecast", "draws", "quantiles", "low", "high", "benchmark")
    }
    own = [need for need in metric.needs if need in missing]
    assert own
    for need in own:
        holed = cells | {need: missing[need]}
        score = metric.function(*(holed[one] for one in metric.needs))
        assert np.isnan(score), need


def _with_hole(value: Any) -> Any:
    if isinstance(value, dict):
        return value | {"p25": _with_hole(value["p25"])}
    holed = value.copy()
    holed[..., 2, 3] = NAN
    return holed


@pytest.mark.parametrize("name", list(METRICS))
def test_without_any_actual_there_is_no_score(name: str, cells: dict[str, Any]) -> None:
    metric = METRICS[name]
    nothing = cells | {"actual": np.full((5, 6), NAN)}
    with np.errstate(all="raise"):
        assert np.isnan(metric.function(*(nothing[need] for need in metric.needs)))


def test_nothing_to_divide_by_is_no_score() -> None:
    zeros, ones = np.zeros(3), np.ones(3)
    with np.errstate(all="raise"):
        assert np.isnan(wmape(zeros, ones))
        assert np.isnan(bias_percent(zeros, ones))
        assert smape(zeros, zeros) == 0.0
        assert smape(zeros, ones) == 200.0


def test_a_flat_or_short_history_leaves_its_series_out() -> None:
    history = np.array([[5.0] * 24, [*range(24)], [NAN] * 13 + [*range(11)]])
    scale = naive_scale(history)
    np.testing.assert_array_equal(scale, [NAN, 12.0, NAN])
    actual, forecast = np.zeros((3, 2)), np.array([[1.0, 1.0], [12.0, 36.0], [1.0, 1.0]])
    assert mase(actual, forecast, scale) == 2.0
    np.testing.assert_array_equal(mase(actual, forecast, scale, axis=-1), [NAN, 2.0, NAN])
    assert mase(actual, forecast, np.array([0.0, 12.0, -1.0])) == 2.0
    assert np.isnan(naive_scale(np.arange(12.0)))


def test_scales_skip_unknown_months() -> None:
    history = np.array([1.0, NAN, 4.0, 8.0, 5.0])  # known pairs at season 2: 4-1 and 5-4
    assert naive_scale(history, season=2) == 2.0
