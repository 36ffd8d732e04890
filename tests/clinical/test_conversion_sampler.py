"""The sampler: its density is the one of Laplace, so are its draws; gates; another book's data."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

from sopforecast.clinical import conversion_sampler as module
from sopforecast.clinical.book import LANDMARKS
from sopforecast.clinical.conversion_laplace import DRAWS, laplace_draws
from sopforecast.clinical.conversion_lines import line_arrays
from sopforecast.clinical.conversion_model import laws, log_density
from sopforecast.clinical.conversion_sampler import build_model, compile_model, nuts_draws
from sopforecast.core.clinical_tables import OUTCOMES, TIERS
from sopforecast.core.draws import series_rng

CYCLE = date(2026, 12, 1)
CHANCE, SCALE = np.array([0.75, 0.5, 0.2]), np.array([2.0, 3.0, 6.0])


def book_of(seed: int, size: int):
    """Landmarks of two studies and two owners, some moved, some with a range or a month."""
    rng = np.random.default_rng(seed)
    tier = rng.choice(3, size)
    age = rng.integers(-1, 12, size)
    will = rng.random(size) < CHANCE[tier]
    delay = np.where(will, SCALE[tier] * rng.weibull(1.3, size), rng.integers(2, 9, size))
    ended = (delay.astype(int) <= age) & (will | (rng.random(size) < 0.6))
    outcome = np.where(ended, np.where(will, 1, 2), 0)
    low = rng.uniform(0.1, 0.6, size)
    rows = {
        "line_id": [f"L{i:03d}" for i in range(size)], "scope": ["study"] * size,
        "name": [f"S{i % 2}" for i in range(size)],
        "owner": [("ann", "bob", "*")[i % 3] for i in range(size)],
        "tier": [TIERS[k] for k in tier],
        "expected_lead": [None if i % 2 else int(rng.integers(0, 9)) for i in range(size)],
        "e_low": [None if i % 3 else float(low[i]) for i in range(size)],
        "e_high": [None if i % 3 else float(low[i] + 0.3) for i in range(size)],
        "age": age, "outcome": [OUTCOMES[k] for k in outcome],
        "delay": [int(d) if k else None for d, k in zip(delay, outcome, strict=True)],
        "stay": np.minimum(age + 1.0, 3.0), "moved": np.where((tier > 0) & will & (age > 3), 1, 0),
        "weight": np.ones(size), "is_current": outcome == 0,
    }  # fmt: skip
    return line_arrays(pl.DataFrame(rows, schema=LANDMARKS))


@pytest.fixture(scope="module")
def compiled():
    """One compilation for all that follows."""
    return compile_model(book_of(1, 60))


def test_its_density_is_laplaces():
    import pytensor

    lines = book_of(2, 40)
    with pytensor.config.change_flags(cxx=""):
        density = build_model(lines).compile_logp(jacobian=False, mode="FAST_COMPILE")
    x = 0.8 * np.random.default_rng(2).standard_normal((4, len(lines.prior_mean)))
    found = np.array([float(density({"x": one})) for one in x])
    expected = log_density(lines, x)
    assert found - found[0] == pytest.approx(expected - expected[0], abs=1e-7)


@pytest.mark.parametrize(("seed", "size"), [(1, 60), (3, 12), (4, 250)])
def test_its_draws_are_laplaces(compiled, seed, size):
    """The same compiled graph for three books; tiers' chances, delays, moves and effects agree."""
    lines = book_of(seed, size)
    sampled, quality, missed = nuts_draws(lines, seed=5, compiled=compiled)
    assert missed == []
    assert quality["divergences"] == 0
    assert sampled.shape == (DRAWS, len(lines.prior_mean))
    drawn, _ = laplace_draws(lines, series_rng(1, "twin"), draws=2000)
    assert drawn.mean(axis=0) == pytest.approx(sampled.mean(axis=0), abs=0.25)
    assert drawn.std(axis=0) == pytest.approx(sampled.std(axis=0), rel=0.25)
    means, sds = [], []
    for x in (sampled, drawn):
        chance = laws(lines, lines.prior_mean + lines.prior_sd * x).chance
        by_tier = np.stack([chance[:, lines.tier == k].mean(axis=1) for k in range(3)], axis=1)
        means.append(by_tier.mean(axis=0))
        sds.append(by_tier.std(axis=0))
    assert means[0] == pytest.approx(means[1], abs=0.03)
    assert sds[0] == pytest.approx(sds[1], rel=0.25)


def test_same_seed_same_numbers(compiled):
    one, again, other = (
        module.draw(compiled, seed=seed, draws=30, tune=60)[0] for seed in (1, 1, 2)
    )
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_too_few_draws_miss_the_gates_by_name(compiled, monkeypatch):
    short = module.draw
    monkeypatch.setattr(module, "draw", lambda *a, **k: short(*a, **{**k, "draws": 30, "tune": 40}))
    _, _, missed = nuts_draws(book_of(1, 60), seed=1, compiled=compiled)
    assert any("effective sample size" in line for line in missed)


@pytest.mark.parametrize(
    ("r_hat", "ess", "divergences", "names"),
    [
        (1.005, 900.0, 0.0, []),
        (1.01, 900.0, 0.0, ["r_hat"]),
        (float("nan"), 900.0, 0.0, ["r_hat"]),
        (1.005, 400.0, 0.0, ["effective sample size"]),
        (1.3, 10.0, 4.0, ["r_hat", "effective sample size", "divergences"]),
    ],
)
def test_gates_name_what_was_missed(r_hat, ess, divergences, names):
    missed = module._missed({"r_hat": r_hat, "ess": ess, "divergences": divergences})
    assert len(missed) == len(names)
    assert all(line.startswith(name) for line, name in zip(missed, names, strict=True))


def test_laplace_stays_where_the_sampler_misses(monkeypatch):
    from sopforecast.clinical import conversion
    from sopforecast.clinical.conversion import fit_conversion

    lines = book_of(6, 20)
    frame = pl.DataFrame({"scope": ["study"]})
    monkeypatch.setattr(conversion, "landmarks", lambda inputs: frame)
    monkeypatch.setattr(conversion, "line_arrays", lambda part: lines)
    monkeypatch.setattr(conversion, "left_out", lambda inputs: 0)
    monkeypatch.setattr(module, "nuts_draws", lambda lines, *, seed: (None, {}, ["r_hat 1.2"]))
    from sopforecast.clinical.inputs import clinical_inputs

    found = fit_conversion(clinical_inputs(CYCLE), seed=1, method="nuts")
    assert found.method == "laplace"
    assert found.notes == (
        "Sampling study lines missed its gates (r_hat 1.2): Laplace's draws were taken.",
    )
