"""Do statements of known quality get the weight they deserve, and does believing them help?

    python experiments/override_recovery/run.py

Writes ``results.csv``; see README.md.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from datetime import date, datetime
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import polars as pl

sys.path.insert(0, str(Path(__file__).parent))
from companies import CELLS, Company, cycle_of, make_company

from sopforecast.core.months import add_months
from sopforecast.judgement.conditioning import condition
from sopforecast.judgement.credibility import fit_credibility, lookup
from sopforecast.judgement.said import Said

HERE = Path(__file__).parent
CYCLES, DRAWS, MIN_CLOSED = 24, 500, 6
AT = (6, 12, 24)
FIRST = date(2020, 1, 1)
Z90 = 1.6448536269514722


def recovery(seed: int, *, cycles: int = CYCLES, at: tuple[int, ...] = AT) -> pl.DataFrame:
    """Whether 90% credible intervals hold the truth, when people are as the model believes."""
    company = make_company(seed, "model", people=6)
    rng = np.random.default_rng([seed, 1])
    closed: list[pl.DataFrame] = []
    rows = []
    for cycle in range(cycles):
        said, truth = cycle_of(company, rng)
        closed.append(_observations(said, truth, cycle))
        if cycle + 1 in at:
            fitted, _ = fit_credibility(
                _aged(closed), closed=FIRST, known_at=datetime(2020, 2, 1), half_life=None
            )
            rows += [(seed, cycle + 1, *hit) for hit in _hits(company, fitted)]
    columns = ["seed", "closed", "parameter", "truth", "mean", "inside"]
    return pl.DataFrame(rows, schema=columns, orient="row")


def _hits(company: Company, fitted: pl.DataFrame) -> list[tuple[str, float, float, bool]]:
    rows = {
        (row["owner"], row["direction"]): row
        for row in fitted.filter(pl.col("reason") == "*").iter_rows(named=True)
    }
    hits = []
    for person in company.people:
        up, down = rows[person.owner, "up"], rows[person.owner, "down"]
        for name, truth, mean, sd in (
            ("weight up", person.weight_up, up["weight"], up["weight_sd"]),
            ("weight down", person.weight_down, down["weight"], down["weight_sd"]),
            ("shift", person.shift, up["shift"], up["shift_sd"]),
        ):
            hits.append((name, truth, mean, abs(truth - mean) <= Z90 * sd))
        inside = up["spread_p05"] <= person.spread <= up["spread_p95"]
        hits.append(("spread", person.spread, up["spread"], inside))
    return hits


def walk(
    seed: int,
    *,
    people: int,
    adversary: bool = False,
    echo: bool = False,
    generator: str = "signals",
    cycles: int = CYCLES,
) -> pl.DataFrame:
    """One company walked forward: every cycle judged with what had closed before it.

    Returns
    -------
    pl.DataFrame
        A row a cell that somebody spoke of: cycle, CRPS of the consensus, statistical, raw and
        half stages, inside (80% range of the consensus), mean and sd of the consensus and the truth
        (in sd of the baseline), people.
    """
    company = make_company(seed, generator, people=people, adversary=adversary)
    rng = np.random.default_rng([seed, people, 2])
    closed: list[pl.DataFrame] = []
    credibility = None
    rows: list[tuple[object, ...]] = []
    for cycle in range(cycles):
        said, truth = cycle_of(company, rng)
        if echo:
            twin = said.with_columns(owner=pl.format("{} again", "owner"))
            said = pl.concat([said, twin])
        base, sd, draws = _statistical(rng)
        rows += _scored(cycle, said, truth, base, sd, draws, credibility, seed)
        closed.append(_observations(said, truth, cycle))
        credibility, _ = fit_credibility(
            _aged(closed), closed=add_months(FIRST, cycle), known_at=datetime(2020, 2, 1)
        )
    columns = [
        "cycle",
        "consensus",
        "statistical",
        "raw",
        "half",
        "inside",
        "mean",
        "people",
        "truth",
        "sd",
    ]
    frame = pl.DataFrame(rows, schema=columns, orient="row")
    return frame.with_columns(seed=pl.lit(seed))


def _statistical(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Baselines and sds (CELLS, 3), and calibrated draws (DRAWS, CELLS, 3) around them, whole."""
    base = np.exp(rng.normal(6.0, 1.0, (CELLS, 1))) * np.ones((CELLS, 3)) + 50.0
    sd = base * rng.uniform(0.08, 0.25, (CELLS, 1))
    noise = rng.standard_normal((DRAWS, CELLS, 3))
    noise = (noise - noise.mean(axis=0)) / noise.std(axis=0)
    return base, sd, np.rint(np.maximum(base + sd * noise, 0.0))


