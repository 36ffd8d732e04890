"""What conditioning costs: 10,000 series x 18 months x 500 draws and 1,000 statements, and less.

Every case is its own process, so that its peak memory is its own: the draws are made first, outside
the time but inside the memory. See README.md.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy is imported

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from sopforecast.core.draws import series_rng
from sopforecast.core.months import add_months
from sopforecast.judgement.conditioning import condition
from sopforecast.judgement.credibility import lookup
from sopforecast.judgement.groups import group_scalars
from sopforecast.judgement.said import Said

SERIES, HORIZON, DRAWS, STATEMENTS = 10_000, 18, 500, 1_000
FEWER_SERIES, OTHER_STATEMENTS = (2_500, 5_000), (250, 500, 2_000)
CYCLE, REGIONS, SEED = date(2026, 10, 1), 20, 2026
SOURCES = ("sales", "marketing", "finance", "clinical", "executive")
PEOPLE = 30
FIGURES = {  # and what was promised of each
    "seconds": "10", "cpu_seconds": None, "load": None, "peak_memory_mib": "2048",
    "cells_moved": None,
}  # fmt: skip
REASONS = ("promotion", "launch", "tender", "level", "stock-out")


def company(series: int) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """Level and step of each item (2, B), families of 10 to 200 items, and regions of items."""
    rng = series_rng(SEED, "company")
    level = np.exp(rng.normal(3.0, 2.0, SERIES))[:series]
    steps = rng.choice([1.0, 0.25, 0.0625], SERIES, p=[0.9, 0.05, 0.05])[:series]
    families, first = [], 0
    while first < series:
        size = int(np.rint(np.exp(rng.uniform(np.log(10), np.log(200)))))
        families.append(np.arange(first, min(first + size, series)))
        first += size
    return np.stack([level, steps]), families, np.arange(series) % REGIONS


def paths(items: np.ndarray) -> np.ndarray:
    """Draws (S, B, H): Poisson around gamma levels, in steps; a fifth of the items sparse."""
    rng = series_rng(SEED, "paths")
    level, steps = items
    draws = np.empty((DRAWS, level.size, HORIZON))
    wild = np.where(np.arange(level.size) % 5 == 0, 1.5, 8.0)  # shape of the gamma
    for path in draws:
        shared = rng.standard_gamma(wild) / wild
        monthly = rng.standard_gamma(4.0 * wild[:, None], path.shape) / (4.0 * wild[:, None])
        count = (level / steps * shared)[:, None] * monthly
        path[...] = rng.poisson(count) * steps[:, None]
    return draws


def spoken(
    count: int, series: int, families: list[np.ndarray], regions: np.ndarray, *, wide: bool
) -> tuple[list[dict[str, object]], list[np.ndarray], list[np.ndarray]]:
    """Statements of one to six months, a scalar a month: seven in ten on items, the rest wider.

    Where they are ``wide``, one in 250 is about the total, one in 250 about a region, one in 100
    about a family in a region, and one in five changes the level of all later months: nearly every
    cell of the company moves.
    """
    rng = series_rng(SEED, "statements", str(series))
    rows, members, months = [], [], []
    for k in range(count):
        kind = rng.random()
        family = families[rng.integers(len(families))]
        region = np.flatnonzero(regions == rng.integers(REGIONS))
        if wide and k % 250 == 10:
            node, name = np.arange(series), "total"
        elif wide and k % 250 == 20:
            node, name = region, f"region {region[0]}"
        elif wide and k % 100 == 30:
            inside = family[np.isin(family, region)]
            node = inside if inside.size else family
            name = f"cross {family[0]} {region[0]}"
        elif kind < 0.7:
            node = rng.integers(series, size=1)
            name = f"item {node[0]}"
        else:
            node, name = family, f"family {family[0]}"
        person = int(rng.integers(PEOPLE))
        first, length = int(rng.integers(12)), int(rng.integers(1, 7))
        size = float(rng.normal(0.05, 0.2))
        deal = bool(rng.random() < 0.05)
        reason = REASONS[int(rng.integers(len(REASONS)))]
        if not wide and reason == "level":
            reason = "launch"
        ranged = bool(rng.random() < 0.3)
        for month in range(first, first + length):
            members.append(node)
            months.append(np.array([month]))
            rows.append(
                {
                    "override_id": f"o{k:04d}", "ds_from": add_months(CYCLE, month),
                    "node": name, "source": SOURCES[person % len(SOURCES)],
                    "owner": f"p{person:02d}", "reason": reason,
                    "event_id": f"e{k % 40}" if deal else None,
                    "probability": 0.4 if deal else 1.0, "size": size,
                    "ranged": ranged,
                }
            )  # fmt: skip
    return rows, members, months


def said_of(draws: np.ndarray, steps: np.ndarray, count: int, families: list[np.ndarray],
            regions: np.ndarray, *, wide: bool) -> Said:  # fmt: skip
    """Statements beside the draws, with the credibility nobody has earned yet."""
    rows, members, months = spoken(count, draws.shape[1], families, regions, wide=wide)
    sums: dict[tuple[str, int], tuple[float, float]] = {}
    for row, node, month in zip(rows, members, months, strict=True):
        key = (str(row["node"]), int(month[0]))
        if key not in sums:
            z = draws[:, node, month[0]].sum(axis=1)
            sums[key] = (float(z.mean()), float(z.std(ddof=1)))
        mean, sd = sums[key]
        adjustment = float(row["size"]) * mean
        unit = max(sd, float(steps[node].min()), 0.05 * mean, 0.2 * abs(adjustment))
        row |= {
            "baseline": mean, "sd": sd, "unit_sd": unit, "adjustment": adjustment,
            "direction": "up" if adjustment >= 0 else "down",
            "stated_sd": 0.5 * unit if row["ranged"] else None,
        }  # fmt: skip
    frame = pl.DataFrame(rows, schema_overrides={"event_id": pl.String, "stated_sd": pl.Float64})
    credibility = lookup(None, frame, min_closed=6)
    return Said(pl.concat([frame, credibility], how="horizontal"), tuple(members), tuple(months))


def measured(series: int, statements: int, *, wide: bool = True) -> dict[str, object]:
    """One case, in this process: what it took, and what came out."""
    items, families, regions = company(series)
    draws = paths(items)
    said = said_of(draws, items[1], statements, families, regions, wide=wide)
    groups = group_scalars(said.members, said.months, items=series, horizon=HORIZON)
    cells = sum(len(group.items) for group in groups)
    widest = max(len(group.scalars) for group in groups)
    del groups
    before = draws.sum(axis=0)
    load = os.getloadavg()[0]
    wall, cpu = time.perf_counter(), time.process_time()
    condition(draws, said, steps=items[1], seed=SEED)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    after = draws.sum(axis=0)
    moved = int((after != before).sum())
    if draws.min() < 0 or not np.isfinite(after).all():
        raise ArithmeticError("draws below zero or not finite")
    return {
        "series": series,
        "statements": statements,
        "scalars": len(said.members),
        "widest_group": widest,
        "cells_spoken_of": cells,
        "cells_moved": moved,
        "cpu_seconds": round(cpu, 2),
        "seconds": round(wall, 2),
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "load": round(load, 1),
        "bytes": hashlib.blake2b(np.ascontiguousarray(draws).data, digest_size=6).hexdigest(),
    }


def conditioning(cases: Sequence[tuple[int, int, bool]] | None = None) -> pl.DataFrame:
    """Cases by series and by statements, each in its own process."""
    if cases is None:
        cases = [(SERIES, STATEMENTS, False)]
        cases += [(series, STATEMENTS, True) for series in (*FEWER_SERIES, SERIES)]
        cases += [(SERIES, statements, True) for statements in OTHER_STATEMENTS]
    rows = []
    for series, statements, wide in cases:
        command = [sys.executable, str(Path(__file__)), "--one", str(series), str(statements)]
        command += [] if wide else ["--narrow"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        said = f"{statements:,} statements of 1-6 months ({found['scalars']:,} rows)"
        where = "on items, families, regions and the total" if wide else "on items and families"
        work = f"{series:,} series, {said} {where}"
        promised = (series, statements) == (SERIES, STATEMENTS)
        for figure, limit in FIGURES.items():
            value = float(found[figure])
            rows.append(("conditioning", work, figure, value, limit if promised else None))
        print(work, found, flush=True)
    types = (pl.String, pl.String, pl.String, pl.Float64, pl.String)
    names = ("part", "work", "figure", "value", "limit")
    return pl.DataFrame(rows, schema=dict(zip(names, types, strict=True)), orient="row")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", type=int, nargs=2, required=True, metavar=("SERIES", "STATEMENTS"))
    parser.add_argument("--narrow", action="store_true", help="items and families only")
    given = parser.parse_args()
    print(json.dumps(measured(*given.one, wide=not given.narrow)))
