"""Credibility by NUTS: the hierarchical Student-t regression of what came on what was said.

``y = shift + weight * d + noise`` over closed statements, in ``unit_sd``: the model of
``closed_form``, with the same effects and priors, sampled whole. Noise of one statement is
multivariate Student-t, equally correlated between its months, with a scale of its owner's own. A
statement is held as its count, means and centred products (one owner and one reason each): no
parameter belongs to a row, and 20,000 rows cost what their statements cost. Effects are linear in
one vector of standard normals, so who somebody is, is a row of a small matrix.

References
----------
Hoffman and Gelman (2014), The No-U-Turn Sampler. Lange, Little and Taylor (1989), Robust
statistical modeling using the t distribution. Vehtari, Gelman, Simpson, Carpenter and Bürkner
(2021), Rank-normalization, folding, and localization: an improved R-hat.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import polars as pl

from sopforecast.core.draws import series_rng
from sopforecast.core.evidence_tables import ANY
from sopforecast.judgement.effect_maps import effect_maps, effect_priors, local_effects
from sopforecast.judgement.effects import (
    KAPPA_SD,
    OWNER_DIRECTION_SD,
    OWNER_SHIFT_SD,
    OWNER_WEIGHT_SD,
    SOURCE_SHIFT_SD,
    SOURCE_WEIGHT_SD,
    Rows,
    statement_sums,
)
from sopforecast.judgement.noise import OWNER_SPREAD_SD, SOURCE_SPREAD_SD, SPREAD_SD
from sopforecast.judgement.posterior import Posterior, who_spoke

MAX_R_HAT, MIN_ESS = 1.01, 400.0
TARGET_ACCEPT = 0.9


def fit_nuts(
    observations: pl.DataFrame,
    *,
    half_life: float | None = None,
    seed: int,
    draws: int = 1000,
    tune: int = 1000,
    chains: int = 2,
) -> Posterior:
    """Weight, shift and spread of everybody who spoke, by sampling the whole posterior.

    Parameters
    ----------
    observations : pl.DataFrame
        ``Observations``, at least one row.
    half_life : float, optional
        Months after which a closed statement counts half; None: all count alike.
    seed : int
        Same seed and rows, same numbers.
    draws, tune, chains : int
        Kept and discarded draws of each chain, and chains; a chain takes one core.

    Returns
    -------
    Posterior
        ``spread`` is the exponential of the mean log scale. ``r_hat`` and ``ess`` are the worst of
        all parameters and of everything in the frame; ask ``passes`` before using it.

    Raises
    ------
    ValueError
        No rows.
    """
    if observations.height == 0:
        raise ValueError("observations: found no rows; allowed: at least one closed statement")
    rows = statement_sums(observations, half_life=half_life)
    idata = sample(build_model(rows), seed=seed, draws=draws, tune=tune, chains=chains)
    said = who_spoke(observations)
    drawn = {name: idata.posterior[name].to_numpy() for name in PARAMETERS}
    weight, shift, log_spread = _results(said, rows, drawn, seed=seed)
    r_hat, ess = _convergence([*drawn.values(), weight, shift, log_spread])
    return Posterior(
        frame=_frame(said, weight, shift, log_spread),
        months_error=float(drawn["months_error"].mean()),
        tail=float(2.0 + drawn["tail_above_2"].mean()),
        method="nuts",
        r_hat=r_hat,
        ess=ess,
        divergences=int(idata.sample_stats["diverging"].to_numpy().sum()),
    )


def passes(posterior: Posterior) -> list[str]:
    """Which gates a fit fails, in words; empty when it may be used (or drew nothing)."""
    failed = []
    if posterior.r_hat is not None and not posterior.r_hat < MAX_R_HAT:
        failed.append(f"r_hat {posterior.r_hat:.4f}; allowed: below {MAX_R_HAT}")
    if posterior.ess is not None and not posterior.ess > MIN_ESS:
        failed.append(f"effective sample size {posterior.ess:.0f}; allowed: above {MIN_ESS:.0f}")
    if posterior.divergences:
        failed.append(f"divergences {posterior.divergences}; allowed: none")
    return failed


PARAMETERS = (
    "z_effect", "kappa", "z_spread", "z_spread_source", "z_spread_owner", "months_error",
    "tail_above_2",
)  # fmt: skip


def build_model(rows: Rows) -> Any:
    """The graph over ``PARAMETERS``: effects (P,), log scales of all, sources (Q,), owners (O,).

    Returns
    -------
    pymc.Model
        Its only potential is the likelihood of all statements.

    Notes
    -----
    With n months, residuals of mean ``r`` and squares ``W`` about it, correlation ``rho``, scale
    ``t`` and tail ``nu``, a statement's log density is

    ``lgamma((nu + n) / 2) - lgamma(nu / 2) - n log(nu pi t^2) / 2
    - ((n - 1) log(1 - rho) + log(1 - rho + n rho)) / 2 - (nu + n) / 2 log(1 + Q / nu)``,

    ``Q t^2 = W / (1 - rho) + n r^2 / (1 - rho + n rho)``.
    """
    import pymc as pm

    with pm.Model() as model:
        z = pm.Normal("z_effect", 0.0, 1.0, shape=len(effect_priors(rows)[0]))
        kappa = pm.LogNormal("kappa", 0.0, KAPPA_SD)
        spread = pm.Normal("z_spread", 0.0, 1.0)
        spread_source = pm.Normal("z_spread_source", 0.0, 1.0, shape=len(rows.sources))
        spread_owner = pm.Normal("z_spread_owner", 0.0, 1.0, shape=len(rows.owners))
        rho = pm.Beta("months_error", 2.0, 2.0)
        tail = 2.0 + pm.Gamma("tail_above_2", alpha=2.0, beta=0.25)
        log_spread = _log_spread(rows, spread, spread_source, spread_owner)
        pm.Potential(
            "statements",
            log_likelihood(rows, _effects(rows, z, kappa), log_spread, rho=rho, tail=tail),
        )
    return model


def log_likelihood(rows: Rows, effects: Any, log_spread: Any, *, rho: Any, tail: Any) -> Any:
    """Log likelihood of all statements, each with its power, as a tensor.

    Parameters
    ----------
    rows : Rows
        T statements.
    effects : tensor (P,)
        Effects on shift and weight, ordered as ``local_effects`` does.
    log_spread : tensor (O,)
        Log scale of each owner's noise.
    rho, tail : scalar tensors
        Correlation between months of one statement; degrees of freedom, above 2.
    """
    import pymc as pm
    import pytensor.tensor as pt

    # As shared data they are arguments of the compiled function; constants would be compiled in.
    held = {name: pm.Data(name, value) for name, value in _held(rows).items()}
    shift, up, down = (pt.dot(held[f"map_{k}"], effects)[held["place"]] for k in range(3))
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
    maps, place, _ = effect_maps(rows)
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
        "place": place,
        "owner": rows.owner,
        "months": months,
        "statements_of_months": np.bincount(of_months, weights=rows.power),
        "rows_of_owner": np.bincount(rows.owner, weights=rows.power * rows.count),
    }  # fmt: skip


def sample(model: Any, *, seed: int, draws: int, tune: int, chains: int) -> Any:
    """Draws of a model by nutpie, compiled by numba (no C compiler is needed); silent."""
    import numba
    import nutpie
    import pytensor
    with warnings.catch_warnings(), pytensor.config.change_flags(cxx=""):
        compiled = nutpie.compile_pymc_model(model, backend="numba")
    return nutpie.sample(
        compiled, draws=draws, tune=tune, chains=chains, seed=seed, save_warmup=False,
        progress_bar=False, target_accept=TARGET_ACCEPT, low_rank_modified_mass_matrix=LOW,
    )  # fmt: skip
LOW=True

def _effects(rows: Rows, z: Any, kappa: Any) -> Any:
    """Effects (..., P) of standard normals (..., P); ``kappa`` scales those that tell apart."""
    mean, sd, scaled = effect_priors(rows)
    return mean + z * sd * (1.0 + scaled * (kappa - 1.0))


def _log_spread(rows: Rows, of_all: Any, of_source: Any, of_owner: Any) -> Any:
    """Log scale (..., O) of every owner from standard normals."""
    source = of_source[..., rows.source_of_owner]
    return of_all * SPREAD_SD + source * SOURCE_SPREAD_SD + of_owner * OWNER_SPREAD_SD


def _results(
    said: pl.DataFrame, rows: Rows, drawn: dict[str, np.ndarray], *, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weight, shift and log scale (chains, draws, K) of the K rows of ``said``.

    Somebody new differs from others by as much as ``kappa`` says; normal scores in random order
    stand for that difference, so means are those of the source, or of everybody.
    """
    kappa = drawn["kappa"]
    effects = _effects(rows, drawn["z_effect"], kappa[..., None])
    owners = {name: k for k, name in enumerate(rows.owners)}
    reasons = {name: k for k, name in enumerate(rows.reasons)}
    new = {
        name: _normal_scores(kappa.shape, seed=seed, name=name)
        for name in ("weight source", "weight owner", "direction owner", "shift source",
                     "shift owner", "spread source", "spread owner")
    }  # fmt: skip
    every = drawn["z_spread"] * SPREAD_SD
    of_source = every[..., None] + drawn["z_spread_source"] * SOURCE_SPREAD_SD
    of_owner = of_source[..., rows.source_of_owner] + drawn["z_spread_owner"] * OWNER_SPREAD_SD
    found = []
    keys = said.select("source", "owner", "reason", "direction")
    for source, owner, reason, direction in keys.iter_rows():
        o, r = owners.get((source, owner), -1), reasons.get((source, reason), -1)
        q = -1 if source == ANY else rows.sources.index(source)
        one = local_effects(rows, q, o, r)
        sign = 0.5 if direction == "up" else -0.5
        weight, shift = effects @ one[1 if direction == "up" else 2], effects @ one[0]
        log_spread = of_owner[..., o] if o >= 0 else of_source[..., q] if q >= 0 else every
        if q < 0:
            weight = weight + kappa * SOURCE_WEIGHT_SD * new["weight source"]
            shift = shift + kappa * SOURCE_SHIFT_SD * new["shift source"]
            log_spread = log_spread + SOURCE_SPREAD_SD * new["spread source"]
        if o < 0:
            apart = OWNER_WEIGHT_SD * new["weight owner"]
            apart = apart + sign * OWNER_DIRECTION_SD * new["direction owner"]
            weight = weight + kappa * apart
            shift = shift + kappa * OWNER_SHIFT_SD * new["shift owner"]
            log_spread = log_spread + OWNER_SPREAD_SD * new["spread owner"]
        found.append((weight, shift, log_spread))
    weight, shift, log_spread = (np.stack(values, axis=-1) for values in zip(*found, strict=True))
    return weight, shift, log_spread


