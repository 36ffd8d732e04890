"""Trial paths: limits that hold exactly, and the law of a patient-by-patient simulation."""

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

from sopforecast.clinical.allocate import keep_at_random, trial_paths
from sopforecast.clinical.events import sample_events
from sopforecast.clinical.inputs import ClinicalInputs, clinical_inputs
from sopforecast.clinical.panel import site_panel
from sopforecast.clinical.paths import SiteCounts, TrialPaths
from sopforecast.clinical.simulate import site_counts

CYCLE = date(2027, 1, 1)
DEC = date(2026, 12, 1)


def trial(
    sites: int = 2,
    *,
    target: float | None = None,
    last: date | None = None,
    capacity: list[float | None] | None = None,
    cohorts: list[dict[str, Any]] | None = None,
    before: list[tuple[str, str, float]] | None = None,
    events: list[dict[str, Any]] | None = None,
) -> ClinicalInputs:
    """Study T, and a study U beside it that no limit of T may touch."""
    names = [f"S{g}" for g in range(sites)]
    columns = {
        "study": pl.String, "cohort": pl.String, "target_enrolment": pl.Float64,
        "opens_date": pl.Date, "share_low": pl.Float64, "share_high": pl.Float64,
    }  # fmt: skip
    return clinical_inputs(
        CYCLE,
        studies=pl.DataFrame(
            {
                "study": ["T", "U"], "target_enrolment": [target, None],
                "last_patient_date": [last, None],
            },
            schema_overrides={"target_enrolment": pl.Float64, "last_patient_date": pl.Date},
        ),
        cohorts=pl.DataFrame([{"study": "T", **row} for row in cohorts or []], schema=columns),
        sites=pl.DataFrame(
            {
                "study": ["T"] * sites + ["U"], "site": [*names, "S0"],
                "country": ["FR"] * sites + [None],
                "capacity": [*(capacity or [None] * sites), None],
            },
            schema_overrides={"capacity": pl.Float64},
        ),
        enrolment=pl.DataFrame(
            [("T", site, cohort, DEC, count) for site, cohort, count in before or []],
            schema={
                "study": pl.String, "site": pl.String, "cohort": pl.String, "ds": pl.Date,
                "enrolled": pl.Float64,
            },
            orient="row",
        ),
        study_events=pl.DataFrame(
            [
                {"event_id": f"E{i}", "study": "T", "probability": 1.0, **event}
                for i, event in enumerate(events)
            ]
        ) if events else None,
    )  # fmt: skip


def poisson_counts(rate: float, sites: int, horizon: int, paths: int, seed: int = 2) -> SiteCounts:
    rng = np.random.default_rng(seed)
    size = (paths, sites + 1, horizon)
    new, stock, failed = (
        rng.poisson(share * rate, size).astype(np.int16) for share in (0.8, 0.2, 0.3)
    )
    months = np.full((paths, sites + 1), -1, dtype=np.int16)
    return SiteCounts(screened=new + failed, from_stock=stock, from_new=new, activated=months)


def allocate(inputs: ClinicalInputs, counts: SiteCounts, *, seed: int = 3) -> dict[str, TrialPaths]:
    panel = site_panel(inputs)
    paths, _, horizon = counts.from_new.shape
    events = sample_events(inputs, panel, paths=paths, horizon=horizon, seed=seed)
    return trial_paths(counts, inputs, panel, events, cycle=CYCLE, paths=paths, seed=seed)


def arrivals(counts: SiteCounts) -> np.ndarray:
    return (counts.from_new + counts.from_stock)[:, :-1]


def test_without_limits_everybody_enrols() -> None:
    counts = poisson_counts(1.0, 2, 5, 50)
    found = allocate(trial(before=[("S1", "all", 4.0)]), counts)
    assert list(found) == ["T", "U"]
    first = found["T"]
    assert (first.sites, first.countries, first.cohorts) == (("S0", "S1"), ("FR", "FR"), ("all",))
    assert found["U"].countries == ("*",)
    assert np.array_equal(first.enrolled[:, :, 0], arrivals(counts))
    assert np.array_equal(found["U"].enrolled[:, 0, 0], (counts.from_new + counts.from_stock)[:, 2])
    assert np.array_equal(first.screened, counts.screened[:, :2])
    assert first.enrolled_before.tolist() == [[0], [4]]
    assert first.enrolled.dtype == first.screened.dtype == first.activated.dtype == np.int16
    assert first.cumulative()[0, 0] == 4 + arrivals(counts)[0, :, 0].sum()


