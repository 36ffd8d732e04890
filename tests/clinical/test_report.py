"""Every number a review is told of a study, once more by plain loops over the sampled paths."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from scipy import stats

from sopforecast.clinical.clinic import Clinic, forecast_clinic
from sopforecast.clinical.inputs import clinical_inputs
from sopforecast.clinical.report import SITE_COLUMNS, evidence_of, study_report
from sopforecast.core.months import add_months
from sopforecast.demo.trial import KIT, SCREENING, SEEDING, STUDY, trial_items
from sopforecast.errors import RequestError

CYCLE, HORIZON, PATHS, DRAWS = date(2026, 12, 1), 9, 400, 60
JUNE = date(2027, 6, 1)
NAMES = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
LEVELS = {"green": 0.5, "yellow": 0.2, "service_level": 0.95}


@pytest.fixture(scope="module")
def clinic(trial_inputs) -> Clinic:
    return forecast_clinic(trial_inputs, horizon=HORIZON, paths=PATHS, draws=DRAWS, seed=2026)


def _report(clinic, inputs, *, items=None, today=date(2026, 12, 10), **asked):
    return study_report(
        clinic, inputs, STUDY, items=trial_items() if items is None else items, today=today,
        **(LEVELS | asked),
    )  # fmt: skip


@pytest.fixture(scope="module")
def report(clinic, trial_inputs):
    return _report(clinic, trial_inputs)


@pytest.fixture(scope="module")
def trial(clinic):
    return clinic.future.trials[STUDY]


def _text(month: date) -> str:
    return f"{NAMES[month.month - 1]} {month.year}"


def _quantile(values, level):
    """The smallest value that a share ``level`` of the paths do not exceed, by counting."""
    ordered = sorted(values)
    return next(v for v in ordered if sum(w <= v for w in ordered) >= level * len(ordered) - 1e-9)


def _range(values):
    return tuple(int(_quantile(values, level)) for level in (0.1, 0.5, 0.9))


def _through(trial, month, paths=None):
    """New patients through a month in every path, one after the other."""
    ahead = (month.year - CYCLE.year) * 12 + month.month - CYCLE.month
    paths = range(PATHS) if paths is None else paths
    return [int(trial.enrolled[path, :, :, : ahead + 1].astype(int).sum()) for path in paths]


def _holding(trial, condition):
    """Paths in which every clause holds, one after the other."""
    inside = []
    for path in range(PATHS):
        every = True
        for clause in condition.clauses:
            if clause.kind == "activates":
                limit = (clause.month.year - CYCLE.year) * 12 + clause.month.month - CYCLE.month
                sites = [trial.sites.index(name) for name in clause.names]
                every &= all(trial.activated[path, site] <= limit for site in sites)
            else:
                assert clause.kind == "happens"
                every &= all(bool(trial.events[name][path]) for name in clause.names)
        if every:
            inside.append(path)
    return inside


def _percent(share):
    assert 0.01 <= share <= 0.99
    return f"{100 * share:.0f}%"


def _middle(values):
    low, middle, high = _range(values)
    return f"{middle} ({low} to {high})"


def test_the_sentence_of_the_demand_review(report, trial):
    """``15 to 25 patients by June (80%), based on ...; 30 if sites ... activate by ...``."""
    assert report.by == JUNE
    low, _, high = _range(_through(trial, JUNE))
    said = [f"{low} to {high} new patients by June 2027 (80%), based on current screening rates"]
    in_full = []
    for one in report.branches:
        inside = _holding(trial, one.condition)
        outside = sorted(set(range(PATHS)) - set(inside))
        likely = f"if {one.condition.text} ({_percent(len(inside) / PATHS)} likely)"
        yes, no = (_middle(_through(trial, JUNE, paths)) for paths in (inside, outside))
        said.append(f"{yes} {likely}")
        in_full.append(f"By June 2027, {likely}: {yes}; if not: {no}")
    assert len(said) == 3
    assert "sites S" in said[1]
    assert "activate by" in said[1]
    assert "event AMD-2 happens" in said[2]
    assert report.sentences.headline == "; ".join(said)
    assert report.sentences.branches == tuple(in_full)


@pytest.mark.parametrize("by", [date(2026, 12, 1), date(2027, 2, 17), date(2027, 8, 31)])
def test_any_month_may_be_asked(clinic, trial_inputs, trial, by):
    found = _report(clinic, trial_inputs, by=by)
    month = by.replace(day=1)
    low, middle, high = _range(_through(trial, month))
    assert found.by == month
    start = f"{low} to {high} new patients by {_text(month)} (80%)"
    assert found.sentences.headline.startswith(start)
    assert found.sentences.numbers["new"] == {"p10": low, "p50": middle, "p90": high}


def test_a_branch_may_be_asked(clinic, trial_inputs, trial):
    found = _report(clinic, trial_inputs, condition="site S7 activates by 2027-03")
    (one,) = found.branches
    at = trial.sites.index("S7")
    inside = [path for path in range(PATHS) if trial.activated[path, at] <= 3]
    assert (one.paths, one.of) == (len(inside), PATHS)
    low, middle, high = _range(_through(trial, JUNE, inside))
    assert (one.patients.low, one.patients.middle, one.patients.high) == (low, middle, high)
    assert f"{middle} ({low} to {high}) if site S7 activates by March 2027 " in (
        found.sentences.headline
    )


def test_so_far_and_next_months(report, trial, trial_tables):
    counted = trial_tables["enrolment"].filter(pl.col("ds") < CYCLE)["enrolled"]
    enrolled = int(sum(value for value in counted if value is not None))
    low, _, high = _range(_through(trial, JUNE))
    assert report.sentences.so_far == (
        f"{enrolled} enrolled so far; {low + enrolled} to {high + enrolled} in total by June 2027 "
        "(80%)"
    )
    said = []
    for ahead in range(3):
        month = add_months(CYCLE, ahead)
        values = [int(trial.enrolled[path, :, :, ahead].sum()) for path in range(PATHS)]
        low, _, high = _range(values)
        said.append(f"{low} to {high} in {_text(month)}")
    assert report.sentences.monthly == (
        f"Next months, patients (80% each): {said[0]}, {said[1]} and {said[2]}"
    )


def _reached(trial, target):
    """The month in which each path has that many, HORIZON where none does."""
    found = []
    for path in range(PATHS):
        total, when = float(trial.enrolled_before.sum()), HORIZON
        for ahead in range(HORIZON):
            total += int(trial.enrolled[path, :, :, ahead].sum())
            if total >= target:
                when = ahead
                break
        found.append(when)
    return found


@pytest.mark.parametrize("more", [15, 30])
def test_the_target(clinic, trial_inputs, trial, more):
    """Of a target inside the horizon, due in June."""
    target = int(trial.enrolled_before.sum()) + more
    asked = trial_inputs.studies.with_columns(
        target_enrolment=pl.lit(float(target)), last_patient_date=pl.lit(date(2027, 6, 28))
    )
    found = _report(clinic, replace(trial_inputs, studies=asked))
    reached = _reached(trial, target)
    likely = sum(when <= 6 for when in reached) / PATHS
    p10, p50, p90 = (_quantile(reached, level) for level in (0.1, 0.5, 0.9))
    assert p10 < p90
    assert p50 < HORIZON
    last = _text(add_months(CYCLE, HORIZON - 1))
    late = f"after {last}, the last month forecast"
    if p90 < HORIZON:
        late = _text(add_months(CYCLE, p90))
    chance = _percent(likely) if likely <= 0.99 else "over 99%"
    said = (
        f"{chance} likely to reach {target} patients by June 2027; even odds of {target} patients "
        f"by {_text(add_months(CYCLE, p50))} (80%: {_text(add_months(CYCLE, p10))} to {late})"
    )
    assert found.sentences.target == said[0].upper() + said[1:]


def test_no_path_goes_past_the_target(report, trial, trial_tables):
    target = trial_tables["studies"]["target_enrolment"][0]
    most = max(_through(trial, add_months(CYCLE, HORIZON - 1)))
    assert trial.enrolled_before.sum() + most <= target
    reached = sum(when < HORIZON for when in _reached(trial, target)) / PATHS
    told = report.sentences.numbers["target"]
    assert (told["target"], told["probability_inside_horizon"]) == (target, reached)
    assert f"{target:.0f} patients" in report.sentences.target


@pytest.mark.parametrize(
    ("green", "yellow", "status"), [(0.01, 0.01, "green"), (0.99, 0.01, "yellow"),
                                    (0.999, 0.998, "red"), (0.5, 0.2, None)]
)  # fmt: skip
def test_the_plan(clinic, trial_inputs, trial, trial_tables, green, yellow, status):
    found = _report(clinic, trial_inputs, green=green, yellow=yellow)
    plan = trial_tables["enrolment_plan"]
    newest = max(plan["version"])
    rows = plan.filter(pl.col("version") == newest)
    so_far = sum(rows.filter(pl.col("ds") < CYCLE)["enrolled"])
    planned = sum(rows.filter(pl.col("ds") <= JUNE)["enrolled"])
    enrolled = int(trial.enrolled_before.sum())
    on_plan = sum(enrolled + new >= planned for new in _through(trial, JUNE)) / PATHS
    by_hand = "green" if on_plan >= green else "yellow" if on_plan >= yellow else "red"
    assert found.status.status == by_hand == (status or by_hand)
    said = (
        f"{by_hand.capitalize()}: {enrolled} enrolled through November 2026, {so_far:.0f} planned "
        f"(plan {newest}); {_percent(on_plan)} likely to be on or above the plan of {planned:.0f} "
        "by June 2027"
    )
    assert found.sentences.plan == found.status.text == said


def test_numbers_are_those_of_the_sentences(report, trial):
    numbers = report.sentences.numbers
    assert numbers["paths"] == PATHS
    assert numbers["mean_new"] == pytest.approx(sum(_through(trial, JUNE)) / PATHS)
    for told, one in zip(numbers["branches"], report.branches, strict=True):
        inside = _holding(trial, one.condition)
        assert told["probability"] == len(inside) / PATHS
        assert tuple(told["new"].values()) == _range(_through(trial, JUNE, inside))


def _last_day(month, days, sd):
    """Gamma with that mean and standard deviation, by scipy; the order is there on the first."""
    needed = days if not sd else stats.gamma.ppf(0.95, (days / sd) ** 2, scale=sd**2 / days)
    return month - timedelta(days=math.ceil(needed - 1e-6))


def _deciding(clinic, items):
    """By month the first day of all items that have demand in it, and the item that decides."""
    lead = {row["unique_id"]: row for row in items.iter_rows(named=True)}
    found = {}
    for ahead in range(HORIZON):
        month = add_months(CYCLE, ahead)
        days = [
            (_last_day(month, lead[item]["lead_time_days"], lead[item]["lead_time_sd_days"]), item)
            for k, item in enumerate(clinic.scheduled.items)
            if clinic.scheduled.draws[:, k, ahead].sum() > 0
        ]
        found[month] = min(days)
    return found


@pytest.mark.parametrize("today", [date(2026, 12, 1), date(2026, 12, 16), date(2027, 2, 3)])
def test_confirm_dates(clinic, trial_inputs, today):
    found = _report(clinic, trial_inputs, today=today)
    deciding = _deciding(clinic, trial_items())
    ahead = {month: told for month, told in deciding.items() if told[0] >= today}
    month = min(ahead)
    day, item = ahead[month]
    days = dict(trial_items().select("unique_id", "lead_time_days").iter_rows())[item]
    year = "" if month.year == day.year else f" {month.year}"
    assert found.confirm[0] == (
        f"Enrolment must be confirmed by {day.day} {_text(day)} to support "
        f"{NAMES[month.month - 1]}{year} dosing without expedite (study {STUDY}, item {item}: lead "
        f"time {days:g} days, 95% service)."
    )
    late = {month: told for month, told in deciding.items() if told[0] < today}
    last = deciding[max(late)][0]
    assert f"too late to confirm enrolment for dosing in {_text(min(late))} to " in found.confirm[1]
    assert f"{_text(max(late))} without expedite" in found.confirm[1]
    assert f"the last of these dates was {last.day} {_text(last)} (item " in found.confirm[1]
    assert len(found.confirm) == 2


def test_the_sentence_supply_asked_for(clinic, trial_inputs):
    """1 April 2027 less 76 days is 15 January 2027; March's day, 15 December, has passed."""
    assert date(2027, 4, 1) - timedelta(days=76) == date(2027, 1, 15)
    items = trial_items().with_columns(
        lead_time_days=pl.when(pl.col("unique_id") == KIT).then(76.0).otherwise(10.0),
        lead_time_sd_days=pl.lit(None, dtype=pl.Float64),
    )
    found = _report(clinic, trial_inputs, items=items, today=date(2026, 12, 20))
    assert found.confirm[0] == (
        "Enrolment must be confirmed by 15 January 2027 to support April dosing without expedite "
        f"(study {STUDY}, item {KIT}: lead time 76 days, 95% service)."
    )


