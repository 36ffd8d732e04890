"""Demand of every item of a month, wherever it comes from: its history or the clinic.

Two rooms forecast items of their own; under one hierarchy they are drawn, summed and judged alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

from sopforecast.baseline.month import BaselineMonth
from sopforecast.clinical.clinic import Clinic
from sopforecast.clinical.inputs import ClinicalInputs
from sopforecast.clinical.overlap import clinic_items
from sopforecast.core.hierarchy import Hierarchy
from sopforecast.core.joining import Part, joined, lifted, part_of_draws
from sopforecast.settings import Settings

NAMED_ITEMS = 3


def joined_demand(month: BaselineMonth, clinic: Clinic | None, hierarchy: Hierarchy) -> Part:
    """Views of all items of the hierarchy, and the draws of all aggregates."""
    drawn = month.drawn
    parts = [
        Part(
            items=month.hierarchy.items,
            mean=drawn.mean,
            naive=month.naive,
            quantiles=drawn.quantiles,
            steps=month.steps,
            sums=lifted(drawn.sums, month.hierarchy.aggregates, hierarchy),
        )
    ]
    if clinic is not None and clinic.items:
        parts.append(
            part_of_draws(
                clinic.draws, clinic.items, hierarchy, naive=clinic.naive, steps=clinic.steps
            )
        )
    return joined(parts, hierarchy)


def draws_of(
    month: BaselineMonth, clinic: Clinic | None, hierarchy: Hierarchy, *, settings: Settings
) -> Callable[[np.ndarray], np.ndarray]:
    """Return what turns indexes of items (b,) of the hierarchy into their draws (S, b, H)."""
    own = {item: k for k, item in enumerate(month.hierarchy.items)}
    of_clinic = {} if clinic is None else {item: k for k, item in enumerate(clinic.items)}

    def drawn(items: np.ndarray) -> np.ndarray:
        names = [hierarchy.items[i] for i in items]
        fitted = [k for k, name in enumerate(names) if name in own]
        indexes = np.array([own[names[k]] for k in fitted], dtype=np.int64)
        if len(fitted) == len(names):
            return month.draw(indexes, settings=settings)
        draws = np.empty((settings.advanced.draws, len(names), settings.horizon))
        if fitted:
            draws[:, fitted] = month.draw(indexes, settings=settings)
        asked = [k for k, name in enumerate(names) if name in of_clinic]
        if clinic is not None and asked:
            draws[:, asked] = clinic.draws[:, [of_clinic[names[k]] for k in asked]]
        return draws

    return drawn


def items_with_history(
    items: pl.DataFrame | None, history: pl.DataFrame, clinical: ClinicalInputs | None
) -> pl.DataFrame | None:
    """Items that a check may ask history of: all but those of the clinic that have none."""
    if items is None or clinical is None:
        return items
    asked = set(clinic_items(clinical)) - set(history["unique_id"].to_list())
    return items.filter(~pl.col("unique_id").is_in(sorted(asked)))


def without_history(of_clinic: Sequence[str], cleansed: pl.DataFrame) -> tuple[str, ...]:
    """A note where sums hold demand to come of items whose past demand is not told."""
    seen = set(cleansed["unique_id"].to_list())
    lacking = [item for item in of_clinic if item not in seen]
    if not lacking or not seen:
        return ()
    names = ", ".join(lacking[:NAMED_ITEMS]) + (", ..." if len(lacking) > NAMED_ITEMS else "")
    return (
        f"{names}: no past demand is loaded, so sums that hold them are compared with a past "
        "without them.",
    )
