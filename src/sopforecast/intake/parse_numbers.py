"""Numbers as people write them, read without guessing.

A column settles once whether its decimals are written with a point or a comma, from the cells that
can be read only one way; a cell that can be read two ways and that nothing settles is refused with
its row. Blanks, narrow blanks and apostrophes between groups of three digits are allowed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from sopforecast.errors import Problem
from sopforecast.intake.cells import Cells, Parsed, Verdict

LARGEST = 1e13  # a plan counts whole units of 60 months exactly below 2**52
SMALLEST = 1e-6
ALLOWED = "a number such as 12.5"
EMPTY_IS_UNKNOWN = "leave the cell empty when the value is unknown"

_Wording = Callable[[str], Verdict]
_SIGN = r"^[+-]?"
_WHOLE = _SIGN + r"\d+$"
_GROUPED_BY_BLANKS = _SIGN + r"\d{1,3}(?:[ '’]\d{3})+(?:[.,]\d*)?$"
_EXPONENT = _SIGN + r"(?:\d+\.?\d*|\.\d+)[eE][+-]?\d+$"


@dataclass(frozen=True)
class _Convention:
    """How one decimal mark shows itself. ``mark`` and ``group`` are escaped for patterns."""

    name: str
    mark: str
    group: str

    @property
    def certain(self) -> str:
        """Cells that only this convention can read (or that it alone would write so)."""
        return _SIGN + (
            rf"(?:\d{{1,3}}(?:{self.group}\d{{3}})+{self.mark}\d*"
            rf"|[1-9]\d{{0,2}}(?:{self.group}\d{{3}}){{2,}}"
            rf"|\d*{self.mark}\d{{1,2}}|\d*{self.mark}\d{{4,}}"
            rf"|0*{self.mark}\d+|0\d+{self.mark}\d+|\d{{4,}}{self.mark}\d+|\d+{self.mark})$"
        )

    @property
    def doubtful(self) -> str:
        """``1,234`` or ``1.234``: a decimal for this convention, thousands for the other."""
        return _SIGN + rf"[1-9]\d{{0,2}}{self.mark}\d{{3}}$"

    @property
    def grouped(self) -> str:
        """Cells that show thousands are cut in groups by the other mark."""
        return _SIGN + (
            rf"(?:\d{{1,3}}(?:{self.group}\d{{3}})+{self.mark}\d*"
            rf"|[1-9]\d{{0,2}}(?:{self.group}\d{{3}}){{2,}})$"
        )

    @property
    def readable(self) -> str:
        """Everything this convention can read."""
        return _SIGN + (
            rf"(?:(?:\d+|[1-9]\d{{0,2}}(?:{self.group}\d{{3}})+)(?:{self.mark}\d*)?"
            rf"|{self.mark}\d+)$"
        )


_POINT = _Convention("point", r"\.", ",")
_COMMA = _Convention("comma", ",", r"\.")
_CONVENTIONS = {".": _POINT, ",": _COMMA}


def parse_numbers(
    cells: Cells, *, decimal: str = "auto", has_european_separators: bool = False
) -> Parsed:
    """Read a column of numbers.

    Parameters
    ----------
    cells : Cells
        Text and, where the file had one, the number itself.
    decimal : {"auto", ".", ","}
        The decimal mark; ``auto`` lets the column settle it.
    has_european_separators : bool
        The file is cut by semicolons, so a lone ``1.234`` is doubtful.

    Returns
    -------
    Parsed
        Float64 values, null where the cell is empty or refused; minus zero becomes zero.
    """
    typed = cells.number if cells.number is not None else _nothing(len(cells.text))
    dated = cells.dated if cells.dated is not None else pl.repeat(False, len(typed), eager=True)
    problems = cells.problems(
        dated,
        Verdict(ALLOWED, "the cell is a date: format it as a number and type the value again"),
    )
    asked = cells.text.is_not_null() & typed.is_null() & ~dated
    written = _cleaned(cells.text)
    convention, refused, notes = _settle(
        written.set(~asked, None), decimal=decimal, is_european=has_european_separators
    )
    doubted = pl.repeat(False, len(typed), dtype=pl.Boolean, eager=True)
    for mask, word in refused:
        problems += [cells.problem(i, word(written[i])) for i in mask.arg_true()]
        doubted |= mask
    values = _cast(written, convention)
    unread = asked & values.is_null() & ~doubted
    problems += [
        cells.problem(i, _unreadable(cells.text[i], written[i])) for i in unread.arg_true()
    ]
    values = pl.select(pl.when(asked & ~doubted).then(values).otherwise(typed)).to_series()
    values = values.set(dated, None)
    values = values.set((values == 0).fill_null(False), 0.0)
    return _within_range(cells, values, problems, notes)


def parse_whole_numbers(cells: Cells, *, decimal: str = "auto") -> Parsed:
    """Read a column of whole numbers; returns Int64 values, ``1.5`` is refused."""
    parsed = parse_numbers(cells, decimal=decimal)
    broken = (parsed.values != parsed.values.round()).fill_null(False)
    problems = cells.problems(broken, Verdict("a whole number such as 3", "round it"))
    values = parsed.values.set(broken, None).cast(pl.Int64)
    return Parsed(values, (*parsed.problems, *problems), parsed.notes)


def _cleaned(text: pl.Series) -> pl.Series:
    """Unify blanks and the minus sign; take blanks out from between groups of three digits."""
    unusual = text.str.contains("[\u00a0\u2009\u202f\u2212 '’]").fill_null(False)
    if not unusual.any():
        return text
    plain = text.str.replace_all("[\u00a0\u2009\u202f]", " ").str.replace_all("\u2212", "-")
    grouped = plain.str.contains(_GROUPED_BY_BLANKS).fill_null(False)
    return pl.select(
        pl.when(grouped).then(plain.str.replace_all("[ '’]", "")).otherwise(plain)
    ).to_series()


def _settle(
    written: pl.Series, *, decimal: str, is_european: bool
) -> tuple[_Convention, list[tuple[pl.Series, _Wording]], list[str]]:
    """Choose the column's convention; return it with the cells that stay doubtful."""
    if decimal in _CONVENTIONS:
        return _CONVENTIONS[decimal], [], []
    marked = written.str.contains("[.,]").fill_null(False)
    if not marked.any():
        return _POINT, [], []
    points, commas = (_matches(written, each.certain) for each in (_POINT, _COMMA))
    if points.any() and commas.any():
        fewer, other = (commas, "point") if commas.sum() <= points.sum() else (points, "comma")
        verdict = Verdict(
            f"one way of writing decimals in a column (other rows use the decimal {other})",
            f"write it with the decimal {other}",
        )
        return _POINT if other == "point" else _COMMA, [(fewer, lambda _: verdict)], []
    convention, unused = (_COMMA, _POINT) if commas.any() else (_POINT, _COMMA)
    refused: list[tuple[pl.Series, _Wording]] = []
    in_doubt = _matches(written, unused.doubtful)
    if in_doubt.any() and not _matches(written, convention.grouped).any():
        refused.append((in_doubt, _two_readings))
    is_settled = bool(points.any() or commas.any())
    if not is_settled and _may_be_thousands(written, is_european=is_european):
        refused.append((_matches(written, _POINT.doubtful), _two_readings))
    notes = ["decimals are written with a comma"] if convention is _COMMA else []
    return convention, refused, notes


