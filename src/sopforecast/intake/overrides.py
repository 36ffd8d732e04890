"""Overrides as planners write them: what may be left out, and what refuses a row.

In the order of `check_overrides`: percent signs, the node, defaults, the cycle of entry, rules of
single rows, and for rows that are new or changed what they may not do beside all others. A row
equal to what stands is never refused, so that a cumulative file can be loaded every month.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import dataframely as dy
import polars as pl

from sopforecast.core.evidence_tables import (
    KINDS,
    MEASURES,
    MODES,
    OVERRIDE_STATUSES,
    PER,
    Overrides,
)
from sopforecast.core.tables import Items
from sopforecast.errors import Problem
from sopforecast.intake import override_overlaps as overlaps
from sopforecast.intake import override_rules, rules
from sopforecast.intake.against import Intake, ReadOptions
from sopforecast.intake.cells import Sheet, counted, listed, row_list
from sopforecast.intake.headers import Layout, plain_name
from sopforecast.intake.override_nodes import (
    NAMED,
    Portfolio,
    build_portfolio,
    name_nodes,
    unknown_nodes,
)
from sopforecast.intake.parse import KNOWN_AT
from sopforecast.intake.percents import AMOUNTS, Signs, read_signs
from sopforecast.intake.shapes import COLUMN, ROW, Shaped

CHOICES = {
    "per": PER,
    "kind": KINDS,
    "measure": MEASURES,
    "mode": MODES,
    "status": OVERRIDE_STATUSES,
}
DEFAULTS = {"per": "month", "measure": "quantity", "mode": "evidence", "status": "active"}
CONFIDENCE = 0.8
LEVEL = "level"  # the one reason with a meaning of its own, however it is written
REQUIRED = ("override_id", "node", "ds_from", "kind", "value", "source", "owner", "reason")
_BLANK_MEANS = ("entered_cycle", "ds_to")
_TEXTS = ("override_id", "node", "source", "owner", "reason")


def override_columns(options: ReadOptions) -> dict[str, dy.Column]:
    """The columns a file of overrides may hold: those of the table, and other names of the node."""
    columns = dict(Overrides.columns())
    columns |= {name: dy.Date(resolution="1mo", nullable=True) for name in _BLANK_MEANS}
    columns |= {name: dy.Enum(words, nullable=True) for name, words in CHOICES.items()}
    columns |= {name: dy.String(nullable=True) for name in ("unique_id", *node_levels(options))}
    return columns


def node_levels(options: ReadOptions) -> tuple[str, ...]:
    """Level columns that may name the node; one called like a column of overrides may not."""
    return tuple(name for name in options.levels if name not in Overrides.columns())


def override_layout(sheet: Sheet, columns: Mapping[str, dy.Column], options: ReadOptions) -> Layout:
    """What headers a file of overrides needs: the node by any of its names, a value or a range."""
    headers = {plain_name(cells.name) for cells in sheet.columns}
    there = tuple(name for name in node_levels(options) if plain_name(name) in headers)
    return Layout(
        table="overrides",
        columns=tuple(columns),
        required=REQUIRED,
        mapping=options.columns.get("overrides", {}),
        replaced_by={"node": there[:1] or ("unique_id",), "value": ("low", "high")},
        ignored=tuple(name for name in Items.columns() if name not in columns),
        keeps_foreign=True,
    )


@dataclass(frozen=True)
class _Sheet:
    """What the checks of one sheet share."""

    intake: Intake
    portfolio: Portfolio
    levels: tuple[str, ...]
    place: rules.Place


def check_overrides(
    shaped: Shaped, signs: Signs, intake: Intake, place: rules.Place
) -> tuple[pl.DataFrame, list[Problem], list[str]]:
    """Fill in what was left out and refuse what cannot be meant.

    Parameters
    ----------
    shaped : Shaped
        Parsed rows, percent signs taken off.
    signs : Signs
        Where they were.
    intake : Intake
        Settings, the calendar and what stands.
    place : Place
        File and headers.

    Returns
    -------
    DataFrame, list of Problem, list of str
        Columns of ``Overrides``, ``known_at``, ``_row`` and ``_column``; problems; notes.

    Raises
    ------
    DataError
        No item is known yet, so no node is.
    """
    portfolio = build_portfolio(intake, file=place.file)
    sheet = _Sheet(intake, portfolio, node_levels(intake.options), place)
    frame, problems = read_signs(shaped.frame, signs)
    named, unnamed = name_nodes(frame, portfolio, levels=sheet.levels, place=place)
    frame = frame.with_columns(named.alias(NAMED))
    refused = {(p.row or 0, p.column or "") for p in (*shaped.problems, *problems)}
    problems += unnamed + override_rules.blank_cells(frame, refused, place=place)
    frame, notes = _with_defaults(frame, intake)
    problems += rules.duplicate_keys(frame, ("override_id",), place=place)
    problems += rules.impossible_knowledge(frame, today=intake.today, place=place)
    problems += override_rules.any_is_reserved(frame, place=place)
    problems += override_rules.row_rules(frame, place=place)
    frame = frame.with_columns(node=pl.col(NAMED), _node=pl.col("node"))
    frame = frame.with_columns(_is_fresh(frame, intake.standing.overrides).alias(overlaps.FRESH))
    problems += _beside_others(frame, signs, sheet, skip={p.row for p in problems})
    spoilt = {p.row for p in (*shaped.problems, *problems)}
    names = [*Overrides.columns(), KNOWN_AT, ROW, COLUMN]
    good = frame.filter(~pl.col(ROW).is_in(list(spoilt)))
    problems += rules.schema_rules(good, Overrides, place=place)
    notes += [*_spellings(frame, intake), *_withdrawn_nothing(frame, intake)]
    return frame.select(names), problems, notes


def _with_defaults(frame: pl.DataFrame, intake: Intake) -> tuple[pl.DataFrame, list[str]]:
    """What an empty cell means; and notes on what was made of some of them."""
    has_range = pl.col("low").is_not_null() & pl.col("high").is_not_null()
    needless = frame.filter(pl.col("confidence").is_not_null() & ~has_range)
    notes = []
    if needless.height:
        where = row_list(needless[ROW].to_list())
        notes.append(f"confidence is of a range: left out without low and high ({where})")
    frame = frame.with_columns(
        *(
            pl.col(name).fill_null(pl.lit(word, dtype=frame.schema[name]))
            for name, word in DEFAULTS.items()
        ),
        pl.col("ds_to").fill_null(pl.col("ds_from")),
        pl.col("probability").fill_null(1.0),
        pl.when(has_range).then(pl.col("confidence").fill_null(CONFIDENCE)).alias("confidence"),
        pl.col("value").fill_null((pl.col("low") + pl.col("high")) / 2),
        override_rules.plain_sources(frame, intake.options.sources).alias("source"),
        pl.when(pl.col("reason").str.to_lowercase() == LEVEL)
        .then(pl.lit(LEVEL))
        .otherwise("reason")
        .alias("reason"),
    )
    given = pl.col("entered_cycle").is_not_null() | pl.col(KNOWN_AT).is_not_null()
    frame = frame.with_columns(_given=given)
    frame = _with_entered_cycle(frame, intake)
    blank = frame.filter(~pl.col("_given"))
    if blank.height:
        cycles = blank["entered_cycle"].drop_nulls().unique().sort().dt.strftime("%Y-%m")
        notes.append(
            f"entered_cycle is empty in {counted(blank.height, 'row')} and taken as "
            f"{listed(cycles)}"
        )
    return frame, notes


def _with_entered_cycle(frame: pl.DataFrame, intake: Intake) -> pl.DataFrame:
    """Fill in the cycle of entry; ``_judged`` is the cycle in which a row must not be past.

    A blank one is that of the version that stands, else of the first version in the file, else the
    open cycle, or the first that could know it where ``known_at`` is earlier. A row that changes
    what stands without saying when is judged in the open cycle.
    """
    open_cycle = pl.lit(intake.open_cycle)
    month = pl.col(KNOWN_AT).dt.month_start().dt.date()
    is_late = pl.col(KNOWN_AT).dt.day() > intake.options.cutoff_day
    could_know = pl.when(is_late).then(month.dt.offset_by("1mo")).otherwise(month)
    own = pl.coalesce("entered_cycle", pl.min_horizontal(could_know, open_cycle))
    first = own.sort_by(KNOWN_AT, nulls_last=True).first().over("override_id")
    stands = intake.standing.overrides
    if stands is None:
        stands = pl.DataFrame(schema={"override_id": pl.String, "entered_cycle": pl.Date})
    stands = stands.select("override_id", _stands="entered_cycle")
    joined = frame.join(stands, on="override_id", how="left", maintain_order="left")
    entered = pl.coalesce("entered_cycle", "_stands", first)
    joined = joined.with_columns(entered_cycle=entered)
    judged = pl.when("_given").then("entered_cycle").otherwise(open_cycle)
    return joined.with_columns(_judged=judged)


def _is_fresh(frame: pl.DataFrame, stands: pl.DataFrame | None) -> pl.Series:
    """Which rows are new or say something else than what stands."""
    names = list(Overrides.columns())
    if stands is None or stands.is_empty():
        return pl.repeat(True, frame.height, dtype=pl.Boolean, eager=True)
    same = stands.select(names).with_columns(pl.lit(False).alias("_new"))
    plain = [pl.col(name).cast(pl.String) for name in CHOICES]
    left = frame.select(names).with_columns(plain)
    found = left.join(
        same.with_columns(plain), on=names, how="left", nulls_equal=True, maintain_order="left"
    )
    return found["_new"].fill_null(True)


def _beside_others(
    frame: pl.DataFrame, signs: Signs, sheet: _Sheet, *, skip: set[int | None]
) -> list[Problem]:
    """The rules between rows, of those that are new or changed, active and not refused yet."""
    intake, place, portfolio = sheet.intake, sheet.place, sheet.portfolio
    signed = {name: signs.signed(name, frame.height) for name in AMOUNTS}
    said = frame.with_columns(
        pl.col("_node").alias("node"), *(mask.alias(f"_{name}") for name, mask in signed.items())
    )
    counts = pl.col(overlaps.FRESH) & (pl.col("status") == "active")
    said = said.filter(counts)
    problems = override_rules.unknown_sources(said, intake.options.sources, place=place)
    problems += unknown_nodes(said, portfolio, levels=sheet.levels, place=place)
    problems += override_rules.doubtful_percents(
        said, {name: said[f"_{name}"] for name in AMOUNTS}, place=place
    )
    problems += overlaps.wholly_past(said, place=place)
    bad = list({p.row for p in problems} | skip)
    sound = frame.filter(
        ~pl.col(ROW).is_in(bad) & pl.all_horizontal(pl.col(name).is_not_null() for name in _TEXTS)
    ).drop_nulls(["value", "ds_from", "kind"])
    active = sound.filter(counts & pl.col("node").is_in(portfolio.nodes))
    problems += overlaps.unpriced(active, portfolio.hierarchy, intake.standing.prices, place=place)
    standing = _as_they_would_stand(sound, frame, intake.standing.overrides)
    problems += overlaps.said_twice(standing, place=place)
    check = intake.standing.contradictions
    known = standing.filter(pl.col("node").is_in(portfolio.nodes))
    if check is not None:
        problems += overlaps.fixed_against_fixed(known, portfolio.hierarchy, check, place=place)
    return problems


def _as_they_would_stand(
    sound: pl.DataFrame, frame: pl.DataFrame, stands: pl.DataFrame | None
) -> pl.DataFrame:
    """The last version of each override after the load: of the file, and of others as they are."""
    names = [*Overrides.columns(), ROW, overlaps.FRESH]
    last = sound.sort(KNOWN_AT, nulls_last=True, maintain_order=True)
    last = last.unique("override_id", keep="last", maintain_order=True).select(names)
    if stands is None or stands.is_empty():
        return last
    others = stands.join(frame.select("override_id"), on="override_id", how="anti")
    others = others.select(
        *(pl.col(name).cast(last.schema[name]) for name in Overrides.columns()),
        pl.lit(None, dtype=last.schema[ROW]).alias(ROW),
        pl.lit(False).alias(overlaps.FRESH),
    )
    return pl.concat([last, others])


def _withdrawn_nothing(frame: pl.DataFrame, intake: Intake) -> list[str]:
    """A note on withdrawals of ids nobody has loaded: likely a slip of the pen."""
    stands = intake.standing.overrides
    known = [] if stands is None else stands["override_id"].to_list()
    first = frame.filter(pl.col("status") == "active")["override_id"].to_list()
    ids = frame.filter(
        (pl.col("status") == "withdrawn") & ~pl.col("override_id").is_in([*known, *first])
    )["override_id"].drop_nulls()
    if ids.is_empty():
        return []
    return [f"withdrawn, but not loaded before: {listed(ids, most=5)}"]


def _spellings(frame: pl.DataFrame, intake: Intake) -> list[str]:
    """Notes on names that may be one: the record is kept by owner and by reason."""
    parts = [frame.select("owner", "reason")]
    if intake.standing.overrides is not None:
        parts.append(intake.standing.overrides.select("owner", "reason"))
    return rules.spelling_twins(pl.concat(parts), ("owner", "reason"))
