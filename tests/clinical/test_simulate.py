"""Site counts against the formulas of a thinned Poisson flow and its special cases."""

from __future__ import annotations

from datetime import date
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sopforecast.clinical.events import sample_events
from sopforecast.clinical.inputs import clinical_inputs
from sopforecast.clinical.panel import site_panel
from sopforecast.clinical.paths import NEVER, SiteCounts
from sopforecast.clinical.simulate import site_counts, thin

CYCLE, HORIZON = date(2027, 1, 1), 6


def run(
    *,
    open_rate: list[float],
    fresh_rate: list[float] | None = None,
    month: list[int] | None = None,
    first_share: float = 0.5,
    fail: float | list[float] = 0.25,
    delay: tuple[float, ...] = (1.0,),
    reports: list[bool] | None = None,
    stock: list[int] | None = None,
    stock_fail: float = 0.25,
    stock_delay: tuple[float, ...] = (1.0,),
    shock: np.ndarray | None = None,
    studies: dict[str, Any] | None = None,
    events: list[dict[str, Any]] | None = None,
    names: list[str] | None = None,
    paths: int = 20_000,
    seed: int = 5,
) -> SiteCounts:
    """Counts of one study whose rates are the same in every path and month."""
    names = names or [f"S{g}" for g in range(len(open_rate))]
    sites = len(names)
    inputs = clinical_inputs(
        CYCLE,
        studies=pl.DataFrame({"study": ["T"], **(studies or {})}),
        sites=pl.DataFrame({"study": ["T"] * sites, "site": names}),
        study_events=pl.DataFrame(
            [{"event_id": f"E{i}", "study": "T", "site": None, "probability": 1.0, **event}
             for i, event in enumerate(events or [])],
            schema_overrides={"site": pl.String},
        ) if events else None,
    )  # fmt: skip
    panel = site_panel(inputs)
    ones = np.ones((paths, sites, HORIZON), dtype=np.float32)
    fails = np.atleast_1d(np.asarray(fail, dtype=float))[:, None]
    draws = len(fails)
    return site_counts(
        panel,
        SimpleNamespace(
            open=ones * np.array(open_rate, dtype=np.float32)[:, None],
            fresh=ones * np.array(fresh_rate or [0.0] * sites, dtype=np.float32)[:, None],
            shock=np.ones((paths, 1, HORIZON), dtype=np.float32) if shock is None else shock,
            group_of=np.zeros(sites, dtype=int),
        ),
        SimpleNamespace(
            fail=fails,
            delay=np.tile(delay, (draws, 1)),
            reports=np.array(reports or [False] * sites),
            stock=np.array(stock or [0] * sites),
            stock_fail=np.full((draws, 1), stock_fail),
            stock_delay=np.tile(stock_delay, (draws, 1, 1)),
        ),
        SimpleNamespace(
            month=np.tile(np.array(month or [-1] * sites, dtype=np.int16), (paths, 1)),
            first_share=np.full((paths, sites), first_share, dtype=np.float32),
        ),
        sample_events(inputs, panel, paths=paths, horizon=HORIZON, seed=seed),
        cycle=CYCLE,
        paths=paths,
        horizon=HORIZON,
        seed=seed,
    )


def poisson_fits(counts: np.ndarray, rate: float) -> bool:
    """Chi-square of counts against Poisson, classes of at least five expected."""
    top = int(stats.poisson.ppf(1 - 5 / counts.size, rate))
    expected = stats.poisson.pmf(np.arange(top), rate) * counts.size
    expected = np.append(expected, counts.size - expected.sum())
    seen = np.bincount(np.minimum(counts.ravel(), top), minlength=top + 1)
    return bool(stats.chisquare(seen, expected).pvalue > 1e-4)


@pytest.mark.parametrize("size", [1, 2, 20])
def test_thinning_is_binomial_drawn_one_by_one_or_not(size: int) -> None:
    counts = np.full((40_000, 2), size, dtype=np.int16)
    kept = thin(counts, np.array([[0.3, 0.6]]), np.random.default_rng(1))
    for column, share in enumerate((0.3, 0.6)):
        expected = stats.binom.pmf(np.arange(size + 1), size, share) * len(counts)
        seen = np.bincount(kept[:, column].astype(int), minlength=size + 1)
        often = expected >= 5
        distance = ((seen - expected)[often] ** 2 / expected[often]).sum()
        assert distance < stats.chi2.ppf(0.9999, np.count_nonzero(often))


