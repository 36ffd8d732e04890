"""What is dated: events of a study that multiply rates or switch the protocol, and its own dates.

Reads ``study_events`` and ``studies``. An event happens in its share of the paths, on shared paths
with everything else, so any question may be asked given that it happens.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np

from sopforecast.clinical.cohort_events import CohortFactor, cohort_ratios
from sopforecast.clinical.cohorts import RANGE_IN_SDS, sample_shares, share_from, study_cohorts
from sopforecast.clinical.inputs import ClinicalInputs
from sopforecast.clinical.panel import SitePanel
from sopforecast.clinical.words import day_text
from sopforecast.core.clinical_tables import ALL, ANY
from sopforecast.core.draws import series_rng
from sopforecast.core.months import months_between


@dataclass(frozen=True, eq=False)
class Switch:
    """A protocol version that takes over from a day on, in the paths in which it happens.

    ``month`` counts from the cycle (negative: already), ``share`` is the part of that month from
    the day on; ``cohort`` and ``site`` None: all. ``happens`` is bool (S,).
    """

    event_id: str
    study: str
    cohort: str | None
    site: str | None
    month: int
    share: float
    version: str
    applies_to: str
    happens: np.ndarray


@dataclass(frozen=True, eq=False)
class Events:
    """What dated events do, in S paths, G sites (panel order) and H months from the cycle on.

    Attributes
    ----------
    happens : dict of str to ndarray of bool (S,)
        By event_id, events of the past too.
    screening : ndarray of float32 (S, G, H) or None
        Multiplier of the patients who come to a site; None: no such event.
    enrolment : ndarray of float32 (S, G, H) or None
        Multiplier of the patients who enrol. Events on one cohort are in both, by the cohort's
        share of the patients.
    stretch : ndarray of float32 (S, G) or None
        Multiplier of the remaining delay, from the cycle on, of sites not yet open.
    dropout : dict of str to ndarray of float32 (S, H)
        Multiplier of the chance to drop out, by study; studies without such an event are left out.
    switches : tuple of Switch
        By date.
    cohort_factors : tuple of CohortFactor
        What tilts the split of patients over cohorts.
    enrolling : ndarray of float32 (G, H)
        Share of the month in which the study of a site takes patients: 0 when it is closed and
        before its first patient.
    notes : tuple of str
        For a reader.
    """

    happens: dict[str, np.ndarray]
    screening: np.ndarray | None
    enrolment: np.ndarray | None
    stretch: np.ndarray | None
    dropout: dict[str, np.ndarray]
    switches: tuple[Switch, ...]
    cohort_factors: tuple[CohortFactor, ...]
    enrolling: np.ndarray
    notes: tuple[str, ...]


def sample_events(
    inputs: ClinicalInputs, panel: SitePanel, *, paths: int, horizon: int, seed: int
) -> Events:
    """Draw which events happen in which paths, and by how much each multiplies.

    Parameters
    ----------
    inputs : ClinicalInputs
    panel : SitePanel
        Sites in the order of every array.
    paths, horizon : int
        S and H.
    seed : int
        The one given to `allocate.trial_paths` too, so that both see the same cohort shares.

    Notes
    -----
    An event with probability p happens in round(p S) paths, drawn at random. Its multiplier holds
    from its date on (in the month of the date, for the days left); several multiply. An event
    dated before the cycle switches the protocol, but its effect on rates is in the counts already
    and is not applied again. One on activation stretches all of the delay that remains at the
    cycle, whatever its date. Where an event on dropout names a site or a cohort, the study's
    multiplier is moved by that part's share of the patients.
    """
    drawing = _Drawing(inputs, panel, paths, horizon, seed)
    for row in inputs.study_events.sort("date", "event_id").iter_rows(named=True):
        _draw_event(drawing, row)
    for g, acts_on, ratio in cohort_ratios(
        tuple(drawing.cohort_factors), inputs, panel, paths=paths, horizon=horizon, seed=seed
    ):
        drawing.flow(acts_on)[:, g] *= ratio
    return Events(
        happens=drawing.happens,
        screening=drawing.flows.get("screening"),
        enrolment=drawing.flows.get("enrolment"),
        stretch=drawing.flows.get("activation"),
        dropout=drawing.dropout,
        switches=tuple(drawing.switches),
        cohort_factors=tuple(drawing.cohort_factors),
        enrolling=_enrolling(inputs, panel, horizon),
        notes=tuple(drawing.notes),
    )


def sample_multiplier(
    low: float | None, high: float | None, *, paths: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw a multiplier whose 10% and 90% points are low and high; float64 (S,).

    Lognormal; both alike: constant. One blank: the other, both blank: 1. With a low of 0 no
    lognormal has these points: uniform, from ``-high / 8`` to ``high 9 / 8``, floored at 0, which
    has them (a tenth of the paths is exactly 0).
    """
    low = high if low is None else low
    high = low if high is None else high
    if low is None or high is None:
        return np.ones(paths)
    if low == high:
        return np.full(paths, float(low))
    if low <= 0:
        return np.maximum(high * rng.uniform(-0.125, 1.125, paths), 0.0)
    width = np.log(high / low) / RANGE_IN_SDS
    return np.sqrt(low * high) * np.exp(width * rng.standard_normal(paths))


