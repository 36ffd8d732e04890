"""Enrolment scores worked by hand, by plain loops and by scoringrules; openings day by day."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest
import scoringrules
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sopforecast.core.clinical_tables import EnrolmentForecasts, Sites
from sopforecast.core.draws import QUANTILES
from sopforecast.core.learning_tables import empty
from sopforecast.core.months import add_months
from sopforecast.core.score_tables import EnrolmentScores, SiteActivation
from sopforecast.learning.enrolment import (
    current_enrolment,
    enrolment_measures,
    score_enrolment,
    site_activation,
)

MONTH = date(2026, 11, 1)
CYCLES = (date(2026, 9, 1), date(2026, 10, 1), date(2026, 11, 1))
NODES = (("study", "NOVA"), ("country", "DE"), ("site", "S1"), ("site", "S2"), ("cohort", "A"))
LABELS = [label for label, _ in QUANTILES]
NONE = empty(EnrolmentScores)


def forecasts(seed=1, *, cycles=CYCLES, nodes=NODES, month=MONTH, measure="monthly"):
    rng = np.random.default_rng(seed)
    rows = []
    for cycle in cycles:
        for level, node in nodes:
            low_to_high = np.sort(rng.gamma(2.0, 3.0, len(LABELS)))
            rows.append(
                {"run_id": f"r{cycle:%m}", "cycle": cycle, "study": "NOVA", "level": level,
                 "node": node, "ds": month, "measure": measure, "mean": float(rng.gamma(2.0, 3.0)),
                 **dict(zip(LABELS, low_to_high.tolist(), strict=True))}
            )  # fmt: skip
    types = {name: column.dtype for name, column in EnrolmentForecasts.columns().items()}
    return pl.DataFrame(rows, schema=types)


def actuals(values, *, name="y"):
    rows = [("NOVA", level, node, float(y)) for (level, node), y in values.items()]
    columns = {"study": pl.String, "level": pl.String, "node": pl.String, name: pl.Float64}
    return pl.DataFrame(rows, schema=columns, orient="row")


def planned(values):
    return actuals(values, name="planned")


ALL_KNOWN = {node: 3.0 + k for k, node in enumerate(NODES)}


def closed(frame, fit_id):
    """As a later close reads it back."""
    return EnrolmentScores.validate(frame.with_columns(fit_id=pl.lit(fit_id)))


def test_a_cell_worked_by_hand():
    """Pinball losses of y = 4: .2 .3 .5 .5 .25 .2 .2, in all 2.15; twice their mean is the WIS."""
    one = forecasts(cycles=CYCLES[:1], nodes=NODES[:1]).with_columns(
        mean=pl.lit(3.5), p05=pl.lit(0.0), p10=pl.lit(1.0), p25=pl.lit(2.0), p50=pl.lit(3.0),
        p75=pl.lit(5.0), p90=pl.lit(6.0), p95=pl.lit(8.0),
    )  # fmt: skip
    found = score_enrolment(
        one, actuals({NODES[0]: 4}), planned({NODES[0]: 5.0}), earlier=NONE
    ).row(0, named=True)
    assert found["wis"] == pytest.approx(2 * 2.15 / 7, rel=1e-12)
    assert (found["version"], found["lead"], found["run_id"]) == ("first", 3, "r09")
    assert (found["ds"], found["cycle"], found["study"]) == (MONTH, CYCLES[0], "NOVA")
    assert (found["level"], found["node"]) == ("study", "NOVA")
    assert (found["actual"], found["mean"], found["planned"]) == (4.0, 3.5, 5.0)
    assert (found["p10"], found["p50"], found["p90"]) == (1.0, 3.0, 6.0)


def test_every_score_is_that_of_scoringrules():
    said = forecasts(4)
    found = score_enrolment(said, actuals(ALL_KNOWN), planned({}), earlier=NONE)
    assert found.height == len(CYCLES) * len(NODES)
    for row in found.iter_rows(named=True):
        of = said.filter(
            pl.col("cycle") == row["cycle"],
            pl.col("level") == row["level"],
            pl.col("node") == row["node"],
        ).row(0, named=True)
        alpha = np.array([0.1, 0.2, 0.5])
        theirs = scoringrules.weighted_interval_score(
            np.array([ALL_KNOWN[row["level"], row["node"]]]),
            np.array([of["p50"]]),
            np.array([[of[label] for label in ("p05", "p10", "p25")]]),
            np.array([[of[label] for label in ("p95", "p90", "p75")]]),
            alpha,
            w_median=0.5,
            w_alpha=alpha / 2,
        )
        assert row["wis"] == pytest.approx(float(theirs[0]), rel=1e-9)
        assert row["lead"] == 1 + (MONTH.month - row["cycle"].month)
        assert row["planned"] is None


def test_nodes_that_are_not_complete_wait():
    known = {NODES[2]: 2.0}
    found = score_enrolment(forecasts(), actuals(known), planned({}), earlier=NONE)
    assert set(found["node"]) == {"S1"}
    assert score_enrolment(forecasts(), actuals({}), planned({}), earlier=NONE).is_empty()
    assert score_enrolment(
        forecasts().clear(), actuals(known), planned({}), earlier=NONE
    ).is_empty()


def test_a_late_site_brings_its_totals_and_nothing_twice():
    """First close: S1 alone. Second: the rest, S1 keeps its row. Third: nothing new."""
    said = forecasts()
    one = score_enrolment(said, actuals({NODES[2]: 5.0}), planned({}), earlier=NONE)
    earlier = closed(one, "c-1")
    two = score_enrolment(said, actuals(ALL_KNOWN), planned({}), earlier=earlier)
    assert set(two["version"]) == {"first"}
    assert set(two["node"]) == {"NOVA", "DE", "S2", "A"}
    earlier = pl.concat([earlier, closed(two, "c-2")])
    assert score_enrolment(said, actuals(ALL_KNOWN), planned({}), earlier=earlier).is_empty()


def test_a_corrected_count_scores_the_whole_month_again_and_only_once():
    said = forecasts()
    one = closed(score_enrolment(said, actuals(ALL_KNOWN), planned({}), earlier=NONE), "c-1")
    now = {**ALL_KNOWN, NODES[3]: 9.0, NODES[0]: 6.0}
    two = score_enrolment(said, actuals(now), planned({}), earlier=one)
    assert set(two["version"]) == {"restated"}
    assert two.height == one.height
    fresh = score_enrolment(said, actuals(now), planned({}), earlier=NONE)
    assert two.drop("version").equals(fresh.drop("version"))
    earlier = pl.concat([one, closed(two, "c-2")])
    assert score_enrolment(said, actuals(now), planned({}), earlier=earlier).is_empty()
    back = score_enrolment(said, actuals(ALL_KNOWN), planned({}), earlier=earlier)
    assert back.drop("version").equals(one.drop("version", "fit_id"))
    assert set(back["version"]) == {"restated"}


def test_a_count_taken_back_restates_the_month():
    said = forecasts()
    one = closed(score_enrolment(said, actuals(ALL_KNOWN), planned({}), earlier=NONE), "c-1")
    fewer = {node: y for node, y in ALL_KNOWN.items() if node != NODES[3]}
    two = score_enrolment(said, actuals(fewer), planned({}), earlier=one)
    assert set(two["version"]) == {"restated"}
    assert "S2" not in two["node"].to_list()
    earlier = pl.concat([one, closed(two, "c-2")])
    assert score_enrolment(said, actuals(fewer), planned({}), earlier=earlier).is_empty()


def test_what_joins_a_restated_month_is_in_its_restated_set():
    """Otherwise the newest restated set would lack it."""
    said = forecasts()
    without = {node: y for node, y in ALL_KNOWN.items() if node != NODES[3]}
    one = closed(score_enrolment(said, actuals(without), planned({}), earlier=NONE), "c-1")
    changed = {**without, NODES[0]: 8.0}
    two = closed(score_enrolment(said, actuals(changed), planned({}), earlier=one), "c-2")
    joined = {**changed, NODES[3]: 1.0}
    three = score_enrolment(said, actuals(joined), planned({}), earlier=pl.concat([one, two]))
    by = dict(three.group_by("version").len().iter_rows())
    assert by == {"first": len(CYCLES), "restated": len(CYCLES) * len(NODES)}
    assert set(three.filter(pl.col("version") == "first")["node"]) == {"S2"}


def test_a_cycle_run_late_is_scored_for_the_first_time():
    two_runs = forecasts(cycles=CYCLES[:2])
    one = score_enrolment(two_runs, actuals(ALL_KNOWN), planned({}), earlier=NONE)
    one = closed(one, "c-1")
    two = score_enrolment(forecasts(), actuals(ALL_KNOWN), planned({}), earlier=one)
    assert set(two["cycle"]) == {CYCLES[2]}
    assert set(two["version"]) == {"first"}


def test_other_months_of_earlier_do_not_matter():
    said = forecasts()
    other = add_months(MONTH, -1)
    before = closed(
        score_enrolment(
            forecasts(month=other, cycles=CYCLES[:2]), actuals(ALL_KNOWN), planned({}), earlier=NONE
        ),
        "c-0",
    )
    now = {node: y + 1 for node, y in ALL_KNOWN.items()}
    found = score_enrolment(said, actuals(now), planned({}), earlier=before)
    assert found.equals(score_enrolment(said, actuals(now), planned({}), earlier=NONE))


@given(st.integers(0, 10_000))
@hypothesis_settings(max_examples=20)
def test_order_of_rows_changes_nothing(seed):
    said, known = forecasts(), actuals(ALL_KNOWN)
    plan = planned({NODES[0]: 4.0, NODES[2]: 2.0})
    one = score_enrolment(said, known, plan, earlier=NONE)
    shuffled = [f.sample(fraction=1.0, shuffle=True, seed=seed) for f in (said, known, plan)]
    assert score_enrolment(*shuffled, earlier=NONE).equals(one)


def test_forecasts_of_several_months_or_sums_are_refused():
    two = pl.concat([forecasts(), forecasts(month=add_months(MONTH, 1))])
    for wrong in (two, forecasts(measure="cumulative")):
        with pytest.raises(ValueError, match="allowed: one month, measure 'monthly'"):
            score_enrolment(wrong, actuals(ALL_KNOWN), planned({}), earlier=NONE)


def _scores(*rows):
    """Rows (cycle, level, node, actual, mean, p10, p90, wis, planned) of November."""
    names = ("cycle", "level", "node", "actual", "mean", "p10", "p90", "wis", "planned")
    full = [
        dict(zip(names, row, strict=True))
        | {"fit_id": "c", "version": "first", "ds": MONTH, "study": "NOVA", "run_id": "r",
           "p50": row[4], "lead": 1 + MONTH.month - row[0].month}
        for row in rows
    ]  # fmt: skip
    types = {name: column.dtype for name, column in EnrolmentScores.columns().items()}
    return pl.DataFrame(full, schema=types)


def test_measures_worked_by_hand():
    scores = _scores(
        (CYCLES[1], "site", "S1", 4.0, 6.0, 2.0, 9.0, 1.5, 5.0),
        (CYCLES[2], "site", "S1", 4.0, 5.0, 3.0, 8.0, 1.0, 5.0),
        (CYCLES[1], "site", "S2", 1.0, 3.0, 2.0, 4.0, 2.0, 3.0),
        (CYCLES[2], "site", "S2", 1.0, 1.0, 0.0, 1.0, 0.5, 3.0),
        (CYCLES[2], "site", "S3", 5.0, 2.0, 1.0, 4.0, 3.0, None),
    )
    row = enrolment_measures(scores, []).row(0, named=True)
    assert (row["cells"], row["months"], row["actual"], row["forecast"]) == (5, 1, 15.0, 17.0)
    assert row["bias"] == pytest.approx(2.0 / 5)
    assert row["bias_percent"] == pytest.approx(100 * 2.0 / 15)
    assert row["wis"] == pytest.approx(8.0 / 5)
    assert (row["inside80"], row["coverage80"]) == (3, pytest.approx(0.6))
    # Each node-month of the plan once: 4 + 1 patients of 5 + 3 planned; S3 had no plan.
    assert (row["planned"], row["reached"]) == (8.0, 5.0)
    assert row["reached_percent"] == pytest.approx(62.5)
    by = enrolment_measures(scores, ["node"])
    assert by["node"].to_list() == ["S1", "S2", "S3"]
    assert by["bias_percent"].to_list() == pytest.approx([100 * 3 / 8, 100.0, -60.0])
    assert by["reached_percent"].to_list() == [80.0, pytest.approx(100 / 3), None]


def test_percentages_are_of_sums_never_averaged():
    rng = np.random.default_rng(3)
    rows = [
        (cycle, "site", f"S{k}", float(k % 3 * 7), *(float(v) for v in rng.gamma(2, 3, 4)),
         float(k))
        for cycle in CYCLES for k in range(6)
    ]  # fmt: skip
    scores = _scores(*rows)
    one = enrolment_measures(scores, ["lead"]).rows_by_key("lead", named=True, unique=True)
    for cycle in CYCLES:
        mine = [row for row in rows if row[0] == cycle]
        error, came = sum(row[4] - row[3] for row in mine), sum(row[3] for row in mine)
        found = one[1 + MONTH.month - cycle.month]
        assert found["bias_percent"] == pytest.approx(100 * error / came)
        assert found["coverage80"] == pytest.approx(np.mean([r[5] <= r[3] <= r[6] for r in mine]))
        assert found["wis"] == pytest.approx(np.mean([row[7] for row in mine]))
        assert found["reached_percent"] == pytest.approx(100 * came / sum(row[8] for row in mine))


def test_nothing_to_divide_by_is_null_and_no_rows_are_no_groups():
    zero = _scores((CYCLES[2], "site", "S1", 0.0, 1.0, 0.0, 2.0, 0.5, 0.0))
    row = enrolment_measures(zero, ["level"]).row(0, named=True)
    assert row["bias_percent"] is None
    assert row["reached_percent"] is None
    assert row["coverage80"] == 1.0
    assert enrolment_measures(zero.clear(), ["level"]).is_empty()


def test_which_rows_count():
    one = _scores((CYCLES[2], "site", "S1", 4.0, 5.0, 3.0, 8.0, 1.0, 5.0))
    again = one.with_columns(version=pl.lit("restated", one.schema["version"]), actual=pl.lit(6.0))
    once_more = again.with_columns(actual=pl.lit(7.0))
    other = one.with_columns(ds=pl.lit(add_months(MONTH, 1)))
    scores = pl.concat(
        frame.with_columns(seq=pl.lit(seq))
        for seq, frame in enumerate((one, again, once_more, other))
    )
    assert current_enrolment(scores)["actual"].to_list() == [4.0, 4.0]
    now = current_enrolment(scores, version="now")
    assert now.select("ds", "actual").rows() == [(MONTH, 7.0), (add_months(MONTH, 1), 4.0)]
    with pytest.raises(ValueError, match="allowed: 'first', 'now'"):
        current_enrolment(scores, version="last")


def _sites(*rows):
    """Rows (site, planned, activated, closed, status)."""
    names = ("site", "planned_activation_date", "activated_date", "closed_date", "status")
    more = {"study": "NOVA", "country": "DE", "owner": "Ute"}
    types = {name: column.dtype for name, column in Sites.columns().items()}
    return pl.DataFrame([more | dict(zip(names, row, strict=True)) for row in rows], schema=types)


SITES = _sites(
    ("late", date(2026, 10, 1), date(2026, 11, 15), None, "active"),
    ("early", date(2026, 12, 20), date(2026, 11, 30), None, "active"),
    ("waiting", date(2026, 11, 10), None, None, "planned"),
    ("due today", date(2026, 11, 30), None, None, None),
    ("opens later", date(2026, 10, 31), date(2026, 12, 1), None, "active"),
    ("closed since", date(2026, 1, 1), date(2026, 1, 1), date(2026, 6, 1), "closed"),
    ("not due", date(2026, 12, 1), None, None, "planned"),
    ("not due, opens later", date(2026, 12, 1), date(2026, 12, 2), None, "active"),
    ("no plan", None, date(2026, 3, 1), None, "active"),
    ("given up", date(2026, 5, 1), None, date(2026, 9, 1), "closed"),
    ("given up without a day", date(2026, 5, 1), None, None, "closed"),
    ("given up later", date(2026, 11, 1), None, date(2026, 12, 5), "closed"),
)


def test_openings_day_by_day():
    found = site_activation(SITES, closed=MONTH)
    SiteActivation.validate(found.with_columns(fit_id=pl.lit("c")))
    assert dict(found.select("site", "days_late").iter_rows()) == {
        "late": 45, "early": -20, "waiting": 20, "due today": 0, "opens later": 30,
        "closed since": 0, "given up later": 29,
    }  # fmt: skip
    opened = dict(found.select("site", "activated").iter_rows())
    assert opened["opens later"] is None
    assert opened["early"] == date(2026, 11, 30)
    assert found["site"].to_list() == sorted(found["site"])
    assert set(found["country"]) == {"DE"}
    assert set(found["owner"]) == {"Ute"}


def test_what_happens_after_the_month_does_not_matter():
    """Later openings and closings moved by months, or not there at all: the same rows."""
    last = pl.lit(date(2026, 11, 30))
    for moved in (pl.lit(None, pl.Date), pl.lit(date(2028, 1, 1))):
        later = SITES.with_columns(
            pl.when(pl.col(name) > last).then(moved).otherwise(pl.col(name)).alias(name)
            for name in ("activated_date", "closed_date")
        )
        later = later.with_columns(  # still open, where closing lies ahead
            status=pl.when(pl.col("site") == "given up later")
            .then(pl.lit("active", SITES.schema["status"]))
            .otherwise(pl.col("status"))
        )
        found = site_activation(later, closed=MONTH)
        assert found.equals(site_activation(SITES, closed=MONTH))


def test_no_sites_no_rows():
    assert site_activation(SITES.clear(), closed=MONTH).is_empty()
