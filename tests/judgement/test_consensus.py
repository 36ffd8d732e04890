"""From overrides to stages, statements and a bridge, on draws that are simply given."""

from __future__ import annotations

from datetime import date, datetime

import numpy as np
import polars as pl
import pytest

from sopforecast.core.evidence_tables import Bridge, Statements
from sopforecast.errors import RequestError

SALES = {"value": 60.0}
FINANCE = {"node": "total", "kind": "percent", "value": -10.0, "source": "finance", "owner": "fin"}
FIXED = {"node": "family=B", "kind": "absolute", "value": 162.0, "mode": "fixed", "ds_from": 2,
         "ds_to": 2}  # fmt: skip


def _stages(frame):
    return set(frame["stage"].to_list())


def test_stages_follow_from_who_spoke(company):
    assert _stages(company.judged(SALES).forecasts) == {"source:sales", "consensus"}
    both = company.judged(SALES, FINANCE, FIXED)
    assert _stages(both.forecasts) == {
        "source:sales", "source:finance", "consensus", "approved"
    }  # fmt: skip
    every = set(company.hierarchy.nodes)
    for stage in ("consensus", "approved"):
        rows = both.forecasts.filter(pl.col("stage") == stage)
        assert set(rows["unique_id"]) == every
        assert rows.height == len(every) * 4
    assert _stages(company.judged(FIXED).forecasts) == {"approved"}


def test_frames_are_the_tables_without_a_run(company):
    judged = company.judged(SALES, FINANCE, FIXED)
    run = pl.lit("run").alias("run_id")
    assert Statements.is_valid(judged.statements.with_columns(run), cast=True)
    assert Bridge.is_valid(judged.bridge.with_columns(run), cast=True)
    assert not judged.forecasts.select("stage", "unique_id", "ds").is_duplicated().any()


def test_a_source_alone_is_what_it_would_be_without_the_others(company):
    both, alone = company.judged(SALES, FINANCE), company.judged(SALES)
    one = both.forecasts.filter(pl.col("stage") == "source:sales")
    assert one.equals(alone.forecasts.filter(pl.col("stage") == "source:sales"))
    consensus = alone.forecasts.filter(pl.col("stage") == "consensus")
    for column in ("plan", "mean", "p10", "p50", "p90"):
        same = one.join(consensus, on=["unique_id", "ds"], suffix="_all")
        assert same.height == one.height
        assert same[column].equals(same[f"{column}_all"], check_names=False)
    assert one["p05"].null_count() == one.height


def test_statements_stand_beside_the_draws_of_their_own_sum(company):
    judged = company.judged(
        SALES | {"ds_to": 2}, FINANCE, {"node": "i4", "per": "span", "ds_to": 3, "value": 9.0}
    )
    rows = {(r["override_id"], r["ds_from"]): r for r in judged.statements.iter_rows(named=True)}
    assert len(rows) == 4
    for (override, ds), items, months in [
        (("o0", date(2026, 11, 1)), [0, 1, 2], [1]),
        (("o0", date(2026, 12, 1)), [0, 1, 2], [2]),
        (("o1", date(2026, 11, 1)), list(range(6)), [1]),
        (("o2", date(2026, 11, 1)), [4], [1, 2, 3]),
    ]:
        row = rows[override, ds]
        z = company.draws[:, items][:, :, months].sum(axis=(1, 2))
        assert row["baseline"] == pytest.approx(z.mean())
        assert row["sd"] == pytest.approx(z.std(ddof=1))
        expected = {"o0": 60.0, "o1": -0.1 * z.mean(), "o2": 9.0}[override]
        assert row["adjustment"] == pytest.approx(expected)
        assert row["prior_only"]
        assert row["state"] == "new"
        assert row["direction"] == ("up" if expected > 0 else "down")


def test_moved_is_what_the_consensus_mean_gained(company):
    """Of one statement, on its own node and months, to within a step a cell."""
    row = company.judged(SALES).statements.row(0, named=True)
    judged = company.judged(SALES)
    after = company.table(judged.forecasts, "consensus", "mean")["family=A", 1]
    before = company.draws[:, :3, 1].sum(axis=1).mean()
    assert row["moved"] == pytest.approx(after - before, abs=0.5)
    line = row["shift"] * row["unit_sd"] + row["counted"] * row["adjustment"]
    assert row["moved"] == pytest.approx(line, rel=1e-6)


