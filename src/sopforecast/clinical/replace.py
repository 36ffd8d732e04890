"""Named patients take the place of those the site model expects: tiers replace, they never add.

Tiers and site model describe the same patients. ``committed`` and ``highly_probable`` patients are
in screening or wait to start: one by one they stand for the site's stock, up to as many as it
holds. The others, and every ``pipeline`` patient, stand for patients whom the site model expects to
be screened later, in the months in which they are expected to convert.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from sopforecast.clinical.inputs import ClinicalInputs
from sopforecast.clinical.panel import SitePanel
from sopforecast.clinical.paths import SiteCounts
from sopforecast.clinical.simulate import thin
from sopforecast.clinical.tier_paths import LinePaths
from sopforecast.core.clinical_tables import TIERS
from sopforecast.core.draws import series_rng

_LARGEST_COUNT = np.iinfo(np.int16).max


def with_lines(
    counts: SiteCounts,
    lines: LinePaths,
    inputs: ClinicalInputs,
    panel: SitePanel,
    *,
    stock: np.ndarray,
    seed: int,
) -> SiteCounts:
    """Let listed patients replace the model's own.

    Parameters
    ----------
    counts : SiteCounts
        Of the site model alone.
    lines : LinePaths
        Of all open lines; account lines are left alone.
    inputs, panel
        Of the same cycle.
    stock : ndarray (G,)
        Patients in screening at the cut-off; NaN or 0: none known.
    seed : int

    Returns
    -------
    SiteCounts
        ``counts`` itself where no study line is open.

    Notes
    -----
    With K in stock and k of them named, the rest keep (K - k) / K of the model's ``from_stock``
    and the named follow their own draws. Of named patients beyond the stock, let ``e`` be the
    expected conversions of a month and ``m`` the model's mean of ``from_new``: ``from_new`` keeps
    ``1 - e / m``; what ``e`` exceeds ``m`` by is taken from the nearest months that have something
    left, so the site's mean rises only by what the months together cannot give. Thinned counts
    stay Poisson (binomial thinning), named ones are counted exactly.

    A line without a site is at each site of its study with a chance in proportion to the model's
    mean. Nobody enrols before the site opens in that path. Patients beyond the model's
    expectation are screened too, with as many failures each as the site's others have.
    """
    frame = lines.frame
    if inputs.tier_lines.is_empty() or frame["study"].null_count() == frame.height:
        return counts
    horizon = counts.screened.shape[2]
    mean = counts.from_new.mean(axis=0), counts.from_stock.mean(axis=0)
    share = _share_of_sites(frame, panel, (mean[0] + mean[1]).sum(axis=1))
    held = np.nan_to_num(np.maximum(stock.astype(float), 0.0))
    in_stock, named_stock = _from_stock(frame, share, held)
    old = np.zeros_like(counts.from_stock)
    new = np.zeros_like(counts.from_new)
    for k in np.flatnonzero(share.any(axis=1)):
        _add_line(old, new, counts, lines, int(k), share[k], in_stock[k], horizon, seed)
    expected = new.mean(axis=0)
    taken = _carried(expected, mean[0])
    screened = _more_screened(counts, panel, new, expected - _given(expected, taken), seed)
    keep_stock = 1.0 - np.divide(named_stock, held, out=np.zeros_like(held), where=held > 0)
    keep_new = 1.0 - np.divide(taken, mean[0], out=np.zeros_like(taken), where=mean[0] > 0)
    for g in np.flatnonzero(share.any(axis=0)):
        rng = series_rng(seed, "replaced", *panel.sites[g])
        kept = thin(counts.from_stock[:, g], keep_stock[g], rng)
        old[:, g] = np.minimum(old[:, g] + kept, _LARGEST_COUNT)
        kept = thin(counts.from_new[:, g], np.broadcast_to(keep_new[g], new[:, g].shape), rng)
        new[:, g] = np.minimum(new[:, g] + kept, _LARGEST_COUNT)
    bare = ~share.any(axis=0)
    old[:, bare], new[:, bare] = counts.from_stock[:, bare], counts.from_new[:, bare]
    return replace(counts, screened=screened, from_stock=old, from_new=new)


def _share_of_sites(frame: pl.DataFrame, panel: SitePanel, mean: np.ndarray) -> np.ndarray:
    """Chance (L, G) that a line is at a site; no site at all for account lines."""
    share = np.zeros((frame.height, len(panel.sites)))
    place = {key: g for g, key in enumerate(panel.sites)}
    for k, (study, site) in enumerate(frame.select("study", "site").iter_rows()):
        if study is None or study not in panel.studies:
            continue
        if (study, site) in place:
            share[k, place[study, site]] = 1.0
            continue
        mine = panel.study_of == panel.studies.index(study)
        weight = np.where(mine, mean, 0.0)
        weight = weight if weight.sum() > 0 else mine.astype(float)
        share[k] = weight / max(weight.sum(), 1e-300)
    return share


def _from_stock(
    frame: pl.DataFrame, share: np.ndarray, stock: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Part (L, G) of each line that stands for stock, and how many patients (G,) they are.

    Committed patients first, then highly probable ones, in the order of their ids.
    """
    patients = np.rint(frame["quantity"].to_numpy())
    tier = np.array([TIERS.index(name) for name in frame["tier"].cast(pl.String)], dtype=int)
    part, left = np.zeros_like(share), stock.copy()
    for k in sorted(np.flatnonzero(tier < 2), key=lambda k: (tier[k], frame["line_id"][int(k)])):
        wanted = patients[k] * share[k]
        got = np.minimum(wanted, left)
        part[k] = np.divide(got, wanted, out=np.zeros_like(got), where=wanted > 0)
        left -= got
    return part, stock - left


