"""Dropout learned over studies: exposure by hand, the posterior by weighted prior draws."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import polars as pl
import pytest

from sopforecast.clinical.dropout import POSTERIOR_DRAWS, PRIOR_MEAN, fit_dropout, rebuild_dropout
from sopforecast.clinical.inputs import ClinicalInputs, clinical_inputs
from sopforecast.core.months import add_months

CYCLE = date(2026, 12, 1)


def _inputs(*rows: tuple[Any, ...], studies: tuple[str, ...] = ("X",)) -> ClinicalInputs:
    """Study, site, months before the cycle, enrolled, dropped out, completed."""
    data = [(study, site, "all", add_months(CYCLE, -ago), *counts)
            for study, site, ago, *counts in rows]  # fmt: skip
    counts = ("enrolled", "dropped_out", "completed")
    enrolment = pl.DataFrame(
        data,
        schema=("study", "site", "cohort", "ds", *counts),
        orient="row",
        schema_overrides=dict.fromkeys(counts, pl.Float64),
    )
    return clinical_inputs(
        CYCLE, studies=pl.DataFrame({"study": list(studies)}), enrolment=enrolment
    )


def test_patient_months_by_hand() -> None:
    inputs = _inputs(
        ("X", "S1", 3, 10, 0, 0),  # 0 to 10: 5 patient-months
        ("X", "S1", 2, 0, 2, 0),  # 10 to 8: 9
        ("X", "S1", 1, 4, 0, 8),  # 8 to 4: 6
        ("X", "S2", 2, 6, 0, 0),  # 0 to 6: 3
        ("X", "S2", 1, 6, None, None),  # not reported: does not count
    )
    found = fit_dropout(inputs, seed=1)
    assert found.studies == ("X",)
    assert found.months_at_risk.tolist() == [5 + 9 + 6 + 3]
    assert found.dropped_out.tolist() == [2]
    assert found.not_reported.tolist() == [1]
    assert "2 dropouts in 23.0 patient-months; 1 row without a count" in found.notes[0]


def _posterior_by_weights(risk: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and sd of every study's hazard, from two million weighted draws of the prior."""
    rng = np.random.default_rng(0)
    size = 2_000_000
    mean = PRIOR_MEAN * np.exp(0.8 * rng.standard_normal(size) - 0.32)
    shape = 2.0 * np.exp(rng.standard_normal(size))
    hazard = rng.standard_gamma(shape[:, None], (size, len(risk))) * (mean / shape)[:, None]
    log = (count * np.log(hazard + 1e-300) - hazard * risk).sum(axis=1)
    weight = np.exp(log - log.max())
    weight /= weight.sum()
    first = weight @ hazard
    return first, np.sqrt(weight @ (hazard - first) ** 2)


def test_the_posterior_is_that_of_weighted_prior_draws() -> None:
    rows = [("A", "S", 2, 200, 0, 0), ("A", "S", 1, 0, 12, 0), ("B", "S", 1, 60, 0, 0)]
    found = fit_dropout(_inputs(*rows, studies=("A", "B", "C")), seed=4)
    assert found.studies == ("A", "B", "C")
    assert found.months_at_risk.tolist() == [100 + 194, 30, 0]
    assert found.hazard.shape == (POSTERIOR_DRAWS, 3)
    mean, sd = _posterior_by_weights(found.months_at_risk, found.dropped_out)
    error = sd / np.sqrt(POSTERIOR_DRAWS)
    assert (np.abs(found.hazard.mean(axis=0) - mean) < 3.5 * error).all()
    np.testing.assert_allclose(found.hazard.std(axis=0)[:2], sd[:2], rtol=0.25)
    assert "no dropouts reported" in found.notes[2]


def test_many_studies_are_recovered_and_pooled() -> None:
    rng = np.random.default_rng(5)
    truth = rng.gamma(4.0, 0.03 / 4, 30)
    rows = []
    for j, hazard in enumerate(truth):
        drops = rng.poisson(hazard * 195)
        rows += [(f"T{j:02d}", "S", 2, 130, 0, 0), (f"T{j:02d}", "S", 1, 0, min(drops, 130), 0)]
    found = fit_dropout(_inputs(*rows, ("NEW", "S", 1, 0, 0, 0)), seed=2)
    new = found.hazard[:, found.studies.index("NEW")]
    assert new.mean() == pytest.approx(0.03, rel=0.35)
    own = found.hazard[:, [j for j, name in enumerate(found.studies) if name.startswith("T")]]
    low, high = np.quantile(own, (0.05, 0.95), axis=0)
    assert ((low < truth) & (truth < high)).mean() >= 0.75


def test_without_any_data_the_prior_speaks() -> None:
    found = fit_dropout(_inputs(studies=("X", "Y")), seed=1)
    low, high = np.quantile(found.hazard, (0.1, 0.9))
    assert found.hazard.mean() == pytest.approx(PRIOR_MEAN, rel=0.3)
    assert low < 0.004
    assert high > 0.03
    assert (found.hazard > 0).all()
    nothing = fit_dropout(clinical_inputs(CYCLE), seed=1)
    assert nothing.hazard.shape == (POSTERIOR_DRAWS, 0)


def test_a_stored_fit_is_rebuilt_without_learning() -> None:
    inputs = _inputs(("X", "S1", 2, 10, 1, 0), ("X", "S1", 1, 3, 0, None))
    found, again = fit_dropout(inputs, seed=3), fit_dropout(inputs, seed=3)
    assert found.hazard.tobytes() == again.hazard.tobytes()
    rebuilt = rebuild_dropout(found.parameters(), inputs)
    assert rebuilt.notes == found.notes
    assert rebuilt.hazard.tobytes() == found.hazard.tobytes()
    assert rebuilt.of("X", 500)[[0, 200, 401]].tolist() == found.hazard[[0, 0, 1], 0].tolist()
    with pytest.raises(ValueError, match="expected 2"):
        rebuild_dropout(found.parameters(), _inputs(studies=("X", "Y")))


def test_learning_does_not_hang_on_the_order_of_rows() -> None:
    rows = [("X", "S1", 2, 10, 1, 0), ("X", "S1", 1, 3, 0, 0), ("A", "S2", 1, 3, 0, 0)]
    one = fit_dropout(_inputs(*rows, studies=("X", "A")), seed=3)
    two = fit_dropout(_inputs(*rows[::-1], studies=("A", "X")), seed=3)
    assert one.hazard.tobytes() == two.hazard.tobytes()
