"""The mixture-cure model by NUTS: the density of ``conversion_model`` as a graph, and its gates.

The parameters are the whitened ones, standard normal a priori, so the graph starts where the
prior is. Landmarks are shared data: another book of the same studies and owners needs no second
compilation (`with_lines`).

References
----------
Hoffman and Gelman (2014), The No-U-Turn Sampler.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from sopforecast.clinical.conversion_laplace import DRAWS
from sopforecast.clinical.conversion_lines import PLACE, SHARED, Lines
from sopforecast.clinical.conversion_model import TIER_ORDER_SD

MAX_R_HAT, MIN_ESS = 1.01, 400.0
TARGET_ACCEPT = (0.9, 0.99)
_TINY = 1e-300
_LARGEST_POWER = 30.0


def nuts_draws(
    lines: Lines, *, seed: int, compiled: Any = None
) -> tuple[np.ndarray, dict[str, float], list[str]]:
    """Whitened posterior draws (R, D), how well the chains agree, and which gates are missed.

    Parameters
    ----------
    lines : Lines
        At least one line with an outcome.
    seed : int
    compiled : optional
        Of `compile_model`; it must have been built for the same numbers of names and owners.
    """
    compiled = with_lines(compiled, lines) if compiled is not None else compile_model(lines)
    for target_accept in TARGET_ACCEPT:
        drawn, diverging = draw(compiled, seed=seed, target_accept=target_accept)
        found = _quality(drawn, diverging)
        missed = _missed(found)
        if not missed:
            break
    flat = drawn.reshape(-1, drawn.shape[-1])
    return flat[np.linspace(0, len(flat) - 1, DRAWS).astype(int)], found, missed


def compile_model(lines: Lines) -> Any:
    """The graph as nutpie's compiled one, by numba: no C compiler is needed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of arviz, about its next version
        import nutpie
        import pytensor

    with warnings.catch_warnings(), pytensor.config.change_flags(cxx=""):
        warnings.filterwarnings("ignore", message="Loop fusion failed")  # costs a little speed
        return nutpie.compile_pymc_model(build_model(lines), backend="numba")


def with_lines(compiled: Any, lines: Lines) -> Any:
    """The compiled model with the landmarks of another book."""
    return compiled.with_data(**_held(lines))


def draw(
    compiled: Any,
    *,
    seed: int,
    draws: int = 1000,
    tune: int = 600,
    chains: int = 2,
    target_accept: float = TARGET_ACCEPT[0],
) -> tuple[np.ndarray, np.ndarray]:
    """Draws (chains, draws, D) of the whitened parameters, and diverging (chains, draws)."""
    import nutpie

    idata = nutpie.sample(
        compiled, draws=draws, tune=tune, chains=chains, seed=seed, target_accept=target_accept,
        save_warmup=False, progress_bar=False,
    )  # fmt: skip
    return idata.posterior["x"].to_numpy(), idata.sample_stats["diverging"].to_numpy()


def build_model(lines: Lines) -> Any:
    """The graph over ``x`` (D,): a standard normal, soft order of the tiers, the landmarks."""
    import pymc as pm
    import pytensor.tensor as pt

    first = SHARED + len(lines.names)
    with pm.Model() as model:
        # As shared data they are arguments of the compiled function; constants are compiled in.
        held = {name: pm.Data(name, value) for name, value in _held(lines).items()}
        x = pm.Normal("x", shape=len(lines.prior_mean))
        theta = held["prior_mean"] + held["prior_sd"] * x
        for above in (0, 1):
            apart = (theta[above] - theta[above + 1]) / TIER_ORDER_SD
            pm.Potential(f"order_{above}", pm.logcdf(pm.Normal.dist(), apart))
        effect = {
            "name": pt.exp(theta[PLACE["name_sd"]]) * theta[SHARED:first],
            "owner": pt.concatenate(
                [pt.exp(theta[PLACE["owner_sd"]]) * theta[first:], pt.zeros(1)]
            ),
        }
        pm.Potential("landmarks", _log_likelihood(held, theta, effect))
    return model


