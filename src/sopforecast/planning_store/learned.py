"""What closed months taught: immutable fits, and the log of the closes they came from.

Writes ``credibility`` (the rows of a fit, once) and ``closes`` (which month was closed with which
fit, and from when that may be read), in one transaction. A fit that is there already is verified
and not written again; closing again from the same inputs writes nothing at all.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import dataframely as dy
import polars as pl
import sqlalchemy as sa

from sopforecast.core.evidence_tables import Credibility
from sopforecast.errors import RequestError, SopforecastError
from sopforecast.planning_store import schema
from sopforecast.planning_store.bulk import insert_rows, read_frame
from sopforecast.planning_store.frames import hash_rows
from sopforecast.planning_store.schema import column_dtypes
from sopforecast.planning_store.store import Store, next_number, utc

CLOSE_COLUMNS = tuple(column.name for column in schema.closes.c if column.name != "seq")


def save_close(store: Store, *, close: dict[str, Any], credibility: pl.DataFrame) -> bool:
    """Store a fit and log the close that made it.

    Parameters
    ----------
    store
        Where to.
    close
        One row of ``closes`` without ``seq``: closed (month), fit_id, known_at (from when a cycle
        may read the fit), made_at, method, inputs_hash (of all that the close read), scored,
        fresh, opinions, waiting, notes.
    credibility
        ``Credibility`` rows of the fit; ``fit_id`` may be left out.

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
    frame = _checked(credibility, row["fit_id"])
    with store.transaction() as connection:
        next_number(connection, "runs", step=0)
        if not _verify(connection, row["fit_id"], frame):
            insert_rows(connection, schema.credibility, frame)
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
    with store.reading() as connection:
        frame = _stored(connection, fit_id)
    return frame.sort(Credibility.primary_key())


def _stored(connection: sa.Connection, fit_id: str) -> pl.DataFrame:
    query = sa.select(schema.credibility).where(schema.credibility.c.fit_id == fit_id)
    return read_frame(connection, query, column_dtypes(Credibility))


def _verify(connection: sa.Connection, fit_id: str, frame: pl.DataFrame) -> bool:
    """Whether the fit is stored; SopforecastError when it says something else."""
    stored = _stored(connection, fit_id)
    if stored.is_empty():
        return False
    if hash_rows(stored.drop("known_at")) != hash_rows(frame.drop("known_at")):
        raise SopforecastError(
            f"fit {fit_id} is stored already and differs; nothing was written and the stored fit "
            "stands. The same statements, actuals, settings and code must give the same numbers: "
            "check that this machine has the versions of constraints.txt"
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
    wrong = sorted(set(CLOSE_COLUMNS) ^ set(close))
    if wrong:
        raise RequestError(
            f"a close has the columns {', '.join(CLOSE_COLUMNS)}; wrong: {', '.join(wrong)}"
        )
    return close | {"known_at": utc(close["known_at"]), "made_at": utc(close["made_at"])}


def _checked(credibility: pl.DataFrame, fit_id: str) -> pl.DataFrame:
    """The frame with every column of its schema; nullable columns may lack."""
    frame = credibility
    if "fit_id" not in frame.columns:
        frame = frame.with_columns(fit_id=pl.lit(fit_id))
    if frame.filter(pl.col("fit_id").ne_missing(pl.lit(fit_id))).height:
        raise RequestError(f"credibility holds rows of another fit than {fit_id}")
    may_lack = [name for name, column in Credibility.columns().items() if column.nullable]
    blank = [pl.lit(None).alias(name) for name in may_lack if name not in frame.columns]
    try:
        checked = Credibility.validate(frame.with_columns(blank), cast=True)
    except (dy.exc.ValidationError, dy.exc.SchemaError) as err:
        reason = str(err).partition("\n\n")[0]
        raise RequestError(f"credibility of fit {fit_id} breaks its rules: {reason}") from err
    return checked.select(Credibility.column_names()).sort(Credibility.primary_key())
