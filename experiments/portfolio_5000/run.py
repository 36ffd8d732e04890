"""5,000 series of 48 months through load, run and publish, beside AutoETS alone.

    python experiments/portfolio_5000/run.py [--data FOLDER] [--series N] [--out results.csv]

Each stage is its own process, as a batch job would start it; seconds and the peak memory of the
largest process are what the operating system accounted for it. See README.md.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

HERE = Path(__file__).parent
MONTHS, SERIES, SEED, FAMILIES, REGIONS = 48, 5_000, 2026, 25, 8
LAST_MONTH = date(2026, 10, 1)
AUTO_ETS = """
import os, sys, time
os.environ["NIXTLA_ID_AS_COL"] = "1"
import pandas as pd
from statsforecast import StatsForecast
from statsforecast.models import AutoETS

if __name__ == "__main__":
    history = pd.read_csv(sys.argv[1], parse_dates=["ds"])
    model = StatsForecast(models=[AutoETS(season_length=12)], freq="MS", n_jobs=os.cpu_count())
    print(len(model.forecast(df=history, h=18, level=[50, 80, 90])))
"""


def portfolio(folder: Path, series: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Windows of 48 months of real monthly series, scaled; families and regions assigned."""
    rng = np.random.default_rng(SEED)
    frame = pl.read_parquet(folder / "m3_monthly.parquet").sort("unique_id", "ds")
    whole = [rows["y"].to_numpy() for _, rows in frame.group_by("unique_id", maintain_order=True)]
    months = pl.date_range(
        LAST_MONTH.replace(year=LAST_MONTH.year - MONTHS // 12), LAST_MONTH, "1mo", eager=True
    )[1:]
    history, items = [], []
    for k in range(series):
        y = whole[k % len(whole)]
        start = int(rng.integers(0, y.size - MONTHS + 1))
        factor = float(np.exp(rng.normal(0, 1)))
        values = np.round(y[start : start + MONTHS] * factor)
        name = f"ITEM-{k:05d}"
        history.append(pl.DataFrame({"unique_id": name, "ds": months, "y": values}))
        family, region = f"F{k % FAMILIES:02d}", f"R{(k // FAMILIES) % REGIONS}"
        items.append({"unique_id": name, "family": family, "region": region})
    return pl.concat(history), pl.DataFrame(items)


def measured(command: list[str]) -> dict[str, float]:
    """Wall and CPU seconds, and peak memory (MiB) of the largest process, of one command."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        raise RuntimeError(f"{' '.join(command)}: {said.decode()[-2000:]}")
    return {
        "seconds": time.perf_counter() - started,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_memory_mib": usage.ru_maxrss / 1024,
    }


def run(folder: Path, *, series: int, peer: bool = True) -> pl.DataFrame:
    """One row a stage, and one for the peer."""
    work = Path(tempfile.mkdtemp(prefix="portfolio_"))
    try:
        history, items = portfolio(folder, series)
        history.write_csv(work / "history.csv")
        items.write_csv(work / "items.csv")
        workspace = work / "workspace"
        command = [sys.executable, "-m", "sopforecast"]
        stages = {
            "init": [*command, "init", str(workspace)],
            "load items": [*command, "load", "items", str(work / "items.csv")],
            "load history": [
                *command, "load", "history", str(work / "history.csv"), "--through", "2026-10",
            ],
            "run": [*command, "run", "--cycle", "2026-11"],
            "publish": [*command, "publish", "--cycle", "2026-11", "--by", "benchmark"],
            "export": [*command, "export", "forecasts", str(work / "forecasts.parquet")],
        }  # fmt: skip
        rows = []
        for stage, line in stages.items():
            there = [] if stage == "init" else ["-w", str(workspace)]
            rows.append({"stage": stage, **measured([*line, *there])})
            print(rows[-1], flush=True)
            if stage == "init":
                _declare_levels(workspace / "sopforecast.toml")
        if peer:
            script = work / "auto_ets.py"
            script.write_text(AUTO_ETS)
            line = [sys.executable, str(script), str(work / "history.csv")]
            rows.append({"stage": "AutoETS alone (statsforecast)", **measured(line)})
            print(rows[-1], flush=True)
    finally:
        shutil.rmtree(work)
    return pl.DataFrame(rows).with_columns(series=pl.lit(series), months=pl.lit(MONTHS))


def _declare_levels(settings: Path) -> None:
    lines = settings.read_text().splitlines()
    declared = [
        'levels = ["family", "region", "family/region"]' if line.startswith("levels") else line
        for line in lines
    ]
    if declared == lines:
        raise RuntimeError("the settings file has no line that starts with levels")
    settings.write_text("\n".join(declared) + "\n")


def main() -> None:
    """Run whole and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = os.environ.get("SOPFORECAST_DATA", str(HERE.parents[2] / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--series", type=int, default=SERIES)
    parser.add_argument("--out", type=Path, default=HERE / "results.csv")
    given = parser.parse_args()
    frame = run(given.data, series=given.series)
    frame.write_csv(given.out, float_precision=2)
    with pl.Config(tbl_rows=20, tbl_width_chars=160):
        print(frame)


if __name__ == "__main__":
    main()
