"""The last day on which a month's demand can still be ordered without expediting it.

Reads ``schedule``, the lead times of ``items`` and the clinic's demand. A lead time is gamma
distributed with the mean and standard deviation of the item (two moments are all that is asked
for); an order placed on the day arrives by the first day of the demand month with the probability
asked for. A blank or zero standard deviation: the lead time is the mean itself.
"""

from __future__ import annotations

import math
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl

from sopforecast.clinical.inputs import ClinicalInputs
from sopforecast.clinical.schedule import ItemDemand
from sopforecast.clinical.words import MONTHS, day_text, listed, month_text, plural
from sopforecast.core.draws import mean_view, quantile_view
from sopforecast.core.months import add_months, month_range, months_between
from sopforecast.errors import RequestError

CONFIRM_COLUMNS = {
    "study": pl.String,
    "unique_id": pl.String,
    "ds": pl.Date,
    "enrolled_ds": pl.Date,
    "confirm_date": pl.Date,
    "passed": pl.Boolean,
    "mean": pl.Float64,
    "p90": pl.Float64,
    "lead_time_days": pl.Float64,
    "service_level": pl.Float64,
}
"""Columns of `confirm_dates`; ``mean`` and ``p90`` are the item's demand over all studies."""

_SAME_DAY = 1e-6  # days: so little over a whole day is rounding


def confirm_by(
    month: date,
    *,
    lead_time_days: float | None,
    lead_time_sd_days: float | None,
    service_level: float,
) -> date | None:
    """Return the last day on which an order still arrives by the first day of the month.

    Parameters
    ----------
    month : date
        Demand month; the order has to be there on its first day.
    lead_time_days, lead_time_sd_days : float or None
        Mean and standard deviation in days; ``None`` is blank.
    service_level : float
        Probability, above 0 and below 1, with which the order arrives in time.

    Returns
    -------
    date or None
        None where the mean is blank: nothing can be said.

    Examples
    --------
    >>> confirm_by(
    ...     date(2027, 4, 1), lead_time_days=76.0, lead_time_sd_days=None, service_level=0.95
    ... )
    datetime.date(2027, 1, 15)
    """
    if not 0 < service_level < 1:
        raise RequestError(
            f"service_level: found {service_level:g}; allowed: above 0 and below 1, for instance "
            "0.95; change it in sopforecast.toml"
        )
    if lead_time_days is None:
        return None
    days = _days_needed(lead_time_days, lead_time_sd_days or 0.0, service_level)
    first = month.replace(day=1)
    return first - timedelta(days=min(math.ceil(days - _SAME_DAY), (first - date.min).days))


def confirm_dates(
    inputs: ClinicalInputs,
    items: pl.DataFrame,
    demand: ItemDemand,
    *,
    cycle: date,
    service_level: float,
    today: date,
) -> pl.DataFrame:
    """List the confirm-by date of every study, item and month with demand.

    Parameters
    ----------
    inputs : ClinicalInputs
    items : pl.DataFrame
        ``unique_id``, ``lead_time_days``, ``lead_time_sd_days``.
    demand : ItemDemand
    cycle : date
        Month 0 of the demand.
    service_level : float
    today : date
        A date before it has passed.

    Returns
    -------
    pl.DataFrame
        ``CONFIRM_COLUMNS``, sorted by study, item and month. ``enrolled_ds`` is the month whose
        patients drive the demand first: ``ds`` less the item's smallest offset after enrolment
        (after screening or activation, where it has no other). ``confirm_date`` and ``passed`` are
        null where the item or its lead time is not known.
    """
    months = month_range(cycle, demand.draws.shape[2])
    mean, p90 = mean_view(demand.draws), quantile_view(demand.draws)["p90"]
    place = {item: index for index, item in enumerate(demand.items)}
    lead = {
        name: (days, sd)
        for name, days, sd in items.select(
            "unique_id", "lead_time_days", "lead_time_sd_days"
        ).iter_rows()
    }
    rows = []
    for (study, item), offset in _smallest_offsets(inputs).items():
        if item not in place:
            continue
        days, sd = lead.get(item, (None, None))
        for ahead in np.flatnonzero(mean[place[item]] > 0).tolist():
            last_day = confirm_by(
                months[ahead],
                lead_time_days=days,
                lead_time_sd_days=sd,
                service_level=service_level,
            )
            rows.append(
                {
                    "study": study,
                    "unique_id": item,
                    "ds": months[ahead],
                    "enrolled_ds": add_months(months[ahead], -offset),
                    "confirm_date": last_day,
                    "passed": None if last_day is None else last_day < today,
                    "mean": mean[place[item], ahead],
                    "p90": p90[place[item], ahead],
                    "lead_time_days": days,
                    "service_level": service_level,
                }
            )
    return pl.DataFrame(rows, schema=CONFIRM_COLUMNS).sort("study", "unique_id", "ds")


