"""Stores to test against: SQLite in a file, and PostgreSQL when its programs are installed.

The PostgreSQL server is made for the test session in a temporary folder and listens on a Unix
socket in that folder only.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import dataframely as dy
import polars as pl
import pytest
import sqlalchemy as sa

from sopforecast.core.clinical_tables import (
    ClinicalParameters,
    EnrolmentForecasts,
    TierConversion,
)
from sopforecast.core.evidence_tables import Bridge, Credibility, Statements
from sopforecast.core.learning_tables import ModelErrors, RunTables
from sopforecast.core.tables import Components, Forecasts, ResidualPaths, Weights
from sopforecast.planning_store.store import Store, open_store


def _programs() -> Path | None:
    """The folder of initdb and pg_ctl, on the path or where Debian puts it."""
    found = shutil.which("pg_ctl")
    if found:
        return Path(found).resolve().parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name))
    return folders[-1] if folders else None


class _Server:
    """One server of the session; PostgreSQL refuses to run as root, so root lends it a user."""

    def __init__(self, programs: Path) -> None:
        self.programs = programs
        self.folder = Path(tempfile.mkdtemp(prefix="sopf-pg-"))
        self.user = "postgres" if os.geteuid() == 0 else None
        self.process: subprocess.Popen[bytes] | None = None
        if self.user:
            shutil.chown(self.folder, self.user, self.user)

    def start(self) -> None:
        data, log = self.folder / "data", (self.folder / "log").open("wb")
        options: dict[str, Any] = {
            "user": self.user,
            "cwd": self.folder,
            "stdin": subprocess.DEVNULL,
            "stdout": log,
            "stderr": subprocess.STDOUT,
        }
        initdb = [self.programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust"]
        subprocess.run([*initdb, "-E", "UTF8", "-N"], check=True, timeout=120, **options)
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": self.folder,
            "fsync": "off",
        }
        server = [self.programs / "postgres", "-D", data]
        server += [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        if shutil.which("setpriv"):  # the server ends with the tests, also when they are killed
            server = ["setpriv", "--pdeathsig", "INT", "--", *server]
        self.process = subprocess.Popen(server, **options)
        log.close()
        self._wait()

    def _wait(self) -> None:
        engine = sa.create_engine(self.url("postgres"))
        deadline = time.monotonic() + 60
        while True:
            try:
                engine.connect().close()
            except sa.exc.OperationalError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise
                time.sleep(0.05)
            else:
                engine.dispose()
                return

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(60)
        shutil.rmtree(self.folder, ignore_errors=True)

    def empty_database(self) -> str:
        """The one database of the session, without tables and without other sessions."""
        engine = sa.create_engine(self.url("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            connection.exec_driver_sql("DROP SCHEMA public CASCADE")
            connection.exec_driver_sql("CREATE SCHEMA public")
        engine.dispose()
        return self.url("postgres")

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://postgres@/{database}?host={self.folder}"


@pytest.fixture(scope="session")
def postgres() -> Iterator[_Server]:
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install -e '.[postgres]'")
    programs = _programs()
    if programs is None:
        pytest.skip("no pg_ctl: apt-get install postgresql")
    if os.geteuid() == 0 and "postgres" not in {entry.pw_name for entry in pwd.getpwall()}:
        pytest.skip("PostgreSQL does not run as root and there is no user postgres")
    server = _Server(programs)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an empty store may be made, on each engine."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'planning.db'}"
    return request.getfixturevalue("postgres").empty_database()


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    opened = open_store(store_url)
    yield opened
    opened.close()


@pytest.fixture
def new_store(tmp_path: Path) -> Iterator[Callable[[], Store]]:
    """Make further empty SQLite stores."""
    made: list[Store] = []

    def make() -> Store:
        made.append(open_store(tmp_path / f"more{len(made)}.db"))
        return made[-1]

    yield make
    for opened in made:
        opened.close()


@pytest.fixture(scope="session")
def run_parts() -> Callable[..., dict[str, Any]]:
    """Arguments of save_run for a small run: two items, two months, made-up numbers."""

    def whole(schema: type[dy.Schema], rows: list[dict[str, Any]]) -> pl.DataFrame:
        """Rows with every column but run_id; what they do not name is null, 0 or empty."""
        columns = {name: c for name, c in schema.columns().items() if name != "run_id"}
        empty = {pl.Float64: 0.0, pl.Int64: 0, pl.String: "", pl.Binary: b"", pl.Boolean: False}
        blank = {n: None if c.nullable else empty.get(type(c.dtype)) for n, c in columns.items()}
        types = {name: column.dtype for name, column in columns.items()}
        return pl.DataFrame([blank | row for row in rows], schema=types)

    def make(run_id: str, *, cycle: date = date(2026, 12, 1), shift: float = 0.0) -> dict[str, Any]:
        months = [cycle, date(cycle.year + cycle.month // 12, cycle.month % 12 + 1, 1)]
        cells = [
            {
                "cycle": cycle,
                "stage": stage,
                "unique_id": item,
                "ds": month,
                "lead": lead,
                "plan": 10.0 * lead + shift,
                "mean": 10.25 * lead + shift,
                **{f"p{q:02d}": q / 8 + shift for q in (5, 10, 25, 50, 75, 90, 95)},
            }
            for stage in ("naive", "statistical")
            for item in ("A", "B|ü")
            for lead, month in enumerate(months, start=1)
        ]
        blob = struct.pack("<2d", 0.1, -1e-300)
        components = [
            {"unique_id": "A", "kind": "paths", "segment": "smooth", "model": "DOT"},
            {"unique_id": "B|ü", "kind": "counts", "segment": "sparse", "model": "SBA"},
        ]
        more = {"step": 1.0, "centre": blob, "reason": None}
        said = {
            "cycle": cycle,
            "entered_cycle": cycle,
            "entered_lead": 1,
            "node": "total",
            "per": "month",
            "kind": "delta",
            "mode": "evidence",
            "reason": "promotion",
            "state": "new",
            "direction": "up",
            "probability": 1.0,
            "unit_sd": 2.0,
            "tail": 4.0,
            "stated": 14.0 + shift,
        }
        statements = [
            said
            | {"override_id": "o1", "source": "sales", "owner": "Ann", "ds_from": month}
            | {"ds_to": month}
            for month in months
        ]
        statements.append(statements[0] | {"override_id": "o2", "source": "supply", "owner": "Ö"})
        steps = [("statistical", 10.0), ("source:sales", 2.5), ("whole_numbers", -0.5)]
        bridge = [
            {"unique_id": "A", "ds": cycle, "position": place, "step": step, "change": change}
            for place, (step, change) in enumerate(steps)
        ]
        patients = [
            {
                "cycle": cycle,
                "study": "NOVA|ü",
                "level": level,
                "node": node,
                "ds": month,
                "measure": measure,
                "mean": 3.1 * lead + shift,
                **{f"p{q:02d}": q / 16 + shift for q in (5, 10, 25, 50, 75, 90, 95)},
            }
            for level, node, lead, month in (
                ("study", "NOVA|ü", 1, months[0]),
                ("site", "S1", 2, months[1]),
            )
            for measure in ("monthly", "cumulative")
        ]
        converting = {
            "scope": "study", "owner": "*", "tier": "pipeline", "mean": 0.1 + 2**-54,
            "p05": 0.05, "p10": 0.06, "p50": 0.1, "p90": 0.2, "p95": 0.3, "delay_months": 2.5,
            "lines": 7, "open_lines": 4, "converted": 2, "lost": 1, "method": "laplace",
        }  # fmt: skip
        run = {
            "run_id": run_id,
            "cycle": cycle,
            "horizon": 2,
            "known_by": datetime(2026, 12, 15),
            "seed": 2026,
            "draws": 500,
            "code_version": "0.1.0",
            "input_hash": "in",
            "settings_hash": "set",
            "settings": "",
            "levels": "[]",
            "items": 2,
            "notes": "",
            "created_at": datetime(2026, 12, 15, 9),
        }
        return {
            "run": run,
            "forecasts": whole(Forecasts, cells),
            "components": whole(Components, [row | more for row in components]),
            "residual_paths": whole(
                ResidualPaths,
                [{"part": "own:smooth", "origin": k, "donor": "A", "path": blob} for k in (0, 1)],
            ),
            "weights": whole(
                Weights, [{"segment": "smooth", "model": "DOT", "weight": 1.0, "cells": 18}]
            ),
            "statements": whole(Statements, statements),
            "bridge": whole(Bridge, bridge),
            "enrolment_forecasts": whole(EnrolmentForecasts, patients),
            "tier_conversion": whole(TierConversion, [converting | {"name": "NOVA|ü"}]),
            "clinical_parameters": whole(
                ClinicalParameters,
                [
                    {"part": part, "parameter": "draws", "shape": "[2]", "values": blob}
                    for part in ("funnel", "rates")
                ],
            ),
            "run_tables": whole(
                RunTables,
                [
                    {"table": "widths", "procedure": "live", "fit_id": "c-1"},
                    {"table": "weights", "procedure": "backtest", "fit_id": None},
                ],
            ),
            "model_errors": whole(
                ModelErrors,
                [{"segment": "smooth", "model": "DOT", "relative_error": 1.0, "cells": 18}],
            ),
            "loads_used": [],
        }

    return make


@pytest.fixture(scope="session")
def close_parts() -> Callable[..., dict[str, Any]]:
    """Arguments of save_close for a small fit: one source, two owners of it, made-up numbers."""

    def make(
        fit_id: str,
        *,
        closed: date = date(2026, 12, 1),
        known_at: datetime = datetime(2027, 1, 10),
        weight: float = 0.6,
        inputs_hash: str = "in",
    ) -> dict[str, Any]:
        times = {"known_at": known_at, "made_at": datetime(2027, 1, 10, 9)}
        numbers = {
            name: 0.1
            for name, column in Credibility.columns().items()
            if isinstance(column.dtype, pl.Float64) and not column.nullable
        }
        row = numbers | {
            "fit_id": fit_id,
            "source": "sales",
            "reason": "*",
            "direction": "up",
            "closed": closed,
            "known_at": known_at,
            "observations": 12,
            "opinions": 8,
            "weight": weight,
            "tail": 5.0,
            "method": "closed_form",
        }
        nulls = {n: None for n, column in Credibility.columns().items() if column.nullable}
        types = {name: column.dtype for name, column in Credibility.columns().items()}
        return {
            "close": {
                "closed": closed,
                "fit_id": fit_id,
                "method": "closed_form",
                "inputs_hash": inputs_hash,
                "scored": 12,
                "fresh": 2,
                "opinions": 8,
                "waiting": 0,
                "notes": "",
            }
            | times,
            "credibility": pl.DataFrame(
                [nulls | row | {"owner": owner} for owner in ("Ann", "Ö")], schema=types
            ),
        }

    return make