def test_items_without_a_lead_time_are_named(clinic, trial_inputs):
    blank = trial_items().with_columns(lead_time_days=pl.lit(None, dtype=pl.Float64))
    (told,) = _report(clinic, trial_inputs, items=blank).confirm
    assert f"no confirm-by date for items {KIT}, {SCREENING} and {SEEDING}: lead_time_days" in told


def test_sites_by_plain_loops(report, clinic, trial, trial_tables):
    assert dict(report.sites.schema) == SITE_COLUMNS
    assert report.sites["site"].to_list() == list(trial.sites)
    given = {row["site"]: row for row in trial_tables["sites"].iter_rows(named=True)}
    counts = trial_tables["enrolment"]
    for k, row in enumerate(report.sites.iter_rows(named=True)):
        own = counts.filter(pl.col("site") == row["site"])
        assert row["enrolled"] == sum(value or 0.0 for value in own["enrolled"])
        assert row["country"] == given[row["site"]]["country"]
        closed, opened = given[row["site"]]["closed_date"], given[row["site"]]["activated_date"]
        if closed is not None:
            assert (row["state"], row["p10"], row["p90"]) == ("closed", None, None)
            continue
        assert (row["state"] == "planned") == (opened is None)
        values = [int(trial.enrolled[path, k, :, :3].sum()) for path in range(PATHS)]
        low, _, high = _range(values)
        assert (row["p10"], row["p90"]) == (low, high)
    assert {"closed", "open", "planned", "silent"} == set(report.sites["state"])


