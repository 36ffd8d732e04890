"""Learn the hyperparameters of site rates: posterior mode, curvature, draws.

Unknown are the hyperparameters and the deviations of studies and of countries inside a study, all
told in prior standard deviations (prior: independent standard normals). The mode is found by a
quasi-Newton search, the curvature there by differences; draws are proposed from a Student-t of that
shape and resampled by their exact posterior density.

No PyMC: this is fitted inside every run, where a sampler would have to be compiled, and a discrete
state per site and month, which a gradient sampler cannot hold, is summed over exactly here at a few
milliseconds a parameter set.

Groups are independent given the hyperparameters, so that moving all group deviations by the same
small amount gives the derivatives of each in one pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sopforecast.clinical.rate_chain import filter_rates
from sopforecast.clinical.rate_observed import Observed
from sopforecast.clinical.rate_prior import GROUP_SPREAD, NAMES, natural

DRAWS = 200
PROPOSED = 400
TAIL = 8.0  # degrees of freedom of the proposals
_NUDGE = 1e-3  # of derivatives, in prior sd
_BEND = 0.1  # of curvature
_BATCH_CELLS = 3e6  # of one batch: sets x (sites x levels + cells x levels x nodes)
_HYPER = len(NAMES)


@dataclass(frozen=True, eq=False)
class Posterior:
    """Draws of hyperparameters (R, P), in prior sd, and group deviations (R, K), in log rate."""

    hyper: np.ndarray
    group: np.ndarray
    mode: np.ndarray
    effective: float


def groups_from(deviations: np.ndarray, group_study: np.ndarray) -> np.ndarray:
    """Group deviations (B, K) of log rate from those of studies and groups (B, N + K)."""
    studies = _studies(group_study)
    own = deviations[:, studies:]
    return GROUP_SPREAD * (deviations[:, :studies][:, group_study] + own)


def _studies(group_study: np.ndarray) -> int:
    return int(group_study.max()) + 1 if len(group_study) else 0


def in_batches(
    sets: int, seen: Observed, evaluate: Callable[[slice], np.ndarray]
) -> list[np.ndarray]:
    """Evaluate the parameter sets in blocks that fit into little memory."""
    one = len(seen.order) * len(seen.levels)
    one += len(seen.counts) * len(seen.levels) * len(seen.nodes)
    block = int(np.clip(_BATCH_CELLS // max(one, 1), 1, 32))
    return [evaluate(slice(at, min(at + block, sets))) for at in range(0, sets, block)]


def group_fits(standard: np.ndarray, group: np.ndarray, seen: Observed) -> np.ndarray:
    """Log likelihood of each group's counts (B, K)."""

    def block(part: slice) -> np.ndarray:
        return filter_rates(natural(standard[part]), group[part], seen).fit

    return np.concatenate(in_batches(len(standard), seen, block))


def find_posterior(seen: Observed, *, rng: np.random.Generator) -> Posterior:
    """Fit all sites of the panel together; see the module."""
    mode = _mode(seen)
    precision = _curvature(mode, seen)
    return _draws(mode, precision, seen, rng)


def _split(unknown: np.ndarray, seen: Observed) -> tuple[np.ndarray, np.ndarray]:
    return unknown[:, :_HYPER], groups_from(unknown[:, _HYPER:], seen.group_study)


def _density(unknown: np.ndarray, seen: Observed) -> np.ndarray:
    """Log posterior density (B,) up to a constant."""
    standard, group = _split(unknown, seen)
    fit = group_fits(standard, group, seen).sum(axis=1)
    return fit - 0.5 * np.sum(unknown**2, axis=1)


def _mode(seen: Observed) -> np.ndarray:
    from scipy.optimize import minimize

    size = _HYPER + _studies(seen.group_study) + len(seen.group_study)

    def loss(unknown: np.ndarray) -> tuple[float, np.ndarray]:
        standard, group = _split(unknown[None], seen)
        moved = np.repeat(standard, _HYPER + 2, axis=0)
        moved[np.arange(1, _HYPER + 1), np.arange(_HYPER)] += _NUDGE
        groups = np.repeat(group, _HYPER + 2, axis=0)
        groups[-1] += _NUDGE
        fits = group_fits(moved, groups, seen)
        rise = (fits[1:] - fits[0]) / _NUDGE
        slope = np.concatenate([rise[:-1].sum(axis=1), _to_deviations(rise[-1], seen)])
        value = fits[0].sum() - 0.5 * np.sum(unknown**2)
        return -value, unknown - slope

    found = minimize(
        loss, np.zeros(size), jac=True, method="L-BFGS-B",
        bounds=[(-4.0, 4.0)] * size, options={"maxiter": 60, "ftol": 1e-6},
    )  # fmt: skip
    return np.asarray(found.x)


