"""Text files (csv) into a `Sheet`: encoding, separator, quotes and ragged rows.

Everything is read as text; a cell that an export of ours guarded against being run as a formula
(``'=1+1``) gets its guard taken off. Rows are counted as a spreadsheet counts them.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from sopforecast.errors import DataError, Problem
from sopforecast.intake.cells import Cells, Sheet, nameless, quoted
from sopforecast.intake.title_rows import LOOKED_AT, refuse_title

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}
GUARDED = r"^'+[=+\-@\t\r]"
_SAMPLE = 200_000
_SAMPLE_ROWS = 200
_SEPARATOR_LINE = re.compile(r"sep=(.)\r?\n?", re.IGNORECASE)
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SAVE_AS_UTF8 = "save it from Excel as 'CSV UTF-8 (comma delimited)'"


def read_text_sheet(path: Path) -> Sheet:
    """Read a csv file (separated by comma, semicolon or tab; UTF-8, UTF-16 or Western Windows).

    Raises
    ------
    DataError
        When the file is empty, cannot be decoded, has an open quote, rows of uneven length or a
        title above its header.
    """
    file = path.name
    text, notes = _decode(path.read_bytes(), file=file)
    named = _SEPARATOR_LINE.match(text)
    if named is not None:
        text = text[named.end() :]
    separator = named[1] if named is not None else _sniff(text)
    refuse_title(file, _top(text, separator))
    cut = cut_plain(text, separator) or cut_quoted(text, separator, file=file)
    if cut is None:
        raise DataError(
            [Problem(file, "an empty file", "a header and rows below it", "fill it in", row=1)]
        )
    return Sheet(
        file=file,
        header_row=cut.header_row,
        rows=cut.rows,
        columns=_named_columns(cut, file=file),
        notes=tuple(notes),
        has_european_separators=separator == ";",
    )


@dataclass(frozen=True, eq=False)
class CutText:
    """Text cut into cells: the header, and each column's raw texts in the rows that hold any."""

    header_row: int
    header: tuple[str, ...]
    rows: pl.Series
    columns: tuple[pl.Series, ...]


def cut_plain(text: str, separator: str) -> CutText | None:
    """Cut text without quotes whose rows are all as wide as the header; None for any other text.

    A short way to what `cut_quoted` finds in the same text.
    """
    unified = text.replace("\r\n", "\n")
    if '"' in unified or "\r" in unified:
        return None
    lines = pl.Series("line", unified.split("\n"), dtype=pl.String)
    table = pl.DataFrame([lines]).with_row_index("row", offset=1)
    cells_only = pl.col("line").str.replace_all(separator, "", literal=True).str.strip_chars()
    table = table.filter(cells_only != "")
    if table.is_empty():
        return None
    more = table["line"].str.count_matches(separator, literal=True)
    if (more != more[0]).any():
        return None
    cells = table["line"].str.split_exact(separator, more[0]).struct.unnest()
    return CutText(
        header_row=table["row"][0],
        header=cells.row(0),
        rows=table["row"][1:].cast(pl.Int64),
        columns=tuple(series[1:] for series in cells),
    )


def cut_quoted(text: str, separator: str, *, file: str) -> CutText | None:
    """Cut any text into cells by the rules of csv; None when no cell has anything in it.

    Raises
    ------
    DataError
        When quotes are not closed or rows are not as wide as the header.
    """
    records = _records(text, separator, file=file)
    index = next((i for i, record in enumerate(records) if any(map(str.strip, record))), None)
    if index is None:
        return None
    header = tuple(records[index])
    rows, body = _body(records, index, separator, file=file)
    across = list(zip(*body, strict=True)) if body else [()] * len(header)
    columns = tuple(pl.Series(texts, dtype=pl.String) for texts in across)
    return CutText(index + 1, header, rows, columns)


def _decode(raw: bytes, *, file: str) -> tuple[str, list[str]]:
    """Return the text of a file and a note when its encoding had to be assumed."""
    for bom, encoding in _BOMS:
        if raw.startswith(bom):
            return _strict(raw[len(bom) :], encoding, file=file), []
    start = raw[:200]
    if start.count(0) * 4 > len(start):  # every second byte of Western text in UTF-16 is zero
        encoding = "utf-16-le" if start[::2].count(0) < start[1::2].count(0) else "utf-16-be"
        return _strict(raw, encoding, file=file), []
    try:
        return raw.decode("utf-8"), []
    except UnicodeDecodeError as err:
        return _western(raw, err.start, file=file)


def _strict(raw: bytes, encoding: str, *, file: str) -> str:
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as err:
        raise DataError([_undecodable(raw, err.start, file=file)]) from err


