"""Which versions of an input row count, and from when each is known: the rules, in one place.

What the loads say about a key, in the order they were loaded, is a sequence of *statements*.
``settle`` turns statements into versions:

* a ``known_at`` in the file wins, and such a row is always a version of its own;
* the first version of a history or enrolment row is known some days after its month ends; versions
  of a month still partial do not count as its first, and are known from their load when earlier;
* the first version of an override is known from the first moment of the cycle it was entered in,
  and never after its load;
* the first version of a tier line is known from its load: what a tier was worth is learned from
  the tier a line had at a time, so the past is not invented;
* the first version of anything else (an item, a price, a site, a schedule row) counts as always
  known;
* any later version, and any retraction, is known from its load, and never before the version it
  replaces;
* a statement equal to the version it would replace adds nothing.

The rules only look at statements of loads that stand: ``settle_again`` tells a key anew when a
load that spoke of it is undone, so that undoing loads, in whatever order, leaves what would be
there had they never been loaded.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

import polars as pl
import sqlalchemy as sa

from sopforecast.planning_store import schema
from sopforecast.planning_store.bulk import read_frame
from sopforecast.planning_store.schema import Input

ALWAYS_KNOWN = datetime(1900, 1, 1)
_ANSWER = {
    "known_at": pl.Datetime("us"),
    "known_rule": pl.String(),
    "is_version": pl.Boolean(),
    "same_as": pl.Int64(),
}


class _Version(NamedTuple):
    """One version of a key; they sort by known time, and the later told one last on a tie."""

    known_at: datetime
    order: int
    version_id: int | None
    content: tuple[Any, ...]


def standing(
    connection: sa.Connection, spec: Input, *, known_by: datetime | None = None
) -> pl.DataFrame:
    """Every version that stands (known by a time, when one is given), retractions included.

    Returns the columns of the table of ``spec`` and ``seq``, in no particular order.
    """
    table = spec.table
    query = _stored(spec).where(table.c.closed_by.is_(None))
    if known_by is not None:
        query = query.where(table.c.known_at <= known_by)
    return read_frame(connection, query, spec.dtypes)


def current(versions: pl.DataFrame, spec: Input) -> pl.DataFrame:
    """The last version of each key by ``known_at``, then by load; retractions included."""
    ordered = versions.sort(*spec.key, "known_at", "seq", "version_id")
    is_last = pl.struct(spec.key).rle_id()
    return ordered.filter((is_last != is_last.shift(-1)).fill_null(True))


def settle_again(
    connection: sa.Connection, spec: Input, load_id: str
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The keys that an undone load spoke of, and their versions without it.

    ``loads`` must tell already that it is undone. The versions are as ``settle`` gives them;
    their ``version_id`` has no meaning.
    """
    stored = read_frame(connection, _stored(spec), spec.dtypes)
    touched = stored.filter(pl.col("load_id") == load_id).select(spec.key).unique()
    spoken = stored.join(touched, on=spec.key, how="semi")
    query = sa.select(*_load_columns()).where(schema.loads.c.undone_at.is_(None))
    loads = read_frame(connection, query).drop("loaded_by", "seq")
    first_said = spoken.filter("said").join(loads, on="load_id")
    first_said = first_said.with_columns(
        given_at=pl.when(pl.col("known_rule") == "file").then("known_at")
    )
    said_again = _restatements(connection, spec, spoken)
    statements = pl.concat([first_said, said_again], how="diagonal").drop("known_at", "known_rule")
    return touched, settle(statements, spec).filter("is_version")


