"""The linear half of the closed-form credibility fit: effects on weight and shift, given noise.

A statement is held as sums of (1, d up, d down, y) and their products: 20,000 rows cost no more
than their number of owners and reasons. Effects are of everybody, of the source, the owner, the
direction and the reason, all normal; ``kappa`` scales those that tell people apart and is averaged
over a grid by its marginal likelihood. Owners are independent of one another given the rest, so
they are eliminated block by block (Schur complement): hundreds of people cost no more than
themselves.

Axes: ``T`` statements, ``C`` pairs of owner and reason, ``O`` owners, ``G`` shared effects; 3 is
(shift, weight up, weight down) of a statement, or (weight, direction, shift) of an owner.

References
----------
Robinson (1991), That BLUP is a good thing: the estimation of random effects.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

WEIGHT_CENTRE, WEIGHT_SD = 0.5, 0.25
SOURCE_WEIGHT_SD, OWNER_WEIGHT_SD, REASON_WEIGHT_SD = 0.2, 0.2, 0.1
DIRECTION_SD, OWNER_DIRECTION_SD = 0.1, 0.1
SHIFT_SD, SOURCE_SHIFT_SD, OWNER_SHIFT_SD = 0.1, 0.1, 0.15
KAPPA = np.exp(np.linspace(-1.0, 1.0, 9))
KAPPA_SD = 0.5

OWNER_TO_LINE = np.array([[0.0, 0.0, 1.0], [1.0, 0.5, 0.0], [1.0, -0.5, 0.0]])
"""(weight, direction, shift) of an owner to (shift, weight up, weight down)."""


@dataclass(frozen=True)
class Rows:
    """Statements as sums.

    ``sums`` (T, 4) and ``products`` (T, 4, 4) are of (1, d up, d down, y) over the statement's
    months. ``age_power`` (T,) is the share with which an aged statement counts, ``power`` that of a
    statement others spoke beside, too.
    """

    count: np.ndarray
    sums: np.ndarray
    products: np.ndarray
    power: np.ndarray
    age_power: np.ndarray
    owner: np.ndarray
    reason: np.ndarray
    owners: tuple[tuple[str, str], ...]
    reasons: tuple[tuple[str, str], ...]
    sources: tuple[str, ...]

    @property
    def source_of_owner(self) -> np.ndarray:
        """Index (O,) into ``sources``."""
        return np.array([self.sources.index(source) for source, _ in self.owners])


@dataclass(frozen=True)
class Effects:
    """Posterior of all effects.

    Attributes
    ----------
    common, own : ndarray (G,), (O, 3)
        Means of shared effects and of each owner's.
    cov_common, cov_cross, cov_own : ndarray (G, G), (O, 3, G), (O, 3, 3)
        Their covariances.
    kappa : float
        Root mean square of kappa.
    """

    common: np.ndarray
    own: np.ndarray
    cov_common: np.ndarray
    cov_cross: np.ndarray
    cov_own: np.ndarray
    kappa: float

    def local(self, shared: np.ndarray, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean (C, 3) and covariance (C, 3, 3) of (shift, weight up, weight down).

        ``shared`` (C, 3, G) are maps of `shared_effects`, ``owner`` (C,) indexes, -1 for a new one.
        """
        mean = shared @ self.common
        covariance = shared @ self.cov_common @ np.swapaxes(shared, 1, 2)
        known = np.maximum(owner, 0)
        has = owner >= 0
        mean = mean + np.where(has[:, None], self.own[known] @ OWNER_TO_LINE.T, 0.0)
        cross = OWNER_TO_LINE @ self.cov_cross[known] @ np.swapaxes(shared, 1, 2)
        own = OWNER_TO_LINE @ self.cov_own[known] @ OWNER_TO_LINE.T
        more = cross + np.swapaxes(cross, 1, 2) + own
        return mean, covariance + np.where(has[:, None, None], more, 0.0)


