"""Draws of stored runs: the bytes of the run, made once, in bounded memory."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest

from sopforecast.baseline.components import rows_of_clinic
from sopforecast.baseline.views import Drawn, statistical_frame
from sopforecast.clinical.clinic import forecast_clinic
from sopforecast.core.draws import QUANTILES, mean_view, quantile_view
from sopforecast.core.hierarchy import build_hierarchy
from sopforecast.core.months import cutoff
from sopforecast.core.tables import ResidualPaths, Weights
from sopforecast.errors import RequestError
from sopforecast.judgement.rebuild import rebuild_stage
from sopforecast.planning_store.inputs import admitted_inputs
from sopforecast.planning_store.loading import append_load
from sopforecast.planning_store.run_outputs import read_forecasts_of_month, read_horizons
from sopforecast.planning_store.runs import read_forecasts, save_run
from sopforecast.settings import make_settings
from sopforecast.workflow import shelf as shelves
from sopforecast.workflow.admission import read_clinic
from sopforecast.workflow.shelf import Shelf

CYCLE = date(2026, 1, 1)
LABELS = [label for label, _ in QUANTILES]
SAID = (
    {"value": 40.0, "low": 10.0, "high": 60.0},
    {"node": "region=EU", "value": -15.0, "source": "finance", "owner": "fin", "ds_to": 2},
    {"node": "total", "kind": "percent", "value": 8.0, "source": "zeta", "ds_from": 1, "ds_to": 3},
    {"node": "i3", "value": 30.0, "probability": 0.4, "source": "marketing"},
    {"node": "i0", "value": 12.0, "reason": "level", "ds_to": 1},
    {"node": "family=B", "kind": "absolute", "value": 150.0, "mode": "fixed", "ds_from": 2,
     "ds_to": 2, "source": "executive"},
)  # fmt: skip


@pytest.fixture
def spoken(stored_company: Any) -> Any:
    return stored_company.run(CYCLE, stored_company.overrides(CYCLE, *SAID))


@pytest.fixture
def shelf(stored_company: Any) -> Shelf:
    return Shelf(stored_company.store, stored_company.settings)


def _views_match(company: Any, run_id: str, stage: str, draws: np.ndarray, hierarchy: Any) -> int:
    """Stored quantiles and means of a stage, from the draws, to the last bit; counts the rows."""
    both = np.concatenate([hierarchy.aggregate(draws), draws], axis=1)
    quantiles, mean = quantile_view(both), mean_view(both)
    rows = read_forecasts(company.store, run_id, stage)
    place = {node: k for k, node in enumerate(hierarchy.nodes)}
    at = [place[node] for node in rows["unique_id"]], (rows["lead"] - 1).to_numpy()
    for label in LABELS:
        if rows[label].null_count() == 0:
            assert np.array_equal(rows[label].to_numpy(), quantiles[label][at])
    assert np.array_equal(rows["mean"].to_numpy(), mean[at])
    return rows.height


def test_a_run_tells_what_it_was(spoken: Any, shelf: Shelf) -> None:
    run = shelf.run(spoken.run_id)
    assert (run.cycle, run.horizon, run.n_draws) == (CYCLE, 4, 60)
    assert run.hierarchy.nodes == spoken.hierarchy.nodes
    assert np.array_equal(run.hierarchy.codes, spoken.hierarchy.codes)
    assert np.array_equal(run.steps, spoken.steps)
    assert run.spoken == ("finance", "marketing", "sales", "zeta")
    assert run.holds
    assert run is shelf.run(spoken.run_id)
    with pytest.raises(RequestError, match="there is no run"):
        shelf.run("r-none")


def test_statistical_draws_are_those_of_the_run(spoken: Any, shelf: Shelf) -> None:
    draws = shelf.draws(spoken.run_id)
    assert draws.tobytes() == np.ascontiguousarray(spoken.draws).tobytes()
    draws[:] = -1.0  # the caller's own
    assert np.array_equal(shelf.draws(spoken.run_id), spoken.draws)


@pytest.mark.parametrize(
    "stage",
    ["source:sales", "source:finance", "source:zeta", "source:marketing", "consensus", "approved"],
)
def test_draws_of_a_stage_are_those_whose_views_were_stored(
    stored_company: Any, spoken: Any, shelf: Shelf, stage: str
) -> None:
    draws = shelf.stage_draws(spoken.run_id, stage)
    checked = _views_match(stored_company, spoken.run_id, stage, draws, spoken.hierarchy)
    assert checked == len(spoken.hierarchy.nodes) * 4
    for lead in (1, 3):
        month = shelf.month_draws(spoken.run_id, stage, lead)
        assert np.array_equal(month, draws[:, :, lead - 1])


def test_sources_in_sequence_follow_the_settings(
    stored_company: Any, spoken: Any, shelf: Shelf
) -> None:
    """sales, marketing, finance of the settings, then zeta."""
    ladder = ["sales", "marketing", "finance", "zeta"]
    for count, name in enumerate(ladder, start=1):
        want = rebuild_stage(
            spoken.draws, spoken.judged.statements, spoken.hierarchy, steps=spoken.steps,
            seed=stored_company.settings.seed, cycle=CYCLE, sources=ladder[:count],
        )  # fmt: skip
        assert np.array_equal(shelf.stage_draws(spoken.run_id, f"through:{name}"), want)
        rows = shelf.sequential_rows(spoken.run_id, name)
        both = np.concatenate([spoken.hierarchy.aggregate(want), want], axis=1)
        p90 = quantile_view(both)["p90"]
        for node, lead, value in rows.select("unique_id", "lead", "p90").iter_rows():
            assert value == p90[spoken.hierarchy.nodes.index(node), lead - 1]
    consensus = shelf.stage_draws(spoken.run_id, "consensus")
    assert np.array_equal(shelf.stage_draws(spoken.run_id, "through:zeta"), consensus)
    last = shelf.sequential_rows(spoken.run_id, "zeta").sort("unique_id", "ds")
    stored = read_forecasts(stored_company.store, spoken.run_id, "consensus")
    stored = stored.join(last.select("unique_id").unique(), on="unique_id", how="semi")
    columns = ["unique_id", "ds", "plan", "mean", *LABELS]
    assert last.select(columns).equals(stored.select(columns))


def test_who_did_not_speak_changes_nothing(spoken: Any, shelf: Shelf) -> None:
    asked = [shelf.stage_draws(spoken.run_id, stage) for stage in ("source:supply", "statistical")]
    assert np.array_equal(*asked)
    # supply would come after the sources of the settings and before zeta
    asked = [shelf.stage_draws(spoken.run_id, f"through:{name}") for name in ("supply", "finance")]
    assert np.array_equal(*asked)
    rows = [shelf.sequential_rows(spoken.run_id, name) for name in ("supply", "finance")]
    assert rows[0].equals(rows[1])
    assert shelf.equal_stage(spoken.run_id, "through:supply") == "through:finance"
    with pytest.raises(RequestError, match="stage 'naive' has no draws"):
        shelf.stage_draws(spoken.run_id, "naive")


def test_a_run_in_which_nobody_spoke_is_its_statistical_stage(
    stored_company: Any, shelf: Shelf
) -> None:
    made = stored_company.run(CYCLE)
    for stage in ("consensus", "approved", "through:sales", "source:sales"):
        assert np.array_equal(shelf.stage_draws(made.run_id, stage), made.draws)
        assert shelf.moved_items(made.run_id, stage).size == 0
    assert shelf.sequential_rows(made.run_id, "sales").is_empty()


def test_nothing_is_made_twice_while_there_is_room(
    stored_company: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [
        stored_company.run(cycle, stored_company.overrides(cycle, *SAID[:2]))
        for cycle in (date(2026, 1, 1), date(2026, 2, 1), date(2026, 3, 1))
    ]
    made: list[str] = []

    def counted(store: Any, run: Any) -> np.ndarray:
        made.append(run.run_id)
        return original(store, run)

    original = shelves.rebuilt_draws
    monkeypatch.setattr(shelves, "rebuilt_draws", counted)
    roomy = Shelf(stored_company.store, stored_company.settings)
    for _ in range(3):
        for run in runs:
            for stage in ("statistical", "source:sales", "consensus", "approved"):
                roomy.stage_draws(run.run_id, stage)
    assert sorted(made) == sorted(run.run_id for run in runs)
    made.clear()
    one = roomy.bytes_kept // 2
    tight = Shelf(stored_company.store, stored_company.settings, most_bytes=one)
    for _ in range(2):
        for run in runs:
            assert np.array_equal(tight.draws(run.run_id), run.draws)
            want = roomy.stage_draws(run.run_id, "consensus")
            assert np.array_equal(tight.stage_draws(run.run_id, "consensus"), want)
            assert tight.bytes_kept <= one
    assert len(made) > len(runs)


def test_forecasts_of_one_month_are_all_stages_of_all_runs(
    stored_company: Any, spoken: Any
) -> None:
    other = stored_company.run(date(2026, 2, 1))
    ids = [spoken.run_id, other.run_id]
    rows = read_forecasts_of_month(stored_company.store, ids, date(2026, 3, 1))
    want = pl.concat(
        [
            read_forecasts(stored_company.store, run_id, stage)
            for run_id, stages in (
                (spoken.run_id, ("naive", "statistical", "consensus", "approved")),
                (other.run_id, ("naive", "statistical")),
            )
            for stage in stages
        ]
    ).filter(pl.col("ds") == date(2026, 3, 1))
    stored = rows.filter(~pl.col("stage").str.starts_with("source:"))
    assert stored.equals(want.sort("run_id", "stage", "unique_id", "ds"))
    assert {"source:finance", "source:zeta"} <= set(rows["stage"])
    assert read_forecasts_of_month(stored_company.store, [], CYCLE).is_empty()
    assert read_horizons(stored_company.store, ids) == dict.fromkeys(ids, 4)


@pytest.mark.parametrize("conversion", ["learned", "elicited"])
def test_a_run_with_a_trial_is_rebuilt_from_what_was_known_then(
    stored_company: Any, trial_tables: dict[str, pl.DataFrame], conversion: Any
) -> None:
    """Draws of its items are those of the run, also when rows and sites changed afterwards."""
    cycle, store = date(2026, 12, 1), stored_company.store
    known_by = cutoff(cycle, cutoff_day=15)
    settings = make_settings({"horizon": 4, "advanced": {"draws": 50}, "clinical": {"paths": 200}})

    def put(table: str, frame: pl.DataFrame, at: datetime) -> None:
        append_load(
            store, table, frame, file=table, file_hash=f"{table}{at}", loaded_by="ann",
            loaded_at=at,
        )  # fmt: skip

    for name, frame in trial_tables.items():
        put(name, frame, datetime(2026, 12, 2))
    inputs, _ = read_clinic(
        store, admitted_inputs(store, known_by=known_by), cycle=cycle, known_by=known_by
    )
    clinic = forecast_clinic(
        inputs, horizon=4, paths=200, draws=50, seed=settings.seed, conversion=conversion
    )
    frame = pl.DataFrame({"unique_id": clinic.items})
    hierarchy = build_hierarchy(frame, levels=[])
    views = quantile_view(clinic.draws)
    drawn = Drawn(
        mean_view(clinic.draws), np.stack([views[label] for label in LABELS]),
        hierarchy.aggregate(clinic.draws),
    )  # fmt: skip
    save_run(
        store,
        run={
            "run_id": "r-trial", "cycle": cycle, "horizon": 4, "known_by": known_by,
            "seed": settings.seed, "draws": 50, "code_version": "c", "input_hash": "i",
            "settings_hash": "s", "settings": settings.numbers_text(), "levels": "[]",
            "items": len(clinic.items), "notes": "", "created_at": known_by,
        },
        forecasts=statistical_frame(drawn, clinic.steps, hierarchy, cycle=cycle),
        components=rows_of_clinic(clinic.items, drawn.mean, clinic.steps, hierarchy),
        residual_paths=pl.DataFrame(
            schema={n: c.dtype for n, c in ResidualPaths.columns().items()}
        ),
        weights=pl.DataFrame(schema={n: c.dtype for n, c in Weights.columns().items()}),
        loads_used=[],
        clinical_parameters=clinic.parameters,
    )  # fmt: skip
    changed = trial_tables["sites"].with_columns(planned_rate=pl.lit(9.0))
    put("sites", changed, datetime(2027, 1, 5))
    more = trial_tables["enrolment"].with_columns(pl.col("enrolled") + 5)
    put("enrolment", more, datetime(2027, 1, 5))
    shelf = Shelf(store, settings)
    assert shelf.run("r-trial").hierarchy.items == clinic.items
    assert shelf.draws("r-trial").tobytes() == np.ascontiguousarray(clinic.draws).tobytes()
