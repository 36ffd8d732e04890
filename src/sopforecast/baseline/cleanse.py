"""Turn admitted history into dense months that can be modelled, with every change flagged.

Reads ``history`` (core.tables.History: unique_id, ds, y and, where loaded, stockout_days, one_off,
partial) and returns ``Cleansed``: one row an item and month from the item's first known month to
the month before the cycle. What was recorded stays in ``y_original``; ``y`` is what models fit, and
is never null; ``flag`` says why the two differ:

=========  =================================================================================
``""``     ``y`` is what was recorded (or no row, read as zero when ``missing="zero"``)
gap        nothing known: no row, or an empty ``y``; imputed
stockout   out of stock on 5 days or more: the larger of what was recorded and the imputed value
one_off    ``y_original - one_off``
outlier    one freak month between ordinary ones; imputed
=========  =================================================================================

**Scored cells.** An imputed month borrows from later months of the same admitted history. Nothing
after ``last_month`` is ever read, so a cycle has no look-ahead; but a backtest that slices a
cleansed series at an earlier origin must score only cells whose flag is in ``SCORED_FLAGS``, and
must score ``y_original``: an outlier really happened, and so did a one-off.

Every value depends only on its own item's rows, by medians and sums in a fixed order: the result is
the same to the last bit whatever other items are cleansed with it.
"""

from __future__ import annotations

from datetime import date

import dataframely as dy
import numpy as np
import polars as pl

from sopforecast.baseline.impute import expected_demand, freak_months, is_intermittent
from sopforecast.baseline.wide import right_aligned
from sopforecast.errors import RequestError

FLAGS = ("", "gap", "stockout", "one_off", "outlier")
SCORED_FLAGS = ("", "outlier", "one_off")
MISSING = ("unknown", "zero")
STOCKOUT_DAYS = 5.0
BLOCK = 512  # rows (series) worked on at once, so that memory stays small


class Cleansed(dy.Schema):
    """Dense months of each item, sorted; units of the item. The key is unique_id, ds."""

    unique_id = dy.String(primary_key=True)
    ds = dy.Date(primary_key=True, resolution="1mo")
    y_original = dy.Float64(nullable=True, allow_inf=False, allow_nan=False)
    y = dy.Float64(allow_inf=False, allow_nan=False)
    flag = dy.String(check=lambda flag: flag.is_in(FLAGS))


def cleanse(history: pl.DataFrame, *, missing: str, last_month: date) -> pl.DataFrame:
    """Make history dense up to ``last_month`` and fit for modelling.

    Parameters
    ----------
    history : pl.DataFrame
        unique_id, ds (month starts), y; optional stockout_days, one_off, partial. Rows that are
        partial or later than ``last_month`` are left out.
    missing : {"unknown", "zero"}
        What a month without a row means. An empty ``y`` is unknown in either case.
    last_month : date
        First day of the month before the cycle.

    Returns
    -------
    pl.DataFrame
        ``Cleansed``, sorted by unique_id, ds. An item with no known ``y`` up to ``last_month`` has
        no rows. With ``missing="zero"`` a month without a row has ``y_original`` 0 and is scored.

    Raises
    ------
    RequestError
        Unknown ``missing``, a date that is not a month start, or two rows of one item and month.
    """
    if missing not in MISSING:
        raise RequestError(f"missing is {missing!r}; allowed: {', '.join(MISSING)}")
    if last_month.day != 1:
        raise RequestError(f"last_month is {last_month}; allowed: the first day of a month")
    months = _flagged(_dense(_admitted(history, last_month), last_month), missing)
    if months.is_empty():
        return Cleansed.create_empty()
    fitted, flags = _fitted(months)
    return months.select(
        "unique_id", "ds", "y_original", pl.Series("y", fitted), pl.Series("flag", flags)
    )


def cleansed_then(cleansed: pl.DataFrame, last_month: date) -> pl.DataFrame:
    """What `cleanse` would have said when ``last_month`` was the last month: no later one is read.

    Parameters
    ----------
    cleansed : pl.DataFrame
        ``Cleansed`` up to a later month, or part of each item's months from its first one on.
    last_month : date

    Returns
    -------
    pl.DataFrame
        ``Cleansed``. A stock-out from which a one-off was taken out is filled up from what was
        recorded, one-off included: nothing else tells how large it was.
    """
    as_recorded = pl.col("flag").is_in(["", "one_off"])
    months = cleansed.filter(pl.col("ds") <= last_month).with_columns(
        known=pl.when(as_recorded).then(pl.col("y")).otherwise(pl.col("y_original")),
        flag=pl.when(pl.col("flag") == "outlier").then(pl.lit("")).otherwise(pl.col("flag")),
    )
    if months.is_empty():
        return Cleansed.create_empty()
    fitted, flags = _fitted(months)
    return months.select(
        "unique_id", "ds", "y_original", pl.Series("y", fitted), pl.Series("flag", flags)
    )


def scored_demand(cleansed: pl.DataFrame) -> pl.DataFrame:
    """unique_id, ds, y as it is scored: what was sold, one-offs included; null where unknown."""
    return cleansed.select("unique_id", "ds", y="y_original")


