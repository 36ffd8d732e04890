"""Rows of credibility, and which of them a statement counts with."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest

from sopforecast.core.evidence_tables import Credibility
from sopforecast.judgement.closed_form import fit_closed_form
from sopforecast.judgement.common_errors import (
    PRIOR_COMMON_ERROR,
    PRIOR_INFLATION,
    learned_common_error,
    learned_inflation,
    learned_overconfidence,
    share_of_rows,
)
from sopforecast.judgement.credibility import (
    HALF_LIVES,
    LEARNED,
    choose_half_life,
    fit_credibility,
    lookup,
)

CLOSED, KNOWN = date(2026, 6, 1), datetime(2026, 7, 3, 9, 30)
WEIGHTS = {"ann": 0.9, "bob": 0.2, "cyd": 0.6}


def observations(
    seed: int, cycles: int, *, each: int = 2, weights: dict[str, float] | None = None
) -> pl.DataFrame:
    """Everybody speaks of own cells and, every other cycle, of one that all speak of."""
    rng = np.random.default_rng(seed)
    rows = []
    for cycle in range(cycles):
        shared = rng.standard_normal()
        for owner, weight in (weights or WEIGHTS).items():
            for k in range(each):
                alone = k > 0 or cycle % 2 == 0
                cell = f"{cycle} {owner} {k}" if alone else f"{cycle} all"
                d = 1.5 * rng.standard_normal()
                y = weight * d + rng.standard_normal() if alone else shared
                d = d if alone else (shared + rng.standard_normal()) / 2
                rows.append((f"{cycle:03d} {owner} {k}", "sales" if owner != "cyd" else "finance",
                             owner, ("promotion", "account")[k % 2], cell,
                             float(cycles - 1 - cycle), y, d))  # fmt: skip
    names = ["override_id", "source", "owner", "reason", "cell", "age", "y", "d"]
    frame = pl.DataFrame(rows, schema=names, orient="row")
    return frame.with_columns(
        ds_from=pl.lit(date(2026, 1, 1)),
        event_id=pl.lit(None, dtype=pl.String),
        stated_sd=pl.when(pl.col("owner") == "ann").then(0.5),
    )


def fit(frame: pl.DataFrame, **options: Any) -> pl.DataFrame:
    return fit_credibility(frame, closed=CLOSED, known_at=KNOWN, **options)[0]


@pytest.fixture(scope="module")
def learned() -> pl.DataFrame:
    """What twelve cycles say."""
    return fit(observations(0, 12), half_life=None)


def told(*who: tuple[str, str, str, str]) -> pl.DataFrame:
    return pl.DataFrame(who, schema=["source", "owner", "reason", "direction"], orient="row")


def row_of(frame: pl.DataFrame, *key: str) -> dict[str, Any]:
    names = ("source", "owner", "reason", "direction")
    wanted = [pl.col(name) == value for name, value in zip(names, key, strict=True)]
    return frame.filter(*wanted).row(0, named=True)


def test_rows_pass_their_own_table(learned: pl.DataFrame) -> None:
    frame = learned.with_columns(fit_id=pl.lit("f")).select(Credibility.column_names())
    assert Credibility.validate(frame, cast=True).height == learned.height
    assert learned["closed"].unique().to_list() == [CLOSED]
    assert learned["known_at"].unique().to_list() == [KNOWN]
    assert learned["method"].unique().to_list() == ["closed_form"]
    keys = learned.select("source", "owner", "reason", "direction")
    assert keys.equals(keys.sort("source", "owner", "reason", "direction"))
    # ann and bob of sales, cyd of finance: two reasons and any, up and down; sources; anybody
    assert learned.height == 3 * 3 * 2 + 2 * 2 + 2
    assert row_of(learned, "sales", "ann", "*", "up")["opinions"] > 6


def test_a_fit_is_its_parts() -> None:
    frame = observations(1, 6).sort("override_id")
    life = 4.0
    found = fit(frame, half_life=life)
    shared = frame.with_columns(share=share_of_rows(frame, fit_closed_form(frame, rounds=2)))
    line = fit_closed_form(shared, half_life=life)
    power = 0.5 ** (frame["age"].to_numpy() / life)
    inflation = learned_inflation(frame, line.frame, power)
    common, event = learned_common_error(frame, line, inflation, power)
    keys = ["source", "owner", "reason", "direction"]
    for name in ("weight", "weight_sd", "shift", "covariance", "spread", "observations"):
        assert found[name].to_list() == line.frame.sort(keys)[name].to_list()
    row = found.row(0, named=True)
    assert (row["common_error"], row["event_error"]) == (
        pytest.approx(common),
        pytest.approx(event),
    )
    assert row["half_life"] == life
    sizes = line.frame.with_columns(inflation=inflation).sort(keys)
    assert found["inflation"].to_list() == pytest.approx(sizes["inflation"].to_list())
    ranges = {(q, o): v for q, o, v in learned_overconfidence(frame, power).rows()}
    for one in found.iter_rows(named=True):
        assert one["overconfidence"] == pytest.approx(ranges[one["source"], one["owner"]])


def test_the_order_of_rows_changes_no_byte() -> None:
    frame = observations(2, 14)
    one = fit(frame)
    for seed in range(4):
        assert one.equals(fit(frame.sample(fraction=1, shuffle=True, seed=seed)))


def test_nothing_closed_is_no_rows() -> None:
    found, notes = fit_credibility(observations(0, 1).clear(), closed=CLOSED, known_at=KNOWN)
    assert found.height == 0
    assert notes == ()
    assert [*found.columns, "fit_id"] == [
        *(name for name in Credibility.column_names() if name != "fit_id"), "fit_id"
    ]  # fmt: skip
    assert lookup(found, told(("sales", "ann", "promotion", "up")), min_closed=0)["prior_only"][0]


def test_each_statement_counts_with_the_nearest_row_there_is(learned: pl.DataFrame) -> None:
    said = told(
        ("sales", "ann", "promotion", "up"),
        ("sales", "ann", "never heard", "down"),
        ("sales", "new", "promotion", "up"),
        ("marketing", "new", "promotion", "up"),
        ("finance", "cyd", "account", "down"),
    )
    found = lookup(learned, said, min_closed=6)
    expected = [
        ("sales", "ann", "promotion", "up"),
        ("sales", "ann", "*", "down"),
        ("sales", "*", "*", "up"),
        None,
        ("finance", "cyd", "account", "down"),
    ]
    for row, key in zip(found.iter_rows(named=True), expected, strict=True):
        assert row["prior_only"] == (key is None)
        if key:
            own = row_of(learned, *key)
            assert [row[name] for name in LEARNED] == [own[name] for name in LEARNED]
    # closed opinions of the owner in that direction, whatever the reason
    heard = [row_of(learned, *key)["opinions"] for key in (
        ("sales", "ann", "*", "up"), ("sales", "ann", "*", "down")
    )]  # fmt: skip
    assert found["observations"].to_list()[:4] == [*heard, 0, 0]


def test_the_less_is_known_of_somebody_the_less_sure(learned: pl.DataFrame) -> None:
    known = row_of(learned, "sales", "ann", "*", "up")
    new = row_of(learned, "sales", "*", "*", "up")
    anybody = row_of(learned, "*", "*", "*", "up")
    assert known["weight_sd"] < new["weight_sd"] < anybody["weight_sd"]
    assert known["shift_sd"] < new["shift_sd"] < anybody["shift_sd"]


def test_below_min_closed_the_prior_rules() -> None:
    frame = observations(3, 3, each=1, weights={"ann": 3.0}).with_columns(d=pl.col("d").abs())
    few = fit(frame, half_life=None)
    said = told(("sales", "ann", "promotion", "up"), ("sales", "bob", "account", "down"))
    opinions = row_of(few, "sales", "*", "*", "up")["opinions"]
    assert opinions == 3
    learned = lookup(few, said, min_closed=3)
    assert learned["prior_only"].to_list() == [False, False]
    prior = lookup(few, said, min_closed=4)
    assert prior["prior_only"].to_list() == [True, True]
    assert prior.equals(lookup(None, said, min_closed=4))
    assert prior.schema == learned.schema
    row = prior.row(0, named=True)
    assert (row["weight"], row["shift"], row["spread"], row["observations"]) == (0.5, 0, 1, 0)
    assert row["common_error"] == PRIOR_COMMON_ERROR
    assert row["inflation"] == pytest.approx(PRIOR_INFLATION)


def test_the_stated_prior_is_that_of_the_model_at_its_usual_size_of_effects() -> None:
    frame = observations(4, 1, each=1).with_columns(age=pl.lit(1000.0))
    nothing = fit_closed_form(frame, half_life=1.0).frame  # too old to count
    row = row_of(nothing, "*", "*", "*", "up")
    prior = lookup(None, told(("sales", "ann", "promotion", "up")), min_closed=0).row(0, named=True)
    for name in ("weight", "shift", "covariance", "spread", "weight_sd", "shift_sd"):
        assert row[name] == pytest.approx(prior[name], abs=0.02), name


def test_a_negative_weight_counts_as_none_and_its_spread_as_all() -> None:
    bad = fit(observations(5, 30, weights={"ann": -1.5, "bob": 0.8}), half_life=None)
    learned = row_of(bad, "sales", "ann", "*", "up")
    assert learned["weight"] < 0
    found = lookup(bad, told(("sales", "ann", "*", "up"), ("sales", "bob", "*", "up")),
                   min_closed=1)  # fmt: skip
    assert found["weight"].to_list() == [0.0, row_of(bad, "sales", "bob", "*", "up")["weight"]]
    assert found["spread"][0] == max(learned["spread"], learned["inflation"])
    assert found["spread"][1] == row_of(bad, "sales", "bob", "*", "up")["spread"]


def test_people_who_change_age_and_steady_ones_do_not() -> None:
    steady = observations(6, 40)
    assert choose_half_life(steady) is None
    early = pl.col("age") >= 6
    turned = steady.with_columns(
        y=pl.when(early).then(2.5 * pl.col("d")).otherwise(-0.5 * pl.col("d")) + 0.3 * pl.col("y")
    )
    life = choose_half_life(turned)
    assert life == min(one for one in HALF_LIVES if one is not None)
    with_age = row_of(fit(turned), "sales", "bob", "*", "up")["weight"]
    without = row_of(fit(turned, half_life=None), "sales", "bob", "*", "up")["weight"]
    assert with_age < without
    assert fit(turned)["half_life"].unique().to_list() == [life]


def test_too_little_history_never_ages() -> None:
    assert choose_half_life(observations(7, 5)) is None
    assert choose_half_life(observations(7, 12, each=1)) is None  # 36 rows
    assert fit(observations(7, 5))["half_life"].null_count() == fit(observations(7, 5)).height


def test_an_oldest_close_that_misleads_is_forgotten() -> None:
    frame = observations(8, 20)
    wild = frame.with_columns(y=pl.when(pl.col("age") == 19).then(1e3).otherwise(pl.col("y")))
    assert choose_half_life(frame) is None
    assert choose_half_life(wild) is not None


@pytest.mark.parametrize("weight", [0.1, 0.9])
def test_more_evidence_is_surer_and_nearer(weight: float) -> None:
    sds, errors = [], []
    for cycles in (3, 12, 48):
        frame = observations(9, cycles, weights={"ann": weight})
        frame = frame.filter(~pl.col("cell").str.ends_with("all"))
        row = row_of(fit(frame, half_life=None), "sales", "ann", "*", "up")
        sds.append(row["weight_sd"])
        errors.append(abs(row["weight"] - weight))
    assert sds[0] > sds[1] > sds[2]
    assert errors[2] < 0.2
