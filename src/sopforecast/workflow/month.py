"""Forecast a cycle: admit the rows, run the engine once, store the run, show it.

The same inputs, settings and code have the same run id and are never computed twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from sopforecast.clinical.clinic import Clinic
from sopforecast.core.months import add_months
from sopforecast.core.stopwatch import Stopwatch
from sopforecast.cycle import run_cycle
from sopforecast.planning_store.runs import reuse_run
from sopforecast.planning_store.store import Store
from sopforecast.settings import Settings, with_horizon
from sopforecast.workflow.account import Account, check_lines, load_account, save_account
from sopforecast.workflow.admission import Admitted
from sopforecast.workflow.book import Book
from sopforecast.workflow.champions import learned_for, used_by
from sopforecast.workflow.checking import admit_cycle, checks_of
from sopforecast.workflow.clinical import asked_on, clinic_of
from sopforecast.workflow.clock import utc_now
from sopforecast.workflow.evidence import gather_evidence, not_closed, not_closed_sentence
from sopforecast.workflow.recording import record_run, run_id_of
from sopforecast.workflow.showing import (
    account_path,
    mirror,
    read_run,
    shown_history,
    summarise,
    write_review,
)
from sopforecast.workflow.studies import studies_of
from sopforecast.workspace import Workspace

OnProgress = Callable[[str, float], None]


def run(
    workspace: Workspace,
    *,
    cycle: str | None = None,
    horizon: int | None = None,
    as_of: str | None = None,
    on_progress: OnProgress | None = None,
    now: datetime | None = None,
    shown: bool = True,
    logged: bool | None = None,
    book: Book | None = None,
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
    shown
        False writes no page, as a replay of many cycles does.
    logged
        Whether it is mirrored to MLflow; as ``shown`` when left out.
    book
        Model paths kept from one cycle to the next, as a replay does.

    Returns
    -------
    dict
        run_id, cycle, horizon, items, known_by, ``stands`` (True when the same inputs had been
        run before), stage, headline, fallbacks, check_counts, seconds, notes, page; of judgement
        ``overrides`` (new, carried, changed, expired, ...: a sentence each), ``override_counts``,
        ``moved`` (what each source moved the total by) and ``sentences``; ``rules``: the procedure
        of every learned table, and the fit it used.

    Raises
    ------
    RequestError
        No history, or a horizon that is not allowed.
    NotNow
        History does not reach the month before the cycle.
    """
    moment, logged = now or utc_now(), shown if logged is None else logged
    settings = workspace.settings
    if horizon is not None:
        settings = with_horizon(settings, horizon)
    inputs = admit_cycle(workspace, cycle=cycle, as_of=as_of, now=moment)
    store = workspace.store()
    champions = learned_for(store, inputs.cycle, known_by=inputs.known_by, settings=settings)
    evidence = gather_evidence(store, inputs, champions)
    run_id = run_id_of(inputs, settings, evidence, champions)
    remarks = inputs.left_out(moment) + _unclosed(store, inputs)
    rules = champions.run_tables(spoken=evidence.entered is not None).to_dicts()
    stood = reuse_run(store, run_id, at=moment, loads_used=inputs.loads_used)
    if stood:
        told = _told_again(
            workspace, run_id, inputs, settings, shown=shown, logged=logged, now=moment
        )
        return told | {"rules": rules, "notes": told["notes"] + remarks}
    clock, book = Stopwatch(on_progress), book or Book(store)
    result = run_cycle(
        inputs.history,
        inputs.items,
        cycle=inputs.cycle,
        settings=settings,
        overrides=inputs.overrides,
        prices=inputs.prices,
        credibility=evidence.credibility,
        entered=evidence.entered,
        clinical=inputs.clinical,
        learned=champions.learned,
        known=book.known(add_months(inputs.cycle, -1), settings.horizon),
        on_progress=on_progress,
    )
    with clock.stage("store"):
        record_run(store, run_id, inputs, settings, result, champions, at=moment)
        book.keep(result.model_paths, run_id)
        stored = read_run(workspace, run_id)
    account = Account(
        checks=check_lines(result.checks),
        seconds={**result.seconds, **clock.seconds},
        backtest=result.backtest,
        history=shown_history(stored, result.history_nodes),
        told=result.told,
        studies=_studies(workspace, result.clinic, inputs, settings, moment) if shown else (),
    )
    save_account(account_path(workspace, stored), account)
    page = mirrored = None
    if shown:
        with clock.stage("page"):
            page = write_review(workspace, stored, account)
    if logged:
        with clock.stage("mlflow"):
            mirrored = mirror(workspace, stored, account, history=inputs.history, page=page)
    told = summarise(stored, account)
    return told | {
        "workspace": str(workspace.path),
        "stands": False,
        "rules": rules,
        "notes": told["notes"] + remarks,
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
    workspace: Workspace,
    run_id: str,
    inputs: Admitted,
    settings: Settings,
    *,
    shown: bool,
    logged: bool,
    now: datetime,
) -> dict[str, Any]:
    """A run that stands: what an interruption kept from being written is made up for."""
    stored = read_run(workspace, run_id)
    path = account_path(workspace, stored)
    account = load_account(path)
    lacks_studies = shown and not account.studies and inputs.clinical.studies.height > 0
    if not account.checks:
        checks = check_lines(checks_of(inputs.history, inputs, settings))
        account = replace(account, checks=checks)
        save_account(path, account)
    if lacks_studies:
        conversion = used_by(workspace.store(), run_id).learned.conversion
        clinic = clinic_of(inputs, settings, conversion=conversion)
        studies = _studies(workspace, clinic, inputs, settings, now)
        account = replace(account, studies=studies)
        save_account(path, account)
    page = mirrored = None
    if shown:
        page = write_review(workspace, stored, account)
    if logged:
        mirrored = mirror(workspace, stored, account, history=inputs.history, page=page)
    return summarise(stored, account) | {
        "workspace": str(workspace.path),
        "stands": True,
        "page": _text(page),
        "mlflow_run": mirrored,
    }


def _studies(
    workspace: Workspace,
    clinic: Clinic | None,
    inputs: Admitted,
    settings: Settings,
    moment: datetime,
) -> tuple[dict[str, Any], ...]:
    """What is told of every study; nothing without one."""
    if clinic is None:
        return ()
    today = asked_on(inputs, moment)
    return studies_of(workspace.store(), clinic, inputs, settings, today=today)


def _unclosed(store: Store, inputs: Admitted) -> list[str]:
    """The note on earlier months that are not closed, as a list of one sentence or none."""
    months = not_closed(store, before=inputs.cycle, known_by=inputs.known_by)
    return [not_closed_sentence(months)] if months else []


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
