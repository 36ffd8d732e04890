"""Value added against plain loops, a table worked by hand, and properties that must hold."""

from __future__ import annotations

import math
import time
from datetime import date
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sopforecast.core.learning_tables import empty
from sopforecast.core.months import add_months, months_between
from sopforecast.core.resampling import block_picks, few_blocks_factor
from sopforecast.core.score_tables import Scores, ValueAdded
from sopforecast.learning.same_cells import rungs_of
from sopforecast.learning.value_added import left_out, value_added

CLOSED = date(2026, 12, 1)
TYPED = empty(Scores, without="fit_id").schema


def score(
    ds: date,
    cycle: date,
    stage: str,
    actual: np.ndarray,
    forecast: np.ndarray,
    *,
    within: str = "total",
    measure: str = "quantity",
    **changed: object,
) -> dict[str, object]:
    """One row of ``Scores`` of these items."""
    row = {
        "version": "first", "ds": ds, "cycle": cycle, "stage": stage, "level": "item",
        "within": within, "measure": measure, "source": "*", "owner": "*",
        "lead": months_between(cycle, ds) + 1, "run_id": f"r{cycle:%Y%m}", "cells": len(actual),
        "actual": actual.sum(), "forecast": forecast.sum(), "demand": np.abs(actual).sum(),
        "absolute_error": np.abs(forecast - actual).sum(),
        "squared_error": 0.0, "scaled_cells": 0, "scaled_error": 0.0, "scaled_squared": 0.0,
        "ranged": 0, "inside80": 0, "wis": 0.0, "drawn": 0, "crps": 0.0,
    }  # fmt: skip
    return row | changed


