"""Through the store and back: draws rebuilt from rows have the bytes of the run that wrote them."""

from __future__ import annotations

import io
import json
from datetime import date

import numpy as np
import polars as pl
import pytest

from sopforecast.baseline.components import rebuild_draws
from sopforecast.core.draws import QUANTILES, mean_view, quantile_view
from sopforecast.core.tables import Components, ResidualPaths, Weights
from sopforecast.cycle import run_cycle
from sopforecast.settings import Settings

CYCLE = date(2026, 10, 1)
DRAWS, SEED, HORIZON = 60, 11, 7
LEVELS = ("family", "re=gion", "family/re=gion")


@pytest.fixture(scope="module")
def result(mini_items_csv, mini_history_csv):
    """A cycle of the miniature company: crossed levels, one sparse item, odd column names."""
    ids = {"unique_id": pl.String}
    items = pl.read_csv(io.StringIO(mini_items_csv), schema_overrides=ids)
    history = pl.read_csv(io.StringIO(mini_history_csv), schema_overrides=ids)
    history = history.with_columns((pl.col("ds") + "-01").str.to_date())
    settings = Settings(levels=LEVELS, seed=SEED, horizon=HORIZON, advanced={"draws": DRAWS})
    return run_cycle(history, items.rename({"region": "re=gion"}), cycle=CYCLE, settings=settings)


def _through_parquet(frame, path):
    frame.sample(fraction=1.0, shuffle=True, seed=5).write_parquet(path)
    return pl.read_parquet(path)


@pytest.fixture(scope="module")
def rebuilt(result, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stored")
    components = _through_parquet(result.components, folder / "components.parquet")
    paths = _through_parquet(result.residual_paths, folder / "residual_paths.parquet")
    return rebuild_draws(components, paths, seed=SEED, draws=DRAWS)


def _column(result, label, nodes):
    statistical = result.forecasts.filter(pl.col("stage") == "statistical")
    by_node = {
        node: rows.sort("ds")[label].to_numpy()
        for (node,), rows in statistical.group_by("unique_id")
    }
    return np.stack([by_node[node] for node in nodes])


def test_the_hierarchy_comes_back(result, rebuilt):
    hierarchy, draws = rebuilt
    assert hierarchy.nodes == result.hierarchy.nodes
    assert hierarchy.node_levels == result.hierarchy.node_levels
    np.testing.assert_array_equal(hierarchy.codes, result.hierarchy.codes)
    assert draws.shape == (DRAWS, len(hierarchy.nodes), HORIZON)
    assert "re%3Dgion=EU" in hierarchy.aggregates


def test_every_view_has_the_bytes_of_the_run(result, rebuilt):
    hierarchy, draws = rebuilt
    views = quantile_view(draws)
    for label, _ in QUANTILES:
        assert views[label].tobytes() == _column(result, label, hierarchy.nodes).tobytes()
    assert mean_view(draws).tobytes() == _column(result, "mean", hierarchy.nodes).tobytes()


def test_rebuilt_draws_add_up(rebuilt):
    hierarchy, draws = rebuilt
    bottom = draws[:, len(hierarchy.aggregates) :]
    for a, node in enumerate(hierarchy.aggregates):
        members = hierarchy.descendants(node)
        np.testing.assert_array_equal(draws[:, a], bottom[:, members].sum(axis=1))


def test_another_seed_rebuilds_other_draws(result, rebuilt):
    other = rebuild_draws(result.components, result.residual_paths, seed=SEED + 1, draws=DRAWS)[1]
    assert other.tobytes() != rebuilt[1].tobytes()


def test_rows_are_those_of_the_declared_tables(result):
    run = pl.lit("r1").alias("run_id")
    Components.validate(result.components.with_columns(run), cast=True)
    ResidualPaths.validate(result.residual_paths.with_columns(run), cast=True)
    Weights.validate(result.weights.with_columns(run), cast=True)


def test_weights_of_a_segment_add_to_one_and_leave_out_what_got_none(result):
    shares = result.weights.group_by("segment").agg(pl.col("weight").sum())
    np.testing.assert_allclose(shares["weight"], 1.0)
    assert (result.weights["weight"] > 0).all()
    assert {"aggregate", "sparse"} <= set(shares["segment"])


def test_arrays_are_little_endian_float64(result):
    row = result.components.filter(pl.col("unique_id") == "0003").row(0, named=True)
    centre = np.frombuffer(row["centre"], dtype="<f8")
    assert centre.shape == (HORIZON,)
    assert (centre > 0).all()
    assert np.frombuffer(row["loadings"], dtype="<f8").shape == (5,)
    assert json.loads(row["groups"]) == [
        "total",
        "family=Oncology",
        "re%3Dgion=US",
        "family=Oncology/re%3Dgion=US",
    ]
    path = result.residual_paths.row(0, named=True)["path"]
    assert len(path) == 8 * HORIZON


def test_a_run_without_any_common_path_is_rebuilt_too(result):
    own = result.residual_paths.filter(pl.col("part").str.starts_with("own:"))
    hierarchy, draws = rebuild_draws(result.components, own, seed=SEED, draws=DRAWS)
    assert np.isfinite(draws).all()
    assert hierarchy.nodes == result.hierarchy.nodes
