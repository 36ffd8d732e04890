"""From who came when to what is needed when: one cell of patients followed through the protocol.

A cell is the patients of one country and cohort under the same switches (or those screened there,
or the sites opened there). They enrol and are dosed in mid-month, so ``month_offset`` months lie
between; on the way they drop out. A switch inside a month parts its patients, or its doses, at
random by the share of the month.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from sopforecast.clinical.versions import Change, Moment, in_force, lengths, parts

_MANY_LEAVE = 4.0  # a month, of one count: from here on inversion is the slow way
RngOf = Callable[[str], np.random.Generator]
"""The generator of a named step; so that longer schedules do not move the numbers of others."""


def doses(
    past: np.ndarray,
    future: np.ndarray,
    *,
    keep: np.ndarray | None,
    quantities: np.ndarray,
    changes: Sequence[Change],
    place: Mapping[str | None, int],
    first: str | None,
    rng_of: RngOf | None,
) -> np.ndarray:
    """Follow the patients of a cell and add up what they need.

    Parameters
    ----------
    past : ndarray (S, K)
        Still there, by month of enrolment: the K months before the cycle.
    future : ndarray (S, H)
        Enrolled in each month from the cycle on.
    keep : ndarray (S, H) or None
        Chance to stay from the middle of the month before (in month 0: from its start) to the
        middle of each month; None: nobody leaves.
    quantities : ndarray (V, n, L + 1)
        Of n items, ``L`` months after enrolment at most, by protocol version.
    changes : sequence of Change
        That concern the cell, in order; ``happens`` (S,).
    place : mapping of str or None to int
        Place of each version in ``quantities``.
    first : str or None
        Version in force before any switch.
    rng_of : callable or None
        None: expected numbers, fractions of patients.

    Returns
    -------
    ndarray of float64 (S, n, H)
    """
    last = quantities.shape[2] - 1
    past = past[:, max(past.shape[1] - last, 0) :]
    horizon = future.shape[1]
    cut = parts(range(-past.shape[1], horizon), changes, is_new=True)
    counts = _cut_births(np.concatenate([past.T, future.T]), cut, rng_of)
    born = np.array([month for month, _ in cut])
    patterns = list(_patterns(changes, counts.shape[1]))
    needed = np.zeros((horizon, quantities.shape[1], counts.shape[1]))
    for t in range(horizon):
        begin, end = np.searchsorted(born, [t - last, t + 1])
        if keep is not None and rng_of is not None:
            before = int(np.searchsorted(born, t))
            _thin(counts[begin:before], keep[:, t], rng_of(f"stay {t}"))
        for dose, here in _cut_doses(counts[begin:end], t, changes, rng_of):
            for happened, paths in patterns:
                version = in_force(cut[begin:end], dose, changes, happened, place, first)
                asked = quantities[version, :, t - born[begin:end]]
                if asked.any():
                    needed[t][:, paths] += asked.T @ here[:, paths]
    return needed.transpose(2, 1, 0)


def split(counts: np.ndarray, shares: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
    """Part counts at random by shares.

    Parameters
    ----------
    counts : ndarray (...)
    shares : ndarray (..., n)
        Shares of each part, adding up to 1; leading axes broadcast with those of the counts.
    rng : Generator or None
        None: in proportion.

    Returns
    -------
    ndarray (..., n)
        Parts that add up to the counts.
    """
    if rng is None:
        return counts[..., None] * shares
    shares = np.broadcast_to(shares, (*counts.shape, shares.shape[-1]))
    found = np.zeros(shares.shape, dtype=np.int64)
    rest, open_share = counts.astype(np.int64), np.ones(counts.shape)
    for part in range(shares.shape[-1] - 1):
        chance = shares[..., part] / np.maximum(open_share, 1e-12)
        found[..., part] = rng.binomial(rest, np.clip(chance, 0.0, 1.0))
        rest = rest - found[..., part]
        open_share = open_share - shares[..., part]
    found[..., -1] = rest
    return found


def _cut_births(counts: np.ndarray, cut: list[Moment], rng_of: RngOf | None) -> np.ndarray:
    """Part the patients (U, S) of months in which a switch for new patients comes: (E, S).

    Whole numbers as float64, which is what quantities are multiplied with.
    """
    if len(cut) == len(counts):
        return counts.astype(np.float64)
    found: list[np.ndarray] = []
    long, born = lengths(cut), np.array([month for month, _ in cut])
    for index, month in enumerate(range(born[0], born[-1] + 1)):
        shares = long[born == month]
        here = counts[[index]]
        if len(shares) > 1:
            rng = None if rng_of is None else rng_of(f"new {month}")
            here = split(counts[index], shares, rng).T
        found.append(here)
    return np.concatenate(found).astype(np.float64)


def _cut_doses(
    counts: np.ndarray, month: int, changes: Sequence[Change], rng_of: RngOf | None
) -> Iterator[tuple[Moment, np.ndarray]]:
    """Part the doses of a month in which a switch for all comes; each part with counts (E, S)."""
    cut = parts([month], changes, is_new=False)
    if len(cut) == 1:
        yield cut[0], counts
        return
    rng = None if rng_of is None else rng_of(f"all {month}")
    # Newest patients first: the numbers of the others do not hang on how far back the cell goes.
    found = split(counts[::-1], lengths(cut), rng)[::-1].astype(np.float64)
    for index, dose in enumerate(cut):
        yield dose, found[..., index]


def _thin(counts: np.ndarray, keep: np.ndarray, rng: np.random.Generator) -> None:
    """Draw who of the counts (E, S) stays with chance ``keep`` (S,), in place.

    Binomial, by inversion of one uniform number a count: few leave a month, so most of the counts
    need no more than the chance that nobody does. Newest patients first.
    """
    if bool(np.all(keep >= 1.0)):
        return
    newest_first = counts[::-1]
    leaving = 1 - float(keep.min())
    if leaving > 0.9 or float(np.max(newest_first, initial=0)) * leaving > _MANY_LEAVE:
        newest_first[:] = rng.binomial(newest_first.astype(np.int64), keep)
        return
    level = rng.random(newest_first.shape)
    nobody = np.exp(newest_first * np.log(keep))
    some = np.nonzero(level > nobody)
    present, above, chance = newest_first[some], level[some], nobody[some]
    odds = (1 / keep - 1)[some[1]]
    left = np.zeros(len(present))
    still = np.ones(len(present), dtype=bool)
    while still.any():
        left += still
        above = above - chance
        chance = chance * (present - left + 1) / left * odds
        still &= (above > chance) & (left < present)
    newest_first[some] = present - left


def _patterns(
    changes: Sequence[Change], paths: int
) -> Iterator[tuple[tuple[bool, ...], np.ndarray | slice]]:
    """Which switches happen, and the paths in which just these do."""
    if not changes:
        yield (), slice(None)
        return
    happens = np.stack([change.happens for change in changes], axis=1)
    kinds, kind_of = np.unique(happens, axis=0, return_inverse=True)
    for number, kind in enumerate(kinds):
        chosen = np.flatnonzero(kind_of.reshape(paths) == number)
        yield tuple(bool(comes) for comes in kind), chosen
