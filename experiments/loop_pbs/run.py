"""Twenty-four monthly cycles over the prescription hierarchy, each run, closed and learned from.

    python experiments/loop_pbs/run.py [--data FOLDER] [--cycles N] [--warm N] [--items N]

A workspace as a planner has one: history and items are loaded, `replay` runs and closes the months,
and every figure is read from the stored tables. See README.md.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from datetime import date, datetime
from pathlib import Path

import numpy as np
import polars as pl

from sopforecast import workflow
from sopforecast.core.draws import additive_plan, mean_view
from sopforecast.core.learning_tables import Learned
from sopforecast.core.months import add_months, month_name, month_range
from sopforecast.core.resampling import block_picks
from sopforecast.planning_store.counting import counting_runs
from sopforecast.planning_store.learned import read_learned, standing_closes
from sopforecast.planning_store.loading import append_load
from sopforecast.planning_store.runs import read_forecasts, read_weights
from sopforecast.settings import SETTINGS_FILE
from sopforecast.workflow.book import Book
from sopforecast.workflow.rerunning import rerunner
from sopforecast.workflow.shelf import Shelf
from sopforecast.workspace import Workspace, open_workspace

HERE = Path(__file__).parent
LEVELS = ("concession", "type", "concession/type", "atc1", "atc2", "atc1/concession", "atc1/type")
FIRST, CYCLES, WARM, HORIZON = date(2003, 8, 1), 24, 12, 12
VALUE_LEADS = (1, 3, 6)
RESAMPLES, SEED = 4_000, 2026
NOW = datetime(2007, 1, 1)


def load(folder: Path, items: int | None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """History (unique_id, ds, y) and items with their level columns."""
    frame = pl.read_parquet(folder / "pbs.parquet").with_columns(pl.col("ds").cast(pl.Date))
    master = frame.select("unique_id", "concession", "type", "atc1", "atc2").unique()
    master = master.sort("unique_id")
    if items is not None:
        master = master.gather_every(max(1, master.height // items))
    history = frame.select("unique_id", "ds", "y").join(master.select("unique_id"), on="unique_id")
    return history, master


def make_workspace(folder: Path, history: pl.DataFrame, master: pl.DataFrame) -> Workspace:
    """A workspace with the history and the items loaded."""
    workflow.init(folder, name="prescriptions")
    path = folder / SETTINGS_FILE
    text = path.read_text(encoding="utf-8")
    levels = ", ".join(f'"{level}"' for level in LEVELS)
    text = text.replace("levels = []", f"levels = [{levels}]")
    text = text.replace("horizon = 18", f"horizon = {HORIZON}")
    text = text.replace("# mlflow = true", "mlflow = false").replace("# workers = 0", "workers = 2")
    path.write_text(text, encoding="utf-8")
    workspace = open_workspace(folder)
    for table, frame in (("items", master), ("history", history)):
        append_load(
            workspace.store(), table, frame, file=table, file_hash=table, loaded_by="experiment",
            loaded_at=NOW, through=date(2006, 6, 1),
        )  # fmt: skip
    return workspace


def live(workspace: Workspace, first: date, cycles: int) -> float:
    """Replay the cycles, then close the months that only their longer leads reach; seconds."""
    started = time.perf_counter()
    last = add_months(first, cycles - 1)
    workflow.replay(workspace, month_name(first), month_name(last), now=NOW)
    seconds = time.perf_counter() - started
    shelf, book = Shelf(workspace.store(), workspace.settings), Book(workspace.store())
    for month in month_range(add_months(last, 1), HORIZON - 1):
        workflow.close(
            workspace, cycle=month_name(month), now=NOW, method="closed_form", shown=False,
            as_of=f"{add_months(month, 1):%Y-%m}-15", shelf=shelf, book=book,
        )  # fmt: skip
    return seconds


def read(workspace: Workspace, name: str) -> pl.DataFrame:
    """A learning table of all closes, with ``closed``."""
    closes = standing_closes(workspace.store())
    rows = read_learned(workspace.store(), name, closes["fit_id"].to_list())
    return rows.join(closes.select("fit_id", month="closed"), on="fit_id")


def cells_of(workspace: Workspace, history: pl.DataFrame, cycles: list[date]) -> pl.DataFrame:
    """One row a node, cycle and lead: statistical and naive plan, P10, P90 and what came."""
    store, parts = workspace.store(), []
    counting = counting_runs(store, known_by=datetime.max)
    for cycle in cycles:
        run_id = counting[cycle]
        naive = read_forecasts(store, run_id, "naive").select("unique_id", "ds", naive="plan")
        rows = read_forecasts(store, run_id, "statistical")
        rows = rows.select("cycle", "unique_id", "ds", "lead", "plan", "p10", "p90")
        parts.append(rows.join(naive, on=["unique_id", "ds"], how="left"))
    return pl.concat(parts).join(_actuals(workspace, history), on=["unique_id", "ds"])


def _actuals(workspace: Workspace, history: pl.DataFrame) -> pl.DataFrame:
    """unique_id, ds, y, level, third (of items, by volume) of every node."""
    shelf = Shelf(workspace.store(), workspace.settings)
    counting = counting_runs(workspace.store(), known_by=datetime.max)
    hierarchy = shelf.run(counting[max(counting)]).hierarchy
    months = sorted(history["ds"].unique())
    wide = history.pivot(on="ds", index="unique_id", values="y").join(
        pl.DataFrame({"unique_id": hierarchy.items}), on="unique_id", how="right",
        maintain_order="right",
    )  # fmt: skip
    bottom = np.nan_to_num(wide.select([str(m) for m in months]).to_numpy().astype(float))
    every = np.concatenate([hierarchy.aggregate(bottom), bottom])
    volume = bottom.sum(axis=1)
    third = np.digitize(volume, np.quantile(volume, [1 / 3, 2 / 3])) + 1
    thirds = np.concatenate([np.zeros(len(hierarchy.aggregates), dtype=int), third])
    return pl.DataFrame(
        {
            "unique_id": np.repeat(np.array(hierarchy.nodes, dtype=object), len(months)).tolist(),
            "ds": months * len(hierarchy.nodes),
            "y": every.ravel(),
            "level": np.repeat(np.array(hierarchy.node_levels, dtype=object), len(months)).tolist(),
            "third": np.repeat(thirds, len(months)),
        }
    )