def confirm_sentences(dates: pl.DataFrame) -> tuple[str, ...]:
    """Say by when each study's enrolment must be confirmed, what is too late, what is missing.

    Parameters
    ----------
    dates : pl.DataFrame
        Of `confirm_dates`.

    Returns
    -------
    tuple of str
        For each study in order: the next month all of whose items can still be ordered in time,
        with the item that decides; the months for which the date has passed; items without a lead
        time.
    """
    told: list[str] = []
    for (study,), of_study in dates.group_by("study", maintain_order=True):
        first = of_study.filter(pl.col("confirm_date").is_not_null()).sort(
            "ds", "confirm_date", "unique_id"
        )
        deciding = first.unique("ds", keep="first", maintain_order=True)
        ahead = deciding.filter(~pl.col("passed"))
        if not ahead.is_empty():
            told.append(_still(str(study), ahead.row(0, named=True)))
        late = deciding.filter("passed")
        if not late.is_empty():
            told.append(_too_late(str(study), late))
        blank = of_study.filter(pl.col("confirm_date").is_null())["unique_id"].unique().sort()
        if len(blank):
            told.append(
                f"Study {study}: no confirm-by date for {plural('item', len(blank))} "
                f"{listed(blank.to_list())}: lead_time_days is blank; fill it in in items."
            )
    return tuple(told)


def _days_needed(mean: float, sd: float, level: float) -> float:
    """Quantile of a gamma lead time of that mean and standard deviation, in days."""
    if mean <= 0 or sd <= 0:
        return mean
    from scipy.special import gammaincinv

    shape = (mean / sd) ** 2
    return float(gammaincinv(shape, level)) * mean / shape


def _smallest_offsets(inputs: ClinicalInputs) -> dict[tuple[str, str], int]:
    after_enrolment = pl.col("month_offset").filter(pl.col("per") == "enrolled").min()
    table = (
        inputs.schedule.filter(pl.col("quantity") > 0)
        .group_by("study", "unique_id")
        .agg(offset=after_enrolment.fill_null(pl.col("month_offset").min()))
        .sort("study", "unique_id")
    )
    return {(study, item): offset for study, item, offset in table.iter_rows()}


def _still(study: str, row: dict[str, Any]) -> str:
    by, month, enrolled = row["confirm_date"], row["ds"], row["enrolled_ds"]
    name = MONTHS[month.month - 1] if month.year == by.year else month_text(month)
    whose = "Enrolment" if enrolled == month else f"Enrolment of {month_text(enrolled)}"
    return (
        f"{whose} must be confirmed by {day_text(by)} to support {name} dosing without expedite "
        f"(study {study}, {_item(row)})."
    )


def _too_late(study: str, late: pl.DataFrame) -> str:
    months = late["ds"].to_list()
    span = listed(month_text(month) for month in months)
    if len(months) > 2 and months_between(months[0], months[-1]) == len(months) - 1:
        span = f"{month_text(months[0])} to {month_text(months[-1])}"
    row = late.row(-1, named=True)
    return (
        f"Study {study}: too late to confirm enrolment for dosing in {span} without expedite; the "
        f"last of these dates was {day_text(row['confirm_date'])} ({_item(row)})."
    )


def _item(row: dict[str, Any]) -> str:
    lead, service = f"{row['lead_time_days']:g}", f"{100 * row['service_level']:g}"
    return f"item {row['unique_id']}: lead time {lead} days, {service}% service"
