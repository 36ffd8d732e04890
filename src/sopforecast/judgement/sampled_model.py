"""The graph of the credibility model: where it starts, its priors and its likelihood.

A statement is held as its count, means and centred products (one owner and one reason each): no
parameter belongs to a row, and 20,000 rows cost what their statements cost. Everything depends on
a few effects that are nearly normal, so the graph is written in distances from a rough closed form.

References
----------
Lange, Little and Taylor (1989), Robust statistical modeling using the t distribution.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sopforecast.judgement.effects import (
    DIRECTION_SD,
    KAPPA_SD,
    OWNER_DIRECTION_SD,
    OWNER_SHIFT_SD,
    OWNER_TO_LINE,
    OWNER_WEIGHT_SD,
    REASON_WEIGHT_SD,
    SHIFT_SD,
    SOURCE_SHIFT_SD,
    SOURCE_WEIGHT_SD,
    WEIGHT_CENTRE,
    WEIGHT_SD,
    Rows,
    residual_squares,
    shared_effects,
    solve,
)
from sopforecast.judgement.noise import (
    OWNER_SPREAD_SD,
    SOURCE_SPREAD_SD,
    SPREAD_SD,
    fit_noise,
    robust_weights,
    start_noise,
)

START_ROUNDS = 3
SAMPLED = ("z_common", "z_own", "z_spread", "kappa", "months_error", "tail_above_2")


@dataclass(frozen=True)
class Start:
    """Where the posterior roughly is: sampled is the distance from there, in units of its doubt.

    A linear change of variables: the posterior stays what it is, and the sampler meets something
    close to independent standard normals whether an owner spoke twice or a thousand times. ``G``
    shared effects, ``O`` owners with 3 effects each, ``L = 1 + Q + O`` log scales. What the rows
    say little of grows with ``kappa``, what they pin down does not: ``grows`` is the share of the
    prior variance that is left.

    References
    ----------
    Papaspiliopoulos, Roberts and Sköld (2007), A general framework for the parametrization of
    hierarchical models (partial non-centring).
    """

    kappa: float
    centre: np.ndarray  # (G,), prior means
    grows: np.ndarray  # (G,), 0 where kappa has no say
    own_grows: np.ndarray  # (O, 3)

    common: np.ndarray  # (G,)
    common_factor: np.ndarray  # (G, G)
    own: np.ndarray  # (O, 3)
    own_slope: np.ndarray  # (O, 3, G), on the distance of the shared ones
    own_factor: np.ndarray  # (O, 3, 3)
    spread: np.ndarray  # (L,)
    spread_factor: np.ndarray  # (L, L)

    def effects(self, z_common: Any, z_own: Any, kappa: Any) -> tuple[Any, Any]:
        """Shared effects (..., G) and owners' (..., O, 3) at distances of the same shapes.

        ``kappa`` has the leading shape and one axis of length 1 more.
        """
        owners, _, width = self.own_slope.shape
        off = z_common @ self.common_factor.T
        slope = self.own_slope.reshape(owners * 3, width)
        moved = (off @ slope.T).reshape((*off.shape[:-1], owners, 3))
        alone = (self.own_factor * z_own[..., None, :]).sum(axis=-1)
        size = kappa / self.kappa
        common = self.centre + (self.common - self.centre + off) * size**self.grows
        return common, (self.own + moved + alone) * size[..., None] ** self.own_grows

    def spreads(self, z_spread: Any) -> Any:
        """Log scales (..., L) of all, sources and owners at distances of the same shape."""
        return self.spread + z_spread @ self.spread_factor.T


def starts(rows: Rows) -> Start:
    """Rough posterior by some rounds of the closed form."""
    noise = start_noise(rows)
    weights = np.ones(len(rows.count))
    for _ in range(START_ROUNDS):
        effects = solve(
            rows, weights=weights, log_spread=noise.log_spread, months_error=noise.months_error
        )
        within, between = residual_squares(rows, effects)
        noise = fit_noise(rows, within, between, noise)
        weights = robust_weights(rows, within, between, noise)
    slope = effects.cov_cross @ np.linalg.inv(effects.cov_common)
    own_given = effects.cov_own - slope @ np.swapaxes(effects.cov_cross, 1, 2)
    owners = spread_map(rows)
    information = np.bincount(rows.owner, weights=rows.power * rows.count)
    fixed, pooled, own_sd = prior_sd(rows)
    var = np.diag(effects.cov_common) / (fixed + effects.kappa * pooled) ** 2
    own_var = np.diagonal(own_given, axis1=1, axis2=2) / (effects.kappa * own_sd) ** 2
    centre = np.zeros(len(fixed))
    centre[0] = WEIGHT_CENTRE
    precision = owners.T @ (information[:, None] * owners) + np.diag(spread_sd(rows) ** -2.0)
    covariance = np.linalg.inv(precision)
    return Start(
        kappa=effects.kappa,
        centre=centre,
        grows=np.where(pooled > 0, np.clip(var, 0.0, 1.0), 0.0),
        own_grows=np.clip(own_var, 0.0, 1.0),
        common=effects.common,
        common_factor=np.linalg.cholesky(effects.cov_common),
        own=effects.own,
        own_slope=slope,
        own_factor=np.linalg.cholesky(own_given),
        spread=covariance @ (owners.T @ (information * noise.log_spread)),
        spread_factor=np.linalg.cholesky(covariance),
    )


def build_model(rows: Rows, start: Start) -> Any:
    """The graph over ``SAMPLED``; likelihood and priors of effects and scales are potentials.

    Returns
    -------
    pymc.Model
        ``z_common`` (G,), ``z_own`` (O, 3) and ``z_spread`` (L,) are distances from ``start``.
    """
    import pymc as pm

    fixed, pooled, own_sd = prior_sd(rows)
    with pm.Model() as model:
        kappa = pm.LogNormal("kappa", 0.0, KAPPA_SD)
        common, own = start.effects(
            pm.Flat("z_common", shape=len(fixed)),
            pm.Flat("z_own", shape=start.own.shape),
            kappa[None],
        )
        spreads = start.spreads(pm.Flat("z_spread", shape=len(start.spread)))
        rho = pm.Beta("months_error", 2.0, 2.0)
        tail = 2.0 + pm.Gamma("tail_above_2", alpha=2.0, beta=0.25)
        apart = (((common - start.centre) / (fixed + kappa * pooled)) ** 2).sum()
        apart += ((own / own_sd) ** 2).sum() / kappa**2
        apart += ((spreads / spread_sd(rows)) ** 2).sum()
        # Normal constants less the volume of the change of variables.
        growth = (pooled > 0).sum() + start.own.size - start.grows.sum() - start.own_grows.sum()
        pm.Potential("priors", -apart / 2 - growth * pm.math.log(kappa))
        likelihood = log_likelihood(
            rows, common, own, spread_map(rows) @ spreads, rho=rho, tail=tail
        )
        pm.Potential("statements", likelihood)
    return model


def log_likelihood(
    rows: Rows, common: Any, own: Any, log_spread: Any, *, rho: Any, tail: Any
) -> Any:
    """Log likelihood of all statements, each with its power, as a tensor; inside a model.

    Parameters
    ----------
    rows : Rows
        T statements.
    common, own : tensors (G,), (O, 3)
        Effects as ``effects.shared_effects`` and ``effects.OWNER_TO_LINE`` order them.
    log_spread : tensor (O,)
        Log scale of each owner's noise.
    rho, tail : scalar tensors
        Correlation between months of one statement; degrees of freedom, above 2.

    Notes
    -----
    With n months, residuals of mean ``r`` and squares ``W`` about it, scale ``t``, a statement's
    log density is ``lgamma((tail + n) / 2) - lgamma(tail / 2) - n log(tail pi t^2) / 2
    - ((n - 1) log(1 - rho) + log(1 - rho + n rho)) / 2 - (tail + n) / 2 log(1 + Q / tail)`` with
    ``Q t^2 = W / (1 - rho) + n r^2 / (1 - rho + n rho)``.
    """
    import pymc as pm
    import pytensor.tensor as pt

    # As shared data they are arguments of the compiled function; constants would be compiled in.
    held = {name: pm.Data(name, value) for name, value in _held(rows).items()}
    lines = own @ OWNER_TO_LINE.T
    shift, up, down = (
        (pt.dot(held[f"map_{k}"], common) + lines[held["owner_of_pair"], k])[held["place"]]
        for k in range(3)
    )
    about = held["y"] - shift - up * held["up"] - down * held["down"]
    within = held["y_y"] + up * (up * held["up_up"] - 2.0 * held["up_y"])
    within += down * (down * held["down_down"] - 2.0 * held["down_y"] + 2.0 * up * held["up_down"])
    n, months = held["n"], held["months"]
    square = within / (1.0 - rho) + n * about**2 / (1.0 - rho + n * rho)
    square *= pt.exp(-2.0 * log_spread)[held["owner"]]
    by_months = pt.gammaln((tail + months) / 2) - pt.gammaln(tail / 2)
    by_months -= (months * pt.log(np.pi * tail) + (months - 1) * pt.log1p(-rho)) / 2
    by_months -= pt.log1p((months - 1) * rho) / 2
    by_statement = held["power"] * (tail + n) * pt.log1p(square / tail) / 2
    by_owner = held["rows_of_owner"] * log_spread
    return (held["statements_of_months"] * by_months).sum() - by_statement.sum() - by_owner.sum()


def _held(rows: Rows) -> dict[str, np.ndarray]:
    """Means and centred products (T,) of statements, and what depends on their length only."""
    pairs, place = np.unique(np.stack([rows.owner, rows.reason]), axis=1, return_inverse=True)
    maps = shared_effects(rows, rows.source_of_owner[pairs[0]], pairs[1])
    mean = rows.sums / rows.count[:, None]
    products = rows.products - rows.sums[:, :, None] * mean[:, None, :]
    names = {1: "up", 2: "down", 3: "y"}
    months, of_months = np.unique(rows.count, return_inverse=True)
    return {
        **{f"map_{k}": np.ascontiguousarray(maps[:, k]) for k in range(3)},
        **{a: mean[:, i].copy() for i, a in names.items()},
        **{f"{a}_{b}": products[:, i, j].copy()
           for i, a in names.items() for j, b in names.items() if i <= j},
        "n": rows.count,
        "power": rows.power,
        "place": place.ravel(),
        "owner_of_pair": pairs[0],
        "owner": rows.owner,
        "months": months,
        "statements_of_months": np.bincount(of_months, weights=rows.power),
        "rows_of_owner": np.bincount(rows.owner, weights=rows.power * rows.count),
    }  # fmt: skip


def prior_sd(rows: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Standard deviations: shared effects' fixed (G,) and per kappa (G,), owners' per kappa (3,).

    Ordered as ``effects.shared_effects`` and ``effects.OWNER_TO_LINE``.
    """
    sizes = [1, len(rows.sources), 1, len(rows.reasons), 1, len(rows.sources)]
    fixed = np.repeat([WEIGHT_SD, 0.0, DIRECTION_SD, 0.0, SHIFT_SD, 0.0], sizes)
    pooled = np.repeat([0.0, SOURCE_WEIGHT_SD, 0.0, REASON_WEIGHT_SD, 0.0, SOURCE_SHIFT_SD], sizes)
    return fixed, pooled, np.array([OWNER_WEIGHT_SD, OWNER_DIRECTION_SD, OWNER_SHIFT_SD])


def spread_map(rows: Rows) -> np.ndarray:
    """Log scale of each owner (O,) as a sum over all, sources and owners (O, 1 + Q + O)."""
    owners, sources = len(rows.owners), len(rows.sources)
    return np.hstack([np.ones((owners, 1)), np.eye(sources)[rows.source_of_owner], np.eye(owners)])


def spread_sd(rows: Rows) -> np.ndarray:
    """Prior standard deviations (1 + Q + O,) of log scales."""
    sizes = [1, len(rows.sources), len(rows.owners)]
    return np.repeat([SPREAD_SD, SOURCE_SPREAD_SD, OWNER_SPREAD_SD], sizes)
