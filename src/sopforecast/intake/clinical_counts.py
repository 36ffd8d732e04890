"""What must hold of patients counted at a site over its months, in the file and the store together.

Nobody enrols who was not screened and passed: at a site that reports screening, enrolled so far
cannot be more than screened so far less failed so far. It is judged only up to the first month in
which screening was not reported, so that what is not known refuses nothing.
"""

from __future__ import annotations

from datetime import date

import polars as pl

from sopforecast.core.clinical_tables import ALL, CLINICAL_TABLES
from sopforecast.core.months import month_name
from sopforecast.errors import Problem
from sopforecast.intake.cells import counted, listed, row_list
from sopforecast.intake.clinical_columns import PATIENTS
from sopforecast.intake.clinical_fill import last_versions
from sopforecast.intake.rules import Place
from sopforecast.intake.shapes import COLUMN, ROW

SITE = ["study", "site"]
_COUNTS = ("screened", "screen_failed", "enrolled")
_TOLERANCE = 1e-9
_FAR_BEYOND = 1.5


def more_enrolled_than_screened(
    frame: pl.DataFrame, before: pl.DataFrame | None, *, place: Place
) -> list[Problem]:
    """Refuse the first month of each site in which more are enrolled than can have passed.

    Parameters
    ----------
    frame : DataFrame
        Rows of ``Enrolment`` of the file, with ``known_at`` and ``_row``.
    before : DataFrame, optional
        Rows of the store; those of the same key are replaced.
    place : Place
        For the messages.
    """
    last = _together(frame, before)
    months = _site_months(last).filter(pl.col("_is_judged"))
    over = months.filter(pl.col("_enrolled") > pl.col("_screened") - pl.col("_failed") + _TOLERANCE)
    first = over.unique(SITE, keep="first", maintain_order=True)
    rows = last.drop_nulls(ROW).sort("ds", ROW)
    problems = []
    for found in first.iter_rows(named=True):
        of_site = (pl.col("study") == found["study"]) & (pl.col("site") == found["site"])
        own = rows.filter(of_site & (pl.col("ds") <= found["ds"])).tail(1)
        if own.is_empty():
            continue
        row = own.row(0, named=True)
        column = "enrolled" if row["enrolled"] is not None else "screened"
        problems.append(
            place.problem(
                row,
                column,
                found=f"{found['_enrolled']:g} enrolled at site {found['site']} up to "
                f"{month_name(found['ds'])}, of {found['_screened']:g} screened less "
                f"{found['_failed']:g} failed",
                allowed=f"at most {found['_screened'] - found['_failed']:g}: who enrols was "
                "screened and did not fail",
                todo="correct the counts, or load the months before the first one; leave screened "
                "empty in months in which it was not reported",
            )
        )
    return problems


def _together(frame: pl.DataFrame, before: pl.DataFrame | None) -> pl.DataFrame:
    """The last version of every row of the sites in the file, of file and store."""
    key = CLINICAL_TABLES["enrolment"].primary_key()
    names = [*key, *_COUNTS]
    own = last_versions(frame, key).select(*names, ROW, COLUMN)
    if before is None or before.is_empty():
        return own
    earlier = before.select(names).cast(own.select(names).schema)
    earlier = earlier.join(own.select(SITE).unique(), on=SITE, how="semi")
    return pl.concat([own, earlier.join(own, on=key, how="anti")], how="diagonal")


def _site_months(rows: pl.DataFrame) -> pl.DataFrame:
    """Sums so far of each site and month, over its cohorts, and whether they can be judged.

    A month reports screening when a row of cohort ``all`` does, or every row that has enrolled.
    """
    has = pl.col("screened").is_not_null()
    of_all = (has & (pl.col("cohort") == ALL)).any()
    by_cohort = has.any() & (has | (pl.col("enrolled").fill_null(0) == 0)).all()
    months = rows.group_by(*SITE, "ds").agg(
        (of_all | by_cohort).alias("_reported"), *(pl.col(name).sum() for name in _COUNTS)
    )
    months = months.sort(*SITE, "ds")
    so_far = {"_screened": "screened", "_failed": "screen_failed", "_enrolled": "enrolled"}
    return months.with_columns(
        pl.col("_reported").cast(pl.Int8).cum_min().over(SITE).cast(pl.Boolean).alias("_is_judged"),
        *(pl.col(column).cum_sum().over(SITE).alias(name) for name, column in so_far.items()),
    )


def outside_open_months(
    frame: pl.DataFrame, sites: pl.DataFrame | None, *, place: Place
) -> tuple[list[Problem], list[str]]:
    """Refuse patients before the month a site was activated or after the one it closed.

    Returns problems, and a note on sites that enrol and have no ``activated_date``.
    """
    if sites is None or sites.is_empty():
        return [], []
    dates = sites.select(*SITE, "activated_date", "closed_date")
    rows = frame.join(dates, on=SITE, how="inner", maintain_order="left")
    column = (
        pl.when(pl.col("enrolled") > 0)
        .then(pl.lit("enrolled"))
        .when(pl.col("screened") > 0)
        .then(pl.lit("screened"))
    )
    rows = rows.with_columns(_counted=column).drop_nulls("_counted")
    early = pl.col("ds") < pl.col("activated_date").dt.month_start()
    late = pl.col("ds") > pl.col("closed_date")
    problems = []
    for row in rows.filter(early | late).iter_rows(named=True):
        is_early = row["activated_date"] is not None and row["ds"] < row["activated_date"]
        word, day = ("activated", "activated_date") if is_early else ("closed", "closed_date")
        problems.append(
            place.problem(
                row,
                row["_counted"],
                found=f"{row[row['_counted']]:g} {row['_counted']} at site {row['site']} in "
                f"{month_name(row['ds'])}, {'before' if is_early else 'after'} it was {word} "
                f"({row[day].isoformat()})",
                allowed="patients from the month a site opens to the month it closes",
                todo=f"correct the month, or {day} in the table sites",
            )
        )
    unseen = rows.filter(pl.col("activated_date").is_null())["site"].unique(maintain_order=True)
    notes = []
    if unseen.len():
        notes.append(
            f"{counted(unseen.len(), 'site')} with patients and no activated_date, taken as open "
            f"from the first of them: {listed(unseen, most=5)}"
        )
    return problems, notes


