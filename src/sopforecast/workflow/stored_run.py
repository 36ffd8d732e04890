"""A stored run read back: what it was, and its statistical draws made again.

Nothing is fitted: draws come from components, residual paths and the seed; those of the clinic's
items from what had been learned then and what was known by the run's cut-off.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from sopforecast.baseline.components import CLINIC, hierarchy_of, rebuild_draws
from sopforecast.core.hierarchy import Hierarchy
from sopforecast.judgement.rebuild import sources_that_spoke
from sopforecast.planning_store.inputs import admitted_inputs
from sopforecast.planning_store.runs import (
    find_run,
    read_clinical,
    read_components,
    read_residual_paths,
    read_statements,
)
from sopforecast.planning_store.store import Store
from sopforecast.workflow.admission import read_clinic


@dataclass(frozen=True, eq=False)
class StoredRun:
    """What a stored run was, beside its draws.

    Attributes
    ----------
    run_id : str
    cycle : date
        First forecast month.
    known_by : datetime
        Its cut-off.
    horizon, seed, n_draws : int
    settings : dict
        The settings that made its numbers.
    hierarchy : Hierarchy
    components : pl.DataFrame
        ``Components``, a row an item, in the order of ``hierarchy.items``.
    statements : pl.DataFrame
        ``Statements``.
    """

    run_id: str
    cycle: date
    known_by: datetime
    horizon: int
    seed: int
    n_draws: int
    settings: dict[str, Any]
    hierarchy: Hierarchy
    components: pl.DataFrame
    statements: pl.DataFrame

    @cached_property
    def steps(self) -> np.ndarray:
        """Step (B,) of every item."""
        steps: np.ndarray = self.components["step"].to_numpy()
        return steps

    @cached_property
    def spoken(self) -> tuple[str, ...]:
        """Sources that gave evidence, alphabetically."""
        return sources_that_spoke(self.statements)

    @property
    def holds(self) -> bool:
        """Whether sums were fixed."""
        return bool((self.statements["mode"] == "fixed").any())


def read_stored_run(store: Store, run_id: str) -> StoredRun:
    """Everything of a run but its draws; RequestError when there is none of that id."""
    row = find_run(store, run_id)
    components = read_components(store, run_id)
    return StoredRun(
        run_id=run_id,
        cycle=row["cycle"],
        known_by=row["known_by"],
        horizon=int(row["horizon"]),
        seed=int(row["seed"]),
        n_draws=int(row["draws"]),
        settings=json.loads(row["settings"]),
        hierarchy=hierarchy_of(components),
        components=components,
        statements=read_statements(store, [run_id]),
    )


def rebuilt_draws(store: Store, run: StoredRun) -> np.ndarray:
    """Statistical draws (S, B, H) of the items of a run."""
    hierarchy, draws = rebuild_draws(
        run.components,
        read_residual_paths(store, run.run_id),
        seed=run.seed,
        draws=run.n_draws,
        clinic=_of_clinic(store, run),
    )
    return draws[:, len(hierarchy.aggregates) :]


def _of_clinic(store: Store, run: StoredRun) -> tuple[Sequence[str], np.ndarray] | None:
    """Items of the clinic and their draws, from what had been learned and was known by then."""
    if run.components.filter(pl.col("kind") == CLINIC).is_empty():
        return None
    from sopforecast.clinical.clinic import forecast_clinic
    from sopforecast.clinical.learned import relearn

    tables = admitted_inputs(store, known_by=run.known_by)
    inputs, _ = read_clinic(store, tables, cycle=run.cycle, known_by=run.known_by)
    seen = tables["history"].filter(
        ~pl.col("partial"), pl.col("ds") < run.cycle, pl.col("y").is_not_null()
    )
    asked = run.settings["clinical"]
    parameters = read_clinical(store, "clinical_parameters", run.run_id)
    clinic = forecast_clinic(
        inputs,
        horizon=run.horizon,
        paths=int(asked["paths"]),
        draws=run.n_draws,
        seed=run.seed,
        method=asked["sampler"],
        history_items=seen["unique_id"].unique().to_list(),
        learned=relearn(parameters, inputs, method=asked["sampler"]),
    )
    return clinic.items, clinic.draws
