"""Plan, quantiles and CRPS of every stage of a run in one month, stored or made again.

A stage that is not stored equals another one: the approved plan of a run without fixed sums its
consensus, a source that did not speak the stage before it.

Axes: ``N`` nodes of the run's hierarchy, ``S`` draws.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date

import numpy as np
import polars as pl

from sopforecast.core.draws import QUANTILES
from sopforecast.core.hierarchy import Hierarchy
from sopforecast.core.learning_tables import SEQUENTIAL
from sopforecast.core.months import months_between
from sopforecast.learning.accuracy import crps_of_cells
from sopforecast.learning.ladder import ALONE, APPROVED, CONSENSUS, NAIVE, STATISTICAL
from sopforecast.workflow.shelf import Shelf
from sopforecast.workflow.stored_run import StoredRun

LABELS = tuple(label for label, _ in QUANTILES)
OF_SOURCES = ("p10", "p50", "p90")
PLAN = "plan"
DRAWN = (STATISTICAL, CONSENSUS, APPROVED)

Columns = dict[str, np.ndarray]
"""``plan`` and quantiles (N,) by label; NaN where a stage has none."""


def stages_of_run(
    run: StoredRun,
    stored: Mapping[str, pl.DataFrame],
    month: date,
    *,
    shelf: Shelf,
    spoken: Sequence[str],
) -> Iterator[tuple[str, Columns]]:
    """Every stage of `learning.ladder`, in its order, with its plan and quantiles.

    Parameters
    ----------
    run
        The run.
    stored
        Its ``Forecasts`` of the month by stage, as far as they are stored.
    month
        One of its months.
    shelf
        For stages that no run stores.
    spoken
        Sources of the ladder in their order, also those that did not speak in this run.
    """
    nothing = dict.fromkeys((PLAN, *LABELS), np.full(len(run.hierarchy.nodes), np.nan))
    own = [name for name in spoken if name in run.spoken]

    def made(stage: str, base: Columns, labels: Sequence[str] = LABELS) -> Columns:
        return columns_of(stored.get(stage), run.hierarchy, base, labels)

    yield NAIVE, made(NAIVE, nothing)
    statistical = made(STATISTICAL, nothing)
    yield STATISTICAL, statistical
    consensus, through = made(CONSENSUS, statistical), statistical
    for name in spoken:
        yield ALONE + name, made(ALONE + name, statistical, OF_SOURCES)
        if own and name == own[-1]:
            through = consensus
        elif name in own:
            rows = shelf.sequential_rows(run.run_id, name).filter(pl.col("ds") == month)
            through = columns_of(rows, run.hierarchy, statistical)
        yield SEQUENTIAL + name, through
    yield CONSENSUS, consensus
    yield APPROVED, made(APPROVED, consensus)


def columns_of(
    frame: pl.DataFrame | None,
    hierarchy: Hierarchy,
    base: Mapping[str, np.ndarray],
    labels: Sequence[str] = LABELS,
) -> Columns:
    """Plan and quantiles (N,) of a stage: its rows of one month, and the base where it has none."""
    values = {name: base[name].copy() for name in (PLAN, *labels)}
    if frame is not None and frame.height:
        place = {node: k for k, node in enumerate(hierarchy.nodes)}
        rows = [place[node] for node in frame["unique_id"]]
        for name, column in values.items():
            column[rows] = frame[name].fill_null(np.nan).to_numpy()
    return values


class DrawnScores:
    """CRPS of the stages of one run in one month, each from its rebuilt draws.

    Nodes that a stage cannot have moved keep the score of the statistical stage.
    """

    def __init__(
        self, run: StoredRun, month: date, actual: np.ndarray, nodes: np.ndarray, shelf: Shelf
    ) -> None:
        self._run, self._shelf = run, shelf
        self._lead = months_between(run.cycle, month) + 1
        self._actual, self._nodes = actual, nodes
        self._made: dict[str, np.ndarray] = {}

    def of(self, stage: str) -> np.ndarray | None:
        """CRPS (N,) where nodes are asked for, NaN elsewhere; None of a stage that is not drawn."""
        if stage not in DRAWN:
            return None
        same = self._shelf.equal_stage(self._run.run_id, stage)
        if same not in self._made:
            self._made[same] = self._score(same)
        return self._made[same]

    def _score(self, stage: str) -> np.ndarray:
        hierarchy, asked = self._run.hierarchy, self._nodes
        scores = np.full(len(asked), np.nan)
        if stage != STATISTICAL:
            kept = self.of(STATISTICAL)
            items = self._shelf.moved_items(self._run.run_id, stage)
            above = np.unique(hierarchy.codes[:, items])
            moved = np.concatenate([above, len(hierarchy.aggregates) + items])
            asked = np.zeros(len(asked), dtype=bool)
            asked[moved] = self._nodes[moved]
            scores = scores if kept is None else kept.copy()
        bottom = self._shelf.month_draws(self._run.run_id, stage, self._lead)
        sums = hierarchy.aggregate(bottom[:, :, None])[:, :, 0]
        draws = np.concatenate([sums, bottom], axis=1)[:, asked]
        scores[asked] = crps_of_cells(self._actual[asked], draws)
        return scores
