"""What is known of a study's enrolment, ready to be read: the part of the page a trial fills.

Everything comes in as sentences and small frames; here it is only ordered, counted and drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl
from markupsafe import Markup

from sopforecast.core.ordering import natural_order
from sopforecast.review.enrolment import Branch, enrolment_chart

SHOWN_SITES = 30
STATUSES = ("red", "yellow", "green")
STATES = {"open": "ok", "silent": "warning", "planned": "skipped", "closed": "skipped"}


@dataclass(frozen=True, eq=False)
class StudyPart:
    """One study as it is handed to the page.

    Attributes
    ----------
    study : str
    cycle : date
        First forecast month.
    actual, plan : pl.DataFrame
        ds, cumulative: patients up to the end of the month, as they came and by the newest plan.
        No rows where there are none.
    fan : pl.DataFrame
        ``EnrolmentForecasts`` rows of level study and measure cumulative.
    branch : Branch, optional
        What the median would be if something happens, with its label.
    target : float, optional
        Patients.
    sentences : tuple of str
        The study's sentences, the most important first.
    assumptions : pl.DataFrame
        assumption, value, evidence: text.
    status : str, optional
        red, yellow or green beside the plan; None where nothing is planned.
    status_reason : str
        Why, as one sentence.
    sites : pl.DataFrame
        site, country, state (open, silent, planned, closed), enrolled (so far), p10 and p90
        (patients of the next three months; null where none can come).
    changes : tuple of str
        What changed since the cycle before, and why.
    confirm : tuple of str
        What must be confirmed, and by when.
    notes : tuple of str
        What a reader must know of these numbers.
    """

    study: str
    cycle: date
    actual: pl.DataFrame
    plan: pl.DataFrame
    fan: pl.DataFrame
    branch: Branch | None
    target: float | None
    sentences: tuple[str, ...]
    assumptions: pl.DataFrame
    status: str | None
    status_reason: str
    sites: pl.DataFrame
    changes: tuple[str, ...] = ()
    confirm: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def study_views(parts: Sequence[StudyPart]) -> list[dict[str, Any]]:
    """What the template shows of every study, in the order given."""
    return [_view(part, number) for number, part in enumerate(parts, start=1)]


def _view(part: StudyPart, number: int) -> dict[str, Any]:
    svg = enrolment_chart(
        cycle=part.cycle,
        actual=part.actual,
        plan=part.plan,
        fan=part.fan,
        title=f"{part.study}: patients enrolled so far, planned, and the range to come",
        branch=part.branch,
        target=part.target,
    )
    known = part.actual.drop_nulls().sort("ds").tail(1).to_dicts()
    sites = _sites(part.sites)
    return {
        "anchor": "enrolment" if number == 1 else f"enrolment-{number}",
        "study": part.study,
        "chart": Markup(svg),  # noqa: S704 - names inside were escaped where the chart was drawn
        "planned": part.plan.height > 0,
        "branch": part.branch.label if part.branch else None,
        "enrolled": known[0] if known else None,
        "target": part.target,
        "status": part.status if part.status in STATUSES else None,
        "status_reason": part.status_reason,
        "sentences": part.sentences,
        "confirm": part.confirm,
        "assumptions": part.assumptions.to_dicts(),
        "sites": sites[:SHOWN_SITES],
        "sites_hidden": max(0, len(sites) - SHOWN_SITES),
        "changes": part.changes,
        "notes": part.notes,
    }


def _sites(sites: pl.DataFrame) -> list[dict[str, Any]]:
    """Sites by name, S2 before S10; of too many the ones that may bring most come first."""
    rows = sites.to_dicts()
    for row in rows:
        row["badge"] = STATES.get(row["state"], "skipped")
    rows.sort(key=_by_name)
    if len(rows) <= SHOWN_SITES:
        return rows
    ranked = sorted(rows, key=lambda row: -(row["p90"] or 0.0))
    return sorted(ranked[:SHOWN_SITES], key=_by_name) + ranked[SHOWN_SITES:]


def _by_name(row: Mapping[str, Any]) -> list[tuple[int, str]]:
    return natural_order(row["site"])
