"""By what the widths of the next runs are multiplied, learned from where actuals fell.

A width is right when 80% of actuals lie inside P10 to P90, so the factor is the 80% quantile of
the distance from the median over the half-width on its side (`calibration.width_ratio`). Tried on
simulated months whose errors share shocks (5 sums, 7 leads, errors that build up with the lead):
after 6, 12 and 24 months the log factor has an sd of 0.18, 0.13, 0.09 by this quantile, 0.16, 0.12,
0.09 by the likelihood of a scale, 0.18, 0.13, 0.09 as the factor of least WIS, and a bias within
0.04 by each. But where the shape is mistaken (normal for Student's t with 3 degrees, or the other
way round) the ranges of the likelihood hold 84% or 74%, those of the quantile 80%.

What limits it is months, not cells: the cells of one month share its shock. A factor f is learned
as ``f ** (n / (n + 3))`` with n the months, each counting by its age. In that simulation, with true
widths off by a log sd of 0.2, priors of 2, 4 and 6 months differ by less than 15% in error. With 3,
widths that were off by 1.4 or 0.7 are expected to hold 78% or 82% after 24 months (normal errors).
A month's half-life is 24 months: over 36 months and with a prior of 4 the error was 5% above that
of no forgetting when nothing changed, 7% below when the true width wandered by 3% a month and 14%
below when it had jumped by 40% a year ago; 12 months: 11% above, 11% and 25% below.
"""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl

from sopforecast.core.hierarchy import ITEM
from sopforecast.core.learning_tables import LearnedWidths
from sopforecast.core.months import MONTHS_A_YEAR
from sopforecast.learning.calibration import LEAD_BANDS, finite_columns, width_ratio

COMMON, OWN, LEAD = "common", "own:", "lead:"
TARGET = 0.8
PRIOR_MONTHS = 3.0
HALF_LIFE_MONTHS = 24.0
FACTORS = (0.5, 2.0)
SEGMENT_PRIOR = 20.0  # independent cells: of one item, about a month each
SHARED = 0.3  # correlation of two items' errors in a month, for counting independent cells
LEAD_PRIOR_MONTHS = 6.0  # a band of leads is drawn to all leads, as if these many months had said 1
MAX_SHARE = 0.95  # of an item's variance that is common; above, its own part has no say
_SMALLEST = 1e-3


def learn_widths(
    cells: pl.DataFrame, shares: pl.DataFrame, *, closed: date | None = None
) -> pl.DataFrame:
    """Learn factors of the common part of the error, of the own part of segments and of leads.

    Parameters
    ----------
    cells : pl.DataFrame
        ds, cycle, lead, level, segment, unique_id, y, p10, p50, p90, ``factor`` (by which its run's
        widths were multiplied: own of items, common of sums, each times that of the lead) and
        ``kind`` (of items; only ``paths`` have an own part that a factor widens). One row a node,
        month and cycle, in any order.
    shares : pl.DataFrame
        segment, common_share: 0 to 1, the mean share of an item's error variance that is common.
    closed : date, optional
        The last month that may teach; cells of later months are not looked at. None: the newest.

    Returns
    -------
    pl.DataFrame
        ``LearnedWidths`` without ``fit_id``, sorted by part. ``factor`` multiplies what the
        backtest would have set (not the factor before it), within ``FACTORS``. ``ratio`` is what
        was seen, before any drawing to 1: the width that would have held 80% over the width with
        factors of 1, of all sums for ``common`` and of the whole error of the segment's items for
        ``own:``; of ``lead:`` that of its leads over that of all, items and sums together. A part
        without cells has no row, which counts as 1; neither has a segment without a share, whose
        cells still count among all items, nor a lead beyond ``LEAD_BANDS``.

    Raises
    ------
    ValueError
        A number is missing or not finite.

    Notes
    -----
    Sums are taken to be as wide as their common part: own parts average out. In a month every
    level counts the same. Items: what a segment saw and what all items saw are each drawn to 1,
    then the one to the other; with c the common factor, t that ratio and s the common share the
    own factor solves ``t**2 = s c**2 + (1 - s) own**2``. A lead's factor multiplies both, on top.
    All are learned from ratios over widths with factors of 1, so that none sees the others' and
    what a run applied is not applied again.
    """
    if closed is not None:
        cells = cells.filter(pl.col("ds") <= closed)
    share_of = {
        segment: min(max(share, 0.0), MAX_SHARE)
        for segment, share in shares.select(
            pl.col("segment").cast(pl.String), pl.col("common_share").cast(pl.Float64)
        ).iter_rows()
    }
    month = pl.col("ds").dt.year() * MONTHS_A_YEAR + pl.col("ds").dt.month()
    newest = month.max() if closed is None else closed.year * MONTHS_A_YEAR + closed.month
    rows = _relative(cells, share_of).with_columns(age=newest - month)
    sums, items = rows.filter(pl.col("level") != ITEM), rows.filter(pl.col("level") == ITEM)
    learned, common = [], 1.0
    if sums.height:
        ratio, months = _ratio(sums), _months(sums)
        common = _within(_drawn(ratio, months))
        learned.append(_row(COMMON, common, ratio, sums))
    if items.height:
        of_all = _drawn(_ratio(items), _months(items))
        for segment in sorted(set(items["segment"].to_list()) & set(share_of)):
            own = items.filter(pl.col("segment") == segment)
            ratio, months, share = _ratio(own), _months(own), share_of[segment]
            trust = _trust(own, months)
            whole = _drawn(ratio, months) ** trust * of_all ** (1 - trust)
            left = (whole**2 - share * common**2) / (1 - share)
            factor = _within(float(np.sqrt(max(left, 0.0))))
            learned.append(_row(OWN + segment, factor, ratio, own))
    learned += _of_leads(rows)
    declared = {n: c.dtype for n, c in LearnedWidths.columns().items() if n != "fit_id"}
    return pl.DataFrame(learned, schema=declared, orient="row").sort("part")


