"""What must hold of one override by itself, in the order in which a person would check it.

Each rule is a condition on a row with words for the planner who wrote it; together with the schema
of ``core.evidence_tables`` they are what a row has to pass before it is compared with others.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import polars as pl

from sopforecast.core.evidence_tables import ANY
from sopforecast.core.months import month_name
from sopforecast.errors import Problem
from sopforecast.intake.cells import near_match, quoted
from sopforecast.intake.parse import LONGEST_ID
from sopforecast.intake.row_rules import Rule, broken_rows, number_in
from sopforecast.intake.rules import Place

SYSTEM = "system:"
NEEDED = {
    "override_id": "an id of its own for every override, the same when it is loaded again",
    "kind": "absolute, delta or percent",
    "value": "a number, or both low and high",
    "source": "who speaks: one of the sources of the settings, or system:<tool>",
    "owner": "the person who answers for it",
    "reason": "why, in a word or two that return: the record is kept by reason",
}


_LOW, _HIGH, _VALUE = pl.col("low"), pl.col("high"), pl.col("value")
_CONFIDENCE, _PROBABILITY = pl.col("confidence"), pl.col("probability")
_BELOW_ALL = "a fall of at most 100, which leaves nothing"
_NO_DEMAND_BELOW_ZERO = "0 or more: demand is not negative"
RULES = (
    Rule(
        pl.col("override_id").str.len_chars() > LONGEST_ID,
        "override_id",
        lambda row: f"{len(row['override_id'])} characters",
        f"at most {LONGEST_ID} characters",
        "shorten it",
    ),
    Rule(
        pl.col("ds_to") < pl.col("ds_from"),
        "ds_to",
        lambda row: f"{month_name(row['ds_to'])}, before ds_from {month_name(row['ds_from'])}",
        "a last month not before the first",
        "correct one of them, or leave ds_to empty for a single month",
    ),
    Rule(
        pl.col("expires_cycle") < pl.col("entered_cycle"),
        "expires_cycle",
        lambda row: (
            f"{month_name(row['expires_cycle'])}, before the cycle it was entered in "
            f"({month_name(row['entered_cycle'])})"
        ),
        "a cycle after the one it was entered in",
        "correct it, or leave it empty: an override ends with its last month",
    ),
    Rule(
        _LOW.is_not_null() & _HIGH.is_null(),
        "high",
        lambda row: f"low {row['low']:g} and no high",
        "both ends of a range, or neither",
        "fill in the other end",
    ),
    Rule(
        _LOW.is_null() & _HIGH.is_not_null(),
        "low",
        lambda row: f"high {row['high']:g} and no low",
        "both ends of a range, or neither",
        "fill in the other end",
    ),
    Rule(
        _LOW > _HIGH,
        "low",
        lambda row: f"low {row['low']:g} above high {row['high']:g}",
        "a low that is not above high",
        "swap the two",
    ),
    Rule(
        (_LOW <= _HIGH) & ~_VALUE.is_between(_LOW, _HIGH),
        "value",
        lambda row: f"{row['value']:g}, outside {row['low']:g} to {row['high']:g}",
        "a value inside low to high",
        "correct it, or leave it empty for the middle of the range",
    ),
    Rule(
        _CONFIDENCE == 1,
        "confidence",
        number_in("confidence"),
        "above 0 and below 1: a range that is certain to hold says nothing of how far off it may "
        "be, so no spread can be made of it",
        "write 0.8 when four in five such ranges hold, 0.95 for nineteen in twenty",
    ),
    Rule(
        (_CONFIDENCE <= 0) | (_CONFIDENCE > 1),
        "confidence",
        number_in("confidence"),
        "above 0 and below 1",
        "write 0.8 for 80%, or leave it empty: 0.8 is taken when there is a range",
    ),
    Rule(
        (_PROBABILITY <= 0) | (_PROBABILITY > 1),
        "probability",
        number_in("probability"),
        "above 0, up to 1",
        "write 0.3 for 30%, or leave it empty when it is sure to happen",
    ),
    Rule(
        (pl.col("mode") == "fixed") & (_PROBABILITY > 0) & (_PROBABILITY < 1),
        "mode",
        lambda row: f"fixed with probability {row['probability']:g}",
        "fixed for what is sure to happen",
        "write evidence for what may or may not happen, or leave the probability empty",
    ),
    Rule(
        (pl.col("kind") == "percent") & (_VALUE < -100),
        "value",
        lambda row: f"{row['value']:g} percent",
        _BELOW_ALL,
        "correct it, or use kind delta for a quantity",
    ),
    Rule(
        (pl.col("kind") == "percent") & (_LOW < -100) & (_VALUE >= -100),
        "low",
        lambda row: f"{row['low']:g} percent",
        _BELOW_ALL,
        "correct it, or use kind delta for a quantity",
    ),
    Rule(
        (pl.col("kind") == "absolute") & (_VALUE < 0),
        "value",
        number_in("value"),
        _NO_DEMAND_BELOW_ZERO,
        "correct it, or use kind delta for a fall",
    ),
    Rule(
        (pl.col("kind") == "absolute") & (_LOW < 0) & (_VALUE >= 0),
        "low",
        number_in("low"),
        _NO_DEMAND_BELOW_ZERO,
        "correct it, or use kind delta for a fall",
    ),
)


def blank_cells(
    frame: pl.DataFrame, refused: Collection[tuple[int, str]], *, place: Place
) -> list[Problem]:
    """Refuse empty cells in columns that every override needs.

    ``refused`` are (row, header) of cells that hold something and were refused already.
    """
    problems = []
    for column, allowed in NEEDED.items():
        blank = frame[column].is_null()
        if column == "value":
            blank &= frame["low"].is_null() & frame["high"].is_null()
        for row in frame.filter(blank).iter_rows(named=True):
            if (row["_row"], place.headers.get(column, column)) not in refused:
                problems.append(
                    place.problem(
                        row, column, found="an empty cell", allowed=allowed, todo="fill it in"
                    )
                )
    return problems


def row_rules(frame: pl.DataFrame, *, place: Place) -> list[Problem]:
    """Return what single rows break of ``RULES``; a null in a condition breaks nothing."""
    return broken_rows(frame, RULES, place=place)


def any_is_reserved(frame: pl.DataFrame, *, place: Place) -> list[Problem]:
    """Refuse ``*`` as a source, owner or reason: in records of credibility it means any."""
    return [
        place.problem(
            row, column, found=repr(ANY), allowed="a name: '*' stands for any", todo="name it"
        )
        for column in ("source", "owner", "reason")
        for row in frame.filter(pl.col(column) == ANY).iter_rows(named=True)
    ]


def plain_sources(frame: pl.DataFrame, sources: Collection[str]) -> pl.Series:
    """Return sources as the settings spell them; ``System: SAP`` becomes ``system:SAP``."""
    by_folded = {source.casefold(): source for source in sources}
    read: dict[str, str] = {}
    for text in frame["source"].drop_nulls().unique().to_list():
        if text.casefold().startswith(SYSTEM):
            read[text] = SYSTEM + text[len(SYSTEM) :].strip()
        else:
            read[text] = by_folded.get(text.casefold(), text)
    if not read:
        return frame["source"]
    return frame["source"].replace_strict(read, default=None, return_dtype=pl.String)


def unknown_sources(
    frame: pl.DataFrame, sources: Collection[str], *, place: Place
) -> list[Problem]:
    """Refuse sources that are neither in settings nor a tool's (``system:<tool>``)."""
    source = pl.col("source")
    is_tool = source.str.starts_with(SYSTEM) & (source.str.len_chars() > len(SYSTEM))
    wrong = frame.filter(~source.is_in(list(sources)) & ~is_tool & (source != ANY))
    problems = []
    for row in wrong.iter_rows(named=True):
        match = near_match(row["source"], sources)
        problems.append(
            place.problem(
                row,
                "source",
                found=f"unknown source {quoted(row['source'])}",
                allowed=f"{', '.join(sources)}, or system:<tool> for another tool's forecast",
                todo=(f"did you mean {match!r}? Or" if match else "correct it, or")
                + " add it to sources in sopforecast.toml",
            )
        )
    return problems


def doubtful_percents(
    frame: pl.DataFrame, signed: Mapping[str, pl.Series], *, place: Place
) -> list[Problem]:
    """Refuse ``0.15`` for percent without its sign: Excel keeps 15% so, and it may be 0.15%."""
    problems = []
    for column, mask in signed.items():
        size = pl.col(column).abs()
        doubtful = (pl.col("kind") == "percent") & (size > 0) & (size < 1) & ~mask
        for row in frame.filter(doubtful).iter_rows(named=True):
            problems.append(
                place.problem(
                    row,
                    column,
                    found=f"{row[column]:g} for percent, which may be {row[column] * 100:g}% or "
                    f"{row[column]:g}%",
                    allowed="percent that can be read in one way",
                    todo=f"write {row[column] * 100:g} or '{row[column]:g}%' as text",
                )
            )
    return problems
