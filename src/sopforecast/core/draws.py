"""Views of sample paths, the plan that adds up, and where randomness comes from.

Draws are arrays (S, N, H): S joint sample paths of N nodes over H months, in the node's unit. Means
and quantiles are views made at the edge. The plan is the one committed number of a cell: whole
steps, non-negative, and adding up, which quantiles do not.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np

QUANTILES = (
    ("p05", 0.05),
    ("p10", 0.10),
    ("p25", 0.25),
    ("p50", 0.50),
    ("p75", 0.75),
    ("p90", 0.90),
    ("p95", 0.95),
)
"""Label and level of every stored quantile: the only such list."""

WHOLE_UNIT = 1.0
_WHOLE_FROM_MEDIAN = 100.0
_STEPS_IN_MEDIAN = 256
_SMALLEST_STEP = 2.0**-60
_LARGEST_STEPS = 2.0**52
_PART_BITS = 20
_KEY_BYTES = 16


def quantile_view(draws: np.ndarray) -> dict[str, np.ndarray]:
    """Return every stored quantile of the draws.

    Parameters
    ----------
    draws : ndarray, shape (S, N, H)
        Sample paths, S at least 1.

    Returns
    -------
    dict of str to ndarray, shape (N, H)
        By label of ``QUANTILES``, in that order, in the unit of the draws; never crossing. A cell
        with a NaN draw is NaN.

    Notes
    -----
    Linear interpolation between order statistics (numpy's ``linear``, type 7 of Hyndman and Fan).
    """
    ordered = np.sort(draws, axis=0)
    last = len(ordered) - 1
    view = {}
    for label, level in QUANTILES:
        below = math.floor(level * last)
        low, high = ordered[below], ordered[min(below + 1, last)]
        value = low + (high - low) * (level * last - below)
        view[label] = np.where(np.isnan(ordered[last]), np.nan, value)  # NaN sorts last
    return view


def mean_view(draws: np.ndarray) -> np.ndarray:
    """Return the mean over draws (S, N, H) -> (N, H), in the unit of the draws.

    Paths are added one after the other, so that a node's mean has the same bytes whichever nodes
    stand beside it.
    """
    total = np.zeros(draws.shape[1:])
    for path in draws:
        total += path
    return total / len(draws)


def demand_step(history_values: np.ndarray) -> float:
    """Return the step an item's draws and plan are multiples of, in its unit: a power of two.

    One when all known values are whole or the median of the positive ones is at least 100, or
    nothing is positive; else the largest 2**-k not above that median / 256 (nor below 2**-60).

    Parameters
    ----------
    history_values : ndarray
        Demand by month; NaN is unknown and left out.
    """
    known = history_values[np.isfinite(history_values)]
    positive = known[known > 0]
    if positive.size == 0 or bool(np.all(known == np.rint(known))):
        return WHOLE_UNIT
    median = float(np.median(positive))
    if median >= _WHOLE_FROM_MEDIAN:
        return WHOLE_UNIT
    _, exponent = math.frexp(median / _STEPS_IN_MEDIAN)
    return max(math.ldexp(0.5, exponent), _SMALLEST_STEP)


def additive_plan(mean: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Round means to multiples of each item's step so that items, months and totals stay close.

    Parameters
    ----------
    mean : ndarray, shape (B, H)
        Mean demand of each item and month, non-negative.
    steps : ndarray, shape (B,)
        Step of each item, a power of two; see `demand_step`.

    Returns
    -------
    ndarray of float64, shape (B, H)
        Non-negative multiples of the item's step; aggregates are ``Hierarchy.aggregate`` of it.

    Raises
    ------
    ValueError
        When a mean is negative or not finite, or too large to be counted in steps (an item's sum
        over the months above 2**52 steps), or a step is not a power of two.

    Notes
    -----
    Bounds, in steps, up to 2**-20 of a step an item for the arithmetic. Every item's plan summed
    from the first month to any month is less than one step from the same sum of its mean; so any
    run of months, one month included, is less than two steps off. Summed over all items of one
    step, the plan to any month is within half a step of the means, so any run of months is within
    one step.

    Both hold at once because the n-th step of an item may be planned from the month in which its
    cumulative mean passes n - 1 until the month in which it reaches n, and as many steps are due
    in a month as the rounded cumulative total grows by. Means themselves fill these windows and
    months, so an integer schedule exists (Hall's condition for intervals). Month by month the
    steps that a later deadline forces go first; then items with demand that month, the largest
    remainder first, ties in the order of items: the same plan for the same means. Items of one
    step share its totals: plan all of them in one call, not block by block.

    References
    ----------
    Horn (1974), Some simple scheduling algorithms. Steiner and Yeomans (1993), Level schedules for
    mixed-model, just-in-time processes.
    """
    _check_plan_input(mean, steps)
    plan = np.zeros(mean.shape)
    for step in np.unique(steps):
        rows = np.flatnonzero(steps == step)
        plan[rows] = step * _whole_plan(mean[rows] / step)
    return plan


def series_rng(seed: int, *names: str) -> np.random.Generator:
    """Return the generator of one named series: the same on any machine and in any worker.

    Parameters
    ----------
    seed : int
        The run's seed.
    *names : str
        What the numbers are for, for instance an item id; ``%`` and ``|`` are escaped, so that
        ``("a|b",)`` and ``("a", "b")`` differ.

    Notes
    -----
    Philox (counter-based) keyed by BLAKE2b of ``seed|name|name``.
    """
    escaped = (name.replace("%", "%25").replace("|", "%7C") for name in names)
    text = "|".join((str(int(seed)), *escaped))
    digest = hashlib.blake2b(text.encode("utf-8"), digest_size=_KEY_BYTES).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))


