"""What each source, owner and reason is worth, and what to believe of a new statement.

``fit_credibility`` turns closed statements into rows of ``Credibility``; ``lookup`` finds, for
every live statement, the row it counts with. Below ``min_closed`` opinions of a source the prior
rules and the planner reads "prior only".
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Literal

import numpy as np
import polars as pl

from sopforecast.core.evidence_tables import ANY, Credibility
from sopforecast.judgement.closed_form import fit_closed_form
from sopforecast.judgement.common_errors import (
    PRIOR_COMMON_ERROR,
    PRIOR_EVENT_ERROR,
    PRIOR_INFLATION,
    PRIOR_OVERCONFIDENCE,
    learned_common_error,
    learned_inflation,
    learned_overconfidence,
    share_of_rows,
)
from sopforecast.judgement.posterior import Posterior

Method = Literal["closed_form", "nuts"]
HALF_LIVES: tuple[float | None, ...] = (None, 24.0, 12.0, 6.0)
MONTHS_FOR_HALF_LIFE, ROWS_FOR_HALF_LIFE, ORIGINS_OF_HALF_LIFE = 9, 40, 3

PRIOR_TAIL = 8.0

LEARNED = (
    "weight", "shift", "spread", "weight_sd", "shift_sd", "covariance", "inflation",
    "common_error", "event_error", "overconfidence", "tail",
)  # fmt: skip


def fit_credibility(
    observations: pl.DataFrame,
    *,
    closed: date,
    known_at: datetime,
    method: Method = "closed_form",
    half_life: float | Literal["choose"] | None = "choose",
    seed: int = 0,
    last_good: pl.DataFrame | None = None,
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Learn from closed statements.

    Parameters
    ----------
    observations : pl.DataFrame
        ``Observations``.
    closed : date
        Newest month whose demand is known.
    known_at : datetime
        When all of it was known.
    method
        ``nuts`` samples with PyMC; ``closed_form`` is its twin.
    half_life : float, optional
        In months; ``choose`` takes the one that would have predicted past closes best.
    seed : int
        Of the sampler.
    last_good : pl.DataFrame, optional
        ``Credibility`` that stays when the sampler's draws do not pass their gates; without it the
        closed form is taken.

    Returns
    -------
    credibility : pl.DataFrame
        ``Credibility`` without ``fit_id``, sorted by source, owner, reason and direction; no rows
        for no observations.
    notes : tuple of str
        Which gates were missed, and what was done.
    """
    if observations.height == 0:
        columns = {n: c.dtype for n, c in Credibility.columns().items() if n != "fit_id"}
        return pl.DataFrame(schema=columns), ()
    observations = observations.sort("override_id", "ds_from")
    observations = observations.with_columns(
        share=share_of_rows(observations, fit_closed_form(observations, rounds=2))
    )
    life = choose_half_life(observations) if half_life == "choose" else half_life
    fitted, missed = _fit(observations, method=method, half_life=life, seed=seed)
    if missed and last_good is not None and last_good.height:
        kept = f"the fit of {last_good['closed'][0]:%Y-%m} stays"
        return last_good.drop("fit_id", strict=False), (f"{'; '.join(missed)}: {kept}",)
    power = _power(observations, life)
    inflation = learned_inflation(observations, fitted.frame, power)
    common, event = learned_common_error(observations, fitted, inflation, power)
    counted = fitted.frame.with_columns(
        closed=pl.lit(closed),
        known_at=pl.lit(known_at, dtype=pl.Datetime("us")),
        inflation=inflation,
        common_error=pl.lit(common),
        event_error=pl.lit(event),
        months_error=pl.lit(fitted.months_error),
        tail=pl.lit(fitted.tail),
        half_life=pl.lit(life, dtype=pl.Float64),
        method=pl.lit(fitted.method),
        r_hat=pl.lit(fitted.r_hat, dtype=pl.Float64),
        ess=pl.lit(fitted.ess, dtype=pl.Float64),
        divergences=pl.lit(fitted.divergences, dtype=pl.Int64),
    )
    ranges = learned_overconfidence(observations, power)
    keys = ["source", "owner"]
    counted = counted.join(ranges, on=keys, how="left").with_columns(
        pl.col("overconfidence").fill_null(PRIOR_OVERCONFIDENCE)
    )
    names = [name for name in Credibility.column_names() if name != "fit_id"]
    notes = tuple(f"{one}: the closed form was taken" for one in missed)
    return counted.select(names).sort("source", "owner", "reason", "direction"), notes


