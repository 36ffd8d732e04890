"""Questions that begin with "if": read from text, and the paths in which they hold.

Grammar, any case, clauses joined by commas and ``and``; a name with blanks stands in quotes::

    site S7 activates by 2027-02            sites S7, S8 and S9 activate by February 2027
    site S7 does not activate by 2027-02    event E1 happens | event E1 does not happen
    enrolment reaches 30 by 2027-06

Activation by a month is through its last day; ``do not activate`` is said of every site named;
enrolment counts from the first patient of the study on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal, NoReturn

import numpy as np

from sopforecast.clinical.forecasts import month_index, patients_by
from sopforecast.clinical.paths import TrialPaths
from sopforecast.clinical.words import MONTHS, first, listed, month_text, near, plural
from sopforecast.core.months import month_name, parse_month
from sopforecast.errors import RequestError

Kind = Literal["activates", "waits", "happens", "fails", "reaches"]
_EXAMPLES = (
    "'site S7 activates by 2027-02', 'sites S7 and S9 activate by February 2027', "
    "'site S7 does not activate by 2027-02', 'event E1 happens', 'event E1 does not happen', "
    "'enrolment reaches 30 by 2027-06'; several joined by 'and', names with blanks in quotes"
)
_TOKEN = re.compile(r"""“([^”]*)”|"([^"]*)"|'([^']*)'(?=[\s,]|$)|(,)|([^\s,]+)""")
_PLAIN_NAME = re.compile(r"""[^\s,'"“]+""")
_KEYWORDS = ("and", "site", "sites", "event", "events")


@dataclass(frozen=True)
class Clause:
    """One thing that holds in a path or does not.

    ``names`` are sites or events, ``month`` the last month in which it counts, ``patients`` the
    number that enrolment reaches.
    """

    kind: Kind
    names: tuple[str, ...] = ()
    month: date | None = None
    patients: int = 0


@dataclass(frozen=True)
class Condition:
    """Clauses that must all hold."""

    clauses: tuple[Clause, ...]

    @property
    def text(self) -> str:
        """For a sentence: ``sites S7 and S9 activate by February 2027``."""
        return " and ".join(
            _said(clause, listed(clause.names), month_text) for clause in self.clauses
        )

    @property
    def command(self) -> str:
        """For ``--if``; `parse_condition` reads it back."""
        return " and ".join(
            _said(clause, listed(map(_quoted, clause.names)), month_name).removeprefix("total ")
            for clause in self.clauses
        )


def parse_condition(text: str, trial: TrialPaths) -> Condition:
    """Read a condition on the sites, events and months of a study.

    Raises
    ------
    RequestError
        When the text is not in the grammar of this module, or names a site, event or month that
        the study does not have.
    """
    reader = _Reader(text, _tokens(text))
    reader.skip("if")
    clauses = [_clause(reader, trial)]
    while not reader.at_end:
        if not reader.joins():
            reader.refuse("'and' or the end")
        clauses.append(_clause(reader, trial))
    for clause in clauses:
        if clause.kind in ("activates", "waits"):
            _refuse_opened(text, clause.names, trial)
    return Condition(tuple(clauses))


def holds(condition: Condition, trial: TrialPaths) -> np.ndarray:
    """In which paths every clause holds, bool (S,)."""
    every = np.ones(trial.enrolled.shape[0], dtype=bool)
    for clause in condition.clauses:
        every &= _holds(clause, trial)
    return every


def _holds(clause: Clause, trial: TrialPaths) -> np.ndarray:
    if clause.month is None:
        happened = np.stack([trial.events[event] for event in clause.names])
        return (happened == (clause.kind == "happens")).all(axis=0)
    if clause.kind == "reaches":
        return patients_by(trial, clause.month) >= clause.patients
    places = [trial.sites.index(site) for site in clause.names]
    in_time = trial.activated[:, places] <= month_index(trial, clause.month)
    return (in_time == (clause.kind == "activates")).all(axis=1)


def _said(clause: Clause, names: str, say: Callable[[date], str]) -> str:
    if clause.month is None:
        verb = "happen" if len(clause.names) > 1 or clause.kind == "fails" else "happens"
        negated = f"{_do(clause.names)} not " if clause.kind == "fails" else ""
        return f"{plural('event', len(clause.names))} {names} {negated}{verb}"
    if clause.kind == "reaches":
        return f"total enrolment reaches {clause.patients} by {say(clause.month)}"
    verb = "activate" if len(clause.names) > 1 or clause.kind == "waits" else "activates"
    negated = f"{_do(clause.names)} not " if clause.kind == "waits" else ""
    return f"{plural('site', len(clause.names))} {names} {negated}{verb} by {say(clause.month)}"


def _do(names: Sequence[str]) -> str:
    return "does" if len(names) == 1 else "do"


def _quoted(name: str) -> str:
    if _PLAIN_NAME.fullmatch(name) and name.casefold() not in _KEYWORDS:
        return name
    return f"'{name}'" if '"' in name else f'"{name}"'


