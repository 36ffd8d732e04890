"""Weighted and moved draws: that both give the same posterior, many names, the prior."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from sopforecast.clinical import conversion_laplace as module
from sopforecast.clinical.book import LANDMARKS
from sopforecast.clinical.conversion_laplace import laplace_draws, prior_draws
from sopforecast.clinical.conversion_lines import line_arrays
from sopforecast.clinical.conversion_model import laws
from sopforecast.core.clinical_tables import OUTCOMES, TIERS
from sopforecast.core.draws import series_rng

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


def test_importance_draws_and_moved_draws_agree(monkeypatch):
    """Two ways to the same posterior: weighted proposals, and Hamiltonian moves of poor draws."""
    lines = book_of(2, 60)
    weighted, quality = laplace_draws(lines, series_rng(1, "a"), draws=2000)
    assert quality["moved"] == 0
    monkeypatch.setattr(module, "MIN_SHARE", 2.0)
    moved, quality = laplace_draws(lines, series_rng(1, "b"), draws=1500)
    assert quality["moved"] == module.FEW_MOVES
    assert moved.mean(axis=0) == pytest.approx(weighted.mean(axis=0), abs=0.15)
    assert moved.std(axis=0) == pytest.approx(weighted.std(axis=0), rel=0.15)


def test_many_names_are_no_trouble():
    """Hundreds of accounts with a line or two each: their effects are the prior, roughly."""
    lines = book_of(3, 250)
    many = tuple(f"A{k}" for k in range(125))
    add = len(many) - len(lines.names)
    wide = replace(
        lines, names=many, name=np.arange(len(lines.tier)) % 125,
        prior_mean=np.concatenate([lines.prior_mean, np.zeros(add)]),
        prior_sd=np.concatenate([lines.prior_sd, np.ones(add)]),
    )  # fmt: skip
    found = []
    for book in (lines, wide):
        x, _ = laplace_draws(book, series_rng(1, "many"))
        chance = laws(book, book.prior_mean + book.prior_sd * x).chance
        found.append([chance[:, lines.tier == k].mean(axis=1) for k in range(3)])
    for few, spread in zip(*found, strict=True):
        assert spread.mean() == pytest.approx(few.mean(), abs=0.03)
        assert 0.6 < spread.std() / few.std() < 1.6


def test_prior_draws_keep_tiers_softly_in_order():
    lines = book_of(5, 12)
    x = prior_draws(lines, series_rng(1, "prior"), draws=4000)
    tiers = lines.prior_mean[:3] + lines.prior_sd[:3] * x[:, :3]
    in_order = (np.diff(tiers, axis=1) < 0).mean()
    alone = lines.prior_mean[:3] + np.random.default_rng(1).standard_normal((4000, 3))
    assert in_order > (np.diff(alone, axis=1) < 0).mean() + 0.05
    assert x[:, 3:].std(axis=0) == pytest.approx(np.ones(x.shape[1] - 3), abs=0.06)
