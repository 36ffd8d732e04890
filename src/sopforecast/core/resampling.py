"""Resampling months in blocks: how far a figure could have been another with other months.

Months that follow each other share their errors, more so where a forecast reaches several months
ahead; months drawn one by one would make every range too narrow.
"""

from __future__ import annotations

import math

import numpy as np

from sopforecast.core.draws import series_rng

RESAMPLES = 2000


def block_picks(
    months: int, *, block: int, resamples: int, seed_names: tuple[str, ...], seed: int
) -> np.ndarray:
    """Draw months in circular blocks, with replacement.

    Parameters
    ----------
    months : int
        How many months there are, in order of time; at least 1.
    block : int
        Months of a block, at least 1; where it is above ``months`` it is ``months``.
    resamples : int
        How many resamples R to draw.
    seed_names : tuple of str
        What the numbers are for; the same names, seed and sizes give the same picks.
    seed : int
        The seed of the run or close.

    Returns
    -------
    ndarray of int64, shape (R, months)
        Positions of months, 0 to ``months`` - 1; each resample holds as many as there are.

    Raises
    ------
    ValueError
        When a number is below 1 (``resamples`` below 0).

    Notes
    -----
    After the last month comes the first, so every month is drawn equally often. The last block is
    cut where the resample is full.

    References
    ----------
    Politis and Romano (1992), A circular block-resampling procedure for stationary data.

    Examples
    --------
    One block of all months is the same months, begun somewhere else:

    >>> block_picks(3, block=9, resamples=2, seed_names=("example",), seed=1).sum(axis=1).tolist()
    [3, 3]
    """
    if months < 1 or block < 1 or resamples < 0:
        raise ValueError(
            f"months {months}, block {block}, resamples {resamples}: allowed are months and block "
            "from 1 up, resamples from 0 up"
        )
    length = min(block, months)
    blocks = -(-months // length)
    starts = series_rng(seed, "block_picks", *seed_names).integers(
        0, months, size=(resamples, blocks)
    )
    picks = (starts[:, :, np.newaxis] + np.arange(length)) % months
    drawn: np.ndarray = picks.reshape(resamples, blocks * length)[:, :months].astype(np.int64)
    return drawn


def pick_counts(picks: np.ndarray) -> np.ndarray:
    """Count how often each resample holds each month.

    Parameters
    ----------
    picks : ndarray of int64, shape (R, months)
        See `block_picks`.

    Returns
    -------
    ndarray of float64, shape (R, months)
        Rows add up to ``months``; ``counts @ sums`` is the sum over the months of a resample.
    """
    resamples, months = picks.shape
    places = picks + months * np.arange(resamples)[:, np.newaxis]
    counts = np.bincount(places.ravel(), minlength=resamples * months)
    return counts.reshape(resamples, months).astype(np.float64)


def longest_block(months: int) -> int:
    """Return the longest block that tells anything of ``months``: half of them, at least 1.

    One block of all months gives back the same months in every resample: a range of no width.
    """
    return max(1, months // 2)


def few_blocks_factor(months: int, *, block: int, level: float) -> float:
    """Return by how much to stretch a bootstrap range, as few blocks make it too narrow.

    Parameters
    ----------
    months : int
        Months that were resampled, at least 2.
    block : int
        Months of a block, at most `longest_block`.
    level : float
        Level of the upper end, such as 0.95.

    Returns
    -------
    float
        Above 1; near 1 for many blocks. Multiply the distance of each end from the figure by it.

    Raises
    ------
    ValueError
        When the block is longer than half of the months.

    Notes
    -----
    Of independent months, blocks of length l show 1 - l/n of the variance of a mean of n; and that
    variance is itself known from few blocks: Student's t with 3n/2l - 1 degrees of freedom in place
    of the normal quantile, those of the spectral estimate at zero that block means are (Bartlett's
    window).

    References
    ----------
    Priestley (1981), Spectral Analysis and Time Series, section 6.2. Kiefer and Vogelsang (2005), A
    new asymptotic theory for heteroskedasticity-autocorrelation robust tests.

    Examples
    --------
    >>> round(few_blocks_factor(24, block=1, level=0.95), 2)
    1.05
    """
    if not 1 <= block <= longest_block(months) or months < 2:
        raise ValueError(
            f"block {block} of {months} months; allowed: 1 to {longest_block(months)}, of 2 months "
            "or more; take the smaller of the lead and longest_block"
        )
    from scipy.special import ndtri, stdtrit

    freedom = 1.5 * months / block - 1.0
    unseen = 1.0 / math.sqrt(1.0 - block / months)
    return float(unseen * stdtrit(freedom, level) / ndtri(level))
