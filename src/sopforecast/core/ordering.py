"""The order in which people expect names: S2 before S10."""

from __future__ import annotations

import re


def natural_order(name: str) -> list[tuple[int, str]]:
    """A sort key in which runs of digits compare as numbers.

    Examples
    --------
    >>> sorted(["S10", "S2", "S1"], key=natural_order)
    ['S1', 'S2', 'S10']
    """
    parts = re.split(r"([0-9]+)", name)
    return [(int(part), "") if part.isdecimal() else (0, part) for part in parts if part]
