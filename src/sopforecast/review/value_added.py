"""The section on value added: what each stage of the plan gained, as sentences, chart and table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import polars as pl
from markupsafe import Markup

from sopforecast.review import gains, wording
from sopforecast.review.headline import TOTAL
from sopforecast.review.ladder import ladder_chart
from sopforecast.review.rendering import environment

MEASURES = ("quantity", "value")
_TITLES = {"quantity": "All items", "value": "All items, in money"}


def value_added_section(frame: pl.DataFrame) -> str:
    """Write the section, to stand inside a page that has ``page.css`` and `value_added_css`.

    Parameters
    ----------
    frame : pl.DataFrame
        ``ValueAdded`` rows of one close; may be empty.

    Returns
    -------
    str
        A ``<section>`` element; names from the data are escaped in it.

    Notes
    -----
    Of each measure the 12-month window of all items (or the longest there is) is shown row by row;
    below it, each family and each lead in quantity.
    """
    rows = frame.sort("window", "measure", "within", "lead", "position").to_dicts()
    tables = [view for measure in MEASURES if (view := _table(rows, measure)) is not None]
    splits = _splits(rows)
    context = {
        "tables": tables,
        "splits": splits,
        "split_caption": tables[0]["over"] if tables else "",
        "meaning": gains.MEANING,
        "fewest": gains.FEWEST_MONTHS,
    }
    return environment().get_template("value_added.html.j2").render(context)


def value_added_css() -> str:
    """Return the style of the section, beside that of ``page.css``."""
    return resources.files("sopforecast.review").joinpath("value_added.css").read_text("utf-8")


def _table(rows: Sequence[Mapping[str, Any]], measure: str) -> dict[str, Any] | None:
    """One measure of all items; None where it was not scored."""
    shown = gains.shown_table(rows, measure=measure)
    if not shown:
        return None
    top = shown[0]
    over = f"{_window(top)} to {wording.long_month(top['closed'])}"
    title = f"{_TITLES[measure]}: WMAPE of every stage over the {over}"
    return {
        "title": _TITLES[measure],
        "over": over,
        "caption": f"The {over}, {measure}, all leads; {gains.count(top['cells'], 'cell')}",
        "sentences": gains.table_sentences(shown),
        "chart": Markup(ladder_chart(shown, title=title)),  # noqa: S704 - names were escaped
        "rows": [_row(row) for row in shown],
    }


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    first = row["gained"] is None
    return {
        "name": gains.row_name(row["stage"]),
        "alone": row["alone"],
        **{name: row[name] for name in ("accuracy", "wmape", "bias_percent")},
        **{name: gains.points(row[name]) for name in ("gained", "over_naive")},
        **{
            f"{name}_span": "" if first else gains.span(row[f"{name}_low"], row[f"{name}_high"])
            for name in ("gained", "over_naive")
        },
    }


def _splits(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Consensus and approved over statistical by family, then by lead; the total is shown above."""
    total = [row for row in rows if row["measure"] == "quantity"]
    families = sorted({row["within"] for row in total if row["lead"] == 0} - {TOTAL})
    leads = sorted({row["lead"] for row in total if row["within"] == TOTAL} - {0})
    asked = [(node, 0, wording.node_label(node, level="")) for node in families]
    asked += [(TOTAL, lead, f"Lead {lead}") for lead in leads]
    found = []
    for within, lead, name in asked:
        of = {row["stage"]: row for row in gains.shown_table(total, within=within, lead=lead)}
        row = {"name": name, "months": of["naive"]["months"], "cells": of["naive"]["cells"]}
        for stage in ("consensus", "approved"):
            low, high = (of[stage][f"over_statistical_{end}"] for end in ("low", "high"))
            row[stage] = gains.points(of[stage]["over_statistical"])
            row[f"{stage}_span"] = gains.span(low, high)
        found.append(row)
    return found


def _window(row: Mapping[str, Any]) -> str:
    """``12 months``, and how many of them were scored where not all were."""
    window, months = row["window"], row["months"]
    said = gains.count(window, "month")
    return said if months == window else f"{said} ({months} scored)"
