"""The linear half of credibility, against dense matrices with a column per effect."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from scipy.stats import multivariate_normal

from sopforecast.judgement import effects
from sopforecast.judgement.effects import (
    Effects,
    Rows,
    residual_squares,
    shared_effects,
    solve,
    statement_sums,
)

SPEAKERS = [
    ("sales", "ann", "promotion"),
    ("sales", "ann", "account"),
    ("sales", "bob", "promotion"),
    ("finance", "ann", "account"),
    ("finance", "cyd", "account"),
]


def observations(seed: int, statements: int = 30) -> pl.DataFrame:
    """Rows of one to four months; some statements go up and down."""
    rng = np.random.default_rng(seed)
    rows = []
    for k in range(statements):
        source, owner, reason = SPEAKERS[k % len(SPEAKERS)]
        age = float(rng.integers(0, 12))
        for month in range(int(rng.integers(1, 5))):
            d = 1.5 * rng.standard_normal()
            y = 0.2 + 0.7 * d + rng.standard_normal()
            rows.append((f"o{k:03d}", date(2025, 1 + month, 1), source, owner, reason, age, y, d))
    names = ["override_id", "ds_from", "source", "owner", "reason", "age", "y", "d"]
    return pl.DataFrame(rows, schema=names, orient="row")


def dense(
    frame: pl.DataFrame,
    rows: Rows,
    weights: np.ndarray,
    log_spread: np.ndarray,
    rho: float,
) -> tuple[list[str], np.ndarray, np.ndarray, float]:
    """Names, mean, covariance of all effects (one column each), and the root mean square kappa."""
    frame = frame.sort("override_id", "ds_from")
    statements = frame["override_id"].unique(maintain_order=True).to_list()
    sources, people, reasons = rows.sources, rows.owners, rows.reasons
    sizes = {
        "w": (1.0, effects.WEIGHT_SD, False),
        "turn": (1.0, effects.DIRECTION_SD, False),
        "a": (1.0, effects.SHIFT_SD, False),
    }
    for q in sources:
        sizes |= {f"w {q}": (0, effects.SOURCE_WEIGHT_SD, True)}
        sizes |= {f"a {q}": (0, effects.SOURCE_SHIFT_SD, True)}
    for q, o in people:
        sizes |= {f"w {q} {o}": (0, effects.OWNER_WEIGHT_SD, True)}
        sizes |= {f"turn {q} {o}": (0, effects.OWNER_DIRECTION_SD, True)}
        sizes |= {f"a {q} {o}": (0, effects.OWNER_SHIFT_SD, True)}
    for q, r in reasons:
        sizes |= {f"r {q} {r}": (0, effects.REASON_WEIGHT_SD, True)}
    names = list(sizes)
    design = np.zeros((frame.height, len(names)))
    for i, row in enumerate(frame.iter_rows(named=True)):
        for name, value in line(row["source"], row["owner"], row["reason"], row["d"]).items():
            design[i, names.index(name)] += value
    noise = np.zeros((frame.height, frame.height))
    for k, statement in enumerate(statements):
        at = np.flatnonzero((frame["override_id"] == statement).to_numpy())
        tau = np.exp(log_spread[people.index(tuple(frame.select("source", "owner").row(at[0])))])
        block = (1 - rho) * np.eye(len(at)) + rho * np.ones((len(at), len(at)))
        noise[np.ix_(at, at)] = tau**2 * block / (rows.power[k] * weights[k])
    centre = np.array([effects.WEIGHT_CENTRE if name == "w" else 0.0 for name in names])
    y = frame["y"].to_numpy()
    log_share, means, covariances = [], [], []
    for kappa in effects.KAPPA:
        sd = np.array([s * (kappa if scaled else 1.0) for _, s, scaled in sizes.values()])
        prior = np.diag(sd**2)
        seen = design @ prior @ design.T + noise
        gain = prior @ design.T @ np.linalg.inv(seen)
        means.append(centre + gain @ (y - design @ centre))
        covariances.append(prior - gain @ design @ prior)
        log_share.append(
            multivariate_normal.logpdf(y, design @ centre, seen)
            - 0.5 * (np.log(kappa) / effects.KAPPA_SD) ** 2
        )
    share = np.exp(np.array(log_share) - max(log_share))
    share /= share.sum()
    mean = share @ np.stack(means)
    covariance = sum(
        p * (c + np.outer(m - mean, m - mean))
        for p, m, c in zip(share, means, covariances, strict=True)
    )
    return names, mean, np.asarray(covariance), float(np.sqrt(share @ effects.KAPPA**2))


def line(source: str, owner: str | None, reason: str | None, d: float | None) -> dict[str, float]:
    """Coefficients of ``shift + weight * d``; only those of the shift where ``d`` is None."""
    on = {"a": 1.0, f"a {source}": 1.0}
    if owner:
        on[f"a {source} {owner}"] = 1.0
    if d is None:
        return on
    return on | weight_of(source, owner, reason, d >= 0, d)


def weight_of(
    source: str, owner: str | None, reason: str | None, up: bool, size: float = 1.0
) -> dict[str, float]:
    turn = size / 2 if up else -size / 2
    on = {"w": size, f"w {source}": size, "turn": turn}
    if owner:
        on |= {f"w {source} {owner}": size, f"turn {source} {owner}": turn}
    if reason:
        on |= {f"r {source} {reason}": size}
    return on


def fitted(seed: int) -> tuple[pl.DataFrame, Rows, np.ndarray, np.ndarray, Effects]:
    frame = observations(seed)
    rng = np.random.default_rng([seed, 1])
    rows = statement_sums(frame, half_life=9.0)
    weights = rng.uniform(0.3, 1.3, len(rows.count))
    log_spread = rng.normal(0.0, 0.4, len(rows.owners))
    found = solve(rows, weights=weights, log_spread=log_spread, months_error=0.35)
    return frame, rows, weights, log_spread, found


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_weights_and_shifts_are_those_of_a_dense_mixed_model(seed: int) -> None:
    frame, rows, weights, log_spread, found = fitted(seed)
    names, mean, covariance, kappa = dense(frame, rows, weights, log_spread, 0.35)
    asked = [
        (source, owner, reason)
        for source, owner, reason in [
            *SPEAKERS,
            ("sales", "ann", None),
            ("sales", None, None),
            ("finance", None, "account"),
        ]
    ]
    shared = shared_effects(
        rows,
        np.array([rows.sources.index(q) for q, _, _ in asked]),
        np.array([rows.reasons.index((q, r)) if r else -1 for q, _, r in asked]),
    )
    owner = np.array([rows.owners.index((q, o)) if o else -1 for q, o, _ in asked])
    line_mean, line_covariance = found.local(shared, owner)
    for c, (q, o, r) in enumerate(asked):
        maps = np.zeros((3, len(names)))
        parts = (line(q, o, r, None), weight_of(q, o, r, True), weight_of(q, o, r, False))
        for j, part in enumerate(parts):
            for name, value in part.items():
                maps[j, names.index(name)] = value
        np.testing.assert_allclose(line_mean[c], maps @ mean, atol=1e-9)
        np.testing.assert_allclose(line_covariance[c], maps @ covariance @ maps.T, atol=1e-9)
    assert found.kappa == pytest.approx(kappa, rel=1e-9)


def test_covariances_are_positive_semi_definite() -> None:
    *_, found = fitted(4)
    for cross, own in zip(found.cov_cross, found.cov_own, strict=True):
        whole = np.block([[found.cov_common, cross.T], [cross, own]])
        np.testing.assert_allclose(whole, whole.T, atol=1e-12)
        assert np.linalg.eigvalsh(whole).min() > 0


def test_expected_squares_are_those_of_full_matrices() -> None:
    frame, rows, _, _, found = fitted(5)
    within, between = residual_squares(rows, found)
    frame = frame.sort("override_id", "ds_from")
    for t, (_, part) in enumerate(frame.group_by("override_id", maintain_order=True)):
        d, y = part["d"].to_numpy(), part["y"].to_numpy()
        design = np.stack([np.ones(len(d)), d * (d >= 0), d * (d < 0)], axis=1)
        source = np.array([rows.sources.index(part["source"][0])])
        reason = np.array([rows.reasons.index((part["source"][0], part["reason"][0]))])
        owner = np.array([rows.owners.index((part["source"][0], part["owner"][0]))])
        mean, covariance = found.local(shared_effects(rows, source, reason), owner)
        residual = y - design @ mean[0]
        square = np.outer(residual, residual) + design @ covariance[0] @ design.T
        flat = np.full((len(d), len(d)), 1.0 / len(d))
        assert between[t] == pytest.approx(np.trace(flat @ square))
        assert within[t] == pytest.approx(np.trace((np.eye(len(d)) - flat) @ square), abs=1e-9)


def test_sums_are_of_the_rows_of_each_statement() -> None:
    frame = pl.DataFrame(
        {
            "override_id": ["b", "a", "b"],
            "ds_from": [date(2026, 2, 1), date(2026, 1, 1), date(2026, 1, 1)],
            "source": ["sales", "finance", "sales"],
            "owner": ["ann", "ann", "ann"],
            "reason": ["promotion", "account", "promotion"],
            "age": [3.0, 0.0, 4.0],
            "y": [1.0, 5.0, 2.0],
            "d": [2.0, 1.0, -3.0],
            "share": [0.25, 1.0, 0.75],
        }
    )
    rows = statement_sums(frame, half_life=3.0)
    assert rows.count.tolist() == [1.0, 2.0]
    assert rows.sums.tolist() == [[1.0, 1.0, 0.0, 5.0], [2.0, 2.0, -3.0, 3.0]]
    assert rows.products[1].tolist() == [
        [2.0, 2.0, -3.0, 3.0],
        [2.0, 4.0, 0.0, 2.0],
        [-3.0, 0.0, 9.0, -6.0],
        [3.0, 2.0, -6.0, 5.0],
    ]
    assert rows.age_power.tolist() == [1.0, 0.5]  # one half-life old, by its newest month
    assert rows.power.tolist() == [1.0, 0.25]  # half of a half: others spoke of the same
    assert rows.owners == (("finance", "ann"), ("sales", "ann"))
    assert rows.owner.tolist() == [0, 1]
    assert rows.sources == ("finance", "sales")
    assert statement_sums(frame, half_life=None).age_power.tolist() == [1.0, 1.0]


def test_sums_do_not_depend_on_the_order_of_rows() -> None:
    frame = observations(6)
    one = statement_sums(frame, half_life=6.0)
    for seed in range(5):
        other = statement_sums(frame.sample(fraction=1, shuffle=True, seed=seed), half_life=6.0)
        assert one.owners == other.owners
        for name in ("count", "sums", "products", "power", "owner", "reason"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert_frame_equal(frame, observations(6))


def test_two_statements_one_half_life_old_count_as_one_new() -> None:
    frame = observations(7).with_columns(age=pl.lit(0.0))
    old = frame.with_columns(age=pl.lit(5.0))
    twice = pl.concat([old, old.with_columns(override_id=pl.format("{} again", "override_id"))])
    new, aged = statement_sums(frame, half_life=5.0), statement_sums(twice, half_life=5.0)
    spread = np.zeros(len(new.owners))
    one = solve(new, weights=np.ones(len(new.count)), log_spread=spread, months_error=0.4)
    two = solve(aged, weights=np.ones(len(aged.count)), log_spread=spread, months_error=0.4)
    np.testing.assert_allclose(one.own, two.own, atol=1e-10)
    np.testing.assert_allclose(one.cov_common, two.cov_common, atol=1e-10)
    less = statement_sums(frame, half_life=None)
    np.testing.assert_array_equal(less.power, new.power)
    still = statement_sums(old, half_life=5.0)
    weaker = solve(still, weights=np.ones(len(still.count)), log_spread=spread, months_error=0.4)
    assert (np.diagonal(weaker.cov_own, axis1=1, axis2=2) > np.diagonal(
        one.cov_own, axis1=1, axis2=2)).all()  # fmt: skip
