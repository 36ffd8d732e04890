"""Which column of a file is which column of a table.

Headers are compared without regard to case, blanks and hyphens. Foreign names come from settings
(``[columns.history]``) and are used where the file has them; what is left over is named, with the
nearest known column, never dropped in silence.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from sopforecast.core.months import month_name
from sopforecast.errors import Problem, RequestError
from sopforecast.intake.cells import Cells, Sheet, listed, near_match, quoted
from sopforecast.intake.parse_dates import header_months
from sopforecast.intake.stamps import read_stamp

HINTS = {
    "unique_id": ("id", "item", "sku", "material", "product", "part", "article", "code"),
    "ds": ("month", "date", "period", "day", "time"),
    "study": ("trial", "protocol"),
    "site": ("centre", "center", "hospital", "investigator", "clinic"),
    "cohort": ("arm", "group", "stratum"),
    "enrolled": ("randomised", "randomized", "enrolment", "enrollment", "recruited", "patients"),
    "line_id": ("id", "line", "patient", "subject", "opportunity", "deal"),
    "event_id": ("id", "event"),
    "tier": ("stage", "status", "category"),
    "y": ("demand", "qty", "quantity", "sales", "volume", "units", "value", "orders"),
}


@dataclass(frozen=True)
class Layout:
    """What a table may hold and must hold, and how settings rename it.

    Attributes
    ----------
    table : str
        Name in messages.
    columns : tuple of str
        Columns the table takes, level columns and ``known_at`` included.
    required : tuple of str
        Columns that must be there.
    replaced_by : Mapping
        Required column to the columns that together may stand in its place.
    mapping : Mapping
        Column to foreign header, or to the headers an id is built from.
    ignored : tuple of str
        Columns that belong elsewhere: left unread, with a note.
    has_months_across : bool
        Whether months may stand as headers instead of ``ds`` and ``y``.
    keeps_foreign : bool
        Whether columns the mapping does not name are left unread when a mapping is in use.
    """

    table: str
    columns: tuple[str, ...]
    required: tuple[str, ...]
    mapping: Mapping[str, str | Sequence[str]]
    replaced_by: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    has_months_across: bool = False
    keeps_foreign: bool = False


@dataclass(frozen=True)
class Matched:
    """Columns found: one or several ``Cells`` a table column, and the month columns."""

    found: Mapping[str, tuple[Cells, ...]]
    months: tuple[tuple[date, Cells], ...] = ()
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()


def match_headers(sheet: Sheet, layout: Layout) -> Matched:
    """Match the headers of a sheet with the columns of a table.

    Raises
    ------
    RequestError
        When settings map a column the table does not have.
    """
    _check_mapping(layout)
    by_name, problems = _by_plain_name(sheet)
    found = _find(by_name, layout)
    used = {id(cells) for parts in found.values() for cells in parts}
    left = [cells for cells in by_name.values() if id(cells) not in used]
    months, problem_months, left = _months_across(sheet, layout, found, left)
    is_mapped = any(
        plain_name(name) in by_name for names in layout.mapping.values() for name in _as_list(names)
    )
    unknown, notes = _leave_unread(layout, found, left, is_mapped=is_mapped)
    problems += problem_months
    missing, renamed = _missing(sheet, layout, found, months, unknown)
    problems += missing
    problems += [
        _unknown(sheet, layout, cells.name, found, months)
        for cells in unknown
        if cells.name not in renamed
    ]
    return Matched(found, tuple(months), tuple(problems), tuple(notes))


def plain_name(name: str) -> str:
    """Return a header as headers are compared: lower case, blanks and hyphens as underscores."""
    return re.sub(r"[\s_-]+", "_", name.strip().casefold())


def _as_list(names: str | Sequence[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _check_mapping(layout: Layout) -> None:
    for column, names in layout.mapping.items():
        if column not in layout.columns:
            match = near_match(column, layout.columns)
            todo = f"did you mean {match!r}?" if match else "correct sopforecast.toml"
            raise RequestError(
                f"[columns.{layout.table}]: found {column!r}; allowed: "
                f"{', '.join(layout.columns)}; {todo}"
            )
        if len(_as_list(names)) != 1 and column != "unique_id":
            raise RequestError(
                f"[columns.{layout.table}] {column}: found {_as_list(names)}; allowed: the name of "
                "one column (only unique_id may be built from several); correct sopforecast.toml"
            )


def _by_plain_name(sheet: Sheet) -> tuple[dict[str, Cells], list[Problem]]:
    by_name: dict[str, Cells] = {}
    problems = []
    for cells in sheet.columns:
        plain = plain_name(cells.name)
        if plain in by_name:
            problems.append(
                sheet.header_problem(
                    cells.name,
                    found="this column twice",
                    allowed="each column once",
                    todo="delete or rename one of the two",
                )
            )
        else:
            by_name[plain] = cells
    return by_name, problems


def _find(by_name: Mapping[str, Cells], layout: Layout) -> dict[str, tuple[Cells, ...]]:
    """Return the cells of each table column: mapped names first, the table's own name else."""
    found: dict[str, tuple[Cells, ...]] = {}
    for column in layout.columns:
        names = [plain_name(name) for name in _as_list(layout.mapping.get(column, ()))]
        if names and all(name in by_name for name in names):
            found[column] = tuple(by_name[name] for name in names)
        elif plain_name(column) in by_name:
            found[column] = (by_name[plain_name(column)],)
    return found


