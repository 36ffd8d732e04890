"""What a cycle reads of the clinic: none of its own months, nothing that has not happened yet."""

from __future__ import annotations

from datetime import date, datetime

import polars as pl
import pytest

from sopforecast.clinical.inputs import (
    clinical_inputs,
    last_month,
    latest_lines,
)
from sopforecast.core.clinical_tables import CLINICAL_TABLES

CYCLE = date(2026, 12, 1)
LINE = {"line_id": "P-1", "study": "NOVA", "tier": "pipeline", "quantity": 1.0, "outcome": "open"}


def _of(table: str, *rows: dict[str, object]) -> pl.DataFrame:
    frame = pl.DataFrame(list(rows), infer_schema_length=None)
    return getattr(clinical_inputs(CYCLE, **{table: frame}), table)


def test_tables_that_are_not_given_have_no_rows_and_every_column():
    inputs = clinical_inputs(CYCLE)
    assert inputs.is_empty
    assert not inputs.has_demand
    for name, declared in CLINICAL_TABLES.items():
        frame = getattr(inputs, name)
        assert frame.is_empty()
        more = {"known_at": pl.Datetime("us")} if name == "tier_lines" else {}
        dtypes = {column: c.dtype for column, c in declared.columns().items()}
        assert dict(frame.schema) == dtypes | more
    assert last_month(inputs) == date(2026, 11, 1)


def test_a_trial_is_read_whole(trial_tables, trial_inputs):
    for name, declared in CLINICAL_TABLES.items():
        frame = getattr(trial_inputs, name)
        assert frame.height == trial_tables[name].height
        if name != "tier_lines":
            declared.validate(frame)
    assert not trial_inputs.is_empty
    assert trial_inputs.has_demand


@pytest.mark.parametrize("month", [date(2026, 12, 1), date(2027, 1, 1), date(2030, 1, 1)])
def test_months_of_the_cycle_are_not_read(month):
    row = {"study": "NOVA", "site": "S1", "cohort": "all", "enrolled": 2.0}
    rows = [row | {"ds": ds} for ds in (date(2026, 10, 1), date(2026, 11, 1), month)]
    assert _of("enrolment", *rows)["ds"].to_list() == [date(2026, 10, 1), date(2026, 11, 1)]


def test_what_happens_from_the_cycle_on_has_not_happened():
    days = [None, date(2026, 11, 30), date(2026, 12, 1), date(2027, 3, 1)]
    rows = [
        {"study": "NOVA", "site": f"S{k}", "activated_date": day, "closed_date": day}
        for k, day in enumerate(days)
    ]
    sites = _of("sites", *rows)
    expected = [None, date(2026, 11, 30), None, None]
    assert sites["activated_date"].to_list() == sites["closed_date"].to_list() == expected


def test_a_site_counts_from_its_day_up_to_the_cut_off():
    days = [date(2026, 12, 1), date(2026, 12, 15), date(2026, 12, 16)]
    rows = [{"study": "NOVA", "site": f"S{k}", "activated_date": d, "closed_date": d}
            for k, d in enumerate(days)]  # fmt: skip
    count = {"study": "NOVA", "site": "S0", "cohort": "all", "ds": CYCLE, "enrolled": 2.0}
    line = LINE | {"outcome": "converted", "converted_ds": CYCLE}
    inputs = clinical_inputs(
        CYCLE, cut_off=date(2026, 12, 15), sites=pl.DataFrame(rows),
        enrolment=pl.DataFrame([count]), tier_lines=pl.DataFrame([line]),
    )  # fmt: skip
    assert inputs.sites["activated_date"].to_list() == [*days[:2], None]
    assert inputs.sites["closed_date"].to_list() == [*days[:2], None]
    assert inputs.enrolment.is_empty()  # patients of the cycle's own months are never read
    assert inputs.tier_lines["outcome"].to_list() == ["open"]


