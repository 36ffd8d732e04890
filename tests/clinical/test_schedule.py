"""From patients to items: a protocol worked by hand, patients simulated one by one, properties."""

from __future__ import annotations

from datetime import date
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sopforecast.clinical.dropout import Dropout
from sopforecast.clinical.inputs import ClinicalInputs, clinical_inputs
from sopforecast.clinical.paths import NEVER, TrialPaths
from sopforecast.clinical.schedule import ItemDemand, item_demand
from sopforecast.core.months import add_months

CYCLE = date(2026, 12, 1)
SCHEDULE = (
    "study", "cohort", "country", "protocol_version", "per", "month_offset", "unique_id",
    "quantity", "overage_percent",
)  # fmt: skip


def _schedule(*rows: tuple[Any, ...]) -> pl.DataFrame:
    full = [("X", *row, None) if len(row) == 7 else ("X", *row) for row in rows]
    overage = {"overage_percent": pl.Float64, "quantity": pl.Float64}
    return pl.DataFrame(full, schema=SCHEDULE, orient="row", schema_overrides=overage)


def _enrolment(*rows: tuple[Any, ...]) -> pl.DataFrame:
    """Site, cohort, months before the cycle, screened, enrolled, dropped out, completed."""
    data = [("X", site, cohort, add_months(CYCLE, -ago), *counts)
            for site, cohort, ago, *counts in rows]  # fmt: skip
    counts = ("screened", "enrolled", "dropped_out", "completed")
    return pl.DataFrame(
        data,
        schema=("study", "site", "cohort", "ds", *counts),
        orient="row",
        schema_overrides=dict.fromkeys(counts, pl.Float64),
    )


def _inputs(schedule: pl.DataFrame, *, status: str = "active", **tables: Any) -> ClinicalInputs:
    studies = pl.DataFrame({"study": ["X"], "status": [status]})
    return clinical_inputs(CYCLE, studies=studies, schedule=schedule, **tables)


def _trial(
    enrolled: np.ndarray,
    *,
    countries: tuple[str, ...] | None = None,
    cohorts: tuple[str, ...] = ("all",),
    screened: np.ndarray | None = None,
    activated: np.ndarray | None = None,
    before: np.ndarray | None = None,
) -> TrialPaths:
    paths, sites = enrolled.shape[:2]
    return TrialPaths(
        study="X",
        cycle=CYCLE,
        sites=tuple(f"S{site}" for site in range(sites)),
        countries=countries or ("DE",) * sites,
        cohorts=cohorts,
        screened=enrolled.sum(axis=2) if screened is None else screened,
        enrolled=enrolled,
        activated=np.full((paths, sites), -1) if activated is None else activated,
        enrolled_before=np.zeros((sites, len(cohorts))) if before is None else before,
        events={},
    )


def _dropout(hazard: float | list[float]) -> Dropout:
    draws = np.atleast_1d(np.array(hazard, dtype=float))[:, None]
    nothing = np.zeros(1)
    return Dropout(("X",), draws, nothing, nothing, nothing, ())


def _switch(version: str, month: int, **options: Any) -> SimpleNamespace:
    usual = {"study": "X", "cohort": None, "site": None, "applies_to": "new", "share": 1.0}
    return SimpleNamespace(version=version, month=month, **{**usual, **options})


def _ask(
    trial: TrialPaths | None,
    inputs: ClinicalInputs,
    hazard: float | list[float] = 0.0,
    switches: tuple[Any, ...] = (),
    events: dict[str, np.ndarray] | None = None,
    **options: int,
) -> ItemDemand:
    horizon = trial.enrolled.shape[3] if trial is not None else 4
    asked = {"draws": 500 if trial is None else len(trial.enrolled), "horizon": horizon, "seed": 1}
    trials = {} if trial is None else {"X": trial}
    return item_demand(trials, inputs, _dropout(hazard), switches, events, **{**asked, **options})


