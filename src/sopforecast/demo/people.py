"""Three simulated contributors of the demo: how well each sees what comes, and how each speaks.

Nobody in the source said anything, so the demo makes its people up, openly. A contributor compares
what comes with a *usual figure* (the same month of the last two years, moved to the level of the
last six months), and states the difference with a habit of their own::

    said = exaggerates * (sees * what comes + noise * usual surprise) + adds

all in shares of the usual figure. None of them knows the statistical forecast.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from sopforecast.core.months import add_months

AHEAD = 3
YEAR, RECENT, LOOK_BACK = 12, 6, 24
LEAST_SAID = 0.02
LARGEST_FALL, LARGEST_RISE = -0.6, 1.0
SURPRISES = (0.02, 0.5)
Z80 = 1.2816
AGGREGATES_OFTENER = 3.0
SHARE_RANGED, SHARE_DEALS = 0.3, 0.1
CHANCES = (0.3, 0.5, 0.7)
KINDS = ("delta", "percent", "absolute")
FIELDS = (
    "override_id", "entered_cycle", "node", "ds_from", "ds_to", "per", "kind", "value", "low",
    "high", "probability", "source", "owner", "reason", "event_id", "assumption", "mode",
)  # fmt: skip

Row = dict[str, Any]


@dataclass(frozen=True)
class Person:
    """Somebody who speaks, and the habit with which.

    ``sees`` is the share of what comes that is seen (0 or 1), ``noise`` is in usual surprises of
    the node, ``adds`` in shares of its usual figure. ``range_width`` multiplies the 80% range that
    the noise would justify.
    """

    source: str
    owner: str
    habit: str
    reasons: tuple[str, ...]
    sees: float
    noise: float
    exaggerates: float = 1.0
    adds: float = 0.0
    range_width: float = 1.0

    def change(self, coming: float, surprise: float, rng: np.random.Generator) -> float:
        """What is said of a node where ``coming`` is on its way, both in shares of the usual."""
        seen = self.sees * coming + self.noise * surprise * rng.standard_normal()
        said = self.exaggerates * seen + self.adds
        return float(np.clip(said, LARGEST_FALL, LARGEST_RISE))

    def half_width(self, surprise: float) -> float:
        """Half of the range given with a statement, in shares of the usual figure."""
        return self.range_width * Z80 * self.exaggerates * self.noise * surprise


PEOPLE = (
    Person(
        "sales", "A. Rivera",
        "sees roughly what comes, says twice that, adds 6% on top; gives ranges half "
        "as wide as they should be",
        ("promotion", "price"), sees=1.0, noise=0.6, exaggerates=2.0, adds=0.06, range_width=0.5,
    ),
    Person(
        "supply", "K. Lindqvist",
        "sees well what comes and says it as it is",
        ("orders", "stock build"), sees=1.0, noise=0.2,
    ),
    Person(
        "finance", "T. Okafor",
        "speaks as often, of something that has nothing to do with what comes",
        ("budget",), sees=0.0, noise=1.0,
    ),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Outlook:
    """What there is to see in one cycle; N nodes, AHEAD months.

    Attributes
    ----------
    cycle : date
    nodes : tuple of str
    is_sum : ndarray of bool (N,)
        Aggregates.
    often : ndarray (N,)
        How likely each node is spoken of, adding up to 1.
    usual, coming : ndarray (N, AHEAD)
        The usual figure, and what comes (or stands in for it).
    surprise : ndarray (N,)
        Root mean square of what came over the usual figure less one, in the two years before.
    """

    cycle: date
    nodes: tuple[str, ...]
    is_sum: np.ndarray
    often: np.ndarray
    usual: np.ndarray
    coming: np.ndarray
    surprise: np.ndarray


def outlook(
    demand: np.ndarray, nodes: Sequence[str], aggregates: int, *, first: date, at: int
) -> Outlook:
    """What comes after month ``at`` of demand, beside the usual figures.

    Parameters
    ----------
    demand : ndarray (N, T)
        Of all nodes, aggregates first; NaN before a node begins.
    nodes : sequence of str
    aggregates : int
        How many of the nodes are sums; they are spoken of more often.
    first : date
        First month of demand.
    at : int
        First month of the cycle, counted from ``first``. Where demand has ended by then, the same
        month a year ago stands in for what comes.
    """
    usual = usual_figure(demand, at)
    months = [at + ahead for ahead in range(AHEAD)]
    known = demand.shape[1]
    coming = np.stack([demand[:, m if m < known else m - YEAR] for m in months], axis=1)
    before = [demand[:, m] / usual_figure(demand, m)[:, 0] - 1.0 for m in range(at - LOOK_BACK, at)]
    seen = np.array(before)
    count = np.maximum(np.isfinite(seen).sum(axis=0), 1)
    surprise = np.sqrt(np.nansum(np.square(seen), axis=0) / count)
    is_sum = np.arange(len(nodes)) < aggregates
    is_seen = (usual > 0).all(axis=1) & np.isfinite(coming).all(axis=1)
    often = np.where(is_seen, np.where(is_sum, AGGREGATES_OFTENER, 1.0), 0.0)
    return Outlook(
        add_months(first, at), tuple(nodes), is_sum, often / often.sum(), usual, coming,
        np.clip(surprise, *SURPRISES),
    )  # fmt: skip


def usual_figure(demand: np.ndarray, at: int) -> np.ndarray:
    """Same months of the last two years at today's level: (N, AHEAD) from demand (N, T)."""
    level = demand[:, at - RECENT : at].mean(axis=1)
    years = []
    for back in (YEAR, 2 * YEAR):
        then = demand[:, at - back - RECENT : at - back].mean(axis=1)
        grown = np.divide(level, then, out=np.full_like(level, np.nan), where=then > 0)
        years.append(demand[:, at - back : at - back + AHEAD] * grown[:, None])
    return np.asarray((years[0] + years[1]) / 2.0)


