"""The tables of judgement, each declared once: what people say, what it moved, what it is worth.

Inputs (``Overrides``, ``Prices``) are what a planner loads. ``Statements`` and ``Bridge`` are
written by a run, ``Credibility`` by a close. ``Observations`` are statements whose months are over,
joined to what happened: never stored, made again from statements and history. A rule's name is the
name that appears in reports. A null inside a rule counts as valid.
"""

from __future__ import annotations

import dataframely as dy
import polars as pl

PER = ("month", "span")
KINDS = ("absolute", "delta", "percent")
MEASURES = ("quantity", "revenue")
MODES = ("evidence", "fixed")
OVERRIDE_STATUSES = ("active", "withdrawn")
STATES = ("new", "carried", "changed")
DIRECTIONS = ("up", "down")
METHODS = ("prior", "closed_form", "nuts")
ANY = "*"


def _month(*, nullable: bool = False, primary_key: bool = False) -> dy.Date:
    return dy.Date(resolution="1mo", nullable=nullable, primary_key=primary_key)


class Overrides(dy.Schema):
    """One judgement of somebody about a node and some months.

    ``value`` is in the node's unit (``quantity``) or in money (``revenue``), of each month
    (``per`` month) or of all of them together (``span``): the demand itself (``absolute``), what is
    added to the statistical mean (``delta``), or a percentage of it (``percent``). With ``low``
    and ``high`` the truth lies between them with probability ``confidence``. With ``probability``
    below 1 it happens in that share of the draws and not at all in the others. ``fixed`` holds
    exactly in the approved plan; ``evidence`` counts for what its source's record says.
    """

    override_id = dy.String(primary_key=True, min_length=1, max_length=200)
    entered_cycle = _month()
    node = dy.String(min_length=1, max_length=500)
    ds_from = _month()
    ds_to = _month()
    per = dy.Enum(PER)
    kind = dy.Enum(KINDS)
    measure = dy.Enum(MEASURES)
    value = dy.Float64(allow_inf=False, allow_nan=False)
    low = dy.Float64(nullable=True, allow_inf=False, allow_nan=False)
    high = dy.Float64(nullable=True, allow_inf=False, allow_nan=False)
    confidence = dy.Float64(nullable=True, min_exclusive=0, max_exclusive=1)
    probability = dy.Float64(min_exclusive=0, max=1)
    source = dy.String(min_length=1, max_length=200)
    owner = dy.String(min_length=1, max_length=200)
    reason = dy.String(min_length=1, max_length=200)
    event_id = dy.String(nullable=True)
    assumption = dy.String(nullable=True)
    mode = dy.Enum(MODES)
    expires_cycle = _month(nullable=True)
    status = dy.Enum(OVERRIDE_STATUSES)
    scenario = dy.String(nullable=True)

    @dy.rule()
    def from_before_to(cls) -> pl.Expr:
        return pl.col("ds_from") <= pl.col("ds_to")

    @dy.rule()
    def low_below_high(cls) -> pl.Expr:
        return pl.col("low") <= pl.col("high")

    @dy.rule()
    def value_inside_range(cls) -> pl.Expr:
        return pl.col("value").is_between(pl.col("low"), pl.col("high"))

    @dy.rule()
    def percent_from_minus_100(cls) -> pl.Expr:
        lowest = pl.min_horizontal("value", "low")
        return (pl.col("kind") != "percent") | (lowest >= -100)

    @dy.rule()
    def absolute_not_negative(cls) -> pl.Expr:
        lowest = pl.min_horizontal("value", "low")
        return (pl.col("kind") != "absolute") | (lowest >= 0)


class Prices(dy.Schema):
    """What one unit of an item sells for and costs, from a month on, in one currency."""

    unique_id = dy.String(primary_key=True, min_length=1, max_length=200)
    ds_from = _month(primary_key=True)
    currency = dy.String(nullable=True)
    price = dy.Float64(min_exclusive=0, allow_inf=False, allow_nan=False)
    unit_cost = dy.Float64(nullable=True, min=0, allow_inf=False, allow_nan=False)


