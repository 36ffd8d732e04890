"""Small static SVG pictures: what every chart of the page has in common.

The same numbers give the same bytes: a picture depends on nothing but its arguments (no date, no
font of the machine, no matplotlibrc). Text stays text, so a chart is small and can be searched.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ACTUAL_COLOUR = "#30343b"
PLAN_COLOUR = "#0b4f8a"
STATISTICAL_COLOUR = "#7b8491"
MUTED, GRID = "#59616d", "#e4e8ed"
UNIT_LENGTH = 26

_SCALES = ((1e9, 1e9, "bn"), (1e6, 1e6, "M"), (2e4, 1e3, "k"))


def picture(
    draw: Callable[[Axes], None],
    *,
    size: tuple[float, float],
    area: tuple[float, float, float, float],
    salt: str,
    title: str,
    words: Mapping[str, str],
) -> str:
    """One picture.

    Parameters
    ----------
    draw : callable
        Draws on the axes it is given.
    size : (float, float)
        Width and height in inches.
    area : (float, float, float, float)
        Left, bottom, width and height of the axes, as shares of the picture.
    salt : str
        What the ids inside are made from; pictures on one page differ in it.
    title : str
        What a screen reader says; not drawn.
    words : mapping
        Placeholder to the text that stands in its place. Text from the data is drawn as a
        placeholder: matplotlib would read ``$`` as mathematics and measure letters its own font
        does not have.

    Returns
    -------
    str
        An ``<svg>`` element that is also a whole file.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rc("svg", fonttype="none", hashsalt=salt)
        matplotlib.rc("font", **{"sans-serif": ["DejaVu Sans"]})
        figure = Figure(figsize=size)
        draw(figure.add_axes(area))
        drawn = io.StringIO()
        nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(drawn, format="svg", metadata=nothing, transparent=True)
    return _tidy(drawn.getvalue(), title=title, words=words)


def shortened(text: str, length: int = UNIT_LENGTH) -> str:
    """At most ``length`` letters, the last one a mark when some are left out."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def value_ticks(low: float, high: float, *, bins: int = 6) -> tuple[list[float], list[str]]:
    """Round values between the limits, and one scale and number of decimals for all of them."""
    from matplotlib.ticker import MaxNLocator

    locator = MaxNLocator(nbins=bins, steps=[1, 2, 2.5, 5, 10], min_n_ticks=3)
    values = [float(value) for value in locator.tick_values(low, high) if low <= value <= high]
    largest = max(map(abs, values), default=1.0)
    scale, suffix = next(((s, name) for limit, s, name in _SCALES if largest >= limit), (1.0, ""))
    exact = [f"{round(value / scale, 6):.6f}".rstrip("0").partition(".")[2] for value in values]
    decimals = max(map(len, exact), default=0)
    return values, [f"{value / scale:,.{decimals}f}{suffix}" if value else "0" for value in values]


def _tidy(svg: str, *, title: str, words: Mapping[str, str]) -> str:
    """Drop the file prologue, the page-wide style and ids nothing refers to; write the words in."""
    from xml.sax.saxutils import escape, quoteattr

    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"\s*<defs>\s*<style.*?</style>\s*</defs>", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    found = {f">{place}<": f">{escape(_printable(word))}<" for place, word in words.items()}
    if found:
        places = "|".join(map(re.escape, found))
        svg = re.sub(places, lambda place: found[place.group()], svg)
    label = f'<svg role="img" aria-label={quoteattr(_printable(title))} stroke-linejoin="round"'
    return svg.replace("<svg", label, 1).strip()


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)
