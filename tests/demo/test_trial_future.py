"""What the law brings after the last month, beside the same worked out patient by patient."""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import date, timedelta

import numpy as np
import pytest

from sopforecast.core.months import add_months, months_between
from sopforecast.demo.trial_future import law_onward
from sopforecast.demo.trial_law import LAW, OPEN, PLANNED, SITES, true_sites
from sopforecast.demo.trial_patients import draw_patients, site_rows

FIRST, LAST, BY = date(2024, 12, 1), date(2026, 11, 1), date(2027, 6, 1)
SEED = 2026
RUNS = 400


def one_run(rng: np.random.Generator) -> tuple[int, bool]:
    """New patients in one run, drawn one by one, and whether S7 and S9 open by February 2027."""
    sites = site_rows(first_month=FIRST, last_month=LAST, seed=SEED).to_dicts()
    truth = {row["site"]: row for row in true_sites(seed=SEED).to_dicts()}
    months = [add_months(LAST, ahead) for ahead in range(1, 8)]
    shocks = np.exp(rng.normal(-(LAW.shock_sd**2) / 2, LAW.shock_sd, len(months)))
    centre, half = np.log(1.1 * 1.5) / 2, np.log(1.5 / 1.1) / 2
    times = np.exp(rng.normal(centre, half / 1.2816)) if rng.random() < 0.6 else 1.0
    enrolled, in_time = 0, True
    for row, one in zip(sites, SITES, strict=True):
        if one.state not in (OPEN, PLANNED):
            continue
        opened = row["activated_date"]
        if one.state == PLANNED:
            late = max(-10, round(rng.normal(LAW.slip_mean_days, LAW.slip_sd_days)))
            opened = row["planned_activation_date"] + timedelta(days=late)
            if rng.random() >= row["activation_probability"]:
                opened = date(2999, 1, 1)
            if one.site in ("S7", "S9"):
                in_time &= opened < date(2027, 3, 1)
        law = truth[one.site]
        for at, month in enumerate(months):
            days = monthrange(month.year, month.month)[1]
            share = min(1.0, max(0, (add_months(month, 1) - opened).days) / days)
            age = max(0, months_between(opened.replace(day=1), month))
            mean = law["rate"] / (1 - law["fail_share"]) * share * np.exp(-age / LAW.decay_months)
            mean *= shocks[at] * (times if month >= date(2027, 2, 1) else 1.0)
            for _ in range(rng.poisson(mean)):
                decided = at + rng.choice(3, p=LAW.delay)
                enrolled += decided < len(months) and rng.random() >= law["fail_share"]
    for patient in draw_patients_now():
        enrolled += rng.random() >= truth[patient]["fail_share"]
    return enrolled, in_time


def draw_patients_now() -> list[str]:
    """Sites of the patients in screening at the end of the last month."""
    sites = site_rows(first_month=FIRST, last_month=LAST, seed=SEED)
    drawn = draw_patients(sites, first_month=FIRST, count=24, seed=SEED)
    return [one.site for one in drawn if one.screened < 24 <= one.decided]


def test_it_is_what_patients_one_by_one_add_up_to() -> None:
    rng = np.random.default_rng(11)
    runs = [one_run(rng) for _ in range(RUNS)]
    new = np.array([patients for patients, _ in runs])
    in_time = np.array([is_in_time for _, is_in_time in runs])
    told = law_onward(first_month=FIRST, last_month=LAST, seed=SEED, by=BY)
    for level, value in ((0.1, told.new.low), (0.5, told.new.middle), (0.9, told.new.high)):
        assert value == pytest.approx(np.quantile(new, level), abs=3)
    assert told.branch.middle == pytest.approx(np.median(new[in_time]), abs=4)
    assert told.probability == pytest.approx(in_time.mean(), abs=0.08)
    assert told.sites_by == date(2027, 2, 1)


def test_it_is_the_same_every_time_and_never_beyond_the_target() -> None:
    told, again = (
        law_onward(first_month=FIRST, last_month=LAST, seed=SEED, by=BY) for _ in range(2)
    )
    assert told == again
    far = law_onward(first_month=FIRST, last_month=LAST, seed=SEED, by=date(2031, 1, 1))
    sites = site_rows(first_month=FIRST, last_month=LAST, seed=SEED)
    drawn = draw_patients(sites, first_month=FIRST, count=24, seed=SEED)
    so_far = sum(not one.failed and one.decided < 24 for one in drawn)
    assert far.new.middle == LAW.target - so_far


def test_the_sentence_says_where_it_comes_from() -> None:
    text = law_onward(first_month=FIRST, last_month=LAST, seed=SEED, by=BY).text
    assert re.match(r"\d+ to \d+ new patients by June 2027 \(80%\), simulated onward", text)
    assert "if sites S7 and S9 activate by February 2027" in text
