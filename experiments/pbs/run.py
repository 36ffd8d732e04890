"""Twelve rolling origins over the prescription hierarchy, every level from item to total.

    python experiments/pbs/run.py [--data FOLDER] [--origins N] [--items N] [--out results.csv]

Compares the reconciled forecast with the unreconciled one (every node forecast on its own) and
with bottom-up (items only, summed), and measures the 80% range of the reconciled draws at every
level with a block-bootstrap interval over origins. See README.md.
"""

from __future__ import annotations

import argparse
import os
import time
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from sopforecast.baseline.cleanse import cleanse
from sopforecast.baseline.forecast import forecast_baseline
from sopforecast.baseline.panel import item_panel, node_panel, since_launch
from sopforecast.baseline.segment import segment
from sopforecast.baseline.simulate import draw_nodes
from sopforecast.core.draws import mean_view, quantile_view
from sopforecast.core.executor import open_executor
from sopforecast.core.hierarchy import build_hierarchy
from sopforecast.core.metrics import naive_scale, wis
from sopforecast.core.months import add_months, month_name, months_between

HERE = Path(__file__).parent
LEVELS = ("concession", "type", "concession/type", "atc1", "atc2", "atc1/concession", "atc1/type")
LAST_HISTORY = date(2004, 12, 1)  # of the last origin: 18 months of the data remain
HORIZON, STEP, ORIGINS, DRAWS, SEED = 18, 3, 12, 500, 2026
BLOCK = HORIZON // STEP  # origins whose months ahead overlap
RESAMPLES = 4_000


