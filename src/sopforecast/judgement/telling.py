"""What a planner is told of the overrides in a cycle: plain sentences, one an override.

Also whether the baseline may by now contain what somebody added to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from sopforecast.core.months import month_name

if TYPE_CHECKING:
    from sopforecast.judgement.overrides import Live

TOLD = ("new", "carried", "changed", "expired", "in_history", "waiting")
_IN_HISTORY = 0.5


def number(value: float) -> str:
    """A number with thousands separators, in at most six decimals.

    Examples
    --------
    >>> [number(value) for value in (1234567.0, 0.25, -40.0, 1 / 3)]
    ['1,234,567', '0.25', '-40', '0.333333']
    """
    text = f"{value:,.6f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def signed(value: float) -> str:
    """A change with its sign, rounded as its size deserves.

    Examples
    --------
    >>> [signed(value) for value in (1234.56, 12.34, -0.126, 0.0)]
    ['+1,235', '+12.3', '-0.13', '+0']
    """
    digits = 0 if abs(value) >= 100 else (1 if abs(value) >= 10 else 2)
    return _plus(round(value, digits))


def told(live: Live, frame: pl.DataFrame) -> dict[str, tuple[str, ...]]:
    """Say what is new, carried, changed, expired, perhaps in the history already, or waiting.

    Parameters
    ----------
    live : Live
    frame : pl.DataFrame
        The scalars as `state_quantities` returns them, with ``in_history`` and
        ``baseline_at_entry``.

    Returns
    -------
    dict of str to tuple of str
        The keys of ``TOLD``; a sentence an override, in the order of their ids.
    """
    rows = live.rows.to_dicts()
    ended = live.expired.to_dicts()
    by_state = {
        state: tuple(_sentence(row) for row in rows if row["state"] == state)
        for state in ("new", "carried", "changed")
    }
    return {
        **by_state,
        "expired": tuple(f"{_sentence(row)}; {_why(row)}" for row in ended),
        "in_history": tuple(_moved(rows, frame)),
        "waiting": tuple(_waiting(row) for row in rows if row["waits_from"] is not None),
    }


def in_history(frame: pl.DataFrame, entered: pl.DataFrame | None) -> tuple[np.ndarray, np.ndarray]:
    """Tell which carried additions the baseline may meanwhile contain.

    Parameters
    ----------
    frame : pl.DataFrame
        As `state_quantities` returns it, K rows.
    entered : pl.DataFrame or None
        ``Statements`` rows of earlier runs; those with ``entered_cycle == cycle`` are read, and of
        several the last.

    Returns
    -------
    flagged : ndarray of bool, shape (K,)
        A carried ``delta`` or ``percent`` whose baseline has since moved in the direction of the
        adjustment at entry by more than half of it.
    baseline_at_entry : ndarray, shape (K,)
        Mean of the statistical draws at entry, of the same months; NaN when not known. A new
        statement's is its baseline.
    """
    key = ["override_id", "ds_from", "ds_to"]
    then = ("baseline", "adjustment")
    if entered is None:
        entry = frame.select(*key, *then).clear()
    else:
        entry = entered.filter(pl.col("entered_cycle") == pl.col("cycle")).select(*key, *then)
    entry = entry.unique(key, keep="last", maintain_order=True)
    both = frame.join(entry, on=key, how="left", suffix="_then", maintain_order="left")
    is_new = pl.col("state") == "new"
    before = pl.when(is_new).then("baseline").otherwise("baseline_then").alias("before")
    moved = (pl.col("baseline") - pl.col("baseline_then")) * pl.col("adjustment_then").sign()
    is_addition = pl.col("kind").cast(pl.String).is_in(["delta", "percent"])
    is_flagged = (
        is_addition
        & (pl.col("state") == "carried")
        & (moved > _IN_HISTORY * pl.col("adjustment_then").abs())
    )
    found = both.select(before.fill_null(float("nan")), is_flagged.fill_null(False).alias("flag"))
    return found["flag"].to_numpy(), found["before"].to_numpy()


def _sentence(row: dict[str, Any]) -> str:
    """``sales (A. Rivera): +400 a month on family=Oncology, 2026-12 to 2027-02: launch``."""
    months = _months(row["ds_from"], row["ds_to"])
    why = f"{row['reason']}, {row['assumption']}" if row["assumption"] else row["reason"]
    extras = ", ".join(_extras(row))
    return (
        f"{row['source']} ({row['owner']}): {_value(row, row['value'])}{_of_what(row)}"
        f"{f' ({extras})' if extras else ''} on {row['node']}, {months}: {why}"
    )


def _of_what(row: dict[str, Any]) -> str:
    money = " of revenue" if row["measure"] == "revenue" else ""
    if row["kind"] == "percent" or row["ds_from"] == row["ds_to"]:
        return money
    return money + (" a month" if row["per"] == "month" else " in all")


def _extras(row: dict[str, Any]) -> Iterator[str]:
    if row["low"] is not None and row["high"] is not None:
        confidence = 0.8 if row["confidence"] is None else row["confidence"]
        low, high = _value(row, row["low"]), _value(row, row["high"])
        yield f"{number(round(100 * confidence, 1))}% range {low} to {high}"
    if row["probability"] < 1:
        yield f"probability {number(round(100 * row['probability'], 1))}%"
    if row["mode"] == "fixed":
        yield "fixed"


def _value(row: dict[str, Any], value: float) -> str:
    if row["kind"] == "absolute":
        return number(value)
    return _plus(value) + ("%" if row["kind"] == "percent" else "")


def _plus(value: float) -> str:
    text = number(value)
    return text if text.startswith("-") else f"+{text}"


def _why(row: dict[str, Any]) -> str:
    if row["why"] == "withdrawn":
        return "withdrawn"
    if row["why"] == "past":
        return "its last month is past"
    return f"it expired in {month_name(row['expires_cycle'])}"


def _waiting(row: dict[str, Any]) -> str:
    since = month_name(row["waits_from"])
    if row["per"] == "span":
        return f"{_sentence(row)}; it ends beyond the horizon and waits"
    return f"{_sentence(row)}; its months from {since} on lie beyond the horizon and wait"


def _moved(rows: list[dict[str, Any]], frame: pl.DataFrame) -> Iterator[str]:
    flagged = (
        frame.filter("in_history")
        .group_by("override_id")
        .agg(
            moved=(pl.col("baseline") - pl.col("baseline_at_entry")).sum(),
            adjustment=pl.col("adjustment").sum(),
            first=pl.col("ds_from").min(),
            last=pl.col("ds_to").max(),
        )
    )
    found = {one["override_id"]: one for one in flagged.iter_rows(named=True)}
    for row in rows:
        one = found.get(row["override_id"])
        if one is None:
            continue
        months = _months(one["first"], one["last"])
        yield (
            f"{_sentence(row)}; already in the history? the baseline of {months} has moved by "
            f"{signed(one['moved'])} since it was entered; the override says "
            f"{signed(one['adjustment'])}"
        )


def _months(first: date, last: date) -> str:
    return month_name(first) if first == last else f"{month_name(first)} to {month_name(last)}"
