"""Sampled futures of rates and shocks, beside the same chain pushed forward exactly."""

from __future__ import annotations

import numpy as np
import pytest

from sopforecast.clinical.rate_chain import (
    Filtered,
    drift_at,
    moves,
    opening,
    pull,
    silence_risk,
    site_level,
)
from sopforecast.clinical.rate_observed import STEP, Observed
from sopforecast.clinical.rate_paths import sample_shocks, sample_site_rates
from sopforecast.clinical.rate_prior import NAMES, natural

DRAWS, PATHS, HORIZON = 200, 20_000, 8


def _seen() -> Observed:
    nothing = np.zeros(0)
    return Observed(
        order=np.arange(2),
        group_of=np.array([0, 1]),
        group_study=np.zeros(2, dtype=int),
        opened=np.array([0, 5]),
        offset=np.zeros(2),
        centre=-0.7,
        levels=-4.0 + STEP * np.arange(20),
        counts=nothing,
        exposures=nothing,
        first=nothing,
        cells=[[] for _ in range(5)],
    )


def _pushed(start: np.ndarray, age: int) -> np.ndarray:
    """Expected rate of a site by month, from probabilities (J + 1,) and one month's matrix."""
    seen, hyper = _seen(), natural(np.zeros((1, len(NAMES))))
    level = site_level(hyper, np.zeros((1, 2)), seen)[:, :1]
    new = opening(hyper, level, seen.levels)[0, 0]
    risk = silence_risk(hyper, seen)[0]
    rates = np.append(np.exp(seen.levels), 0.0)
    state, expected = start, []
    for month in range(age, age + HORIZON):
        if month:
            change = pull(hyper, level, seen.levels)[0, 0]
            change = change + drift_at(hyper, np.array([month]))[0, 0]
            up, down = moves(change, np.array((hyper.walk[0] / STEP) ** 2))
            stay = state[:-1] * (1 - risk)
            after = stay * (1 - up - down)
            after[1:] += (stay * up)[:-1]
            after[-1] += (stay * up)[-1]
            after[:-1] += (stay * down)[1:]
            after[0] += (stay * down)[0]
            back = hyper.comeback[0] * state[-1]
            quiet = state[:-1] @ risk + (1 - hyper.comeback[0]) * state[-1]
            state = np.append(after + back * new, quiet)
        expected.append(state @ rates)
    return np.array(expected)


@pytest.mark.parametrize(("age", "silent"), [(0, 0.0), (6, 0.0), (6, 1.0), (30, 0.3)])
def test_mean_rates_are_those_of_the_chain(age, silent):
    start = np.zeros(21)
    start[12], start[-1] = 1 - silent, silent
    hyper = natural(np.zeros((DRAWS, len(NAMES))))
    rates = sample_site_rates(
        hyper, np.zeros((DRAWS, 2)), _seen(), np.tile(start, (DRAWS, 2, 1)),
        which=np.array([0]), age=np.array([age]), paths=PATHS, horizon=HORIZON, seed=3, name="x",
    )  # fmt: skip
    assert rates.shape == (PATHS, 1, HORIZON)
    exact = _pushed(start, age)
    error = 4.5 * rates[:, 0].std(axis=0) / np.sqrt(PATHS) + 1e-6
    assert (np.abs(rates[:, 0].mean(axis=0) - exact) < error).all()


def test_shocks_fade_towards_none_and_move_together():
    hyper = natural(np.zeros((DRAWS, len(NAMES))))
    start = np.zeros((DRAWS, 2, 25))
    start[..., 20] = 1.0  # 8 nodes up: 0.6
    nothing = np.zeros((DRAWS, 1, 1))
    filtered = Filtered(nothing, nothing, start, nothing)
    shocks = sample_shocks(
        hyper, _seen(), filtered, np.full(DRAWS, 0.5), paths=PATHS, horizon=40, seed=1
    )
    logs = np.log(shocks.astype(float))
    assert logs[:, 0].mean(axis=0) == pytest.approx(0.6 * 0.93 ** np.arange(1, 41), abs=0.01)
    assert logs[:, 0, 0].std() == pytest.approx(0.2 * np.sqrt(1 - 0.93**2), rel=0.06)
    assert logs[:, 0, -1].std() == pytest.approx(0.2, rel=0.03)  # 0.93**40 is 0.05
    assert np.corrcoef(logs[:, 0, -1], logs[:, 1, -1])[0, 1] == pytest.approx(0.5, abs=0.03)
