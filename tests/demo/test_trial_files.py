"""The trial's files, and the kits its patients used."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from sopforecast.core.clinical_tables import CLINICAL_TABLES
from sopforecast.demo.trial import KIT, SCREENING, SEEDING, simulated_trial
from sopforecast.demo.trial_files import (
    MONTHS,
    SEED,
    first_month_of,
    kits_as_items,
    kits_used,
    write_trial_files,
)

LAST = date(2026, 10, 1)
FIRST = first_month_of(LAST)


@pytest.fixture(scope="module")
def used() -> pl.DataFrame:
    return kits_used(first_month=FIRST, last_month=LAST, seed=SEED)


def of(used: pl.DataFrame, item: str) -> list[float]:
    return used.filter(pl.col("unique_id") == item).sort("ds")["y"].to_list()


def test_kits_follow_the_tables(used: pl.DataFrame) -> None:
    """Kits of a month from the counts: in treatment = enrolled less those who left or completed."""
    tables = simulated_trial(first_month=FIRST, last_month=LAST, seed=SEED)
    counts = (
        tables["enrolment"].filter(pl.col("enrolled").is_not_null())
        .group_by("ds", "cohort").agg(pl.col("enrolled", "dropped_out", "completed").sum())
        .sort("ds")
    )  # fmt: skip
    treated = counts.with_columns(
        here=(pl.col("enrolled") - pl.col("dropped_out") - pl.col("completed"))
        .cum_sum().over("cohort", order_by="ds")
        * pl.when(pl.col("cohort") == "A").then(1.0).otherwise(2.0)
    )  # fmt: skip
    kits = treated.group_by("ds").agg(pl.col("here").sum()).sort("ds")
    before = kits.filter(pl.col("ds") < date(2026, 1, 1))  # then S14 closes and reports no more
    assert before["here"].to_list() == of(used, KIT)[: before.height]
    opened = tables["sites"]["activated_date"].drop_nulls().dt.truncate("1mo")
    seeds = dict(zip(sorted(set(used["ds"])), of(used, SEEDING), strict=True))
    assert all(seeds[ds] == 6.0 * (opened == ds).sum() for ds in seeds)
    reported = tables["enrolment"].group_by("ds").agg(pl.col("screened").sum()).sort("ds")
    assert all(
        kits >= screened
        for kits, screened in zip(of(used, SCREENING), reported["screened"], strict=True)
    )


def test_before_it_began_nothing_was_used(used: pl.DataFrame) -> None:
    longer = {item.unique_id: item for item in kits_as_items(last_month=LAST, months=40)}
    assert set(longer) == {KIT, SCREENING, SEEDING}
    assert list(longer[KIT].y) == [0.0] * (40 - MONTHS) + of(used, KIT)
    shorter = kits_as_items(last_month=LAST, months=10)
    assert list(shorter[0].y) == of(used, shorter[0].unique_id)[-10:]
    assert {item.family for item in shorter} == {"Clinical supply"}


def test_files_are_the_tables_in_loading_order(tmp_path: Path) -> None:
    written = write_trial_files(tmp_path / "trial", last_month=LAST)
    names = [name for name, _ in written]
    assert sorted(names) == sorted(["items", "history", *CLINICAL_TABLES])
    assert names.index("studies") < names.index("sites") < names.index("enrolment")
    assert names[:2] == ["items", "history"]
    lines = pl.read_csv(dict(written)["tier_lines"], try_parse_dates=True)
    assert lines["known_at"].max() == date(2026, 11, 1)
    again = write_trial_files(tmp_path / "again", last_month=LAST)
    for (_, one), (_, other) in zip(written, again, strict=True):
        assert one.read_bytes() == other.read_bytes()
