"""One fan chart: the past of a node, its plan, and the ranges around it, as a small static SVG.

The same numbers give the same bytes: the drawing depends on nothing but its arguments (no date, no
font of the machine, no matplotlibrc). Text stays text, so a chart is small and can be searched.
"""

from __future__ import annotations

import io
import math
import re
from datetime import date
from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from sopforecast.core.months import add_months, months_between

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HISTORY_MONTHS = 36
ACTUAL_COLOUR = "#30343b"
PLAN_COLOUR = "#0b4f8a"


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
_MUTED, _GRID = "#59616d", "#e4e8ed"
_SCALES = ((1e9, 1e9, "bn"), (1e6, 1e6, "M"), (2e4, 1e3, "k"))
_ZERO_BASED_BELOW = 0.5
_UNIT_HERE, _UNIT_LENGTH = "unit of the axis", 26


class _Line(NamedTuple):
    """Months counted from the first forecast month (which is 0), and a value for each."""

    months: list[int]
    values: list[float]


def fan_chart(history: pl.DataFrame, forecast: pl.DataFrame, *, title: str, unit: str) -> str:
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

    Returns
    -------
    str
        An ``<svg>`` element that is also a whole file.

    Notes
    -----
    The vertical axis starts at zero unless all that is drawn lies above half the largest value.
    """
    import matplotlib
    from matplotlib.figure import Figure

    rows = forecast.sort("ds")
    first = rows["ds"][0]
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rc("svg", fonttype="none", hashsalt=f"fan {title}")
        matplotlib.rc("font", **{"sans-serif": ["DejaVu Sans"]})
        figure = Figure(figsize=_SIZE_INCHES)
        axes = figure.add_axes(_PLOT_AREA)
        _draw(axes, _past(history, first=first), rows)
        _label(axes, first=first)
        drawn = io.StringIO()
        nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(drawn, format="svg", metadata=nothing, transparent=True)
    return _tidy(drawn.getvalue(), title=title, unit=unit)


def _past(history: pl.DataFrame, *, first: date) -> _Line:
    """The last months before ``first``, a missing or unknown one as NaN so that the line breaks."""
    known: dict[int, float] = {}
    for ds, y in history.select(pl.col("ds").cast(pl.Date), "y").iter_rows():
        month = months_between(first, ds)
        if -HISTORY_MONTHS <= month < 0 and y is not None:
            known[month] = y
    months = list(range(min(known), 0)) if known else []
    return _Line(months, [known.get(month, math.nan) for month in months])


def _draw(axes: Axes, past: _Line, rows: pl.DataFrame) -> None:
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
    axes.axvline(-0.5, color=_MUTED, linewidth=0.6, linestyle=(0, (2, 2)))
    axes.set_xlim(min([-6, *past.months]) - 0.8, len(months) - 0.2)
    low, high = axes.dataLim.intervaly
    if low < 0:
        axes.axhline(0, color=_MUTED, linewidth=0.6)
    elif low < _ZERO_BASED_BELOW * high or high <= 0:
        axes.set_ylim(0, 1.06 * high if high > 0 else 1)


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
    axes.set_yticks(*_value_ticks(*axes.get_ylim()))
    axes.grid(axis="y", color=_GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_MUTED, labelsize=9, length=2.5, width=0.6)
    axes.tick_params(axis="y", length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set(color=_MUTED, linewidth=0.6)
    axes.text(-0.118, 1.065, _UNIT_HERE, transform=axes.transAxes, fontsize=9, color=_MUTED)
    axes.legend(
        loc="lower right", bbox_to_anchor=(1.01, 1.0), ncols=4, frameon=False, fontsize=9,
        labelcolor=_MUTED, handlelength=1.2, handletextpad=0.4, columnspacing=1.0, borderpad=0.2,
    )  # fmt: skip


def _month_label(month: date) -> str:
    return f"Jan {month.year}" if month.month == 1 else "Jul"


def _value_ticks(low: float, high: float) -> tuple[list[float], list[str]]:
    """Round values between the limits, and one scale and number of decimals for all of them."""
    from matplotlib.ticker import MaxNLocator

    locator = MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10], min_n_ticks=3)
    values = [float(value) for value in locator.tick_values(low, high) if low <= value <= high]
    largest = max(map(abs, values), default=1.0)
    scale, suffix = next(((s, name) for limit, s, name in _SCALES if largest >= limit), (1.0, ""))
    exact = [f"{round(value / scale, 6):.6f}".rstrip("0").partition(".")[2] for value in values]
    decimals = max(map(len, exact), default=0)
    return values, [f"{value / scale:,.{decimals}f}{suffix}" if value else "0" for value in values]


def _tidy(svg: str, *, title: str, unit: str) -> str:
    """Drop the file prologue, the page-wide style and ids nothing refers to; write the names in.

    The unit is written here and not by matplotlib, which would read ``$`` as mathematics and
    measure letters its own font does not have.
    """
    from xml.sax.saxutils import escape, quoteattr

    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"\s*<defs>\s*<style.*?</style>\s*</defs>", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    short = unit if len(unit) <= _UNIT_LENGTH else f"{unit[: _UNIT_LENGTH - 1]}…"
    svg = svg.replace(f">{_UNIT_HERE}<", f">{escape(_printable(short))} per month<")
    label = f'<svg role="img" aria-label={quoteattr(_printable(title))} stroke-linejoin="round"'
    return svg.replace("<svg", label, 1).strip()


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)
