"""All effects in one vector, for the sampler: which of them make up a line, and their priors.

The order of the vector (P,): weight of all, of sources, of owners; direction of all, of owners;
weight of reasons; shift of all, of sources, of owners.
"""

from __future__ import annotations

import numpy as np

from sopforecast.judgement.effects import (
    DIRECTION_SD,
    OWNER_DIRECTION_SD,
    OWNER_SHIFT_SD,
    OWNER_WEIGHT_SD,
    REASON_WEIGHT_SD,
    SHIFT_SD,
    SOURCE_SHIFT_SD,
    SOURCE_WEIGHT_SD,
    WEIGHT_CENTRE,
    WEIGHT_SD,
    Rows,
)


def effect_maps(rows: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Maps (C, 3, P) of pairs of owner and reason, the pair of each statement (T,), the pairs."""
    pairs, place = np.unique(
        np.stack([rows.owner, rows.reason], axis=1), axis=0, return_inverse=True
    )
    maps = [
        local_effects(rows, int(rows.source_of_owner[owner]), owner, reason)
        for owner, reason in pairs.tolist()
    ]
    return np.stack(maps), place.ravel(), pairs


def local_effects(rows: Rows, source: int, owner: int, reason: int) -> np.ndarray:
    """Effects (3, P) of shift, weight up, weight down; -1 leaves an effect out."""
    at = _offsets(rows)
    one = np.zeros((3, at[-1]))
    one[0, at[6]] = 1.0
    one[1:, at[0]] = 1.0
    one[1:, at[3]] = 0.5, -0.5
    if source >= 0:
        one[0, at[7] + source] = 1.0
        one[1:, at[1] + source] = 1.0
    if owner >= 0:
        one[0, at[8] + owner] = 1.0
        one[1:, at[2] + owner] = 1.0
        one[1:, at[4] + owner] = 0.5, -0.5
    if reason >= 0:
        one[1:, at[5] + reason] = 1.0
    return one


def effect_priors(rows: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean (P,), standard deviation (P,) at kappa 1, and which effects kappa scales (P,)."""
    owners, sources, reasons = len(rows.owners), len(rows.sources), len(rows.reasons)
    blocks = [
        (1, WEIGHT_SD, False),
        (sources, SOURCE_WEIGHT_SD, True),
        (owners, OWNER_WEIGHT_SD, True),
        (1, DIRECTION_SD, False),
        (owners, OWNER_DIRECTION_SD, True),
        (reasons, REASON_WEIGHT_SD, True),
        (1, SHIFT_SD, False),
        (sources, SOURCE_SHIFT_SD, True),
        (owners, OWNER_SHIFT_SD, True),
    ]
    sd = np.concatenate([np.full(size, value) for size, value, _ in blocks])
    scaled = np.concatenate([np.full(size, flag) for size, _, flag in blocks])
    mean = np.zeros(len(sd))
    mean[0] = WEIGHT_CENTRE
    return mean, sd, scaled


def _offsets(rows: Rows) -> list[int]:
    owners, sources = len(rows.owners), len(rows.sources)
    sizes = [1, sources, owners, 1, owners, len(rows.reasons), 1, sources, owners]
    return [0, *np.cumsum(sizes).tolist()]
