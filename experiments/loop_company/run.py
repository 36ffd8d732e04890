"""Simulated companies taken through the real workflow: does the loop close?

    python experiments/loop_company/run.py [--companies N] [--first SEED] [--cycles N]

Each company is a workspace: history and overrides are loaded, `replay` runs and closes its cycles,
once with the gate and once without it, and every figure is read from the stored tables. See
README.md.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import date, datetime
from pathlib import Path

import polars as pl

from sopforecast import workflow
from sopforecast.baseline.known_paths import paths_code
from sopforecast.core.evidence_tables import ANY
from sopforecast.core.months import add_months, month_name, month_range, months_between
from sopforecast.judgement.rebuild import RunDraws, rebuild_rows, with_credibility
from sopforecast.planning_store.counting import counting_runs
from sopforecast.planning_store.learned import read_credibility, read_learned, standing_closes
from sopforecast.planning_store.loading import append_load
from sopforecast.planning_store.paths import read_paths, save_paths
from sopforecast.planning_store.runs import read_forecasts, read_statements
from sopforecast.settings import SETTINGS_FILE
from sopforecast.workflow.shelf import Shelf
from sopforecast.workspace import Workspace, open_workspace

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from loop_companies import FIRST, HISTORY, HORIZON, ITEMS, Company, make_company  # noqa: E402
from loop_tables import CELLS, written  # noqa: E402

COMPANIES, CYCLES, DRAWS, WORKERS = 40, 18, 200, 2
ARMS = ("gate", "no gate")
NOW = datetime(2026, 1, 1)


def one_company(
    seed: int, arm: str, *, cycles: int = CYCLES, items: int = ITEMS, paths: Path | None = None
) -> pl.DataFrame:
    """One company in one arm: seed, turns, arm, cycle, measure, owner, value.

    What models said is kept in ``paths`` and taken from there: both arms have the same history.
    """
    started = time.perf_counter()
    company = make_company(seed, cycles=cycles, items=items)
    with tempfile.TemporaryDirectory(prefix="loop_company_") as folder:
        workspace = _workspace(Path(folder) / "company", company, gate=arm == "gate")
        store = workspace.store()
        if paths is not None and paths.exists():
            save_paths(store, pl.read_parquet(paths))
        _live(workspace, cycles)
        if paths is not None and not paths.exists():
            origins = month_range(FIRST, HISTORY + cycles)
            read_paths(store, origins, horizon=HORIZON, code=paths_code()).write_parquet(paths)
        told = [*_measures(workspace, company, cycles), (0, "seconds", "", _since(started))]
    frame = pl.DataFrame(
        told,
        schema={
            "cycle": pl.Int64, "measure": pl.String, "owner": pl.String, "value": pl.Float64
        },
        orient="row",
    )  # fmt: skip
    return frame.with_columns(
        seed=pl.lit(seed, dtype=pl.Int64), turns=pl.lit(company.turns), arm=pl.lit(arm)
    )


def _since(started: float) -> float:
    return time.perf_counter() - started


def _workspace(folder: Path, company: Company, *, gate: bool) -> Workspace:
    """A workspace with items, history and all overrides; each known when it was said."""
    workflow.init(folder, name="company")
    path = folder / SETTINGS_FILE
    text = path.read_text(encoding="utf-8")
    for old, new in (
        ("levels = []", 'levels = ["family"]'),
        ("horizon = 18", f"horizon = {HORIZON}"),
        ("# draws = 500", f"draws = {DRAWS}"),
        ("# workers = 0", "workers = 1"),
        ("# mlflow = true", "mlflow = false"),
        ("# gate = true", f"gate = {str(gate).lower()}"),
    ):
        assert old in text, old
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")
    workspace = open_workspace(folder)
    last = company.history["ds"].max()
    assert isinstance(last, date)
    for table in ("items", "history", "overrides"):
        append_load(
            workspace.store(), table, getattr(company, table), file=table, file_hash=table,
            loaded_by="experiment", loaded_at=NOW, through=last,
        )  # fmt: skip
    return workspace


def _live(workspace: Workspace, cycles: int) -> None:
    first = add_months(FIRST, HISTORY)
    last = add_months(first, cycles - 1)
    workflow.replay(workspace, month_name(first), month_name(last), now=NOW)


Measure = tuple[int, str, str, float]


def _measures(workspace: Workspace, company: Company, cycles: int) -> Iterator[Measure]:
    """cycle (of a run, or the number of closes), measure, owner, value."""
    store, settings = workspace.store(), workspace.settings
    shelf, first = Shelf(store, settings), add_months(FIRST, HISTORY)
    counting = counting_runs(store, known_by=datetime.max)
    closes = standing_closes(store)
    fits = dict(closes.select("closed", "fit_id").iter_rows())
    for cycle in range(1, cycles + 1):
        run_id = counting[add_months(first, cycle - 1)]
        said = read_statements(store, [run_id])
        before = fits.get(add_months(first, cycle - 2))
        credibility = None if before is None else read_credibility(store, before)
        plans = _plans(shelf, run_id, credibility, min_closed=settings.advanced.min_closed)
        plans |= {
            stage: read_forecasts(store, run_id, stage).select("unique_id", "ds", "plan")
            for stage in ("statistical", "consensus")
        }
        for name, value in _errors(plans, said, company):
            yield cycle, name, "", value
        by_owner = said.group_by("owner").agg(pl.col("counted").mean(), pl.len())
        for owner, counted, rows in by_owner.sort("owner").iter_rows():
            yield cycle, "counted", owner, counted
            yield cycle, "statements", owner, float(rows)
    number = {f: months_between(first, m) + 1 for f, m in closes.select("fit_id", "closed").rows()}
    learned = {
        name: read_learned(store, name, closes["fit_id"].to_list()).with_columns(
            cycle=pl.col("fit_id").replace_strict(number, return_dtype=pl.Int64)
        )
        for name in ("credibility", "value_added", "learning_log")
    }
    yield from _weights(learned["credibility"])
    at_12 = learned["value_added"].filter(
        pl.col("stage") == "consensus", pl.col("window") == 12, pl.col("lead") == 0,
        pl.col("within") == "total", pl.col("measure").cast(pl.String) == "quantity",
    )  # fmt: skip
    for row in at_12.sort("cycle").iter_rows(named=True):
        for name in ("over_statistical", "over_statistical_low", "over_statistical_high"):
            if row[name] is not None:
                yield row["cycle"], name, "", row[name]
    for row in learned["learning_log"].sort("cycle").iter_rows(named=True):
        yield row["cycle"], f"rules {row['table']}", "", float(row["rules"] in ("learned", "live"))
        if row["table"] == "credibility" and row["difference"] is not None:
            yield row["cycle"], "credibility difference", "", row["difference"]


def _plans(
    shelf: Shelf, run_id: str, credibility: pl.DataFrame | None, *, min_closed: int
) -> dict[str, pl.DataFrame]:
    """The consensus plan made again: everybody at the prior, and as the newest close learned."""
    run = shelf.run(run_id)
    made = RunDraws(shelf.draws(run_id), run.hierarchy, run.steps, run.seed, run.cycle)
    if run.statements.is_empty():  # nobody spoke: nothing is moved
        plan = pl.DataFrame(schema={"unique_id": pl.String, "ds": pl.Date, "plan": pl.Float64})
        return {"prior": plan, "learned": plan}
    plans = {}
    for name, rows in (("prior", None), ("learned", credibility)):
        said = with_credibility(run.statements, rows, min_closed=min_closed)
        plans[name] = rebuild_rows("consensus", made, said).select("unique_id", "ds", "plan")
    return plans


def _errors(
    plans: dict[str, pl.DataFrame], said: pl.DataFrame, company: Company
) -> Iterator[tuple[str, float]]:
    """Sums over item cells of one run: of all, and of those under a statement of somebody.

    A plan that lacks a cell has not moved it: there the statistical one stands.
    """
    family = dict(company.items.iter_rows())
    moved = {
        (item, month)
        for node, start, end in said.select("node", "ds_from", "ds_to").iter_rows()
        for item, of in family.items()
        if node in (item, f"family={of}")
        for month in month_range(start, months_between(start, end) + 1)
    }
    cells = plans["statistical"].rename({"plan": "statistical"})
    cells = cells.join(company.history, on=["unique_id", "ds"])  # items alone are in history
    for name in ("prior", "learned", "consensus"):
        plan = plans[name].rename({"plan": name})
        cells = cells.join(plan, on=["unique_id", "ds"], how="left").with_columns(
            pl.col(name).fill_null(pl.col("statistical"))
        )
    pairs = cells.select("unique_id", "ds").iter_rows()
    is_moved = pl.Series([pair in moved for pair in pairs], dtype=pl.Boolean)
    for kind, rows in zip(CELLS, (cells.filter(is_moved), cells), strict=True):
        yield f"cells {kind}", float(rows.height)
        yield f"demand {kind}", float(rows["y"].sum())
        for name in ("statistical", "prior", "learned", "consensus"):
            yield f"{name} {kind}", float((rows[name] - rows["y"]).abs().sum())


def _weights(credibility: pl.DataFrame) -> Iterator[Measure]:
    """Weight of each owner after each close, up and down by their opinions; the half-life."""
    own = credibility.filter(pl.col("reason") == ANY, pl.col("owner") != ANY)
    mean = (pl.col("weight") * pl.col("opinions")).sum() / pl.col("opinions").sum()
    for cycle, owner, weight, opinions in (
        own.group_by("cycle", "owner")
        .agg(weight=mean, opinions=pl.col("opinions").sum())
        .sort("cycle", "owner")
        .iter_rows()
    ):
        yield cycle, "weight", owner, weight
        yield cycle, "opinions", owner, float(opinions)
    for cycle, life in credibility.group_by("cycle").agg(pl.col("half_life").first()).iter_rows():
        yield cycle, "half-life", "", float("inf") if life is None else life


def run(
    folder: Path, companies: int, *, first: int = 0, cycles: int = CYCLES, arms: int = len(ARMS)
) -> pl.DataFrame:
    """All companies, one arm after the other; what ``folder`` holds already is not run again."""
    folder.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    wanted = [(seed, arm) for arm in ARMS[:arms] for seed in range(first, first + companies)]
    waiting = [one for one in wanted if not _file(folder, *one).exists()]
    with ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context("spawn")) as pool:
        asked = {pool.submit(_kept, folder, *one, cycles): one for one in waiting}
        for done in as_completed(asked):
            failed = done.exception()
            if failed is not None:  # the others go on; all are asked for below
                traceback.print_exception(failed)
            print(*asked[done], f"{_since(started):.0f} s", flush=True)
    return pl.concat([pl.read_parquet(_file(folder, *one)) for one in wanted])


def _kept(folder: Path, seed: int, arm: str, cycles: int) -> None:
    told = one_company(seed, arm, cycles=cycles, paths=folder / f"{seed} paths.parquet")
    told.write_parquet(_file(folder, seed, arm))


def _file(folder: Path, seed: int, arm: str) -> Path:
    return folder / f"{seed} {arm}.parquet"


def main() -> None:
    """Run all; results.csv is written when no other companies are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--companies", type=int, default=COMPANIES)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--cycles", type=int, default=CYCLES)
    parser.add_argument("--arms", type=int, default=len(ARMS))
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "loop_company")
    asked = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    told = run(
        asked.folder, asked.companies, first=asked.first, cycles=asked.cycles, arms=asked.arms
    )
    written(told, HERE if asked.first == 0 else asked.folder)


if __name__ == "__main__":
    main()
