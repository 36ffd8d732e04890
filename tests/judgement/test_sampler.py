"""The sampler: its density against scipy row by row, what it recovers, its gates."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest
from scipy import stats

from sopforecast.judgement import effects as priors
from sopforecast.judgement import noise as spread_priors
from sopforecast.judgement.closed_form import fit_closed_form
from sopforecast.judgement.effects import statement_sums
from sopforecast.judgement.posterior import FRAME, Posterior
from sopforecast.judgement.sampled_model import (
    build_model,
    log_likelihood,
    prior_sd,
    spread_map,
    spread_sd,
    starts,
)
from sopforecast.judgement.sampler import compile_model, draw, fit_nuts, passes, posterior_of

# (source, owner): weight up, weight down, shift, spread
TRUTH = {
    ("sales", "ann"): (0.4, 0.3, 0.3, 1.2),
    ("sales", "ben"): (0.9, 0.7, 0.0, 0.5),
    ("sales", "cas"): (0.5, 0.5, 0.1, 0.8),
    ("marketing", "dov"): (0.1, 0.2, -0.1, 1.0),
    ("marketing", "eve"): (0.4, 0.4, 0.0, 0.9),
}
MONTHS_ERROR, TAIL = 0.6, 6.0


def simulate(seed: int, statements: int) -> pl.DataFrame:
    """Closed statements of 1 to 4 months, straight from the model's definition."""
    rng = np.random.default_rng(seed)
    people, rows = list(TRUTH), []
    for k in range(statements):
        source, owner = people[k % len(people)]
        up, down, shift, spread = TRUTH[source, owner]
        n = int(rng.integers(1, 5))
        d = rng.normal(0.3, 1.0) + rng.normal(0, 0.4, n)
        shape = (1 - MONTHS_ERROR) * np.eye(n) + MONTHS_ERROR
        noise = np.linalg.cholesky(shape) @ rng.normal(size=n) / np.sqrt(rng.chisquare(TAIL) / TAIL)
        y = shift + np.where(d >= 0, up, down) * d + spread * noise
        rows += [
            {
                "override_id": f"O{k:04d}", "ds_from": date(2025, month + 1, 1), "source": source,
                "owner": owner, "reason": ("promo", "tender")[k % 2], "event_id": None,
                "cell": f"{k}-{month}", "age": float(k % 30), "y": y[month], "d": d[month],
                "stated_sd": None,
            }
            for month in range(n)
        ]  # fmt: skip
    return pl.DataFrame(rows)


def random_parameters(rows, seed):
    rng = np.random.default_rng(seed)
    fixed, pooled, _ = prior_sd(rows)
    common = rng.normal(0, fixed + pooled)
    own, log_spread = (
        rng.normal(0, 0.3, (len(rows.owners), 3)),
        rng.normal(0, 0.4, len(rows.owners)),
    )
    return common, own, log_spread, float(rng.uniform(0.05, 0.9)), float(rng.uniform(2.2, 30))


def by_hand(observations, rows, common, own, log_spread, rho, tail, half_life):
    """The same density, a statement and a row at a time, by scipy."""
    sources = sorted(observations["source"].unique())
    reasons = sorted(observations.select("source", "reason").unique().iter_rows())
    owners = sorted(observations.select("source", "owner").unique().iter_rows())
    blocks = iter(np.split(common, np.cumsum([1, len(sources), 1, len(reasons), 1])))
    weight, weight_source, direction, weight_reason, shift, shift_source = blocks
    total = 0.0
    for _, frame in observations.sort("ds_from").group_by("override_id"):
        source, owner, reason, age = frame.select("source", "owner", "reason", "age").row(0)
        q, o = sources.index(source), owners.index((source, owner))
        d, y = frame["d"].to_numpy(), frame["y"].to_numpy()
        slope = (
            weight[0]
            + weight_source[q]
            + own[o, 0]
            + weight_reason[reasons.index((source, reason))]
        )
        slope = slope + np.where(d >= 0, 1, -1) * (direction[0] + own[o, 1]) / 2
        centre = shift[0] + shift_source[q] + own[o, 2] + slope * d
        shape = np.exp(2 * log_spread[o]) * ((1 - rho) * np.eye(len(d)) + rho)
        power = 1.0 if half_life is None else 2.0 ** (-age / half_life)
        total += power * stats.multivariate_t(centre, shape, df=tail).logpdf(y)
    return total


def likelihood(rows, common, own, log_spread, rho, tail):
    import pymc as pm
    import pytensor

    with pytensor.config.change_flags(cxx=""), pm.Model():
        import pytensor.tensor as pt

        given = [pt.as_tensor(x) for x in (common, own, log_spread)]
        tensor = log_likelihood(rows, *given, rho=pt.as_tensor(rho), tail=pt.as_tensor(tail))
        return float(tensor.eval(mode="FAST_COMPILE"))


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("half_life", [None, 7.0])
def test_likelihood_of_sums_is_that_of_the_rows(seed, half_life):
    observations = simulate(seed, 40)
    mixed = (
        observations.with_columns(up=pl.col("d") >= 0)
        .group_by("override_id")
        .agg(pl.n_unique("up"))
    )
    assert (mixed["up"] > 1).sum() > 3  # statements with rows up and down are among them
    rows = statement_sums(observations, half_life=half_life)
    given = random_parameters(rows, seed)
    expected = by_hand(observations, rows, *given, half_life)
    assert likelihood(rows, *given) == pytest.approx(expected, rel=1e-9)


