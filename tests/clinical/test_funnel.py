"""The funnel against stock counted by hand and against screened patients followed one by one."""

from __future__ import annotations

import time
from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sopforecast.clinical.funnel import Funnel, fit_funnel, rebuild_funnel
from sopforecast.clinical.funnel_history import DELAYS, screening_history
from sopforecast.clinical.panel import SitePanel
from sopforecast.core.months import month_range

NAN = np.nan


def panel_of(
    screened: object,
    failed: object,
    enrolled: object,
    *,
    study_of: object = None,
    closed: object = None,
    opened: object = None,
) -> SitePanel:
    """Sites of studies A, B, ... open from the first month on, unless said."""
    counts = [np.asarray(values, dtype=float) for values in (screened, failed, enrolled)]
    sites, months = counts[0].shape
    study = np.zeros(sites, dtype=int) if study_of is None else np.asarray(study_of)
    names = tuple("ABCDEFGH"[: int(study.max()) + 1])
    return SitePanel(
        sites=tuple((names[at], f"s{number:03d}") for number, at in enumerate(study)),
        studies=names,
        countries=("*",),
        study_of=study,
        country_of=np.zeros(sites, dtype=int),
        months=tuple(month_range(date(2025, 1, 1), months)),
        opened=np.zeros(sites, dtype=int) if opened is None else np.asarray(opened),
        seen_at_first=np.zeros(sites, dtype=bool),
        closed=np.full(sites, months) if closed is None else np.asarray(closed),
        exposure=np.ones((sites, months)),
        enrolled=counts[2],
        screened=counts[0],
        screen_failed=counts[1],
        capacity=np.full(sites, NAN),
        planned_rate=np.full(sites, NAN),
    )


def follow(
    rng: np.random.Generator,
    *,
    sites: int,
    months: int,
    fail: tuple[float, ...],
    delay: tuple[float, ...],
    fail_delay: tuple[float, ...],
    rate: float = 2.0,
) -> tuple[SitePanel, np.ndarray, np.ndarray]:
    """Follow every patient; the panel, and who enrols and fails after it (sites, later months)."""
    study = np.arange(sites) % len(fail)
    screened = rng.poisson(rate, (sites, months))
    enrolled, failed = np.zeros((2, sites, months + DELAYS))
    for site in range(sites):
        for month in range(months):
            for _ in range(screened[site, month]):
                fails = rng.random() < fail[study[site]]
                later = rng.choice(DELAYS, p=fail_delay if fails else delay)
                (failed if fails else enrolled)[site, month + later] += 1
    panel = panel_of(screened, failed[:, :months], enrolled[:, :months], study_of=study)
    return panel, enrolled[:, months:], failed[:, months:]


def without_failures(panel: SitePanel) -> SitePanel:
    """The same sites with ``screen_failed`` left blank."""
    blank = np.full(panel.screened.shape, NAN)
    return panel_of(panel.screened, blank, panel.enrolled, study_of=panel.study_of)


def test_stock_by_hand() -> None:
    screened = [[4, 3, 5, 2, 0, 1], [9, 0, 0, 0, 0, 0], [2, 2, 2, 2, 2, 2], [1, 0, 0, 0, 0, 3]]
    failed = [[1, 1, 2, 0, 1, 0], [1, 1, 1, 0, 0, 0], [0, 1, 0, 1, 0, 1], [0, 0, 0, 0, 0, 0]]
    enrolled = [[2, 1, 2, 1, 1, 0], [1, 1, 0, 0, 0, 0], [2, 1, 2, 1, 2, 1], [2, 0, 0, 0, 0, 0]]
    panel = panel_of(screened, failed, enrolled)
    funnel = fit_funnel(panel, seed=1)
    # 15 - 5 - 7; 9 - 3 - 2, all screened six months ago; everybody done; 4 - 0 - 2.
    np.testing.assert_array_equal(funnel.stock, [3, 0, 0, 2])
    np.testing.assert_array_equal(funnel.overdue, [0, 4, 0, 0])
    assert funnel.screened_seen.tolist() == [15 + 9 + 12 + 4]
    assert funnel.failed_seen.tolist() == [5 + 3 + 3]
    assert funnel.notes == (
        "A: 4 patients have been in screening for more than 4 months and are not expected to enrol",
    )