@dataclass(frozen=True, eq=False)
class _Drawing:
    """What `sample_events` has gathered so far; arrays are made when the first event needs one."""

    inputs: ClinicalInputs
    panel: SitePanel
    paths: int
    horizon: int
    seed: int
    happens: dict[str, np.ndarray] = field(default_factory=dict)
    flows: dict[str, np.ndarray] = field(default_factory=dict)
    dropout: dict[str, np.ndarray] = field(default_factory=dict)
    switches: list[Switch] = field(default_factory=list)
    cohort_factors: list[CohortFactor] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def flow(self, name: str) -> np.ndarray:
        if name not in self.flows:
            months = () if name == "activation" else (self.horizon,)
            shape = (self.paths, len(self.panel.sites), *months)
            self.flows[name] = np.ones(shape, dtype=np.float32)
        return self.flows[name]


def _draw_event(drawing: _Drawing, row: dict[str, Any]) -> None:
    event_id, study, acts_on = row["event_id"], row["study"], row["acts_on"]
    rng = series_rng(drawing.seed, "event", event_id)
    count = round(row["probability"] * drawing.paths)
    happens = rng.permutation(drawing.paths) < count
    drawing.happens[event_id] = happens
    cohort, site = _scope(row["cohort"], ALL), _scope(row["site"])
    if acts_on == "schedule":
        _draw_switch(drawing, row, happens, cohort, site)
        return
    if row["date"] < drawing.inputs.cycle:
        drawing.notes.append(
            f"{event_id} ({acts_on} of {study}, {day_text(row['date'])}) is past: its effect is in "
            "the counts already and is not applied again"
        )
        return
    drawn = sample_multiplier(row["low"], row["high"], paths=drawing.paths, rng=rng)
    effect = np.where(happens, drawn, 1.0)
    if acts_on == "activation":
        rows = _site_rows(drawing.panel, study, site)
        drawing.flow("activation")[:, rows] *= effect[:, None].astype(np.float32)
        return
    after = share_from(row["date"], drawing.inputs.cycle, drawing.horizon)
    factor = (1 + after * (effect[:, None] - 1)).astype(np.float32)
    if acts_on == "dropout":
        _draw_dropout(drawing, study, factor, event_id, cohort, site)
    elif cohort is not None:
        drawing.cohort_factors.append(CohortFactor(study, cohort, site, acts_on, factor))
    else:
        for g in _site_rows(drawing.panel, study, site):
            drawing.flow(acts_on)[:, g] *= factor


def _draw_switch(
    drawing: _Drawing,
    row: dict[str, Any],
    happens: np.ndarray,
    cohort: str | None,
    site: str | None,
) -> None:
    day: date = row["date"]
    if row["protocol_version"] is None:
        drawing.notes.append(
            f"{row['event_id']} acts on the schedule but names no protocol version: it changes "
            "nothing"
        )
        return
    month = months_between(drawing.inputs.cycle, day)
    switch = Switch(
        event_id=row["event_id"],
        study=row["study"],
        cohort=cohort,
        site=site,
        month=month,
        share=float(share_from(day, day.replace(day=1), 1)[0]),
        version=row["protocol_version"],
        applies_to=row["applies_to"] or "new",
        happens=happens,
    )
    drawing.switches.append(switch)


def _draw_dropout(
    drawing: _Drawing,
    study: str,
    factor: np.ndarray,
    event_id: str,
    cohort: str | None,
    site: str | None,
) -> None:
    part = np.ones((drawing.paths, 1))
    if site is not None or cohort is not None:
        drawing.notes.append(
            f"{event_id} changes dropout of a part of {study}: the whole study's dropout moves by "
            "that part's share of the patients"
        )
    cohorts = study_cohorts(drawing.inputs, drawing.panel, study, horizon=drawing.horizon)
    if cohort is not None and cohort in cohorts.names:
        shares = sample_shares(
            cohorts, study, drawing.inputs.cycle, paths=drawing.paths, seed=drawing.seed
        )
        part = part * shares[:, [cohorts.names.index(cohort)]]
    if site is not None:
        here = np.array([name == site for owner, name in drawing.panel.sites if owner == study])
        so_far = cohorts.before.sum(axis=1) + 1.0
        part = part * (so_far[here].sum() / so_far.sum())
    known = drawing.dropout.get(study, np.ones(factor.shape, dtype=np.float32))
    drawing.dropout[study] = (known * (1 + part * (factor - 1))).astype(np.float32)


def _enrolling(inputs: ClinicalInputs, panel: SitePanel, horizon: int) -> np.ndarray:
    shares = np.ones((len(panel.studies), horizon), dtype=np.float32)
    rows = inputs.studies.select("study", "first_patient_date", "status").iter_rows()
    for study, first, status in rows:
        if study not in panel.studies:
            continue
        closed = status == "closed"
        share = 0.0 if closed else share_from(first, inputs.cycle, horizon)
        shares[panel.studies.index(study)] = share
    return shares[panel.study_of]


def _scope(name: str | None, *also_any: str) -> str | None:
    return None if name is None or name in (ANY, *also_any) else name


def _site_rows(panel: SitePanel, study: str, site: str | None) -> list[int]:
    return [
        row
        for row, (owner, name) in enumerate(panel.sites)
        if owner == study and site in (None, name)
    ]
