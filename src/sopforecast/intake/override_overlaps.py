"""What an override may not do beside others: say one thing twice, or lack the prices it needs.

Only rows that are new or changed are judged here, so that a file of many cycles can be loaded again
and again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

import polars as pl

from sopforecast.core.hierarchy import Hierarchy
from sopforecast.core.months import month_name
from sopforecast.errors import Problem
from sopforecast.intake.against import Contradictions
from sopforecast.intake.cells import listed, quoted
from sopforecast.intake.rules import Place
from sopforecast.intake.shapes import COLUMN, ROW

FRESH = "_fresh"
CHANGE_ONE = "change or withdraw one of them, or make it evidence"
_CELL = ("source", "owner", "node", "measure", "scenario")
_NEVER = date.max


def wholly_past(frame: pl.DataFrame, *, place: Place) -> list[Problem]:
    """Refuse overrides whose last month is over in the cycle they count from (``_judged``)."""
    past = frame.filter(pl.col("ds_to") < pl.col("_judged"))
    return [
        place.problem(
            row,
            "ds_to" if "ds_to" in place.headers else "ds_from",
            found=f"{month_name(row['ds_to'])}, which is past in cycle "
            f"{month_name(row['_judged'])}",
            allowed=f"overrides of {month_name(row['_judged'])} or later months",
            todo="correct the month; or, for what was said at the time, give its entered_cycle",
        )
        for row in past.iter_rows(named=True)
    ]


def said_twice(standing: pl.DataFrame, *, place: Place) -> list[Problem]:
    """Refuse two active ``absolute`` values of one owner for the same node, month and measure.

    Parameters
    ----------
    standing : DataFrame
        ``Overrides`` as they would stand after the load, with ``_row`` (null for what was loaded
        before) and ``_fresh``. Pairs without a fresh row are passed over; a pair counts when some
        cycle would read both for a common month.
    place : Place
        Where the rows of the file stand.
    """
    absolute = standing.filter((pl.col("kind") == "absolute") & (pl.col("status") == "active"))
    problems: list[Problem] = []
    for _, group in absolute.sort(ROW, nulls_last=False).group_by(_CELL, maintain_order=True):
        rows = group.to_dicts()
        for position, row in enumerate(rows):
            for other in rows[:position]:
                if (row[FRESH] or other[FRESH]) and _meet(row, other):
                    late, first = (row, other) if row[ROW] is not None else (other, row)
                    problems.append(_second(late, first, place))
    return problems


def unpriced(
    frame: pl.DataFrame, hierarchy: Hierarchy, prices: pl.DataFrame | None, *, place: Place
) -> list[Problem]:
    """Refuse revenue of a node some of whose items have no price yet, or prices of two currencies.

    Parameters
    ----------
    frame : DataFrame
        Rows of ``Overrides`` with known nodes.
    hierarchy : Hierarchy
        The nodes.
    prices : DataFrame, optional
        ``Prices`` known now.
    place : Place
        Where the rows stand.
    """
    first: Mapping[str, date] = {}
    currency: dict[str, set[str]] = {}
    if prices is not None and prices.height:
        first = dict(prices.group_by("unique_id").agg(pl.col("ds_from").min()).iter_rows())
        for item, code in prices.select("unique_id", "currency").drop_nulls().iter_rows():
            currency.setdefault(item, set()).add(code)
    problems = []
    revenue = frame.filter(pl.col("measure") == "revenue")
    members = {
        node: [hierarchy.items[index] for index in hierarchy.descendants(node)]
        for node in revenue["node"].unique()
    }
    for row in revenue.iter_rows(named=True):
        items = members[row["node"]]
        without = [item for item in items if first.get(item, _NEVER) > row["ds_from"]]
        codes = sorted({code for item in items for code in currency.get(item, ())})
        if without:
            problems.append(_no_price(row, without, place))
        elif len(codes) > 1:
            problems.append(
                place.problem(
                    row,
                    "measure",
                    found=f"revenue of {quoted(row['node'])}, whose items are priced in "
                    f"{' and '.join(codes)}",
                    allowed="revenue in one currency",
                    todo="load prices in one currency, or state the quantity",
                )
            )
    return problems


def fixed_against_fixed(
    standing: pl.DataFrame, hierarchy: Hierarchy, contradictions: Contradictions, *, place: Place
) -> list[Problem]:
    """Refuse ``fixed`` overrides that cannot all hold in some cycle, when a fresh one is of them.

    ``standing`` is as in `said_twice`, of known nodes only.
    """
    fixed = standing.filter((pl.col("mode") == "fixed") & (pl.col("status") == "active"))
    rows = dict(fixed.filter(FRESH).select("override_id", ROW).iter_rows())
    if not rows:
        return []
    problems = []
    for ids, sentence in contradictions(fixed.select(pl.exclude(ROW, FRESH)), hierarchy):
        fresh = [rows[name] for name in ids if name in rows]
        if fresh:
            problems.append(
                place.problem(
                    {ROW: min(fresh), COLUMN: "override_id"},
                    "override_id",
                    found=sentence.removesuffix(f"; {CHANGE_ONE}"),
                    allowed="fixed overrides that can all hold",
                    todo=CHANGE_ONE,
                )
            )
    return problems


def _meet(row: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether some cycle reads both for a common month; ``expires_cycle`` reads no more."""
    first, last = max(row["ds_from"], other["ds_from"]), min(row["ds_to"], other["ds_to"])
    cycle = max(row["entered_cycle"], other["entered_cycle"])
    ends = min(row["expires_cycle"] or _NEVER, other["expires_cycle"] or _NEVER)
    return bool(first <= last and cycle <= last and cycle < ends)


def _second(row: Mapping[str, Any], first: Mapping[str, Any], place: Place) -> Problem:
    months = [max(row["ds_from"], first["ds_from"]), min(row["ds_to"], first["ds_to"])]
    span = " to ".join(dict.fromkeys(map(month_name, months)))
    where = f"row {first[ROW]}" if first[ROW] is not None else "loaded before"
    return place.problem(
        row,
        "value",
        found=f"a second absolute value of {row['owner']} for {row['node']} in {span}: "
        f"{row['value']:g} here, {first['value']:g} in {quoted(first['override_id'])} ({where})",
        allowed="one active absolute value of an owner for a node, month and measure",
        todo="give it the same override_id to change it, or withdraw one of the two",
    )


def _no_price(row: Mapping[str, Any], items: Iterable[str], place: Place) -> Problem:
    return place.problem(
        row,
        "measure",
        found=f"revenue of {quoted(row['node'])}, and no price known for "
        f"{month_name(row['ds_from'])} of {listed(items, most=5)}",
        allowed="a price of every item of the node, from its first month on",
        todo="load prices first: sopforecast load prices FILE",
    )
