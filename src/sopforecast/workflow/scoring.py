"""Score a closed month: every stored forecast of it, from whatever cycle, as sums over its nodes.

Reads the forecasts of the month from all runs that count, rebuilds their draws, and compares them
with what came. Nodes whose demand is not whole wait; a later close scores them as ``first`` rows
of their own, and when an actual had changed, all nodes once more as ``restated``. Nothing known
after the given moment is read.

Axes: ``N`` nodes of a run's hierarchy, ``S`` draws.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
import polars as pl

from sopforecast.clinical.inputs import ClinicalInputs
from sopforecast.core.draws import mean_view
from sopforecast.core.learning_tables import empty
from sopforecast.core.months import month_name, months_between
from sopforecast.core.score_tables import ScoredActuals, Scores
from sopforecast.learning.accuracy import cell_scores
from sopforecast.learning.actuals import Demand, of_nodes, scales_of
from sopforecast.learning.ladder import STATISTICAL, order_of_sources
from sopforecast.learning.score_rows import Asked, rows_of_owners, rows_of_stage
from sopforecast.planning_store.store import Store
from sopforecast.settings import Settings
from sopforecast.workflow.month_cells import (
    CELL_COLUMNS,
    cells_of,
    demand_now,
    runs_of,
    stored_of_month,
)
from sopforecast.workflow.shelf import Shelf
from sopforecast.workflow.stage_views import PLAN, DrawnScores, stages_of_run
from sopforecast.workflow.stored_run import StoredRun


@dataclass(frozen=True, eq=False)
class Scored:
    """What a close found about a month; frames without ``fit_id``.

    Attributes
    ----------
    actuals : pl.DataFrame
        ``ScoredActuals``: items that became known, and those whose demand had changed.
    scores : pl.DataFrame
        ``Scores``; no rows when nothing became known and nothing had changed.
    waiting : tuple of str
        Items without an actual; the sums above them wait too.
    notes : tuple of str
    cells : pl.DataFrame
        One row a node and run, of all nodes that are whole now: ds, cycle, run_id, lead, level,
        segment and kind (``*`` of sums), unique_id, y, and p05 .. p95 of the statistical stage.
    """

    actuals: pl.DataFrame
    scores: pl.DataFrame
    waiting: tuple[str, ...]
    notes: tuple[str, ...]
    cells: pl.DataFrame


@dataclass(frozen=True, eq=False)
class _Known:
    """Demand of a month as it is known, and as earlier closes had scored it."""

    month: date
    demand: Demand
    now: dict[str, float]
    before: dict[str, float]
    restates: bool
    prices: dict[str, float]


def score_month(
    store: Store,
    month: date,
    *,
    known_by: datetime,
    settings: Settings,
    shelf: Shelf,
    history: pl.DataFrame,
    prices: pl.DataFrame,
    clinical: ClinicalInputs,
    earlier: pl.DataFrame,
    scored_cycles: Collection[date] = (),
) -> Scored:
    """Score all stages of all counting runs that forecast a month.

    Parameters
    ----------
    store
        Where the runs are.
    month
        The month that is closed.
    known_by
        Runs and publications known later are not there yet.
    settings
        ``sources`` in their order, and what a month without a row means.
    shelf
        Where draws are rebuilt; one serves many closes.
    history
        Complete rows of ``History`` known by then, up to the month at least.
    prices
        ``Prices`` known by then.
    clinical
        The clinic as known by then: from when it asks for an item.
    earlier
        ``ScoredActuals`` of earlier closes of this month, the newest last.
    scored_cycles
        Cycles of which these closes have scores; a run of another cycle, stored since, is scored
        whole.
    """
    found = runs_of(store, month, known_by, shelf)
    kinds, demand, now = demand_now(found, month, settings, history, clinical)
    actuals, before, restates = _compared(now, earlier, month)
    waiting = tuple(sorted(set(kinds) - set(now)))
    gone = sorted(set(before) & set(waiting))
    notes = [f"scored before and no longer known: {', '.join(gone)}"] if gone else []
    price, note = _prices(prices, month)
    known = _Known(month, demand, now, before, restates, price)
    stored = stored_of_month(store, found, month)
    asked = {run.run_id: _asked(run, known, is_new=run.cycle not in scored_cycles)
             for run in found}  # fmt: skip
    cells = [cells_of(run, stored[run.run_id], asked[run.run_id].actual, month) for run in found]
    scored: list[dict[str, Any]] = []
    if now and (actuals.height or any(run.cycle not in scored_cycles for run in found)):
        spoken = order_of_sources({n for run in found for n in run.spoken}, settings.sources)
        for run in found:
            own = asked[run.run_id]
            scored += _rows_of_run(run, stored[run.run_id], own, shelf, spoken)
            rows, untold = rows_of_owners(run.statements, demand, own)
            scored += rows
            notes += untold
        notes += (*note, *_unlike(found, stored, month, shelf))
    scores = pl.DataFrame(scored, schema=empty(Scores, without="fit_id").schema)
    return Scored(
        actuals=actuals,
        scores=scores.sort([name for name in Scores.primary_key() if name != "fit_id"]),
        waiting=waiting,
        notes=tuple(notes),
        cells=pl.concat([pl.DataFrame(schema=CELL_COLUMNS), *cells]),
    )


def _compared(
    now: Mapping[str, float], earlier: pl.DataFrame, month: date
) -> tuple[pl.DataFrame, dict[str, float], bool]:
    """``ScoredActuals`` of this close, what was scored before, and whether any was restated."""
    own = earlier.filter(pl.col("ds") == month)
    before = dict(own.select("unique_id", "y").iter_rows())  # the newest one stands last
    rows = [
        {"ds": month, "unique_id": item, "y": y, "version": version}
        for version, items in (
            ("first", sorted(set(now) - set(before))),
            ("restated", sorted(i for i in set(now) & set(before) if now[i] != before[i])),
        )
        for item, y in ((item, now[item]) for item in items)
    ]
    actuals = pl.DataFrame(rows, schema=empty(ScoredActuals, without="fit_id").schema)
    restated = pl.concat([own["version"].cast(pl.String), actuals["version"].cast(pl.String)])
    return actuals, before, bool((restated == "restated").any())


def _prices(prices: pl.DataFrame, month: date) -> tuple[dict[str, float], tuple[str, ...]]:
    """Price of each item in force in the month; none, and a note, where currencies differ."""
    in_force = (
        prices.filter(pl.col("ds_from") <= month)
        .sort("unique_id", "ds_from")
        .unique("unique_id", keep="last", maintain_order=True)
    )
    currencies = sorted(in_force["currency"].drop_nulls().unique().to_list())
    if len(currencies) > 1:
        return {}, (f"not scored in money: prices are in {', '.join(currencies)}",)
    return dict(in_force.select("unique_id", "price").iter_rows()), ()


def _asked(run: StoredRun, known: _Known, *, is_new: bool) -> Asked:
    """What of a run is scored; all that is known when no close has scored its cycle."""
    hierarchy = run.hierarchy
    actual = of_nodes(known.now, hierarchy)
    is_whole = ~np.isnan(actual)
    before = of_nodes({} if is_new else known.before, hierarchy)
    versions = {"first": is_whole & np.isnan(before)}
    if known.restates:
        versions["restated"] = is_whole
    scale, root_scale = scales_of(known.demand, hierarchy, before=run.cycle)
    price = np.full(len(hierarchy.nodes), np.nan)
    price[len(hierarchy.aggregates) :] = [known.prices.get(i, np.nan) for i in hierarchy.items]
    return Asked(
        run.run_id, run.cycle, known.month, hierarchy, actual, versions, scale, root_scale, price
    )


def _rows_of_run(
    run: StoredRun,
    stored: Mapping[str, pl.DataFrame],
    asked: Asked,
    shelf: Shelf,
    spoken: Sequence[str],
) -> list[dict[str, Any]]:
    """Rows of all stages of a run."""
    actual = np.where(asked.nodes, asked.actual, 0.0)  # what is not asked for is not read
    drawn = DrawnScores(run, asked.month, actual, asked.nodes, shelf)
    rows = []
    for stage, columns in stages_of_run(run, stored, asked.month, shelf=shelf, spoken=spoken):
        quantiles = {
            label: values
            for label, values in columns.items()
            if label != PLAN and not np.isnan(values).all()
        }
        scores = cell_scores(
            actual, columns[PLAN], quantiles=quantiles, crps=drawn.of(stage),
            scale=asked.scale, root_scale=asked.root_scale,
        )  # fmt: skip
        rows += rows_of_stage(stage, scores, asked)
    return rows


def _unlike(
    found: Sequence[StoredRun],
    stored: Mapping[str, Mapping[str, pl.DataFrame]],
    month: date,
    shelf: Shelf,
) -> tuple[str, ...]:
    """A note on runs whose rebuilt draws are not those they were made with, by their means."""
    unlike = []
    for run in found:
        draws = shelf.month_draws(run.run_id, STATISTICAL, months_between(run.cycle, month) + 1)
        rows = stored[run.run_id][STATISTICAL]
        then = dict(rows.select("unique_id", "mean").iter_rows())
        now = mean_view(draws[:, :, None])[:, 0].tolist()
        pairs = zip(run.hierarchy.items, now, strict=True)
        if any(then[item] != mean for item, mean in pairs):
            unlike.append(month_name(run.cycle))
    if not unlike:
        return ()
    return (
        f"cycles {', '.join(unlike)}: rebuilt draws are not those of the run: another version "
        "of sopforecast made it, or loads were undone since; CRPS and through: stages are of the "
        "rebuilt ones",
    )
