"""The review page of one run: one HTML file that needs nothing else and can be printed or mailed.

Reads the run's forecasts, history, weights, checks and backtest as frames and writes one file. The
layout is ``page.html.j2`` with ``page.css``; every name from the data is escaped there, and the
page's own content policy forbids scripts and addresses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from markupsafe import Markup

from sopforecast.core.months import MONTHS_A_YEAR
from sopforecast.errors import RequestError
from sopforecast.review import account, wording
from sopforecast.review import judgement as judging
from sopforecast.review.bridge import Walk
from sopforecast.review.charts import fan_chart
from sopforecast.review.clinical import StudyPart, study_views
from sopforecast.review.headline import TOTAL, headline
from sopforecast.review.judgement import Judgement
from sopforecast.review.rendering import environment, replace_file
from sopforecast.review.value_added import value_added_section
from sopforecast.review.waterfall import waterfall

CHARTED_NODES = 24
DEFAULT_UNIT = "units"


def write_page(
    path: Path,
    *,
    run: Mapping[str, object],
    forecasts: pl.DataFrame,
    node_levels: Mapping[str, str],
    history_nodes: pl.DataFrame,
    descriptions: Mapping[str, str],
    checks: Sequence[tuple[str, str, str, int]],
    weights: pl.DataFrame,
    seconds: Mapping[str, float],
    backtest: pl.DataFrame,
    notes: Sequence[str] = (),
    units: Mapping[str, str] | None = None,
    components: pl.DataFrame | None = None,
    judgement: Judgement | None = None,
    studies: tuple[StudyPart, ...] = (),
    value_added: pl.DataFrame | None = None,
) -> Path:
    """Write the review page of one run and stage.

    Parameters
    ----------
    path : Path
        The HTML file; replaced whole or not at all.
    run : mapping
        run_id, cycle (a date or ``2026-12``), horizon (months), items, known_by, seed, notes and
        published (None, or words such as "version 1, by Ann"); name (of the company) if wanted.
    forecasts : pl.DataFrame
        ``Forecasts`` columns of that run and one stage.
    node_levels : mapping
        Node to level label, ``total`` first, levels in settings order, items labelled ``item``.
    history_nodes : pl.DataFrame
        unique_id, ds, y of the nodes to be drawn (total, first level, widest items) or of more.
    descriptions : mapping
        Node to a description; nodes may be missing.
    checks : sequence of (name, status, sentence, count)
        Data checks; status is ``ok``, ``warning``, ``error`` or ``skipped``, count is rows found.
    weights : pl.DataFrame
        segment, model, weight (share), cells (forecasts the shares were learned from).
    seconds : mapping
        Stage to seconds, in the order of the run.
    backtest : pl.DataFrame
        lead, wmape (percent), bias_percent (forecast minus actual), coverage80 (share, 0 to 1);
        ``level`` when several levels were scored (``item`` is then shown lead by lead), ``cells``
        to weigh the averages by. Empty when there was too little history.
    notes : sequence of str
        What a reader must know about this run, beside ``run["notes"]``.
    units : mapping, optional
        Node to its unit; "units" where missing.
    components : pl.DataFrame, optional
        unique_id, segment, model, reason of every item: who fell back to what, and why.
    judgement : Judgement, optional
        What people said and what it moved; without it, or when nobody spoke, nothing of it is on
        the page.
    studies : tuple of StudyPart
        What is known of every study's enrolment; without any, nothing of it is on the page.
    value_added : pl.DataFrame, optional
        ``ValueAdded`` rows of the last close before the cycle; without any, nothing of it is on the
        page.

    Returns
    -------
    Path
        ``path``.

    Raises
    ------
    RequestError
        When the forecasts are empty, of several runs or stages, or of nodes without a level.
    """
    names = _Names(node_levels, descriptions, units or {})
    spoken = None if judgement is None or judgement.is_silent else judgement
    plans = _plan_views(forecasts, history_nodes, names, spoken)
    context = {
        **plans,
        "judged": _judged_view(spoken, names, plans),
        "studies": study_views(studies),
        "value_added": _value_added(value_added),
        "run": _run_view(run, stage=str(forecasts["stage"][0])),
        "notes": [note for note in (*str(run.get("notes") or "").split("\n"), *notes) if note],
        "checks": account.checks_by_severity(checks),
        "models": account.models_by_segment(weights, components),
        "fallbacks": account.fallbacks(components),
        "backtest": account.backtest_summary(backtest),
        "time": account.time_spent(seconds),
    }
    replace_file(path, environment().get_template("page.html.j2").render(context))
    return path


@dataclass(frozen=True)
class _Names:
    """What each node is called, and in which unit it is counted."""

    levels: Mapping[str, str]
    descriptions: Mapping[str, str]
    units: Mapping[str, str]

    def of(self, node: str) -> dict[str, str]:
        return {
            "label": wording.node_label(node, level=self.levels[node]),
            "description": self.descriptions.get(node) or "",
            "unit": self.units.get(node) or DEFAULT_UNIT,
        }


def _run_view(run: Mapping[str, object], *, stage: str) -> dict[str, Any]:
    cycle = run["cycle"]
    return {
        "name": run.get("name") or "Demand forecast",
        "run_id": run["run_id"],
        "cycle": wording.long_month(cycle),  # type: ignore[arg-type]
        "stage": stage,
        "horizon": run["horizon"],
        "items": run["items"],
        "known_by": wording.moment(run["known_by"]),
        "seed": run["seed"],
        "published": run.get("published"),
    }


def _value_added(rows: pl.DataFrame | None) -> Markup | None:
    """The section of what closed months say of each stage; None before the first close."""
    if rows is None or rows.is_empty():
        return None
    return Markup(value_added_section(rows))  # noqa: S704 - names inside were escaped


def _plan_views(
    forecasts: pl.DataFrame,
    history_nodes: pl.DataFrame,
    names: _Names,
    judgement: Judgement | None,
) -> dict[str, Any]:
    """The tables and charts of total, the first level and the widest items."""
    head = headline(forecasts, node_levels=names.levels, history_nodes=history_nodes)
    if head.totals.is_empty() or head.totals["unique_id"][0] != TOTAL:
        raise RequestError(f"the forecasts have no node {TOTAL!r}; a page starts with it")
    totals, widest = head.totals.to_dicts(), head.widest.to_dicts()
    drawn = [row["unique_id"] for row in [*totals[: CHARTED_NODES + 1], *widest]]
    before = None if judgement is None else judgement.statistical
    chart = _chart_maker(forecasts, history_nodes, drawn, names, before)
    rows = [row | names.of(row["unique_id"]) for row in totals]
    items = [row | names.of(row["unique_id"]) for row in widest]
    return {
        "total": rows[0] | {"chart": chart(rows[0])},
        "months": _month_rows(forecasts, history_nodes, before),
        "rows": rows,
        "first_level": head.first_level,
        "families": [row | {"chart": chart(row)} for row in rows[1 : CHARTED_NODES + 1]],
        "families_hidden": max(0, len(rows) - 1 - CHARTED_NODES),
        "widest": [row | {"chart": chart(row)} for row in items],
        "units": sorted({row["unit"] for row in rows}),
        "item_units": sorted({row["unit"] for row in items}),
        "first_month": head.totals["ds"][0],
    }


def _judged_view(
    judgement: Judgement | None, names: _Names, plans: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Waterfalls and tables of what people said; None when nobody spoke."""
    if judgement is None:
        return None
    months = len(plans["months"])
    total = judging.total_walk(judgement)
    nodes = [row["unique_id"] for row in plans["rows"][1:]]
    moved = judging.most_moved(judgement, nodes, total)

    def drawn(walk: Walk, *, wide: bool = False) -> dict[str, Any]:
        named = names.of(walk.node)
        title = f"{named['label']}: from the statistical plan to the {walk.last}, {named['unit']}"
        svg = waterfall(walk, title=title, unit=named["unit"], months=months, wide=wide)
        return named | {"chart": Markup(svg)}  # noqa: S704 - names inside were escaped

    return {
        "sentence": judging.sentence(total, months=months),
        "record": judging.record_sentence(judgement.statements),
        "counts": {state: len(judgement.told.get(state, ())) for state in judging.COUNTED},
        "flagged": len(judgement.told.get("in_history", ())),
        "total": None if total is None else drawn(total, wide=True),
        "nodes": [drawn(walk) for walk in moved[: judging.DRAWN_NODES]],
        "nodes_hidden": max(0, len(moved) - judging.DRAWN_NODES),
        "sources": judging.source_rows(judgement, total),
        "sentences": judging.split_sentences(judgement.sentences),
        "lists": judging.told_lists(judgement.told),
        "months": months,
        "is_approved": total is not None and total.plan("approved") is not None,
    }


