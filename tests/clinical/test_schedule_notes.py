"""What of a schedule asks for nothing is said, name by name."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl

from sopforecast.clinical.dropout import fit_dropout
from sopforecast.clinical.inputs import ClinicalInputs, clinical_inputs
from sopforecast.clinical.schedule import item_demand

CYCLE = date(2026, 12, 1)


def _inputs(enrolled: list[float | None], dropped: list[float | None]) -> ClinicalInputs:
    schedule = pl.DataFrame(
        {"study": ["X", "X", "Z"], "cohort": ["*", "ODD", "*"], "country": ["*", "*", "*"],
         "protocol_version": ["1", "9", "1"], "per": ["enrolled"] * 3, "month_offset": [1] * 3,
         "unique_id": ["KIT"] * 3, "quantity": [1.0] * 3}
    )  # fmt: skip
    count = len(enrolled)
    enrolment = pl.DataFrame(
        {"study": ["X"] * count, "site": ["S"] * count, "cohort": ["all"] * count,
         "ds": [date(2026, 9 + month, 1) for month in range(count)],
         "enrolled": enrolled, "dropped_out": dropped},
        schema_overrides={"enrolled": pl.Float64, "dropped_out": pl.Float64},
    )  # fmt: skip
    studies = pl.DataFrame({"study": ["X"]})
    return clinical_inputs(CYCLE, studies=studies, schedule=schedule, enrolment=enrolment)


def _notes(inputs: ClinicalInputs) -> tuple[str, ...]:
    fitted = fit_dropout(inputs, seed=1)
    found = item_demand({}, inputs, fitted, draws=3, horizon=2, seed=1)
    assert found.items == ("KIT",)
    assert np.isfinite(found.draws).all()
    return found.unused


def test_strange_names_are_told() -> None:
    assert _notes(_inputs([1.0, 2.0, 0.0], [0.0, 0.0, 0.0])) == (
        "Schedule of Z: no such study, its rows ask for nothing.",
        "Schedule of X: cohort ODD not in the study; its rows ask for nothing.",
        "Schedule of X: version 9 never in force (no switch leads to it); its rows ask for "
        "nothing.",
    )


def test_missing_counts_are_told() -> None:
    assert _notes(_inputs([1.0, None], [None, None]))[3:] == (
        "Study X: 1 row of enrolment without a count; patients of these months get no doses here.",
        "Study X: nothing is reported for November 2026; patients enrolled then get no doses here.",
        "Study X: 1 site with months without a count of dropouts; who is still in treatment there "
        "is drawn from the study's dropout.",
    )
