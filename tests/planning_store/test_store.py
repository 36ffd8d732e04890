"""Opening a store, its transactions, and what happens when it cannot be reached."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa

from sopforecast.errors import RequestError, StoreUnreachable
from sopforecast.planning_store import schema
from sopforecast.planning_store import store as store_module
from sopforecast.planning_store.store import Store, next_number, open_store, read_number, utc


def test_a_store_is_made_once_and_opened_again(store_url: str) -> None:
    first = open_store(store_url)
    with first.transaction() as connection:
        assert next_number(connection, "loads") == 1
    first.close()
    again = open_store(store_url)
    with again.reading() as connection:
        assert read_number(connection, "loads") == 1
        assert set(sa.inspect(connection).get_table_names()) == set(schema.metadata.tables)
    again.close()


def test_sqlite_is_durable_and_does_not_block_readers(tmp_path: Path) -> None:
    store = open_store(tmp_path / "planning.db")
    with store.reading() as connection:
        pragma = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "busy_timeout", "foreign_keys")
        }
    store.close()
    assert pragma == {
        "journal_mode": "wal",
        "synchronous": 2,  # FULL
        "busy_timeout": 30_000,
        "foreign_keys": 1,
    }


def test_an_exception_leaves_nothing_of_a_transaction(store: Store) -> None:
    def failing() -> None:
        with store.transaction() as connection:
            next_number(connection, "loads", step=7)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    with store.reading() as connection:
        assert read_number(connection, "loads") == 0


def test_a_reader_sees_one_moment_while_another_writes(store: Store) -> None:
    with store.reading() as reader:
        before = read_number(reader, "loads")
        with store.transaction() as writer:
            next_number(writer, "loads", step=5)
            assert read_number(reader, "loads") == before
        assert read_number(reader, "loads") == before
    with store.reading() as reader:
        assert read_number(reader, "loads") == before + 5


def test_a_second_writer_waits_and_then_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "BUSY_SECONDS", 0)
    first, second = (open_store(tmp_path / "planning.db") for _ in range(2))
    with first.transaction() as connection:
        next_number(connection, "loads")
        with (
            pytest.raises(StoreUnreachable, match="another job has held it") as caught,
            second.transaction(),
        ):
            pass
    assert caught.value.exit_code == 4
    first.close()
    second.close()


def test_many_processes_may_make_the_same_store(store_url: str) -> None:
    code = (
        "import sys; from sopforecast.planning_store.store import *\n"
        "s = open_store(sys.argv[1])\n"
        "with s.transaction() as c: next_number(c, 'loads')\n"
    )
    command = [sys.executable, "-c", code, store_url]
    children = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for child in children:
        assert child.wait(120) == 0, child.stderr.read()
        child.stderr.close()
    store = open_store(store_url)
    with store.reading() as connection:
        assert read_number(connection, "loads") == 3
    store.close()


def test_a_folder_is_not_a_store(tmp_path: Path) -> None:
    with pytest.raises(StoreUnreachable, match=r"is a folder; name a file in it"):
        open_store(tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreUnreachable, match="does not exist; make it first"):
        open_store(tmp_path / "nowhere" / "planning.db")


@pytest.mark.parametrize("keep", [0, 4096])
def test_a_damaged_file_is_refused_and_left_alone(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "planning.db"
    open_store(path).close()
    damaged = path.read_bytes()[:keep] + b"not what was written " * 4000
    path.write_bytes(damaged)
    with pytest.raises(StoreUnreachable, match="restore a backup, or name another file"):
        open_store(path)
    assert path.read_bytes() == damaged


def test_the_database_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE runs (run_uuid TEXT)")
    other.close()
    with pytest.raises(StoreUnreachable, match="belongs to something else: it has a table 'runs'"):
        open_store(path)


def test_a_newer_schema_is_refused_with_what_to_do(store_url: str) -> None:
    store = open_store(store_url)
    with store.transaction() as connection:
        next_number(connection, "schema_version", step=1)
    store.close()
    known = schema.SCHEMA_VERSION
    words = f"version {known + 1}, this sopforecast knows {known}; install"
    with pytest.raises(StoreUnreachable, match=words):
        open_store(store_url)


_OPEN_AS_NOBODY = """
import os, sys
from sopforecast.errors import StoreUnreachable
from sopforecast.planning_store.store import open_store
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    open_store(sys.argv[1])
except StoreUnreachable as err:
    print(err)
"""


@pytest.mark.parametrize("read_only", ["file", "folder"])
def test_a_read_only_store_is_refused_with_what_to_do(tmp_path: Path, read_only: str) -> None:
    folder = Path(os.path.realpath(tmp_path)) / "w"
    folder.mkdir()
    path = folder / "planning.db"
    open_store(path).close()
    path.chmod(0o444 if read_only == "file" else 0o666)
    folder.chmod(0o555 if read_only == "folder" else 0o777)
    reachable = [p for p in folder.parents if p.owner() == folder.owner() and p != Path("/")]
    modes = {p: p.stat().st_mode for p in reachable}
    try:
        for parent in reachable:
            parent.chmod(modes[parent] | 0o011)
        done = subprocess.run(
            [sys.executable, "-c", _OPEN_AS_NOBODY, str(path)],
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        for parent in reachable:
            parent.chmod(modes[parent])
        folder.chmod(0o755)
    assert "is read-only; allow writing to it" in done.stdout


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    store = open_store(tmp_path / "planning.db")

    def fill() -> None:
        with store.transaction() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 1")
            next_number(connection, "loads")
            rows = [{"name": f"n{k}", "number": k} for k in range(5_000)]
            connection.execute(sa.insert(schema.meta), rows)

    with pytest.raises(StoreUnreachable, match="the disk is not full"):
        fill()
    with store.reading() as connection:
        assert read_number(connection, "loads") == 0
    store.close()


@pytest.mark.parametrize(
    "url",
    ["mysql://u:secret@host/db", "sqlite://", "sqlite:///:memory:", "://", "postgresql://u:x:y"],
)
def test_other_urls_are_refused_without_showing_them(url: str) -> None:
    with pytest.raises(RequestError, match="allowed: sqlite:///") as caught:
        open_store(url)
    assert "secret" not in str(caught.value)


def test_a_server_that_is_not_there_is_said_without_the_password() -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(StoreUnreachable, match="check that the server runs") as caught:
        open_store("postgresql://planner:hunter2@127.0.0.1:1/plan")
    assert "hunter2" not in str(caught.value)
    assert "planner" in str(caught.value)


def test_times_are_kept_in_utc() -> None:
    noon = datetime(2026, 12, 15, 12)
    assert utc(noon) == noon
    assert utc(noon.replace(tzinfo=UTC)) == noon
    assert utc(noon.replace(tzinfo=timezone(timedelta(hours=2)))) == datetime(2026, 12, 15, 10)
