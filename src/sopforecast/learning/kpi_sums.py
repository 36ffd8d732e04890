"""What key figures are made of: sums of scores over a window of closed months.

Percentages are never averaged: sums are added over the months of the window and divided once.
First scores count, those of the actuals as they were first known; see `Scores`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import polars as pl

from sopforecast.core.hierarchy import ITEM, TOTAL, node_name
from sopforecast.core.learning_tables import ANY
from sopforecast.core.months import add_months, month_end
from sopforecast.learning.accuracy import current, summed
from sopforecast.learning.value_added import FEWEST_MONTHS

PUBLISHED = ("approved", "consensus", "statistical")
"""The stage that was published: the first of these that is stored."""


def window_of(frame: pl.DataFrame, closed: date, months: int) -> pl.DataFrame:
    """Rows whose ``ds`` is one of the ``months`` months up to ``closed``."""
    return frame.filter(pl.col("ds").is_between(add_months(closed, 1 - months), closed))


def item_scores(scores: pl.DataFrame, stages: Sequence[str] = PUBLISHED) -> pl.DataFrame:
    """First scores of items, in quantity, of the first of ``stages`` each run has stored.

    Parameters
    ----------
    scores : pl.DataFrame
        ``Scores`` of one or more closes.
    stages : sequence of str
        The stage that is meant, then those it equals where it is not stored.

    Returns
    -------
    pl.DataFrame
        Rows of ``scores``, one stage of every run and month.
    """
    rows = scores.filter(
        pl.col("version") == "first",
        pl.col("level") == ITEM,
        pl.col("measure") == "quantity",
        pl.col("source") == ANY,
        pl.col("owner") == ANY,
        pl.col("stage").is_in(list(stages)),
    )
    rank = pl.col("stage").replace_strict(
        {stage: place for place, stage in enumerate(stages)}, return_dtype=pl.Int64
    )
    return rows.filter(rank == rank.min().over("run_id", "ds"))


def sums(rows: pl.DataFrame) -> pl.DataFrame:
    """Sums of `item_scores` by ``within``, the total first; ``months``: how many they are of."""
    one_plan = rows.with_columns(stage=pl.lit(PUBLISHED[0]))
    months = rows.group_by("within").agg(months=pl.col("ds").n_unique())
    added = summed(one_plan, ["within"]).join(months, on="within", how="left")
    return added.sort(pl.col("within") != TOTAL, "within")


def accuracy_now(scores: pl.DataFrame) -> float | None:
    """Accuracy in percent of all items, with the actuals as they are known now.

    Parameters
    ----------
    scores : pl.DataFrame
        ``Scores`` of a window at one lead, with ``seq``: later closes have a larger one.
    """
    now = current(scores, version="now").with_columns(version=pl.lit("first"))
    row = sums(item_scores(now.filter(pl.col("within") == TOTAL))).to_dicts()
    wmape = share(row[0]["absolute_error"], row[0]["demand"]) if row else None
    return None if wmape is None else 100.0 - wmape


def gained(rows: pl.DataFrame) -> float | None:
    """Points of WMAPE of the consensus over the statistical forecast, of all items.

    Positive: the consensus was nearer. None when nobody spoke in these months, where both are one,
    below ``FEWEST_MONTHS``, or where there is nothing to divide by.
    """
    whole = rows.filter(pl.col("within") == TOTAL)
    if not spoken(whole) or whole["ds"].n_unique() < FEWEST_MONTHS:
        return None
    consensus = sums(item_scores(whole, PUBLISHED[1:])).row(0, named=True)
    statistical = sums(item_scores(whole, PUBLISHED[2:])).row(0, named=True)
    moved = statistical["absolute_error"] - consensus["absolute_error"]
    return share(moved, consensus["demand"])


def spoken(rows: pl.DataFrame) -> bool:
    """Whether a consensus is stored of any of these months: somebody spoke."""
    return not rows.filter(pl.col("stage") == "consensus").is_empty()


def enrolled(scores: pl.DataFrame) -> pl.DataFrame:
    """Patients enrolled and planned, in months that have a plan, each month counted once.

    Parameters
    ----------
    scores : pl.DataFrame
        ``EnrolmentScores`` of a window. Of several forecasts of a month the one made last counts;
        what was enrolled and planned is the same in all.

    Returns
    -------
    pl.DataFrame
        within (``total``, ``study=S``, ``study=S/cohort=C``, ``study=S/site=T``), months, actual,
        planned: null where no month has a plan.
    """
    levels = ("study", "cohort", "site")
    first = scores.filter(pl.col("version") == "first", pl.col("level").is_in(levels))
    once = first.sort("lead").unique(["study", "level", "node", "ds"], keep="first")
    nodes = once.select("study", "level", "node").unique()
    named = nodes.with_columns(
        pl.Series("within", [_enrolment_node(*row) for row in nodes.iter_rows()], pl.String)
    )
    parts = [
        once.filter(pl.col("level") == "study").with_columns(within=pl.lit(TOTAL)),
        once.join(named, on=["study", "level", "node"]),
    ]
    has_plan = pl.col("planned").is_not_null()
    added = (
        pl.concat(parts)
        .group_by("within")
        .agg(
            pl.col("ds").filter(has_plan).n_unique().alias("months"),
            pl.col("actual").filter(has_plan).sum(),
            pl.col("planned").filter(has_plan).sum(),
        )
    )
    return _told_once(added)


def opened(sites: pl.DataFrame, closed: date) -> pl.DataFrame:
    """Sites that are open or were due by the end of a month, and how late they are.

    Parameters
    ----------
    sites : pl.DataFrame
        ``SiteActivation`` as of the end of ``closed``.

    Returns
    -------
    pl.DataFrame
        within (``total``, ``study=S``, ``study=S/country=C``), sites, waiting, days: the mean
        number of days late, negative when early.
    """
    due = sites.filter(pl.col("activated").is_not_null() | (pl.col("planned") <= month_end(closed)))
    names = [
        (TOTAL, _study_node(study), _study_node(study, "country", country or "unknown"))
        for study, country in due.select("study", "country").iter_rows()
    ]
    labelled = due.with_columns(pl.Series("within", names, pl.List(pl.String))).explode("within")
    added = labelled.group_by("within").agg(
        pl.len().alias("sites"),
        pl.col("activated").is_null().sum().alias("waiting"),
        (pl.col("days_late").sum() / pl.len()).alias("days"),
    )
    return _told_once(added)


def share(part: float, whole: float) -> float | None:
    """``part`` in percent of ``whole``; None when there is nothing to divide by."""
    return 100.0 * part / whole if whole > 0 else None


def _told_once(added: pl.DataFrame) -> pl.DataFrame:
    """The total first; a study that is the only one is the total."""
    is_study = pl.col("within").str.starts_with("study=") & ~pl.col("within").str.contains("/")
    kept = added.filter(~is_study) if added.filter(is_study).height == 1 else added
    return kept.sort(pl.col("within") != TOTAL, "within")


def _enrolment_node(study: str, level: str, node: str) -> str:
    return _study_node(study) if level == "study" else _study_node(study, level, node)


def _study_node(study: str, level: str | None = None, name: str | None = None) -> str:
    if level is None or name is None:
        return node_name(["study"], [study])
    return node_name(["study", level], [study, name])
