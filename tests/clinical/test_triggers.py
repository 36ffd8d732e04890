"""What sets off demand, cell by cell: whose patients, under which switches, by which random."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl

from sopforecast.clinical.active import expected_active, patient_months
from sopforecast.clinical.inputs import ClinicalInputs, clinical_inputs
from sopforecast.clinical.paths import TrialPaths
from sopforecast.clinical.triggers import (
    StudyView,
    study_cohorts,
    study_countries,
    study_triggers,
)
from sopforecast.clinical.versions import Change, Row

CYCLE = date(2026, 12, 1)


def _inputs() -> ClinicalInputs:
    months = [date(2026, 7, 1), date(2026, 9, 1), date(2026, 10, 1), date(2026, 11, 1)]
    enrolment = pl.DataFrame(
        {"study": ["X"] * 8, "site": ["S0"] * 4 + ["S1"] * 4, "cohort": ["A"] * 8, "ds": months * 2,
         "screened": [None] * 4 + [60.0, 9.0, 6.0, 12.0],
         "enrolled": [50.0, 3.0, None, 5.0, 40.0, 4.0, 2.0, 6.0],
         "dropped_out": [0.0] * 8, "completed": [0.0] * 8}
    )  # fmt: skip
    sites = pl.DataFrame(
        {"study": ["X", "X", "Y"], "site": ["S1", "S2", "S0"], "country": ["DE", None, "IT"]}
    )
    cohorts = pl.DataFrame({"study": ["X", "X"], "cohort": ["B", "A"]})
    return clinical_inputs(CYCLE, enrolment=enrolment, sites=sites, cohorts=cohorts)


def _trial() -> TrialPaths:
    enrolled = np.arange(2 * 3 * 2 * 2, dtype=np.int16).reshape(2, 3, 2, 2)
    return TrialPaths(
        study="X",
        cycle=CYCLE,
        sites=("S0", "S1", "S2"),
        countries=("FR", "DE", "*"),
        cohorts=("A", "B"),
        screened=enrolled.sum(axis=2) * 2,
        enrolled=enrolled,
        activated=np.full((2, 3), -1),
        enrolled_before=np.zeros((3, 2)),
        events={},
    )


def _view(*rows: Row, changes: tuple[Change, ...] = ()) -> StudyView:
    inputs, trial = _inputs(), _trial()
    months = patient_months(inputs)
    stays = np.full(len(months.keys), np.inf)
    return StudyView(
        study="X",
        trial=trial,
        is_closed=False,
        cohorts=trial.cohorts,
        country_of=study_countries(trial, inputs, "X"),
        rows=rows,
        changes=changes,
        months=months,
        expected=expected_active(months, stay=stays, hazard=0.0)[0],
        hazard=np.zeros(2),
        stay=np.inf,
        horizon=2,
        seed=1,
    )


def _row(per: str, cohort: str = "*") -> Row:
    return Row(cohort, "*", "*", per, 0, "KIT", 1.0, 0.0)


def test_sites_and_cohorts_of_a_study_with_and_without_paths() -> None:
    inputs = _inputs()
    assert study_countries(None, inputs, "X") == {"S0": "*", "S1": "DE", "S2": "*"}
    assert study_countries(_trial(), inputs, "X") == {"S0": "FR", "S1": "DE", "S2": "*"}
    assert study_cohorts(None, inputs, "X") == ("A", "B")
    assert study_cohorts(None, inputs, "Y") == ("all",)
    assert study_cohorts(_trial(), inputs, "X") == ("A", "B")


def test_every_country_and_cohort_is_a_cell_and_no_patient_is_lost() -> None:
    cells = list(study_triggers(_view(_row("enrolled")), _inputs()))
    assert [(c.country, c.cohort) for c in cells] == [
        (country, cohort) for country in ("*", "DE", "FR") for cohort in ("A", "B")
    ]
    assert sum(cell.future for cell in cells).tolist() == _trial().monthly().tolist()
    assert cells[2].past[0].tolist() == [40, 0, 4, 2, 6]
    # The last three months reported: S1 has 12 in three, S0 8 in the two it reports.
    assert [cell.usual_future[0] for cell in cells] == [0, 0, 4, 0, 4, 0]


def test_a_site_with_its_own_switch_is_a_cell_of_its_own() -> None:
    change = Change((0, 0.0), "2", True, "B", "S1", np.ones(2, dtype=bool))
    cells = list(study_triggers(_view(_row("enrolled"), changes=(change,)), _inputs()))
    under = [(c.country, c.cohort) for c in cells if c.changes]
    assert under == [("DE", "B")]
    assert len({cell.name for cell in cells}) == len(cells)


def test_screened_are_parted_by_cohort_only_where_it_matters() -> None:
    whole = list(study_triggers(_view(_row("screened")), _inputs()))
    parted = list(study_triggers(_view(_row("screened", "A")), _inputs()))
    assert [cell.cohort for cell in whole] == ["*"] * 3
    assert [cell.cohort for cell in parted] == ["A", "B"] * 3
    total = sum(cell.future for cell in whole)
    assert total.tolist() == sum(cell.future for cell in parted).tolist()
    assert total.tolist() == _trial().screened.sum(axis=1).tolist()
    assert not any(cell.leaves for cell in whole)
    # S1 reports 9, 6 and 12; S0 does not report screening: its enrolled 3 and 5 count.
    assert [cell.usual_future[0] for cell in whole] == [0, 9, 4]
