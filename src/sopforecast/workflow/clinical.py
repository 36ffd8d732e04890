"""What a review asks of the trials: ranges, branches, dates, and what changed since last month.

The clinic of a cycle is made from what was known by its cut-off, with the run's settings and seed:
the same numbers as the run of that cycle, whether it is asked before or after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import polars as pl

from sopforecast.core.draws import mean_view, quantile_view
from sopforecast.core.months import add_months, cutoff, month_name, parse_month
from sopforecast.errors import RequestError
from sopforecast.planning_store.counting import counting_runs
from sopforecast.planning_store.inputs import admitted_inputs
from sopforecast.planning_store.runs import read_clinical
from sopforecast.planning_store.store import Store
from sopforecast.settings import Settings
from sopforecast.workflow.admission import Admitted, read_clinic
from sopforecast.workflow.champions import learned_for
from sopforecast.workflow.checking import admit_cycle
from sopforecast.workflow.clock import utc_now
from sopforecast.workspace import Workspace

if TYPE_CHECKING:
    from sopforecast.clinical.changes import Bridge, TrialSummary
    from sopforecast.clinical.clinic import Clinic
    from sopforecast.clinical.conversion import Procedure
    from sopforecast.clinical.inputs import ClinicalInputs
    from sopforecast.clinical.paths import TrialPaths
    from sopforecast.clinical.report import StudyReport


@dataclass(frozen=True, eq=False)
class Before:
    """The cycle before: what it read, and what its run said; None where there was no such run."""

    inputs: ClinicalInputs
    forecasts: pl.DataFrame


def clinical(
    workspace: Workspace,
    *,
    study: str | None = None,
    condition: str | None = None,
    by: str | None = None,
    cycle: str | None = None,
    as_of: str | None = None,
    now: datetime | None = None,
) -> dict[str, Any]:
    """A study's ranges and sentences.

    Parameters
    ----------
    workspace
        Whose data.
    study
        Its name; may be left out where there is one.
    condition
        A branch to ask for, such as "site S7 activates by 2027-02".
    by
        Month of the headline, YYYY-MM; six months after the cycle when left out.
    cycle, as_of
        As ``run``.
    now
        UTC without a time zone.

    Returns
    -------
    dict
        study, cycle, ``lines`` (all sentences), ``numbers`` (every number in them), branches,
        assumptions, confirm, sites, changes (sentences), items (demand and overage by month of all
        items of the clinic), notes.

    Raises
    ------
    RequestError
        No such study or branch, or nothing is loaded of the clinic.
    """
    moment = now or utc_now()
    settings = workspace.settings
    inputs = admit_cycle(workspace, cycle=cycle, as_of=as_of, now=moment)
    name = _study(inputs, study)
    ruling = learned_for(
        workspace.store(), inputs.cycle, known_by=inputs.known_by, settings=settings
    ).learned
    clinic = clinic_of(inputs, settings, conversion=ruling.conversion)
    report = report_of(
        clinic, inputs, name, settings, by=by, condition=condition, today=asked_on(inputs, moment)
    )
    bridge = changes_of(workspace.store(), clinic, inputs, name, settings, by=report.by)
    return {
        "study": name,
        "cycle": month_name(inputs.cycle),
        "known_by": f"{inputs.known_by:%Y-%m-%d %H:%M}",
        "by": month_name(report.by),
        "lines": list(report.sentences.lines),
        "confirm": list(report.confirm),
        "changes": [] if bridge is None else [bridge.text],
        "bridge": None if bridge is None else bridge_numbers(bridge),
        "assumptions": [asdict(one) | {"text": one.text} for one in report.assumptions],
        "numbers": report.sentences.numbers,
        "sites": report.sites.to_dicts(),
        "items": items_of(clinic, inputs),
        "notes": [*clinic.notes, *inputs.left_out(moment)],
    }


def items_of(clinic: Clinic, inputs: Admitted) -> list[dict[str, Any]]:
    """Demand of the items by month, and beside it the mean of what is shipped on top."""
    view = quantile_view(clinic.draws)
    mean = mean_view(clinic.draws)
    return [
        {
            "unique_id": item,
            "ds": month_name(add_months(inputs.cycle, h)),
            "mean": float(mean[k, h]),
            **{label: float(view[label][k, h]) for label in ("p10", "p50", "p90")},
            "overage": float(clinic.overage[k, h]),
        }
        for k, item in enumerate(clinic.items)
        for h in range(mean.shape[1])
    ]


def asked_on(inputs: Admitted, now: datetime) -> datetime:
    """The day a question is asked: now, or for a cycle that is past its cut-off."""
    return now if now.date() < add_months(inputs.cycle, 1) else inputs.known_by


def clinic_of(inputs: Admitted, settings: Settings, *, conversion: Procedure) -> Clinic:
    """The clinic of a cycle, as its run makes it; ``conversion`` is the procedure that rules."""
    from sopforecast.clinical.clinic import forecast_clinic

    if inputs.clinical.is_empty:
        raise RequestError(
            "nothing is loaded of a study; load studies, sites and enrolment first: "
            "sopforecast load BOOK.xlsx (sopforecast init --variant clinical makes one)"
        )
    return forecast_clinic(
        inputs.clinical,
        horizon=settings.horizon,
        paths=settings.clinical.paths,
        draws=settings.advanced.draws,
        seed=settings.seed,
        method=settings.clinical.sampler,
        conversion=conversion,
        history_items=inputs.history["unique_id"].unique().to_list(),
    )


def report_of(
    clinic: Clinic,
    inputs: Admitted,
    study: str,
    settings: Settings,
    *,
    today: datetime,
    by: str | None = None,
    condition: str | None = None,
) -> StudyReport:
    """What is told of a study, with the thresholds of the settings."""
    from sopforecast.clinical.report import study_report

    limits = settings.clinical
    return study_report(
        clinic, inputs.clinical, study,
        items=inputs.items,
        today=today.date(),
        by=None if by is None else parse_month(by),
        condition=condition,
        green=limits.green, yellow=limits.yellow, service_level=limits.service_level,
    )  # fmt: skip


def changes_of(
    store: Store,
    clinic: Clinic,
    inputs: Admitted,
    study: str,
    settings: Settings,
    *,
    by: date,
) -> Bridge | None:
    """What moved the expected patients since the run of the cycle before; None without one.

    What was read then is taken, and one kind of inputs after the other is swapped for what is
    known now, on the same random numbers.
    """
    from sopforecast.clinical.changes import counted_in, input_facts, summary_of, what_changed

    before = _before(store, inputs, settings)
    if before is None or study not in before.forecasts["study"]:
        return None
    then = summary_of(before.forecasts, study)
    if add_months(by, 1 - len(then.cumulative)) > then.cycle:
        return None  # the horizon of the cycle before did not reach this month
    facts = input_facts(before.inputs, inputs.clinical, study=study, expected=before.forecasts)
    counted = counted_in(then, clinic.future.trials[study])
    steps = [("enrolment", counted), *_swapped(before.inputs, clinic, inputs, study, settings)]
    return what_changed(then, steps, by=by, facts=facts)


def bridge_numbers(bridge: Bridge) -> dict[str, Any]:
    """The bridge as JSON values."""
    return {
        "prior_cycle": month_name(bridge.prior_cycle),
        "by": month_name(bridge.by),
        "start": bridge.start,
        "end": bridge.end,
        "steps": [asdict(step) for step in bridge.steps],
    }


def _study(inputs: Admitted, asked: str | None) -> str:
    known = inputs.clinical.studies["study"].to_list()
    if asked is not None and asked not in known and known:
        raise RequestError(f"--study: found {asked!r}; allowed: {', '.join(known)}")
    if asked is None and len(known) > 1:
        raise RequestError(f"which study? --study takes one of: {', '.join(known)}")
    if not known:
        raise RequestError(
            "no study was known by "
            f"{inputs.known_by:%Y-%m-%d}; load studies, sites and enrolment first"
        )
    return asked or str(known[0])


def _before(store: Store, inputs: Admitted, settings: Settings) -> Before | None:
    """The run of the cycle before that counts, with what it read."""
    cycle = add_months(inputs.cycle, -1)
    run_id = counting_runs(store, known_by=inputs.known_by).get(cycle)
    if run_id is None:
        return None
    forecasts = read_clinical(store, "enrolment_forecasts", run_id)
    if forecasts.is_empty():
        return None
    known_by = min(cutoff(cycle, cutoff_day=settings.cutoff_day), inputs.known_by)
    tables = admitted_inputs(store, known_by=known_by)
    then, _ = read_clinic(store, tables, cycle=cycle, known_by=known_by)
    return Before(then, forecasts)


def _swapped(
    then: ClinicalInputs, clinic: Clinic, inputs: Admitted, study: str, settings: Settings
) -> Sequence[tuple[str, TrialPaths | TrialSummary]]:
    """The study with one more kind of inputs as it is known now, and at last as it is."""
    from sopforecast.clinical.clinic import sample_future
    from sopforecast.clinical.learned import learn

    now = inputs.clinical
    one = replace(then, cycle=now.cycle, enrolment=now.enrolment)
    two = replace(one, sites=now.sites)
    three = replace(two, study_events=now.study_events)
    four = replace(three, tier_lines=now.tier_lines)
    kinds = (
        ("rates", one, False),
        ("sites", two, now.sites.equals(then.sites)),
        ("events", three, now.study_events.equals(then.study_events)),
        ("tiers", four, now.tier_lines.equals(then.tier_lines)),
    )
    steps: list[tuple[str, TrialPaths | TrialSummary]] = []
    last: TrialPaths | None = None
    for name, swapped, is_same in kinds:
        if not is_same:
            learned = learn(
                swapped, seed=settings.seed, method="laplace",
                conversion=clinic.learned.conversion.procedure,
            )  # fmt: skip
            future = sample_future(
                learned, swapped,
                horizon=settings.horizon, paths=settings.clinical.paths, seed=settings.seed,
            )  # fmt: skip
            last = future.trials.get(study)
        if last is not None:
            steps.append((name, last))
    return [*steps, ("rest", clinic.future.trials[study])]
