"""Statements of reason ``level`` reach later months of their node, by the draws' own dependence.

Only cells that nobody spoke of move, each by one statement. Axes: ``S`` draws, ``b`` items, ``H``
months, ``K`` statements and ``A`` atoms of a group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sopforecast.judgement.groups import Group
from sopforecast.judgement.habits import cell_moments
from sopforecast.judgement.said import Moves, Said
from sopforecast.judgement.spread import move_sum

LEVEL = "level"
MOST_CARRIED = 1.2


@dataclass(frozen=True)
class Told:
    """A group whose own cells have moved, and by how much.

    Attributes
    ----------
    own : Said
        The group's statements.
    group : Group
    before, change : ndarray (S, A)
        Sums of the atoms in the statistical draws, and what they gained.
    moves : ndarray (A, K)
        What each statement adds to each atom's mean.
    rng : Generator
    """

    own: Said
    group: Group
    before: np.ndarray
    change: np.ndarray
    moves: np.ndarray
    rng: np.random.Generator


@dataclass(frozen=True)
class Claim:
    """Items (c,) of one later month that the ``k``-th statement of a group moves."""

    k: int
    items: np.ndarray
    month: int


def claim_levels(told: Sequence[Told], *, free: np.ndarray) -> list[list[Claim]]:
    """Part the later cells among groups: the last statement of a node is the one carried on.

    Parameters
    ----------
    told : sequence of Told
    free : ndarray of bool (b, H)
        Cells that nobody spoke of; those that are claimed no longer are, in place.

    Returns
    -------
    list of list of Claim
        Of each group.
    """
    claims: list[list[Claim]] = [[] for _ in told]
    for at in sorted(range(len(told)), key=lambda at: _last_month(told[at].own), reverse=True):
        own = told[at].own
        for k in _last_levels(own):
            for month in range(int(own.months[k].max()) + 1, free.shape[1]):
                items = own.members[k][free[own.members[k], month]]
                if items.size:
                    free[items, month] = False
                    claims[at].append(Claim(k, items, month))
    return claims


def carry_level(
    draws: np.ndarray, told: Told, claims: Sequence[Claim], *, steps: np.ndarray
) -> list[Moves]:
    """Move the cells that a group has claimed, in place, as they move with what was stated."""
    found = []
    follows = _follows(draws, told, claims)
    for claim in claims:
        covered, length = told.group.covers[claim.k], len(told.own.months[claim.k])
        past = float(told.before[:, covered].sum(axis=1).mean()) / length
        moved = told.change[:, covered].sum(axis=1) / length
        cells, own_steps = draws[:, claim.items, claim.month], steps[claim.items]
        mean, variance = cell_moments(cells)
        step = float(own_steps.min())
        slope = follows[claim.k] * (float(mean.sum()) / past if past > 0 else 1.0)
        goal = np.rint(slope * moved / step) * step
        move_sum(
            cells, goal, steps=own_steps, rng=told.rng, mean=mean, variance=variance, out=cells
        )
        draws[:, claim.items, claim.month] = cells
        by = told.moves[covered].sum(axis=0)
        usual = variance / variance.sum() if variance.any() else np.full(len(mean), 1 / len(mean))
        parts = usual[:, None] * (slope / length * by)
        rest = cells.mean(axis=0) - mean - parts.sum(axis=1)
        parts += rest[:, None] * _share_of_sizes(by)
        months = np.full(len(claim.items), claim.month)
        none = np.zeros(len(by))  # later months are not the statement's own
        found.append(Moves(told.group.scalars, claim.items, months, parts, none))
    return found


def _follows(draws: np.ndarray, told: Told, claims: Sequence[Claim]) -> dict[int, float]:
    """By what part of a relative change of the stated months later ones follow, by statement.

    The average over the later months: what changes the level changes all of them.
    """
    found: dict[int, list[float]] = {}
    for claim in claims:
        covered, length = told.group.covers[claim.k], len(told.own.months[claim.k])
        past = told.before[:, covered].sum(axis=1) / length
        later = draws[:, claim.items, claim.month].sum(axis=1)
        scale = float(past.mean() / later.mean()) if later.mean() > 0 else 0.0
        found.setdefault(claim.k, []).append(_slope(later, past) * scale)
    return {k: min(float(np.mean(each)), MOST_CARRIED) for k, each in found.items()}


def _share_of_sizes(by: np.ndarray) -> np.ndarray:
    """Share (K,) of each in the sum of sizes; bounded however nearly opposite moves cancel."""
    sizes: np.ndarray = np.abs(by)
    return sizes / sizes.sum() if sizes.any() else sizes


def _last_levels(own: Said) -> Sequence[int]:
    """The last scalar of each node that a ``level`` statement speaks of."""
    last: dict[bytes, int] = {}
    for k, reason in enumerate(own.frame["reason"]):
        if reason == LEVEL:
            key = own.members[k].tobytes()
            if key not in last or own.months[k].max() > own.months[last[key]].max():
                last[key] = k
    return list(last.values())


def _last_month(own: Said) -> int:
    """Last month of the ``level`` statements."""
    return max(int(own.months[k].max()) for k in _last_levels(own))


def _slope(later: np.ndarray, stated: np.ndarray) -> float:
    """How much a later month moves with the stated ones in the statistical draws."""
    variance = float(stated.var())
    if variance == 0:
        return 1.0
    both = float(((later - later.mean()) * (stated - stated.mean())).mean())
    return max(both / variance, 0.0)
