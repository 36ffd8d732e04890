"""From screening to enrolment: how many of the screened never enrol, and when the others do.

Reads the site panel. Learned: the share that fails by study (its logit follows a random walk whose
steps, and where it starts, are pooled over the studies of the workspace), and the months from
screening to enrolment and to failure (one law for the workspace). Patients still in screening are
censored. Sites that report no screening are counted at enrolment: for them the funnel changes
nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sopforecast.clinical.funnel_delay import fit_delays
from sopforecast.clinical.funnel_history import DELAYS, ScreeningHistory, screening_history
from sopforecast.clinical.funnel_share import fit_fail_share
from sopforecast.clinical.panel import SitePanel
from sopforecast.core.draws import series_rng

POSTERIOR_DRAWS = 200
PARAMETERS = ("fail", "delay", "fail_delay")


@dataclass(frozen=True, eq=False)
class Funnel:
    """What becomes of the screened; R posterior draws, G sites and D months of delay.

    Attributes
    ----------
    studies : tuple of str
        As in the panel.
    fail : ndarray (R, n_studies)
        Share of the screened who never enrol.
    delay, fail_delay : ndarray (R, D)
        Probability that 0 .. D-1 months pass from screening to enrolment, or to failure.
    reports : ndarray of bool (G,)
        Whether a site's patients are counted at screening. A site with no counts yet does as the
        majority of its study's sites that have some.
    stock : ndarray of int (G,)
        Patients in screening at the end of the last month: screened - failed - enrolled so far,
        not below 0, nor above those screened in the last D-1 months. Where failures are left blank,
        as many of the screened as are expected to be in screening still. 0 where not reported
        and at closed sites.
    overdue : ndarray of int (G,)
        Patients in screening for longer than that: taken as never enrolling.
    stock_fail : ndarray (R, n_studies)
        Share of ``stock`` that never enrols.
    stock_delay : ndarray (R, n_studies, D)
        Month, 0 is the cycle, in which those of the stock enrol who do; the last one is 0.
    screened_seen, failed_seen, enrolled_seen : ndarray of int (n_studies,)
        Patients the shares rest on, at sites that report screening.
    assumed : ndarray of bool (n_studies,)
        Whether a study has no screening report, so that its share is an assumption.
    notes : tuple of str
    """

    studies: tuple[str, ...]
    fail: np.ndarray
    delay: np.ndarray
    fail_delay: np.ndarray
    reports: np.ndarray
    stock: np.ndarray
    overdue: np.ndarray
    stock_fail: np.ndarray
    stock_delay: np.ndarray
    screened_seen: np.ndarray
    failed_seen: np.ndarray
    enrolled_seen: np.ndarray
    assumed: np.ndarray
    notes: tuple[str, ...]

    def yields(self, panel: SitePanel) -> np.ndarray:
        """Expected enrolled per counted patient (G,): 1 where a site is counted at enrolment."""
        enrols = 1.0 - self.fail.mean(axis=0)
        return np.where(self.reports, enrols[panel.study_of], 1.0)

    def parameters(self) -> dict[str, np.ndarray]:
        """Posterior draws, first axis R, from which `rebuild_funnel` makes the same funnel."""
        return {name: np.asarray(getattr(self, name), dtype=np.float64) for name in PARAMETERS}


def fit_funnel(panel: SitePanel, *, seed: int, draws: int = POSTERIOR_DRAWS) -> Funnel:
    """Learn the funnel of every study from the panel's months.

    Parameters
    ----------
    panel : SitePanel
    seed : int
    draws : int
        R.

    Returns
    -------
    Funnel

    Notes
    -----
    The prior of a share is a Beta whose mean (itself about 0.3, 80% between about 0.13 and 0.5)
    and strength are learned over the studies; a study without reports has that population's share.
    """
    history = screening_history(panel)
    delay, fail_delay = fit_delays(history, draws=draws, rng=series_rng(seed, "funnel", "delay"))
    fail = fit_fail_share(
        history, delay, fail_delay, rng=series_rng(seed, "funnel", "fail")
    )  # (R, n_studies)
    parameters = {"fail": fail, "delay": delay, "fail_delay": fail_delay}
    return rebuild_funnel(parameters, panel)


def rebuild_funnel(parameters: dict[str, np.ndarray], panel: SitePanel) -> Funnel:
    """Make the funnel of stored posterior draws and the panel they were learned from."""
    history = screening_history(panel)
    fail, delay, fail_delay = (parameters[name] for name in PARAMETERS)
    stock_fail, stock_delay = _stock_outlook(history, fail, delay, fail_delay)
    studies = range(len(panel.studies))
    screened, failed, enrolled = (
        np.array([totals[history.study_of == study].sum() for study in studies], dtype=np.int64)
        for totals in (history.screened_total, history.failed_total, history.enrolled_total)
    )
    assumed = screened == 0
    return Funnel(
        studies=panel.studies,
        fail=fail,
        delay=delay,
        fail_delay=fail_delay,
        reports=history.reports,
        stock=_stock(history, fail, delay, fail_delay),
        overdue=history.overdue,
        stock_fail=stock_fail,
        stock_delay=stock_delay,
        screened_seen=screened,
        failed_seen=failed,
        enrolled_seen=enrolled,
        assumed=assumed,
        notes=_notes(panel, history, assumed),
    )


def _stock(
    history: ScreeningHistory, fail: np.ndarray, delay: np.ndarray, fail_delay: np.ndarray
) -> np.ndarray:
    """Patients in screening (G,): counted, or expected where failures are left blank.

    Expected numbers are rounded so that their running total over the sites is.
    """
    waits = _still_waiting(delay).mean(axis=0)
    waits_fail = _still_waiting(fail_delay).mean(axis=0)
    share = fail.mean(axis=0)[history.study_of][:, None]
    expected = (history.recent * ((1.0 - share) * waits + share * waits_fail)).sum(axis=1)
    running = np.rint(np.cumsum(np.where(history.has_blanks, expected, 0.0)))
    whole = np.diff(running, prepend=0.0).astype(np.int64)
    return np.where(history.has_blanks, np.minimum(whole, history.stock), history.stock)


def _still_waiting(delay: np.ndarray) -> np.ndarray:
    """Share not done by the end of the month 0 .. D-2 months after screening (R, D-1)."""
    left: np.ndarray = np.maximum(1.0 - np.cumsum(delay, axis=1)[:, : DELAYS - 1], 0.0)
    return left


def _stock_outlook(
    history: ScreeningHistory, fail: np.ndarray, delay: np.ndarray, fail_delay: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Share of the stock that never enrols (R, n_studies), and when the others do (R, n_, D).

    A patient screened ``a`` months before the last one is still in screening with probability
    ``(1 - fail) P(delay > a) + fail P(fail_delay > a)``; how old the stock is follows from when
    its study's patients were screened.
    """
    ages = DELAYS - 1
    waits = _still_waiting(delay)[:, None, :]  # (R, 1, ages)
    waits_fail = _still_waiting(fail_delay)[:, None, :]
    recent = history.recent_by_study()[None]  # (1, n_studies, ages), by age
    enrols = recent * (1.0 - fail)[:, :, None] * waits
    fails = recent * fail[:, :, None] * waits_fail
    total = enrols.sum(axis=2) + fails.sum(axis=2)
    unknown = total <= 0.0
    stock_fail = np.where(unknown, fail, fails.sum(axis=2) / np.where(unknown, 1.0, total))
    when = np.zeros((*fail.shape, DELAYS))
    for ahead in range(ages):
        later = delay[:, None, ahead + 1 :]  # of age a: delay a + 1 + ahead
        when[:, :, ahead] = (recent[:, :, : later.shape[2]] * later).sum(axis=2)
    mass = when.sum(axis=2, keepdims=True)
    at_once = np.zeros(DELAYS)
    at_once[0] = 1.0
    return stock_fail, np.where(mass > 0.0, when / np.where(mass > 0.0, mass, 1.0), at_once)


def _notes(panel: SitePanel, history: ScreeningHistory, assumed: np.ndarray) -> tuple[str, ...]:
    notes = []
    for study, name in enumerate(panel.studies):
        mine = history.study_of == study
        if assumed[study]:
            others = "the other studies" if not assumed.all() else "a stated prior"
            notes.append(
                f"{name}: no site reports screening, so the share of screen failures is taken "
                f"from {others}; it is an assumption"
            )
            continue
        blank = int((mine & history.has_blanks).sum())
        if blank:
            notes.append(
                f"{name}: {blank} {'site does' if blank == 1 else 'sites do'} not report all "
                "screen failures; there the share is inferred from those screened and enrolled"
            )
        overdue = int(history.overdue[mine].sum())
        if overdue:
            notes.append(
                f"{name}: {overdue} {'patient has' if overdue == 1 else 'patients have'} been in "
                f"screening for more than {DELAYS - 1} months and "
                f"{'is' if overdue == 1 else 'are'} not expected to enrol"
            )
    return tuple(notes)
