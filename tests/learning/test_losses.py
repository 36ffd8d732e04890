"""The loss of ranges: against numbers worked by hand, plain loops and scoringrules."""

from __future__ import annotations

import numpy as np
import pytest
import scoringrules as sr
from hypothesis import given
from hypothesis import strategies as st

from sopforecast.core.draws import QUANTILES, quantile_view
from sopforecast.learning.losses import NOTHING, Loss, range_loss

LABELS = [label for label, _ in QUANTILES]


def cells(seed: int, count: int) -> tuple[np.ndarray, dict[str, np.ndarray], list[str]]:
    """Actuals, quantiles of 40 draws, and levels total, family, item in turn."""
    rng = np.random.default_rng(seed)
    draws = rng.gamma(2.0, 10.0, size=(40, count, 1))
    view = {label: values[:, 0] for label, values in quantile_view(draws).items()}
    levels = [("total", "family", "item")[i % 3] for i in range(count)]
    return rng.gamma(2.0, 10.0, size=count), view, levels


def by_loops(actual: np.ndarray, view: dict[str, np.ndarray], levels: list[str]) -> float:
    shares = []
    for level in sorted(set(levels)):
        score = demand = 0.0
        for i, y in enumerate(actual):
            if levels[i] != level or np.isnan(y):
                continue
            pinballs = [
                (share if y >= view[label][i] else 1 - share) * abs(y - view[label][i])
                for label, share in QUANTILES
            ]
            score += 2 * sum(pinballs) / len(pinballs)
            demand += abs(y)
        if demand > 0:
            shares.append(score / demand)
    return sum(shares) / len(shares)


def test_a_loss_worked_by_hand() -> None:
    """Pinball of P10 8 for 10: 0.1 x 2; of P90 9: 0.1 x 1; of P50 9: 0.5. WIS 2 x 0.8 / 3."""
    actual = np.array([10.0, 40.0])
    view = {
        "p10": np.array([8.0, 40.0]),
        "p50": np.array([9.0, 40.0]),
        "p90": np.array([9.0, 50.0]),
    }
    # The total: 0, 0, and of P90 50 for 40 it is 0.1 x 10: WIS 2 x 1 / 3.
    # P90 of the item lies below 10: 0.9 x 1.
    item, total = 2 * (0.2 + 0.5 + 0.9) / 3 / 10, 2 * 1.0 / 3 / 40
    found = range_loss(actual, view, ["item", "total"])
    assert found == Loss(pytest.approx((item + total) / 2), 1.0, 2)


@given(st.integers(0, 10_000), st.integers(3, 30))
def test_it_is_what_plain_loops_say(seed: int, count: int) -> None:
    actual, view, levels = cells(seed, count)
    found = range_loss(actual, view, levels)
    assert found.loss == pytest.approx(by_loops(actual, view, levels), rel=1e-12)
    assert (found.size, found.cells) == (1.0, count)


def test_of_one_level_it_is_the_weighted_interval_score_of_another_library() -> None:
    actual, view, _ = cells(3, 50)
    scores = sr.weighted_interval_score(
        actual,
        view["p50"],
        np.stack([view["p05"], view["p10"], view["p25"]], axis=-1),
        np.stack([view["p95"], view["p90"], view["p75"]], axis=-1),
        np.array([0.1, 0.2, 0.5]),
    )
    found = range_loss(actual, view, ["item"] * 50)
    assert found.loss == pytest.approx(scores.sum() / actual.sum(), rel=1e-12)


def test_each_level_counts_the_same_however_many_cells_it_has() -> None:
    actual, view, levels = cells(5, 30)
    whole = range_loss(actual, view, levels)
    twice = [i for i in range(30) for _ in range(3 if levels[i] == "item" else 1)]
    more = range_loss(
        actual[twice], {k: v[twice] for k, v in view.items()}, [levels[i] for i in twice]
    )
    assert more.loss == pytest.approx(whole.loss, rel=1e-12)
    assert more.cells == 50
    # A total that is wrong shows as much as items that are all wrong.
    at_total = np.array([level == "total" for level in levels])
    shares = [
        range_loss(np.where(rows, actual, np.nan), view, levels).loss
        for rows in (at_total, np.array([level == "family" for level in levels]),
                     np.array([level == "item" for level in levels]))
    ]  # fmt: skip
    assert whole.loss == pytest.approx(sum(shares) / 3, rel=1e-12)


def test_units_and_order_do_not_matter() -> None:
    actual, view, levels = cells(7, 12)
    whole = range_loss(actual, view, levels)
    thousands = range_loss(actual / 1000, {k: v / 1000 for k, v in view.items()}, levels)
    assert thousands.loss == pytest.approx(whole.loss, rel=1e-12)
    order = np.random.default_rng(1).permutation(12)
    mixed = range_loss(
        actual[order], {k: v[order] for k, v in view.items()}, [levels[i] for i in order]
    )
    assert mixed.loss == pytest.approx(whole.loss, rel=1e-12)


def test_unknown_cells_and_levels_without_demand_are_left_out() -> None:
    actual, view, levels = cells(9, 12)
    gaps = actual.copy()
    gaps[[0, 4]] = np.nan
    kept = [i for i in range(12) if i not in (0, 4)]
    found = range_loss(gaps, view, levels)
    assert found == range_loss(
        actual[kept], {k: v[kept] for k, v in view.items()}, [levels[i] for i in kept]
    )
    assert found.cells == 10
    idle = np.where([level == "family" for level in levels], 0.0, actual)
    rest = [i for i in range(12) if levels[i] != "family"]
    assert range_loss(idle, view, levels) == range_loss(
        actual[rest], {k: v[rest] for k, v in view.items()}, [levels[i] for i in rest]
    )


def test_nothing_known_or_no_demand_at_all_is_nothing_to_compare() -> None:
    _, view, levels = cells(1, 6)
    assert range_loss(np.full(6, np.nan), view, levels) == NOTHING
    assert range_loss(np.zeros(6), view, levels) == NOTHING
    none = {label: np.empty(0) for label in LABELS}
    assert range_loss(np.empty(0), none, []) == NOTHING


def test_a_demand_of_zero_is_scored_beside_others_of_its_level() -> None:
    view = {"p50": np.array([4.0, 10.0])}
    found = range_loss(np.array([0.0, 10.0]), view, ["item", "item"])
    assert found == Loss(pytest.approx(4.0 / 10.0), 1.0, 2)


def test_lengths_that_differ_are_refused() -> None:
    actual, view, levels = cells(1, 6)
    with pytest.raises(ValueError, match="one length for all"):
        range_loss(actual, view, levels[:-1])
    with pytest.raises(ValueError, match="one length for all"):
        range_loss(actual[:-1], view, levels[:-1])
