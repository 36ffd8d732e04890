"""Simulated trials: rates of the screened, of the enrolled, or of both as the product has it.

    python experiments/funnel/simulated.py [--trials 32] [--paths 1000] [--small] [--out FILE]

Known laws, other than any of the models': see README.md. CRPS is told over that of rates of the
enrolled.
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

from sopforecast.clinical.inputs import ClinicalInputs, clinical_inputs
from sopforecast.clinical.learned import learn
from sopforecast.core.draws import series_rng
from sopforecast.core.months import add_months

SEED, CYCLE, TRIAL = 20260101, date(2027, 1, 1), "T"
HORIZONS = (3, 6)
OURS, ENROLLED = "sopforecast", "of the enrolled"
SCREENED, DELAYED = "by way of the screened", "of the enrolled, exposure delayed"


@dataclass(frozen=True)
class Scene:
    """What is true of a trial: opening of sites (months ago), failures over sites and months.

    ``drift`` and ``trend`` are steps a month of the failures' log odds; ``follows``: screening
    moves so that enrolment does not, otherwise the other way round.
    """

    name: str
    youngest: tuple[int, int] | None = None
    share_young: float = 0.0
    between_sites: float = 0.0
    drift: float = 0.0
    trend: float = 0.0
    follows: bool = False


SCENES = (
    Scene("constant share of failures"),
    Scene("share differs by site", between_sites=0.8),
    Scene("share drifts", drift=0.1),
    Scene("share rises", trend=0.05),
    Scene("share rises, enrolment does not fall", trend=0.05, follows=True),
    Scene("half of the sites new", youngest=(1, 2), share_young=0.5),
    Scene("all sites new", youngest=(1, 3), share_young=1.0),
)


@dataclass(frozen=True)
class Truth:
    """Counts (G, T + ahead) of a simulated trial, and the month (G,) each site opened in."""

    opened: np.ndarray
    screened: np.ndarray
    failed: np.ndarray
    enrolled: np.ndarray
    history: int


def simulate(scene: Scene, trial: int) -> Truth:
    """Screened come at a site's own rate, which wanders; each fails or enrols after a delay."""
    rng = series_rng(SEED, "trial", scene.name, str(trial))
    sites, history = int(rng.integers(8, 16)), int(rng.integers(10, 25))
    months = history + max(HORIZONS)
    ago = rng.integers(6, history + 1, sites)
    ago[0] = history
    if scene.youngest:
        young = rng.permutation(sites) < round(scene.share_young * sites)
        low, high = scene.youngest
        ago = np.where(young, rng.integers(low, high + 1, sites), ago)
    opened = history - ago
    usual = rng.uniform(0.15, 0.75)
    share = np.log(usual / (1.0 - usual)) + scene.between_sites * rng.standard_normal((sites, 1))
    steps = scene.trend + scene.drift * rng.standard_normal(months)
    share = share + steps.cumsum() - scene.trend * history / 2
    fails = 1.0 / (1.0 + np.exp(-share))
    level = rng.gamma(1.5, 0.8 / 1.5, (sites, 1))
    level = level / (1.0 - (fails if scene.follows else usual))
    walk = (0.05 * rng.standard_normal((sites, months))).cumsum(axis=1)
    shock = 0.1 * rng.standard_normal(months)
    is_open = np.arange(months) >= opened[:, None]
    screened = rng.poisson(level * np.exp(walk + shock) * is_open)
    later = rng.dirichlet(10 * np.array([0.25, 0.4, 0.25, 0.1]))
    later_fail = rng.dirichlet(10 * np.array([0.5, 0.35, 0.15]))
    failing = rng.binomial(screened, fails)
    return Truth(
        opened=opened,
        screened=screened,
        failed=_later(failing, later_fail, rng),
        enrolled=_later(screened - failing, later, rng),
        history=history,
    )


