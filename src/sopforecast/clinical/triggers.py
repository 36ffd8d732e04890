"""What sets off demand in a study: patients enrolled and screened, sites activated, cell by cell.

Reads a study's `TrialPaths`, ``sites`` and ``enrolment``. A cell is a country and cohort whose
sites are under the same switches. A closed study has its active patients only. Patients of cohorts
not told apart, and those screened whose cohort is needed, are parted by the enrolled's shares.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from sopforecast.clinical.active import PatientMonths, sample_active
from sopforecast.clinical.doses import split
from sopforecast.clinical.inputs import ClinicalInputs
from sopforecast.clinical.paths import TrialPaths
from sopforecast.clinical.versions import Change, Row
from sopforecast.core.clinical_tables import ALL, ANY
from sopforecast.core.draws import series_rng
from sopforecast.core.months import months_between

USUAL_MONTHS = 3
"""Last reported months whose mean is held flat in the naive view."""


@dataclass(frozen=True, eq=False)
class Trigger:
    """One cell of one kind; ``usual`` is what the naive view follows.

    Attributes
    ----------
    name : tuple of str
        Kind, country, cohort, sites with switches of their own: for random numbers.
    country, cohort : str
    rows : tuple of Row
        Schedule rows of the kind that may hold here.
    changes : tuple of Change
        Switches that concern the cell.
    leaves : bool
        Whether these are patients in treatment, who may drop out.
    past, future : ndarray of int64 (S, T), (S, H)
        Still there by month of enrolment before the cycle; those to come.
    usual_past, usual_future : ndarray of float64 (T,), (H,)
    """

    name: tuple[str, ...]
    country: str
    cohort: str
    rows: tuple[Row, ...]
    changes: tuple[Change, ...]
    leaves: bool
    past: np.ndarray
    future: np.ndarray
    usual_past: np.ndarray
    usual_future: np.ndarray


@dataclass(frozen=True, eq=False)
class StudyView:
    """A study as the schedule sees it.

    ``expected`` is the expected active patients (N, T) in which nobody drops out unreported,
    ``hazard`` the dropout of each path (S,), ``stay`` as in `active.expected_active`.
    """

    study: str
    trial: TrialPaths | None
    is_closed: bool
    cohorts: tuple[str, ...]
    country_of: dict[str, str]
    rows: tuple[Row, ...]
    changes: tuple[Change, ...]
    months: PatientMonths
    expected: np.ndarray
    hazard: np.ndarray
    stay: float
    horizon: int
    seed: int


def study_cohorts(trial: TrialPaths | None, inputs: ClinicalInputs, study: str) -> tuple[str, ...]:
    """Name the cohorts of a study; ``all`` where there are none."""
    if trial is not None:
        return trial.cohorts
    own = inputs.cohorts.filter(pl.col("study") == study)["cohort"].to_list()
    return tuple(own) or (ALL,)


def study_countries(trial: TrialPaths | None, inputs: ClinicalInputs, study: str) -> dict[str, str]:
    """Give the country of each site of a study that is listed or has patients; ``*``: none."""
    seen = inputs.enrolment.filter(pl.col("study") == study)["site"].unique().sort().to_list()
    found = dict.fromkeys(seen, ANY)
    listed = inputs.sites.filter(pl.col("study") == study).select("site", "country").iter_rows()
    found |= {site: country or ANY for site, country in listed}
    if trial is not None:
        found |= dict(zip(trial.sites, trial.countries, strict=True))
    return found


def study_triggers(view: StudyView, inputs: ClinicalInputs) -> Iterator[Trigger]:
    """Go through the cells of a study, kind by kind; a kind without rows is left out."""
    for country, own, sites in _groups(view):
        tag = (country, " ".join(own))
        if any(row.per == "enrolled" for row in view.rows):
            yield from _enrolled(view, tag, sites)
        if any(row.per == "screened" for row in view.rows):
            yield from _screened(view, tag, sites)
        if any(row.per == "site_activated" for row in view.rows):
            yield from _activated(view, tag, sites, inputs)


def _groups(view: StudyView) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    """Country, sites if they have switches of their own, sites: in order."""
    own = {change.site for change in view.changes if change.site is not None}
    groups: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for site, country in sorted(view.country_of.items()):
        groups.setdefault((country, (site,) if site in own else ()), []).append(site)
    return [(country, tag, tuple(sites)) for (country, tag), sites in sorted(groups.items())]


def _trigger(
    view: StudyView,
    per: str,
    tag: tuple[str, ...],
    sites: tuple[str, ...],
    cohort: str,
    counts: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
) -> Trigger:
    past, future, usual_past, usual_future = counts
    return Trigger(
        name=(view.study, per, *tag, cohort),
        country=tag[0],
        cohort=cohort,
        rows=tuple(row for row in view.rows if row.per == per),
        changes=tuple(c for c in view.changes if c.is_of(site=sites[0], cohort=cohort)),
        leaves=per == "enrolled",
        past=past,
        future=future,
        usual_past=usual_past,
        usual_future=usual_future,
    )


def _enrolled(view: StudyView, tag: tuple[str, ...], sites: tuple[str, ...]) -> Iterator[Trigger]:
    paths, cohorts = len(view.hazard), view.cohorts
    total = len(view.months.months)
    past = np.zeros((paths, total, len(cohorts)), dtype=np.int64)
    usual_past = np.zeros((total, len(cohorts)))
    usual_rate = np.zeros(len(cohorts))
    here = _rows_of(view, sites)
    for label, *kind in sorted({_kind(view, row) for row in here}):
        rows = np.array([row for row in here if _kind(view, row) == (label, *kind)])
        rng = series_rng(view.seed, "active", view.study, *tag, label, str(kind))
        drawn = sample_active(view.months, rows, stay=view.stay, hazard=view.hazard, rng=rng)
        shares = np.array([float(label == cohort) for cohort in cohorts])
        shares = shares if shares.any() else _shares_before(view)
        past += split(drawn, shares, rng)
        usual_past += split(view.expected[rows].sum(axis=0), shares, None)
        usual_rate += _usual(view, view.months.enrolled, rows) * shares
    future = _enrolled_ahead(view, sites)
    for c, cohort in enumerate(cohorts):
        flat = np.full(view.horizon, usual_rate[c])
        counts = (past[:, :, c], future[:, c], usual_past[:, c], flat)
        yield _trigger(view, "enrolled", tag, sites, cohort, counts)


def _screened(view: StudyView, tag: tuple[str, ...], sites: tuple[str, ...]) -> Iterator[Trigger]:
    """Screened patients, by cohort where that matters; where not reported, those enrolled."""
    months, rows = view.months, _rows_of(view, sites)
    seen = np.where(np.isfinite(months.screened), months.screened, months.enrolled)
    once = np.rint(np.nan_to_num(seen[rows])).sum(axis=0)
    once = np.zeros_like(once) if view.is_closed else once
    past = np.broadcast_to(once.astype(np.int64), (len(view.hazard), len(once)))
    future = np.zeros((len(view.hazard), view.horizon), dtype=np.int64)
    if view.trial is not None and not view.is_closed:
        chosen = _places(view.trial, sites)
        future = view.trial.screened[: len(future), chosen, : view.horizon].sum(1, dtype=np.int64)
    flat = np.full(view.horizon, _usual(view, seen, rows))
    if not _needs_cohorts(view):
        cohort = view.cohorts[0] if len(view.cohorts) == 1 else ANY
        yield _trigger(view, "screened", tag, sites, cohort, (past, future, once, flat))
        return
    rng = series_rng(view.seed, "screened by cohort", view.study, *tag)
    before, ahead = _shares_before(view), _shares_ahead(view)
    past, future = split(past, before, rng), split(future, ahead, rng)
    usual, rate = split(once, before, None), split(flat, before, None)
    for c, cohort in enumerate(view.cohorts):
        counts = (past[:, :, c], future[:, :, c], usual[:, c], rate[:, c])
        yield _trigger(view, "screened", tag, sites, cohort, counts)


def _activated(
    view: StudyView, tag: tuple[str, ...], sites: tuple[str, ...], inputs: ClinicalInputs
) -> Iterator[Trigger]:
    """Sites by month of opening. A row's cohort says which switches hold, nothing of quantity."""
    reach = max(row.offset for row in view.rows if row.per == "site_activated")
    past = np.zeros(reach, dtype=np.int64)
    future = np.zeros((len(view.hazard), view.horizon), dtype=np.int64)
    if view.trial is not None and not view.is_closed:
        target = dict(inputs.studies.select("study", "target_enrolment").iter_rows())[view.study]
        opened = view.trial.openings(_places(view.trial, sites), target)
        future = opened[: len(future), : view.horizon]
        past = _opened_before(view, sites, inputs, reach)
    paths_past = np.broadcast_to(past, (len(future), len(past)))
    counts = (paths_past, future, past.astype(np.float64), np.zeros(view.horizon))
    for cohort in sorted({row.cohort for row in view.rows if row.per == "site_activated"}):
        found = _trigger(view, "site_activated", tag, sites, cohort, counts)
        own = tuple(row for row in found.rows if row.cohort == cohort)
        yield replace(found, rows=own)


