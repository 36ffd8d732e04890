"""The grammar: what is read, what is read back, what is refused and how; holds by plain loops."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sopforecast.clinical.conditions import Clause, Condition, holds, parse_condition
from sopforecast.clinical.paths import NEVER, TrialPaths
from sopforecast.core.months import add_months
from sopforecast.errors import RequestError

CYCLE = date(2026, 12, 1)
SITES = ("S7", "S8", "S9", "North Clinic", "and", "O'Brien", "A,B", "s9x", 'The "Old" Site')
EVENTS = ("E1", "second amendment")
FEBRUARY, JUNE = date(2027, 2, 1), date(2027, 6, 1)


def _trial(seed: int = 5) -> TrialPaths:
    rng = np.random.default_rng(seed)
    enrolled = rng.poisson(0.3, (60, len(SITES), 1, 8)).astype(np.int16)
    return TrialPaths(
        study="ALPHA",
        cycle=CYCLE,
        sites=SITES,
        countries=("*",) * len(SITES),
        cohorts=("all",),
        screened=enrolled[:, :, 0],
        enrolled=enrolled,
        activated=rng.choice([-1, 0, 1, 2, 3, 9, NEVER], (60, len(SITES))).astype(np.int16),
        enrolled_before=np.full((len(SITES), 1), 2),
        events={name: rng.random(60) < 0.5 for name in EVENTS},
    )


TRIAL = _trial()


@pytest.mark.parametrize(
    ("text", "clauses"),
    [
        ("site S7 activates by 2027-02", [Clause("activates", ("S7",), FEBRUARY)]),
        ("IF Sites s7, S8 And S9 ACTIVATE by february 2027",
         [Clause("activates", ("S7", "S8", "S9"), FEBRUARY)]),
        ("sites S7 , S8, and site S9 activate by Feb 2027",
         [Clause("activates", ("S7", "S8", "S9"), FEBRUARY)]),
        ("site S7 does not activate by 2027-02", [Clause("waits", ("S7",), FEBRUARY)]),
        ("sites S7 and S9 do not activate by 2027-02", [Clause("waits", ("S7", "S9"), FEBRUARY)]),
        ("event e1 happens", [Clause("happens", ("E1",))]),
        ('event "Second Amendment" does not happen', [Clause("fails", ("second amendment",))]),
        ("enrolment reaches 30 by 2027-06", [Clause("reaches", (), JUNE, 30)]),
        ("total enrollment reaches 30 patients by June 2027", [Clause("reaches", (), JUNE, 30)]),
        ("site “North Clinic” activates by 2027-02",
         [Clause("activates", ("North Clinic",), FEBRUARY)]),
        ("site 'and' activates by 2027-02", [Clause("activates", ("and",), FEBRUARY)]),
        ("site O'Brien activates by 2027-02", [Clause("activates", ("O'Brien",), FEBRUARY)]),
        ("site S7 activates by 2027-02, event E1 happens and site 'A,B' does not activate by "
         "2027-06",
         [Clause("activates", ("S7",), FEBRUARY), Clause("happens", ("E1",)),
          Clause("waits", ("A,B",), JUNE)]),
        ("site S7 and S7 activates by 2027-02", [Clause("activates", ("S7",), FEBRUARY)]),
    ],
)  # fmt: skip
def test_the_grammar(text: str, clauses: list[Clause]) -> None:
    assert parse_condition(text, TRIAL) == Condition(tuple(clauses))


months = st.integers(0, 7).map(lambda ahead: add_months(CYCLE, ahead))
some_sites = st.lists(st.sampled_from(SITES), min_size=1, max_size=4, unique=True).map(tuple)
some_events = st.lists(st.sampled_from(EVENTS), min_size=1, max_size=2, unique=True).map(tuple)
clauses = st.one_of(
    st.builds(Clause, st.sampled_from(["activates", "waits"]), some_sites, months),
    st.builds(Clause, st.sampled_from(["happens", "fails"]), some_events),
    st.builds(lambda n, month: Clause("reaches", (), month, n), st.integers(0, 99_999), months),
)
conditions = st.lists(clauses, min_size=1, max_size=3).map(lambda found: Condition(tuple(found)))


@given(conditions)
def test_a_command_reads_back(condition: Condition) -> None:
    assert parse_condition(condition.command, TRIAL) == condition


@given(conditions)
def test_it_holds_where_every_clause_does(condition: Condition) -> None:
    expected = [
        all(_plainly(clause, path) for clause in condition.clauses)
        for path in range(TRIAL.enrolled.shape[0])
    ]
    assert holds(condition, TRIAL).tolist() == expected


def _plainly(clause: Clause, path: int) -> bool:
    if clause.kind in {"happens", "fails"}:
        wanted = clause.kind == "happens"
        return all(bool(TRIAL.events[name][path]) is wanted for name in clause.names)
    assert clause.month is not None
    last = (clause.month.year - 2026) * 12 + clause.month.month - 12
    if clause.kind == "reaches":
        patients = 2 * len(SITES)
        for g in range(len(SITES)):
            for month in range(last + 1):
                patients += int(TRIAL.enrolled[path, g, 0, month])
        return patients >= clause.patients
    wanted = clause.kind == "activates"
    return all(
        (int(TRIAL.activated[path, SITES.index(name)]) <= last) is wanted for name in clause.names
    )


def test_what_it_says() -> None:
    condition = parse_condition(
        "sites S7 and S9 activate by 2027-02 and event E1 does not happen", TRIAL
    )
    assert condition.text == (
        "sites S7 and S9 activate by February 2027 and event E1 does not happen"
    )
    reaches = parse_condition("enrolment reaches 30 by 2027-06", TRIAL)
    assert reaches.text == "total enrolment reaches 30 by June 2027"
    assert reaches.command == "enrolment reaches 30 by 2027-06"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("site S77 activates by 2027-02", r"found site 'S77'.*study ALPHA.*did you mean 'S7'\?"),
        ("event E2 happens", r"found event 'E2'; allowed: .* E1 and second amendment.*'E1'"),
        ("site S7 opens by 2027-02", r"found 'opens' where 'activate' or 'activates' should"),
        ("S7 activates by 2027-02", r"found 'S7' where 'site' or 'sites' or .* names with blanks"),
        ("", r"found nothing more where 'site'"),
        ("site", r"found nothing more where the name of a site should stand"),
        ("event", r"found nothing more where the name of an event should stand"),
        ("site S7, activates by 2027-02", r"found site 'activates'"),
        ("site S7 activates", r"found nothing more where 'by' should stand"),
        ("site S7 activates by", r"found nothing more where a month should stand"),
        ("site S7 activates by spring", r"found 'spring'; allowed: year and month as YYYY-MM"),
        ("site S7 activates by February", r"found nothing more where a year should stand"),
        ("site S7 activates by 2028-02", r"found February 2028; allowed: December 2026 to July"),
        ("site S7 activates by 2026-11", r"found November 2026; allowed"),
        ("site S7 does activate by 2027-02", r"found 'activate' where 'not' should stand"),
        ("enrolment reaches many by 2027-02", r"found 'many' patients; allowed: a whole number"),
        ("enrolment reaches 1e3 by 2027-02", r"found '1e3' patients"),
        ("event E1 happens or event E1 happens", r"found 'or' where 'and' or the end"),
        ("event E1 happens and", r"found nothing more where 'site'"),
        ("site north clinic activates by 2027-02", r"found site 'north'.*'North Clinic'|'north'"),
    ],
)
def test_refusals_name_what_was_found(text: str, told: str) -> None:
    with pytest.raises(RequestError, match=told) as refusal:
        parse_condition(text, TRIAL)
    assert str(refusal.value).startswith(f"--if {text!r}: ")


def test_names_that_differ_in_capitals_only() -> None:
    trial = TrialPaths(**{**vars(TRIAL), "sites": ("s7", "S7", *SITES[2:])})
    found = parse_condition("site S7 activates by 2027-02", trial)
    assert found.clauses[0].names == ("S7",)
