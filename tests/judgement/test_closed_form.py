"""The closed-form fit: recovers what made the data, ages, and knows nothing of row order."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from sopforecast.judgement import effects, noise
from sopforecast.judgement.closed_form import fit_closed_form
from sopforecast.judgement.posterior import FRAME, Posterior

Z90 = 1.6448536269514722
PEOPLE = [(source, f"{source} {k}") for source in ("sales", "finance", "clinical") for k in (0, 1)]


def company(seed: int, *, each: int = 24) -> tuple[pl.DataFrame, dict[tuple[str, str], np.ndarray]]:
    """Observations drawn from the model's own priors, and (shift, up, down, spread) of each."""
    rng = np.random.default_rng([seed, 11])
    kappa = np.exp(effects.KAPPA_SD * rng.standard_normal())
    weight = effects.WEIGHT_CENTRE + effects.WEIGHT_SD * rng.standard_normal()
    turn = effects.DIRECTION_SD * rng.standard_normal()
    shift = effects.SHIFT_SD * rng.standard_normal()
    log_spread = noise.SPREAD_SD * rng.standard_normal()
    months_error, tail = rng.beta(2, 2), 2 + rng.gamma(2, 4)
    shared = {
        source: rng.standard_normal(3)
        * [kappa * effects.SOURCE_WEIGHT_SD, kappa * effects.SOURCE_SHIFT_SD,
           noise.SOURCE_SPREAD_SD]
        for source, _ in PEOPLE
    }  # fmt: skip
    reasons = {source: kappa * effects.REASON_WEIGHT_SD * rng.standard_normal(2)
               for source, _ in PEOPLE}  # fmt: skip
    truth, rows = {}, []
    for source, owner in PEOPLE:
        own = rng.standard_normal(4) * [
            kappa * effects.OWNER_WEIGHT_SD, kappa * effects.OWNER_DIRECTION_SD,
            kappa * effects.OWNER_SHIFT_SD, noise.OWNER_SPREAD_SD,
        ]  # fmt: skip
        centre, half = weight + shared[source][0] + own[0], (turn + own[1]) / 2
        a, tau = shift + shared[source][1] + own[2], np.exp(log_spread + shared[source][2] + own[3])
        truth[source, owner] = np.array([a, centre + half, centre - half, tau])
        for k in range(each):
            n, reason, d = rng.integers(1, 4), rng.integers(2), 1.5 * rng.standard_normal()
            w = centre + (half if d >= 0 else -half) + reasons[source][reason]
            error = np.sqrt(months_error) * rng.standard_normal()
            error = error + np.sqrt(1 - months_error) * rng.standard_normal(n)
            error *= tau / np.sqrt(rng.chisquare(tail) / tail)
            rows += [
                (f"{owner} {k}", date(2020, 1 + m, 1), source, owner, f"r{reason}", 0.0,
                 a + w * d + error[m], d)
                for m in range(n)
            ]  # fmt: skip
    names = ["override_id", "ds_from", "source", "owner", "reason", "age", "y", "d"]
    return pl.DataFrame(rows, schema=names, orient="row"), truth


def line(fit: Posterior, source: str, owner: str, direction: str = "up") -> dict[str, float]:
    found = fit.frame.filter(
        pl.col("source") == source,
        pl.col("owner") == owner,
        pl.col("reason") == "*",
        pl.col("direction") == direction,
    )
    return found.row(0, named=True)


def plain(
    rows: int, *, weight: float, owner: str = "ann", spread: float = 1.0, seed: int = 0
) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    d = 2.0 * rng.standard_normal(rows)
    return pl.DataFrame(
        {
            "override_id": [f"{owner} {k:05d}" for k in range(rows)],
            "ds_from": [date(2020, 1, 1)] * rows,
            "source": ["sales"] * rows,
            "owner": [owner] * rows,
            "reason": ["promotion"] * rows,
            "age": np.zeros(rows),
            "y": weight * d + spread * rng.standard_normal(rows),
            "d": d,
        }
    )


def test_ninety_percent_intervals_hold_the_truth_of_sixty_owners() -> None:
    hits: dict[str, list[bool]] = {name: [] for name in ("shift", "up", "down", "spread")}
    errors = []
    for seed in range(10):
        observations, truth = company(seed)
        fit = fit_closed_form(observations)
        for who, (shift, up, down, spread) in truth.items():
            rows = {turn: line(fit, *who, turn) for turn in ("up", "down")}
            for turn, value in (("up", up), ("down", down)):
                row = rows[turn]
                hits[turn].append(abs(row["weight"] - value) <= Z90 * row["weight_sd"])
                errors.append(row["weight"] - value)
            row = rows["up"]
            hits["shift"].append(abs(row["shift"] - shift) <= Z90 * row["shift_sd"])
            hits["spread"].append(row["spread_p05"] <= spread <= row["spread_p95"])
    assert len(hits["up"]) == 60
    for name, inside in hits.items():
        assert 0.78 <= np.mean(inside) <= 1.0, name
    everything = np.mean([one for inside in hits.values() for one in inside])
    assert 0.84 <= everything <= 0.96
    assert abs(np.mean(errors)) < 0.05


