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
from sopforecast.baseline.components import rebuild_draws
from sopforecast.baseline.widths import with_widths
from sopforecast.core.draws import additive_plan, mean_view, quantile_view
from sopforecast.core.learning_tables import Learned
from sopforecast.core.months import add_months, month_name, month_range
from sopforecast.core.resampling import block_picks
from sopforecast.planning_store.counting import counting_runs
from sopforecast.planning_store.learned import newest_close, read_learned, standing_closes
from sopforecast.planning_store.loading import append_load
from sopforecast.planning_store.runs import (
    read_forecasts,
    read_model_errors,
    read_residual_paths,
)
from sopforecast.planning_store.store import Store
from sopforecast.settings import SETTINGS_FILE
from sopforecast.workflow.book import Book
from sopforecast.workflow.champions import used_by
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


def value_added_rows(workspace: Workspace, cycles: list[date]) -> list[dict[str, object]]:
    """By cycle, what statistical gains over naive in the 12 months up to its month at a lead."""
    table = read(workspace, "value_added").filter(
        pl.col("window") == 12, pl.col("within") == "total", pl.col("measure") == "quantity",
        pl.col("stage") == "statistical",
    )  # fmt: skip
    rows = []
    for lead in VALUE_LEADS:
        of_lead = {row["closed"]: row for row in table.filter(lead=lead).iter_rows(named=True)}
        for cycle in cycles:
            row = of_lead[add_months(cycle, lead - 1)]
            rows.append(
                _row(
                    "value added, 12 months",
                    f"cycle {month_name(cycle)}",
                    lead=lead,
                    cells=row["cells"],
                    value=row["over_naive"],
                    low=row["over_naive_low"],
                    high=row["over_naive_high"],
                )
            )
    return rows