def _kind(view: StudyView, row: int) -> tuple[str, bool, bool]:
    months = view.months
    told = bool(months.has_dropouts[row]), bool(months.has_completions[row])
    return months.keys[row][2], *told


def _rows_of(view: StudyView, sites: Sequence[str]) -> np.ndarray:
    keys = view.months.keys
    mine = [i for i, key in enumerate(keys) if key[0] == view.study and key[1] in sites]
    return np.array(mine, dtype=np.int64)


def _places(trial: TrialPaths, sites: Sequence[str]) -> list[int]:
    return [g for g, site in enumerate(trial.sites) if site in sites]


def _enrolled_ahead(view: StudyView, sites: Sequence[str]) -> np.ndarray:
    """Enrolled at these sites (S, C, H)."""
    paths = len(view.hazard)
    if view.trial is None or view.is_closed:
        return np.zeros((paths, len(view.cohorts), view.horizon), dtype=np.int64)
    chosen = _places(view.trial, sites)
    return view.trial.enrolled[:paths, chosen, :, : view.horizon].sum(axis=1, dtype=np.int64)


def _usual(view: StudyView, counts: np.ndarray, rows: np.ndarray) -> float:
    """Mean a month of some sites and cohorts over the study's last reported months."""
    if view.is_closed or not len(rows):
        return 0.0
    of_study = _rows_of(view, tuple(view.country_of))
    window = np.flatnonzero(np.isfinite(counts[of_study]).any(axis=0))[-USUAL_MONTHS:]
    reported = np.isfinite(counts[np.ix_(rows, window)])
    months = int(reported.any(axis=0).sum())
    return float(np.nansum(counts[np.ix_(rows, window)])) / months if months else 0.0


