"""From what was measured of each company to the tables of the README.

Rows come in as seed, turns, arm, cycle, measure, owner, value (`run.one_company`). Sums are added
over companies and months and divided once; intervals are 90% ones, companies resampled.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from loop_companies import TURN, TURNS

from sopforecast.core.draws import series_rng

WINDOWS = ((1, 3), (4, 6), (7, 9), (10, 12), (13, 15), (16, 18))
CELLS = ("moved", "all")
PLANS = {
    "consensus": ("statistical", "consensus"),  # as the runs made it
    "prior": ("statistical", "prior"),  # made again, everybody at the prior
    "learned": ("statistical", "learned"),  # made again, as the newest close learned
    "learned-prior": ("prior", "learned"),
}
RESAMPLES = 4_000


def windows_of(told: pl.DataFrame) -> pl.DataFrame:
    """Value added over statistical in points of WMAPE, by arm, plan, cells and window of cycles.

    Sums over companies and months, divided once; 90% intervals resample companies. ``plan``
    learned-prior is what the learned credibility adds to the prior one in the same runs.
    """
    rows = []
    for arm, cells in [(arm, cells) for arm in told["arm"].unique().sort() for cells in CELLS]:
        of_arm = told.filter(pl.col("arm") == arm)
        for first, last in (*WINDOWS, (1, TURN)):
            sums = _by_company(of_arm, cells, first, last)
            for plan, (before, after) in PLANS.items():
                gain = 100.0 * (sums[before] - sums[after]).to_numpy()
                value, low, high = _ratio(gain, sums["demand"].to_numpy())
                rows.append(
                    {
                        "arm": arm, "cells": cells, "plan": plan, "first": first, "last": last,
                        "companies": sums.height, "cells_counted": sums["cells"].sum(),
                        "statistical": 100.0 * sums["statistical"].sum() / sums["demand"].sum(),
                        "value_added": value, "low": low, "high": high,
                    }
                )  # fmt: skip
    return pl.DataFrame(rows)


def rises_of(told: pl.DataFrame) -> pl.DataFrame:
    """Value added in the last three cycles before the turn, less that in the first three."""
    rows = []
    for arm, cells in [(arm, cells) for arm in told["arm"].unique().sort() for cells in CELLS]:
        of_arm = told.filter(pl.col("arm") == arm)
        early, late = (_by_company(of_arm, cells, *WINDOWS[k]) for k in (0, 3))
        for plan, (before, after) in PLANS.items():
            picks = _picks(early.height)
            gains = [
                (100.0 * (s[before] - s[after]).to_numpy()[picks]).sum(axis=1)
                / s["demand"].to_numpy()[picks].sum(axis=1)
                for s in (early, late)
            ]
            value = [
                100.0 * (s[before] - s[after]).sum() / s["demand"].sum() for s in (early, late)
            ]
            low, high = np.quantile(gains[1] - gains[0], [0.05, 0.95])
            rows.append(
                {
                    "arm": arm, "cells": cells, "plan": plan, "rise": value[1] - value[0],
                    "low": float(low), "high": float(high),
                }
            )  # fmt: skip
    return pl.DataFrame(rows)


def cycles_of(told: pl.DataFrame) -> pl.DataFrame:
    """One row an arm and closed cycle: weights, what counted, the gate, the table of value added.

    Means over companies. ``halved``: share in which the turncoat's weight is at most half of that
    at the turn. ``interval_above_zero``: share whose 90% interval of consensus over statistical (12
    months, as stored by the close) lies above zero.
    """
    keys, parts = ["arm", "cycle"], []
    for measure in ("weight", "counted", "opinions"):
        rows = told.filter(pl.col("measure") == measure)
        mean = rows.group_by(*keys, "owner").agg(pl.col("value").mean())
        wide = mean.with_columns(pl.format("{}_{}", pl.lit(measure), "owner").alias("owner"))
        parts.append(wide.sort(*keys, "owner").pivot(on="owner", index=keys, values="value"))
    weight = told.filter(pl.col("measure") == "weight", pl.col("owner") == "turncoat")
    at_turn = weight.filter(pl.col("cycle") == TURN).select("arm", "seed", then="value")
    after = weight.join(at_turn, on=["arm", "seed"]).with_columns(
        ratio=pl.col("value") / pl.col("then")
    )
    for turns in TURNS:
        of_kind = after.filter(pl.col("turns") == turns)
        parts.append(
            of_kind.group_by(keys).agg(
                pl.col("value").mean().alias(f"turncoat_{turns}"),
                (pl.col("value").mean() / pl.col("then").mean()).alias(f"ratio_{turns}"),
                (pl.col("ratio") <= 0.5).mean().alias(f"halved_{turns}"),
            )
        )
    life = told.filter(pl.col("measure") == "half-life")
    parts.append(
        life.group_by(keys).agg(
            ages=pl.col("value").is_finite().mean(), six_months=(pl.col("value") == 6.0).mean()
        )
    )
    rules = told.filter(pl.col("measure") == "rules credibility")
    parts.append(rules.group_by(keys).agg(adopted=pl.col("value").mean()))
    table = told.filter(pl.col("measure").str.starts_with("over_statistical"))
    wide = table.pivot(on="measure", index=[*keys, "seed"], values="value")
    parts.append(
        wide.group_by(keys).agg(
            pl.col("over_statistical", "over_statistical_low", "over_statistical_high").mean(),
            interval_above_zero=(pl.col("over_statistical_low") > 0).mean(),
        )
    )
    table = parts[0]
    for part in parts[1:]:
        table = table.join(part, on=keys, how="left", coalesce=True)
    return table.sort(keys)


def _by_company(told: pl.DataFrame, cells: str, first: int, last: int) -> pl.DataFrame:
    """Sums of a window, a row a company: cells, demand and the absolute errors of every plan."""
    rows = told.filter(
        pl.col("cycle").is_between(first, last), pl.col("measure").str.ends_with(f" {cells}")
    ).with_columns(pl.col("measure").str.strip_suffix(f" {cells}"))
    sums = rows.group_by("seed", "measure").agg(pl.col("value").sum())
    return sums.pivot(on="measure", index="seed", values="value").sort("seed")


def _picks(companies: int) -> np.ndarray:
    rng = series_rng(0, "loop_company", "bootstrap")
    return rng.integers(0, companies, (RESAMPLES, companies))


def _ratio(gain: np.ndarray, demand: np.ndarray) -> tuple[float, float, float]:
    """Sum over sum with its 90% interval over companies."""
    picks = _picks(len(gain))
    shares = gain[picks].sum(axis=1) / demand[picks].sum(axis=1)
    low, high = np.quantile(shares, [0.05, 0.95])
    return float(gain.sum() / demand.sum()), float(low), float(high)


def written(told: pl.DataFrame, folder: Path) -> None:
    """Write results.csv (a row a window) and cycles.csv (a row a closed cycle)."""
    windows_of(told).write_csv(folder / "results.csv", float_precision=3)
    cycles_of(told).write_csv(folder / "cycles.csv", float_precision=3)
    with pl.Config(tbl_rows=200, tbl_cols=40, tbl_width_chars=250):
        print(windows_of(told), rises_of(told), cycles_of(told), sep="\n")
        seconds = told.filter(pl.col("measure") == "seconds")
        print(seconds.group_by("arm").agg(pl.len(), pl.col("value").mean().round(1)))
