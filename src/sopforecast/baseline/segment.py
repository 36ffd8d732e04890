"""Sort series into segments that are modelled and pooled alike.

Reads ``Cleansed`` (baseline.cleanse) and returns ``Segments``, one row an item. In this order:

=========  ===================================================================================
dead       no demand in the last 24 months, or never
short      fewer than 24 known months (fewer than 12 where they look sparse)
sparse     1.32 months or more between demands on average, or over 25% of months without demand;
           unless the calendar month explains over half of it, as with a vaccine sold in autumn
seasonal   the calendar month explains more of the detrended demand than chance would (1%)
smooth     everything else
=========  ===================================================================================

Months before demand began do not count: a first run of zeros so long that the item's later rhythm
would give it in fewer than 1% of cases is a product not yet launched, not sparse demand.

The limit of 1.32 months is that of Syntetos, Boylan and Croston (2005), Journal of the Operational
Research Society 56, 495-503. The test for season is an analysis of variance over calendar months.
On M1, M3, Australian tourism, retail and prescriptions, with 24 to 60 months of history, taking out
the season where this test saw one gave lower errors than never, than always (but on retail, where
nearly all items have one) and than the usual test on the autocorrelation at 12 months, which misses
many seasons in three years of data.
"""

from __future__ import annotations

import dataframely as dy
import numpy as np
import polars as pl

from sopforecast.baseline.wide import sum_in_order
from sopforecast.errors import RequestError

SEGMENTS = ("smooth", "seasonal", "sparse", "short", "dead")
DEAD_AFTER_MONTHS = 24
SPARSE_FROM_MONTHS = 12
SHORT_BELOW_MONTHS = 24
SPARSE_INTERVAL = 1.32
SPARSE_ZERO_SHARE = 0.25
SEASON_LEVEL = 0.01
SEASON_OVER_SPARSE = 0.5  # strength; 6 of 2,239 sparse car parts reach it
UNLAUNCHED_LEVEL = 0.01


class Segments(dy.Schema):
    """One row an item, sorted. Shares are 0 to 1; months count from ``first_ds``."""

    unique_id = dy.String(primary_key=True)
    segment = dy.Enum(SEGMENTS)
    first_ds = dy.Date(resolution="1mo")
    n_months = dy.Int64(min=0)
    n_zero_share = dy.Float64(nullable=True, min=0, max=1)
    mean_interval = dy.Float64(nullable=True, min=1)
    cv2 = dy.Float64(nullable=True, min=0)
    seasonal_strength = dy.Float64(nullable=True, min=0, max=1)
    is_whole = dy.Bool()


def segment(cleansed: pl.DataFrame) -> pl.DataFrame:
    """Segment and describe every item.

    Parameters
    ----------
    cleansed : pl.DataFrame
        ``Cleansed``: unique_id, ds, y_original, y, flag; dense months. It may be cut at an earlier
        last month, as a backtest does.

    Returns
    -------
    pl.DataFrame
        ``Segments``, sorted by unique_id. ``first_ds``: the month demand began (or the first
        month). ``n_months``: months with a recorded demand. ``n_zero_share``, ``mean_interval``
        (months between demands) and ``cv2`` (squared coefficient of variation of the demands that
        are not zero) leave out gaps and stock-outs; null where there is nothing to measure.
        ``seasonal_strength``: see `seasonal_strength`; null for short and dead items.
        ``is_whole``: every recorded demand is a whole number.

    Raises
    ------
    RequestError
        When an item misses a month, or has a month twice.
    """
    if cleansed.is_empty():
        return Segments.create_empty()
    rows = _since_launch(_checked(cleansed))
    table = rows.group_by("unique_id", maintain_order=True).agg(**_descriptions())
    table = table.join(_season(rows, table), on="unique_id", how="left", maintain_order="left")
    seasonal = (pl.col("chance") < SEASON_LEVEL).fill_null(False)
    choice = (
        pl.when(~pl.col("alive"))
        .then(pl.lit("dead"))
        .when((pl.col("n_months") < SHORT_BELOW_MONTHS) & ~_is_sparse_for_sure())
        .then(pl.lit("short"))
        .when(_is_sparse() & ~(seasonal & (pl.col("seasonal_strength") > SEASON_OVER_SPARSE)))
        .then(pl.lit("sparse"))
        .when(seasonal)
        .then(pl.lit("seasonal"))
        .otherwise(pl.lit("smooth"))
    )
    table = table.with_columns(segment=choice.cast(pl.Enum(SEGMENTS)))
    return table.select(Segments.column_names())