def lookup(
    credibility: pl.DataFrame | None, said: pl.DataFrame, *, min_closed: int
) -> pl.DataFrame:
    """The credibility each statement counts with.

    Parameters
    ----------
    credibility : pl.DataFrame, optional
        ``Credibility`` rows of one fit; None or no rows: everybody has the prior.
    said : pl.DataFrame
        source, owner, reason, direction (up or down) of each statement.
    min_closed : int
        Opinions a source must have had closed.

    Returns
    -------
    pl.DataFrame
        In the order of ``said``: weight, shift, spread, weight_sd, shift_sd, covariance, inflation,
        common_error, event_error, overconfidence, tail, observations (closed opinions of the
        owner in that direction) and prior_only. A weight learned
        below zero counts as zero: nobody's word is turned around; what it explained is noise then.
    """
    if credibility is None or credibility.height == 0:
        return _prior_rows(said.height)
    by_key = {
        (row["source"], row["owner"], row["reason"], row["direction"]): row
        for row in credibility.iter_rows(named=True)
    }
    heard = opinions_of_sources(credibility)
    rows = []
    for source, owner, reason, direction in said.select(
        "source", "owner", "reason", "direction"
    ).iter_rows():
        row = None
        if heard.get(source, 0) >= min_closed:
            ladder = ((source, owner, reason), (source, owner, ANY), (source, ANY, ANY))
            row = next((by_key[(*k, direction)] for k in ladder if (*k, direction) in by_key), None)
        if row is None:
            rows.append((*_PRIOR.values(), 0, True))
            continue
        own = by_key.get((source, owner, ANY, direction), {"opinions": 0})
        rows.append((*(row[name] for name in LEARNED), own["opinions"], False))
    found = pl.DataFrame(rows, schema=_LOOKUP, orient="row")
    turned = pl.col("weight") < 0
    return found.with_columns(
        pl.col("weight").clip(0.0),
        spread=pl.when(turned).then(pl.max_horizontal("spread", "inflation")).otherwise("spread"),
    )


def opinions_of_sources(credibility: pl.DataFrame) -> dict[str, int]:
    """Closed overrides of each source, up and down: what ``min_closed`` is held against."""
    of_source = credibility.filter(pl.col("owner") == ANY, pl.col("reason") == ANY)
    return dict(of_source.group_by("source").agg(pl.col("opinions").sum()).iter_rows())


def choose_half_life(observations: pl.DataFrame) -> float | None:
    """The half-life whose fits would have predicted past closes best, by mean log density.

    Past closes are predicted from what had closed before them. With too few months or rows
    nothing ages (None); a shorter life must win, not tie.
    """
    ages = sorted(set(observations["age"].to_list()))
    if len(ages) < MONTHS_FOR_HALF_LIFE or observations.height < ROWS_FOR_HALF_LIFE:
        return None
    newest = np.linspace(0, len(ages) // 2 - 1, ORIGINS_OF_HALF_LIFE).round().astype(int)
    origins = [ages[i] for i in sorted(set(newest.tolist()))]
    scores = [_prequential_score(observations, origins, life) for life in HALF_LIVES]
    best = int(np.argmax(np.array(scores)))
    return HALF_LIVES[best]


def _fit(
    observations: pl.DataFrame, *, method: Method, half_life: float | None, seed: int
) -> tuple[Posterior, list[str]]:
    """Posterior, and the gates a sampled one missed: then it is the closed form's."""
    if method == "closed_form":
        return fit_closed_form(observations, half_life=half_life), []
    from sopforecast.judgement.sampler import fit_nuts, passes

    sampled = fit_nuts(observations, half_life=half_life, seed=seed)
    missed = passes(sampled)
    if missed:
        return fit_closed_form(observations, half_life=half_life), missed
    return sampled, []


def _power(observations: pl.DataFrame, half_life: float | None) -> np.ndarray:
    age = observations["age"].to_numpy()
    return np.ones(len(age)) if half_life is None else 0.5 ** (age / half_life)


def _prequential_score(
    observations: pl.DataFrame, origins: Sequence[float], half_life: float | None
) -> float:
    from scipy.stats import t as student

    scores = []
    for origin in origins:
        before = observations.filter(pl.col("age") > origin)
        there = observations.filter(pl.col("age") == origin)
        fitted = fit_closed_form(
            before.with_columns(age=pl.col("age") - origin), half_life=half_life, rounds=2
        )
        line = fitted.frame.filter(pl.col("reason") == ANY).drop("reason")
        rows = there.with_columns(
            direction=pl.when(pl.col("d") >= 0).then(pl.lit("up")).otherwise(pl.lit("down"))
        ).join(line, on=["source", "owner", "direction"], how="inner")
        if rows.height:
            centre = (rows["shift"] + rows["weight"] * rows["d"]).to_numpy()
            doubt = (rows["shift_sd"] ** 2 + (rows["weight_sd"] * rows["d"]) ** 2).to_numpy()
            scale = np.sqrt(rows["spread"].to_numpy() ** 2 + doubt)
            scores.append(student.logpdf(rows["y"].to_numpy(), fitted.tail, centre, scale))
    return float(np.concatenate(scores).mean()) if scores else 0.0


_PRIOR = {
    "weight": 0.5,
    "shift": 0.0,
    "spread": 1.0,
    "weight_sd": 0.44,
    "shift_sd": 0.24,
    "covariance": 0.0,
    "inflation": PRIOR_INFLATION,
    "common_error": PRIOR_COMMON_ERROR,
    "event_error": PRIOR_EVENT_ERROR,
    "overconfidence": PRIOR_OVERCONFIDENCE,
    "tail": PRIOR_TAIL,
}
_LOOKUP = dict.fromkeys(LEARNED, pl.Float64) | {
    "observations": pl.Int64,
    "prior_only": pl.Boolean,
}


def _prior_rows(count: int) -> pl.DataFrame:
    row = (*_PRIOR.values(), 0, True)
    order = [list(_PRIOR).index(name) for name in LEARNED]
    values = (*(row[i] for i in order), 0, True)
    return pl.DataFrame([values] * count, schema=_LOOKUP, orient="row")
