"""Close a month: its demand is known, so every forecast of it is scored, and that teaches.

Scores, calibration, what each source is worth, widths and model weights are found again from what
was known, and the gate says which of them the cycles to come may use. Closing again from the same
inputs changes nothing; after a restatement it is a new fit, and the first scores stay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any, Literal, get_args

import polars as pl

from sopforecast import cycle as engine
from sopforecast.core.months import add_months, cutoff, month_name, parse_month
from sopforecast.core.stopwatch import Stopwatch
from sopforecast.errors import RequestError
from sopforecast.planning_store.learned import (
    close_again,
    newest_close,
    read_credibility,
    read_learned,
    save_close,
)
from sopforecast.planning_store.runs import find_run
from sopforecast.planning_store.store import Store
from sopforecast.settings import Settings
from sopforecast.tracking import log_close
from sopforecast.workflow.book import Book
from sopforecast.workflow.clock import reading_moment, utc_now
from sopforecast.workflow.closing import Closing, read_in_time, refuse_incomplete
from sopforecast.workflow.learned_tables import learned_rows
from sopforecast.workflow.learning import close_numbers, teach
from sopforecast.workflow.recording import ID_DIGITS, code_version, digest
from sopforecast.workflow.shelf import Shelf
from sopforecast.workflow.status import plain_rows
from sopforecast.workspace import Workspace

Method = Literal["closed_form", "nuts"]
METHODS: tuple[Method, ...] = get_args(Method)

OnProgress = Callable[[str, float], None]
SHOWN = ("value_added", "learning_log", "calibration", "kpis")
# Mirrored to MLflow: nothing of patients, sites or cohorts.
MIRRORED = (
    *("scored_actuals", "scores", "value_added", "calibration", "learned_widths"),
    *("learned_weights", "contests", "learning_log"),
)


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
    shelf: Shelf | None = None,
    book: Book | None = None,
) -> dict[str, Any]:
    """Close the month of a cycle: score what was forecast for it, and learn from all months so far.

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
        Share of the month's items, 0 to 1, whose demand must be known. A node is scored when all
        items below it are known; the others wait for the next close of the month.
    on_progress
        Called with (stage, share done).
    now
        UTC without a time zone.
    shown
        False logs nothing to MLflow.
    shelf, book
        Draws and model paths kept from one close to the next, as a replay does.

    Returns
    -------
    dict
        cycle, fit_id (None: nothing to learn from), ``stands`` (True when the month had been closed
        from the same inputs before), method, known_at; of statements: scored, fresh (those of this
        month), opinions, waiting, ``learned`` (rows); ``nodes`` scored now, ``late`` items,
        ``restated`` items, and rows of value_added, learning_log, calibration, kpis; notes,
        seconds, mlflow_run.

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
    if read.run_id is None:
        return _nothing(read, chosen) | {"seconds": clock.seconds}
    last_good = _last_good(store, read) if chosen == "nuts" else None
    said = digest(
        read.digest, chosen, settings.numbers_hash(), settings.kpi.model_dump_json(),
        code_version(), _fit_of(last_good), "sources", *settings.sources,
    )  # fmt: skip
    row = _stands(store, read.same, said, month=month, known_at=known_at, at=at)
    stood = row is not None
    if row is None:
        row = _fit(
            store, read, settings, clock, method=chosen, known_at=known_at, at=at,
            last_good=last_good, inputs_hash=_after(said, read.same),
            shelf=shelf or Shelf(store, settings), book=book or Book(store),
        )  # fmt: skip
    credibility = read_credibility(store, row["fit_id"])
    found = {name: read_learned(store, name, [row["fit_id"]]) for name in (*SHOWN, *MIRRORED)}
    mirrored = None
    if shown and settings.advanced.mlflow:
        tables = {"credibility": credibility} | {name: found[name] for name in MIRRORED}
        mirrored = _mirror(workspace, row, tables, read.run_id, clock.seconds)
    return _told(row, credibility, found, settings) | {
        "stands": stood,
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
    return {
        "cycle": name, "fit_id": None, "stands": False, "method": method, "known_at": None,
        "scored": 0, "fresh": 0, "opinions": 0, "waiting": 0, "learned": [], "mlflow_run": None,
        "notes": [f"nothing to learn from: no run of {name} or before is stored"],
    }  # fmt: skip


def _last_good(store: Store, read: Closing) -> pl.DataFrame | None:
    """The newest earlier fit, to fall back on when a sampler fails its gates."""
    found = newest_close(store, before=read.month, known_by=read.known_by)
    return None if found is None else read_credibility(store, found["fit_id"])


def _fit_of(credibility: pl.DataFrame | None) -> str:
    return "" if credibility is None or credibility.is_empty() else str(credibility["fit_id"][0])


def _stands(
    store: Store, same: pl.DataFrame, said: str, *, month: date, known_at: datetime, at: datetime
) -> dict[str, Any] | None:
    """The newest close of the month, when it read exactly this; else None, nothing written."""
    if same.is_empty():
        return None
    newest = same.row(-1, named=True)
    if newest["inputs_hash"] != _after(said, same.head(-1)):
        return None
    return close_again(store, newest["inputs_hash"], closed=month, known_at=known_at, made_at=at)


def _after(said: str, same: pl.DataFrame) -> str:
    """What was read, and after which other close of the same month: its first scores stay."""
    return digest(said, same["fit_id"][-1] if same.height else "first")


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
    shelf: Shelf,
    book: Book,
) -> dict[str, Any]:
    """Score, learn and store; returns the row of ``closes``."""
    taught = teach(store, read, settings, shelf=shelf, book=book, clock=clock)
    with clock.stage("credibility"):
        result = engine.close_cycle(
            read.statements, read.history, read.items,
            closed=read.month, known_at=known_at, settings=settings, method=method,
            last_good=last_good, clinical=read.clinical,
        )  # fmt: skip
    seen = result.observations
    row = {
        "closed": read.month,
        "fit_id": f"c-{inputs_hash[:ID_DIGITS]}",
        "known_at": known_at,
        "made_at": at,
        "method": method,
        "inputs_hash": inputs_hash,
        "scored": seen.height,
        "fresh": seen.filter(pl.col("age") == 0).height,
        "opinions": seen["override_id"].n_unique(),
        "waiting": read.over.height - seen.height,
        "notes": "\n".join((*taught.notes, *result.notes)),
        "after": read.same["fit_id"][-1] if read.same.height else None,
    }
    with clock.stage("store"):
        fit_id = pl.lit(row["fit_id"]).alias("fit_id")
        save_close(
            store,
            close=row,
            credibility=result.credibility.with_columns(fit_id),
            tables=taught.tables,
        )
    return row