def test_a_line_that_converts_from_the_cycle_on_is_open():
    rows = [
        LINE | {"line_id": f"P-{k}", "outcome": "converted", "converted_ds": month,
                "converted_quantity": 1.0}
        for k, month in enumerate((date(2026, 11, 1), date(2026, 12, 1), date(2027, 2, 1)))
    ]  # fmt: skip
    lines = _of("tier_lines", *rows, LINE | {"line_id": "P-9", "outcome": "lost"})
    assert lines.select("line_id", "outcome", "converted_ds", "converted_quantity").rows() == [
        ("P-0", "converted", date(2026, 11, 1), 1.0),
        ("P-1", "open", None, None),
        ("P-2", "open", None, None),
        ("P-9", "lost", None, None),
    ]
    assert lines.schema["outcome"] == CLINICAL_TABLES["tier_lines"].columns()["outcome"].dtype


def test_every_version_of_a_line_is_kept_and_the_last_is_the_latest():
    rows = [
        LINE | {"tier": tier, "line_id": line, "known_at": datetime(2026, month, 5)}
        for month, line, tier in (
            (9, "P-2", "committed"), (3, "P-1", "pipeline"), (8, "P-1", "committed"),
            (6, "P-1", "highly_probable"), (2, "P-2", "pipeline"),
        )
    ]  # fmt: skip
    inputs = clinical_inputs(CYCLE, tier_lines=pl.DataFrame(rows))
    seen = inputs.tier_lines.select("line_id", pl.col("known_at").dt.month()).rows()
    assert seen == [("P-1", 3), ("P-1", 6), ("P-1", 8), ("P-2", 2), ("P-2", 9)]
    assert latest_lines(inputs).select("line_id", "tier").rows() == [
        ("P-1", "committed"), ("P-2", "committed")
    ]  # fmt: skip


def test_blank_keys_are_any_and_blank_cells_stay_blank():
    row = {"study": "NOVA", "unique_id": "KIT", "per": "enrolled", "month_offset": 0,
           "quantity": 1.0}  # fmt: skip
    (read,) = _of("schedule", row).to_dicts()
    assert (read["cohort"], read["country"], read["protocol_version"]) == ("*", "*", "*")
    assert read["overage_percent"] is None
    count = {"study": "NOVA", "site": "S1", "cohort": "all", "ds": date(2026, 11, 1)}
    (read,) = _of("enrolment", count | {"screened": 3.0}).to_dicts()
    assert (read["screened"], read["enrolled"]) == (3.0, None)


def test_columns_of_the_store_are_dropped():
    row = {"study": "NOVA", "known_at": datetime(2026, 1, 1), "load_id": "L1", "loaded_by": "Ann"}
    assert _of("studies", row).columns == CLINICAL_TABLES["studies"].column_names()
    lines = _of("tier_lines", LINE | {"known_at": datetime(2026, 1, 1), "load_id": "L1"})
    assert lines.columns == [*CLINICAL_TABLES["tier_lines"].column_names(), "known_at"]


def test_demand_comes_of_a_schedule_or_of_account_lines():
    account = LINE | {"study": None, "account": "ACME", "unique_id": "PUMP"}
    lines = [clinical_inputs(CYCLE, tier_lines=pl.DataFrame([row])) for row in (LINE, account)]
    assert [one.has_demand for one in lines] == [False, True]
    assert [one.is_empty for one in lines] == [False, False]
    schedule = pl.DataFrame({"study": ["NOVA"], "unique_id": ["KIT"], "per": ["enrolled"],
                             "month_offset": [0], "quantity": [1.0]})  # fmt: skip
    only = clinical_inputs(CYCLE, schedule=schedule)
    assert only.has_demand
    assert only.is_empty  # a schedule of no study asks for nothing


def test_what_closes_later_is_not_closed_yet_whatever_its_status_says_today():
    sites = pl.DataFrame(
        {
            "study": ["A"] * 3,
            "site": ["S1", "S2", "S3"],
            "closed_date": [date(2026, 3, 1), date(2026, 9, 1), None],
            "status": ["closed"] * 3,
        }
    )
    studies = pl.DataFrame(
        {"study": ["A"], "status": ["closed"], "last_patient_date": [date(2026, 10, 1)]}
    )
    found = clinical_inputs(date(2026, 6, 1), sites=sites, studies=studies)
    assert found.sites["status"].to_list() == ["closed", "active", "closed"]
    assert found.studies["status"].to_list() == ["active"]
