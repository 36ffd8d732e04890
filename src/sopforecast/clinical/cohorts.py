"""The cohorts of a study: who they are, what share of patients each takes, since when, how full.

Reads ``cohorts`` and ``enrolment``. A share's stated range is a prior and no more: patients counted
by named cohort so far are the data. A study without cohorts has one, called ``all``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from sopforecast.clinical.inputs import ClinicalInputs
from sopforecast.clinical.panel import SitePanel
from sopforecast.clinical.words import amount
from sopforecast.core.clinical_tables import ALL, ANY
from sopforecast.core.draws import series_rng
from sopforecast.core.months import month_end, month_range

RANGE_IN_SDS = 2.5631031310892007
"""Width of an 80% range in standard deviations (normal)."""
_SMALLEST_SHARE = 0.01
_FIXED = 1e6
"""Patients' worth of a share stated as one number: data do not move it."""


@dataclass(frozen=True, eq=False)
class StudyCohorts:
    """The C cohorts of one study with G sites.

    Attributes
    ----------
    names : tuple of str, length C
        In the order of the table; ``("all",)`` where the study has none.
    target : ndarray (C,)
        Patients at which it is full; infinite: none given.
    opens : tuple of date or None, length C
    open_share : ndarray (C, H)
        Share of the month in which it takes patients: 0 before it opens and when it was full
        before the cycle.
    prior : ndarray (C,)
        Dirichlet parameters stated by the ranges.
    counted : ndarray (C,)
        Patients by named cohort since the last cohort open at the cycle had opened: the data.
    before : ndarray of int (G, C)
        Enrolled before the cycle, patients not told apart spread; rows sum to the site's total.
    spread : int
        How many patients of ``before`` were not told apart.
    """

    names: tuple[str, ...]
    target: np.ndarray
    opens: tuple[date | None, ...]
    open_share: np.ndarray
    prior: np.ndarray
    counted: np.ndarray
    before: np.ndarray
    spread: int


def capped_by_cohorts(inputs: ClinicalInputs) -> tuple[str, ...]:
    """Studies whose cohorts are all full before the study is, a sentence each."""
    known = inputs.cohorts.group_by("study").agg(
        total=pl.col("target_enrolment").sum(), open=pl.col("target_enrolment").is_null().any()
    )
    short = known.join(inputs.studies, on="study").filter(
        ~pl.col("open") & (pl.col("total") < pl.col("target_enrolment"))
    )
    return tuple(
        f"Study {row['study']} stops at {amount(row['total'])} patients, the targets of its "
        f"cohorts together, and not at its own {amount(row['target_enrolment'])}."
        for row in short.sort("study").iter_rows(named=True)
    )


def study_cohorts(
    inputs: ClinicalInputs, panel: SitePanel, study: str, *, horizon: int
) -> StudyCohorts:
    """Read the cohorts of a study.

    Notes
    -----
    Patients of cohort ``all`` in a study with named cohorts count in every total. They are given to
    the cohorts open at the cycle in proportion to the mean shares (prior and counts), one patient
    after the other to the cohort furthest below its share (Sainte-Lague), sites in panel order: so
    site totals are exact and a cohort's total is within a patient or so of its share. That is a
    rule for bookkeeping; these patients teach nothing about shares.
    """
    rows = inputs.cohorts.filter(pl.col("study") == study)
    if rows.is_empty():
        rows = pl.DataFrame({"study": [study], "cohort": [ALL]}).join(
            inputs.cohorts, on=["study", "cohort"], how="left"
        )
    names = tuple(rows["cohort"].to_list())
    opens = tuple(rows["opens_date"].to_list())
    target = np.floor(rows["target_enrolment"].cast(pl.Float64).fill_null(np.inf).to_numpy())
    prior = share_prior(_floats(rows, "share_low"), _floats(rows, "share_high"))
    started = np.array([day is None or day < inputs.cycle for day in opens])
    told = _by_site(inputs, panel, study, names)
    counted = _counted(inputs, study, names, [d for d, s in zip(opens, started, strict=True) if s])
    before = told[:, :-1] + _spread(
        told[:, -1], np.where(started, prior + counted, 0.0) if started.any() else prior
    )
    share = np.stack([share_from(day, inputs.cycle, horizon) for day in opens])
    share[before.sum(axis=0) >= target] = 0.0
    return StudyCohorts(
        names=names,
        target=target,
        opens=opens,
        open_share=share,
        prior=prior,
        counted=np.where(started, counted, 0.0),
        before=before,
        spread=int(told[:, -1].sum()) if names != (ALL,) else 0,
    )


def sample_shares(
    cohorts: StudyCohorts, study: str, cycle: date, *, paths: int, seed: int
) -> np.ndarray:
    """Draw the shares of a study's cohorts, as if all were open; (S, C), rows sum to 1.

    Notes
    -----
    Dirichlet, conjugate to counts. Counts say how cohorts open at the cycle compare with each
    other, nothing of those that open later: their share together keeps its prior (Beta), which is
    independent of how each part is divided (neutrality of the Dirichlet).
    """
    rng = series_rng(seed, "cohort shares", study)
    late = np.array([day is not None and day >= cycle for day in cohorts.opens])
    shares = np.empty((paths, len(cohorts.names)))
    weight = [max(float(cohorts.prior[part].sum()), 1e-9) for part in (~late, late)]
    whole = np.stack([rng.gamma(weight[0], size=paths), rng.gamma(weight[1], size=paths)])
    whole /= whole.sum(axis=0)
    for size, part in zip(whole, (~late, late), strict=True):
        if part.any():
            drawn = rng.gamma(cohorts.prior[part] + cohorts.counted[part], size=(paths, part.sum()))
            drawn = np.maximum(drawn, 1e-12)
            shares[:, part] = (size / drawn.sum(axis=1))[:, None] * drawn
    return shares / shares.sum(axis=1, keepdims=True)