def test_what_is_fixed_holds_in_plan_mean_and_every_quantile(company):
    judged = company.judged(SALES, FINANCE | {"ds_from": 2, "ds_to": 2}, FIXED)
    for column in ("plan", "mean", "p05", "p50", "p95"):
        assert company.table(judged.forecasts, "approved", column)["family=B", 2] == 162.0
    consensus = company.table(judged.forecasts, "consensus", "plan")
    approved = company.table(judged.forecasts, "approved", "plan")
    for key, plan in consensus.items():
        node, month = key
        reached = month == 2 and node not in ("family=A", "i0", "i1", "i2")
        assert reached or approved[key] == plan
    fixed = judged.statements.filter(pl.col("mode") == "fixed").row(0, named=True)
    assert fixed["moved"] == 0.0
    assert fixed["counted"] == 1.0


def test_plans_add_up_in_whole_steps(company):
    judged = company.judged(SALES, FINANCE, FIXED)
    for stage in ("consensus", "approved"):
        table = company.table(judged.forecasts, stage, "plan")
        plan = np.array([[table[f"i{k}", m] for m in range(4)] for k in range(6)])
        assert (plan >= 0).all()
        assert (plan % company.steps[:, None] == 0).all()
        sums = company.hierarchy.aggregate(plan)
        for a, node in enumerate(company.hierarchy.aggregates):
            assert [table[node, m] for m in range(4)] == sums[a].tolist()


def test_what_nobody_moved_is_the_statistical_stage(company):
    judged = company.judged(SALES)
    keep = [c for c in company.statistical.frame.columns if c != "stage"]
    both = judged.forecasts.filter(pl.col("stage") == "consensus").select(keep).sort(keep[1:3])
    before = company.statistical.frame.select(keep).sort(keep[1:3])
    elsewhere = ~pl.col("unique_id").is_in(["total", "family=A", "region=EU", "region=US",
                                            "i0", "i1", "i2"])  # fmt: skip
    assert both.filter(elsewhere).equals(before.filter(elsewhere))
    quiet = pl.col("lead") != 2
    assert (
        both.filter(quiet)
        .select("unique_id", "lead", "plan", "p05", "p50")
        .equals(before.filter(quiet).select("unique_id", "lead", "plan", "p05", "p50"))
    )


def test_order_of_rows_changes_no_byte(company):
    rows = [SALES | {"override_id": "a"}, FINANCE | {"override_id": "b"},
            FIXED | {"override_id": "c"}]  # fmt: skip
    one, other = company.judged(*rows), company.judged(*rows[::-1])
    for name in ("forecasts", "statements", "bridge"):
        assert getattr(one, name).equals(getattr(other, name))
    assert one.told == other.told


def test_words_without_a_month_of_the_horizon_make_no_stage(company):
    judged = company.judged(SALES | {"ds_from": 9, "ds_to": 9})
    assert judged.forecasts.height == 0
    assert judged.statements.height == 0
    assert judged.bridge.height == 0
    assert len(judged.told["waiting"]) == 1
    past = company.judged(SALES | {"ds_from": -1, "ds_to": -1, "entered_cycle": date(2026, 8, 1)})
    assert len(past.told["expired"]) == 1
    assert past.forecasts.height == 0


def test_states_are_told(company):
    earlier = {"entered_cycle": date(2026, 9, 1)}
    judged = company.judged(
        SALES,
        SALES | earlier | {"known_at": datetime(2026, 9, 2)},
        SALES | earlier | {"known_at": datetime(2026, 10, 2)},
        previous_known_by=datetime(2026, 9, 20),
    )
    assert {key: len(told) for key, told in judged.told.items()} == {
        "new": 1, "carried": 1, "changed": 1, "expired": 0, "in_history": 0, "waiting": 0
    }  # fmt: skip
    assert judged.statements.sort("override_id")["state"].to_list() == ["new", "carried", "changed"]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([SALES | {"node": "family=Z"}], "family=Z"),
        ([SALES | {"measure": "revenue"}], "price"),
        ([FIXED, FIXED | {"value": 164.0, "owner": "eve"}], "o1"),
    ],
)
def test_what_cannot_be_is_refused(company, rows, said):
    with pytest.raises(RequestError, match=said):
        company.judged(*rows)
