"""The plan out of a workspace: publish a run, export tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import polars.selectors as cs

from sopforecast.core.clinical_tables import CLINICAL_TABLES
from sopforecast.core.months import month_name, parse_month
from sopforecast.core.tables import QUANTILE_COLUMNS, STAGES
from sopforecast.errors import RequestError
from sopforecast.intake.exports import write_table
from sopforecast.planning_store import publish as publishing
from sopforecast.planning_store import runs
from sopforecast.planning_store.inputs import admitted
from sopforecast.planning_store.run_outputs import SOURCE_STAGE
from sopforecast.planning_store.store import Store
from sopforecast.workflow.clock import utc_now, who
from sopforecast.workflow.learned_tables import LEARNED_TABLES, find_close, learned_table
from sopforecast.workflow.month import show_again
from sopforecast.workflow.nodes import members, node_levels
from sopforecast.workflow.status import plain_rows
from sopforecast.workspace import Workspace

LATEST = "latest"
MEASURES = ("plan", "mean", *QUANTILE_COLUMNS)
OF_THE_CLINIC = ("enrolment_forecasts", "tier_conversion")
OF_A_RUN = ("forecasts", "weights", "components", "statements", "bridge", *OF_THE_CLINIC)
INPUTS = ("items", "history", "overrides", "prices", *CLINICAL_TABLES)
OF_THE_STORE = ("runs", "published", *INPUTS)
EXPORTED = (*OF_A_RUN, *LEARNED_TABLES, *OF_THE_STORE)


def publish(
    workspace: Workspace,
    *,
    cycle: str,
    stage: str = "consensus",
    run_id: str = LATEST,
    expect: str | None = None,
    by: str | None = None,
    role: str | None = None,
    note: str | None = None,
    now: datetime | None = None,
) -> dict[str, Any]:
    """Make a run the plan of its cycle, by compare-and-set; the same again changes nothing.

    Returns
    -------
    dict
        The row of ``Published`` that stands, ``already_published``, and ``page``, which now says
        so.

    Raises
    ------
    LostRace
        Another run stands than `expect`, or somebody was faster.
    RequestError
        No such run.
    """
    store, month = workspace.store(), parse_month(cycle)
    row = publishing.publish(
        store,
        cycle=month,
        stage=stage,
        run_id=_newest(store, month) if run_id == LATEST else run_id,
        expect=expect,
        by=by or who(),
        role=role,
        note=note,
        at=now or utc_now(),
    )
    page = show_again(workspace, row["run_id"])["page"]
    return plain_rows(pl.DataFrame([row]))[0] | {"page": page}


def export(
    workspace: Workspace,
    table: str,
    file: Path,
    *,
    cycle: str | None = None,
    stage: str | None = None,
    run_id: str | None = None,
    measure: str | None = None,
    wide: bool = False,
) -> dict[str, Any]:
    """Write one table to a csv, parquet or xlsx file; the file is replaced whole or not at all.

    Parameters
    ----------
    workspace
        From where.
    table
        One of ``EXPORTED``.
    file
        Its ending says the format.
    cycle, stage, run_id
        Which run; by default the published run and stage of the newest cycle. ``latest`` is the
        run made last, published or not. Of ``credibility`` and ``closed``: what that cycle or run
        had learned; by default what was learned last.
    measure
        Keep one of ``MEASURES``.
    wide
        Months across, one measure (default plan).

    Returns
    -------
    dict
        table, file, rows, and for tables of a run: cycle, run_id, stage; of what was learned:
        fit_id and cycle, the month closed.

    Raises
    ------
    RequestError
        Unknown table, nothing published, or options that do not fit the table.
    """
    if table not in EXPORTED:
        raise RequestError(f"unknown table {table!r}; known tables: {', '.join(EXPORTED)}")
    if table != "forecasts" and (measure is not None or wide or stage is not None):
        raise RequestError(f"--stage, --measure and --wide are for forecasts, not for {table}")
    if table in OF_THE_STORE and (cycle is not None or run_id is not None):
        raise RequestError(f"--cycle and --run are for tables of a run, not for {table}")
    store = workspace.store()
    chosen = _Choice()
    if table in LEARNED_TABLES:
        month = parse_month(cycle) if cycle is not None else None
        wanted = _newest(store, month) if run_id == LATEST else run_id
        close = find_close(store, cycle=month, run_id=wanted)
        chosen = _Choice(cycle=month_name(close["closed"]), fit_id=close["fit_id"])
        frame = learned_table(store, table, close, settings=workspace.settings)
    else:
        if table in OF_A_RUN:
            chosen = _choose(store, cycle, stage, run_id)
        frame = _frame(store, table, chosen)
    if table == "forecasts":
        frame = _shape(frame, measure=measure, wide=wide)
    write_table(file, frame)
    return {
        "table": table,
        "file": str(file),
        "rows": frame.height,
        "cycle": chosen.cycle,
        "run_id": chosen.run_id,
        "fit_id": chosen.fit_id,
        "stage": chosen.stage if table == "forecasts" else None,
    }


@dataclass(frozen=True)
class _Choice:
    """The run and stage, or the fit, an export is about."""

    run_id: str | None = None
    stage: str | None = None
    cycle: str | None = None
    fit_id: str | None = None


def _choose(store: Store, cycle: str | None, stage: str | None, run_id: str | None) -> _Choice:
    month = parse_month(cycle) if cycle is not None else None
    if run_id is None:
        standing = publishing.published(store, month)
        if standing.is_empty():
            of = f" for cycle {cycle}" if cycle else ""
            raise RequestError(
                f"nothing is published{of}; publish a run first (sopforecast publish --cycle "
                "YYYY-MM), or export one that is not: --run latest"
            )
        row = standing.row(-1, named=True)
        return _Choice(row["run_id"], stage or row["stage"], month_name(row["cycle"]))
    if run_id == LATEST:
        run_id = _newest(store, month)
    run = runs.find_run(store, run_id)
    if month is not None and run["cycle"] != month:
        raise RequestError(f"run {run_id} is of cycle {month_name(run['cycle'])}, not {cycle}")
    return _Choice(run_id, stage or "consensus", month_name(run["cycle"]))


def _newest(store: Store, month: date | None) -> str:
    newest = runs.latest_run(store, month)
    if newest is None:
        of = f" of cycle {month_name(month)}" if month is not None else ""
        raise RequestError(f"there is no run{of} yet; make one with: sopforecast run")
    return str(newest["run_id"])


def _frame(store: Store, table: str, chosen: _Choice) -> pl.DataFrame:
    if table in INPUTS:
        return admitted(store, table, known_by=datetime.max)
    run_id = str(chosen.run_id)
    if table == "forecasts":
        return _forecasts(store, run_id, str(chosen.stage))
    readers: dict[str, Callable[[], pl.DataFrame]] = {
        "runs": lambda: runs.runs(store),
        "published": lambda: publishing.publications(store),
        "weights": lambda: runs.read_weights(store, run_id),
        "components": lambda: runs.read_components(store, run_id).drop(cs.binary()),
        "statements": lambda: runs.read_statements(store, [run_id]),
        "bridge": lambda: runs.read_bridge(store, run_id),
        **{name: partial(runs.read_clinical, store, name, run_id) for name in OF_THE_CLINIC},
    }
    return readers[table]()


def _forecasts(store: Store, run_id: str, stage: str) -> pl.DataFrame:
    if stage not in STAGES and not stage.startswith(SOURCE_STAGE):
        known = f"{', '.join(STAGES)}, {SOURCE_STAGE}NAME"
        raise RequestError(f"unknown stage {stage!r}; known: {known}")
    return _with_level(
        runs.read_forecasts(store, run_id, stage), runs.find_run(store, run_id), store
    )


def _with_level(forecasts: pl.DataFrame, run: Mapping[str, Any], store: Store) -> pl.DataFrame:
    """Name each row's level, so that nobody sums items and their totals together."""
    components = runs.read_components(store, run["run_id"])
    labels = node_levels(members(components, levels=json.loads(run["levels"])))
    order = pl.DataFrame({"unique_id": list(labels), "level": list(labels.values())})
    rows = order.join(forecasts, on="unique_id", maintain_order="left")
    return rows.select(*forecasts.columns[:4], "level", pl.exclude(*forecasts.columns[:4], "level"))


def _shape(frame: pl.DataFrame, *, measure: str | None, wide: bool) -> pl.DataFrame:
    if measure is not None and measure not in MEASURES:
        raise RequestError(f"unknown measure {measure!r}; known: {', '.join(MEASURES)}")
    if not wide:
        others = [name for name in MEASURES if measure is not None and name != measure]
        return frame.drop(others)
    value = measure or "plan"
    across = frame.sort("ds").with_columns(month=pl.col("ds").dt.strftime("%Y-%m"))
    keys = ["run_id", "cycle", "stage", "unique_id", "level"]
    table = across.pivot("month", index=keys, values=value, maintain_order=True)
    order = frame.select("unique_id").unique(maintain_order=True)
    return order.join(table, on="unique_id", maintain_order="left").select(
        *keys[:3], pl.lit(value).alias("measure"), *keys[3:], pl.exclude(*keys)
    )
