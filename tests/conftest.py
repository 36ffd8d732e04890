"""What every test may lean on: the folder of real data, and a miniature company."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import dataframely as dy
import numpy as np
import polars as pl
import pytest
from hypothesis import settings as hypothesis_settings

from sopforecast.clinical.inputs import ClinicalInputs, clinical_inputs
from sopforecast.core.months import add_months, month_end, month_range
from sopforecast.core.score_tables import EnrolmentScores, Scores, SiteActivation
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


class ClosedMonths(NamedTuple):
    """What 14 closes stored: scores, and the cells they were summed from, for tests to add up."""

    closed: date
    cells: list[dict[str, Any]]
    scores: pl.DataFrame
    enrolment_scores: pl.DataFrame
    site_activation: pl.DataFrame


@pytest.fixture(scope="session")
def closed_months() -> ClosedMonths:
    """Three families of two items, leads 1 to 3, September 2025 to October 2026; one trial."""
    last, count = date(2026, 10, 1), 14
    rng = np.random.default_rng(3)
    cells: list[dict[str, Any]] = []
    for ds in month_range(add_months(last, 1 - count), count):
        for family, size in (("Oncology", 900.0), ("Cardio & renal", 400.0), ("Vaccines", 120.0)):
            for item in ("a", "b"):
                actual = float(np.rint(size * rng.lognormal(0.0, 0.12)))
                for lead in (1, 2, 3):
                    error = 0.16 * size * (1 + 0.2 * lead) * float(rng.normal(0.25, 1.0))
                    said = 0.7 if ds > date(2025, 10, 1) else 1.0
                    plans = {"naive": 1.4 * error, "statistical": error, "consensus": said * error}
                    cells += [
                        {
                            "ds": ds, "cycle": add_months(ds, 1 - lead), "lead": lead,
                            "stage": stage, "family": family, "item": f"{family} {item}",
                            "actual": actual, "forecast": float(np.rint(actual + off)),
                            "half": 0.25 * size,
                        }
                        for stage, off in plans.items()
                        if stage != "consensus" or said < 1.0
                    ]  # fmt: skip
    scores: dict[tuple[Any, ...], dict[str, Any]] = {}
    for cell in cells:
        for within in ("total", f"family={cell['family']}"):
            key = (cell["ds"], cell["lead"], cell["stage"], within)
            blank = {"cells": 0, "actual": 0.0, "forecast": 0.0, "demand": 0.0, "ranged": 0,
                     "absolute_error": 0.0, "squared_error": 0.0, "inside80": 0}  # fmt: skip
            row = scores.setdefault(key, {"cycle": cell["cycle"], **blank})
            off = cell["forecast"] - cell["actual"]
            ranged = cell["stage"] != "naive"
            row["cells"] += 1
            row["actual"] += cell["actual"]
            row["forecast"] += cell["forecast"]
            row["demand"] += abs(cell["actual"])
            row["absolute_error"] += abs(off)
            row["squared_error"] += off**2
            row["ranged"] += int(ranged)
            row["inside80"] += int(ranged and abs(off) <= cell["half"])
    zeros = dict.fromkeys(("scaled_cells", "drawn"), 0)
    zeros |= dict.fromkeys(("scaled_error", "scaled_squared", "wis", "crps"), 0.0)
    rows = [
        {
            "fit_id": f"c-{ds:%Y%m}", "version": "first", "ds": ds, "stage": stage, "lead": lead,
            "level": "item", "within": within, "measure": "quantity", "source": "*", "owner": "*",
            "run_id": f"r-{row['cycle']:%Y%m}", **row, **zeros,
        }
        for (ds, lead, stage, within), row in scores.items()
    ]  # fmt: skip
    enrolment = [
        {
            "fit_id": f"c-{ds:%Y%m}", "version": "first", "ds": ds,
            "cycle": add_months(ds, 1 - lead), "study": "NOVA-1", "level": level, "node": node,
            "lead": lead, "run_id": "r", "actual": float(actual + place), "mean": 10.0, "p10": 8.0,
            "p50": 10.0, "p90": 12.0, "wis": 1.0,
            "planned": None if node == "S3" else planned,
        }
        for place, ds in enumerate(month_range(date(2026, 5, 1), 6))
        for lead in (1, 2)
        for level, node, actual, planned in (
            ("study", "NOVA-1", 10, 14.0), ("cohort", "adult", 6, 7.0), ("cohort", "child", 4, 7.0),
            ("site", "S1", 6, 6.0), ("site", "S2", 4, 8.0), ("site", "S3", 0, None),
        )
    ]  # fmt: skip
    sites = [
        {
            "fit_id": f"c-{closed:%Y%m}", "study": "NOVA-1", "site": site, "country": country,
            "owner": None, "planned": planned, "activated": opened,
            "days_late": ((opened or month_end(closed)) - planned).days, "closed": closed,
        }
        for closed in (date(2026, 8, 1), date(2026, 9, 1), last)
        for site, country, planned, opened in (
            ("S1", "DE", date(2026, 5, 10), date(2026, 5, 20)),
            ("S2", "DE", date(2026, 6, 1), date(2026, 7, 1)),
            ("S3", "US", date(2026, 8, 1), None),
        )
    ]  # fmt: skip
    return ClosedMonths(
        closed=last,
        cells=cells,
        scores=_typed(Scores, rows),
        enrolment_scores=_typed(EnrolmentScores, enrolment),
        site_activation=_typed(SiteActivation, sites).with_columns(
            closed=pl.Series([row["closed"] for row in sites])
        ),
    )


def _typed(schema: type[dy.Schema], rows: list[dict[str, Any]]) -> pl.DataFrame:
    types = {name: column.dtype for name, column in schema.columns().items()}
    return schema.validate(pl.DataFrame(rows).select(*types), cast=True)
