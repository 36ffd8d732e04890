"""The tables of learning, each declared once: what closed months teach, and what was decided.

Those of a close (``CLOSE_TABLES``) carry its ``fit_id``, and none is ever changed; what was scored
is declared in ``score_tables``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import dataframely as dy
import polars as pl

from sopforecast.core.score_tables import (
    Calibration,
    EnrolmentScores,
    Kpis,
    ScoredActuals,
    Scores,
    SiteActivation,
    ValueAdded,
)

ANY = "*"
LEARNED_TABLES = ("weights", "widths", "credibility", "conversion")
DECISIONS = ("adopt", "keep", "refuse", "revert", "not_enough")
# Of each table the procedure that rules until proof (the cold start) and the one that must prove.
PROCEDURES: dict[str, tuple[str, str]] = {
    "weights": ("backtest", "live"),
    "widths": ("backtest", "live"),
    "credibility": ("prior", "learned"),
    "conversion": ("learned", "elicited"),
}
SEQUENTIAL = "through:"  # stage: all sources up to and with this one, in the order of the settings


def _month(*, nullable: bool = False, primary_key: bool = False) -> dy.Date:
    return dy.Date(resolution="1mo", nullable=nullable, primary_key=primary_key)


@dataclass(frozen=True, eq=False)
class Learned:
    """What closed months taught, as far as it has proved itself; a run without it starts cold.

    Attributes
    ----------
    weights : pl.DataFrame, optional
        ``LearnedWeights``; None: every run weighs its models by its own backtest.
    widths : pl.DataFrame, optional
        ``LearnedWidths``; None: factors are 1.
    conversion : str
        A procedure of ``PROCEDURES["conversion"]``.
    """

    weights: pl.DataFrame | None = None
    widths: pl.DataFrame | None = None
    conversion: Literal["learned", "elicited"] = "learned"


class ModelPaths(dy.Schema):
    """Forecasts of one model from one origin, for many series: what need not be fitted again.

    ``origin`` is the last month known; ``names`` a JSON list of N series; ``keys`` N x 16 bytes,
    each a digest of all that the model saw of its series; ``paths`` N x H little-endian float64.
    ``code`` tells the code and library versions; ``is_end`` whether its history ended there.
    """

    run_id = dy.String(primary_key=True)
    origin = _month(primary_key=True)
    model = dy.String(primary_key=True)
    horizon = dy.Int64(min=1)
    code = dy.String()
    is_end = dy.Bool()
    names = dy.String()
    keys = dy.Binary()
    paths = dy.Binary()


class ModelErrors(dy.Schema):
    """How far off each model of a segment was at the past origins of a run, before any weight.

    ``relative_error`` is over that of the segment's best model on the same cells; ``origins``,
    ``series`` and ``cells`` are what it rests on.
    """

    run_id = dy.String(primary_key=True)
    segment = dy.String(primary_key=True)
    model = dy.String(primary_key=True)
    relative_error = dy.Float64(min=0)
    origins = dy.Int64(min=0)
    series = dy.Int64(min=0)
    cells = dy.Int64(min=0)


class RunTables(dy.Schema):
    """Which procedure of each learned table a run used, and the fit it came from."""

    run_id = dy.String(primary_key=True)
    table = dy.Enum(LEARNED_TABLES, primary_key=True)
    procedure = dy.String()
    fit_id = dy.String(nullable=True)


class LearnedWidths(dy.Schema):
    """By what the widths of the next runs are multiplied.

    ``part`` is ``common`` (the shared paths of all levels), ``own:<segment>`` or, on top of them,
    ``lead:<first>-<last>`` (months ahead).
    """

    fit_id = dy.String(primary_key=True)
    part = dy.String(primary_key=True)
    factor = dy.Float64(min_exclusive=0)
    ratio = dy.Float64(min=0)
    months = dy.Int64(min=0)
    cells = dy.Int64(min=0)


class LearnedWeights(dy.Schema):
    """Share of each model in a segment, from live and backtest errors; of a segment they add to 1.

    ``relative_error`` is the model's error over that of the segment's best, live and backtest
    together.
    """

    fit_id = dy.String(primary_key=True)
    segment = dy.String(primary_key=True)
    model = dy.String(primary_key=True)
    weight = dy.Float64(min=0, max=1)
    relative_error = dy.Float64(min=0)
    live_months = dy.Int64(min=0)
    live_cells = dy.Int64(min=0)
    backtest_cells = dy.Int64(min=0)


class Contests(dy.Schema):
    """One cycle's forecast of one month under both procedures of a table, all else equal.

    ``champion`` and ``challenger`` of ``PROCEDURES``, in this order: their losses are sums over
    ``cells``; ``size`` is what to divide by so that differences are shares. ``learned_fit`` is the
    fit the learned one rests on, known before the cycle's cut-off.
    """

    fit_id = dy.String(primary_key=True)
    table = dy.Enum(LEARNED_TABLES, primary_key=True)
    cycle = _month(primary_key=True)
    ds = _month(primary_key=True)
    lead = dy.Int64(min=1)
    cold_loss = dy.Float64(min=0)
    other_loss = dy.Float64(min=0)
    size = dy.Float64(min=0)
    cells = dy.Int64(min=0)
    learned_fit = dy.String(nullable=True)


class LearningLog(dy.Schema):
    """What the gate decided of a table at a close: which procedure rules the cycles to come.

    ``difference`` is the challenger's loss minus the ruling procedure's, as a share of the ruling
    one's, over ``cycles``; ``low`` and ``high`` are its one-sided 90% limits, each for itself.
    """

    fit_id = dy.String(primary_key=True)
    table = dy.Enum(LEARNED_TABLES, primary_key=True)
    closed = _month()
    ruled = dy.String()
    challenger = dy.String()
    decision = dy.Enum(DECISIONS)
    rules = dy.String()
    cycles = dy.Int64(min=0)
    difference = dy.Float64(nullable=True)
    low = dy.Float64(nullable=True)
    high = dy.Float64(nullable=True)
    reason = dy.String()


# What a close writes beside credibility, by table name.
CLOSE_TABLES: dict[str, type[dy.Schema]] = {
    "scored_actuals": ScoredActuals,
    "scores": Scores,
    "value_added": ValueAdded,
    "calibration": Calibration,
    "learned_widths": LearnedWidths,
    "learned_weights": LearnedWeights,
    "contests": Contests,
    "learning_log": LearningLog,
    "enrolment_scores": EnrolmentScores,
    "site_activation": SiteActivation,
    "kpis": Kpis,
}


def empty(table: type[dy.Schema], *, without: str | None = None) -> pl.DataFrame:
    """No rows of a table, typed; ``without`` leaves one column out, such as ``fit_id``."""
    columns = {n: c.dtype for n, c in table.columns().items() if n != without}
    return pl.DataFrame(schema=columns)
