"""What judgement costs as work grows: fits on 20,000 closed rows, and conditioning.

    python experiments/judgement_cost/run.py [--parts credibility conditioning] [--out results.csv]

Every part is a function that returns rows (part, work, figure, value, limit). See README.md.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

sys.path.insert(0, str(Path(__file__).parent))
from conditioning_cost import conditioning

HERE = Path(__file__).parent
ROWS, OWNERS, SOURCES, REASONS, SEED = 20_000, 40, 5, 4, 2026
MONTHS_ERROR, TAIL = 0.5, 6.0
SHAPES = {"statements of 1-6 months": (1, 6), "statements of one month": (1, 1)}
SCHEMA = {
    "part": pl.String,
    "work": pl.String,
    "figure": pl.String,
    "value": pl.Float64,
    "limit": pl.String,
}


def closed_rows(rows: int, months: tuple[int, int], *, seed: int) -> pl.DataFrame:
    """``Observations`` of a simulated company: people differ in weight, shift and spread."""
    rng = np.random.default_rng(seed)
    source = np.arange(OWNERS) % SOURCES
    weight = 0.5 + rng.normal(0, 0.2, SOURCES)[source] + rng.normal(0, 0.2, OWNERS)
    apart = rng.normal(0, 0.1, OWNERS)
    reasons = rng.normal(0, 0.1, (SOURCES, REASONS))
    shift = rng.normal(0, 0.1, SOURCES)[source] + rng.normal(0, 0.15, OWNERS)
    spread = np.exp(rng.normal(0, 0.2, SOURCES)[source] + rng.normal(0, 0.3, OWNERS))
    found: list[dict[str, Any]] = []
    while len(found) < rows:
        k, o, r = len(found), int(rng.integers(OWNERS)), int(rng.integers(REASONS))
        n = min(int(rng.integers(months[0], months[1] + 1)), rows - k)
        d = rng.normal(0.3, 1.0) + rng.normal(0, 0.3, n)
        shared = np.sqrt(MONTHS_ERROR) * rng.normal() + np.sqrt(1 - MONTHS_ERROR) * rng.normal(
            size=n
        )
        noise = spread[o] * shared / np.sqrt(rng.chisquare(TAIL) / TAIL)
        slope = weight[o] + np.where(d >= 0, 0.5, -0.5) * apart[o] + reasons[source[o], r]
        y = shift[o] + slope * d + noise
        found += [
            {
                "override_id": f"O{k:06d}", "ds_from": date(2025, 1 + month, 1),
                "source": f"S{source[o]}", "owner": f"P{o:02d}", "reason": f"R{r}",
                "event_id": None, "cell": f"{k}|{month}", "age": float(k % 36),
                "y": y[month], "d": d[month], "stated_sd": None,
            }
            for month in range(n)
        ]  # fmt: skip
    return pl.DataFrame(found)


def _timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """What ``work`` returns, with its wall and CPU seconds (all threads of this process)."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - wall, time.process_time() - cpu


def credibility(*, rows: int = ROWS, draws: int = 2000, tune: int = 1000) -> pl.DataFrame:
    """Both fits on the same rows: seconds, gates, and how far apart their weights are."""
    from sopforecast.judgement.closed_form import fit_closed_form
    from sopforecast.judgement.effects import statement_sums
    from sopforecast.judgement.sampled_model import starts
    from sopforecast.judgement.sampler import compile_model, draw, passes, posterior_of

    found: list[tuple[str, str, str, float, str | None]] = []
    for shape, months in SHAPES.items():
        observed = closed_rows(rows, months, seed=SEED)
        sums = statement_sums(observed, half_life=None)
        work = f"{rows:,} rows, {len(sums.count):,} {shape}, {OWNERS} owners"
        twin, wall, cpu = _timed(lambda observed=observed: fit_closed_form(observed))
        found += [
            ("closed form", work, "seconds", wall, "2"),
            ("closed form", work, "cpu_seconds", cpu, None),
        ]
        start = starts(sums)
        compiled, wall, cpu = _timed(lambda sums=sums, start=start: compile_model(sums, start))
        found += [
            ("nuts", work, "compile_seconds", wall, None),
            ("nuts", work, "compile_cpu_seconds", cpu, None),
        ]

        def sampled(observed=observed, sums=sums, start=start, compiled=compiled):
            drawn = draw(compiled, seed=SEED, draws=draws, tune=tune, chains=2)
            return posterior_of(observed, sums, start, drawn, seed=SEED)

        fit, wall, cpu = _timed(sampled)
        assert fit.r_hat is not None
        assert fit.ess is not None
        assert fit.divergences is not None
        both = fit.frame.join(
            twin.frame, on=["source", "owner", "reason", "direction"], suffix="_twin"
        )
        off = both.select((pl.col("weight") - pl.col("weight_twin")).abs().max()).item()
        found += [
            ("nuts", work, "seconds", wall, "90"),
            ("nuts", work, "cpu_seconds", cpu, None),
            ("nuts", work, "r_hat", fit.r_hat, "below 1.01"),
            ("nuts", work, "effective_sample_size", fit.ess, "above 400"),
            ("nuts", work, "divergences", float(fit.divergences), "0"),
            ("nuts", work, "gates_failed", float(len(passes(fit))), "0"),
            ("closed form", work, "largest_weight_difference", off, "0.05"),
        ]
    return pl.DataFrame(found, schema=SCHEMA, orient="row")


PARTS: dict[str, Callable[[], pl.DataFrame]] = {
    "credibility": credibility,
    "conditioning": conditioning,
}


def main() -> None:
    """Run the parts asked for and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=sorted(PARTS), default=sorted(PARTS))
    parser.add_argument("--out", type=Path, default=HERE / "results.csv")
    given = parser.parse_args()
    frame = pl.concat([PARTS[name]() for name in given.parts])
    if given.out.exists():  # rows of parts that were not run stay
        before = pl.read_csv(given.out, schema=SCHEMA)
        frame = pl.concat(
            [before.filter(~pl.col("part").is_in(frame["part"].unique().to_list())), frame]
        )
    frame.write_csv(given.out, float_precision=4)
    with pl.Config(tbl_rows=60, tbl_width_chars=180, fmt_str_lengths=80):
        print(frame)


if __name__ == "__main__":
    main()
