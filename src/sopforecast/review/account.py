"""How a run's numbers came about, ready to be read: models, fallbacks, backtest, checks, time.

Each function takes one table of the run and returns what the page shows of it; nothing is judged
here beyond ordering and counting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from sopforecast.review.headline import ITEM

TARGET_COVERAGE = 0.8
COVERAGE_SLACK = 0.05
NAMED_ITEMS = 4
SHOWN_REASONS = 20
_BY_DECISION = r"^(no demand (after its end_ds|before its launch_ds)|status discontinued)"
_SEVERITY = {"error": 0, "warning": 1, "skipped": 2, "ok": 3}


def models_by_segment(weights: pl.DataFrame, components: pl.DataFrame | None) -> dict[str, Any]:
    """Shares of each model in each segment, with the evidence behind them.

    Returns
    -------
    dict
        ``models``: names, most used first; ``rows``: segment, items (None when not known), cells
        and ``shares`` in percent, in the order of ``models``.
    """
    used = weights.group_by("model").agg(pl.col("weight").sum()).sort(-pl.col("weight"), "model")
    models = used["model"].to_list()
    items: dict[str, int] = {}
    if components is not None:
        items = dict(components.group_by("segment").len().iter_rows())
    rows = []
    for (segment,), part in weights.sort("segment").group_by("segment", maintain_order=True):
        share = dict(part.select("model", "weight").iter_rows())
        rows.append(
            {
                "segment": segment,
                "items": items.get(str(segment)),
                "cells": part["cells"].max(),
                "shares": [100.0 * share.get(model, 0.0) for model in models],
            }
        )
    return {"models": models, "rows": rows}


def fallbacks(components: pl.DataFrame | None) -> dict[str, Any] | None:
    """Items that got another model than asked for, counted by reason, most frequent first.

    Months without demand before a launch or after an end are a decision, not a fallback: the
    run's notes count them.

    Returns
    -------
    dict or None
        ``items``: how many; ``rows``: reason, model, items, ``named`` (some ids); ``hidden``:
        how many reasons are not shown. None when ``components`` is not known.
    """
    if components is None:
        return None
    parts = pl.col("reason").fill_null("").str.split("; ")
    own = parts.list.eval(pl.element().filter(~pl.element().str.contains(_BY_DECISION)))
    fell = components.with_columns(reason=own.list.join("; ")).filter(pl.col("reason") != "")
    groups = (
        fell.sort("unique_id")
        .group_by("reason", "model")
        .agg(items=pl.len(), named=pl.col("unique_id").head(NAMED_ITEMS))
        .sort(-pl.col("items").cast(pl.Int64), "reason", "model")
    )
    rows = groups.head(SHOWN_REASONS).to_dicts()
    return {"items": fell.height, "rows": rows, "hidden": groups.height - len(rows)}


def backtest_summary(backtest: pl.DataFrame) -> dict[str, Any] | None:
    """Accuracy by lead, and how often actuals landed in the 80% range; None when not measured.

    Returns
    -------
    dict or None
        ``rows``: lead, wmape, bias_percent (percent), coverage (percent); ``level``: theirs;
        ``inside``: months in ten inside the range, all leads together; ``verdict``: what that
        says about the ranges; ``levels``: level and ``inside``, when several were scored.
    """
    if backtest.is_empty():
        return None
    has_levels = "level" in backtest.columns
    shown = backtest
    if has_levels and (backtest["level"] == ITEM).any():
        shown = backtest.filter(pl.col("level") == ITEM)
    elif has_levels:
        shown = backtest.filter(pl.col("level") == backtest["level"][0])
    inside = _inside(shown)
    parts = backtest.group_by("level", maintain_order=True) if has_levels else ()
    levels = [{"level": level, "inside": _inside(part)} for (level,), part in parts]
    columns = ("lead", "wmape", "bias_percent", pl.col("coverage80") * 100.0)
    return {
        "rows": shown.sort("lead").select(columns).to_dicts(),
        "level": str(shown["level"][0]) if has_levels else None,
        "inside": inside,
        "verdict": _verdict(inside),
        "levels": levels if len(levels) > 1 else [],
    }


def _inside(rows: pl.DataFrame) -> float | None:
    """Months in ten that landed inside, weighted by the cells behind each row when known."""
    weight = pl.col("cells").cast(pl.Float64) if "cells" in rows.columns else pl.lit(1.0)
    known = rows.with_columns(weight=weight).filter(
        pl.col("coverage80").is_not_null() & pl.col("coverage80").is_not_nan() & (weight > 0)
    )
    if known.is_empty():
        return None
    hits = (pl.col("coverage80") * pl.col("weight")).sum()
    return round(10.0 * float(known.select(hits / pl.col("weight").sum()).item()), 1)


def _verdict(inside: float | None) -> str:
    if inside is None:
        return "Coverage was not measured."
    miss = inside / 10.0 - TARGET_COVERAGE
    if abs(miss) <= COVERAGE_SLACK:
        return "The ranges can be taken at their word."
    if miss < 0:
        return "The ranges are narrower than they should be."
    return "The ranges are wider than they need to be."


def checks_by_severity(checks: Sequence[tuple[str, str, str, int]]) -> dict[str, Any]:
    """Data checks, the ones to act on first, and how many there are of each status."""
    rows = [
        {"name": name, "status": status, "sentence": sentence, "count": count}
        for name, status, sentence, count in checks
    ]
    rows.sort(key=lambda row: _SEVERITY.get(str(row["status"]), 0))
    counts = {status: sum(row["status"] == status for row in rows) for status in _SEVERITY}
    return {"rows": rows, "counts": counts}


def time_spent(seconds: Mapping[str, float]) -> dict[str, Any]:
    """Seconds of each stage in the order of the run, and its share of all in percent."""
    total = float(sum(seconds.values()))
    rows = [
        {"stage": stage, "seconds": value, "share": 100.0 * value / total if total > 0 else 0.0}
        for stage, value in seconds.items()
    ]
    return {"rows": rows, "total": total}
