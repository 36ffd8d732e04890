"""What is declared of the clinical tables names columns they have, and forgets none they need."""

from __future__ import annotations

from itertools import chain

import dataframely as dy
import pytest

from sopforecast.core.clinical_tables import CLINICAL_TABLES
from sopforecast.intake import clinical_columns as declared

BY_TABLE = (
    declared.REQUIRED,
    declared.MAY_BE_ALL,
    declared.SHARES,
    declared.PERCENTS,
    declared.PATIENTS,
    declared.BLANK_MEANS,
    declared.REPLACED_BY,
)


@pytest.mark.parametrize("table", CLINICAL_TABLES)
def test_columns_that_are_named_are_there(table) -> None:
    named = set(chain.from_iterable(each.get(table, ()) for each in BY_TABLE))
    assert named <= set(CLINICAL_TABLES[table].columns())


@pytest.mark.parametrize("table", CLINICAL_TABLES)
def test_what_a_table_needs_is_needed_filled_or_refused_by_its_parser(table) -> None:
    """No column that must not be null can stay null: not even one added later."""
    filled = declared.BLANK_MEANS.get(table, {})
    for name, column in CLINICAL_TABLES[table].columns().items():
        if column.nullable or name in filled or name == "unique_id":
            continue
        assert isinstance(column, dy.Date) or name in declared.needed_cells(table)


@pytest.mark.parametrize("table", CLINICAL_TABLES)
def test_shares_are_declared_as_shares(table) -> None:
    """Every column from 0 to 1 takes a percent sign, and no other but quantities of percent."""
    columns = CLINICAL_TABLES[table].columns().items()
    shares = {n for n, c in columns if isinstance(c, dy.Float64) and c.max == 1}
    assert shares == set(declared.SHARES.get(table, ()))


def test_tables_are_judged_by_tables_read_before() -> None:
    order = ["items", "history", "prices", "overrides", *CLINICAL_TABLES]
    for table, others in declared.JUDGED_BY.items():
        assert all(order.index(other) < order.index(table) for other in others)
