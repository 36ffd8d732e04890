"""What was learned, given out as rows and read back: the same fits, the same bytes."""

from __future__ import annotations

import io
import json
from datetime import date, datetime

import numpy as np
import polars as pl
import pytest

from sopforecast.clinical.clinic import forecast_clinic
from sopforecast.clinical.conversion import ELICITED_NOTE
from sopforecast.clinical.inputs import clinical_inputs
from sopforecast.clinical.learned import learn, relearn
from sopforecast.core.clinical_tables import ClinicalParameters

CYCLE = date(2026, 12, 1)
PARTS = ("funnel", "rates", "activation", "dropout", "conversion")
SMALL = {
    "one planned site": {
        "studies": [{"study": "NEW"}],
        "sites": [{"study": "NEW", "site": "N1", "planned_activation_date": date(2027, 1, 5)}],
    },
    "three sites and two months": {
        "studies": [{"study": "NEW", "target_enrolment": 30.0}],
        "sites": [
            {"study": "NEW", "site": f"N{k}", "activated_date": date(2026, 10, 1)} for k in range(3)
        ],
        "enrolment": [
            {"study": "NEW", "site": f"N{k}", "cohort": "all", "ds": date(2026, m, 1),
             "enrolled": float(k), "screened": float(k + 1), "screen_failed": 1.0}
            for k in range(3) for m in (10, 11)
        ],
    },
    "a study without a site": {"studies": [{"study": "NEW"}]},
    "account lines only": {
        "tier_lines": [
            {"line_id": f"A{k}", "account": "ACME", "unique_id": "PUMP", "tier": "pipeline",
             "quantity": 5.0, "outcome": "open", "known_at": datetime(2026, 6, 1)}
            for k in range(3)
        ],
    },
    "nothing": {},
}  # fmt: skip


def _inputs(name):
    tables = {table: pl.DataFrame(rows) for table, rows in SMALL[name].items()}
    return clinical_inputs(CYCLE, **tables)


@pytest.fixture(scope="module")
def learned(trial_inputs):
    return learn(trial_inputs, seed=2026)


def _through_a_file(frame):
    """As the store gives rows back: in another order, sorted by nothing."""
    file = io.BytesIO()
    frame.sample(fraction=1.0, shuffle=True, seed=4).write_parquet(file)
    file.seek(0)
    return pl.read_parquet(file).with_columns(run_id=pl.lit("r"))


def _same(one, other):
    assert one.keys() == other.keys()
    for name, values in one.items():
        assert values.shape == other[name].shape
        assert values.tobytes() == other[name].tobytes(), name


def test_rows_are_of_the_declared_table(learned):
    rows = learned.parameters()
    ClinicalParameters.validate(rows.with_columns(run_id=pl.lit("r")), cast=True)
    assert set(rows["part"]) == set(PARTS)
    for row in rows.iter_rows(named=True):
        shape = json.loads(row["shape"])
        assert 8 * int(np.prod(shape)) == len(row["values"])
        assert shape[0] >= 1


def test_what_is_read_back_is_what_was_learned(learned, trial_inputs):
    again = relearn(_through_a_file(learned.parameters()), trial_inputs)
    for part in PARTS:
        _same(getattr(learned, part).parameters(), getattr(again, part).parameters())
    assert (
        again.parameters()
        .sort("part", "parameter")
        .equals(learned.parameters().sort("part", "parameter"))
    )
    assert again.panel.sites == learned.panel.sites


def test_notes_are_told_again(learned, trial_inputs):
    again = relearn(learned.parameters(), trial_inputs)
    for part in PARTS:
        assert getattr(again, part).notes == getattr(learned, part).notes, part


def test_learning_twice_gives_the_same_bytes(learned, trial_inputs):
    assert learn(trial_inputs, seed=2026).parameters().equals(learned.parameters())
    assert not learn(trial_inputs, seed=1).parameters().equals(learned.parameters())


def test_nothing_is_fitted_when_it_is_read_back(learned, trial_inputs, monkeypatch):
    def fails(*_, **__):
        raise AssertionError("fitted again")

    for name in ("fit_funnel", "fit_rates", "fit_activation", "fit_dropout", "fit_conversion"):
        monkeypatch.setattr(f"sopforecast.clinical.learned.{name}", fails)
    again = relearn(learned.parameters(), trial_inputs)
    clinic = forecast_clinic(trial_inputs, horizon=3, paths=200, draws=50, seed=2026, learned=again)
    assert clinic.draws.shape == (50, 3, 3)


@pytest.mark.parametrize("name", SMALL)
def test_however_little_there_is_it_is_read_back(name):
    inputs = _inputs(name)
    first = forecast_clinic(inputs, horizon=4, paths=200, draws=50, seed=3)
    stored = _through_a_file(first.parameters)
    again = forecast_clinic(
        inputs, horizon=4, paths=200, draws=50, seed=3, learned=relearn(stored, inputs)
    )
    assert again.draws.tobytes() == first.draws.tobytes()
    assert again.enrolment_forecasts.equals(first.enrolment_forecasts)
    assert again.tier_conversion.equals(first.tier_conversion)


@pytest.mark.parametrize("name", SMALL)
def test_however_little_there_is_it_is_said_again(name):
    inputs = _inputs(name)
    first = learn(inputs, seed=3)
    again = relearn(_through_a_file(first.parameters()), inputs)
    for part in PARTS:
        assert getattr(again, part).notes == getattr(first, part).notes, part


def test_an_elicited_run_is_rebuilt_and_only_tiers_differ(trial_inputs):
    """Nothing need be told: the stored parameters say which procedure they came from."""
    options = {"horizon": 3, "paths": 200, "draws": 50, "seed": 2026}
    usual = forecast_clinic(trial_inputs, **options)
    first = forecast_clinic(trial_inputs, **options, conversion="elicited")
    ClinicalParameters.validate(first.parameters.with_columns(run_id=pl.lit("r")), cast=True)
    for part in PARTS[:-1]:
        _same(getattr(first.learned, part).parameters(), getattr(usual.learned, part).parameters())
    assert set(first.tier_conversion["method"]) == {"prior"}
    assert first.notes.count(ELICITED_NOTE) == 1
    assert ELICITED_NOTE not in usual.notes
    assert not first.enrolment_forecasts.equals(usual.enrolment_forecasts)
    stored = relearn(_through_a_file(first.parameters), trial_inputs)
    again = forecast_clinic(trial_inputs, **options, learned=stored)
    assert again.draws.tobytes() == first.draws.tobytes()
    assert again.enrolment_forecasts.equals(first.enrolment_forecasts)
    assert again.tier_conversion.equals(first.tier_conversion)
    assert again.notes == first.notes


def test_learned_is_what_a_run_does_by_default(trial_inputs):
    options = {"horizon": 2, "paths": 100, "draws": 20, "seed": 1}
    one = forecast_clinic(trial_inputs, **options)
    two = forecast_clinic(trial_inputs, **options, conversion="learned")
    assert one.parameters.equals(two.parameters)
    assert one.draws.tobytes() == two.draws.tobytes()
    assert one.notes == two.notes