@given(
    counts=st.lists(st.lists(st.integers(0, 30), min_size=3, max_size=3), min_size=1, max_size=5),
    share=st.floats(0, 1),
)
@settings(max_examples=60, deadline=None)
def test_thinning_keeps_no_more_than_there_are(counts: list[list[int]], share: float) -> None:
    before = np.array(counts, dtype=np.int16)
    kept = thin(before, np.full((len(counts), 1), share), np.random.default_rng(0))
    assert kept.dtype == np.int16
    assert np.all((kept >= 0) & (kept <= before))
    assert np.all(thin(before, 1.0, np.random.default_rng(0)) == before)
    assert np.all(thin(before, 0.0, np.random.default_rng(0)) == 0)


def test_a_site_without_screening_reports() -> None:
    found = run(open_rate=[0.9])
    assert found.from_new.dtype == found.screened.dtype == found.from_stock.dtype == np.int16
    assert poisson_fits(found.from_new, 0.9)
    assert poisson_fits(found.screened - found.from_new, 0.9 * 0.25 / 0.75)
    failures = (found.screened - found.from_new).ravel().astype(float)
    assert abs(np.corrcoef(failures, found.from_new.ravel())[0, 1]) < 0.01
    assert not found.from_stock.any()


def test_a_site_that_reports_screening_enrols_after_the_delay() -> None:
    delay = (0.5, 0.3, 0.2)
    found = run(open_rate=[0.6], reports=[True], delay=delay)
    assert poisson_fits(found.screened, 0.8)
    for month in range(HORIZON):
        assert poisson_fits(found.from_new[:, 0, month], 0.6 * sum(delay[: month + 1]))
    joint = np.cov(found.screened[:, 0, 2], found.from_new[:, 0, 3])[0, 1]
    assert joint == pytest.approx(0.6 * 0.3, abs=0.02)  # those who enrol a month later


def test_the_draw_of_the_screen_failures_is_carried_through() -> None:
    found = run(open_rate=[0.6], reports=[True], fail=[0.1, 0.5], paths=40_000)
    mean = found.from_new[:, 0].mean(axis=1).reshape(-1, 2).mean(axis=0)
    assert mean == pytest.approx([0.6, 0.6], abs=0.01)
    came = found.screened[:, 0].mean(axis=1).reshape(-1, 2).mean(axis=0)
    assert came == pytest.approx([0.6 / 0.9, 0.6 / 0.5], abs=0.01)
    silent = run(open_rate=[0.6], fail=[0.1, 0.5], paths=40_000)
    kits = silent.screened[:, 0].mean(axis=1).reshape(-1, 2).mean(axis=0)
    assert kits == pytest.approx([0.6 / 0.9, 0.6 / 0.5], abs=0.01)


def test_patients_in_screening_enrol_or_fail_and_nobody_else() -> None:
    found = run(
        open_rate=[0.0, 0.0], stock=[3, 0], reports=[True, True], stock_fail=0.4,
        stock_delay=(0.7, 0.2, 0.1), paths=50_000,
    )  # fmt: skip
    total = found.from_stock[:, 0].sum(axis=1)
    oracle = stats.binom.pmf(range(4), 3, 0.6) * total.size
    assert stats.chisquare(np.bincount(total, minlength=4), oracle).pvalue > 1e-4
    by_month = found.from_stock[:, 0].mean(axis=0)
    assert by_month == pytest.approx([1.26, 0.36, 0.18, 0, 0, 0], abs=0.02)
    assert not found.from_stock[:, 1].any()
    assert not found.screened.any()
    assert not found.from_new.any()


def test_a_new_site_starts_in_the_month_it_opens_with_a_part_of_it() -> None:
    months = [2, HORIZON, NEVER]
    found = run(open_rate=[0] * 3, fresh_rate=[0.8] * 3, month=months, first_share=0.25)
    assert found.from_new[:, 0].mean(axis=0) == pytest.approx([0, 0, 0.2, 0.8, 0.8, 0.8], abs=0.03)
    assert not found.from_new[:, 1:].any()
    assert found.activated[0].tolist() == months
    assert found.activated.dtype == np.int16


