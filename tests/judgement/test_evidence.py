"""How far statements move what they speak of, against joint normals and numeric integration."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal, norm

from sopforecast.judgement.evidence import (
    TRUST_IN_RANGE,
    Evidence,
    combine,
    evidence_of,
    update_atoms,
)

NAN = float("nan")
DEFAULTS = {
    "adjustment": 100.0, "unit_sd": 50.0, "stated_sd": NAN, "weight": 0.6, "shift": 0.0,
    "spread": 1.0, "weight_sd": 0.0, "shift_sd": 0.0, "covariance": 0.0, "inflation": 2.0**0.5,
    "common_error": 0.6, "event_error": 0.8, "overconfidence": 1.0, "tail": 8.0,
}  # fmt: skip


def evidence(count: int = 1, **columns: object) -> Evidence:
    """Statements of different people and no event, with some columns changed."""
    values = {
        name: np.broadcast_to(np.asarray(columns.get(name, value), dtype=np.float64), count).copy()
        for name, value in DEFAULTS.items()
    }
    person = np.asarray(columns.get("person", np.arange(count)))
    event = np.broadcast_to(np.asarray(columns.get("event", -1)), count)
    return Evidence(**values, person=person, event=event)


ONE = np.ones((1, 1), dtype=bool)
UNIT = np.array([50.0**2])


def everybody(count: int) -> np.ndarray:
    return np.ones((count, 1), dtype=bool)


@st.composite
def groups(draw: st.DrawFn) -> tuple[Evidence, np.ndarray, np.ndarray]:
    """Up to five statements over up to three atoms, their units as wide as their sums."""
    count, atoms = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    bits = st.lists(st.booleans(), min_size=atoms, max_size=atoms).filter(any)
    covers = np.array([draw(bits) for _ in range(count)])
    variance = np.array([draw(st.floats(1.0, 1e4)) for _ in range(atoms)])

    def floats(low: float, high: float) -> np.ndarray:
        return np.array([draw(st.floats(low, high)) for _ in range(count)])

    weight_sd, shift_sd = floats(0, 0.4), floats(0, 0.3)
    said = evidence(
        count, adjustment=floats(-300, 300), unit_sd=np.sqrt(covers @ variance),
        weight=floats(0, 1.2), shift=floats(-0.5, 0.5), spread=floats(0.3, 1.6),
        stated_sd=np.array([draw(st.sampled_from([NAN, 5.0, 40.0])) for _ in range(count)]),
        weight_sd=weight_sd, shift_sd=shift_sd, covariance=floats(-1, 1) * weight_sd * shift_sd,
        common_error=draw(st.floats(0, 0.95)),
        event_error=draw(st.floats(0, 0.98)), inflation=draw(st.floats(0.5, 2.0)),
        person=np.array([draw(st.integers(0, 2)) for _ in range(count)]),
        event=np.array([draw(st.integers(-1, 1)) for _ in range(count)]),
    )  # fmt: skip
    return said, covers, variance


def measured(
    said: Evidence, covers: np.ndarray, variance: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Prior covariance (A, A), design (K, A), measurements (K,), their errors' covariance (K, K).

    Atom by atom, pair by pair, as the words of the module say.
    """
    cells = np.maximum(said.inflation**2, said.spread**2 / 0.95)
    count = len(said.adjustment)
    share = 1 - said.spread**2 / cells
    wide = float(np.average(cells, weights=share**2))
    error = wide * (1 - share) / share
    for k in range(count):
        if not np.isnan(said.stated_sd[k]):
            own = max((said.overconfidence[k] * said.stated_sd[k] / said.unit_sd[k]) ** 2, 1e-6)
            error[k] = np.exp(
                (1 - TRUST_IN_RANGE) * np.log(error[k]) + TRUST_IN_RANGE * np.log(own)
            )

    def voice(i: int) -> list[int]:
        by = said.event if said.event[i] >= 0 else said.person
        return [
            k for k in range(count) if by[k] == by[i] and (by is said.event or said.event[k] < 0)
        ]

    noise = np.zeros((count, count))
    for i in range(count):
        for j in range(count):
            both = (covers[i] & covers[j]) @ variance
            same = said.event[i] == said.event[j] if said.event[i] >= 0 or said.event[j] >= 0 else (
                said.person[i] == said.person[j])  # fmt: skip
            rho, least = said.common_error.mean(), min(error[v] for v in voice(i) + voice(j))
            if same:
                rho, least = max(rho, said.event_error.mean()), min(error[i], error[j])
            noise[i, j] = both * (error[i] if i == j else rho * least)
    design = covers.astype(np.float64)
    # Wide along what was spoken of, as it was across: an eigenbasis of the sums, in units of sd.
    scaled = design * np.sqrt(variance)
    _, size, basis = np.linalg.svd(scaled, full_matrices=True)
    spoken = np.zeros(len(variance))
    spoken[: len(size)] = size > 1e-9 * size.max()
    factor = basis.T @ np.diag(1 + (wide - 1) * spoken) @ basis
    prior = np.sqrt(np.outer(variance, variance)) * factor
    return prior, design, said.weight * said.adjustment / share, noise


