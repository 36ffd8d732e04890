"""The global learner: one scikit-learn model over the whole portfolio, refitted at every origin.

Two forms, both histogram gradient boosting (least absolute error, so that one freak item does not
bend the rest) on the features of ``baseline.features``:

``Boosting``      predicts log demand relative to the series' own smoothed level and season;
``BoostedTheta``  corrects the mean of DOT and DampedETS, learning from their out-of-sample errors
                  where they go wrong together.

A learner at an origin is trained only on months before that origin. It sees every month ahead in
one model (lead is a feature). Pooling across series: Montero-Manso and Hyndman (2021), IJF 37.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from sopforecast.baseline.features import OriginFeatures, origin_features

LEARNERS = ("Boosting", "BoostedTheta")
CORRECTED = ("DOT", "DampedETS")
MIN_TRAINING_ROWS = 3_000
MAX_TRAINING_ROWS = 30_000
MIN_MONTHS = 18
STEP = 3  # months between training origins of Boosting
SPAN = 48  # months of training origins
TARGET_LIMIT = 1.5  # log units; a larger change is learned as this
FLOOR_SHARE = 0.2  # of the smoothed level: a model's path below this is corrected from it


def learner_paths(
    y: np.ndarray,
    corrected: np.ndarray,
    *,
    offsets: Sequence[int],
    horizon: int,
    seed: int,
    eligible: np.ndarray,
    on_done: Callable[[float], None] | None = None,
) -> np.ndarray:
    """Forecast every eligible series from every origin by both learners.

    Parameters
    ----------
    y : ndarray (N, T)
        Fit values of the panel, NaN before the first month.
    corrected : ndarray (N, O, H)
        Mean of the ``CORRECTED`` models from the same origins; NaN where neither was fitted.
    offsets : sequence of int
        O origins, months before the end.
    horizon : int
        H.
    seed : int
        Which training rows are kept when there are more than ``MAX_TRAINING_ROWS``.
    eligible : ndarray (N,) of bool
        Series the learner may learn from and forecast (continuous demand).

    Returns
    -------
    ndarray (N, O, 2, H)
        Mean paths in the order of ``LEARNERS``; NaN where there was too little to learn from.
    """
    paths = np.full((y.shape[0], len(offsets), len(LEARNERS), horizon), np.nan)
    portfolio = _Portfolio(y, horizon, eligible)
    position = {offset: o for o, offset in enumerate(offsets)}
    for done, (offset, o) in enumerate(position.items()):
        rng = np.random.default_rng([seed, offset])
        earlier = {k: corrected[:, p] for k, p in position.items() if k > offset}
        paths[:, o, 0] = _boosting(portfolio, offset, rng)
        paths[:, o, 1] = _boosted_theta(portfolio, offset, corrected[:, o], earlier, rng)
        if on_done:
            on_done((done + 1) / len(offsets))
    return paths


class _Portfolio:
    """Features of the portfolio at each origin, computed once however often they are asked for."""

    def __init__(self, y: np.ndarray, horizon: int, eligible: np.ndarray) -> None:
        self.y, self.horizon, self.eligible = y, horizon, eligible
        self._features: dict[int, OriginFeatures] = {}

    def at(self, offset: int) -> OriginFeatures:
        if offset not in self._features:
            before = self.y[:, : self.y.shape[1] - offset]
            self._features[offset] = origin_features(before, self.horizon)
        return self._features[offset]

    def series_at(self, offset: int) -> np.ndarray:
        """Eligible series with enough months before the origin."""
        if self.y.shape[1] - offset < MIN_MONTHS:
            return np.empty(0, dtype=np.int64)
        months = np.isfinite(self.y[:, : self.y.shape[1] - offset]).sum(axis=1)
        return np.flatnonzero(self.eligible & (months >= MIN_MONTHS))

    def log_target(self, offset: int, known: int) -> np.ndarray:
        """Log demand (N, H) of the months after the origin; NaN where unknown, zero or ahead.

        ``known`` is how many months after the origin have happened.
        """
        target = np.full((self.y.shape[0], self.horizon), np.nan)
        start = self.y.shape[1] - offset
        months = min(self.horizon, known)
        ahead = self.y[:, start : start + months]
        target[:, :months] = np.log(np.where(ahead > 0, ahead, np.nan))
        return target


def _boosting(portfolio: _Portfolio, offset: int, rng: np.random.Generator) -> np.ndarray:
    blocks: list[_Block] = []
    for back in range(STEP, SPAN + 1, STEP):
        series = portfolio.series_at(offset + back)
        if series.size == 0:
            break
        seen = portfolio.at(offset + back)
        gap = portfolio.log_target(offset + back, back) - seen.base
        blocks.append((seen, series, gap, None))
    return _fit_predict(portfolio, offset, blocks, None, rng)


def _boosted_theta(
    portfolio: _Portfolio,
    offset: int,
    now: np.ndarray,
    earlier: dict[int, np.ndarray],
    rng: np.random.Generator,
) -> np.ndarray:
    blocks: list[_Block] = []
    for past, path in earlier.items():
        series = portfolio.series_at(past)
        if series.size == 0:
            continue
        seen = portfolio.at(past)
        log_path = _log_path(path, seen.base)
        gap = portfolio.log_target(past, past - offset) - log_path
        blocks.append((seen, series, gap, log_path))
    return _fit_predict(portfolio, offset, blocks, now, rng)


def _log_path(path: np.ndarray, base: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(path, FLOOR_SHARE * np.exp(base)))


_Block = tuple[OriginFeatures, np.ndarray, np.ndarray, "np.ndarray | None"]


def _fit_predict(
    portfolio: _Portfolio,
    offset: int,
    blocks: list[_Block],
    correct: np.ndarray | None,
    rng: np.random.Generator,
) -> np.ndarray:
    """Train on the blocks and forecast from the origin; shape (N, H), NaN where not forecast."""
    horizon = portfolio.horizon
    answer = np.full((portfolio.y.shape[0], horizon), np.nan)
    rows, target = _training_rows(blocks, rng)
    series = portfolio.series_at(offset)
    if target.size < MIN_TRAINING_ROWS or series.size == 0:
        return answer
    now = portfolio.at(offset)
    start = now.base if correct is None else _log_path(correct, now.base)
    cell_series = np.repeat(series, horizon)
    cell_lead = np.tile(np.arange(horizon), series.size)
    predicted = _boost(rows, target, _rows(now, start, correct, cell_series, cell_lead), rng)
    answer[series] = np.exp(start[series] + predicted.reshape(series.size, horizon))
    return answer


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
