"""Publish a run: move the pointer of a cycle, by compare-and-set, and read where it points.

``published`` is append-only; the highest version of a cycle is what stands. Publishing inserts the
next version: of several who saw the same version, the first one wins and the others get
``LostRace``. An older run published again is the roll-back.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import polars as pl
import sqlalchemy as sa

from sopforecast.core.tables import Published
from sopforecast.errors import LostRace, RequestError
from sopforecast.planning_store import schema
from sopforecast.planning_store.bulk import read_frame
from sopforecast.planning_store.run_outputs import stored_stage, unknown_run
from sopforecast.planning_store.schema import column_dtypes
from sopforecast.planning_store.store import Store, next_number, utc

PUBLISHED_STAGES = ("consensus", "approved")
NOTHING = "none"


def publish(
    store: Store,
    *,
    cycle: date,
    stage: str = "consensus",
    run_id: str,
    by: str,
    at: datetime,
    expect: str | None = None,
    role: str | None = None,
    note: str | None = None,
) -> dict[str, Any]:
    """Make a run the published plan of its cycle.

    Parameters
    ----------
    stage
        ``consensus`` or ``approved``; a run without such rows answers with the stage equal to it.
    expect
        The run that must stand published now, ``"none"`` for nothing yet; without it whatever
        stood when the call began.

    Returns
    -------
    dict
        The row of ``Published`` that stands now, with ``already_published``: True when this very
        run and stage stood already and nothing was written (a repeated call).

    Raises
    ------
    LostRace
        Another run stands than expected, or somebody else published meanwhile.
    RequestError
        There is no such run or stage, or the run is of another cycle.
    """
    if stage not in PUBLISHED_STAGES:
        raise RequestError(f"stage {stage!r} cannot be published; allowed: consensus, approved")
    seen = standing(store, cycle)
    try:
        with store.transaction() as connection:
            next_number(connection, "loads", step=0)
            _check_run(connection, run_id, cycle, stage)
            stands = _standing(connection, cycle)
            if stands is not None and (stands["run_id"], stands["stage"]) == (run_id, stage):
                return stands | {"already_published": True}
            _check_stands(stands, seen, expect, cycle)
            row = {
                "cycle": cycle,
                "version": 1 if stands is None else stands["version"] + 1,
                "stage": stage,
                "run_id": run_id,
                "replaced_run": None if stands is None else stands["run_id"],
                "by": by,
                "role": role,
                "at": utc(at),
                "note": note,
            }
            connection.execute(sa.insert(schema.published), [row])
    except sa.exc.IntegrityError as err:
        raise _lost(standing(store, cycle), cycle) from err
    return row | {"already_published": False}


def standing(store: Store, cycle: date) -> dict[str, Any] | None:
    """The published row of a cycle that stands, or None."""
    with store.reading() as connection:
        return _standing(connection, cycle)


def published(store: Store, cycle: date | None = None) -> pl.DataFrame:
    """What stands published, one row of ``Published`` a cycle, oldest cycle first."""
    return publications(store, cycle).group_by("cycle", maintain_order=True).last()


def publications(store: Store, cycle: date | None = None) -> pl.DataFrame:
    """The whole history of the pointer, sorted by cycle and version."""
    table = schema.published
    query = sa.select(table)
    if cycle is not None:
        query = query.where(table.c.cycle == cycle)
    with store.reading() as connection:
        frame = read_frame(connection, query, column_dtypes(Published))
    return frame.sort("cycle", "version")


def _check_run(connection: sa.Connection, run_id: str, cycle: date, stage: str) -> None:
    of_cycle = connection.scalar(
        sa.select(schema.runs.c.cycle).where(schema.runs.c.run_id == run_id)
    )
    if of_cycle is None:
        raise unknown_run(connection, run_id)
    if of_cycle != cycle:
        raise RequestError(
            f"run {run_id} is of cycle {of_cycle:%Y-%m}, not {cycle:%Y-%m}; publish it with "
            f"--cycle {of_cycle:%Y-%m}, or name a run of {cycle:%Y-%m}"
        )
    if stored_stage(connection, run_id, stage) is None:
        raise RequestError(f"run {run_id} has no forecasts of stage {stage!r}; run it again")


def _standing(connection: sa.Connection, cycle: date) -> dict[str, Any] | None:
    table = schema.published
    query = sa.select(table).where(table.c.cycle == cycle).order_by(table.c.version.desc())
    found = connection.execute(query.limit(1)).one_or_none()
    return None if found is None else dict(found._mapping)


def _check_stands(
    stands: dict[str, Any] | None, seen: dict[str, Any] | None, expect: str | None, cycle: date
) -> None:
    """What stands must be what was seen when the call began, and what the caller expects."""
    if stands != seen:
        raise _lost(stands, cycle, expect)
    if expect not in (None, NOTHING if stands is None else stands["run_id"]):
        raise _lost(stands, cycle, expect)


def _lost(stands: dict[str, Any] | None, cycle: date, expect: str | None = None) -> LostRace:
    now = "nothing" if stands is None else f"run {stands['run_id']}, published by {stands['by']}"
    wanted = "" if expect is None else f", expected {expect}"
    return LostRace(
        f"cycle {cycle:%Y-%m} now has {now}{wanted}; nothing was written. Look at what is "
        "published now, and publish again if yours should replace it"
    )
