"""The data-quality report: named checks that return what they found and never stop the month.

Reads ``history`` and ``items`` as loaded. `CHECKS` is the list that drives `run_checks` and the
table of checks in the documentation. A check that finds nothing is "ok"; one that cannot be asked
(no items loaded, say) is "skipped" and says why; one that crashes is "error" and says so, and the
others still run. What to refuse because of a result is decided by the caller.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from sopforecast.baseline import checks_history as of_history
from sopforecast.baseline import checks_items as of_items
from sopforecast.baseline.findings import Finding, Loaded

STATUSES = ("ok", "warning", "error", "skipped")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes
    ----------
    name : str
        ``<subject>_<property>``: the key in the report.
    meaning : str
        What it looks for, such that "none found: <meaning>" is a sentence.
    severity : {"warning", "error"}
        Status when it finds something.
    needs : tuple of str
        Tables (``history``, ``items``), ``levels``, or columns that hold something
        (``items.unit``) without which it is skipped.
    function : callable
        `Loaded` to `Finding`.
    """

    name: str
    meaning: str
    severity: str
    needs: tuple[str, ...]
    function: Callable[[Loaded], Finding]


@dataclass(frozen=True, eq=False)
class Result:
    """What one check found; ``rows`` holds the offending rows, with what is needed to act."""

    check: str
    status: str
    sentence: str
    rows: pl.DataFrame


_H, _I = ("history",), ("history", "items")
CHECKS: tuple[Check, ...] = (
    Check(
        "history_all_unknown",
        "items without a single known demand",
        "warning",
        _H,
        of_history.history_all_unknown,
    ),
    Check(
        "history_all_zero",
        "items with zero demand in every month",
        "warning",
        _H,
        of_history.history_all_zero,
    ),
    Check(
        "history_duplicates_case",
        "ids that differ only in case or blanks",
        "warning",
        _H,
        of_history.history_duplicates_case,
    ),
    Check(
        "history_gap_months",
        "months without a row inside an item's history",
        "warning",
        _H,
        of_history.history_gap_months,
    ),
    Check(
        "history_last_month",
        "items without demand for the last complete month",
        "warning",
        _H,
        of_history.history_last_month,
    ),
    Check(
        "history_stale",
        "items with no demand on record for 3 months or more, not marked as ending",
        "warning",
        _H,
        of_history.history_stale,
    ),
    Check(
        "history_short",
        "items with fewer than 24 months of demand",
        "warning",
        _H,
        of_history.history_short,
    ),
    Check(
        "history_negative",
        "months with demand below zero",
        "warning",
        _H,
        of_history.history_negative,
    ),
    Check(
        "history_unit_step",
        "items whose demand moves to another unit (factor 300 or more)",
        "error",
        _H,
        of_history.history_unit_step,
    ),
    Check(
        "history_single_spike",
        "items with one month ten times the usual",
        "warning",
        _H,
        of_history.history_single_spike,
    ),
    Check(
        "history_one_off",
        "months whose one_off is larger than their demand",
        "warning",
        ("history", "history.one_off"),
        of_history.history_one_off,
    ),
    Check(
        "history_stockout",
        "items out of stock in more than half of their months",
        "warning",
        ("history", "history.stockout_days"),
        of_history.history_stockout,
    ),
    Check(
        "history_partial_month",
        "rows in a month that is not complete",
        "warning",
        (),
        of_history.history_partial_month,
    ),
    Check(
        "items_missing",
        "items with demand but no row in items",
        "warning",
        _I,
        of_items.items_missing,
    ),
    Check(
        "items_without_history",
        "items in the plan without any demand on record",
        "warning",
        _I,
        of_items.items_without_history,
    ),
    Check(
        "items_discontinued_with_demand",
        "demand after an item's end",
        "warning",
        _I,
        of_items.items_discontinued_with_demand,
    ),
    Check(
        "items_launch_after_first_sale",
        "demand before an item's launch",
        "warning",
        ("history", "items", "items.launch_ds"),
        of_items.items_launch_after_first_sale,
    ),
    Check(
        "hierarchy_orphan",
        "items that belong to no aggregate of a level",
        "error",
        ("items", "levels"),
        of_items.hierarchy_orphan,
    ),
    Check(
        "unit_mixed",
        "sums over items of different units",
        "warning",
        ("items", "items.unit"),
        of_items.unit_mixed,
    ),
)


