"""People who adjust a statistical forecast of product events: what their record is worth.

    python experiments/override_experiment/run.py [--data FOLDER] [--draws 200] [--out results.csv]

Each event is left out in turn: credibility is learned on the other events, then the people who
spoke of the left-out one are combined. See README.md.
"""

# ruff: noqa: E402
from __future__ import annotations

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_variable] = "1"

import argparse
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import numpy as np
import polars as pl

from sopforecast.judgement.credibility import fit_credibility, lookup
from sopforecast.judgement.evidence import combine

HERE = Path(__file__).parent
SMALL_CROWD = 3
SEED = 20260101
CLOSED = date(2026, 1, 1)  # the table wants a month; nothing here ages
SOURCE, REASON = "people", "event"
OURS = "consensus"
SCALES = ("level", "log")  # of the adjustment: the product's own first


@dataclass(frozen=True)
class Events:
    """Product events; axes: ``E`` events, ``P`` people. NaN where a person did not forecast."""

    statistical: np.ndarray  # (E,)
    actual: np.ndarray  # (E,)
    experts: np.ndarray  # (E,) the company's own experts
    people: np.ndarray  # (E, P)

    def only(self, events: int) -> Events:
        """Return the first few events."""
        return Events(*(getattr(self, name)[:events] for name in self.__dataclass_fields__))


def load(folder: Path) -> Events:
    """Read the human forecasts; language models are left out."""
    rows = pl.read_parquet(folder / "override_experiment.parquet")
    rows = rows.filter(pl.col("forecaster_type") == "human")
    wide = rows.pivot(
        on="partid", index=["period_id", "stat_frcast", "actual_sales", "experts"],
        values="part_frcast", sort_columns=True,
    ).sort("period_id", "stat_frcast", "actual_sales")  # fmt: skip
    columns = [wide[n].to_numpy().astype(float) for n in ("stat_frcast", "actual_sales", "experts")]
    return Events(*columns, wide[:, 4:].cast(pl.Float64).fill_null(np.nan).to_numpy())


def unit_of(events: Events, known: np.ndarray, *, scale: str) -> float:
    """Size of the statistical forecast's error, from the known events alone.

    The statistical forecast comes without a range, so one is learned: the root mean square of
    log(actual / forecast), or of the relative error with each event cut at three times the median,
    so that the events it was not told of do not rule.
    """
    ratio = events.actual[known] / events.statistical[known]
    if scale == "log":
        return float(np.sqrt(np.mean(np.log(ratio) ** 2)))
    relative = np.abs(ratio - 1.0)
    return float(np.sqrt(np.mean(np.minimum(relative, 3.0 * np.median(relative)) ** 2)))


def told(
    stated: np.ndarray, statistical: np.ndarray | float, share: float, *, scale: str
) -> tuple[np.ndarray, np.ndarray]:
    """Adjustment and its unit; in levels the unit is never below a fifth of the adjustment."""
    if scale == "log":
        adjustment = np.log(stated / statistical)
        return adjustment, np.full(len(stated), share)
    adjustment = stated - statistical
    return adjustment, np.maximum(share * statistical, 0.2 * np.abs(adjustment))


def learn(events: Events, left_out: int, *, scale: str) -> tuple[pl.DataFrame, float]:
    """Credibility of everybody from all events but one, and the share that is the unit."""
    known = np.flatnonzero(np.arange(len(events.actual)) != left_out)
    share = unit_of(events, known, scale=scale)
    event, person = np.nonzero(~np.isnan(events.people[known]))
    event = known[event]
    base = events.statistical[event]
    adjustment, unit = told(events.people[event, person], base, share, scale=scale)
    truth, _ = told(events.actual[event], base, share, scale=scale)
    observations = pl.DataFrame(
        {
            "override_id": [f"{e}-{p}" for e, p in zip(event, person, strict=True)],
            "ds_from": CLOSED,
            "source": SOURCE,
            "owner": person.astype(str),
            "reason": REASON,
            "event_id": pl.Series([None] * len(event), dtype=pl.String),
            "cell": event.astype(str),
            "age": 0.0,
            "y": truth / unit,
            "d": adjustment / unit,
            "stated_sd": pl.Series([None] * len(event), dtype=pl.Float64),
        }
    )
    fitted, _ = fit_credibility(
        observations, closed=CLOSED, known_at=datetime(2026, 1, 1), half_life=None
    )
    return fitted, share


