"""Sites and months as arrays: what was counted, and for how much of each month a site was open.

Reads ``sites`` and ``enrolment``; one panel holds the sites of all studies of the workspace.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from sopforecast.clinical.inputs import ClinicalInputs, last_month
from sopforecast.core.clinical_tables import ANY
from sopforecast.core.months import add_months, month_range, months_between


@dataclass(frozen=True, eq=False)
class SitePanel:
    """G sites of all studies over T months, the last of them the month before the cycle.

    Attributes
    ----------
    sites : tuple of (study, site), length G
        Sorted.
    studies, countries : tuple of str
        Distinct names; a country is ``*`` where none is given.
    study_of, country_of : ndarray of int (G,)
        Indexes into them.
    months : tuple of date, length T
    opened : ndarray of int (G,)
        Month in which the site opened, -1: not yet (also when it closed before it opened).
    seen_at_first : ndarray of bool (G,)
        Its opening is known from its first patient only, so its first month is at least 1.
    closed : ndarray of int (G,)
        First month in which it is closed all month; T: open at the end.
    exposure : ndarray (G, T)
        Share of the month it was open.
    enrolled, screened, screen_failed : ndarray (G, T)
        Over all cohorts; NaN: not reported.
    capacity, planned_rate : ndarray (G,)
        Patients a month; NaN: none given.
    """

    sites: tuple[tuple[str, str], ...]
    studies: tuple[str, ...]
    countries: tuple[str, ...]
    study_of: np.ndarray
    country_of: np.ndarray
    months: tuple[date, ...]
    opened: np.ndarray
    seen_at_first: np.ndarray
    closed: np.ndarray
    exposure: np.ndarray
    enrolled: np.ndarray
    screened: np.ndarray
    screen_failed: np.ndarray
    capacity: np.ndarray
    planned_rate: np.ndarray


def site_panel(inputs: ClinicalInputs) -> SitePanel:
    """Lay the sites of all studies out by month, as known at the cycle's cut-off.

    Sites are those of ``sites`` and any that counted patients. A site opens in the month of its
    ``activated_date``, or in that of its first patient when that is earlier or no date is given;
    ``closed_date`` is the first day on which it is closed. A site that opens between the cycle's
    first day and its cut-off has not opened by the end of the panel; one that closes there has
    closed, and nothing more is expected of it. A site whose status, or whose study's,
    is ``closed`` without a date is closed at the end. A month without a row, or with a blank in
    one of its cohorts, is not reported. Where patients were counted in a month in which a site
    should have been closed, it is taken as open for all of it: the count is believed.
    """
    counted = _counted(inputs.enrolment)
    sites = _sites(inputs, counted)
    first = _first_patient(counted)
    before = last_month(inputs)
    dates = [
        _opening(row, first.get((row["study"], row["site"])), before=inputs.cycle) for row in sites
    ]
    start = min((opened for opened, _ in dates if opened is not None), default=before)
    months = month_range(min(start, before).replace(day=1), 1 + months_between(start, before))
    where = {(row["study"], row["site"]): at for at, row in enumerate(sites)}
    series = {name: np.full((len(sites), len(months)), np.nan) for name in _COUNTS}
    for row in counted.iter_rows(named=True):
        at, month = where[row["study"], row["site"]], months_between(months[0], row["ds"])
        if month >= 0:
            for name in _COUNTS:
                series[name][at, month] = np.nan if row[name] is None else row[name]
    shut = {study for study, status in inputs.studies.select("study", "status").iter_rows()
            if status == "closed"}  # fmt: skip
    closes = [_closing(row, inputs.cycle, is_shut=row["study"] in shut) for row in sites]
    opened = np.array(
        [-1 if day is None else months_between(months[0], day) for day, _ in dates], dtype=np.int64
    )
    exposure = np.array(
        [_exposure(day, end, months) for (day, _), end in zip(dates, closes, strict=True)]
    ).reshape(len(sites), len(months))
    some = (np.nan_to_num(series["enrolled"]) > 0) | (np.nan_to_num(series["screened"]) > 0)
    exposure[some & (exposure == 0)] = 1.0
    studies, study_of = _codes([row["study"] for row in sites])
    countries, country_of = _codes([row["country"] or ANY for row in sites])
    return SitePanel(
        sites=tuple(where),
        studies=studies,
        countries=countries,
        study_of=study_of,
        country_of=country_of,
        months=tuple(months),
        opened=opened,
        seen_at_first=np.array([is_first for _, is_first in dates], dtype=bool),
        closed=np.array([_closed_month(end, months) for end in closes], dtype=np.int64),
        exposure=exposure,
        enrolled=series["enrolled"],
        screened=series["screened"],
        screen_failed=series["screen_failed"],
        capacity=_numbers(sites, "capacity"),
        planned_rate=_numbers(sites, "planned_rate"),
    )


_COUNTS = ("enrolled", "screened", "screen_failed")


def _counted(enrolment: pl.DataFrame) -> pl.DataFrame:
    """Counts of a site and month over its cohorts; null when one of them did not report."""
    total = [
        pl.when(pl.col(name).is_null().any()).then(None).otherwise(pl.col(name).sum()).alias(name)
        for name in _COUNTS
    ]
    return enrolment.group_by("study", "site", "ds").agg(total).sort("study", "site", "ds")


def _sites(inputs: ClinicalInputs, counted: pl.DataFrame) -> list[dict[str, Any]]:
    keys = ["study", "site"]
    others = counted.select(keys).unique().join(inputs.sites, on=keys, how="anti")
    both = pl.concat([inputs.sites, others], how="diagonal")
    return both.sort(keys).to_dicts()


def _first_patient(counted: pl.DataFrame) -> dict[tuple[str, str], date]:
    some = (pl.col("enrolled") > 0).fill_null(value=False) | (pl.col("screened") > 0).fill_null(
        value=False
    )
    first = counted.filter(some).group_by("study", "site").agg(pl.col("ds").min())
    return {(study, site): ds for study, site, ds in first.iter_rows()}


def _opening(row: dict[str, Any], first: date | None, *, before: date) -> tuple[date | None, bool]:
    """The day a site opened before the cycle, and whether only its first patient tells."""
    activated, closed = row["activated_date"], row["closed_date"]
    if activated is None and closed is not None and (first is None or first >= closed):
        first = None
    if activated is None or (first is not None and first < activated.replace(day=1)):
        return first, first is not None
    return (activated if activated < before else None), False


def _closing(row: dict[str, Any], cycle: date, *, is_shut: bool) -> date | None:
    if row["closed_date"] is not None:
        return row["closed_date"]
    return cycle if is_shut or row["status"] == "closed" else None


def _exposure(opened: date | None, closed: date | None, months: list[date]) -> list[float]:
    """Share of each month between the two days, the second not included."""
    if opened is None:
        return [0.0] * len(months)
    shares = []
    for month in months:
        after = add_months(month, 1)
        days = (min(after, closed or after) - max(month, opened)).days
        shares.append(max(days, 0) / (after - month).days)
    return shares


def _closed_month(closed: date | None, months: list[date]) -> int:
    """First month closed all month; the last of all when it closed inside it."""
    if closed is None:
        return len(months)
    whole = months_between(months[0], closed) + (closed.day > 1)
    return min(max(whole, 0), len(months) - 1)


def _codes(names: list[str]) -> tuple[tuple[str, ...], np.ndarray]:
    distinct = tuple(sorted(set(names)))
    at = {name: index for index, name in enumerate(distinct)}
    return distinct, np.array([at[name] for name in names], dtype=np.int64)


def _numbers(sites: list[dict[str, Any]], column: str) -> np.ndarray:
    return np.array([np.nan if row[column] is None else row[column] for row in sites], dtype=float)
