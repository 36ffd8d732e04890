"""Titles above the header: named with the row the header seems to be in, never read as headers."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sopforecast.core.tables import History, Items
from sopforecast.errors import DataError, Problem
from sopforecast.intake.cells import quoted
from sopforecast.intake.headers import HINTS, plain_name

LOOKED_AT = 12
_NAMES = {*Items.columns(), *History.columns(), *HINTS["unique_id"]}
_NUMBER = re.compile(r"[-+]?\d[\d.,]*")


def refuse_title(file: str, rows: Sequence[tuple[int, Sequence[str | None]]]) -> None:
    """Refuse a sheet whose first row is a title, told by the many cells it leaves empty.

    Parameters
    ----------
    file : str
        Name in messages.
    rows : sequence of (row number, texts)
        The first rows that are not blank; only `LOOKED_AT` of them are looked at.

    Raises
    ------
    DataError
        When a row of texts below fills at least twice as many cells as the first, which names no
        column. A sheet like that could not be read anyway: it has values under empty headers.
    """
    filled = [
        (row, [text for text in texts if text is not None and text.strip()])
        for row, texts in rows[:LOOKED_AT]
    ]
    if not filled or not filled[0][1] or any(plain_name(text) in _NAMES for text in filled[0][1]):
        return
    widest = max(len(texts) for _, texts in filled)
    header, names = next((row, texts) for row, texts in filled if len(texts) == widest)
    if any(_NUMBER.fullmatch(name.strip()) for name in names):
        return
    if widest >= 2 * len(filled[0][1]):
        raise DataError(
            [
                Problem(
                    file=file,
                    row=filled[0][0],
                    found=f"{quoted(' '.join(filled[0][1]))}, which looks like a title",
                    allowed="the header in the first row",
                    todo=f"the header seems to be in row {header}: delete the rows above it",
                )
            ]
        )
