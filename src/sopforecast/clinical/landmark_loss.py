"""How well each procedure of tier conversion told, at a past cut-off, which open lines convert.

Reads the clinic as it was known then and as it is known now. Both procedures judge the same open
lines from the same versions; what differs is whether the record of earlier lines counts.
"""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl

from sopforecast.clinical.book import open_lines
from sopforecast.clinical.conversion import Procedure, fit_conversion
from sopforecast.clinical.inputs import ClinicalInputs, latest_lines
from sopforecast.clinical.tier_paths import month_chances
from sopforecast.core.months import months_between

PROCEDURES: tuple[Procedure, Procedure] = ("learned", "elicited")
"""In the order of ``PROCEDURES["conversion"]``: the cold start, then the one that must prove."""


def conversion_loss(
    then: ClinicalInputs, now: ClinicalInputs, *, month: date, seed: int
) -> tuple[float, float, int] | None:
    """Loss of both procedures over the lines that were open at a past cut-off.

    Parameters
    ----------
    then : ClinicalInputs
        What a cycle read.
    now : ClinicalInputs
        As known later, of a cycle after ``month``.
    month : date
        A month of that cycle's horizon, over by now.
    seed : int
        Of the fits; same inputs and seed, same numbers.

    Returns
    -------
    tuple of (float, float, int) or None
        Losses of ``learned`` and of ``elicited``, sums over the lines, 0 or more; and how many
        lines. None where no line was open. A line retracted since then is left out.

    Raises
    ------
    ValueError
        When the month lies before the cycle, or is not over by now.

    Notes
    -----
    The loss of a line is the Brier score (p - o)^2 of the predictive probability p that it converts
    by the end of the month, given its age and that it is open, and o, 1 where it did, 0 where it is
    open, lost or converted later. It is proper and lies between 0 and 1, so that one surprising
    line cannot decide a contest of a few months; the logarithmic score would need a floor, and that
    choice would decide. It is also the squared error in patients of a line of one (Brier 1950;
    Gneiting and Raftery 2007). A conversion dated before the cycle, told only later, counts as
    converted: it was an open line, and the patient came.
    """
    if not then.cycle <= month < now.cycle:
        raise ValueError(
            f"month: found {month}; allowed: from {then.cycle}, the cycle then, to the month "
            f"before {now.cycle}, the cycle now"
        )
    listed = open_lines(then)["line_id"]
    known = listed.is_in(now.tier_lines["line_id"].to_list()).to_numpy()
    if not known.any():
        return None
    converted = _converted(now, month)
    came = np.array([line in converted for line in listed.to_list()], dtype=float)[known]
    horizon = months_between(then.cycle, month) + 1
    losses = [
        float(np.square(_chances(then, one, horizon, seed)[known] - came).sum())
        for one in PROCEDURES
    ]
    return losses[0], losses[1], int(known.sum())


def _chances(then: ClinicalInputs, procedure: Procedure, horizon: int, seed: int) -> np.ndarray:
    """Predictive probability (L,) that each open line converts inside the horizon."""
    fitted = fit_conversion(then, seed=seed, conversion=procedure)
    chances = month_chances(fitted, then, horizon=horizon).sum(axis=2).mean(axis=0)
    return np.asarray(chances, dtype=np.float64)


def _converted(now: ClinicalInputs, month: date) -> set[str]:
    """Lines that converted by the end of the month, as known now."""
    last = latest_lines(now).filter(
        pl.col("outcome").cast(pl.String) == "converted", pl.col("converted_ds") <= month
    )
    return set(last["line_id"].to_list())
