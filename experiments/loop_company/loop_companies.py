"""Companies with known truth: monthly demand, events that history cannot know, and what people say.

Ten items in three families. Events (promotions, deals, site openings) lift or lower an item or a
family by 10-60% for one to three months; they happen all the time, in the history too. People hear
of one in the cycle in which it starts or the one before, through errors they share in part, and
state it as people do: a percentage, a quantity to add, or the demand itself; some with a range that
is half as wide as it should be. Nobody sees the statistical forecast.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from sopforecast.core.draws import series_rng
from sopforecast.core.months import add_months, month_range

FIRST = date(2018, 1, 1)
HISTORY, HORIZON = 36, 4  # months before the first cycle, months ahead
ITEMS, FAMILIES = 10, 3
ITEM_EVENTS, FAMILY_EVENTS = 0.14, 0.05  # chance of one to start, a month
SMALLEST, LARGEST, RISES, LONGEST = 0.10, 0.60, 0.65, 3
NOISE, DRIFT = 0.08, 0.01  # of a month; of the level, a month
HEARS = 0.9  # share of events a contributor hears of
SHARED = 0.5  # share of the error variance that all who hear have in common
USUAL_ERROR = 0.04  # of the usual figure people measure from
HINDSIGHT = 0.15  # error of what an event is said to have brought, once it is over
Z80, RANGED, TOO_NARROW = 1.2816, 0.3, 0.5
LOWEST, HIGHEST = -0.7, 1.0  # what is said at most
TURN = 12  # cycles after which the turncoat is another
KINDS = ("percent", "delta", "absolute")
REASONS = ("promotion", "deal", "opening")


@dataclass(frozen=True)
class Person:
    """Who speaks: ``error`` of what is heard, habits, and rumours a month of nothing that comes."""

    source: str
    owner: str
    error: float
    exaggerates: float = 1.0
    adds: float = 0.0
    hears: float = HEARS
    rumours: float = 0.0


PEOPLE = (
    Person("sales", "turncoat", error=0.08),
    Person("marketing", "steady", error=0.08, exaggerates=1.2),
    Person("clinical", "optimist", error=0.15, adds=0.20, rumours=0.5),
    Person("finance", "noise", error=0.0, hears=0.0, rumours=1.0),
)
TURNS = ("unrelated", "opposite")  # what the turncoat becomes: even seeds, odd seeds


@dataclass(frozen=True)
class Event:
    """Something that comes: of a node (family or item), from a month on, known ``ahead`` of it."""

    node: str
    start: int
    months: int
    size: float
    ahead: int
    reason: str
    shared: float  # standard normal: the part of what is heard wrongly that all hear


@dataclass(frozen=True, eq=False)
class Company:
    """One company, months counted from ``FIRST``.

    Attributes
    ----------
    items : pl.DataFrame
        unique_id, family.
    history : pl.DataFrame
        unique_id, ds, y, one_off (what an event brought, estimated), through the last month
        that any cycle forecasts.
    overrides : pl.DataFrame
        ``Overrides``, of all cycles.
    turns : str
        One of ``TURNS``.
    """

    items: pl.DataFrame
    history: pl.DataFrame
    overrides: pl.DataFrame
    turns: str


def make_company(seed: int, *, cycles: int, items: int = ITEMS) -> Company:
    """Draw one company and what is said in all its cycles."""
    months = HISTORY + cycles + HORIZON - 1
    names = [f"{'ABC'[i % FAMILIES]}{i // FAMILIES + 1}" for i in range(items)]
    master = pl.DataFrame({"unique_id": names, "family": [name[0] for name in names]})
    events = _events(seed, names, months)
    usual = _usual(seed, items, months)
    rng = series_rng(seed, "loop_company", "demand")
    demand = usual * np.exp(NOISE * rng.standard_normal(usual.shape))
    lifted = np.ones(demand.shape)
    for event in events:
        where = np.ix_(_members(event.node, names), range(months)[event.start :][: event.months])
        lifted[where] *= 1.0 + event.size
    extra = demand * (lifted - 1.0) * np.exp(HINDSIGHT * rng.standard_normal(usual.shape))
    demand *= lifted
    calendar = month_range(FIRST, months)
    history = pl.DataFrame(
        {
            "unique_id": [name for name in names for _ in calendar],
            "ds": calendar * items,
            "y": np.round(demand).ravel(),
            "one_off": np.round(extra).ravel(),
        }
    )
    turns = TURNS[seed % len(TURNS)]
    told = [
        row
        for person in PEOPLE
        for row in _speeches(seed, person, turns, events, names, usual, cycles)
    ]
    return Company(master, history, _frame(told), turns)


def _events(seed: int, names: list[str], months: int) -> list[Event]:
    rng = series_rng(seed, "loop_company", "events")
    families = sorted({name[0] for name in names})
    nodes = [*(f"family={name}" for name in families), *names]
    chances = [FAMILY_EVENTS] * len(families) + [ITEM_EVENTS] * len(names)
    found = []
    for start in range(months):
        for node, chance in zip(nodes, chances, strict=True):
            is_there, rises, size = rng.random(3)
            length, ahead, reason = rng.integers([LONGEST, 2, len(REASONS)]).tolist()
            shared = float(rng.standard_normal())
            if is_there < chance:
                change = SMALLEST + (LARGEST - SMALLEST) * size
                change = change if rises < RISES else -change
                found.append(Event(node, start, length + 1, change, ahead, REASONS[reason], shared))
    return found


def _usual(seed: int, items: int, months: int) -> np.ndarray:
    """Expected demand (items, months) without events: level, season, trend, drift."""
    rng = series_rng(seed, "loop_company", "items")
    level = 400.0 * np.exp(0.5 * rng.standard_normal((items, 1)))
    trend = rng.uniform(-0.05, 0.08, (items, 1)) / 12.0
    depth, phase = rng.uniform(0.05, 0.2, (items, 1)), rng.uniform(0, 12, (FAMILIES, 1))
    phase = phase[np.arange(items) % FAMILIES]
    month = np.arange(months)
    season = 1.0 + depth * np.cos(2 * np.pi * (month - phase) / 12.0)
    drift = np.cumsum(DRIFT * rng.standard_normal((items, months)), axis=1)
    return np.asarray(level * season * np.exp(trend * month + drift))


def _members(node: str, names: list[str]) -> list[int]:
    if node in names:
        return [names.index(node)]
    return [i for i, name in enumerate(names) if name[0] == node[-1]]


def _speeches(
    seed: int,
    person: Person,
    turns: str,
    events: list[Event],
    names: list[str],
    usual: np.ndarray,
    cycles: int,
) -> list[dict[str, Any]]:
    """What one contributor says in all cycles; of a node, one thing at a time."""
    rng = series_rng(seed, "loop_company", person.owner)
    nodes = [*(f"family={name}" for name in sorted({name[0] for name in names})), *names]
    busy: dict[str, int] = {}
    rows: list[dict[str, Any]] = []
    for cycle in range(cycles):
        at = HISTORY + cycle
        has_turned = person.owner == "turncoat" and cycle >= TURN
        heard: list[tuple[str, int, int, float, str]] = []
        for event in (one for one in events if one.start - one.ahead == at):
            if rng.random() >= person.hears:
                continue
            own = rng.standard_normal()
            wrong = np.sqrt(SHARED) * event.shared + np.sqrt(1 - SHARED) * own
            size = person.exaggerates * (event.size + person.error * wrong) + person.adds
            told = (event.node, event.start, event.months, size, event.reason)
            if has_turned:
                told = _turned(told, turns, nodes, at, rng)
            heard.append(told)
        heard += [
            _rumour(nodes, at, rng, adds=person.adds) for _ in range(rng.poisson(person.rumours))
        ]
        for node, start, months, size, reason in heard:
            said = float(np.clip(size, LOWEST, HIGHEST))
            shape, seen = rng.random(2), np.exp(USUAL_ERROR * rng.standard_normal())
            if busy.get(node, -1) >= start:
                continue
            busy[node] = start + months - 1
            base = float(usual[_members(node, names), start : start + months].sum(axis=0).mean())
            rows.append(
                {
                    "override_id": f"{cycle + 1:02d} {person.owner} {len(rows):03d}",
                    "entered_cycle": add_months(FIRST, at),
                    "node": node,
                    "ds_from": add_months(FIRST, start),
                    "ds_to": add_months(FIRST, start + months - 1),
                    "source": person.source,
                    "owner": person.owner,
                    "reason": reason,
                }
                | _said(said, base * seen, months, shape, error=max(person.error, 0.1))
            )
    return rows


def _turned(
    told: tuple[str, int, int, float, str],
    turns: str,
    nodes: list[str],
    at: int,
    rng: np.random.Generator,
) -> tuple[str, int, int, float, str]:
    """As often as before: the opposite of what was heard, or something else altogether."""
    if turns == "unrelated":
        return _rumour(nodes, at, rng)
    node, start, months, size, reason = told
    return node, start, months, -size, reason


def _rumour(
    nodes: list[str], at: int, rng: np.random.Generator, *, adds: float = 0.0
) -> tuple[str, int, int, float, str]:
    """Something that sounds like an event and has nothing to do with what comes."""
    size = rng.uniform(SMALLEST, LARGEST) * (1 if rng.random() < RISES else -1)
    if adds:
        size = adds + abs(size) / 2
    node = nodes[int(rng.integers(len(nodes)))]
    start, months = at + int(rng.integers(2)), 1 + int(rng.integers(LONGEST))
    return node, start, months, size, REASONS[int(rng.integers(len(REASONS)))]


def _said(
    size: float, usual: float, months: int, shape: np.ndarray, *, error: float
) -> dict[str, Any]:
    """Kind, value, low and high: in percent, in units to add, or (of one month) the demand."""
    kind = KINDS[int(shape[0] * len(KINDS))]
    if kind == "absolute" and months > 1:
        kind = "percent"
    half = TOO_NARROW * Z80 * error if shape[1] < RANGED else None
    ends = [size, None, None] if half is None else [size, max(size - half, -0.95), size + half]

    def put(share: float | None) -> float | None:
        if share is None:
            return None
        if kind == "percent":
            return round(100.0 * share)
        return round(usual * (share if kind == "delta" else 1.0 + share))

    value, low, high = (put(end) for end in ends)
    confidence = None if half is None else 0.8
    return {"kind": kind, "value": value, "low": low, "high": high, "confidence": confidence}


def _frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    blank = dict.fromkeys(("event_id", "assumption", "scenario"), pl.lit(None, dtype=pl.String))
    frame = pl.DataFrame(rows, infer_schema_length=None).with_columns(
        pl.col("value", "low", "high", "confidence").cast(pl.Float64),
        per=pl.lit("month"), measure=pl.lit("quantity"), probability=pl.lit(1.0),
        mode=pl.lit("evidence"), status=pl.lit("active"),
        expires_cycle=pl.lit(None, dtype=pl.Date), **blank,
    )  # fmt: skip
    return frame.sort("override_id")
