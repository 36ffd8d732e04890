"""The next three months' enrolments of a real trial, from its screening funnel of each month.

    python experiments/funnel/run.py [--data FOLDER] [--paths 4000] [--small] [--out results.csv]

Every month of the trial's record is an origin; all that is learned is learned from the months
before it. See README.md.
"""

# ruff: noqa: E402
from __future__ import annotations

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_variable] = "1"

import argparse
import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from ways import as_product, by_screened, of_the_enrolled, with_delayed_exposure

from sopforecast.clinical.funnel import fit_funnel
from sopforecast.clinical.inputs import ClinicalInputs, clinical_inputs
from sopforecast.clinical.learned import learn
from sopforecast.clinical.panel import site_panel
from sopforecast.clinical.simulate import thin
from sopforecast.core.draws import series_rng

SEED = 20260101
AHEAD = 3
LEAST_MONTHS = 3
WHOLE_MONTH = 0.95
"""Share of a month's days that must be inside the record."""
PAUSE = date(2015, 12, 1)
OURS, DECLARED = "sopforecast", "chained funnel"
FIXED, RUN_RATE = "fixed rate", "run rate"
PRESCREENED, SILENT = "sopforecast, prescreened as screened", "sopforecast, no screening"
ENROLLED, DELAYED = "of the enrolled", "exposure delayed"
BY_ELIGIBLE, BY_PRESCREENED = "by way of the eligible", "by way of the prescreened"
METHODS = (
    OURS, PRESCREENED, SILENT, DECLARED, ENROLLED, BY_ELIGIBLE, BY_PRESCREENED, DELAYED,
    FIXED, RUN_RATE,
)  # fmt: skip
RECENT = 6


@dataclass(frozen=True)
class Record:
    """Monthly counts of one trial, complete months only; (T,)."""

    months: list[date]
    prescreened: np.ndarray
    eligible: np.ndarray
    enrolled: np.ndarray


def load(folder: Path) -> Record:
    """Add the days up to months; a month that is not whole inside the record is dropped."""
    days = pl.read_parquet(folder / "trial_screening_daily.parquet").with_columns(
        pl.col("date").cast(pl.Date)
    )
    months = (
        days.group_by(ds=pl.col("date").dt.truncate("1mo"))
        .agg(pl.col("prescreened", "meets_criteria", "enrolled").sum(), seen=pl.len())
        .with_columns(length=pl.col("ds").dt.month_end().dt.day())
        .filter(pl.col("seen") >= WHOLE_MONTH * pl.col("length"))
        .sort("ds")
    )
    counts = [
        months[name].to_numpy().astype(float)
        for name in ("prescreened", "meets_criteria", "enrolled")
    ]
    return Record(months["ds"].to_list(), *counts)


def seen_by(
    record: Record, origin: int, *, screened: np.ndarray | None, enrolled: np.ndarray
) -> ClinicalInputs:
    """One site of one study, as the product would have it at an origin (a month's index)."""
    count = pl.DataFrame(
        {
            "study": "PACE",
            "site": "S1",
            "cohort": "all",
            "ds": record.months[:origin],
            "screened": None if screened is None else screened[:origin],
            "enrolled": enrolled[:origin],
        },
        schema_overrides={"screened": pl.Float64},
    )
    sites = pl.DataFrame({"study": ["PACE"], "site": ["S1"], "activated_date": [record.months[0]]})
    studies = pl.DataFrame({"study": ["PACE"], "status": ["active"]})
    return clinical_inputs(record.months[origin], studies=studies, sites=sites, enrolment=count)


def chained(record: Record, origin: int, *, paths: int) -> np.ndarray:
    """Prescreened become eligible, eligible enrol: two funnels, one after the other (paths,)."""
    first = seen_by(record, origin, screened=record.prescreened, enrolled=record.eligible)
    known = learn(first, seed=SEED)
    eligible = by_screened(known, first, paths=paths, horizon=AHEAD, seed=SEED)[:, 0]
    second = site_panel(seen_by(record, origin, screened=record.eligible, enrolled=record.enrolled))
    funnel = fit_funnel(second, seed=SEED)
    rng = series_rng(SEED, "chained", str(origin))
    draw = np.arange(paths) % len(funnel.fail)
    passing = thin(eligible, 1.0 - funnel.fail[draw, :1], rng)
    by_then = np.cumsum(funnel.delay, axis=1)[draw, :AHEAD][:, ::-1]  # the later, the fewer
    from_stock = rng.binomial(int(funnel.stock[0]), 1.0 - funnel.stock_fail[draw, 0])
    soon = funnel.stock_delay[draw, 0, :AHEAD].sum(axis=1)
    total: np.ndarray = thin(passing, by_then, rng).sum(axis=1)
    return total + rng.binomial(from_stock, np.minimum(soon, 1.0))


def peers(record: Record, origin: int, *, paths: int) -> dict[str, np.ndarray]:
    """Poisson at all enrolments so far per month, and at those of the last six months."""
    rng = series_rng(SEED, "peers", str(origin))
    past = record.enrolled[:origin]
    rates = {FIXED: past.mean(), RUN_RATE: past[-RECENT:].mean()}
    return {name: rng.poisson(AHEAD * rate, paths) for name, rate in rates.items()}


