"""What is stored of the sampled future: quantiles by study, country, site and cohort, by month.

Reads `TrialPaths`; returns rows of ``EnrolmentForecasts`` without ``run_id``. Also the two views
that sentences are made of: patients by a month in every path, and whole-patient quantiles.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from sopforecast.clinical.paths import TrialPaths
from sopforecast.clinical.words import month_text
from sopforecast.core.clinical_tables import ALL, ANY, EnrolmentForecasts
from sopforecast.core.draws import quantile_view
from sopforecast.core.months import add_months, month_range, months_between
from sopforecast.errors import RequestError

LOW, MIDDLE, HIGH = 0.1, 0.5, 0.9
"""The 80% range and its middle."""

_TOGETHER = 32  # nodes sorted at once
_SMALL = 2**15 - 1


@dataclass(frozen=True)
class Spread:
    """Whole patients: 80% of the paths or more lie from ``low`` to ``high``."""

    low: int
    middle: int
    high: int


def enrolment_frame(trials: Mapping[str, TrialPaths]) -> pl.DataFrame:
    """Quantiles of the patients of every study, country, site and cohort.

    Parameters
    ----------
    trials : mapping of str to TrialPaths
        By study.

    Returns
    -------
    pl.DataFrame
        Columns of ``EnrolmentForecasts`` but ``run_id``, in patients: ``monthly``, and
        ``cumulative`` with those enrolled before the cycle. Country rows only where a country is
        named, with ``*`` for the sites that name none; cohort rows only where cohorts are told
        apart. Quantiles do not add over nodes or months; means do.
    """
    frames = [
        _rows(trial, level, names, monthly, before)
        for _, trial in sorted(trials.items())
        for level, names, monthly, before in _levels(trial)
    ]
    schema = {name: column.dtype for name, column in EnrolmentForecasts.columns().items()}
    del schema["run_id"]
    return (pl.concat(frames) if frames else pl.DataFrame(schema=schema)).cast(schema)  # type: ignore[arg-type]


def patients_by(trial: TrialPaths, month: date, *, new: bool = False) -> np.ndarray:
    """Patients enrolled through the end of ``month`` in every path (S,).

    Parameters
    ----------
    trial : TrialPaths
    month : date
        Any day of a month of the horizon.
    new : bool
        Count from the cycle on only; else those enrolled before it too.
    """
    ahead = month_index(trial, month)
    patients = trial.enrolled[..., : ahead + 1].sum(axis=(1, 2, 3), dtype=np.int64)
    return patients if new else patients + trial.enrolled_before.sum()


def month_index(trial: TrialPaths, month: date) -> int:
    """The place of a month in the horizon, 0 for the cycle.

    Raises
    ------
    RequestError
        When the month is not inside the horizon.
    """
    ahead = months_between(trial.cycle, month)
    if not 0 <= ahead < trial.enrolled.shape[3]:
        raise RequestError(
            f"month: found {month_text(month)}; allowed: {month_text(trial.cycle)} to "
            f"{month_text(last_forecast_month(trial))}, the months forecast; "
            "choose one of them or run with a longer --horizon"
        )
    return ahead


def last_forecast_month(trial: TrialPaths) -> date:
    """The last month of the horizon."""
    return add_months(trial.cycle, trial.enrolled.shape[3] - 1)


def exact_quantile(values: np.ndarray, level: float) -> int:
    """The smallest value that at least a share ``level`` of the paths do not exceed.

    A value that was drawn, never one between two (Hyndman and Fan's type 1).

    Examples
    --------
    >>> exact_quantile(np.array([4, 1, 3, 2]), 0.5)
    2
    """
    rank = max(math.ceil(level * len(values) - 1e-9), 1)
    return int(np.partition(values, rank - 1)[rank - 1])


def spread(values: np.ndarray) -> Spread:
    """The 80% range and middle of whole patients (S,), from exact counts of paths."""
    return Spread(*(exact_quantile(values, level) for level in (LOW, MIDDLE, HIGH)))


def _levels(
    trial: TrialPaths,
) -> Iterator[tuple[str, tuple[str, ...], np.ndarray, np.ndarray]]:
    """Level, nodes, monthly patients (S, N, H) and those before the cycle (N,)."""
    enrolled, before = trial.enrolled, trial.enrolled_before.astype(np.float64)
    by_site = enrolled[:, :, 0] if enrolled.shape[2] == 1 else enrolled.sum(axis=2, dtype=np.int32)
    yield "study", (trial.study,), by_site.sum(axis=1, dtype=np.int32)[:, None], before.sum()[None]
    if set(trial.countries) - {ANY}:
        names = tuple(sorted(set(trial.countries)))
        sites = [[place == name for place in trial.countries] for name in names]
        sums = [by_site[:, where].sum(axis=1, dtype=np.int32) for where in sites]
        yield "country", names, np.stack(sums, axis=1), np.array(sites) @ before.sum(axis=1)
    yield "site", trial.sites, by_site, before.sum(axis=1)
    if trial.cohorts != (ALL,):
        yield "cohort", trial.cohorts, enrolled.sum(axis=1, dtype=np.int32), before.sum(axis=0)


def _rows(
    trial: TrialPaths, level: str, names: tuple[str, ...], monthly: np.ndarray, before: np.ndarray
) -> pl.DataFrame:
    horizon = monthly.shape[2]
    views = [
        _views(monthly[:, start : start + _TOGETHER], before[start : start + _TOGETHER])
        for start in range(0, len(names), _TOGETHER)
    ]
    both = [
        pl.DataFrame(
            {
                "cycle": trial.cycle,
                "study": trial.study,
                "level": level,
                "node": np.repeat(np.array(names, dtype=object), horizon).tolist(),
                "ds": month_range(trial.cycle, horizon) * len(names),
                "measure": measure,
                **{
                    label: np.concatenate([view[k][label] for view in views]).ravel()
                    for label in views[0][k]
                },
            }
        )
        for k, measure in enumerate(("monthly", "cumulative"))
        if names
    ]
    return pl.concat(both) if both else pl.DataFrame()


def _views(
    monthly: np.ndarray, before: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Mean and quantiles (N, H) of monthly and of cumulative patients.

    Paths lie side by side in memory, and small numbers in two bytes, because the time goes into
    sorting them.
    """
    lanes = np.ascontiguousarray(monthly.transpose(1, 2, 0))
    summed = np.cumsum(lanes, axis=1, dtype=np.int32)
    if summed.size and int(summed[:, -1].max()) <= _SMALL:
        lanes, summed = lanes.astype(np.int16), summed.astype(np.int16)
    plain, total = (_view(array) for array in (lanes, summed))
    return plain, {label: values + before[:, None] for label, values in total.items()}


def _view(lanes: np.ndarray) -> dict[str, np.ndarray]:
    mean = lanes.sum(axis=2, dtype=np.int64) / lanes.shape[2]
    return {"mean": mean, **quantile_view(lanes.transpose(2, 0, 1))}
