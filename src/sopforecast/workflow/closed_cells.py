"""Forecasts of closed months beside what came: what calibration, widths and weights learn from.

Reads stored runs that count and history as it was known; what one close has read the next takes
from the shelf.
"""

from __future__ import annotations

import json

import numpy as np
import polars as pl

from sopforecast.baseline.widths import COMMON, OWN, PATHS, lead_factors, width_factors
from sopforecast.core.hierarchy import ITEM
from sopforecast.core.learning_tables import LearnedWeights, LearnedWidths, empty
from sopforecast.core.months import add_months, month_range, months_between
from sopforecast.core.score_tables import Calibration
from sopforecast.learning.actuals import demand_of, of_nodes, scales_of
from sopforecast.learning.calibration import calibration
from sopforecast.learning.live_errors import live_errors
from sopforecast.learning.weights import learn_weights
from sopforecast.learning.widths import learn_widths
from sopforecast.planning_store.frames import hash_rows
from sopforecast.planning_store.paths import read_paths
from sopforecast.planning_store.runs import read_model_errors, read_residual_paths
from sopforecast.planning_store.store import Store
from sopforecast.settings import Settings
from sopforecast.workflow.champions import used_by
from sopforecast.workflow.closing import Closing
from sopforecast.workflow.month_cells import month_cells
from sopforecast.workflow.shelf import Shelf

MONTHS = 24  # that teach
NO_MODELS = ("dead", "clinic")  # segments that no model forecasts
SPARSE_MODEL = "TSB"  # fitted to sparse sums and to no others
AGGREGATE, SPARSE_AGGREGATE = "aggregate", "aggregate_sparse"


def cells_up_to(
    store: Store, read: Closing, settings: Settings, shelf: Shelf, *, newest: pl.DataFrame
) -> pl.DataFrame:
    """Statistical ranges of the last ``MONTHS`` closed months, with the factor of their widths.

    ``newest`` are those of the month that is closed (``Scored.cells``).
    """
    frames = []
    for month in month_range(add_months(read.month, 1 - MONTHS), MONTHS):
        runs = tuple(run_id for cycle, run_id in read.runs.items() if cycle <= month)
        came = read.history.filter(pl.col("ds") == month).select("unique_id", "y")
        if not runs or came.is_empty():
            continue
        key = ("cells", month, runs, hash_rows(came))
        if key not in shelf.memo:
            cells = newest if month == read.month else month_cells(
                store, month, known_by=read.known_by, settings=settings, shelf=shelf,
                history=read.history.filter(pl.col("ds") <= month), clinical=read.clinical,
            )  # fmt: skip
            shelf.memo[key] = _with_factors(store, cells)
        frames.append(shelf.memo[key])
    found = [frame for frame in frames if frame.height]
    return pl.concat(found) if found else pl.DataFrame()


def counted_calibration(cells: pl.DataFrame) -> pl.DataFrame:
    """``Calibration`` without ``fit_id``."""
    return calibration(cells) if cells.height else empty(Calibration, without="fit_id")


def widths_of(store: Store, read: Closing, shelf: Shelf, cells: pl.DataFrame) -> pl.DataFrame:
    """``LearnedWidths`` without ``fit_id``."""
    if cells.is_empty() or read.run_id is None:
        return empty(LearnedWidths, without="fit_id")
    return learn_widths(cells, _common_shares(store, read.run_id, shelf), closed=read.month)


