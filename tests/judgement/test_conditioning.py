"""Draws that believe what people said: what moves, by how much, and what never does."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy.stats import t

from sopforecast.core.months import add_months
from sopforecast.judgement.conditioning import condition
from sopforecast.judgement.evidence import evidence_of, update_atoms
from sopforecast.judgement.said import Said

START, DRAWS, ITEMS, HORIZON = date(2026, 1, 1), 400, 5, 6
DEFAULTS: dict[str, Any] = {
    "source": "sales", "owner": "ann", "reason": "promotion", "event_id": None,
    "probability": 1.0, "adjustment": 100.0, "stated_sd": None, "unit_sd": 50.0,
    "weight": 0.6, "shift": 0.0, "spread": 1.0, "weight_sd": 0.0, "shift_sd": 0.0,
    "covariance": 0.0, "inflation": 2.0**0.5, "common_error": 0.6, "event_error": 0.8,
    "overconfidence": 1.0, "tail": 8.0,
}  # fmt: skip
TYPES = {"event_id": pl.String, "stated_sd": pl.Float64}
Statement = dict[str, Any]


def said_of(*statements: Statement) -> Said:
    """Statements with ``items`` and ``months``; everything else as above."""
    rows = [
        DEFAULTS
        | {"override_id": f"o{k}", "ds_from": add_months(START, min(one["months"]))}
        | {name: value for name, value in one.items() if name not in ("items", "months")}
        for k, one in enumerate(statements)
    ]
    return Said(
        pl.DataFrame(rows, schema_overrides=TYPES),
        tuple(np.array(one["items"]) for one in statements),
        tuple(np.array(one["months"]) for one in statements),
    )


def steady(seed: int = 0, *, mean: float = 1000.0, sd: float = 50.0) -> np.ndarray:
    """Draws (S, b, H) far from zero, whole, of exactly this mean and sd but for rounding."""
    z = np.random.default_rng(seed).standard_normal((DRAWS, ITEMS, HORIZON))
    z = (z - z.mean(axis=0)) / z.std(axis=0, ddof=1)
    return np.rint(mean + sd * z)


def sparse(seed: int = 0) -> np.ndarray:
    """Skewed draws with many zeros, in steps of each item."""
    rng = np.random.default_rng(seed)
    level = rng.gamma(0.7, 3.0, (DRAWS, ITEMS, HORIZON))
    return rng.poisson(level).astype(np.float64) * STEPS[:, None]


STEPS = np.array([1.0, 1.0, 0.5, 2.0, 0.25])
WHOLE = np.ones(ITEMS)


def believed(
    draws: np.ndarray, *statements: Statement, steps: np.ndarray = WHOLE, seed: int = 1
) -> np.ndarray:
    after = draws.copy()
    condition(after, said_of(*statements), steps=steps, seed=seed)
    return after


@st.composite
def opinions(draw: st.DrawFn) -> list[Statement]:
    """One to five statements of all sorts."""
    items = st.lists(st.integers(0, ITEMS - 1), min_size=1, max_size=3, unique=True)
    months = st.lists(st.integers(0, HORIZON - 1), min_size=1, max_size=2, unique=True)
    one = st.fixed_dictionaries(
        {
            "items": items.map(sorted),
            "months": months.map(sorted),
            "owner": st.sampled_from(["ann", "bob", "cyd"]),
            "event_id": st.sampled_from([None, "launch"]),
            "adjustment": st.floats(-60, 60).map(lambda x: round(x, 2)),
            "unit_sd": st.sampled_from([1.0, 5.0, 20.0]),
            "stated_sd": st.sampled_from([None, 2.0]),
            "probability": st.sampled_from([1.0, 1.0, 1.0, 0.3]),
            "shift": st.sampled_from([-0.2, 0.0, 0.3]),
            "weight": st.floats(0.0, 1.2),
        }
    )
    return draw(st.lists(one, min_size=1, max_size=5))


def cells_of(statements: list[Statement]) -> np.ndarray:
    told = np.zeros((ITEMS, HORIZON), dtype=bool)
    for one in statements:
        told[np.ix_(one["items"], one["months"])] = True
    return told


@given(opinions(), st.integers(0, 3))
@hypothesis_settings(max_examples=50)
def test_only_what_was_spoken_of_moves_and_stays_possible(
    statements: list[Statement], seed: int
) -> None:
    before = sparse(seed)
    after = believed(before, *statements, steps=STEPS)
    told = cells_of(statements)
    assert after[:, ~told].tobytes() == before[:, ~told].tobytes()
    assert (after >= 0).all()
    assert (after % STEPS[:, None] == 0).all()
    assert after.tobytes() == believed(before, *statements, steps=STEPS).tobytes()


@given(opinions(), opinions(), st.integers(0, 3))
@hypothesis_settings(max_examples=30)
def test_a_statement_elsewhere_changes_no_byte(
    statements: list[Statement], others: list[Statement], seed: int
) -> None:
    here = [one | {"items": [i % 2 for i in one["items"][:2]][:1]} for one in statements]
    there = [
        one | {"items": [2 + i % 3 for i in one["items"][:1]], "override_id": f"x{k}"}
        for k, one in enumerate(others)
    ]
    before = sparse(seed)
    alone = believed(before, *here, steps=STEPS)
    both = believed(before, *here, *there, steps=STEPS)
    assert both[:, :2].tobytes() == alone[:, :2].tobytes()
    swapped = believed(
        before, *there, *[one | {"override_id": f"o{k}"} for k, one in enumerate(here)],
        steps=STEPS,
    )  # fmt: skip
    assert swapped.tobytes() == both.tobytes()  # groups know nothing of one another


@pytest.mark.parametrize("adjustment", [-200.0, -20.0, 0.0, 35.0, 300.0])
@pytest.mark.parametrize("shift", [-0.3, 0.0, 0.4])
def test_one_statement_moves_a_steady_cell_by_its_line(adjustment: float, shift: float) -> None:
    before = steady()
    one = {"items": [1], "months": [2], "adjustment": adjustment, "shift": shift, "weight": 0.65}
    after = believed(before, one)[:, 1, 2]
    line = 50.0 * shift + 0.65 * adjustment
    assert after.mean() - before[:, 1, 2].mean() == pytest.approx(line, abs=0.01)


def test_one_statement_moves_by_its_line_exactly_where_a_floor_or_others_stand() -> None:
    before = steady()
    floor = {"items": [1], "months": [2], "adjustment": 130.0, "unit_sd": 200.0, "shift": 0.1}
    moved = believed(before, floor)[:, 1, 2].mean() - before[:, 1, 2].mean()
    assert moved == pytest.approx(200.0 * 0.1 + 0.6 * 130.0, abs=0.01)
    flat = np.full((DRAWS, ITEMS, HORIZON), 300.0)
    one = {"items": [0, 1], "months": [0], "adjustment": 100.0, "unit_sd": 40.0}
    after = believed(flat, one)[:, :2, 0].sum(axis=1)
    assert after.mean() == pytest.approx(660.0, abs=0.01)


def test_the_eighty_percent_range_is_that_of_the_t() -> None:
    before = steady(sd=60.0)
    for spread, tail in ((0.7, 5.0), (1.0, 30.0), (1.35, 8.0)):
        one = {"items": [0], "months": [0], "unit_sd": 60.0, "spread": spread, "tail": tail}
        low, high = np.quantile(believed(before, one)[:, 0, 0], [0.1, 0.9])
        expected = 2 * t.ppf(0.9, tail) * spread * 60.0
        assert high - low == pytest.approx(expected, rel=0.08)


def test_a_source_without_weight_moves_only_by_its_shift() -> None:
    before = steady()
    quiet = {"items": [1], "months": [2], "weight": 0.0}
    for adjustment in (-500.0, 500.0):
        for shift in (0.0, 0.5):
            after = believed(before, quiet | {"adjustment": adjustment, "shift": shift})
            moved = after[:, 1, 2].mean() - before[:, 1, 2].mean()
            assert moved == pytest.approx(50.0 * shift, abs=0.01)


def test_what_a_family_gains_its_items_gain() -> None:
    before = steady()
    family = {"items": [0, 1, 2, 3], "months": [1, 2], "unit_sd": np.sqrt(8) * 50.0,
              "adjustment": 400.0}  # fmt: skip
    after = believed(before, family)
    shares = (after - before).mean(axis=0)[:4, 1:3]
    assert shares.sum() == pytest.approx(240.0, abs=8.0)
    assert (shares > 10.0).all()
    assert (shares < 60.0).all()


def test_a_sparse_family_is_not_emptied_by_clipping() -> None:
    before = sparse()
    total = before[:, :3, 0].sum(axis=1)
    said = {"items": [0, 1, 2], "months": [0], "unit_sd": float(total.std(ddof=1)),
            "adjustment": -0.9 * float(total.mean()), "weight": 1.0, "spread": 0.4}  # fmt: skip
    after = believed(before, said, steps=STEPS)[:, :3, 0].sum(axis=1)
    assert 0 < after.mean() < 0.5 * total.mean()
    assert (after <= total.max()).all()


def nested(**columns: Any) -> tuple[Statement, Statement]:
    family = {"items": [0, 1, 2, 3], "months": [1], "unit_sd": 100.0, "adjustment": 150.0}
    return family, {"items": [2], "months": [1], "owner": "bob", "adjustment": 90.0} | columns


def test_nested_statements_are_solved_together() -> None:
    before = steady()
    said = said_of(*nested())
    after = before.copy()
    condition(after, said, steps=WHOLE, seed=1)
    moved = (after - before).mean(axis=0)[:, 1]
    covers = np.array([[True, True], [True, False]])  # atoms: item 2, the rest
    sums = np.stack([before[:, 2, 1], before[:, [0, 1, 3], 1].sum(axis=1)], axis=1)
    update = update_atoms(evidence_of(said.frame), covers, sums.var(axis=0, ddof=1))
    goal = update.moves.sum(axis=1)
    assert moved[2] == pytest.approx(goal[0], abs=0.1)
    assert moved[[0, 1, 3]].sum() == pytest.approx(goal[1], abs=0.1)
    assert moved[4] == 0.0


@given(opinions(), st.integers(0, 2))
@hypothesis_settings(max_examples=50)
def test_parts_of_the_bridge_add_up(statements: list[Statement], seed: int) -> None:
    before = steady(seed)
    said = said_of(*statements)
    after = before.copy()
    moves, weights = condition(after, said, steps=WHOLE, seed=3)
    total, seen = np.zeros((ITEMS, HORIZON)), np.zeros(len(statements), dtype=int)
    for one in moves:
        assert one.parts.shape == (len(one.items), len(one.statements))
        np.testing.assert_array_equal(np.unique(total[one.items, one.months]), 0.0)
        total[one.items, one.months] += one.parts.sum(axis=1)
        seen[one.statements] += 1
        for k, part in zip(one.statements.tolist(), one.parts.T, strict=True):
            own = np.isin(one.items, said.members[k]) & np.isin(one.months, said.months[k])
            assert one.own[list(one.statements).index(k)] == pytest.approx(
                part[own].sum(), abs=1e-6
            )
    assert (seen == 1).all()
    whole = (after - before).mean(axis=0)
    # What whole numbers add: less than a unit a cell and statement, none of it elsewhere.
    assert np.abs(total - whole).max() < 2.0
    assert (total[~cells_of(statements)] == 0).all()
    assert (weights >= 0).all()


def test_opposite_statements_have_parts_of_their_own_size() -> None:
    before = sparse()
    sd = float(before[:, 0, 0].std(ddof=1))
    up = {"items": [0], "months": [0], "adjustment": 2 * sd, "unit_sd": sd, "spread": 0.9}
    for balance in (-0.05, -1e-3, -1e-9, 0.0, 1e-9, 1e-3, 0.05):
        down = up | {"owner": "bob", "adjustment": -2 * sd * (1 + balance)}
        moves, _ = condition(before.copy(), said_of(up, down), steps=STEPS, seed=1)
        more, less = moves[0].parts[0]
        assert 0 < more < 2 * sd
        assert -2 * sd < less < 0


DEAL = {"items": [0, 1], "months": [3], "probability": 0.35, "adjustment": 500.0}


@pytest.mark.parametrize(
    ("weight", "probability"), [(1.0, 0.35), (0.6, 0.35), (0.6, 0.9), (2.0, 0.9), (-0.4, 0.9)]
)
def test_a_deal_comes_whole_in_exactly_its_share_of_the_draws(
    weight: float, probability: float
) -> None:
    before = steady()
    after = believed(before, DEAL | {"weight": weight, "probability": probability})
    change = (after - before)[:, :2, 3].sum(axis=1)
    share = min(1.0, max(weight, 0.0) * probability)
    assert sorted(set(change.tolist())) == ([0.0, 500.0] if 0 < share < 1 else [500.0 * share])
    assert (change == 500.0).sum() == round(share * DRAWS)


def test_a_lost_deal_takes_no_more_than_there_is() -> None:
    before = sparse()
    after = believed(before, DEAL | {"adjustment": -3.0, "weight": 1.0}, steps=STEPS)
    had, has = before[:, :2, 3].sum(axis=1), after[:, :2, 3].sum(axis=1)
    change = has - had
    hit = change != 0
    np.testing.assert_array_equal(change[hit], np.maximum(-3.0, -had[hit]))
    assert hit.sum() <= round(0.35 * DRAWS)
    assert hit.sum() >= round(0.35 * DRAWS) - (had == 0).sum()


def test_deals_of_one_event_come_together_and_others_do_not() -> None:
    before = steady()

    def comes(**other: Any) -> tuple[np.ndarray, np.ndarray]:
        second = DEAL | {"items": [3], "months": [5], "weight": 1.0} | other
        after = believed(before, DEAL | {"weight": 1.0, "event_id": "launch"}, second)
        change = after - before
        return change[:, :2, 3].sum(axis=1) > 0, change[:, 3, 5] > 0

    first, second = comes(event_id="launch")
    np.testing.assert_array_equal(first, second)
    first, rarer = comes(event_id="launch", probability=0.1)
    assert (first | ~rarer).all()
    assert 0 < rarer.sum() < first.sum()
    first, apart = comes(event_id="tender")
    assert 0.2 < (first & apart).mean() / first.mean() < 0.5
    months = [DEAL | {"weight": 1.0, "override_id": "o", "months": [m]} for m in (1, 4)]
    change = believed(before, *months) - before  # the months of one override
    np.testing.assert_array_equal(change[:, :2, 1].sum(axis=1), change[:, :2, 4].sum(axis=1))


def test_a_deal_comes_on_top_of_what_others_say() -> None:
    before = steady()
    line = {"items": [0], "months": [3], "adjustment": 100.0, "owner": "bob", "unit_sd": 200.0}
    deal = DEAL | {"items": [0], "weight": 1.0}
    alone = believed(before, line, seed=5)[:, 0, 3]
    both = believed(before, line, deal, seed=5)[:, 0, 3]
    assert both.mean() - alone.mean() == pytest.approx(0.35 * 500.0, abs=0.1)


def moving_together(seed: int = 0, slope: float = 0.8) -> np.ndarray:
    """Later months move with month 1 by ``slope``."""
    draws = steady(seed)
    first = draws[:, :, 1] - 1000.0
    for month in range(2, HORIZON):
        noise = draws[:, :, month] - 1000.0
        noise = noise - first * ((noise * first).mean(axis=0) / (first**2).mean(axis=0))
        draws[:, :, month] = 1000.0 + np.rint(slope * first + 0.5 * noise)
    return draws


LEVEL = {"items": [0, 1], "months": [1], "reason": "level", "unit_sd": 50.0 * np.sqrt(2)}


@pytest.mark.parametrize("slope", [0.0, 0.5, 0.9])
def test_a_level_moves_later_months_as_the_draws_depend(slope: float) -> None:
    before = moving_together(slope=slope)
    moves, _ = condition(after := before.copy(), said_of(LEVEL), steps=WHOLE, seed=1)
    change = (after - before).mean(axis=0)
    assert (change[2:] == 0).all()
    assert (change[:, 0] == 0).all()
    stated = change[:2, 1].sum()
    assert stated == pytest.approx(60.0, abs=4.0)
    for month in range(2, HORIZON):
        total = before[:, :2, 1].sum(axis=1)
        real = np.polyfit(total, before[:, :2, month].sum(axis=1), 1)[0]
        assert change[:2, month].sum() == pytest.approx(max(real, 0) * stated, abs=1.0)
    later = [one for one in moves if one.months.min() > 1]
    parts = np.concatenate([one.parts[:, 0] for one in later])
    cells = (np.concatenate([one.items for one in later]),
             np.concatenate([one.months for one in later]))  # fmt: skip
    np.testing.assert_allclose(parts, change[cells], atol=1e-9)


def test_a_level_leaves_alone_months_that_somebody_spoke_of() -> None:
    before = moving_together()
    other = {"items": [1], "months": [3], "owner": "bob", "adjustment": -80.0}
    alone = believed(before, other | {"override_id": "x"})
    both = believed(before, LEVEL, other | {"override_id": "x"})
    assert both[:, 1, 3].tobytes() == alone[:, 1, 3].tobytes()
    assert both[:, 0, 3].mean() > before[:, 0, 3].mean() + 10
    assert both[:, 1, 4].mean() > before[:, 1, 4].mean() + 10
    unmoved = believed(before, LEVEL | {"reason": "promotion"})
    assert unmoved[:, :, 2:].tobytes() == before[:, :, 2:].tobytes()


def test_the_last_stated_month_of_a_level_is_the_one_that_is_carried() -> None:
    before = moving_together()
    first = LEVEL | {"adjustment": 0.0, "weight": 0.0, "override_id": "a"}
    last = LEVEL | {"months": [2], "adjustment": 150.0, "override_id": "a"}
    change = (believed(before, first, last) - before).mean(axis=0)
    np.testing.assert_allclose(change[:2, 1], 0.0, atol=2.0)
    assert (change[:2, 3:] > 10.0).all()
    assert believed(before, last, first).tobytes() == believed(before, first, last).tobytes()


@given(st.permutations(list(range(4))))
@hypothesis_settings(max_examples=20)
def test_the_order_of_statements_changes_no_mean(order: list[int]) -> None:
    before = steady()
    third = {"items": [1, 2], "months": [1], "owner": "cyd", "adjustment": -70.0, "unit_sd": 70.0}
    fourth = {"items": [4], "months": [0], "owner": "ann", "adjustment": 33.0}
    statements = [*nested(), third, fourth]
    named = [one | {"override_id": f"o{k}"} for k, one in enumerate(statements)]
    moves, weights = condition(one := before.copy(), said_of(*named), steps=WHOLE, seed=1)
    shuffled = said_of(*[named[k] for k in order])
    others, other_weights = condition(two := before.copy(), shuffled, steps=WHOLE, seed=1)
    np.testing.assert_allclose(one.mean(axis=0), two.mean(axis=0), atol=0.75)
    np.testing.assert_allclose(one.mean(axis=0).sum(), two.mean(axis=0).sum(), atol=0.05)
    np.testing.assert_allclose(weights[order], other_weights)
    own = {named[k]["override_id"]: sum(
        float(m.own[list(m.statements).index(k)]) for m in moves if k in m.statements
    ) for k in range(4)}  # fmt: skip
    for j, k in enumerate(order):
        other = sum(float(m.own[list(m.statements).index(j)]) for m in others if j in m.statements)
        assert other == pytest.approx(own[named[k]["override_id"]], abs=1e-6)


def test_nobody_speaks() -> None:
    before = steady()
    none = said_of({"items": [0], "months": [0]})
    empty = Said(none.frame.clear(), (), ())
    after = before.copy()
    moves, weights = condition(after, empty, steps=WHOLE, seed=1)
    assert (moves, weights.size) == ([], 0)
    assert after.tobytes() == before.tobytes()


def test_another_seed_gives_other_draws_of_the_same_mean() -> None:
    before = steady()
    one = {"items": [0, 1, 2], "months": [1], "unit_sd": 90.0}
    first, second = believed(before, one, seed=1), believed(before, one, seed=2)
    assert first.tobytes() != second.tobytes()
    assert first[:, :3, 1].sum() == pytest.approx(second[:, :3, 1].sum(), rel=1e-4)
