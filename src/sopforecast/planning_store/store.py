"""Open the planning store and hold its transactions: SQLite in a file, PostgreSQL by URL.

One code path: SQLAlchemy Core. SQLite runs in WAL mode with ``synchronous=FULL``; a write takes the
lock at once (``BEGIN IMMEDIATE``) and waits up to 30 s for another writer, readers go on
meanwhile. A read sees one snapshot on either engine. Whatever cannot be opened, read or written
is ``StoreUnreachable`` (exit code 4), saying what to do.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from sopforecast.errors import RequestError, StoreUnreachable
from sopforecast.planning_store import schema

BUSY_SECONDS = 30
DRIVERS = {
    "sqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
}
_READ_ONLY = "sopforecast_read"


@dataclass(frozen=True)
class Store:
    """An open planning store. ``place`` names it in messages, without any password."""

    engine: sa.Engine
    place: str

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """All or nothing: commit at the end of the block, roll back on any exception."""
        with self._reaching("written"), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """One snapshot: nothing another process commits meanwhile is seen inside the block."""
        options: dict[str, Any] = {_READ_ONLY: True}
        if self.engine.dialect.name == "postgresql":
            options["isolation_level"] = "REPEATABLE READ"
        engine = self.engine.execution_options(**options)
        with self._reaching("read"), engine.begin() as connection:
            yield connection

    def close(self) -> None:
        """Give back every connection."""
        self.engine.dispose()

    @contextmanager
    def _reaching(self, verb: str) -> Iterator[None]:
        """Turn what the driver raises about files, locks and servers into StoreUnreachable."""
        driver = self.engine.dialect.loaded_dbapi
        try:
            yield
        except (sa.exc.IntegrityError, sa.exc.ProgrammingError, sa.exc.DataError):
            raise
        except (sa.exc.DBAPIError, sa.exc.TimeoutError) as err:
            raise _unreachable(self.place, verb, getattr(err, "orig", None) or err) from err
        except (driver.IntegrityError, driver.ProgrammingError, driver.DataError):
            raise
        except driver.Error as err:
            raise _unreachable(self.place, verb, err) from err


def open_store(url_or_path: str | Path) -> Store:
    """Open a planning store, creating its tables when there are none.

    Parameters
    ----------
    url_or_path
        The path of a SQLite file (made when missing, its folder must exist), or a URL
        ``sqlite:///...`` or ``postgresql://user:password@host/database``.

    Raises
    ------
    RequestError
        The URL is not one of SQLite or PostgreSQL, or its driver is not installed.
    StoreUnreachable
        The store cannot be reached or written, is damaged, belongs to something else, or was
        written by a newer sopforecast.
    """
    url = _parse_url(url_or_path)
    place = url.database or "" if url.drivername == "sqlite" else url.render_as_string()
    if url.drivername == "sqlite":
        _check_file(place)
    try:
        engine = sa.create_engine(url, connect_args=_connect_args(url), pool_pre_ping=True)
    except ModuleNotFoundError as err:
        raise RequestError(
            f"store {place} needs the driver {err.name}, which is not installed; "
            "install it with: pip install 'sopforecast[postgres]'"
        ) from err
    if url.drivername == "sqlite":
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
    store = Store(engine, place)
    try:
        _prepare_tables(store)
    except BaseException:
        store.close()
        raise
    return store


def utc(at: datetime) -> datetime:
    """The instant as UTC without a time zone, as the store keeps it; naive means UTC."""
    return at.astimezone(UTC).replace(tzinfo=None) if at.tzinfo else at


def _parse_url(url_or_path: str | Path) -> sa.URL:
    text = str(url_or_path)
    if isinstance(url_or_path, Path) or "://" not in text:
        return sa.URL.create("sqlite", database=str(Path(text).expanduser().absolute()))
    try:
        url = sa.make_url(text)
    except (sa.exc.ArgumentError, ValueError) as err:
        raise RequestError(
            "the store URL cannot be read; allowed: sqlite:///planning.db or "
            "postgresql://user:password@host/database"
        ) from err
    driver = DRIVERS.get(url.drivername.split("+")[0])
    if driver is None or (driver == "sqlite" and url.database in (None, "", ":memory:")):
        raise RequestError(
            f"store URL of kind {url.drivername!r}; allowed: sqlite:///FILE or "
            "postgresql://user:password@host/database"
        )
    return url.set(drivername=driver)


def _connect_args(url: sa.URL) -> dict[str, Any]:
    if url.drivername == "sqlite":
        return {"timeout": BUSY_SECONDS}
    return {
        "connect_timeout": BUSY_SECONDS,
        "options": f"-c timezone=UTC -c lock_timeout={BUSY_SECONDS}s",
    }


def _check_file(place: str) -> None:
    path = Path(place)
    if path.is_dir():
        raise StoreUnreachable(f"store {place} is a folder; name a file in it, like planning.db")
    if not path.parent.is_dir():
        raise StoreUnreachable(
            f"store {place} cannot be made: the folder {path.parent} does not exist; make it first"
        )
    held = next((p for p in (path, path.parent) if p.exists() and not os.access(p, os.W_OK)), None)
    if held is not None:
        raise StoreUnreachable(
            f"store {place} cannot be written: {held} is read-only; allow writing to it, or copy "
            "the store to a place you may write"
        )


def _prepare_sqlite(dbapi_connection: Any, _record: object) -> None:
    dbapi_connection.isolation_level = None
    cursor = dbapi_connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    _set_wal(cursor)
    cursor.close()


def _set_wal(cursor: Any) -> None:
    """Switch to WAL; SQLite does not wait for this lock by itself, so wait here."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as err:
            if "locked" not in str(err) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def _begin_sqlite(connection: sa.Connection) -> None:
    read_only = connection.get_execution_options().get(_READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


def _prepare_tables(store: Store) -> None:
    """Check that the tables are ours, make those that lack; another process may do so too."""
    with store.reading() as connection:
        if _is_prepared(store, connection):
            return
    try:
        with store.transaction() as connection:
            if not _is_prepared(store, connection):
                _make_tables(connection)
    except (sa.exc.IntegrityError, sa.exc.ProgrammingError):
        # PostgreSQL lets two processes make the same tables at once, and one of them fails whole.
        with store.transaction() as connection:
            if not _is_prepared(store, connection):
                raise


def _is_prepared(store: Store, connection: sa.Connection) -> bool:
    present = set(sa.inspect(connection).get_table_names())
    if schema.meta.name in present:
        found = read_number(connection, "schema_version")
        if found == schema.SCHEMA_VERSION:
            return present >= set(schema.metadata.tables)
        if found < schema.SCHEMA_VERSION:
            return False
        raise StoreUnreachable(
            f"store {store.place} has schema version {found}, this sopforecast knows "
            f"{schema.SCHEMA_VERSION}; install the sopforecast that wrote it, or a newer one"
        )
    ours = sorted(present & set(schema.metadata.tables))
    if ours:
        raise StoreUnreachable(
            f"store {store.place} belongs to something else: it has a table {ours[0]!r} that "
            "sopforecast did not make; name another file or database"
        )
    return False


def _make_tables(connection: sa.Connection) -> None:
    """Make the tables that are not there: all of them, or those that an older store lacks."""
    is_new = not sa.inspect(connection).has_table(schema.meta.name)
    schema.metadata.create_all(connection)
    if not is_new:
        _add_columns(connection)
        connection.execute(
            sa.update(schema.meta)
            .where(schema.meta.c.name == "schema_version")
            .values(number=schema.SCHEMA_VERSION)
        )
        return
    start = {"schema_version": schema.SCHEMA_VERSION, "loads": 0, "runs": 0}
    rows = [{"name": name, "number": number} for name, number in start.items()]
    connection.execute(sa.insert(schema.meta), rows)


def _add_columns(connection: sa.Connection) -> None:
    """Give the tables of an older store the columns that came later; all of them may be empty."""
    inspector = sa.inspect(connection)
    for table in schema.metadata.sorted_tables:
        present = {column["name"] for column in inspector.get_columns(table.name)}
        for column in table.columns:
            if column.name not in present:
                quoted = connection.dialect.identifier_preparer.quote
                kind = column.type.compile(connection.dialect)
                connection.exec_driver_sql(
                    f"ALTER TABLE {quoted(table.name)} ADD COLUMN {quoted(column.name)} {kind}"
                )


def read_number(connection: sa.Connection, name: str) -> int:
    """One number of ``store_meta``."""
    found = connection.scalar(sa.select(schema.meta.c.number).where(schema.meta.c.name == name))
    return int(found or 0)


def next_number(connection: sa.Connection, name: str, *, step: int = 1) -> int:
    """Advance one counter of ``store_meta`` and return it.

    The row stays locked until the transaction ends, so that writers who need the counter follow
    one another on either engine. ``step=0`` takes the lock alone.
    """
    connection.execute(
        sa.update(schema.meta)
        .where(schema.meta.c.name == name)
        .values(number=schema.meta.c.number + step)
    )
    return read_number(connection, name)


def _unreachable(place: str, verb: str, err: BaseException) -> StoreUnreachable:
    reason = " ".join(str(err).split())
    if "not a database" in reason or "malformed" in reason:
        todo = "the file is damaged or not a planning store: restore a backup, or name another file"
    elif "locked" in reason or "lock timeout" in reason:
        todo = f"another job has held it for {BUSY_SECONDS} s: wait for it to end and try again"
    elif "readonly" in reason or "read-only" in reason:
        todo = "it is read-only: allow writing, or copy it to a place you may write"
    elif "://" in place:
        todo = "check that the server runs, and host, database, user and password in the store URL"
    else:
        todo = "check that it exists, that you may write it and that the disk is not full"
    return StoreUnreachable(f"store {place} cannot be {verb}: {reason}; {todo}")
