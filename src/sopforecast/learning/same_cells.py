"""The ladder of stages on the same cells: who stands above whom, and what a missing stage equals.

A stage that a run does not have equals what stands before it, so every stage of a table counts the
same items, months and cycles.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from sopforecast.core.learning_tables import ANY, SEQUENTIAL
from sopforecast.core.months import add_months
from sopforecast.learning.ladder import ALONE, order_of_sources

NAIVE, STATISTICAL = 0, 1

_UNIT = ("fit_id", "ds", "cycle", "lead", "within", "measure")


class Rung(NamedTuple):
    """A row of the table: its stage, and the positions of other rows.

    ``above`` is the row it gains over, ``equals`` the row it repeats where a run does not have it;
    None: there is none.
    """

    stage: str
    alone: bool
    above: int | None
    equals: int | None


def rungs_of(stages: Sequence[str], sources: Sequence[str]) -> tuple[Rung, ...]:
    """Order the rows of a table.

    Parameters
    ----------
    stages : sequence of str
        Stages that were scored; who has none did not speak.
    sources : sequence of str
        Order of the settings.

    Returns
    -------
    tuple of Rung
        naive, statistical, each source alone, then one after the other, consensus, approved.

    Examples
    --------
    >>> [rung.stage for rung in rungs_of(["source:b", "source:a", "through:a"], ["b"])][2:-2]
    ['source:b', 'source:a', 'through:b', 'through:a']
    """
    spoken = {s.partition(":")[2] for s in stages if s.startswith((ALONE, SEQUENTIAL))}
    order = order_of_sources(spoken, sources)
    rungs = [Rung("naive", False, None, None), Rung("statistical", False, NAIVE, None)]
    rungs += [Rung(f"{ALONE}{name}", True, STATISTICAL, STATISTICAL) for name in order]
    last = STATISTICAL
    for name in order:
        rungs.append(Rung(f"{SEQUENTIAL}{name}", False, last, last))
        last = len(rungs) - 1
    rungs.append(Rung("consensus", False, last, STATISTICAL))
    rungs.append(Rung("approved", False, len(rungs) - 1, len(rungs) - 1))
    return tuple(rungs)


def counted(scores: pl.DataFrame) -> pl.DataFrame:
    """Keep the rows that count: first versions of items, of all sources and owners together.

    Raises
    ------
    ValueError
        When a stage of one close, month, cycle and selection is there twice.
    """
    if "fit_id" not in scores.columns:
        scores = scores.with_columns(fit_id=pl.lit(""))
    rows = scores.filter(
        pl.col("version") == "first",
        pl.col("level") == "item",
        pl.col("source") == ANY,
        pl.col("owner") == ANY,
        pl.col("cells") > 0,
    ).with_columns(pl.col("fit_id").fill_null(""), pl.col("measure").cast(pl.String))
    twice = rows.filter(rows.select(*_UNIT, "stage").is_duplicated()).sort(*_UNIT, "stage")
    if twice.height:
        raise ValueError(
            f"scores: {_told(twice.row(0, named=True))} is there twice; allowed: once a close; "
            "give the rows of each standing close once"
        )
    return rows


def inside(rows: pl.DataFrame, closed: date, window: int) -> pl.DataFrame:
    """Keep the ``window`` months up to ``closed``.

    Raises
    ------
    ValueError
        When the window is shorter than a month.
    """
    if window < 1:
        raise ValueError(f"windows: found {window}; allowed: 1 month or more")
    return rows.filter(pl.col("ds").is_between(add_months(closed, 1 - window), closed))


def unfilled(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the units that no table can hold: without naive or without statistical."""
    both = pl.col("stage").is_in(["naive", "statistical"]).sum()
    return rows.group_by(_UNIT).agg(both.alias("both")).filter(pl.col("both") < 2).sort(_UNIT)