def _normal_scores(shape: tuple[int, ...], *, seed: int, name: str) -> np.ndarray:
    """Standard normal quantiles in random order: mean exactly 0."""
    from scipy.special import ndtri

    size = int(np.prod(shape))
    scores = ndtri((np.arange(size) + 0.5) / size)
    return series_rng(seed, name).permutation(scores).reshape(shape)


def _convergence(drawn: list[np.ndarray]) -> tuple[float, float]:
    """Largest r_hat and smallest effective sample size (bulk and tail) of all quantities."""
    import arviz as az

    watched = np.concatenate([values.reshape(*values.shape[:2], -1) for values in drawn], axis=2)
    data = az.convert_to_dataset({"x": watched}) 
    r_hat = float(az.rhat(data)["x"].max())
    ess = min(float(az.ess(data, method=method)["x"].min()) for method in ("bulk", "tail"))
    return r_hat, ess


def _frame(
    said: pl.DataFrame, weight: np.ndarray, shift: np.ndarray, log_spread: np.ndarray
) -> pl.DataFrame:
    """The frame of a ``Posterior`` from draws (chains, draws, K)."""
    weight, shift, log_spread = (x.reshape(-1, said.height) for x in (weight, shift, log_spread))
    low, high = np.quantile(weight, [0.1, 0.9], axis=0)
    narrow, wide = np.exp(np.quantile(log_spread, [0.05, 0.95], axis=0))
    both = (weight - weight.mean(axis=0)) * (shift - shift.mean(axis=0))
    return said.with_columns(
        weight=pl.Series(weight.mean(axis=0)),
        weight_sd=pl.Series(weight.std(axis=0, ddof=1)),
        weight_p10=pl.Series(low),
        weight_p90=pl.Series(high),
        shift=pl.Series(shift.mean(axis=0)),
        shift_sd=pl.Series(shift.std(axis=0, ddof=1)),
        covariance=pl.Series(both.sum(axis=0) / (len(weight) - 1)),
        spread=pl.Series(np.exp(log_spread.mean(axis=0))),
        spread_p05=pl.Series(narrow),
        spread_p95=pl.Series(wide),
    )
