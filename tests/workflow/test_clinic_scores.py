"""The clinic of a closed month scored from the store: by plain loops, and never looking ahead."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path

import dataframely as dy
import numpy as np
import polars as pl
import pytest

from sopforecast.clinical.clinic import forecast_clinic
from sopforecast.clinical.inputs import ClinicalInputs, clinical_inputs
from sopforecast.core.clinical_tables import EnrolmentForecasts
from sopforecast.core.draws import QUANTILES
from sopforecast.core.learning_tables import empty
from sopforecast.core.months import add_months
from sopforecast.core.score_tables import EnrolmentScores, SiteActivation
from sopforecast.core.tables import Components, Forecasts, ResidualPaths, Weights
from sopforecast.planning_store.clinic_outputs import read_enrolment_of
from sopforecast.planning_store.runs import save_run
from sopforecast.planning_store.store import Store, open_store
from sopforecast.workflow.clinic_scores import ClinicScored, score_clinic

MONTH, NEXT = date(2026, 10, 1), date(2026, 11, 1)
KNOWN_BY = datetime(2026, 11, 15, 23, 59)
CYCLES = (date(2026, 8, 1), date(2026, 9, 1), date(2026, 10, 1))
NONE = empty(EnrolmentScores)


def _known(tables: dict[str, pl.DataFrame], cycle: date) -> ClinicalInputs:
    """What was known at a cycle's cut-off."""
    moment = datetime(cycle.year, cycle.month, 15, 23, 59)
    lines = tables["tier_lines"].filter(pl.col("known_at") <= moment)
    return clinical_inputs(cycle, cut_off=moment.date(), **(tables | {"tier_lines": lines}))


def _save(store: Store, run_id: str, cycle: date, patients: pl.DataFrame) -> None:
    def none(schema: type[dy.Schema]) -> pl.DataFrame:
        return schema.create_empty().drop("run_id")

    moment = datetime(2026, 10, 15)
    run = {
        "run_id": run_id, "cycle": cycle, "horizon": 4, "known_by": moment,
        "seed": 1, "draws": 10, "code_version": "0", "input_hash": "i", "settings_hash": "s",
        "settings": "", "levels": "[]", "items": 1, "notes": "", "created_at": moment,
    }  # fmt: skip
    save_run(
        store, run=run, forecasts=none(Forecasts), components=none(Components),
        residual_paths=none(ResidualPaths), weights=none(Weights), loads_used=[],
        enrolment_forecasts=patients,
    )  # fmt: skip


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory, trial_tables) -> Iterator[Store]:
    """Three cycles' runs of the trial, and one more that does not count."""
    folder: Path = tmp_path_factory.mktemp("clinic")
    store = open_store(folder / "planning.db")
    for cycle in CYCLES:
        said = forecast_clinic(_known(trial_tables, cycle), horizon=4, paths=60, draws=10, seed=1)
        _save(store, f"run-{cycle:%m}", cycle, said.enrolment_forecasts)
    _save(store, "does-not-count", CYCLES[2], said.enrolment_forecasts)
    yield store
    store.close()


RUNS = {cycle: f"run-{cycle:%m}" for cycle in CYCLES}


def _score(store, tables, *, month=MONTH, known_by=KNOWN_BY, earlier=NONE, runs=None):
    clinical = _known(tables, add_months(month, 1))
    return score_clinic(
        store, month, known_by=known_by, clinical=clinical, run_ids=runs or RUNS, earlier=earlier
    )


def _same(one: ClinicScored, other: ClinicScored) -> bool:
    return (
        one.scores.equals(other.scores)
        and one.activation.equals(other.activation)
        and (one.waiting, one.notes) == (other.waiting, other.notes)
    )


def test_one_query_reads_one_month_of_several_runs(stored):
    found = read_enrolment_of(stored, list(RUNS.values()), MONTH)
    assert set(found["run_id"]) == set(RUNS.values())
    assert set(found["ds"]) == {MONTH}
    assert set(found["measure"]) == {"monthly"}
    EnrolmentForecasts.validate(found)
    assert read_enrolment_of(stored, [], MONTH).is_empty()
    assert read_enrolment_of(stored, ["nobody"], MONTH).is_empty()


def test_every_stored_forecast_of_the_month_is_scored_by_plain_loops(stored, trial_tables):
    found = _score(stored, trial_tables)
    EnrolmentScores.validate(found.scores.with_columns(fit_id=pl.lit("c")))
    SiteActivation.validate(found.activation.with_columns(fit_id=pl.lit("c")))
    rows = trial_tables["enrolment"].filter(pl.col("ds") == MONTH).to_dicts()
    country = dict(trial_tables["sites"].select("site", "country").iter_rows())
    said = read_enrolment_of(stored, list(RUNS.values()), MONTH)
    assert found.scores.height == said.height == 3 * said["node"].n_unique()
    plan = trial_tables["enrolment_plan"]
    version = plan["version"].max()
    of_study = plan.filter(pl.col("ds") == MONTH, pl.col("version") == version)["enrolled"].sum()
    for row in found.scores.iter_rows(named=True):
        name = row["node"]
        in_node = {
            "study": lambda _: True,
            "country": lambda one, name=name: country[one["site"]] == name,
            "site": lambda one, name=name: one["site"] == name,
            "cohort": lambda one, name=name: one["cohort"] == name,
        }[row["level"]]
        came = sum(one["enrolled"] for one in rows if in_node(one))
        assert row["actual"] == came
        assert row["run_id"] == RUNS[row["cycle"]]
        assert row["lead"] == 1 + MONTH.month - row["cycle"].month
        assert row["planned"] == (of_study if row["level"] == "study" else None)
        of = said.filter(
            pl.col("run_id") == row["run_id"], pl.col("node") == name,
            pl.col("level").cast(pl.String) == row["level"],
        ).row(0, named=True)  # fmt: skip
        loss = [max(tau * (came - of[q]), (tau - 1) * (came - of[q])) for q, tau in QUANTILES]
        assert row["wis"] == pytest.approx(2 * np.mean(loss), abs=1e-12)
        assert (row["mean"], row["p10"], row["p90"]) == (of["mean"], of["p10"], of["p90"])
    assert found.waiting == ()
    assert found.notes == ()