def month_weights(shares: np.ndarray, open_share: np.ndarray) -> np.ndarray:
    """Chance that a patient who enrols in a month is of a cohort; float32 (S, C, H).

    Patients come evenly over the month and go to the cohorts open on their day in proportion to
    their shares (S, C). Columns sum to 1; to 0 in months in which no cohort is open.

    Examples
    --------
    >>> weights = month_weights(np.array([[0.5, 0.5]]), np.array([[1.0, 1.0], [0.0, 0.5]]))
    >>> weights[0].tolist()
    [[1.0, 0.75], [0.0, 0.25]]
    """
    weights = np.zeros((*shares.shape, open_share.shape[1]), dtype=np.float32)
    for month, part in enumerate(open_share.T):
        starts = np.unique(1 - part[part > 0])
        if starts.size == 0:
            continue
        for start, end in zip(starts, [*starts[1:], 1.0], strict=True):
            open_then = shares * (1 - part <= start)
            weights[:, :, month] += (end - start) * open_then / open_then.sum(axis=1, keepdims=True)
        weights[:, :, month] /= 1 - starts[0]
    return weights


def share_from(day: date | None, cycle: date, horizon: int) -> np.ndarray:
    """Share of each month from the cycle on that lies on or after a day; (H,). None: all.

    Examples
    --------
    >>> share_from(date(2027, 2, 15), date(2027, 1, 1), 3).tolist()
    [0.0, 0.5, 1.0]
    """
    if day is None:
        return np.ones(horizon)
    length = [month_end(month).day for month in month_range(cycle, horizon)]
    gone = [(day - month).days for month in month_range(cycle, horizon)]
    return np.clip(1 - np.array(gone) / np.array(length), 0.0, 1.0)


def share_prior(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Dirichlet parameters (C,) of shares stated as 80% ranges; NaN: none given.

    No range at all: 1 each, every division alike. Else the mean share is the middle of the range,
    cohorts without one part what is left evenly, and the concentration is the one whose summed
    variance is that of the ranges (2.56 sd wide). One end missing: 0 or 1.
    """
    given = ~(np.isnan(low) & np.isnan(high))
    if not given.any() or len(low) == 1:
        return np.ones(len(low))
    low, high = np.where(np.isnan(low), 0.0, low), np.where(np.isnan(high), 1.0, high)
    mean = (low + high) / 2
    rest = 1 - mean[given].sum()
    if not given.all():
        mean[~given] = max(rest / np.count_nonzero(~given), _SMALLEST_SHARE)
    mean = np.maximum(mean, 1e-6)
    mean /= mean.sum()
    variance = np.square((high - low)[given] / RANGE_IN_SDS).sum()
    bernoulli = (mean * (1 - mean))[given].sum()
    concentration = np.clip(bernoulli / max(variance, 1e-12) - 1, 0.5, _FIXED)
    return mean * concentration


def _floats(rows: pl.DataFrame, column: str) -> np.ndarray:
    return rows[column].cast(pl.Float64).fill_null(np.nan).to_numpy().copy()


def _rows(inputs: ClinicalInputs, study: str) -> pl.DataFrame:
    return inputs.enrolment.filter(pl.col("study") == study, pl.col("enrolled") > 0)


def _by_site(
    inputs: ClinicalInputs, panel: SitePanel, study: str, names: tuple[str, ...]
) -> np.ndarray:
    """Patients so far (G, C + 1); the last column: of no cohort of the table."""
    sites = [site for owner, site in panel.sites if owner == study]
    place = {site: row for row, site in enumerate(sites)}
    column = {name: index for index, name in enumerate(names)}
    counts = np.zeros((len(sites), len(names) + 1), dtype=np.int64)
    sums = _rows(inputs, study).group_by("site", "cohort").agg(pl.col("enrolled").sum())
    for site, cohort, enrolled in sums.iter_rows():
        if site in place:
            counts[place[site], column.get(cohort, len(names))] += round(enrolled)
    return counts


def _counted(
    inputs: ClinicalInputs, study: str, names: tuple[str, ...], opened: list[date | None]
) -> np.ndarray:
    since = max((day for day in opened if day is not None), default=date.min)
    rows = _rows(inputs, study).filter(pl.col("ds") >= since, ~pl.col("cohort").is_in([ALL, ANY]))
    sums = dict(rows.group_by("cohort").agg(pl.col("enrolled").sum()).iter_rows())
    return np.array([float(sums.get(name, 0.0)) for name in names])


def _spread(patients: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Give whole patients (G,) to cohorts in proportion to shares (C,); (G, C), rows exact."""
    total = int(patients.sum())
    spread = np.zeros((len(patients), len(shares)), dtype=np.int64)
    if total == 0:
        return spread
    turns = (np.arange(total) + 0.5)[:, None] / np.maximum(shares, 1e-12)
    order = np.argsort(turns, axis=None, kind="stable")[:total] % len(shares)
    np.add.at(spread, (np.repeat(np.arange(len(patients)), patients), order), 1)
    return spread