def _of_leads(rows: pl.DataFrame) -> list[tuple[object, ...]]:
    """How much wider errors of some months ahead are than those of all, beside the range's own."""
    if rows.is_empty():
        return []
    of_all, learned = max(_ratio(rows), _SMALLEST), []
    for first, last in LEAD_BANDS:
        own = rows.filter(pl.col("lead").is_between(first, last))
        if own.height:
            ratio, months = max(_ratio(own), _SMALLEST) / of_all, _months(own)
            factor = _within(ratio ** (months / (months + LEAD_PRIOR_MONTHS)))
            learned.append(_row(f"{LEAD}{first}-{last}", factor, ratio, own))
    return learned


def _relative(cells: pl.DataFrame, share_of: dict[str, float]) -> pl.DataFrame:
    """Sums and items of kind paths, with ``ratio`` over the half-width with factors of 1."""
    level, kind = pl.col("level").cast(pl.String), pl.col("kind").cast(pl.String)
    used = cells.filter((level != ITEM) | (kind == "paths").fill_null(False))
    values = finite_columns(used, ["y", "p10", "p50", "p90", "factor"])
    used = used.select("ds", "cycle", "lead", "unique_id", level, pl.col("segment").cast(pl.String))
    used = used.with_columns(
        factor=pl.Series(values[:, 4]),
        ratio=pl.Series(width_ratio(values[:, 0], values[:, 1], values[:, 2], values[:, 3])),
    )
    common = (
        used.filter(pl.col("level") != ITEM)
        .group_by("cycle", "lead")
        .agg(common=pl.col("factor").max())
    )
    used = used.join(common, on=["cycle", "lead"], how="left", maintain_order="left")
    # Common over own is the same at every lead of a cycle: also where its sums are not known.
    over_own = (pl.col("common") / pl.col("factor")).max().over("cycle", "segment").fill_null(1.0)
    share = pl.col("segment").replace_strict(share_of, default=0.0, return_dtype=pl.Float64)
    whole = pl.col("factor") * (share * over_own**2 + (1 - share)).sqrt()
    applied = pl.when(pl.col("level") == ITEM).then(whole).otherwise(pl.col("factor"))
    return used.with_columns(ratio=pl.col("ratio") * applied).filter(pl.col("ratio").is_not_nan())


def _ratio(rows: pl.DataFrame) -> float:
    """80% quantile of the ratios; a month counts by its age, and in it every level the same.

    Adding goes in order of ratio and weight, so that the order of rows changes no byte.
    """
    levels = pl.col("level").n_unique().over("ds")
    weight = 0.5 ** (pl.col("age") / HALF_LIFE_MONTHS) / levels / pl.len().over("ds", "level")
    table = rows.select("ratio", weight=weight).sort("ratio", "weight").to_numpy()
    reached = np.cumsum(table[:, 1])
    middle = (reached - table[:, 1] / 2) / reached[-1]
    return float(np.interp(TARGET, middle, table[:, 0]))


def _months(rows: pl.DataFrame) -> float:
    """How many equal months the ageing ones are worth (Kish 1965)."""
    weight = 0.5 ** (np.sort(rows["age"].unique().to_numpy()) / HALF_LIFE_MONTHS)
    return float(weight.sum() ** 2 / np.square(weight).sum())


def _trust(rows: pl.DataFrame, months: float) -> float:
    """Share of trust in a segment's own ratio: months times the items that err independently."""
    items = rows.select("ds", "unique_id").n_unique() / rows["ds"].n_unique()
    found = months * items / (1 + SHARED * (items - 1))
    return found / (found + SEGMENT_PRIOR)


def _drawn(ratio: float, months: float) -> float:
    """The ratio drawn to 1, the more so the fewer months there are."""
    return float(max(ratio, _SMALLEST) ** (months / (months + PRIOR_MONTHS)))


def _within(factor: float) -> float:
    return min(max(factor, FACTORS[0]), FACTORS[1])


def _row(part: str, factor: float, ratio: float, rows: pl.DataFrame) -> tuple[object, ...]:
    return part, factor, ratio, rows["ds"].n_unique(), rows.height