def test_later_cycles_and_runs_that_do_not_count_are_left_aside(stored, trial_tables):
    usual = _score(stored, trial_tables)
    more = _score(stored, trial_tables, runs={**RUNS, NEXT: "does-not-count"})
    assert _same(usual, more)
    assert "does-not-count" not in usual.scores["run_id"].to_list()
    nobody = _score(stored, trial_tables, runs={NEXT: "does-not-count"})
    assert nobody.scores.is_empty()
    assert nobody.waiting == ()
    assert nobody.activation.equals(usual.activation)


def test_what_happened_after_the_month_changes_nothing(stored, trial_tables):
    """Counts, openings and closings after October are spoiled before the close reads them."""
    day = pl.lit(date(2026, 10, 31))
    spoiled = trial_tables | {
        "enrolment": trial_tables["enrolment"].with_columns(
            enrolled=pl.when(pl.col("ds") > MONTH).then(99.0).otherwise(pl.col("enrolled"))
        ),
        "sites": trial_tables["sites"].with_columns(
            pl.when(pl.col(name) > day).then(None).otherwise(pl.col(name)).alias(name)
            for name in ("activated_date", "closed_date")
        ),
        "tier_lines": trial_tables["tier_lines"].clear(),
    }
    assert _same(_score(stored, trial_tables), _score(stored, spoiled))
    opened = trial_tables["sites"].with_columns(
        activated_date=pl.col("activated_date").fill_null(date(2026, 11, 3))
    )
    later = trial_tables | {"sites": opened}
    assert _same(_score(stored, trial_tables), _score(stored, later))


def test_a_silent_site_is_named_and_what_it_holds_up_comes_later(stored, trial_tables):
    enrolment = trial_tables["enrolment"]
    is_it = (pl.col("site") == "S5") & (pl.col("ds") == MONTH)
    silent = trial_tables | {
        "enrolment": enrolment.with_columns(
            enrolled=pl.when(is_it).then(None).otherwise(pl.col("enrolled"))
        )
    }
    first = _score(stored, silent)
    assert first.waiting == ("NOVA-1 / S5",)
    assert _score(stored, silent, runs={NEXT: "does-not-count"}).waiting == ()
    assert set(first.scores["level"]) == {"site", "country"}
    earlier = first.scores.with_columns(fit_id=pl.lit("c-1"))
    then = _score(stored, trial_tables, earlier=earlier)
    whole = _score(stored, trial_tables)
    assert set(then.scores["version"]) == {"first"}
    assert then.scores.height + first.scores.height == whole.scores.height
    assert then.waiting == ()
    both = pl.concat([first.scores, then.scores]).sort("ds", "cycle", "study", "level", "node")
    assert both.equals(whole.scores.sort("ds", "cycle", "study", "level", "node"))


def test_a_corrected_count_restates_the_month(stored, trial_tables):
    first = _score(stored, trial_tables).scores.with_columns(fit_id=pl.lit("c-1"))
    assert _score(stored, trial_tables, earlier=first).scores.is_empty()
    is_it = (pl.col("site") == "S1") & (pl.col("cohort") == "A") & (pl.col("ds") == MONTH)
    more = trial_tables["enrolment"].with_columns(enrolled=pl.col("enrolled") + is_it.cast(float))
    again = _score(stored, trial_tables | {"enrolment": more}, earlier=first).scores
    assert set(again["version"]) == {"restated"}
    assert again.height == first.height
    on = ["cycle", "level", "node"]
    both = again.join(first.select(*on, then="actual"), on=on)
    moved = set(both.filter(pl.col("actual") == pl.col("then") + 1)["node"])
    site = trial_tables["sites"].filter(pl.col("site") == "S1")
    assert moved == {"S1", "A", "NOVA-1", site["country"][0]}


def test_a_month_that_is_not_over_or_no_clinic_scores_nothing(stored, trial_tables):
    early = _score(stored, trial_tables, known_by=datetime(2026, 10, 31, 23))
    assert early.scores.is_empty()
    assert early.activation.is_empty()
    nothing = score_clinic(
        stored, MONTH, known_by=KNOWN_BY, clinical=clinical_inputs(NEXT), run_ids=RUNS, earlier=NONE
    )
    assert nothing.scores.is_empty()
    assert nothing.activation.is_empty()


def test_a_site_that_counts_patients_without_a_day_of_opening_is_told(stored, trial_tables):
    sites = trial_tables["sites"].with_columns(
        activated_date=pl.when(pl.col("site") == "S1").then(None).otherwise("activated_date")
    )
    found = _score(stored, trial_tables | {"sites": sites})
    assert "S1" not in found.activation["site"].to_list()
    assert len(found.notes) == 1
    assert "Site S1 of NOVA-1 counted patients but has no activated_date" in found.notes[0]
