"""A month of a portfolio with a trial in it, end to end: one hierarchy, one judgement."""

from __future__ import annotations

from datetime import date, datetime

import numpy as np
import polars as pl
import pytest

from sopforecast.baseline.components import CLINIC, rebuild_draws
from sopforecast.clinical.clinic import forecast_clinic
from sopforecast.clinical.inputs import clinical_inputs
from sopforecast.clinical.learned import relearn
from sopforecast.core.clinical_tables import (
    CLINICAL_TABLES,
    ClinicalParameters,
    EnrolmentForecasts,
    TierConversion,
)
from sopforecast.core.draws import QUANTILES, mean_view, quantile_view
from sopforecast.core.evidence_tables import Overrides
from sopforecast.core.months import add_months, month_range
from sopforecast.core.tables import Components, Forecasts
from sopforecast.cycle import close_cycle, run_cycle
from sopforecast.demo.trial import KIT, SCREENING, SEEDING, trial_items
from sopforecast.errors import DataError, RequestError
from sopforecast.settings import make_settings

CYCLE, HORIZON, DRAWS, PATHS = date(2026, 12, 1), 6, 60, 300
OPTIONS = {
    "levels": ["family", "region"], "horizon": HORIZON,
    "advanced": {"draws": DRAWS, "workers": 1}, "clinical": {"paths": PATHS},
}  # fmt: skip
SETTINGS = make_settings(OPTIONS)
OF_CLINIC = (KIT, SCREENING, SEEDING)
MONTHS = month_range(CYCLE, HORIZON)
FRAMES = ("forecasts", "components", "residual_paths", "weights", "history_nodes", "backtest",
          "statements", "bridge")  # fmt: skip
OF_THE_CLINIC = ("enrolment_forecasts", "tier_conversion", "parameters")
ROW = {
    "override_id": "o", "entered_cycle": CYCLE, "node": KIT, "ds_from": CYCLE, "ds_to": CYCLE,
    "per": "month", "kind": "delta", "measure": "quantity", "value": 12.0, "low": None,
    "high": None, "confidence": None, "probability": 1.0, "source": "clinical", "owner": "ann",
    "reason": "protocol", "event_id": None, "assumption": None, "mode": "evidence",
    "expires_cycle": None, "status": "active", "scenario": None, "known_at": datetime(2026, 12, 1),
}  # fmt: skip
SAID = (
    {"override_id": "o1", "ds_to": MONTHS[1]},
    {"override_id": "o2", "node": "family=Clinical supply", "kind": "percent", "value": 20.0,
     "ds_from": MONTHS[2], "ds_to": MONTHS[2], "source": "supply"},
    {"override_id": "o3", "node": "total", "kind": "absolute", "value": 400.0, "mode": "fixed",
     "ds_from": MONTHS[4], "ds_to": MONTHS[4], "source": "finance"},
)  # fmt: skip


def _items():
    """Two items beside the trial's in its family, two in another."""
    own = pl.DataFrame(
        {"unique_id": ["comfort", "OLD", "zeta", "x1"],
         "family": ["Clinical supply", "Clinical supply", "Vaccines", "Vaccines"],
         "region": ["Europe", "US", "US", "Europe"]}
    )  # fmt: skip
    return pl.concat([trial_items(), own], how="diagonal")


def _history(*names):
    rows = []
    for name in names:
        rng = np.random.default_rng(len(name) + ord(name[0]))
        for m in range(36):
            y = float(rng.poisson(40 + 12 * np.sin(m / 2)))
            rows.append((name, add_months(CYCLE, m - 36), y, False))
    columns = {"unique_id": pl.String, "ds": pl.Date, "y": pl.Float64, "partial": pl.Boolean}
    return pl.DataFrame(rows, schema=columns, orient="row")


OWN = ("comfort", "OLD", "zeta", "x1")


