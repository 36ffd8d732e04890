"""Losses of ranges: against numbers worked by hand, plain loops, scoringrules and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import scoringrules as sr
from hypothesis import given
from hypothesis import strategies as st

from sopforecast.core.draws import QUANTILES, quantile_view
from sopforecast.learning.losses import NOTHING, Loss, range_loss, width_losses

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


def width_by_loops(
    actual: np.ndarray, cold: dict[str, np.ndarray], view: dict[str, np.ndarray], levels: list[str]
) -> float:
    of_level: dict[str, list[float]] = {}
    for i, y in enumerate(actual):
        unit = (cold["p90"][i] - cold["p10"][i]) / 2
        if np.isnan(y) or unit == 0:
            continue
        side = "p90" if y > view["p50"][i] else "p10"
        far, half = abs(y - view["p50"][i]), abs(view[side][i] - view["p50"][i])
        lost = 0.8 * (far - half) if far > half else 0.2 * (half - far)
        of_level.setdefault(levels[i], []).append(lost / unit)
    roots = {level: len(part) ** 0.5 for level, part in of_level.items()}
    means = {level: sum(part) / len(part) for level, part in of_level.items()}
    return sum(roots[level] * means[level] for level in means) / sum(roots.values())


def scaled(view: dict[str, np.ndarray], factor: float) -> dict[str, np.ndarray]:
    """Ranges drawn to their median or away from it."""
    return {k: view["p50"] + factor * (v - view["p50"]) for k, v in view.items()}


def test_widths_worked_by_hand() -> None:
    """One inside, one outside below, a total outside above, under ranges of 2 and 4 a side.

    Cold: 1 of 2 inside is 0.2 x 1; 5 of 2 outside is 0.8 x 3; both over the unit 2: 0.1 and 1.2.
    The total: the range is 2 below and 6 above, its unit 4, 7 above: 0.8 x 1 / 4 = 0.2.
    Twice as wide: 0.2 x 3 / 2 = 0.3, 0.8 x 1 / 2 = 0.4, and 0.2 x 5 / 4 = 0.25.
    """
    actual = np.array([11.0, 5.0, 107.0])
    cold = {
        "p10": np.array([8.0, 8.0, 98.0]),
        "p50": np.array([10.0, 10.0, 100.0]),
        "p90": np.array([12.0, 12.0, 106.0]),
    }
    found = width_losses(actual, cold, scaled(cold, 2.0), ["item", "item", "total"])
    root = 2**0.5  # two items, one total
    assert found[0] == Loss(pytest.approx((root * 0.65 + 0.2) / (root + 1)), 1.0, 3)
    assert found[1] == Loss(pytest.approx((root * 0.35 + 0.25) / (root + 1)), 1.0, 3)


@given(st.integers(0, 10_000), st.integers(3, 30), st.floats(0.3, 3.0))
def test_losses_of_widths_are_what_plain_loops_say(seed: int, count: int, factor: float) -> None:
    actual, cold, levels = cells(seed, count)
    _, other, _ = cells(seed + 1, count)  # with other medians too
    for view in (scaled(cold, factor), other):
        both = width_losses(actual, cold, view, levels)
        for found, ranges in zip(both, (cold, view), strict=True):
            expected = width_by_loops(actual, cold, ranges, levels)
            assert found.loss == pytest.approx(expected, rel=1e-9)
            assert (found.size, found.cells) == (1.0, count)


def test_of_symmetric_ranges_it_is_the_pinball_loss_of_the_distance() -> None:
    from sklearn.metrics import mean_pinball_loss

    rng = np.random.default_rng(2)
    actual, half = rng.normal(50, 8, 400), rng.uniform(4, 14, 400)
    cold = {"p10": 50 - half, "p50": np.full(400, 50.0), "p90": 50 + half}
    found, _ = width_losses(actual, cold, cold, ["item"] * 400)
    distance = np.abs(actual - 50) / half
    expected = mean_pinball_loss(distance, np.ones(400), alpha=0.8)
    assert found.loss == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("shape", ["normal", "heavy", "skewed"])
def test_the_range_that_holds_eighty_percent_loses_least(shape: str) -> None:
    """Whatever the shape, and far more clearly than by the weighted interval score."""
    rng = np.random.default_rng(11)
    count = 20_000
    draw = {
        "normal": rng.standard_normal,
        "heavy": lambda n: rng.standard_t(3, n),
        "skewed": lambda n: rng.gamma(2.0, 1.0, n),
    }[shape]
    shares = dict(QUANTILES)
    of_shape = {label: np.quantile(draw(200_000), share) for label, share in shares.items()}
    size = np.exp(rng.normal(3.0, 1.5, count))  # of the series: a few are very large
    actual = size * (20.0 + draw(count))
    right = {label: size * (20.0 + value) for label, value in of_shape.items()}
    cold = scaled(right, 1.25)
    tried = np.round(np.arange(0.6, 1.61, 0.1), 1)
    losses = [
        width_losses(actual, cold, scaled(right, factor), ["item"] * count)[1].loss
        for factor in tried
    ]
    assert tried[np.argmin(losses)] == 1.0
    assert (np.diff(losses)[:4] < 0).all(), "the further from it, the worse"
    assert (np.diff(losses)[4:] > 0).all()
    held = scaled(right, 1.0)
    assert np.mean((actual >= held["p10"]) & (actual <= held["p90"])) == pytest.approx(
        0.8, abs=0.01
    )


def test_ranges_that_held_ninety_percent_lose_a_tenth_more() -> None:
    """As the module says; the interval score hardly moves. Exact, of the normal."""
    from scipy.stats import norm

    middle = (np.arange(200_000) + 0.5) / 200_000
    actual = 100 + norm.ppf(middle)
    view = {label: np.full(actual.size, 100 + norm.ppf(share)) for label, share in QUANTILES}
    at = ["item"] * actual.size
    wide = scaled(view, norm.ppf(0.95) / norm.ppf(0.9))
    cold, other = width_losses(actual, wide, view, at)
    assert other.loss / cold.loss - 1 == pytest.approx(-0.094, abs=0.002)
    score = range_loss(actual, view, at).loss / range_loss(actual, wide, at).loss - 1
    assert -0.03 < score < 0


def test_losses_of_widths_know_no_unit_and_no_size_of_series() -> None:
    """Each cell by a factor of its own: the same loss; a large series counts as a small one."""
    actual, cold, levels = cells(7, 12)
    other = scaled(cold, 0.8)
    whole = width_losses(actual, cold, other, levels)
    size = np.exp(np.random.default_rng(3).normal(0, 3, 12))
    for by in (1 / 1000, size):
        found = width_losses(
            actual * by, {k: v * by for k, v in cold.items()},
            {k: v * by for k, v in other.items()}, levels,
        )  # fmt: skip
        for ours, first in zip(found, whole, strict=True):
            assert ours.loss == pytest.approx(first.loss, rel=1e-9)
    order = np.random.default_rng(1).permutation(12)
    mixed = width_losses(
        actual[order], {k: v[order] for k, v in cold.items()},
        {k: v[order] for k, v in other.items()}, [levels[i] for i in order],
    )  # fmt: skip
    assert [m.loss for m in mixed] == pytest.approx([w.loss for w in whole], rel=1e-12)


def test_of_widths_a_level_weighs_by_the_root_of_its_cells() -> None:
    actual, cold, levels = cells(5, 30)
    other = scaled(cold, 1.3)
    alone = {
        level: [
            loss.loss
            for loss in width_losses(
                actual[at], {k: v[at] for k, v in cold.items()},
                {k: v[at] for k, v in other.items()}, [level] * len(at),
            )
        ]
        for level in dict.fromkeys(levels)
        if (at := [i for i in range(30) if levels[i] == level])
    }  # fmt: skip
    roots = {level: levels.count(level) ** 0.5 for level in alone}
    for arm, found in enumerate(width_losses(actual, cold, other, levels)):
        mixed = sum(roots[level] * alone[level][arm] for level in alone) / sum(roots.values())
        assert found.loss == pytest.approx(mixed, rel=1e-12)


def test_unknown_cells_and_those_whose_cold_range_has_no_width_are_left_out_of_both() -> None:
    actual, cold, levels = cells(9, 12)
    other = scaled(cold, 1.5)
    gaps = actual.copy()
    gaps[[0, 4]] = np.nan
    flat = {k: np.where(np.arange(12) == 7, 5.0, v) for k, v in cold.items()}
    kept = [i for i in range(12) if i not in (0, 4, 7)]
    found = width_losses(gaps, flat, other, levels)
    expected = width_losses(
        actual[kept], {k: v[kept] for k, v in cold.items()},
        {k: v[kept] for k, v in other.items()}, [levels[i] for i in kept],
    )  # fmt: skip
    assert found == expected
    assert [loss.cells for loss in found] == [9, 9]
    # A range that has no width under the other procedure alone is one: too narrow.
    point = {k: np.where(np.arange(12) == 7, cold["p50"], v) for k, v in cold.items()}
    assert [loss.cells for loss in width_losses(actual, cold, point, levels)] == [12, 12]
    assert width_losses(np.full(12, np.nan), cold, other, levels) == (NOTHING, NOTHING)
    assert width_losses(actual, scaled(cold, 0.0), other, levels) == (NOTHING, NOTHING)
    with pytest.raises(ValueError, match="one length for all"):
        width_losses(actual, cold, other, levels[:-1])
    with pytest.raises(ValueError, match="one length for all"):
        width_losses(actual, cold, {k: v[:-1] for k, v in other.items()}, levels)
