"""What was learned, as tables to take away: the rows of a fit, and the statements it rests on."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Any

import polars as pl

from sopforecast.core.evidence_tables import ANY
from sopforecast.core.learning_tables import CLOSE_TABLES
from sopforecast.core.months import add_months, month_end, month_name
from sopforecast.errors import RequestError
from sopforecast.judgement.credibility import opinions_of_sources
from sopforecast.planning_store.counting import counting_runs
from sopforecast.planning_store.learned import (
    newest_close,
    read_credibility,
    read_learned,
    standing_closes,
)
from sopforecast.planning_store.runs import find_run
from sopforecast.planning_store.store import Store
from sopforecast.settings import Settings
from sopforecast.workflow.closing import read_closing

LEARNED_TABLES = ("credibility", "closed", *CLOSE_TABLES)
# Tables to which every close adds rows of its own month; of the others the newest close says all.
OF_ALL_CLOSES = ("scored_actuals", "scores", "contests", "learning_log", "enrolment_scores")
CLOSED_COLUMNS = (
    *("override_id", "source", "owner", "reason", "event_id", "assumption", "node", "per", "kind"),
    *("entered_cycle", "entered_lead", "ds_from", "ds_to", "baseline", "stated", "adjustment"),
    *("actual", "unit_sd", "run_id"),
)


def find_close(store: Store, *, cycle: date | None, run_id: str | None) -> dict[str, Any]:
    """The newest close, or the one that the runs of a cycle read.

    Parameters
    ----------
    store
        Where from.
    cycle
        The cycle whose run counts says what was known; None: no limit.
    run_id
        A run instead.

    Raises
    ------
    RequestError
        No such run, or nothing had been closed.
    """
    if run_id is None and cycle is not None:
        run_id = counting_runs(store, known_by=datetime.max).get(cycle)
        if run_id is None:
            raise RequestError(f"there is no run of cycle {month_name(cycle)} yet")
    if run_id is None:
        found, of = newest_close(store), ""
    else:
        run = find_run(store, run_id)
        if cycle is not None and run["cycle"] != cycle:
            of_cycle = month_name(run["cycle"])
            raise RequestError(f"run {run_id} is of cycle {of_cycle}, not {month_name(cycle)}")
        found = newest_close(store, before=run["cycle"], known_by=run["known_by"])
        of = f" by the cut-off of cycle {month_name(run['cycle'])}"
    if found is None:
        raise RequestError(
            f"nothing had been closed{of}; close a month that is over: "
            "sopforecast close --cycle YYYY-MM"
        )
    return found


def learned_table(
    store: Store, name: str, close: dict[str, Any], *, settings: Settings
) -> pl.DataFrame:
    """``credibility``: the rows of that close; ``closed``: the statements behind them.

    Of the tables of scores and learning: its rows, or (``OF_ALL_CLOSES``) those of all closes up to
    it.

    A row of ``closed`` is one scalar of one override as it was entered: what the statistical
    forecast said (``baseline``), what was stated, and what came (``actual``), all sums over the
    node's items and the months ``ds_from`` to ``ds_to``.
    """
    if name == "credibility":
        return read_credibility(store, close["fit_id"])
    if name in OF_ALL_CLOSES:
        log = standing_closes(
            store, before=add_months(close["closed"], 1), known_by=close["known_at"]
        )
        return read_learned(store, name, log["fit_id"].to_list())
    if name in CLOSE_TABLES:
        return read_learned(store, name, [close["fit_id"]])
    from sopforecast import cycle as engine

    ended = datetime.combine(month_end(close["closed"]), time.max)
    known_by = max(close["known_at"], ended + timedelta(days=settings.history_lag_days))
    read = read_closing(store, close["closed"], known_by)
    seen = engine.close_cycle(
        read.statements, read.history, read.items,
        closed=close["closed"], known_at=close["known_at"], settings=settings,
        method="closed_form", clinical=read.clinical,
    ).observations  # fmt: skip
    joined = read.over.join(
        seen.select("override_id", "ds_from", "y"), on=["override_id", "ds_from"]
    )
    actual = pl.col("baseline") + pl.col("y") * pl.col("unit_sd")
    return joined.with_columns(actual=actual).select(CLOSED_COLUMNS).sort("override_id", "ds_from")


def value_added_before(store: Store, cycle: date, *, known_by: datetime) -> pl.DataFrame:
    """``ValueAdded`` rows of the newest close before a cycle known by its cut-off; none without."""
    found = newest_close(store, before=cycle, known_by=known_by)
    return read_learned(store, "value_added", [] if found is None else [found["fit_id"]])


def learned_rows(credibility: pl.DataFrame, *, min_closed: int) -> list[dict[str, Any]]:
    """What was learned of each owner and direction, all reasons together.

    ``n`` are closed opinions; ``weight`` with its 80% range ``low`` to ``high``; ``shift`` and
    ``spread`` in multiples of the forecast's own error. ``prior_only``: the source has fewer than
    `min_closed` closed opinions, so none of it counts yet.
    """
    whole = credibility.filter(pl.col("reason") == ANY)
    heard = opinions_of_sources(credibility)
    rows = whole.filter(pl.col("owner") != ANY, pl.col("opinions") > 0).sort(
        "source", "owner", "direction", descending=[False, False, True]
    )
    return rows.select(
        "source", "owner", "direction", "weight", "shift", "spread",
        n="opinions", low="weight_p10", high="weight_p90",
        prior_only=pl.col("source").replace_strict(heard, default=0) < min_closed,
    ).to_dicts()  # fmt: skip
