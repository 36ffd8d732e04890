"""What the counts of a panel say, laid out for the filter of site rates.

Sites stand in the order in which they opened, so that those open in a month come first; months and
sites with the same count and exposure share one cell of the likelihood.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sopforecast.clinical.panel import SitePanel
from sopforecast.clinical.rate_prior import KEPT_OF_PLAN, USUAL_RATE

STEP = 0.3
"""Log rate between neighbouring levels of a site."""
FINE = 4
"""Nodes of the shared shock a level step."""
REACH = 12
"""Nodes of the shared shock on each side of none: it reaches from exp(-0.9) to exp(0.9)."""
BELOW, ABOVE = 3.6, 2.1  # least room of the levels around the centre
_LEAST_LEVEL, _MOST_LEVEL = np.log(1e-3), np.log(500.0)


@dataclass(frozen=True, eq=False)
class Observed:
    """Counts of G sites over T months as the filter reads them.

    Attributes
    ----------
    order : ndarray of int (G,)
        Panel index of the sites in the order of this class; all other axes of sites follow it.
    group_of : ndarray of int (G,)
        Study x country; ``group_study`` (K,) is the study of each group.
    opened : ndarray of int (G,)
        Month of opening; sites that have not opened come last, at T.
    offset : ndarray (G,)
        Planned log rate against the mean of those planned; 0 where none is.
    centre : float
        Log rate that levels are told against: of the plan, else the usual one.
    levels : ndarray (J,)
        Log rates, patients enrolled a fully open month.
    counts, exposures, first : ndarray (U,)
        Distinct cells: patients counted, their exposure in months, and whether the count is the
        first of a site whose opening is known from it only, so at least 1.
    cells : list of list of (int, ndarray of int)
        By month: a cell and the sites in it.
    """

    order: np.ndarray
    group_of: np.ndarray
    group_study: np.ndarray
    opened: np.ndarray
    offset: np.ndarray
    centre: float
    levels: np.ndarray
    counts: np.ndarray
    exposures: np.ndarray
    first: np.ndarray
    cells: list[list[tuple[int, np.ndarray]]]

    @property
    def nodes(self) -> np.ndarray:
        """Log factors of the shared shock (Q,)."""
        return np.arange(-REACH, REACH + 1) * (STEP / FINE)


def counted_of(panel: SitePanel, yields: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Patients counted and exposure (G, T) in months per enrolled patient; NaN: not known.

    Where a counted patient is expected to be less than one enrolled, those screened are counted; a
    month that does not tell of them is counted at enrolment.
    """
    screens = (yields < 1)[:, None] & ~np.isnan(panel.screened)
    counts = np.where(screens, panel.screened, panel.enrolled)
    exposures = panel.exposure / np.where(screens, yields[:, None], 1.0)
    return np.where(exposures > 0, counts, np.nan), exposures


def group_sites(panel: SitePanel) -> tuple[np.ndarray, np.ndarray]:
    """Group of every site (G,), study x country, and the study of every group (K,)."""
    keys = panel.study_of * max(len(panel.countries), 1) + panel.country_of
    distinct, group_of = np.unique(keys, return_inverse=True)
    return group_of, distinct // max(len(panel.countries), 1)


def observe(panel: SitePanel, yields: np.ndarray) -> Observed:
    """Lay the panel out; ``yields`` (G,) is expected enrolled per counted patient."""
    counts, exposures = counted_of(panel, yields)
    months = len(panel.months)
    opened = np.where(panel.opened < 0, months, panel.opened)
    order = np.argsort(opened, kind="stable")
    group_of, group_study = group_sites(panel)
    offset, centre = _planned(panel.planned_rate)
    seen = ~np.isnan(counts)
    site, month = np.nonzero(seen)
    starts = panel.seen_at_first[site] & (month == opened[site]) & (counts[site, month] > 0)
    keys = np.stack([counts[site, month], exposures[site, month], starts], axis=1)
    distinct, cell = np.unique(keys, axis=0, return_inverse=True)
    place = np.argsort(order, kind="stable")[site]
    return Observed(
        order=order,
        group_of=group_of[order],
        group_study=group_study,
        opened=opened[order],
        offset=offset[order],
        centre=centre,
        levels=_levels(counts, exposures, offset, centre),
        counts=distinct[:, 0],
        exposures=distinct[:, 1],
        first=distinct[:, 2] > 0,
        cells=[_month_cells(cell[month == t].ravel(), place[month == t]) for t in range(months)],
    )


def _planned(planned: np.ndarray) -> tuple[np.ndarray, float]:
    given = ~np.isnan(planned) & (planned > 0)
    if not given.any():
        return np.zeros(len(planned)), float(np.log(USUAL_RATE))
    logs = np.log(np.where(given, planned, 1.0))
    mean = float(logs[given].mean())
    return np.where(given, logs - mean, 0.0), mean + float(np.log(KEPT_OF_PLAN))


def _levels(
    counts: np.ndarray, exposures: np.ndarray, offset: np.ndarray, centre: float
) -> np.ndarray:
    """Levels around the centre, wide enough for every site's own mean and planned rate."""
    seen = ~np.isnan(counts)
    total = np.where(seen, counts, 0.0).sum(axis=1)
    open_months = np.where(seen, exposures, 0.0).sum(axis=1)
    known = total > 0
    own = np.log(total[known] / open_months[known])
    low = min([centre - BELOW, *(own - 1.2), *(centre + offset - 1.2)])
    high = max([centre + ABOVE, *(own + 1.2), *(centre + offset + 1.2)])
    low, high = max(low, _LEAST_LEVEL), min(high, _MOST_LEVEL)
    return low + STEP * np.arange(int(np.ceil((high - low) / STEP)) + 1)


def _month_cells(cells: np.ndarray, places: np.ndarray) -> list[tuple[int, np.ndarray]]:
    return [(int(cell), np.sort(places[cells == cell])) for cell in np.unique(cells)]