def weights_of(store: Store, read: Closing, settings: Settings, shelf: Shelf) -> pl.DataFrame:
    """``LearnedWeights`` without ``fit_id``, from runs of the last ``MONTHS`` cycles."""
    cycles = [c for c in read.runs if c > add_months(read.month, -MONTHS)]
    if not cycles or read.run_id is None:
        return empty(LearnedWeights, without="fit_id")
    runs = [shelf.run(read.runs[cycle]) for cycle in cycles]
    origins = [add_months(cycle, -1) for cycle in cycles]
    key = ("paths", tuple(read.runs[c] for c in cycles))
    if key not in shelf.memo:
        for old in [k for k in shelf.memo if k[0] == "paths"]:
            del shelf.memo[old]
        horizons = sorted({run.horizon for run in runs})
        shelf.memo[key] = pl.concat(
            read_paths(store, origins, horizon=h, code=None) for h in horizons
        ).filter(pl.col("run_id").is_in([run.run_id for run in runs]), pl.col("is_end"))
    paths = shelf.memo[key]
    newest = runs[-1]
    kinds = dict(newest.components.select("unique_id", "kind").iter_rows())
    demand = demand_of(read.history, kinds, last=read.month, missing=settings.history.missing)
    nodes, actuals = [], []
    segments = dict(newest.components.select("unique_id", "segment").iter_rows())
    for node in newest.hierarchy.aggregates:
        segments[node] = AGGREGATE
    for node in _sparse_aggregates(paths, newest.run_id):
        if node not in kinds:
            segments[node] = SPARSE_AGGREGATE
    names = newest.hierarchy.nodes
    for run in runs:
        scale, _ = scales_of(demand, newest.hierarchy, before=run.cycle)
        nodes.append(
            pl.DataFrame(
                {
                    "run_id": [run.run_id] * len(names),
                    "unique_id": names,
                    "segment": [segments[name] for name in names],
                    "scale": scale,
                }
            ).filter(~pl.col("segment").is_in(NO_MODELS))
        )
    for month in month_range(cycles[0], months_between(cycles[0], read.month) + 1):
        known = {item: float(demand.y[demand.place[item], demand.column(month)]) for item in kinds}
        y = of_nodes(known, newest.hierarchy)
        actuals.append(pl.DataFrame({"unique_id": names, "ds": [month] * len(names), "y": y}))
    live = live_errors(paths, pl.concat(nodes), pl.concat(actuals), closed=read.month)
    return learn_weights(live, read_model_errors(store, newest.run_id))


def _sparse_aggregates(paths: pl.DataFrame, run_id: str) -> list[str]:
    """Nodes that the sparse pool forecast in a run."""
    rows = paths.filter(pl.col("run_id") == run_id, pl.col("model") == SPARSE_MODEL)
    found: list[str] = []
    for row in rows.iter_rows(named=True):
        values = np.frombuffer(row["paths"], dtype="<f8").reshape(-1, row["horizon"])
        spoke = np.isfinite(values).all(axis=1)
        found += [name for name, is_there in zip(json.loads(row["names"]), spoke, strict=True)
                  if is_there]  # fmt: skip
    return found


def _with_factors(store: Store, cells: pl.DataFrame) -> pl.DataFrame:
    """Beside every cell by what its run had multiplied its width: own of items, common of sums."""
    if cells.is_empty():
        return cells
    frames = []
    for (run_id,), rows in cells.group_by("run_id", maintain_order=True):
        factors = width_factors(used_by(store, str(run_id)).learned.widths)
        own = pl.concat_str(pl.lit(OWN), pl.col("segment"))
        of_part = own.replace_strict(factors, default=1.0, return_dtype=pl.Float64)
        is_own = (pl.col("level") == ITEM) & (pl.col("kind") == PATHS)
        of_sums = pl.when(pl.col("level") == ITEM).then(1.0).otherwise(factors.get(COMMON, 1.0))
        by_lead = lead_factors(factors, max(rows["lead"].to_list())).tolist()
        of_lead = pl.col("lead").replace_strict(
            list(range(1, len(by_lead) + 1)), by_lead, default=1.0, return_dtype=pl.Float64
        )
        is_drawn = is_own | (pl.col("level") != ITEM)
        of_parts = pl.when(is_own).then(of_part).otherwise(of_sums)
        frames.append(
            rows.with_columns(factor=of_parts * pl.when(is_drawn).then(of_lead).otherwise(1.0))
        )
    return pl.concat(frames)


def _common_shares(store: Store, run_id: str, shelf: Shelf) -> pl.DataFrame:
    """segment, common_share: how much of an item's error variance its sums share, of one run."""
    components = shelf.run(run_id).components.filter(pl.col("kind") == PATHS)
    parts = read_residual_paths(store, run_id)
    squares: dict[str, float] = {}
    for (part,), rows in parts.group_by("part", maintain_order=True):
        pool = np.concatenate([np.frombuffer(blob, dtype="<f8") for blob in rows["path"]])
        squares[str(part)] = float(np.square(pool).mean()) if pool.size else 0.0
    shares: dict[str, list[float]] = {}
    for segment, blob in components.select("segment", "loadings").iter_rows():
        squared = np.square(np.frombuffer(blob, dtype="<f8"))
        common = float(squared[:-1].sum())
        whole = common + float(squared[-1]) * squares.get(OWN + segment, 0.0)
        shares.setdefault(segment, []).append(common / whole if whole > 0 else 0.0)
    rows_of = {
        "segment": sorted(shares),
        "common_share": [np.mean(shares[s]) for s in sorted(shares)],
    }
    return pl.DataFrame(rows_of, schema={"segment": pl.String, "common_share": pl.Float64})