def _told(
    row: Mapping[str, Any],
    credibility: pl.DataFrame,
    found: Mapping[str, pl.DataFrame],
    settings: Settings,
) -> dict[str, Any]:
    actuals = found["scored_actuals"]
    return {
        "cycle": month_name(row["closed"]),
        "known_at": f"{row['known_at']:%Y-%m-%d %H:%M}",
        "min_closed": settings.advanced.min_closed,
        **{name: row[name] for name in ("fit_id", "method", "scored", "fresh", "opinions")},
        "waiting": row["waiting"],
        "learned": learned_rows(credibility, min_closed=settings.advanced.min_closed),
        "items": actuals.filter(pl.col("version") == "first").height,
        "restated": actuals.filter(pl.col("version") == "restated").height,
        **{name: plain_rows(found[name].drop("fit_id")) for name in SHOWN},
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
    tables: Mapping[str, pl.DataFrame],
    run_id: str | None,
    seconds: Mapping[str, float],
) -> str | None:
    """Log the close under its cycle: tables, numbers, and what the gate decided as a tag."""
    run = None if run_id is None else find_run(workspace.store(), run_id)
    of_month = run is not None and run["cycle"] == row["closed"]
    log = tables["learning_log"]
    rules = ", ".join(f"{table}: {rules}" for table, rules in log.select("table", "rules").rows())
    totals = {name: float(row[name]) for name in ("scored", "fresh", "opinions", "waiting")}
    return log_close(
        workspace.path,
        experiment=workspace.settings.name,
        close={**row, "rules": rules},
        cycle_run=run_id if of_month else None,
        steps=seconds,
        totals=totals | close_numbers(tables),
        tables=tables,
    )
