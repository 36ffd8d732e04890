"""The data-quality report: what the next run would read, and what is odd about it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import polars as pl

from sopforecast.baseline.checks import Result, run_checks
from sopforecast.clinical.overlap import clinic_items, overlap_sentences, overlaps
from sopforecast.core.months import add_months, month_name, parse_month
from sopforecast.planning_store.store import Store
from sopforecast.portfolio import items_with_history
from sopforecast.settings import Settings
from sopforecast.workflow.account import Account, check_lines
from sopforecast.workflow.admission import Admitted, admit
from sopforecast.workflow.clock import reading_moment, utc_now
from sopforecast.workflow.evidence import not_closed, not_closed_sentence
from sopforecast.workflow.levels import levels_check
from sopforecast.workflow.status import plain_rows
from sopforecast.workspace import Workspace

FIRST_ROWS = 5
NOT_CLOSED = "months_closed"
OVERLAP = "clinic_or_history"


def check(
    workspace: Workspace, *, strict: bool = False, now: datetime | None = None
) -> dict[str, Any]:
    """Data-quality report on what the next run would read.

    Parameters
    ----------
    workspace
        Whose data.
    strict
        A warning fails the report too.
    now
        UTC without a time zone.

    Returns
    -------
    dict
        cycle, ``checks`` (check, status, sentence, rows, first rows), ``check_counts`` by status,
        ``passed``.
    """
    settings = workspace.settings
    inputs = admit_cycle(workspace, cycle=None, as_of=None, now=now or utc_now())
    results = [
        *checks_of(inputs.loaded, inputs, settings),
        *levels_check(
            inputs.history, inputs.items, levels=settings.levels, more=_of_clinic(inputs)
        ),
        *_closing_check(workspace.store(), inputs),
        *_overlap_check(inputs),
    ]
    failing = {"error", "warning"} if strict else {"error"}
    return {
        "cycle": month_name(inputs.cycle),
        "checks": [
            vars(line) | {"first": plain_rows(result.rows.head(FIRST_ROWS))}
            for line, result in zip(check_lines(results), results, strict=True)
        ],
        "check_counts": Account(check_lines(results)).check_counts,
        "passed": not any(result.status in failing for result in results),
    }


def admit_cycle(
    workspace: Workspace, *, cycle: str | None, as_of: str | None, now: datetime
) -> Admitted:
    """What a command may read of the cycle it names, or of the open one."""
    settings = workspace.settings
    moment = reading_moment(now, as_of=as_of, history_lag_days=settings.history_lag_days)
    return admit(
        workspace.store(),
        cycle=parse_month(cycle) if cycle is not None else None,
        moment=moment,
        cutoff_day=settings.cutoff_day if as_of is None else None,
    )


def checks_of(history: pl.DataFrame, inputs: Admitted, settings: Settings) -> list[Result]:
    """The data-quality checks of some history, and of what else a cycle reads."""
    items = inputs.items if inputs.items.height else None
    return run_checks(
        history,
        items_with_history(items, history, inputs.clinical),
        last_month=add_months(inputs.cycle, -1),
        levels=settings.levels,
        missing=settings.history.missing,
    )


def _closing_check(store: Store, inputs: Admitted) -> list[Result]:
    """The same as a check; none when all are closed."""
    months = not_closed(store, before=inputs.cycle, known_by=inputs.known_by)
    if not months:
        return []
    rows = pl.DataFrame({"ds": months}, schema={"ds": pl.Date})
    return [Result(NOT_CLOSED, "warning", not_closed_sentence(months), rows)]


def _of_clinic(inputs: Admitted) -> tuple[str, ...]:
    return clinic_items(inputs.clinical, inputs.history["unique_id"].unique().to_list())


def _overlap_check(inputs: Admitted) -> list[Result]:
    """Items with a history that are the clinic's too, as a check; none when nothing is loaded."""
    if not inputs.clinical.has_demand:
        return []
    found = overlaps(inputs.clinical, inputs.history)
    told = " ".join(overlap_sentences(found)) or "no item takes demand from both"
    return [Result(OVERLAP, "warning" if found.height else "ok", told, found)]
