"""What simulating trials costs as sites, months and paths grow.

    python experiments/enrolment_cost/run.py [--parts counts chain] [--repeats 3] [--out FILE]

Every case runs in a process of its own, one thread, and gives rows (part, sites, months, paths,
step, seconds, cpu_seconds, peak_memory_mib, limit_seconds). Steps of the chain are timed inside the
product's own `learn` and `sample_future`. See README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import polars as pl

from sopforecast.clinical import clinic, learned
from sopforecast.clinical.allocate import trial_paths
from sopforecast.clinical.events import sample_events
from sopforecast.clinical.inputs import ClinicalInputs, clinical_inputs
from sopforecast.clinical.panel import SitePanel, site_panel
from sopforecast.clinical.simulate import site_counts
from sopforecast.core.months import add_months

HERE = Path(__file__).parent
CYCLE, HISTORY, SEED = date(2027, 1, 1), 24, 2026
RESOLVED_LINES = 60
FITS = ("fit_funnel", "fit_rates", "fit_activation", "fit_dropout", "fit_conversion")
SAMPLES = (
    "sample_events", "sample_activation", "sample_rates", "site_counts", "sample_lines",
    "with_lines", "trial_paths",
)  # fmt: skip
SITES, MONTHS, PATHS = (50, 200, 400), (12, 24), (1_000, 4_000)
CHAIN_CASES = ((3, 24, 4_000), (50, 24, 4_000), (200, 24, 4_000))
COUNTS_LIMIT, CHAIN_LIMIT, FIT_LIMIT = 3.0, 5.0, 60.0
SCHEMA = {
    "part": pl.String,
    "sites": pl.Int64,
    "months": pl.Int64,
    "paths": pl.Int64,
    "step": pl.String,
    "seconds": pl.Float64,
    "cpu_seconds": pl.Float64,
    "peak_memory_mib": pl.Float64,
    "limit_seconds": pl.Float64,
}


def trial(sites: int, *, seed: int = SEED) -> ClinicalInputs:
    """One study of many sites in four countries: 80% are open, half of them report screening.

    Two cohorts, the second one capped, a target about two years away, rates of 0.5 patients a month
    on average (gamma over sites), a quarter of the screened fail. One patient a site is listed in a
    tier.
    """
    rng = np.random.default_rng(seed)
    rate = rng.gamma(1.5, 1 / 3, sites)
    opened = rng.integers(-HISTORY, 6, sites)
    names = [f"S{g:04d}" for g in range(sites)]
    rows: list[dict[str, Any]] = []
    for g, name in enumerate(names):
        for month in range(int(opened[g]), 0):
            screened = int(rng.poisson(rate[g] / 0.75))
            enrolled = int(rng.binomial(screened, 0.75))
            first = int(rng.binomial(enrolled, 0.6))
            for cohort, count in (("A", first), ("B", enrolled - first)):
                tells = g % 2 == 0 and cohort == "A"
                rows.append(
                    {
                        "study": "T", "site": name, "cohort": cohort, "enrolled": float(count),
                        "ds": add_months(CYCLE, month),
                        "screened": float(screened) if tells else (0.0 if g % 2 == 0 else None),
                        "screen_failed": (
                            float(screened - enrolled) if tells else (0.0 if g % 2 == 0 else None)
                        ),
                    }
                )  # fmt: skip
    days = [add_months(CYCLE, int(month)) for month in opened]
    return clinical_inputs(
        CYCLE,
        studies=pl.DataFrame({"study": ["T"], "target_enrolment": [20.0 * sites]}),
        cohorts=pl.DataFrame(
            {
                "study": ["T", "T"], "cohort": ["A", "B"], "share_low": [0.5, 0.3],
                "share_high": [0.7, 0.5], "target_enrolment": [None, 6.0 * sites],
            }
        ),
        sites=pl.DataFrame(
            {
                "study": ["T"] * sites, "site": names,
                "country": [f"C{g % 4}" for g in range(sites)], "planned_activation_date": days,
                "activated_date": [day if day < CYCLE else None for day in days],
                "capacity": [4.0 if g % 10 == 0 else None for g in range(sites)],
                "planned_rate": [0.5] * sites,
            }
        ),
        enrolment=pl.DataFrame(rows, schema_overrides={"screened": pl.Float64}),
        study_events=pl.DataFrame(
            {
                "event_id": ["E1"], "study": ["T"], "date": [add_months(CYCLE, 6)],
                "acts_on": ["enrolment"], "low": [0.8], "high": [1.2], "probability": [0.5],
            }
        ),
        tier_lines=_lines(names),
    )  # fmt: skip


def _lines(sites: list[str]) -> pl.DataFrame:
    """One open line a site, tiers in turn, and lines of the past half of which converted."""
    tiers = ("committed", "highly_probable", "pipeline")
    rows: list[dict[str, Any]] = [
        {
            "line_id": f"L{k:04d}", "study": "T", "site": site, "tier": tiers[k % 3],
            "quantity": 1.0, "outcome": "open", "expected_ds": add_months(CYCLE, k % 4),
            "converted_ds": None, "converted_quantity": None, "known_at": add_months(CYCLE, -2),
        }
        for k, site in enumerate(sites)
    ]  # fmt: skip
    for k in range(RESOLVED_LINES):
        first = {
            "line_id": f"P{k:04d}", "study": "T", "site": sites[k % len(sites)],
            "tier": tiers[k % 3], "quantity": 1.0, "outcome": "open",
            "expected_ds": add_months(CYCLE, -6), "converted_ds": None,
            "converted_quantity": None, "known_at": add_months(CYCLE, -9),
        }  # fmt: skip
        end = {"known_at": add_months(CYCLE, -5), "outcome": "lost"}
        if k % 2:
            end |= {
                "outcome": "converted", "converted_ds": add_months(CYCLE, -6),
                "converted_quantity": 1.0,
            }  # fmt: skip
        rows += [first, first | end]
    columns = {"converted_ds": pl.Date, "converted_quantity": pl.Float64}
    return pl.DataFrame(rows, schema_overrides=columns)


def given(panel: SitePanel, months: int, paths: int) -> tuple[Any, Any, Any]:
    """Rates, funnel and openings drawn from known laws: what the simulation takes as given."""
    rng = np.random.default_rng(SEED)
    sites = len(panel.sites)
    is_open = panel.opened >= 0
    level = rng.gamma(1.5, 1 / 3, (paths, sites)).astype(np.float32)[:, :, None]
    decay = np.exp(-0.02 * np.arange(months, dtype=np.float32))
    rates = SimpleNamespace(
        open=level * is_open[None, :, None].astype(np.float32) * decay,
        fresh=level * (~is_open)[None, :, None].astype(np.float32) * decay,
        shock=np.exp(rng.normal(0, 0.1, (paths, 4, months))).astype(np.float32),
        group_of=panel.country_of,
    )
    funnel = SimpleNamespace(
        fail=rng.beta(25, 75, (200, 1)),
        delay=rng.dirichlet([60, 30, 10], 200),
        reports=np.arange(sites) % 2 == 0,
        stock=(np.arange(sites) % 4 == 0).astype(np.int64),
        stock_fail=rng.beta(25, 75, (200, 1)),
        stock_delay=rng.dirichlet([60, 30, 10], (200, 1)),
    )
    month = np.where(is_open, -1, rng.integers(0, 8, (paths, sites))).astype(np.int16)
    share = rng.random((paths, sites)).astype(np.float32)
    return rates, funnel, SimpleNamespace(month=month, first_share=share)


def counts(sites: int, months: int, paths: int) -> dict[str, tuple[float, float]]:
    """Seconds of events, site counts and trial paths, rates given."""
    inputs = trial(sites)
    panel = site_panel(inputs)
    rates, funnel, openings = given(panel, months, paths)
    clock = _Clock()
    events = clock("events", sample_events, inputs, panel, paths=paths, horizon=months, seed=SEED)
    found = clock(
        "site_counts", site_counts, panel, rates, funnel, openings, events,
        cycle=CYCLE, paths=paths, horizon=months, seed=SEED,
    )  # fmt: skip
    clock(
        "trial_paths", trial_paths, found, inputs, panel, events,
        cycle=CYCLE, paths=paths, seed=SEED,
    )  # fmt: skip
    return clock.seconds


def chain(sites: int, months: int, paths: int) -> dict[str, tuple[float, float]]:
    """Seconds of the product's whole way: all that is learned, then everything sampled."""
    inputs = trial(sites)
    clock = _Clock()
    clock.watch(learned, FITS)
    clock.watch(clinic, SAMPLES)
    known = clock("all fits", learned.learn, inputs, seed=SEED)
    future = clock(
        "all after fitting", clinic.sample_future, known, inputs,
        horizon=months, paths=paths, seed=SEED,
    )  # fmt: skip
    assert future.trials["T"].screened.shape == (paths, sites, months)
    return clock.seconds