def test_more_enrolled_than_screened_is_no_negative_stock() -> None:
    funnel = fit_funnel(panel_of([[1, 1]], [[0, 0]], [[2, 1]]), seed=1)
    assert funnel.stock.tolist() == [0]


def test_nobody_waits_at_a_closed_site() -> None:
    counts = [[3, 3]], [[0, 0]], [[1, 0]]
    assert fit_funnel(panel_of(*counts), seed=1).stock.tolist() == [5]
    assert fit_funnel(panel_of(*counts, closed=[1]), seed=1).stock.tolist() == [0]


def test_who_reports_and_what_a_counted_patient_yields() -> None:
    nan4 = [NAN] * 4
    panel = panel_of(
        [[3, 2, 4, 3], nan4, nan4, nan4],
        [[1, 1, 1, 1], nan4, nan4, nan4],
        [[1, 2, 2, 1], [1, 2, 0, 1], nan4, [0, 1, 1, 0]],
        study_of=[0, 1, 0, 1],
        opened=[0, 0, -1, 0],
    )
    funnel = fit_funnel(panel, seed=3)
    np.testing.assert_array_equal(funnel.reports, [True, False, True, False])  # as its study does
    np.testing.assert_allclose(
        funnel.yields(panel),
        [1 - funnel.fail[:, 0].mean(), 1.0, 1 - funnel.fail[:, 0].mean(), 1.0],
    )
    assert funnel.assumed.tolist() == [False, True]
    assert "B: no site reports screening" in funnel.notes[0]
    assert "assumption" in funnel.notes[0]


def test_without_any_report_the_share_is_the_prior() -> None:
    blank = np.full((1, 3), NAN)
    fail = fit_funnel(panel_of(blank, blank, [[1, 2, 1]]), seed=5).fail[:, 0]
    assert abs(fail.mean() - 0.3) < 0.04
    assert fail.std() > 0.15  # wide: it is an assumption


def test_a_study_without_reports_takes_the_other_studies_share() -> None:
    rng = np.random.default_rng(4)
    panel, _, _ = follow(
        rng, sites=30, months=12, fail=(0.62, 0.58, 0.6, 0.61, 0.59),
        delay=(0.6, 0.3, 0.1, 0, 0), fail_delay=(0.7, 0.3, 0, 0, 0),
    )  # fmt: skip
    more = np.full((1, 12), NAN)
    wider = panel_of(
        np.vstack([panel.screened, more]),
        np.vstack([panel.screen_failed, more]),
        np.vstack([panel.enrolled, np.ones((1, 12))]),
        study_of=[*panel.study_of, 5],
    )
    funnel = fit_funnel(wider, seed=6)
    assert 0.5 < funnel.fail[:, 5].mean() < 0.68
    assert funnel.fail[:, 5].std() > 2 * funnel.fail[:, 0].std()