def test_a_new_site_ages_from_its_opening_on() -> None:
    """Rates by months since opening, each path with its own month, against a loop."""
    from sopforecast.clinical.simulate import _shifted

    rng = np.random.default_rng(4)
    fresh = rng.random((60, HORIZON)).astype(np.float32)
    month = rng.integers(-1, HORIZON + 2, 60).astype(np.int16)
    share = rng.random(60).astype(np.float32)
    expected = np.zeros_like(fresh)
    for path in range(60):
        for ahead in range(HORIZON):
            if 0 <= month[path] <= ahead:
                rate = fresh[path, ahead - month[path]]
                expected[path, ahead] = rate * (share[path] if ahead == month[path] else 1)
    assert np.array_equal(_shifted(fresh, month, share), expected)


def test_a_shared_shock_moves_all_sites_of_a_path_together() -> None:
    shock = np.ones((20_000, 1, HORIZON), dtype=np.float32)
    shock[::2] = 3
    found = run(open_rate=[1.0, 1.0], shock=shock)
    assert found.from_new[::2].mean() == pytest.approx(3, abs=0.03)
    both = np.cov(found.from_new[:, 0, 0], found.from_new[:, 1, 0])[0, 1]
    assert both == pytest.approx(1.0, abs=0.06)  # variance of a shock that is 1 or 3


def test_a_hold_of_enrolment_stops_those_in_screening_too() -> None:
    hold = {"date": CYCLE, "acts_on": "enrolment", "low": 0.0, "high": 0.0}
    found = run(
        open_rate=[1.0, 1.0], reports=[True, False], stock=[5, 0], events=[hold], paths=2_000
    )
    assert not found.from_new.any()
    assert not found.from_stock.any()
    assert found.screened.mean() == pytest.approx(1 / 0.75, abs=0.03)


def test_events_move_screened_and_enrolled() -> None:
    double = {"date": CYCLE, "acts_on": "screening", "low": 2.0, "high": 2.0}
    found = run(open_rate=[1.0], reports=[True], events=[double])
    assert found.screened.mean() == pytest.approx(2 / 0.75, abs=0.03)
    assert found.from_new.mean() == pytest.approx(2, abs=0.03)
    more = run(open_rate=[1.0], reports=[True], events=[{**double, "acts_on": "enrolment"}])
    assert more.from_new.mean() == pytest.approx(2, abs=0.03)
    less = {**double, "acts_on": "enrolment", "low": 0.5, "high": 0.5, "date": date(2027, 3, 1)}
    halved = run(open_rate=[1.0, 1.0], reports=[True, False], events=[less])
    assert halved.from_new[:, :, 1].mean() == pytest.approx(1, abs=0.03)
    assert halved.from_new[:, 0, 2:].mean() == pytest.approx(0.5, abs=0.02)
    assert halved.from_new[:, 1, 2:].mean() == pytest.approx(0.5, abs=0.02)
    assert halved.screened.mean() == pytest.approx(1 / 0.75, abs=0.03)


def test_a_closed_study_enrols_nobody_and_a_later_one_from_its_day_on() -> None:
    closed = run(open_rate=[1.0], reports=[True], stock=[4], studies={"status": ["closed"]})
    assert not closed.screened.any()
    assert not closed.from_new.any()
    assert not closed.from_stock.any()
    later = run(
        open_rate=[1.0],
        reports=[True],
        stock=[4],
        studies={"first_patient_date": [date(2027, 2, 15)]},
    )
    assert later.from_new[:, 0].mean(axis=0) == pytest.approx([0, 0.5, 1, 1, 1, 1], abs=0.03)
    assert later.from_stock[:, 0].mean(axis=0) == pytest.approx([0, 3, 0, 0, 0, 0], abs=0.03)


def test_a_site_does_not_depend_on_which_others_there_are() -> None:
    both = run(
        open_rate=[0.7, 0.9], stock=[2, 2], reports=[True, True], names=["S1", "S2"], paths=50
    )
    alone = run(open_rate=[0.9], stock=[2], reports=[True], names=["S2"], paths=50)
    for name in ("screened", "from_new", "from_stock"):
        assert getattr(both, name)[:, 1].tobytes() == getattr(alone, name)[:, 0].tobytes()
    other = run(open_rate=[0.9], stock=[2], reports=[True], names=["S2"], paths=50, seed=6)
    assert other.screened.tobytes() != alone.screened.tobytes()


def test_rates_beyond_reason_still_fit_the_counts() -> None:
    found = run(open_rate=[1e9], fail=0.0, paths=20)
    assert found.from_new.min() > 14_000
    assert (found.from_new + found.from_stock).min() > 0
