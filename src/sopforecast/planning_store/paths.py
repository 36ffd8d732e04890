"""What models said before, kept beside the runs so that nothing unchanged is fitted again.

Rows of ``model_paths`` (``core.learning_tables.ModelPaths``). They are a help, not a record: a run
without them gives the same numbers, only later. Hence they are written in a transaction of their
own, and two jobs that write the same rows do not hinder each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import dataframely as dy
import polars as pl
import sqlalchemy as sa

from sopforecast.core.learning_tables import ModelPaths
from sopforecast.errors import RequestError
from sopforecast.planning_store import schema
from sopforecast.planning_store.bulk import insert_rows, read_frame
from sopforecast.planning_store.schema import column_dtypes
from sopforecast.planning_store.store import Store, next_number

ORIGINS_AT_ONCE = 500  # of one query; both engines bound how many values it may name


def read_paths(
    store: Store, origins: Sequence[date], *, horizon: int, code: str | None
) -> pl.DataFrame:
    """Paths of all runs from these origins, so many months ahead, made by this code.

    Parameters
    ----------
    store
        Where from.
    origins
        Last months known.
    horizon
        Months ahead.
    code
        `baseline.known_paths.paths_code`; what other code or libraries fitted is not read. None:
        all, for what was really said.

    Returns
    -------
    pl.DataFrame
        ``ModelPaths``, sorted by key.
    """
    table, dtypes = schema.model_paths, column_dtypes(ModelPaths)
    frames, asked = [pl.DataFrame(schema=dtypes)], sorted(set(origins))
    with store.reading() as connection:
        for first in range(0, len(asked), ORIGINS_AT_ONCE):
            query = sa.select(table).where(
                table.c.origin.in_(asked[first : first + ORIGINS_AT_ONCE]),
                table.c.horizon == horizon,
                *([] if code is None else [table.c.code == code]),
            )
            frames.append(read_frame(connection, query, dtypes))
    return pl.concat(frames).sort(ModelPaths.primary_key())


def save_paths(store: Store, paths: pl.DataFrame) -> int:
    """Keep the paths of one or more runs; returns how many rows were new.

    Parameters
    ----------
    store
        Where to.
    paths
        ``ModelPaths``. A row whose run, origin and model are stored already stays as it is stored.

    Raises
    ------
    RequestError
        The frame breaks its schema; nothing is written.
    """
    key = ModelPaths.primary_key()
    try:
        rows = ModelPaths.validate(paths, cast=True).select(ModelPaths.column_names()).sort(key)
    except (dy.exc.ValidationError, dy.exc.SchemaError) as err:
        reason = str(err).partition("\n\n")[0]
        raise RequestError(f"model_paths breaks its rules: {reason}") from err
    if rows.is_empty():
        return 0
    table = schema.model_paths
    runs = rows["run_id"].unique().to_list()
    with store.transaction() as connection:
        next_number(connection, "runs", step=0)  # one writer after another, on either engine
        stored = read_frame(
            connection,
            sa.select(*(table.c[name] for name in key)).where(table.c.run_id.in_(runs)),
        )
        return insert_rows(connection, table, rows.join(stored, on=key, how="anti"))
