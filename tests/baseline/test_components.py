"""Through the store and back: draws rebuilt from rows have the bytes of the run that wrote them."""

from __future__ import annotations

import io
import json
from datetime import date

import numpy as np
import polars as pl
import pytest

from sopforecast.baseline.components import CLINIC, rebuild_draws, rows_of_clinic
from sopforecast.core.draws import QUANTILES, mean_view, quantile_view
from sopforecast.core.tables import Components, ResidualPaths, Weights
from sopforecast.cycle import run_cycle
from sopforecast.errors import RequestError
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


def test_rows_of_the_clinic_say_where_an_item_stands(result):
    hierarchy = result.hierarchy
    mean = np.array([[1.5, 2.0], [0.1, 1e-300]])
    rows = rows_of_clinic(["0001", "0007"], mean, np.array([1.0, 0.25]), hierarchy)
    Components.validate(rows.with_columns(run_id=pl.lit("r1")), cast=True)
    assert rows.schema == result.components.schema
    for row, item, centre in zip(rows.iter_rows(named=True), ("0001", "0007"), mean, strict=True):
        fitted = result.components.filter(pl.col("unique_id") == item).row(0, named=True)
        assert json.loads(row["groups"]) == json.loads(fitted["groups"])
        assert (row["kind"], row["model"], row["reason"]) == (CLINIC, CLINIC, None)
        np.testing.assert_array_equal(np.frombuffer(row["centre"], dtype="<f8"), centre)
        assert not np.frombuffer(row["spread"], dtype="<f8").any()
        assert len(row["loadings"]) == len(fitted["loadings"])
    assert rows["step"].to_list() == [1.0, 0.25]


def _mixed(result, *, items, keep=()):
    """Components in which some items of the run come from the clinic, and draws for them."""
    hierarchy = result.hierarchy
    rng = np.random.default_rng(4)
    draws = rng.poisson(9.0, (DRAWS, len(items), HORIZON)).astype(float)
    rows = rows_of_clinic(items, draws.mean(axis=0), np.ones(len(items)), hierarchy)
    fitted = result.components.filter(pl.col("unique_id").is_in(keep))
    return pl.concat([fitted, rows]).sample(fraction=1.0, shuffle=True, seed=2), draws


def test_draws_of_the_clinic_stand_among_the_others(result, rebuilt):
    """Items of the miniature company by history, three of them by the clinic instead."""
    items = ["0001", "0004", "0007"]
    keep = [item for item in result.hierarchy.items if item not in items]
    components, draws = _mixed(result, items=items, keep=keep)
    hierarchy, nodes = rebuild_draws(
        components, result.residual_paths, seed=SEED, draws=DRAWS, clinic=(items, draws)
    )
    assert hierarchy.nodes == result.hierarchy.nodes
    bottom = nodes[:, len(hierarchy.aggregates) :]
    for k, item in enumerate(hierarchy.items):
        if item in items:
            np.testing.assert_array_equal(bottom[:, k], draws[:, items.index(item)])
    for a, node in enumerate(hierarchy.aggregates):
        members = hierarchy.descendants(node)
        np.testing.assert_array_equal(nodes[:, a], bottom[:, members].sum(axis=1))
    kept = [hierarchy.items.index(item) for item in keep]
    plain = rebuilt[1][:, len(hierarchy.aggregates) :]
    np.testing.assert_array_equal(bottom[:, kept], plain[:, kept])


def test_a_run_of_the_clinic_alone_is_its_draws(result):
    items = list(result.hierarchy.items)
    components, draws = _mixed(result, items=items)
    hierarchy, nodes = rebuild_draws(
        components, result.residual_paths.clear(), seed=SEED, draws=DRAWS, clinic=(items, draws)
    )
    assert hierarchy.nodes == result.hierarchy.nodes
    np.testing.assert_array_equal(nodes[:, len(hierarchy.aggregates) :], draws)
    np.testing.assert_array_equal(nodes[:, : len(hierarchy.aggregates)], hierarchy.aggregate(draws))


def test_draws_of_the_clinic_must_be_given(result):
    components, draws = _mixed(result, items=["0001", "0004"], keep=["0000"])
    for clinic in (None, (["0001"], draws[:, :1]), (["0004", "0001"], draws)):
        with pytest.raises(RequestError, match="draws of 2 items come from the clinic: give them"):
            rebuild_draws(components, result.residual_paths, seed=SEED, draws=DRAWS, clinic=clinic)


def test_a_clinic_is_not_asked_where_a_run_has_none(result, rebuilt):
    again = rebuild_draws(
        result.components, result.residual_paths, seed=SEED, draws=DRAWS,
        clinic=(["0001"], np.zeros((DRAWS, 1, HORIZON))),
    )[1]  # fmt: skip
    assert again.tobytes() == rebuilt[1].tobytes()
