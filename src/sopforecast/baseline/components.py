"""Between what a run knows and its rows in the planning store, both ways.

``components`` and ``residual_paths`` hold all that draws are made of, so that any run's draws are
rebuilt from its seed without refitting a model. Arrays are kept as little-endian float64 bytes:
exact, compact and readable from any language.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import polars as pl

from sopforecast.baseline.forecast import Baseline
from sopforecast.baseline.simulate import ItemModel, Pools, draw_nodes
from sopforecast.core.hierarchy import ITEM, Hierarchy
from sopforecast.errors import RequestError

CLINIC = "clinic"
COMPONENT_COLUMNS = {
    "unique_id": pl.String,
    "kind": pl.String,
    "segment": pl.String,
    "groups": pl.String,
    "model": pl.String,
    "reason": pl.String,
    "step": pl.Float64,
    "dispersion": pl.Float64,
    "drift": pl.Float64,
    "centre": pl.Binary,
    "spread": pl.Binary,
    "loadings": pl.Binary,
}
RESIDUAL_PATH_COLUMNS = {
    "part": pl.String,
    "origin": pl.Int64,
    "donor": pl.String,
    "path": pl.Binary,
}
WEIGHT_COLUMNS = {
    "segment": pl.String,
    "model": pl.String,
    "weight": pl.Float64,
    "cells": pl.Int64,
}
MODEL_ERROR_COLUMNS = {
    "segment": pl.String,
    "model": pl.String,
    "relative_error": pl.Float64,
    "origins": pl.Int64,
    "series": pl.Int64,
    "cells": pl.Int64,
}


def components_frame(baseline: Baseline) -> pl.DataFrame:
    """``Components`` without ``run_id``: one row an item."""
    n_aggregates = len(baseline.fitted.fitted) - len(baseline.models)
    return pl.DataFrame(
        {
            "unique_id": [m.unique_id for m in baseline.models],
            "kind": pl.Series([m.kind for m in baseline.models], dtype=pl.String),
            "segment": [m.segment for m in baseline.models],
            "groups": [json.dumps(m.groups, ensure_ascii=False) for m in baseline.models],
            "model": list(baseline.fitted.fitted[n_aggregates:]),
            "reason": pl.Series(list(baseline.reasons), dtype=pl.String),
            "step": [m.step for m in baseline.models],
            "dispersion": [m.dispersion for m in baseline.models],
            "drift": [m.drift for m in baseline.models],
            "centre": [_bytes(m.centre) for m in baseline.models],
            "spread": [_bytes(m.spread) for m in baseline.models],
            "loadings": [_bytes(m.loadings) for m in baseline.models],
        }
    )


def residual_paths_frame(baseline: Baseline) -> pl.DataFrame:
    """``ResidualPaths`` without ``run_id``."""
    pools = (*baseline.ranges.common, *baseline.ranges.own.values())
    return pl.DataFrame(
        {
            "part": [pool.part for pool in pools for _ in pool.donors],
            "origin": [int(origin) for pool in pools for origin in pool.origins],
            "donor": [donor for pool in pools for donor in pool.donors],
            "path": [_bytes(path) for pool in pools for path in pool.paths],
        },
        schema=RESIDUAL_PATH_COLUMNS,
    )


def weights_frame(baseline: Baseline) -> pl.DataFrame:
    """``Weights`` without ``run_id``: models that got something, by segment."""
    names = baseline.fitted.backtest.models
    rows = [
        (segment, model, float(learned.weights[k]), learned.cells)
        for segment, learned in sorted(baseline.fitted.weights.items())
        for k, model in enumerate(names)
        if learned.weights[k] > 0
    ]
    return pl.DataFrame(rows, schema=WEIGHT_COLUMNS, orient="row")


def model_errors_frame(baseline: Baseline) -> pl.DataFrame:
    """Error of each model at past origins over that of its segment's best; `MODEL_ERROR_COLUMNS`.

    No row of a model without errors. ``origins``, ``series`` and ``cells`` are the segment's.
    """
    names = baseline.fitted.backtest.models
    rows = [
        (segment, model, float(found.relative_error[k]), found.origins, found.series, found.cells)
        for segment, found in sorted(baseline.fitted.weights.items())
        for k, model in enumerate(names)
        if np.isfinite(found.relative_error[k])
    ]
    return pl.DataFrame(rows, schema=MODEL_ERROR_COLUMNS, orient="row")


def rows_of_clinic(
    items: Sequence[str], mean: np.ndarray, steps: np.ndarray, hierarchy: Hierarchy
) -> pl.DataFrame:
    """``Components`` rows of items whose paths come from the clinic: where they stand, no model.

    Their draws are made again from ``ClinicalParameters`` and the inputs of the run, not from here;
    ``centre`` (from ``mean``, (b, H)) is for a reader.
    """
    place = {item: k for k, item in enumerate(hierarchy.items)}
    rows = [
        {
            "unique_id": item,
            "kind": CLINIC,
            "segment": CLINIC,
            "groups": json.dumps(
                [hierarchy.aggregates[code] for code in hierarchy.codes[:, place[item]]],
                ensure_ascii=False,
            ),
            "model": CLINIC,
            "reason": None,
            "step": float(steps[k]),
            "dispersion": 0.0,
            "drift": 0.0,
            "centre": _bytes(mean[k]),
            "spread": _bytes(np.zeros_like(mean[k])),
            "loadings": _bytes(np.zeros(len(hierarchy.codes) + 1)),
        }
        for k, item in enumerate(items)
    ]
    return pl.DataFrame(rows, schema=COMPONENT_COLUMNS)


def hierarchy_of(components: pl.DataFrame) -> Hierarchy:
    """The hierarchy of a stored run, from its ``Components`` in any order."""
    rows = components.sort("unique_id").iter_rows(named=True)
    return _hierarchy_of([_item_model(row) for row in rows])


def rebuild_draws(
    components: pl.DataFrame,
    residual_paths: pl.DataFrame,
    *,
    seed: int,
    draws: int,
    clinic: tuple[Sequence[str], np.ndarray] | None = None,
) -> tuple[Hierarchy, np.ndarray]:
    """Draws of every node of a stored run, the same bytes as when it was made; no model is fitted.

    Parameters
    ----------
    components, residual_paths : pl.DataFrame
        Of one run, in any order.
    seed, draws : int
        Of the run.

    clinic : (items, draws), optional
        Items whose demand comes from the clinic, and their draws (S, b, H), as
        ``clinical.clinic.forecast_clinic`` makes them from stored parameters.

    Returns
    -------
    hierarchy : Hierarchy
    draws : ndarray (S, N, H)
        Aggregates first, in ``hierarchy.nodes`` order.

    Raises
    ------
    RequestError
        When the run has items of the clinic and their draws are not given.
    """
    of_clinic = components.filter(pl.col("kind") == CLINIC).sort("unique_id")
    asked = tuple(of_clinic["unique_id"])
    if asked and (clinic is None or tuple(clinic[0]) != asked):
        raise RequestError(
            f"the draws of {len(asked)} items come from the clinic: give them as clinic=(items, "
            "draws), from clinical.learned.relearn and clinical.clinic.forecast_clinic"
        )
    fitted = components.filter(pl.col("kind") != CLINIC)
    models = [_item_model(row) for row in fitted.sort("unique_id").iter_rows(named=True)]
    if clinic is not None and asked:
        return _with_clinic(components, models, residual_paths, clinic, seed=seed, draws=draws)
    hierarchy = _hierarchy_of(models)
    pools = _pools_of(residual_paths, hierarchy, horizon=models[0].centre.size)
    return hierarchy, draw_nodes(models, pools, hierarchy, seed=seed, draws=draws)


def _with_clinic(
    components: pl.DataFrame,
    models: Sequence[ItemModel],
    residual_paths: pl.DataFrame,
    clinic: tuple[Sequence[str], np.ndarray],
    *,
    seed: int,
    draws: int,
) -> tuple[Hierarchy, np.ndarray]:
    """Draws of all nodes, those of the clinic's items put among the others."""
    items, paths = clinic
    stand = [_item_model(row) for row in components.sort("unique_id").iter_rows(named=True)]
    whole = _hierarchy_of(stand)
    place = {item: k for k, item in enumerate(whole.items)}
    bottom = np.empty((draws, len(whole.items), paths.shape[2]))
    bottom[:, [place[item] for item in items]] = paths
    if models:
        own = _hierarchy_of(models)
        pools = _pools_of(residual_paths, own, horizon=paths.shape[2])
        fitted = draw_nodes(models, pools, own, seed=seed, draws=draws)
        bottom[:, [place[item] for item in own.items]] = fitted[:, len(own.aggregates) :]
    return whole, np.concatenate([whole.aggregate(bottom), bottom], axis=1)


