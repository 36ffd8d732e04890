"""The tables of the planning store, made from the schemas of ``core``.

A column is declared once, in ``core.*tables``; this module only adds what the store needs.

* Input tables (``INPUTS``) hold *versions*, which are closed and never deleted. Beside
  the business columns each has ``known_at`` (from when a cycle may read it), ``known_rule`` (how
  ``known_at`` was decided), ``load_id`` and ``loaded_by``; ``retracted`` marks a version saying
  that the key no longer exists. ``said`` rows were written by their load, the others when an undo
  made another version count; ``closed_by`` names the load whose undo closed the row. What stands
  are the rows with ``closed_by`` null.
* ``loads`` is the log of loads; ``undone_at`` closes one. ``restated`` keeps, as ranges of version
  ids, the rows of a load that were already there: they count again when the first load of them is
  undone.
* Output tables hold what runs write; ``run_log`` says which run of a cycle was made last, and
  ``run_loads`` which loads it read. ``published`` is the append-only history of the pointer.
* ``credibility`` and ``CLOSE_TABLES`` hold immutable fits, what a close found; ``closes`` is the
  log of the months closed with them. ``model_paths`` keeps what models said, so that nothing
  unchanged is fitted again; ``run_tables`` says what a run had learned from.

All times are UTC without a time zone. Text is stored as given; level columns of ``items`` are one
JSON object in ``levels``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import dataframely as dy
import polars as pl
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.base import PGDialect

from sopforecast.core.clinical_tables import (
    CLINICAL_TABLES,
    ClinicalParameters,
    EnrolmentForecasts,
    TierConversion,
)
from sopforecast.core.evidence_tables import (
    Bridge,
    Credibility,
    Overrides,
    Prices,
    Statements,
)
from sopforecast.core.learning_tables import (
    CLOSE_TABLES,
    ModelErrors,
    ModelPaths,
    RunTables,
)
from sopforecast.core.tables import (
    Components,
    Forecasts,
    History,
    Items,
    Published,
    ResidualPaths,
    Runs,
    Weights,
)
from sopforecast.errors import RequestError

SCHEMA_VERSION = 4  # 2: judgement, 3: the clinic, 4: learning; an older store gets what it lacks
LEVELS = "levels"
BITEMPORAL = ("known_at", "assumed", "load_id", "loaded_by")
STORE_COLUMNS = (
    "version_id",
    "known_at",
    "known_rule",
    "retracted",
    "load_id",
    "loaded_by",
    "said",
    "closed_by",
)

metadata = sa.MetaData()
_ROW_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _columns(schema: type[dy.Schema], *, keys: bool = True) -> list[sa.Column[Any]]:
    columns = schema.to_sqlalchemy_columns(PGDialect())  # type: ignore[no-untyped-call]
    if keys:
        return columns
    # A retraction says that a key is gone and nothing else: only the key is never null.
    key = schema.primary_key()
    return [sa.Column(c.name, c.type, nullable=c.name not in key) for c in columns]


def _output(name: str, schema: type[dy.Schema], *extra: sa.Column[Any]) -> sa.Table:
    return sa.Table(name, metadata, *_columns(schema), *extra, sqlite_with_rowid=False)


def _versions(name: str, schema: type[dy.Schema], *extra: sa.Column[Any]) -> sa.Table:
    return sa.Table(
        name,
        metadata,
        sa.Column("version_id", _ROW_ID, primary_key=True, autoincrement=False),
        *_columns(schema, keys=False),
        *extra,
        sa.Column("known_at", sa.DateTime, nullable=False),
        sa.Column("known_rule", sa.String, nullable=False),
        sa.Column("retracted", sa.Boolean, nullable=False),
        sa.Column("load_id", sa.ForeignKey("loads.load_id"), nullable=False),
        sa.Column("loaded_by", sa.String, nullable=False),
        sa.Column("said", sa.Boolean, nullable=False),
        sa.Column("closed_by", sa.String),
    )


meta = sa.Table(
    "store_meta",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("number", sa.BigInteger, nullable=False),
)

loads = sa.Table(
    "loads",
    metadata,
    sa.Column("load_id", sa.String, primary_key=True),
    sa.Column("seq", sa.BigInteger, nullable=False, unique=True),
    sa.Column("table", sa.String, nullable=False),
    sa.Column("file", sa.String, nullable=False),
    sa.Column("file_hash", sa.String, nullable=False),
    sa.Column("rows_hash", sa.String, nullable=False),
    sa.Column("loaded_by", sa.String, nullable=False),
    sa.Column("loaded_at", sa.DateTime, nullable=False),
    sa.Column("history_lag_days", sa.BigInteger, nullable=False),
    sa.Column("full", sa.Boolean, nullable=False),
    sa.Column("through", sa.Date),
    sa.Column("rows_new", sa.BigInteger, nullable=False),
    sa.Column("rows_changed", sa.BigInteger, nullable=False),
    sa.Column("rows_same", sa.BigInteger, nullable=False),
    sa.Column("rows_retracted", sa.BigInteger, nullable=False),
    sa.Column("undone_at", sa.DateTime),
    sa.Column("undone_by", sa.String),
    sa.Column("undone_reason", sa.String),
)

restated = sa.Table(
    "restated",
    metadata,
    sa.Column("load_id", sa.ForeignKey("loads.load_id"), primary_key=True),
    sa.Column("first_version", sa.BigInteger, primary_key=True),
    sa.Column("last_version", sa.BigInteger, nullable=False),
    sa.Column("known_given", sa.Boolean, nullable=False),
)

items = _versions("items", Items, sa.Column(LEVELS, sa.String, nullable=False))
history = _versions("history", History)
overrides = _versions("overrides", Overrides)
prices = _versions("prices", Prices)

_clinical = {name: _versions(name, of) for name, of in CLINICAL_TABLES.items()}

runs = _output("runs", Runs, sa.Column("content_hash", sa.String, nullable=False))
forecasts = _output("forecasts", Forecasts)
components = _output("components", Components)
residual_paths = _output("residual_paths", ResidualPaths)
weights = _output("weights", Weights)
statements = _output("statements", Statements)
bridge = _output("bridge", Bridge)
credibility = _output("credibility", Credibility)
enrolment_forecasts = _output("enrolment_forecasts", EnrolmentForecasts)
tier_conversion = _output("tier_conversion", TierConversion)
clinical_parameters = _output("clinical_parameters", ClinicalParameters)

run_tables = _output("run_tables", RunTables)
model_errors = _output("model_errors", ModelErrors)
model_paths = _output("model_paths", ModelPaths)
learning = {name: _output(name, of) for name, of in CLOSE_TABLES.items()}

run_log = sa.Table(
    "run_log",
    metadata,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("run_id", sa.ForeignKey("runs.run_id"), nullable=False),
    sa.Column("cycle", sa.Date, nullable=False),
    sa.Column("made_at", sa.DateTime, nullable=False),
)

run_loads = sa.Table(
    "run_loads",
    metadata,
    sa.Column("run_id", sa.ForeignKey("runs.run_id"), primary_key=True),
    sa.Column("load_id", sa.ForeignKey("loads.load_id"), primary_key=True),
)

closes = sa.Table(
    "closes",
    metadata,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("closed", sa.Date, nullable=False),
    sa.Column("fit_id", sa.String, nullable=False),
    sa.Column("known_at", sa.DateTime, nullable=False),
    sa.Column("made_at", sa.DateTime, nullable=False),
    sa.Column("method", sa.String, nullable=False),
    sa.Column("inputs_hash", sa.String, nullable=False),
    sa.Column("scored", sa.BigInteger, nullable=False),
    sa.Column("fresh", sa.BigInteger, nullable=False),
    sa.Column("opinions", sa.BigInteger, nullable=False),
    sa.Column("waiting", sa.BigInteger, nullable=False),
    sa.Column("notes", sa.String, nullable=False),
    sa.Column("after", sa.String),
)

published = sa.Table(
    "published",
    metadata,
    *_columns(Published),
    sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"]),
    sqlite_with_rowid=False,
)


def column_dtypes(schema: type[dy.Schema]) -> dict[str, Any]:
    """Polars type of each column of a schema, in schema order."""
    return {name: column.dtype for name, column in schema.columns().items()}


@dataclass(frozen=True)
class Input:
    """How one input table is kept.

    ``first_known`` says from when the first version of a key counts as known: ``month_end``
    (some days after the end of its month ``ds``), ``cycle_start`` (the first moment of its
    ``entered_cycle``, never after its load), ``always`` or ``load`` (the moment it was loaded).
    ``open_levels`` tables accept further text columns, kept in ``levels``.
    """

    name: str
    schema: type[dy.Schema]
    table: sa.Table
    first_known: Literal["month_end", "cycle_start", "always", "load"]
    open_levels: bool = False

    @property
    def key(self) -> list[str]:
        return self.schema.primary_key()

    @property
    def business(self) -> list[str]:
        """Stored business columns: those of the schema, then ``levels`` when there are any."""
        return [*self.schema.column_names(), *([LEVELS] if self.open_levels else [])]

    @property
    def dtypes(self) -> dict[str, Any]:
        """Polars type of each business column."""
        return column_dtypes(self.schema) | ({LEVELS: pl.String()} if self.open_levels else {})


_FIRST_KNOWN_OF_CLINIC: dict[str, Literal["month_end", "load"]] = {
    "enrolment": "month_end",
    "tier_lines": "load",
}
INPUTS = {
    "items": Input("items", Items, items, "always", open_levels=True),
    "history": Input("history", History, history, "month_end"),
    "overrides": Input("overrides", Overrides, overrides, "cycle_start"),
    "prices": Input("prices", Prices, prices, "always"),
} | {
    name: Input(name, of, _clinical[name], _FIRST_KNOWN_OF_CLINIC.get(name, "always"))
    for name, of in CLINICAL_TABLES.items()
}

OUTPUTS: dict[str, tuple[type[dy.Schema], sa.Table]] = {
    "forecasts": (Forecasts, forecasts),
    "components": (Components, components),
    "residual_paths": (ResidualPaths, residual_paths),
    "weights": (Weights, weights),
    "statements": (Statements, statements),
    "bridge": (Bridge, bridge),
    "enrolment_forecasts": (EnrolmentForecasts, enrolment_forecasts),
    "tier_conversion": (TierConversion, tier_conversion),
    "clinical_parameters": (ClinicalParameters, clinical_parameters),
    "run_tables": (RunTables, run_tables),
    "model_errors": (ModelErrors, model_errors),
}


def find_input(name: str) -> Input:
    """The input table of that name; RequestError naming the known ones when there is none."""
    if name not in INPUTS:
        raise RequestError(f"there is no input table {name!r}; allowed: {', '.join(INPUTS)}")
    return INPUTS[name]
