"""The month's judgement in reading order: live overrides, statements, evidence, stages, bridge.

From the statistical stage and what people said to the stages ``source:<name>``, ``consensus`` and
``approved``. Every source is also believed alone, so that its worth can be measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import partial

import dataframely as dy
import numpy as np
import polars as pl

from sopforecast.core.draws import series_rng
from sopforecast.core.evidence_tables import Bridge, Statements
from sopforecast.core.hierarchy import Hierarchy
from sopforecast.judgement.bridge import bridge_frame, moved_by_statement, source_parts
from sopforecast.judgement.conditioning import condition
from sopforecast.judgement.credibility import lookup
from sopforecast.judgement.fixed import Fixed, fixed_sets, hold_fixed
from sopforecast.judgement.money import is_money, prices_of
from sopforecast.judgement.overrides import (
    Live,
    Scalars,
    live_overrides,
    scalars_of,
    state_quantities,
)
from sopforecast.judgement.said import Said
from sopforecast.judgement.stages import Stage, Statistical, stage_of
from sopforecast.judgement.telling import in_history, told

CONSENSUS, APPROVED = "consensus", "approved"


@dataclass(frozen=True)
class Known:
    """What is known beside the overrides.

    Attributes
    ----------
    history, prices : pl.DataFrame, optional
        Demand of the items before the cycle (unique_id, ds, y), and ``Prices``.
    credibility : pl.DataFrame, optional
        ``Credibility`` rows of one fit.
    entered : pl.DataFrame, optional
        ``Statements`` of earlier runs.
    previous_known_by : datetime, optional
        Cut-off of the cycle before.
    """

    history: pl.DataFrame | None = None
    prices: pl.DataFrame | None = None
    credibility: pl.DataFrame | None = None
    entered: pl.DataFrame | None = None
    previous_known_by: datetime | None = None


@dataclass(frozen=True)
class Judged:
    """What judgement made of a run; frames without ``run_id``.

    Attributes
    ----------
    forecasts, statements, bridge : pl.DataFrame
        Stages beside naive and statistical; none where nobody spoke.
    told : dict of str to tuple of str
        new, carried, changed, expired, in_history, waiting: a sentence an override.
    notes : tuple of str
    """

    forecasts: pl.DataFrame
    statements: pl.DataFrame
    bridge: pl.DataFrame
    told: dict[str, tuple[str, ...]]
    notes: tuple[str, ...]


def judge(
    overrides: pl.DataFrame,
    hierarchy: Hierarchy,
    statistical: Statistical,
    draw_items: Callable[[np.ndarray], np.ndarray],
    *,
    cycle: date,
    seed: int,
    min_closed: int,
    known: Known,
) -> Judged:
    """Fold what people said into the statistical draws.

    Parameters
    ----------
    overrides : pl.DataFrame
        ``Overrides`` with ``known_at``, one row an id.
    hierarchy : Hierarchy
    statistical : Statistical
    draw_items : callable
        Indexes (b,) of items to their statistical draws (S, b, H).
    cycle : date
    seed : int
        Of the run.
    min_closed : int
        Opinions a source must have had closed before its own record counts.
    known : Known

    Raises
    ------
    RequestError
        A node that is not there, money without a price, or fixed sums that cannot all hold.
    """
    horizon = statistical.plan.shape[1]
    live = live_overrides(
        overrides, cycle=cycle, horizon=horizon, previous_known_by=known.previous_known_by
    )
    scalars = scalars_of(
        live.rows,
        hierarchy,
        cycle=cycle,
        horizon=horizon,
        history=known.history,
        prices=known.prices,
    )
    if scalars.frame.height == 0:
        return _nothing(live, scalars, statistical)
    items = np.unique(np.concatenate(scalars.members))
    before = draw_items(items)
    frame = _stated(scalars, hierarchy, statistical, before, items, known, min_closed)
    members = tuple(np.searchsorted(items, one) for one in scalars.members)
    every = Said(frame, members, scalars.months)
    room = _Room(items, before, hierarchy, statistical, cycle, seed)
    evidence = np.flatnonzero((frame["mode"] == "evidence").to_numpy())
    said = every.take(evidence)
    sources = sorted(set(said.frame["source"].to_list()))
    frames = [room.alone(said, source) for source in sources if len(sources) > 1]
    draws = before.copy()
    moves, counted = condition(draws, said, steps=statistical.steps[items], seed=seed)
    moved = _moved(draws, before)
    consensus = room.stage(CONSENSUS, draws, moved, whole=True)
    if len(sources) == 1:
        alone = room.stage(f"source:{sources[0]}", draws, moved, whole=False)
        frames.append(alone.frame)
    frames.append(consensus.frame)
    approved = None
    sets = fixed_sets(frame, scalars, statistical.steps)
    if sets:
        held = [_among(items, one) for one in sets]
        hold = partial(
            hold_fixed, sets=held, steps=statistical.steps[items], rng_of=partial(series_rng, seed)
        )
        hold(draws)
        stage = room.stage(
            APPROVED,
            draws,
            _moved(draws, before),
            whole=True,
            base=consensus,
            hold=lambda plan, mean: hold(plan[None], mean=mean, variance=mean),
        )
        frames.append(stage.frame)
        approved = stage.plan
    parts = source_parts(moves, said, sources=sources, shape=moved.shape)
    bridge = bridge_frame(
        parts,
        sources=sources,
        items=items,
        hierarchy=hierarchy,
        statistical=statistical.plan,
        consensus=consensus.plan,
        approved=approved,
        cycle=cycle,
    )
    full_moved, full_counted = np.zeros(frame.height), np.ones(frame.height)
    full_moved[evidence] = moved_by_statement(moves, evidence.size)
    full_counted[evidence] = counted
    frame = frame.with_columns(
        cycle=pl.lit(cycle), counted=pl.Series(full_counted), moved=pl.Series(full_moved)
    )
    return Judged(
        pl.concat(frames),
        frame.select(list(_columns(Statements))),
        bridge,
        told(live, frame),
        scalars.notes,
    )


def nobody_spoke(statistical: pl.DataFrame) -> Judged:
    """No stages, no statements, no bridge: there is nothing but the statistical stage."""
    statements, bridge = (pl.DataFrame(schema=_columns(t)) for t in (Statements, Bridge))
    return Judged(statistical.clear(), statements, bridge, {}, ())


@dataclass(frozen=True)
class _Room:
    """Where stages of one run are made."""

    items: np.ndarray
    before: np.ndarray
    hierarchy: Hierarchy
    statistical: Statistical
    cycle: date
    seed: int

    def stage(
        self,
        name: str,
        draws: np.ndarray,
        moved: np.ndarray,
        *,
        whole: bool,
        base: Stage | None = None,
        hold: Callable[[np.ndarray, np.ndarray], None] | None = None,
    ) -> Stage:
        """Rows and plan of a stage made of these draws."""
        return stage_of(
            name, draws, self.before, moved, items=self.items, hierarchy=self.hierarchy,
            statistical=self.statistical, cycle=self.cycle, whole=whole, base=base,
            hold=hold,
        )  # fmt: skip

    def alone(self, said: Said, source: str) -> pl.DataFrame:
        """Stage of one source: the statistical draws believing nobody else."""
        own = said.take(np.flatnonzero((said.frame["source"] == source).to_numpy()))
        draws = self.before.copy()
        steps = self.statistical.steps[self.items]
        condition(draws, own, steps=steps, seed=self.seed)
        moved = _moved(draws, self.before)
        return self.stage(f"source:{source}", draws, moved, whole=False).frame


def _stated(
    scalars: Scalars,
    hierarchy: Hierarchy,
    statistical: Statistical,
    draws: np.ndarray,
    items: np.ndarray,
    known: Known,
    min_closed: int,
) -> pl.DataFrame:
    """Statements beside the statistical draws of the same sums, with the credibility they have."""
    place = np.searchsorted(items, np.arange(len(hierarchy.items)))
    position = {node: i for i, node in enumerate(hierarchy.nodes)}
    mean, sd = np.empty(scalars.frame.height), np.empty(scalars.frame.height)
    for k, node in enumerate(scalars.frame["node"]):
        at, months = position[node], scalars.months[k]
        item = at - len(hierarchy.aggregates)
        paths = statistical.sums[:, at] if item < 0 else draws[:, place[item]]
        z = paths[:, months].sum(axis=1)
        mean[k], sd[k] = z.mean(), z.std(ddof=1)
    step = np.array([statistical.steps[members].min() for members in scalars.members])
    money = scalars.frame.select(is_money()).to_series().to_list()
    price = None
    if any(money):
        weights = [
            draws[:, place[members]][:, :, months].mean(axis=0) if needed else None
            for members, months, needed in zip(scalars.members, scalars.months, money, strict=True)
        ]
        price = prices_of(scalars, known.prices, items=hierarchy.items, weights=weights)
    frame = state_quantities(scalars.frame, mean=mean, sd=sd, step=step, price=price)
    flagged, at_entry = in_history(frame, known.entered)
    frame = frame.with_columns(
        in_history=pl.Series(flagged), baseline_at_entry=pl.Series(at_entry).fill_nan(None)
    )
    credibility = lookup(known.credibility, frame, min_closed=min_closed)
    return pl.concat([frame, credibility], how="horizontal")


def _moved(draws: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Cells (b, H) that differ in any draw."""
    moved = np.zeros(draws.shape[1:], dtype=bool)
    for path, old in zip(draws, before, strict=True):
        moved |= path != old
    return moved


def _among(items: np.ndarray, one: Fixed) -> Fixed:
    """The same sum, its members counted among the items spoken of."""
    return replace(one, members=np.searchsorted(items, one.members))


def _nothing(live: Live, scalars: Scalars, statistical: Statistical) -> Judged:
    """Nobody spoke of these months; what has expired or waits is told all the same."""
    frame = state_quantities(
        scalars.frame, mean=np.empty(0), sd=np.empty(0), step=np.empty(0)
    ).with_columns(in_history=pl.lit(False), baseline_at_entry=pl.lit(None, dtype=pl.Float64))
    return replace(nobody_spoke(statistical.frame), told=told(live, frame), notes=scalars.notes)


def _columns(table: type[dy.Schema]) -> dict[str, pl.DataType]:
    return {name: c.dtype for name, c in table.columns().items() if name != "run_id"}