def _overrides(*rows):
    types = {name: column.dtype for name, column in Overrides.columns().items()}
    return pl.DataFrame([ROW | row for row in rows], schema_overrides=types)


def _lines(*rows):
    """Account lines: three versions a line, some converted."""
    base = {"account": "ACME", "tier": "highly_probable", "quantity": 30.0, "outcome": "open",
            "expected_ds": date(2027, 2, 1), "unique_id": "PUMP",
            "known_at": datetime(2026, 9, 5)}  # fmt: skip
    return pl.DataFrame([base | {"line_id": f"A-{k}"} | row for k, row in enumerate(rows)])


def _run(history=None, *, said=None, clinical=None, items=None, settings=SETTINGS):
    return run_cycle(
        _history(*OWN) if history is None else history,
        _items() if items is None else items,
        cycle=CYCLE,
        settings=settings,
        overrides=None if said is None else _overrides(*said),
        clinical=clinical,
    )


@pytest.fixture(scope="module")
def silent():
    """The portfolio without the trial."""
    return _run()


@pytest.fixture(scope="module")
def both(trial_inputs):
    return _run(clinical=trial_inputs)


@pytest.fixture(scope="module")
def spoken(trial_inputs):
    return _run(clinical=trial_inputs, said=SAID)


@pytest.fixture(scope="module")
def alone(trial_inputs):
    """The trial, and no history of anything."""
    return _run(_history(), clinical=trial_inputs)


def _wide(result, stage, column, nodes):
    rows = result.forecasts.filter(pl.col("stage") == stage)
    found = {
        key: frame.sort("ds")[column].to_numpy() for (key,), frame in rows.group_by("unique_id")
    }
    return np.stack([found[node] for node in nodes])


def _adds_up(result, stage):
    hierarchy = result.hierarchy
    plan = _wide(result, stage, "plan", hierarchy.nodes)
    own = plan[len(hierarchy.aggregates) :]
    for k, node in enumerate(hierarchy.aggregates):
        np.testing.assert_array_equal(plan[k], own[hierarchy.descendants(node)].sum(axis=0))
    assert (plan >= 0).all()


def _same(one, other, frames=FRAMES):
    for name in frames:
        assert getattr(one, name).equals(getattr(other, name)), name
    assert (one.clinic is None) == (other.clinic is None)
    if one.clinic is not None:
        assert one.clinic.draws.tobytes() == other.clinic.draws.tobytes()
        for name in OF_THE_CLINIC:
            assert getattr(one.clinic, name).equals(getattr(other.clinic, name)), name
        assert one.clinic.notes == other.clinic.notes
    assert one.notes == other.notes


def test_items_of_both_kinds_stand_under_one_hierarchy(both):
    assert both.hierarchy.items == tuple(sorted((*OWN, *OF_CLINIC)))
    assert both.clinic.items == OF_CLINIC
    assert both.hierarchy.descendants("family=Clinical supply").tolist() == [
        both.hierarchy.items.index(name) for name in sorted((*OF_CLINIC, "comfort", "OLD"))
    ]
    run = pl.lit("r").alias("run_id")
    Forecasts.validate(both.forecasts.with_columns(run), cast=True)
    Components.validate(both.components.with_columns(run), cast=True)
    for name, declared in zip(
        OF_THE_CLINIC, (EnrolmentForecasts, TierConversion, ClinicalParameters), strict=True
    ):
        declared.validate(getattr(both.clinic, name).with_columns(run), cast=True)
    assert both.seconds.keys() >= {"clinic", "forecast", "draw", "view"}


@pytest.mark.parametrize("stage", ["naive", "statistical"])
def test_plans_add_up_over_both_kinds(both, alone, stage):
    _adds_up(both, stage)
    _adds_up(alone, stage)