@given(groups())
@hypothesis_settings(max_examples=150)
def test_the_update_is_that_of_a_joint_normal(
    case: tuple[Evidence, np.ndarray, np.ndarray],
) -> None:
    said, covers, variance = case
    prior, design, x, noise = measured(said, covers, variance)
    precision = np.linalg.inv(prior) + design.T @ np.linalg.solve(noise, design)
    mean = np.linalg.solve(precision, design.T @ np.linalg.solve(noise, x))
    nothing = said.shift * 0
    sure = replace(said, shift=nothing, shift_sd=nothing, weight_sd=nothing, covariance=nothing)
    update = update_atoms(sure, covers, variance)
    scale = float(np.sqrt(prior.max()))
    np.testing.assert_allclose(update.moves.sum(axis=1), mean, atol=1e-5 * scale)
    np.testing.assert_allclose(update.covariance, np.linalg.inv(precision), atol=1e-5 * scale**2)


def test_two_who_speak_of_one_number_are_integrated() -> None:
    said = evidence(2, adjustment=[120.0, -40.0], weight=[0.7, 0.3], spread=[0.8, 1.1])
    _, _, x, noise = measured(said, everybody(2), UNIT)
    grid = np.linspace(-800, 800, 200_001)
    density = norm.pdf(grid, 0, np.sqrt(2.0) * 50.0) * multivariate_normal.pdf(
        x - grid[:, None], np.zeros(2), noise
    )
    density /= density.sum()
    update = update_atoms(said, everybody(2), UNIT)
    mean = float(density @ grid)
    assert update.moves.sum() == pytest.approx(mean, rel=1e-6)
    assert update.covariance[0, 0] == pytest.approx(density @ (grid - mean) ** 2, rel=1e-6)


@given(st.floats(-900, 900), st.floats(0, 1.3), st.floats(-1, 1), st.floats(0.2, 3))
def test_one_statement_moves_by_its_line_and_leaves_its_spread(
    adjustment: float, weight: float, shift: float, spread: float
) -> None:
    said = evidence(adjustment=adjustment, weight=weight, shift=shift, spread=spread)
    update = update_atoms(said, ONE, UNIT)
    assert update.moves.sum() == pytest.approx(50.0 * shift + weight * adjustment, abs=1e-6)
    assert update.covariance[0, 0] == pytest.approx((50.0 * spread) ** 2)
    assert update.weight[0] == pytest.approx(weight)
    assert update.tail == 8.0


def test_a_node_without_spread_is_as_wide_as_its_unit() -> None:
    said = evidence(weight=0.5, adjustment=80.0)
    for variance in (np.zeros(1), np.array([3.0]), UNIT):
        update = update_atoms(said, ONE, variance)
        assert update.moves.sum() == pytest.approx(40.0)
        assert update.covariance[0, 0] == pytest.approx(50.0**2)
    parts = update_atoms(said, np.ones((1, 4), dtype=bool), np.zeros(4))
    np.testing.assert_allclose(parts.moves[:, 0], 10.0)


def test_doubt_in_shift_and_weight_widens() -> None:
    sure = update_atoms(evidence(adjustment=120.0), ONE, UNIT).covariance[0, 0]
    weight = update_atoms(evidence(adjustment=120.0, weight_sd=0.3), ONE, UNIT).covariance[0, 0]
    shift = update_atoms(evidence(adjustment=120.0, shift_sd=0.2), ONE, UNIT).covariance[0, 0]
    assert weight - sure == pytest.approx((0.3 * 120.0) ** 2)
    assert shift - sure == pytest.approx((0.2 * 50.0) ** 2)


