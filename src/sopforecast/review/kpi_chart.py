"""The trend of one key figure: a small line between the lines where it is green and yellow.

Zones differ in how their edges are drawn as well as in colour, so that the chart reads in grey.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, NamedTuple

from sopforecast.core.months import add_months, months_between
from sopforecast.review.svg import ACTUAL_COLOUR, MUTED, picture, value_ticks
from sopforecast.settings_sections import HIGHER_IS_BETTER, KPI_CENTRES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GREEN_ZONE, YELLOW_ZONE = "#dcefe3", "#fbf0cf"

_SIZE_INCHES = (3.5, 0.88)
_PLOT_AREA = (0.09, 0.2, 0.79, 0.76)
_EDGES = {"green": "solid", "yellow": (0, (3, 2))}
_ROOM = 0.12
_APART = 0.17


class Zones(NamedTuple):
    """Where a figure is green and yellow: from ``low`` to ``high``, either open (infinite)."""

    green: tuple[float, float]
    yellow: tuple[float, float]


def zones(kpi: str, *, green: float, yellow: float) -> Zones:
    """The zones of a KPI.

    Parameters
    ----------
    kpi : str
        A name of ``settings.KPIS``.
    green, yellow : float
        Its thresholds.

    Examples
    --------
    >>> zones("coverage", green=4, yellow=8).green
    (76.0, 84.0)
    """
    if kpi in KPI_CENTRES:
        centre = KPI_CENTRES[kpi]
        return Zones((centre - green, centre + green), (centre - yellow, centre + yellow))
    if kpi in HIGHER_IS_BETTER:
        return Zones((green, math.inf), (yellow, math.inf))
    return Zones((-math.inf, green), (-math.inf, yellow))


def trend_chart(
    months: Sequence[date], values: Sequence[float | None], limits: Zones, *, title: str
) -> str:
    """Draw the values of one figure as of the end of closed months.

    Parameters
    ----------
    months : sequence of date
        In order of time, at least one.
    values : sequence of float or None
        One a month; None breaks the line.
    limits : Zones
    title : str
        What a screen reader says; not drawn.

    Returns
    -------
    str
        An ``<svg>`` element.
    """
    first = months[0]
    at = [months_between(first, month) for month in months]
    drawn = [math.nan if value is None else value for value in values]

    def draw(axes: Axes) -> None:
        low, high = _reach(drawn, limits)
        axes.set_xlim(-0.8, max(at[-1], 1) + 0.8)
        axes.set_ylim(low, high)
        _shade(axes, limits)
        axes.plot(at, drawn, color=ACTUAL_COLOUR, linewidth=1.2, marker="o", markersize=1.8)
        axes.plot(at[-1:], drawn[-1:], color=ACTUAL_COLOUR, marker="o", markersize=4.2)
        _label(axes, first, at[-1])

    return picture(
        draw, size=_SIZE_INCHES, area=_PLOT_AREA, salt=f"kpi {title}", title=title, words={}
    )


def _reach(values: Sequence[float], limits: Zones) -> tuple[float, float]:
    """From where to where the axis goes: all values and all edges, with some room."""
    seen = [edge for zone in limits for edge in zone if math.isfinite(edge)]
    seen += [value for value in values if math.isfinite(value)]
    room = _ROOM * ((max(seen) - min(seen)) or 1.0)
    return min(seen) - room, max(seen) + room


def _shade(axes: Axes, limits: Zones) -> None:
    low, high = axes.get_ylim()
    for zone, fill in ((limits.yellow, YELLOW_ZONE), (limits.green, GREEN_ZONE)):
        axes.axhspan(max(zone[0], low), min(zone[1], high), color=fill, linewidth=0, zorder=0.5)
    taken: list[float] = []
    for name, zone in zip(("green", "yellow"), (limits.green, limits.yellow), strict=True):
        for edge in zone:
            if not math.isfinite(edge):
                continue
            axes.axhline(edge, color=MUTED, linewidth=0.6, linestyle=_EDGES[name], zorder=0.8)
            if all(abs(edge - other) >= _APART * (high - low) for other in taken):
                taken.append(edge)
                axes.text(
                    1.015, edge, name, transform=axes.get_yaxis_transform(),
                    fontsize=6.5, color=MUTED, va="center",
                )  # fmt: skip


def _label(axes: Axes, first: date, last: int) -> None:
    """Months below: every January and July, or the first and last where there is neither."""
    months = {offset: add_months(first, offset) for offset in range(last + 1)}
    ticks = {at: month for at, month in months.items() if month.month in (1, 7)}
    ticks = ticks if len(ticks) > 1 else {0: first, last: months[last]}
    axes.set_xticks(list(ticks), [f"{month:%b %Y}" for month in ticks.values()])
    axes.set_yticks(*value_ticks(*axes.get_ylim(), bins=3))
    axes.tick_params(colors=MUTED, labelsize=6.5, length=1.8, width=0.5, pad=2)
    axes.tick_params(axis="y", length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set(color=MUTED, linewidth=0.5)
