"""The runs that forecast a month, what they stored of it, and its demand as it is known.

Axes: ``N`` nodes of a run's hierarchy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime

import numpy as np
import polars as pl

from sopforecast.clinical.inputs import ClinicalInputs
from sopforecast.clinical.overlap import demand_since
from sopforecast.core.learning_tables import ANY
from sopforecast.core.months import months_between
from sopforecast.learning.actuals import Demand, actuals_of, demand_of, of_nodes
from sopforecast.learning.ladder import STATISTICAL
from sopforecast.planning_store.counting import counting_runs
from sopforecast.planning_store.run_outputs import read_forecasts_of_month, read_horizons
from sopforecast.planning_store.store import Store
from sopforecast.settings import Settings
from sopforecast.workflow.shelf import Shelf
from sopforecast.workflow.stage_views import LABELS, PLAN, columns_of
from sopforecast.workflow.stored_run import StoredRun

CELL_COLUMNS = {
    **dict.fromkeys(("ds", "cycle"), pl.Date),
    "run_id": pl.String,
    "lead": pl.Int64,
    **dict.fromkeys(("level", "segment", "unique_id", "kind"), pl.String),
    **dict.fromkeys(("y", *LABELS), pl.Float64),
}


def month_cells(
    store: Store,
    month: date,
    *,
    known_by: datetime,
    settings: Settings,
    shelf: Shelf,
    history: pl.DataFrame,
    clinical: ClinicalInputs,
) -> pl.DataFrame:
    """``Scored.cells`` of a month alone; parameters as of `score_month`."""
    found = runs_of(store, month, known_by, shelf)
    _, _, now = demand_now(found, month, settings, history, clinical)
    stored = stored_of_month(store, found, month)
    cells = [cells_of(r, stored[r.run_id], of_nodes(now, r.hierarchy), month) for r in found]
    return pl.concat([pl.DataFrame(schema=CELL_COLUMNS), *cells])


def runs_of(store: Store, month: date, known_by: datetime, shelf: Shelf) -> list[StoredRun]:
    """Runs that count and whose horizon holds the month, oldest cycle first."""
    counting = counting_runs(store, known_by=known_by)
    started = {cycle: run_id for cycle, run_id in counting.items() if cycle <= month}
    horizons = read_horizons(store, started.values())
    return [
        shelf.run(run_id)
        for cycle, run_id in started.items()
        if months_between(cycle, month) < horizons[run_id]
    ]


def demand_now(
    found: Sequence[StoredRun],
    month: date,
    settings: Settings,
    history: pl.DataFrame,
    clinical: ClinicalInputs,
) -> tuple[dict[str, str], Demand, dict[str, float]]:
    """Kind of every item of the runs, demand up to the month, and that of the month."""
    kinds = {
        item: kind
        for run in found  # the newest run says of each item what was to come of it
        for item, kind in run.components.select("unique_id", "kind").iter_rows()
    }
    demand = demand_of(history, kinds, last=month, missing=settings.history.missing)
    since = demand_since(clinical, history["unique_id"].unique().to_list())
    return kinds, demand, actuals_of(demand, history, kinds, month=month, clinic_since=since)


def stored_of_month(
    store: Store, found: Sequence[StoredRun], month: date
) -> dict[str, dict[str, pl.DataFrame]]:
    """Forecasts of the month by run and stage."""
    stages: dict[str, dict[str, pl.DataFrame]] = {run.run_id: {} for run in found}
    rows = read_forecasts_of_month(store, stages, month)
    for (run_id, stage), own in rows.partition_by("run_id", "stage", as_dict=True).items():
        stages[run_id][stage] = own
    return stages


def cells_of(
    run: StoredRun, stored: Mapping[str, pl.DataFrame], actual: np.ndarray, month: date
) -> pl.DataFrame:
    """The statistical ranges of the nodes of a run that are whole, beside what came."""
    hierarchy, is_whole = run.hierarchy, ~np.isnan(actual)
    nothing = dict.fromkeys((PLAN, *LABELS), np.full(len(actual), np.nan))
    ranges = columns_of(stored.get(STATISTICAL), hierarchy, nothing)
    sums = [ANY] * len(hierarchy.aggregates)
    frame = pl.DataFrame(
        {
            "level": hierarchy.node_levels,
            "segment": [*sums, *run.components["segment"]],
            "unique_id": hierarchy.nodes,
            "kind": [*sums, *run.components["kind"]],
            "y": actual,
            **{label: ranges[label] for label in LABELS},
        }
    ).with_columns(
        ds=pl.lit(month),
        cycle=pl.lit(run.cycle),
        run_id=pl.lit(run.run_id),
        lead=pl.lit(months_between(run.cycle, month) + 1, dtype=pl.Int64),
    )
    return frame.filter(pl.Series(is_whole)).select(list(CELL_COLUMNS))
