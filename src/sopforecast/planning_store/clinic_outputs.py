"""What several runs forecast of the clinic for one month, in one query."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

import polars as pl
import sqlalchemy as sa

from sopforecast.planning_store.bulk import read_frame
from sopforecast.planning_store.run_outputs import RUNS_AT_ONCE
from sopforecast.planning_store.schema import OUTPUTS, column_dtypes
from sopforecast.planning_store.store import Store


def read_enrolment_of(store: Store, run_ids: Iterable[str], month: date) -> pl.DataFrame:
    """``EnrolmentForecasts`` rows of measure ``monthly`` that these runs made of a month, by key.

    Runs that did not reach the month, or had no study, have no rows.
    """
    declared, table = OUTPUTS["enrolment_forecasts"]
    ids, dtypes = list(dict.fromkeys(run_ids)), column_dtypes(declared)
    frames = [pl.DataFrame(schema=dtypes)]
    with store.reading() as connection:
        for first in range(0, len(ids), RUNS_AT_ONCE):
            query = sa.select(table).where(
                table.c.run_id.in_(ids[first : first + RUNS_AT_ONCE]),
                table.c.ds == month,
                table.c.measure == "monthly",
            )
            frames.append(read_frame(connection, query, dtypes))
    return pl.concat(frames).sort(declared.primary_key())
