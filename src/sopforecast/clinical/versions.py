"""Which protocol version a dose is of, and how much of an item that version asks for.

Reads rows of ``schedule`` and the switches that ``study_events`` make. Before any switch the
version named by no switch is in force (of several the first in the alphabet). A ``new`` switch is
for patients enrolled or screened, and sites activated, from its day on, for their whole life; an
``all`` switch is for every dose from its day on; of several the last one that happened and applies
decides. Rows whose version is ``*`` always apply, beside those of a version.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol

import numpy as np

from sopforecast.core.clinical_tables import ALL, ANY
from sopforecast.core.months import months_between

Moment = tuple[int, float]
"""A month (0 is the cycle) and the share of it that has passed."""


class Switch(Protocol):
    """A change of protocol version, as the schedule reads it.

    ``month`` is a month, or counts months from the cycle; ``happens`` is bool (S,), the paths in
    which it comes; ``share`` is the part of that month after the switch; no cohort or site: all.
    """

    @property
    def study(self) -> str: ...
    @property
    def cohort(self) -> str | None: ...
    @property
    def site(self) -> str | None: ...
    @property
    def month(self) -> date | int: ...
    @property
    def version(self) -> str: ...
    @property
    def applies_to(self) -> str: ...
    @property
    def happens(self) -> np.ndarray: ...
    @property
    def share(self) -> float: ...


@dataclass(frozen=True, eq=False)
class Change:
    """A switch of one study on the time axis of its paths: what it changes, when, in which paths.

    Attributes
    ----------
    at : (int, float)
        Month and share of it before the switch; the share is below 1.
    version : str
    is_new : bool
        For new patients only.
    cohort, site : str or None
        None: all of them.
    happens : ndarray of bool (S,)
    """

    at: Moment
    version: str
    is_new: bool
    cohort: str | None
    site: str | None
    happens: np.ndarray

    def is_of(self, *, site: str, cohort: str) -> bool:
        """Whether it concerns patients of that site and cohort (``*``: not one of a cohort)."""
        return self.site in (None, site) and self.cohort in (None, cohort)


@dataclass(frozen=True)
class Row:
    """A row of ``schedule``; ``overage`` is the quantity shipped on top."""

    cohort: str
    country: str
    version: str
    per: str
    offset: int
    item: str
    quantity: float
    overage: float

    @property
    def rank(self) -> int:
        """How specific it is: cohort and country, cohort, country, neither."""
        return 2 * (self.cohort != ANY) + (self.country != ANY)


def study_changes(switches: Iterable[Switch], study: str, *, cycle: date) -> tuple[Change, ...]:
    """List a study's switches in the order in which they come.

    A switch for cohort or site ``*`` (or cohort ``all``) is for all of them.
    """
    found = []
    for switch in switches:
        if switch.study != study:
            continue
        month = switch.month
        ahead = months_between(cycle, month) if isinstance(month, date) else int(month)
        before = 1.0 - float(switch.share)
        found.append(
            Change(
                at=(ahead, before) if before < 1 else (ahead + 1, 0.0),
                version=switch.version,
                is_new=switch.applies_to != "all",
                cohort=None if switch.cohort in (None, ANY, ALL) else switch.cohort,
                site=None if switch.site in (None, ANY) else switch.site,
                happens=np.asarray(switch.happens, dtype=bool),
            )
        )
    return tuple(sorted(found, key=lambda change: (change.at, change.version, change.is_new)))


def first_version(versions: Iterable[str], changes: Sequence[Change]) -> str | None:
    """Return the version in force before any switch; None where there are only rows of ``*``.

    Examples
    --------
    >>> first_version(["2", "*", "1"], ()), first_version(["*"], ())
    ('1', None)
    """
    named = {change.version for change in changes}
    return min((v for v in versions if v != ANY and v not in named), default=None)


def parts(months: Sequence[int], changes: Sequence[Change], *, is_new: bool) -> list[Moment]:
    """Cut months where a switch comes inside them.

    Parameters
    ----------
    months : sequence of int
    changes : sequence of Change
    is_new : bool
        Cut by ``new`` switches (patients) or by ``all`` switches (doses).

    Returns
    -------
    list of (int, float)
        Month and share of it before the part begins, in order.
    """
    inside = {change.at for change in changes if change.is_new == is_new and change.at[1] > 0}
    known = set(months)
    return sorted({(month, 0.0) for month in months} | {at for at in inside if at[0] in known})


def lengths(cut: Sequence[Moment]) -> np.ndarray:
    """Return the share of its month that each part of `parts` lasts."""
    ends = [
        after[1] if after is not None and after[0] == month else 1.0
        for (month, _), after in zip(cut, [*cut[1:], None], strict=True)
    ]
    return np.array(ends) - np.array([begins for _, begins in cut])


def in_force(
    births: Sequence[Moment],
    dose: Moment,
    changes: Sequence[Change],
    happened: Sequence[bool],
    place: Mapping[str | None, int],
    first: str | None,
) -> np.ndarray:
    """Return the version of a dose for patients of each part, as its place among the versions.

    Parameters
    ----------
    births : sequence of (int, float)
        When the patients of a part came, n of them; see `parts`.
    dose : (int, float)
        Part of the month the dose falls in.
    changes : sequence of Change
        In order; with whether each ``happened``.
    place : mapping of str or None to int
        Place of each version.
    first : str or None
        In force before any switch.

    Returns
    -------
    ndarray of int (n,)
    """
    version = np.full(len(births), place[first])
    for change, comes in zip(changes, happened, strict=True):
        if not comes:
            continue
        if change.is_new:
            applies = np.array([birth >= change.at for birth in births], dtype=bool)
        else:
            applies = np.full(len(births), dose >= change.at)
        version[applies] = place[change.version]
    return version


def rows_of_cell(
    rows: Sequence[Row], *, country: str, cohort: str, version: str | None
) -> list[Row]:
    """Pick the rows that hold for patients of a country, cohort and version.

    Parameters
    ----------
    rows : sequence of Row
        Of one study and trigger.
    country, cohort : str
    version : str or None
        None: none in force; rows of version ``*`` only.

    Returns
    -------
    list of Row
        Rows add. But for the same item, offset and version text, the most specific row replaces
        the others: one that names cohort and country goes before one that names the cohort, that
        before one that names the country, that before ``*``. Rows of version ``*`` and rows of
        ``version`` add.
    """
    chosen: dict[tuple[str, int, str], list[Row]] = {}
    for row in rows:
        if row.country not in (ANY, country) or row.cohort not in (ANY, cohort):
            continue
        if row.version not in (ANY, version):
            continue
        held = chosen.setdefault((row.item, row.offset, row.version), [])
        if held and row.rank > held[0].rank:
            held.clear()
        if not held or row.rank == held[0].rank:
            held.append(row)
    return [row for held in chosen.values() for row in held]
