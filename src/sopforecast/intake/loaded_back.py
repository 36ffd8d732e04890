"""Our own exports, loaded back: what they say about earlier loads is left out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from sopforecast.intake.cells import Sheet, listed
from sopforecast.intake.headers import plain_name
from sopforecast.intake.parse import KNOWN_AT

MARKS_OF_EXPORTS = ("assumed", "load_id", "loaded_by")


def without_bookkeeping(
    sheet: Sheet, *, mapping: Mapping[str, str | Sequence[str]], levels: Collection[str]
) -> Sheet:
    """Leave out the columns an export adds, with a note.

    In a file with any of ``MARKS_OF_EXPORTS``, ``known_at`` is one of them: it tells of an earlier
    load, and must not become a time the planner gave. In any other file it is the file's own. A
    column that settings name (``mapping``, ``levels``) always stays.
    """
    named = {plain_name(level) for level in levels}
    for headers in mapping.values():
        named |= {plain_name(name) for name in ([headers] if isinstance(headers, str) else headers)}
    plain = {plain_name(cells.name) for cells in sheet.columns}
    if not plain & ({*MARKS_OF_EXPORTS} - named):
        return sheet
    unread = {*MARKS_OF_EXPORTS, KNOWN_AT} - named
    names = [cells.name for cells in sheet.columns if plain_name(cells.name) in unread]
    return replace(
        sheet,
        columns=tuple(cells for cells in sheet.columns if cells.name not in names),
        notes=(*sheet.notes, f"an export, loaded back: not read, set anew here: {listed(names)}"),
    )
