"""Simulated companies: forty items, two models, shared months, and what both procedures lose.

Demand is ``mean x (1 + common shock of the month + own noise)``; the mean has level and season. A
model knows the mean up to an error of its own that changes slowly, and one of the cycle. A forecast
is draws around the weighted mean of both models. Losses are those of a contest: the weighted
interval score over demand, of items, of segments and of the whole, added and divided by three.
What contests of widths compare is `learning.losses.width_losses`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sopforecast.core.draws import QUANTILES, quantile_view, series_rng
from sopforecast.learning.losses import width_losses

ITEMS, SEGMENTS, MODELS = 40, ("smooth", "seasonal"), ("model_a", "model_b")
BEFORE, CYCLES, LEADS = 12, 30, 3  # months of backtest, cycles walked, months looked at
MONTHS = BEFORE + CYCLES + LEADS - 1
DRAWS = 160
LEVELS = np.array([level for _, level in QUANTILES])

Widths = tuple[float, np.ndarray, np.ndarray]
"""By what the common loading, own ones (B,) and each month ahead (L,) are multiplied."""


@dataclass(frozen=True)
class Truth:
    """What is true of a company's forecasts, and unknown to it.

    Attributes
    ----------
    ratio : tuple of float
        Real size of errors over the width of the forecast's ranges, before and from ``turn`` on.
    model_sd : tuple of tuple of float
        Size of the models' own errors, as a share of the mean: in the months of the backtest, in
        live ones, and from ``turn`` on.
    persistence : float
        Share of a model's error that stays from month to month.
    turn : int
        Live month (0 is that of the first cycle) in which things change.
    """

    ratio: tuple[float, float] = (1.0, 1.0)
    model_sd: tuple[tuple[float, float], ...] = ((0.15, 0.15), (0.15, 0.15), (0.15, 0.15))
    persistence: float = 0.7
    turn: int = CYCLES + LEADS


@dataclass(frozen=True)
class Company:
    """One company: arrays over items (B), months (T), cycles (C), leads (L) and models (M).

    ``demand`` (B, T); ``paths`` (M, B, C, L) forecasts of live cycles and ``backtest`` (M, B,
    BEFORE) of the months before; ``common_sd`` and ``own_sd`` (B,) the widths of its ranges as a
    share of the forecast; ``segment`` (B,) index; ``common`` (S, L) and ``own`` (S, B, L) are
    standard normal draws.
    """

    demand: np.ndarray
    paths: np.ndarray
    backtest: np.ndarray
    segment: np.ndarray
    common_sd: float
    own_sd: np.ndarray
    common: np.ndarray
    own: np.ndarray

    def actual(self, cycle: int) -> np.ndarray:
        """Demand (B, L) of the months a cycle looked at."""
        start = BEFORE + cycle
        return self.demand[:, start : start + LEADS]

    def views(self, cycle: int, weights: np.ndarray, widths: Widths) -> list[np.ndarray]:
        """Quantiles (Q, N, L) of a cycle's forecast: of items, of segments, of the whole.

        ``weights`` (M, B) of the models.
        """
        centre = np.einsum("mb,mbl->bl", weights, self.paths[:, :, cycle])
        factor_common, factor_own, factor_lead = widths
        spread = factor_common * self.common_sd * self.common[:, None]
        spread = spread + (factor_own * self.own_sd)[:, None] * self.own
        draws = np.maximum(centre * (1.0 + factor_lead * spread), 0.0)
        return [np.array(list(quantile_view(part).values())) for part in self.levels(draws)]

    def levels(self, cells: np.ndarray) -> list[np.ndarray]:
        """Items, segments and the whole of (..., B, L): sums over items."""
        of_segments = [cells[..., self.segment == k, :].sum(axis=-2) for k in range(len(SEGMENTS))]
        return [cells, np.stack(of_segments, axis=-2), cells.sum(axis=-2, keepdims=True)]

    def loss(self, cycle: int, weights: np.ndarray, widths: Widths) -> np.ndarray:
        """Loss (L,) of a cycle's forecast."""
        views = self.views(cycle, weights, widths)
        return level_loss(self.levels(self.actual(cycle)), views)