class Statements(dy.Schema):
    """What one override says in one run, a row a scalar: one month, or one span of months.

    Quantities are sums over the node's items and the months ``ds_from`` .. ``ds_to``, in the
    node's unit. ``baseline`` and ``sd`` are of the statistical draws; ``unit_sd`` is ``sd`` with
    its floor, the unit of shift, spread and ``stated_sd``. ``adjustment`` is ``stated - baseline``.
    ``moved`` is what the statement, among all, did to the consensus mean of its own node and
    months. ``weight`` ..
    ``tail`` are the credibility it counted with; ``prior_only`` says that it was not yet earned;
    ``counted`` is the weight with its stated range considered. ``entered_lead`` is the lead, at
    entry, of the last month.
    """

    run_id = dy.String(primary_key=True)
    override_id = dy.String(primary_key=True)
    ds_from = _month(primary_key=True)
    ds_to = _month()
    cycle = _month()
    node = dy.String()
    per = dy.Enum(PER)
    kind = dy.Enum(KINDS)
    mode = dy.Enum(MODES)
    source = dy.String()
    owner = dy.String()
    reason = dy.String()
    event_id = dy.String(nullable=True)
    assumption = dy.String(nullable=True)
    state = dy.Enum(STATES)
    entered_cycle = _month()
    entered_lead = dy.Int64(min=1)
    probability = dy.Float64(min_exclusive=0, max=1)
    stated = dy.Float64()
    stated_sd = dy.Float64(nullable=True, min=0)
    baseline = dy.Float64()
    sd = dy.Float64(min=0)
    unit_sd = dy.Float64(min_exclusive=0)
    baseline_at_entry = dy.Float64(nullable=True)
    in_history = dy.Bool()
    adjustment = dy.Float64()
    direction = dy.Enum(DIRECTIONS)
    weight = dy.Float64()
    shift = dy.Float64()
    spread = dy.Float64(min=0)
    weight_sd = dy.Float64(min=0)
    shift_sd = dy.Float64(min=0)
    covariance = dy.Float64()
    inflation = dy.Float64(min=0)
    common_error = dy.Float64(min=0, max=1)
    event_error = dy.Float64(min=0, max=1)
    overconfidence = dy.Float64(min=0)
    tail = dy.Float64(min_exclusive=2)
    observations = dy.Int64(min=0)
    prior_only = dy.Bool()
    counted = dy.Float64()
    moved = dy.Float64()


class Bridge(dy.Schema):
    """From the statistical plan to the approved one: a row a step, for nodes and months it moved.

    ``step`` is ``statistical`` (the plan to start from), ``source:<name>``, ``whole_numbers``
    (what rounding and no-negatives add; the consensus plan is reached after it) and ``fixed`` (the
    approved plan is reached after it). ``change`` adds up over steps, nodes and months; ``plan`` is
    the sum so far.
    """

    run_id = dy.String(primary_key=True)
    unique_id = dy.String(primary_key=True)
    ds = _month(primary_key=True)
    position = dy.Int64(primary_key=True, min=0)
    step = dy.String()
    change = dy.Float64()
    plan = dy.Float64()


class Credibility(dy.Schema):
    """What closed months say a source, owner, reason and direction are worth; ``*`` is any.

    ``truth - baseline = shift + weight * adjustment + noise``, noise of scale ``spread``; shift,
    spread and ``inflation`` in multiples of ``unit_sd``. ``covariance`` is that of shift and
    weight. ``inflation`` is the typical size of ``truth - baseline`` where
    this one speaks, as the line has it.
    ``common_error`` is the correlation of errors between contributors, ``event_error`` inside one
    event, ``months_error`` between months of one statement. ``overconfidence`` multiplies stated
    ranges. ``tail`` is the degrees of freedom of the noise. ``observations`` counts rows,
    ``opinions`` overrides (however many months each).
    """

    fit_id = dy.String(primary_key=True)
    source = dy.String(primary_key=True)
    owner = dy.String(primary_key=True)
    reason = dy.String(primary_key=True)
    direction = dy.String(primary_key=True)
    closed = _month()
    known_at = dy.Datetime()
    observations = dy.Int64(min=0)
    opinions = dy.Int64(min=0)
    weight = dy.Float64()
    weight_sd = dy.Float64(min=0)
    weight_p10 = dy.Float64()
    weight_p90 = dy.Float64()
    shift = dy.Float64()
    shift_sd = dy.Float64(min=0)
    covariance = dy.Float64()
    spread = dy.Float64(min=0)
    spread_p05 = dy.Float64(min=0)
    spread_p95 = dy.Float64(min=0)
    inflation = dy.Float64(min=0)
    common_error = dy.Float64(min=0, max=1)
    event_error = dy.Float64(min=0, max=1)
    months_error = dy.Float64(min=0, max=1)
    overconfidence = dy.Float64(min=0)
    tail = dy.Float64(min_exclusive=2)
    half_life = dy.Float64(nullable=True, min_exclusive=0)
    method = dy.Enum(METHODS)
    r_hat = dy.Float64(nullable=True)
    ess = dy.Float64(nullable=True)
    divergences = dy.Int64(nullable=True)


class Observations(dy.Schema):
    """One closed scalar of one override: what was said and what came, in ``unit_sd`` of its run.

    ``d`` is stated minus baseline (times the stated probability), ``y`` truth minus baseline.
    ``cell`` names node and months, so that contributors who spoke of the same thing are found.
    ``age`` is months between its last month and the newest closed one. ``stated_sd`` is null when
    no range was given.
    """

    override_id = dy.String(primary_key=True)
    ds_from = _month(primary_key=True)
    source = dy.String()
    owner = dy.String()
    reason = dy.String()
    event_id = dy.String(nullable=True)
    cell = dy.String()
    age = dy.Float64(min=0)
    y = dy.Float64(allow_inf=False, allow_nan=False)
    d = dy.Float64(allow_inf=False, allow_nan=False)
    stated_sd = dy.Float64(nullable=True, min=0)
