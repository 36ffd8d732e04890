"""The baseline of a month, in reading order: fit, reconcile, learn ranges.

From cleansed history to what draws are made of. Everything per series runs in chunks through the
executor; what needs the whole portfolio (the global learner, weights, reconciliation, shared
errors) runs in one fixed order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from sopforecast.baseline.backtest import choose_offsets
from sopforecast.baseline.calibrate import calibrate_widths
from sopforecast.baseline.fit import NOTHING_TO_COME, Fitted, Progress, fit_nodes
from sopforecast.baseline.intermittent import learn_dispersion, learn_drift
from sopforecast.baseline.known_paths import KnownPaths
from sopforecast.baseline.models import FALLBACK, Failure
from sopforecast.baseline.panel import Panel, panels_then
from sopforecast.baseline.ranges import Ranges, learn_ranges
from sopforecast.baseline.reconcile import error_variance, reconcile
from sopforecast.baseline.scale import error_scale, noise_features
from sopforecast.baseline.seasonality import SEASON
from sopforecast.baseline.simulate import ItemModel
from sopforecast.baseline.widths import COMMON, OWN, PATHS, lead_factors, width_factors
from sopforecast.core.draws import demand_step, series_rng
from sopforecast.core.executor import Executor
from sopforecast.core.hierarchy import Hierarchy
from sopforecast.core.learning_tables import Learned

AGGREGATE = "aggregate"
SPARSE_AGGREGATE = "aggregate_sparse"
SPARSE_ZERO_SHARE = 0.25
GUESSED_ERROR = 0.2  # of the forecast: the error of a node before any was seen
KINDS = {"sparse": "counts", "dead": "zero"}
NOTHING_LEARNED = Learned()


@dataclass(frozen=True)
class Baseline:
    """What a run knows before drawing.

    Attributes
    ----------
    models : tuple of ItemModel
        In ``hierarchy.items`` order.
    ranges : Ranges
    fitted : Fitted
        Forecasts of every node before they were made to agree, aggregates first.
    reconciled : ndarray (B, O + 1, H)
        Of the items, the end of history first; NaN where an item had no month yet.
    reasons : tuple of (str or None), length B
        Why an item is not forecast by the whole pool of its segment.
    notes : tuple of str
    """

    models: tuple[ItemModel, ...]
    ranges: Ranges
    fitted: Fitted
    reconciled: np.ndarray
    reasons: tuple[str | None, ...]
    notes: tuple[str, ...]


def forecast_baseline(
    panel: Panel,
    hierarchy: Hierarchy,
    segments: Sequence[str],
    *,
    horizon: int,
    seed: int,
    executor: Executor,
    extra_models: Sequence[str] = (),
    launched: pl.DataFrame | None = None,
    learned: Learned = NOTHING_LEARNED,
    known: KnownPaths | None = None,
    on_progress: Progress | None = None,
) -> Baseline:
    """Forecast every node of the panel.

    Parameters
    ----------
    panel : Panel
        Of all nodes, aggregates first (``panel.node_panel``).
    hierarchy : Hierarchy
    segments : sequence of str, length B
        Of the items (``baseline.segment``).
    horizon : int
        H months.
    seed : int
    executor : Executor
    extra_models : sequence of str
        Names in ``models.LOCAL_MODELS`` to put in the pool beside the default ones.
    launched : pl.DataFrame, optional
        The cleansed months that the panel holds: with them the models see history at a past origin
        as it would have been cleansed then; without, as it is cleansed now.
    learned : Learned
        Weights of models by segment, and factors of widths, from closed months.
    known : KnownPaths, optional
        What need not be fitted; see `fit.fit_nodes`.
    on_progress : callable, optional
        Told the name of the stage and the share of it that is done.
    """
    tell = on_progress or (lambda stage, done: None)
    n_aggregates = len(hierarchy.aggregates)
    node_segments = _aggregate_segments(panel.y[:n_aggregates]) + tuple(segments)
    offsets = choose_offsets(panel.n_months[n_aggregates:], panel.last_month)
    past = None
    if launched is not None:
        past = panels_then(launched, hierarchy, offsets, last_month=panel.last_month)
    fitted = fit_nodes(
        panel,
        node_segments,
        offsets=offsets,
        horizon=horizon,
        seed=seed,
        executor=executor,
        extra_models=extra_models,
        past=past,
        learned_weights=learned.weights,
        known=known,
        tell=tell,
    )
    tell("reconcile", 0.0)
    reconciled = _reconcile_origins(fitted, hierarchy, node_segments)
    tell("ranges", 0.0)
    residual = _residuals(reconciled, fitted, hierarchy, segments)
    scale = _scales(panel, residual, fitted, hierarchy)
    ranges = learn_ranges(
        residual,
        scale[:, :-1],
        hierarchy=hierarchy,
        segments=segments,
        offsets=offsets,
        rng=series_rng(seed, "own paths"),
    )
    models = _item_models(panel, reconciled, fitted, hierarchy, segments, ranges, scale[:, -1])
    tell("calibrate", 0.0)
    models = calibrate_widths(
        models,
        ranges.pools,
        residual,
        scale[:, :-1],
        hierarchy,
        widening=ranges.widening,
        independent=ranges.independent,
        seed=seed,
    )
    models = _with_learned_widths(models, learned.widths)
    reasons = _reasons(hierarchy, segments, fitted.fitted[n_aggregates:], fitted.failures)
    notes = ranges.notes
    if not offsets:
        notes += (
            "history is too short for a backtest: models weigh the same and ranges are made up "
            "from recent month-to-month changes",
        )
    return Baseline(models, ranges, fitted, reconciled, reasons, notes)


def _aggregate_segments(y: np.ndarray) -> tuple[str, ...]:
    """Aggregates are a segment of their own, or two: some sums are sparse still."""
    recent = y[:, -2 * SEASON :]
    known = np.maximum(np.isfinite(recent).sum(axis=1), 1)
    zeros = (recent == 0).sum(axis=1) / known
    return tuple(SPARSE_AGGREGATE if share > SPARSE_ZERO_SHARE else AGGREGATE for share in zeros)


def _reconcile_origins(fitted: Fitted, hierarchy: Hierarchy, segments: Sequence[str]) -> np.ndarray:
    """Reconciled item paths at the end and at every past origin (B, O + 1, H); NaN kept."""
    n_aggregates = len(hierarchy.aggregates)
    combined = fitted.combined
    residual = fitted.backtest.actual - combined[:, 1:]
    level = np.nan_to_num(combined[:, 0]).mean(axis=1)
    guess = np.square(GUESSED_ERROR * level)
    variance = error_variance(residual, fallback=guess)
    variance[np.isin(np.asarray(segments), NOTHING_TO_COME)] = 0.0
    reconciled = np.full(combined[n_aggregates:].shape, np.nan)
    for origin in range(combined.shape[1]):
        items = combined[n_aggregates:, origin]
        started = np.isfinite(items).all(axis=1)  # what had not begun takes no part of a gap
        moved = reconcile(
            np.where(started[:, None], items, 0.0),
            combined[:n_aggregates, origin],
            hierarchy,
            item_variance=np.where(started, variance[n_aggregates:], 0.0),
            aggregate_variance=variance[:n_aggregates],
        )
        reconciled[started, origin] = moved[started]
    return reconciled


def _residuals(
    reconciled: np.ndarray, fitted: Fitted, hierarchy: Hierarchy, segments: Sequence[str]
) -> np.ndarray:
    """Actual minus reconciled forecast of the items at past origins (B, O, H)."""
    residual = fitted.backtest.actual[len(hierarchy.aggregates) :] - reconciled[:, 1:]
    residual[np.isin(np.asarray(segments), NOTHING_TO_COME)] = np.nan  # says nothing of the living
    return residual


def _scales(panel: Panel, residual: np.ndarray, fitted: Fitted, hierarchy: Hierarchy) -> np.ndarray:
    """Scale of each item at each past origin and, last, at the end (B, O + 1); positive."""
    y = panel.y[len(hierarchy.aggregates) :]
    scale = error_scale(residual, noise_features(y, (*fitted.backtest.offsets, 0)))
    return np.where(np.isfinite(scale), scale, 1.0)


def _item_models(
    panel: Panel,
    reconciled: np.ndarray,
    fitted: Fitted,
    hierarchy: Hierarchy,
    segments: Sequence[str],
    ranges: Ranges,
    spread: np.ndarray,
) -> tuple[ItemModel, ...]:
    n_aggregates = len(hierarchy.aggregates)
    y = panel.y[n_aggregates:]
    steps = np.array([demand_step(row[np.isfinite(row)]) for row in panel.scored[n_aggregates:]])
    sparse = np.flatnonzero(np.asarray(segments) == "sparse")
    dispersion, drift = np.zeros(len(y)), 0.0
    if sparse.size:
        dispersion[sparse] = learn_dispersion(y[sparse], steps[sparse])
        drift = learn_drift(
            reconciled[sparse, 1:],
            fitted.backtest.actual[n_aggregates + sparse],
            dispersion[sparse],
            steps[sparse],
        )
    horizon = reconciled.shape[2]
    return tuple(
        ItemModel(
            unique_id=item,
            kind=KINDS.get(segments[i], "paths"),
            segment=segments[i],
            groups=tuple(hierarchy.aggregates[a] for a in hierarchy.codes[:, i]),
            centre=np.nan_to_num(reconciled[i, 0]),
            spread=np.full(horizon, spread[i]),
            loadings=ranges.loadings[i],
            step=float(steps[i]),
            dispersion=float(dispersion[i]),
            drift=drift if segments[i] == "sparse" else 0.0,
        )
        for i, item in enumerate(hierarchy.items)
    )


def _with_learned_widths(
    models: Sequence[ItemModel], widths: pl.DataFrame | None
) -> tuple[ItemModel, ...]:
    """Widths of items drawn from paths times what closed months say of them."""
    if widths is None:
        return tuple(models)
    factor = width_factors(widths)
    answer = []
    for model in models:
        if model.kind == PATHS:
            factors = np.full(model.loadings.size, factor.get(COMMON, 1.0))
            factors[-1] = factor.get(OWN + model.segment, 1.0)
            spread = model.spread * lead_factors(factor, model.spread.size)
            model = replace(model, loadings=model.loadings * factors, spread=spread)
        answer.append(model)
    return tuple(answer)


def _reasons(
    hierarchy: Hierarchy,
    segments: Sequence[str],
    fitted: Sequence[str],
    failures: Sequence[Failure],
) -> tuple[str | None, ...]:
    """Why an item is not forecast by the whole pool of its segment; None when it is."""
    by_item: dict[str, list[str]] = defaultdict(list)
    for failure in failures:
        if failure.offset == 0:
            by_item[failure.unique_id].append(f"{failure.model}: {failure.reason}")
    answer: list[str | None] = []
    for item, segment, how in zip(hierarchy.items, segments, fitted, strict=True):
        if segment == "dead":
            answer.append("no demand in the last 24 months: forecast as zero")
        elif how == FALLBACK:
            why = "; ".join(by_item[item]) or "too few months for any model"
            answer.append(f"mean of the last six months ({why})")
        else:
            answer.append("; ".join(by_item[item]) or None)
    return tuple(answer)
