"""The clinical tables as people write them: what may be left out, and what refuses a row.

In the order of `check_clinical`: percent signs, blanks, rules of single rows, names that other
tables must have, the schema, and only between rows that are right by themselves what must hold of
them together with what the store holds: shares of cohorts, patients of a site.
"""

from __future__ import annotations

from collections.abc import Mapping

import dataframely as dy
import polars as pl

from sopforecast.core.clinical_tables import CLINICAL_TABLES
from sopforecast.core.tables import Items
from sopforecast.errors import Problem
from sopforecast.intake import clinical_counts as counts
from sopforecast.intake import rules
from sopforecast.intake.against import Intake, with_table
from sopforecast.intake.cells import Sheet, counted, listed, row_list
from sopforecast.intake.clinical_columns import (
    REPLACED_BY,
    REQUIRED,
    SHARES,
    columns_from_elsewhere,
    needed_cells,
)
from sopforecast.intake.clinical_fill import fill_blanks, last_versions
from sopforecast.intake.clinical_names import known_names, unknown_names
from sopforecast.intake.clinical_rules import BIRTH_DATE, doubtful_overage, rules_of
from sopforecast.intake.headers import Layout, plain_name
from sopforecast.intake.percents import Signs, read_shares
from sopforecast.intake.row_rules import broken_rows, empty_cells
from sopforecast.intake.shapes import ROW, Shaped

_TOLERANCE = 1e-9
_SPELLED = {
    "studies": ("study", "owner"),
    "cohorts": ("cohort",),
    "sites": ("site", "country", "owner"),
    "tier_lines": ("account", "owner"),
}


def clinical_layout(
    sheet: Sheet, table: str, columns: Mapping[str, dy.Column], intake: Intake
) -> Layout:
    """What headers a file of a clinical table needs: no ``study`` while there is one."""
    options = intake.options
    required = REQUIRED[table]
    headers = {plain_name(cells.name) for cells in sheet.columns}
    if table != "studies" and len(known_names(intake).studies) == 1 and "study" not in headers:
        required = tuple(name for name in required if name != "study")
    elsewhere = (*columns_from_elsewhere(table), *Items.columns(), *options.levels)
    return Layout(
        table=table,
        columns=tuple(columns),
        required=required,
        mapping=options.columns.get(table, {}),
        replaced_by=REPLACED_BY.get(table, {}),
        ignored=tuple(name for name in elsewhere if name not in columns),
        keeps_foreign=True,
    )


def check_clinical(
    shaped: Shaped, signs: Signs, table: str, intake: Intake, place: rules.Place
) -> tuple[pl.DataFrame, list[Problem], list[str]]:
    """Fill in what was left out and refuse what cannot be meant.

    Parameters
    ----------
    shaped : Shaped
        Parsed rows, percent signs taken off.
    signs : Signs
        Where they were.
    table : str
        One of ``CLINICAL_TABLES``.
    intake : Intake
        Settings, the calendar and what stands.
    place : Place
        File and headers.

    Returns
    -------
    DataFrame, list of Problem, list of str
        The columns of the table, ``known_at``, ``_row`` and ``_column``; problems; notes.
    """
    schema = CLINICAL_TABLES[table]
    known = known_names(intake)
    frame = read_shares(shaped.frame, signs, SHARES.get(table, ()))
    frame, notes = fill_blanks(frame, table, studies=known.studies)
    frame, problems, more = _whole_months(frame, table, intake, place)
    notes += more
    refused = {(p.row or 0, p.column or "") for p in shaped.problems}
    problems += empty_cells(frame, needed_cells(table), refused, place=place)
    problems += rules.duplicate_keys(frame, schema.primary_key(), place=place)
    dated = frame if table == "enrolment" else frame.drop("ds", strict=False)
    problems += rules.impossible_knowledge(dated, today=intake.today, place=place)
    problems += broken_rows(frame, rules_of(table, today=intake.today), place=place)
    if table == "schedule":
        rule, rows = doubtful_overage(frame, signs.signed("overage_percent", frame.height))
        problems += broken_rows(rows, [rule], place=place)
    strangers, more = unknown_names(frame, table, known, place=place)
    problems += strangers
    notes += more
    problems += _limits(frame, [*shaped.problems, *problems], schema, place)
    sound = _untouched(frame, [*shaped.problems, *problems], table, place)
    together, more = _together(sound, table, intake, place)
    notes += [*more, *counts.patient_columns(frame, table)]
    notes += rules.spelling_twins(frame, _SPELLED.get(table, ()))
    return frame, [*problems, *together], notes


def _whole_months(
    frame: pl.DataFrame, table: str, intake: Intake, place: rules.Place
) -> tuple[pl.DataFrame, list[Problem], list[str]]:
    if table != "enrolment":
        return frame, [], []
    return counts.without_unfinished_months(
        frame, through=intake.through, today=intake.today, place=place
    )


def _without_rows(frame: pl.DataFrame, problems: list[Problem]) -> pl.DataFrame:
    return frame.filter(~pl.col(ROW).is_in(list({p.row for p in problems if p.row is not None})))


