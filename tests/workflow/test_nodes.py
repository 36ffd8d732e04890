"""Levels and units of nodes from the components of a run, by hand."""

from __future__ import annotations

import json

import polars as pl

from sopforecast.workflow.nodes import MIXED_UNITS, members, node_levels, node_units

COMPONENTS = pl.DataFrame(
    {
        "unique_id": ["b", "a"],
        "groups": [
            json.dumps(["total", "family=F", "family=F/region=R%2F1"]),
            json.dumps(["total", "family=F", "family=F/region=S"]),
        ],
    }
)
LEVELS = ("family", "family/region")


def test_levels_stand_in_the_order_of_the_page() -> None:
    assert list(node_levels(members(COMPONENTS, levels=LEVELS)).items()) == [
        ("total", "total"),
        ("family=F", "family"),
        ("family=F/region=R%2F1", "family/region"),
        ("family=F/region=S", "family/region"),
        ("a", "item"),
        ("b", "item"),
    ]


def test_units_of_sums() -> None:
    items = pl.DataFrame({"unique_id": ["a", "b"], "unit": ["packs", "vials"]})
    units = node_units(items, members(COMPONENTS, levels=LEVELS))
    assert units["total"] == units["family=F"] == MIXED_UNITS
    assert units["family=F/region=S"] == units["a"] == "packs"


def test_no_unit_is_no_unit() -> None:
    items = pl.DataFrame(
        {"unique_id": ["a", "b"], "unit": [None, None]}, schema_overrides={"unit": pl.String}
    )
    assert node_units(items, members(COMPONENTS, levels=LEVELS)) == {}