def _later(counts: np.ndarray, chance: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    parted = rng.multinomial(counts, chance)  # (G, T, delays)
    moved = np.zeros_like(counts)
    for delay in range(len(chance)):
        moved[:, delay:] += parted[:, : counts.shape[1] - delay, delay]
    return moved


def seen(truth: Truth, *, failures: bool) -> ClinicalInputs:
    """What the product is told by the cycle; with or without the number of failures."""
    names = [f"S{g:02d}" for g in range(len(truth.opened))]
    first = add_months(CYCLE, -truth.history)
    rows = [
        (
            TRIAL, name, "all", add_months(first, month), float(truth.screened[g, month]),
            float(truth.failed[g, month]) if failures else None, float(truth.enrolled[g, month]),
        )
        for g, name in enumerate(names)
        for month in range(truth.opened[g], truth.history)
    ]  # fmt: skip
    columns = {
        "study": pl.String, "site": pl.String, "cohort": pl.String, "ds": pl.Date,
        "screened": pl.Float64, "screen_failed": pl.Float64, "enrolled": pl.Float64,
    }  # fmt: skip
    return clinical_inputs(
        CYCLE,
        studies=pl.DataFrame({"study": [TRIAL], "status": ["active"]}),
        sites=pl.DataFrame(
            {
                "study": TRIAL,
                "site": names,
                "activated_date": [add_months(first, int(month)) for month in truth.opened],
            }
        ),
        enrolment=pl.DataFrame(rows, schema=columns, orient="row"),
    )


def forecasts(inputs: ClinicalInputs, *, paths: int) -> dict[str, np.ndarray]:
    """Enrolled (paths, G, H) by method."""
    size = {"paths": paths, "horizon": max(HORIZONS), "seed": SEED}
    known = learn(inputs, seed=SEED)
    enrolled = of_the_enrolled(known, seed=SEED)
    delayed = with_delayed_exposure(known, seed=SEED)
    return {
        OURS: as_product(known, inputs, **size),
        ENROLLED: as_product(enrolled, inputs, **size),
        SCREENED: by_screened(known, inputs, **size),
        DELAYED: as_product(delayed, inputs, **size),
    }


def run(*, trials: int, paths: int) -> pl.DataFrame:
    """One row a scene, trial, method, horizon and total: of all sites, or of the new ones."""
    rows = []
    for scene in SCENES:
        for trial in range(trials):
            truth = simulate(scene, trial)
            inputs = seen(truth, failures=trial % 2 == 0)
            young = truth.history - truth.opened <= max(scene.youngest or (0,))
            of = {"all sites": np.ones_like(young)}
            if scene.youngest and not young.all():
                of["new sites"] = young
            found = forecasts(inputs, paths=paths)
            for method, draws in found.items():
                for horizon in HORIZONS:
                    for total, which in of.items():
                        ahead = slice(truth.history, truth.history + horizon)
                        rows.append(
                            {
                                "scene": scene.name, "trial": trial, "method": method,
                                "horizon": horizon, "total": total,
                                **_scores(
                                    draws[:, which, :horizon].sum(axis=(1, 2)),
                                    float(truth.enrolled[which, ahead].sum()),
                                    series_rng(SEED, "pit", scene.name, str(trial), str(horizon)),
                                ),
                            }
                        )  # fmt: skip
    return pl.DataFrame(rows)


def _scores(draws: np.ndarray, actual: float, rng: np.random.Generator) -> dict[str, float]:
    from scoringrules import crps_ensemble

    below, equal = (draws < actual).mean(), (draws == actual).mean()
    return {
        "actual": actual,
        "mean": draws.mean(),
        "width80": float(np.diff(np.quantile(draws, [0.1, 0.9]))[0]),
        "crps": float(crps_ensemble(actual, draws.astype(float), estimator="fair")),
        "pit": below + rng.random() * equal,
    }


def summary(frame: pl.DataFrame) -> pl.DataFrame:
    """By scene, total, horizon, method; CRPS over that of the enrolled, trials resampled."""
    keys = ["scene", "total", "horizon"]
    rows = []
    for key, part in frame.group_by(keys, maintain_order=True):
        base = part.filter(pl.col("method") == ENROLLED).sort("trial")["crps"].to_numpy()
        rng = np.random.default_rng(SEED)
        picks = rng.integers(0, len(base), (4000, len(base)))
        for (method,), mine in part.group_by(["method"], maintain_order=True):
            mine = mine.sort("trial")
            crps, pit = mine["crps"].to_numpy(), mine["pit"].to_numpy()
            actual, mean = mine["actual"].to_numpy(), mine["mean"].to_numpy()
            ratio = crps[picks].mean(axis=1) / base[picks].mean(axis=1)
            bias = mean[picks].sum(axis=1) / actual[picks].sum(axis=1) - 1
            rows.append(
                {
                    **dict(zip(keys, key, strict=True)),
                    "method": method,
                    "trials": len(crps),
                    "actual": actual.mean(),
                    "crps": crps.mean(),
                    "relative": crps.mean() / base.mean(),
                    "relative_p05": np.quantile(ratio, 0.05),
                    "relative_p95": np.quantile(ratio, 0.95),
                    "coverage80": float(((pit > 0.1) & (pit < 0.9)).mean()),
                    "bias_percent": 100 * (mean.sum() / actual.sum() - 1),
                    "bias_se": 100 * bias.std(),
                    "width80": float(mine["width80"].to_numpy().mean()),
                }
            )
    return pl.DataFrame(rows)


def main() -> None:
    """Run all scenes and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=32)
    parser.add_argument("--paths", type=int, default=1000)
    parser.add_argument("--small", action="store_true", help="two trials a scene and 400 paths")
    parser.add_argument("--out", type=Path, default=HERE / "simulated.csv")
    given = parser.parse_args()
    trials, paths = (2, 400) if given.small else (given.trials, given.paths)
    table = summary(run(trials=trials, paths=paths))
    table.write_csv(given.out, float_precision=4)
    with pl.Config(
        tbl_rows=200, tbl_cols=20, tbl_width_chars=240, float_precision=3, fmt_str_lengths=50
    ):
        print(table)


if __name__ == "__main__":
    main()