def test_counts_are_not_changed() -> None:
    counts = poisson_counts(2.0, 2, 5, 50)
    copies = [getattr(counts, name).copy() for name in ("screened", "from_new", "from_stock")]
    allocate(trial(target=5.0, capacity=[1.0, None], last=date(2027, 2, 1)), counts)
    for name, copy in zip(("screened", "from_new", "from_stock"), copies, strict=True):
        assert np.array_equal(getattr(counts, name), copy)


def test_a_set_kept_at_random_is_hypergeometric() -> None:
    counts = np.tile(np.array([3, 0, 5, 2], dtype=np.int16), (40_000, 1))
    kept = keep_at_random(counts, np.full(40_000, 4.0), np.random.default_rng(1))
    assert np.all(kept.sum(axis=1) == 4)
    assert np.all(kept <= counts)
    assert kept.dtype == np.int16
    for cell, size in enumerate([3, 0, 5, 2]):
        expected = stats.hypergeom.pmf(np.arange(5), 10, size, 4) * 40_000
        seen = np.bincount(kept[:, cell], minlength=5)
        possible = expected > 0
        assert not seen[~possible].any()
        if size > 0:
            assert stats.chisquare(seen[possible], expected[possible]).pvalue > 1e-4


def test_keeping_all_or_nobody() -> None:
    counts = np.array([[3, 1], [3, 1], [3, 1], [0, 0]], dtype=np.int16)
    kept = keep_at_random(counts, np.array([np.inf, 0, -2, 1]), np.random.default_rng(1))
    assert kept.tolist() == [[3, 1], [0, 0], [0, 0], [0, 0]]


def test_a_site_above_its_capacity_holds_patients_back() -> None:
    counts = poisson_counts(1.5, 2, 8, 300)
    found = allocate(trial(capacity=[2.0, None]), counts)["T"].enrolled[:, :, 0]
    came = arrivals(counts)
    assert np.array_equal(found[:, 1], came[:, 1])
    for path in range(300):
        waiting = 0
        for month in range(8):
            waiting += int(came[path, 0, month])
            enrols = min(waiting, 2)
            waiting -= enrols
            assert found[path, 0, month] == enrols


def test_a_capacity_of_half_a_patient_is_one_every_other_month() -> None:
    full = np.full((1, 3, 6), 9, dtype=np.int16)
    counts = SiteCounts(full, full * 0, full, np.full((1, 3), -1, dtype=np.int16))
    found = allocate(trial(capacity=[0.5, 2.5]), counts)["T"].enrolled[0, :, 0]
    assert found.tolist() == [[0, 1, 0, 1, 0, 1], [2, 3, 2, 3, 2, 3]]


def test_the_target_is_reached_exactly_and_then_nothing_more() -> None:
    counts = poisson_counts(1.0, 3, 10, 400)
    found = allocate(trial(3, target=20.0, before=[("S0", "all", 6.0)]), counts)["T"]
    came = 6 + np.cumsum(arrivals(counts).sum(axis=1), axis=1)
    assert np.array_equal(found.cumulative(), np.minimum(came, 20))
    done = np.hstack([np.zeros((400, 1), dtype=bool), came[:, :-1] >= 20])
    still = np.where(done[:, None], 0, counts.screened[:, :-1])
    assert np.array_equal(found.screened, still)
    assert np.all(found.enrolled[:, :, 0] <= arrivals(counts))


def test_a_target_that_is_passed_lets_nobody_in() -> None:
    counts = poisson_counts(1.0, 2, 4, 20)
    for before in (5.0, 9.0):
        found = allocate(trial(target=5.0, before=[("S0", "all", before)]), counts)
        assert not found["T"].enrolled.any()
        assert not found["T"].screened.any()
        assert found["U"].enrolled.any()


