"""Draws that believe what people said: each group of statements moves its own cells, and no others.

For every group (``groups``) the update says where the mean of each atom goes and how wide it is
afterwards (``evidence``). The draws of the atoms' sums follow first (``transport``), then every
draw's change is spread over the cells of the atom (``spread``), so that sums hold in every draw,
nothing is negative and steps are kept. Deals (probability below 1) come on top: they happen whole
in their share of the draws. ``reason`` level carries a change into later months by the draws' own
dependence; nothing else leaves the stated months.

Axes: ``S`` draws, ``b`` items that somebody spoke of, ``H`` months, ``K`` statements, ``C`` cells
and ``A`` atoms of a group.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from sopforecast.core.draws import series_rng
from sopforecast.judgement.evidence import Evidence, Update, evidence_of, update_atoms
from sopforecast.judgement.groups import Group, group_scalars
from sopforecast.judgement.habits import cell_moments
from sopforecast.judgement.levels import LEVEL, Told, carry_level, claim_levels
from sopforecast.judgement.said import Moves, Said
from sopforecast.judgement.spread import move_sum
from sopforecast.judgement.transport import transport

_OWN_SHARE_FROM = 0.1
_LEAST_VARIANCE = 0.02
_WORTH_THREADS = 1 << 20  # numbers of a group
_MOST_THREADS = 4


def condition(
    draws: np.ndarray, said: Said, *, steps: np.ndarray, seed: int, threads: int | None = None
) -> tuple[list[Moves], np.ndarray]:
    """Fold statements into draws, in place.

    Parameters
    ----------
    draws : ndarray, shape (S, b, H)
        Statistical draws, non-negative multiples of the items' steps; changed in place.
    said : Said
        ``evidence`` statements only.
    steps : ndarray, shape (b,)
    seed : int
        Of the run; randomness belongs to a group by the ids of its statements.
    threads : int, optional
        Groups moved at a time; the bytes are the same with any number.

    Returns
    -------
    moves : list of Moves
        One a group, and one for every ``level`` statement that reaches later months.
    weights : ndarray, shape (K,)
        With which each statement counted on its own, its stated range considered.
    """
    order = said.frame.select(pl.arg_sort_by("override_id", "ds_from")).to_series().to_numpy()
    moves, weights = _condition(draws, said.take(order), steps, seed, threads)
    given = np.empty(len(order))
    given[order] = weights
    return [replace(one, statements=order[one.statements]) for one in moves], given


def _condition(
    draws: np.ndarray, said: Said, steps: np.ndarray, seed: int, threads: int | None
) -> tuple[list[Moves], np.ndarray]:
    """As `condition`, of statements in the order of their ids: no byte depends on another order."""
    _, items, horizon = draws.shape
    groups = group_scalars(said.members, said.months, items=items, horizon=horizon)
    free = np.ones((items, horizon), dtype=bool)
    for group in groups:
        free[group.items, group.months] = False
    weights = np.zeros(len(said.members))
    asked = _asked(said)
    if threads is None:
        cells = max((len(group.items) for group in groups), default=0)  # small ones only queue
        large = len(draws) * cells > _WORTH_THREADS
        threads = min(os.cpu_count() or 1, _MOST_THREADS) if large else 1
    with ThreadPoolExecutor(threads) as pool:  # groups share no cell
        work = [
            pool.submit(_condition_group, draws, said, asked, group, steps, weights, seed)
            for group in groups
        ]
        done = [one.result() for one in work]
        told = [one for _, one in done if one is not None]
        later = [
            pool.submit(carry_level, draws, one, claims, steps=steps)
            for one, claims in zip(told, claim_levels(told, free=free), strict=True)
        ]
        carried = [move for one in later for move in one.result()]
    return [*(move for move, _ in done), *carried], weights


@dataclass(frozen=True)
class _Asked:
    """Statements as arrays and lists (K,), made once for all groups."""

    evidence: Evidence
    names: list[str]
    is_level: np.ndarray
    probability: np.ndarray
    deals: list[str]


def _asked(said: Said) -> _Asked:
    frame = said.frame
    return _Asked(
        evidence=evidence_of(frame),
        names=frame.select(pl.format("{} {}", "override_id", "ds_from")).to_series().to_list(),
        is_level=(frame["reason"] == LEVEL).to_numpy(),
        probability=frame["probability"].to_numpy(),
        deals=frame["event_id"].fill_null(frame["override_id"]).to_list(),
    )


def _condition_group(
    draws: np.ndarray,
    said: Said,
    asked: _Asked,
    group: Group,
    steps: np.ndarray,
    weights: np.ndarray,
    seed: int,
) -> tuple[Moves, Told | None]:
    """Move the cells of one group; what it did, and what its ``level`` statements carry on."""
    rng = series_rng(seed, "judgement", *(asked.names[k] for k in group.scalars))
    has_level = bool(asked.is_level[group.scalars].any())
    cells = draws[:, group.items, group.months]
    mean, variance = cell_moments(cells)
    sums = np.add.reduceat(cells, group.starts[:-1], axis=1)
    before = sums.copy() if has_level else sums
    cell_steps = steps[group.items]
    is_deal = asked.probability[group.scalars] < 1
    moves = np.zeros((sums.shape[1], len(group.scalars)))
    target = sums
    if not is_deal.all():
        line = np.flatnonzero(~is_deal)
        update = update_atoms(
            asked.evidence.take(group.scalars[line]), group.covers[line], sums.var(axis=0, ddof=1)
        )
        weights[group.scalars[line]] = update.weight
        moves[:, line] = update.moves
        target = _new_sums(sums, update, _steps_of_atoms(group, cell_steps), rng)
    if is_deal.any():
        target = target.copy() if target is sums else target
        for k in np.flatnonzero(is_deal).tolist():
            at = int(group.scalars[k])
            weights[at] = max(float(asked.evidence.weight[at]), 0.0)
            moves[:, k] = _strike_deal(
                target,
                group.covers[k],
                size=float(asked.evidence.adjustment[at]),
                chance=min(1.0, float(weights[at] * asked.probability[at])),
                rng=series_rng(seed, "deal", asked.deals[at]),
            )
    for a, (start, end) in enumerate(zip(group.starts[:-1], group.starts[1:], strict=True)):
        part = cells[:, start:end]
        move_sum(
            part,
            target[:, a] - sums[:, a],
            steps=cell_steps[start:end],
            rng=rng,
            mean=mean[start:end],
            variance=variance[start:end],
            out=part,
        )
    draws[:, group.items, group.months] = cells
    shares = _shares_of_cells(group, cells.mean(axis=0) - mean, mean, variance, moves)
    atom = np.repeat(np.arange(len(group.starts) - 1), np.diff(group.starts))
    parts = moves[atom] * shares[:, None]
    own_moves = np.einsum("ka,ak->k", group.covers.astype(np.float64), moves)
    found = Moves(group.scalars, group.items, group.months, parts, own_moves)
    if before is sums:
        return found, None
    change = np.add.reduceat(cells, group.starts[:-1], axis=1) - before
    return found, Told(said.take(group.scalars), group, before, change, moves, rng)


def _new_sums(
    sums: np.ndarray, update: Update, steps: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draws (S, A) of the atoms' sums after the update: dependence from the draws, then margins."""
    from scipy.special import ndtri, stdtrit

    mean = sums.mean(axis=0)
    goal = mean + update.moves.sum(axis=1)
    wider = float(stdtrit(update.tail, 0.9) / ndtri(0.9))  # the 80% range of a t of this scale
    sd = wider * np.sqrt(np.maximum(np.diag(update.covariance), 0.0))
    turned = sums
    if sums.shape[1] > 1:
        seen = sums.std(axis=0)
        apart = _root((sums - mean) / np.where(seen > 0, seen, 1.0))
        values, vectors = np.linalg.eigh(update.covariance)
        turned = apart @ (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    columns = [
        transport(turned[:, a], mean=float(goal[a]), sd=float(sd[a]), step=float(steps[a]), rng=rng)
        for a in range(sums.shape[1])
    ]
    return np.stack(columns, axis=1)


def _root(scaled: np.ndarray) -> np.ndarray:
    """Draws (S, A) made uncorrelated, each atom as like its own as can be.

    Kessy, Lewin and Strimmer (2018), Optimal whitening and decorrelation (ZCA-cor); directions with
    hardly any variance are not blown up.
    """
    values, vectors = np.linalg.eigh(scaled.T @ scaled / len(scaled))
    values = np.maximum(values, _LEAST_VARIANCE * values.max())
    apart: np.ndarray = scaled @ (vectors / np.sqrt(values)) @ vectors.T
    return apart


def _strike_deal(
    target: np.ndarray, covered: np.ndarray, *, size: float, chance: float, rng: np.random.Generator
) -> np.ndarray:
    """Add a deal to its share of the draws, in place; returns what it adds to each atom's mean.

    Its record changes how often it comes, never how large it is: two humps stay two humps. Deals
    of one event share their generator and come together.
    """
    happens = rng.permutation(len(target)) < round(chance * len(target))
    mean = target.mean(axis=0) * covered
    share = mean / mean.sum() if mean.sum() > 0 else covered / covered.sum()
    change: np.ndarray = size * share
    target[happens] += change
    return change * happens.mean()


def _steps_of_atoms(group: Group, steps: np.ndarray) -> np.ndarray:
    """Finest step (A,): what an atom's sum is a multiple of."""
    return np.minimum.reduceat(steps, group.starts[:-1])


def _shares_of_cells(
    group: Group, change: np.ndarray, mean: np.ndarray, variance: np.ndarray, moves: np.ndarray
) -> np.ndarray:
    """Share (C,) of each cell in its atom's move: as it came out; by variance if little moved."""
    first, lengths = group.starts[:-1], np.diff(group.starts)
    moved = np.add.reduceat(change, first)
    enough = np.abs(moved) > _OWN_SHARE_FROM * np.abs(moves).sum(axis=1)
    usual = np.where(np.add.reduceat(variance, first).repeat(lengths) > 0, variance, mean)
    total = np.add.reduceat(usual, first)
    even = usual / np.where(total > 0, total, 1.0).repeat(lengths)
    even = np.where((total > 0).repeat(lengths), even, 1.0 / lengths.repeat(lengths))
    seen = change / np.where(enough, moved, 1.0).repeat(lengths)
    return np.where(enough.repeat(lengths), seen, even)
