"""What is in a workspace: loads, history, overrides, runs, published plans, closed months."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import polars as pl

from sopforecast.core.months import add_months, month_name
from sopforecast.planning_store.inputs import admitted, loads
from sopforecast.planning_store.learned import newest_close
from sopforecast.planning_store.publish import published
from sopforecast.planning_store.runs import runs
from sopforecast.workflow.evidence import living
from sopforecast.workspace import Workspace

LOAD_COLUMNS = (
    "load_id", "table", "file", "loaded_by", "loaded_at", "rows_new", "rows_changed", "rows_same",
    "rows_retracted", "undone_at",
)  # fmt: skip
RUN_COLUMNS = ("run_id", "cycle", "horizon", "items", "known_by", "created_at", "code_version")


def status(workspace: Workspace) -> dict[str, Any]:
    """Loads, history, overrides, runs, published plans and the last close, oldest first."""
    store = workspace.store()
    history = admitted(store, "history", known_by=datetime.max)
    return {
        "workspace": str(workspace.path),
        "name": workspace.settings.name,
        "store": store.place,
        "history": _span(history),
        "overrides": _overrides(admitted(store, "overrides", known_by=datetime.max), history),
        "loads": plain_rows(loads(store).select(LOAD_COLUMNS)),
        "runs": plain_rows(runs(store).select(RUN_COLUMNS)),
        "published": plain_rows(published(store)),
        "closed": _closed(newest_close(store)),
    }


def plain_rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON values: months as 2026-12, moments to the second."""
    return [{key: _plain(key, value) for key, value in row.items()} for row in frame.to_dicts()]


def _plain(key: str, value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    if isinstance(value, date):
        return month_name(value) if key == "cycle" or key.startswith("ds") else value.isoformat()
    return value


def _overrides(overrides: pl.DataFrame, history: pl.DataFrame) -> dict[str, Any]:
    """How many there are, and how many live in the open cycle."""
    last = history.filter(~pl.col("partial"))["ds"].max()
    if overrides.is_empty() or not isinstance(last, date):
        return {"total": overrides.height, "living": 0, "cycle": None}
    cycle = add_months(last, 1)
    living_now = living(overrides.filter(pl.col("scenario").is_null()), cycle)
    return {"total": overrides.height, "living": living_now.height, "cycle": month_name(cycle)}


def _closed(close: dict[str, Any] | None) -> dict[str, Any] | None:
    """The last month that was closed, and the fit that came of it."""
    if close is None:
        return None
    row = {name: close[name] for name in ("fit_id", "method", "scored", "opinions", "known_at")}
    return {"cycle": month_name(close["closed"]), **plain_rows(pl.DataFrame([row]))[0]}


def _span(history: pl.DataFrame) -> dict[str, Any]:
    if history.is_empty():
        nothing = dict.fromkeys(("first", "last", "last_complete"))
        return {"items": 0, "rows": 0, "partial_rows": 0, **nothing}
    first, last = history["ds"].min(), history["ds"].max()
    complete = history.filter(~pl.col("partial"))["ds"].max()
    return {
        "items": history["unique_id"].n_unique(),
        "rows": history.height,
        "first": month_name(first),  # type: ignore[arg-type]
        "last": month_name(last),  # type: ignore[arg-type]
        "last_complete": month_name(complete) if isinstance(complete, date) else None,
        "partial_rows": history.filter("partial").height,
    }
