"""Checks on history alone; each returns the offending rows and a sentence for a planner.

Every function takes `Loaded` and returns `Finding`; `checks.CHECKS` lists them and drives the run.
"""

from __future__ import annotations

import polars as pl

from sopforecast.baseline.cleanse import STOCKOUT_DAYS
from sopforecast.baseline.findings import Finding, Loaded, count, items_do, months_apart
from sopforecast.baseline.segment import SHORT_BELOW_MONTHS
from sopforecast.core.months import month_name

STALE_MONTHS = 3
VERY_SHORT_MONTHS = 12
UNIT_STEP = 300.0  # a x1000 slip, with room for the demand itself to move by a factor of 3
SPIKE = 10.0  # times the median of the item's other months with demand
SPIKE_OVER_NEXT = 3.0
GONE = ("discontinued", "phase_out")


def history_all_unknown(loaded: Loaded) -> Finding:
    """Items with rows, none of which has a ``y``."""
    rows = (
        loaded.history.group_by("unique_id")
        .agg(rows=pl.len(), known=pl.col("y").is_not_null().sum())
        .filter(pl.col("known") == 0)
        .select("unique_id", "rows")
        .sort("unique_id")
    )
    verb = items_do(rows, "has", "have")
    return Finding(
        rows,
        f"{verb} rows but no demand in any of them: fill in y (0 when there was none), "
        "or they get no forecast",
    )


def history_all_zero(loaded: Loaded) -> Finding:
    """Items whose every known ``y`` is zero."""
    rows = (
        loaded.known.group_by("unique_id", maintain_order=True)
        .agg(months=pl.len(), never=(pl.col("y") == 0).all())
        .filter("never")
        .select("unique_id", "months")
    )
    verb = items_do(rows, "has", "have")
    return Finding(
        rows,
        f"{verb} zero demand in every month and will be forecast as zero: "
        "check the id, or set status = discontinued",
    )


def history_duplicates_case(loaded: Loaded) -> Finding:
    """Ids that differ only in upper and lower case or in blanks."""
    alike = pl.col("unique_id").str.strip_chars().str.to_lowercase().str.replace_all(r"\s+", "")
    rows = (
        loaded.history.group_by("unique_id")
        .agg(months=pl.len(), total=pl.col("y").sum())
        .with_columns(alike=alike)
        .filter(pl.len().over("alike") > 1)
        .select("alike", "unique_id", "months", "total")
        .sort("alike", "unique_id")
    )
    groups = rows["alike"].n_unique()
    return Finding(
        rows,
        f"{count(rows.height, 'id')} differ only in case or blanks and stand for "
        f"{count(groups, 'name')}: each is forecast on its own; if they are one item, "
        "write them alike and load again with --full",
    )


def history_gap_months(loaded: Loaded) -> Finding:
    """Months without a row between an item's first and last known month."""
    if loaded.missing == "zero":
        return Finding(pl.DataFrame(), "no row means no demand, as set")
    step = months_apart(pl.col("ds").shift(1), pl.col("ds")).over("unique_id")
    rows = (
        loaded.history.sort("unique_id", "ds")
        .with_columns(gap=step - 1, after=pl.col("ds").shift(1).over("unique_id"))
        .filter(pl.col("gap") > 0)
        .select("unique_id", "after", before="ds", months_missing="gap")
    )
    verb = items_do(rows, "has", "have")
    total = count(int(rows["months_missing"].sum()), "month")
    return Finding(
        rows,
        f"{verb} months without a row ({total} in all): they are read as unknown; "
        'set [history] missing = "zero" when no row means no demand',
    )


def history_last_month(loaded: Loaded) -> Finding:
    """Items that stop one or two months before the last complete month."""
    late = pl.col("silent_months").is_between(1, STALE_MONTHS - 1)
    rows = _still_alive(loaded, loaded.spans.filter(late)).select("unique_id", "last_ds")
    of = f"of {loaded.spans.height:,} items"
    number = f"{rows.height:,} {of} {'has' if rows.height == 1 else 'have'}"
    read = "zero demand" if loaded.missing == "zero" else "unknown"
    return Finding(
        rows,
        f"{number} no demand for {month_name(loaded.last_month)}, the last complete month, "
        f"read as {read}: is the file complete?",
    )


def history_stale(loaded: Loaded) -> Finding:
    """Items with no row for three months or more that nobody has marked as ending."""
    old = pl.col("silent_months") >= STALE_MONTHS
    rows = _still_alive(loaded, loaded.spans.filter(old))
    rows = rows.select("unique_id", "last_ds", "silent_months", "status")
    verb = items_do(rows, "has", "have")
    read = "zero demand" if loaded.missing == "zero" else "unknown"
    return Finding(
        rows,
        f"{verb} no demand on record for {STALE_MONTHS} months or more, read as {read}: "
        "load the missing months, or set status = discontinued in items",
    )


def history_short(loaded: Loaded) -> Finding:
    """Items with fewer than 24 known months."""
    rows = loaded.spans.filter(pl.col("months") < SHORT_BELOW_MONTHS)
    rows = rows.select("unique_id", "first_ds", "months").sort("months", "unique_id")
    verb = items_do(rows, "has", "have")
    very = int((rows["months"] < VERY_SHORT_MONTHS).sum())
    return Finding(
        rows,
        f"{verb} fewer than {SHORT_BELOW_MONTHS} months of demand, {very:,} of them fewer than "
        f"{VERY_SHORT_MONTHS}: their season cannot be told and their ranges are wide; "
        "load older months where there are any",
    )


