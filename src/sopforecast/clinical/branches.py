"""Conditional ranges: the paths in which a condition holds, and the conditions worth asking.

A range given a condition is the range of the paths in which it holds, from the same paths as the
range without it: what tends to go together in them stays together.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from sopforecast.clinical.conditions import Clause, Condition, holds, parse_condition
from sopforecast.clinical.forecasts import (
    Spread,
    exact_quantile,
    month_index,
    patients_by,
    spread,
)
from sopforecast.clinical.inputs import ClinicalInputs
from sopforecast.clinical.paths import TrialPaths
from sopforecast.clinical.words import chance
from sopforecast.core.months import add_months, month_range
from sopforecast.core.ordering import natural_order

__all__ = (
    "FEWEST_PATHS", "Branch", "Clause", "Condition", "branch", "branch_ahead", "default_branches",
    "holds", "parse_condition",
)  # fmt: skip

FEWEST_PATHS = 50
"""A branch of fewer paths is not put into numbers."""

MOST_SITES = 3
_LIKELY = 0.1  # least probability of several sites asked together; a choice
_MATERIAL = 0.05  # of the patients expected; a choice
_ERRORS = 3.0  # standard errors that an event's effect must stand out by; a choice


@dataclass(frozen=True)
class Branch:
    """The range of the paths in which a condition holds, and of the others.

    A range is None where there are fewer than `FEWEST_PATHS` of them.
    """

    condition: Condition
    paths: int
    of: int
    patients: Spread | None
    otherwise: Spread | None

    @property
    def probability(self) -> float:
        """The share of the paths."""
        return self.paths / self.of

    @property
    def label(self) -> str:
        """``if sites S7 and S9 activate by February 2027 (35% likely)``."""
        return f"if {self.condition.text} ({chance(self.probability)} likely)"


def branch(trial: TrialPaths, condition: Condition, *, by: date, new: bool = False) -> Branch:
    """The probability of a condition, and the patients through ``by`` given it.

    ``new`` counts from the cycle on only; see `forecasts.patients_by`.
    """
    inside = holds(condition, trial)
    patients = patients_by(trial, by, new=new)
    return Branch(
        condition=condition,
        paths=int(np.count_nonzero(inside)),
        of=len(inside),
        patients=_spread(patients[inside]),
        otherwise=_spread(patients[~inside]),
    )


def branch_ahead(trial: TrialPaths, condition: Condition) -> pl.DataFrame:
    """Patients from the first one on, month by month, in the paths in which a condition holds.

    Returns
    -------
    pl.DataFrame
        ds, p10, p50, p90; no rows where the paths are too few.
    """
    cumulative = trial.cumulative()[holds(condition, trial)]
    months = len(cumulative.T) if len(cumulative) >= FEWEST_PATHS else 0
    ranges = [spread(np.ascontiguousarray(cumulative[:, ahead])) for ahead in range(months)]
    return pl.DataFrame(
        {
            "ds": month_range(trial.cycle, months),
            "p10": [one.low for one in ranges],
            "p50": [one.middle for one in ranges],
            "p90": [one.high for one in ranges],
        },
        schema={"ds": pl.Date, "p10": pl.Float64, "p50": pl.Float64, "p90": pl.Float64},
    )


def default_branches(
    trial: TrialPaths, inputs: ClinicalInputs, *, by: date
) -> tuple[Condition, ...]:
    """The questions worth asking of a study unasked: its next sites, and one uncertain event.

    Returns
    -------
    tuple of Condition
        None, one or two. Up to three sites that are not open yet and planned through ``by``, with
        the most patients at stake, all activating by the latest of their planned months; the
        least of them is left out while all together are too rare to say or below 10% likely. Then
        the event with the largest effect on the patients through ``by``, when that is material.

    Notes
    -----
    At stake: the site's own patients when it opens in time less those when it does not. A site
    whose planned month is past counts with the middle of the months in which it opens. Material,
    a choice: at least 5% of the patients expected from the cycle on, and three standard errors.
    """
    return (*_next_sites(trial, inputs, by=by), *_material_event(trial, inputs, by=by))


def _spread(patients: np.ndarray) -> Spread | None:
    return spread(patients) if len(patients) >= FEWEST_PATHS else None


def _next_sites(trial: TrialPaths, inputs: ClinicalInputs, *, by: date) -> list[Condition]:
    last = month_index(trial, by)
    rows = inputs.sites.filter(pl.col("study") == trial.study)
    planned = dict(zip(rows["site"], rows["planned_activation_date"], strict=True))
    stakes: list[tuple[float, str, date]] = []
    for g, site in enumerate(trial.sites):
        opens = trial.activated[:, g]
        when = planned.get(site)
        if when is None or bool((opens < 0).all()) or when >= add_months(by, 1):
            continue
        month = when.replace(day=1)
        if month < trial.cycle:
            month = add_months(trial.cycle, min(max(exact_quantile(opens, 0.5), 0), last))
        own = trial.enrolled[:, g, :, : last + 1].sum(axis=(1, 2), dtype=np.int64)
        gain = _difference(own, opens <= month_index(trial, month))[0]
        if gain > 0:
            stakes.append((-gain, site, month))
    chosen = sorted(stakes)[:MOST_SITES]
    while chosen:
        names = tuple(sorted((row[1] for row in chosen), key=natural_order))
        month = max(row[2] for row in chosen)
        condition = Condition((Clause("activates", names, month),))
        paths = np.count_nonzero(holds(condition, trial))
        if len(chosen) == 1 or paths >= max(FEWEST_PATHS, _LIKELY * len(trial.activated)):
            return [condition]
        chosen.pop()
    return []


def _material_event(trial: TrialPaths, inputs: ClinicalInputs, *, by: date) -> list[Condition]:
    rows = inputs.study_events.filter(pl.col("date") < add_months(by, 1))
    patients = patients_by(trial, by, new=True)
    effects = []
    for event in sorted(set(rows["event_id"]) & set(trial.events)):
        happens = trial.events[event]
        if min(np.count_nonzero(happens), np.count_nonzero(~happens)) < FEWEST_PATHS:
            continue
        effect, error = _difference(patients, happens)
        if abs(effect) >= max(_MATERIAL * patients.mean(), _ERRORS * error, 1e-9):
            effects.append((-abs(effect), event))
    return [Condition((Clause("happens", (event,)),)) for _, event in sorted(effects)[:1]]


def _difference(values: np.ndarray, inside: np.ndarray) -> tuple[float, float]:
    """Mean inside less mean outside, and its standard error; zeros where one side is empty."""
    if bool(inside.all()) or not bool(inside.any()):
        return 0.0, 0.0
    yes, no = values[inside], values[~inside]
    error = float(np.sqrt(yes.var() / len(yes) + no.var() / len(no)))
    return float(yes.mean() - no.mean()), error