def load(folder: Path, items: int | None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """History (unique_id, ds, y) and items with their level columns."""
    frame = pl.read_parquet(folder / "pbs.parquet").with_columns(pl.col("ds").cast(pl.Date))
    master = frame.select("unique_id", "concession", "type", "atc1", "atc2").unique()
    master = master.sort("unique_id")
    if items is not None:
        master = master.gather_every(max(1, master.height // items))
    history = frame.select("unique_id", "ds", "y").join(master.select("unique_id"), on="unique_id")
    return history, master


def score_origin(
    history: pl.DataFrame, master: pl.DataFrame, last_month: date, workers: int
) -> list[dict[str, object]]:
    """One row a method and level: errors, coverage and cells of one origin."""
    cleansed = cleanse(
        history.filter(pl.col("ds") <= last_month), missing="unknown", last_month=last_month
    )
    known = cleansed.select(pl.col("unique_id").unique()).join(master, on="unique_id")
    hierarchy = build_hierarchy(known, levels=LEVELS)
    found = segment(cleansed)
    launched = since_launch(cleansed, found)
    panel = node_panel(item_panel(launched, hierarchy.items, last_month=last_month), hierarchy)
    segments = dict(found.select("unique_id", "segment").iter_rows())
    with open_executor(workers, 60) as executor:
        baseline = forecast_baseline(
            panel,
            hierarchy,
            tuple(segments[i] for i in hierarchy.items),
            horizon=HORIZON,
            seed=SEED,
            executor=executor,
            launched=launched,
        )
    draws = draw_nodes(baseline.models, baseline.ranges.pools, hierarchy, seed=SEED, draws=DRAWS)
    actual = _actual(history, hierarchy.items, last_month)
    actual = np.concatenate([hierarchy.aggregate(actual), actual])
    unreconciled = baseline.fitted.combined[:, 0]
    bottom = unreconciled[len(hierarchy.aggregates) :]
    points = {
        "reconciled": mean_view(draws),
        "unreconciled": unreconciled,
        "bottom-up": np.concatenate([hierarchy.aggregate(bottom), bottom]),
        "naive": np.concatenate(
            [
                hierarchy.aggregate(baseline.fitted.naive[len(hierarchy.aggregates) :]),
                baseline.fitted.naive[len(hierarchy.aggregates) :],
            ]
        ),
    }
    quantiles = quantile_view(draws)
    scale = naive_scale(panel.y)
    rows = []
    levels = np.array(hierarchy.node_levels)
    for level in hierarchy.level_labels:
        at = levels == level
        inside = (actual >= quantiles["p10"]) & (actual <= quantiles["p90"])
        for method, point in points.items():
            error = point[at] - actual[at]
            with np.errstate(divide="ignore", invalid="ignore"):
                scaled = np.abs(error).mean(axis=1) / scale[at]
            row: dict[str, object] = {
                "origin": month_name(last_month),
                "method": method,
                "level": level,
                "nodes": int(at.sum()),
                "cells": int(at.sum()) * HORIZON,
                "absolute_error": float(np.abs(error).sum()),
                "error": float(error.sum()),
                "demand": float(actual[at].sum()),
                "mase": float(np.median(scaled[np.isfinite(scaled)])),
            }
            if method == "reconciled":
                row["inside"] = int(inside[at].sum())
                for third in range(3):
                    part = slice(6 * third, 6 * third + 6)
                    row[f"inside_{third + 1}"] = int(inside[at][:, part].sum())
                row["wis"] = float(wis(actual[at], {k: v[at] for k, v in quantiles.items()}))
            rows.append(row)
    return rows


def _actual(history: pl.DataFrame, items: tuple[str, ...], last_month: date) -> np.ndarray:
    position = {item: i for i, item in enumerate(items)}
    answer = np.zeros((len(items), HORIZON))
    ahead = history.filter(
        (pl.col("ds") > last_month) & (pl.col("ds") <= add_months(last_month, HORIZON))
    )
    for item, month, y in ahead.select("unique_id", "ds", "y").iter_rows():
        if item in position:
            answer[position[item], months_between(last_month, month) - 1] = y
    return answer


def summarise(rows: pl.DataFrame) -> pl.DataFrame:
    """One row a level and method over all origins, coverage with its interval."""
    origins = rows["origin"].unique().sort().to_list()
    picks = _block_picks(len(origins), np.random.default_rng(SEED))
    summary = []
    for (level, method), part in rows.group_by("level", "method", maintain_order=True):
        part = part.sort("origin")
        row = {
            "level": level,
            "method": method,
            "origins": len(origins),
            "nodes": part["nodes"].max(),
            "wmape": 100 * part["absolute_error"].sum() / part["demand"].sum(),
            "bias_percent": 100 * part["error"].sum() / part["demand"].sum(),
            "mase": part["mase"].mean(),
        }
        if method == "reconciled":
            inside, cells = part["inside"].to_numpy(), part["cells"].to_numpy()
            resampled = inside[picks].sum(axis=1) / cells[picks].sum(axis=1)
            row["coverage80"] = inside.sum() / cells.sum()
            row["coverage80_low"], row["coverage80_high"] = np.quantile(resampled, [0.025, 0.975])
            for third in (1, 2, 3):
                row[f"coverage80_third{third}"] = part[f"inside_{third}"].sum() / cells.sum() * 3
        summary.append(row)
    return pl.DataFrame(summary, infer_schema_length=None)


def _block_picks(origins: int, rng: np.random.Generator) -> np.ndarray:
    """Circular blocks of overlapping origins (RESAMPLES, origins); Politis and Romano (1992)."""
    block = min(BLOCK, origins)
    starts = rng.integers(origins, size=(RESAMPLES, -(-origins // block)))
    picks = (starts[:, :, None] + np.arange(block)) % origins
    return picks.reshape(RESAMPLES, -1)[:, :origins]


def run(
    folder: Path,
    *,
    origins: int = ORIGINS,
    items: int | None = None,
    workers: int = 2,
    last_history: date = LAST_HISTORY,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """All origins: (one row a level and method, one row an origin, level and method)."""
    history, master = load(folder, items)
    rows: list[dict[str, object]] = []
    for k in reversed(range(origins)):
        started = time.perf_counter()
        last_month = add_months(last_history, -STEP * k)
        rows += score_origin(history, master, last_month, workers)
        print(f"{month_name(last_month)}: {time.perf_counter() - started:.0f} s", flush=True)
    frame = pl.DataFrame(rows, infer_schema_length=None)
    return summarise(frame), frame


def main() -> None:
    """Run whole and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = os.environ.get("SOPFORECAST_DATA", str(HERE.parents[2] / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--origins", type=int, default=ORIGINS)
    parser.add_argument("--items", type=int, default=None)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--last-history", type=date.fromisoformat, default=LAST_HISTORY)
    parser.add_argument("--out", type=Path, default=HERE / "results.csv")
    given = parser.parse_args()
    summary, _ = run(
        given.data,
        origins=given.origins,
        items=given.items,
        workers=given.workers,
        last_history=given.last_history,
    )
    summary.write_csv(given.out, float_precision=4)
    with pl.Config(tbl_rows=100, tbl_cols=20, tbl_width_chars=200):
        print(summary)


if __name__ == "__main__":
    main()
