"""What identifies a run, and how it gets into the store.

The run id hashes everything that can change a number: the rows admitted, the settings, the code,
what closed months taught, and, where somebody spoke, what they had stated before.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from functools import cache
from pathlib import Path

import polars as pl

import sopforecast
from sopforecast.core.months import month_name
from sopforecast.cycle import CycleResult
from sopforecast.planning_store.runs import save_run
from sopforecast.planning_store.store import Store
from sopforecast.settings import Settings
from sopforecast.workflow.admission import Admitted
from sopforecast.workflow.champions import Champions
from sopforecast.workflow.evidence import NO_EVIDENCE, Evidence

CODE_OF_NUMBERS = (
    *("core", "baseline", "clinical", "judgement", "learning"), "portfolio.py", "cycle.py",
)  # fmt: skip
ID_DIGITS = 12


def run_id_of(
    inputs: Admitted,
    settings: Settings,
    evidence: Evidence = NO_EVIDENCE,
    champions: Champions | None = None,
) -> str:
    """``r-`` and 12 hex digits of everything that can change a number of the run."""
    parts = (
        month_name(inputs.cycle),
        str(settings.horizon),
        inputs.input_hash,
        settings.numbers_hash(),
        code_version(),
        *evidence.hashed,
        *(() if champions is None else champions.hashed),
    )
    return f"r-{digest(*parts)[:ID_DIGITS]}"


def digest(*parts: str) -> str:
    """SHA-256 of texts, as hex digits."""
    return hashlib.sha256("|".join(parts).encode()).hexdigest()


@cache
def code_version() -> str:
    """The release, and a digest of the source that makes the numbers."""
    root = Path(sopforecast.__file__).parent
    code = hashlib.sha256()
    for part in CODE_OF_NUMBERS:
        files = [root / part] if part.endswith(".py") else sorted((root / part).rglob("*.py"))
        for file in files:
            code.update(file.relative_to(root).as_posix().encode())
            code.update(file.read_bytes())
    return f"{sopforecast.__version__}+{code.hexdigest()[:8]}"


def record_run(
    store: Store,
    run_id: str,
    inputs: Admitted,
    settings: Settings,
    result: CycleResult,
    champions: Champions,
    *,
    at: datetime,
) -> None:
    """Write a run whole, in one transaction."""
    row = {
        "run_id": run_id,
        "cycle": inputs.cycle,
        "horizon": settings.horizon,
        "known_by": inputs.known_by,
        "seed": settings.seed,
        "draws": settings.advanced.draws,
        "code_version": code_version(),
        "input_hash": inputs.input_hash,
        "settings_hash": settings.numbers_hash(),
        "settings": settings.numbers_text(),
        "levels": json.dumps(list(settings.levels), ensure_ascii=False),
        "items": len(result.hierarchy.items),
        "notes": "\n".join(result.notes),
        "created_at": at,
    }
    clinic = result.clinic
    save_run(
        store,
        run=row,
        forecasts=_of_run(result.forecasts, run_id),
        components=_of_run(result.components, run_id),
        residual_paths=_of_run(result.residual_paths, run_id),
        weights=_of_run(result.weights, run_id),
        statements=_of_run(result.statements, run_id) if result.statements.height else None,
        bridge=_of_run(result.bridge, run_id) if result.bridge.height else None,
        loads_used=inputs.loads_used,
        enrolment_forecasts=None if clinic is None else _of_run(clinic.enrolment_forecasts, run_id),
        tier_conversion=None if clinic is None else _of_run(clinic.tier_conversion, run_id),
        clinical_parameters=None if clinic is None else _of_run(clinic.parameters, run_id),
        run_tables=_of_run(champions.run_tables(spoken=result.statements.height > 0), run_id),
        model_errors=_of_run(result.model_errors, run_id) if result.model_errors.height else None,
    )


def _of_run(frame: pl.DataFrame, run_id: str) -> pl.DataFrame:
    return frame.with_columns(run_id=pl.lit(run_id))
