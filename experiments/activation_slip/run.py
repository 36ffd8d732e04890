"""Openings of planned sites when the law of slips is known: simulated workspaces.

    python experiments/activation_slip/run.py [--workspaces 60] [--small] [--out results.csv]

Public data do not show when a site was planned to open, so slips are simulated, from laws that are
not the model's. See README.md.
"""

# ruff: noqa: E402
from __future__ import annotations

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_variable] = "1"

import argparse
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from sopforecast.clinical.activation import fit_activation, sample_activation
from sopforecast.clinical.inputs import ClinicalInputs, clinical_inputs
from sopforecast.clinical.panel import site_panel
from sopforecast.core.draws import series_rng

HERE = Path(__file__).parent
SEED = 20260101
CYCLE = date(2026, 12, 1)
LAST_DAY = CYCLE - timedelta(days=1)
HORIZON = 24
OPENS = 0.85
GIVEN_UP_AFTER = 180
"""Days after its planned date at which a site that never opens is closed."""
STUDIES = 3
STUDY_SHIFTS = (-15, 0, 25)
SIZES = (10, 40, 160)
LAWS = ("lognormal", "normal", "mixture")
RANGES = ("none", "narrow")
"""No site has a range; every site has one, centred up to an error of 15 days, half as wide as it
should be, and 15 days early."""


@dataclass(frozen=True)
class World:
    """Inputs of one simulated workspace, and the day (ordinal) each site opens; 0: never."""

    inputs: ClinicalInputs
    opens: dict[tuple[str, str], int]


def slips(law: str, size: int, rng: np.random.Generator) -> np.ndarray:
    """Days from the planned to the real opening, before a study's own shift."""
    if law == "lognormal":
        return rng.lognormal(np.log(60.0), 0.6, size) - 25.0
    if law == "normal":
        return rng.normal(40.0, 30.0, size)
    slow = rng.random(size) < 0.3
    return np.where(slow, rng.normal(130.0, 40.0, size), rng.normal(15.0, 12.0, size))


def simulate(law: str, sites: int, ranges: str, rng: np.random.Generator) -> World:
    """Draw sites planned from 18 months before the cycle to 6 months after it."""
    study = np.arange(sites) % STUDIES
    planned = LAST_DAY.toordinal() + rng.integers(-540, 180, sites)
    slip = slips(law, sites, rng) + np.array(STUDY_SHIFTS)[study]
    day = np.ceil(planned + slip).astype(int)
    never = rng.random(sites) >= OPENS
    centre = slip - 15.0 + rng.normal(0.0, 15.0, sites)
    rows, opens = [], {}
    for at in range(sites):
        closed = planned[at] + GIVEN_UP_AFTER
        is_open = not never[at] and day[at] <= LAST_DAY.toordinal()
        is_closed = never[at] and closed <= LAST_DAY.toordinal()
        key = (f"S{study[at]}", f"site{at:03d}")
        opens[key] = 0 if never[at] else int(day[at])
        rows.append(
            {
                "study": key[0],
                "site": key[1],
                "country": f"C{at % 4}",
                "planned_activation_date": date.fromordinal(int(planned[at])),
                "activated_date": date.fromordinal(int(day[at])) if is_open else None,
                "closed_date": date.fromordinal(int(closed)) if is_closed else None,
                "slip_days_low": centre[at] - 10.0 if ranges == "narrow" else None,
                "slip_days_high": centre[at] + 10.0 if ranges == "narrow" else None,
            }
        )
    types = {"activated_date": pl.Date, "closed_date": pl.Date}
    floats = {"slip_days_low": pl.Float64, "slip_days_high": pl.Float64}
    frame = pl.DataFrame(rows, schema_overrides=types | floats)
    studies = pl.DataFrame({"study": [f"S{at}" for at in range(STUDIES)], "status": "active"})
    return World(clinical_inputs(CYCLE, sites=frame, studies=studies), opens)


