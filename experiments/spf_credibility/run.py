"""Learning what professional forecasters are worth: the Survey of Professional Forecasters.

    python experiments/spf_credibility/run.py [--data FOLDER] [--variables UNEMP ...] [--refit 1]

Each expert is an owner, walked forward by survey quarter: credibility is learned on what had been
released by then, the present panel is combined, and scored beside its peers. See README.md.
"""

# ruff: noqa: E402
from __future__ import annotations

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_variable] = "1"

import argparse
import sys
from collections.abc import Iterable
from datetime import date, datetime
from pathlib import Path

import numpy as np
import polars as pl

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from panel import Cell, best_three, growth_cells, level_cells, statistical

from sopforecast.core.months import add_months
from sopforecast.judgement.credibility import fit_credibility, lookup
from sopforecast.judgement.evidence import combine

BURN_IN = 20  # surveys, the same for all
LEAST_PANEL = 3
TAIL = 5.0  # of the peers' Student-t
RATES = ("UNEMP", "CPI", "TBILL")
GROWTH = ("RGDP", "NGDP")  # constants were chosen on these alone
SOURCE, REASON = "panel", "forecast"
OURS, ALONE, EQUAL = "consensus", "consensus, no pooling", "equal-weight mean"
BLOCK, RESAMPLES, SEED = 8, 2000, 20260101
Forecast = tuple[float, float, float]  # centre, scale, tail


def walk(cell: Cell, *, refit: int, last: int | None = None) -> pl.DataFrame:
    """Forecast every survey after the burn-in; a row a survey and method.

    ``refit`` surveys pass between two fits of credibility; ``last`` keeps only so many surveys.
    """
    centre, size = statistical(cell)
    adjustment = (cell.forecasts - centre[:, None]) / size[:, None]
    came = (cell.truth - centre) / size
    rows, fitted, age = [], None, 0
    record: list[tuple[int, float]] = []  # what best three said
    first = BURN_IN if last is None else max(BURN_IN, len(cell.truth) - last)
    for survey in range(BURN_IN, len(cell.truth)):
        present = np.flatnonzero(~np.isnan(adjustment[survey]))
        if present.size < LEAST_PANEL:
            continue
        closed = cell.closed(survey)
        three = best_three(cell, survey, closed)
        record.append((survey, three))
        if np.isnan(cell.truth[survey]) or survey < first:
            continue
        forecasts = peers(cell, survey, closed, centre, record)
        usable = closed[~np.isnan(came[closed]) & ~np.isnan(size[closed])]
        if fitted is None or age >= refit:
            fitted, age = learn(cell, usable, survey, adjustment, came), 0
        age += 1
        said = statements(adjustment[survey], present)
        found = lookup(fitted, said, min_closed=6)
        alone = on_his_own(found, present, usable, adjustment, came)
        for name, credibility in ((OURS, found), (ALONE, alone)):
            mean, scale, tail = combine(pl.concat([said, credibility], how="horizontal"))
            forecasts[name] = (
                centre[survey] + size[survey] * mean,
                size[survey] * scale,
                tail,
            )
        rows += [
            (cell.variable, cell.horizon, cell.start + survey, name, *values, cell.truth[survey])
            for name, values in forecasts.items()
        ]
    names = ["variable", "horizon", "survey", "method", "centre", "scale", "tail", "truth"]
    return pl.DataFrame(rows, schema=names, orient="row")


def peers(
    cell: Cell,
    survey: int,
    closed: np.ndarray,
    centre: np.ndarray,
    record: list[tuple[int, float]],
) -> dict[str, Forecast]:
    """Forecasts without credibility, each as wide as its own past errors around zero."""
    panel, now = cell.forecasts[closed], cell.forecasts[survey]
    truth = cell.truth[closed]
    means = _root_mean_square(truth - np.nanmean(panel, axis=1))
    medians = _root_mean_square(truth - np.nanmedian(panel, axis=1))
    known = np.isin(closed, np.flatnonzero(~np.isnan(centre)))
    plain = _root_mean_square((truth - centre[closed])[known])
    told = np.array([cell.truth[s] - value for s, value in record if s < survey - cell.horizon])
    told = told[~np.isnan(told)]
    threes = _root_mean_square(told) if told.size >= BLOCK else means
    narrow = float(np.sqrt((TAIL - 2) / TAIL))  # a Student-t of this scale has the variance seen
    mean = float(np.nanmean(now))
    return {
        EQUAL: (mean, narrow * means, TAIL),
        "equal-weight mean, normal": (mean, means, np.inf),
        "panel median": (float(np.nanmedian(now)), narrow * medians, TAIL),
        "best three": (record[-1][1], narrow * threes, TAIL),
        "statistical": (float(centre[survey]), narrow * plain, TAIL),
    }