def _clause(reader: _Reader, trial: TrialPaths) -> Clause:
    start = reader.take(("site", "sites", "event", "events", "enrolment", "enrollment", "total"))
    if start in {"site", "sites"}:
        names = _names(reader, "site", trial.sites, trial.study)
        negated = _negated(reader)
        reader.take(("activate", "activates"))
        kind: Kind = "waits" if negated else "activates"
        return Clause(kind, names, month=_month(reader, trial))
    if start in {"event", "events"}:
        names = _names(reader, "event", tuple(trial.events), trial.study)
        negated = _negated(reader)
        reader.take(("happen", "happens"))
        return Clause("fails" if negated else "happens", names)
    if start == "total":
        reader.take(("enrolment", "enrollment"))
    reader.take(("reaches",))
    patients = _whole_number(reader)
    reader.skip("patients")
    return Clause("reaches", month=_month(reader, trial), patients=patients)


def _names(reader: _Reader, what: str, known: tuple[str, ...], study: str) -> tuple[str, ...]:
    names = [_known(reader, what, known, study)]
    while reader.joins():
        reader.skip(what) or reader.skip(f"{what}s")
        names.append(_known(reader, what, known, study))
    return tuple(dict.fromkeys(names))


def _known(reader: _Reader, what: str, known: tuple[str, ...], study: str) -> str:
    """The name as the study writes it; capitals matter only where two names differ in them."""
    found = reader.next_text(f"the name of {'an' if what == 'event' else 'a'} {what}")
    if found in known:
        return found
    alike = [name for name in known if name.casefold() == found.casefold()]
    if len(alike) == 1:
        return alike[0]
    raise RequestError(
        f"--if {reader.text!r}: found {what} {found!r}; allowed: the {what}s of study {study} in "
        f"the forecast: {first(sorted(known))}{near(found, known)}"
    )


def _refuse_opened(text: str, names: tuple[str, ...], trial: TrialPaths) -> None:
    """A site that opened before the cycle, or has closed, is no question."""
    opened = np.flatnonzero((trial.activated < 0).all(axis=0)).tolist()
    waiting = [site for g, site in enumerate(trial.sites) if g not in opened]
    for name in names:
        if name not in waiting:
            allowed = f"sites that are not open yet: {first(waiting)}" if waiting else "events"
            raise RequestError(
                f"--if {text!r}: found site {name!r}, which opened before the cycle; allowed: "
                f"{allowed}; ask about one of them"
            )


def _negated(reader: _Reader) -> bool:
    if not (reader.skip("does") or reader.skip("do")):
        return False
    reader.take(("not",))
    return True


def _month(reader: _Reader, trial: TrialPaths) -> date:
    reader.take(("by",))
    found = reader.next_text("a month")
    numbers = [k for k, name in enumerate(MONTHS, 1) if found.casefold() in _spellings(name)]
    if numbers:
        found = f"{reader.next_text('a year')}-{numbers[0]:02d}"
    try:
        month = parse_month(found)
        month_index(trial, month)
    except RequestError as err:
        raise RequestError(f"--if {reader.text!r}: {err}") from err
    return month


def _spellings(month: str) -> tuple[str, str]:
    return month.casefold(), month[:3].casefold()


def _whole_number(reader: _Reader) -> int:
    found = reader.next_text("a number of patients")
    if not (found.isascii() and found.isdigit() and len(found) < 10):
        raise RequestError(
            f"--if {reader.text!r}: found {found!r} patients; allowed: a whole number such as 30"
        )
    return int(found)


def _tokens(text: str) -> list[tuple[str, bool]]:
    """Words, commas and quoted names: text, and whether it stood in quotes."""
    found = []
    for match in _TOKEN.finditer(text):
        quoted = match.lastindex is not None and match.lastindex <= 3
        found.append((match[match.lastindex or 0], quoted))
    return found


@dataclass
class _Reader:
    """Words of a condition, read from left to right."""

    text: str
    tokens: list[tuple[str, bool]]
    at: int = 0

    @property
    def at_end(self) -> bool:
        return self.at >= len(self.tokens)

    def skip(self, word: str) -> bool:
        """Step over a word when it is the next one."""
        if self.at_end or self.tokens[self.at][1] or self.tokens[self.at][0].casefold() != word:
            return False
        self.at += 1
        return True

    def take(self, words: Sequence[str]) -> str:
        """Step over one of the words; refuse anything else."""
        for word in words:
            if self.skip(word):
                return word
        self.refuse(" or ".join(map(repr, words)))

    def joins(self) -> bool:
        """Step over ``,``, ``and`` or both."""
        comma = self.skip(",")
        return self.skip("and") or comma

    def next_text(self, what: str) -> str:
        """The next word or quoted name."""
        if self.at_end or self.tokens[self.at] == (",", False):
            self.refuse(what)
        self.at += 1
        return self.tokens[self.at - 1][0]

    def refuse(self, wanted: str) -> NoReturn:
        found = "nothing more" if self.at_end else repr(self.tokens[self.at][0])
        raise RequestError(
            f"--if {self.text!r}: found {found} where {wanted} should stand; allowed: {_EXAMPLES}"
        )