@pytest.mark.parametrize("blank", [False, True], ids=["failures told", "failures blank"])
def test_recovers_what_patients_did(blank: bool) -> None:
    truth = (0.25, 0.55)
    delay, fail_delay = (0.3, 0.4, 0.2, 0.1, 0.0), (0.6, 0.3, 0.1, 0.0, 0.0)
    panel, later, lost = follow(
        np.random.default_rng(11), sites=60, months=18, fail=truth,
        delay=delay, fail_delay=fail_delay,
    )  # fmt: skip
    funnel = fit_funnel(without_failures(panel) if blank else panel, seed=2)
    for study, share in enumerate(truth):
        draws = funnel.fail[:, study]
        assert abs(draws.mean() - share) < 3 * draws.std() + 0.01
        assert draws.std() < 0.05
    assert np.abs(funnel.delay.mean(axis=0) - delay).max() < 0.05
    if not blank:
        assert np.abs(funnel.fail_delay.mean(axis=0) - fail_delay).max() < 0.08
        assert funnel.stock.sum() == later.sum() + lost.sum()
        # Still in screening after 0, 1, 2 months: 0.7, 0.3, 0.1 to enrol, 0.4, 0.1, 0 to fail.
        gone = [share * 0.5 / (share * 0.5 + (1 - share) * 1.1) for share in truth]
        assert np.abs(funnel.stock_fail.mean(axis=0) - gone).max() < 0.03
        # They enrol at once: 0.4 + 0.2 + 0.1; a month later: 0.2 + 0.1; two: 0.1.
        when = np.array([0.7, 0.3, 0.1, 0.0, 0.0]) / 1.1
        assert np.abs(funnel.stock_delay.mean(axis=(0, 1)) - when).max() < 0.04
    else:
        # 60 sites x 2 a month; still in screening after 0, 1, ... months, and mean share 0.4.
        expected = 120 * (0.6 * (0.7 + 0.3 + 0.1) + 0.4 * (0.4 + 0.1))
        assert abs(funnel.stock.sum() / expected - 1) < 0.1


def test_patients_in_screening_are_not_failures() -> None:
    """Young studies, over and over: the mean share is right though many are still in screening."""
    shares, naive = [], []
    for number in range(16):
        panel, _, _ = follow(
            np.random.default_rng(number), sites=12, months=4, fail=(0.4,),
            delay=(0.35, 0.35, 0.2, 0.07, 0.03), fail_delay=(0.6, 0.3, 0.1, 0.0, 0.0), rate=3.0,
        )  # fmt: skip
        shares.append(fit_funnel(panel, seed=number).fail.mean())
        naive.append(1 - panel.enrolled.sum() / panel.screened.sum())
    assert abs(np.mean(shares) - 0.4) < 0.05
    assert np.mean(naive) > 0.5


def test_ranges_of_the_share_hold_the_truth() -> None:
    inside = []
    for number in range(36):
        truth = np.random.default_rng([7, number]).beta(3, 7)
        panel, _, _ = follow(
            np.random.default_rng(number), sites=3, months=10, fail=(truth,),
            delay=(0.5, 0.3, 0.2, 0, 0), fail_delay=(0.6, 0.3, 0.1, 0, 0), rate=1.0,
        )  # fmt: skip
        low, high = np.quantile(fit_funnel(panel, seed=number).fail[:, 0], [0.1, 0.9])
        inside.append(low < truth < high)
    assert 0.7 <= np.mean(inside) <= 0.96


def test_a_share_that_changed_is_followed() -> None:
    early = np.tile([[10, 3]], (12, 1))  # screened, failed of a month
    late = np.tile([[10, 8]], (12, 1))
    months = np.vstack([early, late]).T
    fail = fit_funnel(panel_of(months[:1], months[1:], months[:1] - months[1:]), seed=1).fail
    assert fail.mean() > 0.65


def test_ranges_hold_a_share_that_drifts() -> None:
    inside = []
    for number in range(30):
        rng = np.random.default_rng([3, number])
        walk = np.log(0.3 / 0.7) + rng.normal(0, 0.7) + np.cumsum(rng.normal(0, 0.1, 27))
        share = 1 / (1 + np.exp(-walk))
        screened = rng.poisson(1.0, (4, 24))
        fails = rng.binomial(screened, share[:24])
        failed, enrolled = np.zeros((2, 4, 24 + DELAYS))
        for site, month in np.ndindex(4, 24):
            later = slice(month, month + DELAYS)
            passed = screened[site, month] - fails[site, month]
            failed[site, later] += rng.multinomial(fails[site, month], [0.6, 0.3, 0.1, 0, 0])
            enrolled[site, later] += rng.multinomial(passed, [0.5, 0.3, 0.15, 0.05, 0])
        funnel = fit_funnel(panel_of(screened, failed[:, :24], enrolled[:, :24]), seed=number)
        low, high = np.quantile(funnel.fail[:, 0], [0.1, 0.9])
        inside.append(low < share[25] < high)
    assert 0.62 <= np.mean(inside) <= 0.95


