"""Patients of a month by node against plain loops; who is waited for; what was planned."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl
import pytest

from sopforecast.clinical.clinic import forecast_clinic
from sopforecast.clinical.inputs import clinical_inputs
from sopforecast.clinical.reported import planned_in, reported_in
from sopforecast.core.months import add_months, month_end

MONTH, CYCLE = date(2026, 11, 1), date(2026, 12, 1)
OPEN = date(2026, 3, 1)


def site(name, *, country="DE", study="NOVA", **more):
    return {"study": study, "site": name, "country": country, "activated_date": OPEN,
            "closed_date": None, "status": "active"} | more  # fmt: skip


def count(name, enrolled, *, cohort="A", ds=MONTH, study="NOVA"):
    return {"study": study, "site": name, "cohort": cohort, "ds": ds, "enrolled": enrolled}


def inputs_of(sites, counts, *, cohorts=("A", "B"), cycle=CYCLE, studies=None, plan=None):
    tables = {
        "studies": pl.DataFrame(studies or [{"study": "NOVA", "status": "active"}]),
        "sites": pl.DataFrame(
            sites, schema_overrides={"closed_date": pl.Date, "activated_date": pl.Date}
        ),
        "enrolment": pl.DataFrame(counts, schema_overrides={"enrolled": pl.Float64}),
    }
    if cohorts:
        tables["cohorts"] = pl.DataFrame([{"study": "NOVA", "cohort": name} for name in cohorts])
    if plan:
        tables["enrolment_plan"] = pl.DataFrame(plan)
    return clinical_inputs(cycle, cut_off=date(2026, 12, 15), **tables)


def found(reported):
    return {(level, node): y for _, level, node, y in reported.actuals.iter_rows()}


TWO = [site("S1"), site("S2", country="ES")]


def test_all_told_all_known():
    counts = [count("S1", 2.0), count("S1", 1.0, cohort="B"), count("S2", 4.0, cohort="B")]
    reported = reported_in(inputs_of(TWO, counts), MONTH)
    assert found(reported) == {
        ("site", "S1"): 3.0, ("site", "S2"): 4.0, ("country", "DE"): 3.0, ("country", "ES"): 4.0,
        ("cohort", "A"): 2.0, ("cohort", "B"): 5.0, ("study", "NOVA"): 7.0,
    }  # fmt: skip
    assert reported.waiting == ()
    assert reported.notes == ()


@pytest.mark.parametrize("counts", [
    [count("S1", 2.0)],
    [count("S1", 2.0), count("S2", None)],
    [count("S1", 2.0), count("S2", None), count("S2", 1.0, cohort="B")],
])  # fmt: skip
def test_an_open_site_that_has_not_reported_holds_up_its_totals(counts):
    """No row, a blank, or a blank in one cohort."""
    reported = reported_in(inputs_of(TWO, counts), MONTH)
    assert found(reported) == {("site", "S1"): 2.0, ("country", "DE"): 2.0}
    assert reported.waiting == (("NOVA", "S2"),)


@pytest.mark.parametrize("more", [
    {"activated_date": None},
    {"activated_date": date(2026, 12, 3)},
    {"closed_date": date(2026, 11, 1)},
    {"status": "closed"},
])  # fmt: skip
def test_a_site_that_is_not_open_enrols_nobody(more):
    reported = reported_in(
        inputs_of([site("S1"), site("S2", country="ES") | more], [count("S1", 2.0)]), MONTH
    )
    assert found(reported)["site", "S2"] == 0.0
    assert found(reported)["study", "NOVA"] == 2.0
    assert reported.waiting == ()


@pytest.mark.parametrize("more", [
    {"activated_date": date(2026, 11, 30)},
    {"closed_date": date(2026, 11, 2)},
    {"closed_date": date(2026, 12, 9), "status": "closed"},
])  # fmt: skip
def test_a_site_open_on_a_day_of_the_month_is_waited_for(more):
    reported = reported_in(inputs_of([site("S1"), site("S2") | more], [count("S1", 2.0)]), MONTH)
    assert reported.waiting == (("NOVA", "S2"),)


def test_a_closed_site_that_counted_patients_is_believed():
    closed = site("S2", closed_date=date(2026, 8, 1), status="closed")
    reported = reported_in(inputs_of([site("S1"), closed], [count("S1", 2.0), count("S2", 1.0)]),
                           MONTH)  # fmt: skip
    assert found(reported)["study", "NOVA"] == 3.0


@pytest.mark.parametrize(
    ("last", "waits"), [(None, False), (date(2026, 11, 30), False), (date(2026, 12, 5), True)]
)
def test_a_study_that_is_over_waits_for_nobody(last, waits):
    studies = [{"study": "NOVA", "status": "closed", "last_patient_date": last}]
    reported = reported_in(inputs_of(TWO, [count("S1", 1.0)], studies=studies), MONTH)
    assert bool(reported.waiting) is waits


@pytest.mark.parametrize("cohort", ["all", "C"])
def test_cohorts_are_known_only_when_all_patients_are_told_apart(cohort):
    counts = [count("S1", 2.0), count("S2", 4.0, cohort=cohort)]
    reported = reported_in(inputs_of(TWO, counts), MONTH)
    assert not {key for key in found(reported) if key[0] == "cohort"}
    assert found(reported)["study", "NOVA"] == 6.0
    assert len(reported.notes) == 1
    assert "November 2026: 4 patients enrolled outside its named cohorts" in reported.notes[0]
    none = [count("S1", 2.0), count("S2", 0.0, cohort=cohort)]
    assert found(reported_in(inputs_of(TWO, none), MONTH))["cohort", "A"] == 2.0


def test_a_study_without_cohorts_or_countries_has_no_such_nodes():
    sites = [site("S1", country=None), site("S2", country=None)]
    counts = [count("S1", 2.0, cohort="all"), count("S2", 4.0, cohort="all")]
    reported = reported_in(inputs_of(sites, counts, cohorts=()), MONTH)
    assert found(reported) == {("site", "S1"): 2.0, ("site", "S2"): 4.0, ("study", "NOVA"): 6.0}
    assert reported.notes == ()


def test_a_site_without_a_day_of_opening_is_named():
    sites = [site("S1"), site("S2", activated_date=None)]
    counts = [count("S1", 2.0), count("S2", 1.0), count("S2", 1.0, ds=date(2026, 10, 1))]
    reported = reported_in(inputs_of(sites, counts), MONTH)
    assert reported.undated == (("NOVA", "S2"),)
    assert found(reported)["study", "NOVA"] == 3.0


def test_a_month_that_is_not_over_is_refused():
    with pytest.raises(ValueError, match="allowed: months before the cycle"):
        reported_in(inputs_of(TWO, [count("S1", 1.0)]), CYCLE)


def test_months_after_it_change_nothing(trial_tables):
    """June closed in July, or asked again when November is over: openings, closings, counts."""
    month = date(2026, 6, 1)

    def reported(cycle):
        cut_off = add_months(cycle, 1) - timedelta(days=10)
        return reported_in(clinical_inputs(cycle, cut_off=cut_off, **trial_tables), month)

    then, now = reported(date(2026, 7, 1)), reported(CYCLE)
    assert then.actuals.equals(now.actuals)
    assert (then.waiting, then.undated, then.notes) == (now.waiting, now.undated, now.notes)


def test_every_month_of_the_trial_by_plain_loops(trial_tables):
    """Sums over the rows of enrolment; S5 was silent in one month."""
    inputs = clinical_inputs(CYCLE, **trial_tables)
    sites = {row["site"]: row for row in inputs.sites.iter_rows(named=True)}
    silent = 0
    for back in range(1, 24):
        month = add_months(CYCLE, -back)
        rows = inputs.enrolment.filter(pl.col("ds") == month).to_dicts()
        by: dict[tuple[str, str], float] = {}
        waits = set()
        for name, of in sites.items():
            mine = [row["enrolled"] for row in rows if row["site"] == name]
            is_open = of["activated_date"] is not None and of["activated_date"] <= month_end(month)
            if None in mine or (is_open and not mine and of["status"] != "closed"):
                waits.add(name)
            for key in (("site", name), ("country", of["country"]), ("study", "NOVA-1")):
                by[key] = by.get(key, 0.0) + (float("nan") if name in waits else sum(mine))
        for cohort in ("A", "B"):
            mine = [row["enrolled"] for row in rows if row["cohort"] == cohort]
            by["cohort", cohort] = float("nan") if waits else float(sum(mine))
        reported = reported_in(inputs, month)
        assert {site for _, site in reported.waiting} == waits
        assert found(reported) == {key: y for key, y in by.items() if y == y}
        silent += len(waits)
    assert silent == 1


def test_nodes_are_those_that_are_forecast(trial_tables):
    """Every node of the enrolment forecasts has an actual once its month is over."""
    then = clinical_inputs(add_months(CYCLE, -2), **trial_tables)
    said = forecast_clinic(then, horizon=2, paths=50, draws=10, seed=1).enrolment_forecasts
    names = set(said.select(pl.col("level").cast(pl.String), "node").iter_rows())
    assert names == set(found(reported_in(clinical_inputs(CYCLE, **trial_tables), MONTH)))


def _plan(enrolled, *, site="*", cohort="*", ds=MONTH, version="1"):
    return {"study": "NOVA", "site": site, "cohort": cohort, "ds": ds, "version": version,
            "enrolled": float(enrolled)}  # fmt: skip


def planned(plan, month=MONTH):
    frame = planned_in(inputs_of(TWO, [count("S1", 1.0)], plan=plan), month)
    return {(level, node): value for _, level, node, value in frame.iter_rows()}


def test_the_newest_plan_of_a_study():
    plan = [_plan(5), _plan(7, version="2"), _plan(9, version="2", ds=CYCLE)]
    assert planned(plan) == {("study", "NOVA"): 7.0}
    assert planned(plan, date(2026, 10, 1)) == {}
    assert planned(plan, date(2027, 5, 1)) == {("study", "NOVA"): 0.0}


def test_a_plan_by_site_adds_up_to_countries_and_the_study():
    plan = [_plan(2, site="S1"), _plan(3, site="S2", ds=CYCLE), _plan(1, site="S2")]
    assert planned(plan) == {
        ("site", "S1"): 2.0, ("site", "S2"): 1.0, ("country", "DE"): 2.0, ("country", "ES"): 1.0,
        ("study", "NOVA"): 3.0,
    }  # fmt: skip
    assert planned(plan, CYCLE)["site", "S1"] == 0.0


def test_a_plan_by_cohort_and_site_and_what_is_stated_of_the_whole():
    """Coarser rows rule their node; cohorts and sites are read beside them."""
    plan = [_plan(10), _plan(2, site="S1", cohort="A"), _plan(3, site="S1", cohort="B"),
            _plan(9, site="S2", cohort="all"), _plan(4, site="S2", cohort="A"),
            _plan(8, cohort="A")]  # fmt: skip
    assert planned(plan) == {
        ("study", "NOVA"): 10.0, ("site", "S1"): 5.0, ("site", "S2"): 9.0, ("country", "DE"): 5.0,
        ("country", "ES"): 9.0, ("cohort", "A"): 8.0, ("cohort", "B"): 3.0,
    }  # fmt: skip


def test_no_plan_no_rows():
    assert planned(None) == {}
