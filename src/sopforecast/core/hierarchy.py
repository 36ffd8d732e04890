"""Items, the aggregates they add up to, and exact sums over them.

Reads ``Items`` with its level columns and settles, once, every node's name, level and members.
Levels may be nested (``family``, ``family/brand``) or crossed (``family``, ``region``). Axes:
``B`` items, ``A`` aggregates, ``L`` levels (``total`` first), ``H`` months.

Sums are plain additions in float64, never BLAS: where the addends are multiples of one power of two
and no sum exceeds 2**53 of it, every sum is exact, hence the same in any order and any blocks.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from sopforecast.errors import DataError, Problem, RequestError

if TYPE_CHECKING:
    from scipy.sparse import csr_array

TOTAL = "total"
ITEM = "item"
_RESERVED = re.compile("[%/=]")
_ESCAPED = re.compile("%(25|2F|3D)")


@dataclass(frozen=True, eq=False)
class Hierarchy:
    """The nodes of a portfolio and which items each aggregate sums.

    Built by `build_hierarchy`; the arrays are read-only. Two hierarchies are equal only when they
    are the same object.

    Attributes
    ----------
    items : tuple of str, length B
        Item ids, sorted.
    aggregates : tuple of str, length A
        ``total`` first, then level by level in settings order, names sorted inside a level.
    levels : tuple of str, length A
        Level label of each aggregate: ``total``, ``family``, ``family/region``.
    codes : ndarray of int64, shape (L, B)
        For each level the index into ``aggregates`` of the aggregate each item belongs to.
    """

    items: tuple[str, ...]
    aggregates: tuple[str, ...]
    levels: tuple[str, ...]
    codes: np.ndarray

    @property
    def nodes(self) -> tuple[str, ...]:
        """Aggregates, then items: the node order of every (..., A + B, H) array."""
        return self.aggregates + self.items

    @property
    def node_levels(self) -> tuple[str, ...]:
        """Level label of each node; an item's is ``item``."""
        return self.levels + (ITEM,) * len(self.items)

    @property
    def level_labels(self) -> tuple[str, ...]:
        """Each level once, ``total`` first, ``item`` last."""
        return tuple(dict.fromkeys(self.node_levels))

    def summing(self) -> csr_array:
        """Return the 0/1 summing matrix (A, B), scipy CSR: aggregates = summing @ items."""
        from scipy.sparse import csr_array

        levels, items = self.codes.shape
        columns = np.tile(np.arange(items), levels)
        ones = np.ones(self.codes.size)
        shape = (len(self.aggregates), items)
        return csr_array((ones, (self.codes.ravel(), columns)), shape=shape)

    def aggregate(self, bottom: np.ndarray) -> np.ndarray:
        """Sum all items (..., B, H) into all aggregates (..., A, H), float64, same unit.

        A NaN item makes its aggregates NaN. Raises ValueError as `aggregate_block` does.
        """
        return self.aggregate_block(bottom, np.arange(len(self.items)))

    def aggregate_block(self, block: np.ndarray, members: np.ndarray) -> np.ndarray:
        """Sum some of the items into all aggregates; blocks that part the items add up to all.

        Parameters
        ----------
        block : ndarray, shape (..., b, H)
            Values of the items ``members``.
        members : ndarray of int, shape (b,)
            Index of each item in ``items``, each at most once, in any order.

        Returns
        -------
        ndarray of float64, shape (..., A, H)
            Partial sums, zero where an aggregate has no member in the block.

        Raises
        ------
        ValueError
            When the items axis and ``members`` differ in length.
        """
        members = np.asarray(members, dtype=np.int64)
        if block.ndim < 2 or block.shape[-2] != members.size:
            raise ValueError(
                f"block: shape {block.shape} for {members.size} items; expected (..., items, H)"
            )
        sums = np.zeros((*block.shape[:-2], len(self.aggregates), block.shape[-1]))
        for codes in self.codes[:, members]:
            for aggregate, rows in _groups(codes):
                # One group of everything (total, or a block inside one family) needs no copy.
                part = block if rows.size == members.size else block[..., rows, :]
                part.sum(axis=-2, dtype=np.float64, out=sums[..., aggregate, :])
        return sums

    def descendants(self, node: str) -> np.ndarray:
        """Return the ascending indexes into ``items`` of a node's items, its own for an item.

        Raises
        ------
        RequestError
            When there is no such node; close names are given.
        """
        position = self._position(node)
        if position >= len(self.aggregates):
            return np.array([position - len(self.aggregates)], dtype=np.int64)
        return np.flatnonzero((self.codes == position).any(axis=0))

    def level_of(self, node: str) -> str:
        """Return the level label of a node; RequestError as `descendants`."""
        return self.node_levels[self._position(node)]

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {name: position for position, name in enumerate(self.nodes)}

    def _position(self, node: str) -> int:
        position = self._positions.get(node)
        if position is None:
            close = difflib.get_close_matches(node, self.nodes, n=3)
            hint = f"did you mean {_listed(close)}?" if close else "look it up in items"
            raise RequestError(
                f"node: found {node!r}; allowed: an item id, total, or an aggregate such as "
                f"{self.aggregates[-1]!r}; {hint}"
            )
        return position