def test_a_last_patient_date_binds_where_there_is_no_target() -> None:
    counts = poisson_counts(2.0, 2, 4, 8_000)
    last = date(2027, 2, 14)
    found = allocate(trial(last=last), counts)["T"]
    assert np.array_equal(found.enrolled[:, :, 0, 0], arrivals(counts)[:, :, 0])
    assert found.enrolled[:, :, 0, 1].mean() == pytest.approx(1.0, abs=0.03)
    assert found.screened[:, :, 1].mean() == pytest.approx(1.1, abs=0.03)
    assert not found.enrolled[:, :, :, 2:].any()
    assert not found.screened[:, :, 2:].any()
    free = allocate(trial(last=last, target=1e6), counts)["T"]
    assert np.array_equal(free.enrolled[:, :, 0], arrivals(counts))
    endless = allocate(trial(last=date.max), counts)["T"]
    assert np.array_equal(endless.enrolled[:, :, 0], arrivals(counts))


def test_a_date_never_leaves_more_enrolled_than_screened() -> None:
    counts = poisson_counts(2.0, 2, 3, 500)
    no_stock = SiteCounts(counts.screened, counts.from_stock * 0, counts.from_new, counts.activated)
    found = allocate(trial(last=date(2027, 1, 15)), no_stock)["T"]
    assert np.all(found.enrolled[:, :, 0] <= found.screened)


FIXED = [
    {"cohort": "A", "share_low": 0.6, "share_high": 0.6},
    {"cohort": "B", "share_low": 0.3, "share_high": 0.3},
    {"cohort": "C", "share_low": 0.1, "share_high": 0.1},
]


def test_patients_are_split_by_the_shares() -> None:
    counts = poisson_counts(1.0, 2, 4, 20_000)
    found = allocate(trial(cohorts=FIXED), counts)["T"]
    assert np.array_equal(found.enrolled.sum(axis=2), arrivals(counts))
    split = found.enrolled.sum(axis=(0, 1, 3)) / found.enrolled.sum()
    assert split == pytest.approx([0.6, 0.3, 0.1], abs=0.01)
    cells = found.enrolled.reshape(-1, 3, 4)
    assert np.var(cells[:, 0, 0]) == pytest.approx(0.6, abs=0.03)  # a thinned Poisson
    assert np.corrcoef(cells[:, 0, 0], cells[:, 1, 0])[0, 1] == pytest.approx(0, abs=0.02)


def test_an_uncertain_share_is_shared_by_all_sites_of_a_path() -> None:
    counts = poisson_counts(20.0, 2, 3, 4_000)
    rows = [{"cohort": "A"}, {"cohort": "B"}]
    found = allocate(trial(cohorts=rows), counts)["T"].enrolled
    share = found[:, :, 0].sum(axis=2) / found.sum(axis=(2, 3))
    assert np.corrcoef(share.T)[0, 1] > 0.9
    assert np.quantile(share, [0.1, 0.9]) == pytest.approx([0.1, 0.9], abs=0.03)


def test_a_cohort_opens_on_its_day_and_nobody_enrols_before_the_first_does() -> None:
    rows = [
        {**FIXED[0], "opens_date": date(2027, 2, 15)},
        {**FIXED[1], "opens_date": date(2027, 3, 1)},
    ]
    counts = poisson_counts(2.0, 2, 4, 8_000)
    found = allocate(trial(cohorts=rows), counts)["T"]
    assert not found.enrolled[:, :, :, 0].any()
    assert not found.screened[:, :, 0].any()
    assert found.enrolled[:, :, 0, 1].mean() == pytest.approx(1.0, abs=0.03)
    assert not found.enrolled[:, :, 1, 1].any()
    assert found.enrolled[:, :, :, 2].mean(axis=(0, 1)) == pytest.approx([4 / 3, 2 / 3], abs=0.04)