def _log_likelihood(held: dict[str, Any], theta: Any, effect: dict[str, Any]) -> Any:
    import pytensor.tensor as pt

    shape, loss_shape = (pt.exp(theta[PLACE[key]]) for key in ("shape", "loss_shape"))
    declared = pt.sigmoid(theta[PLACE["declared"]])
    loss_scale = theta[PLACE["loss_scale"]]
    logit = theta[held["tier"]] + effect["name"][held["name"]] + effect["owner"][held["owner"]]
    logit += theta[PLACE["own"]] * held["own"]
    log_scale = theta[3 + held["tier"]] + theta[PLACE["lead"]] * held["lead"]
    chance, never = pt.sigmoid(logit), pt.sigmoid(-logit)
    begins, ends = held["log_begin"], held["log_end"]
    low, high = _power(begins, log_scale, shape), _power(ends, log_scale, shape)
    lost_low = _power(begins, loss_scale, loss_shape)
    lost_high = _power(ends, loss_scale, loss_shape)
    stays = 1.0 - declared * -pt.expm1(-lost_high)
    stay_will, stay_never = (_moves(held, theta, is_will) for is_will in (1.0, 0.0))
    will, fails = chance * pt.exp(stay_will - high), never * pt.exp(stay_never)
    is_open = pt.log(pt.maximum(will + fails * stays, _TINY))
    converted = stay_will + pt.log(pt.maximum(chance, _TINY)) + _month_of(low, high)
    lost = (
        stay_never
        + pt.log(pt.maximum(never, _TINY))
        + pt.log(declared)
        + _month_of(lost_low, lost_high)
    )
    of_line = pt.switch(pt.eq(held["outcome"], 1), converted, lost)
    of_line = pt.switch(pt.eq(held["outcome"], 0), is_open, of_line)
    return (held["weight"] * of_line).sum()


def _moves(held: dict[str, Any], theta: Any, is_will: float) -> Any:
    import pytensor.tensor as pt

    value = 0.0
    for k, way in enumerate(("up", "down")):
        log_rate = theta[PLACE[way]] + is_will * theta[PLACE[f"{way}_ratio"]]
        value += held["moved"][:, k] * log_rate - pt.exp(log_rate) * held["stay"][:, k]
    return value


def _power(log_time: Any, log_scale: Any, shape: Any) -> Any:
    import pytensor.tensor as pt

    return pt.exp(pt.minimum(shape * (log_time - log_scale), _LARGEST_POWER))


def _month_of(low: Any, high: Any) -> Any:
    import pytensor.tensor as pt

    return -low + pt.log(-pt.expm1(-pt.maximum(high - low, 1e-12)))


def _held(lines: Lines) -> dict[str, np.ndarray]:
    """Landmarks as data; owner -1 is the last place, whose effect is 0; log 0 is far below."""
    begins = np.where(lines.outcome == 0, lines.month + 1.0, lines.month)
    return {
        "tier": lines.tier,
        "name": lines.name,
        "owner": np.where(lines.owner < 0, len(lines.owners), lines.owner),
        "lead": lines.lead,
        "own": lines.own,
        "outcome": lines.outcome,
        "log_begin": np.log(np.maximum(begins, _TINY)),
        "log_end": np.log(np.maximum(lines.month + 1.0, _TINY)),
        "moved": lines.moved,
        "stay": lines.stay,
        "weight": lines.weight,
        "prior_mean": lines.prior_mean,
        "prior_sd": lines.prior_sd,
    }


def _quality(drawn: np.ndarray, diverging: np.ndarray) -> dict[str, float]:
    """Worst r_hat and bulk effective sample size of all parameters, and divergences."""
    import arviz as az

    columns = [drawn[..., k] for k in range(drawn.shape[-1])]
    return {
        "r_hat": max(float(az.rhat(one)) for one in columns),
        "ess": min(float(az.ess(one)) for one in columns),
        "divergences": float(diverging.sum()),
    }


def _missed(found: dict[str, float]) -> list[str]:
    missed = []
    if not found["r_hat"] < MAX_R_HAT:
        missed.append(f"r_hat {found['r_hat']:.4f}; allowed: below {MAX_R_HAT}")
    if not found["ess"] > MIN_ESS:
        missed.append(f"effective sample size {found['ess']:.0f}; allowed: above {MIN_ESS:.0f}")
    if found["divergences"]:
        missed.append(f"divergences {found['divergences']:.0f}; allowed: none")
    return missed
