"""From patients to item demand by month: what the clinic asks of supply.

Reads ``schedule`` and the sampled trials. Demand of an item in a month is the quantity of its row
times the patients enrolled (and still there), patients screened or sites activated
``month_offset`` months earlier; rows add up (`versions.rows_of_cell` says which hold). Screening
kits are used by screen failures too. Overage is kept apart: it is shipped, never demand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl

from sopforecast.clinical.active import (
    PatientMonths,
    expected_active,
    last_offsets,
    patient_months,
)
from sopforecast.clinical.doses import doses
from sopforecast.clinical.dropout import Dropout
from sopforecast.clinical.inputs import ClinicalInputs
from sopforecast.clinical.paths import TrialPaths
from sopforecast.clinical.schedule_notes import of_study, of_unknown_studies
from sopforecast.clinical.triggers import (
    StudyView,
    Trigger,
    study_cohorts,
    study_countries,
    study_triggers,
)
from sopforecast.clinical.versions import (
    Change,
    Row,
    Switch,
    first_version,
    rows_of_cell,
    study_changes,
)
from sopforecast.core.clinical_tables import ALL, ANY
from sopforecast.core.draws import demand_step, series_rng

_FINE = 2.0**-24
"""Quantities are multiples of this part of a step: their sums are exact in any order."""


@dataclass(frozen=True, eq=False)
class ItemDemand:
    """What the clinic needs of b items in H months from the cycle on, in the items' units.

    Attributes
    ----------
    items : tuple of str, length b
        Sorted: all items of the schedule of known studies.
    draws : ndarray of float64 (S, b, H)
        On the trials' paths, multiples of ``steps``.
    naive : ndarray of float64 (b, H)
        The last three reported months held flat: what value is measured against.
    overage : ndarray of float64 (b, H)
        Mean shipped on top of the draws.
    steps : ndarray of float64 (b,)
        Powers of two; see `core.draws.demand_step`.
    unused : tuple of str
        Schedule rows that ask for nothing, and why; patients that are not counted.
    """

    items: tuple[str, ...]
    draws: np.ndarray
    naive: np.ndarray
    overage: np.ndarray
    steps: np.ndarray
    unused: tuple[str, ...]


def item_demand(
    trials: Mapping[str, TrialPaths],
    inputs: ClinicalInputs,
    dropout: Dropout,
    switches: Sequence[Switch] = (),
    dropout_events: Mapping[str, np.ndarray] | None = None,
    *,
    draws: int,
    horizon: int,
    seed: int,
) -> ItemDemand:
    """Turn patients into item demand by month.

    Parameters
    ----------
    trials : mapping of str to TrialPaths
        By study; a study that is not in it has its active patients only.
    inputs : ClinicalInputs
    dropout : Dropout
        Path s takes the hazard of draw s mod R.
    switches : sequence of Switch
        Changes of protocol version.
    dropout_events : mapping of str to ndarray (S, H), optional
        Multipliers of a study's dropout hazard by path and month; a study left out has none.
    draws : int
        The first so many paths of the trials are used.
    horizon : int
        H, at most that of the trials.
    seed : int
        The run's seed.

    Notes
    -----
    A patient stays from one mid-month to the next with probability exp(-h (m + m') / 2), with
    hazard h and multipliers m, m' of the two months. The naive view holds the mean of the last
    three reported months of every country and cohort flat, nobody drops out from now on, no site
    opens, and only switches before the cycle count.
    """
    rows = _rows(inputs)
    items = tuple(sorted({row.item for own in rows.values() for row in own}))
    steps = np.array([demand_step(_asked(rows, item)) for item in items])
    paths = min([draws, *(len(trial.enrolled) for trial in trials.values())])
    total = np.zeros((paths, len(items), horizon))
    naive, overage = np.zeros(total.shape[1:]), np.zeros(total.shape[1:])
    notes = [*of_unknown_studies(inputs)]
    months = patient_months(inputs)
    for study, own in sorted(rows.items()):
        view = _view(study, own, trials.get(study), inputs, months, dropout, switches,
                     paths=paths, horizon=horizon, seed=seed)  # fmt: skip
        names = tuple(sorted({row.item for row in own}))
        at = np.array([items.index(name) for name in names])
        keep = _keep(view.hazard, (dropout_events or {}).get(study), horizon)
        extra = [index for index, name in enumerate(names) if _has_overage(own, name)]
        for trigger in study_triggers(view, inputs):
            found, usual = _follow(trigger, view, names, steps[at], keep)
            total[:, at] += found[:, : len(at)]
            overage[at[extra]] += found[:, len(at) :].sum(axis=0) / paths
            naive[at] += usual
        notes += of_study(view, inputs)
    draws_of = np.rint(total / steps[:, None]) * steps[:, None]
    return ItemDemand(items, draws_of, naive, overage, steps, tuple(notes))


def _rows(inputs: ClinicalInputs) -> dict[str, tuple[Row, ...]]:
    known = inputs.schedule.filter(pl.col("study").is_in(inputs.studies["study"].to_list()))
    found: dict[str, list[Row]] = {}
    for row in known.iter_rows(named=True):
        quantity, percent = float(row["quantity"]), float(row["overage_percent"] or 0.0)
        found.setdefault(row["study"], []).append(
            Row(
                cohort=ANY if row["cohort"] == ALL else row["cohort"],
                country=row["country"],
                version=row["protocol_version"],
                per=row["per"],
                offset=row["month_offset"],
                item=row["unique_id"],
                quantity=quantity,
                overage=quantity * percent / 100,
            )
        )
    return {study: tuple(own) for study, own in found.items()}


def _asked(rows: Mapping[str, Sequence[Row]], item: str) -> np.ndarray:
    return np.array([row.quantity for own in rows.values() for row in own if row.item == item])


def _has_overage(rows: Sequence[Row], item: str) -> bool:
    return any(row.item == item and row.overage > 0 for row in rows)


def _view(
    study: str,
    rows: tuple[Row, ...],
    trial: TrialPaths | None,
    inputs: ClinicalInputs,
    months: PatientMonths,
    dropout: Dropout,
    switches: Sequence[Switch],
    *,
    paths: int,
    horizon: int,
    seed: int,
) -> StudyView:
    if trial is not None and trial.enrolled.shape[-1] < horizon:
        raise ValueError(f"horizon: {horizon} months; the paths have {trial.enrolled.shape[-1]}")
    changes = tuple(
        Change(c.at, c.version, c.is_new, c.cohort, c.site, c.happens[:paths])
        for c in study_changes(switches, study, cycle=inputs.cycle)
    )
    stay = last_offsets(inputs).get(study) or np.inf
    stays = np.full(len(months.keys), stay)
    status = dict(inputs.studies.select("study", "status").iter_rows())[study]
    return StudyView(
        study=study,
        trial=trial,
        is_closed=status == "closed",
        cohorts=study_cohorts(trial, inputs, study),
        country_of=study_countries(trial, inputs, study),
        rows=rows,
        changes=changes,
        months=months,
        expected=expected_active(months, stay=stays, hazard=0.0)[0],
        hazard=dropout.of(study, paths),
        stay=stay,
        horizon=horizon,
        seed=seed,
    )


def _keep(hazard: np.ndarray, multipliers: np.ndarray | None, horizon: int) -> np.ndarray:
    """Chance to stay to the middle of each month (S, H): from that of the one before, or now."""
    shape = (len(hazard), horizon)
    by_month = np.ones(shape) if multipliers is None else multipliers[: shape[0], :horizon]
    between = by_month.astype(np.float64) / 2
    between[:, 1:] += by_month[:, :-1] / 2
    return np.exp(-hazard[:, None] * between)


def _follow(
    trigger: Trigger, view: StudyView, names: tuple[str, ...], steps: np.ndarray, keep: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Demand, then overage of a cell (S, b + o, H), and what the naive view asks for (b, H)."""
    first = first_version((row.version for row in view.rows), view.changes)
    named = dict.fromkeys([first, *(change.version for change in view.changes)])
    place: dict[str | None, int] = {version: index for index, version in enumerate(named)}
    asked = _quantities(trigger, view.rows, tuple(named), names, steps)
    so_far = tuple(
        Change(c.at, c.version, c.is_new, None, None, c.happens.mean(keepdims=True) >= 0.5)
        for c in trigger.changes
        if c.at[0] < 0
    )
    found = doses(
        trigger.past,
        trigger.future,
        keep=keep if trigger.leaves else None,
        quantities=asked,
        changes=trigger.changes,
        place=place,
        first=first,
        rng_of=partial(series_rng, view.seed, "schedule", *trigger.name),
    )
    usual = doses(
        trigger.usual_past[None],
        trigger.usual_future[None],
        keep=None,
        quantities=asked[:, : len(names)],
        changes=so_far,
        place=place,
        first=first,
        rng_of=None,
    )
    return found, usual[0]


def _quantities(
    trigger: Trigger,
    rows: Sequence[Row],
    versions: Sequence[str | None],
    names: tuple[str, ...],
    steps: np.ndarray,
) -> np.ndarray:
    """Quantities of each item by version and offset, then overage of items with any.

    Shape (V, b + o, L + 1).
    """
    last = max(row.offset for row in trigger.rows)
    asked = np.zeros((len(versions), 2 * len(names), last + 1))
    for index, version in enumerate(versions):
        chosen = rows_of_cell(
            trigger.rows, country=trigger.country, cohort=trigger.cohort, version=version
        )
        for row in chosen:
            item = names.index(row.item)
            asked[index, item, row.offset] += row.quantity
            asked[index, len(names) + item, row.offset] += row.overage
    kept = [*[True] * len(names), *(_has_overage(rows, name) for name in names)]
    fine = np.tile(steps * _FINE, 2)[:, None]
    return (np.rint(asked / fine) * fine)[:, kept]
