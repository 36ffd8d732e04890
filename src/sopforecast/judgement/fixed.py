"""Statements that hold exactly: refused with the set named where they cannot, else held.

Reads the ``fixed`` rows of ``Overrides`` and draws (S, B, H) of the items. Whatever sums are fixed,
nested or crossed, cells outside them stay as they are to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from sopforecast.core.hierarchy import Hierarchy
from sopforecast.core.months import month_name, months_between
from sopforecast.errors import RequestError
from sopforecast.judgement.atoms import Atoms, part, smallest_conflict
from sopforecast.judgement.nearest import nearest_sums, settle
from sopforecast.judgement.overrides import Scalars, scalars_of
from sopforecast.judgement.spread import move_sum
from sopforecast.judgement.telling import number

RngOf = Callable[..., np.random.Generator]
_DRAWS = 64  # draws added up at once, so that memory stays small
_REMEDY = "change or withdraw one of them, or make it evidence"


@dataclass(frozen=True, eq=False)
class Fixed:
    """A sum that must hold: of these items over these months, in the node's unit.

    ``members`` are indexes of items, ``months`` count from 0 at the cycle, both ascending;
    ``where`` is node and months for a reader.
    """

    override_id: str
    members: np.ndarray
    months: np.ndarray
    value: float
    where: str = ""


def fixed_sets(stated: pl.DataFrame, scalars: Scalars, steps: np.ndarray) -> tuple[Fixed, ...]:
    """Pick the fixed scalars, in the order of the frame.

    Parameters
    ----------
    stated : pl.DataFrame
        ``scalars.frame`` with ``stated`` (`state_quantities`).
    scalars : Scalars
    steps : ndarray, shape (B,)
        Step of each item.

    Notes
    -----
    An absolute quantity is kept as it was given. What was computed from the baseline, from a price
    or from past actuals is nobody's exact number: it is rounded to the coarsest step of its items.
    """
    given = stated.select(
        (pl.col("kind") == "absolute") & (pl.col("measure") == "quantity") & ~pl.col("remainder")
    ).to_series()
    sets = []
    for k in np.flatnonzero((stated["mode"] == "fixed").to_numpy()).tolist():
        one = _fixed(scalars, k, value=float(stated["stated"][k]))
        if not given[k]:
            step = float(steps[one.members].max())
            value = float(np.rint(one.value / step)) * step
            one = Fixed(one.override_id, one.members, one.months, value, one.where)
        sets.append(one)
    return tuple(sets)


def contradictions(
    overrides: pl.DataFrame, hierarchy: Hierarchy, *, cycle: date | None = None
) -> list[tuple[tuple[str, ...], str]]:
    """Find fixed overrides that cannot all hold with demand from 0 up.

    Parameters
    ----------
    overrides : pl.DataFrame
        ``Overrides``, one row an id. Active, fixed, absolute quantities of no scenario are
        weighed; what depends on baseline, prices or past actuals is weighed when it is held.
    hierarchy : Hierarchy
    cycle : date, optional
        Leave out what no longer lives from this cycle on.

    Returns
    -------
    list of (ids, sentence)
        Sets that share no override, each as small as it can be: without any one of its overrides
        the others hold. Only overrides that live in one and the same cycle contradict.

    Raises
    ------
    RequestError
        When a node is not known.
    """
    rows = overrides.filter(
        pl.col("status") == "active",
        pl.col("mode") == "fixed",
        pl.col("kind") == "absolute",
        pl.col("measure") == "quantity",
        pl.col("scenario").fill_null("").str.strip_chars() == "",
    ).with_columns(state=pl.lit("new"))
    # What lives together does so in the cycle in which the last of it was entered.
    cycles = set(rows["entered_cycle"].to_list())
    if cycle is not None:
        cycles = {one for one in cycles if one > cycle} | {cycle}
    found: list[tuple[tuple[str, ...], str]] = []
    for start in sorted(cycles):
        alive = rows.filter(
            pl.col("entered_cycle") <= start,
            pl.col("ds_to") >= start,
            (pl.col("expires_cycle") > start).fill_null(True),
            (pl.col("per") == "month") | (pl.col("ds_from") >= start),
            ~pl.col("override_id").is_in([name for names, _ in found for name in names]),
        )
        if alive.is_empty():
            continue
        last: date = alive["ds_to"].max()  # type: ignore[assignment]
        horizon = months_between(start, last) + 1
        scalars = scalars_of(alive, hierarchy, cycle=start, horizon=horizon)
        values = scalars.frame["value"].to_list()
        found += _conflicts([_fixed(scalars, k, value=v) for k, v in enumerate(values)])
    return found


def refuse_contradictions(
    overrides: pl.DataFrame, hierarchy: Hierarchy, *, cycle: date | None = None
) -> None:
    """Raise RequestError naming every set that `contradictions` finds."""
    found = contradictions(overrides, hierarchy, cycle=cycle)
    if found:
        raise RequestError("; ".join(sentence for _, sentence in found))


def hold_fixed(
    draws: np.ndarray,
    sets: Sequence[Fixed],
    steps: np.ndarray,
    *,
    mean: np.ndarray | None = None,
    variance: np.ndarray | None = None,
    rng_of: RngOf,
) -> None:
    """Change the draws, in place, so that every fixed sum holds exactly in each of them.

    Parameters
    ----------
    draws : ndarray, shape (S, B, H)
        Sample paths of the items, multiples of their steps, at least 0. Changed in place, and only
        where a fixed sum covers a cell; unchanged when the request is refused.
    sets : sequence of Fixed
    steps : ndarray, shape (B,)
        Step of each item, a power of two.
    mean, variance : ndarray, shape (B, H), optional
        Of the cells, for spreading a change over them; see `judgement.spread.move_sum`.
    rng_of : callable
        Names to generator, such as `core.draws.series_rng` of the run's seed.

    Raises
    ------
    RequestError
        When a value is negative or no multiple of the coarsest step of its items, or the sums
        cannot all hold; the overrides are named.
    """
    if not sets:
        return
    _refuse_uneven(sets, steps)
    atoms = part([one.members for one in sets], [one.months for one in sets])
    targets = _targets(draws, sets, steps, atoms)
    for j, (items, months) in enumerate(zip(atoms.items, atoms.months, strict=True)):
        if items.size == 1:
            draws[:, items[0], months[0]] = targets[:, j]
            continue
        cells = draws[:, items, months].astype(np.float64, copy=False)
        over = [sets[k] for k in atoms.covers[j].tolist()]
        names = sorted(f"{one.override_id}/{one.months[0]}" for one in over)
        move_sum(
            cells,
            targets[:, j] - cells.sum(axis=1),
            steps=steps[items],
            rng=rng_of("fixed", *names),
            mean=None if mean is None else mean[items, months],
            variance=None if variance is None else variance[items, months],
            out=cells,
        )
        settle(cells, targets[:, j], steps=steps[items])
        draws[:, items, months] = cells


def _targets(
    draws: np.ndarray, sets: Sequence[Fixed], steps: np.ndarray, atoms: Atoms
) -> np.ndarray:
    """Sums (S, J) that the atoms must have."""
    units = np.array([steps[items].min() for items in atoms.items])
    now = np.empty((len(draws), len(units)))
    for j, (items, months) in enumerate(zip(atoms.items, atoms.months, strict=True)):
        for start in range(0, len(draws), _DRAWS):
            block = draws[start : start + _DRAWS, items, months]
            now[start : start + _DRAWS, j] = block.sum(axis=1, dtype=np.float64)
    totals = np.array([one.value for one in sets])
    targets = np.empty_like(now)
    for own, parts in atoms.groups(len(sets)):
        cover = atoms.cover(own, parts)
        new = nearest_sums(now[:, parts], cover, totals[own], units[parts])
        if new is None:
            raise RequestError(_cannot_hold([sets[k] for k in own.tolist()]))
        targets[:, parts] = new
    return targets


def _cannot_hold(sets: list[Fixed]) -> str:
    found = _conflicts(sets)
    if found:
        return "; ".join(sentence for _, sentence in found)
    names = _listed(sorted({repr(one.override_id) for one in sets}))
    return f"fixed overrides {names} cannot all hold in whole steps of their items; {_REMEDY}"


def _conflicts(sets: Sequence[Fixed]) -> list[tuple[tuple[str, ...], str]]:
    """Smallest contradictory sets that share no override."""
    atoms = part([one.members for one in sets], [one.months for one in sets])
    totals = np.array([one.value for one in sets])
    owner = np.unique([one.override_id for one in sets], return_inverse=True)[1]
    left = np.ones(len(sets), dtype=bool)
    found = []
    everywhere = np.arange(len(atoms.covers))
    for own, parts in atoms.groups(len(sets)):
        while (here := own[left[own]]).size > 1:
            conflict = smallest_conflict(atoms.cover(here, parts), totals[here], owner[here])
            if conflict is None:
                break
            # In other months fewer of the same overrides may contradict.
            here = np.flatnonzero(np.isin(owner, owner[here[conflict[0]]]))
            cover = atoms.cover(here, everywhere)
            conflict = smallest_conflict(cover, totals[here], owner[here])
            if conflict is None:
                break
            rows, multipliers = conflict
            clash = [sets[k] for k in here[rows].tolist()]
            ids = tuple(sorted({one.override_id for one in clash}))
            found.append((ids, _sentence(clash, multipliers)))
            left[np.isin(owner, owner[here[rows]])] = False
    return found


def _sentence(sets: list[Fixed], multipliers: np.ndarray) -> str:
    said = _listed(f"{one.override_id!r} ({one.where}) says {number(one.value)}" for one in sets)
    over = [one for one, times in zip(sets, multipliers, strict=True) if times > 0]
    under = [one for one, times in zip(sets, multipliers, strict=True) if times < 0]
    why = "no demand from 0 up adds up to all of them"
    if np.allclose(np.abs(multipliers), 1):
        more, less = (number(sum(one.value for one in some)) for some in (over, under))
        why = f"{more} of {_ids(over)} is more than the {less} of {_ids(under)} that it is part of"
        if len(sets) == 2 and _same_cells(*sets):
            why = "they give the same items and months two values"
    return f"fixed overrides cannot all hold: {said}: {why}; {_REMEDY}"


def _same_cells(one: Fixed, other: Fixed) -> bool:
    return np.array_equal(one.members, other.members) and np.array_equal(one.months, other.months)


def _refuse_uneven(sets: Sequence[Fixed], steps: np.ndarray) -> None:
    for one in sets:
        step = float(steps[one.members].max())
        below = float(np.floor(one.value / step)) * step
        if one.value < 0:
            allowed = "demand from 0 up"
        elif below != one.value:
            allowed = f"multiples of {number(step)}, such as {number(below)} or "
            allowed += number(below + step)
        else:
            continue
        raise RequestError(
            f"fixed override {one.override_id!r} ({one.where}): found {number(one.value)}; "
            f"allowed: {allowed}; change it or make it evidence"
        )


def _fixed(scalars: Scalars, k: int, *, value: float) -> Fixed:
    override_id, node, first, last = scalars.frame.select(
        "override_id", "node", "ds_from", "ds_to"
    ).row(k)
    months = month_name(first) if first == last else f"{month_name(first)} to {month_name(last)}"
    return Fixed(override_id, scalars.members[k], scalars.months[k], value, f"{node}, {months}")


def _ids(sets: Sequence[Fixed]) -> str:
    return _listed(dict.fromkeys(repr(one.override_id) for one in sets))


def _listed(parts: Iterable[str]) -> str:
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last
