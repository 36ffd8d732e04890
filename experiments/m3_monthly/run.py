"""The default pool on all 1,428 monthly M3 series beside its peers, in one run.

    python experiments/m3_monthly/run.py [--data FOLDER] [--series N] [--out results.csv]

Every method forecasts the 18 months of the competition's test set and is timed in CPU seconds,
single threaded, imports and compilation left out. Ours is the whole ``run_cycle``: checks,
cleansing, rolling origins, weights, ranges and draws. See README.md.
"""

# ruff: noqa: E402
from __future__ import annotations

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_variable] = "1"  # before numpy is imported: CPU seconds are compared

import argparse
import sys
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from peers import QUANTILES, peer_forecasts

from sopforecast.core.months import add_months
from sopforecast.cycle import run_cycle
from sopforecast.settings import Settings

HORIZON, SEASON = 18, 12
PEERS = ("Naive2", "SeasonalNaive", "AutoETS", "DOT", "AutoCES", "AutoARIMA")
SCUM = ("AutoETS", "AutoARIMA", "AutoCES", "DOT")
LABELS = tuple(f"p{int(q * 100):02d}" for q in QUANTILES)
CYCLE = date(2026, 1, 1)  # every series is moved to end the month before
OURS = "sopforecast (default pool)"


@dataclass(frozen=True)
class Competition:
    """Series of the competition: train and test values by id."""

    ids: tuple[str, ...]
    train: tuple[np.ndarray, ...]
    test: np.ndarray

    @property
    def scale(self) -> np.ndarray:
        """Mean absolute seasonal difference of each train part: the denominator of MASE."""
        return np.array([np.abs(y[SEASON:] - y[:-SEASON]).mean() for y in self.train])


