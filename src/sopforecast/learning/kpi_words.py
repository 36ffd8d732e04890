"""What is said of a key figure, and in which colour: neutral, with its unit and sign.

Values are in percent, points or days; bias and its like are forecast minus actual.
"""

from __future__ import annotations

from datetime import date

from sopforecast.core.months import month_name
from sopforecast.learning.value_added import FEWEST_MONTHS
from sopforecast.settings_sections import (
    HIGHER_IS_BETTER,
    KPI_CENTRES,
    KpiName,
    KpiThreshold,
)

UNITS: dict[KpiName, str] = {
    "accuracy": "percent",
    "bias": "percent of demand",
    "value_added": "points of WMAPE",
    "coverage": "percent",
    "enrolment": "percent of plan",
    "site_activation": "days",
}
NOTHING: dict[KpiName, str] = {
    "accuracy": "No plan of this lag has been scored yet.",
    "bias": "No plan of this lag has been scored yet.",
    "value_added": "Not enough yet: no plan of this lag has been scored.",
    "coverage": "No range has been scored yet.",
    "enrolment": "No month of enrolment has been scored yet.",
    "site_activation": "No site was due yet.",
}
DECIMALS = 1
"""Values are coloured as they are shown: rounded to this many decimals."""

MINUS = "−"


def target(kpi: KpiName, line: KpiThreshold) -> str:
    """Up to where a KPI is green and yellow.

    Examples
    --------
    >>> target("accuracy", KpiThreshold(green=80, yellow=70))
    'green from 80%, yellow from 70%'
    """
    green, yellow = (f"{limit:g}".replace("-", MINUS) for limit in (line.green, line.yellow))
    words: dict[KpiName, str] = {
        "accuracy": f"green from {green}%, yellow from {yellow}%",
        "bias": f"green within {green}% of zero, yellow within {yellow}%",
        "value_added": f"green from {green} points, yellow from {yellow}",
        "coverage": f"green within {green} points of 80%, yellow within {yellow}",
        "enrolment": f"green from {green}% of plan, yellow from {yellow}%",
        "site_activation": f"green up to {green} days late, yellow up to {yellow}",
    }
    return words[kpi]


def colour(kpi: KpiName, value: float | None, line: KpiThreshold) -> str:
    """``green``, ``yellow``, ``red``; ``grey`` without a value.

    Examples
    --------
    >>> [colour("bias", value, KpiThreshold(green=5, yellow=10)) for value in (-4.0, 7.5, -11.0)]
    ['green', 'yellow', 'red']
    """
    if value is None:
        return "grey"
    shown = round(value, DECIMALS)
    if kpi in KPI_CENTRES:
        shown = round(abs(shown - KPI_CENTRES[kpi]), DECIMALS)
    is_higher = kpi in HIGHER_IS_BETTER
    for name, limit in (("green", line.green), ("yellow", line.yellow)):
        if shown >= limit if is_higher else shown <= limit:
            return name
    return "red"


def accuracy(wmape: float | None, *, months: int, lag: int, closed: date) -> str:
    """What accuracy is 100% less of."""
    over = f"over {_count(months, 'month')} to {month_name(closed)}"
    if wmape is None:
        return f"There was no demand {over}."
    return (
        f"The misses of {_plan(lag)}, whatever their direction, add up to {_number(wmape)}% of "
        f"demand {over}; accuracy is 100% less that."
    )


def bias(
    value: float | None, *, forecast: float, actual: float, months: int, lag: int, closed: date
) -> str:
    """Which way the plan lay off, and by how much."""
    over = f"over {_count(months, 'month')} to {month_name(closed)}"
    if value is None:
        return f"There was no demand {over}."
    where = "above" if round(value, 1) > 0 else "below" if round(value, 1) < 0 else "level with"
    return (
        f"Forecast minus actual is {_signed(value)}% of demand {over}: {_plan(lag)} lay {where} "
        f"demand, {forecast:,.0f} against {actual:,.0f}."
    )


def value_added(
    points: float | None,
    low: float | None,
    high: float | None,
    *,
    months: int,
    spoken: bool,
    lag: int,
    closed: date,
) -> str:
    """What judgement gained over the statistical forecast, and whether it can be told from zero."""
    if not spoken:
        return "Nobody spoke in these months: the consensus is the statistical forecast."
    if points is None or months < FEWEST_MONTHS:
        so_far = "" if points is None else f"; {_signed(points)} points so far"
        return f"Not enough yet: {months} of {_count(FEWEST_MONTHS, 'month')}{so_far}."
    said = f"The consensus against the statistical forecast: {_signed(points)} points of WMAPE"
    if low is not None and high is not None:
        apart = "not told apart" if low <= 0.0 <= high else "told apart"
        said += f" (90% range {_signed(low)} to {_signed(high)}, {apart} from zero)"
    return (
        f"{said}; plus is nearer to what came. Same items, {_plan(lag)}, "
        f"{_count(months, 'month')} to {month_name(closed)}."
    )


def coverage(inside: int, ranged: int) -> str:
    """How many should land inside, and how many did.

    Examples
    --------
    >>> coverage(298, 404)
    '8 of 10 should land inside P10 to P90; 7.4 did (298 of 404 forecasts of items, all leads).'
    """
    if ranged == 0:
        return NOTHING["coverage"]
    return (
        f"8 of 10 should land inside P10 to P90; {10 * inside / ranged:.1f} did "
        f"({inside:,} of {ranged:,} forecasts of items, all leads)."
    )


def enrolment(actual: float, planned: float, *, months: int, closed: date) -> str:
    """Patients beside the enrolment plan."""
    if months == 0:
        return "There is no enrolment plan of these months."
    over = f"{_count(months, 'month')} with a plan, to {month_name(closed)}"
    return f"{actual:,.0f} patients were enrolled and {planned:,.0f} planned over {over}."


def site_activation(days: float, *, sites: int, waiting: int, closed: date) -> str:
    """How late sites opened; waiting ones count as late as they are so far."""
    side = "late" if round(days, 1) > 0 else "early"
    verb = "is" if sites - waiting == 1 else "are"
    said = f"{sites - waiting:,} of {_count(sites, 'site')} due by {month_name(closed)} {verb} open"
    when = (
        f"on average {_number(abs(days))} days {side}" if round(days, 1) else "on the day planned"
    )
    if not waiting:
        return f"{said}, {when}."
    return (
        f"{said}, {when}, counting {_count(waiting, 'site')} still waiting up to that month's end."
    )


def _plan(lag: int) -> str:
    if lag == 0:
        return "the plan of the month's own cycle"
    return f"the plan made {_count(lag, 'cycle')} before"


def _number(value: float) -> str:
    return f"{value:,.1f}"


def _signed(value: float) -> str:
    rounded = round(value, 1)
    if rounded == 0:
        return "0.0"
    return f"{'+' if rounded > 0 else MINUS}{abs(rounded):,.1f}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
