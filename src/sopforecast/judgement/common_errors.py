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
PRIOR_OVERCONFIDENCE, PRIOR_RANGES, PRIOR_ROWS = 1.5, 8.0, 10.0
OUTLIER = 5.0
EXPLAINED_FROM = 0.05


def learned_inflation(observations: pl.DataFrame, power: np.ndarray) -> float:
    """Root mean square of ``truth - baseline`` where somebody spoke, in ``unit_sd``, shrunk."""
    square = np.minimum(np.abs(observations["y"].to_numpy()), OUTLIER) ** 2
    total = PRIOR_ROWS * PRIOR_INFLATION**2 + float(power @ square)
    return float(np.sqrt(total / (PRIOR_ROWS + power.sum())))


def learned_overconfidence(observations: pl.DataFrame, power: np.ndarray) -> pl.DataFrame:
    """By how much stated ranges must be widened: source, owner, overconfidence.

    Root of the mean squared error of what was stated over the stated variance; owners are shrunk to
    everybody (owner ``*``), everybody to the prior.
    """
    told = observations.with_columns(power=pl.Series(power)).filter(pl.col("stated_sd") > 0)
    error = ((pl.col("y") - pl.col("d")) / pl.col("stated_sd")).abs().clip(0, OUTLIER) ** 2
    sums = told.group_by("source", "owner").agg(
        n=pl.col("power").sum(), square=(error * pl.col("power")).sum()
    )
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


def learned_common_error(
    observations: pl.DataFrame, fitted: Posterior, inflation: float, power: np.ndarray
) -> tuple[float, float]:
    """Correlation of errors between contributors to one cell, and between those of one event.

    Where several people spoke of one cell, their statements are combined as a live run would, for
    every correlation of a grid; each counts by how well it foresaw the truth of those cells, and by
    the prior. Cells count once, however many spoke.
    """
    rows = _with_line(observations, fitted).with_columns(power=pl.Series(power))
    rows = rows.filter(_owners_of_cell() > 1)
    in_event = rows.filter(pl.col("event_id").is_not_null().any().over("cell"))
    apart = rows.filter(~pl.col("event_id").is_not_null().any().over("cell"))
    common = _likeliest(
        _foreseen(apart, inflation, fitted.tail, lambda rho: (rho, rho)), PRIOR_COMMON_ERROR
    )
    event = _likeliest(
        _foreseen(in_event, inflation, fitted.tail, lambda rho: (common, max(rho, common))),
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
    inflation: float,
    tail: float,
    correlations: Callable[[float], tuple[float, float]],
) -> np.ndarray:
    """Log density (grid,) of what came in the cells, by the correlation that is assumed."""
    from scipy.stats import t as student

    found = np.zeros(len(CORRELATIONS))
    rows = rows.with_columns(n=pl.len().over("cell")).sort("n", "cell", "override_id")
    for (n,), part in rows.group_by("n", maintain_order=True):
        columns = {
            name: part[name].to_numpy().reshape(-1, int(n))  # type: ignore[call-overload]
            for name in ("weight", "shift", "spread", "d", "y", "power")
        }
        names = part["event_id"].fill_null("").to_numpy().reshape(-1, int(n))  # type: ignore[call-overload]
        together = (names[:, :, None] == names[:, None, :]) & (names != "")[:, :, None]
        _, variance = explained(columns["spread"], inflation)
        variance = variance.max(axis=1, keepdims=True)
        share = 1.0 - columns["spread"] ** 2 / variance
        error = variance * (1.0 - share) / share
        x = columns["weight"] * columns["d"] / share
        least = np.minimum(error[:, :, None], error[:, None, :])
        own = np.eye(int(n)) * error[:, :, None]  # type: ignore[call-overload]
        for k, rho in enumerate(CORRELATIONS.tolist()):
            apart, inside = correlations(rho)
            rate = np.where(together, inside, apart)
            noise = np.where(own > 0, own, rate * least)
            seen = variance[:, :, None] + noise
            gain = np.linalg.solve(seen, np.broadcast_to(variance[:, :, None], (*x.shape, 1)))
            gain = np.maximum(gain[:, :, 0], 0.0)
            shift = (gain * columns["shift"]).sum(axis=1) / gain.sum(axis=1)
            mean = (gain * x).sum(axis=1) + shift
            scale = np.sqrt(np.maximum(variance[:, 0] * (1.0 - gain.sum(axis=1)), 1e-6))
            score = student.logpdf(columns["y"].mean(axis=1), tail, mean, scale)
            found[k] += float(columns["power"].mean(axis=1) @ score)
    return found


def share_of_rows(observations: pl.DataFrame, fitted: Posterior) -> pl.Series:
    """With what share a row counts where several people spoke of the same cell.

    Their residuals hold the same truth: a shock nobody saw is one observation, not thirty. A row of
    a cell with ``n`` owners counts ``1 / (1 + (n - 1) r)``, ``r`` the correlation of residuals
    between owners of one cell.
    """
    rows = _with_line(observations, fitted).with_columns(owners=_owners_of_cell())
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
    prior = PRIOR_CELLS * PRIOR_COMMON_ERROR
    alike, square = (float(pairs[name].to_numpy().sum()) for name in ("alike", "square"))
    r = float(np.clip((prior + alike) / (PRIOR_CELLS + square), 0.0, 1.0))
    return rows.select(share=1.0 / (1.0 + (pl.col("owners") - 1) * r)).to_series()


def _owners_of_cell() -> pl.Expr:
    return pl.struct("source", "owner").n_unique().over("cell")


def _with_line(observations: pl.DataFrame, fitted: Posterior) -> pl.DataFrame:
    """Observations with the weight, shift and spread of their source, owner and direction."""
    direction = pl.when(pl.col("d") >= 0).then(pl.lit("up")).otherwise(pl.lit("down"))
    line = fitted.frame.filter(pl.col("reason") == ANY)
    line = line.select("source", "owner", "direction", "weight", "shift", "spread")
    return observations.with_columns(direction=direction).join(
        line, on=["source", "owner", "direction"], how="left", maintain_order="left"
    )
