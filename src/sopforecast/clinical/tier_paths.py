"""When every open line converts, in S shared paths, given that it has not by now.

A line open at age ``a`` converts one day with probability
``p (1 - F(a)) / [p (1 - F(a)) + (1 - p) (1 - G(a))]``, and then after a delay of ``F`` beyond
``a``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from sopforecast.clinical.book import SCOPES, landmarks, open_lines
from sopforecast.clinical.conversion import Conversion
from sopforecast.clinical.conversion_model import Laws, laws
from sopforecast.clinical.inputs import ClinicalInputs
from sopforecast.clinical.paths import NEVER
from sopforecast.core.draws import series_rng


@dataclass(frozen=True, eq=False)
class LinePaths:
    """The sampled future of L open lines.

    Attributes
    ----------
    frame : pl.DataFrame
        L rows: the last version of each open line, with ``begun`` (months from the cycle to its
        landmark), in the order of the columns below.
    month : ndarray of int16 (S, L)
        Month of conversion (0 is the cycle); the horizon or more: later; ``NEVER``: not at all.
    amount : ndarray of float32 (S, L)
        Patients (study lines) or units (account lines) it brings if it converts.
    """

    frame: pl.DataFrame
    month: np.ndarray
    amount: np.ndarray


def sample_lines(
    conversion: Conversion, inputs: ClinicalInputs, *, paths: int, horizon: int, seed: int
) -> LinePaths:
    """Draw the month in which each open line converts.

    Parameters
    ----------
    conversion : Conversion
    inputs : ClinicalInputs
        The ones it was fitted or rebuilt with.
    paths, horizon : int
        S paths, path s with parameter draw s mod R; months from the cycle on.
    seed : int
        A line's draws depend on it and the line's id only.

    Notes
    -----
    A line converts whole, all its patients in one month: a group that was listed together is taken
    to come together, which is the wider answer.
    """
    frame = open_lines(inputs)
    month = np.full((paths, frame.height), NEVER, dtype=np.int16)
    amount = np.empty((paths, frame.height), dtype=np.float32)
    quantity = frame["quantity"].to_numpy()
    amount[:] = quantity
    draw = np.arange(paths) % len(conversion.ratio)
    for scope, rows, at in _current(inputs):
        law = laws(conversion.lines[scope], conversion.theta[scope], rows)
        age = conversion.lines[scope].month[rows]
        will = law.chance_open(age)
        for k, column in enumerate(at):
            rng = series_rng(seed, "tier line", frame["line_id"][int(column)])
            comes = rng.random(paths) < will[draw, k]
            delay = _delays(law, k, age[k], rng.exponential(size=paths), draw)
            begun = int(frame["begun"][int(column)])
            when = np.minimum(begun + delay, NEVER - 1)
            month[:, column] = np.where(comes, when, NEVER).astype(np.int16)
            if scope == "account":
                amount[:, column] = _amounts(
                    quantity[column], conversion.ratio[draw], rng.standard_normal(paths)
                )
    return LinePaths(frame=frame, month=month, amount=amount)


def month_chances(conversion: Conversion, inputs: ClinicalInputs, *, horizon: int) -> np.ndarray:
    """Probability (R, L, H) that each open line (`LinePaths.frame`) converts in each month.

    For exact counts: ``counts.mixture(month_chances(...)[:, :, :6].sum(axis=2))`` is how many
    convert in the next six months.
    """
    frame = open_lines(inputs)
    found = np.zeros((len(conversion.ratio), frame.height, horizon))
    for scope, rows, at in _current(inputs):
        law = laws(conversion.lines[scope], conversion.theta[scope], rows)
        age = conversion.lines[scope].month[rows]
        still = np.maximum(law.not_converted(age), 1e-300)
        gone = [law.not_converted(age + h) / still for h in range(horizon + 1)]
        will = law.chance_open(age)
        for h in range(horizon):
            found[:, at, h] = will * (gone[h] - gone[h + 1])
    return found


def account_demand(
    lines: LinePaths, inputs: ClinicalInputs, *, paths: int, horizon: int
) -> tuple[tuple[str, ...], np.ndarray]:
    """What account lines ask of items: (items sorted, draws (S, b, H) in units of the item).

    Only months inside the horizon; ``inputs`` are those of the cycle the paths begin with.
    """
    if len(lines.month) != paths:
        raise ValueError(f"paths: found {len(lines.month)} of the lines, asked for {paths}")
    ids = lines.frame["unique_id"]
    is_account = lines.frame["account"].is_not_null().to_numpy()
    known = inputs.tier_lines.filter(pl.col("account").is_not_null())["unique_id"]
    items = tuple(sorted(known.drop_nulls().unique().to_list()))
    draws = np.zeros((paths, len(items), horizon))
    for column in np.flatnonzero(is_account):
        month = lines.month[:, column]
        inside = np.flatnonzero(month < horizon)
        item = items.index(ids[int(column)])
        draws[inside, item, month[inside]] += lines.amount[inside, column]
    return items, draws


def _current(inputs: ClinicalInputs) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """By scope: places of current landmarks among its landmarks, and among the open lines."""
    marks = landmarks(inputs)
    order = np.cumsum(marks["is_current"].to_numpy()) - 1
    found = []
    for scope in SCOPES:
        mine = (marks["scope"] == scope).to_numpy()
        current = marks["is_current"].to_numpy()
        rows = np.flatnonzero(current[mine])
        if rows.size:
            found.append((scope, rows, order[mine & current]))
    return found


def _delays(law: Laws, k: int, age: float, exponential: np.ndarray, draw: np.ndarray) -> np.ndarray:
    """Whole months (S,) of line k, above its age: the Weibull's excess over it, by inversion."""
    log_scale, shape = law.log_scale[draw, k], law.shape[draw, 0]
    with np.errstate(divide="ignore"):
        past = np.exp(shape * (np.log(age + 1.0) - log_scale))
    time = np.exp(log_scale + np.log(past + exponential) / shape)
    return np.maximum(np.floor(np.minimum(time, 2.0 * NEVER)), age + 1.0).astype(np.int64)


def _amounts(quantity: float, ratio: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Units that come of a listed quantity (S,); whole where the listed quantity is whole."""
    amount = quantity * np.exp(ratio[:, 0] + ratio[:, 1] * normal)
    return np.rint(amount) if quantity == np.rint(quantity) else amount
