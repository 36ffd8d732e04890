"""Fixed statements: contradictory sets named as small as they are, the others held exactly."""

from __future__ import annotations

import time
from datetime import date
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sopforecast.core.draws import series_rng
from sopforecast.core.hierarchy import Hierarchy, build_hierarchy
from sopforecast.errors import RequestError
from sopforecast.judgement.fixed import (
    Fixed,
    contradictions,
    fixed_sets,
    hold_fixed,
    refuse_contradictions,
)
from sopforecast.judgement.overrides import Scalars

DEC, JAN = date(2026, 12, 1), date(2027, 1, 1)


@pytest.fixture(scope="module")
def hierarchy() -> Hierarchy:
    """Four items, two families crossed with two regions."""
    items = pl.DataFrame(
        {
            "unique_id": ["a", "b", "c", "d"],
            "family": ["F", "F", "G", "G"],
            "region": ["EU", "US", "EU", "US"],
        }
    )
    return build_hierarchy(items, levels=["family", "region"])


def fixed_rows(*rows: tuple[str, str, float], **same: Any) -> pl.DataFrame:
    """Absolute fixed overrides (id, node, value) of December."""
    columns = {
        "entered_cycle": DEC,
        "ds_from": DEC,
        "ds_to": DEC,
        "per": "month",
        "kind": "absolute",
        "measure": "quantity",
        "low": None,
        "high": None,
        "confidence": None,
        "probability": 1.0,
        "source": "finance",
        "owner": "B",
        "reason": "contract",
        "event_id": None,
        "assumption": None,
        "mode": "fixed",
        "expires_cycle": None,
        "status": "active",
        "scenario": None,
    } | same
    ids, nodes, values = zip(*rows, strict=True)
    frame = pl.DataFrame({"override_id": ids, "node": nodes, "value": values})
    typed = {"low": pl.Float64, "high": pl.Float64, "confidence": pl.Float64}
    texts = {"event_id": pl.String, "assumption": pl.String, "scenario": pl.String}
    dtypes = {**typed, **texts, "expires_cycle": pl.Date}
    return frame.with_columns(
        pl.lit(value, dtype=dtypes.get(name)).alias(name) for name, value in columns.items()
    )


def sets_of(found: list[tuple[tuple[str, ...], str]]) -> list[tuple[str, ...]]:
    return [ids for ids, _ in found]


def test_two_values_for_the_same_cells(hierarchy: Hierarchy) -> None:
    rows = fixed_rows(("x", "family=F", 100.0), ("y", "family=F", 120.0), ("z", "family=G", 5.0))
    ((ids, sentence),) = contradictions(rows, hierarchy)
    assert ids == ("x", "y")
    assert sentence == (
        "fixed overrides cannot all hold: 'x' (family=F, 2026-12) says 100 and 'y' (family=F, "
        "2026-12) says 120: they give the same items and months two values; change or withdraw one "
        "of them, or make it evidence"
    )
    with pytest.raises(RequestError, match=r"'x'.*'y'"):
        refuse_contradictions(rows, hierarchy)


def test_children_that_exceed_their_parent(hierarchy: Hierarchy) -> None:
    rows = fixed_rows(
        ("p", "total", 1000.0), ("x", "a", 700.0), ("y", "b", 400.0), ("z", "c", 100.0)
    )
    # 700 + 400 exceed 1,000 without the 100 of c.
    ((ids, sentence),) = contradictions(rows, hierarchy)
    assert ids == ("p", "x", "y")
    assert "1,100 of 'x' and 'y' is more than the 1,000 of 'p' that it is part of" in sentence


def test_children_that_do_not_fill_their_parent(hierarchy: Hierarchy) -> None:
    rows = fixed_rows(("p", "family=F", 10.0), ("x", "a", 4.0), ("y", "b", 5.0))
    ((ids, sentence),) = contradictions(rows, hierarchy)
    assert ids == ("p", "x", "y")
    assert "10 of 'p' is more than the 9 of 'x' and 'y' that it is part of" in sentence
    assert contradictions(rows.filter(pl.col("override_id") != "y"), hierarchy) == []


