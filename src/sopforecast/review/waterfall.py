"""One waterfall: from the statistical plan, source by source, to the plan people agreed on.

Lying bars, one a step, so that long names and many sources stay readable; every bar has its number
beside it. An increase is filled and a decrease is an empty outline, which also print in grey.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from sopforecast.review.bridge import Step, Walk, exact
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

UP_COLOUR, DOWN_COLOUR, ROUNDING_COLOUR = "#9dbfe2", "#ffffff", "#c9ced6"

_ROW_INCHES, _AROUND_INCHES = 0.27, 0.56
_WIDTH_INCHES, _WIDE_INCHES = 5.6, 6.4
_NAMES_INCHES = 1.22
_NAME_LENGTH = 18
_BAR = 0.62
_CUT_WHEN_MOVED_BELOW = 0.5
_BELOW_THE_LOWEST = 0.5
_ROOM_FOR_NUMBERS = 0.24
_UNIT_HERE = "unit of the axis"


def waterfall(walk: Walk, *, title: str, unit: str, months: int, wide: bool = False) -> str:
    """Draw one node.

    Parameters
    ----------
    walk : Walk
        In ``unit``, over all ``months``.
    title : str
        What a screen reader says; not drawn.
    unit : str
        Unit of demand.
    months : int
        Months the plans are summed over.
    wide : bool
        Drawn over more than one column of the page.

    Returns
    -------
    str
        An ``<svg>`` element that is also a whole file.

    Notes
    -----
    The axis starts at zero unless all plans lie above half of the largest one; where it is cut,
    the chart says where it starts and the bars of the plans are torn.
    """
    width = _WIDE_INCHES if wide else _WIDTH_INCHES
    height = _AROUND_INCHES + _ROW_INCHES * len(walk.steps)
    left, top = _NAMES_INCHES / width, 0.26 / height
    bottom = (_AROUND_INCHES - 0.26) / height
    names = {f"name of row {row}": shortened(step.name, _NAME_LENGTH)
             for row, step in enumerate(walk.steps)}  # fmt: skip

    def draw(axes: Axes) -> None:
        low, high = _limits(walk)
        axes.set_xlim(low, high)
        axes.set_ylim(len(walk.steps) - 0.5, -0.5)
        for row, step in enumerate(walk.steps):
            _bar(axes, row, step, low=low, span=high - low)
        _connect(axes, walk)
        if low > 0:
            _tear(axes, walk)
        _label(axes, list(names), low=low)

    return picture(
        draw,
        size=(width, height),
        area=(left, bottom, 0.985 - left, 1.0 - bottom - top),
        salt=f"waterfall {title}",
        title=title,
        words={**names, _UNIT_HERE: f"{shortened(unit)}, {_months(months)}"},
    )


def _limits(walk: Walk) -> tuple[float, float]:
    """Where the axis starts and ends, with room for the numbers at the right."""
    ends = [end for step in walk.steps for end in (step.start, step.end)]
    low, high = min(ends), max(ends)
    span = high - low
    if low > 0 and 0 < span < _CUT_WHEN_MOVED_BELOW * high:
        grain = 10.0 ** math.floor(math.log10(span)) / 2
        start = max(0.0, math.floor((low - _BELOW_THE_LOWEST * span) / grain) * grain)
    else:
        start = min(0.0, low)
    end = max(high, 0.0)
    if end <= start:
        end = start + 1.0
    return start, end + _ROOM_FOR_NUMBERS * (end - start) / (1 - _ROOM_FOR_NUMBERS)


def _bar(axes: Axes, row: int, step: Step, *, low: float, span: float) -> None:
    start = max(low, 0.0) if step.is_plan else step.start
    axes.barh(
        row, step.end - start, left=start, height=_BAR, color=_fill(step), linewidth=0.9,
        edgecolor=_fill(step) if step.is_plan else PLAN_COLOUR, zorder=3,
    )  # fmt: skip
    axes.text(
        max(start, step.end) + 0.012 * span, row, step.text, va="center", fontsize=9,
        color=ACTUAL_COLOUR, fontweight="bold" if step.is_plan else "normal", zorder=4,
    )  # fmt: skip


def _fill(step: Step) -> str:
    if step.kind == "statistical":
        return STATISTICAL_COLOUR
    if step.is_plan:
        return PLAN_COLOUR
    if step.kind == "whole_numbers":
        return ROUNDING_COLOUR
    return UP_COLOUR if step.end >= step.start else DOWN_COLOUR


def _connect(axes: Axes, walk: Walk) -> None:
    """A thin line from where one bar ends to where the next one starts."""
    for row, step in enumerate(walk.steps[:-1]):
        axes.plot(
            [step.end, step.end], [row + _BAR / 2, row + 1 - _BAR / 2], color=MUTED, linewidth=0.7,
            zorder=2,
        )  # fmt: skip


def _tear(axes: Axes, walk: Walk) -> None:
    """A white stroke through the foot of each plan: the bar is longer than drawn."""
    low, high = axes.get_xlim()
    at, lean = low + 0.03 * (high - low), 0.008 * (high - low)
    for row, step in enumerate(walk.steps):
        if step.is_plan:
            axes.plot(
                [at - lean, at + lean], [row + 0.6 * _BAR, row - 0.6 * _BAR], color="#ffffff",
                linewidth=2.2, zorder=5,
            )  # fmt: skip


def _label(axes: Axes, names: list[str], *, low: float) -> None:
    """Write the names at the left, the values below, and whether the axis is cut."""
    axes.set_yticks(range(len(names)), names)
    axes.set_xticks(*value_ticks(*axes.get_xlim(), bins=5))
    axes.grid(axis="x", color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(axis="x", colors=MUTED, labelsize=9, length=2.5, width=0.6)
    axes.tick_params(axis="y", labelcolor=ACTUAL_COLOUR, labelsize=9, length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "left" and low <= 0)
        spine.set(color=MUTED, linewidth=0.6)
    above: dict[str, Any] = {"transform": axes.transAxes, "fontsize": 9, "color": MUTED}
    cut = f"The axis starts at {exact(low)}, not at 0" if low > 0 else ""
    axes.text(0.0, 1.02, _UNIT_HERE, **above)
    axes.text(1.0, 1.02, cut, ha="right", **above)


def _months(months: int) -> str:
    return f"{months} month{'' if months == 1 else 's'}"
