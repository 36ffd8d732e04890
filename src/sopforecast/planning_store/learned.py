"""What closed months taught: immutable fits, and the log of the closes they came from.

Writes ``credibility`` and the tables of ``CLOSE_TABLES`` (the rows of a fit, once) and ``closes``
(which month was closed with which fit, and from when that may be read), in one transaction. A fit
that is there already is verified and not written again; closing again from the same inputs writes
nothing at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Any

import dataframely as dy
import polars as pl
import sqlalchemy as sa

from sopforecast.core.evidence_tables import Credibility
from sopforecast.core.learning_tables import CLOSE_TABLES
from sopforecast.errors import RequestError, SopforecastError
from sopforecast.planning_store import schema
from sopforecast.planning_store.bulk import insert_rows, read_frame
from sopforecast.planning_store.frames import hash_rows
from sopforecast.planning_store.schema import column_dtypes
from sopforecast.planning_store.store import Store, next_number, utc

FITS_AT_ONCE = 500  # of one query; both engines bound how many values it may name
CLOSE_COLUMNS = tuple(column.name for column in schema.closes.c if column.name != "seq")


def save_close(
    store: Store,
    *,
    close: dict[str, Any],
    credibility: pl.DataFrame,
    tables: Mapping[str, pl.DataFrame] | None = None,
) -> bool:
    """Store a fit and log the close that made it.

    Parameters
    ----------
    store
        Where to.
    close
        One row of ``closes`` without ``seq``: closed (month), fit_id, known_at (from when a cycle
        may read the fit), made_at, method, inputs_hash (of all that the close read), scored,
        fresh, opinions, waiting, notes, after (``fit_id`` of the close of the same month that this
        one knew of; may be left out).
    credibility
        ``Credibility`` rows of the fit; ``fit_id`` may be left out.
    tables
        Rows of tables of ``CLOSE_TABLES``, by name, alike.

    Returns
    -------
    bool
        True when something was written, False when this very close stood already.

    Raises
    ------
    RequestError
        The frame breaks its schema or belongs to another fit.
    SopforecastError
        A fit of this id is stored and says something else; the stored one stands.
    """
    row = _close_row(close)
    frames = {"credibility": _checked("credibility", credibility, row["fit_id"])}
    for name, rows in (tables or {}).items():
        frames[name] = _checked(name, rows, row["fit_id"])
    with store.transaction() as connection:
        next_number(connection, "runs", step=0)
        if not _verify(connection, row["fit_id"], frames):
            for name, frame in frames.items():
                insert_rows(connection, _table(name), frame)
        return _note_close(connection, row)


def close_again(
    store: Store, inputs_hash: str, *, closed: date, known_at: datetime, made_at: datetime
) -> dict[str, Any] | None:
    """The close that read exactly this before, made the newest of its month without a new fit.

    Returns None, having written nothing, when there was none. What the log says of ``known_at``
    only changes when the close was not known as early, or another close of the month came after.
    """
    log = schema.closes.c
    query = sa.select(schema.closes).where(log.closed == closed, log.inputs_hash == inputs_hash)
    with store.transaction() as connection:
        next_number(connection, "runs", step=0)
        found = connection.execute(query.order_by(log.seq.desc()).limit(1)).one_or_none()
        if found is None:
            return None
        times = {"known_at": utc(known_at), "made_at": utc(made_at)}
        row = {name: found._mapping[name] for name in CLOSE_COLUMNS} | times
        _note_close(connection, row)
        return row


def newest_close(
    store: Store, *, before: date | None = None, known_by: datetime | None = None
) -> dict[str, Any] | None:
    """The close of the newest month; of several closes of that month the one known last.

    Parameters
    ----------
    store
        Where from.
    before
        Only months before this one.
    known_by
        Only closes that a cycle with this cut-off may read.

    Returns
    -------
    dict or None
        A row of ``closes``.
    """
    log = schema.closes.c
    query = sa.select(schema.closes)
    if before is not None:
        query = query.where(log.closed < before)
    if known_by is not None:
        query = query.where(log.known_at <= utc(known_by))
    query = query.order_by(log.closed.desc(), log.known_at.desc(), log.seq.desc()).limit(1)
    with store.reading() as connection:
        found = connection.execute(query).one_or_none()
    return None if found is None else dict(found._mapping)


def closes(store: Store) -> pl.DataFrame:
    """The log of closes, in the order they were made."""
    with store.reading() as connection:
        return read_frame(connection, sa.select(schema.closes).order_by(schema.closes.c.seq))


def read_credibility(store: Store, fit_id: str) -> pl.DataFrame:
    """``Credibility`` rows of one fit, sorted by key; none when there is no such fit."""
    return read_learned(store, "credibility", [fit_id])


def read_learned(store: Store, name: str, fit_ids: Iterable[str]) -> pl.DataFrame:
    """Rows of ``credibility`` or a table of ``CLOSE_TABLES`` of these fits, sorted by key."""
    ids, declared = list(dict.fromkeys(fit_ids)), _declared(name)
    frames = [pl.DataFrame(schema=column_dtypes(declared))]
    with store.reading() as connection:
        for first in range(0, len(ids), FITS_AT_ONCE):
            frames.append(_stored(connection, name, ids[first : first + FITS_AT_ONCE]))
    return pl.concat(frames).sort(declared.primary_key())


def standing_closes(
    store: Store, *, before: date | None = None, known_by: datetime | None = None
) -> pl.DataFrame:
    """The log of closes that a cycle may read, oldest month first, in the order they were made.

    Of a month these are the close known last and those it came ``after``, in which the first scores
    are; a close that it did not know of (made of another state of knowledge) is left out.
    """
    log = schema.closes.c
    query = sa.select(schema.closes).order_by(log.closed, log.known_at, log.seq)
    if before is not None:
        query = query.where(log.closed < before)
    if known_by is not None:
        query = query.where(log.known_at <= utc(known_by))
    with store.reading() as connection:
        rows = read_frame(connection, query).unique("fit_id", keep="last", maintain_order=True)
    before_it = dict(rows.select("fit_id", "after").iter_rows())
    standing: set[str] = set()
    for fit in rows.unique("closed", keep="last", maintain_order=True)["fit_id"]:
        while fit in before_it and fit not in standing:
            standing.add(fit)
            fit = before_it[fit]
    return rows.filter(pl.col("fit_id").is_in(list(standing)))


def _declared(name: str) -> type[dy.Schema]:
    return Credibility if name == "credibility" else CLOSE_TABLES[name]


def _table(name: str) -> sa.Table:
    return schema.credibility if name == "credibility" else schema.learning[name]


def _stored(connection: sa.Connection, name: str, fit_ids: list[str]) -> pl.DataFrame:
    table = _table(name)
    query = sa.select(table).where(table.c.fit_id.in_(fit_ids))
    return read_frame(connection, query, column_dtypes(_declared(name)))


def _verify(connection: sa.Connection, fit_id: str, frames: Mapping[str, pl.DataFrame]) -> bool:
    """Whether the fit is stored; SopforecastError when it says something else."""
    log = schema.closes.c
    noted = connection.scalar(sa.select(sa.func.count()).where(log.fit_id == fit_id))
    stored = {name: _stored(connection, name, [fit_id]) for name in frames}
    if not noted and all(frame.is_empty() for frame in stored.values()):
        return False
    for name, frame in frames.items():
        then, now = (f.drop("known_at", strict=False) for f in (stored[name], frame))
        if hash_rows(then) != hash_rows(now):
            raise SopforecastError(
                f"fit {fit_id} is stored already and differs in {name}; nothing was written and "
                "the stored fit stands. The same statements, actuals, settings and code must give "
                "the same numbers: check that this machine has the versions of constraints.txt"
            )
    return True


def _note_close(connection: sa.Connection, row: dict[str, Any]) -> bool:
    """Log the close, unless the newest one of its month known by then says the same."""
    log = schema.closes.c
    query = (
        sa.select(log.fit_id, log.inputs_hash)
        .where(log.closed == row["closed"], log.known_at <= row["known_at"])
        .order_by(log.known_at.desc(), log.seq.desc())
        .limit(1)
    )
    stands = connection.execute(query).one_or_none()
    if stands is not None and tuple(stands) == (row["fit_id"], row["inputs_hash"]):
        return False
    seq = int(connection.scalar(sa.select(sa.func.max(log.seq))) or 0) + 1
    connection.execute(sa.insert(schema.closes), [row | {"seq": seq}])
    return True


def _close_row(close: dict[str, Any]) -> dict[str, Any]:
    close = {"after": None, **close}
    wrong = sorted(set(CLOSE_COLUMNS) ^ set(close))
    if wrong:
        raise RequestError(
            f"a close has the columns {', '.join(CLOSE_COLUMNS)}; wrong: {', '.join(wrong)}"
        )
    return close | {"known_at": utc(close["known_at"]), "made_at": utc(close["made_at"])}


def _checked(name: str, rows: pl.DataFrame, fit_id: str) -> pl.DataFrame:
    """The frame with every column of its schema; nullable columns may lack."""
    frame, declared = rows, _declared(name)
    if "fit_id" not in frame.columns:
        frame = frame.with_columns(fit_id=pl.lit(fit_id))
    if frame.filter(pl.col("fit_id").ne_missing(pl.lit(fit_id))).height:
        raise RequestError(f"{name} holds rows of another fit than {fit_id}")
    may_lack = [column for column, of in declared.columns().items() if of.nullable]
    blank = [pl.lit(None).alias(column) for column in may_lack if column not in frame.columns]
    try:
        checked = declared.validate(frame.with_columns(blank), cast=True)
    except (dy.exc.ValidationError, dy.exc.SchemaError) as err:
        reason = str(err).partition("\n\n")[0]
        raise RequestError(f"{name} of fit {fit_id} breaks its rules: {reason}") from err
    return checked.select(declared.column_names()).sort(declared.primary_key())
