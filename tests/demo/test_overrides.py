"""What the contributors say in all: reproducible, loadable, and something of every kind."""

from __future__ import annotations

import csv
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from sopforecast.core.hierarchy import Hierarchy
from sopforecast.core.months import add_months
from sopforecast.demo.overrides import (
    demand_that_came,
    outlooks,
    said_in_all,
    write_overrides,
)
from sopforecast.demo.people import PEOPLE, Outlook
from sopforecast.demo.portfolio import DemoItem, demand_of_nodes

LAST = date(2026, 10, 1)
OPEN = date(2026, 11, 1)


def company(items: int = 40) -> tuple[Hierarchy, np.ndarray]:
    rng = np.random.default_rng(3)
    made = [
        DemoItem(
            f"I{i:02d}", f"Item {i}", "AB"[i % 2], "XYZ"[i % 3],
            tuple(rng.uniform(80.0, 120.0, 72) * (i + 1)),
        )
        for i in range(items)
    ]  # fmt: skip
    return demand_of_nodes(made)


@pytest.fixture(scope="module")
def seen() -> list[Outlook]:
    return outlooks(*company(), last_month=LAST, cycles=4)


def test_cycles_end_with_the_open_one(seen: list[Outlook]) -> None:
    assert [now.cycle for now in seen] == [add_months(OPEN, back) for back in range(-4, 1)]
    _, demand = company()
    assert seen[0].coming == pytest.approx(demand[:, -4:-1])
    assert seen[-1].coming == pytest.approx(demand[:, -12:-9])


def test_everybody_speaks_in_every_cycle_and_always_says_the_same(seen: list[Outlook]) -> None:
    rows = said_in_all(seen)
    spoke = {(row["entered_cycle"], row["owner"]) for row in rows}
    assert spoke == {(now.cycle, person.owner) for now in seen for person in PEOPLE}
    assert len({row["override_id"] for row in rows}) == len(rows)
    assert rows == said_in_all(seen)


def test_nobody_speaks_twice_of_a_node_while_it_lives(seen: list[Outlook]) -> None:
    alive: dict[tuple[str, str], date] = {}
    for row in said_in_all(seen):
        key = (row["owner"], row["node"])
        assert alive.get(key, date.min) < row["entered_cycle"], row
        alive[key] = row["ds_to"]


def test_the_open_cycle_shows_what_an_override_can_be(seen: list[Outlook]) -> None:
    rows = said_in_all(seen)
    by_hand = [row for row in rows if "by hand" in row["override_id"]]
    now = [row for row in by_hand if row["entered_cycle"] == OPEN]
    assert [row["probability"] for row in now if "probability" in row] == [0.3]
    (contract,) = [row for row in now if row.get("mode") == "fixed"]
    assert (contract["kind"], contract["per"]) == ("absolute", "span")
    assert "level" in {row["reason"] for row in now}
    event = [row["source"] for row in now if row.get("event_id")]
    assert sorted(event) == ["sales", "supply"]
    (carried,) = [row for row in by_hand if row["entered_cycle"] < OPEN]
    assert carried["kind"] == "delta"
    assert carried["ds_from"] == OPEN < carried["ds_to"]


def test_the_file_is_what_was_said(seen: list[Outlook], tmp_path: Path) -> None:
    rows = said_in_all(seen)
    with write_overrides(tmp_path, rows).open(encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    assert [row["override_id"] for row in read] == [row["override_id"] for row in rows]
    assert [float(row["value"]) for row in read] == [row["value"] for row in rows]
    assert {row["entered_cycle"] for row in read} == {f"2026-{month:02d}" for month in range(7, 12)}
    assert sum(row["mode"] == "fixed" for row in read) == 1
    assert all(
        (row["low"] == "") == ("low" not in said) for row, said in zip(read, rows, strict=True)
    )


def test_demand_that_came() -> None:
    demand = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    came = demand_that_came(demand, ["a", "b"], last_month=LAST, months=2)
    before = date(2026, 9, 1)
    assert came.rows() == [
        ("a", before, 2.0),
        ("a", LAST, 3.0),
        ("b", before, 5.0),
        ("b", LAST, 6.0),
    ]


def test_a_handful_of_items_is_enough() -> None:
    seen = outlooks(*company(3), last_month=LAST, cycles=1)
    rows = said_in_all(seen)
    assert rows
    assert not [row for row in rows if "by hand" in row["override_id"]]