def point_rows(cells: pl.DataFrame) -> list[dict[str, object]]:
    """Over all cycles: WMAPE of both stages, bias, and the gain with its interval, by lead."""
    items = cells.filter(pl.col("level") == "item")
    rows = []
    for lead in (*VALUE_LEADS, 12):
        own = items.filter(pl.col("lead") == lead).with_columns(
            statistical=(pl.col("plan") - pl.col("y")).abs(),
            seasonal=(pl.col("naive") - pl.col("y")).abs(),
        )
        months = own.group_by("ds").agg(pl.sum("statistical", "seasonal", "y")).sort("ds")
        stat, naive, y = (months[c].to_numpy() for c in ("statistical", "seasonal", "y"))
        picks = block_picks(
            len(y), block=min(lead, len(y) // 2), resamples=RESAMPLES,
            seed_names=("loop", str(lead)), seed=SEED,
        )  # fmt: skip
        gains = 100 * (naive[picks] - stat[picks]).sum(axis=1) / y[picks].sum(axis=1)
        low, high = np.quantile(gains, [0.05, 0.95])
        gain = 100 * (naive - stat).sum() / y.sum()
        named = {"lead": lead, "cells": own.height}
        rows.append(_row("value added, 24 cycles", "statistical over naive", value=gain, low=low,
                         high=high, **named))  # fmt: skip
        rows.append(_row("wmape", "statistical", value=100 * stat.sum() / y.sum(), **named))
        rows.append(_row("wmape", "naive", value=100 * naive.sum() / y.sum(), **named))
    for (level,), own in cells.group_by("level", maintain_order=True):
        bias = 100 * (own["plan"] - own["y"]).sum() / own["y"].sum()
        rows.append(_row("bias percent", str(level), value=bias, cells=own.height))
    return rows


def coverage_rows(cells: pl.DataFrame, arm: str) -> list[dict[str, object]]:
    """Share inside P10 to P90: all items, thirds by volume, levels, and six cycles at a time."""
    cells = cells.with_columns(
        inside=(pl.col("y") >= pl.col("p10")) & (pl.col("y") <= pl.col("p90"))
    )
    items, what = cells.filter(pl.col("level") == "item"), f"coverage80, {arm}"
    rows = [_inside(what, "all items", items), _ends(what, items)]
    rows += [_inside(what, f"third {k}", items.filter(pl.col("third") == k)) for k in (1, 2, 3)]
    for level in cells["level"].unique(maintain_order=True):
        rows.append(_inside(what, f"level {level}", cells.filter(pl.col("level") == level)))
    for first, last in ((1, 1), (2, 3), (4, 6), (7, 12)):
        own = items.filter(pl.col("lead").is_between(first, last))
        rows.append(_inside(what, f"leads {first}-{last}", own))
    cycles = sorted(cells["cycle"].unique())
    for k in range(len(cycles) - 5):
        six = items.filter(pl.col("cycle").is_between(cycles[k], cycles[k + 5]))
        rows.append(_inside(what, f"six cycles from {month_name(cycles[k])}", six))
    return rows


def _ends(what: str, cells: pl.DataFrame) -> dict[str, object]:
    """Interval score of the 80% range (Winkler 1972), as a share of demand."""
    over = (pl.col("y") - pl.col("p90")).clip(lower_bound=0.0)
    under = (pl.col("p10") - pl.col("y")).clip(lower_bound=0.0)
    score = cells.select((pl.col("p90") - pl.col("p10") + 10.0 * (over + under)).sum()).item()
    return _row(what, "interval score over demand", value=score / cells["y"].sum(),
                cells=cells.height)  # fmt: skip


def _inside(what: str, who: str, cells: pl.DataFrame) -> dict[str, object]:
    return _row(what, who, value=cells["inside"].mean(), cells=cells.height)


def rebuilt_cells(
    workspace: Workspace, cells: pl.DataFrame, cycles: list[date], *, followed: bool
) -> pl.DataFrame:
    """The same cells with the ranges of each run without learned widths, or with those of its day.

    ``followed``: widths as learned by the cut-off of each cycle, whatever the gate said.
    """
    store, parts = workspace.store(), []
    counting, shelf = counting_runs(store, known_by=datetime.max), Shelf(store, workspace.settings)
    for cycle in cycles:
        run_id = counting[cycle]
        run = shelf.run(run_id)
        used, wanted = used_by(store, run_id).learned.widths, None
        close = newest_close(store, before=cycle, known_by=run.known_by)
        if followed and close is not None:
            wanted = read_learned(store, "learned_widths", [close["fit_id"]])
        hierarchy, draws = rebuild_draws(
            with_widths(run.components, used=used, wanted=wanted),
            read_residual_paths(store, run_id), seed=run.seed, draws=run.n_draws,
        )  # fmt: skip
        views, months = quantile_view(draws), month_range(cycle, run.horizon)
        names = np.repeat(np.array(hierarchy.nodes, dtype=object), run.horizon).tolist()
        parts.append(
            pl.DataFrame(
                {
                    "cycle": [cycle] * len(names),
                    "unique_id": names,
                    "ds": months * len(hierarchy.nodes),
                    "p10": views["p10"].ravel(),
                    "p90": views["p90"].ravel(),
                }
            )
        )
    return cells.drop("p10", "p90").join(pl.concat(parts), on=["cycle", "unique_id", "ds"])


def weight_rows(
    workspace: Workspace, cells: pl.DataFrame, cycles: list[date]
) -> list[dict[str, object]]:
    """WMAPE of items and of the total under equal, backtest and live weights, same cells."""
    store, shelf = workspace.store(), Shelf(workspace.store(), workspace.settings)
    counting = counting_runs(store, known_by=datetime.max)
    rerun = rerunner(store, shelf, Book(store))
    actual = {
        (name, ds): y for name, ds, y in cells.select("unique_id", "ds", "y").unique().iter_rows()
    }
    sums: dict[tuple[str, str], list[float]] = {}
    for cycle in cycles:
        run = shelf.run(counting[cycle])
        months = month_range(cycle, run.horizon)
        y = np.array([[actual[name, ds] for ds in months] for name in run.hierarchy.items])
        close = newest_close(store, before=cycle, known_by=run.known_by)
        arms = {"equal": _equal(store, run.run_id), "backtest": None}
        if close is not None:
            arms["live"] = read_learned(store, "learned_weights", [close["fit_id"]])
        for arm, weights in arms.items():
            _, draws = rerun(run.run_id, Learned(weights=weights))
            plan = additive_plan(mean_view(draws), run.steps)
            for level, own, came in (("item", plan, y), ("total", plan.sum(0), y.sum(0))):
                sums.setdefault((arm, level), []).append(float(np.abs(own - came).sum()))
                sums.setdefault((f"{arm} demand", level), []).append(float(np.abs(came).sum()))
    rows = []
    for arm in ("equal", "backtest", "live"):
        for level in ("item", "total"):
            error, demand = (np.array(sums[key, level]) for key in (arm, f"{arm} demand"))
            base = np.array(sums["equal", level])[-len(error) :]
            picks = block_picks(len(error), block=min(12, len(error) // 2), resamples=RESAMPLES,
                                seed_names=("weights", arm, level), seed=SEED)  # fmt: skip
            gain = 100 * (base - error)[picks].sum(axis=1) / demand[picks].sum(axis=1)
            low, high = np.quantile(gain, [0.05, 0.95])
            rows.append(_row("wmape by weights", f"{arm}, {level}", cells=len(error),
                             value=100 * error.sum() / demand.sum()))  # fmt: skip
            value = 100 * (base - error).sum() / demand.sum()
            rows.append(_row("gained over equal weights", f"{arm}, {level}", cells=len(error),
                             value=value, low=low, high=high))  # fmt: skip
    return rows


def _equal(store: Store, run_id: str) -> pl.DataFrame:
    errors = read_model_errors(store, run_id)
    return errors.select("segment", "model", weight=1.0 / pl.len().over("segment"))


def gate_rows(workspace: Workspace) -> list[dict[str, object]]:
    """What the gate decided, where it decided anything."""
    log = read(workspace, "learning_log").filter(
        pl.col("decision").is_in(["adopt", "revert", "refuse"])
    )
    return [
        _row(
            "gate",
            f"{row['table']}: {row['decision']} at {month_name(row['closed'])}",
            value=row["difference"],
            low=row["low"],
            high=row["high"],
            cells=row["cycles"],
        )
        for row in log.sort("table", "closed").iter_rows(named=True)
    ]


def _row(
    what: str, who: str, *, value: object, cells: int, lead: int | None = None,
    low: object = None, high: object = None,
) -> dict[str, object]:  # fmt: skip
    numbers = {"value": value, "low": low, "high": high}
    return {"what": what, "who": who, "lead": lead, "cells": cells} | {
        name: None if number is None else float(number) for name, number in numbers.items()
    }


def run(
    data: Path, *, cycles: int = CYCLES, warm: int = WARM, items: int | None = None,
    first: date = FIRST,
) -> pl.DataFrame:  # fmt: skip
    """All figures of the experiment, one row each."""
    history, master = load(data, items)
    with tempfile.TemporaryDirectory() as name:
        workspace = make_workspace(Path(name) / "workspace", history, master)
        seconds = live(workspace, add_months(first, -warm), cycles + warm)
        tested = month_range(first, cycles)
        cells = cells_of(workspace, history, tested)
        cold = rebuilt_cells(workspace, cells, tested, followed=False)
        followed = rebuilt_cells(workspace, cells, tested, followed=True)
        rows = [
            _row("seconds of the replay", f"{cycles + warm} cycles", value=seconds, cells=0),
            *point_rows(cells),
            *coverage_rows(cells, "as run"),
            *coverage_rows(cold, "without learned widths"),
            *coverage_rows(followed, "widths followed without a gate"),
            *gate_rows(workspace),
            *weight_rows(workspace, cells, tested),
            *value_added_rows(workspace, tested),
        ]
    return pl.DataFrame(rows, infer_schema_length=None)


def main() -> None:
    """Run whole and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = os.environ.get("SOPFORECAST_DATA", str(HERE.parents[2] / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--cycles", type=int, default=CYCLES)
    parser.add_argument("--warm", type=int, default=WARM)
    parser.add_argument("--items", type=int, default=None)
    parser.add_argument("--out", type=Path, default=HERE / "results.csv")
    given = parser.parse_args()
    found = run(given.data, cycles=given.cycles, warm=given.warm, items=given.items)
    found.write_csv(given.out, float_precision=4)
    with pl.Config(tbl_rows=200, tbl_cols=20, tbl_width_chars=160, fmt_str_lengths=60):
        print(found)


if __name__ == "__main__":
    main()
