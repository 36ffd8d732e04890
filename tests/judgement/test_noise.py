"""The noise half of credibility, against ``scipy.stats.multivariate_t`` and explicit normals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta, gamma, multivariate_normal, multivariate_t

from sopforecast.judgement import noise
from sopforecast.judgement.effects import Rows
from sopforecast.judgement.noise import (
    LOG_SPREAD,
    MONTHS_ERROR,
    TAIL,
    Noise,
    fit_noise,
    robust_weights,
    start_noise,
)

OWNERS = (("finance", "cyd"), ("finance", "dan"), ("sales", "ann"), ("sales", "bob"))
SOURCES = ("finance", "sales")


def rows_of(
    residuals: list[np.ndarray], owner: list[int], *, power: np.ndarray | None = None
) -> Rows:
    """Statements of which nothing but their residuals' number and owner matters."""
    power = np.ones(len(owner)) if power is None else power
    return Rows(
        count=np.array([float(len(r)) for r in residuals]),
        sums=np.zeros((len(owner), 4)),
        products=np.zeros((len(owner), 4, 4)),
        power=np.full(len(owner), np.nan),  # noise counts by age alone
        age_power=power,
        owner=np.array(owner),
        reason=np.zeros(len(owner), dtype=np.int64),
        owners=OWNERS,
        reasons=(("sales", "promotion"),),
        sources=SOURCES,
    )


