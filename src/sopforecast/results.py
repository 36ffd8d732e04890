"""What a run and a close give back: frames as the planning store keeps them, without ``run_id``."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from sopforecast.baseline.checks import Result
from sopforecast.clinical.clinic import Clinic
from sopforecast.core.hierarchy import Hierarchy


@dataclass(frozen=True, eq=False)
class CycleResult:
    """What one cycle produced; frames are as in ``core.tables`` without ``run_id``.

    Attributes
    ----------
    forecasts : pl.DataFrame
        Stages naive and statistical, every node; where somebody spoke also ``source:<name>`` (the
        nodes it moved), consensus and, with fixed statements, approved.
    components, residual_paths, weights : pl.DataFrame
        Enough to rebuild the draws (``baseline.components``).
    hierarchy : Hierarchy
    checks : tuple of Result
    notes : tuple of str
        What a reader of the run must know.
    seconds : dict of str to float
        By stage.
    history_nodes : pl.DataFrame
        unique_id, ds, y of every node as scored.
    backtest : pl.DataFrame
        lead, wmape, bias_percent, coverage80 of the items at past origins.
    model_paths, model_errors : pl.DataFrame
        What every model said, so that nothing is fitted twice, and how far off it was before.
    statements, bridge : pl.DataFrame
        What the overrides said and what it moved; no rows where nobody spoke.
    told : dict of str to tuple of str
        new, carried, changed, expired, in_history, waiting: a sentence an override.
    clinic : Clinic or None
        Trials and tier lines, the items they need, and what was learned of them.
    """

    forecasts: pl.DataFrame
    components: pl.DataFrame
    residual_paths: pl.DataFrame
    weights: pl.DataFrame
    hierarchy: Hierarchy
    checks: tuple[Result, ...]
    notes: tuple[str, ...]
    seconds: dict[str, float]
    history_nodes: pl.DataFrame
    backtest: pl.DataFrame
    model_paths: pl.DataFrame
    model_errors: pl.DataFrame
    statements: pl.DataFrame
    bridge: pl.DataFrame
    told: dict[str, tuple[str, ...]]
    clinic: Clinic | None = None


@dataclass(frozen=True, eq=False)
class CloseResult:
    """What a closed month taught.

    Attributes
    ----------
    observations : pl.DataFrame
        ``Observations``: every statement whose months are over.
    credibility : pl.DataFrame
        ``Credibility`` without ``fit_id``; no rows when nothing has closed yet.
    notes : tuple of str
    """

    observations: pl.DataFrame
    credibility: pl.DataFrame
    notes: tuple[str, ...]
