"""What a stage stores: views of its draws for the nodes it moved, and a plan that adds up.

Only items that somebody spoke of are drawn again; everything else stays as the statistical stage
has it, to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from sopforecast.core.draws import QUANTILES, additive_plan, mean_view, quantile_view
from sopforecast.core.hierarchy import Hierarchy
from sopforecast.core.months import month_range

KEPT_OF_SOURCES = ("p10", "p50", "p90")
_BLOCK = 250


@dataclass(frozen=True)
class Statistical:
    """The statistical stage as judgement needs it.

    Attributes
    ----------
    frame : pl.DataFrame
        ``Forecasts`` rows without ``run_id``, node by node in ``hierarchy.nodes`` order.
    sums : ndarray (S, A, H)
        Draws of the aggregates.
    plan : ndarray (B, H)
        Of the items.
    steps : ndarray (B,)
    """

    frame: pl.DataFrame
    sums: np.ndarray
    plan: np.ndarray
    steps: np.ndarray


@dataclass(frozen=True)
class Stage:
    """One stage: its rows; plan and mean (b, H) of the items that were spoken of."""

    frame: pl.DataFrame
    plan: np.ndarray
    mean: np.ndarray


def statistical_stage(
    frame: pl.DataFrame, sums: np.ndarray, hierarchy: Hierarchy, *, steps: np.ndarray
) -> Statistical:
    """Put the statistical stage together; see `Statistical` for shapes."""
    plan = frame["plan"].to_numpy().reshape(len(hierarchy.nodes), -1)
    return Statistical(frame, sums, plan[len(hierarchy.aggregates) :], steps)


def stage_of(
    name: str,
    draws: np.ndarray,
    before: np.ndarray,
    moved: np.ndarray,
    *,
    items: np.ndarray,
    hierarchy: Hierarchy,
    statistical: Statistical,
    cycle: date,
    whole: bool,
    base: Stage | None = None,
    hold: Callable[[np.ndarray, np.ndarray], None] | None = None,
) -> Stage:
    """Rows of a stage.

    Parameters
    ----------
    name : str
    draws, before : ndarray (S, b, H)
        Of some items, now and at the statistical stage.
    moved : ndarray of bool (b, H)
        Cells that may differ.
    items : ndarray of int (b,)
        Which items they are.
    hierarchy : Hierarchy
    statistical : Statistical
    cycle : date
    whole : bool
        All nodes with all quantiles; else only those that moved, with ``KEPT_OF_SOURCES``.
    base : Stage, optional
        The stage this one starts from; the statistical one when left out. Where the mean of a cell
        has not moved since, its plan stays.
    hold : callable, optional
        Told plan and means (b, H); changes the plan, in place, so that it holds what must hold.
    """
    reached = np.flatnonzero(moved.any(axis=1))
    plan = (statistical.plan[items] if base is None else base.plan).copy()
    means = _means(before)
    if reached.size == 0:  # the stage equals the statistical one, which is not stored twice
        return Stage(statistical.frame.clear(), plan, means)
    mean, quantiles = _views(draws[:, reached])
    change = mean - (means if base is None else base.mean)[reached]
    since = moved[reached] if base is None else change != 0
    plan[reached] = _plan(plan[reached], change, since, statistical.steps[items[reached]])
    means[reached] = mean
    if hold is not None:
        hold(plan, means)
    above = np.unique(hierarchy.codes[:, items[reached]])
    sums = statistical.sums[:, above].copy()
    plan_above = hierarchy.aggregate(statistical.plan)[above]
    for first in range(0, reached.size, _BLOCK):
        block = reached[first : first + _BLOCK]
        apart = draws[:, block] - before[:, block]
        sums += hierarchy.aggregate_block(apart, items[block])[:, above]
        planned = plan[block] - statistical.plan[items[block]]
        plan_above += hierarchy.aggregate_block(planned, items[block])[above]
    of_sums = quantile_view(sums)
    sum_quantiles = np.stack([of_sums[label] for label, _ in QUANTILES])
    nodes = np.concatenate([above, len(hierarchy.aggregates) + items[reached]])
    frame = _rows(
        name,
        [hierarchy.nodes[i] for i in nodes],
        cycle,
        plan=np.concatenate([plan_above, plan[reached]]),
        mean=np.concatenate([sums.sum(axis=0) / len(sums), mean]),
        quantiles=np.concatenate([sum_quantiles, quantiles], axis=1),
    )
    if whole:
        rest = statistical.frame.join(
            frame.select("unique_id").unique(), on="unique_id", how="anti"
        )
        frame = pl.concat([frame, rest.with_columns(stage=pl.lit(name)).select(frame.columns)])
        return Stage(frame, plan, means)
    blank = [label for label, _ in QUANTILES if label not in KEPT_OF_SOURCES]
    nothing = [pl.lit(None, dtype=pl.Float64).alias(label) for label in blank]
    return Stage(frame.with_columns(nothing), plan, means)


def _views(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means (b, H) and quantiles (Q, b, H), some items at a time."""
    means, quantiles = [], []
    for first in range(0, draws.shape[1], _BLOCK):
        block = draws[:, first : first + _BLOCK]
        means.append(mean_view(block))
        view = quantile_view(block)
        quantiles.append(np.stack([view[label] for label, _ in QUANTILES]))
    return np.concatenate(means), np.concatenate(quantiles, axis=1)


def _means(draws: np.ndarray) -> np.ndarray:
    blocks = range(0, draws.shape[1], _BLOCK)
    return np.concatenate([mean_view(draws[:, first : first + _BLOCK]) for first in blocks])


def _plan(
    before: np.ndarray, change: np.ndarray, moved: np.ndarray, steps: np.ndarray
) -> np.ndarray:
    """Plan of the moved cells: the plan there was and what the mean gained; the others keep theirs.

    Items moved in the same months are planned together, so that what rounding takes in one month
    or item it gives in another.
    """
    plan = before.copy()
    wanted = np.maximum(before + change, 0.0)
    patterns, place = np.unique(moved, axis=0, return_inverse=True)
    for p, pattern in enumerate(patterns):
        rows, months = np.flatnonzero(place.ravel() == p), np.flatnonzero(pattern)
        plan[np.ix_(rows, months)] = additive_plan(wanted[np.ix_(rows, months)], steps[rows])
    return plan


def _rows(
    stage: str,
    nodes: list[str],
    cycle: date,
    *,
    plan: np.ndarray,
    mean: np.ndarray,
    quantiles: np.ndarray,
) -> pl.DataFrame:
    horizon = plan.shape[1]
    columns = {label: quantiles[k].ravel() for k, (label, _) in enumerate(QUANTILES)}
    return pl.DataFrame(
        {
            "cycle": pl.Series([cycle]).new_from_index(0, plan.size),
            "stage": pl.Series([stage]).new_from_index(0, plan.size),
            "unique_id": np.repeat(np.array(nodes, dtype=object), horizon).tolist(),
            "ds": month_range(cycle, horizon) * len(nodes),
            "lead": np.tile(np.arange(1, horizon + 1), len(nodes)),
            "plan": plan.ravel(),
            "mean": mean.ravel(),
            **columns,
        }
    )
