"""Mirror each cycle into MLflow, beside the planning store; the only module that imports MLflow.

One parent run a cycle with a child run a step, its close among them, in ``mlflow.db`` with
``mlartifacts/`` beside it. The planning store is the truth: nothing is ever read back from here,
and a failure is a logged warning. Patients and deals never come here.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import polars.selectors as cs

from sopforecast.core.months import month_name
from sopforecast.core.process import as_before
from sopforecast.core.redaction import redacted, scrub

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run

DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"
NEVER_LOGGED = frozenset({"tier_lines", "enrolment"})

_IDS = ("run_id", "fit_id", "input_hash", "code_version", "settings_hash")
_TAGS = (*_IDS, "stage", "step", "rules")
_OF_RUN = ("cycle", "horizon", "seed", "draws", "items", "levels", "known_by")
_PARAMETERS = (*_OF_RUN, "closed", "method", "known_at")
_PARENT = "mlflow.parentRunId"
_TELEMETRY_OFF = "MLFLOW_DISABLE_TELEMETRY"

logger = logging.getLogger(__name__)


def log_cycle(
    workspace: Path,
    *,
    experiment: str,
    run: Mapping[str, object],
    settings_text: str,
    steps: Mapping[str, float],
    lead_metrics: Mapping[str, Sequence[float | None]],
    totals: Mapping[str, float],
    history: pl.DataFrame,
    tables: Mapping[str, pl.DataFrame],
    page: Path | None = None,
) -> str | None:
    """Write one cycle's run, or find the one already written for the same ``run_id``.

    Parameters
    ----------
    workspace : Path
        Folder of the workspace.
    experiment : str
        The planning scope, such as the name of the company.
    run : mapping
        run_id, and what there is of input_hash, code_version, settings_hash, stage (tags), cycle,
        horizon, seed, draws, items, levels and known_by (parameters); the rest is ignored.
    settings_text : str
        The settings as TOML or JSON; values of secret settings are hidden.
    steps, lead_metrics, totals : mapping
        Step to seconds, in the order they ran (each a child run); metric to its values at lead
        1, 2, ... (``step`` is the lead; None, NaN left out); metric to one value of the whole run.
    history : pl.DataFrame
        unique_id, ds, y as fitted; its shape and hash are logged as the run's input, not its rows.
    tables : mapping
        Name to frame, logged as ``tables/<name>.parquet``; ``NEVER_LOGGED`` ones are left out.
    page : Path, optional
        The review page.

    Returns
    -------
    str or None
        The MLflow run id; None, with a logged warning, when it could not be written.
    """
    record = _Record("run_id", run, steps, lead_metrics, totals, tables, history, page)
    return _mirrored(workspace, record, experiment=experiment, settings_text=settings_text)


def log_close(
    workspace: Path,
    *,
    experiment: str,
    close: Mapping[str, object],
    cycle_run: str | None,
    steps: Mapping[str, float],
    totals: Mapping[str, float],
    tables: Mapping[str, pl.DataFrame],
) -> str | None:
    """Write the close of a month under its cycle, or find the one written for the same fit.

    Parameters
    ----------
    workspace, experiment, steps, totals, tables
        As in ``log_cycle``, and so is what is returned.
    close : mapping
        fit_id, rules (tags), closed, method and known_at (parameters); the rest is ignored.
    cycle_run : str, optional
        ``run_id`` of the cycle; the close stands alone when that is not mirrored.
    """
    run = {"step": "close", **close}
    record = _Record("fit_id", run, steps, {}, totals, tables, under=cycle_run)
    return _mirrored(workspace, record, experiment=experiment, settings_text="{}")


def _mirrored(
    workspace: Path, record: _Record, *, experiment: str, settings_text: str
) -> str | None:
    secrets: frozenset[str] = frozenset()
    try:
        settings, secrets = redacted(settings_text)
        with _polite_mlflow():
            mirror = _open(workspace, experiment=experiment, secrets=secrets)
            return _write(mirror, replace(record, settings=settings))
    except Exception as err:  # noqa: BLE001
        # The one place where any failure is survived: the cycle is already safe in the planning
        # store, and MLflow, its migrations and its many parts must never fail it.
        text = scrub(f"{type(err).__name__}: {err}", secrets).splitlines()[0]
        logger.warning("the cycle is stored, but was not mirrored to MLflow (%s)", text)
        return None


@dataclass(frozen=True)
class _Mirror:
    client: MlflowClient
    experiment: Experiment
    secrets: frozenset[str]

    def clean(self, value: object) -> str:
        """The value as text without secrets; a month as ``2026-12``, a list joined."""
        if isinstance(value, date) and not isinstance(value, datetime):
            value = month_name(value)
        text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        return scrub(text, self.secrets)


@dataclass(frozen=True)
class _Record:
    """What is written; ``key`` is the tag that makes it one of a kind, ``under`` a parent's id."""

    key: str
    run: Mapping[str, object]
    steps: Mapping[str, float]
    lead_metrics: Mapping[str, Sequence[float | None]]
    totals: Mapping[str, float]
    tables: Mapping[str, pl.DataFrame]
    history: pl.DataFrame | None = None
    page: Path | None = None
    under: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


