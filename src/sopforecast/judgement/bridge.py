"""From the statistical plan to the approved one, a step a source, and the sentence a planner reads.

A source's step is its columns of the gain times its innovations, so the order of sources never
matters. Steps are kept in multiples of 2**-10 of a unit, so that they add up exactly over steps,
nodes and months; what whole numbers and no-negatives add is a step of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
import polars as pl

from sopforecast.core.hierarchy import Hierarchy
from sopforecast.core.months import add_months, month_name
from sopforecast.judgement.said import Moves, Said
from sopforecast.judgement.telling import signed

GRAIN = 2.0**-10
WHOLE_NUMBERS, FIXED, STATISTICAL = "whole_numbers", "fixed", "statistical"
_TOLD_FROM = 0.05
Z80 = 1.2815515655446004


def source_parts(
    moves: Sequence[Moves], said: Said, *, sources: Sequence[str], shape: tuple[int, int]
) -> np.ndarray:
    """What each source adds to the mean of each cell (sources, b, H), in multiples of ``GRAIN``."""
    parts = np.zeros((len(sources), *shape))
    names = said.frame["source"].to_list()
    for move in moves:
        owner = np.array([sources.index(names[k]) for k in move.statements])
        for q in np.unique(owner):
            change = move.parts[:, owner == q].sum(axis=1)
            np.add.at(parts[q], (move.items, move.months), change)
    return np.rint(parts / GRAIN) * GRAIN


def moved_by_statement(moves: Sequence[Moves], count: int) -> np.ndarray:
    """What each statement (K,) adds to the consensus mean of its own node and months."""
    total = np.zeros(count)
    for move in moves:
        np.add.at(total, move.statements, move.own)
    return total


def bridge_frame(
    parts: np.ndarray,
    *,
    sources: Sequence[str],
    items: np.ndarray,
    hierarchy: Hierarchy,
    statistical: np.ndarray,
    consensus: np.ndarray,
    approved: np.ndarray | None,
    cycle: date,
) -> pl.DataFrame:
    """``Bridge`` without ``run_id``.

    Parameters
    ----------
    parts : ndarray (sources, b, H)
        See `source_parts`.
    sources : sequence of str
    items : ndarray of int (b,)
        Items that somebody spoke of.
    hierarchy : Hierarchy
    statistical : ndarray (B, H)
        Plan of all items.
    consensus, approved : ndarray (b, H)
        Plans of the items spoken of; no step ``fixed`` without the second.
    cycle : date
    """
    whole = consensus - statistical[items] - parts.sum(axis=0)
    steps = [*parts, whole]
    names = [*(f"source:{name}" for name in sources), WHOLE_NUMBERS]
    if approved is not None:
        steps.append(approved - consensus)
        names.append(FIXED)
    changes = np.stack(steps)
    above = np.unique(hierarchy.codes[:, items])
    summed = hierarchy.aggregate_block(changes, items)[:, above]
    start = np.concatenate([hierarchy.aggregate(statistical)[above], statistical[items]])
    changes = np.concatenate([start[None], np.concatenate([summed, changes], axis=1)])
    nodes = np.concatenate([above, len(hierarchy.aggregates) + items])
    node, month = np.nonzero((changes[1:] != 0).any(axis=0))
    plans = np.cumsum(changes, axis=0)
    return pl.DataFrame(
        {
            "unique_id": [hierarchy.nodes[i] for i in nodes[node] for _ in range(len(changes))],
            "ds": [add_months(cycle, int(m)) for m in month for _ in range(len(changes))],
            "position": list(range(len(changes))) * len(node),
            "step": [STATISTICAL, *names] * len(node),
            "change": changes[:, node, month].T.ravel(),
            "plan": plans[:, node, month].T.ravel(),
        },
        schema_overrides={"ds": pl.Date, "position": pl.Int64, "step": pl.String,
                          "unique_id": pl.String},
    )  # fmt: skip


def sentences(statements: pl.DataFrame, *, most: int = 5) -> list[str]:
    """Say, of the overrides that moved most, how far and why not further.

    Parameters
    ----------
    statements : pl.DataFrame
        ``Statements`` of one run; only evidence is told.
    most : int
        Overrides to tell.

    Returns
    -------
    list of str
        ``sales (A. Rivera): +400 on family=Oncology, 2026-12, moved the plan by +260; weight 0.65:
        14 earlier uplifts came true at 65% (80% range 53 to 77%, the record of others
        included)``.
    """
    rows = statements.filter(pl.col("mode") == "evidence").sort("override_id", "ds_from")
    told = rows.group_by("override_id", maintain_order=True).agg(
        pl.col("source", "owner", "node", "direction", "probability").first(),
        pl.col("weight", "weight_sd", "counted", "observations", "prior_only").first(),
        pl.col("ds_from").min(),
        pl.col("ds_to").max(),
        pl.col("adjustment", "moved").sum(),
        habit=(pl.col("shift") * pl.col("unit_sd")).sum(),
    )
    told = told.sort(pl.col("moved").abs(), "override_id", descending=[True, False]).head(most)
    return [_sentence(row) for row in told.iter_rows(named=True)]


def _sentence(row: dict[str, object]) -> str:
    first, last = row["ds_from"], row["ds_to"]
    months = month_name(first) if first == last else f"{month_name(first)} to {month_name(last)}"  # type: ignore[arg-type]
    chance = "" if row["probability"] == 1 else f" at {row['probability']:.0%}"
    said = f"{signed(float(row['adjustment']))}{chance} on {row['node']}, {months},"  # type: ignore[arg-type]
    moved = f"moved the plan by {signed(float(row['moved']))}"  # type: ignore[arg-type]
    habit = float(row["habit"])  # type: ignore[arg-type]
    if row["probability"] == 1 and abs(habit) > _TOLD_FROM * abs(float(row["adjustment"])):  # type: ignore[arg-type]
        moved += f" (its usual shift of {signed(habit)} included)"
    return f"{row['source']} ({row['owner']}): {said} {moved}; {_why(row)}"


def _why(row: dict[str, object]) -> str:
    weight, sd = float(row["weight"]), float(row["weight_sd"])  # type: ignore[arg-type]
    counted = float(row["counted"])  # type: ignore[arg-type]
    narrowed = "" if abs(counted - weight) < 0.005 else f", with its stated range {counted:.2f}"
    if row["prior_only"]:
        why = "its record does not count yet (too few statements closed, or not proved)"
        return f"prior only, weight {weight:.2f}{narrowed}: {why}"
    low, high = max(weight - Z80 * sd, 0.0), weight + Z80 * sd
    worth = f"{weight:.0%} (80% range {low:.0%} to {high:.0%}"
    count = int(row["observations"])  # type: ignore[call-overload]
    kind = "uplift" if row["direction"] == "up" else "reduction"
    earlier = f"{count} earlier {kind}" + ("" if count == 1 else "s")
    if count == 0:
        nobody = f"no {kind} of this owner has closed; those of {row['source']} came true at"
        return f"weight {weight:.2f}{narrowed}: {nobody} {worth})"
    return (
        f"weight {weight:.2f}{narrowed}: {earlier} came true at {worth}, "
        "the record of others included)"
    )
