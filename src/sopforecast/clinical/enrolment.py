"""The site model of enrolment: one model over all studies, from counts to sampled rates.

Reads a `SitePanel`; returns rates as paths. Sites differ, drift with age, fall silent and come back
(`rate_chain`); what is believed before data is in `rate_prior`, how it is learned in
`rate_posterior`, how the future is drawn in `rate_paths`. The textbook model, a gamma-distributed
constant rate a site (Anisimov and Fedorov 2007, Statistics in Medicine 26), has none of these
movements, and is far too sure of itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sopforecast.clinical.panel import SitePanel
from sopforecast.clinical.rate_chain import Filtered, filter_rates
from sopforecast.clinical.rate_observed import Observed, counted_of, observe
from sopforecast.clinical.rate_paths import sample_shocks, sample_site_rates
from sopforecast.clinical.rate_posterior import find_posterior, in_batches
from sopforecast.clinical.rate_prior import natural
from sopforecast.core.draws import series_rng

_USUAL_TOGETHER = 0.5
"""Choice: correlation of monthly shocks between countries of a study, before data say otherwise."""
_WORTH_MONTHS = 24.0
"""Choice: what that is worth, in months seen by two countries."""


@dataclass(frozen=True, eq=False)
class Rates:
    """Sampled rates of sites.

    Attributes
    ----------
    open : ndarray of float32 (S, G, H)
        Expected patients per fully open calendar month of sites open at the cycle; else 0.
    fresh : ndarray of float32 (S, G, H)
        The same of sites that have not opened, by months since their opening; else 0.
    shock : ndarray of float32 (S, K, H)
        Factor by calendar month shared by the sites of a group; not in the other two.
    group_of : ndarray of int (G,)
        Group of each site: its study and country.
    """

    open: np.ndarray
    fresh: np.ndarray
    shock: np.ndarray
    group_of: np.ndarray


@dataclass(frozen=True, eq=False)
class SiteEvidence:
    """What the data say of each site (G,), in the order of the panel.

    ``months_seen`` with a count, ``counted`` patients in them, ``rate`` expected now in patients
    enrolled a month (0 once closed; a new site's for one not open), ``silent`` the probability that
    it has fallen silent.
    """

    months_seen: np.ndarray
    counted: np.ndarray
    rate: np.ndarray
    silent: np.ndarray


@dataclass(frozen=True, eq=False)
class RateFit:
    """Posterior draws of the site model and what it says of every site at the end of the data.

    Attributes
    ----------
    hyper : ndarray (R, P)
        Hyperparameters ``rate_prior.NAMES``, in prior standard deviations.
    group : ndarray (R, K)
        Deviation of each group's log rate.
    together : ndarray (R,)
        Correlation of monthly shocks between the groups of a study.
    seen : Observed
    filtered : Filtered
        By draw, for the last month of the data.
    evidence : SiteEvidence
    notes : tuple of str
    """

    hyper: np.ndarray
    group: np.ndarray
    together: np.ndarray
    seen: Observed
    filtered: Filtered
    evidence: SiteEvidence
    notes: tuple[str, ...]

    def parameters(self) -> dict[str, np.ndarray]:
        """All that `rebuild_rates` needs beside the panel and the yields."""
        return {"hyper": self.hyper, "group": self.group, "together": self.together}


def fit_rates(panel: SitePanel, yields: np.ndarray, *, seed: int) -> RateFit:
    """Learn the rates of all sites of the workspace.

    Parameters
    ----------
    panel : SitePanel
    yields : ndarray (G,)
        Expected enrolled per counted patient: 1 where enrolment is counted, below 1 where those
        screened are. Rates are in enrolled patients a fully open month.
    seed : int
    """
    seen = observe(panel, yields)
    found = find_posterior(seen, rng=series_rng(seed, "enrolment", "rates"))
    filtered = _filter(found.hyper, found.group, seen)
    together = np.full(len(found.hyper), _moves_together(filtered, seen))
    return _fit(found.hyper, found.group, together, seen, filtered, panel, yields)


def rebuild_rates(
    parameters: dict[str, np.ndarray], panel: SitePanel, yields: np.ndarray
) -> RateFit:
    """Make the fit again from its parameters: filters, learns nothing, samples the same bytes."""
    seen = observe(panel, yields)
    hyper, group = parameters["hyper"], parameters["group"]
    filtered = _filter(hyper, group, seen)
    return _fit(hyper, group, parameters["together"], seen, filtered, panel, yields)


def sample_rates(fit: RateFit, panel: SitePanel, *, paths: int, horizon: int, seed: int) -> Rates:
    """Sample ``paths`` futures of every site over ``horizon`` months from the cycle on.

    Path s follows posterior draw s mod R; what is drawn does not depend on the number of paths.
    """
    seen, months = fit.seen, len(panel.months)
    hyper = natural(fit.hyper)
    may_enrol = panel.closed[seen.order] == months
    has_opened = seen.opened < months
    out = {}
    for name, which in (("open", has_opened & may_enrol), ("fresh", ~has_opened & may_enrol)):
        at = np.flatnonzero(which)
        rates = np.zeros((paths, len(seen.order), horizon), dtype=np.float32)
        rates[:, seen.order[at]] = sample_site_rates(
            hyper, fit.group, seen, fit.filtered.sites,
            which=at, age=months - seen.opened[at], paths=paths, horizon=horizon,
            seed=seed, name=name,
        )  # fmt: skip
        out[name] = rates
    shock = sample_shocks(
        hyper, seen, fit.filtered, fit.together, paths=paths, horizon=horizon, seed=seed
    )
    group_of = np.empty(len(seen.order), dtype=np.int64)
    group_of[seen.order] = seen.group_of
    return Rates(open=out["open"], fresh=out["fresh"], shock=shock, group_of=group_of)


def _filter(hyper: np.ndarray, group: np.ndarray, seen: Observed) -> Filtered:
    parts: list[Filtered] = []

    def block(part: slice) -> np.ndarray:
        parts.append(filter_rates(natural(hyper[part]), group[part], seen))
        return parts[-1].fit

    in_batches(len(hyper), seen, block)
    return Filtered(
        fit=np.concatenate([part.fit for part in parts]),
        sites=np.concatenate([part.sites for part in parts]),
        shocks=np.concatenate([part.shocks for part in parts]),
        shock_means=np.concatenate([part.shock_means for part in parts]),
    )


def _moves_together(filtered: Filtered, seen: Observed) -> float:
    """Correlation of the monthly changes of shocks within studies, shrunk to the usual one."""
    change = np.diff(filtered.shock_means.mean(axis=0), axis=0)  # (T - 1, K)
    product = size = months = 0.0
    for a in range(len(seen.group_study)):
        for b in range(a):
            both = (change[:, a] != 0) & (change[:, b] != 0)
            if seen.group_study[a] != seen.group_study[b] or not both.any():
                continue
            one, other = change[both, a], change[both, b]
            product += float(one @ other)
            size += float(np.sqrt((one @ one) * (other @ other)))
            months += float(both.sum())
    found = product / size if size > 0 else 0.0
    shrunk = _USUAL_TOGETHER * _WORTH_MONTHS + months * found
    return float(np.clip(shrunk / (_WORTH_MONTHS + months), 0.0, 0.95))


def _fit(
    hyper: np.ndarray,
    group: np.ndarray,
    together: np.ndarray,
    seen: Observed,
    filtered: Filtered,
    panel: SitePanel,
    yields: np.ndarray,
) -> RateFit:
    evidence = _evidence(seen, filtered, panel, yields)
    return RateFit(
        hyper=hyper,
        group=group,
        together=together,
        seen=seen,
        filtered=filtered,
        evidence=evidence,
        notes=_notes(evidence, panel),
    )


def _evidence(
    seen: Observed, filtered: Filtered, panel: SitePanel, yields: np.ndarray
) -> SiteEvidence:
    counts, _ = counted_of(panel, yields)
    factor = (filtered.shocks @ np.exp(seen.nodes))[:, seen.group_of]
    expected = (filtered.sites[..., :-1] @ np.exp(seen.levels) * factor).mean(axis=0)
    back = np.argsort(seen.order)
    closed = panel.closed < len(panel.months)
    return SiteEvidence(
        months_seen=(~np.isnan(counts)).sum(axis=1),
        counted=np.nansum(counts, axis=1),
        rate=np.where(closed, 0.0, expected[back]),
        silent=filtered.sites[..., -1].mean(axis=0)[back],
    )


def _notes(evidence: SiteEvidence, panel: SitePanel) -> tuple[str, ...]:
    months, patients = int(evidence.months_seen.sum()), int(evidence.counted.sum())
    sites = int((evidence.months_seen > 0).sum())
    notes = [
        f"Rates of sites: {patients:,} patients counted in {months:,} months of {sites} sites (at "
        "screening in a site's first two months, where that is told)."
    ]
    if patients < 100:
        notes.append("Few patients so far: what is usual of trials counts for more than the data.")
    planned = int((panel.opened < 0).sum())
    if planned and sites == 0:
        notes.append("No site has counted anybody: rates are planned or usual ones, widely drawn.")
    return tuple(notes)