def test_a_small_protocol_by_hand() -> None:
    """Two cohorts in two countries, doses after 0, 1 and 2 months, nobody drops out."""
    enrolled = np.zeros((1, 2, 2, 4), dtype=np.int16)
    enrolled[0, 0] = [[2, 0, 1, 0], [0, 3, 0, 0]]  # DE: cohorts A, B
    enrolled[0, 1] = [[1, 1, 0, 0], [4, 0, 0, 2]]  # FR
    schedule = _schedule(
        ("*", "*", "*", "enrolled", 0, "KIT", 1.0, 10.0),
        ("*", "*", "*", "enrolled", 2, "KIT", 2.0, 10.0),
        ("A", "*", "*", "enrolled", 1, "CAP", 5.0),
        ("*", "FR", "*", "enrolled", 0, "LABEL", 1.0),
        ("B", "DE", "*", "enrolled", 1, "CAP", 7.0),
    )
    past = _enrolment(("S0", "A", 1, 5, 4, 1, 0), ("S1", "B", 2, 2, 2, 0, 0),
                      ("S1", "B", 1, 0, 0, 0, 0))  # fmt: skip
    trial = _trial(enrolled, countries=("DE", "FR"), cohorts=("A", "B"))
    found = _ask(trial, _inputs(schedule, enrolment=past))
    assert found.items == ("CAP", "KIT", "LABEL")
    # S0: 3 A-patients active of November; S1: 2 B-patients of October.
    # KIT: enrolled 7, 4, 1, 2; after two months those of Oct (2), Nov (3), then 7, 4.
    assert found.draws[0, 1].tolist() == [7 + 2 * 2, 4 + 2 * 3, 1 + 2 * 7, 2 + 2 * 4]
    # CAP: A of the month before x 5 (3 of November; 3, 1, 1), B in DE x 7 (0, 0, 3, 0).
    assert found.draws[0, 0].tolist() == [15, 15, 5 + 21, 5]
    assert found.draws[0, 2].tolist() == [5, 1, 0, 2]
    np.testing.assert_allclose(found.overage[1], 0.1 * found.draws[0, 1], rtol=1e-6)
    assert not found.overage[[0, 2]].any()
    assert found.steps.tolist() == [1.0, 1.0, 1.0]
    assert found.unused == ()


def test_screening_kits_are_used_by_failures_and_seeding_comes_with_the_opening() -> None:
    enrolled = np.ones((2, 3, 1, 3), dtype=np.int16)
    screened = np.full((2, 3, 3), 4, dtype=np.int16)
    activated = np.array([[-1, 1, NEVER], [-1, 2, 0]])
    schedule = _schedule(
        ("*", "*", "*", "screened", 0, "SCREEN", 1.0),
        ("*", "FR", "*", "site_activated", 0, "SEED", 20.0),
        ("*", "*", "*", "site_activated", 1, "BOOK", 1.0),
    )
    sites = pl.DataFrame(
        {"study": ["X"] * 3, "site": ["S0", "S1", "S2"], "country": ["DE", "FR", "FR"],
         "activated_date": [date(2026, 11, 20), None, None]}
    )  # fmt: skip
    trial = _trial(enrolled, countries=("DE", "FR", "FR"), screened=screened, activated=activated)
    found = _ask(trial, _inputs(schedule, sites=sites))
    assert found.items == ("BOOK", "SCREEN", "SEED")
    assert found.draws[:, 1].tolist() == [[12] * 3] * 2
    assert found.draws[:, 2].tolist() == [[0, 20, 0], [20, 0, 20]]
    assert found.draws[:, 0].tolist() == [[1, 0, 1], [1, 1, 0]]  # S0 opened in November
    assert found.naive[2].tolist() == [0, 0, 0]
    assert found.naive[0].tolist() == [1, 0, 0]


def test_a_specific_row_replaces_the_one_for_all_and_a_star_version_adds() -> None:
    enrolled = np.ones((1, 2, 2, 1), dtype=np.int16)
    schedule = _schedule(
        ("*", "*", "1", "enrolled", 0, "KIT", 1.0),
        ("*", "FR", "1", "enrolled", 0, "KIT", 10.0),
        ("B", "*", "1", "enrolled", 0, "KIT", 100.0),
        ("B", "FR", "1", "enrolled", 0, "KIT", 1000.0),
        ("*", "*", "*", "enrolled", 0, "KIT", 0.5),
    )
    trial = _trial(enrolled, countries=("DE", "FR"), cohorts=("A", "B"))
    found = _ask(trial, _inputs(schedule))
    exact = (1 + 10 + 100 + 1000) + 4 * 0.5  # DE/A, FR/A, DE/B, FR/B
    assert found.draws[0, 0, 0] == exact
    alone = _ask(trial, _inputs(schedule.filter(pl.col("country") == "*", pl.col("cohort") == "*")))
    assert alone.draws[0, 0, 0] == 4 * 1.5


