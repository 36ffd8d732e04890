"""The KPI page of a closed month: one sheet of A4 that also reads in black and white.

Reads ``Kpis`` rows and their trend and writes one HTML file; every name from the data is escaped in
``kpi.html.j2``. Colours are written out as words too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
from markupsafe import Markup

from sopforecast.core.hierarchy import TOTAL
from sopforecast.core.months import month_name
from sopforecast.review import wording
from sopforecast.review.kpi_chart import trend_chart, zones
from sopforecast.review.rendering import environment, replace_file
from sopforecast.settings_sections import (
    HIGHER_IS_BETTER,
    KPI_CENTRES,
    KpiName,
    KpiSettings,
)

TITLES: dict[KpiName, str] = {
    "accuracy": "Accuracy",
    "bias": "Bias",
    "value_added": "Value added",
    "coverage": "Coverage",
    "enrolment": "Enrolment",
    "site_activation": "Site activation",
}
SHOWN_NODES = 5
COLOURS = ("red", "yellow", "grey", "green")


@dataclass(frozen=True, eq=False)
class KpiSheet:
    """What stands on the page.

    Attributes
    ----------
    closed : date
        The closed month.
    known_at : str
        Since when it is known as it stands here.
    kpis : pl.DataFrame
        ``Kpis`` rows of that month, in the order to show.
    trend : pl.DataFrame
        kpi, closed, value.
    restated : sequence of date
        Months of the window whose actuals were changed after they were first scored.
    accuracy_now : float, optional
        Accuracy in percent with the actuals as they are known now.
    ladder : str
        HTML of the value-added table, its names escaped; empty: there is none.
    notes : sequence of str
        What a reader must know besides.
    """

    closed: date
    known_at: str
    kpis: pl.DataFrame
    trend: pl.DataFrame
    restated: Sequence[date] = ()
    accuracy_now: float | None = None
    ladder: str = ""
    notes: Sequence[str] = ()


def write_kpi_page(path: Path, sheet: KpiSheet, *, name: str, settings: KpiSettings) -> Path:
    """Write the page.

    Parameters
    ----------
    path : Path
        The HTML file; replaced whole or not at all.
    sheet : KpiSheet
    name : str
        Of the company.
    settings : KpiSettings
        Lag, window and thresholds.

    Returns
    -------
    Path
        ``path``.
    """
    context = {
        "name": name,
        "closed": sheet.closed,
        "known_at": sheet.known_at,
        "lag": settings.lag,
        "window": settings.window,
        "kpis": [_view(kpi, sheet, settings) for kpi in _shown(sheet.kpis)],
        "restated": [month_name(month) for month in sheet.restated],
        "accuracy_now": sheet.accuracy_now,
        "ladder": Markup(sheet.ladder),  # noqa: S704 - names inside were escaped
        "notes": sheet.notes,
    }
    replace_file(path, environment().get_template("kpi.html.j2").render(context))
    return path


def figure(kpi: str, value: float | None) -> str:
    """A value as it is shown: rounded to one decimal, with its sign where it has one.

    Examples
    --------
    >>> [figure("accuracy", 78.44), figure("bias", -3.0), figure("site_activation", 21.0)]
    ['78.4%', '−3.0%', '21.0 days late']
    """
    if value is None:
        return wording.UNKNOWN
    shown = round(value, 1)
    size = f"{abs(shown):,.1f}"
    sign = wording.MINUS if shown < 0 else ""
    if kpi == "bias":
        return f"{sign or ('+' if shown > 0 else '')}{size}%"
    if kpi == "value_added":
        return f"{sign or ('+' if shown > 0 else '')}{size} points"
    if kpi == "site_activation":
        return f"{size} days {'early' if shown < 0 else 'late'}"
    return f"{sign}{size}%"


def node_label(within: str) -> str:
    """What a node is called: ``study=NOVA-1/site=S1`` is ``NOVA-1 / S1``."""
    return wording.node_label(within, level=TOTAL if within == TOTAL else within)


def _shown(kpis: pl.DataFrame) -> list[KpiName]:
    names = set(kpis["kpi"])
    order = kpis["kpi"].unique(maintain_order=True)
    return [name for kpi in order for name in TITLES if name == kpi and kpi in names]


def _view(kpi: KpiName, sheet: KpiSheet, settings: KpiSettings) -> dict[str, Any]:
    rows = sheet.kpis.filter(pl.col("kpi") == kpi).to_dicts()
    whole = next(row for row in rows if row["within"] == TOTAL)
    parts = [row for row in rows if row["within"] != TOTAL]
    shown = worst_first(kpi, parts)[:SHOWN_NODES]
    return {
        "title": TITLES[kpi],
        "value": figure(kpi, whole["value"]),
        "chart": _chart(kpi, sheet.trend, settings),
        "parts": [_part(kpi, row) for row in shown],
        "hidden": len(parts) - len(shown),
        "hidden_red": sum(row["colour"] == "red" for row in parts if row not in shown),
        **{key: whole[key] for key in ("colour", "owner", "target", "sentence")},
    }


def worst_first(kpi: str, rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Rows of one KPI ordered by colour, red first; those of one colour by value, worst first."""
    return sorted(rows, key=lambda row: (COLOURS.index(row["colour"]), _rank(kpi, row["value"])))


def _rank(kpi: str, value: float | None) -> float:
    """Lowest for the worst value."""
    if value is None:
        return 0.0
    if kpi in KPI_CENTRES:
        return -abs(value - KPI_CENTRES[kpi])
    return value if kpi in HIGHER_IS_BETTER else -value


def _part(kpi: KpiName, row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "label": node_label(row["within"]),
        "value": figure(kpi, row["value"]),
        "colour": row["colour"],
    }


def _chart(kpi: KpiName, trend: pl.DataFrame, settings: KpiSettings) -> Markup | None:
    """The trend from its first known value on; None when there is none."""
    rows = trend.filter(pl.col("kpi") == kpi).sort("closed")
    known = rows.filter(pl.col("value").is_not_null())
    if known.is_empty():
        return None
    rows = rows.filter(pl.col("closed") >= known["closed"][0])
    line = settings.threshold(kpi)
    first, last = (f"{month:%B %Y}" for month in (rows["closed"][0], rows["closed"][-1]))
    svg = trend_chart(
        rows["closed"].to_list(),
        rows["value"].to_list(),
        zones(kpi, green=line.green, yellow=line.yellow),
        title=f"{TITLES[kpi]}, closed months {first} to {last}",
    )
    return Markup(svg)  # noqa: S704 - made of numbers only
