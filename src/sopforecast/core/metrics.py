"""Scores as functions of arrays, each with its unit and sign in one registry.

``actual`` and ``forecast`` have one shape, usually (N, H): nodes by months; a metric reduces all
cells, or those along ``axis`` (``axis=0`` by lead, ``axis=-1`` by node). ``METRICS`` tells which
arguments a metric needs and what its number means; bias is **forecast minus actual**.

Missing values: a cell whose actual is NaN is left out. A NaN forecast of a known actual is never
left out: it makes the result NaN. A result without any cell, or with nothing to divide by, is NaN.

References: Hyndman and Koehler (2006) for MASE; Makridakis et al. (2020, 2022) for OWA and RMSSE;
Bracher et al. (2021) for WIS; Gneiting and Raftery (2007) for CRPS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sopforecast.core.draws import QUANTILES
from sopforecast.core.months import MONTHS_A_YEAR

Axis = int | tuple[int, ...] | None
Score = Any
"""A float over all cells, an array along an axis."""


@dataclass(frozen=True)
class Metric:
    """A score and how to read it.

    Attributes
    ----------
    function : callable
        Called as ``function(*needs, axis=...)``.
    unit : str
        ``demand`` (the item's unit), ``percent``, ``share`` (0 to 1) or ``none``.
    sign : str
        Which values are good, and what a positive one means.
    needs : tuple of str
        Names of the arguments, in order.
    """

    function: Callable[..., Any]
    unit: str
    sign: str
    needs: tuple[str, ...]


def bias(actual: np.ndarray, forecast: np.ndarray, *, axis: Axis = None) -> Score:
    """Return the mean of forecast minus actual, in units of demand a cell.

    Examples
    --------
    Forecasts of 12 and 9 for 10 and 10 are half a unit too high a month:

    >>> float(bias(np.array([10.0, 10.0]), np.array([12.0, 9.0])))
    0.5
    """
    return _mean(forecast - actual, _known(actual), axis)


def bias_percent(actual: np.ndarray, forecast: np.ndarray, *, axis: Axis = None) -> Score:
    """Return 100 x sum(forecast - actual) / sum(|actual|); positive is forecast too high.

    Examples
    --------
    >>> float(bias_percent(np.array([10.0, 10.0]), np.array([12.0, 9.0])))
    5.0
    """
    known = _known(actual)
    return 100.0 * _ratio(_sum(forecast - actual, known, axis), _sum(np.abs(actual), known, axis))


def wmape(actual: np.ndarray, forecast: np.ndarray, *, axis: Axis = None) -> Score:
    """Return 100 x sum(|forecast - actual|) / sum(|actual|), in percent.

    Examples
    --------
    >>> float(wmape(np.array([10.0, 10.0]), np.array([12.0, 9.0])))
    15.0
    """
    known = _known(actual)
    error = _sum(np.abs(forecast - actual), known, axis)
    return 100.0 * _ratio(error, _sum(np.abs(actual), known, axis))


def smape(actual: np.ndarray, forecast: np.ndarray, *, axis: Axis = None) -> Score:
    """Return the mean of 200 |forecast - actual| / (|actual| + |forecast|): 0 to 200 percent.

    A cell where both are zero counts as 0, a perfect forecast.
    """
    size = np.abs(actual) + np.abs(forecast)
    share = np.divide(np.abs(forecast - actual), size, out=np.zeros(size.shape), where=size != 0)
    return _mean(200.0 * share, _known(actual), axis)


def naive_scale(history: np.ndarray, *, season: int = MONTHS_A_YEAR) -> Score:
    """Return the mean absolute seasonal difference of histories (..., T): the scale of `mase`.

    Pairs with a NaN are left out; without any pair, or when all differences are zero, the scale is
    NaN and the series' cells are left out of `mase`. Unit: demand.
    """
    return _scale(np.abs(_seasonal_differences(history, season)))


def naive_root_scale(history: np.ndarray, *, season: int = MONTHS_A_YEAR) -> Score:
    """Return the root mean squared seasonal difference of (..., T): the scale of `rmsse`.

    NaN as in `naive_scale`. Unit: demand.
    """
    return np.sqrt(_scale(_seasonal_differences(history, season) ** 2))


def mase(
    actual: np.ndarray, forecast: np.ndarray, scale: np.ndarray, *, axis: Axis = None
) -> Score:
    """Return the mean of |forecast - actual| / scale; below 1 beats the in-sample naive error.

    Parameters
    ----------
    actual, forecast : ndarray, shape (..., H)
    scale : ndarray, shape (...)
        `naive_scale` of each series; cells of a series without a positive scale are left out.
    """
    known, divisor = _scaled_cells(actual, scale)
    return _mean(np.abs(forecast - actual) / divisor, known, axis)


def rmsse(
    actual: np.ndarray, forecast: np.ndarray, root_scale: np.ndarray, *, axis: Axis = None
) -> Score:
    """Return the root of the mean of ((forecast - actual) / root_scale) squared.

    ``root_scale`` (...) is `naive_root_scale` of each series of (..., H), treated as in `mase`.
    With ``axis=-1`` this is the RMSSE of each series.
    """
    known, divisor = _scaled_cells(actual, root_scale)
    return np.sqrt(_mean(((forecast - actual) / divisor) ** 2, known, axis))


def owa(
    actual: np.ndarray,
    forecast: np.ndarray,
    benchmark: np.ndarray,
    scale: np.ndarray,
    *,
    axis: Axis = None,
) -> Score:
    """Return the mean of the sMAPE and the MASE, each relative to a benchmark forecast's.

    Below 1 beats the benchmark (Naive2 in the M competitions). As there, scores are averaged over
    cells first and divided then.
    """
    percent = _ratio(smape(actual, forecast, axis=axis), smape(actual, benchmark, axis=axis))
    scaled = _ratio(
        mase(actual, forecast, scale, axis=axis), mase(actual, benchmark, scale, axis=axis)
    )
    return 0.5 * (percent + scaled)


def pinball(actual: np.ndarray, forecast: np.ndarray, level: float, *, axis: Axis = None) -> Score:
    """Return the mean pinball loss of a quantile forecast, in units of demand.

    ``level`` x (actual - forecast) where demand was above it, (1 - ``level``) x (forecast - actual)
    where below.
    """
    error = actual - forecast
    return _mean(np.maximum(level * error, (level - 1.0) * error), _known(actual), axis)


def wis(actual: np.ndarray, quantiles: Mapping[str, np.ndarray], *, axis: Axis = None) -> Score:
    """Return the weighted interval score, 2 x the mean pinball over levels, in units of demand.

    Parameters
    ----------
    actual : ndarray
    quantiles : mapping of label to ndarray
        Labels of ``QUANTILES``, each of the shape of ``actual``, as `quantile_view` returns them;
        a subset is scored over its own levels. With the median and pairs of opposite levels this
        is the WIS of Bracher et al.

    Raises
    ------
    ValueError
        When there is no quantile, or a label is not in ``QUANTILES``.
    """
    levels = dict(QUANTILES)
    unknown = sorted(set(quantiles) - set(levels))
    if unknown or not quantiles:
        raise ValueError(f"quantiles: found {unknown or 'none'}; allowed: some of {list(levels)}")
    losses = [pinball(actual, quantiles[label], levels[label], axis=axis) for label in quantiles]
    return 2.0 * sum(losses) / len(losses)


def coverage(actual: np.ndarray, low: np.ndarray, high: np.ndarray, *, axis: Axis = None) -> Score:
    """Return the share of actuals with low <= actual <= high; good is the range's nominal share."""
    inside = ((low <= actual) & (actual <= high)).astype(np.float64)
    inside[np.isnan(low) | np.isnan(high)] = np.nan
    return _mean(inside, _known(actual), axis)


def crps_sample(actual: np.ndarray, draws: np.ndarray, *, axis: Axis = None) -> Score:
    """Return the mean CRPS of sample paths, in units of demand.

    Parameters
    ----------
    actual : ndarray, shape (N, H)
    draws : ndarray, shape (S, N, H)

    Notes
    -----
    Of the empirical distribution of the draws: E|X - y| - E|X - X'| / 2, the second mean over all
    S x S pairs, through the sorted draws. ``axis`` counts the axes of ``actual``.
    """
    count = len(draws)
    weights = (2.0 * np.arange(1, count + 1) - count - 1.0) / count**2
    ordered = np.sort(draws, axis=0)
    spread = (weights.reshape(-1, *[1] * actual.ndim) * ordered).sum(axis=0)
    return _mean(np.abs(draws - actual).mean(axis=0) - spread, _known(actual), axis)


def tracking_signal(actual: np.ndarray, forecast: np.ndarray, *, axis: Axis = None) -> Score:
    """Return sum(forecast - actual) / mean(|forecast - actual|): minus to plus the cell count.

    Positive is forecast too high for long; beyond 4 either way asks for a look. 0 without errors.
    """
    known = _known(actual)
    error = forecast - actual
    total, size = _sum(error, known, axis), _mean(np.abs(error), known, axis)
    return np.where(size == 0, 0.0, _ratio(total, size))[()]


_LOWER = "lower is better"
_HIGH = "zero is best; positive: forecast above actual"
_POINT = ("actual", "forecast")

METRICS: dict[str, Metric] = {
    "wmape": Metric(wmape, "percent", _LOWER, _POINT),
    "bias": Metric(bias, "demand", _HIGH, _POINT),
    "bias_percent": Metric(bias_percent, "percent", _HIGH, _POINT),
    "mase": Metric(mase, "none", _LOWER, (*_POINT, "scale")),
    "rmsse": Metric(rmsse, "none", _LOWER, (*_POINT, "root_scale")),
    "smape": Metric(smape, "percent", _LOWER, _POINT),
    "owa": Metric(owa, "none", _LOWER, (*_POINT, "benchmark", "scale")),
    "pinball": Metric(pinball, "demand", _LOWER, (*_POINT, "level")),
    "wis": Metric(wis, "demand", _LOWER, ("actual", "quantiles")),
    "coverage": Metric(coverage, "share", "nominal share is best", ("actual", "low", "high")),
    "crps_sample": Metric(crps_sample, "demand", _LOWER, ("actual", "draws")),
    "tracking_signal": Metric(tracking_signal, "none", _HIGH, _POINT),
}
"""Every metric by name."""


def _known(actual: np.ndarray) -> np.ndarray:
    known: np.ndarray = ~np.isnan(actual)
    return known


def _sum(values: np.ndarray, known: np.ndarray, axis: Axis) -> Score:
    return np.where(known, values, 0.0).sum(axis=axis)


def _mean(values: np.ndarray, known: np.ndarray, axis: Axis) -> Score:
    return _ratio(_sum(values, known, axis), known.sum(axis=axis))


def _ratio(numerator: Any, denominator: Any) -> Score:
    """Divide; NaN where there is nothing to divide by."""
    return np.divide(numerator, np.where(np.equal(denominator, 0), np.nan, denominator))


def _scaled_cells(actual: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the cells that count (..., H) and the divisor (..., 1), NaN where not positive."""
    divisor = np.where(np.greater(scale, 0), scale, np.nan)[..., np.newaxis]
    return _known(actual) & ~np.isnan(divisor), divisor


def _seasonal_differences(history: np.ndarray, season: int) -> np.ndarray:
    difference: np.ndarray = history[..., season:] - history[..., :-season]
    return difference


def _scale(sizes: np.ndarray) -> Score:
    mean = _mean(sizes, _known(sizes), -1)
    return np.where(np.equal(mean, 0), np.nan, mean)[()]