def test_switches_change_the_version_for_new_patients_or_for_all() -> None:
    enrolled = np.ones((4, 1, 1, 5), dtype=np.int16)
    rows = [("*", "*", v, "enrolled", o, f"V{v}", 1.0) for v in "123" for o in range(3)]
    inputs = _inputs(_schedule(*rows))
    happens, also = np.array([True, True, False, False]), np.array([True, False, True, False])
    new = _switch("2", 1, happens=happens)
    everyone = _switch("3", add_months(CYCLE, 3), happens=also, applies_to="all")
    found = _ask(_trial(enrolled), inputs, switches=(everyone, new))
    total = np.array([1, 2, 3, 3, 3])
    by_new = np.array([0, 1, 2, 3, 3])  # patients of month 1 and later
    for path, (first, second) in enumerate(zip(happens, also, strict=True)):
        of_three = total * second * (np.arange(5) >= 3)
        of_two = by_new * first * ~((np.arange(5) >= 3) & second)
        expected = np.stack([total - of_two - of_three, of_two, of_three])
        assert found.draws[path].tolist() == expected.tolist()
    assert found.naive.sum() == 0
    assert found.unused == ()


def test_the_version_in_force_and_what_no_switch_leads_to() -> None:
    enrolled = np.ones((1, 1, 1, 1), dtype=np.int16)
    rows = [("*", "*", v, "enrolled", 0, f"V{v}", 1.0) for v in ("a", "b", "c")]
    happened = _switch("a", -3, happens=np.array([True]), applies_to="all")
    found = _ask(_trial(enrolled), _inputs(_schedule(*rows)), switches=(happened,))
    assert found.draws[0, :, 0].tolist() == [1, 0, 0]
    assert found.unused == (
        "Schedule of X: version c never in force (no switch leads to it); its rows ask for "
        "nothing.",
    )
    strange = _schedule(("Z", "*", "*", "enrolled", 0, "V", 1.0),
                        ("*", "IT", "*", "enrolled", 0, "V", 1.0))  # fmt: skip
    strange = pl.concat([strange, strange.with_columns(study=pl.lit("Y"))])
    found = _ask(_trial(enrolled), _inputs(strange))
    assert not found.draws.any()
    assert [text.split(";")[0] for text in found.unused] == [
        "Schedule of Y: no such study, its rows ask for nothing.",
        "Schedule of X: cohort Z not in the study",
        "Schedule of X: country IT without a site of the study",
    ]


def test_a_switch_of_one_site_and_one_cohort_leaves_the_others_alone() -> None:
    enrolled = np.full((1, 2, 2, 2), 3, dtype=np.int16)
    rows = [("*", "*", v, "enrolled", 0, f"V{v}", 1.0) for v in "12"]
    one = _switch("2", 1, happens=np.array([True]), site="S1", cohort="B")
    trial = _trial(enrolled, cohorts=("A", "B"))
    found = _ask(trial, _inputs(_schedule(*rows)), switches=(one,))
    assert found.draws[0].tolist() == [[12, 9], [0, 3]]
    screening = [("*", "*", v, "screened", 0, f"V{v}", 1.0) for v in "12"]
    screened = _ask(trial, _inputs(_schedule(*screening)), switches=(one,)).draws[0]
    assert screened.sum(axis=0).tolist() == [12, 12]
    assert 0 <= screened[1, 1] <= 6


def test_screened_of_a_cohort_come_by_its_share_of_the_enrolled() -> None:
    paths = 4000
    enrolled = np.zeros((paths, 1, 2, 2), dtype=np.int16)
    enrolled[:, 0, 0], enrolled[:, 0, 1, 0] = 6, 3
    screened = np.full((paths, 1, 2), 30)
    schedule = _schedule(("A", "*", "*", "screened", 0, "FOR-A", 1.0),
                         ("*", "*", "*", "screened", 0, "FOR-ALL", 1.0))  # fmt: skip
    trial = _trial(enrolled, cohorts=("A", "B"), screened=screened)
    draws = _ask(trial, _inputs(schedule)).draws
    assert (draws[:, 1] == 30).all()
    assert draws[:, 0, 0].mean() == pytest.approx(20, abs=0.2)
    assert draws[:, 0, 0].var() == pytest.approx(30 * 2 / 9, rel=0.1)
    assert (draws[:, 0, 1] == 30).all()


