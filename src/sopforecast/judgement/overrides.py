"""Which overrides live in a cycle, and what they state: scalars, each a sum over items and months.

Reads ``Overrides`` (the newest admitted row of each id) and returns the rows that live, the scalars
they state, and the columns of ``Statements`` that follow from the statistical draws. Axes: ``K``
scalars, ``B`` items, ``H`` months of the horizon.

An override lives from its ``entered_cycle`` until its last month is past, ``expires_cycle`` is
reached or it is withdrawn. Rows of a scenario are left out. Months before the cycle are dropped;
months beyond the horizon wait, and so does a whole span that ends beyond it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time
from statistics import NormalDist

import numpy as np
import polars as pl

from sopforecast.core.hierarchy import Hierarchy
from sopforecast.core.months import add_months, months_between
from sopforecast.errors import RequestError
from sopforecast.judgement.money import is_money
from sopforecast.judgement.spans import what_is_left

CONFIDENCE = 0.8
"""Probability of the stated range where none is given."""
_FLOOR_OF_BASELINE = 0.05
_FLOOR_OF_ADJUSTMENT = 0.2

SCALAR_COLUMNS = (
    "override_id",
    "ds_from",
    "ds_to",
    "node",
    "per",
    "kind",
    "measure",
    "value",
    "low",
    "high",
    "confidence",
    "probability",
    "source",
    "owner",
    "reason",
    "event_id",
    "assumption",
    "mode",
    "state",
    "entered_cycle",
    "entered_lead",
    "remainder",
)


@dataclass(frozen=True, eq=False)
class Live:
    """What lives in a cycle, and what lived in the one before and does no more.

    Attributes
    ----------
    rows : pl.DataFrame
        ``Overrides`` rows, sorted by id, with ``state`` (new, carried, changed) and ``waits_from``:
        the first of its months that lies beyond the horizon (of a span that ends there, its first
        month to come); null when none does.
    expired : pl.DataFrame
        ``Overrides`` rows, sorted by id, with ``why``: past, expires or withdrawn.
    """

    rows: pl.DataFrame
    expired: pl.DataFrame


@dataclass(frozen=True, eq=False)
class Scalars:
    """What is stated: K sums over items and months.

    Attributes
    ----------
    frame : pl.DataFrame
        K rows of ``SCALAR_COLUMNS``, sorted by override_id and ds_from. ``value``, ``low`` and
        ``high`` are of the scalar; ``remainder`` says that past months took their part of them.
        ``entered_lead`` is the lead, at entry, of the scalar's last month.
    members : tuple of ndarray of int, length K
        Ascending index of each item that is summed.
    months : tuple of ndarray of int, length K
        Months that are summed, counted from 0 at the cycle.
    notes : tuple of str
        What a reader of the run must know.
    """

    frame: pl.DataFrame
    members: tuple[np.ndarray, ...]
    months: tuple[np.ndarray, ...]
    notes: tuple[str, ...]


def live_overrides(
    overrides: pl.DataFrame,
    *,
    cycle: date,
    horizon: int,
    previous_known_by: datetime | None = None,
) -> Live:
    """Sort the overrides into those that live in this cycle and those that have just ended.

    Parameters
    ----------
    overrides : pl.DataFrame
        ``Overrides`` with ``known_at``, one row an id: the newest one known by the cut-off.
    cycle : date
        First forecast month.
    horizon : int
        Months forecast.
    previous_known_by : datetime, optional
        Cut-off of the run before, UTC without a zone: rows known later have changed since. Without
        it, the start of the cycle.
    """
    since = previous_known_by or datetime.combine(cycle, time.min)
    own = overrides.filter(pl.col("scenario").fill_null("").str.strip_chars() == "")
    own = own.sort("override_id").with_columns(is_changed=pl.col("known_at") > since)
    is_active = pl.col("status") == "active"
    rows = own.filter(is_active & _is_alive(cycle)).with_columns(
        state=pl.when(pl.col("entered_cycle") == cycle)
        .then(pl.lit("new"))
        .when("is_changed")
        .then(pl.lit("changed"))
        .otherwise(pl.lit("carried")),
        waits_from=_waits_from(cycle, horizon),
    )
    was_alive = _is_alive(add_months(cycle, -1)) & (is_active | pl.col("is_changed"))
    expired = own.filter(was_alive & ~(is_active & _is_alive(cycle))).with_columns(
        why=pl.when(~is_active)
        .then(pl.lit("withdrawn"))
        .when(pl.col("ds_to") < cycle)
        .then(pl.lit("past"))
        .otherwise(pl.lit("expires"))
    )
    return Live(rows.drop("is_changed"), expired.drop("is_changed"))


def scalars_of(
    live_rows: pl.DataFrame,
    hierarchy: Hierarchy,
    *,
    cycle: date,
    horizon: int,
    history: pl.DataFrame | None = None,
    prices: pl.DataFrame | None = None,
) -> Scalars:
    """Lay living overrides out as scalars: one a month, or one a span, inside the horizon.

    Parameters
    ----------
    live_rows : pl.DataFrame
        ``Live.rows``.
    hierarchy : Hierarchy
    cycle : date
        First forecast month.
    horizon : int
        Months forecast.
    history, prices : pl.DataFrame, optional
        Demand known before the cycle (unique_id, ds, y) and ``Prices``, for spans that have begun;
        see `judgement.spans.what_is_left`.

    Raises
    ------
    RequestError
        When a node is not known, or a span in money has begun and an item of it has no price.
    """
    last = add_months(cycle, horizon - 1)
    is_span = pl.col("per") == "span"
    members = _members(live_rows, hierarchy)
    spans, notes = what_is_left(
        live_rows.filter(is_span, pl.col("ds_to") <= last),
        hierarchy,
        cycle=cycle,
        history=history,
        prices=prices,
    )
    spans = spans.with_columns(pl.max_horizontal("ds_from", pl.lit(cycle)))
    singles = live_rows.filter(~is_span, pl.col("ds_from") <= last).with_columns(
        pl.date_ranges(
            pl.max_horizontal("ds_from", pl.lit(cycle)),
            pl.min_horizontal("ds_to", pl.lit(last)),
            interval="1mo",
        ).alias("ds_from"),
        remainder=pl.lit(False),
    )
    singles = singles.explode("ds_from").with_columns(ds_to="ds_from")
    lead = (_ordinal("ds_to") - _ordinal("entered_cycle") + 1).cast(pl.Int64).clip(lower_bound=1)
    frame = pl.concat([singles, spans.select(singles.columns)]).with_columns(entered_lead=lead)
    frame = frame.select(SCALAR_COLUMNS).sort("override_id", "ds_from")
    months = [
        np.arange(months_between(cycle, first), months_between(cycle, to) + 1)
        for first, to in frame.select("ds_from", "ds_to").iter_rows()
    ]
    return Scalars(frame, tuple(members[node] for node in frame["node"]), tuple(months), notes)


def state_quantities(
    frame: pl.DataFrame,
    *,
    mean: np.ndarray,
    sd: np.ndarray,
    step: np.ndarray,
    price: np.ndarray | None = None,
) -> pl.DataFrame:
    """Add what each scalar states as a quantity, beside the statistical draws of the same sum.

    Parameters
    ----------
    frame : pl.DataFrame
        ``Scalars.frame``.
    mean, sd : ndarray, shape (K,)
        Of the statistical draws of the sum, before any conditioning.
    step : ndarray, shape (K,)
        What the sum is a multiple of.
    price : ndarray, shape (K,), optional
        Mix price of the node in these months (`judgement.money.prices_of`), for statements in
        money.

    Returns
    -------
    pl.DataFrame
        The frame with ``baseline`` (the mean), ``sd``, ``stated``, ``stated_sd`` (null without a
        range), ``adjustment`` (stated minus baseline), ``direction`` (``up`` from 0 on) and
        ``unit_sd``, all of the sum and in its unit.

    Notes
    -----
    ``stated`` is the value (absolute), baseline + value (delta) or baseline (1 + value / 100)
    (percent). ``stated_sd = (high - low) / (2 z)``, z the normal quantile of (1 + confidence) / 2.
    ``unit_sd = max(sd, step, 5% of |baseline|, 20% of |adjustment|)``.
    """
    money = frame.select(is_money()).to_series().to_numpy()
    if bool(money.any()) and (price is None or not bool(np.isfinite(price[money]).all())):
        raise ValueError("price: missing for a statement in money; take it from prices_of")
    kind = frame["kind"].cast(pl.String).to_numpy()
    scale = np.ones(frame.height)
    if price is not None:
        scale[money] = 1.0 / price[money]
    scale = np.where(kind == "percent", mean / 100.0, scale)
    stated = frame["value"].to_numpy() * scale + np.where(kind == "absolute", 0.0, mean)
    adjustment = stated - mean
    floor = np.maximum(_FLOOR_OF_BASELINE * np.abs(mean), _FLOOR_OF_ADJUSTMENT * np.abs(adjustment))
    return frame.with_columns(
        baseline=pl.Series(mean, dtype=pl.Float64),
        sd=pl.Series(sd, dtype=pl.Float64),
        stated=pl.Series(stated),
        stated_sd=_half_width(frame) * pl.Series(scale),
        adjustment=pl.Series(adjustment),
        direction=pl.Series(np.where(adjustment >= 0, "up", "down"), dtype=pl.String),
        unit_sd=pl.Series(np.maximum.reduce([sd, step, floor])),
    )


def _is_alive(cycle: date) -> pl.Expr:
    """Alive by its dates alone."""
    return (
        (pl.col("entered_cycle") <= cycle)
        & (pl.col("ds_to") >= cycle)
        & (pl.col("expires_cycle") > cycle).fill_null(True)
    )


def _waits_from(cycle: date, horizon: int) -> pl.Expr:
    beyond = add_months(cycle, horizon)
    from_then = pl.max_horizontal("ds_from", pl.lit(beyond))
    whole = pl.max_horizontal("ds_from", pl.lit(cycle))
    waiting = pl.when(pl.col("per") == "span").then(whole).otherwise(from_then)
    return pl.when(pl.col("ds_to") >= beyond).then(waiting)


def _members(live_rows: pl.DataFrame, hierarchy: Hierarchy) -> dict[str, np.ndarray]:
    """Items of each node that occurs; RequestError naming the override of an unknown one."""
    members: dict[str, np.ndarray] = {}
    for override_id, node in live_rows.select("override_id", "node").iter_rows():
        if node not in members:
            try:
                members[node] = hierarchy.descendants(node)
            except RequestError as err:
                raise RequestError(f"override {override_id!r}: {err}") from err
    return members


def _ordinal(month: str) -> pl.Expr:
    return pl.col(month).dt.year().cast(pl.Int64) * 12 + pl.col(month).dt.month()


def _half_width(frame: pl.DataFrame) -> pl.Expr:
    """(high - low) / 2 in normal standard deviations; null without a range."""
    levels = frame["confidence"].fill_null(CONFIDENCE).unique().to_list()
    z = {level: NormalDist().inv_cdf((1 + level) / 2) for level in levels}
    confidence = pl.col("confidence").fill_null(CONFIDENCE)
    return (pl.col("high") - pl.col("low")) / (
        2 * confidence.replace_strict(z, return_dtype=pl.Float64)
    )
