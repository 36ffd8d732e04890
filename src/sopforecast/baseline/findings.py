"""What a data check reads, what it returns, and how its sentence counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from urllib.parse import unquote

import polars as pl

SHOWN_NAMES = 3


@dataclass(frozen=True)
class Finding:
    """Offending rows, and one sentence on them for a planner; no rows means all is well."""

    rows: pl.DataFrame
    sentence: str


@dataclass(frozen=True, eq=False)
class Loaded:
    """What is loaded, as the checks read it. Empty tables stand for tables that are not there.

    Attributes
    ----------
    history : pl.DataFrame
        Rows up to ``last_month`` that are not partial: unique_id, ds, y and what else was loaded.
    partial : pl.DataFrame
        The other rows: kept, never fitted.
    items : pl.DataFrame
        Master data with its level columns.
    levels : tuple of str
        As in settings: ``family`` or ``family/region``.
    last_month : date
        The last complete month, before the cycle.
    missing : {"unknown", "zero"}
        What a month without a row means.
    """

    history: pl.DataFrame
    items: pl.DataFrame
    levels: tuple[str, ...]
    last_month: date
    missing: str
    partial: pl.DataFrame = field(default_factory=pl.DataFrame)

    @cached_property
    def known(self) -> pl.DataFrame:
        """History rows whose ``y`` is known, sorted by item and month."""
        return self.history.filter(pl.col("y").is_not_null()).sort("unique_id", "ds")

    @cached_property
    def spans(self) -> pl.DataFrame:
        """unique_id, first_ds, last_ds, months, total of each item's known rows, sorted."""
        return (
            self.known.group_by("unique_id", maintain_order=True)
            .agg(
                first_ds=pl.col("ds").min(),
                last_ds=pl.col("ds").max(),
                months=pl.len().cast(pl.Int64),
                total=pl.col("y").sum(),
            )
            .with_columns(silent_months=months_apart(pl.col("last_ds"), pl.lit(self.last_month)))
        )

    @cached_property
    def status(self) -> pl.DataFrame:
        """unique_id, status (text, "active" when blank), launch_ds, end_ds of every item row."""
        columns = {"status": pl.String, "launch_ds": pl.Date, "end_ds": pl.Date}
        if "unique_id" not in self.items.columns:
            return pl.DataFrame(schema={"unique_id": pl.String, **columns})
        given = self.items.select(
            pl.col("unique_id").cast(pl.String),
            *(
                (pl.col(name) if name in self.items.columns else pl.lit(None, dtype))
                .cast(dtype)
                .alias(name)
                for name, dtype in columns.items()
            ),
        )
        return given.with_columns(pl.col("status").fill_null("active"))

    @property
    def level_paths(self) -> dict[str, list[str]]:
        """The item columns that make up each level."""
        return {level: [unquote(part) for part in level.split("/")] for level in self.levels}


def months_apart(start: pl.Expr, end: pl.Expr) -> pl.Expr:
    """Months from ``start`` to ``end``, both dates; Int64."""
    years = end.dt.year().cast(pl.Int64) - start.dt.year().cast(pl.Int64)
    return years * 12 + end.dt.month().cast(pl.Int64) - start.dt.month().cast(pl.Int64)


def count(number: int, noun: str) -> str:
    """``count(1, "item")`` is "1 item", ``count(1200, "item")`` "1,200 items"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def items_do(rows: pl.DataFrame, one: str, many: str) -> str:
    """ "1 item has" or "3 items have": the distinct items of ``rows`` with their verb."""
    number = rows["unique_id"].n_unique() if rows.height else 0
    return f"{count(number, 'item')} {one if number == 1 else many}"


def some_names(names: Sequence[str]) -> str:
    """The first three names, and how many more there are."""
    shown = ", ".join(names[:SHOWN_NAMES])
    more = len(names) - SHOWN_NAMES
    return f"{shown} and {more:,} more" if more > 0 else shown
