"""Draws of a stored run as judgement left them, made again from its ``Statements`` alone.

What a statement counted with stands in its row, and randomness belongs to statements by their ids
and to the run by its seed; so the same draws come out, to the last bit, as when the run was made.
Nothing is learned, priced or rounded anew.

Axes: ``S`` draws, ``B`` items of the run's hierarchy, ``b`` items that somebody spoke of, ``H``
months, ``A`` aggregates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial

import numpy as np
import polars as pl

from sopforecast.core.draws import QUANTILES, additive_plan, mean_view, series_rng
from sopforecast.core.hierarchy import Hierarchy
from sopforecast.core.months import months_between
from sopforecast.judgement.conditioning import condition
from sopforecast.judgement.consensus import APPROVED, CONSENSUS
from sopforecast.judgement.credibility import lookup
from sopforecast.judgement.fixed import Fixed, hold_fixed
from sopforecast.judgement.said import Said
from sopforecast.judgement.stages import Stage, Statistical, stage_of


@dataclass(frozen=True, eq=False)
class RunDraws:
    """The statistical draws of a stored run, and what is needed to make other stages of them.

    Attributes
    ----------
    draws : ndarray (S, B, H)
        Of the items, never changed here.
    hierarchy : Hierarchy
    steps : ndarray (B,)
    seed : int
    cycle : date
    """

    draws: np.ndarray
    hierarchy: Hierarchy
    steps: np.ndarray
    seed: int
    cycle: date


def sources_that_spoke(statements: pl.DataFrame) -> tuple[str, ...]:
    """Sources of the evidence, alphabetically; who only fixed sums is not there."""
    evidence = statements.filter(pl.col("mode") == "evidence")
    return tuple(sorted(set(evidence["source"].to_list())))


def rebuild_stage(
    draws: np.ndarray,
    statements: pl.DataFrame,
    hierarchy: Hierarchy,
    *,
    steps: np.ndarray,
    seed: int,
    cycle: date,
    sources: Sequence[str] | None = None,
    fixed: bool = False,
) -> np.ndarray:
    """Condition statistical draws on what was said in a run.

    Parameters
    ----------
    draws : ndarray (S, B, H)
        Statistical draws of the items, non-negative multiples of their steps; not changed.
    statements : pl.DataFrame
        ``Statements`` of that run, in any order.
    hierarchy : Hierarchy
        Of that run.
    steps : ndarray (B,)
    seed : int
        Of the run.
    cycle : date
        Its first forecast month.
    sources : sequence of str, optional
        Believe only these; None: all of them.
    fixed : bool
        Hold the fixed sums on top.

    Returns
    -------
    ndarray (S, B, H)
        The draws of ``source:<name>`` (one source), ``consensus`` (all) or ``approved`` (all and
        ``fixed``), and of any set of sources between; in the items' units.

    Raises
    ------
    RequestError
        When a node is not in the hierarchy.
    """
    run = RunDraws(draws, hierarchy, steps, seed, cycle)
    items, changed = conditioned(run, statements, sources=sources, fixed=fixed)
    rebuilt = draws.copy()
    rebuilt[:, items] = changed
    return rebuilt


def conditioned(
    run: RunDraws,
    statements: pl.DataFrame,
    *,
    sources: Sequence[str] | None = None,
    fixed: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """As `rebuild_stage`, of the items that somebody spoke of: indexes (b,) and draws (S, b, H)."""
    items, every = _spoken(run, statements)
    draws = _drawn(run, items)
    _believe(run, items, every, draws, sources)
    if fixed:
        _holding(run, items, every)(draws)
    return items, draws


def rebuild_rows(
    stage: str,
    run: RunDraws,
    statements: pl.DataFrame,
    *,
    sources: Sequence[str] | None = None,
    statistical: Statistical | None = None,
) -> pl.DataFrame:
    """Forecasts of a stage, made again; where it moved nothing the statistical stage stands.

    Parameters
    ----------
    stage : str
        ``approved`` holds the fixed sums on top of all evidence; any other name is all evidence of
        ``sources``.
    run : RunDraws
    statements : pl.DataFrame
        ``Statements`` of that run.
    sources : sequence of str, optional
        None: all of them.
    statistical : Statistical, optional
        `statistical_of` the run, where it is at hand.

    Returns
    -------
    pl.DataFrame
        ``Forecasts`` without ``run_id``, with all quantiles, of the nodes that the stage moved; the
        plan adds up with that of all other nodes.
    """
    items, every = _spoken(run, statements)
    before, draws = _drawn(run, items), _drawn(run, items)
    of = partial(
        stage_of, before=before, items=items, hierarchy=run.hierarchy,
        statistical=statistical or statistical_of(run), cycle=run.cycle, whole=True,
    )  # fmt: skip
    _believe(run, items, every, draws, None if stage == APPROVED else sources)
    moved = (draws != before).any(axis=0)
    if stage != APPROVED:
        return of(stage, draws, moved=moved).frame
    consensus: Stage = of(CONSENSUS, draws, moved=moved)
    if not (every.frame["mode"] == "fixed").any():
        return consensus.frame.with_columns(stage=pl.lit(stage))
    hold = _holding(run, items, every)
    hold(draws)
    return of(
        stage,
        draws,
        moved=(draws != before).any(axis=0),
        base=consensus,
        hold=lambda plan, mean: hold(plan[None], mean=mean, variance=mean),
    ).frame


def statistical_of(run: RunDraws) -> Statistical:
    """The statistical stage as judgement needs it; its ``frame`` has columns and no rows."""
    names = {"cycle": pl.Date, "stage": pl.String, "unique_id": pl.String, "ds": pl.Date}
    numbers = ("plan", "mean", *(label for label, _ in QUANTILES))
    schema = {**names, "lead": pl.Int64, **dict.fromkeys(numbers, pl.Float64)}
    plan = additive_plan(mean_view(run.draws), run.steps)
    sums = run.hierarchy.aggregate(run.draws)
    return Statistical(pl.DataFrame(schema=schema), sums, plan, run.steps)


def with_credibility(
    statements: pl.DataFrame, credibility: pl.DataFrame | None, *, min_closed: int
) -> pl.DataFrame:
    """The same statements, weighed with another fit.

    Parameters
    ----------
    statements : pl.DataFrame
        ``Statements`` rows.
    credibility : pl.DataFrame, optional
        ``Credibility`` rows of one fit; None: everybody has the prior.
    min_closed : int
        Opinions a source must have had closed.

    Returns
    -------
    pl.DataFrame
        Rows and columns as given, ``weight`` .. ``prior_only`` replaced; ``counted`` and ``moved``
        still tell of the run.
    """
    found = lookup(credibility, statements, min_closed=min_closed)
    return statements.with_columns(found.get_columns())


def _spoken(run: RunDraws, statements: pl.DataFrame) -> tuple[np.ndarray, Said]:
    """Items (b,) that somebody spoke of, and all statements over them, in order of their ids."""
    rows = statements.sort("override_id", "ds_from")
    below = {node: run.hierarchy.descendants(node) for node in rows["node"].unique()}
    members = [below[node] for node in rows["node"]]
    items = np.unique(np.concatenate([np.empty(0, dtype=np.int64), *members]))
    months = tuple(
        np.arange(months_between(run.cycle, first), months_between(run.cycle, last) + 1)
        for first, last in rows.select("ds_from", "ds_to").iter_rows()
    )
    return items, Said(rows, tuple(np.searchsorted(items, one) for one in members), months)


def _drawn(run: RunDraws, items: np.ndarray) -> np.ndarray:
    """Statistical draws (S, b, H) of some items, laid out as a run has them: sums keep their bytes.

    Always a copy.
    """
    return np.ascontiguousarray(run.draws[:, items])


def _believe(
    run: RunDraws,
    items: np.ndarray,
    every: Said,
    draws: np.ndarray,
    sources: Sequence[str] | None,
) -> None:
    """Fold the evidence of some sources, or of all, into the draws, in place."""
    is_believed = pl.col("mode") == "evidence"
    if sources is not None:
        is_believed &= pl.col("source").is_in(list(sources))
    rows = np.flatnonzero(every.frame.select(is_believed).to_series().to_numpy())
    if rows.size:
        condition(draws, every.take(rows), steps=run.steps[items], seed=run.seed)


def _holding(run: RunDraws, items: np.ndarray, every: Said) -> Callable[..., None]:
    """What holds the fixed sums of a run in draws (S, b, H), in place.

    What was computed was rounded to the coarsest step of its items; what was given as a quantity
    was a multiple of it, or the run had refused it. Rounding gives back either to the last bit.
    """
    steps, frame = run.steps[items], every.frame
    sets = []
    for k in np.flatnonzero((frame["mode"] == "fixed").to_numpy()).tolist():
        step = float(steps[every.members[k]].max())
        value = float(np.rint(float(frame["stated"][k]) / step)) * step
        sets.append(Fixed(frame["override_id"][k], every.members[k], every.months[k], value))
    return partial(hold_fixed, sets=sets, steps=steps, rng_of=partial(series_rng, run.seed))