@pytest.mark.parametrize("covariance", [-0.05, 0.05])
def test_shift_and_weight_err_together(covariance: float) -> None:
    doubts = {"adjustment": 120.0, "weight_sd": 0.3, "shift_sd": 0.2}
    apart = update_atoms(evidence(**doubts), ONE, UNIT).covariance[0, 0]
    found = update_atoms(evidence(**doubts, covariance=covariance), ONE, UNIT).covariance[0, 0]
    # var(unit * shift + adjustment * weight) has twice the covariance times both
    assert found - apart == pytest.approx(2 * covariance * 50.0 * 120.0)


@given(groups())
@hypothesis_settings(max_examples=100)
def test_doubt_in_weights_is_what_the_moves_would_vary_by(
    case: tuple[Evidence, np.ndarray, np.ndarray],
) -> None:
    said, covers, variance = case
    nothing = said.weight * 0
    sure = replace(said, weight_sd=nothing, shift_sd=nothing, covariance=nothing)
    doubtful = replace(sure, weight_sd=said.weight_sd)
    here = update_atoms(sure, covers, variance)
    expected = here.covariance.copy()
    for k in range(len(said.weight)):
        step = np.zeros(len(said.weight))
        step[k] = 1.0
        there = update_atoms(replace(sure, weight=said.weight + step), covers, variance)
        slope = (there.moves - here.moves).sum(axis=1)  # moves are linear in weights
        expected += said.weight_sd[k] ** 2 * np.outer(slope, slope)
    found = update_atoms(doubtful, covers, variance).covariance
    np.testing.assert_allclose(found, expected, atol=1e-6 * float(np.abs(expected).max()))


@given(groups())
@hypothesis_settings(max_examples=150)
def test_covariances_are_positive_semi_definite_and_order_never_matters(
    case: tuple[Evidence, np.ndarray, np.ndarray],
) -> None:
    said, covers, variance = case
    update = update_atoms(said, covers, variance)
    size = float(np.trace(update.covariance))
    assert np.linalg.eigvalsh(update.covariance).min() >= -1e-9 * size
    np.testing.assert_array_equal(update.covariance, update.covariance.T)
    back = np.arange(len(said.weight))[::-1]
    other = update_atoms(said.take(back), covers[back], variance)
    scale = float(np.sqrt(variance.max())) * 10
    np.testing.assert_allclose(other.moves[:, back], update.moves, atol=1e-7 * scale)
    np.testing.assert_allclose(other.covariance, update.covariance, atol=1e-7 * scale**2)
    np.testing.assert_allclose(other.weight[back], update.weight)


@given(st.integers(1, 6), st.data())
@hypothesis_settings(max_examples=80)
def test_of_one_number_nobody_is_turned_around(count: int, data: st.DataObject) -> None:
    def floats(low: float, high: float) -> np.ndarray:
        return np.array([data.draw(st.floats(low, high)) for _ in range(count)])

    said = evidence(
        count, adjustment=100.0, weight=floats(0.1, 1.0), spread=floats(0.2, 1.5),
        common_error=data.draw(st.floats(0, 0.95)), event_error=0.0,
    )  # fmt: skip
    update = update_atoms(said, everybody(count), UNIT)
    assert (update.moves >= -1e-7).all()
    assert 0 < update.covariance[0, 0] <= 50.0**2 * max(2.0, *(said.spread**2 / 0.95)) + 1e-6


@pytest.mark.parametrize("rho", [0.0, 0.4, 0.65, 0.95])
def test_many_who_agree_are_worth_one_and_a_bounded_number(rho: float) -> None:
    moved = []
    for count in (1, 2, 5, 30, 300):
        said = evidence(count, common_error=rho, event_error=rho, shift=0.3)
        moved.append(update_atoms(said, everybody(count), UNIT).moves.sum())
    habit = 0.3 * 50.0  # agreeing does not make a habit larger
    worth = (np.array(moved) - habit) / (moved[0] - habit)
    assert worth[0] == 1.0
    assert (np.diff(worth) > 0).all()
    # With explained share R = 1/2, infinitely many are worth 1 / (R + rho (1 - R)).
    assert worth[-1] <= 1 / (0.5 + rho * 0.5)
    assert worth[-1] == pytest.approx(1 / (0.5 + rho * 0.5), rel=0.01)


