"""The two arms of a contest: a stored run's ranges under both procedures of one table.

All else is as in the run, the seeds too, so that a difference is of the table alone. The arm that
the run itself used is read from its rebuilt draws; only the other one is made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import polars as pl

from sopforecast.baseline.components import CLINIC, rebuild_draws
from sopforecast.baseline.widths import with_widths
from sopforecast.core.draws import QUANTILES, quantile_view
from sopforecast.core.hierarchy import Hierarchy
from sopforecast.core.learning_tables import Learned
from sopforecast.core.months import add_months
from sopforecast.errors import SopforecastError
from sopforecast.judgement.rebuild import RunDraws, conditioned, with_credibility
from sopforecast.planning_store.runs import read_residual_paths
from sopforecast.planning_store.store import Store
from sopforecast.workflow.champions import Champions
from sopforecast.workflow.shelf import Shelf
from sopforecast.workflow.stored_run import StoredRun

GATE_LEADS = 3
WIDTH_LEADS = 12  # widths are learned of all leads, and far ones are where they differ most
CONSENSUS = "consensus"

Rerun = Callable[[str, Learned], tuple[Hierarchy, np.ndarray]]
"""A run id and what to learn from instead, to hierarchy and statistical draws (S, B, H)."""


@dataclass(frozen=True, eq=False)
class Ran:
    """A run that counts, what it used of what was learned, and where it is rebuilt."""

    store: Store
    shelf: Shelf
    stored: StoredRun
    used: Champions

    @property
    def run_id(self) -> str:
        """Of the run."""
        return self.stored.run_id


@dataclass(frozen=True, eq=False)
class Arms:
    """Both procedures of a table, for the first L leads of one run: 12 of widths, 3 of others.

    Attributes
    ----------
    cold, other : ndarray (Q, N, L)
        Quantiles of ``QUANTILES`` of every node, aggregates first.
    counts : ndarray of bool (N, L)
        Cells that the table may change.
    """

    cold: np.ndarray
    other: np.ndarray
    counts: np.ndarray


def width_arms(ran: Ran, fit_id: str, widths: pl.DataFrame, rerun: Rerun) -> Arms:
    """Statistical ranges with the loadings as calibrated, and with the learned factors on them."""
    del rerun  # nothing but loadings changes

    def made(wanted: pl.DataFrame | None) -> np.ndarray:
        return _first_views(_with_widths(ran, wanted), ran.stored.hierarchy, WIDTH_LEADS)

    return _statistical_arms(ran, "widths", fit_id, widths, made, WIDTH_LEADS)


def weight_arms(ran: Ran, fit_id: str, weights: pl.DataFrame, rerun: Rerun) -> Arms:
    """Statistical ranges with the backtest's weights, and with the learned ones.

    Raises
    ------
    SopforecastError
        ``rerun`` forecasts other nodes than the run did.
    """
    hierarchy = ran.stored.hierarchy

    def made(wanted: pl.DataFrame | None) -> np.ndarray:
        again, draws = rerun(ran.run_id, replace(ran.used.learned, weights=wanted))
        if again.nodes != hierarchy.nodes:
            raise SopforecastError(
                f"run {ran.run_id} made again has {len(again.nodes):,} nodes and not the "
                f"{len(hierarchy.nodes):,} it had; nothing was compared. Its rows admitted must "
                "be those it was made from"
            )
        return _first_views(draws, again, GATE_LEADS)

    return _statistical_arms(ran, "weights", fit_id, weights, made, GATE_LEADS)


def credibility_arms(ran: Ran, fit_id: str, credibility: pl.DataFrame, rerun: Rerun) -> Arms | None:
    """Consensus ranges with everybody at the prior, and with the learned credibility.

    Only what a statement moves, under one of them or both, counts: items and the sums above them.
    None where nobody spoke of these months, or all who did count alike under both.
    """
    del fit_id, rerun
    stored = ran.stored
    evidence = stored.statements.filter(pl.col("mode") == "evidence")
    if evidence.filter(pl.col("ds_from") < add_months(stored.cycle, GATE_LEADS)).is_empty():
        return None
    min_closed = int(stored.settings["advanced"]["min_closed"])
    weigh = partial(with_credibility, min_closed=min_closed)
    if weigh(evidence, None).equals(weigh(evidence, credibility)):
        return None
    before = ran.shelf.draws(ran.run_id)[:, :, :GATE_LEADS]
    views, moved = [], np.zeros(before.shape[1:], dtype=bool)
    for rows in (None, credibility):
        draws = _consensus(ran, evidence, partial(weigh, credibility=rows))
        moved |= (draws != before).any(axis=0)
        views.append(_first_views(draws, stored.hierarchy, GATE_LEADS))
    above = stored.hierarchy.aggregate(moved.astype(np.float64)) > 0
    return Arms(views[0], views[1], np.concatenate([above, moved]))


def _statistical_arms(
    ran: Ran,
    table: str,
    fit_id: str,
    learned: pl.DataFrame,
    made: Callable[[pl.DataFrame | None], np.ndarray],
    leads: int,
) -> Arms:
    views = []
    for fit, rows in ((None, None), (fit_id, learned)):
        if fit == ran.used.fits[table]:
            views.append(_first_views(ran.shelf.draws(ran.run_id), ran.stored.hierarchy, leads))
        else:
            views.append(made(rows))
    return Arms(views[0], views[1], np.ones(views[0].shape[1:], dtype=bool))


def _with_widths(ran: Ran, wanted: pl.DataFrame | None) -> np.ndarray:
    """Statistical draws (S, B, H) of the items under other widths; the clinic's stay."""
    stored, before = ran.stored, ran.shelf.draws(ran.run_id)
    components = with_widths(stored.components, used=ran.used.learned.widths, wanted=wanted)
    names = components.filter(pl.col("kind") == CLINIC).sort("unique_id")["unique_id"].to_list()
    place = {item: k for k, item in enumerate(stored.hierarchy.items)}
    hierarchy, nodes = rebuild_draws(
        components,
        read_residual_paths(ran.store, ran.run_id),
        seed=stored.seed,
        draws=stored.n_draws,
        clinic=(names, before[:, [place[item] for item in names]]) if names else None,
    )
    return nodes[:, len(hierarchy.aggregates) :]


def _consensus(
    ran: Ran, evidence: pl.DataFrame, weigh: Callable[[pl.DataFrame], pl.DataFrame]
) -> np.ndarray:
    """Draws (S, B, L) of the items when all evidence counts with this credibility."""
    stored = ran.stored
    if weigh(evidence).equals(evidence):
        return ran.shelf.stage_draws(ran.run_id, CONSENSUS)[:, :, :GATE_LEADS]
    before = ran.shelf.draws(ran.run_id)
    run = RunDraws(before, stored.hierarchy, stored.steps, stored.seed, stored.cycle)
    items, draws = conditioned(run, weigh(stored.statements))
    first = before[:, :, :GATE_LEADS].copy()
    first[:, items] = draws[:, :, :GATE_LEADS]
    return first


def _first_views(items: np.ndarray, hierarchy: Hierarchy, leads: int) -> np.ndarray:
    """Quantiles (Q, N, L) of all nodes at the first leads, of draws (S, B, H) of the items."""
    first = items[:, :, :leads]
    views = quantile_view(np.concatenate([hierarchy.aggregate(first), first], axis=1))
    return np.stack([views[label] for label, _ in QUANTILES])
