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
from sopforecast.baseline.models import refuse_unknown_models
from sopforecast.baseline.panel import item_panel, node_panel, since_launch
from sopforecast.baseline.record import backtest_by_lead
from sopforecast.baseline.segment import segment
from sopforecast.baseline.views import history_frame, naive_frame, statistical_frame
from sopforecast.core.executor import Executor, open_executor
from sopforecast.core.hierarchy import Hierarchy, build_hierarchy
from sopforecast.core.months import add_months
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
        When no item has a known month of demand, a level is not a column of ``items``, or a model
        named in the settings is not known.
    DataError
        When an item has no place in a declared level.
    """
    refuse_unknown_models(settings.advanced.models)
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
        segments = segment(cleansed)
        launched = since_launch(cleansed, segments)
        panel = node_panel(item_panel(launched, hierarchy.items, last_month=last_month), hierarchy)
        by_item = dict(segments.select("unique_id", "segment").iter_rows())
    with _executor(settings, len(hierarchy.items)) as executor:
        with clock.stage("forecast"):
            baseline = forecast_baseline(
                panel,
                hierarchy,
                tuple(by_item[item] for item in hierarchy.items),
                horizon=settings.horizon,
                seed=settings.seed,
                executor=executor,
                extra_models=settings.advanced.models,
                on_progress=clock.tell,
            )
        baseline, ended = _end_of_life(baseline, items, cycle, settings.horizon)
        with clock.stage("draw"):
            statistical = statistical_frame(
                baseline,
                hierarchy,
                cycle=cycle,
                seed=settings.seed,
                draws=settings.advanced.draws,
                executor=executor,
                on_share=lambda share: clock.tell("draw", share),
            )
    with clock.stage("view"):
        naive = naive_frame(baseline, hierarchy, cycle=cycle)
        result = CycleResult(
            forecasts=pl.concat([naive, statistical]),
            components=components_frame(baseline),
            residual_paths=residual_paths_frame(baseline),
            weights=weights_frame(baseline),
            hierarchy=hierarchy,
            checks=tuple(checks),
            notes=(*baseline.notes, *ended),
            seconds=clock.seconds,
            history_nodes=history_frame(panel),
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
    items_have = "1 item has" if count == 1 else f"{count:,} items have"
    note = f"{items_have} months before a launch or after an end: zero there"
    return replace(baseline, models=tuple(models), reasons=tuple(why)), (note,)
