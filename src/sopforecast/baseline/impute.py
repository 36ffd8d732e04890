"""What demand an unknown month would have had, and which single months are freaks.

Arrays are (n, T): one row a series, one column a month, the same calendar month every 12 columns;
NaN where nothing usable is known, or outside the series. All row by row, by medians or by sums in a
fixed order, so that a series gives the same bits in any company.
"""

from __future__ import annotations

import numpy as np

from sopforecast.baseline.wide import known_median, shifted, sum_in_order

WINDOWS = (6, 12, 36)  # months each side that make a local level, narrowest first
MIN_USABLE = 3
ZERO_SHARE = 0.3  # more zeros than this: demand is intermittent
FREAK = 6.0  # robust standard deviations
ORDINARY = 3.0
LEAST_SPREAD = 0.05  # of the level: smaller wobbles are not worth a flag
YEARS = (-36, -24, -12, 12, 24, 36)


def is_intermittent(usable: np.ndarray) -> np.ndarray:
    """(n,) whether more than 30% of a row's usable months are zero."""
    known = np.isfinite(usable).sum(axis=1)
    zeros = (usable == 0).sum(axis=1)
    return np.asarray(zeros > ZERO_SHARE * known)


def expected_demand(usable: np.ndarray, *, intermittent: np.ndarray) -> np.ndarray:
    """Expected demand of every month from the *other* usable months; (n, T), the item's unit.

    Steady items: the median of the months around times the seasonal ratio of the same calendar
    month in up to three years each way. Intermittent items: the mean of the months around, because
    their median says zero.

    Notes
    -----
    ``level(t) = median(y(t-w) ... y(t-1), y(t+1) ... y(t+w))`` with w = 6, or the first of 6, 12,
    36 that holds 3 usable months, else the whole row.
    ``ratio(t) = median(1, y(t+k) / level(t+k) for k = -36 ... 36 by 12)``: the 1 keeps a single
    year from deciding alone. The ratio is used where it brings a row's own usable months nearer in
    sum (each left out of its own estimate). A level that is not positive is used as it is.
    Hiding months of M3, retail, tourism and prescriptions, this mostly came nearer the truth than
    the level alone, the mean around, or ratios without the 1; on lumpy clinic records it came as
    near as the level alone.
    """
    level = local_level(usable, wanted=np.ones(usable.shape, dtype=bool))
    expected = _with_season(usable, level)
    if intermittent.any():
        expected[intermittent] = _local_mean(usable[intermittent])
    return expected


def freak_months(usable: np.ndarray) -> np.ndarray:
    """(n, T) single months far from everything they could be compared with.

    A month is a freak when it lies, always on the same side, more than 6 robust standard deviations
    from the level around it, with and without season; from the 3 months before and from the 3 after
    (so a step is none); and from the same calendar month of every other year (so a December peak
    is none). Both neighbours must be ordinary, another year must be there to compare with, and
    two months before and after that are known.

    Notes
    -----
    The standard deviation is relative to the level: 1.4826 times the median absolute relative
    residual, and at least 5%; for whole numbers at least that of a Poisson count.
    """
    level = local_level(usable, wanted=np.isfinite(usable))
    level = np.where(level > 0, level, np.nan)
    ratios = _ratios(usable, level)
    season = _season(ratios)
    unit = level * _spread(usable, level, season)
    before, after = _side_levels(usable / np.maximum(season, 0.1))
    high = np.ones(usable.shape, dtype=bool)
    low = high.copy()
    with np.errstate(invalid="ignore"):
        for reference in (level * season, level, before * season, after * season):
            high &= (usable - reference) > FREAK * unit
            low &= (usable - reference) < -FREAK * unit
        another_year = np.zeros(usable.shape, dtype=bool)
        for ratio in ratios:
            compared = np.isfinite(ratio)
            another_year |= compared
            high &= ~compared | ((usable - level * ratio) > FREAK * unit)
            low &= ~compared | ((usable - level * ratio) < -FREAK * unit)
        ordinary = np.abs(usable - level * season) <= ORDINARY * unit
    freak = (high | low) & another_year
    freak[:, 1:] &= ordinary[:, :-1]
    freak[:, :-1] &= ordinary[:, 1:]
    return freak


def local_level(usable: np.ndarray, *, wanted: np.ndarray) -> np.ndarray:
    """Median of the usable months around each ``wanted`` month, itself left out; (n, T)."""
    level = np.full(usable.shape, np.nan)
    for half in WINDOWS:
        row, column = np.nonzero(wanted & np.isnan(level))
        around = _windows(usable, half)[row, column]  # only the cells still to fill
        around[:, half] = np.nan
        level[row, column] = known_median(around, least=MIN_USABLE)
    whole = known_median(usable, least=1)[:, None]
    return np.where(wanted & np.isnan(level), whole, level)


def _with_season(usable: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Level times season in the rows whose usable months it explains better; (n, T)."""
    seasonal = np.where(level > 0, level * _season(_ratios(usable, level)), level)
    helps = sum_in_order(np.abs(usable - seasonal)) < sum_in_order(np.abs(usable - level))
    return np.where(helps[:, None], seasonal, level)


def _local_mean(usable: np.ndarray) -> np.ndarray:
    """Mean of the usable months up to 12 away, itself left out, else of the whole row; (n, T)."""
    around = _windows(usable, 12).copy()
    around[..., 12] = np.nan
    total, count = sum_in_order(around), np.isfinite(around).sum(axis=-1)
    row_total, row_count = sum_in_order(usable), np.isfinite(usable).sum(axis=-1)
    whole = (row_total / np.maximum(row_count, 1))[:, None]
    mean: np.ndarray = np.where(count >= MIN_USABLE, total / np.maximum(count, 1), whole)
    return mean


def _ratios(usable: np.ndarray, level: np.ndarray) -> list[np.ndarray]:
    """Value over level of the same calendar month in other years, one (n, T) array a year."""
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(level > 0, usable / level, np.nan)
    return [shifted(ratio, months) for months in YEARS]


def _season(ratios: list[np.ndarray]) -> np.ndarray:
    """Median of the ratios and 1; (n, T)."""
    return known_median(np.stack([*ratios, np.ones(ratios[0].shape)], axis=-1), least=1)


def _spread(usable: np.ndarray, level: np.ndarray, season: np.ndarray) -> np.ndarray:
    """Robust relative standard deviation, (n, T)."""
    residual = np.abs(usable - level * season) / level
    spread = 1.4826 * known_median(residual, least=1)[:, None]
    whole = (np.isnan(usable) | (usable == np.round(usable))).all(axis=1, keepdims=True)
    poisson = np.where(whole, 1.0 / np.sqrt(level), 0.0)
    return np.maximum(np.maximum(spread, LEAST_SPREAD), poisson)


def _side_levels(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median of the 3 months before and of the 3 after (2 known at least); (n, T) each."""
    before = np.stack([shifted(values, -k) for k in (3, 2, 1)], axis=-1)
    after = np.stack([shifted(values, k) for k in (1, 2, 3)], axis=-1)
    return known_median(before, least=2), known_median(after, least=2)


def _windows(values: np.ndarray, half: int) -> np.ndarray:
    """(n, T, 2 half + 1) view: each month in the middle of its neighbours, NaN beyond the ends."""
    padded = np.pad(values, ((0, 0), (half, half)), constant_values=np.nan)
    return np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1, axis=1)
