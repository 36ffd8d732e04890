"""Close a month: its demand is known, so what was said about it can be weighed.

Reads the statements of the runs that count, joins them to what came, and stores what each source
is worth. Closing again from the same inputs changes nothing; after a restatement it is a new fit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Literal, get_args

import polars as pl

from sopforecast.core.months import add_months, cutoff, month_name, parse_month
from sopforecast.core.stopwatch import Stopwatch
from sopforecast.errors import RequestError
from sopforecast.planning_store.frames import hash_rows
from sopforecast.planning_store.learned import (
    close_again,
    newest_close,
    read_credibility,
    save_close,
)
from sopforecast.planning_store.runs import find_run
from sopforecast.planning_store.store import Store
from sopforecast.settings import Settings
from sopforecast.tracking import log_close
from sopforecast.workflow.clock import reading_moment, utc_now
from sopforecast.workflow.closing import Closing, read_in_time, refuse_incomplete
from sopforecast.workflow.learned_tables import learned_rows
from sopforecast.workflow.recording import ID_DIGITS, code_version, digest
from sopforecast.workspace import Workspace

Method = Literal["closed_form", "nuts"]
METHODS: tuple[Method, ...] = get_args(Method)

OnProgress = Callable[[str, float], None]


def close(
    workspace: Workspace,
    *,
    cycle: str,
    as_of: str | None = None,
    method: str | None = None,
    require: float = 0.0,
    on_progress: OnProgress | None = None,
    now: datetime | None = None,
    shown: bool = True,
) -> dict[str, Any]:
    """Close the month of a cycle: weigh what was said about it and all months before.

    Parameters
    ----------
    workspace
        Whose data.
    cycle
        The month, YYYY-MM.
    as_of
        Read what was known by then; now by default.
    method
        ``closed_form`` or ``nuts``; from settings by default.
    require
        Share of the month's items, 0 to 1, whose demand must be known. A statement is weighed when
        all items below it are known; the others wait.
    on_progress
        Called with (stage, share done).
    now
        UTC without a time zone.
    shown
        False logs nothing to MLflow, as a replay of many cycles does.

    Returns
    -------
    dict
        cycle, fit_id (None: nothing to learn from), ``stands`` (True when the month had been closed
        from the same inputs before), method, known_at, scored, fresh (those of this month),
        opinions, waiting, ``learned`` (rows), notes, seconds, mlflow_run.

    Raises
    ------
    RequestError
        An unknown method, or a share outside 0 to 1.
    NotNow
        History does not reach the month, or too few of its items are known.
    """
    at, month, settings = now or utc_now(), parse_month(cycle), workspace.settings
    chosen = _method(method or settings.advanced.sampler)
    if not 0.0 <= require <= 1.0:
        raise RequestError(f"require: found {require}; allowed: a share from 0 to 1, such as 0.95")
    moment = reading_moment(at, as_of=as_of, history_lag_days=settings.history_lag_days)
    store, clock = workspace.store(), Stopwatch(on_progress)
    with clock.stage("read"):
        read, known_at = read_in_time(store, month, moment, at, cutoff_day=settings.cutoff_day)
        refuse_incomplete(store, read, settings, require=require)
    if read.over.is_empty():
        return _nothing(read, chosen) | {"seconds": clock.seconds}
    last_good = _last_good(store, read) if chosen == "nuts" else None
    inputs_hash = digest(
        read.digest, chosen, settings.numbers_hash(), code_version(), _fit_of(last_good)
    )
    stood = close_again(store, inputs_hash, closed=month, known_at=known_at, made_at=at)
    row = stood or _fit(
        store, read, settings, clock, method=chosen, known_at=known_at, at=at,
        last_good=last_good, inputs_hash=inputs_hash,
    )  # fmt: skip
    credibility = read_credibility(store, row["fit_id"])
    mirrored = None
    if shown and settings.advanced.mlflow:
        mirrored = _mirror(workspace, row, credibility, read.run_id, clock.seconds)
    return _told(row, credibility, settings) | {
        "stands": stood is not None,
        "notes": [note for note in row["notes"].split("\n") if note] + _late(row, settings),
        "seconds": clock.seconds,
        "mlflow_run": mirrored,
    }


def _method(text: str) -> Method:
    for method in METHODS:
        if text == method:
            return method
    raise RequestError(f"method: found {text!r}; allowed: {', '.join(METHODS)}")


def _nothing(read: Closing, method: str) -> dict[str, Any]:
    name = month_name(read.month)
    why = (
        f"no run of {name} or before is stored"
        if read.run_id is None
        else f"no override about {name} or before was stated in the runs that count"
    )
    return {
        "cycle": name, "fit_id": None, "stands": False, "method": method, "known_at": None,
        "scored": 0, "fresh": 0, "opinions": 0, "waiting": 0, "learned": [], "mlflow_run": None,
        "notes": [f"nothing to learn from: {why}"],
    }  # fmt: skip


def _last_good(store: Store, read: Closing) -> pl.DataFrame | None:
    """The newest earlier fit, to fall back on when a sampler fails its gates."""
    found = newest_close(store, before=read.month, known_by=read.known_by)
    return None if found is None else read_credibility(store, found["fit_id"])


def _fit_of(credibility: pl.DataFrame | None) -> str:
    return "" if credibility is None or credibility.is_empty() else str(credibility["fit_id"][0])


def _fit(
    store: Store,
    read: Closing,
    settings: Settings,
    clock: Stopwatch,
    *,
    method: Method,
    known_at: datetime,
    at: datetime,
    last_good: pl.DataFrame | None,
    inputs_hash: str,
) -> dict[str, Any]:
    """Learn and store; returns the row of ``closes``."""
    from sopforecast import cycle as engine

    with clock.stage("fit"):
        result = engine.close_cycle(
            read.statements, read.history, read.items,
            closed=read.month, known_at=known_at, settings=settings, method=method,
            last_good=last_good, clinical=read.clinical,
        )  # fmt: skip
    seen = result.observations
    # Beside the observations: what else can change a number of the fit.
    identity = digest(
        hash_rows(seen), month_name(read.month), method, settings.numbers_hash(), code_version(),
        _fit_of(last_good),
    )  # fmt: skip
    row = {
        "closed": read.month,
        "fit_id": f"c-{identity[:ID_DIGITS]}",
        "known_at": known_at,
        "made_at": at,
        "method": method,
        "inputs_hash": inputs_hash,
        "scored": seen.height,
        "fresh": seen.filter(pl.col("age") == 0).height,
        "opinions": seen["override_id"].n_unique(),
        "waiting": read.over.height - seen.height,
        "notes": "\n".join(result.notes),
    }
    with clock.stage("store"):
        fit_id = pl.lit(row["fit_id"]).alias("fit_id")
        save_close(store, close=row, credibility=result.credibility.with_columns(fit_id))
    return row


def _told(row: Mapping[str, Any], credibility: pl.DataFrame, settings: Settings) -> dict[str, Any]:
    return {
        "cycle": month_name(row["closed"]),
        "known_at": f"{row['known_at']:%Y-%m-%d %H:%M}",
        "min_closed": settings.advanced.min_closed,
        **{name: row[name] for name in ("fit_id", "method", "scored", "fresh", "opinions")},
        "waiting": row["waiting"],
        "learned": learned_rows(credibility, min_closed=settings.advanced.min_closed),
    }


def _late(row: Mapping[str, Any], settings: Settings) -> list[str]:
    """The note on a fit that the next cycle may not read, as a list of one sentence or none."""
    after = add_months(row["closed"], 1)
    due = cutoff(after, cutoff_day=settings.cutoff_day)
    if row["known_at"] <= due:
        return []
    return [
        f"this became known after the cut-off {due:%Y-%m-%d} of cycle {month_name(after)}, which "
        f"does not read it; later cycles do, and --as-of {row['known_at']:%Y-%m-%d}"
    ]


def _mirror(
    workspace: Workspace,
    row: Mapping[str, Any],
    credibility: pl.DataFrame,
    run_id: str | None,
    seconds: Mapping[str, float],
) -> str | None:
    run = None if run_id is None else find_run(workspace.store(), run_id)
    of_month = run is not None and run["cycle"] == row["closed"]
    return log_close(
        workspace.path,
        experiment=workspace.settings.name,
        close=row,
        cycle_run=run_id if of_month else None,
        steps=seconds,
        totals={name: float(row[name]) for name in ("scored", "fresh", "opinions", "waiting")},
        tables={"credibility": credibility},
    )
