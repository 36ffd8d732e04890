"""Replay past cycles over a workspace: run each as of its cut-off, then close its month.

What stands is found again by its id and not computed twice, so a replay that was interrupted goes
on where it stopped. What models said is kept over the cycles, and so are draws and workers: nothing
unchanged is fitted or drawn again. Closes always use the closed form; every cycle and close is
mirrored to MLflow, and no page is written.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import polars as pl

from sopforecast.core.executor import kept_workers
from sopforecast.core.months import add_months, cutoff, month_name, parse_month
from sopforecast.errors import NotNow, RequestError
from sopforecast.planning_store.inputs import admitted, admitted_inputs
from sopforecast.replay import Replayed, cycles_between, replay_cycles
from sopforecast.workflow.book import Book
from sopforecast.workflow.clock import utc_now
from sopforecast.workflow.close import close
from sopforecast.workflow.month import run
from sopforecast.workflow.shelf import Shelf
from sopforecast.workspace import Workspace

METHOD = "closed_form"

Told = dict[str, Any]


def replay(
    workspace: Workspace,
    first: str,
    last: str,
    *,
    on_progress: Callable[[str, float], None] | None = None,
    now: datetime | None = None,
) -> Told:
    """Run and close past cycles in order, from what was known then.

    Parameters
    ----------
    workspace
        Whose data.
    first, last
        Cycles, YYYY-MM, both included.
    on_progress
        Called with (``replay``, share of the cycles done).
    now
        UTC without a time zone.

    Returns
    -------
    dict
        first, last, ``cycles`` (cycle, run_id, stands, overrides, fit_id, scored, fresh; fit_id
        None where nothing was closed), ``closed`` (the last close, as ``workflow.close``; None when
        there was none), ``assumed`` (by table, rows whose ``known_at`` follows from a rule: rows,
        assumed).

    Raises
    ------
    RequestError
        The months are the wrong way round, or history does not begin before the first.
    NotNow
        History does not reach the last one; nothing was run.
    """
    at = now or utc_now()
    cycles = cycles_between(parse_month(first), parse_month(last))
    _refuse_unknown_months(workspace, cycles)
    cutoff_day = workspace.settings.cutoff_day

    shelf, book = Shelf(workspace.store(), workspace.settings), Book(workspace.store())

    def run_then(cycle: date) -> Told:
        as_of = cutoff(cycle, cutoff_day=cutoff_day).isoformat()
        return run(
            workspace,
            cycle=month_name(cycle),
            as_of=as_of,
            now=at,
            shown=False,
            logged=True,
            book=book,
        )

    def close_then(cycle: date) -> Told | None:
        as_of = cutoff(add_months(cycle, 1), cutoff_day=cutoff_day).isoformat()
        try:
            return close(
                workspace, cycle=month_name(cycle), as_of=as_of, method=METHOD, now=at,
                shelf=shelf, book=book,
            )  # fmt: skip
        except NotNow:  # the last cycles may not be over
            return None

    with kept_workers(workspace.settings.advanced.workers):
        done = list(replay_cycles(cycles, run=run_then, close=close_then, on_progress=on_progress))
    closed = [step.closed for step in done if step.closed and step.closed["fit_id"]]
    return {
        "first": first,
        "last": last,
        "cycles": [_line(step) for step in done],
        "closed": closed[-1] if closed else None,
        "assumed": _assumed(workspace, cycles[-1]),
    }


def _assumed(workspace: Workspace, last: date) -> list[Told]:
    """By table, rows that the last cycle could read, and those whose ``known_at`` is assumed."""
    known_by = cutoff(last, cutoff_day=workspace.settings.cutoff_day)
    tables = admitted_inputs(workspace.store(), known_by=known_by)
    return [
        {"table": name, "rows": rows.height, "assumed": int(rows["assumed"].sum())}
        for name, rows in tables.items()
        if rows.height
    ]


def _line(step: Replayed[Told, Told]) -> Told:
    counts = step.ran["override_counts"]
    closed = step.closed or {"fit_id": None, "scored": 0, "fresh": 0}
    log = closed.get("learning_log", ())
    return {
        "cycle": month_name(step.cycle),
        "run_id": step.ran["run_id"],
        "stands": step.ran["stands"],
        "overrides": sum(counts[state] for state in ("new", "carried", "changed")),
        "is_closed": step.closed is not None,
        **{name: closed[name] for name in ("fit_id", "scored", "fresh")},
        "decided": [
            {name: row[name] for name in ("table", "decision", "rules", "reason")}
            for row in log
            if row["decision"] in ("adopt", "revert")
        ],
    }


def _refuse_unknown_months(workspace: Workspace, cycles: list[date]) -> None:
    """Before anything is run: history must begin before the first cycle and reach the last."""
    history = admitted(workspace.store(), "history", known_by=datetime.max)
    months = history.filter(~pl.col("partial"))["ds"]
    begins, ends = months.min(), months.max()
    if not isinstance(begins, date) or not isinstance(ends, date):
        raise RequestError("there is no complete month of history to replay; load some first")
    if begins >= cycles[0]:
        raise RequestError(
            f"history begins in {month_name(begins)}; the first cycle it can replay is "
            f"{month_name(add_months(begins, 1))}"
        )
    if add_months(ends, 1) < cycles[-1]:
        raise NotNow(
            f"history ends in {month_name(ends)}; the last cycle it can replay is "
            f"{month_name(add_months(ends, 1))}"
        )
