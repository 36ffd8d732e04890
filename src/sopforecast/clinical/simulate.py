"""Patients screened and enrolled at every site, before a study's target and its cohorts part them.

A site's patients are a Poisson flow given its rate in a path (rate, shared shock, events, opening).
Screened patients fail or enrol after a delay: thinning a Poisson flow, exact for small counts.

References
----------
Anisimov and Fedorov (2007), Modelling, prediction and adaptive adjustment of recruitment in
multicentre trials. Kingman (1993), Poisson Processes, section 5.1 (colouring).
"""

from __future__ import annotations

from datetime import date
from typing import Protocol

import numpy as np

from sopforecast.clinical.events import Events
from sopforecast.clinical.panel import SitePanel
from sopforecast.clinical.paths import SiteCounts
from sopforecast.core.draws import series_rng

LARGEST_RATE = 15_000.0
"""Patients a month of one site beyond which a rate is cut, so that counts fit int16."""
_SMALLEST_YIELD = 0.01
_FEW = 3  # counted by cell on average, below which drawing one by one is quicker
_LARGEST_COUNT = np.iinfo(np.int16).max // 2  # two of them still fit


class SampledRates(Protocol):
    """Expected patients a month; see `enrolment.sample_rates`."""

    @property
    def open(self) -> np.ndarray: ...
    @property
    def fresh(self) -> np.ndarray: ...
    @property
    def shock(self) -> np.ndarray: ...
    @property
    def group_of(self) -> np.ndarray: ...


class ScreeningFunnel(Protocol):
    """What becomes of the screened; see `funnel.fit_funnel`."""

    @property
    def fail(self) -> np.ndarray: ...
    @property
    def delay(self) -> np.ndarray: ...
    @property
    def reports(self) -> np.ndarray: ...
    @property
    def stock(self) -> np.ndarray: ...
    @property
    def stock_fail(self) -> np.ndarray: ...
    @property
    def stock_delay(self) -> np.ndarray: ...


class SiteOpenings(Protocol):
    """When sites open; see `activation.sample_activation`."""

    @property
    def month(self) -> np.ndarray: ...
    @property
    def first_share(self) -> np.ndarray: ...


def site_counts(
    panel: SitePanel,
    rates: SampledRates,
    funnel: ScreeningFunnel,
    openings: SiteOpenings,
    events: Events,
    *,
    cycle: date,
    paths: int,
    horizon: int,
    seed: int,
) -> SiteCounts:
    """Draw the patients of every site, month and path.

    Parameters
    ----------
    panel : SitePanel
    rates : SampledRates
        open, fresh float32 (S, G, H), shock float32 (S, K, H), group_of int (G,).
    funnel : ScreeningFunnel
        fail, stock_fail (R, studies); delay (R, D), stock_delay (R, studies, D): chance of 0, 1,
        ... months; reports, stock (G,). Path s uses draw s mod R.
    openings : SiteOpenings
        month int (S, G), first_share float32 (S, G).
    events : Events
    cycle : date
        Month 0.
    paths, horizon, seed : int

    Returns
    -------
    SiteCounts

    Notes
    -----
    The rate is of patients who enrol. A site that reports screening screens rate / (the path's
    share of the screened that enrol); each of them fails with that path's chance, the others enrol
    after a delay. Elsewhere patients enrol in the month they come, and the screened are those and
    as many failures as the learned share says. An event on screening moves the flow of patients.
    One on enrolment moves the flow too where it is above 1; below 1 that share of those who would
    have enrolled in the month, from stock too, do not, while screening goes on. Every site has a
    random stream of its own: a site's counts do not depend on which others there are.
    """
    size = (paths, len(panel.sites), horizon)
    screened, stock, new = (np.zeros(size, dtype=np.int16) for _ in range(3))
    draw = np.arange(paths) % len(funnel.fail)
    for g, (study, site) in enumerate(panel.sites):
        of = int(panel.study_of[g])
        rng = series_rng(seed, "site counts", study, site)
        flow, let = _flow(rates, openings, events, g)
        passing = np.maximum(1 - funnel.fail[draw, of], _SMALLEST_YIELD)[:, None]
        if flow.any():
            reports = bool(funnel.reports[g])
            came = rng.poisson(np.minimum(flow / passing, LARGEST_RATE))
            screened[:, g] = np.minimum(came, _LARGEST_COUNT)
            if reports:
                came = _delayed(thin(came, passing, rng), funnel.delay[draw], rng)
                passing = np.ones(1)
            if not reports or let is not None:
                came = thin(came, passing if let is None else passing * let, rng)
            new[:, g] = np.minimum(came, _LARGEST_COUNT)
        if funnel.stock[g] > 0 and events.enrolling[g].any():
            stock[:, g] = _from_stock(
                int(funnel.stock[g]),
                1 - funnel.stock_fail[draw, of],
                funnel.stock_delay[draw, of],
                first_month=int(np.argmax(events.enrolling[g] > 0)),
                let=np.ones((paths, horizon)) if let is None else let,
                rng=rng,
            )
    return SiteCounts(
        screened=screened,
        from_stock=stock,
        from_new=new,
        activated=openings.month.astype(np.int16),
    )