def test_a_span_against_its_months(hierarchy: Hierarchy) -> None:
    span = fixed_rows(("s", "family=F", 50.0), ds_to=JAN, per="span")
    months = fixed_rows(("m", "family=F", 30.0), ds_to=JAN)
    ((ids, sentence),) = contradictions(pl.concat([span, months]), hierarchy)
    assert ids == ("m", "s")
    assert "'s' (family=F, 2026-12 to 2027-01) says 50" in sentence
    fits = months.with_columns(value=pl.lit(25.0))
    assert contradictions(pl.concat([span, fits]), hierarchy) == []


def test_crossed_groupings(hierarchy: Hierarchy) -> None:
    rows = [("f", "family=F", 6.0), ("g", "family=G", 4.0), ("e", "region=EU", 3.0)]
    assert contradictions(fixed_rows(*rows, ("u", "region=US", 7.0)), hierarchy) == []
    ((ids, _),) = contradictions(fixed_rows(*rows, ("u", "region=US", 8.0)), hierarchy)
    assert ids == ("e", "f", "g", "u")


def test_fewer_overrides_in_another_month_are_the_smaller_set(hierarchy: Hierarchy) -> None:
    """In December all three are needed to contradict, in January two of them do."""
    family = fixed_rows(("f", "family=F", 10.0), ds_to=JAN)
    item = fixed_rows(("x", "a", 4.0), ds_to=JAN)
    december = fixed_rows(("y", "b", 5.0))
    january = fixed_rows(("w", "a", 3.0), ds_from=JAN, ds_to=JAN)
    rows = pl.concat([family, item, december, january])
    assert sets_of(contradictions(rows, hierarchy)) == [("f", "x", "y")]
    rows = rows.with_columns(
        override_id=pl.when(pl.col("override_id") == "w").then(pl.lit("y")).otherwise("override_id")
    )
    assert sets_of(contradictions(rows, hierarchy)) == [("x", "y")]


def test_every_separate_set_is_named(hierarchy: Hierarchy) -> None:
    rows = fixed_rows(("a1", "a", 1.0), ("a2", "a", 2.0), ("c1", "c", 1.0), ("c2", "c", 2.0))
    assert sets_of(contradictions(rows, hierarchy)) == [("a1", "a2"), ("c1", "c2")]


@pytest.mark.parametrize(
    "change",
    [
        {"mode": "evidence"},
        {"status": "withdrawn"},
        {"kind": "delta"},
        {"measure": "revenue"},
        {"scenario": "bold"},
        {"ds_from": JAN, "ds_to": JAN},
        {"expires_cycle": DEC, "entered_cycle": date(2026, 10, 1)},
        {"ds_from": date(2026, 11, 1), "per": "span"},
    ],
)
def test_what_is_not_weighed(hierarchy: Hierarchy, change: dict[str, Any]) -> None:
    rows = pl.concat([fixed_rows(("x", "a", 1.0)), fixed_rows(("y", "a", 2.0), **change)])
    assert contradictions(rows, hierarchy) == []


def test_what_ended_before_the_cycle_contradicts_no_more(hierarchy: Hierarchy) -> None:
    rows = fixed_rows(("x", "a", 1.0), ("y", "a", 2.0))
    assert sets_of(contradictions(rows, hierarchy, cycle=DEC)) == [("x", "y")]
    assert contradictions(rows, hierarchy, cycle=JAN) == []


@given(st.data())
@hypothesis_settings(max_examples=30)
def test_what_some_demand_says_is_never_a_contradiction(data: st.DataObject) -> None:
    items = pl.DataFrame(
        {"unique_id": list("abcd"), "family": list("FFGG"), "region": list("EUEU")}
    )
    tree = build_hierarchy(items, levels=["family", "region"])
    demand = np.array([data.draw(st.integers(0, 9)) for _ in range(4)], dtype=float)
    nodes = data.draw(st.lists(st.sampled_from(tree.nodes), min_size=1, max_size=6))
    rows = [(f"o{k}", node, demand[tree.descendants(node)].sum()) for k, node in enumerate(nodes)]
    assert contradictions(fixed_rows(*rows), tree) == []
    # One more than it is: then the others and it cannot hold if they say it all.
    every = [(f"n{node}", node, demand[tree.descendants(node)].sum()) for node in tree.nodes]
    wrong = ("w", nodes[0], rows[0][2] + 1)
    ((ids, _),) = contradictions(fixed_rows(*every, wrong), tree)
    assert "w" in ids