def build_hierarchy(items: pl.DataFrame, *, levels: Sequence[str]) -> Hierarchy:
    """Name and order all nodes of a portfolio.

    Parameters
    ----------
    items : polars.DataFrame
        ``Items`` with its level columns; only ``unique_id`` and the level columns are read.
    levels : sequence of str
        Level columns in settings order, crossed ones joined by ``/``: ``["family",
        "family/region"]``. Column names are percent-escaped as in `node_name`. ``total`` and the
        items themselves are always there.

    Returns
    -------
    Hierarchy

    Raises
    ------
    RequestError
        When a level names no column of items, is given twice or takes a reserved name.
    DataError
        When there are no items, an id stands twice, a level value is missing or blank, or an id
        is also the name of an aggregate.
    """
    paths = [_level_path(level, items.columns) for level in levels]
    labels = ["/".join(map(_escape, path)) for path in paths]
    for label in labels:
        if labels.count(label) > 1:
            raise RequestError(f"levels: found {label!r} twice; allowed: each level once")
    items = items.sort("unique_id")
    ids = items["unique_id"].to_list()
    values = {column: _level_values(items, column) for path in paths for column in path}
    _refuse_bad(_bad_ids(ids) + _blank_levels(ids, values))

    aggregates, level_of, codes = [TOTAL], [TOTAL], [np.zeros(len(ids), dtype=np.int64)]
    for label, path in zip(labels, paths, strict=True):
        rows = zip(*(values[column] for column in path), strict=True)
        names, code = np.unique(
            np.array([node_name(path, row) for row in rows], dtype=object), return_inverse=True
        )
        codes.append(code.astype(np.int64) + len(aggregates))
        aggregates.extend(names.tolist())
        level_of.extend([label] * len(names))
    _refuse_bad(_name_clashes(ids, aggregates))
    table = np.stack(codes)
    table.flags.writeable = False
    return Hierarchy(tuple(ids), tuple(aggregates), tuple(level_of), table)


def node_name(columns: Sequence[str], values: Sequence[str]) -> str:
    """Name the aggregate of these level values; ``%``, ``/`` and ``=`` are percent-escaped.

    Examples
    --------
    >>> node_name(["family", "region"], ["Oncology", "EU/UK"])
    'family=Oncology/region=EU%2FUK'
    """
    pairs = zip(columns, values, strict=True)
    return "/".join(f"{_escape(column)}={_escape(value)}" for column, value in pairs)


def _escape(text: str) -> str:
    return _RESERVED.sub(lambda found: f"%{ord(found[0]):02X}", text)


def _unescape(text: str) -> str:
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)


def _groups(codes: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Part positions by code: (code, ascending positions), for the codes that occur."""
    order = np.argsort(codes, kind="stable")
    found, starts = np.unique(codes[order], return_index=True)
    bounds = pairwise([*starts.tolist(), len(codes)])
    groups = zip(found.tolist(), bounds, strict=True)
    return [(code, order[start:stop]) for code, (start, stop) in groups]


def _level_path(level: str, columns: Sequence[str]) -> list[str]:
    path = [_unescape(part) for part in level.split("/")]
    known = [column for column in columns if column != "unique_id"]
    for column in path:
        if column in (TOTAL, ITEM):
            raise RequestError(
                f"levels: found {column!r}; allowed: columns of items not named {TOTAL!r} or "
                f"{ITEM!r}, which are always there; leave it out or rename the column"
            )
        if column not in known:
            raise RequestError(
                f"levels: found {level!r}, but items has no column {column!r}; "
                f"allowed: {_listed(known)}; correct levels in sopforecast.toml or load the column"
            )
    if len(set(path)) < len(path):
        raise RequestError(f"levels: found {level!r}; allowed: a column once in a level")
    return path


def _level_values(items: pl.DataFrame, column: str) -> list[str]:
    return items[column].cast(pl.String).str.strip_chars().fill_null("").to_list()


def _bad_ids(ids: list[str]) -> list[Problem]:
    if not ids:
        return [Problem("items", found="no rows", allowed="an item a row", todo="load items first")]
    twice = sorted({one for one, after in pairwise(ids) if one == after})
    return [
        _problem("unique_id", f"{item!r} twice", "each item once", "keep one") for item in twice
    ]


def _blank_levels(ids: list[str], values: dict[str, list[str]]) -> list[Problem]:
    allowed, todo = "the item's value, since the column is a level", "fill it in and load again"
    return [
        _problem(column, f"an empty cell for item {item!r}", allowed, todo)
        for column, cells in values.items()
        for item, cell in zip(ids, cells, strict=True)
        if not cell
    ]


def _name_clashes(ids: list[str], aggregates: list[str]) -> list[Problem]:
    allowed = "an id that is not total or level=value"
    return [
        _problem(
            "unique_id", f"{item!r}, also the name of an aggregate", allowed, "rename the item"
        )
        for item in sorted(set(ids) & set(aggregates))
    ]


def _problem(column: str, found: str, allowed: str, todo: str) -> Problem:
    return Problem("items", column=column, found=found, allowed=allowed, todo=todo)


def _refuse_bad(problems: list[Problem]) -> None:
    if problems:
        raise DataError(problems, intro="no hierarchy was built")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names)) or "none"
