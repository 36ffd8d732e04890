"""Enrolment of already open sites of the International Stroke Trial, beside two peers.

    python experiments/enrolment_ist/run.py [--data FOLDER] [--small]

Every three months each country's next 3, 6 and 12 months are forecast from what was known then, in
total and by site; hyperparameters of the country come from the other two. See README.md.
"""

# ruff: noqa: E402
from __future__ import annotations

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_variable] = "1"

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from textbook import poisson_gamma, run_rate, spread_of

from sopforecast.clinical.enrolment import RateFit, fit_rates, rebuild_rates, sample_rates
from sopforecast.clinical.inputs import clinical_inputs
from sopforecast.clinical.panel import SitePanel, site_panel
from sopforecast.clinical.rate_observed import observe
from sopforecast.clinical.rate_posterior import group_fits
from sopforecast.clinical.rate_prior import GROUP_SPREAD
from sopforecast.core.draws import series_rng
from sopforecast.core.months import add_months, month_name, months_between

HORIZONS = (3, 6, 12)
FIRST, EVERY = date(1993, 9, 1), 3
FIRST_RUN_RATE = date(1991, 9, 1)  # its spread may be learned from here on
PATHS, SEED = 4000, 20260101
OURS, TOGETHER = "sopforecast", "sopforecast, all countries"
GAMMA, RUN_RATE = "Poisson-gamma", "run rate"


@dataclass(frozen=True, eq=False)
class Trial:
    """Counts (G, T) of all sites over all months, NaN before a site's first patient."""

    sites: tuple[str, ...]
    country: np.ndarray
    first: date
    counts: np.ndarray

    def known(self, origin: date, country: str) -> tuple[np.ndarray, np.ndarray]:
        """Sites of a country with a month of data before the origin, and their counts."""
        month = months_between(self.first, origin)
        open_before = ~np.isnan(self.counts[:, :month]).all(axis=1)
        at = np.flatnonzero(open_before & (self.country == country))
        return at, self.counts[at, :month]

    def actual(self, origin: date, at: np.ndarray, ahead: int) -> np.ndarray:
        """Patients of the sites in the months from the origin on (n,)."""
        month = months_between(self.first, origin)
        return self.counts[at, month : month + ahead].sum(axis=1)

    def has(self, origin: date, ahead: int) -> bool:
        return months_between(self.first, origin) + ahead <= self.counts.shape[1]


def load(data: Path) -> Trial:
    """Read the panel, which is dense from each site's first patient to the trial's last month."""
    rows = pl.read_parquet(data / "ist_site_month.parquet").with_columns(pl.col("ds").cast(pl.Date))
    first, last = rows["ds"].min(), rows["ds"].max()
    sites = rows.select("unique_id", "country").unique().sort("unique_id")
    where = {name: at for at, name in enumerate(sites["unique_id"])}
    counts = np.full((len(where), months_between(first, last) + 1), np.nan)
    for name, ds, y in rows.select("unique_id", "ds", "y").iter_rows():
        counts[where[name], months_between(first, ds)] = y
    since = ~np.isnan(counts)
    assert (since == np.maximum.accumulate(since, axis=1)).all(), "a site's months have gaps"
    return Trial(tuple(where), sites["country"].to_numpy(), first, counts)


def panel_of(trial: Trial, origin: date, countries: tuple[str, ...]) -> SitePanel:
    """What a cycle at the origin would read of these countries; openings are first patients."""
    rows = []
    for country in countries:
        at, counts = trial.known(origin, country)
        for site, series in zip(at, counts, strict=True):
            months = np.flatnonzero(~np.isnan(series))
            rows += [(trial.sites[site], country, add_months(trial.first, int(m)), series[m])
                     for m in months]  # fmt: skip
    frame = pl.DataFrame(rows, schema=["site", "country", "ds", "enrolled"], orient="row")
    frame = frame.with_columns(study=pl.lit("IST"), cohort=pl.lit("all"))
    return site_panel(
        clinical_inputs(
            origin,
            studies=pl.DataFrame({"study": ["IST"]}),
            sites=frame.select("study", "site", "country").unique(),
            enrolment=frame.drop("country"),
        )
    )


