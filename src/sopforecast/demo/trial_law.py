"""The law the demo's trial is simulated from: said openly, so that what is learned can be compared.

Nothing here comes from a real trial. Patients, sites, tiers and dates are made up; the numbers are
of a size that is common in trials of this kind.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from sopforecast.core.clinical_tables import TIERS
from sopforecast.core.draws import series_rng

STUDY = "NOVA-1"
COHORTS = ("A", "B")
OPEN, SILENT, CLOSED, PLANNED = "open", "silent", "closed", "planned"


@dataclass(frozen=True)
class TrialSite:
    """One made-up site.

    ``place`` is its planned opening as a share of the months simulated, ``size`` its rate as a
    multiple of what is usual.
    """

    site: str
    country: str
    state: str
    place: float
    reports_screening: bool = True
    size: float = 1.0


SITES = (
    TrialSite("S1", "Germany", OPEN, 0.00),
    TrialSite("S2", "Germany", OPEN, 0.04),
    TrialSite("S3", "Spain", OPEN, 0.08),
    TrialSite("S4", "United States", OPEN, 0.16, reports_screening=False),
    TrialSite("S5", "Germany", SILENT, 0.06),
    TrialSite("S6", "Spain", OPEN, 0.20),
    TrialSite("S7", "United States", PLANNED, 1.0, size=2.0),
    TrialSite("S8", "Germany", OPEN, 0.30),
    TrialSite("S9", "Spain", PLANNED, 1.0, size=2.0),
    TrialSite("S10", "United States", OPEN, 0.42),
    TrialSite("S11", "Spain", OPEN, 0.50, reports_screening=False),
    TrialSite("S12", "United States", OPEN, 0.58),
    TrialSite("S13", "Germany", PLANNED, 1.0),
    TrialSite("S14", "Spain", CLOSED, 0.10),
)


@dataclass(frozen=True)
class TrialLaw:
    """What every count of the trial is drawn from.

    Attributes
    ----------
    target : int
        Patients at which enrolment stops.
    rate_mean, rate_shape : float
        Patients a month enrolled by a site of usual size that just opened, Gamma over sites.
    decay_months : float
        A site's rate falls by exp(-age / decay_months), age in months since it opened.
    shock_sd : float
        Sd of the log multiplier of a month, shared by all sites.
    fail_share, fail_weight : float
        Screen-failure share of a site, Beta with this mean and this many patients' weight.
    delay : tuple of float
        Chance that screening is over 0, 1, 2 months after it began.
    cohort_b_share : float
        Share of patients in cohort B once it is open.
    dropout : float
        Chance that a patient in treatment leaves, each month.
    treatment_months : int
        Months a patient is treated; who stays so long has completed.
    slip_mean_days, slip_sd_days : float
        Days a site opens after its planned date, Normal, at least ``SLIP_FLOOR_DAYS``.
    moves_up, leaves : dict of str to float
        Chance a month that a line of a tier moves on (committed: is enrolled), and that it is lost.
    silent_from, closed_from, cohort_b_from : float
        Share of the months simulated after which S5 is silent, S14 closed, cohort B open.
    """

    target: int
    rate_mean: float
    rate_shape: float
    decay_months: float
    shock_sd: float
    fail_share: float
    fail_weight: float
    delay: tuple[float, ...]
    cohort_b_share: float
    dropout: float
    treatment_months: int
    slip_mean_days: float
    slip_sd_days: float
    moves_up: dict[str, float]
    leaves: dict[str, float]
    silent_from: float
    closed_from: float
    cohort_b_from: float


SLIP_FLOOR_DAYS = -10
# The amendment that widens the entry criteria: months after the last one, the 80% range of what it
# multiplies screening with, and how likely it is.
AMENDED_AFTER, AMENDED, AMENDED_CHANCE = 3, (1.1, 1.5), 0.6

LAW = TrialLaw(
    target=200,
    rate_mean=0.9,
    rate_shape=3.0,
    decay_months=30.0,
    shock_sd=0.2,
    fail_share=0.3,
    fail_weight=30.0,
    delay=(0.5, 0.4, 0.1),
    cohort_b_share=0.45,
    dropout=0.02,
    treatment_months=6,
    slip_mean_days=30.0,
    slip_sd_days=20.0,
    moves_up={"committed": 0.5, "highly_probable": 0.3, "pipeline": 0.2},
    leaves={"committed": 0.04, "highly_probable": 0.1, "pipeline": 0.15},
    silent_from=0.5,
    closed_from=0.62,
    cohort_b_from=0.15,
)


def true_conversion() -> pl.DataFrame:
    """Chance that a line of a tier is ever enrolled, in a trial without end: tier, probability.

    Notes
    -----
    A line of a tier leaves it upwards with chance up / (up + lost), and has then the chance of the
    tier above.
    """
    chance, rows = 1.0, []
    for tier in TIERS:  # from the surest down
        chance *= LAW.moves_up[tier] / (LAW.moves_up[tier] + LAW.leaves[tier])
        rows.append((tier, chance))
    return pl.DataFrame(rows, schema=["tier", "probability"], orient="row")


def true_sites(*, seed: int) -> pl.DataFrame:
    """The drawn truth of every site: site, country, state, rate (patients a month), fail_share.

    ``rate`` is of the month in which a site opens; sites still planned have theirs already.
    """
    a = LAW.fail_share * LAW.fail_weight
    rows = []
    for one in SITES:
        rng = series_rng(seed, "demo", "trial", "site", one.site)
        rate = one.size * LAW.rate_mean * rng.gamma(LAW.rate_shape) / LAW.rate_shape
        rows.append((one.site, one.country, one.state, rate, rng.beta(a, LAW.fail_weight - a)))
    return pl.DataFrame(
        rows, schema=["site", "country", "state", "rate", "fail_share"], orient="row"
    )


def month_shocks(count: int, *, seed: int) -> np.ndarray:
    """Multiplier of every month (count,), shared by all sites; its mean is 1."""
    rng = series_rng(seed, "demo", "trial", "shock")
    return np.exp(rng.normal(-(LAW.shock_sd**2) / 2, LAW.shock_sd, size=count))


def law_in_words() -> tuple[str, ...]:
    """The law as sentences, for a reader who compares what was learned with what is true."""
    tiers = ", ".join(
        f"{tier.replace('_', ' ')} {chance:.0%}" for tier, chance in true_conversion().iter_rows()
    )
    large = " and ".join(one.site for one in SITES if one.size == 2.0)
    return (
        f"Simulated: no patient, site or date of {STUDY} is real.",
        f"A site that just opened enrols {LAW.rate_mean:g} patients a month on average (Gamma, "
        f"shape {LAW.rate_shape:g}; {large} twice that); "
        f"{1 - np.exp(-12 / LAW.decay_months):.0%} of its rate is lost after a year, and all sites "
        "share good and bad months "
        f"(sd {LAW.shock_sd:.0%}).",
        f"{LAW.fail_share:.0%} of the screened fail; screening takes 0 to {len(LAW.delay) - 1} "
        "months.",
        f"Sites open {LAW.slip_mean_days:g} days late on average (sd {LAW.slip_sd_days:g}); "
        "planned ones open at all with the probability in their table.",
        f"The amendment AMD-2 comes with probability {AMENDED_CHANCE:.0%} and multiplies screening "
        f"by {AMENDED[0]:g} to {AMENDED[1]:g} (80%).",
        f"{LAW.dropout:.0%} of patients in treatment leave each month; treatment takes "
        f"{LAW.treatment_months} months.",
        f"A line is enrolled in the end with probability: {tiers}.",
    )
