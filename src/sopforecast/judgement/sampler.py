"""Credibility by NUTS: the hierarchical Student-t regression of what came on what was said.

``y = shift + weight * d + noise`` over closed statements, in ``unit_sd``: the model of
``closed_form``, with the same effects and priors, sampled whole (``sampled_model`` is its graph).
Somebody who has not spoken yet differs from the others by as much as the others do.

References
----------
Hoffman and Gelman (2014), The No-U-Turn Sampler. Vehtari, Gelman, Simpson, Carpenter and Bürkner
(2021), Rank-normalization, folding, and localization: an improved R-hat.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import polars as pl

from sopforecast.core.draws import series_rng
from sopforecast.judgement.effects import (
    OWNER_DIRECTION_SD,
    OWNER_SHIFT_SD,
    OWNER_TO_LINE,
    OWNER_WEIGHT_SD,
    SOURCE_SHIFT_SD,
    SOURCE_WEIGHT_SD,
    Rows,
    shared_effects,
    statement_sums,
)
from sopforecast.judgement.noise import OWNER_SPREAD_SD, SOURCE_SPREAD_SD
from sopforecast.judgement.posterior import Posterior, who_spoke
from sopforecast.judgement.sampled_model import SAMPLED, Start, build_model, starts

MAX_R_HAT, MIN_ESS = 1.01, 400.0
TARGET_ACCEPT = (0.85, 0.99)  # the second, four times slower, where the first draws badly
NEW = (
    "weight source", "weight owner", "direction owner", "shift source", "shift owner",
    "spread source", "spread owner",
)  # fmt: skip


def fit_nuts(
    observations: pl.DataFrame,
    *,
    half_life: float | None = None,
    seed: int,
    draws: int = 2000,
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
    start = starts(rows)
    compiled = compile_model(rows, start)
    for target_accept in TARGET_ACCEPT:
        drawn = draw(
            compiled, seed=seed, draws=draws, tune=tune, chains=chains, target_accept=target_accept
        )
        fitted = posterior_of(observations, rows, start, drawn, seed=seed)
        if not passes(fitted):
            break
    return fitted


def compile_model(rows: Rows, start: Start) -> Any:
    """The model as nutpie's compiled one, by numba: no C compiler is needed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of arviz, about its next version
        import nutpie
        import pytensor

    with warnings.catch_warnings(), pytensor.config.change_flags(cxx=""):
        warnings.filterwarnings("ignore", message="Loop fusion failed")  # costs a little speed
        return nutpie.compile_pymc_model(build_model(rows, start), backend="numba")


def draw(
    compiled: Any,
    *,
    seed: int,
    draws: int,
    tune: int,
    chains: int,
    target_accept: float = TARGET_ACCEPT[0],
) -> dict[str, np.ndarray]:
    """Draws (chains, draws, ...) of ``SAMPLED``, and ``diverging`` (chains, draws)."""
    import nutpie

    idata = nutpie.sample(
        compiled, draws=draws, tune=tune, chains=chains, seed=seed, target_accept=target_accept,
        save_warmup=False, progress_bar=False,
    )  # fmt: skip
    drawn = {name: idata.posterior[name].to_numpy() for name in SAMPLED}
    return {**drawn, "diverging": idata.sample_stats["diverging"].to_numpy()}


def posterior_of(
    observations: pl.DataFrame,
    rows: Rows,
    start: Start,
    drawn: dict[str, np.ndarray],
    *,
    seed: int,
) -> Posterior:
    """Everybody who spoke, and who might, from draws; with how well the chains agree."""
    kappa = drawn["kappa"]
    common, own = start.effects(drawn["z_common"], drawn["z_own"], kappa[..., None])
    spreads = start.spreads(drawn["z_spread"])
    said = who_spoke(observations)
    results = _results(said, rows, common, own, spreads, kappa, seed=seed)
    others = [drawn[name] for name in ("kappa", "months_error", "tail_above_2")]
    r_hat, ess = _convergence([common, own, spreads, *others, *results])
    return Posterior(
        frame=_frame(said, *results),
        months_error=float(drawn["months_error"].mean()),
        tail=float(2.0 + drawn["tail_above_2"].mean()),
        method="nuts",
        r_hat=r_hat,
        ess=ess,
        divergences=int(drawn["diverging"].sum()),
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


def _results(
    said: pl.DataFrame,
    rows: Rows,
    common: np.ndarray,
    own: np.ndarray,
    spreads: np.ndarray,
    kappa: np.ndarray,
    *,
    seed: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weight, shift and log scale (chains, draws, K) of the K rows of ``said``.

    Somebody new differs from others by as much as ``kappa`` says; normal scores in random order
    stand for that difference, so means are those of the source, or of everybody.
    """
    names = list(said.select("source", "owner", "reason", "direction").iter_rows())
    sources = {name: k for k, name in enumerate(rows.sources)}
    owners = {name: k for k, name in enumerate(rows.owners)}
    reasons = {name: k for k, name in enumerate(rows.reasons)}
    source = np.array([sources.get(q, -1) for q, *_ in names])
    owner = np.array([owners.get((q, o), -1) for q, o, *_ in names])
    reason = np.array([reasons.get((q, r), -1) for q, _, r, _ in names])
    way = np.array([1 if direction == "up" else 2 for *_, direction in names])
    new = {name: _normal_scores(kappa.shape, seed=seed, name=name)[..., None] for name in NEW}
    # Everybody known, with one more at the end (index -1) who is new.
    fresh = kappa[..., None] * np.concatenate([
        OWNER_WEIGHT_SD * new["weight owner"], OWNER_DIRECTION_SD * new["direction owner"],
        OWNER_SHIFT_SD * new["shift owner"],
    ], axis=-1)  # fmt: skip
    lines = np.concatenate([own, fresh[..., None, :]], axis=-2) @ OWNER_TO_LINE.T
    shared = shared_effects(rows, source, reason)
    k = np.arange(len(names))
    weight = common @ shared[k, way].T + lines[..., owner, way]
    shift = common @ shared[k, 0].T + lines[..., owner, 0]
    anybody = kappa[..., None] * (source < 0)
    weight = weight + anybody * SOURCE_WEIGHT_SD * new["weight source"]
    shift = shift + anybody * SOURCE_SHIFT_SD * new["shift source"]
    places = 1 + len(rows.sources)
    of_source = np.concatenate(
        [spreads[..., 1:places], SOURCE_SPREAD_SD * new["spread source"]], axis=-1
    )
    of_owner = np.concatenate(
        [spreads[..., places:], OWNER_SPREAD_SD * new["spread owner"]], axis=-1
    )
    return weight, shift, spreads[..., :1] + of_source[..., source] + of_owner[..., owner]


def _normal_scores(shape: tuple[int, ...], *, seed: int, name: str) -> np.ndarray:
    """Standard normal quantiles in random order: mean exactly 0."""
    from scipy.special import ndtri

    size = int(np.prod(shape))
    scores = ndtri((np.arange(size) + 0.5) / size)
    return series_rng(seed, name).permutation(scores).reshape(shape)


def _convergence(drawn: list[np.ndarray]) -> tuple[float, float]:
    """Largest r_hat and smallest effective sample size (bulk and tail) of all quantities."""
    import arviz as az
    import xarray as xr

    watched = np.concatenate([values.reshape(*values.shape[:2], -1) for values in drawn], axis=2)
    data = xr.Dataset({"x": (("chain", "draw", "k"), watched)})
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
