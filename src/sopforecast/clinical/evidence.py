"""What was seen of a study by the cut-off, and what was learned of it, as plain numbers.

Counts are read from the tables of the cycle; what was learned is filled in by whoever fitted it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

import polars as pl

from sopforecast.clinical.inputs import ClinicalInputs, latest_lines
from sopforecast.core.months import add_months

SILENT_MONTHS = 3
"""An open site without a patient for so many months is called silent."""

FEW_SITES, FEW_MONTHS, FEW_OPENINGS = 5, 6, 5
"""Below these the ranges lean on what was assumed before: for the wording only, a choice."""


_DATES = ("planned_activation_date", "activated_date")


@dataclass(frozen=True)
class Learned:
    """What the paths are made with: a middle, and 80% between low and high."""

    low: float
    middle: float
    high: float


@dataclass(frozen=True)
class Evidence:
    """What was seen of a study by the cut-off, and what was learned.

    Attributes
    ----------
    sites_seen, months_seen, site_months : int
        Sites with a month reported, months with a site reported, and the pairs of them.
    sites_open, sites_silent, sites_waiting : int
        Open at the cycle; of those without a patient for `SILENT_MONTHS`; not open yet.
    activations_seen : int
        Openings with a planned date to compare with.
    enrolled, screened, screen_failed, dropped_out : float
        Patients; the failed of sites and months that report both.
    screening_months : int
        Site-months that report screening.
    patient_months : float
        In treatment at the end of months of which dropout is reported.
    lines, lines_converted, lines_lost : int
    slip_days, patients_a_month, screen_failure, dropout_a_month : Learned, optional
        Days from plan to opening, patients of an open site in a month, shares; None: not used.
    conversion : mapping of str to Learned
        By tier: the probability that a line ever converts.
    """

    sites_seen: int = 0
    months_seen: int = 0
    site_months: int = 0
    sites_open: int = 0
    sites_silent: int = 0
    sites_waiting: int = 0
    activations_seen: int = 0
    enrolled: float = 0.0
    screened: float = 0.0
    screen_failed: float = 0.0
    screening_months: int = 0
    dropped_out: float = 0.0
    patient_months: float = 0.0
    lines: int = 0
    lines_converted: int = 0
    lines_lost: int = 0
    slip_days: Learned | None = None
    patients_a_month: Learned | None = None
    screen_failure: Learned | None = None
    dropout_a_month: Learned | None = None
    conversion: Mapping[str, Learned] = field(default_factory=dict)

    @property
    def is_thin(self) -> bool:
        """Whether rates are mostly what was assumed before any patient."""
        return self.sites_seen < FEW_SITES or self.months_seen < FEW_MONTHS


def count_evidence(inputs: ClinicalInputs, study: str) -> Evidence:
    """Count what was seen of a study; what was learned is left blank.

    A month that is not reported is not counted; a reported zero is.
    """
    sites = inputs.sites.filter(pl.col("study") == study)
    rows = inputs.enrolment.filter(pl.col("study") == study)
    seen = rows.filter(pl.any_horizontal(pl.col("enrolled", "screened").is_not_null()))
    both = rows.filter(pl.col("screened").is_not_null() & pl.col("screen_failed").is_not_null())
    alive = sites.filter(pl.col("closed_date").is_null(), pl.col("status").ne_missing("closed"))
    began = pl.col("site").is_in(seen.filter(_patients() > 0)["site"].implode())
    is_open = alive.filter(pl.col("activated_date").is_not_null() | began)
    told = sites.filter(pl.all_horizontal(pl.col(_DATES).is_not_null()))
    lines = latest_lines(inputs).filter(pl.col("study") == study)
    at_risk, dropped = _at_risk(rows)
    return Evidence(
        sites_seen=seen["site"].n_unique(),
        months_seen=seen["ds"].n_unique(),
        site_months=len(seen.unique(["site", "ds"])),
        sites_open=is_open.height,
        sites_silent=_silent(seen, inputs.cycle).join(is_open, on="site", how="semi").height,
        sites_waiting=alive.height - is_open.height,
        activations_seen=told.height,
        enrolled=float(rows["enrolled"].sum()),
        screened=float(both["screened"].sum()),
        screen_failed=float(both["screen_failed"].sum()),
        screening_months=len(both.unique(["site", "ds"])),
        dropped_out=dropped,
        patient_months=at_risk,
        lines=lines.height,
        lines_converted=lines.filter(pl.col("outcome") == "converted").height,
        lines_lost=lines.filter(pl.col("outcome") == "lost").height,
    )


def silent_sites(inputs: ClinicalInputs, study: str) -> tuple[str, ...]:
    """Sites that told of every one of the last months and had no patient in them, sorted."""
    rows = inputs.enrolment.filter(pl.col("study") == study)
    seen = rows.filter(pl.any_horizontal(pl.col("enrolled", "screened").is_not_null()))
    return tuple(sorted(_silent(seen, inputs.cycle)["site"].to_list()))


def _silent(seen: pl.DataFrame, cycle: date) -> pl.DataFrame:
    """Sites that reported every one of the last months, and no patient in them."""
    lately = seen.filter(pl.col("ds") >= add_months(cycle, -SILENT_MONTHS))
    sums = lately.group_by("site").agg(patients=_patients().sum(), months=pl.col("ds").n_unique())
    return sums.filter(pl.col("patients") == 0, pl.col("months") == SILENT_MONTHS)


def _patients() -> pl.Expr:
    return pl.max_horizontal("enrolled", "screened")


def _at_risk(rows: pl.DataFrame) -> tuple[float, float]:
    """Patient-months in treatment, and dropouts, over months of which dropout is reported."""
    left = pl.col("dropped_out").fill_null(0) + pl.col("completed").fill_null(0)
    flow = (pl.col("enrolled").fill_null(0) - left).cum_sum().over("site", "cohort", order_by="ds")
    told = rows.with_columns(inside=flow).filter(pl.col("dropped_out").is_not_null())
    return float(told["inside"].clip(lower_bound=0).sum()), float(told["dropped_out"].sum())
