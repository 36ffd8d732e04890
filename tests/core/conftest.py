"""What several tests of the core lean on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sopforecast.core.draws import quantile_view
from sopforecast.core.metrics import naive_root_scale, naive_scale


@pytest.fixture(scope="session")
def cells() -> dict[str, Any]:
    """Five series of 36 months of history and 6 of forecasts, every argument of every metric."""
    rng = np.random.default_rng(11)
    history = rng.gamma(3.0, 10.0, (5, 36))
    actual = rng.gamma(3.0, 10.0, (5, 6))
    actual[0, :2] = 0.0
    draws = rng.gamma(3.0, 10.0, (40, 5, 6))
    forecast = draws.mean(axis=0)
    forecast[0, 0] = 0.0
    quantiles = quantile_view(draws)
    return {
        "history": history,
        "actual": actual,
        "forecast": forecast,
        "benchmark": rng.gamma(3.0, 10.0, (5, 6)),
        "scale": naive_scale(history),
        "root_scale": naive_root_scale(history),
        "draws": draws,
        "quantiles": quantiles,
        "low": quantiles["p10"],
        "high": quantiles["p90"],
        "level": 0.9,
    }
