"""Cells of one file with their place in it, and the wording of what is wrong with a cell.

Every reader (csv, xlsx, parquet) returns a `Sheet` of `Cells`; every parser takes `Cells`. A cell
always has the text a person sees; a cell that was a number in the file also has that number, so
that ``1.234`` typed as a number is never mistaken for ``1.234`` written as text.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import polars as pl

from sopforecast.errors import SHOWN_PROBLEMS, Problem

SHOWN_TEXT = 40


class Verdict(NamedTuple):
    """Why a text was refused: what is allowed in its place and what to do."""

    allowed: str
    todo: str


@dataclass(frozen=True, eq=False)
class Cells:
    """One column of a file, or a block of month columns laid end to end.

    Attributes
    ----------
    file : str
        ``history.csv`` or ``book.xlsx[history]``.
    column : str or Series of String
        Header as written; one name a cell when the cells are a block of several columns.
    rows : Series of Int64
        Row numbers a person sees: the header is row 1.
    text : Series of String
        What the cell shows, without blanks around it; null is an empty cell.
    number : Series of Float64, optional
        Value of each cell that was a number in the file; null for all other cells.
    dated : Series of Boolean, optional
        True where the cell was a date in the file, not text that looks like one.
    """

    file: str
    column: str | pl.Series
    rows: pl.Series
    text: pl.Series
    number: pl.Series | None = None
    dated: pl.Series | None = None

    @property
    def name(self) -> str:
        """The header, or the first of a block."""
        return self.column if isinstance(self.column, str) else str(self.column[0])

    def problem(self, index: int, verdict: Verdict, *, found: str | None = None) -> Problem:
        """Return the problem of one cell; ``found`` replaces its own text."""
        column = self.column if isinstance(self.column, str) else str(self.column[index])
        return Problem(
            file=self.file,
            row=int(self.rows[index]),
            column=column,
            found=found if found is not None else quoted(self.text[index]),
            allowed=verdict.allowed,
            todo=verdict.todo,
        )

    def problems(self, mask: pl.Series, verdict: Verdict) -> list[Problem]:
        """Return one problem for each cell where ``mask`` (Boolean, a cell) is true."""
        return [self.problem(index, verdict) for index in mask.fill_null(False).arg_true()]

    def refuse(self, verdicts: Mapping[str, Verdict]) -> list[Problem]:
        """Return one problem for each cell whose text is a key of ``verdicts``."""
        if not verdicts:
            return []
        wrong = self.text.is_in(list(verdicts)).fill_null(False)
        return [self.problem(index, verdicts[self.text[index]]) for index in wrong.arg_true()]


@dataclass(frozen=True, eq=False)
class Sheet:
    """One table as it stands in a file, before anything is understood.

    ``has_european_separators`` is True for a csv cut by semicolons: there a lone ``1.234`` may well
    mean one thousand two hundred and thirty-four.
    """

    file: str
    header_row: int
    rows: pl.Series
    columns: tuple[Cells, ...]
    notes: tuple[str, ...] = ()
    has_european_separators: bool = False

    def header_problem(self, column: str | None, *, found: str, allowed: str, todo: str) -> Problem:
        """Return a problem of the header row."""
        return Problem(
            file=self.file,
            row=self.header_row,
            column=column,
            found=found,
            allowed=allowed,
            todo=todo,
        )


@dataclass(frozen=True)
class Parsed:
    """Values of some cells (null where empty or refused), their problems, and what was assumed."""

    values: pl.Series
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()


def quoted(text: object) -> str:
    """Return a text as it is shown in a message: quoted, on one line, cut when long."""
    if text is None:
        return "an empty cell"
    shown = str(text)
    if len(shown) > SHOWN_TEXT:
        shown = shown[: SHOWN_TEXT - 3] + "..."
    return repr(shown)


def listed(names: Iterable[str], *, most: int = 12) -> str:
    """Return names for a message, cut when there are many."""
    shown = list(names)
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more


def nameless(file: str, header_row: int, column: str) -> Problem:
    """Return the problem of a column that has values and no header."""
    return Problem(
        file=file,
        row=header_row,
        column=column,
        found="values under an empty header",
        allowed="a name above every column",
        todo="name or delete the column",
    )


def near_match(name: str, known: Collection[str]) -> str | None:
    """Return the known name that looks most like ``name``, or None when none is close."""
    by_folded = {candidate.casefold(): candidate for candidate in known}
    close = difflib.get_close_matches(name.casefold(), list(by_folded), n=1, cutoff=0.6)
    return by_folded[close[0]] if close else None


def near_matches(names: Sequence[str], known: Collection[str]) -> dict[str, str]:
    """Return the near match of each name that has one, for as many names as a message shows."""
    pairs = ((name, near_match(name, known)) for name in names[:SHOWN_PROBLEMS])
    return {name: match for name, match in pairs if match is not None}


def counted(count: int, noun: str) -> str:
    """Return ``1 row`` or ``3 rows``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def row_list(rows: Sequence[int]) -> str:
    """Return row numbers for a note: ``row 4`` or ``rows 4, 9``."""
    return f"row{'s' if len(rows) != 1 else ''} {listed(map(str, rows), most=5)}"