def _chart_maker(
    forecasts: pl.DataFrame,
    history_nodes: pl.DataFrame,
    nodes: Sequence[str],
    names: _Names,
    statistical: pl.DataFrame | None,
) -> Callable[[Mapping[str, Any]], Markup]:
    """A function that draws one row of the page; the frames are cut into nodes once."""

    def by_node(frame: pl.DataFrame) -> dict[str, pl.DataFrame]:
        kept = frame.filter(pl.col("unique_id").is_in(nodes))
        return {str(node): part for (node,), part in kept.group_by("unique_id")}

    future, past = by_node(forecasts), by_node(history_nodes)
    before = {} if statistical is None else by_node(statistical)
    nothing = history_nodes.clear()

    def draw(row: Mapping[str, Any]) -> Markup:
        node, unit = row["unique_id"], row["unit"]
        title = f"{row['label']}: history, plan and ranges in {unit} per month"
        svg = fan_chart(
            past.get(node, nothing), future[node], title=title, unit=unit,
            statistical=before.get(node),
        )  # fmt: skip
        return Markup(svg)  # noqa: S704 - names inside were escaped where the chart was drawn

    return draw


def _month_rows(
    forecasts: pl.DataFrame, history_nodes: pl.DataFrame, statistical: pl.DataFrame | None
) -> list[dict[str, Any]]:
    """Total month by month, with the actual of the same month a year before.

    ``statistical`` in a row is the plan before judgement, None where there is none to compare.
    """
    is_total = pl.col("unique_id") == TOTAL
    before = history_nodes.filter(is_total).select(
        pl.col("ds").cast(pl.Date).dt.offset_by(f"{MONTHS_A_YEAR}mo"), before="y"
    )
    rows = forecasts.filter(is_total).join(before, on="ds", how="left", maintain_order="left")
    unjudged = forecasts.clear() if statistical is None else statistical
    unjudged = unjudged.filter(is_total).select("ds", statistical="plan")
    rows = rows.join(unjudged, on="ds", how="left", maintain_order="left")
    against = 100.0 * (pl.col("plan") / pl.col("before") - 1.0)
    return (
        rows.sort("ds")
        .with_columns(change=pl.when(pl.col("before") > 0).then(against))
        .select("ds", "statistical", "plan", "p10", "p50", "p90", "before", "change")
        .to_dicts()
    )