def without_unfinished_months(
    frame: pl.DataFrame, *, through: date, today: date, place: Place
) -> tuple[pl.DataFrame, list[Problem], list[str]]:
    """Leave out months that are not over: counts of half a month would later pass for a whole one.

    Returns the other rows; a problem when there are none; and notes.
    """
    is_open = (pl.col("ds") > through).fill_null(False)
    rows = frame.filter(is_open)
    if rows.is_empty():
        return frame, [], []
    complete = f"months up to {month_name(through)}, the last complete one"
    if rows.height == frame.height:
        row = rows.row(0, named=True)
        todo = "load it when the month is over"
        problem = place.problem(row, "ds", found=month_name(row["ds"]), allowed=complete, todo=todo)
        return frame, [problem], []
    months = rows["ds"].unique().sort().dt.to_string("%Y-%m")
    notes = [
        f"{counted(rows.height, 'row')} of {listed(months, most=5)} left out, as the month is not "
        "over: load it again then"
    ]
    future = rows.filter(pl.col("ds") > today.replace(day=1)).height
    if future:
        notes.append(
            f"{counted(future, 'row')} in months that have not begun: plans belong in "
            "enrolment_plan"
        )
    return frame.filter(~is_open), [], notes


def counted_twice(frame: pl.DataFrame, before: pl.DataFrame | None) -> list[str]:
    """A note on months that give enrolled for all cohorts and for single ones: they are added.

    Rows that were loaded ``before`` count too, in months of which the file tells.
    """
    keys = [*SITE, "cohort", "ds"]
    rows = frame.select(*keys, "enrolled")
    if before is not None:
        told = before.join(frame, on=[*SITE, "ds"], how="semi").join(frame, on=keys, how="anti")
        rows = pl.concat([rows, told.select(rows.columns)], how="vertical_relaxed")
    has = rows.filter(pl.col("enrolled") > 0)
    is_all = pl.col("cohort") == ALL
    both = has.group_by(*SITE, "ds").agg(is_all.any() & ~is_all.all()).filter("cohort").height
    if not both:
        return []
    return [
        f"enrolled is given for cohort {ALL} and for single cohorts in {counted(both, 'month')} of "
        "a site: the rows are added up; if they are the same patients, delete one of the two"
    ]


def far_beyond_target(
    frame: pl.DataFrame, studies: pl.DataFrame | None, *, scope: tuple[str, ...] = ()
) -> list[str]:
    """A note on counts that add up to far more than a study's target: they may be totals so far.

    ``scope`` are the columns that tell plans of one study apart.
    """
    if studies is None or studies.is_empty():
        return []
    by = ["study", *scope]
    sums = frame.group_by(by, maintain_order=True).agg(pl.col("enrolled").sum())
    far = sums.join(studies.select("study", "target_enrolment"), on="study").filter(
        pl.col("enrolled") > _FAR_BEYOND * pl.col("target_enrolment")
    )
    return [
        f"enrolled of {study} adds up to {total:g} here, and its target is {target:g}: are these "
        "totals so far? Counts of each month are wanted"
        for study, total, target in far.select("study", "enrolled", "target_enrolment")
        .unique("study", keep="first", maintain_order=True)
        .iter_rows()
    ]


def broken_patients(frame: pl.DataFrame, columns: tuple[str, ...]) -> list[str]:
    """A note on fractions of patients, for each column that has any."""
    notes = []
    for column in columns:
        rows = frame.filter(pl.col(column) != pl.col(column).round())[ROW].to_list()
        if rows:
            notes.append(f"{column} has fractions of patients ({row_list(rows)})")
    return notes


def patient_columns(frame: pl.DataFrame, table: str) -> list[str]:
    """Notes on fractions in the columns of a table that count patients."""
    if table == "tier_lines":
        return broken_patients(frame.filter(pl.col("account").is_null()), ("quantity",))
    return broken_patients(frame, PATIENTS.get(table, ()))


def earlier_than_open(sites: pl.DataFrame, enrolment: pl.DataFrame | None) -> list[str]:
    """A note on sites whose dates leave out patients that are loaded already."""
    if enrolment is None or enrolment.is_empty():
        return []
    seen = enrolment.filter(pl.col("enrolled") > 0)
    span = seen.group_by(SITE).agg(
        pl.col("ds").min().alias("_from"), pl.col("ds").max().alias("_to")
    )
    rows = sites.join(span, on=SITE, how="inner", maintain_order="left").filter(
        (pl.col("_from") < pl.col("activated_date").dt.month_start())
        | (pl.col("_to") > pl.col("closed_date"))
    )
    if rows.is_empty():
        return []
    names = listed(rows["site"].unique(maintain_order=True), most=5)
    return [f"loaded already: patients before activated_date or after closed_date of {names}"]