def test_an_item_of_the_clinic_is_what_its_paths_are(both):
    clinic = both.clinic
    assert _wide(both, "statistical", "mean", OF_CLINIC).tobytes() == (
        mean_view(clinic.draws).tobytes()
    )
    for label, values in quantile_view(clinic.draws).items():
        assert _wide(both, "statistical", label, OF_CLINIC).tobytes() == values.tobytes()
    for k, (label, level) in enumerate(QUANTILES):
        again = np.quantile(clinic.draws, level, axis=0)
        np.testing.assert_allclose(_wide(both, "statistical", label, OF_CLINIC), again, err_msg=k)
    np.testing.assert_allclose(_wide(both, "naive", "mean", OF_CLINIC), clinic.naive)
    plan = _wide(both, "statistical", "plan", OF_CLINIC)
    assert (abs(plan - clinic.draws.mean(axis=0)) < 2 * clinic.steps[:, None]).all()
    assert clinic.draws.shape == (DRAWS, 3, HORIZON)


def test_the_clinic_changes_no_byte_of_the_items_with_a_history(silent, both):
    for stage in ("naive", "statistical"):
        for column in ("mean", *(label for label, _ in QUANTILES)):
            if stage == "naive" and column != "mean":
                continue
            one, other = (_wide(r, stage, column, OWN) for r in (silent, both))
            assert one.tobytes() == other.tobytes(), (stage, column)
    mine = both.components.filter(pl.col("kind") != CLINIC)
    assert mine.equals(silent.components)
    for name in ("residual_paths", "weights", "backtest", "history_nodes"):
        assert getattr(both, name).equals(getattr(silent, name)), name


def test_the_clinic_moves_a_plan_of_others_by_less_than_two_steps(silent, both):
    """Items of one step share their rounding, so a plan may move by it and by no more."""
    for stage in ("naive", "statistical"):
        moved = _wide(both, stage, "plan", OWN) - _wide(silent, stage, "plan", OWN)
        assert (abs(moved) < 2).all()
        assert (abs(moved.cumsum(axis=1)) < 2).all()


def _clinic_again(result, inputs, parameters=None):
    learned = None if parameters is None else relearn(parameters, inputs)
    return forecast_clinic(
        inputs, horizon=HORIZON, paths=PATHS, draws=DRAWS, seed=SETTINGS.seed, learned=learned
    )


@pytest.mark.parametrize("run", ["both", "alone"])
def test_draws_are_rebuilt_from_what_is_stored(run, request, trial_inputs):
    result = request.getfixturevalue(run)
    stored = result.clinic.parameters.sample(fraction=1.0, shuffle=True, seed=3)
    clinic = _clinic_again(result, trial_inputs, stored)
    assert clinic.draws.tobytes() == result.clinic.draws.tobytes()
    for name in OF_THE_CLINIC:
        assert getattr(clinic, name).equals(getattr(result.clinic, name)), name
    hierarchy, draws = rebuild_draws(
        result.components.sample(fraction=1.0, shuffle=True, seed=1), result.residual_paths,
        seed=SETTINGS.seed, draws=DRAWS, clinic=(clinic.items, clinic.draws),
    )  # fmt: skip
    assert hierarchy.nodes == result.hierarchy.nodes
    np.testing.assert_array_equal(hierarchy.codes, result.hierarchy.codes)
    assert mean_view(draws).tobytes() == (
        _wide(result, "statistical", "mean", hierarchy.nodes).tobytes()
    )
    for label, values in quantile_view(draws).items():
        whole = _wide(result, "statistical", label, hierarchy.nodes)
        assert values.tobytes() == whole.tobytes(), label


def test_draws_of_the_clinic_are_not_made_up(both, alone):
    clinic = both.clinic
    for result, given in (
        (both, None), (alone, None), (both, (clinic.items[:2], clinic.draws[:, :2])),
        (both, (("a", "b", "c"), clinic.draws)),
    ):  # fmt: skip
        with pytest.raises(RequestError, match=r"draws of 3 items come from the clinic: give them"):
            rebuild_draws(result.components, result.residual_paths, seed=SETTINGS.seed,
                          draws=DRAWS, clinic=given)  # fmt: skip


