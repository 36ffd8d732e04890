"""The sampled future of each study: site counts under its capacities, dates, target and cohorts.

Reads ``studies``, ``cohorts`` and ``enrolment``; returns `TrialPaths`. Every limit holds exactly in
every path: no site above its capacity, no study above its target, no cohort above its own.
"""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl

from sopforecast.clinical.cohort_events import FLOWS, cohort_tilt
from sopforecast.clinical.cohorts import (
    StudyCohorts,
    month_weights,
    sample_shares,
    share_from,
    study_cohorts,
)
from sopforecast.clinical.events import Events
from sopforecast.clinical.inputs import ClinicalInputs
from sopforecast.clinical.panel import SitePanel
from sopforecast.clinical.paths import SiteCounts, TrialPaths
from sopforecast.clinical.simulate import thin
from sopforecast.core.draws import series_rng


def trial_paths(
    counts: SiteCounts,
    inputs: ClinicalInputs,
    panel: SitePanel,
    events: Events,
    *,
    cycle: date,
    paths: int,
    seed: int,
) -> dict[str, TrialPaths]:
    """Turn what sites would enrol into what each study enrols, by cohort.

    Parameters
    ----------
    counts : SiteCounts
        int16 (S, G, H), sites in panel order.
    inputs : ClinicalInputs
    panel : SitePanel
    events : Events
        Of the same seed.
    cycle : date
    paths, seed : int

    Returns
    -------
    dict of str to TrialPaths
        By study, in panel order, each with its own sites.

    Notes
    -----
    In this order, month by month. Capacity: a site enrols no more than it has room for, the others
    wait for the next months (room of 2.5 is 2 and 3 in turn). Dates: in a month in which the
    study's last patient date or the opening of its first cohort falls, patients count for the days
    left; the date binds only a study without a target. Target: in the month it is reached exactly
    the patients missing are kept, any set of that month's patients alike; nothing after. Cohorts:
    every patient draws one of those open that are not full; when all are full nobody enrols.
    Screening goes on to the end of the month in which a study stops.
    """
    horizon = counts.from_new.shape[2]
    trials = {}
    for index, study in enumerate(panel.studies):
        rows = np.flatnonzero(panel.study_of == index)
        mine = slice(rows[0], rows[-1] + 1)  # sites are sorted by study
        cohorts = study_cohorts(inputs, panel, study, horizon=horizon)
        rng = series_rng(seed, "trial paths", study)
        arrivals = counts.from_stock[:, mine] + counts.from_new[:, mine]
        screened = counts.screened[:, mine].copy()
        _wait_for_room(arrivals, panel.capacity[mine])
        target, last = _limits(inputs, study)
        open_share = cohorts.open_share.max(axis=0)
        if last is not None and last < date.max:
            open_share = open_share - share_from(last + timedelta(days=1), cycle, horizon)
        _cut_dates(arrivals, screened, np.clip(open_share, 0, 1), rng)
        room = target - cohorts.before.sum()
        weights = _weights(cohorts, events, panel, rows, study, paths=paths, seed=seed, cycle=cycle)
        enrolled = _enrol(arrivals, screened, cohorts, weights, room, rng)
        names = set(inputs.study_events.filter(pl.col("study") == study)["event_id"].to_list())
        trials[study] = TrialPaths(
            study=study,
            cycle=cycle,
            sites=tuple(panel.sites[g][1] for g in rows),
            countries=tuple(panel.countries[panel.country_of[g]] for g in rows),
            cohorts=cohorts.names,
            screened=screened,
            enrolled=enrolled,
            activated=counts.activated[:, mine],
            enrolled_before=cohorts.before,
            events={name: drawn for name, drawn in events.happens.items() if name in names},
        )
    return trials


