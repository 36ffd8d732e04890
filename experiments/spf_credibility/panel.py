"""The survey's panels as arrays, the statistical forecasts they are measured against, and peers.

Axes: ``S`` survey quarters, ``E`` experts, ``T`` target quarters. A target quarter is known from
the next survey quarter on, as first released; nothing here looks at it earlier.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

HORIZONS = 5
REBASED = 4.0  # percent a quarter: no growth of real product is that large, a new base year is
MIN_ERRORS = 4
FIRST = 3
MIN_RECORD = 8


@dataclass(frozen=True)
class Cell:
    """One variable at one horizon.

    Attributes
    ----------
    variable : str
    horizon : int
        Quarters from the survey to the target.
    start : int
        First survey, in quarters since year 0.
    known : ndarray (T,)
        First releases (levels), or growth of one quarter in percent (growth variables).
    truth : ndarray (S,)
        What came of the quarter each survey was asked about.
    forecasts : ndarray (S, E)
        NaN where an expert did not answer.
    cumulative : bool
        Truth and forecasts are growth since the last known quarter.
    """

    variable: str
    horizon: int
    start: int
    known: np.ndarray
    truth: np.ndarray
    forecasts: np.ndarray
    cumulative: bool

    def closed(self, survey: int) -> np.ndarray:
        """Surveys whose target is known before ``survey`` and which somebody answered."""
        past = np.arange(max(survey - self.horizon, 0))
        heard = (~np.isnan(self.forecasts[past])).any(axis=1)
        return past[heard & ~np.isnan(self.truth[past])]


def read_panel(folder: Path, variable: str) -> tuple[int, np.ndarray, np.ndarray]:
    """First survey (quarters since year 0), first releases (T,), forecasts (horizons, S, E)."""
    rows = pl.read_parquet(folder / "spf_individual.parquet").filter(pl.col("variable") == variable)
    rows = rows.with_columns(survey=_quarter("survey_q"), target=_quarter("target_q"))
    first = rows["survey"].min()
    survey, target = (rows[n].to_numpy() - first for n in ("survey", "target"))
    experts, expert = np.unique(rows["expert"].to_numpy(), return_inverse=True)
    released = np.full(target.max() + 1, np.nan)
    released[target] = rows["realised_first_release"].to_numpy()
    forecasts = np.full((HORIZONS, survey.max() + 1, experts.size), np.nan)
    forecasts[rows["horizon_q"].to_numpy(), survey, expert] = rows["forecast"].to_numpy()
    return int(first), released, forecasts


def _quarter(name: str) -> pl.Expr:
    year = pl.col(name).str.slice(0, 4).cast(pl.Int64)
    return 4 * year + pl.col(name).str.slice(5, 1).cast(pl.Int64)


def level_cells(folder: Path, variable: str) -> list[Cell]:
    """Read a variable forecast as it is: a rate, by horizon."""
    start, released, forecasts = read_panel(folder, variable)
    surveys = forecasts.shape[1]
    return [
        Cell(variable, h, start, released, released[h : h + surveys].copy(), forecasts[h], False)
        for h in range(HORIZONS)
    ]


def growth_cells(folder: Path, variable: str) -> list[Cell]:
    """Read a level as growth: of the target quarter, and since the last known quarter, percent.

    Quarters at which the base year of real product changed have no growth.
    """
    start, released, forecasts = read_panel(folder, variable)
    surveys = forecasts.shape[1]
    growth = np.full(released.size, np.nan)
    growth[1:] = 100 * np.diff(np.log(released))
    if variable == "RGDP":
        growth[np.abs(growth) > REBASED] = np.nan
    last = np.full(surveys, np.nan)
    last[1:] = released[: surveys - 1]
    cells = []
    for h in range(HORIZONS):
        before = last[:, None] if h == 0 else forecasts[h - 1]
        one = 100 * np.log(forecasts[h] / before)
        cells.append(
            Cell(f"{variable} growth", h, start, growth, growth[h : h + surveys].copy(), one, False)
        )
    for h in range(1, HORIZONS):
        since = np.full(surveys, np.nan)
        since[1:] = [growth[s : s + h + 1].sum() for s in range(1, surveys)]
        all_of_it = 100 * np.log(forecasts[h] / last[:, None])
        cells.append(Cell(f"{variable} growth so far", h, start, growth, since, all_of_it, True))
    return cells


def statistical(cell: Cell) -> tuple[np.ndarray, np.ndarray]:
    """Forecast the truth without the experts: centre (S,) and error size (S,).

    Last value, first-order autoregression, mean of ten years, mean of one year: the one with the
    smallest mean absolute error so far. The size is 1.2533 times the mean absolute error of what
    was chosen so far, the standard deviation if errors were normal; NaN before four errors.
    """
    surveys, h = len(cell.truth), cell.horizon
    tried = np.full((4, surveys), np.nan)
    for survey in range(FIRST, surveys):
        known = cell.known[:survey]
        if np.count_nonzero(~np.isnan(known)) >= FIRST:
            tried[:, survey] = _simple_forecasts(known, h, cell.cumulative)
    error = np.abs(cell.truth - tried)
    centre, size = np.full(surveys, np.nan), np.full(surveys, np.nan)
    for survey in range(FIRST, surveys):
        past = error[:, : max(survey - h, 0)]
        past = past[:, ~np.isnan(past).any(axis=0)]
        best = int(np.argmin(past.mean(axis=1))) if past.shape[1] >= 2 * MIN_ERRORS else 0
        centre[survey] = tried[best, survey]
        own = np.abs(cell.truth - centre)[: max(survey - h, 0)]
        own = own[~np.isnan(own)]
        if own.size >= MIN_ERRORS:
            size[survey] = 1.2533 * own.mean()
    return centre, size


def _simple_forecasts(known: np.ndarray, horizon: int, cumulative: bool) -> np.ndarray:
    """Last value, autoregression, mean of ten years and of one year, for the target."""
    seen = known[~np.isnan(known)]
    last, mean, variance = seen[-1], seen.mean(), seen.var() + 1e-9
    step = 1 if cumulative else horizon + 1
    # The slope is shrunk, as eight quarters would, to what persistent rates and growth do.
    prior = 0.3 if cumulative else 0.9**step
    before, after = known[:-step] - mean, known[step:] - mean
    both = ~np.isnan(before) & ~np.isnan(after)
    slope = (before[both] @ after[both] + 8 * variance * prior) / (
        before[both] @ before[both] + 8 * variance
    )
    if not cumulative:
        regressed = mean + np.clip(slope, -0.2, 1.0) * (last - mean)
        return np.array([last, regressed, seen[-40:].mean(), seen[-4:].mean()])
    quarters = horizon + 1
    regressed = quarters * mean + sum(slope**j for j in range(1, quarters + 1)) * (last - mean)
    return np.array(
        [quarters * last, regressed, quarters * seen[-40:].mean(), quarters * seen[-4:].mean()]
    )


def best_three(cell: Cell, survey: int, closed: np.ndarray) -> float:
    """Mean of the three present experts with the smallest past error, the panel's where too few.

    Errors are relative to the panel's of the same quarter; eight closed forecasts are needed.
    """
    now = cell.forecasts[survey]
    error = np.abs(cell.truth[closed, None] - cell.forecasts[closed])
    relative = error / np.maximum(np.nanmean(error, axis=1, keepdims=True), 1e-12)
    count = (~np.isnan(relative)).sum(axis=0)
    able = np.flatnonzero(~np.isnan(now) & (count >= MIN_RECORD))
    if able.size < 3:
        return float(np.nanmean(now))
    past = np.nansum(relative[:, able], axis=0) / count[able]
    return float(now[able[np.argsort(past)[:3]]].mean())