def consensus(
    credibility: pl.DataFrame,
    share: float,
    events: Events,
    event: int,
    people: np.ndarray,
    *,
    scale: str,
) -> tuple[float, float, float]:
    """Centre, and the 80% range, of what some people together say of one event, in its unit."""
    from scipy.stats import t

    base = events.statistical[event]
    adjustment, unit = told(events.people[event, people], base, share, scale=scale)
    said = pl.DataFrame(
        {
            "source": SOURCE,
            "owner": people.astype(str),
            "reason": REASON,
            "adjustment": adjustment,
            "unit_sd": unit,
        }
    ).with_columns(
        direction=pl.when(pl.col("adjustment") >= 0).then(pl.lit("up")).otherwise(pl.lit("down")),
        stated_sd=pl.lit(None, dtype=pl.Float64),
        event_id=pl.lit(None, dtype=pl.String),
    )
    found = lookup(credibility, said, min_closed=6)
    mean, width, tail = combine(pl.concat([said, found], how="horizontal"))
    reach = float(t.ppf(0.9, tail)) * width
    three = np.array([mean, mean - reach, mean + reach])
    three = base * np.exp(three) if scale == "log" else np.maximum(base + three, 0.0)
    return float(three[0]), float(three[1]), float(three[2])


def run(
    folder: Path, *, draws: int, scale: str = "level", events: int | None = None
) -> tuple[pl.DataFrame, np.ndarray]:
    """Score every forecast of every left-out event.

    Returns
    -------
    frame : pl.DataFrame
        A row an event: absolute percentage errors by method; of three people, means over draws.
    small : ndarray, shape (draws, 2)
        MAPE of the consensus and of the crowd mean, each draw taking three people an event.
    """
    data = load(folder) if events is None else load(folder).only(events)
    rng = np.random.default_rng(SEED)
    rows, small = [], np.zeros((len(data.actual), draws, 2))
    for event, actual in enumerate(data.actual):
        credibility, share = learn(data, event, scale=scale)
        everybody = np.flatnonzero(~np.isnan(data.people[event]))
        said = data.people[event, everybody]
        ours, low, high = consensus(credibility, share, data, event, everybody, scale=scale)
        forecasts = {
            OURS: ours,
            "crowd mean": said.mean(),
            "crowd median": float(np.median(said)),
            "statistical": data.statistical[event],
            "company experts": data.experts[event],
        }
        for draw in range(draws):
            three = rng.choice(everybody, SMALL_CROWD, replace=False)
            small[event, draw] = (
                consensus(credibility, share, data, event, three, scale=scale)[0],
                data.people[event, three].mean(),
            )
        rows.append(
            {"event": event, "actual": actual, "unit_share": share}
            | {name: 100 * abs(value / actual - 1) for name, value in forecasts.items()}
            | {"inside80": low <= actual <= high, "width80": (high - low) / actual}
        )
    error = 100 * np.abs(small / data.actual[:, None, None] - 1)
    frame = pl.DataFrame(rows).with_columns(
        pl.Series(f"{OURS} of three", error[:, :, 0].mean(axis=1)),
        pl.Series("mean of three", error[:, :, 1].mean(axis=1)),
    )
    return frame, error.mean(axis=0)


def summary(frame: pl.DataFrame, small: np.ndarray) -> pl.DataFrame:
    """MAPE by method, and relative to the mean of the same people, resampling events."""
    against = {f"{OURS} of three": "mean of three", "mean of three": "mean of three"}
    methods = (OURS, "crowd mean", "crowd median", "statistical", "company experts", *against)
    rng = np.random.default_rng(SEED)
    picks = rng.integers(0, frame.height, (2000, frame.height))
    rows = []
    for method in methods:
        error = frame[method].to_numpy()
        peer = frame[against.get(method, "crowd mean")].to_numpy()
        ratios = error[picks].mean(axis=1) / peer[picks].mean(axis=1)
        low, high = np.quantile(ratios, [0.05, 0.95])
        rows.append(
            {
                "method": method,
                "events": frame.height,
                "mape": error.mean(),
                "relative": error.mean() / peer.mean(),
                "relative_p05": low,
                "relative_p95": high,
                "better_events": int((error < peer).sum()),
                "coverage80": frame["inside80"].mean() if method == OURS else None,
                "better_draws": (small[:, 0] < small[:, 1]).mean()
                if method == f"{OURS} of three"
                else None,
            }
        )
    return pl.DataFrame(rows, infer_schema_length=None)


def main() -> None:
    """Run whole and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = os.environ.get("SOPFORECAST_DATA", str(HERE.parents[2] / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--out", type=Path, default=HERE / "results.csv")
    given = parser.parse_args()
    tables = []
    for scale in SCALES:
        frame, small = run(given.data, draws=given.draws, scale=scale)
        tables.append(summary(frame, small).with_columns(scale=pl.lit(scale)))
        print(frame)
    table = pl.concat(tables).select("scale", pl.exclude("scale"))
    # Methods that need no credibility are the same in every scale: told once.
    table = table.filter((pl.col("scale") == SCALES[0]) | pl.col("method").str.starts_with(OURS))
    table.write_csv(given.out, float_precision=4)
    with pl.Config(tbl_rows=50, tbl_cols=20, tbl_width_chars=220, float_precision=3):
        print(table)


if __name__ == "__main__":
    main()
