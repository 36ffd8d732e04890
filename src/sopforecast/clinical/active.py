"""Who is in treatment when the cycle begins, by the month they enrolled in.

Reads ``enrolment``. Patients leave by dropping out and by completing. Where a site reports its
dropouts the number still active is exact, and only from which months they are is drawn; where it
does not, they leave by the study's hazard. Whoever drops out is any of the active ones with the
same chance; whoever completes is the one longest in the study.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from sopforecast.clinical.inputs import ClinicalInputs, last_month
from sopforecast.core.months import month_range, months_between

COUNTS = ("screened", "enrolled", "dropped_out", "completed")


@dataclass(frozen=True, eq=False)
class PatientMonths:
    """What N sites and cohorts reported in T months, the last of them the month before the cycle.

    Attributes
    ----------
    keys : tuple of (study, site, cohort), length N
        Sorted.
    months : tuple of date, length T
    screened, enrolled, dropped_out, completed : ndarray (N, T)
        NaN: not reported. Where a site and cohort report a count in every row they have, a month
        without a row up to the site's last report counts as none of it.
    has_dropouts, has_completions : ndarray of bool (N,)
        Whether dropouts are reported in every row; whether completions are in any.
    """

    keys: tuple[tuple[str, str, str], ...]
    months: tuple[date, ...]
    screened: np.ndarray
    enrolled: np.ndarray
    dropped_out: np.ndarray
    completed: np.ndarray
    has_dropouts: np.ndarray
    has_completions: np.ndarray


def patient_months(inputs: ClinicalInputs) -> PatientMonths:
    """Lay the enrolment table out as arrays."""
    table = inputs.enrolment.sort("study", "site", "cohort", "ds")
    keys = tuple(table.select("study", "site", "cohort").unique(maintain_order=True).iter_rows())
    if not keys:
        nothing = np.zeros((0, 0))
        no_keys = np.zeros(0, dtype=bool)
        return PatientMonths((), (), nothing, nothing, nothing, nothing, no_keys, no_keys)
    first = table["ds"].min()
    assert isinstance(first, date)  # noqa: S101 (a column of dates with rows)
    months = month_range(first, months_between(first, last_month(inputs)) + 1)
    place = {key: index for index, key in enumerate(keys)}
    row_of = np.array([place[key] for key in table.select("study", "site", "cohort").iter_rows()])
    column_of = np.array([months_between(first, ds) for ds in table["ds"].to_list()])
    has_row = np.zeros((len(keys), len(months)), dtype=bool)
    has_row[row_of, column_of] = True
    quiet = ~has_row & _up_to_last_report(keys, has_row)
    counts, always, ever = {}, {}, {}
    for name in COUNTS:
        values = np.full(has_row.shape, np.nan)
        values[row_of, column_of] = table[name].cast(pl.Float64).fill_null(np.nan).to_numpy()
        known = np.isfinite(values)
        always[name] = (known == has_row).all(axis=1)
        ever[name] = known.any(axis=1)
        values[quiet & always[name][:, None]] = 0.0
        counts[name] = values
    return PatientMonths(
        keys=keys,
        months=tuple(months),
        **counts,
        has_dropouts=always["dropped_out"],
        has_completions=ever["completed"],
    )


def last_offsets(inputs: ClinicalInputs) -> dict[str, int]:
    """Give for each study the months from enrolment to the last dose of its schedule."""
    table = inputs.schedule.filter(pl.col("per") == "enrolled").group_by("study")
    return dict(table.agg(pl.col("month_offset").max()).iter_rows())


def expected_active(
    months: PatientMonths, *, stay: np.ndarray, hazard: float
) -> tuple[np.ndarray, np.ndarray]:
    """Follow the expected patients of every site and cohort month by month.

    Parameters
    ----------
    months : PatientMonths
    stay : ndarray (N,)
        Months after enrolment in which a patient leaves where completions are never reported;
        ``inf``: stays.
    hazard : float
        A month, for months in which dropouts are not reported.

    Returns
    -------
    active : ndarray (N, T)
        Active at the end of the last month, by month of enrolment.
    at_risk : ndarray (N, T)
        Patient-months at risk of each month: the mean of the patients at its start and at its end.
    """
    enrolled = np.nan_to_num(months.enrolled)
    active = np.zeros(enrolled.shape)
    at_risk = np.zeros(enrolled.shape)
    for t in range(enrolled.shape[1]):
        start = active.sum(axis=1)
        active[:, t] = enrolled[:, t]
        total = start + enrolled[:, t]
        dropped = months.dropped_out[:, t]
        share = np.minimum(dropped / np.maximum(total, 1e-300), 1.0)
        unknown = np.isnan(dropped)
        active[:, : t + 1] *= np.where(unknown, np.exp(-hazard), 1 - share)[:, None]
        active[unknown, t] *= np.exp(hazard / 2)  # half a month at risk
        leaving = np.nan_to_num(months.completed[:, t])
        if leaving.any():
            left = np.maximum(np.cumsum(active[:, : t + 1], axis=1) - leaving[:, None], 0.0)
            active[:, : t + 1] = np.diff(left, axis=1, prepend=0.0)
        gone = ~months.has_completions[:, None] & (t - np.arange(t + 1) > stay[:, None])
        active[:, : t + 1][gone] = 0.0
        at_risk[:, t] = (start + active.sum(axis=1)) / 2
    return active, at_risk


def sample_active(
    months: PatientMonths,
    rows: np.ndarray,
    *,
    stay: float,
    hazard: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Draw who of some sites' patients is active at the end of the last month.

    Parameters
    ----------
    months : PatientMonths
    rows : ndarray of int
        Sites and cohorts taken together: all report dropouts always or none does, and likewise
        completions.
    stay : float
        As for `expected_active`.
    hazard : ndarray (S,)
        A month, for months in which dropouts are not reported.

    Returns
    -------
    ndarray of int64 (S, T)
        By month of enrolment.
    """
    enrolled = np.rint(np.nan_to_num(months.enrolled[rows])).astype(np.int64).sum(axis=0)
    dropped = np.rint(np.nan_to_num(months.dropped_out[rows]).sum(axis=0)).astype(np.int64)
    completed = np.rint(np.nan_to_num(months.completed[rows]).sum(axis=0)).astype(np.int64)
    silent = _silent_share(months, rows)
    leaves = not months.has_completions[rows].any()
    active = np.zeros((len(hazard), len(enrolled)), dtype=np.int64)
    waiting = np.zeros(len(enrolled))  # months at the hazard that are not drawn yet
    for t in range(len(enrolled)):
        active[:, t] = enrolled[t]
        if dropped[t] or completed[t]:
            _leave_by_hazard(active, waiting, hazard, rng)
            _drop(active[:, : t + 1], int(dropped[t]), rng)
            left = np.maximum(np.cumsum(active[:, : t + 1], axis=1) - completed[t], 0)
            active[:, : t + 1] = np.diff(left, axis=1, prepend=0)
        waiting[:t] += silent[t]
        waiting[t] = silent[t] / 2
        if leaves and t > stay:
            active[:, : t - int(stay)] = 0
    _leave_by_hazard(active, waiting, hazard, rng)
    return active


