"""The clinic of a cycle: patients to items by hand, and what later months may not change."""

from __future__ import annotations

from datetime import date, datetime

import numpy as np
import polars as pl
import pytest

from sopforecast.clinical.clinic import forecast_clinic
from sopforecast.clinical.inputs import clinical_inputs
from sopforecast.core.clinical_tables import EnrolmentForecasts, TierConversion
from sopforecast.demo.trial import KIT, SCREENING, SEEDING, STUDY

CYCLE, HORIZON, PATHS, DRAWS = date(2026, 12, 1), 6, 300, 60
OPTIONS = {"horizon": HORIZON, "paths": PATHS, "draws": DRAWS, "seed": 2026}


@pytest.fixture(scope="module")
def clinic(trial_inputs):
    return forecast_clinic(trial_inputs, **OPTIONS)


def _lines(*rows):
    base = {"account": "ACME", "unique_id": "PUMP", "tier": "highly_probable", "quantity": 30.0,
            "outcome": "open", "known_at": datetime(2026, 9, 5)}  # fmt: skip
    return pl.DataFrame(
        [base | {"line_id": f"A-{k}"} | row for k, row in enumerate(rows)],
        schema_overrides={"study": pl.String},
    )


def _use(**more):
    row = {"study": STUDY, "per": "enrolled", "month_offset": 0, "unique_id": "ONE",
           "quantity": 1.0}  # fmt: skip
    return row | more


def _asking(trial_tables, *rows, **more):
    tables = trial_tables | {"schedule": pl.DataFrame([_use(**row) for row in rows])}
    return clinical_inputs(CYCLE, **(tables | more))


def test_everything_has_its_shape(clinic):
    assert clinic.items == (KIT, SCREENING, SEEDING)
    assert clinic.draws.shape == (DRAWS, 3, HORIZON)
    assert clinic.naive.shape == clinic.overage.shape == (3, HORIZON)
    assert (clinic.draws >= 0).all()
    assert np.array_equal(clinic.draws, np.rint(clinic.draws / clinic.steps[:, None])
                          * clinic.steps[:, None])  # fmt: skip
    trial = clinic.future.trials[STUDY]
    assert trial.enrolled.shape[0] == PATHS
    run = pl.lit("r").alias("run_id")
    EnrolmentForecasts.validate(clinic.enrolment_forecasts.with_columns(run), cast=True)
    TierConversion.validate(clinic.tier_conversion.with_columns(run), cast=True)
    assert len(clinic.notes) == len(set(clinic.notes)) > 0


def test_one_of_an_item_a_patient_is_the_patients(clinic, trial_tables):
    """Items of the first paths, month by month: enrolled, screened, sites opened."""
    inputs = _asking(
        trial_tables, {}, {"unique_id": "TWO", "per": "screened", "quantity": 2.0},
        {"unique_id": "SIX", "per": "site_activated", "quantity": 6.0},
    )  # fmt: skip
    clinic = forecast_clinic(inputs, **OPTIONS, learned=clinic.learned)
    trial = clinic.future.trials[STUDY]
    assert clinic.items == ("ONE", "SIX", "TWO")
    for path in range(DRAWS):
        for ahead in range(HORIZON):
            one, six, two = clinic.draws[path, :, ahead]
            assert one == int(trial.enrolled[path, :, :, ahead].sum())
            assert six == 6 * sum(int(month) == ahead for month in trial.activated[path])
            assert two == 2 * int(trial.screened[path, :, ahead].sum())


def test_overage_is_kept_apart(clinic, trial_tables):
    options = OPTIONS | {"learned": clinic.learned}
    plain = forecast_clinic(_asking(trial_tables, {}), **options)
    more = forecast_clinic(_asking(trial_tables, {"overage_percent": 25.0}), **options)
    assert not plain.overage.any()
    assert more.draws.tobytes() == plain.draws.tobytes()
    np.testing.assert_allclose(more.overage, 0.25 * plain.scheduled.draws.mean(axis=0))


def test_paths_are_shared_and_items_are_of_the_first_of_them(clinic, trial_inputs):
    fewer = forecast_clinic(trial_inputs, **(OPTIONS | {"draws": 50, "learned": clinic.learned}))
    assert fewer.enrolment_forecasts.equals(clinic.enrolment_forecasts)
    assert fewer.draws.shape == (50, 3, HORIZON)
    screening = clinic.items.index(SCREENING)
    np.testing.assert_array_equal(fewer.draws[:, screening], clinic.draws[:50, screening])
    options = OPTIONS | {"paths": 60, "draws": 80, "learned": clinic.learned}
    grown = forecast_clinic(trial_inputs, **options)
    assert len(grown.future.trials[STUDY].enrolled) == 80  # never fewer paths than draws