def scores(rows: list[dict[str, object]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=TYPED)


def company(
    seed: int,
    *,
    months: int = 8,
    leads: int = 3,
    items: int = 4,
    spoken: tuple[str, ...] = ("sales", "finance"),
    families: int = 1,
    measures: tuple[str, ...] = ("quantity",),
) -> pl.DataFrame:
    """Random scores; every source is silent in some runs."""
    rng = np.random.default_rng(seed)
    silent = {
        (add_months(CLOSED, -back), name)
        for back in range(months + leads)
        for name in spoken
        if rng.random() < 0.3
    }
    rows = []
    for back in range(months):
        ds = add_months(CLOSED, -back)
        for family in range(families):
            actual = rng.poisson(20.0, items).astype(float)
            within = "total" if family == 0 else f"family={family}"
            for lead in range(1, leads + 1):
                cycle = add_months(ds, 1 - lead)
                stages = ["naive", "statistical"]
                for name in spoken:
                    if (cycle, name) not in silent:
                        stages += [f"source:{name}", f"through:{name}"]
                if len(stages) > 2:
                    stages += ["consensus", "approved"][: rng.integers(1, 3)]
                for stage in stages:
                    forecast = np.rint(actual + rng.normal(1.0, 6.0, items)).clip(0)
                    rows += [
                        score(ds, cycle, stage, actual, forecast, within=within, measure=measure)
                        for measure in measures
                    ]
    return scores(rows)


def table(frame: pl.DataFrame, **changed: object) -> pl.DataFrame:
    return value_added(
        frame, **({"closed": CLOSED, "sources": ("sales", "finance"), "seed": 7} | changed)
    )


def row_of(frame: pl.DataFrame, stage: str, **keys: object) -> dict[str, object]:
    keys = {"window": 12, "measure": "quantity", "within": "total", "lead": 0} | keys
    for name, value in keys.items():
        frame = frame.filter(pl.col(name) == value)
    return frame.row(by_predicate=pl.col("stage") == stage, named=True)


# By hand ------------------------------------------------------------------------------------------


def by_hand() -> pl.DataFrame:
    """Two items, three months, lead 1; sales spoke in October and December, nobody in November.

    actual      Oct 10, 30   Nov 20, 20   Dec  0, 20     demand 40 + 40 + 20 = 100
    naive           20, 20       10, 20        0, 30     |e| 20 + 10 + 10 = 40,  e   0 - 10 + 10 = 0
    statistical     14, 30       20, 14        0, 30     |e|  4 +  6 + 10 = 20,  e   4 -  6 + 10 = 8
    sales           12, 30       (as above)    0, 24     |e|  2 +  6 +  4 = 12,  e   2 -  6 +  4 = 0
    consensus       11, 30       (as above)    0, 24     |e|  1 +  6 +  4 = 11,  e   1 -  6 +  4 =-1
    approved      (as above)     20, 20     (as above)   |e|  1 +  0 +  4 =  5,  e   1 +  0 +  4 = 5
    """
    told = {
        10: ((10, 30), {"naive": (20, 20), "statistical": (14, 30), "source:sales": (12, 30),
                        "through:sales": (12, 30), "consensus": (11, 30)}),
        11: ((20, 20), {"naive": (10, 20), "statistical": (20, 14), "approved": (20, 20)}),
        12: ((0, 20), {"naive": (0, 30), "statistical": (0, 30), "source:sales": (0, 24),
                       "through:sales": (0, 24), "consensus": (0, 24)}),
    }  # fmt: skip
    return scores([
        score(date(2026, month, 1), date(2026, month, 1), stage,
              np.array(actual, dtype=float), np.array(forecast, dtype=float))
        for month, (actual, stages) in told.items()
        for stage, forecast in stages.items()
    ])  # fmt: skip


def test_three_months_of_two_items_worked_by_hand():
    found = table(by_hand(), windows=(3,)).filter(lead=0)
    assert found["stage"].to_list() == [
        "naive", "statistical", "source:sales", "through:sales", "consensus", "approved",
    ]  # fmt: skip
    assert found["alone"].to_list() == [False, False, True, False, False, False]
    assert found["wmape"].to_list() == pytest.approx([40, 20, 12, 12, 11, 5])
    assert found["accuracy"].to_list() == pytest.approx([60, 80, 88, 88, 89, 95])
    assert found["bias_percent"].to_list() == pytest.approx([0, 8, 0, 0, -1, 5])
    assert found["gained"].to_list()[1:] == pytest.approx([20, 8, 8, 1, 6])
    assert found["over_naive"].to_list()[1:] == pytest.approx([20, 28, 28, 29, 35])
    assert found["over_statistical"].to_list()[2:] == pytest.approx([8, 8, 9, 15])
    assert found.row(0, named=True)["gained"] is None
    assert found.row(1, named=True)["over_statistical"] is None
    assert found["months"].unique().to_list() == [3]
    assert found["cells"].unique().to_list() == [6]
    assert found.select("gained_low", "over_naive_high").null_count().row(0) == (6, 6)
    assert found["position"].to_list() == list(range(6))


def test_a_window_counts_its_own_months_only():
    found = table(by_hand(), windows=(1, 3, 12))
    assert row_of(found, "approved", window=1)["wmape"] == pytest.approx(20.0)  # 4 of 20
    assert row_of(found, "approved", window=1)["cells"] == 2
    assert row_of(found, "approved", window=12)["months"] == 3
    later = table(by_hand(), closed=date(2027, 1, 1), windows=(1, 3))
    assert later["window"].unique().to_list() == [3]
    assert row_of(later, "naive", window=3)["cells"] == 4
    assert table(by_hand(), closed=date(2020, 1, 1)).is_empty()


def test_a_source_that_did_not_speak_in_the_window_has_no_row():
    frame = by_hand().filter(pl.col("ds") == date(2026, 11, 1))
    found = table(frame, windows=(3,)).filter(lead=0)
    assert found["stage"].to_list() == ["naive", "statistical", "consensus", "approved"]
    assert found["gained"].to_list()[1:] == pytest.approx([10, 0, 15])


def test_the_ladder_follows_the_settings_then_the_alphabet():
    stages = [
        f"{kind}:{name}" for name in ("zoe", "amy", "sales") for kind in ("source", "through")
    ]
    rungs = rungs_of(stages, ["finance", "sales"])
    assert [rung.stage for rung in rungs] == [
        "naive", "statistical", "source:sales", "source:amy", "source:zoe", "through:sales",
        "through:amy", "through:zoe", "consensus", "approved",
    ]  # fmt: skip
    assert [rung.above for rung in rungs] == [None, 0, 1, 1, 1, 1, 5, 6, 7, 8]
    assert [rung.equals for rung in rungs] == [None, None, 1, 1, 1, 1, 5, 6, 1, 8]


# Plain loops --------------------------------------------------------------------------------------


def loops(
    frame: pl.DataFrame, order: list[str], *, window: int, lead: int, within: str, measure: str
) -> dict[str, tuple[int, float, float, float]]:
    """Cells, demand, absolute and signed error by stage, one month and cycle after the other."""
    first = add_months(CLOSED, 1 - window)
    runs: dict[tuple[date, date], dict[str, dict[str, float]]] = {}
    frame = frame.filter(within=within, measure=measure)
    for row in frame.iter_rows(named=True):
        if lead in (0, row["lead"]) and first <= row["ds"] <= CLOSED:
            runs.setdefault((row["ds"], row["cycle"]), {})[row["stage"]] = row
    found: dict[str, tuple[int, float, float, float]] = {}
    for stages in runs.values():
        full = {"naive": stages["naive"], "statistical": stages["statistical"]}
        before = full["statistical"]
        for name in order:
            full[f"source:{name}"] = stages.get(f"source:{name}", full["statistical"])
            before = full[f"through:{name}"] = stages.get(f"through:{name}", before)
        full["consensus"] = stages.get("consensus", full["statistical"])
        full["approved"] = stages.get("approved", full["consensus"])
        for stage, row in full.items():
            cells, demand, size, error = found.get(stage, (0, 0.0, 0.0, 0.0))
            found[stage] = (
                cells + row["cells"],
                demand + row["demand"],
                size + row["absolute_error"],
                error + row["forecast"] - row["actual"],
            )
    return found


def test_every_table_equals_plain_loops():
    frame = company(3, months=13, leads=13, families=2, measures=("quantity", "value"))
    found = table(frame)
    keys = found.select("window", "measure", "within", "lead").unique()
    assert keys.height == 3 * 2 * 2 * 13  # windows, measures, selections, all leads and 1 to 12
    for window, measure, within, lead in keys.iter_rows():
        expected = loops(frame, ["sales", "finance"], window=window, lead=lead, within=within,
                         measure=measure)  # fmt: skip
        rows = found.filter(window=window, measure=measure, within=within, lead=lead)
        assert set(rows["stage"]) == set(expected)
        for row in rows.iter_rows(named=True):
            cells, demand, size, error = expected[row["stage"]]
            assert row["cells"] == cells
            assert row["wmape"] == pytest.approx(100 * size / demand, rel=1e-12)
            assert row["bias_percent"] == pytest.approx(100 * error / demand, rel=1e-12, abs=1e-12)


def test_ranges_equal_plain_loops_over_resamples():
    frame = company(5, months=9, leads=4, spoken=("sales",))
    found = table(frame, sources=("sales",))
    for lead, block in ((0, 4), (1, 1), (3, 3)):
        by_month = [
            loops(frame.filter(pl.col("ds") == add_months(CLOSED, -back)), ["sales"], window=12,
                  lead=lead, within="total", measure="quantity")
            for back in range(8, -1, -1)
        ]  # fmt: skip
        picks = block_picks(9, block=block, resamples=2000, seed_names=("value_added",), seed=7)
        gains = []
        for resample in picks.tolist():
            chosen = [by_month[month] for month in resample]
            size = {s: sum(m[s][2] for m in chosen) for s in ("through:sales", "consensus")}
            demand = sum(month["naive"][1] for month in chosen)
            gains.append(100 * (size["through:sales"] - size["consensus"]) / demand)
        row = row_of(found, "consensus", lead=lead)
        stretch = few_blocks_factor(9, block=block, level=0.95)
        for name, level in (("gained_low", 0.05), ("gained_high", 0.95)):
            end = row["gained"] + stretch * (np.quantile(gains, level) - row["gained"])
            assert row[name] == pytest.approx(end, abs=1e-9)


# Properties ---------------------------------------------------------------------------------------


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), months=st.integers(1, 8), leads=st.integers(1, 4))
def test_gains_along_the_ladder_add_up_to_the_gain_over_naive(seed, months, leads):
    found = table(company(seed, months=months, leads=leads))
    for _, part in found.group_by("window", "lead"):
        rows = part.sort("position").filter(~pl.col("alone")).to_dicts()
        walked = 0.0
        for before, row in pairwise(rows):
            walked += row["gained"]
            assert row["over_naive"] == pytest.approx(walked, abs=1e-9)
            assert row["wmape"] == pytest.approx(before["wmape"] - row["gained"], abs=1e-9)
        start = rows[1]["over_naive"]
        for row in part.filter(pl.col("position") > 1).iter_rows(named=True):
            assert row["over_statistical"] == pytest.approx(row["over_naive"] - start, abs=1e-9)