def say(
    person: Person,
    seen: Outlook,
    *,
    count: int,
    rng: np.random.Generator,
    busy: dict[str, date] | None = None,
) -> Iterator[Row]:
    """What one contributor says in one cycle, as rows of ``overrides`` (a column ``FIELDS`` each).

    Parameters
    ----------
    person : Person
    seen : Outlook
    count : int
        Nodes looked at; what would change less than ``LEAST_SAID`` of the usual is not said.
    rng : Generator
    busy : dict of str to date, optional
        Node to the last month this contributor has spoken of: such nodes are let be until then.
        Written to.
    """
    busy = {} if busy is None else busy
    for at in rng.choice(len(seen.nodes), size=count, replace=False, p=seen.often):
        node = seen.nodes[at]
        start = int(rng.integers(AHEAD))
        stop = start + 1 + int(rng.integers(AHEAD - start))
        usual = float(seen.usual[at, start:stop].mean())
        coming = float(seen.coming[at, start:stop].mean()) / usual - 1.0
        change = person.change(coming, float(seen.surprise[at]), rng)
        shape = rng.random(4)
        if abs(change) < LEAST_SAID or busy.get(node, date.min) >= seen.cycle:
            continue
        row = {
            "entered_cycle": seen.cycle,
            "node": node,
            "ds_from": add_months(seen.cycle, start),
            "ds_to": add_months(seen.cycle, stop - 1),
            "source": person.source,
            "owner": person.owner,
            "reason": person.reasons[int(shape[3] * len(person.reasons))],
        }
        busy[node] = row["ds_to"]
        kind = KINDS[int(shape[0] * len(KINDS))]
        if kind == "absolute" and stop - start > 1:  # months differ: one figure would flatten them
            kind = "percent"
        half = person.half_width(float(seen.surprise[at])) if shape[1] < SHARE_RANGED else None
        chance = CHANCES[int(shape[2] * len(CHANCES))]
        can_be_deal = half is None and kind != "absolute" and 0 < change <= chance * LARGEST_RISE
        if can_be_deal and shape[1] > 1.0 - SHARE_DEALS:
            row["reason"] = "deal"
        else:
            chance = 1.0
        yield (
            row
            | {"kind": kind, "probability": chance}
            | _amounts(kind, change / chance, half, usual)
        )


def _amounts(kind: str, change: float, half: float | None, usual: float) -> Row:
    """Value, and low and high with a range: as a person would round them."""
    ends = [change] if half is None else [change, change - half, change + half]
    if kind == "percent":
        said = [float(round(100.0 * max(end, -1.0))) for end in ends]
    elif kind == "delta":
        said = [rounded(end * usual) for end in ends]
    else:
        said = [rounded(max(1.0 + end, 0.0) * usual) for end in ends]
    return dict(zip(("value", "low", "high"), said, strict=False))


def rounded(number: float) -> float:
    """As a person says it: three digits.

    Examples
    --------
    >>> rounded(12345.6), rounded(-0.12345)
    (12300.0, -0.123)
    """
    return float(f"{number:.3g}")