def test_the_same_bytes_twice_in_any_order_of_rows(both, trial_tables):
    turned = {name: frame.reverse() for name, frame in trial_tables.items()}
    again = _run(
        _history(*OWN).reverse(), items=_items().reverse(),
        clinical=clinical_inputs(CYCLE, **turned),
    )  # fmt: skip
    _same(both, again)


def test_people_change_no_byte_of_what_the_clinic_says(both, spoken):
    own = spoken.forecasts.filter(pl.col("stage").is_in(["naive", "statistical"]))
    assert own.equals(both.forecasts)
    assert spoken.clinic.draws.tobytes() == both.clinic.draws.tobytes()


def test_what_people_say_of_clinic_and_family_moves_both_coherently(spoken):
    for stage in ("consensus", "approved"):
        _adds_up(spoken, stage)
    stages = {stage: {(node, ds): plan for node, ds, plan in spoken.forecasts.filter(
        pl.col("stage") == stage).select("unique_id", "ds", "plan").iter_rows()}
        for stage in ("statistical", "consensus", "approved")}  # fmt: skip
    assert stages["consensus"][KIT, MONTHS[0]] > stages["statistical"][KIT, MONTHS[0]]
    family = "family=Clinical supply"
    before, after = (stages[s][family, MONTHS[2]] for s in ("statistical", "consensus"))
    assert before < after <= 1.2 * before + 1
    moved = {
        item
        for item in (*OF_CLINIC, "comfort", "OLD")
        if stages["consensus"][item, MONTHS[2]] != stages["statistical"][item, MONTHS[2]]
    }
    assert moved & set(OF_CLINIC)
    assert moved & {"comfort", "OLD"}
    assert stages["approved"]["total", MONTHS[4]] == 400.0
    until = {"statistical": "statistical", "consensus": "whole_numbers", "approved": "fixed"}
    cells = set()
    for cell, rows in spoken.bridge.sort("position").group_by("unique_id", "ds"):
        cells.add(cell)
        steps, changes = rows["step"].to_list(), rows["change"].to_list()
        for stage, last in until.items():
            assert sum(changes[: steps.index(last) + 1]) == stages[stage][cell]
    assert {(KIT, MONTHS[0]), (family, MONTHS[2]), ("total", MONTHS[4])} <= cells
    for cell, plan in stages["approved"].items():
        assert cell in cells or plan == stages["statistical"][cell]


def test_a_statement_on_the_clinic_speaks_of_its_paths(spoken):
    rows = {(r["override_id"], r["ds_from"]): r for r in spoken.statements.iter_rows(named=True)}
    at = spoken.clinic.items.index(KIT)
    for month in (0, 1):
        row, z = rows["o1", MONTHS[month]], spoken.clinic.draws[:, at, month]
        assert row["baseline"] == pytest.approx(z.mean())
        assert row["sd"] == pytest.approx(z.std(ddof=1))


@pytest.fixture(scope="module")
def scored(trial_inputs):
    """The seeding kit has a history of its own too."""
    return _run(_history(*OWN, SEEDING), clinical=trial_inputs)


def test_history_of_an_item_in_the_schedule_is_only_scored(both, scored):
    assert scored.forecasts.equals(both.forecasts)
    for name in ("components", "residual_paths", "weights", "backtest"):
        assert getattr(scored, name).equals(getattr(both, name)), name
    assert scored.clinic.draws.tobytes() == both.clinic.draws.tobytes()
    given = _history(SEEDING)
    seen = scored.history_nodes.filter(pl.col("unique_id") == SEEDING)
    assert seen.select("ds", "y").rows() == given.select("ds", "y").rows()
    hierarchy = scored.hierarchy
    rows = _history(*OWN, SEEDING)
    for node in hierarchy.aggregates:
        under = [hierarchy.items[k] for k in hierarchy.descendants(node)]
        sums = rows.filter(pl.col("unique_id").is_in(under)).group_by("ds").agg(pl.sum("y"))
        told = scored.history_nodes.filter(pl.col("unique_id") == node).select("ds", "y")
        assert told.rows() == sums.sort("ds").rows(), node
    ids = scored.history_nodes["unique_id"].unique(maintain_order=True).to_list()
    assert ids == [node for node in hierarchy.nodes if node not in (KIT, SCREENING)]


