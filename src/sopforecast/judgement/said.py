"""Statements laid out over items and months, and what they moved.

Axes: ``K`` statements, ``C`` cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl


@dataclass(frozen=True)
class Said:
    """Statements over some items: rows of ``Statements`` and the cells of each.

    ``members`` are positions in the items of the draws at hand, ``months`` count from 0.
    """

    frame: pl.DataFrame
    members: tuple[np.ndarray, ...]
    months: tuple[np.ndarray, ...]

    def take(self, rows: np.ndarray) -> Said:
        """Some of the statements, in the order of ``rows``."""
        return Said(
            self.frame[rows],
            tuple(self.members[k] for k in rows),
            tuple(self.months[k] for k in rows),
        )


@dataclass(frozen=True)
class Moves:
    """What statements did to the mean of some cells.

    Attributes
    ----------
    statements : ndarray of int (K,)
        Rows of ``Said.frame``.
    items, months : ndarray of int (C,)
    parts : ndarray (C, K)
        What each statement adds to the mean of each cell, before whole numbers and zero.
    own : ndarray (K,)
        What each adds to the mean of its own node and months.
    """

    statements: np.ndarray
    items: np.ndarray
    months: np.ndarray
    parts: np.ndarray
    own: np.ndarray
