"""One month, in reading order: check, cleanse, segment, forecast, reconcile, draw, view.

The table of contents of the engine. Pure functions over frames: reading and writing the planning
store happens above.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import polars as pl

from sopforecast.baseline.checks import Result, run_checks
from sopforecast.baseline.cleanse import cleanse
from sopforecast.baseline.components import (
    components_frame,
    residual_paths_frame,
    weights_frame,
)
from sopforecast.baseline.forecast import Baseline, forecast_baseline
from sopforecast.baseline.lifecycle import months_without_demand
from sopforecast.baseline.panel import Panel, item_panel, node_panel
from sopforecast.baseline.record import backtest_by_lead
from sopforecast.baseline.segment import segment
from sopforecast.baseline.simulate import Pools, view_chunk
from sopforecast.core.draws import QUANTILES, additive_plan, quantile_view
from sopforecast.core.executor import Executor, map_chunks, open_executor
from sopforecast.core.hierarchy import Hierarchy, build_hierarchy
from sopforecast.core.months import add_months, month_range
from sopforecast.errors import RequestError
from sopforecast.settings import Settings

ITEMS_WORTH_A_POOL = 400  # below, starting worker processes takes longer than it saves

Progress = Callable[[str, float], None]


@dataclass(frozen=True, eq=False)
class CycleResult:
    """What one cycle produced; frames are as in ``core.tables`` without ``run_id``.

    Attributes
    ----------
    forecasts : pl.DataFrame
        Stages naive and statistical, every node.
    components, residual_paths, weights : pl.DataFrame
        Enough to rebuild the draws (``baseline.components``).
    hierarchy : Hierarchy
    checks : tuple of Result
    notes : tuple of str
        What a reader of the run must know.
    seconds : dict of str to float
        By stage.
    history_nodes : pl.DataFrame
        unique_id, ds, y of every node as scored.
    backtest : pl.DataFrame
        lead, wmape, bias_percent, coverage80 of the items at past origins.
    """

    forecasts: pl.DataFrame
    components: pl.DataFrame
    residual_paths: pl.DataFrame
    weights: pl.DataFrame
    hierarchy: Hierarchy
    checks: tuple[Result, ...]
    notes: tuple[str, ...]
    seconds: dict[str, float]
    history_nodes: pl.DataFrame
    backtest: pl.DataFrame


def run_cycle(
    history: pl.DataFrame,
    items: pl.DataFrame | None = None,
    *,
    cycle: date,
    settings: Settings,
    on_progress: Progress | None = None,
) -> CycleResult:
    """Forecast one cycle from the rows known by its cut-off.

    Parameters
    ----------
    history : pl.DataFrame
        ``History`` rows. Rows of the cycle's own months and partial ones are left out.
    items : pl.DataFrame, optional
        ``Items`` rows with their level columns; without them every item stands under the total.
    cycle : date
        First forecast month.
    settings : Settings
    on_progress : callable, optional
        Told the stage and the share of it that is done.

    Raises
    ------
    RequestError
        When no item has a known month of demand, or a level is not a column of ``items``.
    DataError
        When an item has no place in a declared level.
    """
    clock = _Clock(on_progress)
    last_month = add_months(cycle, -1)
    with clock.stage("check"):
        checks = run_checks(
            history,
            items,
            last_month=last_month,
            levels=settings.levels,
            missing=settings.history.missing,
        )
    with clock.stage("cleanse"):
        cleansed = cleanse(history, missing=settings.history.missing, last_month=last_month)
        if cleansed.height == 0:
            raise RequestError(
                f"no item has a known month of demand up to {last_month:%Y-%m}; load history first"
            )
        hierarchy = _hierarchy(cleansed, items, settings.levels)
        segments = _segments(cleansed, hierarchy)
        panel = node_panel(item_panel(cleansed, hierarchy.items, last_month=last_month), hierarchy)
    with _executor(settings, len(hierarchy.items)) as executor:
        with clock.stage("forecast"):
            baseline = forecast_baseline(
                panel,
                hierarchy,
                segments,
                horizon=settings.horizon,
                seed=settings.seed,
                executor=executor,
                extra_models=settings.advanced.models,
                on_progress=clock.tell,
            )
        baseline, ended = _end_of_life(baseline, items, cycle, settings.horizon)
        with clock.stage("draw"):
            statistical = _statistical(baseline, hierarchy, cycle, settings, executor, clock)
    with clock.stage("view"):
        naive = _naive(baseline, hierarchy, cycle)
        result = CycleResult(
            forecasts=pl.concat([naive, statistical]),
            components=components_frame(baseline),
            residual_paths=residual_paths_frame(baseline),
            weights=weights_frame(baseline),
            hierarchy=hierarchy,
            checks=tuple(checks),
            notes=(*baseline.notes, *ended),
            seconds=clock.seconds,
            history_nodes=_history_frame(panel),
            backtest=backtest_by_lead(baseline, len(hierarchy.aggregates)),
        )
    return result


class _Clock:
    """Seconds by stage, and progress passed on."""

    def __init__(self, on_progress: Progress | None) -> None:
        self.seconds: dict[str, float] = {}
        self._on_progress = on_progress

    def tell(self, stage: str, done: float) -> None:
        if self._on_progress:
            self._on_progress(stage, done)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        self.tell(name, 0.0)
        yield
        self.seconds[name] = time.perf_counter() - started
        self.tell(name, 1.0)


@contextmanager
def _executor(settings: Settings, items: int) -> Iterator[Executor]:
    workers = settings.advanced.workers
    if workers == 0:
        workers = 1 if items < ITEMS_WORTH_A_POOL else (os.cpu_count() or 1)
    with open_executor(workers, settings.advanced.chunk_size) as executor:
        yield executor


def _hierarchy(
    cleansed: pl.DataFrame, items: pl.DataFrame | None, levels: Sequence[str]
) -> Hierarchy:
    known = cleansed.select(pl.col("unique_id").unique()).sort("unique_id")
    if items is not None and items.height:
        known = known.join(items, on="unique_id", how="left", maintain_order="left")
    return build_hierarchy(known, levels=levels)


def _segments(cleansed: pl.DataFrame, hierarchy: Hierarchy) -> tuple[str, ...]:
    found = segment(cleansed)
    by_item = dict(zip(found["unique_id"], found["segment"], strict=True))
    return tuple(by_item[item] for item in hierarchy.items)


def _end_of_life(
    baseline: Baseline, items: pl.DataFrame | None, cycle: date, horizon: int
) -> tuple[Baseline, tuple[str, ...]]:
    """No demand after an item's end or before its launch."""
    names = [model.unique_id for model in baseline.models]
    closed, reasons = months_without_demand(items, names, cycle=cycle, horizon=horizon)
    if not closed.any():
        return baseline, ()
    models, why = list(baseline.models), list(baseline.reasons)
    for i in np.flatnonzero(closed.any(axis=1)):
        centre = np.where(closed[i], 0.0, models[i].centre)
        spread = np.where(closed[i], 0.0, models[i].spread)
        kind = "zero" if closed[i].all() else models[i].kind
        models[i] = replace(models[i], centre=centre, spread=spread, kind=kind)
        why[i] = "; ".join(filter(None, [reasons[i], why[i]]))
    count = int(closed.any(axis=1).sum())
    note = f"{count} items have months before their launch or after their end: zero there"
    return replace(baseline, models=tuple(models), reasons=tuple(why)), (note,)