def test_naive_holds_the_last_three_months_flat() -> None:
    schedule = _schedule(("*", "*", "1", "enrolled", 0, "KIT", 1.0),
                         ("*", "*", "1", "enrolled", 2, "KIT", 4.0),
                         ("*", "*", "2", "enrolled", 0, "NEW", 1.0),
                         ("*", "*", "*", "screened", 0, "SCREEN", 1.0))  # fmt: skip
    past = _enrolment(("S0", "all", 4, 90, 90, 0, 90), ("S0", "all", 3, 6, 3, 0, 0),
                      ("S0", "all", 2, 6, 0, 0, 0), ("S0", "all", 1, 9, 6, 2, 0))  # fmt: skip
    trial = _trial(np.zeros((2, 1, 1, 4), dtype=np.int16))
    soon = _switch("2", 1, happens=np.ones(2, dtype=bool))
    found = _ask(trial, _inputs(schedule, enrolment=past), hazard=0.5, switches=(soon,))
    # Active: 7 of 9 (2 of the 9 dropped out, in proportion): 7 / 3 of 3 months ago, 14 / 3.
    assert found.items == ("KIT", "NEW", "SCREEN")
    np.testing.assert_allclose(found.naive[0], [3, 3 + 4 * 14 / 3, 3 + 12, 3 + 12])
    assert found.naive[1].tolist() == [0] * 4  # a switch still to come is nobody's run rate
    np.testing.assert_allclose(found.naive[2], 7.0)


def test_a_closed_study_has_its_active_patients_only() -> None:
    schedule = _schedule(("*", "*", "*", "enrolled", 2, "KIT", 1.0),
                         ("*", "*", "*", "screened", 0, "SCREEN", 1.0),
                         ("*", "*", "*", "screened", 1, "SCREEN", 1.0))  # fmt: skip
    past = _enrolment(("S0", "all", 2, 5, 5, 1, 0), ("S0", "all", 1, 4, 4, 0, 0))
    trial = _trial(np.full((3, 1, 1, 4), 9, dtype=np.int16))
    inputs = _inputs(schedule, status="closed", enrolment=past)
    for paths in (trial, None):
        found = _ask(paths, inputs)
        assert (found.draws[:, 0] == [4, 4, 0, 0]).all()
        assert not found.draws[:, 1].any()
        assert found.naive.tolist() == [[4, 4, 0, 0], [0] * 4]


def test_no_demand_after_everybody_has_dropped_out() -> None:
    schedule = _schedule(*[("*", "*", "*", "enrolled", o, "KIT", 1.0) for o in range(4)])
    past = _enrolment(("S0", "all", 1, 5, 5, 0, 0))
    trial = _trial(np.full((3, 1, 1, 4), 9, dtype=np.int16))
    found = _ask(trial, _inputs(schedule, enrolment=past), hazard=1e4)
    assert (found.draws == 9).all()  # those just enrolled
    gone = _enrolment(("S0", "all", 2, 5, 5, 0, 0), ("S0", "all", 1, 0, 0, 3, 2))
    empty = _trial(np.zeros((3, 1, 1, 4), dtype=np.int16))
    assert not _ask(empty, _inputs(schedule, enrolment=gone)).draws.any()