def test_a_statement_as_old_as_the_half_life_counts_half():
    observations = simulate(4, 10).with_columns(age=pl.lit(9.0))
    whole = statement_sums(observations, half_life=None)
    given = random_parameters(whole, 4)
    half = statement_sums(observations, half_life=9.0)
    assert likelihood(half, *given) == pytest.approx(likelihood(whole, *given) / 2, rel=1e-12)


def test_density_is_prior_times_likelihood_times_volume():
    """The change of variables leaves the posterior alone, wherever it starts from."""
    import pytensor

    observations = simulate(5, 30)
    rows = statement_sums(observations, half_life=None)
    start = starts(rows)
    with pytensor.config.change_flags(cxx=""):
        model = build_model(rows, start)
        log_density = model.compile_logp(jacobian=False, mode="FAST_COMPILE")
    rng = np.random.default_rng(5)
    off = []
    for _ in range(3):
        z_common = rng.normal(size=len(start.common))
        z_own = rng.normal(size=start.own.shape)
        z_spread = rng.normal(size=len(start.spread))
        kappa, rho, above = float(rng.uniform(0.4, 2.5)), float(rng.uniform(0.1, 0.9)), 4.0
        point = {
            "z_common": z_common, "z_own": z_own, "z_spread": z_spread,
            "kappa_log__": np.log(kappa), "months_error_logodds__": np.log(rho / (1 - rho)),
            "tail_above_2_log__": np.log(above),
        }  # fmt: skip
        off.append(float(log_density(point)) - _expected(rows, start, point, kappa, rho, above))
    assert off == pytest.approx([off[0]] * 3, abs=1e-7)


def _expected(rows, start, point, kappa, rho, above):
    def stretched(flat):
        z_common, z_own = flat[: len(start.common)], flat[len(start.common) :]
        common, own = start.effects(z_common, z_own.reshape(start.own.shape), np.array([kappa]))
        return np.concatenate([common, own.ravel()])

    flat = np.concatenate([point["z_common"], point["z_own"].ravel()])
    origin = stretched(np.zeros_like(flat))
    volume = np.stack([stretched(one) - origin for one in np.eye(len(flat))], axis=1)
    found = stretched(flat)
    common, own = found[: len(start.common)], found[len(start.common) :].reshape(start.own.shape)
    spreads = start.spreads(point["z_spread"])
    fixed, pooled, own_sd = prior_sd(rows)
    centre = np.where(np.arange(len(fixed)) == 0, 0.5, 0.0)
    return (
        stats.norm.logpdf(common, centre, fixed + kappa * pooled).sum()
        + stats.norm.logpdf(own, 0.0, kappa * own_sd).sum()
        + stats.norm.logpdf(spreads, 0.0, spread_sd(rows)).sum()
        + np.linalg.slogdet(volume)[1]
        + stats.lognorm.logpdf(kappa, priors.KAPPA_SD)
        + stats.beta.logpdf(rho, 2, 2)
        + stats.gamma.logpdf(above, 2, scale=4)
        + likelihood(rows, common, own, spread_map(rows) @ spreads, rho, 2 + above)
    )


def test_priors_of_effects_and_scales_stand_in_their_places():
    rows = statement_sums(simulate(6, 10), half_life=None)
    fixed, pooled, own_sd = prior_sd(rows)
    # weight of all, 2 sources, direction of all, 2 sources x 2 reasons, shift of all, 2 sources
    weight, source, way = priors.WEIGHT_SD, priors.SOURCE_WEIGHT_SD, priors.DIRECTION_SD
    reason, shift, shift_source = priors.REASON_WEIGHT_SD, priors.SHIFT_SD, priors.SOURCE_SHIFT_SD
    assert fixed.tolist() == [weight, 0, 0, way, 0, 0, 0, 0, shift, 0, 0]
    assert pooled.tolist() == [0, source, source, 0, *[reason] * 4, 0, *[shift_source] * 2]
    assert own_sd.tolist() == [
        priors.OWNER_WEIGHT_SD, priors.OWNER_DIRECTION_SD, priors.OWNER_SHIFT_SD,
    ]  # fmt: skip
    all_, source, owner = (
        spread_priors.SPREAD_SD, spread_priors.SOURCE_SPREAD_SD, spread_priors.OWNER_SPREAD_SD
    )  # fmt: skip
    assert spread_sd(rows).tolist() == [all_, *[source] * 2, *[owner] * 5]
    # marketing's owners come first: names are sorted
    assert spread_map(rows)[0].tolist() == [1, 1, 0, 1, 0, 0, 0, 0]
    assert spread_map(rows)[4].tolist() == [1, 0, 1, 0, 0, 0, 0, 1]


