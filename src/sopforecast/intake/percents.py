"""Percent signs in the numbers of overrides: where ``15%`` is a quantity of percent, or a share.

``value``, ``low`` and ``high`` of an override of kind percent may carry the sign; ``confidence``
and ``probability`` are shares, so ``80%`` is 0.8. Everywhere else the sign is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from sopforecast.errors import Problem
from sopforecast.intake.cells import Cells, Verdict
from sopforecast.intake.headers import Matched

AMOUNTS = ("value", "low", "high")
SHARES = ("confidence", "probability")


@dataclass(frozen=True)
class Signs:
    """Where the file had a percent sign: one mask (Boolean, a cell) a column that has any."""

    cells: Mapping[str, Cells] = field(default_factory=dict)
    masks: Mapping[str, pl.Series] = field(default_factory=dict)

    def signed(self, column: str, length: int) -> pl.Series:
        """The mask of a column, false throughout where it has no sign."""
        plain = pl.repeat(False, length, dtype=pl.Boolean, eager=True)
        return self.masks.get(column, plain)


def without_signs(
    matched: Matched, columns: Sequence[str] = (*AMOUNTS, *SHARES)
) -> tuple[Matched, Signs]:
    """Take the percent signs off the columns that may have them, and remember where they were."""
    found = dict(matched.found)
    cells: dict[str, Cells] = {}
    masks: dict[str, pl.Series] = {}
    for column in columns:
        if column not in found:
            continue
        (before,) = found[column]
        mask = before.text.str.contains(r"^[^%]+%$").fill_null(False)
        if mask.any():
            bare = before.text.str.strip_suffix("%").str.strip_chars()
            found[column] = (replace(before, text=bare),)
            cells[column], masks[column] = before, mask
    return replace(matched, found=found), Signs(cells, masks)


def read_signs(frame: pl.DataFrame, signs: Signs) -> tuple[pl.DataFrame, list[Problem]]:
    """Turn signed shares to numbers below one, and refuse signed amounts of another kind.

    Parameters
    ----------
    frame : DataFrame
        A row a cell of the sheet, with ``kind`` and the columns parsed without their signs.
    """
    problems: list[Problem] = []
    is_percent = (frame["kind"] == "percent").fill_null(False)
    verdict = Verdict(
        "a percent sign only where kind is percent", "write the quantity itself, or correct kind"
    )
    for column in AMOUNTS:
        if column in signs.cells and frame["kind"].is_not_null().any():
            wrong = signs.masks[column] & ~is_percent & frame["kind"].is_not_null()
            problems += signs.cells[column].problems(wrong, verdict)
    return read_shares(frame, signs), problems


def read_shares(frame: pl.DataFrame, signs: Signs, columns: Sequence[str] = SHARES) -> pl.DataFrame:
    """Turn signed shares to numbers below one: ``80%`` is 0.8."""
    return frame.with_columns(
        pl.when(signs.masks[column]).then(pl.col(column) / 100).otherwise(column).alias(column)
        for column in columns
        if column in signs.masks
    )
