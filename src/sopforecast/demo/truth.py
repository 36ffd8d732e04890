"""What a record without end would teach of each contributor: the truth to hold the learned beside.

The same people are asked again and again about the replayed cycles, the months that came and the
statistical forecasts being what they are, and one line is laid through all they say, in the words
of the credibility model: ``truth - baseline = shift + weight * adjustment``, in units of the
forecast's own error, weights up and down apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

import numpy as np
import polars as pl

from sopforecast.core.draws import series_rng
from sopforecast.demo.overrides import SEED, looked_at
from sopforecast.demo.people import Z80, Outlook, Person, Row, say
from sopforecast.judgement.overrides import state_quantities
from sopforecast.planning_store.runs import read_forecasts
from sopforecast.planning_store.store import Store

REPEATS = 150
TAIL, ROUNDS = 4.0, 30


def true_lines(
    person: Person,
    seen: Sequence[Outlook],
    beside: pl.DataFrame,
    *,
    repeats: int = REPEATS,
) -> list[Row]:
    """Lines of one contributor, up and down: source, owner, direction, weight and shift.

    Parameters
    ----------
    person : Person
    seen : sequence of Outlook
        What there was to see in the replayed cycles.
    beside : pl.DataFrame
        cycle, unique_id, ds, mean, sd, actual: as `beside_what_came` returns it.
    repeats : int
        How often the contributor is asked of each cycle.
    """
    rng = series_rng(SEED, "demo", "truth", person.owner)
    rows = [
        row
        for now in seen
        for _ in range(repeats)
        for row in say(person, now, count=looked_at(now), rng=rng)
    ]
    d, y = _observed(rows, beside)
    shift, up, down = _line(d, y)
    who = {"source": person.source, "owner": person.owner, "shift": shift}
    return [who | {"direction": "up", "weight": up}, who | {"direction": "down", "weight": down}]


def beside_what_came(store: Store, run_ids: Mapping[date, str], came: pl.DataFrame) -> pl.DataFrame:
    """Statistical mean and sd of every node and month of some runs, and what came: ``actual``.

    Parameters
    ----------
    store : Store
        Where the runs are.
    run_ids : mapping of date to str
        Run of each cycle.
    came : pl.DataFrame
        unique_id, ds, actual: demand of every node.
    """
    frames = [_expected(store, run_id) for run_id in run_ids.values()]
    return pl.concat(frames).join(came, on=["unique_id", "ds"])


def _expected(store: Store, run_id: str) -> pl.DataFrame:
    """Statistical mean and sd of every node and month of a run."""
    frame = read_forecasts(store, run_id, "statistical")
    sd = (pl.col("p90") - pl.col("p10")) / (2.0 * Z80)
    return frame.select("cycle", "unique_id", "ds", "mean", sd=sd)


def _observed(rows: Sequence[Row], beside: pl.DataFrame) -> np.ndarray:
    """Adjustment and what came (2, n), both less the baseline and in units, a month each."""
    names = ("entered_cycle", "node", "ds_from", "ds_to", "kind", "value", "low", "high",
             "probability")  # fmt: skip
    said = pl.DataFrame(
        [[row.get(name) for name in names] for row in rows], schema=names, orient="row"
    )
    months = said.with_columns(
        pl.date_ranges("ds_from", "ds_to", interval="1mo").alias("ds"),
        confidence=pl.lit(0.8),
        measure=pl.lit("quantity"),
    ).explode("ds")
    found = months.join(
        beside,
        left_on=["entered_cycle", "node", "ds"],
        right_on=["cycle", "unique_id", "ds"],
        maintain_order="left",
    )
    stated = state_quantities(
        found,
        mean=found["mean"].to_numpy(),
        sd=found["sd"].to_numpy(),
        step=np.ones(found.height),
    )
    unit = pl.col("unit_sd")
    pair = stated.select(
        d=pl.col("probability") * pl.col("adjustment") / unit,
        y=(pl.col("actual") - pl.col("baseline")) / unit,
    )
    return pair.to_numpy().T


def _line(d: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Shift, weight up, weight down: least squares with Student-t weights, for wild months."""
    design = np.stack([np.ones_like(d), np.where(d >= 0, d, 0.0), np.where(d < 0, d, 0.0)], axis=1)
    weights, line = np.ones_like(d), np.zeros(3)
    for _ in range(ROUNDS):
        scaled = design * weights[:, None]
        line = np.linalg.solve(design.T @ scaled, scaled.T @ y)
        square = np.square(y - design @ line)
        weights = (TAIL + 1.0) / (TAIL + square / np.average(square, weights=weights))
    shift, up, down = line.tolist()
    return shift, up, down
