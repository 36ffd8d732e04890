"""What is in a workspace: loads, the span of history, runs and published plans."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import polars as pl

from sopforecast.core.months import month_name
from sopforecast.planning_store.inputs import admitted, loads
from sopforecast.planning_store.publish import published
from sopforecast.planning_store.runs import runs
from sopforecast.workspace import Workspace

LOAD_COLUMNS = (
    "load_id", "table", "file", "loaded_by", "loaded_at", "rows_new", "rows_changed", "rows_same",
    "rows_retracted", "undone_at",
)  # fmt: skip
RUN_COLUMNS = ("run_id", "cycle", "horizon", "items", "known_by", "created_at", "code_version")


def status(workspace: Workspace) -> dict[str, Any]:
    """Loads, history, runs and published plans of a workspace, oldest first."""
    store = workspace.store()
    history = admitted(store, "history", known_by=datetime.max)
    return {
        "workspace": str(workspace.path),
        "name": workspace.settings.name,
        "store": store.place,
        "history": _span(history),
        "loads": plain_rows(loads(store).select(LOAD_COLUMNS)),
        "runs": plain_rows(runs(store).select(RUN_COLUMNS)),
        "published": plain_rows(published(store)),
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


def _span(history: pl.DataFrame) -> dict[str, Any]:
    if history.is_empty():
        return {"items": 0, "rows": 0, "first": None, "last": None, "partial_rows": 0}
    first, last = history["ds"].min(), history["ds"].max()
    return {
        "items": history["unique_id"].n_unique(),
        "rows": history.height,
        "first": month_name(first),  # type: ignore[arg-type]
        "last": month_name(last),  # type: ignore[arg-type]
        "partial_rows": history.filter("partial").height,
    }
