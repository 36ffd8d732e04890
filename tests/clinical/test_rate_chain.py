"""The filter of site rates beside sums over all paths, written out with loops and scipy."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import nbinom

from sopforecast.clinical import rate_chain
from sopforecast.clinical.rate_chain import (
    drift_at,
    filter_rates,
    moves,
    opening,
    shock_steps,
    silence_risk,
    site_level,
)
from sopforecast.clinical.rate_observed import STEP, Observed
from sopforecast.clinical.rate_prior import NAMES, Hyper, natural

LEVELS = -1.5 + STEP * np.arange(4)


def _hyper(**values: float) -> Hyper:
    usual = natural(np.zeros((1, len(NAMES))))
    return replace(usual, **{name: np.array([value]) for name, value in values.items()})


def _observed(
    counts: list[list[float]], opened: list[int], *, first: tuple[int, ...] = ()
) -> Observed:
    """Sites of one group; NaN is not reported; sites in ``first`` are known from that patient."""
    months = len(counts[0])
    keys: list[tuple[float, bool]] = []
    cells: list[list[tuple[int, np.ndarray]]] = [[] for _ in range(months)]
    for month, site in itertools.product(range(months), range(len(counts))):
        count = counts[site][month]
        if np.isnan(count):
            continue
        keys.append((count, site in first and month == opened[site]))
        cells[month].append((len(keys) - 1, np.array([site])))
    return Observed(
        order=np.arange(len(counts)),
        group_of=np.zeros(len(counts), dtype=int),
        group_study=np.zeros(1, dtype=int),
        opened=np.array(opened),
        offset=np.zeros(len(counts)),
        centre=-1.0,
        levels=LEVELS,
        counts=np.array([count for count, _ in keys]),
        exposures=np.ones(len(keys)),
        first=np.array([is_first for _, is_first in keys]),
        cells=cells,
    )


def _chance(hyper: Hyper, count: float, rate: float, *, is_first: bool) -> float:
    if rate == 0:
        return float(count == 0)
    size = 1 / hyper.uneven[0]
    law = nbinom(size, size / (size + rate))
    return law.pmf(count) / (1 - law.pmf(0) if is_first else 1)


def _transition(hyper: Hyper, seen: Observed, site: int, age: int) -> np.ndarray:
    """One site's month (J + 1, J + 1), entry by entry."""
    level = site_level(hyper, np.zeros((1, 1)), seen)[0, site]
    start = opening(hyper, np.array([[level]]), LEVELS)[0, 0]
    table = np.zeros((5, 5))
    for j, own in enumerate(LEVELS):
        risk = silence_risk(hyper, seen)[0, j]
        change = drift_at(hyper, np.array([age]))[0, 0] - hyper.revert[0] * (own - level)
        up, down = moves(np.array(change), np.array((hyper.walk[0] / STEP) ** 2))
        table[j, 4] = risk
        table[j, min(j + 1, 3)] += (1 - risk) * up
        table[j, max(j - 1, 0)] += (1 - risk) * down
        table[j, j] += (1 - risk) * (1 - up - down)
    table[4, :4] = hyper.comeback[0] * start
    table[4, 4] = 1 - hyper.comeback[0]
    return table


def _summed(hyper: Hyper, seen: Observed, counts: list[float], opened: int, *, is_first: bool):
    """Likelihood of a site's counts and its last state, from every path of states."""
    start = opening(hyper, site_level(hyper, np.zeros((1, 1)), seen)[:, :1], LEVELS)[0, 0]
    rates = [*np.exp(LEVELS), 0.0]
    last = np.zeros(5)
    months = range(opened, len(counts))
    after = [_transition(hyper, seen, 0, age) for age in range(len(months))]
    said = [
        [1.0 if np.isnan(counts[month]) else
         _chance(hyper, counts[month], rate, is_first=is_first and month == opened)
         for rate in rates]
        for month in months
    ]  # fmt: skip
    for path in itertools.product(range(5), repeat=len(months)):
        chance = start[path[0]] if path[0] < 4 else 0.0
        for step, state in enumerate(path):
            chance *= said[step][state] * (after[step][path[step - 1], state] if step else 1.0)
        last[path[-1]] += chance
    return last.sum(), last / last.sum()


@pytest.mark.parametrize("is_first", [False, True])
def test_the_filter_is_the_sum_over_all_paths(monkeypatch, is_first):
    """Two sites, no shock: likelihoods multiply, last states are those of the enumeration."""
    still = np.eye(25)[None]
    monkeypatch.setattr(rate_chain, "shock_steps", lambda hyper, nodes: still)
    hyper = _hyper(shock=1e-3, silence=0.2, comeback=0.3, drift_young=-0.1, walk=0.15)
    counts = [[1.0, 0.0, np.nan, 0.0, 2.0], [np.nan, 2.0, 0.0, 0.0, 0.0]]
    seen = _observed(counts, [0, 1], first=(0, 1) if is_first else ())
    found = filter_rates(hyper, np.zeros((1, 1)), seen)
    first, last = _summed(hyper, seen, counts[0], 0, is_first=is_first)
    second, quiet = _summed(hyper, seen, counts[1], 1, is_first=is_first)
    assert found.fit[0, 0] == pytest.approx(np.log(first) + np.log(second), rel=1e-10)
    assert found.sites[0, 0] == pytest.approx(last, rel=1e-9)
    assert found.sites[0, 1] == pytest.approx(quiet, rel=1e-9)