def test_the_order_of_rows_changes_no_number() -> None:
    observations, _ = company(1, each=6)
    one = fit_closed_form(observations, half_life=6.0)
    for seed in range(3):
        other = fit_closed_form(
            observations.sample(fraction=1, shuffle=True, seed=seed), half_life=6.0
        )
        assert one.frame.equals(other.frame)
        assert (one.tail, one.months_error) == (other.tail, other.months_error)


def test_the_frame_is_whole_and_its_numbers_possible() -> None:
    observations, _ = company(2, each=5)
    fit = fit_closed_form(observations)
    frame = fit.frame
    assert dict(frame.schema) == FRAME
    assert frame.null_count().sum_horizontal().item() == 0
    assert frame.select(pl.col(pl.Float64).is_finite().all()).row(0) == (True,) * 10
    assert (frame["weight_p10"] < frame["weight"]).all()
    np.testing.assert_allclose(
        frame["weight_p90"] - frame["weight"], 1.2815515655446004 * frame["weight_sd"]
    )
    assert (frame["spread_p05"] < frame["spread"]).all()
    assert (frame["spread"] < frame["spread_p95"]).all()
    assert (frame["covariance"].abs() <= frame["weight_sd"] * frame["shift_sd"]).all()
    assert (fit.method, fit.r_hat, fit.ess, fit.divergences) == ("closed_form", None, None, None)
    assert 0 < fit.months_error < 1
    assert fit.tail > 2


def test_much_evidence_leaves_least_squares() -> None:
    observations = plain(3000, weight=0.83, spread=0.7)
    row = line(fit_closed_form(observations), "sales", "ann")
    up = observations.filter(pl.col("d") >= 0)
    design = np.stack([np.ones(up.height), up["d"].to_numpy()], axis=1)
    slope = np.linalg.lstsq(design, up["y"].to_numpy(), rcond=None)[0][1]
    assert row["weight"] == pytest.approx(slope, abs=0.1)
    assert row["weight"] == pytest.approx(0.83, abs=0.1)
    assert row["spread"] == pytest.approx(0.7, rel=0.1)


def test_little_evidence_leaves_the_prior() -> None:
    row = line(fit_closed_form(plain(1, weight=0.5)), "sales", "ann")
    assert row["weight"] == pytest.approx(0.5, abs=0.15)
    assert row["weight_sd"] > 0.3
    assert row["shift_sd"] > 0.15


def test_one_wild_month_moves_little() -> None:
    calm = plain(40, weight=0.8, spread=0.5)
    at = int(np.argmax(calm["d"].to_numpy()))
    wild = calm.with_columns(
        y=pl.when(pl.int_range(pl.len()) == at).then(-20.0).otherwise(pl.col("y"))
    )
    before = line(fit_closed_form(calm), "sales", "ann")["weight"]
    after = line(fit_closed_form(wild), "sales", "ann")["weight"]
    x, y = wild["d"].to_numpy(), wild["y"].to_numpy()
    slope = np.polyfit(x, y, 1)[0]
    assert abs(after - before) < 0.2
    assert abs(slope - before) > 2 * abs(after - before)


def test_a_bad_owner_does_not_spoil_a_good_one() -> None:
    both = pl.concat([plain(60, weight=1.0), plain(60, weight=0.0, owner="bob", seed=1)])
    fit = fit_closed_form(both)
    ann, bob, new = (line(fit, "sales", owner) for owner in ("ann", "bob", "*"))
    assert ann["weight"] > 0.8
    assert bob["weight"] < 0.2
    assert bob["weight"] < new["weight"] < ann["weight"]
    assert new["weight_sd"] > max(ann["weight_sd"], bob["weight_sd"])


def test_two_old_statements_count_as_one_new() -> None:
    observations, _ = company(3, each=4)
    old = observations.with_columns(age=pl.lit(7.0))
    again = old.with_columns(override_id=pl.format("{} again", "override_id"))
    new = fit_closed_form(observations, half_life=7.0)
    aged = fit_closed_form(pl.concat([old, again]), half_life=7.0)
    numbers = pl.col(pl.Float64)
    assert_frame_equal(new.frame.select(numbers), aged.frame.select(numbers), abs_tol=1e-8)
    assert aged.tail == pytest.approx(new.tail)


def test_a_newcomer_is_an_owner_of_whom_nothing_counts() -> None:
    observations, _ = company(4, each=10)
    silent = plain(1, weight=9.0, owner="newcomer").with_columns(age=pl.lit(1000.0))
    source = silent.with_columns(
        source=pl.lit("supply"), owner=pl.lit("x"), override_id=pl.lit("x")
    )
    fit = fit_closed_form(pl.concat([observations, silent, source]), half_life=1.0)
    numbers = ("weight", "weight_sd", "shift", "shift_sd", "covariance")
    for one, other in ((("sales", "newcomer"), ("sales", "*")), (("supply", "x"), ("*", "*"))):
        for turn in ("up", "down"):
            known, new = line(fit, *one, turn), line(fit, *other, turn)
            assert [known[name] for name in numbers] == pytest.approx(
                [new[name] for name in numbers], abs=1e-9
            )
            assert known["spread"] == pytest.approx(new["spread"], rel=0.02)
            assert known["spread_p95"] == pytest.approx(new["spread_p95"], rel=0.1)


def test_no_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one closed statement"):
        fit_closed_form(plain(1, weight=1.0).clear())
