"""Simulated people: what they say of cells, what comes, and what believing them by record loses.

Six owners each speak of one cell of every month of a cycle. In multiples of the statistical sd of
the cell, ``truth = shift + weight x said + noise``; the noise of a month is partly shared. The cold
start believes everybody by the prior, the other procedure by what ``fit_credibility`` learned from
months before the cycle.
"""

from __future__ import annotations

from datetime import date, datetime

import numpy as np
import polars as pl
from forty_items import CYCLES, DRAWS, LEADS, level_loss

from sopforecast.core.draws import quantile_view, series_rng
from sopforecast.core.months import add_months
from sopforecast.judgement.credibility import fit_credibility, lookup

FIRST, KNOWN_AT = date(2020, 1, 1), datetime(2020, 1, 1)
PEOPLE, MIN_CLOSED = 6, 6
LEARN_EVERY = 3  # months between fits, to save time
WORTH = np.array([0.8, 0.7, 0.6, 0.4, 0.2, 0.0])  # of owners who differ
WEIGHT_SD, SHIFT_SD, SHARED, UNIT = 0.44, 0.24, 0.3, 0.2


def by_credibility(seed: int, *, differ: bool) -> tuple[np.ndarray, np.ndarray]:
    """Losses (C, L) of the prior and of the record.

    ``differ``: every owner has a worth of his own that stays. Else each has one drawn anew in every
    cycle from the prior, so that no record can tell anything.
    """
    rng = series_rng(seed, "people")
    worth = WORTH if differ else 0.5 + WEIGHT_SD * rng.standard_normal((CYCLES, PEOPLE))
    worth = np.broadcast_to(worth, (CYCLES, PEOPLE))[:, :, None]
    shift = 0.0 if differ else SHIFT_SD * rng.standard_normal((CYCLES, PEOPLE))[:, :, None]
    said = 1.5 * rng.standard_normal((CYCLES, PEOPLE, LEADS))
    month = rng.standard_normal(CYCLES + LEADS)
    shared = np.lib.stride_tricks.sliding_window_view(month, LEADS)[:CYCLES, None]
    own = rng.standard_normal((CYCLES, PEOPLE, LEADS))
    truth = shift + worth * said + np.sqrt(SHARED) * shared + np.sqrt(1 - SHARED) * own
    base = np.exp(rng.normal(5.0, 0.7, (CYCLES, PEOPLE, 1)))
    draws = np.sqrt(SHARED) * rng.standard_normal((DRAWS, 1, LEADS))
    draws = draws + np.sqrt(1 - SHARED) * rng.standard_normal((DRAWS, PEOPLE, LEADS))
    rows = _observations(said, truth)
    cold, other = np.empty((CYCLES, LEADS)), np.empty((CYCLES, LEADS))
    record = None
    for cycle in range(CYCLES):
        if cycle % LEARN_EVERY == 0 and cycle > 0:
            known = rows.filter(pl.col("month") < cycle)
            aged = known.with_columns(age=(cycle - 1 - pl.col("month")).cast(pl.Float64))
            record, _ = fit_credibility(
                aged.drop("month"), closed=FIRST, known_at=KNOWN_AT, half_life=None
            )
        for losses, fit in ((cold, None), (other, record)):
            centre, spread = _believed(fit, said[cycle])
            view = base[cycle] * np.maximum(1 + UNIT * (centre + spread * draws), 0.0)
            actual = base[cycle] * np.maximum(1 + UNIT * truth[cycle], 0.0)
            levels = [view, view.sum(axis=1, keepdims=True)]
            quantiles = [np.array(list(quantile_view(part).values())) for part in levels]
            losses[cycle] = level_loss([actual, actual.sum(axis=0, keepdims=True)], quantiles)
    return cold, other


def _believed(record: pl.DataFrame | None, said: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre and spread (P, L) of what comes, in sd."""
    d = said.ravel()
    frame = pl.DataFrame(
        {
            "source": ["sales"] * d.size,
            "owner": [f"owner {k}" for k in np.repeat(np.arange(PEOPLE), LEADS)],
            "reason": ["event"] * d.size,
            "direction": np.where(d >= 0, "up", "down"),
        }
    )
    row = lookup(record, frame, min_closed=MIN_CLOSED)
    names = ("weight", "shift", "spread", "weight_sd", "shift_sd", "covariance")
    weight, shift, spread, weight_sd, shift_sd, both = (row[name].to_numpy() for name in names)
    doubt = shift_sd**2 + (weight_sd * d) ** 2 + 2 * both * d
    sd = np.sqrt(spread**2 + np.maximum(doubt, 0.0))
    return (shift + weight * d).reshape(said.shape), sd.reshape(said.shape)


def _observations(said: np.ndarray, truth: np.ndarray) -> pl.DataFrame:
    """All closed statements, with the live ``month`` they spoke of."""
    cycle, owner, lead = (part.ravel() for part in np.indices(said.shape))
    frame = pl.DataFrame(
        {"cycle": cycle, "k": owner, "lead": lead, "y": truth.ravel(), "d": said.ravel()}
    ).with_columns(month=pl.col("cycle") + pl.col("lead"))
    name = pl.format("{}|{}|{}", pl.col("cycle").cast(pl.String).str.zfill(3), "k", "lead")
    return frame.select(
        override_id=name,
        ds_from=pl.Series([add_months(FIRST, m) for m in frame["month"]]),
        source=pl.lit("sales"),
        owner=pl.format("owner {}", "k"),
        reason=pl.lit("event"),
        event_id=pl.lit(None, dtype=pl.String),
        cell=name,
        y="y",
        d="d",
        stated_sd=pl.lit(None, dtype=pl.Float64),
        month="month",
    )
