"""The likelihood by hand, against simulation, and its slopes against differences."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy import stats

from sopforecast.clinical.book import LANDMARKS
from sopforecast.clinical.conversion_lines import PLACE, SHARED, Lines, line_arrays
from sopforecast.clinical.conversion_model import (
    TIER_ORDER_SD,
    effects,
    laws,
    log_density,
    log_density_and_slope,
)
from sopforecast.core.clinical_tables import OUTCOMES, TIERS


def random_lines(seed: int, size: int, *, moves: bool = True) -> Lines:
    """Landmarks of every kind, with fractional weights."""
    rng = np.random.default_rng(seed)
    outcome = rng.choice(3, size)
    age = rng.integers(-1, 14, size)
    delay = [int(rng.integers(0, max(a, 0) + 1)) if o else None
             for a, o in zip(age, outcome, strict=True)]  # fmt: skip
    low = rng.uniform(0.05, 0.6, size)
    rows = {
        "line_id": [f"L{i:03d}" for i in range(size)],
        "scope": ["study"] * size,
        "name": [f"S{i % 3}" for i in range(size)],
        "owner": [("ann", "bob", "*")[i % 3 - i % 2] for i in range(size)],
        "tier": [TIERS[i] for i in rng.choice(3, size)],
        "expected_lead": [None if i % 2 else int(rng.integers(-2, 9)) for i in range(size)],
        "e_low": [None if i % 4 else float(low[i]) for i in range(size)],
        "e_high": [None if i % 4 else float(low[i] + 0.3) for i in range(size)],
        "age": age,
        "outcome": [OUTCOMES[i] for i in outcome],
        "delay": delay,
        "stay": rng.uniform(0, 6, size),
        "moved": rng.choice([-1, 0, 1], size) if moves else np.zeros(size, dtype=int),
        "weight": rng.choice([0.5, 1.0], size),
        "is_current": outcome == 0,
    }
    return line_arrays(pl.DataFrame(rows, schema=LANDMARKS))


def by_hand(lines: Lines, theta: np.ndarray) -> float:
    """The log posterior, one landmark after the other, from the docstring."""
    p = {name: theta[k] for name, k in PLACE.items()}
    first = SHARED + len(lines.names)
    total = stats.norm.logpdf(theta, lines.prior_mean, lines.prior_sd).sum()
    for above in (0, 1):
        total += stats.norm.logcdf((theta[above] - theta[above + 1]) / TIER_ORDER_SD)
    for i, tier in enumerate(lines.tier):
        logit = theta[tier] + math.exp(p["name_sd"]) * theta[SHARED + lines.name[i]]
        if lines.owner[i] >= 0:
            logit += math.exp(p["owner_sd"]) * theta[first + lines.owner[i]]
        chance = 1 / (1 + math.exp(-logit - p["own"] * lines.own[i]))
        scale = math.exp(theta[3 + tier] + p["lead"] * lines.lead[i])
        delay = stats.weibull_min(math.exp(p["shape"]), scale=scale)
        loss = stats.weibull_min(math.exp(p["loss_shape"]), scale=math.exp(p["loss_scale"]))
        declared = 1 / (1 + math.exp(-p["declared"]))
        month = lines.month[i]
        stay_will, stay_never = 1.0, 1.0
        for k, way in enumerate(("up", "down")):
            rate = math.exp(p[way])
            stay_never *= rate ** lines.moved[i, k] * math.exp(-rate * lines.stay[i, k])
            rate *= math.exp(p[f"{way}_ratio"])
            stay_will *= rate ** lines.moved[i, k] * math.exp(-rate * lines.stay[i, k])
        if OUTCOMES[lines.outcome[i]] == "converted":
            one = chance * (delay.cdf(month + 1) - delay.cdf(month)) * stay_will
        elif OUTCOMES[lines.outcome[i]] == "lost":
            one = (1 - chance) * declared * (loss.cdf(month + 1) - loss.cdf(month)) * stay_never
        else:
            one = chance * delay.sf(month + 1) * stay_will
            one += (1 - chance) * (1 - declared * loss.cdf(month + 1)) * stay_never
        total += lines.weight[i] * math.log(one)
    return total


@pytest.mark.parametrize("moves", [True, False])
def test_density_is_that_of_the_docstring(moves):
    lines = random_lines(1, 30, moves=moves)
    x = 0.7 * np.random.default_rng(1).standard_normal((4, len(lines.prior_mean)))
    theta = lines.prior_mean + lines.prior_sd * x
    expected = np.array([by_hand(lines, one) for one in theta])
    found = log_density(lines, x)
    assert found - found[0] == pytest.approx(expected - expected[0], abs=1e-8)


@pytest.mark.parametrize("size", [1, 40])
def test_slopes_are_differences(size):
    lines = random_lines(2, size)
    x = np.random.default_rng(2).standard_normal((2, len(lines.prior_mean)))
    step = 1e-5 * np.eye(x.shape[1])
    found = log_density_and_slope(lines, x)[1]
    for one, slope in zip(x, found, strict=True):
        rise = log_density(lines, one + step) - log_density(lines, one - step)
        assert slope == pytest.approx(rise / 2e-5, rel=1e-5, abs=1e-5)


def test_many_parameter_vectors_are_as_one_by_one():
    lines = random_lines(3, 2100)
    x = np.random.default_rng(3).standard_normal((200, len(lines.prior_mean)))
    value, slope = log_density_and_slope(lines, x)
    alone = log_density_and_slope(lines, x[150:151])
    assert value[150] == pytest.approx(alone[0][0], rel=1e-12)
    assert log_density(lines, x).tobytes() == value.tobytes()
    assert slope[150] == pytest.approx(alone[1][0], rel=1e-9, abs=1e-9)


def test_far_away_parameters_are_finite_and_unlikely():
    lines = random_lines(4, 30)
    value, slope = log_density_and_slope(
        lines, np.array([[9.0], [-9.0]]) * np.ones(len(lines.prior_mean))
    )
    assert np.isfinite(value).all()
    assert np.isfinite(slope).all()


def test_frequencies_of_a_simulated_book_are_the_likelihoods():
    """What can be seen of a line followed for 5 months, by drawing 400,000 of them."""
    rng = np.random.default_rng(5)
    lines, age, many = one_of_each(5), 5, 400_000
    x = 0.5 * rng.standard_normal((1, len(lines.prior_mean)))
    theta = lines.prior_mean + lines.prior_sd * x
    law = laws(lines, theta)
    converts = rng.random(many) < law.chance[0, 0]
    shape, loss_shape = law.shape[0, 0], law.loss_shape[0, 0]
    delay = np.floor(np.exp(law.log_scale[0, 0]) * rng.weibull(shape, many))
    loss = np.floor(np.exp(law.loss_log_scale[0, 0]) * rng.weibull(loss_shape, many))
    declared = rng.random(many) < law.declared[0, 0]
    converted, lost = converts & (delay <= age), ~converts & declared & (loss <= age)
    seen = np.concatenate([
        [np.mean(~converted & ~lost)],
        *[[np.mean(converted & (delay == m)), np.mean(lost & (loss == m))] for m in range(age + 1)],
    ])  # fmt: skip
    bare = log_density(replace(lines, weight=0.0 * lines.weight), x)[0]
    alone = np.array([
        log_density(replace(lines, weight=one), x)[0] - bare
        for one in np.eye(len(lines.tier))
    ])  # fmt: skip
    assert np.exp(alone).sum() == pytest.approx(1.0)
    assert seen == pytest.approx(np.exp(alone), abs=4 * 0.5 / np.sqrt(many))


def one_of_each(age: int) -> Lines:
    """All that can be seen of a line until an age: open, or ended after 0, 1, ... months."""
    ends = [("open", None), *[(kind, m) for m in range(age + 1) for kind in ("converted", "lost")]]
    rows = [
        {"line_id": f"{i}", "scope": "study", "name": "S", "owner": "ann", "tier": "pipeline",
         "expected_lead": 4, "e_low": None, "e_high": None, "age": age, "outcome": kind,
         "delay": month, "stay": 1.0, "moved": 0, "weight": 1.0, "is_current": False}
        for i, (kind, month) in enumerate(ends)
    ]  # fmt: skip
    return line_arrays(pl.DataFrame(rows, schema=LANDMARKS))


def test_chance_of_an_open_line_falls_with_age_and_is_that_of_rejection():
    rng = np.random.default_rng(6)
    lines = one_of_each(5)
    law = laws(lines, lines.prior_mean[None])
    chance = [law.chance_open(np.full(13, float(a)))[0, 0] for a in (-1, 0, 3, 9, 30)]
    assert chance[0] == pytest.approx(law.chance[0, 0])
    many, age = 300_000, 9
    converts = rng.random(many) < law.chance[0, 0]
    delay = np.floor(np.exp(law.log_scale[0, 0]) * rng.weibull(law.shape[0, 0], many))
    loss = np.floor(np.exp(law.loss_log_scale[0, 0]) * rng.weibull(law.loss_shape[0, 0], many))
    gone = ~converts & (rng.random(many) < law.declared[0, 0]) & (loss <= age)
    is_open = ~gone & ~(converts & (delay <= age))
    assert chance[3] == pytest.approx(converts[is_open].mean(), abs=0.006)
    assert chance[4] < chance[3]


def test_a_line_that_stays_where_others_move_up_is_less_likely_to_convert():
    lines = random_lines(7, 30)
    still = np.flatnonzero((lines.moved == 0).all(axis=1) & (lines.tier == 2))
    theta = lines.prior_mean[None].copy()
    long, short = (
        laws(replace(lines, stay=np.full_like(lines.stay, months)), theta, still).chance_open(
            np.full(len(still), 5.0)
        )
        for months in (6.0, 1.0)
    )
    assert (long < short).all()
    nobody = random_lines(7, 30, moves=False)
    assert not nobody.stay.any()


def test_no_owner_has_no_effect():
    lines = random_lines(8, 30)
    theta = np.random.default_rng(8).standard_normal((5, len(lines.prior_mean)))
    name, owner = effects(lines, theta)
    assert name.shape == (5, 3)
    assert owner.shape == (5, 3)
    assert (lines.owner == -1).any()
    assert not owner[:, -1].any()
