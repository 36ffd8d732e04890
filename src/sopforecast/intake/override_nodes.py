"""Which node an override speaks of: by its name, by an item's id, or by level columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import polars as pl

from sopforecast.core.hierarchy import Hierarchy, build_hierarchy, node_name
from sopforecast.errors import DataError, Problem
from sopforecast.intake.against import Intake
from sopforecast.intake.cells import near_match, quoted
from sopforecast.intake.rules import Place

NAMED = "_named"
MOST_HINTS = 20


@dataclass(frozen=True, eq=False)
class Portfolio:
    """All nodes there are now, the level values of each item, and all values of each level.

    ``paths`` maps each set of columns that is a declared level to these columns in its order.
    """

    hierarchy: Hierarchy
    nodes: frozenset[str]
    values: Mapping[str, Mapping[str, str]]
    of_level: Mapping[str, frozenset[str]]
    paths: Mapping[frozenset[str], tuple[str, ...]]


def build_portfolio(intake: Intake, *, file: str) -> Portfolio:
    """Build the nodes from items and history known now, those of the same workbook included.

    Raises
    ------
    DataError
        Nothing is known yet, or no item has a place in the declared levels.
    """
    items, levels = intake.standing.items, list(intake.options.levels)
    ids = set() if items is None else set(items["unique_id"])
    ids |= set() if intake.known is None else set(intake.known["unique_id"])
    if not ids:
        raise DataError([_load_first(file, "no item and no history is known yet", "history")])
    if levels:
        lacking = items is None or any(name not in items.columns for name in levels)
        if items is not None and not lacking:
            placed = items.select("unique_id", *levels).filter(
                pl.all_horizontal(
                    pl.col(name).str.strip_chars().fill_null("") != "" for name in levels
                )
            )
        if items is None or lacking or placed.is_empty():
            found = f"no item has a place in the levels {', '.join(intake.options.level_labels)}"
            raise DataError([_load_first(file, found, "items")])
    else:
        placed = pl.DataFrame({"unique_id": sorted(ids)})
    hierarchy = build_hierarchy(placed, levels=intake.options.level_labels)
    columns = [tuple(map(unquote, label.split("/"))) for label in intake.options.level_labels]
    return Portfolio(
        hierarchy=hierarchy,
        nodes=frozenset(hierarchy.nodes),
        values={row["unique_id"]: row for row in placed.iter_rows(named=True)},
        of_level={name: frozenset(placed[name]) for name in levels},
        paths={frozenset(path): path for path in columns},
    )


def name_nodes(
    frame: pl.DataFrame, portfolio: Portfolio, *, levels: Sequence[str], place: Place
) -> tuple[pl.Series, list[Problem]]:
    """Name the node of every row; a row that says none, or two different ones, is a problem.

    Parameters
    ----------
    frame : DataFrame
        Columns ``node``, ``unique_id`` (a node by any name) and the level columns, each may be
        null.
    portfolio : Portfolio
        Declared levels, and what the items say of themselves.
    levels : sequence of str
        Level columns of the frame.
    place : Place
        Where the rows stand.
    """
    names: list[str | None] = []
    problems: list[Problem] = []
    for row in frame.iter_rows(named=True):
        name, problem = _name(row, portfolio, levels, place)
        names.append(name)
        problems += [problem] if problem is not None else []
    return pl.Series("node", names, dtype=pl.String), problems


def unknown_nodes(
    frame: pl.DataFrame, portfolio: Portfolio, *, levels: Sequence[str], place: Place
) -> list[Problem]:
    """Name the rows whose ``_named`` (as `name_nodes` gives it) is no node there is.

    ``frame`` has the columns ``node``, ``unique_id`` and ``levels`` as they were in the file.
    """
    problems: list[Problem] = []
    wrong = frame.filter(pl.col(NAMED).is_not_null() & ~pl.col(NAMED).is_in(portfolio.nodes))
    for row in wrong.iter_rows(named=True):
        level, found, known = _what_is_unknown(row, portfolio, levels)
        column = level or next((c for c in ("node", "unique_id", *levels) if row[c]), "node")
        match = near_match(found, known) if len(problems) < MOST_HINTS else None
        example = portfolio.hierarchy.aggregates[-1]
        problems.append(
            place.problem(
                row,
                column,
                found=f"unknown {level or 'node'} {quoted(found)}",
                allowed=f"a {level} that an item has"
                if level
                else f"an item id, total, or an aggregate such as {example!r}",
                todo=f"did you mean {match!r}?" if match else "look it up in items",
            )
        )
    return problems


def _load_first(file: str, found: str, table: str) -> Problem:
    return Problem(
        file,
        found,
        "overrides of items and aggregates that are there",
        f"load {table} first: sopforecast load {table} FILE",
    )


def _name(
    row: Mapping[str, Any], portfolio: Portfolio, levels: Sequence[str], place: Place
) -> tuple[str | None, Problem | None]:
    given = {level: str(row[level]) for level in levels if row[level] is not None}
    said = row["node"] if row["node"] is not None else row["unique_id"]
    column = "node" if row["node"] is not None else "unique_id"
    if row["node"] is not None and row["unique_id"] not in (None, row["node"]):
        return None, place.problem(
            row,
            "unique_id",
            found=f"{quoted(row['unique_id'])} beside the node {quoted(row['node'])}",
            allowed="one way to name the node",
            todo="leave one of the two empty",
        )
    path = portfolio.paths.get(frozenset(given))
    by_levels = node_name(path, [given[name] for name in path]) if path else None
    if said is None and by_levels is not None:
        return by_levels, None
    if said is None and not given:
        column = next((c for c in ("node", "unique_id", *levels) if c in place.headers), "node")
        return None, place.problem(
            row,
            column,
            found="no node",
            allowed="a node, an item id, or the level columns of one declared level",
            todo="fill it in",
        )
    if said is None:
        declared = "; ".join(" and ".join(path) for path in portfolio.paths.values())
        return None, place.problem(
            row,
            next(iter(given)),
            found=f"{' and '.join(given)}, which is no declared level",
            allowed=f"the columns of one declared level: {declared}",
            todo="fill in these columns and leave the others empty, or declare the level in "
            "sopforecast.toml",
        )
    wrong = _contradicted(said, given, by_levels, portfolio)
    if wrong is not None:
        return None, place.problem(
            row,
            wrong,
            found=f"{quoted(given[wrong])} beside {column} {quoted(said)}, which is something else",
            allowed="level columns that say the same as the node",
            todo=f"correct one of them, or leave the {wrong} empty",
        )
    return str(said), None


def _contradicted(
    said: str, given: Mapping[str, str], by_levels: str | None, portfolio: Portfolio
) -> str | None:
    """The first level column that says something else than the name, if any does."""
    own = portfolio.values.get(said)
    if own is not None:
        return next((name for name, value in given.items() if own[name] != value), None)
    if said not in portfolio.nodes or said == by_levels:
        return None
    return next(iter(given), None)


def _what_is_unknown(
    row: Mapping[str, Any], portfolio: Portfolio, levels: Sequence[str]
) -> tuple[str | None, str, frozenset[str]]:
    """The level column whose value no item has, if it is that; the text, and what it may be."""
    node = str(row[NAMED])
    given = {level: str(row[level]) for level in levels if row[level] is not None}
    path = portfolio.paths.get(frozenset(given), ())
    if path and node_name(path, [given[name] for name in path]) == node:
        for level in path:
            if given[level] not in portfolio.of_level[level]:
                return level, given[level], portfolio.of_level[level]
    return None, node, portfolio.nodes
