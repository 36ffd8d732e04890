"""What a fit of credibility says, the same for the sampler and for its closed-form twin."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from sopforecast.core.evidence_tables import ANY

FRAME = {
    "source": pl.String,
    "owner": pl.String,
    "reason": pl.String,
    "direction": pl.String,
    "observations": pl.Int64,
    "opinions": pl.Int64,
    "weight": pl.Float64,
    "weight_sd": pl.Float64,
    "weight_p10": pl.Float64,
    "weight_p90": pl.Float64,
    "shift": pl.Float64,
    "shift_sd": pl.Float64,
    "covariance": pl.Float64,
    "spread": pl.Float64,
    "spread_p05": pl.Float64,
    "spread_p95": pl.Float64,
}


@dataclass(frozen=True)
class Posterior:
    """Posterior of weight, shift and spread for everybody who spoke, and for who might.

    Attributes
    ----------
    frame : pl.DataFrame
        Columns of ``FRAME``, one row a (source, owner, reason, direction); reason ``*`` is any
        reason, owner ``*`` a new owner of the source, source ``*`` a new source.
    months_error : float
        Correlation of errors between the months of one statement.
    tail : float
        Degrees of freedom of the Student-t noise.
    method : str
        ``closed_form`` or ``nuts``.
    r_hat, ess, divergences
        Of the sampler: the largest, the smallest, their number; None for the closed form.
    """

    frame: pl.DataFrame
    months_error: float
    tail: float
    method: str
    r_hat: float | None = None
    ess: float | None = None
    divergences: int | None = None


def who_spoke(observations: pl.DataFrame) -> pl.DataFrame:
    """Every (source, owner, reason, direction) that gets a row, with its evidence counts.

    Parameters
    ----------
    observations : pl.DataFrame
        ``Observations``; direction is up where ``d`` is not negative.

    Returns
    -------
    pl.DataFrame
        source, owner, reason, direction, observations, opinions (distinct overrides), sorted; both
        directions of every source and owner that spoke, also where only one was heard.
    """
    rows = observations.with_columns(
        direction=pl.when(pl.col("d") >= 0).then(pl.lit("up")).otherwise(pl.lit("down"))
    )
    keys = ["source", "owner", "reason", "direction"]
    any_reason = rows.with_columns(reason=pl.lit(ANY))
    any_owner = any_reason.with_columns(owner=pl.lit(ANY))
    any_source = any_owner.with_columns(source=pl.lit(ANY))
    counted = (
        pl.concat([rows, any_reason, any_owner, any_source])
        .group_by(keys)
        .agg(
            observations=pl.len().cast(pl.Int64), opinions=pl.n_unique("override_id").cast(pl.Int64)
        )
    )
    both = counted.select("source", "owner", "reason").unique()
    both = both.join(pl.DataFrame({"direction": ["down", "up"]}), how="cross")
    zero = pl.col("observations", "opinions").fill_null(0)
    return both.join(counted, on=keys, how="left").with_columns(zero).sort(keys)