def lend(fit: RateFit, panel: SitePanel) -> RateFit:
    """The fit of other countries used for a new one, whose own counts are only filtered.

    The new country's own deviation from the level of the others is learned from its counts on a
    grid, at the mean of the lent hyperparameters.
    """
    ones = np.ones(len(panel.sites))
    grid = np.linspace(-4.0, 4.0, 41) * GROUP_SPREAD
    mean = np.repeat(fit.hyper.mean(axis=0)[None], len(grid), axis=0)
    log = group_fits(mean, grid[:, None], observe(panel, ones))[:, 0]
    log -= 0.25 * (grid / GROUP_SPREAD) ** 2  # a country and, one study, its share of the study
    weight = np.cumsum(np.exp(log - log.max()))
    levels = (np.arange(len(fit.hyper)) + 0.5) / len(fit.hyper)
    drawn = np.interp(levels, weight / weight[-1], grid)
    drawn = series_rng(SEED, "lend").permutation(drawn)
    parameters = {"hyper": fit.hyper, "group": drawn[:, None], "together": fit.together}
    return rebuild_rates(parameters, panel, ones)


def site_draws(fit: RateFit, panel: SitePanel) -> np.ndarray:
    """Patients of each site by month (S, G, H) of the panel's sites."""
    rates = sample_rates(fit, panel, paths=PATHS, horizon=max(HORIZONS), seed=SEED)
    expected = rates.open * rates.shock[:, rates.group_of]
    return series_rng(SEED, "counts", month_name(panel.months[-1])).poisson(expected)


def crps(draws: np.ndarray, actual: np.ndarray) -> np.ndarray:
    """CRPS of draws (S, N) of a forecast that is the draws themselves (N,)."""
    ordered = np.sort(draws, axis=0)
    count = len(ordered)
    weight = (2 * np.arange(1, count + 1) - count - 1) / count**2
    return np.abs(ordered - actual).mean(axis=0) - weight @ ordered


