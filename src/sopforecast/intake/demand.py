"""What must hold of demand history: where ``y`` comes from, its sign, its unit, its last month.

``y`` is demand by requested month, net of returns. Where a company keeps shipments and backlog
instead, ``y = shipped + change in backlog``. A month a thousand (or a million) times its item's
usual size is a change of unit far more often than a change of demand, and is refused until somebody
says otherwise.
"""

from __future__ import annotations

from datetime import date
from typing import Any

import polars as pl

from sopforecast.errors import Problem
from sopforecast.intake.cells import counted, listed, row_list
from sopforecast.intake.rules import Place
from sopforecast.intake.shapes import COLUMN, ROW

SLIP_FROM, SLIP_TO = 500.0, 2000.0
SLIPS = ((SLIP_FROM, SLIP_TO), (1000 * SLIP_FROM, 1000 * SLIP_TO))
STEADY_WITHIN = 100.0
SETTLED_MONTHS = 3
NET_OF_RETURNS = "allow net returns with [history] negative = 'net'"


def mark_partial(history: pl.DataFrame, *, through: date) -> pl.DataFrame:
    """Mark rows of months after ``through`` as partial: kept, never fitted, never scored."""
    return history.with_columns((pl.col("ds") > through).fill_null(False).alias("partial"))


def demand_from_shipments(
    history: pl.DataFrame, *, known: pl.DataFrame | None = None
) -> tuple[pl.DataFrame, list[str]]:
    """Set ``y = shipped + backlog - backlog of the month before``.

    Parameters
    ----------
    history : DataFrame
        Rows with ``shipped`` and ``backlog``, in the item's unit.
    known : DataFrame, optional
        Earlier history; its ``backlog``, when it has that column, serves a file's first month.

    Returns
    -------
    DataFrame, list of str
        The history, and a note on the rows where the change in backlog is not known: there ``y``
        is what was shipped.
    """
    levels = history.select("unique_id", "ds", "backlog")
    if known is not None and "backlog" in known.columns:
        levels = pl.concat([levels, known.select(levels.columns).cast(levels.schema)])
    before = (
        levels.drop_nulls()
        .unique(["unique_id", "ds"], keep="first", maintain_order=True)
        .select("unique_id", pl.col("ds").dt.offset_by("1mo"), pl.col("backlog").alias("_before"))
    )
    joined = history.join(before, on=["unique_id", "ds"], how="left", maintain_order="left")
    change = pl.col("backlog") - pl.col("_before")
    joined = joined.with_columns((pl.col("shipped") + change.fill_null(0.0)).alias("y"))
    unsure = joined.filter(change.is_null() & pl.col("shipped").is_not_null())
    notes = []
    if unsure.height:
        where = row_list(unsure[ROW].to_list())
        notes.append(
            f"y is what was shipped in {counted(unsure.height, 'row')} whose change in backlog is "
            f"not known ({where})"
        )
    return joined.drop("_before"), notes


def negative_demand(
    history: pl.DataFrame, *, negative: str, is_derived: bool, place: Place
) -> list[Problem]:
    """Refuse negative demand and shipments unless settings allow net returns; backlog always.

    ``is_derived`` says that ``y`` came from shipments, so that the message shows them.
    """
    problems = []
    for column, todo in (("y", NET_OF_RETURNS), ("shipped", NET_OF_RETURNS), ("backlog", "")):
        if column != "backlog" and negative == "net":
            continue
        for row in history.filter(pl.col(column) < 0).iter_rows(named=True):
            found = f"{row[column]:g}"
            if column == "y" and is_derived:
                found = f"demand of {found} (shipped {row['shipped']:g} plus change in backlog)"
            problems.append(
                place.problem(
                    row,
                    "shipped" if column == "y" and is_derived else column,
                    found=found,
                    allowed="0 or more",
                    todo=f"correct it, or {todo}" if todo else "correct it",
                )
            )
    return problems


