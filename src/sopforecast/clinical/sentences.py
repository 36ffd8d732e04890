"""The sentences a demand review needs of a study, and every number in them.

"15 to 25 new patients by June 2027 (80%), based on current screening rates; 30 (26 to 35) if sites
S7 and S9 activate by February 2027 (35% likely)". All of it is asked of the same paths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import numpy as np

from sopforecast.clinical.assumptions import little_known
from sopforecast.clinical.branches import FEWEST_PATHS, Branch, Condition, branch
from sopforecast.clinical.evidence import Evidence
from sopforecast.clinical.forecasts import Spread, last_forecast_month, patients_by, spread
from sopforecast.clinical.inputs import ClinicalInputs
from sopforecast.clinical.paths import TrialPaths
from sopforecast.clinical.targets import (
    GREEN,
    YELLOW,
    plan_status,
    probability_by,
    target_date,
    target_text,
    when,
)
from sopforecast.clinical.words import amount, ends, listed, month_text, span
from sopforecast.core.months import add_months, month_name, month_range

MONTHS_AHEAD = 6
NEXT_MONTHS = 3


@dataclass(frozen=True)
class StudySentences:
    """What is said of a study, in reading order, and the numbers it is made of.

    Attributes
    ----------
    headline : str
        The range over all paths, what it is based on, and the branches.
    branches : tuple of str
        Each branch in full: when it holds, and when it does not.
    so_far, monthly, target, plan : str
        Enrolled before the cycle and in total by then; the next months; the study's target;
        red, yellow or green. Empty where there is nothing to say.
    little_known : tuple of str
        What rests on assumption more than on data.
    numbers : dict
        For ``--json``: every number above, plain values by name, months as ``YYYY-MM``.
    """

    headline: str
    branches: tuple[str, ...]
    so_far: str
    monthly: str
    target: str
    plan: str
    little_known: tuple[str, ...]
    numbers: dict[str, Any]

    @property
    def lines(self) -> tuple[str, ...]:
        """All sentences that say something."""
        single = (self.so_far, self.monthly, self.target, self.plan)
        return (self.headline, *self.branches, *filter(None, single), *self.little_known)


def default_by(trial: TrialPaths) -> date:
    """Six months after the cycle, or the last month forecast when that is earlier."""
    return min(add_months(trial.cycle, MONTHS_AHEAD), last_forecast_month(trial))


def study_sentences(
    trial: TrialPaths,
    *,
    inputs: ClinicalInputs,
    evidence: Evidence,
    by: date | None = None,
    branches: Sequence[Condition] = (),
    green: float = GREEN,
    yellow: float = YELLOW,
    plan_version: str | None = None,
) -> StudySentences:
    """Say what is expected of a study.

    Parameters
    ----------
    trial : TrialPaths
    inputs : ClinicalInputs
        Target, plan and enrolment so far.
    evidence : Evidence
        What was seen, for the basis and for what is little known.
    by : date, optional
        Month of the headline; `default_by` when left out.
    branches : sequence of Condition
        In the order in which they are said; see `branches.default_branches`.
    green, yellow, plan_version
        As in `targets.plan_status`.

    Returns
    -------
    StudySentences

    Raises
    ------
    RequestError
        When ``by`` is not inside the horizon, or there is no such plan version.

    Notes
    -----
    The headline counts patients from the cycle on: "new" where some were enrolled before; then a
    second sentence says how many, and the total. Ranges are `forecasts.spread`: whole patients,
    at least 80% of the paths inside. Of a branch the middle is said first, its range in brackets.
    """
    by = default_by(trial) if by is None else by.replace(day=1)
    new = spread(patients_by(trial, by, new=True))
    asked = [branch(trial, condition, by=by, new=True) for condition in branches]
    enrolled = float(trial.enrolled_before.sum())
    months = _next_months(trial)
    target = target_date(trial, inputs)
    plan = plan_status(trial, inputs, by=by, version=plan_version, green=green, yellow=yellow)
    return StudySentences(
        headline=headline(new, by=by, basis=basis(evidence), branches=asked, enrolled=enrolled),
        branches=tuple(branch_sentence(one, by=by) for one in asked),
        so_far=_so_far(new, enrolled, by=by, stops=None if target is None else target[0]),
        monthly=_monthly_text(months),
        target="" if target is None else target_text(trial, *target),
        plan="" if plan is None else plan.text,
        little_known=little_known(evidence),
        numbers={
            "study": trial.study,
            "cycle": month_name(trial.cycle),
            "by": month_name(by),
            "paths": len(trial.enrolled),
            "enrolled_so_far": enrolled,
            "new": _numbers(new),
            "total": {name: value + enrolled for name, value in _numbers(new).items()},
            "mean_new": float(patients_by(trial, by, new=True).mean()),
            "branches": [branch_numbers(one) for one in asked],
            "monthly": [{"ds": month_name(ds), **_numbers(one)} for ds, one in months],
            "target": None if target is None else _target_numbers(trial, *target),
            "plan": None if plan is None else {**asdict(plan), "by": month_name(plan.by)},
            "evidence": asdict(evidence),
        },
    )


def headline(
    new: Spread, *, by: date, basis: str, branches: Sequence[Branch], enrolled: float
) -> str:
    """The range, its basis and its branches in one sentence."""
    patients = "new patient" if enrolled else "patient"
    said = [f"{span(new.low, new.high, patients)} by {month_text(by)} (80%), based on {basis}"]
    return "; ".join([*said, *map(branch_text, branches)])


def branch_text(one: Branch) -> str:
    """``30 (26 to 35) if sites S7 and S9 activate by February 2027 (35% likely)``."""
    if one.patients is None:
        return f"if {one.condition.text}: {_too_rare(one)}"
    return f"{_middle(one.patients)} {one.label}"


def branch_sentence(one: Branch, *, by: date) -> str:
    """A branch in full: the patients from the cycle on when it holds, and when it does not."""
    yes, no = (_too_rare(one) if s is None else _middle(s) for s in (one.patients, one.otherwise))
    return f"By {month_text(by)}, {one.label}: {yes}; if not: {no}"


def _too_rare(one: Branch) -> str:
    return f"too rare to say, fewer than {FEWEST_PATHS} of {one.of:,} paths"


def _middle(patients: Spread) -> str:
    low, middle, high = patients.low, patients.middle, patients.high
    return f"{middle:,}" if low == high else f"{middle:,} ({ends(low, high)})"


def basis(evidence: Evidence) -> str:
    """What the rates are: current where somebody reported, else planned."""
    if evidence.screening_months:
        return "current screening rates"
    return "current enrolment rates" if evidence.site_months else "planned rates"


def branch_numbers(one: Branch) -> dict[str, Any]:
    """The numbers of a branch as plain values; the range is None where it is too rare."""
    return {
        "if": one.condition.command,
        "text": one.condition.text,
        "paths": one.paths,
        "of": one.of,
        "probability": one.probability,
        "new": None if one.patients is None else _numbers(one.patients),
        "new_otherwise": None if one.otherwise is None else _numbers(one.otherwise),
    }


def _numbers(one: Spread) -> dict[str, int]:
    return {"p10": one.low, "p50": one.middle, "p90": one.high}


def _so_far(new: Spread, enrolled: float, *, by: date, stops: float | None) -> str:
    if not enrolled:
        return ""
    full = stops is not None and enrolled + new.high >= stops > enrolled
    end = f"; the study stops at {amount(stops)}" if full and stops is not None else ""
    low, high = (amount(enrolled + end) for end in (new.low, new.high))
    total = low if low == high else f"{low} to {high}"
    return f"{amount(enrolled)} enrolled so far; {total} in total by {month_text(by)} (80%){end}"


def _next_months(trial: TrialPaths) -> list[tuple[date, Spread]]:
    monthly = trial.monthly()[:, :NEXT_MONTHS]
    months = month_range(trial.cycle, monthly.shape[1])
    return [(month, spread(np.ascontiguousarray(monthly[:, k]))) for k, month in enumerate(months)]


def _monthly_text(months: Sequence[tuple[date, Spread]]) -> str:
    said = [f"{ends(one.low, one.high)} in {month_text(month)}" for month, one in months]
    return f"Next months, patients (80% each): {listed(said)}"


def _target_numbers(trial: TrialPaths, target: float, month: date | None) -> dict[str, Any]:
    reached = when(trial, target)
    inside = month is not None and trial.cycle <= month <= last_forecast_month(trial)
    return {
        "target": target,
        "by": None if month is None else month_name(month),
        "probability": probability_by(trial, target, month) if inside and month else None,
        "reached": {
            label: None if at is None else month_name(at)
            for label, at in (("p10", reached.p10), ("p50", reached.p50), ("p90", reached.p90))
        },
        "probability_inside_horizon": reached.probability,
        "already": reached.already,
    }