class Cells(NamedTuple):
    """What is compared: U units (a month, cycle, selection and close) of K stages.

    Attributes
    ----------
    units : pl.DataFrame
        fit_id, ds, cycle, lead, within, measure; U rows, sorted.
    cells, demand : ndarray (U,)
        The same of every stage.
    size, error : ndarray (K, U)
        Sums of absolute errors, and of forecast minus actual.
    """

    units: pl.DataFrame
    cells: np.ndarray
    demand: np.ndarray
    size: np.ndarray
    error: np.ndarray


def filled(rows: pl.DataFrame, rungs: Sequence[Rung]) -> Cells:
    """Fill the ladder of every unit; units without naive or statistical are left out.

    Parameters
    ----------
    rows : pl.DataFrame
        See `counted`.
    rungs : sequence of Rung
        The K rows of the table, see `rungs_of`; other stages are not read.

    Returns
    -------
    Cells

    Raises
    ------
    ValueError
        When two stages of a unit count other cells or demand, or a source is there alone but not
        in its turn.
    """
    units = rows.select(_UNIT).unique().sort(_UNIT).with_row_index("unit")
    places = pl.DataFrame(
        {"stage": [rung.stage for rung in rungs], "rung": range(len(rungs))},
        schema={"stage": pl.String, "rung": pl.Int64},
    )
    placed = rows.join(units, on=list(_UNIT)).join(places, on="stage")
    sums = np.full((4, len(rungs), units.height), np.nan)
    numbers = placed.select(
        pl.col("cells").cast(pl.Float64),
        "demand",
        "absolute_error",
        pl.col("forecast") - pl.col("actual"),
    )
    sums[:, placed["rung"].to_numpy(), placed["unit"].to_numpy()] = numbers.to_numpy().T
    known = ~np.isnan(sums[0, [NAIVE, STATISTICAL]]).any(axis=0)
    sums, units = sums[:, :, known], units.filter(pl.Series(known)).drop("unit")
    _check_turns(sums[0], rungs, units)
    for k, rung in enumerate(rungs):
        if rung.equals is not None:
            lacking = np.isnan(sums[0, k])
            sums[:, k, lacking] = sums[:, rung.equals, lacking]
    cells, demand, size, error = sums
    _check_same(cells, demand, rungs, units)
    return Cells(units, cells[STATISTICAL], demand[STATISTICAL], size, error)


def _check_turns(cells: np.ndarray, rungs: Sequence[Rung], units: pl.DataFrame) -> None:
    """A source that spoke has both its rows."""
    at = {rung.stage: k for k, rung in enumerate(rungs)}
    for stage in (rung.stage for rung in rungs if rung.alone):
        turn = f"{SEQUENTIAL}{stage.removeprefix(ALONE)}"
        lacking = np.flatnonzero(~np.isnan(cells[at[stage]]) & np.isnan(cells[at[turn]]))
        if lacking.size:
            where = _told({**units.row(int(lacking[0]), named=True), "stage": stage})
            raise ValueError(
                f"scores: {where} has no {turn} beside it; allowed: both or neither; score the "
                "month again"
            )


def _check_same(
    cells: np.ndarray, demand: np.ndarray, rungs: Sequence[Rung], units: pl.DataFrame
) -> None:
    """All stages of a unit count the same items."""
    same = (cells == cells[STATISTICAL]) & np.isclose(demand, demand[STATISTICAL], rtol=1e-9)
    if same.all():
        return
    k, unit = (int(found[0]) for found in np.nonzero(~same))
    where = _told({**units.row(unit, named=True), "stage": rungs[k].stage})
    raise ValueError(
        f"scores: {where} counts {cells[k, unit]:.0f} cells with demand {demand[k, unit]:g}, "
        f"statistical {cells[STATISTICAL, unit]:.0f} with {demand[STATISTICAL, unit]:g}; allowed: "
        "the same items of every stage; score the month again"
    )


def _told(row: dict[str, Any]) -> str:
    """A row of scores by its key."""
    return (
        f"stage {row['stage']} of {row['ds']:%Y-%m}, cycle {row['cycle']:%Y-%m}, "
        f"{row['measure']} within {row['within']}"
    )
