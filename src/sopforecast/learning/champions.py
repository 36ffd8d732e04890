"""Which procedure rules each learned table: what the gate decided last, else the cold start."""

from __future__ import annotations

import polars as pl

from sopforecast.core.learning_tables import PROCEDURES


def rulers(log: pl.DataFrame) -> dict[str, str]:
    """The procedure that rules each table.

    Parameters
    ----------
    log : pl.DataFrame
        ``LearningLog`` rows that are known, the newest decision last; other columns are not read
        but ``table`` and ``rules``.

    Returns
    -------
    dict of str to str
        By table of ``PROCEDURES``, in that order; a table of which nothing was decided has its
        cold start.

    Raises
    ------
    ValueError
        A row names a procedure that the table does not have.
    """
    ruling = {table: cold for table, (cold, _) in PROCEDURES.items()}
    for table, rules in log.select(pl.col("table").cast(pl.String), "rules").iter_rows():
        if rules not in PROCEDURES[table]:
            allowed = ", ".join(PROCEDURES[table])
            raise ValueError(f"{table} is ruled by {rules!r}; allowed: {allowed}")
        ruling[table] = rules
    return ruling