def _admitted(history: pl.DataFrame, last_month: date) -> pl.DataFrame:
    """Rows up to ``last_month`` that are not partial, with all columns present and typed."""
    absent = {"unique_id", "ds", "y"} - set(history.columns)
    if absent:
        raise RequestError(f"history has no column {', '.join(sorted(absent))}")
    optional = {"stockout_days": pl.Float64, "one_off": pl.Float64, "partial": pl.Boolean}
    rows = history.with_columns(
        pl.lit(None, dtype).alias(name)
        for name, dtype in optional.items()
        if name not in history.columns
    ).select(
        pl.col("unique_id").cast(pl.String),
        pl.col("ds").cast(pl.Date),
        pl.col("y", "stockout_days", "one_off").cast(pl.Float64).fill_nan(None),
        pl.col("partial").fill_null(False),
    )
    rows = rows.filter(~pl.col("partial"), pl.col("ds") <= last_month).drop("partial")
    odd = rows.filter(pl.col("ds").dt.day() != 1)
    if odd.height:
        raise RequestError(
            f"history of {odd['unique_id'][0]!r} has the date {odd['ds'][0]}; "
            "allowed: month starts; load the file again so that dates become months"
        )
    twice = rows.filter(pl.struct("unique_id", "ds").is_duplicated())
    if twice.height:
        raise RequestError(
            f"history of {twice['unique_id'][0]!r} has {twice['ds'][0]} more than once; "
            "allowed: one row an item and month; add the rows up or drop one"
        )
    return rows


def _dense(rows: pl.DataFrame, last_month: date) -> pl.DataFrame:
    """Every month of every item from its first known month to ``last_month``."""
    spans = rows.filter(pl.col("y").is_not_null()).group_by("unique_id").agg(pl.col("ds").min())
    grid = spans.select(
        "unique_id", pl.date_ranges("ds", pl.lit(last_month), interval="1mo").alias("ds")
    ).explode("ds")
    rows = rows.with_columns(recorded=pl.lit(True))
    return grid.join(rows, on=["unique_id", "ds"], how="left").sort("unique_id", "ds")


def _flagged(dense: pl.DataFrame, missing: str) -> pl.DataFrame:
    """Adds y_original, the fit value before imputation (``known``) and the first flags."""
    no_row = pl.col("recorded").is_null()
    y = pl.when(no_row).then(0.0).otherwise(pl.col("y")) if missing == "zero" else pl.col("y")
    one_off = pl.col("one_off").fill_null(0.0)
    dense = dense.with_columns(y_original=y, one_off=one_off)
    adjusted = pl.col("y_original") - pl.col("one_off")
    above = (pl.col("y_original") >= 0) & (adjusted < 0)  # more taken out than there was
    flag = (
        pl.when(pl.col("stockout_days") >= STOCKOUT_DAYS)
        .then(pl.lit("stockout"))
        .when(pl.col("y_original").is_null())
        .then(pl.lit("gap"))
        .when(pl.col("one_off") != 0)
        .then(pl.lit("one_off"))
        .otherwise(pl.lit(""))
    )
    return dense.with_columns(known=pl.when(above).then(0.0).otherwise(adjusted), flag=flag)


def _fitted(months: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Fit values and final flags of every row of ``months``, worked out in blocks of series."""
    known = months["known"].to_numpy().astype(float)
    flags = months["flag"].to_numpy().astype(object)
    counted = months.group_by("unique_id", maintain_order=True).len()["len"]
    lengths = counted.cast(pl.Int64).to_numpy()
    ends = np.cumsum(lengths)
    for first in range(0, len(lengths), BLOCK):
        block = lengths[first : first + BLOCK]
        start = ends[first] - lengths[first]
        rows = slice(start, start + int(block.sum()))
        place = right_aligned(block)
        wide = np.full((len(block), int(block.max())), np.nan)
        wide[place] = known[rows]
        wide_flags = np.full(wide.shape, "outside", dtype=object)
        wide_flags[place] = flags[rows]
        fitted, wide_flags = _repair(wide, wide_flags)
        known[rows], flags[rows] = fitted[place], wide_flags[place]
    return known, flags.astype(str)


def _repair(recorded: np.ndarray, flags: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit values and flags, both (n, T) right-aligned; ``recorded`` is NaN where unknown."""
    out_of_stock = flags == "stockout"
    usable = np.where(out_of_stock, np.nan, recorded)
    too_few = np.isfinite(usable).sum(axis=1, keepdims=True) < 3
    usable = np.where(too_few, recorded, usable)
    intermittent = is_intermittent(usable)
    freak = freak_months(usable) & (flags == "") & ~intermittent[:, None]
    usable[freak] = np.nan
    flags = np.where(freak, "outlier", flags)

    holes = np.isnan(usable) | out_of_stock
    holes &= flags != "outside"
    fitted = recorded.copy()
    busy = holes.any(axis=1)
    expected = expected_demand(usable[busy], intermittent=intermittent[busy])
    floor = np.where(out_of_stock & np.isfinite(recorded), recorded, -np.inf)[busy]
    fitted[busy] = np.where(holes[busy], np.maximum(expected, floor), recorded[busy])
    return fitted, flags