def score(world: World, *, name: str, paths: int) -> list[dict[str, object]]:
    """Score the sites that are not open: by day and month, and how many open in six months."""
    panel = site_panel(world.inputs)
    fit = fit_activation(world.inputs, seed=SEED)
    drawn = sample_activation(
        fit, world.inputs, panel, paths=paths, horizon=HORIZON, seed=SEED
    ).date_ordinal
    rng = series_rng(SEED, "pit", name)
    planned = dict(
        zip(
            world.inputs.sites.select("study", "site").iter_rows(),
            world.inputs.sites["planned_activation_date"],
            strict=True,
        )
    )
    soon = CYCLE.toordinal() + 183
    rows: list[dict[str, object]] = []
    ours_soon = np.zeros(paths)
    taken_soon = actual_soon = 0
    for site in np.flatnonzero((drawn > 0).any(axis=0)):
        key = panel.sites[site]
        days, truth = drawn[:, site], world.opens[key]
        as_planned = max(planned[key].toordinal(), CYCLE.toordinal())
        ours_soon += (days > 0) & (days < soon)
        taken_soon += as_planned < soon
        actual_soon += 0 < truth < soon
        row: dict[str, object] = {"kind": "site", "opens": float(truth > 0)}
        row["chance"] = float((days > 0).mean())
        if truth > 0:
            some = days[days > 0]
            month = (some - CYCLE.toordinal()) // 30.4375
            actual = (truth - CYCLE.toordinal()) // 30.4375
            by_day = (some < truth).mean() + 0.5 * (some == truth).mean()
            mixed = (month < actual).mean() + rng.random() * (month == actual).mean()
            row |= {
                "inside_days": float(0.1 < by_day < 0.9),
                "inside_months": float(0.1 < mixed < 0.9),
                "error": float(some.mean() - truth),
                "error_as_planned": float(as_planned - truth),
            }
        rows.append(row)
    if rows:
        pit = (ours_soon < actual_soon).mean() + rng.random() * (ours_soon == actual_soon).mean()
        rows.append(
            {
                "kind": "workspace",
                "inside_soon": float(0.1 < pit < 0.9),
                "soon": float(ours_soon.mean()),
                "soon_as_planned": float(taken_soon),
                "soon_actual": float(actual_soon),
            }
        )
    return rows


def run(*, workspaces: int, sizes: tuple[int, ...] = SIZES, paths: int = 1000) -> pl.DataFrame:
    """One row a law, number of sites and kind of ranges; mean over sites, then sums."""
    out = []
    for law in LAWS:
        for ranges in RANGES:
            for sites in sizes:
                rows = []
                for number in range(workspaces):
                    name = f"{law} {ranges} {sites} {number}"
                    world = simulate(law, sites, ranges, series_rng(SEED, "world", name))
                    rows += score(world, name=name, paths=paths)
                out.append({"law": law, "ranges": ranges, "sites": sites} | _means(rows))
    return pl.DataFrame(out)


def _means(rows: list[dict[str, object]]) -> dict[str, float]:
    def mean(key: str) -> float:
        return float(np.mean([row[key] for row in rows if key in row]))

    return {
        "scored": float(sum("error" in row for row in rows)),
        "coverage80_days": mean("inside_days"),
        "coverage80_months": mean("inside_months"),
        "bias_days": mean("error"),
        "bias_days_as_planned": mean("error_as_planned"),
        "abs_error": float(np.mean([abs(row["error"]) for row in rows if "error" in row])),  # type: ignore[arg-type]
        "abs_error_as_planned": float(
            np.mean([abs(row["error_as_planned"]) for row in rows if "error_as_planned" in row])  # type: ignore[arg-type]
        ),
        "opens": mean("opens"),
        "chance": mean("chance"),
        "in_six_months": mean("soon_actual"),
        "in_six_months_ours": mean("soon"),
        "in_six_months_as_planned": mean("soon_as_planned"),
        "coverage80_in_six_months": mean("inside_soon"),
    }


def main() -> None:
    """Run whole and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workspaces", type=int, default=0, help="of each kind; 0: by size")
    parser.add_argument("--small", action="store_true", help="two workspaces of ten sites a kind")
    parser.add_argument("--out", type=Path, default=HERE / "results.csv")
    given = parser.parse_args()
    if given.small:
        table = run(workspaces=2, sizes=(10,), paths=200)
    else:
        counts = {size: given.workspaces or max(20, 600 // size) for size in SIZES}
        table = pl.concat([run(workspaces=counts[size], sizes=(size,)) for size in SIZES])
        table = table.sort("law", "ranges", "sites")
    table.write_csv(given.out, float_precision=3)
    with pl.Config(tbl_rows=50, tbl_cols=20, tbl_width_chars=250, float_precision=2):
        print(table)


if __name__ == "__main__":
    main()
