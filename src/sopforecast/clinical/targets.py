"""Targets and the plan: how likely a number of patients is by a month, and when it is reached.

Reads `TrialPaths` and ``enrolment_plan``. Every probability is a share of the paths.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np
import polars as pl

from sopforecast.clinical.forecasts import (
    HIGH,
    LOW,
    MIDDLE,
    exact_quantile,
    last_forecast_month,
    month_index,
    patients_by,
)
from sopforecast.clinical.inputs import ClinicalInputs, last_month
from sopforecast.clinical.paths import TrialPaths
from sopforecast.clinical.words import amount, chance, counted, month_text
from sopforecast.core.clinical_tables import ALL, ANY
from sopforecast.core.months import add_months
from sopforecast.errors import RequestError

GREEN, YELLOW = 0.5, 0.2
"""Probability of being on or above plan from which a study is green, and yellow."""

NOT_INSIDE = "not inside the horizon"
_ROUNDING = 1e-9

Status = Literal["green", "yellow", "red"]


@dataclass(frozen=True)
class Reached:
    """When a number of patients is reached: months, None where that is not inside the horizon.

    Of the paths 10% are there by ``p10``, half by ``p50``, 90% by ``p90``; ``probability`` are
    there by ``last``, the last month forecast. ``already``: those enrolled before are enough.
    """

    target: float
    already: bool
    p10: date | None
    p50: date | None
    p90: date | None
    probability: float
    last: date

    @property
    def text(self) -> str:
        """For a sentence: what is reached when."""
        number = counted(self.target, "patient")
        end = f"{month_text(self.last)}, the last month forecast"
        if self.already:
            return f"{number} are enrolled already"
        if self.p10 is None:
            return f"{number}: {NOT_INSIDE}, {chance(self.probability)} likely by {end}"
        if self.p50 is None:
            early = "" if self.p10 == self.last else f"10% likely by {month_text(self.p10)}, "
            return f"{number}: {early}{chance(self.probability)} likely by {end}"
        late = f"after {end}" if self.p90 is None else month_text(self.p90)
        span = "" if self.p10 == self.p90 else f" (80%: {month_text(self.p10)} to {late})"
        return f"even odds of {number} by {month_text(self.p50)}{span}"


@dataclass(frozen=True)
class PlanStatus:
    """A study against its plan, in patients from the first one on.

    ``planned_so_far`` and ``enrolled_so_far`` are through the last month that is over, ``planned``
    and ``expected`` through ``by``; ``probability`` is of being on or above plan there.
    """

    status: Status
    version: str
    by: date
    planned_so_far: float
    enrolled_so_far: float
    planned: float
    expected: float
    probability: float
    text: str


def probability_by(trial: TrialPaths, target: float, month: date) -> float:
    """The share of the paths with at least ``target`` patients by the end of ``month``."""
    return float(np.mean(patients_by(trial, month) >= target - _ROUNDING))


def when(trial: TrialPaths, target: float) -> Reached:
    """The months by which 10%, half and 90% of the paths have at least ``target`` patients."""
    there = trial.cumulative() >= target - _ROUNDING
    horizon = there.shape[1]
    first = np.where(there[:, -1], there.argmax(axis=1), horizon)
    months = [exact_quantile(first, level) for level in (LOW, MIDDLE, HIGH)]
    p10, p50, p90 = (add_months(trial.cycle, at) if at < horizon else None for at in months)
    return Reached(
        target=target,
        already=bool(trial.enrolled_before.sum() >= target - _ROUNDING),
        p10=p10,
        p50=p50,
        p90=p90,
        probability=float(np.mean(there[:, -1])),
        last=last_forecast_month(trial),
    )


def plan_status(
    trial: TrialPaths,
    inputs: ClinicalInputs,
    *,
    by: date,
    version: str | None = None,
    green: float = GREEN,
    yellow: float = YELLOW,
) -> PlanStatus | None:
    """Compare a study with its enrolment plan.

    Parameters
    ----------
    trial : TrialPaths
    inputs : ClinicalInputs
        ``enrolment_plan``, and ``enrolment`` of the months before the plan begins.
    by : date
        Month of the question, inside the horizon.
    version : str, optional
        By default the last one by name.
    green, yellow : float
        Least probability of being on or above plan by then; below ``yellow`` it is red.

    Returns
    -------
    PlanStatus or None
        None where the study has no plan.

    Raises
    ------
    RequestError
        When the study has plans but not of this version.

    Notes
    -----
    The plan of the whole study is the rows whose site and cohort are any; where a version has
    none, the sum of its coarsest rows. A plan says nothing about the months before its first one:
    patients enrolled in them are added to it. After its last month it stays where it is.
    """
    plan = whole_study_plan(inputs, trial.study, version=version)
    if plan is None:
        return None
    name, rows = plan
    before = inputs.enrolment.filter(
        (pl.col("study") == trial.study) & (pl.col("ds") < rows["ds"].min())
    )
    start = float(before["enrolled"].sum())
    so_far = start + float(rows.filter(pl.col("ds") < trial.cycle)["enrolled"].sum())
    planned = start + float(rows.filter(pl.col("ds") < add_months(by, 1))["enrolled"].sum())
    probability = probability_by(trial, planned, by)
    enrolled = float(trial.enrolled_before.sum())
    through = month_text(last_month(inputs))
    status: Status = (
        "green" if probability >= green else "yellow" if probability >= yellow else "red"
    )
    return PlanStatus(
        status=status,
        version=name,
        by=add_months(by, 0),
        planned_so_far=so_far,
        enrolled_so_far=enrolled,
        planned=planned,
        expected=float(patients_by(trial, by).mean()),
        probability=probability,
        text=(
            f"{status.capitalize()}: {amount(enrolled)} enrolled through {through}, "
            f"{amount(so_far)} planned (plan {name}); {chance(probability)} likely to be on or "
            f"above the plan of {amount(planned)} by {month_text(by)}"
        ),
    )


def target_date(trial: TrialPaths, inputs: ClinicalInputs) -> tuple[float, date | None] | None:
    """The study's target and the month of its last patient; None without a target."""
    row = inputs.studies.filter(pl.col("study") == trial.study)
    if row.is_empty() or row["target_enrolment"][0] is None:
        return None
    last = row["last_patient_date"][0]
    return float(row["target_enrolment"][0]), None if last is None else last.replace(day=1)


