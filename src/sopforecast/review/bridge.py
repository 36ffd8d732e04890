"""The way from the statistical plan to the consensus and the approved one, step by step.

Reads ``Bridge`` rows and the statistical ``Forecasts`` of the same run; a walk is over the whole
horizon, which may be longer than the months the bridge has rows of. Plans add, so walks do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

from sopforecast.review.headline import TOTAL
from sopforecast.review.wording import MINUS

Kind = Literal["statistical", "source", "whole_numbers", "consensus", "fixed", "approved"]

SOURCE, FIXED = "source:", "fixed"
SHOWN_FIXED = 0.005
MOST_SOURCES = 8


@dataclass(frozen=True)
class Step:
    """One step of a walk: what it is, where it starts and ends, and how that is written.

    A plan starts and ends at its own height. ``shown`` is the change (of a plan: the plan) as it is
    written; the changes shown add up exactly to the difference of the plans shown, and whole
    numbers take what rounding leaves.
    """

    kind: Kind
    name: str
    start: float
    end: float
    shown: float

    @property
    def is_plan(self) -> bool:
        """A plan that stands, not a change."""
        return self.kind in ("statistical", "consensus", "approved")

    @property
    def text(self) -> str:
        """The plan, or the change with its sign."""
        return exact(self.shown) if self.is_plan else signed(self.shown)


@dataclass(frozen=True)
class Walk:
    """The steps of one node from ``statistical`` to the last plan.

    ``moved`` is the sum of the sizes of its changes: what a node that sources pull to and fro is
    ranked by.
    """

    node: str
    steps: tuple[Step, ...]

    @property
    def moved(self) -> float:
        return sum(abs(step.end - step.start) for step in self.steps)

    @property
    def last(self) -> str:
        """What the plan at its end is called."""
        return "approved plan" if self.plan("approved") is not None else "consensus"

    def plan(self, kind: Kind) -> float | None:
        """The plan shown of that kind; None when the walk does not reach it."""
        return next((step.shown for step in self.steps if step.kind == kind), None)

    def changes(self, *kinds: Kind) -> tuple[Step, ...]:
        """Steps of these kinds."""
        return tuple(step for step in self.steps if step.kind in kinds)


def walk(
    bridge: pl.DataFrame, statistical: pl.DataFrame, *, node: str, order: Sequence[str] = ()
) -> Walk | None:
    """The steps of a node over the whole horizon; None when nothing moved it.

    Parameters
    ----------
    bridge : pl.DataFrame
        unique_id, position, step, change.
    statistical : pl.DataFrame
        unique_id, plan: every month of the horizon.
    node : str
    order : sequence of str
        Sources in the order to draw; by default those that moved most come first.
    """
    rows = bridge.filter((pl.col("unique_id") == node) & (pl.col("position") > 0))
    changes = {str(step): float(c) for step, c in _sums(rows).iter_rows()}
    sources = {step: c for step, c in changes.items() if step.startswith(SOURCE)}
    if not any(changes.values()):
        return None
    start = float(statistical.filter(pl.col("unique_id") == node)["plan"].sum())
    parts = [(name, sources[f"{SOURCE}{name}"]) for name in _ordered(sources, order)]
    if node != TOTAL:  # what the total was moved by is told whole, elsewhere what there is
        parts = [(name, change) for name, change in parts if change]
        if abs(changes.get(FIXED, 0.0)) < SHOWN_FIXED:
            changes.pop(FIXED, None)
    return Walk(node, _steps(start, _few(parts), changes))


def _sums(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.group_by("step").agg(pl.col("change").sum()).sort("step")


def sources_of(walk: Walk) -> tuple[str, ...]:
    """Names of its sources in the order drawn."""
    return tuple(step.name for step in walk.changes("source"))


def exact(value: float) -> str:
    """A quantity that was rounded before, with thousands separators."""
    text = f"{abs(value):,.2f}".rstrip("0").rstrip(".")
    return f"{MINUS}{text}" if value < 0 else text


def signed(value: float) -> str:
    """A change that was rounded before, with its sign and thousands separators.

    Examples
    --------
    >>> [signed(value) for value in (1240.0, -12.5, 0.0)]
    ['+1,240', '−12.5', '0']
    """
    return f"+{exact(value)}" if value > 0 else exact(value)


def _ordered(sources: dict[str, float], order: Sequence[str]) -> list[str]:
    place = {name: index for index, name in enumerate(order)}
    names = [step.removeprefix(SOURCE) for step in sources]
    return sorted(
        names, key=lambda name: (place.get(name, len(place)), -abs(sources[SOURCE + name]), name)
    )


def _few(parts: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """At most ``MOST_SOURCES``, the last ones taken together."""
    if len(parts) <= MOST_SOURCES:
        return parts
    kept, rest = parts[: MOST_SOURCES - 1], parts[MOST_SOURCES - 1 :]
    return [*kept, (f"{len(rest)} other sources", sum(change for _, change in rest))]


def _steps(
    start: float, parts: list[tuple[str, float]], changes: dict[str, float]
) -> tuple[Step, ...]:
    fixed = changes.get(FIXED)
    consensus = start + sum(c for step, c in changes.items() if step != FIXED)
    approved = consensus + (fixed or 0.0)
    digits = _digits([*(change for _, change in parts), fixed or 0.0])
    first, second, third = (round(plan, digits) for plan in (start, consensus, approved))
    steps = [Step("statistical", "Statistical", start, start, first)]
    at, told = start, first
    for name, change in parts:
        shown = round(change, digits)
        steps.append(Step("source", name, at, at + change, shown))
        at, told = at + change, told + shown
    rounding = round(second - told, digits)
    if rounding:
        steps.append(Step("whole_numbers", "Whole numbers", at, consensus, rounding))
    if parts or rounding or fixed is None:
        steps.append(Step("consensus", "Consensus", consensus, consensus, second))
    if fixed is not None:
        shown = round(third - second, digits)
        steps.append(Step("fixed", "Fixed", consensus, approved, shown))
        steps.append(Step("approved", "Approved", approved, approved, third))
    return tuple(steps)


def _digits(changes: list[float]) -> int:
    """Decimals that the largest change deserves."""
    largest = max(map(abs, changes), default=0.0)
    return 0 if largest >= 20 or not largest else (1 if largest >= 2 else 2)
