"""Key figures of a closed month: five at most, each with a colour, an owner and one sentence.

Made from the sums that closes stored, over a window of closed months; see `kpi_sums`. The trend is
made the same way, month by month, never from percentages. What is said of each is in `kpi_words`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

import polars as pl

from sopforecast.core.hierarchy import TOTAL
from sopforecast.core.learning_tables import empty
from sopforecast.core.months import add_months
from sopforecast.core.score_tables import Kpis
from sopforecast.learning import kpi_sums, kpi_words
from sopforecast.learning.value_added import FEWEST_MONTHS
from sopforecast.settings_sections import KpiName, KpiSettings


@dataclass(frozen=True, eq=False)
class _Known:
    """What closes stored; ``site_activation`` with ``closed``, at whose end it was so."""

    scores: pl.DataFrame
    value_added: pl.DataFrame
    enrolment_scores: pl.DataFrame
    site_activation: pl.DataFrame


class _Asked(NamedTuple):
    """Up to which month, at which lead and over how many months."""

    closed: date
    lag: int
    window: int

    def scores(self, known: _Known) -> pl.DataFrame:
        """Scores of the window at the decision lead."""
        rows = kpi_sums.window_of(known.scores, self.closed, self.window)
        return rows.filter(pl.col("lead") == self.lag + 1)


class _Figure(NamedTuple):
    """A value of one node, None where there is nothing to say yet, and what it means."""

    within: str
    value: float | None
    sentence: str


def kpis(
    closed: date,
    *,
    settings: KpiSettings,
    scores: pl.DataFrame,
    value_added: pl.DataFrame,
    enrolment_scores: pl.DataFrame,
    site_activation: pl.DataFrame,
) -> pl.DataFrame:
    """The key figures that settings name, of all items and by family, study, cohort or site.

    Parameters
    ----------
    closed : date
        The closed month; figures cover the window of months up to it.
    settings : KpiSettings
        Which figures, at which lag, over how many months, and the thresholds.
    scores : pl.DataFrame
        ``Scores`` of all closes that stand and of this one; months of no interest may be there.
    value_added : pl.DataFrame
        ``ValueAdded`` of this close.
    enrolment_scores : pl.DataFrame
        ``EnrolmentScores`` of the same closes as the scores.
    site_activation : pl.DataFrame
        ``SiteActivation`` of this close, as of the end of ``closed``.

    Returns
    -------
    pl.DataFrame
        ``Kpis`` without ``fit_id``: KPIs in the order of the settings, ``total`` first. The total
        is always there; ``value`` is null and the colour grey where there is nothing to say yet.
        Units: see `kpi_words.UNITS`; bias is forecast minus actual.
    """
    now = site_activation.with_columns(closed=pl.lit(closed, pl.Date))
    known = _Known(scores, value_added, enrolment_scores, now)
    asked, rows = _Asked(closed, settings.lag, settings.window), []
    for name in settings.show:
        line = settings.threshold(name)
        nothing = _Figure(TOTAL, None, kpi_words.NOTHING[name])
        rows += [
            {
                "closed": closed,
                "kpi": name,
                "within": figure.within,
                "value": figure.value,
                "unit": kpi_words.UNITS[name],
                "target": kpi_words.target(name, line),
                "colour": kpi_words.colour(name, figure.value, line),
                "owner": line.owner,
                "sentence": figure.sentence,
            }
            for figure in _FIGURES[name](known, asked) or [nothing]
        ]
    return pl.DataFrame(rows, schema=empty(Kpis, without="fit_id").schema)


def kpi_trend(
    closed: date,
    *,
    settings: KpiSettings,
    scores: pl.DataFrame,
    enrolment_scores: pl.DataFrame,
    site_activation: pl.DataFrame,
    months: int = 24,
) -> pl.DataFrame:
    """Each key figure of all items as of the end of every month up to ``closed``.

    Parameters
    ----------
    closed, settings, scores, enrolment_scores
        As in `kpis`.
    site_activation : pl.DataFrame
        ``SiteActivation`` of several closes, with ``closed``, the month of the close.
    months : int
        How many months at the most; those before the first score are left out.

    Returns
    -------
    pl.DataFrame
        kpi, closed, value: each made from the sums of its own window, null where there is nothing
        to say. Scores that came late count for the month they are of.
    """
    known = _Known(scores, pl.DataFrame(), enrolment_scores, site_activation)
    begun = pl.concat([scores["ds"], enrolment_scores["ds"], site_activation["closed"]]).min()
    ends = [add_months(closed, -back) for back in reversed(range(months))]
    rows = [
        (name, end, _TRENDS[name](known, _Asked(end, settings.lag, settings.window)))
        for name in settings.show
        for end in ends
        if isinstance(begun, date) and end >= begun
    ]
    types = {"kpi": pl.String, "closed": pl.Date, "value": pl.Float64}
    return pl.DataFrame(rows, schema=types, orient="row")


def restated(
    closed: date, *, settings: KpiSettings, scores: pl.DataFrame
) -> tuple[list[date], float | None]:
    """What was changed after it was first scored, and what accuracy would be with it.

    Parameters
    ----------
    closed, settings
        As in `kpis`.
    scores : pl.DataFrame
        As in `kpis`, with ``seq``: later closes have a larger one.

    Returns
    -------
    list of date
        Months of the window of which an actual was changed.
    float or None
        Accuracy in percent at the decision lag with the actuals as they are known now; None when
        nothing was changed or there is no demand.
    """
    window = kpi_sums.window_of(scores, closed, settings.window)
    changed = window.filter(pl.col("version") == "restated")["ds"].unique().sort().to_list()
    at_lead = window.filter(pl.col("lead") == settings.lag + 1)
    return changed, kpi_sums.accuracy_now(at_lead) if changed else None


def _accuracy(known: _Known, asked: _Asked) -> list[_Figure]:
    rows = kpi_sums.sums(kpi_sums.item_scores(asked.scores(known)))
    figures = []
    for row in rows.iter_rows(named=True):
        wmape = kpi_sums.share(row["absolute_error"], row["demand"])
        value = None if wmape is None else 100.0 - wmape
        said = kpi_words.accuracy(wmape, months=row["months"], lag=asked.lag, closed=asked.closed)
        figures.append(_Figure(row["within"], value, said))
    return figures


def _bias(known: _Known, asked: _Asked) -> list[_Figure]:
    rows = kpi_sums.sums(kpi_sums.item_scores(asked.scores(known)))
    figures = []
    for row in rows.iter_rows(named=True):
        value = kpi_sums.share(row["forecast"] - row["actual"], row["demand"])
        said = kpi_words.bias(
            value, forecast=row["forecast"], actual=row["actual"],
            months=row["months"], lag=asked.lag, closed=asked.closed,
        )  # fmt: skip
        figures.append(_Figure(row["within"], value, said))
    return figures


def _value_added(known: _Known, asked: _Asked) -> list[_Figure]:
    rows = known.value_added.filter(
        pl.col("closed") == asked.closed,
        pl.col("window") == asked.window,
        pl.col("measure") == "quantity",
        pl.col("lead") == asked.lag + 1,
        pl.col("stage") == "consensus",
    ).sort(pl.col("within") != TOTAL, "within")
    spoken = kpi_sums.spoken(asked.scores(known))
    figures = []
    for row in rows.iter_rows(named=True):
        has_begun = spoken and row["months"] >= FEWEST_MONTHS
        said = kpi_words.value_added(
            row["over_statistical"], row["over_statistical_low"], row["over_statistical_high"],
            months=row["months"], spoken=spoken, lag=asked.lag, closed=asked.closed,
        )  # fmt: skip
        figures.append(_Figure(row["within"], row["over_statistical"] if has_begun else None, said))
    return figures


def _coverage(known: _Known, asked: _Asked) -> list[_Figure]:
    window = kpi_sums.window_of(known.scores, asked.closed, asked.window)
    rows = kpi_sums.sums(kpi_sums.item_scores(window))
    return [
        _Figure(
            row["within"],
            kpi_sums.share(row["inside80"], row["ranged"]),
            kpi_words.coverage(row["inside80"], row["ranged"]),
        )
        for row in rows.iter_rows(named=True)
    ]


def _enrolment(known: _Known, asked: _Asked) -> list[_Figure]:
    window = kpi_sums.window_of(known.enrolment_scores, asked.closed, asked.window)
    return [
        _Figure(
            row["within"],
            kpi_sums.share(row["actual"], row["planned"]),
            kpi_words.enrolment(
                row["actual"], row["planned"], months=row["months"], closed=asked.closed
            ),
        )
        for row in kpi_sums.enrolled(window).iter_rows(named=True)
    ]


def _site_activation(known: _Known, asked: _Asked) -> list[_Figure]:
    sites = known.site_activation.filter(pl.col("closed") == asked.closed)
    return [
        _Figure(
            row["within"],
            row["days"],
            kpi_words.site_activation(
                row["days"], sites=row["sites"], waiting=row["waiting"], closed=asked.closed
            ),
        )
        for row in kpi_sums.opened(sites, asked.closed).iter_rows(named=True)
    ]


def _of_total(figures: Callable[[_Known, _Asked], list[_Figure]]) -> _Trend:
    def value(known: _Known, asked: _Asked) -> float | None:
        return next((one.value for one in figures(known, asked) if one.within == TOTAL), None)

    return value


_Trend = Callable[[_Known, _Asked], float | None]
_FIGURES: dict[KpiName, Callable[[_Known, _Asked], list[_Figure]]] = {
    "accuracy": _accuracy,
    "bias": _bias,
    "value_added": _value_added,
    "coverage": _coverage,
    "enrolment": _enrolment,
    "site_activation": _site_activation,
}
_TRENDS: dict[KpiName, _Trend] = {name: _of_total(make) for name, make in _FIGURES.items()} | {
    "value_added": lambda known, asked: kpi_sums.gained(asked.scores(known))
}
