"""What sites tell of activation: opened, overdue, given up or still to come, with their slips.

Reads ``studies``, ``sites`` and ``enrolment``. A slip is ``activated_date`` minus
``planned_activation_date`` in days.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl

from sopforecast.clinical.inputs import ClinicalInputs

NAMED = 5
OPENED, WAITING, GIVEN_UP, UNPLANNED = "opened", "waiting", "given_up", "unplanned"


@dataclass(frozen=True, eq=False)
class ActivationRecord:
    """Sites of the workspace as activation sees them, sorted by study and site.

    Attributes
    ----------
    sites : tuple of (study, site), length N
    state : ndarray of str (N,)
        ``opened``; ``waiting`` (planned, not open); ``given_up`` (closed, or its study is, before
        it opened); ``unplanned`` (neither open nor planned).
    planned : ndarray (N,)
        Day of the planned date as an ordinal; NaN: none. A waiting site without one has its
        study's first-patient date when the site's status is ``planned`` and that day is ahead.
    opened : ndarray (N,)
        Day it opened, up to the cut-off, as an ordinal; NaN: not known, or not open.
    slip : ndarray (N,)
        Days; NaN where either day is not known.
    elapsed : ndarray (N,)
        Days from the planned date to the last day before the cycle, negative when ahead.
    probability : ndarray (N,)
        Given chance that it opens at all; NaN: none.
    low, high : ndarray (N,)
        Given 80% range of the slip; NaN: none. One side alone is no range.
    groups : dict of str to tuple (names, ndarray of int (N,))
        By ``study`` and ``country``.
    last_day : int
        Ordinal of the last day before the cycle.
    taken_from_study : tuple of (study, site)
        Sites whose planned date is their study's first-patient date.
    """

    sites: tuple[tuple[str, str], ...]
    state: np.ndarray
    planned: np.ndarray
    opened: np.ndarray
    slip: np.ndarray
    elapsed: np.ndarray
    probability: np.ndarray
    low: np.ndarray
    high: np.ndarray
    groups: dict[str, tuple[tuple[str, ...], np.ndarray]]
    last_day: int
    taken_from_study: tuple[tuple[str, str], ...]

    def is_state(self, state: str) -> np.ndarray:
        """Sites in a state (N,)."""
        match: np.ndarray = self.state == state
        return match

    @property
    def has_range(self) -> np.ndarray:
        """Sites with an 80% range of their slip (N,)."""
        return ~np.isnan(self.low) & ~np.isnan(self.high)


def activation_record(inputs: ClinicalInputs) -> ActivationRecord:
    """Read the sites of a cycle.

    A site with patients is open, whether or not its activation is dated; without a date its slip
    is not known.
    """
    last_day = inputs.cycle - timedelta(days=1)
    rows = _rows(inputs)
    is_open = rows["activated_date"].is_not_null() | rows["has_patients"]
    is_off = rows["closed_date"].is_not_null() | (rows["status"] == "closed").fill_null(False)
    is_off |= (rows["study_status"] == "closed").fill_null(False)
    stands_in = (
        rows["planned_activation_date"].is_null()
        & (rows["status"] == "planned").fill_null(False)
        & (rows["first_patient_date"] > last_day).fill_null(False)
        & ~is_open
        & ~is_off
    )
    planned = _ordinals(
        pl.select(
            pl.when(stands_in)
            .then(rows["first_patient_date"])
            .otherwise(rows["planned_activation_date"])
        ).to_series()
    )
    state = np.select(
        [is_open.to_numpy(), is_off.to_numpy(), np.isnan(planned)],
        [OPENED, GIVEN_UP, UNPLANNED],
        default=WAITING,
    )
    keys = tuple(zip(rows["study"], rows["site"], strict=True))
    low, high = (_floats(rows[f"slip_days_{side}"]) for side in ("low", "high"))
    whole = ~np.isnan(low) & ~np.isnan(high)
    return ActivationRecord(
        sites=keys,
        state=state,
        planned=planned,
        opened=_ordinals(rows["activated_date"]),
        slip=_ordinals(rows["activated_date"]) - planned,
        elapsed=last_day.toordinal() - planned,
        probability=_floats(rows["activation_probability"]),
        low=np.where(whole, low, np.nan),
        high=np.where(whole, high, np.nan),
        groups={name: _group(rows[name]) for name in ("study", "country")},
        last_day=last_day.toordinal(),
        taken_from_study=tuple(key for key, is_so in zip(keys, stands_in, strict=True) if is_so),
    )


def record_notes(record: ActivationRecord) -> tuple[str, ...]:
    """Say which sites have no planned date, and what is made of that."""
    unplanned = [
        key for key, one in zip(record.sites, record.state, strict=True) if one == UNPLANNED
    ]
    notes = [
        f"{study}: no planned activation date for {_listed(sites)}; "
        "the study's first patient date stands in"
        for study, sites in _by_study(record.taken_from_study)
    ]
    notes += [
        f"{study}: {_listed(sites)} {'is' if len(sites) == 1 else 'are'} neither open nor planned "
        "to be, so never in the forecast; give a planned activation date"
        for study, sites in _by_study(unplanned)
    ]
    return tuple(notes)


def _by_study(keys: Sequence[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    names = sorted({study for study, _ in keys})
    return [(name, [site for study, site in keys if study == name]) for name in names]


def _listed(sites: list[str]) -> str:
    """Some names, then how many more."""
    if len(sites) > NAMED:
        return f"{', '.join(sites[: NAMED - 1])} and {len(sites) - NAMED + 1} other sites"
    return sites[0] if len(sites) == 1 else f"{', '.join(sites[:-1])} and {sites[-1]}"


def _rows(inputs: ClinicalInputs) -> pl.DataFrame:
    patients = inputs.enrolment.filter(
        (pl.col("enrolled").fill_null(0) > 0) | (pl.col("screened").fill_null(0) > 0)
    )
    seen = patients.select("study", "site", has_patients=pl.lit(True)).unique()
    studies = inputs.studies.select("study", "first_patient_date", study_status="status")
    return (
        inputs.sites.join(seen, on=["study", "site"], how="left")
        .join(studies, on="study", how="left")
        .with_columns(
            pl.col("has_patients").fill_null(False),
            pl.col("country").fill_null("*"),
            pl.col("status", "study_status").cast(pl.String),
        )
        .sort("study", "site")
    )


def _ordinals(days: pl.Series) -> np.ndarray:
    return np.array([_ordinal(day) for day in days], dtype=np.float64)


def _ordinal(day: date | None) -> float:
    return float("nan") if day is None else float(day.toordinal())


def _floats(values: pl.Series) -> np.ndarray:
    return values.cast(pl.Float64).fill_null(float("nan")).to_numpy()


def _group(names: pl.Series) -> tuple[tuple[str, ...], np.ndarray]:
    distinct = tuple(sorted(set(names)))
    where = {name: index for index, name in enumerate(distinct)}
    return distinct, np.array([where[name] for name in names], dtype=np.int64)
