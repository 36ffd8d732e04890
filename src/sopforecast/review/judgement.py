"""What people said of the plan and what it moved, ready to be read.

Reads ``Statements`` and ``Bridge`` rows of one run, its statistical ``Forecasts`` and what the run
told of its overrides. Nothing is judged here beyond summing, ordering and counting.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from sopforecast.review.bridge import MOST_SOURCES, SOURCE, Step, Walk, signed, sources_of, walk
from sopforecast.review.headline import TOTAL
from sopforecast.review.wording import change

COUNTED = ("new", "carried", "changed", "expired")
SHOWN_SENTENCES = 12
DRAWN_NODES = 4
NAMED_OWNERS = 4
FIXED_NAME = "Fixed figures"
_LISTS = (
    ("in_history", "Already in the history?"),
    ("waiting", "Waiting for later months"),
    ("expired", "No longer counted"),
)


@dataclass(frozen=True, eq=False)
class Judgement:
    """What people said in a run, as it is handed to the page.

    Attributes
    ----------
    statements, bridge : pl.DataFrame
        ``Statements`` and ``Bridge`` of the run; no rows when no override is alive.
    statistical : pl.DataFrame
        ``Forecasts`` of the stage ``statistical``, every month of the horizon.
    told : mapping
        new, carried, changed, expired, in_history, waiting: a sentence an override.
    sentences : sequence of str
        What the overrides that moved most did to the plan, the largest first. A reason stands
        after the last semicolon.
    """

    statements: pl.DataFrame
    bridge: pl.DataFrame
    statistical: pl.DataFrame
    told: Mapping[str, Sequence[str]]
    sentences: Sequence[str] = ()

    @property
    def is_silent(self) -> bool:
        """Nobody has said anything that lives in this cycle, or just ceased to."""
        return self.statements.is_empty() and not any(self.told.values())


def total_walk(judgement: Judgement) -> Walk | None:
    """The steps of the total; None when nothing moved it."""
    if judgement.bridge.is_empty():
        return None
    return walk(judgement.bridge, judgement.statistical, node=TOTAL)


def most_moved(judgement: Judgement, nodes: Sequence[str], total: Walk | None) -> list[Walk]:
    """The steps of those of the nodes that were moved, the most moved first."""
    if judgement.bridge.is_empty():
        return []
    order = () if total is None else sources_of(total)
    walks = (
        walk(judgement.bridge, judgement.statistical, node=node, order=order) for node in nodes
    )
    return sorted((one for one in walks if one is not None), key=lambda w: (-w.moved, w.node))


def sentence(total: Walk | None, *, months: int) -> str:
    """What judgement did to the plan of all items, in one plain sentence or two.

    Examples
    --------
    >>> parts = (Step("statistical", "", 0, 0, 59000.0), Step("source", "sales", 0, 0, 900.0),
    ...          Step("source", "marketing", 0, 0, 340.0), Step("consensus", "", 0, 0, 60240.0))
    >>> sentence(Walk("total", parts), months=18)
    'Judgement moves the plan by +1,240 (+2.1%) over 18 months: sales +900, marketing +340.'
    """
    over = f"over {months} month{'' if months == 1 else 's'}"
    if total is None:
        return f"Judgement leaves the plan of all items as it is {over}."
    before = total.plan("statistical") or 0.0
    consensus, approved = total.plan("consensus"), total.plan("approved")
    told = []
    if consensus is not None:
        parts = ", ".join(_part(step) for step in total.changes("source", "whole_numbers"))
        moved = f"Judgement moves the plan by {_moved(consensus, before)} {over}"
        told.append(f"{moved}: {parts}." if parts else f"{moved}.")
    if approved is not None:
        what = f"the plan {over}" if consensus is None else "it"
        by = _moved(approved, before if consensus is None else consensus)
        told.append(f"Fixed figures move {what} by {by} to the approved plan.")
    return " ".join(told)


def _part(step: Step) -> str:
    name = step.name if step.kind == "source" else "whole numbers"
    return f"{name} {step.text}"


def _moved(after: float, before: float) -> str:
    by = round(after - before, 2)
    return f"{signed(by)} ({change(100.0 * by / before)})" if before > 0 else signed(by)


def record_sentence(statements: pl.DataFrame) -> str:
    """Whose closed statements weigh what they say, and who is taken at the prior."""
    spoken = statements.filter(pl.col("mode") == "evidence")
    prior = spoken.group_by("source").agg(pl.col("prior_only").all()).sort("source")
    known = prior.filter(~pl.col("prior_only"))["source"].to_list()
    unknown = prior.filter("prior_only")["source"].to_list()
    told = []
    if known:
        told.append(f"With a record of their own: {_listed(known)}.")
    if unknown:
        why = "their records do not count yet (too few statements closed, or not proved)"
        told.append(f"Prior only, {why}: {_listed(unknown)}.")
    return " ".join(told)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MOST_SOURCES])
    rest = len(names) - MOST_SOURCES
    return f"{shown} and {rest} more" if rest > 0 else shown


def source_rows(judgement: Judgement, total: Walk | None) -> list[dict[str, Any]]:
    """A row a source: what it moved the total by, how many overrides, of whom, with what weight.

    Fixed figures make the last row. ``weights`` and ``earlier`` are the smallest and largest weight
    of its statements and number of closed overrides behind one, as text, None where all have the
    prior; ``share`` is in percent of the statistical plan.
    """
    changes = _changes_of_total(judgement)
    start = None if total is None else total.plan("statistical")
    spoken = judgement.statements
    evidence, fixed = (spoken.filter(pl.col("mode") == mode) for mode in ("evidence", "fixed"))
    rows: list[dict[str, Any]] = [
        {"name": str(source), "moved": changes.get(f"{SOURCE}{source}", 0.0), "is_fixed": False}
        | _said(part)
        | _record(part)
        for (source,), part in evidence.group_by("source")
    ]
    rows.sort(key=lambda row: (-abs(row["moved"]), row["name"]))
    if fixed.height:
        last = {"name": FIXED_NAME, "moved": changes.get("fixed", 0.0), "is_fixed": True}
        rows.append(last | _said(fixed) | {"prior_only": False, "weights": None, "earlier": None})
    for row in rows:
        row["share"] = 100.0 * row["moved"] / start if start else None
    return rows


def _changes_of_total(judgement: Judgement) -> dict[str, float]:
    if judgement.bridge.is_empty():
        return {}
    rows = judgement.bridge.filter(pl.col("unique_id") == TOTAL)
    return dict(rows.group_by("step").agg(pl.col("change").sum()).iter_rows())


def _said(part: pl.DataFrame) -> dict[str, Any]:
    owners = part["owner"].unique().sort().to_list()
    return {
        "overrides": part["override_id"].n_unique(),
        "owners": owners[:NAMED_OWNERS],
        "owners_hidden": max(0, len(owners) - NAMED_OWNERS),
    }


def _record(part: pl.DataFrame) -> dict[str, Any]:
    known = part.filter(~pl.col("prior_only"))
    if known.is_empty():
        return {"prior_only": True, "weights": None, "earlier": None}
    weights = _span(f"{weight:.2f}" for weight in known["weight"].sort())
    earlier = _span(f"{count:,}" for count in known["observations"].sort())
    return {"prior_only": False, "weights": weights, "earlier": earlier}


def _span(ascending: Iterable[str]) -> str:
    texts = list(ascending)
    first, last = texts[0], texts[-1]
    return first if first == last else f"{first} to {last}"


def split_sentences(sentences: Sequence[str]) -> list[tuple[str, str]]:
    """What was said and what it moved; why it moved that far."""
    parts = (sentence.rpartition("; ") for sentence in sentences[:SHOWN_SENTENCES])
    return [(said, why) if mark else (why, "") for said, mark, why in parts]


def told_lists(told: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """Overrides a planner has to think about: a title, some sentences, how many more."""
    return [
        {
            "title": title,
            "key": key,
            "rows": list(told[key][:SHOWN_SENTENCES]),
            "hidden": max(0, len(told[key]) - SHOWN_SENTENCES),
        }
        for key, title in _LISTS
        if told.get(key)
    ]