def _open(workspace: Path, *, experiment: str, secrets: frozenset[str]) -> _Mirror:
    from mlflow import MlflowClient

    folder = workspace.resolve()
    if re.search(r"[%?]", str(folder)):
        raise ValueError(f"MLflow cannot keep a database in {folder}: rename it without % and ?")
    client = MlflowClient(tracking_uri=f"sqlite:///{(folder / DATABASE).as_posix()}")
    found = client.get_experiment_by_name(experiment)
    if found is None:
        location = (folder / ARTIFACTS).as_uri()
        found = client.get_experiment(client.create_experiment(experiment, location))
    return _Mirror(client, found, secrets)


def _write(mirror: _Mirror, record: _Record) -> str:
    """Find or start the run and fill it; one left half-written is filled to the end."""
    parent = _find(mirror, record.key, record.run[record.key]) or _start(mirror, record)
    number, start = str(parent.info.run_id), int(parent.info.start_time)
    if parent.info.status == "FINISHED":
        return number
    try:
        _log_numbers(mirror, record, number=number, at=start)
        if record.history is not None:
            _log_input(mirror, record, record.history, number=number)
        _log_steps(mirror, record.steps, parent=number, at=start)
        _log_files(mirror, record, number=number)
    except BaseException:
        with suppress(Exception):
            mirror.client.set_terminated(number, status="FAILED")
        raise
    mirror.client.set_terminated(number, status="FINISHED")
    return number


def _find(mirror: _Mirror, tag: str, value: object) -> Run | None:
    experiments = [mirror.experiment.experiment_id]
    found = mirror.client.search_runs(experiments, f"tags.{tag} = '{value}'", max_results=1)
    return found[0] if found else None


def _start(mirror: _Mirror, record: _Record) -> Run:
    tags = {name: mirror.clean(record.run[name]) for name in _TAGS if record.run.get(name)}
    parent = None if record.under is None else _find(mirror, "run_id", record.under)
    if parent is not None:
        tags[_PARENT] = str(parent.info.run_id)
    began = int(1000 * (time.time() - sum(record.steps.values())))
    month = mirror.clean(record.run.get("cycle") or record.run.get("closed", "cycle"))
    name = f"{month} {tags[record.key][:8]}"
    return mirror.client.create_run(mirror.experiment.experiment_id, began, tags, run_name=name)


