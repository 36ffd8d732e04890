"""The statistical part of a month: from cleansed history to views of draws, and what to keep.

Reads cleansed history and items; returns what the cycle joins with other demand. Nothing here
knows of items without a history.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from sopforecast.baseline.components import (
    COMPONENT_COLUMNS,
    MODEL_ERROR_COLUMNS,
    RESIDUAL_PATH_COLUMNS,
    WEIGHT_COLUMNS,
    components_frame,
    model_errors_frame,
    residual_paths_frame,
    weights_frame,
)
from sopforecast.baseline.forecast import NOTHING_LEARNED, Baseline, forecast_baseline
from sopforecast.baseline.known_paths import KnownPaths
from sopforecast.baseline.lifecycle import no_demand_when_closed
from sopforecast.baseline.panel import item_panel, node_panel, since_launch
from sopforecast.baseline.record import BACKTEST_COLUMNS, backtest_by_lead
from sopforecast.baseline.segment import segment
from sopforecast.baseline.simulate import draw_items
from sopforecast.baseline.views import HISTORY_COLUMNS, Drawn, draw_views, history_frame
from sopforecast.core.draws import QUANTILES
from sopforecast.core.executor import executor_for
from sopforecast.core.hierarchy import Hierarchy
from sopforecast.core.learning_tables import Learned, ModelPaths, empty
from sopforecast.core.months import add_months
from sopforecast.core.stopwatch import Stopwatch
from sopforecast.settings import Settings


@dataclass(frozen=True, eq=False)
class BaselineMonth:
    """What the models say of the items that have a history.

    Attributes
    ----------
    hierarchy : Hierarchy
        Of these items alone.
    baseline : Baseline or None
        None where no item has a history.
    drawn : Drawn
    naive : ndarray (B, H)
        Seasonal naive, not below zero.
    history_nodes, components, residual_paths, weights, backtest : pl.DataFrame
        As `cycle.CycleResult` has them, without ``run_id``.
    model_errors : pl.DataFrame
        segment, model, relative_error (error at past origins over that of the segment's best
        model), origins, series and cells behind the segment's errors.
    model_paths : pl.DataFrame
        ``ModelPaths`` without ``run_id``: what was fitted, and all of the end of history.
    notes : tuple of str
    """

    hierarchy: Hierarchy
    baseline: Baseline | None
    drawn: Drawn
    naive: np.ndarray
    history_nodes: pl.DataFrame
    components: pl.DataFrame
    residual_paths: pl.DataFrame
    weights: pl.DataFrame
    backtest: pl.DataFrame
    model_errors: pl.DataFrame
    model_paths: pl.DataFrame
    notes: tuple[str, ...]

    @property
    def steps(self) -> np.ndarray:
        """Step of each item (B,)."""
        models = () if self.baseline is None else self.baseline.models
        return np.array([model.step for model in models])

    def draw(self, items: np.ndarray, *, settings: Settings) -> np.ndarray:
        """Draws (S, b, H) of some items, by index: the same bytes as in any other chunk."""
        if self.baseline is None:
            raise ValueError("items: no item has a history")
        models = [self.baseline.models[i] for i in items]
        pools, draws = self.baseline.ranges.pools, settings.advanced.draws
        return draw_items(models, pools, seed=settings.seed, draws=draws)


def baseline_month(
    cleansed: pl.DataFrame,
    items: pl.DataFrame | None,
    hierarchy: Hierarchy,
    *,
    cycle: date,
    settings: Settings,
    clock: Stopwatch,
    learned: Learned = NOTHING_LEARNED,
    known: KnownPaths | None = None,
) -> BaselineMonth:
    """Segment, forecast, reconcile and draw every item of the hierarchy.

    Parameters
    ----------
    cleansed : pl.DataFrame
        Of these items; see `cleanse.cleanse`.
    items : pl.DataFrame, optional
        ``Items``: launch, end and status.
    hierarchy : Hierarchy
    cycle : date
    settings : Settings
    clock : Stopwatch
        Stages forecast and draw are told and timed.
    learned : Learned
        Weights and widths from closed months; without them everything is of the backtest.
    known : KnownPaths, optional
        What need not be fitted; what is fitted is added to it. Results have the same bytes.
    """
    segments = segment(cleansed)
    launched = since_launch(cleansed, segments)
    last_month = add_months(cycle, -1)
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
                extra_models=advanced.models,
                launched=launched,
                learned=learned,
                known=known,
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
                draws=advanced.draws,
                executor=executor,
                on_share=lambda share: clock.tell("draw", share),
            )
    return BaselineMonth(
        hierarchy=hierarchy,
        baseline=baseline,
        drawn=drawn,
        naive=np.maximum(baseline.fitted.naive[len(hierarchy.aggregates) :], 0.0),
        history_nodes=history_frame(panel),
        components=components_frame(baseline),
        residual_paths=residual_paths_frame(baseline),
        weights=weights_frame(baseline),
        backtest=backtest_by_lead(baseline, len(hierarchy.aggregates)),
        model_errors=model_errors_frame(baseline),
        model_paths=baseline.fitted.model_paths,
        notes=(*baseline.notes, *ended),
    )


def no_baseline(*, horizon: int, draws: int) -> BaselineMonth:
    """The same where no item has a history: nothing to add."""
    nothing = np.empty((0, horizon))
    return BaselineMonth(
        hierarchy=Hierarchy((), (), (), np.empty((0, 0), dtype=np.int64)),
        baseline=None,
        drawn=Drawn(nothing, np.empty((len(QUANTILES), 0, horizon)), np.empty((draws, 0, horizon))),
        naive=nothing,
        history_nodes=pl.DataFrame(schema=HISTORY_COLUMNS),
        components=pl.DataFrame(schema=COMPONENT_COLUMNS),
        residual_paths=pl.DataFrame(schema=RESIDUAL_PATH_COLUMNS),
        weights=pl.DataFrame(schema=WEIGHT_COLUMNS),
        backtest=pl.DataFrame(schema=BACKTEST_COLUMNS),
        model_errors=pl.DataFrame(schema=MODEL_ERROR_COLUMNS),
        model_paths=empty(ModelPaths, without="run_id"),
        notes=(),
    )
