"""Openings against scipy's laws, a censored likelihood of scipy's own and brute-force rejection."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import integrate, optimize, stats

from sopforecast.clinical.activation import (
    Activation,
    Openings,
    fit_activation,
    rebuild_activation,
    sample_activation,
)
from sopforecast.clinical.activation_law import (
    UNCONDITIONED,
    SlipLaw,
    log_density,
    log_survival,
    sample_beyond,
)
from sopforecast.clinical.activation_ranges import stated_law
from sopforecast.clinical.activation_sampler import adaptive_importance
from sopforecast.clinical.inputs import ClinicalInputs, clinical_inputs
from sopforecast.clinical.panel import site_panel
from sopforecast.clinical.paths import NEVER

CYCLE = date(2026, 12, 1)
LAST_DAY = date(2026, 11, 30)
TYPES = {
    "study": pl.String, "site": pl.String, "country": pl.String,
    "planned_activation_date": pl.Date, "activated_date": pl.Date, "closed_date": pl.Date,
    "slip_days_low": pl.Float64, "slip_days_high": pl.Float64,
    "activation_probability": pl.Float64, "status": pl.String,
}  # fmt: skip


def inputs_of(
    *sites: dict[str, Any], studies: list[dict[str, Any]] | None = None
) -> ClinicalInputs:
    """Sites of study A in cycle 2026-12, numbered, unless said."""
    rows = [{"study": "A", "site": f"s{at:03d}"} | row for at, row in enumerate(sites)]
    told = studies or [{"study": name} for name in sorted({row["study"] for row in rows})]
    types = {"study": pl.String, "status": pl.String, "first_patient_date": pl.Date}
    return clinical_inputs(
        CYCLE,
        sites=pl.DataFrame([dict.fromkeys(TYPES) | row for row in rows], schema=TYPES),
        studies=pl.DataFrame([dict.fromkeys(types) | row for row in told], schema=types),
    )


def planned(days: int, **more: Any) -> dict[str, Any]:
    """A site planned so many days after the last day before the cycle."""
    return {"planned_activation_date": LAST_DAY + timedelta(days=days)} | more


def opened(slip: int, *, before: int = 300, **more: Any) -> dict[str, Any]:
    """A site planned ``before`` days ago that opened ``slip`` days late."""
    day = LAST_DAY - timedelta(days=before)
    return {
        "planned_activation_date": day, "activated_date": day + timedelta(days=int(slip))
    } | more  # fmt: skip


def sampled(inputs: ClinicalInputs, *, paths: int = 2000, **more: Any) -> Openings:
    fit = fit_activation(inputs, seed=4)
    return sample_activation(
        fit, inputs, site_panel(inputs), paths=paths, horizon=12, seed=5, **more
    )


def test_the_law_is_scipys() -> None:
    law = SlipLaw(np.array(12.0), np.array(20.0), np.array(35.0))
    theirs = stats.exponnorm(35.0 / 20.0, loc=12.0, scale=20.0)
    days = np.array([-80.0, -20.0, 0.0, 30.0, 90.0, 250.0, 900.0])
    np.testing.assert_allclose(log_density(law, days), theirs.logpdf(days), rtol=1e-8)
    # scipy's own tail is a difference from 1; ours holds far out, where it is integrated.
    np.testing.assert_allclose(log_survival(law, days[:5]), theirs.logsf(days[:5]), rtol=1e-6)
    far, _ = integrate.quad(theirs.pdf, 900.0, 3000.0, epsabs=0.0)
    np.testing.assert_allclose(log_survival(law, days[-1]), np.log(far), rtol=1e-6)


@pytest.mark.parametrize(("spread", "wait"), [(30.0, 0.05), (0.05, 30.0), (20.0, 2000.0)])
def test_the_law_holds_at_its_ends(spread: float, wait: float) -> None:
    law = SlipLaw(np.array(5.0), np.array(spread), np.array(wait))
    days = np.linspace(-60.0, 120.0, 25)
    assert np.isfinite(log_density(law, days)).all() or spread < 1
    if wait < 1:
        near = stats.norm(5.0 + wait, np.hypot(spread, wait))
        np.testing.assert_allclose(np.exp(log_survival(law, days)), near.sf(days), atol=1e-3)
    if spread < 1:
        near = stats.expon(5.0, wait)
        np.testing.assert_allclose(np.exp(log_survival(law, days)), near.sf(days), atol=2e-3)


@pytest.mark.parametrize("beyond", [-50.0, 10.0, 60.0])
def test_what_remains_is_as_by_rejection(beyond: float) -> None:
    rng = np.random.default_rng(1)
    law = SlipLaw(np.full(40_000, 12.0), np.full(40_000, 20.0), np.full(40_000, 35.0))
    ours = sample_beyond(law, np.array(beyond), rng)
    slips = rng.normal(12.0, 20.0, 2_000_000) + rng.exponential(35.0, 2_000_000)
    slips = slips[slips > beyond][:40_000]
    assert ours.min() > beyond
    assert stats.ks_2samp(ours, slips).pvalue > 0.01


def test_far_overdue_the_wait_starts_anew() -> None:
    law = SlipLaw(np.full(20_000, 0.0), np.full(20_000, 10.0), np.full(20_000, 40.0))
    left = sample_beyond(law, np.array(5_000.0), np.random.default_rng(2)) - 5_000.0
    assert stats.kstest(left, stats.expon(0, 40.0).cdf).pvalue > 0.01


def test_unconditioned_is_the_law_itself() -> None:
    law = SlipLaw(np.full(20_000, 12.0), np.full(20_000, 20.0), np.full(20_000, 35.0))
    drawn = sample_beyond(law, UNCONDITIONED, np.random.default_rng(3))
    assert stats.kstest(drawn, stats.exponnorm(35 / 20, loc=12, scale=20).cdf).pvalue > 0.01


def test_importance_sampling_of_a_known_density() -> None:
    normal = stats.multivariate_normal([3.0, -1.0], [[4.0, 1.5], [1.5, 1.0]])
    drawn, evidence = adaptive_importance(
        lambda x: normal.logpdf(x) + 2.0, np.zeros(2), np.full(2, 10.0),
        draws=4000, rng=np.random.default_rng(1),
    )  # fmt: skip
    assert abs(evidence - 2.0) < 0.05
    assert np.abs(drawn.mean(axis=0) - [3.0, -1.0]).max() < 0.15
    assert np.abs(np.cov(drawn.T) - [[4.0, 1.5], [1.5, 1.0]]).max() < 0.4


def test_a_censored_fit_is_scipys_maximum_likelihood() -> None:
    rng = np.random.default_rng(9)
    sites, slips, ages = [], [], []
    for _ in range(200):
        age = int(rng.integers(0, 150))
        slip = int(np.ceil(rng.normal(20.0, 15.0) + rng.exponential(40.0)))
        is_open = slip <= age
        sites.append(
            opened(slip, before=age) if is_open else planned(-age, activation_probability=1.0)
        )
        (slips if is_open else ages).append(slip - 0.5 if is_open else age)

    def loss(at: np.ndarray) -> float:
        centre, spread, wait = at[0], np.exp(at[1]), np.exp(at[2])
        law = stats.exponnorm(wait / spread, loc=centre, scale=spread)
        z, ratio = (np.array(ages) - centre) / spread, spread / wait
        late = stats.norm.sf(z) + np.exp(ratio**2 / 2 - ratio * z) * stats.norm.cdf(z - ratio)
        return -float(law.logpdf(slips).sum() + np.log(late).sum())

    best = optimize.minimize(loss, [10.0, 3.0, 3.5], method="Nelder-Mead").x
    fit = fit_activation(inputs_of(*sites), seed=1)
    found = np.array([fit.centre, np.log(fit.spread), np.log(fit.wait)])
    apart = np.abs(found.mean(axis=1) - best) / found.std(axis=1)
    assert apart.max() < 1.0  # in posterior sd
    mean = (fit.centre + fit.wait).mean()
    assert abs(mean - 60.0) < 12.0
    assert np.mean(slips) < 45.0  # dropping the censored would be far too early
    assert fit.seen.sum() == len(slips)
    assert fit.overdue.sum() == len(ages)


def test_studies_differ_and_one_without_sites_open_is_in_between() -> None:
    rng = np.random.default_rng(5)
    early = [opened(rng.normal(0, 12), study="A") for _ in range(40)]
    late = [opened(rng.normal(70, 12), study="B") for _ in range(40)]
    fit = fit_activation(inputs_of(*early, *late, planned(60, study="C")), seed=2)
    low, median, high = fit.slip.T
    assert fit.studies == ("A", "B", "C")
    assert abs(median[0]) < 8
    assert abs(median[1] - 70) < 8
    assert median[0] < median[2] < median[1]
    assert high[2] - low[2] > high[0] - low[0]


def test_countries_are_used_where_they_tell_more() -> None:
    rng = np.random.default_rng(6)
    sites = [
        opened(rng.normal(80.0 * (at % 2), 10), study="AB"[at // 40], country="XY"[at % 2])
        for at in range(80)
    ]
    fit = fit_activation(inputs_of(*sites), seed=2)
    assert fit.group.mean() == 1.0
    assert abs(np.diff(fit.shift.mean(axis=0))[0] - 80) < 10


def test_given_probability_is_the_share_of_paths_while_the_date_is_ahead() -> None:
    inputs = inputs_of(planned(40, activation_probability=0.35), planned(40), opened(10))
    openings = sampled(inputs)
    assert (openings.month[:, 0] < NEVER).mean() == pytest.approx(0.35, abs=1 / 2000)
    assert (openings.month[:, 1] < NEVER).mean() > 0.7


def test_overdue_by_far_a_site_may_never_open() -> None:
    sites = [opened(slip) for slip in range(-20, 60, 2)]
    far, near = (planned(-days, activation_probability=0.8) for days in (120, 1))
    openings = sampled(inputs_of(far, near, *sites))
    chance = (openings.month[:, :2] < NEVER).mean(axis=0)
    assert chance[0] < 0.3
    assert 0.72 < chance[1] < 0.8
    assert (openings.date_ordinal[openings.date_ordinal > 0] > LAST_DAY.toordinal()).all()


def test_the_chance_to_open_is_learned_from_those_given_up() -> None:
    gone = [planned(-200, closed_date=LAST_DAY - timedelta(days=20)) for _ in range(30)]
    fit = fit_activation(inputs_of(*(opened(20) for _ in range(70)), *gone), seed=1)
    prior = 8.0, 1.0
    exact = stats.beta(prior[0] + 70, prior[1] + 30)
    assert abs(fit.opens.mean() - exact.mean()) < 0.02
    assert abs(fit.opens.std() - exact.std()) < 0.015
    assert fit.given_up.sum() == 30


def test_opening_days_months_and_shares_agree() -> None:
    openings = sampled(inputs_of(planned(20), opened(15)))
    for path in range(0, 2000, 97):
        day = int(openings.date_ordinal[path, 0])
        if day == 0:
            assert openings.month[path, 0] == NEVER
            assert openings.first_share[path, 0] == 0
            continue
        opens = date.fromordinal(day)
        month = (opens.year - 2026) * 12 + opens.month - 12
        assert openings.month[path, 0] == min(month, 12)
        if month < 12:
            after = date(opens.year + opens.month // 12, opens.month % 12 + 1, 1)
            length = (after - opens.replace(day=1)).days
            share = (after - opens).days / length
            assert openings.first_share[path, 0] == pytest.approx(share, abs=1e-6)
    assert (openings.month[:, 1] == -1).all()
    assert (openings.first_share[:, 1] == 1).all()


def test_stretch_multiplies_what_is_left() -> None:
    inputs = inputs_of(planned(30, activation_probability=1.0), opened(15))
    plain = sampled(inputs)
    double = sampled(inputs, stretch=np.full((2000, 2), 2.0))
    left = plain.date_ordinal[:, 0] - LAST_DAY.toordinal()
    twice = double.date_ordinal[:, 0] - LAST_DAY.toordinal()
    assert (np.abs(twice - 2 * left) <= 1).all()


def test_sites_without_a_plan_and_of_closed_studies_never_open() -> None:
    inputs = inputs_of(
        {"site": "u"},
        {"site": "v", "study": "B", "status": "planned"},
        planned(30, site="w", study="C"),
        planned(30, site="x", status="closed"),
        studies=[
            {"study": "A", "status": "active"},
            {"study": "B", "status": "planned", "first_patient_date": date(2027, 3, 1)},
            {"study": "C", "status": "closed"},
        ],
    )
    openings = sampled(inputs)
    opens = (openings.month < NEVER).mean(axis=0)
    assert dict(zip("uxvw", opens, strict=True))["v"] > 0.7
    assert opens[[0, 1, 3]].tolist() == [0, 0, 0]
    median = np.median(openings.date_ordinal[openings.date_ordinal[:, 2] > 0, 2])
    assert abs(median - date(2027, 3, 1).toordinal() - 40) < 30
    notes = fit_activation(inputs, seed=1).notes
    assert notes == (
        "B: no planned activation date for v; the study's first patient date stands in",
        "A: u is neither open nor planned to be, so never in the forecast; "
        "give a planned activation date",
    )


def test_a_range_rules_its_site_and_is_read_as_such_ranges_were() -> None:
    rng = np.random.default_rng(8)
    plan = planned(60, slip_days_low=0.0, slip_days_high=20.0, activation_probability=1.0)
    alone = inputs_of(plan)
    # Ranges were 20 days too early, and twice too narrow.
    told = [
        opened(centre + 20 + rng.normal(0, 15.6), slip_days_low=centre - 10.0,
               slip_days_high=centre + 10.0)
        for centre in rng.normal(40, 40, 60)
    ]  # fmt: skip
    taught = inputs_of(plan, *told)
    before, after = (
        sampled(inputs).date_ordinal[:, 0] - plan["planned_activation_date"].toordinal()
        for inputs in (alone, taught)
    )
    assert 5 < np.median(before) < 25
    assert abs(np.median(after) - 30) < 6
    low, high = np.quantile(after, [0.1, 0.9])
    assert 30 < high - low < 55  # 40 is right, 20 was said
    fit = fit_activation(taught, seed=4)
    assert fit.ranges_seen == 60
    assert fit.range_weight.mean() > 0.8


def test_a_stated_law_has_the_stated_range() -> None:
    law = stated_law(10.0, 70.0, bias=np.zeros(1), scale=np.ones(1))
    held = np.exp(log_survival(law, np.array(10.0))) - np.exp(log_survival(law, np.array(70.0)))
    assert held[0] == pytest.approx(0.8, abs=0.03)


def test_with_no_data_slips_are_the_stated_prior() -> None:
    fit = fit_activation(inputs_of(planned(30), planned(60)), seed=1)
    low, median, high = fit.slip[0]
    assert -40 < low < 10
    assert 25 < median < 55
    assert 90 < high < 170
    assert fit.seen.tolist() == [0]


def test_ranges_of_openings_hold_the_truth() -> None:
    inside = []
    for number in range(20):
        rng = np.random.default_rng(number)
        sites, truth = [], {}
        for at in range(40):
            day = int(rng.integers(-400, 120))
            slip = int(np.ceil(rng.normal(20.0, 15.0) + rng.exponential(40.0)))
            is_open = day + slip <= 0
            sites.append(opened(slip, before=-day) if is_open else planned(day))
            if not is_open:
                truth[f"s{at:03d}"] = LAST_DAY.toordinal() + day + slip
        inputs = inputs_of(*sites)
        openings, panel = sampled(inputs, paths=400), site_panel(inputs)
        for at, (_, site) in enumerate(panel.sites):
            if site in truth:
                days = openings.date_ordinal[:, at]
                low, high = np.quantile(days[days > 0], [0.1, 0.9])
                inside.append(low <= truth[site] <= high)
    assert 0.72 <= np.mean(inside) <= 0.9


def test_same_seed_same_bytes_and_rebuilt_from_parameters() -> None:
    inputs = inputs_of(
        *(opened(slip, study="AB"[slip % 2]) for slip in range(20)), planned(10), planned(-5)
    )
    first, second = fit_activation(inputs, seed=3), fit_activation(inputs, seed=3)
    again = rebuild_activation(first.parameters(), inputs)
    for other in (second, again):
        for name in Activation.__dataclass_fields__:
            assert np.array_equal(getattr(first, name), getattr(other, name)), name
    panel = site_panel(inputs)
    one, two = (
        sample_activation(fit, inputs, panel, paths=300, horizon=6, seed=1)
        for fit in (first, again)
    )
    assert one.date_ordinal.tobytes() == two.date_ordinal.tobytes()
    assert all(len(values) == 200 for values in first.parameters().values())


def test_a_site_is_drawn_the_same_whoever_stands_beside_it() -> None:
    inputs = inputs_of(planned(10), planned(50), opened(12))
    fit, panel = fit_activation(inputs, seed=3), site_panel(inputs)
    whole = sample_activation(fit, inputs, panel, paths=100, horizon=6, seed=1)
    fewer = ClinicalInputs(
        **{name: getattr(inputs, name) for name in ClinicalInputs.__dataclass_fields__}
        | {"sites": inputs.sites.filter(pl.col("site") != "s000")}
    )
    part = sample_activation(fit, fewer, site_panel(fewer), paths=100, horizon=6, seed=1)
    np.testing.assert_array_equal(whole.date_ordinal[:, 1], part.date_ordinal[:, 0])


def test_no_sites_at_all() -> None:
    inputs = clinical_inputs(CYCLE)
    assert sampled(inputs, paths=10).month.shape == (10, 0)


def test_a_site_that_opened_between_the_cycle_and_its_cut_off_opens_on_that_day():
    """Known for certain: every path opens S2 on the 11th of the cycle's month; S3 is not known."""
    from datetime import date

    from sopforecast.clinical.activation import fit_activation, sample_activation
    from sopforecast.clinical.inputs import clinical_inputs
    from sopforecast.clinical.panel import site_panel

    tables = {
        "studies": pl.DataFrame({"study": ["A"]}),
        "sites": pl.DataFrame(
            {
                "study": ["A"] * 4,
                "site": ["S1", "S2", "S3", "S4"],
                "planned_activation_date": [date(2026, 9, 1)] * 4,
                "activated_date": [
                    date(2026, 9, 5), date(2026, 12, 11), date(2026, 12, 20), date(2026, 9, 5)
                ],
                "closed_date": [None, None, None, date(2026, 12, 8)],
            }
        ),
    }  # fmt: skip
    inputs = clinical_inputs(date(2026, 12, 1), cut_off=date(2026, 12, 15), **tables)
    panel = site_panel(inputs)
    assert panel.opened[1] == panel.opened[2] == -1
    assert panel.closed[3] < len(panel.months)  # closed by the cut-off: nothing more is expected
    fit = fit_activation(inputs, seed=1)
    found = sample_activation(fit, inputs, panel, paths=200, horizon=6, seed=1)
    assert (found.month[:, 1] == 0).all()
    np.testing.assert_allclose(found.first_share[:, 1], 21 / 31)
    assert len(np.unique(found.month[:, 2])) > 1
