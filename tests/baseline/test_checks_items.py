"""Each check of master data on a case worked by hand: the rows it returns and what it says."""

from datetime import date

import polars as pl

from sopforecast.baseline.checks import run_checks
from sopforecast.core.months import add_months, month_range

START = date(2025, 1, 1)
LAST = date(2025, 12, 1)


def demand_of(item, values, *, first=START):
    return pl.DataFrame(
        {
            "unique_id": [item] * len(values),
            "ds": month_range(first, len(values)),
            "y": pl.Series(values, dtype=pl.Float64, strict=False),
        }
    )


def items_of(**columns):
    dates = {name: pl.Date for name in ("launch_ds", "end_ds") if name in columns}
    return pl.DataFrame(columns, schema_overrides=dates)


def found_by(name, *frames, items, **options):
    results = run_checks(pl.concat(frames), items, last_month=LAST, **options)
    return next(result for result in results if result.check == name)


def test_demand_without_a_row_in_items():
    frames = [demand_of(item, [1, 2, None]) for item in ("A", "B", "C", "D", "E")]
    found = found_by("items_missing", *frames, items=items_of(unique_id=["C"]))
    assert found.rows.row(0) == ("A", START, date(2025, 2, 1), 2, 3.0)
    assert found.rows["unique_id"].to_list() == ["A", "B", "D", "E"]
    assert found.sentence.startswith("4 items have demand but no row in items (A, B, D and 1 more)")


def test_items_without_demand():
    items = items_of(
        unique_id=["D", "A", "B", "C"],
        status=[None, "active", "discontinued", "launch"],
        launch_ds=[None, None, None, LAST],
    )
    found = found_by("items_without_history", demand_of("A", [1]), items=items)
    assert found.rows.rows() == [("C", "launch", LAST), ("D", "active", None)]
    assert found.sentence.startswith("2 items have no demand on record")
    assert "1 of them launches" in found.sentence


def test_demand_after_the_end():
    items = items_of(
        unique_id=["A", "B", "C"],
        status=["discontinued", "phase_out", "discontinued"],
        end_ds=[None, date(2025, 11, 1), None],
    )
    twelve = [1.0] * 12
    found = found_by(
        "items_discontinued_with_demand",
        demand_of("A", twelve),
        demand_of("B", twelve),
        demand_of("C", [1.0] * 9 + [0.0] * 3),
        items=items,
    )
    assert found.rows.select("unique_id", "ds").rows() == [
        ("A", date(2025, 10, 1)),
        ("A", date(2025, 11, 1)),
        ("A", date(2025, 12, 1)),
        ("B", date(2025, 12, 1)),
    ]
    assert found.sentence.startswith("2 items have demand after the end set in items (4 months")


def test_demand_before_the_launch():
    items = items_of(unique_id=["A", "B", "C"], launch_ds=[date(2025, 3, 1)] * 2 + [None])
    found = found_by(
        "items_launch_after_first_sale",
        demand_of("A", [0, 4, 4]),
        demand_of("B", [0, 0, 4]),
        demand_of("C", [4]),
        items=items,
    )
    assert found.rows.rows() == [("A", date(2025, 2, 1), date(2025, 3, 1))]
    assert found.sentence.startswith("1 item has demand before the launch_ds")


def test_items_outside_the_hierarchy():
    items = items_of(unique_id=["A", "B"], family=["Oncology", " "], region=["EU", None])
    frames = [demand_of("A", [1]), demand_of("C", [1])]
    levels = ["family", "family/region"]
    found = found_by("hierarchy_orphan", *frames, items=items, levels=levels)
    assert found.status == "error"
    assert found.rows.rows() == [
        ("B", "family", "empty cell"),
        ("B", "region", "empty cell"),
        ("C", "family", "no row in items"),
        ("C", "region", "no row in items"),
    ]
    assert found.sentence.startswith("2 items have no family, region, which the settings name")
    no_column = found_by("hierarchy_orphan", *frames, items=items, levels=["brand"])
    assert no_column.rows["unique_id"].to_list() == ["A", "B", "C"]


def test_sums_over_different_units():
    items = items_of(
        unique_id=["A", "B", "C", "D", "E"],
        unit=["pack", "vial", "pack ", None, "vial"],
        plan_unit=[None, None, None, None, "pack"],
        plan_factor=[None, None, None, None, 0.1],
        family=["Oncology", "Oncology", "A/B", "A/B", "A/B"],
    )
    found = found_by("unit_mixed", demand_of("A", [1]), items=items, levels=["family"])
    assert found.rows.select("node", "level", "units", "items").rows() == [
        ("total", "total", "pack, vial", 5),
        ("family=Oncology", "family", "pack, vial", 2),
    ]
    assert found.sentence.startswith(
        "2 nodes add up items of different units (total, family=Oncology)"
    )


def test_a_plan_unit_without_a_factor_converts_nothing():
    items = items_of(
        unique_id=["A", "B"],
        unit=["pack", "vial"],
        plan_unit=["dose", "dose"],
        plan_factor=[1.0, None],
    )
    found = found_by("unit_mixed", demand_of("A", [1]), items=items)
    assert found.rows["units"].to_list() == ["dose, vial"]


def test_what_is_in_order_is_not_mentioned():
    items = items_of(
        unique_id=["A"], unit=["pack"], status=["active"], launch_ds=[START], end_ds=[LAST]
    )
    for name in (
        "items_missing",
        "items_without_history",
        "items_discontinued_with_demand",
        "items_launch_after_first_sale",
        "unit_mixed",
    ):
        found = found_by(name, demand_of("A", [1.0] * 12), items=items)
        assert found.status == "ok", found.sentence
    late = demand_of("A", [1.0], first=add_months(LAST, 1))
    assert found_by("items_discontinued_with_demand", late, items=items).status == "skipped"
