"""A site model that expects patients, some of whom are then listed by name in a tier.

Three sites, a year ahead. The model knows 10 patients in screening at each site, of whom 60% enrol
within three months, and expects 1.5 new patients a site and month after the first two months.
"""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl

from sopforecast.clinical.inputs import clinical_inputs
from sopforecast.clinical.panel import SitePanel
from sopforecast.clinical.paths import NEVER, SiteCounts
from sopforecast.clinical.replace import with_lines
from sopforecast.clinical.tier_paths import LinePaths

SITES, MONTHS, STOCK, CONVERTS, RATE, QUIET = 3, 12, 10, 0.6, 1.5, 2
CYCLE = date(2026, 12, 1)
SCENES = {
    # name: (lines a site in screening, lines a site in pipeline, patients expected beyond)
    "nobody listed": (0, 0),
    "half of those in screening listed": (5, 0),
    "all in screening listed": (10, 0),
    "5 a site beyond those in screening": (15, 0),
    "10 a site in pipeline": (0, 10),
    "10 a site in screening, 10 in pipeline": (10, 10),
    "40 a site in pipeline": (0, 40),
}


def replacement(*, paths: int = 40_000, seed: int = 1) -> pl.DataFrame:
    """Total patients in a year by what was listed, and by how much it should have changed."""
    rng = np.random.default_rng(seed)
    panel, counts = _site_model(rng, paths)
    expected_new = SITES * RATE * (MONTHS - QUIET)
    before = _total(counts)
    rows = []
    for scene, (screening, pipeline) in SCENES.items():
        lines = _lines(rng, paths, screening, pipeline)
        inputs = clinical_inputs(CYCLE, tier_lines=lines.frame)
        after = with_lines(
            counts, lines, inputs, panel, stock=np.full(SITES, float(STOCK)), seed=seed
        )
        total = _total(after)
        beyond = max(screening - STOCK, 0) + pipeline
        excess = max(SITES * CONVERTS * beyond - expected_new, 0.0)
        rows.append({
            "scene": scene, "listed": lines.frame.height, "mean": total.mean(),
            "change": total.mean() - before.mean(), "should_change": excess,
            "standard_error": float(np.hypot(total.std(), before.std()) / np.sqrt(paths)),
            "p10": float(np.quantile(total, 0.1)), "p90": float(np.quantile(total, 0.9)),
            "screened": after.screened.sum(axis=(1, 2)).mean(),
        })  # fmt: skip
    return pl.DataFrame(rows)


def _site_model(rng: np.random.Generator, paths: int) -> tuple[SitePanel, SiteCounts]:
    size = (paths, SITES, MONTHS)
    stock = np.zeros(size, dtype=np.int16)
    stock[:, :, :3] = rng.multinomial(STOCK, [*[CONVERTS / 3] * 3, 1 - CONVERTS], size[:2])[..., :3]
    new = np.zeros(size, dtype=np.int16)
    new[:, :, QUIET:] = rng.poisson(RATE, (paths, SITES, MONTHS - QUIET))
    screened = rng.poisson(RATE / CONVERTS, size).astype(np.int16)
    places = np.zeros(SITES, dtype=int)
    blank = np.full((SITES, 1), np.nan)
    panel = SitePanel(
        sites=tuple(("ABC", f"S{g}") for g in range(SITES)), studies=("ABC",), countries=("*",),
        study_of=places, country_of=places, months=(date(2026, 11, 1),), opened=places,
        seen_at_first=places.astype(bool), closed=places + 1, exposure=np.ones((SITES, 1)),
        enrolled=blank, screened=blank, screen_failed=blank, capacity=blank[:, 0],
        planned_rate=blank[:, 0],
    )  # fmt: skip
    opened = np.full((paths, SITES), -1, dtype=np.int16)
    return panel, SiteCounts(screened=screened, from_stock=stock, from_new=new, activated=opened)


def _lines(rng: np.random.Generator, paths: int, screening: int, pipeline: int) -> LinePaths:
    """Each converts with 60%: those in screening within 3 months, the others within the year."""
    rows = [
        {"line_id": f"{tier}-{g}-{i:02d}", "study": "ABC", "site": f"S{g}", "tier": tier,
         "quantity": 1.0, "outcome": "open"}
        for tier, many in (("highly_probable", screening), ("pipeline", pipeline))
        for g in range(SITES) for i in range(many)
    ]  # fmt: skip
    schema = {
        "line_id": pl.String, "study": pl.String, "site": pl.String, "tier": pl.String,
        "quantity": pl.Float64, "outcome": pl.String,
    }  # fmt: skip
    blank = {
        name: pl.lit(None, dtype=pl.String)
        for name in ("account", "cohort", "unique_id", "owner", "lost_reason")
    }
    frame = pl.DataFrame(rows, schema=schema).with_columns(**blank)
    reach = np.where(frame["tier"] == "pipeline", MONTHS, 3)
    month = rng.integers(0, np.broadcast_to(reach, (paths, frame.height)))
    month = np.where(rng.random(month.shape) < CONVERTS, month, NEVER).astype(np.int16)
    return LinePaths(frame=frame, month=month, amount=np.ones(month.shape, dtype=np.float32))


def _total(counts: SiteCounts) -> np.ndarray:
    return (counts.from_stock + counts.from_new).sum(axis=(1, 2))