def _root_mean_square(error: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(error))))


def learn(
    cell: Cell, closed: np.ndarray, survey: int, adjustment: np.ndarray, came: np.ndarray
) -> pl.DataFrame:
    """Credibility of all who spoke of quarters closed by now."""
    at, expert = np.nonzero(~np.isnan(adjustment[closed]))
    asked = closed[at]
    nothing = pl.lit(None, dtype=pl.Float64)
    observations = pl.DataFrame(
        {
            "override_id": [f"{s}-{e}" for s, e in zip(asked, expert, strict=True)],
            "ds_from": [_month_of(cell.start + s + cell.horizon) for s in asked.tolist()],
            "source": SOURCE,
            "owner": expert.astype(str),
            "reason": REASON,
            "cell": asked.astype(str),
            "age": 3.0 * (survey - 1 - cell.horizon - asked),
            "y": came[asked],
            "d": adjustment[asked, expert],
        }
    ).with_columns(event_id=pl.lit(None, dtype=pl.String), stated_sd=nothing)
    month = _month_of(cell.start + survey - 1)
    known_at = datetime(month.year, month.month, 1)
    fitted, _ = fit_credibility(observations, closed=month, known_at=known_at, half_life=None)
    return fitted


def _month_of(quarter: int) -> date:
    return add_months(date(1, 1, 1), 3 * (quarter - 5))


def statements(adjustment: np.ndarray, present: np.ndarray) -> pl.DataFrame:
    """What the present experts say, in units of the statistical forecast's error."""
    frame = pl.DataFrame(
        {"source": SOURCE, "owner": present.astype(str), "reason": REASON,
         "adjustment": adjustment[present], "unit_sd": 1.0}
    )  # fmt: skip
    up = pl.when(pl.col("adjustment") >= 0).then(pl.lit("up")).otherwise(pl.lit("down"))
    return frame.with_columns(
        direction=up,
        stated_sd=pl.lit(None, dtype=pl.Float64),
        event_id=pl.lit(None, dtype=pl.String),
    )


def on_his_own(
    pooled: pl.DataFrame,
    present: np.ndarray,
    closed: np.ndarray,
    adjustment: np.ndarray,
    came: np.ndarray,
) -> pl.DataFrame:
    """Credibility without pooling: each expert's own regression, from the prior of a newcomer.

    What is about the panel, not about a person (inflation, common error, tail), stays as learned.
    """
    prior = lookup(None, pooled.select(source=pl.lit(SOURCE), owner=pl.lit(""), reason=pl.lit(""),
                                       direction=pl.lit("up")), min_closed=6)  # fmt: skip
    precision = np.diag([1 / prior["shift_sd"][0] ** 2, 1 / prior["weight_sd"][0] ** 2])
    centre = np.array([prior["shift"][0], prior["weight"][0]])
    found = []
    for expert in present.tolist():
        spoke = closed[~np.isnan(adjustment[closed, expert])]
        d, y = adjustment[spoke, expert], came[spoke]
        x = np.stack([np.ones(len(d)), d], axis=1)
        line, variance = centre, prior["spread"][0] ** 2
        for _ in range(5):
            covariance = np.linalg.inv(precision + x.T @ x / variance)
            line = covariance @ (precision @ centre + x.T @ y / variance)
            variance = (4 * prior["spread"][0] ** 2 + np.sum((y - x @ line) ** 2)) / (4 + len(y))
        sd = np.sqrt(np.diag(covariance))
        found.append(
            (line[0], max(line[1], 0.0), sd[0], sd[1], covariance[0, 1], np.sqrt(variance))
        )
    names = ["shift", "weight", "shift_sd", "weight_sd", "covariance", "spread"]
    return pooled.with_columns(pl.DataFrame(found, schema=names, orient="row").get_columns())


def scored(rows: pl.DataFrame) -> pl.DataFrame:
    """Add ``crps`` (the variable's unit) and ``inside80``."""
    import scoringrules
    from scipy.stats import norm, t

    truth, centre, scale, tail = (
        rows[name].to_numpy() for name in ("truth", "centre", "scale", "tail")
    )
    normal = np.isinf(tail)
    finite = np.where(normal, TAIL, tail)
    crps = np.where(
        normal,
        scoringrules.crps_normal(truth, centre, scale, backend="numpy"),
        scoringrules.crps_t(truth, finite, centre, scale, backend="numpy"),
    )
    reach = np.where(normal, norm.ppf(0.9), t.ppf(0.9, finite)) * scale
    return rows.with_columns(crps=crps, inside80=np.abs(truth - centre) <= reach)


