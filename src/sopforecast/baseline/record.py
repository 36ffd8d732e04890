"""How the reconciled forecast did at past origins, by months ahead."""

from __future__ import annotations

import numpy as np
import polars as pl

from sopforecast.baseline.forecast import Baseline

LOW, HIGH = 0.10, 0.90
BACKTEST_COLUMNS = {
    "lead": pl.Int64,
    "wmape": pl.Float64,
    "bias_percent": pl.Float64,
    "coverage80": pl.Float64,
}


def backtest_by_lead(baseline: Baseline, n_aggregates: int) -> pl.DataFrame:
    """Accuracy, bias and coverage of the items at past origins.

    Returns
    -------
    pl.DataFrame
        lead; wmape (percent of demand, 0 is perfect); bias_percent (forecast minus actual, percent
        of demand); coverage80 (share, 0.8 is right): of each origin, against the spread of scaled
        errors at the *other* origins. Null where nothing was seen. No rows without a backtest.
    """
    actual = baseline.fitted.backtest.actual[n_aggregates:]
    forecast = baseline.reconciled[:, 1:]
    error = forecast - actual
    inside = _coverage_left_out(-error, baseline.fitted.backtest.scale[n_aggregates:])
    rows = []
    for lead in range(actual.shape[2]):
        seen = np.isfinite(error[:, :, lead])
        demand = actual[:, :, lead][seen].sum()
        if not seen.any() or demand <= 0:
            continue
        wmape = 100 * np.abs(error[:, :, lead][seen]).sum() / demand
        bias = 100 * error[:, :, lead][seen].sum() / demand
        rows.append((lead + 1, float(wmape), float(bias), inside[lead]))
    return pl.DataFrame(rows, schema=BACKTEST_COLUMNS, orient="row")


def _coverage_left_out(residual: np.ndarray, yardstick: np.ndarray) -> list[float | None]:
    """Share of scaled errors inside the P10-P90 of the other origins, by month ahead."""
    z = residual / yardstick[:, :, None]
    answer: list[float | None] = []
    for lead in range(z.shape[2]):
        inside, count = 0, 0
        for o in range(z.shape[1]):
            here = z[:, o, lead][np.isfinite(z[:, o, lead])]
            others = np.delete(z[:, :, lead], o, axis=1)
            others = others[np.isfinite(others)]
            if here.size == 0 or others.size < 20:
                continue
            low, high = np.quantile(others, [LOW, HIGH])
            inside += int(((here >= low) & (here <= high)).sum())
            count += here.size
        answer.append(inside / count if count else None)
    return answer
