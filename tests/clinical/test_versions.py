"""Which version holds for whom, and which rows: small cases worked by hand."""

from __future__ import annotations

from datetime import date
from types import SimpleNamespace
from typing import Any

import numpy as np

from sopforecast.clinical.versions import (
    Row,
    first_version,
    in_force,
    lengths,
    parts,
    rows_of_cell,
    study_changes,
)

CYCLE = date(2026, 12, 1)


def _switch(version: str, month: Any, **options: Any) -> SimpleNamespace:
    usual = {"study": "X", "cohort": None, "site": None, "applies_to": "new", "share": 1.0,
             "happens": np.array([True])}  # fmt: skip
    return SimpleNamespace(version=version, month=month, **{**usual, **options})


def _row(cohort: str, country: str, version: str, quantity: float, offset: int = 0) -> Row:
    return Row(cohort, country, version, "enrolled", offset, "KIT", quantity, 0.0)


def test_switches_are_read_in_the_order_in_which_they_come() -> None:
    changes = study_changes(
        (
            _switch("late", date(2027, 3, 1), share=0.0),  # after the month: April's first day
            _switch("b", 3, share=0.25, cohort="*", site="*"),
            _switch("a", -1, cohort="A", applies_to="all"),
            _switch("other", 0, study="Y"),
        ),
        "X",
        cycle=CYCLE,
    )
    assert [change.version for change in changes] == ["a", "b", "late"]
    assert [change.at for change in changes] == [(-1, 0.0), (3, 0.75), (4, 0.0)]
    assert [change.is_new for change in changes] == [False, True, True]
    assert [change.is_of(site="S", cohort="B") for change in changes] == [False, True, True]
    assert [change.is_of(site="S", cohort="A") for change in changes] == [True, True, True]


def test_months_are_cut_where_a_switch_comes_inside() -> None:
    switches = (_switch("b", 1, share=0.25), _switch("c", 1, share=0.5), _switch("d", 2),
                _switch("e", 0, share=0.5, applies_to="all"))  # fmt: skip
    changes = study_changes(switches, "X", cycle=CYCLE)
    cut = parts(range(3), changes, is_new=True)
    assert cut == [(0, 0.0), (1, 0.0), (1, 0.5), (1, 0.75), (2, 0.0)]
    assert lengths(cut).tolist() == [1.0, 0.5, 0.25, 0.25, 1.0]
    assert parts([0], changes, is_new=False) == [(0, 0.0), (0, 0.5)]
    assert parts([1], changes, is_new=False) == [(1, 0.0)]


def test_the_last_switch_that_happened_and_applies_decides() -> None:
    switches = (_switch("2", 1), _switch("3", 2, applies_to="all"), _switch("4", 4))
    changes = study_changes(switches, "X", cycle=CYCLE)
    place = {"1": 0, "2": 1, "3": 2, "4": 3}
    births = [(month, 0.0) for month in (0, 1, 2, 4)]

    def at(month: int, *happened: bool) -> list[int]:
        return in_force(births, (month, 0.0), changes, happened, place, "1").tolist()

    assert at(1, True, True, True) == [0, 1, 1, 3]
    assert at(5, True, True, True) == [2, 2, 2, 3]
    assert at(5, True, False, True) == [0, 1, 1, 3]
    assert at(5, False, False, False) == [0, 0, 0, 0]


def test_the_first_version_is_named_by_no_switch() -> None:
    changes = study_changes((_switch("1", 1),), "X", cycle=CYCLE)
    assert first_version(("1", "3", "2", "*"), changes) == "2"
    assert first_version(("1", "*"), changes) is None


def test_the_most_specific_row_holds_and_versions_add() -> None:
    rows = [
        _row("*", "*", "1", 1),
        _row("*", "DE", "1", 2),
        _row("A", "*", "1", 3),
        _row("A", "DE", "1", 4),
        _row("*", "*", "*", 5),
        _row("*", "DE", "2", 6),
        _row("*", "*", "1", 7, offset=1),
    ]

    def held(country: str, cohort: str, version: str | None) -> list[float]:
        chosen = rows_of_cell(rows, country=country, cohort=cohort, version=version)
        return sorted(row.quantity for row in chosen)

    assert held("FR", "B", "1") == [1, 5, 7]
    assert held("DE", "B", "1") == [2, 5, 7]
    assert held("FR", "A", "1") == [3, 5, 7]
    assert held("DE", "A", "1") == [4, 5, 7]
    assert held("DE", "A", "2") == [5, 6]
    assert held("*", "A", None) == [5]


def test_two_rows_for_the_same_thing_add() -> None:
    rows = [_row("*", "DE", "1", 2), _row("*", "DE", "1", 3), _row("*", "*", "1", 9)]
    chosen = rows_of_cell(rows, country="DE", cohort="A", version="1")
    assert [row.quantity for row in chosen] == [2, 3]
