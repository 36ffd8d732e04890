"""What a run wrote, read back: forecasts by stage, what its draws are rebuilt from, judgement.

Stages are stored when they differ: the approved forecast of a run without fixed statements is its
consensus, and the consensus of a run without evidence is its statistical forecast. A stage
``source:<name>`` holds the nodes that source moved; everywhere else it is the statistical one.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

import polars as pl
import sqlalchemy as sa

from sopforecast.core.tables import QUANTILE_COLUMNS
from sopforecast.errors import RequestError
from sopforecast.planning_store import schema
from sopforecast.planning_store.bulk import read_frame
from sopforecast.planning_store.schema import OUTPUTS, column_dtypes
from sopforecast.planning_store.store import Store

FALLS_BACK_TO = {"approved": "consensus", "consensus": "statistical"}
STATISTICAL = "statistical"
SOURCE_STAGE = "source:"
SOURCE_QUANTILES = ("p10", "p50", "p90")
RUNS_AT_ONCE = 500  # of one query; both engines bound how many values it may name


def stage_stored(store: Store, run_id: str, stage: str) -> str | None:
    """The stage whose rows answer for ``stage``: approved, else consensus, else statistical."""
    with store.reading() as connection:
        return stored_stage(connection, run_id, stage)


def read_forecasts(store: Store, run_id: str, stage: str) -> pl.DataFrame:
    """Forecasts of a run at a stage, sorted by unique_id and ds.

    ``stage`` in the rows is the stage asked for, also when a stage equal to it is stored, and for
    the nodes of ``source:<name>`` that the source did not move. Those stages keep plan, mean,
    p10, p50 and p90; their other quantiles are null.

    Raises
    ------
    RequestError
        There is no such run, or it has no such stage.
    """
    with store.reading() as connection:
        stored = stored_stage(connection, run_id, stage)
        if stored is None:
            raise _no_stage(connection, run_id, stage)
        frame = _stage_rows(connection, run_id, stored)
        if stage.startswith(SOURCE_STAGE):
            rest = _stage_rows(connection, run_id, STATISTICAL)
            moved = frame if stored == stage else frame.clear()
            rest = rest.join(moved, on="unique_id", how="anti", maintain_order="left")
            dropped = [name for name in QUANTILE_COLUMNS if name not in SOURCE_QUANTILES]
            frame = pl.concat([moved, rest.with_columns(pl.lit(None).alias(n) for n in dropped)])
    return frame.with_columns(stage=pl.lit(stage)).sort("unique_id", "ds")


def read_forecasts_of_month(store: Store, run_ids: Iterable[str], ds: date) -> pl.DataFrame:
    """Stored ``Forecasts`` of one month, of all stages of these runs, sorted by key.

    Only rows that are stored: a stage that equals another, and the nodes that a source did not
    move, are not there.
    """
    table, dtypes = schema.forecasts, column_dtypes(OUTPUTS["forecasts"][0])
    frames, ids = [pl.DataFrame(schema=dtypes)], list(run_ids)
    with store.reading() as connection:
        for first in range(0, len(ids), RUNS_AT_ONCE):
            some = ids[first : first + RUNS_AT_ONCE]
            query = sa.select(table).where(table.c.run_id.in_(some), table.c.ds == ds)
            frames.append(read_frame(connection, query, dtypes))
    return pl.concat(frames).sort(OUTPUTS["forecasts"][0].primary_key())


def read_horizons(store: Store, run_ids: Iterable[str]) -> dict[str, int]:
    """Months ahead of each of these runs."""
    runs, ids, found = schema.runs.c, list(run_ids), {}
    with store.reading() as connection:
        for first in range(0, len(ids), RUNS_AT_ONCE):
            some = ids[first : first + RUNS_AT_ONCE]
            query = sa.select(runs.run_id, runs.horizon).where(runs.run_id.in_(some))
            found.update({run_id: int(months) for run_id, months in connection.execute(query)})
    return found


def read_components(store: Store, run_id: str) -> pl.DataFrame:
    """Components of a run, sorted by unique_id."""
    return _read_output(store, "components", [run_id])


def read_residual_paths(store: Store, run_id: str) -> pl.DataFrame:
    """Residual paths of a run, sorted by part, origin and donor."""
    return _read_output(store, "residual_paths", [run_id])


def read_weights(store: Store, run_id: str) -> pl.DataFrame:
    """Weights of a run, sorted by segment and model."""
    return _read_output(store, "weights", [run_id])


def read_statements(store: Store, run_ids: Iterable[str]) -> pl.DataFrame:
    """``Statements`` of these runs, sorted by run_id, override_id and ds_from."""
    return _read_output(store, "statements", list(run_ids))


def read_bridge(store: Store, run_id: str) -> pl.DataFrame:
    """``Bridge`` of a run, sorted by unique_id, ds and position."""
    return _read_output(store, "bridge", [run_id])


def read_clinical(store: Store, name: str, run_id: str) -> pl.DataFrame:
    """``enrolment_forecasts``, ``tier_conversion`` or ``clinical_parameters`` of a run, by key."""
    return _read_output(store, name, [run_id])


def read_run_tables(store: Store, run_id: str) -> pl.DataFrame:
    """``RunTables`` of a run, by table; none for a run that started cold."""
    return _read_output(store, "run_tables", [run_id])


def read_model_errors(store: Store, run_id: str) -> pl.DataFrame:
    """``ModelErrors`` of a run, by segment and model."""
    return _read_output(store, "model_errors", [run_id])


def loads_of_run(store: Store, run_id: str) -> pl.DataFrame:
    """Loads a run read, oldest first: ``load_id``, ``table``, ``file``, ``undone_at``."""
    log, used = schema.loads.c, schema.run_loads.c
    query = (
        sa.select(log.load_id, log.table, log.file, log.undone_at)
        .join(schema.run_loads, used.load_id == log.load_id)
        .where(used.run_id == run_id)
        .order_by(log.seq)
    )
    with store.reading() as connection:
        return read_frame(connection, query)


def stored_stage(connection: sa.Connection, run_id: str, stage: str) -> str | None:
    """As ``stage_stored``, inside a transaction.

    A source that spoke in the run and moved nothing is answered by the statistical forecast.
    """
    table = schema.forecasts.c
    asked: str | None = stage
    while asked is not None:
        rows = sa.exists().where(table.run_id == run_id, table.stage == asked)
        if connection.scalar(sa.select(rows)):
            return asked
        asked = FALLS_BACK_TO.get(asked)
    if stage.startswith(SOURCE_STAGE):
        said = schema.statements.c
        name = stage.removeprefix(SOURCE_STAGE)
        spoke = sa.exists().where(said.run_id == run_id, said.source == name)
        if connection.scalar(sa.select(spoke)):
            return STATISTICAL
    return None


def unknown_run(connection: sa.Connection, run_id: str) -> RequestError:
    """What to say about a run that is not there."""
    log = schema.run_log.c
    newest = sa.select(log.run_id).order_by(log.seq.desc()).limit(5)
    known = ", ".join(dict.fromkeys(connection.scalars(newest))) or "none yet"
    return RequestError(f"there is no run {run_id!r}; the newest runs are: {known}")


def _no_stage(connection: sa.Connection, run_id: str, stage: str) -> RequestError:
    table = schema.forecasts.c
    stages = sa.select(table.stage).where(table.run_id == run_id).distinct().order_by(table.stage)
    known = ", ".join(connection.scalars(stages))
    if not known:
        return unknown_run(connection, run_id)
    return RequestError(f"run {run_id} has no stage {stage!r}; it has: {known}")


def _stage_rows(connection: sa.Connection, run_id: str, stage: str) -> pl.DataFrame:
    table = schema.forecasts
    query = sa.select(table).where(table.c.run_id == run_id, table.c.stage == stage)
    return read_frame(connection, query, column_dtypes(OUTPUTS["forecasts"][0]))


def _read_output(store: Store, name: str, run_ids: list[str]) -> pl.DataFrame:
    table_schema, table = OUTPUTS[name]
    dtypes = column_dtypes(table_schema)
    frames = [pl.DataFrame(schema=dtypes)]
    with store.reading() as connection:
        for first in range(0, len(run_ids), RUNS_AT_ONCE):
            some = run_ids[first : first + RUNS_AT_ONCE]
            query = sa.select(table).where(table.c.run_id.in_(some))
            frames.append(read_frame(connection, query, dtypes))
    return pl.concat(frames).sort(table_schema.primary_key())
