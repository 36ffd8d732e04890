"""How the rate of a site moves from month to month, and what its counts say of it.

A site is on one of J levels of log rate or silent. It opens on a level of its group (study x
country), then drifts with its age, walks, is drawn back a little, may fall silent and may come
back. In a month it counts a negative binomial number around rate x exposure x shock, where the
shock is shared by the sites of its group: a log factor with autocorrelation, on Q nodes.

The filter is exact for one site without shocks. With them it is exact within a month given that
shock and sites were independent before it (a factored filter: Boyen and Koller 1998), which keeps
it linear in sites. Axes: B sets of hyperparameters at once, G sites, K groups.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sopforecast.clinical.rate_observed import FINE, STEP, Observed
from sopforecast.clinical.rate_prior import SETTLING_MONTHS, Hyper

_LEAST = 1e-280
LEAST_SHOCK_SD = 0.04  # of its monthly change: about half a node


@dataclass(frozen=True, eq=False)
class Filtered:
    """What is known at the end of the data.

    Attributes
    ----------
    fit : ndarray (B, K)
        Log likelihood of the counts of each group.
    sites : ndarray (B, G, J + 1)
        Probability of each level in the last month, of being silent last; of a site that has not
        opened: of the level it would open on.
    shocks : ndarray (B, K, Q)
        Probability of each node of the shared shock in the last month.
    shock_means : ndarray (B, T, K)
        Filtered mean of the log shock.
    """

    fit: np.ndarray
    sites: np.ndarray
    shocks: np.ndarray
    shock_means: np.ndarray


def site_level(hyper: Hyper, group: np.ndarray, seen: Observed) -> np.ndarray:
    """Log rate around which each site opens (B, G), from group deviations ``group`` (B, K)."""
    planned = hyper.plan_weight[:, None] * seen.offset
    return seen.centre + hyper.level[:, None] + group[:, seen.group_of] + planned


def opening(hyper: Hyper, level: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Probability of each level in the month of opening (B, G, J); nobody opens silent."""
    z = (levels - level[..., None]) / hyper.spread[:, None, None]
    weight = np.exp(-0.5 * (z**2 - np.min(z**2, axis=-1, keepdims=True)))
    return weight / weight.sum(axis=-1, keepdims=True)


def drift_at(hyper: Hyper, age: np.ndarray) -> np.ndarray:
    """Monthly change of a site's expected rate on reaching ``age`` months (G,) -> (B, G)."""
    young = np.exp(-(np.maximum(age, 1) - 1) / SETTLING_MONTHS)
    old = hyper.drift_old[:, None]
    return old + (hyper.drift_young[:, None] - old) * young


