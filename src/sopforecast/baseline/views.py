"""From a baseline to rows of ``Forecasts``: draw, keep the views, plan so that it adds up.

The draws themselves are never kept. Items are drawn chunk by chunk; a chunk leaves its quantiles
and means, and its part of the draws of every aggregate it touches. Sums are exact, so chunks may
come in any size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from sopforecast.baseline.forecast import Baseline
from sopforecast.baseline.panel import Panel
from sopforecast.baseline.simulate import view_chunk
from sopforecast.core.draws import QUANTILES, additive_plan, quantile_view
from sopforecast.core.executor import Executor, map_chunks
from sopforecast.core.hierarchy import Hierarchy
from sopforecast.core.joining import Part
from sopforecast.core.months import add_months, month_range

HISTORY_COLUMNS = {"unique_id": pl.String, "ds": pl.Date, "y": pl.Float64}


@dataclass(frozen=True)
class Drawn:
    """What is kept of the draws.

    Attributes
    ----------
    mean, quantiles : ndarray (B, H), (Q, B, H)
        Of the items.
    sums : ndarray (S, A, H)
        Draws of the aggregates.
    """

    mean: np.ndarray
    quantiles: np.ndarray
    sums: np.ndarray


def draw_views(
    baseline: Baseline,
    hierarchy: Hierarchy,
    *,
    seed: int,
    draws: int,
    executor: Executor,
    on_share: Callable[[float], None],
) -> Drawn:
    """Draw every item once, chunk by chunk.

    Parameters
    ----------
    baseline : Baseline
    hierarchy : Hierarchy
        Its items in the order of ``baseline.models``.
    seed, draws : int
        Of the run.
    executor : Executor
    on_share : callable
        Told the share of the items that is drawn.
    """
    done = 0

    def on_done(count: int) -> None:
        nonlocal done
        done += count
        on_share(done / len(baseline.models))

    views = map_chunks(
        view_chunk,
        baseline.models,
        baseline.ranges.pools,
        hierarchy,
        seed,
        draws,
        executor=executor,
        on_done=on_done,
    )
    mean = np.concatenate([view.mean for view in views])
    sums = np.zeros((draws, len(hierarchy.aggregates), mean.shape[1]))
    for view in views:
        sums[:, view.touched] += view.sums
    return Drawn(mean, np.concatenate([view.quantiles for view in views], axis=1), sums)


def statistical_frame(
    drawn: Drawn | Part, steps: np.ndarray, hierarchy: Hierarchy, *, cycle: date
) -> pl.DataFrame:
    """Stage ``statistical`` of every node: ``Forecasts`` without ``run_id``, in its unit.

    ``steps`` (B,) are those of the items.
    """
    of_sums = quantile_view(drawn.sums)
    sum_quantiles = np.stack([of_sums[label] for label, _ in QUANTILES])
    return _forecast_frame(
        "statistical",
        steps,
        hierarchy,
        cycle,
        plan_for=drawn.mean,
        mean=np.concatenate([drawn.sums.sum(axis=0) / len(drawn.sums), drawn.mean]),
        quantiles=np.concatenate([sum_quantiles, drawn.quantiles], axis=1),
    )


def naive_frame(
    naive: np.ndarray, steps: np.ndarray, hierarchy: Hierarchy, *, cycle: date
) -> pl.DataFrame:
    """Stage ``naive``, what value is measured against, of the items (B, H) and their sums.

    Rows as in `statistical_frame`, without quantiles.
    """
    return _forecast_frame(
        "naive",
        steps,
        hierarchy,
        cycle,
        plan_for=naive,
        mean=np.concatenate([hierarchy.aggregate(naive), naive]),
        quantiles=None,
    )


def history_frame(panel: Panel) -> pl.DataFrame:
    """unique_id, ds, y of every node and month whose demand is known, as it is scored."""
    width = panel.y.shape[1]
    months = month_range(add_months(panel.last_month, 1 - width), width)
    frame = pl.DataFrame(
        {
            "unique_id": np.repeat(np.array(panel.nodes, dtype=object), width).tolist(),
            "ds": months * len(panel.nodes),
            "y": panel.scored.ravel(),
        }
    )
    return frame.filter(pl.col("y").is_not_nan()).cast(HISTORY_COLUMNS)  # type: ignore[arg-type]


def history_of(
    history_nodes: pl.DataFrame, scored: pl.DataFrame, hierarchy: Hierarchy
) -> pl.DataFrame:
    """Add items that are scored, and not fitted, to the history of nodes.

    Parameters
    ----------
    history_nodes : pl.DataFrame
        As `history_frame` makes it, of the items that are fitted.
    scored : pl.DataFrame
        unique_id, ds, y of the others; months that are not known count for nothing.
    hierarchy : Hierarchy
        Of all items.
    """
    known = scored.drop_nulls("y").select(pl.col(n).cast(t) for n, t in HISTORY_COLUMNS.items())
    if known.is_empty():
        return history_nodes
    place = {item: k for k, item in enumerate(hierarchy.items)}
    above = [
        known.filter(pl.col("unique_id") == item).with_columns(
            unique_id=pl.lit(hierarchy.aggregates[code])
        )
        for item in known["unique_id"].unique(maintain_order=True)
        for code in hierarchy.codes[:, place[item]]
    ]
    every = pl.concat([history_nodes, known, *above]).group_by("unique_id", "ds").agg(pl.sum("y"))
    order = {node: k for k, node in enumerate(hierarchy.nodes)}
    ranked = every.with_columns(_at=pl.col("unique_id").replace_strict(order, default=len(order)))
    return ranked.sort("_at", "ds").drop("_at")


def _forecast_frame(
    stage: str,
    steps: np.ndarray,
    hierarchy: Hierarchy,
    cycle: date,
    *,
    plan_for: np.ndarray,
    mean: np.ndarray,
    quantiles: np.ndarray | None,
) -> pl.DataFrame:
    """Item means (B, H) to plan, means (N, H) and quantiles (Q, N, H), as rows of one stage."""
    plan = additive_plan(plan_for, steps)
    plan = np.concatenate([hierarchy.aggregate(plan), plan])
    nodes, horizon = plan.shape
    nothing = pl.Series([None], dtype=pl.Float64).new_from_index(0, plan.size)
    values = {
        label: nothing if quantiles is None else quantiles[k].ravel()
        for k, (label, _) in enumerate(QUANTILES)
    }
    return pl.DataFrame(
        {
            "cycle": pl.Series([cycle]).new_from_index(0, plan.size),
            "stage": pl.Series([stage]).new_from_index(0, plan.size),
            "unique_id": np.repeat(np.array(hierarchy.nodes, dtype=object), horizon).tolist(),
            "ds": month_range(cycle, horizon) * nodes,
            "lead": np.tile(np.arange(1, horizon + 1), nodes),
            "plan": plan.ravel(),
            "mean": mean.ravel(),
            **values,
        }
    )