def run_checks(
    history: pl.DataFrame,
    items: pl.DataFrame | None = None,
    *,
    last_month: date,
    levels: Sequence[str] = (),
    missing: str = "unknown",
    checks: Sequence[Check] = CHECKS,
) -> list[Result]:
    """Run every check and return one result each, in the order of ``checks``.

    Parameters
    ----------
    history : pl.DataFrame
        ``History`` rows as loaded, partial ones included: unique_id, ds, y at least.
    items : pl.DataFrame, optional
        ``Items`` rows with their level columns; None when none were loaded.
    last_month : date
        The last complete month; later rows count as partial.
    levels : sequence of str
        Levels in settings order: ``family`` or ``family/region``.
    missing : {"unknown", "zero"}
        What a month without a row means, as in settings.
    checks : sequence of Check
        Normally all of `CHECKS`.

    Returns
    -------
    list of Result
        Never raises for what it finds in the data. A check that crashes gives a result with
        status "error" whose sentence holds the exception.
    """
    loaded = _loaded(history, items, levels=levels, last_month=last_month, missing=missing)
    return [_run(check, loaded) for check in checks]


def describe_checks(checks: Sequence[Check] = CHECKS) -> pl.DataFrame:
    """The checks as a table: check, looks_for, when_found, needs."""
    return pl.DataFrame(
        {
            "check": [check.name for check in checks],
            "looks_for": [check.meaning for check in checks],
            "when_found": [check.severity for check in checks],
            "needs": [", ".join(check.needs) for check in checks],
        },
        schema=dict.fromkeys(("check", "looks_for", "when_found", "needs"), pl.String),
    )


def _run(check: Check, loaded: Loaded) -> Result:
    nothing = pl.DataFrame()
    lacking = [text for need in check.needs if (text := _lacking(need, loaded))]
    if lacking:
        return Result(check.name, "skipped", f"not checked: {lacking[0]}", nothing)
    try:
        finding = check.function(loaded)
    except Exception as err:  # noqa: BLE001 - one broken check must not hide the others
        _log.warning("check %s could not be carried out: %s", check.name, type(err).__name__)
        sentence = f"this check could not be carried out: {type(err).__name__}: {err}"
        return Result(check.name, "error", sentence, nothing)
    if finding.rows.is_empty():
        return Result(check.name, "ok", f"none found: {check.meaning}", finding.rows)
    return Result(check.name, check.severity, finding.sentence, finding.rows)


def _lacking(need: str, loaded: Loaded) -> str | None:
    """Why a need is not met, or None."""
    table, _, column = need.partition(".")
    if table == "levels":
        return None if loaded.levels else "the settings name no levels"
    frame = {"history": loaded.history, "items": loaded.items}[table]
    if not column:
        return f"no {table} rows are loaded" if frame.is_empty() else None
    held = column in frame.columns and frame[column].null_count() < frame.height
    return None if held else f"{table} has nothing in {column}"


def _loaded(
    history: pl.DataFrame,
    items: pl.DataFrame | None,
    *,
    levels: Sequence[str],
    last_month: date,
    missing: str,
) -> Loaded:
    rows = history.with_columns(
        pl.col("unique_id").cast(pl.String),
        pl.col("ds").cast(pl.Date),
        pl.col("y").cast(pl.Float64).fill_nan(None),
    )
    partial = pl.col("ds") > last_month
    if "partial" in rows.columns:
        partial = partial | pl.col("partial").fill_null(False)
    return Loaded(
        history=rows.filter(~partial),
        partial=rows.filter(partial),
        items=pl.DataFrame() if items is None else items,
        levels=tuple(levels),
        last_month=last_month,
        missing=missing,
    )