def statement_sums(observations: pl.DataFrame, *, half_life: float | None) -> Rows:
    """Observations as sums by statement, in an order that does not depend on that of the rows.

    A column ``share`` says with what share a row counts (``common_errors.share_of_rows``).
    """
    frame = observations.sort("override_id", "ds_from")
    owners = tuple(sorted(set(frame.select("source", "owner").iter_rows())))
    reasons = tuple(sorted(set(frame.select("source", "reason").iter_rows())))
    statement = frame.select(pl.struct("override_id", "source", "owner", "reason").rle_id())
    first = np.flatnonzero(np.diff(statement.to_series().to_numpy(), prepend=-1))
    d, y = frame["d"].to_numpy(), frame["y"].to_numpy()
    columns = np.stack([np.ones_like(d), np.where(d >= 0, d, 0.0), np.where(d < 0, d, 0.0), y])
    count = np.add.reduceat(columns[0], first)
    age = np.minimum.reduceat(frame["age"].to_numpy(), first)
    power = np.ones(len(first)) if half_life is None else 0.5 ** (age / half_life)
    share = np.ones(len(first))
    if "share" in frame.columns:
        share = np.add.reduceat(frame["share"].to_numpy(), first) / count
    source_at, owner_at, reason_at = (
        frame[name].gather(first).to_list() for name in ("source", "owner", "reason")
    )
    place_owner = {name: i for i, name in enumerate(owners)}
    place_reason = {name: i for i, name in enumerate(reasons)}
    pairs = columns[:, None, :] * columns[None, :, :]
    return Rows(
        count=count,
        sums=np.add.reduceat(columns, first, axis=1).T,
        products=np.moveaxis(np.add.reduceat(pairs, first, axis=2), 2, 0),
        power=power * share,
        age_power=power,
        owner=np.array([place_owner[pair] for pair in zip(source_at, owner_at, strict=True)]),
        reason=np.array([place_reason[pair] for pair in zip(source_at, reason_at, strict=True)]),
        owners=owners,
        reasons=reasons,
        sources=tuple(sorted({source for source, _ in owners})),
    )


def shared_effects(rows: Rows, source: np.ndarray, reason: np.ndarray) -> np.ndarray:
    """How (shift, weight up, weight down) is made of shared effects (C, 3, G).

    The effects are weight of all and of each source, direction of all, weight of each reason, shift
    of all and of each source. ``source`` and ``reason`` (C,) are indexes; -1 leaves one out.
    """
    at = _offsets(rows)
    one = np.zeros((len(source), 3, at[-1]))
    one[:, 1:, at[0]] = 1.0
    one[:, 1:, at[2]] = 0.5, -0.5
    one[:, 0, at[4]] = 1.0
    known = np.flatnonzero(source >= 0)
    one[known, 1:, at[1] + source[known]] = 1.0
    one[known, 0, at[5] + source[known]] = 1.0
    known = np.flatnonzero(reason >= 0)
    one[known, 1:, at[3] + reason[known]] = 1.0
    return one


def solve(
    rows: Rows, *, weights: np.ndarray, log_spread: np.ndarray, months_error: float
) -> Effects:
    """Effects given noise: a normal linear model, averaged over kappa by marginal likelihood.

    Parameters
    ----------
    rows : Rows
    weights : ndarray (T,)
        Of each statement against outliers.
    log_spread : ndarray (O,)
    months_error : float
    """
    shared, owner, place = _pairs(rows)
    gram = _grams(rows, weights, log_spread, months_error)
    by_pair = np.zeros((len(shared), 4, 4))
    np.add.at(by_pair, place, gram)
    inner = by_pair[:, :3, :3]
    score = by_pair[:, :3, 3] - inner[:, :, 1:].sum(axis=2) * WEIGHT_CENTRE
    turned = np.swapaxes(shared, 1, 2)
    owners, width = len(rows.owners), shared.shape[2]
    common = (turned @ inner @ shared).sum(axis=0)
    cross, own = np.zeros((owners, width, 3)), np.zeros((owners, 3, 3))
    np.add.at(cross, owner, turned @ inner @ OWNER_TO_LINE)
    np.add.at(own, owner, OWNER_TO_LINE.T @ inner @ OWNER_TO_LINE)
    score_common = np.einsum("cip,ci->p", shared, score)
    score_own = np.zeros((owners, 3))
    np.add.at(score_own, owner, score @ OWNER_TO_LINE)
    fits, evidence = [], []
    for kappa in KAPPA:
        fit, log_evidence = _given_kappa(
            rows, float(kappa), common, cross, own, score_common, score_own
        )
        fits.append(fit)
        evidence.append(log_evidence - 0.5 * (np.log(kappa) / KAPPA_SD) ** 2)
    share = np.exp(np.array(evidence) - max(evidence))
    return _mixture(fits, share / share.sum())


def residual_squares(rows: Rows, effects: Effects) -> tuple[np.ndarray, np.ndarray]:
    """Expected squares (T,) within statements and of their means, parameters' doubt included."""
    shared, owner, place = _pairs(rows)
    line, doubt = effects.local(shared, owner)
    signed = np.concatenate([-line, np.ones((len(line), 1))], axis=1)[place]
    doubt = doubt[place]
    total = np.einsum("ti,tij,tj->t", signed, rows.products, signed)
    total += np.einsum("tij,tij->t", doubt, rows.products[:, :3, :3])
    mean = np.einsum("ti,ti->t", signed, rows.sums) ** 2
    mean += np.einsum("ti,tij,tj->t", rows.sums[:, :3], doubt, rows.sums[:, :3])
    between = mean / rows.count
    return np.maximum(total - between, 0.0), between