def one_by_one(
    came: np.ndarray,
    shares: np.ndarray,
    *,
    target: float,
    places: list[float],
    rng: np.random.Generator,
) -> np.ndarray:
    """Enrol patients of a path (G, H) in random order, each choosing its cohort; (G, C, H)."""
    sites, horizon = came.shape
    enrolled = np.zeros((sites, len(shares), horizon), dtype=int)
    left, room = target, list(places)
    for month in range(horizon):
        queue = rng.permutation(np.repeat(np.arange(sites), came[:, month]))
        for site in queue:
            weight = np.where(np.array(room) > 0, shares, 0.0)
            if left <= 0 or weight.sum() == 0:
                break
            cohort = rng.choice(len(shares), p=weight / weight.sum())
            enrolled[site, cohort, month] += 1
            room[cohort] -= 1
            left -= 1
    return enrolled


@pytest.mark.parametrize(
    ("target", "places"),
    [
        (9.0, [np.inf, np.inf, np.inf]),
        (9.0, [4.0, 2.0, np.inf]),
        (30.0, [3.0, 4.0, 2.0]),
        (6.0, [2.0, 3.0, 5.0]),
    ],
)
def test_the_law_is_that_of_patients_coming_one_after_the_other(
    target: float, places: list[float]
) -> None:
    paths, shares = 3_000, np.array([0.6, 0.3, 0.1])
    counts = poisson_counts(1.2, 2, 4, paths)
    rows = [
        {**row, "target_enrolment": None if np.isinf(place) else place}
        for row, place in zip(FIXED, places, strict=True)
    ]
    found = allocate(trial(target=target, cohorts=rows), counts)["T"].enrolled
    other = arrivals(poisson_counts(1.2, 2, 4, paths, seed=77))
    rng = np.random.default_rng(8)
    oracle = np.stack(
        [one_by_one(path, shares, target=target, places=places, rng=rng) for path in other]
    )
    spread = np.sqrt((oracle.var(axis=0) + found.var(axis=0)) / paths) + 1e-3
    assert np.all(np.abs(found.mean(axis=0) - oracle.mean(axis=0)) < 4.5 * spread)
    for cohort in range(3):
        ours, theirs = (x[:, :, cohort].sum(axis=(1, 2)) for x in (found, oracle))
        table = np.stack([np.bincount(x, minlength=31) for x in (ours, theirs)])
        common = table[:, table.sum(axis=0) >= 10]
        assert common.shape[1] == 1 or stats.chi2_contingency(common).pvalue > 1e-4
    ours, theirs = (np.cov(x.sum(axis=3).reshape(paths, -1).T) for x in (found, oracle))
    assert np.abs(ours - theirs).max() < 0.2