def settle(statements: pl.DataFrame, spec: Input) -> pl.DataFrame:
    """Known times of statements, and which of them are versions.

    Parameters
    ----------
    statements
        The business columns of ``spec`` and: ``given_at`` (known time stated by the file, or
        null), ``loaded_at`` and ``lag_days`` (of the load), ``seq`` (order of the load),
        ``retracted`` (the statement says that the key is gone), ``version_id`` (null when not
        stored). Further columns are kept.

    Returns
    -------
    pl.DataFrame
        The statements by key and ``seq`` with ``known_at``, ``known_rule`` (``file``,
        ``month_end``, ``cycle_start``, ``always`` or ``load``), ``is_version`` and, where it is
        not one, ``same_as``: the ``version_id`` that says the same. A retraction of something never
        stated is no version and the same as nothing.
    """
    ordered = statements.sort(*spec.key, "seq", "given_at", nulls_last=True, maintain_order=True)
    content = [name for name in (*spec.business, "retracted") if name not in spec.key]
    columns = ordered.select(
        pl.struct(spec.key).rle_id(),
        "given_at",
        "loaded_at",
        _first_known(spec).alias("first"),
        pl.col("partial") if "partial" in spec.business else pl.lit(False).alias("partial"),
        "retracted",
        "version_id",
    ).get_columns()
    told = zip(*(c.to_list() for c in columns), ordered.select(content).rows(), strict=True)
    answers = pl.DataFrame(_tell(told, spec.first_known), schema=_ANSWER, orient="row")
    return ordered.with_columns(answers.get_columns())


def _first_known(spec: Input) -> pl.Expr:
    """When a first version is known; a month ends with its last microsecond, as in core.months."""
    if spec.first_known == "cycle_start":
        return pl.min_horizontal(pl.col("entered_cycle").cast(pl.Datetime("us")), "loaded_at")
    if spec.first_known == "always":
        return pl.lit(ALWAYS_KNOWN, dtype=pl.Datetime("us"))
    if spec.first_known == "load":
        return pl.col("loaded_at")
    next_month = pl.col("ds").dt.offset_by("1mo").cast(pl.Datetime("us"))
    return next_month + pl.duration(days=pl.col("lag_days"), microseconds=-1)


def _tell(statements: Iterable[tuple[Any, ...]], first_rule: str) -> list[tuple[Any, ...]]:
    """Go through the statements of one key after another, in order, as the rules are told."""
    answers: list[tuple[Any, ...]] = []
    told: list[_Version] = []
    key_told, has_whole = None, False
    for key, given, loaded_at, first, partial, retracted, version_id, content in statements:
        if key != key_told:
            key_told, told, has_whole = key, [], False
        if given is not None:
            known_at, rule = given, "file"
        elif retracted or has_whole or (partial and loaded_at < first):
            known_at, rule = loaded_at, "load"
        else:
            known_at, rule = first, first_rule
        if given is None and told:
            known_at = max(known_at, max(told).known_at)
        before = max((v for v in told if v.known_at <= known_at), default=None)
        is_own = given is not None and before is not None and before.known_at != given
        twin = before if before and before.content == content and not is_own else None
        is_version = twin is None and not (retracted and not told)
        answers.append((known_at, rule, is_version, twin.version_id if twin else None))
        if is_version:
            told.append(_Version(known_at, len(told), version_id, content))
            has_whole = has_whole or not (partial or retracted)
    return answers


def _stored(spec: Input) -> sa.Select[Any]:
    columns = [spec.table.c[name] for name in (*spec.business, *schema.STORE_COLUMNS)]
    loads = schema.loads
    return sa.select(*columns, loads.c.seq).join(loads, loads.c.load_id == spec.table.c.load_id)


def _load_columns() -> list[sa.ColumnElement[Any]]:
    loads = schema.loads.c
    return [
        loads.load_id,
        loads.loaded_by,
        loads.seq,
        loads.loaded_at,
        loads.history_lag_days.label("lag_days"),
    ]


def _restatements(connection: sa.Connection, spec: Input, spoken: pl.DataFrame) -> pl.DataFrame:
    """Rows of ``spoken`` that standing loads said again, each as a statement of that load."""
    loads, ranges = schema.loads.c, schema.restated.c
    query = (
        sa.select(ranges.first_version, ranges.last_version, ranges.known_given, *_load_columns())
        .join(schema.loads, loads.load_id == ranges.load_id)
        .where(loads.table == spec.name, loads.undone_at.is_(None))
    )
    said = read_frame(connection, query).with_columns(
        version_id=pl.int_ranges("first_version", pl.col("last_version") + 1)
    )
    said = said.explode("version_id").drop("first_version", "last_version")
    content = spoken.select("version_id", *spec.business, "retracted", "known_at")
    return said.join(content, on="version_id").with_columns(
        given_at=pl.when("known_given").then("known_at")
    )
