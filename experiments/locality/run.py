"""Where a statement's news goes: into the stated sum, and from there into its cells.

    python experiments/locality/run.py [--part A|B] [--engines N] [--oracle-draws N] [--out FILE]

Part A holds scalar-then-spread against brute force. Twenty items with a known joint distribution
get a statement about their total, measured with normal error. Brute force weighs millions of draws
of the items by the likelihood of the statement; ours moves the total of the engine's draws to a
target mean and sd (`transport`), then spreads the change over the items (`move_sum`). Part B
(`whole_run`) is a whole run with many statements, and what must not move. See README.md.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy is imported

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

sys.path.insert(0, str(Path(__file__).parent))
from exact import posterior_moments
from whole_run import checks

from sopforecast.core.draws import series_rng
from sopforecast.judgement.spread import move_sum
from sopforecast.judgement.transport import transport

HERE = Path(__file__).parent
ITEMS, DRAWS, CHUNK = 20, 1_000, 100_000
FIRST_ENGINE = 100  # the engines below it were looked at while rules were chosen
RULES = ("linear", "numerical", "exact")


@dataclass(frozen=True)
class Family:
    """Items with a known joint distribution.

    ``propose(rng, draws, tilt)`` gives draws (S, B) under a distribution moved towards larger or
    smaller totals, and the log of prior over proposal density, up to a constant. Tilt 0 is the
    prior.
    """

    name: str
    propose: Callable[[np.random.Generator, int, float], tuple[np.ndarray, np.ndarray]]
    statements: tuple[tuple[str, float, float], ...]


@dataclass(frozen=True)
class Posterior:
    """Moments of the total, and mean, sd and P(0) of each item (B,)."""

    mean: float
    sd: float
    item_mean: np.ndarray
    item_sd: np.ndarray
    item_zero: np.ndarray
    effective: float


def counts(name: str, excess: tuple[float, ...], statements: tuple) -> Family:
    """Negative binomial items, Poisson where the excess of variance over mean is 0; total 50."""
    mean = np.linspace(0.6, 4.4, ITEMS)
    theta = np.resize(np.array(excess), ITEMS)
    size = mean / np.maximum(theta, 1e-12)

    def propose(rng: np.random.Generator, draws: int, tilt: float) -> tuple:
        # Exponential tilting: p(x) exp(tilt * sum(x)) is negative binomial again, size the same.
        odds = np.exp(tilt) * theta / (1.0 + theta)
        tilted = np.where(theta > 0, size * odds / (1.0 - odds), mean * np.exp(tilt))
        level = np.broadcast_to(tilted, (draws, ITEMS)).copy()
        lumpy = theta > 0
        level[:, lumpy] = rng.standard_gamma(size[lumpy], (draws, int(lumpy.sum())))
        level[:, lumpy] *= (odds / (1.0 - odds))[lumpy]
        x = rng.poisson(level).astype(np.float64)
        return x, -tilt * x.sum(axis=1)

    return Family(name, propose, statements)


def lognormals(name: str, shared: float, statements: tuple) -> Family:
    """Lognormal items, sd over mean .3 to .8, with a share of the log variance in common."""
    mean = np.geomspace(2_000.0, 40.0, ITEMS)
    log_sd = np.sqrt(np.log1p(np.resize(np.array([0.3, 0.8, 0.5, 0.65, 0.4]), ITEMS) ** 2))
    centre = np.log(mean) - 0.5 * log_sd**2
    direction = np.append(
        np.sqrt(1.0 - shared) * mean * log_sd, np.sqrt(shared) * (mean * log_sd).sum()
    )
    direction /= np.sqrt(np.square(direction).sum())

    def propose(rng: np.random.Generator, draws: int, tilt: float) -> tuple:
        shock = rng.standard_normal((draws, ITEMS + 1))
        along = shock @ direction
        shock += tilt * direction
        own = np.sqrt(1.0 - shared) * shock[:, :-1] + np.sqrt(shared) * shock[:, -1:]
        return np.exp(centre + log_sd * own), -tilt * along - 0.5 * tilt**2

    return Family(name, propose, statements)


def families() -> tuple[Family, ...]:
    """Sparse and nearly Poisson counts; skewed items, independent and moving together."""
    sparse = (
        ("80 +- 5", 80.0, 5.0),
        ("30 +- 5", 30.0, 5.0),
        ("70 +- 20", 70.0, 20.0),
        ("35 +- 20", 35.0, 20.0),
        ("110 +- 10", 110.0, 10.0),
    )
    calm = (
        ("80 +- 5", 80.0, 5.0),
        ("38 +- 3", 38.0, 3.0),
        ("62 +- 9", 62.0, 9.0),
        ("42 +- 9", 42.0, 9.0),
    )
    skewed = (
        ("+2 sd, strong", 2.0, 0.25),
        ("-1.2 sd, strong", -1.2, 0.25),
        ("+1 sd, weak", 1.0, 1.0),
        ("-1 sd, weak", -1.0, 1.0),
        ("+3 sd, fair", 3.0, 0.5),
    )
    return (
        counts("sparse", (0.0, 3.0, 10.0, 22.0), sparse),
        counts("nearly Poisson", (0.0, 0.5, 1.0), calm),
        lognormals("skewed", 0.0, _in_sds(lognormals("", 0.0, ()), skewed)),
        lognormals("skewed, together", 0.5, _in_sds(lognormals("", 0.5, ()), skewed)),
    )


def _in_sds(family: Family, statements: tuple) -> tuple:
    """Statements given as sds from the mean, in units of the total."""
    total = family.propose(series_rng(0, "units"), CHUNK, 0.0)[0].sum(axis=1)
    mean, sd = total.mean(), total.std()
    return tuple(
        (label, float(np.rint(mean + a * sd)), float(np.rint(b * sd))) for label, a, b in statements
    )


def brute_force(family: Family, *, value: float, error_sd: float, draws: int) -> Posterior:
    """Importance sampling: draws weighed by the likelihood of the statement."""
    rng = series_rng(7, "oracle", family.name, f"{value} {error_sd}")
    tilt = _tilt(family, value=value, error_sd=error_sd)
    weights, totals, sums = [], [], []
    best = None
    for _ in range(max(1, draws // CHUNK)):
        x, log_ratio = family.propose(rng, CHUNK, tilt)
        total = x.sum(axis=1)
        log_weight = log_ratio - 0.5 * np.square((total - value) / error_sd)
        best = float(log_weight.max()) if best is None else best
        weight = np.exp(log_weight - best)
        sums.append(np.stack([weight @ x, weight @ np.square(x), weight @ (x == 0)]))
        weights.append(weight)
        totals.append(total)
    weight, total = np.concatenate(weights), np.concatenate(totals)
    everything = weight.sum()
    first, second, zero = sum(sums) / everything
    mean = float(weight @ total / everything)
    return Posterior(
        mean=mean,
        sd=float(np.sqrt(weight @ np.square(total - mean) / everything)),
        item_mean=first,
        item_sd=np.sqrt(second - first**2),
        item_zero=zero,
        effective=float(everything**2 / np.square(weight).sum()),
    )


def _tilt(family: Family, *, value: float, error_sd: float) -> float:
    """The tilt whose total is centred where the posterior is, by bisection on small samples."""
    prior = family.propose(series_rng(2, "pilot"), 20_000, 0.0)[0].sum(axis=1)
    goal, _ = posterior_moments(prior, value=value, error_sd=error_sd)
    low, high = (-3.0, 0.04) if family.statements[0][0] == "80 +- 5" else (-6.0, 6.0)
    for _ in range(30):
        middle = 0.5 * (low + high)
        reached = family.propose(series_rng(2, "pilot"), 20_000, middle)[0].sum(axis=1).mean()
        low, high = (middle, high) if reached < goal else (low, middle)
    return low


def ours(
    family: Family, *, value: float, error_sd: float, rule: str, engine: int, truth: Posterior
) -> Posterior:
    """Scalar, then spread, on one engine's draws of whole numbers."""
    rng = series_rng(engine, "engine", family.name)
    cells = np.rint(family.propose(rng, DRAWS, 0.0)[0])
    z = cells.sum(axis=1)
    if rule == "exact":
        mean, sd = truth.mean, truth.sd
    elif rule == "numerical":
        mean, sd = posterior_moments(z, value=value, error_sd=error_sd)
    else:
        variance = float(z.var(ddof=1))
        gain = variance / (variance + error_sd**2)
        mean = float(z.mean()) + gain * (value - float(z.mean()))
        sd = float(np.sqrt(gain)) * error_sd
    moved = transport(z, mean=mean, sd=sd, step=1.0, rng=rng)
    cells = move_sum(cells, moved - z, steps=np.ones(ITEMS), rng=rng)
    if not np.array_equal(cells.sum(axis=1), moved):
        raise ArithmeticError(f"{family.name}: the items do not add up to the total")
    return Posterior(
        mean=float(moved.mean()),
        sd=float(moved.std(ddof=1)),
        item_mean=cells.mean(axis=0),
        item_sd=cells.std(axis=0, ddof=1),
        item_zero=(cells == 0).mean(axis=0),
        effective=float(DRAWS),
    )


