"""The clinical tables as files hold them: what is needed, what an empty cell means, what is a name.

Nothing here looks at rows; `clinical` does, with what is declared here.
"""

from __future__ import annotations

from collections.abc import Mapping

import dataframely as dy

from sopforecast.core.clinical_tables import ALL, ANY, CLINICAL_TABLES

JUDGED_BY: Mapping[str, tuple[str, ...]] = {
    "cohorts": ("studies",),
    "sites": ("studies",),
    "enrolment": ("studies", "cohorts", "sites"),
    "enrolment_plan": ("studies", "cohorts", "sites"),
    "schedule": ("items", "history", "studies", "cohorts"),
    "study_events": ("studies", "cohorts", "sites", "schedule"),
    "tier_lines": ("items", "history", "studies", "cohorts", "sites"),
}
REQUIRED: Mapping[str, tuple[str, ...]] = {
    "studies": ("study",),
    "cohorts": ("study", "cohort"),
    "sites": ("study", "site"),
    "enrolment": ("study", "site", "ds", "enrolled"),
    "enrolment_plan": ("study", "ds", "enrolled"),
    "schedule": ("study", "unique_id", "quantity"),
    "study_events": ("event_id", "study", "date", "acts_on"),
    "tier_lines": ("line_id", "study", "tier"),
}
REPLACED_BY: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "enrolment": {"enrolled": ("screened",)},
    "tier_lines": {"study": ("account",)},
}
BLANK_MEANS: Mapping[str, Mapping[str, str | int | float]] = {
    "enrolment": {"cohort": ALL},
    "enrolment_plan": {"site": ANY, "cohort": ANY, "version": "plan"},
    "schedule": {
        "cohort": ANY,
        "country": ANY,
        "protocol_version": ANY,
        "per": "enrolled",
        "month_offset": 0,
    },
    "study_events": {"probability": 1.0},
    "tier_lines": {"outcome": "open", "quantity": 1.0},
}
# Columns in which "all" or "*" says what an empty cell says.
MAY_BE_ALL: Mapping[str, tuple[str, ...]] = {
    "enrolment": ("cohort",),
    "enrolment_plan": ("site", "cohort"),
    "schedule": ("cohort", "country", "protocol_version"),
    "study_events": ("cohort", "site"),
    "tier_lines": ("cohort", "site"),
}
SHARES: Mapping[str, tuple[str, ...]] = {
    "cohorts": ("share_low", "share_high"),
    "sites": ("activation_probability",),
    "study_events": ("probability",),
    "tier_lines": ("probability_low", "probability_high"),
}
PERCENTS: Mapping[str, tuple[str, ...]] = {"schedule": ("overage_percent",)}
PATIENTS: Mapping[str, tuple[str, ...]] = {
    "studies": ("target_enrolment",),
    "cohorts": ("target_enrolment",),
    "enrolment": ("screened", "screen_failed", "enrolled", "dropped_out", "completed"),
}
NAMES = (
    "study",
    "cohort",
    "site",
    "country",
    "protocol_version",
    "version",
    "event_id",
    "line_id",
    "account",
)
# Columns of studies and sites that people keep beside their rows elsewhere.
_BESIDE = ("country", "owner", "status", "description", "unit", "target_enrolment")


def signed_columns(table: str) -> tuple[str, ...]:
    """Columns of a clinical table in which a percent sign may stand."""
    return (*SHARES.get(table, ()), *PERCENTS.get(table, ()))


def columns_from_elsewhere(table: str) -> tuple[str, ...]:
    """Columns that may stand in a file of this table and are read from another table."""
    own = CLINICAL_TABLES[table].columns()
    return tuple(name for name in _BESIDE if name not in own)


def needed_cells(table: str) -> dict[str, str]:
    """Columns no cell of which may be empty, and what they must hold; dates and ids look there."""
    return {
        name: _ALLOWED.get(name, "a value in every row")
        for name, column in CLINICAL_TABLES[table].columns().items()
        if not (column.nullable or isinstance(column, dy.Date) or name == "unique_id")
    }


_ALLOWED = {
    "study": "the study it belongs to, as in the table studies",
    "site": "a site, as in the table sites",
    "cohort": "a name for the cohort",
    "event_id": "an id of its own for every event, the same when it is loaded again",
    "line_id": "a pseudonym for every line, the same when it is loaded again",
    "acts_on": "screening, enrolment, dropout, activation or schedule",
    "tier": "committed, highly_probable or pipeline",
    "enrolled": "a number of patients, or no row at all",
    "quantity": "a quantity of the item",
}
