"""The site model as a whole, on trials simulated by other code than that which fits them."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import polars as pl
import pytest

from sopforecast.clinical.enrolment import fit_rates, rebuild_rates, sample_rates
from sopforecast.clinical.inputs import clinical_inputs
from sopforecast.clinical.panel import SitePanel, site_panel
from sopforecast.clinical.rate_prior import NAMES, natural
from sopforecast.core.months import add_months, month_range

NAN = float("nan")
FIRST = date(2024, 1, 1)


def _simulate(rng: np.random.Generator, *, sites: int, months: int, ahead: int):
    """A trial of one country (G, months + ahead): told by a prior draw, with continuous rates."""
    told = natural(rng.standard_normal((1, len(NAMES))))
    value = {name: getattr(told, name)[0] for name in NAMES}
    total, away = months + ahead, np.sqrt(1 - value["persist"] ** 2)
    shock = np.zeros(total)
    shock[0] = value["shock"] * rng.standard_normal()
    for month in range(1, total):
        change = value["shock"] * away * rng.standard_normal()
        shock[month] = value["persist"] * shock[month - 1] + change
    usual = np.log(0.5) + 0.4 * np.sqrt(2) * rng.standard_normal() + value["level"]
    counts = np.full((sites, total), NAN)
    opened = rng.integers(0, max(months - 2, 1), sites)
    opened[0] = 0
    for site in range(sites):
        log, silent = usual + value["spread"] * rng.standard_normal(), False
        for month in range(opened[site], total):
            age = month - opened[site]
            if age and silent:
                silent = rng.random() > value["comeback"]
                log = usual + value["spread"] * rng.standard_normal()
            elif age:
                odds = np.log(value["silence"] / (1 - value["silence"]))
                odds += value["silence_slope"] * (log - np.log(0.5))
                silent = rng.random() < 1 / (1 + np.exp(-odds))
                young = np.exp(-(age - 1) / 12)
                drift = young * value["drift_young"] + (1 - young) * value["drift_old"]
                log += drift - value["revert"] * (log - usual) - value["walk"] ** 2 / 2
                log += value["walk"] * rng.standard_normal()
            uneven = rng.gamma(1 / value["uneven"], value["uneven"])
            counts[site, month] = rng.poisson(
                0.0 if silent else np.exp(log + shock[month]) * uneven
            )
    return opened, counts


def _panel(counts: np.ndarray, opened: np.ndarray, **given) -> SitePanel:
    sites, months = counts.shape
    nothing = np.full(counts.shape, NAN)
    is_open = (np.arange(months) >= opened[:, None]) & (opened[:, None] >= 0)
    values = {
        "sites": tuple(("A", f"S{at:03d}") for at in range(sites)),
        "studies": ("A",),
        "countries": ("DE",),
        "study_of": np.zeros(sites, dtype=int),
        "country_of": np.zeros(sites, dtype=int),
        "months": tuple(month_range(FIRST, months)),
        "opened": opened,
        "seen_at_first": np.zeros(sites, dtype=bool),
        "closed": np.full(sites, months),
        "exposure": is_open.astype(float),
        "enrolled": np.where(is_open, counts, NAN),
        "screened": nothing,
        "screen_failed": nothing,
        "capacity": np.full(sites, NAN),
        "planned_rate": np.full(sites, NAN),
    }
    return SitePanel(**{**values, **given})


def _small_trial(seed: int = 4, *, months: int = 12) -> SitePanel:
    opened, counts = _simulate(np.random.default_rng(seed), sites=6, months=months, ahead=0)
    return _panel(counts, opened)


def _same(one, other) -> bool:
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("open", "fresh", "shock", "group_of")
    )


def test_ranges_of_simulated_trials_hold_what_they_say():
    """Small trials: 6-month totals and sites inside 80% ranges by randomised PIT.

    Binomial noise of 25 totals is 0.08. (150 such trials: 84% of totals and 80% of sites inside,
    both centred within 0.01 of one half.)
    """
    totals, sites = [], []
    for trial in range(25):
        rng = np.random.default_rng(trial)
        opened, counts = _simulate(rng, sites=6, months=10, ahead=6)
        panel = _panel(counts[:, :10], opened)
        fit = fit_rates(panel, np.ones(6), seed=trial)
        rates = sample_rates(fit, panel, paths=1000, horizon=6, seed=trial)
        draws = rng.poisson(rates.open * rates.shock[:, rates.group_of]).sum(axis=2)
        came = counts[:, 10:].sum(axis=1)
        both = np.column_stack([draws, draws.sum(axis=1)]), np.append(came, came.sum())
        below, up_to = (both[0] < both[1]).mean(axis=0), (both[0] <= both[1]).mean(axis=0)
        pit = below + rng.random(7) * (up_to - below)
        sites += pit[:-1].tolist()
        totals.append(pit[-1])
    inside = [np.mean((np.array(pit) > 0.1) & (np.array(pit) < 0.9)) for pit in (totals, sites)]
    assert inside[0] == pytest.approx(0.8, abs=0.2)
    assert inside[1] == pytest.approx(0.8, abs=0.09)
    assert np.mean(totals) == pytest.approx(0.5, abs=0.15)


def test_bytes_do_not_depend_on_paths_or_on_fitting_again():
    panel = _small_trial()
    fit = fit_rates(panel, np.ones(6), seed=1)
    rates = sample_rates(fit, panel, paths=450, horizon=5, seed=9)
    again = rebuild_rates(fit.parameters(), panel, np.ones(6))
    assert again.notes == fit.notes
    assert np.array_equal(again.evidence.rate, fit.evidence.rate)
    assert _same(rates, sample_rates(again, panel, paths=450, horizon=5, seed=9))
    second = fit_rates(panel, np.ones(6), seed=1)
    assert _same(rates, sample_rates(second, panel, paths=450, horizon=5, seed=9))
    few = sample_rates(fit, panel, paths=130, horizon=5, seed=9)
    assert np.array_equal(few.open, rates.open[:130])
    assert np.array_equal(few.shock, rates.shock[:130])
    other = sample_rates(fit, panel, paths=130, horizon=5, seed=10)
    assert not np.array_equal(other.open, few.open)


def test_parameters_are_draws_along_the_first_axis():
    fit = fit_rates(_small_trial(), np.ones(6), seed=1)
    for values in fit.parameters().values():
        assert values.dtype == np.float64
        assert len(values) == 200


def test_closed_sites_are_zero_and_new_ones_are_fresh():
    months = 6
    opened = np.array([0, 0, -1, -1])
    counts = np.full((4, months), 2.0)
    panel = _panel(counts, opened, closed=np.array([6, 4, 6, 0]))
    fit = fit_rates(panel, np.ones(4), seed=1)
    rates = sample_rates(fit, panel, paths=400, horizon=3, seed=1)
    assert rates.open.dtype == rates.fresh.dtype == rates.shock.dtype == np.float32
    assert (rates.open.mean(axis=(0, 2)) > 0).tolist() == [True, False, False, False]
    assert (rates.fresh.mean(axis=(0, 2)) > 0).tolist() == [False, False, True, False]
    assert fit.evidence.rate[1] == 0
    assert fit.evidence.rate[0] == pytest.approx(2.0, abs=0.6)
    assert fit.evidence.months_seen.tolist() == [6, 6, 0, 0]


def test_a_site_that_fell_silent_is_expected_to_count_little():
    counts = np.full((5, 12), 3.0)
    counts[0, 3:] = 0.0
    panel = _panel(counts, np.zeros(5, dtype=int))
    fit = fit_rates(panel, np.ones(5), seed=1)
    assert fit.evidence.silent[0] > 0.6
    assert fit.evidence.rate[0] < 0.5
    assert fit.evidence.silent[1:].max() == 0


def test_a_site_known_from_its_first_patient_is_not_taken_for_a_busy_one():
    """One patient in the only month: proof of nothing when the site is known by it alone."""
    counts = np.ones((8, 1))
    dated = _panel(counts, np.zeros(8, dtype=int))
    by_patient = replace(dated, seen_at_first=np.ones(8, dtype=bool))
    rates = [fit_rates(panel, np.ones(8), seed=1).evidence.rate for panel in (dated, by_patient)]
    assert rates[1].max() < rates[0].min()


def test_three_sites_and_two_months_are_honestly_wide():
    panel = _panel(np.array([[1.0, 0.0], [NAN, 2.0], [NAN, 0.0]]), np.array([0, 1, 1]))
    fit = fit_rates(panel, np.ones(3), seed=1)
    rates = sample_rates(fit, panel, paths=2000, horizon=12, seed=1)
    total = (rates.open * rates.shock[:, rates.group_of]).sum(axis=(1, 2))
    low, high = np.quantile(total, [0.1, 0.9])
    assert 3 < low < 12 < high < 150
    assert high / low > 3
    assert "Few patients" in " ".join(fit.notes)


def test_planned_sites_only_follow_their_planned_rates():
    """Without data: 0.7 of the plan, a group's and a study's doubt around it."""
    panel = _panel(
        np.full((2, 1), NAN), np.array([-1, -1]), planned_rate=np.array([1.0, 3.0])
    )  # fmt: skip
    fit = fit_rates(panel, np.ones(2), seed=1)
    rates = sample_rates(fit, panel, paths=4000, horizon=6, seed=1)
    middle = np.median(rates.fresh[:, :, 0], axis=0)
    usual = 0.7 * np.sqrt(3)
    assert middle[0] == pytest.approx(usual * 3**-0.4, rel=0.35)
    assert middle[1] / middle[0] == pytest.approx(3**0.8, rel=0.3)
    assert np.quantile(rates.fresh[:, 0, 0], 0.9) > 3 * middle[0]
    assert not rates.open.any()
    assert any("planned or usual" in note for note in fit.notes)


def test_data_overrule_planned_rates():
    counts = np.random.default_rng(1).poisson(0.5, (10, 12)).astype(float)
    planned = np.append(np.full(10, 4.0), 4.0)
    panel = _panel(
        np.vstack([counts, np.full((1, 12), NAN)]), np.append(np.zeros(10, int), -1),
        planned_rate=planned,
    )  # fmt: skip
    rates = sample_rates(
        fit_rates(panel, np.ones(11), seed=1), panel, paths=1000, horizon=1, seed=1
    )
    assert np.median(rates.fresh[:, 10]) < 1.2


def test_screening_sites_give_rates_of_enrolled():
    """Six screened a month of which half enrol: about three a month."""
    counts = np.full((4, 10), 6.0)
    panel = _panel(np.full((4, 10), NAN), np.zeros(4, dtype=int), screened=counts)
    fit = fit_rates(panel, np.full(4, 0.5), seed=1)
    assert fit.evidence.rate == pytest.approx(np.full(4, 3.0), abs=0.4)
    assert fit.evidence.counted.tolist() == [60.0] * 4


def test_what_comes_after_the_cycle_changes_nothing():
    opened, counts = _simulate(np.random.default_rng(2), sites=5, months=14, ahead=0)
    rows = [
        {"study": "A", "site": f"S{site}", "cohort": "all", "ds": add_months(FIRST, month),
         "enrolled": counts[site, month]}
        for site in range(5) for month in range(14) if month >= opened[site]
    ]  # fmt: skip
    cycle = add_months(FIRST, 8)
    spoiled = [
        {**row, "enrolled": 900.0} if row["ds"] >= cycle else row for row in rows
    ]  # fmt: skip
    made = []
    for known in (rows, spoiled):
        panel = site_panel(clinical_inputs(cycle, enrolment=pl.DataFrame(known)))
        fit = fit_rates(panel, np.ones(len(panel.sites)), seed=1)
        made.append(sample_rates(fit, panel, paths=200, horizon=4, seed=1))
    assert _same(*made)


def test_no_sites_at_all():
    panel = site_panel(clinical_inputs(date(2026, 7, 1)))
    fit = fit_rates(panel, np.ones(0), seed=1)
    rates = sample_rates(fit, panel, paths=300, horizon=4, seed=1)
    assert rates.open.shape == (300, 0, 4)
    assert rates.shock.shape == (300, 0, 4)
