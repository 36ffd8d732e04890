"""Read what a cycle may read of the input tables, and undo a load.

Reads the tables of ``schema.INPUTS``, kept as versions: which version counts, and from
when it is known, is decided in ``versions``; how files become versions is in ``loading``, whose
names are given out here too. Undoing closes a load and deletes nothing: afterwards everything
reads as had it never been loaded.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl
import sqlalchemy as sa

from sopforecast.errors import RequestError
from sopforecast.planning_store import schema
from sopforecast.planning_store.bulk import read_frame
from sopforecast.planning_store.frames import hash_rows, unpack_levels
from sopforecast.planning_store.loading import (
    LoadReport,
    TableLoad,
    append_load,
    append_loads,
    id_ranges,
    write_versions,
)
from sopforecast.planning_store.schema import BITEMPORAL, INPUTS, Input, find_input
from sopforecast.planning_store.store import Store, next_number, utc
from sopforecast.planning_store.versions import current, settle_again, standing

__all__ = [
    "LoadReport",
    "TableLoad",
    "UndoReport",
    "admitted",
    "admitted_inputs",
    "append_load",
    "append_loads",
    "input_hash",
    "loads",
    "undo_load",
]


@dataclass(frozen=True)
class UndoReport:
    """What undoing a load did; ``runs`` are the published runs that had read it."""

    load_id: str
    table: str
    file: str
    rows: int
    runs: tuple[str, ...]
    already_undone: bool


def undo_load(
    store: Store, load_id: str, *, at: datetime, force: str | None = None, by: str | None = None
) -> UndoReport:
    """Close one load: every table reads as had it never been loaded; nothing is deleted.

    Loads may be undone in any order. Undoing twice changes nothing.

    Raises
    ------
    RequestError
        No such load; or a published run read it and no ``force`` reason is given.
    """
    with store.transaction() as connection:
        next_number(connection, "loads", step=0)
        load = _find_load(connection, load_id)
        table = INPUTS[load["table"]].table
        stored = sa.select(sa.func.count()).where(table.c.load_id == load_id, table.c.said)
        runs = _published_runs(connection, load_id)
        is_undone = load["undone_at"] is not None
        if runs and not is_undone and not (force or "").strip():
            raise RequestError(
                f"load {load_id} ({load['file']}) is under the published run {', '.join(runs)}; "
                "publish a run without it first, or undo it with a reason: --force REASON"
            )
        if not is_undone:
            closing = {"undone_at": utc(at), "undone_by": by, "undone_reason": force}
            connection.execute(
                sa.update(schema.loads).where(schema.loads.c.load_id == load_id).values(closing)
            )
            _close(connection, INPUTS[load["table"]], load_id)
        rows = int(connection.scalar(stored) or 0)
        return UndoReport(load_id, load["table"], load["file"], rows, tuple(runs), is_undone)


def admitted(store: Store, table: str, *, known_by: datetime) -> pl.DataFrame:
    """The rows of one table that a cycle with this cut-off may read, one a key, sorted by key.

    Parameters
    ----------
    known_by
        The cut-off; a row known at that very moment is admitted. Naive means UTC.

    Returns
    -------
    pl.DataFrame
        The schema's columns, for ``items`` the level columns (sorted by name), then ``known_at``,
        ``assumed`` (``known_at`` follows from a rule, not from the file or the load),
        ``load_id`` and ``loaded_by``. Rows marked ``partial`` are there.
    """
    with store.reading() as connection:
        return _admitted(connection, find_input(table), utc(known_by))


def admitted_inputs(store: Store, *, known_by: datetime) -> dict[str, pl.DataFrame]:
    """Every input table as ``admitted`` gives it, all read from one moment of the store."""
    with store.reading() as connection:
        return {name: _admitted(connection, INPUTS[name], utc(known_by)) for name in INPUTS}


def known_versions(store: Store, table: str, *, known_by: datetime) -> pl.DataFrame:
    """Every version of the keys that a cycle with this cut-off may read, oldest first by key.

    Columns as ``admitted``. A key that was retracted by then is not there at all.
    """
    spec = find_input(table)
    with store.reading() as connection:
        versions = standing(connection, spec, known_by=utc(known_by))
    gone = current(versions, spec).filter("retracted").select(spec.key)
    rows = versions.join(gone, on=spec.key, how="anti").filter(~pl.col("retracted"))
    rows = rows.sort(*spec.key, "known_at", "seq", "version_id").with_columns(
        assumed=pl.col("known_rule").is_in(["month_end", "cycle_start", "always"])
    )
    return rows.select(*spec.schema.column_names(), *BITEMPORAL)


def loads(store: Store) -> pl.DataFrame:
    """The log of loads, oldest first; ``undone_at`` is null for those that stand."""
    columns = [c for c in schema.loads.c if c.name not in ("seq", "rows_hash")]
    with store.reading() as connection:
        return read_frame(connection, sa.select(*columns).order_by(schema.loads.c.seq))


def input_hash(frames: dict[str, pl.DataFrame]) -> str:
    """SHA-256 of what the rows of the named tables say, as hex digits.

    Only business columns count, so neither the order of rows or columns nor when, by whom and in
    how many loads they came changes it.
    """
    digest = hashlib.sha256()
    for name in sorted(frames):
        business = frames[name].drop(BITEMPORAL, strict=False)
        digest.update(f"{name}\n{hash_rows(business)}\n".encode())
    return digest.hexdigest()


def _admitted(connection: sa.Connection, spec: Input, known_by: datetime) -> pl.DataFrame:
    rows = current(standing(connection, spec, known_by=known_by), spec)
    rows = rows.filter(~pl.col("retracted")).with_columns(
        assumed=pl.col("known_rule").is_in(["month_end", "cycle_start", "always"])
    )
    names = [*spec.schema.column_names(), *BITEMPORAL]
    if not spec.open_levels:
        return rows.select(names)
    wide = unpack_levels(rows.select(schema.LEVELS, *names))
    levels = [name for name in wide.columns if name not in names]
    return wide.select(*spec.schema.column_names(), *levels, *BITEMPORAL)


def _find_load(connection: sa.Connection, load_id: str) -> dict[str, Any]:
    found = connection.execute(
        sa.select(schema.loads).where(schema.loads.c.load_id == load_id)
    ).one_or_none()
    if found is not None:
        return dict(found._mapping)
    newest = sa.select(schema.loads.c.load_id).order_by(schema.loads.c.seq.desc()).limit(5)
    known = ", ".join(connection.scalars(newest)) or "none yet"
    raise RequestError(f"there is no load {load_id!r}; the newest loads are: {known}")


def _close(connection: sa.Connection, spec: Input, load_id: str) -> None:
    """Close the rows of an undone load, and put in their place what counts without it."""
    keys, wanted = settle_again(connection, spec, load_id)
    present = standing(connection, spec).join(keys, on=spec.key, how="semi")
    told = [*spec.business, "retracted", "known_at", "known_rule", "load_id"]
    gone = present.join(wanted, on=told, how="anti", nulls_equal=True)
    fresh = wanted.join(present, on=told, how="anti", nulls_equal=True, maintain_order="left")
    version = spec.table.c.version_id
    for first, last in id_ranges(gone).iter_rows():
        close = sa.update(spec.table).where(version.between(first, last))
        connection.execute(close.values(closed_by=load_id))
    write_versions(connection, spec, fresh, said=False)


def _published_runs(connection: sa.Connection, load_id: str) -> list[str]:
    """Runs that stand published in some cycle and read the load."""
    pointers, used = schema.published.c, schema.run_loads.c
    newest = (
        sa.select(pointers.cycle, sa.func.max(pointers.version).label("version"))
        .group_by(pointers.cycle)
        .subquery()
    )
    query = (
        sa.select(pointers.run_id)
        .join(newest, (newest.c.cycle == pointers.cycle) & (newest.c.version == pointers.version))
        .join(schema.run_loads, used.run_id == pointers.run_id)
        .where(used.load_id == load_id)
        .distinct()
        .order_by(pointers.run_id)
    )
    return list(connection.scalars(query))
