"""How past forecasts did, by a plain loop over cells."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from sopforecast.baseline.record import backtest_by_lead

AGGREGATES, ITEMS, ORIGINS, HORIZON = 2, 12, 4, 5


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    actual = rng.gamma(2.0, 50.0, (AGGREGATES + ITEMS, ORIGINS, HORIZON))
    actual[rng.random(actual.shape) < 0.15] = np.nan
    actual[AGGREGATES + 1] = np.nan
    actual[:, :, 4] = np.nan
    reconciled = rng.gamma(2.0, 50.0, (ITEMS, ORIGINS + 1, HORIZON))
    reconciled[3, 1:3] = np.nan
    scale = rng.uniform(5.0, 30.0, (AGGREGATES + ITEMS, ORIGINS))
    return actual, reconciled, scale


def _record(actual, reconciled, scale):
    backtest = SimpleNamespace(actual=actual, scale=scale)
    baseline = SimpleNamespace(fitted=SimpleNamespace(backtest=backtest), reconciled=reconciled)
    return backtest_by_lead(baseline, AGGREGATES)


def _loop(actual, reconciled, scale, lead):
    """WMAPE, bias and coverage of one month ahead, cell by cell."""
    absolute = signed = demand = 0.0
    errors = {o: [] for o in range(ORIGINS)}
    for i in range(ITEMS):
        for o in range(ORIGINS):
            y, f = actual[AGGREGATES + i, o, lead], reconciled[i, o + 1, lead]
            if y != y or f != f:
                continue
            absolute += abs(f - y)
            signed += f - y
            demand += y
            errors[o].append((y - f) / scale[AGGREGATES + i, o])
    inside = 0
    for o, here in errors.items():
        others = [e for other, es in errors.items() if other != o for e in es]
        low, high = np.percentile(others, [10, 90])
        inside += sum(low <= e <= high for e in here)
    count = sum(map(len, errors.values()))
    return 100 * absolute / demand, 100 * signed / demand, inside / count


def test_same_as_the_loop(arrays):
    found = _record(*arrays)
    assert found["lead"].to_list() == [1, 2, 3, 4]
    for lead in range(4):
        row = found.row(lead)[1:]
        assert row == pytest.approx(_loop(*arrays, lead), rel=1e-12)


def test_forecasts_above_demand_have_a_positive_bias(arrays):
    actual, reconciled, scale = arrays
    reconciled[:] = 1e4
    found = _record(actual, reconciled, scale)
    assert (found["bias_percent"] > 0).all()
    np.testing.assert_allclose(found["bias_percent"], found["wmape"])


def test_perfect_forecasts(arrays):
    actual, reconciled, scale = arrays
    reconciled[:, 1:] = actual[AGGREGATES:]
    found = _record(actual, reconciled, scale)
    assert found["wmape"].to_list() == [0.0] * 4
    assert found["coverage80"].to_list() == [1.0] * 4


def test_coverage_of_few_errors_is_not_told(arrays):
    actual, reconciled, scale = arrays
    found = _record(actual[:4], reconciled[:2], scale[:4])
    assert found["coverage80"].null_count() == found.height > 0


def test_without_a_backtest_there_are_no_rows():
    n = AGGREGATES + ITEMS
    found = _record(np.empty((n, 0, 3)), np.ones((ITEMS, 1, 3)), np.empty((n, 0)))
    assert found.height == 0
    assert found.schema == {
        "lead": pl.Int64,
        "wmape": pl.Float64,
        "bias_percent": pl.Float64,
        "coverage80": pl.Float64,
    }
