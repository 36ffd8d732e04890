"""Sample the future of site rates and of the shocks their groups share.

Blocks of as many paths as there are parameter draws are made one after the other, each from its own
generator, so that path s always follows draw s mod R and the first paths of many are those of few.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sopforecast.clinical.rate_chain import (
    LEAST_SHOCK_SD,
    Filtered,
    drift_at,
    moves,
    opening,
    silence_risk,
    site_level,
)
from sopforecast.clinical.rate_observed import FINE, STEP, Observed
from sopforecast.clinical.rate_prior import Hyper
from sopforecast.core.draws import series_rng

_QUANTILES = 256  # of the month's own unevenness


def sample_site_rates(
    hyper: Hyper,
    group: np.ndarray,
    seen: Observed,
    start: np.ndarray,
    *,
    which: np.ndarray,
    age: np.ndarray,
    paths: int,
    horizon: int,
    seed: int,
    name: str,
) -> np.ndarray:
    """Patients per fully open month of the sites ``which``, without shocks (S, n, H), float32.

    Parameters
    ----------
    group : ndarray (R, K)
    start : ndarray (R, G, J + 1)
        Probabilities a month before month 0 for a site of ``age`` 1 or more in it, in month 0 for
        one of age 0.
    which, age : ndarray of int (n,)
        Sites, in the order of ``seen``, and their age in month 0.
    """
    draws, sites = len(hyper.level), len(which)
    level = site_level(hyper, group, seen)[:, which]
    cumulative = np.cumsum(start[:, which], axis=2)
    cumulative /= cumulative[..., -1:]
    chain = _chain(hyper, level, seen)
    rates = np.append(np.exp(seen.levels), 0.0).astype(np.float32)
    uneven = _uneven(hyper.uneven)
    rows = np.arange(draws)[:, None]
    out = np.empty((paths, sites, horizon), dtype=np.float32)
    for block, at in enumerate(range(0, paths, draws)):
        rng = series_rng(seed, "enrolment", name, str(block))
        state = (cumulative < rng.random((draws, sites, 1))).sum(axis=2)
        made = np.empty((horizon, draws, sites), dtype=np.float32)
        for month in range(horizon):
            if month or age.any():
                after = _step(chain, state, drift_at(hyper, age + month), rng)
                state = np.where(age + month > 0, after, state)
            noise = uneven[rows, rng.integers(0, _QUANTILES, size=state.shape, dtype=np.uint16)]
            made[month] = rates[state] * noise
        out[at : at + draws] = made[:, : paths - at].transpose(1, 2, 0)
    return out


def sample_shocks(
    hyper: Hyper,
    seen: Observed,
    filtered: Filtered,
    together: np.ndarray,
    *,
    paths: int,
    horizon: int,
    seed: int,
) -> np.ndarray:
    """Multipliers shared by the sites of each group by calendar month (S, K, H), float32.

    ``together`` (R,) is the correlation of monthly changes between the groups of a study.
    """
    draws, groups = filtered.shocks.shape[:2]
    studies = int(seen.group_study.max(initial=-1)) + 1
    cumulative = np.cumsum(filtered.shocks, axis=2)
    persist = hyper.persist[:, None]
    sd = np.maximum(hyper.shock[:, None] * np.sqrt(1 - persist**2), LEAST_SHOCK_SD)
    shared = np.sqrt(together)[:, None]
    alone = np.sqrt(1 - together)[:, None]
    out = np.empty((paths, groups, horizon), dtype=np.float32)
    for block, at in enumerate(range(0, paths, draws)):
        rng = series_rng(seed, "enrolment", "shock", str(block))
        node = (cumulative < rng.random((draws, groups, 1))).sum(axis=2)
        node = np.minimum(node, len(seen.nodes) - 1)
        log = seen.nodes[node] + (rng.random((draws, groups)) - 0.5) * (STEP / FINE)
        keep = min(draws, paths - at)
        for month in range(horizon):
            common = rng.standard_normal((draws, studies))[:, seen.group_study]
            change = shared * common + alone * rng.standard_normal((draws, groups))
            log = persist * log + sd * change
            out[at : at + keep, :, month] = np.exp(log[:keep])
    return out


def _uneven(variance: np.ndarray) -> np.ndarray:
    """Equally likely values of a gamma factor of mean 1 by draw (R, 256), float32."""
    from scipy.special import gammaincinv

    size = 1 / variance[:, None]
    values = gammaincinv(size, (np.arange(_QUANTILES) + 0.5) / _QUANTILES) / size
    return (values / values.mean(axis=1, keepdims=True)).astype(np.float32)


@dataclass(frozen=True, eq=False)
class _Chain:
    """What moves R x n sites by a month, float32; see `rate_chain`."""

    levels: np.ndarray  # (J,)
    walk: np.ndarray  # (R, 1)
    revert: np.ndarray  # (R, 1)
    base: np.ndarray  # (R, n): the move that does not depend on level or age
    gone: np.ndarray  # (R, J + 1): chance to be silent next month
    again: np.ndarray  # (R, n, J): cumulative chances of the level after coming back


def _chain(hyper: Hyper, level: np.ndarray, seen: Observed) -> _Chain:
    walk = (hyper.walk[:, None] / STEP) ** 2
    gone = np.concatenate([silence_risk(hyper, seen), 1 - hyper.comeback[:, None]], axis=1)
    return _Chain(
        levels=seen.levels.astype(np.float32),
        walk=walk.astype(np.float32),
        revert=hyper.revert[:, None].astype(np.float32),
        base=(hyper.revert[:, None] * level).astype(np.float32),
        gone=gone.astype(np.float32),
        again=np.cumsum(opening(hyper, level, seen.levels), axis=2),
    )


def _step(
    chain: _Chain, state: np.ndarray, drift: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """One month on from ``state`` (R, n), J being silent; one number decides a site's month."""
    silent = len(chain.levels)
    chance = rng.random(state.shape, dtype=np.float32)
    gone = np.take_along_axis(chain.gone, state, axis=1)
    falls = chance < gone
    chance = (chance - gone) / (1 - gone)  # uniform where it does not fall silent
    at = np.minimum(state, silent - 1)
    move = chain.base - chain.revert * chain.levels[at] + drift.astype(np.float32)
    up, down = moves(move, chain.walk)
    after = np.clip(at + (chance < up) - (chance > 1 - down), 0, silent - 1)
    back = np.nonzero((state == silent) & ~falls)
    after[back] = (chain.again[back] < chance[back][:, None]).sum(axis=1).clip(0, silent - 1)
    return np.where(falls, silent, after)