def test_a_trial_runs_without_any_history(alone, both):
    assert alone.hierarchy.items == OF_CLINIC
    assert alone.clinic.draws.tobytes() == both.clinic.draws.tobytes()
    for name in ("residual_paths", "weights", "backtest", "history_nodes"):
        frame = getattr(alone, name)
        assert frame.is_empty()
        assert frame.schema == getattr(both, name).schema, name
    assert set(alone.components["kind"]) == {CLINIC}
    assert alone.forecasts.height == 2 * len(alone.hierarchy.nodes) * HORIZON
    for column in ("mean", *(label for label, _ in QUANTILES)):
        one, other = (_wide(r, "statistical", column, OF_CLINIC) for r in (alone, both))
        assert one.tobytes() == other.tobytes()


def test_people_may_speak_of_a_trial_without_any_history(trial_inputs):
    result = _run(_history(), clinical=trial_inputs, said=SAID)
    for stage in ("statistical", "consensus", "approved"):
        _adds_up(result, stage)
    assert set(result.statements["override_id"]) == {"o1", "o2", "o3"}


def test_nothing_to_forecast_is_refused(trial_tables):
    with pytest.raises(
        RequestError, match="no item has a known month of demand up to 2026-11; load history"
    ):
        _run(_history())
    bare = clinical_inputs(CYCLE)
    with pytest.raises(
        RequestError, match="no item has a known month of demand up to 2026-11; load history"
    ):
        _run(_history(), clinical=bare)


def test_an_empty_clinic_is_no_clinic(silent):
    _same(silent, _run(clinical=clinical_inputs(CYCLE)))


def test_an_item_of_the_clinic_without_a_place_in_a_level_is_named(trial_inputs):
    lacking = _items().filter(pl.col("unique_id") != KIT)
    with pytest.raises(DataError, match=f"empty cell for item '{KIT}'"):
        _run(clinical=trial_inputs, items=lacking)


PUMP = pl.DataFrame({"unique_id": ["PUMP"], "family": ["Devices"], "region": ["US"]})
BOOK = (
    {}, {"tier": "committed", "quantity": 12.0, "expected_ds": MONTHS[0]}, {"tier": "pipeline"},
    {"outcome": "converted", "converted_ds": date(2026, 10, 1), "converted_quantity": 30.0},
)  # fmt: skip


@pytest.fixture(scope="module")
def lines():
    """Nothing but four account lines."""
    return _run(_history(), items=PUMP, clinical=clinical_inputs(CYCLE, tier_lines=_lines(*BOOK)))


def test_account_lines_alone_are_demand(lines):
    assert lines.hierarchy.items == lines.clinic.items == ("PUMP",)
    _adds_up(lines, "statistical")
    draws = lines.clinic.draws[:, 0]
    assert draws.mean() > 0
    future = lines.clinic.future.lines
    by_hand = np.zeros((DRAWS, HORIZON))
    for path in range(DRAWS):
        for line in range(future.month.shape[1]):
            if future.month[path, line] < HORIZON:
                by_hand[path, future.month[path, line]] += future.amount[path, line]
    np.testing.assert_array_equal(draws, np.round(by_hand))
    assert future.month.shape[1] == 3  # the converted one is no demand of months to come
    assert lines.clinic.enrolment_forecasts.is_empty()
    assert lines.clinic.tier_conversion.height > 0
    parameters = lines.clinic.parameters.with_columns(run_id=pl.lit("r"))
    ClinicalParameters.validate(parameters, cast=True)