def _to_deviations(by_group: np.ndarray, seen: Observed) -> np.ndarray:
    """Turn derivatives by group log rates (K,) into those by deviations (N + K,)."""
    studies = np.zeros(_studies(seen.group_study))
    np.add.at(studies, seen.group_study, by_group)
    return GROUP_SPREAD * np.concatenate([studies, by_group])


def _curvature(mode: np.ndarray, seen: Observed) -> np.ndarray:
    """Minus the second derivatives of the log posterior, made positive definite."""
    standard, group = _split(mode[None], seen)
    pairs = [(i, j) for i in range(_HYPER + 1) for j in range(i, _HYPER + 1)]
    shifts = np.zeros((1 + 2 * len(pairs), _HYPER + 1))
    for at, (i, j) in enumerate(pairs):
        shifts[1 + 2 * at, i] = shifts[1 + 2 * at, j] = _BEND
        shifts[2 + 2 * at, i] = shifts[2 + 2 * at, j] = -_BEND
    fits = group_fits(standard + shifts[:, :_HYPER], group + shifts[:, _HYPER:], seen)
    both = fits[1::2] + fits[2::2] - 2 * fits[0]  # (pairs, K)
    bend = np.zeros((_HYPER + 1, _HYPER + 1, fits.shape[1]))
    own = {i: both[at] for at, (i, j) in enumerate(pairs) if i == j}
    for at, (i, j) in enumerate(pairs):
        bend[i, j] = bend[j, i] = both[at] if i == j else (both[at] - own[i] - own[j]) / 2
    bend /= -(_BEND**2)
    return _positive(_joined(bend, seen))


def _joined(bend: np.ndarray, seen: Observed) -> np.ndarray:
    """Precision of all unknowns from bends by hyperparameters and by the groups' log rates."""
    studies, groups = _studies(seen.group_study), len(seen.group_study)
    to_group = GROUP_SPREAD * np.concatenate(
        [np.eye(studies)[:, seen.group_study], np.eye(groups)], axis=0
    )  # (N + K, K)
    size = _HYPER + studies + groups
    precision = np.eye(size)
    precision[:_HYPER, :_HYPER] += bend[:_HYPER, :_HYPER].sum(axis=2)
    cross = bend[:_HYPER, _HYPER] @ to_group.T
    precision[:_HYPER, _HYPER:] += cross
    precision[_HYPER:, :_HYPER] += cross.T
    precision[_HYPER:, _HYPER:] += (to_group * bend[_HYPER, _HYPER]) @ to_group.T
    return precision


def _positive(precision: np.ndarray) -> np.ndarray:
    """No direction is known less than by half its prior."""
    values, vectors = np.linalg.eigh((precision + precision.T) / 2)
    return (vectors * np.maximum(values, 0.5)) @ vectors.T


def _draws(
    mode: np.ndarray, precision: np.ndarray, seen: Observed, rng: np.random.Generator
) -> Posterior:
    root = np.linalg.cholesky(np.linalg.inv(precision))
    normal = rng.standard_normal((PROPOSED, len(mode)))
    wide = np.sqrt(TAIL / rng.chisquare(TAIL, PROPOSED))
    proposed = mode + wide[:, None] * (normal @ root.T)
    log_proposal = -0.5 * (TAIL + len(mode)) * np.log1p(wide**2 * np.sum(normal**2, axis=1) / TAIL)
    log = _density(proposed, seen) - log_proposal
    weight = np.exp(log - log.max())
    weight = np.minimum(weight, weight.mean() * np.sqrt(PROPOSED))  # Ionides (2008)
    weight /= weight.sum()
    picked = np.searchsorted(np.cumsum(weight), (np.arange(DRAWS) + rng.random()) / DRAWS)
    chosen = proposed[rng.permutation(np.minimum(picked, PROPOSED - 1))]
    standard, group = _split(chosen, seen)
    return Posterior(standard, group, mode, float(1 / np.sum(weight**2)))
