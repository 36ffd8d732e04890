"""Ways from the months so far to enrolled patients by site and month: the product's, and others.

The product learns rates from the screened in a site's first two months, times the share expected to
enrol, and from the enrolled from then on. Others learn from the enrolled in all months, or from the
screened in all months, and the funnel's share of failures turns those into enrolled.
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
from sopforecast.clinical.simulate import site_counts


def as_product(
    known: Learned, inputs: ClinicalInputs, *, paths: int, horizon: int, seed: int
) -> np.ndarray:
    """Enrolled of one study (paths, G, horizon), as the product has it."""
    future = sample_future(known, inputs, horizon=horizon, paths=paths, seed=seed)
    (trial,) = future.trials.values()
    return trial.enrolled.sum(axis=2, dtype=np.int64)


def by_screened(
    known: Learned,
    inputs: ClinicalInputs,
    *,
    paths: int,
    horizon: int,
    seed: int,
) -> np.ndarray:
    """Enrolled (paths, G, horizon) with rates of the screened where a site reports them.

    Every path's screened fail with its own share. No target, no capacity.
    """
    panel, funnel = known.panel, known.funnel
    yields = funnel.yields(panel)
    size = {"paths": paths, "horizon": horizon, "seed": seed}
    rates = sample_rates(fit_rates(panel, yields, seed=seed), panel, **size)
    passing = 1.0 - funnel.fail[np.arange(paths) % len(funnel.fail)][:, panel.study_of]
    counted = np.where(yields < 1.0, passing / yields, 1.0)  # the screened are what was learned
    rates = replace(rates, open=rates.open * counted[:, :, None].astype(np.float32))
    events = sample_events(inputs, panel, **size)
    openings = sample_activation(known.activation, inputs, panel, stretch=events.stretch, **size)
    counts = site_counts(panel, rates, funnel, openings, events, cycle=inputs.cycle, **size)
    total: np.ndarray = counts.from_stock.astype(np.int64) + counts.from_new
    return total


def of_the_enrolled(known: Learned, *, seed: int) -> Learned:
    """Rates of the enrolled in all months: the product's until the simulated trials were seen."""
    ones = np.ones(len(known.panel.sites))
    return replace(known, rates=fit_rates(known.panel, ones, seed=seed))


def with_delayed_exposure(known: Learned, *, seed: int) -> Learned:
    """Rates of the enrolled, a site's first months counting as far as its patients may have come.

    Enrolled of a month were screened in it and in those before: expected are the rate times the
    exposure of these months, each weighted by the chance of that delay.
    """
    panel, chance = known.panel, known.funnel.delay.mean(axis=0)
    months = len(panel.months)
    delayed = np.zeros_like(panel.exposure)
    for delay, share in enumerate(chance[:months]):
        delayed[:, delay:] += share * panel.exposure[:, : months - delay]
    counts = known.funnel.reports[:, None] & (panel.exposure > 0)
    seen = replace(panel, exposure=np.where(counts, delayed, panel.exposure))
    return replace(known, rates=fit_rates(seen, np.ones(len(panel.sites)), seed=seed))