def forecasts(record: Record, origin: int, *, paths: int) -> dict[str, np.ndarray]:
    """Sampled total of the next three months by method, each (paths,)."""
    size = {"paths": paths, "horizon": AHEAD, "seed": SEED}
    out = {DECLARED: chained(record, origin, paths=paths)}
    for name, screened, other in (
        (OURS, record.eligible, BY_ELIGIBLE),
        (PRESCREENED, record.prescreened, BY_PRESCREENED),
        (SILENT, None, None),
    ):
        inputs = seen_by(record, origin, screened=screened, enrolled=record.enrolled)
        known = learn(inputs, seed=SEED)
        out[name] = as_product(known, inputs, **size).sum(axis=(1, 2))
        if other:
            out[other] = by_screened(known, inputs, **size).sum(axis=(1, 2))
        if name == OURS:
            enrolled = of_the_enrolled(known, seed=SEED)
            out[ENROLLED] = as_product(enrolled, inputs, **size).sum(axis=(1, 2))
            delayed = with_delayed_exposure(known, seed=SEED)
            out[DELAYED] = as_product(delayed, inputs, **size).sum(axis=(1, 2))
    return out | peers(record, origin, paths=paths)


def run(folder: Path, *, paths: int, origins: int | None = None) -> pl.DataFrame:
    """Score every method at every origin: CRPS, randomised PIT, error of the mean."""
    from scoringrules import crps_ensemble

    record = load(folder)
    every = range(LEAST_MONTHS, len(record.months) - AHEAD + 1)
    rows = []
    for origin in list(every)[:origins]:
        actual = float(record.enrolled[origin : origin + AHEAD].sum())
        mixed = series_rng(SEED, "pit", str(origin)).random()
        for name, draws in forecasts(record, origin, paths=paths).items():
            below, equal = (draws < actual).mean(), (draws == actual).mean()
            rows.append(
                {
                    "origin": record.months[origin],
                    "method": name,
                    "actual": actual,
                    "mean": draws.mean(),
                    "p10": np.quantile(draws, 0.1),
                    "p90": np.quantile(draws, 0.9),
                    "crps": float(crps_ensemble(actual, draws.astype(float), estimator="fair")),
                    "pit": below + mixed * equal,
                    "paused": PAUSE in record.months[origin : origin + AHEAD],
                }
            )
    return pl.DataFrame(rows)


def summary(frame: pl.DataFrame, *, targets: str) -> pl.DataFrame:
    """By method; the interval of CRPS over the fixed rate's resamples blocks of three origins."""
    origins = frame["origin"].n_unique()
    crps = {
        name: frame.filter(pl.col("method") == name).sort("origin")["crps"].to_numpy()
        for name in METHODS
    }
    rng = np.random.default_rng(SEED)
    starts = rng.integers(0, origins, (2000, -(-origins // AHEAD)))
    picks = (starts[:, :, None] + np.arange(AHEAD)).reshape(2000, -1)[:, :origins] % origins
    rows = []
    for name in METHODS:
        mine = frame.filter(pl.col("method") == name)
        pit = mine["pit"].to_numpy()
        ratio = crps[name][picks].mean(axis=1) / crps[FIXED][picks].mean(axis=1)
        low, high = np.quantile(ratio, [0.05, 0.95])
        actual = float(mine["actual"].mean())  # type: ignore[arg-type]
        rows.append(
            {
                "targets": targets,
                "method": name,
                "origins": origins,
                "crps": crps[name].mean(),
                "relative": crps[name].mean() / crps[FIXED].mean(),
                "relative_p05": low,
                "relative_p95": high,
                "coverage80": float(((pit > 0.1) & (pit < 0.9)).mean()),
                "bias_percent": 100 * (float(mine["mean"].mean()) / actual - 1),  # type: ignore[arg-type]
                "width80": float((mine["p90"] - mine["p10"]).mean()),  # type: ignore[arg-type]
            }
        )
    return pl.DataFrame(rows)


def main() -> None:
    """Run whole and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = os.environ.get("SOPFORECAST_DATA", str(HERE.parents[2] / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--paths", type=int, default=4000)
    parser.add_argument("--small", action="store_true", help="three origins and 400 paths")
    parser.add_argument("--out", type=Path, default=HERE / "results.csv")
    given = parser.parse_args()
    paths, origins = (400, 3) if given.small else (given.paths, None)
    frame = run(given.data, paths=paths, origins=origins)
    table = summary(frame, targets="all")
    if not given.small:
        steady = summary(frame.filter(~pl.col("paused")), targets="without December 2015")
        table = pl.concat([table, steady])
    table.write_csv(given.out, float_precision=4)
    with pl.Config(tbl_rows=200, tbl_cols=20, tbl_width_chars=220, float_precision=3):
        print(frame.filter(pl.col("method") == OURS))
        print(table)


if __name__ == "__main__":
    main()
