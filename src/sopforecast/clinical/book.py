"""The book of lines as landmarks: what tier a line had when, and what became of it from there on.

Reads every version of ``tier_lines``. A spell begins when a line's tier or expected month changes;
each spell is one landmark, followed to the end of what is known whatever tier comes later.

References
----------
Van Houwelingen (2007), Dynamic prediction by landmarking in event history analysis.
"""

from __future__ import annotations

from datetime import date

import polars as pl

from sopforecast.clinical.inputs import KNOWN_AT, ClinicalInputs
from sopforecast.core.clinical_tables import ANY, TIERS

SCOPES = ("study", "account")
LANDMARKS: dict[str, pl.DataType] = {
    "line_id": pl.String(),
    "scope": pl.String(),
    "name": pl.String(),
    "owner": pl.String(),
    "tier": pl.String(),
    "expected_lead": pl.Int64(),
    "e_low": pl.Float64(),
    "e_high": pl.Float64(),
    "age": pl.Int64(),
    "outcome": pl.String(),
    "delay": pl.Int64(),
    "stay": pl.Float64(),
    "moved": pl.Int64(),
    "weight": pl.Float64(),
    "is_current": pl.Boolean(),
}
MONTH = "month"


def landmarks(inputs: ClinicalInputs) -> pl.DataFrame:
    """One row a spell of every line that was ever known open, with what came of it.

    Returns
    -------
    pl.DataFrame
        ``LANDMARKS``, sorted by line and time. ``expected_lead`` (months, null: none given) and
        ``delay`` (months to the conversion or the declared loss, null while open) count from the
        month of the landmark, ``age`` from there to the end of the month before the cycle (-1: the
        landmark lies in the cycle's month). ``stay`` is how many months it stood in the tier as it
        was, and ``moved`` 1 or -1 where a higher or lower tier came then. ``owner`` is ``*`` where
        none is given. Landmarks of one line in one tier share a total ``weight`` of 1.
        ``is_current``: the last spell of a line that is still open.

    Notes
    -----
    A line that was never known open before it converted or was lost is left out (`left_out`): had
    it not ended, nobody would have listed it. So is a landmark later than the conversion. A loss
    that became known in the cycle's own month is not yet a loss, as with conversions. The stated
    range is that of the spell's first version, of its last one for a current line.
    """
    versions = _versions(inputs)
    cycle = _month_number(pl.lit(inputs.cycle))
    before = ("outcome", "tier", "expected_ds")
    versions = versions.with_columns(
        pl.col(name).shift(1).over("line_id").alias(f"_{name}") for name in before
    )
    begins = (pl.col("outcome") == "open") & (
        pl.col("_outcome").ne_missing("open")
        | (pl.col("tier") != pl.col("_tier"))
        | pl.col("expected_ds").ne_missing(pl.col("_expected_ds"))
    )
    rows = versions.filter(begins).join(_ends(versions), on="line_id", how="left")
    is_last = pl.col("place") == pl.col("place").max().over("line_id")
    current = is_last & (pl.col("last_outcome") == "open")
    ended = pl.col("last_outcome").is_in(["converted", "lost"]) & (pl.col("end") < cycle)
    rows = rows.with_columns(
        age=cycle - 1 - pl.col(MONTH),
        outcome=pl.when(ended).then(pl.col("last_outcome")).otherwise(pl.lit("open")),
        delay=pl.when(ended).then(pl.col("end") - pl.col(MONTH)),
        expected_lead=_month_number(pl.col("expected_ds")) - pl.col(MONTH),
        e_low=pl.when(current).then(pl.col("last_low")).otherwise(pl.col("probability_low")),
        e_high=pl.when(current).then(pl.col("last_high")).otherwise(pl.col("probability_high")),
        is_current=current,
    ).filter(pl.col("delay").is_null() | (pl.col("delay") >= 0))
    rows = _stays(rows)
    rows = rows.with_columns(weight=1.0 / pl.len().over("line_id", "tier"))
    return rows.sort("line_id", "place").select(
        pl.col(name).cast(dtype) for name, dtype in LANDMARKS.items()
    )


