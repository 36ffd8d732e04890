"""What tiers convert at, as a table, and where the book of lines and ``enrolment`` disagree."""

from __future__ import annotations

import numpy as np
import polars as pl

from sopforecast.clinical.book import SCOPES, landmarks
from sopforecast.clinical.conversion import Conversion
from sopforecast.clinical.conversion_lines import Lines
from sopforecast.clinical.conversion_model import effects, laws
from sopforecast.clinical.inputs import ClinicalInputs, latest_lines
from sopforecast.clinical.words import counted, listed, month_text
from sopforecast.core.clinical_tables import ANY, OUTCOMES, TIERS, TierConversion
from sopforecast.core.months import add_months

LONG_PAST = 3
"""Months after its expected month from which an open committed line is asked about."""
_QUANTILES = {"p05": 0.05, "p10": 0.1, "p50": 0.5, "p90": 0.9, "p95": 0.95}
_SHOWN = 3
MANY_LISTED = 10.0
"""Choice: open patients at one site from which they are compared with twice a year's enrolment."""


def tier_frame(conversion: Conversion, inputs: ClinicalInputs) -> pl.DataFrame:
    """What each tier converts at: over all lines, by study or account, and by owner.

    Returns
    -------
    pl.DataFrame
        ``TierConversion`` without ``run_id``. The probability is that of the lines that were ever
        in the tier (each counted once), stated ranges and effects included; where a study or owner
        has none, of a line without a range there. ``delay_months`` is the median delay of those
        that convert, averaged over lines and draws.
    """
    marks = landmarks(inputs)
    rows: list[dict[str, object]] = []
    for scope in SCOPES:
        if scope not in conversion.lines:
            continue
        part, lines = marks.filter(marks["scope"] == scope), conversion.lines[scope]
        theta = conversion.theta[scope]
        law = laws(lines, theta)
        median = np.exp(law.log_scale) * np.log(2.0) ** (1.0 / law.shape)
        outcome = _outcomes(part)
        groups = [(ANY, ANY), *((name, ANY) for name in lines.names)]
        groups += [(ANY, owner) for owner in lines.owners]
        for name, owner in groups:
            mine = np.ones(part.height, dtype=bool)
            mine &= (part["name"] == name).to_numpy() if name != ANY else True
            mine &= (part["owner"] == owner).to_numpy() if owner != ANY else True
            for k, tier in enumerate(TIERS):
                here = mine & (lines.tier == k)
                if here.any():
                    weight = lines.weight[here] / lines.weight[here].sum()
                    chance, delay = law.chance[:, here] @ weight, median[:, here] @ weight
                else:
                    chance, delay = _of_nobody(lines, theta, k, name, owner)
                rows.append({
                    "scope": scope, "name": name, "owner": owner, "tier": tier,
                    "mean": float(chance.mean()),
                    **{label: float(np.quantile(chance, q)) for label, q in _QUANTILES.items()},
                    "delay_months": max(float(delay.mean()) - 0.5, 0.0),
                    **_counts(part, outcome, here), "method": conversion.methods[scope],
                })  # fmt: skip
    dtypes = {n: c.dtype for n, c in TierConversion.columns().items() if n != "run_id"}
    return pl.DataFrame(rows, schema=dtypes).sort("scope", "name", "owner", "tier")


def disagreements(inputs: ClinicalInputs) -> tuple[str, ...]:
    """Where lines of studies and ``enrolment`` tell different stories, with numbers."""
    return (
        *_more_converted(inputs),
        *_long_expected(inputs),
        *_nowhere(inputs),
        *_many_listed(inputs),
    )


def _outcomes(part: pl.DataFrame) -> np.ndarray:
    return np.array([OUTCOMES.index(name) for name in part["outcome"]], dtype=int)


def _counts(part: pl.DataFrame, outcome: np.ndarray, here: np.ndarray) -> dict[str, int]:
    """Lines, each counted once, that were ever in the tier, by what became of them."""
    ids = part["line_id"].to_numpy()
    by = [len(set(ids[here & (outcome == k)])) for k in range(3)]
    return {"lines": sum(by), "open_lines": by[0], "converted": by[1], "lost": by[2]}


def _of_nobody(
    lines: Lines, theta: np.ndarray, tier: int, name: str, owner: str
) -> tuple[np.ndarray, np.ndarray]:
    """Chance and continuous median delay (R,) of a line nobody has listed yet."""
    of_name, of_owner = effects(lines, theta)
    logit = theta[:, tier].copy()
    if name != ANY:
        logit += of_name[:, lines.names.index(name)]
    if owner != ANY:
        logit += of_owner[:, lines.owners.index(owner)]
    shape = laws(lines, theta, slice(0)).shape[:, 0]
    return 1.0 / (1.0 + np.exp(-logit)), np.exp(theta[:, 3 + tier]) * np.log(2.0) ** (1.0 / shape)


