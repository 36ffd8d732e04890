"""The tables of the store follow the schemas of core.tables, and nothing is declared twice."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateTable

from sopforecast.core.clinical_tables import CLINICAL_TABLES
from sopforecast.core.tables import Published, Runs
from sopforecast.errors import RequestError
from sopforecast.planning_store import schema
from sopforecast.planning_store.schema import INPUTS, OUTPUTS, STORE_COLUMNS, find_input


@pytest.mark.parametrize("name", INPUTS)
def test_an_input_table_is_its_schema_and_the_columns_of_the_store(name: str) -> None:
    spec = INPUTS[name]
    assert set(spec.table.c.keys()) == {*spec.business, *STORE_COLUMNS}
    assert set(spec.business) >= set(spec.schema.column_names())
    assert [c.name for c in spec.table.primary_key] == ["version_id"]


@pytest.mark.parametrize("name", OUTPUTS)
def test_an_output_table_is_its_schema_with_its_key(name: str) -> None:
    declared, table = OUTPUTS[name]
    assert table.c.keys() == declared.column_names()
    assert {c.name for c in table.primary_key} == set(declared.primary_key())


def test_the_clinic_is_kept_too() -> None:
    """The eight tables that are loaded and the three that a run writes, each declared once."""
    assert set(schema.CLINICAL_TABLES) == {
        "studies", "cohorts", "sites", "enrolment", "enrolment_plan", "schedule", "study_events",
        "tier_lines",
    }  # fmt: skip
    assert schema.CLINICAL_TABLES == CLINICAL_TABLES
    assert set(INPUTS) == {"items", "history", "overrides", "prices", *schema.CLINICAL_TABLES}
    written = {"enrolment_forecasts", "tier_conversion", "clinical_parameters"}
    assert written <= set(OUTPUTS)
    names = {table.name for table in schema.metadata.tables.values()}
    assert names >= written | set(schema.CLINICAL_TABLES)


@pytest.mark.parametrize("name", schema.CLINICAL_TABLES)
def test_from_when_a_table_of_the_clinic_is_known(name: str) -> None:
    expected = {"enrolment": "month_end", "tier_lines": "load"}.get(name, "always")
    assert INPUTS[name].first_known == expected


@pytest.mark.parametrize("name", INPUTS)
def test_a_retraction_needs_nothing_but_the_key(name: str) -> None:
    spec = INPUTS[name]
    required = {c for c in spec.schema.column_names() if not spec.table.c[c].nullable}
    assert required == set(spec.key)


def test_runs_and_pointers_are_kept_whole() -> None:
    assert set(Runs.column_names()) <= set(schema.runs.c.keys())
    assert schema.published.c.keys() == Published.column_names()
    assert {c.name for c in schema.published.primary_key} == {"cycle", "version"}


@pytest.mark.parametrize("dialect", [sqlite.dialect(), postgresql.dialect()])
def test_numbers_are_kept_in_double_precision(dialect: sa.Dialect) -> None:
    text = str(CreateTable(schema.forecasts).compile(dialect=dialect))
    assert "p50 FLOAT" in text  # eight bytes on either engine; REAL would be four on PostgreSQL
    assert "REAL" not in text


def test_an_unknown_table_is_refused_with_the_known_ones() -> None:
    with pytest.raises(RequestError, match="no input table 'sales'; allowed: items, history"):
        find_input("sales")
