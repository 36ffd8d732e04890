"""Cells that teach, beside the factors by which their runs had multiplied their widths."""

from __future__ import annotations

from datetime import date
from typing import cast

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from sopforecast.core.learning_tables import Learned
from sopforecast.planning_store.store import Store
from sopforecast.workflow import closed_cells
from sopforecast.workflow.champions import Champions

STORE = cast(Store, None)  # what runs used is told below
USED = {
    "cold": None,
    "flat": {"common": 1.2, "own:smooth": 0.5},
    "bent": {"common": 1.2, "own:smooth": 0.5, "lead:1-1": 0.8, "lead:2-3": 3.0, "lead:7-12": 9.0},
}


@pytest.fixture(autouse=True)
def used(monkeypatch: pytest.MonkeyPatch) -> None:
    def used_by(store: Store, run_id: str) -> Champions:
        factors = USED[run_id]
        widths = None
        if factors is not None:
            widths = pl.DataFrame({"part": list(factors), "factor": list(factors.values())})
        return Champions(Learned(widths=widths), {}, None)

    monkeypatch.setattr(closed_cells, "used_by", used_by)


def cells() -> pl.DataFrame:
    """Of every run, four months ahead: a total, two segments drawn from paths, and counts."""
    nodes = [
        ("total", "*", "total", "*"),
        ("item", "smooth", "a", "paths"),
        ("item", "rough", "b", "paths"),
        ("item", "smooth", "c", "counts"),  # whose widths nothing multiplies
    ]
    rows = [
        (run_id, date(2026, 4 + lead, 1), lead, *node)
        for lead in (1, 2, 3, 4)
        for run_id in USED
        for node in nodes
    ]
    columns = ["run_id", "ds", "lead", "level", "segment", "unique_id", "kind"]
    return pl.DataFrame(rows, schema=columns, orient="row")


def test_every_cell_has_the_factor_of_its_part_times_that_of_its_lead() -> None:
    found = closed_cells._with_factors(STORE, cells())
    by_hand = {
        ("cold", "total"): [1, 1, 1, 1], ("cold", "a"): [1, 1, 1, 1],
        ("cold", "b"): [1, 1, 1, 1], ("cold", "c"): [1, 1, 1, 1],
        ("flat", "total"): [1.2] * 4, ("flat", "a"): [0.5] * 4,
        ("flat", "b"): [1, 1, 1, 1], ("flat", "c"): [1, 1, 1, 1],
        ("bent", "total"): [0.96, 3.6, 3.6, 1.2], ("bent", "a"): [0.4, 1.5, 1.5, 0.5],
        ("bent", "b"): [0.8, 3, 3, 1], ("bent", "c"): [1, 1, 1, 1],
    }  # fmt: skip
    told = found.sort("lead").group_by("run_id", "unique_id").agg("factor")
    for run_id, node, factors in told.iter_rows():
        assert factors == pytest.approx(by_hand[run_id, node], rel=1e-15)
    assert told.height == len(by_hand)
    key = ["run_id", "lead", "unique_id"]
    assert_frame_equal(found.drop("factor").sort(key), cells().sort(key))


def test_a_factor_does_not_depend_on_what_stands_beside_it() -> None:
    """One lead at a time, and a longest lead that is not there, as of a month of one cycle."""
    key = ["run_id", "lead", "unique_id"]
    apart = [
        closed_cells._with_factors(STORE, cells().filter(pl.col("lead") == lead))
        for lead in (4, 2, 3, 1)
    ]
    whole = closed_cells._with_factors(STORE, cells())
    assert_frame_equal(pl.concat(apart).sort(key), whole.sort(key), check_exact=True)
    assert closed_cells._with_factors(STORE, cells().clear()).is_empty()
