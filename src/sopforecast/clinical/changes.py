"""What changed since the prior cycle, and why: a bridge that adds up, and the facts beside it.

First the patients who came count in place of those expected; what they teach comes after. For that
the study is simulated again with its inputs swapped in one kind at a time, on the same random
numbers; each change of the expected patients belongs to the kind swapped in. The order matters a
little and is always the same; facts are what the tables say, whatever they moved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from sopforecast.clinical.facts import input_facts
from sopforecast.clinical.paths import TrialPaths
from sopforecast.clinical.words import decimal, month_text, signed
from sopforecast.core.months import add_months, months_between
from sopforecast.errors import RequestError

__all__ = (
    "Bridge",
    "Step",
    "TrialSummary",
    "counted_in",
    "input_facts",
    "summary",
    "summary_of",
    "what_changed",
)

STEP_LABELS = {
    "enrolment": "enrolment since then",
    "rates": "rates learned again with it",
    "sites": "openings and closures of sites",
    "events": "events",
    "tiers": "patients listed in tiers",
    "rest": "targets, cohorts and the rest",
}
"""Kinds of inputs, in the order in which they are swapped in."""

SHOWN_FACTS = 3
_GRID = 2.0**20  # means are kept in these parts, so that differences and their sums are exact


@dataclass(frozen=True, eq=False)
class TrialSummary:
    """Expected patients of a study from the first one on, by the end of each month (H,)."""

    study: str
    cycle: date
    cumulative: np.ndarray


@dataclass(frozen=True)
class Step:
    """One kind of inputs swapped in: the expected patients after it, and what it changed."""

    name: str
    change: float
    level: float
    facts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bridge:
    """From the expected patients of the prior cycle to those of this one, by one month.

    ``start`` plus the changes of the steps is ``end``, exactly; so it is of the printed tenths.
    """

    study: str
    prior_cycle: date
    cycle: date
    by: date
    start: float
    steps: tuple[Step, ...]
    end: float

    @property
    def text(self) -> str:
        """One sentence: how the number moved, and every step that moved it or has a fact."""
        levels = [_tenths(value) for value in (self.start, *(step.level for step in self.steps))]
        moves = zip(self.steps, np.diff(levels).tolist(), strict=True)
        said = [_step_text(step, move) for step, move in moves if move or step.facts]
        total = levels[-1] - levels[0]
        by = month_text(self.by)
        if total:
            verb = "rose" if total > 0 else "fell"
            moved = f"{verb} by {decimal(abs(total) / 10)} to {decimal(levels[-1] / 10)}"
        else:
            moved = f"stayed at {decimal(levels[-1] / 10)}"
        lead = f"From the {month_text(self.prior_cycle)} cycle the expected number by {by} {moved}"
        return f"{lead}: {'; '.join(said)}" if said else lead


def summary(trial: TrialPaths) -> TrialSummary:
    """The expected patients of sampled paths."""
    return TrialSummary(trial.study, trial.cycle, trial.cumulative().mean(axis=0))


def summary_of(frame: pl.DataFrame, study: str) -> TrialSummary:
    """The expected patients of a study as a run stored them (``EnrolmentForecasts`` rows).

    Raises
    ------
    RequestError
        When the rows say nothing of the study.
    """
    rows = frame.filter(
        (pl.col("study") == study) & (pl.col("level") == "study"),
        pl.col("measure") == "cumulative",
    ).sort("ds")
    if rows.is_empty():
        raise RequestError(
            f"study {study}: the prior run stored no enrolment forecast of it; "
            "compare with a cycle in which it was forecast"
        )
    return TrialSummary(study, rows["cycle"][0], rows["mean"].to_numpy())


def counted_in(before: TrialSummary, trial: TrialPaths) -> TrialSummary:
    """The prior cycle with the patients who came since in place of those it expected.

    Months from ``trial.cycle`` on move by what came more or less, and by nothing else.
    """
    passed = months_between(before.cycle, trial.cycle)
    if not 0 < passed <= len(before.cumulative):
        return before
    came = float(trial.enrolled_before.sum()) - float(before.cumulative[passed - 1])
    moved = before.cumulative.copy()
    moved[passed - 1 :] += came
    return TrialSummary(before.study, before.cycle, moved)


def what_changed(
    before: TrialSummary | TrialPaths,
    steps: Sequence[tuple[str, TrialSummary | TrialPaths]],
    *,
    by: date,
    facts: Mapping[str, Sequence[str]] | None = None,
) -> Bridge:
    """Part the change of the expected patients between two cycles.

    Parameters
    ----------
    before : TrialSummary or TrialPaths
        As the prior cycle said it.
    steps : sequence of (str, TrialSummary or TrialPaths), at least one
        The study with one more kind of inputs swapped in each time; the last is as it is now.
    by : date
        Month through whose end patients are counted, from the first patient of the study on.
    facts : mapping of str to sequence of str, optional
        By step, see `input_facts`.

    Raises
    ------
    RequestError
        When one of them does not reach ``by``.
    """
    known = facts or {}
    start = level = _expected(before, by)
    parted = []
    for name, trial in steps:
        after = _expected(trial, by)
        parted.append(Step(name, after - level, after, tuple(known.get(name, ()))))
        level = after
    return Bridge(
        study=before.study,
        prior_cycle=before.cycle,
        cycle=steps[-1][1].cycle,
        by=add_months(by, 0),
        start=start,
        steps=tuple(parted),
        end=level,
    )


def _expected(trial: TrialSummary | TrialPaths, by: date) -> float:
    view = summary(trial) if isinstance(trial, TrialPaths) else trial
    ahead = months_between(view.cycle, by)
    if not 0 <= ahead < len(view.cumulative):
        last = add_months(view.cycle, len(view.cumulative) - 1)
        raise RequestError(
            f"month: found {month_text(by)}; allowed: {month_text(view.cycle)} to "
            f"{month_text(last)}, the months the {month_text(view.cycle)} cycle forecast of study "
            f"{view.study}; choose one that both cycles forecast"
        )
    return float(np.rint(view.cumulative[ahead] * _GRID) / _GRID)


def _tenths(value: float) -> int:
    return round(10 * value)


def _step_text(step: Step, tenths: int) -> str:
    shown = list(step.facts[:SHOWN_FACTS])
    if len(step.facts) > SHOWN_FACTS:
        shown.append(f"and {len(step.facts) - SHOWN_FACTS} more")
    said = ", ".join(shown) or STEP_LABELS.get(step.name, step.name)
    return f"{said} ({signed(tenths / 10) if tenths else 'no change'})"