def test_account_lines_alone_are_rebuilt(lines):
    inputs = clinical_inputs(CYCLE, tier_lines=_lines(*BOOK))
    again = _clinic_again(lines, inputs, lines.clinic.parameters)
    assert again.draws.tobytes() == lines.clinic.draws.tobytes()


def test_account_lines_of_an_item_with_a_history_are_not_added():
    history, items = _history("PUMP", "x1"), pl.concat([_items(), PUMP], how="diagonal")
    inputs = clinical_inputs(CYCLE, tier_lines=_lines(*BOOK))
    plain = _run(history, items=items)
    listed = _run(history, items=items, clinical=inputs)
    assert listed.clinic.items == ()
    for name in FRAMES:
        assert getattr(listed, name).equals(getattr(plain, name)), name


def _worse(tables, *, day=date(2026, 12, 3)):
    """Whatever happens in the cycle's month or later, different; sites open from ``day`` on."""
    enrolment = tables["enrolment"]
    ahead = enrolment.filter(pl.col("ds") == date(2026, 11, 1)).with_columns(
        pl.lit(77.0).alias(name) for name in ("screened", "enrolled", "dropped_out")
    )
    later = [ahead.with_columns(ds=pl.lit(add_months(CYCLE, k))) for k in (0, 1, 7)]
    sites, lines = tables["sites"], tables["tier_lines"]
    opened = pl.when(pl.col("activated_date").is_null()).then(day).otherwise(
        pl.col("activated_date"))  # fmt: skip
    closed = pl.when(pl.col("closed_date").is_null()).then(date(2027, 1, 9)).otherwise(
        pl.col("closed_date"))  # fmt: skip
    still = lines.sort("known_at").unique("line_id", keep="last").filter(
        pl.col("outcome") == "open")  # fmt: skip
    names = still["line_id"].head(8).to_list()
    last = pl.col("known_at") == pl.col("known_at").max().over("line_id")
    came = pl.col("line_id").is_in(names) & last
    return tables | {
        "enrolment": pl.concat([enrolment, *later]),
        "sites": sites.with_columns(activated_date=opened, closed_date=closed),
        "tier_lines": lines.with_columns(
            outcome=pl.when(came).then(pl.lit("converted")).otherwise(
                pl.col("outcome").cast(pl.String)).cast(lines.schema["outcome"]),
            converted_ds=pl.when(came).then(date(2027, 1, 1)).otherwise(pl.col("converted_ds")),
            converted_quantity=pl.when(came).then(9.0).otherwise(pl.col("converted_quantity")),
        ),
    }  # fmt: skip


def test_what_happens_later_changes_no_byte(both, trial_tables):
    spoiled = _worse(trial_tables)
    for name in ("enrolment", "sites", "tier_lines"):
        assert not spoiled[name].equals(trial_tables[name])
    _same(both, _run(clinical=clinical_inputs(CYCLE, **spoiled)))


def test_what_happened_before_does_change_the_numbers(both, trial_tables):
    """The test above is worth something: last month's counts are read."""
    changed = pl.when(pl.col("ds") == date(2026, 11, 1)).then(pl.col("enrolled") + 3)
    rows = trial_tables["enrolment"].with_columns(enrolled=changed.otherwise(pl.col("enrolled")))
    again = _run(clinical=clinical_inputs(CYCLE, **(trial_tables | {"enrolment": rows})))
    assert again.clinic.draws.tobytes() != both.clinic.draws.tobytes()