def randomised_pit(draws: np.ndarray, actual: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Probability integral transform of counts (N,), uniform between below and up to actual."""
    below, up_to = (draws < actual).mean(axis=0), (draws <= actual).mean(axis=0)
    return below + rng.random(len(actual)) * (up_to - below)


def forecasts(
    trial: Trial, origin: date, countries: tuple[str, ...]
) -> Iterator[tuple[str, str, int, np.ndarray, np.ndarray]]:
    """Yield method, country, months ahead, sites and their draws (S, n) at an origin."""
    together = panel_of(trial, origin, countries)
    fit = fit_rates(together, np.ones(len(together.sites)), seed=SEED)
    monthly = site_draws(fit, together)
    names = np.array([site for _, site in together.sites])
    for country in countries:
        at, counts = trial.known(origin, country)
        mine = np.searchsorted(names, [trial.sites[site] for site in at])
        others = tuple(other for other in countries if other != country)
        outside = panel_of(trial, origin, others)
        lent = fit_rates(outside, np.ones(len(outside.sites)), seed=SEED)
        alone = panel_of(trial, origin, (country,))
        by_site = site_draws(lend(lent, alone), alone)
        for ahead in HORIZONS:
            if not trial.has(origin, ahead):
                continue
            rng = series_rng(SEED, GAMMA, country, month_name(origin), str(ahead))
            yield OURS, country, ahead, at, by_site[..., :ahead].sum(axis=2)
            yield TOGETHER, country, ahead, at, monthly[:, mine, :ahead].sum(axis=2)
            yield (
                GAMMA,
                country,
                ahead,
                at,
                poisson_gamma(counts, ahead=ahead, paths=PATHS, rng=rng),
            )


def run_rates(
    trial: Trial, origin: date, countries: tuple[str, ...]
) -> Iterator[tuple[str, int, np.ndarray, float]]:
    """Yield country, months ahead, draws (S, 1) of the total, and the actual total."""
    for ahead in HORIZONS:
        errors, past = [], FIRST_RUN_RATE
        while add_months(past, ahead) <= origin:
            for country in countries:
                at, counts = trial.known(past, country)
                said = run_rate(counts, ahead=ahead)
                if said > 0 and counts.shape[1] >= 6:
                    came = trial.actual(past, at, ahead).sum()
                    errors.append(float(np.log(max(came, 0.5) / said)))
            past = add_months(past, EVERY)
        if not trial.has(origin, ahead):
            continue
        for country in countries:
            at, counts = trial.known(origin, country)
            rng = series_rng(SEED, RUN_RATE, country, month_name(origin), str(ahead))
            noise = np.exp(spread_of(errors) * rng.standard_normal((PATHS, 1)))
            actual = float(trial.actual(origin, at, ahead).sum())
            yield country, ahead, run_rate(counts, ahead=ahead) * noise, actual


def walk(trial: Trial, *, first: date, every: int, last: date | None) -> pl.DataFrame:
    """Score every origin: a row a method, country, origin and months ahead."""
    countries = tuple(sorted(set(trial.country.tolist())))
    rows, origin = [], first
    while trial.has(origin, min(HORIZONS)) and (last is None or origin <= last):
        present = tuple(c for c in countries if len(trial.known(origin, c)[0]))
        for method, country, ahead, at, draws in forecasts(trial, origin, present):
            actual = trial.actual(origin, at, ahead)
            rng = series_rng(SEED, "pit", method, country, month_name(origin), str(ahead))
            pit = randomised_pit(draws, actual, rng)
            inside = float(((pit >= 0.1) & (pit <= 0.9)).sum())
            total = draws.sum(axis=1, keepdims=True).astype(float)
            rows.append((method, country, origin, ahead, *_total(total, actual.sum()),
                         len(at), inside, float(crps(draws, actual).sum())))  # fmt: skip
        for country, ahead, draws, actual in run_rates(trial, origin, present):
            rows.append((RUN_RATE, country, origin, ahead, *_total(draws, actual), 0, 0.0, 0.0))
        print(f"{month_name(origin)} done", flush=True)
        origin = add_months(origin, every)
    names = ["method", "country", "origin", "ahead", "actual", "mean", "p10", "p90", "crps",
             "sites", "sites_inside", "sites_crps"]  # fmt: skip
    return pl.DataFrame(rows, schema=names, orient="row")


def _total(draws: np.ndarray, actual: float) -> tuple[float, float, float, float, float]:
    low, high = np.quantile(draws, [0.1, 0.9])
    score = float(crps(draws, np.array([actual]))[0])
    return float(actual), float(draws.mean()), float(low), float(high), score


def summarise(rows: pl.DataFrame) -> pl.DataFrame:
    """One row a method, months ahead and country; ``all`` averages the countries' scores."""
    inside = (pl.col("actual") >= pl.col("p10")) & (pl.col("actual") <= pl.col("p90"))
    measures = [
        pl.len().alias("forecasts"),
        pl.col("actual").mean().alias("mean_actual"),
        (pl.col("crps").mean() / pl.col("actual").mean()).alias("crps"),
        ((pl.col("mean") - pl.col("actual")).sum() / pl.col("actual").sum()).alias("bias"),
        inside.mean().alias("coverage80"),
        pl.col("sites").sum(),
        (pl.col("sites_inside").sum() / pl.col("sites").sum()).alias("site_pit80"),
        (pl.col("sites_crps").sum() / pl.col("actual").sum()).alias("site_crps"),
    ]
    keys = ["method", "ahead"]
    by_country = rows.group_by(*keys, "country").agg(measures)
    pooled = rows.group_by(keys).agg(measures).with_columns(country=pl.lit("all")).drop("crps")
    scores = by_country.group_by(keys).agg(pl.col("crps").mean())
    pooled = pooled.join(scores, on=keys).select(by_country.columns)
    best = pl.col("crps").filter(pl.col("method") == RUN_RATE).first()
    both = pl.concat([by_country, pooled]).sort("ahead", "country", "method")
    at_sites = [pl.when(pl.col("sites") > 0).then(pl.col(name)).alias(name)
                for name in ("site_pit80", "site_crps")]  # fmt: skip
    return both.with_columns(
        (pl.col("crps") / best.over("ahead", "country")).alias("to_run_rate"), *at_sites
    )


def run(data: Path, *, small: bool = False) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Summary and rows; ``small`` keeps one origin."""
    trial = load(data)
    if small:
        rows = walk(trial, first=date(1994, 3, 1), every=EVERY, last=date(1994, 3, 1))
    else:
        rows = walk(trial, first=FIRST, every=EVERY, last=None)
    return summarise(rows), rows


def main() -> None:
    default = Path(os.environ.get("SOPFORECAST_DATA", HERE.parents[2] / "shared" / "data"))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--small", action="store_true", help="one origin, no file written")
    parser.add_argument("--out", type=Path, default=HERE / "results.csv")
    asked = parser.parse_args()
    summary, _ = run(asked.data, small=asked.small)
    with pl.Config(tbl_rows=-1, tbl_cols=-1, float_precision=3, tbl_width_chars=160):
        print(summary)
    if not asked.small:
        summary.write_csv(asked.out, float_precision=4)


if __name__ == "__main__":
    main()
