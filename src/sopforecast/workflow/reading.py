"""Files to checked tables, judged against settings, the calendar and what the store holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from sopforecast.core.clinical_tables import CLINICAL_TABLES
from sopforecast.core.hierarchy import Hierarchy
from sopforecast.errors import RequestError
from sopforecast.intake.against import with_table
from sopforecast.intake.files import (
    BOOK_SUFFIXES,
    PARQUET_SUFFIXES,
    TABLES,
    TEXT_SUFFIXES,
    ParsedTable,
    ReadOptions,
    Standing,
    read_table,
    read_workbook,
)
from sopforecast.planning_store.inputs import admitted_inputs
from sopforecast.planning_store.store import Store
from sopforecast.settings import Settings, level_columns

FILE_SUFFIXES = (*TEXT_SUFFIXES, *PARQUET_SUFFIXES, *BOOK_SUFFIXES)


def read_options(settings: Settings) -> ReadOptions:
    """What the settings say about reading files."""
    return ReadOptions(
        columns={
            table: {ours: list(theirs) if isinstance(theirs, tuple) else theirs
                    for ours, theirs in names.items()}
            for table, names in settings.columns.items()
        },
        levels=level_columns(settings.levels),
        level_labels=settings.levels,
        id_separator=settings.advanced.id_separator,
        missing=settings.history.missing,
        negative=settings.history.negative,
        unit_slip=settings.history.unit_slip,
        decimal=settings.advanced.decimal,
        sources=settings.sources,
        cutoff_day=settings.cutoff_day,
    )  # fmt: skip


def contradictions(
    overrides: pl.DataFrame, hierarchy: Hierarchy, *, history: pl.DataFrame | None = None
) -> list[tuple[tuple[str, ...], str]]:
    """Sets of ``fixed`` overrides that cannot all hold: their ids, and a sentence each.

    Parameters
    ----------
    overrides
        ``Overrides`` of mode fixed, one row an id; those that live in a common cycle are compared.
    hierarchy
        The nodes they may name.
    history
        Demand so far: in what steps it comes.
    """
    from sopforecast.judgement import fixed, uneven

    uneven_ones = uneven.uneven_sums(overrides, hierarchy, history)
    return fixed.contradictions(overrides, hierarchy) + uneven_ones


@dataclass(frozen=True)
class Reader:
    """Files to parsed tables, with what the store already knows to compare against."""

    settings: Settings
    store: Store
    now: datetime
    through: Any
    sum_days: bool

    def read(self, sources: Sequence[str]) -> list[tuple[Path, list[ParsedTable]]]:
        table, files = _table_and_files(sources)
        options = self._known() | {
            "options": read_options(self.settings),
            "today": self.now.date(),
            "through": self.through,
            "sum_days": self.sum_days,
        }
        if table is None:
            return [(file, read_workbook(file, **options)) for file in files]
        parsed = []
        for file in files:
            found = read_table(file, table=table, **options)
            parsed.append((file, [found]))
            if (
                table == "overrides" or table in CLINICAL_TABLES
            ):  # the next file is judged beside it
                options["standing"] = with_table(options["standing"], table, found.frame)
        return parsed

    def _known(self) -> dict[str, Any]:
        known = admitted_inputs(self.store, known_by=datetime.max)
        items = known["items"]
        return {
            "known": known["history"] if known["history"].height else None,
            "items_known": items["unique_id"].to_list() if items.height else None,
            "levels_known": {
                name: items[name].drop_nulls().unique().to_list()
                for name in level_columns(self.settings.levels)
                if name in items.columns
            },
            "standing": Standing(
                items=items if items.height else None,
                overrides=known["overrides"],
                prices=known["prices"],
                contradictions=partial(contradictions, history=known["history"]),
                clinical={name: known[name] for name in CLINICAL_TABLES if name in known},
            ),
        }


def _table_and_files(sources: Sequence[str]) -> tuple[str | None, list[Path]]:
    """``history a.csv b.csv`` names a table and files, ``book.xlsx`` a workbook."""
    first, rest = sources[0], [Path(source) for source in sources[1:]]
    is_file = Path(first).suffix.lower() in FILE_SUFFIXES
    if is_file and rest:
        raise RequestError(
            f"which table is {first}? Allowed: TABLE FILE ..., with TABLE one of "
            f"{', '.join(TABLES)}; or one workbook by itself"
        )
    if not is_file and not rest:
        known = "no file for it" if first in TABLES else "neither a table nor a file"
        raise RequestError(
            f"load: found {first!r}, {known}; allowed: TABLE FILE ..., with TABLE one of "
            f"{', '.join(TABLES)}; or one workbook by itself"
        )
    return (None, [Path(first)]) if is_file else (first, rest)
