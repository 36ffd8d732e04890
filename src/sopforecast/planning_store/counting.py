"""Which run of each cycle counts: the published one, else the one made last.

Reads ``runs``, ``run_log`` and ``published`` as they were at a moment, so that looking back never
sees a run that rests on what became known later.
"""

from __future__ import annotations

from datetime import date, datetime

import polars as pl
import sqlalchemy as sa

from sopforecast.planning_store import schema
from sopforecast.planning_store.bulk import read_frame
from sopforecast.planning_store.publish import publications
from sopforecast.planning_store.store import Store, utc


def counting_runs(store: Store, *, known_by: datetime) -> dict[date, str]:
    """Cycle to the run that counts, oldest cycle first.

    Parameters
    ----------
    store
        Where from.
    known_by
        Runs that read anything known later, and publications made later, are not there yet.

    Returns
    -------
    dict
        Of each cycle the run published last by then; where nothing was, the run made last.
    """
    moment = utc(known_by)
    log, runs = schema.run_log.c, schema.runs.c
    made = (
        sa.select(log.cycle, log.run_id)
        .join(schema.runs, runs.run_id == log.run_id)
        .where(runs.known_by <= moment)
        .order_by(log.seq)
    )
    with store.reading() as connection:
        rows = read_frame(connection, made)
    pointers = publications(store).filter(pl.col("at") <= moment).select("cycle", "run_id")
    pointers = pointers.join(rows, on=["cycle", "run_id"], how="semi", maintain_order="left")
    counting = dict(rows.iter_rows()) | dict(pointers.iter_rows())
    return dict(sorted(counting.items()))
