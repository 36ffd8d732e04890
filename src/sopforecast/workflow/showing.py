"""A stored run as people see it: the headline, the review page, and the mirror in MLflow.

Nothing here can change a number or fail a run: the run is stored before anything is shown.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from sopforecast.core.hierarchy import TOTAL
from sopforecast.core.months import month_name
from sopforecast.planning_store import publish as publishing
from sopforecast.planning_store.inputs import admitted
from sopforecast.planning_store.runs import (
    find_run,
    read_bridge,
    read_clinical,
    read_components,
    read_forecasts,
    read_statements,
    read_weights,
    stage_stored,
)
from sopforecast.review import account as telling
from sopforecast.review import wording
from sopforecast.review.clinical import StudyPart
from sopforecast.review.headline import headline
from sopforecast.review.judgement import SHOWN_SENTENCES, Judgement
from sopforecast.review.page import write_page
from sopforecast.tracking import log_cycle
from sopforecast.workflow.account import Account
from sopforecast.workflow.learned_tables import value_added_before
from sopforecast.workflow.nodes import members, node_levels, node_units
from sopforecast.workflow.status import plain_rows
from sopforecast.workflow.studies import study_parts
from sopforecast.workspace import Workspace

SHOWN_STAGE = "consensus"
TOLD = ("new", "carried", "changed", "expired", "in_history", "waiting")
TOLD_OF_STUDY = ("study", "headline", "status", "lines", "confirm", "changes")
SENTENCES = 5

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class StoredRun:
    """A run as the store has it, with the items it could read and what stands published.

    ``stage`` is the stored stage that is shown: the published one, else the consensus; without
    overrides both are the statistical forecast.
    """

    row: Mapping[str, Any]
    stage: str
    forecasts: pl.DataFrame
    components: pl.DataFrame
    weights: pl.DataFrame
    statements: pl.DataFrame
    bridge: pl.DataFrame
    items: pl.DataFrame
    published: Mapping[str, Any] | None

    @cached_property
    def members(self) -> pl.DataFrame:
        """Which nodes each item is part of."""
        return members(self.components, levels=json.loads(self.row["levels"]))

    @cached_property
    def descriptions(self) -> dict[str, str]:
        """Item to description."""
        return dict(self.items.select("unique_id", "description").drop_nulls().iter_rows())


def read_run(workspace: Workspace, run_id: str) -> StoredRun:
    """A run out of the store.

    Raises
    ------
    RequestError
        No such run.
    """
    store = workspace.store()
    row = find_run(store, run_id)
    published = publishing.standing(store, row["cycle"])
    is_this = published is not None and published["run_id"] == run_id
    wanted = published["stage"] if published is not None and is_this else SHOWN_STAGE
    stage = stage_stored(store, run_id, wanted) or wanted
    return StoredRun(
        row=row,
        stage=stage,
        forecasts=read_forecasts(store, run_id, stage),
        components=read_components(store, run_id),
        weights=read_weights(store, run_id),
        statements=read_statements(store, [run_id]),
        bridge=read_bridge(store, run_id),
        items=admitted(store, "items", known_by=row["known_by"]),
        published=published,
    )


def shown_history(run: StoredRun, history_nodes: pl.DataFrame) -> pl.DataFrame:
    """Demand of the nodes the page draws: unique_id, ds, y."""
    head = headline(run.forecasts, node_levels=node_levels(run.members))
    shown = [*head.totals["unique_id"], *head.widest["unique_id"]]
    return history_nodes.filter(pl.col("unique_id").is_in(shown)).select("unique_id", "ds", "y")


def account_path(workspace: Workspace, run: StoredRun) -> Path:
    """Where what the run told about itself is kept."""
    return workspace.out(run.row["cycle"]) / f"{run.row['run_id']}.json"


def summarise(run: StoredRun, account: Account) -> dict[str, Any]:
    """The run as JSON values: who it is, its headline, and what a planner must know about it."""
    row, published = run.row, run.published
    fallbacks = telling.fallbacks(run.components)
    head = headline(
        run.forecasts, node_levels=node_levels(run.members), history_nodes=account.history
    )
    return {
        "run_id": row["run_id"],
        "cycle": month_name(row["cycle"]),
        "horizon": row["horizon"],
        "items": row["items"],
        "known_by": f"{row['known_by']:%Y-%m-%d %H:%M}",
        "published_run": None if published is None else published["run_id"],
        "headline": {
            "totals": _labelled(head.totals, run.descriptions),
            "widest": _labelled(head.widest, run.descriptions),
        },
        "fallbacks": fallbacks["rows"] if fallbacks is not None else [],
        "notes": [note for note in row["notes"].split("\n") if note],
        "check_counts": account.check_counts,
        "checks": [vars(line) for line in account.checks if line.status in ("error", "warning")],
        "backtest": [_finite(entry) for entry in plain_rows(account.backtest)],
        "seconds": account.seconds,
        "stage": run.stage,
        "overrides": {key: list(account.told.get(key, ())) for key in TOLD},
        "override_counts": {key: len(account.told.get(key, ())) for key in TOLD},
        "moved": moved(run.bridge),
        "sentences": _sentences(run.statements),
        "studies": [{key: one[key] for key in TOLD_OF_STUDY} for one in account.studies],
    }


def moved(bridge: pl.DataFrame) -> list[dict[str, Any]]:
    """What each step of a bridge moved the total by: step, change over all months, and how
    many months it moved.

    In the order of the steps; the statistical plan itself and what rounding adds are left out.
    """
    steps = bridge.filter(
        pl.col("unique_id") == TOTAL,
        pl.col("step").str.starts_with("source:") | (pl.col("step") == "fixed"),
        pl.col("change") != 0,
    )
    told = steps.group_by("step").agg(
        pl.col("position").min(), pl.col("change").sum(), months=pl.col("ds").n_unique()
    )
    return told.sort("position", "step").drop("position").to_dicts()


def write_review(workspace: Workspace, run: StoredRun, account: Account) -> Path | None:
    """Write the review page; one that cannot be written is a warning, the run is stored."""
    named = {"name": workspace.settings.name, "published": _published(run)}
    path = workspace.page(run.row["cycle"])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return write_page(
            path,
            run={**run.row, **named},
            forecasts=run.forecasts,
            node_levels=node_levels(run.members),
            history_nodes=account.history,
            descriptions=run.descriptions,
            checks=[(line.check, line.status, line.sentence, line.rows) for line in account.checks],
            weights=run.weights,
            seconds=account.seconds,
            backtest=account.backtest,
            units=node_units(run.items, run.members),
            components=run.components,
            judgement=_judgement(workspace, run, account),
            studies=_studies(workspace, run, account),
            value_added=value_added_before(
                workspace.store(), run.row["cycle"], known_by=run.row["known_by"]
            ),
        )
    except OSError as err:
        logger.warning("the run is stored, but its page could not be written: %s", err)
        return None


def _studies(workspace: Workspace, run: StoredRun, account: Account) -> tuple[StudyPart, ...]:
    if not account.studies:
        return ()
    forecasts = read_clinical(workspace.store(), "enrolment_forecasts", run.row["run_id"])
    return study_parts(account.studies, forecasts, cycle=run.row["cycle"])


def mirror(
    workspace: Workspace,
    run: StoredRun,
    account: Account,
    *,
    history: pl.DataFrame,
    page: Path | None,
) -> str | None:
    """Log the run to MLflow; its id there, or None when that is switched off or fails.

    The page of a run with studies is not logged: it names patients listed in tiers.
    """
    if not workspace.settings.advanced.mlflow:
        return None
    backtest, seconds = account.backtest.sort("lead"), account.seconds
    return log_cycle(
        workspace.path,
        experiment=workspace.settings.name,
        run={**run.row, "cycle": month_name(run.row["cycle"]), "stage": run.stage},
        settings_text=str(run.row["settings"]),
        steps=seconds,
        lead_metrics={
            name: backtest[name].to_list() for name in backtest.columns if name != "lead"
        },
        totals={"items": float(run.row["items"]), "seconds": sum(seconds.values())},
        history=history.select("unique_id", "ds", "y"),
        tables={
            "forecasts": run.forecasts,
            "weights": run.weights,
            "checks": pl.DataFrame([vars(line) for line in account.checks]),
            **_judged(run),
        },
        page=None if account.studies else page,
    )


def _judged(run: StoredRun) -> dict[str, pl.DataFrame]:
    """Tables of judgement, when somebody spoke."""
    tables = {"statements": run.statements, "bridge": run.bridge}
    return {name: frame for name, frame in tables.items() if frame.height}


def _sentences(statements: pl.DataFrame) -> list[str]:
    """What the statements that moved the plan most did to it, for the people who made them."""
    if statements.is_empty():
        return []
    from sopforecast.judgement.bridge import sentences

    return sentences(statements, most=SENTENCES)


def _judgement(workspace: Workspace, run: StoredRun, account: Account) -> Judgement | None:
    """What people said, for the page; None when nobody did."""
    if run.statements.is_empty() and not any(account.told.values()):
        return None
    from sopforecast.judgement.bridge import sentences

    return Judgement(
        statements=run.statements,
        bridge=run.bridge,
        statistical=read_forecasts(workspace.store(), run.row["run_id"], "statistical"),
        told=account.told,
        sentences=sentences(run.statements, most=SHOWN_SENTENCES),
    )


def _published(run: StoredRun) -> str | None:
    if run.published is None:
        return None
    words = f"version {run.published['version']}, by {run.published['by']}"
    is_this = run.published["run_id"] == run.row["run_id"]
    return words if is_this else f"another run, {run.published['run_id']}: {words}"


def _labelled(frame: pl.DataFrame, descriptions: Mapping[str, str]) -> list[dict[str, Any]]:
    rows = plain_rows(frame)
    for row in rows:
        label = wording.node_label(row["unique_id"], level=row["level"])
        described = descriptions.get(row["unique_id"])
        row["label"] = f"{label} {described}" if described else label
    return rows


def _finite(row: Mapping[str, Any]) -> dict[str, Any]:
    """JSON knows neither NaN nor infinity."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in row.items()
    }
