"""What a month turned out to be: patients enrolled by node, who has not reported, what was planned.

Reads ``enrolment``, ``sites``, ``cohorts`` and ``enrolment_plan`` as they are known now, and of
what happened only what had by the end of the month. Nodes are named as in ``EnrolmentForecasts``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date

import polars as pl

from sopforecast.clinical.inputs import ClinicalInputs
from sopforecast.clinical.panel import site_panel
from sopforecast.clinical.targets import whole_study_plan
from sopforecast.clinical.words import counted, month_text
from sopforecast.core.clinical_tables import ALL, ANY
from sopforecast.core.months import add_months, month_end

_NODES = {"study": pl.String, "level": pl.String, "node": pl.String}
_WHOLE = [ANY, ALL]


@dataclass(frozen=True, eq=False)
class Reported:
    """Patients of one month, as far as they are known.

    Attributes
    ----------
    actuals : pl.DataFrame
        study, level, node, ``y`` (patients); complete nodes only.
    waiting : tuple of (study, site)
        Open sites that have not reported: they hold up their totals.
    undated : tuple of (study, site)
        Sites that counted patients though nobody said when they opened.
    notes : tuple of str
        Studies whose cohorts cannot be known.
    """

    actuals: pl.DataFrame
    waiting: tuple[tuple[str, str], ...]
    undated: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


def reported_in(inputs: ClinicalInputs, month: date) -> Reported:
    """Count the patients of a month by site, country, cohort and study.

    Parameters
    ----------
    inputs : ClinicalInputs
        Of a cycle after ``month``.
    month : date
        A month that is over.

    Raises
    ------
    ValueError
        When the inputs do not reach the end of the month.

    Notes
    -----
    A site that was open on any day of the month and has no row, or a blank in one of its cohorts,
    has not reported: that is not zero, and its country, its study and the study's cohorts wait for
    it. A site that had not opened, or had closed, enrolled whom it reports, nobody where it reports
    nothing. So it is with a site or study that is ``closed`` without a date: nobody will report.
    Cohorts are known when every patient of the study's month is in one that ``cohorts`` names.
    """
    if inputs.cycle <= month:
        raise ValueError(f"month: found {month}; allowed: months before the cycle {inputs.cycle}")
    enrolment = inputs.enrolment.filter(pl.col("ds") <= month)
    known = replace(inputs, cycle=add_months(month, 1), enrolment=enrolment)
    panel = site_panel(known)
    rows = enrolment.filter(pl.col("ds") == month)
    told = _told(rows)
    shut = _shut(known, month)
    found = []
    for g, (study, site) in enumerate(panel.sites):
        y = told.get((study, site))
        if y is None and (panel.exposure[g, -1] == 0 or (study, site) in shut):
            y = 0.0
        found.append((study, site, panel.countries[panel.country_of[g]], y))
    names = {"study": pl.String, "site": pl.String, "country": pl.String, "y": pl.Float64}
    sites = pl.DataFrame(found, schema=names, orient="row")
    whole = _totals(sites, "study", sites["study"])
    cohorts, notes = _cohorts(known, rows, whole["study"].to_list(), month)
    has_country = sites.filter((pl.col("country") != ANY).any().over("study"))
    parts = [
        whole,
        _totals(has_country, "country", has_country["country"]),
        _totals(sites, "site", sites["site"]),
        cohorts,
    ]
    waiting = sites.filter(pl.col("y").is_null())
    has_date = set(_pairs(known.sites.filter(pl.col("activated_date").is_not_null())))
    seen = [key for key, first in zip(panel.sites, panel.seen_at_first, strict=True) if first]
    return Reported(
        actuals=pl.concat(parts).sort(*_NODES),
        waiting=tuple(_pairs(waiting)),
        undated=tuple(key for key in seen if key not in has_date),
        notes=notes,
    )


def planned_in(inputs: ClinicalInputs, month: date) -> pl.DataFrame:
    """Patients planned to enrol in a month, by node.

    Returns
    -------
    pl.DataFrame
        study, level, node, ``planned``; only nodes with a plan that had begun. It is the newest
        version by name; of a node its coarsest rows, a country from its sites. After its last month
        a plan asks for nobody more.
    """
    found = [pl.DataFrame(schema={**_NODES, "planned": pl.Float64})]
    country = inputs.sites.select("study", "site", country=pl.col("country").fill_null(ANY))
    for study in sorted(set(inputs.enrolment_plan["study"])):
        plan = whole_study_plan(inputs, study)
        if plan is None:
            continue
        version, rows = plan
        of_all, of_site = pl.col("cohort").is_in(_WHOLE), pl.col("site") != ANY
        every = inputs.enrolment_plan.filter(pl.col("study") == study, pl.col("version") == version)
        sites = _coarsest(every.filter(of_site), "site", of_all)
        cohorts = _coarsest(every.filter(~of_all), "cohort", ~of_site)
        by_country = sites.join(country, on=["study", "site"])
        found += [
            _planned(rows, "study", "study", month),
            _planned(by_country, "country", "country", month),
            _planned(sites, "site", "site", month),
            _planned(cohorts, "cohort", "cohort", month),
        ]
    return pl.concat(found).sort(*_NODES)


def _told(rows: pl.DataFrame) -> dict[tuple[str, str], float | None]:
    """Patients by (study, site); None where a cohort is blank."""
    blank = pl.col("enrolled").is_null().any()
    sums = rows.group_by("study", "site").agg(y=pl.when(~blank).then(pl.col("enrolled").sum()))
    return {(study, site): y for study, site, y in sums.iter_rows()}


def _shut(inputs: ClinicalInputs, month: date) -> set[tuple[str, str]]:
    """Sites that are closed, or whose study is, since a day that is not known or past."""
    is_closed = pl.col("status").cast(pl.String) == "closed"
    last = pl.col("last_patient_date")
    over = last.is_null() | (last <= month_end(month))
    studies = inputs.studies.filter(is_closed & over)["study"].to_list()
    sites = inputs.sites.filter(
        (is_closed & pl.col("closed_date").is_null()) | pl.col("study").is_in(studies)
    )
    return set(_pairs(sites))


def _totals(sites: pl.DataFrame, level: str, node: pl.Series) -> pl.DataFrame:
    """Patients of nodes, those of them that are known whole."""
    sums = (
        sites.with_columns(level=pl.lit(level), node=node)
        .group_by(*_NODES)
        .agg(pl.col("y").sum(), waits=pl.col("y").is_null().any())
    )
    return sums.filter(~pl.col("waits")).drop("waits")


def _cohorts(
    inputs: ClinicalInputs, rows: pl.DataFrame, complete: list[str], month: date
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Patients by named cohort of studies that are complete, and where they are not told apart."""
    named = inputs.cohorts.filter(pl.col("cohort") != ALL).select("study", "cohort")
    keys = ["study", "cohort"]
    stray = rows.join(named, on=keys, how="anti").join(
        named.select("study").unique(), on="study", how="semi"
    )
    lost = (
        stray.filter(pl.col("enrolled") > 0)
        .group_by("study")
        .agg(pl.col("enrolled").sum())
        .sort("study")
    )
    known = [study for study in complete if study not in lost["study"].to_list()]
    sums = rows.group_by(keys).agg(y=pl.col("enrolled").sum())
    found = (
        named.filter(pl.col("study").is_in(known))
        .join(sums, on=keys, how="left")
        .select("study", level=pl.lit("cohort"), node="cohort", y=pl.col("y").fill_null(0.0))
    )
    notes = [
        f"Study {study}, {month_text(month)}: {counted(enrolled, 'patient')} enrolled outside its "
        "named cohorts; the cohorts are not scored until enrolment tells them apart."
        for study, enrolled in lost.iter_rows()
    ]
    return found, tuple(notes)


def _pairs(sites: pl.DataFrame) -> list[tuple[str, str]]:
    return [
        (study, site)
        for study, site in sites.select("study", "site").sort("study", "site").iter_rows()
    ]


def _coarsest(rows: pl.DataFrame, node: str, is_coarse: pl.Expr) -> pl.DataFrame:
    """Of each node the rows that are not divided further, where it has any."""
    has_coarse = is_coarse.any().over(node)
    return rows.filter(is_coarse | ~has_coarse)


def _planned(rows: pl.DataFrame, level: str, node: str, month: date) -> pl.DataFrame:
    """The plan of nodes in the month; none before the first month of their level's plan."""
    first = rows["ds"].min()
    if not isinstance(first, date) or month < first:
        rows = rows.clear()
    this = pl.when(pl.col("ds") == month).then(pl.col("enrolled")).otherwise(0.0)
    return rows.group_by("study", level=pl.lit(level), node=pl.col(node)).agg(planned=this.sum())
