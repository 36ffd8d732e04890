"""Enrolment forecasts and site openings beside what came: patients, ranges, plan, days late.

A node is scored once its patients are known; a total waits for the last of its sites. What a node
was scored with first stays; when a count is corrected later the whole month is scored again beside
it. Errors are forecast minus actual, in patients.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
import polars as pl

from sopforecast.core.draws import QUANTILES
from sopforecast.core.learning_tables import empty
from sopforecast.core.metrics import wis
from sopforecast.core.months import month_end, months_between
from sopforecast.core.score_tables import EnrolmentScores, SiteActivation

NODE = ["study", "level", "node"]
CELL = ["cycle", *NODE]
_ORDER = ["version", "ds", *CELL]


def score_enrolment(
    forecasts: pl.DataFrame,
    actuals: pl.DataFrame,
    planned: pl.DataFrame,
    *,
    earlier: pl.DataFrame,
) -> pl.DataFrame:
    """Put the forecasts that several runs made of one month beside what was enrolled in it.

    Parameters
    ----------
    forecasts : pl.DataFrame
        ``EnrolmentForecasts`` rows of measure ``monthly`` and of one month, one run a cycle.
    actuals : pl.DataFrame
        study, level, node, ``y`` (patients of the month): only nodes that are complete.
    planned : pl.DataFrame
        study, level, node, ``planned`` (patients); nodes without a plan may lack.
    earlier : pl.DataFrame
        ``EnrolmentScores`` of earlier closes of this month, the newest close last.

    Returns
    -------
    pl.DataFrame
        ``EnrolmentScores`` without ``fit_id``, sorted by key: as ``first`` what was never scored
        before; as ``restated`` everything, when an actual is another than at the last scoring, is
        no longer known, or joins a month that was restated before. No rows when nothing is new.

    Raises
    ------
    ValueError
        When the forecasts are of several months or of another measure.

    Notes
    -----
    The score of a range is the weighted interval score over the seven stored quantiles (Bracher et
    al. 2021), in patients.
    """
    _check(forecasts)
    cells = _cells(forecasts, actuals, planned)
    if cells.is_empty():
        return cells
    earlier = earlier.filter(pl.col("ds") == cells["ds"][0]) if earlier.height else cells.clear()
    is_first = pl.col("version") == "first"
    found = [cells.join(earlier.filter(is_first), on=CELL, how="anti")]
    if _is_restated(cells, actuals, earlier):
        found.append(cells.with_columns(version=_version("restated")))
    return pl.concat(found).sort(_ORDER)


def current_enrolment(scores: pl.DataFrame, *, version: str = "first") -> pl.DataFrame:
    """The rows that count, each cell once.

    Parameters
    ----------
    scores : pl.DataFrame
        ``EnrolmentScores`` of several closes; for ``now`` with ``seq``, larger in later closes.
    version : str
        ``first``: as scored for the first time. ``now``: of months that were restated the newest
        restated set, of the others the first rows.

    Raises
    ------
    ValueError
        When ``version`` is another word.
    """
    if version not in ("first", "now"):
        raise ValueError(f"version: found {version!r}; allowed: 'first', 'now'")
    is_first = pl.col("version") == "first"
    if version == "first":
        return scores.filter(is_first)
    again = scores.filter(~is_first)
    newest = again.filter(pl.col("seq") == pl.col("seq").max().over("ds"))
    rest = scores.filter(is_first).join(newest.select("ds").unique(), on="ds", how="anti")
    return pl.concat([rest, newest]).sort("ds", *CELL)


def enrolment_measures(scores: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """Add scores up by key, then divide once.

    Parameters
    ----------
    scores : pl.DataFrame
        ``EnrolmentScores`` rows, each cell once (`current_enrolment`). A study, its countries and
        its sites hold the same patients: choose one level or name it in ``by``.
    by : sequence of str
        Columns of a group; none: one row of all.

    Returns
    -------
    pl.DataFrame
        ``by``, sorted by it, ``cells``, ``months``, ``actual`` and ``forecast`` (patients, sums),
        ``bias`` (mean of forecast minus actual a cell, patients), ``bias_percent`` (of the actual),
        ``wis`` (mean a cell, patients), ``inside80``, ``coverage80`` (share of actuals from P10 to
        P90), and of the node-months that had a plan, each counted once however often it was
        forecast, ``planned`` and ``reached`` (patients) and ``reached_percent`` (100 x reached /
        planned: below 100 is behind plan). Null where there is nothing to divide by.
    """
    keys = list(by)
    rows = scores if keys else scores.with_columns(_all=pl.lit(0))
    group = keys or ["_all"]
    inside = (pl.col("p10") <= pl.col("actual")) & (pl.col("actual") <= pl.col("p90"))
    sums = rows.group_by(group).agg(
        cells=pl.len().cast(pl.Int64),
        months=pl.col("ds").n_unique().cast(pl.Int64),
        actual=pl.col("actual").sum(),
        forecast=pl.col("mean").sum(),
        wis=pl.col("wis").sum(),
        inside80=inside.sum().cast(pl.Int64),
    )
    once = rows.drop_nulls("planned").sort("cycle")
    once = once.unique(list(dict.fromkeys([*group, "ds", *NODE])), keep="last")
    plan = once.group_by(group).agg(planned=pl.col("planned").sum(), reached=pl.col("actual").sum())
    error = pl.col("forecast") - pl.col("actual")
    found = sums.join(plan, on=group, how="left", nulls_equal=True).select(
        *group, "cells", "months", "actual", "forecast",
        bias=error / pl.col("cells"),
        bias_percent=_percent(error, pl.col("actual")),
        wis=pl.col("wis") / pl.col("cells"),
        inside80="inside80",
        coverage80=pl.col("inside80") / pl.col("cells"),
        planned="planned",
        reached="reached",
        reached_percent=_percent(pl.col("reached"), pl.col("planned")),
    )  # fmt: skip
    return found.sort(group).select(pl.exclude("_all"))


def site_activation(sites: pl.DataFrame, *, closed: date) -> pl.DataFrame:
    """How late sites opened, or are so far, as of the end of a closed month.

    Parameters
    ----------
    sites : pl.DataFrame
        ``Sites`` rows as known.
    closed : date
        The closed month; what happened after its last day has not happened yet.

    Returns
    -------
    pl.DataFrame
        ``SiteActivation`` without ``fit_id``, sorted by study and site: sites planned to have
        opened by the end of the month, and those that opened early. ``days_late`` is the day of
        opening, or for a site still waiting the last day of the month, minus the planned day as it
        stands now; negative: early. Left out are sites without a planned day, and those that closed
        without having opened.
    """
    last = month_end(closed)
    has_ended = (pl.col("closed_date") <= last) | (
        pl.col("closed_date").is_null() & (pl.col("status").cast(pl.String) == "closed")
    ).fill_null(value=False)
    rows = sites.with_columns(
        planned=pl.col("planned_activation_date"),
        activated=pl.when(pl.col("activated_date") <= last).then(pl.col("activated_date")),
    ).filter(
        pl.col("planned").is_not_null(),
        (pl.col("planned") <= last) | pl.col("activated").is_not_null(),
        pl.col("activated").is_not_null() | ~has_ended.fill_null(value=False),
    )
    until = pl.coalesce("activated", pl.lit(last))
    columns = empty(SiteActivation, without="fit_id")
    return (
        rows.with_columns(days_late=(until - pl.col("planned")).dt.total_days())
        .select(columns.columns)
        .cast(columns.schema)
        .sort("study", "site")
    )


def _check(forecasts: pl.DataFrame) -> None:
    if forecasts.is_empty():
        return
    months, measures = sorted(set(forecasts["ds"])), sorted(set(forecasts["measure"]))
    if len(months) > 1 or measures != ["monthly"]:
        raise ValueError(
            f"forecasts: found months {months} and measures {measures}; allowed: one month, "
            "measure 'monthly'"
        )


def _version(name: str) -> pl.Expr:
    return pl.lit(name, dtype=EnrolmentScores.columns()["version"].dtype)


def _cells(forecasts: pl.DataFrame, actuals: pl.DataFrame, planned: pl.DataFrame) -> pl.DataFrame:
    """Every forecast of a node that is complete, scored; ``first``."""
    columns = empty(EnrolmentScores, without="fit_id")
    if forecasts.is_empty() or actuals.is_empty():
        return columns
    rows = forecasts.with_columns(pl.col("level").cast(pl.String))
    plan = planned.select(*NODE, "planned") if planned.height else _no_plan()
    rows = rows.join(actuals.select(*NODE, actual="y"), on=NODE).join(plan, on=NODE, how="left")
    ds = forecasts["ds"][0]
    leads = {cycle: months_between(cycle, ds) + 1 for cycle in set(rows["cycle"])}
    quantiles = {label: _column(rows, label) for label, _ in QUANTILES}
    score = np.asarray(wis(_column(rows, "actual"), quantiles, axis=-1), dtype=np.float64)
    rows = rows.with_columns(
        version=_version("first"),
        lead=pl.col("cycle").replace_strict(leads, return_dtype=pl.Int64),
        wis=pl.Series(score, dtype=pl.Float64),
    )
    return rows.select(columns.columns).cast(columns.schema).sort(_ORDER)


def _no_plan() -> pl.DataFrame:
    return pl.DataFrame(schema={**dict.fromkeys(NODE, pl.String), "planned": pl.Float64})


def _column(rows: pl.DataFrame, name: str) -> np.ndarray:
    return rows[name].to_numpy().astype(np.float64)[:, None]


def _is_restated(cells: pl.DataFrame, actuals: pl.DataFrame, earlier: pl.DataFrame) -> bool:
    """Whether the month must be scored again as a whole."""
    again = earlier.filter(pl.col("version") == "restated")
    standing = again.filter(pl.col("fit_id") == again["fit_id"][-1]) if again.height else earlier
    then = standing.select(*NODE, "actual").unique()
    both = then.join(actuals.select(*NODE, now="y"), on=NODE, how="left")
    if both.filter(pl.col("actual").ne_missing(pl.col("now"))).height:
        return True
    return again.height > 0 and cells.join(standing, on=CELL, how="anti").height > 0


def _percent(part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    return pl.when(whole > 0).then(100.0 * part / whole)
