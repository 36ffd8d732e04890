"""The same run with other widths: loadings of its components multiplied anew, no model fitted.

``LearnedWidths`` says by what the widths of ``paths`` items are multiplied after calibration: the
loadings of common parts by the factor ``common``, an item's own loading by that of
``own:<segment>``, and the scale of each month ahead by that of ``lead:<first>-<last>``.
"""

from __future__ import annotations

import numpy as np
import polars as pl

COMMON, OWN, LEAD = "common", "own:", "lead:"
PATHS = "paths"


def width_factors(widths: pl.DataFrame | None) -> dict[str, float]:
    """Part to factor; a part that is not named, or everything without a table, has 1."""
    return {} if widths is None else dict(widths.select("part", "factor").iter_rows())


def lead_factors(factors: dict[str, float], horizon: int) -> np.ndarray:
    """Factor (H,) of each month ahead; one that no part names has 1.

    Examples
    --------
    >>> lead_factors({"common": 2.0, "lead:2-3": 0.5}, 4)
    array([1. , 0.5, 0.5, 1. ])
    """
    answer = np.ones(horizon)
    for part, factor in factors.items():
        if part.startswith(LEAD):
            first, _, last = part.removeprefix(LEAD).partition("-")
            answer[int(first) - 1 : int(last)] = factor
    return answer


def with_widths(
    components: pl.DataFrame, *, used: pl.DataFrame | None, wanted: pl.DataFrame | None
) -> pl.DataFrame:
    """Components as a run would have stored them under other learned widths.

    Parameters
    ----------
    components : pl.DataFrame
        ``Components`` of one run.
    used, wanted : pl.DataFrame, optional
        ``LearnedWidths`` that the run used, and those to put in their place; None: none.

    Returns
    -------
    pl.DataFrame
        The same rows in the same order; loadings and spreads of ``paths`` items are divided by the
        factors used and multiplied by those wanted. All else, and items of other kinds, is
        untouched.
    """
    was, becomes = width_factors(used), width_factors(wanted)
    loadings, spreads = [], []
    columns = components.select("kind", "segment", "loadings", "spread")
    for kind, segment, blob, spread in columns.iter_rows():
        is_drawn = kind == PATHS
        loadings.append(_changed(blob, segment, was, becomes) if is_drawn else blob)
        spreads.append(_by_lead(spread, was, becomes) if is_drawn else spread)
    return components.with_columns(
        loadings=pl.Series(loadings, dtype=pl.Binary), spread=pl.Series(spreads, dtype=pl.Binary)
    )


def _changed(blob: bytes, segment: str, was: dict[str, float], becomes: dict[str, float]) -> bytes:
    loadings = np.frombuffer(blob, dtype="<f8")
    changed = loadings / _factors(was, segment, loadings.size)
    changed = changed * _factors(becomes, segment, loadings.size)
    return np.ascontiguousarray(changed, dtype="<f8").tobytes()


def _by_lead(blob: bytes, was: dict[str, float], becomes: dict[str, float]) -> bytes:
    spread = np.frombuffer(blob, dtype="<f8")
    changed = spread / lead_factors(was, spread.size) * lead_factors(becomes, spread.size)
    return np.ascontiguousarray(changed, dtype="<f8").tobytes()


def _factors(of_part: dict[str, float], segment: str, size: int) -> np.ndarray:
    """One factor a loading: those of the levels first, the item's own last."""
    own = of_part.get(OWN + segment, 1.0)
    return np.append(np.full(size - 1, of_part.get(COMMON, 1.0)), own)
