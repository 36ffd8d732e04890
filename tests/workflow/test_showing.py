"""What of a run goes to MLflow: never a page that names patients listed in tiers."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

from sopforecast.workflow import showing
from sopforecast.workflow.account import Account


@pytest.mark.parametrize(("studies", "logged"), [((), True), (({"study": "A"},), False)])
def test_the_page_of_a_run_with_studies_is_not_logged(monkeypatch, tmp_path, studies, logged):
    seen = {}
    monkeypatch.setattr(showing, "log_cycle", lambda *_, **given: seen.update(given))
    run = SimpleNamespace(
        row={"cycle": date(2026, 11, 1), "settings": "{}", "items": 1},
        stage="statistical",
        forecasts=pl.DataFrame(),
        weights=pl.DataFrame(),
        statements=pl.DataFrame(),
        bridge=pl.DataFrame(),
    )
    settings = SimpleNamespace(name="x", advanced=SimpleNamespace(mlflow=True))
    history = pl.DataFrame(schema={"unique_id": pl.String, "ds": pl.Date, "y": pl.Float64})
    page = Path("review.html")
    showing.mirror(
        SimpleNamespace(path=tmp_path, settings=settings),
        run,
        Account(studies=studies),
        history=history,
        page=page,
    )
    assert (seen["page"] == page) is logged
