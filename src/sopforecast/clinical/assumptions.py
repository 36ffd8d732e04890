"""The assumption behind each number, and how much was seen to believe it.

What was seen and learned comes as `Evidence`. Rates and slips are learned from data as far as
there are any, on top of what was assumed before; events are somebody's statement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from sopforecast.clinical.evidence import FEW_OPENINGS, SILENT_MONTHS, Evidence, Learned
from sopforecast.clinical.inputs import ClinicalInputs
from sopforecast.clinical.words import (
    amount,
    chance,
    counted,
    day_text,
    decimal,
    share,
)
from sopforecast.core.clinical_tables import ANY, TIERS


@dataclass(frozen=True)
class Assumption:
    """One assumption in words, and its numbers.

    ``value`` is what the paths are made with, empty where nothing was handed in; ``evidence`` is
    what was seen. ``seen`` of ``of`` were counted; ``low``, ``middle`` and ``high`` are the 80%
    range and middle (of an event: its multiplier), and ``probability`` is an event's.
    """

    about: str
    value: str
    evidence: str
    seen: float = 0.0
    of: float = 0.0
    low: float | None = None
    middle: float | None = None
    high: float | None = None
    probability: float | None = None

    @property
    def text(self) -> str:
        """All of it in one sentence."""
        return f"{self.about}: {'; '.join(filter(None, (self.value, self.evidence)))}"


def assumptions(study: str, inputs: ClinicalInputs, evidence: Evidence) -> tuple[Assumption, ...]:
    """What stands behind the numbers of a study, one row each; only what plays a part.

    In this order: activation, rates, screen failure, dropout, events by date, tiers.
    """
    rows = [_activation(evidence), _rates(evidence)]
    if evidence.screening_months or evidence.screen_failure is not None:
        rows.append(_failure(evidence))
    if evidence.patient_months or evidence.dropout_a_month is not None:
        rows.append(_dropout(evidence))
    events = inputs.study_events.filter(pl.col("study") == study).sort("date", "event_id")
    rows += [_event(row) for row in events.iter_rows(named=True)]
    if evidence.lines:
        rows += _tiers(evidence)
    return tuple(rows)


def assumption_frame(rows: Sequence[Assumption]) -> pl.DataFrame:
    """The rows as a table: ``assumption``, and a column for every other field."""
    words = dict.fromkeys(("about", "value", "evidence"), pl.String)
    numbers = dict.fromkeys(("seen", "of", "low", "middle", "high", "probability"), pl.Float64)
    frame = pl.DataFrame([asdict(row) for row in rows], schema={**words, **numbers})
    return frame.rename({"about": "assumption"})


def little_known(evidence: Evidence) -> tuple[str, ...]:
    """What rests more on assumption than on data, one sentence each; empty when nothing does."""
    told = []
    if evidence.site_months == 0:
        told.append("No site has reported yet: the range is what was assumed before any patient")
    elif evidence.is_thin:
        told.append(
            f"{counted(evidence.sites_seen, 'site')} and "
            f"{counted(evidence.months_seen, 'month')} of data: the range leans on what was "
            "assumed before any patient"
        )
    if evidence.sites_waiting and evidence.activations_seen < FEW_OPENINGS:
        openings = evidence.activations_seen
        seen = counted(openings, "opening") if openings else "No opening"
        told.append(
            f"{seen} seen with a planned date: when {counted(evidence.sites_waiting, 'site')} "
            f"{'opens' if evidence.sites_waiting == 1 else 'open'} leans on what was assumed"
        )
    return tuple(told)


def _row(
    about: str, value: str, evidence: str, seen: float, of: float, learned: Learned | None
) -> Assumption:
    if learned is None:
        return Assumption(about, "", evidence, seen, of)
    return Assumption(about, value, evidence, seen, of, learned.low, learned.middle, learned.high)


def _activation(e: Evidence) -> Assumption:
    seen = (
        f"{counted(e.activations_seen, 'opening')} seen with a planned date, "
        f"{counted(e.sites_waiting, 'site')} not open yet"
    )
    value = ""
    if (s := e.slip_days) is not None:
        inside = f"{_slip(s.low)} to {_slip(s.high)}"
        value = f"a site typically opens {_slip(s.middle)} (80%: {inside})"
    return _row("Activation", value, seen, e.activations_seen, e.sites_waiting, e.slip_days)


def _slip(days: float) -> str:
    whole = round(days)
    if whole == 0:
        return "on the planned day"
    return f"{counted(abs(whole), 'day')} {'after' if whole > 0 else 'before'} plan"


def _rates(e: Evidence) -> Assumption:
    about = "Screening rates" if e.screening_months else "Enrolment rates"
    seen = (
        f"{counted(e.site_months, 'site-month')} seen at {counted(e.sites_seen, 'site')}; "
        f"{e.sites_open} open now, {e.sites_silent} of them without a patient for "
        f"{SILENT_MONTHS} months"
    )
    value = ""
    if (r := e.patients_a_month) is not None:
        inside = f"{decimal(r.low)} to {decimal(r.high)}"
        value = f"an open site enrols {decimal(r.middle)} patients a month (80%: {inside})"
    return _row(about, value, seen, e.site_months, e.sites_open, e.patients_a_month)


def _failure(e: Evidence) -> Assumption:
    seen = f"{amount(e.screen_failed)} of {amount(e.screened)} screened failed so far"
    value = _share(e.screen_failure)
    return _row("Screen failure", value, seen, e.screen_failed, e.screened, e.screen_failure)


def _dropout(e: Evidence) -> Assumption:
    seen = f"{amount(e.dropped_out)} in {counted(e.patient_months, 'patient-month')} so far"
    value = _share(e.dropout_a_month, " a month")
    return _row("Dropout", value, seen, e.dropped_out, e.patient_months, e.dropout_a_month)


def _share(learned: Learned | None, per: str = "") -> str:
    if learned is None:
        return ""
    return f"{share(learned.middle)}{per} (80%: {share(learned.low)} to {share(learned.high)})"


def _event(row: Mapping[str, Any]) -> Assumption:
    low, high, likely = row["low"], row["high"], row["probability"]
    kind = f"{row['kind']}, " if row["kind"] else ""
    effect = row["acts_on"]
    if ends := sorted({end for end in (low, high) if end is not None}):
        effect += f" times {' to '.join(f'{end:g}' for end in ends)}"
        effect += " (80%)" if len(ends) > 1 else ""
    if row["protocol_version"]:
        effect += f", protocol {row['protocol_version']}"
    for what in ("site", "cohort"):
        if row[what] not in (None, ANY):
            effect += f", {what} {row[what]} only"
    return Assumption(
        about=f"Event {row['event_id']} ({kind}{day_text(row['date'])})",
        value=effect,
        evidence=f"stated as {'certain' if likely == 1 else f'{chance(likely)} likely'}",
        low=low,
        high=high,
        probability=likely,
    )


def _tiers(e: Evidence) -> list[Assumption]:
    still_open = e.lines - e.lines_converted - e.lines_lost
    seen = (
        f"{counted(e.lines, 'line')}: {e.lines_converted} converted, {e.lines_lost} lost, "
        f"{still_open} open"
    )
    rows = [Assumption("Lines in tiers", "", seen, e.lines_converted, e.lines)]
    for tier in TIERS:
        if (learned := e.conversion.get(tier)) is not None:
            about = f"Lines {tier.replace('_', ' ')}"
            rows.append(_row(about, _share(learned, " convert"), "", 0.0, 0.0, learned))
    return rows
