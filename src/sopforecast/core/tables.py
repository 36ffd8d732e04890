"""The tables of the month, each declared once: columns, types, keys and row rules.

Inputs (``Items``, ``History``) are what a planner loads; the bitemporal columns the planning store
adds to them are in ``planning_store.schema``. Outputs are what a run writes. A rule's name is the
name that appears in reports. A null inside a rule counts as valid.
"""

from __future__ import annotations

from itertools import combinations

import dataframely as dy
import polars as pl

ITEM_STATUSES = ("active", "launch", "phase_out", "discontinued")
STAGES = ("naive", "statistical", "consensus", "approved")
QUANTILE_COLUMNS = ("p05", "p10", "p25", "p50", "p75", "p90", "p95")


def _month(*, nullable: bool = False, primary_key: bool = False) -> dy.Date:
    return dy.Date(resolution="1mo", nullable=nullable, primary_key=primary_key)


class Items(dy.Schema):
    """One row an item. Level columns (family, region) stand beside these, named in settings."""

    unique_id = dy.String(primary_key=True, min_length=1, max_length=200)
    description = dy.String(nullable=True)
    unit = dy.String(nullable=True)
    status = dy.Enum(ITEM_STATUSES, nullable=True)
    launch_ds = _month(nullable=True)
    end_ds = _month(nullable=True)
    lead_time_days = dy.Float64(nullable=True, min=0)
    lead_time_sd_days = dy.Float64(nullable=True, min=0)
    plan_unit = dy.String(nullable=True)
    plan_factor = dy.Float64(nullable=True, min_exclusive=0)

    @dy.rule()
    def launch_before_end(cls) -> pl.Expr:
        return pl.col("launch_ds") <= pl.col("end_ds")


class History(dy.Schema):
    """Demand by requested month, net of returns, in the item's unit.

    ``y`` null means unknown, which is not zero. ``partial`` rows lie after the last complete month:
    kept, never fitted, never scored. ``one_off`` is inside ``y``: scored, left out of the fit.
    """

    unique_id = dy.String(primary_key=True, min_length=1, max_length=200)
    ds = _month(primary_key=True)
    y = dy.Float64(nullable=True, allow_inf=False, allow_nan=False)
    shipped = dy.Float64(nullable=True, allow_inf=False, allow_nan=False)
    backlog = dy.Float64(nullable=True, allow_inf=False, allow_nan=False)
    stockout_days = dy.Float64(nullable=True, min=0, max=31)
    one_off = dy.Float64(nullable=True, allow_inf=False, allow_nan=False)
    note = dy.String(nullable=True)
    partial = dy.Bool()


class Runs(dy.Schema):
    """One immutable run of one cycle; ``run_id`` is a hash of all that went into it."""

    run_id = dy.String(primary_key=True)
    cycle = _month()
    horizon = dy.Int64(min=1)
    known_by = dy.Datetime()
    seed = dy.Int64(min=0)
    draws = dy.Int64(min=1)
    code_version = dy.String()
    input_hash = dy.String()
    settings_hash = dy.String()
    settings = dy.String()
    levels = dy.String()
    items = dy.Int64(min=1)
    notes = dy.String()
    created_at = dy.Datetime()


class Published(dy.Schema):
    """Append-only history of the pointer: the highest version of a cycle is what stands."""

    cycle = _month(primary_key=True)
    version = dy.Int64(primary_key=True, min=1)
    stage = dy.String()
    run_id = dy.String()
    replaced_run = dy.String(nullable=True)
    by = dy.String()
    role = dy.String(nullable=True)
    at = dy.Datetime()
    note = dy.String(nullable=True)


class Forecasts(dy.Schema):
    """One row a stage, node (item or aggregate) and month. ``plan`` adds; quantiles do not."""

    run_id = dy.String(primary_key=True)
    cycle = _month()
    stage = dy.String(primary_key=True)
    unique_id = dy.String(primary_key=True)
    ds = _month(primary_key=True)
    lead = dy.Int64(min=1)
    plan = dy.Float64(min=0)
    mean = dy.Float64(min=0)
    p05 = dy.Float64(nullable=True, min=0)
    p10 = dy.Float64(nullable=True, min=0)
    p25 = dy.Float64(nullable=True, min=0)
    p50 = dy.Float64(nullable=True, min=0)
    p75 = dy.Float64(nullable=True, min=0)
    p90 = dy.Float64(nullable=True, min=0)
    p95 = dy.Float64(nullable=True, min=0)

    @dy.rule()
    def quantiles_do_not_cross(cls) -> pl.Expr:
        # Every pair, because a stage may keep some quantiles only and a null hides its neighbours.
        pairs = combinations(QUANTILE_COLUMNS, 2)
        return pl.all_horizontal(pl.col(low) <= pl.col(high) for low, high in pairs)


class Components(dy.Schema):
    """What one item's draws are rebuilt from, beside the run's seed and residual paths.

    ``kind`` is ``paths`` (centre plus scaled residual paths), ``counts`` (a count distribution
    around the same paths), ``zero`` (no demand to come) or ``clinic`` (paths of patients: made
    again from ``ClinicalParameters``; here only where the item stands). ``centre`` and ``spread``
    are H little-endian float64 values: the reconciled centre and the scale of a month; ``loadings``
    one more than there are levels, total first: how much of the scale the common path of each
    level carries and, last, the item's own path. ``step`` is the multiple every draw is rounded
    to. Of counts, ``dispersion`` is the extra variance of a month and ``drift`` that of the whole
    path, both relative to the mean squared. ``groups`` is a JSON list of the aggregates the item
    belongs to, one a level, total first. ``model`` and ``reason`` say what was fitted and why it
    fell back.
    """

    run_id = dy.String(primary_key=True)
    unique_id = dy.String(primary_key=True)
    kind = dy.Enum(["paths", "counts", "zero", "clinic"])
    segment = dy.String()
    groups = dy.String()
    model = dy.String()
    reason = dy.String(nullable=True)
    step = dy.Float64(min_exclusive=0)
    dispersion = dy.Float64(min=0)
    drift = dy.Float64(min=0)
    centre = dy.Binary()
    spread = dy.Binary()
    loadings = dy.Binary()


class ResidualPaths(dy.Schema):
    """Scaled out-of-sample residual paths of a run; ``path`` is H little-endian float64 values.

    ``part`` is ``common:<level>`` (the shared error of one aggregate of that level, scaled to mean
    square 1) or ``own:<segment>`` (one donor item's own part, in multiples of the item's scale).
    ``origin`` counts months before the end of history.
    """

    run_id = dy.String(primary_key=True)
    part = dy.String(primary_key=True)
    origin = dy.Int64(primary_key=True, min=0)
    donor = dy.String(primary_key=True)
    path = dy.Binary()


class Weights(dy.Schema):
    """Share of each model in the combined forecast of a segment; shares of a segment add to 1."""

    run_id = dy.String(primary_key=True)
    segment = dy.String(primary_key=True)
    model = dy.String(primary_key=True)
    weight = dy.Float64(min=0, max=1)
    cells = dy.Int64(min=0)
