"""One month, in reading order: check, cleanse, segment, forecast, reconcile, draw, judge, view.

And its close: what was said of months that are over, and what that says of who said it.

The table of contents of the engine. Pure functions over frames: reading and writing the planning
store happens above.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import polars as pl

from sopforecast.baseline.checks import Result, run_checks
from sopforecast.baseline.cleanse import cleanse, scored_demand
from sopforecast.baseline.components import (
    components_frame,
    residual_paths_frame,
    weights_frame,
)
from sopforecast.baseline.forecast import Baseline, forecast_baseline
from sopforecast.baseline.lifecycle import no_demand_when_closed
from sopforecast.baseline.models import refuse_unknown_models
from sopforecast.baseline.panel import item_panel, node_panel, since_launch
from sopforecast.baseline.record import backtest_by_lead
from sopforecast.baseline.segment import segment
from sopforecast.baseline.simulate import draw_items
from sopforecast.baseline.views import (
    draw_views,
    history_frame,
    naive_frame,
    statistical_frame,
)
from sopforecast.core.executor import executor_for
from sopforecast.core.hierarchy import Hierarchy, build_hierarchy
from sopforecast.core.months import add_months, cutoff
from sopforecast.core.stopwatch import Stopwatch
from sopforecast.errors import RequestError
from sopforecast.judgement.consensus import Known, judge, nobody_spoke
from sopforecast.judgement.credibility import Method, fit_credibility
from sopforecast.judgement.observations import observe
from sopforecast.judgement.stages import statistical_stage
from sopforecast.settings import Settings

Progress = Callable[[str, float], None]


@dataclass(frozen=True, eq=False)
class CycleResult:
    """What one cycle produced; frames are as in ``core.tables`` without ``run_id``.

    Attributes
    ----------
    forecasts : pl.DataFrame
        Stages naive and statistical, every node; where somebody spoke also ``source:<name>`` (the
        nodes it moved), consensus and, with fixed statements, approved.
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
    statements, bridge : pl.DataFrame
        What the overrides said and what it moved; no rows where nobody spoke.
    told : dict of str to tuple of str
        new, carried, changed, expired, in_history, waiting: a sentence an override.
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
    statements: pl.DataFrame
    bridge: pl.DataFrame
    told: dict[str, tuple[str, ...]]


@dataclass(frozen=True, eq=False)
class CloseResult:
    """What a closed month taught.

    Attributes
    ----------
    observations : pl.DataFrame
        ``Observations``: every statement whose months are over.
    credibility : pl.DataFrame
        ``Credibility`` without ``fit_id``; no rows when nothing has closed yet.
    notes : tuple of str
    """

    observations: pl.DataFrame
    credibility: pl.DataFrame
    notes: tuple[str, ...]


def run_cycle(
    history: pl.DataFrame,
    items: pl.DataFrame | None = None,
    *,
    cycle: date,
    settings: Settings,
    overrides: pl.DataFrame | None = None,
    prices: pl.DataFrame | None = None,
    credibility: pl.DataFrame | None = None,
    entered: pl.DataFrame | None = None,
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
    overrides, prices : pl.DataFrame, optional
        ``Overrides`` with ``known_at``, one row an id, and ``Prices``.
    credibility : pl.DataFrame, optional
        ``Credibility`` of one fit; without it everybody has the prior.
    entered : pl.DataFrame, optional
        ``Statements`` of the runs in which living overrides were entered.
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
    clock = Stopwatch(on_progress)
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
    advanced = settings.advanced
    with executor_for(
        len(hierarchy.items), workers=advanced.workers, chunk_size=advanced.chunk_size
    ) as executor:
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
        baseline, ended = no_demand_when_closed(
            baseline, items, cycle=cycle, horizon=settings.horizon
        )
        with clock.stage("draw"):
            drawn = draw_views(
                baseline,
                hierarchy,
                seed=settings.seed,
                draws=settings.advanced.draws,
                executor=executor,
                on_share=lambda share: clock.tell("draw", share),
            )
    statistical = statistical_frame(drawn, baseline, hierarchy, cycle=cycle)
    judged = nobody_spoke(statistical)
    if overrides is not None and overrides.height:
        with clock.stage("judge"):
            since = cutoff(add_months(cycle, -1), cutoff_day=settings.cutoff_day)
            known = Known(scored_demand(cleansed), prices, credibility, entered, since)
            stage = statistical_stage(statistical, drawn.sums, hierarchy, steps=_steps(baseline))
            judged = judge(
                overrides,
                hierarchy,
                stage,
                _drawing(baseline, settings),
                cycle=cycle,
                seed=settings.seed,
                min_closed=settings.advanced.min_closed,
                known=known,
            )
    with clock.stage("view"):
        naive = naive_frame(baseline, hierarchy, cycle=cycle)
        result = CycleResult(
            forecasts=pl.concat([naive, statistical, judged.forecasts]),
            components=components_frame(baseline),
            residual_paths=residual_paths_frame(baseline),
            weights=weights_frame(baseline),
            hierarchy=hierarchy,
            checks=tuple(checks),
            notes=(*baseline.notes, *ended, *judged.notes),
            seconds=clock.seconds,
            history_nodes=history_frame(panel),
            backtest=backtest_by_lead(baseline, len(hierarchy.aggregates)),
            statements=judged.statements,
            bridge=judged.bridge,
            told=judged.told,
        )
    return result


def close_cycle(
    statements: pl.DataFrame,
    history: pl.DataFrame,
    items: pl.DataFrame | None = None,
    *,
    closed: date,
    known_at: datetime,
    settings: Settings,
    method: Method = "closed_form",
    last_good: pl.DataFrame | None = None,
) -> CloseResult:
    """Join the statements of past runs to what came, and learn what their authors are worth.

    Parameters
    ----------
    statements : pl.DataFrame
        ``Statements`` of the runs that count, one run a cycle.
    history, items : pl.DataFrame
        As `run_cycle`; what was known by ``known_at``.
    closed : date
        The month that is closed; later demand is not read.
    method
        ``nuts`` samples; when its draws do not pass their gates, ``last_good`` stays, or else the
        closed form is taken.
    last_good : pl.DataFrame, optional
        ``Credibility`` of the last fit.
    """
    cleansed = cleanse(history, missing=settings.history.missing, last_month=closed)
    hierarchy = _hierarchy(cleansed, items, settings.levels)
    observations, notes = observe(statements, scored_demand(cleansed), hierarchy, closed=closed)
    learned, warnings = fit_credibility(
        observations,
        closed=closed,
        known_at=known_at,
        method=method,
        seed=settings.seed,
        last_good=last_good,
    )
    return CloseResult(observations, learned, (*notes, *warnings))


def _steps(baseline: Baseline) -> np.ndarray:
    return np.array([model.step for model in baseline.models])


def _drawing(baseline: Baseline, settings: Settings) -> Callable[[np.ndarray], np.ndarray]:
    """Indexes of items to their statistical draws: the same bytes as in any other chunk."""

    def drawn(items: np.ndarray) -> np.ndarray:
        models = [baseline.models[i] for i in items]
        pools, draws = baseline.ranges.pools, settings.advanced.draws
        return draw_items(models, pools, seed=settings.seed, draws=draws)

    return drawn


def _hierarchy(
    cleansed: pl.DataFrame, items: pl.DataFrame | None, levels: Sequence[str]
) -> Hierarchy:
    known = cleansed.select(pl.col("unique_id").unique()).sort("unique_id")
    if items is not None and items.height:
        known = known.join(items, on="unique_id", how="left", maintain_order="left")
    return build_hierarchy(known, levels=levels)
