"""The report as a whole: driven by its list, never stopped by a check, silent on good data."""

from dataclasses import replace
from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sopforecast.baseline.checks import CHECKS, STATUSES, Check, describe_checks, run_checks
from sopforecast.baseline.findings import Finding
from sopforecast.core.months import add_months, month_range

START = date(2023, 1, 1)
LAST = date(2025, 12, 1)

IN_THE_CONTRACT = {
    "history_gap_months",
    "history_negative",
    "history_unit_step",
    "history_stale",
    "history_short",
    "history_all_zero",
    "history_single_spike",
    "history_duplicates_case",
    "items_missing",
    "items_without_history",
    "items_discontinued_with_demand",
    "items_launch_after_first_sale",
    "hierarchy_orphan",
    "history_partial_month",
    "unit_mixed",
}


def good_history():
    rng = np.random.default_rng(2)
    return pl.concat(
        pl.DataFrame(
            {
                "unique_id": [item] * 36,
                "ds": month_range(START, 36),
                "y": rng.poisson(50, 36).astype(float),
                "stockout_days": [0.0] * 36,
                "one_off": [0.0] * 36,
                "partial": [False] * 36,
            }
        )
        for item in ("A", "B")
    )


def good_items():
    return pl.DataFrame(
        {
            "unique_id": ["A", "B"],
            "unit": ["pack", "pack"],
            "status": ["active", "active"],
            "launch_ds": [START, START],
            "family": ["Oncology", "Vaccines"],
        }
    )


def by_name(results):
    return {result.check: result for result in results}


def test_the_list_holds_every_agreed_check_once_with_a_known_severity():
    names = [check.name for check in CHECKS]
    assert len(names) == len(set(names))
    assert set(names) >= IN_THE_CONTRACT
    assert {check.severity for check in CHECKS} == {"warning", "error"}
    for check in CHECKS:
        assert check.function.__name__ == check.name
        assert check.function.__doc__


def test_good_data_passes_every_check_in_the_order_of_the_list():
    results = run_checks(good_history(), good_items(), last_month=LAST, levels=["family"])
    assert [result.check for result in results] == [check.name for check in CHECKS]
    assert {result.check: result.sentence for result in results if result.status != "ok"} == {}
    assert all(result.sentence.startswith("none found: ") for result in results)
    assert all(result.rows.is_empty() for result in results)


def test_a_finding_has_the_severity_of_its_check_with_sentence_and_rows():
    rows = pl.DataFrame({"unique_id": ["A"]})
    found = Check("a", "b", "error", (), lambda _: Finding(rows, "one item is odd"))
    for severity in ("warning", "error"):
        check = replace(found, severity=severity)
        (result,) = run_checks(good_history(), last_month=LAST, checks=[check])
        assert (result.status, result.sentence) == (severity, "one item is odd")
        assert result.rows.equals(rows)


def test_a_crash_is_recorded_and_the_other_checks_still_run():
    def broken(_):
        raise ZeroDivisionError("no months")

    checks = [Check("broken", "nothing", "warning", (), broken), *CHECKS]
    results = run_checks(good_history(), last_month=LAST, checks=checks)
    assert results[0].status == "error"
    assert "could not be carried out: ZeroDivisionError: no months" in results[0].sentence
    assert len(results) == len(CHECKS) + 1


def test_without_items_or_levels_a_check_is_skipped_and_says_why():
    results = by_name(run_checks(good_history().select("unique_id", "ds", "y"), last_month=LAST))
    assert results["items_missing"].status == "skipped"
    assert results["items_missing"].sentence == "not checked: no items rows are loaded"
    assert results["history_one_off"].sentence == "not checked: history has nothing in one_off"
    with_items = by_name(run_checks(good_history(), good_items(), last_month=LAST))
    assert with_items["hierarchy_orphan"].sentence == "not checked: the settings name no levels"
    without_unit = good_items().with_columns(unit=pl.lit(None, pl.String))
    results = by_name(run_checks(good_history(), without_unit, last_month=LAST))
    assert results["unit_mixed"].sentence == "not checked: items has nothing in unit"


def test_no_history_skips_what_needs_it():
    results = by_name(run_checks(good_history().clear(), good_items(), last_month=LAST))
    assert results["history_short"].sentence == "not checked: no history rows are loaded"
    assert {result.status for result in results.values()} <= {"ok", "skipped"}


def test_the_table_of_checks_is_the_list():
    table = describe_checks()
    assert table["check"].to_list() == [check.name for check in CHECKS]
    assert table.row(0, named=True) == {
        "check": "history_all_unknown",
        "looks_for": "items without a single known demand",
        "when_found": "warning",
        "needs": "history",
    }


@st.composite
def any_history(draw):
    """Rows of any sense or none, but of the types the store gives."""
    number = draw(st.integers(0, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    y = np.round(rng.choice([0.0, 1.0, 1e6, -3.0, np.nan], number) * rng.random(number), 2)
    months = [add_months(START, int(month)) for month in rng.integers(0, 40, number)]
    rows = pl.DataFrame(
        {
            "unique_id": rng.choice(["A", "a ", "B", "total", ""], number).tolist(),
            "ds": pl.Series(months, dtype=pl.Date),
            "y": y,
            "stockout_days": rng.choice([0.0, 31.0, np.nan], number),
            "one_off": rng.choice([0.0, 9.0, np.nan], number),
            "partial": rng.random(number) < 0.1,
        },
        schema_overrides={"unique_id": pl.String},
    )
    return rows.unique(["unique_id", "ds"], maintain_order=True)


@st.composite
def any_items(draw):
    number = draw(st.integers(0, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))

    def some(values, dtype=pl.String):
        return pl.Series([values[i] for i in rng.integers(0, len(values), number)], dtype=dtype)

    table = pl.DataFrame(
        {
            "unique_id": pl.Series(["A", "a ", "C", "D"][:number], dtype=pl.String),
            "unit": some([None, "pack", "vial"]),
            "status": some([None, "active", "launch", "discontinued"]),
            "launch_ds": some([None, START, LAST], pl.Date),
            "end_ds": some([None, START, LAST], pl.Date),
            "plan_unit": some([None, "dose"]),
            "plan_factor": some([None, 10.0], pl.Float64),
            "family": some([None, " ", "Oncology", "A/B"]),
            "region": some(["EU", "US"]),
        }
    )
    dropped = draw(st.sets(st.sampled_from(table.columns[1:])))
    return table.drop(dropped)


@settings(max_examples=150, deadline=None)
@given(
    any_history(),
    st.one_of(st.none(), any_items()),
    st.sampled_from(["unknown", "zero"]),
    st.sampled_from([(), ("family",), ("family", "family/region"), ("colour",)]),
    st.integers(0, 40),
)
def test_no_data_crashes_a_check(history, items, missing, levels, months):
    results = run_checks(
        history, items, last_month=add_months(START, months), levels=levels, missing=missing
    )
    for result in results:
        assert result.status in STATUSES
        assert "could not be carried out" not in result.sentence
        assert (result.status in ("ok", "skipped")) == result.rows.is_empty()


@pytest.mark.parametrize("name", ["contraceptives_ci", "pbs", "carparts"])
def test_real_histories_can_be_checked(data_folder, name):
    records = pl.read_parquet(data_folder / f"{name}.parquet").select("unique_id", "ds", "y")
    last_month = records["ds"].max().date()
    results = by_name(run_checks(records, last_month=last_month))
    assert not any("could not be carried out" in one.sentence for one in results.values())
    assert results["history_unit_step"].rows.height <= 0.01 * records["unique_id"].n_unique()
    assert results["history_partial_month"].status == "ok"
