"""Immutable runs: write one whole, find any of them again.

Writes ``runs``, the tables of ``schema.OUTPUTS``, ``run_loads`` and ``run_log``, all in one
transaction. A run that is there already is
verified and not written again; it only becomes the newest run of its cycle. What a run wrote is
read back by ``run_outputs``, whose names are given out here too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Any

import dataframely as dy
import polars as pl
import sqlalchemy as sa

from sopforecast.core.tables import Runs
from sopforecast.errors import RequestError, SopforecastError
from sopforecast.planning_store import schema
from sopforecast.planning_store.bulk import insert_rows, read_frame
from sopforecast.planning_store.frames import hash_rows
from sopforecast.planning_store.run_outputs import (
    loads_of_run,
    read_bridge,
    read_clinical,
    read_components,
    read_forecasts,
    read_model_errors,
    read_residual_paths,
    read_run_tables,
    read_statements,
    read_weights,
    stage_stored,
    stored_stage,
    unknown_run,
)
from sopforecast.planning_store.schema import OUTPUTS, column_dtypes
from sopforecast.planning_store.store import Store, next_number, utc

__all__ = [
    "find_run",
    "latest_run",
    "loads_of_run",
    "read_bridge",
    "read_clinical",
    "read_components",
    "read_forecasts",
    "read_model_errors",
    "read_residual_paths",
    "read_run_tables",
    "read_statements",
    "read_weights",
    "reuse_run",
    "runs",
    "save_run",
    "stage_stored",
    "stored_stage",
    "unknown_run",
]

MAY_DIFFER = ("created_at", "known_by", "notes", "settings")
OF_EVERY_RUN = ("forecasts", "components", "residual_paths", "weights")


def save_run(
    store: Store,
    *,
    run: Mapping[str, Any],
    forecasts: pl.DataFrame,
    components: pl.DataFrame,
    residual_paths: pl.DataFrame,
    weights: pl.DataFrame,
    loads_used: Iterable[str],
    statements: pl.DataFrame | None = None,
    bridge: pl.DataFrame | None = None,
    enrolment_forecasts: pl.DataFrame | None = None,
    tier_conversion: pl.DataFrame | None = None,
    clinical_parameters: pl.DataFrame | None = None,
    run_tables: pl.DataFrame | None = None,
    model_errors: pl.DataFrame | None = None,
) -> bool:
    """Write a run with everything that belongs to it, or verify that it is there.

    Parameters
    ----------
    run
        One row of ``Runs``.
    forecasts, components, residual_paths, weights
        Frames of the schemas of those names; ``run_id`` may be left out.
    loads_used
        Ids of the loads whose rows the run read.
    statements, bridge
        Frames of those schemas; none for a run without overrides.
    enrolment_forecasts, tier_conversion, clinical_parameters
        Frames of those schemas; none for a run without studies and tier lines.
    run_tables, model_errors
        Frames of those schemas; none for a run that had learned nothing, or fitted no model.

    Returns
    -------
    bool
        True when the run was written, False when the same run was there already.

    Raises
    ------
    RequestError
        A frame breaks its schema, belongs to another run, or a load is not known.
    SopforecastError
        A run of this id is stored and says something else; the stored run stands.
    """
    row = _run_row(run)
    given = {
        "forecasts": forecasts,
        "components": components,
        "residual_paths": residual_paths,
        "weights": weights,
        "statements": statements,
        "bridge": bridge,
        "enrolment_forecasts": enrolment_forecasts,
        "tier_conversion": tier_conversion,
        "clinical_parameters": clinical_parameters,
        "run_tables": run_tables,
        "model_errors": model_errors,
    }
    frames = {
        name: _checked(name, frame, row["run_id"])
        for name, frame in given.items()
        if frame is not None
    }
    row["content_hash"] = _content_hash(frames)
    with store.transaction() as connection:
        next_number(connection, "runs", step=0)
        is_new = not _verify(connection, row)
        if is_new:
            connection.execute(sa.insert(schema.runs), [row])
            for name, frame in frames.items():
                insert_rows(connection, OUTPUTS[name][1], frame)
        _note_made(connection, row["run_id"], row["cycle"], row["created_at"])
        _note_loads(connection, row["run_id"], loads_used)
    return is_new


def reuse_run(store: Store, run_id: str, *, at: datetime, loads_used: Iterable[str]) -> bool:
    """Make a stored run the newest of its cycle, without computing it again.

    Returns False, having written nothing, when there is no such run.
    """
    with store.transaction() as connection:
        next_number(connection, "runs", step=0)
        cycle = connection.scalar(
            sa.select(schema.runs.c.cycle).where(schema.runs.c.run_id == run_id)
        )
        if cycle is None:
            return False
        _note_made(connection, run_id, cycle, utc(at))
        _note_loads(connection, run_id, loads_used)
    return True


def runs(store: Store, cycle: date | None = None) -> pl.DataFrame:
    """Runs (of one cycle) as ``Runs`` has them, with ``made_at``; the one made last stands last."""
    log = schema.run_log.c
    last = sa.select(log.run_id, sa.func.max(log.seq).label("seq")).group_by(log.run_id).subquery()
    query = (
        sa.select(*(schema.runs.c[name] for name in Runs.column_names()), log.made_at)
        .join(last, last.c.run_id == schema.runs.c.run_id)
        .join(schema.run_log, log.seq == last.c.seq)
        .order_by(log.seq)
    )
    if cycle is not None:
        query = query.where(schema.runs.c.cycle == cycle)
    with store.reading() as connection:
        return read_frame(connection, query, column_dtypes(Runs))


def latest_run(store: Store, cycle: date | None = None) -> dict[str, Any] | None:
    """The run made last (for a cycle), as a dict of ``Runs`` columns; None when there is none."""
    log = schema.run_log.c
    query = sa.select(log.run_id).order_by(log.seq.desc()).limit(1)
    if cycle is not None:
        query = query.where(log.cycle == cycle)
    with store.reading() as connection:
        run_id = connection.scalar(query)
    return None if run_id is None else find_run(store, run_id)


def find_run(store: Store, run_id: str) -> dict[str, Any]:
    """One run as a dict of ``Runs`` columns; RequestError naming the newest runs when unknown."""
    query = sa.select(*(schema.runs.c[name] for name in Runs.column_names()))
    with store.reading() as connection:
        found = connection.execute(query.where(schema.runs.c.run_id == run_id)).one_or_none()
        if found is None:
            raise unknown_run(connection, run_id)
    return dict(found._mapping)


def _run_row(run: Mapping[str, Any]) -> dict[str, Any]:
    names = Runs.column_names()
    wrong = sorted(set(names) ^ set(run))
    if wrong:
        raise RequestError(f"a run has the columns {', '.join(names)}; wrong: {', '.join(wrong)}")
    row = dict(run)
    row["known_by"], row["created_at"] = utc(row["known_by"]), utc(row["created_at"])
    Runs.validate(pl.DataFrame([row], schema=column_dtypes(Runs)))
    return row


def _checked(name: str, frame: pl.DataFrame, run_id: str) -> pl.DataFrame:
    """The frame with every column of its schema, sorted by key; nullable columns may lack."""
    table_schema = OUTPUTS[name][0]
    if "run_id" not in frame.columns:
        frame = frame.with_columns(run_id=pl.lit(run_id))
    if frame.filter(pl.col("run_id").ne_missing(pl.lit(run_id))).height:
        raise RequestError(f"{name} hold rows of another run than {run_id}")
    may_lack = [n for n, c in table_schema.columns().items() if c.nullable]
    blank = [pl.lit(None).alias(n) for n in may_lack if n not in frame.columns]
    try:
        checked = table_schema.validate(frame.with_columns(blank), cast=True)
    except (dy.exc.ValidationError, dy.exc.SchemaError) as err:
        reason = str(err).partition("\n\n")[0]
        raise RequestError(f"{name} of run {run_id} break their rules: {reason}") from err
    return checked.select(table_schema.column_names()).sort(table_schema.primary_key())


def _content_hash(frames: Mapping[str, pl.DataFrame]) -> str:
    told = [name for name in sorted(frames) if frames[name].height or name in OF_EVERY_RUN]
    texts = [f"{name} {hash_rows(frames[name])}" for name in told]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def _verify(connection: sa.Connection, row: Mapping[str, Any]) -> bool:
    """Whether the run is stored; SopforecastError when it says something else."""
    query = sa.select(schema.runs).where(schema.runs.c.run_id == row["run_id"])
    found = connection.execute(query).one_or_none()
    if found is None:
        return False
    differs = [n for n in row if n not in MAY_DIFFER and found._mapping[n] != row[n]]
    if differs:
        raise SopforecastError(
            f"run {row['run_id']} is stored already and differs in {', '.join(differs)}; nothing "
            "was written and the stored run stands. The same inputs, settings and code must give "
            "the same numbers: check that this machine has the versions of constraints.txt"
        )
    return True


def _note_made(connection: sa.Connection, run_id: str, cycle: date, at: datetime) -> None:
    """Log that the run was made, unless it is the newest of its cycle already."""
    log = schema.run_log.c
    newest = sa.select(log.run_id).where(log.cycle == cycle).order_by(log.seq.desc()).limit(1)
    if connection.scalar(newest) == run_id:
        return
    seq = next_number(connection, "runs")
    entry = {"seq": seq, "run_id": run_id, "cycle": cycle, "made_at": at}
    connection.execute(sa.insert(schema.run_log), [entry])


def _note_loads(connection: sa.Connection, run_id: str, loads_used: Iterable[str]) -> None:
    used = schema.run_loads.c
    noted = set(connection.scalars(sa.select(used.load_id).where(used.run_id == run_id)))
    fresh = sorted(set(loads_used) - noted)
    known = set(connection.scalars(sa.select(schema.loads.c.load_id)))
    unknown = [load_id for load_id in fresh if load_id not in known]
    if unknown:
        raise RequestError(f"run {run_id} names a load that is not there: {unknown[0]!r}")
    if fresh:
        rows = [{"run_id": run_id, "load_id": load_id} for load_id in fresh]
        connection.execute(sa.insert(schema.run_loads), rows)