def seasonal_strength(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How much of the demand around its trend the calendar month explains, and by what chance.

    Parameters
    ----------
    values : np.ndarray
        (n, T), T >= 24, no NaN; one row a series.

    Returns
    -------
    strength, chance : np.ndarray
        (n,) each. ``strength`` 0 to 1; ``chance`` is the probability that demand without season
        would look as seasonal (F test on 11 and T - 12 degrees of freedom).

    Notes
    -----
    ``w = (y - trend) / trend`` with the centred 12-month average, drawn on at both ends along its
    own slope over a year. Strength is ``1 - (SSW / (T - 12)) / (SST / (T - 1))``, the adjusted
    share, so that three years of noise score 0 and not a third. Demand with a memory from month to
    month but no season passes the 1% test in about 6% of cases.
    """
    from scipy.special import fdtrc

    months = values.shape[1]
    if months < 24:
        raise ValueError(f"{months} months given; allowed: 24 or more")
    trend = _trend(values)
    size = sum_in_order(np.abs(values))[:, None] / months
    unit = np.maximum(trend, 0.2 * size)
    around = (values - trend) / np.where(unit > 0, unit, 1.0)
    around -= sum_in_order(around)[:, None] / months
    typical = np.empty_like(around)
    for month in range(12):
        same = around[:, month::12]
        typical[:, month::12] = sum_in_order(same)[:, None] / same.shape[1]
    total = sum_in_order(around**2)
    between, within = sum_in_order(typical**2), sum_in_order((around - typical) ** 2)
    flat = total <= 1e-12 * months
    exact = within <= 1e-12 * total
    within_one = within / (months - 12)
    ratio = (between / 11) / np.where(exact, 1.0, within_one)
    chance = np.where(exact, 0.0, fdtrc(11, months - 12, ratio))
    share = 1.0 - within_one / np.where(flat, 1.0, total / (months - 1))
    return np.where(flat, 0.0, np.clip(share, 0.0, 1.0)), np.where(flat, 1.0, chance)


def _checked(cleansed: pl.DataFrame) -> pl.DataFrame:
    rows = cleansed.sort("unique_id", "ds")
    step = pl.col("ds").dt.year().cast(pl.Int64) * 12 + pl.col("ds").dt.month()
    broken = rows.filter(step.diff().over("unique_id") != 1)
    if broken.height:
        raise RequestError(
            f"the months of {broken['unique_id'][0]!r} are not dense at {broken['ds'][0]}; "
            "allowed: every month once; pass what cleanse() returned"
        )
    return rows


def _since_launch(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows from the month demand began, with ``seen``: demand was known and not censored."""
    rows = rows.with_columns(
        seen=~pl.col("flag").is_in(["gap", "stockout"]), demand=pl.col("y") != 0
    )
    seen_demand = pl.col("seen") & pl.col("demand")
    begun = (pl.col("demand") & (pl.col("flag") != "gap")).cum_max().over("unique_id")
    before = (pl.col("seen") & ~begun).sum().over("unique_id")
    demands = (seen_demand & begun).sum().over("unique_id")
    months = (pl.col("seen") & begun).sum().over("unique_id")
    by_chance = (1 - demands / (months + 1)) ** before
    return rows.filter(begun | (demands == 0) | (by_chance >= UNLAUNCHED_LEVEL))


def _descriptions() -> dict[str, pl.Expr]:
    """What is said of an item, from its rows since launch."""
    recorded, seen = pl.col("y_original").is_not_null(), pl.col("seen")
    demands = pl.col("y").filter(seen & pl.col("demand"))
    recent = (pl.col("y") > 0) & (pl.col("flag") != "gap")
    nothing = demands.len() == 0
    return {
        "first_ds": pl.col("ds").first(),
        "n_rows": pl.len().cast(pl.Int64),
        "n_months": recorded.sum().cast(pl.Int64),
        "n_zero_share": (~pl.col("demand")).filter(seen).mean(),
        "mean_interval": pl.when(nothing).then(None).otherwise(seen.sum() / demands.len()),
        "cv2": _squared_variation(demands),
        "alive": recent.tail(DEAD_AFTER_MONTHS).any(),
        "is_whole": (pl.col("y_original") == pl.col("y_original").round()).all(),
    }


def _squared_variation(demands: pl.Expr) -> pl.Expr:
    """Sample variance over squared mean; null below two demands or for a mean of zero."""
    mean = demands.cum_sum().last() / demands.len()
    squares = ((demands - mean) ** 2).cum_sum().last() / (demands.len() - 1)
    return pl.when((demands.len() > 1) & (mean != 0)).then(squares / mean**2).otherwise(None)


def _is_sparse_for_sure() -> pl.Expr:
    return _is_sparse() & (pl.col("n_months") >= SPARSE_FROM_MONTHS)


def _is_sparse() -> pl.Expr:
    rare = pl.col("mean_interval") >= SPARSE_INTERVAL
    return (rare | (pl.col("n_zero_share") > SPARSE_ZERO_SHARE)).fill_null(False)


def _season(rows: pl.DataFrame, table: pl.DataFrame) -> pl.DataFrame:
    """unique_id, seasonal_strength, chance of the items that are alive and long enough."""
    asked = table.filter("alive", pl.col("n_months") >= SHORT_BELOW_MONTHS)
    asked = asked.select("unique_id", "n_rows")
    values = rows.join(asked, on="unique_id", how="inner", maintain_order="left")
    parts = []
    for (months,), group in values.group_by("n_rows", maintain_order=True):
        wide = group["y"].to_numpy().reshape(-1, int(str(months)))
        strength, chance = seasonal_strength(wide)
        ids = group["unique_id"].gather_every(wide.shape[1])
        parts.append(
            pl.DataFrame([ids]).with_columns(
                seasonal_strength=pl.Series(strength), chance=pl.Series(chance)
            )
        )
    schema = {"unique_id": pl.String, "seasonal_strength": pl.Float64, "chance": pl.Float64}
    return pl.concat([pl.DataFrame(schema=schema), *parts])


def _trend(values: np.ndarray) -> np.ndarray:
    """Centred 12-month average, (n, T); the 6 months at each end follow its slope over a year."""
    months = values.shape[1]
    middle = 0.5 * values[:, : months - 12] + 0.5 * values[:, 12:]
    for shift in range(1, 12):
        middle = middle + values[:, shift : months - 12 + shift]
    middle = middle / 12
    year = min(12, middle.shape[1] - 1)
    first = (middle[:, year] - middle[:, 0]) / year
    last = (middle[:, -1] - middle[:, -1 - year]) / year
    ahead = np.arange(1.0, 7.0)
    head = middle[:, :1] - first[:, None] * ahead[::-1]
    tail = middle[:, -1:] + last[:, None] * ahead
    return np.concatenate([head, middle, tail], axis=1)
