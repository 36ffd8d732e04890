"""What of the schedule asks for nothing, and which patients are not counted: said to the reader.

Reads ``schedule``, ``studies`` and ``enrolment``.
"""

from __future__ import annotations

import polars as pl

from sopforecast.clinical.inputs import ClinicalInputs, last_month
from sopforecast.clinical.triggers import StudyView
from sopforecast.clinical.versions import first_version
from sopforecast.clinical.words import counted, listed, month_text
from sopforecast.core.clinical_tables import ANY


def of_unknown_studies(inputs: ClinicalInputs) -> tuple[str, ...]:
    """Name the studies of the schedule that are not known."""
    names = set(inputs.schedule["study"].to_list()) - set(inputs.studies["study"].to_list())
    return tuple(
        f"Schedule of {name}: no such study, its rows ask for nothing." for name in sorted(names)
    )


def of_study(view: StudyView, inputs: ClinicalInputs) -> tuple[str, ...]:
    """Name what meets nothing in a study's schedule, and missing reports of its patients."""
    return (*_strange(view), *_missing(view, inputs))


def _strange(view: StudyView) -> list[str]:
    first = first_version((row.version for row in view.rows), view.changes)
    versions = {ANY, first, *(change.version for change in view.changes)}
    found = (
        ("cohort", {row.cohort for row in view.rows} - {ANY, *view.cohorts}, "not in the study"),
        (
            "country",
            {row.country for row in view.rows} - {ANY, *view.country_of.values()},
            "without a site of the study",
        ),
        (
            "version",
            {row.version for row in view.rows if row.version not in versions},
            "never in force (no switch leads to it)",
        ),
    )
    return [
        f"Schedule of {view.study}: {what} {listed(sorted(names))} {why}; its rows ask for nothing."
        for what, names, why in found
        if names
    ]


def _missing(view: StudyView, inputs: ClinicalInputs) -> list[str]:
    notes = []
    own = inputs.enrolment.filter(pl.col("study") == view.study)
    blank = own.filter(pl.col("enrolled").is_null()).height
    if blank:
        notes.append(
            f"Study {view.study}: {counted(blank, 'row')} of enrolment without a count; "
            "patients of these months get no doses here."
        )
    last = last_month(inputs)
    if own.height and not view.is_closed and own["ds"].max() != last:
        notes.append(
            f"Study {view.study}: nothing is reported for {month_text(last)}; patients enrolled "
            "then get no doses here."
        )
    dropping = pl.col("dropped_out").is_null() & (pl.col("enrolled") > 0)
    silent = own.filter(dropping)["site"].n_unique()
    if silent and any(row.per == "enrolled" for row in view.rows):
        notes.append(
            f"Study {view.study}: {counted(silent, 'site')} with months without a count of "
            "dropouts; who is still in treatment there is drawn from the study's dropout."
        )
    return notes
