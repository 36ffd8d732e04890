"""The studies of a run as they are kept beside it and shown on its page.

What is told of a study is made once, when the cycle is run, and kept with the run's account as
plain values; the page, written again, says the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import polars as pl

from sopforecast.clinical.report import SITE_COLUMNS
from sopforecast.core.months import month_range, months_between
from sopforecast.planning_store.store import Store
from sopforecast.review.clinical import StudyPart
from sopforecast.review.enrolment import Branch
from sopforecast.settings import Settings
from sopforecast.workflow.admission import Admitted
from sopforecast.workflow.clinical import changes_of, report_of

if TYPE_CHECKING:
    from sopforecast.clinical.clinic import Clinic

CUMULATIVE = {"ds": pl.Date, "cumulative": pl.Float64}
AHEAD = {"ds": pl.Date, "p50": pl.Float64}
ASSUMPTIONS = ("assumption", "value", "evidence")


def studies_of(
    store: Store, clinic: Clinic, inputs: Admitted, settings: Settings, *, today: datetime
) -> tuple[dict[str, Any], ...]:
    """What is told of every study of a cycle, as JSON values."""
    return tuple(
        _told(store, clinic, inputs, settings, study, today=today) for study in clinic.future.trials
    )


def study_parts(
    told: Sequence[Mapping[str, Any]], forecasts: pl.DataFrame, *, cycle: date
) -> tuple[StudyPart, ...]:
    """The same for the page, with the stored ``EnrolmentForecasts`` of the run."""
    return tuple(_part(one, forecasts, cycle=cycle) for one in told)


def _told(
    store: Store,
    clinic: Clinic,
    inputs: Admitted,
    settings: Settings,
    study: str,
    *,
    today: datetime,
) -> dict[str, Any]:
    from sopforecast.clinical.assumptions import assumption_frame
    from sopforecast.clinical.branches import branch_ahead

    report = report_of(clinic, inputs, study, settings, today=today)
    bridge = changes_of(store, clinic, inputs, study, settings, by=report.by)
    first = report.branches[0] if report.branches else None
    ahead = None
    if first is not None and first.patients is not None:
        ahead = branch_ahead(clinic.future.trials[study], first.condition)
    row = inputs.clinical.studies.filter(pl.col("study") == study).row(0, named=True)
    actual = _actual(inputs, study)
    names = re.compile(rf"(?<!\w){re.escape(study)}(?!\w)")
    return {
        "study": study,
        "headline": report.sentences.headline,
        "lines": list(report.sentences.lines),
        "branch": None if first is None or ahead is None else first.label,
        "ahead": [] if ahead is None else _rows(ahead.select("ds", "p50")),
        "actual": _rows(actual),
        "plan": _rows(_plan(inputs, study)),
        "target": row["target_enrolment"],
        "assumptions": assumption_frame(report.assumptions).select(ASSUMPTIONS).to_dicts(),
        "status": None if report.status is None else report.status.status,
        "status_reason": "" if report.status is None else report.status.text,
        "sites": report.sites.to_dicts(),
        "changes": [] if bridge is None else [bridge.text],
        "bridge": None if bridge is None else [asdict(step) for step in bridge.steps],
        "confirm": list(report.confirm),
        "notes": [note for note in clinic.notes if names.search(note)],
    }


def _part(told: Mapping[str, Any], forecasts: pl.DataFrame, *, cycle: date) -> StudyPart:
    fan = forecasts.filter(
        pl.col("study") == told["study"],
        pl.col("level") == "study",
        pl.col("measure") == "cumulative",
    )
    branch = None
    if told["branch"] is not None:
        branch = Branch(label=told["branch"], ahead=_frame(told["ahead"], AHEAD))
    return StudyPart(
        study=told["study"],
        cycle=cycle,
        actual=_frame(told["actual"], CUMULATIVE),
        plan=_frame(told["plan"], CUMULATIVE),
        fan=fan,
        branch=branch,
        target=told["target"],
        sentences=tuple(told["lines"]),
        assumptions=pl.DataFrame(told["assumptions"], schema=dict.fromkeys(ASSUMPTIONS, pl.String)),
        status=told["status"],
        status_reason=told["status_reason"],
        sites=pl.DataFrame(told["sites"], schema=SITE_COLUMNS),
        changes=tuple(told["changes"]),
        confirm=tuple(told["confirm"]),
        notes=tuple(told["notes"]),
    )


def _actual(inputs: Admitted, study: str) -> pl.DataFrame:
    """Patients enrolled up to the end of each month before the cycle; unreported ones are not."""
    rows = inputs.clinical.enrolment.filter(pl.col("study") == study)
    first = rows["ds"].min()
    if not isinstance(first, date):
        return pl.DataFrame(schema=CUMULATIVE)
    months = month_range(first, months_between(first, inputs.cycle))
    by_month = rows.group_by("ds").agg(pl.col("enrolled").sum())
    whole = pl.DataFrame({"ds": months}).join(by_month, on="ds", how="left").sort("ds")
    return whole.select("ds", cumulative=pl.col("enrolled").fill_null(0.0).cum_sum())


def _plan(inputs: Admitted, study: str) -> pl.DataFrame:
    """The newest plan of the whole study, cumulative."""
    from sopforecast.clinical.targets import whole_study_plan

    plan = whole_study_plan(inputs.clinical, study)
    if plan is None:
        return pl.DataFrame(schema=CUMULATIVE)
    months = plan[1].group_by("ds").agg(pl.col("enrolled").sum()).sort("ds")
    return months.select("ds", cumulative=pl.col("enrolled").cum_sum())


def _rows(frame: pl.DataFrame) -> list[list[Any]]:
    return [[f"{ds:%Y-%m-%d}", value] for ds, value in frame.iter_rows()]


def _frame(rows: Sequence[Sequence[Any]], schema: Mapping[str, Any]) -> pl.DataFrame:
    names = list(schema)
    text = pl.DataFrame(
        [list(row) for row in rows],
        schema={names[0]: pl.String, names[1]: pl.Float64},
        orient="row",
    )
    return text.with_columns(pl.col(names[0]).str.to_date())
