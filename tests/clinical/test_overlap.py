"""An item takes its demand from the clinic or from its history, never both."""

from __future__ import annotations

from datetime import date

import polars as pl

from sopforecast.clinical.inputs import ClinicalInputs, clinical_inputs
from sopforecast.clinical.overlap import (
    OVERLAP_COLUMNS,
    clinic_items,
    overlap_sentences,
    overlaps,
)

CYCLE = date(2026, 12, 1)


def _inputs() -> ClinicalInputs:
    schedule = pl.DataFrame(
        {"study": ["X", "X", "UNKNOWN"], "unique_id": ["KIT", "BOTH", "STRAY"],
         "per": ["enrolled"] * 3, "month_offset": [0] * 3, "quantity": [1.0] * 3}
    )  # fmt: skip
    lines = pl.DataFrame(
        {"line_id": ["1", "2", "3", "4"], "account": ["A", "A", "B", None],
         "study": [None, None, None, "X"], "unique_id": ["BOTH", "DEAL", "SOLD", "NEVER"]}
    )  # fmt: skip
    studies = pl.DataFrame({"study": ["X"]})
    return clinical_inputs(CYCLE, studies=studies, schedule=schedule, tier_lines=lines)


HISTORY = pl.DataFrame(
    {"unique_id": ["KIT", "SOLD", "SOLD", "SOLD", "DEAL", "PLAIN"],
     "ds": [date(2026, 11, 1), date(2026, 9, 1), date(2026, 10, 1), date(2026, 11, 1),
            date(2026, 11, 1), date(2026, 11, 1)],
     "y": [3.0, 1.0, 2.0, None, None, 5.0]}
)  # fmt: skip


def test_items_of_the_clinic() -> None:
    assert clinic_items(_inputs()) == ("BOTH", "DEAL", "KIT", "SOLD")
    assert clinic_items(_inputs(), ("KIT", "SOLD", "BOTH", "PLAIN")) == ("BOTH", "DEAL", "KIT")
    assert clinic_items(clinical_inputs(CYCLE), ("KIT",)) == ()


def test_overlaps_are_named_with_what_counts() -> None:
    found = overlaps(_inputs(), HISTORY)
    assert dict(found.schema) == OVERLAP_COLUMNS
    assert found.rows() == [
        ("KIT", "schedule", "clinic", 1, date(2026, 11, 1), date(2026, 11, 1)),
        ("SOLD", "account lines", "history", 2, date(2026, 9, 1), date(2026, 10, 1)),
    ]
    assert overlap_sentences(found) == (
        "Item KIT is in a study's schedule and has 1 month of history: its demand comes from the "
        "clinic, its history is only scored.",
        "Item SOLD is in account lines and has 2 months of history: its demand comes from its "
        "history, the lines are not added.",
    )


def test_items_that_keep_their_history_are_no_items_of_the_clinic() -> None:
    found = overlaps(_inputs(), HISTORY)
    counted = clinic_items(_inputs(), found["unique_id"].to_list())
    kept = found.filter(pl.col("takes") == "history")["unique_id"].to_list()
    assert not set(kept) & set(counted)
    assert set(found.filter(pl.col("takes") == "clinic")["unique_id"]) <= set(counted)
    assert overlaps(clinical_inputs(CYCLE), HISTORY).is_empty()
