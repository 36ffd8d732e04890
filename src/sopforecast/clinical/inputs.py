"""What a cycle reads of the clinic: the eight tables as known by a cut-off, none of its own months.

Days after the cut-off (``activated_date``, ``closed_date``) and patients of the cycle's own months
(``enrolment``, ``converted_ds``) read as not yet happened.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import dataframely as dy
import polars as pl

from sopforecast.core.clinical_tables import ANY, CLINICAL_TABLES
from sopforecast.core.months import add_months

KNOWN_AT = "known_at"


@dataclass(frozen=True, eq=False)
class ClinicalInputs:
    """One frame a table, with the columns of its schema; no rows where nothing was loaded.

    ``tier_lines`` holds **every version** of a line known by the cut-off, with ``known_at`` (UTC,
    when that version became known), sorted by line_id and known_at; the others the last version.
    ``enrolment`` holds complete months before ``cycle`` only.
    """

    cycle: date
    studies: pl.DataFrame
    cohorts: pl.DataFrame
    sites: pl.DataFrame
    enrolment: pl.DataFrame
    enrolment_plan: pl.DataFrame
    schedule: pl.DataFrame
    study_events: pl.DataFrame
    tier_lines: pl.DataFrame

    @property
    def has_demand(self) -> bool:
        """Whether anything here makes demand of an item."""
        lines = self.tier_lines.filter(pl.col("account").is_not_null())
        return self.schedule.height > 0 or lines.height > 0

    @property
    def is_empty(self) -> bool:
        """Whether there is neither a study nor a line."""
        return self.studies.is_empty() and self.tier_lines.is_empty()


def clinical_inputs(
    cycle: date, *, cut_off: date | None = None, **tables: pl.DataFrame
) -> ClinicalInputs:
    """Put the tables of a cycle together; a table that is not given has no rows.

    Parameters
    ----------
    cycle : date
        First forecast month; enrolment from it on is not read.
    cut_off : date, optional
        Last day on which a site may have opened or closed; that before the cycle when left out.
    **tables : pl.DataFrame
        By name of ``CLINICAL_TABLES``; columns beside those of the schema are dropped, but for
        ``known_at`` of ``tier_lines``, which is null where it is missing.
    """
    frames = {
        name: _columns(tables.get(name), schema, keeps_known=name == "tier_lines")
        for name, schema in CLINICAL_TABLES.items()
    }
    frames["enrolment"] = frames["enrolment"].filter(pl.col("ds") < cycle)
    last_day = cycle - timedelta(days=1) if cut_off is None else cut_off
    frames["sites"] = _as_of(frames["sites"], "closed_date", last_day)
    frames["studies"] = _as_of(frames["studies"], "last_patient_date", last_day)
    frames["sites"] = frames["sites"].with_columns(
        _not_yet("activated_date", last_day), _not_yet("closed_date", last_day)
    )
    frames["tier_lines"] = _open_again(frames["tier_lines"], cycle).sort("line_id", KNOWN_AT)
    return ClinicalInputs(cycle=cycle, **frames)


def latest_lines(inputs: ClinicalInputs) -> pl.DataFrame:
    """The last version of every line."""
    return inputs.tier_lines.unique("line_id", keep="last", maintain_order=True)


def _columns(
    frame: pl.DataFrame | None, schema: type[dy.Schema], *, keeps_known: bool
) -> pl.DataFrame:
    dtypes = {name: column.dtype for name, column in schema.columns().items()}
    names = [*dtypes, *([KNOWN_AT] if keeps_known else [])]
    if keeps_known:
        dtypes[KNOWN_AT] = pl.Datetime("us")
    if frame is None:
        return pl.DataFrame(schema=dtypes)
    for name in names:
        if name not in frame.columns:
            blank = pl.lit(ANY if name in schema.primary_key() else None)
            frame = frame.with_columns(blank.alias(name))
    return frame.select(names).cast(dtypes).sort(schema.primary_key())  # type: ignore[arg-type]


def _as_of(frame: pl.DataFrame, closing: str, last_day: date) -> pl.DataFrame:
    """What is closed by a later day was not closed yet; ``closed`` without a day stays closed."""
    early = (pl.col("status") == "closed") & (pl.col(closing) > last_day)
    status = pl.when(early.fill_null(False)).then(pl.lit("active"))
    text = status.otherwise(pl.col("status").cast(pl.String))
    return frame.with_columns(status=text.cast(frame.schema["status"]))


def _not_yet(column: str, last_day: date) -> pl.Expr:
    return pl.when(pl.col(column) <= last_day).then(pl.col(column)).alias(column)


def _open_again(lines: pl.DataFrame, cycle: date) -> pl.DataFrame:
    """A conversion in a month that is not over yet has not happened yet."""
    early = (pl.col("outcome") == "converted") & (pl.col("converted_ds") >= cycle)
    nothing = pl.lit(None)
    return lines.with_columns(
        outcome=pl.when(early).then(pl.lit("open")).otherwise(pl.col("outcome").cast(pl.String)),
        converted_quantity=pl.when(early).then(nothing).otherwise(pl.col("converted_quantity")),
        converted_ds=pl.when(early).then(nothing).otherwise(pl.col("converted_ds")),
    ).cast({"outcome": lines.schema["outcome"]})


def last_month(inputs: ClinicalInputs) -> date:
    """The month before the cycle: the last one that is over."""
    return add_months(inputs.cycle, -1)
