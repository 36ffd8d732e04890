"""Stored runs on a shelf: their draws are rebuilt once and kept while there is room.

A close scores every run that forecast its month, and a replay closes month after month: what the
one has rebuilt the next takes from here. What was not asked for the longest is dropped first, and
rebuilt when it is asked for again.

Axes: ``S`` draws, ``B`` items of a run, ``b`` some of them, ``H`` months.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import polars as pl

from sopforecast.core.lately import Lately
from sopforecast.core.learning_tables import SEQUENTIAL
from sopforecast.core.packing import Packed, pack
from sopforecast.errors import RequestError
from sopforecast.judgement.rebuild import RunDraws, conditioned, rebuild_rows, statistical_of
from sopforecast.learning.ladder import ALONE, APPROVED, CONSENSUS, STATISTICAL, order_of_sources
from sopforecast.planning_store.store import Store
from sopforecast.settings import Settings
from sopforecast.workflow.stored_run import StoredRun, read_stored_run, rebuilt_draws

MOST_BYTES = 800_000_000


class Shelf:
    """Stored runs, read and rebuilt when they are asked for, each once while there is room.

    One shelf serves a whole replay. It only holds what runs wrote, which never changes.

    Parameters
    ----------
    store : Store
        Where the runs are.
    settings : Settings
        ``sources`` in the order in which they come in sequence.
    most_bytes : int
        How much draws and rows together may take.

    Attributes
    ----------
    memo : dict
        Frames that closes have made of stored runs and may take again, by what made them.
    """

    def __init__(self, store: Store, settings: Settings, *, most_bytes: int = MOST_BYTES) -> None:
        self._store = store
        self._sources = settings.sources
        self.memo: dict[tuple[Any, ...], pl.DataFrame] = {}
        self._runs: dict[str, StoredRun] = {}
        for_draws = most_bytes * 3 // 4
        self._packed = Lately[Packed](for_draws, size=lambda packed: packed.counts.nbytes)
        self._rows = Lately[pl.DataFrame](
            most_bytes - for_draws, size=lambda rows: int(rows.estimated_size())
        )

    def run(self, run_id: str) -> StoredRun:
        """A run; RequestError when there is none of that id."""
        if run_id not in self._runs:
            self._runs[run_id] = read_stored_run(self._store, run_id)
        return self._runs[run_id]

    def draws(self, run_id: str) -> np.ndarray:
        """Statistical draws (S, B, H) of the items, in their units: the same bytes as in the run.

        The array is the caller's own.
        """
        return self._statistical(run_id).whole()

    def stage_draws(self, run_id: str, stage: str) -> np.ndarray:
        """Draws (S, B, H) of ``statistical``, a source alone or through, ``consensus`` or approved.

        A source that did not speak leaves the draws as they were: alone the statistical ones, in
        sequence those of the sources before it in the order of the settings.

        Raises
        ------
        RequestError
            When it is none of these stages.
        """
        draws = self.draws(run_id)
        if self.equal_stage(run_id, stage) != STATISTICAL:
            changed = self._changed(run_id, stage)
            draws[:, changed.items] = changed.whole()
        return draws

    def month_draws(self, run_id: str, stage: str, lead: int) -> np.ndarray:
        """Draws (S, B) of one month of a stage, ``lead`` 1 the first."""
        draws = self._statistical(run_id).month(lead - 1)
        if self.equal_stage(run_id, stage) != STATISTICAL:
            changed = self._changed(run_id, stage)
            draws[:, changed.items] = changed.month(lead - 1)
        return draws

    def moved_items(self, run_id: str, stage: str) -> np.ndarray:
        """Items (b,) whose draws a stage may have moved; none of the statistical stage."""
        if self.equal_stage(run_id, stage) == STATISTICAL:
            return np.empty(0, dtype=np.int64)
        return self._changed(run_id, stage).items

    def sequential_rows(self, run_id: str, source: str) -> pl.DataFrame:
        """Forecasts of ``through:<source>``, which no run stores: the nodes that were moved.

        ``Forecasts`` without ``run_id``; elsewhere the statistical stage stands.
        """
        before, run = self._sequence(run_id, source), self.run(run_id)
        kept = self._rows.get((run_id, before))
        if kept is not None:
            return kept
        # The whole sequence is the consensus, which is stored: made only when asked for.
        counts = range(len(run.spoken)) if len(before) < len(run.spoken) else [len(before)]
        made = self._make_rows(run, counts)
        for sources, rows in made.items():
            self._rows.keep((run_id, sources), rows)
        return made[before]

    def _make_rows(
        self, run: StoredRun, counts: Iterable[int]
    ) -> dict[tuple[str, ...], pl.DataFrame]:
        """The rows of so many sources in sequence each, made from one copy of the run's draws."""
        draws = self._run_draws(run.run_id)
        statistical = statistical_of(draws)
        order = order_of_sources(run.spoken, self._sources)
        return {
            order[:count]: rebuild_rows(
                SEQUENTIAL + order[count - 1], draws, run.statements,
                sources=order[:count], statistical=statistical,
            ) if count else statistical.frame
            for count in counts
        }  # fmt: skip

    def _sequence(self, run_id: str, source: str) -> tuple[str, ...]:
        """Sources that spoke in the run, up to and with this one in the order of the ladder."""
        spoken = self.run(run_id).spoken
        order = order_of_sources({*spoken, source}, self._sources)
        return tuple(name for name in order[: order.index(source) + 1] if name in spoken)

    def equal_stage(self, run_id: str, stage: str) -> str:
        """The stage that has the draws of ``stage``: itself, or one that it must equal.

        Raises
        ------
        RequestError
            When it is no stage with draws.
        """
        run = self.run(run_id)
        if stage == APPROVED and run.holds:
            return APPROVED
        if stage in (APPROVED, CONSENSUS):
            return CONSENSUS if run.spoken else STATISTICAL
        if stage.startswith(SEQUENTIAL):
            before = self._sequence(run_id, stage.removeprefix(SEQUENTIAL))
            if len(before) == len(run.spoken):
                return CONSENSUS if before else STATISTICAL
            return SEQUENTIAL + before[-1] if before else STATISTICAL
        if stage.startswith(ALONE):
            return stage if stage.removeprefix(ALONE) in run.spoken else STATISTICAL
        if stage != STATISTICAL:
            raise RequestError(
                f"stage {stage!r} has no draws; allowed: {STATISTICAL}, {ALONE}NAME, "
                f"{SEQUENTIAL}NAME, {CONSENSUS}, {APPROVED}"
            )
        return STATISTICAL

    def _statistical(self, run_id: str) -> Packed:
        def make() -> Packed:
            run = self.run(run_id)
            draws = rebuilt_draws(self._store, run)
            return pack(draws, np.arange(draws.shape[1]), run.steps)

        return self._kept((run_id, STATISTICAL), make)

    def _changed(self, run_id: str, stage: str) -> Packed:
        """Draws of the items that somebody spoke of in the run, at a stage."""
        same = self.equal_stage(run_id, stage)

        def make() -> Packed:
            run = self.run(run_id)
            sources: Sequence[str] | None = None
            if same.startswith(SEQUENTIAL):
                sources = self._sequence(run_id, same.removeprefix(SEQUENTIAL))
            elif same.startswith(ALONE):
                sources = [same.removeprefix(ALONE)]
            items, draws = conditioned(
                self._run_draws(run_id), run.statements, sources=sources, fixed=same == APPROVED
            )
            return pack(draws, items, run.steps[items])

        return self._kept((run_id, same), make)

    def _run_draws(self, run_id: str) -> RunDraws:
        run = self.run(run_id)
        return RunDraws(self.draws(run_id), run.hierarchy, run.steps, run.seed, run.cycle)

    def _kept(self, key: tuple[str, str], make: Callable[[], Packed]) -> Packed:
        kept = self._packed.get(key)
        return self._packed.keep(key, make()) if kept is None else kept

    @property
    def bytes_kept(self) -> int:
        """Bytes of the draws and rows on the shelf."""
        return self._packed.bytes_kept + self._rows.bytes_kept