def _needs_cohorts(view: StudyView) -> bool:
    rows = any(row.per == "screened" and row.cohort != ANY for row in view.rows)
    switches = any(change.cohort is not None for change in view.changes)
    return len(view.cohorts) > 1 and (rows or switches)


def _shares_before(view: StudyView) -> np.ndarray:
    """Cohorts' shares of the patients so far (C,); alike where there are none."""
    before = np.zeros(len(view.cohorts))
    if view.trial is not None:
        before = view.trial.enrolled_before.sum(axis=0)
    return before / before.sum() if before.sum() > 0 else np.full(len(before), 1 / len(before))


def _shares_ahead(view: StudyView) -> np.ndarray:
    """Cohorts' shares of the enrolled of each path and month (S, H, C).

    With one patient more that is parted as the mean of all paths is, so that a month without
    enrolment has shares too.
    """
    everywhere = tuple(view.country_of)
    enrolled = _enrolled_ahead(view, everywhere).transpose(0, 2, 1).astype(np.float64)
    mean = enrolled.mean(axis=0)
    total = mean.sum(axis=1, keepdims=True)
    usual = np.where(total > 0, mean / np.maximum(total, 1e-300), _shares_before(view))
    return (enrolled + usual) / (enrolled.sum(axis=2, keepdims=True) + 1)


def _opened_before(
    view: StudyView, sites: Sequence[str], inputs: ClinicalInputs, reach: int
) -> np.ndarray:
    """Count sites by month, of the last before the cycle, in which they opened or had a patient.

    Returns
    -------
    ndarray of int64 (reach,)
    """
    opened = np.zeros(reach, dtype=np.int64)
    sites_of = inputs.sites.filter(pl.col("study") == view.study)
    dates = dict(sites_of.select("site", "activated_date").iter_rows())
    came = pl.max_horizontal("enrolled", "screened") > 0
    seen = inputs.enrolment.filter(pl.col("study") == view.study, came)
    first = dict(seen.group_by("site").agg(pl.col("ds").min()).iter_rows())
    for site in sites:
        day = dates.get(site) or first.get(site)
        column = reach + months_between(inputs.cycle, day) if day is not None else -1
        if 0 <= column < reach:
            opened[column] += 1
    return opened