def test_patients_one_by_one() -> None:
    """Dropout with an event, a new and an all switch inside a month, against a plain simulation."""
    rng = np.random.default_rng(3)
    paths, months, last = 3000, 5, 3
    hazard = [0.1, 0.3]
    multiplier = np.where(np.arange(months) >= 2, 2.0, 1.0) * np.ones((paths, 1))
    enrolled = rng.poisson(3.0, (paths, 1, 1, months)).astype(np.int16)
    comes = np.arange(paths) % 3 > 0
    switches = (
        _switch("2", 1, share=0.3, happens=comes),
        _switch("3", 3, share=0.6, applies_to="all", happens=np.arange(paths) % 5 > 0),
    )
    rows = [("*", "*", v, "enrolled", o, f"V{v}", 1.0 + o) for v in "123" for o in range(last + 1)]
    past = _enrolment(("S0", "all", 3, 6, 6, 1, 0), ("S0", "all", 2, 4, 4, 2, 0),
                      ("S0", "all", 1, 5, 5, 1, 2))  # fmt: skip
    inputs = _inputs(_schedule(*rows), enrolment=past)
    found = _ask(_trial(enrolled), inputs, hazard, switches, {"X": multiplier}).draws

    def hazard_up_to(time: float, path: int) -> float:
        """Summed from the cycle's first day on, month by month."""
        total = 0.0
        for month in range(months):
            part = min(max(time - month, 0.0), 1.0)
            total += part * multiplier[path, month] * hazard[path % 2]
        return total

    brute = np.zeros_like(found)
    for path in range(paths):
        active: list[int] = []
        for month, new, drops, completes in ((-3, 6, 1, 0), (-2, 4, 2, 0), (-1, 5, 1, 2)):
            active += [month] * new
            for _ in range(drops):
                active.pop(rng.integers(len(active)))
            active = sorted(active)[completes:]
        for month in range(months):
            active += [month] * int(enrolled[path, 0, 0, month])
        for birth in active:
            leaves = hazard_up_to(max(birth + 0.5, 0.0), path) + rng.exponential()
            exact_birth = birth + rng.random()
            for offset in range(last + 1):
                dose = birth + offset
                if not 0 <= dose < months or hazard_up_to(dose + 0.5, path) > leaves:
                    continue
                version = 0
                if switches[0].happens[path] and exact_birth >= 1.7:
                    version = 1
                if switches[1].happens[path] and dose + rng.random() >= 3.4:
                    version = 2
                brute[path, version, dose] += 1.0 + offset
    spread = np.sqrt((found.var(axis=0) + brute.var(axis=0)) / paths)
    gap = (found.mean(axis=0) - brute.mean(axis=0)) / np.maximum(spread, 1e-9)
    assert np.abs(gap).max() < 4
    some = brute.var(axis=0) > 1
    np.testing.assert_allclose(found.var(axis=0)[some], brute.var(axis=0)[some], rtol=0.17)
    quarter, also = found.sum(axis=(1, 2)), brute.sum(axis=(1, 2))
    assert quarter.var() == pytest.approx(also.var(), rel=0.1)
    assert np.corrcoef(quarter, also)[0, 1] > 0.8  # the same patients enrol in both


def test_an_unreported_dropout_is_drawn_and_a_reported_one_is_exact() -> None:
    schedule = _schedule(("*", "*", "*", "enrolled", 2, "KIT", 1.0))
    silent = _enrolment(("S0", "all", 2, 99, 99, None, None), ("S0", "all", 1, 0, 0, None, None))
    told = _enrolment(("S0", "all", 2, 99, 99, 20, None), ("S0", "all", 1, 0, 0, 0, None))
    empty = _trial(np.zeros((2000, 1, 1, 1), dtype=np.int16))
    drawn = _ask(empty, _inputs(schedule, enrolment=silent), hazard=0.1)
    exact = _ask(empty, _inputs(schedule, enrolment=told), hazard=0.0)
    stay = np.exp(-0.1 * 2)  # from mid-October to mid-December
    assert drawn.draws.mean() == pytest.approx(99 * stay, rel=0.01)
    assert drawn.draws.var() == pytest.approx(99 * stay * (1 - stay), rel=0.12)
    assert (exact.draws == 79).all()
    assert "1 site with months without a count of dropouts" in drawn.unused[0]


def test_patients_whose_cohort_is_not_told_apart_are_parted_by_the_shares() -> None:
    schedule = _schedule(("A", "*", "*", "enrolled", 1, "FOR-A", 1.0),
                         ("*", "*", "*", "enrolled", 1, "FOR-ALL", 1.0))  # fmt: skip
    past = _enrolment(("S0", "all", 1, 50, 50, 0, 0))
    empty = np.zeros((3000, 1, 2, 1), dtype=np.int16)
    trial = _trial(empty, cohorts=("A", "B"), before=np.array([[40.0, 10.0]]))
    draws = _ask(trial, _inputs(schedule, enrolment=past)).draws[:, :, 0]
    assert (draws[:, 1] == 50).all()
    assert draws[:, 0].mean() == pytest.approx(40, abs=0.3)
    assert draws[:, 0].var() == pytest.approx(8, rel=0.12)