def summary(rows: pl.DataFrame) -> pl.DataFrame:
    """Scores by variable, horizon and method; ``horizon`` all: geometric means over cells."""
    cells = (
        rows.group_by("variable", "horizon", "method", maintain_order=True)
        .agg(
            surveys=pl.len(),
            crps=pl.col("crps").mean(),
            coverage80=pl.col("inside80").mean(),
        )
        .with_columns(pl.col("horizon").cast(pl.String))
    )
    equal = cells.filter(pl.col("method") == EQUAL)
    cells = cells.join(
        equal.select("variable", "horizon", peer="crps"), on=["variable", "horizon"]
    ).with_columns(relative=pl.col("crps") / pl.col("peer"))
    groups = [(str(v), [str(v)]) for v in rows["variable"].unique(maintain_order=True)]
    groups.append(("all", [v for v, _ in groups]))
    pooled = [
        _pooled(name, rows.filter(pl.col("variable").is_in(inside)), cells, inside)
        for name, inside in groups
    ]
    columns = ["variable", "horizon", "method", "surveys", "crps", "relative", "relative_p05",
               "relative_p95", "worst", "coverage80"]  # fmt: skip
    everything = pl.concat([pl.concat(pooled), cells], how="diagonal_relaxed")
    return everything.select(columns)


def _pooled(
    name: str, rows: pl.DataFrame, cells: pl.DataFrame, inside: Iterable[str]
) -> pl.DataFrame:
    """Geometric mean over cells with its 90% interval, resampling blocks of surveys."""
    wide = rows.pivot(
        on="survey", index=["method", "variable", "horizon"], values="crps", sort_columns=True
    )
    known = cells.filter(pl.col("variable").is_in(inside))
    rng = np.random.default_rng(SEED)
    surveys = wide.width - 3
    starts = rng.integers(0, surveys, (RESAMPLES, -(-surveys // BLOCK)))
    picks = (starts[:, :, None] + np.arange(BLOCK)).reshape(RESAMPLES, -1)[:, :surveys] % surveys
    counts = np.stack([np.bincount(pick, minlength=surveys) for pick in picks])

    def means(method: str) -> np.ndarray:
        part = wide.filter(pl.col("method") == method).sort("variable", "horizon")
        values = part[:, 3:].to_numpy().astype(float)
        there = ~np.isnan(values)
        return (counts @ np.where(there, values, 0.0).T) / np.maximum(counts @ there.T, 1)

    base, found = means(EQUAL), []
    for method in rows["method"].unique(maintain_order=True):
        ratio = np.exp(np.log(means(method) / base).mean(axis=1))
        of_method = known.filter(pl.col("method") == method)
        found.append(
            {
                "variable": name,
                "horizon": "all",
                "method": method,
                "surveys": int(of_method["surveys"].sum()),
                "relative": float(np.exp(of_method["relative"].log().mean())),
                "relative_p05": float(np.quantile(ratio, 0.05)),
                "relative_p95": float(np.quantile(ratio, 0.95)),
                "worst": of_method["relative"].max(),
                "coverage80": rows.filter(pl.col("method") == method)["inside80"].mean(),
            }
        )
    return pl.DataFrame(found)


def run(
    folder: Path,
    *,
    variables: Iterable[str] = RATES,
    refit: int = 1,
    horizons: Iterable[int] = range(5),
    last: int | None = None,
) -> pl.DataFrame:
    """Walk every variable and horizon and score all methods."""
    rows = []
    for variable in variables:
        read = growth_cells if variable in GROWTH else level_cells
        for cell in read(folder, variable):
            if cell.horizon in tuple(horizons):
                rows.append(walk(cell, refit=refit, last=last))
                print(f"{cell.variable}, {cell.horizon} quarters ahead", flush=True)
    return summary(scored(pl.concat(rows)))


def main() -> None:
    """Run whole and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = os.environ.get("SOPFORECAST_DATA", str(HERE.parents[2] / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--variables", nargs="*", default=list(RATES))
    parser.add_argument("--refit", type=int, default=1, help="surveys between two fits")
    parser.add_argument("--out", type=Path, default=HERE / "results.csv")
    given = parser.parse_args()
    table = run(given.data, variables=given.variables, refit=given.refit)
    table.write_csv(given.out, float_precision=4)
    with pl.Config(tbl_rows=40, tbl_cols=20, tbl_width_chars=200, float_precision=3):
        print(table.filter(pl.col("horizon") == "all"))


if __name__ == "__main__":
    main()