def _log_numbers(mirror: _Mirror, record: _Record, *, number: str, at: int) -> None:
    """Parameters and metrics; logging the same again changes nothing (same step and time)."""
    from mlflow.entities import Metric, Param

    known = mirror.client.get_run(number).data.params
    parameters = [
        Param(name, mirror.clean(record.run[name])[:500])
        for name in _PARAMETERS
        if record.run.get(name) is not None and name not in known
    ]
    mirror.client.log_batch(number, params=parameters)
    cells: list[tuple[str, float | None, int]] = [(n, v, 0) for n, v in record.totals.items()]
    for name, leads in record.lead_metrics.items():
        cells.extend((name, value, lead) for lead, value in enumerate(leads, start=1))
    metrics = [
        Metric(re.sub(r"[^\w\-./ ]", "_", name), float(value), at, step)
        for name, value, step in cells
        if value is not None and math.isfinite(value)
    ]
    for first in range(0, len(metrics), 1000):  # the most that MLflow takes at once
        mirror.client.log_batch(number, metrics=metrics[first : first + 1000])


def _log_input(mirror: _Mirror, record: _Record, history: pl.DataFrame, *, number: str) -> None:
    """The shape and hash of the history as a dataset input; its source is named, not linked."""
    from mlflow.data.code_dataset_source import CodeDatasetSource
    from mlflow.data.polars_dataset import from_polars
    from mlflow.entities import Dataset, DatasetInput, InputTag

    hashed = record.run.get("input_hash")
    dataset = from_polars(
        history.with_columns(cs.date().cast(pl.Datetime)),
        source=CodeDatasetSource({"mlflow.source.name": "planning store"}),
        name="history",
        digest=None if hashed is None else str(hashed)[:36],
    )
    tags = [InputTag("mlflow.data.context", "fit")]
    mirror.client.log_inputs(number, [DatasetInput(Dataset(**dataset.to_dict()), tags)])


def _log_steps(mirror: _Mirror, steps: Mapping[str, float], *, parent: str, at: int) -> None:
    from mlflow.entities import Metric

    experiment = mirror.experiment.experiment_id
    children = mirror.client.search_runs([experiment], f"tags.mlflow.parentRunId = '{parent}'")
    written = {child.data.tags.get("step") for child in children}
    for step, seconds in steps.items():
        end = at + int(1000 * seconds)
        if step not in written:
            tags = {_PARENT: parent, "step": step}
            child = mirror.client.create_run(experiment, at, tags, run_name=step).info.run_id
            mirror.client.log_batch(child, metrics=[Metric("seconds", float(seconds), end, 0)])
            mirror.client.set_terminated(child, status="FINISHED", end_time=end)
        at = end


def _log_files(mirror: _Mirror, record: _Record, *, number: str) -> None:
    with tempfile.TemporaryDirectory(prefix="sopforecast-") as name:
        folder = Path(name)
        (folder / "tables").mkdir()
        for table, frame in record.tables.items():
            if table in NEVER_LOGGED or not re.fullmatch(r"\w[\w.-]*", table):
                logger.warning("table %r is not mirrored to MLflow", table)
                continue
            frame.write_parquet(folder / "tables" / f"{table}.parquet")
        settings = json.dumps(record.settings, indent=1, ensure_ascii=False, default=str)
        (folder / "settings.json").write_text(mirror.clean(settings), encoding="utf-8")
        if record.page is not None:
            page = mirror.clean(record.page.read_text(encoding="utf-8"))
            (folder / "review.html").write_text(page, encoding="utf-8")
        mirror.client.log_artifacts(number, str(folder))


@contextmanager
def _polite_mlflow() -> Iterator[None]:
    """Telemetry off and no chatter while inside; environment and loggers as before afterwards."""
    with as_before((_TELEMETRY_OFF,), ("mlflow", "sqlalchemy.engine", "alembic")):
        os.environ[_TELEMETRY_OFF] = "true"
        import mlflow  # noqa: F401 - its import sets the loggers up

        logging.getLogger("mlflow").setLevel(logging.WARNING)
        yield