def _may_be_thousands(written: pl.Series, *, is_european: bool) -> bool:
    """Whether lone ``1.234`` cells look like thousands: nobody's software writes 1.500 beside 2."""
    lone = written.filter(_matches(written, _POINT.doubtful))
    if lone.is_empty():
        return False
    ends_in_zero = lone.str.ends_with("0").any()
    return is_european or bool(ends_in_zero and _matches(written, _WHOLE).any())


def _cast(written: pl.Series, convention: _Convention) -> pl.Series:
    exponent = _matches(written, _EXPONENT)
    readable = _matches(written, convention.readable) | exponent
    group, mark = convention.group.lstrip("\\"), convention.mark.lstrip("\\")
    plain = written.str.replace_all(group, "", literal=True).str.replace(mark, ".", literal=True)
    text = pl.when(exponent).then(written).when(readable).then(plain).otherwise(None)
    text = text.str.strip_prefix("+").cast(pl.String)
    return pl.select(text.cast(pl.Float64, strict=False)).to_series()


def _within_range(
    cells: Cells, values: pl.Series, problems: list[Problem], notes: list[str]
) -> Parsed:
    size = values.abs()
    endless = values.is_nan() | values.is_infinite()
    large = (size > LARGEST) & ~endless
    tiny = (size > 0) & (size < SMALLEST)
    problems += cells.problems(endless, Verdict("a finite number", EMPTY_IS_UNKNOWN))
    problems += cells.problems(large, Verdict("at most 1e13 in size", "check the unit"))
    problems += cells.problems(
        tiny, Verdict("0, or at least 0.000001 in size", "write 0, or check the unit")
    )
    wrong = (endless | large | tiny).fill_null(False)
    return Parsed(values.set(wrong, None), tuple(problems), tuple(notes))


def _unreadable(text: str, cleaned: str) -> Verdict:
    """Word what is wrong with one cell that is not a number."""
    if cleaned.endswith("%"):
        return Verdict(ALLOWED, "write the quantity itself, without a percent sign")
    if cleaned.startswith("(") and cleaned.endswith(")"):
        return Verdict(ALLOWED, "write a negative number with a minus sign in front")
    if len(cleaned) > 1 and cleaned.endswith("-") and cleaned[0].isdigit():
        return Verdict(ALLOWED, "write the minus sign in front of the number")
    if text.startswith("#"):
        return Verdict(ALLOWED, "the cell holds an Excel error: correct its formula")
    if any(character.isdigit() for character in cleaned):
        return Verdict(ALLOWED, "write the number alone: no blanks, unit or currency")
    return Verdict(ALLOWED, EMPTY_IS_UNKNOWN)


def _two_readings(text: str) -> Verdict:
    thousands = re.sub("[.,]", "", text)
    fraction = f"{float(text.replace(',', '.')):g}"
    return Verdict(
        "a number that can be read in one way (nothing in this column says whether the mark is a "
        "decimal or parts thousands)",
        f"write {thousands} or {fraction}",
    )


def _matches(written: pl.Series, pattern: str) -> pl.Series:
    return written.str.contains(pattern).fill_null(False)


def _nothing(length: int) -> pl.Series:
    return pl.Series([None] * length, dtype=pl.Float64)
