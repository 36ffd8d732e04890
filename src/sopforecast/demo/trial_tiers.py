"""Named patients of the trial in tiers, month by month as they were known: drawn from the law.

A line that is enrolled is one of the patients in ``enrolment``: it takes site and cohort of one who
was enrolled in that month, and waits for a month in which there is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

import numpy as np
import polars as pl

from sopforecast.core.clinical_tables import TierLines
from sopforecast.core.draws import series_rng
from sopforecast.core.months import add_months
from sopforecast.demo.trial_law import COHORTS, LAW, STUDY
from sopforecast.demo.trial_patients import Patient

LINES = 26
LISTED_MONTHS = 12
OWNERS = ("R. Osei", "M. Lindqvist", "K. Tanaka")
_ABOVE = {"pipeline": "highly_probable", "highly_probable": "committed"}
_RANGES = {"committed": (0.8, 0.97), "highly_probable": (0.5, 0.8), "pipeline": (0.2, 0.5)}
_MONTHS_TO_GO = {"committed": 1, "highly_probable": 2, "pipeline": 4}
_OPEN_SITES = ("S1", "S2", "S3", "S4", "S6", "S8", "S10", "S11", "S12")
_SITES_TO_COME = ("S7", "S9")
_REASONS = ("screen failure", "declined", "moved to another trial")


@dataclass(frozen=True)
class _Line:
    """``tiers`` by month from ``born`` on; ``ended`` is the month of enrolment or loss."""

    number: int
    born: int
    tiers: tuple[str, ...]
    outcome: str
    ended: int | None


def tier_rows(
    patients: Sequence[Patient], *, first_month: date, count: int, seed: int
) -> pl.DataFrame:
    """``TierLines`` columns and known_at (UTC): a row a line and month in which it was listed.

    What was so at the end of a month is known on the first day of the next.
    """
    waiting = {month: [p for p in patients if not p.failed and p.decided == month]
               for month in range(count)}  # fmt: skip
    versions = []
    for number in range(LINES):
        rng = series_rng(seed, "demo", "trial", "line", str(number))
        line = _live(number, rng, count=count)
        patient = None
        if line.outcome == "converted" and line.ended is not None:
            line, patient = _enrolled(line, line.ended, waiting, count=count)
        where = (patient.site, patient.cohort) if patient else _somewhere(line, rng)
        versions += _versions(line, where, rng, first_month=first_month)
    dtypes = {name: column.dtype for name, column in TierLines.columns().items()}
    frame = pl.DataFrame(versions, schema=dtypes | {"known_at": pl.Datetime("us")})
    return frame.sort("line_id", "known_at")


def _live(number: int, rng: np.random.Generator, *, count: int) -> _Line:
    """Let one line be listed and move through the tiers until the last month."""
    born = count - 1 - (number * LISTED_MONTHS) // LINES
    tier = "pipeline" if rng.random() < 0.7 else "highly_probable"
    tiers = [tier]
    for month in range(born + 1, count):
        chance = float(rng.random())
        if chance < LAW.leaves[tier]:
            return _Line(number, born, tuple(tiers), "lost", month)
        if chance < LAW.leaves[tier] + LAW.moves_up[tier]:
            if tier == "committed":
                return _Line(number, born, tuple(tiers), "converted", month)
            tier = _ABOVE[tier]
        tiers.append(tier)
    return _Line(number, born, tuple(tiers), "open", None)


def _enrolled(
    line: _Line, ready: int, waiting: dict[int, list[Patient]], *, count: int
) -> tuple[_Line, Patient | None]:
    """Who of the enrolled the line was; one that finds nobody stays committed, and open."""
    for month in range(ready, count):
        stay = (*line.tiers, *(["committed"] * (month - ready)))
        if waiting[month]:
            return replace(line, tiers=stay, ended=month), waiting[month].pop()
    stay = (*line.tiers, *(["committed"] * (count - ready)))
    return replace(line, tiers=stay, outcome="open", ended=None), None


def _somewhere(line: _Line, rng: np.random.Generator) -> tuple[str, str]:
    """Site and cohort of a line nobody of the enrolled is; young pipeline may be of a new site."""
    to_come = line.outcome == "open" and set(line.tiers) == {"pipeline"} and rng.random() < 0.4
    sites = _SITES_TO_COME if to_come else _OPEN_SITES
    return sites[int(rng.integers(len(sites)))], COHORTS[int(rng.random() < LAW.cohort_b_share)]


def _versions(
    line: _Line, where: tuple[str, str], rng: np.random.Generator, *, first_month: date
) -> list[dict[str, object]]:
    """A row each month from the one in which the line was listed to the one in which it ended."""
    owner = OWNERS[int(rng.integers(len(OWNERS)))]
    shift = float(rng.uniform(-0.05, 0.02))
    is_ranged = bool(rng.random() < 0.8)
    reason = _REASONS[int(rng.integers(len(_REASONS)))]
    rows = []
    last = line.ended if line.ended is not None else line.born + len(line.tiers) - 1
    for month in range(line.born, last + 1):
        tier = line.tiers[min(month - line.born, len(line.tiers) - 1)]
        outcome = line.outcome if month == line.ended else "open"
        low, high = (round(end + shift, 2) for end in _RANGES[tier])
        rows.append({
            "line_id": f"P-{line.number + 1:03d}",
            "study": STUDY,
            "site": where[0],
            "cohort": where[1],
            "tier": tier,
            "quantity": 1.0,
            "expected_ds": add_months(first_month, month + _MONTHS_TO_GO[tier]),
            "probability_low": low if is_ranged else None,
            "probability_high": high if is_ranged else None,
            "owner": owner,
            "outcome": outcome,
            "converted_quantity": 1.0 if outcome == "converted" else None,
            "converted_ds": add_months(first_month, month) if outcome == "converted" else None,
            "lost_reason": reason if outcome == "lost" else None,
            "known_at": _known(add_months(first_month, month + 1)),
        })  # fmt: skip
    return rows


def _known(month: date) -> datetime:
    return datetime(month.year, month.month, 1)
