"""Landmarks as arrays, and what is believed of conversion before any line is counted.

The constants are choices. A tier's prior is the product of a wide one of its own and of what people
state of its lines: their 80% ranges, twice as wide as stated, however many lines say the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from sopforecast.core.clinical_tables import ANY, OUTCOMES, TIERS

TIER_CHANCE = np.array([0.85, 0.60, 0.30])
TIER_SD = 1.0
USUAL_DELAY = np.log([2.0, 4.0, 8.0])
DELAY_SD = 0.6
STATED_WIDENING, STATED_SD_FLOOR = 2.0, 0.5  # people are over-confident and err together
STATED_LIMITS = (0.01, 0.99)
Z80 = 1.2815515655446004
SCALARS = (
    ("shape", np.log(1.3), 0.3),
    ("lead", 0.6, 0.3),
    ("own", 0.5, 0.3),
    ("declared", 0.5, 1.0),  # logit of q
    ("loss_scale", np.log(6.0), 0.6),
    ("loss_shape", np.log(1.2), 0.3),
    ("name_sd", np.log(0.4), 0.4),  # log of the sd between studies or accounts
    ("owner_sd", np.log(0.3), 0.4),
    ("up", np.log(0.05), 0.8),  # log moves a month, of those that fail
    ("up_ratio", 0.7, 0.7),  # log of how many times more often those move that convert
    ("down", np.log(0.03), 0.8),
    ("down_ratio", -0.5, 0.7),
)
PLACE = {name: 6 + k for k, (name, _, _) in enumerate(SCALARS)}
SHARED = 6 + len(SCALARS)


@dataclass(frozen=True, eq=False)
class Lines:
    """L landmarks of one scope as arrays, and the prior of the D parameters they speak of.

    Parameters are in the order: tiers (3), delays (3), ``SCALARS`` (12), names (G), owners (O); the
    last two in units of their standard deviations.

    Attributes
    ----------
    tier, name, owner : ndarray of int (L,)
        Places in ``TIERS``, ``names`` and ``owners``; owner -1: none given.
    lead : ndarray (L,)
        log(1 + expected months) less ``USUAL_DELAY``; 0 where no month is expected.
    own : ndarray (L,)
        Stated logit less the mean of its tier; 0 where no range is stated.
    outcome : ndarray of int (L,)
        Place in ``OUTCOMES``.
    month : ndarray (L,)
        Delay of those that ended, age of the open ones (-1: not followed yet).
    moved, stay : ndarray (L, 2)
        Whether it left its tier upwards, downwards (0 or 1), and for how many months it could have:
        0 where there is no such tier, or nobody in the scope ever moved that way.
    weight : ndarray (L,)
    prior_mean, prior_sd : ndarray (D,)
    """

    tier: np.ndarray
    name: np.ndarray
    owner: np.ndarray
    lead: np.ndarray
    own: np.ndarray
    outcome: np.ndarray
    month: np.ndarray
    moved: np.ndarray
    stay: np.ndarray
    weight: np.ndarray
    names: tuple[str, ...]
    owners: tuple[str, ...]
    prior_mean: np.ndarray
    prior_sd: np.ndarray


def line_arrays(landmarks: pl.DataFrame) -> Lines:
    """Landmarks of one scope as arrays, with the prior that their stated ranges lead to."""
    names = tuple(sorted(landmarks["name"].unique().to_list()))
    owners = tuple(sorted(set(landmarks["owner"].unique().to_list()) - {ANY}))
    tier = _places(landmarks["tier"], TIERS)
    stated, stated_sd, has_stated = _stated(landmarks)
    weight = landmarks["weight"].to_numpy().astype(float)
    mean, sd = np.log(TIER_CHANCE / (1 - TIER_CHANCE)), np.full(3, TIER_SD)
    own = np.zeros(landmarks.height)
    for k in range(3):
        said = has_stated & (tier == k)
        if said.any():
            centre = np.average(stated[said], weights=weight[said])
            own[said] = stated[said] - centre
            wide = STATED_WIDENING * np.average(stated_sd[said], weights=weight[said])
            precision = np.array([TIER_SD**-2, max(wide, STATED_SD_FLOOR) ** -2])
            mean[k] = (precision @ np.array([mean[k], centre])) / precision.sum()
            sd[k] = precision.sum() ** -0.5
    lead = landmarks["expected_lead"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    lead = np.log1p(np.maximum(lead, 0.0)) - USUAL_DELAY[tier]
    month = pl.coalesce("delay", "age").cast(pl.Float64)
    moved = np.stack([landmarks["moved"].to_numpy() == way for way in (1, -1)], axis=1)
    could = np.stack([tier > 0, tier < 2], axis=1)
    own_units = np.zeros(len(names) + len(owners))
    scalars = np.array([[m, s] for _, m, s in SCALARS])
    return Lines(
        tier=tier,
        name=_places(landmarks["name"], names),
        owner=_places(landmarks["owner"], owners),
        lead=np.where(np.isnan(lead), 0.0, lead),
        own=own,
        outcome=_places(landmarks["outcome"], OUTCOMES),
        month=landmarks.select(month).to_series().to_numpy(),
        moved=moved.astype(float),
        stay=landmarks["stay"].to_numpy()[:, None] * could * moved.any(axis=0),
        weight=weight,
        names=names,
        owners=owners,
        prior_mean=np.concatenate([mean, USUAL_DELAY, scalars[:, 0], own_units]),
        prior_sd=np.concatenate([sd, np.full(3, DELAY_SD), scalars[:, 1], own_units + 1.0]),
    )


def _places(names: pl.Series, known: tuple[str, ...]) -> np.ndarray:
    place = {name: k for k, name in enumerate(known)}
    return np.array([place.get(name, -1) for name in names.to_list()], dtype=np.int64)


def _stated(landmarks: pl.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre and sd (L,) in logits of the 80% ranges that were stated, and where there are any."""
    ends = landmarks.select("e_low", "e_high").cast(pl.Float64).fill_null(np.nan).to_numpy()
    logit = np.clip(ends, *STATED_LIMITS)
    logit = np.log(logit / (1.0 - logit))
    has = np.isfinite(logit).all(axis=1)
    return logit.mean(axis=1), (logit[:, 1] - logit[:, 0]) / (2.0 * Z80), has