def _scored(
    cycle: int,
    said: pl.DataFrame,
    truth: np.ndarray,
    base: np.ndarray,
    sd: np.ndarray,
    draws: np.ndarray,
    credibility: pl.DataFrame | None,
    seed: int,
) -> list[tuple[object, ...]]:
    if said.height == 0:
        return []
    frame = _statements(said, draws, cycle).pipe(_with_credibility, credibility)
    members = tuple(np.array([cell]) for cell in said["cell"])
    months = tuple(np.array([month]) for month in said["month"])
    believed = draws.copy()
    condition(believed, Said(frame, members, months), steps=np.ones(CELLS), seed=seed)
    rows = []
    spoken = (
        said.with_columns(adjustment=frame["adjustment"])
        .group_by("cell", "month")
        .agg(pl.col("adjustment").mean(), pl.len())
    )
    for cell, month, adjustment, people in spoken.sort("cell", "month").iter_rows():
        actual = base[cell, month] + sd[cell, month] * truth[cell, month]
        before, after = draws[:, cell, month], believed[:, cell, month]
        low, high = np.quantile(after, [0.1, 0.9])
        scores = (_crps(part, actual) / sd[cell, month] for part in (
            after, before, before + adjustment, before + adjustment / 2))  # fmt: skip
        shift = (after.mean() - before.mean()) / sd[cell, month]
        rows.append(
            (
                cycle,
                *scores,
                bool(low <= actual <= high),
                shift,
                people,
                truth[cell, month],
                after.std() / sd[cell, month],
            )
        )
    return rows


def _crps(draws: np.ndarray, actual: float) -> float:
    """CRPS of sample paths (S,), Gneiting and Raftery (2007) eq. 21, by order statistics."""
    ordered, n = np.sort(draws), len(draws)
    spread = float(((2 * np.arange(1, n + 1) - n - 1) * ordered).sum()) / n**2
    return float(np.abs(draws - actual).mean()) - spread


def _statements(said: pl.DataFrame, draws: np.ndarray, cycle: int) -> pl.DataFrame:
    """``Statements`` columns that conditioning reads, in the unit of each cell."""
    cells, months = said["cell"].to_numpy(), said["month"].to_numpy()
    mean, sd = draws.mean(axis=0)[cells, months], draws.std(axis=0, ddof=1)[cells, months]
    adjustment = said["d"].to_numpy() * sd
    unit = np.maximum.reduce([sd, np.ones(len(sd)), 0.05 * mean, 0.2 * np.abs(adjustment)])
    return said.with_columns(
        override_id=pl.format("{}|{}|{}", pl.lit(cycle), "owner", "cell"),
        ds_from=pl.lit(FIRST),
        adjustment=pl.Series(adjustment),
        unit_sd=pl.Series(unit),
        stated_sd=pl.lit(None, dtype=pl.Float64),
        event_id=pl.lit(None, dtype=pl.String),
        probability=pl.lit(1.0),
        direction=pl.Series(np.where(adjustment >= 0, "up", "down"), dtype=pl.String),
    )


def _with_credibility(frame: pl.DataFrame, credibility: pl.DataFrame | None) -> pl.DataFrame:
    found = lookup(credibility, frame, min_closed=MIN_CLOSED)
    return pl.concat([frame, found], how="horizontal")