def test_three_sites_and_two_months_are_wide() -> None:
    panel = panel_of([[2, 1], [0, 1], [1, 1]], [[1, 0], [0, 0], [0, 0]], [[1, 0], [0, 0], [0, 1]])
    funnel = fit_funnel(panel, seed=1)
    low, high = np.quantile(funnel.fail, [0.1, 0.9])
    assert high - low > 0.25
    assert np.isfinite(funnel.stock_fail).all()


def test_a_gap_in_reports_is_not_nobody_screened() -> None:
    """Months whose enrolled may have been screened in a month not reported do not count."""
    screened = np.full((1, 12), 4.0)
    screened[0, 5] = NAN
    history = screening_history(panel_of(screened, np.ones((1, 12)), np.full((1, 12), 3.0)))
    used = ~np.isnan(history.enrolled[0])
    assert used.tolist() == [True] * 5 + [False] * DELAYS + [True] * 2


def test_same_seed_same_bytes_and_rebuilt_from_parameters() -> None:
    panel, _, _ = follow(
        np.random.default_rng(1), sites=9, months=8, fail=(0.3, 0.5),
        delay=(0.5, 0.3, 0.2, 0, 0), fail_delay=(0.6, 0.3, 0.1, 0, 0),
    )  # fmt: skip
    first, second = fit_funnel(panel, seed=8), fit_funnel(panel, seed=8)
    again = rebuild_funnel(first.parameters(), panel)
    for other in (second, again):
        for name in Funnel.__dataclass_fields__:
            one, two = getattr(first, name), getattr(other, name)
            assert np.array_equal(one, two), name
    assert all(len(values) == 200 for values in first.parameters().values())
    assert not np.array_equal(first.fail, fit_funnel(panel, seed=9).fail)


@settings(max_examples=12, deadline=None)
@given(st.data())
def test_whatever_was_counted_shares_are_shares(data: st.DataObject) -> None:
    sites, months = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 7))
    count = st.one_of(st.none(), st.integers(0, 30))
    tables = [
        np.array(data.draw(st.lists(count, min_size=sites * months, max_size=sites * months)))
        .astype(float)
        .reshape(sites, months)
        for _ in range(3)
    ]
    study = data.draw(st.lists(st.integers(0, 1), min_size=sites, max_size=sites))
    funnel = fit_funnel(panel_of(*tables, study_of=study), seed=1, draws=20)
    for share in (funnel.fail, funnel.stock_fail):
        assert ((share >= 0) & (share <= 1)).all()
    for law in (funnel.delay, funnel.fail_delay, funnel.stock_delay):
        np.testing.assert_allclose(law.sum(axis=-1), 1.0)
        assert (law >= 0).all()
    known = np.maximum(np.nansum(tables[0], axis=1) - np.nansum(tables[2], axis=1), 0)
    assert (funnel.stock >= 0).all()
    assert (funnel.stock[~funnel.reports] == 0).all()
    assert (funnel.stock <= np.maximum(known, np.nansum(tables[0], axis=1))).all()


def test_two_hundred_sites_take_no_time() -> None:
    rng = np.random.default_rng(2)
    screened = rng.poisson(2.0, (200, 24))
    failed = rng.binomial(screened, 0.3)
    panel = panel_of(screened, failed, screened - failed, study_of=np.arange(200) % 4)
    fit_funnel(panel, seed=1)
    start = time.process_time()
    fit_funnel(panel, seed=1)
    assert time.process_time() - start < 1.0
