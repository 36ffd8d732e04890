"""Mode, curvature and draws of the hyperparameters."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from sopforecast.clinical import rate_posterior
from sopforecast.clinical.panel import SitePanel
from sopforecast.clinical.rate_observed import observe
from sopforecast.clinical.rate_posterior import find_posterior, group_fits, groups_from
from sopforecast.clinical.rate_prior import NAMES
from sopforecast.core.draws import series_rng
from sopforecast.core.months import month_range

NAN = float("nan")
COUNTRIES = 2


def _seen(counts: np.ndarray):
    sites, months = counts.shape
    nothing = np.full(counts.shape, NAN)
    panel = SitePanel(
        sites=tuple(("A", f"S{at}") for at in range(sites)),
        studies=("A",),
        countries=("DE", "UK"),
        study_of=np.zeros(sites, dtype=int),
        country_of=np.arange(sites) % COUNTRIES,
        months=tuple(month_range(date(2026, 1, 1), months)),
        opened=np.zeros(sites, dtype=int),
        seen_at_first=np.zeros(sites, dtype=bool),
        closed=np.full(sites, months),
        exposure=np.ones(counts.shape),
        enrolled=counts.astype(float),
        screened=nothing,
        screen_failed=nothing,
        capacity=np.full(sites, NAN),
        planned_rate=np.full(sites, NAN),
    )
    return observe(panel, np.ones(sites))


@pytest.fixture(scope="module")
def seen():
    rng = np.random.default_rng(5)
    rates = 1.5 * np.exp(0.5 * rng.standard_normal(12))[:, None] * np.ones(10)
    return _seen(rng.poisson(rates))


def test_the_mode_is_a_top(seen):
    mode = rate_posterior._mode(seen)
    near = np.repeat(mode[None], 2 * len(mode) + 1, axis=0)
    rows = np.arange(len(mode))
    near[1 + rows, rows] += 0.2
    near[1 + len(mode) + rows, rows] -= 0.2
    density = rate_posterior._density(near, seen)
    assert density[0] >= density.max() - 1e-3


def test_the_curvature_is_that_of_the_density(seen):
    """Beside plain second differences of the whole log density, unknown by unknown."""
    mode = rate_posterior._mode(seen)
    precision = rate_posterior._curvature(mode, seen)
    step = 0.1
    for i, j in [(0, 0), (0, 1), (1, 1), (0, 13), (13, 14), (14, 15), (15, 15), (2, 15)]:
        corners = np.repeat(mode[None], 4, axis=0)
        corners[:2, i] += step
        corners[2:, i] -= step
        corners[::2, j] += step
        corners[1::2, j] -= step
        f = rate_posterior._density(corners, seen)
        bend = -(f[0] - f[1] - f[2] + f[3]) / (4 * step**2)
        assert precision[i, j] == pytest.approx(bend, abs=0.03 + 0.02 * abs(bend))


def test_draws_lean_on_the_data_where_they_speak(seen):
    found = find_posterior(seen, rng=series_rng(1, "x"))
    assert found.hyper.shape == (200, len(NAMES))
    assert found.group.shape == (200, COUNTRIES)
    level = NAMES.index("spread")
    assert found.hyper[:, level].std() < 0.95
    untold = NAMES.index("plan_weight")
    assert found.hyper[:, untold].std() == pytest.approx(1.0, abs=0.25)
    assert found.effective > 20


def test_without_counts_the_prior_comes_back():
    found = find_posterior(_seen(np.full((3, 2), NAN)), rng=series_rng(1, "x"))
    assert np.abs(found.hyper.mean(axis=0)).max() < 0.35
    assert found.hyper.std(axis=0) == pytest.approx(np.ones(len(NAMES)), abs=0.3)
    assert found.group.std() == pytest.approx(0.4 * np.sqrt(2), abs=0.1)


def test_groups_add_study_and_own_part():
    deviations = np.array([[1.0, -1.0, 0.5, 0.0, 2.0]])
    groups = groups_from(deviations, np.array([0, 0, 1]))
    assert groups == pytest.approx(0.4 * np.array([[1.5, 1.0, 1.0]]))


def test_batches_change_nothing(monkeypatch, seen):
    rng = np.random.default_rng(0)
    standard, group = rng.standard_normal((7, len(NAMES))), rng.standard_normal((7, COUNTRIES))
    whole = group_fits(standard, group, seen)
    monkeypatch.setattr(rate_posterior, "_BATCH_CELLS", 1)
    assert group_fits(standard, group, seen) == pytest.approx(whole, rel=1e-12)