@pytest.fixture(scope="module")
def fitted():
    """One compilation for all that follows."""
    observations = simulate(7, 500)
    rows = statement_sums(observations, half_life=None)
    start = starts(rows)
    compiled = compile_model(rows, start)
    drawn = draw(compiled, seed=3, draws=1000, tune=500, chains=2)
    return observations, rows, start, compiled, drawn


@pytest.fixture(scope="module")
def posterior(fitted):
    observations, rows, start, _, drawn = fitted
    return posterior_of(observations, rows, start, drawn, seed=3)


def test_it_passes_its_gates(posterior):
    assert passes(posterior) == []
    assert posterior.method == "nuts"


def test_it_recovers_what_it_was_simulated_with(posterior):
    frame = posterior.frame.filter((pl.col("owner") != "*") & (pl.col("reason") == "*"))
    assert frame.height == 2 * len(TRUTH)
    far = []
    for row in frame.iter_rows(named=True):
        up, down, shift, spread = TRUTH[row["source"], row["owner"]]
        weight = up if row["direction"] == "up" else down
        far += [
            (row["weight"] - weight) / row["weight_sd"],
            (row["shift"] - shift) / row["shift_sd"],
        ]
        assert row["spread"] == pytest.approx(spread, rel=0.2)
        assert row["spread_p05"] < row["spread"] < row["spread_p95"]
        assert row["weight_sd"] < 0.15
    assert np.abs(far).max() < 3.2
    assert np.sqrt(np.mean(np.square(far))) < 1.5
    assert posterior.months_error == pytest.approx(MONTHS_ERROR, abs=0.08)
    assert 4.0 < posterior.tail < 10.0


def test_the_closed_form_agrees_where_rows_speak(fitted, posterior):
    keys = ["source", "owner", "reason", "direction"]
    both = posterior.frame.join(fit_closed_form(fitted[0]).frame, on=keys, suffix="_twin")
    spoke = both.filter((pl.col("owner") != "*") & (pl.col("reason") != "*"))
    assert (spoke["weight"] - spoke["weight_twin"]).abs().max() < 0.05
    assert (spoke["shift"] - spoke["shift_twin"]).abs().max() < 0.05


def test_newcomers_are_less_certain_than_anybody(posterior):
    rows = posterior.frame.filter((pl.col("reason") == "*") & (pl.col("direction") == "up"))
    doubt = {(r["source"], r["owner"]): r["weight_sd"] for r in rows.iter_rows(named=True)}
    assert doubt["*", "*"] > doubt["sales", "*"] > max(v for (_, o), v in doubt.items() if o != "*")
    wide = {
        (r["source"], r["owner"]): r["spread_p95"] / r["spread_p05"]
        for r in rows.iter_rows(named=True)
    }
    assert wide["*", "*"] > wide["sales", "*"] > wide["sales", "ann"]


def test_frame_is_whole(posterior):
    assert dict(posterior.frame.schema) == FRAME
    assert posterior.frame.null_count().sum_horizontal().item() == 0
    assert (posterior.frame["weight_p10"] < posterior.frame["weight"]).all()
    assert (posterior.frame["weight"] < posterior.frame["weight_p90"]).all()


def test_same_seed_same_numbers(fitted):
    compiled = fitted[3]
    one, again, other = (
        draw(compiled, seed=seed, draws=40, tune=60, chains=2)["z_own"] for seed in (8, 8, 9)
    )
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_too_few_draws_fail_the_gates_by_name(fitted):
    observations, rows, start, compiled, _ = fitted
    few = draw(compiled, seed=1, draws=30, tune=30, chains=2)
    failed = passes(posterior_of(observations, rows, start, few, seed=1))
    assert any("effective sample size" in line for line in failed)


@pytest.mark.parametrize(
    ("r_hat", "ess", "divergences", "failed"),
    [
        (1.005, 900.0, 0, []),
        (1.01, 900.0, 0, ["r_hat"]),
        (float("nan"), 900.0, 0, ["r_hat"]),
        (1.005, 400.0, 0, ["effective sample size"]),
        (1.005, 900.0, 1, ["divergences"]),
        (1.2, 10.0, 7, ["r_hat", "effective sample size", "divergences"]),
        (None, None, None, []),
    ],
)
def test_gates_name_what_failed(r_hat, ess, divergences, failed):
    fit = Posterior(pl.DataFrame(), 0.5, 8.0, "nuts", r_hat, ess, divergences)
    found = passes(fit)
    assert len(found) == len(failed)
    assert all(line.startswith(name) for line, name in zip(found, failed, strict=True))


def test_nothing_to_learn_from_is_refused():
    with pytest.raises(ValueError, match="no rows"):
        fit_nuts(simulate(1, 5).clear(), seed=1)
