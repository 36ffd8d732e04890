"""What the tables of two cycles say differently of a study, in plain sentences.

Reads two `ClinicalInputs` and what the prior cycle expected; kinds are those of `changes`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

import polars as pl

from sopforecast.clinical.inputs import ClinicalInputs, latest_lines
from sopforecast.clinical.words import (
    amount,
    counted,
    day_text,
    decimal,
    first,
    month_text,
    plural,
    share,
    signed,
)
from sopforecast.core.clinical_tables import ANY
from sopforecast.core.months import month_range, months_between

_SHOWN_LINES = 3
_SITE_FIELDS = {
    "slip_days_low": "least slip in days",
    "slip_days_high": "largest slip in days",
    "activation_probability": "probability of activation",
    "planned_rate": "planned rate",
    "capacity": "capacity",
    "country": "country",
}
_EVENT_FIELDS = {
    "date": "date",
    "probability": "probability",
    "low": "low",
    "high": "high",
    "acts_on": "what it acts on",
    "site": "site",
    "cohort": "cohort",
    "protocol_version": "protocol version",
    "applies_to": "whom it applies to",
}
_STUDY_FIELDS = {
    "target_enrolment": "target",
    "last_patient_date": "last patient date",
    "status": "status",
}
_COHORT_FIELDS = {
    "target_enrolment": "target",
    "opens_date": "opening",
    "share_low": "lowest share",
    "share_high": "highest share",
}
_SHARES = ("probability", "activation_probability", "share_low", "share_high")

_Rows = dict[str, dict[str, Any]]


def input_facts(
    before: ClinicalInputs,
    after: ClinicalInputs,
    *,
    study: str,
    expected: pl.DataFrame | None = None,
) -> dict[str, tuple[str, ...]]:
    """What differs between the inputs of two cycles, by kind.

    Parameters
    ----------
    before, after : ClinicalInputs
        Of the prior cycle and of this one.
    study : str
    expected : pl.DataFrame, optional
        ``EnrolmentForecasts`` rows of the prior cycle, to say what reported months were expected
        to bring.

    Returns
    -------
    dict of str to tuple of str
        ``enrolment``, ``sites``, ``events``, ``tiers`` and ``rest``; empty where nothing differs.
    """
    return {
        "enrolment": tuple(_enrolment(before, after, study, expected)),
        "sites": tuple(_sites(before, after, study)),
        "events": tuple(_events(before, after, study)),
        "tiers": tuple(_tiers(before, after, study)),
        "rest": tuple(_rest(before, after, study)),
    }


def _enrolment(
    before: ClinicalInputs, after: ClinicalInputs, study: str, expected: pl.DataFrame | None
) -> Iterator[str]:
    then, now = (_of(one.enrolment, study) for one in (before, after))
    for month in month_range(before.cycle, max(months_between(before.cycle, after.cycle), 0)):
        rows = now.filter(pl.col("ds") == month)
        known = rows.filter(pl.col("enrolled").is_not_null())
        name = month_text(month)
        if known.is_empty():
            yield f"enrolment in {name} is not reported yet"
            continue
        was = f"enrolment in {name} was {amount(float(known['enrolled'].sum()))}"
        mean = _expected(expected, study, month)
        told = was if mean is None else f"{was} instead of {decimal(mean)} expected"
        silent = set(rows["site"]) - set(known["site"])
        missing = f" ({counted(len(silent), 'site')} not reported)" if silent else ""
        yield told + missing
    past = now.filter(pl.col("ds") < before.cycle)
    revised = float(past["enrolled"].sum()) - float(then["enrolled"].sum())
    if revised:
        yield f"enrolment before {month_text(before.cycle)} was corrected by {signed(revised)}"


def _expected(frame: pl.DataFrame | None, study: str, month: date) -> float | None:
    if frame is None:
        return None
    rows = frame.filter(
        (pl.col("study") == study) & (pl.col("level") == "study") & (pl.col("ds") == month),
        pl.col("measure") == "monthly",
    )
    return None if rows.is_empty() else float(rows["mean"][0])


def _sites(before: ClinicalInputs, after: ClinicalInputs, study: str) -> Iterator[str]:
    then, now = (_by(one.sites, study, "site") for one in (before, after))
    for site, row in now.items():
        old = then.get(site)
        planned = row["planned_activation_date"]
        if old is None:
            when = "" if planned is None else f", planned for {month_text(planned)}"
            opened = row["activated_date"]
            yield f"{site} is new{when if opened is None else f', open since {day_text(opened)}'}"
            continue
        yield from _opening(site, old, row)
        if row["closed_date"] != old["closed_date"]:
            closed = row["closed_date"]
            yield (
                f"{site} is open again"
                if closed is None
                else (f"{site} closed on {day_text(closed)}")
            )
        elif row["status"] == "closed" != old["status"]:
            yield f"{site} is closed"
        yield from _differences(f"{site}'s", old, row, _SITE_FIELDS)
    yield from (f"{site} is no longer listed" for site in then if site not in now)


def _opening(site: str, old: Mapping[str, Any], row: Mapping[str, Any]) -> Iterator[str]:
    planned, opened = row["planned_activation_date"], row["activated_date"]
    if opened is not None and opened != old["activated_date"]:
        plan = "" if planned is None else f" (planned {day_text(planned)})"
        yield f"{site} opened on {day_text(opened)}{plan}"
    elif opened is None and old["activated_date"] is not None:
        yield f"{site} is not open after all"
    elif planned != (was := old["planned_activation_date"]):
        if planned is None or was is None:
            yield f"{site}'s opening is now {_value(planned)} instead of {_value(was)}"
            return
        same = planned.replace(day=1) == was.replace(day=1)
        say = day_text if same else month_text
        yield f"{site}'s opening moved from {say(was)} to {say(planned)}"


def _events(before: ClinicalInputs, after: ClinicalInputs, study: str) -> Iterator[str]:
    then, now = (_by(one.study_events, study, "event_id") for one in (before, after))
    for event, row in now.items():
        if event in then:
            yield from _differences(f"event {event}'s", then[event], row, _EVENT_FIELDS)
            continue
        kind = f"{row['kind']}, " if row["kind"] else ""
        likely = "" if row["probability"] == 1 else f", {share(row['probability'])} likely"
        yield f"event {event} is new ({kind}{day_text(row['date'])}{likely})"
    yield from (f"event {event} was withdrawn" for event in then if event not in now)


def _tiers(before: ClinicalInputs, after: ClinicalInputs, study: str) -> Iterator[str]:
    then, now = (_by(latest_lines(one), study, "line_id") for one in (before, after))
    new = [line for line in now if line not in then]
    if new:
        patients = sum(now[line]["quantity"] for line in new)
        yield f"{counted(len(new), 'new line')} ({counted(patients, 'patient')})"
    kept = [line for line in now if line in then]
    moved: dict[tuple[str, str], list[str]] = {}
    for line in kept:
        pair = then[line]["tier"], now[line]["tier"]
        if pair[0] != pair[1]:
            moved.setdefault(pair, []).append(line)
    for (was, tier), lines in moved.items():
        yield f"{_lines(lines)} moved from {_value(was)} to {_value(tier)}"
    for outcome, said in (("converted", "converted"), ("lost", "lost"), ("open", "open again")):
        lines = [
            line
            for line in kept
            if now[line]["outcome"] == outcome and then[line]["outcome"] != outcome
        ]
        if lines:
            verb = "" if outcome == "converted" else "was " if len(lines) == 1 else "were "
            yield f"{_lines(lines)} {verb}{said}"
    for column, what in (("probability_low", "range"), ("expected_ds", "expected month")):
        both = (column, column.replace("_low", "_high"))
        lines = [line for line in kept if any(now[line][c] != then[line][c] for c in both)]
        if lines:
            yield f"the {what} stated of {_lines(lines)} changed"
    gone = [line for line in then if line not in now]
    if gone:
        yield f"{_lines(gone)} {'is' if len(gone) == 1 else 'are'} no longer listed"


def _rest(before: ClinicalInputs, after: ClinicalInputs, study: str) -> Iterator[str]:
    then, now = (_by(one.studies, study, "study") for one in (before, after))
    if study in then and study in now:
        yield from _differences("the study's", then[study], now[study], _STUDY_FIELDS)
    then, now = (_by(one.cohorts, study, "cohort") for one in (before, after))
    for cohort, row in now.items():
        if cohort in then:
            yield from _differences(f"cohort {cohort}'s", then[cohort], row, _COHORT_FIELDS)
        else:
            yield f"cohort {cohort} is new"
    yield from (f"cohort {cohort} is no longer listed" for cohort in then if cohort not in now)
    plans = [_of(one.enrolment_plan, study) for one in (before, after)]
    versions = sorted(set(plans[1]["version"]) - set(plans[0]["version"]))
    yield from (f"plan {version} is new" for version in versions)
    if not _of(before.schedule, study).equals(_of(after.schedule, study)):
        yield "the schedule of supplies changed"


def _differences(
    whose: str, old: Mapping[str, Any], row: Mapping[str, Any], fields: Mapping[str, str]
) -> Iterator[str]:
    for column, name in fields.items():
        if row[column] != old[column]:
            was, now = (_value(one[column], is_share=column in _SHARES) for one in (old, row))
            yield f"{whose} {name} changed from {was} to {now}"


def _value(value: object, *, is_share: bool = False) -> str:
    if value is None or value == ANY:
        return "none given"
    if isinstance(value, date):
        return day_text(value)
    if isinstance(value, float):
        return share(value) if is_share else f"{value:g}"
    return str(value).replace("_", " ")


def _lines(lines: Sequence[str]) -> str:
    return f"{plural('line', len(lines))} {first(lines, _SHOWN_LINES)}"


def _of(frame: pl.DataFrame, study: str) -> pl.DataFrame:
    return frame.filter(pl.col("study") == study)


def _by(frame: pl.DataFrame, study: str, key: str) -> _Rows:
    rows = _of(frame, study).sort(key)
    return {row[key]: row for row in rows.iter_rows(named=True)}
