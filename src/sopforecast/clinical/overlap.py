"""Where an item takes its demand from: the clinic or its history, never both.

Reads ``schedule``, ``studies``, ``tier_lines`` and the items that have a history. An item of the
schedule of a known study takes its demand from the clinic; its history is only scored. An item of
account lines that has a history keeps it, and the lines are not added.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import date

import polars as pl

from sopforecast.clinical.inputs import ClinicalInputs

OVERLAP_COLUMNS = {
    "unique_id": pl.String,
    "clinic": pl.String,
    "takes": pl.String,
    "months": pl.Int64,
    "first_ds": pl.Date,
    "last_ds": pl.Date,
}
"""``clinic`` is ``schedule`` or ``account lines``, ``takes`` is ``clinic`` or ``history``."""


def clinic_items(inputs: ClinicalInputs, history_items: Collection[str] = ()) -> tuple[str, ...]:
    """List the items whose demand comes from the clinic, sorted.

    Parameters
    ----------
    inputs : ClinicalInputs
    history_items : collection of str
        Items that have a history: of these only the ones of a known study's schedule are listed.

    Examples
    --------
    >>> from datetime import date
    >>> from sopforecast.clinical.inputs import clinical_inputs
    >>> lines = pl.DataFrame({"line_id": ["1"], "account": ["A"], "unique_id": ["KIT"]})
    >>> inputs = clinical_inputs(date(2026, 12, 1), tier_lines=lines)
    >>> clinic_items(inputs, ()), clinic_items(inputs, ("KIT",))
    (('KIT',), ())
    """
    of_schedule, of_lines = _schedule_items(inputs), _line_items(inputs)
    return tuple(sorted(of_schedule | (of_lines - set(history_items))))


def demand_since(inputs: ClinicalInputs, history_items: Collection[str] = ()) -> dict[str, date]:
    """The month from which each item of the clinic has demand: the first one that is reported.

    Of items that nobody has asked for yet it is the cycle.
    """
    asked = inputs.schedule.join(
        inputs.enrolment.group_by("study").agg(pl.col("ds").min()), on="study", how="left"
    )
    known = asked.group_by("unique_id").agg(pl.col("ds").min())
    lines = inputs.tier_lines.filter(pl.col("unique_id").is_not_null())
    since = dict(lines.group_by("unique_id").agg(pl.col("converted_ds").min()).iter_rows())
    since |= {item: ds for item, ds in known.iter_rows() if ds is not None}
    return {item: since.get(item) or inputs.cycle for item in clinic_items(inputs, history_items)}


def overlaps(inputs: ClinicalInputs, history: pl.DataFrame) -> pl.DataFrame:
    """Name the items that have both a history and demand of the clinic, and which of them counts.

    Parameters
    ----------
    inputs : ClinicalInputs
    history : pl.DataFrame
        ``unique_id``, ``ds`` and ``y``; months of unknown ``y`` do not count.

    Returns
    -------
    pl.DataFrame
        ``OVERLAP_COLUMNS``, one row an item, sorted; ``months`` are those with known demand.
    """
    of_schedule, of_lines = _schedule_items(inputs), _line_items(inputs)
    in_schedule = pl.col("unique_id").is_in(sorted(of_schedule))
    return (
        history.filter(
            pl.col("unique_id").is_in(sorted(of_schedule | of_lines)), pl.col("y").is_not_null()
        )
        .group_by("unique_id")
        .agg(months=pl.len(), first_ds=pl.col("ds").min(), last_ds=pl.col("ds").max())
        .with_columns(
            clinic=pl.when(in_schedule).then(pl.lit("schedule")).otherwise(pl.lit("account lines")),
            takes=pl.when(in_schedule).then(pl.lit("clinic")).otherwise(pl.lit("history")),
        )
        .select(pl.col(name).cast(dtype) for name, dtype in OVERLAP_COLUMNS.items())
        .sort("unique_id")
    )


def overlap_sentences(found: pl.DataFrame) -> tuple[str, ...]:
    """Say for every item of `overlaps` where its demand comes from."""
    return tuple(_sentence(row) for row in found.iter_rows(named=True))


def _sentence(row: dict[str, object]) -> str:
    months = "1 month" if row["months"] == 1 else f"{row['months']} months"
    if row["takes"] == "clinic":
        return (
            f"Item {row['unique_id']} is in a study's schedule and has {months} of history: its "
            "demand comes from the clinic, its history is only scored."
        )
    return (
        f"Item {row['unique_id']} is in account lines and has {months} of history: its demand "
        "comes from its history, the lines are not added."
    )


def _schedule_items(inputs: ClinicalInputs) -> set[str]:
    known = inputs.studies["study"].to_list()
    return set(inputs.schedule.filter(pl.col("study").is_in(known))["unique_id"].to_list())


def _line_items(inputs: ClinicalInputs) -> set[str]:
    lines = inputs.tier_lines.filter(
        pl.col("account").is_not_null(), pl.col("unique_id").is_not_null()
    )
    return set(lines["unique_id"].to_list())