def test_a_month_with_a_shared_shock_is_exact():
    """Two new sites in one month: all triples of shock and two levels."""
    hyper = _hyper(shock=0.4)
    seen = _observed([[4.0], [0.0]], [0, 0])
    found = filter_rates(hyper, np.zeros((1, 1)), seen)
    start = opening(hyper, site_level(hyper, np.zeros((1, 1)), seen), LEVELS)[0]
    nodes = seen.nodes
    before = np.exp(-0.5 * (nodes / 0.4) ** 2)
    before = (before / before.sum()) @ shock_steps(hyper, nodes)[0]
    joint = np.zeros((25, 4, 4))
    for q, i, j in itertools.product(range(25), range(4), range(4)):
        joint[q, i, j] = before[q] * start[0, i] * start[1, j]
    for q, i in itertools.product(range(25), range(4)):
        rate = np.exp(LEVELS[i] + nodes[q])
        joint[q, i, :] *= _chance(hyper, 4, rate, is_first=False)
        joint[q, :, i] *= _chance(hyper, 0, rate, is_first=False)
    assert found.fit[0, 0] == pytest.approx(np.log(joint.sum()), rel=1e-10)
    joint /= joint.sum()
    assert found.shocks[0, 0] == pytest.approx(joint.sum(axis=(1, 2)), rel=1e-9)
    assert found.sites[0, 0, :4] == pytest.approx(joint.sum(axis=(0, 2)), rel=1e-9)
    assert found.sites[0, 1, :4] == pytest.approx(joint.sum(axis=(0, 1)), rel=1e-9)


def test_shocks_over_months_are_close_to_exact():
    """One site and its shock as one chain of 125 states: the factored filter is near it."""
    hyper = _hyper(shock=0.3, persist=0.8, silence=0.05)
    counts = [0.0, 2.0, 1.0, 0.0, 1.0]
    seen = _observed([counts], [0])
    steps = shock_steps(hyper, seen.nodes)[0]
    start = opening(hyper, site_level(hyper, np.zeros((1, 1)), seen), LEVELS)[0, 0]
    shock = np.exp(-0.5 * (seen.nodes / 0.3) ** 2)
    state = np.outer((shock / shock.sum()) @ steps, [*start, 0.0])
    total = 0.0
    for month, count in enumerate(counts):
        if month:
            state = steps.T @ state @ _transition(hyper, seen, 0, month)
        for q, j in itertools.product(range(25), range(5)):
            rate = np.exp(LEVELS[j] + seen.nodes[q]) if j < 4 else 0.0
            state[q, j] *= _chance(hyper, count, rate, is_first=False)
        total += np.log(state.sum())
        state /= state.sum()
    found = filter_rates(hyper, np.zeros((1, 1)), seen)
    assert found.fit[0, 0] == pytest.approx(total, abs=0.02)
    assert found.sites[0, 0] == pytest.approx(state.sum(axis=0), abs=0.02)


@pytest.mark.parametrize("change", [-0.08, -0.02, 0.0, 0.03])
@pytest.mark.parametrize("walk", [0.01, 0.1, 0.25])
def test_a_month_changes_the_expected_rate_as_asked(change, walk):
    up, down = moves(np.array(change), np.array((walk / STEP) ** 2))
    grown = 1 + up * np.expm1(STEP) + down * np.expm1(-STEP)
    assert min(up, down) >= 0
    assert up + down <= 0.95
    assert grown == pytest.approx(1 + change, abs=0.004)


def test_a_silent_site_is_told_by_its_silence():
    hyper = _hyper(silence=0.02, level=0.5)
    zeros, busy = [2.0, 3.0, *[0.0] * 8], [2.0, 3.0, 1.0, 0.0, 2.0, 1.0, 0.0, 1.0, 2.0, 1.0]
    found = filter_rates(hyper, np.zeros((1, 1)), _observed([zeros, busy], [0, 0])).sites[0]
    assert found[0, -1] > 0.5
    assert found[1, -1] == 0


def test_a_month_not_reported_says_nothing():
    hyper = _hyper()
    told = filter_rates(hyper, np.zeros((1, 1)), _observed([[1.0, np.nan]], [0]))
    short = filter_rates(hyper, np.zeros((1, 1)), _observed([[1.0]], [0]))
    assert told.fit[0, 0] == pytest.approx(short.fit[0, 0])
    zero = filter_rates(hyper, np.zeros((1, 1)), _observed([[1.0, 0.0]], [0]))
    assert zero.sites[0, 0, -1] > told.sites[0, 0, -1]