class _Clock:
    """Seconds of each step it calls: of the clock, and of the processor."""

    def __init__(self) -> None:
        self.seconds: dict[str, tuple[float, float]] = {}

    def watch(self, module: ModuleType, names: tuple[str, ...]) -> None:
        """Time functions that a module calls by these names."""
        for name in names:
            setattr(module, name, partial(self, name, getattr(module, name)))

    def __call__(self, step: str, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        start, start_cpu = time.perf_counter(), time.process_time()
        result = function(*args, **options)
        taken = time.perf_counter() - start, time.process_time() - start_cpu
        self.seconds[step] = taken
        return result


PARTS: dict[str, Callable[[int, int, int], dict[str, tuple[float, float]]]] = {
    "counts": counts,
    "chain": chain,
}


def cases(part: str) -> list[tuple[int, int, int]]:
    """Sizes a part is run at."""
    if part == "chain":
        return list(CHAIN_CASES)
    return [(sites, months, paths) for sites in SITES for months in MONTHS for paths in PATHS]


def measure(part: str, size: tuple[int, int, int], *, repeats: int) -> list[dict[str, Any]]:
    """Run a case in new processes; of every step, keep the quickest by the processor's clock."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--case", part, *map(str, size)]
    runs = []
    for _ in range(repeats):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        runs.append(json.loads(done.stdout))
    steps = {
        step: min((run["seconds"][step] for run in runs), key=lambda taken: taken[1])
        for step in runs[0]["seconds"]
    }
    if part == "counts":
        taken = np.array(list(steps.values())).sum(axis=0)
        steps["all after fitting"] = (float(taken[0]), float(taken[1]))
    after = CHAIN_LIMIT if part == "chain" else COUNTS_LIMIT
    limits = {"all fits": FIT_LIMIT, "all after fitting": after}
    promised = size == (200, 24, 4_000)
    return [
        {
            "part": part, "sites": size[0], "months": size[1], "paths": size[2], "step": step,
            "seconds": round(seconds, 3), "cpu_seconds": round(cpu_seconds, 3),
            "peak_memory_mib": runs[0]["peak"] if step == "all after fitting" else None,
            "limit_seconds": limits.get(step) if promised else None,
        }
        for step, (seconds, cpu_seconds) in steps.items()
    ]  # fmt: skip


def main() -> None:
    """Run the parts asked for and write their rows; rows of other parts stay."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=HERE / "results.csv")
    parser.add_argument("--case", nargs=4)
    asked = parser.parse_args()
    if asked.case:
        part, *size = asked.case
        seconds = PARTS[part](*map(int, size))
        peak = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
        print(json.dumps({"seconds": seconds, "peak": peak}))
        return
    rows = []
    for part in asked.parts:
        for size in cases(part):
            rows += measure(part, size, repeats=asked.repeats)
            print(
                part, *size, f"{rows[-1]['cpu_seconds']:.2f} s", rows[-1]["peak_memory_mib"], "MiB"
            )
    found = pl.DataFrame(rows, schema=SCHEMA)
    if asked.out.exists():
        kept = pl.read_csv(asked.out, schema=SCHEMA).filter(~pl.col("part").is_in(asked.parts))
        found = pl.concat([kept, found])
    found.write_csv(asked.out)


if __name__ == "__main__":
    main()
