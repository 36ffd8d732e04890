"""What is learned of contributors by moments, beside the regression.

How large ``truth - baseline`` is where somebody speaks (inflation), how far contributors err
together, and by how much stated ranges are too narrow. Each is shrunk to a prior that counts as
some cells, ranges or rows.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl

from sopforecast.core.evidence_tables import ANY
from sopforecast.judgement.posterior import Posterior

PRIOR_INFLATION = 2.0**0.5
PRIOR_COMMON_ERROR, PRIOR_EVENT_ERROR, PRIOR_ERROR_SD = 0.65, 0.85, 0.2
PRIOR_CELLS = 10.0
CORRELATIONS = np.concatenate([np.arange(0.0, 0.96, 0.05), [0.98]])
PRIOR_OVERCONFIDENCE, PRIOR_RANGES, PRIOR_ROWS = 1.5, 8.0, 5.0
OUTLIER = 5.0
EXPLAINED_FROM = 0.05


def learned_inflation(
    observations: pl.DataFrame, frame: pl.DataFrame, power: np.ndarray
) -> pl.Series:
    """Typical size of ``truth - baseline`` where somebody speaks, by the line and what was said.

    ``inflation**2 = spread**2 + weight**2 * size**2``, ``size`` the root mean square of ``d``: of
    the owner, shrunk to everybody's. The share of it that a statement explains is then that of the
    line: nothing for who says nothing, however small his noise.

    Parameters
    ----------
    observations : pl.DataFrame
        ``Observations``.
    frame : pl.DataFrame
        ``Posterior.frame``.
    power : ndarray
        With which each observation counts.

    Returns
    -------
    pl.Series
        One value a row of ``frame``, in ``unit_sd``.
    """
    square = (pl.col("d") ** 2).clip(0, OUTLIER**2) * pl.col("power")
    told = observations.with_columns(power=pl.Series(power))
    everybody = told.select(square.sum() / pl.col("power").sum()).item()
    size = (square.sum() + PRIOR_ROWS * everybody) / (pl.col("power").sum() + PRIOR_ROWS)
    owners = told.group_by("source", "owner").agg(size=size)
    sizes = frame.join(owners, on=["source", "owner"], how="left", maintain_order="left")
    return sizes.select(
        (pl.col("spread") ** 2 + pl.col("weight") ** 2 * pl.col("size").fill_null(everybody)).sqrt()
    ).to_series()


def learned_overconfidence(observations: pl.DataFrame, power: np.ndarray) -> pl.DataFrame:
    """By how much stated ranges must be widened: source, owner, overconfidence.

    Root of the mean squared error of what was stated over the stated variance; owners are shrunk to
    everybody (owner ``*``), everybody to the prior.
    """
    ranged = pl.col("stated_sd").fill_null(0.0) > 0
    error = ((pl.col("y") - pl.col("d")) / pl.col("stated_sd")).abs().clip(0, OUTLIER) ** 2
    told = observations.select(
        "source",
        "owner",
        n=pl.when(ranged).then(pl.Series(power)).otherwise(0.0),
        square=pl.when(ranged).then(error * pl.Series(power)).otherwise(0.0),
    )
    sums = told.group_by("source", "owner").agg(pl.col("n", "square").sum())
    sums = sums.sort("source", "owner")
    n, square = (float(sums[name].to_numpy().sum()) for name in ("n", "square"))
    everybody = (PRIOR_RANGES * PRIOR_OVERCONFIDENCE**2 + square) / (PRIOR_RANGES + n)
    own = (PRIOR_RANGES * everybody + pl.col("square")) / (PRIOR_RANGES + pl.col("n"))
    owners = sums.select("source", "owner", overconfidence=own.sqrt())
    anybody = observations.select("source").unique().with_columns(owner=pl.lit(ANY))
    anybody = pl.concat([anybody, pl.DataFrame({"source": [ANY], "owner": [ANY]})])
    return pl.concat(
        [owners, anybody.with_columns(overconfidence=pl.lit(float(np.sqrt(everybody))))]
    )


def explained(spread: np.ndarray, inflation: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """Share of the variance of ``truth - baseline`` that a statement explains, and that variance.

    The variance is that of the cells spoken of (``inflation`` squared), and never so small that a
    statement would explain nothing.
    """
    variance = np.maximum(np.square(inflation), np.square(spread) / (1.0 - EXPLAINED_FROM))
    return 1.0 - np.square(spread) / variance, variance


def shared_errors(
    error: np.ndarray, same: np.ndarray, *, common: float, inside: float
) -> np.ndarray:
    """Covariance (..., n, n) of errors before each one's own part, in the unit of ``error``.

    Parameters
    ----------
    error : ndarray (..., n)
        Variance of each statement's error.
    same : ndarray of bool (..., n, n)
        Statements of one event, or of one person: an equivalence.
    common, inside : float
        Correlation between any two, and inside what is the same.

    Notes
    -----
    Two of one voice share ``inside * min(var, var)``, any other two ``common`` times the smallest
    variance of either voice: no combination then weighs anybody negatively.
    """
    least = np.where(same, error[..., None, :], np.inf).min(axis=-1)
    within = np.minimum(error[..., :, None], error[..., None, :])
    between = np.minimum(least[..., :, None], least[..., None, :])
    covariance: np.ndarray = np.where(same, inside * within, common * between)
    return covariance


def learned_common_error(
    observations: pl.DataFrame, fitted: Posterior, inflation: pl.Series, power: np.ndarray
) -> tuple[float, float]:
    """Correlation of errors between contributors to one cell, and between those of one event.

    Where several people spoke of one cell, their statements are combined as a live run would, for
    every correlation of a grid; each counts by how well it foresaw the truth of those cells, and by
    the prior. Cells count once, however many spoke.
    """
    line = fitted.frame.with_columns(inflation=inflation)
    rows = _with_line(observations, line).with_columns(power=pl.Series(power))
    rows = rows.filter(_owners_of_cell() > 1)
    in_event = rows.filter(pl.col("event_id").is_not_null().any().over("cell"))
    apart = rows.filter(~pl.col("event_id").is_not_null().any().over("cell"))
    common = _likeliest(_foreseen(apart, fitted.tail, lambda rho: (rho, rho)), PRIOR_COMMON_ERROR)
    event = _likeliest(
        _foreseen(in_event, fitted.tail, lambda rho: (common, max(rho, common))),
        PRIOR_EVENT_ERROR,
    )
    return common, max(event, common)


def _likeliest(log_density: np.ndarray, prior: float) -> float:
    """Posterior mean on the grid of correlations."""
    log_density = log_density - 0.5 * ((CORRELATIONS - prior) / PRIOR_ERROR_SD) ** 2
    share = np.exp(log_density - log_density.max())
    return float(share @ CORRELATIONS / share.sum())


def _foreseen(
    rows: pl.DataFrame,
    tail: float,
    correlations: Callable[[float], tuple[float, float]],
) -> np.ndarray:
    """Log density (grid,) of what came in the cells, by the correlation that is assumed."""
    from scipy.stats import t as student

    found = np.zeros(len(CORRELATIONS))
    rows = rows.with_columns(n=pl.len().over("cell")).sort("n", "cell", "override_id")
    for (n,), part in rows.group_by("n", maintain_order=True):
        columns = {
            name: part[name].to_numpy().reshape(-1, int(n))
            for name in ("weight", "shift", "spread", "inflation", "d", "y", "power")
        }
        names = part["event_id"].fill_null("").to_numpy().reshape(-1, int(n))
        own = np.eye(names.shape[1], dtype=bool)
        same = own | ((names[:, :, None] == names[:, None, :]) & (names != "")[:, :, None])
        share, variance = explained(columns["spread"], columns["inflation"])
        unit = _units_of_cell(columns["y"])
        typical = (variance * share**2).sum(axis=1) / (share**2).sum(axis=1)
        variance = (typical * unit.max(axis=1) ** 2)[:, None]
        error = variance * (1.0 - share) / share
        x = columns["weight"] * columns["d"] * unit / share
        for k, rho in enumerate(CORRELATIONS.tolist()):
            apart, inside = correlations(rho)
            shared = shared_errors(error, same, common=apart, inside=inside)
            noise = np.where(own, error[:, :, None], shared)
            seen = variance[:, :, None] + noise
            gain = np.linalg.solve(seen, np.broadcast_to(variance[:, :, None], (*x.shape, 1)))
            gain = np.maximum(gain[:, :, 0], 0.0)
            shift = (gain * columns["shift"] * unit).sum(axis=1) / gain.sum(axis=1)
            mean = (gain * x).sum(axis=1) + shift
            scale = np.sqrt(np.maximum(variance[:, 0] * (1.0 - gain.sum(axis=1)), 1e-6))
            score = student.logpdf((columns["y"] * unit)[:, 0], tail, mean, scale)
            found[k] += float(columns["power"].mean(axis=1) @ score)
    return found


def _units_of_cell(y: np.ndarray) -> np.ndarray:
    """Size (M, n) of each statement's unit beside the smallest of its cell: the truth is one."""
    size = np.abs(y)
    most = size.max(axis=1, keepdims=True)
    return np.where(size > 1e-9 * most, most / np.where(size > 0, size, 1.0), 1.0)


