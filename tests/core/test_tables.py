"""What each table accepts: generated rows pass, broken rules and keys are named."""

from __future__ import annotations

from datetime import date

import dataframely as dy
import polars as pl
import pytest

from sopforecast.core import tables
from sopforecast.core.tables import (
    Components,
    Forecasts,
    History,
    Items,
    Published,
    ResidualPaths,
    Runs,
    Weights,
)

ALL = [Items, History, Runs, Published, Forecasts, Components, ResidualPaths, Weights]
MONTH = date(2026, 12, 1)
QUANTILES = dict(zip(tables.QUANTILE_COLUMNS, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], strict=True))
FORECAST = {
    "run_id": "r",
    "cycle": MONTH,
    "stage": "statistical",
    "unique_id": "total",
    "ds": MONTH,
    "lead": 1,
    "plan": 4.0,
    "mean": 4.2,
    **QUANTILES,
}
HISTORY = {
    "unique_id": "a",
    "ds": MONTH,
    "y": 1.0,
    "shipped": None,
    "backlog": None,
    "stockout_days": None,
    "one_off": None,
    "note": None,
    "partial": False,
}


def test_every_schema_of_the_module_is_tested() -> None:
    declared = {
        value
        for value in vars(tables).values()
        if isinstance(value, type) and issubclass(value, dy.Schema) and value is not dy.Schema
    }
    assert declared == set(ALL)


def _sample(schema: type[dy.Schema], rows: int) -> pl.DataFrame:
    """Random valid rows; quantiles in order, which chance alone would take minutes to find."""
    if schema is not Forecasts:
        return schema.sample(rows)
    ordered = {label: [float(k)] * rows for k, label in enumerate(tables.QUANTILE_COLUMNS)}
    return schema.sample(rows, overrides=ordered)


@pytest.mark.parametrize("schema", ALL, ids=lambda schema: schema.__name__)
def test_generated_rows_pass(schema: type[dy.Schema]) -> None:
    sample = _sample(schema, 5)
    assert sample.height == 5
    assert schema.is_valid(sample)
    assert not sample.select(schema.primary_key()).is_duplicated().any()


@pytest.mark.parametrize(
    ("schema", "key"),
    [
        (Items, ["unique_id"]),
        (History, ["unique_id", "ds"]),
        (Runs, ["run_id"]),
        (Published, ["cycle", "version"]),
        (Forecasts, ["run_id", "stage", "unique_id", "ds"]),
        (Components, ["run_id", "unique_id"]),
        (ResidualPaths, ["run_id", "part", "origin", "donor"]),
        (Weights, ["run_id", "segment", "model"]),
    ],
)
def test_keys(schema: type[dy.Schema], key: list[str]) -> None:
    assert schema.primary_key() == key
    twice = pl.concat([_sample(schema, 1)] * 2)
    assert _broken(schema, twice) == {"primary_key"}


def _broken(schema: type[dy.Schema], frame: pl.DataFrame) -> set[str]:
    """Names of the rules that some row breaks, without the column they stand on."""
    _, failure = schema.filter(frame)
    return {rule.split("|")[-1] for rule in failure.counts()}


def _row(schema: type[dy.Schema], row: dict[str, object]) -> pl.DataFrame:
    return pl.DataFrame([row], schema=schema.create_empty().schema)


def test_the_written_rows_are_right() -> None:
    assert _broken(Forecasts, _row(Forecasts, FORECAST)) == set()
    assert _broken(History, _row(History, HISTORY)) == set()


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"p25": 1.5}, "quantiles_do_not_cross"),
        ({"p95": 0.0}, "quantiles_do_not_cross"),
        ({"plan": -1.0}, "min"),
        ({"lead": 0}, "min"),
        ({"ds": date(2026, 12, 2)}, "resolution"),
        ({"mean": None}, "nullability"),
    ],
)
def test_wrong_forecasts(change: dict[str, object], rule: str) -> None:
    assert _broken(Forecasts, _row(Forecasts, FORECAST | change)) == {rule}


def test_a_stage_may_keep_some_quantiles() -> None:
    source = FORECAST | {"p05": None, "p25": None, "p75": None, "p95": None}
    assert _broken(Forecasts, _row(Forecasts, source)) == set()


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"y": float("inf")}, "inf"),
        ({"y": float("nan")}, "nan"),
        ({"stockout_days": 32.0}, "max"),
        ({"stockout_days": -1.0}, "min"),
        ({"ds": date(2026, 12, 31)}, "resolution"),
        ({"unique_id": ""}, "min_length"),
        ({"unique_id": "x" * 201}, "max_length"),
        ({"partial": None}, "nullability"),
    ],
)
def test_wrong_history(change: dict[str, object], rule: str) -> None:
    assert _broken(History, _row(History, HISTORY | change)) == {rule}


def test_unknown_demand_is_a_null() -> None:
    assert _broken(History, _row(History, HISTORY | {"y": None})) == set()


@pytest.mark.parametrize(
    ("launch", "end", "broken"),
    [
        (MONTH, MONTH, set()),
        (MONTH, None, set()),
        (MONTH, date(2026, 11, 1), {"launch_before_end"}),
    ],
)
def test_an_item_ends_after_its_launch(launch: date, end: date | None, broken: set[str]) -> None:
    item = dict.fromkeys(Items.column_names()) | {"unique_id": "a", "status": "active"}
    assert _broken(Items, _row(Items, item | {"launch_ds": launch, "end_ds": end})) == broken
    assert _broken(Items, _row(Items, item | {"plan_factor": 0.0})) == {"min_exclusive"}
