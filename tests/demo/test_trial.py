"""The simulated trial: valid, consistent, always the same, and drawn from the law it says."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sopforecast.clinical.inputs import clinical_inputs, latest_lines
from sopforecast.core.clinical_tables import CLINICAL_TABLES, TierLines
from sopforecast.core.months import add_months
from sopforecast.core.tables import Items
from sopforecast.demo import trial_law
from sopforecast.demo.trial import (
    KIT,
    LEVELS_OF_ITEMS,
    SAID_OPENLY,
    SCREENING,
    SEEDING,
    simulated_trial,
    trial_items,
)
from sopforecast.demo.trial_law import LAW, SITES, STUDY, month_shocks, true_conversion, true_sites
from sopforecast.demo.trial_patients import BRANCH_SITES
from sopforecast.errors import RequestError

FIRST, LAST = date(2024, 12, 1), date(2026, 11, 1)


def trial(seed: int = 7, *, months: int = 24) -> dict[str, pl.DataFrame]:
    return simulated_trial(first_month=add_months(LAST, 1 - months), last_month=LAST, seed=seed)


@pytest.fixture(scope="module")
def tables() -> dict[str, pl.DataFrame]:
    return trial()


def last_versions(lines: pl.DataFrame) -> pl.DataFrame:
    return lines.sort("known_at").unique("line_id", keep="last").sort("line_id")


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10_000), months=st.integers(12, 60))
def test_every_table_is_valid_and_the_counts_are_consistent(seed: int, months: int) -> None:
    tables = trial(seed, months=months)
    assert set(tables) == set(CLINICAL_TABLES)
    for name, schema in CLINICAL_TABLES.items():
        frame = tables[name]
        if name == "tier_lines":
            TierLines.validate(last_versions(frame).drop("known_at"))
            for _, version in frame.group_by("known_at"):
                TierLines.validate(version.drop("known_at"))
        else:
            assert schema.validate(frame).columns == list(schema.columns())
    check_counts(tables, add_months(LAST, 1 - months))


def check_counts(tables: dict[str, pl.DataFrame], first: date) -> None:
    """What the door asks of counts, worked out site by site without the simulator."""
    sites = {row["site"]: row for row in tables["sites"].to_dicts()}
    targets = dict(tables["cohorts"].select("cohort", "target_enrolment").iter_rows())
    opens = dict(tables["cohorts"].select("cohort", "opens_date").iter_rows())
    enrolment = tables["enrolment"]
    assert enrolment["ds"].is_between(first, LAST).all()
    for (name,), rows in enrolment.sort("ds").group_by("site"):
        site = sites[name]
        assert rows["ds"].min() >= site["activated_date"].replace(day=1)
        assert site["closed_date"] is None or rows["ds"].max() < site["closed_date"]
        total = rows.group_by("ds", maintain_order=True).agg(
            pl.col("screened", "screen_failed", "enrolled", "dropped_out", "completed").sum()
        )
        cumulative = {n: total[n].cum_sum().to_numpy() for n in total.columns[1:]}
        left = cumulative["dropped_out"] + cumulative["completed"]
        assert np.all(left <= cumulative["enrolled"])
        if rows["screened"].is_not_null().any():
            passed = cumulative["screened"] - cumulative["screen_failed"]
            assert np.all(cumulative["enrolled"] <= passed)
    counts = enrolment.select(pl.col(pl.Float64)).to_numpy()
    known = counts[~np.isnan(counts)]
    assert np.array_equal(known, np.round(known))
    by_cohort = enrolment.group_by("cohort").agg(pl.col("enrolled").sum(), pl.col("ds").min())
    for cohort, enrolled, first_row in by_cohort.iter_rows():
        assert enrolled <= targets[cohort]
        assert first_row >= opens[cohort]
    assert sum(targets.values()) == tables["studies"]["target_enrolment"].item()


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_converted_lines_are_patients_of_the_enrolment(seed: int) -> None:
    tables = trial(seed)
    converted = last_versions(tables["tier_lines"]).filter(pl.col("outcome") == "converted")
    listed = converted.group_by("site", "cohort", ds=pl.col("converted_ds")).len()
    both = listed.join(tables["enrolment"], on=["site", "cohort", "ds"], how="left")
    assert (both["len"] <= both["enrolled"]).all()


def test_it_is_the_same_every_time_and_differs_by_seed(tables: dict[str, pl.DataFrame]) -> None:
    again, other = trial(), trial(8)
    assert all(tables[name].equals(again[name]) for name in tables)
    assert not tables["enrolment"].equals(other["enrolment"])


def test_the_story_of_the_fixture(tables: dict[str, pl.DataFrame]) -> None:
    sites, enrolment = tables["sites"], tables["enrolment"]
    assert sites["site"].to_list() == [f"S{number}" for number in range(1, 15)]
    assert sites["country"].n_unique() == 3
    planned = sites.filter(pl.col("status") == "planned")
    assert planned["site"].to_list() == ["S7", "S9", "S13"]
    assert planned["activated_date"].is_null().all()
    assert (planned["planned_activation_date"] > date(2026, 11, 30)).all()
    assert planned["activation_probability"].is_between(0.6, 0.9).all()
    ranges = planned.filter(pl.col("site").is_in(["S7", "S9"]))
    assert ranges.select(pl.col("slip_days_low", "slip_days_high").is_not_null().all()).row(0) == (
        True, True,
    )  # fmt: skip
    opened = sites.filter(pl.col("activated_date").is_not_null())
    slip = (opened["activated_date"] - opened["planned_activation_date"]).dt.total_days()
    assert 10 < slip.mean() < 50
    assert sites.filter(pl.col("closed_date").is_not_null())["site"].to_list() == ["S14"]
    silent = enrolment.filter(pl.col("site") == "S5")
    late = silent.filter(pl.col("ds") >= date(2026, 4, 1))
    assert late["enrolled"].sum() == 0
    assert silent["enrolled"].sum() > 0
    assert silent.filter(pl.col("enrolled").is_null())["ds"].unique().to_list() == [
        date(2026, 7, 1)
    ]
    silent_on_screening = enrolment.group_by("site").agg(pl.col("screened").is_null().all())
    assert set(silent_on_screening.filter("screened")["site"]) == {"S4", "S11"}
    assert 80 <= enrolment["enrolled"].sum() <= 120


def test_events_plan_schedule_and_target(tables: dict[str, pl.DataFrame]) -> None:
    assert tables["studies"].select("study", "target_enrolment").row(0) == (STUDY, 200.0)
    amended, switched = tables["study_events"].to_dicts()
    assert (amended["acts_on"], amended["probability"], amended["low"], amended["high"]) == (
        "screening", 0.6, 1.1, 1.5,
    )  # fmt: skip
    assert (switched["acts_on"], switched["protocol_version"]) == ("schedule", "v2")
    assert all("Simulated" in row["note"] for row in (amended, switched))
    versions = tables["enrolment_plan"].group_by("version").agg(pl.col("enrolled").sum())
    assert versions["enrolled"].to_list() == [200.0, 200.0]
    schedule = tables["schedule"]
    assert set(schedule["unique_id"]) == {KIT, SCREENING, SEEDING}
    kits = schedule.filter(pl.col("unique_id") == KIT)
    per_patient = kits.group_by("protocol_version", "cohort").agg(pl.col("quantity").sum())
    assert set(per_patient.rows()) == {
        (version, cohort, quantity)
        for version in ("v1", "v2")
        for cohort, quantity in (("A", 6.0), ("B", 12.0))
    }
    assert set(kits["month_offset"]) == set(range(6))


def test_lines_have_versions_by_month_and_none_is_known_after_the_cut_off(
    tables: dict[str, pl.DataFrame],
) -> None:
    lines = tables["tier_lines"]
    assert lines["line_id"].n_unique() == 26
    assert lines.select(pl.struct("line_id", "known_at").is_duplicated().any()).item() is False
    assert lines["known_at"].max().date() == date(2026, 12, 1)
    gaps = lines.sort("known_at").select(pl.col("known_at").diff().over("line_id").dt.total_days())
    assert gaps["known_at"].drop_nulls().is_between(28, 31).all()
    ended = lines.filter(pl.col("outcome") != "open").group_by("line_id").len()
    assert (ended["len"] == 1).all()
    assert set(last_versions(lines)["outcome"]) == {"open", "converted", "lost"}
    moved = lines.group_by("line_id").agg(pl.col("tier").n_unique())
    assert moved["tier"].max() >= 2
    is_ranged = lines.group_by("line_id").agg(pl.col("probability_low").is_not_null().any())
    assert 0.5 < is_ranged["probability_low"].mean() < 1


def test_a_cycle_reads_it(tables: dict[str, pl.DataFrame]) -> None:
    inputs = clinical_inputs(date(2026, 12, 1), **tables)
    assert inputs.has_demand
    assert inputs.enrolment.height == tables["enrolment"].height
    assert latest_lines(inputs).height == 26
    before = clinical_inputs(date(2026, 6, 1), **tables)
    assert before.enrolment["ds"].max() == date(2026, 5, 1)


def test_the_items_fit_the_portfolio() -> None:
    items = trial_items()
    Items.validate(items.drop("family", "region"))
    assert items.select(LEVELS_OF_ITEMS.keys()).unique().row(0) == ("Clinical supply", "Europe")
    assert trial_items({"country": "DE"}).columns[-1] == "country"
    assert items["description"].str.contains("simulated").all()
    assert (items["lead_time_sd_days"] > 0).all()


@pytest.mark.parametrize(
    ("first", "last"),
    [(date(2026, 1, 1), LAST), (date(2020, 1, 1), LAST), (date(2024, 12, 2), LAST)],
)
def test_months_out_of_range_are_refused(first: date, last: date) -> None:
    with pytest.raises(RequestError, match="the trial's months"):
        simulated_trial(first_month=first, last_month=last, seed=1)


def test_the_law_of_tiers_by_simulating_a_chain() -> None:
    """Walk 20,000 lines a tier through the months until they end; compare with the stated law."""
    rng = np.random.default_rng(3)
    order = ["pipeline", "highly_probable", "committed", "enrolled"]
    stated = dict(true_conversion().iter_rows())
    for tier, chance in stated.items():
        at = np.full(20_000, order.index(tier))
        for _ in range(200):
            for place in (2, 1, 0):
                here, draw = at == place, rng.random(at.size)
                lost, up = LAW.leaves[order[place]], LAW.moves_up[order[place]]
                at[here & (draw < lost)] = -1
                at[here & (draw >= lost) & (draw < lost + up)] += 1
        assert np.mean(at == 3) == pytest.approx(chance, abs=0.015)


def test_rates_shocks_and_screening_follow_the_law() -> None:
    truth = pl.concat([true_sites(seed=seed) for seed in range(60)])
    assert truth.filter(~pl.col("site").is_in(BRANCH_SITES))["rate"].mean() == pytest.approx(
        LAW.rate_mean, abs=0.06
    )
    large = truth.filter(pl.col("site").is_in(BRANCH_SITES))["rate"].mean()
    assert large == pytest.approx(2 * LAW.rate_mean, abs=0.3)
    assert truth["fail_share"].mean() == pytest.approx(LAW.fail_share, abs=0.01)
    shocks = np.concatenate([month_shocks(24, seed=seed) for seed in range(60)])
    assert shocks.mean() == pytest.approx(1.0, abs=0.02)
    assert np.log(shocks).std() == pytest.approx(LAW.shock_sd, abs=0.01)


def test_what_was_drawn_has_the_mean_the_law_gives() -> None:
    """Screened over 40 trials against rate x open share x age decay x 1/(1 - fail), by hand."""
    open_sites = [one.site for one in SITES if one.state == "open" and one.reports_screening]
    drawn = expected = 0.0
    for seed in range(40):
        tables = trial(seed)
        truth = {row["site"]: row for row in true_sites(seed=seed).to_dicts()}
        shocks = month_shocks(24, seed=seed)
        for site in tables["sites"].filter(pl.col("site").is_in(open_sites)).to_dicts():
            opened = site["activated_date"]
            months = (opened.year - 2024) * 12 + opened.month - 12
            law = truth[site["site"]]
            for month in range(months, 12):  # the first year: no target is near
                end = add_months(FIRST, month + 1)
                days = (end - add_months(FIRST, month)).days
                share = min(1.0, (end - opened).days / days)
                decay = np.exp(-(month - months) / LAW.decay_months)
                expected += law["rate"] / (1 - law["fail_share"]) * share * decay * shocks[month]
        early = tables["enrolment"].filter(
            pl.col("site").is_in(open_sites) & (pl.col("ds") < date(2025, 12, 1))
        )
        drawn += early["screened"].sum()
    assert drawn == pytest.approx(expected, abs=3.5 * np.sqrt(expected))


def test_it_says_openly_that_it_is_simulated() -> None:
    assert "simulated" in SAID_OPENLY[0]
    words = " ".join(trial_law.law_in_words())
    assert "committed 93%, highly probable 69%, pipeline 40%" in words
    assert "30 days late" in words