def unit_slips(history: pl.DataFrame, *, known: pl.DataFrame | None, place: Place) -> list[Problem]:
    """Find months about a thousand or a million times, or such a part of, the usual month.

    Parameters
    ----------
    history : DataFrame
        Rows of the file.
    known : DataFrame, optional
        Earlier history (unique_id, ds, y); the file's own rows replace the same keys.
    place : Place
        For the messages.

    Notes
    -----
    A row is compared with the median of the positive months before it, at least 3 of them, all
    within a factor of 100: an item that always jumped is not judged. Upwards any factor from 500 to
    2000, or a thousand times that, is a slip. Downwards, demand may truly fade away: it is a slip
    only where the item counted in whole units and now has a fraction.

    The first month is compared with all months after it. As demand may truly begin small, it is
    too small only when every one of them (not just their median) is such a multiple of it.
    """
    candidates = _items_with_a_wide_range(history, known)
    problems = []
    for rows in candidates.partition_by("unique_id", maintain_order=True):
        earlier: list[float] = []
        first, *later = rows.sort("ds").iter_rows(named=True)
        after = [row["y"] for row in later]
        usual = _usual(after)
        if first[ROW] is not None and usual is not None and _begins_wrong(first["y"], usual, after):
            problems.append(_slip(first, usual, place))
        else:
            earlier.append(first["y"])
        for row in later:
            usual = _usual(earlier)
            if row[ROW] is not None and usual is not None and _is_slip(row["y"], usual, earlier):
                problems.append(_slip(row, usual, place))
            else:
                earlier.append(row["y"])
    return problems


def assumptions(history: pl.DataFrame, *, through: date, today: date, missing: str) -> list[str]:
    """Return notes on what is not wrong but should be known: partial, future and empty months."""
    notes = []
    partial = history.filter("partial")
    if partial.height:
        months = partial["ds"].unique().sort().dt.to_string("%Y-%m").to_list()
        notes.append(
            f"{counted(partial.height, 'row')} after {through:%Y-%m} kept as partial, never fitted "
            f"or scored ({listed(months, most=5)})"
        )
    future = history.filter(pl.col("ds") > today.replace(day=1))
    if future.height:
        notes.append(
            f"{counted(future.height, 'row')} in months that have not begun: are they plans?"
        )
    empty = history["y"].null_count()
    if empty:
        notes.append(f"{counted(empty, 'month')} without a quantity read as {missing}")
    return notes


def _items_with_a_wide_range(history: pl.DataFrame, known: pl.DataFrame | None) -> pl.DataFrame:
    """Return the positive months of the items that have both very small and very large ones."""
    columns = ["unique_id", "ds", "y"]
    rows = history.filter(~pl.col("partial")).select(*columns, ROW, COLUMN)
    if known is not None and known.height:
        earlier = known.select(columns).cast(rows.select(columns).schema)
        rows = pl.concat(
            [rows, earlier.join(rows, on=["unique_id", "ds"], how="anti")], how="diagonal"
        )
    positive = rows.drop_nulls(columns).filter(pl.col("y") > 0)
    is_wide = pl.col("y").max() >= SLIP_FROM * pl.col("y").min()
    return positive.filter(is_wide.over("unique_id"))


def _usual(earlier: list[float]) -> float | None:
    """Return the median of the months so far, None while they are few or unsteady."""
    if len(earlier) < SETTLED_MONTHS:
        return None
    ordered = sorted(earlier)
    middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    return middle if ordered[-1] <= STEADY_WITHIN * middle else None


def _is_slip(quantity: float, usual: float, earlier: list[float]) -> bool:
    if _is_unit(quantity / usual):
        return True
    counted_whole = all(value.is_integer() for value in earlier)
    return _is_unit(usual / quantity) and counted_whole and not quantity.is_integer()


def _begins_wrong(quantity: float, usual: float, after: list[float]) -> bool:
    return _is_unit(quantity / usual) or any(
        all(least <= value / quantity <= most for value in after) for least, most in SLIPS
    )


def _is_unit(factor: float) -> bool:
    """Whether a factor is about a thousand or a million."""
    return any(least <= factor <= most for least, most in SLIPS)


def _slip(row: dict[str, Any], usual: float, place: Place) -> Problem:
    factor = row["y"] / usual
    size = f"{factor:,.0f} times" if factor > 1 else f"1/{1 / factor:,.0f} of"
    return place.problem(
        row,
        "y",
        found=f"{row['y']:g} for {row['unique_id']!r}, {size} its usual month ({usual:g})",
        allowed="the unit of the other months",
        todo="correct the unit, or accept it with [history] unit_slip = 'allow'",
    )
