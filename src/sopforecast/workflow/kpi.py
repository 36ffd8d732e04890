"""The KPIs of a closed month, as it was known when it was closed, and their page.

Made from what closes stored, with the thresholds as they are set today. Nothing is stored here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from sopforecast.core.hierarchy import TOTAL
from sopforecast.core.months import add_months, month_name, parse_month
from sopforecast.errors import NotNow, RequestError
from sopforecast.learning import kpis as figures
from sopforecast.planning_store.learned import read_learned, standing_closes
from sopforecast.planning_store.store import Store
from sopforecast.review.kpi import TITLES, KpiSheet, figure, node_label, write_kpi_page
from sopforecast.review.value_added import value_added_section
from sopforecast.settings import Settings
from sopforecast.workflow.clock import utc_now
from sopforecast.workspace import Workspace


@dataclass(frozen=True, eq=False)
class _Stored:
    """What the closes of a month and of those before had stored; see ``learning_tables``.

    ``scores`` with ``seq``, the number of their close; ``site_activation`` with ``closed``.
    """

    scores: pl.DataFrame
    value_added: pl.DataFrame
    enrolment_scores: pl.DataFrame
    site_activation: pl.DataFrame
    kpis: pl.DataFrame


def kpi(
    workspace: Workspace, *, cycle: str | None = None, now: datetime | None = None
) -> dict[str, Any]:
    """The KPIs of a closed month; writes their page to ``out/kpi-YYYY-MM.html``.

    Parameters
    ----------
    workspace
        Whose data.
    cycle
        The closed month, YYYY-MM; the newest by default. Of several closes of a month the one known
        last counts, and what was known by then.
    now
        UTC without a time zone; closes known later are left out.

    Returns
    -------
    dict
        cycle, fit_id, known_at, lag, window, ``kpis`` (kpi, title, value, shown, unit, target,
        colour, owner, sentence, and ``parts``: families, studies, cohorts, sites), ``trend`` (kpi
        to closed months and values), ``restated`` (months, and accuracy with the actuals as they
        are known now), notes, page.

    Raises
    ------
    NotNow
        No month is closed yet, or not this one.
    RequestError
        ``cycle`` is no month, or the page cannot be written.
    """
    at, store, settings = now or utc_now(), workspace.store(), workspace.settings
    close = _close(store, cycle, known_by=at)
    stored = _read(store, close)
    sheet = _sheet(close, stored, settings)
    name = month_name(close["closed"])
    page = _write(workspace.path / "out" / f"kpi-{name}.html", sheet, settings)
    return {
        "cycle": name,
        "fit_id": close["fit_id"],
        "known_at": sheet.known_at,
        "lag": settings.kpi.lag,
        "window": settings.kpi.window,
        "kpis": [_told(sheet.kpis.filter(pl.col("kpi") == one)) for one in settings.kpi.show],
        "trend": {one: _points(sheet.trend, one) for one in settings.kpi.show},
        "restated": {
            "months": [month_name(month) for month in sheet.restated],
            "accuracy": sheet.accuracy_now,
        },
        "notes": list(sheet.notes),
        "page": str(page),
    }


def _close(store: Store, cycle: str | None, *, known_by: datetime) -> dict[str, Any]:
    """The close that is asked for: a row of ``closes``."""
    wanted = None if cycle is None else parse_month(cycle)
    closes = standing_closes(store, known_by=known_by)
    if closes.is_empty():
        raise NotNow(
            "no month is closed yet, so nothing is scored; run a cycle, and when its first month "
            "is over: sopforecast close --cycle YYYY-MM (or replay past cycles)"
        )
    found = closes if wanted is None else closes.filter(pl.col("closed") == wanted)
    if found.is_empty():
        months = [month_name(month) for month in closes["closed"].unique().sort()]
        raise NotNow(
            f"{cycle} is not closed; closed are {months[0]} to {months[-1]}; "
            f"close it with: sopforecast close --cycle {cycle}"
        )
    return found.row(-1, named=True)


def _read(store: Store, close: Mapping[str, Any]) -> _Stored:
    """What stood when the month was closed."""
    after, own = add_months(close["closed"], 1), [close["fit_id"]]
    closes = standing_closes(store, before=after, known_by=close["known_at"])
    fits = closes["fit_id"].to_list()
    last_of_month = closes.unique("closed", keep="last", maintain_order=True)
    sites = read_learned(store, "site_activation", last_of_month["fit_id"])
    return _Stored(
        scores=read_learned(store, "scores", fits).join(
            closes.select("fit_id", "seq"), on="fit_id", how="left", maintain_order="left"
        ),
        value_added=read_learned(store, "value_added", own),
        enrolment_scores=read_learned(store, "enrolment_scores", fits),
        site_activation=sites.join(
            closes.select("fit_id", "closed"), on="fit_id", how="left", maintain_order="left"
        ),
        kpis=read_learned(store, "kpis", own),
    )


def _sheet(close: Mapping[str, Any], stored: _Stored, settings: Settings) -> KpiSheet:
    closed, asked = close["closed"], settings.kpi
    sites = stored.site_activation
    rows = figures.kpis(
        closed, settings=asked, scores=stored.scores, value_added=stored.value_added,
        enrolment_scores=stored.enrolment_scores,
        site_activation=sites.filter(pl.col("closed") == closed),
    )  # fmt: skip
    trend = figures.kpi_trend(
        closed, settings=asked, scores=stored.scores, enrolment_scores=stored.enrolment_scores,
        site_activation=sites,
    )  # fmt: skip
    restated, accuracy = figures.restated(closed, settings=asked, scores=stored.scores)
    ladder = "" if stored.value_added.is_empty() else value_added_section(stored.value_added)
    return KpiSheet(
        closed=closed,
        known_at=f"{close['known_at']:%Y-%m-%d %H:%M}",
        kpis=rows,
        trend=trend,
        restated=restated,
        accuracy_now=accuracy,
        ladder=ladder,
        notes=_changed_since(stored.kpis, rows),
    )


def _changed_since(then: pl.DataFrame, now: pl.DataFrame) -> list[str]:
    """What was shown in another colour at the close: settings of KPIs have changed since."""
    totals = now.filter(pl.col("within") == TOTAL)
    both = then.join(totals, on=["kpi", "within"], suffix="_now", maintain_order="right")
    return [
        f"{TITLES[row['kpi']]} was {row['colour']} at the close ({row['target']}); the settings of "
        "KPIs have changed since."
        for row in both.filter(pl.col("colour") != pl.col("colour_now")).iter_rows(named=True)
    ]


def _write(path: Path, sheet: KpiSheet, settings: Settings) -> Path:
    try:
        return write_kpi_page(path, sheet, name=settings.name, settings=settings.kpi)
    except OSError as err:
        raise RequestError(f"the page {path} cannot be written: {err}") from err


def _told(rows: pl.DataFrame) -> dict[str, Any]:
    """One KPI as JSON values."""
    every = [
        {"within": row["within"], "label": node_label(row["within"])}
        | {"value": row["value"], "shown": figure(row["kpi"], row["value"])}
        | {key: row[key] for key in ("colour", "sentence")}
        for row in rows.iter_rows(named=True)
    ]
    whole = rows.row(0, named=True)
    return {
        "kpi": whole["kpi"],
        "title": TITLES[whole["kpi"]],
        **{key: every[0][key] for key in ("value", "shown", "colour", "sentence")},
        **{key: whole[key] for key in ("unit", "target", "owner")},
        "parts": every[1:],
    }


def _points(trend: pl.DataFrame, name: str) -> list[dict[str, Any]]:
    rows = trend.filter(pl.col("kpi") == name).select("closed", "value").iter_rows()
    return [{"closed": month_name(closed), "value": value} for closed, value in rows]
