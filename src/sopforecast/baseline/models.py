"""The registry of models fitted to one series at a time, all from statsforecast.

A model is a callable ``(y, horizon) -> mean path``: ``y`` (T,) holds the months from the first to
the origin with no gaps, the answer is (H,) in the same unit. Ranges never come from a model: they
come from pooled out-of-sample errors (``baseline.ranges``).

To add a model, add a line to ``LOCAL_MODELS`` and name it in ``[advanced] models``; its weight is
then learned by rolling origins like any other's.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from sopforecast.baseline.seasonality import SEASON, index_of_months, seasonal_indices
from sopforecast.errors import RequestError

LocalModel = Callable[[np.ndarray, int], np.ndarray]

FALLBACK = "RecentMean"
RECENT_MONTHS = 6
LIMIT_OVER_HISTORY = 5.0  # a mean path above this many times the largest month is not believed


def dynamic_optimized_theta(y: np.ndarray, horizon: int) -> np.ndarray:
    """Dynamic optimised theta; Fiorucci et al. (2016), IJF 32."""
    from statsforecast.models import DynamicOptimizedTheta

    return _mean(DynamicOptimizedTheta(season_length=SEASON), y, horizon)


def damped_ets(y: np.ndarray, horizon: int) -> np.ndarray:
    """ETS(A,Ad,N) on seasonally adjusted demand; Gardner and McKenzie (1985)."""
    from statsforecast.models import AutoETS

    indices, _ = seasonal_indices(y[None, :])
    inside = index_of_months(indices, -y.size, y.size)[0]
    ahead = index_of_months(indices, 0, horizon)[0]
    return _mean(AutoETS(season_length=1, model="AAN", damped=True), y / inside, horizon) * ahead


def seasonal_naive(y: np.ndarray, horizon: int) -> np.ndarray:
    """The same month of the last year."""
    from statsforecast.models import SeasonalNaive

    return _mean(SeasonalNaive(season_length=SEASON), y, horizon)


def auto_ets(y: np.ndarray, horizon: int) -> np.ndarray:
    """ETS chosen by AICc; Hyndman et al. (2002). Some 30 times the cost of the default pool."""
    from statsforecast.models import AutoETS

    return _mean(AutoETS(season_length=SEASON), y, horizon)


def auto_ces(y: np.ndarray, horizon: int) -> np.ndarray:
    """Complex exponential smoothing; Svetunkov et al. (2022)."""
    from statsforecast.models import AutoCES

    return _mean(AutoCES(season_length=SEASON), y, horizon)


def auto_arima(y: np.ndarray, horizon: int) -> np.ndarray:
    """Seasonal ARIMA chosen stepwise; Hyndman and Khandakar (2008). Seconds a series."""
    from statsforecast.models import AutoARIMA

    return _mean(AutoARIMA(season_length=SEASON), y, horizon)


def mfles(y: np.ndarray, horizon: int) -> np.ndarray:
    """MFLES, gradient-boosted decomposition; Blume (2024)."""
    from statsforecast.models import MFLES

    return _mean(MFLES(season_length=SEASON), y, horizon)


def croston_sba(y: np.ndarray, horizon: int) -> np.ndarray:
    """Croston with the bias correction of Syntetos and Boylan (2005)."""
    from statsforecast.models import CrostonSBA

    return _mean(CrostonSBA(), y, horizon)


def tsb(y: np.ndarray, horizon: int) -> np.ndarray:
    """Teunter, Syntetos and Babai (2011): a probability of demand that can die out."""
    from statsforecast.models import TSB

    return _mean(TSB(alpha_d=0.1, alpha_p=0.1), y, horizon)


def window_average(y: np.ndarray, horizon: int) -> np.ndarray:
    """The mean of the last twelve months."""
    from statsforecast.models import WindowAverage

    return _mean(WindowAverage(window_size=min(SEASON, y.size)), y, horizon)


LOCAL_MODELS: dict[str, LocalModel] = {
    "DOT": dynamic_optimized_theta,
    "DampedETS": damped_ets,
    "SeasonalNaive": seasonal_naive,
    "CrostonSBA": croston_sba,
    "TSB": tsb,
    "Average12": window_average,
    "AutoETS": auto_ets,
    "AutoCES": auto_ces,
    "AutoARIMA": auto_arima,
    "MFLES": mfles,
}
SMOOTH_POOL = ("DOT", "DampedETS", "SeasonalNaive")
SPARSE_POOL = ("CrostonSBA", "TSB", "Average12", "SeasonalNaive")
INSTANT = frozenset(SPARSE_POOL)  # fitted in microseconds: looking for what they said is no faster
MIN_MONTHS = {"SeasonalNaive": SEASON, "Average12": 1}
DEFAULT_MIN_MONTHS = SEASON  # with less, a season on its way up reads as a trend


def refuse_unknown_models(names: Sequence[str]) -> None:
    """Raise RequestError when one of the names is not in ``LOCAL_MODELS``."""
    for name in names:
        if name not in LOCAL_MODELS:
            near = difflib.get_close_matches(name, LOCAL_MODELS, n=1)
            hint = f"did you mean {near[0]}?" if near else "correct it in sopforecast.toml"
            raise RequestError(
                f"advanced.models: found {name!r}; allowed: {', '.join(LOCAL_MODELS)}; {hint}"
            )


@dataclass(frozen=True)
class SeriesTask:
    """One series to be forecast from several origins by several models.

    Attributes
    ----------
    unique_id : str
    y : ndarray (T,)
        From its first month to the end.
    models : tuple of str
    then : mapping of int to ndarray
        By offset, the series up to that origin where it is not ``y`` cut off there: a month that
        was told from later ones.
    known : frozenset of (int, str)
        Offsets and models that need not be fitted.
    """

    unique_id: str
    y: np.ndarray
    models: tuple[str, ...]
    then: Mapping[int, np.ndarray] = field(default_factory=dict)
    known: frozenset[tuple[int, str]] = frozenset()

    def before(self, offset: int) -> np.ndarray:
        """The series up to an origin; nothing when it began after it."""
        if offset in self.then:
            return self.then[offset]
        return self.y[: max(self.y.size - offset, 0)]

    def asks(self, offset: int, model: str) -> bool:
        """Whether the model has enough months at the origin and is not known there."""
        enough = MIN_MONTHS.get(model, DEFAULT_MIN_MONTHS)
        return self.before(offset).size >= enough and (offset, model) not in self.known


@dataclass(frozen=True)
class Failure:
    """A model that could not be fitted to a series, and why."""

    unique_id: str
    model: str
    offset: int
    reason: str


def forecast_chunk(
    chunk: Sequence[SeriesTask], offsets: Sequence[int], horizon: int, models: Sequence[str]
) -> tuple[np.ndarray, list[Failure]]:
    """Forecast each series of a chunk from each origin by each of its models.

    Parameters
    ----------
    chunk : sequence of SeriesTask
        n series.
    offsets : sequence of int
        O origins, in months before the end of the series; 0 is the end.
    horizon : int
        H months.
    models : sequence of str
        M names: the third axis of the answer.

    Returns
    -------
    paths : ndarray (n, O, M, H)
        Mean paths; NaN where the model is not of the series' pool, failed, had too few months or
        need not be fitted.
    failures : list of Failure
    """
    paths = np.full((len(chunk), len(offsets), len(models), horizon), np.nan)
    failures: list[Failure] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for i, task in enumerate(chunk):
            for o, offset in enumerate(offsets):
                y = task.before(offset)
                for name in task.models:
                    if not task.asks(offset, name):
                        continue
                    path, reason = _believable_path(name, y, horizon)
                    if reason:
                        failures.append(Failure(task.unique_id, name, offset, reason))
                    else:
                        paths[i, o, models.index(name)] = path
    return paths, failures


def recent_mean(y: np.ndarray, horizon: int) -> np.ndarray:
    """The mean of the last six known months: the fallback when nothing else can be fitted."""
    return np.full(horizon, y[-RECENT_MONTHS:].mean())


def _believable_path(name: str, y: np.ndarray, horizon: int) -> tuple[np.ndarray, str]:
    """A non-negative mean path, or the reason why there is none."""
    if np.ptp(y) == 0:
        return np.full(horizon, max(y[-1], 0.0)), ""
    try:
        path = LOCAL_MODELS[name](y, horizon)
    except Exception as err:  # noqa: BLE001 - one series' failure is recorded, the month goes on
        return y[:0], f"{type(err).__name__}: {str(err)[:120]}"
    if path.shape != (horizon,) or not np.all(np.isfinite(path)):
        return y[:0], "the forecast is not finite"
    if path.max() > LIMIT_OVER_HISTORY * y.max():
        return y[:0], f"the forecast exceeds {LIMIT_OVER_HISTORY:.0f} times the largest month"
    return np.maximum(path, 0.0), ""


def _mean(model: object, y: np.ndarray, horizon: int) -> np.ndarray:
    return np.asarray(model.forecast(y=y, h=horizon)["mean"], dtype=float)  # type: ignore[attr-defined]