def test_one_voice_twice_is_worth_less_than_two() -> None:
    def moved(**columns: object) -> float:
        return float(update_atoms(evidence(2, **columns), everybody(2), UNIT).moves.sum())

    two = moved()
    for alike in ({"person": np.array([0, 0])}, {"event": np.array([3, 3])}):
        assert 60.0 < moved(**alike) < two
    assert moved(event=np.array([3, 4])) == pytest.approx(two)
    # Inside an event everybody is one voice; outside of it the same person is another one.
    assert moved(event=np.array([3, -1]), person=np.array([0, 0])) == pytest.approx(two)
    echo = moved(person=np.array([0, 0]), event_error=0.98)
    assert echo == pytest.approx(60.0, rel=0.02)


def test_a_narrow_range_counts_more_and_an_over_confident_one_less() -> None:
    def counted(stated_sd: float, overconfidence: float = 1.0) -> float:
        said = evidence(stated_sd=stated_sd, overconfidence=overconfidence)
        return float(update_atoms(said, ONE, UNIT).weight[0])

    usual = 50.0 * np.sqrt(2.0)  # what the record itself says: error variance V (1 - R) / R = 2
    assert counted(usual) == pytest.approx(counted(NAN))
    assert counted(10.0) > counted(30.0) > counted(usual) > counted(200.0)
    assert counted(10.0, 3.0) == pytest.approx(counted(30.0))
    # Halfway on the log scale: error variance sqrt(2 * (10 / 50)**2).
    error = np.sqrt(2.0 * 0.2**2)
    assert counted(10.0) == pytest.approx(0.6 / 0.5 * 2.0 / (2.0 + error))


def test_a_nested_statement_shares_its_atom() -> None:
    covers = np.array([[True, True], [True, False]])
    said = evidence(2, unit_sd=[np.sqrt(5000.0), 50.0], adjustment=[100.0, 100.0])
    update = update_atoms(said, covers, np.array([2500.0, 2500.0]))
    family, item = update.moves[:, 0], update.moves[:, 1]
    assert family[1] > family[0] > 0
    assert item[0] > 0
    assert item[1] <= 0  # what the item explains, its family's other items need not


@pytest.mark.parametrize("parts", [2, 7])
def test_a_statement_cut_into_atoms_says_the_same_of_its_sum(parts: int) -> None:
    doubts = {"shift": 0.2, "shift_sd": 0.3, "weight_sd": 0.2, "covariance": 0.02}
    whole = update_atoms(evidence(**doubts), ONE, UNIT)
    cut = update_atoms(
        evidence(**doubts), np.ones((1, parts), dtype=bool), np.full(parts, 50.0**2 / parts)
    )
    assert cut.moves.sum() == pytest.approx(whole.moves.sum())
    assert cut.covariance.sum() == pytest.approx(whole.covariance[0, 0])


def statements(count: int) -> pl.DataFrame:
    frame = pl.DataFrame({name: [value] * count for name, value in DEFAULTS.items()})
    return frame.with_columns(
        stated_sd=pl.Series([None, 20.0, 30.0][:count]),
        source=pl.Series(["sales", "sales", "finance"][:count]),
        owner=pl.Series(["ann", "ann", "ann"][:count]),
        event_id=pl.Series([None, "launch", "launch"][:count], dtype=pl.String),
    )


def test_arrays_are_the_columns_and_tell_people_and_events_apart() -> None:
    said = evidence_of(statements(3))
    for name, value in DEFAULTS.items():
        if name != "stated_sd":
            assert getattr(said, name).tolist() == [value] * 3
    assert np.isnan(said.stated_sd[0])
    assert said.stated_sd[1:].tolist() == [20.0, 30.0]
    assert said.person[0] == said.person[1] != said.person[2]
    assert said.event[0] == -1
    assert said.event[1] == said.event[2] >= 0
    some = said.take(np.array([2, 0]))
    for field in fields(Evidence):
        np.testing.assert_array_equal(getattr(some, field.name), getattr(said, field.name)[[2, 0]])


def test_what_many_say_of_one_number_is_one_update() -> None:
    frame = statements(3)
    mean, scale, tail = combine(frame)
    update = update_atoms(evidence_of(frame), everybody(3), UNIT)
    assert (mean, scale, tail) == (
        pytest.approx(update.moves.sum()), pytest.approx(np.sqrt(update.covariance[0, 0])), 8.0
    )  # fmt: skip
    assert combine(frame[:1])[0] == pytest.approx(60.0)