def test_enrolment_forecasts_are_of_the_paths(clinic):
    trial = clinic.future.trials[STUDY]
    rows = clinic.enrolment_forecasts.filter(
        pl.col("level") == "study", pl.col("measure") == "cumulative"
    ).sort("ds")
    totals = np.zeros(PATHS)
    for ahead, row in enumerate(rows.iter_rows(named=True)):
        totals += [int(trial.enrolled[path, :, :, ahead].sum()) for path in range(PATHS)]
        so_far = totals + trial.enrolled_before.sum()
        assert row["mean"] == pytest.approx(so_far.mean())
        for label, level in (("p05", 0.05), ("p50", 0.5), ("p95", 0.95)):
            assert row[label] == pytest.approx(np.quantile(so_far, level))


def test_the_seed_and_nothing_else_makes_the_paths(clinic, trial_inputs, trial_tables):
    again = forecast_clinic(trial_inputs, **OPTIONS)
    turned = clinical_inputs(CYCLE, **{name: f.reverse() for name, f in trial_tables.items()})
    other = forecast_clinic(turned, **OPTIONS)
    for found in (again, other):
        assert found.draws.tobytes() == clinic.draws.tobytes()
        assert found.parameters.equals(clinic.parameters)
        assert found.enrolment_forecasts.equals(clinic.enrolment_forecasts)
        assert found.tier_conversion.equals(clinic.tier_conversion)
        assert found.notes == clinic.notes
    assert forecast_clinic(trial_inputs, **(OPTIONS | {"seed": 7})).draws.tobytes() != (
        clinic.draws.tobytes()
    )


def test_account_lines_stand_beside_a_study(clinic, trial_tables):
    lines = pl.concat(
        [trial_tables["tier_lines"], _lines({}, {"tier": "committed", "quantity": 7.0})],
        how="diagonal_relaxed",
    )
    inputs = clinical_inputs(CYCLE, **(trial_tables | {"tier_lines": lines}))
    both = forecast_clinic(inputs, **OPTIONS)
    assert both.items == (KIT, SCREENING, SEEDING, "PUMP")
    future = both.future.lines
    by_hand = np.zeros((DRAWS, HORIZON))
    of_account = np.flatnonzero(future.frame["account"].is_not_null().to_numpy())
    assert len(of_account) == 2
    for path in range(DRAWS):
        for line in of_account:
            if future.month[path, line] < HORIZON:
                by_hand[path, future.month[path, line]] += future.amount[path, line]
    np.testing.assert_array_equal(both.draws[:, 3], np.rint(by_hand))
    assert not both.naive[3].any()
    kept = forecast_clinic(inputs, **OPTIONS, history_items=["PUMP", "zeta", KIT])
    assert kept.items == clinic.items  # PUMP keeps its history; the kit is of the schedule
    assert kept.draws.tobytes() == np.ascontiguousarray(both.draws[:, :3]).tobytes()


def test_an_item_of_a_schedule_and_of_account_lines_is_the_sum(trial_tables):
    lines = _lines({"unique_id": "ONE"}, {"unique_id": "ONE", "quantity": 4.0})
    tables = {"tier_lines": lines}
    plain = forecast_clinic(_asking(trial_tables, {}, tier_lines=lines.clear()), **OPTIONS)
    both = forecast_clinic(_asking(trial_tables, {}, **tables), **OPTIONS)
    assert both.items == plain.items == ("ONE",)
    extra = both.draws - plain.draws
    assert (extra >= 0).all()
    assert extra.sum() > 0
    np.testing.assert_array_equal(both.scheduled.draws, plain.scheduled.draws)


@pytest.mark.parametrize(
    "tables",
    [
        {}, {"studies": pl.DataFrame({"study": ["NEW"]})},
        {"schedule": pl.DataFrame([_use(study="NEW")])},
    ],
)  # fmt: skip
def test_nothing_asks_for_nothing(tables):
    clinic = forecast_clinic(clinical_inputs(CYCLE, **tables), **OPTIONS)
    assert clinic.items == ()
    assert clinic.draws.shape == (DRAWS, 0, HORIZON)
    assert clinic.steps.shape == (0,)
    assert clinic.enrolment_forecasts.is_empty()


def test_a_planned_study_without_any_data_is_wide_and_says_so():
    sites = [
        {"study": "NEW", "site": f"N{k}", "planned_activation_date": date(2027, 1, 5),
         "planned_rate": 1.0} for k in range(3)
    ]  # fmt: skip
    schedule = pl.DataFrame([_use(study="NEW")])
    inputs = clinical_inputs(
        CYCLE, studies=pl.DataFrame({"study": ["NEW"]}), sites=pl.DataFrame(sites),
        schedule=schedule,
    )  # fmt: skip
    clinic = forecast_clinic(inputs, **OPTIONS)
    new = clinic.future.trials["NEW"].enrolled.sum(axis=(1, 2, 3))
    assert new.mean() > 0
    low, high = np.quantile(new, [0.1, 0.9])
    assert high >= 2 * max(low, 1)
    assert clinic.notes
    np.testing.assert_array_equal(clinic.draws.sum(axis=(1, 2)), new[:DRAWS])