def thin(counts: np.ndarray, share: np.ndarray | float, rng: np.random.Generator) -> np.ndarray:
    """Keep each of the counted with a chance: binomial.

    Parameters
    ----------
    counts : ndarray of int
    share : ndarray or float
        Chance to be kept; broadcast against ``counts``.
    rng : Generator

    Returns
    -------
    ndarray of int
        Shape and dtype of ``counts``.

    Notes
    -----
    Few are drawn one by one, which is quicker; many by numpy's binomial: the same law.
    """
    flat = counts.reshape(-1)
    chance = np.broadcast_to(np.clip(share, 0.0, 1.0), counts.shape).reshape(-1)
    if flat.sum(dtype=np.int64) <= _FEW * flat.size:
        patients = np.repeat(np.arange(flat.size), flat)
        chosen = patients[rng.random(patients.size) < chance[patients]]
        kept = np.bincount(chosen, minlength=flat.size).astype(counts.dtype)
    else:
        kept = rng.binomial(flat, chance).astype(counts.dtype)
    return kept.reshape(counts.shape)


def _flow(
    rates: SampledRates, openings: SiteOpenings, events: Events, g: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return patients who would enrol by month (S, H), and the share events let (None: all)."""
    flow = rates.open[:, g] + _shifted(
        rates.fresh[:, g], openings.month[:, g], openings.first_share[:, g]
    )
    flow *= rates.shock[:, rates.group_of[g]] * events.enrolling[g]
    if events.screening is not None:
        flow *= events.screening[:, g]
    if events.enrolment is None:
        return flow, None
    moved = events.enrolment[:, g]
    flow *= np.maximum(moved, 1)
    return flow, np.minimum(moved, 1) if bool(np.any(moved < 1)) else None


def _shifted(fresh: np.ndarray, month: np.ndarray, first_share: np.ndarray) -> np.ndarray:
    """Move rates by months since opening (S, H) to calendar months, the first one in part."""
    horizon = fresh.shape[1]
    if not fresh.any():
        return np.zeros_like(fresh)
    age = np.arange(horizon) - month.astype(np.int64)[:, None]
    is_open = (age >= 0) & (month >= 0)[:, None]
    moved = np.take_along_axis(fresh, np.clip(age, 0, horizon - 1), axis=1) * is_open
    return np.where(age == 0, moved * first_share[:, None], moved)


def _from_stock(
    stock: int,
    chance: np.ndarray,
    delay: np.ndarray,
    *,
    first_month: int,
    let: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Enrol of the patients in screening (S, H): chance to enrol (S,), month of it (S, D)."""
    waiting = np.zeros(let.shape, dtype=np.int64)
    waiting[:, first_month] = rng.binomial(stock, np.clip(chance, 0, 1))
    return np.minimum(thin(_delayed(waiting, delay, rng), let, rng), _LARGEST_COUNT)


def _delayed(counts: np.ndarray, delay: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Move counts (S, H) later by delays with chances (S, D); past the horizon they are lost."""
    horizon, last = counts.shape[1], delay.shape[1] - 1
    later = np.zeros(counts.size, dtype=counts.dtype)
    cells = np.flatnonzero(counts)
    left = counts.reshape(-1)[cells]
    tail = np.cumsum(delay[:, ::-1], axis=1)[:, ::-1]
    hazard = delay / np.maximum(tail, 1e-12)
    for months in range(min(last + 1, horizon)):
        path, month = np.divmod(cells, horizon)
        moved = left if months == last else thin(left, hazard[path, months], rng)
        inside = month + months < horizon
        later[cells[inside] + months] += moved[inside]
        waits = inside & (moved < left)
        cells, left = cells[waits], (left - moved)[waits]
    return later.reshape(counts.shape)
