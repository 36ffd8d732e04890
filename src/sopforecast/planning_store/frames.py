"""Frames at the door of the store: checked on the way in, levels packed and unpacked, hashed."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import polars as pl

from sopforecast.errors import RequestError
from sopforecast.planning_store.schema import BITEMPORAL, LEVELS, STORE_COLUMNS, Input

RESERVED = frozenset({*STORE_COLUMNS, *BITEMPORAL, LEVELS, "given_at", "seq", "loaded_at"})


def pack_levels(frame: pl.DataFrame, spec: Input, *, file: str) -> pl.DataFrame:
    """Level columns (all that the schema does not name) as one JSON text column ``levels``.

    Blank levels are left out of the text, so that a missing column and an empty one say the same.
    """
    known = {*spec.schema.column_names(), "known_at"}
    extra = [name for name in frame.columns if name not in known]
    if not spec.open_levels:
        if extra:
            _refuse_column(extra[0], spec, file)
        return frame
    taken = sorted(set(extra) & RESERVED)
    if taken:
        raise RequestError(
            f"{file}: found a level column named {taken[0]!r}, a name the store uses itself; "
            "rename the column"
        )
    if not extra:
        return frame.with_columns(pl.lit("{}").alias(LEVELS))
    values = frame.select(pl.col(extra).cast(pl.String))
    distinct = values.unique(maintain_order=True)
    packed = [
        json.dumps({k: v for k, v in row.items() if v is not None}, sort_keys=True)
        for row in distinct.iter_rows(named=True)
    ]
    texts = distinct.with_columns(pl.Series(LEVELS, packed, dtype=pl.String))
    joined = values.join(texts, on=extra, how="left", nulls_equal=True, maintain_order="left")
    return frame.drop(extra).with_columns(joined[LEVELS])


def unpack_levels(frame: pl.DataFrame) -> pl.DataFrame:
    """The column ``levels`` as text columns again, sorted by name, in its place at the end."""
    distinct = frame.select(LEVELS).unique(maintain_order=True)
    decoded = [json.loads(text) for text in distinct[LEVELS]]
    names = sorted({name for row in decoded for name in row})
    columns = [pl.Series(n, [row.get(n) for row in decoded], dtype=pl.String) for n in names]
    wide = distinct.with_columns(columns)
    return frame.join(wide, on=LEVELS, how="left", maintain_order="left").drop(LEVELS)


def to_rows(frame: pl.DataFrame, spec: Input, *, file: str) -> pl.DataFrame:
    """The business columns of a packed frame, typed and checked, and ``given_at``.

    Raises
    ------
    RequestError
        A column is missing or of another type, a row breaks a rule of the schema, or a key (with
        its ``known_at``, when there is one) is there twice.
    """
    missing = [name for name in spec.key if name not in frame.columns]
    if missing:
        _refuse_column(None, spec, file, missing=missing[0])
    given = pl.col("known_at") if "known_at" in frame.columns else pl.lit(None)
    if isinstance(frame.schema.get("known_at"), pl.Datetime):
        zone = getattr(frame.schema["known_at"], "time_zone", None)
        given = given.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if zone else given
    columns = [
        (pl.col(name) if name in frame.columns else pl.lit(None)).cast(dtype).alias(name)
        for name, dtype in spec.dtypes.items()
    ]
    try:
        rows = frame.select(*columns, given.cast(pl.Datetime("us")).alias("given_at"))
    except pl.exceptions.PolarsError as err:
        raise RequestError(f"{file}: a column is not of its type: {err}") from err
    twice = rows.filter(pl.struct(*spec.key, "given_at").is_duplicated())
    if twice.height:
        raise RequestError(
            f"{file}: the key {_key_text(twice.row(0, named=True), spec)} is there twice; "
            "allowed: each key once; keep the right row and remove the other"
        )
    _check_rules(rows, spec, file)
    return rows


def hash_rows(frame: pl.DataFrame) -> str:
    """SHA-256 of the rows of a frame, whatever their order and that of the columns.

    Null differs from an empty text, -0.0 does not differ from 0.0. The bytes hashed are the
    values themselves (little-endian numbers, UTF-8 text), so they do not depend on any writer.
    """
    names = sorted(frame.columns)
    plain = frame.select([_plain(name, frame.schema[name]) for name in names])
    plain = plain.sort(names, nulls_last=False)
    digest = hashlib.sha256(f"{plain.height}\n".encode())
    for name in names:
        column = plain[name]
        present = column.drop_nulls()
        if column.dtype == pl.String:
            kind = "text"
            body = _lengths(present.str.len_bytes()) + "".join(present.to_list()).encode()
        elif column.dtype == pl.Binary:
            kind = "bytes"
            body = _lengths(present.bin.size()) + b"".join(present.to_list())
        else:
            kind = "<f8" if column.dtype == pl.Float64 else "<i8"
            body = present.to_numpy().astype(kind).tobytes()
        digest.update(f"{len(name.encode())}:{name}:{kind}\n".encode())
        digest.update(np.packbits(column.is_null().to_numpy()).tobytes())
        digest.update(body)
    return digest.hexdigest()


def _lengths(sizes: pl.Series) -> bytes:
    return sizes.to_numpy().astype("<u4").tobytes()


def _plain(name: str, dtype: pl.DataType) -> pl.Expr:
    """A column as text, bytes, float or integer, the four kinds that are hashed."""
    column = pl.col(name)
    if dtype.is_float():
        number = column.cast(pl.Float64)
        return pl.when(number != 0).then(number).otherwise(number.abs()).alias(name)
    if dtype == pl.Datetime:
        return column.dt.cast_time_unit("us").cast(pl.Int64)
    if dtype in (pl.Enum, pl.Categorical, pl.Null):
        return column.cast(pl.String)
    return column if dtype in (pl.String, pl.Binary) else column.cast(pl.Int64)


def _check_rules(rows: pl.DataFrame, spec: Input, file: str) -> None:
    """The schema's own rules; versions of one key are checked one after another."""
    nth = pl.int_range(pl.len()).over(spec.key).alias("nth")
    for _, part in rows.with_columns(nth).group_by("nth", maintain_order=True):
        good, failure = spec.schema.filter(part.select(spec.schema.column_names()), cast=True)
        if good.height < part.height:
            broken = ", ".join(f"{rule} ({n} rows)" for rule, n in failure.counts().items())
            first = failure.invalid().row(0, named=True)
            raise RequestError(
                f"{file}: rows break the rules of {spec.name}: {broken}; the first is "
                f"{_key_text(first, spec)}; correct them and load the file again"
            )


def _key_text(row: dict[str, object], spec: Input) -> str:
    return ", ".join(f"{name} {row[name]}" for name in spec.key)


def _refuse_column(name: str | None, spec: Input, file: str, *, missing: str | None = None) -> None:
    found = f"the column {name!r}" if missing is None else f"no column {missing!r}"
    raise RequestError(
        f"{file}: found {found}; columns of {spec.name}: "
        f"{', '.join(spec.schema.column_names())}, known_at; rename, add or remove it"
    )