def _statistical(
    baseline: Baseline,
    hierarchy: Hierarchy,
    cycle: date,
    settings: Settings,
    executor: Executor,
    clock: _Clock,
) -> pl.DataFrame:
    """Draw every item chunk by chunk, keep views and the draws of the aggregates."""
    draws, horizon = settings.advanced.draws, settings.horizon
    ranges = baseline.ranges
    pools = Pools(
        tuple(pool.paths for pool in ranges.common),
        {name: pool.paths for name, pool in ranges.own.items()},
    )
    done = 0

    def on_done(count: int) -> None:
        nonlocal done
        done += count
        clock.tell("draw", done / len(baseline.models))

    views = map_chunks(
        view_chunk,
        baseline.models,
        pools,
        hierarchy,
        settings.seed,
        draws,
        executor=executor,
        on_done=on_done,
    )
    sums = np.zeros((draws, len(hierarchy.aggregates), horizon))
    for view in views:
        sums[:, view.touched] += view.sums
    item_mean = np.concatenate([view.mean for view in views])
    item_quantiles = np.concatenate([view.quantiles for view in views], axis=1)
    steps = np.array([model.step for model in baseline.models])
    plan = additive_plan(item_mean, steps)
    of_sums = quantile_view(sums)
    quantiles = np.concatenate(
        [np.stack([of_sums[label] for label, _ in QUANTILES]), item_quantiles], axis=1
    )
    return _forecast_frame(
        "statistical",
        hierarchy,
        cycle,
        plan=np.concatenate([hierarchy.aggregate(plan), plan]),
        mean=np.concatenate([sums.sum(axis=0) / draws, item_mean]),
        quantiles=quantiles,
    )


def _naive(baseline: Baseline, hierarchy: Hierarchy, cycle: date) -> pl.DataFrame:
    """Seasonal naive of the items and their sums: the stage value is measured against."""
    paths = np.maximum(baseline.fitted.naive[len(hierarchy.aggregates) :], 0.0)
    steps = np.array([model.step for model in baseline.models])
    plan = additive_plan(paths, steps)
    return _forecast_frame(
        "naive",
        hierarchy,
        cycle,
        plan=np.concatenate([hierarchy.aggregate(plan), plan]),
        mean=np.concatenate([hierarchy.aggregate(paths), paths]),
        quantiles=None,
    )


def _forecast_frame(
    stage: str,
    hierarchy: Hierarchy,
    cycle: date,
    *,
    plan: np.ndarray,
    mean: np.ndarray,
    quantiles: np.ndarray | None,
) -> pl.DataFrame:
    """Arrays (N, H), and quantiles (Q, N, H), as rows of ``Forecasts`` without ``run_id``."""
    nodes, horizon = plan.shape
    months = month_range(cycle, horizon)
    values = {
        label: pl.Series([None], dtype=pl.Float64).new_from_index(0, plan.size)
        if quantiles is None
        else quantiles[k].ravel()
        for k, (label, _) in enumerate(QUANTILES)
    }
    return pl.DataFrame(
        {
            "cycle": pl.Series([cycle]).new_from_index(0, plan.size),
            "stage": pl.Series([stage]).new_from_index(0, plan.size),
            "unique_id": np.repeat(np.array(hierarchy.nodes, dtype=object), horizon).tolist(),
            "ds": months * nodes,
            "lead": np.tile(np.arange(1, horizon + 1), nodes),
            "plan": plan.ravel(),
            "mean": mean.ravel(),
            **values,
        }
    )


def _history_frame(panel: Panel) -> pl.DataFrame:
    width = panel.y.shape[1]
    months = month_range(add_months(panel.last_month, 1 - width), width)
    frame = pl.DataFrame(
        {
            "unique_id": np.repeat(np.array(panel.nodes, dtype=object), width).tolist(),
            "ds": months * len(panel.nodes),
            "y": panel.scored.ravel(),
        }
    )
    return frame.filter(pl.col("y").is_not_nan())
