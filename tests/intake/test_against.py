"""What a file is checked against: the open cycle, and tables read just before."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime

import polars as pl

from sopforecast.intake.against import (
    Intake,
    ReadOptions,
    Standing,
    with_overrides,
    with_table,
)

THROUGH = date(2026, 10, 1)


def _intake(known: pl.DataFrame | None = None) -> Intake:
    return Intake(ReadOptions(), today=date(2026, 11, 22), through=THROUGH, known=known)


def _history(**months: bool) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "unique_id": ["A"] * len(months),
            "ds": [date.fromisoformat(f"2026-{name[1:]}-01") for name in months],
            "partial": list(months.values()),
        }
    )


def test_the_open_cycle_follows_the_last_complete_month_of_history() -> None:
    assert _intake(_history(m07=False, m08=False, m09=True)).open_cycle == date(2026, 9, 1)
    assert _intake(_history(m08=False).drop("partial")).open_cycle == date(2026, 9, 1)
    assert _intake().open_cycle == date(2026, 11, 1)


def test_history_read_just_before_moves_the_open_cycle() -> None:
    intake = _intake(_history(m07=False, m08=True)).with_table("history", _history(m08=False))
    assert intake.open_cycle == date(2026, 9, 1)
    assert intake.known is not None
    assert intake.known.height == 2


def test_the_last_version_of_a_file_stands() -> None:
    before = pl.DataFrame({"override_id": ["X", "Y"], "value": [1.0, 2.0]})
    frame = pl.DataFrame(
        {
            "override_id": ["X", "X"],
            "value": [4.0, 3.0],
            "known_at": [datetime(2026, 2, 1), datetime(2026, 1, 1)],
        }
    )
    after = with_overrides(Standing(overrides=before), frame).overrides
    assert after is not None
    assert dict(after.select("override_id", "value").iter_rows()) == {"X": 4.0, "Y": 2.0}


def test_a_clinical_table_stands_beside_the_others_by_its_key() -> None:
    before = pl.DataFrame({"study": ["X", "X"], "site": ["S1", "S2"], "country": ["DE", "FR"]})
    frame = pl.DataFrame({"study": ["X", "Y"], "site": ["S2", "S2"], "country": ["IT", "US"]})
    standing = Standing(clinical={"studies": pl.DataFrame({"study": ["X"]}), "sites": before})
    after = with_table(standing, "sites", frame)
    rows = after.clinical["sites"].sort("study", "site").rows()
    assert rows == [("X", "S1", "DE"), ("X", "S2", "IT"), ("Y", "S2", "US")]
    assert after.clinical["studies"].height == 1
    assert standing.clinical["sites"].height == 2
    intake = replace(_intake(), standing=standing).with_table("sites", frame)
    assert intake.standing.clinical["sites"].height == 3