def history_negative(loaded: Loaded) -> Finding:
    """Months whose demand is below zero."""
    rows = loaded.known.filter(pl.col("y") < 0).select("unique_id", "ds", "y")
    verb = items_do(rows, "has", "have")
    return Finding(
        rows,
        f"{verb} demand below zero ({count(rows.height, 'month')} in all), read as returns "
        "netted against orders: book large returns in the month of the order they undo",
    )


def history_unit_step(loaded: Loaded) -> Finding:
    """Items whose demand jumps by a factor of 300 or more and stays there, as a unit slip does.

    Compared are the medians of the 12 months with demand before and of the 3 from the jump on
    (fewer at the ends, but 3 before at least), and the month itself with the one before.
    """
    y = pl.col("y")
    ahead = y.reverse().rolling_median(3, min_samples=1).reverse()
    steps = loaded.known.filter(y > 0).with_columns(
        before=y.shift(1).rolling_median(12, min_samples=3).over("unique_id"),
        after=ahead.over("unique_id"),
        jump=(y / y.shift(1)).log().abs().over("unique_id"),
    )
    factor = pl.col("after") / pl.col("before")
    large = (factor >= UNIT_STEP) | (factor <= 1 / UNIT_STEP)
    rows = (
        steps.filter(large, pl.col("jump") >= pl.lit(UNIT_STEP / 3).log())
        .with_columns(factor=factor)
        .unique("unique_id", keep="first", maintain_order=True)
        .select("unique_id", "ds", "before", "after", "factor")
    )
    verb = items_do(rows, "moves", "move")
    return Finding(
        rows,
        f"{verb} by a factor of {UNIT_STEP:.0f} or more from one month to the next and stay "
        "there, as when pieces become thousands: bring the months before or after to one unit "
        "and load them again",
    )


def history_single_spike(loaded: Loaded) -> Finding:
    """Items with one month ten times their usual one, and three times their next largest."""
    demands = loaded.known.filter(pl.col("y") > 0)
    largest = (pl.col("y").rank("ordinal", descending=True) == 1).over("unique_id")
    others = (
        demands.filter(~largest)
        .group_by("unique_id")
        .agg(others=pl.len(), typical=pl.col("y").median(), next_largest=pl.col("y").max())
    )
    rows = (
        demands.filter(largest)
        .join(others, on="unique_id", how="inner", maintain_order="left")
        .filter(
            pl.col("others") >= 6,
            pl.col("y") >= SPIKE * pl.col("typical"),
            pl.col("y") >= SPIKE_OVER_NEXT * pl.col("next_largest"),
        )
        .select("unique_id", "ds", "y", "typical", "next_largest")
    )
    verb = items_do(rows, "has", "have")
    return Finding(
        rows,
        f"{verb} one month at {SPIKE:.0f} times the usual or more: when it will not come "
        "again, put its extra part in one_off, so that it counts as demand but is not projected",
    )


def history_one_off(loaded: Loaded) -> Finding:
    """Months whose ``one_off`` is larger than their demand."""
    above = (pl.col("y") >= 0) & (pl.col("one_off") > pl.col("y"))
    rows = loaded.known.filter(above).select("unique_id", "ds", "y", "one_off")
    verb = items_do(rows, "has", "have")
    return Finding(
        rows,
        f"{verb} a one_off larger than the demand it is part of "
        f"({count(rows.height, 'month')} in all), fitted as zero: one_off is the share of y that "
        "will not come again, not an addition to it",
    )


def history_stockout(loaded: Loaded) -> Finding:
    """Items out of stock for 5 days or more in over half of their months."""
    out = pl.col("stockout_days") >= STOCKOUT_DAYS
    rows = (
        loaded.history.group_by("unique_id")
        .agg(months=pl.len(), out_of_stock=out.sum())
        .filter(pl.col("out_of_stock") * 2 > pl.col("months"))
        .sort("unique_id")
    )
    verb = items_do(rows, "was", "were")
    return Finding(
        rows,
        f"{verb} out of stock in more than half of the months: what was recorded there is "
        "less than demand, and the forecast rests on the few months that are left; "
        "load orders instead of shipments if you have them",
    )


def history_partial_month(loaded: Loaded) -> Finding:
    """Rows after the last complete month, or marked partial."""
    rows = loaded.partial.sort("unique_id", "ds").select("unique_id", "ds", "y")
    verb = "row lies" if rows.height == 1 else "rows lie"
    return Finding(
        rows,
        f"{rows.height:,} {verb} in a month that is not complete (complete up to "
        f"{month_name(loaded.last_month)}): kept, but neither fitted nor scored; "
        "load again when the month has ended",
    )


def _still_alive(loaded: Loaded, spans: pl.DataFrame) -> pl.DataFrame:
    """``spans`` with status, without items that are ending or have ended."""
    joined = spans.join(loaded.status, on="unique_id", how="left", maintain_order="left")
    ended = pl.col("end_ds").is_not_null() & (pl.col("end_ds") <= loaded.last_month)
    return joined.with_columns(pl.col("status").fill_null("active")).filter(
        ~pl.col("status").is_in(GONE), ~ended
    )
