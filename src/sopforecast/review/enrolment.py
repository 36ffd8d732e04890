"""One enrolment chart: patients from the first one on, as they came, were planned and may come.

Lines differ in how they are broken as well as in colour, so that the chart also reads in grey. A
point stands for the end of its month; the fan opens where the last count ends.
"""

from __future__ import annotations

import math
from datetime import date
from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from sopforecast.core.months import MONTHS_A_YEAR, add_months, months_between
from sopforecast.review.charts import BANDS
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

BRANCH_COLOUR, TARGET_COLOUR = "#a8480b", "#59616d"
LONGEST_LABEL = 76
FAR_TARGET = 2.5
"""A target this many times above all that is drawn is named and not drawn."""

_SIZE_INCHES = (6.4, 3.7)
_PLOT_AREA = (0.075, 0.085, 0.91, 0.76)
_EVERY_MONTHS = ((10, 1), (20, 3), (44, 6))
_BRANCH_HERE, _TARGET_HERE = "label of the branch", "label of the target"
_DASHES = (0, (4, 2))
_ROOM_ABOVE, _TICKS_UP_TO = 1.09, 0.93


class Branch(NamedTuple):
    """The forecast if something happens: what (with its probability), and ds, p50 of it."""

    label: str
    ahead: pl.DataFrame


class _Line(NamedTuple):
    """Months counted from the cycle (which is 0), and a value for each; NaN breaks the line."""

    months: list[int]
    values: list[float]


def enrolment_chart(
    *,
    cycle: date,
    actual: pl.DataFrame,
    plan: pl.DataFrame,
    fan: pl.DataFrame,
    title: str,
    branch: Branch | None = None,
    target: float | None = None,
) -> str:
    """Draw one study.

    Parameters
    ----------
    cycle : date
        First forecast month.
    actual, plan : pl.DataFrame
        ds, cumulative: patients enrolled, and planned to be, up to the end of the month; null or
        missing months are gaps. No rows where there are none. Months before the first count and
        after the last forecast are left out of the plan.
    fan : pl.DataFrame
        ds and the quantile columns p10, p25, p50, p75, p90 from the cycle on, of patients from the
        first one on.
    title : str
        What a screen reader says; not drawn.
    branch : Branch, optional
        Its median is drawn beside that of the fan.
    target : float, optional
        Patients at which enrolment stops; drawn unless far above everything else, then named.

    Returns
    -------
    str
        An ``<svg>`` element that is also a whole file.
    """
    came = _line(actual, "cumulative", cycle=cycle)
    last = _known(came).get(-1)
    rows = fan.sort("ds")
    medians = _line(rows, "p50", cycle=cycle)
    start = min([*came.months, *medians.months[:1], 0])
    end = max(medians.months, default=0)
    planned = _within(_line(plan, "cumulative", cycle=cycle), start, end)
    highest = _highest(came, planned, rows, branch)
    is_far = target is not None and 0 < FAR_TARGET * highest < target
    words: dict[str, str] = {}
    if branch is not None:
        words[_BRANCH_HERE] = shortened(branch.label, LONGEST_LABEL)
    if target is not None:
        words[_TARGET_HERE] = f"Target {target:,.0f}{', above this chart' if is_far else ''}"

    def draw(axes: Axes) -> None:
        _draw_bands(axes, rows, cycle=cycle, last=last)
        axes.plot(*planned, color=STATISTICAL_COLOUR, linewidth=1.3, linestyle=(0, (1, 1.3)),
                  label="Planned", zorder=2.2)  # fmt: skip
        axes.plot(*came, color=ACTUAL_COLOUR, linewidth=1.6, label="Actual", zorder=2.5,
                  marker="o" if len(_known(came)) == 1 else "", markersize=3)  # fmt: skip
        axes.plot(*_from(last, medians), color=PLAN_COLOUR, linewidth=1.6, label="Median",
                  marker="o" if last is None and len(medians.months) == 1 else "",
                  markersize=3, zorder=2.4)  # fmt: skip
        if branch is not None:
            middle = _from(last, _line(branch.ahead, "p50", cycle=cycle))
            axes.plot(*middle, color=BRANCH_COLOUR, linewidth=1.5, linestyle=_DASHES, zorder=2.3,
                      marker="o" if len(middle.months) == 1 else "", markersize=3)  # fmt: skip
        axes.axvline(-1, ymax=1 / _ROOM_ABOVE, color=MUTED, linewidth=0.6, linestyle=(0, (2, 2)))
        axes.set_xlim(min(start, -2) - 0.4, max(end, 1) + 0.4)
        _set_height(axes, highest, target, is_far=is_far)
        _label(axes, cycle=cycle, branch=branch is not None)

    return picture(
        draw,
        size=_SIZE_INCHES,
        area=_PLOT_AREA,
        salt=f"enrolment {title}",
        title=title,
        words=words,
    )


def _line(frame: pl.DataFrame, column: str, *, cycle: date) -> _Line:
    """A frame by month: every month between its first and its last, the unknown ones NaN."""
    known = {
        months_between(cycle, ds): float(value)
        for ds, value in frame.select(pl.col("ds").cast(pl.Date), column).iter_rows()
        if value is not None
    }
    months = list(range(min(known), max(known) + 1)) if known else []
    return _Line(months, [known.get(month, math.nan) for month in months])


