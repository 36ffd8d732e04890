"""What the law behind the trial brings after its last month: the truth beside the forecast.

The trial goes on from its true state, many times: true rates, ages and screening failure of its
sites, who is in screening, sites that open late or never, good and bad months, the amendment. A
forecast sees only the tables and has to learn all of this.
"""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass
from datetime import date

import numpy as np

from sopforecast.clinical.forecasts import Spread, spread
from sopforecast.clinical.words import chance, ends, listed, month_text, span
from sopforecast.core.draws import series_rng
from sopforecast.core.months import add_months, month_range, months_between
from sopforecast.demo.trial_law import (
    AMENDED,
    AMENDED_AFTER,
    AMENDED_CHANCE,
    LAW,
    OPEN,
    PLANNED,
    SITES,
    SLIP_FLOOR_DAYS,
    true_sites,
)
from sopforecast.demo.trial_patients import BRANCH_SITES, Patient, draw_patients, site_rows

RUNS = 4000
_Z80 = 1.2816


@dataclass(frozen=True)
class Onward:
    """New patients through ``by``; ``branch`` where all `BRANCH_SITES` open by ``sites_by``.

    ``probability`` is the share of the runs in which they do.
    """

    by: date
    sites_by: date
    new: Spread
    branch: Spread
    probability: float

    @property
    def text(self) -> str:
        """All of it in one sentence."""
        new, branch = self.new, self.branch
        return (
            f"{span(new.low, new.high, 'new patient')} by {month_text(self.by)} (80%), simulated "
            f"onward {RUNS:,} times from the trial's true state; {branch.middle:,} "
            f"({ends(branch.low, branch.high)}) if sites {listed(BRANCH_SITES)} activate by "
            f"{month_text(self.sites_by)} ({chance(self.probability)} likely). The forecast "
            "knows only the tables."
        )


def law_onward(
    *, first_month: date, last_month: date, seed: int, by: date, runs: int = RUNS
) -> Onward:
    """Simulate the trial on, ``runs`` times, through the month ``by``.

    Parameters
    ----------
    first_month, last_month : date
        As of `trial.simulated_trial`.
    seed : int
        Of the trial.
    by : date
        A month after the last one.
    runs : int

    Notes
    -----
    Given rates, openings, shocks and the amendment, patients enrolled of a site and month are
    Poisson: those screened, thinned by failure and by the delay of screening. Targets of cohorts
    are out of reach within months and not looked at; the study's target is.
    """
    count = months_between(first_month, last_month) + 1
    months = month_range(add_months(last_month, 1), months_between(last_month, by))
    sites = site_rows(first_month=first_month, last_month=last_month, seed=seed)
    patients = draw_patients(sites, first_month=first_month, count=count, seed=seed)
    truth = {row["site"]: row for row in true_sites(seed=seed).to_dicts()}
    rng = series_rng(seed, "demo", "trial", "onward")
    expected = np.zeros((runs, len(months)))
    opens_by = np.ones(runs, dtype=bool)
    sites_by = max(row["planned_activation_date"].replace(day=1) for row in sites.to_dicts()
                   if row["site"] in BRANCH_SITES)  # fmt: skip
    for row, one in zip(sites.to_dicts(), SITES, strict=True):
        if one.state == OPEN:
            age = months_between(row["activated_date"].replace(day=1), months[0])
            ages = np.arange(age, age + len(months))
            expected += truth[one.site]["rate"] * np.exp(-ages / LAW.decay_months)
        elif one.state == PLANNED:
            share, ages, opened = _opening(row, months, runs, rng)
            expected += truth[one.site]["rate"] * share * np.exp(-ages / LAW.decay_months)
            if one.site in BRANCH_SITES:
                opens_by &= opened <= months_between(months[0], sites_by)
    expected *= np.exp(rng.normal(-(LAW.shock_sd**2) / 2, LAW.shock_sd, expected.shape))
    expected *= _amended(months, last_month, runs, rng)
    over = np.cumsum(LAW.delay)[np.minimum(np.arange(len(months))[::-1], len(LAW.delay) - 1)]
    new = rng.poisson(expected @ over) + _of_screening(patients, truth, count, runs, rng)
    so_far = sum(not one.failed and one.decided < count for one in patients)
    new = np.minimum(new, max(LAW.target - so_far, 0))
    return Onward(by, sites_by, spread(new), spread(new[opens_by]), float(opens_by.mean()))


def _opening(
    row: dict[str, object], months: list[date], runs: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Share of each month open and age in it (runs, months), and the month opened in (runs,)."""
    planned, probability = row["planned_activation_date"], row["activation_probability"]
    if not isinstance(planned, date) or not isinstance(probability, float):
        raise TypeError("a planned site has a date and a probability")
    slip = np.maximum(
        np.round(rng.normal(LAW.slip_mean_days, LAW.slip_sd_days, runs)), SLIP_FLOOR_DAYS
    )
    days = [(date(month.year, month.month, 1) - planned).days for month in months]
    lengths = np.array([monthrange(month.year, month.month)[1] for month in months])
    share = np.clip((np.array(days) + lengths - slip[:, None]) / lengths, 0.0, 1.0)
    share[rng.random(runs) >= probability] = 0.0
    opened = np.where((share > 0).any(axis=1), (share > 0).argmax(axis=1), len(months))
    ages = np.maximum(np.arange(len(months)) - opened[:, None], 0)
    return share, ages, opened


def _amended(
    months: list[date], last_month: date, runs: int, rng: np.random.Generator
) -> np.ndarray:
    """What the amendment multiplies screening with (runs, months); 1 where it does not come."""
    low, high = np.log(AMENDED)
    times = np.exp(rng.normal((low + high) / 2, (high - low) / (2 * _Z80), runs))
    times[rng.random(runs) >= AMENDED_CHANCE] = 1.0
    since = np.array(months) >= add_months(last_month, AMENDED_AFTER)
    return np.where(since, times[:, None], 1.0)


def _of_screening(
    patients: list[Patient],
    truth: dict[str, dict[str, float]],
    count: int,
    runs: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """How many of those in screening at the end are enrolled (runs,)."""
    waiting = [one.site for one in patients if one.screened < count <= one.decided]
    passes = np.array([1 - truth[site]["fail_share"] for site in waiting])
    return np.asarray((rng.random((runs, len(waiting))) < passes).sum(axis=1))
