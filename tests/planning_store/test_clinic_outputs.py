"""Enrolment forecasts of one month from several runs, in one query, on both engines."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from sopforecast.planning_store import clinic_outputs
from sopforecast.planning_store.clinic_outputs import read_enrolment_of
from sopforecast.planning_store.runs import read_clinical, save_run
from sopforecast.planning_store.store import Store

DEC, JAN = date(2026, 12, 1), date(2027, 1, 1)


@pytest.mark.parametrize("at_once", [500, 1])
def test_it_is_what_reading_run_by_run_gives(
    store: Store,
    run_parts: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    at_once: int,
) -> None:
    monkeypatch.setattr(clinic_outputs, "RUNS_AT_ONCE", at_once)
    for run_id, cycle in (("a", DEC), ("b", JAN), ("c", DEC)):
        save_run(store, **run_parts(run_id, cycle=cycle, shift=len(run_id)))
    for month in (DEC, JAN, date(2030, 1, 1)):
        whole = pl.concat(
            read_clinical(store, "enrolment_forecasts", run_id) for run_id in ("a", "b")
        )
        wanted = whole.filter(pl.col("ds") == month, pl.col("measure") == "monthly")
        found = read_enrolment_of(store, ["b", "a", "b", "unknown"], month)
        assert_frame_equal(found, wanted)
    assert wanted.is_empty()
    assert read_enrolment_of(store, [], DEC).schema == wanted.schema
