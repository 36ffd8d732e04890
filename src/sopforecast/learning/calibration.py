"""Where actuals fell in the statistical range: are 8 of 10 inside, and if not, which way.

Reads cells, one row a statistical forecast of a closed month, gives ``Calibration``: counts only,
so that any selection is added up and divided once. Counts are whole, hence the same in any order.

The probability integral transform (PIT) is where an actual stands in its forecast's distribution
function, 0 to 1; of calibrated forecasts each tenth holds a tenth. The function is known at the
seven stored quantiles and taken as straight between them. What is not a point but a step is drawn
at random inside it (Smith 1985; Czado, Gneiting and Held 2009, Biometrics 65):

* quantiles that coincide, and below the lowest and above the highest stored one, where nothing is
  known but the 5% that lie there;
* whole numbers, when actual and quantiles all are: the actual k stands for k - 1/2 to k + 1/2. So a
  count that is mostly zero is judged fairly, which ``inside80`` cannot do: with a chance of 70% of
  zero, P10 to P90 must hold more than 80%.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from sopforecast.core.draws import QUANTILES, series_rng
from sopforecast.core.hierarchy import ITEM
from sopforecast.core.learning_tables import ANY
from sopforecast.core.score_tables import Calibration

LEAD_BANDS = ((1, 1), (2, 3), (4, 6), (7, 12), (13, 24))
"""First and last lead of each band; a row of all leads stands beside them."""
TENTHS = 10
SEED = 0  # the numbers belong to the cell by name; there is no run to take a seed from

_LABELS = [label for label, _ in QUANTILES]
_LEVELS = np.array([level for _, level in QUANTILES])
_PITS = [f"pit_{k + 1}" for k in range(TENTHS)]
_KEY = ("level", "segment", "lead_from", "lead_to")


def calibration(cells: pl.DataFrame) -> pl.DataFrame:
    """Count where actuals fell, by level, segment and leads.

    Parameters
    ----------
    cells : pl.DataFrame
        ds, cycle, lead, level, segment (``*`` for sums), unique_id, y and p05 .. p95, in the
        node's unit; one row a node, month and cycle, in any order. Other columns are not read.

    Returns
    -------
    pl.DataFrame
        ``Calibration`` without ``fit_id``, sorted by key. Items (level ``item``) have a row each
        segment and one, ``*``, of all of them. Each has a row for every band of ``LEAD_BANDS`` and
        one from lead 1 to the longest lead of all cells. Rows without a cell are left out.
        ``below10`` counts y < P10, ``above90`` y > P90, ``inside80`` the rest. ``ratio`` leaves
        out cells whose range has no width on the actual's side (`width_ratio`); null without any.

    Raises
    ------
    ValueError
        An actual or a quantile is missing or not finite.
    """
    values = finite_columns(cells, ["y", *_LABELS])
    y, quantiles = values[:, 0], values[:, 1:]
    low, middle, high = (quantiles[:, _LABELS.index(p)] for p in ("p10", "p50", "p90"))
    rows = cells.select(
        "ds", "lead", pl.col("level").cast(pl.String), pl.col("segment").cast(pl.String)
    ).with_columns(
        below=pl.Series(y < low),
        above=pl.Series(y > high),
        ratio=pl.Series(width_ratio(y, low, middle, high)).fill_nan(None),
        tenth=pl.Series(_tenths(y, quantiles, cells)),
    )
    everyone = rows.filter(pl.col("level") == ITEM).with_columns(segment=pl.lit(ANY))
    rows = pl.concat(
        [rows.filter((pl.col("level") != ITEM) | (pl.col("segment") != ANY)), everyone]
    )
    counted = [_count(rows, first, last) for first, last in _bands(rows["lead"])]
    declared = {n: c.dtype for n, c in Calibration.columns().items() if n != "fit_id"}
    if not counted:
        return pl.DataFrame(schema=declared)
    return pl.concat(counted).select(list(declared)).cast(declared).sort(_KEY)  # type: ignore[arg-type]


def width_ratio(y: np.ndarray, low: np.ndarray, middle: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Distance of actuals from the median over the half-width of the range on their side.

    Parameters
    ----------
    y, low, middle, high : ndarray (n,)
        Actuals, P10, P50 and P90.

    Returns
    -------
    ndarray (n,)
        0 at the median, 1 at P10 and at P90. NaN where the range has no width on the actual's
        side: such a cell says nothing of a factor, because no factor would widen it.
    """
    up, down = high - middle, middle - low
    width = np.where(y > middle, up, np.where(y < middle, down, np.maximum(up, down)))
    return np.divide(np.abs(y - middle), width, out=np.full(y.shape, np.nan), where=width > 0)