def _limits(
    frame: pl.DataFrame, problems: list[Problem], schema: type[dy.Schema], place: rules.Place
) -> list[Problem]:
    """What the schema refuses; of rows that were refused already its numbers in other columns."""
    numbers = {
        place.headers.get(name, name)
        for name, column in schema.columns().items()
        if isinstance(column, dy.Float64 | dy.Int64)
    }
    rows, cells = {p.row for p in problems}, {(p.row, p.column) for p in problems}
    return [
        found
        for found in rules.schema_rules(frame, schema, place=place)
        if found.row not in rows
        or (found.column in numbers and (found.row, found.column) not in cells)
    ]


def _untouched(
    frame: pl.DataFrame, problems: list[Problem], table: str, place: rules.Place
) -> pl.DataFrame:
    """Rows whose sums mean something: none of their site (or study) was refused.

    A row refused for its key may belong to any site of its study, so the whole study is left out.
    """
    key = {place.headers.get(name, name) for name in CLINICAL_TABLES[table].primary_key()}
    misplaced = _without_rows(frame, [p for p in problems if p.column in key or p.column is None])
    good = _without_rows(misplaced, problems)
    bad = misplaced.join(good, on=ROW, how="anti")
    lost = frame.join(misplaced, on=ROW, how="anti")
    scope = counts.SITE if table == "enrolment" else ["study"]
    good = good.join(bad, on=scope, how="anti", maintain_order="left")
    return good.join(lost, on="study", how="anti", maintain_order="left")


def _together(
    frame: pl.DataFrame, table: str, intake: Intake, place: rules.Place
) -> tuple[list[Problem], list[str]]:
    """What must hold of the rows of a table together with what stands."""
    tables = intake.standing.clinical
    if table == "cohorts":
        return _shares_that_cannot_add_up(frame, intake, place), []
    if table == "enrolment":
        problems, notes = counts.outside_open_months(frame, tables.get("sites"), place=place)
        sound = _untouched(frame, problems, table, place)
        before = tables.get("enrolment")
        problems += counts.more_enrolled_than_screened(sound, before, place=place)
        notes += counts.counted_twice(frame, before)
        return problems, notes + counts.far_beyond_target(frame, tables.get("studies"))
    if table == "enrolment_plan":
        plan = ("site", "cohort", "version")
        return [], counts.far_beyond_target(frame, tables.get("studies"), scope=plan)
    if table == "sites":
        last = last_versions(frame, CLINICAL_TABLES[table].primary_key())
        notes = counts.earlier_than_open(last, tables.get("enrolment"))
        return [], [*notes, *_not_yet(last, intake)]
    if table == "tier_lines":
        return [], _like_a_birth_date(frame)
    return [], []


def _shares_that_cannot_add_up(
    frame: pl.DataFrame, intake: Intake, place: rules.Place
) -> list[Problem]:
    """Refuse shares of a study's cohorts that are over 1 at least, or under 1 at most."""
    own = last_versions(frame, CLINICAL_TABLES["cohorts"].primary_key())
    stands = with_table(intake.standing, "cohorts", frame).clinical["cohorts"]
    sums = stands.group_by("study").agg(
        pl.col("share_low").sum().alias("_low"),
        pl.col("share_high").sum().alias("_high"),
        pl.col("share_high").is_not_null().all().alias("_all"),
        pl.col("cohort").sort().alias("_cohorts"),
    )
    last = own.sort(ROW).unique("study", keep="last", maintain_order=True)
    problems = []
    for row in last.join(sums, on="study", maintain_order="left").iter_rows(named=True):
        is_over = row["_low"] > 1 + _TOLERANCE
        if not is_over and not (row["_all"] and row["_high"] < 1 - _TOLERANCE):
            continue
        column, total = ("share_low", "_low") if is_over else ("share_high", "_high")
        bound = "at least" if is_over else "at most"
        problems.append(
            place.problem(
                row,
                column,
                found=f"shares of {row['study']} that add up to {bound} {row[total]:g} "
                f"({listed(row['_cohorts'], most=8)})",
                allowed="shares of all cohorts of a study that can add up to 1",
                todo=f"{'lower' if is_over else 'raise'} {column}"
                + ("" if is_over else ", or add the cohort that is missing"),
            )
        )
    return problems


def _not_yet(sites: pl.DataFrame, intake: Intake) -> list[str]:
    """A note on what has not happened yet although a date says so."""
    notes = []
    for column in ("activated_date", "closed_date"):
        later = sites.filter(pl.col(column) > intake.today)
        if later.height:
            notes.append(
                f"{column} lies ahead for {listed(later['site'], most=5)}: read as not yet "
                "happened until then"
                + ("; plans go in planned_activation_date" if column == "activated_date" else "")
            )
    return notes


def _like_a_birth_date(lines: pl.DataFrame) -> list[str]:
    rows = lines.filter(pl.col("line_id").str.contains(BIRTH_DATE))[ROW].to_list()
    if not rows:
        return []
    return [
        f"line_id looks like it holds a date of birth in {counted(len(rows), 'row')} "
        f"({row_list(rows)}): use a pseudonym"
    ]