def share_of_rows(observations: pl.DataFrame, fitted: Posterior) -> pl.Series:
    """With what share a row counts where several people spoke of the same cell.

    Their residuals hold the same truth: a shock nobody saw is one observation, not thirty. A row of
    a cell with ``n`` owners counts ``1 / (1 + (n - 1) r)``, ``r`` the correlation of residuals
    between owners of one cell.
    """
    rows = _with_line(observations, fitted.frame).with_columns(owners=_owners_of_cell())
    z = rows.select(
        "cell",
        "owners",
        z=(pl.col("y") - pl.col("shift") - pl.col("weight") * pl.col("d")) / pl.col("spread"),
    ).with_columns(pl.col("z").clip(-OUTLIER, OUTLIER))
    shared = z.filter(pl.col("owners") > 1)
    pairs = shared.group_by("cell").agg(
        alike=(pl.col("z").sum() ** 2 - (pl.col("z") ** 2).sum()) / (pl.len() * (pl.len() - 1)),
        square=(pl.col("z") ** 2).mean(),
    )
    pairs = pairs.sort("cell")
    prior = PRIOR_CELLS * PRIOR_COMMON_ERROR
    alike, square = (float(pairs[name].to_numpy().sum()) for name in ("alike", "square"))
    r = float(np.clip((prior + alike) / (PRIOR_CELLS + square), 0.0, 1.0))
    return rows.select(share=1.0 / (1.0 + (pl.col("owners") - 1) * r)).to_series()


def _owners_of_cell() -> pl.Expr:
    return pl.struct("source", "owner").n_unique().over("cell")


def _with_line(observations: pl.DataFrame, frame: pl.DataFrame) -> pl.DataFrame:
    """Observations with the weight, shift and spread of their source, owner and direction."""
    direction = pl.when(pl.col("d") >= 0).then(pl.lit("up")).otherwise(pl.lit("down"))
    line = frame.filter(pl.col("reason") == ANY).drop("reason", "observations", "opinions")
    return observations.with_columns(direction=direction).join(
        line, on=["source", "owner", "direction"], how="left", maintain_order="left"
    )
