"""What can go wrong, written for the person who must act; each kind has its exit code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SHOWN_PROBLEMS = 20


class SopforecastError(Exception):
    """The data or the request is wrong; nothing was written (exit code 1)."""

    exit_code = 1


@dataclass(frozen=True)
class Problem:
    """One rejected cell, row or file.

    ``row`` is the number a person sees in the file: the header is row 1.
    """

    file: str
    found: str
    allowed: str
    todo: str
    row: int | None = None
    column: str | None = None

    def __str__(self) -> str:
        where = [self.file]
        if self.row is not None:
            where.append(f"row {self.row}")
        if self.column is not None:
            where.append(f"column {self.column}")
        return f"{', '.join(where)}: found {self.found}; allowed: {self.allowed}; {self.todo}"


class DataError(SopforecastError):
    """Input that was refused whole, with every problem in it."""

    def __init__(self, problems: Sequence[Problem], *, intro: str = "nothing was loaded") -> None:
        self.problems = tuple(problems)
        self.intro = intro
        lines = [str(problem) for problem in self.problems[:SHOWN_PROBLEMS]]
        hidden = len(self.problems) - len(lines)
        if hidden > 0:
            lines.append(f"... and {hidden} more")
        count = f"{len(self.problems)} problem{'s' if len(self.problems) != 1 else ''}"
        super().__init__(f"{count}, {intro}\n  " + "\n  ".join(lines))

    def __reduce__(self) -> tuple[object, ...]:
        """Come whole out of a worker process."""
        return _data_error, (self.problems, self.intro)


def _data_error(problems: tuple[Problem, ...], intro: str) -> DataError:
    return DataError(problems, intro=intro)


class RequestError(SopforecastError):
    """A request that cannot be carried out as asked (exit code 1)."""


class LostRace(SopforecastError):
    """Somebody else published first (exit code 3)."""

    exit_code = 3


class StoreUnreachable(SopforecastError):
    """The planning store cannot be opened or written (exit code 4)."""

    exit_code = 4


class NotNow(SopforecastError):
    """Inputs are incomplete, or a guard held the step back (exit code 5)."""

    exit_code = 5