@settings(max_examples=8)
@given(seed=st.integers(0, 10_000), order=st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_no_byte(seed, order):
    frame = company(seed, families=2)
    places = list(range(frame.height))
    order.shuffle(places)
    assert table(frame[places]).equals(table(frame), null_equal=True)


@settings(max_examples=8)
@given(seed=st.integers(0, 10_000), scale=st.sampled_from([0.25, 8.0, 1024.0, 3.7]))
def test_the_unit_of_demand_changes_nothing(seed, scale):
    frame = company(seed)
    sums = ("actual", "forecast", "demand", "absolute_error")
    scaled = frame.with_columns(pl.col(name) * scale for name in sums)
    one, other = table(frame), table(scaled)
    assert one.drop(pl.selectors.float()).equals(other.drop(pl.selectors.float()))
    for name in one.select(pl.selectors.float()).columns:
        np.testing.assert_allclose(
            other[name].to_numpy(), one[name].to_numpy(), atol=1e-8, err_msg=name
        )


def test_a_constant_gain_has_a_range_without_width():
    rows = []
    for back in range(12):
        ds, y = add_months(CLOSED, -back), np.array([10.0 + 3 * back, 40.0])
        for stage, share in (("naive", 0.5), ("statistical", 0.3), ("consensus", 0.25)):
            rows.append(score(ds, ds, stage, y, y * (1 + share)))
    row = row_of(table(scores(rows)), "consensus")
    assert row["gained"] == pytest.approx(5.0)
    assert (row["gained_low"], row["gained_high"]) == pytest.approx((5.0, 5.0), abs=1e-9)
    assert (row["over_naive_low"], row["over_naive_high"]) == pytest.approx((25.0, 25.0), abs=1e-9)


def test_a_source_that_moved_nothing_gains_nothing_for_sure():
    frame = company(2, months=12, spoken=())
    row = row_of(table(frame), "consensus")
    assert (row["gained"], row["gained_low"], row["gained_high"]) == (0.0, 0.0, 0.0)


def test_long_leads_never_make_a_range_of_no_width():
    """A block of all months would give every resample the same months."""
    found = table(company(4, months=12, leads=12), windows=(12,)).filter(pl.col("position") == 1)
    assert found.height == 13
    assert (found["gained_high"] - found["gained_low"] > 0.1).all()


# Nothing to divide by, too little to tell ---------------------------------------------------------


def test_no_demand_is_null_not_zero():
    zero, two = np.zeros(3), np.array([0.0, 2.0, 0.0])
    rows = [score(add_months(CLOSED, -back), add_months(CLOSED, -back), stage, zero, two)
            for back in range(7) for stage in ("naive", "statistical")]  # fmt: skip
    found = table(scores(rows))
    numbers = found.select(pl.selectors.float())
    assert found["cells"].max() == 21
    assert all(count == found.height for count in numbers.null_count().row(0))


def test_months_without_demand_stand_beside_months_with_it():
    """One month in eight has demand: resamples that hold none of it are left out, not zero."""
    rows = []
    for back in range(8):
        ds, y = add_months(CLOSED, -back), np.array([10.0 if back == 3 else 0.0])
        rows += [score(ds, ds, "naive", y, y + 4.0), score(ds, ds, "statistical", y, y + 1.0)]
    row = row_of(table(scores(rows)), "statistical")
    assert row["gained"] == pytest.approx(100 * 3 * 8 / 10)
    assert math.isfinite(row["gained_low"])
    assert row["gained_low"] < row["gained"] <= row["gained_high"]


@pytest.mark.parametrize(("months", "ranged"), [(5, False), (6, True)])
def test_below_six_months_there_is_no_range(months, ranged):
    found = table(company(1, months=months)).filter(pl.col("position") > 0, window=12)
    for name in ("gained", "over_naive"):
        assert found[name].null_count() == 0
        assert (found[f"{name}_low"].null_count() == 0) is ranged
    short = table(company(1, months=12)).filter(pl.col("window") < 6)
    assert short["gained_high"].null_count() == short.height


def test_a_cycle_without_naive_or_statistical_is_counted_and_left_out():
    frame = company(6, months=4, leads=2)
    gone = (pl.col("ds") == CLOSED) & (pl.col("cycle") == CLOSED)
    for stage in ("naive", "statistical"):
        without = frame.filter(~(gone & (pl.col("stage") == stage)))
        assert left_out(without, closed=CLOSED) == 1
        assert table(without).equals(table(frame.filter(~gone)), null_equal=True)
    assert left_out(frame, closed=CLOSED) == 0


def test_restated_rows_and_other_levels_sources_and_owners_are_not_read():
    frame = company(8)
    other = [
        frame.with_columns(pl.lit(text).cast(TYPED[name]).alias(name))
        for name, text in (("version", "restated"), ("level", "total"), ("source", "sales"),
                           ("owner", "ann"))
    ]  # fmt: skip
    assert table(pl.concat([frame, *other])).equals(table(frame), null_equal=True)


def test_items_scored_by_a_later_close_are_added_once():
    """September was closed for one item, then for the one that had waited; who spoke may differ."""
    ds, y = CLOSED, np.array([10.0])
    one = [
        score(ds, ds, s, y, y + e)
        for s, e in (
            ("naive", 8.0),
            ("statistical", 4.0),
            ("source:sales", 2.0),
            ("through:sales", 2.0),
        )
    ]
    two = [score(ds, ds, "naive", y, y + 6.0), score(ds, ds, "statistical", y, y + 1.0)]
    closes = [scores(rows).with_columns(fit_id=pl.lit(fit, dtype=pl.String))
              for rows, fit in ((one, "a"), (two, None))]  # fmt: skip
    found = table(pl.concat(closes), windows=(1,)).filter(lead=0)
    assert found["wmape"].to_list() == pytest.approx([70, 25, 15, 15, 25, 25])
    assert found["cells"].unique().to_list() == [2]


# What cannot be -----------------------------------------------------------------------------------


def test_stages_that_count_other_cells_are_refused():
    frame = by_hand()
    at = (pl.col("stage") == "consensus") & (pl.col("ds") == date(2026, 12, 1))
    for column in ("cells", "demand"):
        changed = frame.with_columns(pl.when(at).then(pl.col(column) + 1).otherwise(column))
        with pytest.raises(ValueError, match=r"consensus of 2026-12, cycle 2026-12.*same items"):
            table(changed)


def test_a_stage_given_twice_is_refused():
    with pytest.raises(ValueError, match="is there twice"):
        table(pl.concat([by_hand(), by_hand().head(1)]))


def test_a_source_that_spoke_but_has_no_turn_is_refused():
    with pytest.raises(ValueError, match=r"source:sales.*has no through:sales"):
        table(by_hand().filter(pl.col("stage") != "through:sales"))


def test_a_window_of_no_months_is_refused():
    with pytest.raises(ValueError, match="windows: found 0"):
        table(by_hand(), windows=(0,))


def test_the_table_is_the_declared_one_with_and_without_rows():
    for frame in (by_hand(), by_hand().clear()):
        found = table(frame)
        assert found.schema == empty(ValueAdded, without="fit_id").schema
        ValueAdded.validate(found.with_columns(fit_id=pl.lit("f")))


# Does the range hold the truth, and in what time --------------------------------------------------


def test_nine_of_ten_ranges_hold_the_truth():
    """24 independent months: the gain of statistical is 10 points on average, by construction."""
    rng, companies = np.random.default_rng(11), 250
    demand = np.array([100.0])
    months = [add_months(CLOSED, -back) for back in range(24)]
    rows = [score(ds, ds, s, demand, demand) for ds in months for s in ("naive", "statistical")]
    parts = [
        scores(rows).with_columns(
            within=pl.lit(f"family={k}"),
            absolute_error=(np.array([40, 30]) + rng.normal(0, 5, (24, 2))).ravel(),
        )
        for k in range(companies)
    ]  # fmt: skip
    found = table(pl.concat(parts), windows=(24,)).filter(stage="statistical", lead=1)
    assert found.height == companies
    inside = found.select(pl.lit(10.0).is_between("gained_low", "gained_high").mean()).item()
    assert 0.86 <= inside <= 0.94
    half = found.select((pl.col("gained_high") - pl.col("gained_low")).mean() / 2).item()
    exact = 1.7139 * math.hypot(5, 5) / math.sqrt(24)  # Student's t with 23 degrees of freedom
    assert half == pytest.approx(exact, rel=0.06)


def test_a_large_company_is_quick():
    frame = company(9, months=24, leads=12, families=21, measures=("quantity", "value"))
    began = time.process_time()
    found = table(frame, windows=(1, 3, 24))
    assert found.height == 3 * 2 * 21 * 13 * 8
    assert time.process_time() - began < 4.0  # CPU seconds; about 0.8 alone