def load(folder: Path, series: int | None) -> Competition:
    """Read the competition, or every k-th series of it."""
    frame = pl.read_parquet(folder / "m3_monthly.parquet").sort("unique_id", "ds")
    ids, train, test = [], [], []
    for (unique_id,), rows in frame.group_by("unique_id", maintain_order=True):
        ids.append(str(unique_id))
        train.append(rows.filter(pl.col("split") == "train")["y"].to_numpy().astype(float))
        test.append(rows.filter(pl.col("split") == "test")["y"].to_numpy().astype(float))
    step = max(1, len(ids) // series) if series else 1
    return Competition(tuple(ids[::step]), tuple(train[::step]), np.stack(test[::step]))


def our_forecasts(data: Competition) -> tuple[np.ndarray, np.ndarray, float]:
    """Plan (N, H), quantiles (N, H, Q) and CPU seconds of the whole cycle."""
    history = pl.concat(
        [
            pl.DataFrame(
                {
                    "unique_id": unique_id,
                    "ds": [add_months(CYCLE, k - y.size) for k in range(y.size)],
                    "y": y,
                }
            )
            for unique_id, y in zip(data.ids, data.train, strict=True)
        ]
    )
    settings = Settings(horizon=HORIZON, advanced={"workers": 1})
    warm = history.filter(pl.col("unique_id").is_in(list(data.ids[:2])))
    run_cycle(warm, cycle=CYCLE, settings=settings)
    started = time.process_time()
    result = run_cycle(history, cycle=CYCLE, settings=settings)
    seconds = time.process_time() - started
    print({stage: round(s, 1) for stage, s in result.seconds.items()}, result.notes)
    rows = result.forecasts.filter(
        (pl.col("stage") == "statistical") & (pl.col("unique_id") != "total")
    ).sort("unique_id", "lead")
    shape = (len(data.ids), HORIZON)
    order = np.argsort(np.argsort(np.array(data.ids)))
    plan = rows["plan"].to_numpy().reshape(shape)[order]
    quantiles = np.stack([rows[label].to_numpy().reshape(shape) for label in LABELS], axis=2)
    return plan, quantiles[order], seconds


def score(
    data: Competition, point: np.ndarray, quantiles: np.ndarray | None, naive2: np.ndarray
) -> dict[str, float | None]:
    """OWA, sMAPE, MASE of a point forecast (N, H); WIS and coverage of quantiles (N, H, Q)."""
    smape, mase = _smape(point, data.test), _mase(point, data)
    row: dict[str, float | None] = {
        "owa": (smape / _smape(naive2, data.test) + mase / _mase(naive2, data)) / 2,
        "smape": smape,
        "mase": mase,
    }
    if quantiles is None:
        return row
    error = data.test[:, :, None] - quantiles
    levels = np.array(QUANTILES)
    pinball = np.maximum(levels * error, (levels - 1) * error)
    usable = data.scale > 0
    row["wis_scaled"] = float((2 * pinball.mean(axis=(1, 2)) / data.scale)[usable].mean())
    for name, low, high in (("coverage80", 1, 5), ("coverage90", 0, 6)):
        inside = (data.test >= quantiles[:, :, low]) & (data.test <= quantiles[:, :, high])
        row[name] = float(inside.mean())
        if name == "coverage80":
            for third in range(3):
                row[f"coverage80_third{third + 1}"] = float(
                    inside[:, 6 * third : 6 * third + 6].mean()
                )
    return row


def _smape(forecast: np.ndarray, actual: np.ndarray) -> float:
    size = np.abs(forecast) + np.abs(actual)
    return float((200 * np.abs(forecast - actual) / np.where(size > 0, size, 1)).mean())


def _mase(forecast: np.ndarray, data: Competition) -> float:
    usable = data.scale > 0
    error = np.abs(forecast - data.test).mean(axis=1)
    return float((error[usable] / data.scale[usable]).mean())


def run(folder: Path, *, series: int | None, cache: Path, peers: tuple[str, ...]) -> pl.DataFrame:
    """Score every method; one row each."""
    data = load(folder, series)
    named = list(zip(data.ids, data.train, strict=True))
    forecasts, seconds = {}, {}
    for name in peers:
        frame, seconds[name] = peer_forecasts(
            name, named, horizon=HORIZON, cache=cache / str(len(named))
        )
        forecasts[name] = frame.select(LABELS).to_numpy().reshape(len(named), HORIZON, -1)
        print(f"{name}: {seconds[name]:.1f} CPU s", flush=True)
    if set(SCUM) <= set(peers):
        forecasts["SCUM"] = np.median([forecasts[name] for name in SCUM], axis=0)
        seconds["SCUM"] = sum(seconds[name] for name in SCUM)
    naive2 = forecasts["Naive2"][:, :, 3]
    rows = [
        {"method": name, **score(data, quantiles[:, :, 3], quantiles, naive2)}
        for name, quantiles in forecasts.items()
    ]
    plan, quantiles, seconds[OURS] = our_forecasts(data)
    rows.append({"method": OURS, **score(data, plan, quantiles, naive2)})
    rows += _published(folder, data, naive2) if series is None else []
    frame = pl.DataFrame(rows, infer_schema_length=None)
    cpu = [seconds.get(str(name)) for name in frame["method"]]
    whole = seconds.get("SCUM")
    share = [100 * s / whole if s is not None and whole else None for s in cpu]
    return frame.with_columns(
        series=pl.lit(len(data.ids)),
        cpu_seconds=pl.Series(cpu, dtype=pl.Float64),
        percent_of_scum_cpu=pl.Series(share, dtype=pl.Float64),
    ).sort("owa")


def _published(folder: Path, data: Competition, naive2: np.ndarray) -> list[dict[str, object]]:
    """Entrants' own scores, related to our Naive2 for OWA."""
    known = pl.read_parquet(folder / "m3_monthly_published_scores.parquet")
    name = next(c for c in known.columns if known[c].dtype == pl.String)
    lower = {c.lower(): c for c in known.columns}
    chosen = known.filter(pl.col(name).str.to_lowercase().is_in(["theta", "forecastpro", "naive2"]))
    base_smape, base_mase = _smape(naive2, data.test), _mase(naive2, data)
    return [
        {
            "method": f"{row[name]} (published)",
            "owa": (row[lower["smape"]] / base_smape + row[lower["mase"]] / base_mase) / 2,
            "smape": row[lower["smape"]],
            "mase": row[lower["mase"]],
        }
        for row in chosen.iter_rows(named=True)
    ]


def main() -> None:
    """Run whole and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = os.environ.get("SOPFORECAST_DATA", str(HERE.parents[2] / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--series", type=int, default=None, help="every k-th, about this many")
    parser.add_argument("--cache", type=Path, default=HERE / "out")
    parser.add_argument("--out", type=Path, default=HERE / "results.csv")
    parser.add_argument("--peers", nargs="*", default=list(PEERS))
    given = parser.parse_args()
    frame = run(given.data, series=given.series, cache=given.cache, peers=tuple(given.peers))
    frame.write_csv(given.out, float_precision=4)
    with pl.Config(tbl_rows=50, tbl_cols=20, tbl_width_chars=220):
        print(frame)


if __name__ == "__main__":
    main()