def pit_bounds(y: np.ndarray, quantiles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Between what two probabilities each actual stands in its forecast's distribution.

    Parameters
    ----------
    y : ndarray (n,)
    quantiles : ndarray (n, 7)
        Of ``core.draws.QUANTILES``, not crossing.

    Returns
    -------
    from_, to : ndarray (n,)
        Equal where the distribution function is continuous; the randomised PIT is uniform between.

    Examples
    --------
    A count with P05 to P50 at 0 and P75 at 2, which was 0: up to where 1/2 stands between.

    >>> found = pit_bounds(np.array([0.0]), np.array([[0, 0, 0, 0, 2.0, 3, 4]]))
    >>> [part.tolist() for part in found]
    [[0.0], [0.5625]]
    """
    whole = (y == np.rint(y)) & (quantiles == np.rint(quantiles)).all(axis=1)
    half = np.where(whole, 0.5, 0.0)
    below, upto = y - half, y + half
    return (
        _between(below, quantiles, (quantiles < below[:, None]).sum(axis=1), (0.0, _LEVELS[-1])),
        _between(upto, quantiles, (quantiles <= upto[:, None]).sum(axis=1), (_LEVELS[0], 1.0)),
    )


def finite_columns(cells: pl.DataFrame, columns: list[str]) -> np.ndarray:
    """The columns as floats (n, columns); a ValueError names the first that misses a number."""
    for name in columns:
        values = cells[name].cast(pl.Float64)
        if not bool(values.is_finite().fill_null(False).all()):
            raise ValueError(
                f"cells: found a missing value in {name}; allowed: finite numbers; give only cells "
                "whose actual is known and whose range is stored"
            )
    return cells.select(pl.col(columns).cast(pl.Float64)).to_numpy()


def _between(
    x: np.ndarray, quantiles: np.ndarray, place: np.ndarray, outside: tuple[float, float]
) -> np.ndarray:
    """The straight line between the quantiles ``place - 1`` and ``place`` around x."""
    last = _LEVELS.size
    left, right = np.clip(place - 1, 0, last - 1), np.clip(place, 0, last - 1)
    row = np.arange(x.size)
    start, width = quantiles[row, left], quantiles[row, right] - quantiles[row, left]
    share = np.divide(x - start, width, out=np.zeros(x.shape), where=width > 0)
    inner = _LEVELS[left] + (_LEVELS[right] - _LEVELS[left]) * share
    return np.where(place == 0, outside[0], np.where(place == last, outside[1], inner))


def _tenths(y: np.ndarray, quantiles: np.ndarray, cells: pl.DataFrame) -> np.ndarray:
    """Tenth of the randomised PIT, 0 to 9 (n,); drawn only where it is not settled anyway."""
    low, high = pit_bounds(y, quantiles)
    tenth = _tenth(low)
    open_rows = np.flatnonzero(tenth != _tenth(high))
    names, months, leads = (cells[column] for column in ("unique_id", "ds", "lead"))
    drawn: dict[tuple[str, str], np.ndarray] = {}
    longest = int(leads.max()) if cells.height else 0  # type: ignore[arg-type]
    for i in open_rows.tolist():
        key = (str(names[i]), months[i].isoformat())
        if key not in drawn:
            drawn[key] = series_rng(SEED, "pit", *key).random(longest)
        tenth[i] = _tenth(low[i] + (high[i] - low[i]) * drawn[key][leads[i] - 1])
    return tenth


def _tenth(probability: np.ndarray) -> np.ndarray:
    nearly = 1e-9  # 0.1 + 0.2 belongs to the same tenth as 0.3
    return np.clip(np.floor(TENTHS * probability + nearly), 0, TENTHS - 1).astype(np.int64)


def _bands(leads: pl.Series) -> Iterator[tuple[int, int]]:
    if leads.is_empty():
        return
    longest = int(leads.max())  # type: ignore[arg-type]
    yield from LEAD_BANDS
    if longest > 1:
        yield 1, longest


def _count(rows: pl.DataFrame, first: int, last: int) -> pl.DataFrame:
    inside = rows.filter(pl.col("lead").is_between(first, last))
    below, above = pl.col("below").sum(), pl.col("above").sum()
    return inside.group_by("level", "segment").agg(
        lead_from=pl.lit(first),
        lead_to=pl.lit(last),
        months=pl.col("ds").n_unique(),
        cells=pl.len(),
        below10=below,
        inside80=pl.len() - below - above,
        above90=above,
        ratio=pl.col("ratio").drop_nulls().quantile(0.8, interpolation="linear"),
        **{name: (pl.col("tenth") == k).sum() for k, name in enumerate(_PITS)},
    )
