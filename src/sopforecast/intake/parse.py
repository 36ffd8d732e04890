"""Ids, texts and choices out of cells, and the parser each column of a table needs.

An id is kept as it is written (leading zeros, ``NA``, ``=1+1``), trimmed and in NFC, so that two
spellings a person cannot tell apart are one id. What cannot be seen in an id is refused.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial

import dataframely as dy
import polars as pl

from sopforecast.errors import Problem
from sopforecast.intake.cells import Cells, Parsed, Verdict, near_match
from sopforecast.intake.parse_dates import parse_dates, parse_moments, parse_months
from sopforecast.intake.parse_numbers import parse_numbers, parse_whole_numbers

LONGEST_ID = 200
LONGEST_TEXT = 10_000
KNOWN_AT = "known_at"
EXCEL_ERRORS = frozenset(
    ("#REF!", "#N/A", "#VALUE!", "#DIV/0!", "#NAME?", "#NUM!", "#NULL!", "#SPILL!", "#CALC!")
)
LIKE_MISSING = frozenset(("na", "n/a", "nan", "none", "null", "nil", "-", "?", "tbd"))
_JOINERS = "\u200c\u200d"
_INVISIBLE = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
_SCIENTIFIC = re.compile(r"\d(?:[.,]\d+)?[eE]\+\d{2,}")
_ERROR = Verdict("text", "the cell holds an Excel error: correct it")


@dataclass(frozen=True)
class ParseOptions:
    """What the parsers of one file need to know.

    ``latest`` is the last month that is not absurd; ``levels`` the level columns, whose names an
    id may not imitate; ``names`` the columns in which texts name things that other tables name too.
    """

    latest: date
    levels: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    id_separator: str = "|"
    decimal: str = "auto"
    has_european_separators: bool = False


def parse_column(cells: Cells, column: dy.Column, *, options: ParseOptions) -> Parsed:
    """Parse cells by the type its schema declares; returns values of that type.

    Notes
    -----
    ``dy.Date`` columns of resolution ``1mo`` are months, others days; ``dy.Enum`` are choices.
    """
    if isinstance(column, dy.Date):
        is_required = not column.nullable
        if column.resolution is None:
            return parse_dates(cells, is_required=is_required)
        return parse_months(cells, latest=options.latest, is_required=is_required)
    if isinstance(column, dy.Float64):
        return parse_numbers(
            cells,
            decimal=options.decimal,
            has_european_separators=options.has_european_separators,
        )
    if isinstance(column, dy.Enum):
        return parse_choices(cells, choices=column.categories, is_required=not column.nullable)
    others = {dy.Int64: parse_whole_numbers, dy.Datetime: parse_moments}
    return others.get(type(column), parse_texts)(cells)


def parse_texts(cells: Cells) -> Parsed:
    """Read free text: NFC, empty as null; Excel errors and hidden control characters refused."""
    return _by_distinct(cells, _text_verdict)


def parse_names(cells: Cells) -> Parsed:
    """Read names that other tables use too: NFC, of characters that can be seen, none a date."""
    parsed = _by_distinct(cells, _name_verdict)
    if cells.dated is None or not cells.dated.any():
        return parsed
    verdict = Verdict("a name as text", "Excel made this name a date: format the column as Text")
    return Parsed(
        parsed.values.set(cells.dated, None),
        (*parsed.problems, *cells.problems(cells.dated, verdict)),
    )


def parse_choices(cells: Cells, *, choices: Sequence[str], is_required: bool = False) -> Parsed:
    """Read a column of fixed words; upper and lower case, blanks and hyphens are forgiven."""
    by_plain = {choice: choice for choice in choices}
    read: dict[str, str] = {}
    verdicts: dict[str, Verdict] = {}
    for text in cells.text.drop_nulls().unique().to_list():
        plain = re.sub(r"[\s-]+", "_", text.casefold())
        if plain in by_plain:
            read[text] = plain
            continue
        match = near_match(plain, choices)
        otherwise = "use one of them" + ("" if is_required else ", or leave it empty")
        todo = f"did you mean {match!r}?" if match else otherwise
        verdicts[text] = Verdict(f"one of {', '.join(choices)}", todo)
    values = _replaced(cells.text, read).cast(pl.Enum(list(choices)))
    return Parsed(values, tuple(cells.refuse(verdicts)))


def parse_ids(parts: Sequence[Cells], *, options: ParseOptions) -> Parsed:
    """Read ids from one column, or from several joined by ``options.id_separator``.

    Parameters
    ----------
    parts : sequence of Cells
        The columns an id is built from, each of the same length.
    options : ParseOptions
        Separator and level columns.

    Returns
    -------
    Parsed
        String values; an empty cell in a row that is not empty is a problem.
    """
    problems = [
        problem for part in parts for problem in _id_part_problems(part, len(parts), options)
    ]
    spoilt = {problem.row for problem in problems}
    whole = joined(parts, options=options)
    check = partial(_id_verdict, levels=options.levels)
    parsed = _by_distinct(whole, check)
    problems += [problem for problem in parsed.problems if problem.row not in spoilt]
    return Parsed(parsed.values, tuple(problems), _id_notes(whole))


def joined(parts: Sequence[Cells], *, options: ParseOptions) -> Cells:
    """Join the columns an id is built from; null where any of them is empty."""
    columns = [part.text.str.normalize("NFC") for part in parts]
    text = columns[0]
    for column in columns[1:]:
        text = text + options.id_separator + column
    return Cells(parts[0].file, ", ".join(part.name for part in parts), parts[0].rows, text)


def _id_part_problems(part: Cells, count: int, options: ParseOptions) -> list[Problem]:
    """Problems of one column of an id: empty, a date, or holding the separator."""
    problems = part.problems(
        part.text.is_null(),
        Verdict("an id in every row", "fill it in, or delete the row (merged cells hold one id)"),
    )
    if part.dated is not None:
        problems += part.problems(
            part.dated,
            Verdict("an id as text", "Excel made this id a date: format the column as Text"),
        )
    if count > 1:
        inside = part.text.str.contains(options.id_separator, literal=True)
        verdict = Verdict(
            f"parts of an id without {options.id_separator!r}, which joins them",
            "choose another id_separator under [advanced] in sopforecast.toml",
        )
        problems += part.problems(inside, verdict)
    return problems


def _name_verdict(text: str) -> Verdict | None:
    """Return why a text cannot name anything, or None."""
    if text in EXCEL_ERRORS:
        return _ERROR
    if len(text) > LONGEST_ID:
        return Verdict(f"at most {LONGEST_ID} characters", f"shorten it ({len(text)} now)")
    hidden = _hidden_character(text)
    if hidden is not None:
        return Verdict(f"characters that can be seen ({hidden} cannot)", "type it again")
    return None


def _id_verdict(text: str, *, levels: Collection[str]) -> Verdict | None:
    """Return why a text cannot be an id, or None."""
    verdict = _name_verdict(text)
    if verdict is not None:
        return verdict
    if text.casefold() == "total":
        return Verdict("ids of items", "delete the total row, or rename the item: 'total' is a sum")
    if _SCIENTIFIC.fullmatch(text):
        return Verdict("the id itself", "Excel shortened it: format the column as Text")
    return _aggregate_verdict(text, levels=levels)


def _aggregate_verdict(text: str, *, levels: Collection[str]) -> Verdict | None:
    """Return why an id would be taken for the name of a sum, or None."""
    for part in text.split("/"):
        name, equals, _ = part.partition("=")
        if equals and name in levels:
            allowed = f"ids that do not look like a sum ('{name}=...' names one)"
            return Verdict(allowed, "rename the item")
    return None


def _id_notes(ids: Cells) -> tuple[str, ...]:
    distinct = ids.text.drop_nulls().unique(maintain_order=True).to_list()
    notes = [
        f"id {text!r} is kept as an id, not read as missing"
        for text in distinct
        if text.casefold() in LIKE_MISSING
    ]
    if distinct and all(re.fullmatch(r"\d+\.0", text) for text in distinct):
        notes.append(f"every id ends in '.0' (such as {distinct[0]!r}): were they numbers once?")
    return tuple(notes)


def _text_verdict(text: str) -> Verdict | None:
    if text in EXCEL_ERRORS:
        return _ERROR
    if len(text) > LONGEST_TEXT:
        return Verdict(f"at most {LONGEST_TEXT} characters", f"shorten it ({len(text)} now)")
    if "\0" in text:
        return Verdict("text without NUL characters", "type the text again")
    return None


def _hidden_character(text: str) -> str | None:
    """Return the code of the first character nobody can see, or None."""
    if text.isascii() and text.isprintable():
        return None
    for character in text:
        if unicodedata.category(character) in _INVISIBLE and character not in _JOINERS:
            return f"U+{ord(character):04X}"
    return None


def _by_distinct(cells: Cells, check: Callable[[str], Verdict | None]) -> Parsed:
    """Judge each distinct text once with ``check``; return NFC texts, refused ones null."""
    distinct = cells.text.drop_nulls().unique(maintain_order=True).to_list()
    verdicts = {text: verdict for text in distinct if (verdict := check(text)) is not None}
    values = cells.text.str.normalize("NFC")
    if verdicts:
        values = values.set(cells.text.is_in(list(verdicts)).fill_null(False), None)
    return Parsed(values, tuple(cells.refuse(verdicts)))


def _replaced(text: pl.Series, read: Mapping[str, str]) -> pl.Series:
    if not read:
        return pl.Series([None] * len(text), dtype=pl.String)
    return text.replace_strict(read, default=None, return_dtype=pl.String)
