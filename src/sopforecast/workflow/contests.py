"""Contests of a closed month: how its forecasts would have scored under both procedures of a table.

Of the newest cycles that forecast the month, each contest varies one table and holds the others as
the run used them. The learned one is of the newest close before the cycle known by its cut-off:
what was learned later never takes part. Rows are what the gate decides from.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import polars as pl

from sopforecast.clinical.inputs import ClinicalInputs, clinical_inputs
from sopforecast.clinical.landmark_loss import conversion_loss
from sopforecast.core.clinical_tables import CLINICAL_TABLES
from sopforecast.core.draws import QUANTILES
from sopforecast.core.learning_tables import Contests, empty
from sopforecast.core.months import add_months, months_between
from sopforecast.learning.losses import Loss, range_loss, width_losses
from sopforecast.planning_store.counting import counting_runs
from sopforecast.planning_store.inputs import admitted, known_versions
from sopforecast.planning_store.learned import newest_close
from sopforecast.planning_store.store import Store
from sopforecast.settings import Settings
from sopforecast.workflow.champions import CONVERSION, learned_rows_of, used_by
from sopforecast.workflow.contest_arms import (
    GATE_LEADS,
    WIDTH_LEADS,
    Arms,
    Ran,
    Rerun,
    credibility_arms,
    weight_arms,
    width_arms,
)
from sopforecast.workflow.shelf import Shelf
from sopforecast.workflow.stored_run import StoredRun

LABELS = tuple(label for label, _ in QUANTILES)
OUTCOME_MONTHS = 3  # a tier line has this long to convert before it is judged
ARMS: dict[str, Callable[[Ran, str, pl.DataFrame, Rerun], Arms | None]] = {
    "weights": weight_arms,
    "widths": width_arms,
    "credibility": credibility_arms,
}
LEADS = {"weights": GATE_LEADS, "widths": WIDTH_LEADS, "credibility": GATE_LEADS}

# Arms made so far, by run: a replay closes the next month from all but one of the same runs. They
# live as long as the shelf they were made from.
_MADE: WeakKeyDictionary[Shelf, dict[str, dict[tuple[str, str], Arms | None]]] = WeakKeyDictionary()


def contests_of(
    store: Store,
    month: date,
    *,
    known_by: datetime,
    settings: Settings,
    shelf: Shelf,
    actuals: pl.DataFrame,
    rerun: Rerun,
) -> pl.DataFrame:
    """Contests of a closed month.

    Parameters
    ----------
    store
        Where runs, closes and the clinic are read from.
    month
        The month that is closed.
    known_by
        What the close may read: runs that count by then, outcomes of tier lines.
    settings
        ``history.missing``: whether an item without a row had no demand.
    shelf
        Rebuilds stored runs; what is made here is kept as long as it, so that a replay makes each
        arm once.
    actuals
        unique_id, y of the month, in the item's unit. Only items are read: sums are made anew over
        the items of each run. Unknown ones are left out, or null, and so are the sums above them;
        an item forecast as zero that has no row had no demand.
    rerun
        Run id and ``Learned`` to hierarchy and statistical draws (S, B, H) of the items: the
        forecast of a stored run made again with other weights.

    Returns
    -------
    pl.DataFrame
        ``Contests`` without ``fit_id``, by table and cycle. No row where nothing had been learned
        by the cut-off of the cycle, where both procedures are the same, or where nothing that they
        change is known.
    """
    counting = counting_runs(store, known_by=known_by)
    rows = []
    for lead in range(WIDTH_LEADS, 0, -1):  # oldest first: what the next close needs is made last
        run_id = counting.get(add_months(month, 1 - lead))
        if run_id is None:
            continue
        run = shelf.run(run_id)
        if run.horizon >= lead:
            ran = Ran(store, shelf, run, used_by(store, run_id))
            rows += _of_cycle(ran, month, lead, actuals, rerun, missing=settings.history.missing)
        if lead == OUTCOME_MONTHS:
            rows += _of_clinic(store, run, month, known_by)
    frame = pl.DataFrame(rows, schema=empty(Contests, without="fit_id").schema)
    return frame.sort("table", "cycle")


def _of_cycle(
    ran: Ran, month: date, lead: int, actuals: pl.DataFrame, rerun: Rerun, *, missing: str
) -> list[dict[str, Any]]:
    close = newest_close(ran.store, before=ran.stored.cycle, known_by=ran.stored.known_by)
    if close is None:
        return []
    rows, actual = [], None
    for table, make in ARMS.items():
        if lead > LEADS[table]:
            continue
        learned = learned_rows_of(ran.store, table, close["fit_id"])
        if learned is None:
            continue
        arms = _kept(ran, table, close["fit_id"], learned, make, rerun)
        if arms is None:
            continue
        if actual is None:
            actual = _actual_of_nodes(ran.stored, actuals, missing=missing)
        known = np.flatnonzero(arms.counts[:, lead - 1] & ~np.isnan(actual))
        at = [ran.stored.hierarchy.node_levels[i] for i in known]
        views = [
            dict(zip(LABELS, arm[:, known, lead - 1], strict=True))
            for arm in (arms.cold, arms.other)
        ]
        if table == "widths":
            cold, other = width_losses(actual[known], views[0], views[1], at)
        else:
            cold, other = (range_loss(actual[known], view, at) for view in views)
        if cold.cells:
            rows.append(_row(table, ran.stored, month, cold, other, learned_fit=close["fit_id"]))
    return rows


def _row(
    table: str,
    run: StoredRun,
    month: date,
    cold: Loss,
    other: Loss,
    *,
    learned_fit: str | None = None,
) -> dict[str, Any]:
    return {
        "table": table,
        "cycle": run.cycle,
        "ds": month,
        "lead": months_between(run.cycle, month) + 1,
        "cold_loss": cold.loss,
        "other_loss": other.loss,
        "size": cold.size,
        "cells": cold.cells,
        "learned_fit": learned_fit,
    }


def _kept(
    ran: Ran,
    table: str,
    fit_id: str,
    learned: pl.DataFrame,
    make: Callable[[Ran, str, pl.DataFrame, Rerun], Arms | None],
    rerun: Rerun,
) -> Arms | None:
    """Arms made before of the same run and fit, or made now; of the last ``WIDTH_LEADS`` runs."""
    book = _MADE.setdefault(ran.shelf, {})
    of_run = book.pop(ran.run_id, {})
    book[ran.run_id] = of_run  # the one asked for last stands last
    while len(book) > WIDTH_LEADS:
        del book[next(iter(book))]
    if (table, fit_id) not in of_run:
        of_run[table, fit_id] = make(ran, fit_id, learned, rerun)
    return of_run[table, fit_id]


def _actual_of_nodes(stored: StoredRun, actuals: pl.DataFrame, *, missing: str) -> np.ndarray:
    """Demand (N,) of the run's nodes, aggregates first; NaN where it, or one below, is unknown."""
    told = dict(actuals.select("unique_id", "y").iter_rows())
    zero = stored.components.filter(pl.col("kind") == "zero")["unique_id"]
    absent = stored.hierarchy.items if missing == "zero" else zero.to_list()
    told = dict.fromkeys(absent, 0.0) | told
    known = [told.get(item) for item in stored.hierarchy.items]
    items = np.array([np.nan if y is None else y for y in known])
    return np.concatenate([stored.hierarchy.aggregate(items[:, None])[:, 0], items])


def _of_clinic(
    store: Store, run: StoredRun, month: date, known_by: datetime
) -> list[dict[str, Any]]:
    """The contest of conversion: lines open at a cycle's cut-off, and what became of them."""
    then = _clinic(store, run.cycle, run.known_by)
    if then.tier_lines.is_empty():
        return []
    now = _clinic(store, add_months(month, 1), known_by)
    found = conversion_loss(then, now, month=month, seed=run.seed)
    if found is None:
        return []
    cold, other, cells = found
    size = float(cells)
    return [_row(CONVERSION, run, month, Loss(cold, size, cells), Loss(other, size, cells))]


def _clinic(store: Store, cycle: date, known_by: datetime) -> ClinicalInputs:
    """The clinic as a cycle with this cut-off reads it."""
    tables = {name: admitted(store, name, known_by=known_by) for name in CLINICAL_TABLES}
    tables["tier_lines"] = known_versions(store, "tier_lines", known_by=known_by)
    return clinical_inputs(cycle, cut_off=known_by.date(), **tables)
