"""The global learner: one scikit-learn model over the whole portfolio, refitted at every origin.

Two forms, both histogram gradient boosting (least absolute error, so that one freak item does not
bend the rest) on the features of ``baseline.features``:

``Boosting``      predicts log demand relative to the series' own smoothed level and season;
``BoostedTheta``  corrects the mean of DOT and DampedETS, learning from their out-of-sample errors
                  where they go wrong together.

A learner at an origin is trained only on months before that origin. It sees every month ahead in
one model (lead is a feature). Pooling across series: Montero-Manso and Hyndman (2021), IJF 37.

What a learner says from an origin follows from its ``LearnerTask`` alone, not from when it is asked
or which other origins are: the same task gives the same bytes in another cycle.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from sopforecast.baseline.features import OriginFeatures, origin_features
from sopforecast.core.draws import series_rng

LEARNERS = ("Boosting", "BoostedTheta")
CORRECTED = ("DOT", "DampedETS")
MIN_TRAINING_ROWS = 3_000
MAX_TRAINING_ROWS = 30_000
MIN_MONTHS = 18
STEP = 3  # months between training origins of Boosting
SPAN = 48  # months of training origins
TARGET_LIMIT = 1.5  # log units; a larger change is learned as this
FLOOR_SHARE = 0.2  # of the smoothed level: a model's path below this is corrected from it
_KEY_BYTES = 16


@dataclass(frozen=True, eq=False)
class LearnerTask:
    """One learner asked from one origin.

    Attributes
    ----------
    learner : str
        A name in ``LEARNERS``.
    origin : date
        Last month known; with ``seed`` and ``learner`` it decides which training rows are kept when
        there are more than ``MAX_TRAINING_ROWS``.
    y : ndarray (N, T)
        Fit values up to the origin, NaN before the first month.
    series : ndarray (n,) of int
        Those that teach and are forecast (``taught_series``); nothing else of ``y`` is read.
    earlier : tuple of (int, ndarray (N, H))
        What is corrected, from earlier origins: months before this one, nearest first, and the mean
        of the ``CORRECTED`` models from there, NaN where neither was fitted. Empty for Boosting.
    now : ndarray (N, H) or None
        What is corrected, from this origin; None for Boosting.
    horizon : int
        H months.
    seed : int
    """

    learner: str
    origin: date
    y: np.ndarray
    series: np.ndarray
    earlier: tuple[tuple[int, np.ndarray], ...]
    now: np.ndarray | None
    horizon: int
    seed: int

    def keys(self) -> list[bytes]:
        """A key a series: 16 bytes of BLAKE2b over all that the task reads, and its place there."""
        whole = hashlib.blake2b(digest_size=_KEY_BYTES)
        whole.update(f"{self.learner}|{self.origin}|{self.horizon}|{self.seed}".encode())
        for back, path in ((0, self.y), (0, self.now), *self.earlier):
            if path is not None:
                seen = np.ascontiguousarray(path[self.series], dtype="<f8")
                whole.update(f"|{back}|{seen.shape}|".encode())
                whole.update(seen.tobytes())
        task = whole.digest()
        return [
            hashlib.blake2b(task + place.to_bytes(8, "little"), digest_size=_KEY_BYTES).digest()
            for place in range(self.series.size)
        ]


def taught_series(y: np.ndarray, eligible: np.ndarray) -> np.ndarray:
    """Indices of the eligible series with at least 18 months in ``y`` (N, T)."""
    return np.flatnonzero(eligible & (np.isfinite(y).sum(axis=1) >= MIN_MONTHS))


def learner_tasks(
    past: Sequence[np.ndarray],
    corrected: np.ndarray,
    *,
    offsets: Sequence[int],
    origins: Sequence[date],
    horizon: int,
    seed: int,
    eligible: np.ndarray,
) -> list[LearnerTask]:
    """Both learners from every origin, origin by origin, in the order of ``LEARNERS``.

    Parameters
    ----------
    past : sequence of ndarray (N, T - offset)
        Fit values up to each of O origins, NaN before the first month.
    corrected : ndarray (N, O, H)
        Mean of the ``CORRECTED`` models from the same origins; NaN where neither was fitted.
    offsets : sequence of int
        O origins, months before the end, nearest first.
    origins : sequence of date
        Their months.
    horizon : int
        H.
    seed : int
    eligible : ndarray (N,) of bool
        Series the learner may learn from and forecast (continuous demand).
    """
    tasks = []
    for o, (y, offset, origin) in enumerate(zip(past, offsets, origins, strict=True)):
        earlier = tuple(
            (further - offset, corrected[:, p])
            for p, further in enumerate(offsets)
            if further > offset
        )
        series = taught_series(y, eligible)
        tasks += [
            LearnerTask(LEARNERS[0], origin, y, series, (), None, horizon, seed),
            LearnerTask(LEARNERS[1], origin, y, series, earlier, corrected[:, o], horizon, seed),
        ]
    return tasks


def learn_chunk(tasks: Sequence[LearnerTask]) -> list[np.ndarray]:
    """Paths (n, H) of the series of each task; NaN where there was too little to learn from."""
    return [_learn(task) for task in tasks]


def _learn(task: LearnerTask) -> np.ndarray:
    rng = series_rng(task.seed, "learner", task.learner, f"{task.origin:%Y-%m}")
    portfolio = _Portfolio(task.y[task.series], task.horizon)
    if task.now is None:
        return _fit_predict(portfolio, _blocks(portfolio), None, rng)
    earlier = [(back, path[task.series]) for back, path in task.earlier]
    return _fit_predict(
        portfolio, _blocks_of_errors(portfolio, earlier), task.now[task.series], rng
    )


class _Portfolio:
    """The series of a task at the origin and before it."""

    def __init__(self, y: np.ndarray, horizon: int) -> None:
        self.y, self.horizon = y, horizon

    def at(self, back: int) -> OriginFeatures:
        return origin_features(self.y[:, : self.y.shape[1] - back], self.horizon)

    def series_at(self, back: int) -> np.ndarray:
        """Series with enough months that long before the origin."""
        if self.y.shape[1] - back < MIN_MONTHS:
            return np.empty(0, dtype=np.int64)
        months = np.isfinite(self.y[:, : self.y.shape[1] - back]).sum(axis=1)
        return np.flatnonzero(months >= MIN_MONTHS)

    def log_target(self, back: int) -> np.ndarray:
        """Log demand (n, H) of the months after that; NaN where zero or after the origin."""
        target = np.full((self.y.shape[0], self.horizon), np.nan)
        start = self.y.shape[1] - back
        months = min(self.horizon, back)
        ahead = self.y[:, start : start + months]
        target[:, :months] = np.log(np.where(ahead > 0, ahead, np.nan))
        return target


def _blocks(portfolio: _Portfolio) -> list[_Block]:
    """Demand relative to its own level, from every third month of the last four years."""
    blocks: list[_Block] = []
    for back in range(STEP, SPAN + 1, STEP):
        series = portfolio.series_at(back)
        if series.size == 0:
            break
        seen = portfolio.at(back)
        blocks.append((seen, series, portfolio.log_target(back) - seen.base, None))
    return blocks


def _blocks_of_errors(
    portfolio: _Portfolio, earlier: Sequence[tuple[int, np.ndarray]]
) -> list[_Block]:
    """Demand relative to what was forecast from earlier origins."""
    blocks: list[_Block] = []
    for back, path in earlier:
        series = portfolio.series_at(back)
        if series.size == 0:
            continue
        seen = portfolio.at(back)
        log_path = _log_path(path, seen.base)
        blocks.append((seen, series, portfolio.log_target(back) - log_path, log_path))
    return blocks


def _log_path(path: np.ndarray, base: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(path, FLOOR_SHARE * np.exp(base)))


_Block = tuple[OriginFeatures, np.ndarray, np.ndarray, "np.ndarray | None"]


def _fit_predict(
    portfolio: _Portfolio,
    blocks: list[_Block],
    correct: np.ndarray | None,
    rng: np.random.Generator,
) -> np.ndarray:
    """Train on the blocks and forecast from the origin; shape (n, H), NaN where not forecast."""
    size, horizon = portfolio.y.shape[0], portfolio.horizon
    rows, target = _training_rows(blocks, rng)
    if target.size < MIN_TRAINING_ROWS:
        return np.full((size, horizon), np.nan)
    now = portfolio.at(0)
    start = now.base if correct is None else _log_path(correct, now.base)
    series, lead = np.repeat(np.arange(size), horizon), np.tile(np.arange(horizon), size)
    predicted = _boost(rows, target, _rows(now, start, correct, series, lead), rng)
    forecast: np.ndarray = np.exp(start + predicted.reshape(size, horizon))
    return forecast


def _training_rows(blocks: list[_Block], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Feature rows and targets of the blocks, thinned evenly to ``MAX_TRAINING_ROWS``."""
    cells = []
    for seen, series, gap, path in blocks:
        known = np.isfinite(gap[series])
        pick, lead = np.nonzero(known)
        cells.append((seen, series[pick], lead, gap, path))
    total = sum(c[1].size for c in cells)
    if total < MIN_TRAINING_ROWS:
        return np.empty((0, 0)), np.empty(0)
    share = min(1.0, MAX_TRAINING_ROWS / total)
    rows, target = [], []
    for seen, series, lead, gap, path in cells:
        keep = rng.random(series.size) < share
        series, lead = series[keep], lead[keep]
        start = seen.base if path is None else path
        rows.append(_rows(seen, start, path, series, lead))
        target.append(gap[series, lead])
    limited = np.clip(np.concatenate(target), -TARGET_LIMIT, TARGET_LIMIT)
    return np.concatenate(rows), limited


def _rows(
    seen: OriginFeatures,
    start: np.ndarray,
    corrected: np.ndarray | None,
    series: np.ndarray,
    lead: np.ndarray,
) -> np.ndarray:
    """Feature rows; a corrected path adds how far it stands from the series' own level."""
    rows = seen.rows(series, lead)
    if corrected is None:
        return rows
    distance = start[series, lead] - seen.base[series, lead]
    return np.concatenate([rows, distance[:, None]], axis=1)


def _boost(
    rows: np.ndarray, target: np.ndarray, ahead: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    from sklearn.ensemble import HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits

    empty = ~np.isfinite(rows).any(axis=0)  # too little history for this feature anywhere
    rows, ahead = rows[:, ~empty], ahead[:, ~empty]
    model = HistGradientBoostingRegressor(
        loss="absolute_error",
        max_iter=120,
        learning_rate=0.07,
        max_leaf_nodes=24,
        min_samples_leaf=60,
        max_features=0.6,
        early_stopping=False,
        random_state=int(rng.integers(2**31)),
    )
    with threadpool_limits(limits=1):
        predicted: np.ndarray = model.fit(rows, target).predict(ahead)
    return predicted
