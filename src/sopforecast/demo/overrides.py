"""What the demo's contributors say: in every replayed cycle, and in the open one.

Closed cycles are simulated from what really came. Of the open cycle nobody knows what comes: there
the same month a year ago stands in for it. A few statements of the open cycle are written by hand,
so that the page shows each kind: a deal, a fixed contract, a change of level, two people on one
event, a delta carried over from the cycle before.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from sopforecast.core.draws import series_rng
from sopforecast.core.hierarchy import Hierarchy
from sopforecast.core.months import add_months, month_name
from sopforecast.demo.people import FIELDS, PEOPLE, Outlook, Person, Row, outlook, rounded, say

SEED = 2026
LOOKED_AT = 10
LOOKED_AT_OPEN = 5
MONTH_FIELDS = ("entered_cycle", "ds_from", "ds_to")
_BY_HAND = 4  # items; big ones whose usual figure can be trusted


def outlooks(
    hierarchy: Hierarchy, demand: np.ndarray, *, last_month: date, cycles: int
) -> list[Outlook]:
    """What there is to see in each replayed cycle and in the open one, which comes last.

    Parameters
    ----------
    hierarchy : Hierarchy
    demand : ndarray (N, T)
        Of its nodes, up to ``last_month``.
    last_month : date
    cycles : int
        How many are replayed: their first months are the last ``cycles`` months of demand.
    """
    known = demand.shape[1]
    first = add_months(last_month, 1 - known)
    return [
        outlook(demand, hierarchy.nodes, len(hierarchy.aggregates), first=first, at=at)
        for at in range(known - cycles, known + 1)
    ]


def said_in_all(seen: Sequence[Outlook], *, people: Sequence[Person] = PEOPLE) -> list[Row]:
    """All rows of ``overrides``, cycle by cycle; the last outlook is that of the open cycle."""
    by_hand = _by_hand(seen[-1], seen[-2] if len(seen) > 1 else None)
    kept = {row["node"]: date.max for row in by_hand}
    busy = {person.owner: dict(kept) for person in people}
    rows = []
    for now in seen:
        is_open = now is seen[-1]
        for person in people:
            cycle = month_name(now.cycle)
            rng = series_rng(SEED, "demo", person.owner, cycle)
            count = looked_at(now, is_open=is_open)
            said = say(person, now, count=count, rng=rng, busy=busy[person.owner])
            rows += [
                {"override_id": f"{cycle} {person.source} {number}", **row}
                for number, row in enumerate(said, start=1)
            ]
    return sorted(rows + by_hand, key=lambda row: (row["entered_cycle"], row["override_id"]))


def looked_at(seen: Outlook, *, is_open: bool = False) -> int:
    """How many nodes a contributor looks at in a cycle."""
    return min(LOOKED_AT_OPEN if is_open else LOOKED_AT, int((seen.often > 0).sum()))


def demand_that_came(
    demand: np.ndarray, nodes: Sequence[str], *, last_month: date, months: int
) -> pl.DataFrame:
    """Demand (N, T) of the last months as unique_id, ds, actual."""
    ds = [add_months(last_month, ahead + 1 - months) for ahead in range(months)]
    names = [node for node in nodes for _ in ds]
    actual = demand[:, -months:].ravel()
    return pl.DataFrame({"unique_id": names, "ds": ds * len(nodes), "actual": actual})


def write_overrides(folder: Path, rows: Sequence[Row]) -> Path:
    """Write ``overrides.csv`` as a planner would."""
    file = folder / "overrides.csv"
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, FIELDS, restval="")
        writer.writeheader()
        for row in rows:
            months = {name: month_name(row[name]) for name in MONTH_FIELDS}
            numbers = {
                name: f"{row[name]:g}" for name in ("value", "low", "high", "probability")
                if name in row
            }  # fmt: skip
            writer.writerow(row | months | numbers)
    return file


def _by_hand(now: Outlook, before: Outlook | None) -> list[Row]:
    """Statements about the open cycle that show what an override can be."""
    items = np.flatnonzero((now.often > 0) & ~now.is_sum)
    calm = items[np.argsort(now.surprise[items], kind="stable")][: max(len(items) // 3, _BY_HAND)]
    biggest = calm[np.argsort(-now.usual[calm].sum(axis=1), kind="stable")][:_BY_HAND]
    sums = np.flatnonzero((now.often > 0) & now.is_sum)
    if len(biggest) < _BY_HAND or not len(sums):
        return []
    deal, contract, moved, carried = (int(at) for at in biggest)
    fair = int(sums[-1])
    sales, supply = PEOPLE[0], PEOPLE[1]
    rows = [
        _row(
            sales, now, deal, "deal", months=(1, 1), kind="delta",
            value=rounded(0.4 * now.usual[deal, 1]), probability=0.3,
            assumption="a tender that is decided next month",
        ),
        _row(
            sales, now, contract, "contract", months=(0, 2), kind="absolute", per="span",
            value=rounded(1.05 * now.usual[contract].sum()), mode="fixed",
            assumption="volumes signed for three months",
        ),
        _row(
            supply, now, moved, "level", months=(1, 2), kind="percent", value=-12.0,
            low=-18.0, high=-6.0, assumption="a customer moves a line to another plant",
        ),
        _row(
            sales, now, fair, "promotion", months=(1, 1), kind="percent", value=15.0,
            event_id="trade fair",
        ),
        _row(
            supply, now, fair, "orders", months=(1, 1), kind="percent", value=5.0,
            event_id="trade fair",
        ),
    ]  # fmt: skip
    if before is not None:
        rows.append(
            _row(
                supply, before, carried, "orders", months=(1, 2), kind="delta",
                value=rounded(0.06 * before.usual[carried].mean()),
                assumption="call-offs for the next months",
            )
        )  # fmt: skip
    # Told before the others: sentences go by id, and "by hand" comes before any source.
    return [
        {"override_id": f"{month_name(row['entered_cycle'])} by hand {number}", **row}
        for number, row in enumerate(rows, start=1)
    ]


def _row(
    person: Person, seen: Outlook, at: int, reason: str, *, months: tuple[int, int], **more: object
) -> Row:
    return {
        "entered_cycle": seen.cycle,
        "node": seen.nodes[at],
        "ds_from": add_months(seen.cycle, months[0]),
        "ds_to": add_months(seen.cycle, months[1]),
        "source": person.source,
        "owner": person.owner,
        "reason": reason,
        **more,
    }
