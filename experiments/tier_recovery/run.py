"""Is conversion recovered from small, half-open books, and do tiers replace what was expected?

    python experiments/tier_recovery/run.py
    python experiments/tier_recovery/run.py --small

Writes ``results.csv`` and ``replacement.csv``, but for the second, which takes seconds; see
README.md.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import date, datetime
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

sys.path.insert(0, str(Path(__file__).parent))
from replacement import replacement

from sopforecast.clinical.book import landmarks
from sopforecast.clinical.conversion import Conversion, fit_conversion
from sopforecast.clinical.conversion_laplace import prior_draws
from sopforecast.clinical.conversion_lines import SHARED, line_arrays
from sopforecast.clinical.conversion_model import laws
from sopforecast.clinical.counts import mixture
from sopforecast.clinical.inputs import ClinicalInputs, clinical_inputs
from sopforecast.clinical.tier_paths import month_chances
from sopforecast.core.clinical_tables import TIERS
from sopforecast.core.months import add_months

HERE = Path(__file__).parent
CYCLE = date(2026, 12, 1)
SIZES = (10, 25, 50, 100, 250, 500)
SCENES = ("as believed", "moving up")
BOOKS, BOOKS_NUTS = 200, 15
NAMES, OWNERS, OLDEST, AHEAD = 4, 5, 10, 6
NEVER = 10_000


@dataclass(frozen=True)
class Book:
    """What the engine sees, and what only the simulation knows.

    ``chance`` (L,) is the true probability of each landmark, in the order of ``landmarks``;
    ``ahead`` how many open lines convert in the next six months.
    """

    inputs: ClinicalInputs
    chance: np.ndarray
    ahead: int


def as_believed(seed: int, size: int) -> Book:
    """Lines in one tier each; effects, delays and losses drawn from the engine's own priors."""
    rng = np.random.default_rng([seed, size, 1])
    tier = rng.choice(3, size, p=[0.3, 0.35, 0.35])
    age = rng.integers(0, OLDEST, size)
    lead = np.where(rng.random(size) < 0.5, rng.integers(0, 10, size), -1)
    middle = np.array([1.5, 0.3, -0.9])[tier] + rng.normal(0, 0.6, 3)[tier]
    middle += rng.normal(0, 0.7, size)
    stated = rng.random(size) < 0.6
    low, high = _chance(middle - 0.5), _chance(middle + 0.5)
    lines = [
        _line(i, tier=tier[i], begun=age[i] + 1, name=i % NAMES, owner=(i // 2) % OWNERS,
              lead=lead[i], range_=(low[i], high[i]) if stated[i] else None)
        for i in range(size)
    ]  # fmt: skip
    arrays = line_arrays(landmarks(_inputs(lines)))
    theta = arrays.prior_mean + arrays.prior_sd * prior_draws(arrays, rng, draws=1)
    law = laws(arrays, theta)
    will = rng.random(size) < law.chance[0]
    delay = _weibull(law.log_scale[0], law.shape[0, 0], rng)
    declared = rng.random(size) < law.declared[0, 0]
    loss = _weibull(np.full(size, law.loss_log_scale[0, 0]), law.loss_shape[0, 0], rng)
    ended = [
        row
        for i, line in enumerate(lines)
        for row in _ended(line, will[i], delay[i], declared[i], loss[i], begun=age[i] + 1)
    ]
    ahead = will & (delay > age) & (delay <= age + AHEAD)
    return Book(_inputs(lines + ended), law.chance[0], int(ahead.sum()))


def moving_up(seed: int, size: int) -> Book:
    """Lines that climb from tier to tier or fail on the way: not what the engine believes.

    A line leaves each tier upwards with a chance that differs by study, after a rounded gamma
    time; nobody states a range. Failures are declared in 60% of cases, after 2 to 10 months.
    """
    rng = np.random.default_rng([seed, size, 2])
    base = np.log([0.8 / 0.2, 0.7 / 0.3, 0.55 / 0.45]) + rng.normal(0, 0.5, 3)
    study = rng.normal(0, 0.35, (NAMES, 1))
    climbs = _chance(base + study)  # (names, tiers): committed converts, the others move up
    chances = np.cumprod(climbs, axis=1)
    means = np.array([1.5, 2.5, 3.5]) * np.exp(rng.normal(0, 0.3, 3))
    rows, truth, ahead = [], {}, 0
    for i in range(size):
        tier, begun, name = int(rng.choice(3)), int(rng.integers(1, OLDEST + 5)), i % NAMES
        at, ended = -begun, False
        owner = (i // 2) % OWNERS
        was_open = False
        while not ended:
            if at < 0:
                rows.append(_line(i, tier=tier, begun=-at, name=name, owner=owner))
                truth[i, tier] = chances[name, tier]
                was_open = True
            stay = int(rng.gamma(2.0, means[tier] / 2.0))
            if rng.random() >= climbs[name, tier]:
                lost = at + int(rng.integers(2, 11))
                if rng.random() < 0.6 and lost < 0:
                    rows.append(_version(rows[-1], lost, outcome="lost"))
                ended = True
            elif tier == 0:
                at += stay
                if at < 0:
                    rows.append(_version(rows[-1], at, outcome="converted"))
                elif was_open and at < AHEAD:
                    ahead += 1
                ended = True
            else:
                at, tier = at + stay, tier - 1
    inputs = _inputs(rows)
    marks = landmarks(inputs)
    keys = zip(marks["line_id"], marks["tier"], strict=True)
    chance = np.array([truth[int(line), TIERS.index(tier)] for line, tier in keys])
    return Book(inputs, chance, ahead)


def judged(book: Book, fitted: Conversion, *, seed: int) -> list[dict[str, Any]]:
    """Posterior against truth of every tier with lines, and of the count ahead."""
    rng = np.random.default_rng([seed, 3])
    lines, theta = fitted.lines["study"], fitted.theta["study"]
    law = laws(lines, theta)
    found = []
    for k, tier in enumerate(TIERS):
        here = lines.tier == k
        if not here.any():
            continue
        weight = lines.weight[here] / lines.weight[here].sum()
        draws, truth = law.chance[:, here] @ weight, float(book.chance[here] @ weight)
        low, high = np.quantile(draws, [0.05, 0.95])
        closed = lines.outcome[here] > 0
        naive = (lines.outcome[here] == 1).sum() / closed.sum() if closed.any() else None
        pit = (np.sum(draws < truth) + rng.random()) / (len(draws) + 1)
        found.append({
            "what": tier, "truth": truth, "mean": draws.mean(), "pit": pit, "width": high - low,
            "naive": naive,
        })  # fmt: skip
    pmf = mixture(month_chances(fitted, book.inputs, horizon=AHEAD).sum(axis=2).clip(0, 1))
    below = pmf[: book.ahead].sum()
    count = np.arange(len(pmf))
    reached = np.cumsum(pmf)
    low, high = np.searchsorted(reached, [0.05, 0.95])
    found.append({
        "what": "converting in 6 months", "truth": float(book.ahead), "mean": count @ pmf,
        "pit": below + rng.random() * pmf[book.ahead], "width": float(high - low), "naive": None,
    })  # fmt: skip
    return found


def summarise(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """One row a scene, size, method and quantity."""
    frame = pl.DataFrame(rows, infer_schema_length=None)
    tiers = frame.with_columns(
        what=pl.when(pl.col("what").is_in(TIERS)).then(pl.lit("tier probability"))
        .otherwise("what")
    )  # fmt: skip
    off, naive_off = pl.col("mean") - pl.col("truth"), pl.col("naive") - pl.col("truth")
    by = ["scene", "size", "method", "what"]
    return (
        pl.concat([frame.filter(pl.col("what").is_in(TIERS)), tiers])
        .group_by(by, maintain_order=True)
        .agg(
            books=pl.col("seed").n_unique(),
            open_share=pl.col("open_share").mean(),
            truth=pl.col("truth").mean(),
            bias=off.mean(),
            bias_se=off.std() / pl.len().sqrt(),
            rmse=(off**2).mean().sqrt(),
            coverage90=pl.col("pit").is_between(0.05, 0.95).mean(),
            width90=pl.col("width").mean(),
            naive_bias=naive_off.mean(),
            naive_rmse=(naive_off**2).mean().sqrt(),
        )
        .sort("scene", "what", "method", "size")
    )


def run(
    *, books: int, books_nuts: int, sizes: tuple[int, ...] = SIZES, workers: int = 1
) -> pl.DataFrame:
    """Both scenes by Laplace, and the first ``books_nuts`` books of the first by NUTS too."""
    tasks = [("nuts", SCENES[0], 0, books_nuts)] if books_nuts else []
    tasks += [
        ("laplace", scene, size, books if scene == SCENES[0] else books // 2)
        for size in sorted(sizes, reverse=True)
        for scene in SCENES
    ]
    if workers == 1:
        return summarise([row for task in tasks for row in _one(task)])
    # Spawned: a forked worker would wait for ever on the threads of polars.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return summarise([row for rows in pool.map(_one, tasks) for row in rows])


def _one(task: tuple[str, str, int, int]) -> list[dict[str, Any]]:
    """All books of a scene and size; for NUTS of all sizes, so that one compilation serves."""
    method, scene, size, books = task
    make = as_believed if scene == SCENES[0] else moving_up
    rows: list[dict[str, Any]] = []
    compiled = None
    for lines, seed in product([size] if size else SIZES, range(books)):
        book = make(seed, lines)
        fitted = fit_conversion(book.inputs, seed=seed)
        outcome = fitted.lines["study"].outcome
        if method == "nuts":
            if fitted.method == "prior":
                continue
            compiled, fitted = _by_nuts(fitted, compiled, seed)
        about = {
            "scene": scene, "size": lines, "seed": seed, "method": method,
            "open_share": float((outcome == 0).mean()),
        }  # fmt: skip
        rows += [{**about, **row} for row in judged(book, fitted, seed=seed)]
    print(*task, flush=True)
    return rows


def _by_nuts(fitted: Conversion, compiled: Any, seed: int) -> tuple[Any, Conversion]:
    from sopforecast.clinical.conversion_sampler import compile_model, nuts_draws

    lines = fitted.lines["study"]
    if len(lines.prior_mean) != SHARED + NAMES + OWNERS:
        raise ValueError("a book lacks a study or an owner; every book names them all")
    compiled = compiled or compile_model(lines)
    x, _, missed = nuts_draws(lines, seed=seed, compiled=compiled)
    if missed:
        print("missed a gate:", missed, flush=True)
    return compiled, replace(fitted, theta={"study": lines.prior_mean + lines.prior_sd * x})


def _line(
    i: int,
    *,
    tier: int,
    begun: int,
    name: int,
    owner: int,
    lead: int = -1,
    range_: tuple[float, float] | None = None,
) -> dict[str, Any]:
    """An open version, listed ``begun`` months before the cycle, at least 1."""
    listed = add_months(CYCLE, -int(begun))
    return {
        "line_id": f"{i:05d}", "study": f"S{name}", "tier": TIERS[tier], "quantity": 1.0,
        "expected_ds": add_months(listed, int(lead)) if lead >= 0 else None,
        "probability_low": range_[0] if range_ else None,
        "probability_high": range_[1] if range_ else None,
        "owner": f"o{owner}", "outcome": "open", "converted_ds": None,
        "known_at": datetime(listed.year, listed.month, 4 - tier),
    }  # fmt: skip


def _version(line: dict[str, Any], at: int, *, outcome: str) -> dict[str, Any]:
    """The version that says how a line ended ``at`` months from the cycle (negative)."""
    ended = add_months(CYCLE, int(at))
    known = datetime(ended.year, ended.month, 20)
    return {
        **line, "outcome": outcome, "known_at": known,
        "converted_ds": ended if outcome == "converted" else None,
    }  # fmt: skip


def _ended(
    line: dict[str, Any], will: bool, delay: int, declared: bool, loss: int, *, begun: int
) -> list[dict[str, Any]]:
    if will and delay < begun:
        return [_version(line, delay - begun, outcome="converted")]
    if not will and declared and loss < begun:
        return [_version(line, loss - begun, outcome="lost")]
    return []


def _inputs(rows: list[dict[str, Any]]) -> ClinicalInputs:
    schema = {
        "expected_ds": pl.Date, "converted_ds": pl.Date, "probability_low": pl.Float64,
        "probability_high": pl.Float64, "known_at": pl.Datetime("us"),
    }  # fmt: skip
    lines = pl.DataFrame(rows, schema_overrides=schema, infer_schema_length=None)
    blank = {
        name: pl.lit(None, dtype=pl.String)
        for name in ("account", "site", "cohort", "unique_id", "lost_reason")
    }
    return clinical_inputs(CYCLE, tier_lines=lines.with_columns(**blank))


def _weibull(log_scale: np.ndarray, shape: float, rng: np.random.Generator) -> np.ndarray:
    time = np.exp(log_scale) * rng.weibull(shape, len(log_scale))
    return np.floor(np.minimum(time, NEVER)).astype(int)


def _chance(logit: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-logit))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--books", type=int, default=BOOKS)
    parser.add_argument("--nuts", type=int, default=BOOKS_NUTS)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--small", action="store_true", help="few books, nothing written")
    options = parser.parse_args()
    if options.small:
        print(run(books=10, books_nuts=0, sizes=SIZES[:3]), replacement(paths=4000))
        return
    results = run(books=options.books, books_nuts=options.nuts, workers=options.workers)
    replaced = replacement()
    results.write_csv(HERE / "results.csv", float_precision=4)
    replaced.write_csv(HERE / "replacement.csv", float_precision=3)
    with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_width_chars=220):
        print(results, replaced)


if __name__ == "__main__":
    main()