def _pairs(rows: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shared maps (C, 3, G) and owner (C,) of each pair of owner and reason; pair of each row."""
    pairs, place = np.unique(
        np.stack([rows.owner, rows.reason], axis=1), axis=0, return_inverse=True
    )
    shared = shared_effects(rows, rows.source_of_owner[pairs[:, 0]], pairs[:, 1])
    return shared, pairs[:, 0], place.ravel()


def _offsets(rows: Rows) -> list[int]:
    """First position of each block of shared effects, and their number."""
    sources = len(rows.sources)
    return [0, *np.cumsum([1, sources, 1, len(rows.reasons), 1, sources]).tolist()]


def _prior_sd(rows: Rows, kappa: float) -> tuple[np.ndarray, np.ndarray]:
    """Standard deviations (G,) of shared effects and (3,) of an owner's."""
    sources, reasons = len(rows.sources), len(rows.reasons)
    shared = np.concatenate([
        [WEIGHT_SD], np.full(sources, kappa * SOURCE_WEIGHT_SD), [DIRECTION_SD],
        np.full(reasons, kappa * REASON_WEIGHT_SD), [SHIFT_SD],
        np.full(sources, kappa * SOURCE_SHIFT_SD),
    ])  # fmt: skip
    return shared, kappa * np.array([OWNER_WEIGHT_SD, OWNER_DIRECTION_SD, OWNER_SHIFT_SD])


def _grams(
    rows: Rows, weights: np.ndarray, log_spread: np.ndarray, months_error: float
) -> np.ndarray:
    """Information (T, 4, 4) of each statement about (shift, weight up, weight down) and y."""
    count = rows.count
    shrink = months_error / (1.0 - months_error + count * months_error)
    outer = rows.sums[:, :, None] * rows.sums[:, None, :]
    gram = (rows.products - shrink[:, None, None] * outer) / (1.0 - months_error)
    scale = rows.power * weights * np.exp(-2.0 * log_spread[rows.owner])
    return gram * scale[:, None, None]


def _given_kappa(
    rows: Rows,
    kappa: float,
    common: np.ndarray,
    cross: np.ndarray,
    own: np.ndarray,
    score_common: np.ndarray,
    score_own: np.ndarray,
) -> tuple[Effects, float]:
    """Posterior and log marginal likelihood (but for a constant) with effects of one size."""
    sd_common, sd_own = _prior_sd(rows, kappa)
    inverse_own = np.linalg.inv(own + np.diag(sd_own**-2.0))
    slope = inverse_own @ np.swapaxes(cross, 1, 2)
    left = common + np.diag(sd_common**-2.0) - (cross @ slope).sum(axis=0)
    cov_common = np.linalg.inv(left)
    alone = np.einsum("oij,oj->oi", inverse_own, score_own)
    mean = cov_common @ (score_common - np.einsum("opi,oi->p", cross, alone))
    mean_own = alone - slope @ mean
    cov_cross = -slope @ cov_common
    cov_own = inverse_own - cov_cross @ np.swapaxes(slope, 1, 2)
    log_det = np.linalg.slogdet(cov_common)[1] + np.linalg.slogdet(inverse_own)[1].sum()
    log_prior = -2.0 * (np.log(sd_common).sum() + len(own) * np.log(sd_own).sum())
    fit = score_common @ mean + (score_own * mean_own).sum()
    found = Effects(mean, mean_own, cov_common, cov_cross, cov_own, kappa)
    return found, float(0.5 * (log_det + log_prior + fit))


def _mixture(fits: list[Effects], share: np.ndarray) -> Effects:
    """Moments of a mixture of normal posteriors."""
    common = np.einsum("k,kp->p", share, np.stack([fit.common for fit in fits]))
    own = np.einsum("k,koi->oi", share, np.stack([fit.own for fit in fits]))
    cov_common, cov_cross, cov_own = np.zeros((len(common), len(common))), 0.0, 0.0
    for p, fit in zip(share.tolist(), fits, strict=True):
        off, off_own = fit.common - common, fit.own - own
        cov_common += p * (fit.cov_common + np.outer(off, off))
        cov_cross = cov_cross + p * (fit.cov_cross + off_own[:, :, None] * off)
        cov_own = cov_own + p * (fit.cov_own + off_own[:, :, None] * off_own[:, None, :])
    common[0] += WEIGHT_CENTRE
    kappa = float(np.sqrt(sum(p * fit.kappa**2 for p, fit in zip(share, fits, strict=True))))
    return Effects(common, own, cov_common, np.asarray(cov_cross), np.asarray(cov_own), kappa)