def left_out(inputs: ClinicalInputs) -> int:
    """Lines that teach nothing: they had ended when they first became known."""
    return inputs.tier_lines["line_id"].n_unique() - landmarks(inputs)["line_id"].n_unique()


def open_lines(inputs: ClinicalInputs) -> pl.DataFrame:
    """The last version of every open line, in the order of its current landmark.

    Returns
    -------
    pl.DataFrame
        Columns of ``TierLines`` and ``begun``: months from the cycle to the landmark, 0 or less.
    """
    last = inputs.tier_lines.unique("line_id", keep="last", maintain_order=True)
    current = landmarks(inputs).filter("is_current")
    begun = current.select("line_id", begun=-1 - pl.col("age"))
    return begun.join(last, on="line_id", how="left", maintain_order="left")


def ratios(inputs: ClinicalInputs) -> pl.Series:
    """Converted over listed quantity of account lines that converted and say both.

    The listed quantity is the one of the last version in which the line was open.
    """
    accounts = inputs.tier_lines.filter(pl.col("account").is_not_null())
    listed = accounts.filter(pl.col("outcome") == "open").unique(
        "line_id", keep="last", maintain_order=True
    )
    last = accounts.unique("line_id", keep="last", maintain_order=True).filter(
        (pl.col("outcome") == "converted") & pl.col("converted_quantity").is_not_null()
    )
    both = last.join(listed.select("line_id", listed="quantity"), on="line_id", how="inner")
    both = both.filter(pl.col("listed") > 0).sort("line_id")
    return (both["converted_quantity"] / both["listed"]).rename("ratio")


def _versions(inputs: ClinicalInputs) -> pl.DataFrame:
    """Versions with scope, name, owner and the month each became known, the cycle at the latest."""
    cycle: date = inputs.cycle
    known = pl.col(KNOWN_AT).dt.date().fill_null(cycle)
    return inputs.tier_lines.sort(
        "line_id", KNOWN_AT, nulls_last=True, maintain_order=True
    ).with_columns(
        pl.col("tier", "outcome").cast(pl.String),
        scope=pl.when(pl.col("study").is_not_null()).then(pl.lit("study")).otherwise(
            pl.lit("account")
        ),
        name=pl.coalesce("study", "account"),
        owner=pl.col("owner").fill_null(ANY),
        place=pl.int_range(pl.len()).over("line_id"),
        month=pl.min_horizontal(_month_number(known), _month_number(pl.lit(cycle))),
    )  # fmt: skip


def _stays(rows: pl.DataFrame) -> pl.DataFrame:
    """Add how long each spell lasted and the way its tier changed after it; half a month is lost.

    A spell ends with the next one, at the latest with the line; the tiers are in falling order.
    """
    rank = pl.col("tier").replace_strict(list(TIERS), [2, 1, 0], return_dtype=pl.Int64)
    following = (pl.col(MONTH).shift(-1) - pl.col(MONTH)).over("line_id", order_by="place")
    change = (rank.shift(-1) - rank).sign().over("line_id", order_by="place").fill_null(0)
    ends = pl.min_horizontal(following, "delay") + 0.5
    whole = pl.col("age") + 1.0
    is_moved = following.is_not_null() & (following <= pl.coalesce("delay", following))
    return rows.with_columns(
        stay=pl.min_horizontal(ends.fill_null(whole), whole),
        moved=pl.when(is_moved).then(change).otherwise(0),
    )


def _ends(versions: pl.DataFrame) -> pl.DataFrame:
    """Of every line its last outcome and range, and the month in which it ended."""
    is_lost = pl.col("outcome") == "lost"
    after = pl.col("place") > pl.col("place").filter(~is_lost).max().fill_null(-1)
    lost = pl.col(MONTH).filter(is_lost & after).min()
    converted = _month_number(pl.col("converted_ds").last())
    return versions.group_by("line_id", maintain_order=True).agg(
        last_outcome=pl.col("outcome").last(),
        last_low=pl.col("probability_low").last(),
        last_high=pl.col("probability_high").last(),
        end=pl.when(pl.col("outcome").last() == "converted").then(converted).otherwise(lost),
    )


def _month_number(day: pl.Expr) -> pl.Expr:
    return day.dt.year().cast(pl.Int64) * 12 + day.dt.month().cast(pl.Int64) - 1