def test_the_table_and_the_assumption_know_the_same_silent_sites(report):
    silent = report.sites.filter(pl.col("state") == "silent").height
    rates = next(one for one in report.assumptions if one.about == "Screening rates")
    assert f", {silent} of them without a patient for 3 months" in rates.evidence


def _share(value):
    percent = 100 * value
    return f"{percent:.0f}%" if percent >= 10 else f"{percent:.1f}".removesuffix(".0") + "%"


def test_assumptions_are_what_the_paths_are_made_with(report, clinic, trial, trial_tables):
    by_name = {one.about: one for one in report.assumptions}
    learned = clinic.learned
    fail = learned.funnel.fail[:, learned.funnel.studies.index(STUDY)]
    hazard = learned.dropout.hazard[:, learned.dropout.studies.index(STUDY)]
    for about, values, unit in (
        ("Screen failure", fail, ""), ("Dropout", hazard, " a month"),
    ):  # fmt: skip
        low, middle, high = (np.quantile(values, level) for level in (0.1, 0.5, 0.9))
        assert by_name[about].value == (
            f"{_share(middle)}{unit} (80%: {_share(low)} to {_share(high)})"
        )
    rows = trial_tables["enrolment"]
    both = rows.filter(pl.col("screened").is_not_null() & pl.col("screen_failed").is_not_null())
    assert by_name["Screen failure"].evidence == (
        f"{both['screen_failed'].sum():.0f} of {both['screened'].sum():.0f} screened failed so far"
    )
    sites = trial_tables["sites"]
    waiting = sites.filter(pl.col("activated_date").is_null() & pl.col("closed_date").is_null())
    seen = sites.filter(
        pl.col("activated_date").is_not_null() & pl.col("planned_activation_date").is_not_null()
    )
    assert by_name["Activation"].evidence == (
        f"{seen.height} openings seen with a planned date, {waiting.height} sites not open yet"
    )
    slip = learned.activation.slip[learned.activation.studies.index(STUDY)]
    found = by_name["Activation"]
    assert (found.low, found.middle, found.high) == tuple(slip.tolist())
    is_open = sites.filter(pl.col("activated_date").is_not_null() & pl.col("closed_date").is_null())
    at = [trial.sites.index(site) for site in is_open["site"]]
    a_month = [
        sum(int(trial.enrolled[path, k, :, :3].sum()) for k in at) / len(at) / 3
        for path in range(PATHS)
    ]
    low, middle, high = (np.quantile(a_month, level) for level in (0.1, 0.5, 0.9))
    assert by_name["Screening rates"].value == (
        f"an open site enrols {middle:.1f} patients a month (80%: {low:.1f} to {high:.1f})"
    )


