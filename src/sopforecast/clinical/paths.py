"""The sampled future of a study: what every question about it is asked of.

Axes: ``S`` paths, ``G`` sites, ``C`` cohorts, ``H`` months from the cycle on. All sites of all
studies share the paths, so a question may be asked of several studies at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np


@dataclass(frozen=True, eq=False)
class SiteCounts:
    """Patients of every site before a study's target stops it and cohorts part it.

    Attributes
    ----------
    screened : ndarray of int16 (S, G, H)
        Screened in the month, at sites that do not report screening too (learned of the others).
    from_stock : ndarray of int16 (S, G, H)
        Enrolled of those that were in screening at the cut-off.
    from_new : ndarray of int16 (S, G, H)
        Enrolled of those screened later.
    activated : ndarray of int16 (S, G)
        Month (0 is the cycle) in which a site opens; -1 open before the cycle, H or more: not
        inside the horizon, ``NEVER``: not at all.
    """

    screened: np.ndarray
    from_stock: np.ndarray
    from_new: np.ndarray
    activated: np.ndarray


@dataclass(frozen=True, eq=False)
class TrialPaths:
    """The sampled future of one study.

    Attributes
    ----------
    study : str
    cycle : date
        Month 0.
    sites, countries : tuple of str, length G
        ``*`` where a site has no country.
    cohorts : tuple of str, length C
        ``all`` where the study has none.
    screened : ndarray of int16 (S, G, H)
    enrolled : ndarray of int16 (S, G, C, H)
    activated : ndarray of int16 (S, G)
        As in `SiteCounts`.
    enrolled_before : ndarray (G, C)
        Enrolled before the cycle.
    events : dict of str to ndarray of bool (S,)
        By event_id: the paths in which it happens.
    """

    study: str
    cycle: date
    sites: tuple[str, ...]
    countries: tuple[str, ...]
    cohorts: tuple[str, ...]
    screened: np.ndarray
    enrolled: np.ndarray
    activated: np.ndarray
    enrolled_before: np.ndarray
    events: dict[str, np.ndarray]

    def monthly(self) -> np.ndarray:
        """Patients of the study in each month (S, H)."""
        return self.enrolled.sum(axis=(1, 2), dtype=np.int64)

    def cumulative(self) -> np.ndarray:
        """Patients of the study from the first one on (S, H)."""
        return self.enrolled_before.sum() + np.cumsum(self.monthly(), axis=1)

    def openings(self, places: list[int], target: float | None) -> np.ndarray:
        """Sites of ``places`` that open in each month (S, H); a study that is full opens none."""
        opens = self.activated[:, places, None] == np.arange(self.enrolled.shape[3])
        if target is None:
            return opens.sum(axis=1)
        before = self.cumulative() - self.monthly()
        return np.where(before < target, opens.sum(axis=1), 0)


NEVER = 10_000
"""Month of a site that never opens."""
