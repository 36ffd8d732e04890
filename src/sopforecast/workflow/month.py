"""Forecast a cycle: admit the rows, run the engine once, store the run, show it.

The same inputs, settings and code have the same run id and are never computed twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

import sopforecast
from sopforecast.baseline.checks import Result, run_checks
from sopforecast.core.months import add_months, month_name, parse_month
from sopforecast.cycle import CycleResult, run_cycle
from sopforecast.planning_store.runs import reuse_run, save_run
from sopforecast.planning_store.store import Store
from sopforecast.settings import Settings, with_horizon
from sopforecast.workflow.account import Account, check_lines, load_account, save_account
from sopforecast.workflow.admission import Admitted, admit
from sopforecast.workflow.clock import Stopwatch, reading_moment, utc_now
from sopforecast.workflow.levels import levels_check
from sopforecast.workflow.showing import (
    account_path,
    mirror,
    read_run,
    shown_history,
    summarise,
    write_review,
)
from sopforecast.workflow.status import plain_rows
from sopforecast.workspace import Workspace

FIRST_ROWS = 5
CODE_OF_NUMBERS = ("core", "baseline", "cycle.py")

OnProgress = Callable[[str, float], None]


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
    inputs = _admit(workspace, cycle=None, as_of=None, now=now or utc_now())
    results = [
        *_checks(inputs.loaded, inputs, settings),
        *levels_check(inputs.history, inputs.items, levels=settings.levels),
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


def run(
    workspace: Workspace,
    *,
    cycle: str | None = None,
    horizon: int | None = None,
    as_of: str | None = None,
    on_progress: OnProgress | None = None,
    now: datetime | None = None,
) -> dict[str, Any]:
    """Forecast a cycle, store the run, write its page and mirror it.

    Parameters
    ----------
    workspace
        Whose data.
    cycle
        First forecast month, YYYY-MM; the month after the last complete history month by default.
    horizon
        Months ahead; from settings by default.
    as_of
        Read what was known by then, instead of by the cut-off day; never more than is known now.
    on_progress
        Called with (stage, share done).
    now
        UTC without a time zone.

    Returns
    -------
    dict
        run_id, cycle, horizon, items, known_by, ``stands`` (True when the same inputs had been
        run before), headline, fallbacks, check_counts, seconds, notes, page.

    Raises
    ------
    RequestError
        No history, or a horizon that is not allowed.
    NotNow
        History does not reach the month before the cycle.
    """
    moment = now or utc_now()
    settings = workspace.settings
    if horizon is not None:
        settings = with_horizon(settings, horizon)
    inputs = _admit(workspace, cycle=cycle, as_of=as_of, now=moment)
    run_id = run_id_of(inputs, settings)
    stood = reuse_run(workspace.store(), run_id, at=moment, loads_used=inputs.loads_used)
    if stood:
        told = _told_again(workspace, run_id, inputs, settings)
        return told | {"notes": told["notes"] + inputs.left_out(moment)}
    clock = Stopwatch(on_progress)
    result = run_cycle(
        inputs.history,
        inputs.items,
        cycle=inputs.cycle,
        settings=settings,
        on_progress=on_progress,
    )
    with clock.stage("store"):
        _save(workspace.store(), run_id, inputs, settings, result, at=moment)
        stored = read_run(workspace, run_id)
    account = Account(
        checks=check_lines(result.checks),
        seconds={**result.seconds, **clock.seconds},
        backtest=result.backtest,
        history=shown_history(stored, result.history_nodes),
    )
    save_account(account_path(workspace, stored), account)
    with clock.stage("page"):
        page = write_review(workspace, stored, account)
    with clock.stage("mlflow"):
        mirrored = mirror(workspace, stored, account, history=inputs.history, page=page)
    told = summarise(stored, account)
    return told | {
        "workspace": str(workspace.path),
        "stands": False,
        "notes": told["notes"] + inputs.left_out(moment),
        "seconds": {**result.seconds, **clock.seconds},
        "page": _text(page),
        "mlflow_run": mirrored,
    }


def show_again(workspace: Workspace, run_id: str) -> dict[str, Any]:
    """Write the page of a stored run again and tell what was told when it was made."""
    stored = read_run(workspace, run_id)
    account = load_account(account_path(workspace, stored))
    page = write_review(workspace, stored, account)
    return summarise(stored, account) | {
        "workspace": str(workspace.path),
        "page": _text(page),
        "mlflow_run": None,
    }


def _told_again(
    workspace: Workspace, run_id: str, inputs: Admitted, settings: Settings
) -> dict[str, Any]:
    """A run that stands: what an interruption kept from being written is made up for."""
    stored = read_run(workspace, run_id)
    path = account_path(workspace, stored)
    account = load_account(path)
    if not account.checks:
        account = Account(checks=check_lines(_checks(inputs.history, inputs, settings)))
        save_account(path, account)
    page = write_review(workspace, stored, account)
    return summarise(stored, account) | {
        "workspace": str(workspace.path),
        "stands": True,
        "page": _text(page),
        "mlflow_run": mirror(workspace, stored, account, history=inputs.history, page=page),
    }


def _checks(history: pl.DataFrame, inputs: Admitted, settings: Settings) -> list[Result]:
    return run_checks(
        history,
        inputs.items if inputs.items.height else None,
        last_month=add_months(inputs.cycle, -1),
        levels=settings.levels,
        missing=settings.history.missing,
    )


def run_id_of(inputs: Admitted, settings: Settings) -> str:
    """``r-`` and 12 hex digits of everything that can change a number of the run."""
    parts = (
        month_name(inputs.cycle),
        str(settings.horizon),
        inputs.input_hash,
        settings.numbers_hash(),
        code_version(),
    )
    return f"r-{hashlib.sha256('|'.join(parts).encode()).hexdigest()[:12]}"


@cache
def code_version() -> str:
    """The release, and a digest of the source that makes the numbers."""
    root = Path(sopforecast.__file__).parent
    digest = hashlib.sha256()
    for part in CODE_OF_NUMBERS:
        files = [root / part] if part.endswith(".py") else sorted((root / part).rglob("*.py"))
        for file in files:
            digest.update(file.relative_to(root).as_posix().encode())
            digest.update(file.read_bytes())
    return f"{sopforecast.__version__}+{digest.hexdigest()[:8]}"


def _save(
    store: Store,
    run_id: str,
    inputs: Admitted,
    settings: Settings,
    result: CycleResult,
    *,
    at: datetime,
) -> None:
    row = {
        "run_id": run_id,
        "cycle": inputs.cycle,
        "horizon": settings.horizon,
        "known_by": inputs.known_by,
        "seed": settings.seed,
        "draws": settings.advanced.draws,
        "code_version": code_version(),
        "input_hash": inputs.input_hash,
        "settings_hash": settings.numbers_hash(),
        "settings": settings.numbers_text(),
        "levels": json.dumps(list(settings.levels), ensure_ascii=False),
        "items": len(result.hierarchy.items),
        "notes": "\n".join(result.notes),
        "created_at": at,
    }
    save_run(
        store,
        run=row,
        forecasts=_of_run(result.forecasts, run_id),
        components=_of_run(result.components, run_id),
        residual_paths=_of_run(result.residual_paths, run_id),
        weights=_of_run(result.weights, run_id),
        loads_used=inputs.loads_used,
    )


def _admit(
    workspace: Workspace, *, cycle: str | None, as_of: str | None, now: datetime
) -> Admitted:
    settings = workspace.settings
    moment = reading_moment(now, as_of=as_of, history_lag_days=settings.history_lag_days)
    return admit(
        workspace.store(),
        cycle=parse_month(cycle) if cycle is not None else None,
        moment=moment,
        cutoff_day=settings.cutoff_day if as_of is None else None,
    )


def _of_run(frame: pl.DataFrame, run_id: str) -> pl.DataFrame:
    return frame.with_columns(run_id=pl.lit(run_id))


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