def test_tiers_are_told_with_the_range_they_are_said_to_be(report, clinic, trial_tables):
    """80% means the 10% and the 90% quantile, of tiers as of everything else."""
    rows = clinic.tier_conversion.filter(
        pl.col("scope") == "study", pl.col("name") == STUDY, pl.col("owner") == "*"
    )
    assert set(rows["tier"]) == {"committed", "highly_probable", "pipeline"}
    by_name = {one.about: one for one in report.assumptions}
    for row in rows.iter_rows(named=True):
        told = by_name[f"Lines {row['tier'].replace('_', ' ')}"]
        assert told.value == (
            f"{_share(row['p50'])} convert (80%: {_share(row['p10'])} to {_share(row['p90'])})"
        )
    last = trial_tables["tier_lines"].sort("known_at").unique("line_id", keep="last")
    outcomes = dict(last["outcome"].value_counts().iter_rows())
    assert by_name["Lines in tiers"].evidence == (
        f"{last.height} lines: {outcomes['converted']} converted, {outcomes['lost']} lost, "
        f"{outcomes['open']} open"
    )


def test_evidence_is_of_one_study(clinic, trial_inputs):
    found = evidence_of(clinic, trial_inputs, STUDY)
    assert found.enrolled == clinic.future.trials[STUDY].enrolled_before.sum()
    new = clinical_inputs(
        CYCLE,
        studies=pl.DataFrame({"study": ["NEW"]}),
        sites=pl.DataFrame(
            {"study": ["NEW"], "site": ["N1"], "planned_activation_date": [date(2027, 2, 1)]}
        ),
    )
    planned = forecast_clinic(new, horizon=3, paths=200, draws=50, seed=1)
    nothing = evidence_of(planned, new, "NEW")
    assert nothing.sites_seen == nothing.lines == 0
    assert nothing.slip_days is not None  # of what is assumed: one site waits
    assert nothing.patients_a_month is None
    assert nothing.conversion == {}


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"by": date(2027, 9, 1)}, "found September 2027; allowed: December 2026 to August 2027"),
        ({"by": date(2026, 11, 1)}, "found November 2026; allowed"),
        ({"condition": "site S77 activates by 2027-02"}, "found site 'S77'"),
    ],
)
def test_what_cannot_be_asked_is_refused(clinic, trial_inputs, asked, words):
    with pytest.raises(RequestError, match=words):
        _report(clinic, trial_inputs, **asked)


def test_a_study_that_is_not_there_is_named_with_those_that_are(clinic, trial_inputs):
    with pytest.raises(RequestError, match=f"found 'NOVA-2'; allowed: {STUDY}"):
        study_report(clinic, trial_inputs, "NOVA-2", items=trial_items(), today=CYCLE, **LEVELS)


def test_the_same_report_from_what_was_stored(clinic, report, trial_inputs):
    again = forecast_clinic(
        trial_inputs, horizon=HORIZON, paths=PATHS, draws=DRAWS, seed=2026, learned=clinic.learned
    )
    other = _report(again, trial_inputs)
    assert other.sentences == report.sentences
    assert other.assumptions == report.assumptions
    assert other.confirm == report.confirm
    assert other.sites.equals(report.sites)