def level_loss(actual: list[np.ndarray], views: list[np.ndarray]) -> np.ndarray:
    """Mean over levels of WIS over demand, (L,); actual (N, L) and quantiles (Q, N, L) a level."""
    parts = []
    for y, view in zip(actual, views, strict=True):
        gap = y - view
        pinball = np.maximum(LEVELS[:, None, None] * gap, (LEVELS[:, None, None] - 1.0) * gap)
        parts.append(2.0 * pinball.mean(axis=0).sum(axis=0) / np.abs(y).sum(axis=0))
    return np.mean(parts, axis=0)


def of_widths(
    actual: list[np.ndarray], cold: list[np.ndarray], other: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """How far both ranges are from holding 80%, (L,) each; arguments as of ``level_loss``."""
    y, *views = (np.concatenate(part, axis=-2) for part in (actual, cold, other))
    levels = [str(k) for k, part in enumerate(actual) for _ in part]
    found = []
    for lead in range(LEADS):
        ranges = [
            {label: view[q, :, lead] for q, (label, _) in enumerate(QUANTILES)} for view in views
        ]
        found.append([loss.loss for loss in width_losses(y[:, lead], *ranges, levels)])
    lost = np.array(found)
    return lost[:, 0], lost[:, 1]


def make_company(seed: int, truth: Truth) -> Company:
    """Draw one company; the same seed has the same items and shocks whatever is true of it."""
    rng = series_rng(seed, "company")
    month = np.arange(MONTHS)
    segment = (np.arange(ITEMS) % 3 == 2).astype(np.int64)
    level = np.exp(rng.normal(5.0, 1.0, ITEMS))
    height = np.where(segment == 1, 0.4, 0.05)
    phase = rng.uniform(0, 2 * np.pi, ITEMS)
    season = 1.0 + height[:, None] * np.sin(2 * np.pi * month / 12 + phase[:, None])
    mean = level[:, None] * season
    common_sd, noise_sd = 0.06, rng.uniform(0.15, 0.4, ITEMS)
    live = month - BEFORE
    ratio = np.where(live < truth.turn, *truth.ratio)
    shock = common_sd * persistent(rng, (), 0.4)
    noise = noise_sd[:, None] * persistent(rng, (ITEMS,), 0.2)
    demand = np.rint(np.maximum(mean * (1.0 + ratio * (shock + noise)), 0.0))
    phase = (live >= 0).astype(np.int64) + (live >= truth.turn)
    sd = np.array(truth.model_sd)[phase]  # (T, M)
    slow = persistent(rng, (len(MODELS), ITEMS), truth.persistence) * sd.T[:, None]
    fresh = rng.standard_normal((len(MODELS), ITEMS, CYCLES))
    windows = np.lib.stride_tricks.sliding_window_view
    ahead = windows(mean, LEADS, axis=1)[:, BEFORE : BEFORE + CYCLES]
    wrong = windows(slow, LEADS, axis=2)[:, :, BEFORE : BEFORE + CYCLES]
    of_cycle = 0.3 * fresh * sd.T[:, None, BEFORE : BEFORE + CYCLES]
    own_sd = np.hypot(noise_sd, np.mean(truth.model_sd[0]) / np.sqrt(2))
    return Company(
        demand=demand,
        paths=ahead * (1.0 + wrong + of_cycle[..., None]),
        backtest=mean[:, :BEFORE] * (1.0 + slow[:, :, :BEFORE]),
        segment=segment,
        common_sd=common_sd,
        own_sd=own_sd,
        common=_standard(rng, (DRAWS, LEADS)),
        own=_standard(rng, (DRAWS, ITEMS, LEADS)),
    )


def persistent(rng: np.random.Generator, shape: tuple[int, ...], stays: float) -> np.ndarray:
    """Paths (..., T) of sd 1 of which a share ``stays`` from month to month."""
    fresh = rng.standard_normal((*shape, MONTHS))
    path = np.empty_like(fresh)
    path[..., 0] = fresh[..., 0]
    for t in range(1, MONTHS):
        path[..., t] = stays * path[..., t - 1] + np.sqrt(1 - stays**2) * fresh[..., t]
    return path


def _standard(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    draws = rng.standard_normal(shape)
    return (draws - draws.mean(axis=0)) / draws.std(axis=0)