def rng_of(*names: str) -> np.random.Generator:
    return series_rng(7, *names)


def draws_of(
    seed: int, *, shape: tuple[int, int, int] = (40, 6, 3), step: float = 1.0
) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.poisson(rng.gamma(0.7, 8.0, shape)).astype(float) * step


def fixed(name: str, members: list[int], months: list[int], value: float) -> Fixed:
    return Fixed(name, np.array(members), np.array(months), value, where=f"node {name}")


def held(sets: list[Fixed], draws: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Hold and check what must always be so."""
    after = draws.copy()
    hold_fixed(after, sets, steps, rng_of=rng_of)
    covered = np.zeros(draws.shape[1:], dtype=bool)
    for one in sets:
        inside = np.ix_(one.members, one.months)
        covered[inside] = True
        sums = np.array([draw[inside].sum() for draw in after])
        assert (sums == one.value).all(), one.override_id
    assert (after >= 0).all()
    assert (after == np.rint(after / steps[:, None]) * steps[:, None]).all()
    assert after[:, ~covered].tobytes() == draws[:, ~covered].tobytes()
    return after


def test_one_set_holds_in_every_draw_and_others_are_untouched() -> None:
    held([fixed("x", [1, 3], [0, 2], 77.0)], draws_of(1), np.ones(6))


def test_zero_empties_the_cells() -> None:
    after = held([fixed("x", [0, 1], [1], 0.0)], draws_of(2), np.ones(6))
    assert (after[:, :2, 1] == 0).all()


def test_cells_that_are_always_zero_share_equally() -> None:
    after = held([fixed("x", [0, 1, 2], [0, 1], 60.0)], np.zeros((200, 3, 2)), np.ones(3))
    assert after.mean(axis=0) == pytest.approx(np.full((3, 2), 10.0), rel=0.2)


def test_nested_sets_and_the_remainder_of_the_outer() -> None:
    sets = [
        fixed("outer", [0, 1, 2, 3], [0, 1], 200.0),
        fixed("inner", [0, 1], [0, 1], 150.0),
        fixed("cell", [0], [1], 33.0),
        fixed("again", [0, 1], [0, 1], 150.0),
    ]
    after = held(sets, draws_of(3), np.ones(6))
    assert (after[:, [2, 3], :2].sum(axis=(1, 2)) == 50.0).all()


def test_a_set_that_holds_already_moves_nothing() -> None:
    draws = np.tile(draws_of(4)[:1], (5, 1, 1))
    value = draws[0, :2, 0].sum()
    assert (held([fixed("x", [0, 1], [0], value)], draws, np.ones(6)) == draws).all()


def test_crossed_sets_in_time() -> None:
    """A 4 x 4 table, rows and columns fixed, 500 draws."""
    draws = draws_of(5, shape=(500, 16, 2))
    table = np.arange(16).reshape(4, 4)
    truth = np.round(draws.mean(axis=0)[:, 0] * 1.3).reshape(4, 4)
    sets = [fixed(f"r{k}", table[k].tolist(), [0], truth[k].sum()) for k in range(4)]
    sets += [fixed(f"c{k}", table[:, k].tolist(), [0], truth[:, k].sum()) for k in range(4)]
    started = time.perf_counter()
    after = held(sets, draws, np.ones(16))
    assert time.perf_counter() - started < 20  # a fraction of a second where nobody else works
    # The table stays random, and near what it was: cells that were large are large.
    assert (after[:, :, 0].std(axis=0) > 0).sum() > 8
    assert np.corrcoef(after[:, :, 0].ravel(), draws[:, :, 0].ravel())[0, 1] > 0.6


@given(st.data())
@hypothesis_settings(max_examples=40)
def test_any_sets_that_some_demand_fills_hold(data: st.DataObject) -> None:
    steps = np.array([data.draw(st.sampled_from([1.0, 1.0, 0.25])) for _ in range(6)])
    draws = draws_of(data.draw(st.integers(0, 99)), shape=(6, 6, 3)) * steps[:, None]
    truth = draws_of(data.draw(st.integers(100, 199)), shape=(1, 6, 3))[0]
    sets = []
    for k in range(data.draw(st.integers(1, 4))):
        members = sorted(data.draw(st.sets(st.integers(0, 5), min_size=1, max_size=4)))
        months = sorted(data.draw(st.sets(st.integers(0, 2), min_size=1, max_size=3)))
        sets.append(fixed(f"o{k}", members, months, truth[np.ix_(members, months)].sum()))
    held(sets, draws, steps)


def test_nested_sets_in_any_order_give_the_same_bytes() -> None:
    sets = [fixed("x", [0, 1, 2], [0], 40.0), fixed("y", [1, 2], [0], 30.0)]
    one, other = draws_of(6), draws_of(6)
    hold_fixed(one, sets, np.ones(6), rng_of=rng_of)
    hold_fixed(other, sets[::-1], np.ones(6), rng_of=rng_of)
    assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ([fixed("x", [0, 1], [0], 7.5)], r"'x' \(node x\): found 7.5; .*such as 7 or 8"),
        ([fixed("x", [0, 1], [0], -2.0)], "'x'.*found -2.*demand from 0 up"),
        (
            [fixed("p", [0, 1], [0], 5.0), fixed("x", [0], [0], 6.0), fixed("y", [4], [0], 6.0)],
            r"'p' \(node p\) says 5 and 'x' \(node x\) says 6: 6 of 'x' is more than the 5 of 'p'",
        ),
        (
            [
                fixed("x", [0, 1], [0], 1.0),
                fixed("y", [1, 2], [0], 1.0),
                fixed("z", [0, 2], [0], 1.0),
            ],
            "'x', 'y' and 'z' cannot all hold in whole steps",
        ),
    ],
)
def test_what_cannot_hold_is_refused_and_nothing_changes(sets: list[Fixed], message: str) -> None:
    draws = draws_of(8)
    before = draws.copy()
    with pytest.raises(RequestError, match=message):
        hold_fixed(draws, [fixed("ok", [5], [2], 3.0), *sets], np.ones(6), rng_of=rng_of)
    assert draws.tobytes() == before.tobytes()


def test_values_follow_the_coarsest_step_of_their_items() -> None:
    steps = np.array([0.25, 1.0])
    fine = np.zeros((2, 2, 1))
    hold_fixed(fine, [fixed("x", [0], [0], 0.75)], steps, rng_of=rng_of)
    assert fine[:, 0, 0].tolist() == [0.75, 0.75]
    with pytest.raises(RequestError, match="multiples of 1, such as 0 or 1"):
        hold_fixed(fine, [fixed("x", [0, 1], [0], 0.75)], steps, rng_of=rng_of)


def test_no_set_is_no_change() -> None:
    draws = draws_of(9)
    before = draws.copy()
    hold_fixed(draws, [], np.ones(6), rng_of=rng_of)
    assert draws.tobytes() == before.tobytes()


def test_only_what_was_given_exactly_stays_exact() -> None:
    """Whatever came from a baseline, a price or past actuals is rounded to a coarsest step."""
    frame = pl.DataFrame(
        {
            "override_id": ["a", "b", "c", "d", "e"],
            "node": ["n"] * 5,
            "ds_from": [DEC] * 5,
            "ds_to": [DEC, JAN, DEC, DEC, DEC],
            "kind": ["absolute", "absolute", "percent", "absolute", "absolute"],
            "measure": ["quantity", "quantity", "quantity", "revenue", "quantity"],
            "mode": ["fixed", "fixed", "fixed", "fixed", "evidence"],
            "remainder": [False, True, False, False, False],
            "stated": [10.5, 10.75, 113.4, 7.6, 1.0],
        }
    )
    cells = tuple(np.array([0, 1]) for _ in range(5))
    found = fixed_sets(frame, Scalars(frame, cells, cells, ()), np.array([0.25, 1.0, 8.0]))
    assert [one.override_id for one in found] == ["a", "b", "c", "d"]
    assert [one.value for one in found] == [10.5, 11.0, 113.0, 8.0]
    assert found[1].where == "n, 2026-12 to 2027-01"
