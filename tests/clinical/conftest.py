"""The demo's simulated trial as the inputs of a cycle, for every test of the clinic."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest

from sopforecast.clinical.inputs import ClinicalInputs, clinical_inputs
from sopforecast.demo.trial import simulated_trial

TRIAL_FIRST, TRIAL_LAST, TRIAL_CYCLE = date(2024, 12, 1), date(2026, 11, 1), date(2026, 12, 1)


@pytest.fixture(scope="session")
def trial_tables() -> dict[str, pl.DataFrame]:
    """The eight tables of the simulated trial NOVA-1, December 2024 to November 2026."""
    return simulated_trial(first_month=TRIAL_FIRST, last_month=TRIAL_LAST, seed=7)


@pytest.fixture(scope="session")
def trial_inputs(trial_tables: dict[str, pl.DataFrame]) -> ClinicalInputs:
    """What cycle 2026-12 reads of it."""
    return clinical_inputs(TRIAL_CYCLE, **trial_tables)