def test_a_study_without_a_schedule_asks_for_no_item(silent, trial_tables):
    tables = {name: trial_tables[name] for name in CLINICAL_TABLES if name != "schedule"}
    result = _run(clinical=clinical_inputs(CYCLE, **tables))
    assert result.clinic.items == ()
    assert result.clinic.enrolment_forecasts.height > 0
    for name in FRAMES:
        assert getattr(result, name).equals(getattr(silent, name)), name


def _close(result, history, inputs):
    said = result.statements.with_columns(run_id=pl.lit("r"))
    return close_cycle(
        said, history, _items(), closed=MONTHS[1], known_at=datetime(2027, 2, 10),
        settings=SETTINGS, clinical=inputs,
    )  # fmt: skip


def _came(*names):
    rows = [(name, month, 30.0, False) for name in names for month in MONTHS[:2]]
    more = pl.DataFrame(rows, schema=["unique_id", "ds", "y", "partial"], orient="row")
    return pl.concat([_history(*OWN), more])


def test_a_close_waits_for_items_of_the_clinic_without_actuals(trial_inputs, trial_tables):
    said = (SAID[0], {"override_id": "o4", "node": "family=Clinical supply", "value": 9.0},
            {"override_id": "o5", "node": "zeta", "value": 5.0, "source": "sales"})  # fmt: skip
    result = _run(clinical=trial_inputs, said=said)
    inputs = clinical_inputs(MONTHS[2], **trial_tables)
    waiting = _close(result, _came(*OWN), inputs)
    assert set(waiting.observations["override_id"]) == {"o5"}
    assert any(note.startswith("2 overrides wait") for note in waiting.notes)
    half = _close(result, _came(*OWN, KIT), inputs)
    assert set(half.observations["override_id"]) == {"o1", "o5"}
    whole = _close(result, _came(*OWN, *OF_CLINIC), inputs)
    assert set(whole.observations["override_id"]) == {"o1", "o4", "o5"}
    assert whole.notes == ()
    row = whole.observations.filter(pl.col("override_id") == "o4").row(0, named=True)
    told = result.statements.filter(pl.col("override_id") == "o4").row(0, named=True)
    assert row["y"] == pytest.approx((5 * 30.0 - told["baseline"]) / told["unit_sd"])


def test_months_before_the_first_actual_of_a_clinic_item_are_not_zero(trial_inputs, trial_tables):
    """KIT is first reported in January: December is unknown, not a month without demand."""
    result = _run(clinical=trial_inputs, said=SAID[:1])
    inputs = clinical_inputs(MONTHS[2], **trial_tables)
    late = _came(*OWN, KIT).filter((pl.col("unique_id") != KIT) | (pl.col("ds") == MONTHS[1]))
    found = _close(result, late, inputs).observations
    assert found["ds_from"].to_list() == [MONTHS[1]]


def test_an_item_of_history_before_its_first_month_has_no_demand_as_before():
    """What the clinic waits for does not change what a launch is."""
    result = _run(said=({"node": "family=Vaccines", "value": 5.0, "source": "sales"},))
    history = _came("zeta", "x1").filter(
        (pl.col("unique_id") != "x1") | (pl.col("ds") == MONTHS[1])
    )
    (row,) = _close(result, history, None).observations.to_dicts()
    told = result.statements.row(0, named=True)
    assert row["y"] == pytest.approx((30.0 - told["baseline"]) / told["unit_sd"])


def test_what_happens_after_a_later_cut_off_changes_no_byte(trial_tables):
    """Sites are known up to the cut-off, patients up to the last month that is over."""
    spoiled = _worse(trial_tables, day=date(2026, 12, 16))
    one, other = (
        _run(clinical=clinical_inputs(CYCLE, cut_off=date(2026, 12, 15), **tables))
        for tables in (trial_tables, spoiled)
    )
    _same(one, other)
    opened = _worse(trial_tables)
    known = _run(clinical=clinical_inputs(CYCLE, cut_off=date(2026, 12, 15), **opened))
    assert known.clinic.draws.tobytes() != one.clinic.draws.tobytes()