def _observations(said: pl.DataFrame, truth: np.ndarray, cycle: int) -> pl.DataFrame:
    """Closed statements of one cycle; everything is in sd already."""
    y = truth[said["cell"].to_numpy(), said["month"].to_numpy()]
    start = pl.lit(add_months(FIRST, 3 * cycle))
    return said.select(
        override_id=pl.format("{}|{}|{}", pl.lit(f"{cycle:03d}"), "owner", "cell"),
        ds_from=start.dt.offset_by(pl.format("{}mo", "month")),
        source="source",
        owner="owner",
        reason="reason",
        event_id=pl.lit(None, dtype=pl.String),
        cell=pl.format("{}|{}|{}", pl.lit(cycle), "cell", "month"),
        cycle=pl.lit(cycle),
        y=pl.Series(y, dtype=pl.Float64),
        d="d",
        stated_sd=pl.lit(None, dtype=pl.Float64),
    )


def _aged(closed: list[pl.DataFrame]) -> pl.DataFrame:
    rows = pl.concat(closed)
    return rows.with_columns(age=(len(closed) - 1 - pl.col("cycle")).cast(pl.Float64)).drop("cycle")


SCENES: dict[str, dict[str, object]] = {
    "one person": {"people": 1},
    "five people": {"people": 5},
    "thirty people": {"people": 30},
    "five people, each said twice": {"people": 5, "echo": True},
    "an adversary": {"people": 1, "adversary": True},
    "as the model believes": {"people": 6, "generator": "model"},
}


def summarise(walks: pl.DataFrame) -> pl.DataFrame:
    """One row a scene: coverage and CRPS over companies, from the first cycle and once learned."""
    rows = []
    for (scene,), part in walks.group_by("scene", maintain_order=True):
        for name, cells in (
            ("all cycles", part),
            (f"after {MIN_CLOSED} closed", part.filter(pl.col("cycle") >= MIN_CLOSED)),
        ):
            by_company = cells.group_by("seed").agg(
                pl.col("consensus", "statistical", "raw", "half", "inside").mean()
            )
            worst = (by_company["consensus"] / by_company["statistical"]).max()
            total = cells.select(pl.col("consensus", "statistical", "raw", "half").mean()).row(0)
            rows.append(
                (scene, name, by_company.height, cells.height, cells["inside"].mean(), *total,
                 total[0] / total[1], worst, cells["mean"].abs().mean())
            )  # fmt: skip
    columns = [
        "scene", "cycles", "companies", "cells", "coverage80", "crps_consensus", "crps_statistical",
        "crps_raw", "crps_half", "relative", "worst_company", "moved_sd",
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=columns, orient="row")


def _one(task: tuple[str, int, int]) -> pl.DataFrame:
    scene, seed, cycles = task
    if scene == "recovery":
        return recovery(seed, cycles=cycles)
    found = walk(seed, cycles=cycles, **SCENES[scene])  # type: ignore[arg-type]
    return found.with_columns(scene=pl.lit(scene))


def run(*, companies: int = 40, cycles: int = CYCLES, scenes: tuple[str, ...] = tuple(SCENES),
        workers: int = 2) -> tuple[pl.DataFrame, pl.DataFrame]:  # fmt: skip
    """Coverage of parameters by closed cycles, and scores by scene."""
    tasks = [("recovery", seed, cycles) for seed in range(companies)]
    tasks += [(scene, seed, cycles) for scene in scenes for seed in range(companies)]
    if workers == 1:
        found = [_one(task) for task in tasks]
    else:
        # Spawned: a forked worker would wait for ever on the threads of polars.
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            found = list(pool.map(_one, tasks))
    hits = pl.concat(found[:companies])
    by = hits.group_by("closed", "parameter").agg(
        coverage90=pl.col("inside").mean(),
        people=pl.len(),
        rmse=((pl.col("truth") - pl.col("mean")) ** 2).mean().sqrt(),
    )
    return by.sort("closed", "parameter"), summarise(pl.concat(found[companies:]))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--companies", type=int, default=40)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    recovered, scored = run(companies=options.companies, workers=options.workers)
    recovered.write_csv(HERE / "recovery.csv", float_precision=4)
    scored.write_csv(HERE / "results.csv", float_precision=4)
    with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_width_chars=200):
        print(recovered, scored)


if __name__ == "__main__":
    main()
