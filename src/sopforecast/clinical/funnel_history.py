"""What the panel says of screening: which sites report it, who is still in it, what was exposed.

Reads the site panel; a month counts towards the delay only where every month in which its enrolled
may have been screened was reported.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sopforecast.clinical.panel import SitePanel

DELAYS = 5
"""D: screened in one month, a patient enrols or fails in that month or one of the next D-1."""


@dataclass(frozen=True, eq=False)
class ScreeningHistory:
    """Screening of G sites over T months, as far as it is known.

    Attributes
    ----------
    study_of : ndarray of int (G,)
    studies : int
    reports, has_counts, has_blanks, knows_failures : ndarray of bool (G,)
        Counted at screening; has screened counts of its own; leaves its failures blank in a month
        with somebody screened; its failures can be counted.
    lagged : ndarray (G, T, D)
        Screened 0 .. D-1 months before; NaN where any of them is unknown.
    enrolled, failed : ndarray (G, T)
        NaN where unknown or where ``lagged`` is.
    stock, overdue : ndarray of int (G,)
        Screened and neither failed nor enrolled: for at most D-1 months, for longer (0 where
        failures are left blank). Nobody at a closed site.
    screened_total, failed_total, enrolled_total : ndarray (G,)
        Over the months of a reporting site, 0 elsewhere.
    recent : ndarray (G, D-1)
        Screened in the last month, the one before, ...; unknown counts as none.
    """

    study_of: np.ndarray
    studies: int
    reports: np.ndarray
    has_counts: np.ndarray
    has_blanks: np.ndarray
    knows_failures: np.ndarray
    lagged: np.ndarray
    enrolled: np.ndarray
    failed: np.ndarray
    stock: np.ndarray
    overdue: np.ndarray
    screened_total: np.ndarray
    failed_total: np.ndarray
    enrolled_total: np.ndarray
    recent: np.ndarray

    def recent_by_study(self) -> np.ndarray:
        """Screened lately at the reporting sites of a study (n_studies, D-1), by age."""
        return np.array(
            [self.recent[self.study_of == study].sum(axis=0) for study in range(self.studies)]
        ).reshape(self.studies, DELAYS - 1)


def screening_history(panel: SitePanel) -> ScreeningHistory:
    """Read the panel's screening.

    Notes
    -----
    A site reports screening when it has screened anybody and gives the number in at least half of
    the open months of which anything is known. Failures are known where they are given in every
    month with somebody screened and leave nobody in screening for D months or more.
    """
    months = len(panel.months)
    month = np.arange(months)[None, :]
    before = month < np.where(panel.opened < 0, months, panel.opened)[:, None]
    nothing = np.isnan(panel.screened) & np.isnan(panel.enrolled)
    screened = np.where(before & nothing, 0.0, panel.screened)
    known = ~np.isnan(panel.screened)
    told = (~nothing).sum(axis=1)
    total = np.nansum(panel.screened, axis=1)
    has_counts = (total > 0.0) & (known.sum(axis=1) * 2 >= told)
    reports = _like_the_study(panel, has_counts, told > 0)
    lagged = _lagged(screened)
    mine = has_counts[:, None]
    first = np.where(has_counts, np.argmax(np.nan_to_num(panel.screened) > 0, axis=1), months)
    since = mine & (month >= first[:, None])
    totals = [
        np.where(since, np.nan_to_num(counts), 0.0).sum(axis=1)
        for counts in (panel.screened, panel.screen_failed, panel.enrolled)
    ]
    is_open = mine & (panel.closed == months)[:, None]
    recent = np.where(is_open, np.nan_to_num(screened), 0.0)[:, ::-1][:, : DELAYS - 1]
    recent = np.pad(recent, ((0, 0), (0, DELAYS - 1 - recent.shape[1])))
    waiting = np.maximum(totals[0] - totals[1] - totals[2], 0.0)
    waiting[panel.closed < months] = 0.0
    blank = (np.isnan(panel.screen_failed) & (np.nan_to_num(panel.screened) > 0)).any(axis=1)
    live = np.minimum(waiting, recent.sum(axis=1))
    usable = mine & ~np.isnan(lagged).any(axis=2)
    return ScreeningHistory(
        study_of=panel.study_of,
        studies=len(panel.studies),
        reports=reports,
        has_counts=has_counts,
        has_blanks=has_counts & blank,
        knows_failures=has_counts & ~blank & (waiting <= live),
        lagged=np.where(usable[:, :, None], lagged, np.nan),
        enrolled=np.where(usable, panel.enrolled, np.nan),
        failed=np.where(usable, panel.screen_failed, np.nan),
        stock=np.rint(live).astype(np.int64),
        overdue=np.where(blank, 0, np.rint(waiting - live)).astype(np.int64),
        screened_total=totals[0],
        failed_total=totals[1],
        enrolled_total=totals[2],
        recent=recent,
    )


def _like_the_study(panel: SitePanel, has_counts: np.ndarray, is_told: np.ndarray) -> np.ndarray:
    """Sites with no counts at all do as most sites of their study that have some."""
    reports = has_counts.copy()
    for study in range(len(panel.studies)):
        mine = panel.study_of == study
        if (mine & is_told).any():
            usual = 2 * int(has_counts[mine].sum()) > int((mine & is_told).sum())
            reports[mine & ~is_told] = usual
    return reports


def _lagged(screened: np.ndarray) -> np.ndarray:
    """Screened 0 .. D-1 months before each month (G, T, D); before the first month nobody."""
    sites, months = screened.shape
    lagged = np.zeros((sites, months, DELAYS))
    for lag in range(min(DELAYS, months)):
        lagged[:, lag:, lag] = screened[:, : months - lag]
    return lagged
