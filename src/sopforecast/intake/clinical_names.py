"""Studies, sites, cohorts, items and protocol versions that rows name: are they there?

A row whose study is unknown is named for that alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from sopforecast.core.clinical_tables import ALL, ANY
from sopforecast.errors import SHOWN_PROBLEMS, Problem
from sopforecast.intake.against import Intake
from sopforecast.intake.cells import listed, near_match, near_matches, quoted
from sopforecast.intake.rules import Place

SHOWN_NAMES = 8
_OWN = {"studies": ("study",), "cohorts": ("cohort",), "sites": ("site",)}


@dataclass(frozen=True)
class Known:
    """What is known before a file: names by study, and the ids of items."""

    studies: tuple[str, ...]
    pairs: dict[str, pl.DataFrame]
    items: frozenset[str]


def known_names(intake: Intake) -> Known:
    """Gather what the tables read before, and the store, hold."""
    tables = intake.standing.clinical
    homes = {
        "site": ("sites", "site"),
        "cohort": ("cohorts", "cohort"),
        "country": ("sites", "country"),
        "protocol_version": ("schedule", "protocol_version"),
    }
    items = set(intake.items_known)
    items |= set() if intake.known is None else set(intake.known["unique_id"])
    return Known(
        studies=tuple(sorted(_column(tables.get("studies"), "study"))),
        pairs={name: _pairs(tables.get(table), column) for name, (table, column) in homes.items()},
        items=frozenset(items),
    )


def unknown_names(
    frame: pl.DataFrame, table: str, known: Known, *, place: Place
) -> tuple[list[Problem], list[str]]:
    """Return problems of names that no other table has, and notes on those that may be new."""
    problems: list[Problem] = []
    notes: list[str] = []
    if table != "studies":
        problems += _unknown_studies(frame, known, place=place)
    rows = frame.filter(pl.col("study").is_in(list(known.studies)))
    for column in ("site", "cohort"):
        if column in frame.columns and column not in _OWN.get(table, ()):
            problems += _unknown_of_study(rows, column, known, place=place)
    if table in ("schedule", "tier_lines"):
        problems += _unknown_items(frame, known, place=place)
    if table == "schedule":
        notes += _new_countries(rows, known)
    if table == "study_events":
        more, notes_on_versions = _unknown_versions(rows, known, place=place)
        problems += more
        notes += notes_on_versions
    return problems, notes


def _unknown_studies(frame: pl.DataFrame, known: Known, *, place: Place) -> list[Problem]:
    wrong = frame.drop_nulls("study").filter(~pl.col("study").is_in(list(known.studies)))
    near = near_matches(wrong["study"].unique(maintain_order=True).to_list(), known.studies)
    allowed = "studies that are loaded: " + (
        listed(known.studies, most=SHOWN_NAMES) or "there is none yet"
    )
    return [
        place.problem(
            row,
            "study",
            found=f"unknown study {quoted(row['study'])}",
            allowed=allowed,
            todo=f"did you mean {near[row['study']]!r}?"
            if row["study"] in near
            else "load the study first (table studies), or correct the row",
        )
        for row in wrong.iter_rows(named=True)
    ]


def _unknown_of_study(
    rows: pl.DataFrame, column: str, known: Known, *, place: Place
) -> list[Problem]:
    wrong = rows.filter(~pl.col(column).is_in([ANY, ALL])).join(
        known.pairs[column], on=["study", column], how="anti", maintain_order="left"
    )
    wrong = wrong.drop_nulls(column)
    pairs = wrong.select("study", column).unique(maintain_order=True)
    allowed: dict[str, str] = {}
    near: dict[tuple[str, str], str | None] = {}
    for study, name in pairs.rows()[:SHOWN_PROBLEMS]:
        names = _of_study(known.pairs[column], study, column)
        allowed[study] = listed(names, most=SHOWN_NAMES) or "there is none yet"
        near[study, name] = near_match(name, names)
    problems = []
    for row in wrong.iter_rows(named=True):
        study, match = row["study"], near.get((row["study"], row[column]))
        problems.append(
            place.problem(
                row,
                column,
                found=f"unknown {column} {quoted(row[column])} of study {study}",
                allowed=f"{column}s of {study}: {allowed.get(study, 'those that are loaded')}",
                todo=f"did you mean {match!r}?"
                if match
                else f"load it first (table {column}s), or correct the row",
            )
        )
    return problems


def _unknown_items(frame: pl.DataFrame, known: Known, *, place: Place) -> list[Problem]:
    wrong = frame.drop_nulls("unique_id").filter(~pl.col("unique_id").is_in(list(known.items)))
    near = near_matches(wrong["unique_id"].unique(maintain_order=True).to_list(), known.items)
    return [
        place.problem(
            row,
            "unique_id",
            found=f"unknown item {quoted(row['unique_id'])}",
            allowed="ids of items, or of items with history"
            if known.items
            else "ids of items: there is none yet",
            todo=f"did you mean {near[row['unique_id']]!r}?"
            if row["unique_id"] in near
            else "load the item first (table items), or leave the row out",
        )
        for row in wrong.iter_rows(named=True)
    ]


def _new_countries(rows: pl.DataFrame, known: Known) -> list[str]:
    """A note on countries without a site: a kit that is never used, or a slip of the pen."""
    wrong = rows.filter(pl.col("country") != ANY).join(
        known.pairs["country"], on=["study", "country"], how="anti", maintain_order="left"
    )
    names = wrong["country"].unique(maintain_order=True).to_list()
    if not names:
        return []
    return [f"no site of the study is in these countries of the schedule: {listed(names)}"]


def _unknown_versions(
    rows: pl.DataFrame, known: Known, *, place: Place
) -> tuple[list[Problem], list[str]]:
    """Versions that events switch to and no schedule has; a note while a study has no schedule."""
    versions = known.pairs["protocol_version"]
    events = rows.filter(pl.col("acts_on") == "schedule").drop_nulls("protocol_version")
    early = events.join(versions, on="study", how="anti", maintain_order="left")
    notes = [
        f"no schedule of {study} is loaded yet: its events on the schedule change nothing until "
        "then"
        for study in early["study"].unique(maintain_order=True)
    ]
    wrong = events.join(versions, on="study", how="semi", maintain_order="left").join(
        versions, on=["study", "protocol_version"], how="anti", maintain_order="left"
    )
    problems = []
    for row in wrong.iter_rows(named=True):
        names = _of_study(versions, row["study"], "protocol_version")
        match = near_match(row["protocol_version"], names)
        problems.append(
            place.problem(
                row,
                "protocol_version",
                found=f"{quoted(row['protocol_version'])}, which the schedule of {row['study']} "
                "does not have",
                allowed=f"versions of its schedule: {listed(names, most=SHOWN_NAMES)}",
                todo=f"did you mean {match!r}?"
                if match
                else "load the schedule of that version first",
            )
        )
    return problems, notes


def _column(frame: pl.DataFrame | None, column: str) -> list[str]:
    if frame is None or frame.is_empty():
        return []
    return frame[column].drop_nulls().unique().to_list()


def _pairs(frame: pl.DataFrame | None, column: str) -> pl.DataFrame:
    if frame is None or frame.is_empty():
        return pl.DataFrame(schema={"study": pl.String, column: pl.String})
    return frame.select("study", column).drop_nulls().unique().sort("study", column)


def _of_study(pairs: pl.DataFrame, study: str, column: str) -> list[str]:
    return pairs.filter(pl.col("study") == study)[column].to_list()
