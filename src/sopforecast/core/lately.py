"""What was asked for lately is kept, up to a number of bytes; what was not goes first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Thing = TypeVar("Thing")


class Lately(Generic[Thing]):
    """Things by key, the least recently asked for dropped first; the newest always stays.

    Parameters
    ----------
    most_bytes : int
        How much may be kept.
    size : callable
        Bytes of a thing.
    """

    def __init__(self, most_bytes: int, *, size: Callable[[Thing], int]) -> None:
        self._most_bytes, self._size = most_bytes, size
        self._kept: OrderedDict[Hashable, Thing] = OrderedDict()
        self.bytes_kept = 0

    def get(self, key: Hashable) -> Thing | None:
        """The thing, if it is still there."""
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def keep(self, key: Hashable, thing: Thing) -> Thing:
        """Keep a thing under a key, and drop old ones until there is room; returns the thing."""
        if key in self._kept:
            self.bytes_kept -= self._size(self._kept.pop(key))
        self._kept[key] = thing
        self.bytes_kept += self._size(thing)
        while len(self._kept) > 1 and self.bytes_kept > self._most_bytes:
            _, dropped = self._kept.popitem(last=False)
            self.bytes_kept -= self._size(dropped)
        return thing
