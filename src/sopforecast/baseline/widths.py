"""The same run with other widths: loadings of its components multiplied anew, no model fitted.

``LearnedWidths`` says by what the loadings of ``paths`` items are multiplied after calibration:
the common parts by the factor ``common``, an item's own part by that of ``own:<segment>``.
"""

from __future__ import annotations

import numpy as np
import polars as pl

COMMON, OWN = "common", "own:"
PATHS = "paths"


def width_factors(widths: pl.DataFrame | None) -> dict[str, float]:
    """Part to factor; a part that is not named, or everything without a table, has 1."""
    return {} if widths is None else dict(widths.select("part", "factor").iter_rows())


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
        The same rows in the same order; loadings of ``paths`` items are divided by the factors
        used and multiplied by those wanted. All else, and items of other kinds, is untouched.
    """
    was, becomes = width_factors(used), width_factors(wanted)
    loadings = [
        _changed(blob, segment, was, becomes) if kind == PATHS else blob
        for kind, segment, blob in components.select("kind", "segment", "loadings").iter_rows()
    ]
    return components.with_columns(loadings=pl.Series(loadings, dtype=pl.Binary))


def _changed(blob: bytes, segment: str, was: dict[str, float], becomes: dict[str, float]) -> bytes:
    loadings = np.frombuffer(blob, dtype="<f8")
    changed = loadings / _factors(was, segment, loadings.size)
    changed = changed * _factors(becomes, segment, loadings.size)
    return np.ascontiguousarray(changed, dtype="<f8").tobytes()


def _factors(of_part: dict[str, float], segment: str, size: int) -> np.ndarray:
    """One factor a loading: those of the levels first, the item's own last."""
    own = of_part.get(OWN + segment, 1.0)
    return np.append(np.full(size - 1, of_part.get(COMMON, 1.0)), own)
