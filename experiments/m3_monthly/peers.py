"""The methods ours is measured against, each fitted to every series, with its CPU seconds.

``peer_forecasts`` returns quantile paths per series; each method runs single threaded, so that
its CPU seconds compare with any other's. Naive2 follows the M competitions: a 90% test for
seasonality at lag 12, classical multiplicative indices, and the last deseasonalised value.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import polars as pl

LEVELS = (50, 80, 90)
QUANTILES = (0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95)
SEASON = 12


def statsforecast_model(name: str) -> Callable[[], object]:
    """Return a constructor of one statsforecast peer."""
    from statsforecast import models as sf

    return {
        "SeasonalNaive": lambda: sf.SeasonalNaive(season_length=SEASON),
        "AutoETS": lambda: sf.AutoETS(season_length=SEASON),
        "AutoARIMA": lambda: sf.AutoARIMA(season_length=SEASON),
        "AutoCES": lambda: sf.AutoCES(season_length=SEASON),
        "DOT": lambda: sf.DynamicOptimizedTheta(season_length=SEASON),
    }[name]


def seasonal_indices(y: np.ndarray) -> np.ndarray:
    """Return 12 multiplicative indices (mean 1) for the months after ``y``; ones when not seasonal.

    Assimakopoulos and Nikolopoulos (2000): seasonal when
    ``|r_12| > 1.645 sqrt((1 + 2 sum_{k<12} r_k^2) / n)``.
    """
    n = y.size
    ones = np.ones(SEASON)
    if n < 3 * SEASON:
        return ones
    d = y - y.mean()
    denominator = (d * d).sum()
    if denominator == 0:
        return ones
    acf = np.array([(d[k:] * d[: n - k]).sum() / denominator for k in range(1, SEASON + 1)])
    limit = 1.645 * np.sqrt((1 + 2 * (acf[:-1] ** 2).sum()) / n)
    if abs(acf[-1]) <= limit:
        return ones
    kernel = np.r_[0.5, np.ones(SEASON - 1), 0.5] / SEASON
    trend = np.convolve(y, kernel, mode="valid")
    ratio = y[SEASON // 2 : n - SEASON // 2] / trend
    position = np.arange(SEASON // 2, n - SEASON // 2) % SEASON
    indices = np.array([ratio[position == p].mean() for p in range(SEASON)])
    indices = indices / indices.mean()
    return indices[(n + np.arange(SEASON)) % SEASON]


def naive2(y: np.ndarray, horizon: int) -> np.ndarray:
    """Seasonally adjusted last value, reseasonalised; shape (H, Q), ranges as of a random walk."""
    n = y.size
    ahead = seasonal_indices(y)
    if np.any(ahead <= 0):
        ahead = np.ones(SEASON)
    inside = ahead[(np.arange(n) - n) % SEASON]
    adjusted = y / inside
    future = ahead[np.arange(horizon) % SEASON]
    from scipy.stats import norm

    sd = np.sqrt(np.mean(np.diff(adjusted) ** 2)) * np.sqrt(np.arange(1, horizon + 1))
    z = norm.ppf(QUANTILES)
    return (adjusted[-1] + sd[:, None] * z[None, :]) * future[:, None]


def quantiles_of(model: object, y: np.ndarray, horizon: int) -> np.ndarray:
    """Fit one statsforecast model and return its mean and ranges as quantiles, shape (H, Q)."""
    out = model.forecast(y=y, h=horizon, level=list(LEVELS))  # type: ignore[attr-defined]
    low = [np.asarray(out[f"lo-{level}"]) for level in (90, 80, 50)]
    high = [np.asarray(out[f"hi-{level}"]) for level in (50, 80, 90)]
    return np.stack([*low, np.asarray(out["mean"]), *high], axis=1)


def peer_forecasts(
    name: str, series: Iterable[tuple[str, np.ndarray]], *, horizon: int, cache: Path
) -> tuple[pl.DataFrame, float]:
    """Return (long quantile frame, CPU seconds) of one peer; kept in ``cache`` once complete."""
    frame_path, seconds_path = cache / f"{name}.parquet", cache / f"{name}.seconds"
    if frame_path.exists() and seconds_path.exists():
        return pl.read_parquet(frame_path), float(seconds_path.read_text())
    series = list(series)
    forecast: Callable[[np.ndarray], np.ndarray]
    if name == "Naive2":
        forecast = lambda y: naive2(y, horizon)  # noqa: E731
    else:
        make = statsforecast_model(name)
        quantiles_of(make(), series[0][1], horizon)  # compile before the clock starts
        forecast = lambda y: quantiles_of(make(), y, horizon)  # noqa: E731
    rows, failed = [], []
    started = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for unique_id, y in series:
            try:
                values = forecast(y)
            except (ValueError, ZeroDivisionError, FloatingPointError) as err:
                failed.append(f"{unique_id}: {err}")
                values = naive2(y, horizon)
            rows.append(values)
    seconds = time.process_time() - started
    stacked = np.concatenate(rows)
    frame = pl.DataFrame(
        {
            "unique_id": np.repeat([u for u, _ in series], horizon),
            "lead": np.tile(np.arange(1, horizon + 1), len(series)),
            **{f"p{int(q * 100):02d}": stacked[:, k] for k, q in enumerate(QUANTILES)},
        }
    )
    if failed:
        print(f"{name}: {len(failed)} series fell back to Naive2, first: {failed[0]}")
    cache.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(frame_path)
    seconds_path.write_text(repr(seconds))
    return frame, seconds