def pull(hyper: Hyper, level: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Part of a month's change of the expected rate that brings it back to ``level`` (B, G, J)."""
    return -hyper.revert[:, None, None] * (levels - level[..., None])


def moves(change: np.ndarray, walk: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Chances of one level up and one down in a month.

    ``change`` is that of the expected rate, so that walking alone adds nothing to the mean;
    ``walk`` is the variance of log rate in squared steps, a little more where the change is large.
    """
    sinh, over = float(np.sinh(STEP)), float(np.cosh(STEP) - 1)
    both = walk
    for _ in range(3):  # the walk is wider with the change, and widens it in turn
        mean = np.clip((change - both * over) / sinh, -0.9, 0.9)
        both = np.minimum(np.sqrt(walk**2 + mean**2), 0.95)
    return (both + mean) / 2, (both - mean) / 2


def silence_risk(hyper: Hyper, seen: Observed) -> np.ndarray:
    """Monthly risk of falling silent by level (B, J)."""
    odds = np.log(hyper.silence / (1 - hyper.silence))[:, None]
    slope = hyper.silence_slope[:, None] * (seen.levels - seen.centre)
    return 1 / (1 + np.exp(-(odds + slope)))


def shock_steps(hyper: Hyper, nodes: np.ndarray) -> np.ndarray:
    """Chances of going from one node of the shock to another in a month (B, Q, Q)."""
    sd = np.maximum(hyper.shock * np.sqrt(1 - hyper.persist**2), LEAST_SHOCK_SD)
    z = (nodes - hyper.persist[:, None, None] * nodes[:, None]) / sd[:, None, None]
    weight = np.exp(-0.5 * z**2) + 1e-12
    return weight / weight.sum(axis=-1, keepdims=True)


def likelihood(hyper: Hyper, seen: Observed) -> np.ndarray:
    """Probability of each cell's count by level and node (B, U, J, Q)."""
    from scipy.special import gammaln

    levels, nodes = len(seen.levels), len(seen.nodes)
    low = seen.levels[0] + seen.nodes[0]
    rates = np.exp(low + (STEP / FINE) * np.arange(FINE * (levels - 1) + nodes))
    size = 1 / hyper.uneven[:, None, None]
    counts = seen.counts[:, None]
    mean = seen.exposures[:, None] * rates
    spare = np.log1p(mean / size)
    log = gammaln(counts + size) - gammaln(size) - gammaln(counts + 1) - size * spare
    log += counts * (np.log(mean / size) - spare)
    some = np.where(seen.first[:, None], -np.expm1(-size * spare), 1.0)
    table = np.maximum(np.exp(log) / some, _LEAST)
    steps = table.strides
    view = np.lib.stride_tricks.as_strided(
        table,
        shape=(*table.shape[:2], levels, nodes),
        strides=(steps[0], steps[1], FINE * steps[2], steps[2]),
    )
    return np.ascontiguousarray(view)


def filter_rates(hyper: Hyper, group: np.ndarray, seen: Observed) -> Filtered:
    """Run through the months; ``group`` (B, K): deviations of the groups' log rates."""
    batch = len(hyper.level)
    groups, months = len(seen.group_study), len(seen.cells)
    level = site_level(hyper, group, seen)
    start = opening(hyper, level, seen.levels)
    sites = np.concatenate([start, np.zeros((*start.shape[:2], 1))], axis=2)
    pulled = pull(hyper, level, seen.levels)
    risk = silence_risk(hyper, seen)[:, None]
    table = likelihood(hyper, seen)
    steps = shock_steps(hyper, seen.nodes)
    shocks = np.exp(-0.5 * (seen.nodes / hyper.shock[:, None]) ** 2)
    shocks = np.repeat((shocks / shocks.sum(axis=1, keepdims=True))[:, None], groups, axis=1)
    fit = np.zeros((batch, groups))
    means = np.zeros((batch, months, groups))
    for month in range(months):
        old = int(np.searchsorted(seen.opened, month))  # opened before it
        if old:
            age = month - seen.opened[:old]
            move = pulled[:, :old] + drift_at(hyper, age)[..., None]
            ups = moves(move, (hyper.walk[:, None, None] / STEP) ** 2)
            sites[:, :old] = _next_month(sites[:, :old], ups, risk, hyper.comeback, start[:, :old])
        shocks = shocks @ steps
        if seen.cells[month]:
            shocks, gained = _learn(sites, shocks, seen, seen.cells[month], table)
            fit += gained
        means[:, month] = shocks @ seen.nodes
    return Filtered(fit, sites, shocks, means)


def _next_month(
    sites: np.ndarray,
    ups: tuple[np.ndarray, np.ndarray],
    risk: np.ndarray,
    comeback: np.ndarray,
    start: np.ndarray,
) -> np.ndarray:
    """Probabilities (B, G, J + 1) one month on; a silent site comes back where it might open."""
    active, silent = sites[..., :-1], sites[..., -1:]
    stay = active * (1 - risk)
    up, down = ups[0] * stay, ups[1] * stay
    after = stay + comeback[:, None, None] * silent * start
    after[..., :-1] -= up[..., :-1]
    after[..., 1:] += up[..., :-1]
    after[..., 1:] -= down[..., 1:]
    after[..., :-1] += down[..., 1:]
    quiet = (active * risk).sum(axis=-1, keepdims=True)
    quiet = quiet + (1 - comeback[:, None, None]) * silent
    return np.concatenate([after, quiet], axis=-1)


def _learn(
    sites: np.ndarray,
    shocks: np.ndarray,
    seen: Observed,
    cells: list[tuple[int, np.ndarray]],
    table: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Update shocks (B, K, Q), returned with the gain in log likelihood (B, K), and sites in place.

    Silent sites count nobody, so silence is possible only where the count is 0.
    """
    logs = np.zeros_like(shocks)
    likely: list[np.ndarray] = []
    for cell, places in cells:
        quiet = sites[:, places, -1:] * float(seen.counts[cell] == 0)
        each = np.maximum(sites[:, places, :-1] @ table[:, cell] + quiet, _LEAST)  # (B, n, Q)
        likely.append(each)
        for group in np.unique(seen.group_of[places]):
            mine = seen.group_of[places] == group
            logs[:, group] += np.log(each[:, mine]).sum(axis=1)
    top = logs.max(axis=-1, keepdims=True)
    weight = shocks * np.exp(logs - top)
    total = weight.sum(axis=-1, keepdims=True)
    after = weight / total
    for (cell, places), each in zip(cells, likely, strict=True):
        share = after[:, seen.group_of[places]] / each
        sites[:, places, :-1] *= share @ np.swapaxes(table[:, cell], 1, 2)
        if seen.counts[cell] == 0:
            sites[:, places, -1] *= share.sum(axis=-1)
        else:
            sites[:, places, -1] = 0.0
        sites[:, places] /= sites[:, places].sum(axis=-1, keepdims=True)
    return after, (np.log(total) + top)[..., 0]