def _add_line(
    old: np.ndarray,
    new: np.ndarray,
    counts: SiteCounts,
    lines: LinePaths,
    k: int,
    share: np.ndarray,
    in_stock: np.ndarray,
    horizon: int,
    seed: int,
) -> None:
    """Add the patients of line k to those from stock or to those from new screening, in place."""
    rng = series_rng(seed, "line site", lines.frame["line_id"][k])
    paths = np.arange(len(lines.month))
    site = np.searchsorted(np.cumsum(share)[:-1], rng.random(len(paths)), side="right")
    from_stock = rng.random(len(paths)) < in_stock[site]
    month = np.maximum(lines.month[:, k], counts.activated[paths, site])
    patients = np.rint(lines.amount[:, k]).astype(np.int16)
    for into, which in ((old, from_stock), (new, ~from_stock)):
        at = np.flatnonzero(which & (month < horizon))
        into[at, site[at], month[at]] += patients[at]


def _carried(expected: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """What named patients (G, H) take from the model's mean (G, H): the same month's, or nearby.

    Nearest months first, the earlier before the later.
    """
    taken = np.minimum(expected, mean)
    wanting, left = expected - taken, mean - taken
    horizon = mean.shape[1]
    for apart in range(1, horizon):
        for way in (-apart, apart):
            for h in range(max(0, -way), min(horizon, horizon - way)):
                more = np.minimum(wanting[:, h], left[:, h + way])
                wanting[:, h] -= more
                left[:, h + way] -= more
                taken[:, h + way] += more
    return taken


def _given(expected: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """Expected named patients (G, H) that found somebody to replace, in the same proportion."""
    total = expected.sum(axis=1, keepdims=True)
    ratio = np.divide(
        taken.sum(axis=1, keepdims=True), total, out=np.ones_like(total), where=total > 0
    )
    return expected * np.minimum(ratio, 1.0)


def _more_screened(
    counts: SiteCounts, panel: SitePanel, new: np.ndarray, excess: np.ndarray, seed: int
) -> np.ndarray:
    """Screened (S, G, H), and more where more are named than the model expected to screen."""
    expected = new.mean(axis=0)
    screened = counts.screened.copy()
    came, enrolled = (
        counts.screened.sum(axis=(0, 2), dtype=float),
        counts.from_new.sum(axis=(0, 2), dtype=float),
    )
    for g in np.flatnonzero(excess.sum(axis=1) > 1e-9):
        rng = series_rng(seed, "screened beyond", *panel.sites[g])
        beyond = thin(new[:, g], float(excess[g].sum() / expected[g].sum()), rng)
        mine = panel.study_of == panel.study_of[g]
        of = [g] if enrolled[g] > 0 else mine
        failing = came[of].sum() / max(enrolled[of].sum(), 1.0) - 1.0
        more = beyond + rng.poisson(np.maximum(failing, 0.0) * beyond)
        screened[:, g] = np.minimum(screened[:, g] + more, _LARGEST_COUNT)
    return screened
