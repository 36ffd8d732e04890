"""What every test may lean on: the folder of real data, and a miniature company."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from hypothesis import settings as hypothesis_settings

from sopforecast.clinical.inputs import ClinicalInputs, clinical_inputs
from sopforecast.demo.trial import simulated_trial

# Machines differ in speed and share their cores: a slow example is not a wrong one.
hypothesis_settings.register_profile("steady", deadline=None)
hypothesis_settings.load_profile("steady")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Real data: ``SOPFORECAST_DATA`` or ``../shared/data``; missing in CI is a failure."""
    folder = Path(os.environ.get("SOPFORECAST_DATA") or REPOSITORY.parent / "shared" / "data")
    if folder.is_dir():
        return folder
    reason = f"no real data in {folder}; set SOPFORECAST_DATA"
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own settings in the environment never reach a test."""
    for name in list(os.environ):
        if name.startswith("SOPFORECAST_") and name != "SOPFORECAST_DATA":
            monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")


TRIAL_FIRST, TRIAL_LAST, TRIAL_CYCLE = date(2024, 12, 1), date(2026, 11, 1), date(2026, 12, 1)


@pytest.fixture(scope="session")
def trial_tables() -> dict[str, pl.DataFrame]:
    """The eight tables of the demo's simulated trial NOVA-1, December 2024 to November 2026."""
    return simulated_trial(first_month=TRIAL_FIRST, last_month=TRIAL_LAST, seed=7)


@pytest.fixture(scope="session")
def trial_inputs(trial_tables: dict[str, pl.DataFrame]) -> ClinicalInputs:
    """What cycle 2026-12 reads of it."""
    return clinical_inputs(TRIAL_CYCLE, **trial_tables)


MINI_LAST_MONTH = date(2026, 9, 1)
MINI_MONTHS = 48


@pytest.fixture(scope="session")
def mini_items_csv() -> str:
    """Eight items, two families crossed with two regions, ids with leading zeros."""
    rows = ["unique_id,description,unit,status,family,region"]
    for number in range(8):
        family = "Oncology" if number < 4 else "Vaccines"
        region = "EU" if number % 2 == 0 else "US"
        rows.append(f"{number:04d},Product {number},packs,active,{family},{region}")
    return "\n".join(rows) + "\n"


@pytest.fixture(scope="session")
def mini_history_csv() -> str:
    """48 months ending 2026-09: level, trend, a yearly wave and a fixed wobble; one sparse item."""
    rows = ["unique_id,ds,y"]
    for number in range(8):
        for back in range(MINI_MONTHS):
            index = MINI_MONTHS - 1 - back
            year, month = divmod(MINI_LAST_MONTH.year * 12 + MINI_LAST_MONTH.month - 1 - back, 12)
            rows.append(f"{number:04d},{year}-{month + 1:02d},{_mini_demand(number, index)}")
    return "\n".join(rows) + "\n"


def _mini_demand(number: int, index: int) -> int:
    if number == 7:
        return 3 if index % 5 == 0 else 0
    wave = (0, 1, 3, 4, 6, 7, 8, 6, 4, 2, 1, 0)[(index + number) % 12]
    wobble = (index * 37 + number * 11) % 13
    return 200 * (number + 1) + 2 * index + 6 * wave + wobble