def _up_to_last_report(keys: tuple[tuple[str, str, str], ...], has_row: np.ndarray) -> np.ndarray:
    """Mark the months between a site and cohort's first row and the site's last (N, T)."""
    sites = [key[:2] for key in keys]
    last: dict[tuple[str, ...], int] = {}
    for site, row in zip(sites, has_row, strict=True):
        last[site] = max(last.get(site, -1), int(np.flatnonzero(row)[-1]))
    column = np.arange(has_row.shape[1])
    ends = np.array([last[site] for site in sites])
    return (column >= has_row.argmax(axis=1)[:, None]) & (column <= ends[:, None])


def _silent_share(months: PatientMonths, rows: np.ndarray) -> np.ndarray:
    """Share of the patients that are at sites not reporting dropouts in each month (T,)."""
    if months.has_dropouts[rows].all():
        return np.zeros(months.enrolled.shape[1])
    so_far = np.cumsum(np.nan_to_num(months.enrolled[rows]), axis=1)
    silent = (so_far * np.isnan(months.dropped_out[rows])).sum(axis=0)
    return silent / np.maximum(so_far.sum(axis=0), 1.0)


def _leave_by_hazard(
    active: np.ndarray, waiting: np.ndarray, hazard: np.ndarray, rng: np.random.Generator
) -> None:
    """Draw what is left after the waiting months at the hazard, in place."""
    if waiting.any():
        active[:] = rng.binomial(active, np.exp(-hazard[:, None] * waiting))
        waiting[:] = 0.0


def _drop(active: np.ndarray, count: int, rng: np.random.Generator) -> None:
    """Take ``count`` patients out of every path (S, U), any of them with the same chance."""
    if count <= active.shape[1]:
        paths = np.arange(len(active))
        for _ in range(count):
            upto = np.cumsum(active, axis=1)
            chosen = np.floor(rng.random(len(active)) * upto[:, -1])
            column = np.minimum((upto <= chosen[:, None]).sum(axis=1), active.shape[1] - 1)
            active[paths, column] -= upto[:, -1] > 0
        return
    rest = active.sum(axis=1)
    to_go = np.minimum(rest, count)
    for column in range(active.shape[1]):
        here = active[:, column].copy()
        taken = rng.hypergeometric(here, rest - here, to_go)
        active[:, column] -= taken
        rest -= here
        to_go -= taken
