"""When the sites that are not open yet will be: slips learned, sampled as opening days.

Reads ``studies``, ``sites`` and ``enrolment``. A site's planned date is not when it opens: how much
later sites open, and whether they do at all, is learned over the workspace; sites overdue are
censored, never dropped. Somebody's range for a site is a prior for that site, taken as good as
such ranges have been.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sopforecast.clinical.activation_fit import fit_law
from sopforecast.clinical.activation_law import UNCONDITIONED, SlipLaw, log_survival, sample_beyond
from sopforecast.clinical.activation_ranges import fit_ranges, stated_law
from sopforecast.clinical.activation_record import (
    GIVEN_UP,
    OPENED,
    WAITING,
    ActivationRecord,
    activation_record,
    record_notes,
)
from sopforecast.clinical.inputs import ClinicalInputs
from sopforecast.clinical.panel import SitePanel
from sopforecast.clinical.paths import NEVER
from sopforecast.core.draws import series_rng
from sopforecast.core.months import add_months

POSTERIOR_DRAWS = 200
GROUPS = ("study", "country")
LONGEST_DAYS = 100_000.0
PARAMETERS = (
    "centre", "spread", "wait", "opens", "group", "shift",
    "range_bias", "range_scale", "range_weight",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Activation:
    """What was learned of activation; R posterior draws.

    Attributes
    ----------
    centre, spread, wait : ndarray (R,)
        The slip in days: Normal(centre, spread) + Exponential(wait).
    opens : ndarray (R,)
        Chance that a planned site opens at all, where none is given.
    group : ndarray (R,)
        0: ``shift`` is by study, 1: by country (the same in all draws).
    shift : ndarray (R, n_groups)
        Days added to the centre for a study or country, names sorted.
    range_bias, range_scale, range_weight : ndarray (R,)
        A stated range's centre is off by ``range_bias`` of its own sd and its sd is to be
        multiplied by ``range_scale``; it rules with ``range_weight``, the learned slip otherwise.
    studies : tuple of str
    seen, overdue, given_up : ndarray of int (n_studies,)
        Sites with a known slip; planned, past their date and not open; closed before they opened.
    ranges_seen : int
        Sites with a known slip that had a range.
    slip : ndarray (n_studies, 3)
        10%, 50% and 90% of the slip of a site of the study, in days.
    notes : tuple of str
    """

    centre: np.ndarray
    spread: np.ndarray
    wait: np.ndarray
    opens: np.ndarray
    group: np.ndarray
    shift: np.ndarray
    range_bias: np.ndarray
    range_scale: np.ndarray
    range_weight: np.ndarray
    studies: tuple[str, ...]
    seen: np.ndarray
    overdue: np.ndarray
    given_up: np.ndarray
    ranges_seen: int
    slip: np.ndarray
    notes: tuple[str, ...]

    def parameters(self) -> dict[str, np.ndarray]:
        """Posterior draws, first axis R, from which `rebuild_activation` makes the same."""
        return {name: np.asarray(getattr(self, name), dtype=np.float64) for name in PARAMETERS}


@dataclass(frozen=True, eq=False)
class Openings:
    """Sampled openings of the panel's sites.

    Attributes
    ----------
    month : ndarray of int16 (S, G)
        0 is the cycle month; -1 open before it; the horizon or more: later; ``NEVER``: not at all.
    first_share : ndarray of float32 (S, G)
        Share of that month the site is open, its first day counted; 1 where open already, 0 where
        never.
    date_ordinal : ndarray of int32 (S, G)
        The day, as ``date.toordinal``; 0 where open already or never.
    """

    month: np.ndarray
    first_share: np.ndarray
    date_ordinal: np.ndarray


def fit_activation(
    inputs: ClinicalInputs, *, seed: int, draws: int = POSTERIOR_DRAWS
) -> Activation:
    """Learn slips, and the chance to open at all, over all studies of the workspace.

    Parameters
    ----------
    inputs : ClinicalInputs
    seed : int
    draws : int
        R.

    Returns
    -------
    Activation

    Notes
    -----
    Studies, or countries, differ by a shift of the centre, partially pooled; whichever of the two
    explains the slips better is used.
    """
    record = activation_record(inputs)
    parameters = fit_law(record, draws=draws, rng=series_rng(seed, "activation", "law"))
    rng = series_rng(seed, "activation", "ranges")
    parameters |= fit_ranges(record, parameters, draws=draws, rng=rng)
    return rebuild_activation(parameters, inputs)


def rebuild_activation(parameters: dict[str, np.ndarray], inputs: ClinicalInputs) -> Activation:
    """Make the same of stored posterior draws and the inputs they were learned from."""
    record = activation_record(inputs)
    studies, study_of = record.groups["study"]

    def count(is_one: np.ndarray) -> np.ndarray:
        return np.bincount(study_of[is_one], minlength=len(studies))

    known = record.is_state(OPENED) & ~np.isnan(record.slip)
    return Activation(
        **{name: parameters[name] for name in PARAMETERS},
        studies=studies,
        seen=count(known),
        overdue=count(record.is_state(WAITING) & (record.elapsed >= 0)),
        given_up=count(record.is_state(GIVEN_UP)),
        ranges_seen=int((known & record.has_range).sum()),
        slip=_study_slips(record, parameters),
        notes=record_notes(record),
    )


def sample_activation(
    fit: Activation,
    inputs: ClinicalInputs,
    panel: SitePanel,
    *,
    paths: int,
    horizon: int,
    seed: int,
    stretch: np.ndarray | None = None,
) -> Openings:
    """Draw when every site of the panel opens.

    Parameters
    ----------
    fit : Activation
    inputs : ClinicalInputs
    panel : SitePanel
    paths, horizon : int
        S, H.
    seed : int
    stretch : ndarray (S, G), optional
        Multiplies the days from the last day before the cycle to the opening.

    Notes
    -----
    Given that a site had not opened before the cycle, only the remaining tail of its slip is
    left, and a chance p of opening becomes ``p s / (p s + 1 - p)``. A learned p is that of a site
    when it is planned, s the probability of not having opened by now. A given
    ``activation_probability`` is taken to hold as of the planned date: it stands as it is while
    that date is ahead, and falls as the site is overdue. Path ``s`` uses posterior draw s mod R.
    A site with neither an opening nor a planned date never opens, unless its status is ``planned``
    and its study's first patient is ahead: then that day is its planned date.
    """
    record = activation_record(inputs)
    row_of = {key: row for row, key in enumerate(record.sites)}
    month = np.full((paths, len(panel.sites)), NEVER, dtype=np.int16)
    day = np.zeros(month.shape, dtype=np.int32)
    month[:, panel.opened >= 0] = -1
    for site in np.flatnonzero(panel.opened < 0):
        row = row_of.get(panel.sites[site])
        if row is None:
            continue
        if record.state[row] == OPENED:
            month[:, site] = -1
            if record.opened[row] > record.last_day:  # known: in the cycle's own days
                day[:, site] = int(record.opened[row])
        if record.state[row] != WAITING:
            continue
        rng = series_rng(seed, "activation", *panel.sites[site])
        slip = _sample_site(fit, record, row, paths=paths, rng=rng)
        opens = np.isfinite(slip)
        ahead = np.where(opens, slip, 0.0) - record.elapsed[row]
        if stretch is not None:
            ahead = ahead * stretch[:, site]
        ahead = np.clip(np.ceil(ahead), 1.0, LONGEST_DAYS)
        day[:, site] = np.where(opens, record.last_day + ahead, 0.0).astype(np.int32)
    return _openings(month, day, inputs, horizon=horizon)


def _sample_site(
    fit: Activation, record: ActivationRecord, row: int, *, paths: int, rng: np.random.Generator
) -> np.ndarray:
    """Slip of a waiting site in days (S,), beyond what has elapsed; inf: it never opens."""
    draw = np.arange(paths) % len(fit.centre)
    elapsed = np.array(record.elapsed[row])
    learned = _site_law(fit.parameters(), record, row)
    laws, chances = [learned], [np.ones(len(fit.centre))]
    if record.has_range[row]:
        stated = stated_law(
            record.low[row], record.high[row], bias=fit.range_bias, scale=fit.range_scale
        )
        laws, chances = [stated, learned], [fit.range_weight, 1.0 - fit.range_weight]
    left = [np.exp(log_survival(law, elapsed)) for law in laws]
    lasting = sum(chance * each for chance, each in zip(chances, left, strict=True))
    opens = _chance_to_open(fit, record, row, laws, chances, np.asarray(lasting))
    uniform = (rng.permutation(paths) + rng.random(paths)) / paths  # so that shares are met
    by_range = rng.random(paths)
    first = chances[0] * left[0] / np.maximum(lasting, 1e-300)
    slip = sample_beyond(laws[-1].at(draw), elapsed, rng)
    if len(laws) > 1:
        slip = np.where(by_range < first[draw], sample_beyond(laws[0].at(draw), elapsed, rng), slip)
    return np.where(uniform < opens[draw], slip, np.inf)


def _chance_to_open(
    fit: Activation,
    record: ActivationRecord,
    row: int,
    laws: list[SlipLaw],
    chances: list[np.ndarray],
    lasting: np.ndarray,
) -> np.ndarray:
    """Chance that a site opens at all (R,), given that it had not opened before the cycle."""
    given = record.probability[row]
    if np.isnan(given):
        chance, still = fit.opens, lasting
    elif record.elapsed[row] <= 0:
        return np.full(len(fit.centre), given)
    else:
        at_plan = [np.exp(log_survival(law, np.array(0.0))) for law in laws]
        planned = sum(c * each for c, each in zip(chances, at_plan, strict=True))
        chance, still = given, lasting / np.maximum(planned, 1e-300)
    odds: np.ndarray = chance * still / np.maximum(chance * still + 1.0 - chance, 1e-300)
    return odds


def _site_law(parameters: dict[str, np.ndarray], record: ActivationRecord, row: int) -> SlipLaw:
    """Learned law of a site's slip (R,)."""
    _, index = record.groups[GROUPS[int(parameters["group"][0])]]
    centre = parameters["centre"] + parameters["shift"][:, index[row]]
    return SlipLaw(centre, parameters["spread"], parameters["wait"])


