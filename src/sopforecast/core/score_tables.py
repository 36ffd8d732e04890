"""The tables of scores, each declared once: how good stored forecasts of closed months were.

Scores are kept as *sums*, so that percentages of any selection are made by adding sums and dividing
once, never by averaging percentages. ``ds`` is the month of demand, ``cycle`` the cycle whose
forecast it was, ``lead`` 1 for the cycle's first month. Errors are forecast minus actual.
"""

from __future__ import annotations

import dataframely as dy

VERSIONS = ("first", "restated")
SCORED_MEASURES = ("quantity", "value")


def _month(*, primary_key: bool = False) -> dy.Date:
    return dy.Date(resolution="1mo", primary_key=primary_key)


class ScoredActuals(dy.Schema):
    """Demand of an item as it was when a close scored it; ``restated``: it had been another."""

    fit_id = dy.String(primary_key=True)
    ds = _month(primary_key=True)
    unique_id = dy.String(primary_key=True)
    y = dy.Float64()
    version = dy.Enum(VERSIONS)


class Scores(dy.Schema):
    """Sums over the nodes of one level that were scored, of one month, cycle and stage.

    ``version`` first: nodes scored for the first time by this close; months add up over closes.
    restated: all nodes of the month as they are known now, written when an actual had changed.
    ``level`` is a label of the hierarchy, ``within`` ``total`` or, of items, a node of the first
    level. ``source`` and ``owner`` are ``*`` but for what one owner stated: there ``stage`` is
    ``stated`` or ``statistical``, of the same statements, and ``lead`` that of entry.
    ``measure`` value: in money, of items with a price. The forecast is ``plan``. ``scaled_*`` are
    in units of the item's in-sample seasonal naive error (of MASE and RMSSE). ``wis`` and ``crps``
    are sums over ``ranged`` and ``drawn`` cells; ``inside80`` counts P10 <= y <= P90.
    """

    fit_id = dy.String(primary_key=True)
    version = dy.Enum(VERSIONS, primary_key=True)
    ds = _month(primary_key=True)
    cycle = _month(primary_key=True)
    stage = dy.String(primary_key=True)
    level = dy.String(primary_key=True)
    within = dy.String(primary_key=True)
    measure = dy.Enum(SCORED_MEASURES, primary_key=True)
    source = dy.String(primary_key=True)
    owner = dy.String(primary_key=True)
    lead = dy.Int64(min=1)
    run_id = dy.String()
    cells = dy.Int64(min=0)
    actual = dy.Float64()
    forecast = dy.Float64()
    demand = dy.Float64(min=0)
    absolute_error = dy.Float64(min=0)
    squared_error = dy.Float64(min=0)
    scaled_cells = dy.Int64(min=0)
    scaled_error = dy.Float64(min=0)
    scaled_squared = dy.Float64(min=0)
    ranged = dy.Int64(min=0)
    inside80 = dy.Int64(min=0)
    wis = dy.Float64(min=0)
    drawn = dy.Int64(min=0)
    crps = dy.Float64()


class ValueAdded(dy.Schema):
    """One row a stage: how good it is; its gain over the row above, naive and statistical.

    ``window`` months up to ``closed``; ``months`` of them were scored. ``lead`` 0 is all leads.
    Gains are points of WMAPE (positive: better) with a 90% block-bootstrap range, null below six
    months. ``position`` orders the rows; ``alone`` rows (a source by itself) gain over statistical.
    """

    fit_id = dy.String(primary_key=True)
    closed = _month()
    window = dy.Int64(primary_key=True, min=1)
    measure = dy.Enum(SCORED_MEASURES, primary_key=True)
    within = dy.String(primary_key=True)
    lead = dy.Int64(primary_key=True, min=0)
    position = dy.Int64(primary_key=True, min=0)
    stage = dy.String()
    alone = dy.Bool()
    months = dy.Int64(min=0)
    cells = dy.Int64(min=0)
    accuracy = dy.Float64(nullable=True)
    wmape = dy.Float64(nullable=True)
    bias_percent = dy.Float64(nullable=True)
    gained = dy.Float64(nullable=True)
    gained_low = dy.Float64(nullable=True)
    gained_high = dy.Float64(nullable=True)
    over_naive = dy.Float64(nullable=True)
    over_naive_low = dy.Float64(nullable=True)
    over_naive_high = dy.Float64(nullable=True)
    over_statistical = dy.Float64(nullable=True)
    over_statistical_low = dy.Float64(nullable=True)
    over_statistical_high = dy.Float64(nullable=True)


