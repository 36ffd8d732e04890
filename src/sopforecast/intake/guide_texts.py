"""The words of the planner's workbook: its columns, its guide, examples to copy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sopforecast.intake.overrides import REQUIRED as OVERRIDES_NEED
from sopforecast.intake.prices import REQUIRED as PRICES_NEED
from sopforecast.settings import SOURCES

Example = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Guide:
    """What the guide sheet of one variant says.

    Attributes
    ----------
    title : str
        Its headline.
    steps : tuple of str
        What to do, in order; ``{name}`` is the name of the file.
    rules : tuple of str
        Good to know.
    purpose : Mapping
        What each sheet holds.
    examples : tuple of (str, Example)
        What an example shows, and its header and rows.
    without_levels : str
        Said when no level columns are declared; may be empty.
    """

    title: str
    steps: tuple[str, ...]
    rules: tuple[str, ...]
    purpose: Mapping[str, str]
    examples: tuple[tuple[str, Example], ...]
    without_levels: str = ""


REQUIRED: Mapping[str, tuple[str, ...]] = {
    "items": ("unique_id",),
    "history": ("unique_id", "ds", "y"),
    "prices": PRICES_NEED,
    "overrides": OVERRIDES_NEED,
}
COLUMN_TEXTS: Mapping[str, Mapping[str, str]] = {
    "items": {
        "unique_id": "Id of the item, as text: leading zeros stay. The same id as in history.",
        "description": "What people call it.",
        "unit": "Unit of its history and forecast, such as pack, kg or vial.",
        "status": "active, launch, phase_out or discontinued.",
        "launch_ds": "First month it is sold, such as 2025-01.",
        "end_ds": "Last month it is sold.",
        "lead_time_days": "Days from order to delivery.",
        "lead_time_sd_days": "How much these days vary (standard deviation).",
        "plan_unit": "Common unit in which items of different units are added up.",
        "plan_factor": "Common units in one unit of the item: 0.5 when a pack holds half a litre.",
    },
    "history": {
        "unique_id": "Id of the item, as text: leading zeros stay.",
        "ds": "The month: type 2025-01, or its first day.",
        "y": "Demand by requested month, net of returns, in the item's unit. Empty means unknown, "
        "which is not zero.",
        "shipped": "What was shipped. With backlog it may replace y: shipped plus change in "
        "backlog.",
        "backlog": "Orders open at the end of the month.",
        "stockout_days": "Days of the month (0 to 31) without stock.",
        "one_off": "Part of y that will not come again, such as a tender. It is scored, but the "
        "models do not learn from it.",
        "note": "Anything people should remember about this month.",
    },
    "prices": {
        "unique_id": "Id of the item, as text: leading zeros stay.",
        "ds_from": "First month this price holds, such as 2025-01; it holds until the next one.",
        "currency": "Such as EUR: the same for all items.",
        "price": "What one unit of the item sells for.",
        "unit_cost": "What one unit costs.",
    },
    "overrides": {
        "override_id": "Your own id of this statement. Load it again with the same id to change or "
        "withdraw it.",
        "entered_cycle": "First forecast month of the cycle in which it was said. Empty: the open "
        "cycle.",
        "node": "An item id, total, or an aggregate such as family=Oncology. Level columns "
        "(family, region) or unique_id may stand in its place.",
        "ds_from": "First month it speaks of, such as 2027-01.",
        "ds_to": "Last month it speaks of. Empty: that month alone.",
        "per": "month: the value is of each month. span: of all its months together. Empty: month.",
        "kind": "absolute: the demand itself. delta: added to the statistical plan. percent: so "
        "many percent of it, such as 15.",
        "measure": "quantity, or revenue (which needs prices). Empty: quantity.",
        "value": "The number, in the unit of the node or in money. Empty: the middle of low and "
        "high.",
        "low": "With high: the truth lies between them with the probability in confidence.",
        "high": "See low.",
        "confidence": "How often such a range holds, above 0 and below 1. Empty: 0.8.",
        "probability": "Chance that it happens at all, such as 0.3 for a deal. Empty: it does.",
        "source": f"Who speaks: {', '.join(SOURCES)} (or those of your settings); or system:<tool> "
        "for another tool's forecast.",
        "owner": "The person who answers for it. The record is kept by person.",
        "reason": "Why, in a word or two that return, such as promotion or tender. The record is "
        "kept by reason.",
        "event_id": "The same for all statements about one event.",
        "assumption": "What must come true for it to hold.",
        "mode": "evidence: counts for what its source's record says. fixed: holds exactly in the "
        "approved plan. Empty: evidence.",
        "expires_cycle": "Cycle from which it no longer counts. Empty: it ends with its months.",
        "status": "active or withdrawn. Empty: active.",
        "scenario": "Empty: the base plan. Named scenarios are kept and do not move it.",
    },
}
PURPOSE: Mapping[str, str] = {
    "items": "One row an item. May stay empty: history alone is enough for a forecast.",
    "history": "One row an item and month.",
    "prices": "One row an item and month from which its price holds. Needed for revenue only.",
    "overrides": "One row a statement somebody makes about coming months. May stay empty.",
}
STEPS = (
    "Fill the sheet 'history': one row an item and month. unique_id, ds and y are enough.",
    "Fill the sheet 'items' when you want families, regions, units or life cycles.",
    "Fill the sheet 'overrides' with what people know of coming months and history cannot.",
    "Save, and run:  sopforecast load {name}",
    "Then:  sopforecast check,  sopforecast run,  sopforecast publish --cycle YYYY-MM",
)
RULES = (
    "Columns with a dark header are needed, the others may stay empty.",
    "Empty means unknown; write 0 when nothing was wanted. N/A or - is refused.",
    "Only whole months count: rows of the running month are kept, but marked partial.",
    "Nothing is loaded unless every row is good; each bad cell is named with its row and column.",
    "Load the whole file again whenever you like: rows that did not change are left alone.",
)
OVERRIDES_EXAMPLE = (
    ("override_id", "node", "ds_from", "kind", "value", "source", "owner", "reason"),
    ("S-014", "00417", "2026-12", "delta", "400", "sales", "Ann", "promotion"),
    ("M-003", "00982", "2027-01", "percent", "15%", "marketing", "Ben", "campaign"),
)
LONG_EXAMPLE = (
    ("unique_id", "ds", "y"),
    ("00417", "2025-01", "120"),
    ("00417", "2025-02", "135.5"),
    ("00982", "2025-01", "18"),
)
ACROSS_EXAMPLE = (
    ("unique_id", "Jan-25", "Feb-25", "Mar-25"),
    ("00417", "120", "135.5", "128"),
    ("00982", "18", "", "21"),
)
PLANNER = Guide(
    title="Your month in sopforecast",
    steps=STEPS,
    rules=RULES,
    purpose=PURPOSE,
    examples=(
        ("Sheet history, one row a month", LONG_EXAMPLE),
        ("Months across, in a file of its own:  sopforecast load history FILE", ACROSS_EXAMPLE),
        ("Sheet overrides: 400 more in a month, and 15 percent more in another", OVERRIDES_EXAMPLE),
    ),
    without_levels="Families or regions: name their columns in sopforecast.toml, "
    "levels = ['family'], and add them to the sheet items.",
)