def _openings(
    month: np.ndarray, day: np.ndarray, inputs: ClinicalInputs, *, horizon: int
) -> Openings:
    """Turn days into months and the share of the first month."""
    starts = np.array([add_months(inputs.cycle, ahead).toordinal() for ahead in range(horizon + 1)])
    opens = day > 0
    within = np.searchsorted(starts, day, side="right") - 1
    within = np.where(opens, np.clip(within, 0, horizon), 0)
    lengths = np.diff(starts, append=starts[-1] + 30)
    share = np.clip((starts[within] + lengths[within] - day) / lengths[within], 0.0, 1.0)
    month = np.where(opens, within, month).astype(np.int16)
    first_share = np.where(opens, share, np.where(month == -1, 1.0, 0.0)).astype(np.float32)
    return Openings(month=month, first_share=first_share, date_ordinal=day)


def _study_slips(record: ActivationRecord, parameters: dict[str, np.ndarray]) -> np.ndarray:
    """10%, 50% and 90% of the slip by study, over its sites and the draws, in days."""
    studies, study_of = record.groups["study"]
    rows = [np.flatnonzero(study_of == study) for study in range(len(studies))]
    out = np.empty((len(studies), 3))
    for study, mine in enumerate(rows):
        rng = series_rng(0, "activation", "slip", studies[study])
        laws = [_site_law(parameters, record, row) for row in mine[:50]]
        slips = [sample_beyond(law, UNCONDITIONED, rng) for law in laws for _ in range(3)]
        out[study] = np.quantile(np.concatenate(slips), [0.1, 0.5, 0.9])
    return out