def _months_across(
    sheet: Sheet, layout: Layout, found: Mapping[str, object], left: list[Cells]
) -> tuple[list[tuple[date, Cells]], list[Problem], list[Cells]]:
    if not layout.has_months_across or "ds" in found or "y" in found:
        return [], [], left
    by_header = header_months(cells.name for cells in left)
    months = [(by_header[cells.name], cells) for cells in left if cells.name in by_header]
    rest = [cells for cells in left if cells.name not in by_header]
    first: dict[date, str] = {}
    problems = []
    for month, cells in months:
        if month in first:
            problems.append(
                sheet.header_problem(
                    cells.name,
                    found=f"the month {month_name(month)} twice (also as {first[month]!r})",
                    allowed="each month once",
                    todo="delete or rename one of the two",
                )
            )
        first.setdefault(month, cells.name)
    return months, problems, rest


def _leave_unread(
    layout: Layout, found: Mapping[str, object], left: Sequence[Cells], *, is_mapped: bool
) -> tuple[list[Cells], list[str]]:
    """Split what is left over into unknown columns and columns left unread, with notes."""
    elsewhere = {plain_name(name) for name in layout.ignored}
    ignored = [cells.name for cells in left if plain_name(cells.name) in elsewhere]
    rest = [cells for cells in left if plain_name(cells.name) not in elsewhere]
    notes = []
    if ignored:
        notes.append(f"not read here, they belong elsewhere: {listed(ignored)}")
    if not (is_mapped and layout.keeps_foreign):
        return rest, notes
    free = [column for column in layout.columns if column not in found]
    unknown = [cells for cells in rest if near_match(plain_name(cells.name), free)]
    foreign = [cells.name for cells in rest if cells not in unknown]
    if foreign:
        notes.append(f"not read, [columns.{layout.table}] does not name them: {listed(foreign)}")
    return unknown, notes


def _missing(
    sheet: Sheet,
    layout: Layout,
    found: Mapping[str, object],
    months: Sequence[object],
    unknown: Sequence[Cells],
) -> tuple[list[Problem], set[str]]:
    """Return a problem for each missing column, and the unknown columns these already name."""
    given_by_months = ("ds", "y") if months else ()
    names = [cells.name for cells in unknown]
    headers = listed(quoted(cells.name) for cells in sheet.columns)
    problems = []
    renamed = set()
    for column in layout.required:
        instead = layout.replaced_by.get(column, ())
        if column in found or column in given_by_months:
            continue
        if instead and all(name in found for name in instead):
            continue
        wanted = " and ".join(repr(name) for name in _as_list(layout.mapping.get(column, column)))
        likely = _likely(column, [name for name in names if name not in renamed])
        if likely is not None:
            renamed.add(likely)
        todo = (
            f"rename {likely!r} to {column!r}, or map it under [columns.{layout.table}]"
            if likely
            else f"add it, or map it under [columns.{layout.table}] in sopforecast.toml"
        )
        if instead:
            wanted += f" (or {' and '.join(map(repr, instead))})"
        if layout.has_months_across and column == "ds":
            wanted += " (or months across)"
        problems.append(
            sheet.header_problem(
                column, found=f"columns {headers}", allowed=f"a column {wanted}", todo=todo
            )
        )
    return problems, renamed


def _likely(column: str, names: Collection[str]) -> str | None:
    """Return the header that most likely is the missing column."""
    match = near_match(column, names)
    if match is not None:
        return match
    for name in names:
        if any(hint in plain_name(name).split("_") for hint in HINTS.get(column, ())):
            return name
    return None


def _unknown(
    sheet: Sheet, layout: Layout, name: str, found: Mapping[str, object], months: Sequence[object]
) -> Problem:
    free = [column for column in layout.columns if column not in found]
    match = near_match(plain_name(name), free)
    todo = f"did you mean {match!r}?" if match else "rename or delete the column"
    if not match and layout.table == "items":  # any other column may be a level
        todo += ", or name it in levels in sopforecast.toml"
    if months and read_stamp(name) is None:
        todo = f"{todo.rstrip('?')} (it is not a month either)" if not match else todo
    elif layout.has_months_across and read_stamp(name) is not None:
        todo = "give either 'ds' and 'y', or months across; write months as 2025-01"
    return sheet.header_problem(
        name, found="an unknown column", allowed=listed(layout.columns, most=20), todo=todo
    )
