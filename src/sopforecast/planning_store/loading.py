"""Append what a file says to an input table, as versions; all rows of all its tables or none.

Writes ``loads``, the version tables (``schema.INPUTS``) and ``restated``. Rows equal to what
stands are counted and not stored again; the same file read the same way twice is a no-op. What is
known from when is decided by ``versions.settle``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import polars as pl
import sqlalchemy as sa

from sopforecast.errors import RequestError
from sopforecast.planning_store import schema
from sopforecast.planning_store.bulk import insert_rows
from sopforecast.planning_store.frames import hash_rows, pack_levels, to_rows
from sopforecast.planning_store.schema import LEVELS, STORE_COLUMNS, Input, find_input
from sopforecast.planning_store.store import Store, next_number, utc
from sopforecast.planning_store.versions import current, settle, standing

CLOCK_SLACK = timedelta(days=1)


@dataclass(frozen=True)
class TableLoad:
    """One table of one file, ready to load.

    ``frame`` has columns of the table's schema (missing ones are null), for ``items`` also level
    columns, and may have ``known_at``. ``file_hash`` identifies the bytes of the file.
    """

    table: str
    frame: pl.DataFrame
    file: str
    file_hash: str


@dataclass(frozen=True)
class LoadReport:
    """What one load did, in rows. When ``already_loaded``, ``load_id`` is the earlier load."""

    load_id: str
    table: str
    file: str
    rows_new: int
    rows_changed: int
    rows_same: int
    rows_retracted: int
    already_loaded: bool


@dataclass(frozen=True)
class _Options:
    loaded_by: str
    loaded_at: datetime
    history_lag_days: int
    full: bool
    through: date | None


def append_loads(
    store: Store,
    tables: Sequence[TableLoad],
    *,
    loaded_by: str,
    loaded_at: datetime,
    history_lag_days: int = 5,
    full: bool = False,
    through: date | None = None,
) -> list[LoadReport]:
    """Load several tables in one transaction: all of them or none.

    Parameters
    ----------
    tables
        In the order in which they are loaded; each gets its own load id.
    loaded_by, loaded_at
        Who loads, and when (UTC when naive). A clock behind the last load is moved up to it.
    history_lag_days
        A history row counts as known this many days after its month ends.
    full
        Keys missing in the file (for ``history``: in the file's months) are retracted.
    through
        Last complete month; used for ``partial`` when the frame does not have it.

    Returns
    -------
    list of LoadReport
        In the order of ``tables``.

    Raises
    ------
    RequestError
        Unknown table, unknown or missing column, a row that breaks a rule of its schema, a key
        twice, or a ``known_at`` in the future. Nothing is loaded.
    """
    options = _Options(loaded_by, utc(loaded_at), history_lag_days, full, through)
    ready = [(load, find_input(load.table), _rows_of(load, options)) for load in tables]
    with store.transaction() as connection:
        next_number(connection, "loads", step=0)
        return [_append(connection, load, spec, rows, options) for load, spec, rows in ready]


def append_load(
    store: Store,
    table: str,
    frame: pl.DataFrame,
    *,
    file: str,
    file_hash: str,
    loaded_by: str,
    loaded_at: datetime,
    history_lag_days: int = 5,
    full: bool = False,
    through: date | None = None,
) -> LoadReport:
    """Load one table; see ``append_loads``."""
    [report] = append_loads(
        store,
        [TableLoad(table, frame, file, file_hash)],
        loaded_by=loaded_by,
        loaded_at=loaded_at,
        history_lag_days=history_lag_days,
        full=full,
        through=through,
    )
    return report


def _rows_of(load: TableLoad, options: _Options) -> pl.DataFrame:
    """The checked rows of a load with ``given_at``."""
    frame = load.frame
    if load.table == "history" and "partial" not in frame.columns and "ds" in frame.columns:
        last = options.through
        frame = frame.with_columns(partial=pl.lit(False) if last is None else pl.col("ds") > last)
    spec = find_input(load.table)
    rows = to_rows(pack_levels(frame, spec, file=load.file), spec, file=load.file)
    latest = rows["given_at"].max()
    if isinstance(latest, datetime) and latest > options.loaded_at + CLOCK_SLACK:
        raise RequestError(
            f"{load.file}: found known_at {latest}; allowed: up to the time of the load "
            f"({options.loaded_at:%Y-%m-%d %H:%M} UTC); nothing can be known earlier than it is"
        )
    return rows


def _append(
    connection: sa.Connection, load: TableLoad, spec: Input, rows: pl.DataFrame, options: _Options
) -> LoadReport:
    rows_hash = hash_rows(rows)
    earlier = _same_load(connection, load, rows_hash, options)
    seq = next_number(connection, "loads", step=0) + 1
    load_id = f"L{seq:04d}"
    latest = connection.scalar(
        sa.select(sa.func.max(schema.loads.c.loaded_at)).where(schema.loads.c.undone_at.is_(None))
    )
    loaded_at = max(options.loaded_at, latest or options.loaded_at)
    before = standing(connection, spec)
    statements = _statements(before, rows, spec, full=options.full).with_columns(
        load_id=pl.coalesce("load_id", pl.lit(load_id)),
        loaded_by=pl.coalesce("loaded_by", pl.lit(options.loaded_by)),
        seq=pl.coalesce("seq", pl.lit(seq)),
        loaded_at=pl.lit(loaded_at, dtype=pl.Datetime("us")),
        lag_days=pl.lit(options.history_lag_days, dtype=pl.Int64),
    )
    settled = settle(statements, spec)
    counts = _counts(settled, current(before, spec), rows, spec, seq)
    if earlier is not None and counts["rows_same"] == rows.height and not counts["rows_retracted"]:
        return LoadReport(earlier, load.table, load.file, 0, 0, rows.height, 0, True)
    next_number(connection, "loads")
    entry = {
        "load_id": load_id,
        "seq": seq,
        "table": load.table,
        "file": load.file,
        "file_hash": load.file_hash,
        "rows_hash": rows_hash,
        "loaded_by": options.loaded_by,
        "loaded_at": loaded_at,
        "history_lag_days": options.history_lag_days,
        "full": options.full,
        "through": options.through,
    }
    connection.execute(sa.insert(schema.loads), [entry | counts])
    kept = settled.filter(pl.col("is_version") & (pl.col("seq") == seq))
    write_versions(connection, spec, kept, said=True)
    _write_restated(connection, settled, load_id, seq)
    return LoadReport(load_id, load.table, load.file, **counts, already_loaded=False)


def _same_load(
    connection: sa.Connection, load: TableLoad, rows_hash: str, options: _Options
) -> str | None:
    """The standing load of the same file, read the same way."""
    log = schema.loads.c
    return connection.scalar(
        sa.select(log.load_id).where(
            log.table == load.table,
            log.file_hash == load.file_hash,
            log.rows_hash == rows_hash,
            log.full == options.full,
            log.undone_at.is_(None),
        )
    )


def _statements(
    before: pl.DataFrame, rows: pl.DataFrame, spec: Input, *, full: bool
) -> pl.DataFrame:
    """What stands (its known times given), what the file says, and what a full file leaves out."""
    stands = before.drop("known_rule").rename({"known_at": "given_at"})
    said = [stands, rows.with_columns(retracted=pl.lit(False))]
    if full:
        missing = current(before, spec).join(rows, on=spec.key, how="anti")
        if "ds" in spec.key:
            missing = missing.join(rows.select("ds").unique(), on="ds", how="semi")
        blank = {"partial": pl.lit(False), LEVELS: pl.lit("{}")}
        fill = {name: value for name, value in blank.items() if name in spec.business}
        said.append(missing.select(spec.key).with_columns(retracted=pl.lit(True), **fill))
    return pl.concat(said, how="diagonal")


def _counts(
    settled: pl.DataFrame, standing: pl.DataFrame, rows: pl.DataFrame, spec: Input, seq: int
) -> dict[str, int]:
    kept = settled.filter(pl.col("is_version") & (pl.col("seq") == seq))
    stored = kept.filter(~pl.col("retracted"))
    live = standing.filter(~pl.col("retracted"))
    changed = stored.join(live, on=spec.key, how="semi").height
    return {
        "rows_new": stored.height - changed,
        "rows_changed": changed,
        "rows_same": rows.height - stored.height,
        "rows_retracted": kept.height - stored.height,
    }


def write_versions(
    connection: sa.Connection, spec: Input, kept: pl.DataFrame, *, said: bool
) -> None:
    """Store settled versions under new ids, in their order."""
    last = connection.scalar(sa.select(sa.func.max(spec.table.c.version_id))) or 0
    rows = kept.with_columns(
        version_id=pl.int_range(last + 1, last + 1 + pl.len(), dtype=pl.Int64),
        said=pl.lit(said),
        closed_by=pl.lit(None, dtype=pl.String),
    )
    insert_rows(connection, spec.table, rows.select(*STORE_COLUMNS, *spec.business))


def id_ranges(rows: pl.DataFrame, *same: str) -> pl.DataFrame:
    """Runs of consecutive ``version_id`` (with equal columns ``same``): first and last of each."""
    rows = rows.select("version_id", *same).unique("version_id").sort("version_id")
    breaks = pl.any_horizontal(
        pl.col("version_id").diff() != 1, *(pl.col(n) != pl.col(n).shift(1) for n in same)
    )
    runs = rows.group_by(run=breaks.fill_null(True).cum_sum(), maintain_order=True).agg(
        first_version=pl.col("version_id").first(),
        last_version=pl.col("version_id").last(),
        **{name: pl.col(name).first() for name in same},
    )
    return runs.drop("run")


def _write_restated(
    connection: sa.Connection, settled: pl.DataFrame, load_id: str, seq: int
) -> None:
    """The versions this load said again, as ranges of their ids."""
    again = settled.filter((pl.col("seq") == seq) & pl.col("same_as").is_not_null())
    again = again.select(version_id="same_as", known_given=pl.col("given_at").is_not_null())
    ranges = id_ranges(again, "known_given").with_columns(load_id=pl.lit(load_id))
    insert_rows(connection, schema.restated, ranges)