def _bytes(values: np.ndarray) -> bytes:
    return np.ascontiguousarray(values, dtype="<f8").tobytes()


def _array(blob: bytes) -> np.ndarray:
    return np.frombuffer(blob, dtype="<f8").astype(np.float64)


def _item_model(row: dict[str, object]) -> ItemModel:
    names = ("unique_id", "kind", "segment", "step", "dispersion", "drift")
    plain = {name: row[name] for name in names}
    arrays = {name: _array(row[name]) for name in ("centre", "spread", "loadings")}  # type: ignore[arg-type]
    groups = tuple(json.loads(str(row["groups"])))
    return ItemModel(groups=groups, **plain, **arrays)  # type: ignore[arg-type]


def _hierarchy_of(models: Sequence[ItemModel]) -> Hierarchy:
    """The hierarchy as it was when the run was made, from the groups kept with every item."""
    labels = [_level_of(group) for group in models[0].groups]
    aggregates: list[str] = []
    of_level: list[str] = []
    codes = []
    for level, label in enumerate(labels):
        groups = [model.groups[level] for model in models]
        names = sorted(set(groups))
        position = {name: len(aggregates) + k for k, name in enumerate(names)}
        codes.append([position[group] for group in groups])
        aggregates += names
        of_level += [label] * len(names)
    return Hierarchy(
        tuple(model.unique_id for model in models),
        tuple(aggregates),
        tuple(of_level),
        np.array(codes, dtype=np.int64),
    )


def _level_of(aggregate: str) -> str:
    """Its level label: of ``family=Oncology/region=EU`` it is ``family/region``."""
    return "/".join(part.partition("=")[0] for part in aggregate.split("/"))


def _pools_of(residual_paths: pl.DataFrame, hierarchy: Hierarchy, *, horizon: int) -> Pools:
    by_part: dict[str, np.ndarray] = {}
    ordered = residual_paths.sort("part", "origin", "donor")
    for (part,), rows in ordered.group_by("part", maintain_order=True):
        by_part[str(part)] = np.stack([_array(blob) for blob in rows["path"]])
    nothing = np.empty((0, horizon))
    common = tuple(
        by_part.get(f"common:{label}", nothing) for label in hierarchy.level_labels if label != ITEM
    )
    own = {part[4:]: paths for part, paths in by_part.items() if part.startswith("own:")}
    return Pools(common, own)