def _western(raw: bytes, start: int, *, file: str) -> tuple[str, list[str]]:
    """Read Western Windows text when every character of it is a plain letter or mark."""
    try:
        text = raw.decode("cp1252")
    except UnicodeDecodeError as err:
        raise DataError([_undecodable(raw, err.start, file=file)]) from err
    line = _line_at(raw, start)
    beyond = {character for character in text if ord(character) > 127}
    if not all(character.isalpha() or character in "\u00a0°€£–’“”" for character in beyond):
        raise DataError([_undecodable(raw, start, file=file)])
    word = re.search(r"[^\s,;\t]*[^\x00-\x7f][^\s,;\t]*", text)
    shown = quoted(word[0]) if word is not None else ""
    return text, [f"not UTF-8: read as Western Windows text (row {line} reads {shown}); "
                  f"if that is wrong, undo the load and {_SAVE_AS_UTF8}"]  # fmt: skip


def _undecodable(raw: bytes, start: int, *, file: str) -> Problem:
    return Problem(
        file=file,
        row=_line_at(raw, start),
        found=f"a byte (0x{raw[start]:02X}) that is not UTF-8 text",
        allowed="UTF-8 (or UTF-16) text",
        todo=_SAVE_AS_UTF8,
    )


def _line_at(raw: bytes, position: int) -> int:
    return raw.count(b"\n", 0, position) + 1


def _sniff(text: str) -> str:
    """Return the separator under which most sampled rows are as wide as a header of 2 or more."""
    best, best_score = _sniff_below_a_title(text), (0.0, 0)
    for separator in SEPARATORS:
        reader = csv.reader(io.StringIO(text[:_SAMPLE], newline=""), delimiter=separator)
        widths = []
        try:
            for record in reader:
                if any(map(str.strip, record)):
                    widths.append(len(record))
                if len(widths) > _SAMPLE_ROWS:
                    break
        except csv.Error:
            pass
        if len(widths) == 0 or widths[0] < 2:
            continue
        score = (sum(width == widths[0] for width in widths) / len(widths), widths[0])
        if score > best_score:
            best, best_score = separator, score
    return best


def _sniff_below_a_title(text: str) -> str:
    """Return the separator that cuts one of the first rows into most cells, comma for none."""
    widths = {
        separator: max((len(record) for _, record in _top(text, separator)), default=1)
        for separator in SEPARATORS
    }
    return max(widths, key=lambda separator: widths[separator])


def _top(text: str, separator: str) -> list[tuple[int, list[str]]]:
    """Return (row number, cells) of the first rows that are not blank, while they can be cut."""
    top: list[tuple[int, list[str]]] = []
    sample = io.StringIO(text[:_SAMPLE], newline="")
    with contextlib.suppress(csv.Error):
        for row, record in enumerate(csv.reader(sample, delimiter=separator), start=1):
            if any(map(str.strip, record)):
                top.append((row, record))
            if len(top) == LOOKED_AT:
                break
    return top


def _records(text: str, separator: str, *, file: str) -> list[list[str]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    records: list[list[str]] = []
    try:
        records.extend(reader)
    except csv.Error as err:
        problem = Problem(
            file=file,
            row=len(records) + 1,
            found=f"text that cannot be cut into cells ({err}); is a quote left open?",
            allowed='quotes in pairs, and "" for a quote inside quotes',
            todo="correct the quotes in this row, or save the file again from Excel",
        )
        raise DataError([problem]) from err
    return records


def _body(
    records: Sequence[list[str]], header_index: int, separator: str, *, file: str
) -> tuple[pl.Series, list[list[str]]]:
    """Return row numbers and cells of the rows that are not blank, each as wide as the header."""
    width = len(records[header_index])
    rows: list[int] = []
    body: list[list[str]] = []
    problems: list[Problem] = []
    for row, record in enumerate(records[header_index + 1 :], start=header_index + 2):
        if not any(map(str.strip, record)):
            continue
        if len(record) == width or (len(record) > width and not any(record[width:])):
            rows.append(row)
            body.append(record[:width])
        else:
            problems.append(_ragged(file, row, len(record), width, separator))
    if problems:
        raise DataError(problems)
    return pl.Series(rows, dtype=pl.Int64), body


def _ragged(file: str, row: int, cells: int, width: int, separator: str) -> Problem:
    todo = "complete the row, or save the file again"
    if cells > width and separator == ",":
        todo = "a number with a decimal comma needs quotes around it, or semicolons between cells"
    return Problem(
        file=file,
        row=row,
        found=f"{cells} cells",
        allowed=f"{width} cells, as in the header (separated by {SEPARATORS.get(separator)})",
        todo=todo,
    )


def _named_columns(cut: CutText, *, file: str) -> tuple[Cells, ...]:
    """Return the named columns; a column without a name must be empty."""
    columns = []
    for index, (name, texts) in enumerate(zip(cut.header, cut.columns, strict=True)):
        text = _plain_text(texts)
        if name.strip():
            columns.append(Cells(file, name.strip(), cut.rows, text))
        elif text.is_not_null().any():
            raise DataError([nameless(file, cut.header_row, f"number {index + 1}")])
    return tuple(columns)


def _plain_text(text: pl.Series) -> pl.Series:
    stripped = text.str.strip_chars()
    guarded = stripped.str.contains(GUARDED)
    if guarded.any():
        bare = stripped.str.strip_prefix("'")
        stripped = pl.select(pl.when(guarded).then(bare).otherwise(stripped)).to_series()
    return stripped.set(stripped == "", None)