@given(
    target=st.one_of(st.none(), st.integers(0, 30)),
    places=st.lists(st.one_of(st.none(), st.integers(0, 12)), min_size=1, max_size=3),
    capacity=st.lists(
        st.one_of(st.none(), st.sampled_from([0.0, 0.4, 1.0, 3.0])), min_size=2, max_size=2
    ),
    opens=st.lists(
        st.one_of(st.none(), st.dates(date(2026, 11, 1), date(2027, 5, 1))), min_size=3, max_size=3
    ),
    last=st.one_of(st.none(), st.dates(date(2026, 12, 1), date(2027, 6, 1))),
    before=st.lists(st.integers(0, 9), min_size=2, max_size=2),
    seed=st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_every_limit_holds_in_every_path(
    target: int | None,
    places: list[int | None],
    capacity: list[float | None],
    opens: list[date | None],
    last: date | None,
    before: list[int],
    seed: int,
) -> None:
    rows = [
        {"cohort": f"C{i}", "target_enrolment": place, "opens_date": day}
        for i, (place, day) in enumerate(zip(places, opens, strict=False))
    ]
    counted = [("S0", "all", float(before[0])), ("S1", "C0", float(before[1]))]
    inputs = trial(target=target, last=last, capacity=capacity, cohorts=rows, before=counted)
    counts = poisson_counts(1.5, 2, 6, 40, seed=seed)
    found = allocate(inputs, counts, seed=seed)["T"]
    enrolled = found.enrolled.astype(int)
    assert found.enrolled_before.sum(axis=1).tolist() == before
    assert enrolled.min() >= 0
    by_site = enrolled.sum(axis=2)
    assert np.all(np.cumsum(by_site, axis=2) <= np.cumsum(arrivals(counts), axis=2))
    assert np.all(found.screened <= counts.screened[:, :2])
    for site, room in enumerate(capacity):
        assert room is None or np.all(by_site[:, site] <= np.ceil(room))
    if target is not None:
        assert np.all(enrolled.sum(axis=(1, 2, 3)) <= max(0, target - sum(before)))
    taken = found.enrolled_before.sum(axis=0)
    for cohort, (place, day) in enumerate(zip(places, opens, strict=False)):
        of_cohort = enrolled[:, :, cohort].sum(axis=1)
        assert place is None or np.all(of_cohort.sum(axis=1) <= max(0, place - taken[cohort]))
        if day is not None and day >= CYCLE:
            assert not of_cohort[:, : (day.year - 2027) * 12 + day.month - 1].any()
    if target is None and last is not None:
        ends = max(0, (last.year - 2027) * 12 + last.month)
        assert not enrolled[:, :, :, ends:].any()


def test_an_event_on_a_cohort_changes_that_cohort_alone() -> None:
    """Site counts and split together: cohort A halved, B and C as they were."""
    event = {
        "date": date(2027, 3, 1), "acts_on": "enrolment", "low": 0.5, "high": 0.5, "cohort": "A",
    }  # fmt: skip
    inputs = trial(1, cohorts=FIXED, events=[event])
    panel = site_panel(inputs)
    paths, horizon = 20_000, 4
    events = sample_events(inputs, panel, paths=paths, horizon=horizon, seed=3)
    ones = np.ones((paths, 2, horizon), dtype=np.float32)
    counts = site_counts(
        panel,
        SimpleNamespace(
            open=2 * ones, fresh=0 * ones, shock=ones[:, :1], group_of=np.zeros(2, dtype=int)
        ),
        SimpleNamespace(
            fail=np.full((1, 2), 0.25), delay=np.ones((1, 1)), reports=np.zeros(2, dtype=bool),
            stock=np.zeros(2, dtype=int), stock_fail=np.full((1, 2), 0.25),
            stock_delay=np.ones((1, 2, 1)),
        ),
        SimpleNamespace(
            month=np.full((paths, 2), -1, dtype=np.int16), first_share=ones[:, :, 0]
        ),
        events, cycle=CYCLE, paths=paths, horizon=horizon, seed=3,
    )  # fmt: skip
    found = trial_paths(counts, inputs, panel, events, cycle=CYCLE, paths=paths, seed=3)["T"]
    mean = found.enrolled[:, 0].mean(axis=0)
    assert mean[:, 1] == pytest.approx([1.2, 0.6, 0.2], abs=0.03)
    assert mean[:, 2] == pytest.approx([0.6, 0.6, 0.2], abs=0.03)
    assert list(found.events) == ["E0"]


def test_a_study_does_not_depend_on_the_others() -> None:
    counts = poisson_counts(1.0, 2, 4, 50)
    rows = [{"cohort": "A"}, {"cohort": "B", "target_enrolment": 5.0}]
    inputs = trial(target=12.0, cohorts=rows)
    both = allocate(inputs, counts)["T"]
    alone = ClinicalInputs(**{**vars(inputs), "sites": inputs.sites.filter(pl.col("study") == "T")})
    only = SiteCounts(*(getattr(counts, name)[:, :2] for name in vars(counts)))
    assert both.enrolled.tobytes() == allocate(alone, only)["T"].enrolled.tobytes()
    assert both.enrolled.tobytes() != allocate(inputs, counts, seed=4)["T"].enrolled.tobytes()


def test_no_site_one_path_one_month() -> None:
    inputs = clinical_inputs(CYCLE, studies=pl.DataFrame({"study": ["T"]}))
    nothing = np.zeros((3, 0, 2), dtype=np.int16)
    assert allocate(inputs, SiteCounts(nothing, nothing, nothing, nothing[:, :, 0])) == {}
    found = allocate(trial(target=1.0, cohorts=FIXED), poisson_counts(5.0, 2, 1, 1))["T"]
    assert found.enrolled.shape == (1, 2, 3, 1)
    assert found.enrolled.sum() == 1
