"""What a file is checked against: settings, the calendar, and what the store already holds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import date

import polars as pl

from sopforecast.core.clinical_tables import CLINICAL_TABLES
from sopforecast.core.hierarchy import Hierarchy
from sopforecast.core.months import add_months
from sopforecast.settings import SOURCES

Contradictions = Callable[[pl.DataFrame, Hierarchy], list[tuple[tuple[str, ...], str]]]


@dataclass(frozen=True)
class ReadOptions:
    """What settings say about reading files.

    Attributes
    ----------
    columns : Mapping
        For each table: its column to the header in the file (``[columns.history]``).
    levels : tuple of str
        Level columns of items, such as ``family`` and ``region``.
    level_labels : tuple of str
        The levels as declared, such as ``family`` and ``family/region``.
    id_separator : str
        Joins the parts of an id built from several columns.
    missing : {"unknown", "zero"}
        What an empty month means; only named in notes here.
    negative : {"refuse", "net"}
        Whether demand may be below zero.
    unit_slip : {"refuse", "allow"}
        Whether a month may be a thousand times its item's usual month.
    decimal : {"auto", ".", ","}
        Decimal mark of numbers written as text.
    sources : tuple of str
        Who may speak in overrides, beside ``system:<tool>``.
    cutoff_day : int
        Day of the first forecast month up to which a cycle knows things.
    """

    columns: Mapping[str, Mapping[str, str | list[str]]] = field(default_factory=dict)
    levels: tuple[str, ...] = ()
    level_labels: tuple[str, ...] = ()
    id_separator: str = "|"
    missing: str = "unknown"
    negative: str = "refuse"
    unit_slip: str = "refuse"
    decimal: str = "auto"
    sources: tuple[str, ...] = SOURCES
    cutoff_day: int = 15


@dataclass(frozen=True)
class Standing:
    """What the store holds that files are judged against, as it is admitted now.

    ``clinical`` holds a frame for each clinical table that has rows, by its name.
    ``contradictions(overrides, hierarchy)`` names every set of ``fixed`` overrides that cannot all
    hold: their ids, and a sentence.
    """

    items: pl.DataFrame | None = None
    overrides: pl.DataFrame | None = None
    prices: pl.DataFrame | None = None
    contradictions: Contradictions | None = None
    clinical: Mapping[str, pl.DataFrame] = field(default_factory=dict)


@dataclass(frozen=True)
class Intake:
    """What a sheet is checked against: settings, the calendar, and what is already known."""

    options: ReadOptions
    today: date
    through: date
    sum_days: bool = False
    known: pl.DataFrame | None = None
    items_known: Collection[str] = frozenset()
    levels_known: Mapping[str, Collection[str]] = field(default_factory=dict)
    standing: Standing = Standing()

    @property
    def open_cycle(self) -> date:
        """The month after the last complete month of history; without any, after ``through``."""
        whole = self.known
        if whole is not None and "partial" in whole.columns:
            whole = whole.filter(~pl.col("partial"))
        last = whole["ds"].max() if whole is not None else None
        return add_months(last if isinstance(last, date) else self.through, 1)

    def with_table(self, table: str, frame: pl.DataFrame) -> Intake:
        """Return the intake with a table read just before known besides what was known."""
        if table == "items":
            items = _newer(self.standing.items, frame, ["unique_id"])
            return replace(self.with_items(frame), standing=replace(self.standing, items=items))
        if table == "history":
            return replace(self, known=_newer(self.known, frame, ["unique_id", "ds"]))
        if table == "prices":
            prices = _newer(self.standing.prices, frame, ["unique_id", "ds_from"])
            return replace(self, standing=replace(self.standing, prices=prices))
        return replace(self, standing=with_table(self.standing, table, frame))

    def with_items(self, items: pl.DataFrame) -> Intake:
        """Return the intake with the items of a frame known besides those known before."""
        levels = {
            level: {*self.levels_known.get(level, ()), *items[level].unique()}
            for level in self.options.levels
        }
        return replace(
            self, items_known={*self.items_known, *items["unique_id"]}, levels_known=levels
        )


def with_table(standing: Standing, table: str, frame: pl.DataFrame) -> Standing:
    """What stands when the overrides or a clinical table of a file are loaded too."""
    if table not in CLINICAL_TABLES:
        return with_overrides(standing, frame)
    rows = _newer(standing.clinical.get(table), frame, CLINICAL_TABLES[table].primary_key())
    return replace(standing, clinical={**standing.clinical, table: rows})


def with_overrides(standing: Standing, frame: pl.DataFrame) -> Standing:
    """What stands when the overrides of a file are loaded too."""
    return replace(standing, overrides=_newer(standing.overrides, frame, ["override_id"]))


def _newer(before: pl.DataFrame | None, frame: pl.DataFrame, key: list[str]) -> pl.DataFrame:
    """The rows of ``frame`` (of several versions of a key the last), and earlier ones of others."""
    rows = frame.sort("known_at", nulls_last=True) if "known_at" in frame.columns else frame
    rows = rows.unique(key, keep="last", maintain_order=True)
    if before is None:
        return rows
    others = before.join(rows, on=key, how="anti", maintain_order="left")
    return pl.concat([others, rows], how="diagonal_relaxed")
