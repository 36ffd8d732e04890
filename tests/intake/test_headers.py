"""Which header is which column."""

from __future__ import annotations

from datetime import date

import polars as pl

from sopforecast.intake.cells import Cells, Sheet
from sopforecast.intake.headers import Layout, Matched, match_headers, plain_name

ROWS = pl.Series([2], dtype=pl.Int64)


def match(headers: str, **layout: object) -> Matched:
    columns = tuple(Cells("h.csv", header, ROWS, pl.Series(["1"])) for header in headers.split(","))
    wanted = {
        "table": "history",
        "columns": ("unique_id", "ds", "y", "note"),
        "required": ("unique_id", "ds", "y"),
        "mapping": {},
        "has_months_across": True,
    } | layout
    return match_headers(Sheet("h.csv", 1, ROWS, columns), Layout(**wanted))


def found(matched: Matched) -> dict[str, list[str]]:
    return {name: [cells.name for cells in parts] for name, parts in matched.found.items()}


def test_headers_are_compared_without_case_blanks_and_hyphens() -> None:
    assert {plain_name(name) for name in ("Unique ID", "unique-id", " UNIQUE_ID ")} == {"unique_id"}
    assert found(match("Unique ID,DS,y")) == {"unique_id": ["Unique ID"], "ds": ["DS"], "y": ["y"]}


def test_mapped_headers_win_and_own_names_serve_where_they_are_missing() -> None:
    mapping = {"unique_id": ["SKU", "Site"], "y": "Qty"}
    matched = match("sku,site,ds,qty", mapping=mapping)
    assert found(matched) == {"unique_id": ["sku", "site"], "ds": ["ds"], "y": ["qty"]}
    assert found(match("unique_id,ds,y", mapping=mapping))["unique_id"] == ["unique_id"]


def test_foreign_columns_are_left_unread_only_under_a_mapping_in_use() -> None:
    mapped = match("sku,ds,y,plant", mapping={"unique_id": "sku"}, keeps_foreign=True)
    assert mapped.problems == ()
    assert "plant" in mapped.notes[0]
    unused = match("unique_id,ds,y,plant", mapping={"unique_id": "sku"}, keeps_foreign=True)
    assert [problem.column for problem in unused.problems] == ["plant"]


def test_months_stand_across_only_without_ds_and_y() -> None:
    matched = match("unique_id,Jan-25,2025-02")
    assert [month for month, _ in matched.months] == [date(2025, 1, 1), date(2025, 2, 1)]
    assert matched.problems == ()
    assert match("unique_id,ds,y,Jan-25").months == ()


def test_a_missing_column_and_its_likely_stand_in_are_one_problem() -> None:
    (problem,) = match("unique_id,Period,y").problems
    assert (problem.column, "rename 'Period' to 'ds'" in str(problem)) == ("ds", True)


def test_columns_may_be_replaced_by_others_together() -> None:
    layout = {
        "columns": ("unique_id", "ds", "y", "shipped", "backlog"),
        "replaced_by": {"y": ("shipped", "backlog")},
    }
    assert match("unique_id,ds,shipped,backlog", **layout).problems == ()
    (problem,) = match("unique_id,ds,shipped", **layout).problems
    assert "(or 'shipped' and 'backlog')" in problem.allowed


def test_columns_that_belong_elsewhere_are_noted() -> None:
    matched = match("unique_id,ds,y,Family", ignored=("family",))
    assert matched.problems == ()
    assert matched.notes == ("not read here, they belong elsewhere: Family",)