def _check_plan_input(mean: np.ndarray, steps: np.ndarray) -> None:
    if mean.ndim != 2 or steps.shape != mean.shape[:1]:
        raise ValueError(
            f"mean: shape {mean.shape} with steps {steps.shape}; expected (B, H), (B,)"
        )
    mantissa, _ = np.frexp(steps)
    if not bool(np.all(mantissa == 0.5)):
        raise ValueError("steps: found one that is not a power of two; take them from demand_step")
    if not bool(np.all(np.isfinite(mean) & (mean >= 0))):
        raise ValueError("mean: found a negative or missing value; allowed: numbers from 0 up")
    if bool(np.any(mean.sum(axis=1) > _LARGEST_STEPS * steps)):
        raise ValueError("mean: found an item above 2**52 of its steps; check its unit")


def _whole_plan(mean: np.ndarray) -> np.ndarray:
    """Plan whole steps (B, H) for means counted in steps: largest remainder, deadlines kept."""
    whole, part = _cumulative(mean)
    due = whole.sum(axis=0) + ((part.sum(axis=0) + (1 << (_PART_BITS - 1))) >> _PART_BITS)
    deadline = _deadlines(whole)
    idle = mean == 0
    planned = np.zeros(len(mean), dtype=np.int64)
    totals = np.empty(mean.shape, dtype=np.int64)
    for month in range(mean.shape[1]):
        # At most one step an item is open: the one its cumulative mean is inside of.
        is_open = (part[:, month] > 0) & (planned <= whole[:, month])
        planned = np.maximum(planned, whole[:, month])
        ranked = np.flatnonzero(is_open)
        ranked = ranked[np.lexsort((-part[ranked, month], idle[ranked, month]))]
        reached = whole[:, month] + (part[:, month] > 0)
        ahead = np.maximum(whole[:, month + 1 :] - reached[:, None], 0).sum(axis=0)
        taken = _choose(
            deadline[ranked, month] - month,
            count=int(due[month] - planned.sum()),
            excess=ahead - (due[month + 1 :] - due[month]),
        )
        planned[ranked[taken]] += 1
        totals[:, month] = planned
    return np.diff(totals, axis=1, prepend=0).astype(np.float64)


def _choose(months_left: np.ndarray, *, count: int, excess: np.ndarray) -> np.ndarray:
    """Mark the first ``count`` of the ranked open steps, but for those that deadlines force.

    ``excess`` holds for 1, 2, ... months ahead the steps that open and fall due by then less the
    steps planned by then: negative is room. Open steps due by then beyond the room go now.
    """
    taken = np.zeros(len(months_left), dtype=bool)
    for ahead, steps in enumerate(excess.tolist(), start=1):
        waiting = np.flatnonzero((months_left <= ahead) & ~taken)
        taken[waiting[: max(0, waiting.size + steps)]] = True
    taken[np.flatnonzero(~taken)[: max(0, count - np.count_nonzero(taken))]] = True
    return taken


def _cumulative(mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the cumulative mean as whole steps and 2**-20 parts, both int64 (B, H).

    Integers, so that sums over items are exact and the schedule is feasible whatever their order.
    """
    cumulative = np.cumsum(mean, axis=1)
    floor = np.floor(cumulative)
    part = np.rint((cumulative - floor) * (1 << _PART_BITS)).astype(np.int64)
    carry = part >> _PART_BITS
    return floor.astype(np.int64) + carry, part - (carry << _PART_BITS)


def _deadlines(whole: np.ndarray) -> np.ndarray:
    """Return for each item and month the first later month in which one more whole step is due.

    The number of months where none is, inside the horizon.
    """
    months = whole.shape[1]
    deadline = np.full(whole.shape, months)
    for month in range(months - 2, -1, -1):
        grows = whole[:, month + 1] > whole[:, month]
        deadline[:, month] = np.where(grows, month + 1, deadline[:, month + 1])
    return deadline
