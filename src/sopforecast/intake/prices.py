"""Prices: of items that are there, one row an item and month from which it holds."""

from __future__ import annotations

from collections.abc import Mapping

import dataframely as dy
import polars as pl

from sopforecast.core.evidence_tables import Prices
from sopforecast.core.tables import Items
from sopforecast.errors import DataError, Problem
from sopforecast.intake import rules
from sopforecast.intake.against import Intake, ReadOptions
from sopforecast.intake.cells import near_matches, quoted
from sopforecast.intake.headers import Layout
from sopforecast.intake.shapes import ROW, Shaped

REQUIRED = ("unique_id", "ds_from", "price")


def price_layout(columns: Mapping[str, dy.Column], options: ReadOptions) -> Layout:
    """What headers a file of prices needs; columns of items beside them are left unread."""
    return Layout(
        table="prices",
        columns=tuple(columns),
        required=REQUIRED,
        mapping=options.columns.get("prices", {}),
        ignored=(*(name for name in Items.columns() if name not in columns), *options.levels),
        keeps_foreign=True,
    )


def check_prices(
    shaped: Shaped, intake: Intake, place: rules.Place
) -> tuple[pl.DataFrame, list[Problem], list[str]]:
    """Refuse prices of unknown items, keys twice and empty prices.

    Raises
    ------
    DataError
        No item is known yet.
    """
    frame = shaped.frame
    items = {*intake.items_known}
    items |= set() if intake.known is None else set(intake.known["unique_id"])
    if not items:
        problem = Problem(
            place.file,
            "no item and no history is known yet",
            "prices of items that are there",
            "load items or history first: sopforecast load history FILE",
        )
        raise DataError([problem])
    problems = rules.duplicate_keys(frame, Prices.primary_key(), place=place)
    problems += rules.impossible_knowledge(frame, today=intake.today, place=place)
    wrong = frame.drop_nulls(["unique_id"]).filter(~pl.col("unique_id").is_in(list(items)))
    near = near_matches(wrong["unique_id"].unique(maintain_order=True).to_list(), items)
    problems += [
        place.problem(
            row,
            "unique_id",
            found=f"unknown item {quoted(row['unique_id'])}",
            allowed="ids of items, or of items with history",
            todo=f"did you mean {near[row['unique_id']]!r}?"
            if row["unique_id"] in near
            else "load the item first, or leave the row out",
        )
        for row in wrong.iter_rows(named=True)
    ]
    refused = {(p.row, p.column) for p in shaped.problems}
    problems += [
        place.problem(
            row,
            "price",
            found="an empty cell",
            allowed="a price of more than 0",
            todo="fill it in, or leave the row out",
        )
        for row in frame.filter(pl.col("price").is_null()).iter_rows(named=True)
        if (row[ROW], place.headers["price"]) not in refused
    ]
    return frame, problems, rules.spelling_twins(frame, ("currency",))
