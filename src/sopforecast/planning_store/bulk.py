"""Many rows in or out at once, on the connection of the transaction that is open.

SQLite takes ``executemany`` and PostgreSQL ``COPY``, both inside the caller's transaction: nothing
of a bulk write stays when the transaction does not commit. Values are always bound; the names of
tables and columns come from ``schema``, never from input.
"""

from __future__ import annotations

from typing import Any

import polars as pl
import sqlalchemy as sa

DATE_TEXT = "%Y-%m-%d"
TIME_TEXT = "%Y-%m-%d %H:%M:%S%.6f"


def insert_rows(connection: sa.Connection, table: sa.Table, frame: pl.DataFrame) -> int:
    """Insert every row of a frame; returns how many.

    Parameters
    ----------
    connection
        An open transaction of a store.
    frame
        Columns named as those of ``table``; columns left out are NULL.
    """
    if frame.is_empty():
        return 0
    unknown = [name for name in frame.columns if name not in table.c]
    if unknown:
        raise ValueError(f"table {table.name} has no column {unknown[0]!r}")
    cursor: Any = connection.connection.cursor()
    try:
        if connection.dialect.name == "sqlite":
            _insert_many(cursor, connection.dialect, table, frame)
        else:
            _copy(cursor, table, frame)
    finally:
        cursor.close()
    return frame.height


def read_frame(
    connection: sa.Connection, query: sa.Select[Any], dtypes: dict[str, Any] | None = None
) -> pl.DataFrame:
    """Rows of a select as a frame, in the order of the query.

    ``dtypes`` names the Polars type of columns whose type the SQL column does not tell (an Enum);
    the others follow from it. Rows skip SQLAlchemy's per-row conversion: columns are converted
    whole.
    """
    columns = list(query.selected_columns)
    result = connection.execute(query)
    cursor: Any = result.cursor
    rows = cursor.fetchall()
    result.close()
    is_text = connection.dialect.name == "sqlite"
    values = list(zip(*rows, strict=True)) if rows else [()] * len(columns)
    series = [
        _column(column, value, is_text, (dtypes or {}).get(column.name))
        for column, value in zip(columns, values, strict=True)
    ]
    return pl.DataFrame(series)


def _insert_many(cursor: Any, dialect: sa.Dialect, table: sa.Table, frame: pl.DataFrame) -> None:
    insert: Any = sa.insert(table).compile(dialect=dialect, column_keys=frame.columns)
    cursor.executemany(str(insert), _as_sqlite(frame.select(insert.positiontup)).iter_rows())


def _copy(cursor: Any, table: sa.Table, frame: pl.DataFrame) -> None:
    from psycopg import sql

    names = sql.SQL(", ").join(sql.Identifier(name) for name in frame.columns)
    into = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table.name), names)
    with cursor.copy(into) as copy:
        for row in _plain(frame).iter_rows():
            copy.write_row(row)


def _plain(frame: pl.DataFrame) -> pl.DataFrame:
    """Text for enums, and 0.0 for -0.0: SQLite keeps no signed zero, so neither engine does."""
    enums = [name for name, dtype in frame.schema.items() if dtype in (pl.Enum, pl.Categorical)]
    floats = [name for name, dtype in frame.schema.items() if dtype.is_float()]
    unsigned = [pl.when(pl.col(n) != 0).then(n).otherwise(pl.col(n).abs()).alias(n) for n in floats]
    return frame.with_columns(pl.col(enums).cast(pl.String), *unsigned)


def _as_sqlite(frame: pl.DataFrame) -> pl.DataFrame:
    """Dates and times as the text SQLAlchemy itself stores in SQLite."""
    return _plain(frame).with_columns(
        [
            pl.col(name).dt.strftime(DATE_TEXT if dtype == pl.Date else TIME_TEXT)
            for name, dtype in frame.schema.items()
            if dtype in (pl.Date, pl.Datetime)
        ]
    )


def _column(column: Any, values: Any, is_text: bool, dtype: Any) -> pl.Series:
    """One fetched column with its Polars type; SQLite gives dates as text and booleans as 0/1."""
    natural = _natural_dtype(column.type)
    if is_text and natural in (pl.Date, pl.Datetime("us")):
        form = DATE_TEXT if natural == pl.Date else TIME_TEXT
        series = pl.Series(column.name, values, dtype=pl.String).str.strptime(natural, form)
    elif is_text and natural == pl.Boolean:
        series = pl.Series(column.name, values, dtype=pl.Int64).cast(pl.Boolean)
    else:
        series = pl.Series(column.name, values, dtype=natural)
    return series if dtype is None or dtype == natural else series.cast(dtype)


def _natural_dtype(sql_type: sa.types.TypeEngine[Any]) -> Any:
    kinds: list[tuple[type, Any]] = [
        (sa.Boolean, pl.Boolean),
        (sa.Integer, pl.Int64),
        (sa.Float, pl.Float64),
        (sa.DateTime, pl.Datetime("us")),
        (sa.Date, pl.Date),
        (sa.LargeBinary, pl.Binary),
        (sa.String, pl.String),
    ]
    return next(dtype for kind, dtype in kinds if isinstance(sql_type, kind))
