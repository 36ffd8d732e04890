"""One ladder of value added: the WMAPE of every stage as a bar, what it gained at the end of it.

Shorter bars are closer forecasts. The naive and statistical bars are grey, the plans people agreed
on dark, what one source adds by itself an empty outline, which also print in grey.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sopforecast.review import gains, wording
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

NAIVE_COLOUR, SEQUENTIAL_COLOUR, ALONE_COLOUR = "#c9ced6", "#9dbfe2", "#ffffff"

_WIDTH_INCHES, _ROW_INCHES, _AROUND_INCHES, _ABOVE_INCHES = 6.4, 0.27, 0.56, 0.26
_NAMES_INCHES = 2.1
_NAME_LENGTH = 28
_BAR = 0.62
_ROOM_FOR_NUMBERS = 0.5
_COLOURS = {
    "naive": NAIVE_COLOUR,
    "statistical": STATISTICAL_COLOUR,
    "consensus": PLAN_COLOUR,
    "approved": PLAN_COLOUR,
}


def ladder_chart(rows: Sequence[Mapping[str, Any]], *, title: str) -> str:
    """Draw one table.

    Parameters
    ----------
    rows : sequence of mapping
        ``ValueAdded`` rows of one table, from top to bottom; ``wmape`` may be None.
    title : str
        What a screen reader says; not drawn.

    Returns
    -------
    str
        An ``<svg>`` element that is also a whole file.
    """
    height = _AROUND_INCHES + _ROW_INCHES * len(rows)
    left, top = _NAMES_INCHES / _WIDTH_INCHES, _ABOVE_INCHES / height
    bottom = (_AROUND_INCHES - _ABOVE_INCHES) / height
    words = {
        f"name of row {k}": shortened(gains.row_name(row["stage"]), _NAME_LENGTH)
        for k, row in enumerate(rows)
    }

    def draw(axes: Axes) -> None:
        longest = max((row["wmape"] or 0.0 for row in rows), default=0.0) or 1.0
        axes.set_xlim(0, longest / (1 - _ROOM_FOR_NUMBERS))
        axes.set_ylim(len(rows) - 0.5, -0.5)
        for k, row in enumerate(rows):
            _bar(axes, k, row, longest=longest)
        _label(axes, list(words), longest=longest)

    return picture(
        draw,
        size=(_WIDTH_INCHES, height),
        area=(left, bottom, 0.985 - left, 1.0 - bottom - top),
        salt=f"ladder {title}",
        title=title,
        words=words,
    )


def _bar(axes: Axes, place: int, row: Mapping[str, Any], *, longest: float) -> None:
    wmape = row["wmape"]
    after: dict[str, Any] = {"va": "center", "fontsize": 9}
    if wmape is None:
        axes.text(0.01 * longest, place, "no demand", color=MUTED, **after)
        return
    alone = row["alone"]
    colour = ALONE_COLOUR if alone else _COLOURS.get(row["stage"], SEQUENTIAL_COLOUR)
    axes.barh(
        place, wmape, height=_BAR, color=colour, linewidth=0.9,
        edgecolor=PLAN_COLOUR if alone else colour, zorder=3,
    )  # fmt: skip
    tone = MUTED if alone else ACTUAL_COLOUR
    axes.text(wmape + 0.015 * longest, place, wording.percent(wmape), color=tone, zorder=4, **after)
    if row["gained"] is not None:
        said = gains.points(row["gained"])
        if row["gained_low"] is not None:
            said += f" ({gains.span(row['gained_low'], row['gained_high'])})"
        right = axes.get_xlim()[1]
        axes.text(right, place, said, color=tone, ha="right", zorder=4, **after)


def _label(axes: Axes, names: list[str], *, longest: float) -> None:
    """Names at the left, percent below; what the bars and numbers are, above."""
    axes.set_yticks(range(len(names)), names)
    values, texts = value_ticks(0.0, longest, bins=5)
    axes.set_xticks(values, [f"{text}%" for text in texts])
    axes.grid(axis="x", color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(axis="x", colors=MUTED, labelsize=9, length=2.5, width=0.6)
    axes.tick_params(axis="y", labelcolor=ACTUAL_COLOUR, labelsize=9, length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "left")
        spine.set(color=MUTED, linewidth=0.6)
    above: dict[str, Any] = {"transform": axes.transAxes, "fontsize": 9, "color": MUTED}
    axes.text(0.0, 1.02, "WMAPE; shorter is closer", **above)
    axes.text(1.0, 1.02, "points gained (90% range)", ha="right", **above)
