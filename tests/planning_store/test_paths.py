"""Paths of models through the store and back, on both engines."""

from __future__ import annotations

import threading
from datetime import date

import numpy as np
import polars as pl
import pytest
import sqlalchemy as sa

from sopforecast.core.learning_tables import ModelPaths
from sopforecast.errors import RequestError
from sopforecast.planning_store import schema
from sopforecast.planning_store.paths import read_paths, save_paths

SEPTEMBER, JUNE = date(2026, 9, 1), date(2026, 6, 1)


def _rows(run_id, origins=(SEPTEMBER, JUNE), models=("DOT", "Boosting"), *, code="c", horizon=2):
    rows = [
        {
            "run_id": run_id,
            "origin": origin,
            "model": model,
            "horizon": horizon,
            "code": code,
            "is_end": origin == SEPTEMBER,
            "names": '["A", "B|ü"]',
            "keys": bytes(range(32)),
            "paths": np.array([0.1 + k, np.nan, -0.0, 1e-300]).tobytes(),
        }
        for k, (origin, model) in enumerate((o, m) for o in origins for m in models)
    ]
    types = {name: column.dtype for name, column in ModelPaths.columns().items()}
    return pl.DataFrame(rows, schema=types)


def test_what_is_saved_is_read_to_the_last_byte(store):
    rows = _rows("r1")
    assert save_paths(store, rows.sample(fraction=1.0, shuffle=True, seed=1)) == 4
    found = read_paths(store, [JUNE, SEPTEMBER], horizon=2, code="c")
    assert found.equals(rows.sort(ModelPaths.primary_key()))
    assert found.schema == rows.schema


def test_only_these_origins_horizon_and_code(store):
    save_paths(store, _rows("r1"))
    save_paths(store, _rows("r2", code="other"))
    save_paths(store, _rows("r3", horizon=3))
    found = read_paths(store, [JUNE, JUNE, date(2020, 1, 1)], horizon=2, code="c")
    assert found.select("run_id", "origin").unique().rows() == [("r1", JUNE)]
    assert read_paths(store, [], horizon=2, code="c").is_empty()
    assert dict(read_paths(store, [], horizon=2, code="c").schema) == dict(found.schema)
    many = [date(1900 + k // 12, k % 12 + 1, 1) for k in range(1600)]
    assert read_paths(store, many, horizon=2, code="c").height == 4


def test_what_is_there_stays_and_the_rest_is_added(store):
    save_paths(store, _rows("r1", origins=[JUNE]))
    again = _rows("r1").with_columns(names=pl.lit('["X", "Y"]'))
    assert save_paths(store, again) == 2
    assert save_paths(store, again) == 0
    found = read_paths(store, [JUNE, SEPTEMBER], horizon=2, code="c")
    names = dict(found.select("origin", "names").unique().iter_rows())
    assert names == {JUNE: '["A", "B|ü"]', SEPTEMBER: '["X", "Y"]'}


def test_two_jobs_writing_the_same_do_not_hinder_each_other(store):
    rows, start, written, failed = _rows("r1"), threading.Barrier(4), [], []

    def write():
        start.wait()
        try:
            written.append(save_paths(store, rows))
        except Exception as err:  # noqa: BLE001 - told below, in the thread of the test
            failed.append(err)

    jobs = [threading.Thread(target=write) for _ in range(4)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert not failed
    assert sorted(written) == [0, 0, 0, 4]


@pytest.mark.parametrize(
    "broken",
    [
        {"horizon": pl.lit(0)},
        {"origin": pl.lit(date(2026, 9, 2))},
        {"code": pl.lit(None, dtype=pl.String)},
    ],
)
def test_rows_that_break_the_rules_are_refused_whole(store, broken):
    with pytest.raises(RequestError, match="model_paths breaks its rules"):
        save_paths(store, _rows("r1").with_columns(**broken))
    with pytest.raises(RequestError, match="model_paths breaks its rules"):
        save_paths(store, _rows("r1").drop("keys"))
    with store.reading() as connection:
        count = connection.scalar(sa.select(sa.func.count()).select_from(schema.model_paths))
    assert count == 0


def test_nothing_to_save_is_no_error(store):
    assert save_paths(store, _rows("r1").clear()) == 0