_counts = st.lists(st.integers(0, 6), min_size=3, max_size=3)
_quantity = st.sampled_from([0.1, 0.25, 1.0, 2.0, 3.7, 150.0])


def _simple(counts: list[int]) -> tuple[TrialPaths, pl.DataFrame]:
    enrolled = np.zeros((4, 1, 1, 3), dtype=np.int16)
    enrolled[:, 0, 0] = counts
    return _trial(enrolled), _enrolment(("S0", "all", 1, 4, 4, 1, 0), ("S0", "all", 2, 7, 7, 0, 1))


@settings(max_examples=30, deadline=None)
@given(counts=_counts, quantity=_quantity, hazard=st.sampled_from([0.0, 0.2]))
def test_demand_is_linear_in_quantity_and_in_steps(
    counts: list[int], quantity: float, hazard: float
) -> None:
    trial, past = _simple(counts)

    def ask(times: float) -> ItemDemand:
        rows = [("*", "*", "*", "enrolled", o, "KIT", times * quantity) for o in range(3)]
        return _ask(trial, _inputs(_schedule(*rows), enrolment=past), hazard)

    one, two = ask(1.0), ask(2.0)
    np.testing.assert_allclose(two.draws, 2 * one.draws, atol=1.5 * max(one.steps[0], two.steps[0]))
    np.testing.assert_allclose(two.naive, 2 * one.naive, rtol=1e-6)
    assert (one.draws / one.steps[0] == np.rint(one.draws / one.steps[0])).all()
    patients = one.draws / quantity
    assert np.abs(patients - np.rint(patients)).max() <= one.steps[0] / quantity


@settings(max_examples=30, deadline=None)
@given(counts=_counts, hazard=st.sampled_from([0.0, 0.2]), seed=st.integers(0, 5))
def test_rows_add_up_and_one_more_row_moves_no_other(
    counts: list[int], hazard: float, seed: int
) -> None:
    trial, past = _simple(counts)
    rows = [("*", "*", "*", "enrolled", o, "KIT", 1.0 + o) for o in range(3)]
    more = [("*", "*", "*", "enrolled", 9, "LATE", 1.0), ("*", "*", "*", "screened", 0, "S", 1.0)]

    def ask(chosen: list[Any]) -> ItemDemand:
        return _ask(trial, _inputs(_schedule(*chosen), enrolment=past), hazard, seed=seed)

    whole = ask(rows)
    apart = sum(ask([row]).draws for row in rows)
    assert whole.draws.tobytes() == apart.tobytes()
    beside = ask(rows + more)
    assert beside.draws[:, [beside.items.index("KIT")]].tobytes() == whole.draws.tobytes()


def test_the_same_seed_gives_the_same_bytes_and_fewer_draws_the_first_paths() -> None:
    trial, past = _simple([3, 2, 1])
    inputs = _inputs(_schedule(("*", "*", "*", "enrolled", 1, "KIT", 1.0)), enrolment=past)
    first, again = (_ask(trial, inputs, 0.2, seed=7) for _ in range(2))
    assert first.draws.tobytes() == again.draws.tobytes()
    assert _ask(trial, inputs, 0.2, draws=2).draws.shape == (2, 1, 3)
    assert _ask(trial, inputs, 0.2, draws=99, horizon=2).draws.shape == (4, 1, 2)
    with pytest.raises(ValueError, match="horizon: 4 months"):
        _ask(trial, inputs, horizon=4)


def test_missing_reports_are_said() -> None:
    trial, _ = _simple([1, 1, 1])
    past = _enrolment(("S0", "all", 3, 4, 4, 0, 0), ("S0", "all", 2, 4, None, 0, 0))
    inputs = _inputs(_schedule(("*", "*", "*", "enrolled", 1, "KIT", 1.0)), enrolment=past)
    assert _ask(trial, inputs).unused == (
        "Study X: 1 row of enrolment without a count; patients of these months get no doses here.",
        "Study X: nothing is reported for November 2026; patients enrolled then get no doses here.",
    )
    nothing = _ask(trial, _inputs(_schedule()))
    assert nothing.items == ()
    assert nothing.draws.shape == (4, 0, 3)
