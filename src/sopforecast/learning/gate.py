"""The gate: a learned procedure rules once it has proved itself, and gives way by the same rule.

Both procedures of a table were held against the same months, each with what was known before the
cycle (``Contests``). The question is whether the challenger's loss is lower by more than chance
over at least six cycles: its one-sided 90% block-bootstrap limit must lie below zero.

Several cycles look at each month (three of weights and credibility, twelve of widths), so months
are resampled, with all cycles that looked at them, and not cycles. Blocks are of four months: one
more than most contests look ahead, because errors outlast the month. For widths that is short.
With few blocks percentiles lie too close together; they are widened as Student's t is for that
many blocks. To be adopted a change must also gain at least 1%, and be better in each third of the
months, because the question is asked anew every month. The way back to the cold start needs
neither, and only the newest nine months count: what was gained before does not excuse harm now.
``experiments/gate`` shows how often this errs, and how the numbers were chosen.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from sopforecast.core.learning_tables import PROCEDURES
from sopforecast.core.resampling import RESAMPLES, block_picks, pick_counts

LEVEL = 0.9
MIN_CYCLES = 6  # and as many months
BLOCK = 4
MONTHS_TO_ADOPT, MONTHS_TO_REVERT = 24, 9
WORTH = 0.01  # share of the ruling procedure's loss; for less nothing is changed
PARTS = 3

_NORMAL = 1.2815515655446004  # the normal's quantile at LEVEL
_CALLED = {
    ("weights", "backtest"): "backtest weights",
    ("weights", "live"): "live weights",
    ("widths", "backtest"): "backtest ranges",
    ("widths", "live"): "live ranges",
    ("credibility", "prior"): "prior credibility",
    ("credibility", "learned"): "learned credibility",
    ("conversion", "learned"): "learned conversion",
    ("conversion", "elicited"): "elicited conversion",
}


@dataclass(frozen=True)
class Compared:
    """How a challenger did beside the ruling procedure.

    Attributes
    ----------
    difference : float
        Challenger's loss minus the ruling one's, as a share of the ruling one's; negative: better.
    low, high : float
        Its one-sided 90% limits, each for itself.
    steady : bool
        Whether the challenger was better in each third of the months.
    """

    difference: float
    low: float
    high: float
    steady: bool


def decide(
    contests: pl.DataFrame, *, table: str, ruling: str, closed: date, seed: int
) -> dict[str, object]:
    """Decide which procedure of a table rules the cycles to come.

    Parameters
    ----------
    contests : pl.DataFrame
        All ``Contests`` rows known, of any table and close, in any order. With a column ``seq``
        the row with the highest counts, of each cycle and month.
    table : str
        One of ``PROCEDURES``.
    ruling : str
        The procedure that ruled so far.
    closed : date
        The month that was closed.
    seed : int
        Of the close.

    Returns
    -------
    dict
        A row of ``LearningLog`` without ``fit_id``. ``adopt``: the learned procedure takes over.
        ``refuse``: it was clearly worse. ``revert``: the cold start takes over again.
        ``not_enough``: fewer than six cycles or months. Else ``keep``. ``cycles`` are those that
        looked at the months compared.

    Raises
    ------
    ValueError
        ``table`` or ``ruling`` is not in ``PROCEDURES``; a cycle and month occur twice without
        ``seq`` to tell them apart; or a loss is not a number.

    Notes
    -----
    A month and cycle in which both lost the same, to the last digit, is no comparison and does not
    count. Losses are added over months and divided once, so ``size`` cancels out.

    References
    ----------
    Politis and Romano (1992), A circular block-resampling procedure for stationary data.
    """
    if table not in PROCEDURES or ruling not in PROCEDURES[table]:
        allowed = {name: " or ".join(procedures) for name, procedures in PROCEDURES.items()}
        raise ValueError(f"table {table!r} ruled by {ruling!r}: allowed are {allowed}")
    cold, other = PROCEDURES[table]
    challenger, newest = (other, MONTHS_TO_ADOPT) if ruling == cold else (cold, MONTHS_TO_REVERT)
    losses = ("cold_loss", "other_loss") if ruling == cold else ("other_loss", "cold_loss")
    rows = _newest_months(_that_differ(contests, table), newest)
    cycles, found = rows["cycle"].n_unique(), None
    enough = min(cycles, rows["ds"].n_unique()) >= MIN_CYCLES
    if enough:
        by_month = rows.group_by("ds").agg(pl.col(losses).sort_by("cycle").sum()).sort("ds")
        found = compare(
            *by_month.select(losses).to_numpy().T,
            seed_names=("gate", table, ruling, closed.isoformat()),
            seed=seed,
        )
    decision = _decision(found, enough=enough, adopts=ruling == cold)
    return {
        "table": table,
        "closed": closed,
        "ruled": ruling,
        "challenger": challenger,
        "decision": decision,
        "rules": challenger if decision in ("adopt", "revert") else ruling,
        "cycles": cycles,
        "difference": found.difference if found else None,
        "low": found.low if found else None,
        "high": found.high if found else None,
        "reason": _reason(
            found, decision, cycles, _CALLED[table, ruling], _CALLED[table, challenger]
        ),
    }


def compare(
    ruling: np.ndarray, challenger: np.ndarray, *, seed_names: tuple[str, ...], seed: int
) -> Compared | None:
    """Compare losses month by month, with limits that months alone could not have passed often.

    Parameters
    ----------
    ruling, challenger : ndarray, shape (months,)
        Losses of both by month, in order of time, 0 or above; more months than ``BLOCK``.
    seed_names : tuple of str
        What the random numbers are for.
    seed : int
        Of the close.

    Returns
    -------
    Compared or None
        None where the ruling procedure lost nothing: there is no share of nothing.

    Notes
    -----
    With n months in blocks of b, k = n / b: percentiles are moved away from the difference by
    t(k - 1) / normal for so few blocks and by sqrt(k / (k - 1)), as a variance is divided by
    k - 1; both at the level of the limit.
    """
    from scipy.special import stdtrit

    months, gap = len(ruling), challenger - ruling
    if ruling.sum() <= 0:
        return None
    picks = block_picks(months, block=BLOCK, resamples=RESAMPLES, seed_names=seed_names, seed=seed)
    counts = pick_counts(picks)
    below = counts @ ruling
    shares = np.divide(counts @ gap, below, out=np.zeros(len(below)), where=below > 0)
    blocks = months / BLOCK
    widened = stdtrit(blocks - 1, LEVEL) / _NORMAL * np.sqrt(blocks / (blocks - 1))
    difference = float(gap.sum() / ruling.sum())
    low, high = np.quantile(shares, [1 - LEVEL, LEVEL])
    return Compared(
        difference,
        max(-1.0, min(difference, float(difference + widened * (low - difference)))),
        max(difference, float(difference + widened * (high - difference))),
        steady=all(part.sum() < 0 for part in np.array_split(gap, PARTS)),
    )


def _that_differ(contests: pl.DataFrame, table: str) -> pl.DataFrame:
    """Rows of a table that count, and in which the procedures did not lose the same."""
    rows = contests.filter(pl.col("table").cast(pl.String) == table)
    if "seq" in rows.columns:
        rows = rows.sort("seq").unique(["cycle", "ds"], keep="last", maintain_order=True)
    twice = rows.filter(rows.select("cycle", "ds").is_duplicated())
    if twice.height:
        cycle, ds = twice.sort("cycle", "ds").select("cycle", "ds").row(0)
        raise ValueError(
            f"contests of {table}: cycle {cycle:%Y-%m} and month {ds:%Y-%m} occur twice; allowed: "
            "once, or with a column seq that tells which is the newest"
        )
    losses = rows.select(pl.col("cold_loss", "other_loss").cast(pl.Float64)).to_numpy()
    if not np.isfinite(losses).all():
        raise ValueError(f"contests of {table}: a loss is missing; allowed: numbers from 0 up")
    return rows.filter(pl.col("cold_loss") != pl.col("other_loss"))


def _newest_months(rows: pl.DataFrame, count: int) -> pl.DataFrame:
    return rows.filter(pl.col("ds").rank("dense", descending=True) <= count)


def _decision(found: Compared | None, *, enough: bool, adopts: bool) -> str:
    if not enough:
        return "not_enough"
    if found is None:
        return "keep"
    if found.high < 0 and not adopts:
        return "revert"
    if found.high < 0 and found.steady and found.difference <= -WORTH:
        return "adopt"
    return "refuse" if found.low > 0 and adopts else "keep"


def _reason(
    found: Compared | None, decision: str, cycles: int, ruling: str, challenger: str
) -> str:
    if decision == "not_enough":
        seen = f"{cycles} cycle{'' if cycles == 1 else 's'} compared"
        return f"{challenger}: {seen}, {MIN_CYCLES} needed, over as many months"
    if found is None:
        return f"{ruling} lost nothing over {cycles} cycles: no change"
    end = {"adopt": "adopted", "refuse": "refused", "revert": "in use again"}.get(
        decision, "no change"
    )
    if decision == "keep" and found.high < 0:
        end = f"no change for less than {WORTH:.0%}"
        if found.difference <= -WORTH:
            end = "no change, for it was not so in each third of the months"
    return (
        f"{challenger} would have been {_far(found.difference)} over {cycles} cycles "
        f"({_between(found.low, found.high)}): {end}"
    )


def _far(difference: float) -> str:
    return f"{abs(difference):.1%} {'closer' if difference < 0 else 'farther off'}"


def _between(low: float, high: float) -> str:
    if low < 0 < high:
        return f"between {_far(high)} and {_far(low)}"
    near, far = sorted((abs(low), abs(high)))
    return f"between {near:.1%} and {far:.1%}"