def keep_at_random(counts: np.ndarray, keep: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Keep a number of each row's patients, every set of them alike (without replacement).

    Parameters
    ----------
    counts : ndarray of int (n, k)
        Patients of each row by cell.
    keep : ndarray of int (n,)
        How many of a row to keep; all of a row that has no more.
    rng : Generator

    Returns
    -------
    ndarray (n, k)
        At most ``counts``; rows sum to ``min(keep, row sum)``. Multivariate hypergeometric.
    """
    total = counts.sum(axis=1, dtype=np.int64)
    kept = np.where((keep > 0)[:, None], counts, 0).astype(counts.dtype)
    cut = np.flatnonzero((total > keep) & (keep > 0))
    if cut.size == 0:
        return kept
    cells = counts.shape[1]
    patient = np.repeat(np.arange(cut.size * cells), counts[cut].ravel())
    row = patient // cells
    order = np.lexsort((rng.random(patient.size), row))
    rank = np.arange(patient.size) - np.repeat(np.cumsum(total[cut]) - total[cut], total[cut])
    chosen = patient[order][rank < keep[cut][row]]
    kept[cut] = np.bincount(chosen, minlength=cut.size * cells).reshape(cut.size, cells)
    return kept


def _wait_for_room(arrivals: np.ndarray, capacity: np.ndarray) -> None:
    """Hold patients above a site's capacity back until there is room; in place (S, G, H)."""
    limited = np.flatnonzero(~np.isnan(capacity))
    if limited.size == 0:
        return
    waiting = np.zeros((arrivals.shape[0], limited.size), dtype=np.int64)
    for month in range(arrivals.shape[2]):
        room = np.diff(np.floor(capacity[limited] * [[month], [month + 1]] + 1e-9), axis=0)[0]
        waiting += arrivals[:, limited, month]
        enrols = np.minimum(waiting, room.astype(np.int64))
        arrivals[:, limited, month] = enrols
        waiting -= enrols


def _limits(inputs: ClinicalInputs, study: str) -> tuple[float, date | None]:
    """Return the study's target (infinite: none) and the last day that binds it."""
    rows = inputs.studies.filter(pl.col("study") == study)
    if rows.is_empty():
        return np.inf, None
    target, last = rows.select("target_enrolment", "last_patient_date").row(0)
    return (np.inf, last) if target is None else (float(np.floor(target)), None)


def _cut_dates(
    arrivals: np.ndarray, screened: np.ndarray, open_share: np.ndarray, rng: np.random.Generator
) -> None:
    """Thin months of which the study takes patients in part only; in place (S, G, H).

    The screened of a month who enrol in it go with their enrolment, so that no month shows more
    enrolled than screened because of a date.
    """
    for month in np.flatnonzero(open_share < 1):
        share = float(open_share[month])
        came, seen = arrivals[:, :, month], screened[:, :, month]
        both = np.minimum(came, seen)
        kept = thin(both, share, rng)
        arrivals[:, :, month] = kept + thin(came - both, share, rng)
        screened[:, :, month] = kept + thin(seen - both, share, rng)


def _weights(
    cohorts: StudyCohorts,
    events: Events,
    panel: SitePanel,
    rows: np.ndarray,
    study: str,
    *,
    paths: int,
    seed: int,
    cycle: date,
) -> list[np.ndarray]:
    """Chances of the cohorts (S, C, H): one for all sites, or one a site where events differ."""
    shares = sample_shares(cohorts, study, cycle, paths=paths, seed=seed)
    plain = month_weights(shares, cohorts.open_share)
    own = {event.site for event in events.cohort_factors if event.study == study}
    sites = [panel.sites[g][1] for g in rows] if own - {None} else [""]
    weights = []
    for site in sites:
        tilted = plain
        for acts_on in FLOWS:
            tilt = cohort_tilt(events.cohort_factors, cohorts.names, study, site, acts_on)
            tilted = tilted if tilt is None else tilted * tilt
        nobody = tilted.sum(axis=1, keepdims=True) <= 0
        weights.append(np.where(nobody, plain, tilted))
    return weights


def _enrol(
    arrivals: np.ndarray,
    screened: np.ndarray,
    cohorts: StudyCohorts,
    weights: list[np.ndarray],
    room: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Enrol month by month until the study or all its cohorts are full; int16 (S, G, C, H).

    ``screened`` is zeroed, in place, after the month in which a path stops.
    """
    paths, sites, horizon = arrivals.shape
    enrolled = np.zeros((paths, sites, len(cohorts.names), horizon), dtype=np.int16)
    left = np.full(paths, room)
    places = np.tile(np.maximum(cohorts.target - cohorts.before.sum(axis=0), 0), (paths, 1))
    for month in range(horizon):
        stopped = (left <= 0) | (places <= 0).all(axis=1)
        if stopped.any():
            screened[stopped, :, month] = 0
        if stopped.all():
            screened[:, :, month:] = 0
            break
        coming = np.ascontiguousarray(arrivals[:, :, month])
        coming[stopped] = 0
        coming = keep_at_random(coming, left, rng)
        chances = np.stack([weight[:, :, month] for weight in weights], axis=1)
        by_cohort = _to_cohorts(coming, chances, places, rng)
        enrolled[:, :, :, month] = by_cohort.transpose(1, 2, 0)
        in_month = _sums(by_cohort)
        places = places - in_month
        left = left - in_month.sum(axis=1)
    return enrolled


def _to_cohorts(
    coming: np.ndarray, chances: np.ndarray, places: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Give the patients (S, G) of a month to cohorts with places left (S, C); int (C, S, G).

    All draw from the chances (S, 1 or G, C); those beyond a cohort's places, anybody of it alike,
    draw again among the cohorts with places left; those for whom there is none do not enrol.
    That is the law of patients drawing one after the other: which patient uses which draw does not
    change the counts.
    """
    split = _split(coming, chances * (places > 0)[:, None, :], rng)
    full = np.flatnonzero((_sums(split) > places).any(axis=1))
    if full.size == 0:
        return split
    again = np.zeros((full.size, coming.shape[1]), dtype=coming.dtype)
    for cohort, of_cohort in enumerate(split):
        drawn = of_cohort[full]
        kept = keep_at_random(drawn, places[full, cohort], rng)
        of_cohort[full] = kept
        again += drawn - kept
    places_left = places[full] - _sums(split[:, full])
    if (places_left > 0).any():
        split[:, full] += _to_cohorts(again, chances[full], places_left, rng)
    return split


def _sums(by_cohort: np.ndarray) -> np.ndarray:
    """Patients of each cohort over the sites: (C, S, G) to (S, C)."""
    return by_cohort.sum(axis=2, dtype=np.int64).T


def _split(coming: np.ndarray, chances: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Give patients (S, G) cohorts by chances (S, 1 or G, C), nobody where all are 0; (C, S, G)."""
    tails = np.cumsum(chances[:, :, ::-1], axis=2)[:, :, ::-1]
    split = np.zeros((chances.shape[2], *coming.shape), dtype=coming.dtype)
    left = np.where(tails[:, :, 0] > 0, coming, 0).astype(coming.dtype)
    for cohort in range(chances.shape[2] - 1):
        here, tail = chances[:, :, cohort], tails[:, :, cohort]
        share = np.divide(here, tail, out=np.zeros_like(here), where=tail > 0)
        split[cohort] = thin(left, share, rng)
        left -= split[cohort]
    split[-1] = left
    return split