def _more_converted(inputs: ClinicalInputs) -> list[str]:
    """More patients marked converted than a site reports enrolled in the month."""
    last = latest_lines(inputs).filter(
        pl.col("study").is_not_null() & (pl.col("outcome") == "converted")
    )
    converted = (
        last.with_columns(
            patients=pl.coalesce("converted_quantity", "quantity"),
            site=pl.col("site").fill_null(ANY),
        )
        .group_by("study", "site", ds="converted_ds")
        .agg(pl.col("patients").sum())
    )
    counted_at = inputs.enrolment.filter(pl.col("enrolled").is_not_null())
    by_site = counted_at.group_by("study", "site", "ds").agg(pl.col("enrolled").sum())
    whole = counted_at.group_by("study", "ds").agg(pl.col("enrolled").sum())
    whole_converted = converted.group_by("study", "ds").agg(pl.col("patients").sum())
    at_sites = converted.filter(pl.col("site") != ANY).join(by_site, on=["study", "site", "ds"])
    nowhere = converted.filter(pl.col("site") == ANY).select("study", "ds")
    in_all = whole_converted.join(nowhere, on=["study", "ds"], how="semi").join(
        whole, on=["study", "ds"]
    )
    both = pl.concat([at_sites, in_all.with_columns(site=pl.lit(ANY))], how="diagonal")
    both = both.filter(pl.col("patients") > pl.col("enrolled")).sort("study", "site", "ds")
    return [
        f"Study {row['study']}{_at(row['site'])}, {month_text(row['ds'])}: "
        f"{counted(row['patients'], 'patient')} in tiers "
        f"{'is' if row['patients'] == 1 else 'are'} marked converted, "
        f"but enrolment reports {row['enrolled']:g} enrolled; check the month and the counts."
        for row in both.iter_rows(named=True)
    ]


def _long_expected(inputs: ClinicalInputs) -> list[str]:
    """Committed patients that are still open long after the month they were expected in."""
    late = latest_lines(inputs).filter(
        pl.col("study").is_not_null()
        & (pl.col("outcome") == "open")
        & (pl.col("tier").cast(pl.String) == "committed")
        & (pl.col("expected_ds") <= add_months(inputs.cycle, -1 - LONG_PAST))
    )
    found = []
    for (study,), part in late.sort("study", "line_id").group_by("study", maintain_order=True):
        ids = part["line_id"].to_list()
        shown = [*ids[:_SHOWN], *([f"{len(ids) - _SHOWN} more"] if len(ids) > _SHOWN else [])]
        total = float(part["quantity"].sum())
        latest = max(part["expected_ds"].to_list())
        found.append(
            f"Study {study}: {counted(total, 'committed patient')} "
            f"{'is' if total == 1 else 'are'} still open though expected by "
            f"{month_text(latest)} or earlier "
            f"({listed(shown)}); mark them converted or lost, or move the month."
        )
    return found


def _many_listed(inputs: ClinicalInputs) -> list[str]:
    """Sites with far more open patients listed than they ever enrolled in a year."""
    year = pl.col("ds") >= add_months(inputs.cycle, -12)
    came = inputs.enrolment.filter(year).group_by("study", "site").agg(pl.col("enrolled").sum())
    open_ones = latest_lines(inputs).filter(
        pl.col("study").is_not_null() & pl.col("site").is_not_null() & (pl.col("outcome") == "open")
    )
    listed_at = open_ones.group_by("study", "site").agg(pl.col("quantity").sum())
    both = listed_at.join(came, on=["study", "site"], how="left").fill_null(0.0)
    many = both.filter(
        pl.col("quantity") > pl.max_horizontal(pl.lit(MANY_LISTED), 2 * pl.col("enrolled"))
    )
    return [
        f"Study {study}: {counted(listed, 'open patient')} listed at site {site}, which enrolled "
        f"{counted(enrolled, 'patient')} in the last twelve months: the total rises by what the "
        "site model does not expect. Check quantity and tier of its lines."
        for study, site, listed, enrolled in many.sort("study", "site").iter_rows()
    ]


def _nowhere(inputs: ClinicalInputs) -> list[str]:
    """Open patients of a study without a single site: nothing they could replace."""
    lines = latest_lines(inputs).filter(
        pl.col("study").is_not_null() & (pl.col("outcome") == "open")
    )
    lost = lines.join(inputs.sites, on="study", how="anti")
    return [
        f"Study {study}: {counted(total, 'patient')} in tiers, but the study has no site in sites; "
        "they are not in its forecast until it has one."
        for study, total in lost.group_by("study")
        .agg(pl.col("quantity").sum())
        .sort("study")
        .rows()
    ]


def _at(site: str) -> str:
    return "" if site == ANY else f" at site {site}"
