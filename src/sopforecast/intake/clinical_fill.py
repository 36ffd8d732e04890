"""What an empty cell of a clinical table means, and which words mean the same as an empty cell."""

from __future__ import annotations

from collections.abc import Collection

import polars as pl

from sopforecast.core.clinical_tables import ALL, ANY
from sopforecast.intake.cells import counted
from sopforecast.intake.clinical_columns import BLANK_MEANS, MAY_BE_ALL
from sopforecast.intake.parse import KNOWN_AT


def fill_blanks(
    frame: pl.DataFrame, table: str, *, studies: Collection[str]
) -> tuple[pl.DataFrame, list[str]]:
    """Fill in what was left empty.

    Parameters
    ----------
    frame : DataFrame
        Parsed rows of a clinical table.
    table : str
        Its name.
    studies : collection of str
        The studies there are: when it is one, it may be left out of the whole file.

    Returns
    -------
    DataFrame, list of str
        The rows, and notes on what was assumed that the person should know.
    """
    frame, notes = _with_the_only_study(frame, table, studies)
    if table == "tier_lines":
        notes += _bare_quantities(frame)
    for name in MAY_BE_ALL.get(table, ()):
        is_all = pl.col(name).str.to_lowercase().is_in([ALL, ANY])
        frame = frame.with_columns(pl.when(is_all).then(None).otherwise(name).alias(name))
    means = BLANK_MEANS.get(table, {})
    filled = [
        pl.col(name).fill_null(pl.lit(value, dtype=frame.schema[name]))
        for name, value in means.items()
    ]
    frame = frame.with_columns(filled)
    if table == "study_events":
        on_schedule = (pl.col("acts_on") == "schedule") & pl.col("applies_to").is_null()
        new = pl.lit("new", dtype=frame.schema["applies_to"])
        frame = frame.with_columns(
            applies_to=pl.when(on_schedule).then(new).otherwise("applies_to")
        )
    return frame, notes


def _with_the_only_study(
    frame: pl.DataFrame, table: str, studies: Collection[str]
) -> tuple[pl.DataFrame, list[str]]:
    """A file that names no study at all speaks of the only one there is; account lines of none."""
    if table == "studies" or len(studies) != 1 or frame["study"].is_not_null().any():
        return frame, []
    (study,) = studies
    belongs = pl.col("account").is_null() if table == "tier_lines" else pl.lit(True)
    rows = frame.filter(belongs).height
    if not rows:
        return frame, []
    filled = frame.with_columns(study=pl.when(belongs).then(pl.lit(study)).otherwise("study"))
    return filled, [f"study is empty in {counted(rows, 'row')} and taken as {study}, the only one"]


def _bare_quantities(lines: pl.DataFrame) -> list[str]:
    """A note on deals without a quantity: one unit is seldom what is meant."""
    bare = lines.filter(pl.col("account").is_not_null() & pl.col("quantity").is_null()).height
    return [f"quantity is empty in {counted(bare, 'account line')} and taken as 1"] if bare else []


def last_versions(frame: pl.DataFrame, key: list[str]) -> pl.DataFrame:
    """The last version of each key of a file, which may hold earlier ones with ``known_at``."""
    in_order = frame.sort(KNOWN_AT, nulls_last=True, maintain_order=True)
    return in_order.unique(key, keep="last", maintain_order=True)
