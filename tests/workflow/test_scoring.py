"""A closed month scored from what is stored: all numbers made again by loops and libraries."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scoringrules
from utilsforecast import losses

from sopforecast.clinical.inputs import clinical_inputs
from sopforecast.core.draws import QUANTILES, quantile_view
from sopforecast.core.learning_tables import empty
from sopforecast.core.months import add_months, cutoff
from sopforecast.core.score_tables import ScoredActuals, Scores
from sopforecast.learning.accuracy import AMOUNTS, COUNTS, current, measures
from sopforecast.planning_store.publish import publish
from sopforecast.planning_store.runs import read_forecasts, read_statements
from sopforecast.workflow.closing import read_closing
from sopforecast.workflow.month_cells import month_cells
from sopforecast.workflow.scoring import Scored, score_month
from sopforecast.workflow.shelf import Shelf

JAN, FEB, MAR = date(2026, 1, 1), date(2026, 2, 1), date(2026, 3, 1)
LABELS = [label for label, _ in QUANTILES]
PRICES = pl.DataFrame(
    {
        "unique_id": ["i0", "i0", "i0", "i1", "i3", "i5"],
        "ds_from": [date(2025, 1, 1), FEB, MAR, date(2025, 6, 1), add_months(MAR, 1), JAN],
        "currency": ["EUR", "EUR", "EUR", None, "EUR", "EUR"],
        "price": [2.0, 3.0, 4.5, 10.0, 7.0, 100.0],
        "unit_cost": pl.Series([None] * 6, dtype=pl.Float64),
    }
)
SAID = {
    JAN: (
        {"value": 40.0, "ds_to": 3},
        {"node": "i0", "value": -9.0, "source": "finance", "owner": "fin", "ds_from": 2,
         "ds_to": 2},
        {"node": "region=EU", "kind": "percent", "value": 12.0, "source": "zeta", "owner": "zoe",
         "ds_from": 1, "ds_to": 2, "per": "span"},
    ),
    FEB: (
        {"node": "total", "value": 30.0, "ds_to": 1},
        {"node": "i3", "value": 25.0, "probability": 0.4, "source": "marketing", "owner": "max",
         "ds_from": 1, "ds_to": 1},
        {"node": "i2", "kind": "absolute", "value": 44.5, "mode": "fixed", "ds_from": 1,
         "ds_to": 1},
        {"node": "i1", "value": 8.0, "entered_cycle": JAN, "ds_from": 1, "ds_to": 1,
         "owner": "bob"},
    ),
    MAR: (),
}  # fmt: skip


@pytest.fixture
def company(stored_company: Any) -> Any:
    """Three cycles: with evidence, with evidence and a fixed sum, and one in which nobody spoke."""
    for cycle, rows in SAID.items():
        overrides = stored_company.overrides(cycle, *rows) if rows else None
        stored_company.run(cycle, overrides)
    return stored_company


def _score(company: Any, month: date = MAR, **given: Any) -> Scored:
    settings = given.pop("settings", company.settings)
    options = {
        "known_by": cutoff(add_months(month, 1), cutoff_day=15),
        "settings": settings,
        "shelf": Shelf(company.store, settings),
        "history": company.history(month),
        "prices": PRICES,
        "clinical": clinical_inputs(add_months(month, 1)),
        "earlier": empty(ScoredActuals),
        "scored_cycles": set(SAID) if "earlier" in given else (),
    }
    return score_month(company.store, month, **(options | given))


def _earlier(*closes: Scored) -> pl.DataFrame:
    fit = [one.actuals.with_columns(fit_id=pl.lit(f"c{k}")) for k, one in enumerate(closes)]
    return pl.concat(fit).select(ScoredActuals.column_names())


def _rows(frame: pl.DataFrame, **key: Any) -> pl.DataFrame:
    want = {"version": "first", "measure": "quantity", "within": "total", "owner": "*"} | key
    return frame.filter(pl.col(name) == value for name, value in want.items())


def _same(got: dict[str, Any], want: dict[str, Any]) -> None:
    for name, value in want.items():
        assert got[name] == pytest.approx(value, rel=1e-9, abs=1e-9), name


def _stage(company: Any, shelf: Shelf, run_id: str, stage: str) -> pl.DataFrame:
    """Rows of a stage for every node and month, from the store or, in sequence, made again."""
    alone = stage.removeprefix("source:")
    if alone != stage and alone not in shelf.run(run_id).spoken:
        return read_forecasts(company.store, run_id, "statistical")
    if not stage.startswith("through:"):
        return read_forecasts(company.store, run_id, stage)
    spoken = [s for s in ("sales", "marketing", "finance", "zeta") if s in shelf.run(run_id).spoken]
    order = ["sales", "marketing", "finance", "zeta"]
    upto = order[: order.index(stage.partition(":")[2]) + 1]
    rows = read_forecasts(company.store, run_id, "statistical")
    if not set(spoken) & set(upto):
        return rows
    if set(spoken) <= set(upto):
        return read_forecasts(company.store, run_id, "consensus")
    last = [name for name in upto if name in spoken][-1]
    moved = shelf.sequential_rows(run_id, last)
    rest = rows.join(moved.select("unique_id").unique(), on="unique_id", how="anti")
    return pl.concat([moved.drop("stage"), rest.select(moved.columns).drop("stage")])


LADDER = (
    "naive", "statistical", "source:sales", "through:sales", "source:marketing",
    "through:marketing", "source:finance", "through:finance", "source:zeta", "through:zeta",
    "consensus", "approved",
)  # fmt: skip


def test_every_sum_is_made_again_from_the_stored_tables(company: Any) -> None:
    scored = _score(company)
    Scores.validate(scored.scores.with_columns(fit_id=pl.lit("f")), cast=True)
    ScoredActuals.validate(scored.actuals.with_columns(fit_id=pl.lit("f")), cast=True)
    shelf = Shelf(company.store, company.settings)
    history = company.history(MAR)
    y = dict(history.filter(pl.col("ds") == MAR).select("unique_id", "y").iter_rows())
    y["i5"] = 0.0  # no demand was to come of it, and no row came
    price = {"i0": 4.5, "i1": 10.0, "i5": 100.0}
    assert scored.waiting == scored.notes == ()
    ours = scored.scores.filter(pl.col("owner") == "*")
    assert set(ours["stage"]) == set(LADDER)
    checked = 0
    for cycle, made in company.made.items():
        nodes = made.hierarchy.nodes
        items = {n: [made.hierarchy.items[i] for i in made.hierarchy.descendants(n)] for n in nodes}
        actual = {n: sum(y[i] for i in items[n]) for n in nodes}
        past = pd.DataFrame(
            [
                {"unique_id": n, "ds": ds, "y": rows["y"].sum()}
                for n in nodes
                for (ds,), rows in history.filter(
                    pl.col("unique_id").is_in(items[n]), pl.col("ds") < cycle
                ).group_by("ds")
            ]
        ).sort_values(["unique_id", "ds"])
        one = pd.DataFrame({"unique_id": nodes, "ds": MAR, "y": [actual[n] for n in nodes]})
        for stage in LADDER:
            rows = _stage(company, shelf, made.run_id, stage).filter(pl.col("ds") == MAR)
            at = {row["unique_id"]: row for row in rows.iter_rows(named=True)}
            assert set(at) == set(nodes)
            one["m"] = [at[n]["plan"] for n in nodes]
            mase = losses.mase(one, ["m"], seasonality=12, train_df=past).set_index("unique_id")
            rmsse = losses.rmsse(one, ["m"], seasonality=12, train_df=past).set_index("unique_id")
            drawn = None
            if stage in ("statistical", "consensus", "approved"):
                bottom = shelf.stage_draws(made.run_id, stage)
                paths = np.concatenate([made.hierarchy.aggregate(bottom), bottom], axis=1)
                lead = (MAR.year - cycle.year) * 12 + MAR.month - cycle.month
                drawn = {n: paths[:, k, lead] for k, n in enumerate(nodes)}
            of_source = stage.startswith("source:")
            labels = ["p10", "p50", "p90"] if of_source else LABELS
            parts = [(level, "total") for level in made.hierarchy.level_labels]
            parts += [("item", "family=A"), ("item", "family=B")]
            for level, within in parts:
                own = [
                    n for n, of in zip(nodes, made.hierarchy.node_levels, strict=True)
                    if of == level
                    and (within == "total" or n in items[within])
                ]  # fmt: skip
                for measure in ("quantity", "value") if level == "item" else ("quantity",):
                    want = dict.fromkeys((*COUNTS, *AMOUNTS), 0.0)
                    for n in own:
                        worth = 1.0 if measure == "quantity" else price.get(n)
                        if worth is None:
                            continue
                        error = at[n]["plan"] - actual[n]
                        want["cells"] += 1
                        want["actual"] += worth * actual[n]
                        want["forecast"] += worth * at[n]["plan"]
                        want["demand"] += worth * abs(actual[n])
                        want["absolute_error"] += worth * abs(error)
                        want["squared_error"] += (worth * error) ** 2
                        if measure == "quantity":
                            want["scaled_cells"] += 1
                            want["scaled_error"] += mase.loc[n, "m"]
                            want["scaled_squared"] += rmsse.loc[n, "m"] ** 2
                        if stage != "naive":
                            want["ranged"] += 1
                            want["inside80"] += at[n]["p10"] <= actual[n] <= at[n]["p90"]
                            for label in labels:
                                loss = scoringrules.quantile_score(
                                    actual[n], at[n][label], dict(QUANTILES)[label]
                                )
                                want["wis"] += worth * 2 * float(loss) / len(labels)
                        if drawn is not None:
                            want["drawn"] += 1
                            want["crps"] += worth * float(
                                scoringrules.crps_ensemble(actual[n], drawn[n], estimator="nrg")
                            )
                    [got] = _rows(
                        ours, cycle=cycle, stage=stage, level=level, within=within, measure=measure
                    ).to_dicts()
                    assert got["run_id"] == made.run_id
                    _same(got, want)
                    checked += 1
    assert checked == ours.height


def test_percentages_are_never_averaged(company: Any) -> None:
    """WMAPE over months and cycles is of all cells together, made again cell by cell."""
    scores = pl.concat([_score(company, month).scores for month in (JAN, FEB, MAR)])
    rows = _rows(scores, stage="consensus", level="item")
    assert rows.height == 1 + 2 + 3
    [got] = measures(rows, ["stage"]).to_dicts()
    error = demand = 0.0
    for month in (JAN, FEB, MAR):
        known = company.history(month).filter(pl.col("ds") == month)
        y = dict(known.select("unique_id", "y").iter_rows())
        for made in company.made.values():
            stored = read_forecasts(company.store, made.run_id, "consensus")
            stored = stored.filter(pl.col("ds") == month)
            for item, plan in stored.select("unique_id", "plan").iter_rows():
                if item in company.items:
                    error += abs(plan - y.get(item, 0.0))
                    demand += y.get(item, 0.0)
    assert got["wmape"] == pytest.approx(100 * error / demand, abs=1e-9)
    averaged = measures(rows, ["ds"])["wmape"].mean()
    assert abs(averaged - got["wmape"]) > 1e-6


def test_owners_beside_the_statistical_forecast_of_the_same_sums(company: Any) -> None:
    scored = _score(company)
    said = scored.scores.filter(pl.col("owner") != "*")
    history = company.history(MAR)
    y = {(i, ds): v for i, ds, v in history.iter_rows()} | {("i5", MAR): 0.0, ("i5", FEB): 0.0}
    want: dict[Any, dict[str, float]] = {}
    for cycle, made in company.made.items():
        for row in read_statements(company.store, [made.run_id]).iter_rows(named=True):
            if row["mode"] != "evidence" or row["entered_cycle"] != cycle or row["ds_to"] != MAR:
                continue
            members = made.hierarchy.descendants(row["node"])
            months = [m for m in (JAN, FEB, MAR) if row["ds_from"] <= m]
            actual = sum(y[made.hierarchy.items[i], m] for i in members for m in months)
            likely = row["baseline"] + row["probability"] * row["adjustment"]
            for stage, forecast in (("stated", likely), ("statistical", row["baseline"])):
                level = made.hierarchy.level_of(row["node"])
                key = (cycle, stage, level, row["source"], row["owner"], row["entered_lead"])
                sums = want.setdefault(key, dict.fromkeys(("cells", *AMOUNTS[:5]), 0.0))
                sums["cells"] += 1
                sums["actual"] += actual
                sums["forecast"] += forecast
                sums["demand"] += abs(actual)
                sums["absolute_error"] += abs(forecast - actual)
                sums["squared_error"] += (forecast - actual) ** 2
    names = ("cycle", "stage", "level", "source", "owner", "lead")
    got = {tuple(row[n] for n in names): row for row in said.iter_rows(named=True)}
    assert set(got) == set(want)
    assert {key[4] for key in want} == {"ann", "fin", "zoe", "max"}  # bob's was carried
    for key, sums in want.items():
        _same(got[key], sums)
    assert set(said["within"]) == {"total"}
    assert said.filter(pl.col("ranged") + pl.col("drawn") > 0).is_empty()
    span = said.filter(pl.col("owner") == "zoe")
    assert span["scaled_cells"].to_list() == [0, 0]  # two months together have no such scale
    assert said.filter(pl.col("owner") == "ann")["scaled_cells"].to_list() == [1] * 4


def test_stages_that_are_not_stored_equal_others(company: Any) -> None:
    scores = _score(company).scores.filter(pl.col("owner") == "*")
    key = ["cycle", "level", "within", "measure"]

    def sums(stage: str, cycle: date, *, drawn: bool = True) -> pl.DataFrame:
        rows = scores.filter(pl.col("stage") == stage, pl.col("cycle") == cycle).sort(key)
        return rows.drop("stage", *(() if drawn else ("drawn", "crps")))

    for stage in ("consensus", "approved"):
        assert sums(stage, MAR).equals(sums("statistical", MAR))
    assert sums("approved", JAN).equals(sums("consensus", JAN))
    assert not sums("approved", FEB).equals(sums("consensus", FEB))
    for cycle, last in ((JAN, "zeta"), (FEB, "marketing"), (FEB, "zeta")):
        through, whole = (sums(s, cycle, drawn=False) for s in (f"through:{last}", "consensus"))
        assert through.equals(whole)
    for cycle, silent, before in ((JAN, "marketing", "sales"), (FEB, "finance", "marketing")):
        assert sums(f"through:{silent}", cycle).equals(sums(f"through:{before}", cycle))
    plain = ["forecast", "absolute_error", "squared_error", "scaled_error"]
    alone = sums("source:finance", FEB, drawn=False).select(plain)
    assert alone.equals(sums("statistical", FEB, drawn=False).select(plain))


def test_ranges_of_the_nodes_for_calibration(company: Any) -> None:
    cells = _score(company).cells
    alone = month_cells(
        company.store, MAR, known_by=cutoff(add_months(MAR, 1), cutoff_day=15),
        settings=company.settings, shelf=Shelf(company.store, company.settings),
        history=company.history(MAR), clinical=clinical_inputs(add_months(MAR, 1)),
    )  # fmt: skip
    assert cells.equals(alone)
    made = company.made[FEB]
    own = cells.filter(pl.col("cycle") == FEB)
    assert own["unique_id"].to_list() == list(made.hierarchy.nodes)
    assert set(own["lead"]) == {2}
    assert dict(own.select("unique_id", "segment").iter_rows())["i4"] == "sparse"
    assert dict(own.select("unique_id", "kind").iter_rows())["i5"] == "zero"
    sums = own.filter(pl.col("level") != "item")
    assert set(sums["segment"]) == set(sums["kind"]) == {"*"}
    both = np.concatenate([made.hierarchy.aggregate(made.draws), made.draws], axis=1)
    for label, view in quantile_view(both).items():
        assert own[label].to_list() == view[:, 1].tolist()
    total = own.filter(pl.col("unique_id") == "total")["y"][0]
    assert total == company.history(MAR).filter(pl.col("ds") == MAR)["y"].sum()


def test_late_items_wait_and_come_as_first_rows_of_their_own(company: Any) -> None:
    whole = company.history(MAR)
    late = whole.filter(~((pl.col("unique_id") == "i1") & (pl.col("ds") == MAR)))
    one = _score(company, history=late)
    assert one.waiting == ("i1",)
    assert one.scores.filter(pl.col("level") == "total").is_empty()
    items = _rows(one.scores, stage="statistical", level="item", cycle=FEB)
    assert items["cells"].to_list() == [5]
    families = _rows(one.scores, stage="statistical", level="family", cycle=FEB)
    assert families["cells"].to_list() == [1]
    assert "total" not in set(one.cells["unique_id"])
    again = _score(company, history=late, earlier=_earlier(one))
    assert again.actuals.is_empty()
    assert again.scores.is_empty()
    assert again.waiting == ("i1",)
    two = _score(company, history=whole, earlier=_earlier(one))
    assert two.actuals.rows() == [
        (MAR, "i1", whole.filter(pl.col("unique_id") == "i1", pl.col("ds") == MAR)["y"][0], "first")
    ]
    assert set(two.scores["version"]) == {"first"}
    assert _rows(two.scores, stage="statistical", level="item", cycle=FEB)["cells"].to_list() == [1]
    at_once = _score(company, history=whole).scores
    both = pl.concat([one.scores, two.scores])
    key = ["cycle", "stage", "level", "within", "measure", "source", "owner"]
    got = both.group_by(key).agg(pl.col(*COUNTS, *AMOUNTS).sum()).sort(key)
    want = at_once.sort(key)
    assert got.select(key).equals(want.select(key))
    for name in (*COUNTS, *AMOUNTS):
        assert got[name].to_numpy() == pytest.approx(want[name].to_numpy(), rel=1e-9, abs=1e-9)


def test_a_restated_actual_is_scored_once_more_whole(company: Any) -> None:
    whole = company.history(MAR)
    lacks = ~((pl.col("unique_id") == "i3") & (pl.col("ds") == MAR))
    one = _score(company, history=whole.filter(lacks))
    is_changed = (pl.col("unique_id") == "i0") & (pl.col("ds") == MAR)
    restated = whole.with_columns(y=pl.when(is_changed).then(pl.col("y") + 50).otherwise("y"))
    two = _score(company, history=restated.filter(lacks), earlier=_earlier(one))
    assert two.actuals.select("unique_id", "version").rows() == [("i0", "restated")]
    assert set(two.scores["version"]) == {"restated"}
    same = _score(company, history=restated.filter(lacks)).scores
    now = two.scores.with_columns(version=pl.lit("first")).drop("version")
    assert now.equals(same.drop("version"))
    # A late item after a restatement: its own first rows, and the restated month whole again.
    three = _score(company, history=restated, earlier=_earlier(one, two))
    assert three.actuals.select("unique_id", "version").rows() == [("i3", "first")]
    assert set(three.scores["version"]) == {"first", "restated"}
    closes = [
        s.scores.with_columns(pl.lit(k).alias("seq"), pl.lit(f"c{k}").alias("fit_id"))
        for k, s in enumerate((one, two, three))
    ]
    every = pl.concat(closes)
    rows = _rows(current(every, version="now"), version="restated", stage="naive", level="item")
    assert rows["cells"].to_list() == [6, 6, 6]
    first = current(every).filter(pl.col("stage") == "naive", pl.col("level") == "item")
    first = first.filter(pl.col("within") == "total", pl.col("measure") == "quantity")
    assert first.group_by("cycle").agg(pl.col("cells").sum())["cells"].to_list() == [6, 6, 6]
    gone = _score(company, history=whole.filter(lacks), earlier=_earlier(one, two, three))
    assert gone.waiting == ("i3",)
    assert "scored before and no longer known: i3" in gone.notes


def test_what_no_row_means(company: Any) -> None:
    whole = company.history(MAR)
    absent = ~((pl.col("unique_id") == "i1") & (pl.col("ds") == MAR))
    zero = company.settings.model_copy(
        update={"history": company.settings.history.model_copy(update={"missing": "zero"})}
    )
    read = _score(company, history=whole.filter(absent), settings=zero)
    assert read.waiting == ()
    assert dict(read.actuals.select("unique_id", "y").iter_rows())["i1"] == 0.0
    empty_cell = whole.with_columns(y=pl.when(absent).then("y"))
    for settings in (company.settings, zero):
        assert _score(company, history=empty_cell, settings=settings).waiting == ("i1",)
    never = whole.filter(pl.col("unique_id") != "i1")
    assert _score(company, history=never, settings=zero).waiting == ("i1",)
    # A row of an item from which nothing was to come is read like any other.
    came = pl.concat([whole, pl.DataFrame({"unique_id": ["i5"], "ds": [MAR], "y": [7.0]})])
    assert dict(_score(company, history=came).actuals.select("unique_id", "y").iter_rows())[
        "i5"
    ] == 7.0  # fmt: skip


def test_the_newest_run_says_from_what_no_demand_was_to_come(stored_company: Any) -> None:
    stored_company.run(FEB, kinds={"i5": "paths"})
    history = stored_company.history(MAR)
    assert _score(stored_company, history=history).waiting == ("i5",)
    stored_company.run(MAR)
    assert _score(stored_company, history=history).waiting == ()


def test_items_belong_to_the_hierarchy_of_their_run(stored_company: Any) -> None:
    """An item that came later is not scored for earlier runs; one that has left still is."""
    stored_company.run(JAN, items=("i0", "i1", "i3"))
    stored_company.run(FEB, items=("i0", "i1", "i2", "i4"))
    scores = _score(stored_company).scores
    rows = _rows(scores, stage="statistical", level="item").sort("cycle")
    y = dict(
        stored_company.history(MAR).filter(pl.col("ds") == MAR).select("unique_id", "y").iter_rows()
    )
    assert rows["cells"].to_list() == [3, 4]
    assert rows["actual"].to_list() == [
        y["i0"] + y["i1"] + y["i3"], y["i0"] + y["i1"] + y["i2"] + y["i4"]
    ]  # fmt: skip


def test_cycles_that_did_not_run_or_do_not_reach_have_no_rows(company: Any) -> None:
    after = add_months(JAN, 4)  # one month beyond the horizon of January
    scores = _score(company, after).scores
    assert set(scores["cycle"]) == {FEB, MAR}
    assert set(_score(company, JAN).scores["cycle"]) == {JAN}
    none = _score(company, add_months(JAN, 12))
    assert none.scores.is_empty()
    assert none.cells.is_empty()
    assert (none.actuals.height, none.waiting) == (0, ())


def test_the_published_run_is_the_one_that_is_scored(company: Any) -> None:
    other = company.run(FEB, shift=9.0)
    march = cutoff(add_months(MAR, 1), cutoff_day=15)
    assert set(_score(company).scores.filter(pl.col("cycle") == FEB)["run_id"]) == {other.run_id}
    publish(
        company.store, cycle=FEB, stage="consensus", run_id="r-2026-02-0", by="Ann",
        at=datetime(2026, 4, 20),
    )  # fmt: skip
    before = _score(company, known_by=march)
    assert set(before.scores.filter(pl.col("cycle") == FEB)["run_id"]) == {other.run_id}
    later = _score(company, known_by=datetime(2026, 4, 21))
    assert set(later.scores.filter(pl.col("cycle") == FEB)["run_id"]) == {"r-2026-02-0"}


def test_prices_in_several_currencies_are_not_added(company: Any) -> None:
    mixed = PRICES.with_columns(
        currency=pl.when(pl.col("unique_id") == "i1").then(pl.lit("USD")).otherwise("currency")
    )
    scored = _score(company, prices=mixed)
    assert scored.scores.filter(pl.col("measure") == "value").is_empty()
    assert scored.notes == ("not scored in money: prices are in EUR, USD",)
    assert "value" not in set(_score(company, prices=PRICES.clear()).scores["measure"])


def test_nothing_known_later_changes_anything(company: Any) -> None:
    """History, prices and runs that become known after the moment, however wrong they are."""
    load = {"file": "f", "loaded_by": "ann", "through": date(2030, 1, 1)}
    from sopforecast.planning_store.inputs import admitted
    from sopforecast.planning_store.loading import append_load

    def put(table: str, frame: pl.DataFrame, at: datetime) -> None:
        append_load(company.store, table, frame, file_hash=f"{at}{table}", loaded_at=at, **load)

    known_by = datetime(2026, 4, 10)
    put("history", company.history(MAR), datetime(2026, 4, 6))
    put("prices", PRICES, datetime(2026, 1, 2))

    def read() -> Scored:
        closing = read_closing(company.store, MAR, known_by)
        return _score(
            company, known_by=known_by, history=closing.history, clinical=closing.clinical,
            prices=admitted(company.store, "prices", known_by=known_by),
        )  # fmt: skip

    before = read()
    assert before.scores.height > 0
    wrong = company.history(MAR).with_columns(y=pl.col("y") * 1000 + 77)
    put("history", wrong, datetime(2026, 4, 20))
    put("prices", PRICES.with_columns(price=pl.col("price") * 9), datetime(2026, 4, 20))
    company.run(FEB, shift=99.0, at=datetime(2026, 4, 19))
    after = read()
    for name in ("actuals", "scores", "cells"):
        assert getattr(before, name).equals(getattr(after, name)), name
    assert (before.waiting, before.notes) == (after.waiting, after.notes)
    seen = read_closing(company.store, MAR, datetime(2026, 4, 21)).history
    assert not _score(company, history=seen).scores.equals(before.scores)


def test_one_shelf_or_many_and_twice_give_the_same_bytes(company: Any) -> None:
    shelf = Shelf(company.store, company.settings)
    once = _score(company, shelf=shelf)
    assert once.scores.equals(_score(company, shelf=shelf).scores)
    small = Shelf(company.store, company.settings, most_bytes=1)
    assert once.scores.equals(_score(company, shelf=small).scores)
    shuffled = company.history(MAR).sample(fraction=1.0, shuffle=True, seed=3)
    assert once.scores.equals(_score(company, history=shuffled).scores)


def test_draws_that_cannot_be_made_again_are_told(
    company: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sopforecast.workflow import shelf as shelves

    def other(store: Any, run: Any) -> np.ndarray:
        draws = original(store, run)
        return draws + run.steps[:, None] if run.cycle == FEB else draws

    original = shelves.rebuilt_draws
    monkeypatch.setattr(shelves, "rebuilt_draws", other)
    [note] = _score(company).notes
    assert note.startswith("cycles 2026-02: rebuilt draws are not those of the run")