def against_brute_force(*, engines: int, oracle_draws: int) -> pl.DataFrame:
    """One row a family, statement and rule: gaps averaged over engines, and the worst engine's."""
    rows = []
    for family in families():
        for label, value, error_sd in family.statements:
            said = {"value": value, "error_sd": error_sd}
            truth = brute_force(family, **said, draws=oracle_draws)
            for rule in RULES:
                found = [
                    ours(family, **said, rule=rule, engine=engine, truth=truth)
                    for engine in range(FIRST_ENGINE, FIRST_ENGINE + engines)
                ]
                row = {"part": "A", "family": family.name, "statement": label, **said}
                rows.append({**row, "rule": rule, **_gaps(found, truth)})
    return pl.DataFrame(rows).with_columns(pl.selectors.float().round(4))


def _gaps(found: list[Posterior], truth: Posterior) -> dict[str, float]:
    mean = np.array([f.mean for f in found])
    sd = np.array([f.sd for f in found])
    zero = np.stack([f.item_zero for f in found]) - truth.item_zero
    item_mean = np.stack([f.item_mean for f in found]).mean(axis=0)
    item_sd = np.stack([f.item_sd for f in found]).mean(axis=0)
    biggest = int(np.argmax(np.abs(zero.mean(axis=0))))
    return {
        "oracle_effective_draws": float(np.rint(truth.effective)),
        "oracle_mean": truth.mean,
        "oracle_sd": truth.sd,
        "mean": float(mean.mean()),
        "sd": float(sd.mean()),
        "mean_gap": float(mean.mean()) / truth.mean - 1.0,
        "sd_gap": float(sd.mean()) / truth.sd - 1.0,
        "worst_engine_mean_gap": float(np.abs(mean / truth.mean - 1.0).max()),
        "worst_engine_sd_gap": float(np.abs(sd / truth.sd - 1.0).max()),
        "item_zero_oracle": float(truth.item_zero[biggest]),
        "item_zero_gap": float(zero.mean(axis=0)[biggest]),
        "worst_engine_item_zero_gap": float(np.abs(zero).max()),
        "item_mean_gap_in_sds": float(np.abs((item_mean - truth.item_mean) / truth.item_sd).max()),
        "item_sd_gap": float(np.abs(item_sd / truth.item_sd - 1.0).max()),
    }


def run(
    *, part: str | None = None, engines: int = 20, oracle_draws: int = 2_000_000
) -> pl.DataFrame:
    """One part or both, one frame."""
    parts = []
    if part in (None, "A"):
        parts.append(against_brute_force(engines=engines, oracle_draws=oracle_draws))
    if part in (None, "B"):
        parts.append(checks())
    return pl.concat(parts, how="diagonal")


def main() -> None:
    """Command line; rows of a part that was not run stay as they are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=("A", "B"))
    parser.add_argument("--engines", type=int, default=20)
    parser.add_argument("--oracle-draws", type=int, default=2_000_000)
    parser.add_argument("--out", type=Path, default=HERE / "results.csv")
    args = parser.parse_args()
    frame = run(part=args.part, engines=args.engines, oracle_draws=args.oracle_draws)
    whole = frame
    if args.part and args.out.exists():
        before = pl.read_csv(args.out, infer_schema_length=None)
        whole = pl.concat(
            [before.filter(pl.col("part") != args.part), frame], how="diagonal_relaxed"
        ).sort("part", maintain_order=True)
    whole.write_csv(args.out)
    with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_width_chars=250, fmt_str_lengths=80):
        print(frame)


if __name__ == "__main__":
    main()