def _known(line: _Line) -> dict[int, float]:
    return {m: value for m, value in zip(*line, strict=True) if not math.isnan(value)}


def _within(line: _Line, start: int, end: int) -> _Line:
    kept = [(m, value) for m, value in zip(*line, strict=True) if start <= m <= end]
    return _Line([m for m, _ in kept], [value for _, value in kept])


def _from(last: float | None, line: _Line) -> _Line:
    """The line from the last count on, when that is known at the month before the cycle."""
    if last is None or not line.months or line.months[0] != 0:
        return line
    return _Line([-1, *line.months], [last, *line.values])


def _highest(came: _Line, planned: _Line, rows: pl.DataFrame, branch: Branch | None) -> float:
    """The largest value drawn, the target apart."""
    values = [*came.values, *planned.values, *rows["p90"].to_list()]
    values += [] if branch is None else branch.ahead["p50"].to_list()
    return max((v for v in values if v is not None and not math.isnan(v)), default=0.0)


def _draw_bands(axes: Axes, rows: pl.DataFrame, *, cycle: date, last: float | None) -> None:
    for band in BANDS:
        low = _from(last, _line(rows, band.low, cycle=cycle))
        high = _from(last, _line(rows, band.high, cycle=cycle))
        if not low.months or low.months != high.months:
            continue
        months, lows, highs = [float(m) for m in low.months], low.values, high.values
        if len(months) == 1:  # one month as an area that can be seen
            months, lows, highs = [months[0] - 0.3, months[0] + 0.3], lows * 2, highs * 2
        axes.fill_between(months, lows, highs, color=band.colour, linewidth=0, label=band.name)


def _set_height(axes: Axes, highest: float, target: float | None, *, is_far: bool) -> None:
    """Start at zero, end above all that is drawn, and write the target at its line or the top."""
    is_drawn = target is not None and not is_far
    top = _ROOM_ABOVE * (max(highest, target if target and is_drawn else 0.0) or 1.0)
    axes.set_ylim(0, top)
    if target is None:
        return
    if is_drawn:
        axes.axhline(target, color=TARGET_COLOUR, linewidth=1.0, linestyle=(0, (6, 2, 1, 2)))
    axes.annotate(
        _TARGET_HERE, (0, target if is_drawn else top), xycoords=("axes fraction", "data"),
        xytext=(4, 3 if is_drawn else -4), textcoords="offset points", fontsize=9,
        va="bottom" if is_drawn else "top", color=TARGET_COLOUR,
    )  # fmt: skip


def _label(axes: Axes, *, cycle: date, branch: bool) -> None:
    """Write the months below, the values at the left, the unit and the legend above."""
    from matplotlib.lines import Line2D

    left, right = axes.get_xlim()
    inside = range(math.ceil(left), math.floor(right) + 1)
    every = next((step for most, step in _EVERY_MONTHS if len(inside) <= most), MONTHS_A_YEAR)
    months = {offset: add_months(cycle, offset) for offset in inside}
    ticks = {o: _month_label(m, every) for o, m in months.items() if (m.month - 1) % every == 0}
    axes.set_xticks(list(ticks), list(ticks.values()))
    top = _TICKS_UP_TO * axes.get_ylim()[1]
    values, _ = value_ticks(*axes.get_ylim())
    whole = [value for value in values if value == round(value) and value <= top]
    axes.set_yticks(whole, [f"{value:,.0f}" for value in whole])
    axes.grid(axis="y", color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(colors=MUTED, labelsize=9, length=2.5, width=0.6)
    axes.tick_params(axis="y", length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set(color=MUTED, linewidth=0.6)
    axes.text(-0.07, 1.117, "Patients enrolled so far", transform=axes.transAxes, fontsize=9,
              color=MUTED)  # fmt: skip
    style = {"frameon": False, "fontsize": 9, "labelcolor": MUTED, "handletextpad": 0.4,
             "columnspacing": 1.0, "borderpad": 0.2}  # fmt: skip
    named = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    order = ("Actual", "Planned", "Median", *(band.name for band in reversed(BANDS)))
    shown = [name for name in order if name in named and _has_data(named[name])]
    first = axes.legend(
        [named[name] for name in shown], shown, loc="lower right", bbox_to_anchor=(1.01, 1.075),
        ncols=5, handlelength=1.4, **style,
    )  # fmt: skip
    if branch:
        axes.add_artist(first)
        handle = Line2D([], [], color=BRANCH_COLOUR, linewidth=1.5, linestyle=_DASHES)
        axes.legend([handle], [_BRANCH_HERE], loc="lower left", bbox_to_anchor=(-0.082, 1.0),
                    handlelength=2.2, **style)  # fmt: skip


def _has_data(artist: object) -> bool:
    get = getattr(artist, "get_xdata", None)
    return get is None or len(get()) > 0


def _month_label(month: date, every: int) -> str:
    if month.month == 1:
        return f"Jan {month.year}"
    return month.strftime("%b") if every < MONTHS_A_YEAR else str(month.year)