class Calibration(dy.Schema):
    """Where actuals fell in the statistical range: counts, by level, segment and leads.

    ``segment`` is of items, ``*`` for sums. ``pit_1`` .. ``pit_10`` count the tenths of the
    randomised probability integral transform, lowest first. ``ratio`` is the 80% quantile of the
    distance from the median over that to P10 or P90 on its side: 1 is calibrated, above is too
    narrow a range.
    """

    fit_id = dy.String(primary_key=True)
    level = dy.String(primary_key=True)
    segment = dy.String(primary_key=True)
    lead_from = dy.Int64(primary_key=True, min=1)
    lead_to = dy.Int64(primary_key=True, min=1)
    months = dy.Int64(min=0)
    cells = dy.Int64(min=0)
    below10 = dy.Int64(min=0)
    inside80 = dy.Int64(min=0)
    above90 = dy.Int64(min=0)
    ratio = dy.Float64(nullable=True)
    pit_1 = dy.Int64(min=0)
    pit_2 = dy.Int64(min=0)
    pit_3 = dy.Int64(min=0)
    pit_4 = dy.Int64(min=0)
    pit_5 = dy.Int64(min=0)
    pit_6 = dy.Int64(min=0)
    pit_7 = dy.Int64(min=0)
    pit_8 = dy.Int64(min=0)
    pit_9 = dy.Int64(min=0)
    pit_10 = dy.Int64(min=0)


class EnrolmentScores(dy.Schema):
    """One stored enrolment forecast of a month beside what was enrolled (patients).

    ``planned`` is the enrolment plan of the month; null where there is none.
    """

    fit_id = dy.String(primary_key=True)
    version = dy.Enum(VERSIONS, primary_key=True)
    ds = _month(primary_key=True)
    cycle = _month(primary_key=True)
    study = dy.String(primary_key=True)
    level = dy.String(primary_key=True)
    node = dy.String(primary_key=True)
    lead = dy.Int64(min=1)
    run_id = dy.String()
    actual = dy.Float64(min=0)
    mean = dy.Float64(min=0)
    p10 = dy.Float64(min=0)
    p50 = dy.Float64(min=0)
    p90 = dy.Float64(min=0)
    wis = dy.Float64(min=0)
    planned = dy.Float64(nullable=True, min=0)


class SiteActivation(dy.Schema):
    """Planned against actual opening of a site, as of the end of a closed month.

    ``days_late`` counts to the opening or, of a site still waiting, to the end of the month so far.
    """

    fit_id = dy.String(primary_key=True)
    study = dy.String(primary_key=True)
    site = dy.String(primary_key=True)
    country = dy.String(nullable=True)
    owner = dy.String(nullable=True)
    planned = dy.Date()
    activated = dy.Date(nullable=True)
    days_late = dy.Int64()


class Kpis(dy.Schema):
    """One key figure of a closed month, with its threshold and who answers for it."""

    fit_id = dy.String(primary_key=True)
    closed = _month()
    kpi = dy.String(primary_key=True)
    within = dy.String(primary_key=True)
    value = dy.Float64(nullable=True)
    unit = dy.String()
    target = dy.String()
    colour = dy.Enum(("green", "yellow", "red", "grey"))
    owner = dy.String()
    sentence = dy.String()