def target_text(trial: TrialPaths, target: float, month: date | None) -> str:
    """How likely the target is by its month, and when it is reached."""
    reached = when(trial, target)
    if reached.already or month is None:
        return _sentence(reached.text)
    number = counted(target, "patient")
    try:
        month_index(trial, month)
    except RequestError:
        side = "past" if month < trial.cycle else "after the last month forecast"
        return f"{_sentence(reached.text)}; the month it is due, {month_text(month)}, is {side}"
    likely = chance(probability_by(trial, target, month))
    return _sentence(f"{likely} likely to reach {number} by {month_text(month)}; {reached.text}")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def whole_study_plan(
    inputs: ClinicalInputs, study: str, *, version: str | None = None
) -> tuple[str, pl.DataFrame] | None:
    """The plan of a whole study: its version (the newest by name) and its coarsest rows.

    None where nothing is planned.
    """
    rows = inputs.enrolment_plan.filter(pl.col("study") == study)
    versions = sorted(set(rows["version"]))
    if not versions:
        return None
    name = versions[-1] if version is None else version
    if name not in versions:
        raise RequestError(
            f"plan version: found {name!r}; allowed: of study {study} "
            f"{', '.join(map(repr, versions))}; choose one of them"
        )
    rows = rows.filter(pl.col("version") == name)
    whole = pl.col("site") == ANY, pl.col("cohort").is_in([ANY, ALL])
    for kind in (whole[0] & whole[1], whole[0], whole[1]):
        if rows.filter(kind).height:
            return name, rows.filter(kind)
    return name, rows
