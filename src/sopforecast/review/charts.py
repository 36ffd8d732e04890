"""One fan chart: the past of a node, its plan, and the ranges around it.

Where people moved the plan, the statistical one stands beside it as a broken line, with the edges
of its own range.
"""

from __future__ import annotations

import math
from datetime import date
from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from sopforecast.core.months import add_months, months_between
from sopforecast.review.svg import (
    ACTUAL_COLOUR,
    GRID,
    MUTED,
    PLAN_COLOUR,
    STATISTICAL_COLOUR,
    picture,
    shortened,
    value_ticks,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HISTORY_MONTHS = 36
STATISTICAL_NAME = "Statistical"


class Band(NamedTuple):
    """A shaded range: the two quantile columns, what the legend calls it, its colour."""

    low: str
    high: str
    name: str
    colour: str


BANDS = (
    Band("p10", "p90", "P10–P90", "#d3e2f2"),
    Band("p25", "p75", "P25–P75", "#9dbfe2"),
)

_SIZE_INCHES = (5.6, 2.6)
_PLOT_AREA = (0.11, 0.125, 0.875, 0.735)
_ZERO_BASED_BELOW = 0.5
_UNIT_HERE = "unit of the axis"
_COMPARED = ("plan", "p10", "p90")


class _Line(NamedTuple):
    """Months counted from the first forecast month (which is 0), and a value for each."""

    months: list[int]
    values: list[float]


def fan_chart(
    history: pl.DataFrame,
    forecast: pl.DataFrame,
    *,
    title: str,
    unit: str,
    statistical: pl.DataFrame | None = None,
) -> str:
    """Draw one node.

    Parameters
    ----------
    history : pl.DataFrame
        ds, y of the node in ``unit``; the last 36 months are drawn, unknown months are gaps.
    forecast : pl.DataFrame
        ds, plan and the quantile columns of the node; a band whose quantiles are null is left out.
    title : str
        What a screen reader says; not drawn, the page writes it above the chart.
    unit : str
        Unit of demand, written above the axis with "per month".
    statistical : pl.DataFrame, optional
        ds, plan, p10, p90 of the node before judgement; drawn in the months where any differs,
        and in the months next to them, so that the lines meet.

    Returns
    -------
    str
        An ``<svg>`` element that is also a whole file.

    Notes
    -----
    The vertical axis starts at zero unless all that is drawn lies above half the largest value.
    """
    rows = forecast.sort("ds")
    first = rows["ds"][0]

    def draw(axes: Axes) -> None:
        _draw(axes, _past(history, first=first), rows, _apart(rows, statistical))
        _label(axes, first=first)

    return picture(
        draw,
        size=_SIZE_INCHES,
        area=_PLOT_AREA,
        salt=f"fan {title}",
        title=title,
        words={_UNIT_HERE: f"{shortened(unit)} per month"},
    )


def _past(history: pl.DataFrame, *, first: date) -> _Line:
    """The last months before ``first``, a missing or unknown one as NaN so that the line breaks."""
    known: dict[int, float] = {}
    for ds, y in history.select(pl.col("ds").cast(pl.Date), "y").iter_rows():
        month = months_between(first, ds)
        if -HISTORY_MONTHS <= month < 0 and y is not None:
            known[month] = y
    months = list(range(min(known), 0)) if known else []
    return _Line(months, [known.get(month, math.nan) for month in months])


def _apart(rows: pl.DataFrame, statistical: pl.DataFrame | None) -> pl.DataFrame | None:
    """The statistical rows beside ``rows``, null where both agree; None when they agree all over.

    A month next to one that differs is kept, so that a lone month makes a line.
    """
    if statistical is None:
        return None
    both = rows.select("ds", *_COMPARED).join(
        statistical.select("ds", *_COMPARED), on="ds", how="left", suffix="_before",
        maintain_order="left",
    )  # fmt: skip
    differs = pl.any_horizontal(pl.col(n).ne_missing(pl.col(f"{n}_before")) for n in _COMPARED)
    near = pl.any_horizontal(differs.shift(by, fill_value=False) for by in (-1, 0, 1))
    if not both.select(differs.any()).item():
        return None
    return both.select(pl.when(near).then(f"{name}_before").alias(name) for name in _COMPARED)


def _draw(axes: Axes, past: _Line, rows: pl.DataFrame, statistical: pl.DataFrame | None) -> None:
    """Draw bands, plan and past, and set the limits of both axes from what was drawn."""
    months = list(range(rows.height))
    axes.plot(*past, color=ACTUAL_COLOUR, linewidth=1.2, label="Actual")
    axes.plot(
        months, rows["plan"].to_list(), color=PLAN_COLOUR, linewidth=1.5, label="Plan",
        marker="o" if len(months) <= 24 else "", markersize=2.4,
    )  # fmt: skip
    for band in BANDS:
        low, high = rows[band.low].to_list(), rows[band.high].to_list()
        if None not in low and None not in high:
            edges = (months, low, high) if len(months) > 1 else _widened(months, low, high)
            axes.fill_between(*edges, color=band.colour, linewidth=0, label=band.name)
    if statistical is not None:
        _draw_statistical(axes, statistical)
    axes.axvline(-0.5, color=MUTED, linewidth=0.6, linestyle=(0, (2, 2)))
    axes.set_xlim(min([-6, *past.months]) - 0.8, len(months) - 0.2)
    low, high = axes.dataLim.intervaly
    if low < 0:
        axes.axhline(0, color=MUTED, linewidth=0.6)
    elif low < _ZERO_BASED_BELOW * high or high <= 0:
        axes.set_ylim(0, 1.06 * high if high > 0 else 1)


def _draw_statistical(axes: Axes, rows: pl.DataFrame) -> None:
    """The plan before judgement and the edges of its range, under the plan of the page."""
    months = list(range(rows.height))
    styles = (
        ("plan", 1.3, (0, (3, 1.5))),
        ("p10", 0.7, (0, (1, 1.5))),
        ("p90", 0.7, (0, (1, 1.5))),
    )
    for column, width, dashes in styles:
        values = [math.nan if value is None else value for value in rows[column].to_list()]
        axes.plot(
            months, values, color=STATISTICAL_COLOUR, linewidth=width, linestyle=dashes,
            label=STATISTICAL_NAME if column == "plan" else None, zorder=1.9,
            marker="o" if len(months) == 1 else "", markersize=2.4,
        )  # fmt: skip


def _widened(months: list[int], *edges: list[float]) -> tuple[list[float], ...]:
    """One month as an area that can be seen."""
    return ([months[0] - 0.3, months[0] + 0.3], *(edge * 2 for edge in edges))


def _label(axes: Axes, *, first: date) -> None:
    """Write the months below, the values at the left, the unit and the legend above."""
    left, right = axes.get_xlim()
    inside = range(math.ceil(left), math.floor(right) + 1)
    months = {offset: add_months(first, offset) for offset in inside}
    ticks = {
        offset: _month_label(month) for offset, month in months.items() if month.month in (1, 7)
    }
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.set_yticks(*value_ticks(*axes.get_ylim()))
    axes.grid(axis="y", color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(colors=MUTED, labelsize=9, length=2.5, width=0.6)
    axes.tick_params(axis="y", length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set(color=MUTED, linewidth=0.6)
    axes.text(-0.118, 1.065, _UNIT_HERE, transform=axes.transAxes, fontsize=9, color=MUTED)
    axes.legend(
        loc="lower right", bbox_to_anchor=(1.01, 1.0), ncols=5, frameon=False, fontsize=9,
        labelcolor=MUTED, handlelength=1.2, handletextpad=0.4, columnspacing=1.0, borderpad=0.2,
    )  # fmt: skip


def _month_label(month: date) -> str:
    return f"Jan {month.year}" if month.month == 1 else "Jul"