def squares(residuals: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    within = np.array([((r - r.mean()) ** 2).sum() for r in residuals])
    return within, np.array([len(r) * r.mean() ** 2 for r in residuals])


def simulated(
    seed: int, *, each: int = 8, rho: float = 0.5, tail: float = 6.0, scale: float = 1.0
) -> tuple[list[np.ndarray], list[int]]:
    rng = np.random.default_rng(seed)
    residuals, owner = [], []
    for k in range(each * len(OWNERS)):
        n = 1 + k // len(OWNERS) % 4
        shape = scale**2 * ((1 - rho) * np.eye(n) + rho)
        residuals.append(
            np.atleast_1d(multivariate_t.rvs(np.zeros(n), shape, tail, random_state=rng))
        )
        owner.append(k % len(OWNERS))
    return residuals, owner


def log_t(residual: np.ndarray, log_scale: float, rho: float, tail: float) -> float:
    n = len(residual)
    shape = np.exp(2 * log_scale) * ((1 - rho) * np.eye(n) + rho * np.ones((n, n)))
    return float(multivariate_t.logpdf(residual, np.zeros(n), shape, tail))


def averaged(grid: np.ndarray, log_density: np.ndarray) -> float:
    share = np.exp(log_density - log_density.max())
    return float(share @ grid / share.sum())


def test_every_grid_posterior_is_that_of_dense_densities() -> None:
    residuals, owner = simulated(0)
    power = np.random.default_rng(1).uniform(0.2, 1.0, len(owner))
    before = Noise(np.array([0.1, -0.3, 0.2, 0.0]), np.zeros((4, 1)), np.zeros(2), 0.0, 0.3, 7.0)
    found = fit_noise(rows_of(residuals, owner, power=power), *squares(residuals), before)

    def total(rho: float, tail: float) -> float:
        parts = zip(power, residuals, owner, strict=True)
        return sum(p * log_t(r, before.log_spread[o], rho, tail) for p, r, o in parts)

    many = [p if len(r) > 1 else 0.0 for p, r in zip(power, residuals, strict=True)]
    fits = [
        sum(
            p * log_t(r, before.log_spread[o], rho, 7.0)
            for p, r, o in zip(many, residuals, owner, strict=True)
            if p
        )
        for rho in MONTHS_ERROR
    ]
    rho = averaged(MONTHS_ERROR, np.array(fits) + beta.logpdf(MONTHS_ERROR, 2, 2))
    assert found.months_error == pytest.approx(rho)
    fits = [total(rho, nu) for nu in TAIL]
    prior = gamma.logpdf(TAIL - 2.0, 2.0, scale=4.0) + np.log(np.gradient(TAIL))
    tail = averaged(TAIL, np.array(fits) + prior)
    assert found.tail == pytest.approx(tail)

    likelihood = np.zeros((4, len(LOG_SPREAD)))
    for p, r, o in zip(power, residuals, owner, strict=True):
        likelihood[o] += [p * log_t(r, s, rho, tail) for s in LOG_SPREAD]
    flat = np.exp(likelihood - likelihood.max(axis=1, keepdims=True))
    flat /= flat.sum(axis=1, keepdims=True)
    seen = flat @ LOG_SPREAD
    doubt = flat @ LOG_SPREAD**2 - seen**2
    # theta: all, two sources, four owners, in one explicit normal model of what was seen
    loads = np.zeros((4, 7))
    loads[:, 0] = 1.0
    loads[np.arange(4), [1, 1, 2, 2]] = 1.0
    loads[np.arange(4), np.arange(3, 7)] = 1.0
    sd = [noise.SPREAD_SD, *[noise.SOURCE_SPREAD_SD] * 2, *[noise.OWNER_SPREAD_SD] * 4]
    prior_theta = np.diag(np.square(sd))

    def given(kept: list[int]) -> tuple[np.ndarray, np.ndarray]:
        some = loads[kept]
        gain = prior_theta @ some.T @ np.linalg.inv(
            some @ prior_theta @ some.T + np.diag(doubt[kept])
        )  # fmt: skip
        return gain @ seen[kept], prior_theta - gain @ some @ prior_theta

    for o in range(4):
        mean, covariance = given([k for k in range(4) if k != o])
        centre, variance = loads[o] @ mean, loads[o] @ covariance @ loads[o]
        log_density = likelihood[o] + multivariate_normal.logpdf(LOG_SPREAD, centre, variance)
        share = np.exp(log_density - log_density.max())
        np.testing.assert_allclose(found.grid[o], share / share.sum(), atol=1e-9)
    np.testing.assert_allclose(found.log_spread, found.grid @ LOG_SPREAD)
    everything = given([0, 1, 2, 3])[0]
    assert found.of_all == pytest.approx(everything[0])
    # A new owner of a source is where all and the source are.
    np.testing.assert_allclose(found.of_source, everything[0] + everything[1:3])


def test_weights_against_outliers_are_those_of_the_t() -> None:
    residuals, owner = simulated(2)
    state = Noise(np.array([0.1, -0.3, 0.2, 0.0]), np.zeros((4, 1)), np.zeros(2), 0.0, 0.3, 7.0)
    found = robust_weights(rows_of(residuals, owner), *squares(residuals), state)
    for weight, r, o in zip(found, residuals, owner, strict=True):
        shape = np.exp(2 * state.log_spread[o]) * (0.7 * np.eye(len(r)) + 0.3)
        assert weight == pytest.approx((7.0 + len(r)) / (7.0 + r @ np.linalg.solve(shape, r)))
    assert robust_weights(rows_of([np.array([9.0])], [0]), *squares([np.array([9.0])]), state) < 0.2


def test_what_made_the_residuals_is_found_again() -> None:
    for scale, rho, tail in ((0.5, 0.8, 30.0), (2.0, 0.2, 4.0)):
        residuals, owner = simulated(3, each=150, rho=rho, tail=tail, scale=scale)
        rows = rows_of(residuals, owner)
        found = start_noise(rows)
        for _ in range(6):
            found = fit_noise(rows, *squares(residuals), found)
        np.testing.assert_allclose(found.log_spread, np.log(scale), atol=0.2)
        assert found.months_error == pytest.approx(rho, abs=0.1)
        assert np.log(found.tail) == pytest.approx(np.log(tail), abs=0.5)


def test_an_unheard_owner_takes_the_scale_of_others_and_less_of_it() -> None:
    residuals, owner = simulated(4, each=60, scale=3.0)
    heard = [k for k, o in enumerate(owner) if o != 3]
    rows = rows_of([residuals[k] for k in heard], [owner[k] for k in heard])
    found = fit_noise(rows, *squares([residuals[k] for k in heard]), start_noise(rows))
    assert 0.2 < found.log_spread[3] < found.log_spread[2]
    doubt = [float(grid @ LOG_SPREAD**2 - (grid @ LOG_SPREAD) ** 2) for grid in found.grid]
    assert doubt[3] > 3 * doubt[2]


def test_one_month_a_statement_says_nothing_of_months() -> None:
    residuals, owner = [np.array([x]) for x in (0.4, -1.0, 2.0, 0.3)], [0, 1, 2, 3]
    rows = rows_of(residuals, owner)
    assert fit_noise(rows, *squares(residuals), start_noise(rows)).months_error == 0.5
