"""The trial in files, as a clinical operations person and a planner would hand them over.

Kits that were used are history of the trial's items: their demand comes from the clinic, and what
was used says how good that was.
"""

from __future__ import annotations

from collections import Counter
from datetime import date
from pathlib import Path

import polars as pl

from sopforecast.core.months import add_months, month_range, months_between
from sopforecast.demo.overrides import SEED
from sopforecast.demo.portfolio import DemoItem
from sopforecast.demo.trial import (
    KIT,
    KITS_A_MONTH,
    LEVELS_OF_ITEMS,
    SCREENING,
    SEEDING,
    SEEDS_A_SITE,
    simulated_trial,
    trial_items,
)
from sopforecast.demo.trial_law import LAW
from sopforecast.demo.trial_patients import draw_patients, site_rows

MONTHS = 24
# Studies and sites first: what names them comes after.
ORDER = ("studies", "cohorts", "sites", "schedule", "study_events", "enrolment_plan", "enrolment",
         "tier_lines")  # fmt: skip


def first_month_of(last_month: date) -> date:
    """The first month of the demo's trial."""
    return add_months(last_month, 1 - MONTHS)


def write_trial_files(folder: Path, *, last_month: date) -> list[tuple[str, Path]]:
    """Write items, kits used and the eight tables as CSV; returns (table, path) in loading order.

    Versions of ``tier_lines`` carry ``known_at``; everything else is known by the rules of tables.
    """
    folder.mkdir(parents=True, exist_ok=True)
    first = first_month_of(last_month)
    tables = simulated_trial(first_month=first, last_month=last_month, seed=SEED)
    used = kits_used(first_month=first, last_month=last_month, seed=SEED)
    frames = [("items", trial_items()), ("history", used)]
    frames += [(name, tables[name]) for name in ORDER]
    written = []
    for name, frame in frames:
        file = folder / f"{name}.csv"
        frame.write_csv(file, datetime_format="%Y-%m-%d")
        written.append((name, file))
    return written


def kits_used(*, first_month: date, last_month: date, seed: int) -> pl.DataFrame:
    """Kits by item and month: unique_id, ds, y; the first protocol version, without overage.

    A patient gets kits each month of treatment until the one in which they leave.
    """
    count = months_between(first_month, last_month) + 1
    sites = site_rows(first_month=first_month, last_month=last_month, seed=seed)
    used = {item: Counter[int]() for item in (KIT, SCREENING, SEEDING)}
    for one in draw_patients(sites, first_month=first_month, count=count, seed=seed):
        used[SCREENING][one.screened] += 1
        if not one.failed:
            ends = one.decided + LAW.treatment_months if one.left is None else one.left
            for month in range(one.decided, ends):
                used[KIT][month] += KITS_A_MONTH[one.cohort]
    for opened in sites["activated_date"].drop_nulls():
        used[SEEDING][months_between(first_month, opened.replace(day=1))] += SEEDS_A_SITE
    months = month_range(first_month, count)
    rows = [(item, ds, float(by_month[month])) for item, by_month in used.items()
            for month, ds in enumerate(months)]  # fmt: skip
    return pl.DataFrame(rows, schema={"unique_id": pl.String, "ds": pl.Date, "y": pl.Float64},
                        orient="row")  # fmt: skip


def kits_as_items(*, last_month: date, months: int) -> list[DemoItem]:
    """The trial's items with what was used of them in the last months; nothing before it began."""
    used = kits_used(first_month=first_month_of(last_month), last_month=last_month, seed=SEED)
    by_item = used.group_by("unique_id", maintain_order=True).agg("y")
    words = dict(trial_items().select("unique_id", "description").iter_rows())
    family, region = LEVELS_OF_ITEMS["family"], LEVELS_OF_ITEMS["region"]
    return [
        DemoItem(item, words[item], family, region, tuple(([0.0] * months + y)[-months:]))
        for item, y in by_item.iter_rows()
    ]
