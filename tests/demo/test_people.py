"""Habits are what they say they are: the truth, twice the truth, or nothing of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pytest

from sopforecast.core.draws import series_rng
from sopforecast.core.months import add_months, months_between
from sopforecast.demo.people import AHEAD, PEOPLE, Outlook, Person, outlook, say, usual_figure

CYCLE = date(2026, 5, 1)
PLAIN = Person("supply", "Ann", "says what comes", ("orders",), sees=1.0, noise=0.0)


def seen(coming: float = 1.2, nodes: int = 300, cycle: date = CYCLE) -> Outlook:
    """Nodes whose usual figure is 1000, 1010, ... and of which ``coming`` times that comes."""
    usual = np.repeat(1000.0 + 10.0 * np.arange(nodes)[:, None], AHEAD, axis=1)
    return Outlook(
        cycle=cycle,
        nodes=tuple(f"n{i}" for i in range(nodes)),
        is_sum=np.arange(nodes) < 20,
        often=np.full(nodes, 1.0 / nodes),
        usual=usual,
        coming=coming * usual,
        surprise=np.full(nodes, 0.1),
    )


def said(person: Person, now: Outlook, **more: Any) -> list[dict[str, Any]]:
    return list(say(person, now, count=200, rng=series_rng(1, "said"), **more))


def change_of(row: dict[str, Any], now: Outlook) -> float:
    """What a row adds on average, as a share of the usual figure."""
    usual = now.usual[now.nodes.index(row["node"]), 0]
    share = {"percent": row["value"] / 100, "delta": row["value"] / usual}
    absolute = row["value"] / usual - 1.0
    return float(row["probability"] * share.get(row["kind"], absolute))


def test_usual_figure_by_hand() -> None:
    """A yearly wave that doubles every year: the same month, at today's level."""
    wave = np.array([1.0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])
    demand = np.concatenate([wave, 2 * wave, 4 * wave, 8 * wave])[None, :]
    usual = usual_figure(demand, 42)
    assert usual[0].tolist() == pytest.approx([8 * 7, 8 * 8, 8 * 9])
    assert demand[0, 42:45].tolist() == pytest.approx(usual[0].tolist())


def test_a_month_a_year_ago_stands_in_where_demand_has_ended() -> None:
    rng = np.random.default_rng(0)
    demand = rng.uniform(50, 100, (4, 72))
    now = outlook(demand, list("abcd"), 1, first=date(2020, 1, 1), at=71)
    assert now.cycle == date(2025, 12, 1)
    assert now.coming[:, 0] == pytest.approx(demand[:, 71])
    assert now.coming[:, 1:] == pytest.approx(demand[:, 60:62])
    assert now.often == pytest.approx([3 / 6, 1 / 6, 1 / 6, 1 / 6])


def test_surprise_is_how_far_off_the_usual_figure_has_been() -> None:
    """Demand is 10% above or below its usual by turns: the level drifts by no more than that."""
    wobble = np.where(np.arange(72) % 2 == 0, 1.1, 0.9)
    now = outlook(np.stack([100.0 * wobble, np.full(72, 100.0)]), ["a", "b"], 0,
                  first=date(2020, 1, 1), at=70)  # fmt: skip
    expected = [wobble[m] * 100 / usual_figure(100.0 * wobble[None], m)[0, 0] - 1
                for m in range(46, 70)]  # fmt: skip
    assert now.surprise[0] == pytest.approx(max(np.sqrt(np.mean(np.square(expected))), 0.02))
    assert now.surprise[1] == 0.02


def test_a_node_that_has_not_begun_is_not_spoken_of() -> None:
    demand = np.full((3, 72), 100.0)
    demand[1, :60] = np.nan
    demand[2] = 0.0
    now = outlook(demand, ["a", "young", "idle"], 0, first=date(2020, 1, 1), at=70)
    assert now.often.tolist() == [1.0, 0.0, 0.0]


def test_who_sees_all_says_what_comes_in_every_kind() -> None:
    rows = said(PLAIN, seen(1.2))
    assert {row["kind"] for row in rows} == {"delta", "percent", "absolute"}
    assert [change_of(row, seen()) for row in rows] == pytest.approx([0.2] * len(rows), abs=0.006)


def test_exaggeration_and_uplift() -> None:
    loud = replace(PLAIN, exaggerates=2.0, adds=0.05)
    changes = [change_of(row, seen(0.9)) for row in said(loud, seen(0.9))]
    assert changes == pytest.approx([-0.15] * len(changes), abs=0.006)


def test_noise_is_as_large_as_stated_and_centred() -> None:
    """20% comes, usual surprise 10%, half of it noise: 5% around 20%."""
    noisy = replace(PLAIN, noise=0.5)
    changes = np.array([change_of(row, seen()) for row in said(noisy, seen())])
    assert changes.mean() == pytest.approx(0.2, abs=4 * 0.05 / np.sqrt(len(changes)))
    assert changes.std() == pytest.approx(0.05, rel=0.2)


def test_who_sees_nothing_says_the_same_whatever_comes() -> None:
    blind = PEOPLE[2]
    assert blind.sees == 0.0
    assert said(blind, seen(0.5)) == said(blind, seen(1.5)) != []


def test_ranges_hold_what_comes_as_often_as_they_should() -> None:
    honest = replace(PLAIN, noise=0.5)
    now = seen(1.0)
    rows = [
        row
        for number in range(40)
        for row in say(honest, now, count=200, rng=series_rng(number, "ranges"))
        if row.get("low") is not None and row["kind"] == "delta"
    ]
    assert len(rows) > 200
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows)
    half = np.array([(row["high"] - row["low"]) / 2 for row in rows])
    usual = np.array([now.usual[now.nodes.index(row["node"]), 0] for row in rows])
    assert half / usual == pytest.approx(np.full(len(rows), 1.2816 * 0.5 * 0.1), rel=0.02)
    assert replace(honest, range_width=0.5).half_width(0.1) == honest.half_width(0.1) / 2


def test_deals_promise_more_than_is_expected() -> None:
    deals = [row for row in said(PLAIN, seen()) if row["probability"] < 1]
    assert deals
    assert {row["reason"] for row in deals} == {"deal"}
    assert all("low" not in row for row in deals)


def test_small_changes_are_not_said() -> None:
    assert said(PLAIN, seen(1.019)) == []


def test_months_are_one_to_three_ahead() -> None:
    spans = {
        (months_between(CYCLE, row["ds_from"]), months_between(CYCLE, row["ds_to"]))
        for row in said(PLAIN, seen())
    }
    assert spans == {(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)}


def test_a_node_is_let_be_until_its_months_are_over() -> None:
    busy: dict[str, date] = {}
    first = said(PLAIN, seen(nodes=200), busy=busy)
    assert busy == {row["node"]: row["ds_to"] for row in first}
    still = {row["node"] for row in first if row["ds_to"] > CYCLE}
    later = said(PLAIN, seen(nodes=200, cycle=add_months(CYCLE, 1)), busy=busy)
    assert still
    assert later
    assert not still & {row["node"] for row in later}
