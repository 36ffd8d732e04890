"""Ways from the months so far to enrolled patients by site and month: the product's, and others.

The product learns rates from the screened where a site reports them, and the funnel's share of
failures turns them into enrolled. Others learn rates from the enrolled; the share says how many are
screened for them, the delay and those in screening shape the months just ahead.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sopforecast.clinical.activation import sample_activation
from sopforecast.clinical.clinic import sample_future
from sopforecast.clinical.enrolment import fit_rates, sample_rates
from sopforecast.clinical.events import sample_events
from sopforecast.clinical.inputs import ClinicalInputs
from sopforecast.clinical.learned import Learned
from sopforecast.clinical.panel import SitePanel
from sopforecast.clinical.simulate import site_counts


def as_product(
    known: Learned, inputs: ClinicalInputs, *, paths: int, horizon: int, seed: int
) -> np.ndarray:
    """Enrolled of one study (paths, G, horizon), as the product has it."""
    future = sample_future(known, inputs, horizon=horizon, paths=paths, seed=seed)
    (trial,) = future.trials.values()
    return trial.enrolled.sum(axis=2, dtype=np.int64)


def of_enrolled(
    known: Learned,
    inputs: ClinicalInputs,
    *,
    paths: int,
    horizon: int,
    seed: int,
    seen: SitePanel | None = None,
) -> np.ndarray:
    """Enrolled (paths, G, horizon) with rates of the enrolled, as ``seen`` has them.

    A path screens by its own share of failures, so that its rate of enrolled is what was learned.
    Sites that have opened only; no target, no capacity.
    """
    panel, funnel = known.panel, known.funnel
    size = {"paths": paths, "horizon": horizon, "seed": seed}
    fit = fit_rates(seen or panel, np.ones(len(panel.sites)), seed=seed)
    rates = sample_rates(fit, panel, **size)
    yields = funnel.yields(panel)
    passing = 1.0 - funnel.fail[np.arange(paths) % len(funnel.fail)][:, panel.study_of]
    by_path = np.where(funnel.reports, yields / passing, 1.0)  # screened by a mean share otherwise
    rates = replace(rates, open=rates.open * by_path[:, :, None].astype(np.float32))
    events = sample_events(inputs, panel, **size)
    openings = sample_activation(known.activation, inputs, panel, stretch=events.stretch, **size)
    counts = site_counts(panel, rates, funnel, openings, events, cycle=inputs.cycle, **size)
    total: np.ndarray = counts.from_stock.astype(np.int64) + counts.from_new
    return total


def first_screened(known: Learned, *, months: int) -> SitePanel:
    """Counts of the enrolled, but of the screened in a site's first months where it reports them.

    In those months the screened stand for the share of them that is expected to enrol.
    """
    panel = known.panel
    age = np.arange(len(panel.months)) - panel.opened[:, None]
    yields = known.funnel.yields(panel)[:, None]
    first = (age >= 0) & (age < months) & (yields < 1.0) & ~np.isnan(panel.screened)
    return replace(
        panel,
        enrolled=np.where(first, panel.screened, panel.enrolled),
        exposure=np.where(first, panel.exposure / yields, panel.exposure),
    )


def delayed_exposure(known: Learned) -> SitePanel:
    """Counts of the enrolled, a site's first months exposed as far as its patients may have come.

    Enrolled of a month were screened in it and in those before: expected are the rate times the
    exposure of these months, each weighted by the chance of that delay.
    """
    panel, chance = known.panel, known.funnel.delay.mean(axis=0)
    months = len(panel.months)
    delayed = np.zeros_like(panel.exposure)
    for delay, share in enumerate(chance[:months]):
        delayed[:, delay:] += share * panel.exposure[:, : months - delay]
    counts = known.funnel.reports[:, None] & (panel.exposure > 0)
    return replace(panel, exposure=np.where(counts, delayed, panel.exposure))
