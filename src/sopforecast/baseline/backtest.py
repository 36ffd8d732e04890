"""Rolling origins: what every model would have said at past month ends, beside what came.

Origins are months before the end of history, spaced evenly over what history allows; the fewer
series there are to learn from, the more origins. Where history is long they are ends of quarters,
the same for the three cycles of a quarter, so that what a model said from them need not be fitted
again. A series takes part at an origin when its models had enough months; months whose demand is
unknown are not scored. Models are refitted at every origin, the global learner included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from sopforecast.baseline.seasonality import SEASON

FIRST_TRAINING_MONTHS = 24
MAX_SPAN = 66
SERIES_ORIGINS = 5_000  # about as many forecasts of a series from an origin are enough
MIN_ORIGINS, MAX_ORIGINS = 5, 7
MAX_STEP = 11  # months between origins: near ones tell more about the next one
SHORT_TRAINING_MONTHS = 12
QUARTER = 3
MIN_QUARTER_STEP = 6  # months between origins: nearer ones are not put on ends of quarters


@dataclass(frozen=True)
class Backtest:
    """Out-of-sample forecasts of one run.

    Attributes
    ----------
    models : tuple of str
        M names.
    offsets : tuple of int
        O past origins, months before the end, nearest first.
    paths : ndarray (N, O, M, H)
        Mean paths; NaN where a model was not fitted.
    actual : ndarray (N, O, H)
        Recorded demand of the same months; NaN where unknown or still ahead.
    scale : ndarray (N, O)
        Yardstick of each series at each origin, from the months before it (``naive_scale``).
    """

    models: tuple[str, ...]
    offsets: tuple[int, ...]
    paths: np.ndarray
    actual: np.ndarray
    scale: np.ndarray


def choose_offsets(n_months: np.ndarray, last_month: date) -> tuple[int, ...]:
    """Origins for series of these lengths, in months before the end, nearest first.

    The typical (median) series keeps at least 24 months before its first origin, or 12 when it has
    fewer than 30 in all, and half of its months where that is more: errors of a forecast that knew
    much less say little about the next one. An empty answer means that there is nothing to backtest
    on.

    Parameters
    ----------
    n_months : ndarray (N,) of int
        Months of each series up to ``last_month``; series without any do not count.
    last_month : date
        The end of history.

    Notes
    -----
    With six months or more between origins they are chosen as the end of the last quarter would
    have them, on ends of quarters; one or two months into a quarter all lie as much further back.
    With fewer they are counted from the end of history itself.
    """
    into_quarter = last_month.month % QUARTER
    span, wanted = _span(n_months - into_quarter)
    if span >= MIN_QUARTER_STEP * wanted > 0:
        quarters = span // QUARTER
        on_grid = {QUARTER * round(quarters * k / wanted) for k in range(1, wanted + 1)}
        return tuple(sorted(offset + into_quarter for offset in on_grid))
    span, wanted = _span(n_months)
    return tuple(sorted({max(1, round(span * k / wanted)) for k in range(1, wanted + 1)}))


def _span(n_months: np.ndarray) -> tuple[int, int]:
    """Months from the end to the first origin, and how many origins; zeros where there is none."""
    months = n_months[n_months > 0]
    if months.size == 0:
        return 0, 0
    typical = int(np.median(months))
    first = FIRST_TRAINING_MONTHS if typical >= FIRST_TRAINING_MONTHS + 6 else SHORT_TRAINING_MONTHS
    span = min(typical - first, MAX_SPAN, max(first, typical // 2))
    if span < 1:
        return 0, 0
    wanted = min(max(SERIES_ORIGINS // months.size, MIN_ORIGINS), MAX_ORIGINS)
    return min(span, MAX_STEP * wanted), wanted


def actuals_after(scored: np.ndarray, offsets: Sequence[int], horizon: int) -> np.ndarray:
    """Recorded demand after each origin (N, O, H); NaN where unknown or after the last month."""
    n, width = scored.shape
    actual = np.full((n, len(offsets), horizon), np.nan)
    for o, offset in enumerate(offsets):
        months = min(offset, horizon)
        actual[:, o, :months] = scored[:, width - offset : width - offset + months]
    return actual


def naive_scale(y: np.ndarray, offsets: Sequence[int]) -> np.ndarray:
    """Mean absolute seasonal difference before each origin (N, O), in the series' unit.

    The denominator of MASE (Hyndman and Koehler 2006); from one-month differences where there is
    no full year, and never below 1e-3 of the mean month, so that a flat series can be scored.
    """
    n, width = y.shape
    scale = np.full((n, len(offsets)), np.nan)
    for o, offset in enumerate(offsets):
        before = y[:, : width - offset]
        step = _mean_abs_difference(before, 1)
        yearly = _mean_abs_difference(before, SEASON)
        known = np.isfinite(before)
        mean = np.where(known, before, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
        value = np.where(np.isfinite(yearly), yearly, step)
        scale[:, o] = np.where(known.any(axis=1), np.fmax(value, 1e-3 * mean), np.nan)
    return np.where(scale > 0, scale, np.nan)


def _mean_abs_difference(y: np.ndarray, lag: int) -> np.ndarray:
    if y.shape[1] <= lag:
        return np.full(y.shape[0], np.nan)
    difference = np.abs(y[:, lag:] - y[:, :-lag])
    known = np.isfinite(difference)
    count = known.sum(axis=1)
    total = np.where(known, difference, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
