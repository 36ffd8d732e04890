"""Credibility without a sampler: the closed-form twin of the model in ``sampler``.

``y = shift + weight * d + noise`` over closed statements. Given the noise everything is linear and
exact (``effects``); given the effects the noise is integrated on grids (``noise``); a few rounds of
both, nothing is drawn.

References
----------
Efron and Morris (1975), Data analysis using Stein's estimator and its generalizations.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl

from sopforecast.judgement.effects import (
    OWNER_DIRECTION_SD,
    OWNER_SHIFT_SD,
    OWNER_WEIGHT_SD,
    SOURCE_SHIFT_SD,
    SOURCE_WEIGHT_SD,
    Effects,
    Rows,
    residual_squares,
    shared_effects,
    solve,
    statement_sums,
)
from sopforecast.judgement.noise import (
    LOG_SPREAD,
    OWNER_SPREAD_SD,
    SOURCE_SPREAD_SD,
    Noise,
    fit_noise,
    robust_weights,
    start_noise,
)
from sopforecast.judgement.posterior import Posterior, who_spoke

ROUNDS = 8
Z90 = 1.2815515655446004


def fit_closed_form(
    observations: pl.DataFrame, *, half_life: float | None = None, rounds: int = ROUNDS
) -> Posterior:
    """Weight, shift and spread of everybody who spoke.

    Parameters
    ----------
    observations : pl.DataFrame
        ``Observations``, at least one row.
    half_life : float, optional
        Months after which a closed statement counts half; None: all count alike.
    rounds : int
        Alternations between effects and noise.

    Returns
    -------
    Posterior
        Means, standard deviations and quantiles; the same numbers for the same rows in any order.

    Raises
    ------
    ValueError
        No rows.
    """
    if observations.height == 0:
        raise ValueError("observations: found no rows; allowed: at least one closed statement")
    rows = statement_sums(observations, half_life=half_life)
    noise = start_noise(rows)
    effects = _effects(rows, noise, np.ones(len(rows.count)))
    for _ in range(rounds):
        within, between = residual_squares(rows, effects)
        noise = fit_noise(rows, within, between, noise)
        weights = robust_weights(rows, within, between, noise)
        effects = _effects(rows, noise, weights)
    return _posterior(observations, rows, effects, noise)


def _effects(rows: Rows, noise: Noise, weights: np.ndarray) -> Effects:
    return solve(
        rows, weights=weights, log_spread=noise.log_spread, months_error=noise.months_error
    )


def _posterior(observations: pl.DataFrame, rows: Rows, effects: Effects, noise: Noise) -> Posterior:
    """One row a source, owner, reason and direction; newcomers get the doubt of a new effect."""
    told = who_spoke(observations)
    source = _places(told.select("source").iter_rows(), [(name,) for name in rows.sources])
    owner = _places(told.select("source", "owner").iter_rows(), rows.owners)
    reason = _places(told.select("source", "reason").iter_rows(), rows.reasons)
    mean, covariance = effects.local(shared_effects(rows, source, reason), owner)
    row = np.arange(told.height)
    turn = np.where(told["direction"].to_numpy() == "up", 1, 2)
    new = np.array([_newcomer(q, o, effects.kappa) for q, o in zip(source, owner, strict=True)])
    weight = mean[row, turn]
    weight_sd = np.sqrt(covariance[row, turn, turn] + new[:, 0])
    spread = np.array([_spread_of(noise, q, o) for q, o in zip(source, owner, strict=True)])
    columns = {
        "weight": weight,
        "weight_sd": weight_sd,
        "weight_p10": weight - Z90 * weight_sd,
        "weight_p90": weight + Z90 * weight_sd,
        "shift": mean[:, 0],
        "shift_sd": np.sqrt(covariance[:, 0, 0] + new[:, 1]),
        "covariance": covariance[row, 0, turn],
        "spread": spread[:, 0],
        "spread_p05": spread[:, 1],
        "spread_p95": spread[:, 2],
    }
    frame = told.with_columns(**{name: pl.Series(values) for name, values in columns.items()})
    return Posterior(frame, noise.months_error, noise.tail, "closed_form")


def _places(names: Iterable[tuple[str, ...]], known: Sequence[tuple[str, ...]]) -> np.ndarray:
    """Index of each name, -1 where it is not known."""
    place = {name: i for i, name in enumerate(known)}
    return np.array([place.get(name, -1) for name in names])


def _newcomer(source: int, owner: int, kappa: float) -> tuple[float, float]:
    """Variance that the unknown effects of a new owner, or a new source, add to both."""
    weight = shift = 0.0
    if owner < 0:
        weight += OWNER_WEIGHT_SD**2 + OWNER_DIRECTION_SD**2 / 4
        shift += OWNER_SHIFT_SD**2
    if source < 0:
        weight += SOURCE_WEIGHT_SD**2
        shift += SOURCE_SHIFT_SD**2
    return weight * kappa**2, shift * kappa**2


def _spread_of(noise: Noise, source: int, owner: int) -> tuple[float, float, float]:
    """Scale of the noise with its 5% and 95% points."""
    if owner >= 0:
        below = np.cumsum(noise.grid[owner])
        low, high = (float(np.interp(p, below, LOG_SPREAD)) for p in (0.05, 0.95))
        return (*(float(np.exp(x)) for x in (noise.log_spread[owner], low, high)),)  # type: ignore[return-value]
    centre = float(noise.of_source[source]) if source >= 0 else noise.of_all
    doubt = 1.645 * np.hypot(OWNER_SPREAD_SD, SOURCE_SPREAD_SD if source < 0 else 0.0)
    return float(np.exp(centre)), float(np.exp(centre - doubt)), float(np.exp(centre + doubt))
