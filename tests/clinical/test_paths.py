"""Sums of the sampled future of a study against plain loops."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from sopforecast.clinical.paths import NEVER, TrialPaths


def _trial(enrolled: np.ndarray, before: np.ndarray) -> TrialPaths:
    sites = enrolled.shape[1]
    return TrialPaths(
        study="ALPHA",
        cycle=date(2026, 12, 1),
        sites=tuple(f"S{g}" for g in range(sites)),
        countries=("*",) * sites,
        cohorts=tuple(f"c{c}" for c in range(enrolled.shape[2])),
        screened=enrolled.sum(axis=2, dtype=np.int16),
        enrolled=enrolled,
        activated=np.full(enrolled.shape[:2], -1, dtype=np.int16),
        enrolled_before=before,
        events={},
    )


@pytest.mark.parametrize("shape", [(7, 3, 2, 5), (4, 1, 1, 1), (3, 0, 1, 4)])
def test_patients_of_a_study_are_those_of_its_sites_and_cohorts(shape):
    rng = np.random.default_rng(0)
    enrolled = rng.integers(0, 5, shape).astype(np.int16)
    before = rng.integers(0, 9, shape[1:3]).astype(float)
    trial = _trial(enrolled, before)
    monthly, cumulative = trial.monthly(), trial.cumulative()
    assert monthly.shape == cumulative.shape == (shape[0], shape[3])
    for path in range(shape[0]):
        total = sum(before.ravel().tolist())
        for month in range(shape[3]):
            new = sum(enrolled[path, :, :, month].ravel().tolist())
            total += new
            assert monthly[path, month] == new
            assert cumulative[path, month] == total


def test_many_patients_do_not_overflow():
    """Counts are kept in two bytes; sums are not."""
    enrolled = np.full((2, 5, 1, 12), 30_000, dtype=np.int16)
    trial = _trial(enrolled, np.zeros((5, 1)))
    assert trial.monthly()[0, 0] == 150_000
    assert trial.cumulative()[1, -1] == 1_800_000


def test_never_is_after_every_horizon():
    assert np.iinfo(np.int16).max > NEVER > 240
